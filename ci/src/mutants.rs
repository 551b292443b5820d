//! `cargo ci mutants`: measures the tests of the Raft crate. `raft/mutants.txt` tells of mistakes
//! that others have made; each is planted alone into a copy of the tree, and a test of the crate
//! has to notice. The tree itself is never touched: copy and build live below `target/mutants/`.
//!
//! A mutant is killed by a test that fails or does not end. One that does not compile, or whose
//! text is not found exactly once, is a mistake in the list and not a success.

use crate::process::{cargo, now};
use crate::tree::{self, Problem};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The list, relative to the root.
const LIST: &str = "raft/mutants.txt";

/// What the files named in the list are relative to.
const SOURCES: &str = "raft/src";

/// A program of tests that takes longer than this many times its healthy time hangs.
const HANGS_AFTER_TIMES: u32 = 10;

/// A busy machine is no mutant: no program hangs before this.
const HANGS_AFTER_MIN: Duration = Duration::from_secs(30);

/// Pause between two looks at a program that runs.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// One planted mistake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mutant {
    name: String,
    /// Whether it is one of those that every Raft is measured by.
    classic: bool,
    file: String,
    find: String,
    replace: String,
}

/// How a mutant fared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// A test failed; its name, or how the program ended.
    Killed(String),
    Survived,
    /// It is no mutant: the text is not there, or the result does not compile.
    Broken(String),
}

/// Plants the mutants, or the one that `--only` names; true if all were killed.
pub(crate) fn run(words: &[&str]) -> bool {
    let root = tree::root();
    let only = match words {
        [] => None,
        ["--only", name @ ..] if !name.is_empty() => Some(name.join(" ")),
        _ => {
            println!("mutants: expected nothing or --only NAME");
            return false;
        }
    };
    let mutants = match fs::read_to_string(root.join(LIST)).map(|text| parse(&text)) {
        Ok(Ok(mutants)) => mutants,
        Ok(Err(problem)) => return tree::report("mutants", &[problem]),
        Err(error) => return tree::report("mutants", &[Problem::new(LIST, error)]),
    };
    let chosen: Vec<&Mutant> =
        mutants.iter().filter(|m| only.as_ref().is_none_or(|only| m.name == *only)).collect();
    if chosen.is_empty() {
        println!("mutants: no mutant has this name; those in {LIST}:");
        mutants.iter().for_each(|mutant| println!("  {}", mutant.name));
        return false;
    }
    match plant(&root, &chosen) {
        Ok(fates) => sum_up(&chosen, &fates),
        Err(error) => {
            println!("mutants: {error}");
            false
        }
    }
}

/// Says how many were killed; true if all were.
fn sum_up(mutants: &[&Mutant], fates: &[Fate]) -> bool {
    let killed = |classic: Option<bool>| {
        let all = mutants.iter().zip(fates);
        let all = all.filter(|(mutant, _)| classic.is_none_or(|wanted| mutant.classic == wanted));
        let count = all.clone().count();
        (all.filter(|(_, fate)| matches!(fate, Fate::Killed(_))).count(), count)
    };
    let ((classic, classics), (every, all)) = (killed(Some(true)), killed(None));
    println!("mutants: {classic} of {classics} classic, {every} of {all} in all");
    every == all
}

/// Tries each mutant in turn in a copy of the tree.
fn plant(root: &Path, mutants: &[&Mutant]) -> io::Result<Vec<Fate>> {
    let place = root.join("target/mutants");
    let copy = place.join("tree");
    refresh(root, &copy)?;
    let programs = match build(&copy, &place) {
        Ok(programs) => programs,
        Err(complaint) => return Err(io::Error::other(complaint)),
    };
    let mut limits = Vec::new();
    for program in &programs {
        let start = now();
        if let Some(why) = fails(&copy, program, Duration::MAX)? {
            return Err(io::Error::other(format!("fails without any mutant: {why}")));
        }
        limits.push((start.elapsed() * HANGS_AFTER_TIMES).max(HANGS_AFTER_MIN));
    }
    let mut fates = Vec::new();
    for (number, mutant) in (1..).zip(mutants) {
        let start = now();
        let fate = attempt(&copy, &place, mutant, &limits)?;
        let (word, why) = match &fate {
            Fate::Killed(by) => ("killed", format!(" by {by}")),
            Fate::Survived => ("SURVIVED", String::new()),
            Fate::Broken(why) => ("BROKEN", format!(": {why}")),
        };
        let (count, took) = (mutants.len(), seconds(start));
        println!("{number:>2} of {count}: {}: {word}{why} ({took})", mutant.name);
        fates.push(fate);
    }
    Ok(fates)
}

fn seconds(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}

/// Plants one mistake, tries it and takes it out again.
fn attempt(copy: &Path, place: &Path, mutant: &Mutant, limits: &[Duration]) -> io::Result<Fate> {
    let file = copy.join(SOURCES).join(&mutant.file);
    let source = fs::read_to_string(&file)?;
    let fate = match applied(&source, mutant) {
        Ok(planted) => {
            fs::write(&file, planted)?;
            fate(copy, place, limits)
        }
        Err(why) => Ok(Fate::Broken(why)),
    };
    fs::write(&file, source)?;
    fate
}

fn fate(copy: &Path, place: &Path, limits: &[Duration]) -> io::Result<Fate> {
    let programs = match build(copy, place) {
        Ok(programs) => programs,
        Err(complaint) => return Ok(Fate::Broken(complaint)),
    };
    for (program, limit) in programs.iter().zip(limits) {
        if let Some(why) = fails(copy, program, *limit)? {
            return Ok(Fate::Killed(why));
        }
    }
    Ok(Fate::Survived)
}

/// Makes `copy` equal to the tree. Only what differs is written: the rest need not be built again.
fn refresh(root: &Path, copy: &Path) -> io::Result<()> {
    fs::create_dir_all(copy)?;
    let problem = |problem: Problem| io::Error::other(problem.to_string());
    let files = tree::files(root).map_err(problem)?;
    for path in tree::files(copy).map_err(problem)? {
        if files.binary_search(&path).is_err() {
            fs::remove_file(copy.join(path))?;
        }
    }
    for path in files {
        let (content, target) = (fs::read(root.join(&path))?, copy.join(&path));
        if fs::read(&target).is_ok_and(|copied| copied == content) {
            continue;
        }
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(target, content)?;
    }
    Ok(())
}

/// Builds the programs of tests, those that notice most first, or tells why that cannot be.
fn build(copy: &Path, place: &Path) -> Result<Vec<PathBuf>, String> {
    let mut command = cargo();
    command.current_dir(copy).args(["test", "--locked", "--package", "nacolet-raft", "--no-run"]);
    command
        .args(["--lib", "--test", "engine", "--test", "runtime", "--target-dir"])
        .arg(place.join("build"));
    // Each mutant is compiled anew and run once: the compiler would take longer than the tests
    // save.
    command.args(["--config", "profile.dev.package.nacolet-raft.opt-level=0"]);
    command.args(["--config", "profile.dev.debug=false"]);
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("does not compile\n{told}"));
    }
    let mut programs = executables(&told);
    programs.sort_by_key(|path| !path.contains("/engine-"));
    if programs.is_empty() {
        return Err(format!("cargo names no program of tests\n{told}"));
    }
    Ok(programs.into_iter().map(|path| copy.join(path)).collect())
}

/// The paths in cargo's lines `Executable WHAT (PATH)`.
fn executables(told: &str) -> Vec<String> {
    let lines = told.lines().filter(|line| line.trim_start().starts_with("Executable "));
    lines.filter_map(|line| Some(line.split_once('(')?.1.strip_suffix(')')?.into())).collect()
}

/// Runs a program of tests; why it failed, if it did.
fn fails(copy: &Path, program: &Path, limit: Duration) -> io::Result<Option<String>> {
    let log = program.with_extension("log");
    let mut child = Command::new(program)
        .current_dir(copy.join("raft"))
        .stdin(Stdio::null())
        .stdout(fs::File::create(&log)?)
        .stderr(Stdio::null())
        .spawn()?;
    let Some(status) = wait(&mut child, limit)? else {
        return Ok(Some("a test that does not end".into()));
    };
    if status.success() {
        return Ok(None);
    }
    let told = fs::read_to_string(&log)?;
    let mut failed = told.lines().filter_map(|line| {
        line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED"))
    });
    let first = failed.next().map_or_else(|| status.to_string(), Into::into);
    Ok(Some(match failed.count() {
        0 => first,
        more => format!("{first} and {more} more"),
    }))
}

/// Waits for the end, at most `limit`; `None` when the program had to be killed.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<std::process::ExitStatus>> {
    let start = now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// `source` with the mistake in it.
fn applied(source: &str, mutant: &Mutant) -> Result<String, String> {
    match source.matches(&mutant.find).count() {
        1 => Ok(source.replacen(&mutant.find, &mutant.replace, 1)),
        0 => Err(format!("its text is not in {}", mutant.file)),
        count => Err(format!("its text is {count} times in {}", mutant.file)),
    }
}

/// The list: see the comment at its head.
fn parse(text: &str) -> Result<Vec<Mutant>, Problem> {
    let mut mutants: Vec<Mutant> = Vec::new();
    let mut classic = false;
    for (number, line) in (1..).zip(text.lines()) {
        let wrong = |what: &str| Problem::new(format!("{LIST}:{number}"), what);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix("== ") {
            classic = section == "classic";
            continue;
        }
        if let Some(name) = line.strip_prefix("= ") {
            if mutants.iter().any(|mutant| mutant.name == name) {
                return Err(wrong("two mutants have this name"));
            }
            mutants.push(Mutant { name: name.into(), classic, ..Mutant::default() });
            continue;
        }
        let mutant = mutants.last_mut().ok_or_else(|| wrong("belongs to no mutant"))?;
        if let Some(line) = line.strip_prefix('-') {
            add_line(&mut mutant.find, line);
        } else if let Some(line) = line.strip_prefix('+') {
            add_line(&mut mutant.replace, line);
        } else if mutant.file.is_empty() {
            mutant.file = line.into();
        } else {
            return Err(wrong("is neither `-` nor `+`, and the file is named already"));
        }
    }
    let incomplete = mutants.iter().find(|mutant| mutant.find.is_empty());
    match incomplete {
        Some(mutant) => Err(Problem::new(LIST, format!("nothing to find: {}", mutant.name))),
        None => Ok(mutants),
    }
}

fn add_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_of_the_list_can_be_planted() {
        let root = tree::root();
        let mutants = parse(&fs::read_to_string(root.join(LIST)).unwrap()).unwrap();
        for mutant in &mutants {
            let source = fs::read_to_string(root.join(SOURCES).join(&mutant.file)).unwrap();
            let planted = applied(&source, mutant).expect(&mutant.name);
            assert_ne!(planted, source, "{}", mutant.name);
        }
        assert_eq!(mutants.iter().filter(|mutant| mutant.classic).count(), 19);
    }

    #[test]
    fn a_list_is_read() {
        let text =
            "# a comment\n== classic\n= one\na.rs\n-    x;\n-y\n+z\n\n== others\n= two\nb.rs\n-x\n";
        let one = Mutant {
            name: "one".into(),
            classic: true,
            file: "a.rs".into(),
            find: "    x;\ny\n".into(),
            replace: "z\n".into(),
        };
        let mutants = parse(text).unwrap();
        assert_eq!(mutants[0], one);
        assert_eq!((mutants[1].classic, mutants[1].replace.as_str()), (false, ""));
        let problem = |text: &str| parse(text).unwrap_err().place;
        assert_eq!(problem("-x\n"), "raft/mutants.txt:1");
        assert_eq!(problem("= one\na.rs\n-x\nb.rs\n"), "raft/mutants.txt:4");
        assert_eq!(problem("= one\na.rs\n-x\n= one\n"), "raft/mutants.txt:4");
        assert_eq!(problem("= one\na.rs\n+x\n"), "raft/mutants.txt");
    }

    #[test]
    fn a_mutant_has_to_fit_exactly_once() {
        let mutant = Mutant { find: "x\n".into(), replace: "y\n".into(), ..Mutant::default() };
        assert_eq!(applied("a\nx\n", &mutant), Ok("a\ny\n".into()));
        assert!(applied("a\n", &mutant).is_err());
        assert!(applied("x\nx\n", &mutant).is_err());
    }

    #[test]
    fn cargo_names_the_programs() {
        let told = "   Compiling x\n  Executable unittests src/lib.rs (a/b-1)\n  Executable tests/e/main.rs (a/e-2)\n";
        assert_eq!(executables(told), ["a/b-1", "a/e-2"]);
    }

    #[test]
    fn only_a_clean_sweep_passes() {
        let classic = Mutant { classic: true, ..Mutant::default() };
        let other = Mutant::default();
        let killed = Fate::Killed(String::new());
        assert!(sum_up(&[&classic, &other], &[killed.clone(), killed.clone()]));
        assert!(!sum_up(&[&classic, &other], &[killed.clone(), Fate::Survived]));
        assert!(!sum_up(&[&classic, &other], &[Fate::Broken(String::new()), killed]));
    }
}
