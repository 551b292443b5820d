//! What every rule may do to the services and their instances, and who then has to notice: readers,
//! by the revision and the reference time of the list; subscribers, by a push; other members, by a
//! copy. A rule that changes what a list shows ends with [`Registry::changed`].

use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::Ordering;

use nacolet_model::{Instant, ServiceKey, limits};

use crate::state::catalog::ServiceSlot;
use crate::state::distro::OutgoingChange;
use crate::state::instance::Instance;
use crate::state::registry::Registry;
use crate::state::service::PutOutcome;
use crate::state::timetable::Due;
use crate::words::message::{GoneCause, InstanceChange};
use crate::words::names::{ClientId, PublicationKey, WriteVersion};
use crate::words::spec::{InstanceKey, InstanceSpec};

impl Registry {
    /// The place of a service, which is new if it was not there.
    pub(crate) fn slot_for(&mut self, key: &ServiceKey) -> ServiceSlot {
        let (slot, is_new) = self.catalog.slot_or_insert(key);
        if is_new && let Some(service) = self.catalog.get_mut(slot) {
            service.watched = self.distro.watches(service.name_hash);
        }
        slot
    }

    /// Adds or overwrites what `owner` publishes, or somebody who beats where there is none: that
    /// one has one publication of a service, whatever cluster he says it is in.
    pub(crate) fn register_ephemeral(
        &mut self,
        now: Instant,
        key: &ServiceKey,
        spec: InstanceSpec,
        owner: Option<ClientId>,
    ) {
        debug_assert!(spec.ephemeral, "persistent instances go through the log");
        debug_assert!(spec.check().is_ok(), "whoever registers has looked at it");
        let slot = self.slot_for(key);
        let instance = spec.key();
        let (put, at) = self.catalog.put_instance(slot, spec, owner, now);
        let there = self.catalog.get(slot).and_then(|service| service.publications().get(at));
        there.into_iter().for_each(|instance| instance.stamp_here(now));
        // Another member may know already that the one that is here has gone: this is a new one,
        // even where it looks the same.
        let counter = match put {
            PutOutcome::Same => self.ref_time.issue(now),
            PutOutcome::Added | PutOutcome::Changed { .. } => self.changed(now, slot),
        };
        // The list has its time by now: the copy for others carries it.
        self.registered(slot, at, counter);
        if put != PutOutcome::Same {
            self.look_at(now, slot, at..at + 1);
        }
        if put == PutOutcome::Added {
            self.welcomed(now, slot);
        }
        match owner {
            Some(_) => self.bury_orphans(now, slot, Some(&instance)),
            None => self.take_out_namesakes(now, slot, &instance),
        }
    }

    /// The client of an orphan has come back on another connection: its publication on one to a
    /// member that is gone waits for nobody. Of one instance, or of all of the service; decided
    /// where the service is watched.
    pub(crate) fn bury_orphans(
        &mut self,
        now: Instant,
        slot: ServiceSlot,
        of: Option<&InstanceKey>,
    ) {
        let clock = self.beat_clock();
        let Some(service) = self.catalog.get(slot).filter(|service| service.watched) else {
            return;
        };
        let at = of.map_or(0..service.publications().len(), |key| service.run_of(key));
        let there = service.publications().get(at).unwrap_or_default();
        let orphans: Vec<_> = there
            .chunk_by(|one, next| one.is_of_one_instance_with(next))
            .filter(|run| run.iter().any(|one| clock.is_kept(one)))
            .flatten()
            .filter(|one| one.owner().is_some() && !clock.is_kept(one))
            .map(Instance::publication)
            .collect();
        for orphan in orphans {
            self.take_out_for(now, slot, &orphan, GoneCause::Expired);
        }
    }

    /// What the one who registered `key` without a connection registered of this service before,
    /// in other clusters.
    pub(crate) fn namesakes(&self, slot: ServiceSlot, key: &InstanceKey) -> Vec<PublicationKey> {
        let Some(service) = self.catalog.get(slot) else { return Vec::new() };
        let at = service.at_address(&key.ip, key.port);
        let there = service.publications().get(at).unwrap_or_default().iter();
        let kind = service.unowned(key).map(Instance::ephemeral);
        let others = there.filter(|one| {
            one.owner().is_none()
                && Some(one.ephemeral()) == kind
                && one.cluster() != key.cluster.as_str()
        });
        others.map(Instance::publication).collect()
    }

    pub(crate) fn take_out_namesakes(
        &mut self,
        now: Instant,
        slot: ServiceSlot,
        key: &InstanceKey,
    ) {
        for old in self.namesakes(slot, key) {
            self.take_out(now, slot, &old);
        }
    }

    /// Removes one publication, whatever its kind.
    pub(crate) fn take_out(&mut self, now: Instant, slot: ServiceSlot, key: &PublicationKey) {
        self.take_out_for(now, slot, key, GoneCause::Deregistered);
    }

    fn take_out_for(
        &mut self,
        now: Instant,
        slot: ServiceSlot,
        key: &PublicationKey,
        cause: GoneCause,
    ) {
        let Some(service) = self.catalog.get(slot) else { return };
        let Some(at) = service.place(key) else { return };
        let gone = self.catalog.remove_instance(slot, at);
        self.changed(now, slot);
        if let Some(gone) = gone.filter(Instance::ephemeral) {
            self.buried(now, slot, gone.publication(), gone.born(), cause);
        }
        self.thinned(now, slot);
    }

    /// A sign of life came to this node.
    pub(crate) fn heard_here(&mut self, now: Instant, slot: ServiceSlot, at: Range<usize>) {
        let Some(service) = self.catalog.get(slot) else { return };
        debug_assert!(at.end <= service.publications().len(), "positions point to instances");
        let instances = service.publications().get(at).unwrap_or_default();
        instances.iter().for_each(|instance| instance.hear(now));
        if !service.watched {
            self.beats_to_tell.store(true, Ordering::Relaxed);
        }
    }

    /// Something that a list shows changed: readers, clients and subscribers have to notice.
    /// Returns the reference time of the change.
    pub(crate) fn changed(&mut self, now: Instant, slot: ServiceSlot) -> u64 {
        let value = self.ref_time.issue(now);
        if let Some(service) = self.catalog.get_mut(slot) {
            service.ref_time_before = service.ref_time;
        }
        self.show_change(now, slot, value);
        value
    }

    /// The same where another member made the change and its list went from `before` to `after`.
    /// The list here is newer than what this node showed, and as new as what that one shows, or
    /// newer where that one did not know what this node holds: clients may come from there.
    pub(crate) fn changed_elsewhere(
        &mut self,
        now: Instant,
        slot: ServiceSlot,
        before: u64,
        after: u64,
    ) {
        let shown = self.catalog.get(slot).map_or(0, |service| service.ref_time);
        // A list that is new here may have been shown before, by an earlier life or another member,
        // and have lost its newest instances since: later than all that was ever heard of.
        let here = if shown == 0 { self.ref_time.last() } else { shown };
        let value = if here > before || here >= after { here.max(after) + 1 } else { after };
        assert!(value > here, "a list that changed is newer than it was");
        self.ref_time.observe(value);
        self.show_change(now, slot, value);
    }

    pub(crate) fn show_change(&mut self, now: Instant, slot: ServiceSlot, value: u64) {
        self.revision += 1;
        self.dirty.insert(slot);
        let Some(service) = self.catalog.get_mut(slot) else { return };
        assert!(service.revision < self.revision, "a revision is used once");
        assert!(service.ref_time <= value, "a list does not become older");
        service.revision = self.revision;
        (service.ref_time, service.last_ref_time) = (value, self.ref_time.show(value));
        assert!(service.last_ref_time <= value, "nothing is shown before it is there");
        assert!(self.text_bytes >= service.counted_bytes, "the sum holds the texts of the service");
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

    /// An instance was registered here: a new registration, for everybody to take over.
    pub(crate) fn registered(&mut self, slot: ServiceSlot, at: usize, counter: u64) {
        assert!(counter <= self.ref_time.last(), "a registration has a time that was issued");
        let version = self.distro.version(counter);
        let Some(service) = self.catalog.get_mut(slot) else { return };
        service.digest = None;
        let Some(instance) = service.publications_mut().get_mut(at) else { return };
        instance.set_born(version, version);
        self.publish_copy(slot, at, counter);
    }

    /// A publication changed here, its registration apart.
    pub(crate) fn altered(&mut self, slot: ServiceSlot, key: &PublicationKey, counter: u64) {
        assert!(counter <= self.ref_time.last(), "a change has a time that was issued");
        let version = self.distro.version(counter);
        let Some(service) = self.catalog.get_mut(slot) else { return };
        let Some(at) = service.place(key) else { return };
        service.digest = None;
        let Some(instance) = service.publications_mut().get_mut(at) else { return };
        if !instance.ephemeral() {
            return;
        }
        instance.set_version(version);
        self.publish_copy(slot, at, counter);
    }

    fn publish_copy(&mut self, slot: ServiceSlot, at: usize, counter: u64) {
        if self.distro.peers.is_empty() {
            return;
        }
        let Some(service) = self.catalog.get(slot) else { return };
        let Some(instance) = service.publications().get(at) else { return };
        // Where it is not the list that changed, the list is as it was.
        let is_shown = service.ref_time == counter;
        let before = if is_shown { service.ref_time_before } else { service.ref_time };
        let (service, change) = (service.key().clone(), instance.to_change());
        self.distro.outbox.push(OutgoingChange { service, change, before });
    }

    /// A publication of an ephemeral instance was taken out here.
    pub(crate) fn buried(
        &mut self,
        now: Instant,
        slot: ServiceSlot,
        key: PublicationKey,
        covered: WriteVersion,
        cause: GoneCause,
    ) {
        assert!(covered.counter <= self.ref_time.last(), "what is covered was heard of");
        let Some(service) = self.catalog.get_mut(slot) else { return };
        service.digest = None;
        if self.distro.peers.is_empty() {
            return;
        }
        self.distro.tombs.bury(now, service.key(), key.clone(), covered, cause);
        let (service, before) = (service.key().clone(), service.ref_time_before);
        let change = InstanceChange::Gone { key, covered, cause };
        self.distro.outbox.push(OutgoingChange { service, change, before });
    }

    /// Removes a service that is empty and that nobody said anything about.
    pub(crate) fn forget_service(&mut self, slot: ServiceSlot) {
        let Some(service) = self.catalog.get_mut(slot) else { return };
        if !service.is_forgettable() {
            return;
        }
        // Every deadline leaves the timetable before the slot can be given to another service.
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

    /// The services that came, went or have another list since the last call, for those who are
    /// told at once rather than by [`crate::Output::Push`]. Whoever drives the registry asks after
    /// every step.
    pub fn take_changed(&mut self) -> Vec<ServiceKey> {
        let dirty = core::mem::take(&mut self.dirty);
        let mut changed = core::mem::take(&mut self.forgotten);
        changed.extend(
            dirty.into_iter().filter_map(|slot| Some(self.catalog.get(slot)?.key().clone())),
        );
        changed
    }
}
