//! Export, import and clone.

use serde_json::{Value, json};
use tide::http;

use crate::world::{World, request};

fn import(world: &World, query: &str, file: &[u8]) -> Value {
    let mut request = request("POST", &format!("/nacos/v1/cs/configs?import=true{query}"));
    let mut body = b"--xx\r\nContent-Disposition: form-data; name=\"policy\"\r\n\r\n\r\n--xx\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\n\r\n"
        .to_vec();
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--xx--\r\n");
    request.set_body(http::Body::from_bytes(body));
    request.insert_header("content-type", "multipart/form-data; boundary=xx");
    let reply = world.send(request);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

fn exported(world: &World, query: &str) -> Vec<u8> {
    let reply = world.call("GET", &format!("/nacos/v1/cs/configs?{query}"));
    assert_eq!(reply.status, 200);
    let disposition = reply.header("content-disposition");
    assert!(
        disposition.starts_with("attachment;filename=nacos_config_export_2023"),
        "{disposition}"
    );
    reply.body
}

#[test]
fn what_one_server_exports_another_imports() {
    let world = World::new();
    world.publish("a.yml", "one");
    world.form(
        "POST",
        "/nacos/v1/cs/configs",
        "dataId=b&group=h&content=two&type=json&desc=two%3A",
    );
    for query in ["exportV2=true&tenant=&group=&appName=&ids=", "export=true"] {
        let file = exported(&world, query);
        let other = World::new();
        let reply = import(&other, "", &file);
        let expected = json!({"code": 200, "message": "import success",
            "data": {"succCount": 2, "skipCount": 0}});
        assert_eq!(reply, expected);
        assert_eq!(other.call("GET", "/nacos/v1/cs/configs?dataId=b&group=h").text(), "two");
    }
}

#[test]
fn a_policy_decides_about_what_is_there_already() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.publish(name, "old");
    }
    let file = exported(&world, "exportV2=true");
    world.call("DELETE", "/nacos/v1/cs/configs?dataId=a&group=g");
    world.publish("b", "new");
    let content = |name: &str| {
        let target = format!("/nacos/v1/cs/configs?dataId={name}&group=g");
        world.call("GET", &target).text().to_owned()
    };
    let data = import(&world, "&policy=ABORT", &file)["data"].clone();
    assert_eq!(data["succCount"], json!(1), "what stands before the conflict");
    assert_eq!(data["failData"], json!([{"dataId": "b", "group": "g"}]));
    assert_eq!(data["skipData"], json!([{"dataId": "c", "group": "g"}]));
    assert_eq!((content("a"), content("b")), ("old".into(), "new".into()));
    let data = import(&world, "&policy=SKIP", &file)["data"].clone();
    assert_eq!((data["succCount"].clone(), data["skipCount"].clone()), (json!(0), json!(3)));
    let data = import(&world, "&policy=OVERWRITE", &file)["data"].clone();
    assert_eq!(data["succCount"], json!(3));
    assert_eq!(content("b"), "old");
}

#[test]
fn an_import_that_brings_nothing_says_why() {
    let world = World::new();
    let file = exported(&world, "exportV2=true");
    assert_eq!(import(&world, "", b"no zip")["code"], json!(100_004));
    assert_eq!(import(&world, "&namespace=nope", &file)["code"], json!(100_001));
    let reply = world.call("POST", "/nacos/v1/cs/configs?import=true");
    assert_eq!(reply.status, 400, "no multipart body");
}

#[test]
fn configs_are_cloned_to_another_namespace_under_other_names() {
    let world = World::new();
    world.publish("a", "one");
    world.form("POST", "/nacos/v1/console/namespaces", "customNamespaceId=dev&namespaceName=Dev");
    let all = world.call("GET", "/nacos/v1/cs/configs?show=all&dataId=a&group=g").json();
    let body = json!([{"cfgId": all["id"], "dataId": "b", "group": ""}]).to_string();
    let clone = |tenant: &str| {
        let target = format!("/nacos/v1/cs/configs?clone=true&tenant={tenant}&policy=SKIP");
        let mut request = request("POST", &target);
        request.set_body(body.as_str());
        request.insert_header("content-type", "application/json");
        world.send(request).json()
    };
    assert_eq!(clone("nope")["code"], json!(100_001));
    let reply = clone("dev");
    assert_eq!(reply["message"], json!("Clone Completed Successfully"));
    assert_eq!(reply["data"]["succCount"], json!(1));
    let copy = world.call("GET", "/nacos/v1/cs/configs?dataId=b&group=g&tenant=dev");
    assert_eq!(copy.text(), "one");
    assert_eq!(clone("dev")["data"]["skipCount"], json!(1));
}
