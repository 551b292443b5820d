//! Namespaces over v1, v2 and v3.

use serde_json::json;

use crate::world::World;

const V1: &str = "/nacos/v1/console/namespaces";
const V2: &str = "/nacos/v2/console/namespace";
const ADMIN: &str = "/nacos/v3/admin/core/namespace";
const CONSOLE: &str = "/nacos/v3/console/core/namespace";

#[test]
fn the_default_namespace_is_always_there() {
    let world = World::new();
    world.publish("d", "x");
    let list = world.call("GET", V1).json();
    assert_eq!(list["code"], json!(200));
    let public = json!({"namespace": "", "namespaceShowName": "public",
        "namespaceDesc": "Default Namespace", "quota": 200, "configCount": 1, "type": 0});
    assert_eq!(list["data"], json!([public]));
    assert_eq!(world.call("GET", &format!("{V2}/list")).json()["data"], json!([public]));
    for newer in [ADMIN, CONSOLE] {
        let list = world.call("GET", &format!("{newer}/list")).json();
        let public = json!({"namespace": "public", "namespaceShowName": "public",
            "namespaceDesc": "Default Namespace", "quota": 200, "configCount": 1,
            "type": 0});
        assert_eq!(list["data"], json!([public]));
        // One is called as its caller calls it.
        for spelled in ["", "public"] {
            let one = world.call("GET", &format!("{newer}?namespaceId={spelled}")).json();
            assert_eq!(one["data"]["namespace"], json!(spelled));
        }
        // It stays, and nobody complains.
        let removed = world.call("DELETE", &format!("{newer}?namespaceId=public"));
        assert_eq!(removed.json()["data"], json!(true));
        let again = world.call("GET", &format!("{newer}/list")).json();
        assert_eq!(again, list);
    }
}

#[test]
fn the_first_version_says_only_true_or_false() {
    let world = World::new();
    let form = |method: &str, body: &str| world.form(method, V1, body).text().to_owned();
    assert_eq!(form("POST", "customNamespaceId=dev&namespaceName=Dev&namespaceDesc=d"), "true");
    assert_eq!(form("POST", "customNamespaceId=dev&namespaceName=Dev"), "false", "there already");
    assert_eq!(form("POST", "customNamespaceId=x&namespaceName="), "false", "it has no name");
    let illegal = |name: &str| {
        format!("Param '{name}' is illegal, illegal characters should not appear in the param.")
    };
    let bad = form("POST", "customNamespaceId=a%20b&namespaceName=Dev");
    assert_eq!(bad, illegal("namespaceId/tenant"));
    let bad = form("POST", "customNamespaceId=x&namespaceName=a%40b");
    assert_eq!(bad, illegal("namespaceShowName"));
    assert_eq!(form("POST", "customNamespaceId=&namespaceName=Made"), "true", "an id is made");
    assert_eq!(form("PUT", "namespace=dev&namespaceShowName=Other"), "true");
    let shown = world.call("GET", &format!("{V1}?show=all&namespaceId=dev")).json();
    assert_eq!(shown["namespaceShowName"], json!("Other"));
    let check = |id: &str| {
        let target = format!("{V1}?checkNamespaceIdExist=true&customNamespaceId={id}");
        world.call("GET", &target).text().to_owned()
    };
    assert_eq!((check("dev"), check("nope")), ("true".into(), "false".into()));
    assert_eq!(form("PUT", "namespace=nope&namespaceShowName=Other"), "true", "it is not there");
    assert_eq!(check("nope"), "false", "and is not made");
    assert_eq!(form("DELETE", "namespaceId=dev"), "true");
    assert_eq!(form("DELETE", "namespaceId=dev"), "true", "also when it is absent");
    assert_eq!(check("dev"), "false");
    assert_eq!(world.form("POST", V1, "customNamespaceId=x").status, 400);
    assert_eq!(world.form("POST", V1, "namespaceName=x").status, 400, "none, and not even empty");
    assert_eq!(form("DELETE", "namespaceId="), "true", "the default one stays without a word");
}

#[test]
fn the_second_version_says_why() {
    let world = World::new();
    let ok = json!({"code": 0, "message": "success", "data": true});
    let body = "namespaceId=dev&namespaceName=Dev";
    assert_eq!(world.form("POST", V2, body).json(), ok);
    let again = world.form("POST", V2, body);
    assert_eq!((again.status, again.json()["code"].clone()), (400, json!(22000)));
    let bad = world.form("POST", V2, "namespaceId=a%20b&namespaceName=Dev");
    assert_eq!((bad.status, bad.text().starts_with("Param 'namespaceId/tenant'")), (400, true));
    let unnamed = world.form("POST", V2, "namespaceName=Dev");
    assert_eq!((unnamed.status, unnamed.json()["code"].clone()), (400, json!(10000)));
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

#[test]
fn the_third_version_has_a_code_for_each_refusal() {
    let world = World::new();
    let code = |method: &str, target: &str, body: &str| {
        let answer = world.form(method, target, body);
        (answer.status, answer.json()["code"].as_u64())
    };
    let body = "namespaceId=dev&namespaceName=Dev";
    assert_eq!(code("POST", ADMIN, body), (200, Some(0)));
    assert_eq!(code("POST", ADMIN, body), (400, Some(22002)));
    assert_eq!(code("POST", ADMIN, "namespaceId=public&namespaceName=P"), (400, Some(22002)));
    assert_eq!(code("POST", ADMIN, "namespaceName=Dev"), (400, Some(10000)), "no id is made");
    assert_eq!(code("POST", ADMIN, "namespaceId=a%20b&namespaceName=Dev"), (400, Some(22000)));
    assert_eq!(code("POST", ADMIN, "namespaceId=x&namespaceName=a%40b"), (400, Some(22000)));
    let one = world.call("GET", &format!("{ADMIN}?namespaceId=dev")).json();
    assert_eq!(one["data"]["type"], json!(1));
    let missing = world.call("GET", &format!("{ADMIN}?namespaceId=nope"));
    assert_eq!((missing.status, missing.json()["code"].clone()), (404, json!(22001)));
    let check = |id: &str| world.call("GET", &format!("{ADMIN}/check?namespaceId={id}")).json();
    assert_eq!((check("dev")["data"].clone(), check("nope")["data"].clone()), (json!(1), json!(0)));
    assert_eq!(code("PUT", ADMIN, "namespaceId=nope&namespaceName=New"), (200, Some(0)));
    assert_eq!(check("nope")["data"], json!(0), "what is not there is not made by a change");
    assert_eq!(code("PUT", ADMIN, "namespaceId=dev&namespaceName=New"), (200, Some(0)));
    let one = world.call("GET", &format!("{ADMIN}?namespaceId=dev")).json();
    assert_eq!(one["data"]["namespaceShowName"], json!("New"));
}

#[test]
fn the_console_may_leave_the_id_to_the_server() {
    let world = World::new();
    let made = world.form("POST", CONSOLE, "namespaceName=Made&namespaceDesc=d");
    assert_eq!(made.json()["data"], json!(true));
    let list = world.call("GET", &format!("{CONSOLE}/list")).json();
    let id = list["data"][1]["namespace"].as_str().expect("an id").to_owned();
    assert_eq!(id.len(), 36, "a UUID");
    let exists = |id: &str| {
        let target = format!("{CONSOLE}/exist?customNamespaceId={id}");
        world.call("GET", &target).json()["data"].clone()
    };
    assert_eq!(exists(&id), json!(true));
    assert_eq!((exists("public"), exists("nope")), (json!(true), json!(false)));
    assert_eq!(exists(""), json!(false), "no id means one that is yet to be made");
    let unnamed = world.form("POST", CONSOLE, "customNamespaceId=x");
    assert_eq!((unnamed.status, unnamed.json()["code"].clone()), (400, json!(10000)));
}
