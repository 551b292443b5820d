//! Publish, read, remove, search over v1, v2 and v3.

use std::time::Duration;

use nacolet_api::Settings;
use nacolet_model::limits;
use serde_json::{Value, json};

use crate::world::{Mood, World, request};

const MD5_OF_HELLO: &str = "5d41402abc4b2a76b9719d911017c592";

#[test]
fn a_user_name_that_is_too_long_is_refused_before_anything_is_written() {
    let world = World::new();
    let user = "u".repeat(limits::LABEL_CHARS_MAX + 1);
    for (method, target) in [
        ("POST", "/nacos/v1/cs/configs?dataId=d&group=g&content=x&src_user="),
        ("DELETE", "/nacos/v1/cs/configs?dataId=d&group=g&src_user="),
        ("DELETE", "/nacos/v1/cs/configs?dataId=d&group=g&delType=ids&ids=1&src_user="),
        ("DELETE", "/nacos/v2/cs/config?dataId=d&group=g&srcUser="),
    ] {
        let reply = world.call(method, &format!("{target}{user}"));
        assert_eq!(reply.status, 400, "{method} {target}: {}", reply.text());
    }
}

#[test]
fn a_config_lives_from_publish_to_remove() {
    let world = World::new();
    let target = "/nacos/v1/cs/configs?dataId=d&group=g";
    let reply = world.call("GET", target);
    assert_eq!((reply.status, reply.text()), (404, "config data not exist\n"));
    let reply = world.form("POST", "/nacos/v1/cs/configs", "dataId=d&group=g&content=hello");
    assert_eq!((reply.status, reply.text()), (200, "true"));
    let reply = world.call("GET", target);
    assert_eq!((reply.status, reply.text()), (200, "hello"));
    assert_eq!(reply.header("content-md5"), MD5_OF_HELLO);
    assert_eq!(reply.header("config-type"), "text");
    assert_eq!(reply.header("content-type"), "text/plain;charset=UTF-8");
    assert_eq!(reply.header("pragma"), "no-cache");
    assert_eq!(reply.header("cache-control"), "no-cache,no-store");
    assert_eq!(reply.header("expires"), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert!(reply.header("last-modified").ends_with("GMT"));
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    for _ in 0..2 {
        let reply = world.call("DELETE", target);
        assert_eq!((reply.status, reply.text()), (200, "true"), "also when it is absent");
    }
    assert_eq!(world.call("GET", target).status, 404);
}

#[test]
fn every_spelling_of_the_default_namespace_reaches_the_same_config() {
    let world = World::new();
    world.publish("d", "x");
    for tenant in ["", "&tenant=", "&tenant=public", "&tenant=null"] {
        let reply = world.call("GET", &format!("/nacos/v1/cs/configs?dataId=d&group=g{tenant}"));
        assert_eq!(reply.text(), "x", "{tenant}");
    }
    let reply = world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g&tenant=dev");
    assert_eq!(reply.status, 404);
}

#[test]
fn content_in_the_url_is_a_publish_too() {
    let world = World::new();
    let content = "a%3D1%26b+c".repeat(1_000);
    let target = format!("/nacos/v1/cs/configs?dataId=d&group=g&content={content}&tenant=");
    assert_eq!(world.call("POST", &target).text(), "true");
    let reply = world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g");
    assert_eq!(reply.text(), "a=1&b c".repeat(1_000));
}

#[test]
fn a_charset_that_lies_is_not_believed() {
    let world = World::new();
    let mut request = request("POST", "/nacos/v1/cs/configs");
    request.set_body("dataId=d&group=g&content=%E4%B8%AD%E6%96%87");
    request.insert_header("content-type", "application/x-www-form-urlencoded; charset=GBK");
    assert_eq!(world.send(request).text(), "true");
    assert_eq!(world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g").text(), "中文");
}

#[test]
fn a_delete_may_carry_its_parameters_in_the_body() {
    let world = World::new();
    world.publish("d", "x");
    let reply = world.form("DELETE", "/nacos/v1/cs/configs", "dataId=d&group=g");
    assert_eq!(reply.text(), "true");
    assert_eq!(world.call("GET", "/nacos/v1/cs/configs?&dataId=d&group=g").status, 404);
}

#[test]
fn types_decide_how_a_config_is_served_and_html_is_never_a_page() {
    let world = World::new();
    for (given, stored, content_type) in [
        ("json", "json", "application/json;charset=UTF-8"),
        ("xml", "xml", "application/xml;charset=UTF-8"),
        ("yaml", "yaml", "text/plain;charset=UTF-8"),
        ("html", "html", "text/plain;charset=UTF-8"),
        ("nonsense", "text", "text/plain;charset=UTF-8"),
    ] {
        let body = format!("dataId=d&group=g&content=x&type={given}");
        assert_eq!(world.form("POST", "/nacos/v1/cs/configs", &body).text(), "true");
        let reply = world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g");
        assert_eq!(reply.header("config-type"), stored);
        assert_eq!(reply.header("content-type"), content_type);
    }
}

fn publish_with(world: &World, header: (&str, &str), content: &str) -> (u16, String) {
    let target = format!("/nacos/v1/cs/configs?dataId=d&group=g&content={content}");
    let mut request = request("POST", &target);
    request.insert_header(header.0, header.1);
    let reply = world.send(request);
    (reply.status, reply.text().to_owned())
}

#[test]
fn compare_and_set_writes_only_over_the_expected_md5() {
    let world = World::new();
    assert_eq!(publish_with(&world, ("casMd5", "0"), "hello").0, 200, "what is absent is inserted");
    let (status, text) = publish_with(&world, ("casMd5", "0"), "x");
    assert_eq!(status, 500);
    assert!(text.contains("Cas publish fail, server md5 may have changed."), "{text}");
    assert_eq!(publish_with(&world, ("casMd5", "00000000000000000000000000000000"), "x").0, 500);
    assert_eq!(publish_with(&world, ("casMd5", MD5_OF_HELLO), "x").0, 200);
    assert_eq!(publish_with(&world, ("casMd5", MD5_OF_HELLO), "y").0, 500);
    assert_eq!(publish_with(&world, ("casMd5", " "), "z").0, 200, "blank is none");
    assert_eq!(world.call("GET", "/nacos/v1/cs/configs?dataId=d&group=g").text(), "z");
}

#[test]
fn a_beta_version_is_for_its_addresses_only() {
    let world = World::new();
    world.publish("d", "all");
    assert_eq!(publish_with(&world, ("betaIps", "10.0.0.9, 127.0.0.1"), "beta").0, 200);
    let target = "/nacos/v1/cs/configs?dataId=d&group=g";
    let reply = world.call("GET", target);
    assert_eq!((reply.text(), reply.header("isbeta")), ("beta", "true"));
    let mut other = request("GET", target);
    other.set_peer_addr(Some("10.0.0.1"));
    assert_eq!(world.send(other).text(), "all");
    let shown = world.call("GET", "/nacos/v1/cs/configs?beta=true&dataId=d&group=g").json();
    assert_eq!(shown["data"]["betaIps"], json!("10.0.0.9,127.0.0.1"));
    assert_eq!(shown["data"]["content"], json!("beta"));
    let stopped = world.call("DELETE", "/nacos/v1/cs/configs?beta=true&dataId=d&group=g").json();
    assert_eq!(stopped, json!({"code": 200, "message": "stop beta ok", "data": true}));
    assert_eq!(world.call("GET", target).text(), "all");
    let shown = world.call("GET", "/nacos/v1/cs/configs?beta=true&dataId=d&group=g").json();
    assert_eq!(shown["data"], Value::Null);
}

#[test]
fn a_tag_names_a_version_and_a_header_only_prefers_it() {
    let world = World::new();
    world.publish("d", "all");
    let target = "/nacos/v1/cs/configs?dataId=d&group=g";
    let body = "dataId=d&group=g&content=tagged&tag=t1";
    assert_eq!(world.form("POST", "/nacos/v1/cs/configs", body).text(), "true");
    assert_eq!(world.call("GET", target).text(), "all");
    let reply = world.call("GET", &format!("{target}&tag=t1"));
    assert_eq!((reply.text(), reply.header("tag")), ("tagged", "t1"));
    assert_eq!(world.call("GET", &format!("{target}&tag=t2")).status, 404);
    for (tag, content) in [("t1", "tagged"), ("t2", "all")] {
        let mut request = request("GET", target);
        request.insert_header("Vipserver-Tag", tag);
        assert_eq!(world.send(request).text(), content);
    }
    assert_eq!(world.call("DELETE", &format!("{target}&tag=t1")).text(), "true");
    assert_eq!(world.call("GET", &format!("{target}&tag=t1")).status, 404);
    assert_eq!(world.call("GET", target).text(), "all", "only the tagged version is gone");
}

#[test]
fn refusals_of_a_publish_say_why() {
    let world = World::new();
    let long = |n: usize| "a".repeat(n);
    for (body, status, part) in [
        ("group=g&content=x".into(), 400, "Required request parameter 'dataId'"),
        ("dataId=d&content=x".into(), 400, "Required request parameter 'group'"),
        ("dataId=d&group=g".into(), 400, "Required request parameter 'content'"),
        ("dataId=d&group=g&content=+".into(), 400, "content is blank"),
        ("dataId=a+b&group=g&content=x".into(), 400, "Param 'dataId' is illegal"),
        ("dataId=..%2Fd&group=g&content=x".into(), 400, "Param 'dataId' is illegal"),
        (format!("dataId={}&group=g&content=x", long(257)), 400, "should not exceed 256"),
        (format!("dataId=d&group={}&content=x", long(129)), 400, "should not exceed 128"),
        (format!("dataId=d&group=g&content=x&tenant={}", long(129)), 400, "should not exceed 128"),
        ("dataId=d&group=g&content=x&tag=a+b".into(), 400, "invalid tag"),
        (format!("dataId=d&group=g&content=x&tag={}", long(17)), 400, "too long tag, over 16"),
        (format!("dataId=d&group=g&content=x&desc={}", long(129)), 400, "too long desc, over 128"),
        ("dataId=d&group=g&content=x&config_tags=1,2,3,4,5,6".into(), 400, "over 5"),
        (
            format!("dataId=d&group=g&content={}", long((10 << 20) + 1)),
            400,
            "invalid content, over",
        ),
    ] {
        let reply = world.form("POST", "/nacos/v1/cs/configs", &body);
        assert_eq!(reply.status, status, "{}", &body[..body.len().min(80)]);
        assert!(reply.text().contains(part), "{} lacks {part}", reply.text());
    }
}

#[test]
fn a_write_that_cannot_be_made_is_503_with_a_hint() {
    let world = World::new();
    world.mood(Mood::Full);
    let reply = world.form("POST", "/nacos/v1/cs/configs", "dataId=d&group=g&content=x");
    assert_eq!((reply.status, reply.header("retry-after")), (503, "1"));
    assert!(reply.text().contains("disk"), "{}", reply.text());
    let reply = world.form("POST", "/nacos/v2/cs/config", "dataId=d&group=g&content=x");
    assert_eq!((reply.status, reply.json()["code"].clone()), (503, json!(30000)));
}

#[test]
fn everything_about_a_config_is_shown_to_the_console() {
    let world = World::new();
    let body = "dataId=d&group=g&content=hello&type=yaml&appName=shop&desc=what&config_tags=a,b\
                &use=u&effect=e&schema=s&src_user=ann&tenant=dev";
    assert_eq!(world.form("POST", "/nacos/v1/cs/configs", body).text(), "true");
    let target = "/nacos/v1/cs/configs?show=all&dataId=d&group=g&tenant=dev";
    let all = world.call("GET", target).json();
    for (field, value) in [
        ("dataId", "d"),
        ("group", "g"),
        ("tenant", "dev"),
        ("content", "hello"),
        ("md5", MD5_OF_HELLO),
        ("type", "yaml"),
        ("appName", "shop"),
        ("desc", "what"),
        ("configTags", "a,b"),
        ("use", "u"),
        ("effect", "e"),
        ("schema", "s"),
        ("createUser", "ann"),
        ("createIp", "127.0.0.1"),
    ] {
        assert_eq!(all[field], json!(value), "{field}");
    }
    assert!(all["id"].is_string() && all["createTime"].is_u64());
    assert_eq!(world.call("GET", "/nacos/v1/cs/configs?show=all&dataId=x&group=g").text(), "");
    let catalog = world.call("GET", "/nacos/v1/cs/configs/catalog?dataId=d&group=g&tenant=dev");
    assert_eq!(catalog.json()["data"]["configTags"], json!("a,b"));
}

#[test]
fn a_search_gives_pages() {
    let world = World::new();
    for n in 0..5 {
        world.publish(&format!("app{n}.yml"), "x");
    }
    world.publish("other", "x");
    let search = |query: &str| world.call("GET", &format!("/nacos/v1/cs/configs?{query}")).json();
    let page = search("search=blur&dataId=app*&group=&pageNo=2&pageSize=2");
    assert_eq!(page["totalCount"], json!(5));
    assert_eq!((page["pageNumber"].clone(), page["pagesAvailable"].clone()), (json!(2), json!(3)));
    assert_eq!(page["pageItems"][0]["dataId"], json!("app2.yml"));
    assert_eq!(page["pageItems"][0]["tenant"], json!("public"));
    assert_eq!(page["pageItems"][0]["content"], json!("x"));
    let page = search("search=accurate&dataId=other&group=&pageNo=1&pageSize=10&tenant=public");
    assert_eq!(page["totalCount"], json!(1));
    assert_eq!(
        search("search=accurate&dataId=&group=&pageNo=1&pageSize=9")["totalCount"],
        json!(6)
    );
    let reply = world.call("GET", "/nacos/v1/cs/configs?search=blur&dataId=&group=");
    assert_eq!(reply.status, 400);
    let reply =
        world.call("GET", "/nacos/v1/cs/configs?search=blur&dataId=&group=&pageNo=x&pageSize=1");
    assert_eq!(reply.status, 400);
}

#[test]
fn a_page_or_an_export_that_would_be_too_large_is_refused() {
    let world = World::new();
    for n in 0..8 {
        world.publish(&format!("d{n}"), &"x".repeat(9 << 20));
    }
    let search = "search=blur&dataId=&group=&pageNo=1&pageSize=";
    for (query, status) in [
        (format!("{search}8"), 400),
        (format!("{search}2"), 200),
        ("exportV2=true".to_owned(), 400),
        ("exportV2=true&dataId=d1".to_owned(), 200),
    ] {
        let reply = world.call("GET", &format!("/nacos/v1/cs/configs?{query}"));
        assert_eq!(reply.status, status, "{query}");
    }
}

#[test]
fn configs_are_removed_by_id() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.publish(name, "x");
    }
    let id = |name: &str| {
        let target = format!("/nacos/v1/cs/configs?show=all&dataId={name}&group=g");
        world.call("GET", &target).json()["id"].as_str().expect("an id").to_owned()
    };
    let ids = format!("{},{},999", id("a"), id("c"));
    let reply = world.call("DELETE", &format!("/nacos/v1/cs/configs?delType=ids&ids={ids}"));
    assert_eq!(reply.json(), json!({"code": 200, "message": null, "data": true}));
    let left = world.call("GET", "/nacos/v1/cs/history/configs?tenant=").json();
    assert_eq!(left.as_array().expect("a list").len(), 1);
    let reply = world.call("DELETE", "/nacos/v1/cs/configs?delType=ids&ids=a");
    assert_eq!(reply.status, 400);
}

#[test]
fn the_second_version_wraps_what_the_first_does() {
    let world = World::new();
    let target = "/nacos/v2/cs/config?dataId=d&group=g&namespaceId=dev";
    let reply = world.call("GET", target);
    let missing = json!({"code": 20004, "message": "resource not found",
        "data": "config data not exist"});
    assert_eq!((reply.status, reply.json()), (404, missing));
    let ok = json!({"code": 0, "message": "success", "data": true});
    assert_eq!(world.form("POST", target, "content=hello&type=json").json(), ok);
    let reply = world.call("GET", target);
    assert_eq!(reply.json(), json!({"code": 0, "message": "success", "data": "hello"}));
    assert_eq!(reply.header("content-md5"), MD5_OF_HELLO);
    assert_eq!(reply.header("config-type"), "json");
    let detail = "/nacos/v2/cs/config/searchDetail?dataId=&group=&tenant=dev&config_detail=*ell*\
                  &pageNo=1&pageSize=10";
    assert_eq!(world.call("GET", detail).json()["totalCount"], json!(1), "not wrapped");
    let reply = world.form("POST", "/nacos/v2/cs/config", "dataId=d&content=x");
    assert_eq!((reply.status, reply.json()["code"].clone()), (400, json!(10000)));
    assert_eq!(world.call("DELETE", target).json(), ok);
}

#[test]
fn the_third_version_reads_for_scripts_and_lists_for_go() {
    let world = World::new();
    let target = "/nacos/v3/client/cs/config?dataId=d&groupName=g";
    let reply = world.call("GET", target);
    assert_eq!((reply.status, reply.json()["code"].clone()), (200, json!(20004)));
    world.publish("d", "hello");
    let data = world.call("GET", target).json()["data"].clone();
    assert_eq!(data["content"], json!("hello"));
    assert_eq!(data["md5"], json!(MD5_OF_HELLO));
    assert_eq!((data["beta"].clone(), data["resultCode"].clone()), (json!(false), json!(200)));
    let list = "/nacos/v3/admin/cs/config/list?dataId=&groupName=&pageNo=1&pageSize=10";
    let page = world.call("GET", list).json();
    assert_eq!(page["code"], json!(0));
    assert_eq!(page["data"]["pageItems"][0]["groupName"], json!("g"));
    assert_eq!(page["data"]["pageItems"][0]["namespaceId"], json!("public"));
}

#[test]
fn too_many_requests_at_once_are_turned_away() {
    let settings = Settings { requests_max: 0, ..Settings::default() };
    let world = World::with(settings);
    let reply = world.form("POST", "/nacos/v1/cs/configs", "dataId=d&group=g&content=x");
    assert_eq!((reply.status, reply.header("retry-after")), (503, "1"));
    assert_eq!(world.call("GET", "/nacos/v1/cs/health").text(), "UP", "reads need no place");
}

#[test]
fn capacities_are_told_but_not_changed() {
    let world = World::new();
    world.publish("d", "x");
    let told = world.call("GET", "/nacos/v1/cs/capacity?group=g").json();
    assert_eq!(told["data"]["usage"], json!(1));
    assert_eq!(world.call("GET", "/nacos/v1/cs/capacity").status, 400);
    assert_eq!(world.call("POST", "/nacos/v1/cs/capacity?group=g&quota=1").status, 501);
}

#[test]
fn a_write_timeout_is_long_enough_for_a_slow_disk() {
    assert!(Settings::default().write_timeout >= Duration::from_secs(5));
}

#[test]
fn the_state_hash_tells_of_every_command() {
    let world = World::new();
    let hash = || {
        let reply = world.call("GET", "/nacos/v3/admin/nacolet/cluster/state-hash");
        assert_eq!(reply.status, 200);
        let data = reply.json()["data"].clone();
        (data["config_index"].as_u64().expect("an index"), data["state_hash"].to_string())
    };
    let before = hash();
    world.publish("a", "1");
    let after = hash();
    assert!(after.0 > before.0 && after.1 != before.1, "{before:?} {after:?}");
    assert_eq!(hash(), after);
}

/// Every answer with a content in it.
#[test]
fn a_long_content_is_written_while_its_answer_is_sent() {
    let world = World::new();
    let content = "\u{1}".repeat(300_000);
    world.publish("d", &"%01".repeat(300_000));
    world.publish("d", &"%01".repeat(300_000));
    let target = "/nacos/v1/cs/configs?dataId=d&group=g";
    let beta = nacolet_api::Call {
        method: hyper::Method::POST,
        uri: target.parse().expect("a target"),
        headers: [("betaips", "127.0.0.1"), ("content-type", "application/x-www-form-urlencoded")]
            .map(|(name, value)| {
                let value = hyper::header::HeaderValue::from_static(value);
                (hyper::header::HeaderName::from_static(name), value)
            })
            .into_iter()
            .collect(),
        body: format!("content={}", "%01".repeat(300_000)).into(),
        ..nacolet_api::Call::default()
    };
    assert_eq!(smol::block_on(world.server.call(beta)).status, 200);
    let all = world.call("GET", &format!("{target}&show=all")).json();
    let id = all["id"].as_str().expect("an id");
    let list = "/nacos/v1/cs/history?search=accurate&dataId=d&group=g";
    let page = world.call("GET", list).json();
    let nid = page["pageItems"][0]["id"].as_str().expect("an id");
    let name = "dataId=d&group=g&groupName=g";
    for (target, field) in [
        (format!("/v1/cs/configs?{name}&show=all"), "/content"),
        (format!("/v1/cs/configs?{name}&beta=true"), "/data/content"),
        (format!("/v1/cs/history?{name}&nid={nid}"), "/content"),
        (format!("/v1/cs/history/previous?{name}&id={id}"), "/content"),
        (format!("/v2/cs/config?{name}"), "/data"),
        (format!("/v2/cs/history?{name}&nid={nid}"), "/data/content"),
        (format!("/v2/cs/history/detail?{name}&nid={nid}"), "/data/originalContent"),
        (format!("/v2/cs/history/detail?{name}&nid={nid}"), "/data/updatedContent"),
        (format!("/v2/cs/history/previous?{name}&id={id}"), "/data/content"),
        (format!("/v3/client/cs/config?{name}"), "/data/content"),
    ] {
        let target = format!("/nacos{target}");
        let call = nacolet_api::Call {
            uri: target.parse().expect("a target"),
            ..nacolet_api::Call::default()
        };
        let answer = smol::block_on(world.server.call(call));
        assert_eq!(answer.status, 200, "{target}");
        let made = answer.body.len();
        assert!(made < 200_000, "{target}: {made} bytes are made before the first is sent");
        let whole = answer.whole().expect("it can be made");
        let json: Value = serde_json::from_slice(&whole).expect("JSON");
        let found = json.pointer(field).and_then(Value::as_str);
        assert!(found == Some(&content), "{target} has the content");
    }
}

#[test]
fn a_long_content_is_looked_through_like_a_short_one() {
    let world = World::new();
    world.publish("long", &format!("{}needle{}", "x".repeat(300_000), "y".repeat(1_000)));
    world.publish("longer", &"x".repeat(400_000));
    world.publish("short", "a needle");
    for (inside, expected) in [("needle", 2), ("x*ee*y", 1), ("none", 0), ("", 3)] {
        let target = format!(
            "/nacos/v2/cs/config/searchDetail?dataId=&group=&pageNo=1&pageSize=9&config_detail={inside}"
        );
        assert_eq!(world.call("GET", &target).json()["totalCount"], expected, "{inside}");
    }
}

#[test]
fn a_blank_name_or_page_is_told_as_nacos_tells_it() {
    let world = World::new();
    for (method, target, words) in [
        ("GET", "/nacos/v1/cs/configs?dataId=&group=", "caused: invalid dataId : ;"),
        ("GET", "/nacos/v1/cs/configs?dataId=+&group=g", "caused: invalid dataId :  ;"),
        ("POST", "/nacos/v1/cs/configs?dataId=x&group=&content=c", "caused: invalid group : ;"),
        ("DELETE", "/nacos/v1/cs/configs?dataId=&group=g", "caused: invalid dataId : ;"),
        (
            "GET",
            "/nacos/v1/cs/configs?search=accurate&dataId=&group=SG&pageNo=0&pageSize=1",
            "caused: serialize page error, dataId=, group=SG;caused: pageNo and pageSize must be \
             greater than zero;",
        ),
    ] {
        let reply = world.call(method, target);
        assert_eq!((reply.status, reply.text()), (400, words), "{target}");
    }
    let reply = world.call("GET", "/nacos/v2/cs/config?dataId=&group=");
    assert_eq!((reply.status, reply.json()["code"].clone()), (400, json!(20002)));
    for form in ["dataId=&group=g&content=c", "dataId=d&group=g&content="] {
        let reply = world.form("POST", "/nacos/v2/cs/config", form);
        assert_eq!((reply.status, reply.json()["code"].clone()), (400, json!(10000)), "{form}");
    }
}

#[test]
fn a_search_gives_configs_in_the_order_of_their_creation_or_of_the_names_asked_for() {
    let world = World::new();
    for (name, group) in [("b", "g2"), ("c", "g1"), ("a", "g3"), ("a", "g1")] {
        let form = format!("dataId={name}&group={group}&content={name}{group}");
        world.form("POST", "/nacos/v1/cs/configs", &form);
    }
    let found = |query: &str| {
        let target = format!("/nacos/v1/cs/configs?pageSize=3&{query}");
        let page = world.call("GET", &target).json();
        let items = page["pageItems"].as_array().expect("a list").clone();
        let content = |item: &Value| item["content"].as_str().expect("").to_owned();
        (page["totalCount"].clone(), items.iter().map(content).collect::<Vec<_>>())
    };
    assert_eq!(found("search=accurate&dataId=&group=&pageNo=1").1, ["bg2", "cg1", "ag3"]);
    assert_eq!(found("search=accurate&dataId=&group=&pageNo=2").1, ["ag1"]);
    assert_eq!(found("search=blur&dataId=&group=g*&pageNo=1").1, ["cg1", "ag1", "bg2"]);
    assert_eq!(found("search=blur&dataId=&group=&pageNo=1").1, ["bg2", "cg1", "ag3"]);
    assert_eq!(found("search=blur&dataId=*&group=&pageNo=1").1, ["ag1", "ag3", "bg2"]);
    assert_eq!(found("search=blur&dataId=*&group=&pageNo=2").1, ["cg1"]);
    assert_eq!(found("search=blur&dataId=*&group=&pageNo=9"), (json!(4), vec![]));
    // A part of the content is a word of v2 and v3 alone.
    assert_eq!(found("search=blur&dataId=a*&group=&pageNo=1&config_detail=nothing").0, json!(2));
    let target =
        "/nacos/v2/cs/config/searchDetail?dataId=a*&group=&config_detail=ag3&pageNo=1&pageSize=9";
    assert_eq!(world.call("GET", target).json()["totalCount"], json!(1));
    let target = "/nacos/v3/admin/cs/config/list?dataId=*&configDetail=g1";
    let page = world.call("GET", target).json();
    assert_eq!(page["data"]["totalCount"], json!(2));
}
