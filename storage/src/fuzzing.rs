//! The formats of files as functions over bytes, with right checksums for whatever is asked for: a
//! fuzzer that had to guess them would never get past them. Only with the feature `fuzzing`.

use std::path::Path;
use std::sync::Arc;

use nacolet_raft::{Entry, SnapshotMeta, StorageError};

use crate::codec::{self, ENTRY_HEAD_BYTES, StoredEntry};
use crate::snapshot::{SnapshotReader, encode_head, write_block};

/// A log entry as it lies on disk, head and body.
#[must_use]
pub fn encode_entry(entry: &Entry) -> Option<(Vec<u8>, Arc<[u8]>)> {
    StoredEntry::new(entry).map(|stored| (stored.head.to_vec(), stored.body))
}

/// The entry in a record, if the record is what was written.
#[must_use]
pub fn decode_entry(head: &[u8], body: &[u8]) -> Option<Entry> {
    let head: [u8; ENTRY_HEAD_BYTES] = head.try_into().ok()?;
    StoredEntry { head, body: body.into() }.entry()
}

/// The state record of a batch, decoded and encoded again.
#[must_use]
pub fn recode_state(bytes: &[u8]) -> Option<Vec<u8>> {
    codec::encode_state(&codec::decode_state(bytes)?)
}

/// The slot that names the durable end.
#[must_use]
pub fn encode_slot(seq: u64) -> Vec<u8> {
    codec::encode_slot(seq).to_vec()
}

/// What a slot says, if it is whole.
#[must_use]
pub fn decode_slot(bytes: &[u8]) -> Option<u64> {
    codec::decode_slot(bytes)
}

/// A small record around `content`.
#[must_use]
pub fn encode_small(content: &[u8]) -> Vec<u8> {
    codec::encode_small(content)
}

/// What a small record holds, if it is whole.
#[must_use]
pub fn decode_small(bytes: &[u8]) -> Option<&[u8]> {
    codec::decode_small(bytes)
}

/// A whole snapshot file. An empty block ends it early, as it would be in a file that somebody
/// made.
#[must_use]
pub fn encode_snapshot(meta: &SnapshotMeta, blocks: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut file = encode_head(meta)?;
    let end = Vec::new();
    for (number, block) in (0..).zip(blocks.iter().chain([&end])) {
        write_block(&mut file, number, block).ok()?;
    }
    Some(file)
}

/// Reads a snapshot file to its end.
///
/// # Errors
/// It is damaged.
pub fn decode_snapshot(file: &[u8]) -> Result<(SnapshotMeta, Vec<Vec<u8>>), StorageError> {
    let (meta, mut reader) = SnapshotReader::read(file, Path::new("snapshot"))?;
    let mut blocks = Vec::new();
    while let Some(block) = reader.read_block()? {
        blocks.push(block);
    }
    Ok((meta, blocks))
}
