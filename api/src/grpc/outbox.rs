//! What a client is owed: at most one notice per subject, sent again until it is acknowledged. What
//! changes while a notice is under way is told in the next one, so a slow client costs one entry per
//! subject and not one message per change.
//!
//! ```text
//!   owe ──► Due ── next ──► Sent ── acknowledged ──► gone, or Due where it changed meanwhile
//!            ▲                │
//!            └── later ───────┴─ refused or silent
//! ```

use std::collections::{BTreeMap, BTreeSet};

use nacolet_model::{Duration, Instant, limits};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Due { at: Instant },
    Sent { id: u64, deadline: Instant, changed: bool },
}

#[derive(Clone, Copy, Debug)]
struct Debt {
    stage: Stage,
    attempts: u32,
}

/// The notices of one client. `S` names a subject and is cheap to clone.
#[derive(Debug)]
pub(super) struct Outbox<S> {
    debts: BTreeMap<S, Debt>,
    due: BTreeSet<(Instant, S)>,
    sent: BTreeMap<u64, S>,
}

impl<S> Default for Outbox<S> {
    fn default() -> Self {
        Self { debts: BTreeMap::new(), due: BTreeSet::new(), sent: BTreeMap::new() }
    }
}

impl<S: Ord + Clone> Outbox<S> {
    /// Owes a notice about `subject` from `at` on. One that is due later already comes sooner, unless
    /// it was refused.
    pub(super) fn owe(&mut self, at: Instant, subject: S) {
        match self.debts.get_mut(&subject) {
            Some(Debt { stage: Stage::Sent { changed, .. }, .. }) => *changed = true,
            Some(Debt { stage: Stage::Due { at: later }, attempts: 0 }) if *later > at => {
                let later = (*later, subject.clone());
                self.due.remove(&later);
                self.put(subject, at, 0);
            }
            Some(Debt { stage: Stage::Due { .. }, .. }) => {}
            None => self.put(subject, at, 0),
        }
    }

    /// The next notice to send under the number `id`, if there is one and not too many are under way.
    pub(super) fn next(&mut self, now: Instant, id: u64, patience: Duration) -> Option<S> {
        if self.sent.len() >= limits::GRPC_NOTICES_UNDER_WAY_MAX {
            return None;
        }
        self.due(now)?;
        let (_, subject) = self.due.pop_first()?;
        let debt = self.debts.get_mut(&subject)?;
        debt.attempts += 1;
        debt.stage = Stage::Sent { id, deadline: now + patience, changed: false };
        self.sent.insert(id, subject.clone());
        Some(subject)
    }

    /// The client answered notice `id`; returns what it has heard of by that. An unknown number is
    /// late, or nonsense.
    pub(super) fn answered(&mut self, now: Instant, id: u64, is_ok: bool) -> Option<S> {
        let subject = self.sent.remove(&id)?;
        let debt = self.debts.remove(&subject)?;
        let heard = is_ok.then(|| subject.clone());
        match debt.stage {
            Stage::Sent { changed: true, .. } if is_ok => self.put(subject, now, 0),
            Stage::Sent { .. } if !is_ok => {
                self.put(subject, now + pause(debt.attempts), debt.attempts);
            }
            Stage::Sent { .. } | Stage::Due { .. } => {}
        }
        heard
    }

    /// Nothing is owed about `subject` any more.
    pub(super) fn forget(&mut self, subject: &S) {
        match self.debts.remove(subject).map(|debt| debt.stage) {
            Some(Stage::Due { at }) => {
                self.due.remove(&(at, subject.clone()));
            }
            Some(Stage::Sent { id, .. }) => {
                self.sent.remove(&id);
            }
            None => {}
        }
    }

    /// Takes notices that were not answered in time for refused; false when one was tried too often.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let late = |(id, subject): (&u64, &S)| match self.debts.get(subject)?.stage {
            Stage::Sent { deadline, .. } if deadline <= now => Some(*id),
            Stage::Sent { .. } | Stage::Due { .. } => None,
        };
        let late: Vec<u64> = self.sent.iter().filter_map(late).collect();
        for id in late {
            self.answered(now, id, false);
        }
        let is_hopeless = |debt: &Debt| {
            matches!(debt.stage, Stage::Due { .. })
                && debt.attempts >= limits::GRPC_NOTICE_ATTEMPTS_MAX
        };
        !self.debts.values().any(is_hopeless)
    }

    /// What is to be sent next, if that is now.
    pub(super) fn due(&self, now: Instant) -> Option<&S> {
        self.due.first().filter(|(at, _)| *at <= now).map(|(_, subject)| subject)
    }

    /// Whether there is something to send now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due(now).is_some()
    }

    fn put(&mut self, subject: S, at: Instant, attempts: u32) {
        self.due.insert((at, subject.clone()));
        self.debts.insert(subject, Debt { stage: Stage::Due { at }, attempts });
    }
}

/// Pause before the next attempt: it grows with every one (Nacos: two seconds for each).
fn pause(attempts: u32) -> Duration {
    (limits::GRPC_NOTICE_RETRY * attempts).min(limits::GRPC_NOTICE_RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    #[test]
    fn changes_while_a_notice_is_under_way_become_one_more_notice() {
        let mut outbox = Outbox::default();
        outbox.owe(at(0), 'a');
        outbox.owe(at(0), 'a');
        assert_eq!(outbox.next(at(0), 1, PATIENCE), Some('a'));
        assert_eq!(outbox.next(at(0), 2, PATIENCE), None);
        outbox.owe(at(1), 'a');
        outbox.owe(at(1), 'a');
        assert_eq!(outbox.next(at(1), 2, PATIENCE), None, "not before the answer");
        outbox.answered(at(1), 1, true);
        assert_eq!(outbox.next(at(1), 2, PATIENCE), Some('a'));
        outbox.answered(at(1), 2, true);
        assert!(outbox.debts.is_empty() && outbox.due.is_empty() && outbox.sent.is_empty());
    }

    #[test]
    fn a_change_is_told_before_a_notice_that_may_wait() {
        let mut outbox = Outbox::default();
        outbox.owe(at(9), 'a');
        assert_eq!(outbox.next(at(1), 1, PATIENCE), None);
        outbox.owe(at(1), 'a');
        outbox.owe(at(9), 'a');
        assert_eq!(outbox.next(at(1), 1, PATIENCE), Some('a'));
        outbox.answered(at(1), 1, false);
        outbox.owe(at(1), 'a');
        assert_eq!(outbox.next(at(1), 2, PATIENCE), None, "a refused one waits all the same");
        assert_eq!((outbox.debts.len(), outbox.due.len()), (1, 1));
    }

    #[test]
    fn a_notice_nobody_answers_is_sent_again_ever_later_until_it_is_given_up() {
        let mut outbox = Outbox::default();
        outbox.owe(at(0), 'a');
        let (mut now, mut sent) = (at(0), 0_u64);
        loop {
            if outbox.next(now, sent + 1, PATIENCE).is_some() {
                sent += 1;
            }
            now += Duration::from_secs(1);
            if !outbox.tick(now) {
                break;
            }
        }
        assert_eq!(sent, u64::from(limits::GRPC_NOTICE_ATTEMPTS_MAX));
        assert!(now > at(50 * 20), "{now:?}");
    }

    #[test]
    fn a_refused_notice_comes_again_and_a_late_answer_hits_nothing() {
        let mut outbox = Outbox::default();
        outbox.owe(at(0), 'a');
        assert_eq!(outbox.next(at(0), 1, PATIENCE), Some('a'));
        outbox.answered(at(0), 1, false);
        assert!(!outbox.is_due(at(0)));
        assert_eq!(outbox.next(at(9), 2, PATIENCE), Some('a'));
        outbox.answered(at(9), 1, true);
        assert!(outbox.sent.contains_key(&2));
    }

    #[test]
    fn as_many_are_under_way_as_may_be_and_no_more() {
        let mut outbox = Outbox::default();
        let max = limits::GRPC_NOTICES_UNDER_WAY_MAX;
        (0..=max).for_each(|subject| outbox.owe(at(0), subject));
        let ids = 1..;
        let sent = ids.map_while(|id| outbox.next(at(0), id, PATIENCE)).count();
        assert_eq!(sent, max);
        outbox.answered(at(0), 1, true);
        assert_eq!(outbox.next(at(0), 9_999, PATIENCE), Some(max));
    }

    #[test]
    fn a_forgotten_subject_leaves_nothing_behind() {
        let mut outbox = Outbox::default();
        for subject in ['a', 'b'] {
            outbox.owe(at(0), subject);
        }
        assert_eq!(outbox.next(at(0), 1, PATIENCE), Some('a'));
        outbox.forget(&'a');
        outbox.forget(&'b');
        outbox.answered(at(0), 1, false);
        assert!(outbox.debts.is_empty() && outbox.due.is_empty() && outbox.sent.is_empty());
    }
}
