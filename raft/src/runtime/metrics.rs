//! What a node knows of itself, as a value that any thread can read. RaftCore alone writes it, once
//! per turn in which something changed.

use alloc::sync::Arc;
use core::hint::spin_loop;

use async_lock::RwLock;
use nacolet_model::NodeId;

use crate::engine::{RoleKind, Status};
use crate::types::{LogId, LogIndex, Membership, Term};

/// State of one node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Grows with every change; for [`crate::Raft::metrics_changed`].
    pub version: u64,
    /// This node.
    pub id: NodeId,
    /// Latest term seen.
    pub term: Term,
    /// Its role in that term; a stopped node is a follower of nobody.
    pub role: RoleKind,
    /// The leader, when it is known.
    pub leader: Option<NodeId>,
    /// End of the log, durable or not.
    pub last_log: LogId,
    /// Highest index known to be committed.
    pub commit_index: LogIndex,
    /// Highest index that the state machine has applied.
    pub applied_index: LogIndex,
    /// End of the newest durable Raft snapshot.
    pub snapshot: LogId,
    /// Membership in force.
    pub membership: Arc<Membership>,
    /// Whether writes are refused because the disk is full.
    pub storage_full: bool,
    /// Messages to and from peers that were dropped because a queue was full.
    pub dropped_messages: u64,
    /// Whether RaftCore still runs.
    pub running: bool,
}

impl Metrics {
    /// Those of a node that begins with this engine.
    pub(crate) fn at_start(status: &Status) -> Self {
        Self {
            id: status.id,
            last_log: status.last,
            commit_index: status.commit_index,
            applied_index: status.applied_index,
            snapshot: status.snapshot,
            running: true,
            ..Self::default()
        }
    }
}

/// A value that one task writes and everybody reads.
#[derive(Debug, Default)]
pub(crate) struct SharedMetrics(RwLock<Metrics>);

impl SharedMetrics {
    /// The value now. The lock is held for the time of a copy, so that waiting for it is a matter
    /// of nanoseconds and needs no await.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Metrics) -> T) -> T {
        loop {
            if let Some(metrics) = self.0.try_read() {
                return read(&metrics);
            }
            spin_loop();
        }
    }

    /// Replaces the value.
    pub(crate) fn write(&self, metrics: &Metrics) {
        loop {
            if let Some(mut shared) = self.0.try_write() {
                shared.clone_from(metrics);
                return;
            }
            spin_loop();
        }
    }
}
