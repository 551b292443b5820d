//! The adapter between a smol socket and h2: tokio's traits over smol's reactor, without a runtime
//! of tokio. It reads first and waits only after a short read, so that a call costs one `recv`, and
//! it reads into one buffer per thread, so that the whole of h2's is touched only by those who fill
//! it.

use std::io::{self, IoSlice, Write as _};
use std::net::TcpStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use smol::Async;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::grpc::client::Client;
use crate::grpc::client::flood::Flood;
use crate::grpc::zone::{GrpcZone, SCRATCH_BYTES};
use crate::net;

/// Where a socket waits for something to read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Nowhere,
    InTheReactor,
    AmongTheQuiet,
}

/// One socket as h2 wants it.
pub(crate) struct H2Socket {
    stream: Async<TcpStream>,
    client: Rc<Client>,
    zone: Rc<GrpcZone>,
    flood: Flood,
    /// The last read was short: the next one waits for readiness first.
    is_drained: bool,
    waits: Waits,
}

impl H2Socket {
    pub(crate) fn new(stream: Async<TcpStream>, client: Rc<Client>, zone: Rc<GrpcZone>) -> Self {
        Self {
            stream,
            client,
            zone,
            flood: Flood::default(),
            is_drained: false,
            waits: Waits::Nowhere,
        }
    }

    /// Waits until something comes. The connection's task, which is also the one woken by its
    /// client's number, must be the one that polls.
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
        write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let count = ready!(net::poll_write(&self.stream, cx, write, || self.client.blocked()))?;
        self.client.wrote(count);
        Poll::Ready(Ok(count))
    }
}

impl Drop for H2Socket {
    fn drop(&mut self) {
        if self.waits == Waits::AmongTheQuiet {
            self.zone.quiet.leave(&self.stream);
        }
    }
}

impl AsyncRead for H2Socket {
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
            match net::read(this.stream.get_ref(), &mut scratch[..size]) {
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
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => this.is_drained = true,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for H2Socket {
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
        Poll::Ready(net::end_writing(self.stream.get_ref()))
    }
}
