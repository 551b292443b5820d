//! Connections that only live, where there are many: they wait together and are served as any
//! other.

use std::time::{Duration, Instant};

use nacolet_api::Settings;
use nacolet_model::limits;
use serde_json::json;

use crate::client::{Client, run};
use crate::instances::register;
use crate::world::{World, eventually};

const CHECKS: u32 = 8;

/// From `min` connections on, those that only lived for `after` are quiet.
fn quiet(min: usize, after: Duration) -> World {
    let tick = Duration::from_millis(10);
    World::with(Settings {
        grpc_quiet_connections_min: min,
        grpc_quiet_after: after,
        tick,
        ..Settings::default()
    })
}

/// How long some checks take, one after another.
#[expect(clippy::disallowed_methods, reason = "tests over sockets run in real time")]
async fn checks(client: &mut Client) -> Duration {
    let begin = Instant::now();
    for _ in 0..CHECKS {
        client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
    }
    begin.elapsed()
}

#[test]
fn the_checks_of_a_quiet_connection_wait_for_the_next_look() {
    let world = quiet(1, Duration::ZERO);
    run(async {
        let mut client = Client::set_up(world.address).await;
        checks(&mut client).await;
        assert!(checks(&mut client).await >= limits::GRPC_QUIET_PAUSE * (CHECKS - 2));
    });
}

#[test]
fn a_connection_among_few_or_with_other_requests_does_not_wait() {
    for (min, after) in [(2, Duration::ZERO), (1, Duration::from_secs(60))] {
        let world = quiet(min, after);
        run(async {
            let mut client = Client::set_up(world.address).await;
            let mut fastest = Duration::MAX;
            for _ in 0..20 {
                fastest = fastest.min(checks(&mut client).await);
            }
            assert!(fastest < limits::GRPC_QUIET_PAUSE * (CHECKS - 2), "{fastest:?}");
        });
    }
}

#[test]
fn a_quiet_connection_that_asks_for_something_does_not_wait_any_more() {
    let world = quiet(1, Duration::from_millis(100));
    run(async {
        let mut client = Client::set_up(world.address).await;
        let mut fastest = Duration::MAX;
        for _ in 0..10 {
            smol::Timer::after(Duration::from_millis(150)).await;
            client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
            let query = json!({"dataId": "none", "group": "g", "tenant": ""});
            client.ask("ConfigQueryRequest", query).await;
            fastest = fastest.min(checks(&mut client).await);
        }
        assert!(fastest < limits::GRPC_QUIET_PAUSE * (CHECKS - 2), "{fastest:?}");
    });
}

#[test]
fn a_quiet_connection_that_hangs_up_is_gone() {
    let mut world = quiet(1, Duration::from_millis(20));
    run(async {
        for port in 1..=5 {
            let mut client = Client::set_up(world.address).await;
            register(&mut client, port).await;
            smol::Timer::after(Duration::from_millis(50)).await;
            checks(&mut client).await;
            client.hang_up();
            eventually("the instance is gone", || world.counts().instances == 0);
        }
    });
    world.stop();
}

#[test]
fn a_quiet_connection_publishes_hears_and_is_missed_like_any_other() {
    let mut world = quiet(1, Duration::ZERO);
    run(async {
        let mut listener = Client::set_up(world.address).await;
        let mut provider = Client::set_up(world.address).await;
        let context = json!({"dataId": "d", "group": "g", "tenant": "", "md5": ""});
        let listen = json!({"listen": true, "configListenContexts": [context]});
        let kind = "ConfigChangeBatchListenResponse";
        listener.done("ConfigBatchListenRequest", listen, kind).await;
        let subscribe = json!({"serviceName": "s", "subscribe": true});
        listener.done("SubscribeServiceRequest", subscribe, "SubscribeServiceResponse").await;

        let content = "x".repeat(1 << 20);
        let publish = json!({"dataId": "d", "group": "g", "tenant": "", "content": content});
        provider.done("ConfigPublishRequest", publish, "ConfigPublishResponse").await;
        listener.hears("ConfigChangeNotifyRequest").await;
        let query = json!({"dataId": "d", "group": "g", "tenant": ""});
        let answer = listener.done("ConfigQueryRequest", query, "ConfigQueryResponse").await;
        assert_eq!(answer["content"].as_str().map(str::len), Some(1 << 20));

        register(&mut provider, 1).await;
        listener.hears("NotifySubscriberRequest").await;
        provider.vanish().await;
        eventually("the instance is gone", || world.counts().instances == 0);
        listener.hears("NotifySubscriberRequest").await;

        world.server.clone().stop();
        let told = listener.heard().await.expect("the stream lives");
        assert_eq!(told.kind, "ConnectResetRequest");
    });
    world.stop();
}
