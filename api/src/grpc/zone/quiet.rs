//! Connections that do nothing but live, where there are many. Each of them would wake the thread
//! for every health check, which costs more than the check; so they are taken out of the reactor
//! and looked at together every [`limits::GRPC_QUIET_PAUSE`]. The first other request of such a
//! connection waits that long at most, and brings it back.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nacolet_model::limits;
use nacolet_registry::ClientId;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use smol::Timer;

use crate::net::Bell;

/// Sockets that are taken at once from those with something to read.
const AT_ONCE: usize = 64;

/// The sockets of the quiet connections of one thread.
pub(crate) struct Quiet {
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
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, count: Cell::new(0), entered: Bell::new() })
    }

    /// Takes a socket in under its client's name. It is told of what comes, and of what is there
    /// already, once.
    ///
    /// # Errors
    /// Those of `epoll_ctl`: the system has a bound for what is watched.
    pub(crate) fn enter(&self, socket: impl AsFd, client: ClientId) -> io::Result<()> {
        let data = epoll::EventData::new_u64(client.0);
        let edges = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.epoll, socket, data, edges)?;
        self.count.set(self.count.get() + 1);
        self.entered.ring();
        Ok(())
    }

    /// Gives a socket back to the reactor.
    pub(crate) fn leave(&self, socket: impl AsFd) {
        self.count.set(self.count.get().saturating_sub(1));
        // One that stays is woken for nothing, and goes when it is closed.
        if let Err(error) = epoll::delete(&self.epoll, socket) {
            tracing::error!(%error, "cannot forget an idle gRPC connection");
        }
    }

    /// Ready when it is time to look again: never while there are none.
    pub(crate) async fn is_due(&self) {
        while self.count.get() == 0 {
            self.entered.heard().await;
        }
        Timer::after(limits::GRPC_QUIET_PAUSE).await;
    }

    /// Tells which clients have something to read, and whether nothing comes after it. That is told
    /// here and not once more when the rest is read.
    pub(crate) fn collect(&self, mut heard: impl FnMut(ClientId, bool)) -> io::Result<()> {
        let last = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        let mut events = Vec::with_capacity(AT_ONCE);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&Timespec::default()))
            {
                Err(rustix::io::Errno::INTR) => continue,
                outcome => outcome?,
            };
            let were_all = events.len() < AT_ONCE;
            for event in events.drain(..) {
                // A copy of each: the kernel's record is packed.
                let (flags, data) = (event.flags, event.data);
                heard(ClientId(data.u64()), flags.intersects(last));
            }
            if were_all {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Those who were told of, and of whose end.
    fn told(quiet: &Quiet) -> Vec<(u64, bool)> {
        let mut told = Vec::new();
        quiet.collect(|client, is_last| told.push((client.0, is_last))).expect("epoll waits");
        told.sort_unstable();
        told
    }

    fn heard(quiet: &Quiet) -> Vec<u64> {
        told(quiet).into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn what_comes_is_told_once_and_so_is_what_came_before_and_the_end() {
        let quiet = Quiet::new().expect("a descriptor");
        let (mut peer, mut socket) = UnixStream::pair().expect("a pair");
        peer.write_all(b"before").expect("it takes it");
        quiet.enter(&socket, ClientId(7)).expect("it is taken in");
        assert_eq!((told(&quiet), told(&quiet)), (vec![(7, false)], vec![]));
        peer.write_all(b"after").expect("it takes it");
        assert_eq!(heard(&quiet), [7], "whether or not the first was read");
        let _ = socket.read(&mut [0; 16]).expect("it is there");
        assert!(heard(&quiet).is_empty());
        peer.write_all(b"last words").expect("it takes it");
        drop(peer);
        assert_eq!(told(&quiet), [(7, true)]);
        assert_eq!(socket.read(&mut [0; 16]).expect("it is there"), 10);
        assert!(told(&quiet).is_empty(), "the end is told once");
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
