//! What everything else relies on, asserted over the whole state. Tests and simulations ask after
//! every step; what is cheap is also asserted where it is made.

use crate::state::registry::Registry;
use crate::state::timetable::Due;

impl Registry {
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
                && service.publications().iter().any(|instance| clock.watches(instance));
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

    /// Asserts what everything else relies on.
    ///
    /// # Panics
    /// When an instance has an owner who does not know it.
    fn client_invariants(&self) {
        for service in self.catalog.services() {
            for instance in service.publications() {
                let Some(owner) = instance.owner() else { continue };
                assert!(instance.ephemeral(), "only ephemeral instances have an owner");
                let is_mine = owner.life() == self.distro.life;
                let known = self.clients.publishes(owner, service.key(), &instance.key());
                assert!(known || !is_mine, "owners know what is theirs");
            }
        }
        self.clients.invariants();
    }

    /// Asserts what everything else relies on.
    ///
    /// # Panics
    /// When a part of the state contradicts another.
    fn distro_invariants(&self) {
        let distro = &self.distro;
        distro.tombs.invariants();
        assert!(distro.view.members.is_sorted(), "members are in order");
        assert!(distro.peers.is_empty() || distro.armed.is_some(), "somebody to ping is pinged");
        for service in self.catalog.services() {
            let watches = distro.watches(service.name_hash);
            assert_eq!(service.watched, watches, "the responsible member watches");
            if let Some(digest) = service.digest {
                assert_eq!(digest, service.ephemeral_digest(), "digests are taken anew");
            }
            for instance in service.publications().iter().filter(|one| one.ephemeral()) {
                assert!(
                    instance.born() <= instance.version(),
                    "nothing changes before it is there"
                );
                let tomb = distro.tombs.get(service.key(), &instance.publication());
                let over = tomb.is_some_and(|tomb| tomb.covered >= instance.born());
                assert!(!over, "what is covered by a tomb is not there");
            }
        }
    }
}
