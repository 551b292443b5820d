//! Rules about files that no compiler checks: length, heads, leftovers, blobs, white space, words,
//! the width of comments. What prose cites and claims is looked at beside them.
//!
//! Each rule is a plain function from a path and its content to problems. `OLD_SINNERS` may only
//! shrink: a file that is short enough again must leave it.

use crate::citations::Library;
use crate::tree::{self, Problem};
use crate::{claims, names, prose};
use std::fs;
use std::path::Path;

/// A source file longer than this holds two ideas that are fighting.
const LINES_MAX: usize = 600;

/// No file is larger, in bytes; what is generated or recorded does not belong in the tree.
const BLOB_BYTES_MAX: usize = 200 * 1024;

/// Longer files that were there before the rule, and the length they may not exceed.
const OLD_SINNERS: &[(&str, usize)] = &[];

/// Written by tools; only size and machine paths matter in them.
const GENERATED: [&str; 2] = ["Cargo.lock", "package-lock.json"];

/// Inputs that a fuzzer made: bytes, also where they look like a text. Their own test bounds their
/// size.
const INPUTS: &str = "fuzz/corpus/";

/// Answers as a server gave them: white space at the end of a line is part of them.
const RECORDED: &str = "api/tests/recorded/";

/// File name extensions of what people write as programs.
const SOURCES: [&str; 6] = ["rs", "py", "js", "java", "sh", "html"];

/// Marks that an unfinished change leaves behind. Split here so that this file has none.
const LEFTOVERS: [&str; 3] = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("X", "XX")];

/// Calls with the same meaning, in Rust.
const LEFTOVER_CALLS: [&str; 3] =
    [concat!("db", "g!("), concat!("to", "do!("), concat!("unimple", "mented!(")];

/// Where JSON of strangers is read, and the crate for which that is the only place: elsewhere a
/// struct would be read from an array.
const JSON_READER: (&str, &str) = ("api/src/http/json.rs", "api/src/");

/// Words that sell instead of telling, and nearly always can be struck out.
const SELLING_WORDS: [&str; 22] = [
    "battle-tested",
    "best-in-class",
    "blazing",
    "blazingly",
    "bulletproof",
    "cutting-edge",
    "delve",
    "effortless",
    "effortlessly",
    "enterprise-grade",
    "game-changer",
    "leverage",
    "leverages",
    "lightning-fast",
    "next-generation",
    "revolutionary",
    "seamless",
    "seamlessly",
    "state-of-the-art",
    "supercharge",
    "utilize",
    "world-class",
];

/// Folders where people keep their checkouts: a path below one means nothing on another machine.
const PRIVATE_FOLDERS: [&str; 5] = ["/home/", "/root/", "/Users/", "/work/", "/builds/"];

/// Everything in the tree at `root` that breaks a rule; `usage` is what `cargo ci` says of itself.
pub(crate) fn problems(root: &Path, usage: &str) -> Vec<Problem> {
    let files = match tree::files(root) {
        Ok(files) => files,
        Err(problem) => return vec![problem],
    };
    let mut problems = Vec::new();
    for (sinner, _) in OLD_SINNERS {
        if !files.iter().any(|path| path == sinner) {
            problems.push(Problem::new(sinner, "is gone: take it off OLD_SINNERS"));
        }
    }
    let root_text = root.to_string_lossy().into_owned();
    let mut texts = Vec::new();
    for path in &files {
        match fs::read(root.join(path)) {
            Ok(content) => {
                problems.extend(file(path, &content, &root_text));
                let text = if path.starts_with(INPUTS) { Vec::new() } else { content };
                // What is no text has a name all the same, and cites nothing.
                texts.push((path.clone(), String::from_utf8(text).unwrap_or_default()));
            }
            Err(error) => problems.push(Problem::new(path, error)),
        }
    }
    let library = Library::new(&texts, usage);
    for (path, text) in &texts {
        problems.extend(library.problems(path, text));
    }
    problems.extend(claims::problems(&texts));
    problems.extend(names::problems(&texts));
    problems
}

/// Applies every rule to one file; `root` is where the tree stands on this machine.
fn file(path: &str, content: &[u8], root: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    if content.len() > BLOB_BYTES_MAX {
        let what = format!("{} bytes, at most {BLOB_BYTES_MAX} are allowed", content.len());
        problems.push(Problem::new(path, what));
    }
    let Ok(text) = std::str::from_utf8(content) else { return problems };
    if text.contains('\0') || path.starts_with(INPUTS) {
        return problems;
    }
    machine_paths(path, text, root, &mut problems);
    let name = path.rsplit('/').next().unwrap_or(path);
    if GENERATED.contains(&name) {
        return problems;
    }
    if !path.starts_with(RECORDED) {
        white_space(path, text, &mut problems);
    }
    leftovers(path, text, &mut problems);
    second_readers(path, text, &mut problems);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    if SOURCES.contains(&extension) {
        length(path, text, OLD_SINNERS, &mut problems);
    }
    if extension == "rs" && !text.starts_with("//!") {
        problems.push(Problem::new(path, "does not open with a `//!` paragraph"));
    }
    if matches!(extension, "rs" | "md" | "html") && path != "ci/src/tidy.rs" {
        selling_words(path, text, extension == "rs", &mut problems);
    }
    for (line, columns) in prose::wide_comments(path, text) {
        let what = format!("a comment of {columns} columns, at most {}", prose::COLUMNS_MAX);
        problems.push(Problem::new(format!("{path}:{line}"), what));
    }
    problems
}

fn length(path: &str, text: &str, sinners: &[(&str, usize)], problems: &mut Vec<Problem>) {
    let lines = text.lines().count();
    let sinner = sinners.iter().find(|(name, _)| *name == path);
    match sinner {
        Some(_) if lines <= LINES_MAX => {
            problems.push(Problem::new(path, "is short enough: take it off OLD_SINNERS"));
        }
        Some((_, most)) if lines > *most => {
            problems.push(Problem::new(path, format!("grew from {most} to {lines} lines")));
        }
        None if lines > LINES_MAX => {
            problems.push(Problem::new(path, format!("{lines} lines, at most {LINES_MAX}")));
        }
        Some(_) | None => {}
    }
}

fn white_space(path: &str, text: &str, problems: &mut Vec<Problem>) {
    for (index, line) in text.split('\n').enumerate() {
        let what = if line.ends_with('\r') {
            "ends with a carriage return"
        } else if line.ends_with([' ', '\t']) {
            "ends with white space"
        } else {
            continue;
        };
        problems.push(Problem::new(format!("{path}:{}", index + 1), what));
    }
    if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
        problems.push(Problem::new(path, "does not end with exactly one newline"));
    }
}

fn leftovers(path: &str, text: &str, problems: &mut Vec<Problem>) {
    let calls: &[&str] = if path.ends_with(".rs") { &LEFTOVER_CALLS } else { &[] };
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let word = words.find(|word| LEFTOVERS.contains(word));
        let call = calls.iter().copied().find(|call| line.contains(call));
        if let Some(mark) = word.or(call) {
            let place = format!("{path}:{}", index + 1);
            problems.push(Problem::new(place, format!("leftover {mark}")));
        }
    }
}

/// JSON that is read beside the one reader, tests apart: they stand last in a file.
fn second_readers(path: &str, text: &str, problems: &mut Vec<Problem>) {
    let (reader, of) = JSON_READER;
    if path == reader || !path.starts_with(of) {
        return;
    }
    let program = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    for (index, line) in program.lines().enumerate() {
        if ["serde_json::from_", "serde_json::Deserializer"].iter().any(|call| line.contains(call))
        {
            let place = format!("{path}:{}", index + 1);
            problems.push(Problem::new(place, format!("JSON is read by {reader} alone")));
        }
    }
}

/// Words of documents, and in programs of comments only.
fn selling_words(path: &str, text: &str, only_comments: bool, problems: &mut Vec<Problem>) {
    for (index, line) in text.lines().enumerate() {
        if only_comments && !line.trim_start().starts_with("//") {
            continue;
        }
        let line = line.to_lowercase();
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '-');
        if let Some(word) = words.find(|word| SELLING_WORDS.contains(word)) {
            let place = format!("{path}:{}", index + 1);
            problems.push(Problem::new(place, format!("`{word}` sells instead of telling")));
        }
    }
}

fn machine_paths(path: &str, text: &str, root: &str, problems: &mut Vec<Problem>) {
    // A checkout at the top of the file system has a name too short to be told from other words.
    let root_folder = (root.matches('/').count() > 1).then(|| format!("{root}/"));
    let folders = PRIVATE_FOLDERS.iter().copied().chain(root_folder.as_deref());
    for folder in folders {
        for (start, _) in text.match_indices(folder) {
            let before = text[..start].chars().next_back();
            let after = text[start + folder.len()..].chars().next();
            // `x/root/y` is a part of a longer path; a bare `/root/` names no file.
            if before.is_some_and(|c| c.is_alphanumeric() || "._-~}$/".contains(c))
                || !after.is_some_and(|c| c.is_alphanumeric() || c == '.')
            {
                continue;
            }
            let line = text[..start].matches('\n').count() + 1;
            let what = format!("a path below {folder} means nothing on another machine");
            problems.push(Problem::new(format!("{path}:{line}"), what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        assert_eq!(problems(&tree::root(), crate::USAGE), []);
    }

    #[test]
    fn a_source_file_has_a_head_and_a_bound() {
        verdict("a.rs", "//! A.\n", &[]);
        verdict("a.rs", "fn a() {}\n", &["a.rs: does not open with a `//!` paragraph"]);
        verdict("a.py", &"x = 1\n".repeat(600), &[]);
        verdict("a.py", &"x = 1\n".repeat(601), &["a.py: 601 lines, at most 600"]);
        verdict("a.md", &"x\n".repeat(601), &[]);
    }

    #[test]
    fn the_list_of_old_sinners_only_shrinks() {
        let check = |lines: usize| {
            let mut problems = Vec::new();
            length("old.rs", &"x\n".repeat(lines), &[("old.rs", 700)], &mut problems);
            problems.iter().map(Problem::to_string).collect::<Vec<_>>()
        };
        assert_eq!(check(700), [""; 0]);
        assert_eq!(check(701), ["old.rs: grew from 700 to 701 lines"]);
        assert_eq!(check(600), ["old.rs: is short enough: take it off OLD_SINNERS"]);
    }

    #[test]
    fn leftovers_are_found_as_words() {
        for mark in LEFTOVERS {
            let expected = format!("a.txt:2: leftover {mark}");
            verdict("a.txt", &format!("a\n# {mark}: b\n"), &[&expected]);
            verdict("a.txt", &format!("mktemp name.{mark}{mark}\n"), &[]);
        }
        for call in LEFTOVER_CALLS {
            let expected = format!("a.rs:2: leftover {call}");
            verdict("a.rs", &format!("//! A.\n{call}a);\n"), &[&expected]);
            verdict("a.txt", &format!("{call}a)\n"), &[]);
        }
    }

    #[test]
    fn json_has_one_reader() {
        let line = "let a: A = serde_json::from_slice(b)?;\n";
        let expected = ["api/src/a.rs:2: JSON is read by api/src/http/json.rs alone"];
        verdict("api/src/a.rs", &format!("//! A.\n{line}"), &expected);
        verdict("api/src/http/json.rs", &format!("//! A.\n{line}"), &[]);
        verdict("node/src/a.rs", &format!("//! A.\n{line}"), &[]);
        let tests = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{line}}}\n");
        verdict("api/src/a.rs", &tests, &[]);
    }

    #[test]
    fn white_space_is_plain() {
        verdict("a", "a\nb\n", &[]);
        verdict("a", "", &[]);
        verdict("a", "a \nb\n", &["a:1: ends with white space"]);
        verdict("a", "a\r\nb\n", &["a:1: ends with a carriage return"]);
        verdict("a", "a", &["a: does not end with exactly one newline"]);
        verdict("a", "a\n\n", &["a: does not end with exactly one newline"]);
        verdict("api/tests/recorded/answers/a.txt", "a \n", &[]);
    }

    #[test]
    fn large_and_binary_files() {
        verdict("a", &format!("{}\n", "a".repeat(BLOB_BYTES_MAX - 1)), &[]);
        let large = format!("{}\n", "a".repeat(BLOB_BYTES_MAX));
        verdict("a", &large, &["a: 204801 bytes, at most 204800 are allowed"]);
        verdict("Cargo.lock", &large, &["Cargo.lock: 204801 bytes, at most 204800 are allowed"]);
        assert_eq!(file("a.png", b"\xff\x00 \r\n", "/x/y"), []);
        assert_eq!(file("fuzz/corpus/a/b", b"x \r\n", "/x/y"), []);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let expected = ["a:2: a path below /srv/app/ means nothing on another machine"];
        verdict("a", "a\nsee /srv/app/b\n", &expected);
        verdict("a", "crate/srv/app/b\n", &[]);
        for folder in PRIVATE_FOLDERS {
            let expected = format!("a:1: a path below {folder} means nothing on another machine");
            verdict("a", &format!("\"{folder}me\"\n"), &[&expected]);
            verdict("a", &format!("\"{folder}\"\n"), &[]);
            verdict("a", &format!("./x{folder}me\n"), &[]);
        }
    }

    #[test]
    fn documents_tell_and_do_not_sell() {
        let expected = ["a.md:1: `seamless` sells instead of telling"];
        verdict("a.md", "A Seamless thing.\n", &expected);
        verdict("a.md", "A thing with seams.\n", &[]);
        verdict("a.rs", "//! A.\nlet leverage = 1;\n", &[]);
        verdict(
            "a.rs",
            "//! A.\n    // We leverage it.\n",
            &["a.rs:2: `leverage` sells instead of telling"],
        );
    }

    fn verdict(path: &str, text: &str, expected: &[&str]) {
        let found: Vec<String> =
            file(path, text.as_bytes(), "/srv/app").iter().map(Problem::to_string).collect();
        assert_eq!(found, expected, "{path}");
    }
}
