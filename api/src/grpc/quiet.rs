//! Connections that do nothing but live, where there are many. Each of them would wake the thread for
//! every health check, which costs more than the check; so they are taken out of the reactor and looked
//! at together every [`limits::GRPC_QUIET_PAUSE`]. The first other request of such a connection waits
//! that long at most, and brings it back.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use nacolet_model::limits;
use nacolet_registry::ClientId;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use smol::Timer;

use super::Zone;
use crate::connection::Bell;

/// Sockets that are taken at once from those with something to read.
const AT_ONCE: usize = 64;

/// The sockets of the quiet connections of one thread.
pub(super) struct Quiet {
    epoll: OwnedFd,
    count: Cell<usize>,
    /// Tells the watch that there is one again.
    entered: Bell,
}

impl Quiet {
    /// None so far.
    ///
    /// # Errors
    /// When there are no descriptors.
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, count: Cell::new(0), entered: Bell::new() })
    }

    /// Takes a socket in under its client's name. It is told of what comes, and of what is there
    /// already, once.
    ///
    /// # Errors
    /// Those of `epoll_ctl`: the system has a bound for what is watched.
    pub(super) fn enter(&self, socket: impl AsFd, client: ClientId) -> io::Result<()> {
        let data = epoll::EventData::new_u64(client.0);
        let edges = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.epoll, socket, data, edges)?;
        self.count.set(self.count.get() + 1);
        self.entered.ring();
        Ok(())
    }

    /// Gives a socket back to the reactor.
    pub(super) fn leave(&self, socket: impl AsFd) {
        self.count.set(self.count.get().saturating_sub(1));
        // One that stays is woken for nothing, and goes when it is closed.
        if let Err(error) = epoll::delete(&self.epoll, socket) {
            tracing::error!(%error, "cannot forget an idle gRPC connection");
        }
    }

    /// Tells which clients have something to read.
    fn collect(&self, mut heard: impl FnMut(ClientId)) -> io::Result<()> {
        let mut events = Vec::with_capacity(AT_ONCE);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&Timespec::default()))
            {
                Err(rustix::io::Errno::INTR) => continue,
                outcome => outcome?,
            };
            let is_last = events.len() < AT_ONCE;
            // A copy of each: the kernel's record is packed.
            events.drain(..).map(|event| event.data).for_each(|data| heard(ClientId(data.u64())));
            if is_last {
                return Ok(());
            }
        }
    }
}

/// Wakes the quiet connections that have something to read, and sleeps while there are none.
pub(super) async fn watch(zone: Rc<Zone>) {
    loop {
        while zone.quiet.count.get() == 0 {
            zone.quiet.entered.heard().await;
        }
        Timer::after(limits::GRPC_QUIET_PAUSE).await;
        let heard = |client| {
            if let Some(client) = zone.client(client) {
                client.stir_reader();
            }
        };
        if let Err(error) = zone.quiet.collect(heard) {
            tracing::error!(%error, "cannot look at idle gRPC connections");
            zone.clients.borrow().values().for_each(|client| client.stir_reader());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn heard(quiet: &Quiet) -> Vec<u64> {
        let mut numbers = Vec::new();
        quiet.collect(|client| numbers.push(client.0)).expect("epoll waits");
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn what_comes_is_told_once_and_so_is_what_came_before_and_the_end() {
        let quiet = Quiet::new().expect("a descriptor");
        let (mut peer, mut socket) = UnixStream::pair().expect("a pair");
        peer.write_all(b"before").expect("it takes it");
        quiet.enter(&socket, ClientId(7)).expect("it is taken in");
        assert_eq!((heard(&quiet), heard(&quiet)), (vec![7], vec![]));
        peer.write_all(b"after").expect("it takes it");
        assert_eq!(heard(&quiet), [7], "whether or not the first was read");
        let _ = socket.read(&mut [0; 16]).expect("it is there");
        assert!(heard(&quiet).is_empty());
        drop(peer);
        assert_eq!(heard(&quiet), [7]);
    }

    #[test]
    fn a_socket_that_left_is_not_told_of_any_more_and_may_come_again() {
        let quiet = Quiet::new().expect("a descriptor");
        let (mut peer, socket) = UnixStream::pair().expect("a pair");
        quiet.enter(&socket, ClientId(7)).expect("it is taken in");
        quiet.leave(&socket);
        assert_eq!(quiet.count.get(), 0);
        peer.write_all(b"x").expect("it takes it");
        assert!(heard(&quiet).is_empty());
        quiet.enter(&socket, ClientId(8)).expect("it is taken in");
        assert_eq!((quiet.count.get(), heard(&quiet)), (1, vec![8]));
    }

    #[test]
    fn more_than_are_taken_at_once_are_told_all_the_same() {
        let quiet = Quiet::new().expect("a descriptor");
        let mut pairs = Vec::new();
        let numbers: Vec<u64> = (0..).take(2 * AT_ONCE + 1).collect();
        for &number in &numbers {
            let (mut peer, socket) = UnixStream::pair().expect("a pair");
            quiet.enter(&socket, ClientId(number)).expect("it is taken in");
            peer.write_all(b"x").expect("it takes it");
            pairs.push((peer, socket));
        }
        assert_eq!(heard(&quiet), numbers);
    }
}
