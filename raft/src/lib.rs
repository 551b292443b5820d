//! Raft as a pure engine and an async runtime without an executor, both `no_std` with `alloc`: the
//! same code runs on a server, in a simulator and on a microcontroller.
#![doc = include_str!("../README.md")]
//! # What is yours
//!
//! The parts that face the outside are traits: [`RaftStateMachine`] is the replicated application,
//! or [`Application`] where one method is enough; [`RaftLogStorage`] is the disk, [`RaftNetwork`]
//! one connection, [`Timer`] the clock. [`Raft::new`] connects them and returns the handle and
//! three futures; it never spawns.
//!
//! Start with the [`guide`], your first replicated service.
//!
//! Every request is answered, also when the node stops or one of its parts dies, and each failure
//! says whether the request certainly had no effect or whether nobody knows ([`Outcome`]).
//!
//! # Where it comes from
//!
//! | | Source | Here |
//! |---|---|---|
//! | terms, votes, election timeouts | Raft paper §5.1, §5.2, §9.3 | [`engine`] |
//! | log matching, commit of the own term only | §5.3, §5.4.2, figure 8 | [`engine`] |
//! | membership by joint consensus, learners | §6, dissertation §4.2.1, §4.3 | [`MembershipChange`] |
//! | snapshots | §7 | [`Application`], [`SnapshotStorage`] |
//! | linearizable reads, by confirmation or lease | §8, dissertation §6.4 | [`Raft::read_index`] |
//! | pre-vote, check-quorum | dissertation §9.6, §6.2 | [`engine::EngineConfig`] |
//! | leadership transfer | dissertation §3.10 | [`Raft::transfer_leader`] |
//! | when a membership counts, one change at a time | etcd raft | [`Raft::change_membership`] |
//!
//! # Compatibility
//!
//! Settings, metrics and states may get more fields, so they are made by a constructor and changed
//! field by field. Errors and messages are exhaustive on purpose: each variant is a branch that a
//! caller decides on, and another one is a new major version. What is on disks and wires
//! ([`Message`], [`Entry`], [`HardState`], [`SnapshotMeta`], [`SnapshotChunk`]) only gets variants
//! and fields at the end.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

pub mod engine;
pub mod guide;
mod memory;
mod replica;
mod runtime;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod types;

pub use engine::{BootstrapError, MembershipError, Message, MessageBody, Refusal, RoleKind};
pub use memory::{RamLog, RamSnapshots};
pub use replica::{Application, Replica, SnapshotStorage, State};
pub use runtime::{
    AloneError, AppendError, Cause, ClientWriteError, Completion, Config, Fatal, InitializeError,
    LocalBoxFuture, Metrics, NoNetwork, Outcome, Raft, RaftLogStorage, RaftNetwork,
    RaftNetworkFactory, RaftStateMachine, ReceiveChunkError, ReceiveError, Recovered, Remains,
    RequestError, SnapshotChunk, SnapshotError, StartError, StorageError, Tasks, Timer,
    TriggerSnapshotError, Unreachable,
};
pub use types::{
    Entry, EntryPayload, HardState, LogId, LogIndex, Membership, MembershipChange, SnapshotMeta,
    Term, decode,
};
