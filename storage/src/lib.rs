//! What a node keeps on disk: its data directory, its Raft log and its Raft snapshots. The log is
//! the port [`nacolet_raft::RaftLogStorage`] on raft-engine; the snapshot store is what a state
//! machine delegates to. Nothing here knows configs, instances, HTTP or an executor: slow work runs
//! on the thread `log` or on short threads of its own, and comes back through completions and
//! futures.
//!
//! Reading order: [`dir`] (the directory and its lock), `aside` (what becomes of damaged data),
//! `log` (raft-engine and the thread), [`snapshot`]; below them `space`, `files`, `codec` (bytes),
//! `fatal`, `failpoint`.
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
mod disk;
mod failpoint;
mod fatal;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod log;
pub mod snapshot;
mod space;

#[cfg(test)]
mod tests;

pub use dir::DataDir;
pub use disk::free_bytes;
pub use failpoint::FAILPOINTS;
pub use fatal::{Fatal, abort_process};
pub use files::SmallRecordError;
pub use log::{LogSettings, LogStats, LogStore};
pub use snapshot::{SnapshotReader, SnapshotStore};
