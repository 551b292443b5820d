//! The loop around the engine, in plain futures.

mod traits;

pub use traits::{
    AppendError, Completion, LocalBoxFuture, RaftLogStorage, RaftNetwork, RaftNetworkFactory,
    RaftStateMachine, Recovered, SnapshotChunk, SnapshotError, StorageError, Timer, Unreachable,
};
