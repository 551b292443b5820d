//! The registry as one value: what may happen to it, what it orders, and the deadlines it keeps.
//! Requests go on to `door`, commands from the Raft log to `persistent`, reads to `query`.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::AtomicBool;

use nacolet_model::{Instant, NodeId, Prng, RequestId, ServiceKey, WallTime, limits};

use crate::catalog::{Catalog, Slot};
use crate::client::{ClientId, Clients};
use crate::distro::Distro;
use crate::distro::message::{Cause, Life, Message};
use crate::health::{Clock, Look};
use crate::persistent::Command;
use crate::reftime::RefTime;
use crate::request::{RegistryError, Reply, Request};
use crate::service::Service;
use crate::spec::InstanceKey;
use crate::subscribe::{Subscriber, Subscribers};
use crate::switches::Switches;
use crate::timer::{Due, Timetable};

/// What the shell knows when it makes a registry.
#[derive(Clone, Copy, Debug, Default)]
pub struct RegistrySettings {
    /// Source of numbers that should differ from life to life.
    pub seed: u64,
    /// The last `until` of [`Output::ReserveRefTime`] that was stored; 0 when there is none.
    pub ref_time_floor: u64,
    /// This node.
    pub node: NodeId,
    /// This life of it.
    pub life: Life,
    /// Whether it is, or may become, one of several members.
    pub clustered: bool,
}

/// What happened, or is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A caller wants a write; it is answered by [`Output::Reply`] or [`Output::Propose`].
    Request {
        /// Who waits.
        request: RequestId,
        /// The wall clock when it came.
        at: WallTime,
        /// What is wanted.
        body: Request,
    },
    /// A list call came from somebody who listens on a UDP port.
    Subscribe {
        /// To what.
        service: ServiceKey,
        /// Which clusters, as the caller spells them.
        clusters: Box<str>,
        /// Who.
        subscriber: Subscriber,
        /// The wall clock when it came.
        at: WallTime,
    },
    /// A connection has closed: what it published and nobody else registered since goes.
    ClientGone(ClientId),
    /// A push arrived.
    Acked {
        /// As in [`Output::Push`].
        reference: u64,
    },
    /// A ceiling is durable.
    RefTimeReserved {
        /// As in [`Output::ReserveRefTime`].
        until: u64,
    },
    /// The wall clock. Sent once before the first request, it gets the first ceiling reserved.
    WallClock(WallTime),
    /// The members of the cluster, this node included: at the start and with every change.
    Members(Vec<NodeId>),
    /// Another member says something.
    Peer {
        /// Who.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// A message to another member was lost on the way out.
    Unsent {
        /// To whom.
        to: NodeId,
    },
    /// A deadline has come.
    Wake,
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Answer a caller.
    Reply {
        /// Who waits.
        request: RequestId,
        /// The answer.
        result: Result<Reply, RegistryError>,
    },
    /// Write `command` to the Raft log and answer the caller with what [`Registry::apply`] returns.
    Propose {
        /// Who waits; nobody where the registry itself wants it. It asks again if it fails.
        request: Option<RequestId>,
        /// The command.
        command: Command,
    },
    /// Send a subscriber the list of a service.
    Push {
        /// To whom.
        subscriber: Subscriber,
        /// Which service.
        service: ServiceKey,
        /// Which clusters, as the subscriber spelled them.
        clusters: Box<str>,
        /// What the acknowledgement has to carry.
        reference: u64,
    },
    /// Store `until` durably, then say so with [`Input::RefTimeReserved`].
    ReserveRefTime {
        /// Goes into [`RegistrySettings::ref_time_floor`] at the next start.
        until: u64,
    },
    /// Send a message to other members. Whatever is lost is found later.
    Send {
        /// To whom.
        to: Vec<NodeId>,
        /// What.
        message: Message,
    },
}

/// All services and instances of a node.
#[derive(Debug)]
pub struct Registry {
    pub(crate) catalog: Catalog,
    pub(crate) switches: Switches,
    pub(crate) subscribers: Subscribers,
    pub(crate) clients: Clients,
    pub(crate) distro: Distro,
    /// A beat came that another member has to be told of.
    pub(crate) beats_to_tell: AtomicBool,
    /// Services whose list changed since somebody last asked.
    dirty: BTreeSet<Slot>,
    /// Services that went since then.
    forgotten: Vec<ServiceKey>,
    pub(crate) ref_time: RefTime,
    pub(crate) timetable: Timetable,
    /// Overrides whose instance is gone, and when they may be forgotten.
    orphans: BTreeMap<Slot, BTreeMap<InstanceKey, Instant>>,
    /// The deadline of `subscribers` that stands in the timetable.
    subscribers_armed: Option<Instant>,
    /// When the process last noticed that it had been stopped.
    resumed: Option<Instant>,
    revision: u64,
    /// Sum of the texts of all services.
    pub(crate) text_bytes: usize,
    pub(crate) hash: u64,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new(settings: RegistrySettings) -> Self {
        // Small enough for clients that read the reference as a floating-point number.
        let reference = Prng::new(settings.seed).below(1 << 48);
        Self {
            catalog: Catalog::default(),
            switches: Switches::default(),
            subscribers: Subscribers::new(reference),
            clients: Clients::default(),
            distro: Distro::new(settings.node, settings.life, settings.clustered),
            beats_to_tell: AtomicBool::new(false),
            dirty: BTreeSet::new(),
            forgotten: Vec::new(),
            ref_time: RefTime::new(settings.ref_time_floor),
            timetable: Timetable::default(),
            orphans: BTreeMap::new(),
            subscribers_armed: None,
            resumed: None,
            revision: 0,
            text_bytes: 0,
            hash: 0,
        }
    }

    /// Takes one input and orders what follows from it. What is due at `now` is done first.
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
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
                    self.show_held_back(now);
                }
            }
            Input::WallClock(at) => self.ref_time.note_wall(now, at),
            Input::Members(members) => self.members(now, &members, out),
            Input::Peer { from, message } => self.peer(now, from, message, out),
            Input::Unsent { to } => self.unsent(to),
            Input::Wake => {}
        }
        self.settle(now, out);
    }

    /// The services that came, went or have another list since the last call, for those who are told
    /// at once rather than by [`Output::Push`]. Whoever drives the registry asks after every step.
    pub fn take_changed(&mut self) -> Vec<ServiceKey> {
        let dirty = core::mem::take(&mut self.dirty);
        let mut changed = core::mem::take(&mut self.forgotten);
        changed.extend(
            dirty.into_iter().filter_map(|slot| Some(self.catalog.get(slot)?.key().clone())),
        );
        changed
    }

    /// When [`Input::Wake`] is due; `None` while nothing can expire.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timetable.next()
    }

    /// What every change ends with.
    pub(crate) fn settle(&mut self, now: Instant, out: &mut Vec<Output>) {
        let at = self.subscribers.next_deadline();
        self.timetable.arm(&mut self.subscribers_armed, at, Due::Subscribers);
        if let Some(until) = self.ref_time.ask(now) {
            out.push(Output::ReserveRefTime { until });
        }
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

    pub(crate) fn fire(&mut self, now: Instant, out: &mut Vec<Output>) {
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
    }

    fn disarm(&mut self, slot: Slot, clear: impl FnOnce(&mut Service)) {
        if let Some(service) = self.catalog.get_mut(slot) {
            clear(service);
        }
    }

    /// Looks at the beats of one service.
    pub(crate) fn look(&mut self, now: Instant, slot: Slot) {
        if !self.switches.watches_beats() {
            return;
        }
        if !self.catalog.get(slot).is_some_and(|service| service.watched) {
            return;
        }
        let clock = self.beat_clock();
        let mut look = Look::default();
        self.catalog.retain_instances(slot, |instance| look.at(instance, now, &clock));
        if let Some(service) = self.catalog.get_mut(slot) {
            self.timetable.arm(&mut service.armed.health, look.next, Due::Health(slot));
        }
        let Look { sick, gone, .. } = look;
        if sick.is_empty() && gone.is_empty() {
            return;
        }
        let counter = self.changed(now, slot);
        sick.iter().for_each(|key| self.altered(slot, key, counter));
        if !gone.is_empty() {
            let service = self.catalog.get(slot).map(|service| service.key().clone());
            for (key, born) in gone {
                self.buried(now, slot, key.clone(), born, Cause::Expired);
                service.iter().for_each(|service| self.revive(now, service, key.clone()));
            }
            self.thinned(now, slot);
        }
    }

    fn beat_clock(&self) -> Clock {
        let interval = self.switches.client_beat_interval();
        Clock { interval, resumed: self.resumed, lives: Arc::clone(&self.distro.view.lives) }
    }

    /// Looks no later than the instances at `at` need it. Called when one comes, comes back or gets
    /// other timers; where a beat moved a deadline away, the look finds out.
    pub(crate) fn look_at(&mut self, now: Instant, slot: Slot, at: Range<usize>) {
        if !self.switches.watches_beats() {
            return;
        }
        let clock = self.beat_clock();
        let Some(service) = self.catalog.get_mut(slot).filter(|service| service.watched) else {
            return;
        };
        let mut soonest = service.armed.health;
        let instances = service.instances().get(at).unwrap_or_default();
        for instance in instances.iter().filter(|instance| clock.watches(instance)) {
            let next = clock.next_look(instance, now);
            soonest = Some(soonest.map_or(next, |soonest| soonest.min(next)));
        }
        self.timetable.arm(&mut service.armed.health, soonest, Due::Health(slot));
    }

    /// [`Self::look_at`] for a whole service.
    pub(crate) fn look_at_all(&mut self, now: Instant, slot: Slot) {
        let count = self.catalog.get(slot).map_or(0, |service| service.instances().len());
        self.look_at(now, slot, 0..count);
    }

    /// Something that a list shows changed: readers, clients and subscribers have to notice. Returns
    /// the reference time of the change.
    pub(crate) fn changed(&mut self, now: Instant, slot: Slot) -> u64 {
        let value = self.ref_time.issue(now);
        if let Some(service) = self.catalog.get_mut(slot) {
            service.ref_time_before = service.ref_time;
        }
        self.show_change(now, slot, value);
        value
    }

    /// The same where another member made the change and its list went from `before` to `after`. The
    /// list here is newer than what this node showed, and as new as what that one shows, or newer where
    /// that one did not know what this node holds: clients may come from there.
    pub(crate) fn changed_elsewhere(&mut self, now: Instant, slot: Slot, before: u64, after: u64) {
        let shown = self.catalog.get(slot).map_or(0, |service| service.ref_time);
        // A list that is new here may have been shown before, by an earlier life or another member,
        // and have lost its newest instances since: later than all that was ever heard of.
        let here = if shown == 0 { self.ref_time.last() } else { shown };
        let value = if here > before || here >= after { here.max(after) + 1 } else { after };
        self.ref_time.observe(value);
        self.show_change(now, slot, value);
    }

    /// The lists that were shown with a lower time than they have.
    fn show_held_back(&mut self, now: Instant) {
        for slot in self.catalog.slots() {
            let Some(service) = self.catalog.get(slot) else { continue };
            if service.last_ref_time < service.ref_time {
                self.show_change(now, slot, service.ref_time);
            }
        }
    }

    fn show_change(&mut self, now: Instant, slot: Slot, value: u64) {
        self.revision += 1;
        self.dirty.insert(slot);
        let Some(service) = self.catalog.get_mut(slot) else { return };
        service.revision = self.revision;
        (service.ref_time, service.last_ref_time) = (value, self.ref_time.show(value));
        self.text_bytes = self.text_bytes - service.counted_bytes + service.text_bytes();
        service.counted_bytes = service.text_bytes();
        if self.switches.push_enabled
            && service.armed.push.is_none()
            && self.subscribers.has(service.key())
        {
            let at = Some(now + limits::PUSH_DEBOUNCE);
            self.timetable.arm(&mut service.armed.push, at, Due::Push(slot));
        }
    }

    /// Every list looks different, but no service changed.
    pub(crate) fn all_look_different(&mut self) {
        for slot in self.catalog.slots() {
            self.revision += 1;
            self.dirty.insert(slot);
            if let Some(service) = self.catalog.get_mut(slot) {
                service.revision = self.revision;
            }
        }
    }

    /// Instances or what was said about them went: the rest may be forgettable after a while.
    pub(crate) fn thinned(&mut self, now: Instant, slot: Slot) {
        self.note_orphans(now, slot);
        let Some(service) = self.catalog.get_mut(slot) else { return };
        service.tidy();
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
    pub(crate) fn welcomed(&mut self, now: Instant, slot: Slot) {
        if self.orphans.contains_key(&slot) {
            self.note_orphans(now, slot);
        }
    }

    /// Brings the list of overrides without an instance up to date.
    pub(crate) fn note_orphans(&mut self, now: Instant, slot: Slot) {
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
        let soonest = orphans.values().min().copied();
        self.timetable.arm(&mut service.armed.orphans, soonest, Due::Orphans(slot));
        self.orphans.insert(slot, orphans);
    }

    /// Wants overrides forgotten whose instance did not come back; asks again if nothing happens.
    fn propose_to_forget(&mut self, now: Instant, slot: Slot, out: &mut Vec<Output>) {
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

    fn push(&mut self, now: Instant, slot: Slot, out: &mut Vec<Output>) {
        let Some(service) = self.catalog.get(slot) else { return };
        if self.switches.push_enabled {
            self.subscribers.push(now, service.key(), out);
        }
    }

    /// Removes a service that is empty and that nobody said anything about.
    pub(crate) fn forget_service(&mut self, slot: Slot) {
        let Some(service) = self.catalog.get_mut(slot) else { return };
        if !service.is_forgettable() {
            return;
        }
        self.timetable.arm(&mut service.armed.health, None, Due::Health(slot));
        self.timetable.arm(&mut service.armed.empty, None, Due::Empty(slot));
        self.timetable.arm(&mut service.armed.orphans, None, Due::Orphans(slot));
        self.timetable.arm(&mut service.armed.push, None, Due::Push(slot));
        self.orphans.remove(&slot);
        if let Some(service) = self.catalog.remove(slot)
            && self.forgotten.len() < limits::SERVICES_MAX
        {
            self.forgotten.push(service.key().clone());
        }
    }

    /// Asserts what everything else relies on; for tests, after every step.
    ///
    /// # Panics
    /// When a part of the state contradicts another.
    pub fn invariants(&self) {
        self.catalog.invariants();
        self.subscribers.invariants();
        self.client_invariants();
        self.distro_invariants();
        let clock = self.beat_clock();
        let mut deadlines = usize::from(self.subscribers_armed.is_some());
        deadlines += usize::from(self.distro.armed.is_some());
        assert_eq!(self.subscribers_armed, self.subscribers.next_deadline(), "leases are armed");
        for slot in self.catalog.slots() {
            let Some(service) = self.catalog.get(slot) else { continue };
            let armed = service.armed;
            for (at, due) in [
                (armed.health, Due::Health(slot)),
                (armed.empty, Due::Empty(slot)),
                (armed.orphans, Due::Orphans(slot)),
                (armed.push, Due::Push(slot)),
            ] {
                let Some(at) = at else { continue };
                deadlines += 1;
                assert!(self.timetable.contains(at, due), "what is armed stands in the timetable");
            }
            let beats = self.switches.watches_beats()
                && service.watched
                && service.instances().iter().any(|instance| clock.watches(instance));
            assert!(!beats || armed.health.is_some(), "whoever has to beat is looked at");
            let empty = service.is_forgettable();
            assert!(!empty || armed.empty.is_some(), "an empty service is forgotten some day");
            let orphans = service.has_orphans();
            assert_eq!(orphans, armed.orphans.is_some(), "orphans are forgotten some day");
            assert!(service.revision <= self.revision, "revisions are counted");
            assert!(service.ref_time <= self.ref_time.last(), "times are issued in order");
            assert!(service.last_ref_time <= service.ref_time, "none is shown before");
        }
        let counted = self.catalog.services().map(|service| service.counted_bytes).sum::<usize>();
        assert_eq!(counted, self.text_bytes, "texts are counted");
        assert_eq!(deadlines, self.timetable.len(), "nothing else stands in the timetable");
    }
}
