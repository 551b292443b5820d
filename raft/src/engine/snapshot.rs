//! Raft snapshots as the engine sees them: when one is built, who is sent one, and what a received
//! one does to the log (Raft paper §7). Bytes and chunks are the business of the state machine and
//! the network; here a snapshot is the entry it ends at and the membership in force there.

use alloc::vec::Vec;

use nacolet_model::NodeId;

use super::io::Output;
use super::message::{AppendResult, Message, MessageBody};
use super::progress::FollowerProgress;
use super::role::Role;
use super::state::{Engine, Snapshots};
use crate::types::{LogId, LogIndex, SnapshotMeta, Term};

impl Engine {
    /// Ends a turn: orders a snapshot when the log has grown enough, when a follower needs it, or
    /// when somebody asked. One at a time; what is wanted during a build is not forgotten.
    pub(super) fn order_snapshot(&mut self, out: &mut Vec<Output>) {
        let applied = self.log.applied_index();
        let snapshots = &mut self.snapshots;
        let needed = core::mem::take(&mut snapshots.needed);
        if snapshots.building || snapshots.installing.is_some() || self.now < snapshots.retry_at {
            return;
        }
        let triggered = core::mem::take(&mut snapshots.triggered);
        let grown = applied.since(snapshots.ordered_at) >= self.config.snapshot_every_entries
            || snapshots.bytes >= self.config.snapshot_every_bytes;
        if (grown || needed || triggered) && applied > snapshots.last.index {
            snapshots.building = true;
            snapshots.ordered_at = applied;
            snapshots.bytes = 0;
            out.push(Output::BuildSnapshot);
        }
    }

    /// The state machine holds a durable snapshot: the log before it may go, except for the tail
    /// that is kept for followers.
    pub(super) fn snapshot_built(&mut self, meta: &SnapshotMeta) {
        self.snapshots.building = false;
        assert!(meta.last.index <= self.log.applied_index(), "a snapshot holds what was applied");
        if meta.last.index > self.snapshots.last.index {
            self.snapshots.last = meta.last;
            let purged = meta.last.index.min(self.log.base().index);
            if purged > LogIndex::ZERO {
                self.answers.push(Output::Purge(purged));
            }
        }
    }

    /// The build was given up; the next try waits, so that a full disk is not hammered.
    pub(super) fn snapshot_build_failed(&mut self) {
        self.snapshots.building = false;
        self.snapshots.retry_at = self.now + self.config.election_timeout_max;
    }

    /// A snapshot sent to a follower arrived or was given up.
    pub(super) fn snapshot_sent(&mut self, to: NodeId, last: LogId, delivered: bool) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&to) else { return };
        if progress.pending_snapshot().is_some_and(|pending| pending <= last.index || !delivered) {
            progress.snapshot_done(delivered);
        }
    }

    /// Ends a turn: forgets applied entries beyond the bounds. While a follower is being fed a
    /// snapshot more is kept, up to a harder bound, so that it can go on where the snapshot ends.
    pub(super) fn trim_log(&mut self) {
        let mut keep_after = self.log.applied_index();
        if let Role::Leader(leader) = &self.role {
            let pending = leader.progress.values().filter_map(FollowerProgress::pending_snapshot);
            keep_after = pending.min().unwrap_or(keep_after).min(keep_after);
            if self.snapshots.building && !leader.progress.is_empty() {
                keep_after = keep_after.min(self.snapshots.ordered_at);
            }
        }
        self.log.trim(self.config.tail_entries_max, self.config.tail_bytes_max, keep_after);
        self.log.trim(
            self.config.tail_entries_max.max(self.config.held_tail_entries_max),
            self.config.tail_bytes_max.max(self.config.held_tail_bytes_max),
            self.log.applied_index(),
        );
    }

    // ---- follower ----

    /// Whether an honest leader of `term` can have sent this snapshot, or a piece of it: to be
    /// asked before anything of it is stored. What is not believed is counted.
    pub fn believes_snapshot(&mut self, from: NodeId, term: Term, meta: &SnapshotMeta) -> bool {
        let believed = from != self.config.id
            && term.is_valid()
            && self.is_near(term)
            && meta.is_possible(term);
        if !believed {
            self.drop_message();
        }
        believed
    }

    /// A whole snapshot arrived and waits aside.
    pub(super) fn snapshot_received(&mut self, from: NodeId, term: Term, meta: SnapshotMeta) {
        let believed = self.believes_snapshot(from, term, &meta);
        if believed && term > self.term {
            self.become_follower(term, Some(from));
        }
        if !believed
            || term < self.term
            || !self.accept_leader(from)
            || self.snapshots.installing.is_some()
        {
            self.answers.push(Output::DiscardSnapshot(meta));
            return;
        }
        let known = self.log.contains(meta.last);
        if meta.last.index <= self.log.commit_index() || known {
            // Nothing in it is new: at most it tells that what is here is committed.
            if known {
                self.log.commit_to(meta.last.index);
            }
            let result = AppendResult::Matched(self.log.commit_index());
            let body = MessageBody::AppendEntriesReply { result };
            self.hold(from, Message { term: self.term, body });
            self.answers.push(Output::DiscardSnapshot(meta));
            return;
        }
        self.snapshots.installing = Some(meta.clone());
        self.answers.push(Output::InstallSnapshot(meta));
    }

    /// The snapshot is the state now, durably. Log and membership are what it says, whatever was
    /// there before and not committed.
    pub(super) fn snapshot_installed(&mut self, meta: SnapshotMeta) {
        assert_eq!(self.snapshots.installing.as_ref(), Some(&meta), "only what was ordered");
        self.durability.log_was_cut(meta.last.index.next());
        self.log.reset(meta.last);
        self.snapshots =
            Snapshots { building: self.snapshots.building, ..Snapshots::new(meta.last) };
        self.enter_membership(meta.membership);
        if let Some(leader) = self.leader.filter(|leader| *leader != self.config.id) {
            let body = MessageBody::SnapshotReply { last: meta.last };
            self.hold(leader, Message { term: self.term, body });
        }
    }

    /// State and log are as before; the leader will send another one.
    pub(super) fn snapshot_install_failed(&mut self) {
        self.snapshots.installing = None;
    }
}
