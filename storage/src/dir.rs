//! The data directory: one process at a time, a node id that stays, small durable records and a
//! reserve of space. It knows nothing of Raft.
//!
//! ```text
//! nacolet-data/       0700; every file in it 0600
//!   lock              held while a process runs
//!   identity.rec      the node id
//!   <name>.rec        other small records
//!   durable           how far the log is known to be durable, see log/recover.rs
//!   log/              raft-engine's files
//!   snapshots/        Raft snapshot files, see snapshot/
//!   reserve           1 MiB to give away when the disk is full, see space.rs
//!   damaged/          what a member could not use any more, see aside.rs
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nacolet_model::{NodeId, limits};
use nacolet_raft::StorageError;

use crate::aside;
use crate::files::{
    SmallRecordError, create_dir, damaged, load_small, store_identity, store_small, unusable,
};
use crate::space::Space;

const LOCK_RETRY_EVERY: Duration = Duration::from_millis(25);

/// An open and locked data directory. Clones share the lock, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct DataDir {
    inner: Arc<OpenDir>,
}

#[derive(Debug)]
struct OpenDir {
    path: PathBuf,
    node_id: NodeId,
    space: Space,
    _lock: File,
}

impl DataDir {
    /// Opens the directory, creates it (0700) if needed, and locks it. `fresh` becomes the node id
    /// when the directory has none yet; the caller draws it at random.
    ///
    /// # Errors
    /// Another process holds the directory, it cannot be read or written, or its identity is
    /// damaged or missing beside a log.
    pub fn open(path: &Path, fresh: NodeId) -> Result<Self, StorageError> {
        create_dir(path).map_err(|e| unusable(path, &e))?;
        let lock = lock(&path.join("lock"))?;
        aside::finish(path)?;
        let node_id = identity(path, fresh)?;
        let space = Space::new(path);
        Ok(Self { inner: Arc::new(OpenDir { path: path.to_owned(), node_id, space, _lock: lock }) })
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

    /// Writes a file that only its owner may read, in place of one that is there. For people:
    /// nothing depends on it.
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

    /// Whether there is room for a command of so many bytes, and for the Raft snapshot after it.
    #[must_use]
    pub fn takes(&self, bytes: u64) -> bool {
        self.inner.space.takes(bytes)
    }

    /// Whether there is room for a command of so many bytes that frees space: the reserve is for
    /// it.
    #[must_use]
    pub fn takes_last(&self, bytes: u64) -> bool {
        self.inner.space.could_give(bytes)
    }

    /// Bytes that the log has grown by since the newest Raft snapshot.
    #[must_use]
    pub fn log_grown(&self) -> u64 {
        self.inner.space.grown()
    }

    /// Whether our own data is a good part of what the disk holds at all.
    #[must_use]
    pub fn is_filled_by_us(&self) -> bool {
        self.inner.space.is_filled_by_us()
    }

    pub(crate) fn space(&self) -> &Space {
        &self.inner.space
    }

    /// Moves log and snapshots to `damaged/`, in place of what was there, and makes `fresh` the
    /// node id. The directory must be opened anew afterwards.
    ///
    /// # Errors
    /// The file system refuses; the next open finishes it, or the next call begins anew.
    pub fn set_aside(&self, fresh: NodeId) -> Result<(), StorageError> {
        aside::set_aside(self.path(), fresh)
    }

    /// Whether data was set aside here: this directory has been a member's before.
    #[must_use]
    pub fn has_set_aside(&self) -> bool {
        aside::is_there(self.path())
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
