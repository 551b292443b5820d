//! Instances one by one and in batches: register, deregister, update, patch, describe. v1, v2 and
//! v3 differ in how they name the service and in how they say "ok"; [`Dialect`] holds the
//! difference.

use std::sync::Arc;

use hyper::Method;
use nacolet_model::{ClusterName, ServiceKey};
use nacolet_registry::{
    Consistency, Instance, MetadataOp, Reply, Request, Service, UpdatedInstance,
};
use serde::Serialize;
use serde_json::json;

use crate::access::about;
use crate::access::about::KeptService;
use crate::access::rule::Permission;
use crate::http::answer::{Envelope, HttpAnswer};
use crate::http::failure::{Code, Failure};
use crate::http::params::{Fields, Id, Parts, field};
use crate::naming::beat;
use crate::naming::words::dialect::{Dialect, done, find, was_agreed};
use crate::naming::words::shapes::{Grouped, Host, InstanceId, Map};
use crate::naming::words::{address, refused, spec};
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

pub(crate) fn routes(routes: &mut Routes) {
    use Dialect::{V1, V2};
    let (read, write) = (Permission::NamingRead, Permission::NamingWrite);
    let (grouped, apart) = (about::service_grouped, about::service_apart);
    routes
        .at("/v1/ns/instance")
        .later(Method::POST, write, grouped, |state, ask| done(state, ask, V1, register))
        .hot()
        .later(Method::DELETE, write, grouped, |state, ask| done(state, ask, V1, deregister))
        .hot()
        .later(Method::PUT, write, grouped, |state, ask| done(state, ask, V1, update))
        .later(Method::PATCH, write, grouped, |state, ask| done(state, ask, V1, patch))
        .now(Method::GET, read, grouped, |state, ask| detail(state, ask, V1));
    let (put, delete) = (MetadataOp::Put, MetadataOp::Delete);
    routes
        .at("/v1/ns/instance/metadata/batch")
        .later(Method::PUT, write, grouped, move |state, ask| batch(state, ask, V1, put))
        .later(Method::DELETE, write, grouped, move |state, ask| batch(state, ask, V1, delete));
    routes
        .at("/v1/ns/instance/statuses")
        .now(Method::GET, read, service_of_parameter, statuses)
        .now(Method::POST, read, service_of_parameter, statuses);

    routes
        .at("/v2/ns/instance")
        .later(Method::POST, write, apart, |state, ask| done(state, ask, V2, register))
        .later(Method::DELETE, write, apart, |state, ask| done(state, ask, V2, deregister))
        .later(Method::PUT, write, apart, |state, ask| done(state, ask, V2, update))
        // It kept the grouped name and the bare answer (Nacos `InstanceControllerV2.patch`).
        .later(Method::PATCH, write, about::service_kept, patch_v2)
        .now(Method::GET, read, apart, |state, ask| detail(state, ask, V2));
    routes.at("/v2/ns/instance/statuses/:key").now(
        Method::GET,
        read,
        // Behind /nacos/v2/ns/instance/statuses/.
        |parts| about::service_of_key(&parts.segment(5)),
        statuses,
    );
    routes.at("/v3/client/ns/instance").later(Method::POST, write, apart, register_or_beat).later(
        Method::DELETE,
        write,
        apart,
        |state, ask| done(state, ask, V2, deregister),
    );
    routes
        .at("/v3/admin/ns/instance")
        .later(Method::POST, write, apart, |state, ask| done(state, ask, V2, register))
        .later(Method::DELETE, write, apart, |state, ask| done(state, ask, V2, deregister))
        .later(Method::PUT, write, apart, |state, ask| done(state, ask, V2, update))
        .now(Method::GET, read, apart, detail_v3);
    routes
        .at("/v3/console/ns/instance")
        .later(Method::PUT, write, apart, |state, ask| done(state, ask, V2, update));
    routes
        .at("/v3/admin/ns/instance/partial")
        .later(Method::PUT, write, apart, |state, ask| done(state, ask, V2, patch));
    for path in ["/v2/ns/instance/metadata/batch", "/v3/admin/ns/instance/metadata/batch"] {
        routes
            .at(path)
            .later(Method::PUT, write, apart, move |state, ask| batch(state, ask, V2, put))
            .later(Method::DELETE, write, apart, move |state, ask| batch(state, ask, V2, delete));
    }
}

fn default_ephemeral(state: &State) -> bool {
    state.registry().switches().default_instance_ephemeral
}

fn register(
    state: &State,
    params: &Fields,
    service: ServiceKey,
    dialect: Dialect,
) -> Result<Request, Failure> {
    let instance = spec::from_params(params, dialect, default_ephemeral(state))?;
    Ok(Request::Register { service, instance })
}

/// Only an instance of the kind that the call says or that is the default (Nacos looks for the
/// client `ip:port#ephemeral`).
fn deregister(
    state: &State,
    params: &Fields,
    service: ServiceKey,
    dialect: Dialect,
) -> Result<Request, Failure> {
    let (ip, port) = address::address(params)?;
    let ephemeral = dialect.toggle(params, field::EPHEMERAL, default_ephemeral(state))?;
    Ok(Request::Deregister {
        service,
        ip: ip.into(),
        port,
        cluster: address::cluster(params)?.map(ClusterName::new).transpose()?,
        ephemeral: Some(ephemeral),
    })
}

fn update(
    state: &State,
    params: &Fields,
    service: ServiceKey,
    dialect: Dialect,
) -> Result<Request, Failure> {
    let instance = spec::from_params(params, dialect, default_ephemeral(state))?;
    Ok(Request::Update { service, instance })
}

fn patch(
    _state: &State,
    params: &Fields,
    service: ServiceKey,
    dialect: Dialect,
) -> Result<Request, Failure> {
    let (ip, port) = address::address(params)?;
    Ok(Request::Patch {
        service,
        ip: ip.into(),
        port,
        cluster: address::cluster(params)?.map(ClusterName::new).transpose()?,
        weight: spec::weight(params)?,
        healthy: dialect.given(params, field::HEALTHY)?,
        enabled: dialect.given(params, field::ENABLED)?,
        metadata: params.text(field::METADATA).map(spec::parse_metadata).transpose()?,
    })
}

/// v2 wants everything sent.
async fn patch_v2(state: Arc<State>, ask: Ask<KeptService>) -> Result<HttpAnswer, Failure> {
    for field in [field::IP, field::PORT, field::WEIGHT, field::ENABLED, field::METADATA] {
        ask.params.present(field)?;
    }
    let ask = ask.about(KeptService::whole)?;
    ask.params.boolean(field::ENABLED)?;
    done(state, ask, Dialect::V1, patch).await
}

/// v3 registers and beats through one path.
async fn register_or_beat(state: Arc<State>, ask: Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    if !ask.params.boolean(field::HEART_BEAT)?.unwrap_or(false) {
        return done(state, ask, Dialect::V2, register).await;
    }
    if beat::light_beat_v3(&state, &ask).await? {
        return Ok(HttpAnswer::result("ok"));
    }
    // With status 200, so that a client tells "register again" from a failing server.
    let Code(code, words) = Code::INSTANCE_NOT_FOUND;
    Ok(HttpAnswer::json(&Envelope { code, message: Some(words), data: &() }))
}

/// Runs `show` on the instance that a call means.
fn with_instance(
    state: &State,
    ask: &Ask<ServiceKey>,
    show: impl FnOnce(&Instance, Grouped<'_>) -> HttpAnswer,
) -> Result<HttpAnswer, Failure> {
    let named = Grouped::of(&ask.about);
    let (ip, port) = address::address(&ask.params)?;
    let cluster = ask.params.text_or(field::CLUSTER_NAME, ClusterName::DEFAULT);
    ClusterName::check(cluster)?;
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let service = find(&registry, &ask.about);
    let Some(service) = service.filter(|service| !service.publications().is_empty()) else {
        return Err(refused::nothing_here(format!(
            "no ips found for cluster {cluster} in service {named}"
        )));
    };
    let Some(instance) = service.find(ip, port, Some(cluster)) else {
        return Err(refused::nothing_here("no matched ip found!".into()));
    };
    Ok(show(instance, named).agreed(service.was_agreed()))
}

fn detail(state: &State, ask: &Ask<ServiceKey>, dialect: Dialect) -> Result<HttpAnswer, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Detail<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<Grouped<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        service_name: Option<Grouped<'a>>,
        ip: &'a str,
        port: u16,
        cluster_name: &'a str,
        weight: f64,
        healthy: bool,
        instance_id: Option<InstanceId<'a>>,
        metadata: Map<'a>,
    }
    with_instance(state, ask, |instance, service| {
        let detail = Detail {
            service: (dialect == Dialect::V1).then_some(service),
            service_name: (dialect == Dialect::V2).then_some(service),
            ip: instance.ip(),
            port: instance.port(),
            cluster_name: instance.cluster(),
            weight: instance.weight(),
            healthy: instance.healthy(),
            instance_id: (dialect == Dialect::V1).then_some(InstanceId { instance, service }),
            metadata: Map(instance.metadata()),
        };
        match dialect {
            Dialect::V1 => HttpAnswer::json(&detail),
            Dialect::V2 => HttpAnswer::result(&detail),
        }
    })
}

/// v3 describes an instance as lists show it.
fn detail_v3(state: &State, ask: &Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    with_instance(state, ask, |instance, service| {
        HttpAnswer::result(&Host::nameless(instance, service))
    })
}

async fn batch(
    state: Arc<State>,
    ask: Ask<ServiceKey>,
    dialect: Dialect,
    op: MetadataOp,
) -> Result<HttpAnswer, Failure> {
    let params = &ask.params;
    let request = Request::MetadataBatch {
        service: ask.about.clone(),
        consistency: match params.text(field::CONSISTENCY_TYPE) {
            Some("ephemeral") => Consistency::Ephemeral,
            Some("persist") => Consistency::Persistent,
            _ => Consistency::Both,
        },
        instances: spec::parse_batch(params.text(field::INSTANCES).unwrap_or_default())?,
        metadata: spec::parse_metadata(params.required(field::METADATA)?)?,
        op,
    };
    let updated = match state.write_registry(request).await {
        Ok(Reply::Updated(updated)) => updated,
        Ok(Reply::Done | Reply::Beat(_)) => Vec::new(),
        Err(error) => return Err(refused::failure(error, Grouped::of(&ask.about))),
    };
    let labels: Vec<String> = updated.iter().map(label).collect();
    let shape = json!({ "updated": labels });
    Ok(match dialect {
        Dialect::V1 => HttpAnswer::json(&shape),
        Dialect::V2 => HttpAnswer::result(&shape),
    })
}

/// `ip:port:unknown:cluster:kind`; "unknown" is the site, which no Nacos since 1.0 has.
fn label(updated: &UpdatedInstance) -> String {
    let kind = if updated.ephemeral { "ephemeral" } else { "persist" };
    let key = &updated.key;
    format!("{}:{}:unknown:{}:{kind}", key.ip, key.port, key.cluster)
}

fn service_of_parameter(parts: &Parts<'_>) -> Result<KeptService, Failure> {
    about::service_of_key(parts.required_id(Id::KEY)?)
}

/// Health of every instance of a service.
fn statuses(state: &State, ask: &Ask<KeptService>) -> Result<HttpAnswer, Failure> {
    let key = ask.about.clone().whole()?;
    let registry = state.registry();
    let service = find(&registry, &key);
    let instances = service.into_iter().flat_map(Service::instances);
    let ips: Vec<String> = instances
        .map(|instance| format!("{}:{}_{}", instance.ip(), instance.port(), instance.healthy()))
        .collect();
    Ok(HttpAnswer::json(&json!({ "ips": ips })).agreed(was_agreed(service)))
}
