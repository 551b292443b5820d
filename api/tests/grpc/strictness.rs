//! What strict clients insist on (docs/nacos/grpc.md, "What strict clients insist on"), as a table
//! over the messages as they are: a field that must be there with a type, a field that must not be
//! there or only with a type, and no null anywhere.

use serde_json::{Value, json};

use crate::client::{Client, Message, run};
use crate::world::World;

/// What a client wants of a field. A path goes into objects by name; `[]` is the first item.
#[derive(Clone, Copy, Debug)]
enum Want {
    Text,
    /// A number without a fraction that is not negative.
    Count,
    Number,
    Bool,
    Object,
    Array,
    Absent,
}

use Want::{Absent, Array, Bool, Count, Number, Object, Text};

fn is_met(want: Want, value: Option<&Value>) -> bool {
    match (want, value) {
        (Text, Some(Value::String(_)))
        | (Bool, Some(Value::Bool(_)))
        | (Object, Some(Value::Object(_)))
        | (Array, Some(Value::Array(_)))
        | (Number, Some(Value::Number(_)))
        | (Absent, None) => true,
        (Count, Some(value)) => value.is_u64(),
        _ => false,
    }
}

fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, name| match name {
        "[]" => value.get(0),
        name => value.get(name),
    })
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Every answer, by whom it is wanted.
const ANSWER: &[(&str, &str, Want)] = &[
    ("Rust A, Rust B", "resultCode", Count),
    ("Rust A, Rust B", "errorCode", Count),
    ("Go", "success", Bool),
    ("Python", "message", Text),
];

/// Every request of the server.
const REQUEST: &[(&str, &str, Want)] = &[
    ("Rust A, Rust B, Python", "headers", Object),
    ("Python", "module", Text),
    ("all", "requestId", Text),
];

const CONFIG: &[(&str, &str, Want)] = &[
    ("Rust B", "content", Text),
    ("Rust A", "contentType", Text),
    ("Rust A", "md5", Text),
    ("Rust A, Rust B", "lastModified", Count),
    ("Rust A, Rust B", "beta", Bool),
    ("Go, Rust A", "tag", Absent),
    ("Python", "isBeta", Absent),
    ("Java", "encryptedDataKey", Text),
];

const CHANGED: &[(&str, &str, Want)] = &[
    ("Rust B", "changedConfigs", Array),
    ("Rust A", "changedConfigs.[].dataId", Text),
    ("Rust A", "changedConfigs.[].group", Text),
    ("Python, Rust A, Rust B", "changedConfigs.[].tenant", Text),
];

const NOTIFY: &[(&str, &str, Want)] =
    &[("all", "dataId", Text), ("all", "group", Text), ("Rust A", "tenant", Text)];

const LIST: &[(&str, &str, Want)] =
    &[("Python, Rust A", "count", Count), ("Python, Rust A", "serviceNames", Array)];

const SERVICE: &[(&str, &str, Want)] = &[
    ("Python, Rust A", "serviceInfo.name", Text),
    ("Python, Rust A", "serviceInfo.groupName", Text),
    ("Rust A", "serviceInfo.clusters", Text),
    ("Rust A, Rust B", "serviceInfo.cacheMillis", Count),
    ("Go, Rust A, Rust B", "serviceInfo.lastRefTime", Count),
    ("Go, Rust A", "serviceInfo.checksum", Text),
    ("Rust B", "serviceInfo.allIPs", Bool),
    ("Java 3", "serviceInfo.allIps", Bool),
    ("Rust A, Rust B", "serviceInfo.reachProtectionThreshold", Bool),
    ("all", "serviceInfo.hosts", Array),
    ("Rust A", "serviceInfo.hosts.[].ip", Text),
    ("Rust A, Rust B", "serviceInfo.hosts.[].port", Count),
    ("Rust A, Rust B", "serviceInfo.hosts.[].weight", Number),
    ("Rust A, Rust B", "serviceInfo.hosts.[].healthy", Bool),
    ("Rust A, Rust B", "serviceInfo.hosts.[].enabled", Bool),
    ("Rust A, Rust B", "serviceInfo.hosts.[].ephemeral", Bool),
    ("Python", "serviceInfo.hosts.[].clusterName", Text),
    ("Python, Rust A, Rust B", "serviceInfo.hosts.[].metadata", Object),
];

fn check(message: &Message, kind: &str, wants: &[&[(&str, &str, Want)]]) {
    assert_eq!(message.kind, kind, "{message:?}");
    assert!(!has_null(&message.body), "{message:?}");
    for (client, path, want) in wants.iter().copied().flatten() {
        let value = find(&message.body, path);
        assert!(is_met(*want, value), "{client} wants {path} {want:?} in {message:?}");
    }
    if let Some(code) = message.body.get("resultCode") {
        let is_ok = code == 200;
        // Each client judges by another of the three.
        assert_eq!(message.body["errorCode"] == 0, is_ok, "{message:?}");
        assert_eq!(message.body["success"], is_ok, "{message:?}");
    }
}

#[test]
fn every_answer_has_what_some_client_insists_on() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let config = json!({"dataId": "d", "group": "g", "tenant": ""});
        let listen = json!({"configListenContexts": [{"dataId": "d", "group": "g", "md5": "x"}]});
        let service = json!({"serviceName": "s"});
        let register = json!({
            "serviceName": "s", "type": "registerInstance", "instance": {"ip": "1.1.1.1", "port": 1},
        });
        let mut publish = config.clone();
        publish["content"] = json!("x");
        let bad = json!({});
        let wrong = json!({"serviceName": "a b"});
        let hosts = SERVICE.iter().position(|(_, path, _)| path.contains("hosts.[]"));
        let no_hosts = &SERVICE[..hosts.expect("they are wanted")];
        let portless =
            json!({"serviceName": "s", "type": "registerInstance", "instance": {"ip": "1.1.1.1"}});
        for (request, body, kind, wants) in [
            (
                "ServerCheckRequest",
                &bad,
                "ServerCheckResponse",
                &[("Rust A", "connectionId", Text)][..],
            ),
            ("HealthCheckRequest", &bad, "HealthCheckResponse", &[]),
            ("NoSuchRequest", &bad, "ErrorResponse", &[]),
            ("ConfigQueryRequest", &config, "ConfigQueryResponse", CONFIG),
            ("ConfigQueryRequest", &bad, "ConfigQueryResponse", CONFIG),
            ("ConfigPublishRequest", &publish, "ConfigPublishResponse", &[]),
            ("ConfigPublishRequest", &bad, "ConfigPublishResponse", &[]),
            ("ConfigQueryRequest", &config, "ConfigQueryResponse", CONFIG),
            ("ConfigBatchListenRequest", &listen, "ConfigChangeBatchListenResponse", CHANGED),
            ("InstanceRequest", &register, "InstanceResponse", &[("Go", "type", Text)]),
            ("InstanceRequest", &bad, "ErrorResponse", &[]),
            ("InstanceRequest", &portless, "InstanceResponse", &[("Go", "type", Text)]),
            ("BatchInstanceRequest", &bad, "ErrorResponse", &[]),
            ("PersistentInstanceRequest", &bad, "ErrorResponse", &[]),
            ("PersistentInstanceRequest", &portless, "InstanceResponse", &[("Go", "type", Text)]),
            ("ServiceListRequest", &bad, "ServiceListResponse", LIST),
            ("ServiceQueryRequest", &service, "QueryServiceResponse", SERVICE),
            ("ServiceQueryRequest", &bad, "QueryServiceResponse", no_hosts),
            ("ServiceQueryRequest", &wrong, "QueryServiceResponse", no_hosts),
            ("SubscribeServiceRequest", &wrong, "SubscribeServiceResponse", no_hosts),
            ("SubscribeServiceRequest", &service, "SubscribeServiceResponse", SERVICE),
            ("ConfigRemoveRequest", &config, "ConfigRemoveResponse", &[]),
            ("ConfigFuzzyWatchRequest", &bad, "ConfigFuzzyWatchResponse", &[]),
            ("NamingFuzzyWatchRequest", &bad, "ErrorResponse", &[]),
            ("LockOperationRequest", &bad, "LockOperationResponse", &[("Java 3", "result", Bool)]),
        ] {
            check(&client.ask(request, body.clone()).await, kind, &[ANSWER, wants]);
        }
        let told = client.heard().await.expect("the stream lives");
        check(&told, "ConfigChangeNotifyRequest", &[REQUEST, NOTIFY]);
    });
}

/// Requests as clients send them whose fields are all optional, with the fields that Rust A and
/// Python send as null, and what it takes to be understood at all.
const LENIENT: &[(&str, &[&str])] = &[
    ("ServerCheckRequest", &[]),
    ("HealthCheckRequest", &["module"]),
    ("ConfigQueryRequest", &["dataId", "group", "tenant", "tag"]),
    ("ConfigPublishRequest", &["dataId", "group", "tenant", "content", "casMd5", "additionMap"]),
    ("ConfigRemoveRequest", &["dataId", "group", "tenant", "tag"]),
    ("ConfigBatchListenRequest", &["dataId", "group", "tenant", "listen", "configListenContexts"]),
    ("InstanceRequest", &["namespace", "serviceName", "groupName", "type", "instance"]),
    ("PersistentInstanceRequest", &["namespace", "serviceName", "groupName", "type", "instance"]),
    ("BatchInstanceRequest", &["namespace", "serviceName", "groupName", "type", "instances"]),
    ("ServiceQueryRequest", &["namespace", "serviceName", "cluster", "healthyOnly", "udpPort"]),
    ("ServiceListRequest", &["namespace", "groupName", "pageNo", "pageSize", "selector"]),
    ("SubscribeServiceRequest", &["namespace", "serviceName", "clusters", "subscribe"]),
    ("ConfigFuzzyWatchRequest", &["groupKeyPattern", "receivedGroupKeys", "watchType"]),
    ("NamingFuzzyWatchRequest", &["groupKeyPattern", "receivedGroupKeys", "watchType"]),
    ("LockOperationRequest", &["lockInstance", "lockOperationEnum"]),
];

#[test]
fn whatever_is_optional_may_be_missing_null_or_unknown() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        for (kind, fields) in LENIENT {
            let mut nulls = json!({"requestId": null, "headers": null, "module": null});
            for field in *fields {
                nulls[*field] = Value::Null;
            }
            let odd = json!({"headers": {"a": "b"}, "unknown": [{"deep": {}}], "requestId": "7"});
            for body in [json!({}), nulls, odd] {
                let answer = client.ask(kind, body).await;
                // What cannot be read at all is answered 502, an unknown type 302.
                assert!(answer.body["errorCode"] != 502, "{kind}: {answer:?}");
                assert!(answer.body["errorCode"] != 302, "{kind}: {answer:?}");
            }
        }
    });
}

#[test]
fn every_request_of_the_server_has_what_some_client_insists_on() {
    let world = World::new();
    run(async {
        let mut client = Client::connect(world.address).await;
        client.open_stream().await;
        client.say("ConnectionSetupRequest", json!({"abilityTable": {}}));
        let ack = client.heard().await.expect("the stream lives");
        check(&ack, "SetupAckRequest", &[REQUEST, &[("Java, Python", "abilityTable", Object)]]);
        client.ask("SubscribeServiceRequest", json!({"serviceName": "s"})).await;
        let register = json!({
            "serviceName": "s", "type": "registerInstance", "instance": {"ip": "1.1.1.1", "port": 1},
        });
        client.ask("InstanceRequest", register).await;
        let told = client.heard().await.expect("the stream lives");
        check(&told, "NotifySubscriberRequest", &[REQUEST, SERVICE]);
        client.acknowledge(&told.body, 200);
        world.server.stop();
        let reset = client.heard().await.expect("the stream lives");
        check(&reset, "ConnectResetRequest", &[REQUEST]);
    });
}
