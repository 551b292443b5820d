//! Long polls through the router.

use std::thread;

use nacolet_api::Settings;
use nacolet_model::Duration;
use serde_json::json;
use tide::http;

use crate::world::{Reply, World, clock, request};

const MD5_OF_HELLO: &str = "5d41402abc4b2a76b9719d911017c592";

fn poll(list: &str, headers: &[(&str, &str)]) -> http::Request {
    let mut request = request("POST", "/nacos/v1/cs/configs/listener");
    let list: String = list.bytes().map(|byte| format!("%{byte:02X}")).collect();
    request.set_body(format!("Listening-Configs={list}"));
    request.insert_header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request.insert_header(*name, *value);
    }
    request
}

const LONG: (&str, &str) = ("Long-Pulling-Timeout", "30000");

fn entry(data_id: &str, md5: &str) -> String {
    format!("{data_id}\u{2}g\u{2}{md5}\u{1}")
}

#[test]
fn a_difference_is_told_at_once_and_to_the_byte() {
    let world = World::new();
    world.publish("d", "hello");
    let reply = world.send(poll(&entry("d", ""), &[LONG]));
    assert_eq!((reply.status, reply.text()), (200, "d%02g%01\n"));
    assert_eq!(reply.header("cache-control"), "no-cache,no-store");
    assert_eq!(reply.header("content-type"), "text/plain;charset=UTF-8");
    let four = "d\u{2}g\u{2}\u{2}public\u{1}";
    assert_eq!(world.send(poll(four, &[LONG])).text(), "d%02g%02public%01\n");
    let gone = entry("none", MD5_OF_HELLO);
    assert_eq!(world.send(poll(&gone, &[LONG])).text(), "none%02g%01\n", "removed meanwhile");
}

#[test]
fn a_node_without_a_leader_since_its_start_guesses_nothing() {
    let world = World::new();
    world.publish("d", "hello");
    world.stage.open();
    let get = |data_id: &str| {
        world.call("GET", &format!("/nacos/v1/cs/configs?dataId={data_id}&group=g")).status
    };
    assert_eq!((get("d"), get("none")), (200, 503));
    let v3 = "/nacos/v3/client/cs/config?dataId=none&groupName=g";
    let v2 = "/nacos/v2/cs/config?dataId=none&group=g";
    for target in [v3, v2, "/nacos/v1/cs/history/configs?tenant="] {
        assert_eq!(world.call("GET", target).status, 503, "{target}");
    }
    // People who look through lists are told that this is what it knew.
    for target in [
        "/nacos/v1/cs/configs?search=blur&dataId=&group=&pageNo=1&pageSize=9",
        "/nacos/v1/cs/configs?exportV2=true&group=&tenant=",
        "/nacos/v3/admin/cs/config/list?search=blur&pageNo=1&pageSize=9",
        "/nacos/v2/cs/history/list?dataId=d&group=g",
    ] {
        let reply = world.call("GET", target);
        assert_eq!((reply.status, reply.header("nacolet-stale")), (200, "true"), "{target}");
    }
    for target in ["/nacos/v1/console/namespaces", "/nacos/v3/admin/core/namespace/list"] {
        let reply = world.call("GET", target);
        assert_eq!((reply.status, reply.header("nacolet-stale")), (200, "true"), "{target}");
    }
    let now = [LONG, ("Long-Pulling-Timeout-No-Hangup", "true")];
    let list = [entry("d", "other"), entry("none", MD5_OF_HELLO)].concat();
    assert_eq!(world.send(poll(&list, &now)).text(), "", "what it has may be the older one");
    world.stage.make_ready();
    assert_eq!(world.send(poll(&list, &now)).text(), "d%02g%01none%02g%01\n");
    assert_eq!((get("d"), get("none")), (200, 404));
    let one = world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g");
    assert_eq!(one.header("nacolet-stale"), "");
}

/// Runs a poll beside the test.
fn hang(world: &World, list: &str) -> thread::JoinHandle<Reply> {
    let server = world.server.clone();
    let request = poll(list, &[LONG]);
    thread::spawn(move || {
        let mut response = smol::block_on(server.respond(request)).expect("an answer");
        let body = smol::block_on(response.body_bytes()).expect("a body");
        Reply { status: u16::from(response.status()), headers: Default::default(), body }
    })
}

#[test]
fn a_poll_hangs_until_a_key_of_it_changes() {
    let world = World::new();
    world.publish("d", "hello");
    let list = [entry("other", ""), entry("d", MD5_OF_HELLO)].concat();
    let polled = hang(&world, &list);
    world.wait_held(1);
    let (_, deadline) = world.held();
    let hold = deadline.expect("a deadline").saturating_since(clock().0);
    assert!(hold > Duration::from_secs(25) && hold <= Duration::from_millis(29_500), "{hold:?}");
    world.publish("unrelated", "x");
    assert_eq!(world.held().0, 1);
    world.publish("d", "changed");
    let reply = polled.join().expect("no panic");
    assert_eq!((reply.status, reply.text()), (200, "d%02g%01\n"));
}

#[test]
fn a_poll_that_runs_out_is_answered_with_nothing() {
    let world = World::new();
    let polled = hang(&world, &entry("d", ""));
    world.wait_held(1);
    world.expire();
    let reply = polled.join().expect("no panic");
    assert_eq!((reply.status, reply.text()), (200, ""));
}

#[test]
fn a_server_that_stops_lets_its_polls_go() {
    let world = World::new();
    let polled = hang(&world, &entry("d", ""));
    world.wait_held(1);
    world.server.stop();
    let reply = polled.join().expect("no panic");
    assert_eq!((reply.status, reply.text()), (200, ""));
}

#[test]
fn no_hangup_means_no_hanging() {
    let world = World::new();
    let headers = [LONG, ("Long-Pulling-Timeout-No-Hangup", "true")];
    let reply = world.send(poll(&entry("d", ""), &headers));
    assert_eq!((reply.status, reply.text()), (200, ""));
}

#[test]
fn a_short_poll_answers_old_clients_in_headers() {
    let world = World::new();
    world.publish("d", "hello");
    let list = [entry("d", ""), entry("e", "")].concat();
    let reply = world.send(poll(&list, &[]));
    assert_eq!(reply.header("probe-modify-response"), "d:g;");
    assert_eq!(reply.header("probe-modify-response-new"), "d%02g%01");
    assert_eq!(reply.text(), "");
    let reply = world.send(poll(&list, &[("Client-Version", "3.0.0")]));
    assert_eq!((reply.text(), reply.header("probe-modify-response")), ("", ""));
}

#[test]
fn a_list_that_is_none_is_refused() {
    let world = World::new();
    for list in ["", "d", "d\u{2}g\u{1}", "a b\u{2}g\u{2}\u{1}"] {
        let reply = world.send(poll(list, &[LONG]));
        assert_eq!(reply.status, 400, "{list:?}");
    }
    let reply = world.form("POST", "/nacos/v1/cs/configs/listener", "a=b");
    assert!(reply.text().contains("invalid probeModify"), "{}", reply.text());
}

#[test]
fn too_many_polls_are_refused() {
    let world = World::with(Settings { long_polls_max: 1, ..Settings::default() });
    let polled = hang(&world, &entry("d", ""));
    world.wait_held(1);
    let reply = world.send(poll(&entry("d", ""), &[LONG]));
    assert_eq!((reply.status, reply.header("retry-after")), (429, "1"));
    world.expire();
    assert_eq!(polled.join().expect("no panic").status, 200);
}

#[test]
fn who_listens_is_shown_by_config_and_by_address() {
    let world = World::new();
    let list = "d\u{2}g\u{2}\u{1}e\u{2}g\u{2}\u{2}dev\u{1}";
    let polled = hang(&world, list);
    world.wait_held(1);
    let shown = world.call("GET", "/nacos/v1/cs/configs/listener?dataId=d&group=g").json();
    let expected = json!({"collectStatus": 200, "lisentersGroupkeyStatus": {"127.0.0.1": ""}});
    assert_eq!(shown, expected);
    let by_ip = |query: &str| {
        let target = format!("/nacos/v1/cs/listener?ip=127.0.0.1{query}");
        world.call("GET", &target).json()["lisentersGroupkeyStatus"].clone()
    };
    assert_eq!(by_ip(""), json!({"d+g": ""}));
    assert_eq!(by_ip("&tenant=dev"), json!({"e+g+dev": ""}));
    assert_eq!(by_ip("&all=true"), json!({"d+g": "", "e+g+dev": ""}));
    world.expire();
    polled.join().expect("no panic");
}
