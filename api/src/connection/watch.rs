//! What a connection is doing and how long that may last. Changing the phase costs a cell write;
//! one sweep per tick compares all deadlines with the clock.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::Waker;

use nacolet_model::{Duration, Instant, limits};

use crate::bounds::places::{Place, Wait};
use crate::bounds::pool::{Held, Short};
use crate::state::settings::Settings;

/// ```text
///             first byte          head complete        body complete
///  ┌► Idle ──────────────► Head ───────────────► Body ───────────────► Working ─┐
///  └────────────────────────────────────────────────────────── answered ────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between requests, or while the client takes a response.
    Idle { deadline: Instant },
    /// A request line or headers have begun. A fresh connection begins here.
    Head { deadline: Instant },
    /// A body is coming in.
    Body { since: Instant, bytes: u64 },
    /// A handler works; it has its own deadline.
    Working,
}

/// The watch over one connection.
#[derive(Debug)]
pub(crate) struct ConnectionWatch {
    /// Names the connection within its thread.
    pub(super) id: u64,
    phase: Cell<Phase>,
    over: Cell<bool>,
    body_over: Cell<bool>,
    stopping: Cell<bool>,
    lingers: Cell<bool>,
    /// What others see of the connection.
    place: Arc<Place>,
    /// Bytes that came since the head began.
    head_bytes: Cell<usize>,
    /// Those of them that are counted.
    head: RefCell<Option<Held>>,
    waker: RefCell<Option<Waker>>,
}

impl ConnectionWatch {
    pub(super) fn new(id: u64, deadline: Instant, place: Arc<Place>) -> Self {
        Self {
            id,
            phase: Cell::new(Phase::Head { deadline }),
            over: Cell::new(false),
            body_over: Cell::new(false),
            stopping: Cell::new(false),
            lingers: Cell::new(false),
            place,
            head_bytes: Cell::new(0),
            head: RefCell::new(None),
            waker: RefCell::new(None),
        }
    }

    pub(super) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// Bytes came in. Between requests a head begins with them, for which there is `time`. True
    /// when they are part of a head.
    pub(super) fn received(
        &self,
        bytes: usize,
        now: impl FnOnce() -> Instant,
        time: Duration,
    ) -> bool {
        self.place.moves(bytes);
        match self.phase.get() {
            Phase::Idle { .. } if bytes > 0 => {
                let now = now();
                self.phase.set(Phase::Head { deadline: now + time });
                self.place.waits(Wait::Request, now);
                self.head_bytes.set(0);
                true
            }
            Phase::Body { since, bytes: before } => {
                let bytes = before.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
                self.phase.set(Phase::Body { since, bytes });
                false
            }
            Phase::Head { .. } => true,
            Phase::Idle { .. } | Phase::Working => false,
        }
    }

    /// Counts bytes of a head. What is beyond an ordinary one counts as a body does.
    pub(super) fn head_grows(
        &self,
        bytes: usize,
        hold: impl FnOnce(&Arc<Place>) -> Held,
    ) -> Result<(), Short> {
        let before = self.head_bytes.get();
        let length = before.saturating_add(bytes);
        self.head_bytes.set(length);
        let counts = length.saturating_sub(limits::FREE_HEAD_BYTES);
        let counted = before.saturating_sub(limits::FREE_HEAD_BYTES);
        if counts == 0 {
            return Ok(());
        }
        let mut head = self.head.borrow_mut();
        head.get_or_insert_with(|| hold(&self.place))
            .grow(limits::LONG_HEAD_COST * (counts - counted))
    }

    /// Whether no request is complete that could be answered.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.phase.get(), Phase::Head { .. })
    }

    /// The head is complete: what is counted for it.
    pub(super) fn take_head(&self) -> Option<Held> {
        self.head_bytes.set(0);
        self.head.take()
    }

    /// Part of a response went out.
    pub(super) fn sent(&self, bytes: usize, deadline: impl FnOnce() -> Instant) {
        self.place.moves(bytes);
        if let Phase::Idle { .. } = self.phase.get() {
            self.phase.set(Phase::Idle { deadline: deadline() });
        }
    }

    pub(super) fn body(&self, since: Instant) {
        self.phase.set(Phase::Body { since, bytes: 0 });
        self.place.waits(Wait::Body, since);
    }

    pub(super) fn working(&self) {
        self.phase.set(Phase::Working);
        self.place.works();
    }

    pub(super) fn idle(&self, now: Instant, time: Duration) {
        self.phase.set(Phase::Idle { deadline: now + time });
        self.place.waits(Wait::Request, now);
    }

    /// The connection shall drain what the client still sends before it closes.
    pub(super) fn linger(&self) {
        self.lingers.set(true);
    }

    pub(super) fn lingers(&self) -> bool {
        self.lingers.get() && !self.is_over()
    }

    /// The connection shall end after what it is doing.
    pub(super) fn stop(&self) {
        self.stopping.set(true);
        self.wake();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Silence has lasted too long: close.
    pub(super) fn is_over(&self) -> bool {
        self.over.get() || self.place.is_dismissed()
    }

    /// The body has lasted too long: answer 408.
    pub(super) fn is_body_over(&self) -> bool {
        self.body_over.get()
    }

    /// Remembers whom to wake.
    pub(super) fn park(&self, waker: &Waker) {
        self.place.park(waker);
        let mut parked = self.waker.borrow_mut();
        match &mut *parked {
            Some(old) => old.clone_from(waker),
            None => *parked = Some(waker.clone()),
        }
    }

    /// Compares the phase with the clock.
    pub(super) fn check(&self, now: Instant, settings: &Settings) {
        match self.phase.get() {
            Phase::Idle { deadline } | Phase::Head { deadline } if now >= deadline => {
                self.over.set(true);
                self.wake();
            }
            Phase::Body { since, bytes } if is_too_slow(now, since, bytes, settings) => {
                self.body_over.set(true);
                self.wake();
            }
            Phase::Idle { .. } | Phase::Head { .. } | Phase::Body { .. } | Phase::Working => {}
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

fn is_too_slow(now: Instant, since: Instant, bytes: u64, settings: &Settings) -> bool {
    let elapsed = now.saturating_since(since);
    if elapsed >= settings.body_timeout {
        return true;
    }
    let due = elapsed.as_secs().saturating_mul(settings.body_bytes_per_second_min);
    elapsed >= settings.body_grace && bytes < due
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::bounds::places::{Hall, PlaceLimits, Places};

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    fn watch(deadline: Instant) -> ConnectionWatch {
        let limits = PlaceLimits { waiting_max: 9, strangers_max: None, trusted: Vec::new() };
        let places = Arc::new(Places::new(limits));
        let seat = places.take(Hall::Http, Ipv4Addr::LOCALHOST.into(), Instant::ZERO);
        ConnectionWatch::new(1, deadline, Arc::clone(&seat.expect("a place").place))
    }

    #[test]
    fn a_head_that_takes_too_long_ends_the_connection() {
        let settings = Settings::default();
        let watch = watch(at(60));
        watch.idle(at(0), Duration::from_secs(60));
        watch.received(1, || at(0), Duration::from_secs(5));
        watch.received(1, || at(4), Duration::from_secs(5));
        watch.check(at(4), &settings);
        assert!(!watch.is_over());
        watch.check(at(5), &settings);
        assert!(watch.is_over(), "later bytes of the head do not buy time");
    }

    #[test]
    fn a_body_must_keep_a_least_speed() {
        let settings = Settings::default();
        let watch = watch(at(5));
        watch.body(at(0));
        watch.check(at(4), &settings);
        assert!(!watch.is_body_over(), "within the grace any speed will do");
        watch.received(6 << 10, || at(0), Duration::ZERO);
        watch.check(at(6), &settings);
        assert!(!watch.is_body_over());
        watch.check(at(8), &settings);
        assert!(watch.is_body_over());
    }

    #[test]
    fn a_body_has_an_end_however_fast_it_is() {
        let settings = Settings { body_timeout: Duration::from_secs(9), ..Settings::default() };
        let watch = watch(at(5));
        watch.body(at(0));
        watch.received(1 << 30, || at(0), Duration::ZERO);
        watch.check(at(9), &settings);
        assert!(watch.is_body_over());
    }

    #[test]
    fn a_handler_is_not_hurried() {
        let watch = watch(at(5));
        watch.working();
        watch.check(at(1_000), &Settings::default());
        assert!(!watch.is_over() && !watch.is_body_over());
    }
}
