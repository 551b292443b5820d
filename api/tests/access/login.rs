//! Tokens and passwords.

use std::time::Duration;

use nacolet_auth::{Actions, Command};
use nacolet_model::limits;
use serde_json::json;

use crate::world::{PASSWORD, World, json, name, text};

const CONFIG: &str = "/nacos/v1/cs/configs?dataId=d&group=g&tenant=a";

#[test]
fn whoever_logs_in_gets_a_token_that_is_taken_in_every_spelling() {
    let mut world = World::new();
    let query = format!("username=nacos&password={}", PASSWORD.replace(' ', "+"));
    for path in ["/v1/auth/login", "/v1/auth/users/login", "/v3/auth/user/login"] {
        let answer = world.form("POST", &format!("/nacos{path}?username=nacos"), &query, &[]);
        let found = json(&answer);
        assert_eq!((answer.status.as_u16(), &found["tokenTtl"]), (200, &json!(18_000)));
        assert_eq!((&found["username"], &found["globalAdmin"]), (&json!("nacos"), &json!(true)));
        let bearer = format!("Bearer {}", found["accessToken"].as_str().expect("a token"));
        assert_eq!(answer.headers["authorization"], *bearer);
    }
    let token = world.token("nacos");
    let bearer = format!("Bearer {token}");
    let target = format!("{CONFIG}&accessToken={token}");
    assert_eq!(world.call("GET", CONFIG, &[]).status, 403);
    assert_eq!(world.call("GET", CONFIG, &[("accesstoken", &token)]).status, 404);
    assert_eq!(world.call("GET", CONFIG, &[("authorization", &bearer)]).status, 404);
    assert_eq!(world.call("GET", &target, &[]).status, 404);
    let form = format!("accessToken={token}&content=x");
    assert_eq!(world.form("POST", CONFIG, &form, &[]).status, 200);
}

#[test]
fn a_refusal_has_one_shape_in_all_families() {
    let mut world = World::new();
    for path in [
        "/nacos/v1/cs/configs?dataId=d&group=g",
        "/nacos/v1/ns/instance/list",
        "/nacos/v2/cs/config?dataId=d&group=g",
        "/nacos/v3/client/cs/config?dataId=d&groupName=g",
        "/nacos/v3/auth/user/list?pageNo=1&pageSize=9",
    ] {
        let answer = world.call("GET", path, &[]);
        let found = json(&answer);
        assert_eq!((answer.status.as_u16(), &found["status"]), (403, &json!(403)), "{path}");
        assert_eq!(found["message"], "user not found!");
    }
    let answer = world.login("nacos", "wrong");
    assert_eq!((answer.status.as_u16(), text(&answer)), (403, "unknown user!"));
}

#[test]
fn name_and_password_are_taken_with_every_call() {
    let mut world = World::new();
    let password = PASSWORD.replace(' ', "%20");
    let target = format!("{CONFIG}&username=nacos&password={password}");
    for _ in 0..3 {
        assert_eq!(world.call("GET", &target, &[]).status, 404);
    }
    let form = format!("username=nacos&password={password}&content=x");
    assert_eq!(world.form("POST", CONFIG, &form, &[]).status, 200);
    let wrong = format!("{CONFIG}&username=nacos&password=wrong");
    assert_eq!(world.call("GET", &wrong, &[]).status, 403);
    // A token that is wrong is not made good by anything beside it.
    assert_eq!(world.call("GET", &target, &[("accesstoken", "x")]).status, 403);
}

#[test]
fn a_token_ends_with_its_time_its_password_and_its_user() {
    let mut world = World::new();
    world.user("u", &[("a:*:*", Actions::Both)]);
    let read = |world: &mut World, token: &str| {
        world.call("GET", CONFIG, &[("accesstoken", token)]).status.as_u16()
    };
    let token = world.token("u");
    assert_eq!(read(&mut world, &token), 404);
    world.advance(limits::TOKEN_LIFE - Duration::from_secs(2));
    assert_eq!(read(&mut world, &token), 404);
    world.advance(Duration::from_secs(2));
    assert_eq!(read(&mut world, &token), 403);

    let token = world.token("u");
    let form = "username=u&newPassword=battery+staple";
    let set = world.form("PUT", "/nacos/v3/auth/user", form, &[("accesstoken", &token)]);
    assert_eq!(set.status, 200, "the own password: {}", text(&set));
    assert_eq!(read(&mut world, &token), 403);
    assert_eq!(world.login("u", PASSWORD).status, 403);
    let answer = world.login("u", "battery+staple");
    let token = json(&answer)["accessToken"].as_str().expect("a token").to_owned();
    assert_eq!(read(&mut world, &token), 404);
    world.apply(Command::RemoveUser { user: name("u") });
    assert_eq!(read(&mut world, &token), 403);
}

#[test]
fn wrong_passwords_are_counted_by_user_and_address() {
    let mut world = World::new();
    for _ in 0..limits::LOGIN_FAILURES_MAX {
        assert_eq!(world.login("nacos", "wrong").status, 403);
    }
    let answer = world.login("nacos", PASSWORD);
    assert_eq!(answer.status, 429, "{}", text(&answer));
    assert_eq!(answer.headers["retry-after"], "900");
    world.advance(limits::LOGIN_WINDOW);
    assert_eq!(world.login("nacos", PASSWORD).status, 200);
}

/// Twenty people behind one address mistype, and somebody else there does not.
#[test]
fn who_shares_an_address_with_many_mistypers_can_log_in() {
    let mut world = World::new();
    world.user("u", &[("a:*:*", Actions::Read)]);
    for number in 0..2 * limits::LOGIN_FAILURES_PER_ADDRESS_MAX {
        let status = if number < 24 { 403 } else { 429 };
        assert_eq!(world.login(&format!("x{number}"), "wrong").status, status, "{number}");
    }
    assert_eq!(world.login("u", PASSWORD).status, 200);
}

/// A token that somebody found is not enough to take the account over.
#[test]
fn the_own_password_needs_the_old_one_or_a_fresh_login() {
    let mut world = World::new();
    world.user("u", &[("a:*:*", Actions::Read)]);
    let token = world.token("u");
    let headers = [("accesstoken", token.as_str())];
    for path in ["/nacos/v1/auth/users", "/nacos/v3/auth/user"] {
        let mut set = |form: &str| world.form("PUT", path, form, &headers).status.as_u16();
        let form = "username=u&newPassword=correct+horse";
        // Longer ago than five minutes, for the second path more so.
        assert!(path.contains("v3") || set(form) == 200, "{path}");
        world.advance(limits::LOGIN_FRESH);
        let token = world.token("u");
        let headers = [("accesstoken", token.as_str())];
        world.advance(limits::LOGIN_FRESH);
        let mut set = |form: &str| {
            let answer = world.form("PUT", path, form, &headers);
            (answer.status.as_u16(), text(&answer).contains("oldPassword is needed"))
        };
        assert_eq!(set(form), (403, true), "{path}");
        assert_eq!(set(&format!("{form}&oldPassword=wrong")), (403, false), "{path}");
        assert_eq!(set(&format!("{form}&oldPassword=correct+horse")), (200, false), "{path}");
    }
    // Of others an administrator needs none.
    let root = world.token("nacos");
    world.advance(limits::LOGIN_FRESH);
    let form = "username=u&newPassword=battery+staple";
    let headers = [("accesstoken", root.as_str())];
    assert_eq!(world.form("PUT", "/nacos/v1/auth/users", form, &headers).status, 200);
}

#[test]
fn numbers_of_the_node_need_a_login() {
    let mut world = World::new();
    world.user("u", &[]);
    let token = world.token("u");
    for path in ["/v1/ns/operator/metrics", "/v2/ns/ops/metrics", "/v3/admin/ns/ops/metrics"] {
        let target = format!("/nacos{path}");
        assert!(text(&world.call("GET", &target, &[])).contains("UP"));
        let more = format!("{target}?onlyStatus=false");
        assert_eq!(world.call("GET", &more, &[]).status, 403, "{path}");
        assert_eq!(world.call("GET", &more, &[("accesstoken", "x")]).status, 403, "{path}");
        let answer = world.call("GET", &more, &[("accesstoken", &token)]);
        assert!(text(&answer).contains("serviceCount"), "{path}: {}", text(&answer));
    }
    let greeting = "/nacos/v1/ns/health/server";
    let told = world.call("GET", greeting, &[]);
    assert!(text(&told).contains("healthy!") && !text(&told).contains("total"), "{}", text(&told));
    let told = world.call("GET", greeting, &[("accesstoken", &token)]);
    assert!(text(&told).contains("total services: 0"), "{}", text(&told));
}

/// XML runs scripts of the namespace of XHTML.
#[test]
fn no_browser_runs_what_users_publish() {
    let mut world = World::new();
    let token = world.token("nacos");
    let headers = [("accesstoken", token.as_str())];
    for kind in ["xml", "html", "json", "text"] {
        let form = format!("type={kind}&content=<x/>");
        assert_eq!(world.form("POST", CONFIG, &form, &headers).status, 200);
        let answer = world.call("GET", CONFIG, &headers);
        let policy = answer.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"), "{policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{kind}");
        assert_ne!(answer.headers["content-type"], "text/html", "{kind}");
    }
    for target in ["/nacos/nothing", "/nacos/v1/cs/configs?dataId=d&group=g"] {
        let answer = world.call("GET", target, &[]);
        assert!(answer.headers.contains_key("content-security-policy"), "{target}");
    }
    let page = world.call("GET", "/nacos", &[]);
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("default-src 'self'"), "{policy}");
}

#[test]
fn history_names_the_user_that_is_known() {
    let mut world = World::new();
    let token = world.token("nacos");
    let form = "content=x&src_user=somebody";
    world.form("POST", CONFIG, form, &[("accesstoken", &token)]);
    let all = format!("{CONFIG}&show=all");
    let found = json(&world.call("GET", &all, &[("accesstoken", &token)]));
    assert_eq!(found["createUser"], "nacos");
}
