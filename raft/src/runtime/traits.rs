//! The parts a user provides: log storage, state machine, network and timer. Everything above them
//! (RaftCore, ReplicationCore, the worker) is made of plain futures over bounded channels.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;

use nacolet_model::{Instant, NodeId};
use serde::{Serialize, de::DeserializeOwned};

use crate::engine::{Message, PersistId};
use crate::types::{Entry, HardState, LogIndex, Membership, SnapshotMeta, Term};

/// A future that need not move between threads.
pub type LocalBoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What a log storage finds at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Last hard state written.
    pub hard_state: HardState,
    /// Every stored entry, consecutive, the first one right after `purged` or earlier than the
    /// snapshot's end.
    pub entries: Vec<Entry>,
    /// Highest index that was purged.
    pub purged: LogIndex,
}

/// Stored log entries and hard state. Owned by RaftCore; its slow work happens elsewhere, and its
/// completions come back through the [`Completion`] given with each write.
pub trait RaftLogStorage {
    /// Reads everything back, once, before the first write. `snapshot` is what the state machine
    /// recovered; entries it covers may be missing.
    ///
    /// # Errors
    /// Durable data is damaged or unreadable; the node must not start.
    fn recover(&mut self, snapshot: Option<&SnapshotMeta>) -> Result<Recovered, StorageError>;

    /// Starts to write hard state and entries as one atomic record and returns at once. Entries
    /// replace everything stored from the first one's index on. `done` is completed when the record
    /// is durable, or with an error that says that nothing of it was kept (a full disk).
    /// Completions come in order.
    ///
    /// After an order failed with [`AppendError::Full`], every order that follows it fails the same
    /// way, written or not yet looked at, until the order with the failed `id` is handed over
    /// again: RaftCore does so on a timer, and nothing may be stored past the gap in between. The
    /// orders that followed it are handed over again after it, in order.
    fn append(
        &mut self,
        id: PersistId,
        hard_state: Option<HardState>,
        entries: Vec<Entry>,
        done: Completion,
    );

    /// Forgets entries up to and including `index`; need not be durable.
    fn purge(&mut self, index: LogIndex);

    /// Starts to replace the whole log by the state of `snapshot`, which is durable: the log is
    /// empty, its next index follows the snapshot's last, the hard state stays. `id` is a number of
    /// its own in the sequence of `append`, and the same rule holds when there is no space.
    fn reset(&mut self, id: PersistId, snapshot: &SnapshotMeta, done: Completion);
}

/// Reports one finished write to RaftCore, from any thread.
pub type Completion = Box<dyn FnOnce(Result<PersistId, AppendError>) + Send>;

/// A write that certainly left nothing behind, so the node can go on refusing writes. Anything
/// worse, above all a failed fsync, must end the process instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No space left. Nothing was written; try again later.
    #[error("no space left for the Raft log")]
    Full {
        /// The order that failed.
        id: PersistId,
    },
}

/// Why stored data cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {advice}")]
pub struct StorageError {
    /// Which file is damaged, and how.
    pub what: alloc::string::String,
    /// What the operator can do.
    pub advice: alloc::string::String,
    /// Whether bytes that were durable are wrong or missing: no retry will help, and a node with
    /// peers has to get them from there.
    pub damaged: bool,
}

/// The replicated application. Owned by one worker task; `apply` is total: whatever is in the log
/// can be applied, and a refusal is an answer, not a failure.
pub trait RaftStateMachine {
    /// What is replicated.
    type Command: Serialize + DeserializeOwned;
    /// What the caller of `client_write` gets.
    type Response;
    /// How the application refuses a command.
    type Error;

    /// What the last durable snapshot holds; called once at start, before `apply`.
    ///
    /// # Errors
    /// The snapshot is damaged or unreadable; the node must not start.
    fn recover(&mut self) -> Result<Option<SnapshotMeta>, StorageError>;

    /// Applies one command. Called for a whole batch between `begin` and `end`.
    ///
    /// # Errors
    /// The application refuses the command: an answer like any other, the same on every member.
    fn apply(
        &mut self,
        index: LogIndex,
        command: Self::Command,
    ) -> Result<Self::Response, Self::Error>;

    /// A batch begins: take the lock, if there is one.
    fn begin(&mut self) {}

    /// A batch has been applied up to `applied`: release the lock, tell listeners.
    fn end(&mut self, _applied: LogIndex) {}

    /// A membership took effect: it was applied from the log (between `begin` and `end`), or it
    /// came with a snapshot at start or on install.
    fn membership(&mut self, _index: LogIndex, _membership: &Membership) {}

    /// Captures the state now (cheaply, so that applying can go on) and returns the work that
    /// writes it: aside, synced, renamed, directory synced. The future resolves when it is durable.
    ///
    /// # Errors
    /// The future resolves with [`SnapshotError::Full`] or [`SnapshotError::Io`]: the old snapshot
    /// stays, and the node tries again when more was applied.
    fn build_snapshot(
        &mut self,
        meta: SnapshotMeta,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>>;

    /// Bytes of the newest durable snapshot from `offset` on, at most `max` of them; fewer only at
    /// the end. For sending to a follower.
    ///
    /// # Errors
    /// The future resolves with [`SnapshotError::Gone`] when `meta` is not the newest any more;
    /// with [`SnapshotError::Io`] when it cannot be read.
    fn read_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        max: usize,
    ) -> LocalBoxFuture<'static, Result<SnapshotChunk, SnapshotError>>;

    /// Stores one received chunk aside. `offset` 0 starts a new file. When `chunk.last` is set the
    /// whole is checked and synced before the future resolves.
    ///
    /// # Errors
    /// The future resolves with [`SnapshotError::Damaged`] when the whole fails its checks, with
    /// [`SnapshotError::Full`] or [`SnapshotError::Io`] when the disk refuses, and with
    /// [`SnapshotError::Gone`] when `offset` does not follow what is held. What was received is
    /// dropped, and the leader begins anew.
    fn write_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>>;

    /// Replaces the state by the snapshot received whole; all or nothing, durable on return.
    ///
    /// # Errors
    /// The future resolves with an error: state and snapshot are the old ones.
    fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
    ) -> LocalBoxFuture<'_, Result<(), SnapshotError>>;
}

/// A piece of a Raft snapshot, at most `limits::SNAPSHOT_CHUNK_BYTES_MAX`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct SnapshotChunk {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether the snapshot ends here.
    pub last: bool,
}

/// Why a snapshot was not written, read or installed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// No space left; the old snapshot stays.
    #[error("no space left for a Raft snapshot")]
    Full,
    /// The snapshot asked for is not the newest any more.
    #[error("the Raft snapshot has been replaced")]
    Gone,
    /// A received snapshot fails its checks; it was dropped.
    #[error("the received Raft snapshot is damaged")]
    Damaged,
    /// The file system refused.
    #[error("Raft snapshot: {0}")]
    Io(alloc::string::String),
}

/// One connection to one peer, owned by that peer's ReplicationCore.
pub trait RaftNetwork {
    /// Sends one message; resolves when it is handed to the connection, not when it is answered:
    /// answers come back as messages to `Raft::receive`.
    ///
    /// # Errors
    /// The future resolves with [`Unreachable`]: the message is lost, and Raft sends what is needed
    /// again in its time.
    fn send(&mut self, message: Message) -> LocalBoxFuture<'_, Result<(), Unreachable>>;

    /// Sends one snapshot chunk and resolves with the offset the peer holds now.
    ///
    /// # Errors
    /// The future resolves with [`Unreachable`] when no answer came; the chunk is sent again some
    /// times before the transfer is given up.
    fn send_chunk(
        &mut self,
        term: Term,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'_, Result<u64, Unreachable>>;
}

/// Makes a [`RaftNetwork`] for each member; told again when an address changes.
pub trait RaftNetworkFactory {
    /// The connection type.
    type Network: RaftNetwork;

    /// A connection to `target` at `address`; connecting happens on first use. The address is empty
    /// while the membership does not name it yet: a member that joins answers a leader it has never
    /// heard of, and only the transport may know, from its handshake, where that leader listens.
    fn connect(&mut self, target: NodeId, address: &str) -> Self::Network;
}

/// The peer could not be reached; the message is lost, as messages may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer cannot be reached")]
pub struct Unreachable;

/// The clock and the alarm, the only source of time for RaftCore.
pub trait Timer: Clone {
    /// Now.
    fn now(&self) -> Instant;

    /// Resolves no earlier than `deadline`.
    fn until(&self, deadline: Instant) -> LocalBoxFuture<'static, ()>;
}
