//! Every way in which the stream of a connection can end: the connection ends with it, and so does
//! what it published. Whoever heard nothing any more and seemed to live would be asked in vain.

use std::time::Duration;

use nacolet_api::Settings;
use nacolet_model::limits;
use serde_json::json;

use crate::client::{Client, encode, run};
use crate::instances::register;
use crate::world::{World, eventually};

/// A connection that published something does not outlive `end`.
fn check(what: &str, settings: Settings, end: impl AsyncFnOnce(&World, &mut Client)) {
    let world = World::with(settings);
    run(async {
        let mut client = Client::set_up(world.address).await;
        register(&mut client, 80).await;
        assert_eq!(world.counts().instances, 1, "{what}");
        end(&world, &mut client).await;
        assert!(client.is_closed_soon().await, "{what}");
    });
    eventually(what, || world.counts().instances == 0);
}

fn settings() -> Settings {
    Settings { tick: Duration::from_millis(10), ..Settings::default() }
}

#[test]
fn a_client_that_ends_its_half_is_gone() {
    check("the end of the stream", settings(), async |_, client| {
        client.end_stream();
        assert_eq!(client.heard().await, None);
    });
}

#[test]
fn a_client_that_resets_its_stream_is_gone() {
    check("a reset", settings(), async |_, client| client.reset_stream());
}

#[test]
fn a_client_that_resets_its_stream_in_the_middle_of_a_message_is_gone() {
    check("a reset in a message", settings(), async |_, client| {
        let whole = encode("ClientDetectionResponse", &[], b"{}");
        client.say_raw(&whole[..whole.len() / 2]);
        client.reset_stream();
    });
}

#[test]
fn a_client_that_resets_its_stream_while_it_is_told_something_is_gone() {
    let world = World::with(settings());
    run(async {
        // No window: what it is told waits for it.
        let mut client = Client::connect_taking(world.address, 0).await;
        client.open_stream().await;
        client.say("ConnectionSetupRequest", json!({"abilityTable": {}}));
        let answer = client.call_raw("/nobody/knows", Vec::new()).await;
        assert_eq!(answer.status, "12", "it was read, and what was before it");
        client.reset_stream();
        assert!(client.is_closed_soon().await);
    });
}

#[test]
fn a_client_that_sends_no_messages_but_bytes_is_gone() {
    check("a frame that is none", settings(), async |_, client| client.say_raw(&[7; 64]));
    check("a message that is too long", settings(), async |_, client| {
        let length = u32::try_from(limits::GRPC_STREAM_MESSAGE_BYTES_MAX + 1).expect("small");
        client.say_raw(&[&[0], &length.to_be_bytes()[..]].concat());
    });
}

#[test]
fn a_client_whose_message_takes_too_long_is_gone() {
    let settings = Settings { body_timeout: Duration::from_millis(100), ..settings() };
    check("half a message", settings, async |_, client| client.say_raw(&[0, 0, 0]));
}

#[test]
fn a_newcomer_that_sends_too_much_is_gone() {
    let world = World::with(settings());
    run(async {
        let mut client = Client::connect(world.address).await;
        client.open_stream().await;
        client.say_raw(&vec![0; limits::GRPC_NEWCOMER_BYTES_MAX + 1]);
        assert!(client.is_closed_soon().await);
    });
}

#[test]
fn a_stream_that_is_reset_before_it_has_begun_ends_the_connection() {
    let world = World::with(settings());
    run(async {
        let mut client = Client::connect(world.address).await;
        client.open_stream_and_reset().await;
        assert!(client.is_closed_soon().await);
    });
}

#[test]
fn a_second_stream_ends_nothing_however_it_ends() {
    let world = World::with(settings());
    run(async {
        let mut client = Client::set_up(world.address).await;
        register(&mut client, 80).await;
        client.open_stream_and_reset().await;
        let setup = encode("ConnectionSetupRequest", &[], b"{}");
        let answer = client.call_raw("/BiRequestStream/requestBiStream", setup).await;
        assert_eq!(answer.status, "9");
        client.done("HealthCheckRequest", json!({}), "HealthCheckResponse").await;
        assert_eq!(world.counts().instances, 1);
    });
}
