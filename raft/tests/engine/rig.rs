//! One engine on a bench: a test says what arrives and looks at every output. Its disk and its
//! state machine finish when the test says so.

use std::collections::BTreeSet;

use nacolet_model::{Instant, NodeId};
use nacolet_raft::engine::{
    AppendResult, Engine, EngineConfig, Input, Message, MessageBody, Output, PersistId, RoleKind,
    Start,
};
use nacolet_raft::{
    Entry, EntryPayload, HardState, LogId, LogIndex, Membership, SnapshotMeta, Term,
};

use crate::world::id;

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId { term: Term(term), index: LogIndex(index) }
}

/// Blank entries of these terms, from index `first` on.
pub(crate) fn entries(first: u64, terms: &[u64]) -> Vec<Entry> {
    let blank = |(index, term)| Entry { id: log_id(term, index), payload: EntryPayload::Blank };
    (first..).zip(terms.iter().copied()).map(blank).collect()
}

pub(crate) fn append(previous: LogId, terms: &[u64], commit_index: u64) -> MessageBody {
    MessageBody::AppendEntries {
        previous,
        entries: entries(previous.index.0 + 1, terms),
        commit_index: LogIndex(commit_index),
    }
}

pub(crate) fn matched(index: u64) -> MessageBody {
    MessageBody::AppendEntriesReply { result: AppendResult::Matched(LogIndex(index)) }
}

pub(crate) fn request_vote(last: LogId) -> MessageBody {
    MessageBody::RequestVote { last, transfer: false }
}

pub(crate) const GRANTED: MessageBody = MessageBody::VoteReply { granted: true };
pub(crate) const REFUSED: MessageBody = MessageBody::VoteReply { granted: false };
pub(crate) const PRE_GRANTED: MessageBody = MessageBody::PreVoteReply { granted: true };

pub(crate) fn membership(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Membership {
    let set = |ids: &[u64]| ids.iter().map(|node| id(*node)).collect::<BTreeSet<_>>();
    Membership {
        voters: set(voters),
        outgoing: set(outgoing),
        learners: set(learners),
        ..Membership::default()
    }
}

/// What was sent, in order.
pub(crate) fn sent(outputs: &[Output]) -> Vec<(NodeId, Message)> {
    let send = |output: &Output| match output {
        Output::Send { to, message } => Some((*to, message.clone())),
        _ => None,
    };
    outputs.iter().filter_map(send).collect()
}

/// The bodies sent to `to`.
pub(crate) fn bodies(outputs: &[Output], to: u64) -> Vec<MessageBody> {
    sent(outputs).into_iter().filter(|(node, _)| *node == id(to)).map(|(_, m)| m.body).collect()
}

/// docs/raft-traps.md, trap 71: a turn leaves nothing behind; another one in which nothing happens
/// has no outputs.
pub(crate) fn assert_drained(engine: &Engine, now: Instant) {
    let mut left = Vec::new();
    engine.clone().flush(now, &mut left);
    assert_eq!(left, [], "outputs were left behind");
}

#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) engine: Engine,
    pub(crate) now: Instant,
    ordered: PersistId,
}

impl Rig {
    /// Node 1 of these voters, with blank entries of these terms.
    pub(crate) fn new(voters: &[u64], terms: &[u64]) -> Self {
        Self::with(membership(voters, &[], &[]), terms, |_| {})
    }

    pub(crate) fn with(
        membership: Membership,
        terms: &[u64],
        adjust: impl Fn(&mut EngineConfig),
    ) -> Self {
        let mut config = EngineConfig::new(id(1), 1);
        adjust(&mut config);
        let term = Term(terms.last().copied().unwrap_or(0));
        let start = Start {
            hard_state: HardState { term, ..HardState::default() },
            entries: entries(1, terms),
            snapshot: Some(SnapshotMeta { membership, ..SnapshotMeta::default() }),
            ..Start::default()
        };
        let now = Instant::from_millis(1);
        let engine = Engine::new(config, start, now).unwrap();
        let mut rig = Self { engine, now, ordered: PersistId(0) };
        rig.turn(&[]);
        rig
    }

    /// One turn; nothing is answered.
    pub(crate) fn turn(&mut self, inputs: &[Input]) -> Vec<Output> {
        let mut out = Vec::new();
        for input in inputs {
            self.engine.step(self.now, input.clone(), &mut out);
            self.engine.invariants();
        }
        self.engine.flush(self.now, &mut out);
        self.engine.invariants();
        assert_drained(&self.engine, self.now);
        for output in &out {
            if let Output::Persist { id, .. } = output {
                self.ordered = *id;
            }
        }
        out
    }

    pub(crate) fn receive(&mut self, from: u64, term: u64, body: MessageBody) -> Vec<Output> {
        let message = Message { term: Term(term), body };
        self.turn(&[Input::Receive { from: id(from), message }])
    }

    /// The disk catches up.
    pub(crate) fn persist(&mut self) -> Vec<Output> {
        let ordered = self.ordered;
        self.turn(&[Input::Persisted(ordered)])
    }

    /// Disk and state machine catch up with `outputs` and all that follows; everything together.
    pub(crate) fn settle(&mut self, mut outputs: Vec<Output>) -> Vec<Output> {
        let mut seen = 0;
        while seen < outputs.len() {
            let answer = match &outputs[seen] {
                Output::Persist { id, .. } => Some(Input::Persisted(*id)),
                Output::Apply(entries) => entries.last().map(|e| Input::Applied(e.id.index)),
                _ => None,
            };
            seen += 1;
            if let Some(answer) = answer {
                outputs.extend(self.turn(&[answer]));
            }
        }
        outputs
    }

    pub(crate) fn receive_settled(
        &mut self,
        from: u64,
        term: u64,
        body: MessageBody,
    ) -> Vec<Output> {
        let outputs = self.receive(from, term, body);
        self.settle(outputs)
    }

    /// Time passes up to the next deadline.
    pub(crate) fn wake(&mut self) -> Vec<Output> {
        self.now = self.now.max(self.engine.next_deadline().expect("a deadline"));
        self.turn(&[Input::Wake])
    }

    /// Campaigns and gets every vote: leader of the next term, its blank entry durable here and
    /// nowhere else.
    pub(crate) fn lead(&mut self) -> u64 {
        let voters = self.engine.status().membership.members();
        let term = self.engine.status().term.0 + 1;
        let outputs = self.wake();
        self.settle(outputs);
        for body in [PRE_GRANTED, GRANTED] {
            for voter in voters.iter().filter(|voter| **voter != id(1)) {
                self.receive_settled(voter.0, term, body.clone());
            }
        }
        assert_eq!(self.engine.role(), RoleKind::Leader);
        term
    }

    /// Every other member acknowledges the whole log.
    pub(crate) fn all_match(&mut self, term: u64) {
        for node in self.engine.status().membership.members() {
            let last = self.engine.status().last.index.0;
            if node != id(1) {
                self.receive_settled(node.0, term, matched(last));
            }
        }
    }
}
