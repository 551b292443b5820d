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
    assert_eq!(ops, ["D         ", "U         ", "I         "], "a column of ten characters");
    assert_eq!(page["pageItems"][0]["content"], json!(null));
    let nid = page["pageItems"][1]["id"].as_str().expect("an id");
    let item = world.call("GET", &format!("/nacos/v1/cs/history?nid={nid}&dataId=d&group=g"));
    assert_eq!(item.json()["content"], json!("one"), "an update keeps the old content");
    assert!(item.json()["createdTime"].as_str().expect("a time").ends_with("+00:00"));
    let page = world.call("GET", &format!("{list}&pageNo=2&pageSize=2")).json();
    assert_eq!(page["pageItems"][0]["opType"], json!("I         "));
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
    assert_eq!(reply.status, 403);
    let reply = world.call("GET", &format!("/nacos/v2/cs/history?nid={nid}&dataId=e&group=g"));
    assert_eq!((reply.status, reply.json()["code"].clone()), (403, json!(10001)));
}

#[test]
fn what_is_not_kept_is_nothing_in_v1_null_in_v2_and_an_error_in_v3() {
    let world = World::new();
    world.publish("d", "one");
    for path in ["history?nid=99", "history/previous?id=99"] {
        let reply = world.call("GET", &format!("/nacos/v1/cs/{path}&dataId=d&group=g"));
        assert_eq!((reply.status, reply.text()), (200, ""), "{path}");
        let reply = world.call("GET", &format!("/nacos/v2/cs/{path}&dataId=d&group=g"));
        assert_eq!((reply.status, reply.json()["data"].clone()), (200, json!(null)), "{path}");
        for who in ["admin", "console"] {
            let target = format!("/nacos/v3/{who}/cs/{path}&dataId=d&groupName=g");
            let reply = world.call("GET", &target);
            assert_eq!((reply.status, reply.json()["code"].clone()), (400, json!(20002)), "{path}");
        }
    }
    let reply = world.call("GET", "/nacos/v2/cs/history/detail?nid=99&dataId=d&group=g");
    assert_eq!(reply.json()["data"], json!(null));
}

#[test]
fn an_item_tells_what_was_said_about_its_content() {
    let world = World::new();
    for content in ["one", "two"] {
        let form = format!(
            "dataId=d&group=g&content={content}&type=yaml&src_user={content}er&desc=d%20{content}&\
             config_tags=a,b&appName=app"
        );
        world.form("POST", "/nacos/v1/cs/configs", &form);
    }
    let list = "search=accurate&dataId=d&group=g";
    let page = world.call("GET", &format!("/nacos/v1/cs/history?{list}")).json();
    let item = &page["pageItems"][0];
    assert_eq!(item["grayName"], json!(""));
    assert_eq!(item["srcUser"], json!("twoer"));
    let said: serde_json::Value =
        serde_json::from_str(item["extInfo"].as_str().expect("text")).expect("JSON");
    let expected = json!({"type": "yaml", "config_tags": "a,b", "src_user": "oneer",
        "c_desc": "d one"});
    assert_eq!(said, expected, "of the content that was replaced, and of whoever wrote it");
    let nid = item["id"].as_str().expect("an id").to_owned();
    for who in ["admin", "console"] {
        let base = format!("/nacos/v3/{who}/cs/history");
        let list = world.call("GET", &format!("{base}/list?dataId=d&groupName=g")).json();
        let basic = &list["data"]["pageItems"][0];
        assert_eq!(basic["id"], json!(nid));
        assert_eq!((&basic["namespaceId"], &basic["groupName"]), (&json!("public"), &json!("g")));
        assert!(basic["modifyTime"].is_u64() && basic.get("content").is_none(), "{basic}");
        let target = format!("{base}?nid={nid}&dataId=d&groupName=g");
        let detail = world.call("GET", &target).json()["data"].clone();
        assert_eq!((&detail["content"], &detail["opType"]), (&json!("one"), &json!("U         ")));
        assert_eq!(detail["extInfo"], item["extInfo"]);
        let reply = world.call("GET", &format!("{base}/list?dataId=d&groupName=g&pageNo=0"));
        assert_eq!((reply.status, reply.json()["code"].clone()), (400, json!(20002)));
        let configs = world.call("GET", &format!("{base}/configs?namespaceId=public")).json();
        assert_eq!(configs["data"][0]["groupName"], json!("g"));
    }
    world.form("POST", "/nacos/v1/cs/configs", "dataId=d&group=g&content=x&tag=blue");
    let page = world.call("GET", &format!("/nacos/v1/cs/history?{list}")).json();
    let gray = &page["pageItems"][0];
    assert_eq!((&gray["grayName"], &gray["publishType"]), (&json!("tag_blue"), &json!("gray")));
    assert!(gray["extInfo"].as_str().expect("text").contains("\"gray_name\":\"tag_blue\""));
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

#[test]
fn the_configs_of_a_large_namespace_are_written_while_the_answer_is_sent() {
    let world = World::new();
    for number in 0..200 {
        world.publish(&format!("d{number:03}"), "x");
    }
    for (target, at) in [
        ("/nacos/v1/cs/history/configs?tenant=", ""),
        ("/nacos/v2/cs/history/configs?namespaceId=public", "/data"),
    ] {
        let call = nacolet_api::Call {
            uri: target.parse().expect("a target"),
            ..nacolet_api::Call::default()
        };
        let answer = smol::block_on(world.server.call(call));
        let made = answer.body.len();
        let whole = answer.whole().expect("it can be made");
        assert!(made < whole.len() / 2, "{target}: {made} of {}", whole.len());
        let json: serde_json::Value = serde_json::from_slice(&whole).expect("JSON");
        let all = json.pointer(at).and_then(serde_json::Value::as_array).expect("a list");
        let names: Vec<_> = all.iter().filter_map(|one| one["dataId"].as_str()).collect();
        let expected: Vec<_> = (0..200).map(|number| format!("d{number:03}")).collect();
        assert_eq!(names, expected);
    }
}
