//! One Raft engine among members that may say anything. What an honest shell does with its orders
//! is done here, so that whatever happens is the doing of the messages: the engine keeps its
//! invariants, orders only what a log and a state machine can do, promises nothing that is not
//! durable, says no more than was asked for, and starts again from what it wrote.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use nacolet_model::{Duration, Instant, NodeId, RequestId};
use nacolet_raft::engine::{
    AppendResult, Engine, EngineConfig, Input, Message, MessageBody, Output, PersistId, RoleKind,
    Start,
};
use nacolet_raft::{
    Entry, EntryPayload, HardState, LogId, LogIndex, Membership, MembershipChange, SnapshotMeta,
    Term,
};

use crate::cost::{ANNOUNCED, Bound};
use crate::replica::decode;
use crate::source::Source;

const ME: NodeId = NodeId(1);
/// Members of all kinds, and a stranger.
const OTHERS: [u64; 5] = [2, 3, 4, 9, u64::MAX];
/// The tail that is kept is small, so a step costs what it brings and a little.
const STEP: Bound = Bound { per_byte: 1_024, fixed: ANNOUNCED };
/// Orders that one turn leads to: those of a turn that became leader among sixteen, with room.
const OUTPUTS_MAX: usize = 128;

/// What the log storage holds.
#[derive(Default)]
struct Disk {
    hard_state: HardState,
    entries: Vec<Entry>,
    purged: LogIndex,
    snapshot: Option<SnapshotMeta>,
    /// Ordered, not durable.
    writes: VecDeque<(PersistId, Option<HardState>, Vec<Entry>)>,
}

impl Disk {
    fn last(&self) -> LogIndex {
        self.entries.last().map_or(self.purged, |entry| entry.id.index)
    }

    fn sync(&mut self) -> Option<PersistId> {
        let (id, hard_state, entries) = self.writes.pop_front()?;
        if let Some(state) = hard_state {
            let old = self.hard_state;
            assert!(state.term >= old.term, "the stored term never goes back");
            let is_kept = state.term > old.term || old.voted_for.is_none();
            assert!(is_kept || state.voted_for == old.voted_for, "one vote per term");
            self.hard_state = state;
        }
        if let Some(first) = entries.first() {
            assert!(first.id.index > self.purged, "nothing is written below the purged part");
            assert!(first.id.index <= self.last().next(), "no gap is written");
            self.entries.retain(|entry| entry.id.index < first.id.index);
            self.entries.extend(entries);
        }
        Some(id)
    }

    fn begin_behind(&mut self, meta: &SnapshotMeta) {
        while self.sync().is_some() {}
        self.entries.clear();
        self.purged = meta.last.index;
        self.snapshot = Some(meta.clone());
    }

    fn start(&self) -> Start {
        let (hard_state, entries) = (self.hard_state, self.entries.clone());
        let snapshot = self.snapshot.clone();
        Start { hard_state, entries, purged: self.purged, snapshot, applied: LogIndex::ZERO }
    }
}

struct Story {
    engine: Engine,
    config: EngineConfig,
    now: Instant,
    disk: Disk,
    /// Given out and not applied.
    coming: VecDeque<Entry>,
    applied: LogId,
    membership: Membership,
    building: bool,
    installing: Option<SnapshotMeta>,
    sending: Vec<(NodeId, LogId)>,
    requests: u64,
    waiting: BTreeSet<RequestId>,
    commit: LogIndex,
    term: Term,
}

pub(crate) fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let mut config = EngineConfig::new(ME, source.byte().into());
    let ways = source.byte();
    (config.pre_vote, config.check_quorum) = (ways & 1 == 0, ways & 2 == 0);
    config.lease_reads = ways & 6 == 4;
    (config.tail_entries_max, config.held_tail_entries_max) = (4, 8);
    (config.append_entries_max, config.inflight_max, config.reads_max) = (3, 2, 3);
    config.snapshot_every_entries = 10;
    config.uncommitted_bytes_max = 64;
    let addresses = [1, 2, 3].map(|node| (NodeId(node), format!("host:{node}")));
    let mut membership = Membership::of_voters(addresses);
    if ways & 8 == 8 {
        membership.learners.insert(NodeId(4));
    }
    let now = Instant::from_millis(1);
    let Ok(mut engine) = Engine::new(config.clone(), Start::default(), now) else { return };
    let formed = if ways & 16 == 0 { engine.bootstrap(membership) } else { Ok(()) };
    assert_eq!(formed, Ok(()));
    let mut story = Story {
        engine,
        config,
        now,
        disk: Disk::default(),
        coming: VecDeque::new(),
        applied: LogId::default(),
        membership: Membership::default(),
        building: false,
        installing: None,
        sending: Vec::new(),
        requests: 0,
        waiting: BTreeSet::new(),
        commit: LogIndex::ZERO,
        term: Term(0),
    };
    story.turn(Vec::new(), 0);
    while !source.is_over() {
        let input = story.input(&mut source);
        STEP.hold(data.len(), || story.turn(input.into_iter().collect(), data.len()));
    }
}

impl Story {
    /// What happens next.
    fn input(&mut self, source: &mut Source<'_>) -> Option<Input> {
        match source.choice(24) {
            0 | 1 => {
                self.now = self.now.max(self.engine.next_deadline()?);
                Some(Input::Wake)
            }
            2 => {
                self.now += Duration::from_millis(u64::from(source.byte()) * 10);
                Some(Input::Wake)
            }
            3 => {
                let command = Arc::from(source.bytes());
                Some(Input::Propose { request: self.request(), command })
            }
            4 => {
                let change = change(source)?;
                Some(Input::ChangeMembership { request: self.request(), change })
            }
            5..=9 => {
                let from = NodeId(source.pick(&OTHERS));
                Some(Input::Receive { from, message: self.message(source) })
            }
            10 => {
                let from = NodeId(source.pick(&OTHERS));
                Some(Input::Receive { from, message: decode(source.bytes())? })
            }
            11..=13 => self.disk.sync().map(Input::Persisted),
            14 | 15 => self.apply(1 + usize::from(source.choice(4))),
            16 => Some(Input::ReadIndex { request: self.request() }),
            17 => {
                let target = source.flag().then(|| NodeId(source.pick(&OTHERS)));
                Some(Input::TransferLeader { request: self.request(), target })
            }
            18 => self.built(source.flag()),
            19 => self.installed(source.flag()),
            20 => {
                let (to, last) = self.sending.pop()?;
                Some(Input::SnapshotSent { to, last, delivered: source.flag() })
            }
            21 => Some(self.snapshot_received(source)),
            22 => Some(match source.flag() {
                true => Input::Unreachable(NodeId(source.pick(&OTHERS))),
                false => Input::TriggerSnapshot,
            }),
            _ => self.restart(source),
        }
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        self.waiting.insert(RequestId(self.requests));
        RequestId(self.requests)
    }

    /// A message near what would be right.
    fn message(&self, source: &mut Source<'_>) -> Message {
        let status = self.engine.status();
        let near = |source: &mut Source<'_>, value: u64| match source.byte() {
            0..=99 => value,
            100..=199 => value.wrapping_add(u64::from(source.byte() % 8)).wrapping_sub(4),
            _ => source.number(),
        };
        let id = |source: &mut Source<'_>, id: LogId| LogId {
            term: Term(near(source, id.term.0)),
            index: LogIndex(near(source, id.index.0)),
        };
        let later = u64::from(source.choice(2));
        let term = Term(near(source, status.term.0 + later));
        let body = match source.choice(12) {
            0 => MessageBody::RequestPreVote { last: id(source, status.last) },
            1 => MessageBody::PreVoteReply { granted: source.choice(4) != 0 },
            2 => {
                MessageBody::RequestVote { last: id(source, status.last), transfer: source.flag() }
            }
            3 => MessageBody::VoteReply { granted: source.choice(4) != 0 },
            4 | 5 => {
                let previous = match source.flag() {
                    true => status.last,
                    false => id(source, status.last),
                };
                let commit_index = LogIndex(near(source, status.last.index.0 + 1));
                MessageBody::AppendEntries {
                    previous,
                    entries: entries(source, previous, term),
                    commit_index,
                }
            }
            6 => {
                let result = match source.flag() {
                    true => AppendResult::Matched(LogIndex(near(source, status.last.index.0))),
                    false => AppendResult::Conflict {
                        rejected: LogIndex(near(source, status.last.index.0)),
                        hint: id(source, status.last),
                    },
                };
                MessageBody::AppendEntriesReply { result }
            }
            7 => {
                let commit_index = LogIndex(near(source, status.commit_index.0));
                MessageBody::Heartbeat { commit_index, read: source.number() }
            }
            8 => MessageBody::HeartbeatReply { read: source.number() },
            9 => MessageBody::TimeoutNow,
            10 => MessageBody::SnapshotReply { last: id(source, status.last) },
            _ => MessageBody::Committed { last: id(source, status.last) },
        };
        Message { term, body }
    }

    fn apply(&mut self, count: usize) -> Option<Input> {
        if self.installing.is_some() {
            return None;
        }
        let count = count.min(self.coming.len());
        let entries: Vec<Entry> = self.coming.drain(..count).collect();
        for entry in &entries {
            assert_eq!(entry.id.index, self.applied.index.next(), "applied in order and once");
            self.applied = entry.id;
            if let EntryPayload::Membership(membership) = &entry.payload {
                self.membership = (**membership).clone();
            }
        }
        entries.last().map(|last| Input::Applied(last.id.index))
    }

    fn built(&mut self, is_done: bool) -> Option<Input> {
        if !std::mem::take(&mut self.building) {
            return None;
        }
        if !is_done {
            return Some(Input::SnapshotBuildFailed);
        }
        let meta = SnapshotMeta {
            last: self.applied,
            membership: self.membership.clone(),
            id: self.applied.index.0,
        };
        self.disk.snapshot = Some(meta.clone());
        Some(Input::SnapshotBuilt(meta))
    }

    fn installed(&mut self, is_done: bool) -> Option<Input> {
        let meta = self.installing.take()?;
        if !is_done {
            return Some(Input::SnapshotInstallFailed(meta));
        }
        self.disk.begin_behind(&meta);
        self.coming.clear();
        (self.applied, self.membership) = (meta.last, meta.membership.clone());
        Some(Input::SnapshotInstalled(meta))
    }

    fn snapshot_received(&self, source: &mut Source<'_>) -> Input {
        let status = self.engine.status();
        let index = match source.flag() {
            true => status.commit_index.0.saturating_add(u64::from(source.choice(8))),
            false => source.number(),
        };
        let term = Term(status.term.0.saturating_add(u64::from(source.choice(2))));
        let last_term = if source.flag() { status.last.term } else { Term(source.number()) };
        let membership = match source.flag() {
            true => status.membership,
            false => membership(source),
        };
        let last = LogId { term: last_term, index: LogIndex(index) };
        let meta = SnapshotMeta { last, membership, id: source.byte().into() };
        Input::SnapshotReceived { from: NodeId(source.pick(&OTHERS)), term, meta }
    }

    /// The power fails; some of the writes under way may have reached the disk.
    fn restart(&mut self, source: &mut Source<'_>) -> Option<Input> {
        for _ in 0..source.choice(4) {
            self.disk.sync();
        }
        self.disk.writes.clear();
        self.coming.clear();
        let start = self.disk.start();
        let snapshot = start.snapshot.clone().unwrap_or_default();
        (self.applied, self.membership) = (snapshot.last, snapshot.membership);
        self.config.seed = self.config.seed.wrapping_add(1);
        let engine = Engine::new(self.config.clone(), start, self.now);
        self.engine = match engine {
            Ok(engine) => engine,
            Err(error) => panic!("it does not start from what it wrote: {error}"),
        };
        (self.building, self.installing) = (false, None);
        (self.sending, self.waiting) = (Vec::new(), BTreeSet::new());
        (self.commit, self.term) = (LogIndex::ZERO, Term(0));
        None
    }

    fn turn(&mut self, inputs: Vec<Input>, bytes: usize) {
        let mut out = Vec::new();
        for input in inputs {
            self.engine.step(self.now, input, &mut out);
            self.engine.invariants();
        }
        self.engine.flush(self.now, &mut out);
        self.engine.invariants();
        let mut left = Vec::new();
        self.engine.clone().flush(self.now, &mut left);
        assert_eq!(left, [], "a turn leaves nothing behind");
        assert!(out.len() <= OUTPUTS_MAX + bytes, "{} orders", out.len());
        let status = self.engine.status();
        assert!(status.commit_index >= self.commit, "the commit index never goes back");
        assert!(status.term >= self.term, "nor does the term");
        (self.commit, self.term) = (status.commit_index, status.term);
        assert!(status.commit_index <= status.last.index);
        for output in out {
            self.carry_out(output);
        }
        if status.role == RoleKind::Leader {
            assert!(self.disk.hard_state.term == status.term, "it leads in a term that is durable");
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Persist { id, hard_state, entries } => {
                self.disk.writes.push_back((id, hard_state, entries));
            }
            Output::Send { to, message } => self.check_sent(to, &message),
            Output::Apply(entries) => self.coming.extend(entries),
            Output::Proposed { request, .. }
            | Output::Refused { request, .. }
            | Output::ReadReady { request, .. }
            | Output::Transferred { request, .. } => {
                assert!(self.waiting.remove(&request), "a caller is answered once");
            }
            Output::BuildSnapshot => {
                assert!(!self.building, "one at a time");
                self.building = true;
            }
            Output::Purge(index) => {
                let held = self.disk.snapshot.as_ref().map(|meta| meta.last.index);
                assert!(Some(index) <= held, "a purge never passes the durable snapshot");
                self.disk.purged = self.disk.purged.max(index);
                self.disk.entries.retain(|entry| entry.id.index > index);
            }
            Output::SendSnapshot { to, .. } => {
                let last = self.disk.snapshot.as_ref().map(|meta| meta.last);
                assert!(last.is_some(), "there is one to send");
                self.sending.extend(last.map(|last| (to, last)));
            }
            Output::InstallSnapshot(meta) => {
                assert!(self.installing.replace(meta).is_none(), "one at a time");
            }
            Output::DiscardSnapshot(_) | Output::StatusChanged => {}
        }
    }

    /// What a message promises is durable when it leaves.
    fn check_sent(&self, to: NodeId, message: &Message) {
        assert_ne!(to, ME, "nobody talks to itself");
        let state = self.disk.hard_state;
        match &message.body {
            MessageBody::RequestPreVote { .. } | MessageBody::PreVoteReply { granted: true } => {
                return;
            }
            MessageBody::VoteReply { granted: true } if state.term == message.term => {
                assert_eq!(state.voted_for, Some(to), "a vote leaves when it is durable");
            }
            MessageBody::RequestVote { .. } if state.term == message.term => {
                assert_eq!(state.voted_for, Some(ME), "the own vote is durable first");
            }
            MessageBody::AppendEntriesReply { result: AppendResult::Matched(index) } => {
                assert!(self.disk.last() >= *index, "acknowledged before it is durable");
            }
            MessageBody::AppendEntries { previous, entries, .. } => {
                let places = entries.iter().map(|entry| entry.id.index.0);
                assert!(places.eq((previous.index.0 + 1..).take(entries.len())), "consecutive");
            }
            MessageBody::PreVoteReply { .. }
            | MessageBody::VoteReply { .. }
            | MessageBody::RequestVote { .. }
            | MessageBody::AppendEntriesReply { .. }
            | MessageBody::Heartbeat { .. }
            | MessageBody::HeartbeatReply { .. }
            | MessageBody::TimeoutNow
            | MessageBody::SnapshotReply { .. }
            | MessageBody::Committed { .. } => {}
        }
        assert!(message.term <= state.term, "a term leaves before it is durable");
    }
}

fn entries(source: &mut Source<'_>, previous: LogId, term: Term) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut id = previous;
    for _ in 0..source.choice(5) {
        id.index = id.index.next();
        id.term = match source.byte() {
            0..=199 => term,
            200..=229 => id.term,
            _ => Term(source.number()),
        };
        if source.choice(32) == 31 {
            id.index = LogIndex(source.number());
        }
        let payload = match source.choice(8) {
            0..=3 => EntryPayload::Blank,
            4..=6 => EntryPayload::Command(Arc::from(source.bytes())),
            _ => EntryPayload::Membership(Box::new(membership(source))),
        };
        entries.push(Entry { id, payload });
    }
    entries
}

fn nodes(source: &mut Source<'_>) -> BTreeSet<NodeId> {
    let bits = source.byte();
    let all = [1, 2, 3, 4, 5, 9, 300, u64::MAX];
    let is_in = |bit: &usize| bits >> bit & 1 == 1;
    (0..8).filter(is_in).map(|bit| NodeId(all[bit])).collect()
}

fn membership(source: &mut Source<'_>) -> Membership {
    let voters = nodes(source);
    let outgoing = if source.choice(4) == 0 { nodes(source) } else { BTreeSet::new() };
    let learners = if source.flag() { nodes(source) } else { BTreeSet::new() };
    let learners_next = if source.choice(8) == 0 { nodes(source) } else { BTreeSet::new() };
    let addresses = voters.iter().map(|node| (*node, "host:1".to_owned())).collect();
    Membership { voters, outgoing, learners, learners_next, addresses }
}

fn change(source: &mut Source<'_>) -> Option<MembershipChange> {
    Some(match source.choice(5) {
        0 => MembershipChange::AddLearner {
            node: NodeId(source.pick(&OTHERS)),
            address: "h:5".into(),
        },
        1 => MembershipChange::Promote(nodes(source)),
        2 => MembershipChange::SetVoters(nodes(source)),
        3 => MembershipChange::Remove(nodes(source)),
        _ => return decode(source.bytes()),
    })
}
