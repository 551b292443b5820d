//! The locks of SDK 3.3 (docs/nacos/grpc.md, "Locks and AI").

use std::time::Duration;

use nacolet_model::limits;
use serde_json::{Value, json};

use crate::client::{Client, run};
use crate::world::{World, now};

async fn operate(client: &mut Client, wish: &str, kind: &str, extra: Value) -> Value {
    let mut lock = json!({"key": "k", "lockType": kind, "expiredTime": -1});
    for (name, value) in extra.as_object().expect("an object") {
        lock[name] = value.clone();
    }
    let request = json!({"lockInstance": lock, "lockOperationEnum": wish});
    client.done("LockOperationRequest", request, "LockOperationResponse").await
}

/// Whether it is done, how often the lock is taken, and the place in the queue.
fn told(answer: &Value) -> (bool, u64, i64) {
    let result = &answer["lockResult"];
    assert_eq!(result["success"], answer["result"], "{answer}");
    let number = |name: &str| result[name].as_i64().expect("a number");
    let count = u64::try_from(number("reentrantCount")).expect("not negative");
    (answer["result"] == true, count, number("waitPosition"))
}

#[test]
fn an_owner_takes_a_reentrant_lock_again_and_nobody_else_frees_it() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let (a, b) = (json!({"owner": "c:1"}), json!({"owner": "c:2"}));
        for (kind, again) in [("REENTRANT", (true, 2, -1)), ("NON_REENTRANT", (false, 0, -1))] {
            let mut ask = async |wish, owner: &Value| {
                told(&operate(&mut client, wish, kind, owner.clone()).await)
            };
            assert_eq!(ask("ACQUIRE", &a).await, (true, 1, -1));
            assert_eq!(ask("ACQUIRE", &a).await, again, "{kind}");
            assert_eq!(ask("ACQUIRE", &b).await, (false, 0, -1));
            assert_eq!(ask("RELEASE", &b).await, (false, 0, -1));
            assert!(ask("RENEW", &a).await.0);
            assert!(!ask("RENEW", &b).await.0);
            if again.0 {
                assert_eq!(ask("RELEASE", &a).await, (true, 1, -1));
            }
            assert_eq!(ask("RELEASE", &a).await, (true, 0, -1));
            assert_eq!(ask("RELEASE", &a).await, (false, 0, -1));
        }
    });
}

#[test]
fn who_waits_is_told_when_it_is_its_turn() {
    let world = World::new();
    run(async {
        let (mut holder, mut first, mut second) = (
            Client::set_up(world.address).await,
            Client::set_up(world.address).await,
            Client::set_up(world.address).await,
        );
        let kind = "REENTRANT";
        let wait = |owner: &str| json!({"owner": owner, "waitTime": 60_000});
        operate(&mut holder, "ACQUIRE", kind, json!({"owner": "h"})).await;
        let waits = operate(&mut first, "ACQUIRE", kind, wait("one")).await;
        assert_eq!(told(&waits), (false, 0, 0));
        // As 3.3 spelled it once.
        let spelled = json!({"owner": "two", "waitTimeMs": 60_000});
        assert_eq!(told(&operate(&mut second, "ACQUIRE", kind, spelled).await), (false, 0, 1));
        operate(&mut holder, "RELEASE", kind, json!({"owner": "h"})).await;
        let notice = first.hears("LockNotificationRequest").await;
        for (name, value) in [
            ("lockKey", "k"),
            ("lockType", kind),
            ("owner", "one"),
            ("notificationType", "AVAILABLE"),
            ("module", "lock"),
        ] {
            assert_eq!(notice[name], value, "{notice}");
        }
        let retry = json!({"owner": "two", "waitTime": 60_000, "waiterRetry": true});
        assert_eq!(told(&operate(&mut second, "ACQUIRE", kind, retry).await), (false, 0, 1));
        let taken = operate(&mut first, "ACQUIRE", kind, wait("one")).await;
        assert_eq!(told(&taken), (true, 1, -1));
        // The one who holds it goes away: it is free at once.
        first.vanish().await;
        assert_eq!(second.hears("LockNotificationRequest").await["owner"], "two");
        let taken = operate(&mut second, "ACQUIRE", kind, wait("two")).await;
        assert_eq!(told(&taken), (true, 1, -1));
    });
}

#[test]
fn who_waits_for_a_lock_whose_time_runs_out_is_told_too() {
    let world = World::new();
    run(async {
        let (mut holder, mut waiter) =
            (Client::set_up(world.address).await, Client::set_up(world.address).await);
        let kind = "NON_REENTRANT";
        let short = json!({"owner": "h", "expiredTime": 1_200});
        operate(&mut holder, "ACQUIRE", kind, short).await;
        let begun = now();
        let wait = json!({"owner": "w", "waitTime": 60_000});
        operate(&mut waiter, "ACQUIRE", kind, wait.clone()).await;
        waiter.hears("LockNotificationRequest").await;
        assert!(begun.elapsed() >= Duration::from_millis(1_100), "{:?}", begun.elapsed());
        assert_eq!(told(&operate(&mut waiter, "ACQUIRE", kind, wait).await), (true, 1, -1));
    });
}

#[test]
fn who_waits_no_more_is_told_nothing() {
    let world = World::new();
    run(async {
        let (mut holder, mut waiter) =
            (Client::set_up(world.address).await, Client::set_up(world.address).await);
        let kind = "REENTRANT";
        operate(&mut holder, "ACQUIRE", kind, json!({"owner": "h"})).await;
        operate(&mut waiter, "ACQUIRE", kind, json!({"owner": "w", "waitTime": 60_000})).await;
        let cancelled = operate(&mut waiter, "CANCEL_WAIT", kind, json!({"owner": "w"})).await;
        assert!(told(&cancelled).0);
        operate(&mut holder, "RELEASE", kind, json!({"owner": "h"})).await;
        assert!(waiter.hears_nothing(Duration::from_millis(300)).await);
        assert_eq!(told(&operate(&mut holder, "ACQUIRE", kind, json!({})).await), (true, 1, -1));
        // Nobody says who it is: the connection is.
        let other = operate(&mut waiter, "RELEASE", kind, json!({})).await;
        assert_eq!(told(&other), (false, 0, -1));
        assert_eq!(told(&operate(&mut holder, "RELEASE", kind, json!({})).await), (true, 0, -1));
    });
}

#[test]
fn a_lock_of_the_first_kind_has_no_owner_and_outlives_its_connection() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let taken = operate(&mut client, "ACQUIRE", "NACOS_LOCK", json!({})).await;
        assert_eq!((&taken["result"], taken.get("lockResult")), (&json!(true), None));
        client.vanish().await;
        let mut other = Client::set_up(world.address).await;
        let held = operate(&mut other, "ACQUIRE", "NACOS_LOCK", json!({})).await;
        assert_eq!(held["result"], false);
        assert_eq!(operate(&mut other, "RELEASE", "NACOS_LOCK", json!({})).await["result"], true);
    });
}

/// Whatever it says that it is: the text of the owner, the id of its connection, or both as the
/// locks know them.
#[test]
fn nobody_is_another_owner_by_saying_so() {
    let world = World::new();
    run(async {
        let (mut owner, mut other) =
            (Client::set_up(world.address).await, Client::set_up(world.address).await);
        let current = "/nacos/v3/admin/core/loader/current".parse().expect("a target");
        let call = nacolet_api::Call { uri: current, ..nacolet_api::Call::default() };
        let told: Value =
            serde_json::from_slice(&world.server.call(call).await.body).expect("JSON");
        let ids: Vec<String> =
            told["data"].as_object().expect("connections").keys().cloned().collect();
        assert_eq!(ids.len(), 2, "{told}");
        for (kind, said) in [("REENTRANT", json!({"owner": "c:1"})), ("NON_REENTRANT", json!({}))] {
            assert!(told_done(&operate(&mut owner, "ACQUIRE", kind, said.clone()).await));
            let mut names: Vec<String> = vec!["c:1".into()];
            for id in &ids {
                names.push(id.clone());
                names.push(format!("127.0.0.1\n{id}\nc:1"));
            }
            for connection in 0..8 {
                names.push(format!("127.0.0.1\n{connection:x}\nc:1"));
            }
            for name in names {
                let says = json!({"owner": name});
                for wish in ["RELEASE", "RENEW", "ACQUIRE"] {
                    let answer = operate(&mut other, wish, kind, says.clone()).await;
                    assert!(!told_done(&answer), "{kind} {wish} as {name}");
                }
            }
            assert!(told_done(&operate(&mut owner, "RENEW", kind, said.clone()).await));
            assert!(told_done(&operate(&mut owner, "RELEASE", kind, said).await));
        }
    });
}

fn told_done(answer: &Value) -> bool {
    told(answer).0
}

#[test]
fn one_connection_takes_its_share_of_locks_and_no_more() {
    let world = World::new();
    run(async {
        let mut greedy = Client::set_up(world.address).await;
        let lock = |number: usize| {
            json!({
                "lockOperationEnum": "ACQUIRE",
                "lockInstance": {"key": format!("{number}"), "lockType": "REENTRANT"},
            })
        };
        let max = limits::LOCKS_PER_CONNECTION_MAX;
        for number in 0..max {
            greedy.done("LockOperationRequest", lock(number), "LockOperationResponse").await;
        }
        let refused = greedy.ask("LockOperationRequest", lock(max)).await;
        assert_eq!(refused.body["resultCode"], 500, "{refused:?}");
        let words = "this user or this connection holds or waits for too many locks already";
        assert_eq!(refused.body["message"], words, "{refused:?}");
        let mut other = Client::set_up(world.address).await;
        let taken = other.done("LockOperationRequest", lock(max), "LockOperationResponse").await;
        assert_eq!(taken["result"], true);
    });
}

/// A look at a lock is a write: none is made for one that nobody comes to take.
#[test]
fn who_is_told_and_does_not_come_makes_no_writes_without_end() {
    let world = World::in_a_hurry();
    run(async {
        let (mut holder, mut waiter) =
            (Client::set_up(world.address).await, Client::set_up(world.address).await);
        let kind = "REENTRANT";
        operate(&mut holder, "ACQUIRE", kind, json!({"owner": "h"})).await;
        operate(&mut waiter, "ACQUIRE", kind, json!({"owner": "w", "waitTime": 1_800_000})).await;
        operate(&mut holder, "RELEASE", kind, json!({"owner": "h"})).await;
        let notice = waiter.hears("LockNotificationRequest").await;
        waiter.acknowledge(&notice, 200);
        // Its turn passes in a third of a second; it would wait for a minute.
        smol::Timer::after(limits::LOCK_LOOK_PAUSE).await;
        let before = world.lock_writes();
        smol::Timer::after(4 * limits::LOCK_LOOK_PAUSE).await;
        let looks = world.lock_writes() - before;
        assert!(looks <= 1, "{looks} writes in four pauses");
    });
}

#[test]
fn what_is_no_operation_on_a_lock_is_refused() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let reentrant = |extra: Value| {
            let mut lock = json!({"key": "k", "lockType": "REENTRANT", "owner": "o"});
            for (name, value) in extra.as_object().expect("an object") {
                lock[name] = value.clone();
            }
            lock
        };
        for (wish, lock) in [
            ("ACQUIRE", reentrant(json!({"expiredTime": 0}))),
            ("RENEW", reentrant(json!({"expiredTime": 0}))),
            ("ACQUIRE", reentrant(json!({"owner": "o".repeat(300)}))),
            ("ACQUIRE", reentrant(json!({"lockType": "FAIR"}))),
            ("ACQUIRE", reentrant(json!({"key": ""}))),
            ("EXPIRE", reentrant(json!({}))),
            ("CLEANUP_CONNECTION", reentrant(json!({}))),
        ] {
            let request = json!({"lockInstance": lock, "lockOperationEnum": wish});
            let answer = client.ask("LockOperationRequest", request).await;
            assert_eq!(answer.kind, "LockOperationResponse", "{answer:?}");
            assert_eq!(answer.body["errorCode"], 400, "{wish} {lock}: {answer:?}");
        }
    });
}
