//! The one table of deadlines. Every service has at most one deadline of a kind, and remembers it,
//! so that arming replaces and a removed service leaves nothing behind.

use alloc::collections::BTreeSet;

use nacolet_model::Instant;

use crate::state::catalog::ServiceSlot;

/// What is due. The order of variants is the order within one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// Look at the beats of a service.
    Health(ServiceSlot),
    /// Forget a service that is still empty.
    Empty(ServiceSlot),
    /// Propose to forget overrides of instances that are still gone.
    Orphans(ServiceSlot),
    /// Push a service to its subscribers.
    Push(ServiceSlot),
    /// Look at leases and unacknowledged pushes of subscribers.
    Subscribers,
    /// Look after the other members.
    Distro,
}

/// All deadlines, soonest first.
#[derive(Debug, Default)]
pub(crate) struct Timetable {
    deadlines: BTreeSet<(Instant, Due)>,
}

impl Timetable {
    /// Moves the deadline that `armed` remembers to `at`, or takes it away.
    pub(crate) fn arm(&mut self, armed: &mut Option<Instant>, at: Option<Instant>, due: Due) {
        if *armed == at {
            return;
        }
        if let Some(old) = armed.take() {
            let was_there = self.deadlines.remove(&(old, due));
            assert!(was_there, "what is armed stands in the timetable");
        }
        if let Some(at) = at {
            let is_new = self.deadlines.insert((at, due));
            assert!(is_new, "a deadline has one owner");
            *armed = Some(at);
        }
    }

    /// The soonest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes what is due at `now`; whoever armed it forgets its deadline.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Due> {
        self.deadlines.first().filter(|(at, _)| *at <= now)?;
        self.deadlines.pop_first().map(|(_, due)| due)
    }

    pub(crate) fn len(&self) -> usize {
        self.deadlines.len()
    }

    pub(crate) fn contains(&self, at: Instant, due: Due) -> bool {
        self.deadlines.contains(&(at, due))
    }
}
