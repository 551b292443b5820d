//! The node as a whole: health, members, switches, numbers, clients, Prometheus.

use std::sync::Arc;
use std::time::Duration;

use nacolet_api::{Call, OperatorKey, PROOF_HEADER, Proved, Server, Settings};
use serde_json::{Value, json};

use crate::world::World;

#[test]
fn probes_tell_alive_from_ready() {
    let mut world = World::new();
    let ok = r#"{"code":0,"message":"success","data":"ok"}"#;
    let probes = [
        ("/v1/console/health/", "OK"),
        ("/v2/console/health/", ok),
        ("/v3/admin/core/state/", ok),
        ("/v3/console/health/", ok),
    ];
    for (path, body) in probes {
        world.expect("GET", &format!("{path}liveness"), 200, body);
        world.expect("GET", &format!("{path}readiness"), 200, body);
    }
    world.expect("GET", "/actuator/health", 200, r#"{"status":"UP"}"#);
    world.port.stage.close();
    world.port.stage.wait_for("new nodes, 1 of 3 are there: 10.0.0.2:7848 (refused)".to_owned());
    world.expect("GET", "/actuator/health", 503, r#"{"status":"OUT_OF_SERVICE"}"#);
    for (path, body) in probes {
        world.expect("GET", &format!("{path}liveness"), 200, body);
        let (status, text) = world.call("GET", &format!("{path}readiness"));
        assert_eq!((status, text.contains("not in readiness")), (503, true), "{text}");
        assert!(text.contains("waiting for new nodes, 1 of 3 are there: 10.0.0.2:7848"), "{text}");
    }
    assert_eq!(world.port.stage.waits_for(true).expect("words"), "new nodes, 1 of 3 are there");
    // Whoever wants more is told the same.
    for (method, path) in
        [("GET", "/v1/cs/configs?dataId=d&group=g"), ("POST", "/v1/ns/instance?serviceName=s")]
    {
        let (status, text) = world.call(method, path);
        assert_eq!((status, text.contains("it waits for new nodes")), (503, true), "{text}");
    }
    assert_eq!(world.call("GET", "/metrics").0, 200);
}

#[test]
fn the_state_is_a_flat_map_of_texts() {
    let mut world = World::new();
    let state = world.json("GET", "/v1/console/server/state");
    assert_eq!(state["startup_mode"], json!("standalone"));
    assert_eq!(state["auth_admin_request"], json!("false"), "nobody has to log in");
    assert_eq!(state["maxContent"], json!("10485760"), "the bound that there is");
    assert_eq!(state["nacolet_version"], "0.1.0");
    let map = state.as_object().expect("a map");
    assert!(map.values().all(|value| value.is_string() || value.is_null()), "{state}");
    let mut newer = state;
    newer["version"] = json!("3.1.0");
    assert_eq!(world.json("GET", "/v3/admin/core/state")["data"], newer);
    assert_eq!(world.json("GET", "/v3/console/server/state"), newer);
}

#[test]
fn whoever_looks_is_told_that_nobody_has_to_log_in() {
    let mut world = World::new();
    for family in ["v1", "v3"] {
        let path = format!("/{family}/console/server");
        let mut told = |language: &str| {
            world.json("GET", &format!("{path}/announcement{language}"))["data"].clone()
        };
        let words = told("?language=en-US");
        assert!(words.as_str().is_some_and(|words| words.contains("log in")), "{words}");
        assert_eq!(told(""), told("?language=zh-CN"), "as Nacos, Chinese unless it is said");
        let (status, _) = world.call("GET", &format!("{path}/announcement?language=de"));
        assert_eq!(status, 400);
        let guide = world.json("GET", &format!("{path}/guide"));
        assert!(guide["data"].as_str().is_some_and(|words| words.contains("/nacos")), "{guide}");
    }
}

#[test]
fn members_are_described_in_three_versions() {
    let mut world = World::new();
    let own = world.json("GET", "/v1/core/cluster/self");
    assert_eq!(own["code"], json!(200));
    let member = own["data"].clone();
    assert_eq!((&member["ip"], &member["port"]), (&json!("10.0.0.9"), &json!(8848)));
    assert_eq!((&member["state"], &member["address"]), (&json!("UP"), &json!("10.0.0.9:8848")));
    let info = &member["extendInfo"];
    let groups = info["raftMetaData"]["metaDataMap"].as_object().expect("groups").clone();
    let expected =
        json!({"leader": "10.0.0.9:7848", "raftGroupMember": ["10.0.0.9:7848"], "term": 3});
    assert!(groups.values().all(|group| *group == expected), "{groups:?}");
    assert!(groups.contains_key("naming_persistent_service_v2"), "{groups:?}");
    assert_eq!((&info["raftPort"], &info["version"]), (&json!("7848"), &json!("2.5.2")));
    for path in ["/v1/core/cluster/nodes", "/v2/core/cluster/node/list"] {
        assert_eq!(world.json("GET", path)["data"], json!([member]), "{path}");
    }
    assert_eq!(world.json("GET", "/v2/core/cluster/node/self")["data"], member);

    let newer = world.json("GET", "/v3/admin/core/cluster/node/self")["data"].clone();
    assert_eq!(newer["extendInfo"]["version"], json!("3.1.0"));
    for path in ["/v3/admin/core/cluster/node/list", "/v3/console/core/cluster/nodes"] {
        assert_eq!(world.json("GET", path)["data"], json!([newer]), "{path}");
    }
    let none = world.json("GET", "/v3/console/core/cluster/nodes?keyword=10.0.0.8");
    assert_eq!(none["data"], json!([]));
    let none = world.json("GET", "/v1/core/cluster/nodes?keyword=10.0.0.8");
    assert_eq!(none["data"], json!([]));
    let down = world.json("GET", "/v2/core/cluster/node/list?state=down");
    assert_eq!(down["data"], json!([]));
    let (status, text) = world.call("GET", "/v2/core/cluster/node/list?state=asleep");
    assert_eq!((status, text.contains("\"code\":23000")), (400, true), "{text}");
    let simple = world.json("GET", "/v1/core/cluster/simple/nodes");
    assert_eq!(simple["data"], json!(["10.0.0.9:8848"]));
}

#[test]
fn the_list_of_servers_is_one_address_a_line() {
    let mut world = World::new();
    world.expect("GET", "/serverlist?namespace=public&nofix=1", 200, "10.0.0.9:8848\n");
    let servers = world.json("GET", "/v1/ns/operator/servers");
    assert_eq!(servers["servers"][0]["port"], json!(8848));
}

#[test]
fn switches_act_and_unknown_ones_are_passed_over() {
    let mut world = World::new();
    let switches = "/v1/ns/operator/switches";
    assert_eq!(world.json("GET", switches)["clientBeatInterval"], json!(5000));
    world.expect("PUT", &format!("{switches}?entry=clientBeatInterval&value=8000"), 200, "ok");
    assert_eq!(world.json("GET", "/v1/ns/ops/switches")["clientBeatInterval"], json!(8000));
    world.register("serviceName=s&ip=10.0.0.1&port=80");
    let (_, beat) = world.call("PUT", "/v1/ns/instance/beat?serviceName=s&ip=10.0.0.1&port=80");
    assert!(beat.contains("\"clientBeatInterval\":8000"), "{beat}");

    let before = world.json("GET", switches);
    for same in
        ["nonsense&value=1", "healthCheckEnabled&value=x", "defaultPushCacheMillis&value=5000"]
    {
        world.expect("PUT", &format!("{switches}?entry={same}"), 200, "ok");
    }
    assert_eq!(world.json("GET", switches), before);
    world.expect("PUT", &format!("{switches}?entry=healthCheckEnabled&value=false"), 200, "ok");
    world.expect("PUT", &format!("{switches}?entry=distroThreshold&value=2"), 200, "ok");
    let after = world.json("GET", switches);
    assert_eq!(after["healthCheckEnabled"], json!(false));
    assert_eq!(after["distroThreshold"], json!(2.0));
    world.expect("PUT", &format!("{switches}?entry=clientBeatInterval&value=1"), 200, "ok");
    let (_, beat) = world.call("PUT", "/v1/ns/instance/beat?serviceName=s&ip=10.0.0.1&port=80");
    assert!(beat.contains("\"clientBeatInterval\":1000"), "{beat}");
    assert_eq!(world.json("GET", switches)["clientBeatInterval"], json!(1));
    world.expect("PUT", &format!("{switches}?entry=clientBeatInterval&value=8000"), 200, "ok");

    assert_eq!(world.call("PUT", &format!("{switches}?entry=check&value=maybe")).0, 400);
    assert_eq!(world.call("PUT", &format!("{switches}?entry=distro&value=false")).0, 400);
    world.expect("PUT", &format!("{switches}?value=1"), 400, "Param 'entry' is required.");

    let v2 = world.json("GET", "/v2/ns/operator/switches");
    assert_eq!(v2["data"]["clientBeatInterval"], json!(8000));
}

#[test]
fn an_operator_can_close_the_node_for_reads_or_writes() {
    let mut world = World::new();
    let status = "/v1/ns/operator/switches?entry=overriddenServerStatus&value=";
    let register = "/v1/ns/instance?serviceName=s&ip=10.0.0.1&port=80";
    let list = "/v1/ns/instance/list?serviceName=s";
    for (word, read, write) in
        [("DOWN", 503, 503), ("READ_ONLY", 200, 503), ("WRITE_ONLY", 503, 200), ("", 200, 200)]
    {
        world.expect("PUT", &format!("{status}{word}"), 200, "ok");
        assert_eq!(world.call("GET", list).0, read, "read while {word}");
        assert_eq!(world.call("POST", register).0, write, "write while {word}");
        let shown = if word.is_empty() { "UP" } else { word };
        world.expect("GET", "/v1/ns/operator/metrics", 200, &format!(r#"{{"status":"{shown}"}}"#));
    }
}

const JAVA: &[(&str, &str)] = &[("user-agent", "Nacos-Java-Client:v1.4.2")];

fn populated() -> World {
    let mut world = World::new();
    world.register("serviceName=s&ip=10.0.0.1&port=80&metadata=a.b-c%3D1");
    world.register("serviceName=s2&ip=10.0.0.1&port=80");
    world.register("serviceName=p&ip=10.0.0.2&port=80&ephemeral=false&namespaceId=dev");
    let list = "/v1/ns/instance/list?serviceName=s&clientIP=10.0.0.7&udpPort=55&app=a";
    world.call_as("GET", list, "", JAVA);
    world
}

#[test]
fn metrics_count_what_is_there() {
    let mut world = populated();
    world.expect("GET", "/v1/ns/operator/metrics", 200, r#"{"status":"UP"}"#);
    let metrics = world.json("GET", "/v1/ns/operator/metrics?onlyStatus=false");
    for (name, count) in [
        ("serviceCount", 3),
        ("instanceCount", 3),
        ("subscribeCount", 1),
        ("clientCount", 3),
        ("ephemeralIpPortClientCount", 2),
        ("persistentIpPortClientCount", 1),
    ] {
        assert_eq!(metrics[name], json!(count), "{name}");
    }
    let v2 = world.json("GET", "/v2/ns/operator/metrics");
    assert_eq!(v2["data"], json!({"status": "UP"}));
}

#[test]
fn pushes_are_counted() {
    let mut world = populated();
    let state = "/v1/ns/operator/push/state";
    world.expect("GET", state, 200, r#"{"ratio":0.0,"reset":false,"succeed":0,"total":0}"#);
    world.register("serviceName=s&ip=10.0.0.3&port=80");
    world.advance(Duration::from_secs(6));
    let list = "/v1/ns/instance/list?serviceName=s&clientIP=10.0.0.7&udpPort=55&app=a";
    world.call_as("GET", list, "", JAVA);
    world.expect("GET", state, 200, r#"{"ratio":1.0,"reset":false,"succeed":1,"total":1}"#);
    world.advance(Duration::from_secs(6));
    let state = world.json("GET", "/v1/ns/ops/push/state");
    assert_eq!((&state["succeed"], &state["total"]), (&json!(0), &json!(1)), "nobody answered");
}

#[test]
fn clients_are_what_publishes_or_subscribes() {
    let mut world = populated();
    let ids = world.json("GET", "/v2/ns/client/list")["data"].clone();
    assert_eq!(ids, json!(["10.0.0.1:80#true", "10.0.0.2:80#false", "127.0.0.1:55#true"]));

    world.advance(Duration::from_secs(3));
    let one = world.json("GET", "/v2/ns/client?clientId=10.0.0.1:80%23true")["data"].clone();
    assert_eq!((&one["clientType"], &one["clientPort"]), (&json!("ipPort"), &json!("80")));
    assert_eq!(one["lastUpdatedTime"], json!(1_700_000_001_000_u64), "when it was registered");
    let (status, text) = world.call("GET", "/v2/ns/client?clientId=10.0.0.1:80%23false");
    assert_eq!((status, text.contains("\"code\":20004")), (404, true), "{text}");

    let published = world.json("GET", "/v2/ns/client/publish/list?clientId=10.0.0.1:80%23true");
    assert_eq!(published["data"][1]["serviceName"], "s2");
    assert_eq!(published["data"][1]["registeredInstance"]["cluster"], "DEFAULT");
    let subscribed = world.json("GET", "/v2/ns/client/subscribe/list?clientId=127.0.0.1:55%23true");
    assert_eq!(subscribed["data"][0]["subscriberInfo"]["addr"], "127.0.0.1:55");
    let v3 = "/v3/admin/ns/client/publish/list?clientId=10.0.0.1:80%23true";
    assert_eq!(world.json("GET", v3)["data"][0]["publisherInfo"]["clusterName"], "DEFAULT");

    let of_service = "/v2/ns/client/service/publisher/list?serviceName=s";
    assert_eq!(world.json("GET", of_service)["data"][0]["clientId"], "10.0.0.1:80#true");
    let elsewhere = format!("{of_service}&ip=10.0.0.9&port=80");
    assert_eq!(world.json("GET", &elsewhere)["data"], json!([]));
    let listeners = world.json("GET", "/v2/ns/client/service/subscriber/list?serviceName=s");
    assert_eq!(
        listeners["data"],
        json!([{"clientId": "127.0.0.1:55#true", "ip": "127.0.0.1", "port": 55}])
    );
}

#[test]
fn prometheus_finds_its_targets() {
    let mut world = populated();
    let all = world.json("GET", "/prometheus");
    assert_eq!(all.as_array().map(Vec::len), Some(3));
    world.expect(
        "GET",
        "/prometheus/namespaceId/public/service/s",
        200,
        r#"[{"labels":{"__meta_clusterName":"DEFAULT","a_b_c":"1"},"targets":["10.0.0.1:80"]}]"#,
    );
    let dev = world.json("GET", "/prometheus/namespaceId/dev");
    assert_eq!(dev[0]["targets"], json!(["10.0.0.2:80"]));
    assert_eq!(world.json("GET", "/prometheus/namespaceId/none"), json!([]));
}

#[test]
fn the_numbers_of_the_node_are_in_the_format_of_prometheus() {
    let mut world = populated();
    let (status, text) = world.call("GET", "/metrics");
    assert_eq!(status, 200);
    for line in [
        "nacolet_build_info{version=\"0.1.0\",node=\"0000000000000001\"} 1",
        "nacolet_ready 1",
        "nacolet_naming_instances 3",
        "nacolet_naming_persistent_instances 1",
        "nacolet_raft_is_leader 1",
        "nacolet_raft_term 3",
        "nacolet_members_up 1",
        "nacolet_probes_total 5",
        "nacolet_probes_failed_total 4",
        "nacolet_probes_void_total 3",
        "nacolet_probes_barred_total 2",
        "nacolet_probes_proposed_total 1",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
    }
    for line in text.lines() {
        let is_comment = line.starts_with("# HELP nacolet_") || line.starts_with("# TYPE nacolet_");
        let value = line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
        assert!(is_comment || value.is_some(), "{line}");
    }
}

#[test]
fn the_cluster_is_administered_from_elsewhere_with_a_proof_of_its_key_for_each_call() {
    const CLUSTER: &str = "/nacos/v3/admin/nacolet/cluster";
    let (key, other) = (OperatorKey([7; 32]), OperatorKey([8; 32]));
    let mut world = World::new();
    let settings = Settings { operator_key: Some(key.clone()), ..Settings::default() };
    world.server = Server::new(Arc::clone(&world.port), settings);
    let mut ask = |method: &str, path: &str, form: &str, proof: Option<&str>| {
        let mut call = Call {
            method: method.parse().expect("a method"),
            uri: format!("{CLUSTER}{path}").parse().expect("a target"),
            ip: "10.0.0.1".into(),
            body: form.to_owned().into(),
            ..Call::default()
        };
        let form_type = "application/x-www-form-urlencoded";
        let headers = [("nacolet-admin", Some("1")), ("content-type", Some(form_type))];
        for (name, value) in headers.into_iter().chain([(PROOF_HEADER, proof)]) {
            if let Some(value) = value {
                call.headers.insert(name, value.parse().expect("a header"));
            }
        }
        let answer = world.serve(call);
        let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
        (answer.status.as_u16(), body["data"]["nonce"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(ask("GET", "/state-hash", "", None).0, 403);
    let mut nonce = || ask("GET", "/nonce", "", None).1;
    let [first, second, third] = [nonce(), nonce(), nonce()];
    let proof = |key: &OperatorKey, nonce: &str, method, path: &str, body: &str| {
        let target = format!("{CLUSTER}{path}");
        let call = Proved { method, target: &target, body: body.as_bytes() };
        key.proof(nonce, call).expect("a nonce of the server")
    };
    let look = proof(&key, &first, "GET", "/state-hash", "");
    assert_eq!(ask("GET", "/state-hash?a=b", "", Some(&look)).0, 403, "another target");
    let wrong = proof(&other, &first, "GET", "/state-hash", "");
    assert_eq!(ask("GET", "/state-hash", "", Some(&wrong)).0, 403, "another key");
    assert_eq!(ask("GET", "/state-hash", "", Some(&look)).0, 200);
    assert_eq!(ask("GET", "/state-hash", "", Some(&look)).0, 403, "said again");
    // What may be asked is told what is wrong with it.
    let change = proof(&key, &second, "POST", "/add", "node=1");
    assert_eq!(ask("POST", "/add", "node=2", Some(&change)).0, 403, "another body");
    assert_eq!(ask("POST", "/remove", "node=1", Some(&change)).0, 403, "another path");
    assert_eq!(ask("POST", "/add", "node=1", Some(&change)).0, 400);
    // It opens nothing else.
    let forged = Proved { method: "POST", target: "/nacos/v3/auth/user", body: b"" };
    let forged = key.proof(&third, forged).expect("a nonce");
    let headers = [(PROOF_HEADER, forged.as_str()), ("x-forwarded-for", "10.0.0.1")];
    let user = "/v3/auth/user?username=u&password=battery";
    assert_eq!(world.call_as("POST", user, "", &headers).0, 403);
}
