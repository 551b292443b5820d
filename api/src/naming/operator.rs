//! Switches and numbers of the registry for operators, under `operator` and its alias `ops`.

use std::collections::BTreeSet;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use nacolet_registry::{Owner, Registry, RegistryCounts, RegistryError, Request, Switch, Switches};
use serde_json::{Value, json};

use crate::access::about;
use crate::access::rule::Permission;
use crate::http::answer::HttpAnswer;
use crate::http::failure::{Code, Failure};
use crate::http::params::{Fields, field};
use crate::naming::words::client::ClientId;
use crate::naming::words::dialect::Dialect;
use crate::naming::words::refused;
use crate::naming::words::shapes::Grouped;
use crate::node::members;
use crate::port::logs;
use crate::port::who::{Connected, Sought};
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

pub(crate) fn routes(routes: &mut Routes) {
    for [switches, metrics, client, pushes, log] in [
        [
            "/v1/ns/operator/switches",
            "/v1/ns/operator/metrics",
            "/v1/ns/operator/distro/client",
            "/v1/ns/operator/push/state",
            "/v1/ns/operator/log",
        ],
        [
            "/v1/ns/ops/switches",
            "/v1/ns/ops/metrics",
            "/v1/ns/ops/distro/client",
            "/v1/ns/ops/push/state",
            "/v1/ns/ops/log",
        ],
    ] {
        routes.at(log).now(Method::PUT, Permission::Admin, about::nothing, |_, ask| {
            set_log_level(&ask.params, Dialect::V1)
        });
        routes.at(pushes).now(Method::GET, Permission::Console, about::nothing, push_state);
        switch_routes(routes, switches, Dialect::V1);
        routes.at(metrics).later(
            Method::GET,
            Permission::Open,
            about::nothing,
            async |state: Arc<State>, ask| Ok(HttpAnswer::json(&metrics_of(&state, &ask).await?)),
        );
        routes.at(client).now(Method::GET, Permission::Console, about::nothing, |state, ask| {
            Ok(HttpAnswer::json(&responsible_server(state, &ask.params)?))
        });
    }
    for [switches, metrics] in [
        ["/v2/ns/operator/switches", "/v2/ns/operator/metrics"],
        ["/v2/ns/ops/switches", "/v2/ns/ops/metrics"],
        ["/v3/admin/ns/ops/switches", "/v3/admin/ns/ops/metrics"],
    ] {
        switch_routes(routes, switches, Dialect::V2);
        routes.at(metrics).later(Method::GET, Permission::Open, about::nothing, metrics_v2);
    }
    routes.at("/v3/admin/ns/ops/log").now(
        Method::PUT,
        Permission::Admin,
        about::nothing,
        |_, ask| set_log_level(&ask.params, Dialect::V2),
    );
    routes.at("/v3/admin/ns/client/distro").now(
        Method::GET,
        Permission::Console,
        about::nothing,
        |state, ask| Ok(HttpAnswer::result(&responsible_server(state, &ask.params)?)),
    );
}

fn switch_routes(routes: &mut Routes, path: &'static str, dialect: Dialect) {
    routes
        .at(path)
        .now(
            Method::GET,
            Permission::Console,
            about::nothing,
            match dialect {
                Dialect::V1 => |state, _| Ok(HttpAnswer::json(&switch_domain(state, false))),
                Dialect::V2 => {
                    |state, ask| Ok(HttpAnswer::result(&switch_domain(state, ask.is_v3)))
                }
            },
        )
        .later(Method::PUT, Permission::Admin, about::nothing, move |state, ask| {
            set(state, ask, dialect)
        });
}

async fn set(state: Arc<State>, ask: Ask<()>, dialect: Dialect) -> Result<HttpAnswer, Failure> {
    let entry = ask.params.required(field::ENTRY)?;
    let value = ask.params.present(field::VALUE)?;
    match (Switch::parse(entry, value), entry) {
        (Err(RegistryError::SwitchUnknown), _) => {
            state.inert.set(entry, value).map_err(Failure::invalid)?;
            return Ok(dialect.ok());
        }
        // The names under which Nacos shows two switches are no names to turn them by. They act
        // here; what they could not mean is passed over, as there.
        (Err(_), "healthCheckEnabled" | "defaultPushCacheMillis") => return Ok(dialect.ok()),
        (Err(_) | Ok(_), _) => {}
    }
    let request = Request::SetSwitch { entry: entry.into(), value: value.into() };
    match state.write_registry(request).await {
        Ok(_) => Ok(dialect.ok()),
        Err(error) => Err(refused::failure(error, Grouped { group: "", name: "" })),
    }
}

/// The switches as Nacos shows them (`SwitchDomain`). What cannot be turned here has the value that
/// describes what the node does.
fn switch_domain(state: &State, is_v3: bool) -> Value {
    let Switches {
        client_beat_interval_ms,
        push_cache_ms,
        health_check_enabled,
        push_enabled,
        light_beat_enabled,
        default_instance_ephemeral,
        overridden_server_status,
    } = state.registry().switches().clone();
    let mut shown = json!({
        "name": "00-00---000-NACOS_SWITCH_DOMAIN-000---00-00",
        "masters": null,
        "adWeightMap": {},
        "defaultPushCacheMillis": push_cache_ms,
        "clientBeatInterval": client_beat_interval_ms,
        "defaultCacheMillis": 3000,
        "distroThreshold": 0.7,
        "healthCheckEnabled": health_check_enabled,
        "autoChangeHealthCheckEnabled": true,
        "distroEnabled": true,
        "enableStandalone": true,
        "pushEnabled": push_enabled,
        "checkTimes": 3,
        "httpHealthParams": { "max": 5000, "min": 500, "factor": 0.85 },
        "tcpHealthParams": { "max": 5000, "min": 1000, "factor": 0.75 },
        "mysqlHealthParams": { "max": 3000, "min": 2000, "factor": 0.65 },
        "incrementalList": [],
        "serverStatusSynchronizationPeriodMillis": 2000,
        "serviceStatusSynchronizationPeriodMillis": 5000,
        "disableAddIP": false,
        "sendBeatOnly": false,
        "lightBeatEnabled": light_beat_enabled,
        "limitedUrlMap": {},
        "distroServerExpiredMillis": 10_000,
        "enableAuthentication": false,
        "overriddenServerStatus": overridden_server_status.map(|status| status.as_str()),
        "defaultInstanceEphemeral": default_instance_ephemeral,
        "healthCheckWhiteList": [],
        "checksum": null,
    });
    for [v1, v3, version] in [
        ["pushGoVersion", "pushVersionOfGo", "0.1.0"],
        ["pushJavaVersion", "pushVersionOfJava", "0.1.0"],
        ["pushPythonVersion", "pushVersionOfPython", "0.4.3"],
        ["pushCVersion", "pushVersionOfC", "1.0.12"],
        ["pushCSharpVersion", "pushVersionOfCsharp", "0.9.0"],
    ] {
        shown[if is_v3 { v3 } else { v1 }] = version.into();
    }
    state.inert.lay_over(&mut shown);
    shown
}

/// The loggers of Nacos are not here, so their levels mean nothing; `RUST_LOG` sets ours.
fn set_log_level(params: &Fields, dialect: Dialect) -> Result<HttpAnswer, Failure> {
    logs::set_level(params.present(field::LOG_NAME)?, params.present(field::LOG_LEVEL)?)?;
    Ok(dialect.ok())
}

async fn metrics_v2(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    let mut numbers = metrics_of(&state, &ask).await?;
    // Nacos 2 leaves this one out, Nacos 3 what the machine does as well.
    let unsaid = ["responsibleInstanceCount", "cpu", "load", "mem"];
    let count = if ask.is_v3 { unsaid.len() } else { 1 };
    if let Value::Object(numbers) = &mut numbers {
        numbers.retain(|name, _| !unsaid[..count].contains(&name.as_str()));
    }
    Ok(HttpAnswer::result(&numbers))
}

/// Who owns what, counted.
struct Owners {
    /// Clients over HTTP.
    ephemeral: usize,
    persistent: usize,
    /// Connections to this node, and those to others that published something.
    connections: usize,
    /// Clients that this node watches over, as far as they are connections.
    held: usize,
    /// Instances that this node watches over: those of its services, and of its connections.
    watched: usize,
}

fn owners(state: &State, registry: &Registry, connected: &[Connected]) -> Owners {
    let (mut clients, mut watched) = (BTreeSet::new(), 0);
    let mut connections: BTreeSet<_> = connected.iter().map(|one| one.client).collect();
    let me = state.port.facts.node;
    for service in registry.all_services() {
        let is_responsible = registry.responsible(service.key()) == me;
        for instance in service.publications() {
            watched += usize::from(match registry.owner(instance) {
                Owner::Beats => {
                    clients.insert(ClientId::of(instance));
                    is_responsible
                }
                Owner::Connection { node, client } => {
                    connections.insert(client);
                    node.map_or(is_responsible, |node| node == me)
                }
            });
        }
    }
    let subscribers = registry.all_subscribers(state.now().0);
    clients.extend(subscribers.map(|view| ClientId::subscribing(view.subscriber)));
    let ephemeral = clients.iter().filter(|client| client.ephemeral).count();
    let (persistent, connections) = (clients.len() - ephemeral, connections.len());
    Owners { ephemeral, persistent, connections, held: connected.len(), watched }
}

/// Numbers of the registry, for whoever is known; only the status, for anybody, unless more is
/// asked for, because clients poll it.
async fn metrics_of(state: &State, ask: &Ask<()>) -> Result<Value, Failure> {
    let overridden = state.registry().switches().overridden_server_status;
    let status = match overridden {
        Some(status) => status.as_str(),
        None if state.port.stage.is_open() => "UP",
        None => "DOWN",
    };
    if ask.params.flag_or(field::ONLY_STATUS, true) {
        return Ok(json!({ "status": status }));
    }
    state.access.check_user(ask.user.as_deref())?;
    let connected = state.connected(Sought::Clients).await?;
    let subscribed: usize =
        connected.iter().filter_map(|one| usize::try_from(one.subscribed).ok()).sum();
    let registry = state.registry();
    let counts = registry.counts();
    let Owners { ephemeral, persistent, connections, held, watched } =
        owners(state, &registry, &connected);
    let load = MachineLoad::now();
    Ok(json!({
        "status": status,
        "serviceCount": counts.services,
        "instanceCount": counts.instances,
        "subscribeCount": counts.subscribers + subscribed,
        "responsibleInstanceCount": watched,
        "clientCount": ephemeral + persistent + connections,
        "connectionBasedClientCount": connections,
        "ephemeralIpPortClientCount": ephemeral,
        "persistentIpPortClientCount": persistent,
        "responsibleClientCount": ephemeral + persistent + held,
        "cpu": load.cpu,
        "load": load.load,
        "mem": load.mem,
    }))
}

/// How busy the machine is. What the operating system does not tell is -1, as in Java.
struct MachineLoad {
    cpu: f64,
    load: f64,
    mem: f64,
}

impl MachineLoad {
    fn now() -> Self {
        let first_number = |text: String| text.split_ascii_whitespace().next()?.parse().ok();
        let load = std::fs::read_to_string("/proc/loadavg").ok().and_then(first_number);
        let mem = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
            let field = |name: &str| -> Option<f64> {
                let line = text.lines().find_map(|line| line.strip_prefix(name))?;
                line.split_ascii_whitespace().next()?.parse().ok()
            };
            Some(1.0 - field("MemAvailable:")? / field("MemTotal:")?)
        });
        Self { cpu: -1.0, load: load.unwrap_or(-1.0), mem: mem.unwrap_or(-1.0) }
    }
}

/// UDP pushes since the start. They are never counted from zero again, whatever `reset` says, so
/// that one operator does not take the numbers from another.
fn push_state(state: &State, ask: &Ask<()>) -> Result<HttpAnswer, Failure> {
    let RegistryCounts { pushes, pushes_unanswered, .. } = state.registry().counts();
    let succeeded = pushes.saturating_sub(pushes_unanswered);
    let as_float = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let ratio = if pushes == 0 { 0.0 } else { as_float(succeeded) / as_float(pushes) };
    let mut numbers = json!({
        "succeed": succeeded,
        "total": pushes,
        "ratio": ratio,
        "reset": false,
    });
    if ask.params.flag_or(field::DETAIL, false) {
        // -1 says in Nacos that nothing was measured, and nothing is here.
        numbers["detail"] = json!({ "avgPushCost": -1, "maxPushCost": -1 });
    }
    Ok(HttpAnswer::json(&numbers))
}

/// Which member decides about a client. With one member that is known here.
fn responsible_server(state: &State, params: &Fields) -> Result<Value, Failure> {
    params.required(field::IP)?;
    params.required(field::PORT)?;
    let (_, members) = members::members(state);
    let [only] = &*members else {
        let words = "members share the instances by service, not by client";
        return Err(Failure::new(StatusCode::NOT_IMPLEMENTED, Code::SERVER_ERROR, words));
    };
    Ok(json!({ "responsibleServer": only.http }))
}
