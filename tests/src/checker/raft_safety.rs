//! The properties of Raft paper figure 3 and what surrounds them, after every event: one leader per
//! term, log matching, leader completeness, what a leader commits is of its own term and on the
//! disks of a majority, nothing goes back, no promise leaves a node before its disk has it.

use std::collections::BTreeMap;

use nacolet_model::NodeId;
use nacolet_raft::engine::{AppendResult, MessageBody};
use nacolet_raft::{
    Entry, EntryPayload, HardState, LogId, LogIndex, Membership, Message, Metrics, RoleKind,
    SnapshotMeta, Term,
};

use super::check::Check;
use super::hash::hash;
use crate::log::{DurableLog, LogView};

/// What was seen of the whole cluster so far.
#[derive(Default)]
pub(crate) struct Safety {
    leaders: BTreeMap<Term, NodeId>,
    /// Every entry ever written.
    written: BTreeMap<LogId, u64>,
    /// Memberships by the index at which each took effect.
    memberships: BTreeMap<LogIndex, Membership>,
    /// The last state of each node's present life.
    last: BTreeMap<NodeId, (u64, Metrics)>,
    /// The highest index that a leader committed, and that leader's term.
    committed: (LogIndex, Term),
    votes: BTreeMap<(NodeId, Term), NodeId>,
    /// The highest commit index that each leader told in each term.
    told: BTreeMap<(NodeId, Term), LogIndex>,
    promised: BTreeMap<NodeId, Term>,
}

fn fingerprint(entry: &Entry) -> u64 {
    match &entry.payload {
        EntryPayload::Blank => 1,
        EntryPayload::Command(bytes) => hash(2, bytes),
        EntryPayload::Membership(membership) => {
            hash(3, &postcard::to_allocvec(membership).unwrap_or_default())
        }
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(what()) }
}

impl Safety {
    /// Leaders and memberships so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.leaders.len() as u64, self.memberships.len() as u64)
    }

    /// Entries are written: an id names one entry.
    pub(crate) fn stored(&mut self, entries: &[Entry]) -> Check {
        for entry in entries {
            let print = fingerprint(entry);
            let known = *self.written.entry(entry.id).or_insert(print);
            ensure(known == print, || format!("{:?} names two entries", entry.id))?;
        }
        Ok(())
    }

    /// A node starts: what it promised is not forgotten.
    pub(crate) fn recovered(&mut self, node: NodeId, hard_state: &HardState) -> Check {
        self.last.remove(&node);
        let promised = self.promised.get(&node).copied().unwrap_or_default();
        ensure(hard_state.term >= promised, || {
            format!("{node} starts in {:?} and had told others of {promised:?}", hard_state.term)
        })
    }

    /// A snapshot carries the membership in force at its end.
    pub(crate) fn snapshot(&self, node: NodeId, meta: &SnapshotMeta) -> Check {
        let known = self.memberships.range(..=meta.last.index).next_back();
        ensure(known.is_none_or(|(_, known)| *known == meta.membership), || {
            format!("the snapshot of {node} at {:?} has another membership", meta.last)
        })
    }

    /// A membership took effect.
    pub(crate) fn membership(
        &mut self,
        node: NodeId,
        index: LogIndex,
        membership: &Membership,
    ) -> Check {
        let newest = self.memberships.last_key_value().map(|(index, _)| *index);
        let known = self.memberships.range(..=index).next_back().map(|(_, known)| known);
        if index == LogIndex::ZERO || known == Some(membership) {
            return Ok(());
        }
        ensure(newest.is_none_or(|newest| newest < index), || {
            format!("{node} has another membership at {index:?} than others")
        })?;
        self.memberships.insert(index, membership.clone());
        Ok(())
    }

    /// A message leaves a node: what it says must be on its disk.
    pub(crate) fn sent(
        &mut self,
        node: NodeId,
        to: NodeId,
        message: &Message,
        disk: &LogView,
    ) -> Check {
        let state = &disk.hard_state;
        let current = state.term == message.term;
        match &message.body {
            MessageBody::RequestPreVote { .. } | MessageBody::PreVoteReply { granted: true } => {
                return Ok(());
            }
            MessageBody::VoteReply { granted: true } => {
                let voted = *self.votes.entry((node, message.term)).or_insert(to);
                ensure(voted == to, || format!("{node} votes twice in {:?}", message.term))?;
                ensure(!current || state.voted_for == Some(to), || {
                    format!("{node} votes for {to} before its disk has it")
                })?;
            }
            MessageBody::RequestVote { .. } => {
                let voted = *self.votes.entry((node, message.term)).or_insert(node);
                ensure(voted == node, || format!("{node} votes twice in {:?}", message.term))?;
                ensure(!current || state.voted_for == Some(node), || {
                    format!("{node} campaigns before its disk has its own vote")
                })?;
            }
            MessageBody::AppendEntriesReply { result: AppendResult::Matched(index) } => {
                ensure(!current || disk.last_index() >= *index, || {
                    format!("{node} acknowledges {index:?} before its disk has it")
                })?;
            }
            MessageBody::AppendEntries { commit_index, .. } => {
                self.tells_commit(node, message.term, *commit_index, disk)?;
            }
            MessageBody::PreVoteReply { .. }
            | MessageBody::VoteReply { .. }
            | MessageBody::AppendEntriesReply { .. }
            | MessageBody::Heartbeat { .. }
            | MessageBody::HeartbeatReply { .. }
            | MessageBody::TimeoutNow
            | MessageBody::SnapshotReply { .. }
            | MessageBody::Committed { .. } => {}
        }
        ensure(message.term <= state.term, || {
            format!("{node} speaks in {:?}, its disk knows {:?}", message.term, state.term)
        })?;
        let promised = self.promised.entry(node).or_default();
        *promised = (*promised).max(message.term);
        Ok(())
    }

    /// A leader tells how much is committed. Beyond what it knew when it was elected, that ends
    /// with an entry of its own term (Raft paper §5.4.2).
    fn tells_commit(
        &mut self,
        node: NodeId,
        term: Term,
        commit: LogIndex,
        disk: &LogView,
    ) -> Check {
        // The first message of a term is older than any answer to it.
        let known = *self.told.entry((node, term)).or_insert(commit);
        let of = disk.entries.get(&commit.0).map(|entry| entry.id.term);
        self.told.insert((node, term), known.max(commit));
        ensure(commit <= known || of.is_none_or(|of| of == term), || {
            format!("{node} of {term:?} commits {commit:?} of {of:?} by counting")
        })
    }

    /// A node after an event.
    pub(crate) fn observed(
        &mut self,
        life: u64,
        metrics: &Metrics,
        logs: &[(NodeId, DurableLog)],
    ) -> Check {
        let node = metrics.id;
        let before = self.last.get(&node).filter(|(known, _)| *known == life).map(|(_, last)| last);
        if before.is_some_and(|before| before.version == metrics.version) {
            return Ok(());
        }
        let before = before.cloned();
        self.last.insert(node, (life, metrics.clone()));
        let (snapshot, applied) = (metrics.snapshot.index, metrics.applied_index);
        let (commit, last) = (metrics.commit_index, metrics.last_log.index);
        ensure(snapshot <= applied && applied <= commit && commit <= last, || {
            format!("{node}: snapshot {snapshot:?}, {applied:?}, {commit:?}, last {last:?}")
        })?;
        if let Some(before) = &before {
            ensure(metrics.term >= before.term, || format!("the term of {node} goes back"))?;
            ensure(commit >= before.commit_index, || format!("{node} commits backwards"))?;
            ensure(applied >= before.applied_index, || format!("{node} applies backwards"))?;
        }
        if metrics.role == RoleKind::Leader {
            self.leads(metrics, before.as_ref(), logs)?;
        }
        Ok(())
    }

    fn leads(
        &mut self,
        metrics: &Metrics,
        before: Option<&Metrics>,
        logs: &[(NodeId, DurableLog)],
    ) -> Check {
        let (node, term, commit) = (metrics.id, metrics.term, metrics.commit_index);
        let leader = *self.leaders.entry(term).or_insert(node);
        ensure(leader == node, || format!("{leader} and {node} lead in {term:?}"))?;
        let led = before.filter(|before| before.role == RoleKind::Leader && before.term == term);
        let Some(led) = led else {
            let (known, known_term) = self.committed;
            ensure(metrics.membership.is_voter(node), || {
                format!("{node} leads in {term:?} without a vote in {:?}", metrics.membership)
            })?;
            return ensure(term <= known_term || metrics.last_log.index >= known, || {
                format!("{node} leads in {term:?} and lacks what is committed up to {known:?}")
            });
        };
        if commit <= led.commit_index {
            return Ok(());
        }
        self.committed = self.committed.max((commit, term));
        let Some(id) = logs
            .iter()
            .find(|(id, _)| *id == node)
            .and_then(|(_, log)| log.with(|log| log.entries.get(&commit.0).map(|entry| entry.id)))
        else {
            return Ok(());
        };
        let holds = |voter: &NodeId| {
            logs.iter().any(|(of, log)| of == voter && log.with(|log| held(log, id)))
        };
        let quorum = |membership: &Membership| {
            [&membership.voters, &membership.outgoing].into_iter().all(|side| {
                side.is_empty() || 2 * side.iter().filter(|voter| holds(voter)).count() > side.len()
            })
        };
        // Applied late, it may have been committed under a membership that is left by now.
        let lately = self.memberships.values().rev().take(3);
        let mut memberships = lately.chain([&*metrics.membership, &*led.membership]);
        ensure(memberships.any(quorum), || {
            format!("{node} commits {commit:?}, which is not on the disks of a majority")
        })
    }
}

/// Whether a log holds a committed entry.
fn held(log: &LogView, id: LogId) -> bool {
    let there = log.entries.get(&id.index.0).is_some_and(|entry| entry.id == id);
    there || log.purged >= id.index
}
