//! `lastRefTime`: the number by which clients of Nacos tell a newer list from an older one. It must
//! never go back, across restarts and whatever the wall clock does, so it is a wall-clock time only
//! as long as that increases. A ceiling is stored durably before clients see what is below it, and
//! the next start begins above it. Changes are ordered by their values at once; where the ceiling
//! is behind, after a rest or because another member's clock is ahead, clients see single steps
//! beyond it until it has followed.
//!
//! The ceiling is less than a second ahead: who asks another member, or a node that lost its disk,
//! would take no list that is older than what a node that was started again told it. A ceiling is
//! stored when a change needs it; after a clean stop the next life begins where this one ended.

use nacolet_model::{Instant, WallTime};

/// How far ahead a ceiling is asked for: with [`SLACK`] a start is less than 2 s ahead of the
/// clock.
const AHEAD_MS: u64 = 900;
/// A new ceiling is asked for when less than this is left below the old one, so there are less than
/// two durable writes a second while there are changes, and none without.
const REFRESH_MS: u64 = AHEAD_MS / 3;
/// The same two where a life began ahead of the wall clock, because the one before it ended a
/// moment ago: a node that crashes again and again must not run away from the clock.
const STEPS_AHEAD: u64 = 50;
/// See [`STEPS_AHEAD`].
const STEPS_REFRESH: u64 = STEPS_AHEAD / 2;
/// Single steps that may be issued beyond the ceiling; a start begins above them.
const SLACK: u64 = 100;
/// So many changes since the last ceiling was asked for are a burst: the next one is further ahead,
/// by two steps for each change, because steps alone may go beyond [`SLACK`] before it is stored.
const BURST: u64 = 200;
/// What a burst adds at most.
const BURST_AHEAD_MAX: u64 = 60_000;
/// Larger values are not exact in JavaScript, so no wall clock may push the value beyond. Steps
/// may.
const WALL_MAX: u64 = (1 << 53) - (1 << 40);

/// Values of others beyond this are nonsense.
const OBSERVED_MAX: u64 = 1 << 53;

const _: () = assert!(WALL_MAX + AHEAD_MS + BURST_AHEAD_MAX < 1 << 53);
const _: () = assert!(AHEAD_MS + SLACK < 2_000, "within two seconds of the clock");

/// Issues values that increase strictly over the whole life of a data directory.
#[derive(Debug)]
pub(crate) struct RefTimeIssuer {
    /// Where this life began.
    began: u64,
    /// Highest value ever issued or observed.
    last: u64,
    /// Highest value ever shown to clients.
    shown: u64,
    /// Values up to here are covered by a durable record.
    ceiling: u64,
    /// The ceiling that the shell was asked to store.
    asked: u64,
    /// Values issued since then.
    issued: u64,
    /// The last wall-clock stamp and when it came.
    wall: Option<(Instant, WallTime)>,
}

impl RefTimeIssuer {
    /// Continues after a life whose stored ceiling was `floor`; 0 where nothing is stored.
    pub(crate) fn new(floor: u64) -> Self {
        let last = floor.saturating_add(SLACK);
        let (shown, began) = (last, last);
        Self { began, last, shown, ceiling: floor, asked: 0, issued: 0, wall: None }
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
        let wall_ms = self.wall_ms(now);
        let before = self.last;
        self.last = wall_ms.max(before.saturating_add(1));
        self.issued += 1;
        assert!(self.last > before || before == u64::MAX, "values increase strictly");
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

    /// The ceiling to ask for, if it is time to. One at a time: of two that are being stored the
    /// lower one might be the last to reach the disk.
    pub(crate) fn ask(&mut self, now: Instant) -> Option<u64> {
        self.wall?;
        if self.asked > self.ceiling {
            return None;
        }
        let wall_ms = self.wall_ms(now);
        let is_stepping = wall_ms < self.began && self.last - self.began < AHEAD_MS;
        let (ahead, refresh) =
            if is_stepping { (STEPS_AHEAD, STEPS_REFRESH) } else { (AHEAD_MS, REFRESH_MS) };
        if self.ceiling >= self.last.saturating_add(refresh) {
            return None;
        }
        let issued = core::mem::take(&mut self.issued);
        let burst = if issued > BURST { (2 * issued).min(BURST_AHEAD_MAX) } else { 0 };
        let until = self.last.max(wall_ms).saturating_add(ahead + burst);
        assert!(until >= self.ceiling, "a ceiling does not come down");
        self.asked = until;
        Some(until)
    }

    /// What to store when nothing is shown any more: the next life begins right above what was.
    pub(crate) fn floor_at_end(&self) -> u64 {
        self.shown().saturating_sub(SLACK)
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
        let mut time = RefTimeIssuer::new(0);
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
        assert_eq!(time.ask(now), None, "there is room for another change");
    }

    /// One that is started again: `ms` after the last change, at such a wall clock.
    fn begins_at(floor: u64, wall_ms: u64) -> u64 {
        let mut time = RefTimeIssuer::new(floor);
        time.note_wall(Instant::ZERO, WallTime(wall_ms));
        let until = time.ask(Instant::ZERO).expect("the first one");
        time.reserved(until);
        let value = time.issue(Instant::ZERO);
        time.show(value)
    }

    #[test]
    fn a_start_is_within_two_seconds_of_the_clock() {
        let mut time = RefTimeIssuer::new(0);
        let (mut stored, mut writes) = (0, 0);
        for ms in (0..3_600_000).step_by(100) {
            let now = Instant::from_millis(ms);
            time.note_wall(now, WallTime(5_000_000 + ms));
            if ms.is_multiple_of(1_000) && ms < 60_000 {
                let value = time.issue(now);
                time.show(value);
            }
            if let Some(until) = time.ask(now) {
                (stored, writes) = (until, writes + 1);
                time.reserved(until);
            }
            let (last, wall_ms) = (time.shown(), 5_000_000 + ms);
            let crashed = begins_at(stored, wall_ms);
            assert!(crashed > last && crashed < wall_ms + 2_000, "{crashed} {last} {wall_ms}");
            let stopped = begins_at(time.floor_at_end(), wall_ms);
            assert!(stopped > last && stopped <= wall_ms.max(last + 1), "{stopped} at {wall_ms}");
            // The clock is set back, to 1970.
            assert!(begins_at(stored, 0) > last && begins_at(time.floor_at_end(), 0) > last);
        }
        assert!(writes <= 61, "{writes} writes for 60 changes, and none in an hour of rest");
    }

    #[test]
    fn a_node_that_crashes_again_and_again_does_not_run_away_from_the_clock() {
        let (mut stored, mut last) = (0, 0);
        for life in 0..1_000 {
            let wall_ms = 5_000_000 + life * 150;
            let mut time = RefTimeIssuer::new(stored);
            time.note_wall(Instant::ZERO, WallTime(wall_ms));
            for _change in 0..5 {
                while let Some(until) = time.ask(Instant::ZERO) {
                    stored = until;
                    time.reserved(until);
                }
                let value = time.issue(Instant::ZERO);
                let value = time.show(value);
                assert!(value > last && value < wall_ms + 2_000, "{life}: {value} at {wall_ms}");
                last = value;
            }
        }
    }

    #[test]
    fn a_burst_gets_a_ceiling_that_is_further_ahead() {
        let mut time = RefTimeIssuer::new(0);
        time.note_wall(Instant::ZERO, WallTime(1_000_000));
        let first = time.ask(Instant::ZERO).expect("the first one");
        time.reserved(first);
        for _ in 0..5_000 {
            time.issue(Instant::ZERO);
        }
        let until = time.ask(Instant::ZERO).expect("it is used up");
        assert_eq!(until, time.last() + AHEAD_MS + 10_000);
    }

    #[test]
    fn nothing_is_shown_beyond_the_ceiling_but_single_steps() {
        let mut time = RefTimeIssuer::new(0);
        time.reserved(500_000);
        time.note_wall(Instant::ZERO, WallTime(u64::MAX));
        for expected in [500_001, 500_002] {
            let value = time.issue(Instant::ZERO);
            assert_eq!(time.show(value), expected);
        }
        let until = time.ask(Instant::ZERO).expect("the clock is far ahead");
        assert!(time.reserved(until), "two are to be shown again");
        assert_eq!(time.show(time.last()), WALL_MAX + 1);
    }

    #[test]
    fn what_another_member_is_ahead_is_shown_once_the_ceiling_has_followed() {
        let mut time = RefTimeIssuer::new(0);
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
        let mut time = RefTimeIssuer::new(0);
        time.note_wall(Instant::ZERO, WallTime(1_000_000));
        let first = time.ask(Instant::ZERO).expect("there is none yet");
        time.note_wall(Instant::ZERO, WallTime(90_000_000));
        assert_eq!(time.ask(Instant::ZERO), None, "the first one may still be on its way");
        time.reserved(first);
        assert_eq!(time.ask(Instant::ZERO), None, "nothing needs another one");
        assert_eq!(time.issue(Instant::ZERO), 90_000_000);
        assert!(time.ask(Instant::ZERO).is_some_and(|until| until > 90_000_000));
    }

    #[test]
    fn values_increase_over_lives_whose_ceilings_are_stored_late() {
        for seed in 0..200 {
            let mut prng = Prng::new(seed);
            let (mut stored, mut last, mut now_ms) = (0, 0, 0);
            for _life in 0..20 {
                let mut time = RefTimeIssuer::new(stored);
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
