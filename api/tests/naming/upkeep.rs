//! What Nacos lets an operator do to a cluster and to a server, as far as it means something here.

use serde_json::json;

use crate::world::World;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

fn refused(world: &mut World, method: &str, path: &str) -> (u16, Option<u64>, String) {
    let (status, text) = world.call(method, path);
    let body: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    (status, body["code"].as_u64(), text)
}

#[test]
fn members_are_not_looked_up() {
    let mut world = World::new();
    for path in ["/v2/core/cluster/lookup", "/v3/admin/core/cluster/lookup"] {
        for (query, status, code) in
            [("", 400, 10_000), ("?type=x", 400, 20_002), ("?type=file", 501, 40_001)]
        {
            let told = refused(&mut world, "PUT", &format!("{path}{query}"));
            assert_eq!((told.0, told.1), (status, Some(code)), "{path}{query}");
        }
    }
    let old = "/v1/core/cluster/switch/lookup";
    let told = refused(&mut world, "POST", &format!("{old}?type=x"));
    assert_eq!((told.0, told.1), (200, Some(500)), "as the first version tells it");
    assert_eq!(refused(&mut world, "POST", &format!("{old}?type=file")).0, 501);
    assert_eq!(refused(&mut world, "POST", old).0, 400);
}

#[test]
fn members_are_not_told_of_each_other_here() {
    let mut world = World::new();
    assert_eq!(refused(&mut world, "POST", "/v1/core/cluster/report").0, 410);
    for path in ["/v2/core/cluster/node/list", "/v3/admin/core/cluster/node/list"] {
        let told = refused(&mut world, "PUT", path);
        assert_eq!((told.0, told.1), (400, Some(10_000)), "{path} without a body");
        for (body, status, code) in [("[]", 400, 10_000), ("[{\"ip\":\"a\"}]", 501, 40_001)] {
            let (got, text) = world.call_as("PUT", path, body, JSON);
            let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!((got, &told["code"]), (status, &json!(code)), "{path} {body}");
        }
    }
    let told = refused(&mut world, "DELETE", "/v2/core/cluster/nodes");
    assert_eq!((told.0, told.1), (400, Some(10_000)));
    let told = refused(&mut world, "DELETE", "/v2/core/cluster/nodes?addresses=a:1");
    assert_eq!((told.0, told.1), (200, Some(405)));
    let leave = "/v1/core/cluster/server/leave";
    assert_eq!(refused(&mut world, "POST", leave).0, 400, "without a body");
    let (status, text) = world.call_as("POST", leave, "[]", JSON);
    assert_eq!((status, text.contains("\"code\":405")), (200, true), "{text}");
}

#[test]
fn numbers_are_told_by_the_names_of_nacos() {
    let mut world = World::new();
    let map = world.json("GET", "/v1/core/ops/idInfo");
    assert!(map["data"]["config-info-id"]["currentId"].is_u64(), "{map}");
    let list = world.json("GET", "/v2/core/ops/ids");
    assert_eq!(list["code"], json!(200), "the envelope of the first version");
    let newer = world.json("GET", "/v3/admin/core/ops/ids");
    assert_eq!((&newer["code"], &newer["data"]), (&json!(0), &list["data"]));
    assert_eq!(list["data"][0]["resource"], json!("role-id"));
}

#[test]
fn an_unknown_command_for_raft_changes_nothing() {
    let mut world = World::new();
    // The world panics where the node is asked about its cluster.
    let mut told = |path: &str, body: &str| world.call_as("POST", path, body, JSON).0;
    for path in ["/v1/core/ops/raft", "/v2/core/ops/raft", "/v3/admin/core/ops/raft"] {
        assert_eq!(told(path, ""), 400);
        assert_eq!(told(path, "{\"command\":\"dance\",\"value\":\"10.0.0.9:7848\"}"), 400);
        assert_eq!(told(path, "{\"command\":\"removePeer\",\"value\":\"10.0.0.9:7848\"}"), 501);
        let elsewhere = "{\"command\":\"transferLeader\",\"value\":\"10.0.0.77:7848\"}";
        assert_eq!(told(path, elsewhere), 400, "that is no member");
    }
}

#[test]
fn what_nacos_has_and_a_node_has_not_is_501_and_a_sentence() {
    let mut world = World::new();
    for path in ["/v3/admin/ai/mcp", "/v3/console/ai/mcp/list", "/v3/console/ai/a2a/list"] {
        let (status, code, text) = refused(&mut world, "GET", path);
        assert_eq!((status, code), (501, Some(40_001)), "{path}");
        assert!(text.contains("there is no registry of AI resources"), "{text}");
    }
}

#[test]
fn the_level_of_the_log_is_set_by_every_family_of_paths() {
    let mut world = World::new();
    let form = "logName=core-auth&logLevel=INFO";
    for (path, done) in [
        ("/v1/core/ops/log", "200"),
        ("/v1/cs/ops/log", "200"),
        ("/v1/ns/ops/log", "ok"),
        ("/v1/ns/operator/log", "ok"),
    ] {
        assert_eq!(world.call_as("PUT", path, form, &[]), (200, done.into()), "{path}");
        assert_eq!(world.call_as("PUT", path, "logName=x&logLevel=LOUD", &[]).0, 400, "{path}");
        assert_eq!(world.call_as("PUT", path, "logName=x", &[]).0, 400, "{path}");
    }
    let json = [("content-type", "application/json")];
    let body = r#"{"logName":"core-auth","logLevel":"INFO"}"#;
    for (path, done) in [
        ("/v2/core/ops/log", r#"{"code":200,"message":null,"data":null}"#),
        ("/v3/admin/core/ops/log", r#"{"code":0,"message":"success","data":null}"#),
    ] {
        assert_eq!(world.call_as("PUT", path, body, &json), (200, done.into()), "{path}");
        for none in [body.replace("INFO", "LOUD"), "[]".into(), "{}".into()] {
            assert_eq!(world.call_as("PUT", path, &none, &json).0, 400, "{path} {none}");
        }
    }
    assert_eq!(world.call_as("PUT", "/v2/core/ops/log", form, &[]).0, 415);
    let (status, text) = world.call_as("PUT", "/v3/admin/core/ops/log", form, &[]);
    assert_eq!((status, text.contains("\"code\":20003")), (400, true), "{text}");
}
