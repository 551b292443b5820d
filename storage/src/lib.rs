//! What a node keeps on disk: its data directory, its Raft log and its Raft snapshots. The log is the
//! port [`nacolet_raft::RaftLogStorage`] on raft-engine; the snapshot store is what a state machine
//! delegates to. Nothing here knows configs, instances, HTTP or an executor: slow work runs on the
//! thread `log` or on short threads of its own, and comes back through completions and futures.
//!
//! Reading order: [`dir`] (the directory and its lock), `aside` (what becomes of damaged data), `codec`
//! (bytes), `log` (raft-engine), `recover` (what a restart finds), `writer` (the thread),
//! [`snapshot`], `whole`, `failpoint`.
//!
//! ```
//! use nacolet_raft::RaftLogStorage;
//! use nacolet_storage::{DataDir, LogSettings, LogStore, abort_process};
//! # let path = std::env::temp_dir().join(format!("nacolet-doc-{}", std::process::id()));
//! let dir = DataDir::open(&path, nacolet_model::NodeId(7))?;
//! let mut log = LogStore::open(&dir, LogSettings::default(), abort_process)?;
//! let found = log.recover(None)?;
//! assert!(found.entries.is_empty());
//! log.close();
//! # std::fs::remove_dir_all(path).expect("remove");
//! # Ok::<(), nacolet_raft::StorageError>(())
//! ```

mod aside;
mod codec;
pub mod dir;
mod failpoint;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod log;
mod recover;
pub mod snapshot;
mod whole;
mod writer;

#[cfg(test)]
mod tests;

pub use dir::{DataDir, SmallRecordError};
pub use failpoint::FAILPOINTS;
pub use snapshot::{SnapshotReader, SnapshotStore};
pub use writer::LogStore;

use nacolet_model::limits;

/// Ends the process because going on could lose or contradict acknowledged data.
pub type Fatal = fn(&str) -> !;

/// Says why on standard error and aborts: no destructor runs, no further byte is written.
pub fn abort_process(why: &str) -> ! {
    use std::io::Write;
    // Not `eprintln`, which panics when nobody reads standard error any more; a panic could leave
    // the process alive.
    drop(writeln!(std::io::stderr(), "fatal: {why}"));
    std::process::abort();
}

/// Sizes of the log's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// A file that has reached this size is followed by a new one, bytes.
    pub file_bytes: u64,
    /// Files are purged when all together are larger than this, bytes. At least `file_bytes`.
    pub purge_bytes: u64,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { file_bytes: limits::LOG_FILE_BYTES, purge_bytes: limits::LOG_PURGE_BYTES }
    }
}

/// What a log has written since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Atomic records.
    pub batches: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Syncs of log files.
    pub syncs: u64,
}
