//! A cluster of raft-rs that acts out the commands of a story: its disks are fast unless they are
//! told to be slow, its wire holds everything until it is delivered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protobuf::Message as _;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState, Entry,
    EntryType, HardState, Message, MessageType,
};
use raft::storage::MemStorage;
use raft::{Config, GetEntriesContext, RawNode, SnapshotStatus, StateRole};

use crate::story::{Scene, State, cast, members};

/// Applied entries that stay in the log, as in the stories.
const TAIL_ENTRIES: u64 = 4;

/// A tick is a heartbeat of ours, and the shortest election timeout four of them.
const ELECTION_TICKS: usize = 4;

struct Actor {
    node: RawNode<MemStorage>,
    /// Not a member at first. Changes are differences in raft-rs, so it begins with the membership
    /// that they start from, which it shows to nobody before it has applied something.
    outside: bool,
    applied: u64,
    /// What a slow disk owes: the number of the write, and what waits for it.
    owed: Option<Vec<(u64, Vec<Message>)>>,
}

/// A cluster.
#[derive(Default)]
pub(crate) struct Stage {
    actors: BTreeMap<u64, Actor>,
    wire: VecDeque<Message>,
    cut: BTreeSet<u64>,
}

impl Stage {
    /// Acts out one command.
    pub(crate) fn command(&mut self, scene: &Scene) {
        let words: Vec<&str> = scene.command.split_whitespace().collect();
        let number = |word: &str| word.parse::<u64>().expect("a number");
        match words.as_slice() {
            ["cluster", words @ ..] => self.begin(words),
            ["status"] => {}
            ["drop"] => self.wire.clear(),
            ["deliver"] => {
                while let Some(message) = self.wire.pop_front() {
                    self.deliver(message);
                }
            }
            ["deliver", from, to] => {
                for message in self.take(number(from), number(to)) {
                    self.deliver(message);
                }
            }
            ["drop", from, to] => drop(self.take(number(from), number(to))),
            ["cut", node] => {
                self.cut.insert(number(node));
                let cut = &self.cut;
                self.wire.retain(|m| !cut.contains(&m.from) && !cut.contains(&m.to));
            }
            ["heal", node] => {
                self.cut.remove(&number(node));
            }
            ["wake", _] if scene.idle => {}
            ["wake", node] => self.wake(number(node)),
            [verb, node, rest @ ..] => self.ask(verb, number(node), rest),
            [..] => panic!("unknown command: {}", scene.command),
        }
    }

    fn begin(&mut self, words: &[&str]) {
        let (all, voters, learners) = cast(words);
        for cast in all {
            let conf_state = ConfState::from((voters.clone(), learners.clone()));
            let store = MemStorage::new_with_conf_state(conf_state);
            let entry = |(index, term): (u64, &u64)| {
                let mut entry = Entry::default();
                (entry.index, entry.term) = (index, *term);
                entry
            };
            let entries: Vec<Entry> = (1..).zip(&cast.terms).map(entry).collect();
            store.wl().append(&entries).expect("memory");
            let mut hard_state = HardState::default();
            hard_state.term = cast.terms.last().copied().unwrap_or(0);
            store.wl().set_hardstate(hard_state);
            let config = Config {
                id: cast.node,
                election_tick: ELECTION_TICKS,
                heartbeat_tick: 1,
                max_size_per_msg: 1 << 20,
                max_inflight_msgs: 64,
                check_quorum: true,
                pre_vote: true,
                ..Config::default()
            };
            let logger = slog::Logger::root(slog::Discard, slog::o!());
            let node = RawNode::new(&config, store, &logger).expect("a good start");
            self.actors
                .insert(cast.node, Actor { node, outside: cast.outside, applied: 0, owed: None });
        }
    }

    /// Time passes up to the node's next deadline, for everybody but other leaders.
    fn wake(&mut self, node: u64) {
        let raft = &self.actor(node).node.raft;
        let leads = raft.state == StateRole::Leader;
        let ticks = if leads { 1 } else { ELECTION_TICKS.saturating_sub(raft.election_elapsed) };
        for (other, actor) in &mut self.actors {
            if *other != node && actor.node.raft.state != StateRole::Leader {
                actor.node.raft.election_elapsed += ticks;
            }
        }
        if leads {
            self.actor(node).node.tick();
        } else {
            self.actor(node).node.campaign().expect("a campaign");
        }
        self.settle(node);
    }

    fn ask(&mut self, verb: &str, node: u64, rest: &[&str]) {
        let actor = self.actors.get_mut(&node).expect("a member");
        let raw = &mut actor.node;
        match (verb, rest) {
            ("disk", ["slow"]) => actor.owed = Some(Vec::new()),
            ("disk", ["ok"]) => {
                for (number, messages) in actor.owed.take().unwrap_or_default() {
                    raw.on_persist_ready(number);
                    let cut = &self.cut;
                    let open = |m: &Message| !cut.contains(&m.from) && !cut.contains(&m.to);
                    self.wire.extend(messages.into_iter().filter(open));
                }
            }
            // A refusal shows in the state.
            ("propose", [text]) => drop(raw.propose(Vec::new(), text.as_bytes().to_vec())),
            ("read", []) => raw.read_index(Vec::new()),
            ("transfer", [target]) => raw.transfer_leader(target.parse().expect("a node")),
            ("change", [kind, nodes @ ..]) => {
                let nodes: BTreeSet<u64> =
                    nodes.iter().map(|node| node.parse().expect("a node")).collect();
                let change = change(kind, &nodes, &conf_state(raw));
                drop(raw.propose_conf_change(Vec::new(), change));
            }
            (verb, rest) => panic!("unknown command: {verb} {rest:?}"),
        }
        self.settle(node);
    }

    fn actor(&mut self, node: u64) -> &mut Actor {
        self.actors.get_mut(&node).expect("a member")
    }

    fn take(&mut self, from: u64, to: u64) -> Vec<Message> {
        let all = std::mem::take(&mut self.wire);
        let (taken, rest) = all.into_iter().partition(|m| (m.from, m.to) == (from, to));
        self.wire = rest;
        taken.into()
    }

    fn deliver(&mut self, message: Message) {
        let (from, to) = (message.from, message.to);
        let snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
        let Some(actor) = self.actors.get_mut(&to) else { return };
        // Nonsense of a stranger is dropped.
        drop(actor.node.step(message));
        self.settle(to);
        if snapshot {
            self.actor(from).node.report_snapshot(to, SnapshotStatus::Finish);
            self.settle(from);
        }
    }

    /// Does everything the node wants done.
    fn settle(&mut self, node: u64) {
        let actor = self.actors.get_mut(&node).expect("a member");
        let mut sent = Vec::new();
        while actor.node.has_ready() {
            actor.carry_out(&mut sent);
        }
        let keep_from = actor.applied.saturating_sub(TAIL_ENTRIES);
        actor.node.mut_store().wl().compact(keep_from).expect("memory");
        let cut = &self.cut;
        let open = |m: &Message| !cut.contains(&m.from) && !cut.contains(&m.to);
        self.wire.extend(sent.into_iter().filter(open));
    }

    /// Every node as it can be compared.
    pub(crate) fn states(&self) -> BTreeMap<u64, State> {
        self.actors.iter().map(|(node, actor)| (*node, actor.state())).collect()
    }
}

impl Actor {
    fn carry_out(&mut self, sent: &mut Vec<Message>) {
        let mut ready = self.node.ready();
        sent.extend(ready.take_messages());
        if !ready.snapshot().get_metadata().get_conf_state().get_voters().is_empty() {
            let snapshot = ready.snapshot().clone();
            self.applied = snapshot.get_metadata().index;
            self.node.mut_store().wl().apply_snapshot(snapshot).expect("a newer snapshot");
        }
        self.node.mut_store().wl().append(ready.entries()).expect("consecutive entries");
        if let Some(hard_state) = ready.hs() {
            self.node.mut_store().wl().set_hardstate(hard_state.clone());
        }
        self.apply(ready.take_committed_entries());
        let waiting = ready.take_persisted_messages();
        if let Some(owed) = &mut self.owed {
            owed.push((ready.number(), waiting));
            self.node.advance_append_async(ready);
        } else {
            sent.extend(waiting);
            let mut light = self.node.advance_append(ready);
            if let Some(commit) = light.commit_index() {
                self.node.mut_store().wl().mut_hard_state().commit = commit;
            }
            sent.extend(light.take_messages());
            self.apply(light.take_committed_entries());
        }
        self.node.advance_apply_to(self.applied);
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.applied = entry.index;
            if entry.get_entry_type() == EntryType::EntryConfChangeV2 {
                let change = ConfChangeV2::parse_from_bytes(&entry.data).expect("a change");
                let state = self.node.apply_conf_change(&change).expect("a change that fits");
                self.node.mut_store().wl().set_conf_state(state);
            }
        }
    }

    fn state(&self) -> State {
        let raft = &self.node.raft;
        let role = match raft.state {
            StateRole::Follower => "Follower",
            StateRole::PreCandidate => "PreCandidate",
            StateRole::Candidate => "Candidate",
            StateRole::Leader => "Leader",
        };
        let knows_nobody = self.outside && self.applied == 0;
        let conf = if knows_nobody { ConfState::default() } else { conf_state(&self.node) };
        let log = &raft.raft_log;
        let first = log.first_index();
        let entries = log.entries(first, None, GetEntriesContext::empty(false));
        let entry = |entry: &Entry| {
            let what = match entry.get_entry_type() {
                EntryType::EntryNormal if entry.data.is_empty() => "blank".into(),
                EntryType::EntryNormal => format!("{:?}", String::from_utf8_lossy(&entry.data)),
                EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => "change".into(),
            };
            (entry.index, format!("{} {what}", entry.term))
        };
        State {
            role: role.into(),
            term: raft.term,
            vote: raft.vote,
            applied: self.applied,
            members: members([
                ("", conf.get_voters().to_vec()),
                ("outgoing", conf.get_voters_outgoing().to_vec()),
                ("learners", conf.get_learners().to_vec()),
                ("learners next", conf.get_learners_next().to_vec()),
            ]),
            log: entries.unwrap_or_default().iter().map(entry).collect(),
            leader: Some(raft.leader_id),
            commit: Some(log.committed),
        }
    }
}

fn conf_state(node: &RawNode<MemStorage>) -> ConfState {
    node.raft.prs().conf().to_conf_state()
}

/// A change as raft-rs knows it: joint when the voters differ, and left by itself.
fn change(kind: &str, nodes: &BTreeSet<u64>, now: &ConfState) -> ConfChangeV2 {
    let voters: BTreeSet<u64> = now.get_voters().iter().copied().collect();
    let single = |node: &u64, kind| {
        let mut single = ConfChangeSingle::default();
        (single.node_id, single.change_type) = (*node, kind);
        single
    };
    let each = |kind| nodes.iter().map(|node| single(node, kind)).collect::<Vec<_>>();
    let changes = match kind {
        "add" => each(ConfChangeType::AddLearnerNode),
        "promote" => each(ConfChangeType::AddNode),
        "remove" => each(ConfChangeType::RemoveNode),
        "voters" => {
            let joining = nodes.difference(&voters).map(|n| single(n, ConfChangeType::AddNode));
            let leaving =
                voters.difference(nodes).map(|n| single(n, ConfChangeType::AddLearnerNode));
            joining.chain(leaving).collect()
        }
        other => panic!("unknown change: {other}"),
    };
    let touches_voters = kind != "add" && (kind != "remove" || !nodes.is_disjoint(&voters));
    let mut change = ConfChangeV2::default();
    change.set_changes(changes.into());
    if touches_voters {
        change.set_transition(ConfChangeTransition::Implicit);
    }
    change
}
