//! Raft snapshot files: the whole state in blocks, written aside, synced, renamed, directory synced;
//! the newest one is kept and older ones go after it is durable. What a block means is the state
//! machine's business. Files travel to followers byte for byte and are checked whole on arrival.
//!
//! Each job runs on a short thread of its own, named `snapshot`, so that neither the executor nor the
//! log waits for it, and an idle node has no such thread. Files are synced at every megabyte: one
//! large sync at the end would hold up the log's for seconds on an SD card.
//!
//! ```text
//! file  = "NCLTSNAP", version u32 LE, bytes of meta u32 LE, meta (postcard), CRC-32 LE of all before
//!         block*, end
//! block = bytes u32 LE (1 to SNAPSHOT_BLOCK_BYTES_MAX), CRC-32 LE of (block number u64 LE, bytes, content), content
//! end   = a block of 0 bytes; nothing follows
//! ```
//! The number inside the checksum makes a lost, doubled or exchanged block as visible as a flipped bit.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use futures_channel::oneshot;
use nacolet_model::limits;
use nacolet_raft::{
    LocalBoxFuture, SnapshotChunk, SnapshotError, SnapshotMeta, StorageError, decode,
};

use crate::codec;
use crate::dir::{self, DataDir, damaged, unusable};
use crate::{Fatal, failpoint};

const MAGIC: &[u8; 8] = b"NCLTSNAP";
const VERSION: u32 = 1;
/// Magic, version, bytes of meta.
const HEAD_BYTES: usize = 16;
/// Sixteen members with long addresses need some 10 KiB.
const META_BYTES_MAX: usize = 64 << 10;
/// Bytes written between two syncs, and between two looks at the free space.
const SYNC_EVERY_BYTES: usize = 1 << 20;
const SUFFIX: &str = ".snapshot";

/// The Raft snapshots of one node. Clones share the files.
#[derive(Clone)]
pub struct SnapshotStore {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    fatal: Fatal,
    files: Mutex<Files>,
    /// Held while a snapshot is built: one at a time.
    building: Mutex<()>,
    /// Keeps the directory locked as long as a job runs.
    _data: DataDir,
}

#[derive(Default)]
struct Files {
    newest: Option<Newest>,
    next_number: u64,
    receiving: Option<Receiving>,
}

#[derive(Clone)]
struct Newest {
    path: PathBuf,
    meta: SnapshotMeta,
    file: Arc<File>,
    bytes: u64,
}

struct Receiving {
    meta: SnapshotMeta,
    file: File,
    bytes: u64,
    unsynced: usize,
    /// Whole, checked and synced.
    complete: bool,
}

impl SnapshotStore {
    /// Opens the snapshots of `dir`; what was half written or half received is removed. `fatal` ends
    /// the process when it is not known whether a new snapshot replaced the old one.
    ///
    /// # Errors
    /// The directory cannot be read, or the head of the newest snapshot is damaged.
    pub fn open(dir: &DataDir, fatal: Fatal) -> Result<Self, StorageError> {
        let path = dir.snapshot_dir();
        dir::create_dir(&path).map_err(|e| unusable(&path, &e))?;
        let mut numbered = Vec::new();
        for entry in fs::read_dir(&path).map_err(|e| unusable(&path, &e))? {
            let file = entry.map_err(|e| unusable(&path, &e))?.path();
            match number_of(&file) {
                Some(number) => numbered.push((number, file)),
                None if file.extension().is_some_and(|e| e == "part") => {
                    fs::remove_file(&file).map_err(|e| unusable(&file, &e))?;
                }
                None => {}
            }
        }
        numbered.sort();
        let mut files = Files::default();
        if let Some((number, file)) = numbered.pop() {
            files.newest = Some(newest(file)?);
            // A file with the last number of all would be followed by none.
            files.next_number = number.checked_add(1).ok_or_else(|| {
                damaged(&dir.snapshot_dir(), "a Raft snapshot has a number that none can have")
            })?;
        }
        for (_, old) in numbered {
            // It is older than a durable one; a failure costs space only and is tried again.
            drop(fs::remove_file(old));
        }
        let shared = Shared {
            dir: path,
            fatal,
            files: Mutex::new(files),
            building: Mutex::new(()),
            _data: dir.clone(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The newest durable snapshot, to be read to its end: every block is checked as it is read, and
    /// [`SnapshotReader::read_block`] returning `None` proves the whole.
    ///
    /// # Errors
    /// The file is damaged or unreadable.
    pub fn recover(&self) -> Result<Option<(SnapshotMeta, SnapshotReader)>, StorageError> {
        let newest = self.shared.files().newest.clone();
        newest.map(|newest| SnapshotReader::open(&newest.path)).transpose()
    }

    /// What the newest durable snapshot stands for.
    pub fn meta(&self) -> Option<SnapshotMeta> {
        self.shared.files().newest.as_ref().map(|newest| newest.meta.clone())
    }

    /// Writes a snapshot from the blocks of `source`, which is called on the thread that writes, so
    /// only one block need exist at a time. Starts at once; the future resolves when the snapshot is
    /// durable and the older one is gone.
    ///
    /// # Errors
    /// `Full` or `Io`: the old snapshot stays. `Gone`: a newer one was installed meanwhile.
    pub fn write(
        &self,
        meta: SnapshotMeta,
        source: impl FnMut() -> Option<Vec<u8>> + Send + 'static,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        self.job(move |shared| shared.build(&meta, source))
    }

    /// Bytes of the newest snapshot's file from `offset` on, for a follower.
    ///
    /// # Errors
    /// `Gone` when `meta` is not the newest any more; `Io`.
    pub fn read_raw(
        &self,
        meta: &SnapshotMeta,
        offset: u64,
        max: usize,
    ) -> LocalBoxFuture<'static, Result<SnapshotChunk, SnapshotError>> {
        let meta = meta.clone();
        self.job(move |shared| shared.read_raw(&meta, offset, max))
    }

    /// Stores bytes received from a leader. `offset` 0 starts anew. With the last chunk the whole
    /// file is checked and synced.
    ///
    /// # Errors
    /// `Full`, `Io`, or `Damaged` when the whole fails its checks or a piece is missing: the received
    /// bytes are dropped.
    pub fn write_raw(
        &self,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        let meta = meta.clone();
        self.job(move |shared| shared.receive(&meta, offset, &chunk))
    }

    /// Opens the snapshot that was received whole, so that its content can be decoded before it
    /// replaces anything.
    ///
    /// # Errors
    /// `Gone` when no such snapshot waits; `Damaged`; `Io`.
    pub fn received(&self, meta: &SnapshotMeta) -> Result<SnapshotReader, SnapshotError> {
        let files = self.shared.files();
        match &files.receiving {
            Some(receiving) if receiving.complete && receiving.meta == *meta => {
                match SnapshotReader::open(&self.shared.receiving_path()) {
                    Ok((_, reader)) => Ok(reader),
                    Err(_) => Err(SnapshotError::Damaged),
                }
            }
            _ => Err(SnapshotError::Gone),
        }
    }

    /// Makes the snapshot that was received whole the newest one, durably.
    ///
    /// # Errors
    /// `Gone` when no such snapshot waits, or a newer one is here already; `Full`; `Io`.
    pub fn install(
        &self,
        meta: &SnapshotMeta,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        let meta = meta.clone();
        self.job(move |shared| shared.install(&meta))
    }

    /// Drops what was received and not installed.
    pub fn discard(&self) {
        self.shared.drop_received(&mut self.shared.files());
    }

    /// Runs `job` on a thread of its own, at once.
    fn job<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Shared) -> Result<T, SnapshotError> + Send + 'static,
    ) -> LocalBoxFuture<'static, Result<T, SnapshotError>> {
        let (done, waiting) = oneshot::channel();
        let shared = self.shared.clone();
        let started = thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            let result = job(&shared);
            // Whoever hears of the end may open the directory anew at once.
            drop(shared);
            // The caller may have gone; the job is done all the same.
            drop(done.send(result));
        });
        Box::pin(async move {
            started.map_err(io_error)?;
            waiting
                .await
                .map_err(|oneshot::Canceled| SnapshotError::Io("the job panicked".to_owned()))?
        })
    }
}

impl Shared {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receiving_path(&self) -> PathBuf {
        self.dir.join("receiving.part")
    }

    fn build(
        &self,
        meta: &SnapshotMeta,
        source: impl FnMut() -> Option<Vec<u8>>,
    ) -> Result<(), SnapshotError> {
        let _one = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.dir.join("building.part");
        let written = write_file(&path, meta, source);
        let published = written.and_then(|()| self.publish(&mut self.files(), &path, meta));
        if published.is_err() {
            // It is no snapshot; the next open removes it if this does not.
            drop(fs::remove_file(&path));
        }
        published
    }

    /// Gives a synced file its number, and removes the older one when the new one is durable.
    fn publish(
        &self,
        files: &mut Files,
        path: &Path,
        meta: &SnapshotMeta,
    ) -> Result<(), SnapshotError> {
        if files.newest.as_ref().is_some_and(|newest| newest.meta.last.index > meta.last.index) {
            return Err(SnapshotError::Gone);
        }
        let final_path = self.dir.join(format!("{:020}{SUFFIX}", files.next_number));
        let file = File::open(path).map_err(io_error)?;
        let bytes = file.metadata().map_err(io_error)?.len();
        fs::rename(path, &final_path).map_err(io_error)?;
        failpoint::hit("snapshot.renamed");
        if let Err(e) = dir::sync_dir(&self.dir) {
            let why = format!("{}: cannot be made durable: {e}", final_path.display());
            (self.fatal)(&why);
        }
        failpoint::hit("snapshot.directory-synced");
        files.next_number += 1;
        let newest = Newest { path: final_path, meta: meta.clone(), file: Arc::new(file), bytes };
        if let Some(old) = files.newest.replace(newest) {
            // A failure costs space only; the next open tries again.
            drop(fs::remove_file(old.path));
        }
        failpoint::hit("snapshot.old-removed");
        Ok(())
    }

    fn read_raw(
        &self,
        meta: &SnapshotMeta,
        offset: u64,
        max: usize,
    ) -> Result<SnapshotChunk, SnapshotError> {
        let newest = self.files().newest.clone();
        let newest = newest.filter(|newest| newest.meta == *meta).ok_or(SnapshotError::Gone)?;
        let rest = newest.bytes.saturating_sub(offset);
        let wanted = usize::try_from(rest).unwrap_or(usize::MAX).min(max.max(1));
        let mut bytes = vec![0; wanted];
        newest.file.read_exact_at(&mut bytes, offset).map_err(io_error)?;
        Ok(SnapshotChunk { last: wanted as u64 == rest, bytes })
    }

    fn receive(
        &self,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: &SnapshotChunk,
    ) -> Result<(), SnapshotError> {
        let mut files = self.files();
        let stored = self.try_receive(&mut files, meta, offset, chunk);
        if stored.is_err() {
            self.drop_received(&mut files);
        }
        stored
    }

    fn try_receive(
        &self,
        files: &mut Files,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: &SnapshotChunk,
    ) -> Result<(), SnapshotError> {
        let end = offset.saturating_add(chunk.bytes.len() as u64);
        if offset == 0 {
            let file = dir::create_file(&self.receiving_path()).map_err(io_error)?;
            let meta = meta.clone();
            files.receiving =
                Some(Receiving { meta, file, bytes: 0, unsynced: 0, complete: false });
        }
        let receiving = files
            .receiving
            .as_mut()
            .filter(|receiving| receiving.meta == *meta && receiving.bytes >= offset)
            .ok_or(SnapshotError::Damaged)?;
        if receiving.bytes > offset || receiving.complete {
            // A chunk that comes again is no harm if all of it is here.
            return if end <= receiving.bytes { Ok(()) } else { Err(SnapshotError::Damaged) };
        }
        receiving.file.write_all_at(&chunk.bytes, offset).map_err(io_error)?;
        receiving.bytes = end;
        receiving.unsynced += chunk.bytes.len();
        failpoint::hit("snapshot.received-part");
        if receiving.unsynced >= SYNC_EVERY_BYTES || chunk.last {
            enough_room(&self.dir)?;
            dir::sync_file(&receiving.file).map_err(io_error)?;
            receiving.unsynced = 0;
        }
        if chunk.last {
            check_file(&self.receiving_path(), meta)?;
            receiving.complete = true;
        }
        Ok(())
    }

    fn install(&self, meta: &SnapshotMeta) -> Result<(), SnapshotError> {
        let mut files = self.files();
        match &files.receiving {
            Some(receiving) if receiving.complete && receiving.meta == *meta => {}
            _ => return Err(SnapshotError::Gone),
        }
        let installed = self.publish(&mut files, &self.receiving_path(), meta);
        if installed.is_ok() {
            files.receiving = None;
        } else {
            self.drop_received(&mut files);
        }
        installed
    }

    fn drop_received(&self, files: &mut Files) {
        if files.receiving.take().is_some() {
            // It is no snapshot; the next open removes it if this does not.
            drop(fs::remove_file(self.receiving_path()));
        }
    }
}

/// Reads a snapshot block by block and checks each.
pub struct SnapshotReader<R = BufReader<File>> {
    reader: R,
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
    fn open(path: &Path) -> Result<(SnapshotMeta, Self), StorageError> {
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

    /// The next block; `None` once, and only if, the end of the snapshot is reached with every block
    /// in its place.
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

/// Writes a whole snapshot file and syncs it.
fn write_file(
    path: &Path,
    meta: &SnapshotMeta,
    mut source: impl FnMut() -> Option<Vec<u8>>,
) -> Result<(), SnapshotError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    enough_room(dir)?;
    let file = dir::create_file(path).map_err(io_error)?;
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
        write_block(&mut out, number, &block).map_err(io_error)?;
        failpoint::hit("snapshot.block");
        number += 1;
        unsynced += block.len();
        if unsynced >= SYNC_EVERY_BYTES {
            out.flush().and_then(|()| dir::sync_file(out.get_ref())).map_err(io_error)?;
            enough_room(dir)?;
            unsynced = 0;
        }
    }
    write_block(&mut out, number, &[]).map_err(io_error)?;
    out.flush().map_err(io_error)?;
    failpoint::hit("snapshot.written");
    dir::sync_file(out.get_ref()).map_err(io_error)?;
    failpoint::hit("snapshot.synced");
    Ok(())
}

/// Reads a received file from end to end.
fn check_file(path: &Path, meta: &SnapshotMeta) -> Result<(), SnapshotError> {
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

fn newest(path: PathBuf) -> Result<Newest, StorageError> {
    let (meta, reader) = SnapshotReader::open(&path)?;
    let file = reader.reader.into_inner();
    let bytes = file.metadata().map_err(|e| unusable(&path, &e))?.len();
    Ok(Newest { path, meta, file: Arc::new(file), bytes })
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.parse().ok()
}

/// A snapshot must not take the space that votes and purging need.
fn enough_room(dir: &Path) -> Result<(), SnapshotError> {
    match dir::free_bytes(dir) {
        Some(free) if free < limits::DISK_FREE_BYTES_MIN => Err(SnapshotError::Full),
        Some(_) | None => Ok(()),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
fn io_error(error: io::Error) -> SnapshotError {
    if dir::is_full(&error) { SnapshotError::Full } else { SnapshotError::Io(error.to_string()) }
}
