//! The gRPC protocol of Nacos 2.x and 3.x: one unary call and one stream per connection, on h2 over
//! smol. The connection is the client: it owns the instances it publishes, the configs it listens
//! to and its subscriptions, and all of that goes when it closes.
//!
//! Reading order, upwards: `client` is one connection's state; `message` is what travels and how it
//! is read, and `zone` what the connections of one thread share; `socket` is the bytes of a
//! connection; `tell` says who listens, and what becomes of news; `calls` are the handlers, and who
//! may call them; `connection` serves one.

pub(crate) mod calls;
pub(crate) mod client;
pub(crate) mod connection;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub(crate) mod message;
pub(crate) mod socket;
pub(crate) mod tell;
pub(crate) mod zone;

#[cfg(feature = "fuzzing")]
pub use calls::dispatch::requests;

use std::future::Future;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use nacolet_model::{Instant, limits};
use smol::{Async, LocalExecutor, Timer};

use crate::bounds::places::{Crowd, Hall, Seat};
use crate::grpc::client::Client;
use crate::grpc::tell::{goes, interest, locks, news, who};
use crate::grpc::zone::GrpcZone;
use crate::grpc::zone::counts::GrpcCounts;
use crate::net::apart;
use crate::net::entrance::{Entrance, Traffic, accept, drain, sweep};
use crate::port::request::Request;
use crate::state::permit::NoSeat;
use crate::state::{Handed, State};

/// Serves the gRPC connections of one listener until the server stops, then tells the clients to go
/// elsewhere and answers what is in flight. One such call per api thread, beside that of HTTP,
/// which hands over what speaks HTTP/2 at its port.
///
/// # Errors
/// When the listener cannot be registered with the reactor, or descriptors are lacking.
pub(crate) async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    counts: Arc<GrpcCounts>,
) -> io::Result<()> {
    let listener = Async::new(listener)?;
    let executor = LocalExecutor::new();
    let zone = Rc::new(GrpcZone::new(state, counts)?);
    // A channel whose both ends live in the state is never closed.
    let handed_over = async || match zone.state.handed_over.1.recv().await {
        Ok(handed) => Ok(handed),
        Err(_) => smol::future::pending().await,
    };
    executor
        .run(async {
            let follow = Request::Follow { feed: Arc::clone(&zone.feed) };
            if zone.state.port.requests.send(follow).await.is_err() {
                return;
            }
            let configs = executor.spawn(news::follow_configs(Rc::clone(&zone)));
            let services = executor.spawn(news::follow_services(Rc::clone(&zone)));
            let sweeper = executor.spawn(sweep(Rc::clone(&zone)));
            let quiet = executor.spawn(wake_the_quiet(Rc::clone(&zone)));
            let moves = executor.spawn(goes::follow(Rc::clone(&zone)));
            let paced = executor.spawn(wake_the_paced(Rc::clone(&zone)));
            let who = executor.spawn(who::answer(Rc::clone(&zone)));
            let waiters = executor.spawn(locks::follow(Rc::clone(&zone)));
            let looks = executor.spawn(locks::look(Rc::clone(&zone)));
            let departures = executor.spawn(locks::tell_departures(Rc::clone(&zone)));
            let next = async || smol::future::or(listener.accept(), handed_over()).await;
            let accepting = apart(accept(&zone, &executor, next));
            smol::future::or(zone.state.stopped(), accepting).await;
            drop(listener);
            drain(&*zone).await;
            sweeper.cancel().await;
            quiet.cancel().await;
            moves.cancel().await;
            paced.cancel().await;
            who.cancel().await;
            waiters.cancel().await;
            looks.cancel().await;
            departures.cancel().await;
            configs.cancel().await;
            services.cancel().await;
        })
        .await;
    Ok(())
}

impl Entrance for GrpcZone {
    type Seat = Seat;

    fn state(&self) -> &State {
        &self.state
    }

    fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    fn seat(&self, ip: IpAddr) -> Result<Seat, NoSeat> {
        seat(self, ip)
    }

    fn serve(self: Rc<Self>, handed: Handed, seat: Seat) -> impl Future<Output = ()> {
        run(self, handed, seat)
    }

    fn is_empty(&self) -> bool {
        self.clients.borrow().is_empty()
    }

    fn check(&self, now: Instant) {
        self.clock.set(now);
        for client in self.clients.borrow().values() {
            client.check(now, &self.state);
            interest::check_login(self, client);
        }
    }

    fn begin_to_end(&self) {
        self.clients.borrow().values().for_each(|client| client.drain());
    }
}

/// A place, if need be that of another connection.
fn seat(zone: &GrpcZone, ip: IpAddr) -> Result<Seat, NoSeat> {
    let GrpcZone { state, counts, .. } = zone;
    let now = state.now().0;
    let GrpcCounts { connections, newcomers, .. } = &**counts;
    let crowds = [
        (Crowd::GrpcNewcomers, newcomers, limits::GRPC_NEWCOMERS_MAX),
        (Crowd::Grpc, connections, state.settings.grpc_connections_max),
    ];
    for (crowd, count, max) in crowds {
        if count.now() >= max && !state.places.make_room(crowd, ip, now) {
            return Err(NoSeat::Full);
        }
    }
    let seat = state.places.take(Hall::Grpc, ip, now)?;
    connections.grow(1);
    newcomers.grow(1);
    Ok(seat)
}

/// Takes everything back that a connection had.
async fn close(zone: &GrpcZone, client: &Client) {
    interest::forget(zone, client);
    zone.clients.borrow_mut().remove(&client.id);
    zone.counts.connections.give_back(1);
    if !client.is_registered() {
        zone.counts.newcomers.give_back(1);
    } else {
        // A full channel is waited for: what a connection published must not outlive it. A closed
        // one means that the node has stopped.
        let gone = Request::Gone { client: client.id };
        match zone.state.port.requests.send(gone).await {
            Ok(()) | Err(_) => {}
        }
        if client.has_locks.get() {
            let until = zone.state.now().0 + limits::LOCK_TIME_MAX;
            locks::depart(zone, client.id.as_u64(), until).await;
        }
    }
    zone.traffic.closed.ring();
}

/// One connection from its first byte to its last.
async fn run(zone: Rc<GrpcZone>, (stream, address): Handed, seat: Seat) {
    let client = zone.open(address, &seat.place);
    // A socket that cannot take the option is already closed.
    if stream.get_ref().set_nodelay(true).is_ok() {
        connection::converse(&zone, stream, &client).await;
    }
    close(&zone, &client).await;
}

/// Wakes the quiet connections that have something to read.
async fn wake_the_quiet(zone: Rc<GrpcZone>) {
    loop {
        zone.quiet.is_due().await;
        let heard = |client, is_last| {
            if let Some(client) = zone.client(client) {
                client.stir_reader(is_last);
            }
        };
        if let Err(error) = zone.quiet.collect(heard) {
            tracing::error!(%error, "cannot look at idle gRPC connections");
            zone.clients.borrow().values().for_each(|client| client.stir_reader(true));
        }
    }
}

/// Wakes those whose notices had to wait a moment.
async fn wake_the_paced(zone: Rc<GrpcZone>) {
    loop {
        let sooner = zone.paced.sooner.heard();
        let Some(at) = zone.paced.next() else {
            sooner.await;
            continue;
        };
        let time_to_look = async {
            Timer::after(at.saturating_since(zone.state.now().0)).await;
        };
        smol::future::or(time_to_look, sooner).await;
        zone.look_at_the_clock();
        for client in zone.paced.take_due(zone.clock.get()) {
            if let Some(client) = zone.client(client) {
                client.wake_writer();
            }
        }
    }
}

const _: () = assert!(limits::GRPC_STREAM_MESSAGE_BYTES_MAX <= limits::GRPC_MESSAGE_BYTES_MAX);
