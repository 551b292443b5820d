//! Listeners, plain sockets, and how one task wakes another: what both protocols stand on.

pub(crate) mod entrance;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::task::{Context, Poll, ready};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use smol::Async;
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

/// Connections that wait in the kernel until a thread accepts them.
const BACKLOG: i32 = 1_024;

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

/// Any loopback address with a port of the system's choice, for tests.
#[must_use]
pub fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Polls a future when it was woken itself and not with everything else of its thread: one that
/// waits for a connection asks the kernel twice each time.
pub(crate) async fn apart(future: impl Future<Output = ()>) {
    let mut only: FuturesUnordered<_> = std::iter::once(future).collect();
    while only.next().await.is_some() {}
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

/// Reads what there is without waiting.
pub(crate) fn read(mut stream: impl io::Read, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Writes as much as the kernel takes, and waits only when it takes nothing; tells each time that
/// it does.
pub(crate) fn poll_write(
    stream: &Async<TcpStream>,
    cx: &mut Context<'_>,
    mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    blocked: impl Fn(),
) -> Poll<io::Result<usize>> {
    loop {
        match write(stream.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                blocked();
                ready!(stream.poll_writable(cx))?;
            }
            outcome => return Poll::Ready(outcome),
        }
    }
}

/// Says that nothing more is written.
pub(crate) fn end_writing(stream: &TcpStream) -> io::Result<()> {
    match stream.shutdown(Shutdown::Write) {
        // The peer was faster.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        outcome => outcome,
    }
}
