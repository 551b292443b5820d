//! Configs as administrators and the console of Nacos 3 ask for them.

use serde_json::{Value, json};
use tide::http;

use crate::world::{Reply, World, request};

/// Where both have the same calls.
const WHO: [&str; 2] = ["admin", "console"];

fn code(reply: &Reply) -> (u16, Value) {
    (reply.status, reply.json()["code"].clone())
}

#[test]
fn a_config_is_published_shown_listed_and_removed() {
    for who in WHO {
        let world = World::new();
        let path = format!("/nacos/v3/{who}/cs/config");
        let form = "dataId=d&groupName=g&content=%7B%7D&type=json&desc=dd&appName=aa&\
                    configTags=x%2Cy&srcUser=bob";
        let reply = world.form("POST", &path, form);
        assert_eq!(reply.json(), json!({"code": 0, "message": "success", "data": true}));
        let shown = world.call("GET", &format!("{path}?dataId=d&groupName=g")).json();
        let mut data = shown["data"].clone();
        for of_the_day in ["id", "createTime", "modifyTime"] {
            assert_ne!(data.as_object_mut().expect("an object").remove(of_the_day), None);
        }
        let basic = json!({"namespaceId": "public", "groupName": "g", "dataId": "d",
            "md5": "99914b932bd37a50b983c5e7c90ae93b", "type": "json", "appName": "aa"});
        let mut detail = basic.clone();
        for (name, value) in [
            ("content", json!("{}")),
            ("desc", json!("dd")),
            ("encryptedDataKey", json!("")),
            ("createUser", json!("bob")),
            ("createIp", json!("127.0.0.1")),
            ("configTags", json!("x,y")),
        ] {
            detail[name] = value;
        }
        assert_eq!(data, detail);
        let list = world.call("GET", &format!("{path}/list?pageNo=1&pageSize=10")).json();
        assert_eq!(list["data"]["totalCount"], json!(1));
        let item = &list["data"]["pageItems"][0];
        assert_eq!(item["id"], shown["data"]["id"]);
        assert!(item["id"].is_string() && item.get("content").is_none(), "{item}");
        let removed = world.call("DELETE", &format!("{path}?dataId=d&groupName=g"));
        assert_eq!(removed.json()["data"], json!(true));
        assert_eq!(world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g").status, 404);
    }
}

#[test]
fn a_config_that_is_not_there_is_an_error_for_administrators_alone() {
    let world = World::new();
    let admin = world.call("GET", "/nacos/v3/admin/cs/config?dataId=d&groupName=g");
    assert_eq!(code(&admin), (404, json!(20004)));
    let console = world.call("GET", "/nacos/v3/console/cs/config?dataId=d&groupName=g");
    assert_eq!(console.json(), json!({"code": 0, "message": "success", "data": null}));
}

#[test]
fn what_is_missing_or_wrong_is_told_by_the_codes_of_nacos() {
    let world = World::new();
    for who in WHO {
        let path = format!("/nacos/v3/{who}/cs/config");
        for (method, target) in [
            ("GET", path.clone()),
            ("GET", format!("{path}?dataId=d&group=g")),
            ("GET", format!("{path}?dataId=+&groupName=g")),
            ("POST", path.clone()),
            ("POST", format!("{path}?dataId=d&groupName=g")),
            ("POST", format!("{path}?dataId=d&groupName=g&content=+")),
            ("DELETE", path.clone()),
            ("GET", format!("{path}/beta")),
            ("DELETE", format!("{path}/beta")),
            ("GET", format!("{path}/listener")),
            ("POST", format!("{path}/clone")),
        ] {
            assert_eq!(code(&world.call(method, &target)), (400, json!(10000)), "{target}");
        }
        for target in [format!("{path}/list?pageNo=0"), format!("{path}/list?pageSize=-1")] {
            assert_eq!(code(&world.call("GET", &target)), (400, json!(20002)), "{target}");
        }
        let illegal = world.call("GET", &format!("{path}?dataId=a+b&groupName=g"));
        assert_eq!(illegal.status, 400);
        assert!(illegal.text().starts_with("Param 'dataId' is illegal"), "{}", illegal.text());
    }
    let client = "/nacos/v3/client/cs/config";
    let reply = world.call("GET", client);
    let words = "caused: Required parameter 'groupName' type String is not present;";
    assert_eq!((reply.status, reply.text()), (400, words));
    for (path, status) in [("admin/cs/config/batch", 400), ("console/cs/config/batchDelete", 400)] {
        let path = format!("/nacos/v3/{path}");
        assert_eq!(code(&world.call("DELETE", &path)), (status, json!(10000)), "{path}");
        let path = format!("{path}?ids=x");
        assert_eq!(code(&world.call("DELETE", &path)), (status, json!(20002)), "{path}");
    }
}

#[test]
fn several_configs_are_removed_by_their_ids() {
    for path in ["admin/cs/config/batch", "console/cs/config/batchDelete"] {
        let world = World::new();
        for name in ["a", "b", "c"] {
            world.publish(name, "x");
        }
        let list = world.call("GET", "/nacos/v3/admin/cs/config/list").json();
        let id = |at: usize| list["data"]["pageItems"][at]["id"].as_str().expect("text").to_owned();
        let target = format!("/nacos/v3/{path}?ids={},{},99", id(0), id(2));
        assert_eq!(world.call("DELETE", &target).json()["data"], json!(true));
        let list = world.call("GET", "/nacos/v3/admin/cs/config/list").json();
        assert_eq!(list["data"]["totalCount"], json!(1));
        assert_eq!(list["data"]["pageItems"][0]["dataId"], json!("b"));
        let none = world.call("DELETE", &format!("/nacos/v3/{path}?ids="));
        assert_eq!(none.json()["data"], json!(true), "no ids are none to remove");
    }
}

#[test]
fn a_beta_version_is_shown_with_its_rule_and_stopped() {
    for who in WHO {
        let world = World::new();
        let path = format!("/nacos/v3/{who}/cs/config");
        let publish = |ips: Option<&str>, content: &str| {
            let target = format!("{path}?dataId=d&groupName=g&content={content}");
            let mut call = request("POST", &target);
            if let Some(ips) = ips {
                call.insert_header("betaips", ips);
            }
            assert_eq!(world.send(call).status, 200);
        };
        publish(None, "main");
        publish(Some("10.9.9.9"), "beta");
        let beta = format!("{path}/beta?dataId=d&groupName=g");
        let data = world.call("GET", &beta).json()["data"].clone();
        assert_eq!((&data["content"], &data["grayName"]), (&json!("beta"), &json!("beta")));
        let rule: Value = serde_json::from_str(data["grayRule"].as_str().expect("text")).expect("");
        let expected = json!({"type": "beta", "version": "1.0.0", "expr": "10.9.9.9",
            "priority": 2_147_483_647});
        assert_eq!(rule, expected);
        assert_eq!(data["encryptedDataKey"], json!(null));
        assert_eq!(world.call("DELETE", &beta).json()["data"], json!(true));
        let again = world.call("DELETE", &beta).json();
        let nothing = if who == "admin" { 30_000 } else { 500 };
        assert_eq!((&again["code"], &again["data"]), (&json!(nothing), &json!(false)));
        let again = world.call("DELETE", "/nacos/v1/cs/configs?beta=true&dataId=d&group=g");
        assert_eq!((again.status, again.json()["code"].clone()), (200, json!(500)));
    }
}

#[test]
fn a_config_without_a_beta_version_is_an_error_for_administrators_alone() {
    let world = World::new();
    let form = "dataId=d&groupName=g&content=a%3A+1&type=yaml";
    assert_eq!(world.form("POST", "/nacos/v3/console/cs/config", form).status, 200);
    let beta = |who: &str| {
        world.call("GET", &format!("/nacos/v3/{who}/cs/config/beta?dataId=d&groupName=g"))
    };
    assert_eq!(code(&beta("admin")), (404, json!(20004)));
    assert_eq!(beta("console").json(), json!({"code": 0, "message": "success", "data": null}));
    let mut call = request("POST", "/nacos/v3/console/cs/config?dataId=d&groupName=g&content=b");
    call.insert_header("betaips", "10.9.9.9");
    assert_eq!(world.send(call).status, 200);
    assert_eq!(beta("admin").json()["data"]["type"], json!(null));
    assert_eq!(beta("console").json()["data"]["type"], json!("yaml"), "the type of the config");
}

#[test]
fn compare_and_set_inserts_and_refuses_alike_in_every_version() {
    for (path, group) in [
        ("/nacos/v1/cs/configs", "group"),
        ("/nacos/v2/cs/config", "group"),
        ("/nacos/v3/admin/cs/config", "groupName"),
        ("/nacos/v3/console/cs/config", "groupName"),
    ] {
        let world = World::new();
        for more in [None, Some(("betaips", "10.0.0.1")), Some(("tag", "blue"))] {
            let publish = || {
                let tag = if let Some(("tag", tag)) = more {
                    format!("&tag={tag}")
                } else {
                    String::new()
                };
                let target = format!("{path}?dataId=d&{group}=g&content=x{tag}");
                let mut call = request("POST", &target);
                call.insert_header("casmd5", "0");
                if let Some(("betaips", ips)) = more {
                    call.insert_header("betaips", ips);
                }
                world.send(call).status
            };
            assert_eq!((publish(), publish()), (200, 500), "{path} {more:?}");
        }
    }
}

#[test]
fn who_listens_is_told_in_the_words_of_v3() {
    let world = World::new();
    for (target, of) in [
        ("admin/cs/config/listener?dataId=d&groupName=g", "config"),
        ("console/cs/config/listener?dataId=d&groupName=g", "config"),
        ("admin/cs/listener?ip=127.0.0.1", "ip"),
        ("console/cs/config/listener/ip?ip=127.0.0.1&all=true", "ip"),
    ] {
        let reply = world.call("GET", &format!("/nacos/v3/{target}"));
        let data = json!({"queryType": of, "listenersStatus": {}});
        assert_eq!(reply.json()["data"], data, "{target}");
    }
    for target in ["admin/cs/listener", "console/cs/config/listener/ip"] {
        let reply = world.call("GET", &format!("/nacos/v3/{target}"));
        assert_eq!(code(&reply), (400, json!(10000)), "{target}");
    }
}

#[test]
fn capacities_are_the_defaults_of_nacos_and_cannot_be_set() {
    let world = World::new();
    world.publish("d", "x");
    let of = |target: &str| world.call("GET", target).json()["data"].clone();
    let group = of("/nacos/v3/admin/cs/capacity?groupName=g");
    assert_eq!((&group["groupName"], &group["usage"]), (&json!("g"), &json!(1)));
    assert_eq!((&group["id"], &group["quota"]), (&json!("0"), &json!(200)));
    let namespace = of("/nacos/v3/admin/cs/capacity?namespaceId=public");
    assert_eq!((&namespace["namespaceId"], &namespace["usage"]), (&json!("public"), &json!(1)));
    assert_eq!(of("/nacos/v1/cs/capacity?tenant=no-such")["tenant"], json!("no-such"));
    assert_eq!(of("/nacos/v1/cs/capacity?group=g")["group"], json!("g"));
    for (target, status) in [
        ("/nacos/v3/admin/cs/capacity", 400),
        ("/nacos/v3/admin/cs/capacity?groupName=g", 400),
        ("/nacos/v3/admin/cs/capacity?groupName=g&quota=x", 400),
        ("/nacos/v3/admin/cs/capacity?groupName=g&quota=100", 501),
        ("/nacos/v1/cs/capacity?group=g&quota=100", 501),
    ] {
        assert_eq!(world.call("POST", target).status, status, "{target}");
    }
}

#[test]
fn what_operators_ask_of_nacos_is_answered_or_refused_with_a_sentence() {
    let world = World::new();
    let cached = world.call("POST", "/nacos/v1/cs/ops/localCache");
    assert_eq!((cached.status, cached.text()), (200, "200"));
    let cached = world.call("POST", "/nacos/v3/admin/cs/ops/localCache");
    assert_eq!(cached.json()["data"], json!("Local cache updated from store successfully!"));
    for (path, done) in [("/nacos/v1/cs/ops/log", "200"), ("/nacos/v3/admin/cs/ops/log", "config")]
    {
        let set = world.form("PUT", path, "logName=config-server&logLevel=INFO");
        assert!(set.status == 200 && set.text().contains(done), "{path}");
        assert_eq!(world.form("PUT", path, "logName=config-server&logLevel=LOUD").status, 400);
        assert_eq!(world.form("PUT", path, "logName=config-server").status, 400);
    }
    let derby = world.call("GET", "/nacos/v3/admin/cs/ops/derby?sql=select+1");
    assert_eq!(code(&derby), (200, json!(30000)));
    let derby = world.call("GET", "/nacos/v1/cs/ops/derby?sql=select+1");
    assert_eq!(code(&derby), (200, json!(500)));
    for path in ["/nacos/v3/admin/cs/metrics/ip", "/nacos/v3/admin/cs/metrics/cluster"] {
        assert_eq!(code(&world.call("GET", path)), (400, json!(10000)));
        let no_config = world.call("GET", &format!("{path}?ip=10.0.0.1"));
        assert_eq!(code(&no_config), (400, json!(20002)));
        let target = format!("{path}?ip=10.0.0.1&dataId=d&groupName=g");
        assert_eq!(world.call("GET", &target).status, 501);
    }
    let reply = world.call("GET", "/nacos/v1/cs/metrics/current?ip=10.0.0.1");
    assert_eq!((reply.status, reply.text()), (400, "caused: invalid dataId : null;"));
    for path in ["configWatchers", "watcherConfigs"] {
        let reply = world.call("GET", &format!("/nacos/v1/cs/communication/{path}"));
        assert_eq!((reply.status, reply.json()["status"].clone()), (410, json!(410)));
    }
    let import = "/nacos/v3/admin/cs/ops/derby/import";
    assert_eq!(world.call("POST", import).status, 400);
    let mut call = request("POST", import);
    call.set_body(http::Body::from_string("--X--\r\n".into()));
    call.insert_header("content-type", "multipart/form-data; boundary=X");
    assert_eq!(code(&world.send(call)), (501, json!(40001)));
}

#[test]
fn a_config_is_described_anew_and_keeps_its_content() {
    let world = World::new();
    let key = "dataId=d&groupName=g";
    let target = "/nacos/v3/admin/cs/config";
    let metadata = format!("{target}/metadata");
    let answer = world.form("PUT", &metadata, key);
    assert_eq!((answer.status, answer.json()["code"].as_u64()), (404, Some(20_004)));
    let form = format!("{key}&content=a%3A+1&type=yaml&desc=old&configTags=x&appName=shop");
    assert_eq!(world.form("POST", target, &form).status, 200);
    let described = |form: &str| {
        let answer = world.form("PUT", &metadata, &format!("{key}&{form}"));
        assert_eq!((answer.status, &answer.json()["data"]), (200, &json!(true)), "{form}");
        let data = world.call("GET", &format!("{target}?{key}")).json()["data"].clone();
        let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        let same = [text("content"), text("type"), text("appName")];
        assert_eq!(same, ["a: 1", "yaml", "shop"]);
        (text("desc"), text("configTags"))
    };
    assert_eq!(described("desc=new&configTags=y,z"), ("new".into(), "y,z".into()));
    assert_eq!(described("desc="), (String::new(), "y,z".into()), "what is not said stays");
    let answer = world.form("PUT", &metadata, &format!("{key}&desc={}", "d".repeat(129)));
    assert_eq!(answer.status, 400);
}

/// A call of the gray versions of `d` in `g`.
fn gray(world: &World, method: &str, form: &str) -> Reply {
    let form = format!("dataId=d&groupName=g&{form}");
    world.form(method, "/nacos/v3/admin/cs/config/gray", &form)
}

#[test]
fn a_gray_version_with_a_rule_by_labels_is_published_shown_and_removed() {
    let world = World::new();
    let rule = "grayName=canary&grayRuleExp=env%3Dprod%26%26v%3D1%2C2&grayVersion=1.1.0&\
                grayPriority=7&content=new";
    assert_eq!(gray(&world, "POST", rule).json()["data"], json!(true));
    let shown = || world.call("GET", &named_gray("canary")).json();
    let data = shown()["data"].clone();
    assert_eq!((&data["content"], &data["grayName"]), (&json!("new"), &json!("canary")));
    let told: Value = serde_json::from_str(data["grayRule"].as_str().expect("text")).expect("JSON");
    let expected =
        json!({"type": "tagv2", "version": "1.1.0", "expr": "env=prod&&v=1,2", "priority": 7});
    assert_eq!(told, expected);
    // Nobody without labels sees it, and the config itself is not there.
    assert_eq!(world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g").status, 404);
    let again =
        "grayName=canary&grayMatchRuleExp=ClientIp%3D127.0.0.1&grayVersion=1.0.0&content=own";
    assert_eq!(gray(&world, "POST", again).json()["data"], json!(true));
    let seen = world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g");
    assert_eq!((seen.status, seen.text()), (200, "own"), "an address is a label");
    let past = "/nacos/v3/admin/cs/history/list?dataId=d&groupName=g&pageNo=1&pageSize=9";
    let past = world.call("GET", past).json();
    assert_eq!(past["data"]["totalCount"], json!(2));
    assert_eq!(past["data"]["pageItems"][0]["publishType"], json!("gray"));
    assert_eq!(world.call("DELETE", &named_gray("canary")).json()["data"], json!(true));
    assert_eq!(shown()["code"], json!(20004));
}

fn named_gray(name: &str) -> String {
    format!("/nacos/v3/admin/cs/config/gray?dataId=d&groupName=g&grayName={name}")
}

#[test]
fn a_gray_version_that_is_none_is_refused_by_the_codes_of_nacos() {
    let world = World::new();
    let rule = "grayName=canary&grayRuleExp=env%3Dprod&grayVersion=1.0.0&content=x";
    for (form, expected) in [
        (rule.replace("canary", ""), 10_000),
        (rule.replace("env%3Dprod", ""), 10_000),
        (rule.replace("1.0.0", ""), 10_000),
        (rule.replace("content=x", ""), 10_000),
        (rule.replace("canary", "a+b"), 20_002),
        (rule.replace("canary", "beta"), 20_002),
        (rule.replace("canary", "tag_a"), 20_002),
        (rule.replace("env%3Dprod", "env"), 20_011),
        (rule.replace("env%3Dprod", "env%3Da%26%26v%3D1"), 20_011),
        (rule.replace("1.0.0", "2.0.0"), 20_012),
        (format!("{rule}&grayType=label_expr"), 20_012),
        (format!("{rule}&grayPriority=x"), 20_002),
    ] {
        assert_eq!(code(&gray(&world, "POST", &form)), (400, json!(expected)), "{form}");
    }
    assert_eq!(code(&world.call("GET", &named_gray(""))), (400, json!(10_000)));
    assert_eq!(code(&world.call("GET", &named_gray("none"))), (404, json!(20_004)));
    for number in 0..10 {
        let form = rule.replace("canary", &format!("c{number}"));
        assert_eq!(gray(&world, "POST", &form).status, 200);
    }
    assert_eq!(code(&gray(&world, "POST", rule)), (400, json!(20_010)));
}

#[test]
fn beta_and_tags_are_gray_versions_too() {
    let world = World::new();
    let beta = "grayType=beta&grayName=beta&grayRuleExp=127.0.0.1&grayVersion=1.0.0&content=b";
    assert_eq!(gray(&world, "POST", beta).status, 200);
    let tag = "grayType=tag&grayName=tag_blue&grayRuleExp=blue&grayVersion=1.0.0&content=t";
    assert_eq!(gray(&world, "POST", tag).status, 200);
    assert_eq!(world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g").text(), "b");
    for (name, content) in [("beta", "b"), ("tag_blue", "t")] {
        let shown = world.call("GET", &named_gray(name)).json();
        assert_eq!(shown["data"]["content"], json!(content));
    }
    assert_eq!(world.call("DELETE", &named_gray("beta")).status, 200);
    assert_eq!(world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g&tag=blue").text(), "t");
}
