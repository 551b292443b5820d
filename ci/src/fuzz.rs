//! `cargo ci fuzz`: libFuzzer on every target of `fuzz`, for so many seconds each, and what came of
//! it. The programs are built by cargo-fuzz with the nightly compiler, AddressSanitizer and debug
//! assertions. `--bare` is for long runs: it leaves away the sanitizer, which our own code without
//! `unsafe` cannot set off, and what libFuzzer learns from comparisons, which the gathered inputs
//! have in them already; so it tries several times as many inputs. Inputs are gathered below
//! `target/fuzz/corpus`; `--keep` puts the few that lead furthest into the tree, where `cargo test`
//! replays them.

use crate::process::step;
use crate::tree::{self, Problem};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FOLDER: &str = "fuzz/targets";
const TABLE: &str = "fuzz/src/lib.rs";
const TOOLS: &str =
    "fuzz wants: rustup toolchain install nightly; cargo install cargo-fuzz --locked";

/// A hang, all memory of the process, and one large allocation are findings too. Time is that of
/// the wall, so a hang is more than a busy machine lets a process wait for. An import may unpack to
/// 64 MiB, so that target has a bound of its own (`fuzz/src/archive.rs`) and memory for it.
const LIMITS: [&str; 4] =
    ["-timeout=10", "-rss_limit_mb=512", "-malloc_limit_mb=16", "-print_final_stats=1"];
/// Leaks are not looked for: nothing here manages memory by hand, and a thread that ends later than
/// the program looks like one.
const SANITIZER: (&str, &str) = ("ASAN_OPTIONS", "detect_leaks=0");
/// Files of the targets go below this folder where there is one: it is memory, so nobody waits for
/// a disk.
const MEMORY: &str = "/dev/shm";

/// Inputs that `--keep` leaves in the tree for each target: enough to come to every part of it, few
/// enough to be listed.
const KEPT_INPUTS_MAX: usize = 30;
/// Their bytes; all targets together stay below the limit in `fuzz/tests/replay.rs`.
const KEPT_BYTES_MAX: u64 = 18_000;
/// An input that is kept is no longer than this: what needs more is found again from shorter ones.
const KEPT_INPUT_BYTES_MAX: u64 = 1_024;

/// One target: its name, and the longest input worth trying.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FuzzTarget {
    name: String,
    bytes_max: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Options<'a> {
    seconds: u64,
    keep: bool,
    bare: bool,
    names: Vec<&'a str>,
}

/// What became of one target.
struct Outcome {
    name: String,
    executions: u64,
    per_second: u64,
    peak_mb: u64,
    findings: Vec<PathBuf>,
    /// It ended without any input that shows why.
    is_broken: bool,
}

/// Runs the targets; true if nothing was found.
pub(crate) fn run(words: &[&str]) -> bool {
    let root = tree::root();
    let (targets, options) = match targets(&root).and_then(|all| {
        let options = options(words)?;
        Ok((chosen(&all, &options.names)?, options))
    }) {
        Ok(both) => both,
        Err(problem) => {
            println!("fuzz: {problem}");
            return false;
        }
    };
    let Some(programs) = build(&root, &options) else { return false };
    let place = root.join("target/fuzz");
    let mut outcomes = Vec::new();
    for target in &targets {
        match fuzz(&root, &place, &programs, target, options.seconds) {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => {
                println!("fuzz: {}: {error}", target.name);
                return false;
            }
        }
        if options.keep
            && let Err(error) = keep(&root, &place, &programs, target)
        {
            println!("fuzz: {}: {error}", target.name);
            return false;
        }
    }
    report(&outcomes)
}

fn options<'a>(words: &[&'a str]) -> Result<Options<'a>, Problem> {
    let mut options = Options { seconds: 60, keep: false, bare: false, names: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--keep" => options.keep = true,
            "--bare" => options.bare = true,
            "--seconds" => {
                let seconds = words.next().and_then(|word| word.parse().ok());
                options.seconds =
                    seconds.ok_or_else(|| Problem::new("--seconds", "wants a number"))?;
            }
            option if option.starts_with('-') => return Err(Problem::new(option, "is no option")),
            name => options.names.push(name),
        }
    }
    Ok(options)
}

/// The table in `fuzz/src/lib.rs`, which is the only list of targets.
fn targets(root: &Path) -> Result<Vec<FuzzTarget>, Problem> {
    let text = fs::read_to_string(root.join(TABLE)).map_err(|error| Problem::new(TABLE, error))?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Vec<FuzzTarget> {
    let line = |line: &str| {
        let (name, rest) = line.trim().strip_prefix("target(\"")?.split_once('"')?;
        let bytes_max = rest.strip_prefix(", ")?.split(',').next()?.replace('_', "");
        Some(FuzzTarget { name: name.into(), bytes_max })
    };
    text.lines().filter_map(line).collect()
}

fn chosen(all: &[FuzzTarget], names: &[&str]) -> Result<Vec<FuzzTarget>, Problem> {
    let find = |name: &&str| {
        let target = all.iter().find(|target| target.name == *name).cloned();
        target.ok_or_else(|| Problem::new(*name, format!("is no target of {TABLE}")))
    };
    if names.is_empty() { Ok(all.to_vec()) } else { names.iter().map(find).collect() }
}

/// The nightly cargo, whichever one runs this tool.
fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz"]).env_remove("CARGO").env_remove("RUSTC");
    command
}

/// Builds the programs; the folder where they are. The two kinds have folders of their own, so that
/// neither is built again after the other.
fn build(root: &Path, options: &Options<'_>) -> Option<PathBuf> {
    let quiet = |command: &mut Command| {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    if !quiet(nightly().arg("--version")).is_ok_and(|status| status.success()) {
        println!("{TOOLS}");
        return None;
    }
    let mut command = nightly();
    command.current_dir(root.join(FOLDER)).args(["build", "--fuzz-dir", ".", "--release"]);
    let place = root.join(if options.bare { "target/fuzz/bare" } else { "target/fuzz" });
    command.arg("--debug-assertions").env("CARGO_TARGET_DIR", &place);
    if options.bare {
        command.args(["--sanitizer", "none", "--no-trace-compares"]);
    }
    if let [one] = options.names.as_slice() {
        command.arg(one);
    }
    let built = step("fuzz build", &mut command);
    built.then(|| place.join("x86_64-unknown-linux-gnu/release"))
}

fn fuzz(
    root: &Path,
    place: &Path,
    programs: &Path,
    target: &FuzzTarget,
    seconds: u64,
) -> std::io::Result<Outcome> {
    let gathered = place.join("corpus").join(&target.name);
    let found = place.join("artifacts").join(&target.name);
    fs::create_dir_all(&gathered)?;
    fs::create_dir_all(&found)?;
    let before = listed(&found)?;
    let kept = root.join("fuzz/corpus").join(&target.name);
    let mut command = Command::new(programs.join(&target.name));
    command.env(SANITIZER.0, SANITIZER.1).args(LIMITS);
    let memory = Some(Path::new(MEMORY)).filter(|memory| memory.is_dir());
    let files = memory.unwrap_or(place).join(format!("nacolet-fuzz-{}", std::process::id()));
    fs::create_dir_all(&files)?;
    command.env("TMPDIR", &files);
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-max_len={}", target.bytes_max));
    command.arg(format!("-artifact_prefix={}/", found.display())).arg(&gathered);
    if kept.is_dir() {
        command.arg(kept);
    }
    let output = command.stdin(Stdio::null()).output()?;
    fs::remove_dir_all(&files)?;
    let told = String::from_utf8_lossy(&output.stderr);
    fs::write(place.join(format!("{}.log", target.name)), &*told)?;
    let findings: Vec<PathBuf> =
        listed(&found)?.into_iter().filter(|path| !before.contains(path)).collect();
    Ok(Outcome {
        name: target.name.clone(),
        executions: figure(&told, "number_of_executed_units"),
        per_second: figure(&told, "average_exec_per_sec"),
        peak_mb: figure(&told, "peak_rss_mb"),
        is_broken: !output.status.success() && findings.is_empty(),
        findings,
    })
}

/// The files in a folder, in order.
fn listed(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

/// A line `stat::NAME: FIGURE` of libFuzzer.
fn figure(told: &str, name: &str) -> u64 {
    let prefix = format!("stat::{name}:");
    let value = told.lines().rev().find_map(|line| line.strip_prefix(&prefix));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn report(outcomes: &[Outcome]) -> bool {
    println!("{:<20}{:>14}{:>10}{:>8}  findings", "target", "executions", "per s", "MB");
    let mut is_clean = true;
    for outcome in outcomes {
        let Outcome { name, executions, per_second, peak_mb, findings, is_broken } = outcome;
        let word = if *is_broken { "ended early: see its log" } else { "" };
        println!(
            "{name:<20}{executions:>14}{per_second:>10}{peak_mb:>8}  {}{word}",
            findings.len()
        );
        findings.iter().for_each(|path| println!("    {}", path.display()));
        is_clean &= findings.is_empty() && !is_broken;
    }
    let total: u64 = outcomes.iter().map(|outcome| outcome.executions).sum();
    println!("fuzz: {total} executions: {}", if is_clean { "ok" } else { "FAILED" });
    is_clean
}

/// Puts some of the inputs that together lead as far as all of them do into the tree. What is there
/// already and is not named by a hash is a finding of the past or made by hand, and stays.
fn keep(root: &Path, place: &Path, programs: &Path, target: &FuzzTarget) -> std::io::Result<()> {
    let gathered = place.join("corpus").join(&target.name);
    let kept = root.join("fuzz/corpus").join(&target.name);
    let merged = place.join("merged").join(&target.name);
    fs::create_dir_all(&kept)?;
    if merged.exists() {
        fs::remove_dir_all(&merged)?;
    }
    fs::create_dir_all(&merged)?;
    let mut command = Command::new(programs.join(&target.name));
    command.env(SANITIZER.0, SANITIZER.1).args(LIMITS).arg("-set_cover_merge=1");
    command.arg(format!("-max_len={KEPT_INPUT_BYTES_MAX}")).arg(&merged).args([&kept, &gathered]);
    let status =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if !status.success() {
        return Err(std::io::Error::other("the inputs cannot be merged"));
    }
    for old in listed(&kept)?.iter().filter(|path| is_hash(path)) {
        fs::remove_file(old)?;
    }
    let mut sized = Vec::new();
    for path in listed(&merged)? {
        sized.push((fs::metadata(&path)?.len(), path));
    }
    for path in selected(sized) {
        if let Some(name) = path.file_name() {
            fs::copy(&path, kept.join(name))?;
        }
    }
    Ok(())
}

/// Some of all sizes, inside the limits: short inputs are easy to read, long ones lead far.
fn selected(mut sized: Vec<(u64, PathBuf)>) -> Vec<PathBuf> {
    sized.sort();
    let step = sized.len().div_ceil(KEPT_INPUTS_MAX).max(1);
    let mut left = KEPT_BYTES_MAX;
    let mut selected = Vec::new();
    for (bytes, path) in sized.into_iter().step_by(step) {
        let Some(rest) = left.checked_sub(bytes) else { break };
        left = rest;
        selected.push(path);
    }
    selected
}

/// Whether libFuzzer named it, by the SHA-1 of its content.
fn is_hash(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_target_has_a_program() {
        let root = tree::root();
        let names: BTreeSet<String> =
            targets(&root).unwrap().into_iter().map(|target| target.name).collect();
        let manifest = fs::read_to_string(root.join(FOLDER).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let programs = manifest["bin"].as_array().unwrap().iter();
        let programs = programs.map(|program| program["name"].as_str().unwrap().to_owned());
        assert_eq!(programs.collect::<BTreeSet<_>>(), names);
    }

    #[test]
    fn the_table_is_read() {
        let text =
            "const X: [FuzzTarget; 2] = [\n    // One.\n    target(\"a_b\", 1_024, a::run),\n];\n";
        let expected = [FuzzTarget { name: "a_b".into(), bytes_max: "1024".into() }];
        assert_eq!(parse(text), expected);
        assert_eq!(chosen(&parse(text), &["a_b"]).unwrap(), expected);
        assert_eq!(chosen(&parse(text), &["c"]).unwrap_err().place, "c");
    }

    #[test]
    fn options_come_in_any_order() {
        let expected = Options { seconds: 5, keep: true, bare: true, names: vec!["a", "b"] };
        let words = ["a", "--seconds", "5", "--keep", "b", "--bare"];
        assert_eq!(options(&words).unwrap(), expected);
        assert_eq!(options(&["--seconds"]).unwrap_err().place, "--seconds");
        assert_eq!(options(&["--fast"]).unwrap_err().place, "--fast");
    }

    #[test]
    fn figures_are_those_of_the_end() {
        let told = "#9 pulse\nstat::peak_rss_mb:            250\nstat::average_exec_per_sec: 7\n";
        assert_eq!(figure(told, "peak_rss_mb"), 250);
        assert_eq!(figure(told, "average_exec_per_sec"), 7);
        assert_eq!(figure(told, "number_of_executed_units"), 0);
    }

    #[test]
    fn inputs_of_all_sizes_are_kept_inside_the_limits() {
        let inputs = |count: u64, bytes: u64| -> Vec<(u64, PathBuf)> {
            (0..count).map(|number| (number * bytes, number.to_string().into())).collect()
        };
        assert_eq!(selected(inputs(3, 10)).len(), 3);
        let some = selected(inputs(300, 4));
        assert_eq!(some.len(), KEPT_INPUTS_MAX);
        assert_eq!((&some[0], &some[29]), (&"0".into(), &"290".into()));
        assert!(selected(inputs(30, 1_000)).len() < 10, "bytes count too");
    }

    #[test]
    fn what_people_named_is_kept() {
        assert!(is_hash(Path::new("x/da39a3ee5e6b4b0d3255bfef95601890afd80709")));
        assert!(!is_hash(Path::new("x/a-lock-without-a-name")));
    }
}
