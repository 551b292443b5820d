//! The adapter between a smol socket and h2: tokio's traits over smol's reactor, without a runtime of
//! tokio. It reads first and waits only after a short read, so that a call costs one `recv`, and it reads
//! into one buffer per thread, so that the whole of h2's is touched only by those who fill it.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use smol::Async;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Zone;
use super::client::Client;
use super::flood::Flood;

/// Bytes of one read.
pub(super) const SCRATCH_BYTES: usize = 16 << 10;

/// Where a socket waits for something to read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Nowhere,
    InTheReactor,
    AmongTheQuiet,
}

/// One socket as h2 wants it.
pub(super) struct Socket {
    stream: Async<TcpStream>,
    client: Rc<Client>,
    zone: Rc<Zone>,
    flood: Flood,
    /// The last read was short: the next one waits for readiness first.
    is_drained: bool,
    waits: Waits,
}

impl Socket {
    pub(super) fn new(stream: Async<TcpStream>, client: Rc<Client>, zone: Rc<Zone>) -> Self {
        Self {
            stream,
            client,
            zone,
            flood: Flood::default(),
            is_drained: false,
            waits: Waits::Nowhere,
        }
    }

    /// Waits until something comes. The connection's task, which is also the one woken by its client's
    /// number, must be the one that polls.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_quiet = self.zone.is_quiet(&self.client);
        match self.waits {
            // The reactor tells it once more.
            Waits::InTheReactor => {}
            Waits::Nowhere if is_quiet => match self.zone.quiet.enter(&self.stream, self.client.id)
            {
                Ok(()) => self.waits = Waits::AmongTheQuiet,
                Err(error) => tracing::debug!(%error, "an idle gRPC connection stays by itself"),
            },
            Waits::AmongTheQuiet if !is_quiet => {
                self.zone.quiet.leave(&self.stream);
                self.waits = Waits::Nowhere;
            }
            Waits::Nowhere | Waits::AmongTheQuiet => {}
        }
        let is_stirred = self.client.take_stir();
        if self.waits == Waits::AmongTheQuiet {
            return if is_stirred { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        let outcome = self.stream.poll_readable(cx);
        self.waits = if outcome.is_pending() { Waits::InTheReactor } else { Waits::Nowhere };
        outcome
    }

    fn poll_io(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(self.stream.get_ref()) {
                Ok(count) => {
                    self.client.wrote(count);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.client.blocked();
                    ready!(self.stream.poll_writable(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.waits == Waits::AmongTheQuiet {
            self.zone.quiet.leave(&self.stream);
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.is_drained {
                ready!(this.poll_readable(cx))?;
            }
            let mut scratch = this.zone.scratch.borrow_mut();
            let size = buffer.remaining().min(SCRATCH_BYTES);
            match this.stream.get_ref().read(&mut scratch[..size]) {
                Ok(count) => {
                    this.is_drained = count < size && !this.client.is_ending();
                    let seen = scratch.get(..count).unwrap_or_default();
                    this.client.place.moves(count);
                    if !this.flood.allows(seen, this.client.take_paid(), this.client.now()) {
                        return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                    }
                    buffer.put_slice(seen);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => this.is_drained = true,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_io(cx, |mut stream| stream.write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_io(cx, |mut stream| match slices {
            // Most answers are one piece, and the kernel takes one piece more cheaply.
            [piece] => stream.write(piece),
            pieces => stream.write_vectored(pieces),
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is kept here: what was written is with the kernel.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.stream.get_ref().shutdown(Shutdown::Write) {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            outcome => Poll::Ready(outcome),
        }
    }
}
