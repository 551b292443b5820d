//! What a leader knows of one follower and how much it may send (etcd raft's `tracker.Progress`).
//!
//! ```text
//!             acknowledged                    refused, unreachable
//!   Probe ───────────────────► Replicate ─────────────────────────► Probe
//!     │  one message at a time    pipelined, at most `inflight_max`
//!     │  needs what left the tail        │
//!     └────────────► Snapshot ◄──────────┘   nothing is sent until it arrived or was given up
//!                       └──────────────────► Probe
//! ```

use alloc::collections::VecDeque;

use nacolet_model::limits;

use crate::types::LogIndex;

/// How a follower is being fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicationState {
    /// Looking for the last matching entry, one message at a time.
    Probe,
    /// Streaming.
    Replicate,
    /// A snapshot is on its way.
    Snapshot,
}

/// What a leader knows of one follower.
#[derive(Clone, Debug)]
pub(super) struct FollowerProgress {
    /// Known to match the leader's log and to be durable at the follower.
    pub(super) match_index: LogIndex,
    /// The next entry to send.
    pub(super) next_index: LogIndex,
    state: ReplicationState,
    /// Probe: a message is out. Cleared by any answer.
    paused: bool,
    /// Snapshot: where the one on its way ends.
    pending_snapshot: LogIndex,
    /// Replicate: last index and bytes of each message that is not acknowledged.
    inflight: VecDeque<(LogIndex, usize)>,
    /// An empty message is due although the window is full: perhaps everything in it was lost.
    poked: bool,
    /// Highest commit index the follower was told with an AppendEntries.
    pub(super) told_commit: LogIndex,
    /// Whether it answered since the last check of the quorum.
    pub(super) active: bool,
    /// Whether it had answered when the quorum was last checked; true until it is checked for the
    /// first time.
    pub(super) was_active: bool,
    /// Newest read position it confirmed.
    pub(super) read: u64,
    /// The newest position sent with a heartbeat, and the commit index first sent with it.
    heartbeat: (u64, LogIndex),
    /// Commit index that it confirmed to have heard of.
    pub(super) known_commit: LogIndex,
}

impl FollowerProgress {
    /// A follower of whom nothing is known, when the leader's log ends at `last`.
    pub(super) fn new(last: LogIndex, active: bool) -> Self {
        Self {
            match_index: LogIndex::ZERO,
            next_index: last.next(),
            state: ReplicationState::Probe,
            paused: false,
            pending_snapshot: LogIndex::ZERO,
            inflight: VecDeque::new(),
            poked: false,
            told_commit: LogIndex::ZERO,
            active,
            was_active: true,
            read: 0,
            heartbeat: (0, LogIndex::ZERO),
            known_commit: LogIndex::ZERO,
        }
    }

    pub(super) fn state(&self) -> ReplicationState {
        self.state
    }

    /// Where the snapshot on its way ends, if there is one.
    pub(super) fn pending_snapshot(&self) -> Option<LogIndex> {
        (self.state == ReplicationState::Snapshot).then_some(self.pending_snapshot)
    }

    fn become_probe(&mut self, next_index: LogIndex) {
        self.state = ReplicationState::Probe;
        self.next_index = next_index.max(self.match_index.next());
        self.paused = false;
        self.inflight.clear();
    }

    /// Waits for a snapshot that ends at `last`.
    pub(super) fn become_snapshot(&mut self, last: LogIndex) {
        self.state = ReplicationState::Snapshot;
        self.pending_snapshot = last;
        self.paused = false;
        self.inflight.clear();
    }

    /// The snapshot arrived, or was given up. Either way the next message waits for a sign of life.
    pub(super) fn snapshot_done(&mut self, delivered: bool) {
        if self.state == ReplicationState::Snapshot {
            let next = if delivered { self.pending_snapshot.next() } else { LogIndex::ZERO };
            self.become_probe(next);
            self.paused = true;
        }
    }

    /// Messages are being lost.
    pub(super) fn unreachable(&mut self) {
        if self.state == ReplicationState::Replicate {
            self.become_probe(LogIndex::ZERO);
        }
    }

    /// A sign of life: whatever is out may be lost.
    fn poke(&mut self) {
        self.paused = false;
        self.poked = true;
    }

    /// A heartbeat goes out. Returns the commit index it may name: what the follower surely holds.
    pub(super) fn heartbeat(&mut self, position: u64, commit_index: LogIndex) -> LogIndex {
        let said = commit_index.min(self.match_index);
        if self.heartbeat.0 != position {
            self.heartbeat = (position, said);
        }
        said
    }

    /// A heartbeat with this position was answered.
    pub(super) fn heartbeat_answered(&mut self, position: u64) {
        self.poke();
        self.read = self.read.max(position);
        if self.heartbeat.0 == position {
            self.known_commit = self.known_commit.max(self.heartbeat.1);
        }
    }

    /// Whether a message may be sent now, and whether it may carry entries.
    pub(super) fn allowance(&self, inflight_max: usize) -> Allowance {
        match self.state {
            ReplicationState::Snapshot => Allowance::Nothing,
            ReplicationState::Probe if self.paused => Allowance::Nothing,
            ReplicationState::Probe => Allowance::Entries,
            ReplicationState::Replicate if self.has_room(inflight_max) => Allowance::Entries,
            ReplicationState::Replicate if self.poked => Allowance::Empty,
            ReplicationState::Replicate => Allowance::Nothing,
        }
    }

    fn has_room(&self, inflight_max: usize) -> bool {
        let bytes: usize = self.inflight.iter().map(|(_, bytes)| bytes).sum();
        self.inflight.len() < inflight_max && bytes < limits::RAFT_INFLIGHT_BYTES_MAX
    }

    /// Whether even a message without entries and without news is due.
    pub(super) fn wants_empty(&self, last: LogIndex) -> bool {
        let probing = self.state == ReplicationState::Probe && !self.paused;
        self.match_index < last && (probing || self.poked)
    }

    /// A message with entries up to `last` (none when `last` is before `next_index`) went out.
    pub(super) fn sent(&mut self, last: LogIndex, bytes: usize, commit_index: LogIndex) {
        self.poked = false;
        self.told_commit = self.told_commit.max(commit_index);
        match self.state {
            ReplicationState::Probe => self.paused = true,
            ReplicationState::Replicate if last >= self.next_index => {
                self.next_index = last.next();
                self.inflight.push_back((last, bytes));
            }
            ReplicationState::Replicate | ReplicationState::Snapshot => {}
        }
    }

    /// Everything up to `index` is acknowledged. `base` is the start of the leader's tail. Returns
    /// whether that is news.
    pub(super) fn acknowledged(&mut self, index: LogIndex, base: LogIndex) -> bool {
        let news = index > self.match_index;
        self.match_index = self.match_index.max(index);
        self.next_index = self.next_index.max(index.next());
        while self.inflight.front().is_some_and(|(last, _)| *last <= index) {
            self.inflight.pop_front();
        }
        match self.state {
            // Whatever brought it back, be it another snapshot than the one awaited, streaming goes
            // on as soon as the logs connect.
            ReplicationState::Probe => self.become_replicate(),
            ReplicationState::Snapshot if self.match_index >= base => self.become_replicate(),
            ReplicationState::Snapshot | ReplicationState::Replicate => {}
        }
        news
    }

    fn become_replicate(&mut self) {
        self.become_probe(LogIndex::ZERO);
        self.state = ReplicationState::Replicate;
    }

    /// The message behind `rejected` was refused; the logs may match at `probe`. A late answer
    /// changes nothing.
    pub(super) fn refused(&mut self, rejected: LogIndex, probe: LogIndex) {
        match self.state {
            ReplicationState::Replicate if rejected > self.match_index => {
                self.become_probe(rejected.min(probe.next()));
            }
            ReplicationState::Probe if self.next_index.previous() == rejected => {
                self.become_probe(rejected.min(probe.next()));
            }
            ReplicationState::Probe | ReplicationState::Replicate | ReplicationState::Snapshot => {}
        }
    }

    /// Asserts what must always hold when the leader's log ends at `last`.
    pub(super) fn invariants(&self, last: LogIndex, inflight_max: usize) {
        assert!(self.match_index < self.next_index);
        assert!(self.match_index <= last);
        assert!(self.inflight.len() <= inflight_max);
    }
}

/// What may be sent to a follower now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// Wait.
    Nothing,
    /// A message without entries.
    Empty,
    /// Entries.
    Entries,
}
