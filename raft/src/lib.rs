//! Raft as a pure engine and an async runtime without an executor, both `no_std` with `alloc`: the
//! same code runs on a server, in a simulator and on a microcontroller.
//!
//! ```text
//!  application ─ client_write, read_index, change_membership ──► Raft      the handle: cheap to clone
//!                                                                 │ RaftMsg (bounded queue)
//!         ┌──────────────────────── RaftCore: event loop ◄────────┘
//!         │   a turn: gather messages, step the engine with each, flush it, carry out its orders
//!         │        engine: a pure state machine, no async, no IO, no clock, no randomness
//!         │
//!         ├─ RaftLogStorage     yours: appends; completions come back as messages
//!         ├─ ReplicationHandle ─► ReplicationCore: one per peer, owns your RaftNetwork, sends
//!         │                       messages and, between them, snapshots in chunks
//!         └─ worker handle ─────► worker: owns your RaftStateMachine; applies, answers writers,
//!                                 builds, reads, stores and installs snapshots
//! ```
//!
//! The parts that face the outside are traits: [`RaftStateMachine`] is the replicated application, or
//! [`Application`] where one method is enough; [`RaftLogStorage`] is the disk, [`RaftNetwork`] one
//! connection, [`Timer`] the clock. [`Raft::new`] connects them and returns the handle and three
//! futures; it never spawns.
//!
//! Start with the [`guide`], your first replicated service. Two whole programs are in the repository:
//! `raft/examples/kv` (servers) and `raft/examples/embassy` (a microcontroller).
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
//! | pre-vote, check-quorum | dissertation §9.6, §6.2 | [`engine::Config`] |
//! | leadership transfer | dissertation §3.10 | [`Raft::transfer_leader`] |
//! | when a membership counts, one change at a time | etcd raft | [`Raft::change_membership`] |
//!
//! # Features
//!
//! - none by default: `no_std` with `alloc`, no clock, no thread, no randomness of its own.
//! - `testing`: the doubles in the module of that name, for tests of what is built on this crate. Not part of what
//!   version numbers promise.
//!
//! # Compatibility
//!
//! Settings, metrics and states may get more fields, so they are made by a constructor and changed field
//! by field. Errors and messages are exhaustive on purpose: each variant is a branch that a caller
//! decides on, and another one is a new major version. What is on disks and wires ([`Message`],
//! [`Entry`], [`HardState`], [`SnapshotMeta`], [`SnapshotChunk`]) only gets variants and fields at the
//! end.
//!
//! # Example
//!
//! A counter, replicated by one node whose disk is in memory:
//!
//! ```
//! use futures_lite::future::{block_on, or};
//! use nacolet_model::{Instant, NodeId};
//! use nacolet_raft::testing::ManualTimer;
//! use nacolet_raft::{
//!     Application, Config, LogIndex, Membership, NoNetwork, Raft, RamLog, RamSnapshots, Replica,
//!     engine,
//! };
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Counter(u64);
//!
//! impl Application for Counter {
//!     type Command = u64; // any serde type
//!     type Response = u64;
//!     type Error = &'static str;
//!
//!     fn apply(&mut self, _: LogIndex, amount: u64) -> Result<u64, &'static str> {
//!         self.0 = self.0.checked_add(amount).ok_or("the counter is full")?;
//!         Ok(self.0)
//!     }
//! }
//!
//! let id = NodeId(1);
//! let config = Config::new(engine::Config::new(id, 42))
//!     .bootstrap(Membership::of_voters([(id, "127.0.0.1:7848".into())]));
//! let counter = Replica::new(Counter(0), RamSnapshots::default());
//! let timer = ManualTimer::default();
//! let (raft, tasks) = Raft::new(config, RamLog::default(), counter, NoNetwork, timer.clone())?;
//!
//! let application = async {
//!     while !raft.is_leader() {
//!         timer.set(timer.next_alarm().unwrap_or(Instant::ZERO));
//!         raft.metrics_changed(raft.metrics().version).await.unwrap();
//!     }
//!     assert_eq!(raft.client_write(&40).await, Ok(40));
//!     assert_eq!(raft.client_write(&2).await, Ok(42));
//!     assert!(raft.client_write(&u64::MAX).await.is_err());
//!     raft.shutdown().await;
//! };
//! block_on(or(application, async { tasks.run().await.expect("nothing fails in memory") }));
//! # Ok::<(), nacolet_raft::StartError>(())
//! ```
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

pub use engine::{Message, MessageBody, Refusal, RoleKind};
pub use memory::{RamLog, RamSnapshots};
pub use replica::{Application, Replica, SnapshotStorage, State};
pub use runtime::{
    AppendError, Cause, ClientWriteError, Completion, Config, Fatal, LocalBoxFuture, Metrics,
    NoNetwork, Outcome, Raft, RaftLogStorage, RaftNetwork, RaftNetworkFactory, RaftStateMachine,
    ReceiveChunkError, ReceiveError, Recovered, RequestError, SnapshotChunk, SnapshotError,
    StartError, StorageError, Tasks, Timer, TriggerSnapshotError, Unreachable,
};
pub use types::{
    Entry, EntryPayload, HardState, LogId, LogIndex, Membership, MembershipChange, SnapshotMeta,
    Term, decode,
};
