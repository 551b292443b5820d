//! Files and directories as everything here writes and reads them: readable by their owner only,
//! made durable with the directory that names them; small records; and what is told when they
//! cannot be used.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nacolet_model::{NodeId, limits};
use nacolet_raft::StorageError;

use crate::codec;
use crate::disk::Admitted;
use crate::failpoint;

/// Why a small record was not stored; the old value is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmallRecordError {
    /// No space left.
    #[error("no space left for a small record")]
    Full,
    /// Longer than `limits::SMALL_RECORD_BYTES_MAX`.
    #[error("the small record is too long")]
    TooLong,
    /// The name has other characters than `a-z`, `0-9` and `-`.
    #[error("not a name for a small record")]
    BadName,
    /// The file system refused. Whether the old or the new value is found later is not known.
    #[error("small record: {0}")]
    Io(io::ErrorKind),
}

fn record_path(dir: &Path, name: &str) -> Option<PathBuf> {
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (!name.is_empty() && name.len() <= 64 && name.bytes().all(legal))
        .then(|| dir.join(format!("{name}.rec")))
}

pub(crate) fn store_small(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), SmallRecordError> {
    if bytes.len() > limits::SMALL_RECORD_BYTES_MAX {
        return Err(SmallRecordError::TooLong);
    }
    let path = record_path(dir, name).ok_or(SmallRecordError::BadName)?;
    let aside = path.with_extension("rec.new");
    let stored = (|| {
        let mut file = Admitted { file: create_file(&aside)?, dir };
        file.write_all(&codec::encode_small(bytes))?;
        failpoint::hit("small.written");
        sync_file(&file.file)?;
        failpoint::hit("small.synced");
        fs::rename(&aside, &path)?;
        failpoint::hit("small.renamed");
        sync_dir(dir)
    })();
    stored.map_err(|e: io::Error| {
        drop(fs::remove_file(&aside));
        if is_full(&e) { SmallRecordError::Full } else { SmallRecordError::Io(e.kind()) }
    })
}

pub(crate) fn load_small(dir: &Path, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
    let Some(path) = record_path(dir, name) else { return Ok(None) };
    match read_bounded(&path, limits::SMALL_RECORD_BYTES_MAX + codec::SMALL_HEAD_BYTES) {
        Ok(bytes) => match codec::decode_small(&bytes) {
            Some(value) => Ok(Some(value.to_vec())),
            None => Err(damaged(&path, "its checksum or its length is wrong")),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unusable(&path, &e)),
    }
}

/// Reads at most one byte more than `max`, so that a longer file is seen to be too long.
fn read_bounded(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    File::open(path)?.take(max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Creates a directory (0700) with its parents, durably.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Creates an empty file that only its owner may read.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Makes names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    sync_file(&File::open(dir)?)
}

/// Makes the content of a file durable. Unit tests end no process and cut no power, so they leave
/// the wait to those that do (`tests/crash.rs` and the rigs above it).
pub(crate) fn sync_file(file: &File) -> io::Result<()> {
    if cfg!(test) { Ok(()) } else { file.sync_all() }
}

/// Whether the error means that there is no space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A file whose content cannot be trusted.
pub(crate) fn damaged(path: &Path, how: &str) -> StorageError {
    StorageError {
        what: format!("{} is damaged: {how}", path.display()),
        advice: "a member of a cluster joins again with an empty data directory (move this one \
                 away); a single node needs its data directory restored from a backup"
            .to_owned(),
        damaged: true,
    }
}

/// A file that the system does not let us use.
pub(crate) fn unusable(path: &Path, error: &io::Error) -> StorageError {
    let advice = if is_full(error) {
        "make space on its file system"
    } else {
        "check its owner, its permissions and the health of the disk"
    };
    StorageError {
        what: format!("{} cannot be used: {error}", path.display()),
        advice: advice.to_owned(),
        damaged: false,
    }
}

/// Makes `node` the identity.
pub(crate) fn store_identity(dir: &Path, node: NodeId) -> Result<(), StorageError> {
    store_small(dir, "identity", &node.0.to_le_bytes()).map_err(|e| StorageError {
        what: format!("{} cannot be written: {e}", dir.join("identity.rec").display()),
        advice: "make space or give write access to the data directory".to_owned(),
        damaged: false,
    })
}
