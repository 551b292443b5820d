//! The files of raft-engine: readable by their owner only and not preallocated (so no tail of
//! zeros), directory entries are synced, offsets are 64 bit everywhere, a failed sync ends the
//! process at once, and "no space" comes back as a plain error after the engine has truncated the
//! partial write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use raft_engine::env::{FileSystem, Handle, Permission, WriteExt};

use super::shared::{LogShared, started};
use crate::dir::DataDir;
use crate::disk;
use crate::failpoint;
use crate::files;

/// The engine's files.
pub(crate) struct LogFileSystem {
    pub(super) shared: Arc<LogShared>,
    pub(super) dir: DataDir,
}

/// One of the engine's files.
pub(crate) struct LogFile {
    file: File,
    shared: Arc<LogShared>,
    dir: DataDir,
}

/// A position in one of the engine's files.
pub(crate) struct LogFileCursor {
    file: Arc<LogFile>,
    offset: u64,
}

impl LogFileSystem {
    fn file(&self, file: File) -> LogFile {
        LogFile { file, shared: self.shared.clone(), dir: self.dir.clone() }
    }
}

impl FileSystem for LogFileSystem {
    type Handle = LogFile;
    type Reader = LogFileCursor;
    type Writer = LogFileCursor;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<LogFile> {
        let file = files::create_file(path.as_ref())?;
        if let Some(parent) = path.as_ref().parent() {
            files::sync_dir(parent)?;
        }
        failpoint::hit("log.file-created");
        Ok(self.file(file))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<LogFile> {
        let write = permission == Permission::ReadWrite;
        let file = OpenOptions::new().read(true).write(write).open(path)?;
        Ok(self.file(file))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn new_reader(&self, file: Arc<LogFile>) -> io::Result<LogFileCursor> {
        Ok(LogFileCursor { file, offset: 0 })
    }

    fn new_writer(&self, file: Arc<LogFile>) -> io::Result<LogFileCursor> {
        Ok(LogFileCursor { file, offset: 0 })
    }
}

impl Handle for LogFile {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        self.file.set_len(offset as u64)
    }

    fn file_size(&self) -> io::Result<usize> {
        usize::try_from(self.file.metadata()?.len()).map_err(io::Error::other)
    }

    /// After a failed sync the kernel may call the next one good (and the pages clean), so nothing
    /// may happen after it.
    fn sync(&self) -> io::Result<()> {
        failpoint::hit("log.before-sync");
        let began = started();
        #[cfg(not(test))]
        let synced = self.file.sync_data();
        #[cfg(test)]
        let synced = self.shared.faults.sync();
        self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        if let Err(e) = synced {
            (self.shared.fatal)(&format!("the Raft log cannot be made durable: {e}"));
        }
        failpoint::hit("log.synced");
        self.shared.tell_slow(began.elapsed());
        Ok(())
    }
}

impl Read for LogFileCursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl Write for LogFileCursor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        let bytes = self.file.shared.faults.admit(bytes)?;
        let bytes = &bytes[..disk::admit(self.file.dir.path(), bytes.len())?];
        let written = self.file.file.write_at(bytes, self.offset)?;
        self.offset += written as u64;
        failpoint::hit("log.written");
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for LogFileCursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.offset.checked_add_signed(by),
            SeekFrom::End(by) => (self.file.file_size()? as u64).checked_add_signed(by),
        };
        self.offset = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.offset)
    }
}

impl WriteExt for LogFileCursor {
    fn truncate(&mut self, offset: usize) -> io::Result<()> {
        Handle::truncate(self.file.as_ref(), offset)?;
        self.offset = offset as u64;
        Ok(())
    }

    /// Preallocation is left out: it would end every file in zeros that a start must tell from a
    /// torn write, and gains nothing at one sync per batch.
    fn allocate(&mut self, _offset: usize, _bytes: usize) -> io::Result<()> {
        Ok(())
    }
}
