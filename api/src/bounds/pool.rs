//! The bytes that clients make the node hold: bodies and messages while they come in and are worked
//! on, and answers until they are taken. All of them share one pool. Counting follows what was
//! received, never what was announced.
//!
//! Small ones have a reserve that large ones cannot take. When large ones do not fit, somebody is
//! cut: first the largest of an address that holds more than half while another one needs some,
//! then whoever is slower than a client has to be while bytes are short. Only if there is nobody
//! like that the newest is refused.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use nacolet_model::{Instant, limits};

use crate::bounds::places::{Account, Place};

/// The bytes of all connections.
#[derive(Debug)]
pub(crate) struct Pool {
    bytes_max: usize,
    reserve: usize,
    total: AtomicUsize,
    /// Those of `total` that are held by small ones.
    small: AtomicUsize,
    large: Mutex<Vec<PoolRow>>,
    /// Those who wait for room.
    waiting: Mutex<BTreeMap<u64, Waker>>,
    has_waiting: AtomicBool,
}

/// Of those who wait so many are woken by each who gives bytes back.
const WOKEN_AT_ONCE: usize = 16;

/// Why more bytes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    /// All clients together hold too many.
    Pool,
    /// The callers of this address that have not logged in hold too many.
    Stranger,
    /// It was too slow while others waited, or its address had too many.
    Cut,
}

/// What is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// A body or message, which is asked whether it is cut while it comes in.
    Body,
    /// An answer that nobody asks about: its connection is closed where it is cut.
    Answer,
    /// An answer whose sender asks.
    Reply,
}

/// Something large that is held.
#[derive(Debug)]
struct PoolEntry {
    place: Arc<Place>,
    hold: Hold,
    bytes: AtomicUsize,
    /// It waits for its client.
    waits: AtomicBool,
    cut: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// And how fast it moves.
#[derive(Debug)]
struct PoolRow {
    entry: Arc<PoolEntry>,
    since: Option<Instant>,
    moved: u64,
    /// Bytes a second, once that is known.
    speed: Option<u64>,
}

impl Pool {
    pub(crate) fn new(bytes_max: usize, reserve: usize) -> Self {
        Self {
            bytes_max,
            reserve,
            total: AtomicUsize::new(0),
            small: AtomicUsize::new(0),
            large: Mutex::default(),
            waiting: Mutex::default(),
            has_waiting: AtomicBool::new(false),
        }
    }

    /// Bytes that are held now.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Whether there is room for something large, if need be by cutting others; otherwise the task
    /// is woken when that may be.
    pub(crate) fn poll_room(&self, place: &Place, cx: &Context<'_>) -> bool {
        if self.is_roomy() || (self.cut_one(Some(&place.account)) && self.is_roomy()) {
            return true;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(place.id(), cx.waker().clone());
        self.has_waiting.store(true, Ordering::SeqCst);
        drop(waiting);
        self.is_roomy()
    }

    fn is_roomy(&self) -> bool {
        self.total.load(Ordering::SeqCst) <= self.bytes_max - self.bytes_max / 8
    }

    fn wake_some(&self) {
        if !self.has_waiting.load(Ordering::SeqCst) || !self.is_roomy() {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let woken: Vec<Waker> = std::iter::from_fn(|| waiting.pop_first())
            .map(|(_, waker)| waker)
            .take(WOKEN_AT_ONCE)
            .collect();
        self.has_waiting.store(!waiting.is_empty(), Ordering::SeqCst);
        drop(waiting);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Counts what is held for a connection, from nothing.
    pub(crate) fn hold(self: &Arc<Self>, place: &Arc<Place>, hold: Hold) -> Held {
        Held {
            pool: Arc::clone(self),
            place: Arc::clone(place),
            hold,
            small: 0,
            strange: 0,
            entry: None,
        }
    }

    /// Looks how fast large ones move. Called once per tick.
    pub(crate) fn tick(&self, now: Instant) {
        self.wake_some();
        for listed in self.lock().iter_mut() {
            let moved = listed.entry.place.moved();
            let Some(since) = listed.since else {
                (listed.since, listed.moved) = (Some(now), moved);
                continue;
            };
            let time = now.saturating_since(since);
            if time >= limits::SHORT_GRACE {
                let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                let bytes = moved.saturating_sub(listed.moved);
                listed.speed = Some(bytes.saturating_mul(1_000) / millis.max(1));
                (listed.since, listed.moved) = (Some(now), moved);
            }
        }
    }

    /// Cuts somebody for the sake of `account`; false when nobody deserves it.
    fn cut_one(&self, account: Option<&Arc<Account>>) -> bool {
        let large = self.lock();
        let waiting = || {
            large.iter().filter(|listed| {
                let entry = &listed.entry;
                entry.waits.load(Ordering::Relaxed) && !entry.cut.load(Ordering::Relaxed)
            })
        };
        let size = |listed: &&PoolRow| listed.entry.bytes.load(Ordering::Relaxed);
        let is_greedy = |listed: &&PoolRow| {
            let holder = &listed.entry.place.account;
            account.is_some_and(|account| !Arc::ptr_eq(holder, account))
                && holder.shares()
                && holder.bytes.now() > self.bytes_max / 2
        };
        let is_slow = |listed: &&PoolRow| {
            listed.speed.is_some_and(|speed| speed < limits::SHORT_BYTES_PER_SECOND_MIN)
        };
        let greediest = waiting().filter(is_greedy).max_by_key(size);
        let victim = greediest.or_else(|| waiting().filter(is_slow).max_by_key(size));
        let Some(victim) = victim.map(|listed| Arc::clone(&listed.entry)) else { return false };
        drop(large);
        // Its bytes are given away here, so that whoever needs them does not wait for its task.
        victim.cut.store(true, Ordering::Relaxed);
        self.give_back(&victim.place.account, victim.bytes.swap(0, Ordering::Relaxed));
        match victim.hold {
            Hold::Answer => victim.place.dismiss(),
            Hold::Body | Hold::Reply => {}
        }
        let waker = victim.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    fn give_back(&self, account: &Account, bytes: usize) {
        let before = self.total.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "{bytes} of {before} bytes are given back");
        account.bytes.give_back(bytes);
        self.wake_some();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PoolRow>> {
        self.large.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that are counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    pool: Arc<Pool>,
    place: Arc<Place>,
    hold: Hold,
    /// Its bytes while it is small.
    small: usize,
    /// Those of them that are a stranger's.
    strange: usize,
    /// Where its bytes are counted once it is large.
    entry: Option<Arc<PoolEntry>>,
}

impl Held {
    /// Counts more bytes.
    ///
    /// # Errors
    /// When they are refused; then they are not counted.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Short> {
        if self.is_cut() {
            return Err(Short::Cut);
        }
        let account = &self.place.account;
        if self.hold == Hold::Body && self.place.is_stranger() {
            let before = account.stranger_bytes.grow(bytes);
            self.strange += bytes;
            if before.saturating_add(bytes) > limits::STRANGER_BYTES_MAX {
                return Err(Short::Stranger);
            }
        }
        self.count(bytes);
        while !self.fits() {
            if !self.pool.cut_one(Some(&self.place.account)) {
                self.uncount(bytes);
                return Err(Short::Pool);
            }
        }
        Ok(())
    }

    /// Counts bytes that are there already, whether or not they have room: those that come after
    /// must wait.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.count(bytes);
    }

    /// It does not wait for its client any more, or does so again.
    pub(crate) fn set_waiting(&self, waits: bool) {
        if let Some(entry) = &self.entry {
            entry.waits.store(waits, Ordering::Relaxed);
        }
    }

    /// The caller has logged in.
    pub(crate) fn logged_in(&mut self) {
        self.place.account.stranger_bytes.give_back(self.strange);
        self.strange = 0;
    }

    /// Whether it shall be given up.
    pub(crate) fn is_cut(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.cut.load(Ordering::Relaxed))
    }

    /// As [`Self::is_cut`]; otherwise the task is woken when it is cut.
    pub(crate) fn poll_cut(&self, cx: &Context<'_>) -> bool {
        if let Some(entry) = &self.entry {
            let mut waker = entry.waker.lock().unwrap_or_else(PoisonError::into_inner);
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        self.is_cut()
    }

    /// Ready once it shall be given up.
    pub(crate) async fn cut(&self) {
        poll_fn(|cx| if self.poll_cut(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn fits(&self) -> bool {
        let Pool { bytes_max, reserve, ref total, ref small, .. } = *self.pool;
        if total.load(Ordering::Relaxed) <= bytes_max {
            return true;
        }
        let of_address = self.place.account.small_bytes.now();
        let is_modest = !self.place.account.shares() || of_address <= reserve / 8;
        // Whatever large ones have added beyond their bound, the reserve is not theirs.
        self.entry.is_none() && is_modest && small.load(Ordering::Relaxed) <= reserve
    }

    fn count_small(&mut self, bytes: usize) {
        self.small += bytes;
        self.pool.small.fetch_add(bytes, Ordering::Relaxed);
        self.place.account.small_bytes.grow(bytes);
    }

    fn uncount_small(&mut self, bytes: usize) {
        self.small -= bytes;
        self.pool.small.fetch_sub(bytes, Ordering::Relaxed);
        self.place.account.small_bytes.give_back(bytes);
    }

    fn count(&mut self, bytes: usize) {
        self.pool.total.fetch_add(bytes, Ordering::Relaxed);
        self.place.account.bytes.grow(bytes);
        match &self.entry {
            Some(entry) => {
                entry.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            None => {
                self.count_small(bytes);
                if self.small > limits::SMALL_BODY_BYTES_MAX {
                    self.enlist();
                }
            }
        }
    }

    fn uncount(&mut self, bytes: usize) {
        match &self.entry {
            // One that was cut meanwhile has given all of it back.
            Some(entry) => {
                let taken = entry.bytes.swap(0, Ordering::Relaxed);
                let left = taken.saturating_sub(bytes);
                entry.bytes.store(left, Ordering::Relaxed);
                self.pool.give_back(&self.place.account, taken - left);
            }
            None => {
                self.uncount_small(bytes);
                self.pool.give_back(&self.place.account, bytes);
            }
        }
    }

    fn enlist(&mut self) {
        let bytes = self.small;
        self.uncount_small(bytes);
        let entry = Arc::new(PoolEntry {
            place: Arc::clone(&self.place),
            hold: self.hold,
            bytes: AtomicUsize::new(bytes),
            waits: AtomicBool::new(true),
            cut: AtomicBool::new(false),
            waker: Mutex::default(),
        });
        let listed = PoolRow { entry: Arc::clone(&entry), since: None, moved: 0, speed: None };
        self.pool.lock().push(listed);
        self.entry = Some(entry);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.strange > 0 {
            self.logged_in();
        }
        let mut bytes = self.small;
        self.uncount_small(bytes);
        if let Some(entry) = self.entry.take() {
            bytes += entry.bytes.swap(0, Ordering::Relaxed);
            self.pool.lock().retain(|listed| !Arc::ptr_eq(&listed.entry, &entry));
        }
        if bytes > 0 {
            self.pool.give_back(&self.place.account, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::places::{Hall, PlaceLimits, Places, Seat};

    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;

    struct World {
        pool: Arc<Pool>,
        places: Arc<Places>,
    }

    impl World {
        fn new(strangers_max: Option<usize>) -> Self {
            let trusted = vec!["10.0.1.0/24".parse().expect("a network")];
            let limits = PlaceLimits { waiting_max: 100, strangers_max, trusted };
            let pool = Arc::new(Pool::new(8 * MIB, MIB));
            Self { pool, places: Arc::new(Places::new(limits)) }
        }

        fn seat(&self, ip: &str) -> Seat {
            let ip = ip.parse().expect("an address");
            self.places.take(Hall::Http, ip, Instant::ZERO).expect("a place")
        }

        fn body(&self, seat: &Seat) -> Held {
            self.pool.hold(&seat.place, Hold::Body)
        }
    }

    #[test]
    fn large_ones_leave_the_reserve_to_small_ones() {
        let world = World::new(None);
        let (greedy, other) = (world.seat("10.0.0.1"), world.seat("10.0.0.2"));
        let mut large = world.body(&greedy);
        assert_eq!(large.grow(8 * MIB), Ok(()), "one alone may have all");
        assert_eq!(large.grow(1), Err(Short::Pool));
        large.set_waiting(false);
        let mut small = world.body(&other);
        assert_eq!(small.grow(64 * KIB), Ok(()));
        assert_eq!(small.grow(1), Err(Short::Pool), "it is large from here on");
        let mut more: Vec<Held> = Vec::new();
        while more.last_mut().is_none_or(|held| held.grow(60 * KIB).is_ok()) {
            more.push(world.body(&other));
        }
        assert_eq!(more.len(), 3, "an eighth of the reserve is for one address");
        let mut own = world.body(&greedy);
        assert_eq!(own.grow(64 * KIB), Ok(()), "whatever it holds besides");
        drop((large, small, more, own));
        assert_eq!(other.place.account.small_bytes.now(), 0);
        assert_eq!(world.pool.total(), 0);
    }

    #[test]
    fn what_large_ones_add_beyond_their_bound_takes_nothing_of_the_reserve() {
        let world = World::new(None);
        let (greedy, other) = (world.seat("10.0.0.1"), world.seat("10.0.0.2"));
        let mut large = world.body(&greedy);
        large.add(20 * MIB);
        large.set_waiting(false);
        let mut small = world.body(&other);
        assert_eq!(small.grow(64 * KIB), Ok(()));
        assert_eq!(world.body(&greedy).grow(MIB), Err(Short::Pool));
        drop(small);
        assert_eq!(world.pool.small.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_holds_more_than_half_is_cut_for_another_address() {
        let world = World::new(None);
        let (greedy, other) = (world.seat("10.0.0.1"), world.seat("10.0.0.2"));
        let (mut first, mut second) = (world.body(&greedy), world.body(&greedy));
        assert_eq!((first.grow(5 * MIB), second.grow(3 * MIB)), (Ok(()), Ok(())));
        let mut own = world.body(&greedy);
        assert_eq!(own.grow(MIB), Err(Short::Pool), "nobody is cut for one of its own");
        let mut fair = world.body(&other);
        assert_eq!(fair.grow(4 * MIB), Ok(()));
        assert!(first.is_cut() && !second.is_cut());
        assert_eq!(first.grow(1), Err(Short::Cut));
        assert_eq!(fair.grow(2 * MIB), Err(Short::Pool), "now nobody has more than half");
        assert_eq!(world.pool.total(), 7 * MIB);
        drop((first, second, own, fair));
        assert_eq!(world.pool.total(), 0, "what was given away is not given back twice");
        assert_eq!(greedy.place.account.bytes.now(), 0);
    }

    #[test]
    fn the_own_host_shares_and_a_trusted_proxy_need_not() {
        for (holder, shares) in [("127.0.0.2", true), ("10.0.1.7", false)] {
            let world = World::new(None);
            let (greedy, other) = (world.seat(holder), world.seat("127.0.0.1"));
            let (mut first, mut second) = (world.body(&greedy), world.body(&other));
            assert_eq!(first.grow(8 * MIB), Ok(()));
            assert_eq!(second.grow(MIB).is_ok(), shares, "{holder}");
            assert_eq!(first.is_cut(), shares, "{holder}");
        }
    }

    #[test]
    fn who_is_slow_is_cut_when_bytes_are_short_and_not_before() {
        let world = World::new(None);
        let seats: Vec<Seat> = (1..=4).map(|n| world.seat(&format!("10.0.0.{n}"))).collect();
        let mut bodies: Vec<Held> = seats.iter().map(|seat| world.body(seat)).collect();
        for body in &mut bodies[..3] {
            assert_eq!(body.grow(5 * MIB / 2), Ok(()));
        }
        let at = |millis| Instant::from_millis(millis);
        world.pool.tick(at(0));
        seats[0].place.moves(100 * KIB);
        world.pool.tick(at(500));
        assert_eq!(bodies[3].grow(MIB), Err(Short::Pool), "a moment is granted");
        world.pool.tick(at(1_000));
        assert!(!bodies.iter().any(Held::is_cut));
        bodies[1].set_waiting(false);
        assert_eq!(bodies[3].grow(MIB), Ok(()));
        let cut: Vec<bool> = bodies.iter().map(Held::is_cut).collect();
        assert_eq!(cut, [false, false, true, false], "not the fast one, and none that is complete");
    }

    #[test]
    fn the_connection_of_an_answer_that_is_cut_is_closed() {
        let world = World::new(None);
        let (reader, other) = (world.seat("10.0.0.1"), world.seat("10.0.0.2"));
        let mut answer = world.pool.hold(&reader.place, Hold::Answer);
        answer.add(20 * MIB);
        let mut body = world.body(&other);
        assert_eq!(body.grow(MIB), Ok(()));
        assert!(reader.place.is_dismissed() && !other.place.is_dismissed());
        assert_eq!(body.grow(MIB), Ok(()));
        assert_eq!(body.grow(8 * MIB), Err(Short::Pool));
    }

    #[test]
    fn who_waits_for_room_is_woken_when_there_is_some() {
        let world = World::new(None);
        let seat = world.seat("10.0.0.1");
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        let (mut first, mut second) = (world.body(&seat), world.body(&seat));
        assert_eq!((first.grow(7 * MIB), second.grow(MIB)), (Ok(()), Ok(())));
        assert!(!world.pool.poll_room(&seat.place, &cx) && !world.pool.poll_room(&seat.place, &cx));
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        drop(second);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "once");
        assert!(world.pool.poll_room(&seat.place, &cx));
        drop(first);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        let (mut greedy, other) = (world.body(&seat), world.seat("10.0.0.2"));
        assert_eq!(greedy.grow(8 * MIB), Ok(()));
        assert!(world.pool.poll_room(&other.place, &cx) && greedy.is_cut(), "it is made");
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn strangers_of_an_address_share_a_little() {
        let world = World::new(Some(10));
        let seats = [world.seat("10.0.0.1"), world.seat("10.0.0.1"), world.seat("10.0.0.2")];
        let mut bodies: Vec<Held> = seats.iter().map(|seat| world.body(seat)).collect();
        assert_eq!(bodies[0].grow(limits::STRANGER_BYTES_MAX), Ok(()));
        assert_eq!(bodies[1].grow(1), Err(Short::Stranger));
        assert_eq!(bodies[2].grow(1), Ok(()));
        seats[1].place.logged_in();
        assert_eq!(bodies[1].grow(2 * MIB), Ok(()));
        drop(bodies);
        let account = &seats[0].place.account;
        assert_eq!((account.stranger_bytes.now(), world.pool.total()), (0, 0));
    }
}
