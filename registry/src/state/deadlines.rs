//! What a change does to the deadlines of its service: when somebody may be silent for too long,
//! when an empty service and overrides without an instance may be forgotten. Each of these is
//! called by the rules after a change of its kind.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use nacolet_model::{Instant, limits};

use crate::state::catalog::ServiceSlot;
use crate::state::health::BeatClock;
use crate::state::registry::Registry;
use crate::state::timetable::Due;
use crate::words::io::Output;

impl Registry {
    /// Looks no later than the instances at `at` need it. Called when one comes, comes back or gets
    /// other timers; where a beat moved a deadline away, the look finds out.
    pub(crate) fn look_at(&mut self, now: Instant, slot: ServiceSlot, at: Range<usize>) {
        if !self.switches.watches_beats() {
            return;
        }
        let clock = self.beat_clock();
        let Some(service) = self.catalog.get_mut(slot).filter(|service| service.watched) else {
            return;
        };
        debug_assert!(at.end <= service.publications().len(), "positions point to instances");
        let mut soonest = service.armed.health;
        let instances = service.publications().get(at).unwrap_or_default();
        for instance in instances.iter().filter(|instance| clock.watches(instance)) {
            let next = clock.next_look(instance, now);
            soonest = Some(soonest.map_or(next, |soonest| soonest.min(next)));
        }
        self.timetable.arm(&mut service.armed.health, soonest, Due::Health(slot));
    }

    /// [`Self::look_at`] for a whole service.
    pub(crate) fn look_at_all(&mut self, now: Instant, slot: ServiceSlot) {
        let count = self.catalog.get(slot).map_or(0, |service| service.publications().len());
        self.look_at(now, slot, 0..count);
    }

    pub(crate) fn beat_clock(&self) -> BeatClock {
        let interval = self.switches.client_beat_interval();
        BeatClock { interval, resumed: self.resumed, lives: Arc::clone(&self.distro.view.lives) }
    }

    /// Instances or what was said about them went: the rest may be forgettable after a while.
    pub(crate) fn thinned(&mut self, now: Instant, slot: ServiceSlot) {
        self.note_orphans(now, slot);
        let Some(service) = self.catalog.get_mut(slot) else { return };
        service.tidy();
        assert!(self.text_bytes >= service.counted_bytes, "the sum holds the texts of the service");
        self.text_bytes = self.text_bytes - service.counted_bytes + service.text_bytes();
        service.counted_bytes = service.text_bytes();
        if service.is_forgettable() {
            let later = now + limits::EMPTY_SERVICE_EXPIRY;
            let removed = service.removed.filter(|at| now < *at + limits::EMPTY_SERVICE_EXPIRY);
            let at = Some(removed.map_or(later, |_| now));
            self.timetable.arm(&mut service.armed.empty, at, Due::Empty(slot));
        }
    }

    /// An instance came: an override may have waited for it.
    pub(crate) fn welcomed(&mut self, now: Instant, slot: ServiceSlot) {
        if self.orphans.contains_key(&slot) {
            self.note_orphans(now, slot);
        }
    }

    /// Brings the list of overrides without an instance up to date.
    pub(crate) fn note_orphans(&mut self, now: Instant, slot: ServiceSlot) {
        let Some(service) = self.catalog.get_mut(slot) else { return };
        if !service.has_orphans() {
            self.orphans.remove(&slot);
            self.timetable.arm(&mut service.armed.orphans, None, Due::Orphans(slot));
            return;
        }
        let known = self.orphans.remove(&slot).unwrap_or_default();
        let mut orphans = BTreeMap::new();
        for key in service.orphans() {
            let due = known.get(key).copied().unwrap_or(now + limits::OVERRIDE_EXPIRY);
            orphans.insert(key.clone(), due);
        }
        debug_assert!(!orphans.is_empty(), "a service with orphans has some");
        let soonest = orphans.values().min().copied();
        self.timetable.arm(&mut service.armed.orphans, soonest, Due::Orphans(slot));
        self.orphans.insert(slot, orphans);
    }

    /// What every change ends with.
    pub(crate) fn settle(&mut self, now: Instant, out: &mut Vec<Output>) {
        let at = self.subscribers.next_deadline();
        self.timetable.arm(&mut self.subscribers_armed, at, Due::Subscribers);
        if let Some(until) = self.ref_time.ask(now) {
            out.push(Output::ReserveRefTime { until });
        }
    }
}
