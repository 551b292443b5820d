//! Lists of instances, what they cost, and the pushes that follow them.

use std::io::Read as _;
use std::time::Duration;

use flate2::read::GzDecoder;
use nacolet_api::Call;
use nacolet_api::udp::parse_ack;
use serde_json::{Value, json};

use crate::world::World;

#[test]
fn a_list_has_every_field_that_some_client_insists_on() {
    let mut world = World::new();
    world.register("serviceName=s&ip=10.0.0.1&port=80");
    let (_, list) = world.call("GET", "/v1/ns/instance/list?serviceName=s&clusters=DEFAULT");
    let ref_time = serde_json::from_str::<Value>(&list).expect("JSON")["lastRefTime"].clone();
    let expected = format!(
        r#"{{"name":"DEFAULT_GROUP@@s","groupName":"DEFAULT_GROUP","clusters":"DEFAULT","cacheMillis":10000,"hosts":[{{"instanceId":"10.0.0.1#80#DEFAULT#DEFAULT_GROUP@@s","ip":"10.0.0.1","port":80,"weight":1.0,"healthy":true,"enabled":true,"ephemeral":true,"clusterName":"DEFAULT","serviceName":"DEFAULT_GROUP@@s","metadata":{{}},"instanceHeartBeatInterval":5000,"instanceHeartBeatTimeOut":15000,"ipDeleteTimeout":30000,"instanceIdGenerator":"simple"}}],"lastRefTime":{ref_time},"checksum":"","allIPs":false,"allIps":false,"reachProtectionThreshold":false,"valid":true}}"#
    );
    assert_eq!(list, expected);
}

#[test]
fn a_service_that_is_not_there_has_an_empty_list() {
    let mut world = World::new();
    let list = world.list("serviceName=none&clusters=c1,c2");
    assert_eq!((&list["hosts"], &list["clusters"]), (&json!([]), &json!("c1,c2")));
    assert_eq!(list["name"], "DEFAULT_GROUP@@none");
    world.expect("GET", "/v1/ns/instance/list", 400, "Param 'serviceName' is required.");
    let (status, _) = world.call("GET", "/v1/ns/instance/list?serviceName=s&clusters=a.b");
    assert_eq!(status, 400);
}

#[test]
fn clusters_and_health_select_instances() {
    let mut world = World::new();
    world.register("serviceName=s&ip=10.0.0.1&port=80&clusterName=c1");
    world.register("serviceName=s&ip=10.0.0.2&port=80&clusterName=c2&healthy=false");
    world.register("serviceName=s&ip=10.0.0.3&port=80&clusterName=c3&enabled=false");
    let mut ips = |query: &str| {
        let list = world.list(&format!("serviceName=s{query}"));
        let hosts = list["hosts"].as_array().expect("hosts").iter();
        hosts.map(|host| host["ip"].as_str().expect("ip").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ips(""), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(ips("&clusters=c2"), ["10.0.0.2"]);
    assert_eq!(ips("&clusters=c1,c2"), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(ips("&healthyOnly=true"), ["10.0.0.1"]);
    assert_eq!(ips("&clusters=c4"), [""; 0]);
}

#[test]
fn a_list_changes_only_when_its_service_does() {
    let mut world = World::new();
    world.register("serviceName=s&ip=10.0.0.1&port=80");
    let target = "/v1/ns/instance/list?serviceName=s";
    let (_, first) = world.call("GET", target);
    world.advance(Duration::from_secs(5));
    world.call("PUT", "/v1/ns/instance/beat?serviceName=s&ip=10.0.0.1&port=80");
    world.register("serviceName=other&ip=10.0.0.1&port=80");
    assert_eq!(world.call("GET", target).1, first, "neither beats nor other services show");
    world.register("serviceName=s&ip=10.0.0.1&port=80&weight=2");
    let (_, second) = world.call("GET", target);
    let ref_time = |list: &str| {
        serde_json::from_str::<Value>(list).expect("JSON")["lastRefTime"].as_u64().expect("number")
    };
    assert!(ref_time(&second) > ref_time(&first));
    assert!(second.contains("\"weight\":2.0"), "{second}");
}

#[test]
fn lists_of_the_same_name_in_different_places_differ() {
    let mut world = World::new();
    world.register("serviceName=s&ip=10.0.0.1&port=80&namespaceId=dev");
    world.register("serviceName=s&ip=10.0.0.2&port=80&groupName=g");
    assert_eq!(world.list("serviceName=s")["hosts"], json!([]));
    assert_eq!(world.list("serviceName=s&namespaceId=dev")["hosts"][0]["ip"], "10.0.0.1");
    let in_group = world.list("serviceName=s&groupName=g");
    assert_eq!(in_group, world.list("serviceName=g@@s&groupName=x"));
    assert_eq!(in_group["hosts"][0]["ip"], "10.0.0.2");
}

#[test]
fn v2_and_v3_lists_are_wrapped() {
    let mut world = World::new();
    world.register("serviceName=s&ip=10.0.0.1&port=80&clusterName=c1");
    let mut v1 = world.list("serviceName=s&clusters=c1");
    let id = v1["hosts"][0].as_object_mut().and_then(|host| host.remove("instanceId"));
    assert_eq!(id, Some(json!("10.0.0.1#80#c1#DEFAULT_GROUP@@s")), "which v2 and v3 do not tell");
    let v2 = world.json("GET", "/v2/ns/instance/list?serviceName=s&clusterName=c1");
    assert_eq!((&v2["code"], &v2["data"]), (&json!(0), &v1));
    let v3 = "/v3/client/ns/instance/list?serviceName=s";
    assert_eq!(world.json("GET", v3)["data"], json!([]), "it lists the default cluster");
    assert_eq!(world.json("GET", &format!("{v3}&clusterName=c1"))["data"], v1["hosts"]);
}

#[test]
fn operators_see_every_instance_as_it_is() {
    let mut world = World::new();
    world.register("serviceName=s&ip=10.0.0.1&port=80&enabled=false");
    world.register("serviceName=s&ip=10.0.0.2&port=80&healthy=false");
    let admin = "/v3/admin/ns/instance/list?serviceName=s";
    let hosts = world.json("GET", admin)["data"].clone();
    assert_eq!((&hosts[0]["enabled"], &hosts[0]["healthy"]), (&json!(false), &json!(true)));
    assert_eq!((&hosts[1]["enabled"], &hosts[1]["healthy"]), (&json!(true), &json!(false)));
    let healthy = world.json("GET", &format!("{admin}&healthyOnly=true"));
    assert_eq!(healthy["data"], json!([hosts[0]]));
    let console = "/v3/console/ns/instance/list?serviceName=s&pageNo=2&pageSize=1";
    let page = world.json("GET", console)["data"].clone();
    assert_eq!((&page["totalCount"], &page["pageItems"]), (&json!(2), &json!([hosts[1]])));
    for (more, why) in [
        ("serviceName=none", "service DEFAULT_GROUP@@none is not found!"),
        ("serviceName=s&clusterName=c1", "cluster c1 is not found!"),
    ] {
        for path in ["/v3/admin/ns/instance/list", "/v3/console/ns/instance/list"] {
            let gone = format!(r#"{{"code":30000,"message":"server error","data":"{why}"}}"#);
            world.expect("GET", &format!("{path}?{more}"), 404, &gone);
        }
    }
    let services = "/v3/admin/ns/service/list?withInstances=true";
    let item = world.json("GET", services)["data"]["pageItems"][0].clone();
    assert_eq!(item["clusterMap"]["DEFAULT"]["hosts"], hosts, "whole instances");
    for query in ["pageNo=0", "pageSize=0", "pageSize=-1", "pageNo=x", "withInstances=x"] {
        let (status, text) = world.call("GET", &format!("/v3/admin/ns/service/list?{query}"));
        assert_eq!((status, text.contains("\"code\":20002")), (400, true), "{query}: {text}");
    }
}

/// What a client reads: gzip is told by its first two bytes.
fn unpacked(datagram: &[u8]) -> Vec<u8> {
    if !datagram.starts_with(&[0x1f, 0x8b]) {
        return datagram.to_vec();
    }
    let mut plain = Vec::new();
    GzDecoder::new(datagram).read_to_end(&mut plain).expect("what we packed unpacks");
    plain
}

const JAVA: &[(&str, &str)] = &[("user-agent", "Nacos-Java-Client:v1.4.2")];

/// And pushed to where its call came from, whatever it says of itself.
#[test]
fn a_client_with_a_udp_port_is_pushed_what_the_list_would_show() {
    let mut world = World::new();
    world.register("serviceName=s&ip=10.0.0.1&port=80");
    let target =
        "/v1/ns/instance/list?serviceName=s&clusters=DEFAULT&clientIP=10.0.0.7&udpPort=5555&app=a";
    assert_eq!(world.call_as("GET", target, "", JAVA).0, 200);
    world.register("serviceName=s&ip=10.0.0.2&port=80");
    world.advance(Duration::from_secs(1));

    let push = world.pushes.pop().expect("a push");
    assert_eq!((&*push.subscriber.ip, push.subscriber.port), ("127.0.0.1", 5555));
    let packet: Value = serde_json::from_slice(&unpacked(&push.datagram)).expect("JSON");
    assert_eq!((&packet["type"], &packet["lastRefTime"]), (&json!("dom"), &json!(push.reference)));
    let (_, list) = world.call_as("GET", target, "", JAVA);
    assert_eq!(packet["data"], json!(list));
    let ack = json!({"type": "push-ack", "lastRefTime": push.reference.to_string(), "data": ""});
    assert_eq!(parse_ack(ack.to_string().as_bytes()), Some(push.reference));
}

#[test]
fn polling_with_a_udp_port_seldom_reaches_the_core() {
    let mut world = World::new();
    let target = "/v1/ns/instance/list?serviceName=s&clientIP=10.0.0.7&udpPort=5555";
    for _ in 0..20 {
        world.call_as("GET", target, "", JAVA);
    }
    assert_eq!(world.core_requests, 1);
    world.advance(Duration::from_secs(6));
    world.call_as("GET", target, "", JAVA);
    assert_eq!(world.core_requests, 2, "half the lease is used");
}

#[test]
fn who_cannot_be_pushed_to_is_no_subscriber() {
    let mut world = World::new();
    let list = "/v1/ns/instance/list?serviceName=s";
    world.call_as("GET", &format!("{list}&clientIP=10.0.0.7&udpPort=0"), "", JAVA);
    world.call("GET", &format!("{list}&clientIP=10.0.0.7&udpPort=5555"));
    assert_eq!(world.core_requests, 0);
    let bad_port = format!("{list}&clientIP=10.0.0.7&udpPort=70000");
    assert_eq!(world.call_as("GET", &bad_port, "", JAVA).0, 400);
}

#[test]
fn a_node_that_is_not_ready_gives_no_empty_lists() {
    let mut world = World::new();
    world.port.stage.close();
    let (status, text) = world.call("GET", "/v1/ns/instance/list?serviceName=s");
    assert_eq!((status, text.contains("STARTING")), (503, true), "{text}");
}

#[test]
fn without_a_leader_what_was_agreed_may_be_stale_and_what_is_heard_is_not() {
    let mut world = World::new();
    world.register("serviceName=heard&ip=10.0.0.1&port=80");
    world.register("serviceName=agreed&ip=10.0.0.1&port=80&ephemeral=false");
    let is_stale = |world: &mut World, target: &str| {
        let uri = format!("/nacos{target}").parse().expect("a target");
        let answer = world.serve(Call { uri, ..Call::default() });
        assert_eq!(answer.status, 200, "{target}");
        answer.headers.contains_key("nacolet-stale")
    };
    let of_one = [
        "/v1/ns/instance/list?serviceName=",
        "/v2/ns/instance/list?serviceName=",
        "/v3/client/ns/instance/list?serviceName=",
        "/v1/ns/instance?ip=10.0.0.1&port=80&serviceName=",
        "/v1/ns/catalog/instances?clusterName=DEFAULT&pageNo=1&pageSize=9&serviceName=",
        "/v2/ns/catalog/instances?pageNo=1&pageSize=9&serviceName=",
        "/v3/console/ns/instance/list?pageNo=1&pageSize=9&serviceName=",
    ];
    let of_all = [
        "/v1/ns/service/list?pageNo=1&pageSize=9",
        "/v2/ns/service/list?pageNo=1&pageSize=9",
        "/v1/ns/service/names",
        "/v1/ns/service?serviceName=heard",
        "/v1/ns/catalog/services?pageNo=1&pageSize=9",
        "/v3/admin/ns/service/list?pageNo=1&pageSize=9",
        "/v1/console/namespaces",
        "/prometheus",
    ];
    let of_none = ["/v1/ns/service/subscribers?serviceName=heard", "/v1/console/server/state"];
    for is_without in [false, true] {
        if is_without {
            world.port.stage.open();
        }
        for target in of_one {
            assert!(!is_stale(&mut world, &format!("{target}heard")), "{target}");
            assert_eq!(is_stale(&mut world, &format!("{target}agreed")), is_without, "{target}");
        }
        for target in of_all {
            assert_eq!(is_stale(&mut world, target), is_without, "{target}");
        }
        for target in of_none {
            assert!(!is_stale(&mut world, target), "{target}");
        }
        // What is not there may have been agreed elsewhere.
        let nothing = "/v1/ns/instance/list?serviceName=none";
        assert_eq!(is_stale(&mut world, nothing), is_without);
    }
}
