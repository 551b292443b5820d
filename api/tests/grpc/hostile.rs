//! Clients that mean harm: floods, nonsense, too much of everything.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use nacolet_api::Settings;
use nacolet_model::{Prng, limits};
use serde_json::json;

use crate::client::{Client, UNARY, closes_on, encode, run};
use crate::world::{World, eventually};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The head of a call in static and literal HPACK (RFC 7541): POST, http, path, content type.
const HEAD: &[u8] = b"\x83\x86\x04\x10/Request/request\x0f\x10\x10application/grpc";

/// Frame types and flags of HTTP/2 (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const PUSH_PROMISE: u8 = 5;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;

/// Why a call was not even begun (RFC 9113 §7).
const REFUSED_STREAM: u32 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The number of the `index`th stream of a client.
fn stream(index: u32) -> u32 {
    2 * index + 1
}

#[test]
fn a_flood_of_control_frames_ends_the_connection_and_no_other() {
    let world = World::new();
    let call = frame(HEADERS, END_HEADERS, 1, HEAD);
    let open = frame(HEADERS, 0, 1, HEAD);
    let empty_settings = frame(SETTINGS, 0, 0, b"");
    let reset = |index| {
        let number = stream(index);
        [frame(HEADERS, END_HEADERS, number, HEAD), frame(RST_STREAM, 0, number, &[0, 0, 0, 8])]
            .concat()
    };
    // No such method: it is answered at once, and a call that is refused pays for nothing.
    let elsewhere = b"\x83\x86\x04\x02/x\x0f\x10\x10application/grpc";
    let refused = |index| frame(HEADERS, END_HEADERS | END_STREAM, stream(index), elsewhere);
    let over = [frame(HEADERS, END_HEADERS, 1, HEAD), frame(RST_STREAM, 0, 1, &[0; 4])].concat();
    run(async {
        let mut client = Client::set_up(world.address).await;
        for (name, first, flood) in [
            ("pings", &b""[..], &(|_| frame(PING, 0, 0, b"abcdefgh")) as &dyn Fn(u32) -> Vec<u8>),
            ("settings", b"", &|_| empty_settings.clone()),
            ("priorities", b"", &|_| frame(PRIORITY, 0, 1, &[0; 5])),
            ("rapid resets", b"", &reset),
            ("empty data", &call, &|_| frame(DATA, 0, 1, b"")),
            ("continuations", &open, &|_| frame(CONTINUATION, 0, 1, b"")),
            ("window updates", b"", &|_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
            ("window updates of a call", &call, &|_| frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
            ("unknown frames", b"", &|_| frame(200, 0, 0, b"abc")),
            ("farewells", b"", &|_| frame(GOAWAY, 0, 0, &[0; 8])),
            ("promises", b"", &|_| frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
            ("heads that are refused", b"", &refused),
            ("data of a call that is over", &over, &|_| frame(DATA, 0, 1, b"x")),
        ] {
            let flood: Vec<u8> = (0..=limits::GRPC_FLOOD_FRAMES_MAX).flat_map(flood).collect();
            assert!(closes_on(world.address, &[PREFACE, first, &flood].concat()), "{name}");
            client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
        }
    });
}

/// Reads frames up to the answer of a ping; returns the streams that were reset, and why.
fn resets_before_pong(socket: &mut TcpStream) -> Vec<(u32, u32)> {
    socket.write_all(&frame(PING, 0, 0, b"abcdefgh")).expect("the connection lives");
    let mut resets = Vec::new();
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).expect("the connection lives");
        let [high, middle, low, kind, flags, number @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        socket.read_exact(&mut payload).expect("a whole frame");
        match kind {
            RST_STREAM => {
                let code = payload.try_into().expect("four bytes");
                resets.push((u32::from_be_bytes(number), u32::from_be_bytes(code)));
            }
            PING if flags == ACK => return resets,
            _ => {}
        }
    }
}

#[test]
fn one_call_beyond_the_limit_is_refused_and_the_others_go_on() {
    let world = World::new();
    let mut socket = TcpStream::connect(world.address).expect("connects");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("takes it");
    let call = |index| frame(HEADERS, END_HEADERS, stream(index), HEAD);
    let calls: Vec<u8> = (0..=limits::GRPC_STREAMS_MAX).flat_map(call).collect();
    socket.write_all(&[PREFACE, &calls].concat()).expect("the connection lives");
    // An answer may overtake the reset of the first round.
    let resets = [resets_before_pong(&mut socket), resets_before_pong(&mut socket)].concat();
    assert_eq!(resets, [(stream(limits::GRPC_STREAMS_MAX), REFUSED_STREAM)]);
}

#[test]
fn calls_whose_end_comes_in_an_empty_frame_are_no_flood() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        // More empty frames than there may be unpaid ones. Where connections wait together each
        // call takes as long as `GRPC_QUIET_PAUSE`.
        let calls = limits::GRPC_FLOOD_FRAMES_MAX + limits::GRPC_FLOOD_FRAMES_MAX / 10;
        for number in 0..calls {
            let bytes = encode("HealthCheckRequest", &[], b"{}");
            let answer = client.call_with_late_end(bytes, number % 2 == 0).await;
            assert_eq!(answer.status, "0", "call {number}");
        }
    });
}

#[test]
fn a_client_that_never_says_anything_is_closed() {
    let settings = Settings {
        tick: Duration::from_millis(20),
        grpc_setup_timeout: Duration::from_millis(200),
        ..Settings::default()
    };
    let world = World::with(settings);
    assert!(closes_on(world.address, b""));
    assert!(closes_on(world.address, PREFACE));
    assert!(closes_on(world.address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
}

#[test]
fn a_message_that_never_ends_is_given_up() {
    let settings = Settings {
        tick: Duration::from_millis(20),
        body_timeout: Duration::from_millis(200),
        ..Settings::default()
    };
    let world = World::with(settings);
    run(async {
        let mut client = Client::connect(world.address).await;
        // The length says more than comes; `call_raw` ends the stream, so this one is torn.
        let answer = client.call_raw(UNARY, vec![0, 0, 0, 0, 99, 1, 2]).await;
        assert_eq!(answer.status, "13");
        let answer = client.call_raw(UNARY, Vec::new()).await;
        assert_eq!(answer.status, "13");
    });
}

#[test]
fn nonsense_is_answered_and_the_connection_lives() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        for (bytes, status) in [
            (vec![1, 0, 0, 0, 0], "12"),
            (vec![0, 255, 255, 255, 255], "8"),
            (vec![0, 0, 0, 0, 2, 255, 255], "13"),
        ] {
            let answer = client.call_raw(UNARY, bytes).await;
            assert_eq!((answer.status.as_str(), answer.message), (status, None));
        }
        let answer = client.call_raw("/grpc.health.v1.Health/Check", vec![0; 5]).await;
        assert_eq!(answer.status, "12");
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        for body in [&b"{"[..], b"null", b"\xff\xfe", br#"{"dataId":7}"#, &deep] {
            let bytes = encode("ConfigQueryRequest", &[], body);
            let answer = client.call_raw(UNARY, bytes).await.message.expect("a message");
            assert_eq!(answer.kind, "ErrorResponse", "{answer:?}");
            assert_eq!(answer.body["errorCode"], 502);
        }
        client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
    });
}

#[test]
fn nonsense_on_the_stream_ends_it_only_when_it_is_no_message() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        client.say("NoSuchResponse", json!([1, 2]));
        client.say("ConfigChangeNotifyResponse", json!({"requestId": "no number"}));
        client.say("ConnectionSetupRequest", json!({"labels": "none"}));
        client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
        client.say("X", json!("x".repeat(limits::GRPC_STREAM_MESSAGE_BYTES_MAX)));
        assert_eq!(client.heard().await, None);
        assert!(client.is_closed_soon().await);
    });
}

const KINDS: [&str; 14] = [
    "ConfigQueryRequest",
    "ConfigPublishRequest",
    "ConfigRemoveRequest",
    "ConfigBatchListenRequest",
    "InstanceRequest",
    "BatchInstanceRequest",
    "PersistentInstanceRequest",
    "ServiceQueryRequest",
    "ServiceListRequest",
    "SubscribeServiceRequest",
    "ServerCheckRequest",
    "ConfigFuzzyWatchRequest",
    "NamingFuzzyWatchRequest",
    "LockOperationRequest",
];

const NAMES: [&str; 25] = [
    "dataId",
    "group",
    "tenant",
    "content",
    "casMd5",
    "additionMap",
    "type",
    "instance",
    "instances",
    "serviceName",
    "groupName",
    "namespace",
    "configListenContexts",
    "pageNo",
    "pageSize",
    "clusters",
    "cluster",
    "requestId",
    "subscribe",
    "listen",
    "groupKeyPattern",
    "receivedGroupKeys",
    "watchType",
    "lockInstance",
    "lockOperationEnum",
];

#[test]
fn random_messages_never_end_the_server() {
    let world = World::new();
    run(async {
        let mut random = Prng::new(11);
        let mut client = Client::set_up(world.address).await;
        let values = [
            json!(null),
            json!(""),
            json!("a"),
            json!("a@@b"),
            json!(-1),
            json!(u64::MAX),
            json!(1.5),
            json!(true),
            json!({}),
            json!([]),
            json!([{}]),
            json!([{"dataId": "a", "group": "b"}]),
            json!({"ip": "1.1.1.1", "port": 1}),
            json!([{"ip": "1.1.1.1", "port": 2}]),
            json!("registerInstance"),
            json!("batchRegisterInstance"),
            json!("\u{0}\u{1}"),
            json!({"tag": "x"}),
            json!("public>>*>>*"),
            json!("WATCH"),
            json!("ACQUIRE"),
            json!({"key": "a", "lockType": "NACOS_LOCK"}),
        ];
        let mut pick = |count: usize| {
            let below = u64::try_from(count).expect("small");
            usize::try_from(random.below(below)).expect("small")
        };
        for _ in 0..1_500 {
            let mut body = json!({});
            for _ in 0..pick(6) {
                body[NAMES[pick(NAMES.len())]] = values[pick(values.len())].clone();
            }
            client.ask(KINDS[pick(KINDS.len())], body).await;
        }
        client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
    });
    world.counts();
}

#[test]
fn a_client_has_no_more_services_than_it_may() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        for number in 0..=limits::SERVICES_PER_CLIENT_MAX {
            let request = json!({
                "serviceName": format!("s{number}"), "type": "registerInstance",
                "instance": {"ip": "1.1.1.1", "port": 1},
            });
            let published = client.ask("InstanceRequest", request).await;
            let request = json!({"serviceName": format!("s{number}"), "subscribe": true});
            let subscribed = client.ask("SubscribeServiceRequest", request).await;
            let is_done = number < limits::SERVICES_PER_CLIENT_MAX;
            assert_eq!(published.body["success"], is_done);
            assert_eq!(subscribed.body["success"], is_done);
        }
    });
    eventually("all is gone with the connection", || world.counts().instances == 0);
}
