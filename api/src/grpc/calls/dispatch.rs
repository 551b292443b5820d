//! From the class name of a request to its handler, and what is checked before any handler: is the
//! node up, is there a handler, is the connection set up, can the message be read (Nacos
//! `GrpcRequestAcceptor`, in this order).

use std::rc::Rc;

use nacolet_auth::Action;
use nacolet_model::limits;

use crate::grpc::calls::permission::Need;
use crate::grpc::calls::{config, fuzzy, lock, naming, permission};
use crate::grpc::client::{Client, pattern};
use crate::grpc::message::kind::{OnlyRequestId, RequestKind, request_id};
use crate::grpc::message::read::Unread;
use crate::grpc::message::wire::Payload;
use crate::grpc::message::{Empty, Refusal, Reply, done, error, server_check};
use crate::grpc::zone::{Asker, GrpcZone};
use crate::http::json::object;

/// Answers one unary request.
pub(crate) async fn answer(zone: &Rc<GrpcZone>, client: &Rc<Client>, payload: &Payload) -> Reply {
    let refused = |refusal| Reply::from(error(request_id(payload).as_deref(), &refusal));
    if payload.kind() == "ServerCheckRequest" {
        // For some clients the only sign of life while they are idle.
        client.touch();
        return server_check(client, request_id(payload).as_deref()).into();
    }
    if !zone.state.port.stage.is_open() {
        return refused(Refusal::STARTING);
    }
    let known = RequestKind::of(payload.kind());
    let is_of_members = RequestKind::is_of_members(payload.kind());
    let Some(kind) = known else {
        return refused(match (is_of_members, client.is_registered()) {
            (false, _) => Refusal::NO_HANDLER,
            (true, false) => Refusal::UNREGISTERED,
            (true, true) => Refusal::FORBIDDEN,
        });
    };
    if !client.is_registered() {
        return refused(Refusal::UNREGISTERED);
    }
    client.touch();
    if kind != RequestKind::HealthCheck {
        client.act();
    }
    let user = match permission::user(zone, kind, payload) {
        Ok(user) => user,
        // Java logs in again for the answer of its request only, and not for a bare error.
        Err(denied) => {
            return permission::denied(kind, request_id(payload).as_deref(), denied).into();
        }
    };
    client.shows(&user);
    let asked = match read(kind, payload).await {
        Ok(asked) => asked,
        Err(Unread::Undecodable(error)) => return refused(Refusal::undecodable(&error)),
        Err(Unread::Refused(answer)) => return answer.into(),
    };
    if let Err(denied) = permission::check(zone, user.as_deref(), &asked.need()) {
        return permission::denied(kind, request_id(payload).as_deref(), denied).into();
    }
    let tag = payload.header("Vipserver-Tag");
    let from = Asker { zone, client, tag, user };
    handle(&from, asked).await
}

/// Reads a request. A long one is read on a thread of its own.
async fn read(kind: RequestKind, payload: &Payload) -> Result<GrpcRequest, Unread> {
    if payload.json().len() > limits::INLINE_BYTES_MAX {
        let json = payload.shared_json();
        return smol::unblock(move || GrpcRequest::read(kind, &json)).await;
    }
    GrpcRequest::read(kind, payload.json())
}

/// A request as its handler gets it: read once, with what it is about as a checked value.
enum GrpcRequest {
    HealthCheck(Option<String>),
    ConfigQuery(config::ConfigQueryRequest),
    ConfigPublish(config::ConfigPublishRequest),
    ConfigRemove(config::Removing),
    ConfigBatchListen(config::BatchListen),
    Instance(naming::InstanceRequest),
    BatchInstance(naming::InstanceRequest),
    PersistentInstance(naming::InstanceRequest),
    ServiceQuery(naming::ServiceQueryRequest),
    ServiceList(naming::Listing),
    SubscribeService(naming::Subscribing),
    LockOperation(lock::Operation),
    FuzzyWatch(fuzzy::Watching),
}

impl GrpcRequest {
    fn read(kind: RequestKind, json: &[u8]) -> Result<Self, Unread> {
        Ok(match kind {
            RequestKind::HealthCheck => {
                Self::HealthCheck(object::<OnlyRequestId>(json)?.request_id)
            }
            RequestKind::ConfigQuery => Self::ConfigQuery(config::ConfigQueryRequest::read(json)?),
            RequestKind::ConfigPublish => {
                Self::ConfigPublish(config::ConfigPublishRequest::read(json)?)
            }
            RequestKind::ConfigRemove => Self::ConfigRemove(config::Removing::read(json)?),
            RequestKind::ConfigBatchListen => {
                Self::ConfigBatchListen(config::BatchListen::read(json)?)
            }
            RequestKind::Instance => Self::Instance(naming::InstanceRequest::read(kind, json)?),
            RequestKind::BatchInstance => {
                Self::BatchInstance(naming::InstanceRequest::read(kind, json)?)
            }
            RequestKind::PersistentInstance => {
                Self::PersistentInstance(naming::InstanceRequest::read(kind, json)?)
            }
            RequestKind::ServiceQuery => {
                Self::ServiceQuery(naming::ServiceQueryRequest::read(json)?)
            }
            RequestKind::ServiceList => Self::ServiceList(naming::Listing::read(json)?),
            RequestKind::SubscribeService => {
                Self::SubscribeService(naming::Subscribing::read(json)?)
            }
            RequestKind::LockOperation => Self::LockOperation(lock::Operation::read(json)?),
            RequestKind::ConfigFuzzyWatch => {
                Self::FuzzyWatch(fuzzy::Watching::read(pattern::WatchedKind::Config, json)?)
            }
            RequestKind::NamingFuzzyWatch => {
                Self::FuzzyWatch(fuzzy::Watching::read(pattern::WatchedKind::Service, json)?)
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
            Self::ServiceQuery(query) => match &query.service {
                Some(service) => Need::To(Read, service),
                None => Need::User,
            },
            Self::ServiceList(listing) => Need::To(Read, &listing.of),
            Self::SubscribeService(subscribing) => Need::To(Read, &subscribing.service),
            Self::FuzzyWatch(watching) => Need::To(Read, &watching.of),
        }
    }
}

async fn handle(from: &Asker<'_>, asked: GrpcRequest) -> Reply {
    let answer = match asked {
        GrpcRequest::ConfigQuery(query) => return Box::pin(config::query(from, &query)).await,
        GrpcRequest::HealthCheck(id) => done("HealthCheckResponse", id.as_deref(), Empty {}),
        GrpcRequest::ConfigPublish(request) => Box::pin(config::publish(from, request)).await,
        GrpcRequest::ConfigRemove(request) => Box::pin(config::remove(from, request)).await,
        GrpcRequest::ConfigBatchListen(request) => Box::pin(config::listen(from, request)).await,
        GrpcRequest::Instance(request) => Box::pin(naming::publish_one(from, request)).await,
        GrpcRequest::BatchInstance(request) => Box::pin(naming::publish_batch(from, request)).await,
        GrpcRequest::PersistentInstance(request) => {
            Box::pin(naming::publish_persistent(from, request)).await
        }
        GrpcRequest::ServiceQuery(query) => return naming::query(from, &query),
        GrpcRequest::ServiceList(listing) => return naming::list(from, &listing),
        GrpcRequest::SubscribeService(request) => return naming::subscribe(from, request),
        GrpcRequest::FuzzyWatch(request) => Box::pin(fuzzy::answer(from, request)).await,
        GrpcRequest::LockOperation(request) => Box::pin(lock::operate(from, request)).await,
    };
    answer.into()
}

/// Requests without connections. Only with the feature `fuzzing`.
#[cfg(feature = "fuzzing")]
pub mod requests {
    use super::GrpcRequest;
    use crate::grpc::message::kind::RequestKind;
    use crate::grpc::message::wire::Frames;

    /// Whether the JSON of a request of this type is read; none where no type has this name.
    #[must_use]
    pub fn is_read(kind: &str, json: &[u8]) -> Option<bool> {
        RequestKind::of(kind).map(|kind| GrpcRequest::read(kind, json).is_ok())
    }

    /// Type and JSON of the messages in a stream of bytes that arrive in two parts, up to the first
    /// that is none.
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
