//! The source tree as the checks see it: where it is, which files it has, how a problem is told.
//!
//! The tree is walked rather than asked from git, so that the checks also work on an unpacked
//! archive. Folders that hold only what a build or a run left behind are skipped.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// What is never part of the source; `.git` is a file in a work tree beside the first one.
const SKIPPED: [&str; 6] =
    [".git", "target", "node_modules", "__pycache__", "nacolet-data", ".idea"];

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// A path relative to the root, with `:line` where a line is meant; or the name of a crate.
    pub(crate) place: String,
    /// What is wrong and what would be right.
    pub(crate) what: String,
}

impl Problem {
    pub(crate) fn new(place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self { place: place.to_string(), what: what.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// The workspace's root: the folder above this crate.
///
/// Cargo says where that is when it runs us. What was true when we were compiled is wrong as soon
/// as two checkouts share a target folder, and serves only when cargo does not run us.
pub(crate) fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().expect("this crate lives in a folder of the workspace").to_path_buf()
}

/// Prints the problems of one check; true if there are none.
pub(crate) fn report(check: &str, problems: &[Problem]) -> bool {
    for problem in problems {
        println!("{problem}");
    }
    match problems.len() {
        0 => println!("{check}: ok"),
        1 => println!("{check}: 1 problem"),
        n => println!("{check}: {n} problems"),
    }
    problems.is_empty()
}

/// Every file below `root`, as sorted paths relative to it with `/` between the parts.
///
/// A folder that cannot be listed is a problem, not an empty folder.
pub(crate) fn files(root: &Path) -> Result<Vec<String>, Problem> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let unreadable = |error: std::io::Error| Problem::new(&folder, error);
        for entry in fs::read_dir(root.join(&folder)).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let kind = entry.file_type().map_err(unreadable)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(Problem::new(&folder, format!("{name:?} is not a UTF-8 name")));
            };
            if SKIPPED.contains(&name) {
                continue;
            }
            let path = if folder.is_empty() { name.into() } else { format!("{folder}/{name}") };
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
