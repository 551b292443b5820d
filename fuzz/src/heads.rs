//! A connection of HTTP as a socket gives it, in one piece and torn: what is taken has one Host,
//! the length that it says and no more than the limits, means the same when it is written again,
//! and is answered once; what is not taken ends the connection. Behind the head are the parameters.

use std::sync::{Arc, RwLock};

use nacolet_api::fuzzing::connection::{Heard, Listener, Taken};
use nacolet_api::fuzzing::parameters;
use nacolet_api::loopback;
use nacolet_api::{Facts, NodeStatus, Port, Server, Settings, Stage};
use nacolet_config::Store;
use nacolet_model::{Instant, NodeId, WallTime};
use nacolet_registry::{Life, Registry, RegistrySettings};

use crate::cost::Bound;
use crate::source::Source;

/// What a head and its parameters cost, beside the buffers of a connection.
const CONNECTION: Bound = Bound { per_byte: 256, fixed: 256 << 10 };
/// Small enough to be met, large enough for what SDKs say.
const HEAD_BYTES_MAX: usize = 1_024;
const HEADERS_MAX: usize = 20;
/// What a request that is taken is answered.
const TAKEN: u16 = 404;

thread_local! {
    /// Without users and with them: strangers are given less.
    static LISTENERS: [Listener; 2] = [false, true].map(listener);
}

/// A node that nobody has told anything.
fn listener(auth: bool) -> Listener {
    let settings = Settings {
        head_bytes_max: HEAD_BYTES_MAX,
        headers_max: HEADERS_MAX,
        ..Settings::default()
    };
    let facts = Facts {
        version: "0.0.0",
        node: NodeId(1),
        life: Life(1),
        host: "127.0.0.1".into(),
        http: loopback(),
        grpc: None,
        peer: None,
        started: WallTime(0),
    };
    let port = Port {
        configs: Arc::new(RwLock::new(Store::new())),
        registry: Arc::new(RwLock::new(Registry::new(RegistrySettings::default()))),
        users: Arc::default(),
        auth,
        requests: async_channel::bounded(1).0,
        clock: || (Instant::from_millis(1), WallTime(1)),
        facts: Arc::new(facts),
        stage: Arc::new(Stage::default()),
        moves: Arc::default(),
        status: Arc::new(NodeStatus::default),
    };
    Server::new(Arc::new(port), settings).listener()
}

fn hear(auth: bool, pieces: &[&[u8]]) -> Heard {
    let heard = LISTENERS.with(|listeners| listeners[usize::from(auth)].hear(pieces));
    let Some(heard) = heard else { panic!("there is a place for one connection") };
    assert!(heard.is_over, "a client that is gone leaves no connection behind");
    assert_eq!(heard.held_bytes, 0, "nor bytes that are counted");
    heard
}

/// The first byte says whether there are users, and how often the rest is torn; then come the
/// places.
pub(crate) fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let ways = source.byte();
    let auth = ways & 1 == 1;
    let tears: Vec<u64> = (0..ways >> 1 & 3).map(|_| source.number()).collect();
    let bytes = source.all();
    if bytes.is_empty() {
        return;
    }
    // A node costs more than a connection.
    LISTENERS.with(|_| {});
    let whole = CONNECTION.hold(bytes.len(), || hear(auth, &[bytes]));
    check(bytes, &whole);
    for taken in &whole.taken {
        again(auth, taken);
    }
    if !tears.is_empty() {
        let torn = CONNECTION.hold(bytes.len(), || hear(auth, &torn(bytes, &tears)));
        check(bytes, &torn);
        // Length beside chunks is told by what the last read brought. Either way it is the last
        // request.
        let is_told = has_word(bytes, b"content-length") && has_word(bytes, b"transfer-encoding");
        assert!(is_told || torn.taken == whole.taken, "torn, it is something else");
    }
}

/// The same bytes in pieces.
fn torn<'d>(mut bytes: &'d [u8], tears: &[u64]) -> Vec<&'d [u8]> {
    let mut pieces = Vec::new();
    for tear in tears {
        let at = usize::try_from(*tear).unwrap_or(usize::MAX).min(bytes.len());
        let (piece, rest) = bytes.split_at(at);
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

fn has_word(bytes: &[u8], word: &[u8]) -> bool {
    words(bytes, word) > 0
}

fn words(bytes: &[u8], word: &[u8]) -> usize {
    bytes.windows(word.len()).filter(|bytes| bytes.eq_ignore_ascii_case(word)).count()
}

/// The values of a header.
fn values<'t>(taken: &'t Taken, name: &str) -> Vec<&'t [u8]> {
    let named = taken.headers.iter().filter(|(found, _)| found == name);
    named.map(|(_, value)| value.as_slice()).collect()
}

fn check(bytes: &[u8], heard: &Heard) {
    let mut hosts = 0;
    let mut is_last = false;
    for taken in &heard.taken {
        assert!(!is_last, "the connection goes on behind chunks");
        let mine = values(taken, "host").len();
        assert!(mine <= 1, "two hosts");
        assert!(mine == 1 || has_word(bytes, b"HTTP/1.0"), "no host");
        hosts += mine;
        let length = taken.headers.iter().map(|(name, value)| name.len() + value.len());
        assert!(taken.headers.len() <= HEADERS_MAX, "{} headers", taken.headers.len());
        assert!(length.sum::<usize>() + taken.target.len() <= HEAD_BYTES_MAX, "a long head");
        is_last = !values(taken, "transfer-encoding").is_empty();
        let lengths = values(taken, "content-length");
        assert!(!is_last || lengths.is_empty(), "two ways to say the length of a body");
        let said = lengths.iter().map(|said| std::str::from_utf8(said).ok()?.parse().ok());
        let is_said = said.clone().all(|said| said == Some(taken.body.len()));
        assert!(is_said, "a body of {} bytes, {lengths:?} said", taken.body.len());
        assert!(is_last || !lengths.is_empty() || taken.body.is_empty(), "a body that is not said");
        assert!(taken.form.is_empty() || taken.form == taken.body);
        assert_eq!(taken.parameters, parameters(&taken.query, &taken.form));
    }
    assert!(words(bytes, b"host") >= hosts, "a host that nobody said");
    answered(heard);
}

/// Each request that was taken has one answer, and behind those is at most one refusal.
fn answered(heard: &Heard) {
    let mut rest = heard.said.as_slice();
    for taken in &heard.taken {
        let Some((status, length)) = answer(&mut rest) else { panic!("no answer") };
        assert_eq!(status, TAKEN);
        let length = if taken.method == "HEAD" { 0 } else { length };
        let Some(behind) = rest.get(length..) else { panic!("an answer that is cut off") };
        rest = behind;
    }
    let Some((status, length)) = answer(&mut rest) else { return };
    assert!(status >= 400 && status != TAKEN, "{status}");
    assert!(rest.is_empty() || rest.len() == length, "a refusal is the last answer");
}

/// Reads the head of one answer: its status, and how long its body is unless a HEAD was asked.
fn answer(said: &mut &[u8]) -> Option<(u16, usize)> {
    while !said.is_empty() {
        let end = said.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let Some(end) = end else { panic!("half an answer") };
        let (head, rest) = said.split_at(end + 4);
        *said = rest;
        let Ok(head) = std::str::from_utf8(head) else { panic!("an answer is a text") };
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let Some(status) = status else { panic!("{head}") };
        // The client may go on with its body.
        if status != 100 {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            return Some((status, length.and_then(|length| length.parse().ok()).unwrap_or(0)));
        }
    }
    None
}

/// A request that is written as it was understood is understood as it was.
fn again(auth: bool, taken: &Taken) {
    let is_chunked = !values(taken, "transfer-encoding").is_empty();
    let version = if values(taken, "host").is_empty() { 0 } else { 1 };
    let mut written = format!("{} {} HTTP/1.{version}\n", taken.method, taken.target).into_bytes();
    let mut expected = taken.clone();
    if is_chunked {
        expected.headers.retain(|(name, _)| name != "transfer-encoding");
        expected.headers.push(("content-length".into(), taken.body.len().to_string().into()));
    }
    for (name, value) in &expected.headers {
        written.extend_from_slice(name.as_bytes());
        written.push(b':');
        written.extend_from_slice(value);
        written.push(b'\n');
    }
    written.push(b'\n');
    written.extend_from_slice(&taken.body);
    let mut heard = hear(auth, &[&written]);
    let text = String::from_utf8_lossy(&written);
    assert_eq!(heard.taken.len(), 1, "{text}");
    // Values of one name stay in order, names do not.
    heard.taken.iter_mut().for_each(|taken| taken.headers.sort());
    expected.headers.sort();
    assert_eq!(heard.taken, [expected], "{text}");
}
