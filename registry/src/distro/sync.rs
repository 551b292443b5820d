//! Copies of changes. Outgoing ones gather in the outbox until the end of the turn, so that a batch
//! of registrations is one message. An incoming one is compared with what is known: the newer
//! registration wins, a tomb wins over what it covers, and a sender that holds something older is
//! told.

use alloc::vec;
use alloc::vec::Vec;
use core::mem;

use nacolet_model::{Instant, NodeId, ServiceKey, limits};

use crate::state::catalog::ServiceSlot;
use crate::state::distro::OutgoingChange;
use crate::state::instance::Instance;
use crate::state::registry::Registry;
use crate::state::service::{PutOutcome, Service};
use crate::words::io::Output;
use crate::words::message::{GoneCause, InstanceChange, Message, ServiceChanges};
use crate::words::names::{ClientId, PublicationKey, WriteVersion};
use crate::words::spec::{InstanceKey, InstanceSpec};

/// A copy of a publication from another member.
struct InstanceCopy {
    spec: InstanceSpec,
    owner: Option<ClientId>,
    born: WriteVersion,
    version: WriteVersion,
}

/// What became of changes that arrived for one service.
#[derive(Default)]
struct Received {
    /// The highest counter among those that made a difference.
    counter: Option<u64>,
    thinned: bool,
    /// What the sender has to hear.
    answers: Vec<InstanceChange>,
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
        changes: impl IntoIterator<Item = impl Into<OutgoingChange>>,
        out: &mut Vec<Output>,
    ) {
        if to.is_empty() {
            return;
        }
        let receivers = u64::try_from(to.len()).unwrap_or(u64::MAX);
        let (mut batch, mut bytes) = (Vec::<ServiceChanges>::new(), 0);
        for OutgoingChange { service, change, before } in changes.into_iter().map(Into::into) {
            self.distro.counts.sent += receivers;
            bytes += change.size();
            match batch.last_mut() {
                Some(last) if last.service == service => last.changes.push(change),
                _ => {
                    let after = self.catalog.of(&service).map_or(0, |service| service.ref_time);
                    batch.push(ServiceChanges { service, changes: vec![change], before, after });
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

    /// Who deregisters what is not known here may have registered it where this node has not heard
    /// of yet: whoever knows it by now takes it out.
    pub(crate) fn deregister_elsewhere(
        &mut self,
        now: Instant,
        service: ServiceKey,
        spec: InstanceSpec,
    ) {
        let key = PublicationKey::new(spec.key(), None);
        let is_told =
            self.distro.peers.is_empty() || self.distro.tombs.get(&service, &key).is_some();
        if is_told || spec.check().is_err() {
            return;
        }
        let counter = self.ref_time.issue(now);
        let (covered, cause) = (self.distro.version(counter), GoneCause::Deregistered);
        self.distro.tombs.bury(now, &service, key.clone(), covered, cause);
        self.distro.outbox.push((service, InstanceChange::Gone { key, covered, cause }).into());
    }

    /// Takes over what another member sent.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        from: NodeId,
        changes: Vec<ServiceChanges>,
        out: &mut Vec<Output>,
    ) {
        let mut answers = Vec::new();
        for ServiceChanges { service, changes, before, after } in changes {
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
        change: InstanceChange,
        received: &mut Received,
    ) {
        match change {
            InstanceChange::Up { spec, owner, born, version } => {
                let is_valid = spec.ephemeral
                    && spec.check().is_ok()
                    && born <= version
                    && self.ref_time.observe(version.counter);
                if is_valid {
                    let owner = (owner != 0).then_some(ClientId(owner));
                    let copy = InstanceCopy { spec, owner, born, version };
                    self.receive_up(now, service, copy, received);
                } else {
                    self.distro.counts.refused += 1;
                }
            }
            InstanceChange::Gone { key, covered, cause } => {
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
        copy: InstanceCopy,
        received: &mut Received,
    ) {
        let key = PublicationKey::new(copy.spec.key(), copy.owner);
        // A tomb speaks first: it may cover what is not listed any more.
        if let Some(tomb) = self.distro.tombs.get(service, &key)
            && tomb.covered >= copy.born
        {
            let (covered, cause) = (tomb.covered, tomb.cause);
            self.distro.counts.stale += 1;
            received.answers.push(InstanceChange::Gone { key, covered, cause });
            return;
        }
        let is_disowned = copy.owner.is_some_and(|owner| self.has_disowned(owner, service, &key));
        if is_disowned || self.is_replaced(service, &copy) {
            let (covered, cause) = (copy.born, GoneCause::Deregistered);
            received.answers.push(InstanceChange::Gone { key: key.clone(), covered, cause });
            self.receive_gone(now, service, key, covered, cause, received);
            return;
        }
        let there = self.catalog.of(service);
        let is_persistent = |service: &Service| service.persistent_at(&key.instance).is_some();
        if there.is_some_and(is_persistent) {
            // Agreed by Raft, so that every member drops its copy.
            return;
        }
        let known = there.and_then(|service| service.publication(&key));
        match known.map(|known| (known.born(), known.version())) {
            Some(mine) if mine >= (copy.born, copy.version) => {
                self.distro.counts.stale += 1;
                if mine > (copy.born, copy.version) {
                    received.answers.extend(self.copy_at(service, &key));
                }
                return;
            }
            Some(_) => {}
            None if !self.has_room_for_copy(service, &copy.spec) => {
                self.distro.counts.refused += 1;
                return;
            }
            None => {}
        }
        assert!(copy.born <= copy.version, "a copy that is taken is valid");
        received.note(copy.version.counter);
        self.distro.tombs.open(service, &key);
        self.put_copy(now, service, copy, received);
    }

    /// Whether the one who beats has registered in another cluster since.
    fn is_replaced(&self, service: &ServiceKey, copy: &InstanceCopy) -> bool {
        if copy.owner.is_some() {
            return false;
        }
        let Some(service) = self.catalog.of(service) else { return false };
        let at = service.at_address(&copy.spec.ip, copy.spec.port);
        let there = service.publications().get(at).unwrap_or_default().iter();
        let mut others = there.filter(|one| {
            one.owner().is_none() && one.ephemeral() && one.cluster() != copy.spec.cluster.as_str()
        });
        others.any(|other| other.born() > copy.born)
    }

    fn put_copy(
        &mut self,
        now: Instant,
        key: &ServiceKey,
        copy: InstanceCopy,
        received: &mut Received,
    ) {
        let slot = self.slot_for(key);
        let publication = PublicationKey::new(copy.spec.key(), copy.owner);
        // All that depends on what was known is decided before the copy takes its place.
        let known = self.catalog.get(slot).and_then(|service| service.publication(&publication));
        // A new registration and a recovery are signs of life, other changes are not.
        let is_sign_of_life =
            |known: &Instance| copy.spec.healthy && (known.born() != copy.born || !known.healthy());
        let silence = known.filter(|known| !is_sign_of_life(known)).map(|known| known.silence(now));
        let is_sick_elsewhere = !copy.spec.healthy
            && copy.owner.is_none()
            && known.is_some_and(|known| self.still_hears(now, key, &publication, known));
        let (put, at) = self.catalog.put_instance(slot, copy.spec, copy.owner, now);
        let Some(service) = self.catalog.get_mut(slot) else { return };
        service.digest = None;
        let Some(instance) = service.publications_mut().get_mut(at) else { return };
        if let Some(silence) = silence {
            instance.set_silence(now, silence);
        }
        instance.set_born(copy.born, copy.version);
        if is_sick_elsewhere {
            self.distro.counts.reasserted += 1;
            instance.set_healthy(true);
            let counter = self.ref_time.issue(now);
            self.altered(slot, &publication, counter);
        }
        debug_assert!(
            self.distro.tombs.get(key, &publication).is_none(),
            "what is taken over has no tomb"
        );
        self.look_at(now, slot, at..at + 1);
        if put == PutOutcome::Added {
            self.welcomed(now, slot);
        }
        match copy.owner {
            Some(_) => self.bury_orphans(now, slot, Some(&publication.instance)),
            None => self.bury_namesakes(now, slot, &publication.instance, received),
        }
    }

    /// A copy came of what the one who beats registered last: what he registered before in other
    /// clusters is over.
    fn bury_namesakes(
        &mut self,
        now: Instant,
        slot: ServiceSlot,
        key: &InstanceKey,
        received: &mut Received,
    ) {
        for old in self.namesakes(slot, key) {
            let Some(service) = self.catalog.get(slot) else { return };
            let Some(at) = service.place(&old) else { continue };
            let name = service.key().clone();
            let Some(gone) = self.catalog.remove_instance(slot, at) else { continue };
            self.distro.tombs.bury(now, &name, old, gone.born(), GoneCause::Deregistered);
            received.thinned = true;
        }
    }

    fn receive_gone(
        &mut self,
        now: Instant,
        service: &ServiceKey,
        key: PublicationKey,
        covered: WriteVersion,
        cause: GoneCause,
        received: &mut Received,
    ) {
        let slot = self.catalog.slot_of(service);
        let at = slot.and_then(|slot| {
            let service = self.catalog.get(slot)?;
            let at = service.place(&key)?;
            service.publications().get(at)?.ephemeral().then_some((slot, at))
        });
        let Some((slot, at)) = at else {
            self.distro.tombs.bury(now, service, key, covered, cause);
            return;
        };
        let Some(instance) = self.catalog.get(slot).and_then(|found| found.publications().get(at))
        else {
            return;
        };
        if instance.born() > covered {
            self.distro.counts.stale += 1;
            received.answers.push(instance.to_change());
            return;
        }
        // A connection that lives publishes on, whoever believed that it was gone.
        let is_meant = cause == GoneCause::Deregistered && instance.owner().is_none();
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
        self.distro.tombs.bury(now, service, key, covered, cause);
        received.note(covered.counter);
        received.thinned = true;
    }

    /// Whether this connection is one of this node and does not publish it (any more).
    fn has_disowned(&self, owner: ClientId, service: &ServiceKey, key: &PublicationKey) -> bool {
        owner.life() == self.distro.life && !self.clients.publishes(owner, service, &key.instance)
    }

    /// Whether this node knows better than the one who found an instance silent.
    fn still_hears(
        &self,
        now: Instant,
        service: &ServiceKey,
        key: &PublicationKey,
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
                client.life() == self.distro.life
                    && self.clients.publishes(client, service, &key.instance)
            }
        }
    }

    /// What another member has to know of a publication: its newest registration, or its tomb.
    pub(crate) fn copy_at(
        &self,
        service: &ServiceKey,
        key: &PublicationKey,
    ) -> Option<InstanceChange> {
        let known = self.catalog.of(service).and_then(|service| service.publication(key));
        if let Some(instance) = known.filter(|instance| instance.ephemeral()) {
            return Some(instance.to_change());
        }
        let tomb = self.distro.tombs.get(service, key)?;
        Some(InstanceChange::Gone { key: key.clone(), covered: tomb.covered, cause: tomb.cause })
    }
}

impl InstanceChange {
    /// Bytes in a message, roughly.
    pub(crate) fn size(&self) -> usize {
        const FIXED: usize = 64;
        match self {
            Self::Up { spec, .. } => FIXED + spec.text_bytes() + 4 * spec.metadata.len(),
            Self::Gone { key, .. } => FIXED + key.instance.ip.len(),
        }
    }
}
