//! Health that operators set by hand, the kinds of health checkers, and the greeting of naming.

use hyper::Method;
use nacolet_model::{ClusterName, ServiceKey};
use nacolet_registry::Request;
use serde_json::{Value, json};

use crate::access::about;
use crate::access::rule::Permission;
use crate::http::answer::HttpAnswer;
use crate::http::failure::Failure;
use crate::http::params::{Fields, field};
use crate::naming::words::address;
use crate::naming::words::dialect::{Dialect, done};
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

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
        .now(Method::GET, look, about::nothing, |_, _| Ok(HttpAnswer::json(&checkers())));
    routes
        .at("/v3/admin/ns/health/checkers")
        .now(Method::GET, look, about::nothing, |_, _| Ok(HttpAnswer::result(&checkers())));
    let open = Permission::Open;
    routes.at("/v1/ns/health/server").now(Method::GET, open, about::nothing, greeting).now(
        Method::POST,
        open,
        about::nothing,
        greeting,
    );
}

fn set(
    _state: &State,
    params: &Fields,
    service: ServiceKey,
    dialect: Dialect,
) -> Result<Request, Failure> {
    let name = [field::HEALTHY, field::VALID].into_iter().find(|name| params.text(*name).is_some());
    let Some(name) = name else { return Err(Failure::missing("healthy")) };
    let (ip, port) = address::address(params)?;
    Ok(Request::SetHealth {
        service,
        ip: ip.into(),
        port,
        cluster: address::cluster(params)?.map(ClusterName::new).transpose()?,
        healthy: dialect.toggle(params, name, false)?,
    })
}

/// Every type of checker of Nacos with its fields as they are where nobody says otherwise. A
/// cluster may have all but the one for MySQL.
fn checkers() -> Value {
    json!({
        "TCP": {},
        "HTTP": { "path": "", "headers": "", "expectedResponseCode": 200 },
        "MYSQL": { "user": null, "pwd": null, "cmd": null },
        "NONE": {},
    })
}

fn greeting(state: &State, ask: &Ask<()>) -> Result<HttpAnswer, Failure> {
    let mut words = "Hello! I am Nacos-Naming and healthy!".to_owned();
    // Whoever is nobody here hears no numbers.
    if state.access.check_user(ask.user.as_deref()).is_ok() {
        let services = state.registry().counts().services;
        let port = state.port.facts.http.port();
        words = format!("{words} total services: {services}, local port:{port}");
    }
    Ok(HttpAnswer::json(&json!({ "msg": words })))
}
