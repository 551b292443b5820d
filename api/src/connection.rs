//! The connection engine: hyper's HTTP/1.1 over smol sockets on one executor per api thread. It owns
//! the sockets and their limits (reliability B4): who may connect, how long a head, a body and silence
//! may last, how much memory bodies take. It knows nothing of Nacos.
//!
//! `socket` is the adapter between smol and hyper, `watch` says what a connection is doing and when
//! that has lasted too long, `exchange` turns one hyper request into a call and its answer into a
//! response.

mod exchange;
mod socket;
mod watch;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use nacolet_model::{Instant, limits};
use smol::{Async, LocalExecutor, Timer};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use crate::call::address_text;
use crate::places::Place;
use crate::server::{Handed, NoSeat, Seat, Server};
use socket::{Scratch, Socket};
use watch::Watch;

/// Connections that wait in the kernel until a thread accepts them.
const BACKLOG: i32 = 1_024;
/// Pause after an accept that failed for want of descriptors or memory.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Pause before a torn first word is looked at again.
const TORN_PREFACE_PAUSE: Duration = Duration::from_millis(10);
/// How often, and how long each time, a connection waits for a place before it is closed.
pub(crate) const SEAT_TRIES: u32 = 20;
/// See `SEAT_TRIES`.
pub(crate) const SEAT_PAUSE: Duration = Duration::from_millis(50);
/// hyper's read buffer beyond the head: what one read of a body may take.
const BODY_BUFFER_BYTES: usize = 64 << 10;

/// Binds a listener that several threads can share (`SO_REUSEPORT`): each calls this with the same
/// address and gets its own queue of connections.
///
/// # Errors
/// When the address cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves the connections of one listener until [`Server::stop`], then answers what is in flight.
///
/// # Errors
/// When the listener cannot be registered with the reactor.
pub async fn serve(listener: TcpListener, server: Server) -> io::Result<()> {
    let listener = Async::new(listener)?;
    let executor = LocalExecutor::new();
    let zone = Rc::new(Zone::new(server));
    executor
        .run(async {
            let sweeper = executor.spawn(sweep(Rc::clone(&zone)));
            let stopped = zone.server.stopped();
            smol::future::or(stopped, apart(accept(&listener, &zone, &executor))).await;
            drop(listener);
            zone.drain().await;
            sweeper.cancel().await;
        })
        .await;
    Ok(())
}

/// Polls a future when it was woken itself and not with everything else of its thread: one that waits
/// for a connection asks the kernel twice each time.
pub(crate) async fn apart(future: impl Future<Output = ()>) {
    let mut only: FuturesUnordered<_> = std::iter::once(future).collect();
    while only.next().await.is_some() {}
}

/// What the connections of one thread share.
struct Zone {
    server: Server,
    connections: RefCell<Connections>,
    scratch: RefCell<Scratch>,
    /// Connections that wait for a place.
    waiting: Cell<usize>,
    /// The time of the last sweep: good enough for deadlines of seconds, and free.
    time: Cell<Instant>,
    /// Tells the sweeper that a connection came.
    opened: Bell,
    /// Tells the drain that a connection went.
    closed: Bell,
}

#[derive(Default)]
struct Connections {
    last: u64,
    watches: BTreeMap<u64, Rc<Watch>>,
}

impl Zone {
    fn new(server: Server) -> Self {
        Self {
            server,
            connections: RefCell::default(),
            scratch: RefCell::default(),
            waiting: Cell::new(0),
            time: Cell::new(Instant::ZERO),
            opened: Bell::new(),
            closed: Bell::new(),
        }
    }

    /// The time, at most one tick late while there are connections.
    fn now(&self) -> Instant {
        self.time.get()
    }

    fn read_clock(&self) -> Instant {
        self.time.set(self.server.state.now().0);
        self.time.get()
    }

    fn open(&self, place: &Arc<Place>) -> Rc<Watch> {
        let deadline = self.read_clock() + self.server.state.settings.head_timeout;
        let mut connections = self.connections.borrow_mut();
        connections.last += 1;
        let id = connections.last;
        let watch = Rc::new(Watch::new(id, deadline, Arc::clone(place)));
        connections.watches.insert(id, Rc::clone(&watch));
        self.opened.ring();
        watch
    }

    fn close(&self, watch: &Watch) {
        self.connections.borrow_mut().watches.remove(&watch.id);
        self.closed.ring();
    }

    fn is_empty(&self) -> bool {
        self.connections.borrow().watches.is_empty()
    }

    /// Lets every connection finish what it does, for a bounded time.
    async fn drain(&self) {
        let watches: Vec<_> = self.connections.borrow().watches.values().cloned().collect();
        for watch in watches {
            watch.stop();
        }
        let gone = async {
            while !self.is_empty() {
                self.closed.heard().await;
            }
        };
        let timeout = async {
            Timer::after(self.server.state.settings.drain_timeout).await;
        };
        smol::future::or(gone, timeout).await;
    }
}

/// Wakes the one task that listens. Rings that nobody has heard yet are one ring.
pub(crate) struct Bell(async_channel::Sender<()>, async_channel::Receiver<()>);

impl Bell {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = async_channel::bounded(1);
        Self(sender, receiver)
    }

    pub(crate) fn ring(&self) {
        // A full channel already says it; a closed one cannot be, both ends live here.
        match self.0.try_send(()) {
            Ok(()) | Err(_) => {}
        }
    }

    pub(crate) async fn heard(&self) {
        match self.1.recv().await {
            Ok(()) | Err(_) => {}
        }
    }
}

/// Accepts for ever. An error of one connection is its own; want of descriptors is waited out.
async fn accept<'e>(listener: &Async<TcpListener>, zone: &Rc<Zone>, executor: &LocalExecutor<'e>) {
    let state = &zone.server.state;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let handed = (stream, address);
                match zone.server.seat(address.ip()) {
                    Ok(seat) => executor.spawn(run(Rc::clone(zone), handed, seat)).detach(),
                    Err(NoSeat::Full) if zone.waiting.get() < limits::SEATS_WAITING_MAX => {
                        zone.waiting.set(zone.waiting.get() + 1);
                        executor.spawn(wait(Rc::clone(zone), handed)).detach();
                    }
                    Err(refused) => state.mention_refused(refused, address.ip()),
                }
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                // A crowd of strangers can cause it.
                if state.mentions.descriptors.is_due(state.now().0) {
                    tracing::info!(%error, "cannot accept a connection; this is told once a minute");
                }
                Timer::after(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// When all places are taken the newest connection waits a moment by itself: a crowd of listeners that connect
/// at once turns into long polls, which are counted apart, and then there are places again.
async fn wait(zone: Rc<Zone>, handed: Handed) {
    let ip = handed.1.ip();
    let mut seat = Err(NoSeat::Full);
    for _ in 0..SEAT_TRIES {
        Timer::after(SEAT_PAUSE).await;
        seat = zone.server.seat(ip);
        if !matches!(seat, Err(NoSeat::Full)) {
            break;
        }
    }
    zone.waiting.set(zone.waiting.get() - 1);
    match seat {
        Ok(seat) => run(zone, handed, seat).await,
        // It is closed when no seat can be given up: those inside are being served.
        Err(refused) => zone.server.state.mention_refused(refused, ip),
    }
}

/// The client went away before it was accepted.
pub(crate) fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    )
}

/// One connection from its first byte to its last.
async fn run(zone: Rc<Zone>, (stream, address): Handed, seat: Seat) {
    // Without it a response in two segments waits 40 ms for an acknowledgement. A socket that cannot
    // take the option is already closed.
    if stream.get_ref().set_nodelay(true).is_err() {
        return;
    }
    let watch = zone.open(seat.place());
    let state = &zone.server.state;
    if state.port.facts.grpc.is_some() && speaks_http2(&stream, &watch).await {
        zone.close(&watch);
        drop(seat);
        // Where too many wait the newest is closed, as by the listener of gRPC, which has its own places.
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

/// Whether the client begins with HTTP/2 by prior knowledge (RFC 9113 §3.3): no method of HTTP/1.1 is
/// called `PRI`. Takes nothing from the socket. Who says nothing in time is left to HTTP/1.1.
async fn speaks_http2(stream: &Async<TcpStream>, watch: &Watch) -> bool {
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

async fn converse(
    zone: &Rc<Zone>,
    stream: &Rc<Async<TcpStream>>,
    address: SocketAddr,
    watch: &Rc<Watch>,
) {
    let settings = &zone.server.state.settings;
    let socket = Socket::new(Rc::clone(stream), Rc::clone(watch), Rc::clone(zone));
    let ip = address_text(address.ip());
    let service = service_fn(move |request| {
        exchange::exchange(Rc::clone(zone), Rc::clone(watch), Arc::clone(&ip), request)
    });
    let connection = http1::Builder::new()
        .max_headers(settings.headers_max)
        .max_header_size(settings.head_bytes_max)
        .max_buf_size(settings.head_bytes_max + BODY_BUFFER_BYTES)
        .serve_connection(socket, service);
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

/// Closing a socket with unread bytes resets it, and the reset overtakes the answer. So the answer's
/// end is sent first and what the client still sends is thrown away for a short while.
async fn linger(zone: &Zone, stream: &Async<TcpStream>, watch: &Watch) {
    if stream.get_ref().shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    watch.idle(zone.now(), zone.server.state.settings.linger_timeout);
    let mut left = zone.server.state.settings.linger_bytes_max;
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

/// Looks at every deadline once per tick, and sleeps while there are no connections.
async fn sweep(zone: Rc<Zone>) {
    let settings = zone.server.state.settings.clone();
    loop {
        while zone.is_empty() {
            zone.opened.heard().await;
        }
        Timer::after(settings.tick).await;
        let now = zone.read_clock();
        zone.server.state.ticker.tick(now);
        zone.server.state.pool.tick(now);
        let watches: Vec<_> = zone.connections.borrow().watches.values().cloned().collect();
        for watch in watches {
            watch.check(now, &settings);
        }
    }
}

/// Any loopback address with a port of the system's choice, for tests.
#[must_use]
pub fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
