//! The first administrator by a call, and users who are there before anybody administers.

use nacolet_api::Call;
use serde_json::{Value, json};

use crate::world::World;

const PATHS: [&str; 3] =
    ["/nacos/v1/auth/admin", "/nacos/v1/auth/users/admin", "/nacos/v3/auth/user/admin"];

/// A POST from an address.
fn post(
    world: &mut World,
    target: &str,
    ip: &str,
    headers: &[(&'static str, &str)],
) -> (u16, Vec<u8>) {
    let mut call = Call { method: hyper::Method::POST, ip: ip.into(), ..Call::default() };
    call.uri = target.parse().expect("a target");
    for (name, value) in headers {
        call.headers.insert(*name, value.parse().expect("a value"));
    }
    let answer = world.serve(call);
    (answer.status.as_u16(), answer.body.to_vec())
}

fn asked(world: &mut World, target: &str, ip: &str) -> (u16, Value) {
    let (status, body) = post(world, target, ip, &[]);
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn is_password(world: &World, user: &str, password: &str) -> bool {
    let users = world.port.users.read().expect("no panic before");
    let hash = users.user(user).expect("a user").hash.clone();
    bcrypt::verify(password, &hash).expect("a hash")
}

#[test]
fn strangers_make_no_administrator() {
    let mut world = World::open();
    for path in PATHS {
        for (ip, headers) in [
            ("10.0.0.9", &[][..]),
            ("fe80::1", &[]),
            ("127.0.0.1", &[("x-forwarded-for", "10.0.0.9")]),
            ("127.0.0.1", &[("forwarded", "for=10.0.0.9")]),
            ("127.0.0.1", &[("via", "1.1 proxy")]),
            ("127.0.0.1", &[("host", "evil.example:8848")]),
            ("127.0.0.1", &[("host", "127.0.0.1:8848"), ("origin", "http://evil.example")]),
        ] {
            let target = format!("{path}?password=battery+staple");
            let (status, _) = post(&mut world, &target, ip, headers);
            assert_eq!(status, 403, "{path} {ip} {headers:?}");
        }
        let (status, _) = asked(&mut world, &format!("{path}?password=short"), "127.0.0.1");
        assert_eq!(status, 400, "{path}");
        assert!(world.port.users.read().expect("no panic before").is_empty(), "{path}");
    }
}

#[test]
fn the_first_administrator_is_made_once_with_a_password_of_ones_own_or_a_random_one() {
    for (path, local) in PATHS.into_iter().zip(["127.0.0.1", "::1", "127.8.8.8"]) {
        let mut world = World::open();
        let is_v3 = path.contains("/v3/");
        let own = path == PATHS[0];
        let target = format!("{path}?password={}", if own { "battery+staple" } else { "+" });
        let (status, body) = asked(&mut world, &target, local);
        assert_eq!(status, 200, "{body}");
        let made = if is_v3 { &body["data"] } else { &body };
        let password = made["password"].as_str().expect("a password");
        assert_eq!((&made["username"], own), (&json!("nacos"), password == "battery staple"));
        assert!(is_password(&world, "nacos", password) && password.len() >= 14);
        assert!(world.port.users.read().expect("no panic before").is_admin("nacos"));
        for again in PATHS {
            for ip in ["127.0.0.1", "10.0.0.9"] {
                let (status, body) = asked(&mut world, &format!("{again}?password=other+one"), ip);
                assert_eq!((status, &body["code"]), (200, &json!(409)), "{body}");
                let words = if again.contains("/v3/") { "message" } else { "data" };
                assert!(body[words].is_string(), "{body}");
            }
        }
        assert!(is_password(&world, "nacos", password));
    }
}

#[test]
fn where_everybody_has_to_log_in_there_is_an_administrator() {
    let mut world = World::new();
    for path in PATHS {
        let (status, body) =
            asked(&mut world, &format!("{path}?password=another+one"), "127.0.0.1");
        assert_eq!((status, &body["code"]), (200, &json!(409)));
    }
    assert!(is_password(&world, "nacos", crate::world::PASSWORD));
}

#[test]
fn users_are_made_while_nobody_has_to_log_in() {
    let mut world = World::open();
    for (target, words) in [
        ("/nacos/v1/auth/users?username=nacos&password=of+a+stranger", "create user ok!"),
        ("/nacos/v1/auth/users?username=ann&password=battery+staple", "create user ok!"),
        ("/nacos/v3/auth/user?username=bob&password=battery+staple", "create user ok!"),
        ("/nacos/v1/auth/roles?username=ann&role=dev", "add role ok!"),
        ("/nacos/v1/auth/permissions?role=dev&resource=a:*:*&action=r", "add permission ok!"),
    ] {
        assert_eq!(asked(&mut world, target, "10.0.0.9").0, 403, "{target}");
        let (status, body) = asked(&mut world, target, "127.0.0.1");
        assert_eq!((status, &body["data"]), (200, &json!(words)), "{target}");
    }
    assert!(!world.port.users.read().expect("no panic before").has_admin());
    let target = format!("{}?password=of+the+operator", PATHS[0]);
    assert_eq!(asked(&mut world, &target, "127.0.0.1").0, 200);
    assert!(is_password(&world, "nacos", "of the operator"), "a name is not taken in advance");
    assert!(is_password(&world, "ann", "battery staple"));
}
