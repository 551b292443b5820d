//! Each limit of the connection engine, one beyond (docs/reliability.md, "Limits"): greedy clients
//! are refused with a status they can read, slow ones are let go, and nobody else notices.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nacolet_api::Settings;

use crate::world::{Wire, eventually, read_all, read_response, short};

const HEALTH: &[u8] = b"GET /nacos/v1/cs/health HTTP/1.1\r\nHost: x\r\n\r\n";

fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or_default()
}

/// Writes as much as the other side takes.
fn pour(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

#[test]
fn a_head_that_is_too_large_is_431() {
    let wire = Wire::start(Settings { head_bytes_max: 8 << 10, ..short() });
    let just = format!("GET /nacos/v1/cs/health HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(8_000));
    let mut stream = wire.connect();
    stream.write_all(just.as_bytes()).expect("sends");
    assert_eq!(status(&read_response(&mut stream)), "200");
    for line in ["GET /", "GET / HTTP/1.1\r\nA: "] {
        let mut stream = wire.connect();
        pour(&mut stream, line.as_bytes());
        pour(&mut stream, "a".repeat(200_000).as_bytes());
        let response = read_all(&mut stream);
        assert!(["431", "414"].contains(&status(&response)), "{line}: {response}");
    }
}

#[test]
fn a_head_with_too_many_headers_is_431() {
    let wire = Wire::start(short());
    let head = |count: usize| {
        let headers: String = (2..count).map(|n| format!("A{n}: b\r\n")).collect();
        let line = "GET /nacos/v1/cs/health HTTP/1.1\r\nHost: x";
        format!("{line}\r\nConnection: close\r\n{headers}\r\n")
    };
    assert_eq!(status(&wire.exchange(head(64).as_bytes())), "200");
    assert_eq!(status(&wire.exchange(head(65).as_bytes())), "431");
}

#[test]
fn a_head_that_never_ends_is_let_go() {
    let wire = Wire::start(short());
    for begin in [&b""[..], b"G", b"GET /nacos/v1/cs/health HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = wire.connect();
        stream.write_all(begin).expect("sends");
        assert_eq!(read_all(&mut stream), "", "closed without a word");
    }
    let mut dripping = wire.connect();
    for byte in b"GET /nacos/v1/cs/health HTTP/1.1\r\nHost: xxxxxxxxxxxxxxxxxxx".iter() {
        if dripping.write_all(&[*byte]).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut rest = Vec::new();
    let outcome = dripping.read_to_end(&mut rest);
    assert!(outcome.is_err() || rest.is_empty(), "dripping buys no time");
}

#[test]
fn a_silent_connection_is_let_go_after_a_while() {
    let wire = Wire::start(short());
    let mut stream = wire.connect();
    stream.write_all(HEALTH).expect("sends");
    read_response(&mut stream);
    std::thread::sleep(Duration::from_millis(250));
    stream.write_all(HEALTH).expect("still open after more than the time of a head");
    read_response(&mut stream);
    assert_eq!(read_all(&mut stream), "");
}

#[test]
fn a_body_that_says_it_is_too_large_is_refused_unread() {
    let wire = Wire::start(Settings::default());
    for (target, length) in [
        ("/nacos/v1/auth/login", (1 << 20) + 1),
        ("/nacos/v1/cs/configs", (31 << 20) + 1),
        ("/nacos/v1/cs/configs?import=true", (16 << 20) + 1),
        ("/nacos/v1/cs/configs/listener", (4 << 20) + 1),
        ("/nacos/nope", (1 << 20) + 1),
    ] {
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        );
        let response = wire.exchange(head.as_bytes());
        assert_eq!(status(&response), "413", "{target}: {response}");
        assert!(response.contains("connection: close"), "{response}");
    }
}

#[test]
fn a_refusal_arrives_although_the_client_goes_on_sending() {
    let wire = Wire::start(short());
    let mut stream = wire.connect();
    let head = "POST /nacos/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sends");
    pour(&mut stream, &vec![b'x'; 500_000]);
    assert_eq!(status(&read_all(&mut stream)), "413");
}

#[test]
fn chunks_that_add_up_to_too_much_are_refused() {
    let wire = Wire::start(short());
    let mut stream = wire.connect();
    let head =
        "POST /nacos/v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sends");
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    for _ in 0..40 {
        pour(&mut stream, chunk.as_bytes());
    }
    assert_eq!(status(&read_all(&mut stream)), "413");
}

#[test]
fn a_body_that_is_too_slow_is_408() {
    let wire = Wire::start(short());
    let mut stream = wire.connect();
    let head =
        "POST /nacos/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nusername=";
    stream.write_all(head.as_bytes()).expect("sends");
    let response = read_all(&mut stream);
    assert_eq!(status(&response), "408");
    assert!(response.contains("connection: close"), "{response}");
}

#[test]
fn a_client_that_does_not_take_its_response_is_let_go() {
    let wire = Wire::start(short());
    wire.world.publish("d", &"x".repeat(10 << 20));
    let get = b"GET /nacos/v1/cs/configs?dataId=d&group=g HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut stream = wire.connect();
    stream.write_all(get).expect("sends");
    std::thread::sleep(Duration::from_millis(1_000));
    let mut bytes = Vec::new();
    let outcome = stream.read_to_end(&mut bytes);
    assert!(outcome.is_err() || bytes.len() < 10 << 20, "it was held for ever");
}

#[test]
fn bodies_have_a_memory_together() {
    let wire = Wire::start(Settings {
        bodies_bytes_max: 100_000,
        bodies_reserve_bytes: 0,
        ..Settings::default()
    });
    let mut greedy = wire.connect();
    greedy.write_all(login_head(95_001).as_bytes()).expect("sends");
    greedy.write_all(&[b'x'; 95_000]).expect("sends");
    wire.holds(95_000);
    let mut stream = wire.connect();
    stream.write_all(login_head(10_000).as_bytes()).expect("sends");
    pour(&mut stream, &[b'x'; 10_000]);
    let response = read_response(&mut stream);
    assert_eq!(status(&response), "503", "the second one");
    assert!(response.contains("retry-after: 1"), "{response}");
    greedy.write_all(b"x").expect("sends");
    assert_eq!(status(&read_response(&mut greedy)), "200", "who was there first is served");
    let mut stream = wire.connect();
    stream.write_all(login_head(10_000).as_bytes()).expect("sends");
    stream.write_all(&[b'x'; 10_000]).expect("sends");
    assert_eq!(status(&read_response(&mut stream)), "200", "and then there is room again");
}

#[test]
fn the_newest_connection_beyond_the_limit_is_closed() {
    let wire = Wire::start(Settings { connections_max: 2, ..Settings::default() });
    let mut inside: Vec<_> = (0..2).map(|_| wire.connect()).collect();
    for stream in &mut inside {
        stream.write_all(HEALTH).expect("sends");
        read_response(stream);
    }
    let mut third = wire.connect();
    let mut bytes = Vec::new();
    let outcome = third.read_to_end(&mut bytes);
    assert!(outcome.is_err() || bytes.is_empty());
    for stream in &mut inside {
        stream.write_all(HEALTH).expect("those inside are served on");
        read_response(stream);
    }
    drop(inside.pop());
    eventually("a place is free again", || {
        let mut stream = wire.connect();
        pour(&mut stream, HEALTH);
        let mut byte = [0];
        matches!(stream.read(&mut byte), Ok(1))
    });
}

#[test]
fn a_crowd_of_listeners_takes_nobodys_place() {
    let wire = Wire::start(Settings { connections_max: 2, ..Settings::default() });
    let body = "Listening-Configs=absent%02g%02%01";
    let head = "POST /nacos/v1/cs/configs/listener HTTP/1.1\r\nHost: x\r\n\
        Long-Pulling-Timeout: 30000\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let mut crowd: Vec<_> = (0..8).map(|_| wire.connect()).collect();
    for stream in &mut crowd {
        stream.write_all(request.as_bytes()).expect("sends");
    }
    wire.world.wait_held(crowd.len());
    let mut stream = wire.connect();
    stream.write_all(HEALTH).expect("sends");
    assert_eq!(status(&read_response(&mut stream)), "200", "and there is room for others");
}

#[test]
fn many_half_open_connections_cost_a_healthy_client_nothing() {
    let wire = Wire::start(short());
    let half_open: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = wire.connect();
            pour(&mut stream, b"GET /nacos/v1/cs/health HT");
            stream
        })
        .collect();
    let mut healthy = wire.connect();
    for _ in 0..100 {
        healthy.write_all(HEALTH).expect("sends");
        assert!(read_response(&mut healthy).ends_with("UP"));
    }
    for mut stream in half_open {
        assert_eq!(read_all(&mut stream), "");
    }
}

#[test]
fn http_1_1_wants_one_host_and_http_1_0_no_more() {
    let wire = Wire::start(short());
    for (lines, expected) in [
        ("1.1\r\nHost: x\r\n", "200"),
        ("1.1\r\n", "400"),
        ("1.1\r\nHost: x\r\nHost: x\r\n", "400"),
        ("1.1\r\nHost: x\r\nhost: y\r\n", "400"),
        ("1.0\r\n", "200"),
        ("1.0\r\nHost: x\r\n", "200"),
        ("1.0\r\nHost: x\r\nHost: y\r\n", "400"),
    ] {
        let head = format!("GET /nacos/v1/cs/health HTTP/{lines}Connection: close\r\n\r\n");
        let answer = wire.exchange(head.as_bytes());
        assert_eq!(status(&answer), expected, "{lines:?}");
        assert!(answer.contains("nosniff") && answer.contains("sandbox"), "{answer}");
    }
}

fn login_head(length: usize) -> String {
    format!(
        "POST /nacos/v1/auth/login?username=u HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// A call that stops 110 kB before the end of its body.
fn greedy(wire: &Wire) -> TcpStream {
    let mut stream = wire.connect();
    stream.write_all(login_head(500_000).as_bytes()).expect("sends");
    stream.write_all(&[b'x'; 390_000]).expect("sends");
    wire.holds(390_000);
    stream
}

#[test]
fn large_bodies_do_not_take_the_room_of_small_ones() {
    let wire = Wire::start(Settings {
        bodies_bytes_max: 400_000,
        bodies_reserve_bytes: 800_000,
        ..Settings::default()
    });
    let greedy = greedy(&wire);
    let body = |length: usize| {
        let mut stream = wire.connect();
        stream.write_all(login_head(length).as_bytes()).expect("sends");
        pour(&mut stream, &vec![b'x'; length]);
        status(&read_response(&mut stream)).to_owned()
    };
    assert_eq!(body(100_000), "503", "there is no room for a large one");
    assert_eq!(body(50_000), "200");
    drop(greedy);
    eventually("there is room again", || body(100_000) == "200");
}

#[test]
fn a_body_that_stands_still_goes_when_another_one_needs_its_room() {
    let wire = Wire::start(Settings {
        bodies_bytes_max: 400_000,
        bodies_reserve_bytes: 0,
        ..Settings::default()
    });
    let mut greedy = greedy(&wire);
    let body = || {
        let mut stream = wire.connect();
        stream.write_all(login_head(100_000).as_bytes()).expect("sends");
        pour(&mut stream, &[b'x'; 100_000]);
        status(&read_response(&mut stream)).to_owned()
    };
    assert_eq!(body(), "503");
    eventually("it is given up, long before its time is over", || body() == "200");
    assert_eq!(status(&read_response(&mut greedy)), "408");
}
