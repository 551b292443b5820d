//! Whatever a request looks like: what it touches is inside the permission of its caller. Random
//! bodies are objects and arrays, say fields twice, as nothing or as another type, and are sent as
//! every kind of request; what they told and what they changed is compared with what the caller may
//! touch. And a connection that lives on hears no more than its user may hear now.

use std::time::Duration;

use nacolet_auth::{Actions, Command, Pattern};
use nacolet_config::{Operator, Publish};
use nacolet_model::{ConfigKey, DataId, Group, Namespace, Prng, WallTime};
use serde_json::{Value, json};

use crate::client::{Client, UNARY, encode, run};
use crate::users::{name, patient_world, token, world};
use crate::world::World;

const NAMESPACES: [&str; 3] = ["public", "a", "b"];
const GROUPS: [&str; 2] = ["g", "h"];

/// The name of the one config in a group.
fn config(namespace: &str, group: &str) -> String {
    format!("n-{namespace}-{group}")
}

fn fill(world: &World) {
    let mut configs = world.port.configs.write().expect("no panic before");
    let mut index = 0;
    for namespace in NAMESPACES {
        for group in GROUPS {
            index += 1;
            let key = ConfigKey {
                namespace: Namespace::parse(namespace).expect("one"),
                group: Group::new(group).expect("one"),
                data_id: DataId::new(&config(namespace, group)).expect("one"),
            };
            let operator = Operator { user: "x".into(), ip: "10.0.0.1".into() };
            let content = format!("secret-{namespace}-{group}").into();
            let publish = Publish::new(key, content, operator, WallTime(1)).expect("a config");
            configs.apply(index, publish.into(), &mut Vec::new()).expect("it fits");
        }
    }
}

/// The kinds of requests and the fields of each, in the order in which a server may declare them.
const KINDS: [(&str, &[&str]); 12] = [
    ("ConfigQueryRequest", &["dataId", "group", "tenant", "tag"]),
    ("ConfigPublishRequest", &["dataId", "group", "tenant", "content", "casMd5", "additionMap"]),
    ("ConfigRemoveRequest", &["dataId", "group", "tenant", "tag"]),
    ("ConfigBatchListenRequest", &["listen", "configListenContexts"]),
    ("InstanceRequest", &["namespace", "serviceName", "groupName", "type", "instance"]),
    ("PersistentInstanceRequest", &["namespace", "serviceName", "groupName", "type", "instance"]),
    (
        "BatchInstanceRequest",
        &["namespace", "serviceName", "groupName", "type", "instance", "instances"],
    ),
    ("ServiceQueryRequest", &["namespace", "serviceName", "groupName", "cluster"]),
    ("ServiceListRequest", &["namespace", "groupName", "pageNo", "pageSize"]),
    ("SubscribeServiceRequest", &["namespace", "serviceName", "groupName", "clusters"]),
    ("ConfigFuzzyWatchRequest", &["groupKeyPattern", "receivedGroupKeys", "watchType"]),
    ("NamingFuzzyWatchRequest", &["groupKeyPattern", "receivedGroupKeys", "watchType"]),
];

fn is_write(kind: &str) -> bool {
    ["Publish", "Remove", "Instance"].iter().any(|word| kind.contains(word))
}

/// Chance, and the place that a body is about but for some of its values.
struct Dice(Prng, (&'static str, &'static str));

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).expect("small");
        usize::try_from(self.0.below(count)).expect("small")
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// The JSON of one value of a field.
    fn value(&mut self, kind: &str, field: &str) -> String {
        let elsewhere = self.below(6) == 0;
        let at = if elsewhere { (self.one(&NAMESPACES), self.one(&GROUPS)) } else { self.1 };
        let (namespace, group) = at;
        let instance = json!({"ip": "10.0.0.1", "port": 80});
        let value = match field {
            "dataId" | "serviceName" => json!(config(at.0, at.1)),
            "group" | "groupName" => json!(group),
            "tenant" | "namespace" => json!(namespace),
            "content" => json!(format!("changed-{}-{}", at.0, at.1)),
            "type" if kind.starts_with("Batch") => json!("batchRegisterInstance"),
            "type" => json!(self.one(&["registerInstance", "deregisterInstance"])),
            "instance" => instance,
            "instances" => json!([instance]),
            "groupKeyPattern" => json!(format!("{namespace}>>*>>*")),
            "receivedGroupKeys" => json!([format!("{}+{}+{}", config(at.0, at.1), at.1, at.0)]),
            "watchType" => json!("WATCH"),
            "listen" => json!(true),
            "configListenContexts" => {
                let (one, other) =
                    (self.body("", &["dataId", "group", "tenant", "md5"]), self.one(&["", ","]));
                let other = if other.is_empty() {
                    String::new()
                } else {
                    format!(",{}", self.body("", &["group", "md5", "dataId", "tenant"]))
                };
                return format!("[{one}{other}]");
            }
            "additionMap" => json!({"type": "text"}),
            "pageNo" | "pageSize" => json!(1 + self.below(50)),
            _ => json!(""),
        };
        match self.below(20) {
            0 => "null".to_owned(),
            1 => format!("[{value}]"),
            2 => format!("{{\"{field}\":{value}}}"),
            _ => value.to_string(),
        }
    }

    /// An object, mostly, with some fields twice or missing; or an array of the values.
    fn body(&mut self, kind: &str, fields: &[&str]) -> String {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        for field in fields {
            for _ in 0..self.one(&[0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]) {
                pairs.push((*field, self.value(kind, field)));
            }
        }
        if self.below(3) > 0 {
            for index in (1..pairs.len()).rev() {
                pairs.swap(index, self.below(index + 1));
            }
            let pairs: Vec<String> =
                pairs.iter().map(|(field, value)| format!("\"{field}\":{value}")).collect();
            return format!("{{{}}}", pairs.join(","));
        }
        let mut values: Vec<String> = pairs.into_iter().map(|(_, value)| value).collect();
        // The number of the request, or whatever else a server may have declared before.
        for _ in 0..self.below(3) {
            values.insert(0, "null".to_owned());
        }
        format!("[{}]", values.join(","))
    }
}

/// Namespace and group of everything in a text that is behind `before`.
fn mentioned<'t>(text: &'t str, before: &str) -> Vec<(&'t str, &'t str)> {
    let parts = text.split(before).skip(1);
    let pair = |rest: &'t str| {
        let (namespace, rest) = rest.split_once('-')?;
        NAMESPACES.contains(&namespace).then_some((namespace, rest.get(..1)?))
    };
    parts.filter_map(pair).collect()
}

/// What is there outside the permission of `u`, who may change what is in group `g` of namespace
/// `a`.
fn outside(world: &World) -> String {
    let configs = world.port.configs.read().expect("no panic before");
    let registry = world.port.registry.read().expect("no panic before");
    let configs = configs.configs().filter(|(key, _)| (key.namespace, key.group) != ("a", "g"));
    let mut all: Vec<String> = configs.map(|(key, config)| format!("{key:?} {config:?}")).collect();
    for service in registry.all_services() {
        let key = service.key();
        if (key.namespace.as_str(), key.group.as_str()) != ("a", "g") {
            all.extend(service.instances().map(|one| format!("{key:?} {}", one.ip())));
        }
    }
    all.join("\n")
}

#[test]
fn what_is_touched_is_inside_the_permission_whatever_the_body_looks_like() {
    let world = world();
    fill(&world);
    let before = outside(&world);
    let (mut told, mut written) = (0, 0);
    run(async {
        let token = token(&world, "u").await;
        let mut dice = Dice(Prng::new(15), ("a", "g"));
        let mut client = Client::set_up(world.address).await;
        for round in 0..200 {
            for (kind, fields) in KINDS {
                dice.1 = (dice.one(&["a", "a", "b", "public"]), dice.one(&GROUPS));
                let body = dice.body(kind, fields);
                let bytes = encode(kind, &[("accessToken", &token)], body.as_bytes());
                let answer = client.call_raw(UNARY, bytes).await;
                let answer = answer.message.expect("a message").body.to_string();
                let context = || format!("{round}: {kind} {body}: {answer}");
                // `u` may read whatever is in `a`.
                for (namespace, _) in mentioned(&answer, "secret-") {
                    assert_eq!(namespace, "a", "{}", context());
                    told += 1;
                }
                written += usize::from(fields.contains(&"type") && answer.contains("200"));
                if is_write(kind) {
                    assert_eq!(outside(&world), before, "{}", context());
                }
                if kind == "ConfigBatchListenRequest" && answer.contains("\"resultCode\":200") {
                    let heard = mentioned(&answer, "\"tenant\":\"b");
                    assert!(heard.is_empty(), "{}", context());
                }
            }
            if round % 50 == 0 {
                client = Client::set_up(world.address).await;
            }
        }
    });
    assert!(told > 5 && written > 5, "{told} and {written}");
}

/// As an audit found it.
#[test]
fn a_body_that_is_no_object_is_refused() {
    let world = world();
    fill(&world);
    run(async {
        let token = token(&world, "u").await;
        let mut client = Client::set_up(world.address).await;
        for (kind, body) in [
            ("ConfigQueryRequest", r#"[null,"n-b-g","g","b"]"#),
            ("ConfigPublishRequest", r#"[null,"n-b-g","g","b","x"]"#),
            ("ConfigRemoveRequest", r#"[null,"n-b-g","g","b"]"#),
            ("ServiceQueryRequest", r#"[null,"b","n-b-g","g"]"#),
            ("SubscribeServiceRequest", r#"[null,"b","n-b-g","g"]"#),
            ("ConfigFuzzyWatchRequest", r#"[null,"b>>*>>*",[],"WATCH"]"#),
            ("ConfigQueryRequest", r#""n-b-g""#),
            // However deep it is.
            (
                "ConfigBatchListenRequest",
                r#"{"listen":true,"configListenContexts":[["n-a-g","g","a",""]]}"#,
            ),
            (
                "InstanceRequest",
                r#"{"namespace":"a","serviceName":"s","groupName":"g","type":"registerInstance",
                    "instance":["10.0.0.1",80]}"#,
            ),
            (
                "BatchInstanceRequest",
                r#"{"namespace":"a","serviceName":"s","groupName":"g",
                    "type":"batchRegisterInstance","instances":[["10.0.0.1",80]]}"#,
            ),
            (
                "PersistentInstanceRequest",
                r#"{"namespace":"a","serviceName":"s","groupName":"g","type":"registerInstance",
                    "instance":["10.0.0.1",80]}"#,
            ),
            (
                "LockOperationRequest",
                r#"{"lockInstance":["k",30000,"REENTRANT","o"],"lockOperationEnum":"ACQUIRE"}"#,
            ),
        ] {
            let bytes = encode(kind, &[("accessToken", &token)], body.as_bytes());
            let answer = client.call_raw(UNARY, bytes).await.message.expect("a message");
            assert_eq!(answer.kind, "ErrorResponse", "{kind} {body}: {answer:?}");
            assert_eq!(answer.body["errorCode"], 502, "{kind} {body}: {answer:?}");
        }
    });
}

fn apply(world: &World, index: u64, command: Command) {
    let mut users = world.port.users.write().expect("no panic before");
    users.apply(index, command).expect("it fits");
}

fn permit(resource: &str, actions: Actions) -> Command {
    let resource = Pattern::new(resource).expect("a resource");
    Command::Permit { role: name("r"), resource, actions }
}

fn forbid(resource: &str, actions: Actions) -> Command {
    let resource = Pattern::new(resource).expect("a resource");
    Command::Forbid { role: name("r"), resource, actions }
}

/// Listens to a config, to a service and to a pattern of each in `a`.
async fn listen(client: &mut Client, token: &str) {
    let headers = [("accessToken", token)];
    let watch = json!({"groupKeyPattern": "a>>*>>*", "watchType": "WATCH"});
    let context = json!({"dataId": "d", "group": "g", "tenant": "a", "md5": ""});
    for (kind, body) in [
        ("ConfigBatchListenRequest", json!({"listen": true, "configListenContexts": [context]})),
        (
            "SubscribeServiceRequest",
            json!({"namespace": "a", "serviceName": "s", "groupName": "g"}),
        ),
        ("ConfigFuzzyWatchRequest", watch.clone()),
        ("NamingFuzzyWatchRequest", watch),
    ] {
        let answer = client.ask_with(kind, &headers, body).await;
        assert_eq!(answer.body["resultCode"], 200, "{answer:?}");
    }
}

/// Publishes what all of that is about, as the administrator.
async fn change(root: &mut Client, token: &str, content: &str) {
    let headers = [("accessToken", token)];
    let publish = json!({"dataId": "d", "group": "g", "tenant": "a", "content": content});
    let instance = json!({"ip": "10.0.0.1", "port": 80, "metadata": {"m": content}});
    let register = json!({
        "namespace": "a", "serviceName": "s", "groupName": "g", "type": "registerInstance",
        "instance": instance,
    });
    for (kind, body) in [("ConfigPublishRequest", publish), ("InstanceRequest", register)] {
        let answer = root.ask_with(kind, &headers, body).await;
        assert_eq!(answer.body["resultCode"], 200, "{answer:?}");
    }
}

#[test]
fn who_may_not_read_any_more_hears_nothing_more() {
    let world = world();
    run(async {
        let (user, admin) = (token(&world, "u").await, token(&world, "nacos").await);
        let (mut client, mut root) =
            (Client::set_up(world.address).await, Client::set_up(world.address).await);
        listen(&mut client, &user).await;
        change(&mut root, &admin, "1").await;
        let mut heard = Vec::new();
        for _ in 0..4 {
            let message = client.heard().await.expect("the stream lives");
            client.acknowledge(&message.body, 200);
            heard.push(message.kind);
        }
        heard.sort_unstable();
        let expected = [
            "ConfigChangeNotifyRequest",
            "ConfigFuzzyWatchChangeNotifyRequest",
            "NamingFuzzyWatchChangeNotifyRequest",
            "NotifySubscriberRequest",
        ];
        assert_eq!(heard, expected);
        apply(&world, 100, forbid("a:*:*", Actions::Read));
        change(&mut root, &admin, "2").await;
        assert!(client.hears_nothing(Duration::from_millis(300)).await);
        // What is forgotten does not come back by itself.
        apply(&world, 101, permit("a:*:*", Actions::Read));
        change(&mut root, &admin, "3").await;
        assert!(client.hears_nothing(Duration::from_millis(300)).await);
    });
}

#[test]
fn whose_login_is_worth_nothing_any_more_is_told_to_come_again() {
    let hash = nacolet_api::hash_password("battery staple").expect("a password");
    for command in
        [Command::RemoveUser { user: name("u") }, Command::SetPassword { user: name("u"), hash }]
    {
        let world = patient_world(Duration::from_secs(60));
        run(async {
            let (user, admin) = (token(&world, "u").await, token(&world, "nacos").await);
            let (mut client, mut root) =
                (Client::set_up(world.address).await, Client::set_up(world.address).await);
            listen(&mut client, &user).await;
            apply(&world, 100, command);
            change(&mut root, &admin, "1").await;
            let told = client.heard().await.expect("the stream lives");
            assert_eq!(told.kind, "ConnectResetRequest", "{told:?}");
            assert!(client.hears_nothing(Duration::from_millis(300)).await);
        });
    }
}

/// As one that only publishes does, or only holds locks.
#[test]
fn whose_login_is_worth_nothing_any_more_goes_with_its_instances_and_locks() {
    let hash = nacolet_api::hash_password("battery staple").expect("a password");
    for command in
        [Command::RemoveUser { user: name("u") }, Command::SetPassword { user: name("u"), hash }]
    {
        let world = world();
        run(async {
            let (user, admin) = (token(&world, "u").await, token(&world, "nacos").await);
            let (mut client, mut root) =
                (Client::set_up(world.address).await, Client::set_up(world.address).await);
            let lock = json!({
                "lockOperationEnum": "ACQUIRE",
                "lockInstance": {"key": "k", "lockType": "REENTRANT", "expiredTime": 600_000},
            });
            let register = json!({
                "namespace": "a", "serviceName": "s", "groupName": "g",
                "type": "registerInstance", "instance": {"ip": "10.0.0.1", "port": 80},
            });
            for (kind, body) in
                [("LockOperationRequest", lock.clone()), ("InstanceRequest", register)]
            {
                let answer = client.ask_with(kind, &[("accessToken", &user)], body).await;
                assert_eq!(answer.body["resultCode"], 200, "{answer:?}");
            }
            assert_eq!(world.counts().instances, 1);
            assert!(client.hears_nothing(Duration::from_millis(100)).await, "it may stay");
            apply(&world, 100, command);
            let told = client.heard().await.expect("the stream lives");
            assert_eq!(told.kind, "ConnectResetRequest", "{told:?}");
            // One that does not go is closed.
            assert!(client.heard().await.is_none(), "the stream is over");
            crate::world::eventually("its instance goes", || world.counts().instances == 0);
            let headers = [("accessToken", admin.as_str())];
            let taken = root.ask_with("LockOperationRequest", &headers, lock).await;
            assert_eq!(taken.body["result"], true, "{taken:?}");
        });
    }
}

#[test]
fn who_logs_in_anew_in_time_stays() {
    let patience = Duration::from_secs(1);
    let world = patient_world(patience);
    run(async {
        let (old, admin) = (token(&world, "u").await, token(&world, "nacos").await);
        let mut client = Client::set_up(world.address).await;
        let query = json!({"namespace": "a", "serviceName": "s", "groupName": "g"});
        let ask = async |client: &mut Client, token: &str| {
            let headers = [("accessToken", token)];
            client.ask_with("ServiceQueryRequest", &headers, query.clone()).await
        };
        assert_eq!(ask(&mut client, &old).await.body["resultCode"], 200);
        apply(&world, 100, Command::RemoveUser { user: name("u") });
        assert_eq!(client.heard().await.expect("it lives").kind, "ConnectResetRequest");
        assert_eq!(ask(&mut client, &old).await.body["errorCode"], 403);
        assert_eq!(ask(&mut client, &admin).await.body["resultCode"], 200);
        assert!(client.hears_nothing(patience + patience / 4).await, "it stays");
    });
}

/// A client that says it knows a name is told when the name is gone: of names that its pattern does
/// not mean, and which it may not see, that would be a way to ask.
#[test]
fn names_outside_a_pattern_tell_nothing() {
    let world = world();
    fill(&world);
    run(async {
        let token = token(&world, "u").await;
        let mut client = Client::set_up(world.address).await;
        let headers = [("accessToken", token.as_str())];
        let known = ["n-a-g+g+a", "n-b-g+g+b", "n-b-none+g+b", "n-a-none+g+a"];
        let watch = json!({
            "groupKeyPattern": "a>>g>>*", "watchType": "WATCH", "receivedGroupKeys": known,
        });
        let answer = client.ask_with("ConfigFuzzyWatchRequest", &headers, watch).await;
        assert_eq!(answer.body["resultCode"], 200, "{answer:?}");
        let told: Value = client.hears("ConfigFuzzyWatchChangeNotifyRequest").await;
        assert_eq!(told["groupKey"], "n-a-none+g+a");
        assert!(client.hears_nothing(Duration::from_millis(200)).await);
    });
}
