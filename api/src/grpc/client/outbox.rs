//! What a client is owed: at most one notice per subject, sent again until it is acknowledged. What
//! changes while a notice is under way is told in the next one, so a slow client costs one entry
//! per subject and not one message per change.
//!
//! ```text
//!   owe ──► Due ── next ──► Sent ── acknowledged ──► gone, or Due where it changed meanwhile
//!            ▲                │
//!            └── later ───────┴─ refused or silent
//! ```
//!
//! A change of a config is told at a pace of its own. Go 2.3.5 takes all its configs for up to date
//! when it has worked through the answer to a listen, and with that forgets a notice that came in
//! between; it hears of that change five minutes later. So a notice is never right behind such an
//! answer, nor behind another notice, which makes it listen again.

use std::collections::{BTreeMap, BTreeSet};

use nacolet_model::{Duration, Instant, limits};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoticeStage {
    Due { at: Instant },
    Sent { id: u64, deadline: Instant, changed: bool },
}

/// A subject of notices, cheap to clone.
pub(crate) trait NoticeSubject: Ord + Clone {
    /// Whether notices about it keep their distance from each other and from answers to listens.
    fn is_paced(&self) -> bool;
}

#[derive(Clone, Copy, Debug)]
struct Debt {
    stage: NoticeStage,
    attempts: u32,
}

/// The notices of one client.
#[derive(Debug)]
pub(crate) struct Outbox<S> {
    debts: BTreeMap<S, Debt>,
    due: BTreeSet<(Instant, S)>,
    /// As `due`, those that are paced.
    paced: BTreeSet<(Instant, S)>,
    sent: BTreeMap<u64, S>,
    /// What is paced waits until then, but for what has waited long.
    silent_until: Instant,
    /// What is paced and owed from now on is due then, together.
    next_burst: Instant,
}

impl<S> Default for Outbox<S> {
    fn default() -> Self {
        Self {
            debts: BTreeMap::new(),
            due: BTreeSet::new(),
            paced: BTreeSet::new(),
            sent: BTreeMap::new(),
            silent_until: Instant::default(),
            next_burst: Instant::default(),
        }
    }
}

impl<S: NoticeSubject> Outbox<S> {
    /// Owes a notice about `subject` from `at` on. One that is due later already comes sooner,
    /// unless it was refused.
    pub(crate) fn owe(&mut self, at: Instant, subject: S) {
        let at = if subject.is_paced() { at.max(self.next_burst) } else { at };
        match self.debts.get_mut(&subject) {
            Some(Debt { stage: NoticeStage::Sent { changed, .. }, .. }) => *changed = true,
            Some(Debt { stage: NoticeStage::Due { at: later }, attempts: 0 }) if *later > at => {
                let later = (*later, subject.clone());
                self.lane(&subject).remove(&later);
                self.put(subject, at, 0);
            }
            Some(Debt { stage: NoticeStage::Due { .. }, .. }) => {}
            None => self.put(subject, at, 0),
        }
    }

    /// The next notice to send under the number `id`, if there is one and not too many are under
    /// way.
    pub(crate) fn next(&mut self, now: Instant, id: u64, patience: Duration) -> Option<S> {
        if self.sent.len() >= limits::GRPC_NOTICES_UNDER_WAY_MAX {
            return None;
        }
        let subject = self.due(now)?.clone();
        if subject.is_paced() {
            self.paced.pop_first();
            if self.next_burst <= now {
                self.next_burst = now + limits::GRPC_NOTICE_PACE;
            }
        } else {
            self.due.pop_first();
        }
        let debt = self.debts.get_mut(&subject)?;
        debt.attempts += 1;
        debt.stage = NoticeStage::Sent { id, deadline: now + patience, changed: false };
        self.sent.insert(id, subject.clone());
        Some(subject)
    }

    /// The client answered notice `id`; returns what it has heard of by that. An unknown number is
    /// late, or nonsense.
    pub(crate) fn answered(&mut self, now: Instant, id: u64, is_ok: bool) -> Option<S> {
        let subject = self.sent.remove(&id)?;
        let debt = self.debts.remove(&subject)?;
        let heard = is_ok.then(|| subject.clone());
        match debt.stage {
            NoticeStage::Sent { changed: true, .. } if is_ok => self.owe(now, subject),
            NoticeStage::Sent { .. } if !is_ok => {
                self.put(subject, now + pause(debt.attempts), debt.attempts);
            }
            NoticeStage::Sent { .. } | NoticeStage::Due { .. } => {}
        }
        heard
    }

    /// Nothing is owed about `subject` any more.
    pub(crate) fn forget(&mut self, subject: &S) {
        match self.debts.remove(subject).map(|debt| debt.stage) {
            Some(NoticeStage::Due { at }) => {
                self.lane(subject).remove(&(at, subject.clone()));
            }
            Some(NoticeStage::Sent { id, .. }) => {
                self.sent.remove(&id);
            }
            None => {}
        }
    }

    /// Takes notices that were not answered in time for refused; false when one was tried too
    /// often.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let late = |(id, subject): (&u64, &S)| match self.debts.get(subject)?.stage {
            NoticeStage::Sent { deadline, .. } if deadline <= now => Some(*id),
            NoticeStage::Sent { .. } | NoticeStage::Due { .. } => None,
        };
        let late: Vec<u64> = self.sent.iter().filter_map(late).collect();
        for id in late {
            self.answered(now, id, false);
        }
        let is_hopeless = |debt: &Debt| {
            matches!(debt.stage, NoticeStage::Due { .. })
                && debt.attempts >= limits::GRPC_NOTICE_ATTEMPTS_MAX
        };
        !self.debts.values().any(is_hopeless)
    }

    /// The client is answered what of its configs changed.
    pub(crate) fn answers(&mut self, now: Instant) {
        self.silent_until = now + limits::GRPC_NOTICE_PACE;
    }

    /// What is to be sent next, if that is now.
    pub(crate) fn due(&self, now: Instant) -> Option<&S> {
        let free = self.due.first().filter(|(at, _)| *at <= now);
        let paced = self.paced.first().filter(|(at, _)| self.opens(*at) <= now);
        let first = match (free, paced) {
            (Some(free), Some(paced)) => Some(free.min(paced)),
            (free, paced) => free.or(paced),
        };
        first.map(|(_, subject)| subject)
    }

    /// When the first of what is paced may be sent, where that is later than now.
    pub(crate) fn opens_later(&self, now: Instant) -> Option<Instant> {
        let first = self.paced.first().map(|(at, _)| self.opens(*at));
        first.filter(|opens| *opens > now)
    }

    /// When something paced that is due at `at` may be sent.
    fn opens(&self, at: Instant) -> Instant {
        at.max(self.silent_until.min(at + limits::GRPC_NOTICE_HELD_MAX))
    }

    fn lane(&mut self, subject: &S) -> &mut BTreeSet<(Instant, S)> {
        if subject.is_paced() { &mut self.paced } else { &mut self.due }
    }

    /// Whether there is something to send now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due(now).is_some()
    }

    fn put(&mut self, subject: S, at: Instant, attempts: u32) {
        self.lane(&subject).insert((at, subject.clone()));
        self.debts.insert(subject, Debt { stage: NoticeStage::Due { at }, attempts });
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

    impl NoticeSubject for char {
        fn is_paced(&self) -> bool {
            self.is_uppercase()
        }
    }

    impl NoticeSubject for usize {
        fn is_paced(&self) -> bool {
            false
        }
    }

    fn millis(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    const PACE: Duration = limits::GRPC_NOTICE_PACE;
    const HELD: Duration = limits::GRPC_NOTICE_HELD_MAX;

    #[test]
    fn a_paced_notice_is_not_right_behind_an_answer() {
        let mut outbox = Outbox::default();
        outbox.answers(millis(100));
        outbox.owe(millis(101), 'A');
        outbox.owe(millis(102), 'b');
        assert_eq!(outbox.next(millis(102), 1, PATIENCE), Some('b'), "others do not wait");
        assert_eq!(outbox.next(millis(102), 2, PATIENCE), None);
        assert_eq!(outbox.opens_later(millis(102)), Some(millis(100) + PACE));
        // Another change meanwhile is the same notice.
        outbox.owe(millis(110), 'A');
        assert_eq!(outbox.next(millis(99) + PACE, 2, PATIENCE), None);
        assert_eq!(outbox.next(millis(100) + PACE, 2, PATIENCE), Some('A'));
        assert_eq!(outbox.opens_later(millis(100) + PACE), None);
    }

    #[test]
    fn a_paced_notice_is_not_right_behind_another_but_a_burst_goes_together() {
        let mut outbox = Outbox::default();
        outbox.owe(millis(100), 'A');
        outbox.owe(millis(100), 'B');
        assert_eq!(outbox.next(millis(100), 1, PATIENCE), Some('A'));
        assert_eq!(outbox.next(millis(100), 2, PATIENCE), Some('B'));
        for (at, subject) in [(101, 'C'), (105, 'D')] {
            outbox.owe(millis(at), subject);
        }
        outbox.owe(millis(106), 'A');
        outbox.answered(millis(107), 1, true);
        assert_eq!(outbox.next(millis(107), 3, PATIENCE), None);
        assert_eq!(outbox.opens_later(millis(107)), Some(millis(100) + PACE));
        let burst: Vec<_> =
            (3..).map_while(|id| outbox.next(millis(100) + PACE, id, PATIENCE)).collect();
        assert_eq!(burst, ['A', 'C', 'D']);
    }

    #[test]
    fn a_client_that_listens_all_the_time_still_hears() {
        let mut outbox = Outbox::default();
        outbox.owe(millis(100), 'A');
        let mut now = 100;
        loop {
            outbox.answers(millis(now));
            if outbox.next(millis(now), 1, PATIENCE).is_some() {
                break;
            }
            assert!(outbox.opens_later(millis(now)).is_some(), "somebody looks again");
            now += 1;
        }
        assert_eq!(millis(now), millis(100) + HELD);
        outbox.forget(&'A');
        assert!(outbox.debts.is_empty() && outbox.paced.is_empty() && outbox.sent.is_empty());
    }

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
