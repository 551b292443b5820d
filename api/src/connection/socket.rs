//! The adapter between a smol socket and hyper. It reads first and waits only after a short read, so
//! that a request on a keep-alive connection costs one `recv`, and it reads into one buffer per thread,
//! so that a waiting connection holds none.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use smol::Async;

use super::Zone;
use super::watch::Watch;

/// Bytes of one read.
const SCRATCH_BYTES: usize = 64 << 10;

/// The read buffer of a thread, with the name of the connection whose bytes it holds.
pub(super) struct Scratch {
    bytes: Box<[u8]>,
    length: usize,
    owner: u64,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { bytes: vec![0; SCRATCH_BYTES].into(), length: 0, owner: 0 }
    }
}

impl Scratch {
    /// Reads at most `bytes_max` bytes without waiting.
    pub(super) fn read(
        &mut self,
        mut stream: &TcpStream,
        owner: u64,
        bytes_max: usize,
    ) -> io::Result<usize> {
        let room = bytes_max.min(self.bytes.len());
        (self.owner, self.length) = (owner, 0);
        self.length = loop {
            match stream.read(&mut self.bytes[..room]) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        Ok(self.length)
    }

    /// What the last read brought, if it was for this connection.
    pub(super) fn last_read(&self, owner: u64) -> Option<&[u8]> {
        (self.owner == owner).then(|| &self.bytes[..self.length])
    }
}

/// One socket as hyper wants it.
pub(super) struct Socket {
    stream: Rc<Async<TcpStream>>,
    watch: Rc<Watch>,
    zone: Rc<Zone>,
    /// The last read was short: the next one waits for readiness first.
    is_drained: bool,
}

impl Socket {
    pub(super) fn new(stream: Rc<Async<TcpStream>>, watch: Rc<Watch>, zone: Rc<Zone>) -> Self {
        Self { stream, watch, zone, is_drained: false }
    }

    /// Bytes of a head came: too many of them together end the connection.
    fn head_came(&self, bytes: usize) -> io::Result<()> {
        let state = &self.zone.server.state;
        let counted = self.watch.head_grows(bytes, |place| state.hold_body(place));
        counted.map_err(|_short| {
            tracing::trace!("the head is one byte too many");
            io::ErrorKind::OutOfMemory.into()
        })
    }

    fn poll_io(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(self.stream.get_ref()) {
                Ok(count) => {
                    let settings = &self.zone.server.state.settings;
                    self.watch.sent(count, || self.zone.now() + settings.idle_timeout);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_writable(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Read for Socket {
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
            let mut scratch = this.zone.scratch.borrow_mut();
            let room = buffer.remaining().min(SCRATCH_BYTES);
            match scratch.read(this.stream.get_ref(), this.watch.id, room) {
                Ok(count) => {
                    this.is_drained = count < room;
                    let settings = &this.zone.server.state.settings;
                    let now = || this.zone.now();
                    if this.watch.received(count, now, settings.head_timeout) {
                        this.head_came(count)?;
                    }
                    buffer.put_slice(scratch.last_read(this.watch.id).unwrap_or_default());
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => this.is_drained = true,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Write for Socket {
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
        match self.stream.get_ref().shutdown(Shutdown::Write) {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            outcome => Poll::Ready(outcome),
        }
    }
}
