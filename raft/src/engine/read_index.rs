//! Linearizable reads (Raft dissertation §6.4): the leader notes its commit index, makes sure that it
//! still leads by one exchange of heartbeats, and answers with the index to be applied first. Reads
//! are confirmed by position, a counter of the term, never by anything a caller chose: a late answer
//! confirms only what was asked before it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use nacolet_model::{Instant, NodeId, RequestId};

use super::Engine;
use super::io::{Output, Refusal};
use super::quorum::reached;
use super::role::Role;
use crate::types::LogIndex;

/// Heartbeat rounds remembered for the lease. More than fit into an election timeout.
const ROUNDS_MAX: usize = 64;

/// Reads of one leader in its term.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    /// Asked for, not placed yet: since the last turn, or before the term's first commit.
    fresh: Vec<RequestId>,
    /// Placed and not confirmed, in ascending order.
    waiting: VecDeque<Batch>,
    /// How many reads wait in all.
    count: usize,
    /// Position of the newest batch or round.
    position: u64,
    /// When each round of heartbeats was sent, for the lease.
    rounds: VecDeque<(u64, Instant)>,
    /// When the newest round that a quorum answered was sent.
    heard: Option<Instant>,
    /// This leader told somebody to campaign, or will: nobody keeps quiet for its sake any more.
    lease_void: bool,
}

/// Reads of one turn.
#[derive(Clone, Debug)]
struct Batch {
    position: u64,
    index: LogIndex,
    requests: Vec<RequestId>,
}

impl Reads {
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Everybody who waits.
    pub(super) fn into_requests(self) -> impl Iterator<Item = RequestId> {
        self.waiting.into_iter().flat_map(|batch| batch.requests).chain(self.fresh)
    }

    /// From now on, and for the rest of the term, no read is answered from the lease.
    pub(super) fn void_lease(&mut self) {
        self.lease_void = true;
    }

    /// A round of heartbeats goes out now; its answers will prove the leader as of now.
    pub(super) fn open_round(&mut self, now: Instant) {
        self.position += 1;
        if self.rounds.len() == ROUNDS_MAX {
            self.rounds.pop_front();
        }
        self.rounds.push_back((self.position, now));
    }

    fn place(&mut self, index: LogIndex) {
        self.position += 1;
        let requests = core::mem::take(&mut self.fresh);
        self.waiting.push_back(Batch { position: self.position, index, requests });
    }
}

impl Engine {
    /// Somebody wants a linearizable read.
    pub(super) fn read_index(&mut self, request: RequestId) {
        let Role::Leader(leader) = &mut self.role else {
            self.refuse(request, Refusal::NotLeader { leader: self.leader });
            return;
        };
        if leader.reads.count >= self.config.reads_max {
            self.refuse(request, Refusal::Overloaded);
            return;
        }
        leader.reads.count += 1;
        leader.reads.fresh.push(request);
    }

    /// Ends a turn: places the reads of this turn together. Before an entry of the term is committed
    /// a leader does not know what is, and they wait (dissertation §6.4, step 1).
    pub(super) fn place_reads(&mut self) {
        let committed_in_term = self.has_committed_in_term();
        let index = self.log.commit_index();
        let certain = self.membership.is_sole_voter(self.config.id) || self.holds_lease();
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.reads.fresh.is_empty() || !committed_in_term {
            return;
        }
        if certain {
            leader.reads.count -= leader.reads.fresh.len();
            for request in leader.reads.fresh.drain(..) {
                self.answers.push(Output::ReadReady { request, index });
            }
            return;
        }
        leader.reads.place(index);
        self.broadcast_heartbeat();
    }

    /// Whether no other leader can have been elected, if clocks run at about the same rate: a quorum
    /// answered a heartbeat *sent* less than an election timeout ago, less a tenth for drift. An
    /// order to campaign breaks the promise on which that rests, however late it arrives.
    fn holds_lease(&self) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let lease = self.config.election_timeout_min / 10 * 9;
        self.config.lease_reads
            && !leader.reads.lease_void
            && leader.reads.heard.is_some_and(|sent| self.now.saturating_since(sent) < lease)
    }

    /// A heartbeat was answered: releases every read at or before the position a quorum confirmed.
    pub(super) fn confirm_reads(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let reads = &mut leader.reads;
        let confirmed =
            reached(&self.membership, |node: NodeId| match leader.progress.get(&node) {
                Some(progress) => progress.read,
                None if node == self.config.id => reads.position,
                None => 0,
            });
        let Some(confirmed) = confirmed else { return };
        while let Some((position, sent)) = reads.rounds.front().copied()
            && position <= confirmed
        {
            reads.heard = Some(sent);
            reads.rounds.pop_front();
        }
        while let Some(batch) = reads.waiting.front()
            && batch.position <= confirmed
        {
            let Some(batch) = reads.waiting.pop_front() else { break };
            reads.count -= batch.requests.len();
            for request in batch.requests {
                self.answers.push(Output::ReadReady { request, index: batch.index });
            }
        }
    }
}
