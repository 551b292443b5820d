//! Damaged data is moved out of the way, never deleted: a member of a cluster begins anew beside
//! it.
//!
//! The old node id must not speak again: it has voted and acknowledged, and what it remembered of
//! that is what was damaged. So log, snapshots and identity go together, or not at all:
//! `refill.rec` is durable before the first of them moves, and every open finishes what it finds
//! begun.

use std::fs;
use std::path::Path;

use nacolet_model::NodeId;
use nacolet_raft::StorageError;

use crate::files::{self, damaged, load_small, store_small, unusable};

/// Where damaged data is kept; one copy.
const ASIDE: &str = "damaged";
/// The record that says that moving has begun, and which node id comes next.
const BEGUN: &str = "refill";
/// What goes: everything that the old node id promised by.
const MOVED: [&str; 3] = ["log", "snapshots", "durable"];

/// Moves log and snapshots to `damaged/`, in place of what was there, and makes `fresh` the node
/// id.
pub(crate) fn set_aside(path: &Path, fresh: NodeId) -> Result<(), StorageError> {
    let aside = path.join(ASIDE);
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(|e| unusable(&aside, &e))?;
    }
    store_small(path, BEGUN, &fresh.0.to_le_bytes()).map_err(|error| StorageError {
        what: format!("damaged data cannot be moved aside in {}: {error}", path.display()),
        advice: "make space or give write access to the data directory".to_owned(),
        damaged: false,
    })?;
    finish(path)
}

/// Whether damaged data was set aside here, and has not been taken away since.
pub(crate) fn is_there(path: &Path) -> bool {
    path.join(ASIDE).exists()
}

/// Finishes what [`set_aside`] has begun, if anything.
pub(crate) fn finish(path: &Path) -> Result<(), StorageError> {
    let Some(bytes) = load_small(path, BEGUN)? else { return Ok(()) };
    let begun = path.join(format!("{BEGUN}.rec"));
    let fresh = <[u8; 8]>::try_from(bytes.as_slice())
        .ok()
        .ok_or_else(|| damaged(&begun, "it does not hold a node id"))?;
    let aside = path.join(ASIDE);
    files::create_dir(&aside).map_err(|e| unusable(&aside, &e))?;
    for name in MOVED {
        let from = path.join(name);
        if from.exists() {
            fs::rename(&from, aside.join(name)).map_err(|e| unusable(&from, &e))?;
        }
    }
    files::sync_dir(&aside).map_err(|e| unusable(&aside, &e))?;
    files::sync_dir(path).map_err(|e| unusable(path, &e))?;
    files::store_identity(path, NodeId(u64::from_le_bytes(fresh)))?;
    fs::remove_file(&begun).and_then(|()| files::sync_dir(path)).map_err(|e| unusable(&begun, &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::DataDir;
    use crate::tests::TempDir;

    #[test]
    fn identity_and_log_go_together_wherever_it_is_interrupted() {
        for steps in 0..=MOVED.len() {
            let temp = TempDir::new();
            let dir = DataDir::open(temp.path(), NodeId(7)).expect("a new directory");
            for name in MOVED {
                fs::write(temp.path().join(name), name).expect("written");
            }
            // As `set_aside` does until the power goes.
            store_small(dir.path(), BEGUN, &8_u64.to_le_bytes()).expect("stored");
            fs::create_dir(temp.path().join(ASIDE)).expect("created");
            for name in &MOVED[..steps] {
                let (from, to) = (temp.path().join(name), temp.path().join(ASIDE).join(name));
                fs::rename(from, to).expect("moved");
            }
            drop(dir);
            let dir = DataDir::open(temp.path(), NodeId(9)).expect("it is finished");
            assert_eq!(dir.node_id(), NodeId(8));
            for name in MOVED {
                assert!(!temp.path().join(name).exists(), "{name} after {steps}");
                assert!(temp.path().join(ASIDE).join(name).exists(), "{name} after {steps}");
            }
            drop(dir);
            let dir = DataDir::open(temp.path(), NodeId(9)).expect("it opens");
            assert_eq!(dir.node_id(), NodeId(8), "once");
        }
    }

    #[test]
    fn one_copy_is_kept() {
        let temp = TempDir::new();
        for fresh in [2, 3] {
            let dir = DataDir::open(temp.path(), NodeId(1)).expect("it opens");
            fs::write(temp.path().join("durable"), fresh.to_string()).expect("written");
            dir.set_aside(NodeId(fresh)).expect("moved");
            drop(dir);
            assert_eq!(
                DataDir::open(temp.path(), NodeId(1)).expect("opens").node_id(),
                NodeId(fresh)
            );
        }
        let kept = fs::read_to_string(temp.path().join(ASIDE).join("durable")).expect("kept");
        assert_eq!(kept, "3");
    }
}
