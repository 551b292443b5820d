//! Tests of the parts together, with faults injected underneath. What every one of them needs: a
//! directory that goes away, a log that can be waited for, a model to compare with.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_in_result,
    reason = "small numbers, and a test may end in a panic"
)]

mod damage;
mod faults;
mod log;
mod snapshot;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nacolet_model::NodeId;
use nacolet_raft::engine::PersistId;
use nacolet_raft::{
    AppendError, Entry, EntryPayload, HardState, LogId, LogIndex, RaftLogStorage, Recovered,
    SnapshotMeta, StorageError, Term,
};

use crate::log::LogShared;
use crate::{DataDir, LogSettings, LogStore};

/// What goes wrong on purpose.
#[derive(Default)]
pub(crate) struct Faults {
    /// Bytes that still fit before the disk is full; `None` is a disk without end.
    pub(crate) room: Mutex<Option<usize>>,
    /// The next sync fails.
    pub(crate) sync_fails: Mutex<bool>,
}

impl Faults {
    pub(crate) fn admit<'a>(&self, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        match self.room.lock().expect("test").as_mut() {
            None => Ok(bytes),
            Some(0) => Err(io::ErrorKind::StorageFull.into()),
            Some(room) => {
                let fits = bytes.len().min(*room);
                *room -= fits;
                Ok(&bytes[..fits])
            }
        }
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        if std::mem::take(&mut *self.sync_fails.lock().expect("test")) {
            return Err(io::Error::other("injected"));
        }
        Ok(())
    }
}

/// A directory of its own, removed at the end.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nacolet-{}-{nth}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir(&path).expect("create a temporary directory");
        // Of the right size it is left alone, and a sparse one costs nothing.
        let reserve = fs::File::create(path.join("reserve")).expect("create");
        reserve.set_len(nacolet_model::limits::RESERVE_BYTES as u64).expect("grow");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn log_file(&self, number: u64) -> PathBuf {
        self.0.join("log").join(format!("{number:016}.raftlog"))
    }

    pub(crate) fn durable_file(&self) -> PathBuf {
        self.0.join("durable")
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

pub(crate) fn panicking(why: &str) -> ! {
    panic!("fatal: {why}");
}

pub(crate) fn small_files() -> LogSettings {
    LogSettings { file_bytes: 4 << 10, purge_bytes: 16 << 10, frees: |_| true }
}

pub(crate) fn command(index: u64, term: u64, bytes: usize) -> Entry {
    let mut content = vec![0_u8; bytes];
    for (at, byte) in content.iter_mut().enumerate() {
        *byte = (index as u8).wrapping_mul(31).wrapping_add(at as u8);
    }
    let id = LogId { term: Term(term), index: LogIndex(index) };
    Entry { id, payload: EntryPayload::Command(content.into()) }
}

pub(crate) fn commands(range: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    range.map(|index| command(index, term, 40)).collect()
}

pub(crate) fn hard_state(term: u64, voted_for: u64, commit_index: u64) -> HardState {
    HardState {
        term: Term(term),
        voted_for: Some(NodeId(voted_for)),
        commit_index: LogIndex(commit_index),
    }
}

pub(crate) fn snapshot_at(index: u64, term: u64) -> SnapshotMeta {
    let last = LogId { term: Term(term), index: LogIndex(index) };
    SnapshotMeta { last, id: index, ..SnapshotMeta::default() }
}

/// A running log, and a way to wait for it.
pub(crate) struct Running {
    pub(crate) data: DataDir,
    pub(crate) store: LogStore,
    pub(crate) shared: Arc<LogShared>,
    next: u64,
}

impl Running {
    pub(crate) fn open(dir: &TempDir) -> Result<(Self, Recovered), StorageError> {
        Self::open_with(dir, small_files(), None)
    }

    pub(crate) fn open_with(
        dir: &TempDir,
        settings: LogSettings,
        snapshot: Option<&SnapshotMeta>,
    ) -> Result<(Self, Recovered), StorageError> {
        let data = DataDir::open(dir.path(), NodeId(7))?;
        let shared = Arc::new(LogShared::new(panicking));
        let mut store = LogStore::open_shared(&data, settings, shared.clone())?;
        let recovered = store.recover(snapshot)?;
        Ok((Self { data, store, shared, next: 1 }, recovered))
    }

    /// Hands over without waiting.
    pub(crate) fn start(
        &mut self,
        hard_state: Option<HardState>,
        entries: Vec<Entry>,
    ) -> mpsc::Receiver<Result<PersistId, AppendError>> {
        let (done, waiting) = mpsc::channel();
        let id = PersistId(self.next);
        self.next += 1;
        self.store.append(
            id,
            hard_state,
            entries,
            Box::new(move |result| done.send(result).unwrap_or_default()),
        );
        waiting
    }

    pub(crate) fn append(
        &mut self,
        hard_state: Option<HardState>,
        entries: Vec<Entry>,
    ) -> Result<PersistId, AppendError> {
        wait(&self.start(hard_state, entries))
    }

    /// Hands over again what was refused.
    pub(crate) fn again(
        &mut self,
        id: PersistId,
        entries: Vec<Entry>,
    ) -> Result<PersistId, AppendError> {
        let (done, waiting) = mpsc::channel();
        self.store.append(
            id,
            None,
            entries,
            Box::new(move |result| done.send(result).unwrap_or_default()),
        );
        wait(&waiting)
    }

    pub(crate) fn reset(&mut self, snapshot: &SnapshotMeta) -> Result<PersistId, AppendError> {
        let (done, waiting) = mpsc::channel();
        let id = PersistId(self.next);
        self.next += 1;
        self.store.reset(
            id,
            snapshot,
            Box::new(move |result| done.send(result).unwrap_or_default()),
        );
        wait(&waiting)
    }

    /// Returns when everything before it has been carried out.
    pub(crate) fn settle(&mut self) {
        self.append(None, Vec::new()).expect("an empty order");
    }
}

pub(crate) fn wait(
    waiting: &mpsc::Receiver<Result<PersistId, AppendError>>,
) -> Result<PersistId, AppendError> {
    waiting.recv_timeout(Duration::from_secs(20)).expect("an answer of the log thread")
}

/// Replaces the content of a file. Unlike `fs::write` it does not truncate to nothing first, which
/// makes ext4 wait for the disk.
pub(crate) fn put(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    let open = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = open.expect("open");
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).expect("write");
    file.set_len(bytes.len() as u64).expect("cut");
}

/// Copies a data directory, as a power cut or a backup would find it.
pub(crate) fn copy(from: &TempDir) -> TempDir {
    let to = TempDir::new();
    copy_tree(from.path(), to.path());
    to
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create");
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("list");
        // A megabyte of reserve per copy would only make the tests slow.
        if entry.file_name() == "reserve" || entry.file_name() == "quota" {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy");
        }
    }
}
