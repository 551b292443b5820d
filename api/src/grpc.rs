//! The gRPC protocol of Nacos 2.x and 3.x: one unary call and one stream per connection, on h2 over
//! smol. The connection is the client: it owns the instances it publishes, the configs it listens to
//! and its subscriptions, and all of that goes when it closes.
//!
//! Reading order: `wire` and `message` are what travels, `dispatch` finds the handler and
//! `permission` asks whether it may be called, `config`, `naming` and `lock` are the handlers; `stream`,
//! `watch` and `fuzzy` tell clients what changed, `outbox` says when and how often, `client` is one
//! connection's state, `connection`, `socket` and `flood` its bytes, `quiet` how those wait that only live.

mod client;
mod config;
mod connection;
mod dispatch;
mod flood;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod fuzzy;
mod lock;
mod message;
mod naming;
mod outbox;
mod pattern;
mod permission;
mod quiet;
mod socket;
mod stream;
mod watch;
mod wire;

#[cfg(feature = "fuzzing")]
pub use dispatch::requests;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use nacolet_model::{Instant, limits};
use nacolet_registry::ClientId;
use smol::{Async, LocalExecutor, Timer};

use crate::call::address_text;
use crate::connection::{ACCEPT_PAUSE, Bell, SEAT_PAUSE, SEAT_TRIES, apart, is_of_the_client};
use crate::feed::Feed;
use crate::places::{Crowd, Hall, Place, Seat};
use crate::request::Request;
use crate::server::{Handed, NoSeat, Server, State};
use client::Client;

/// Serves the gRPC connections of one listener until [`Server::stop`], then tells the clients to go
/// elsewhere and answers what is in flight. One such call per api thread, beside
/// [`crate::connection::serve`].
///
/// # Errors
/// When the listener cannot be registered with the reactor, or descriptors are lacking.
pub async fn serve(listener: TcpListener, server: Server) -> io::Result<()> {
    let listener = Async::new(listener)?;
    let executor = LocalExecutor::new();
    let zone = Rc::new(Zone::new(Arc::clone(&server.state))?);
    executor
        .run(async {
            let follow = Request::Follow { feed: Arc::clone(&zone.feed) };
            if zone.state.port.requests.send(follow).await.is_err() {
                return;
            }
            let configs = executor.spawn(watch::follow_configs(Rc::clone(&zone)));
            let services = executor.spawn(watch::follow_services(Rc::clone(&zone)));
            let sweeper = executor.spawn(sweep(Rc::clone(&zone)));
            let quiet = executor.spawn(quiet::watch(Rc::clone(&zone)));
            let accepting = apart(accept(&listener, &zone, &executor));
            smol::future::or(zone.state.stopped(), accepting).await;
            drop(listener);
            zone.drain().await;
            sweeper.cancel().await;
            quiet.cancel().await;
            configs.cancel().await;
            services.cancel().await;
        })
        .await;
    Ok(())
}

/// What the connections of all threads share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    connections: Tally,
    /// Those of them that are not set up.
    newcomers: Tally,
    listens: Tally,
    subscriptions: Tally,
    watches: Tally,
    patterns: fuzzy::Census,
    last_client: AtomicU32,
}

/// A bounded number.
#[derive(Debug, Default)]
struct Tally(AtomicUsize);

impl Tally {
    /// Adds and returns what was there before.
    fn grow(&self, count: usize) -> usize {
        self.0.fetch_add(count, Ordering::Relaxed)
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn give_back(&self, count: usize) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }
}

/// What the connections of one thread share.
struct Zone {
    state: Arc<State>,
    clients: RefCell<BTreeMap<ClientId, Rc<Client>>>,
    index: watch::Index,
    patterns: fuzzy::Patterns,
    feed: Arc<Feed>,
    clock: Rc<Cell<Instant>>,
    quiet: quiet::Quiet,
    /// Connections that wait for a place.
    waiting: Cell<usize>,
    /// What one read brought.
    scratch: RefCell<Box<[u8]>>,
    /// Tells the sweeper that a connection came.
    opened: Bell,
    /// Tells the drain that a connection went.
    closed: Bell,
}

impl Zone {
    fn new(state: Arc<State>) -> io::Result<Self> {
        let clock = Rc::new(Cell::new(state.now().0));
        Ok(Self {
            state,
            clients: RefCell::default(),
            index: watch::Index::default(),
            patterns: fuzzy::Patterns::default(),
            feed: Arc::default(),
            clock,
            quiet: quiet::Quiet::new()?,
            waiting: Cell::new(0),
            scratch: RefCell::new(vec![0; socket::SCRATCH_BYTES].into()),
            opened: Bell::new(),
            closed: Bell::new(),
        })
    }

    /// Whether this client waits among the quiet ones: it is one of many and only lives.
    fn is_quiet(&self, client: &Client) -> bool {
        let settings = &self.state.settings;
        self.clients.borrow().len() >= settings.grpc_quiet_connections_min
            && client.is_quiet(settings.grpc_quiet_after)
    }

    fn client(&self, id: ClientId) -> Option<Rc<Client>> {
        self.clients.borrow().get(&id).map(Rc::clone)
    }

    fn open(&self, address: SocketAddr, place: &Arc<Place>) -> Rc<Client> {
        let (now, wall) = self.state.now();
        self.clock.set(now);
        let number = self.state.grpc.last_client.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let id = ClientId::new(self.state.port.facts.life, number);
        let ip = address_text(address.ip());
        let name = format!("{}_{ip}_{}", wall.as_millis(), address.port());
        let clock = Rc::clone(&self.clock);
        let client = Rc::new(Client::new(id, name.into(), ip, Arc::clone(place), clock));
        self.clients.borrow_mut().insert(client.id, Rc::clone(&client));
        self.opened.ring();
        client
    }

    /// Takes everything back that a connection had.
    async fn close(&self, client: &Client) {
        watch::forget(self, client);
        fuzzy::forget(self, client);
        self.clients.borrow_mut().remove(&client.id);
        self.state.grpc.connections.give_back(1);
        if !client.is_registered() {
            self.state.grpc.newcomers.give_back(1);
        } else {
            // A full channel is waited for: what a connection published must not outlive it. A closed
            // one means that the node has stopped.
            let gone = Request::Gone { client: client.id };
            match self.state.port.requests.send(gone).await {
                Ok(()) | Err(_) => {}
            }
        }
        self.closed.ring();
    }

    /// Lets every connection finish what it does, for a bounded time.
    async fn drain(&self) {
        self.clients.borrow().values().for_each(|client| client.drain());
        let gone = async {
            while !self.clients.borrow().is_empty() {
                self.closed.heard().await;
            }
        };
        let timeout = async {
            Timer::after(self.state.settings.drain_timeout).await;
        };
        smol::future::or(gone, timeout).await;
    }
}

/// Accepts for ever. An error of one connection is its own; want of descriptors is waited out.
async fn accept<'e>(listener: &Async<TcpListener>, zone: &Rc<Zone>, executor: &LocalExecutor<'e>) {
    let state = &zone.state;
    loop {
        // A channel whose both ends live in the state is never closed.
        let handed = async {
            match state.handed_over.1.recv().await {
                Ok(handed) => Ok(handed),
                Err(_) => smol::future::pending().await,
            }
        };
        match smol::future::or(listener.accept(), handed).await {
            Ok(handed) => {
                let ip = handed.1.ip();
                match seat(state, ip) {
                    Ok(seat) => executor.spawn(run(Rc::clone(zone), handed, seat)).detach(),
                    Err(NoSeat::Full) if zone.waiting.get() < limits::SEATS_WAITING_MAX => {
                        zone.waiting.set(zone.waiting.get() + 1);
                        executor.spawn(wait(Rc::clone(zone), handed)).detach();
                    }
                    Err(refused) => state.mention_refused(refused, ip),
                }
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                // A crowd of strangers can cause it.
                if state.mentions.descriptors.is_due(state.now().0) {
                    tracing::info!(%error, "cannot accept a gRPC connection; this is told once a minute");
                }
                Timer::after(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// While all places are taken, or too many connections are not set up, the newest waits a moment by itself: a
/// crowd that comes back at once sets up one after the other.
async fn wait(zone: Rc<Zone>, handed: Handed) {
    let ip = handed.1.ip();
    let mut found = Err(NoSeat::Full);
    for _ in 0..SEAT_TRIES {
        Timer::after(SEAT_PAUSE).await;
        found = seat(&zone.state, ip);
        if !matches!(found, Err(NoSeat::Full)) {
            break;
        }
    }
    zone.waiting.set(zone.waiting.get() - 1);
    match found {
        Ok(seat) => run(zone, handed, seat).await,
        // It is closed when no place can be given up: those inside are being served.
        Err(refused) => zone.state.mention_refused(refused, ip),
    }
}

/// A place, if need be that of another connection.
fn seat(state: &State, ip: IpAddr) -> Result<Seat, NoSeat> {
    let now = state.now().0;
    let Shared { connections, newcomers, .. } = &state.grpc;
    let crowds = [
        (Crowd::GrpcNewcomers, newcomers, limits::GRPC_NEWCOMERS_MAX),
        (Crowd::Grpc, connections, state.settings.grpc_connections_max),
    ];
    for (crowd, count, max) in crowds {
        if count.count() >= max && !state.places.make_room(crowd, ip, now) {
            return Err(NoSeat::Full);
        }
    }
    let seat = state.places.take(Hall::Grpc, ip, now)?;
    connections.grow(1);
    newcomers.grow(1);
    Ok(seat)
}

/// One connection from its first byte to its last.
async fn run(zone: Rc<Zone>, (stream, address): Handed, seat: Seat) {
    let client = zone.open(address, &seat.place);
    // A socket that cannot take the option is already closed.
    if stream.get_ref().set_nodelay(true).is_ok() {
        connection::converse(&zone, stream, &client).await;
    }
    zone.close(&client).await;
}

/// Looks at every deadline once per tick, and sleeps while there are no connections.
async fn sweep(zone: Rc<Zone>) {
    loop {
        while zone.clients.borrow().is_empty() {
            zone.opened.heard().await;
        }
        Timer::after(zone.state.settings.tick).await;
        let now = zone.state.now().0;
        zone.clock.set(now);
        zone.state.ticker.tick(now);
        zone.state.pool.tick(now);
        // A check wakes tasks and runs none of them, so nobody comes or goes meanwhile.
        zone.clients.borrow().values().for_each(|client| client.check(now, &zone.state));
    }
}

const _: () = assert!(limits::GRPC_STREAM_MESSAGE_BYTES_MAX <= limits::GRPC_MESSAGE_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_places_are_taken_as_there_are_and_no_more() {
        let tally = Tally::default();
        let taken = (0..=limits::GRPC_SUBSCRIPTIONS_MAX)
            .filter(|_| tally.take(limits::GRPC_SUBSCRIPTIONS_MAX))
            .count();
        assert_eq!(taken, limits::GRPC_SUBSCRIPTIONS_MAX);
        tally.give_back(1);
        assert!(tally.take(limits::GRPC_SUBSCRIPTIONS_MAX));
        assert!(!tally.take(limits::GRPC_SUBSCRIPTIONS_MAX));
    }
}
