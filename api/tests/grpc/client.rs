//! A gRPC client of its own, so that the server is not tested against its own encoding: messages
//! are written and read by hand, h2 carries them.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::HeaderName;
use serde_json::{Value, json};
use smol::io::{AsyncRead as _, AsyncWrite as _};
use smol::{Async, Task, Timer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The method of all calls of clients.
pub(crate) const UNARY: &str = "/Request/request";

/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(10);

struct Io(Async<TcpStream>);

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = ready!(Pin::new(&mut self.0).poll_read(cx, buffer.initialize_unfilled()))?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// Runs a test that has a client in it.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    smol::block_on(async {
        let too_slow = async {
            Timer::after(2 * PATIENCE).await;
            panic!("the test hangs")
        };
        smol::future::or(test, too_slow).await
    })
}

fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f | 0x80).expect("a byte"));
        number >>= 7;
    }
    out.push(u8::try_from(number).expect("a byte"));
}

fn field(number: usize, value: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(value.len(), out);
    out.extend_from_slice(value);
}

/// One message as a client sends it.
pub(crate) fn encode(kind: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let (mut metadata, mut any, mut message) = (Vec::new(), Vec::new(), Vec::new());
    field(3, kind.as_bytes(), &mut metadata);
    for (name, value) in headers {
        let mut entry = Vec::new();
        field(1, name.as_bytes(), &mut entry);
        field(2, value.as_bytes(), &mut entry);
        field(7, &entry, &mut metadata);
    }
    field(2, body, &mut any);
    field(2, &metadata, &mut message);
    field(3, &any, &mut message);
    let length = u32::try_from(message.len()).expect("small").to_be_bytes();
    [&[0], &length[..], &message].concat()
}

/// The length-delimited fields of a message; the server sends no others.
fn fields(mut bytes: &[u8]) -> BTreeMap<u64, Vec<u8>> {
    let number = |bytes: &mut &[u8]| {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let (byte, rest) = bytes.split_first().expect("a whole number");
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    };
    let mut found = BTreeMap::new();
    while !bytes.is_empty() {
        let tag = number(&mut bytes);
        assert_eq!(tag & 7, 2, "a length-delimited field");
        let length = usize::try_from(number(&mut bytes)).expect("small");
        let (value, rest) = bytes.split_at(length);
        found.insert(tag >> 3, value.to_vec());
        bytes = rest;
    }
    found
}

/// A message: its class name and its JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) kind: String,
    pub(crate) body: Value,
}

fn decode(message: &[u8]) -> Message {
    let payload = fields(message);
    let kind = fields(&payload[&2]).remove(&3).expect("a class name");
    let json = fields(&payload[&3]).remove(&2).expect("a body");
    Message {
        kind: String::from_utf8(kind).expect("text"),
        body: serde_json::from_slice(&json).expect("JSON"),
    }
}

/// How a call ended: the message, if one came, and the gRPC status.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) message: Option<Message>,
    pub(crate) status: String,
}

/// Cuts messages out of a response.
struct Inbound {
    stream: RecvStream,
    bytes: Vec<u8>,
}

impl Inbound {
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((prefix, rest)) = self.bytes.split_first_chunk::<5>() {
                let [_, length @ ..] = *prefix;
                let length = usize::try_from(u32::from_be_bytes(length)).expect("small");
                if rest.len() >= length {
                    let message = decode(&rest[..length]);
                    self.bytes.drain(..5 + length);
                    return Some(message);
                }
            }
            let bytes = self.stream.data().await?.ok()?;
            self.bytes.extend_from_slice(&bytes);
            self.stream.flow_control().release_capacity(bytes.len()).expect("was received");
        }
    }
}

/// One connection.
pub(crate) struct Client {
    sender: SendRequest<Bytes>,
    driver: Task<()>,
    up: Option<SendStream<Bytes>>,
    down: Option<Inbound>,
    /// The driver's.
    socket: TcpStream,
}

impl Client {
    /// Connects without anything else.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_taking(address, 1 << 20).await
    }

    /// Connects and takes no more bytes of one answer than this before it reads them.
    pub(crate) async fn connect_taking(address: SocketAddr, window: u32) -> Self {
        let stream = Async::<TcpStream>::connect(address).await.expect("connects");
        stream.get_ref().set_nodelay(true).expect("takes it");
        let socket = stream.get_ref().try_clone().expect("a descriptor");
        let handshake = h2::client::Builder::new()
            .initial_window_size(window)
            .initial_connection_window_size(4 << 20)
            .handshake(Io(stream));
        let (sender, connection) = handshake.await.expect("speaks HTTP/2");
        let driver = smol::spawn(async move {
            // The test sees what became of its calls.
            let _ = connection.await;
        });
        Self { sender, driver, up: None, down: None, socket }
    }

    /// Connects and sets the connection up as most SDKs do.
    pub(crate) async fn set_up(address: SocketAddr) -> Self {
        let mut client = Self::connect(address).await;
        client.open_stream().await;
        client.say("ConnectionSetupRequest", json!({"labels": {"AppName": "test"}}));
        client.until_registered().await;
        client
    }

    pub(crate) async fn until_registered(&mut self) {
        while self.ask("HealthCheckRequest", json!({})).await.kind != "HealthCheckResponse" {
            Timer::after(Duration::from_millis(2)).await;
        }
    }

    fn request(path: &str) -> Request<()> {
        let uri = format!("http://localhost{path}");
        let request = Request::post(uri).header("content-type", "application/grpc");
        request.header("te", "trailers").body(()).expect("a good request")
    }

    /// A unary call with these very bytes.
    pub(crate) async fn call_raw(&mut self, path: &str, bytes: Vec<u8>) -> HttpAnswer {
        let (response, mut up) = self.begin(Self::request(path)).await;
        // A server that has seen enough does not take the rest.
        let _ = up.send_data(bytes.into(), true);
        Self::answer(response).await
    }

    /// As [`Self::call_raw`], with the end of the request in an empty frame of its own, as some
    /// libraries send it: at once, or when the answer is there.
    pub(crate) async fn call_with_late_end(&mut self, bytes: Vec<u8>, is_late: bool) -> HttpAnswer {
        let (response, mut up) = self.begin(Self::request(UNARY)).await;
        up.send_data(bytes.into(), false).expect("the connection lives");
        if is_late {
            let answer = Self::answer(response).await;
            up.send_data(Bytes::new(), true).expect("the call waits for its end");
            return answer;
        }
        up.send_data(Bytes::new(), true).expect("the connection lives");
        Self::answer(response).await
    }

    /// The HTTP status of a call with one more header.
    pub(crate) async fn status_with(&mut self, name: &str, value: &str) -> u16 {
        let mut request = Self::request(UNARY);
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        request.headers_mut().insert(name, value.parse().expect("a value"));
        let (response, mut up) = self.begin(request).await;
        let _ = up.send_data(Bytes::new(), true);
        response.await.expect("an answer").status().as_u16()
    }

    /// Asks without taking the answer: its head and whatever holds the rest of it.
    pub(crate) async fn ask_and_wait(&mut self, kind: &str, body: Value) -> impl Sized + use<> {
        let (response, mut up) = self.begin(Self::request(UNARY)).await;
        let bytes = encode(kind, &[], body.to_string().as_bytes());
        up.send_data(bytes.into(), true).expect("the connection lives");
        response.await.expect("an answer")
    }

    async fn begin(&mut self, request: Request<()>) -> (ResponseFuture, SendStream<Bytes>) {
        let mut sender = self.sender.clone().ready().await.expect("the connection lives");
        sender.send_request(request, false).expect("takes a request")
    }

    async fn answer(response: ResponseFuture) -> HttpAnswer {
        let response = response.await.expect("an answer");
        let (head, body) = response.into_parts();
        let mut down = Inbound { stream: body, bytes: Vec::new() };
        let message = down.next().await;
        let trailers = down.stream.trailers().await.ok().flatten();
        let status = trailers.as_ref().unwrap_or(&head.headers).get("grpc-status");
        let status = status.map_or("none", |status| status.to_str().expect("text")).to_owned();
        HttpAnswer { message, status }
    }

    /// A unary request whose answer must be a message.
    pub(crate) async fn ask(&mut self, kind: &str, body: Value) -> Message {
        self.ask_with(kind, &[], body).await
    }

    pub(crate) async fn ask_with(
        &mut self,
        kind: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Message {
        let bytes = encode(kind, headers, body.to_string().as_bytes());
        let answer = self.call_raw(UNARY, bytes).await;
        assert_eq!(answer.status, "0", "{answer:?}");
        answer.message.expect("a message")
    }

    /// A unary request that must succeed with an answer of this type.
    pub(crate) async fn done(&mut self, kind: &str, body: Value, expected: &str) -> Value {
        let answer = self.ask(kind, body).await;
        assert_eq!(answer.kind, expected, "{answer:?}");
        assert_eq!(answer.body["resultCode"], 200, "{answer:?}");
        answer.body
    }

    /// Opens the stream; returns when the head of the answer is here.
    pub(crate) async fn open_stream(&mut self) {
        let mut sender = self.sender.clone().ready().await.expect("the connection lives");
        let request = Self::request("/BiRequestStream/requestBiStream");
        let (response, up) = sender.send_request(request, false).expect("takes a request");
        let response = response.await.expect("an answer");
        self.up = Some(up);
        self.down = Some(Inbound { stream: response.into_body(), bytes: Vec::new() });
    }

    /// Sends a message on the stream.
    pub(crate) fn say(&mut self, kind: &str, body: Value) {
        let bytes = encode(kind, &[], body.to_string().as_bytes());
        let up = self.up.as_mut().expect("the stream is open");
        up.send_data(bytes.into(), false).expect("the stream lives");
    }

    /// Opens the stream and resets it without waiting for anything.
    pub(crate) async fn open_stream_and_reset(&mut self) {
        let request = Self::request("/BiRequestStream/requestBiStream");
        let (_response, mut up) = self.begin(request).await;
        up.send_reset(Reason::CANCEL);
    }

    /// Resets the stream; the connection goes on.
    pub(crate) fn reset_stream(&mut self) {
        let up = self.up.as_mut().expect("the stream is open");
        up.send_reset(Reason::CANCEL);
    }

    /// Sends these very bytes on the stream.
    pub(crate) fn say_raw(&mut self, bytes: &[u8]) {
        let up = self.up.as_mut().expect("the stream is open");
        up.send_data(Bytes::copy_from_slice(bytes), false).expect("the stream lives");
    }

    /// Ends the client's half of the stream.
    pub(crate) fn end_stream(&mut self) {
        let up = self.up.as_mut().expect("the stream is open");
        up.send_data(Bytes::new(), true).expect("the stream lives");
    }

    /// The next message on the stream; nothing when it ended.
    pub(crate) async fn heard(&mut self) -> Option<Message> {
        let down = self.down.as_mut().expect("the stream is open");
        let late = async {
            Timer::after(PATIENCE).await;
            panic!("nothing was heard")
        };
        smol::future::or(down.next(), late).await
    }

    /// The next message, which must be of this type; it is acknowledged.
    pub(crate) async fn hears(&mut self, kind: &str) -> Value {
        let message = self.heard().await.expect("the stream lives");
        assert_eq!(message.kind, kind, "{message:?}");
        self.acknowledge(&message.body, 200);
        message.body
    }

    /// Answers a request of the server.
    pub(crate) fn acknowledge(&mut self, request: &Value, code: u16) {
        // Go's shape, the strangest of all.
        let body = json!({
            "resultCode": code, "success": false, "requestId": request["requestId"],
        });
        self.say("NotifySubscriberResponse", body);
    }

    /// Whether nothing is heard for a while.
    pub(crate) async fn hears_nothing(&mut self, time: Duration) -> bool {
        self.heard_within(time).await.is_none()
    }

    /// The next message, if it comes soon.
    pub(crate) async fn heard_within(&mut self, time: Duration) -> Option<Message> {
        let down = self.down.as_mut().expect("the stream is open");
        let quiet = async {
            Timer::after(time).await;
            None
        };
        let heard = async { Some(down.next().await.expect("the stream lives")) };
        smol::future::or(heard, quiet).await
    }

    /// Leaves without a word.
    pub(crate) async fn vanish(self) {
        self.driver.cancel().await;
    }

    /// Ends what it sends right behind a ping, and does not wait for the answer.
    pub(crate) fn hang_up(&mut self) {
        let mut ping = vec![0, 0, 8, 6, 0, 0, 0, 0, 0];
        ping.extend([1; 8]);
        self.socket.write_all(&ping).expect("the connection lives");
        self.socket.shutdown(Shutdown::Write).expect("the connection lives");
    }

    /// Whether the server has closed the connection, or does so soon.
    pub(crate) async fn is_closed_soon(&mut self) -> bool {
        let closed = async {
            while poll_fn(|cx| self.sender.poll_ready(cx)).await.is_ok()
                && !self.driver.is_finished()
            {
                Timer::after(Duration::from_millis(5)).await;
            }
            true
        };
        let late = async {
            Timer::after(PATIENCE).await;
            false
        };
        smol::future::or(closed, late).await
    }
}

/// Sends bytes on a plain socket and says whether the server closed it.
pub(crate) fn closes_on(address: SocketAddr, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("takes it");
    // The server may close before it has read all of it.
    let _ = stream.write_all(bytes);
    let mut answer = [0; 4_096];
    loop {
        match io::Read::read(&mut stream, &mut answer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}
