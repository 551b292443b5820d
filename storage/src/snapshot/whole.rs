//! The snapshot store as the place for snapshots that fit in memory whole: what
//! [`nacolet_raft::Replica`] needs. Read `store.rs` for what happens to the bytes.

use nacolet_model::limits;
use nacolet_raft::{
    LocalBoxFuture, SnapshotChunk, SnapshotError, SnapshotMeta, SnapshotStorage, StorageError,
};

use super::file::SnapshotReader;
use super::store::SnapshotStore;

/// Bytes of a block, except the last one.
const BLOCK_BYTES: usize = limits::SNAPSHOT_CHUNK_BYTES_MAX;

impl SnapshotStorage for SnapshotStore {
    fn recover(&mut self) -> Result<Option<(SnapshotMeta, Vec<u8>)>, StorageError> {
        let Some((meta, reader)) = Self::recover(self)? else { return Ok(None) };
        Ok(Some((meta, read_whole(reader)?)))
    }

    fn write(
        &mut self,
        meta: SnapshotMeta,
        state: Vec<u8>,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        let mut written = 0;
        Self::write(self, meta, move || {
            let rest = state.get(written..).filter(|rest| !rest.is_empty())?;
            let block = rest.get(..BLOCK_BYTES).unwrap_or(rest).to_vec();
            written += block.len();
            Some(block)
        })
    }

    fn read(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        max: usize,
    ) -> LocalBoxFuture<'static, Result<SnapshotChunk, SnapshotError>> {
        self.read_raw(meta, offset, max)
    }

    fn receive(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        self.write_raw(meta, offset, chunk)
    }

    fn received(&mut self, meta: &SnapshotMeta) -> Result<Vec<u8>, SnapshotError> {
        let reader = Self::received(self, meta)?;
        read_whole(reader).ok().ok_or(SnapshotError::Damaged)
    }

    fn install(
        &mut self,
        meta: &SnapshotMeta,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        Self::install(self, meta)
    }
}

fn read_whole(mut reader: SnapshotReader) -> Result<Vec<u8>, StorageError> {
    let mut state = Vec::new();
    while let Some(block) = reader.read_block()? {
        state.extend(block);
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;
    use nacolet_model::NodeId;

    use super::*;
    use crate::DataDir;
    use crate::tests::{TempDir, panicking, snapshot_at};

    fn open(dir: &TempDir) -> Result<SnapshotStore, StorageError> {
        SnapshotStore::open(&DataDir::open(dir.path(), NodeId(1))?, panicking)
    }

    /// Writes a state, sends it to another store, installs it there and reads both back.
    fn check(bytes: usize) {
        let (here, there) = (TempDir::new(), TempDir::new());
        let state: Vec<u8> = (0..=u8::MAX).cycle().take(bytes).collect();
        let meta = snapshot_at(7, 2);
        let (mut from, mut to) = (open(&here).expect("opens"), open(&there).expect("opens"));
        block_on(SnapshotStorage::write(&mut from, meta.clone(), state.clone())).expect("written");
        let (mut offset, mut last) = (0, false);
        while !last {
            let chunk = block_on(SnapshotStorage::read(&mut from, &meta, offset, 100_000));
            let chunk = chunk.expect("read");
            last = chunk.last;
            let sent = chunk.bytes.len() as u64;
            block_on(SnapshotStorage::receive(&mut to, &meta, offset, chunk)).expect("received");
            offset += sent;
        }
        assert_eq!(SnapshotStorage::received(&mut to, &meta), Ok(state.clone()));
        block_on(SnapshotStorage::install(&mut to, &meta)).expect("installed");
        drop((from, to));
        for dir in [&here, &there] {
            let found = SnapshotStorage::recover(&mut open(dir).expect("opens")).expect("whole");
            assert_eq!(found, Some((meta.clone(), state.clone())));
        }
    }

    #[test]
    fn a_state_of_any_size_is_written_sent_and_read_back() {
        for bytes in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES] {
            check(bytes);
        }
    }
}
