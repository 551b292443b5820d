//! One beyond each limit that a gRPC client can reach by itself (`model::limits`).

use std::time::Duration;

use nacolet_api::Settings;
use nacolet_model::limits;
use serde_json::{Value, json};

use crate::client::{Client, UNARY, encode, run};
use crate::world::World;

fn config(data_id: &str) -> Value {
    json!({"dataId": data_id, "group": "g", "tenant": ""})
}

async fn publish(client: &mut Client, data_id: &str, content: String) {
    let mut request = config(data_id);
    request["content"] = json!(content);
    client.done("ConfigPublishRequest", request, "ConfigPublishResponse").await;
}

/// Asks to listen to that many configs whose names begin with `stem`.
async fn listen(client: &mut Client, stem: &str, count: usize) -> Value {
    let context = |number| {
        let data_id = format!("{stem}-{number}");
        json!({"dataId": data_id, "group": "g", "tenant": "", "md5": "x"})
    };
    let contexts: Vec<Value> = (0..count).map(context).collect();
    let request = json!({"listen": true, "configListenContexts": contexts});
    client.ask("ConfigBatchListenRequest", request).await.body
}

#[test]
fn a_message_may_be_as_long_as_in_nacos_and_no_byte_longer() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let sized = |size: usize| {
            let body = |filler: usize| format!(r#"{{"x":"{}"}}"#, "x".repeat(filler));
            let spare = size - 64;
            let around =
                encode("HealthCheckRequest", &[], body(spare).as_bytes()).len() - 5 - spare;
            encode("HealthCheckRequest", &[], body(size - around).as_bytes())
        };
        let longest = sized(limits::GRPC_MESSAGE_BYTES_MAX);
        assert_eq!(longest.len(), limits::GRPC_MESSAGE_BYTES_MAX + 5);
        assert_eq!(client.call_raw(UNARY, longest).await.status, "0");
        let longer = sized(limits::GRPC_MESSAGE_BYTES_MAX + 1);
        let answer = client.call_raw(UNARY, longer).await;
        assert_eq!((answer.status.as_str(), answer.message), ("8", None));
        client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
    });
}

#[test]
fn headers_beyond_their_limit_are_refused() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let long = usize::try_from(limits::GRPC_HEAD_BYTES_MAX).expect("small");
        assert_eq!(client.status_with("x", &"x".repeat(long / 2)).await, 200);
        assert_eq!(client.status_with("x", &"x".repeat(long)).await, 431);
        client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
    });
}

#[test]
fn one_request_names_as_many_configs_as_in_nacos_and_no_more() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let answer = listen(&mut client, "a", limits::LISTEN_KEYS_MAX).await;
        let changed = answer["changedConfigs"].as_array().expect("an array");
        assert_eq!(changed.len(), limits::LISTEN_KEYS_MAX);
        let answer = listen(&mut client, "b", limits::LISTEN_KEYS_MAX + 1).await;
        assert_eq!((&answer["resultCode"], &answer["errorCode"]), (&json!(500), &json!(400)));
        publish(&mut client, "a-9999", "x".into()).await;
        assert_eq!(client.hears("ConfigChangeNotifyRequest").await["dataId"], "a-9999");
        publish(&mut client, "b-0", "x".into()).await;
        assert!(client.hears_nothing(Duration::from_millis(100)).await, "nothing of it is kept");
    });
}

#[test]
fn all_clients_together_listen_to_no_more_configs_than_they_may() {
    let world = World::new();
    run(async {
        let mut clients = Vec::new();
        for _ in 0..limits::GRPC_LISTENS_MAX / limits::LISTEN_KEYS_MAX {
            let mut client = Client::set_up(world.address).await;
            let answer = listen(&mut client, "a", limits::LISTEN_KEYS_MAX).await;
            assert_eq!(answer["resultCode"], 200);
            clients.push(client);
        }
        let mut late = Client::set_up(world.address).await;
        let answer = listen(&mut late, "b", 1).await;
        assert_eq!((&answer["resultCode"], &answer["errorCode"]), (&json!(500), &json!(503)));
        clients.pop().expect("one of them").vanish().await;
        while listen(&mut late, "b", 1).await["resultCode"] != 200 {}
    });
}

#[test]
fn answers_that_nobody_takes_are_bounded_and_given_up() {
    const MIB: usize = 1 << 20;
    let settings = Settings {
        tick: Duration::from_millis(20),
        bodies_bytes_max: 3 * MIB,
        body_timeout: Duration::from_millis(400),
        ..Settings::default()
    };
    let world = World::with(settings);
    run(async {
        let mut client = Client::set_up(world.address).await;
        publish(&mut client, "large", "x".repeat(2 * MIB)).await;
        let mut greedy = Client::connect_taking(world.address, 1 << 10).await;
        greedy.open_stream().await;
        greedy.say("ConnectionSetupRequest", json!({}));
        greedy.until_registered().await;
        let waiting = greedy.ask_and_wait("ConfigQueryRequest", config("large")).await;
        let query = encode("ConfigQueryRequest", &[], config("large").to_string().as_bytes());
        let refused = client.call_raw(UNARY, query.clone()).await;
        assert_eq!((refused.status.as_str(), refused.message), ("8", None));
        // The one who waits loses its answer and makes room, though it never said that it goes.
        while client.call_raw(UNARY, query.clone()).await.status != "0" {
            client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
        }
        greedy.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
        drop(waiting);
    });
}

#[test]
fn a_client_that_takes_nothing_of_its_stream_is_closed() {
    let settings = Settings {
        tick: Duration::from_millis(20),
        grpc_blocked_timeout: Duration::from_millis(300),
        ..Settings::default()
    };
    let world = World::with(settings);
    run(async {
        let mut client = Client::connect_taking(world.address, 0).await;
        client.open_stream().await;
        client.say("ConnectionSetupRequest", json!({"abilityTable": {}}));
        assert!(client.is_closed_soon().await);
    });
}

#[test]
fn a_connection_that_is_not_set_up_may_say_little() {
    let world = World::new();
    run(async {
        let mut client = Client::connect(world.address).await;
        let sized = |size: usize| {
            let body = format!(r#"{{"x":"{}"}}"#, "x".repeat(size));
            encode("ServerCheckRequest", &[], body.as_bytes())
        };
        let most = limits::GRPC_NEWCOMER_BYTES_MAX;
        for _ in 0..3 {
            assert_eq!(client.call_raw(UNARY, sized(most - 100)).await.status, "0");
        }
        let answer = client.call_raw(UNARY, sized(most)).await;
        assert_eq!((answer.status.as_str(), answer.message), ("8", None));
        let mut client = Client::set_up(world.address).await;
        assert_eq!(client.call_raw(UNARY, sized(4 * most)).await.status, "0");
    });
}

#[test]
fn a_message_has_a_bounded_number_of_headers() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        for (count, status) in
            [(limits::GRPC_HEADERS_MAX, "0"), (limits::GRPC_HEADERS_MAX + 1, "8")]
        {
            let names: Vec<String> = (0..count).map(|number| format!("h{number}")).collect();
            let headers: Vec<(&str, &str)> =
                names.iter().map(|name| (name.as_str(), "v")).collect();
            let bytes = encode("HealthCheckRequest", &headers, b"{}");
            assert_eq!(client.call_raw(UNARY, bytes).await.status, status, "{count}");
        }
        client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
    });
}

#[test]
fn a_content_that_escapes_make_long_takes_no_more_room_than_it_has() {
    const MIB: usize = 1 << 20;
    let settings = Settings { bodies_bytes_max: 4 * MIB, ..Settings::default() };
    let world = World::with(settings);
    run(async {
        let mut client = Client::set_up(world.address).await;
        let content = "\u{1}".repeat(100_000);
        publish(&mut client, "small", content.clone()).await;
        let answer = client.ask("ConfigQueryRequest", config("small")).await;
        assert_eq!(answer.body["content"].as_str(), Some(&*content));
        // Rendered it is more than all may hold.
        let content = ["\u{1}".repeat(500_000), "y".repeat(MIB)].concat();
        publish(&mut client, "large", content.clone()).await;
        let lines = "\n\"\\".repeat(10_000);
        publish(&mut client, "lines", lines.clone()).await;
        for (name, content) in [("large", content), ("lines", lines)] {
            let answer = client.ask("ConfigQueryRequest", config(name)).await;
            assert_eq!(answer.kind, "ConfigQueryResponse");
            assert!(answer.body["content"].as_str() == Some(&*content), "{name}");
            assert_eq!(answer.body["resultCode"], 200);
        }
    });
}
