//! What all handlers see: the cores under their read locks, the way to the core thread, settings,
//! and what is counted for all connections together.
//!
//! Reading order: this file, then `places` and `pool`, which bound what clients hold.

pub(crate) mod inert;
pub(crate) mod leases;
pub(crate) mod permit;
pub(crate) mod settings;
pub(crate) mod shelf;
pub(crate) mod ticker;
pub(crate) mod who;

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLockReadGuard};

use futures_channel::oneshot;
use nacolet_auth as auth;
use nacolet_config::{self as config, KeyRef};
use nacolet_lock as lock;
use nacolet_model::repeats::Due;
use nacolet_model::{Instant, Repeats, WallTime, limits};
use nacolet_registry as registry;
use smol::Async;

use crate::access::Access;
use crate::access::proof::Proofs;
use crate::bounds::count::Count;
use crate::bounds::places::{Crowd, Hall, Place, PlaceLimits, Places};
use crate::bounds::pool::{Held, Hold, Pool};
use crate::bounds::reached;
use crate::http::failure::Failure;
use crate::port::Port;
use crate::port::operate::{Question, Told};
use crate::port::request::{Request, WriteError};
use crate::port::who::{Connected, Found, Sought, UdpSubscribed, Watcher, WatchersOf};
use crate::state::inert::Inert;
use crate::state::leases::Leases;
use crate::state::permit::{HttpSeat, Kept, NoSeat, Permit};
use crate::state::settings::Settings;
use crate::state::shelf::Shelf;
use crate::state::ticker::Ticker;
use crate::state::who::Who;

/// How a write to the configs ends.
pub(crate) type ConfigWritten = Result<config::Response, WriteError<config::CommandError>>;

/// A socket and who is at its other end.
pub(crate) type Handed = (Async<TcpStream>, SocketAddr);

/// What handlers see.
pub(crate) struct State {
    pub(crate) port: Arc<Port>,
    pub(crate) settings: Settings,
    pub(crate) access: Access,
    pub(crate) proofs: Proofs,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) lists: Shelf,
    pub(crate) leases: Leases,
    pub(crate) inert: Inert,
    /// Who is connected over gRPC.
    pub(crate) who: Who,
    requests: Count,
    long_polls: Count,
    exports: Arc<Count>,
    connections: Arc<Count>,
    /// Who holds which connections.
    pub(crate) places: Arc<Places>,
    /// Bytes of bodies and answers.
    pub(crate) pool: Arc<Pool>,
    /// Limits that are reached, as the log has them.
    limits: Mutex<Repeats>,
    /// Connections of the HTTP port that speak HTTP/2, for whichever thread serves gRPC next.
    pub(crate) handed_over: (async_channel::Sender<Handed>, async_channel::Receiver<Handed>),
    /// Closed when the server stops; nothing is ever sent.
    stop: (async_channel::Sender<()>, async_channel::Receiver<()>),
}

impl State {
    pub(crate) fn new(port: Arc<Port>, settings: Settings) -> Self {
        let access = Access::new(&port, settings.login_delay);
        let per_address = settings.connections_per_address;
        let strangers = (per_address / limits::STRANGERS_PER_ADDRESS_DIVISOR).max(1);
        let place_limits = PlaceLimits {
            waiting_max: per_address,
            strangers_max: access.is_on().then_some(strangers),
            trusted: settings.trusted_proxies.clone(),
        };
        Self {
            access,
            proofs: Proofs::new(settings.operator_key.clone()),
            port,
            ticker: Arc::default(),
            lists: Shelf::new(settings.lists_bytes_max),
            leases: Leases::default(),
            inert: Inert::default(),
            who: Who::default(),
            requests: Count::default(),
            long_polls: Count::default(),
            exports: Arc::default(),
            connections: Arc::default(),
            places: Arc::new(Places::new(place_limits)),
            pool: Arc::new(Pool::new(settings.bodies_bytes_max, settings.bodies_reserve_bytes)),
            limits: Mutex::default(),
            settings,
            handed_over: async_channel::bounded(limits::GRPC_HANDED_OVER_MAX),
            stop: async_channel::bounded(1),
        }
    }

    /// Lets everything that waits for [`Self::stopped`] go on.
    pub(crate) fn stop(&self) {
        self.stop.0.close();
    }

    /// A place for one more HTTP connection, if need be for that of somebody else. A connection
    /// that waits in a long poll is counted there: two thousand quiet listeners must not lock out
    /// everybody else.
    pub(crate) fn seat(&self, ip: IpAddr) -> Result<HttpSeat, NoSeat> {
        let now = self.now().0;
        let busy = self.connections.now();
        let busy = busy.saturating_sub(self.long_polls.now());
        if busy >= self.settings.connections_max && !self.places.make_room(Crowd::Http, ip, now) {
            return Err(NoSeat::Full);
        }
        let seat = self.places.take(Hall::Http, ip, now)?;
        Ok(HttpSeat::new(seat, &self.connections))
    }

    /// Monotonic and wall time.
    pub(crate) fn now(&self) -> (Instant, WallTime) {
        (self.port.clock)()
    }

    /// The configs, for reading. Never held across an await.
    pub(crate) fn configs(&self) -> RwLockReadGuard<'_, config::Store> {
        self.port.configs.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the configs of one namespace, or of all, a few at a time, and lets others have
    /// their turn in between. `visit` says how much work a config was, in bytes that it looked at.
    pub(crate) async fn walk_configs(
        &self,
        namespace: Option<&str>,
        mut visit: impl FnMut(KeyRef<'_>, &config::Config) -> usize,
    ) -> Result<(), Failure> {
        let mut walk = config::Walk::default();
        loop {
            let mut left = limits::WALK_STEP_BYTES;
            let is_done = self.known_configs()?.walk(namespace, &mut walk, |key, config| {
                left = left.saturating_sub(limits::WALK_CONFIG_BYTES + visit(key, config));
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if is_done {
                return Ok(());
            }
            smol::future::yield_now().await;
        }
    }

    /// Visits every service, some at a time: others have their turn, and the registry its writers,
    /// between two steps.
    ///
    /// # Errors
    /// The first that a visit gives.
    pub(crate) async fn walk_services(
        &self,
        visit: &mut (dyn FnMut(&registry::Service) -> Result<(), Failure> + Send),
    ) -> Result<(), Failure> {
        let mut last = None;
        loop {
            let mut left = limits::WALK_INSTANCES;
            let at = {
                let registry = self.registry();
                let mut services = registry.services_after(last.as_ref());
                loop {
                    let Some(service) = services.next() else { return Ok(()) };
                    visit(service)?;
                    left = left.saturating_sub(1 + service.publications().len());
                    if left == 0 {
                        break service.key().clone();
                    }
                }
            };
            last = Some(at);
            smol::future::yield_now().await;
        }
    }

    /// The configs, for a question about all of them or about what is not there.
    pub(crate) fn all_configs(&self) -> Result<RwLockReadGuard<'_, config::Store>, Failure> {
        if self.port.stage.is_ready() { Ok(self.configs()) } else { Err(Failure::unsettled()) }
    }

    /// The configs as far as they are known, for people who look through lists. The answer says
    /// that it may be stale.
    pub(crate) fn known_configs(&self) -> Result<RwLockReadGuard<'_, config::Store>, Failure> {
        if self.port.stage.is_open() { Ok(self.configs()) } else { Err(Failure::unsettled()) }
    }

    /// Fails unless a client may be told what the state says of this config, `found` or not.
    pub(crate) fn settled(&self, key: KeyRef<'_>, found: bool) -> Result<(), Failure> {
        let tells = self.port.stage.can_tell(|| key.to_key(), found);
        if tells { Ok(()) } else { Err(Failure::unsettled()) }
    }

    /// The services, for reading. Never held across an await.
    pub(crate) fn registry(&self) -> RwLockReadGuard<'_, registry::Registry> {
        self.port.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one request to the core thread, or says at once why not.
    pub(crate) fn send<E>(&self, request: Request) -> Result<(), WriteError<E>> {
        match self.port.requests.try_send(request) {
            Ok(()) => Ok(()),
            Err(async_channel::TrySendError::Full(_)) => Err(WriteError::Overloaded),
            Err(async_channel::TrySendError::Closed(_)) => Err(WriteError::Stopping),
        }
    }

    /// Writes to the configs and waits until it is durable.
    pub(crate) async fn write_config(
        &self,
        command: config::Command,
    ) -> Result<config::Response, WriteError<config::CommandError>> {
        let answer = self.begin_write_config(command)?;
        self.in_time(answer).await.unwrap_or(Err(WriteError::Unknown))
    }

    /// Sends a write to the configs; its answer comes through the receiver.
    pub(crate) fn begin_write_config(
        &self,
        command: config::Command,
    ) -> Result<oneshot::Receiver<ConfigWritten>, WriteError<config::CommandError>> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Config { command, reply })?;
        Ok(answer)
    }

    /// Writes to the registry and waits for the answer.
    pub(crate) async fn write_registry(
        &self,
        request: registry::Request,
    ) -> Result<registry::Reply, WriteError<registry::RegistryError>> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Registry { request, reply })?;
        self.in_time(answer).await.unwrap_or(Err(WriteError::Unknown))
    }

    /// The connections of this node that are sought, in the order in which they came.
    pub(crate) async fn connected(&self, sought: Sought) -> Result<Vec<Connected>, Failure> {
        let answers = self.who.ask(sought)?;
        let all = async {
            let mut all = Vec::new();
            // The last sender goes with the last answer.
            while let Ok(some) = answers.recv().await {
                all.extend(some);
            }
            all.sort_by_key(|connected| connected.client);
            all
        };
        let deadline = self.now().0 + self.settings.write_timeout;
        let late = || Failure::unavailable("no answer in time");
        self.ticker.within(deadline, all).await.ok_or_else(late)
    }

    /// What this node finds.
    pub(crate) async fn here(&self, sought: Sought) -> Result<Found, Failure> {
        let polls = match &sought {
            Sought::Listeners(of) => self.watchers(of.clone()).await?,
            Sought::Everybody | Sought::Clients | Sought::One(_) | Sought::Subscribers(_) => {
                Vec::new()
            }
        };
        let udp = self.udp_subscribed(&sought);
        Ok(Found { connected: self.connected(sought).await?, udp, polls })
    }

    /// What all members find, as far as they answer soon; the own node first.
    pub(crate) async fn everywhere(&self, sought: Sought) -> Result<Found, Failure> {
        let mut found = self.here(sought.clone()).await?;
        if (self.port.status)().members.len() > 1 {
            let (reply, answer) = oneshot::channel();
            self.send::<Failure>(Request::Cluster { ask: Question::Who(sought), reply })?;
            // A partial list is worth more than none.
            if let Some(Ok(Told::Found(others))) = self.in_time(answer).await {
                found.add(others);
            }
        }
        Ok(found)
    }

    async fn watchers(&self, of: WatchersOf) -> Result<Vec<Watcher>, Failure> {
        let (reply, answer) = oneshot::channel();
        self.send::<Failure>(Request::Watchers { of, reply })?;
        self.in_time(answer).await.ok_or_else(|| Failure::unavailable("no answer in time"))
    }

    fn udp_subscribed(&self, sought: &Sought) -> Vec<UdpSubscribed> {
        let (registry, now) = (self.registry(), self.now().0);
        let shown = |view: registry::SubscriberView<'_>| UdpSubscribed {
            subscriber: view.subscriber.clone(),
            service: view.service.clone(),
            clusters: view.clusters.into(),
        };
        match sought {
            Sought::Clients => registry.all_subscribers(now).map(shown).collect(),
            Sought::Subscribers(service) => registry.subscribers(now, service).map(shown).collect(),
            Sought::Everybody | Sought::One(_) | Sought::Listeners(_) => Vec::new(),
        }
    }

    /// Takes or frees a lock, or what else may be done to one.
    pub(crate) async fn write_lock(
        &self,
        command: lock::Command,
    ) -> Result<lock::Answer, WriteError<lock::CommandError>> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Lock { command, reply })?;
        self.in_time(answer).await.unwrap_or(Err(WriteError::Unknown))
    }

    /// Changes users, roles or permissions.
    pub(crate) async fn write_auth(
        &self,
        command: auth::Command,
    ) -> Result<(), WriteError<auth::CommandError>> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Auth { command, reply })?;
        self.in_time(answer).await.unwrap_or(Err(WriteError::Unknown))
    }

    /// The answer, or nothing when it is lost or comes too late.
    pub(crate) async fn in_time<T>(&self, answer: oneshot::Receiver<T>) -> Option<T> {
        let deadline = self.now().0 + self.settings.write_timeout;
        self.ticker.within(deadline, answer).await?.ok()
    }

    /// Ready once the server stops.
    pub(crate) async fn stopped(&self) {
        // Nothing is sent, so the only outcome is that the channel is closed.
        match self.stop.1.recv().await {
            Ok(()) | Err(_) => {}
        }
    }

    /// Counts the bytes of a body or message, from none.
    pub(crate) fn hold_body(&self, place: &Arc<Place>) -> Held {
        self.pool.hold(place, Hold::Body)
    }

    /// Says in the log that a connection found no place.
    pub(crate) fn mention_refused(&self, refused: NoSeat, ip: IpAddr) {
        let words = match refused {
            NoSeat::Full => "all connections are taken",
            NoSeat::Crowded => "an address has as many connections as it may",
        };
        self.mention(words, ip);
    }

    /// Says in the log, at once and then once a minute, that something is refused; `about` is the
    /// address of the first to whom, or why.
    pub(crate) fn mention(&self, words: &str, about: impl Display) {
        if self.told().note(self.now().0, words, 1).is_some() {
            tracing::info!("a limit is reached: {words}: {about}");
        }
    }

    /// Says in the log which limits are reached, and how often.
    pub(crate) fn tell(&self, now: Instant) {
        let reached = reached::take();
        let mut told = self.told();
        let new: Vec<Due> =
            reached.iter().filter_map(|(words, times)| told.note(now, words, *times)).collect();
        let again = std::iter::from_fn(|| told.due(now));
        for Due { line, times } in new.into_iter().chain(again) {
            tracing::info!(times, "a limit is reached: {line}");
        }
        self.access.tell(now);
    }

    fn told(&self) -> MutexGuard<'_, Repeats> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request in, as long as the permit lives; nothing when there are too many.
    pub(crate) fn enter(&self) -> Option<Permit<'_>> {
        Permit::take(&self.requests, self.settings.requests_max)
    }

    /// Counts an export in, as long as it is packed; each of them is a lot of work.
    pub(crate) fn enter_export(&self) -> Result<Kept, Failure> {
        Kept::take(&self.exports, limits::EXPORTS_MAX)
            .ok_or_else(|| Failure::unavailable("too many exports at once"))
    }

    /// Counts a long poll in, as long as the permit lives; nothing when there are too many.
    pub(crate) fn enter_long_poll(&self) -> Option<Permit<'_>> {
        Permit::take(&self.long_polls, self.settings.long_polls_max)
    }

    /// Waits until a read of this node sees every write that was acknowledged before.
    pub(crate) async fn linearize(&self) -> Result<(), Failure> {
        let (reply, answer) = oneshot::channel();
        self.send::<Failure>(Request::ReadIndex { reply })?;
        let confirmed = self.in_time(answer).await.unwrap_or(Err(WriteError::Unknown));
        confirmed.map_err(|error| match error {
            WriteError::Unknown => {
                Failure::unavailable("the read could not be confirmed in time, try again later")
            }
            WriteError::NoLeader { .. } => Failure::unavailable(
                "no leader is known, the read cannot be confirmed, try again later",
            ),
            WriteError::Refused(never) => match never {},
            WriteError::Overloaded => Failure::unavailable("server is overloaded, try again later"),
            WriteError::StorageFull => Failure::unavailable("the disk of the server is full"),
            WriteError::Stopping => Failure::unavailable("the server is stopping"),
        })
    }
}
