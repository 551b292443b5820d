//! Whether the caller of a request may make it: the token is in the headers of the payload, and
//! what the request is about is the value that its handler gets, so that no two readings of it can
//! differ.

use std::sync::Arc;

use hyper::body::Bytes;
use nacolet_auth::Action;

use crate::access::Login;
use crate::access::about::About;
use crate::access::denied::Denied;
use crate::grpc::message::kind::RequestKind;
use crate::grpc::message::wire::Payload;
use crate::grpc::message::{Empty, Refusal, failed};
use crate::grpc::zone::GrpcZone;
use crate::http::failure::Failure;

/// What a request needs.
pub(crate) enum Need<'r> {
    /// Nothing: it says that the client lives.
    Nothing,
    /// A user; locks have no namespace, they are for every user.
    User,
    /// To do this with what the request is about.
    To(Action, &'r dyn About),
}

/// The user, where there are users and the kind of request needs one.
pub(crate) fn user(
    zone: &GrpcZone,
    kind: RequestKind,
    payload: &Payload,
) -> Result<Option<Arc<Login>>, Denied> {
    let access = &zone.state.access;
    if !access.is_on() || kind == RequestKind::HealthCheck {
        return Ok(None);
    }
    let token = payload.header("accessToken").unwrap_or_default();
    access.login_of(zone.state.now(), token).map(Some)
}

/// Whether the user may do what a request needs.
pub(crate) fn check(zone: &GrpcZone, user: Option<&Login>, need: &Need<'_>) -> Result<(), Denied> {
    let access = &zone.state.access;
    match need {
        Need::Nothing => Ok(()),
        Need::User => access.check_user(user),
        Need::To(action, about) => access.permits(user, *action, *about),
    }
}

/// The answer to a request that is not permitted.
pub(crate) fn denied(kind: RequestKind, request_id: Option<&str>, denied: Denied) -> Bytes {
    failed(kind.response(), request_id, &Refusal::from(Failure::from(denied)), Empty {})
}
