//! The Raft log on disk: the port [`nacolet_raft::RaftLogStorage`] on raft-engine, which no other
//! folder names.
//!
//! Reading order: `region` (what is asked of the engine), `entry` and `file_system` (what it is
//! given), `recover` (what a restart finds), `writer` (the thread `log`).

mod entry;
mod file_system;
pub(crate) mod recover;
mod region;
mod shared;
mod writer;

pub use shared::{LogSettings, LogStats};
pub use writer::LogStore;

#[cfg(test)]
pub(crate) use shared::LogShared;
