//! What a restart finds: every byte of the log is checked before the engine opens it, and a torn
//! tail is told from durable damage.
//!
//! raft-engine can either refuse every torn tail (so each power cut needs an operator) or cut
//! whatever looks bad at the end of the newest file (so one flipped bit silently removes
//! acknowledged entries). Neither will do, so this file reads the frames itself:
//!
//! - Every batch carries a state record with a consecutive number `seq` and with `durable_seq`, the
//!   highest batch that was durable when this one was written.
//! - The side file `durable` holds the highest durable `seq`. It is overwritten in place after each
//!   fsync of the log and *before* anybody is told; it is not synced itself (at about each megabyte
//!   and at a clean end it is), so it may lag behind after a power cut and never runs ahead.
//!
//! Bad bytes in the newest file are cut if nothing says that they were durable, and stop the start
//! if the side file, or any later batch in that file, says so. Everywhere else they stop the start:
//! older files were synced before the next one was begun.
//!
//! | What happened | Found as |
//! |---|---|
//! | torn last write, never acknowledged (power cut, kill, full disk) | cut, start |
//! | bit flip, truncation, lost file; process crash, clean stop or plain copy | refused, always |
//! | the same in anything but the last synced batches, power cut | refused, always |
//! | the same in the very last batches, power cut within the write-back time of the side file (30 s on Linux) | the damaged batches are cut as if torn: the one case that cannot be told without a second fsync per batch |
//!
//! An operator who accepts the loss deletes `durable`; the scan then believes the log alone.
//!
//! Layout of raft-engine 0.4.2 (format version 2, no alignment, no compression; the version is
//! pinned in `Cargo.toml`, and a test compares with files that the engine writes):
//!
//! ```text
//! file   = magic, version u64 BE, alignment u64 BE, batch*
//! batch  = length << 8 u64 BE, offset of items u64 BE, [entries, CRC-32 LE], items,
//!          CRC-32 ^ file number LE
//! items  = count, (region, type u8, item)*            numbers are LEB128 unless noted
//! item   = 1: count, [first index], end offset*  |  2: 1 or (2, index)
//!          |  3: (1 | 2), key, [value]
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nacolet_raft::StorageError;

use crate::codec::{self, SLOT_BYTES, STATE_KEY, StateRecord};
use crate::files::{self, damaged, unusable};

const MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
const FORMAT_VERSION: u64 = 2;
const FILE_HEAD_BYTES: usize = MAGIC.len() + 16;
const BATCH_HEAD_BYTES: usize = 16;
const CRC_BYTES: usize = 4;
/// The two slots lie in different sectors, so that a torn write takes one at most.
const SLOT_STRIDE: u64 = 512;
/// Records after which the side file is synced as well: small batches fill about a log file with
/// it.
const SYNC_EVERY: u64 = 1_024;

/// What the log's files hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The state record of the newest batch.
    pub(crate) last: StateRecord,
    /// Files before a hole in the numbering: what an interrupted purge left.
    pub(crate) leftovers: Vec<PathBuf>,
    /// Bytes that were cut from a torn tail.
    pub(crate) cut_bytes: u64,
    /// Bytes that are left.
    pub(crate) bytes: u64,
}

/// Reads and checks every file in `dir`, cuts a torn tail, and syncs what stays. `vouched` is the
/// highest batch that the side file calls durable.
///
/// # Errors
/// A byte that was durable is damaged or missing, or the directory cannot be read or written.
pub(crate) fn scan(dir: &Path, vouched: u64) -> Result<Scan, StorageError> {
    let mut scan = Scan::default();
    for queue in [FileQueue::Rewrite, FileQueue::Append] {
        let files = list(dir, queue, &mut scan.leftovers)?;
        for (nth, file) in files.iter().enumerate() {
            scan_file(file, queue, nth + 1 == files.len(), vouched, &mut scan)?;
        }
    }
    if scan.last.seq < vouched {
        let how = format!(
            "batch {vouched} was durable, and the newest one found is {}; to accept the loss of \
             what is missing, delete the file `durable` beside it",
            scan.last.seq
        );
        return Err(damaged(dir, &how));
    }
    files::sync_dir(dir).map_err(|e| unusable(dir, &e))?;
    Ok(scan)
}

/// The engine's two kinds of files: what is written, and what purging has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileQueue {
    Append,
    Rewrite,
}

impl FileQueue {
    fn suffix(self) -> &'static str {
        match self {
            Self::Append => ".raftlog",
            Self::Rewrite => ".rewrite",
        }
    }
}

#[derive(Debug)]
struct LogFileName {
    path: PathBuf,
    number: u64,
}

/// The newest files without a hole in their numbers; the engine ignores those before a hole.
fn list(
    dir: &Path,
    queue: FileQueue,
    leftovers: &mut Vec<PathBuf>,
) -> Result<Vec<LogFileName>, StorageError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| unusable(dir, &e))? {
        let path = entry.map_err(|e| unusable(dir, &e))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_suffix(queue.suffix()));
        if let Some(number) = number.and_then(|digits| digits.parse().ok()) {
            files.push(LogFileName { path, number });
        }
    }
    files.sort_by_key(|file| file.number);
    let kept_from = (1..files.len())
        .rev()
        .find(|&i| files[i - 1].number.checked_add(1) != Some(files[i].number))
        .unwrap_or_default();
    leftovers.extend(files.drain(..kept_from).map(|file| file.path));
    Ok(files)
}

fn scan_file(
    name: &LogFileName,
    queue: FileQueue,
    newest: bool,
    vouched: u64,
    scan: &mut Scan,
) -> Result<(), StorageError> {
    let path = &name.path;
    let bytes = fs::read(path).map_err(|e| unusable(path, &e))?;
    let good = walk(&bytes, name.number, |batch| match queue {
        FileQueue::Rewrite => ControlFlow::Continue(()),
        FileQueue::Append => match batch.state {
            Some(state)
                if scan.last.seq == 0 || scan.last.seq.checked_add(1) == Some(state.seq) =>
            {
                scan.last = state;
                ControlFlow::Continue(())
            }
            Some(_) | None => ControlFlow::Break(()),
        },
    });
    if good < bytes.len() || bytes.len() < FILE_HEAD_BYTES {
        let was_durable = match queue {
            // What was moved is still in its old place until the new place is synced; should it be
            // missing, the entries are not complete, and that is found when they are read.
            FileQueue::Rewrite => !newest,
            FileQueue::Append => {
                !newest
                    || vouched > scan.last.seq
                    || vouched_within(&bytes[good..], name.number) > scan.last.seq
            }
        };
        if was_durable {
            let how = format!(
                "the bytes from {good} on fail their check although they were durable; to accept the \
                 loss of what follows batch {}, delete the file `durable` if this is the newest file",
                scan.last.seq
            );
            return Err(damaged(path, &how));
        }
        cut(path, good).map_err(|e| unusable(path, &e))?;
        scan.cut_bytes += (bytes.len() - good) as u64;
    }
    scan.bytes += good as u64;
    if newest && good > 0 {
        // What was found counts as durable from now on, so it has to be.
        File::open(path)
            .and_then(|file| files::sync_file(&file))
            .map_err(|e| unusable(path, &e))?;
    }
    Ok(())
}

/// A file without a valid head goes as a whole: the engine would not accept it.
fn cut(path: &Path, good: usize) -> io::Result<()> {
    if good == 0 {
        return fs::remove_file(path);
    }
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(good as u64)?;
    files::sync_file(&file)
}

struct LoggedBatch {
    bytes: usize,
    state: Option<StateRecord>,
}

/// Walks over batches until one is bad or `accept` breaks off; returns where the good bytes end.
fn walk(
    bytes: &[u8],
    file_number: u64,
    mut accept: impl FnMut(LoggedBatch) -> ControlFlow<()>,
) -> usize {
    if !has_file_head(bytes) {
        return 0;
    }
    let mut good = FILE_HEAD_BYTES;
    while let Some(batch) = read_batch(&bytes[good..], file_number) {
        let end = good + batch.bytes;
        if accept(batch).is_break() {
            break;
        }
        good = end;
    }
    good
}

fn has_file_head(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
        && u64_be_at(bytes, MAGIC.len()) == Some(FORMAT_VERSION)
        && u64_be_at(bytes, MAGIC.len() + 8) == Some(0)
}

/// The highest batch called durable by any whole batch that starts anywhere in `bytes`.
fn vouched_within(bytes: &[u8], file_number: u64) -> u64 {
    (0..bytes.len())
        .filter_map(|at| read_batch(&bytes[at..], file_number)?.state)
        .map(|state| state.durable_seq)
        .max()
        .unwrap_or_default()
}

/// The batch at the start of `bytes`, if it is whole and right in every bit.
fn read_batch(bytes: &[u8], file_number: u64) -> Option<LoggedBatch> {
    let length_and_compression = u64_be_at(bytes, 0)?;
    if length_and_compression & 0xff != 0 {
        return None;
    }
    let length = usize::try_from(length_and_compression >> 8).ok()?;
    let items_at = usize::try_from(u64_be_at(bytes, 8)?).ok()?;
    let batch = bytes.get(..length)?;
    let entries = batch.get(BATCH_HEAD_BYTES..items_at)?;
    if !entries.is_empty() {
        checked(entries, 0)?;
    }
    // The low half of the number is the signature; more files than that will not be.
    let signature = u32::try_from(file_number & u64::from(u32::MAX)).ok()?;
    let items = checked(&batch[items_at..], signature)?;
    Some(LoggedBatch { bytes: length, state: find_state(items) })
}

/// The bytes before a checksum that fits them.
fn checked(bytes: &[u8], signature: u32) -> Option<&[u8]> {
    let content = &bytes[..bytes.len().checked_sub(CRC_BYTES)?];
    let crc = codec::u32_at(bytes, content.len())?;
    (crc32fast::hash(content) == crc ^ signature).then_some(content)
}

/// The state record among the items of a batch.
fn find_state(items: &[u8]) -> Option<StateRecord> {
    let mut rest = items;
    let count = varint(&mut rest)?;
    let mut state = None;
    for _ in 0..count {
        let _region = varint(&mut rest)?;
        match byte(&mut rest)? {
            1 => {
                let entries = varint(&mut rest)?;
                if entries > 0 {
                    let _first_index = varint(&mut rest)?;
                }
                for _ in 0..entries {
                    let _end_offset = varint(&mut rest)?;
                }
            }
            2 => {
                if byte(&mut rest)? == 2 {
                    let _index = varint(&mut rest)?;
                }
            }
            3 => {
                let put = byte(&mut rest)? == 1;
                let key = sized(&mut rest)?;
                if put {
                    let value = sized(&mut rest)?;
                    if key == STATE_KEY {
                        state = codec::decode_state(value);
                    }
                }
            }
            _ => return None,
        }
    }
    state
}

fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (&first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(first)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let next = byte(bytes)?;
        value |= u64::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(bytes)?).ok()?;
    let (value, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(value)
}

fn u64_be_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// The side file: the highest batch known to be durable, in two slots written in turn.
#[derive(Debug)]
pub(crate) struct DurableEnd {
    file: File,
    seq: u64,
    next_slot: u64,
    unsynced: u64,
}

impl DurableEnd {
    /// Opens or creates the side file. Without a readable slot nothing is vouched for.
    pub(crate) fn open(path: &Path) -> Result<Self, StorageError> {
        Self::try_open(path).map_err(|e| unusable(path, &e))
    }

    fn try_open(path: &Path) -> io::Result<Self> {
        let mut slots = [0; SLOT_BYTES * 2];
        let file = if path.exists() {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            let (even, odd) = slots.split_at_mut(SLOT_BYTES);
            for (slot, at) in [(even, 0), (odd, SLOT_STRIDE)] {
                // A short file has no such slot, which is as good as an unreadable one.
                let _ = file.read_exact_at(slot, at);
            }
            file
        } else {
            let file = files::create_file(path)?;
            file.set_len(2 * SLOT_STRIDE)?;
            files::sync_file(&file)?;
            path.parent().map_or(Ok(()), files::sync_dir)?;
            file
        };
        let even = codec::decode_slot(&slots).unwrap_or_default();
        let odd = codec::decode_slot(&slots[SLOT_BYTES..]).unwrap_or_default();
        let next_slot = u64::from(even >= odd);
        Ok(Self { file, seq: even.max(odd), next_slot, unsynced: 0 })
    }

    /// Everything up to this batch is durable.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Notes that everything up to `seq` is durable. Costs one write into the page cache.
    ///
    /// # Errors
    /// The file cannot be written. A full disk is not an error (it can happen where overwriting
    /// needs space): the record then lags behind, as it may.
    pub(crate) fn record(&mut self, seq: u64) -> io::Result<()> {
        if seq == self.seq {
            return Ok(());
        }
        match self.file.write_all_at(&codec::encode_slot(seq), self.next_slot * SLOT_STRIDE) {
            Ok(()) => self.next_slot ^= 1,
            Err(e) if files::is_full(&e) => {}
            Err(e) => return Err(e),
        }
        self.seq = seq;
        self.unsynced += 1;
        if self.unsynced >= SYNC_EVERY {
            self.sync();
        }
        Ok(())
    }

    /// Syncs the side file. A failure leaves it lagging behind, as it may.
    pub(crate) fn sync(&mut self) {
        if self.unsynced > 0 && files::sync_file(&self.file).is_ok() {
            self.unsynced = 0;
        }
    }
}
