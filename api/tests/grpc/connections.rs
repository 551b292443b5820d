//! The life of a connection (docs/nacos/grpc.md, "The life of a connection").

use std::net::TcpStream;
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use nacolet_api::{Settings, listen, loopback};
use nacolet_model::limits;
use serde_json::json;
use smol::Async;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{Client, run};
use crate::instances::register;
use crate::world::{World, eventually};

#[test]
fn the_head_of_the_stream_comes_before_the_clients_first_message() {
    let world = World::new();
    run(async {
        let mut client = Client::connect(world.address).await;
        client.open_stream().await;
    });
}

#[test]
fn before_the_set_up_only_the_server_check_is_answered() {
    let world = World::new();
    run(async {
        let mut client = Client::connect(world.address).await;
        let check = client.done("ServerCheckRequest", json!({}), "ServerCheckResponse").await;
        assert_eq!(check["supportAbilityNegotiation"], true);
        assert!(check["connectionId"].as_str().expect("text").contains("_127.0.0.1_"));
        for (kind, code) in [
            ("HealthCheckRequest", 301),
            ("ConfigQueryRequest", 301),
            ("InstanceRequest", 301),
            ("LockOperationRequest", 301),
            ("QueryPromptRequest", 302),
            ("QueryMcpServerRequest", 302),
            ("", 302),
        ] {
            let answer = client.ask(kind, json!({"requestId": "9"})).await;
            assert_eq!(answer.kind, "ErrorResponse", "{kind}");
            assert_eq!(answer.body["resultCode"], 500);
            assert_eq!(
                (&answer.body["errorCode"], &answer.body["requestId"]),
                (&json!(code), &json!("9"))
            );
        }
        client.open_stream().await;
        client.say("ConnectionSetupRequest", json!({}));
        client.until_registered().await;
        let unknown = client.ask("ReleaseMcpServerRequest", json!({})).await;
        assert_eq!(unknown.body["errorCode"], 302, "the stream lives and the truth is told");
        client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
    });
}

#[test]
fn abilities_are_told_to_those_who_told_theirs() {
    let world = World::new();
    run(async {
        let mut client = Client::connect(world.address).await;
        client.open_stream().await;
        client.say("ConnectionSetupRequest", json!({"abilityTable": {"lock": true}}));
        let ack = client.hears("SetupAckRequest").await;
        assert_eq!(
            ack["abilityTable"],
            json!({
                "supportPersistentInstanceByGrpc": true,
                "fuzzyWatch": true, "lock": true, "mcp": false,
            })
        );
        let mut other = Client::connect(world.address).await;
        other.open_stream().await;
        other.say("ConnectionSetupRequest", json!({"abilities": {}, "abilityTable": null}));
        assert!(other.hears_nothing(Duration::from_millis(100)).await);
    });
}

#[test]
fn the_http_port_speaks_grpc_with_those_who_begin_with_it() {
    let world = World::with(impatient());
    run(async {
        let mut client = Client::set_up(world.http).await;
        register(&mut client, 1).await;
        assert_eq!(world.counts().instances, 1);
        client.hears("ClientDetectionRequest").await;
        client.vanish().await;
    });
    eventually("it goes with its connection", || world.counts().instances == 0);
    // HTTP/1.1 is served as before, and so is a word that only begins like the other one.
    let answer = |bytes: &[&[u8]]| {
        use std::io::{Read as _, Write as _};
        let mut stream = TcpStream::connect(world.http).expect("connects");
        for part in bytes {
            stream.write_all(part).expect("sends");
            stream.flush().expect("sends");
            std::thread::yield_now();
        }
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("an answer");
        String::from_utf8_lossy(&head).into_owned()
    };
    let get = b"GET /nacos/v1/console/health/readiness HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(answer(&[get]), "HTTP/1.1 200");
    assert_eq!(answer(&[b"P", b"RI", b"NT / HTTP/1.1\r\nHost: x\r\n\r\n"]), "HTTP/1.1 501");
}

#[test]
fn beyond_the_places_the_newest_connection_of_the_http_port_is_closed_too() {
    let world = World::with(Settings { grpc_connections_max: 1, ..impatient() });
    run(async {
        let first = Client::set_up(world.address).await;
        assert!(crate::client::closes_on(world.http, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        first.vanish().await;
    });
}

#[test]
fn no_more_connections_of_the_http_port_wait_for_grpc_than_may() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let world = World::new();
    let server = world.without_grpc();
    let http = listen(loopback()).expect("binds");
    let address = http.local_addr().expect("has an address");
    let client = async || {
        let mut stream = Async::<TcpStream>::connect(address).await.expect("connects");
        stream.write_all(PREFACE).await.expect("there is room");
        stream
    };
    let hears = |mut stream: Async<TcpStream>| {
        Box::pin(async move { stream.read(&mut [0; 64]).await.unwrap_or(0) })
    };
    let test = async {
        let mut waiting = Vec::new();
        for _ in 0..=limits::GRPC_HANDED_OVER_MAX {
            waiting.push(hears(client().await));
        }
        let (heard, _, waiting) = select_all(waiting).await;
        assert_eq!((heard, waiting.len()), (0, limits::GRPC_HANDED_OVER_MAX));
        let grpc = server.clone().serve_grpc(listen(loopback()).expect("binds"));
        let served = async {
            assert!(join_all(waiting).await.iter().all(|heard| *heard > 0), "a place was lost");
            server.stop();
        };
        smol::future::zip(grpc, served).await.0
    };
    let http = server.clone().serve_http(http);
    run(async { smol::future::try_zip(http, test).await.map(drop).expect("serves") });
}

fn impatient() -> Settings {
    Settings {
        tick: Duration::from_millis(10),
        grpc_idle_timeout: Duration::from_millis(150),
        grpc_detection_timeout: Duration::from_millis(150),
        grpc_setup_timeout: Duration::from_millis(300),
        ..Settings::default()
    }
}

#[test]
fn a_silent_client_is_asked_and_stays_if_it_answers() {
    let world = World::with(impatient());
    run(async {
        let mut client = Client::set_up(world.address).await;
        for _ in 0..3 {
            client.hears("ClientDetectionRequest").await;
        }
        register(&mut client, 1).await;
        let asked = client.heard().await.expect("the stream lives");
        assert_eq!(asked.kind, "ClientDetectionRequest");
        assert!(client.is_closed_soon().await, "it did not answer");
    });
    eventually("the instance is gone", || world.counts().instances == 0);
}

#[test]
fn a_server_check_is_a_sign_of_life() {
    let world = World::with(impatient());
    run(async {
        let mut client = Client::set_up(world.address).await;
        for _ in 0..20 {
            client.done("ServerCheckRequest", json!({}), "ServerCheckResponse").await;
            assert!(client.hears_nothing(Duration::from_millis(30)).await);
        }
    });
}

#[test]
fn a_connection_that_is_never_set_up_is_closed() {
    let world = World::with(impatient());
    run(async {
        let mut client = Client::connect(world.address).await;
        client.open_stream().await;
        assert!(client.is_closed_soon().await);
    });
}

#[test]
fn a_connection_ends_with_its_stream() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        client.end_stream();
        assert_eq!(client.heard().await, None);
        assert!(client.is_closed_soon().await);
    });
}

#[test]
fn a_second_stream_is_refused() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let setup = crate::client::encode("ConnectionSetupRequest", &[], b"{}");
        let answer = client.call_raw("/BiRequestStream/requestBiStream", setup).await;
        assert_eq!((answer.status.as_str(), answer.message), ("9", None));
        client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
    });
}

#[test]
fn a_server_that_stops_sends_its_clients_elsewhere() {
    let mut world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        let stopping = world.server.clone();
        stopping.stop();
        let told = client.heard().await.expect("the stream lives");
        assert_eq!(told.kind, "ConnectResetRequest");
        assert_eq!(client.heard().await, None, "the stream ends");
        drop(client);
    });
    world.stop();
}

#[test]
fn a_node_that_is_not_ready_says_so() {
    let world = World::new();
    run(async {
        let mut client = Client::set_up(world.address).await;
        world.stage().close();
        let answer = client.ask("HealthCheckRequest", json!({})).await;
        assert_eq!(
            (answer.kind.as_str(), &answer.body["errorCode"]),
            ("ErrorResponse", &json!(300))
        );
        client.done("ServerCheckRequest", json!({}), "ServerCheckResponse").await;
    });
}

#[test]
fn beyond_the_places_the_newest_connection_is_closed() {
    let world = World::with(Settings { grpc_connections_max: 1, ..impatient() });
    run(async {
        let first = Client::set_up(world.address).await;
        assert!(crate::client::closes_on(world.address, b"PRI"));
        first.vanish().await;
    });
    eventually("there is a place again", || {
        run(async {
            let stream = Async::<TcpStream>::connect(world.address).await;
            let stream = stream.expect("connects").into_inner().expect("a socket");
            stream.set_nonblocking(false).expect("takes it");
            stream.set_read_timeout(Some(Duration::from_millis(50))).expect("takes it");
            let mut byte = [0];
            !matches!(std::io::Read::read(&mut &stream, &mut byte), Ok(0))
        })
    });
}
