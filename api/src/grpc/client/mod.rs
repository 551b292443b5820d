//! One connection as the rest sees it: who it is, when it last gave a sign of life, what it listens
//! to and what it is owed. It lives on one thread.
//!
//! ```text
//!   connected ──ConnectionSetup──► registered ──20 s of silence──► asked ──answer──► registered
//!       │ 60 s without one             │                              │ 5 s without one
//!       └──────────────► over ◄────────┴── unacknowledged, blocked ◄──┘
//! ```

pub(crate) mod flood;
pub(crate) mod outbox;
pub(crate) mod pattern;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use nacolet_config::{Caller, Md5};
use nacolet_lock as lock;
use nacolet_model::{ConfigKey, Duration, Instant, ServiceKey, WallTime, limits};
use nacolet_registry::ClientId;

use crate::access::Login;
use crate::bounds::places::{Place, Wait};
use crate::grpc::client::flood::Paid;
use crate::grpc::client::outbox::Outbox;
use crate::grpc::client::pattern::{Pattern, PatternWatch};
use crate::port::moves::Target;
use crate::state::State;

/// What a client said when it set the connection up.
#[derive(Debug)]
pub(crate) struct Setup {
    /// Tag under which it sees tagged configs.
    pub(crate) tag: Option<Box<str>>,
    /// What its application says of itself: rules of gray versions go by it.
    pub(crate) labels: Box<[(Box<str>, Box<str>)]>,
    /// Application name.
    pub(crate) app: Box<str>,
    /// What it is, and its version.
    pub(crate) version: Box<str>,
    /// It is there for services, and not for configs alone.
    pub(crate) is_naming: bool,
}

/// What a notice is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// A config that it listens to.
    Config(Rc<ConfigKey>),
    /// A service that it subscribes to.
    Service(Rc<Subscription>),
    /// A pattern that it watches.
    Pattern(Rc<Pattern>),
    /// A lock that it waits for.
    Lock(Rc<LockWait>),
}

/// A lock that somebody waits for over a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LockWait {
    pub(crate) kind: lock::Kind,
    pub(crate) key: Arc<str>,
    /// As the locks know it.
    pub(crate) owner: Arc<str>,
}

/// How long somebody waits for a lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LockWaiting {
    /// When to look whether the time of who holds it is over, or the turn of another.
    pub(crate) look_at: Instant,
    /// When it waits no more.
    pub(crate) until: Instant,
}

impl outbox::NoticeSubject for Subject {
    fn is_paced(&self) -> bool {
        matches!(self, Self::Config(_))
    }
}

/// A service and which clusters of it, as the client spells them: lists are kept by that text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subscription {
    pub(crate) service: Rc<ServiceKey>,
    pub(crate) clusters: Box<str>,
}

/// Who asked to be told, where there are users.
pub(crate) type By = Option<Arc<Login>>;

/// A config that a client listens to.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    /// What it was told of last, by an answer or by a notice.
    pub(crate) md5: Option<Md5>,
    /// It names the default namespace with an empty text, and must be answered so.
    pub(crate) is_blank: bool,
    pub(crate) user: By,
}

/// What a client is told about the connection itself; nobody acknowledges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionOrder {
    /// The abilities of this server.
    SetupAck,
    /// Say that you live.
    Detection,
    /// Go elsewhere.
    Reset,
    /// Go to the member that is its target.
    Move,
}

/// How its silence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pulse {
    Since(Instant),
    Asked(Instant),
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: ClientId,
    /// `milliseconds_ip_port`, as in Nacos.
    pub(crate) connection_id: Box<str>,
    pub(crate) ip: Arc<str>,
    /// What others see of the connection.
    pub(crate) place: Arc<Place>,
    pub(crate) listens: RefCell<BTreeMap<Rc<ConfigKey>, Listen>>,
    pub(crate) subscriptions: RefCell<BTreeMap<Rc<Subscription>, By>>,
    pub(crate) watches: RefCell<BTreeMap<Rc<Pattern>, (PatternWatch, By)>>,
    /// The locks that it waits for.
    pub(crate) lock_waits: RefCell<BTreeMap<Rc<LockWait>, LockWaiting>>,
    /// Whose token it last showed, where there are users.
    pub(crate) login: RefCell<By>,
    /// Since when that is worth nothing any more.
    pub(crate) unwelcome: Cell<Option<Instant>>,
    /// It has taken a lock, or waited for one, that goes with it.
    pub(crate) has_locks: Cell<bool>,
    pub(crate) outbox: RefCell<Outbox<Subject>>,
    /// Bytes of messages that are coming in.
    incoming_bytes: Cell<usize>,
    /// Frames that were paid for since the last read.
    paid: Cell<Paid>,
    orders: RefCell<VecDeque<ConnectionOrder>>,
    last_notice: Cell<u64>,
    setup: RefCell<Option<Setup>>,
    has_stream: Cell<bool>,
    pulse: Cell<Pulse>,
    /// When it last did more than live.
    active: Cell<Instant>,
    /// It has something to read, while it is quiet.
    stirred: Cell<bool>,
    /// What it has to read may be its last: that is not told again.
    ending: Cell<bool>,
    blocked: Cell<Option<Instant>>,
    over: Cell<bool>,
    draining: Cell<bool>,
    /// Where it is to go.
    pub(crate) target: RefCell<Option<Target>>,
    /// When it was last chosen to go.
    going: Cell<Option<Instant>>,
    clock: Rc<Cell<Instant>>,
    connection: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

impl Client {
    pub(crate) fn new(
        id: ClientId,
        connection_id: Box<str>,
        ip: Arc<str>,
        place: Arc<Place>,
        clock: Rc<Cell<Instant>>,
    ) -> Self {
        Self {
            id,
            connection_id,
            ip,
            place,
            incoming_bytes: Cell::new(0),
            paid: Cell::default(),
            listens: RefCell::default(),
            subscriptions: RefCell::default(),
            watches: RefCell::default(),
            lock_waits: RefCell::default(),
            login: RefCell::default(),
            unwelcome: Cell::new(None),
            has_locks: Cell::new(false),
            outbox: RefCell::default(),
            orders: RefCell::default(),
            last_notice: Cell::new(0),
            setup: RefCell::new(None),
            has_stream: Cell::new(false),
            pulse: Cell::new(Pulse::Since(clock.get())),
            active: Cell::new(clock.get()),
            stirred: Cell::new(false),
            ending: Cell::new(false),
            blocked: Cell::new(None),
            over: Cell::new(false),
            draining: Cell::new(false),
            target: RefCell::new(None),
            going: Cell::new(None),
            clock,
            connection: RefCell::new(None),
            writer: RefCell::new(None),
        }
    }

    /// It showed the token of this login.
    pub(crate) fn shows(&self, login: &By) {
        if login.is_some() && *self.login.borrow() != *login {
            self.login.replace(login.clone());
        }
    }

    /// The time of the last sweep: good enough for deadlines of seconds, and free.
    pub(crate) fn now(&self) -> Instant {
        self.clock.get()
    }

    /// It gave a sign of life.
    pub(crate) fn touch(&self) {
        self.pulse.set(Pulse::Since(self.now()));
    }

    /// It asks for something, or is told something.
    pub(crate) fn act(&self) {
        self.active.set(self.now());
    }

    /// Whether it has only lived for `time`.
    pub(crate) fn is_quiet(&self, time: Duration) -> bool {
        self.is_registered() && self.now().saturating_since(self.active.get()) >= time
    }

    /// It has something to read, perhaps up to the end.
    pub(crate) fn stir_reader(&self, is_last: bool) {
        self.stirred.set(true);
        self.ending.set(is_last);
        wake(&self.connection);
    }

    /// Whether it had, since the last look.
    pub(crate) fn take_stir(&self) -> bool {
        self.stirred.take()
    }

    /// Whether the end may be behind what there was to read.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// Registers it; false when it is registered already.
    pub(crate) fn set_up(&self, setup: Setup) -> bool {
        let mut known = self.setup.borrow_mut();
        known.is_none() && {
            *known = Some(setup);
            self.place.waits(Wait::Life, self.now());
            true
        }
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.setup.borrow().is_some()
    }

    /// Takes the one stream it may have; false when it is taken.
    pub(crate) fn take_stream(&self) -> bool {
        !self.has_stream.replace(true)
    }

    /// Its stream ended, and with it the registration (Nacos): whatever belonged to it goes.
    pub(crate) fn end(&self) {
        self.over.set(true);
        wake(&self.connection);
        wake(&self.writer);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.get() || self.place.is_dismissed()
    }

    /// Counts the bytes of a message that begins.
    pub(crate) fn takes(&self) -> TakenBytes<'_> {
        TakenBytes { client: self, bytes: 0 }
    }

    /// Something was done for it that pays for frames.
    pub(crate) fn pays(&self, paid: Paid) {
        self.paid.set(self.paid.get().and(paid));
    }

    /// Frames that were paid for since the last time.
    pub(crate) fn take_paid(&self) -> Paid {
        self.paid.take()
    }

    /// Lets calls finish, tells the client to go elsewhere and ends the stream.
    pub(crate) fn drain(&self) {
        if !self.draining.replace(true) && self.is_registered() {
            self.order(ConnectionOrder::Reset);
        }
        wake(&self.connection);
        wake(&self.writer);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// It is chosen to go to another member.
    pub(crate) fn begin_to_go(&self) {
        self.going.set(Some(self.now()));
    }

    /// Whether it was chosen a moment ago: clients take a while, and some never go.
    pub(crate) fn is_going(&self) -> bool {
        let since = self.going.get().map(|since| self.now().saturating_since(since));
        since.is_some_and(|time| time < limits::GRPC_MOVE_PATIENCE)
    }

    /// Sees configs as this client does; `tag` of a request wins over that of the set-up.
    pub(crate) fn with_caller<T>(
        &self,
        tag: Option<&str>,
        see: impl FnOnce(&Caller<'_>) -> T,
    ) -> T {
        let setup = self.setup.borrow();
        let own = setup.as_ref().and_then(|setup| setup.tag.as_deref());
        let labels = setup.as_ref().map_or(&[][..], |setup| &*setup.labels);
        see(&Caller { ip: &self.ip, tag: tag.or(own), labels })
    }

    /// A request named a tag: from now on it is the client's.
    pub(crate) fn note_tag(&self, tag: Option<&str>) {
        if let Some(tag) = tag
            && tag.len() <= limits::LABEL_CHARS_MAX
            && let Some(setup) = &mut *self.setup.borrow_mut()
        {
            setup.tag = Some(tag.into());
        }
    }

    /// Application name of the set-up.
    pub(crate) fn app(&self) -> Box<str> {
        self.setup.borrow().as_ref().map(|setup| setup.app.clone()).unwrap_or_default()
    }

    /// What it said that it is.
    pub(crate) fn version(&self) -> Box<str> {
        self.setup.borrow().as_ref().map(|setup| setup.version.clone()).unwrap_or_default()
    }

    /// Whether it is there for services.
    pub(crate) fn is_naming(&self) -> bool {
        self.setup.borrow().as_ref().is_some_and(|setup| setup.is_naming)
    }

    /// When it last gave a sign of life, as of the last look at the clock.
    pub(crate) fn heard(&self, now: Instant, wall: WallTime) -> WallTime {
        let (Pulse::Since(at) | Pulse::Asked(at)) = self.pulse.get();
        let silent = u64::try_from(now.saturating_since(at).as_millis()).unwrap_or(u64::MAX);
        WallTime(wall.as_millis().saturating_sub(silent))
    }

    pub(crate) fn order(&self, order: ConnectionOrder) {
        let mut orders = self.orders.borrow_mut();
        // Each order is given once until it is taken, so there are four at most.
        if !orders.contains(&order) {
            orders.push_back(order);
        }
        drop(orders);
        wake(&self.writer);
    }

    pub(crate) fn take_order(&self) -> Option<ConnectionOrder> {
        self.orders.borrow_mut().pop_front()
    }

    /// Owes it a notice.
    pub(crate) fn owe(&self, subject: Subject) {
        self.outbox.borrow_mut().owe(self.now(), subject);
        wake(&self.writer);
    }

    /// Owes it a notice that may wait a little.
    pub(crate) fn owe_later(&self, subject: Subject) {
        self.outbox.borrow_mut().owe(self.now() + limits::GRPC_SUBSCRIBED_PUSH, subject);
    }

    /// It is answered what of its configs changed: notices keep their distance from that.
    pub(crate) fn answers_listen(&self) {
        self.outbox.borrow_mut().answers(self.now());
    }

    /// When a notice may be sent that has to wait a little.
    pub(crate) fn opens_later(&self) -> Option<Instant> {
        self.outbox.borrow().opens_later(self.now())
    }

    /// A notice that had to wait may be sent.
    pub(crate) fn wake_writer(&self) {
        wake(&self.writer);
    }

    /// Whether the next notice to send is a list of instances.
    pub(crate) fn owes_list(&self) -> bool {
        matches!(self.outbox.borrow().due(self.now()), Some(Subject::Service(_)))
    }

    /// The next notice to send and its number.
    pub(crate) fn next_notice(&self) -> Option<(u64, Subject)> {
        let id = self.last_notice.get() + 1;
        let mut outbox = self.outbox.borrow_mut();
        let subject = outbox.next(self.now(), id, limits::GRPC_NAMING_ACK_TIMEOUT)?;
        self.last_notice.set(id);
        self.act();
        Some((id, subject))
    }

    /// A number for a request that is no notice.
    pub(crate) fn fresh_number(&self) -> u64 {
        self.last_notice.set(self.last_notice.get() + 1);
        self.last_notice.get()
    }

    /// An answer came on the stream.
    pub(crate) fn answered(&self, id: Option<u64>, is_ok: bool) {
        self.touch();
        if let Some(id) = id {
            let heard = self.outbox.borrow_mut().answered(self.now(), id, is_ok);
            if let Some(Subject::Pattern(pattern)) = heard
                && let Some((watch, _)) = self.watches.borrow_mut().get_mut(&pattern)
            {
                watch.acknowledged();
                if watch.is_owed() {
                    self.outbox.borrow_mut().owe(self.now(), Subject::Pattern(pattern));
                }
            }
            wake(&self.writer);
        }
    }

    /// A notice is not sent for want of room: it comes again.
    pub(crate) fn put_off(&self, id: u64) {
        self.outbox.borrow_mut().answered(self.now(), id, false);
    }

    pub(crate) fn park_connection(&self, waker: &Waker) {
        self.place.park(waker);
        park(&self.connection, waker);
    }

    pub(crate) fn park_writer(&self, waker: &Waker) {
        park(&self.writer, waker);
    }

    /// Bytes went out.
    pub(crate) fn wrote(&self, bytes: usize) {
        self.place.moves(bytes);
        self.blocked.set(None);
    }

    /// Bytes wait for the client.
    pub(crate) fn blocked(&self) {
        if self.blocked.get().is_none() {
            self.blocked.set(Some(self.now()));
        }
    }

    /// Compares everything that has a deadline with the clock.
    pub(crate) fn check(&self, now: Instant, state: &State) {
        let settings = &state.settings;
        if let Some(since) = self.blocked.get()
            && now.saturating_since(since) >= settings.grpc_blocked_timeout
        {
            return self.end();
        }
        let is_registered = self.is_registered();
        match self.pulse.get() {
            Pulse::Since(at) if !is_registered => {
                if now.saturating_since(at) >= settings.grpc_setup_timeout {
                    self.end();
                }
            }
            Pulse::Since(at) if now.saturating_since(at) >= settings.grpc_idle_timeout => {
                self.pulse.set(Pulse::Asked(now));
                self.order(ConnectionOrder::Detection);
            }
            Pulse::Asked(at) if now.saturating_since(at) >= settings.grpc_detection_timeout => {
                self.end();
            }
            Pulse::Since(_) | Pulse::Asked(_) => {}
        }
        let (is_hopeful, is_due) = {
            let mut outbox = self.outbox.borrow_mut();
            (outbox.tick(now), outbox.is_due(now))
        };
        if !is_hopeful {
            self.end();
        } else if is_due {
            wake(&self.writer);
        }
    }
}

/// Bytes of a message that comes in, counted as long as this lives.
pub(crate) struct TakenBytes<'c> {
    client: &'c Client,
    bytes: usize,
}

impl TakenBytes<'_> {
    /// Counts more bytes; false when the connection is not set up and sends too many.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        let sum = self.client.incoming_bytes.get().saturating_add(bytes);
        self.client.incoming_bytes.set(sum);
        sum <= limits::GRPC_NEWCOMER_BYTES_MAX || self.client.is_registered()
    }
}

impl Drop for TakenBytes<'_> {
    fn drop(&mut self) {
        let left = self.client.incoming_bytes.get().saturating_sub(self.bytes);
        self.client.incoming_bytes.set(left);
    }
}

fn park(place: &RefCell<Option<Waker>>, waker: &Waker) {
    let mut parked = place.borrow_mut();
    match &mut *parked {
        Some(old) => old.clone_from(waker),
        None => *parked = Some(waker.clone()),
    }
}

fn wake(place: &RefCell<Option<Waker>>) {
    if let Some(waker) = &*place.borrow() {
        waker.wake_by_ref();
    }
}
