//! What probes and consoles ask about the node as a whole: is it alive, is it ready, what is it.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::about;
use crate::call::{Answer, Ask};
use crate::router::{Permission, Routes};
use crate::server::State;
use crate::status::{Code, Failure};

/// The Nacos whose HTTP API this is: tools that ask for a version decide by it what they may call.
pub(crate) const NACOS_VERSION: &str = "2.5.2";

pub(crate) fn routes(routes: &mut Routes) {
    let open = Permission::Open;
    routes
        .at("/v1/console/health/liveness")
        .now(Method::GET, open, about::nothing, |_, _| Ok(Answer::text("OK")));
    routes.at("/v1/console/health/readiness").now(Method::GET, open, about::nothing, |state, _| {
        check_ready(state).map(|()| Answer::text("OK"))
    });
    for path in ["/v2/console/health/liveness", "/v3/admin/core/state/liveness"] {
        routes.at(path).now(Method::GET, open, about::nothing, |_, _| Ok(Answer::result("ok")));
    }
    for path in ["/v2/console/health/readiness", "/v3/admin/core/state/readiness"] {
        routes.at(path).now(Method::GET, open, about::nothing, |state, _| {
            check_ready(state).map(|()| Answer::result("ok"))
        });
    }
    routes
        .at("/v1/console/server/state")
        .now(Method::GET, open, about::nothing, |state, _| Ok(Answer::json(&server_state(state))));
    routes.at("/v3/admin/core/state").now(Method::GET, open, about::nothing, |state, _| {
        Ok(Answer::result(&server_state(state)))
    });
    // Nacos reads both from files that an operator may put beside its settings; there are none here.
    for path in ["/v1/console/server/announcement", "/v1/console/server/guide"] {
        routes.at(path).now(Method::GET, open, about::nothing, nothing_announced);
    }
}

fn nothing_announced(_state: &State, _ask: &Ask<()>) -> Result<Answer, Failure> {
    Ok(Answer::rest_result(&Value::Null))
}

/// 500 with the reason in words, as Nacos answers.
fn check_ready(state: &State) -> Result<(), Failure> {
    if state.port.stage.is_ready() {
        return Ok(());
    }
    let status = (state.port.status)();
    let words = match status.leader {
        None => "config is not in readiness: no leader is known",
        Some(_) => "naming is not in readiness: the node is still catching up",
    };
    Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, Code::SERVER_ERROR, words))
}

/// A flat map of texts (Nacos `ModuleState`). Nacos 1 and 2 name the mode differently.
fn server_state(state: &State) -> Value {
    let facts = &state.port.facts;
    let is_alone = (state.port.status)().members.len() <= 1;
    let auth = if state.access.is_on() { "true" } else { "false" };
    let mode = if is_alone { "standalone" } else { "cluster" };
    json!({
        "standalone_mode": mode,
        "startup_mode": mode,
        "function_mode": null,
        "version": NACOS_VERSION,
        "nacolet_version": facts.version,
        "server_port": facts.http.port().to_string(),
        "auth_enabled": auth,
        "auth_system_type": "nacos",
        "auth_admin_request": "false",
        "login_page_enabled": auth,
        "console_ui_enabled": "true",
        "config_retention_days": "30",
    })
}
