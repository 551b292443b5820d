//! One input after another, and the end of a turn. The file to read first.
//!
//! A turn is any number of [`Engine::step`]s and then one [`Engine::flush`]. `step` decides; what
//! is decided goes out at the end of the turn: one record with everything to persist, one message
//! (or a few, when it is much) to each follower, one batch to apply. So any number of proposals in
//! a turn cost one fsync and one round trip.

use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::{Instant, NodeId, RequestId, limits};

use super::election::Campaign;
use super::io::{Input, Output, Refusal};
use super::message::{AppendResult, Message, MessageBody};
use super::role::Role;
use super::state::Engine;
use crate::types::{EntryPayload, LogIndex, Term};

impl Engine {
    /// Takes in what happened. Answers to callers come out at once, everything else at the end of
    /// the turn, with [`Engine::flush`].
    ///
    /// # Panics
    /// The shell reports something that was never ordered.
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        match input {
            Input::Wake => self.wake(),
            Input::Propose { request, command } => self.propose(request, command),
            Input::ChangeMembership { request, change } => self.change_membership(request, change),
            Input::Receive { from, message } => self.receive(from, message),
            Input::Persisted(id) => self.persisted(id),
            Input::Applied(index) => self.applied(index),
            Input::ReadIndex { request } => self.read_index(request),
            Input::TransferLeader { request, target } => self.transfer_leader(request, target),
            Input::SnapshotBuilt(meta) => self.snapshot_built(&meta),
            Input::SnapshotBuildFailed => self.snapshot_build_failed(),
            Input::SnapshotInstalled(meta) => self.snapshot_installed(meta),
            Input::SnapshotInstallFailed(_) => self.snapshot_install_failed(),
            Input::SnapshotSent { to, last, delivered } => self.snapshot_sent(to, last, delivered),
            Input::SnapshotReceived { from, term, meta } => {
                self.snapshot_received(from, term, meta);
            }
            Input::TriggerSnapshot => self.snapshots.triggered = true,
            Input::Unreachable(node) => self.lost_contact(node),
        }
        out.append(&mut self.answers);
    }

    /// Ends a turn: gives out every order that the steps since the last call led to. Must be called
    /// after the last `step` of each turn, even when nothing seems to have happened.
    pub fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        self.leave_joint();
        self.say_farewell();
        self.place_reads();
        self.replicate();
        self.order_persist(out);
        out.append(&mut self.answers);
        let messages = self.outbox.drain(..);
        out.extend(messages.map(|(to, message)| Output::Send { to, message }));
        // What a snapshot on its way in is about to cover must not be applied behind it.
        if self.snapshots.installing.is_none() {
            let committed = self.log.take_committed();
            if !committed.is_empty() {
                out.push(Output::Apply(committed));
            }
        }
        self.order_snapshot(out);
        self.trim_log();
        let announcement = self.announcement();
        if self.announced.as_ref() != Some(&announcement) {
            self.announced = Some(announcement);
            out.push(Output::StatusChanged);
        }
    }

    /// When the next [`Input::Wake`] is due; `None` when only other inputs can change anything. It
    /// is to be asked anew after each turn.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let role = match &self.role {
            // A leader without followers has nobody to talk to.
            Role::Leader(leader) if leader.progress.is_empty() => None,
            Role::Leader(leader) if self.config.check_quorum => {
                Some(leader.heartbeat_deadline.min(leader.quorum_deadline))
            }
            Role::Leader(leader) => Some(leader.heartbeat_deadline),
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => self.campaign_deadline(),
        };
        role.into_iter().chain(self.transfer_deadline()).min()
    }

    /// Does what has become due.
    fn wake(&mut self) {
        if self.transfer_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.abandon_transfer();
        }
        if self.campaign_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.campaign(Campaign::Timeout);
        }
        let Role::Leader(leader) = &self.role else { return };
        if leader.progress.is_empty() {
            return;
        }
        let check = self.config.check_quorum && leader.quorum_deadline <= self.now;
        if leader.heartbeat_deadline <= self.now {
            self.broadcast_heartbeat();
        }
        if check {
            self.check_quorum();
        }
    }

    /// An application asks to replicate a command.
    fn propose(&mut self, request: RequestId, command: Arc<[u8]>) {
        let Role::Leader(leader) = &self.role else {
            self.refuse(request, Refusal::NotLeader { leader: self.leader });
            return;
        };
        if leader.retiring.is_some() {
            self.refuse(request, Refusal::NotLeader { leader: None });
            return;
        }
        if leader.transfer.is_some() {
            self.refuse(request, Refusal::Transferring);
            return;
        }
        // One proposal is always taken, however large, or it could never be.
        let waiting = self.log.unapplied_bytes();
        if waiting > 0 && waiting + command.len() > self.config.uncommitted_bytes_max {
            self.refuse(request, Refusal::Overloaded);
            return;
        }
        let Some(id) = self.log.push(self.term, EntryPayload::Command(command)) else {
            self.refuse(request, Refusal::Overloaded);
            return;
        };
        self.answers.push(Output::Proposed { request, id });
    }

    /// The state machine got this far. Memberships take effect here.
    fn applied(&mut self, index: LogIndex) {
        let (bytes, memberships) = self.log.apply_to(index);
        self.snapshots.count_applied(bytes);
        for membership in memberships {
            self.enter_membership(membership);
        }
        // Whoever stands may have been voted out, or need fewer votes now.
        self.conclude_campaign();
    }

    /// A message of a peer.
    fn receive(&mut self, from: NodeId, message: Message) {
        if from == self.config.id || !message.is_possible() {
            self.drop_message();
            return;
        }
        let Message { term, body } = message;
        if let MessageBody::Committed { last } = body {
            self.receive_committed(last);
            return;
        }
        if !self.is_near(term) {
            self.drop_message();
            if !matches!(body, MessageBody::PreVoteReply { granted: true }) {
                self.approach_term();
            }
            return;
        }
        if !self.admit(from, term, &body) {
            return;
        }
        match body {
            MessageBody::RequestPreVote { last } => self.receive_pre_vote(from, term, last),
            MessageBody::PreVoteReply { granted } => {
                self.receive_pre_vote_reply(from, term, granted);
            }
            MessageBody::RequestVote { last, .. } => self.receive_vote_request(from, last),
            MessageBody::VoteReply { granted } => self.receive_vote_reply(from, granted),
            MessageBody::AppendEntries { previous, entries, commit_index } => {
                self.receive_append(from, previous, entries, commit_index);
            }
            MessageBody::AppendEntriesReply { result } => self.receive_append_reply(from, result),
            MessageBody::Heartbeat { commit_index, read } => {
                self.receive_heartbeat(from, commit_index, read);
            }
            MessageBody::HeartbeatReply { read } => self.receive_heartbeat_reply(from, read),
            MessageBody::TimeoutNow => self.receive_timeout_now(from),
            MessageBody::SnapshotReply { last } => {
                self.receive_append_reply(from, AppendResult::Matched(last.index));
            }
            MessageBody::Committed { .. } => {}
        }
    }

    /// Whether elections explain how far `term` is ahead.
    pub(super) fn is_near(&self, term: Term) -> bool {
        term.0.saturating_sub(self.term.0) <= limits::RAFT_TERM_AHEAD_MAX
    }

    /// Somebody is in a term that is too far ahead to be believed. Where a leader is heard that is
    /// nonsense. Otherwise this node may have slept: it goes a step towards it, which is safe at
    /// any time, and is there after some messages more; it gives nobody a vote for that.
    pub(super) fn approach_term(&mut self) {
        if !self.in_lease()
            && let Some(term) = self.term.after(limits::RAFT_TERM_AHEAD_MAX)
        {
            self.become_follower(term, None);
        }
    }

    /// Compares terms (Raft paper §5.1). False when the message needs no further handling.
    fn admit(&mut self, from: NodeId, term: Term, body: &MessageBody) -> bool {
        if term < self.term {
            self.answer_old_term(from, body);
            return false;
        }
        if term == self.term {
            return true;
        }
        match body {
            MessageBody::RequestPreVote { .. } => !self.in_lease(),
            MessageBody::RequestVote { transfer, .. } => {
                if self.in_lease() && !transfer {
                    return false;
                }
                self.become_follower(term, None);
                true
            }
            // Given for a term nobody is in yet.
            MessageBody::PreVoteReply { granted: true } => true,
            MessageBody::AppendEntries { .. } | MessageBody::Heartbeat { .. } => {
                self.become_follower(term, Some(from));
                true
            }
            // Of a higher term, so not meant for this one: a refused pre-vote among them. Adopting
            // the term keeps two nodes from refusing each other for ever.
            MessageBody::PreVoteReply { granted: false }
            | MessageBody::VoteReply { .. }
            | MessageBody::AppendEntriesReply { .. }
            | MessageBody::HeartbeatReply { .. }
            | MessageBody::TimeoutNow
            | MessageBody::SnapshotReply { .. }
            | MessageBody::Committed { .. } => {
                self.become_follower(term, None);
                false
            }
        }
    }

    /// A sender that is behind. A leader must hear of the higher term, or this node, which ignores
    /// it, would never be part of the group again; a candidate must hear of it to catch up.
    fn answer_old_term(&mut self, from: NodeId, body: &MessageBody) {
        let body = match body {
            MessageBody::AppendEntries { .. } | MessageBody::Heartbeat { .. } => {
                MessageBody::HeartbeatReply { read: 0 }
            }
            MessageBody::RequestPreVote { .. } => MessageBody::PreVoteReply { granted: false },
            MessageBody::RequestVote { .. } => MessageBody::VoteReply { granted: false },
            MessageBody::PreVoteReply { .. }
            | MessageBody::VoteReply { .. }
            | MessageBody::AppendEntriesReply { .. }
            | MessageBody::HeartbeatReply { .. }
            | MessageBody::TimeoutNow
            | MessageBody::SnapshotReply { .. }
            | MessageBody::Committed { .. } => return,
        };
        self.send(from, Message { term: self.term, body });
    }

    /// Certainly no effect.
    pub(super) fn refuse(&mut self, request: RequestId, reason: Refusal) {
        self.answers.push(Output::Refused { request, reason });
    }

    /// No honest peer says this.
    pub(super) fn drop_message(&mut self) {
        self.dropped_messages = self.dropped_messages.saturating_add(1);
    }

    /// Asserts what must hold after every step. Scans the tail, so it is for tests and simulation.
    ///
    /// # Panics
    /// The engine has a bug.
    pub fn invariants(&self) {
        self.log.invariants();
        self.durability.invariants();
        self.membership.invariants();
        assert!(self.log.last().term <= self.term);
        assert!(self.snapshots.last.index <= self.log.applied_index());
        assert_eq!(matches!(self.role, Role::Leader(_)), self.leader == Some(self.config.id));
        if let Role::Leader(leader) = &self.role {
            assert_eq!(self.voted_for, Some(self.config.id));
            assert!(self.snapshots.installing.is_none());
            leader.membership_invariants(self.config.id, &self.membership);
            let last = self.log.last().index;
            for progress in leader.progress.values() {
                progress.invariants(last, self.config.inflight_max);
            }
        }
    }
}
