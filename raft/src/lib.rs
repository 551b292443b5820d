//! Raft as a pure engine and an async runtime without an executor.
#![no_std]

extern crate alloc;

pub mod engine;
pub mod runtime;
pub mod types;

pub use runtime::{
    AppendError, Completion, LocalBoxFuture, RaftLogStorage, RaftNetwork, RaftNetworkFactory,
    RaftStateMachine, Recovered, SnapshotChunk, SnapshotError, StorageError, Timer, Unreachable,
};
pub use types::{
    Entry, EntryPayload, HardState, LogId, LogIndex, Membership, MembershipChange, SnapshotMeta,
    Term,
};
