//! A log in memory that behaves like one on a disk: what was completed survives the node, what was
//! not may be lost, and the disk may be full.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::engine::PersistId;
use crate::runtime::{AppendError, Completion, RaftLogStorage, Recovered, StorageError};
use crate::types::{Entry, HardState, LogIndex, SnapshotMeta};

/// When writes become durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteMode {
    /// At once.
    #[default]
    Immediate,
    /// When [`MemoryLog::sync`] is called.
    Manual,
}

enum Write {
    Record { hard_state: Option<HardState>, entries: Vec<Entry> },
    Reset(LogIndex),
}

struct Unsynced {
    id: PersistId,
    write: Write,
    done: Completion,
}

#[derive(Default)]
struct Disk {
    durable: Recovered,
    unsynced: VecDeque<Unsynced>,
    mode: WriteMode,
    full: bool,
    /// The order that was not kept: until it comes again, nothing is.
    gap: Option<PersistId>,
    writes: u64,
    refused: u64,
}

/// A log whose disk is shared by its clones: one of them belongs to the node, another to the test,
/// and a third to the node that is started next on the same disk.
#[derive(Clone, Default)]
pub struct MemoryLog(Rc<RefCell<Disk>>);

impl core::fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MemoryLog").field("durable", &self.0.borrow().durable).finish()
    }
}

impl MemoryLog {
    /// Changes when writes become durable.
    pub fn set_mode(&self, mode: WriteMode) {
        self.0.borrow_mut().mode = mode;
    }

    /// Fills the disk, or makes room.
    pub fn set_full(&self, full: bool) {
        self.0.borrow_mut().full = full;
    }

    /// Makes everything durable and reports it, in the order given by `pick`: it is told how many
    /// reports are left and names the next one.
    pub fn sync(&self, pick: impl FnMut(usize) -> usize) {
        self.sync_first(usize::MAX, pick);
    }

    /// As [`Self::sync`], for the oldest `count` records.
    pub fn sync_first(&self, count: usize, mut pick: impl FnMut(usize) -> usize) {
        let mut reports = Vec::new();
        while reports.len() < count {
            let Some(unsynced) = self.0.borrow_mut().unsynced.pop_front() else { break };
            let result = self.0.borrow_mut().keep(unsynced.id, unsynced.write);
            reports.push((unsynced.done, result));
        }
        while !reports.is_empty() {
            let (done, result) = reports.remove(pick(reports.len()) % reports.len());
            done(result);
        }
    }

    /// Loses what was not made durable, as a power cut does. The node must be gone.
    pub fn crash(&self) {
        let lost = core::mem::take(&mut self.0.borrow_mut().unsynced);
        drop(lost);
        self.0.borrow_mut().gap = None;
    }

    /// What a restart would find.
    #[must_use]
    pub fn durable(&self) -> Recovered {
        self.0.borrow().durable.clone()
    }

    /// Changes what is stored, as a fault of the disk or another version would. The node must be
    /// gone.
    pub fn edit(&self, edit: impl FnMut(&mut Entry)) {
        self.0.borrow_mut().durable.entries.iter_mut().for_each(edit);
    }

    /// How many records wait to become durable.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.0.borrow().unsynced.len()
    }

    /// How many records were written, and how many the full disk refused.
    #[must_use]
    pub fn writes(&self) -> (u64, u64) {
        let disk = self.0.borrow();
        (disk.writes, disk.refused)
    }

    fn write(&self, id: PersistId, write: Write, done: Completion) {
        let mut disk = self.0.borrow_mut();
        match disk.mode {
            WriteMode::Manual => disk.unsynced.push_back(Unsynced { id, write, done }),
            WriteMode::Immediate => {
                let result = disk.keep(id, write);
                drop(disk);
                done(result);
            }
        }
    }
}

impl Disk {
    fn keep(&mut self, id: PersistId, write: Write) -> Result<PersistId, AppendError> {
        if self.full || self.gap.is_some_and(|gap| gap != id) {
            self.gap.get_or_insert(id);
            self.refused += 1;
            return Err(AppendError::Full { id });
        }
        self.gap = None;
        self.writes += 1;
        match write {
            Write::Record { hard_state, entries } => {
                self.durable.hard_state = hard_state.unwrap_or(self.durable.hard_state);
                self.replace(entries);
            }
            Write::Reset(index) => {
                self.durable.entries.clear();
                self.durable.purged = index;
            }
        }
        Ok(id)
    }

    fn replace(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first().map(|entry| entry.id.index) else { return };
        self.durable.entries.retain(|entry| entry.id.index < first);
        let last = self.durable.entries.last().map_or(self.durable.purged, |entry| entry.id.index);
        assert!(first.0 == last.0 + 1, "a log has no gaps: {first:?} after {last:?}");
        self.durable.entries.extend(entries);
    }
}

impl RaftLogStorage for MemoryLog {
    fn recover(&mut self, snapshot: Option<&SnapshotMeta>) -> Result<Recovered, StorageError> {
        let mut disk = self.0.borrow_mut();
        let end = snapshot.map_or(LogIndex(0), |meta| meta.last.index);
        let last = disk.durable.entries.last().map_or(disk.durable.purged, |entry| entry.id.index);
        if last < end {
            // The node stopped between the install of a snapshot and the reset of its log.
            disk.durable.entries.clear();
            disk.durable.purged = end;
        }
        Ok(disk.durable.clone())
    }

    fn append(
        &mut self,
        id: PersistId,
        hard_state: Option<HardState>,
        entries: Vec<Entry>,
        done: Completion,
    ) {
        self.write(id, Write::Record { hard_state, entries }, done);
    }

    fn purge(&mut self, index: LogIndex) {
        let durable = &mut self.0.borrow_mut().durable;
        durable.entries.retain(|entry| entry.id.index > index);
        durable.purged = durable.purged.max(index);
    }

    fn reset(&mut self, id: PersistId, snapshot: &SnapshotMeta, done: Completion) {
        self.write(id, Write::Reset(snapshot.last.index), done);
    }
}
