//! UDP subscribers of Nacos 1.x and the pushes they are owed: a lease renewed by list calls, one
//! push per service and half second, one resend where no acknowledgement came. Rendering and
//! sending a push is the business of the shell. Subscribers outlive services: who polls a service
//! that is not there yet hears when it comes.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::{Duration, Instant, ServiceKey, limits};

use crate::words::io::{Output, Subscriber};

/// Leases are looked at no more often than this; a push looks at the leases of its service itself.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// One subscriber of one service, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriberView<'a> {
    /// Who.
    pub subscriber: &'a Subscriber,
    /// To what.
    pub service: &'a ServiceKey,
    /// The clusters it asked for, as it spelled them.
    pub clusters: &'a str,
}

/// One subscriber of one service.
#[derive(Debug)]
pub(crate) struct UdpSubscription {
    service: Arc<ServiceKey>,
    subscriber: Subscriber,
    clusters: Box<str>,
    lease_until: Instant,
    /// The push that is not acknowledged yet.
    owed: Option<u64>,
}

impl UdpSubscription {
    pub(crate) fn is_leased(&self, now: Instant) -> bool {
        now < self.lease_until
    }

    pub(crate) fn view(&self) -> SubscriberView<'_> {
        SubscriberView {
            subscriber: &self.subscriber,
            service: &self.service,
            clusters: &self.clusters,
        }
    }

    fn push(&self, reference: u64) -> Output {
        Output::Push {
            subscriber: self.subscriber.clone(),
            service: ServiceKey::clone(&self.service),
            clusters: self.clusters.clone(),
            reference,
        }
    }
}

/// All subscribers.
#[derive(Debug)]
pub(crate) struct UdpSubscribers {
    by_service: BTreeMap<Arc<ServiceKey>, Vec<UdpSubscription>>,
    /// Pushes that wait for their acknowledgement, and when they are sent again. References and
    /// times increase together, so the first is the soonest.
    unacked: BTreeMap<u64, (Instant, Arc<ServiceKey>)>,
    count: usize,
    reference: u64,
    sweep_at: Option<Instant>,
    /// Pushes since the start, resends not counted.
    pushes: u64,
    /// Pushes of which no acknowledgement came in time.
    unanswered: u64,
}

impl UdpSubscribers {
    /// References begin after `reference`, which should differ from life to life so that late
    /// acknowledgements of another life hit nothing.
    pub(crate) fn new(reference: u64) -> Self {
        let (by_service, unacked) = (BTreeMap::new(), BTreeMap::new());
        Self { by_service, unacked, count: 0, reference, sweep_at: None, pushes: 0, unanswered: 0 }
    }

    /// Adds a subscriber or renews its lease. Beyond the limits the newest is left out; it polls.
    pub(crate) fn subscribe(
        &mut self,
        now: Instant,
        lease: Duration,
        service: ServiceKey,
        clusters: Box<str>,
        subscriber: Subscriber,
    ) {
        if !subscriber.is_bounded() || clusters.len() > limits::LABEL_CHARS_MAX {
            return;
        }
        // A renewal needs no room, so it is looked for before the limits are.
        let lease_until = now + lease;
        let entries = self.by_service.get_mut(&service);
        let same = entries.and_then(|entries| {
            entries.iter_mut().find(|entry| {
                entry.subscriber.port == subscriber.port
                    && entry.subscriber.ip == subscriber.ip
                    && entry.clusters == clusters
            })
        });
        if let Some(entry) = same {
            entry.lease_until = lease_until;
            entry.subscriber = subscriber;
            return;
        }
        if self.count >= limits::UDP_SUBSCRIBERS_MAX {
            return;
        }
        let service = self
            .by_service
            .get_key_value(&service)
            .map_or_else(|| Arc::new(service.clone()), |(service, _)| Arc::clone(service));
        let entries = self.by_service.entry(Arc::clone(&service)).or_default();
        if entries.len() >= limits::UDP_SUBSCRIBERS_PER_SERVICE_MAX {
            return;
        }
        entries.push(UdpSubscription { service, subscriber, clusters, lease_until, owed: None });
        self.count += 1;
        self.sweep_at = self.sweep_at.or(Some(lease_until));
    }

    pub(crate) fn has(&self, service: &ServiceKey) -> bool {
        self.by_service.contains_key(service)
    }

    /// Owes a push to every subscriber of `service`; what they were owed before is outdated.
    pub(crate) fn push(&mut self, now: Instant, service: &ServiceKey, out: &mut Vec<Output>) {
        self.forget(now, service);
        let Some(entries) = self.by_service.get_mut(service) else { return };
        for entry in entries {
            self.reference += 1;
            self.pushes += 1;
            if let Some(old) = entry.owed.replace(self.reference) {
                let debt = self.unacked.remove(&old);
                debug_assert!(debt.is_some(), "what is owed is remembered");
            }
            let resend_at = now + limits::UDP_RESEND_AFTER;
            self.unacked.insert(self.reference, (resend_at, Arc::clone(&entry.service)));
            out.push(entry.push(self.reference));
        }
    }

    /// A push arrived. An unknown reference is an answer to something older, or nonsense.
    pub(crate) fn acked(&mut self, reference: u64) {
        let Some((_, service)) = self.unacked.remove(&reference) else { return };
        if let Some(entry) = self.owing(&service, reference) {
            entry.owed = None;
        }
    }

    /// Sends again what is due, once, and forgets whose lease is over.
    pub(crate) fn wake(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some(first) = self.unacked.first_entry() {
            if first.get().0 > now {
                break;
            }
            let (reference, (_, service)) = first.remove_entry();
            debug_assert!(self.owing(&service, reference).is_some(), "what is remembered is owed");
            if let Some(entry) = self.owing(&service, reference) {
                entry.owed = None;
                if entry.is_leased(now) {
                    out.push(entry.push(reference));
                }
                self.unanswered += 1;
            }
        }
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep(now);
        }
    }

    /// When [`Self::wake`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let resend_at = self.unacked.first_key_value().map(|(_, (at, _))| *at);
        resend_at.into_iter().chain(self.sweep_at).min()
    }

    fn owing(&mut self, service: &ServiceKey, reference: u64) -> Option<&mut UdpSubscription> {
        let entries = self.by_service.get_mut(service)?;
        entries.iter_mut().find(|entry| entry.owed == Some(reference))
    }

    fn sweep(&mut self, now: Instant) {
        let services: Vec<Arc<ServiceKey>> = self.by_service.keys().map(Arc::clone).collect();
        for service in services {
            self.forget(now, &service);
        }
        let soonest = self.all().map(|entry| entry.lease_until).min();
        self.sweep_at = soonest.map(|at| at.max(now + SWEEP_EVERY));
    }

    /// Drops the subscribers of one service whose lease is over.
    fn forget(&mut self, now: Instant, service: &ServiceKey) {
        let Some(entries) = self.by_service.get_mut(service) else { return };
        let before = entries.len();
        let unacked = &mut self.unacked;
        entries.retain(|entry| {
            if !entry.is_leased(now)
                && let Some(reference) = entry.owed
            {
                unacked.remove(&reference);
            }
            entry.is_leased(now)
        });
        let gone = before - entries.len();
        assert!(gone <= self.count, "subscribers that go were counted");
        self.count -= gone;
        if entries.is_empty() {
            self.by_service.remove(service);
        }
    }

    /// The subscribers of one service.
    pub(crate) fn of(
        &self,
        service: &ServiceKey,
    ) -> impl Iterator<Item = &UdpSubscription> + use<'_> {
        self.by_service.get(service).into_iter().flatten()
    }

    /// The subscribers of all services.
    pub(crate) fn all(&self) -> impl Iterator<Item = &UdpSubscription> {
        self.by_service.values().flatten()
    }

    /// Pushes since the start, and how many of them nobody acknowledged in time.
    pub(crate) fn pushes(&self) -> (u64, u64) {
        (self.pushes, self.unanswered)
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Asserts what everything else relies on.
    ///
    /// # Panics
    /// When counts, limits or the two sides of a debt disagree.
    pub(crate) fn invariants(&self) {
        let mut owed = 0;
        for (service, entries) in &self.by_service {
            assert!(!entries.is_empty(), "no service is kept without subscribers");
            assert!(
                entries.len() <= limits::UDP_SUBSCRIBERS_PER_SERVICE_MAX,
                "subscribers of a service are bounded"
            );
            for reference in entries.iter().filter_map(|entry| entry.owed) {
                owed += 1;
                let debt = self.unacked.get(&reference).map(|(_, service)| service);
                assert_eq!(debt, Some(service), "what is owed is remembered");
            }
        }
        assert_eq!(owed, self.unacked.len(), "what is remembered is owed");
        assert_eq!(self.all().count(), self.count, "subscribers are counted");
        assert!(self.count <= limits::UDP_SUBSCRIBERS_MAX, "subscribers are bounded");
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::testing::service_key;

    const LEASE: Duration = Duration::from_secs(10);

    fn subscriber(number: usize) -> Subscriber {
        let port = u16::try_from(number % 60_000).expect("small");
        let ip = format!("10.0.0.{}", number / 60_000).into();
        Subscriber { ip, port, agent: "agent".into(), app: "app".into(), by: None }
    }

    fn subscribe(all: &mut UdpSubscribers, now: Instant, service: usize, number: usize) {
        all.subscribe(
            now,
            LEASE,
            service_key(&format!("s{service}")),
            "".into(),
            subscriber(number),
        );
    }

    #[test]
    fn beyond_the_limits_the_newest_is_left_out_until_leases_end() {
        let mut all = UdpSubscribers::new(0);
        for number in 0..=limits::UDP_SUBSCRIBERS_PER_SERVICE_MAX {
            subscribe(&mut all, Instant::ZERO, 0, number);
        }
        assert_eq!(all.len(), limits::UDP_SUBSCRIBERS_PER_SERVICE_MAX);
        for number in all.len()..limits::UDP_SUBSCRIBERS_MAX {
            subscribe(&mut all, Instant::ZERO, 1 + number / 1_000, number);
        }
        assert_eq!(all.len(), limits::UDP_SUBSCRIBERS_MAX);
        subscribe(&mut all, Instant::ZERO, 99, 0);
        assert_eq!(all.len(), limits::UDP_SUBSCRIBERS_MAX);
        all.invariants();

        let later = Instant::ZERO + LEASE;
        assert_eq!(all.next_deadline(), Some(later));
        all.wake(later, &mut Vec::new());
        assert_eq!((all.len(), all.next_deadline()), (0, None));
        subscribe(&mut all, later, 99, 0);
        assert_eq!(all.len(), 1);
        all.invariants();
    }

    #[test]
    fn a_renewed_lease_is_no_second_subscriber_and_long_texts_are_not_kept() {
        let mut all = UdpSubscribers::new(0);
        subscribe(&mut all, Instant::ZERO, 0, 1);
        subscribe(&mut all, Instant::from_millis(9_000), 0, 1);
        assert_eq!(all.len(), 1);
        all.wake(Instant::from_millis(18_999), &mut Vec::new());
        assert_eq!(all.len(), 1);
        all.wake(Instant::from_millis(24_000), &mut Vec::new());
        assert_eq!(all.len(), 0);

        let long: Box<str> = "a".repeat(limits::LABEL_CHARS_MAX + 1).into();
        let mut greedy = subscriber(1);
        greedy.agent = long.clone();
        all.subscribe(Instant::ZERO, LEASE, service_key("s0"), "".into(), greedy);
        all.subscribe(Instant::ZERO, LEASE, service_key("s0"), long, subscriber(1));
        assert_eq!(all.len(), 0);
    }

    #[test]
    fn nobody_is_owed_more_than_one_push() {
        let mut all = UdpSubscribers::new(0);
        subscribe(&mut all, Instant::ZERO, 0, 1);
        subscribe(&mut all, Instant::ZERO, 0, 2);
        let mut out = Vec::new();
        for round in 0..100 {
            all.push(Instant::from_millis(round), &service_key("s0"), &mut out);
            all.invariants();
        }
        assert_eq!((out.len(), all.unacked.len()), (200, 2));
        all.acked(199);
        all.acked(199);
        all.acked(5);
        all.invariants();
        assert_eq!(all.unacked.len(), 1);
    }
}
