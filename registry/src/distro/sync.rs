//! Copies of changes. Outgoing ones gather in the outbox until the end of the turn, so that a batch of
//! registrations is one message. An incoming one is compared with what is known: the newer registration
//! wins, a tomb wins over what it covers, and a sender that holds something older is told.

use alloc::vec;
use alloc::vec::Vec;
use core::mem;

use nacolet_model::{Instant, NodeId, ServiceKey, limits};

use crate::catalog::Slot;
use crate::client::ClientId;
use crate::distro::Outgoing;
use crate::distro::message::{Cause, Change, Changes, Message, Version};
use crate::instance::Instance;
use crate::spec::{InstanceKey, InstanceSpec};
use crate::step::{Output, Registry};

/// A copy of an instance from another member.
struct Copy {
    spec: InstanceSpec,
    owner: u64,
    born: Version,
    version: Version,
}

/// What became of changes that arrived for one service.
#[derive(Default)]
struct Received {
    /// The highest counter among those that made a difference.
    counter: Option<u64>,
    thinned: bool,
    /// What the sender has to hear.
    answers: Vec<Change>,
}

impl Received {
    fn note(&mut self, counter: u64) {
        self.counter = Some(self.counter.map_or(counter, |known| known.max(counter)));
    }
}

impl Registry {
    /// Orders the copies of what changed since the last call. Called at the end of every turn.
    pub fn flush(&mut self, out: &mut Vec<Output>) {
        if self.distro.outbox.is_empty() {
            return;
        }
        let changes = mem::take(&mut self.distro.outbox);
        let to = self.distro.live_peers();
        self.send_changes(&to, changes, out);
    }

    /// Sends changes in messages of bounded size.
    pub(crate) fn send_changes(
        &mut self,
        to: &[NodeId],
        changes: impl IntoIterator<Item = impl Into<Outgoing>>,
        out: &mut Vec<Output>,
    ) {
        if to.is_empty() {
            return;
        }
        let receivers = u64::try_from(to.len()).unwrap_or(u64::MAX);
        let (mut batch, mut bytes) = (Vec::<Changes>::new(), 0);
        for Outgoing { service, change, before } in changes.into_iter().map(Into::into) {
            self.distro.counts.sent += receivers;
            bytes += change.size();
            match batch.last_mut() {
                Some(last) if last.service == service => last.changes.push(change),
                _ => {
                    let after = self.catalog.of(&service).map_or(0, |service| service.ref_time);
                    batch.push(Changes { service, changes: vec![change], before, after });
                }
            }
            if bytes >= limits::DISTRO_MESSAGE_BYTES {
                let message = Message::Sync(mem::take(&mut batch));
                out.push(Output::Send { to: to.to_vec(), message });
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            out.push(Output::Send { to: to.to_vec(), message: Message::Sync(batch) });
        }
    }

    /// An instance was registered here: a new registration, for everybody to take over.
    pub(crate) fn registered(&mut self, slot: Slot, at: usize, counter: u64) {
        let version = self.distro.version(counter);
        let Some(service) = self.catalog.get_mut(slot) else { return };
        service.digest = None;
        let Some(instance) = service.instances_mut().get_mut(at) else { return };
        instance.set_born(version, version);
        self.publish_copy(slot, at, counter);
    }

    /// An instance changed here, its registration apart.
    pub(crate) fn altered(&mut self, slot: Slot, key: &InstanceKey, counter: u64) {
        let version = self.distro.version(counter);
        let Some(service) = self.catalog.get_mut(slot) else { return };
        let Some(at) = service.place(key) else { return };
        service.digest = None;
        let Some(instance) = service.instances_mut().get_mut(at) else { return };
        if !instance.ephemeral() {
            return;
        }
        instance.set_version(version);
        self.publish_copy(slot, at, counter);
    }

    fn publish_copy(&mut self, slot: Slot, at: usize, counter: u64) {
        if self.distro.peers.is_empty() {
            return;
        }
        let Some(service) = self.catalog.get(slot) else { return };
        let Some(instance) = service.instances().get(at) else { return };
        // Where it is not the list that changed, the list is as it was.
        let is_shown = service.ref_time == counter;
        let before = if is_shown { service.ref_time_before } else { service.ref_time };
        let (service, change) = (service.key().clone(), copy_of(instance));
        self.distro.outbox.push(Outgoing { service, change, before });
    }

    /// An ephemeral instance was taken out here.
    pub(crate) fn buried(
        &mut self,
        now: Instant,
        slot: Slot,
        key: InstanceKey,
        covered: Version,
        cause: Cause,
    ) {
        let Some(service) = self.catalog.get_mut(slot) else { return };
        service.digest = None;
        if self.distro.peers.is_empty() {
            return;
        }
        self.distro.tombs.bury(now, service.key(), key.clone(), covered, cause);
        let (service, before) = (service.key().clone(), service.ref_time_before);
        let change = Change::Gone { key, covered, cause };
        self.distro.outbox.push(Outgoing { service, change, before });
    }

    /// Who deregisters what is not known here may have registered it where this node has not heard of
    /// yet: whoever knows it by now takes it out.
    pub(crate) fn gone_elsewhere(&mut self, now: Instant, service: ServiceKey, spec: InstanceSpec) {
        let key = spec.key();
        let is_told =
            self.distro.peers.is_empty() || self.distro.tombs.get(&service, &key).is_some();
        if is_told || spec.check().is_err() {
            return;
        }
        let counter = self.ref_time.issue(now);
        let (covered, cause) = (self.distro.version(counter), Cause::Deregistered);
        self.distro.tombs.bury(now, &service, key.clone(), covered, cause);
        self.distro.outbox.push((service, Change::Gone { key, covered, cause }).into());
    }

    /// Takes over what another member sent.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        from: NodeId,
        changes: Vec<Changes>,
        out: &mut Vec<Output>,
    ) {
        let mut answers = Vec::new();
        for Changes { service, changes, before, after } in changes {
            let mut received = Received::default();
            if !self.ref_time.observe(after) {
                self.distro.counts.refused += u64::try_from(changes.len()).unwrap_or(u64::MAX);
                continue;
            }
            for change in changes {
                self.distro.counts.received += 1;
                self.receive_one(now, &service, change, &mut received);
            }
            if let Some(slot) = self.catalog.slot_of(&service) {
                if let Some(counter) = received.counter {
                    self.changed_elsewhere(now, slot, before, after.max(counter));
                }
                if received.thinned {
                    self.thinned(now, slot);
                }
            }
            answers.extend(received.answers.into_iter().map(|answer| (service.clone(), answer)));
        }
        self.send_changes(&[from], answers, out);
    }

    fn receive_one(
        &mut self,
        now: Instant,
        service: &ServiceKey,
        change: Change,
        received: &mut Received,
    ) {
        match change {
            Change::Up { spec, owner, born, version } => {
                let is_valid = spec.ephemeral
                    && spec.check().is_ok()
                    && born <= version
                    && self.ref_time.observe(version.counter);
                if is_valid {
                    self.receive_up(now, service, Copy { spec, owner, born, version }, received);
                } else {
                    self.distro.counts.refused += 1;
                }
            }
            Change::Gone { key, covered, cause } => {
                if self.ref_time.observe(covered.counter) {
                    self.receive_gone(now, service, key, covered, cause, received);
                } else {
                    self.distro.counts.refused += 1;
                }
            }
        }
    }

    fn receive_up(
        &mut self,
        now: Instant,
        service: &ServiceKey,
        copy: Copy,
        received: &mut Received,
    ) {
        let key = copy.spec.key();
        if let Some(tomb) = self.distro.tombs.get(service, &key)
            && tomb.covered >= copy.born
        {
            let (covered, cause) = (tomb.covered, tomb.cause);
            self.distro.counts.stale += 1;
            received.answers.push(Change::Gone { key, covered, cause });
            return;
        }
        if self.is_orphan_of_mine(service, &key, copy.owner) {
            let cause = Cause::Deregistered;
            received.answers.push(Change::Gone { key: key.clone(), covered: copy.born, cause });
            self.receive_gone(now, service, key, copy.born, cause, received);
            return;
        }
        let known = self.catalog.of(service).and_then(|service| service.instance(&key));
        let known = known.map(|known| (known.ephemeral(), (known.born(), known.version())));
        match known {
            // Agreed by Raft, so that every member drops its copy.
            Some((false, _)) => return,
            Some((true, mine)) if mine >= (copy.born, copy.version) => {
                self.distro.counts.stale += 1;
                if mine > (copy.born, copy.version) {
                    received.answers.extend(self.copy_at(service, &key));
                }
                return;
            }
            Some((true, _)) => {}
            None if !self.has_room_for_copy(service, &copy.spec) => {
                self.distro.counts.refused += 1;
                return;
            }
            None => {}
        }
        received.note(copy.version.counter);
        self.distro.tombs.open(service, &key);
        self.note_displaced(service, &key, copy.owner);
        self.put_copy(now, service, copy);
    }

    /// Remembers what a live connection of this node published and is about to be overwritten.
    fn note_displaced(&mut self, service: &ServiceKey, key: &InstanceKey, owner: u64) {
        let known = self.catalog.of(service).and_then(|service| service.instance(key));
        let Some((instance, mine)) = known.and_then(|known| Some((known, known.owner()?))) else {
            return;
        };
        if mine.0 != owner && self.clients.publishes(mine, service, key) {
            let name = (service.clone(), key.clone());
            self.distro.displaced.insert(name, (mine, instance.to_spec()));
        }
    }

    /// An instance is gone: what it displaced here comes back.
    pub(crate) fn revive(&mut self, now: Instant, service: &ServiceKey, key: InstanceKey) {
        if self.distro.displaced.is_empty() {
            return;
        }
        let name = (service.clone(), key);
        let Some((client, spec)) = self.distro.displaced.remove(&name) else { return };
        if self.clients.publishes(client, service, &name.1) {
            self.distro.counts.reasserted += 1;
            self.distro.tombs.open(service, &name.1);
            self.register_ephemeral(now, service, spec, Some(client));
        }
    }

    /// Forgets what was displaced and is not published any more.
    pub(crate) fn prune_displaced(&mut self) {
        let clients = &self.clients;
        self.distro
            .displaced
            .retain(|(service, key), (client, _)| clients.publishes(*client, service, key));
    }

    fn put_copy(&mut self, now: Instant, key: &ServiceKey, copy: Copy) {
        let slot = self.slot_for(key);
        let instance_key = copy.spec.key();
        let known = self.catalog.get(slot).and_then(|service| service.instance(&instance_key));
        // A new registration and a recovery are signs of life, other changes are not.
        let is_sign_of_life =
            |known: &Instance| copy.spec.healthy && (known.born() != copy.born || !known.healthy());
        let silence = known.filter(|known| !is_sign_of_life(known)).map(|known| known.silence(now));
        let is_sick_elsewhere = !copy.spec.healthy
            && copy.owner == 0
            && known.is_some_and(|known| self.still_hears(now, key, &instance_key, known));
        let (put, at) = self.catalog.put_instance(slot, copy.spec, now);
        let Some(service) = self.catalog.get_mut(slot) else { return };
        service.digest = None;
        let Some(instance) = service.instances_mut().get_mut(at) else { return };
        if let Some(silence) = silence {
            instance.set_silence(now, silence);
        }
        instance.set_owner((copy.owner != 0).then_some(ClientId(copy.owner)));
        instance.set_born(copy.born, copy.version);
        if is_sick_elsewhere {
            self.distro.counts.reasserted += 1;
            instance.set_healthy(true);
            let counter = self.ref_time.issue(now);
            self.altered(slot, &instance_key, counter);
        }
        self.look_at(now, slot, at..at + 1);
        if put == crate::service::Put::Added {
            self.welcomed(now, slot);
        }
    }

    fn receive_gone(
        &mut self,
        now: Instant,
        service: &ServiceKey,
        key: InstanceKey,
        covered: Version,
        cause: Cause,
        received: &mut Received,
    ) {
        let slot = self.catalog.slot_of(service);
        let at = slot.and_then(|slot| {
            let service = self.catalog.get(slot)?;
            let at = service.place(&key)?;
            service.instances().get(at)?.ephemeral().then_some((slot, at))
        });
        let Some((slot, at)) = at else {
            self.distro.tombs.bury(now, service, key, covered, cause);
            return;
        };
        let Some(instance) = self.catalog.get(slot).and_then(|found| found.instances().get(at))
        else {
            return;
        };
        if instance.born() > covered {
            self.distro.counts.stale += 1;
            received.answers.push(copy_of(instance));
            return;
        }
        // A connection that lives publishes on, unless just this registration of it was taken out.
        let is_meant = match cause {
            Cause::Expired => false,
            Cause::Deregistered => instance.owner().is_none() || instance.born() == covered,
        };
        if !is_meant && self.still_hears(now, service, &key, instance) {
            self.distro.counts.reasserted += 1;
            let counter = self.ref_time.issue(now);
            self.registered(slot, at, counter);
            return;
        }
        self.catalog.remove_instance(slot, at);
        if let Some(found) = self.catalog.get_mut(slot) {
            found.digest = None;
        }
        self.distro.tombs.bury(now, service, key.clone(), covered, cause);
        received.note(covered.counter);
        received.thinned = true;
        self.revive(now, service, key);
    }

    /// Whether a copy names a connection of this node that does not publish it (any more).
    fn is_orphan_of_mine(&self, service: &ServiceKey, key: &InstanceKey, owner: u64) -> bool {
        let client = ClientId(owner);
        owner != 0
            && client.life() == self.distro.life
            && !self.clients.publishes(client, service, key)
    }

    /// Whether this node knows better than the one who found an instance silent.
    fn still_hears(
        &self,
        now: Instant,
        service: &ServiceKey,
        key: &InstanceKey,
        instance: &Instance,
    ) -> bool {
        match instance.owner() {
            // What came here, not what others said: they would go on to assure each other. A second
            // less, since clocks differ.
            None => {
                let timeout = instance.timers().timeout().saturating_sub(limits::DISTRO_TICK);
                instance.healthy() && instance.heard_here(now, timeout)
            }
            Some(client) => {
                client.life() == self.distro.life && self.clients.publishes(client, service, key)
            }
        }
    }

    /// Copies are bounded as registrations are, each kind of instance for itself: what one member
    /// took must not be lost because of what another one took at the same time.
    fn has_room_for_copy(&self, key: &ServiceKey, spec: &InstanceSpec) -> bool {
        let service = self.catalog.of(key);
        let count = service.map_or(0, crate::service::Service::ephemeral_count);
        count < limits::INSTANCES_PER_SERVICE_MAX
            && self.catalog.ephemeral_count() < limits::INSTANCES_MAX
            && (service.is_some() || self.catalog.service_count() < limits::SERVICES_MAX)
            && self.check_bytes(spec.text_bytes()).is_ok()
    }

    /// What another member has to know of an instance: its newest registration, or its tomb.
    pub(crate) fn copy_at(&self, service: &ServiceKey, key: &InstanceKey) -> Option<Change> {
        let known = self.catalog.of(service).and_then(|service| service.instance(key));
        if let Some(instance) = known.filter(|instance| instance.ephemeral()) {
            return Some(copy_of(instance));
        }
        let tomb = self.distro.tombs.get(service, key)?;
        Some(Change::Gone { key: key.clone(), covered: tomb.covered, cause: tomb.cause })
    }
}

/// An instance as other members are told of it.
pub(crate) fn copy_of(instance: &Instance) -> Change {
    Change::Up {
        spec: instance.to_spec(),
        owner: instance.owner().map_or(0, |client| client.0),
        born: instance.born(),
        version: instance.version(),
    }
}

impl Change {
    /// Bytes in a message, roughly.
    pub(crate) fn size(&self) -> usize {
        const FIXED: usize = 64;
        match self {
            Self::Up { spec, .. } => FIXED + spec.text_bytes() + 4 * spec.metadata.len(),
            Self::Gone { key, .. } => FIXED + key.ip.len(),
        }
    }
}
