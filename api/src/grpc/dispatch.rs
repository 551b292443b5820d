//! From the class name of a request to its handler, and what is checked before any handler: is the
//! node up, is there a handler, is the connection set up, can the message be read (Nacos
//! `GrpcRequestAcceptor`, in this order).

use std::rc::Rc;

use hyper::body::Bytes;
use serde::Deserialize;

use super::client::Client;
use super::message::{Empty, Refusal, done, error, server_check};
use super::wire::Payload;
use super::{Zone, config, fuzzy, lock, naming};

/// The requests that have a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    HealthCheck,
    ConfigQuery,
    ConfigPublish,
    ConfigRemove,
    ConfigBatchListen,
    Instance,
    BatchInstance,
    PersistentInstance,
    ServiceQuery,
    ServiceList,
    SubscribeService,
    LockOperation,
    ConfigFuzzyWatch,
    NamingFuzzyWatch,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "HealthCheckRequest" => Self::HealthCheck,
            "ConfigQueryRequest" => Self::ConfigQuery,
            "ConfigPublishRequest" => Self::ConfigPublish,
            "ConfigRemoveRequest" => Self::ConfigRemove,
            "ConfigBatchListenRequest" => Self::ConfigBatchListen,
            "InstanceRequest" => Self::Instance,
            "BatchInstanceRequest" => Self::BatchInstance,
            "PersistentInstanceRequest" => Self::PersistentInstance,
            "ServiceQueryRequest" => Self::ServiceQuery,
            "ServiceListRequest" => Self::ServiceList,
            "SubscribeServiceRequest" => Self::SubscribeService,
            "LockOperationRequest" => Self::LockOperation,
            "ConfigFuzzyWatchRequest" => Self::ConfigFuzzyWatch,
            "NamingFuzzyWatchRequest" => Self::NamingFuzzyWatch,
            _ => return None,
        })
    }
}

/// Answers one unary request.
pub(super) async fn answer(zone: &Rc<Zone>, client: &Rc<Client>, payload: &Payload) -> Bytes {
    let refused = |refusal| error(request_id(payload).as_deref(), &refusal);
    if payload.kind() == "ServerCheckRequest" {
        // For some clients the only sign of life while they are idle.
        client.touch();
        return server_check(client, request_id(payload).as_deref());
    }
    if !zone.state.port.stage.is_open() {
        return refused(Refusal::STARTING);
    }
    let Some(kind) = Kind::of(payload.kind()) else { return refused(Refusal::NO_HANDLER) };
    if !client.is_registered() {
        return refused(Refusal::UNREGISTERED);
    }
    client.touch();
    match handle(zone, client, kind, payload).await {
        Ok(answer) => answer,
        Err(undecodable) => refused(Refusal::undecodable(&undecodable)),
    }
}

async fn handle(
    zone: &Rc<Zone>,
    client: &Rc<Client>,
    kind: Kind,
    payload: &Payload,
) -> serde_json::Result<Bytes> {
    Ok(match kind {
        Kind::HealthCheck => done("HealthCheckResponse", request_id(payload).as_deref(), Empty {}),
        Kind::ConfigQuery => config::query(zone, client, payload, &read(payload)?),
        Kind::ConfigPublish => Box::pin(config::publish(zone, client, read(payload)?)).await,
        Kind::ConfigRemove => Box::pin(config::remove(zone, client, read(payload)?)).await,
        Kind::ConfigBatchListen => config::listen(zone, client, payload, &read(payload)?),
        Kind::Instance => Box::pin(naming::publish_one(zone, client, read(payload)?)).await,
        Kind::BatchInstance => Box::pin(naming::publish_batch(zone, client, read(payload)?)).await,
        Kind::PersistentInstance => {
            Box::pin(naming::publish_persistent(zone, client, read(payload)?)).await
        }
        Kind::ServiceQuery => naming::query(zone, &read(payload)?),
        Kind::ServiceList => naming::list(zone, &read(payload)?),
        Kind::SubscribeService => naming::subscribe(zone, client, &read(payload)?),
        Kind::ConfigFuzzyWatch => fuzzy::watch_configs(zone, client, &read(payload)?),
        Kind::NamingFuzzyWatch => fuzzy::watch_services(zone, client, &read(payload)?),
        Kind::LockOperation => Box::pin(lock::operate(zone, read(payload)?)).await,
    })
}

fn read<'a, T: Deserialize<'a>>(payload: &'a Payload) -> serde_json::Result<T> {
    serde_json::from_slice(payload.json())
}

/// The number of a request whose other fields do not matter; an unreadable request has none.
fn request_id(payload: &Payload) -> Option<String> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Numbered {
        request_id: Option<String>,
    }
    read::<Numbered>(payload).unwrap_or_default().request_id
}
