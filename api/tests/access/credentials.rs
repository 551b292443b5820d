//! Names and passwords in headers, as Nacos takes them and as HTTP has them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nacolet_auth::Actions;
use nacolet_model::limits;

use crate::world::{PASSWORD, World, text};

const CONFIG: &str = "/nacos/v1/cs/configs?dataId=d&group=g";
const SCRAPED: [&str; 4] = [
    "/nacos/prometheus",
    "/nacos/prometheus/namespaceId/a",
    "/nacos/metrics",
    "/nacos/actuator/prometheus",
];

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn headers_are_taken_as_parameters_are() {
    let mut world = World::new();
    let nacos = [("username", "nacos"), ("password", PASSWORD)];
    assert_eq!(world.call("GET", CONFIG, &nacos).status, 404);
    // On a route of users the parameters are what it is about.
    let form = "username=ann&password=battery+staple";
    assert_eq!(world.form("POST", "/nacos/v1/auth/users", form, &nacos).status, 200);
    for (headers, target) in [
        (&[("username", "nacos")][..], CONFIG.to_owned()),
        (&[("password", PASSWORD)], CONFIG.to_owned()),
        (&[("username", "nacos"), ("username", "ann"), ("password", PASSWORD)], CONFIG.to_owned()),
        // Half from here and half from there are nobody's.
        (&[("username", "nacos")], format!("{CONFIG}&password={}", PASSWORD.replace(' ', "%20"))),
        (&[("password", PASSWORD)], format!("{CONFIG}&username=nacos")),
    ] {
        let answer = world.call("GET", &target, headers);
        assert_eq!(answer.status, 403, "{headers:?} {target}: {}", text(&answer));
    }
}

#[test]
fn guesses_in_headers_are_counted_as_all_are() {
    for way in 0..2 {
        let mut world = World::new();
        world.user("u", &[("*:*:*", Actions::Both)]);
        let mut guess = |password: &str| {
            let shown = basic("u", password);
            let headers = [("username", "u"), ("password", password)];
            let (target, headers) = match way {
                0 => (CONFIG, &headers[..]),
                _ => (SCRAPED[0], &[("authorization", shown.as_str())][..]),
            };
            world.call("GET", target, headers).status.as_u16()
        };
        let right = if way == 0 { 404 } else { 200 };
        assert_eq!(guess(PASSWORD), right);
        for number in 0..limits::LOGIN_FAILURES_MAX {
            assert_eq!(guess(&format!("guess {number}")), 403);
        }
        assert_eq!(guess("one more guess"), 429);
        assert_eq!(guess(PASSWORD), right, "who was right before is known without a look");
    }
}

#[test]
fn basic_authentication_is_for_what_is_scraped() {
    let mut world = World::new();
    world.user("u", &[("a:*:*", Actions::Read)]);
    let (nacos, u) = (basic("nacos", PASSWORD), basic("u", PASSWORD));
    let mut status = |target: &str, shown: &str| {
        world.call("GET", target, &[("authorization", shown)]).status.as_u16()
    };
    for target in SCRAPED {
        assert_eq!(status(target, &nacos), 200, "{target}");
        assert_eq!(status(target, &basic("nacos", "wrong")), 403, "{target}");
        assert_eq!(status(target, "Basic nonsense"), 403, "{target}");
    }
    for target in [CONFIG, "/nacos/v1/ns/service/list?pageNo=1&pageSize=1", "/nacos/v1/auth/users"]
    {
        assert_eq!(status(target, &nacos), 403, "{target}");
    }
    // A user of one namespace.
    for (target, expected) in [
        ("/nacos/prometheus/namespaceId/a", 200),
        ("/nacos/prometheus/namespaceId/a/service/s", 200),
        ("/nacos/prometheus/namespaceId/b", 403),
        ("/nacos/prometheus/namespaceId/public", 403),
        ("/nacos/prometheus", 403),
        ("/nacos/metrics", 200),
    ] {
        assert_eq!(status(target, &u), expected, "{target}");
    }
}
