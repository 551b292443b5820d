//! The connection engine: hyper's HTTP/1.1 over smol sockets on one executor per api thread. It
//! owns the sockets and their limits (docs/reliability.md, "Limits"): who may connect, how long a
//! head, a body and silence may last, how much memory bodies take. It knows nothing of Nacos.
//!
//! `socket` is the adapter between smol and hyper, `watch` says what a connection is doing and when
//! that has lasted too long, `exchange` turns one hyper request into a call and its answer into a
//! response.

pub(crate) mod exchange;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub(crate) mod refusal;
pub(crate) mod socket;
pub(crate) mod watch;
pub(crate) mod zone;

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use nacolet_model::Instant;
use smol::{Async, LocalExecutor, Timer};

use crate::connection::socket::HyperSocket;
use crate::connection::watch::ConnectionWatch;
use crate::connection::zone::HttpZone;
use crate::http::call::address_text;
use crate::net::apart;
use crate::net::entrance::{Entrance, Traffic, accept, drain, sweep};
use crate::route::router::Router;
use crate::state::permit::{HttpSeat, NoSeat};
use crate::state::settings::Settings;
use crate::state::{Handed, State};

/// Pause before a torn first word is looked at again.
const TORN_PREFACE_PAUSE: Duration = Duration::from_millis(10);
/// hyper's read buffer beyond the head: what one read of a body may take.
const BODY_BUFFER_BYTES: usize = 64 << 10;

/// Serves the connections of one listener until the server stops, then answers what is in flight.
///
/// # Errors
/// When the listener cannot be registered with the reactor.
pub(crate) async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    router: Arc<Router>,
) -> io::Result<()> {
    let listener = Async::new(listener)?;
    let executor = LocalExecutor::new();
    let zone = Rc::new(HttpZone::new(state, router));
    executor
        .run(async {
            let sweeper = executor.spawn(sweep(Rc::clone(&zone)));
            let accepting = accept(&zone, &executor, async || listener.accept().await);
            smol::future::or(zone.state.stopped(), apart(accepting)).await;
            drop(listener);
            drain(&*zone).await;
            sweeper.cancel().await;
        })
        .await;
    Ok(())
}

impl Entrance for HttpZone {
    type Seat = HttpSeat;

    fn state(&self) -> &State {
        &self.state
    }

    fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    fn seat(&self, ip: IpAddr) -> Result<HttpSeat, NoSeat> {
        self.state.seat(ip)
    }

    fn serve(self: Rc<Self>, handed: Handed, seat: HttpSeat) -> impl Future<Output = ()> {
        run(self, handed, seat)
    }

    fn is_empty(&self) -> bool {
        self.count() == 0
    }

    fn check(&self, now: Instant) {
        self.set_now(now);
        for watch in self.watches() {
            watch.check(now, &self.state.settings);
        }
    }

    fn begin_to_end(&self) {
        for watch in self.watches() {
            watch.stop();
        }
    }
}

/// One connection from its first byte to its last.
async fn run(zone: Rc<HttpZone>, (stream, address): Handed, seat: HttpSeat) {
    // Without it a response in two segments waits 40 ms for an acknowledgement. A socket that
    // cannot take the option is already closed.
    if stream.get_ref().set_nodelay(true).is_err() {
        return;
    }
    let watch = zone.open(seat.place());
    let state = &zone.state;
    if state.port.facts.grpc.is_some() && speaks_http2(&stream, &watch).await {
        zone.close(&watch);
        drop(seat);
        // Where too many wait the newest is closed, as by the listener of gRPC, which has its own
        // places.
        if state.handed_over.0.try_send((stream, address)).is_err() {
            tracing::debug!("a gRPC connection of the HTTP port found no place");
        }
        return;
    }
    let stream = Rc::new(stream);
    converse(&zone, &stream, address, &watch).await;
    if watch.lingers() {
        linger(&zone, &stream, &watch).await;
    }
    zone.close(&watch);
    drop(seat);
}

/// Whether the client begins with HTTP/2 by prior knowledge (RFC 9113 §3.3): no method of HTTP/1.1
/// is called `PRI`. Takes nothing from the socket. Who says nothing in time is left to HTTP/1.1.
async fn speaks_http2(stream: &Async<TcpStream>, watch: &ConnectionWatch) -> bool {
    const PREFACE: &[u8] = b"PRI ";
    let mut first = [0; PREFACE.len()];
    loop {
        let readable = poll_fn(|cx| {
            watch.park(cx.waker());
            if watch.is_over() { Poll::Ready(None) } else { stream.poll_readable(cx).map(Some) }
        });
        if !matches!(readable.await, Some(Ok(()))) {
            return false;
        }
        match stream.get_ref().peek(&mut first) {
            Ok(count) if count == PREFACE.len() => return first == PREFACE,
            // It came torn: the rest is not far, and the socket stays readable meanwhile.
            Ok(count) if count > 0 && PREFACE.starts_with(&first[..count]) => {
                Timer::after(TORN_PREFACE_PAUSE).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return false,
        }
    }
}

/// HTTP/1.1 within these limits.
fn protocol(settings: &Settings) -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol
        .max_headers(settings.headers_max)
        .max_header_size(settings.head_bytes_max)
        .max_buf_size(settings.head_bytes_max + BODY_BUFFER_BYTES);
    protocol
}

async fn converse(
    zone: &Rc<HttpZone>,
    stream: &Rc<Async<TcpStream>>,
    address: SocketAddr,
    watch: &Rc<ConnectionWatch>,
) {
    let socket = HyperSocket::new(Rc::clone(stream), Rc::clone(watch), Rc::clone(zone));
    let ip = address_text(address.ip());
    let own = stream.get_ref().local_addr();
    let is_same_address =
        own.is_ok_and(|own| own.ip().to_canonical() == address.ip().to_canonical());
    let service = service_fn(move |request| {
        let (zone, watch, ip) = (Rc::clone(zone), Rc::clone(watch), Arc::clone(&ip));
        exchange::exchange(zone, watch, (ip, is_same_address), request, exchange::serve)
    });
    let connection = protocol(&zone.state.settings).serve_connection(socket, service);
    let mut connection = pin!(connection);
    let mut told = false;
    let outcome = poll_fn(|cx| {
        watch.park(cx.waker());
        if watch.is_over() {
            return Poll::Ready(Ok(()));
        }
        if watch.is_stopping() && !told {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    })
    .await;
    if let Err(error) = outcome {
        // hyper answers a malformed head by itself; the client must get to read that answer.
        if error.is_parse() {
            watch.linger();
        }
        tracing::trace!(%error, "connection ended");
    }
}

/// Closing a socket with unread bytes resets it, and the reset overtakes the answer. So the
/// answer's end is sent first and what the client still sends is thrown away for a short while.
async fn linger(zone: &HttpZone, stream: &Async<TcpStream>, watch: &ConnectionWatch) {
    if stream.get_ref().shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    watch.idle(zone.now(), zone.state.settings.linger_timeout);
    let mut left = zone.state.settings.linger_bytes_max;
    poll_fn(|cx| {
        watch.park(cx.waker());
        loop {
            if watch.is_over() || left == 0 {
                return Poll::Ready(());
            }
            let mut scratch = zone.scratch.borrow_mut();
            match scratch.read(stream.get_ref(), watch.id, usize::MAX) {
                Ok(0) => return Poll::Ready(()),
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match stream.poll_readable(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => return Poll::Ready(()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                Err(_) => return Poll::Ready(()),
            }
        }
    })
    .await;
}
