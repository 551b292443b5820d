//! The log on raft-engine; the only file that names it. One region, entries as log entries, the
//! state record as its only key, so nothing but indexes stays in memory.
//!
//! How raft-engine 0.4.2 is used, and why:
//! - Always `write(batch, sync)`: `Engine::sync` does nothing, `compact_to` is unsynced.
//! - A gap, or an append below what was purged, is found here before a byte is written: the engine
//!   panics only after the write, and then at every start.
//! - `Command::Clean` is never used: it would delete the vote too.
//! - Strict recovery. What a power cut may leave at the tail is cut by `recover.rs` beforehand, with
//!   evidence; the engine itself never drops anything.
//! - Our own [`FileSystem`]: files are 0600 and not preallocated (so no tail of zeros), directory
//!   entries are synced, offsets are 64 bit everywhere, a failed sync ends the process at once, and
//!   "no space" comes back as a plain error after the engine has truncated the partial write.
//! - The engine's `re-metrics` thread wakes every 30 s and writes nothing.
//!
//! Read `writer.rs` next.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nacolet_model::limits;
use nacolet_raft::{Entry, HardState, LogId, LogIndex, StorageError};
use protobuf::reflect::MessageDescriptor;
use protobuf::{CodedInputStream, CodedOutputStream, ProtobufResult, UnknownFields};
use raft_engine::env::{FileSystem, Handle, Permission, WriteExt};
use raft_engine::{Command, Config, Engine, LogBatch, MessageExt, ReadableSize, RecoveryMode};

use crate::codec::{self, ENTRY_HEAD_BYTES, State, StoredEntry};
use crate::dir::{self, DataDir, damaged, unusable};
use crate::recover::{self, DurableEnd};
use crate::{Fatal, LogSettings, LogStats, failpoint};

/// The one Raft group.
const REGION: u64 = 1;
/// The only key of the group. `recover.rs` looks for it too.
pub(crate) const STATE_KEY: &[u8] = b"s";
/// Entries decoded at once at start, so that stored and decoded form of the log do not meet in memory.
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
pub(crate) struct Log {
    engine: Engine<LogFileSystem>,
    state: State,
    durable: DurableEnd,
    dir: DataDir,
    shared: Arc<Shared>,
}

impl Log {
    /// Checks every byte, cuts what a power cut left, opens the engine and makes sure that what was
    /// found is durable.
    pub(crate) fn open(
        dir: &DataDir,
        settings: LogSettings,
        shared: &Arc<Shared>,
    ) -> Result<Self, StorageError> {
        let log_dir = dir.log_dir();
        dir::create_dir(&log_dir).map_err(|e| unusable(&log_dir, &e))?;
        let mut durable = DurableEnd::open(&dir.durable_file())?;
        let scan = recover::scan(&log_dir, durable.seq())?;
        let engine = open_engine(&log_dir, settings, shared)?;
        let state = match engine.get(REGION, STATE_KEY) {
            Some(bytes) => codec::decode_state(&bytes)
                .ok_or_else(|| damaged(&log_dir, "its state record cannot be read"))?,
            None => State::default(),
        };
        if state != scan.last {
            return Err(damaged(&log_dir, "its files and what the engine makes of them differ"));
        }
        durable.record(state.seq).map_err(|e| unusable(&dir.durable_file(), &e))?;
        let log = Self { engine, state, durable, dir: dir.clone(), shared: shared.clone() };
        for path in scan.leftovers {
            // Files before a hole in the numbering: an interrupted purge. Their removal is tried at
            // every start, so a failure is not an event.
            drop(fs::remove_file(path));
        }
        Ok(log)
    }

    /// What the last batch said.
    pub(crate) fn state(&self) -> &State {
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

    /// Whether `bytes` more would leave enough space for votes and purging.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        #[cfg(test)]
        if let Some(free) = self.shared.faults.free.lock().expect("test").as_ref() {
            return *free >= bytes as u64 + limits::DISK_FREE_BYTES_MIN;
        }
        dir::free_bytes(&self.dir.log_dir())
            .is_none_or(|free| free >= bytes as u64 + limits::DISK_FREE_BYTES_MIN)
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
                pending.push(StoredEntryMessage::new(entry)?);
                next.last = entry.id;
            }
            add_entries(&mut batch, &mut pending)?;
        }
        self.write_batch(&mut batch, next, true).map_err(|e| if first { e } else { e.unkept() })
    }

    /// Forgets entries up to and including `index` and deletes files that hold nothing else. Without
    /// space nothing happens, and the next call does it all.
    pub(crate) fn purge(&mut self, index: LogIndex) -> Result<(), WriteError> {
        let index = index.min(self.state.last.index);
        if index <= self.state.purged {
            return Ok(());
        }
        let mut batch = LogBatch::with_capacity(2);
        batch.add_command(REGION, Command::Compact { index: index.next().0 });
        // Synced, because an older state record must not miss the files that are deleted next.
        match self.write_batch(&mut batch, State { purged: index, ..self.state }, true) {
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
        match self.engine.purge_expired_files() {
            Ok(_) => {}
            // What had to be moved out of the way found no room; the next purge tries again.
            Err(raft_engine::Error::Io(e)) if dir::is_full(&e) => {}
            Err(e) => return Err(broken(format!("purging: {e}"))),
        }
        failpoint::hit("log.purged");
        Ok(())
    }

    /// Empties the log; the next index follows `last`. The hard state stays.
    pub(crate) fn reset(&mut self, last: LogId) -> Result<(), WriteError> {
        let mut batch = LogBatch::with_capacity(2);
        let end = self.state.last.index.max(last.index).next().0;
        batch.add_command(REGION, Command::Compact { index: end });
        self.write_batch(&mut batch, State { purged: last.index, last, ..self.state }, true)?;
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
        mut next: State,
        sync: bool,
    ) -> Result<(), WriteError> {
        next.seq = self.state.seq + 1;
        next.durable_seq = self.durable.seq();
        let state = codec::encode_state(&next).ok_or_else(|| broken("state record"))?;
        batch.put(REGION, STATE_KEY.to_vec(), state).map_err(broken)?;
        failpoint::hit("log.before-write");
        let bytes = match self.engine.write(batch, sync) {
            Ok(bytes) => bytes,
            Err(raft_engine::Error::Io(e)) if dir::is_full(&e) => return Err(WriteError::Full),
            Err(e) => return Err(broken(e)),
        };
        self.state = next;
        self.shared.batches.fetch_add(1, Ordering::Relaxed);
        self.shared.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
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
fn follow(state: &State, run: &[Entry]) -> Result<LogId, WriteError> {
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
    log_dir: &Path,
    settings: LogSettings,
    shared: &Arc<Shared>,
) -> Result<Engine<LogFileSystem>, StorageError> {
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
    let file_system = Arc::new(LogFileSystem { shared: shared.clone() });
    match Engine::open_with_file_system(config, file_system) {
        Ok(engine) => Ok(engine),
        Err(raft_engine::Error::Io(e)) => Err(unusable(log_dir, &e)),
        Err(e) => Err(damaged(log_dir, &e.to_string())),
    }
}

/// A stored entry in the clothes that raft-engine wants.
#[derive(Clone, Debug, Default, PartialEq)]
struct StoredEntryMessage(StoredEntry, UnknownFields);

struct StoredEntryExt;

impl MessageExt for StoredEntryExt {
    type Entry = StoredEntryMessage;

    fn index(entry: &Self::Entry) -> u64 {
        entry.0.index()
    }
}

impl StoredEntryMessage {
    fn new(entry: &Entry) -> Result<Self, WriteError> {
        let stored = StoredEntry::new(entry).ok_or_else(|| broken("membership"))?;
        Ok(Self(stored, UnknownFields::default()))
    }
}

impl protobuf::Clear for StoredEntryMessage {
    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Body length, head, body. Not protobuf at all: the engine only asks for a way in and a way out.
impl protobuf::Message for StoredEntryMessage {
    fn descriptor(&self) -> &'static MessageDescriptor {
        // Never asked for by the engine; any descriptor is better than a panic.
        <protobuf::well_known_types::Empty as protobuf::Message>::descriptor_static()
    }

    fn is_initialized(&self) -> bool {
        true
    }

    fn merge_from(&mut self, is: &mut CodedInputStream<'_>) -> ProtobufResult<()> {
        let bytes = is.read_raw_little_endian32()?;
        is.read(&mut self.0.head)?;
        let mut body = Vec::new();
        is.read_raw_bytes_into(bytes, &mut body)?;
        self.0.body = body.into();
        Ok(())
    }

    fn write_to_with_cached_sizes(&self, os: &mut CodedOutputStream<'_>) -> ProtobufResult<()> {
        os.write_raw_little_endian32(u32::try_from(self.0.body.len()).unwrap_or(u32::MAX))?;
        os.write_raw_bytes(&self.0.head)?;
        os.write_raw_bytes(&self.0.body)
    }

    fn compute_size(&self) -> u32 {
        u32::try_from(4 + ENTRY_HEAD_BYTES + self.0.body.len()).unwrap_or(u32::MAX)
    }

    fn get_cached_size(&self) -> u32 {
        self.compute_size()
    }

    fn get_unknown_fields(&self) -> &UnknownFields {
        &self.1
    }

    fn mut_unknown_fields(&mut self) -> &mut UnknownFields {
        &mut self.1
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn new() -> Self {
        Self::default()
    }

    fn default_instance() -> &'static Self {
        static DEFAULT: std::sync::OnceLock<StoredEntryMessage> = std::sync::OnceLock::new();
        DEFAULT.get_or_init(Self::default)
    }
}

/// What the log thread and its owner share: counters, and the way to end the process.
pub(crate) struct Shared {
    pub(crate) fatal: Fatal,
    batches: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
    #[cfg(test)]
    pub(crate) faults: crate::tests::Faults,
}

impl Shared {
    pub(crate) fn new(fatal: Fatal) -> Self {
        Self {
            fatal,
            batches: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            #[cfg(test)]
            faults: crate::tests::Faults::default(),
        }
    }

    pub(crate) fn stats(&self) -> LogStats {
        LogStats {
            batches: self.batches.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
        }
    }
}

/// The engine's files.
pub(crate) struct LogFileSystem {
    shared: Arc<Shared>,
}

/// One of the engine's files.
pub(crate) struct LogFile {
    file: File,
    shared: Arc<Shared>,
}

/// A position in one of the engine's files.
pub(crate) struct LogFileCursor {
    file: Arc<LogFile>,
    offset: u64,
}

impl FileSystem for LogFileSystem {
    type Handle = LogFile;
    type Reader = LogFileCursor;
    type Writer = LogFileCursor;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<LogFile> {
        let file = dir::create_file(path.as_ref())?;
        if let Some(parent) = path.as_ref().parent() {
            dir::sync_dir(parent)?;
        }
        failpoint::hit("log.file-created");
        Ok(LogFile { file, shared: self.shared.clone() })
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<LogFile> {
        let write = permission == Permission::ReadWrite;
        let file = OpenOptions::new().read(true).write(write).open(path)?;
        Ok(LogFile { file, shared: self.shared.clone() })
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn new_reader(&self, file: Arc<LogFile>) -> io::Result<LogFileCursor> {
        Ok(LogFileCursor { file, offset: 0 })
    }

    fn new_writer(&self, file: Arc<LogFile>) -> io::Result<LogFileCursor> {
        Ok(LogFileCursor { file, offset: 0 })
    }
}

impl Handle for LogFile {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        self.file.set_len(offset as u64)
    }

    fn file_size(&self) -> io::Result<usize> {
        usize::try_from(self.file.metadata()?.len()).map_err(io::Error::other)
    }

    /// After a failed sync the kernel may call the next one good (and the pages clean), so nothing
    /// may happen after it.
    fn sync(&self) -> io::Result<()> {
        failpoint::hit("log.before-sync");
        #[cfg(not(test))]
        let synced = self.file.sync_data();
        #[cfg(test)]
        let synced = self.shared.faults.sync();
        self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        if let Err(e) = synced {
            (self.shared.fatal)(&format!("the Raft log cannot be made durable: {e}"));
        }
        failpoint::hit("log.synced");
        Ok(())
    }
}

impl Read for LogFileCursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl Write for LogFileCursor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        let bytes = self.file.shared.faults.admit(bytes)?;
        let written = self.file.file.write_at(bytes, self.offset)?;
        self.offset += written as u64;
        failpoint::hit("log.written");
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for LogFileCursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.offset.checked_add_signed(by),
            SeekFrom::End(by) => (self.file.file_size()? as u64).checked_add_signed(by),
        };
        self.offset = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.offset)
    }
}

impl WriteExt for LogFileCursor {
    fn truncate(&mut self, offset: usize) -> io::Result<()> {
        Handle::truncate(self.file.as_ref(), offset)?;
        self.offset = offset as u64;
        Ok(())
    }

    /// Preallocation is left out: it would end every file in zeros that a start must tell from a
    /// torn write, and gains nothing at one sync per batch.
    fn allocate(&mut self, _offset: usize, _bytes: usize) -> io::Result<()> {
        Ok(())
    }
}
