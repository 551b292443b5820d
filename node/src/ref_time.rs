//! Keeps the ceiling of the registry's reference times on disk, so that `lastRefTime` grows across
//! restarts even when the wall clock is set back meanwhile. Less than two small writes a second
//! while lists change, none while they do not, and one at a clean stop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use nacolet_raft::StorageError;
use nacolet_storage::{DataDir, SmallRecordError};

const NAME: &str = "ref-time";
/// A full disk is tried again this often. Meanwhile the registry counts on in small steps.
const RETRY_EVERY: Duration = Duration::from_secs(10);

/// Where the ceiling is stored, by one thread at a time.
#[derive(Clone)]
pub(crate) struct RefTimeRecord {
    dir: DataDir,
    /// Whether the last one of this life is stored.
    ended: Arc<Mutex<bool>>,
}

impl RefTimeRecord {
    /// Stores a ceiling, unless this life has ended.
    fn store(&self, until: u64) -> Result<(), SmallRecordError> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if *ended { Ok(()) } else { self.dir.store_small(NAME, &until.to_le_bytes()) }
    }

    /// Stores where this life ended: nothing is shown any more. Where that fails, the last ceiling
    /// is good enough.
    pub(crate) fn end(&self, floor: u64) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        *ended = true;
        if let Err(error) = self.dir.store_small(NAME, &floor.to_le_bytes()) {
            tracing::warn!(%error, "where the times of lists ended is not stored");
        }
    }
}

/// The durable ceiling.
pub(crate) struct RefTime {
    record: RefTimeRecord,
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
        let record = RefTimeRecord { dir: dir.clone(), ended: Arc::default() };
        let this = Self { record, done, stored, first, tried };
        Ok((this, ceiling.map_or(0, u64::from_le_bytes)))
    }

    /// Ready once the first ceiling is durable, or the disk is full.
    pub(crate) fn tried(&self) -> Receiver<()> {
        self.tried.clone()
    }

    /// Starts to make `until` durable, on a thread of its own: it takes an fsync. The registry asks
    /// for one at a time.
    pub(crate) fn store(&self, until: u64) {
        let (record, done, first) = (self.record(), self.done.clone(), self.first.clone());
        let job = move || {
            while let Err(error) = record.store(until) {
                tracing::warn!(%error, "the disk takes nothing: how far the times of lists may go is not stored yet");
                first.close();
                std::thread::sleep(RETRY_EVERY);
            }
            first.close();
            // Without a core task nobody asks any more.
            let _ = done.try_send(until);
        };
        if let Err(error) = std::thread::Builder::new().name("ref-time".to_owned()).spawn(job) {
            tracing::warn!(%error, "how far the times of lists may go is not stored");
        }
    }

    /// For the end of this life.
    pub(crate) fn record(&self) -> RefTimeRecord {
        self.record.clone()
    }

    /// The next ceiling that became durable.
    pub(crate) async fn stored(&self) -> u64 {
        match self.stored.recv().await {
            Ok(until) => until,
            Err(_) => smol::future::pending().await,
        }
    }
}
