//! Switches and numbers of the registry for operators, under `operator` and its alias `ops`.

use std::collections::BTreeSet;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use nacolet_registry::{Counts, Owner, Registry, Request, Switches};
use serde_json::{Value, json};

use crate::about;
use crate::call::{Answer, Ask};
use crate::client::ClientId;
use crate::instance::Dialect;
use crate::members;
use crate::params::{Fields, field};
use crate::refused;
use crate::router::{Permission, Routes};
use crate::server::State;
use crate::shapes::Grouped;
use crate::status::{Code, Failure};

pub(crate) fn routes(routes: &mut Routes) {
    for [switches, metrics, client, pushes] in [
        [
            "/v1/ns/operator/switches",
            "/v1/ns/operator/metrics",
            "/v1/ns/operator/distro/client",
            "/v1/ns/operator/push/state",
        ],
        [
            "/v1/ns/ops/switches",
            "/v1/ns/ops/metrics",
            "/v1/ns/ops/distro/client",
            "/v1/ns/ops/push/state",
        ],
    ] {
        routes.at(pushes).now(Method::GET, Permission::Console, about::nothing, push_state);
        switch_routes(routes, switches, Dialect::V1);
        routes.at(metrics).now(Method::GET, Permission::Open, about::nothing, |state, ask| {
            Ok(Answer::json(&metrics_of(state, ask)?))
        });
        routes.at(client).now(Method::GET, Permission::Console, about::nothing, |state, ask| {
            Ok(Answer::json(&responsible_server(state, &ask.params)?))
        });
    }
    for [switches, metrics] in [
        ["/v2/ns/operator/switches", "/v2/ns/operator/metrics"],
        ["/v2/ns/ops/switches", "/v2/ns/ops/metrics"],
        ["/v3/admin/ns/ops/switches", "/v3/admin/ns/ops/metrics"],
    ] {
        switch_routes(routes, switches, Dialect::V2);
        routes.at(metrics).now(Method::GET, Permission::Open, about::nothing, |state, ask| {
            Ok(Answer::result(&metrics_of(state, ask)?))
        });
    }
    routes.at("/v3/admin/ns/client/distro").now(
        Method::GET,
        Permission::Console,
        about::nothing,
        |state, ask| Ok(Answer::result(&responsible_server(state, &ask.params)?)),
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
                Dialect::V1 => |state, _| Ok(Answer::json(&switch_domain(state))),
                Dialect::V2 => |state, _| Ok(Answer::result(&switch_domain(state))),
            },
        )
        .later(Method::PUT, Permission::Admin, about::nothing, move |state, ask| {
            set(state, ask, dialect)
        });
}

async fn set(state: Arc<State>, ask: Ask<()>, dialect: Dialect) -> Result<Answer, Failure> {
    let request = {
        let params = &ask.params;
        let entry = params.required(field::ENTRY)?.into();
        Request::SetSwitch { entry, value: params.present(field::VALUE)?.into() }
    };
    match state.write_registry(request).await {
        Ok(_) => Ok(dialect.ok()),
        Err(error) => Err(refused::failure(error, Grouped { group: "", name: "" })),
    }
}

/// The switches as Nacos shows them (`SwitchDomain`). What cannot be turned here has the value that
/// describes what the node does.
fn switch_domain(state: &State) -> Value {
    let Switches {
        client_beat_interval_ms,
        push_cache_ms,
        health_check_enabled,
        push_enabled,
        light_beat_enabled,
        default_instance_ephemeral,
        overridden_server_status,
    } = state.registry().switches().clone();
    let probe = json!({ "max": 5000, "min": 1000, "factor": 0.75 });
    json!({
        "name": "00-00---000-NACOS_SWITCH_DOMAIN-000---00-00",
        "masters": null,
        "adWeightMap": {},
        "defaultPushCacheMillis": push_cache_ms,
        "clientBeatInterval": client_beat_interval_ms,
        "defaultCacheMillis": 3000,
        "distroThreshold": 0.7,
        "healthCheckEnabled": health_check_enabled,
        "autoChangeHealthCheckEnabled": false,
        "distroEnabled": true,
        "enableStandalone": true,
        "pushEnabled": push_enabled,
        "checkTimes": 3,
        "httpHealthParams": probe,
        "tcpHealthParams": probe,
        "mysqlHealthParams": probe,
        "incrementalList": [],
        "serverStatusSynchronizationPeriodMillis": 2000,
        "serviceStatusSynchronizationPeriodMillis": 5000,
        "disableAddIP": false,
        "sendBeatOnly": false,
        "lightBeatEnabled": light_beat_enabled,
        "limitedUrlMap": {},
        "distroServerExpiredMillis": 10_000,
        "pushGoVersion": "0.1.0",
        "pushJavaVersion": "0.1.0",
        "pushPythonVersion": "0.4.3",
        "pushCVersion": "1.0.12",
        "pushCSharpVersion": "0.9.0",
        "enableAuthentication": false,
        "overriddenServerStatus": overridden_server_status.map(|status| status.as_str()),
        "defaultInstanceEphemeral": default_instance_ephemeral,
        "healthCheckWhiteList": [],
        "checksum": null,
    })
}

/// Who owns what, counted.
struct Owners {
    ephemeral: usize,
    persistent: usize,
    /// Connections to any member that published something.
    connections: usize,
    /// Instances that this node watches over: those of its services, and of its connections.
    watched: usize,
}

fn owners(state: &State, registry: &Registry) -> Owners {
    let (mut clients, mut connections, mut watched) = (BTreeSet::new(), BTreeSet::new(), 0);
    let me = state.port.facts.node;
    for service in registry.all_services() {
        let is_responsible = registry.responsible(service.key()) == me;
        for instance in service.instances() {
            clients.insert(ClientId::of(instance));
            watched += usize::from(match registry.owner(instance) {
                Owner::Beats => is_responsible,
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
    Owners { ephemeral, persistent, connections, watched }
}

/// Numbers of the registry, for whoever is known; only the status, for anybody, unless more is asked for,
/// because clients poll it.
fn metrics_of(state: &State, ask: &Ask<()>) -> Result<Value, Failure> {
    let registry = state.registry();
    let overridden = registry.switches().overridden_server_status;
    let status = match overridden {
        Some(status) => status.as_str(),
        None if state.port.stage.is_open() => "UP",
        None => "DOWN",
    };
    if ask.params.flag_or(field::ONLY_STATUS, true) {
        return Ok(json!({ "status": status }));
    }
    state.access.check_user(ask.user.as_deref())?;
    let counts = registry.counts();
    let Owners { ephemeral, persistent, connections, watched } = owners(state, &registry);
    let load = Load::now();
    Ok(json!({
        "status": status,
        "serviceCount": counts.services,
        "instanceCount": counts.instances,
        "subscribeCount": counts.subscribers,
        "responsibleInstanceCount": watched,
        "clientCount": ephemeral + persistent,
        "connectionBasedClientCount": connections,
        "ephemeralIpPortClientCount": ephemeral,
        "persistentIpPortClientCount": persistent,
        "responsibleClientCount": ephemeral + persistent,
        "cpu": load.cpu,
        "load": load.load,
        "mem": load.mem,
    }))
}

/// How busy the machine is. What the operating system does not tell is -1, as in Java.
struct Load {
    cpu: f64,
    load: f64,
    mem: f64,
}

impl Load {
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

/// UDP pushes since the start. They are never counted from zero again, whatever `reset` says, so that
/// one operator does not take the numbers from another.
fn push_state(state: &State, _ask: &Ask<()>) -> Result<Answer, Failure> {
    let Counts { pushes, pushes_unanswered, .. } = state.registry().counts();
    let succeeded = pushes.saturating_sub(pushes_unanswered);
    let as_float = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let ratio = if pushes == 0 { 0.0 } else { as_float(succeeded) / as_float(pushes) };
    Ok(Answer::json(&json!({
        "succeed": succeeded,
        "total": pushes,
        "ratio": ratio,
        "reset": false,
    })))
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
