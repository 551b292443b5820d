//! Replication on both sides and the commit index (Raft paper §5.3, §5.4.2). The leader streams to
//! every follower at the end of each turn, so that all proposals of a turn travel together and in
//! parallel with its own write; it counts itself only as far as its disk got.

use alloc::vec::Vec;

use nacolet_model::NodeId;

use super::config::EngineConfig;
use super::io::Output;
use super::log::LogTail;
use super::message::{AppendResult, Message, MessageBody};
use super::progress::{Allowance, FollowerProgress, ReplicationState};
use super::quorum::reached;
use super::role::Role;
use super::state::Engine;
use crate::types::{Entry, LogId, LogIndex, Term};

impl Engine {
    // ---- leader ----

    /// Whether an entry of the current term is committed: only then does a leader know what is.
    pub(super) fn has_committed_in_term(&self) -> bool {
        self.log.term_at(self.log.commit_index()) == Some(self.term)
    }

    /// Commits what a quorum holds durably, if it is of this term: entries of earlier terms are
    /// committed only along with one (Raft paper figure 8).
    pub(super) fn advance_commit(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let durable = self.log.durable_index();
        let held = reached(&self.membership, |node| match leader.progress.get(&node) {
            Some(progress) => progress.match_index,
            None if node == self.config.id => durable,
            None => LogIndex::ZERO,
        });
        let Some(index) = held else { return };
        if index > self.log.commit_index() && self.log.term_at(index) == Some(self.term) {
            self.log.commit_to(index);
        }
    }

    /// Feeds every follower as much as it may be sent.
    pub(super) fn replicate(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let nodes: Vec<NodeId> = leader.progress.keys().copied().collect();
        for node in nodes {
            self.replicate_to(node);
        }
    }

    /// Feeds one follower.
    pub(super) fn replicate_to(&mut self, node: NodeId) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&node) else { return };
        let feed = Feed { config: &self.config, log: &self.log, term: self.term };
        loop {
            match feed.next(progress) {
                NextSend::Nothing => return,
                NextSend::Message(message) => self.outbox.push((node, message)),
                NextSend::Snapshot if self.snapshots.last >= self.log.base() => {
                    progress.become_snapshot(self.snapshots.last.index);
                    self.answers.push(Output::SendSnapshot { to: node, term: self.term });
                    return;
                }
                NextSend::Snapshot => {
                    self.snapshots.needed = true;
                    return;
                }
            }
        }
    }

    /// Heartbeats to everybody.
    pub(super) fn broadcast_heartbeat(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        leader.heartbeat_deadline = self.now + self.config.heartbeat_interval;
        if self.config.lease_reads || leader.retiring.is_some() {
            leader.reads.open_round(self.now);
        }
        let nodes: Vec<NodeId> = leader.progress.keys().copied().collect();
        for node in nodes {
            self.heartbeat_to(node);
        }
    }

    pub(super) fn heartbeat_to(&mut self, node: NodeId) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&node) else { return };
        let read = leader.reads.position();
        let commit_index = progress.heartbeat(read, self.log.commit_index());
        let body = MessageBody::Heartbeat { commit_index, read };
        self.outbox.push((node, Message { term: self.term, body }));
    }

    /// A follower answered an AppendEntries.
    pub(super) fn receive_append_reply(&mut self, from: NodeId, result: AppendResult) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.active = true;
        match result {
            AppendResult::Matched(index) if index > self.log.last().index => self.drop_message(),
            AppendResult::Matched(index) => {
                if progress.acknowledged(index, self.log.base().index) {
                    self.advance_commit();
                }
                self.continue_transfer(from);
            }
            AppendResult::Conflict { rejected, hint } => {
                let probe = self.log.last_at_most(hint.index, hint.term);
                progress.refused(rejected, probe.index);
            }
        }
    }

    /// A follower answered a heartbeat: it lives, and what it was sent may have been lost.
    pub(super) fn receive_heartbeat_reply(&mut self, from: NodeId, read: u64) {
        let Role::Leader(leader) = &mut self.role else { return };
        let position = leader.reads.position();
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.active = true;
        if read > position {
            self.drop_message();
            return;
        }
        progress.heartbeat_answered(read);
        self.confirm_reads();
        self.continue_transfer(from);
        self.retire_if_known();
    }

    /// The network lost this follower.
    pub(super) fn lost_contact(&mut self, node: NodeId) {
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(progress) = leader.progress.get_mut(&node) {
            progress.unreachable();
        }
    }

    /// Steps down unless a quorum was heard since the last check.
    pub(super) fn check_quorum(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        leader.quorum_deadline = self.now + self.config.election_timeout_min;
        let active = reached(&self.membership, |node| match leader.progress.get(&node) {
            Some(progress) => progress.active,
            None => node == self.config.id,
        });
        for progress in leader.progress.values_mut() {
            progress.was_active = core::mem::take(&mut progress.active);
        }
        if active != Some(true) {
            self.become_follower(self.term, None);
        }
    }

    // ---- follower ----

    /// A leader of this term speaks. False when that cannot be: the message is dropped.
    pub(super) fn accept_leader(&mut self, from: NodeId) -> bool {
        match &self.role {
            // Two leaders in one term, or one that is not the one heard: no honest peer says this.
            Role::Leader(_) => {
                self.drop_message();
                return false;
            }
            Role::Follower if self.leader.is_some_and(|leader| leader != from) => {
                self.drop_message();
                return false;
            }
            Role::Follower => {
                self.follow(Some(from));
                self.election_deadline = self.now + self.election_timeout;
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {
                self.become_follower(self.term, Some(from));
            }
        }
        true
    }

    /// The leader replicates.
    pub(super) fn receive_append(
        &mut self,
        from: NodeId,
        previous: LogId,
        entries: Vec<Entry>,
        commit_index: LogIndex,
    ) {
        if !self.accept_leader(from) {
            return;
        }
        // While a snapshot replaces the log there is nothing to append to; and when the state
        // machine cannot keep up the leader is slowed down by silence, so that memory stays
        // bounded. What is not committed the leader bounds, and refusing it could refuse the entry
        // that commits it.
        let applying = self.log.commit_index() > self.log.applied_index();
        let full = applying && self.log.unapplied_bytes() > self.config.uncommitted_bytes_max;
        if self.snapshots.installing.is_some() || (full && !entries.is_empty()) {
            return;
        }
        if !self.is_well_formed(previous, &entries) {
            self.drop_message();
            return;
        }
        let result = self.append(previous, entries, commit_index);
        let message = Message { term: self.term, body: MessageBody::AppendEntriesReply { result } };
        match result {
            AppendResult::Matched(_) => self.hold(from, message),
            AppendResult::Conflict { .. } => self.send(from, message),
        }
    }

    /// Whether entries are consecutive, of terms that can be, and agree with what is committed.
    fn is_well_formed(&self, previous: LogId, entries: &[Entry]) -> bool {
        let mut before = previous;
        for entry in entries {
            let consecutive =
                entry.id.index == before.index.next() && entry.id.index > before.index;
            if !consecutive || entry.id.term < before.term || entry.id.term > self.term {
                return false;
            }
            before = entry.id;
        }
        let ids = core::iter::once(previous).chain(entries.iter().map(|entry| entry.id));
        let mut committed = ids.take_while(|id| id.index <= self.log.commit_index());
        committed.all(|id| self.log.term_at(id.index).is_none_or(|term| term == id.term))
    }

    fn append(
        &mut self,
        previous: LogId,
        mut entries: Vec<Entry>,
        commit_index: LogIndex,
    ) -> AppendResult {
        let committed = self.log.commit_index();
        let last_new = entries.last().map_or(previous.index, |entry| entry.id.index);
        if previous.index < committed {
            // What is committed here matches any leader's log; only the rest is news.
            entries.retain(|entry| entry.id.index > committed);
        } else if !self.log.contains(previous) {
            let hint = self.log.last_at_most(previous.index, previous.term);
            return AppendResult::Conflict { rejected: previous.index, hint };
        }
        if let Some(from) = self.log.merge(entries) {
            self.durability.log_was_cut(from);
        }
        // No further than what this message proved to match (Raft paper figure 2, rule 5).
        self.log.commit_to(commit_index.min(last_new));
        AppendResult::Matched(last_new.max(committed))
    }

    /// The leader lives, and says how much of what matches is committed.
    pub(super) fn receive_heartbeat(&mut self, from: NodeId, commit_index: LogIndex, read: u64) {
        if !self.accept_leader(from) {
            return;
        }
        if self.snapshots.installing.is_none() {
            self.log.commit_to(commit_index.min(self.log.last().index));
        }
        let body = MessageBody::HeartbeatReply { read };
        self.send(from, Message { term: self.term, body });
    }
}

/// What can be sent to a follower.
struct Feed<'a> {
    config: &'a EngineConfig,
    log: &'a LogTail,
    term: Term,
}

/// The next thing to send to a follower.
enum NextSend {
    Nothing,
    Message(Message),
    Snapshot,
}

impl Feed<'_> {
    /// What to send now, noted in `progress` as sent.
    fn next(&self, progress: &mut FollowerProgress) -> NextSend {
        let allowance = progress.allowance(self.config.inflight_max);
        if allowance == Allowance::Nothing {
            return NextSend::Nothing;
        }
        let previous = progress.next_index.previous();
        let Some(term) = self.log.term_at(previous) else {
            // Only a follower that lives is worth a snapshot.
            return if progress.active { NextSend::Snapshot } else { NextSend::Nothing };
        };
        let entries = match allowance {
            Allowance::Entries => self.log.slice(
                progress.next_index,
                self.config.append_entries_max,
                self.config.append_bytes_max,
            ),
            Allowance::Empty | Allowance::Nothing => Vec::new(),
        };
        let commit_index = self.log.commit_index();
        let news = !entries.is_empty() || commit_index > progress.told_commit;
        let probing = progress.state() == ReplicationState::Probe;
        if !news && !probing && !progress.wants_empty(self.log.last().index) {
            return NextSend::Nothing;
        }
        progress.sent(entries.last().map_or(previous, |entry| entry.id.index), commit_index);
        let previous = LogId { term, index: previous };
        let body = MessageBody::AppendEntries { previous, entries, commit_index };
        NextSend::Message(Message { term: self.term, body })
    }
}
