//! One request and its response: reads the body within its limits, makes the call, gives the answer
//! back to hyper. Whatever is refused before a handler sees it is refused here.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HOST, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING};
use hyper::{Request, Response, StatusCode, Version};
use nacolet_model::limits;

use crate::bounds::places::Place;
use crate::bounds::pool::{Held, Hold, Pool, Short};
use crate::connection::watch::ConnectionWatch;
use crate::connection::zone::HttpZone;
use crate::http::answer::HttpAnswer;
use crate::http::call::Call;
use crate::http::failure::spring_error;
use crate::http::params::{Fields, Form};
use crate::http::pieces::Pieces;
use crate::http::room::Room;
use crate::route::spelling::settled;
use crate::state::State;

/// Serves one request: `serve` gets it as it was read. Never fails: a refusal is an answer too.
pub(super) async fn exchange(
    zone: Rc<HttpZone>,
    watch: Rc<ConnectionWatch>,
    (ip, is_same_address): (Arc<str>, bool),
    request: Request<Incoming>,
    serve: impl AsyncFnOnce(&HttpZone, &ConnectionWatch, Call) -> (HttpAnswer, Option<Held>),
) -> Result<Response<Outgoing>, Infallible> {
    let state = &zone.state;
    let mut held = state.hold_body(watch.place());
    let mut is_last = watch.is_stopping();
    let is_hosted = is_hosted(&request);
    let (parts, incoming) = request.into_parts();
    let mut call = Call {
        method: parts.method,
        uri: settled(parts.uri),
        headers: parts.headers,
        ip,
        is_same_address,
        body: Bytes::new(),
        room: Room::new(&state.pool, watch.place()),
    };
    // Bytes of the body that came with the head are counted as such from here on.
    let _head = watch.take_head().filter(|_| head_bytes(&call) > limits::FREE_HEAD_BYTES);
    if watch.place().is_stranger() && shows_token(state, &call) {
        watch.place().logged_in();
    }
    let refused = if !is_hosted {
        Some((StatusCode::BAD_REQUEST, "a request has one Host header"))
    } else if incoming.is_end_stream() {
        None
    } else {
        // Length beside chunks is the oldest smuggling trick. hyper closes after any such request;
        // one chunked request per connection closes the door for good.
        is_last |= call.headers.contains_key(TRANSFER_ENCODING);
        if is_last && has_length_too(&zone, &watch) {
            Some((StatusCode::BAD_REQUEST, "both Content-Length and Transfer-Encoding"))
        } else {
            let bytes_max = zone.router.body_bytes_max(&call);
            watch.body(zone.now());
            match read(incoming, bytes_max, &watch, &mut held).await {
                Ok(body) => {
                    call.body = body;
                    None
                }
                Err(refusal) => Some(refusal),
            }
        }
    };
    watch.working();
    let (answer, pinned) = match refused {
        None => serve(&zone, &watch, call).await,
        Some(refusal) => {
            is_last = true;
            watch.linger();
            if refusal.0 == StatusCode::SERVICE_UNAVAILABLE {
                state.mention("a body is refused: bytes are short", &call.ip);
            }
            (refuse(&zone, refusal, call.path()), None)
        }
    };
    watch.idle(zone.now(), state.settings.idle_timeout);
    let room =
        || Sending { pool: Arc::clone(&state.pool), place: watch.place().clone(), _pinned: pinned };
    let room = answer.rest.is_some().then(room);
    Ok(respond(answer, is_last, room))
}

/// Makes the call. Its answer counts until the client has taken it, and so does what lives as long.
pub(super) async fn serve(
    zone: &HttpZone,
    watch: &ConnectionWatch,
    call: Call,
) -> (HttpAnswer, Option<Held>) {
    let path = call.uri.clone();
    let mut answer = zone.router.call(call).await;
    let hold = |bytes: usize| {
        let mut held = zone.state.pool.hold(watch.place(), Hold::Answer);
        held.grow(bytes).map(|()| held)
    };
    let counted = |bytes: usize| {
        if bytes < limits::COUNTED_ANSWER_BYTES_MIN { Ok(None) } else { hold(bytes).map(Some) }
    };
    let (Ok(held), Ok(pinned)) = (counted(answer.body.len()), counted(answer.pinned)) else {
        return (refuse(zone, TOO_MUCH, path.path()), None);
    };
    if let Some(held) = held {
        let body = std::mem::take(&mut answer.body);
        answer.body = Bytes::from_owner(Counted { body, _held: held });
    }
    (answer, pinned)
}

/// The bytes of an answer, counted until the last of them is with the kernel.
struct Counted {
    body: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

fn refuse(zone: &HttpZone, (status, message): StatusAndWords, path: &str) -> HttpAnswer {
    let mut answer = spring_error(status, message, path, zone.state.now().1);
    answer.guard();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.header_static(RETRY_AFTER, "1")
    } else {
        answer
    }
}

/// Whether there is one Host. HTTP/1.0 knows none, and has no more than one (RFC 9112 §3.2).
fn is_hosted(request: &Request<Incoming>) -> bool {
    match request.headers().get_all(HOST).iter().count() {
        0 => request.version() == Version::HTTP_10,
        hosts => hosts == 1,
    }
}

/// Bytes of the head of a call, about.
fn head_bytes(call: &Call) -> usize {
    let lines = call.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    lines.sum::<usize>() + call.uri.query().map_or(0, str::len) + call.path().len()
}

/// Whether the head has a valid token, in a header or in the query: a token in the body is looked
/// at too late to say how large that body may be.
fn shows_token(state: &State, call: &Call) -> bool {
    let fields = Fields::of(&call.uri, &Form::None).unwrap_or_default();
    state.access.shown(state.now(), &call.headers, &fields).is_some()
}

type StatusAndWords = (StatusCode, &'static str);

const TOO_LARGE: StatusAndWords = (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
const BROKEN: StatusAndWords = (StatusCode::BAD_REQUEST, "the body is broken");
const TOO_SLOW: StatusAndWords = (StatusCode::REQUEST_TIMEOUT, "the body is too slow");
const TOO_MUCH: StatusAndWords =
    (StatusCode::SERVICE_UNAVAILABLE, "too many bytes wait for clients, or come from them");
const NO_TOKEN: StatusAndWords = (
    StatusCode::FORBIDDEN,
    "a body of more than 1 MiB needs its token in a header or in the query",
);

/// Reads a body of at most `bytes_max` bytes. One that announces more is refused unread.
async fn read(
    mut incoming: Incoming,
    bytes_max: usize,
    watch: &ConnectionWatch,
    held: &mut Held,
) -> Result<Bytes, StatusAndWords> {
    let announced = incoming.size_hint().exact();
    let announced = announced.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let longest = announced.unwrap_or(bytes_max);
    if longest > bytes_max {
        return Err(TOO_LARGE);
    }
    let is_stranger = watch.place().is_stranger();
    if is_stranger && announced.is_some_and(|bytes| bytes > limits::STRANGER_BYTES_MAX) {
        return Err(NO_TOKEN);
    }
    // A body that fits one frame, as nearly all do, is taken as it is.
    let mut first: Option<Bytes> = None;
    let mut rest: Vec<u8> = Vec::new();
    let mut length = 0_usize;
    loop {
        let frame = poll_fn(|cx| {
            if watch.is_body_over() || held.poll_cut(cx) {
                return Poll::Ready(Err(TOO_SLOW));
            }
            Pin::new(&mut incoming).poll_frame(cx).map(Ok)
        });
        let data = match frame.await? {
            None => break,
            Some(Err(_)) => return Err(BROKEN),
            // Trailers carry nothing that a handler reads.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_trailers) => continue,
            },
        };
        length += data.len();
        if length > bytes_max {
            return Err(TOO_LARGE);
        }
        held.grow(data.len()).map_err(|short| match short {
            Short::Stranger if length > limits::STRANGER_BYTES_MAX => NO_TOKEN,
            Short::Stranger | Short::Pool => TOO_MUCH,
            Short::Cut => TOO_SLOW,
        })?;
        match (&first, rest.is_empty()) {
            (None, true) => first = Some(data),
            (Some(begin), true) => {
                append(&mut rest, begin, longest);
                append(&mut rest, &data, longest);
            }
            _ => append(&mut rest, &data, longest),
        }
    }
    held.set_waiting(false);
    if length > limits::BODY_BYTES_MAX {
        // A handler copies the content out of it.
        held.add(length.min(limits::CONTENT_BYTES_MAX));
    }
    Ok(if rest.is_empty() { first.unwrap_or_default() } else { rest.into() })
}

/// Appends to a body of at most `longest` bytes, without room for more than that.
fn append(body: &mut Vec<u8>, bytes: &[u8], longest: usize) {
    let needed = body.len() + bytes.len();
    if needed > body.capacity() {
        let room = body.capacity().saturating_mul(2).min(longest).max(needed);
        body.reserve_exact(room - body.len());
    }
    body.extend_from_slice(bytes);
}

/// Whether the head with `Transfer-Encoding` also had `Content-Length`. hyper drops the latter, but
/// it parses a head in the same turn in which its last bytes were read, so they are still there.
fn has_length_too(zone: &HttpZone, watch: &ConnectionWatch) -> bool {
    let scratch = zone.scratch.borrow();
    scratch.last_read(watch.id).is_some_and(head_has_both)
}

fn head_has_both(bytes: &[u8]) -> bool {
    let (mut length, mut chunks) = (false, false);
    for line in bytes.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            if chunks {
                break;
            }
            length = false;
        }
        length |= starts_with(line, b"content-length:");
        chunks |= starts_with(line, b"transfer-encoding:");
    }
    length && chunks
}

fn starts_with(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

fn respond(mut answer: HttpAnswer, is_last: bool, room: Option<Sending>) -> Response<Outgoing> {
    let (status, headers) = (answer.status, std::mem::take(&mut answer.headers));
    let HttpAnswer { body, rest, length, .. } = answer;
    let body = Outgoing { next: Some(body), rest, left: length, room, has_yielded: false };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    if is_last {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Where the pieces of an answer are counted, for whom, and what lives as long as the answer.
struct Sending {
    pool: Arc<Pool>,
    place: Arc<Place>,
    _pinned: Option<Held>,
}

/// A body that is one piece, or is made piece by piece as the client takes them.
pub(super) struct Outgoing {
    next: Option<Bytes>,
    rest: Option<Pieces>,
    /// Bytes yet to come, where it is known.
    left: Option<usize>,
    room: Option<Sending>,
    has_yielded: bool,
}

impl Outgoing {
    /// Makes the next piece, which counts as long as it waits.
    fn make(&mut self) -> Option<io::Result<Bytes>> {
        let piece = self.rest.as_mut()?.next()?;
        let (Ok(body), Some(Sending { pool, place, .. })) = (&piece, &self.room) else {
            return Some(piece);
        };
        let mut held = pool.hold(place, Hold::Answer);
        if held.grow(body.len()).is_err() {
            return Some(Err(io::Error::other("too many bytes wait for clients")));
        }
        Some(piece.map(|body| Bytes::from_owner(Counted { body, _held: held })))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(bytes) = self.next.take().filter(|bytes| !bytes.is_empty()) {
            self.left = self.left.map(|left| left.saturating_sub(bytes.len()));
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        // A piece is some milliseconds of work: everybody else has a turn between two of them.
        if self.rest.is_some() && !std::mem::replace(&mut self.has_yielded, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.has_yielded = false;
        let piece = self.make();
        match &piece {
            // It was work that brought nothing yet.
            Some(Ok(bytes)) if bytes.is_empty() => {
                self.has_yielded = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Ok(bytes)) => self.left = self.left.map(|left| left.saturating_sub(bytes.len())),
            Some(Err(_)) | None => self.rest = None,
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.next.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.next.as_ref().map_or(0, Bytes::len);
        let length = u64::try_from(self.left.unwrap_or(length)).unwrap_or(u64::MAX);
        if self.rest.is_none() || self.left.is_some() {
            return SizeHint::with_exact(length);
        }
        let mut hint = SizeHint::new();
        hint.set_lower(length);
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str, expected: bool) {
        assert_eq!(head_has_both(head.as_bytes()), expected, "{head:?}");
    }

    #[test]
    fn length_beside_chunks_is_found_in_any_order_and_case() {
        check("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", true);
        check("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nCONTENT-LENGTH: 3\r\n\r\n", true);
        check("POST / HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length: 3\n\n", true);
        check("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", false);
    }

    #[test]
    fn a_length_in_another_head_or_in_the_body_does_not_count() {
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&format!("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n{chunked}"), false);
        check(&format!("{chunked}5\r\nContent-Length: 3\r\n\r\n"), false);
    }
}
