//! What Java Nacos answered, asked again of a node: `docs/nacos/golden/http/`, line by line.
//! Each answer must say what Nacos 2.5.1 or 3.1 said (3.1 for its own paths); where it does not,
//! a list in `differences/` names the line and why.
//!
//! `grpc.jsonl` beside it is played by `grpc.rs`.
//!
//! `GOLDEN=ns1_basic cargo test -p nacolet --test golden -- --nocapture` shows one scenario, and
//! `GOLDEN=` all, whatever the list says.

#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::unwrap_in_result,
    reason = "a test that reads what is recorded, and shows what it found"
)]

#[expect(dead_code, reason = "each test binary uses its part")]
#[path = "../support/mod.rs"]
mod support;

mod compare;
mod grpc;
mod http;
mod listed;
mod prefix;
mod request;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::Deserialize;

use compare::{Answer, difference, of_bodies};
use request::Request;
use support::{Node, TempDir};

/// The files of the record, in the order in which they were recorded.
fn record() -> Vec<Line> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/nacos/golden/http");
    let files = std::fs::read_dir(folder).expect("the record");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    let texts = files.into_iter().map(|file| std::fs::read_to_string(file).expect("text"));
    let lines = |text: String| -> Vec<Line> {
        text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect()
    };
    texts.flat_map(lines).collect()
}

#[derive(Deserialize)]
struct Line {
    scenario: String,
    n: u32,
    request: String,
    #[serde(default)]
    note: String,
    #[serde(rename = "nacos_2.5.1")]
    two: Recorded,
    #[serde(rename = "nacos_3.1")]
    three: Recorded,
}

#[derive(Deserialize)]
struct Recorded {
    /// -1 where the server gave no answer.
    status: i32,
    body: String,
}

/// The ports that the two servers were recorded at.
const PORTS: [&str; 2] = ["16150", "16100"];

impl Recorded {
    /// As a server at the address of ours would have said it.
    fn at(&self, port: &str) -> Answer {
        let body = PORTS.iter().fold(self.body.clone(), |body, recorded| {
            body.replace(&format!(":{recorded}"), &format!(":{port}"))
        });
        Answer { status: self.status, body }
    }
}

/// The servers of the record, each by its first scenario and whether users had to log in there.
const SERVERS: [(&str, bool); 3] = [("cfg1_basic", false), ("cfg1_ns", false), ("auth_on", true)];

/// What became of one line.
#[derive(Debug)]
enum Outcome {
    Same,
    Differs(String),
    /// The record does not hold the request whole.
    Unknown,
}

/// Who asks in `auth_on`: the user of the last login before a line, or the one its note names.
struct Tokens(BTreeMap<(&'static str, &'static str), String>);

const ADMIN: &str = "nacos";
const ADMIN_PASSWORD: &str = "Oracle-pass-1";
/// The lines from which on somebody else asks, and with which password that user logged in; not
/// every login is recorded.
const CALLERS: [(u32, &str, &str); 7] = [
    (164, "bob", "bobpass1"),
    (190, "ben", "benpass11"),
    (222, "dan", "danpass11"),
    (259, "bob", "bobpass2"),
    (262, ADMIN, ADMIN_PASSWORD),
    // A user who is removed by then.
    (272, "bob", "bobpass2"),
    (273, ADMIN, ADMIN_PASSWORD),
];

impl Tokens {
    fn caller(n: u32) -> (&'static str, &'static str) {
        let last = CALLERS.iter().rev().find(|(first, _, _)| *first <= n);
        last.map_or((ADMIN, ADMIN_PASSWORD), |(_, user, password)| (user, password))
    }

    fn of(&mut self, address: &str, line: &Line) -> Option<&str> {
        let (user, password) = Self::caller(line.n);
        let known = match self.0.entry((user, password)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let form = format!("username={user}&password={password}");
                let login = format!("POST /nacos/v1/auth/login form{{{form}}}");
                let answer = http::ask(address, &Request::read(&login).expect("whole"), None);
                let body: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
                unknown.insert(body["accessToken"].as_str()?.to_owned())
            }
        };
        Some(known)
    }
}

fn judge(line: &Line, ours: &Answer, port: &str) -> Outcome {
    let (two, three) = (line.two.at(port), line.three.at(port));
    let Some(newer) = difference(ours, &three) else { return Outcome::Same };
    if line.request.contains("/nacos/v3/") {
        return Outcome::Differs(newer);
    }
    let Some(older) = difference(ours, &two) else { return Outcome::Same };
    // A refusal may have the status of one and the shape of the other.
    let status = [two.status, three.status].contains(&ours.status) && ours.status >= 400;
    if status && [&two, &three].iter().any(|nacos| of_bodies(ours, nacos).is_none()) {
        return Outcome::Same;
    }
    Outcome::Differs(format!("2.5.1: {older}; 3.1: {newer}"))
}

fn play(lines: &[Line], auth: bool) -> Vec<Outcome> {
    let data = TempDir::new("golden");
    let secrets = TempDir::new("golden-secrets");
    let file = secrets.path().join("password");
    std::fs::write(&file, ADMIN_PASSWORD).expect("writable");
    let file = file.to_str().expect("text");
    let environment = [("NACOLET_AUTH", "true"), ("NACOLET_ADMIN_PASSWORD_FILE", file)];
    let environment: &[_] = if auth { &environment } else { &[] };
    let node = Node::try_start(data.path(), environment).expect("the node becomes ready");
    let port = node.address.rsplit(':').next().expect("a port");
    let mut tokens = Tokens(BTreeMap::new());
    let wanted = std::env::var("GOLDEN").ok();
    let mut outcomes = Vec::new();
    for line in lines {
        let Some(request) = Request::read(&line.request) else {
            outcomes.push(Outcome::Unknown);
            continue;
        };
        let needs_token = line.request.contains("<token>");
        let token = needs_token.then(|| tokens.of(&node.address, line)).flatten();
        let ours = http::ask(&node.address, &request, token);
        let outcome = judge(line, &ours, port);
        if let (Outcome::Differs(how), Some(wanted)) = (&outcome, &wanted)
            && line.scenario.starts_with(wanted.as_str())
        {
            let Line { scenario, n, request, note, two, three } = line;
            println!(
                "{scenario} {n}: {how}\n  {request} {note}\n  ours  {} {}\n  2.5.1 {} {}\n  3.1   {} {}",
                ours.status,
                ours.body.trim_end(),
                two.status,
                two.body.trim_end(),
                three.status,
                three.body.trim_end()
            );
        }
        outcomes.push(outcome);
    }
    outcomes
}

#[test]
fn answers_are_those_of_nacos() {
    let lines = record();
    let mut starts: Vec<usize> = SERVERS
        .iter()
        .map(|(first, _)| {
            lines.iter().position(|line| line.scenario == *first).expect("it is recorded")
        })
        .collect();
    starts.push(lines.len());
    let mut outcomes = Vec::new();
    for (server, (_, auth)) in SERVERS.iter().enumerate() {
        outcomes.extend(play(&lines[starts[server]..starts[server + 1]], *auth));
    }
    conclude(lines.iter().map(|line| (line.scenario.clone(), line.n)).zip(&outcomes));
}

/// Fails where a line differs that no list names, or one is named that does not differ.
fn conclude<'a>(outcomes: impl Iterator<Item = ((String, u32), &'a Outcome)>) {
    let listed = listed::read();
    let (mut same, mut unknown, mut named, mut wrong) = (0, 0, 0, Vec::new());
    for (key, outcome) in outcomes {
        let (scenario, n) = &key;
        match (outcome, listed.contains_key(&key)) {
            (Outcome::Unknown, _) => unknown += 1,
            (Outcome::Same, false) => same += 1,
            (Outcome::Differs(_), true) => named += 1,
            (Outcome::Same, true) => wrong.push(format!("{scenario} {n}: listed, and the same")),
            (Outcome::Differs(how), false) => wrong.push(format!("{scenario} {n}: {how}")),
        }
    }
    println!(
        "{} lines: {same} the same, {named} different on purpose, {unknown} not recorded whole, {} wrong",
        same + named + unknown + wrong.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
