//! Safety, checked after every step: the properties of Raft paper figure 3, what may leave a node
//! before its disk has it, and that acknowledged writes stay.

use std::collections::BTreeMap;

use nacolet_model::NodeId;
use nacolet_raft::engine::{AppendResult, Message, MessageBody, RoleKind, Status};
use nacolet_raft::{Entry, LogId, LogIndex, Term};

use crate::node::{Machine, Node, fingerprint};

/// What was seen so far of the whole cluster.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    leaders: BTreeMap<Term, NodeId>,
    /// Every entry ever written: what it says, and what stood before it.
    written: BTreeMap<LogId, (u64, Option<LogId>)>,
    /// Every entry ever given out to be applied.
    pub(crate) committed: BTreeMap<LogIndex, (LogId, u64)>,
    digests: BTreeMap<LogIndex, u64>,
    /// Commit index of each life of each node.
    commit: BTreeMap<(NodeId, u64), LogIndex>,
    terms: BTreeMap<NodeId, Term>,
    /// The newest write whose caller was told.
    pub(crate) acknowledged: LogIndex,
}

impl Checker {
    /// After each step of a node.
    pub(crate) fn check_status(&mut self, status: &Status, nodes: &BTreeMap<NodeId, Node>) {
        let node = &nodes[&status.id];
        let commit = self.commit.entry((status.id, node.life)).or_default();
        assert!(status.commit_index >= *commit, "the commit index never goes back");
        let advanced = status.commit_index > *commit;
        *commit = status.commit_index;
        let leads = status.role == RoleKind::Leader;
        if leads && advanced {
            self.check_quorum_holds(status, nodes);
        }
        if leads && self.leaders.insert(status.term, status.id).is_none() {
            assert!(status.membership.is_voter(status.id), "whoever begins to lead has a vote");
            self.check_leader_completeness(status, node);
        }
        if leads {
            assert_eq!(self.leaders[&status.term], status.id, "one leader in {:?}", status.term);
        }
    }

    /// Leader completeness: every committed entry is in the log of every later leader.
    fn check_leader_completeness(&self, status: &Status, node: &Node) {
        if let Some((id, _)) = self.committed.values().next_back() {
            assert!(node.disk.knows(*id), "leader {} of {:?} lacks {id:?}", node.id, status.term);
        }
    }

    /// What a leader commits is durable on a majority of each side.
    fn check_quorum_holds(&self, status: &Status, nodes: &BTreeMap<NodeId, Node>) {
        let membership = &status.membership;
        // The tail may not reach back there; the leader's own disk, or what is on its way, does.
        let disk = &nodes[&status.id].disk;
        let coming = disk.writes.iter().flat_map(|write| &write.entries);
        let mut known = disk.entries.iter().chain(coming).map(|entry| entry.id);
        let Some(id) = known.rfind(|id| id.index == status.commit_index) else { return };
        for side in [&membership.voters, &membership.outgoing] {
            let holders = side.iter().filter(|voter| nodes[voter].disk.holds(id)).count();
            assert!(side.is_empty() || 2 * holders > side.len(), "{id:?} is not on a quorum");
        }
    }

    /// Entries are ordered to be written behind `previous`: log matching by induction.
    pub(crate) fn check_written(&mut self, previous: Option<LogId>, entries: &[Entry]) {
        let mut before = previous;
        for entry in entries {
            let print = fingerprint(entry);
            let (known, known_before) = self.written.entry(entry.id).or_insert((print, before));
            assert_eq!(*known, print, "{:?} is one entry", entry.id);
            // A snapshot hides what stood before its end.
            if known_before.is_none() {
                *known_before = before;
            }
            if before.is_some() {
                assert_eq!(*known_before, before, "{:?} has one prefix", entry.id);
            }
            before = Some(entry.id);
        }
    }

    /// Entries are given out to be applied: state machine safety.
    pub(crate) fn check_apply(&mut self, entries: &[Entry]) {
        for entry in entries {
            let value = (entry.id, fingerprint(entry));
            let known = self.committed.entry(entry.id.index).or_insert(value);
            assert_eq!(*known, value, "a committed entry never changes");
        }
    }

    /// A state machine got somewhere.
    pub(crate) fn check_machine(&mut self, machine: &Machine) {
        let digest = self.digests.entry(machine.applied.index).or_insert(machine.digest);
        assert_eq!(*digest, machine.digest, "equal applied index, equal state");
    }

    /// A message leaves: what it promises must be durable.
    pub(crate) fn check_send(&mut self, node: &Node, to: NodeId, message: &Message) {
        if let MessageBody::AppendEntries { previous, entries, .. } = &message.body {
            // docs/raft-traps.md, trap 27: entries start right behind the entry that the message
            // names.
            let places = (previous.index.0 + 1..).map(LogIndex);
            assert!(entries.iter().map(|entry| entry.id.index).eq(places.take(entries.len())));
        }
        let state = &node.disk.hard_state;
        let of_own_term = match &message.body {
            MessageBody::RequestPreVote { .. } | MessageBody::PreVoteReply { granted: true } => {
                return;
            }
            MessageBody::VoteReply { granted: true } => {
                if state.term == message.term {
                    assert_eq!(state.voted_for, Some(to), "a vote leaves when it is durable");
                }
                true
            }
            MessageBody::RequestVote { .. } if state.term == message.term => {
                assert_eq!(state.voted_for, Some(node.id), "the own vote is durable first");
                true
            }
            MessageBody::AppendEntriesReply { result: AppendResult::Matched(index) } => {
                assert!(node.disk.last_index() >= *index, "acknowledged before it is durable");
                true
            }
            _ => true,
        };
        assert!(of_own_term && message.term <= state.term, "a term leaves before it is durable");
        let known = self.terms.entry(node.id).or_default();
        *known = (*known).max(message.term);
        assert!(state.term >= *known, "a promised term is never forgotten");
    }
}
