//! HTTP on the wire: what clients may send and what they get, byte by byte.

use std::io::{Read, Write};

use nacolet_api::Settings;
use nacolet_model::Prng;

use crate::world::{Mood, Wire, read_all, read_response, short};

const HEALTH: &str = "GET /nacos/v1/cs/health HTTP/1.1\r\nHost: x\r\n\r\n";

fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn a_connection_serves_request_after_request() {
    let wire = Wire::start(Settings::default());
    let mut stream = wire.connect();
    for _ in 0..3 {
        stream.write_all(HEALTH.as_bytes()).expect("sends");
        let response = read_response(&mut stream);
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\nUP"));
        assert!(response.contains("\r\ndate: "), "{response}");
        assert!(response.contains("\r\nx-content-type-options: nosniff\r\n"), "{response}");
    }
}

#[test]
fn pipelined_requests_are_all_answered_in_order() {
    let wire = Wire::start(Settings::default());
    wire.world.publish("d", "hello");
    let mut stream = wire.connect();
    let get = "GET /nacos/v1/cs/configs?dataId=d&group=g HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = "POST /nacos/v1/cs/configs?dataId=e&group=g HTTP/1.1\r\nHost: x\r\n\
                Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\ncontent=x";
    let requests = [HEALTH, get, post, HEALTH].concat();
    stream.write_all(requests.as_bytes()).expect("sends");
    for body in ["UP", "hello", "true", "UP"] {
        let response = read_response(&mut stream);
        assert!(response.ends_with(&format!("\r\n\r\n{body}")), "{response}");
    }
}

#[test]
fn a_request_may_come_in_single_bytes() {
    let wire = Wire::start(Settings::default());
    let mut stream = wire.connect();
    stream.set_nodelay(true).expect("takes it");
    for byte in HEALTH.as_bytes() {
        stream.write_all(&[*byte]).expect("sends");
    }
    assert!(read_response(&mut stream).ends_with("UP"));
}

#[test]
fn old_clients_are_served_and_let_go() {
    let wire = Wire::start(Settings::default());
    let response = wire.exchange(b"GET /nacos/v1/cs/health HTTP/1.0\r\n\r\n");
    assert!(response.starts_with("HTTP/1.0 200 OK") && response.ends_with("UP"), "{response}");
    let close = HEALTH.replace("Host: x", "Host: x\r\nConnection: close");
    assert!(wire.exchange(close.as_bytes()).ends_with("UP"));
}

#[test]
fn a_head_request_gets_no_body_and_keeps_the_connection() {
    let wire = Wire::start(Settings::default());
    let mut stream = wire.connect();
    let head = HEALTH.replace("GET", "HEAD");
    let close = HEALTH.replace("Host: x", "Host: x\r\nConnection: close");
    stream.write_all([head, close].concat().as_bytes()).expect("sends");
    let both = read_all(&mut stream);
    assert_eq!(both.matches("HTTP/1.1 200 OK").count(), 2, "{both}");
    assert_eq!(both.matches("UP").count(), 1, "{both}");
}

#[test]
fn unknown_methods_and_paths_get_json() {
    let wire = Wire::start(Settings::default());
    for (line, expected) in [
        ("FROB /nacos/v1/cs/configs", "501"),
        // Methods have one case.
        ("get /nacos/v1/cs/configs?dataId=d&group=g", "501"),
        ("Post /nacos/v1/cs/configs?dataId=d&group=g&content=x", "501"),
        ("dELETE /nacos/v1/cs/configs?dataId=d&group=g", "501"),
        ("get /nacos/v1/cs/health", "501"),
        ("put /nacos/v1/ns/instance?serviceName=s&ip=10.0.0.1&port=80", "501"),
        ("TRACE /nacos/v1/cs/configs", "405"),
        ("GET /nacos/nope", "404"),
        ("GET http://elsewhere/nacos/nope", "404"),
        ("OPTIONS *", "404"),
        ("CONNECT x:80", "404"),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let response = wire.exchange(request.as_bytes());
        assert_eq!(status(&response), expected, "{line}: {response}");
        assert!(response.contains("application/json"), "{response}");
    }
}

#[test]
fn nonsense_is_400_and_the_end() {
    let wire = Wire::start(short());
    for head in
        ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "G\u{e9}T / HTTP/1.1\r\n\r\n"]
    {
        let response = wire.exchange(head.as_bytes());
        assert_eq!(status(&response), "400", "{head:?}: {response}");
        let (_, body) = response.split_once("\r\n\r\n").expect("a head and a body");
        let body: serde_json::Value = serde_json::from_str(body).expect("the shape of Nacos");
        assert_eq!(body["message"], "the head of the request is not valid", "{response}");
    }
}

#[test]
fn hostile_bytes_hurt_only_those_who_send_them() {
    let wire = Wire::start(short());
    let mut random = Prng::new(7);
    let pieces: [&[u8]; 12] = [
        b"GET /nacos/v1/cs/health HTTP/1.1\r\n",
        b"POST /nacos/v1/auth/login HTTP/1.1\r\n",
        b"Host: x\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"\0\xff",
        b"ffffffffffffffff\r\n",
        b"Expect: 100-continue\r\n",
    ];
    let mut healthy = wire.connect();
    for _ in 0..200 {
        let mut stream = wire.connect();
        for _ in 0..random.below(12) {
            let piece = pieces[usize::try_from(random.below(12)).expect("small")];
            // The server may have had enough already.
            let _ = stream.write_all(piece);
        }
        drop(stream);
        healthy.write_all(HEALTH.as_bytes()).expect("sends");
        assert!(read_response(&mut healthy).ends_with("UP"));
    }
}

#[test]
fn a_chunked_body_is_a_body() {
    let wire = Wire::start(Settings::default());
    let request = "POST /nacos/v1/cs/configs?dataId=d&group=g HTTP/1.1\r\nHost: x\r\n\
                   Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\
                   \r\n8\r\ncontent=\r\n5\r\nhello\r\n0\r\n\r\n";
    let response = wire.exchange(request.as_bytes());
    assert!(response.ends_with("\r\n\r\ntrue"), "{response}");
    let read = wire.world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g");
    assert_eq!(read.text(), "hello");
}

#[test]
fn two_lengths_in_one_head_are_400_and_the_end() {
    let wire = Wire::start(short());
    let smuggled = "GET /nacos/v1/cs/health HTTP/1.1\r\nHost: x\r\n\r\n";
    for heads in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Transfer-Encoding: gzip",
    ] {
        let request = format!(
            "POST /nacos/v1/cs/configs HTTP/1.1\r\nHost: x\r\n{heads}\r\n\r\n0\r\n\r\n{smuggled}"
        );
        let response = wire.exchange(request.as_bytes());
        assert_eq!(status(&response), "400", "{heads}: {response}");
        assert_eq!(response.matches("HTTP/1.1").count(), 1, "{heads}: {response}");
    }
}

#[test]
fn nothing_behind_a_chunked_body_is_a_request() {
    let wire = Wire::start(short());
    let request = format!(
        "POST /nacos/v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\n{HEALTH}"
    );
    let response = wire.exchange(request.as_bytes());
    assert_eq!(response.matches("HTTP/1.1").count(), 1, "{response}");
}

#[test]
fn a_long_poll_whose_client_leaves_is_forgotten() {
    let wire = Wire::start(Settings::default());
    let mut stream = wire.connect();
    let body = "Listening-Configs=d%02g%02%01";
    let request = format!(
        "POST /nacos/v1/cs/configs/listener HTTP/1.1\r\nHost: x\r\nLong-Pulling-Timeout: 30000\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("sends");
    wire.world.wait_held(1);
    drop(stream);
    wire.world.wait_held(0);
}

#[test]
fn a_write_without_an_answer_is_503_and_its_outcome_unknown() {
    let wire = Wire::start(short());
    wire.world.mood(Mood::Silent);
    let request = "POST /nacos/v1/cs/configs?dataId=d&group=g&content=x HTTP/1.1\r\nHost: x\r\n\
                   Connection: close\r\n\r\n";
    let response = wire.exchange(request.as_bytes());
    assert_eq!(status(&response), "503");
    assert!(response.contains("unknown") && response.contains("retry-after: 1"), "{response}");
}

#[test]
fn a_server_that_stops_answers_what_is_in_flight() {
    let mut wire = Wire::start(Settings::default());
    let mut idle = wire.connect();
    let mut polling = wire.connect();
    idle.write_all(HEALTH.as_bytes()).expect("sends");
    read_response(&mut idle);
    let body = "Listening-Configs=d%02g%02%01";
    let request = format!(
        "POST /nacos/v1/cs/configs/listener HTTP/1.1\r\nHost: x\r\nLong-Pulling-Timeout: 30000\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    polling.write_all(request.as_bytes()).expect("sends");
    wire.world.wait_held(1);
    wire.stop();
    assert_eq!(status(&read_all(&mut polling)), "200");
    assert_eq!(read_all(&mut idle), "");
    let refused = std::net::TcpStream::connect(wire.address);
    assert!(refused.is_err(), "nobody listens any more");
}

#[test]
fn a_large_config_goes_in_and_out() {
    let wire = Wire::start(Settings::default());
    let content = "x".repeat(10 << 20);
    let mut stream = wire.connect();
    let head = format!(
        "POST /nacos/v1/cs/configs?dataId=d&group=g HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
        content.len() + 8
    );
    stream.write_all(head.as_bytes()).expect("sends");
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).expect("an interim answer");
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"content=").expect("sends");
    stream.write_all(content.as_bytes()).expect("sends");
    assert!(read_response(&mut stream).ends_with("true"));
    let get = "GET /nacos/v1/cs/configs?dataId=d&group=g HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(get.as_bytes()).expect("sends");
    assert!(read_response(&mut stream).ends_with(&content));
}
