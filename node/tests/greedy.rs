//! Strangers that take what they can get from a real process: memory, connections, time. Whatever they do, all
//! of them together take no more than 64 MiB, most of it comes back, and others are served meanwhile.
//!
//! With `-- --nocapture` each test tells its figures, which are those of BENCHMARKS.md.
#![allow(clippy::print_stdout, reason = "a test that tells figures")]
#![expect(clippy::disallowed_methods, reason = "a test that takes times")]

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use support::grpc::Grpc;
use support::{Http, Node, TempDir};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// What all strangers together may take.
const STRANGERS_KIB: u64 = 64 << 10;
/// What is as good as nothing.
const GONE_KIB: u64 = 4 << 10;
/// What may be left of it once they are gone. The allocator keeps pieces between what lives on for the next, so
/// it may be much of what was taken, and is bounded as that is.
const LEFT_KIB: u64 = 48 << 10;

/// One node after the other: figures of two at once mean nothing.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("as many descriptors as may be");
    guard
}

struct Siege {
    name: &'static str,
    node: Node,
    address: SocketAddr,
    grpc: SocketAddr,
    before_kib: u64,
    healthy: Option<Healthy>,
    _data: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Siege {
    fn begin(name: &'static str, environment: &[(&str, &str)]) -> Self {
        Self::after(name, environment, |_| {})
    }

    /// `prepare` runs before the memory is looked at.
    fn after(
        name: &'static str,
        environment: &[(&str, &str)],
        prepare: impl FnOnce(&Node),
    ) -> Self {
        let alone = alone();
        let data = TempDir::new("greedy");
        let node = Node::try_start(data.path(), environment).expect("the node becomes ready");
        prepare(&node);
        let address: SocketAddr = node.address.parse().expect("an address");
        // gRPC is spoken on the HTTP port too, so it is all the same which is asked.
        let siege = Self {
            name,
            grpc: address,
            before_kib: node.kib("VmRSS"),
            healthy: Some(Healthy::start(address)),
            address,
            node,
            _data: data,
            _alone: alone,
        };
        std::thread::sleep(Duration::from_millis(200));
        siege
    }

    /// The figures while strangers hold what they hold, and after `end` has let them go.
    fn end(mut self, strangers: impl Sized) {
        drop(strangers);
        let begin = Instant::now();
        let left = loop {
            let left = self.node.kib("VmRSS").saturating_sub(self.before_kib);
            if left <= GONE_KIB || begin.elapsed() > Duration::from_secs(2) {
                break left;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        // Those who queued came when the others went.
        let peak = self.node.kib("VmHWM").saturating_sub(self.before_kib);
        let healthy = self.healthy.take().expect("it is there until the end").stop();
        println!(
            "{}: {} MiB at most, {} MiB stay; others: {} calls, {} failed, 90 % within {} ms, \
             longest {} ms",
            self.name,
            peak >> 10,
            left >> 10,
            healthy.times.len(),
            healthy.failed,
            healthy.rank(90).as_millis(),
            healthy.longest().as_millis(),
        );
        assert!(peak <= STRANGERS_KIB, "{} KiB were taken", peak);
        assert!(left <= LEFT_KIB, "{} KiB stay", left);
        assert_eq!(healthy.failed, 0, "others are served");
        assert!(healthy.median() < Duration::from_millis(100), "{:?}", healthy.median());
    }
}

/// A client of another address: a new connection for each call, now and then a publish.
struct Healthy {
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<Figures>,
}

#[derive(Default)]
struct Figures {
    times: Vec<Duration>,
    failed: usize,
}

impl Figures {
    fn median(&self) -> Duration {
        self.rank(50)
    }

    fn rank(&self, percent: usize) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times.get(times.len() * percent / 100).copied().unwrap_or_default()
    }

    fn longest(&self) -> Duration {
        self.times.iter().max().copied().unwrap_or_default()
    }
}

impl Healthy {
    fn start(address: SocketAddr) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopped);
        let thread = std::thread::spawn(move || {
            let mut figures = Figures::default();
            while !told.load(Ordering::Relaxed) {
                let begin = Instant::now();
                let is_publish = figures.times.len() % 8 == 7;
                if !is_served(address, is_publish) {
                    figures.failed += 1;
                }
                figures.times.push(begin.elapsed());
                std::thread::sleep(Duration::from_millis(10));
            }
            figures
        });
        Self { stopped, thread }
    }

    fn stop(self) -> Figures {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

fn is_served(address: SocketAddr, is_publish: bool) -> bool {
    let Ok(mut http) = Http::connect(&address.to_string()) else { return false };
    let answer = if is_publish {
        let content = "x".repeat(20 * KIB);
        let form = format!("dataId=healthy&group=g&content={content}");
        http.call("POST", "/nacos/v1/cs/configs", &form)
    } else {
        http.call("GET", "/nacos/v1/cs/health", "")
    };
    matches!(answer, Ok((200, _)))
}

/// A connection from another loopback address.
fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
    socket.bind(&from.into()).expect("loopback has many addresses");
    socket.connect(&to.into()).expect("the node accepts connections");
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).expect("the socket is open");
    stream
}

/// The address of a stranger, of whom there are so many.
fn stranger(number: usize, of: usize) -> u8 {
    u8::try_from(2 + number % of).expect("few")
}

/// Sends as much as the node takes in a while; strangers do not care for refusals.
fn pour(stream: &mut TcpStream, bytes: &[u8]) {
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("the socket is open");
    let _ = stream.write_all(bytes);
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Opens a connection and a call on it, with the windows that the node grants.
fn open_call(last: u8, grpc: SocketAddr, path: &str) -> TcpStream {
    let mut stream = connect_from(last, grpc);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    pour(&mut stream, &[&preface[..], &frame(SETTINGS, 0, 0, b"")].concat());
    hear(&mut stream, Duration::from_secs(1));
    let mut head = b"\x83\x86\x04".to_vec();
    head.push(u8::try_from(path.len()).expect("short"));
    head.extend_from_slice(path.as_bytes());
    head.extend_from_slice(b"\x0f\x10\x10application/grpc");
    let head = frame(HEADERS, END_HEADERS, 1, &head);
    pour(&mut stream, &[frame(SETTINGS, ACK, 0, b""), head].concat());
    stream
}

/// Reads what is there, if something comes in time.
fn hear(stream: &mut TcpStream, time: Duration) -> Option<usize> {
    stream.set_read_timeout(Some(time)).expect("the socket is open");
    stream.read(&mut [0; 4_096]).ok()
}

fn message_frames(message: &[u8], ends: bool) -> Vec<u8> {
    let mut chunks = message.chunks(16 << 10).peekable();
    let mut frames = Vec::new();
    while let Some(chunk) = chunks.next() {
        let flags = if ends && chunks.peek().is_none() { END_STREAM } else { 0 };
        frames.extend(frame(DATA, flags, 1, chunk));
    }
    frames
}

/// Opens so many streams, each with so much of a message of `announced` bytes.
fn hold_streams(grpc: SocketAddr, path: &str, announced: usize, sent: usize) -> Vec<TcpStream> {
    let length = u32::try_from(announced).expect("small");
    let mut message = [&[0], &length.to_be_bytes()[..]].concat();
    message.resize(sent, b'x');
    let bytes = message_frames(&message, false);
    let hold = |number| {
        let mut stream = open_call(stranger(number, 20), grpc, path);
        pour(&mut stream, &bytes);
        stream
    };
    (0..2_000).map(hold).collect()
}

#[test]
fn streams_with_messages_that_never_end() {
    let siege = Siege::begin("2,000 streams with 240 KiB of a message", &[]);
    let path = "/BiRequestStream/requestBiStream";
    let strangers = hold_streams(siege.grpc, path, 256 * KIB - 5, 240 * KIB);
    std::thread::sleep(Duration::from_millis(500));
    siege.end(strangers);
}

#[test]
fn calls_with_messages_that_never_end() {
    let siege = Siege::begin("2,000 calls with 60 KiB of a message", &[]);
    let strangers = hold_streams(siege.grpc, "/Request/request", 10 * MIB, 60 * KIB);
    std::thread::sleep(Duration::from_millis(500));
    siege.end(strangers);
}

#[test]
fn bodies_that_never_end() {
    let siege = Siege::begin("3 bodies of 22.4 MB", &[]);
    let length = 31 * MIB;
    let head = format!(
        "POST /nacos/v1/cs/configs HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    );
    let body = vec![b'x'; 22_400_000];
    let strangers: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = connect_from(2, siege.address);
            stream.write_all(head.as_bytes()).expect("it is taken");
            pour(&mut stream, &body);
            stream
        })
        .collect();
    for size in [60 * KIB, MIB, 9 * MIB] {
        let mut http = siege.node.http();
        // Without a name it is read, and nothing of it is kept.
        let form = format!("group=g&content={}", "y".repeat(size));
        assert_eq!(http.post("/nacos/v1/cs/configs", &form).0, 400, "{size}");
    }
    Grpc::connect(&siege.grpc.to_string()).register("s", "10.0.0.1");
    siege.end(strangers);
}

#[test]
fn without_a_token_a_body_is_small() {
    let _alone = alone();
    let data = TempDir::new("greedy");
    let node = Node::try_start(data.path(), &[("NACOLET_AUTH", "true")]).expect("it starts");
    let password = std::fs::read_to_string(data.path().join("admin-password")).expect("it is told");
    let login = format!("username=nacos&password={}", password.trim());
    let (status, answer) = node.http().post("/nacos/v1/auth/login", &login);
    assert_eq!(status, 200, "{answer}");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let token = answer["accessToken"].as_str().expect("a token");
    let before = node.kib("VmRSS");
    let form = |size| format!("dataId=d&group=g&content={}", "x".repeat(size));
    let path = "/nacos/v1/cs/configs";
    let late = format!("{}&accessToken={token}", form(2 * MIB));
    assert_eq!(node.http().post(path, &late).0, 403, "a token in a large body is seen too late");
    let early = format!("{}&accessToken={token}", form(512 * KIB));
    assert_eq!(node.http().post(path, &early), (200, "true".to_owned()));
    let target = format!("{path}?accessToken={token}");
    assert_eq!(node.http().post(&target, &form(2 * MIB)), (200, "true".to_owned()));
    // Many that hold a little each.
    let before = node.kib("VmHWM").max(before);
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {MIB}\r\n\r\n");
    let strangers: Vec<TcpStream> = (0..60)
        .map(|_| {
            let mut stream = connect_from(2, node.address.parse().expect("an address"));
            stream.write_all(head.as_bytes()).expect("it is taken");
            pour(&mut stream, &vec![b'x'; 900 * KIB]);
            stream
        })
        .collect();
    let taken = node.kib("VmHWM") - before;
    println!("60 bodies of 900 KiB without a token: {} KiB at most", taken);
    assert!(taken < 8 << 10, "{taken} KiB");
    drop(strangers);
}

#[test]
fn idle_connections() {
    let siege = Siege::begin("1,100 idle connections of one address", &[]);
    let request = b"GET /nacos/v1/cs/health HTTP/1.1\r\nHost: x\r\n\r\n";
    let strangers: Vec<TcpStream> = (0..1_100)
        .map(|_| {
            let mut stream = connect_from(2, siege.address);
            pour(&mut stream, request);
            stream
        })
        .collect();
    let served = (0..8).filter(|_| is_served(siege.address, false)).count();
    assert_eq!(served, 8, "new clients are served");
    siege.end(strangers);
}

/// An address of this host that is not loopback.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: it only asks for the way.
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

#[test]
fn one_address_has_as_many_connections_as_it_may() {
    let _alone = alone();
    let Some(own) = own_address() else {
        println!("not run: this host has only loopback addresses");
        return;
    };
    let data = TempDir::new("greedy");
    let environment =
        [("NACOLET_ALLOW_ANONYMOUS", "true"), ("NACOLET_CONNECTIONS_PER_ADDRESS", "8")];
    let node = Node::try_start_at("0.0.0.0:0", data.path(), &environment).expect("it starts");
    let port = node.address.rsplit(':').next().expect("a port");
    let address: SocketAddr = format!("{own}:{port}").parse().expect("an address");
    let mut strangers: Vec<TcpStream> =
        (0..8).map(|_| TcpStream::connect(address).expect("it is taken")).collect();
    for stream in &mut strangers {
        pour(stream, b"GET /nacos/v1/cs/health HTTP/1.1\r\nHost: x\r\n\r\n");
        let _ = stream.read(&mut [0; 512]).expect("an answer");
    }
    assert!(!is_served(address, false), "the newest is closed");
    assert!(is_served(
        node.address.replace("0.0.0.0", "127.0.0.1").parse().expect("it is one"),
        false
    ));
    std::thread::sleep(Duration::from_millis(2_200));
    assert!(is_served(address, false), "an idle one goes for it");
}

#[test]
fn readers_that_take_nothing() {
    let prepare = |node: &Node| {
        for number in 0..60 {
            let form = format!("dataId=d{number}&group=g&content={}", "z".repeat(MIB));
            assert_eq!(node.http().post("/nacos/v1/cs/configs", &form).0, 200);
        }
    };
    let siege = Siege::after("32 readers of 20 or 60 MB that take nothing", &[], prepare);
    let strangers: Vec<TcpStream> = (0..32)
        .map(|number| {
            let mut stream = connect_from(stranger(number, 4), siege.address);
            let size = if number < 16 { 60 } else { 20 };
            let request = format!(
                "GET /nacos/v1/cs/configs?search=blur&dataId=&group=&pageNo=1&pageSize={size} \
                 HTTP/1.1\r\nHost: x\r\n\r\n"
            );
            pour(&mut stream, request.as_bytes());
            std::thread::sleep(Duration::from_millis(20));
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    siege.end(strangers);
}

/// The most that one call takes, beside three times its bytes: more is as good as an attack.
const CALL_KIB: u64 = 1 << 10;

/// Runs one call against a node of its own, and compares what it took with its bytes.
fn one_call(name: &str, bytes: usize, call: impl FnOnce(&Node)) {
    let data = TempDir::new("greedy");
    let node = Node::try_start(data.path(), &[]).expect("the node becomes ready");
    // What the first call of all brings into being is nobody's.
    Grpc::connect(&node.address).register("first", "10.0.0.1");
    assert_eq!(node.http().post("/nacos/v1/cs/configs", "dataId=d&group=g&content=x").0, 200);
    let before = node.kib("VmHWM");
    let healthy = Healthy::start(node.address.parse().expect("an address"));
    call(&node);
    let healthy = healthy.stop();
    let taken = node.kib("VmHWM").saturating_sub(before);
    let sent = u64::try_from(bytes >> 10).expect("small");
    println!("{name}: {sent} KiB, takes {taken} KiB; others longest {:?}", healthy.longest());
    assert!(taken <= 3 * sent + CALL_KIB, "{name}: {sent} KiB take {taken} KiB");
    assert_eq!(healthy.failed, 0, "{name}: others are served");
}

fn many(one: &str, bytes: usize) -> String {
    one.repeat(bytes / one.len())
}

/// As long as may be, of as many small things as fit in.
#[test]
fn one_call_takes_three_times_its_bytes_at_most() {
    let _alone = alone();
    for (name, path, form, expected) in [
        ("parameters", "/nacos/v1/cs/configs", many("a&", 31 * MIB), 400),
        (
            "tags",
            "/nacos/v1/cs/configs",
            format!("dataId=d&group=g&content=x&config_tags={}", many("a,", 30 * MIB)),
            400,
        ),
        (
            "an escaped content",
            "/nacos/v1/cs/configs",
            format!("dataId=d&group=g&content={}", many("%61", 30 * MIB)),
            200,
        ),
        (
            "keys of a long poll",
            "/nacos/v1/cs/configs/listener",
            format!("Listening-Configs={}", many("a%02b%02%01", 4 * MIB - 64)),
            200,
        ),
        (
            "metadata as JSON",
            "/nacos/v1/ns/instance",
            format!("serviceName=s&ip=1.1.1.1&port=1&metadata={{{}}}", many("\"a\":1,", MIB - 128)),
            400,
        ),
        (
            "metadata as pairs",
            "/nacos/v1/ns/instance",
            format!("serviceName=s&ip=1.1.1.1&port=1&metadata={}", many("a=1,", MIB - 128)),
            400,
        ),
        (
            "instances of a batch",
            "/nacos/v1/ns/instance/metadata/batch",
            format!("serviceName=s&metadata=a=1&instances=[{}{{}}]", many("{},", MIB - 128)),
            405,
        ),
    ] {
        one_call(name, form.len(), |node| {
            let (status, _) = node.http().call("POST", path, &form).expect("an answer");
            assert_eq!(status, expected, "{name}");
        });
    }
}

/// As [`one_call_takes_three_times_its_bytes_at_most`].
#[test]
fn one_message_takes_three_times_its_bytes_at_most() {
    let _alone = alone();
    let list = |one: &str| format!("[{}{one}]", many(&format!("{one},"), 10 * MIB - 1_024));
    for (name, kind, json) in [
        (
            "configs to listen to",
            "ConfigBatchListenRequest",
            format!("{{\"listen\":true,\"configListenContexts\":{}}}", list("{}")),
        ),
        (
            "instances",
            "BatchInstanceRequest",
            format!("{{\"serviceName\":\"s\",\"instances\":{}}}", list("{}")),
        ),
        (
            "instances with metadata",
            "BatchInstanceRequest",
            format!(
                "{{\"serviceName\":\"s\",\"instances\":{}}}",
                list(r#"{"metadata":{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1}}"#)
            ),
        ),
        (
            "metadata that is a list",
            "InstanceRequest",
            format!(
                "{{\"serviceName\":\"s\",\"instance\":{{\"metadata\":{{\"a\":{}}}}}}}",
                list("0")
            ),
        ),
        (
            "names that are known",
            "ConfigFuzzyWatchRequest",
            format!("{{\"receivedGroupKeys\":{}}}", list("\"\"")),
        ),
        (
            "additions",
            "ConfigPublishRequest",
            format!("{{\"additionMap\":{{{}\"a\":\"\"}}}}", many("\"a\":\"\",", 10 * MIB - 1_024)),
        ),
    ] {
        one_call(name, json.len(), |node| {
            let answer = Grpc::connect(&node.address).ask(kind, &json);
            assert!(answer.contains("\"success\":false"), "{name}: {answer}");
        });
    }
}

#[test]
fn heads_that_never_end() {
    let siege = Siege::begin("2,000 heads of 60 KB", &[]);
    let head = format!("GET /nacos/v1/cs/health?x={} HTTP/1.1\r\n", "x".repeat(60_000));
    let strangers: Vec<TcpStream> = (0..2_000)
        .map(|number| {
            let mut stream = connect_from(stranger(number, 20), siege.address);
            pour(&mut stream, head.as_bytes());
            stream
        })
        .collect();
    siege.end(strangers);
}

/// A message with as many headers as fit into 10 MiB.
fn all_headers() -> Vec<u8> {
    let mut headers = Vec::new();
    while headers.len() < 10 * MIB - 64 {
        let key = format!("{:06x}", headers.len());
        headers.extend_from_slice(&[0x3a, 8, 0x0a, 6]);
        headers.extend_from_slice(key.as_bytes());
    }
    let mut length = headers.len();
    let mut message = vec![0x12];
    while length >= 0x80 {
        message.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    message.push(u8::try_from(length).expect("seven bits"));
    message.extend_from_slice(&headers);
    let length = u32::try_from(message.len()).expect("small");
    [&[0], &length.to_be_bytes()[..], &message].concat()
}

#[test]
fn messages_of_nothing_but_headers() {
    let siege = Siege::begin("a message of 10 MiB of headers, not set up", &[]);
    let frames = message_frames(&all_headers(), true);
    let mut stream = open_call(2, siege.grpc, "/Request/request");
    // No faster than the node takes it.
    for part in frames.chunks(64 * KIB) {
        pour(&mut stream, part);
        if hear(&mut stream, Duration::from_millis(10)) == Some(0) {
            break;
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    siege.end(stream);
}
