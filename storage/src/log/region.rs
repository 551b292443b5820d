//! The log as one region of raft-engine: entries as log entries, the state record as its only key,
//! so nothing but indexes stays in memory.
//!
//! How raft-engine 0.4.2 is used, and why:
//! - Always `write(batch, sync)`: `Engine::sync` does nothing, `compact_to` is unsynced.
//! - A gap, or an append below what was purged, is found here before a byte is written: the engine
//!   panics only after the write, and then at every start.
//! - `Command::Clean` is never used: it would delete the vote too.
//! - Strict recovery. What a power cut may leave at the tail is cut by `recover.rs` beforehand,
//!   with evidence; the engine itself never drops anything.
//! - Its files are ours, see `file_system.rs`.
//! - The engine's `re-metrics` thread wakes every 30 s and writes nothing.
//!
//! Read `writer.rs` next.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nacolet_model::limits;
use nacolet_raft::{Entry, EntryPayload, HardState, LogId, LogIndex, StorageError};
use raft_engine::{Command, Config, Engine, LogBatch, ReadableSize, RecoveryMode};

use super::entry::{StoredEntryExt, StoredEntryMessage};
use super::file_system::LogFileSystem;
use super::recover::{self, DurableEnd};
use super::shared::{LogSettings, LogShared};
use crate::codec::{self, ENTRY_HEAD_BYTES, STATE_KEY, StateRecord};
use crate::dir::DataDir;
use crate::failpoint;
use crate::files::{self, damaged, unusable};

/// The one Raft group.
const REGION: u64 = 1;
/// Entries decoded at once at start, so that stored and decoded form of the log do not meet in
/// memory.
const READ_ENTRIES: u64 = 64;

/// Why a write did not happen. Nothing of it was kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// No space; the process may go on.
    Full,
    /// Our own mistake or a broken disk; the process must not go on.
    Broken(String),
}

/// The open log. Used by one thread.
pub(crate) struct OpenLog {
    engine: Engine<LogFileSystem>,
    state: StateRecord,
    durable: DurableEnd,
    dir: DataDir,
    frees: fn(&[u8]) -> bool,
    /// Files are left that purging found no room to empty.
    unpurged: bool,
    shared: Arc<LogShared>,
}

impl OpenLog {
    /// Checks every byte, cuts what a power cut left, opens the engine and makes sure that what was
    /// found is durable.
    pub(crate) fn open(
        dir: &DataDir,
        settings: LogSettings,
        shared: &Arc<LogShared>,
    ) -> Result<Self, StorageError> {
        let log_dir = dir.log_dir();
        files::create_dir(&log_dir).map_err(|e| unusable(&log_dir, &e))?;
        let mut durable = DurableEnd::open(&dir.durable_file())?;
        let scan = recover::scan(&log_dir, durable.seq())?;
        let engine = open_engine(dir, settings, shared)?;
        let state = match engine.get(REGION, STATE_KEY) {
            Some(bytes) => codec::decode_state(&bytes)
                .ok_or_else(|| damaged(&log_dir, "its state record cannot be read"))?,
            None => StateRecord::default(),
        };
        if state != scan.last {
            return Err(damaged(&log_dir, "its files and what the engine makes of them differ"));
        }
        durable.record(state.seq).map_err(|e| unusable(&dir.durable_file(), &e))?;
        dir.space().log(scan.bytes);
        let (dir, shared, frees) = (dir.clone(), shared.clone(), settings.frees);
        let log = Self { engine, state, durable, dir, frees, unpurged: false, shared };
        for path in scan.leftovers {
            // Files before a hole in the numbering: an interrupted purge. Their removal is tried at
            // every start, so a failure is not an event.
            drop(fs::remove_file(path));
        }
        Ok(log)
    }

    /// What the last batch said.
    pub(crate) fn state(&self) -> &StateRecord {
        &self.state
    }

    /// The data directory it lies in.
    pub(crate) fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// Every stored entry, checked.
    pub(crate) fn read_entries(&self) -> Result<Vec<Entry>, StorageError> {
        let broken = |how: &str| damaged(&self.dir.log_dir(), how);
        let (mut next, end) = (self.state.purged.next().0, self.state.last.index.next().0);
        let mut entries = Vec::new();
        let mut term = nacolet_raft::Term(0);
        while next < end {
            let upto = end.min(next.saturating_add(READ_ENTRIES));
            let mut stored = Vec::new();
            self.engine
                .fetch_entries_to::<StoredEntryExt>(REGION, next, upto, None, &mut stored)
                .map_err(|e| broken(&format!("entry {next} and following: {e}")))?;
            for stored in stored {
                let entry = stored
                    .0
                    .entry()
                    .filter(|entry| entry.id.index.0 == next && entry.id.term >= term)
                    .ok_or_else(|| broken(&format!("entry {next} fails its check")))?;
                term = entry.id.term;
                next += 1;
                entries.push(entry);
            }
        }
        match entries.last() {
            Some(entry) if entry.id != self.state.last => {
                Err(broken("its last entry is not the one that was written last"))
            }
            _ => Ok(entries),
        }
    }

    /// Whether `bytes` more would leave enough space for votes and purging, and for a Raft
    /// snapshot unless they free space: for those the reserve is given away.
    pub(crate) fn has_room(&self, bytes: usize, runs: &[Vec<Entry>], refused: u32) -> bool {
        let space = self.dir.space();
        let frees = |entry: &Entry| match &entry.payload {
            EntryPayload::Command(command) => (self.frees)(command),
            EntryPayload::Blank | EntryPayload::Membership(_) => true,
        };
        let (bytes, last) = (bytes as u64, limits::DISK_LAST_BYTES);
        space.spares(bytes, refused)
            || (runs.iter().flatten().all(frees) && space.give(bytes, last))
    }

    /// Writes the runs, each replacing what is stored from its first index on, and the hard state,
    /// with one fsync. More than `limits::LOG_BATCH_BYTES_MAX` becomes several engine batches under
    /// that same fsync; only the first of them may still end in `Full`.
    pub(crate) fn write(
        &mut self,
        hard_state: Option<HardState>,
        runs: &[Vec<Entry>],
    ) -> Result<(), WriteError> {
        let mut next = self.state;
        for run in runs {
            next.last = follow(&next, run)?;
        }
        next = self.state;
        next.hard_state = hard_state.unwrap_or(next.hard_state);
        let mut batch = LogBatch::with_capacity(4);
        let mut first = true;
        for run in runs {
            let mut pending = Vec::new();
            for entry in run {
                if batch.approximate_size() + pending_bytes(&pending) > limits::LOG_BATCH_BYTES_MAX
                {
                    add_entries(&mut batch, &mut pending)?;
                    self.write_batch(&mut batch, next, false)
                        .map_err(|e| if first { e } else { e.unkept() })?;
                    (batch, first) = (LogBatch::with_capacity(4), false);
                }
                pending.push(StoredEntryMessage::new(entry).ok_or_else(|| broken("membership"))?);
                next.last = entry.id;
            }
            add_entries(&mut batch, &mut pending)?;
        }
        self.write_batch(&mut batch, next, true).map_err(|e| if first { e } else { e.unkept() })?;
        if self.unpurged { self.delete_files() } else { Ok(()) }
    }

    /// Forgets entries up to and including `index` and deletes files that hold nothing else.
    /// Without space nothing happens, and the next call does it all.
    pub(crate) fn purge(&mut self, index: LogIndex) -> Result<(), WriteError> {
        let index = index.min(self.state.last.index);
        if index <= self.state.purged && !self.unpurged {
            return Ok(());
        }
        let index = index.max(self.state.purged);
        let mut batch = LogBatch::with_capacity(2);
        batch.add_command(REGION, Command::Compact { index: index.next().0 });
        // Synced, because an older state record must not miss the files that are deleted next.
        match self.write_batch(&mut batch, StateRecord { purged: index, ..self.state }, true) {
            Ok(()) => {}
            Err(WriteError::Full) => return Ok(()),
            Err(e) => return Err(e),
        }
        failpoint::hit("log.purge-compacted");
        self.delete_files()
    }

    /// Only called right after a batch was written: the newest file then holds the state record,
    /// which therefore never moves to the engine's rewrite files, and the scan finds it.
    fn delete_files(&mut self) -> Result<(), WriteError> {
        self.unpurged = match self.engine.purge_expired_files() {
            Ok(_) => false,
            // What had to be moved out of the way found no room; it is tried again.
            Err(raft_engine::Error::Io(e)) if files::is_full(&e) => true,
            Err(e) => return Err(broken(format!("purging: {e}"))),
        };
        failpoint::hit("log.purged");
        Ok(())
    }

    /// Empties the log; the next index follows `last`. The hard state stays.
    pub(crate) fn reset(&mut self, last: LogId) -> Result<(), WriteError> {
        let mut batch = LogBatch::with_capacity(2);
        let end = self.state.last.index.max(last.index).next().0;
        batch.add_command(REGION, Command::Compact { index: end });
        self.write_batch(&mut batch, StateRecord { purged: last.index, last, ..self.state }, true)?;
        failpoint::hit("log.reset-written");
        self.delete_files()
    }

    /// Makes the record of the durable end durable; a clean end leaves nothing to doubt.
    pub(crate) fn close(mut self) {
        self.durable.sync();
    }

    fn write_batch(
        &mut self,
        batch: &mut LogBatch,
        mut next: StateRecord,
        sync: bool,
    ) -> Result<(), WriteError> {
        next.seq = self.state.seq + 1;
        next.durable_seq = self.durable.seq();
        let state = codec::encode_state(&next).ok_or_else(|| broken("state record"))?;
        batch.put(REGION, STATE_KEY.to_vec(), state).map_err(broken)?;
        failpoint::hit("log.before-write");
        let bytes = match self.engine.write(batch, sync) {
            Ok(bytes) => bytes,
            Err(raft_engine::Error::Io(e)) if files::is_full(&e) => return Err(WriteError::Full),
            Err(e) => return Err(broken(e)),
        };
        self.state = next;
        self.shared.batches.fetch_add(1, Ordering::Relaxed);
        self.shared.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.dir.space().log(bytes as u64);
        if sync {
            failpoint::hit("log.before-durable");
            self.durable.record(next.seq).map_err(broken)?;
        }
        Ok(())
    }
}

impl WriteError {
    /// An earlier batch of the same order is written already, so "nothing kept" would be a lie.
    fn unkept(self) -> Self {
        match self {
            Self::Full => broken("no space in the middle of an order, although there was at first"),
            Self::Broken(_) => self,
        }
    }
}

fn broken(why: impl ToString) -> WriteError {
    WriteError::Broken(why.to_string())
}

/// The end of the log after `run`, if it may be written at all.
fn follow(state: &StateRecord, run: &[Entry]) -> Result<LogId, WriteError> {
    let Some(first) = run.first() else { return Ok(state.last) };
    if first.id.index > state.last.index.next() {
        return Err(broken(format!(
            "entry {} would leave a gap after {}",
            first.id.index.0, state.last.index.0
        )));
    }
    if first.id.index <= state.purged {
        return Err(broken(format!(
            "entry {} is purged up to {}",
            first.id.index.0, state.purged.0
        )));
    }
    let mut last = first.id;
    for entry in &run[1..] {
        if entry.id.index != last.index.next() || entry.id.term < last.term {
            return Err(broken(format!("entries around {} are not in order", last.index.0)));
        }
        last = entry.id;
    }
    Ok(last)
}

fn pending_bytes(pending: &[StoredEntryMessage]) -> usize {
    pending.iter().map(|m| m.0.body.len() + ENTRY_HEAD_BYTES).sum()
}

fn add_entries(
    batch: &mut LogBatch,
    pending: &mut Vec<StoredEntryMessage>,
) -> Result<(), WriteError> {
    batch.add_entries::<StoredEntryExt>(REGION, pending).map_err(broken)?;
    pending.clear();
    Ok(())
}

fn open_engine(
    dir: &DataDir,
    settings: LogSettings,
    shared: &Arc<LogShared>,
) -> Result<Engine<LogFileSystem>, StorageError> {
    let log_dir = &dir.log_dir();
    let Some(path) = log_dir.to_str() else {
        return Err(StorageError {
            what: format!("the path {} is not UTF-8", log_dir.display()),
            advice: "choose another --data-dir".to_owned(),
            damaged: false,
        });
    };
    let config = Config {
        dir: path.to_owned(),
        recovery_mode: RecoveryMode::AbsoluteConsistency,
        recovery_threads: 1,
        // The compression byte of a batch is outside its checksums, and LZ4 costs memory.
        batch_compression_threshold: ReadableSize(0),
        target_file_size: ReadableSize(settings.file_bytes),
        purge_threshold: ReadableSize(settings.purge_bytes.max(settings.file_bytes)),
        enable_log_recycle: false,
        prefill_for_recycle: false,
        ..Config::default()
    };
    let file_system = Arc::new(LogFileSystem { shared: shared.clone(), dir: dir.clone() });
    match Engine::open_with_file_system(config, file_system) {
        Ok(engine) => Ok(engine),
        Err(raft_engine::Error::Io(e)) => Err(unusable(log_dir, &e)),
        Err(e) => Err(damaged(log_dir, &e.to_string())),
    }
}
