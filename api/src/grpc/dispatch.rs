//! From the class name of a request to its handler, and what is checked before any handler: is the
//! node up, is there a handler, is the connection set up, can the message be read (Nacos
//! `GrpcRequestAcceptor`, in this order).

use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Bytes;
use nacolet_auth::Action;
use nacolet_model::limits;
use serde::Deserialize;

use super::client::Client;
use super::message::{Empty, Refusal, done, error, server_check};
use super::permission::Need;
use super::wire::Payload;
use super::{Zone, config, fuzzy, lock, naming, pattern, permission};
use crate::access::Login;
use crate::json::object;

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
    let user = match permission::user(zone, kind, payload) {
        Ok(user) => user,
        // Java logs in again for the answer of its request only, and not for a bare error.
        Err(denied) => return permission::denied(kind, request_id(payload).as_deref(), denied),
    };
    let asked = match read(kind, payload).await {
        Ok(asked) => asked,
        Err(Unread::Undecodable(error)) => return refused(Refusal::undecodable(&error)),
        Err(Unread::Refused(answer)) => return answer,
    };
    if let Err(denied) = permission::check(zone, user.as_deref(), &asked.need()) {
        return permission::denied(kind, request_id(payload).as_deref(), denied);
    }
    let tag = payload.header("Vipserver-Tag");
    let from = From { zone, client, tag, user };
    handle(&from, asked).await
}

/// Reads a request. A long one is read on a thread of its own.
async fn read(kind: Kind, payload: &Payload) -> Result<Asked, Unread> {
    if payload.json().len() > limits::INLINE_BYTES_MAX {
        let json = payload.shared_json();
        return smol::unblock(move || Asked::read(kind, &json)).await;
    }
    Asked::read(kind, payload.json())
}

/// Where a request comes from.
pub(super) struct From<'c> {
    pub(super) zone: &'c Rc<Zone>,
    pub(super) client: &'c Rc<Client>,
    /// The tag in the headers of its payload.
    pub(super) tag: Option<&'c str>,
    /// Who makes it; with authentication off nobody is known.
    pub(super) user: Option<Arc<Login>>,
}

impl From<'_> {
    /// The name of the user.
    pub(super) fn user_name(&self) -> Option<&str> {
        self.user.as_deref().map(Login::name)
    }
}

/// Why a request is not read.
pub(super) enum Unread {
    /// It is no JSON of its kind.
    Undecodable(serde_json::Error),
    /// Something in it is not right: the answer that says so.
    Refused(Bytes),
}

impl std::convert::From<serde_json::Error> for Unread {
    fn from(error: serde_json::Error) -> Self {
        Self::Undecodable(error)
    }
}

/// A request as its handler gets it: read once, with what it is about as a checked value.
enum Asked {
    HealthCheck(Option<String>),
    ConfigQuery(config::Query),
    ConfigPublish(config::Publishing),
    ConfigRemove(config::Removing),
    ConfigBatchListen(config::BatchListen),
    Instance(naming::Publishing),
    BatchInstance(naming::Publishing),
    PersistentInstance(naming::Publishing),
    ServiceQuery(naming::Query),
    ServiceList(naming::Listing),
    SubscribeService(naming::Subscribing),
    LockOperation(lock::Operation),
    FuzzyWatch(fuzzy::Watching),
}

impl Asked {
    fn read(kind: Kind, json: &[u8]) -> Result<Self, Unread> {
        Ok(match kind {
            Kind::HealthCheck => Self::HealthCheck(object::<Numbered>(json)?.request_id),
            Kind::ConfigQuery => Self::ConfigQuery(config::Query::read(json)?),
            Kind::ConfigPublish => Self::ConfigPublish(config::Publishing::read(json)?),
            Kind::ConfigRemove => Self::ConfigRemove(config::Removing::read(json)?),
            Kind::ConfigBatchListen => Self::ConfigBatchListen(config::BatchListen::read(json)?),
            Kind::Instance => Self::Instance(naming::Publishing::read(kind, json)?),
            Kind::BatchInstance => Self::BatchInstance(naming::Publishing::read(kind, json)?),
            Kind::PersistentInstance => {
                Self::PersistentInstance(naming::Publishing::read(kind, json)?)
            }
            Kind::ServiceQuery => Self::ServiceQuery(naming::Query::read(json)?),
            Kind::ServiceList => Self::ServiceList(naming::Listing::read(json)?),
            Kind::SubscribeService => Self::SubscribeService(naming::Subscribing::read(json)?),
            Kind::LockOperation => Self::LockOperation(lock::Operation::read(json)?),
            Kind::ConfigFuzzyWatch => {
                Self::FuzzyWatch(fuzzy::Watching::read(pattern::Kind::Config, json)?)
            }
            Kind::NamingFuzzyWatch => {
                Self::FuzzyWatch(fuzzy::Watching::read(pattern::Kind::Service, json)?)
            }
        })
    }

    fn need(&self) -> Need<'_> {
        use Action::{Read, Write};
        match self {
            Self::HealthCheck(_) => Need::Nothing,
            Self::LockOperation(_) => Need::User,
            Self::ConfigQuery(query) => Need::To(Read, &query.key),
            Self::ConfigPublish(publishing) => Need::To(Write, &publishing.key),
            Self::ConfigRemove(removing) => Need::To(Write, &removing.key),
            Self::ConfigBatchListen(listen) => Need::To(Read, &listen.keys),
            Self::Instance(publishing)
            | Self::BatchInstance(publishing)
            | Self::PersistentInstance(publishing) => Need::To(Write, &publishing.service),
            Self::ServiceQuery(query) => Need::To(Read, &query.service),
            Self::ServiceList(listing) => Need::To(Read, &listing.of),
            Self::SubscribeService(subscribing) => Need::To(Read, &subscribing.service),
            Self::FuzzyWatch(watching) => Need::To(Read, &watching.of),
        }
    }
}

async fn handle(from: &From<'_>, asked: Asked) -> Bytes {
    match asked {
        Asked::HealthCheck(id) => done("HealthCheckResponse", id.as_deref(), Empty {}),
        Asked::ConfigQuery(query) => config::query(from, &query),
        Asked::ConfigPublish(request) => Box::pin(config::publish(from, request)).await,
        Asked::ConfigRemove(request) => Box::pin(config::remove(from, request)).await,
        Asked::ConfigBatchListen(request) => config::listen(from, request),
        Asked::Instance(request) => Box::pin(naming::publish_one(from, request)).await,
        Asked::BatchInstance(request) => Box::pin(naming::publish_batch(from, request)).await,
        Asked::PersistentInstance(request) => {
            Box::pin(naming::publish_persistent(from, request)).await
        }
        Asked::ServiceQuery(query) => naming::query(from.zone, &query),
        Asked::ServiceList(listing) => naming::list(from.zone, &listing),
        Asked::SubscribeService(request) => naming::subscribe(from, request),
        Asked::FuzzyWatch(request) => fuzzy::answer(from, request),
        Asked::LockOperation(request) => Box::pin(lock::operate(from.zone, request)).await,
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Numbered {
    request_id: Option<String>,
}

/// The number of a request whose other fields do not matter; an unreadable request has none, and neither has
/// one that is too long to be read for nothing else.
fn request_id(payload: &Payload) -> Option<String> {
    if payload.json().len() > limits::INLINE_BYTES_MAX {
        return None;
    }
    object::<Numbered>(payload.json()).unwrap_or_default().request_id
}

/// Requests without connections. Only with the feature `fuzzing`.
#[cfg(feature = "fuzzing")]
pub mod requests {
    use super::super::wire::Frames;
    use super::{Asked, Kind};

    /// Whether the JSON of a request of this type is read; none where no type has this name.
    #[must_use]
    pub fn is_read(kind: &str, json: &[u8]) -> Option<bool> {
        Kind::of(kind).map(|kind| Asked::read(kind, json).is_ok())
    }

    /// Type and JSON of the messages in a stream of bytes that arrive in two parts, up to the first that is
    /// none.
    #[must_use]
    pub fn messages(first: &[u8], second: &[u8], bytes_max: usize) -> Vec<(String, Vec<u8>)> {
        let (mut frames, mut messages) = (Frames::new(bytes_max), Vec::new());
        for part in [first, second] {
            frames.push(part);
            loop {
                match frames.next() {
                    Ok(Some(payload)) => {
                        messages.push((payload.kind().to_owned(), payload.json().to_vec()));
                    }
                    Ok(None) => break,
                    Err(_) => return messages,
                }
            }
        }
        messages
    }
}
