//! The short way to a state machine: an [`Application`] is a serde value with one method, and a
//! [`Replica`] makes a [`RaftStateMachine`] of it, with snapshots kept by a [`SnapshotStorage`]. It
//! serves a state of which memory can hold two copies and the encoded form; a larger one implements
//! [`RaftStateMachine`] itself and writes its snapshots piece by piece.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use serde::{Serialize, de::DeserializeOwned};

use crate::runtime::{
    LocalBoxFuture, RaftStateMachine, SnapshotChunk, SnapshotError, StorageError,
};
use crate::types::{self, LogIndex, SnapshotMeta};

/// A replicated application whose value is its whole state. What it serializes to is a disk format:
/// fields are appended with care, see the postcard specification.
pub trait Application: Serialize + DeserializeOwned {
    /// What is replicated.
    type Command: Serialize + DeserializeOwned;
    /// What the caller of [`crate::Raft::client_write`] gets.
    type Response;
    /// How the application refuses a command.
    type Error;

    /// Applies one command. The answer and the new state may depend on nothing but the old state
    /// and the arguments, because every member computes them for itself: no clock, no chance, no
    /// hash map with random order.
    ///
    /// # Errors
    /// The application refuses the command: an answer like any other, the same on every member.
    fn apply(
        &mut self,
        index: LogIndex,
        command: Self::Command,
    ) -> Result<Self::Response, Self::Error>;
}

/// Keeps the newest snapshot of one node and receives the next one from a leader. [`RamSnapshots`]
/// keeps them in memory.
///
/// [`RamSnapshots`]: crate::RamSnapshots
pub trait SnapshotStorage {
    /// The newest durable snapshot and the state in it; called once at start.
    ///
    /// # Errors
    /// It is damaged or unreadable; the node must not start.
    fn recover(&mut self) -> Result<Option<(SnapshotMeta, Vec<u8>)>, StorageError>;

    /// Starts to write a snapshot of `state`; the future resolves when it is durable and has
    /// replaced the one before.
    ///
    /// # Errors
    /// The future resolves with an error: the old snapshot stays.
    fn write(
        &mut self,
        meta: SnapshotMeta,
        state: Vec<u8>,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>>;

    /// As [`RaftStateMachine::read_snapshot`]. The bytes are the storage's own form of a snapshot,
    /// which [`Self::receive`] of another node understands.
    ///
    /// # Errors
    /// The future resolves with [`SnapshotError::Gone`] when `meta` is not the newest any more.
    fn read(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        max: usize,
    ) -> LocalBoxFuture<'static, Result<SnapshotChunk, SnapshotError>>;

    /// As [`RaftStateMachine::write_snapshot`].
    ///
    /// # Errors
    /// The future resolves with an error: what was received is dropped.
    fn receive(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>>;

    /// The state in the snapshot that was received whole.
    ///
    /// # Errors
    /// No such snapshot waits, or it is damaged.
    fn received(&mut self, meta: &SnapshotMeta) -> Result<Vec<u8>, SnapshotError>;

    /// Makes the snapshot that was received whole the newest one, durably.
    ///
    /// # Errors
    /// The future resolves with an error: the old snapshot stays.
    fn install(
        &mut self,
        meta: &SnapshotMeta,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>>;
}

/// An application's state as this node knows it, for reading. Clones are views of one state. It
/// stays on the thread of the node's tasks.
#[derive(Debug, Default)]
pub struct State<A>(Rc<RefCell<A>>);

impl<A> Clone for State<A> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<A> State<A> {
    /// Looks at the state. What is seen may be old: for a linearizable read wait for
    /// [`crate::Raft::read_index`] first.
    pub fn read<R>(&self, look: impl FnOnce(&A) -> R) -> R {
        look(&self.0.borrow())
    }
}

/// The state machine made of an application and a place for its snapshots.
#[derive(Debug)]
pub struct Replica<A, K> {
    state: State<A>,
    snapshots: K,
}

impl<A: Application, K: SnapshotStorage> Replica<A, K> {
    /// A state machine that begins as `initial`, unless `snapshots` holds something newer.
    pub fn new(initial: A, snapshots: K) -> Self {
        Self { state: State(Rc::new(RefCell::new(initial))), snapshots }
    }

    /// A view of the state that outlives the handing over of the replica to [`crate::Raft::new`].
    #[must_use]
    pub fn state(&self) -> State<A> {
        self.state.clone()
    }
}

fn decode<A: Application>(bytes: &[u8]) -> Result<A, SnapshotError> {
    types::decode(bytes).ok_or(SnapshotError::Damaged)
}

impl<A: Application + 'static, K: SnapshotStorage> RaftStateMachine for Replica<A, K> {
    type Command = A::Command;
    type Response = A::Response;
    type Error = A::Error;

    fn recover(&mut self) -> Result<Option<SnapshotMeta>, StorageError> {
        let Some((meta, bytes)) = self.snapshots.recover()? else { return Ok(None) };
        *self.state.0.borrow_mut() = decode(&bytes).map_err(|error| StorageError {
            what: alloc::format!("the state in the Raft snapshot cannot be decoded: {error}"),
            advice: "start the version that wrote it, or restore a backup".into(),
            damaged: false,
        })?;
        Ok(Some(meta))
    }

    fn apply(&mut self, index: LogIndex, command: A::Command) -> Result<A::Response, A::Error> {
        self.state.0.borrow_mut().apply(index, command)
    }

    fn build_snapshot(
        &mut self,
        meta: SnapshotMeta,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        match self.state.read(postcard::to_allocvec) {
            Ok(bytes) => self.snapshots.write(meta, bytes),
            Err(error) => {
                let why = SnapshotError::Io(alloc::format!("the state cannot be encoded: {error}"));
                Box::pin(async { Err(why) })
            }
        }
    }

    fn read_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        max: usize,
    ) -> LocalBoxFuture<'static, Result<SnapshotChunk, SnapshotError>> {
        self.snapshots.read(meta, offset, max)
    }

    fn write_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        self.snapshots.receive(meta, offset, chunk)
    }

    fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
    ) -> LocalBoxFuture<'_, Result<(), SnapshotError>> {
        let meta = meta.clone();
        Box::pin(async move {
            // Decoded before it replaces anything: the next start depends on what is installed.
            let state = decode(&self.snapshots.received(&meta)?)?;
            self.snapshots.install(&meta).await?;
            *self.state.0.borrow_mut() = state;
            Ok(())
        })
    }
}
