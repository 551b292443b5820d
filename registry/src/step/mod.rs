//! What happens to a registry, one input after another, and what is due by then.
//!
//! Read this file first: every input and every deadline is one line of a `match`. Requests go on to
//! `door`, what connections publish to `publish`, what other members say to `distro`. Commands from
//! the Raft log come in through `apply`. Reads need no step: they are in `query`.

pub(crate) mod apply;
mod door;
pub(crate) mod publish;

use alloc::vec::Vec;

use nacolet_model::{Instant, limits};

use crate::state::catalog::ServiceSlot;
use crate::state::health::HealthLook;
use crate::state::registry::Registry;
use crate::state::service::Service;
use crate::state::timetable::Due;
use crate::words::command::Command;
use crate::words::io::{Input, Output};
use crate::words::message::GoneCause;

impl Registry {
    /// Takes one input and orders what follows from it. What is due at `now` is done first.
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        // A pause of ours is noticed before deadlines fire, or it would be taken for the silence of
        // clients.
        self.note_pause(now);
        self.fire(now, out);
        match input {
            Input::Request { request, at, body } => {
                self.ref_time.note_wall(now, at);
                self.request(now, request, body, out);
            }
            Input::Subscribe { service, clusters, subscriber, at } => {
                self.ref_time.note_wall(now, at);
                let lease = self.switches.push_cache() + limits::UDP_SUBSCRIBER_SLACK;
                self.subscribers.subscribe(now, lease, service, clusters, subscriber);
            }
            Input::ClientGone(client) => self.client_gone(now, client),
            Input::Acked { reference } => self.subscribers.acked(reference),
            Input::RefTimeReserved { until } => {
                if self.ref_time.reserved(until) {
                    self.show_held_back();
                }
            }
            Input::WallClock(at) => self.ref_time.note_wall(now, at),
            Input::Members(members) => {
                self.members(now, &members);
                // Whoever is new is pinged in this step.
                self.fire(now, out);
            }
            Input::Peer { from, message } => self.peer(now, from, message, out),
            Input::Unsent { to } => self.unsent(to),
            Input::Wake => {}
        }
        self.settle(now, out);
    }

    /// What to store as the last [`Output::ReserveRefTime`] of a life that shows nothing any more:
    /// the next one begins where this one ended.
    #[must_use]
    pub fn ref_time_floor_at_end(&self) -> u64 {
        self.ref_time.floor_at_end()
    }

    /// When [`Input::Wake`] is due; `None` while nothing can expire.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timetable.next()
    }

    /// A wake-up that comes late means that this process, not its clients, was silent.
    fn note_pause(&mut self, now: Instant) {
        let Some(asked) = self.timetable.next() else { return };
        if asked + limits::OWN_PAUSE < now {
            self.resumed = Some(now);
            self.forgive_silence(now);
        }
        if asked + limits::DISTRO_STALE_AFTER < now {
            self.load_again(now);
        }
    }

    fn fire(&mut self, now: Instant, out: &mut Vec<Output>) {
        // Each deadline is forgotten before it is carried out, which may arm it anew.
        while let Some(due) = self.timetable.pop(now) {
            match due {
                Due::Health(slot) => {
                    self.disarm(slot, |service| service.armed.health = None);
                    self.look(now, slot);
                }
                Due::Empty(slot) => {
                    self.disarm(slot, |service| service.armed.empty = None);
                    self.forget_service(slot);
                }
                Due::Orphans(slot) => {
                    self.disarm(slot, |service| service.armed.orphans = None);
                    self.propose_to_forget(now, slot, out);
                }
                Due::Push(slot) => {
                    self.disarm(slot, |service| service.armed.push = None);
                    self.push(now, slot, out);
                }
                Due::Subscribers => {
                    self.subscribers_armed = None;
                    self.subscribers.wake(now, out);
                    let at = self.subscribers.next_deadline();
                    self.timetable.arm(&mut self.subscribers_armed, at, Due::Subscribers);
                }
                Due::Distro => {
                    self.distro.armed = None;
                    self.tick(now, out);
                }
            }
        }
        assert!(self.timetable.next().is_none_or(|at| at > now), "what was due is done");
    }

    fn disarm(&mut self, slot: ServiceSlot, clear: impl FnOnce(&mut Service)) {
        if let Some(service) = self.catalog.get_mut(slot) {
            clear(service);
        }
    }

    /// Looks at the beats of one service.
    fn look(&mut self, now: Instant, slot: ServiceSlot) {
        if !self.switches.watches_beats() {
            return;
        }
        if !self.catalog.get(slot).is_some_and(|service| service.watched) {
            return;
        }
        let clock = self.beat_clock();
        let mut look = HealthLook::default();
        self.catalog.retain_instances(slot, |instance| look.at(instance, now, &clock));
        if let Some(service) = self.catalog.get_mut(slot) {
            self.timetable.arm(&mut service.armed.health, look.next, Due::Health(slot));
        }
        let HealthLook { sick, gone, .. } = look;
        if sick.is_empty() && gone.is_empty() {
            return;
        }
        let counter = self.changed(now, slot);
        sick.iter().for_each(|key| self.altered(slot, key, counter));
        if !gone.is_empty() {
            for (key, born) in gone {
                self.buried(now, slot, key, born, GoneCause::Expired);
            }
            self.thinned(now, slot);
        }
    }

    /// The lists that were shown with a lower time than they have. Nobody is told again: they are
    /// the same lists.
    fn show_held_back(&mut self) {
        for slot in self.catalog.slots() {
            let Some(service) = self.catalog.get_mut(slot) else { continue };
            if service.last_ref_time < service.ref_time {
                self.revision += 1;
                service.revision = self.revision;
                service.last_ref_time = self.ref_time.show(service.ref_time);
            }
        }
    }

    /// Wants overrides forgotten whose instance did not come back; asks again if nothing happens.
    fn propose_to_forget(&mut self, now: Instant, slot: ServiceSlot, out: &mut Vec<Output>) {
        let Some(service) = self.catalog.get(slot) else { return };
        let mut instances = Vec::new();
        for (key, due) in self.orphans.entry(slot).or_default() {
            if *due <= now {
                *due = now + limits::OVERRIDE_EXPIRY;
                instances.push(key.clone());
            }
        }
        if !instances.is_empty() {
            let service = service.key().clone();
            let command = Command::RemoveOverrides { service, instances };
            out.push(Output::Propose { request: None, command });
        }
        self.note_orphans(now, slot);
    }

    fn push(&mut self, now: Instant, slot: ServiceSlot, out: &mut Vec<Output>) {
        let Some(service) = self.catalog.get(slot) else { return };
        if self.switches.push_enabled {
            self.subscribers.push(now, service.key(), out);
        }
    }
}
