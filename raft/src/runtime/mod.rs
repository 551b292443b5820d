//! The loop around the engine, in plain futures that any executor can run.
//!
//! Read `start` first, then `messages`, `core`, `log_writer`, `worker` and `replication`; `traits`
//! is what a user provides, `raft` what a user holds.

mod alone;
mod callers;
mod core;
mod error;
mod incoming;
mod log_writer;
mod lone;
mod messages;
mod metrics;
mod queue;
mod raft;
mod replication;
mod snapshot_requests;
mod start;
mod traits;
mod waiters;
mod worker;

pub use alone::{AloneError, Remains};
pub use error::{
    Cause, ClientWriteError, Fatal, InitializeError, Outcome, ReceiveChunkError, ReceiveError,
    RequestError, StartError, TriggerSnapshotError,
};
pub use lone::NoNetwork;
pub use metrics::Metrics;
pub use raft::Raft;
pub use start::{Config, Tasks};
pub use traits::{
    AppendError, Completion, LocalBoxFuture, RaftLogStorage, RaftNetwork, RaftNetworkFactory,
    RaftStateMachine, Recovered, SnapshotChunk, SnapshotError, StorageError, Timer, Unreachable,
};
