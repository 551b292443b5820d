//! What v1 and v2 say differently.

use std::sync::Arc;

use nacolet_model::ServiceKey;
use nacolet_registry::{Registry, Request, Service};

use crate::http::answer::HttpAnswer;
use crate::http::failure::Failure;
use crate::http::params::{Field, Fields};
use crate::naming::words::shapes::Grouped;
use crate::naming::words::{address, refused};
use crate::route::ask::Ask;
use crate::state::State;

/// How a family of paths names a service and says that something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `group@@service` in one parameter; the text `ok`.
    V1,
    /// Group and service apart, as in v3 too; `ok` in the envelope.
    V2,
}

impl Dialect {
    /// A boolean: v1 takes a word that means nothing for false, v2 and v3 refuse it.
    pub(crate) fn toggle(
        self,
        params: &Fields,
        name: Field,
        default: bool,
    ) -> Result<bool, Failure> {
        match self {
            Self::V1 => Ok(address::toggle(params, name, default)),
            Self::V2 => Ok(params.boolean(name)?.unwrap_or(default)),
        }
    }

    /// As [`Self::toggle`], where one was sent.
    pub(crate) fn given(self, params: &Fields, name: Field) -> Result<Option<bool>, Failure> {
        params.text(name).map(|_| self.toggle(params, name, false)).transpose()
    }

    /// It is done.
    pub(crate) fn ok(self) -> HttpAnswer {
        match self {
            Self::V1 => HttpAnswer::text("ok"),
            Self::V2 => HttpAnswer::result("ok"),
        }
    }
}

/// Turns what a call says about a service into a write.
pub(crate) type RequestReader =
    fn(&State, &Fields, ServiceKey, Dialect) -> Result<Request, Failure>;

/// A write whose answer is "ok".
pub(crate) async fn done(
    state: Arc<State>,
    ask: Ask<ServiceKey>,
    dialect: Dialect,
    read: RequestReader,
) -> Result<HttpAnswer, Failure> {
    let request = read(&state, &ask.params, ask.about.clone(), dialect)?;
    let unknown = refused::unknown_code(&request);
    match state.write_registry(request).await {
        Ok(_) => Ok(dialect.ok()),
        Err(error) => Err(refused::failure_as(error, Grouped::of(&ask.about), unknown)),
    }
}

/// The service with this key.
pub(crate) fn find<'r>(registry: &'r Registry, key: &ServiceKey) -> Option<&'r Service> {
    registry.service(key.namespace.as_str(), key.group.as_str(), key.name.as_str())
}

/// Whether an answer about this service alone says anything that was agreed.
pub(crate) fn was_agreed(service: Option<&Service>) -> bool {
    service.is_none_or(Service::was_agreed)
}
