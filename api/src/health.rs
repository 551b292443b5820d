//! Health that operators set by hand, the kinds of health checkers, and the greeting of naming.

use hyper::Method;
use nacolet_model::{ClusterName, ServiceKey};
use nacolet_registry::{HealthChecker, Request};
use serde_json::{Value, json};

use crate::about;
use crate::address;
use crate::call::{Answer, Ask};
use crate::instance::{Dialect, done};
use crate::params::{Fields, field};
use crate::router::{Permission, Routes};
use crate::server::State;
use crate::shapes::CheckerShape;
use crate::status::Failure;

pub(crate) fn routes(routes: &mut Routes) {
    let (look, write) = (Permission::Console, Permission::NamingWrite);
    for path in ["/v1/ns/health", "/v1/ns/health/instance"] {
        routes.at(path).later(Method::PUT, write, about::service_grouped, |state, ask| {
            done(state, ask, Dialect::V1, set)
        });
    }
    for path in ["/v2/ns/health", "/v2/ns/health/instance", "/v3/admin/ns/health/instance"] {
        routes.at(path).later(Method::PUT, write, about::service_apart, |state, ask| {
            done(state, ask, Dialect::V2, set)
        });
    }
    routes
        .at("/v1/ns/health/checkers")
        .now(Method::GET, look, about::nothing, |_, _| Ok(Answer::json(&checkers())));
    routes
        .at("/v3/admin/ns/health/checkers")
        .now(Method::GET, look, about::nothing, |_, _| Ok(Answer::result(&checkers())));
    let open = Permission::Open;
    routes.at("/v1/ns/health/server").now(Method::GET, open, about::nothing, greeting).now(
        Method::POST,
        open,
        about::nothing,
        greeting,
    );
}

fn set(_state: &State, params: &Fields, service: ServiceKey) -> Result<Request, Failure> {
    let name = [field::HEALTHY, field::VALID].into_iter().find(|name| params.text(*name).is_some());
    let Some(name) = name else { return Err(Failure::missing("healthy")) };
    let (ip, port) = address::address(params)?;
    Ok(Request::SetHealth {
        service,
        ip: ip.into(),
        port,
        cluster: address::cluster(params)?.map(ClusterName::new).transpose()?,
        healthy: address::toggle(params, name, false),
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

fn greeting(state: &State, ask: &Ask<()>) -> Result<Answer, Failure> {
    let mut words = "Hello! I am Nacos-Naming and healthy!".to_owned();
    // Whoever is nobody here hears no numbers.
    if state.access.check_user(ask.user.as_deref()).is_ok() {
        let services = state.registry().counts().services;
        let port = state.port.facts.http.port();
        words = format!("{words} total services: {services}, local port:{port}");
    }
    Ok(Answer::json(&json!({ "msg": words })))
}
