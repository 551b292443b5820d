//! One server for all api threads: the state that handlers see, and the way of a call to its handler,
//! by the short cut or through tide's router.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLockReadGuard};
use std::time::Duration;

use futures_channel::oneshot;
use hyper::header::{self, HeaderValue};
use hyper::{StatusCode, Uri};
use nacolet_auth as auth;
use nacolet_config::{self as config, KeyRef};
use nacolet_lock as lock;
use nacolet_model::{Instant, WallTime, limits};
use nacolet_registry as registry;
use smol::Async;
use tide::http;

use crate::access::Access;
use crate::call::{Answer, Call, address_text};
use crate::origin::Network;
use crate::places::{Crowd, Crowded, Hall, Mention, Place, PlaceLimits, Places};
use crate::pool::{Held, Hold, Pool};
use crate::request::{Port, Request, WriteError};
use crate::router::{self, Route, RouteInfo, Routes};
use crate::status::{Failure, spring_error};
use crate::ticker::Ticker;
use crate::{browser, grpc, list, page, places, subscription};

/// The limits of a server. The defaults are those of `model::limits`; tests shorten them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Request line and headers, bytes.
    pub head_bytes_max: usize,
    /// Headers of one request.
    pub headers_max: usize,
    /// Time to complete a head.
    pub head_timeout: Duration,
    /// Idle keep-alive, and a client that does not take its response.
    pub idle_timeout: Duration,
    /// Time to complete a body.
    pub body_timeout: Duration,
    /// Time before the speed of a body counts.
    pub body_grace: Duration,
    /// Slowest body, bytes per second.
    pub body_bytes_per_second_min: u64,
    /// Bodies being read or worked on and answers not taken yet, bytes in all.
    pub bodies_bytes_max: usize,
    /// And beyond that for small ones.
    pub bodies_reserve_bytes: usize,
    /// Connections of one address that wait for their client.
    pub connections_per_address: usize,
    /// Networks whose addresses stand for many clients: no limit by address.
    pub trusted_proxies: Vec<Network>,
    /// Connections of all threads together, long polls apart.
    pub connections_max: usize,
    /// Requests waiting for the core thread, without long polls.
    pub requests_max: usize,
    /// Long polls held at once.
    pub long_polls_max: usize,
    /// A write without an answer after this long gets 503.
    pub write_timeout: Duration,
    /// Time to answer what is in flight when the server stops.
    pub drain_timeout: Duration,
    /// How long a connection that was refused is read from, so that the refusal arrives.
    pub linger_timeout: Duration,
    /// How much is read from it, bytes.
    pub linger_bytes_max: usize,
    /// What somebody waits for who has used wrong passwords too often.
    pub login_delay: Duration,
    /// How often deadlines are looked at while there are any.
    pub tick: Duration,
    /// gRPC connections of all threads together.
    pub grpc_connections_max: usize,
    /// Time for a gRPC client to set its connection up.
    pub grpc_setup_timeout: Duration,
    /// Silence after which a gRPC client is asked whether it lives.
    pub grpc_idle_timeout: Duration,
    /// Time it has to answer.
    pub grpc_detection_timeout: Duration,
    /// A gRPC client that takes nothing of its socket or its stream for this long is closed.
    pub grpc_blocked_timeout: Duration,
    /// gRPC connections of one thread from which on those that only live wait together.
    pub grpc_quiet_connections_min: usize,
    /// Time without more than health checks after which one does.
    pub grpc_quiet_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            head_bytes_max: limits::HEAD_BYTES_MAX,
            headers_max: limits::HEADERS_MAX,
            head_timeout: limits::HEAD_TIMEOUT,
            idle_timeout: limits::IDLE_TIMEOUT,
            body_timeout: limits::BODY_TIMEOUT,
            body_grace: limits::BODY_GRACE,
            body_bytes_per_second_min: limits::BODY_BYTES_PER_SECOND_MIN,
            bodies_bytes_max: limits::BODIES_BYTES_MAX,
            bodies_reserve_bytes: limits::BODIES_RESERVE_BYTES,
            connections_per_address: limits::CONNECTIONS_PER_ADDRESS_MAX,
            trusted_proxies: Vec::new(),
            connections_max: limits::CONNECTIONS_MAX,
            requests_max: limits::REQUESTS_MAX,
            long_polls_max: limits::LONG_POLLS_MAX,
            write_timeout: limits::WRITE_TIMEOUT,
            drain_timeout: limits::DRAIN_TIMEOUT,
            linger_timeout: limits::LINGER_TIMEOUT,
            linger_bytes_max: limits::LINGER_BYTES_MAX,
            login_delay: limits::LOGIN_DELAY,
            tick: limits::DEADLINE_TICK,
            grpc_connections_max: limits::GRPC_CONNECTIONS_MAX,
            grpc_setup_timeout: limits::GRPC_SETUP_TIMEOUT,
            grpc_idle_timeout: limits::GRPC_IDLE_TIMEOUT,
            grpc_detection_timeout: limits::GRPC_DETECTION_TIMEOUT,
            grpc_blocked_timeout: limits::GRPC_BLOCKED_TIMEOUT,
            grpc_quiet_connections_min: limits::GRPC_QUIET_CONNECTIONS_MIN,
            grpc_quiet_after: limits::GRPC_QUIET_AFTER,
        }
    }
}

/// How a write to the configs ends.
pub(crate) type ConfigWritten = Result<config::Response, WriteError<config::CommandError>>;

/// A socket and who is at its other end.
pub(crate) type Handed = (Async<TcpStream>, SocketAddr);

/// What handlers see.
pub(crate) struct State {
    pub(crate) port: Arc<Port>,
    pub(crate) settings: Settings,
    pub(crate) access: Access,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) lists: list::Shelf,
    pub(crate) leases: subscription::Leases,
    pub(crate) grpc: grpc::Shared,
    requests: AtomicUsize,
    long_polls: AtomicUsize,
    connections: AtomicUsize,
    /// Who holds which connections.
    pub(crate) places: Arc<Places>,
    /// Bytes of bodies and answers.
    pub(crate) pool: Arc<Pool>,
    pub(crate) mentions: Mentions,
    /// Connections of the HTTP port that speak HTTP/2, for whichever thread serves gRPC next.
    pub(crate) handed_over: (async_channel::Sender<Handed>, async_channel::Receiver<Handed>),
    /// Closed when the server stops; nothing is ever sent.
    stop: (async_channel::Sender<()>, async_channel::Receiver<()>),
}

impl State {
    /// Monotonic and wall time.
    pub(crate) fn now(&self) -> (Instant, WallTime) {
        (self.port.clock)()
    }

    /// The configs, for reading. Never held across an await.
    pub(crate) fn configs(&self) -> RwLockReadGuard<'_, config::Store> {
        self.port.configs.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the configs of one namespace, or of all, a few at a time, and lets others have their turn in
    /// between. `visit` says how much work a config was, in bytes that it looked at.
    pub(crate) async fn walk_configs(
        &self,
        namespace: Option<&str>,
        mut visit: impl FnMut(KeyRef<'_>, &config::Config) -> usize,
    ) -> Result<(), Failure> {
        let mut walk = config::Walk::default();
        loop {
            let mut left = limits::WALK_STEP_BYTES;
            let is_done = self.all_configs()?.walk(namespace, &mut walk, |key, config| {
                left = left.saturating_sub(limits::WALK_CONFIG_BYTES + visit(key, config));
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if is_done {
                return Ok(());
            }
            smol::future::yield_now().await;
        }
    }

    /// The configs, for a question about all of them or about what is not there.
    pub(crate) fn all_configs(&self) -> Result<RwLockReadGuard<'_, config::Store>, Failure> {
        if self.port.stage.is_ready() { Ok(self.configs()) } else { Err(Failure::unsettled()) }
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

    /// Takes or frees a lock; says whether it was taken or freed.
    pub(crate) async fn write_lock(
        &self,
        command: lock::Command,
    ) -> Result<bool, WriteError<lock::CommandError>> {
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
        let Mentions { crowded, full, .. } = &self.mentions;
        match refused {
            NoSeat::Full => self.mention(full, "all connections are taken", ip),
            NoSeat::Crowded => {
                self.mention(crowded, "an address has as many connections as it may", ip);
            }
        }
    }

    /// Says in the log, once a minute, that a client was refused.
    pub(crate) fn mention(&self, mention: &Mention, words: &str, ip: impl Display) {
        if mention.is_due(self.now().0) {
            tracing::info!(%ip, "{words}; this is told once a minute");
        }
    }

    /// Counts a request in, as long as the permit lives; nothing when there are too many.
    pub(crate) fn enter(&self) -> Option<Permit<'_>> {
        Permit::take(&self.requests, self.settings.requests_max)
    }

    /// Counts a long poll in, as long as the permit lives; nothing when there are too many.
    pub(crate) fn enter_long_poll(&self) -> Option<Permit<'_>> {
        Permit::take(&self.long_polls, self.settings.long_polls_max)
    }
}

/// A place among a bounded number.
#[derive(Debug)]
pub(crate) struct Permit<'a>(&'a AtomicUsize);

impl<'a> Permit<'a> {
    fn take(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        if count.fetch_add(1, Ordering::Relaxed) < max {
            Some(Self(count))
        } else {
            count.fetch_sub(1, Ordering::Relaxed);
            None
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is said in the log once a minute.
#[derive(Debug, Default)]
pub(crate) struct Mentions {
    pub(crate) crowded: Mention,
    pub(crate) full: Mention,
    pub(crate) short: Mention,
    pub(crate) descriptors: Mention,
}

/// The place of one connection.
pub(crate) struct Seat {
    state: Arc<State>,
    seat: places::Seat,
}

impl Seat {
    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.seat.place
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.state.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a connection gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSeat {
    /// All are taken.
    Full,
    /// Its address has enough.
    Crowded,
}

impl From<Crowded> for NoSeat {
    fn from(Crowded::Address: Crowded) -> Self {
        Self::Crowded
    }
}

/// The Nacos HTTP API over one port. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    pub(crate) state: Arc<State>,
    app: Arc<tide::Server<Arc<State>>>,
    table: Arc<[Arc<Route>]>,
    hot: Arc<[Arc<Route>]>,
    base: http::Url,
}

impl Server {
    /// A server that reads and writes through `port`.
    ///
    /// # Panics
    /// Never: what is expected holds for constants.
    #[must_use]
    pub fn new(port: Arc<Port>, settings: Settings) -> Self {
        let access = Access::new(&port, settings.login_delay);
        let per_address = settings.connections_per_address;
        let strangers = (per_address / limits::STRANGERS_PER_ADDRESS_DIVISOR).max(1);
        let place_limits = PlaceLimits {
            waiting_max: per_address,
            strangers_max: access.is_on().then_some(strangers),
            trusted: settings.trusted_proxies.clone(),
        };
        let state = Arc::new(State {
            access,
            port,
            ticker: Arc::default(),
            lists: list::Shelf::default(),
            leases: subscription::Leases::default(),
            grpc: grpc::Shared::default(),
            requests: AtomicUsize::new(0),
            long_polls: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            places: Arc::new(Places::new(place_limits)),
            pool: Arc::new(Pool::new(settings.bodies_bytes_max, settings.bodies_reserve_bytes)),
            mentions: Mentions::default(),
            settings,
            handed_over: async_channel::bounded(limits::GRPC_HANDED_OVER_MAX),
            stop: async_channel::bounded(1),
        });
        let mut routes = Routes::new(Arc::clone(&state));
        router::page(&mut routes);
        let Routes { app, table, hot } = routes;
        let base = http::Url::parse("http://localhost/").expect("a constant URL is valid");
        Self { state, app: Arc::new(app), table: table.into(), hot: hot.into(), base }
    }

    /// Every route with its permission.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteInfo> {
        router::describe(&self.table)
    }

    /// Stops: listeners close, long polls are answered, connections end after what is in flight.
    pub fn stop(&self) {
        self.state.stop.0.close();
    }

    /// Ready once [`Self::stop`] was called.
    pub(crate) async fn stopped(&self) {
        self.state.stopped().await;
    }

    /// A place for one more connection, if need be for that of somebody else. A connection that waits in a
    /// long poll is counted there: two thousand quiet listeners must not lock out everybody else.
    pub(crate) fn seat(&self, ip: IpAddr) -> Result<Seat, NoSeat> {
        let state = &self.state;
        let now = state.now().0;
        let busy = state.connections.load(Ordering::Relaxed);
        let busy = busy.saturating_sub(state.long_polls.load(Ordering::Relaxed));
        if busy >= state.settings.connections_max && !state.places.make_room(Crowd::Http, ip, now) {
            return Err(NoSeat::Full);
        }
        let seat = state.places.take(Hall::Http, ip, now)?;
        state.connections.fetch_add(1, Ordering::Relaxed);
        Ok(Seat { state: Arc::clone(state), seat })
    }

    /// The largest body that the route of this call takes.
    pub(crate) fn body_bytes_max(&self, call: &Call) -> usize {
        let route = self.table.iter().find(|route| route.matches(call));
        route.map_or(limits::BODY_BYTES_MAX, |route| route.body_bytes_max(call))
    }

    /// Serves one call that is read completely.
    pub async fn call(&self, call: Call) -> Answer {
        let hot = self.hot.iter().find(|route| route.matches(&call));
        let mut answer = match (browser::check(&call), hot) {
            (Err(words), _) => {
                spring_error(StatusCode::FORBIDDEN, words, call.path(), self.state.now().1)
            }
            (Ok(()), Some(route)) => route.answer(&self.state, call).await,
            (Ok(()), None) => Box::pin(self.through_tide(call)).await,
        };
        answer.guard();
        answer
    }

    async fn through_tide(&self, call: Call) -> Answer {
        if let Some(answer) = page::redirect(&call) {
            return answer;
        }
        let now = self.state.now().1;
        let path = call.path().to_owned();
        let verb = call.method.clone();
        let Ok(method) = http::Method::from_str(verb.as_str()) else {
            return spring_error(StatusCode::NOT_IMPLEMENTED, "unknown method", &path, now);
        };
        if !router::is_plain(&path) {
            return spring_error(StatusCode::NOT_FOUND, "No message available", &path, now);
        }
        // Only the path matters to the router: query, headers and body travel in the call.
        let mut url = self.base.clone();
        url.set_path(&path);
        let mut request = http::Request::new(method, url);
        request.ext_mut().insert(call);
        let response: http::Result<http::Response> = self.app.respond(request).await;
        let Ok(mut response) = response else {
            return spring_error(StatusCode::INTERNAL_SERVER_ERROR, "router failed", &path, now);
        };
        if let Some(answer) = response.ext_mut().remove::<Answer>() {
            return answer;
        }
        if response.status() == http::StatusCode::MethodNotAllowed {
            let message = format!("Request method '{verb}' not supported");
            let allowed = router::methods_of(&self.table, &path).join(", ");
            return spring_error(StatusCode::METHOD_NOT_ALLOWED, &message, &path, now)
                .header(header::ALLOW, &allowed);
        }
        spring_error(StatusCode::NOT_FOUND, "No message available", &path, now)
    }

    /// Serves one request without a socket, for tests in process.
    ///
    /// # Errors
    /// When the request's body cannot be read or its parts are not valid HTTP.
    pub async fn respond(&self, mut request: http::Request) -> http::Result<http::Response> {
        let method = hyper::Method::from_str(request.method().as_ref())?;
        let url = request.url();
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let mut call = Call { method, uri: Uri::from_str(&target)?, ..Call::default() };
        for (name, values) in &request {
            let name = header::HeaderName::from_str(name.as_str())?;
            for value in values {
                call.headers.append(name.clone(), HeaderValue::from_str(value.as_str())?);
            }
        }
        if let Some(ip) = request.remote().and_then(|remote| remote.parse().ok()) {
            call.ip = address_text(ip);
        }
        call.body = request.body_bytes().await?.into();
        let mut answer = self.call(call).await;
        let mut response = http::Response::new(answer.status.as_u16());
        let headers = std::mem::take(&mut answer.headers);
        response.set_body(answer.whole()?.to_vec());
        for (name, value) in &headers {
            response.insert_header(name.as_str(), value.to_str()?);
        }
        Ok(response)
    }
}
