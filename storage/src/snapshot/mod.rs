//! Raft snapshots: the file and its reader (`file`), the newest one and the one that is being
//! received (`store`), and whole states in memory (`whole`).

mod file;
mod store;
mod whole;

pub use file::SnapshotReader;
pub use store::SnapshotStore;

#[cfg(feature = "fuzzing")]
pub(crate) use file::{encode_head, write_block};
