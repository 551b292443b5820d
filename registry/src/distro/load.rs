//! The full copy that a starting node asks for, page by page, from one member that has everything.
//! It counts as loaded when the last page is here, or when there is nobody to ask. The same again
//! after a stop of this process that outlasted what tombs remember: what nobody confirms is dropped
//! then.

use alloc::vec::Vec;

use nacolet_model::{Instant, NodeId, ServiceKey, limits};

use crate::state::distro::{Again, DistroPeer, Loading};
use crate::state::instance::Instance;
use crate::state::registry::Registry;
use crate::words::io::Output;
use crate::words::message::{InstanceChange, Message, ServiceChanges};
use crate::words::names::{Life, PublicationKey};

impl Registry {
    /// The members are known: alone there is nothing to load. But a start goes through memberships
    /// of the past, and the first of them may have had one member.
    pub(crate) fn members_known(&mut self, now: Instant) {
        let is_unknown = matches!(self.distro.loading, Loading::Unknown);
        if self.distro.peers.is_empty() {
            if is_unknown {
                self.distro.alone_at_start = Some(now);
            }
            self.distro.loading = Loading::Done;
            return;
        }
        let alone_at_start = self.distro.alone_at_start.take();
        let is_past = alone_at_start.is_some_and(|at| now < at + limits::DISTRO_TICK);
        if is_unknown || (is_past && self.catalog.ephemeral_count() == 0) {
            self.distro.loading = Loading::Waiting { since: now, again: None };
        }
    }

    /// This process was stopped for so long that tombs of what it holds may be forgotten elsewhere.
    pub(crate) fn load_again(&mut self, now: Instant) {
        if self.distro.peers.is_empty() {
            return;
        }
        let again = Again { counter: self.ref_time.last(), ..Again::default() };
        self.distro.loading = Loading::Waiting { since: now, again: Some(again) };
    }

    /// Asks somebody, or somebody else.
    pub(crate) fn go_on_loading(&mut self, now: Instant, out: &mut Vec<Output>) {
        let has_all =
            |(node, peer): (&NodeId, &DistroPeer)| (peer.live && peer.loaded).then_some(*node);
        let candidates: Vec<NodeId> = self.distro.peers.iter().filter_map(has_all).collect();
        let (since, again, failed) =
            match core::mem::replace(&mut self.distro.loading, Loading::Done) {
                Loading::Done => return,
                Loading::Unknown => {
                    self.distro.loading = Loading::Unknown;
                    return;
                }
                asked @ Loading::Asked { at, .. } if now < at + limits::DISTRO_PAGE_PATIENCE => {
                    self.distro.loading = asked;
                    return;
                }
                Loading::Asked { since, whom, again, .. } => (since, again, Some(whom)),
                Loading::Waiting { since, again } => (since, again, None),
            };
        let other = candidates.iter().find(|node| Some(**node) > failed);
        if let Some(whom) = other.or(candidates.first()) {
            self.ask_for_page(now, since, *whom, None, again, out);
            return;
        }
        // Everybody was heard and nobody has anything, or nobody was heard for long enough.
        let all_empty = self.distro.peers.values().all(|peer| peer.live && !peer.loaded);
        if now >= since + limits::DISTRO_LOAD_PATIENCE || (all_empty && again.is_none()) {
            self.review(now);
        } else {
            self.distro.loading = Loading::Waiting { since, again };
        }
    }

    fn ask_for_page(
        &mut self,
        now: Instant,
        since: Instant,
        whom: NodeId,
        after: Option<ServiceKey>,
        again: Option<Again>,
        out: &mut Vec<Output>,
    ) {
        debug_assert!(self.distro.peers.contains_key(&whom), "a member is asked");
        let message = Message::Load { after: after.clone() };
        out.push(Output::Send { to: [whom].into(), message });
        self.distro.loading = Loading::Asked { since, whom, after, at: now, again };
    }

    /// Another member asks for a page: what is there, and what is gone, or it would believe a
    /// member that did not hear of that.
    pub(crate) fn page(&self, to: NodeId, after: Option<ServiceKey>, out: &mut Vec<Output>) {
        if !self.is_loaded() {
            return;
        }
        let (mut services, mut bytes, mut next) = (Vec::new(), 0, None);
        let listed = self.catalog.services_after(after.as_ref());
        let mut listed = listed.filter(|service| service.ephemeral_count() > 0).peekable();
        let mut gone = self.distro.tombs.after(after.as_ref()).peekable();
        let first = |one: Option<&ServiceKey>, other: Option<&ServiceKey>| {
            one.into_iter().chain(other).min().cloned()
        };
        // Two walks side by side, so that a service with tombs alone stands in its order too.
        while let Some(service) =
            first(listed.peek().map(|one| one.key()), gone.peek().map(|(key, _)| *key))
        {
            let (mut changes, mut after) = (Vec::new(), 0);
            if let Some(found) = listed.next_if(|found| *found.key() == service) {
                after = found.ref_time;
                changes.extend(
                    found
                        .publications()
                        .iter()
                        .filter(|one| one.ephemeral())
                        .map(Instance::to_change),
                );
            }
            while let Some((_, change)) = gone.next_if(|(key, _)| **key == service) {
                changes.push(change);
            }
            let last = services.last().map(|last: &ServiceChanges| &last.service);
            debug_assert!(last < Some(&service), "the services of a page are in order and unique");
            bytes += changes.iter().map(InstanceChange::size).sum::<usize>();
            if bytes >= limits::DISTRO_MESSAGE_BYTES {
                next = Some(service.clone());
            }
            services.push(ServiceChanges { service, changes, before: 0, after });
            if next.is_some() {
                break;
            }
        }
        drop((listed, gone));
        let message = Message::Page { after, services, next };
        out.push(Output::Send { to: [to].into(), message });
    }

    /// A page came.
    pub(crate) fn paged(
        &mut self,
        now: Instant,
        from: NodeId,
        page: Option<&ServiceKey>,
        services: Vec<ServiceChanges>,
        next: Option<ServiceKey>,
        out: &mut Vec<Output>,
    ) {
        let loading = core::mem::replace(&mut self.distro.loading, Loading::Done);
        let (since, mut again) = match loading {
            Loading::Asked { since, whom, after, again, .. }
                if whom == from && after.as_ref() == page =>
            {
                (since, again)
            }
            // A repetition, or the answer of somebody who was given up.
            other @ (Loading::Asked { .. }
            | Loading::Unknown
            | Loading::Waiting { .. }
            | Loading::Done) => {
                self.distro.loading = other;
                return;
            }
        };
        if let Some(again) = &mut again {
            for ServiceChanges { service, changes, .. } in &services {
                let there = changes.iter().filter_map(InstanceChange::listed_key);
                again.confirmed.extend(there.map(|key| (service.clone(), key)));
            }
        }
        // What the page confirms is noted above: taking the page over uses it up.
        self.receive(now, from, services, out);
        match next {
            Some(next) if Some(&next) > page => {
                self.ask_for_page(now, since, from, Some(next), again, out);
            }
            Some(_) | None => {
                if let Some(again) = again {
                    self.drop_unconfirmed(now, &again);
                }
                self.review(now);
            }
        }
    }

    /// Drops what was here before a long stop and is known nowhere else, except what this node
    /// itself keeps alive.
    fn drop_unconfirmed(&mut self, now: Instant, again: &Again) {
        let life: Life = self.distro.life;
        for slot in self.catalog.slots() {
            let Some(service) = self.catalog.get(slot) else { continue };
            let key = service.key().clone();
            let gone = self.catalog.retain_instances(slot, |instance| {
                !instance.ephemeral()
                    || instance.owner().is_some_and(|owner| owner.life() == life)
                    || instance.born().counter > again.counter
                    || again.confirmed.contains(&(key.clone(), instance.publication()))
            });
            if gone > 0 {
                if let Some(service) = self.catalog.get_mut(slot) {
                    service.digest = None;
                }
                self.changed(now, slot);
                self.thinned(now, slot);
            }
        }
    }
}

impl InstanceChange {
    /// Which instance is there.
    fn listed_key(&self) -> Option<PublicationKey> {
        match self {
            Self::Up { spec, owner, .. } => {
                Some(PublicationKey { instance: spec.key(), owner: *owner })
            }
            Self::Gone { .. } => None,
        }
    }
}
