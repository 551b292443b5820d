//! What configs were before.

use serde_json::json;

use crate::world::World;

#[test]
fn the_past_of_a_config_is_listed_newest_first_and_without_contents() {
    let world = World::new();
    world.publish("d", "one");
    world.publish("d", "two");
    world.call("DELETE", "/nacos/v1/cs/configs?dataId=d&group=g");
    let list = "/nacos/v1/cs/history?search=accurate&dataId=d&group=g";
    let page = world.call("GET", list).json();
    assert_eq!(page["totalCount"], json!(3));
    let ops: Vec<_> = (0..3).map(|n| page["pageItems"][n]["opType"].clone()).collect();
    assert_eq!(ops, ["D", "U", "I"]);
    assert_eq!(page["pageItems"][0]["content"], json!(null));
    let nid = page["pageItems"][1]["id"].as_str().expect("an id");
    let item = world.call("GET", &format!("/nacos/v1/cs/history?nid={nid}&dataId=d&group=g"));
    assert_eq!(item.json()["content"], json!("one"), "an update keeps the old content");
    assert!(item.json()["createdTime"].as_str().expect("a time").ends_with("+00:00"));
    let page = world.call("GET", &format!("{list}&pageNo=2&pageSize=2")).json();
    assert_eq!(page["pageItems"][0]["opType"], json!("I"));
    let v2 = world.call("GET", "/nacos/v2/cs/history/list?dataId=d&group=g").json();
    assert_eq!(v2["data"]["totalCount"], json!(3));
    let target = format!("/nacos/v2/cs/history/detail?nid={nid}&dataId=d&group=g");
    assert_eq!(world.call("GET", &target).json()["data"]["originalContent"], json!("one"));
}

#[test]
fn the_past_of_one_config_is_not_shown_under_the_name_of_another() {
    let world = World::new();
    world.publish("d", "one");
    let page = world.call("GET", "/nacos/v1/cs/history?search=accurate&dataId=d&group=g").json();
    let nid = page["pageItems"][0]["id"].as_str().expect("an id");
    let reply = world.call("GET", &format!("/nacos/v1/cs/history?nid={nid}&dataId=e&group=g"));
    assert_eq!(reply.status, 404);
    let reply = world.call("GET", "/nacos/v2/cs/history?nid=99&dataId=d&group=g");
    assert_eq!((reply.status, reply.json()["code"].clone()), (404, json!(20004)));
}

#[test]
fn what_was_before_the_last_write_is_found_by_the_id_of_the_config() {
    let world = World::new();
    world.publish("d", "one");
    world.publish("d", "two");
    let all = world.call("GET", "/nacos/v1/cs/configs?show=all&dataId=d&group=g").json();
    let id = all["id"].as_str().expect("an id");
    let target = format!("/nacos/v1/cs/history/previous?id={id}&dataId=d&group=g");
    assert_eq!(world.call("GET", &target).json()["content"], json!("one"));
    let target = format!("/nacos/v2/cs/history/previous?id={id}&dataId=d&group=g");
    assert_eq!(world.call("GET", &target).json()["data"]["content"], json!("one"));
}

#[test]
fn the_configs_of_a_namespace_are_listed() {
    let world = World::new();
    world.publish("d", "one");
    let list = world.call("GET", "/nacos/v1/cs/history/configs?tenant=public").json();
    assert_eq!(list[0]["dataId"], json!("d"));
    assert_eq!(list[0]["tenant"], json!("public"));
    let list = world.call("GET", "/nacos/v2/cs/history/configs?namespaceId=dev").json();
    assert_eq!(list["data"], json!([]));
    assert_eq!(world.call("GET", "/nacos/v1/cs/history/configs").status, 400);
}
