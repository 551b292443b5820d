//! A story as text: its commands, what each node of ours is after each of them, and what is
//! remarked about raft-rs. The nodes are put together from the traces, which name everything that
//! is persisted, applied and announced.

use std::collections::BTreeMap;

/// A node as far as two implementations can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) role: String,
    pub(crate) term: u64,
    pub(crate) vote: u64,
    pub(crate) applied: u64,
    pub(crate) members: String,
    /// Entries by their index: term and content. What was compacted away is missing.
    pub(crate) log: BTreeMap<u64, String>,
    /// Known only where the story asks for the status.
    pub(crate) leader: Option<u64>,
    pub(crate) commit: Option<u64>,
}

/// A remark about raft-rs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) what: String,
    pub(crate) reason: String,
}

/// A command and what it came to.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// Where the command stands.
    pub(crate) line: usize,
    pub(crate) command: String,
    /// Our engine had nothing to do.
    pub(crate) idle: bool,
    pub(crate) states: BTreeMap<u64, State>,
    pub(crate) remarks: Vec<Remark>,
}

impl Scene {
    pub(crate) fn is_skipped(&self) -> bool {
        self.remarks.iter().any(|remark| remark.what == "skipped")
    }
}

impl State {
    /// Where `theirs` differs, and what it says there.
    pub(crate) fn differences(&self, theirs: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut field = |name: &str, ours: &str, theirs: &str| {
            if ours != theirs {
                found.push(format!("{name} {theirs}"));
            }
        };
        field("role", &self.role, &theirs.role);
        field("term", &self.term.to_string(), &theirs.term.to_string());
        field("vote", &self.vote.to_string(), &theirs.vote.to_string());
        field("applied", &self.applied.to_string(), &theirs.applied.to_string());
        field("members", &self.members, &theirs.members);
        for (name, ours, theirs) in
            [("leader", self.leader, theirs.leader), ("commit", self.commit, theirs.commit)]
        {
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                field(name, &ours.to_string(), &theirs.to_string());
            }
        }
        // What one of them has compacted away cannot be compared.
        let first = |log: &BTreeMap<u64, String>| log.keys().next().copied().unwrap_or(u64::MAX);
        let from = match (first(&self.log), first(&theirs.log)) {
            (u64::MAX, theirs) => theirs.max(self.applied + 1),
            (ours, u64::MAX) => ours.max(theirs.applied + 1),
            (ours, theirs) => ours.max(theirs),
        };
        let end = self.log.keys().chain(theirs.log.keys()).max().copied().unwrap_or(0);
        for index in from..=end {
            let at = |log: &BTreeMap<u64, String>| {
                log.get(&index).cloned().unwrap_or_else(|| "nothing".into())
            };
            field(&format!("log {index}"), &at(&self.log), &at(&theirs.log));
        }
        found
    }
}

/// The members as the traces name them.
pub(crate) fn members(sets: [(&str, Vec<u64>); 4]) -> String {
    let mut text = String::new();
    for (title, mut set) in sets {
        set.sort_unstable();
        let names: Vec<String> = set.iter().map(u64::to_string).collect();
        let names = names.join(" ");
        match title {
            "" => text = format!("({names})"),
            _ if names.is_empty() => {}
            _ => text = format!("{text} {title} ({names})"),
        }
    }
    text
}

/// A node of a cluster as a story's first command names it.
pub(crate) struct Cast {
    pub(crate) node: u64,
    pub(crate) outside: bool,
    pub(crate) terms: Vec<u64>,
}

/// Everybody, and who votes and who learns.
pub(crate) fn cast(words: &[&str]) -> (Vec<Cast>, Vec<u64>, Vec<u64>) {
    let (mut all, mut voters, mut learners) = (Vec::new(), Vec::new(), Vec::new());
    for word in words {
        let (name, log) = word.split_once(':').unwrap_or((word, ""));
        let node = name.trim_start_matches(['+', '-']).parse().expect("a node");
        match name.chars().next() {
            Some('+') => learners.push(node),
            Some('-') => {}
            _ => voters.push(node),
        }
        let terms = log.split(',').filter(|term| !term.is_empty());
        let terms = terms.map(|term| term.parse().expect("a term")).collect();
        all.push(Cast { node, outside: name.starts_with('-'), terms });
    }
    (all, voters, learners)
}

/// Reads a story.
pub(crate) fn scenes(text: &str) -> Vec<Scene> {
    let mut scenes: Vec<Scene> = Vec::new();
    let mut states = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(command) = line.strip_prefix("> ") {
            for state in states.values_mut() {
                let State { leader, commit, .. } = state;
                (*leader, *commit) = (None, None);
            }
            if let Some(words) = command.strip_prefix("cluster ") {
                states = beginning(&words.split_whitespace().collect::<Vec<_>>());
            }
            let (states, remarks) = (states.clone(), Vec::new());
            let command = command.to_owned();
            scenes.push(Scene { line: number, command, idle: false, states, remarks });
            continue;
        }
        let Some(scene) = scenes.last_mut() else { continue };
        if let Some(remark) = line.strip_prefix("#~ ") {
            let (what, reason) = remark.split_once(':').unwrap_or((remark, ""));
            scene.remarks.push(Remark { what: what.into(), reason: reason.trim().into() });
        } else if let Some((node, trace)) = line.split_once(": ")
            && let Ok(node) = node.parse()
        {
            scene.idle |= trace == "waits for nothing";
            happened(states.get_mut(&node).expect("a node of the story"), trace);
            scene.states.clone_from(&states);
        }
    }
    scenes
}

fn beginning(words: &[&str]) -> BTreeMap<u64, State> {
    let (all, voters, learners) = cast(words);
    let inside = members([
        ("", voters),
        ("outgoing", Vec::new()),
        ("learners", learners),
        ("learners next", Vec::new()),
    ]);
    let state = |cast: Cast| {
        let members = if cast.outside { "()".into() } else { inside.clone() };
        let term = cast.terms.last().copied().unwrap_or(0);
        let log = (1..).zip(cast.terms.iter().map(|term| format!("{term} blank"))).collect();
        let role = "Follower".into();
        (cast.node, State { role, term, members, log, ..State::default() })
    };
    all.into_iter().map(state).collect()
}

/// One line of a trace, after the node's name.
fn happened(state: &mut State, trace: &str) {
    let number = |word: Option<&&str>| word.and_then(|word| word.parse().ok()).expect("a number");
    let words: Vec<&str> = trace.split_whitespace().collect();
    match words.as_slice() {
        ["persist", ..] => {
            if let ["persist", "term", term, "vote", vote, ..] = words.as_slice() {
                (state.term, state.vote) = (number(Some(term)), number(Some(vote)));
            }
            let entries = listed(trace);
            if let Some((first, _)) = entries.first() {
                state.log.retain(|index, _| index < first);
            }
            state.log.extend(entries);
        }
        ["apply", ..] => state.applied = listed(trace).last().expect("entries").0,
        ["install", place] => {
            let (_, index) = place.split_once('/').expect("a place");
            state.applied = number(Some(&index));
            state.log.clear();
        }
        [role, "of", "term", term, rest @ ..] => {
            state.role = if *role == "Learner" { "Follower".into() } else { (*role).into() };
            state.term = number(Some(&term.trim_end_matches(',')));
            let rest = rest.join(" ");
            match rest.split_once(", commit ") {
                None => state.members = rest,
                Some((leader, commit)) => {
                    let (commit, _) = commit.split_once(',').expect("a commit index");
                    state.leader = leader.strip_prefix("leader ").and_then(|l| l.parse().ok());
                    state.commit = commit.parse().ok();
                }
            }
        }
        _ => {}
    }
}

/// Entries in brackets: index, and term and content.
fn listed(trace: &str) -> Vec<(u64, String)> {
    let entries = trace.split('[').skip(1).map(|entry| entry.split(']').next().unwrap_or(entry));
    let entry = |entry: &str| {
        let (place, what) = entry.split_once(' ').expect("a place and a content");
        let (term, index) = place.split_once('/').expect("a place");
        let what = if what.starts_with('(') { "change" } else { what };
        (index.parse().expect("an index"), format!("{term} {what}"))
    };
    entries.map(entry).collect()
}
