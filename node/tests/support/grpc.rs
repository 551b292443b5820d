//! One connection of a Nacos 2.x client, written by hand: HTTP/2 with headers that need no decoding, and
//! the two messages that registering takes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nacolet_model::limits;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
/// Bytes of one frame.
const FRAME_BYTES: usize = 16 << 10;

/// An open connection; what it registered goes with it.
pub(crate) struct Grpc {
    stream: TcpStream,
    last_id: u32,
    /// Bytes that the member takes now: in all, and of the last call.
    windows: [usize; 2],
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

impl Grpc {
    /// Connects and sets up.
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the member accepts connections");
        stream.set_nodelay(true).expect("the socket is open");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("the socket is open");
        let mut grpc = Self { stream, last_id: 1, windows: [65_535, 0] };
        grpc.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("it is taken");
        grpc.frame(SETTINGS, 0, 0, &[]);
        grpc.head(1, "/BiRequestStream/requestBiStream");
        grpc.frame(DATA, 0, 1, &message("ConnectionSetupRequest", r#"{"labels":{}}"#));
        // The two streams may overtake each other.
        while !grpc.ask("HealthCheckRequest", "{}").contains("HealthCheckResponse") {}
        grpc
    }

    /// Registers an instance that lives as long as this connection.
    pub(crate) fn register(&mut self, service: &str, ip: &str) {
        let request = format!(
            r#"{{"namespace":"","groupName":"DEFAULT_GROUP","serviceName":"{service}",
                "type":"registerInstance","instance":{{"ip":"{ip}","port":80}}}}"#
        );
        let answer = self.ask("InstanceRequest", &request);
        assert!(answer.contains("\"resultCode\":200"), "{answer}");
    }

    /// Asks to be told of changes.
    pub(crate) fn subscribe(&mut self, service: &str) {
        let request = format!(
            r#"{{"namespace":"","groupName":"DEFAULT_GROUP","serviceName":"{service}",
                "subscribe":true,"clusters":""}}"#
        );
        let answer = self.ask("SubscribeServiceRequest", &request);
        assert!(answer.contains("\"resultCode\":200"), "{answer}");
    }

    /// Waits until it is told something with this text in it.
    pub(crate) fn until_told(&mut self, text: &str) {
        loop {
            let (kind, flags, of, payload) = self.read();
            if kind == PING && flags & ACK == 0 {
                self.frame(PING, ACK, 0, &payload);
            }
            if (kind, of) == (DATA, 1) && String::from_utf8_lossy(&payload).contains(text) {
                return;
            }
        }
    }

    /// One unary call, and what came back as text.
    pub(crate) fn ask(&mut self, kind: &str, json: &str) -> String {
        self.last_id += 2;
        let id = self.last_id;
        self.head(id, "/Request/request");
        self.windows[1] = usize::try_from(limits::GRPC_WINDOW_BYTES).expect("it is small");
        let message = message(kind, json);
        let mut chunks = message.chunks(FRAME_BYTES).peekable();
        while let Some(chunk) = chunks.next() {
            while self.windows.iter().any(|window| *window < chunk.len()) {
                self.read();
            }
            self.windows = self.windows.map(|window| window - chunk.len());
            let flags = if chunks.peek().is_none() { END_STREAM } else { 0 };
            self.frame(DATA, flags, id, chunk);
        }
        let mut body = Vec::new();
        loop {
            let (kind, flags, of, payload) = self.read();
            match kind {
                SETTINGS if flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]),
                PING if flags & ACK == 0 => self.frame(PING, ACK, 0, &payload),
                DATA if of == id => body.extend_from_slice(&payload),
                _ => {}
            }
            if of == id && flags & END_STREAM != 0 && (kind == DATA || kind == HEADERS) {
                return String::from_utf8_lossy(&body).into_owned();
            }
        }
    }

    fn head(&mut self, id: u32, path: &str) {
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
    }

    fn frame(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("it is small").to_be_bytes();
        let head = [&length[1..], &[kind, flags], &id.to_be_bytes()].concat();
        self.stream.write_all(&[&head, payload].concat()).expect("it is taken");
    }

    fn read(&mut self) -> (u8, u8, u32, Vec<u8>) {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).expect("the connection stays open");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("it is small")];
        self.stream.read_exact(&mut payload).expect("the connection stays open");
        let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if let (WINDOW_UPDATE, Ok(bytes)) = (head[3], <[u8; 4]>::try_from(&*payload)) {
            let bytes = usize::try_from(u32::from_be_bytes(bytes)).expect("it is small");
            if of == 0 {
                self.windows[0] += bytes;
            } else if of == self.last_id {
                self.windows[1] += bytes;
            }
        }
        (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload)
    }
}
