//! Who holds which connections: each address has an account, each connection a place. What is
//! bounded for one address is counted in its account; when all places are taken, the address that
//! has most gives one up.
//!
//! A connection counts for its address while it waits for its client: idle, in the middle of a
//! request or of an answer, or gRPC that is not set up. While a handler works for it, a long poll
//! included, and once gRPC is set up, it is bounded elsewhere. Where everybody has to log in, a
//! connection that has not shown a valid token is a stranger's, whatever it does.
//!
//! Counting is a few atomics; the lock is taken when a connection comes or goes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use nacolet_model::{Duration, Instant, limits};

use crate::bounds::count::Count;
use crate::bounds::origin::{Network, Origin};

/// The protocols, whose places are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hall {
    Http,
    Grpc,
}

/// The connections among which one goes when there are too many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowd {
    Http,
    Grpc,
    /// Those of gRPC that are not set up.
    GrpcNewcomers,
}

impl Crowd {
    fn has(self, place: &Place) -> bool {
        match self {
            Self::Http => place.hall == Hall::Http,
            Self::Grpc => place.hall == Hall::Grpc,
            Self::GrpcNewcomers => place.hall == Hall::Grpc && !place.is_set_up(),
        }
    }
}

/// What one address holds.
#[derive(Debug)]
pub(crate) struct Account {
    origin: Origin,
    /// A trusted proxy, behind which there are many clients.
    is_proxy: bool,
    /// The own host: whoever is on it may do worse, and a proxy on it needs no setting.
    is_own_host: bool,
    waiting: Count,
    strangers: Count,
    /// Bytes of bodies and answers.
    pub(crate) bytes: Count,
    /// Those of them that are in small ones.
    pub(crate) small_bytes: Count,
    /// Those of callers that have shown no token, where everybody has to log in.
    pub(crate) stranger_bytes: Count,
}

impl Account {
    /// Whether the bytes that it holds are to be shared with other addresses.
    pub(crate) fn shares(&self) -> bool {
        !self.is_proxy
    }
}

/// One connection, as the rest of the node sees it.
#[derive(Debug)]
pub(crate) struct Place {
    id: u64,
    hall: Hall,
    pub(crate) account: Arc<Account>,
    /// Since when it waits for its client, and how readily it goes; see [`Wait`].
    wait: AtomicU64,
    /// Whether it is one of `Account::waiting`.
    counts: AtomicBool,
    is_stranger: AtomicBool,
    dismissed: AtomicBool,
    waker: OnceLock<Waker>,
    /// Bytes that went over it, either way.
    moved: AtomicU64,
}

/// What a connection waits for: the smaller, the sooner it is closed for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// For a request, or its rest up to the body; on gRPC for the set-up.
    Request = 0,
    /// For the rest of a body.
    Body = 1,
    /// For nothing in particular: a gRPC connection that is set up.
    Life = 2,
}

impl Place {
    /// It waits for its client from now on.
    pub(crate) fn waits(&self, wait: Wait, since: Instant) {
        let millis = since.as_millis().saturating_add(1).min(u64::MAX >> 2);
        self.wait.store((wait as u64) << 62 | millis, Ordering::Relaxed);
        self.count(wait != Wait::Life);
    }

    /// A handler works for it.
    pub(crate) fn works(&self) {
        self.wait.store(0, Ordering::Relaxed);
        self.count(false);
    }

    fn count(&self, counts: bool) {
        if self.counts.swap(counts, Ordering::Relaxed) == counts {
            return;
        }
        if counts {
            self.account.waiting.grow(1);
        } else {
            self.account.waiting.give_back(1);
        }
    }

    /// Its client has shown a valid token.
    pub(crate) fn logged_in(&self) {
        if self.is_stranger.swap(false, Ordering::Relaxed) {
            self.account.strangers.give_back(1);
        }
    }

    /// Whether its client has still to log in.
    pub(crate) fn is_stranger(&self) -> bool {
        self.is_stranger.load(Ordering::Relaxed)
    }

    /// It shall end now.
    pub(crate) fn dismiss(&self) {
        self.dismissed.store(true, Ordering::Relaxed);
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    pub(crate) fn is_dismissed(&self) -> bool {
        self.dismissed.load(Ordering::Relaxed)
    }

    /// Names the connection among those of all threads.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Remembers the task of the connection, which is the same as long as it lives.
    pub(crate) fn park(&self, waker: &Waker) {
        self.waker.get_or_init(|| waker.clone());
    }

    /// Bytes went over it.
    pub(crate) fn moves(&self, bytes: usize) {
        self.moved.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// How readily it goes: what it waits for, and since when. Nothing while it does not wait.
    fn rank(&self) -> Option<(u64, u64)> {
        let wait = self.wait.load(Ordering::Relaxed);
        (wait != 0).then_some((wait >> 62, wait & (u64::MAX >> 2)))
    }

    fn is_set_up(&self) -> bool {
        self.rank().is_some_and(|(wait, _)| wait == Wait::Life as u64)
    }

    /// Whether it has waited for at least that long.
    fn has_waited(&self, now: Instant, time: Duration) -> bool {
        let latest = now.as_millis().saturating_add(1);
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.rank().is_some_and(|(_, since)| since.saturating_add(time) <= latest)
    }
}

/// A place that is taken, as long as this lives.
#[derive(Debug)]
pub(crate) struct Seat {
    places: Arc<Places>,
    pub(crate) place: Arc<Place>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let place = &self.place;
        place.works();
        place.logged_in();
        let mut holders = self.places.lock();
        let origin = place.account.origin;
        if let Some(holder) = holders.by_origin.get_mut(&origin) {
            holder.places.remove(&(place.hall, place.id));
            if holder.places.is_empty() {
                holders.by_origin.remove(&origin);
            }
        }
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// The address has as many as it may.
    Address,
}

/// What one address may have.
#[derive(Clone, Debug)]
pub(crate) struct PlaceLimits {
    /// Connections that wait for their client.
    pub(crate) waiting_max: usize,
    /// Connections of strangers; none are counted where nobody has to log in.
    pub(crate) strangers_max: Option<usize>,
    /// Networks without these limits.
    pub(crate) trusted: Vec<Network>,
}

/// The connections of all threads.
#[derive(Debug)]
pub(crate) struct Places {
    limits: PlaceLimits,
    holders: Mutex<Holders>,
}

#[derive(Debug, Default)]
struct Holders {
    last: u64,
    by_origin: BTreeMap<Origin, Holder>,
}

#[derive(Debug)]
struct Holder {
    account: Arc<Account>,
    places: BTreeMap<(Hall, u64), Arc<Place>>,
}

impl Holder {
    fn new(origin: Origin, is_proxy: bool, is_own_host: bool) -> Self {
        let account = Arc::new(Account {
            origin,
            is_proxy,
            is_own_host,
            waiting: Count::default(),
            strangers: Count::default(),
            bytes: Count::default(),
            small_bytes: Count::default(),
            stranger_bytes: Count::default(),
        });
        Self { account, places: BTreeMap::new() }
    }

    fn count(&self, crowd: Crowd) -> usize {
        self.places.values().filter(|place| !place.is_dismissed() && crowd.has(place)).count()
    }

    /// Closes the connection that goes most readily among those that `picks`; false when there is
    /// none.
    fn give_up(&self, picks: impl Fn(&Place) -> bool) -> bool {
        let all = self.places.values();
        let candidates = all.filter(|place| !place.is_dismissed() && picks(place));
        let least =
            candidates.filter_map(|place| Some((place.rank()?, place))).min_by_key(|(r, _)| *r);
        let Some((_, place)) = least else { return false };
        place.dismiss();
        // Its room is there from now on, for the one that it goes for.
        place.works();
        place.logged_in();
        true
    }
}

impl Places {
    pub(crate) fn new(limits: PlaceLimits) -> Self {
        Self { limits, holders: Mutex::default() }
    }

    /// A place for a connection that has just come, unless its address has too many.
    ///
    /// # Errors
    /// [`Crowded`].
    pub(crate) fn take(
        self: &Arc<Self>,
        hall: Hall,
        ip: IpAddr,
        now: Instant,
    ) -> Result<Seat, Crowded> {
        let origin = Origin::of(ip);
        let mut holders = self.lock();
        holders.last += 1;
        let id = holders.last;
        let holder = holders.by_origin.entry(origin).or_insert_with(|| {
            let is_proxy = self.limits.trusted.iter().any(|network| network.holds(ip));
            Holder::new(origin, is_proxy, ip.to_canonical().is_loopback())
        });
        if !self.has_room(holder, now) {
            return Err(Crowded::Address);
        }
        let place = Arc::new(Place {
            id,
            hall,
            account: Arc::clone(&holder.account),
            wait: AtomicU64::new(0),
            counts: AtomicBool::new(false),
            is_stranger: AtomicBool::new(self.limits.strangers_max.is_some()),
            dismissed: AtomicBool::new(false),
            waker: OnceLock::new(),
            moved: AtomicU64::new(0),
        });
        if place.is_stranger() {
            holder.account.strangers.grow(1);
        }
        place.waits(Wait::Request, now);
        holder.places.insert((hall, id), Arc::clone(&place));
        Ok(Seat { places: Arc::clone(self), place })
    }

    /// Whether an address may have one more, if need be for one that has been idle for long.
    fn has_room(&self, holder: &Holder, now: Instant) -> bool {
        let account = &holder.account;
        if account.is_proxy || account.is_own_host {
            return true;
        }
        let is_idle = |place: &Place| place.has_waited(now, limits::IDLE_SPARED);
        let waits = |place: &Place| place.counts.load(Ordering::Relaxed) && is_idle(place);
        let too_many = |count: &Count, max| count.now() >= max;
        let is_crowded = too_many(&account.waiting, self.limits.waiting_max);
        if is_crowded && !holder.give_up(waits) {
            return false;
        }
        let strange = |place: &Place| place.is_stranger() && is_idle(place);
        let is_strange =
            self.limits.strangers_max.is_some_and(|max| too_many(&account.strangers, max));
        !is_strange || holder.give_up(strange)
    }

    /// Closes a connection of a crowd for one that comes from `ip`, since all places are taken: of
    /// the address that has most of them the one that has waited for longest. False when there is
    /// none that has waited for long enough.
    pub(crate) fn make_room(&self, crowd: Crowd, ip: IpAddr, now: Instant) -> bool {
        let origin = Origin::of(ip);
        let holders = self.lock();
        let greediest = holders.by_origin.iter().max_by_key(|(_, holder)| holder.count(crowd));
        let Some((greediest, holder)) = greediest else { return false };
        let is_own = *greediest == origin;
        let is_modest =
            crowd == Crowd::GrpcNewcomers && holder.count(crowd) <= limits::GRPC_NEWCOMERS_SPARED;
        let spared = if is_own || is_modest { limits::IDLE_SPARED } else { limits::WAITING_SPARED };
        holder.give_up(|place| {
            // Who is set up does not go for another of the same address: it would come again at
            // once.
            crowd.has(place) && place.has_waited(now, spared) && !(is_own && place.is_set_up())
        })
    }

    fn lock(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(waiting_max: usize, strangers_max: Option<usize>) -> Arc<Places> {
        let trusted = vec!["10.1.0.0/16".parse().expect("a network")];
        Arc::new(Places::new(PlaceLimits { waiting_max, strangers_max, trusted }))
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn taken(places: &Arc<Places>, from: &str, now: u64) -> Seat {
        places.take(Hall::Http, ip(from), at(now)).expect("a place")
    }

    fn is_crowded(places: &Arc<Places>, from: &str, now: u64) -> bool {
        places.take(Hall::Http, ip(from), at(now)).is_err()
    }

    #[test]
    fn one_address_has_as_many_as_it_may_and_the_newest_is_refused() {
        let places = places(2, None);
        let mut seats = vec![taken(&places, "10.0.0.1", 0), taken(&places, "10.0.0.1", 0)];
        assert!(is_crowded(&places, "10.0.0.1", 1_000));
        assert!(!is_crowded(&places, "10.0.0.2", 1_000), "others do not notice");
        assert!(!seats.iter().any(|seat| seat.place.is_dismissed()));
        seats.pop();
        assert!(!is_crowded(&places, "10.0.0.1", 1_000), "a place that is left is free");
    }

    #[test]
    fn one_that_has_been_idle_for_long_goes_for_a_new_one_of_its_address() {
        let places = places(2, None);
        let old = taken(&places, "10.0.0.1", 0);
        let newer = taken(&places, "10.0.0.1", 500);
        let newest = taken(&places, "10.0.0.1", 2_000);
        assert!(old.place.is_dismissed() && !newer.place.is_dismissed());
        drop(old);
        assert!(is_crowded(&places, "10.0.0.1", 2_100), "its place was given away before it went");
        drop(newest);
    }

    #[test]
    fn both_protocols_count_and_those_that_are_served_do_not() {
        let places = places(2, None);
        let polls: Vec<Seat> = (0..5)
            .map(|_| {
                let seat = taken(&places, "10.0.0.1", 0);
                seat.place.works();
                seat
            })
            .collect();
        let set_up = places.take(Hall::Grpc, ip("10.0.0.1"), at(0)).expect("a place");
        set_up.place.waits(Wait::Life, at(0));
        let _grpc = places.take(Hall::Grpc, ip("10.0.0.1"), at(0)).expect("a place");
        let _http = taken(&places, "10.0.0.1", 0);
        assert!(is_crowded(&places, "10.0.0.1", 0));
        polls[0].place.waits(Wait::Request, at(0));
        drop(polls);
    }

    #[test]
    fn the_own_host_and_trusted_proxies_have_no_limit() {
        let places = places(1, Some(1));
        for from in ["127.0.0.1", "::1", "10.1.2.3", "::ffff:10.1.2.3"] {
            let _seats: Vec<Seat> = (0..9).map(|_| taken(&places, from, 0)).collect();
        }
    }

    #[test]
    fn strangers_have_a_smaller_part_until_they_log_in() {
        let places = places(4, Some(2));
        let seats: Vec<Seat> = (0..2).map(|_| taken(&places, "10.0.0.1", 0)).collect();
        seats[0].place.works();
        assert!(is_crowded(&places, "10.0.0.1", 0), "whatever they do");
        seats[0].place.logged_in();
        seats[0].place.logged_in();
        let _third = taken(&places, "10.0.0.1", 0);
        assert!(is_crowded(&places, "10.0.0.1", 0));
        drop(seats);
        let _fourth = taken(&places, "10.0.0.1", 0);
        assert!(is_crowded(&places, "10.0.0.1", 0), "each is counted back once");
    }

    #[test]
    fn when_all_places_are_taken_the_address_with_most_gives_up_its_oldest() {
        let places = places(9, None);
        let fair = taken(&places, "10.0.0.2", 0);
        let busy = taken(&places, "10.0.0.1", 0);
        busy.place.works();
        let body = taken(&places, "10.0.0.1", 0);
        body.place.waits(Wait::Body, at(0));
        let idle = taken(&places, "10.0.0.1", 10);
        assert!(!places.make_room(Crowd::Http, ip("10.0.0.3"), at(40)), "a moment is granted");
        assert!(places.make_room(Crowd::Http, ip("10.0.0.3"), at(200)));
        assert!(idle.place.is_dismissed(), "idle ones go before bodies");
        assert!(!places.make_room(Crowd::Grpc, ip("10.0.0.3"), at(200)), "of the same kind");
        assert!(places.make_room(Crowd::Http, ip("10.0.0.3"), at(200)));
        assert!(body.place.is_dismissed() && !busy.place.is_dismissed());
        assert!(!fair.place.is_dismissed());
    }

    #[test]
    fn for_one_of_its_own_an_address_gives_up_only_what_has_long_been_idle() {
        let places = places(9, None);
        let own = taken(&places, "127.0.0.1", 0);
        assert!(!places.make_room(Crowd::Http, ip("127.0.0.1"), at(1_900)));
        assert!(places.make_room(Crowd::Http, ip("127.0.0.1"), at(2_000)));
        assert!(own.place.is_dismissed());
        let set_up = places.take(Hall::Grpc, ip("127.0.0.1"), at(0)).expect("a place");
        set_up.place.waits(Wait::Life, at(0));
        assert!(!places.make_room(Crowd::Grpc, ip("127.0.0.1"), at(9_000)));
        assert!(places.make_room(Crowd::Grpc, ip("10.0.0.1"), at(9_000)));
    }

    #[test]
    fn a_few_that_are_not_set_up_yet_are_given_time() {
        let places = places(99, None);
        let newcomer = |number: u64| {
            let seat = places.take(Hall::Grpc, ip("10.0.0.1"), at(number)).expect("a place");
            (number, seat)
        };
        let count = u64::try_from(limits::GRPC_NEWCOMERS_SPARED).expect("small");
        let mut seats: Vec<(u64, Seat)> = (0..count).map(newcomer).collect();
        let make_room = |now| places.make_room(Crowd::GrpcNewcomers, ip("10.0.0.2"), at(now));
        assert!(!make_room(500));
        seats.push(newcomer(count));
        assert!(make_room(500));
        assert!(!make_room(500));
        assert!(make_room(2_001));
        let gone: Vec<u64> =
            seats.iter().filter(|(_, seat)| seat.place.is_dismissed()).map(|(n, _)| *n).collect();
        assert_eq!(gone, [0, 1]);
    }

    #[test]
    fn nothing_is_left_of_an_address_that_is_gone() {
        let places = places(1, Some(1));
        drop(taken(&places, "10.0.0.1", 0));
        assert!(places.lock().by_origin.is_empty());
        let seat = taken(&places, "10.0.0.1", 0);
        assert!(is_crowded(&places, "10.0.0.1", 0));
        drop(seat);
        assert!(places.lock().by_origin.is_empty());
    }
}
