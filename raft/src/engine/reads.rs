//! The reads that wait on one leader, and the rounds of heartbeats that may confirm them. What is
//! done with them is in `read_index`.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use nacolet_model::{Instant, RequestId, limits};

use crate::types::LogIndex;

/// Reads of one leader in its term.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    /// Asked for, not placed yet: since the last turn, or before the term's first commit.
    pub(super) fresh: Vec<RequestId>,
    /// Placed and not confirmed, in ascending order.
    pub(super) waiting: VecDeque<ReadBatch>,
    /// How many reads wait in all.
    pub(super) count: usize,
    /// Position of the newest batch or round.
    pub(super) position: u64,
    /// When each round of heartbeats was sent, for the lease.
    pub(super) rounds: VecDeque<(u64, Instant)>,
    /// When the newest round that a quorum answered was sent.
    pub(super) heard: Option<Instant>,
    /// This leader told somebody to campaign, or will: nobody keeps quiet for its sake any more.
    pub(super) lease_void: bool,
}

/// Reads of one turn.
#[derive(Clone, Debug)]
pub(super) struct ReadBatch {
    pub(super) position: u64,
    pub(super) index: LogIndex,
    pub(super) requests: Vec<RequestId>,
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
        if self.rounds.len() == limits::RAFT_ROUNDS_MAX {
            self.rounds.pop_front();
        }
        self.rounds.push_back((self.position, now));
    }

    pub(super) fn place(&mut self, index: LogIndex) {
        self.position += 1;
        let requests = core::mem::take(&mut self.fresh);
        self.waiting.push_back(ReadBatch { position: self.position, index, requests });
    }
}
