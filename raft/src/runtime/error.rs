//! How requests and nodes fail. Every failure of a request belongs to one of two classes, see
//! [`Outcome`]: what was refused may be repeated; what is unknown must be looked up first.

use nacolet_model::NodeId;

use super::traits::{SnapshotError, StorageError};
use crate::engine::{BootstrapError, Refusal};
use crate::types::{LogIndex, Term};

/// What an error says about the effect of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Certainly no effect: it may be repeated, here or at the leader.
    Refused,
    /// It may have its effect already, or yet: repeating it could do it twice.
    Unknown,
}

/// Why nobody can say what became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The node stopped, was shut down, or lost one of its workers.
    #[error("the node stopped")]
    Stopped,
    /// The disk filled up behind the request; it is in the log and takes effect if space returns.
    #[error("the disk filled up meanwhile")]
    StorageFull,
    /// This node lost the leadership, and has not heard since what became of its entries.
    #[error("the leadership was lost meanwhile")]
    LeadershipLost,
    /// A Raft snapshot of another leader jumped over the request's place in the log.
    #[error("a snapshot took its place in the log")]
    Snapshot,
}

/// Why a command has no answer of the application, or a refusing one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientWriteError<E> {
    /// It was replicated and applied, and the application refused it. Final.
    #[error("the application refused the command")]
    Rejected(E),
    /// The engine refused it; [`Refusal::NotLeader`] names the leader to go to, when it is known.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No space is left for the log. Reads go on; writes do again once space has returned.
    #[error("no space left for the Raft log")]
    StorageFull,
    /// It is larger than a log entry may be.
    #[error("the command has {bytes} bytes, more than {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// `limits::COMMAND_BYTES_MAX`.
        bytes_max: usize,
    },
    /// Its `Serialize` implementation failed.
    #[error("the command cannot be encoded")]
    Unencodable,
    /// Another leader's entry was committed in its place: it will never be applied.
    #[error("another leader took over before the command was committed")]
    Superseded {
        /// The leader now, when it is known.
        leader: Option<NodeId>,
    },
    /// The node had stopped before the command was handed over.
    #[error("the node has stopped")]
    Stopped,
    /// It may or may not take effect.
    #[error("the outcome is unknown: {0}")]
    Unknown(Cause),
}

/// Why any other request than a write was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The engine refused it; [`Refusal::NotLeader`] names the leader to go to, when it is known.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No space is left for the log, and the request would add to it.
    #[error("no space left for the Raft log")]
    StorageFull,
    /// Another leader's entry was committed in its place: it will never take effect.
    #[error("another leader took over before the change was committed")]
    Superseded {
        /// The leader now, when it is known.
        leader: Option<NodeId>,
    },
    /// The node had stopped before the request was handed over.
    #[error("the node has stopped")]
    Stopped,
    /// It may or may not take effect.
    #[error("the outcome is unknown: {0}")]
    Unknown(Cause),
}

/// Why a node does not begin a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitializeError {
    /// It has been part of one, or the membership cannot be the first of any.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// Too many requests wait: nothing happened.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

/// What any request may meet, a write may meet too.
impl<E> From<RequestError> for ClientWriteError<E> {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(refusal) => Self::Refused(refusal),
            RequestError::StorageFull => Self::StorageFull,
            RequestError::Superseded { leader } => Self::Superseded { leader },
            RequestError::Stopped => Self::Stopped,
            RequestError::Unknown(cause) => Self::Unknown(cause),
        }
    }
}

impl<E> ClientWriteError<E> {
    /// Whether the command may be repeated without looking.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Unknown(_) => Outcome::Unknown,
            Self::Rejected(_)
            | Self::Refused(_)
            | Self::StorageFull
            | Self::TooLarge { .. }
            | Self::Unencodable
            | Self::Superseded { .. }
            | Self::Stopped => Outcome::Refused,
        }
    }

    /// The leader to go to, when the error knows one.
    #[must_use]
    pub const fn leader(&self) -> Option<NodeId> {
        match self {
            Self::Refused(Refusal::NotLeader { leader }) | Self::Superseded { leader } => *leader,
            Self::Rejected(_)
            | Self::Refused(_)
            | Self::StorageFull
            | Self::TooLarge { .. }
            | Self::Unencodable
            | Self::Stopped
            | Self::Unknown(_) => None,
        }
    }
}

impl RequestError {
    /// Whether the request may be repeated without looking.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Unknown(_) => Outcome::Unknown,
            Self::Refused(_) | Self::StorageFull | Self::Superseded { .. } | Self::Stopped => {
                Outcome::Refused
            }
        }
    }

    /// The leader to go to, when the error knows one.
    #[must_use]
    pub const fn leader(&self) -> Option<NodeId> {
        match self {
            Self::Refused(Refusal::NotLeader { leader }) | Self::Superseded { leader } => *leader,
            Self::Refused(_) | Self::StorageFull | Self::Stopped | Self::Unknown(_) => None,
        }
    }
}

/// Why an incoming message was dropped; messages may be lost, so the transport only counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// The queue from the network is full.
    #[error("the queue of incoming Raft messages is full")]
    Overloaded,
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

/// Why a snapshot chunk was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveChunkError {
    /// The sender's term is over; its transfer is dropped.
    #[error("the sender is not the leader any more")]
    Stale {
        /// The term of this node.
        term: Term,
    },
    /// No honest leader sends it: its term, its place in the log, its membership or its size cannot
    /// be.
    #[error("the snapshot cannot come from a leader")]
    Impossible,
    /// Another chunk is being written, or a whole snapshot waits to be installed. Try again.
    #[error("the node is busy with another chunk")]
    Busy,
    /// The chunk could not be stored, or the whole fails its checks.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

/// Why a snapshot that was asked for does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TriggerSnapshotError {
    /// Nothing has been applied yet.
    #[error("there is nothing to take a snapshot of")]
    Empty,
    /// The state machine could not write it; the one before it stays.
    #[error(transparent)]
    Failed(#[from] SnapshotError),
    /// The queue of requests is full.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The node stopped first.
    #[error("the node has stopped")]
    Stopped,
}

/// Why a node did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The log storage or the state machine found damage.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The settings, or what the log storage and the state machine hold, do not fit together.
    #[error(transparent)]
    Engine(#[from] crate::engine::ImpossibleStart),
    /// The first membership is none.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
}

/// Why RaftCore stopped although nobody asked it to. The process should end: what is durable is
/// safe, and a restart begins from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The log storage dropped a write without a word: its thread is gone.
    #[error("the log storage stopped")]
    LogStorageStopped,
    /// The state machine worker ended or panicked.
    #[error("the state machine worker stopped")]
    StateMachineStopped,
    /// A committed command cannot be decoded: the log was written by a newer version, or damaged.
    #[error("the committed command at index {} cannot be decoded", index.0)]
    Undecodable {
        /// Where it stands.
        index: LogIndex,
    },
}
