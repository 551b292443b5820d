//! What probes and consoles ask about the node as a whole: is it alive, is it ready, what is it.

use hyper::{Method, StatusCode};
use nacolet_model::limits;
use serde_json::{Value, json};

use crate::access::about;
use crate::access::rule::Permission;
use crate::http::answer::HttpAnswer;
use crate::http::failure::{Code, Failure};
use crate::http::params::field;
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

/// The Nacos whose HTTP API this is: tools that ask for a version decide by it what they may call.
pub(crate) const NACOS_VERSION: &str = "2.5.2";
/// The same of `/v3`.
pub(crate) const NACOS_VERSION_3: &str = "3.1.0";

pub(crate) fn routes(routes: &mut Routes) {
    let (open, nothing, get) = (Permission::Open, about::nothing, Method::GET);
    routes
        .at("/v1/console/health/liveness")
        .now(get.clone(), open, nothing, |_, _| Ok(HttpAnswer::text("OK")));
    routes.at("/v1/console/health/readiness").now(get.clone(), open, nothing, |state, _| {
        check_ready(state).map(|()| HttpAnswer::text("OK"))
    });
    for path in [
        "/v2/console/health/liveness",
        "/v3/admin/core/state/liveness",
        "/v3/console/health/liveness",
    ] {
        routes.at(path).now(get.clone(), open, nothing, |_, _| Ok(HttpAnswer::result("ok")));
    }
    for path in [
        "/v2/console/health/readiness",
        "/v3/admin/core/state/readiness",
        "/v3/console/health/readiness",
    ] {
        routes.at(path).now(get.clone(), open, nothing, |state, _| {
            check_ready(state).map(|()| HttpAnswer::result("ok"))
        });
    }
    routes.at("/v1/console/server/state").now(get.clone(), open, nothing, |state, _| {
        Ok(HttpAnswer::json(&server_state(state, NACOS_VERSION)))
    });
    routes.at("/v3/console/server/state").now(get.clone(), open, nothing, |state, _| {
        Ok(HttpAnswer::json(&server_state(state, NACOS_VERSION_3)))
    });
    routes.at("/v3/admin/core/state").now(get.clone(), open, nothing, |state, _| {
        Ok(HttpAnswer::result(&server_state(state, NACOS_VERSION_3)))
    });
    routes.at("/v1/console/server/announcement").now(get.clone(), open, nothing, |state, ask| {
        announcement(state, ask).map(|words| HttpAnswer::rest_result(&words))
    });
    routes.at("/v3/console/server/announcement").now(get.clone(), open, nothing, |state, ask| {
        announcement(state, ask).map(|words| HttpAnswer::result(&words))
    });
    routes
        .at("/v1/console/server/guide")
        .now(get.clone(), open, nothing, |_, _| Ok(HttpAnswer::rest_result(GUIDE)));
    routes
        .at("/v3/console/server/guide")
        .now(get.clone(), open, nothing, |_, _| Ok(HttpAnswer::result(GUIDE)));
    // What Spring Boot says of a server, for probes that ask any such server.
    routes.at("/actuator").now(get.clone(), open, nothing, actuator);
    routes.at("/actuator/health").now(get, open, nothing, health);
}

/// Where people find the console that belongs to the node.
const GUIDE: &str = "The console of this node is at <code>/nacos</code>.";

/// What the console of Nacos shows at the top of its pages. Nacos reads it from a file in each
/// language; the one thing to say here is the one that Nacos says, too.
fn announcement(state: &State, ask: &Ask<()>) -> Result<Option<&'static str>, Failure> {
    let words = match ask.params.text_or(field::LANGUAGE, "zh-CN") {
        "zh-CN" => "这个节点没有开启鉴权：任何能连接到它的人都可以读写所有内容。",
        "en-US" => "Nobody has to log in here: whoever reaches this node can read and write all.",
        other => {
            let shown: String = other.chars().take(32).collect();
            return Err(Failure::invalid(format!("Unsupported language: {shown}")));
        }
    };
    Ok((!state.access.is_on()).then_some(words))
}

/// The links of Spring's actuator that are there.
fn actuator(_state: &State, ask: &Ask<()>) -> Result<HttpAnswer, Failure> {
    let host = ask.header("host").unwrap_or_default();
    let link = |path: &str, templated: bool| json!({ "href": format!("http://{host}/nacos/actuator{path}"), "templated": templated });
    Ok(HttpAnswer::json(&json!({ "_links": {
        "self": link("", false),
        "health-path": link("/health/{*path}", true),
        "health": link("/health", false),
        "prometheus": link("/prometheus", false),
    } })))
}

/// Spring's shape; a node that is not ready is `OUT_OF_SERVICE`, which is 503.
fn health(state: &State, _ask: &Ask<()>) -> Result<HttpAnswer, Failure> {
    Ok(if state.port.stage.is_ready() {
        HttpAnswer::json(&json!({ "status": "UP" }))
    } else {
        let answer = HttpAnswer::json(&json!({ "status": "OUT_OF_SERVICE" }));
        answer.status(StatusCode::SERVICE_UNAVAILABLE)
    })
}

/// 503 with the reason in words.
fn check_ready(state: &State) -> Result<(), Failure> {
    let stage = &state.port.stage;
    if stage.is_ready() {
        return Ok(());
    }
    let waits_for = stage.waits_for(state.access.is_on());
    let words = match (waits_for, (state.port.status)().leader) {
        (Some(what), _) => format!("config is not in readiness: waiting for {what}"),
        (None, None) => "config is not in readiness: no leader is known".to_owned(),
        (None, Some(_)) => "naming is not in readiness: the node is still catching up".to_owned(),
    };
    Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, Code::SERVER_ERROR, words))
}

/// A flat map of texts (Nacos `ModuleState`): what it is, and the settings of Nacos that clients
/// and consoles look at, as far as they are true here.
fn server_state(state: &State, version: &str) -> Value {
    let facts = &state.port.facts;
    let is_alone = (state.port.status)().members.len() <= 1;
    let on = |on: bool| if on { "true" } else { "false" };
    let has_users = !state.access.users().is_empty();
    json!({
        "startup_mode": if is_alone { "standalone" } else { "cluster" },
        "function_mode": null,
        "version": version,
        "nacolet_version": facts.version,
        "server_port": facts.http.port().to_string(),
        "auth_enabled": on(state.access.is_on()),
        "auth_system_type": "nacos",
        // Whether the first administrator is yet to be made.
        "auth_admin_request": on(state.access.is_on() && !has_users),
        "login_page_enabled": on(state.access.is_on()),
        "console_ui_enabled": "true",
        "config_retention_days": "30",
        "datasource_platform": "",
        "plugin_datasource_log_enabled": "false",
        "isHealthCheck": "true",
        "maxHealthCheckFailCount": "12",
        "notifyConnectTimeout": "100",
        "notifySocketTimeout": "200",
        "maxContent": limits::CONTENT_BYTES_MAX.to_string(),
        "isManageCapacity": "true",
        "isCapacityLimitCheck": "false",
        "defaultClusterQuota": "100000",
        "defaultGroupQuota": "200",
        "defaultMaxSize": "102400",
        "defaultMaxAggrCount": "10000",
        "defaultMaxAggrSize": "1024",
    })
}
