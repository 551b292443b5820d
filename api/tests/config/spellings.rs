//! One call said in many ways: paths, forms, and words for a namespace.

use serde_json::json;
use tide::http;

use crate::world::{Reply, World, request};

#[test]
fn a_path_is_served_in_every_spelling() {
    let world = World::new();
    world.publish("d", "x");
    for path in [
        "/nacos/v1/cs/configs",
        "/nacos/v1/cs/configs/",
        "/nacos/v1/cs/%63onfigs",
        "/nacos/v1/cs/%63onfigs/",
        "/%6eacos/%76%31/cs/configs",
    ] {
        let reply = world.call("GET", &format!("{path}?dataId=d&group=g"));
        assert_eq!((reply.status, reply.text()), (200, "x"), "{path}");
        let reply = world.form("POST", path, "dataId=e&group=g&content=y");
        assert_eq!((reply.status, reply.text()), (200, "true"), "{path}");
    }
    for path in ["/nacos/v1/cs/configs//", "/nacos/v1/cs/%2563onfigs", "/nacos/v1//cs/configs"] {
        assert_eq!(world.call("GET", &format!("{path}?dataId=d&group=g")).status, 404, "{path}");
    }
    let reply = world.call("GET", "/nacos/v3/%61dmin/cs/config/?dataId=d&groupName=g");
    assert_eq!(reply.json()["data"]["content"], json!("x"), "in the words of its version");
}

/// As `curl -F` and Postman send it.
fn parts(world: &World, method: &str, target: &str, fields: &[(&str, &str)]) -> Reply {
    let part = |(name, value): &(&str, &str)| {
        format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body = fields.iter().map(part).collect::<String>() + "--X--\r\n";
    let mut call = request(method, target);
    call.set_body(http::Body::from_string(body));
    call.insert_header("content-type", "multipart/form-data; boundary=X");
    world.send(call)
}

#[test]
fn the_fields_of_a_body_with_parts_are_parameters() {
    let world = World::new();
    let fields =
        [("dataId", "d"), ("group", "g"), ("content", "a=1&b=%41+c\r\nd"), ("type", "json")];
    let reply = parts(&world, "POST", "/nacos/v1/cs/configs", &fields);
    assert_eq!((reply.status, reply.text()), (200, "true"));
    let read = world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g");
    assert_eq!((read.text(), read.header("config-type")), ("a=1&b=%41+c\r\nd", "json"));
    let reply = parts(&world, "POST", "/nacos/v1/cs/configs?dataId=e", &fields);
    assert_eq!(reply.status, 400, "two values of one name");
    let long = "x".repeat(2 << 20);
    let fields = [("dataId", "d"), ("group", "g"), ("content", long.as_str())];
    assert_eq!(parts(&world, "POST", "/nacos/v2/cs/config", &fields).status, 200);
    let read = world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g");
    assert_eq!(read.body.len(), long.len());
    let fields = [("dataId", "d"), ("group", "g")];
    assert_eq!(parts(&world, "DELETE", "/nacos/v1/cs/configs", &fields).status, 200);
    assert_eq!(world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g").status, 404);
    let many = vec![("dataId", "d"); 300];
    assert_eq!(parts(&world, "POST", "/nacos/v1/cs/configs", &many).status, 400);
    let mut broken = request("POST", "/nacos/v1/cs/configs");
    broken.set_body(http::Body::from_string("no parts".into()));
    broken.insert_header("content-type", "multipart/form-data; boundary=X");
    assert_eq!(world.send(broken).status, 400);
}

/// The recorded answers of Nacos: reads take both words, writes the one of their version.
#[test]
fn a_namespace_has_two_words_for_reads_and_one_for_writes() {
    let world = World::new();
    let at = |tenant: &str| {
        let target = format!("/nacos/v1/cs/configs?dataId=d&group=g&tenant={tenant}");
        let reply = world.call("GET", &target);
        (reply.status == 200).then(|| reply.text().to_owned())
    };
    let write = |method: &str, path: &str, more: &str| {
        let reply = world.form(method, path, &format!("dataId=d&group=g&{more}"));
        assert_eq!(reply.status, 200, "{path} {more}");
    };
    write("POST", "/nacos/v1/cs/configs", "content=one&namespaceId=dev");
    assert_eq!((at("dev"), at("")), (None, Some("one".into())));
    write("POST", "/nacos/v2/cs/config", "content=two&namespaceId=dev");
    write("POST", "/nacos/v2/cs/config", "content=three&tenant=dev");
    assert_eq!((at("dev"), at("")), (Some("two".into()), Some("three".into())));
    for path in ["/nacos/v1/cs/configs", "/nacos/v2/cs/config"] {
        for (query, content) in [
            ("tenant=dev", "two"),
            ("namespaceId=dev", "two"),
            ("namespaceId=dev&tenant=", "two"),
            ("namespaceId=&tenant=dev", "three"),
            ("namespaceId=public&tenant=dev", "three"),
        ] {
            let reply = world.call("GET", &format!("{path}?dataId=d&group=g&{query}"));
            assert!(reply.text().contains(content), "{path} {query}");
        }
    }
    for (query, content) in [("tenant=dev", "two"), ("namespaceId=dev", "three")] {
        let all =
            world.call("GET", &format!("/nacos/v1/cs/configs?show=all&dataId=d&group=g&{query}"));
        assert_eq!(all.json()["content"], json!(content), "{query}");
        let target = format!(
            "/nacos/v1/cs/configs?search=accurate&dataId=d&group=g&pageNo=1&pageSize=5&{query}"
        );
        let page = world.call("GET", &target).json();
        assert_eq!(page["pageItems"][0]["content"], json!(content), "{query}");
    }
    write("DELETE", "/nacos/v1/cs/configs", "namespaceId=dev");
    assert_eq!((at("dev"), at("")), (Some("two".into()), None));
    write("DELETE", "/nacos/v2/cs/config", "namespaceId=dev");
    assert_eq!(at("dev"), None);
}
