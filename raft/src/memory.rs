//! Storage in memory: a log and a snapshot place for members that need not survive a loss of power,
//! because the others do: microcontrollers, tests, first steps. Clones share what they hold, so a
//! node that is started again on a clone finds what the one before it left.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::engine::PersistId;
use crate::replica::SnapshotStorage;
use crate::runtime::{
    Completion, LocalBoxFuture, RaftLogStorage, Recovered, SnapshotChunk, SnapshotError,
    StorageError,
};
use crate::types::{Entry, HardState, LogIndex, SnapshotMeta};

#[derive(Debug, Default)]
struct RamLogState {
    hard_state: HardState,
    entries: VecDeque<Entry>,
    purged: LogIndex,
}

impl RamLogState {
    fn last(&self) -> LogIndex {
        self.entries.back().map_or(self.purged, |entry| entry.id.index)
    }

    fn begin_behind(&mut self, index: LogIndex) {
        self.entries.clear();
        self.purged = index;
    }
}

/// A Raft log in memory. A member that loses it has forgotten its votes: it must not come back
/// under the same identity, but join as a new member.
#[derive(Clone, Debug, Default)]
pub struct RamLog(Rc<RefCell<RamLogState>>);

impl RamLog {
    /// How many entries it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.borrow().entries.len()
    }

    /// Whether it holds no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl RaftLogStorage for RamLog {
    fn recover(&mut self, snapshot: Option<&SnapshotMeta>) -> Result<Recovered, StorageError> {
        let mut log = self.0.borrow_mut();
        let end = snapshot.map_or(LogIndex::ZERO, |meta| meta.last.index);
        if log.last() < end {
            // The node ended between the install of a snapshot and the reset of its log.
            log.begin_behind(end);
        }
        Ok(Recovered {
            hard_state: log.hard_state,
            entries: log.entries.iter().cloned().collect(),
            purged: log.purged,
        })
    }

    fn append(
        &mut self,
        id: PersistId,
        hard_state: Option<HardState>,
        entries: Vec<Entry>,
        done: Completion,
    ) {
        let mut log = self.0.borrow_mut();
        log.hard_state = hard_state.unwrap_or(log.hard_state);
        if let Some(first) = entries.first().map(|entry| entry.id.index) {
            while log.entries.back().is_some_and(|entry| entry.id.index >= first) {
                log.entries.pop_back();
            }
            assert!(first == log.last().next(), "a log has no gaps");
            // To the entry, not to the next power of two: this log is for machines of some KiB.
            log.entries.reserve_exact(entries.len());
            log.entries.extend(entries);
        }
        drop(log);
        done(Ok(id));
    }

    fn purge(&mut self, index: LogIndex) {
        let mut log = self.0.borrow_mut();
        while log.entries.front().is_some_and(|entry| entry.id.index <= index) {
            log.entries.pop_front();
        }
        log.purged = log.purged.max(index);
    }

    fn reset(&mut self, id: PersistId, snapshot: &SnapshotMeta, done: Completion) {
        self.0.borrow_mut().begin_behind(snapshot.last.index);
        done(Ok(id));
    }
}

#[derive(Debug, Default)]
struct Kept {
    newest: Option<(SnapshotMeta, Vec<u8>)>,
    /// One that is being received, and whether it is whole.
    received: Option<(SnapshotMeta, Vec<u8>, bool)>,
}

/// Snapshots in memory.
#[derive(Clone, Debug, Default)]
pub struct RamSnapshots(Rc<RefCell<Kept>>);

impl RamSnapshots {
    /// What the newest snapshot stands for.
    #[must_use]
    pub fn meta(&self) -> Option<SnapshotMeta> {
        self.0.borrow().newest.as_ref().map(|(meta, _)| meta.clone())
    }
}

fn ready<T: 'static>(value: T) -> LocalBoxFuture<'static, T> {
    Box::pin(core::future::ready(value))
}

impl Kept {
    fn read(
        &self,
        wanted: &SnapshotMeta,
        offset: u64,
        max: usize,
    ) -> Result<SnapshotChunk, SnapshotError> {
        let newest = self.newest.as_ref().filter(|(meta, _)| meta == wanted);
        let (_, bytes) = newest.ok_or(SnapshotError::Gone)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = bytes.get(start..).ok_or(SnapshotError::Gone)?;
        let chunk = rest.get(..max).unwrap_or(rest);
        Ok(SnapshotChunk { bytes: chunk.to_vec(), last: chunk.len() == rest.len() })
    }

    fn receive(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: &SnapshotChunk,
    ) -> Result<(), SnapshotError> {
        if offset == 0 {
            self.received = Some((meta.clone(), Vec::new(), false));
        }
        match &mut self.received {
            Some((of, bytes, whole)) if of == meta && bytes.len() as u64 == offset => {
                bytes.extend_from_slice(&chunk.bytes);
                *whole = chunk.last;
                Ok(())
            }
            Some(_) | None => Err(SnapshotError::Damaged),
        }
    }

    fn install(&mut self, wanted: &SnapshotMeta) -> Result<(), SnapshotError> {
        match self.received.take() {
            Some((meta, bytes, true)) if meta == *wanted => {
                self.newest = Some((meta, bytes));
                Ok(())
            }
            Some(_) | None => Err(SnapshotError::Gone),
        }
    }
}

impl SnapshotStorage for RamSnapshots {
    fn recover(&mut self) -> Result<Option<(SnapshotMeta, Vec<u8>)>, StorageError> {
        Ok(self.0.borrow().newest.clone())
    }

    fn write(
        &mut self,
        meta: SnapshotMeta,
        state: Vec<u8>,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        self.0.borrow_mut().newest = Some((meta, state));
        ready(Ok(()))
    }

    fn read(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        max: usize,
    ) -> LocalBoxFuture<'static, Result<SnapshotChunk, SnapshotError>> {
        ready(self.0.borrow().read(meta, offset, max))
    }

    fn receive(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        ready(self.0.borrow_mut().receive(meta, offset, &chunk))
    }

    fn received(&mut self, meta: &SnapshotMeta) -> Result<Vec<u8>, SnapshotError> {
        match &self.0.borrow().received {
            Some((received, bytes, true)) if received == meta => Ok(bytes.clone()),
            Some(_) | None => Err(SnapshotError::Gone),
        }
    }

    fn install(
        &mut self,
        meta: &SnapshotMeta,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        ready(self.0.borrow_mut().install(meta))
    }
}
