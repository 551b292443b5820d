//! Strangers that take what they can get from a real process: memory, connections, time. Whatever
//! they do, all of them together take no more than 64 MiB, most of it comes back, and others are
//! served meanwhile.
//!
//! With `-- --nocapture` each test tells its figures, which are those of BENCHMARKS.md.
#![allow(clippy::print_stdout, reason = "a test that tells figures")]
#![expect(clippy::disallowed_methods, reason = "a test that takes times")]

#[path = "support/lists.rs"]
mod lists;
#[path = "support/siege.rs"]
mod siege;
#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use siege::{Siege, alone, is_served, one_call, one_call_of};
use support::grpc::Grpc;
use support::{Node, TempDir};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

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
            400,
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
            501,
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
            assert!(answer.json.contains("\"success\":false"), "{name}: {answer:?}");
        });
    }
}

/// Bytes of an answer, read to the end of its connection.
pub(crate) fn answer_bytes(node: &Node, target: &str) -> usize {
    let mut stream = TcpStream::connect(&node.address).expect("it listens");
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is taken");
    let (mut bytes, mut part) = (0, vec![0; 64 * KIB]);
    loop {
        match stream.read(&mut part).expect("the answer has an end") {
            0 => return bytes,
            count => bytes += count,
        }
    }
}

/// Escapes make each byte of it six.
#[test]
fn an_answer_takes_little_however_long_it_is() {
    let _alone = alone();
    let data = TempDir::new("greedy");
    let node = Node::try_start(data.path(), &[]).expect("the node becomes ready");
    let name = "dataId=control&group=g&groupName=g";
    for _ in 0..2 {
        let form = format!("{name}&content={}", many("%01", 29 * MIB));
        assert_eq!(node.http().post("/nacos/v1/cs/configs", &form).0, 200);
    }
    let (_, page) = node.http().get(&format!("/nacos/v1/cs/history?search=accurate&{name}"));
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    let nid = page["pageItems"][0]["id"].as_str().expect("an id");
    for (what, target, least) in [
        ("v1 show=all", format!("/v1/cs/configs?show=all&{name}"), 57),
        ("v2 read", format!("/v2/cs/config?{name}"), 57),
        ("v3 read", format!("/v3/client/cs/config?{name}"), 57),
        ("history detail", format!("/v2/cs/history/detail?nid={nid}&{name}"), 115),
    ] {
        let target = format!("/nacos{target}");
        one_call_of(&node, what, 0, |node| {
            let bytes = answer_bytes(node, &target);
            assert!(bytes > least * MIB, "{target}: {bytes}");
        });
    }
    one_call_of(&node, "gRPC query", 0, |node| {
        let mut grpc = Grpc::connect(&node.address);
        grpc.ask_and_leave("ConfigQueryRequest", r#"{"dataId":"control","group":"g"}"#);
        std::thread::sleep(Duration::from_millis(1_000));
    });
    one_call_of(&node, "a search inside it", 0, |node| {
        let inside = "%01".repeat(3_000);
        let target = format!(
            "/nacos/v1/cs/configs?search=blur&dataId=&group=&pageNo=1&pageSize=1&config_detail={inside}x"
        );
        assert!(answer_bytes(node, &target) > 0);
    });
}

/// The body of an import.
fn import_of(archive: &[u8]) -> Vec<u8> {
    let head = b"--xx\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\n\r\n";
    [&head[..], archive, b"\r\n--xx--\r\n"].concat()
}

fn import(node: &Node, policy: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(&node.address).expect("it listens");
    let head = format!(
        "POST /nacos/v1/cs/configs?import=true&policy={policy} HTTP/1.1\r\nHost: x\r\n\
         Connection: close\r\nContent-Type: multipart/form-data; boundary=xx\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("it is taken");
    stream.write_all(body).expect("it is taken");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the answer has an end");
    String::from_utf8(answer).expect("text")
}

/// The archive of what a node holds.
fn export(node: &Node) -> Vec<u8> {
    let mut stream = TcpStream::connect(&node.address).expect("it listens");
    let request = "GET /nacos/v1/cs/configs?exportV2=true HTTP/1.0\r\nHost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the answer has an end");
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    answer.split_off(at + 4)
}

#[test]
fn an_archive_takes_little_however_much_it_unpacks_to() {
    let _alone = alone();
    let archive = |prepare: &dyn Fn(&Node)| {
        let data = TempDir::new("greedy");
        let node = Node::try_start(data.path(), &[]).expect("the node becomes ready");
        prepare(&node);
        export(&node)
    };
    let publish = |node: &Node, name: &str, content: &str| {
        let form = format!("dataId={name}&group=g&content={content}");
        assert_eq!(node.http().post("/nacos/v1/cs/configs", &form).0, 200);
    };
    // It is looked at to its end, and then nothing of it is wanted.
    let bomb = archive(&|node| {
        (0..120).for_each(|number| publish(node, &format!("d{number}"), &"a".repeat(MIB / 2)));
    });
    let body = import_of(&bomb);
    let data = TempDir::new("greedy");
    let node = Node::try_start(data.path(), &[]).expect("the node becomes ready");
    // The threads and tables of the first import are nobody's.
    let tiny = archive(&|node| publish(node, "tiny", "x"));
    import(&node, "ABORT", &import_of(&tiny));
    publish(&node, "d0", "x");
    one_call_of(&node, "an archive of 60 MiB", body.len(), |node| {
        let answer = import(node, "ABORT", &body);
        assert!(answer.contains("\"succCount\":0"), "{answer}");
    });
    // Thousands of small configs, and all of them listed.
    let small = archive(&|node| {
        let mut http = node.http();
        for number in 0..6_000 {
            let form = format!("dataId=d{number}{}&group=g&content=x", "d".repeat(120));
            assert_eq!(http.post("/nacos/v1/cs/configs", &form).0, 200);
        }
    });
    let data = TempDir::new("greedy");
    let node = Node::try_start(data.path(), &[]).expect("the node becomes ready");
    let answer = import(&node, "OVERWRITE", &import_of(&small));
    assert!(answer.contains("\"succCount\":6000"), "{answer}");
    one_call_of(&node, "all configs of a namespace", 0, |node| {
        for path in ["v1/cs/history/configs?tenant=", "v2/cs/history/configs?namespaceId=public"] {
            let bytes = answer_bytes(node, &format!("/nacos/{path}"));
            assert!(bytes > MIB, "{path}: {bytes}");
        }
    });
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
