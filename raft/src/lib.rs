//! Raft as a pure engine and an async runtime without an executor.
#![no_std]

extern crate alloc;

pub mod engine;
pub mod runtime;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod types;

pub use engine::{Message, MessageBody, Refusal, RoleKind};
pub use runtime::{
    AppendError, Cause, ClientWriteError, Completion, Config, Fatal, LocalBoxFuture, Metrics,
    NoNetwork, Outcome, Raft, RaftLogStorage, RaftNetwork, RaftNetworkFactory, RaftStateMachine,
    ReceiveChunkError, ReceiveError, Recovered, RequestError, SnapshotChunk, SnapshotError,
    StartError, StorageError, Tasks, Timer, TriggerSnapshotError, Unreachable,
};
pub use types::{
    Entry, EntryPayload, HardState, LogId, LogIndex, Membership, MembershipChange, SnapshotMeta,
    Term,
};
