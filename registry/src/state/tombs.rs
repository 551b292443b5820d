//! What is remembered of instances that are gone, so that a late copy of one does not bring it
//! back. Bounded in number and time: whoever was away for longer than that starts from a full copy.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;

use nacolet_model::{Instant, ServiceKey, limits};

use crate::words::message::{GoneCause, InstanceChange};
use crate::words::names::{PublicationKey, WriteVersion};

type TombName = (ServiceKey, PublicationKey);

/// One publication that is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tomb {
    /// Registrations up to this one are over.
    pub(crate) covered: WriteVersion,
    pub(crate) cause: GoneCause,
    /// Which entry of the queue speaks for it.
    number: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Tombs {
    by_name: BTreeMap<Arc<TombName>, Tomb>,
    /// Oldest first; an entry whose number is not the tomb's is an old one.
    queue: VecDeque<(Instant, u64, Arc<TombName>)>,
    last_number: u64,
}

impl Tombs {
    /// Remembers that registrations up to `covered` are over. The oldest are forgotten for it where
    /// there are too many.
    pub(crate) fn bury(
        &mut self,
        now: Instant,
        service: &ServiceKey,
        key: PublicationKey,
        covered: WriteVersion,
        cause: GoneCause,
    ) {
        let name = Arc::new((service.clone(), key));
        if self.by_name.get(&name).is_some_and(|known| known.covered >= covered) {
            return;
        }
        self.last_number += 1;
        let number = self.last_number;
        let last = self.queue.back().map(|(at, number, _)| (*at, *number));
        debug_assert!(last.is_none_or(|last| last < (now, number)), "the oldest tomb is the first");
        self.queue.push_back((now, number, Arc::clone(&name)));
        self.by_name.insert(name, Tomb { covered, cause, number });
        while self.queue.len() > limits::DISTRO_TOMBS_MAX {
            self.pop();
        }
        assert!(self.by_name.len() <= self.queue.len(), "every tomb stands in the queue");
    }

    pub(crate) fn get(&self, service: &ServiceKey, key: &PublicationKey) -> Option<&Tomb> {
        if self.by_name.is_empty() {
            return None;
        }
        self.by_name.get(&(service.clone(), key.clone()))
    }

    /// Those of the services after `service`, or all, in the order of services and instances.
    pub(crate) fn after<'a>(
        &'a self,
        service: Option<&'a ServiceKey>,
    ) -> impl Iterator<Item = (&'a ServiceKey, InstanceChange)> {
        let is_later =
            move |(name, _): &(&Arc<TombName>, &Tomb)| service.is_none_or(|at| name.0 > *at);
        self.by_name.iter().skip_while(move |entry| !is_later(entry)).map(|(name, tomb)| {
            let key = name.1.clone();
            (&name.0, InstanceChange::Gone { key, covered: tomb.covered, cause: tomb.cause })
        })
    }

    /// The instance was registered again.
    pub(crate) fn open(&mut self, service: &ServiceKey, key: &PublicationKey) {
        if !self.by_name.is_empty() {
            self.by_name.remove(&(service.clone(), key.clone()));
        }
    }

    /// Forgets what is old enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.queue.front().is_some_and(|(at, ..)| *at + limits::DISTRO_TOMB_EXPIRY <= now) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some((_, number, name)) = self.queue.pop_front() else { return };
        if self.by_name.get(&name).is_some_and(|tomb| tomb.number == number) {
            self.by_name.remove(&name);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self { last_number: self.last_number, ..Self::default() };
    }

    /// Asserts what everything else relies on.
    ///
    /// # Panics
    /// When a tomb would never be forgotten.
    pub(crate) fn invariants(&self) {
        assert!(self.queue.len() <= limits::DISTRO_TOMBS_MAX, "tombs are bounded");
        let queued = |(_, number, name): &&(Instant, u64, Arc<TombName>)| {
            self.by_name.get(name).is_some_and(|tomb| tomb.number == *number)
        };
        let count = self.queue.iter().filter(queued).count();
        assert_eq!(count, self.by_name.len(), "every tomb is forgotten some day");
    }
}
