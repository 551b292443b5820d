//! The whole state out, for a Raft snapshot, and in again. An empty table is no chunk at all: a snapshot
//! without locks is one that a version without locks can read.
//!
//! A file and wire format: count up [`VERSION`] for a change. Golden bytes are at the end.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::{self, Vec};

use nacolet_model::limits;
use serde::{Deserialize, Serialize};

use crate::command::{check_key, check_time};
use crate::table::{Locks, Time};

/// Version of the format. A loader reads its own and no other.
const VERSION: u8 = 1;
/// Locks in one chunk: with the longest names it stays below a chunk's limit.
const LOCKS_PER_CHUNK: usize = 256;

const _: () = assert!(
    LOCKS_PER_CHUNK * (limits::LOCK_KEY_BYTES_MAX + 16) + 64 <= limits::SNAPSHOT_CHUNK_BYTES_MAX
);

#[derive(Serialize, Deserialize)]
struct Header {
    version: u8,
    /// Position among the chunks, from 0.
    number: u32,
    time: Time,
    /// Locks in the chunks that follow.
    left: u32,
}

#[derive(Serialize, Deserialize)]
struct Lock<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    end: u64,
}

/// The state at one moment, to be written out chunk by chunk.
#[derive(Debug)]
pub struct Capture {
    time: Time,
    held: vec::IntoIter<(Arc<str>, u64)>,
    chunks: u32,
}

impl Locks {
    /// The whole state, which no longer needs the table.
    #[must_use]
    pub fn capture(&self) -> Capture {
        let held: Vec<_> = self.held.iter().map(|(key, end)| (Arc::clone(key), *end)).collect();
        Capture { time: self.time, held: held.into_iter(), chunks: 0 }
    }
}

impl Capture {
    /// The next chunk, `None` after the last.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        let count = self.held.len().min(LOCKS_PER_CHUNK);
        if count == 0 {
            return None;
        }
        let left = u32::try_from(self.held.len() - count).unwrap_or(u32::MAX);
        let header = Header { version: VERSION, number: self.chunks, time: self.time, left };
        let part: Vec<_> = self.held.by_ref().take(count).collect();
        let locks = part.iter().map(|(key, end)| Lock { key: Cow::Borrowed(key), end: *end });
        self.chunks += 1;
        // Plain values always encode.
        postcard::to_allocvec(&(header, locks.collect::<Vec<_>>())).ok()
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

/// Takes chunks in order.
#[derive(Debug, Default)]
pub struct Loader {
    locks: Locks,
    chunks: u32,
    left: usize,
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
        if let Some(found) = chunk.first().copied().filter(|found| *found != VERSION) {
            return Err(LoadError::Version { found });
        }
        let decoded: Result<((Header, Vec<Lock<'_>>), _), _> = postcard::take_from_bytes(chunk);
        let Ok(((header, locks), [])) = decoded else { return Err(LoadError::Damaged) };
        let left = usize::try_from(header.left).unwrap_or(usize::MAX);
        let is_next = header.number == self.chunks
            && (header.number == 0 || left.checked_add(locks.len()) == Some(self.left))
            && (header.number == 0 || header.time == self.locks.time);
        if !is_next || locks.is_empty() {
            return Err(LoadError::Damaged);
        }
        self.chunks += 1;
        (self.left, self.locks.time) = (left, header.time);
        for Lock { key, end } in locks {
            let rest = end.checked_sub(header.time.millis);
            let is_valid = check_key(&key).is_ok()
                && rest.is_some_and(|rest| check_time(rest).is_ok())
                && !self.locks.held.contains_key(&*key)
                && self.locks.len() < limits::LOCKS_MAX;
            if !is_valid {
                return Err(LoadError::Damaged);
            }
            self.locks.hold(Arc::from(String::from(key)), end);
        }
        Ok(())
    }

    /// The state.
    ///
    /// # Errors
    /// A chunk is missing.
    pub fn finish(self) -> Result<Locks, LoadError> {
        if self.left == 0 { Ok(self.locks) } else { Err(LoadError::Damaged) }
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
        let newer = [[2].as_slice(), &first[1..]].concat();
        assert_eq!(load(&[newer]), Err(LoadError::Version { found: 2 }));
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
                let mut pick = |count| usize::try_from(random.below(count)).expect("small");
                let key = ["", " ", "\n\t", "a", "b", "c"][pick(6)];
                let key = match pick(8) {
                    0 => "k".repeat(long + pick(2)),
                    _ => key.into(),
                };
                let times = [0, 1, 5_000, longest, longest + 1, u64::MAX];
                let (millis, far) = (times[pick(6)], times[pick(6)]);
                let stamp = Stamp { clock: random.below(3), millis: far };
                let key = key.into();
                let command = match random.below(3) {
                    0 => Command::Release(crate::Release { key, stamp }),
                    _ => Command::Acquire(Acquire { key, millis, stamp }),
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
            let header = Header { version: VERSION, number: 0, time, left: 0 };
            let lock = Lock { key: Cow::Borrowed(key), end };
            let chunk = postcard::to_allocvec(&(header, [lock].as_slice())).expect("encodes");
            assert_eq!(load(&[chunk]).is_ok(), expected, "{key:?} {end}");
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
            let at = usize::try_from(random.below(golden.len() as u64)).expect("small");
            chunk[at] = u8::try_from(random.below(256)).expect("a byte");
            chunk.truncate(usize::try_from(random.below(60)).expect("small"));
            let _ = load(&[chunk]);
        }
    }
}
