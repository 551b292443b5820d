//! A small replicated application: a sum and the list of what went into it, so that a test sees at
//! once what was applied, in which order and how often.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::task::{Poll, Waker};

use serde::{Deserialize, Serialize};

use crate::runtime::{
    LocalBoxFuture, RaftStateMachine, SnapshotChunk, SnapshotError, StorageError,
};
use crate::types::{self, LogIndex, Membership, SnapshotMeta};

/// What can be done to a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerCommand {
    /// Adds to the sum.
    Add(u64),
    /// Is refused.
    Refuse,
    /// Brings the worker down.
    Panic,
}

/// How a ledger refuses a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused at index {}", at.0)]
pub struct LedgerRefusal {
    /// The command's index.
    pub at: LogIndex,
}

/// What is replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerState {
    /// Sum of all that was added.
    pub sum: u64,
    /// Each addition, in order.
    pub additions: Vec<(LogIndex, u64)>,
}

#[derive(Default)]
struct Shared {
    state: LedgerState,
    membership: Membership,
    /// The newest durable snapshot.
    snapshot: Option<(SnapshotMeta, Vec<u8>)>,
    /// One being received.
    aside: Option<(SnapshotMeta, Vec<u8>)>,
    builds: u64,
    batches: u64,
    in_batch: bool,
    full: bool,
    held: bool,
    holding: Vec<Waker>,
}

/// A ledger whose state and disk are shared by its clones.
#[derive(Clone, Default)]
pub struct Ledger(Rc<RefCell<Shared>>);

impl core::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Ledger").field("state", &self.0.borrow().state).finish()
    }
}

impl Ledger {
    /// A ledger that finds on its disk what `self` has made durable, and nothing else: a restart.
    #[must_use]
    pub fn restarted(&self) -> Self {
        let snapshot = self.0.borrow().snapshot.clone();
        Self(Rc::new(RefCell::new(Shared { snapshot, ..Shared::default() })))
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> LedgerState {
        self.0.borrow().state.clone()
    }

    /// The membership last told.
    #[must_use]
    pub fn membership_told(&self) -> Membership {
        self.0.borrow().membership.clone()
    }

    /// The newest durable snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Option<SnapshotMeta> {
        self.0.borrow().snapshot.as_ref().map(|(meta, _)| meta.clone())
    }

    /// How many snapshots were begun, and how many batches applied.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let shared = self.0.borrow();
        (shared.builds, shared.batches)
    }

    /// Keeps builds from finishing, or lets them.
    pub fn hold_builds(&self, held: bool) {
        let mut shared = self.0.borrow_mut();
        shared.held = held;
        let holding = core::mem::take(&mut shared.holding);
        drop(shared);
        holding.into_iter().for_each(Waker::wake);
    }

    /// Fills the disk for snapshots, or makes room.
    pub fn set_full(&self, full: bool) {
        self.0.borrow_mut().full = full;
    }

    /// Resolves when builds are not held.
    fn released(&self) -> impl Future<Output = ()> + use<> {
        let shared = Rc::clone(&self.0);
        poll_fn(move |context| {
            let mut shared = shared.borrow_mut();
            if !shared.held {
                return Poll::Ready(());
            }
            shared.holding.push(context.waker().clone());
            Poll::Pending
        })
    }
}

fn decode(bytes: &[u8]) -> Result<LedgerState, SnapshotError> {
    types::decode(bytes).ok_or(SnapshotError::Damaged)
}

impl RaftStateMachine for Ledger {
    type Command = LedgerCommand;
    type Response = u64;
    type Error = LedgerRefusal;

    fn recover(&mut self) -> Result<Option<SnapshotMeta>, StorageError> {
        let mut shared = self.0.borrow_mut();
        let Some((meta, bytes)) = shared.snapshot.clone() else { return Ok(None) };
        shared.state = decode(&bytes).map_err(|error| StorageError {
            what: alloc::format!("{error}"),
            advice: "start anew".into(),
            damaged: false,
        })?;
        Ok(Some(meta))
    }

    fn apply(&mut self, index: LogIndex, command: LedgerCommand) -> Result<u64, LedgerRefusal> {
        assert!(self.0.borrow().in_batch, "applied inside a batch");
        match command {
            LedgerCommand::Add(amount) => {
                let state = &mut self.0.borrow_mut().state;
                state.sum = state.sum.wrapping_add(amount);
                state.additions.push((index, amount));
                Ok(state.sum)
            }
            LedgerCommand::Refuse => Err(LedgerRefusal { at: index }),
            LedgerCommand::Panic => panic!("as ordered"),
        }
    }

    fn begin(&mut self) {
        let mut shared = self.0.borrow_mut();
        assert!(!shared.in_batch, "a batch ends before the next begins");
        shared.in_batch = true;
        shared.batches += 1;
    }

    fn end(&mut self, _applied: LogIndex) {
        let mut shared = self.0.borrow_mut();
        assert!(shared.in_batch, "only a batch that began ends");
        shared.in_batch = false;
    }

    fn membership(&mut self, _index: LogIndex, membership: &Membership) {
        self.0.borrow_mut().membership = membership.clone();
    }

    fn build_snapshot(
        &mut self,
        meta: SnapshotMeta,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        self.0.borrow_mut().builds += 1;
        let bytes = postcard::to_allocvec(&self.0.borrow().state);
        let (ledger, released) = (self.clone(), self.released());
        Box::pin(async move {
            released.await;
            let mut shared = ledger.0.borrow_mut();
            if shared.full {
                return Err(SnapshotError::Full);
            }
            let bytes = bytes.map_err(|error| SnapshotError::Io(alloc::format!("{error}")))?;
            shared.snapshot = Some((meta, bytes));
            Ok(())
        })
    }

    fn read_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        max: usize,
    ) -> LocalBoxFuture<'static, Result<SnapshotChunk, SnapshotError>> {
        let chunk = match &self.0.borrow().snapshot {
            Some((newest, bytes)) if newest == meta => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let end = start.saturating_add(max).min(bytes.len());
                Ok(SnapshotChunk { bytes: bytes[start..end].to_vec(), last: end == bytes.len() })
            }
            Some(_) | None => Err(SnapshotError::Gone),
        };
        Box::pin(async { chunk })
    }

    fn write_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        let mut shared = self.0.borrow_mut();
        let result = if shared.full {
            Err(SnapshotError::Full)
        } else {
            if offset == 0 {
                shared.aside = Some((meta.clone(), Vec::new()));
            }
            match &mut shared.aside {
                Some((aside, bytes)) if aside == meta && bytes.len() as u64 == offset => {
                    bytes.extend(chunk.bytes);
                    if chunk.last { decode(bytes).map(|_| ()) } else { Ok(()) }
                }
                Some(_) | None => Err(SnapshotError::Gone),
            }
        };
        Box::pin(async { result })
    }

    fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
    ) -> LocalBoxFuture<'_, Result<(), SnapshotError>> {
        let mut shared = self.0.borrow_mut();
        let result = match shared.aside.take() {
            Some((aside, bytes)) if aside == *meta => decode(&bytes).map(|state| {
                shared.state = state;
                shared.snapshot = Some((aside, bytes));
            }),
            Some(_) | None => Err(SnapshotError::Gone),
        };
        Box::pin(async { result })
    }
}
