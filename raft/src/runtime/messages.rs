//! What the tasks of a node tell each other: requests of the application, messages of peers,
//! notices to RaftCore and orders to the worker. Whoever sends one needs to know nobody who takes
//! it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use futures_channel::oneshot::Sender;
use nacolet_model::NodeId;

use super::error::{
    ClientWriteError, Fatal, InitializeError, ReceiveChunkError, RequestError, TriggerSnapshotError,
};
use super::metrics::Metrics;
use super::traits::{AppendError, RaftStateMachine, SnapshotChunk, SnapshotError};
use crate::engine::{Message, PersistId, Status};
use crate::types::{Entry, LogId, LogIndex, Membership, MembershipChange, SnapshotMeta, Term};

/// What the application asks.
pub(crate) enum RaftMsg<S: RaftStateMachine> {
    Write { command: Arc<[u8]>, answer: Sender<WriteAnswer<S>> },
    Initialize { membership: Membership, answer: Sender<Result<(), InitializeError>> },
    Change { change: MembershipChange, answer: Sender<Result<(), RequestError>> },
    ReadIndex { answer: Sender<Result<LogIndex, RequestError>> },
    Transfer { target: Option<NodeId>, answer: Sender<Result<NodeId, RequestError>> },
    TriggerSnapshot { answer: Sender<Result<SnapshotMeta, TriggerSnapshotError>> },
    Inspect { answer: Sender<Result<Status, RequestError>> },
    WatchMetrics { version: u64, answer: Sender<Result<Metrics, RequestError>> },
}

impl<S: RaftStateMachine> RaftMsg<S> {
    /// What it keeps in memory beside itself.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Write { command, .. } => command.len(),
            Self::Initialize { .. }
            | Self::Change { .. }
            | Self::ReadIndex { .. }
            | Self::Transfer { .. }
            | Self::TriggerSnapshot { .. }
            | Self::Inspect { .. }
            | Self::WatchMetrics { .. } => 0,
        }
    }
}

/// What a peer says.
pub(crate) enum FromPeer {
    Message {
        from: NodeId,
        message: Message,
    },
    /// Boxed: the queue is allocated for as many as it holds, and nearly all are messages.
    Chunk(Box<WriteChunk>),
}

impl FromPeer {
    /// What it keeps in memory beside itself.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Message { message, .. } => message.entries_bytes(),
            Self::Chunk(chunk) => chunk.chunk.bytes.len(),
        }
    }
}

/// What the node's own parts report. Their queue has no bound of its own: each notice answers an
/// order, and orders are bounded.
pub(crate) enum Notice {
    Written { number: PersistId, result: Result<(), AppendError> },
    LogStorageGone,
    Applied(LogIndex),
    SnapshotBuilt(SnapshotMeta),
    SnapshotBuildFailed(SnapshotError),
    SnapshotReceived { from: NodeId, term: Term, meta: SnapshotMeta },
    Installed(SnapshotMeta),
    InstallFailed(SnapshotMeta, SnapshotError),
    WorkerGone(Fatal),
    SnapshotSent { to: NodeId, last: LogId, delivered: bool },
    Unreachable(NodeId),
    Shutdown { ended: Sender<()> },
}

/// What the caller of `client_write` gets.
pub(crate) type WriteAnswer<S> =
    Result<<S as RaftStateMachine>::Response, ClientWriteError<<S as RaftStateMachine>::Error>>;

/// What RaftCore and the ReplicationCores ask of the worker.
pub(crate) enum WorkerOrder<S: RaftStateMachine> {
    /// Apply these and answer those who proposed some of them, in order of their index.
    Apply { entries: Vec<Entry>, proposers: Vec<(LogIndex, Sender<WriteAnswer<S>>)> },
    /// Build a snapshot of what is applied.
    Build,
    /// Read a piece of the newest snapshot.
    ReadChunk(ReadChunk),
    /// Store a piece of an incoming snapshot.
    WriteChunk(Box<WriteChunk>),
    /// Make the received snapshot the state.
    Install(SnapshotMeta),
    /// Forget the received snapshot.
    Discard(SnapshotMeta),
}

impl<S: RaftStateMachine> WorkerOrder<S> {
    /// What it keeps in memory beside itself. Entries are those of the log, which bounds them, and
    /// there is one at a time of everything else but pieces that peers send: they wait while a
    /// snapshot is installed.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::WriteChunk(chunk) => chunk.chunk.bytes.len(),
            Self::Apply { .. }
            | Self::Build
            | Self::ReadChunk(_)
            | Self::Install(_)
            | Self::Discard(_) => 0,
        }
    }
}

/// A piece of a snapshot that a ReplicationCore wants to send.
pub(crate) struct ReadChunk {
    pub(crate) meta: SnapshotMeta,
    pub(crate) offset: u64,
    pub(crate) answer: Sender<Result<SnapshotChunk, SnapshotError>>,
}

/// A piece of a snapshot that a leader sent.
pub(crate) struct WriteChunk {
    pub(crate) from: NodeId,
    pub(crate) term: Term,
    pub(crate) meta: SnapshotMeta,
    pub(crate) offset: u64,
    pub(crate) chunk: SnapshotChunk,
    pub(crate) answer: Sender<Result<u64, ReceiveChunkError>>,
}

/// Something the engine must hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// Every record up to this one.
    Persisted(PersistId),
    /// The log now begins behind this snapshot.
    Reset(SnapshotMeta),
}
