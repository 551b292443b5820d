//! The room of a data directory: what is free, what the next Raft snapshot will take of it, and the
//! reserve. It decides nothing: the log, the snapshots and the node ask it, each with a floor of
//! its own.
//!
//! | Who writes | leaves free |
//! |---|---|
//! | a command that is proposed | the next Raft snapshot and 2 MiB |
//! | the log, what is agreed | the next Raft snapshot and 512 KiB |
//! | the log, what frees space | 512 KiB, and uses the reserve |
//! | a Raft snapshot | 128 KiB, and uses the reserve |
//! | votes, purging | nothing |

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nacolet_model::limits;

#[cfg(test)]
use crate::disk;
use crate::disk::{Admitted, disk_bytes, free_bytes};
use crate::files;

/// See the module.
#[derive(Debug)]
pub(crate) struct Space {
    dir: PathBuf,
    has_reserve: AtomicBool,
    /// Of the newest Raft snapshot.
    snapshot_bytes: AtomicU64,
    /// Written to the log, ever; what was there at the start is part of it.
    logged: AtomicU64,
    /// `logged` when the newest Raft snapshot was captured.
    captured: AtomicU64,
    /// Of Raft snapshots that are not the newest one yet.
    under_way: AtomicU64,
}

impl Space {
    pub(crate) fn new(dir: &Path) -> Self {
        let space = Self {
            dir: dir.to_owned(),
            has_reserve: AtomicBool::new(false),
            snapshot_bytes: AtomicU64::new(0),
            logged: AtomicU64::new(0),
            captured: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
        };
        space.keep_reserve();
        space
    }

    /// Whether so many bytes and `floor` are free.
    pub(crate) fn has(&self, bytes: u64, floor: u64) -> bool {
        free_bytes(&self.dir) >= bytes.saturating_add(floor)
    }

    /// What the next Raft snapshot will take more than is taken for it already.
    fn next_snapshot(&self) -> u64 {
        let whole = self.snapshot_bytes.load(Ordering::Relaxed).saturating_add(self.grown());
        whole.saturating_sub(self.under_way.load(Ordering::Relaxed))
    }

    /// Whether an eighth of the disk is the Raft snapshot and its log, or will be.
    pub(crate) fn is_filled_by_us(&self) -> bool {
        let own = self.snapshot_bytes.load(Ordering::Relaxed).saturating_add(self.grown());
        own >= disk_bytes(&self.dir) / 8
    }

    /// Whether a command of so many bytes leaves room for the next Raft snapshot, which it is part
    /// of then, and for what frees space.
    pub(crate) fn takes(&self, bytes: u64) -> bool {
        let next = self.next_snapshot().saturating_add(2 * bytes);
        self.has(next, limits::DISK_FREE_BYTES_MIN + self.owed())
    }

    /// Whether so many bytes of the log leave room for the next Raft snapshot, which has to be
    /// taken here or comes from the leader: a member that cannot follow keeps it, or half of it
    /// where they were `refused` for it again and again.
    pub(crate) fn spares(&self, bytes: u64, refused: u32) -> bool {
        let patient = refused < limits::DISK_REFUSALS_MAX;
        let kept = if patient { self.next_snapshot() } else { self.next_snapshot() / 2 };
        self.has(kept.saturating_add(bytes), limits::DISK_LAST_BYTES)
    }

    /// So many bytes of a Raft snapshot are written that is not the newest one yet; all of them at
    /// once are it, or are gone.
    pub(crate) fn wrote(&self, bytes: u64) {
        self.under_way.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, bytes: u64) {
        self.under_way.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether [`Self::give`] would find room for the log.
    pub(crate) fn could_give(&self, bytes: u64) -> bool {
        let reserve = limits::RESERVE_BYTES as u64 - self.owed();
        free_bytes(&self.dir).saturating_add(reserve) >= bytes + limits::DISK_LAST_BYTES
    }

    /// Makes room for so many bytes above `floor`, with the reserve if it has to be.
    pub(crate) fn give(&self, bytes: u64, floor: u64) -> bool {
        self.has(bytes, floor) || (self.release_reserve() && self.has(bytes, floor))
    }

    /// What the reserve lacks.
    fn owed(&self) -> u64 {
        if self.has_reserve.load(Ordering::Relaxed) { 0 } else { limits::RESERVE_BYTES as u64 }
    }

    fn reserve(&self) -> PathBuf {
        self.dir.join("reserve")
    }

    /// Gives the reserve away; true if there was one.
    pub(crate) fn release_reserve(&self) -> bool {
        let released = fs::remove_file(self.reserve()).is_ok();
        self.has_reserve.store(false, Ordering::Relaxed);
        if released {
            tracing::warn!("the disk is full: the reserve is used");
        }
        released
    }

    /// Puts the reserve back when there is room for it. One that cannot be written is no reason to
    /// stop: it is a help for another day.
    pub(crate) fn keep_reserve(&self) {
        const WANTED: u64 = limits::RESERVE_BYTES as u64;
        if self.owed() == 0 {
            return;
        }
        let path = self.reserve();
        let is_there = || fs::metadata(&path).is_ok_and(|found| found.len() == WANTED);
        let written = || {
            let mut file = Admitted { file: files::create_file(&path)?, dir: &self.dir };
            let block = [0xa5_u8; 4096];
            for _ in 0..limits::RESERVE_BYTES / block.len() {
                file.write_all(&block)?;
            }
            files::sync_file(&file.file)
        };
        let kept = is_there()
            || (self.has(WANTED, limits::DISK_FREE_BYTES_MIN) && {
                let written: io::Result<()> = written();
                if written.is_err() {
                    // A shorter file would still be found short and replaced later.
                    drop(fs::remove_file(&path));
                }
                written.is_ok()
            });
        self.has_reserve.store(kept, Ordering::Relaxed);
    }

    /// So much was written to the log, or found there.
    pub(crate) fn log(&self, bytes: u64) {
        self.logged.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What [`Self::snapshot`] wants to know of the moment when a snapshot was captured.
    pub(crate) fn captured(&self) -> u64 {
        self.logged.load(Ordering::Relaxed)
    }

    /// The newest Raft snapshot is so large, and was captured then.
    pub(crate) fn snapshot(&self, bytes: u64, captured: u64) {
        self.snapshot_bytes.store(bytes, Ordering::Relaxed);
        self.captured.store(captured, Ordering::Relaxed);
    }

    /// Bytes that the log has grown by since the newest Raft snapshot was captured.
    pub(crate) fn grown(&self) -> u64 {
        self.logged.load(Ordering::Relaxed) - self.captured.load(Ordering::Relaxed)
    }

    /// From now on so many bytes are free.
    #[cfg(test)]
    pub(crate) fn leave(&self, bytes: u64) {
        disk::quota::leave(&self.dir, bytes);
    }
}
