//! The locks that are held, and when each one's time is over.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use nacolet_model::limits;
use serde::{Deserialize, Serialize};

use crate::command::{
    Acquire, ApplyError, Command, CommandError, Release, Stamp, check_key, check_time,
};

/// The time of the locks. It begins at zero whenever no lock is held, so that members with the same
/// locks have the same state, whatever there was before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Time {
    /// The last stamp.
    pub(crate) stamp: Stamp,
    /// Milliseconds that have passed, as far as stamps tell.
    pub(crate) millis: u64,
}

impl Time {
    fn advance(&mut self, stamp: Stamp) {
        if stamp.clock == self.stamp.clock {
            let passed = stamp.millis.saturating_sub(self.stamp.millis);
            self.millis = self.millis.saturating_add(passed);
        }
        self.stamp = stamp;
    }
}

/// All locks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Locks {
    pub(crate) time: Time,
    /// By name: when its time is over.
    pub(crate) held: BTreeMap<Arc<str>, u64>,
    ends: BTreeSet<(u64, Arc<str>)>,
}

impl Locks {
    /// No lock is held.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many locks are held, some of which may have run out since the last command.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether no lock is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Applies a command from the log, whoever put it there: whether the lock was taken, or freed, by it.
    ///
    /// # Errors
    /// See [`ApplyError`]. One that is invalid does not even move the time.
    pub fn apply_logged(&mut self, command: &Command) -> Result<bool, ApplyError> {
        command.check()?;
        Ok(self.apply(command)?)
    }

    /// Applies a command that is known to be valid, see [`Self::apply_logged`].
    ///
    /// # Errors
    /// As many locks are held as may be.
    pub fn apply(&mut self, command: &Command) -> Result<bool, CommandError> {
        let (Command::Acquire(Acquire { stamp, .. }) | Command::Release(Release { stamp, .. })) =
            command;
        self.time.advance(*stamp);
        self.expire();
        let done = match command {
            Command::Acquire(acquire) => self.acquire(acquire),
            Command::Release(release) => Ok(self.release(&release.key)),
        };
        if self.held.is_empty() {
            self.time = Time::default();
        }
        done
    }

    fn acquire(&mut self, acquire: &Acquire) -> Result<bool, CommandError> {
        if self.held.contains_key(&*acquire.key) {
            return Ok(false);
        }
        if self.held.len() >= limits::LOCKS_MAX {
            return Err(CommandError::TooManyLocks);
        }
        if self.held.is_empty() {
            self.time = Time { stamp: acquire.stamp, millis: 0 };
        }
        self.hold(Arc::from(&*acquire.key), self.time.millis.saturating_add(acquire.millis));
        Ok(true)
    }

    pub(crate) fn hold(&mut self, key: Arc<str>, end: u64) {
        self.ends.insert((end, Arc::clone(&key)));
        self.held.insert(key, end);
    }

    fn release(&mut self, key: &str) -> bool {
        let Some((key, end)) = self.held.remove_entry(key) else { return false };
        self.ends.remove(&(end, key));
        true
    }

    fn expire(&mut self) {
        while self.ends.first().is_some_and(|(end, _)| *end <= self.time.millis) {
            if let Some((_, key)) = self.ends.pop_first() {
                self.held.remove(&key);
            }
        }
    }

    /// What always holds; for tests.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        assert!(self.held.len() <= limits::LOCKS_MAX);
        assert!(self.held.keys().all(|key| check_key(key).is_ok()));
        let may_be = |end: &u64| check_time(end.saturating_sub(self.time.millis)).is_ok();
        assert!(self.held.values().all(may_be), "held for longer than may be");
        assert_eq!(self.held.len(), self.ends.len());
        assert!(self.held.iter().all(|(key, end)| self.ends.contains(&(*end, Arc::clone(key)))));
        assert!(self.ends.iter().all(|(end, _)| *end >= self.time.millis), "held for too long");
        assert!(!self.held.is_empty() || self.time == Time::default());
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::format;
    use alloc::string::String;

    use nacolet_model::{Duration, Prng};

    use super::*;

    fn acquire(key: &str, millis: u64, clock: u64, at: u64) -> Command {
        let stamp = Stamp { clock, millis: at };
        let acquire = Acquire::new(key, Duration::from_millis(millis), stamp);
        Command::Acquire(acquire.expect("a key"))
    }

    fn release(key: &str, clock: u64, at: u64) -> Command {
        Command::Release(Release::new(key, Stamp { clock, millis: at }).expect("a key"))
    }

    /// Applies commands one by one and compares what they did.
    fn check(story: &[(Command, bool)]) {
        let mut locks = Locks::new();
        for (number, (command, expected)) in story.iter().enumerate() {
            assert_eq!(locks.apply(command), Ok(*expected), "{number}: {command:?}");
            locks.invariants();
        }
    }

    #[test]
    fn one_holds_it_until_it_is_released_or_runs_out() {
        check(&[
            (release("a", 1, 0), false),
            (acquire("a", 100, 1, 1_000), true),
            (acquire("a", 100, 1, 1_099), false),
            (acquire("b", 100, 1, 1_099), true),
            (acquire("a", 100, 1, 1_100), true),
            (release("a", 1, 1_150), true),
            (release("a", 1, 1_150), false),
            (acquire("a", 100, 1, 1_150), true),
        ]);
    }

    #[test]
    fn a_lock_of_no_time_is_over_with_the_next_command() {
        check(&[(acquire("a", 0, 1, 5), true), (acquire("a", 9, 1, 5), true)]);
    }

    #[test]
    fn another_clock_ends_no_lock_early() {
        check(&[
            (acquire("a", 100, 1, 50), true),
            // A new leader, by whose clock it is much later; what passed meanwhile nobody knows.
            (acquire("a", 1, 2, 1_000_000), false),
            (acquire("a", 1, 2, 1_000_099), false),
            (acquire("a", 1, 2, 1_000_100), true),
        ]);
    }

    #[test]
    fn a_clock_that_seems_to_go_back_stops_time() {
        check(&[
            (acquire("a", 100, 1, 50), true),
            (acquire("a", 1, 1, 10), false),
            (acquire("a", 1, 1, 109), false),
            (acquire("a", 1, 1, 110), true),
        ]);
    }

    #[test]
    fn one_lock_too_many_is_refused_and_a_free_place_is_taken() {
        let mut locks = Locks::new();
        for number in 0..limits::LOCKS_MAX {
            assert_eq!(locks.apply(&acquire(&format!("{number}"), 1_000, 1, 0)), Ok(true));
        }
        let one_more = acquire("more", 1_000, 1, 0);
        assert_eq!(locks.apply(&one_more), Err(CommandError::TooManyLocks));
        assert_eq!(locks.apply(&acquire("0", 1_000, 1, 0)), Ok(false), "held is no new lock");
        assert_eq!(locks.apply(&release("7", 1, 0)), Ok(true));
        assert_eq!(locks.apply(&one_more), Ok(true));
        assert_eq!(locks.apply(&acquire("late", 1, 1, 1_000)), Ok(true), "all have run out");
        assert_eq!(locks.len(), 1);
        locks.invariants();
    }

    #[test]
    fn random_commands_agree_with_a_simple_model() {
        let mut random = Prng::new(11);
        for _ in 0..200 {
            let (mut locks, mut model) = (Locks::new(), BTreeMap::<String, u64>::new());
            let mut now = 0;
            for _ in 0..100 {
                now += random.below(20);
                let key = format!("{}", random.below(5));
                model.retain(|_, end| *end > now);
                if random.below(3) == 0 {
                    let expected = model.remove(&key).is_some();
                    assert_eq!(locks.apply(&release(&key, 1, now)), Ok(expected));
                } else {
                    let time = random.below(60);
                    let expected = !model.contains_key(&key);
                    if expected {
                        model.insert(key.clone(), now + time);
                    }
                    assert_eq!(locks.apply(&acquire(&key, time, 1, now)), Ok(expected));
                }
            }
        }
    }
}
