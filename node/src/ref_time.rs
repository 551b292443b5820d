//! Keeps the ceiling of the registry's reference times on disk, so that `lastRefTime` grows across
//! restarts even when the wall clock is set back meanwhile. One small write in an hour of changes,
//! none in an hour of rest.

use std::time::Duration;

use async_channel::{Receiver, Sender};
use nacolet_raft::StorageError;
use nacolet_storage::DataDir;

const NAME: &str = "ref-time";
/// A full disk is tried again this often. Meanwhile the registry counts on in small steps.
const RETRY_EVERY: Duration = Duration::from_secs(10);

/// The durable ceiling.
pub(crate) struct RefTime {
    dir: DataDir,
    done: Sender<u64>,
    stored: Receiver<u64>,
    /// Closed after the first try: the node does not serve before. Two lives that issued numbers
    /// without a ceiling between them could issue the same ones.
    first: Sender<()>,
    tried: Receiver<()>,
}

impl RefTime {
    /// The record in `dir`, and the ceiling it holds: what earlier lives never went beyond.
    ///
    /// # Errors
    /// The record is damaged or unreadable.
    pub(crate) fn open(dir: &DataDir) -> Result<(Self, u64), StorageError> {
        let ceiling = dir.load_small(NAME)?.and_then(|bytes| bytes.try_into().ok());
        let (done, stored) = async_channel::unbounded();
        let (first, tried) = async_channel::bounded(1);
        let this = Self { dir: dir.clone(), done, stored, first, tried };
        Ok((this, ceiling.map_or(0, u64::from_le_bytes)))
    }

    /// Ready once the first ceiling is durable, or the disk is full.
    pub(crate) fn tried(&self) -> Receiver<()> {
        self.tried.clone()
    }

    /// Starts to make `until` durable, on a thread of its own: it takes an fsync. The registry asks
    /// for one at a time.
    pub(crate) fn store(&self, until: u64) {
        let (dir, done, first) = (self.dir.clone(), self.done.clone(), self.first.clone());
        let job = move || {
            while let Err(error) = dir.store_small(NAME, &until.to_le_bytes()) {
                tracing::warn!(%error, "the ceiling of reference times is not stored yet");
                first.close();
                std::thread::sleep(RETRY_EVERY);
            }
            first.close();
            // Without a core task nobody asks any more.
            let _ = done.try_send(until);
        };
        if let Err(error) = std::thread::Builder::new().name("ref-time".to_owned()).spawn(job) {
            tracing::warn!(%error, "the ceiling of reference times is not stored");
        }
    }

    /// The next ceiling that became durable.
    pub(crate) async fn stored(&self) -> u64 {
        match self.stored.recv().await {
            Ok(until) => until,
            Err(_) => smol::future::pending().await,
        }
    }
}
