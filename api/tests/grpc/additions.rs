//! What came with Nacos 3.x: fuzzy watch and locks (docs/nacos/grpc.md, "Config messages", "Naming
//! messages" and "Locks and AI").

use std::time::Duration;

use nacolet_model::limits;
use serde_json::{Value, json};

use crate::client::{Client, run};
use crate::world::World;

const CONFIG_WATCH: (&str, &str) = ("ConfigFuzzyWatchRequest", "ConfigFuzzyWatchResponse");
const SERVICE_WATCH: (&str, &str) = ("NamingFuzzyWatchRequest", "NamingFuzzyWatchResponse");

fn pattern(text: &str, known: &[&str], initializing: bool) -> Value {
    json!({
        "groupKeyPattern": text, "receivedGroupKeys": known, "watchType": "WATCH",
        "initializing": initializing,
    })
}

async fn publish(client: &mut Client, data_id: &str) {
    let config = json!({"dataId": data_id, "group": "G", "tenant": "", "content": "x"});
    client.done("ConfigPublishRequest", config, "ConfigPublishResponse").await;
}

async fn remove(client: &mut Client, data_id: &str) {
    let config = json!({"dataId": data_id, "group": "G", "tenant": ""});
    client.done("ConfigRemoveRequest", config, "ConfigRemoveResponse").await;
}

/// Hears batches up to the word that they were all; returns the names.
async fn hears_all(client: &mut Client, kind: &str, field: &str) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let batch = client.hears(kind).await;
        if batch["syncType"] == "FINISH_FUZZY_WATCH_INIT_NOTIFY" {
            return names;
        }
        assert_eq!(batch["syncType"], "FUZZY_WATCH_INIT_NOTIFY");
        let contexts = batch["contexts"].as_array().expect("a list");
        assert!(contexts.len() <= limits::FUZZY_BATCH_NAMES);
        names.extend(contexts.iter().map(|name| name[field].as_str().expect("text").to_owned()));
    }
}

#[test]
fn names_behind_thousands_of_others_are_found() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        for number in 0..limits::WALK_STEP_NAMES {
            publish(&mut client, &format!("a.{number}")).await;
        }
        publish(&mut client, "z").await;
        let (ask, answer) = CONFIG_WATCH;
        for (text, known) in [("public>>G>>z", true), ("public>>G>>*", false)] {
            let mut watcher = Client::set_up(world.address).await;
            let request = pattern(text, &[], true);
            if known {
                watcher.done(ask, request, answer).await;
                let names =
                    hears_all(&mut watcher, "ConfigFuzzyWatchSyncRequest", "groupKey").await;
                assert_eq!(names, ["z+G+public"]);
            } else {
                let refused = watcher.ask(ask, request).await;
                assert_eq!(refused.body["errorCode"], 50311);
                let names =
                    hears_all(&mut watcher, "ConfigFuzzyWatchSyncRequest", "groupKey").await;
                assert_eq!(names.len(), limits::FUZZY_MATCHES_MAX);
            }
        }
    });
}

#[test]
fn a_config_watcher_hears_all_that_is_there_and_then_what_comes_and_goes() {
    let world = World::new();
    run(async {
        let (mut watcher, mut other) =
            (Client::set_up(world.address).await, Client::set_up(world.address).await);
        let count = limits::FUZZY_BATCH_NAMES + 3;
        for number in 0..count {
            publish(&mut other, &format!("app.{number}")).await;
        }
        let (ask, answer) = CONFIG_WATCH;
        watcher.done(ask, pattern("public>>G>>app.*", &[], true), answer).await;
        let names = hears_all(&mut watcher, "ConfigFuzzyWatchSyncRequest", "groupKey").await;
        assert_eq!(names.len(), count);
        assert!(names.contains(&"app.7+G+public".to_owned()));
        publish(&mut other, "app.7").await;
        publish(&mut other, "elsewhere").await;
        publish(&mut other, "app.new").await;
        let told = watcher.hears("ConfigFuzzyWatchChangeNotifyRequest").await;
        let (key, change) = (&told["groupKey"], &told["changeType"]);
        assert_eq!((key, change), (&json!("app.new+G+public"), &json!("CONFIG_CHANGED")));
        remove(&mut other, "app.7").await;
        let told = watcher.hears("ConfigFuzzyWatchChangeNotifyRequest").await;
        let (key, change) = (&told["groupKey"], &told["changeType"]);
        assert_eq!((key, change), (&json!("app.7+G+public"), &json!("DELETE_CONFIG")));
        let cancel = json!({"groupKeyPattern": "public>>G>>app.*", "watchType": "CANCEL_WATCH"});
        watcher.done(ask, cancel, answer).await;
        publish(&mut other, "app.late").await;
        assert!(watcher.hears_nothing(Duration::from_millis(100)).await);
    });
}

#[test]
fn a_watcher_that_comes_back_hears_the_difference() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        for data_id in ["a", "b", "c"] {
            publish(&mut client, data_id).await;
        }
        let (ask, answer) = CONFIG_WATCH;
        let known = ["a+G+public", "gone+G+public", "no name"];
        client.done(ask, pattern("public>>*>>*", &known, false), answer).await;
        for gone in ["gone+G+public", "no name"] {
            let told = client.hears("ConfigFuzzyWatchChangeNotifyRequest").await;
            assert_eq!(
                (&told["groupKey"], &told["changeType"]),
                (&json!(gone), &json!("DELETE_CONFIG"))
            );
        }
        let told = client.hears("ConfigFuzzyWatchSyncRequest").await;
        assert_eq!(told["syncType"], "FUZZY_WATCH_DIFF_SYNC_NOTIFY");
        assert_eq!(told["contexts"].as_array().map(Vec::len), Some(2));
        assert!(client.hears_nothing(Duration::from_millis(100)).await, "no word of a begin");
    });
}

#[test]
fn what_a_watcher_does_not_acknowledge_is_said_again() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let (ask, answer) = CONFIG_WATCH;
        client.done(ask, pattern("public>>G>>*", &[], true), answer).await;
        hears_all(&mut client, "ConfigFuzzyWatchSyncRequest", "groupKey").await;
        publish(&mut client, "a").await;
        let told = client.heard().await.expect("the stream lives");
        client.acknowledge(&told.body, 500);
        let again = client.hears("ConfigFuzzyWatchChangeNotifyRequest").await;
        assert_eq!(again["groupKey"], told.body["groupKey"]);
        assert!(client.hears_nothing(Duration::from_millis(100)).await);
    });
}

#[test]
fn a_service_watcher_hears_of_services_not_of_instances() {
    let world = World::new();
    run(async {
        let (mut watcher, mut other) =
            (Client::set_up(world.address).await, Client::set_up(world.address).await);
        let (ask, answer) = SERVICE_WATCH;
        watcher.done(ask, pattern("public>>DEFAULT_GROUP>>web*", &[], true), answer).await;
        let kind = "NamingFuzzyWatchSyncRequest";
        assert!(hears_all(&mut watcher, kind, "serviceKey").await.is_empty());
        for (name, port) in [("web", 1), ("web", 2), ("db", 3)] {
            let register = json!({
                "type": "registerInstance", "serviceName": name,
                "instance": {"ip": "1.1.1.1", "port": port},
            });
            other.done("InstanceRequest", register, "InstanceResponse").await;
        }
        let told = watcher.hears("NamingFuzzyWatchChangeNotifyRequest").await;
        assert_eq!(told["serviceKey"], "public@@DEFAULT_GROUP@@web");
        assert_eq!(told["changedType"], "ADD_SERVICE");
        assert!(watcher.hears_nothing(Duration::from_millis(150)).await);
    });
}

#[test]
fn a_pattern_too_many_is_refused_and_one_that_everybody_left_makes_room() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        for (ask, answer) in [CONFIG_WATCH, SERVICE_WATCH] {
            for number in 0..limits::FUZZY_PATTERNS_MAX {
                let watch = pattern(&format!("public>>G>>{number}*"), &[], false);
                client.done(ask, watch, answer).await;
            }
            let more = pattern("public>>G>>more*", &[], false);
            let refused = client.ask(ask, more.clone()).await;
            assert_eq!(
                (refused.kind.as_str(), &refused.body["errorCode"]),
                (answer, &json!(50310))
            );
            let cancel = json!({"groupKeyPattern": "public>>G>>7*", "watchType": "CANCEL_WATCH"});
            client.done(ask, cancel, answer).await;
            client.done(ask, more, answer).await;
        }
    });
}

#[test]
fn a_pattern_that_cannot_mean_anything_is_watched_in_vain() {
    let world = World::new();
    run(async {
        let (mut watcher, mut other) =
            (Client::set_up(world.address).await, Client::set_up(world.address).await);
        publish(&mut other, "public").await;
        let (ask, answer) = CONFIG_WATCH;
        for wrong in ["", "public", "public>>G", "a>>b>>c>>d", "*>>*>>*"] {
            watcher.done(ask, pattern(wrong, &[], true), answer).await;
            let told = watcher.hears("ConfigFuzzyWatchSyncRequest").await;
            let is_all = json!("FINISH_FUZZY_WATCH_INIT_NOTIFY");
            assert_eq!((&told["groupKeyPattern"], &told["syncType"]), (&json!(wrong), &is_all));
        }
        publish(&mut other, "more").await;
        assert!(watcher.hears_nothing(Duration::from_millis(200)).await);
        let too_long = "x".repeat(limits::FUZZY_PATTERN_BYTES_MAX + 1);
        let refused = watcher.ask(ask, pattern(&too_long, &[], true)).await;
        assert_eq!(refused.body["errorCode"], 400);
        // Of configs Nacos passes over a type that it does not know, of services it does not.
        for (ask, kind, code) in [(ask, answer, 0), (SERVICE_WATCH.0, "ErrorResponse", 400)] {
            let odd = json!({"groupKeyPattern": "public>>G>>a", "watchType": "NOPE"});
            let answer = watcher.ask(ask, odd).await;
            assert_eq!((answer.kind.as_str(), &answer.body["errorCode"]), (kind, &json!(code)));
        }
    });
}

#[test]
fn a_pattern_that_means_too_much_says_so_and_takes_others_in_when_there_is_room() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let width = limits::FUZZY_MATCHES_MAX.to_string().len();
        let max = limits::FUZZY_MATCHES_MAX;
        for number in 0..=max {
            publish(&mut client, &format!("{number:0width$}")).await;
        }
        let (ask, answer) = CONFIG_WATCH;
        let refused = client.ask(ask, pattern("public>>G>>*", &[], true)).await;
        assert_eq!((refused.kind.as_str(), &refused.body["errorCode"]), (answer, &json!(50311)));
        let names = hears_all(&mut client, "ConfigFuzzyWatchSyncRequest", "groupKey").await;
        assert_eq!(names.len(), limits::FUZZY_MATCHES_MAX);
        remove(&mut client, &format!("{:0width$}", 1)).await;
        let told = client.hears("ConfigFuzzyWatchChangeNotifyRequest").await;
        assert_eq!(told["changeType"], "DELETE_CONFIG");
        let told = client.hears("ConfigFuzzyWatchChangeNotifyRequest").await;
        assert_eq!(told["groupKey"], format!("{max}+G+public"));
        let too_many: Vec<String> =
            (0..=limits::FUZZY_RECEIVED_MAX).map(|number| format!("{number}+G+public")).collect();
        let too_many: Vec<&str> = too_many.iter().map(String::as_str).collect();
        let refused = client.ask(ask, pattern("public>>G>>x*", &too_many, false)).await;
        assert_eq!(refused.body["errorCode"], 50311);
    });
}

fn lock(operation: &str, key: &str, time: i64) -> Value {
    json!({
        "lockInstance": {"key": key, "expiredTime": time, "params": null, "lockType": "NACOS_LOCK"},
        "lockOperationEnum": operation,
    })
}

#[test]
fn a_lock_is_taken_once_and_let_go_by_anybody() {
    let world = World::new();
    run(async {
        let (mut one, mut two) =
            (Client::set_up(world.address).await, Client::set_up(world.address).await);
        for (is_first, operation, expected) in [
            (true, "ACQUIRE", true),
            (true, "ACQUIRE", false),
            (false, "ACQUIRE", false),
            (false, "RELEASE", true),
            (false, "RELEASE", false),
            (false, "ACQUIRE", true),
        ] {
            let client = if is_first { &mut one } else { &mut two };
            let kind = "LockOperationResponse";
            let answer = client.done("LockOperationRequest", lock(operation, "a", -1), kind).await;
            assert_eq!(answer["result"], expected, "{operation}");
        }
        two.vanish().await;
        let held = one.ask("LockOperationRequest", lock("ACQUIRE", "a", -1)).await;
        assert_eq!(held.body["result"], false, "a lock outlives its connection (Nacos)");
    });
}

#[test]
fn a_lock_request_that_makes_no_sense_is_refused_in_its_own_type() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let mut other_type = lock("ACQUIRE", "a", 1);
        other_type["lockInstance"]["lockType"] = json!("OTHER");
        let long = "k".repeat(limits::LOCK_KEY_BYTES_MAX + 1);
        for wrong in [
            lock("EXPIRE", "a", 1),
            lock("ACQUIRE", " ", 1),
            lock("ACQUIRE", &long, 1),
            other_type,
            json!({}),
        ] {
            let answer = client.ask("LockOperationRequest", wrong).await;
            assert_eq!(answer.kind, "LockOperationResponse");
            assert_eq!(
                (&answer.body["resultCode"], &answer.body["errorCode"]),
                (&json!(500), &json!(400))
            );
        }
    });
}
