//! Services, clusters, health set by hand, catalog and subscribers.

use serde_json::json;

use crate::world::World;

#[test]
fn a_service_lives_from_create_to_remove() {
    let mut world = World::new();
    let service = "/v1/ns/service?serviceName=s&groupName=g";
    let made = format!("{service}&protectThreshold=0.8&metadata=a%3Db&ephemeral=true");
    world.expect("POST", &made, 200, "ok");
    world.expect("POST", service, 400, "specified service g@@s already exists!");
    world.expect(
        "GET",
        service,
        200,
        r#"{"namespaceId":"public","groupName":"g","name":"s","protectThreshold":0.8,"metadata":{"a":"b"},"selector":{"type":"none","contextType":"NONE"},"clusters":[]}"#,
    );
    world.expect("PUT", service, 400, "Param 'protectThreshold' is required.");
    let label = "%7B%22type%22%3A%22label%22%2C%22expression%22%3A%22CONSUMER.label.a%3DPROVIDER.label.a%22%7D";
    world.expect("PUT", &format!("{service}&protectThreshold=0&selector={label}"), 200, "ok");
    let detail = world.json("GET", service);
    assert_eq!(detail["selector"]["labels"], json!(["a"]));
    assert_eq!(detail["metadata"], json!({}), "an update replaces");

    world.register("serviceName=g@@s&ip=10.0.0.1&port=80&clusterName=c1");
    let detail = world.json("GET", service);
    let cluster = json!([{"name": "c1", "healthChecker": {"type": "TCP"}, "metadata": {}}]);
    assert_eq!(detail["clusters"], cluster);
    world.expect(
        "DELETE",
        service,
        400,
        "Service g@@s is not empty, can't be delete. Please unregister instance first",
    );
    let instance = "/v1/ns/instance?serviceName=g@@s&ip=10.0.0.1&port=80&clusterName=c1";
    world.expect("DELETE", instance, 200, "ok");
    world.expect("DELETE", service, 200, "ok");
    world.expect("DELETE", service, 400, "service g@@s not found!");
    let gone = "service not found, namespace: public, serviceName: g@@s";
    world.expect("GET", service, 400, gone);
}

#[test]
fn what_a_service_cannot_be_is_refused() {
    let mut world = World::new();
    let expression = "selector=%7B%22type%22:%22label%22,%22expression%22:%22x%22%7D";
    for query in ["protectThreshold=NaN", "protectThreshold=inf", expression] {
        let target = format!("/v1/ns/service?serviceName=s&{query}");
        assert_eq!(world.call("POST", &target).0, 400, "{query}");
    }
    assert_eq!(world.call("POST", "/v2/ns/service?serviceName=s&protectThreshold=x").0, 400);
    let target = "/v1/ns/service?serviceName=s&selector=%7B%22type%22%3A%22x%22%7D";
    world.expect("POST", target, 400, "not match any type of selector!");
    world.expect(
        "PUT",
        "/v1/ns/service?serviceName=s&protectThreshold=0",
        400,
        "service DEFAULT_GROUP@@s not found!",
    );
}

#[test]
fn protection_shows_every_instance_as_healthy() {
    let mut world = World::new();
    let service = "/v1/ns/service?serviceName=s&protectThreshold=0.5&ephemeral=true";
    world.expect("POST", service, 200, "ok");
    world.register("serviceName=s&ip=10.0.0.1&port=80");
    world.register("serviceName=s&ip=10.0.0.2&port=80&healthy=false");
    let list = world.list("serviceName=s");
    assert_eq!(list["hosts"].as_array().map(Vec::len), Some(2));
    assert_eq!(list["hosts"][1]["healthy"], json!(true));
    assert_eq!(list["reachProtectionThreshold"], json!(true));
    for (threshold, protects) in [("0.5", false), ("2", true)] {
        let update = format!("/v1/ns/service?serviceName=s&protectThreshold={threshold}");
        world.expect("PUT", &update, 200, "ok");
        let v1 = world.list("serviceName=s&healthyOnly=true");
        let v2 = world.json("GET", "/v2/ns/instance/list?serviceName=s&healthyOnly=true");
        for list in [&v1, &v2["data"]] {
            assert_eq!(list["hosts"].as_array().map(Vec::len), Some(1), "the healthy one");
            assert_eq!(list["hosts"][0]["ip"], "10.0.0.1");
            assert_eq!(list["reachProtectionThreshold"], json!(protects));
        }
    }
    let line = &world.json("GET", "/v1/ns/catalog/services?pageNo=1&pageSize=10")["serviceList"][0];
    assert_eq!((&line["triggerFlag"], &line["healthyInstanceCount"]), (&json!("true"), &json!(1)));
}

#[test]
fn services_are_listed_by_group_and_page() {
    let mut world = World::new();
    for name in ["a", "b", "c", "other@@d"] {
        world.register(&format!("serviceName={name}&ip=10.0.0.1&port=80"));
    }
    let list = "/v1/ns/service/list";
    world.expect(
        "GET",
        &format!("{list}?pageNo=1&pageSize=2"),
        200,
        r#"{"count":3,"doms":["a","b"]}"#,
    );
    world.expect("GET", &format!("{list}?pageNo=2&pageSize=2"), 200, r#"{"count":3,"doms":["c"]}"#);
    world.expect("GET", &format!("{list}?pageNo=3&pageSize=2"), 200, r#"{"count":3,"doms":[]}"#);
    let other = format!("{list}?pageNo=1&pageSize=2&groupName=other");
    world.expect("GET", &other, 200, r#"{"count":1,"doms":["d"]}"#);
    world.expect("GET", list, 400, "Param 'pageNo' is required.");
    let v2 = world.json("GET", "/v2/ns/service/list?pageSize=1");
    assert_eq!(v2["data"], json!({"count": 3, "services": ["a"]}));
    let names = world.json("GET", "/v1/ns/service/names?expr=d");
    assert_eq!(names["services"], json!({"public": ["other@@d"]}));
    assert_eq!(names["count"], json!(1));
}

#[test]
fn a_service_made_by_hand_is_persistent_unless_it_says_otherwise() {
    let mut world = World::new();
    let instance = "serviceName=s&ip=10.0.0.1&port=80";
    for (paths, name) in
        [("/v1/ns", "a"), ("/v2/ns", "b"), ("/v3/admin/ns", "c"), ("/v3/console/ns", "d")]
    {
        let named = format!("groupName={name}");
        assert_eq!(world.call("POST", &format!("{paths}/service?serviceName=s&{named}")).0, 200);
        let refused = format!(
            "errCode: 400, errMsg: Current service {name}@@s is persistent service, can't register \
             ephemeral instance."
        );
        world.expect("POST", &format!("/v1/ns/instance?{instance}&{named}"), 400, &refused);
        for family in ["/v2/ns", "/v3/client/ns", "/v3/admin/ns"] {
            let (status, text) =
                world.call("POST", &format!("{family}/instance?{instance}&{named}"));
            assert_eq!((status, text.contains("\"code\":30000")), (400, true), "{text}");
        }
        world.register(&format!("{instance}&{named}&ephemeral=false"));
        world.expect(
            "PUT",
            &format!("/v1/ns/service?serviceName=s&{named}&protectThreshold=1&ephemeral=true"),
            200,
            "ok",
        );
        assert_eq!(
            world.json("GET", &format!("/v2/ns/service?serviceName=s&{named}"))["data"]["ephemeral"],
            json!(false)
        );
    }
}

#[test]
fn v2_and_v3_describe_a_service_and_its_clusters() {
    let mut world = World::new();
    let ok = r#"{"code":0,"message":"success","data":"ok"}"#;
    world.expect("POST", "/v2/ns/service?serviceName=s&ephemeral=true", 200, ok);
    let (status, text) = world.call("POST", "/v3/admin/ns/service?serviceName=s");
    assert_eq!((status, text.contains("\"code\":21007")), (400, true), "{text}");
    world.register("serviceName=s&ip=10.0.0.1&port=80");
    for (path, namespace) in
        [("/v2/ns/service", "namespace"), ("/v3/admin/ns/service", "namespaceId")]
    {
        let data = world.json("GET", &format!("{path}?serviceName=s"))["data"].clone();
        assert_eq!((&data[namespace], &data["ephemeral"]), (&json!("public"), &json!(true)));
        assert_eq!(data["clusterMap"]["DEFAULT"]["healthChecker"], json!({"type": "TCP"}));
        let (status, text) = world.call("GET", &format!("{path}?serviceName=none"));
        assert_eq!((status, text.contains("\"code\":21008")), (400, true), "{text}");
        let (status, text) = world.call("DELETE", &format!("{path}?serviceName=s"));
        assert_eq!((status, text.contains("\"code\":21009")), (400, true), "{text}");
    }
}

#[test]
fn selector_types_are_known() {
    let mut world = World::new();
    world.expect(
        "GET",
        "/v1/ns/service/selector/types",
        200,
        r#"{"code":200,"message":null,"data":["label","none"]}"#,
    );
}

const JAVA: &[(&str, &str)] = &[("user-agent", "Nacos-Java-Client:v1.4.2")];

#[test]
fn subscribers_are_found_by_service() {
    let mut world = World::new();
    let list =
        "/v1/ns/instance/list?serviceName=g@@s&clusters=c1&clientIP=10.0.0.7&udpPort=55&app=a";
    world.call_as("GET", list, "", JAVA);
    let expected = json!({"count": 1, "subscribers": [{
        "addrStr": "127.0.0.1:55", "agent": "Nacos-Java-Client:v1.4.2", "app": "a", "ip": "127.0.0.1",
        "port": 55, "namespaceId": "public", "serviceName": "g@@s", "cluster": "c1",
    }]});
    assert_eq!(world.json("GET", "/v1/ns/service/subscribers?serviceName=g@@s"), expected);
    let none = world.json("GET", "/v1/ns/service/subscribers?serviceName=other");
    assert_eq!(none, json!({"count": 0, "subscribers": []}));
    // A part of a name or of a group means another service, which its reader may not see.
    let list = "/v1/ns/instance/list?serviceName=group@@service&udpPort=56";
    world.call_as("GET", list, "", JAVA);
    for part in ["group@@serv", "gro@@service", "group@@service-1"] {
        let target = format!("/v1/ns/service/subscribers?serviceName={part}");
        assert_eq!(world.json("GET", &target), json!({"count": 0, "subscribers": []}), "{part}");
    }
    for who in ["admin", "console"] {
        let target = format!("/v3/{who}/ns/service/subscribers?serviceName=s&groupName=g");
        let v3 = world.json("GET", &target);
        assert_eq!(v3["data"]["totalCount"], json!(1));
        let expected = json!({"namespaceId": "public", "groupName": "g", "serviceName": "s",
            "ip": "127.0.0.1", "port": 55, "address": "127.0.0.1:55",
            "agent": "Nacos-Java-Client:v1.4.2", "appName": "a"});
        assert_eq!(v3["data"]["pageItems"][0], expected, "{who}");
    }
}

#[test]
fn the_catalog_shows_disabled_instances_too() {
    let mut world = World::new();
    world.register("serviceName=s&ip=10.0.0.1&port=80");
    world.register("serviceName=s&ip=10.0.0.2&port=80&enabled=false");
    world.register("serviceName=s&ip=10.0.0.3&port=80&clusterName=c1&healthy=false");

    let instances = "/v1/ns/catalog/instances?serviceName=s&pageNo=1&pageSize=1";
    let page = world.json("GET", &format!("{instances}&clusterName=DEFAULT"));
    assert_eq!((&page["count"], page["list"].as_array().map(Vec::len)), (&json!(2), Some(1)));
    world.expect("GET", &format!("{instances}&clusterName=c9"), 404, "cluster c9 is not found!");
    let none = instances.replace("serviceName=s", "serviceName=n") + "&clusterName=DEFAULT";
    world.expect("GET", &none, 404, "service DEFAULT_GROUP@@n is not found!");

    let v2 = "/v2/ns/catalog/instances?serviceName=s&pageNo=1&pageSize=10";
    assert_eq!(world.json("GET", v2)["data"]["count"], json!(3));
    let enabled = world.json("GET", &format!("{v2}&enabledOnly=true&healthyOnly=true"));
    assert_eq!(enabled["data"]["instances"][0]["ip"], "10.0.0.1");
    assert_eq!(enabled["data"]["count"], json!(1));

    let service = world.json("GET", "/v1/ns/catalog/service?serviceName=s");
    assert_eq!(service["service"]["name"], "s");
    assert_eq!(service["clusters"][1]["name"], "c1");
}

#[test]
fn the_catalog_is_searched() {
    let mut world = World::new();
    world.register("serviceName=orders&ip=10.0.0.1&port=80&metadata=v%3D1");
    world.register("serviceName=g2@@users&ip=10.0.0.2&port=80&healthy=false");
    world.expect("POST", "/v1/ns/service?serviceName=empty", 200, "ok");
    let services = "/v1/ns/catalog/services?pageNo=1&pageSize=10";
    assert_eq!(world.json("GET", services)["count"], json!(3));
    let mut count =
        |query: &str| world.json("GET", &format!("{services}&{query}"))["count"].clone();
    assert_eq!(count("hasIpCount=true"), json!(2));
    assert_eq!(count("serviceNameParam=der"), json!(1));
    assert_eq!(count("groupNameParam=g2"), json!(1));
    assert_eq!(count("instance=10.0.0.2:80"), json!(1));
    assert_eq!(count("namespaceId=dev"), json!(0));
    let line = world.json("GET", &format!("{services}&serviceNameParam=orders"));
    let expected = json!({"name": "orders", "groupName": "DEFAULT_GROUP", "clusterCount": 1,
                          "ipCount": 1, "healthyInstanceCount": 1, "triggerFlag": "false"});
    assert_eq!(line["serviceList"][0], expected);
    let full = world.json("GET", &format!("{services}&withInstances=true&serviceNameParam=orders"));
    assert_eq!(full[0]["clusterMap"]["DEFAULT"]["hosts"][0]["valid"], json!(true));
    let v3 = world.json("GET", "/v3/admin/ns/service/list?ignoreEmptyService=true&pageSize=1");
    assert_eq!(v3["data"]["totalCount"], json!(2));
    assert_eq!(v3["data"]["pagesAvailable"], json!(2));
    assert_eq!(v3["data"]["pageItems"][0]["name"], "orders");
}

#[test]
fn health_is_set_by_hand_where_nobody_checks_it() {
    let mut world = World::new();
    world.register("serviceName=p&ip=10.0.0.1&port=80&ephemeral=false");
    let health = "/v1/ns/health?serviceName=p&ip=10.0.0.1&port=80&clusterName=DEFAULT";
    world.expect("PUT", health, 400, "Param 'healthy' is required.");
    let (status, text) = world.call("PUT", &format!("{health}&healthy=false"));
    assert_eq!((status, text.contains("still working")), (400, true), "{text}");

    let cluster = "/v1/ns/cluster?serviceName=p&clusterName=DEFAULT&checkPort=81\
                   &useInstancePort4Check=false&metadata=a%3Db";
    world.expect("PUT", cluster, 400, "Param 'healthChecker' is required.");
    let none = format!("{cluster}&healthChecker=%7B%22type%22%3A%22NONE%22%7D");
    world.expect("PUT", &none, 200, "ok");
    let shown = world.json("GET", "/v1/ns/catalog/service?serviceName=p")["clusters"][0].clone();
    assert_eq!(shown["healthChecker"], json!({"type": "NONE"}));
    assert_eq!(
        (&shown["defaultCheckPort"], &shown["useIPPort4Check"]),
        (&json!(81), &json!(false))
    );
    assert_eq!(shown["metadata"], json!({"a": "b"}));

    world.expect("PUT", &format!("{health}&valid=false"), 200, "ok");
    assert_eq!(world.list("serviceName=p")["hosts"][0]["healthy"], json!(false));
    let v2 = health.replace("/v1/ns/health", "/v2/ns/health/instance") + "&healthy=true";
    world.expect("PUT", &v2, 200, r#"{"code":0,"message":"success","data":"ok"}"#);
    assert_eq!(world.list("serviceName=p")["hosts"][0]["healthy"], json!(true));
}

#[test]
fn a_checker_that_cannot_be_is_refused() {
    let mut world = World::new();
    world.register("serviceName=p&ip=10.0.0.1&port=80&ephemeral=false");
    let cluster = "/v1/ns/cluster?serviceName=p&clusterName=DEFAULT&checkPort=81\
                   &useInstancePort4Check=false";
    for (checker, why) in [
        ("%22MYSQL%22,%22cmd%22:%22select%201%22", "MYSQL is not supported"),
        ("%22HTTP%22,%22path%22:%22/a%20b%22", "path or headers"),
        ("%22HTTP%22,%22headers%22:%22a%22", "path or headers"),
    ] {
        let target = format!("{cluster}&healthChecker=%7B%22type%22:{checker}%7D");
        let (status, text) = world.call("PUT", &target);
        assert_eq!((status, text.contains(why)), (400, true), "{text}");
    }
    let good = format!("{cluster}&healthChecker=%7B%22type%22:%22HTTP%22,%22path%22:%22up%22%7D");
    world.expect("PUT", &good, 200, "ok");
}

#[test]
fn checkers_are_described() {
    let mut world = World::new();
    let checkers = world.json("GET", "/v1/ns/health/checkers");
    assert_eq!(checkers["TCP"], json!({}));
    assert_eq!(checkers["HTTP"]["expectedResponseCode"], json!(200));
    let text = world.json("GET", "/v1/ns/health/server")["msg"].to_string();
    assert!(text.contains("total services: 0, local port:8848"), "{text}");
}
