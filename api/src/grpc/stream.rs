//! The stream of a connection: the client sets the connection up and acknowledges, the server tells.
//! What the server tells is rendered when the client has room for it, never before.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use hyper::body::Bytes;
use nacolet_model::limits;
use smol::future;

use super::client::{Client, Order, Setup, Subject};
use super::connection::{Gone, Status, begin, finish, only_status, send};
use super::message::{Acknowledgement, ConnectionSetup};
use super::wire::{Frames, Payload};
use super::{Zone, message, watch};

/// Serves the stream until either side ends it; the connection ends with it.
pub(super) async fn serve(
    zone: &Rc<Zone>,
    client: &Rc<Client>,
    body: RecvStream,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), Gone> {
    if !client.take_stream() {
        return only_status(respond, &Status::SECOND_STREAM);
    }
    // At once: clients wait for the head before they send their first message.
    let mut sink = begin(respond)?;
    let reading = async { Ok(read(client, body).await) };
    let status = future::or(reading, write(zone, client, &mut sink)).await;
    if let Ok(status) = &status {
        finish(&mut sink, status)?;
    }
    if !client.is_draining() {
        client.end();
    }
    status.map(|_| ())
}

/// Takes what the client sends until it ends the stream.
async fn read(client: &Client, mut body: RecvStream) -> Status {
    let mut frames = Frames::new(limits::GRPC_STREAM_MESSAGE_BYTES_MAX);
    loop {
        let Some(Ok(bytes)) = poll_fn(|cx| body.poll_data(cx)).await else { return Status::OK };
        frames.push(&bytes);
        if body.flow_control().release_capacity(bytes.len()).is_err() {
            return Status::OK;
        }
        loop {
            match frames.next() {
                Ok(Some(payload)) => take(client, &payload),
                Ok(None) => break,
                Err(error) => return error.into(),
            }
        }
    }
}

fn take(client: &Client, payload: &Payload) {
    if payload.kind() == "ConnectionSetupRequest" {
        client.touch();
        // A set-up that cannot be read is one that says nothing (Nacos reads no field it needs).
        let setup: ConnectionSetup = serde_json::from_slice(payload.json()).unwrap_or_default();
        let label = |name| setup.label(name).map(Box::from);
        let is_negotiating = setup.is_negotiating();
        let known =
            Setup { tag: label("Vipserver-Tag"), app: label("AppName").unwrap_or_default() };
        if client.set_up(known) && is_negotiating {
            client.order(Order::SetupAck);
        }
        return;
    }
    // Clients name their answers as they like; the number says what is answered.
    match serde_json::from_slice::<Acknowledgement>(payload.json()) {
        Ok(answer) => client.answered(answer.number(), answer.is_ok()),
        Err(_) => client.touch(),
    }
}

/// Tells the client what it is owed, as fast as it takes it.
async fn write(
    zone: &Zone,
    client: &Rc<Client>,
    sink: &mut SendStream<Bytes>,
) -> Result<Status, Gone> {
    enum Next {
        Order(Order),
        Notice(u64, Subject),
        End,
    }
    loop {
        let next = poll_fn(|cx| {
            client.park_writer(cx.waker());
            if let Some(order) = client.take_order() {
                return Poll::Ready(Next::Order(order));
            }
            if client.is_draining() {
                return Poll::Ready(Next::End);
            }
            match client.next_notice() {
                Some((number, subject)) => Poll::Ready(Next::Notice(number, subject)),
                None => Poll::Pending,
            }
        })
        .await;
        let message = match next {
            Next::End => return Ok(Status::OK),
            Next::Order(order) => Some(message::order(client, order)),
            Next::Notice(number, subject) => watch::notice(zone, client, number, &subject),
        };
        if let Some(message) = message {
            let deadline = client.now() + zone.state.settings.grpc_blocked_timeout;
            Box::pin(send(zone, sink, message, deadline)).await?;
        }
    }
}
