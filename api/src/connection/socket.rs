//! The adapter between a smol socket and hyper. It reads first and waits only after a short read,
//! so that a request on a keep-alive connection costs one `recv`, and it reads into one buffer per
//! thread, so that a waiting connection holds none.

use std::io::{self, IoSlice, Write as _};
use std::net::TcpStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::body::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use smol::Async;

use crate::connection::refusal;
use crate::connection::watch::ConnectionWatch;
use crate::connection::zone::{HttpZone, SCRATCH_BYTES};
use crate::net;

/// One socket as hyper wants it.
pub(super) struct HyperSocket {
    stream: Rc<Async<TcpStream>>,
    watch: Rc<ConnectionWatch>,
    zone: Rc<HttpZone>,
    /// The last read was short: the next one waits for readiness first.
    is_drained: bool,
    /// What is left of a refusal that goes out in place of a bare one.
    refusal: Option<Bytes>,
}

impl HyperSocket {
    pub(super) fn new(
        stream: Rc<Async<TcpStream>>,
        watch: Rc<ConnectionWatch>,
        zone: Rc<HttpZone>,
    ) -> Self {
        Self { stream, watch, zone, is_drained: false, refusal: None }
    }

    /// hyper refuses a head that it cannot read with a status alone. What it means is said in its
    /// place, in the shape of every other refusal; ready with the bytes of hyper's once all of it
    /// is out.
    fn poll_refusal(&mut self, cx: &mut Context<'_>, bare: &[u8]) -> Poll<io::Result<usize>> {
        let now = self.zone.state.now().1;
        let mut left = self.refusal.take().unwrap_or_else(|| refusal::spelled(bare, now));
        while !left.is_empty() {
            match self.poll_io(cx, |mut stream| stream.write(&left)) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => left = left.slice(count..),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.refusal = Some(left);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(bare.len()))
    }

    fn poll_io(
        &self,
        cx: &mut Context<'_>,
        write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let count = ready!(net::poll_write(&self.stream, cx, write, || {}))?;
        let settings = &self.zone.state.settings;
        self.watch.sent(count, || self.zone.now() + settings.idle_timeout);
        Poll::Ready(Ok(count))
    }
}

/// Reads once without waiting, and tells the watch: how many bytes came.
pub(super) fn receive(
    zone: &HttpZone,
    watch: &ConnectionWatch,
    stream: impl io::Read,
    buffer: &mut ReadBufCursor<'_>,
) -> io::Result<usize> {
    let mut scratch = zone.scratch.borrow_mut();
    let count = scratch.read(stream, watch.id, buffer.remaining())?;
    let state = &zone.state;
    if watch.received(count, || zone.now(), state.settings.head_timeout) {
        watch.head_grows(count, |place| state.hold_body(place)).map_err(|_short| {
            tracing::trace!("the head is one byte too many");
            io::Error::from(io::ErrorKind::OutOfMemory)
        })?;
    }
    buffer.put_slice(scratch.last_read(watch.id).unwrap_or_default());
    Ok(count)
}

impl Read for HyperSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.is_drained {
                ready!(this.stream.poll_readable(cx))?;
            }
            let room = buffer.remaining().min(SCRATCH_BYTES);
            match receive(&this.zone, &this.watch, this.stream.get_ref(), &mut buffer) {
                Ok(count) => {
                    this.is_drained = count < room;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => this.is_drained = true,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Write for HyperSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.watch.is_in_head() && refusal::is_bare(bytes) {
            return self.poll_refusal(cx, bytes);
        }
        self.poll_io(cx, |mut stream| stream.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        if let Some(bytes) = first.filter(|_| self.watch.is_in_head())
            && refusal::is_bare(bytes)
        {
            return self.poll_refusal(cx, bytes);
        }
        self.poll_io(cx, |mut stream| stream.write_vectored(slices))
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
