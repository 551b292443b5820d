//! Unknown paths, wrong methods, the route table, login.

use std::collections::BTreeSet;

use serde_json::json;

use crate::world::{World, request};

#[test]
fn an_unknown_path_is_404_and_a_wrong_method_405_in_json() {
    let world = World::new();
    let reply = world.call("GET", "/nacos/v1/nothing");
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["path"], json!("/nacos/v1/nothing"));
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    let reply = world.call("PATCH", "/nacos/v1/cs/configs");
    assert_eq!(reply.status, 405);
    assert_eq!(reply.json()["message"], json!("Request method 'PATCH' not supported"));
    assert_eq!(reply.header("allow"), "GET, POST, PUT, DELETE");
}

#[test]
fn a_path_that_only_looks_like_a_route_is_none() {
    let world = World::new();
    world.publish("d", "x");
    for path in [
        "//nacos/v1/cs/configs",
        "/nacos//v1/cs/configs",
        "/nacos/v1/cs/configs//",
        "/nacos/v1/cs/configs.js",
        "/nacos/v1/cs/configs;x",
        "/NACOS/v1/cs/configs",
        "/nacos/v1/cs/config%2573",
        "/v1/cs/configs",
    ] {
        let reply = world.call("GET", &format!("{path}?dataId=d&group=g"));
        assert_eq!(reply.status, 404, "{path}");
    }
}

#[test]
fn each_route_is_there_once_and_answers_without_a_parameter() {
    let world = World::new();
    let routes = world.server.routes();
    let names: BTreeSet<_> = routes.iter().map(|r| format!("{} {}", r.method, r.path)).collect();
    assert_eq!(names.len(), routes.len(), "a route is there twice");
    for route in routes.iter().filter(|route| !route.path.contains("/ns/")) {
        let path = route.path.replace(":", "");
        let reply = world.send(request(route.method.as_str(), &path));
        assert!(
            reply.status != 404 && (reply.status < 500 || reply.status == 501),
            "{} {path}: {}",
            route.method,
            reply.status
        );
    }
}

#[test]
fn login_succeeds_for_everybody_while_authentication_is_off() {
    let world = World::new();
    for path in ["/v1/auth/login", "/v1/auth/users/login", "/v3/auth/user/login"] {
        let target = format!("/nacos{path}?username=ann");
        let reply = world.form("POST", &target, "password=secret");
        let expected = json!({"accessToken": "AUTH_DISABLED", "tokenTtl": 18000,
            "globalAdmin": true, "username": "ann"});
        assert_eq!((reply.status, reply.json()), (200, expected));
        assert_eq!(reply.header("authorization"), "Bearer AUTH_DISABLED");
    }
}
