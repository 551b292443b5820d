//! Who may do what over gRPC: the token is in the headers of the payload, and a refusal is the
//! answer of the request's own type, because Java logs in again for nothing else
//! (docs/nacos/grpc.md, "Messages").

use std::time::Duration;

use nacolet_api::Call;
use nacolet_api::{Settings, hash_password};
use nacolet_auth::{Actions, Begin, Command, Name, Pattern, Users};
use serde_json::{Value, json};

use crate::client::{Client, run};
use crate::world::World;

const PASSWORD: &str = "correct horse";

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// An administrator, and `u` who may read whatever is in `a` and change what is in its group `g`.
pub(crate) fn world() -> World {
    patient_world(Duration::from_millis(200))
}

/// As `world`, with this much time to go for whoever is told to come again.
pub(crate) fn patient_world(grpc_reset_patience: Duration) -> World {
    let hash = hash_password(PASSWORD).expect("a password");
    let permit = |resource, actions| Command::Permit {
        role: name("r"),
        resource: Pattern::new(resource).expect("a resource"),
        actions,
    };
    let commands = [
        Command::Begin(Begin { user: name("nacos"), hash: hash.clone(), key: [7; 32] }),
        Command::CreateUser { user: name("u"), hash },
        Command::AddRole { role: name("r"), user: name("u") },
        permit("a:*:*", Actions::Read),
        permit("a:g:*", Actions::Write),
    ];
    let mut users = Users::new();
    for (index, command) in (1..).zip(commands) {
        users.apply(index, command).expect("it fits");
    }
    let settings =
        Settings { tick: Duration::from_millis(20), grpc_reset_patience, ..Settings::default() };
    World::with_users(settings, Some(users))
}

pub(crate) async fn token(world: &World, user: &str) -> String {
    let mut call = Call {
        method: "POST".parse().expect("a method"),
        uri: "/nacos/v1/auth/login".parse().expect("a target"),
        body: format!("username={user}&password={PASSWORD}").into(),
        ..Call::default()
    };
    let form = "application/x-www-form-urlencoded".parse().expect("a header");
    call.headers.insert("content-type", form);
    let answer = world.server.call(call).await;
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    body["accessToken"].as_str().expect("a token").to_owned()
}

/// A request of every kind with the type of its answer, about things of namespace `ns` and group
/// `group`.
fn requests(ns: &str, group: &str) -> Vec<(&'static str, Value, &'static str, bool)> {
    let config = json!({"dataId": "d", "group": group, "tenant": ns, "content": "x"});
    let instance = json!({"ip": "10.0.0.1", "port": 80});
    let service = json!({"namespace": ns, "serviceName": "s", "groupName": group});
    let with = |extra: Value| {
        let mut all = service.clone();
        for (name, value) in extra.as_object().expect("an object") {
            all[name] = value.clone();
        }
        all
    };
    let register = with(json!({"type": "registerInstance", "instance": instance}));
    let mut persistent = register.clone();
    persistent["serviceName"] = json!("p");
    let batch = with(json!({"type": "batchRegisterInstance", "instances": [instance]}));
    let listen = json!({"listen": true, "configListenContexts": [config]});
    let watch = |pattern: String| json!({"groupKeyPattern": pattern, "watchType": "WATCH"});
    let configs = watch(format!("{ns}>>*>>*"));
    let services = watch(format!("{ns}>>*>>*"));
    vec![
        ("ConfigQueryRequest", config.clone(), "ConfigQueryResponse", false),
        ("ConfigPublishRequest", config.clone(), "ConfigPublishResponse", true),
        ("ConfigRemoveRequest", config, "ConfigRemoveResponse", true),
        ("ConfigBatchListenRequest", listen, "ConfigChangeBatchListenResponse", false),
        ("InstanceRequest", register.clone(), "InstanceResponse", true),
        ("PersistentInstanceRequest", persistent, "InstanceResponse", true),
        ("BatchInstanceRequest", batch, "BatchInstanceResponse", true),
        ("ServiceQueryRequest", service.clone(), "QueryServiceResponse", false),
        ("ServiceListRequest", service.clone(), "ServiceListResponse", false),
        ("SubscribeServiceRequest", service, "SubscribeServiceResponse", false),
        ("ConfigFuzzyWatchRequest", configs, "ConfigFuzzyWatchResponse", false),
        ("NamingFuzzyWatchRequest", services, "NamingFuzzyWatchResponse", false),
    ]
}

#[test]
fn without_a_right_token_only_signs_of_life_are_answered() {
    let world = world();
    run(async {
        let mut client = Client::set_up(world.address).await;
        client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
        let lock = json!({"lockOperationEnum": "ACQUIRE", "lockInstance": {"key": "k"}});
        let mut all = requests("a", "g");
        all.push(("LockOperationRequest", lock, "LockOperationResponse", true));
        let wrong = [&[][..], &[("accessToken", "AUTH_DISABLED")], &[("accessToken", "a.b.c")]];
        for (kind, body, expected, _) in all {
            for headers in wrong {
                let answer = client.ask_with(kind, headers, body.clone()).await;
                assert_eq!(answer.kind, expected);
                let told = (&answer.body["resultCode"], &answer.body["errorCode"]);
                assert_eq!(told, (&json!(500), &json!(403)), "{answer:?}");
            }
        }
        assert_eq!(world.counts().instances, 0);
    });
}

#[test]
fn a_user_may_over_grpc_what_its_roles_permit() {
    let world = world();
    run(async {
        let (user, root) = (token(&world, "u").await, token(&world, "nacos").await);
        let mut client = Client::set_up(world.address).await;
        for (ns, group) in [("a", "g"), ("a", "h"), ("b", "g"), ("", "g")] {
            for (kind, body, expected, is_write) in requests(ns, group) {
                let may = ns == "a" && (!is_write || group == "g");
                for (who, may) in [(&user, may), (&root, true)] {
                    let headers = [("accessToken", who.as_str())];
                    let answer = client.ask_with(kind, &headers, body.clone()).await;
                    assert_eq!(answer.kind, expected, "{answer:?}");
                    let is_denied = answer.body["errorCode"] == 403;
                    assert_eq!(is_denied, !may, "{ns}:{group} {kind}: {answer:?}");
                }
            }
        }
    });
}

#[test]
fn an_administrator_frees_the_lock_of_a_user_who_is_gone() {
    let world = world();
    run(async {
        let (user, root) = (token(&world, "u").await, token(&world, "nacos").await);
        let mut client = Client::set_up(world.address).await;
        let lock = json!({"key": "k", "lockType": "NACOS_LOCK", "expiredTime": 1_000_000});
        let body = json!({"lockOperationEnum": "ACQUIRE", "lockInstance": lock});
        let mut take = async |token: &str| {
            let headers = [("accessToken", token)];
            client.ask_with("LockOperationRequest", &headers, body.clone()).await.body
        };
        let unlock = async |token: &str| {
            let mut call = Call {
                method: "POST".parse().expect("a method"),
                uri: "/nacos/v3/admin/nacolet/cluster/unlock?lockKey=k".parse().expect("a target"),
                ..Call::default()
            };
            call.headers.insert("accesstoken", token.parse().expect("a header"));
            call.headers.insert("nacolet-admin", "1".parse().expect("a header"));
            world.server.call(call).await.status.as_u16()
        };
        assert_eq!(take(&user).await["result"], true);
        assert_eq!(take(&root).await["result"], false);
        assert_eq!((unlock(&user).await, unlock(&root).await), (403, 200));
        assert_eq!(unlock(&root).await, 404, "nobody holds it");
        assert_eq!(take(&root).await["result"], true);
    });
}

/// The clients of the own host, or behind a proxy, have one address and are not one.
#[test]
fn where_nobody_logs_in_clients_of_a_shared_address_count_apart() {
    let world = World::new();
    run(async {
        let mut clients =
            [Client::set_up(world.address).await, Client::set_up(world.address).await];
        let take = async |client: &mut Client, key: String| {
            let lock = json!({"key": key, "lockType": "NACOS_LOCK", "expiredTime": 1_000_000});
            let body = json!({"lockOperationEnum": "ACQUIRE", "lockInstance": lock});
            client.ask("LockOperationRequest", body).await.body["result"] == true
        };
        let [one, other] = &mut clients;
        for number in 0..nacolet_model::limits::LOCKS_PER_ACCOUNT_MAX {
            assert!(take(one, format!("k{number}")).await, "{number}");
        }
        assert!(!take(one, "more".into()).await);
        assert!(take(other, "more".into()).await);
    });
}

#[test]
fn one_config_that_is_not_permitted_refuses_the_whole_batch() {
    let world = world();
    run(async {
        let token = token(&world, "u").await;
        let mut client = Client::set_up(world.address).await;
        let context = |tenant| json!({"dataId": "d", "group": "g", "tenant": tenant, "md5": "x"});
        for (tenants, code) in [(["a", "a"], 0), (["a", "b"], 403), (["b", "a"], 403)] {
            let contexts: Vec<Value> = tenants.into_iter().map(context).collect();
            let body = json!({"listen": true, "configListenContexts": contexts});
            let headers = [("accessToken", token.as_str())];
            let answer = client.ask_with("ConfigBatchListenRequest", &headers, body).await;
            assert_eq!(answer.body["errorCode"], code, "{answer:?}");
        }
    });
}
