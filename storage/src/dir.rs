//! The data directory: one process at a time, a node id that stays, small durable records and a
//! reserve of space. It knows nothing of Raft. The helpers at the end (directory sync, free space)
//! serve the log and the snapshots too.
//!
//! ```text
//! nacolet-data/       0700; every file in it 0600
//!   lock              held while a process runs
//!   identity.rec      the node id
//!   <name>.rec        other small records
//!   durable           how far the log is known to be durable, see recover.rs
//!   log/              raft-engine's files
//!   snapshots/        Raft snapshot files, see snapshot.rs
//!   reserve           1 MiB to give away when a start finds the disk full
//!   damaged/          what a member could not use any more, see aside.rs
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nacolet_model::{NodeId, limits};
use nacolet_raft::StorageError;

use crate::aside;
use crate::codec;
use crate::failpoint;

const LOCK_RETRY_EVERY: Duration = Duration::from_millis(25);

/// Why a small record was not stored; the old value is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmallRecordError {
    /// No space left.
    #[error("no space left for a small record")]
    Full,
    /// Longer than `limits::SMALL_RECORD_BYTES_MAX`.
    #[error("the small record is too long")]
    TooLong,
    /// The name has other characters than `a-z`, `0-9` and `-`.
    #[error("not a name for a small record")]
    BadName,
    /// The file system refused. Whether the old or the new value is found later is not known.
    #[error("small record: {0}")]
    Io(io::ErrorKind),
}

/// An open and locked data directory. Clones share the lock, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct DataDir {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    node_id: NodeId,
    _lock: File,
}

impl DataDir {
    /// Opens the directory, creates it (0700) if needed, and locks it. `fresh` becomes the node id
    /// when the directory has none yet; the caller draws it at random.
    ///
    /// # Errors
    /// Another process holds the directory, it cannot be read or written, or its identity is damaged
    /// or missing beside a log.
    pub fn open(path: &Path, fresh: NodeId) -> Result<Self, StorageError> {
        create_dir(path).map_err(|e| unusable(path, &e))?;
        let lock = lock(&path.join("lock"))?;
        aside::finish(path)?;
        let node_id = identity(path, fresh)?;
        keep_reserve(&path.join("reserve"));
        Ok(Self { inner: Arc::new(Inner { path: path.to_owned(), node_id, _lock: lock }) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The identity of this member, drawn when the directory was created.
    pub fn node_id(&self) -> NodeId {
        self.inner.node_id
    }

    /// Stores a small record durably, all or nothing: aside, synced, renamed, directory synced.
    ///
    /// # Errors
    /// See [`SmallRecordError`].
    pub fn store_small(&self, name: &str, bytes: &[u8]) -> Result<(), SmallRecordError> {
        store_small(self.path(), name, bytes)
    }

    /// Writes a file that only its owner may read, in place of one that is there. For people: nothing
    /// depends on it.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn write_secret(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.path().join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(path)
    }

    /// Removes what [`Self::write_secret`] wrote.
    ///
    /// # Errors
    /// It is not there, or the file system refuses.
    pub fn remove_secret(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path().join(name))
    }

    /// Reads a small record, `None` if it was never stored.
    ///
    /// # Errors
    /// The record is damaged or unreadable.
    pub fn load_small(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        load_small(self.path(), name)
    }

    /// Gives the reserve away; true if there was one. The next open puts it back.
    pub fn release_reserve(&self) -> bool {
        fs::remove_file(self.path().join("reserve")).is_ok()
    }

    /// Where the log's files are.
    pub(crate) fn log_dir(&self) -> PathBuf {
        self.path().join("log")
    }

    /// Where the record of the durable end is.
    pub(crate) fn durable_file(&self) -> PathBuf {
        self.path().join("durable")
    }

    /// Where the Raft snapshots are.
    pub(crate) fn snapshot_dir(&self) -> PathBuf {
        self.path().join("snapshots")
    }
}

fn lock(path: &Path) -> Result<File, StorageError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| unusable(path, &e))?;
    // A process that was killed lets go of its lock only when the kernel is done with it.
    for _ in 0..limits::LOCK_TRIES {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => thread::sleep(LOCK_RETRY_EVERY),
            Err(e) => return Err(unusable(path, &e.into())),
        }
    }
    Err(StorageError {
        what: format!("another process uses the data directory of {}", path.display()),
        advice: "stop it first, or give this one another --data-dir".to_owned(),
        damaged: false,
    })
}

fn identity(dir: &Path, fresh: NodeId) -> Result<NodeId, StorageError> {
    let file = dir.join("identity.rec");
    match load_small(dir, "identity")? {
        Some(bytes) => match <[u8; 8]>::try_from(bytes.as_slice()) {
            Ok(bytes) => Ok(NodeId(u64::from_le_bytes(bytes))),
            Err(_) => Err(damaged(&file, "it does not hold a node id")),
        },
        // A log without its identity would join a cluster as somebody new with old votes.
        None if dir.join("durable").exists() => {
            Err(damaged(&file, "it is missing although there is a log beside it"))
        }
        None => store_identity(dir, fresh).map(|()| fresh),
    }
}

/// Makes `node` the identity.
pub(crate) fn store_identity(dir: &Path, node: NodeId) -> Result<(), StorageError> {
    store_small(dir, "identity", &node.0.to_le_bytes()).map_err(|e| StorageError {
        what: format!("{} cannot be written: {e}", dir.join("identity.rec").display()),
        advice: "make space or give write access to the data directory".to_owned(),
        damaged: false,
    })
}

/// A reserve that cannot be written is no reason to stay down: it is a help for another day.
fn keep_reserve(path: &Path) {
    let wanted = limits::RESERVE_BYTES as u64;
    if fs::metadata(path).is_ok_and(|found| found.len() == wanted) {
        return;
    }
    let room = path.parent().and_then(free_bytes);
    if room.is_some_and(|free| free < wanted + limits::DISK_FREE_BYTES_MIN) {
        return;
    }
    let written = create_file(path).and_then(|mut file| {
        let block = [0xa5_u8; 4096];
        for _ in 0..limits::RESERVE_BYTES / block.len() {
            file.write_all(&block)?;
        }
        sync_file(&file)
    });
    if written.is_err() {
        // A shorter file would still be found short and replaced by the next start.
        drop(fs::remove_file(path));
    }
}

fn record_path(dir: &Path, name: &str) -> Option<PathBuf> {
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (!name.is_empty() && name.len() <= 64 && name.bytes().all(legal))
        .then(|| dir.join(format!("{name}.rec")))
}

pub(crate) fn store_small(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), SmallRecordError> {
    if bytes.len() > limits::SMALL_RECORD_BYTES_MAX {
        return Err(SmallRecordError::TooLong);
    }
    let path = record_path(dir, name).ok_or(SmallRecordError::BadName)?;
    let aside = path.with_extension("rec.new");
    let stored = (|| {
        let mut file = create_file(&aside)?;
        file.write_all(&codec::encode_small(bytes))?;
        failpoint::hit("small.written");
        sync_file(&file)?;
        failpoint::hit("small.synced");
        fs::rename(&aside, &path)?;
        failpoint::hit("small.renamed");
        sync_dir(dir)
    })();
    stored.map_err(|e: io::Error| {
        drop(fs::remove_file(&aside));
        if is_full(&e) { SmallRecordError::Full } else { SmallRecordError::Io(e.kind()) }
    })
}

pub(crate) fn load_small(dir: &Path, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
    let Some(path) = record_path(dir, name) else { return Ok(None) };
    match read_bounded(&path, limits::SMALL_RECORD_BYTES_MAX + codec::SMALL_HEAD_BYTES) {
        Ok(bytes) => match codec::decode_small(&bytes) {
            Some(value) => Ok(Some(value.to_vec())),
            None => Err(damaged(&path, "its checksum or its length is wrong")),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unusable(&path, &e)),
    }
}

/// Reads at most one byte more than `max`, so that a longer file is seen to be too long.
fn read_bounded(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    File::open(path)?.take(max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Creates a directory (0700) with its parents, durably.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Creates an empty file that only its owner may read.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Makes names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    sync_file(&File::open(dir)?)
}

/// Makes the content of a file durable. Unit tests end no process and cut no power, so they leave
/// the wait to those that do (`tests/crash.rs` and the rigs above it).
pub(crate) fn sync_file(file: &File) -> io::Result<()> {
    if cfg!(test) { Ok(()) } else { file.sync_all() }
}

/// Space an unprivileged process can still use, bytes; `None` when the system does not say.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Whether the error means that there is no space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A file whose content cannot be trusted.
pub(crate) fn damaged(path: &Path, how: &str) -> StorageError {
    StorageError {
        what: format!("{} is damaged: {how}", path.display()),
        advice: "a member of a cluster joins again with an empty data directory (move this one \
                 away); a single node needs its data directory restored from a backup"
            .to_owned(),
        damaged: true,
    }
}

/// A file that the system does not let us use.
pub(crate) fn unusable(path: &Path, error: &io::Error) -> StorageError {
    let advice = if is_full(error) {
        "make space on its file system"
    } else {
        "check its owner, its permissions and the health of the disk"
    };
    StorageError {
        what: format!("{} cannot be used: {error}", path.display()),
        advice: advice.to_owned(),
        damaged: false,
    }
}
