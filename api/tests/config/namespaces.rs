//! Namespaces over v1 and v2.

use serde_json::json;

use crate::world::World;

const V1: &str = "/nacos/v1/console/namespaces";
const V2: &str = "/nacos/v2/console/namespace";

#[test]
fn the_default_namespace_is_always_there() {
    let world = World::new();
    world.publish("d", "x");
    let list = world.call("GET", V1).json();
    assert_eq!(list["code"], json!(200));
    let public = json!({"namespace": "", "namespaceShowName": "public",
        "namespaceDesc": list["data"][0]["namespaceDesc"], "quota": 200, "configCount": 1, "type": 0});
    assert_eq!(list["data"], json!([public]));
    assert_eq!(world.call("GET", &format!("{V2}/list")).json()["data"], json!([public]));
}

#[test]
fn the_first_version_says_only_true_or_false() {
    let world = World::new();
    let form = |method: &str, body: &str| world.form(method, V1, body).text().to_owned();
    assert_eq!(form("POST", "customNamespaceId=dev&namespaceName=Dev&namespaceDesc=d"), "true");
    assert_eq!(form("POST", "customNamespaceId=dev&namespaceName=Dev"), "false", "there already");
    assert_eq!(form("POST", "customNamespaceId=a%20b&namespaceName=Dev"), "false");
    assert_eq!(form("POST", "customNamespaceId=x&namespaceName=a%40b"), "false");
    assert_eq!(form("POST", "customNamespaceId=&namespaceName=Made"), "true", "an id is made");
    assert_eq!(form("PUT", "namespace=dev&namespaceShowName=Other"), "true");
    let shown = world.call("GET", &format!("{V1}?show=all&namespaceId=dev")).json();
    assert_eq!(shown["namespaceShowName"], json!("Other"));
    let check = |id: &str| {
        let target = format!("{V1}?checkNamespaceIdExist=true&customNamespaceId={id}");
        world.call("GET", &target).text().to_owned()
    };
    assert_eq!((check("dev"), check("nope")), ("true".into(), "false".into()));
    assert_eq!(form("DELETE", "namespaceId=dev"), "true");
    assert_eq!(form("DELETE", "namespaceId=dev"), "true", "also when it is absent");
    assert_eq!(check("dev"), "false");
    assert_eq!(world.form("POST", V1, "customNamespaceId=x").status, 400);
}

#[test]
fn the_second_version_says_why() {
    let world = World::new();
    let ok = json!({"code": 0, "message": "success", "data": true});
    let body = "namespaceId=dev&namespaceName=Dev";
    assert_eq!(world.form("POST", V2, body).json(), ok);
    let again = world.form("POST", V2, body);
    assert_eq!(again.json()["code"], json!(22002));
    let bad = world.form("POST", V2, "namespaceId=a%20b&namespaceName=Dev");
    assert_eq!((bad.status, bad.json()["code"].clone()), (400, json!(22000)));
    let none = world.form("POST", V2, "namespaceId=x");
    assert_eq!((none.status, none.json()["code"].clone()), (400, json!(10000)));
    let one = world.call("GET", &format!("{V2}?namespaceId=dev")).json();
    assert_eq!(
        (one["data"]["namespace"].clone(), one["data"]["type"].clone()),
        (json!("dev"), json!(2))
    );
    let missing = world.call("GET", &format!("{V2}?namespaceId=nope"));
    assert_eq!((missing.status, missing.json()["code"].clone()), (404, json!(22001)));
    assert_eq!(world.form("PUT", V2, "namespaceId=dev&namespaceName=New").json(), ok);
    assert_eq!(world.call("DELETE", &format!("{V2}?namespaceId=dev")).json(), ok);
}
