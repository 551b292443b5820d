//! Health that operators set by hand, the kinds of health checkers, and the greeting of naming.

use hyper::Method;
use nacolet_model::ClusterName;
use nacolet_registry::{HealthChecker, Request};
use serde_json::{Value, json};

use crate::call::{Answer, Call};
use crate::instance::{Dialect, done};
use crate::params::Params;
use crate::router::{Permission, Routes};
use crate::server::State;
use crate::shapes::CheckerShape;
use crate::status::Failure;
use crate::target::{self, Target};

pub(crate) fn routes(routes: &mut Routes) {
    let (read, write) = (Permission::NamingRead, Permission::NamingWrite);
    for path in ["/v1/ns/health", "/v1/ns/health/instance"] {
        routes
            .at(path)
            .later(Method::PUT, write, |state, call| done(state, call, Dialect::V1, set));
    }
    for path in ["/v2/ns/health", "/v2/ns/health/instance", "/v3/admin/ns/health/instance"] {
        routes
            .at(path)
            .later(Method::PUT, write, |state, call| done(state, call, Dialect::V2, set));
    }
    routes
        .at("/v1/ns/health/checkers")
        .now(Method::GET, read, |_, _| Ok(Answer::json(&checkers())));
    routes
        .at("/v3/admin/ns/health/checkers")
        .now(Method::GET, read, |_, _| Ok(Answer::result(&checkers())));
    routes.at("/v1/ns/health/server").now(Method::GET, Permission::Open, greeting).now(
        Method::POST,
        Permission::Open,
        greeting,
    );
}

fn set(_state: &State, params: &Params<'_>, target: Target<'_>) -> Result<Request, Failure> {
    let name = ["healthy", "valid"].into_iter().find(|name| params.text(name).is_some());
    let Some(name) = name else { return Err(Failure::missing("healthy")) };
    let (ip, port) = target::address(params)?;
    Ok(Request::SetHealth {
        service: target.key()?,
        ip: ip.into(),
        port,
        cluster: target::cluster(params)?.map(ClusterName::new).transpose()?,
        healthy: target::toggle(params, name, false),
    })
}

/// Every type of checker that is accepted, with its fields empty.
fn checkers() -> Value {
    let empty = || Box::<str>::default();
    let http = HealthChecker::Http { path: empty(), headers: empty(), expected_code: 200 };
    json!({
        "TCP": CheckerShape(&HealthChecker::Tcp),
        "HTTP": CheckerShape(&http),
        "NONE": CheckerShape(&HealthChecker::None),
    })
}

fn greeting(state: &State, _call: &Call) -> Result<Answer, Failure> {
    let services = state.registry().counts().services;
    let port = state.port.facts.http.port();
    let words = format!(
        "Hello! I am Nacos-Naming and healthy! total services: {services}, local port:{port}"
    );
    Ok(Answer::json(&json!({ "msg": words })))
}
