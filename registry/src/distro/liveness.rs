//! Who lives, and what follows from it: who is responsible for which service, and whether this node
//! may judge silence at all. A member is live while it pings; a node that does not see most members
//! has reason to think that it is the one in trouble, and removes nobody for some minutes.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use nacolet_model::{Instant, NodeId, limits};

use crate::distro::verify::ask_for;
use crate::state::catalog::ServiceSlot;
use crate::state::distro::{DistroPeer, MembersView};
use crate::state::registry::Registry;
use crate::state::timetable::Due;
use crate::words::io::Output;
use crate::words::message::{HeardBeats, Message, Ping, WantedPublications};
use crate::words::names::{Life, PublicationKey};

/// Ticks between reports of beats.
const HEARD_EVERY: u64 = 2;
/// Ticks between digests.
const VERIFY_EVERY: u64 = 5;

impl Registry {
    /// The members of the cluster as Raft knows them. What is due at once, such as a first ping, is
    /// left to the step.
    pub(crate) fn members(&mut self, now: Instant, members: &[NodeId]) {
        if !self.distro.clustered {
            return;
        }
        let others: BTreeSet<NodeId> =
            members.iter().copied().filter(|node| *node != self.distro.me).collect();
        self.distro.peers.retain(|node, _| others.contains(node));
        for node in &others {
            self.distro.peers.entry(*node).or_default();
        }
        if others.is_empty() {
            self.distro.tombs.clear();
            self.distro.outbox.clear();
            self.timetable.arm(&mut self.distro.armed, None, Due::Distro);
        } else if self.distro.armed.is_none() {
            self.timetable.arm(&mut self.distro.armed, Some(now), Due::Distro);
        }
        self.members_known(now);
        self.review(now);
    }

    /// A message of another member.
    pub(crate) fn peer(
        &mut self,
        now: Instant,
        from: NodeId,
        message: Message,
        out: &mut Vec<Output>,
    ) {
        let Some(peer) = self.distro.peers.get_mut(&from) else { return };
        if let Message::Ping(ping) = message {
            self.pinged(now, from, ping, out);
            return;
        }
        if peer.life != Life::default() {
            peer.heard_at = now;
        }
        match message {
            Message::Ping(_) => {}
            Message::Sync(changes) => self.receive(now, from, changes, out),
            Message::Heard(heard) => self.heard(now, from, heard, out),
            Message::Digest { hashes, urgent } => self.compare(from, &hashes, urgent, out),
            Message::Versions(buckets) => self.repair(from, buckets, out),
            Message::Want(wanted) => self.wanted(from, wanted, out),
            Message::Load { after } => self.page(from, after, out),
            Message::Page { after, services, next } => {
                self.paged(now, from, after.as_ref(), services, next, out);
            }
        }
    }

    fn pinged(&mut self, now: Instant, from: NodeId, ping: Ping, out: &mut Vec<Output>) {
        self.ref_time.observe(ping.counter);
        let Some(peer) = self.distro.peers.get_mut(&from) else { return };
        if peer.former.contains(&ping.life) {
            return;
        }
        let is_news = !peer.live || peer.life != ping.life || peer.loaded != ping.loaded;
        if peer.life != ping.life && peer.life != Life::default() {
            peer.former.push(peer.life);
            if peer.former.len() > limits::FORMER_LIVES_MAX {
                peer.former.remove(0);
            }
            assert!(
                peer.former.len() <= limits::FORMER_LIVES_MAX,
                "lives that are over are bounded"
            );
        }
        // It missed what was said while it was away.
        let was_away = !peer.live || peer.life != ping.life;
        peer.urgent |= was_away;
        (peer.life, peer.loaded, peer.heard_at, peer.live) = (ping.life, ping.loaded, now, true);
        if was_away {
            self.ping([from].into(), out);
        }
        if is_news {
            self.review(now);
            self.go_on_loading(now, out);
        }
    }

    /// A sign of life.
    fn ping(&self, to: Vec<NodeId>, out: &mut Vec<Output>) {
        let ping = Ping {
            life: self.distro.life,
            counter: self.ref_time.last(),
            loaded: self.is_loaded(),
        };
        out.push(Output::Send { to, message: Message::Ping(ping) });
    }

    /// A message to a member was lost on the way out.
    pub(crate) fn unsent(&mut self, to: NodeId) {
        if let Some(peer) = self.distro.peers.get_mut(&to) {
            peer.urgent = true;
        }
    }

    /// Once a second while there are others.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.distro.peers.is_empty() {
            return;
        }
        assert!(self.distro.armed.is_none(), "a tick comes when it is due");
        let next = now + limits::DISTRO_TICK;
        self.timetable.arm(&mut self.distro.armed, Some(next), Due::Distro);
        self.distro.ticks += 1;
        self.distro.tombs.expire(now);
        self.review(now);
        self.go_on_loading(now, out);
        self.ping(self.distro.peers.keys().copied().collect(), out);
        if self.distro.ticks.is_multiple_of(HEARD_EVERY) {
            self.report_beats(now, out);
        }
        self.send_digests(self.distro.ticks.is_multiple_of(VERIFY_EVERY), out);
    }

    /// This process was stopped for a while: the others were not silent, nobody listened.
    pub(crate) fn forgive_silence(&mut self, now: Instant) {
        for peer in self.distro.peers.values_mut().filter(|peer| peer.live) {
            peer.heard_at = now;
        }
    }

    /// Looks at who lives and draws the conclusions.
    pub(crate) fn review(&mut self, now: Instant) {
        let distro = &mut self.distro;
        for peer in distro.peers.values_mut() {
            peer.live = peer.live && now < peer.heard_at + limits::DISTRO_SILENCE;
        }
        // Who lives decides whether silence may be judged here, and who is responsible for what.
        let live = distro.peers.values().filter(|peer| peer.live).count();
        let is_majority = 2 * (live + 1) > distro.peers.len() + 1;
        distro.alone_since = if is_majority { None } else { distro.alone_since.or(Some(now)) };
        let patience_is_over = |since: Instant| now >= since + limits::DISTRO_ALONE_PATIENCE;
        let watchful = distro.alone_since.is_none_or(patience_is_over);
        let loaded =
            |(node, peer): (&NodeId, &DistroPeer)| (peer.live && peer.loaded).then_some(*node);
        let mut members: Vec<NodeId> = distro.peers.iter().filter_map(loaded).collect();
        if self.is_loaded() || members.is_empty() {
            members.push(self.distro.me);
        }
        assert!(!members.is_empty(), "somebody is responsible, if only this node");
        members.sort_unstable();
        let peers = self.distro.peers.values().filter(|peer| peer.live);
        let lives = core::iter::once(self.distro.life).chain(peers.map(|peer| peer.life)).collect();
        let view = MembersView { members, lives, watchful };
        if view != self.distro.view {
            let before = core::mem::replace(&mut self.distro.view, view);
            for slot in self.catalog.slots() {
                self.review_service(now, slot, &before);
            }
        }
    }

    /// Whoever begins to watch a service gives everybody in it the time to be heard.
    fn review_service(&mut self, now: Instant, slot: ServiceSlot, before: &MembersView) {
        let Some(service) = self.catalog.get_mut(slot) else { return };
        let watches = self.distro.watches(service.name_hash);
        let is_new = watches && !service.watched;
        service.watched = watches;
        if !watches {
            self.timetable.arm(&mut service.armed.health, None, Due::Health(slot));
            return;
        }
        for instance in service.publications() {
            let was_kept =
                instance.owner().is_some_and(|owner| before.lives.contains(&owner.life()));
            let is_kept = instance
                .owner()
                .is_some_and(|owner| self.distro.view.lives.contains(&owner.life()));
            if is_new || (was_kept && !is_kept) {
                instance.touch(now);
            }
        }
        self.look_at_all(now, slot);
        self.bury_orphans(now, slot, None);
    }

    /// Tells the responsible members of the beats that came here.
    fn report_beats(&mut self, now: Instant, out: &mut Vec<Output>) {
        if !core::mem::take(self.beats_to_tell.get_mut()) {
            return;
        }
        let mut reports: BTreeMap<NodeId, Vec<HeardBeats>> = BTreeMap::new();
        for service in self.catalog.services() {
            let responsible = self.distro.responsible(service.name_hash);
            if responsible == self.distro.me {
                continue;
            }
            // The mark is taken off every instance, also off those that a connection keeps.
            let heard = service
                .publications()
                .iter()
                .filter(|instance| instance.take_heard() && instance.owner().is_none());
            let instances: Vec<_> = heard
                .map(|instance| {
                    let silent_ms = instance.silence(now).as_millis();
                    (instance.key(), u32::try_from(silent_ms).unwrap_or(u32::MAX))
                })
                .collect();
            if !instances.is_empty() {
                let heard = HeardBeats { service: service.key().clone(), instances };
                reports.entry(responsible).or_default().push(heard);
            }
        }
        for (node, mut heard) in reports {
            while !heard.is_empty() {
                let rest = heard.split_off(heard.len().min(limits::DISTRO_HEARD_SERVICES_MAX));
                let message = Message::Heard(core::mem::replace(&mut heard, rest));
                out.push(Output::Send { to: [node].into(), message });
            }
        }
    }

    /// Beats that came to another member. What is not known here was lost on the way, and is asked
    /// for.
    fn heard(&mut self, now: Instant, from: NodeId, heard: Vec<HeardBeats>, out: &mut Vec<Output>) {
        let mut wanted = Vec::new();
        for HeardBeats { service, instances } in heard {
            let slot = self.catalog.slot_of(&service);
            let (mut recovered, mut lacking) = (Vec::new(), Vec::new());
            for (instance, silent_ms) in instances {
                let key = PublicationKey::new(instance, None);
                let known = slot.and_then(|slot| {
                    let service = self.catalog.get_mut(slot)?;
                    let at = service.place(&key)?;
                    Some((at, service.publications_mut().get_mut(at)?))
                });
                let Some((at, instance)) = known else {
                    lacking.push(key);
                    continue;
                };
                let silence = core::time::Duration::from_millis(u64::from(silent_ms));
                if silence < instance.silence(now) {
                    instance.set_silence(now, silence);
                }
                let is_back = instance.ephemeral() && silence < instance.timers().timeout();
                if is_back && instance.set_healthy(true) {
                    recovered.push((key, at));
                }
            }
            if !lacking.is_empty() {
                wanted.push(WantedPublications { service, publications: lacking });
            }
            let Some(slot) = slot.filter(|_| !recovered.is_empty()) else { continue };
            // The list changes once; then everybody who recovered is told of with its time.
            let counter = self.changed(now, slot);
            for (key, at) in recovered {
                self.altered(slot, &key, counter);
                self.look_at(now, slot, at..at + 1);
            }
        }
        ask_for(from, wanted, out);
    }
}
