//! How an answer of gRPC begins, goes on as the client takes it, and ends.

use std::borrow::Cow;
use std::future::poll_fn;

use h2::SendStream;
use h2::server::SendResponse;
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use nacolet_model::Instant;
use smol::future;

use crate::bounds::pool::Hold;
use crate::grpc::client::Client;
use crate::grpc::message::Long;
use crate::grpc::message::wire::FrameError;
use crate::grpc::zone::GrpcZone;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// How a call ends, in the words of gRPC.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Status {
    code: u16,
    message: Cow<'static, str>,
}

impl Status {
    pub(crate) const OK: Self = Self { code: 0, message: Cow::Borrowed("") };
    pub(crate) const TOO_SLOW: Self =
        Self { code: 4, message: Cow::Borrowed("message took too long") };
    pub(crate) const UNKNOWN_METHOD: Self =
        Self { code: 12, message: Cow::Borrowed("no such method") };
    pub(crate) const TORN: Self = Self { code: 13, message: Cow::Borrowed("message ended early") };
    pub(crate) const SECOND_STREAM: Self =
        Self { code: 9, message: Cow::Borrowed("the connection has its stream already") };
    pub(crate) const OVERLOADED: Self =
        Self { code: 8, message: Cow::Borrowed("too many bytes are waiting") };

    fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::with_capacity(2);
        trailers.insert(GRPC_STATUS, HeaderValue::from(self.code));
        if let Ok(message) = HeaderValue::from_str(&self.message)
            && !self.message.is_empty()
        {
            trailers.insert(GRPC_MESSAGE, message);
        }
        trailers
    }
}

impl From<FrameError> for Status {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::TooLarge { .. } | FrameError::TooManyHeaders => 8,
            FrameError::Compressed => 12,
            FrameError::Malformed => 13,
        };
        Self { code, message: error.to_string().into() }
    }
}

/// Why nothing more can be said on a call: the client reset it, takes nothing or has gone.
#[derive(Debug)]
pub(crate) struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Self {
        Self
    }
}

/// An answer without a message: status and head in one (gRPC "Trailers-Only").
pub(crate) fn only_status(respond: &mut SendResponse<Bytes>, status: &Status) -> Result<(), Gone> {
    let mut response = Response::new(());
    *response.headers_mut() = status.trailers();
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    respond.send_response(response, true)?;
    Ok(())
}

/// The head of an answer with messages.
pub(crate) fn begin(respond: &mut SendResponse<Bytes>) -> Result<SendStream<Bytes>, Gone> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    Ok(respond.send_response(response, false)?)
}

/// The end of an answer with messages.
pub(crate) fn finish(sink: &mut SendStream<Bytes>, status: &Status) -> Result<(), Gone> {
    sink.send_trailers(status.trailers())?;
    Ok(())
}

/// What became of an answer or a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    All,
    /// There was no room to wait for the client.
    Nothing,
}

/// Sends bytes as the client takes them, and counts them meanwhile.
pub(crate) async fn send_held(
    zone: &GrpcZone,
    client: &Client,
    sink: &mut SendStream<Bytes>,
    bytes: Bytes,
    deadline: Instant,
) -> Result<Sent, Gone> {
    let count = bytes.len();
    while_held(zone, client, count, deadline, send_all(sink, bytes)).await
}

/// As [`send_held`], for an answer that is made as the client takes it.
pub(crate) async fn send_long(
    zone: &GrpcZone,
    client: &Client,
    sink: &mut SendStream<Bytes>,
    answer: Long,
    deadline: Instant,
) -> Result<Sent, Gone> {
    let sending = async {
        for part in answer.parts {
            send_all(sink, part).await?;
            // A part is some work: everybody else has a turn between two of them.
            future::yield_now().await;
        }
        Ok(())
    };
    while_held(zone, client, answer.pinned, deadline, sending).await
}

/// Sends while so many bytes are counted. A client that has not taken all at the deadline gets no
/// more, and neither does one that is too slow while bytes are short.
async fn while_held(
    zone: &GrpcZone,
    client: &Client,
    bytes: usize,
    deadline: Instant,
    sending: impl Future<Output = Result<(), Gone>>,
) -> Result<Sent, Gone> {
    let mut held = zone.state.pool.hold(&client.place, Hold::Reply);
    if held.grow(bytes).is_err() {
        return Ok(Sent::Nothing);
    }
    let cut = async {
        held.cut().await;
        Err(Gone)
    };
    let outcome = zone.state.ticker.within(deadline, future::or(sending, cut)).await;
    outcome.unwrap_or(Err(Gone)).map(|()| Sent::All)
}

async fn send_all(sink: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), Gone> {
    while !bytes.is_empty() {
        sink.reserve_capacity(bytes.len());
        let room = match sink.capacity() {
            0 => poll_fn(|cx| sink.poll_capacity(cx)).await.ok_or(Gone)??,
            room => room,
        };
        if room > 0 {
            sink.send_data(bytes.split_to(room.min(bytes.len())), false)?;
        }
    }
    Ok(())
}
