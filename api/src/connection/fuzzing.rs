//! What a socket says, as a connection takes it: heads, bodies, and what is refused of both, with
//! memory in place of the socket. A request is not served, it is shown. Only with the feature
//! `fuzzing`.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::io;
use std::net::Ipv4Addr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use hyper::StatusCode;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;

use crate::connection::watch::ConnectionWatch;
use crate::connection::zone::HttpZone;
use crate::connection::{exchange, protocol, socket};
use crate::http::answer::HttpAnswer;
use crate::http::call::Call;
use crate::http::params::{Fields, Form};
use crate::route::router::Router;
use crate::state::State;

/// A request that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its method.
    pub method: String,
    /// Its target as it came, or what hyper makes of it.
    pub target: String,
    /// Its path, without host and query.
    pub path: String,
    /// What is behind the question mark.
    pub query: Vec<u8>,
    /// Names in lower case, and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body, without the chunks that it came in.
    pub body: Vec<u8>,
    /// The part of it that is a form.
    pub form: Vec<u8>,
    /// Its parameters; none where there are more than may be.
    pub parameters: Option<Vec<(String, String)>>,
}

impl Taken {
    fn of(mut call: Call) -> Self {
        let headers = call.headers.iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        let (headers, body) = (headers.collect(), call.body.to_vec());
        let form = match call.take_form() {
            Form::Urlencoded(form) => Form::Urlencoded(form),
            // Its parts are a target of their own.
            Form::None | Form::Multipart(..) => Form::None,
        };
        let parameters = Fields::of(&call.uri, &form).ok().map(|fields| fields.pairs());
        Self {
            method: call.method.to_string(),
            target: call.uri.to_string(),
            path: call.path().to_owned(),
            query: call.uri.query().unwrap_or_default().into(),
            headers,
            body,
            form: match form {
                Form::Urlencoded(bytes) => bytes.to_vec(),
                Form::None | Form::Multipart(..) => Vec::new(),
            },
            parameters,
        }
    }
}

/// One connection from its first byte to its last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Its requests that were not refused.
    pub taken: Vec<Taken>,
    /// What the client was told.
    pub said: Vec<u8>,
    /// It ended when the client had said everything.
    pub is_over: bool,
    /// Bytes that are counted for the address of the client when it is over.
    pub held_bytes: usize,
}

/// Who listens.
pub struct Listener {
    zone: Rc<HttpZone>,
}

impl Listener {
    /// The heads and bodies of this server. What it serves does not matter.
    pub(crate) fn new(state: Arc<State>, router: Arc<Router>) -> Self {
        Self { zone: Rc::new(HttpZone::new(state, router)) }
    }

    /// One connection that says these pieces, none of them empty, and closes. Each request that is
    /// taken is answered 404, which no refusal is. None where it finds no place.
    #[must_use]
    pub fn hear(&self, pieces: &[&[u8]]) -> Option<Heard> {
        let zone = &self.zone;
        let seat = zone.state.seat(Ipv4Addr::LOCALHOST.into()).ok()?;
        let watch = zone.open(seat.place());
        let mut heard = converse(zone, &watch, pieces);
        zone.close(&watch);
        heard.held_bytes = seat.place().account.bytes.now();
        Some(heard)
    }
}

fn converse(zone: &Rc<HttpZone>, watch: &Rc<ConnectionWatch>, pieces: &[&[u8]]) -> Heard {
    let (taken, said) = (RefCell::new(Vec::new()), RefCell::default());
    let is_silent = Cell::new(false);
    let service = service_fn(|request| {
        let (zone, watch) = (Rc::clone(zone), Rc::clone(watch));
        exchange::exchange(zone, watch, ("127.0.0.1".into(), false), request, async |_, _, call| {
            taken.borrow_mut().push(Taken::of(call));
            (HttpAnswer::text("taken").status(StatusCode::NOT_FOUND), None)
        })
    });
    let wire =
        Wire { zone, watch, piece: &[], pieces: pieces.iter(), is_silent: &is_silent, said: &said };
    let connection = protocol(&zone.state.settings).serve_connection(wire, service);
    let is_over = {
        let mut connection = pin!(connection);
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        let mut context = Context::from_waker(&waker);
        loop {
            match connection.as_mut().poll(&mut context) {
                Poll::Ready(_) => break true,
                Poll::Pending if bell.0.swap(false, Ordering::Relaxed) => {}
                // It waits for its client, who closes now.
                Poll::Pending if !is_silent.replace(true) => {}
                Poll::Pending => break false,
            }
        }
    };
    Heard { taken: taken.into_inner(), said: said.into_inner(), is_over, held_bytes: 0 }
}

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Memory in place of a socket: a piece is what one read finds.
struct Wire<'w> {
    zone: &'w HttpZone,
    watch: &'w ConnectionWatch,
    piece: &'w [u8],
    pieces: slice::Iter<'w, &'w [u8]>,
    /// The client has closed its side.
    is_silent: &'w Cell<bool>,
    said: &'w RefCell<Vec<u8>>,
}

impl Read for Wire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.piece.is_empty() {
            match this.pieces.next() {
                Some(piece) => this.piece = piece,
                None if this.is_silent.get() => {}
                None => return Poll::Pending,
            }
        }
        Poll::Ready(socket::receive(this.zone, this.watch, &mut this.piece, &mut buffer).map(drop))
    }
}

impl Write for Wire<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.said.borrow_mut().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
