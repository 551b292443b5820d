//! Register, deregister, update, patch, describe, beat.

use std::time::Duration;

use serde_json::json;

use crate::world::World;

const A: &str = "serviceName=s&ip=10.0.0.1&port=80";

#[test]
fn an_instance_lives_from_register_to_deregister() {
    let mut world = World::new();
    world.register(A);
    let hosts = &world.list("serviceName=s")["hosts"];
    assert_eq!(hosts[0]["instanceId"], "10.0.0.1#80#DEFAULT#DEFAULT_GROUP@@s");
    world.expect("DELETE", &format!("/v1/ns/instance?{A}"), 200, "ok");
    assert_eq!(world.list("serviceName=s")["hosts"], json!([]));
    world.expect("DELETE", &format!("/v1/ns/instance?{A}"), 200, "ok");
}

#[test]
fn parameters_may_come_as_a_form_whatever_the_method() {
    let mut world = World::new();
    for method in ["POST", "PUT", "PATCH"] {
        let form = format!("{A}&weight=2&metadata=%7B%22a%22%3A%22b%22%7D");
        let answer = world.call_as(method, "/v1/ns/instance?", &form, &[]);
        assert_eq!(answer, (200, "ok".into()), "{method}");
    }
    let list = world.list("serviceName=s");
    assert_eq!(list["hosts"][0]["weight"], json!(2.0));
    assert_eq!(list["hosts"][0]["metadata"], json!({"a": "b"}));
    let answer = world.call_as("DELETE", "/v1/ns/instance", A, &[]);
    assert_eq!(answer, (200, "ok".into()));
    assert_eq!(world.list("serviceName=s")["hosts"], json!([]));
}

#[test]
fn refusals_say_which_parameter_is_wrong() {
    let mut world = World::new();
    for (query, text) in [
        ("ip=1.1.1.1&port=80", "Param 'serviceName' is required."),
        ("serviceName=s&port=80", "Param 'ip' is required."),
        ("serviceName=s&ip=1.1.1.1", "Param 'port' is required."),
        (
            "serviceName=s&ip=1.1.1.1&port=65536",
            "Param 'port' is illegal, the value should be between 0 and 65535.",
        ),
        (
            "serviceName=s&ip=1.1.1.1&port=80&weight=10001",
            "instance format invalid: The weights range from 0.0 to 10000.0",
        ),
        (
            "serviceName=a%20b&ip=1.1.1.1&port=80",
            "Param 'serviceName' is illegal, illegal characters should not appear in the param.",
        ),
        (
            "serviceName=s&ip=1.1.1.1&port=80&clusterName=a_b",
            "Instance 'clusterName' should be characters with only 0-9a-zA-Z-. (current: a_b)",
        ),
        ("serviceName=s&ip=1.1.1.1&port=80&metadata=ab", "metadata format incorrect:ab"),
        (
            "serviceName=s&ip=1.1.1.1&port=80&metadata=preserved.heart.beat.timeout%3D1000",
            "Instance 'heart beat interval' must less than 'heart beat timeout' and 'ip delete \
             timeout'.",
        ),
    ] {
        world.expect("POST", &format!("/v1/ns/instance?{query}"), 400, text);
    }
    assert_eq!(world.core_requests, 0, "what is wrong is refused at the door");
}

#[test]
fn an_update_outlives_the_registration() {
    let mut world = World::new();
    world.register(A);
    let update = format!("/v1/ns/instance?{A}&weight=5&enabled=true&metadata=v%3D2");
    world.expect("PUT", &update, 200, "ok");
    world.register(A);
    let host = &world.list("serviceName=s")["hosts"][0];
    assert_eq!((&host["weight"], &host["metadata"]), (&json!(5.0), &json!({"v": "2"})));

    let (status, text) = world.call("PUT", "/v1/ns/instance?serviceName=none&ip=1.1.1.1&port=1");
    assert_eq!((status, text.contains("DEFAULT_GROUP@@none")), (400, true), "{text}");
}

#[test]
fn a_patch_changes_only_what_it_says() {
    let mut world = World::new();
    world.register(&format!("{A}&weight=3"));
    world.expect("PATCH", &format!("/v1/ns/instance?{A}&enabled=false"), 200, "ok");
    assert_eq!(world.list("serviceName=s")["hosts"], json!([]), "disabled ones are hidden");
    world.expect("PATCH", &format!("/v1/ns/instance?{A}&enabled=True"), 200, "ok");
    assert_eq!(world.list("serviceName=s")["hosts"][0]["weight"], json!(3.0));
    let (status, _) = world.call("PATCH", "/v1/ns/instance?serviceName=s&ip=1.1.1.1&port=1");
    assert_eq!(status, 404);
}

#[test]
fn the_description_of_an_instance_has_the_fields_of_nacos() {
    let mut world = World::new();
    world.register(&format!("{A}&metadata=a%3Db"));
    world.expect(
        "GET",
        &format!("/v1/ns/instance?{A}"),
        200,
        r#"{"service":"DEFAULT_GROUP@@s","ip":"10.0.0.1","port":80,"clusterName":"DEFAULT","weight":1.0,"healthy":true,"instanceId":"10.0.0.1#80#DEFAULT#DEFAULT_GROUP@@s","metadata":{"a":"b"}}"#,
    );
    world.expect(
        "GET",
        "/v1/ns/instance?serviceName=s&ip=10.0.0.2&port=80",
        404,
        "no matched ip found!",
    );
    world.expect(
        "GET",
        "/v1/ns/instance?serviceName=none&ip=10.0.0.2&port=80",
        404,
        "no ips found for cluster DEFAULT in service DEFAULT_GROUP@@none",
    );
}

#[test]
fn one_service_holds_one_kind_of_instances() {
    let mut world = World::new();
    world.register(A);
    let (status, text) =
        world.call("POST", "/v1/ns/instance?serviceName=s&ip=10.0.0.2&port=80&ephemeral=false");
    assert_eq!(status, 400, "{text}");
    world.register("serviceName=p&ip=10.0.0.2&port=80&ephemeral=false");
    // Without `ephemeral=false` the ephemeral instance of that address is meant, and there is none.
    world.expect("DELETE", "/v1/ns/instance?serviceName=p&ip=10.0.0.2&port=80", 200, "ok");
    assert_eq!(world.list("serviceName=p")["hosts"][0]["ephemeral"], json!(false));
    let target = "/v1/ns/instance?serviceName=p&ip=10.0.0.2&port=80&ephemeral=False";
    world.expect("DELETE", target, 200, "ok");
    assert_eq!(world.list("serviceName=p")["hosts"], json!([]));
}

#[test]
fn a_light_beat_of_an_unknown_instance_asks_for_a_registration() {
    let mut world = World::new();
    world.expect(
        "PUT",
        &format!("/v1/ns/instance/beat?{A}"),
        200,
        r#"{"clientBeatInterval":5000,"code":20404,"lightBeatEnabled":true}"#,
    );
    assert_eq!(world.list("serviceName=s")["hosts"], json!([]));
}

#[test]
fn a_full_beat_of_an_unknown_instance_creates_it() {
    let mut world = World::new();
    let beat = "%7B%22ip%22%3A%2210.0.0.1%22%2C%22port%22%3A80%2C%22weight%22%3A2%2C%22cluster%22\
                %3A%22c1%22%2C%22metadata%22%3A%7B%22a%22%3A%22b%22%7D%7D";
    let usual = r#"{"clientBeatInterval":5000,"code":10200,"lightBeatEnabled":true}"#;
    let target = format!("/v1/ns/instance/beat?serviceName=g@@s&beat={beat}");
    world.expect("PUT", &target, 200, usual);
    let host = world.list("serviceName=g@@s")["hosts"][0].clone();
    assert_eq!(host["clusterName"], "c1");
    assert_eq!(host["weight"], json!(2.0));
    assert_eq!(host["metadata"], json!({"a": "b"}));

    let reached = world.core_requests;
    world.expect("PUT", &target, 200, usual);
    // Java 1.x: parameters in the query, the beat in the form.
    let form = format!("beat={beat}");
    let target = "/v1/ns/instance/beat?serviceName=g@@s&namespaceId=public";
    assert_eq!(world.call_as("PUT", target, &form, &[]), (200, usual.into()));
    assert_eq!(world.core_requests, reached, "a beat of a healthy instance does not hop");
}

#[test]
fn beats_keep_an_instance_alive_and_silence_ends_it() {
    let mut world = World::new();
    world.register(A);
    for _ in 0..10 {
        world.advance(Duration::from_secs(5));
        let (status, _) = world.call("PUT", &format!("/v1/ns/instance/beat?{A}"));
        assert_eq!(status, 200);
    }
    assert_eq!(world.list("serviceName=s")["hosts"][0]["healthy"], json!(true));
    world.advance(Duration::from_secs(21));
    assert_eq!(world.list("serviceName=s")["hosts"][0]["healthy"], json!(false));
    assert_eq!(world.list("serviceName=s&healthyOnly=true")["hosts"], json!([]));
    let (_, answer) = world.call("PUT", &format!("/v1/ns/instance/beat?{A}"));
    assert!(answer.contains("10200"), "{answer}");
    assert_eq!(world.list("serviceName=s")["hosts"][0]["healthy"], json!(true));
    world.advance(Duration::from_secs(41));
    assert_eq!(world.list("serviceName=s")["hosts"], json!([]));
}

#[test]
fn python_registers_in_cluster_none_and_beats_without_one() {
    let mut world = World::new();
    world.register(&format!("{A}&clusterName=None&ephemeral=True&enable=True&healthy=True"));
    assert_eq!(world.list("serviceName=s")["hosts"][0]["clusterName"], "None");
    let beat = "%7B%22serviceName%22%3A%22s%22%2C%22ip%22%3A%2210.0.0.1%22%2C%22port%22%3A%2280%22\
                %2C%22weight%22%3A%221.0%22%2C%22metadata%22%3A%7B%7D%7D";
    for _ in 0..8 {
        world.advance(Duration::from_secs(5));
        let target =
            format!("/v1/ns/instance/beat?serviceName=s&groupName=DEFAULT_GROUP&beat={beat}");
        let (_, answer) = world.call("PUT", &target);
        assert!(answer.contains("10200"), "{answer}");
    }
    let list = world.list("serviceName=s");
    assert_eq!(list["hosts"].as_array().map(Vec::len), Some(1));
    assert_eq!(list["hosts"][0]["healthy"], json!(true));
}

#[test]
fn metadata_says_how_often_to_beat() {
    let mut world = World::new();
    world.register(&format!(
        "{A}&metadata=preserved.heart.beat.interval%3D3000,preserved.heart.beat.timeout%3D6000,\
         preserved.ip.delete.timeout%3D9000"
    ));
    world.expect(
        "PUT",
        &format!("/v1/ns/instance/beat?{A}"),
        200,
        r#"{"clientBeatInterval":3000,"code":10200,"lightBeatEnabled":true}"#,
    );
    let host = world.list("serviceName=s")["hosts"][0].clone();
    assert_eq!(host["instanceHeartBeatInterval"], json!(3000));
    assert_eq!(host["instanceHeartBeatTimeOut"], json!(6000));
    assert_eq!(host["ipDeleteTimeout"], json!(9000));
}

#[test]
fn metadata_of_many_instances_changes_at_once() {
    let mut world = World::new();
    world.register(A);
    world.register("serviceName=s&ip=10.0.0.2&port=80&clusterName=c1&metadata=x%3D1");
    let target = "/v1/ns/instance/metadata/batch?serviceName=s&metadata=%7B%22a%22%3A%22b%22%7D";
    world.expect(
        "PUT",
        target,
        200,
        r#"{"updated":["10.0.0.1:80:unknown:DEFAULT:ephemeral","10.0.0.2:80:unknown:c1:ephemeral"]}"#,
    );
    let list = world.list("serviceName=s");
    assert_eq!(list["hosts"][1]["metadata"], json!({"a": "b", "x": "1"}));

    let one = "&instances=%5B%7B%22ip%22%3A%2210.0.0.1%22%2C%22port%22%3A80%7D%5D";
    let updated = r#"{"updated":["10.0.0.1:80:unknown:DEFAULT:ephemeral"]}"#;
    world.expect("DELETE", &format!("{target}{one}"), 200, updated);
    let list = world.list("serviceName=s");
    assert_eq!(list["hosts"][0]["metadata"], json!({}));
    assert_eq!(list["hosts"][1]["metadata"], json!({"a": "b", "x": "1"}));

    world.expect("PUT", &format!("{target}&consistencyType=persist"), 200, r#"{"updated":[]}"#);
    let (status, _) = world.call("PUT", &format!("{target}&instances=all"));
    assert_eq!(status, 400, "a broken list of instances is not all instances");
}

#[test]
fn statuses_of_a_service_are_one_line_each() {
    let mut world = World::new();
    world.register(A);
    let target = "/v1/ns/instance/statuses?key=public%23%23DEFAULT_GROUP@@s";
    world.expect("GET", target, 200, r#"{"ips":["10.0.0.1:80_true"]}"#);
    let whole = "/v2/ns/instance/statuses/DEFAULT_GROUP@@s";
    world.expect("GET", whole, 200, r#"{"ips":["10.0.0.1:80_true"]}"#);
    for bare in ["/v2/ns/instance/statuses/s", "/v1/ns/instance/statuses?key=s"] {
        let (status, text) = world.call("GET", bare);
        assert_eq!((status, text.contains("groupName@@serviceName")), (400, true), "{text}");
    }
}

#[test]
fn v2_and_v3_wrap_their_answers() {
    let mut world = World::new();
    let ok = r#"{"code":0,"message":"success","data":"ok"}"#;
    for family in ["/v2/ns", "/v3/client/ns", "/v3/admin/ns"] {
        world.expect("POST", &format!("{family}/instance?{A}&groupName=g"), 200, ok);
        assert_eq!(world.list("serviceName=g@@s")["hosts"][0]["ip"], "10.0.0.1");
        world.expect("DELETE", &format!("{family}/instance?{A}&groupName=g"), 200, ok);
        assert_eq!(world.list("serviceName=g@@s")["hosts"], json!([]));
        world.expect(
            "POST",
            &format!("{family}/instance?ip=1.1.1.1&port=80"),
            400,
            r#"{"code":10000,"message":"parameter missing","data":"Required parameter 'serviceName' type String is not present"}"#,
        );
    }
    let (status, text) = world.call("POST", "/v2/ns/instance?serviceName=g@@s&ip=1.1.1.1&port=80");
    let words =
        "Param 'serviceName' is illegal, illegal characters should not appear in the param.";
    assert_eq!((status, &*text), (400, words));
    for query in ["healthy=x", "enabled=maybe", "ephemeral=2", "weight=x"] {
        let (status, text) = world.call("POST", &format!("/v2/ns/instance?{A}&{query}"));
        assert_eq!((status, text.contains("\"code\":20002")), (400, true), "{query}: {text}");
    }
    world.expect("POST", &format!("/v2/ns/instance?{A}&enabled=1&ephemeral=on"), 200, ok);
    assert_eq!(world.list("serviceName=s")["hosts"][0]["enabled"], json!(true));
    let (status, text) =
        world.call("POST", "/v2/ns/instance?serviceName=s&ip=1.1.1.1&port=80&weight=10001");
    assert_eq!((status, text.contains("\"code\":21001")), (400, true), "{text}");
}

#[test]
fn what_an_operator_says_of_an_instance_waits_for_it() {
    let mut world = World::new();
    let put = "instance?serviceName=s&ip=10.0.0.7&port=80&weight=5&metadata=zone%3Db";
    for family in ["/v1/ns", "/v2/ns", "/v3/admin/ns", "/v3/console/ns"] {
        let (status, text) = world.call("PUT", &format!("{family}/{put}"));
        let code = family == "/v1/ns" || text.contains("\"code\":21004");
        assert_eq!((status, code), (400, true), "no service yet: {text}");
    }
    world.register(A);
    for family in ["/v1/ns", "/v2/ns", "/v3/admin/ns", "/v3/console/ns"] {
        assert_eq!(world.call("PUT", &format!("{family}/{put}")).0, 200);
    }
    world.register("serviceName=s&ip=10.0.0.7&port=80&metadata=zone%3Da,owner%3Dme");
    let host = world.list("serviceName=s")["hosts"][1].clone();
    assert_eq!(host["weight"], json!(5.0));
    assert_eq!(host["metadata"], json!({"owner": "me", "zone": "b"}));
}

#[test]
fn of_a_name_twice_in_json_the_last_one_counts() {
    let mut world = World::new();
    let selector =
        "%7B%22type%22:%22NoneSelector%22,%22type%22:%22none%22,%22contextType%22:%22NONE%22%7D";
    let service = format!("/v1/ns/service?serviceName=j&selector={selector}");
    world.expect("POST", &service, 200, "ok");
    let checker = "%7B%22type%22:%22x%22,%22type%22:%22NONE%22%7D";
    let cluster = "checkPort=80&useInstancePort4Check=true&clusterName=DEFAULT";
    let cluster = format!("/v1/ns/cluster?serviceName=j&{cluster}&healthChecker={checker}");
    world.expect("PUT", &cluster, 200, "ok");
    let beat =
        "%7B%22ip%22:%2210.0.0.9%22,%22port%22:1,%22port%22:80,%22weight%22:1,%22weight%22:2%7D";
    let (status, _) = world.call("PUT", &format!("/v1/ns/instance/beat?serviceName=b&beat={beat}"));
    let host = world.list("serviceName=b")["hosts"][0].clone();
    assert_eq!((status, &host["port"], &host["weight"]), (200, &json!(80), &json!(2.0)));
}

#[test]
fn a_v3_heart_beat_of_an_unknown_instance_is_a_200_answer() {
    let mut world = World::new();
    let beat = format!("/v3/client/ns/instance?{A}&heartBeat=true");
    let unknown = r#"{"code":21003,"message":"instance not found","data":null}"#;
    world.expect("POST", &beat, 200, unknown);
    world.register(A);
    world.expect("POST", &beat, 200, r#"{"code":0,"message":"success","data":"ok"}"#);
}

#[test]
fn v2_and_v3_describe_an_instance() {
    let mut world = World::new();
    world.register(A);
    let v2 = world.json("GET", &format!("/v2/ns/instance?{A}"));
    assert_eq!(v2["data"]["serviceName"], "DEFAULT_GROUP@@s");
    assert_eq!(v2["data"]["instanceId"], json!(null));
    let v3 = world.json("GET", &format!("/v3/admin/ns/instance?{A}"));
    assert_eq!(v3["data"]["ipDeleteTimeout"], json!(30_000));
    let (status, text) = world.call("GET", "/v2/ns/instance?serviceName=s&ip=1.1.1.1&port=1");
    assert_eq!((status, text.contains("\"code\":20004")), (404, true), "{text}");
}
