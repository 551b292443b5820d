//! Snapshot files on the simulated disk, handled as the real store handles them: written aside,
//! synced, renamed, directory synced, older ones removed; received ones checked whole before they
//! count. Every step takes time, and the power may go between any two.

use std::rc::Rc;

use nacolet_model::NodeId;
use nacolet_raft::{
    LocalBoxFuture, Membership, SnapshotChunk, SnapshotError, SnapshotMeta, StorageError,
};

use crate::disk::Disk;
use crate::frame::{frame, unframe};
use crate::kernel::{Kernel, Sleep};
use crate::planted::Planted;

const ASIDE: &str = "aside";
const RECEIVED: &str = "received";
const PREFIX: &str = "snapshot-";

/// The snapshots of one life of a node.
#[derive(Clone)]
pub(crate) struct Snapshots {
    disk: Disk,
    kernel: Kernel,
    node: NodeId,
}

/// A snapshot read back: what it stands for, and its blocks.
pub(crate) struct Whole {
    pub(crate) meta: SnapshotMeta,
    pub(crate) blocks: Vec<Vec<u8>>,
}

/// The blocks up to the empty one that ends a file.
fn frames(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut blocks = Vec::new();
    loop {
        let (block, rest) = unframe(bytes)?;
        if block.is_empty() {
            return rest.is_empty().then_some(blocks);
        }
        blocks.push(block.to_vec());
        bytes = rest;
    }
}

fn parse(bytes: &[u8]) -> Option<Whole> {
    let mut blocks = frames(bytes)?;
    if blocks.is_empty() {
        return None;
    }
    let meta = postcard::from_bytes(&blocks.remove(0)).ok()?;
    Some(Whole { meta, blocks })
}

fn damaged(what: &str) -> StorageError {
    StorageError { what: what.to_owned(), advice: "restore a backup".to_owned(), damaged: true }
}

impl Snapshots {
    pub(crate) fn new(disk: &Disk) -> Self {
        let state = disk.0.borrow();
        Self { disk: disk.clone(), kernel: state.kernel.clone(), node: state.node }
    }

    /// The newest snapshot. What lies aside is no snapshot and goes.
    pub(crate) fn recover(&self) -> Result<Option<Whole>, StorageError> {
        let mut state = self.disk.0.borrow_mut();
        state.directory.remove(ASIDE);
        state.directory.remove(RECEIVED);
        state.directory.sync();
        let newest = state.directory.names().next_back().map(str::to_owned);
        let Some(bytes) = newest.and_then(|name| state.directory.bytes(&name)) else {
            return Ok(None);
        };
        let checkers = state.checkers.clone();
        drop(state);
        let whole = parse(&bytes).ok_or_else(|| damaged("the newest Raft snapshot is damaged"))?;
        checkers.snapshot_recovered(self.node, &whole.meta);
        Ok(Some(whole))
    }

    fn newest(&self) -> Option<(String, Rc<Vec<u8>>)> {
        let state = self.disk.0.borrow();
        let name = state.directory.names().rfind(|name| name.starts_with(PREFIX))?;
        Some((name.to_owned(), state.directory.bytes(name)?))
    }

    /// Time for one write or sync.
    fn pause(&self) -> Sleep {
        let latency = self.disk.0.borrow_mut().latency();
        self.kernel.sleep(latency)
    }

    fn planted(&self, bug: Planted) -> bool {
        self.disk.0.borrow().planted == Some(bug)
    }

    fn append(&self, name: &str, bytes: &[u8]) -> Result<(), SnapshotError> {
        let mut state = self.disk.0.borrow_mut();
        if state.has_no_space() {
            state.directory.remove(name);
            return Err(SnapshotError::Full);
        }
        if state.directory.append(name, bytes) { Ok(()) } else { Err(SnapshotError::Gone) }
    }

    /// Writes a snapshot whose blocks come from `next`.
    pub(crate) fn write(
        &self,
        mut meta: SnapshotMeta,
        mut next: impl FnMut() -> Option<Vec<u8>> + 'static,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        let this = self.clone();
        if self.planted(Planted::SnapshotWithoutMembership) {
            meta.membership = Membership::default();
        }
        Box::pin(async move {
            this.disk.0.borrow_mut().directory.create(ASIDE);
            let head = postcard::to_allocvec(&meta).unwrap_or_default();
            this.append(ASIDE, &frame(&head))?;
            while let Some(block) = next() {
                this.pause().await;
                this.append(ASIDE, &frame(&block))?;
            }
            this.append(ASIDE, &frame(&[]))?;
            this.pause().await;
            this.disk.0.borrow_mut().directory.sync_file(ASIDE);
            this.publish(ASIDE, &meta).await;
            Ok(())
        })
    }

    /// Makes the file `name` the newest snapshot.
    async fn publish(&self, name: &str, meta: &SnapshotMeta) {
        self.pause().await;
        let target =
            format!("{PREFIX}{:020}-{:020}", meta.last.index.0, self.kernel.now().as_micros());
        self.disk.0.borrow_mut().directory.rename(name, &target);
        if !self.planted(Planted::RenameWithoutSync) {
            self.pause().await;
            self.disk.0.borrow_mut().directory.sync();
        }
        let mut state = self.disk.0.borrow_mut();
        let older = |known: &&str| known.starts_with(PREFIX) && **known < *target;
        let older: Vec<String> = state.directory.names().filter(older).map(str::to_owned).collect();
        older.iter().for_each(|name| state.directory.remove(name));
    }

    /// Bytes of the newest snapshot, as they are on the disk.
    pub(crate) fn read_raw(
        &self,
        meta: &SnapshotMeta,
        offset: u64,
        max: usize,
    ) -> LocalBoxFuture<'static, Result<SnapshotChunk, SnapshotError>> {
        let (this, meta) = (self.clone(), meta.clone());
        Box::pin(async move {
            this.pause().await;
            let Some((_, bytes)) = this.newest() else { return Err(SnapshotError::Gone) };
            let newest = parse(&bytes).ok_or(SnapshotError::Damaged)?.meta;
            if newest.last != meta.last || newest.id != meta.id {
                return Err(SnapshotError::Gone);
            }
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let end = start.saturating_add(max).min(bytes.len());
            Ok(SnapshotChunk { bytes: bytes[start..end].to_vec(), last: end == bytes.len() })
        })
    }

    /// Stores a received chunk aside.
    pub(crate) fn write_raw(
        &self,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        let (this, meta) = (self.clone(), meta.clone());
        Box::pin(async move {
            this.pause().await;
            if offset == 0 {
                this.disk.0.borrow_mut().directory.create(RECEIVED);
            }
            let held = this.disk.0.borrow().directory.bytes(RECEIVED).map_or(0, |b| b.len() as u64);
            if held != offset {
                return Err(SnapshotError::Damaged);
            }
            this.append(RECEIVED, &chunk.bytes)?;
            if chunk.last {
                this.pause().await;
                this.disk.0.borrow_mut().directory.sync_file(RECEIVED);
                let received = this.received()?;
                if received.meta.last != meta.last {
                    return Err(SnapshotError::Damaged);
                }
            }
            Ok(())
        })
    }

    /// The received snapshot, checked.
    pub(crate) fn received(&self) -> Result<Whole, SnapshotError> {
        let bytes = self.disk.0.borrow().directory.bytes(RECEIVED).ok_or(SnapshotError::Gone)?;
        parse(&bytes).ok_or(SnapshotError::Damaged)
    }

    /// Makes the received snapshot the newest one.
    pub(crate) async fn install(&self, meta: &SnapshotMeta) {
        self.publish(RECEIVED, meta).await;
    }
}
