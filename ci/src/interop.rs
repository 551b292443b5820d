//! `cargo ci interop`: unmodified Nacos clients against the release binary.
//!
//! Each client is a small program below `tests/interop/` that gets the server's address as its only
//! argument and prints one line per case: `ok NAME`, `FAIL NAME why` or `skip NAME why`. When it
//! prints `RESTART` the server is killed and started again on the same data, and the program is
//! answered `RESTARTED`, or `CANNOT` when the server is somebody else's. With `--nodes 3` the
//! address is a list, and `RESTART` kills one node after the other and leaves it away until the
//! next time. With `--auth` the nodes ask for users, and the program finds its own in
//! `NACOS_USERNAME` and `NACOS_PASSWORD`. Client libraries come from their public registries and
//! are kept below `target/interop/`.

mod clients;

use crate::process::now;
use crate::server::{self, ADMINISTRATOR, Password, Server};
use crate::tree;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clients::{CLIENTS, Client, Runs};

/// The longest silence of a client: a long poll of 30 s, twice.
const SILENCE_MAX: Duration = Duration::from_secs(75);

/// What the clients are pointed at.
enum Servers {
    /// A server that runs already, by its address.
    Running(String),
    /// A program to start for each client, as how many nodes, and whether they ask for users.
    Binary { path: PathBuf, count: usize, auth: bool },
}

/// How the cases of one client went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// What one line of a client's output means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Ok,
    Fail,
    Skip,
    Restart,
    Talk,
}

impl Line {
    fn of(text: &str) -> Self {
        match text.split_whitespace().next() {
            Some("ok") => Self::Ok,
            Some("FAIL") => Self::Fail,
            Some("skip") => Self::Skip,
            Some("RESTART") => Self::Restart,
            _ => Self::Talk,
        }
    }
}

/// What `cargo ci interop` was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wishes<'a> {
    count: usize,
    auth: bool,
    base: Option<&'a str>,
    binary: Option<&'a str>,
    names: &'a [&'a str],
}

impl<'a> Wishes<'a> {
    /// Options in any order, then names of clients; or what is wrong with them.
    fn of(mut words: &'a [&'a str]) -> Result<Self, String> {
        let mut wishes = Self { count: 1, auth: false, base: None, binary: None, names: &[] };
        loop {
            words = match words {
                ["--nodes", count, rest @ ..] => {
                    wishes.count = count.parse().unwrap_or(0);
                    rest
                }
                ["--auth", rest @ ..] => {
                    wishes.auth = true;
                    rest
                }
                ["--base", base, rest @ ..] => {
                    wishes.base = Some(base.trim_end_matches('/'));
                    rest
                }
                ["--binary", path, rest @ ..] => {
                    wishes.binary = Some(path);
                    rest
                }
                names => {
                    wishes.names = names;
                    break;
                }
            };
        }
        if !(1..=7).contains(&wishes.count) {
            return Err("--nodes takes a number from 1 to 7".into());
        }
        if wishes.base.is_some() && (wishes.binary.is_some() || wishes.auth) {
            return Err("--base is a server that runs already: no --binary, no --auth".into());
        }
        match wishes.names.iter().find(|name| !CLIENTS.iter().any(|c| c.name == **name)) {
            Some(name) => Err(format!("unknown client: {name}")),
            None => Ok(wishes),
        }
    }
}

/// Runs the clients named in `words`, or all; true if every case of every client passed.
pub(crate) fn run(words: &[&str]) -> bool {
    let root = tree::root();
    let Wishes { count, auth, base, binary, names } = match Wishes::of(words) {
        Ok(wishes) => wishes,
        Err(wrong) => {
            println!("{wrong}");
            return false;
        }
    };
    let target = match (base, binary) {
        (Some(base), _) => Servers::Running(base.into()),
        (None, Some(path)) => Servers::Binary { path: root.join(path), count, auth },
        (None, None) => match server::release_binary(&root) {
            Some(path) => Servers::Binary { path, count, auth },
            None => return false,
        },
    };

    let mut results = Vec::new();
    let is_wanted = |client: &&Client| match names {
        [] => match client.runs {
            Runs::Always => true,
            Runs::OneNode => count == 1,
            Runs::Nightly => false,
        },
        names => names.contains(&client.name),
    };
    for client in CLIENTS.iter().filter(is_wanted) {
        let folder = root.join("target/interop").join(client.name);
        let tally = if let Err(error) = fs::create_dir_all(&folder) {
            failure(client.name, &format!("{}: {error}", folder.display()))
        } else if !(client.prepare)(&root) {
            failure(client.name, "its library could not be installed")
        } else {
            serve(client, &root, &folder, &target)
        };
        results.push((client, tally));
    }
    summary(&results)
}

/// The clients that take too long for every build, with and without users; true if none failed.
pub(crate) fn nightly() -> bool {
    let names: Vec<_> =
        CLIENTS.iter().filter(|client| client.runs == Runs::Nightly).map(|c| c.name).collect();
    let with_users = [&["--auth"], names.as_slice()].concat();
    // Both, whatever the first finds.
    run(&names) & run(&with_users)
}

/// Runs one client against a server of its own, or against the one that runs already.
fn serve(client: &Client, root: &Path, folder: &Path, target: &Servers) -> Tally {
    let (path, count, auth) = match target {
        Servers::Running(base) => return converse((client.command)(root), client, base, None),
        Servers::Binary { path, count, auth } => (path, *count, *auth),
    };
    let started = || {
        let password = auth.then(|| Password::write(folder)).transpose()?;
        Ok((Server::start(path, folder, count, password.as_ref())?, password))
    };
    let (mut server, password) = match started() {
        Ok(started) => started,
        Err(error) => {
            let error: std::io::Error = error;
            return failure(client.name, &format!("server: {error}"));
        }
    };
    let mut command = (client.command)(root);
    if let Some(password) = password {
        command.env("NACOS_USERNAME", ADMINISTRATOR).env("NACOS_PASSWORD", password.text());
    }
    let base = server.base();
    converse(command, client, &base, Some(&mut server))
}

/// A client that could not even start counts as one failed case.
fn failure(name: &str, why: &str) -> Tally {
    println!("[{name}] FAIL start {why}");
    Tally { failed: 1, ..Tally::default() }
}

fn summary(results: &[(&Client, Tally)]) -> bool {
    println!("\n{:<10} {:<30} {:>7} {:>8}", "client", "library", "passed", "skipped");
    let mut sum = Tally::default();
    for (client, tally) in results {
        let passed = format!("{}/{}", tally.passed, tally.passed + tally.failed);
        println!("{:<10} {:<30} {passed:>7} {:>8}", client.name, client.library, tally.skipped);
        sum.passed += tally.passed;
        sum.failed += tally.failed;
    }
    println!("{} passed, {} failed", sum.passed, sum.failed);
    sum.failed == 0 && sum.passed > 0
}

/// Runs one client's program to its end and answers its requests for restarts.
fn converse(
    mut command: Command,
    client: &Client,
    base: &str,
    mut server: Option<&mut Server>,
) -> Tally {
    println!("── {} ({}) against {base}", client.name, client.library);
    let start = now();
    command.arg(base).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            return failure(client.name, &format!("{:?}: {error}", command.get_program()));
        }
    };
    let (Some(mut answers), Some(lines)) = (child.stdin.take(), lines(&mut child)) else {
        return failure(client.name, "its standard streams are missing");
    };
    let mut tally = Tally::default();
    let ended = loop {
        match lines.recv_timeout(SILENCE_MAX) {
            Ok(line) => {
                println!("[{}] {line}", client.name);
                match Line::of(&line) {
                    Line::Ok => tally.passed += 1,
                    Line::Fail => tally.failed += 1,
                    Line::Skip => tally.skipped += 1,
                    Line::Talk => {}
                    Line::Restart => {
                        if let Err(error) = restart(&mut answers, server.as_deref_mut()) {
                            println!("[{}] restart: {error}", client.name);
                        }
                    }
                }
            }
            Err(RecvTimeoutError::Disconnected) => break child.wait(),
            Err(RecvTimeoutError::Timeout) => {
                println!("[{}] silent for {SILENCE_MAX:?}, killed", client.name);
                break child.kill().and_then(|()| child.wait());
            }
        }
    };
    // A program that broke off has cases it never told about, whatever it said before.
    let broke_off = match ended {
        Ok(status) if status.success() => tally.passed == 0,
        Ok(_) | Err(_) => tally.failed == 0,
    };
    if broke_off {
        println!("[{}] FAIL end {ended:?}", client.name);
        tally.failed += 1;
    }
    println!("── {}: {:.1} s", client.name, start.elapsed().as_secs_f64());
    tally
}

/// The output of a program, line by line, readable with a timeout.
fn lines(child: &mut Child) -> Option<Receiver<String>> {
    let output = BufReader::new(child.stdout.take()?);
    // Bounded so that a client that talks without end is held back rather than collected.
    let (sender, receiver) = mpsc::sync_channel(64);
    thread::spawn(move || {
        for line in output.lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    Some(receiver)
}

/// Restarts the server if it is ours, and tells the program.
fn restart(answers: &mut ChildStdin, server: Option<&mut Server>) -> std::io::Result<()> {
    let answer = match server {
        Some(server) => server.restart().map(|()| "RESTARTED"),
        None => Ok("CANNOT"),
    };
    writeln!(answers, "{}", answer.as_ref().unwrap_or(&"CANNOT"))?;
    answers.flush()?;
    answer.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_in_any_order_before_the_clients() {
        let wishes =
            |words: &[&str], expected: Result<(usize, bool, Option<&str>, usize), &str>| {
                let found = Wishes::of(words)
                    .map(|found| (found.count, found.auth, found.binary, found.names.len()));
                assert_eq!(found, expected.map_err(str::to_owned), "{words:?}");
            };
        wishes(&[], Ok((1, false, None, 0)));
        wishes(&["go", "node"], Ok((1, false, None, 2)));
        wishes(&["--auth", "--nodes", "3", "--binary", "b", "go"], Ok((3, true, Some("b"), 1)));
        wishes(&["--binary", "b", "--auth"], Ok((1, true, Some("b"), 0)));
        wishes(&["--nodes", "8"], Err("--nodes takes a number from 1 to 7"));
        wishes(&["--nodes"], Err("unknown client: --nodes"));
        wishes(&["go", "--auth"], Err("unknown client: --auth"));
        let taken = "--base is a server that runs already: no --binary, no --auth";
        wishes(&["--auth", "--base", "http://a/"], Err(taken));
    }

    #[test]
    fn a_line_is_known_by_its_first_word() {
        for (text, expected) in [
            ("ok publish", Line::Ok),
            ("FAIL publish got 500", Line::Fail),
            ("skip restart not our server", Line::Skip),
            ("RESTART", Line::Restart),
            ("okay then", Line::Talk),
            ("a FAIL", Line::Talk),
            ("", Line::Talk),
        ] {
            assert_eq!(Line::of(text), expected, "{text:?}");
        }
    }
}
