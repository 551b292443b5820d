//! `/v1/cs/capacity` and `/v1/cs/health`: what the config side says about itself (http-v1 §2.6).
//! Capacities are shown as Nacos's defaults; nothing is checked against them, as in Nacos by default.

use hyper::{Method, StatusCode};
use nacolet_model::{Namespace, limits};
use serde::Serialize;

use crate::about::{self, About};
use crate::call::{Answer, Ask, Envelope};
use crate::params::{Id, Parts};
use crate::router::{Permission, Routes};
use crate::server::State;
use crate::status::Failure;

pub(crate) fn routes(routes: &mut Routes) {
    routes.at("/v1/cs/capacity").now(Method::GET, Permission::Console, Of::decode, capacity).now(
        Method::POST,
        Permission::Admin,
        about::nothing,
        set_capacity,
    );
    routes.at("/v1/cs/health").now(Method::GET, Permission::Open, about::nothing, health);
}

/// What is counted.
enum Of {
    Namespace(Namespace),
    Group(Box<str>),
    Nothing,
}

impl Of {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        Ok(match (parts.id(Id::TENANT)?, parts.id(Id::GROUP)?) {
            (Some(tenant), _) => Self::Namespace(Namespace::parse(tenant)?),
            (None, Some(group)) => Self::Group(group.into()),
            (None, None) => Self::Nothing,
        })
    }
}

impl About for Of {}

fn capacity(state: &State, ask: &Ask<Of>) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Capacity {
        id: u64,
        quota: usize,
        usage: usize,
        max_size: usize,
        max_aggr_count: usize,
        max_aggr_size: usize,
        gmt_create: Option<String>,
        gmt_modified: Option<String>,
    }
    let configs = state.all_configs()?;
    let usage = match &ask.about {
        Of::Namespace(namespace) => configs.keys(namespace.as_str()).count(),
        Of::Group(group) => configs.configs().filter(|(key, _)| *key.group == **group).count(),
        Of::Nothing => {
            let words = "The parameter group and tenant cannot be empty at the same time";
            return Ok(refused(words, &None::<bool>));
        }
    };
    Ok(Answer::rest_result(&Capacity {
        id: 0,
        quota: limits::CONFIGS_MAX,
        usage,
        max_size: limits::CONTENT_BYTES_MAX,
        max_aggr_count: 0,
        max_aggr_size: 0,
        gmt_create: None,
        gmt_modified: None,
    }))
}

/// Limits of this node are fixed: saying otherwise would be a lie.
fn set_capacity(_state: &State, _ask: &Ask<()>) -> Result<Answer, Failure> {
    Ok(refused("capacities are fixed on this server", &false))
}

fn refused(words: &str, data: &impl Serialize) -> Answer {
    Answer::json(&Envelope { code: 400, message: Some(words), data })
        .status(StatusCode::BAD_REQUEST)
}

fn health(state: &State, _ask: &Ask<()>) -> Result<Answer, Failure> {
    let is_ready = state.port.stage.is_ready();
    Ok(Answer::text(if is_ready { "UP" } else { "DOWN:not ready" }))
}
