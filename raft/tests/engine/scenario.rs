//! Stories in plain text: `raft/scenarios/*.txt`. A line that begins with `>` is a command, `#` is
//! a comment, and what follows a command is the trace it must leave. `UPDATE=1 cargo test` rewrites
//! the traces; the difference is what gets reviewed. `#~` explains where raft-rs differs:
//! `cargo ci oracle`.
//!
//! ```text
//! > cluster 1 2 3          voters; `+4` is a learner, `-5` a node outside; `1:1,1,2` gives node 1
//!                          a log of these terms
//! > wake 1                 time passes up to node 1's next deadline
//! > deliver                everything on the wire, and what it leads to
//! > deliver 1 2            only what is on the way from 1 to 2 now; `drop` likewise loses it
//! > cut 1                  nothing more goes to or comes from node 1 until `heal 1`
//! > disk 1 slow            writes do not complete until `disk 1 ok`
//! > propose 1 text         also: read 1, transfer 1 2, snapshot 1
//! > change 1 add 4         also: remove 2 3, promote 4, voters 1 2
//! > status                 one line for each node
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::path::Path;

use nacolet_model::{Instant, NodeId, RequestId};
use nacolet_raft::engine::{
    AppendResult, Engine, EngineConfig, Input, Message, MessageBody, Output, PersistId, Start,
};
use nacolet_raft::{
    Entry, EntryPayload, HardState, LogId, Membership, MembershipChange, SnapshotMeta, Term,
};

use crate::rig::{entries, membership};
use crate::world::id;

#[derive(Debug)]
struct Actor {
    engine: Engine,
    /// Completions that a slow disk owes.
    slow_disk: Option<Vec<PersistId>>,
    /// What its state machine holds.
    meta: SnapshotMeta,
    snapshot: SnapshotMeta,
}

#[derive(Debug)]
enum Parcel {
    Message(Message),
    Snapshot(Term, SnapshotMeta),
}

#[derive(Debug, Default)]
struct Stage {
    now: Instant,
    actors: BTreeMap<NodeId, Actor>,
    wire: VecDeque<(NodeId, NodeId, Parcel)>,
    /// What the disks and the state machines answer, in order.
    answers: VecDeque<(NodeId, Input)>,
    cut: BTreeSet<NodeId>,
    requests: u64,
    trace: Vec<String>,
}

fn numbers(words: &[&str]) -> BTreeSet<NodeId> {
    words.iter().map(|word| id(word.parse().expect("a node"))).collect()
}

impl Stage {
    fn command(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["cluster", members @ ..] => self.cluster(members),
            ["deliver"] => self.deliver_all(),
            ["drop"] => self.wire.clear(),
            ["status"] => self.status(),
            ["cut", node] => {
                self.cut.extend(numbers(&[node]));
                let cut = &self.cut;
                self.wire.retain(|(from, to, _)| !cut.contains(from) && !cut.contains(to));
            }
            ["heal", node] => {
                self.cut.remove(&id(node.parse().expect("a node")));
            }
            ["deliver", from, to] => {
                for (from, to, parcel) in self.take(from, to) {
                    self.deliver(from, to, parcel);
                }
            }
            ["drop", from, to] => {
                self.take(from, to);
            }
            [verb, node, rest @ ..] => {
                let node = id(node.parse().expect("a node"));
                self.act(verb, node, rest);
            }
            _ => panic!("unknown command: {line}"),
        }
    }

    fn cluster(&mut self, members: &[&str]) {
        let mut logs: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let (mut voters, mut learners, mut outside) = (Vec::new(), Vec::new(), Vec::new());
        for member in members {
            let (name, log) = member.split_once(':').unwrap_or((member, ""));
            let node: u64 = name.trim_start_matches(['+', '-']).parse().expect("a node");
            match name.chars().next() {
                Some('+') => learners.push(node),
                Some('-') => outside.push(node),
                _ => voters.push(node),
            }
            let terms = log.split(',').filter(|term| !term.is_empty());
            logs.insert(node, terms.map(|term| term.parse().expect("a term")).collect());
        }
        let meta =
            SnapshotMeta { membership: membership(&voters, &[], &learners), ..Default::default() };
        for (node, terms) in logs {
            let meta = if outside.contains(&node) { SnapshotMeta::default() } else { meta.clone() };
            let mut config = EngineConfig::new(id(node), 1);
            config.tail_entries_max = 4;
            let term = Term(terms.last().copied().unwrap_or(0));
            let start = Start {
                hard_state: HardState { term, ..HardState::default() },
                entries: entries(1, &terms),
                snapshot: Some(meta.clone()),
                ..Start::default()
            };
            let engine = Engine::new(config, start, self.now).expect("a good start");
            let actor =
                Actor { engine, slow_disk: None, meta: meta.clone(), snapshot: meta.clone() };
            self.actors.insert(id(node), actor);
        }
    }

    fn act(&mut self, verb: &str, node: NodeId, rest: &[&str]) {
        self.requests += 1;
        let request = RequestId(self.requests);
        let input = match (verb, rest) {
            ("wake", []) => {
                let Some(deadline) = self.actors[&node].engine.next_deadline() else {
                    self.trace.push(format!("{}: waits for nothing", node.0));
                    return;
                };
                self.now = self.now.max(deadline);
                Input::Wake
            }
            ("disk", ["slow"]) => {
                self.actor(node).slow_disk = Some(Vec::new());
                return;
            }
            ("disk", ["ok"]) => {
                let owed = self.actor(node).slow_disk.take().unwrap_or_default();
                for done in owed {
                    self.turn(node, Input::Persisted(done));
                }
                return;
            }
            ("propose", [text]) => Input::Propose { request, command: text.as_bytes().into() },
            ("read", []) => Input::ReadIndex { request },
            ("snapshot", []) => Input::TriggerSnapshot,
            ("transfer", target) => {
                Input::TransferLeader { request, target: numbers(target).first().copied() }
            }
            ("change", ["add", learner]) => {
                let learner = id(learner.parse().expect("a node"));
                let address = format!("host:{}", learner.0);
                let change = MembershipChange::AddLearner { node: learner, address };
                Input::ChangeMembership { request, change }
            }
            ("change", [kind, nodes @ ..]) => {
                let nodes = numbers(nodes);
                let change = match *kind {
                    "remove" => MembershipChange::Remove(nodes),
                    "promote" => MembershipChange::Promote(nodes),
                    "voters" => MembershipChange::SetVoters(nodes),
                    other => panic!("unknown change: {other}"),
                };
                Input::ChangeMembership { request, change }
            }
            (verb, rest) => panic!("unknown command: {verb} {rest:?}"),
        };
        self.turn(node, input);
    }

    fn actor(&mut self, node: NodeId) -> &mut Actor {
        self.actors.get_mut(&node).expect("a member")
    }

    /// One turn, and then those that its orders lead to on this node's own disk and state machine.
    fn turn(&mut self, node: NodeId, input: Input) {
        self.one_turn(node, input);
        while let Some((node, answer)) = self.answers.pop_front() {
            self.one_turn(node, answer);
        }
    }

    fn one_turn(&mut self, node: NodeId, input: Input) {
        let now = self.now;
        let actor = self.actor(node);
        let mut out = Vec::new();
        actor.engine.step(now, input, &mut out);
        actor.engine.flush(now, &mut out);
        actor.engine.invariants();
        for output in out {
            self.show(node, &output);
            self.carry_out(node, output);
        }
    }

    fn carry_out(&mut self, node: NodeId, output: Output) {
        let actor = self.actor(node);
        match output {
            Output::Persist { id, .. } => match &mut actor.slow_disk {
                Some(owed) => owed.push(id),
                None => self.answers.push_back((node, Input::Persisted(id))),
            },
            Output::Send { to, message } => {
                if !self.cut.contains(&node) && !self.cut.contains(&to) {
                    self.wire.push_back((node, to, Parcel::Message(message)));
                }
            }
            Output::Apply(entries) => {
                for entry in &entries {
                    actor.meta.last = entry.id;
                    if let EntryPayload::Membership(membership) = &entry.payload {
                        actor.meta.membership = (**membership).clone();
                    }
                }
                let applied = actor.meta.last.index;
                self.answers.push_back((node, Input::Applied(applied)));
            }
            Output::BuildSnapshot => {
                actor.snapshot = actor.meta.clone();
                let meta = actor.meta.clone();
                self.answers.push_back((node, Input::SnapshotBuilt(meta)));
            }
            Output::SendSnapshot { to, term } => {
                let meta = actor.snapshot.clone();
                self.wire.push_back((node, to, Parcel::Snapshot(term, meta)));
            }
            Output::InstallSnapshot(meta) => {
                actor.meta = meta.clone();
                actor.snapshot = meta.clone();
                self.answers.push_back((node, Input::SnapshotInstalled(meta)));
            }
            Output::Proposed { .. }
            | Output::Refused { .. }
            | Output::ReadReady { .. }
            | Output::Transferred { .. }
            | Output::Purge(_)
            | Output::DiscardSnapshot(_)
            | Output::StatusChanged => {}
        }
    }

    fn take(&mut self, from: &str, to: &str) -> Vec<(NodeId, NodeId, Parcel)> {
        let (from, to) = (id(from.parse().expect("a node")), id(to.parse().expect("a node")));
        let all = core::mem::take(&mut self.wire);
        let (taken, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|parcel| (parcel.0, parcel.1) == (from, to));
        self.wire = rest.into();
        taken
    }

    fn deliver_all(&mut self) {
        for _ in 0..10_000 {
            let Some((from, to, parcel)) = self.wire.pop_front() else { return };
            self.deliver(from, to, parcel);
        }
        panic!("the wire never falls silent");
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, parcel: Parcel) {
        if !self.actors.contains_key(&to) {
            return;
        }
        match parcel {
            Parcel::Message(message) => self.turn(to, Input::Receive { from, message }),
            Parcel::Snapshot(term, meta) => {
                let last = meta.last;
                self.turn(to, Input::SnapshotReceived { from, term, meta });
                self.turn(from, Input::SnapshotSent { to, last, delivered: true });
            }
        }
    }

    fn status(&mut self) {
        for actor in self.actors.values() {
            let status = actor.engine.status();
            let mut line = format!(
                "{}: {:?} of term {}, leader {}, commit {}, last {}, members {}",
                status.id.0,
                status.role,
                status.term.0,
                status.leader.map_or(0, |leader| leader.0),
                status.commit_index.0,
                place(status.last),
                members(&status.membership),
            );
            for (node, follower) in &status.followers {
                let (state, index) = (follower.state, follower.match_index.0);
                write!(line, ", {}:{state:?}@{index}", node.0).expect("memory");
            }
            self.trace.push(line);
        }
    }

    fn show(&mut self, node: NodeId, output: &Output) {
        let node = node.0;
        let line = match output {
            Output::Persist { hard_state, entries, .. } => {
                let state = hard_state.map_or_else(String::new, |state| {
                    let vote = state.voted_for.map_or(0, |vote| vote.0);
                    format!(" term {} vote {vote} commit {}", state.term.0, state.commit_index.0)
                });
                format!("{node}: persist{state}{}", list(entries))
            }
            Output::Send { to, message } => format!("{node} -> {}: {}", to.0, say(message)),
            Output::Apply(entries) => format!("{node}: apply{}", list(entries)),
            Output::Proposed { id, .. } => format!("{node}: proposed at {}", place(*id)),
            Output::Refused { reason, .. } => format!("{node}: refused, {reason}"),
            Output::ReadReady { index, .. } => format!("{node}: read after {}", index.0),
            Output::Transferred { leader, .. } => format!("{node}: transferred to {}", leader.0),
            Output::BuildSnapshot => format!("{node}: build snapshot"),
            Output::Purge(index) => format!("{node}: purge {}", index.0),
            Output::SendSnapshot { to, .. } => format!("{node} -> {}: snapshot", to.0),
            Output::InstallSnapshot(meta) => format!("{node}: install {}", place(meta.last)),
            Output::DiscardSnapshot(meta) => format!("{node}: discard {}", place(meta.last)),
            Output::StatusChanged => {
                let status = self.actors[&id(node)].engine.status();
                let (role, term) = (status.role, status.term.0);
                format!("{node}: {role:?} of term {term}, {}", members(&status.membership))
            }
        };
        self.trace.push(line);
    }
}

fn place(id: LogId) -> String {
    format!("{}/{}", id.term.0, id.index.0)
}

fn members(membership: &Membership) -> String {
    let names = |set: &BTreeSet<NodeId>| {
        set.iter().map(|node| node.0.to_string()).collect::<Vec<_>>().join(" ")
    };
    let mut text = format!("({})", names(&membership.voters));
    for (title, set) in [
        ("outgoing", &membership.outgoing),
        ("learners", &membership.learners),
        ("learners next", &membership.learners_next),
    ] {
        if !set.is_empty() {
            write!(text, " {title} ({})", names(set)).expect("memory");
        }
    }
    text
}

fn list(entries: &[Entry]) -> String {
    let one = |entry: &Entry| {
        let what = match &entry.payload {
            EntryPayload::Blank => String::from("blank"),
            EntryPayload::Command(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
            EntryPayload::Membership(membership) => members(membership),
        };
        format!(" [{} {what}]", place(entry.id))
    };
    entries.iter().map(one).collect()
}

fn say(message: &Message) -> String {
    let text = match &message.body {
        MessageBody::RequestPreVote { last } => format!("would you vote? last {}", place(*last)),
        MessageBody::PreVoteReply { granted } => format!("pre-vote granted {granted}"),
        MessageBody::RequestVote { last, transfer } => {
            let order = if *transfer { " by order" } else { "" };
            format!("vote{order}, last {}", place(*last))
        }
        MessageBody::VoteReply { granted } => format!("vote granted {granted}"),
        MessageBody::AppendEntries { previous, entries, commit_index } => {
            format!("append after {} commit {}{}", place(*previous), commit_index.0, list(entries))
        }
        MessageBody::AppendEntriesReply { result: AppendResult::Matched(index) } => {
            format!("matched {}", index.0)
        }
        MessageBody::AppendEntriesReply { result: AppendResult::Conflict { rejected, hint } } => {
            format!("conflict at {}, try {}", rejected.0, place(*hint))
        }
        MessageBody::Heartbeat { commit_index, read } => {
            format!("heartbeat commit {} read {read}", commit_index.0)
        }
        MessageBody::HeartbeatReply { read } => format!("alive, read {read}"),
        MessageBody::TimeoutNow => String::from("campaign now"),
        MessageBody::SnapshotReply { last } => format!("installed {}", place(*last)),
        MessageBody::Committed { last } => format!("{} is committed", place(*last)),
    };
    format!("t{} {text}", message.term.0)
}

/// The story with the traces that its commands leave now.
fn told_anew(story: &str) -> String {
    let mut stage = Stage { now: Instant::from_millis(1), ..Stage::default() };
    let mut told = String::new();
    for line in story.lines() {
        let Some(command) = line.strip_prefix("> ") else {
            if line.is_empty() || line.starts_with('#') {
                writeln!(told, "{line}").expect("memory");
            }
            continue;
        };
        stage.command(command);
        writeln!(told, "{line}").expect("memory");
        for trace in stage.trace.drain(..) {
            writeln!(told, "{trace}").expect("memory");
        }
    }
    told
}

#[test]
fn every_scenario_leaves_the_trace_it_tells() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut stories = 0;
    for file in std::fs::read_dir(folder).expect("the folder of scenarios") {
        let path = file.expect("a file").path();
        let story = std::fs::read_to_string(&path).expect("a story");
        let told = told_anew(&story);
        stories += 1;
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, told).expect("a place to write");
        } else if told != story {
            let differs = told.lines().zip(story.lines()).position(|(now, then)| now != then);
            let at = differs.unwrap_or(0);
            let (now, then) = (told.lines().nth(at), story.lines().nth(at));
            panic!("{}:{}: {now:?}, expected {then:?}", path.display(), at + 1);
        }
    }
    assert!(stories >= 10, "only {stories} stories found");
}
