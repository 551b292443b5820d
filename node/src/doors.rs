//! The addresses that a node serves, and the threads that serve them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::thread::JoinHandle;

use nacolet_api::Server;
use nacolet_model::limits;
use nacolet_storage::abort_process;
use smol::future;

use crate::error::RunError;

/// Resolves when an api thread has ended.
pub(crate) type ThreadEnd = Pin<Box<dyn Future<Output = ()>>>;

/// The listeners of one api thread.
pub(crate) struct Doors {
    pub(crate) http: TcpListener,
    pub(crate) grpc: TcpListener,
}

impl Doors {
    async fn serve(self, server: Server) -> io::Result<()> {
        let http = server.clone().serve_http(self.http);
        future::try_zip(http, server.serve_grpc(self.grpc)).await.map(|_| ())
    }
}

/// One thread that serves connections; the future resolves when it has ended.
pub(crate) fn api_thread(
    number: usize,
    doors: Doors,
    server: Server,
) -> Result<ThreadEnd, RunError> {
    let (done, ended) = async_channel::bounded::<()>(1);
    let serve = move || {
        if let Err(error) = smol::block_on(doors.serve(server)) {
            abort_process(&format!("api thread {number} cannot serve: {error}"));
        }
        drop(done);
    };
    let name = format!("api-{number}");
    let thread: JoinHandle<()> =
        std::thread::Builder::new().name(name).spawn(serve).map_err(RunError::Thread)?;
    Ok(Box::pin(async move {
        // Nothing is ever sent: the channel closes when the thread drops its end.
        let _ = ended.recv().await;
        // A panic ends the process before this point.
        let _ = thread.join();
    }))
}

/// An address that this process serves, or will once it is ready.
pub(crate) struct Claim {
    pub(crate) address: SocketAddr,
    /// Bound and not listening: clients are refused until the doors open.
    _held: socket2::Socket,
}

/// Refuses an address that somebody else serves already. The api threads share it later
/// (`SO_REUSEPORT`), and another process that shares it as well would take half of the clients.
/// From now on a socket holds it, since a member may need a while to catch up.
pub(crate) fn claim(address: SocketAddr) -> Result<Claim, RunError> {
    let claimed = || {
        let probe = TcpListener::bind(address)?;
        let address = probe.local_addr()?;
        drop(probe);
        let domain = socket2::Domain::for_address(address);
        let held = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        // Not its address as well: two that only share that could both hold it until one listens.
        held.set_reuse_port(true)?;
        held.bind(&address.into())?;
        Ok(Claim { address, _held: held })
    };
    claimed().map_err(|source| RunError::Listen { address, source })
}

/// Asks for as many descriptors as connections and long polls may need; many systems start a
/// process with 1,024. Where the system allows fewer, connections beyond that wait in its queue.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    const CONNECTIONS: usize = limits::CONNECTIONS_MAX
        + limits::LONG_POLLS_MAX
        + limits::GRPC_CONNECTIONS_MAX
        + 2 * limits::SEATS_WAITING_MAX;
    const WANTED: u64 = (CONNECTIONS + 256) as u64;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= WANTED) {
        return;
    }
    limit.current = Some(limit.maximum.map_or(WANTED, |maximum| maximum.min(WANTED)));
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open descriptors stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;

    use nacolet_api::listen;

    use super::*;

    #[test]
    fn an_address_is_claimed_once_before_anybody_listens() {
        let first = claim("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = first.address;
        assert!(matches!(claim(address), Err(RunError::Listen { .. })));
        // Its own doors open beside it, as many as there are threads.
        let doors = [listen(address), listen(address)];
        assert!(doors.iter().all(Result::is_ok));
        assert!(claim(address).is_err());
        drop((first, doors));
        claim(address).expect("it is free again");
    }

    #[test]
    fn a_connection_that_was_closed_from_here_does_not_keep_the_address() {
        let first = claim("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let door = listen(first.address).expect("it is ours");
        door.set_nonblocking(false).expect("it takes it");
        let mut client = TcpStream::connect(first.address).expect("somebody listens");
        drop(door.accept().expect("a client"));
        assert_eq!(client.read(&mut [0]).expect("the end"), 0);
        let address = first.address;
        drop((client, door, first));
        claim(address).expect("the system still remembers the connection");
    }
}
