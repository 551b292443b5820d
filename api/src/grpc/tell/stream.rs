//! The stream of a connection: the client sets the connection up and acknowledges, the server
//! tells. What the server tells is rendered when the client has room for it, never before.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use hyper::body::Bytes;
use nacolet_model::limits;
use smol::future;

use crate::grpc::client::flood::Paid;
use crate::grpc::client::{Client, ConnectionOrder, Setup, Subject};
use crate::grpc::message::wire::{Frames, Payload};
use crate::grpc::message::{self, Reply};
use crate::grpc::message::{Acknowledgement, ConnectionSetup};
use crate::grpc::socket::reply::{
    Gone, Sent, Status, begin, finish, only_status, send_held, send_long,
};
use crate::grpc::tell::news;
use crate::grpc::zone::GrpcZone;
use crate::http::json::object;

/// Serves the stream until either side ends it; the connection ends with it.
pub(crate) async fn serve(
    zone: &Rc<GrpcZone>,
    client: &Rc<Client>,
    body: RecvStream,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), Gone> {
    if !client.take_stream() {
        return only_status(respond, &Status::SECOND_STREAM);
    }
    let ended = converse(zone, client, body, respond).await;
    // Whichever way it ended: whoever hears nothing any more must not seem to live.
    if !client.is_draining() {
        client.end();
    }
    ended
}

/// Serves the stream until either side ends it, or resets it.
async fn converse(
    zone: &Rc<GrpcZone>,
    client: &Rc<Client>,
    body: RecvStream,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), Gone> {
    // At once: clients wait for the head before they send their first message.
    let mut sink = begin(respond)?;
    let reading = async { Ok(read(zone, client, body).await) };
    let status = future::or(reading, write(zone, client, &mut sink)).await?;
    finish(&mut sink, &status)
}

/// Takes what the client sends until it ends the stream.
async fn read(zone: &GrpcZone, client: &Client, mut body: RecvStream) -> Status {
    let state = &zone.state;
    let mut frames = Frames::new(limits::GRPC_STREAM_MESSAGE_BYTES_MAX);
    loop {
        let mut held = state.hold_body(&client.place);
        let mut taken = client.takes();
        let mut deadline = None;
        while deadline.is_none() || !frames.is_empty() {
            let data = poll_fn(|cx| body.poll_data(cx));
            let data = match deadline {
                // Nothing has come of the next message.
                None => data.await,
                Some(deadline) => match state.ticker.within(deadline, data).await {
                    Some(data) => data,
                    None => return Status::TOO_SLOW,
                },
            };
            let Some(Ok(bytes)) = data else { return Status::OK };
            if deadline.is_none() {
                deadline = Some(client.now() + state.settings.body_timeout);
            }
            if !taken.grow(bytes.len()) || held.grow(bytes.len()).is_err() {
                return Status::OVERLOADED;
            }
            frames.push(&bytes);
            if body.flow_control().release_capacity(bytes.len()).is_err() {
                return Status::OK;
            }
            loop {
                match frames.next() {
                    Ok(Some(payload)) => take(zone, client, &payload),
                    Ok(None) => break,
                    Err(error) => return error.into(),
                }
            }
        }
    }
}

fn take(zone: &GrpcZone, client: &Client, payload: &Payload) {
    if payload.kind() == "ConnectionSetupRequest" {
        client.touch();
        // A set-up that cannot be read is one that says nothing (Nacos reads no field it needs).
        let setup: ConnectionSetup = object(payload.json()).unwrap_or_default();
        let label = |name| setup.label(name).map(Box::from);
        let is_negotiating = setup.is_negotiating();
        let known = Setup {
            tag: label("Vipserver-Tag"),
            labels: setup.app_labels(),
            app: label("AppName").unwrap_or_default(),
            is_naming: setup.label("module").is_none_or(|module| module == "naming"),
            version: setup.version().map(Box::from).unwrap_or_default(),
        };
        if client.set_up(known) {
            zone.counts.newcomers.give_back(1);
            if is_negotiating {
                client.order(ConnectionOrder::SetupAck);
            }
        }
        return;
    }
    // Clients name their answers as they like; the number says what is answered.
    match object::<Acknowledgement>(payload.json()) {
        Ok(answer) => client.answered(answer.number(), answer.is_ok()),
        Err(_) => client.touch(),
    }
}

/// Tells the client what it is owed, as fast as it takes it.
async fn write(
    zone: &GrpcZone,
    client: &Rc<Client>,
    sink: &mut SendStream<Bytes>,
) -> Result<Status, Gone> {
    enum Next {
        ConnectionOrder(ConnectionOrder),
        Notice(u64, Subject),
        End,
    }
    loop {
        let next = poll_fn(|cx| {
            client.park_writer(cx.waker());
            if let Some(order) = client.take_order() {
                return Poll::Ready(Next::ConnectionOrder(order));
            }
            if client.is_draining() {
                return Poll::Ready(Next::End);
            }
            // While there is no room, lists wait here, where they are not rendered yet.
            if client.owes_list() && !zone.state.pool.poll_room(&client.place, cx) {
                return Poll::Pending;
            }
            match client.next_notice() {
                Some((number, subject)) => Poll::Ready(Next::Notice(number, subject)),
                None => {
                    if let Some(at) = client.opens_later() {
                        zone.paced.wait(at, client.id);
                    }
                    Poll::Pending
                }
            }
        })
        .await;
        let message = match next {
            Next::End => return Ok(Status::OK),
            Next::ConnectionOrder(order) => {
                Some((None, Reply::from(message::order(client, order))))
            }
            Next::Notice(number, subject) => {
                let notice = news::notice(zone, client, number, &subject);
                notice.map(|notice| (Some(number), notice))
            }
        };
        if let Some((number, message)) = message {
            let deadline = client.now() + zone.state.settings.grpc_blocked_timeout;
            let (bytes, sending): (usize, Pin<Box<dyn Future<Output = _>>>) = match message {
                Reply::Whole(message) => {
                    (message.len(), Box::pin(send_held(zone, client, sink, message, deadline)))
                }
                Reply::Long(message) => {
                    (message.bytes, Box::pin(send_long(zone, client, sink, message, deadline)))
                }
            };
            match sending.await? {
                Sent::All => client.pays(Paid::sent(bytes)),
                Sent::Nothing => number.into_iter().for_each(|number| client.put_off(number)),
            }
        }
    }
}
