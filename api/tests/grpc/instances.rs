//! Naming over gRPC (docs/nacos/grpc.md, "Naming messages").

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, run};
use crate::world::{World, eventually};

fn named(extra: Value) -> Value {
    let mut request =
        json!({"namespace": "public", "serviceName": "s", "groupName": "DEFAULT_GROUP"});
    for (name, value) in extra.as_object().expect("an object") {
        request[name] = value.clone();
    }
    request
}

fn one(kind: &str, port: u16) -> Value {
    named(json!({"type": kind, "instance": {"ip": "10.0.0.1", "port": port}}))
}

/// Registers an instance of the service `s`.
pub(crate) async fn register(client: &mut Client, port: u16) {
    let answer = client.done("InstanceRequest", one("registerInstance", port), "InstanceResponse");
    assert_eq!(answer.await["type"], "registerInstance");
}

async fn batch(client: &mut Client, ports: &[u16]) {
    let instances: Vec<Value> =
        ports.iter().map(|port| json!({"ip": "10.0.0.1", "port": port})).collect();
    let request = named(json!({"type": "batchRegisterInstance", "instances": instances}));
    client.done("BatchInstanceRequest", request, "BatchInstanceResponse").await;
}

async fn ports(client: &mut Client) -> Vec<u64> {
    let request = named(json!({"cluster": "", "healthyOnly": false, "udpPort": 0}));
    let answer = client.done("ServiceQueryRequest", request, "QueryServiceResponse").await;
    ports_of(&answer)
}

fn ports_of(message: &Value) -> Vec<u64> {
    let hosts = message["serviceInfo"]["hosts"].as_array().expect("hosts");
    hosts.iter().map(|host| host["port"].as_u64().expect("a port")).collect()
}

#[test]
fn a_connection_has_one_set_of_instances_per_service() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        register(&mut client, 80).await;
        // The second alone takes the place of the first, as in Nacos.
        register(&mut client, 81).await;
        assert_eq!(ports(&mut client).await, [81]);
        batch(&mut client, &[1, 2, 3]).await;
        assert_eq!(ports(&mut client).await, [1, 2, 3]);
        batch(&mut client, &[1, 3]).await;
        assert_eq!(ports(&mut client).await, [1, 3]);
        let deregister = one("deregisterInstance", 999);
        client.done("InstanceRequest", deregister, "InstanceResponse").await;
        assert_eq!(ports(&mut client).await, [0; 0]);
        batch(&mut client, &[]).await;
    });
}

#[test]
fn an_instance_has_the_defaults_of_java_and_keeps_what_it_is_given() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let instance = json!({
            "instanceId": null, "ip": "10.0.0.1", "port": 80, "weight": 2.5, "healthy": null,
            "enabled": true, "ephemeral": true, "clusterName": "c1", "serviceName": null,
            "metadata": {"a": "b", "none": null, "number": 7}, "unknown": [],
        });
        let request = named(json!({"type": "registerInstance", "instance": instance}));
        client.done("InstanceRequest", request, "InstanceResponse").await;
        let request = named(json!({"cluster": "c1", "healthOnly": true}));
        let answer = client.done("ServiceQueryRequest", request, "QueryServiceResponse").await;
        let host = &answer["serviceInfo"]["hosts"][0];
        assert_eq!(host["serviceName"], "DEFAULT_GROUP@@s");
        assert_eq!(host["metadata"], json!({"a": "b", "number": "7"}));
        assert_eq!((&host["weight"], &host["healthy"]), (&json!(2.5), &json!(true)));
        assert_eq!((&host["ephemeral"], &host["clusterName"]), (&json!(true), &json!("c1")));
        assert_eq!(answer["serviceInfo"]["name"], "s");
        let request = named(json!({"cluster": "c2"}));
        let answer = client.done("ServiceQueryRequest", request, "QueryServiceResponse").await;
        assert_eq!(ports_of(&answer), [0; 0]);
    });
}

#[test]
fn what_a_connection_published_goes_with_it_and_subscribers_hear() {
    let world = World::new();
    run(async {
        let mut watcher = Client::set_up(world.address).await;
        let subscribe = named(json!({"subscribe": true, "clusters": ""}));
        let answer =
            watcher.done("SubscribeServiceRequest", subscribe, "SubscribeServiceResponse").await;
        assert_eq!(ports_of(&answer), [0; 0]);
        let first = answer["serviceInfo"]["lastRefTime"].as_u64().expect("a number");

        let mut provider = Client::set_up(world.address).await;
        batch(&mut provider, &[1, 2]).await;
        let told = watcher.hears("NotifySubscriberRequest").await;
        assert_eq!(ports_of(&told), [1, 2]);
        assert_eq!(told["serviceInfo"]["name"], "s");
        let second = told["serviceInfo"]["lastRefTime"].as_u64().expect("a number");
        assert!(second > first, "newer lists have a greater time");

        provider.vanish().await;
        let told = watcher.hears("NotifySubscriberRequest").await;
        assert_eq!(ports_of(&told), [0; 0]);
        assert!(told["serviceInfo"]["lastRefTime"].as_u64().expect("a number") > second);
    });
    eventually("nothing is left", || world.counts().instances == 0);
}

#[test]
fn changes_while_a_push_is_under_way_become_one_push() {
    let world = World::new();
    run(async {
        let mut watcher = Client::set_up(world.address).await;
        let subscribe = named(json!({"subscribe": true, "clusters": ""}));
        watcher.done("SubscribeServiceRequest", subscribe, "SubscribeServiceResponse").await;
        let mut provider = Client::set_up(world.address).await;
        register(&mut provider, 1).await;
        let told = watcher.heard().await.expect("the stream lives");
        for port in 2..20 {
            register(&mut provider, port).await;
        }
        assert!(watcher.hears_nothing(Duration::from_millis(150)).await);
        watcher.acknowledge(&told.body, 200);
        assert_eq!(ports_of(&watcher.hears("NotifySubscriberRequest").await), [19]);
        assert!(watcher.hears_nothing(Duration::from_millis(150)).await);

        let unsubscribe = named(json!({"subscribe": false, "clusters": ""}));
        watcher.done("SubscribeServiceRequest", unsubscribe, "SubscribeServiceResponse").await;
        register(&mut provider, 30).await;
        assert!(watcher.hears_nothing(Duration::from_millis(150)).await);
    });
}

#[test]
fn a_push_has_only_the_clusters_that_were_asked_for() {
    let world = World::new();
    run(async {
        let mut watcher = Client::set_up(world.address).await;
        let subscribe = named(json!({"subscribe": true, "clusters": "c1"}));
        watcher.done("SubscribeServiceRequest", subscribe, "SubscribeServiceResponse").await;
        let mut provider = Client::set_up(world.address).await;
        let instances = json!([
            {"ip": "10.0.0.1", "port": 1, "clusterName": "c1"},
            {"ip": "10.0.0.1", "port": 2, "clusterName": "c2"},
            {"ip": "10.0.0.1", "port": 3, "clusterName": "c1", "enabled": false},
        ]);
        let request = named(json!({"type": "batchRegisterInstance", "instances": instances}));
        provider.done("BatchInstanceRequest", request, "BatchInstanceResponse").await;
        let told = watcher.hears("NotifySubscriberRequest").await;
        assert_eq!((ports_of(&told), &told["serviceInfo"]["clusters"]), (vec![1], &json!("c1")));
    });
}

#[test]
fn persistent_instances_outlive_the_connection() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let request = one("registerInstance", 80);
        client.done("PersistentInstanceRequest", request, "InstanceResponse").await;
        client.vanish().await;
        let mut client = Client::set_up(world.address).await;
        assert_eq!(ports(&mut client).await, [80]);
        let refused = client.ask("InstanceRequest", one("registerInstance", 81)).await;
        assert_eq!(
            (&refused.body["resultCode"], &refused.body["errorCode"]),
            (&json!(400), &json!(400))
        );
        assert_eq!(refused.kind, "ErrorResponse", "Go takes a refusal of its own type for a no");
        let request = one("deregisterInstance", 80);
        client.done("PersistentInstanceRequest", request, "InstanceResponse").await;
        assert_eq!(ports(&mut client).await, [0; 0]);
    });
}

#[test]
fn services_are_listed_by_group_in_pages() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        for name in ["a", "b", "c"] {
            let request = json!({
                "serviceName": name, "type": "registerInstance",
                "instance": {"ip": "10.0.0.1", "port": 80},
            });
            client.done("InstanceRequest", request, "InstanceResponse").await;
        }
        let mut list = async |extra: Value| {
            let answer = client.done("ServiceListRequest", extra, "ServiceListResponse").await;
            (answer["count"].clone(), answer["serviceNames"].clone())
        };
        let page = json!({"namespace": "", "pageNo": 2, "pageSize": 2, "selector": null});
        assert_eq!(list(page).await, (json!(3), json!(["c"])));
        let nothing = json!({"pageNo": 1, "pageSize": 0});
        assert_eq!(list(nothing).await, (json!(3), json!([])));
        let nameless = json!({"groupName": "", "pageNo": 1, "pageSize": 10});
        assert_eq!(list(nameless).await, (json!(0), json!([])));
        let other = json!({"groupName": "g", "pageNo": 1, "pageSize": 10});
        assert_eq!(list(other).await, (json!(0), json!([])));
    });
}

#[test]
fn wrong_requests_are_told() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let nested = json!({
            "serviceName": "G@@s", "type": "registerInstance",
            "instance": {"ip": "10.0.0.1", "port": 1},
        });
        for (kind, request, expected) in [
            ("InstanceRequest", json!({"type": "registerInstance"}), "ErrorResponse"),
            ("InstanceRequest", named(json!({"type": "registerInstance"})), "ErrorResponse"),
            ("InstanceRequest", one("sing", 1), "ErrorResponse"),
            ("InstanceRequest", nested, "InstanceResponse"),
            (
                "InstanceRequest",
                named(json!({"type": "registerInstance", "instance": {"ip": "", "port": 1}})),
                "InstanceResponse",
            ),
            ("BatchInstanceRequest", one("registerInstance", 1), "ErrorResponse"),
            ("ServiceQueryRequest", json!({"serviceName": "a b"}), "QueryServiceResponse"),
            ("ServiceQueryRequest", json!({"serviceName": "G@@s"}), "QueryServiceResponse"),
            ("SubscribeServiceRequest", json!({}), "ErrorResponse"),
            ("SubscribeServiceRequest", json!({"serviceName": "a b"}), "SubscribeServiceResponse"),
            ("ServiceListRequest", json!({"groupName": "?"}), "ServiceListResponse"),
        ] {
            let answer = client.ask(kind, request).await;
            assert_eq!(answer.kind, expected, "{answer:?}");
            let result = if expected == "ErrorResponse" { 400 } else { 500 };
            assert_eq!(
                (&answer.body["resultCode"], &answer.body["errorCode"]),
                (&json!(result), &json!(400)),
                "{answer:?}"
            );
        }
        assert_eq!(world.counts().services, 0);
    });
}

#[test]
fn a_subscriber_is_pushed_once_more_what_is_there() {
    let world = World::new();
    run(async {
        let (mut provider, mut watcher) =
            (Client::set_up(world.address).await, Client::set_up(world.address).await);
        let empty = json!({"serviceName": "none", "subscribe": true});
        watcher.done("SubscribeServiceRequest", empty, "SubscribeServiceResponse").await;
        register(&mut provider, 1).await;
        // As Java does after a loss: it throws the answer away.
        let again = json!({"serviceName": "s", "subscribe": true});
        watcher.done("SubscribeServiceRequest", again, "SubscribeServiceResponse").await;
        let told = watcher.hears("NotifySubscriberRequest").await;
        assert_eq!(told["serviceInfo"]["hosts"].as_array().map(Vec::len), Some(1));
        assert!(
            watcher.hears_nothing(Duration::from_millis(700)).await,
            "nothing of the empty one"
        );
    });
}

#[test]
fn an_instance_that_is_not_right_is_refused_in_the_words_of_its_type() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        for (instance, words) in [
            (json!({"ip": "10.0.0.1", "port": 99_999}), "Param 'port' is illegal"),
            (json!({"ip": "10.0.0.1", "port": -1}), "Param 'port' is illegal"),
            (json!({"ip": "10.0.0.1"}), "Param 'port' is required"),
        ] {
            let one = json!({
                "namespace": "", "groupName": "g", "serviceName": "s",
                "type": "registerInstance", "instance": &instance,
            });
            let many = json!({
                "namespace": "", "groupName": "g", "serviceName": "s",
                "type": "batchRegisterInstance", "instances": [&instance],
            });
            for (ask, request, kind) in [
                ("InstanceRequest", one, "InstanceResponse"),
                ("BatchInstanceRequest", many, "BatchInstanceResponse"),
            ] {
                let answer = client.ask(ask, request).await;
                assert_eq!(answer.kind, kind, "{instance}: {answer:?}");
                assert_eq!(answer.body["errorCode"], 400, "{instance}: {answer:?}");
                let message = answer.body["message"].as_str().expect("words");
                assert!(message.contains(words), "{instance}: {message}");
            }
        }
    });
}
