//! `/v1/cs/capacity`, `/v3/admin/cs/capacity` and `/v1/cs/health`: what the config side says about
//! itself (docs/nacos/http-v1.md, "Capacity and health"). Capacities are shown as Nacos's defaults;
//! nothing is checked against them, as in Nacos by default.

use hyper::{Method, StatusCode};
use nacolet_auth::{Action, Kind};
use nacolet_model::Namespace;
use serde::Serialize;

use crate::access::about;
use crate::access::about::{About, Everything, Permits, Whole};
use crate::access::rule::Permission;
use crate::http::answer::{Envelope, HttpAnswer};
use crate::http::failure::{Code, Failure};
use crate::http::params::{Fields, Id, Parts, field};
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

/// What Nacos shows where nobody has set anything.
const QUOTA: u32 = 200;
const MAX_SIZE: u32 = 100 << 10;
const MAX_AGGR_COUNT: u32 = 10_000;
const MAX_AGGR_SIZE: u32 = 1_024;

pub(crate) fn routes(routes: &mut Routes) {
    let v1 = |parts: &Parts<'_>| Of::decode(parts, Id::TENANT, Id::GROUP);
    let v3 = |parts: &Parts<'_>| Of::decode(parts, Id::NAMESPACE_ID, Id::GROUP_NAME);
    routes.at("/v1/cs/capacity").now(Method::GET, Permission::ConfigRead, v1, capacity).now(
        Method::POST,
        Permission::Admin,
        v1,
        set_capacity,
    );
    routes.at("/v3/admin/cs/capacity").now(Method::GET, Permission::ConfigRead, v3, capacity).now(
        Method::POST,
        Permission::Admin,
        v3,
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
    fn decode(parts: &Parts<'_>, namespace: Id, group: Id) -> Result<Self, Failure> {
        Ok(match (parts.id(namespace)?, parts.id(group)?) {
            (Some(namespace), _) => Self::Namespace(Namespace::parse(namespace)?),
            (None, Some(group)) => Self::Group(group.into()),
            (None, None) => Self::Nothing,
        })
    }
}

impl About for Of {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        match self {
            Self::Namespace(namespace) => {
                let (kind, namespace) = (Kind::Config, namespace.clone());
                Whole { kind, namespace }.is_permitted(action, permits)
            }
            // It may be in any namespace.
            Self::Group(_) => Everything(Kind::Config).is_permitted(action, permits),
            // The answer says that something must be named.
            Self::Nothing => true,
        }
    }
}

fn capacity(state: &State, ask: &Ask<Of>) -> Result<HttpAnswer, Failure> {
    /// `Capacity` of Nacos, and what it is of.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Capacity<'a> {
        id: &'static str,
        quota: u32,
        usage: usize,
        max_size: u32,
        max_aggr_count: u32,
        max_aggr_size: u32,
        gmt_create: Option<&'a str>,
        gmt_modified: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tenant: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        group_name: Option<&'a str>,
    }
    let configs = state.all_configs()?;
    let (usage, namespace, group) = match &ask.about {
        Of::Namespace(namespace) => {
            let namespace = namespace.as_str();
            (configs.keys(namespace).count(), Some(namespace), None)
        }
        Of::Group(group) => {
            let usage = configs.configs().filter(|(key, _)| *key.group == **group).count();
            (usage, None, Some(&**group))
        }
        Of::Nothing => return nothing_named(ask.is_v3, &None::<bool>),
    };
    let is = |v3: bool, text| if v3 == ask.is_v3 { text } else { None };
    let capacity = Capacity {
        id: "0",
        quota: QUOTA,
        usage,
        max_size: MAX_SIZE,
        max_aggr_count: MAX_AGGR_COUNT,
        max_aggr_size: MAX_AGGR_SIZE,
        gmt_create: None,
        gmt_modified: None,
        tenant: is(false, namespace),
        namespace_id: is(true, namespace),
        group: is(false, group),
        group_name: is(true, group),
    };
    Ok(if ask.is_v3 { HttpAnswer::result(&capacity) } else { HttpAnswer::rest_result(&capacity) })
}

/// Nothing is checked against a capacity, so none is kept: saying otherwise would be a lie.
fn set_capacity(_state: &State, ask: &Ask<Of>) -> Result<HttpAnswer, Failure> {
    if matches!(ask.about, Of::Nothing) {
        return nothing_named(ask.is_v3, &false);
    }
    if !says_something(&ask.params)? {
        let words = "quota, maxSize, maxAggrCount, maxAggrSize cannot be empty at the same time";
        return refused(ask.is_v3, StatusCode::BAD_REQUEST, words);
    }
    let words = "capacities are fixed on this server, and nothing is checked against them";
    if ask.is_v3 {
        return Err(Failure::disabled(words));
    }
    refused(false, StatusCode::NOT_IMPLEMENTED, words)
}

/// Whether there is a number to set, where all that are there are numbers.
fn says_something(params: &Fields) -> Result<bool, Failure> {
    let fields = [field::QUOTA, field::MAX_SIZE, field::MAX_AGGR_COUNT, field::MAX_AGGR_SIZE];
    let mut found = false;
    for field in fields {
        found |= params.number::<i32>(field)?.is_some();
    }
    Ok(found)
}

fn nothing_named(is_v3: bool, data: &impl Serialize) -> Result<HttpAnswer, Failure> {
    if is_v3 {
        let words = "At least one of the parameters (groupName or namespaceId) must be provided";
        return Err(Failure::invalid_as(Code::PARAMETER_MISSING, words));
    }
    let words = "The parameter group and tenant cannot be empty at the same time";
    let envelope = Envelope { code: 400, message: Some(words), data };
    Ok(HttpAnswer::json(&envelope).status(StatusCode::BAD_REQUEST))
}

fn refused(is_v3: bool, status: StatusCode, words: &'static str) -> Result<HttpAnswer, Failure> {
    if is_v3 {
        return Err(Failure::new(status, Code::SERVER_ERROR, words));
    }
    let code = u32::from(status.as_u16());
    Ok(HttpAnswer::json(&Envelope { code, message: Some(words), data: &false }).status(status))
}

fn health(state: &State, _ask: &Ask<()>) -> Result<HttpAnswer, Failure> {
    let is_ready = state.port.stage.is_ready();
    Ok(HttpAnswer::text(if is_ready { "UP" } else { "DOWN:not ready" }))
}
