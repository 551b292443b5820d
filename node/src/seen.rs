//! What the log tells of the node while it runs: who leads, and how its disk is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nacolet_model::{Instant, NodeId, limits};
use nacolet_raft::{Metrics, Term};
use nacolet_storage::free_bytes;

use crate::clock;

const LOOKS_AT_DISK_EVERY: Duration = Duration::from_secs(10);

/// What was told last.
pub(crate) struct Seen {
    data_dir: PathBuf,
    leader: Option<(NodeId, Term)>,
    is_full: bool,
    is_low: bool,
    looked: Instant,
}

impl Seen {
    pub(crate) fn new(data_dir: &Path) -> Self {
        let looked = clock::now();
        let data_dir = data_dir.to_owned();
        Self { data_dir, leader: None, is_full: false, is_low: false, looked }
    }

    /// Tells what is new.
    pub(crate) fn look(&mut self, metrics: &Metrics, is_full: bool) {
        let leader = metrics.leader.map(|leader| (leader, metrics.term));
        if leader != self.leader {
            self.leader = leader;
            match leader {
                Some((leader, term)) if leader == metrics.id => {
                    tracing::info!(term = term.0, "this node leads");
                }
                Some((leader, term)) => {
                    tracing::info!(%leader, term = term.0, "this node follows a leader")
                }
                None => tracing::warn!(term = metrics.term.0, "this node has no leader"),
            }
        }
        if is_full != self.is_full {
            self.is_full = is_full;
            match self.is_full {
                true => tracing::error!(
                    "the disk is full: writes are refused, deletes are taken, reads and instances \
                     are served"
                ),
                false => tracing::warn!("the disk has room again: writes are taken"),
            }
        }
        if clock::now().saturating_since(self.looked) >= LOOKS_AT_DISK_EVERY {
            self.looked = clock::now();
            self.look_at_disk();
        }
    }

    fn look_at_disk(&mut self) {
        let free = free_bytes(&self.data_dir);
        let is_low = match self.is_low {
            false => free < limits::DISK_LOW_BYTES,
            // Not at every file that comes and goes.
            true => free < 2 * limits::DISK_LOW_BYTES,
        };
        if is_low != self.is_low {
            self.is_low = is_low;
            let (free_mib, data) = (free >> 20, self.data_dir.display());
            match is_low {
                true => tracing::warn!(free_mib, %data, "the disk is nearly full"),
                false => tracing::info!(free_mib, %data, "the disk has room again"),
            }
        }
    }
}
