//! One connection on h2: takes calls in, hands them to `dispatch`, sends answers no faster than the
//! client takes them. All futures of a connection live in its one task, so that nothing of it goes
//! on after it has ended.

use std::future::poll_fn;
use std::net::TcpStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use nacolet_model::limits;
use smol::{Async, future};

use crate::bounds::pool::Held;
use crate::grpc::calls::dispatch;
use crate::grpc::client::Client;
use crate::grpc::client::flood::Paid;
use crate::grpc::message::Reply;
use crate::grpc::message::wire::{Frames, Payload};
use crate::grpc::socket::adapter::H2Socket;
use crate::grpc::socket::reply::{
    Gone, Sent, Status, begin, finish, only_status, send_held, send_long,
};
use crate::grpc::tell::stream;
use crate::grpc::zone::GrpcZone;

/// Serves one connection until it ends.
pub(crate) async fn converse(zone: &Rc<GrpcZone>, stream: Async<TcpStream>, client: &Rc<Client>) {
    let socket = H2Socket::new(stream, Rc::clone(client), Rc::clone(zone));
    let handshake = Builder::new()
        .max_concurrent_streams(limits::GRPC_STREAMS_MAX)
        .initial_window_size(limits::GRPC_WINDOW_BYTES)
        .initial_connection_window_size(limits::GRPC_CONNECTION_WINDOW_BYTES)
        .max_header_list_size(limits::GRPC_HEAD_BYTES_MAX)
        .max_send_buffer_size(limits::GRPC_SEND_BUFFER_BYTES)
        .handshake::<_, Bytes>(socket);
    let handshake = async { handshake.await.ok() };
    let over = poll_fn(|cx| {
        client.park_connection(cx.waker());
        if client.is_over() || client.is_draining() { Poll::Ready(None) } else { Poll::Pending }
    });
    // Boxed, as calls are: what is done in a moment takes no room in a connection that lives for
    // days.
    let Some(mut connection) = Box::pin(future::or(handshake, over)).await else { return };
    let mut calls: FuturesUnordered<RunningCall<'_>> = FuturesUnordered::new();
    let mut told = false;
    poll_fn(|cx| {
        client.park_connection(cx.waker());
        if client.is_over() {
            return Poll::Ready(());
        }
        if client.is_draining() && !told {
            told = true;
            connection.graceful_shutdown();
        }
        loop {
            while let Poll::Ready(Some(())) = calls.poll_next_unpin(cx) {}
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    calls.extend(serve(zone, client, request, respond));
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::trace!(%error, "gRPC connection ended");
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// One call in progress.
type RunningCall<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Begins a call, or refuses it.
fn serve<'a>(
    zone: &'a Rc<GrpcZone>,
    client: &'a Rc<Client>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Option<RunningCall<'a>> {
    let (head, body) = request.into_parts();
    let content_type = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_grpc = content_type.is_some_and(|value| value.starts_with(b"application/grpc"));
    let refused = match head.uri.path() {
        _ if head.method != Method::POST || !is_grpc => refuse(&mut respond),
        "/Request/request" => {
            let call = async move { ended(unary(zone, client, body, &mut respond).await) };
            return Some(Box::pin(call));
        }
        "/BiRequestStream/requestBiStream" => {
            let call = async move { ended(stream::serve(zone, client, body, &mut respond).await) };
            return Some(Box::pin(call));
        }
        _ => only_status(&mut respond, &Status::UNKNOWN_METHOD),
    };
    ended(refused);
    None
}

/// What cannot be sent any more is of no interest to anybody.
const fn ended(outcome: Result<(), Gone>) {
    match outcome {
        Ok(()) | Err(Gone) => {}
    }
}

fn refuse(respond: &mut SendResponse<Bytes>) -> Result<(), Gone> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    respond.send_response(response, true)?;
    Ok(())
}

async fn unary(
    zone: &Rc<GrpcZone>,
    client: &Rc<Client>,
    mut body: RecvStream,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), Gone> {
    let state = &zone.state;
    let patience = state.settings.body_timeout;
    let deadline = client.now() + patience;
    let read = state.ticker.within(deadline, read_message(zone, client, &mut body)).await;
    let (message, held) = match read.unwrap_or(Err(Status::TOO_SLOW)) {
        Ok(read) => read,
        Err(status) => {
            if status == Status::OVERLOADED {
                let words = "a gRPC message is refused: bytes are short";
                state.mention(&state.mentions.short, words, &client.ip);
            }
            return only_status(respond, &status);
        }
    };
    let work = async {
        let answer = dispatch::answer(zone, client, &message).await;
        drop((message, held));
        let mut sink = begin(respond)?;
        let deadline = client.now() + patience;
        let (bytes, sent) = match answer {
            Reply::Whole(answer) => {
                (answer.len(), send_held(zone, client, &mut sink, answer, deadline).await?)
            }
            Reply::Long(answer) => {
                let bytes = answer.bytes;
                (bytes, Box::pin(send_long(zone, client, &mut sink, answer, deadline)).await?)
            }
        };
        match sent {
            Sent::All => client.pays(Paid::sent(bytes)),
            Sent::Nothing => return finish(&mut sink, &Status::OVERLOADED),
        }
        finish(&mut sink, &Status::OK)
    };
    // What follows the message is thrown away as it comes, so that it does not gather meanwhile.
    let meanwhile = async {
        swallow(&mut body).await;
        future::pending().await
    };
    future::or(work, meanwhile).await?;
    // Without its end h2 resets the call, and takes an end that crosses the reset for a mistake of
    // the client: after a thousand of them it closes the connection.
    state.ticker.within(client.now() + patience, swallow(&mut body)).await;
    Ok(())
}

/// Throws away what comes up to the end. The window is not opened again for it.
async fn swallow(body: &mut RecvStream) {
    while let Some(Ok(_)) = poll_fn(|cx| body.poll_data(cx)).await {}
}

/// The one message of a unary call, and what is counted for it.
async fn read_message(
    zone: &GrpcZone,
    client: &Client,
    body: &mut RecvStream,
) -> Result<(Payload, Held), Status> {
    let mut frames = Frames::new(limits::GRPC_MESSAGE_BYTES_MAX);
    let mut held = zone.state.hold_body(&client.place);
    let mut taken = client.takes();
    let (mut length, mut has_looked) = (0_usize, false);
    loop {
        let data = poll_fn(|cx| {
            if held.poll_cut(cx) {
                return Poll::Ready(Err(Status::TOO_SLOW));
            }
            body.poll_data(cx).map(Ok)
        });
        let Some(Ok(bytes)) = data.await? else { return Err(Status::TORN) };
        if !taken.grow(bytes.len()) || held.grow(bytes.len()).is_err() {
            return Err(Status::OVERLOADED);
        }
        length += bytes.len();
        client.pays(Paid::received(bytes.len()));
        frames.push(&bytes);
        // The window is opened again at once: what is held is counted here.
        if body.flow_control().release_capacity(bytes.len()).is_err() {
            return Err(Status::TORN);
        }
        if let Some(message) = frames.next()? {
            log_in(zone, client, &mut held, message.header("accessToken"));
            held.set_waiting(false);
            if length > limits::BODY_BYTES_MAX {
                // A handler copies the content out of it.
                held.add(length.min(limits::CONTENT_BYTES_MAX));
            }
            return Ok((message, held));
        }
        if !has_looked && length > limits::FREE_HEAD_BYTES {
            has_looked = true;
            if client.place.is_stranger() {
                let token = frames.early_header("accessToken");
                log_in(zone, client, &mut held, token.as_deref());
            }
        }
        client.act();
    }
}

/// Notes that a client has shown a valid token: it may hold more from then on.
fn log_in(zone: &GrpcZone, client: &Client, held: &mut Held, token: Option<&str>) {
    if client.place.is_stranger()
        && let Some(token) = token
        && zone.state.access.login_of(zone.state.now(), token).is_ok()
    {
        client.place.logged_in();
        held.logged_in();
    }
}
