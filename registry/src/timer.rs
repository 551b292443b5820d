//! The one table of deadlines. Every service has at most one deadline of a kind, and remembers it, so
//! that arming replaces and a removed service leaves nothing behind.

use alloc::collections::BTreeSet;

use nacolet_model::Instant;

use crate::catalog::Slot;

/// What is due. The order of variants is the order within one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// Look at the beats of a service.
    Health(Slot),
    /// Forget a service that is still empty.
    Empty(Slot),
    /// Propose to forget overrides of instances that are still gone.
    Orphans(Slot),
    /// Push a service to its subscribers.
    Push(Slot),
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
            self.deadlines.remove(&(old, due));
        }
        if let Some(at) = at {
            self.deadlines.insert((at, due));
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
