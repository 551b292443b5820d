//! A Raft snapshot as a file: a head, blocks with checksums, an end. What a block means is the
//! state machine's business.
//!
//! ```text
//! file  = "NCLTSNAP", version u32 LE, bytes of meta u32 LE, meta (postcard),
//!         CRC-32 LE of all before, block*, end
//! block = bytes u32 LE (1 to SNAPSHOT_BLOCK_BYTES_MAX),
//!         CRC-32 LE of (block number u64 LE, bytes, content), content
//! end   = a block of 0 bytes; nothing follows
//! ```
//! The number inside the checksum makes a lost, doubled or exchanged block as visible as a flipped
//! bit.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use nacolet_model::limits;
use nacolet_raft::{SnapshotError, SnapshotMeta, StorageError, decode};

use crate::codec;
use crate::dir::DataDir;
use crate::disk::Admitted;
use crate::failpoint;
use crate::files::{self, damaged, unusable};

const MAGIC: &[u8; 8] = b"NCLTSNAP";
const VERSION: u32 = 1;
/// Magic, version, bytes of meta.
const HEAD_BYTES: usize = 16;
/// Sixteen members with long addresses need some 10 KiB.
const META_BYTES_MAX: usize = 64 << 10;
/// Bytes written between two syncs.
pub(super) const SYNC_EVERY_BYTES: usize = 1 << 20;

/// Reads a snapshot block by block and checks each.
pub struct SnapshotReader<R = BufReader<File>> {
    pub(super) reader: R,
    path: PathBuf,
    block: u64,
    ended: bool,
}

impl<R> fmt::Debug for SnapshotReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotReader({}, block {})", self.path.display(), self.block)
    }
}

impl SnapshotReader {
    pub(super) fn open(path: &Path) -> Result<(SnapshotMeta, Self), StorageError> {
        let file = File::open(path).map_err(|e| unusable(path, &e))?;
        Self::read(BufReader::with_capacity(64 << 10, file), path)
    }
}

impl<R: Read> SnapshotReader<R> {
    /// Reads the head. `path` is for the words of errors.
    pub(crate) fn read(mut reader: R, path: &Path) -> Result<(SnapshotMeta, Self), StorageError> {
        match read_head(&mut reader) {
            Ok(Some(meta)) => {
                Ok((meta, Self { reader, path: path.to_owned(), block: 0, ended: false }))
            }
            Ok(None) => Err(damaged(path, "its head fails its check")),
            Err(e) => Err(cannot_read(path, &e)),
        }
    }

    /// The next block; `None` once, and only if, the end of the snapshot is reached with every
    /// block in its place.
    ///
    /// # Errors
    /// The file is damaged or unreadable.
    pub fn read_block(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        if self.ended {
            return Ok(None);
        }
        match read_block(&mut self.reader, self.block) {
            Ok(Some(block)) if block.is_empty() => {
                self.ended = true;
                let mut beyond = [0];
                match self.reader.read(&mut beyond) {
                    Ok(0) => Ok(None),
                    Ok(_) => Err(damaged(&self.path, "bytes follow its end")),
                    Err(e) => Err(cannot_read(&self.path, &e)),
                }
            }
            Ok(Some(block)) => {
                self.block += 1;
                Ok(Some(block))
            }
            Ok(None) => Err(damaged(&self.path, &format!("block {} fails its check", self.block))),
            Err(e) => Err(cannot_read(&self.path, &e)),
        }
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> StorageError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        damaged(path, "it ends too early")
    } else {
        unusable(path, error)
    }
}

fn read_head(reader: &mut impl Read) -> io::Result<Option<SnapshotMeta>> {
    let mut head = vec![0; HEAD_BYTES];
    reader.read_exact(&mut head)?;
    let known = head.starts_with(MAGIC) && codec::u32_at(&head, 8) == Some(VERSION);
    let meta_bytes = codec::u32_at(&head, 12).map_or(usize::MAX, |bytes| bytes as usize);
    if !known || meta_bytes > META_BYTES_MAX {
        return Ok(None);
    }
    head.resize(HEAD_BYTES + meta_bytes + 4, 0);
    reader.read_exact(&mut head[HEAD_BYTES..])?;
    let (content, crc) = head.split_at(HEAD_BYTES + meta_bytes);
    if codec::u32_at(crc, 0) != Some(crc32fast::hash(content)) {
        return Ok(None);
    }
    Ok(decode(&content[HEAD_BYTES..]))
}

/// The block at the reader's position, empty at the end; `None` if it fails its check.
fn read_block(reader: &mut impl Read, number: u64) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; 8];
    reader.read_exact(&mut head)?;
    let (bytes, crc) = (codec::u32_at(&head, 0), codec::u32_at(&head, 4));
    let bytes = bytes.map_or(usize::MAX, |bytes| bytes as usize);
    if bytes > limits::SNAPSHOT_BLOCK_BYTES_MAX {
        return Ok(None);
    }
    // A damaged length must not cost its own size in memory before the file turns out to be short.
    let mut block = Vec::new();
    if reader.by_ref().take(bytes as u64).read_to_end(&mut block)? < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((crc == Some(block_crc(number, &block))).then_some(block))
}

fn block_crc(number: u64, block: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&number.to_le_bytes());
    crc.update(&u32::try_from(block.len()).unwrap_or(u32::MAX).to_le_bytes());
    crc.update(block);
    crc.finalize()
}

pub(crate) fn encode_head(meta: &SnapshotMeta) -> Option<Vec<u8>> {
    let meta = postcard::to_allocvec(meta).ok().filter(|meta| meta.len() <= META_BYTES_MAX)?;
    let mut head = Vec::with_capacity(HEAD_BYTES + meta.len() + 4);
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&u32::try_from(meta.len()).ok()?.to_le_bytes());
    head.extend_from_slice(&meta);
    let crc = crc32fast::hash(&head);
    head.extend_from_slice(&crc.to_le_bytes());
    Some(head)
}

pub(crate) fn write_block(out: &mut impl Write, number: u64, block: &[u8]) -> io::Result<()> {
    let bytes = u32::try_from(block.len()).map_err(io::Error::other)?;
    out.write_all(&bytes.to_le_bytes())?;
    out.write_all(&block_crc(number, block).to_le_bytes())?;
    out.write_all(block)
}

/// Writes a whole snapshot file and syncs it; counts what was written of it in any case.
pub(super) fn write_file(
    dir: &DataDir,
    path: &Path,
    meta: &SnapshotMeta,
    mut source: impl FnMut() -> Option<Vec<u8>>,
    written: &mut u64,
) -> Result<(), SnapshotError> {
    enough_room(dir, 0)?;
    let file = files::create_file(path).map_err(io_error)?;
    let file = Admitted { file, dir: dir.path() };
    let mut out = BufWriter::with_capacity(64 << 10, file);
    let head = encode_head(meta)
        .ok_or_else(|| SnapshotError::Io("the membership is too large".to_owned()))?;
    out.write_all(&head).map_err(io_error)?;
    let (mut number, mut unsynced) = (0, 0);
    while let Some(block) = source() {
        if block.len() > limits::SNAPSHOT_BLOCK_BYTES_MAX {
            return Err(SnapshotError::Io(format!("a block of {} bytes", block.len())));
        }
        if block.is_empty() {
            continue;
        }
        enough_room(dir, block.len())?;
        write_block(&mut out, number, &block).map_err(io_error)?;
        failpoint::hit("snapshot.block");
        number += 1;
        unsynced += block.len();
        *written += block.len() as u64;
        dir.space().wrote(block.len() as u64);
        if unsynced >= SYNC_EVERY_BYTES {
            out.flush().and_then(|()| files::sync_file(&out.get_ref().file)).map_err(io_error)?;
            unsynced = 0;
        }
    }
    write_block(&mut out, number, &[]).map_err(io_error)?;
    out.flush().map_err(io_error)?;
    failpoint::hit("snapshot.written");
    files::sync_file(&out.get_ref().file).map_err(io_error)?;
    failpoint::hit("snapshot.synced");
    Ok(())
}

/// Reads a received file from end to end.
pub(super) fn check_file(path: &Path, meta: &SnapshotMeta) -> Result<(), SnapshotError> {
    let check = || -> Result<bool, StorageError> {
        let (found, mut reader) = SnapshotReader::open(path)?;
        while reader.read_block()?.is_some() {}
        Ok(found == *meta)
    };
    match check() {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(SnapshotError::Damaged),
    }
}

/// A snapshot may take the reserve, and must not take the space that votes and purging need.
pub(super) fn enough_room(dir: &DataDir, bytes: usize) -> Result<(), SnapshotError> {
    let has_room = dir.space().give(bytes as u64, limits::DISK_SNAPSHOT_LEAVES_BYTES);
    if has_room { Ok(()) } else { Err(SnapshotError::Full) }
}

#[allow(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
pub(super) fn io_error(error: io::Error) -> SnapshotError {
    if files::is_full(&error) { SnapshotError::Full } else { SnapshotError::Io(error.to_string()) }
}
