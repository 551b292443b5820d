//! `lastRefTime`: the number by which clients of Nacos tell a newer list from an older one. It must
//! never go back, across restarts and whatever the wall clock does, so it is a wall-clock time only
//! as long as that increases. A ceiling is stored durably ahead of use and the next start begins
//! above it; a handful of single steps beyond the ceiling bridges the time until a new one is stored.
//!
//! Another member's clock may be far ahead of this ceiling. What it wrote is ordered by its values at
//! once; clients see them when the ceiling has followed, and single steps until then.

use nacolet_model::{Instant, WallTime};

/// How far ahead a ceiling is asked for: one durable write an hour while there are changes.
const AHEAD_MS: u64 = 3_600_000;
/// A new ceiling is asked for when less than this is left below the old one.
const REFRESH_MS: u64 = AHEAD_MS / 2;
/// The same two where the value has run ahead of the wall clock and moves by single steps; small, so
/// that a node that restarts all day does not run years ahead.
const STEPS_AHEAD: u64 = 60_000;
/// See [`STEPS_AHEAD`].
const STEPS_REFRESH: u64 = STEPS_AHEAD / 2;
/// Single steps that may be issued beyond the ceiling; a start begins above them.
const SLACK: u64 = 10_000;
/// Larger values are not exact in JavaScript, so no wall clock may push the value beyond. Steps may.
const WALL_MAX: u64 = (1 << 53) - (1 << 40);

/// Values of others beyond this are nonsense.
const OBSERVED_MAX: u64 = 1 << 53;

const _: () = assert!(WALL_MAX + AHEAD_MS < 1 << 53);

/// Issues values that increase strictly over the whole life of a data directory.
#[derive(Debug)]
pub(crate) struct RefTime {
    /// Highest value ever issued or observed.
    last: u64,
    /// Highest value ever shown to clients.
    shown: u64,
    /// Values up to here are covered by a durable record.
    ceiling: u64,
    /// The ceiling that the shell was asked to store.
    asked: u64,
    /// The last wall-clock stamp and when it came.
    wall: Option<(Instant, WallTime)>,
}

impl RefTime {
    /// Continues after a life whose stored ceiling was `floor`; 0 where nothing is stored.
    pub(crate) fn new(floor: u64) -> Self {
        let last = floor.saturating_add(SLACK);
        Self { last, shown: last, ceiling: floor, asked: 0, wall: None }
    }

    /// Notes what the wall clock says.
    pub(crate) fn note_wall(&mut self, now: Instant, at: WallTime) {
        self.wall = Some((now, at));
    }

    /// The wall clock as far as it is known.
    fn wall_ms(&self, now: Instant) -> u64 {
        let Some((then, at)) = self.wall else { return 0 };
        let passed = (now.as_millis()).saturating_sub(then.as_millis());
        at.as_millis().saturating_add(passed).min(WALL_MAX)
    }

    /// The next value.
    pub(crate) fn issue(&mut self, now: Instant) -> u64 {
        let wall_ms = self.wall_ms(now).min(self.ceiling);
        self.last = wall_ms.max(self.last.saturating_add(1));
        self.last
    }

    /// Another member uses this value: what is issued from now on is higher. False for one that no
    /// member can have come to.
    pub(crate) fn observe(&mut self, value: u64) -> bool {
        if value >= OBSERVED_MAX {
            return false;
        }
        self.last = self.last.max(value);
        true
    }

    /// The highest value issued so far.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// What clients see of a value: the value, unless a later life might begin below it.
    pub(crate) fn show(&mut self, value: u64) -> u64 {
        let step = self.shown.max(self.ceiling) + 1;
        self.shown = self.shown.max(value.min(step));
        value.min(step)
    }

    /// At least all that was shown, and less than what will be for a value that is not issued yet.
    pub(crate) fn shown(&self) -> u64 {
        self.last.min(self.shown.max(self.ceiling))
    }

    /// The ceiling to ask for, if it is time to. One at a time: of two that are being stored the lower
    /// one might be the last to reach the disk.
    pub(crate) fn ask(&mut self, now: Instant) -> Option<u64> {
        self.wall?;
        if self.asked > self.ceiling {
            return None;
        }
        let wall_ms = self.wall_ms(now);
        if self.ceiling >= self.last.saturating_add(STEPS_REFRESH)
            && self.ceiling >= wall_ms.saturating_add(REFRESH_MS)
        {
            return None;
        }
        let until = self.last.saturating_add(STEPS_AHEAD).max(wall_ms.saturating_add(AHEAD_MS));
        self.asked = until;
        Some(until)
    }

    /// A ceiling is durable. Whether something that was held back can be shown now.
    pub(crate) fn reserved(&mut self, until: u64) -> bool {
        let held_back = self.shown < self.last;
        self.ceiling = self.ceiling.max(until);
        held_back
    }
}

#[cfg(test)]
mod tests {
    use nacolet_model::Prng;

    use super::*;

    #[test]
    fn the_value_follows_the_wall_clock_while_that_increases() {
        let mut time = RefTime::new(0);
        let now = Instant::from_millis(10);
        assert_eq!(time.ask(now), None, "nobody knows the wall clock yet");
        time.note_wall(now, WallTime(1_000_000));
        let until = time.ask(now);
        assert_eq!(until, Some(1_000_000 + AHEAD_MS));
        assert_eq!(time.ask(now), None, "once is enough");
        time.reserved(1_000_000 + AHEAD_MS);
        assert_eq!(time.issue(now), 1_000_000);
        assert_eq!(time.issue(now), 1_000_001);
        assert_eq!(time.issue(Instant::from_millis(510)), 1_000_500);
        time.note_wall(now, WallTime(3));
        assert_eq!(time.issue(now), 1_000_501);
    }

    #[test]
    fn nothing_is_issued_beyond_the_ceiling_but_single_steps() {
        let mut time = RefTime::new(0);
        time.reserved(500_000);
        time.note_wall(Instant::ZERO, WallTime(u64::MAX));
        assert_eq!(time.issue(Instant::ZERO), 500_000);
        assert_eq!(time.issue(Instant::ZERO), 500_001);
        let until = time.ask(Instant::ZERO).expect("the clock is far ahead");
        time.reserved(until);
        assert_eq!(time.issue(Instant::ZERO), WALL_MAX);
    }

    #[test]
    fn what_another_member_is_ahead_is_shown_once_the_ceiling_has_followed() {
        let mut time = RefTime::new(0);
        time.note_wall(Instant::ZERO, WallTime(1_000_000));
        time.reserved(5_000_000);
        assert!(time.observe(90_000_000));
        assert_eq!(time.show(90_000_000), 5_000_001);
        assert_eq!(time.issue(Instant::ZERO), 90_000_001);
        assert_eq!((time.show(90_000_001), time.shown()), (5_000_002, 5_000_002));
        assert_eq!(time.show(4_000_000), 4_000_000, "where the list is an older one");
        let until = time.ask(Instant::ZERO).expect("others are far ahead");
        assert!(time.reserved(until), "two are to be shown again");
        assert_eq!((time.show(90_000_000), time.shown()), (90_000_000, 90_000_001));
    }

    #[test]
    fn one_ceiling_is_stored_at_a_time() {
        let mut time = RefTime::new(0);
        time.note_wall(Instant::ZERO, WallTime(1_000_000));
        let first = time.ask(Instant::ZERO).expect("there is none yet");
        time.note_wall(Instant::ZERO, WallTime(90_000_000));
        assert_eq!(time.ask(Instant::ZERO), None, "the first one may still be on its way");
        time.reserved(first);
        assert!(time.ask(Instant::ZERO).is_some_and(|until| until > 90_000_000));
    }

    #[test]
    fn values_increase_over_lives_whose_ceilings_are_stored_late() {
        for seed in 0..200 {
            let mut prng = Prng::new(seed);
            let (mut stored, mut last, mut now_ms) = (0, 0, 0);
            for _life in 0..20 {
                let mut time = RefTime::new(stored);
                time.note_wall(Instant::from_millis(now_ms), WallTime(prng.below(1 << 42)));
                // The shell stores the first ceiling before it serves.
                stored = time.ask(Instant::from_millis(now_ms)).expect("the first one");
                time.reserved(stored);
                let mut asked = None;
                for _change in 0..prng.below(200) {
                    now_ms += prng.below(100_000);
                    let now = Instant::from_millis(now_ms);
                    if prng.chance(1, 20) {
                        time.note_wall(now, WallTime(prng.below(1 << 42)));
                    }
                    if prng.chance(1, 20) {
                        assert!(time.observe(prng.below(1 << 44)));
                    }
                    let value = time.issue(now);
                    let value = time.show(value);
                    assert!(value > last, "seed {seed}: {value} after {last}");
                    assert!((value..=time.last()).contains(&time.shown()), "seed {seed}");
                    last = time.shown();
                    asked = time.ask(now).or(asked);
                    if prng.chance(1, 4)
                        && let Some(until) = asked.take()
                    {
                        stored = until;
                        time.reserved(until);
                    }
                }
            }
        }
    }
}
