//! From the class name of a request to its handler, and what is checked before any handler: is the
//! node up, is there a handler, is the connection set up, can the message be read (Nacos
//! `GrpcRequestAcceptor`, in this order).

use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Bytes;
use serde::Deserialize;

use super::client::Client;
use super::message::{Empty, Refusal, done, error, server_check};
use super::wire::Payload;
use super::{Zone, config, fuzzy, lock, naming, permission};

/// The requests that have a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
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

    /// Class name of the answer.
    pub(super) const fn response(self) -> &'static str {
        match self {
            Self::HealthCheck => "HealthCheckResponse",
            Self::ConfigQuery => "ConfigQueryResponse",
            Self::ConfigPublish => "ConfigPublishResponse",
            Self::ConfigRemove => "ConfigRemoveResponse",
            Self::ConfigBatchListen => "ConfigChangeBatchListenResponse",
            Self::Instance | Self::PersistentInstance => "InstanceResponse",
            Self::BatchInstance => "BatchInstanceResponse",
            Self::ServiceQuery => "QueryServiceResponse",
            Self::ServiceList => "ServiceListResponse",
            Self::SubscribeService => "SubscribeServiceResponse",
            Self::LockOperation => "LockOperationResponse",
            Self::ConfigFuzzyWatch => "ConfigFuzzyWatchResponse",
            Self::NamingFuzzyWatch => "NamingFuzzyWatchResponse",
        }
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
    if kind != Kind::HealthCheck {
        client.act();
    }
    let user = match permission::check(zone, kind, payload) {
        // Java logs in again for the answer of its request only, and not for a bare error.
        Ok(Err(denied)) => return permission::denied(kind, request_id(payload).as_deref(), denied),
        Ok(Ok(user)) => user,
        Err(undecodable) => return refused(Refusal::undecodable(&undecodable)),
    };
    match handle(zone, client, user, kind, payload).await {
        Ok(answer) => answer,
        Err(undecodable) => refused(Refusal::undecodable(&undecodable)),
    }
}

async fn handle(
    zone: &Rc<Zone>,
    client: &Rc<Client>,
    user: Option<Arc<str>>,
    kind: Kind,
    payload: &Payload,
) -> serde_json::Result<Bytes> {
    Ok(match kind {
        Kind::HealthCheck => done("HealthCheckResponse", request_id(payload).as_deref(), Empty {}),
        Kind::ConfigQuery => config::query(zone, client, payload, &read(payload)?),
        Kind::ConfigPublish => Box::pin(config::publish(zone, client, user, read(payload)?)).await,
        Kind::ConfigRemove => Box::pin(config::remove(zone, client, user, read(payload)?)).await,
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

pub(super) fn read<'a, T: Deserialize<'a>>(payload: &'a Payload) -> serde_json::Result<T> {
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
