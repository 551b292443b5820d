//! Configs over gRPC (docs/nacos/grpc.md, "Config messages").

use std::time::Duration;

use nacolet_api::Settings;
use nacolet_config::Md5;
use nacolet_model::limits;
use serde_json::{Value, json};

use crate::client::{Client, run};
use crate::who::over_http;
use crate::world::{World, now};

fn named(extra: Value) -> Value {
    let mut request = json!({"dataId": "d", "group": "g", "tenant": ""});
    for (name, value) in extra.as_object().expect("an object") {
        request[name] = value.clone();
    }
    request
}

async fn publish(client: &mut Client, extra: Value) -> Value {
    let answer = client.ask("ConfigPublishRequest", named(extra)).await;
    assert_eq!(answer.kind, "ConfigPublishResponse");
    answer.body
}

async fn content(client: &mut Client, extra: Value) -> Value {
    let answer = client.ask("ConfigQueryRequest", named(extra)).await;
    assert_eq!(answer.kind, "ConfigQueryResponse");
    answer.body
}

async fn listen(client: &mut Client, contexts: Value) -> Value {
    let request = json!({"listen": true, "configListenContexts": contexts});
    let answer =
        client.done("ConfigBatchListenRequest", request, "ConfigChangeBatchListenResponse").await;
    answer["changedConfigs"].clone()
}

#[test]
fn a_config_is_published_read_and_removed() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let missing = content(&mut client, json!({})).await;
        assert_eq!((&missing["resultCode"], &missing["errorCode"]), (&json!(500), &json!(300)));

        let additions = json!({"type": "yaml", "encryptedDataKey": "k", "desc": null});
        publish(&mut client, json!({"content": "a: 1\n\"ü\"", "additionMap": additions})).await;
        let found = content(&mut client, json!({"tenant": "public"})).await;
        assert_eq!(found["content"], "a: 1\n\"ü\"");
        assert_eq!(found["contentType"], "yaml");
        assert_eq!(found["encryptedDataKey"], "k");
        assert_eq!(found["md5"], Md5::of("a: 1\n\"ü\"").to_string());
        assert!(found["lastModified"].as_u64().expect("a number") > 0);

        client.done("ConfigRemoveRequest", named(json!({})), "ConfigRemoveResponse").await;
        assert_eq!(content(&mut client, json!({})).await["errorCode"], 300);
    });
}

#[test]
fn what_clients_always_send_empty_asks_for_nothing() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        // Go fills every addition in; Rust sends null.
        let additions = json!({
            "tag": "", "config_tags": "", "appName": "", "betaIps": "", "type": "", "src_user": "",
            "encryptedDataKey": "",
        });
        let request = json!({"content": "x", "casMd5": "", "tag": null, "additionMap": additions});
        assert_eq!(publish(&mut client, request).await["resultCode"], 200);
        assert_eq!(content(&mut client, json!({"tag": ""})).await["content"], "x");
        let request =
            json!({"content": "y", "casMd5": null, "additionMap": null, "requestId": null});
        assert_eq!(publish(&mut client, request).await["resultCode"], 200);
        assert_eq!(content(&mut client, json!({"tag": null})).await["contentType"], "text");
    });
}

#[test]
fn compare_and_set_needs_the_stored_md5_where_there_is_one() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let md5 = Md5::of("one").to_string();
        for more in [json!({}), json!({"tag": "blue"}), json!({"betaIps": "10.0.0.9"})] {
            let absent = json!({"content": "one", "casMd5": "0", "additionMap": more});
            assert_eq!(publish(&mut client, absent.clone()).await["success"], true, "{more}");
            let there = publish(&mut client, absent).await;
            assert_eq!((&there["resultCode"], &there["errorCode"]), (&json!(500), &json!(500)));
        }
        let right = publish(&mut client, json!({"content": "two", "casMd5": md5})).await;
        assert_eq!(right["success"], true);
        assert_eq!(content(&mut client, json!({})).await["content"], "two");
    });
}

#[test]
fn beta_and_tags_are_seen_by_those_they_are_for() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        publish(&mut client, json!({"content": "all"})).await;
        let tagged = json!({"content": "blue", "additionMap": {"tag": "blue"}});
        publish(&mut client, tagged).await;
        assert_eq!(content(&mut client, json!({})).await["content"], "all");
        assert_eq!(content(&mut client, json!({"tag": "blue"})).await["content"], "blue");
        assert_eq!(content(&mut client, json!({"tag": "red"})).await["errorCode"], 300);
        let by_header = [("Vipserver-Tag", "blue")];
        let answer = client.ask_with("ConfigQueryRequest", &by_header, named(json!({}))).await;
        assert_eq!(answer.body["content"], "blue");
        client
            .done("ConfigRemoveRequest", named(json!({"tag": "blue"})), "ConfigRemoveResponse")
            .await;
        assert_eq!(content(&mut client, json!({"tag": "blue"})).await["errorCode"], 300);

        let beta = json!({"content": "beta", "additionMap": {"betaIps": "127.0.0.1,10.0.0.1"}});
        publish(&mut client, beta).await;
        let found = content(&mut client, json!({})).await;
        assert_eq!((&found["content"], &found["beta"]), (&json!("beta"), &json!(true)));
        assert_eq!(found.get("tag"), None);
    });
}

#[test]
fn a_listener_is_told_at_once_what_differs_in_its_own_spelling() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        publish(&mut client, json!({"content": "x"})).await;
        let md5 = Md5::of("x").to_string();
        let context = |data_id: &str, tenant: Value, md5: &str| json!({"dataId": data_id, "group": "g", "tenant": tenant, "md5": md5});
        let same = json!([context("d", json!(""), &md5), context("none", json!(""), "")]);
        assert_eq!(listen(&mut client, same).await, json!([]));
        for (tenant, spelled) in [(json!(""), ""), (json!("public"), "public"), (json!(null), "")] {
            let other = json!([context("d", tenant, "other")]);
            let expected = json!([{"dataId": "d", "group": "g", "tenant": spelled}]);
            assert_eq!(listen(&mut client, other).await, expected);
        }
    });
}

#[test]
fn a_change_is_told_once_per_content_until_it_is_acknowledged() {
    let world = World::new();
    run(async {
        let mut writer = Client::set_up(world.address).await;
        let mut blank = Client::set_up(world.address).await;
        let mut named_public = Client::set_up(world.address).await;
        let context = |tenant| json!([{"dataId": "d", "group": "g", "tenant": tenant, "md5": ""}]);
        assert_eq!(listen(&mut blank, context("")).await, json!([]));
        assert_eq!(listen(&mut named_public, context("public")).await, json!([]));

        publish(&mut writer, json!({"content": "one"})).await;
        let told = blank.heard().await.expect("the stream lives");
        assert_eq!(told.kind, "ConfigChangeNotifyRequest");
        assert_eq!((&told.body["tenant"], &told.body["dataId"]), (&json!(""), &json!("d")));
        assert_eq!(named_public.hears("ConfigChangeNotifyRequest").await["tenant"], "public");

        // Two more changes before the acknowledgement become one notice after it.
        publish(&mut writer, json!({"content": "two"})).await;
        publish(&mut writer, json!({"content": "three"})).await;
        assert!(blank.hears_nothing(Duration::from_millis(100)).await);
        blank.acknowledge(&told.body, 200);
        blank.hears("ConfigChangeNotifyRequest").await;
        assert!(blank.hears_nothing(Duration::from_millis(100)).await);

        // What a client has been told of is no news; what it had before that is.
        publish(&mut writer, json!({"content": "three"})).await;
        assert!(blank.hears_nothing(Duration::from_millis(100)).await);
        writer.done("ConfigRemoveRequest", named(json!({})), "ConfigRemoveResponse").await;
        blank.hears("ConfigChangeNotifyRequest").await;

        let stop = json!({"listen": false, "configListenContexts": context("")});
        blank.done("ConfigBatchListenRequest", stop, "ConfigChangeBatchListenResponse").await;
        publish(&mut writer, json!({"content": "four"})).await;
        assert!(blank.hears_nothing(Duration::from_millis(100)).await);
    });
}

#[test]
fn a_node_without_a_leader_since_its_start_guesses_nothing() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        publish(&mut client, json!({"content": "old"})).await;
        world.stage().open();
        assert_eq!(content(&mut client, json!({})).await["content"], "old");
        // 300 would mean that it is not there, and clients would drop what they have.
        let missing = content(&mut client, json!({"dataId": "none"})).await;
        assert_eq!((&missing["resultCode"], &missing["errorCode"]), (&json!(500), &json!(503)));
        let context =
            |data_id| json!({"dataId": data_id, "group": "g", "tenant": "", "md5": "newer"});
        let contexts = json!([context("d"), context("none")]);
        assert_eq!(listen(&mut client, contexts.clone()).await, json!([]));
        world.stage().make_ready();
        assert_ne!(listen(&mut client, contexts).await, json!([]));
    });
}

#[test]
fn a_change_back_to_what_a_listener_said_it_had_is_told() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        publish(&mut client, json!({"content": "two"})).await;
        let old = Md5::of("one").to_string();
        let contexts = json!([{"dataId": "d", "group": "g", "tenant": "", "md5": old}]);
        assert_ne!(listen(&mut client, contexts).await, json!([]), "it fetches the second");
        publish(&mut client, json!({"content": "one"})).await;
        client.hears("ConfigChangeNotifyRequest").await;
    });
}

#[test]
fn a_refused_notice_comes_again() {
    let world = World::with(Settings { tick: Duration::from_millis(20), ..Settings::default() });
    run(async {
        let mut client = Client::set_up(world.address).await;
        let contexts = json!([{"dataId": "d", "group": "g", "tenant": "", "md5": ""}]);
        listen(&mut client, contexts).await;
        publish(&mut client, json!({"content": "one"})).await;
        let told = client.heard().await.expect("the stream lives");
        client.acknowledge(&told.body, 500);
        let again = client.heard().await.expect("the stream lives");
        assert_eq!(again.kind, told.kind);
        assert_ne!(again.body["requestId"], told.body["requestId"]);
    });
}

#[test]
fn wrong_requests_are_told_in_the_type_of_their_answer() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let long = "x".repeat(300);
        for (kind, request, expected) in [
            ("ConfigQueryRequest", json!({}), "ConfigQueryResponse"),
            ("ConfigQueryRequest", named(json!({"dataId": "a b"})), "ConfigQueryResponse"),
            ("ConfigPublishRequest", named(json!({})), "ConfigPublishResponse"),
            (
                "ConfigPublishRequest",
                named(json!({"dataId": long, "content": "x"})),
                "ConfigPublishResponse",
            ),
            ("ConfigRemoveRequest", named(json!({"group": "?"})), "ConfigRemoveResponse"),
            (
                "ConfigBatchListenRequest",
                json!({"configListenContexts": [{"dataId": "d"}]}),
                "ConfigChangeBatchListenResponse",
            ),
        ] {
            let answer = client.ask(kind, request).await;
            assert_eq!(answer.kind, expected);
            assert_eq!(
                (&answer.body["resultCode"], &answer.body["errorCode"]),
                (&json!(500), &json!(400)),
                "{answer:?}"
            );
            assert_ne!(answer.body["message"], "");
        }
    });
}

#[test]
fn a_large_config_goes_in_and_out_past_the_windows() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let large = "x".repeat((10 << 20) - 1_000);
        assert_eq!(publish(&mut client, json!({"content": large})).await["resultCode"], 200);
        assert_eq!(content(&mut client, json!({})).await["content"], large);
        let too_large = named(json!({"content": "x".repeat(10 << 20)})).to_string();
        let bytes = crate::client::encode("ConfigPublishRequest", &[], too_large.as_bytes());
        let answer = client.call_raw(crate::client::UNARY, bytes).await;
        assert_eq!(answer.status, "8", "RESOURCE_EXHAUSTED");
        client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
    });
}

#[test]
fn a_notice_keeps_its_distance_from_answers_and_from_the_notice_before() {
    let world = World::new();
    run(async {
        let (mut client, mut other) =
            (Client::set_up(world.address).await, Client::set_up(world.address).await);
        publish(&mut other, json!({"content": "0"})).await;
        let context = json!([{"dataId": "d", "group": "g", "tenant": "", "md5": "x"}]);
        let listen = json!({"listen": true, "configListenContexts": context});
        // The server answers after it was asked, and a client may hear of anything late.
        let asked = now();
        client.ask("ConfigBatchListenRequest", listen).await;
        for value in ["1", "2", "3"] {
            publish(&mut other, json!({"content": value})).await;
        }
        client.hears("ConfigChangeNotifyRequest").await;
        let pace = limits::GRPC_NOTICE_PACE;
        assert!(asked.elapsed() >= pace, "{:?}", asked.elapsed());
        publish(&mut other, json!({"content": "4"})).await;
        publish(&mut other, json!({"content": "5"})).await;
        client.hears("ConfigChangeNotifyRequest").await;
        assert!(asked.elapsed() >= 2 * pace, "{:?}", asked.elapsed());
        assert!(client.hears_nothing(2 * pace).await, "what changed meanwhile was told together");
    });
}

#[test]
fn a_notice_comes_soon_to_a_client_that_listens_again_and_again() {
    let world = World::new();
    run(async {
        let (mut client, mut other) =
            (Client::set_up(world.address).await, Client::set_up(world.address).await);
        let context = json!([{"dataId": "d", "group": "g", "tenant": "", "md5": ""}]);
        let listen = json!({"listen": true, "configListenContexts": context});
        client.ask("ConfigBatchListenRequest", listen.clone()).await;
        let elsewhere = json!([{"dataId": "e", "group": "g", "tenant": "", "md5": ""}]);
        let elsewhere = json!({"listen": true, "configListenContexts": elsewhere});
        publish(&mut other, json!({"content": "1"})).await;
        let published = now();
        while client.hears_nothing(Duration::from_millis(10)).await {
            client.ask("ConfigBatchListenRequest", elsewhere.clone()).await;
            assert!(published.elapsed() < Duration::from_secs(5), "it is never told");
        }
        let held = limits::GRPC_NOTICE_HELD_MAX;
        assert!(published.elapsed() >= held - Duration::from_millis(5));
    });
}

async fn with_labels(world: &World, labels: Value) -> Client {
    let mut client = Client::connect(world.address).await;
    client.open_stream().await;
    client.say("ConnectionSetupRequest", json!({"clientVersion": "Go:v2", "labels": labels}));
    client.until_registered().await;
    client
}

#[test]
fn a_client_whose_labels_fit_a_rule_sees_and_hears_of_the_gray_version() {
    let world = World::new();
    run(async {
        let mut canary = with_labels(&world, json!({"app_env": "prod", "app_v": "2"})).await;
        let mut other = with_labels(&world, json!({"env": "prod", "app_v": "2"})).await;
        publish(&mut other, json!({"content": "main"})).await;
        let md5 = Md5::of("main").to_string();
        let context = json!([{"dataId": "d", "group": "g", "tenant": "", "md5": md5}]);
        for client in [&mut canary, &mut other] {
            assert_eq!(listen(client, context.clone()).await, json!([]));
        }
        let gray = "/v3/admin/cs/config/gray?dataId=d&groupName=g&grayName=canary";
        let rule = "&content=new&grayRuleExp=env%3Dprod%26%26v%3D1,2&grayVersion=1.1.0";
        let done = over_http(world.http, "POST", &format!("{gray}{rule}")).await;
        assert_eq!(done["data"], json!(true), "{done}");
        assert_eq!(canary.hears("ConfigChangeNotifyRequest").await["dataId"], "d");
        let seen = content(&mut canary, json!({})).await;
        assert_eq!((&seen["content"], &seen["beta"]), (&json!("new"), &json!(false)));
        assert_eq!(seen["md5"], Md5::of("new").to_string());
        assert_eq!(listen(&mut canary, context.clone()).await[0]["dataId"], "d");
        assert_eq!(content(&mut other, json!({})).await["content"], "main");
        assert_eq!(listen(&mut other, context).await, json!([]));

        over_http(world.http, "DELETE", gray).await;
        assert_eq!(canary.hears("ConfigChangeNotifyRequest").await["dataId"], "d");
        assert_eq!(content(&mut canary, json!({})).await["content"], "main");
    });
}
