//! What others can make happen as often as they like, and what goes on for long: it is told in the
//! log at once, and while it goes on once a minute with how often it happened. The log belongs to
//! the shell; which line is due is decided here.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use crate::limits;
use crate::time::Instant;

/// Lines that are told again and again.
#[derive(Clone, Debug, Default)]
pub struct Repeats(BTreeMap<Box<str>, Told>);

#[derive(Clone, Copy, Debug)]
struct Told {
    at: Instant,
    /// Times that it happened since.
    untold: u64,
}

impl Told {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_since(self.at) >= limits::MENTION_EVERY
    }
}

/// A line that is to be written now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// What happened.
    pub line: Box<str>,
    /// How often, since it was told last.
    pub times: u64,
}

impl Repeats {
    /// Stands for all lines that find no place.
    pub const OTHERS: &str = "there is more of this, too much to name each";

    /// Something happened so many times. Returns what to write at once, if anything; the rest comes
    /// from [`Self::due`].
    pub fn note(&mut self, now: Instant, line: &str, times: u64) -> Option<Due> {
        // The last place is that of the others.
        let is_named = self.0.contains_key(line) || self.0.len() + 1 < limits::REPEATS_MAX;
        let line = if is_named { line } else { Self::OTHERS };
        if let Some(told) = self.0.get_mut(line) {
            told.untold = told.untold.saturating_add(times);
            return None;
        }
        self.0.insert(line.into(), Told { at: now, untold: 0 });
        Some(Due { line: line.into(), times })
    }

    /// A line whose minute is over: to be asked often, until there is none.
    pub fn due(&mut self, now: Instant) -> Option<Due> {
        // What did not happen again is told at once when it does.
        self.0.retain(|_, told| told.untold > 0 || !told.is_over(now));
        let (line, told) = self.0.iter_mut().find(|(_, told)| told.is_over(now))?;
        let times = core::mem::take(&mut told.untold);
        told.at = now;
        Some(Due { line: line.clone(), times })
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use core::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn due(line: &str, times: u64) -> Option<Due> {
        Some(Due { line: line.into(), times })
    }

    #[test]
    fn a_line_is_told_at_once_and_then_once_a_minute_with_a_count() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.note(at(0), "a", 1), due("a", 1));
        assert_eq!(repeats.note(at(1), "a", 2), None);
        assert_eq!(repeats.note(at(1), "b", 7), due("b", 7), "another one waits for nobody");
        assert_eq!(repeats.note(at(59), "a", 1), None);
        assert_eq!(repeats.due(at(59)), None);
        assert_eq!((repeats.due(at(60)), repeats.due(at(60))), (due("a", 3), None));
        assert_eq!(repeats.note(at(61), "a", 1), None);
        assert_eq!(repeats.due(at(119)), None);
        assert_eq!((repeats.due(at(120)), repeats.due(at(120))), (due("a", 1), None));
        assert_eq!(repeats.due(at(180)), None);
        assert_eq!(repeats.note(at(181), "a", 1), due("a", 1), "it had stopped");
    }

    #[test]
    fn a_crowd_fills_no_log() {
        let mut repeats = Repeats::default();
        let mut told = 0;
        for number in 0..10_000 {
            told += usize::from(repeats.note(at(0), &format!("user {number}"), 1).is_some());
        }
        assert_eq!((told, repeats.0.len()), (limits::REPEATS_MAX, limits::REPEATS_MAX));
        let others = 10_000 - limits::REPEATS_MAX as u64;
        assert_eq!(
            (repeats.due(at(60)), repeats.due(at(60))),
            (due(Repeats::OTHERS, others), None)
        );
        assert_eq!(repeats.note(at(60), "user 1", 1), due("user 1", 1), "there is room again");
    }
}
