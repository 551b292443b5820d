//! The disk below a data directory: what is free there, and a shorter one for tests.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::StatVfs;

/// Space that this process can still use where the directory is, or will be, bytes; without an
/// answer of the system there is no end.
#[must_use]
pub fn free_bytes(dir: &Path) -> u64 {
    let free = disk(dir, |found| found.f_bavail);
    #[cfg(any(test, feature = "failpoints"))]
    let free = free.min(quota::left(dir));
    free
}

/// Space of the whole disk.
pub(crate) fn disk_bytes(dir: &Path) -> u64 {
    let bytes = disk(dir, |found| found.f_blocks);
    #[cfg(any(test, feature = "failpoints"))]
    let bytes = bytes.min(quota::of(dir).unwrap_or(u64::MAX));
    bytes
}

fn disk(dir: &Path, blocks: fn(&StatVfs) -> u64) -> u64 {
    let parent = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let found = rustix::fs::statvfs(parent);
    found.map_or(u64::MAX, |found| blocks(&found).saturating_mul(found.f_frsize))
}

/// How many of so many bytes may be written to the data directory, before they are.
///
/// # Errors
/// None: the disk of a test is full.
#[cfg(not(any(test, feature = "failpoints")))]
#[inline(always)]
#[allow(clippy::unnecessary_wraps, reason = "as with a disk that ends")]
pub(crate) fn admit(_dir: &Path, bytes: usize) -> io::Result<usize> {
    Ok(bytes)
}

#[cfg(any(test, feature = "failpoints"))]
pub(crate) fn admit(dir: &Path, bytes: usize) -> io::Result<usize> {
    match usize::try_from(quota::left(dir)).unwrap_or(usize::MAX).min(bytes) {
        0 if bytes > 0 => Err(io::ErrorKind::StorageFull.into()),
        fits => Ok(fits),
    }
}

/// A file in the data directory, whose bytes are admitted first.
pub(crate) struct Admitted<'a> {
    pub(crate) file: fs::File,
    pub(crate) dir: &'a Path,
}

impl Write for Admitted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = admit(self.dir, bytes.len())?;
        self.file.write(&bytes[..fits])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A disk that ends earlier than the one there is: where a file `quota` in the data directory says
/// so, in bytes of all files there. No release has it.
#[cfg(any(test, feature = "failpoints"))]
pub(crate) mod quota {
    use std::fs;
    use std::path::Path;

    fn used(dir: &Path) -> u64 {
        let Ok(entries) = fs::read_dir(dir) else { return 0 };
        let bytes = |entry: fs::DirEntry| match entry.metadata() {
            Ok(found) if found.is_dir() => used(&entry.path()),
            Ok(found) => found.len(),
            // It has gone meanwhile.
            Err(_) => 0,
        };
        entries.flatten().map(bytes).sum()
    }

    pub(super) fn of(dir: &Path) -> Option<u64> {
        fs::read_to_string(dir.join("quota")).ok()?.trim().parse().ok()
    }

    pub(super) fn left(dir: &Path) -> u64 {
        of(dir).map_or(u64::MAX, |quota| quota.saturating_sub(used(dir)))
    }

    #[cfg(test)]
    pub(crate) fn leave(dir: &Path, bytes: u64) {
        let quota = |bytes: u64| crate::tests::put(dir.join("quota"), format!("{bytes:20}"));
        quota(0);
        quota(used(dir) + bytes);
    }
}
