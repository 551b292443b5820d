//! The Raft snapshots of a node: written aside, synced, renamed, directory synced;
//! the newest one is kept and older ones go after it is durable. What a block means is the state
//! machine's business. Files travel to followers byte for byte and are checked whole on arrival.
//!
//! Each job runs on a short thread of its own, named `snapshot`, so that neither the executor nor
//! the log waits for it, and an idle node has no such thread. Files are synced at every megabyte:
//! one large sync at the end would hold up the log's for seconds on an SD card.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use futures_channel::oneshot;
use nacolet_raft::{LocalBoxFuture, SnapshotChunk, SnapshotError, SnapshotMeta, StorageError};

use super::file::{
    SYNC_EVERY_BYTES, SnapshotReader, check_file, enough_room, io_error, write_file,
};
use crate::dir::DataDir;
use crate::failpoint;
use crate::fatal::Fatal;
use crate::files::{self, damaged, unusable};

const SUFFIX: &str = ".snapshot";

/// The Raft snapshots of one node. Clones share the files.
#[derive(Clone)]
pub struct SnapshotStore {
    shared: Arc<SnapshotDir>,
}

struct SnapshotDir {
    dir: PathBuf,
    fatal: Fatal,
    files: Mutex<Files>,
    /// Held while a snapshot is built: one at a time.
    building: Mutex<()>,
    /// Keeps the directory locked as long as a job runs.
    data: DataDir,
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
    /// Opens the snapshots of `dir`; what was half written or half received is removed. `fatal`
    /// ends the process when it is not known whether a new snapshot replaced the old one.
    ///
    /// # Errors
    /// The directory cannot be read, or the head of the newest snapshot is damaged.
    pub fn open(dir: &DataDir, fatal: Fatal) -> Result<Self, StorageError> {
        let path = dir.snapshot_dir();
        files::create_dir(&path).map_err(|e| unusable(&path, &e))?;
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
        let shared = SnapshotDir {
            dir: path,
            fatal,
            files: Mutex::new(files),
            building: Mutex::new(()),
            data: dir.clone(),
        };
        if let Some(newest) = &shared.files().newest {
            // When it was captured is not known: at the latest when the log began anew.
            dir.space().snapshot(newest.bytes, 0);
        }
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The newest durable snapshot, to be read to its end: every block is checked as it is read,
    /// and [`SnapshotReader::read_block`] returning `None` proves the whole.
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
    /// only one block need exist at a time. Starts at once; the future resolves when the snapshot
    /// is durable and the older one is gone.
    ///
    /// # Errors
    /// `Full` or `Io`: the old snapshot stays. `Gone`: a newer one was installed meanwhile.
    pub fn write(
        &self,
        meta: SnapshotMeta,
        source: impl FnMut() -> Option<Vec<u8>> + Send + 'static,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        let captured = self.shared.data.space().captured();
        self.job(move |shared| shared.build(&meta, source, captured))
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
    /// `Full`, `Io`, or `Damaged` when the whole fails its checks or a piece is missing: the
    /// received bytes are dropped.
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
        job: impl FnOnce(&SnapshotDir) -> Result<T, SnapshotError> + Send + 'static,
    ) -> LocalBoxFuture<'static, Result<T, SnapshotError>> {
        let (done, waiting) = oneshot::channel();
        let shared = self.shared.clone();
        let started = thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            let result = job(&shared);
            // Whoever hears of the end may open the directory anew at once.
            drop(shared);
            // The caller may have gone; the job is done all the same.
            let _ = done.send(result);
        });
        Box::pin(async move {
            started.map_err(io_error)?;
            waiting
                .await
                .map_err(|oneshot::Canceled| SnapshotError::Io("the job panicked".to_owned()))?
        })
    }
}

impl SnapshotDir {
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
        captured: u64,
    ) -> Result<(), SnapshotError> {
        let _one = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.dir.join("building.part");
        let mut bytes = 0;
        let written = write_file(&self.data, &path, meta, source, &mut bytes);
        let publish = |()| self.publish(&mut self.files(), &path, meta, captured);
        let published = written.and_then(publish);
        self.data.space().ended(bytes);
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
        captured: u64,
    ) -> Result<(), SnapshotError> {
        if files.newest.as_ref().is_some_and(|newest| newest.meta.last.index > meta.last.index) {
            return Err(SnapshotError::Gone);
        }
        let final_path = self.dir.join(format!("{:020}{SUFFIX}", files.next_number));
        let file = File::open(path).map_err(io_error)?;
        let bytes = file.metadata().map_err(io_error)?.len();
        fs::rename(path, &final_path).map_err(io_error)?;
        failpoint::hit("snapshot.renamed");
        if let Err(e) = files::sync_dir(&self.dir) {
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
        self.data.space().snapshot(bytes, captured);
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
            self.drop_received(files);
            let file = files::create_file(&self.receiving_path()).map_err(io_error)?;
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
        enough_room(&self.data, chunk.bytes.len())?;
        receiving.file.write_all_at(&chunk.bytes, offset).map_err(io_error)?;
        receiving.bytes = end;
        self.data.space().wrote(chunk.bytes.len() as u64);
        receiving.unsynced += chunk.bytes.len();
        failpoint::hit("snapshot.received-part");
        if receiving.unsynced >= SYNC_EVERY_BYTES || chunk.last {
            files::sync_file(&receiving.file).map_err(io_error)?;
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
        let captured = self.data.space().captured();
        let installed = self.publish(&mut files, &self.receiving_path(), meta, captured);
        // It is in its place now, or it goes.
        self.drop_received(&mut files);
        installed
    }

    fn drop_received(&self, files: &mut Files) {
        if let Some(receiving) = files.receiving.take() {
            self.data.space().ended(receiving.bytes);
            // It is no snapshot; the next open removes it if this does not.
            drop(fs::remove_file(self.receiving_path()));
        }
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
