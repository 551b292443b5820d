//! The whole state out, for a Raft snapshot, and in again. An empty table is no chunk at all: a
//! snapshot without locks is one that a version without locks can read.
//!
//! A file and wire format: count up [`VERSION`] for a change. Golden bytes are at the end. Where
//! all locks are of the first kind, and nobody waits, what is written has the first version, which
//! every member reads.

use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::limits;
use nacolet_model::replicated::{ChunkError, ChunkReader, ChunkWriter};
use serde::{Deserialize, Serialize};

use crate::command::{Kind, check_key, check_owner, check_time, check_wait};
use crate::table::{Holder, Lock, Locks, Name, Time, Waiter};

/// Version of the format. A loader reads this and the first.
const VERSION: u8 = 2;
/// Locks that nobody owns.
const FIRST: u8 = 1;
/// Locks in one chunk: with the longest names it stays below a chunk's limit.
const LOCKS_PER_CHUNK: usize = 128;

const _: () = assert!(
    LOCKS_PER_CHUNK * (limits::LOCK_KEY_BYTES_MAX + limits::LOCK_OWNER_TEXT_BYTES_MAX + 64) + 64
        <= limits::SNAPSHOT_CHUNK_BYTES_MAX
);

/// A lock as the first version has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Unowned {
    key: Arc<str>,
    end: u64,
}

/// What the second version has: a lock, and behind it who waits for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Item {
    Held { kind: Kind, key: Arc<str>, owner: Arc<str>, connection: u64, count: u32, end: u64 },
    Free { kind: Kind, key: Arc<str> },
    Waits { owner: Arc<str>, connection: u64, end: u64 },
}

/// The state at one moment, to be written out chunk by chunk.
#[derive(Debug)]
pub struct Capture(Chunks);

#[derive(Debug)]
enum Chunks {
    First(ChunkWriter<Time, Unowned>),
    Second(ChunkWriter<Time, Item>),
}

impl Locks {
    /// The whole state, which no longer needs the table.
    #[must_use]
    pub fn capture(&self) -> Capture {
        let unowned: Option<Vec<Unowned>> = self.held.iter().map(unowned).collect();
        Capture(match unowned {
            Some(items) => {
                Chunks::First(ChunkWriter::new(FIRST, self.time, items, LOCKS_PER_CHUNK))
            }
            None => {
                let items = self.held.iter().flat_map(items).collect();
                Chunks::Second(ChunkWriter::new(VERSION, self.time, items, LOCKS_PER_CHUNK))
            }
        })
    }
}

/// A lock, if the first version can tell it.
fn unowned(((kind, key), lock): (&Name, &Lock)) -> Option<Unowned> {
    let Lock { holder: Some(holder), queue, .. } = lock else { return None };
    let is_first = *kind == Kind::Plain
        && holder.owner.is_empty()
        && (holder.connection, holder.count) == (0, 1)
        && queue.is_empty();
    is_first.then(|| Unowned { key: Arc::clone(key), end: holder.end })
}

fn items(((kind, key), lock): (&Name, &Lock)) -> impl Iterator<Item = Item> {
    let key = Arc::clone(key);
    let first = match lock.holder.clone() {
        Some(Holder { owner, connection, count, end }) => {
            Item::Held { kind: *kind, key, owner, connection, count, end }
        }
        None => Item::Free { kind: *kind, key },
    };
    let waiters = lock.queue.iter().cloned();
    let waits =
        waiters.map(|Waiter { owner, connection, end }| Item::Waits { owner, connection, end });
    core::iter::once(first).chain(waits)
}

impl Capture {
    /// The next chunk, `None` after the last.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        match &mut self.0 {
            Chunks::First(chunks) => chunks.next_chunk(),
            Chunks::Second(chunks) => chunks.next_chunk(),
        }
    }
}

/// Why chunks are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Another version wrote it.
    #[error("the locks have format {found}, this version reads {VERSION}")]
    Version {
        /// What it says.
        found: u8,
    },
    /// A chunk is damaged, or not where it belongs.
    #[error("the locks are damaged")]
    Damaged,
}

impl From<ChunkError> for LoadError {
    fn from(error: ChunkError) -> Self {
        match error {
            ChunkError::Version { found } => Self::Version { found },
            ChunkError::Damaged => Self::Damaged,
        }
    }
}

/// Takes chunks in order.
#[derive(Debug, Default)]
pub struct Loader {
    locks: Locks,
    /// Of the version that the first chunk has.
    chunks: Option<(u8, ChunkReader<Time>)>,
    /// The lock that those who follow wait for.
    open: Option<(Name, Lock)>,
}

impl Loader {
    /// For a new state.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), LoadError> {
        let version = if chunk.first() == Some(&FIRST) { FIRST } else { VERSION };
        let (version, chunks) =
            self.chunks.get_or_insert_with(|| (version, ChunkReader::new(version)));
        if *version == FIRST {
            let (time, locks) = chunks.read::<Unowned>(chunk)?;
            self.locks.time = time;
            for Unowned { key, end } in locks {
                let holder = Holder { owner: Arc::from(""), connection: 0, count: 1, end };
                self.begin((Kind::Plain, key), Some(holder))?;
            }
        } else {
            let (time, items) = chunks.read::<Item>(chunk)?;
            self.locks.time = time;
            for item in items {
                match item {
                    Item::Held { kind, key, owner, connection, count, end } => {
                        let holder = Holder { owner, connection, count, end };
                        self.begin((kind, key), Some(holder))?;
                    }
                    Item::Free { kind, key } => self.begin((kind, key), None)?,
                    Item::Waits { owner, connection, end } => {
                        self.waits(Waiter { owner, connection, end })?;
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, name: Name, holder: Option<Holder>) -> Result<(), LoadError> {
        self.close()?;
        let now = self.locks.time.millis;
        let is_held = holder.as_ref().is_none_or(|Holder { owner, count, end, .. }| {
            let is_named = name.0 == Kind::Plain && owner.is_empty() || check_owner(owner).is_ok();
            let is_counted = *count == 1 || *count > 1 && name.0 == Kind::Reentrant;
            let rest = end.checked_sub(now);
            is_named && is_counted && rest.is_some_and(|rest| check_time(rest).is_ok())
        });
        let is_valid = is_held
            && check_key(&name.1).is_ok()
            && !self.locks.held.contains_key(&name)
            && self.locks.len() < limits::LOCKS_MAX;
        if !is_valid {
            return Err(LoadError::Damaged);
        }
        self.open = Some((name, Lock::held_by(holder)));
        Ok(())
    }

    fn waits(&mut self, waiter: Waiter) -> Result<(), LoadError> {
        let now = self.locks.time.millis;
        let Some((_, lock)) = &mut self.open else { return Err(LoadError::Damaged) };
        let is_twin =
            |other: &Waiter| (&other.owner, other.connection) == (&waiter.owner, waiter.connection);
        // One whose time is over may still stand there: it is looked at when its turn comes.
        let is_valid = check_owner(&waiter.owner).is_ok()
            && check_wait(waiter.end.saturating_sub(now)).is_ok()
            && !lock.queue.iter().any(is_twin)
            && lock.queue.len() < limits::LOCK_WAITERS_MAX
            && self.locks.waiters() + lock.queue.len() < limits::LOCKS_WAITERS_MAX;
        if !is_valid {
            return Err(LoadError::Damaged);
        }
        lock.queue.push_back(waiter);
        Ok(())
    }

    /// No more wait for the lock that came last.
    fn close(&mut self) -> Result<(), LoadError> {
        let Some((name, lock)) = self.open.take() else { return Ok(()) };
        if lock.holder.is_none() && lock.queue.is_empty() {
            return Err(LoadError::Damaged);
        }
        self.locks.put(name, lock);
        Ok(())
    }

    /// The state.
    ///
    /// # Errors
    /// A chunk is missing, or somebody has more than may be.
    pub fn finish(mut self) -> Result<Locks, LoadError> {
        let is_whole = self.chunks.as_ref().is_none_or(|(_, chunks)| chunks.is_whole());
        self.close()?;
        if is_whole && self.locks.is_shared() { Ok(self.locks) } else { Err(LoadError::Damaged) }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use nacolet_model::{Duration, Prng};

    use super::*;
    use crate::{Acquire, Command, Stamp};

    fn held(count: usize) -> Locks {
        let mut locks = Locks::new();
        for number in 0..count {
            let stamp = Stamp { clock: 300, millis: u64::try_from(number).expect("small") };
            let acquire = Acquire::new(&format!("{number}"), Duration::from_secs(60), stamp);
            assert_eq!(locks.apply(&Command::Acquire(acquire.expect("a key"))), Ok(true));
        }
        locks
    }

    fn chunks(locks: &Locks) -> Vec<Vec<u8>> {
        let mut capture = locks.capture();
        core::iter::from_fn(|| capture.next_chunk()).collect()
    }

    fn load(chunks: &[Vec<u8>]) -> Result<Locks, LoadError> {
        let mut loader = Loader::new();
        chunks.iter().try_for_each(|chunk| loader.push(chunk))?;
        loader.finish()
    }

    #[test]
    fn chunks_keep_their_bytes() {
        let golden = [1, 0, 0xac, 2, 1, 1, 0, 2, 1, b'0', 0xe0, 0xd4, 3, 1, b'1', 0xe1, 0xd4, 3];
        assert_eq!(chunks(&held(2)), [golden.to_vec()]);
    }

    #[test]
    fn what_goes_out_comes_in_again() {
        for count in [0, 1, 2, LOCKS_PER_CHUNK, LOCKS_PER_CHUNK + 1, 3 * LOCKS_PER_CHUNK] {
            let locks = held(count);
            let chunks = chunks(&locks);
            assert_eq!(chunks.len(), count.div_ceil(LOCKS_PER_CHUNK));
            let loaded = load(&chunks).expect("whole");
            loaded.invariants();
            assert_eq!(loaded, locks);
        }
    }

    #[test]
    fn what_is_missing_twice_or_of_another_version_is_refused() {
        let whole = chunks(&held(2 * LOCKS_PER_CHUNK + 1));
        let [first, second, third] = whole.as_slice() else { panic!("three chunks") };
        for wrong in [&whole[..2], &whole[1..], &[first.clone(), third.clone()]] {
            assert_eq!(load(wrong), Err(LoadError::Damaged));
        }
        let twice = [first.clone(), second.clone(), second.clone()];
        assert_eq!(load(&twice), Err(LoadError::Damaged));
        let newer = [[3].as_slice(), &first[1..]].concat();
        assert_eq!(load(&[newer]), Err(LoadError::Version { found: 3 }));
        let other = [[VERSION].as_slice(), &second[1..]].concat();
        assert_eq!(load(&[first.clone(), other]), Err(LoadError::Version { found: VERSION }));
        let mut longer = chunks(&held(1)).remove(0);
        longer.push(0);
        assert_eq!(load(&[longer]), Err(LoadError::Damaged));
    }

    #[test]
    fn whatever_was_applied_can_be_loaded() {
        let mut random = Prng::new(42);
        let (longest, long) = (limits::LOCK_TIME_MAX.as_secs() * 1_000, limits::LOCK_KEY_BYTES_MAX);
        let (mut valid, mut invalid) = (0, 0);
        for _ in 0..500 {
            let mut locks = Locks::new();
            for _ in 0..40 {
                let mut pick = |count| random.index(count);
                let key = ["", " ", "\n\t", "a", "b", "c"][pick(6)];
                let key = match pick(8) {
                    0 => "k".repeat(long + pick(2)),
                    _ => key.into(),
                };
                let times = [0, 1, 5_000, longest, longest + 1, u64::MAX];
                let (millis, far) = (times[pick(6)], times[pick(6)]);
                let stamp = Stamp { clock: [0, 1, 2][pick(3)], millis: far };
                let key = key.into();
                let kinds = [Kind::Plain, Kind::Reentrant, Kind::NonReentrant];
                let (kind, connection) = (kinds[pick(3)], [0, 1, 2][pick(3)]);
                let owner = ["o", "p", "q", "r", "", "u\n1\no", "u\n2\no"][pick(7)].into();
                let wait_millis = [0, 0, 1, 5_000, longest, longest + 1][pick(6)];
                let command = match pick(10) {
                    0 => Command::Release(crate::Release { key, stamp }),
                    1 | 2 => Command::Acquire(Acquire { key, millis, stamp }),
                    3 => Command::Free(crate::Free { kind, key, owner, stamp }),
                    4 => Command::Renew(crate::Renew { kind, key, owner, millis, stamp }),
                    5 => Command::Forgo(crate::Forgo { kind, key, owner, connection, stamp }),
                    6 if pick(4) == 0 => Command::Gone(crate::Gone { connection, stamp }),
                    7 => Command::Look(crate::Look { kind, key, stamp }),
                    _ => Command::Take(crate::Take {
                        kind,
                        key,
                        owner,
                        connection,
                        millis,
                        wait_millis,
                        stamp,
                    }),
                };
                let before = chunks(&locks);
                let answer = locks.apply_logged(&command);
                locks.invariants();
                if command.check().is_ok() {
                    valid += 1;
                } else {
                    assert!(matches!(answer, Err(crate::ApplyError::Invalid(_))), "{command:?}");
                    assert_eq!(chunks(&locks), before, "{command:?}");
                    invalid += 1;
                }
                assert_eq!(load(&chunks(&locks)).as_ref(), Ok(&locks), "{command:?}");
            }
        }
        assert!(valid > 1_000 && invalid > 1_000, "{valid} {invalid}");
    }

    #[test]
    fn a_state_that_no_command_leads_to_is_refused() {
        let time = Time { stamp: Stamp { clock: 1, millis: 5 }, millis: 100 };
        let longest = limits::LOCK_TIME_MAX.as_secs() * 1_000;
        let check = |key: &str, end, expected: bool| {
            let lock = Unowned { key: key.into(), end };
            let chunk = ChunkWriter::new(FIRST, time, [lock].into(), 1).next_chunk();
            assert_eq!(load(&[chunk.expect("a lock")]).is_ok(), expected, "{key:?} {end}");
        };
        check("a", 100, true);
        check("a", 100 + longest, true);
        check("a", 101 + longest, false);
        check("a", 99, false);
        check("", 100, false);
        check(" ", 100, false);
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = Prng::new(5);
        let golden = chunks(&held(9)).remove(0);
        for _ in 0..20_000 {
            let mut chunk = golden.clone();
            let at = random.index(golden.len());
            chunk[at] = u8::try_from(random.below(256)).expect("a byte");
            chunk.truncate(random.index(60));
            let _ = load(&[chunk]);
        }
    }
}
