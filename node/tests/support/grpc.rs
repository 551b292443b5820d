//! One connection of a Nacos 2.x client, written by hand: HTTP/2 with headers that need no
//! decoding, and what of protobuf two messages take.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nacolet_model::limits;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
/// Bytes of one frame.
const FRAME_BYTES: usize = 16 << 10;
/// How long a frame is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time, for deadlines of sockets.
#[expect(clippy::disallowed_methods, reason = "tests over sockets run in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A message: the name of its type, and its JSON.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) kind: String,
    pub(crate) json: String,
}

/// A frame: its kind, its flags, its stream and what it holds.
type Frame = (u8, u8, u32, Vec<u8>);

/// An open connection; what it registered goes with it.
pub(crate) struct Grpc {
    stream: TcpStream,
    next_id: u32,
    /// The call of the set-up, in which the node tells.
    set_up: u32,
    /// Bytes that the member takes now: in all, and of the last call.
    windows: [usize; 2],
    /// Bytes that came and are no whole frame yet.
    incoming: Vec<u8>,
    /// Bytes of the stream that are no whole message yet.
    telling: Vec<u8>,
    told: VecDeque<Message>,
}

fn field(number: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    let mut length = value.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).expect("seven bits"));
    out.extend_from_slice(value);
}

/// One message with its gRPC prefix.
fn message(kind: &str, json: &str) -> Vec<u8> {
    let (mut metadata, mut body, mut payload) = (Vec::new(), Vec::new(), Vec::new());
    field(3, kind.as_bytes(), &mut metadata);
    field(2, json.as_bytes(), &mut body);
    field(2, &metadata, &mut payload);
    field(3, &body, &mut payload);
    let length = u32::try_from(payload.len()).expect("it is small");
    [&[0], length.to_be_bytes().as_slice(), &payload].concat()
}

/// The fields of a message of protobuf that hold bytes; it has no others.
fn fields(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut fields = Vec::new();
    while let [tag, rest @ ..] = bytes {
        assert_eq!(tag & 7, 2, "the server sends no other kind of field");
        let (mut length, mut read) = (0, 0);
        for byte in rest {
            length |= usize::from(byte & 0x7f) << (7 * read);
            read += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (value, after) = rest[read..].split_at(length);
        fields.push((tag >> 3, value));
        bytes = after;
    }
    fields
}

/// The first message of these bytes, if it is whole, and how long it is with its prefix.
fn first(bytes: &[u8]) -> Option<(Message, usize)> {
    let prefix = bytes.first_chunk::<5>()?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    let end = 5 + usize::try_from(length).expect("it is small");
    let payload = fields(bytes.get(5..end)?);
    let inner = |outer: u8, number: u8| {
        let outer = payload.iter().find(|(field, _)| *field == outer);
        let inner = outer
            .and_then(|(_, bytes)| fields(bytes).into_iter().find(|(field, _)| *field == number));
        inner.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    };
    Some((Message { kind: inner(2, 3), json: inner(3, 2) }, end))
}

impl Grpc {
    /// Connects and sets up.
    pub(crate) fn connect(address: &str) -> Self {
        let mut grpc = Self::open(address, &[]);
        grpc.set_up(r#"{"labels":{}}"#);
        // The two streams may overtake each other.
        while grpc.ask("HealthCheckRequest", "{}").kind != "HealthCheckResponse" {}
        grpc
    }

    /// Connects as one who takes every answer at once, and sets nothing up.
    pub(crate) fn open_wide(address: &str) -> Self {
        let window = (1_u32 << 30).to_be_bytes();
        // The size that streams begin with.
        let mut grpc = Self::open(address, &[&[0, 4], window.as_slice()].concat());
        grpc.frame(WINDOW_UPDATE, 0, 0, &window);
        grpc
    }

    fn open(address: &str, settings: &[u8]) -> Self {
        let stream = TcpStream::connect(address).expect("the member accepts connections");
        stream.set_nodelay(true).expect("the socket is open");
        let mut grpc = Self {
            stream,
            next_id: 1,
            set_up: 0,
            windows: [65_535, 0],
            incoming: Vec::new(),
            telling: Vec::new(),
            told: VecDeque::new(),
        };
        grpc.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("it is taken");
        grpc.frame(SETTINGS, 0, 0, settings);
        grpc
    }

    /// Opens the stream with these words.
    pub(crate) fn set_up(&mut self, json: &str) {
        self.set_up = self.head("/BiRequestStream/requestBiStream");
        self.say("ConnectionSetupRequest", json);
    }

    /// Says this on the stream.
    pub(crate) fn say(&mut self, kind: &str, json: &str) {
        self.frame(DATA, 0, self.set_up, &message(kind, json));
    }

    /// What the node tells next, unless it says nothing until then.
    pub(crate) fn told_by(&mut self, deadline: Instant) -> Option<Message> {
        while self.told.is_empty() {
            let frame = self.read_by(deadline)?;
            self.handle(&frame);
        }
        self.told.pop_front()
    }

    /// Registers an instance that lives as long as this connection.
    pub(crate) fn register(&mut self, service: &str, ip: &str) {
        let request = format!(
            r#"{{"namespace":"","groupName":"DEFAULT_GROUP","serviceName":"{service}",
                "type":"registerInstance","instance":{{"ip":"{ip}","port":80}}}}"#
        );
        let answer = self.ask("InstanceRequest", &request);
        assert!(answer.json.contains("\"resultCode\":200"), "{answer:?}");
    }

    /// Asks to be told of changes.
    pub(crate) fn subscribe(&mut self, service: &str) {
        let request = format!(
            r#"{{"namespace":"","groupName":"DEFAULT_GROUP","serviceName":"{service}",
                "subscribe":true,"clusters":""}}"#
        );
        let answer = self.ask("SubscribeServiceRequest", &request);
        assert!(answer.json.contains("\"resultCode\":200"), "{answer:?}");
    }

    /// Waits until it is told something with this text in it.
    pub(crate) fn until_told(&mut self, text: &str) {
        let told = |grpc: &mut Self| grpc.told_by(now() + PATIENCE).expect("it is told");
        while !told(self).json.contains(text) {}
    }

    /// One unary call whose answer is not taken.
    pub(crate) fn ask_and_leave(&mut self, kind: &str, json: &str) {
        let id = self.head("/Request/request");
        self.frame(DATA, END_STREAM, id, &message(kind, json));
    }

    /// One unary call, and what came back; an empty kind where there was no message.
    pub(crate) fn ask(&mut self, kind: &str, json: &str) -> Message {
        let id = self.head("/Request/request");
        self.windows[1] = usize::try_from(limits::GRPC_WINDOW_BYTES).expect("it is small");
        let message = message(kind, json);
        let mut chunks = message.chunks(FRAME_BYTES).peekable();
        while let Some(chunk) = chunks.next() {
            while self.windows.iter().any(|window| *window < chunk.len()) {
                let frame = self.read();
                if frame.0 == RST_STREAM || (frame.2 == id && frame.1 & END_STREAM != 0) {
                    // It is refused before it is whole.
                    return Message::default();
                }
                self.handle(&frame);
            }
            self.windows = self.windows.map(|window| window - chunk.len());
            let flags = if chunks.peek().is_none() { END_STREAM } else { 0 };
            self.frame(DATA, flags, id, chunk);
        }
        let mut body = Vec::new();
        loop {
            let frame = self.read();
            self.handle(&frame);
            let (kind, flags, of, payload) = frame;
            if of != id {
                continue;
            }
            match kind {
                DATA => body.extend_from_slice(&payload),
                HEADERS => {}
                RST_STREAM => return Message::default(),
                _ => continue,
            }
            if flags & END_STREAM != 0 {
                return first(&body).map(|(message, _)| message).unwrap_or_default();
            }
        }
    }

    /// What any frame asks for, whoever waits.
    fn handle(&mut self, (kind, flags, of, payload): &Frame) {
        match *kind {
            SETTINGS if flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => self.frame(PING, ACK, 0, payload),
            DATA if *of == self.set_up => {
                self.telling.extend_from_slice(payload);
                while let Some((message, end)) = first(&self.telling) {
                    self.telling.drain(..end);
                    self.told.push_back(message);
                }
            }
            _ => {}
        }
    }

    /// Begins a call.
    fn head(&mut self, path: &str) -> u32 {
        let id = self.next_id;
        self.next_id += 2;
        let headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "test"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let mut block = Vec::new();
        for (name, value) in headers {
            // A literal that is not indexed: two texts, each behind its length.
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).expect("it is short"));
                block.extend_from_slice(text.as_bytes());
            }
        }
        self.frame(HEADERS, END_HEADERS, id, &block);
        id
    }

    fn frame(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("it is small").to_be_bytes();
        let head = [&length[1..], &[kind, flags], &id.to_be_bytes()].concat();
        self.stream.write_all(&[&head, payload].concat()).expect("it is taken");
    }

    fn read(&mut self) -> Frame {
        self.read_by(now() + PATIENCE).expect("the member answers")
    }

    /// The next frame, unless none is whole until then.
    fn read_by(&mut self, deadline: Instant) -> Option<Frame> {
        loop {
            if let Some(frame) = self.whole_frame() {
                return Some(frame);
            }
            let left = deadline.checked_duration_since(now())?;
            let left = left.max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("the socket is open");
            let mut chunk = [0; FRAME_BYTES];
            match self.stream.read(&mut chunk) {
                Ok(0) => panic!("the connection stays open"),
                Ok(read) => self.incoming.extend_from_slice(&chunk[..read]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("the connection stays open: {error}"),
            }
        }
    }

    fn whole_frame(&mut self) -> Option<Frame> {
        let head = self.incoming.first_chunk::<9>()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let (kind, flags) = (head[3], head[4]);
        let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let end = 9 + usize::try_from(length).expect("it is small");
        let payload = self.incoming.get(9..end)?.to_vec();
        self.incoming.drain(..end);
        if let (WINDOW_UPDATE, Ok(bytes)) = (kind, <[u8; 4]>::try_from(&*payload)) {
            let bytes = usize::try_from(u32::from_be_bytes(bytes)).expect("it is small");
            if of == 0 {
                self.windows[0] += bytes;
            } else if of + 2 == self.next_id {
                self.windows[1] += bytes;
            }
        }
        Some((kind, flags, of, payload))
    }
}
