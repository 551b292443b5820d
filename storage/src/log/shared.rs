//! What the thread `log` and its owner share, and what both are told at the start.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nacolet_model::limits;

use crate::fatal::Fatal;

/// Sizes of the log's files.
#[derive(Clone, Copy, Debug)]
pub struct LogSettings {
    /// A file that has reached this size is followed by a new one, bytes.
    pub file_bytes: u64,
    /// Files are purged when all together are larger than this, bytes. At least `file_bytes`.
    pub purge_bytes: u64,
    /// Whether a command frees space, so that it may use the reserve.
    pub frees: fn(&[u8]) -> bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        let (file_bytes, purge_bytes) = (limits::LOG_FILE_BYTES, limits::LOG_PURGE_BYTES);
        Self { file_bytes, purge_bytes, frees: |_| false }
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

/// What the log thread and its owner share: counters, and the way to end the process.
pub(crate) struct LogShared {
    pub(crate) fatal: Fatal,
    pub(super) batches: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) syncs: AtomicU64,
    slow: Mutex<SlowSyncs>,
    #[cfg(test)]
    pub(crate) faults: crate::tests::Faults,
}

/// Syncs that took long since the log told of some.
#[derive(Debug, Default)]
struct SlowSyncs {
    told: Option<Instant>,
    count: u32,
}

/// When something began of which the log tells how long it took.
#[expect(clippy::disallowed_methods, reason = "nothing is decided by it")]
pub(super) fn started() -> Instant {
    Instant::now()
}

impl LogShared {
    pub(crate) fn new(fatal: Fatal) -> Self {
        Self {
            fatal,
            batches: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            slow: Mutex::default(),
            #[cfg(test)]
            faults: crate::tests::Faults::default(),
        }
    }

    /// A sync took so long: when that is long it is told, with how often that was.
    pub(super) fn tell_slow(&self, took: Duration) {
        if took < limits::SLOW_SYNC {
            return;
        }
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.count += 1;
        if slow.told.is_none_or(|told| told.elapsed() >= limits::SLOW_SYNC_TOLD_EVERY) {
            tracing::warn!(?took, times = slow.count, "the disk is slow: a write took long");
            *slow = SlowSyncs { told: Some(started()), count: 0 };
        }
    }

    pub(crate) fn stats(&self) -> LogStats {
        LogStats {
            batches: self.batches.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
        }
    }
}
