//! The console page: where it is, what a browser is told about it, and that the API it calls is
//! there.

use std::collections::BTreeSet;

use crate::world::{World, request};

const PARTS: [(&str, &str); 3] = [
    ("/nacos", "text/html; charset=utf-8"),
    ("/nacos/console.js", "text/javascript; charset=utf-8"),
    ("/nacos/console.css", "text/css; charset=utf-8"),
];

#[test]
fn the_page_is_where_people_look_for_it() {
    let world = World::new();
    for path in ["/", "/nacos/"] {
        let reply = world.call("GET", path);
        assert_eq!((reply.status, reply.header("location")), (302, "/nacos"), "{path}");
        assert_ne!(world.call("POST", path).status, 302, "{path}");
    }
    for (path, content_type) in PARTS {
        let reply = world.call("GET", path);
        assert_eq!((reply.status, reply.header("content-type")), (200, content_type), "{path}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        let policy = reply.header("content-security-policy");
        assert!(policy.starts_with("default-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    }
}

#[test]
fn nothing_in_the_page_is_inline_or_from_elsewhere() {
    let world = World::new();
    let page = world.call("GET", "/nacos");
    let html = page.text();
    for inline in ["<style", "style=", " onclick", "javascript:", "http://", "https://"] {
        assert!(!html.contains(inline), "{inline}");
    }
    assert_eq!(html.matches("<script").count(), html.matches("<script src=").count());
    let script = world.call("GET", "/nacos/console.js");
    let script = script.text();
    for dangerous in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!script.contains(dangerous), "{dangerous}");
    }
}

#[test]
fn on_a_narrow_screen_names_are_broken_and_words_of_buttons_are_not() {
    let world = World::new();
    let style = world.call("GET", "/nacos/console.css");
    let rule = |selector: &str| {
        let rules = style.text().lines().filter(|line| line.starts_with(selector));
        rules.collect::<Vec<_>>().concat()
    };
    assert!(rule("button {").contains("white-space: nowrap"));
    let cells = rule("th, td {");
    assert!(cells.contains("overflow-wrap: anywhere") && cells.contains("min-width"), "{cells}");
    assert!(rule(".scroll {").contains("overflow-x: auto"), "a table that is wider can be moved");
}

#[test]
fn whatever_the_page_calls_is_a_route() {
    let world = World::new();
    let routes: BTreeSet<String> = world.server.routes().into_iter().map(|one| one.path).collect();
    let mut seen = 0;
    for (part, _) in PARTS {
        let reply = world.call("GET", part);
        for path in reply.text().split('"').filter(|text| text.starts_with("/nacos/")) {
            assert!(routes.contains(path), "{part} calls {path}");
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen} paths were found");
}

#[test]
fn a_page_of_another_origin_publishes_nothing() {
    let world = World::new();
    let target = "/nacos/v1/cs/configs?dataId=d&group=g&content=c";
    let from = |origin: &str| {
        let mut request = request("POST", target);
        request.insert_header("host", "127.0.0.1:8848");
        request.insert_header("origin", origin);
        world.send(request)
    };
    assert_eq!(from("http://evil.example").status, 403);
    assert_eq!(world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g").status, 404);
    assert_eq!(from("http://127.0.0.1:8848").status, 200);
}
