//! Instances one by one and in batches: register, deregister, update, patch, describe. v1, v2 and v3
//! differ in how they name the service and in how they say "ok"; [`Dialect`] holds the difference.

use std::sync::Arc;

use hyper::Method;
use nacolet_model::ClusterName;
use nacolet_registry::{Consistency, Instance, MetadataOp, Reply, Request, UpdatedInstance};
use serde::Serialize;
use serde_json::json;

use crate::beat;
use crate::call::{Answer, Call, Envelope};
use crate::params::Params;
use crate::refused;
use crate::router::{Permission, Routes, Scope};
use crate::server::State;
use crate::shapes::{Grouped, Host, InstanceId, Map};
use crate::spec;
use crate::status::{Code, Failure};
use crate::target::{self, Target};

pub(crate) fn routes(routes: &mut Routes) {
    let (read, write) = (Permission::NamingRead, Permission::NamingWrite);
    routes
        .at("/v1/ns/instance")
        .later(Method::POST, write, |state, call| done(state, call, Dialect::V1, register))
        .hot()
        .later(Method::DELETE, write, |state, call| done(state, call, Dialect::V1, deregister))
        .hot()
        .later(Method::PUT, write, |state, call| done(state, call, Dialect::V1, update))
        .later(Method::PATCH, write, |state, call| done(state, call, Dialect::V1, patch))
        .now(Method::GET, read, |state, call| detail(state, call, Dialect::V1));
    routes
        .at("/v1/ns/instance/metadata/batch")
        .later(Method::PUT, write, |state, call| batch(state, call, Dialect::V1, MetadataOp::Put))
        .later(Method::DELETE, write, |state, call| {
            batch(state, call, Dialect::V1, MetadataOp::Delete)
        });
    // Namespace and service are in one text.
    let all = read.over(|_| Scope::All);
    routes.at("/v1/ns/instance/statuses").now(Method::GET, all, statuses).now(
        Method::POST,
        all,
        statuses,
    );

    routes
        .at("/v2/ns/instance")
        .later(Method::POST, write, |state, call| done(state, call, Dialect::V2, register))
        .later(Method::DELETE, write, |state, call| done(state, call, Dialect::V2, deregister))
        .later(Method::PUT, write, |state, call| done(state, call, Dialect::V2, update))
        // It kept the grouped name and the bare answer (Nacos `InstanceControllerV2.patch`).
        .later(Method::PATCH, write, |state, call| done(state, call, Dialect::V1, patch))
        .now(Method::GET, read, |state, call| detail(state, call, Dialect::V2));
    routes
        .at("/v2/ns/instance/metadata/batch")
        .later(Method::PUT, write, |state, call| batch(state, call, Dialect::V2, MetadataOp::Put))
        .later(Method::DELETE, write, |state, call| {
            batch(state, call, Dialect::V2, MetadataOp::Delete)
        });
    routes.at("/v2/ns/instance/statuses/:key").now(Method::GET, all, statuses_v2);
    routes_v3(routes);
}

fn routes_v3(routes: &mut Routes) {
    let (read, write) = (Permission::NamingRead, Permission::NamingWrite);
    routes.at("/v3/client/ns/instance").later(Method::POST, write, register_or_beat).later(
        Method::DELETE,
        write,
        |state, call| done(state, call, Dialect::V2, deregister),
    );
    routes
        .at("/v3/admin/ns/instance")
        .later(Method::POST, write, |state, call| done(state, call, Dialect::V2, register))
        .later(Method::DELETE, write, |state, call| done(state, call, Dialect::V2, deregister))
        .later(Method::PUT, write, |state, call| done(state, call, Dialect::V2, update))
        .now(Method::GET, read, detail_v3);
    routes
        .at("/v3/admin/ns/instance/partial")
        .later(Method::PUT, write, |state, call| done(state, call, Dialect::V2, patch));
    routes
        .at("/v3/admin/ns/instance/metadata/batch")
        .later(Method::PUT, write, |state, call| batch(state, call, Dialect::V2, MetadataOp::Put))
        .later(Method::DELETE, write, |state, call| {
            batch(state, call, Dialect::V2, MetadataOp::Delete)
        });
}

/// How a family of paths names a service and says that something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `group@@service` in one parameter; the text `ok`.
    V1,
    /// Group and service apart, as in v3 too; `ok` in the envelope.
    V2,
}

impl Dialect {
    /// The service that a call means.
    pub(crate) fn target<'a>(self, params: &'a Params<'_>) -> Result<Target<'a>, Failure> {
        match self {
            Self::V1 => Target::grouped(params),
            Self::V2 => Target::apart(params),
        }
    }

    /// It is done.
    pub(crate) fn ok(self) -> Answer {
        match self {
            Self::V1 => Answer::text("ok"),
            Self::V2 => Answer::result("ok"),
        }
    }

    /// The failure of a registry write, with the name of the service that the call means.
    pub(crate) fn failure(
        self,
        call: &Call,
        error: crate::request::WriteError<nacolet_registry::RegistryError>,
    ) -> Failure {
        let params = call.params();
        match self.target(&params) {
            Ok(target) => refused::failure(error, target.full_name()),
            Err(failure) => failure,
        }
    }
}

/// Turns the parameters of a call into a write.
pub(crate) type Read = fn(&State, &Params<'_>, Target<'_>) -> Result<Request, Failure>;

/// A write whose answer is "ok".
pub(crate) async fn done(
    state: Arc<State>,
    call: Call,
    dialect: Dialect,
    read: Read,
) -> Result<Answer, Failure> {
    let request = {
        let params = call.params();
        read(&state, &params, dialect.target(&params)?)?
    };
    match state.write_registry(request).await {
        Ok(_) => Ok(dialect.ok()),
        Err(error) => Err(dialect.failure(&call, error)),
    }
}

fn default_ephemeral(state: &State) -> bool {
    state.registry().switches().default_instance_ephemeral
}

fn register(state: &State, params: &Params<'_>, target: Target<'_>) -> Result<Request, Failure> {
    let instance = spec::from_params(params, default_ephemeral(state))?;
    Ok(Request::Register { service: target.key()?, instance })
}

/// Only an instance of the kind that the call says or that is the default (Nacos looks for the client
/// `ip:port#ephemeral`).
fn deregister(state: &State, params: &Params<'_>, target: Target<'_>) -> Result<Request, Failure> {
    let (ip, port) = target::address(params)?;
    let ephemeral = target::toggle(params, "ephemeral", default_ephemeral(state));
    Ok(Request::Deregister {
        service: target.key()?,
        ip: ip.into(),
        port,
        cluster: target::cluster(params)?.map(ClusterName::new).transpose()?,
        ephemeral: Some(ephemeral),
    })
}

fn update(state: &State, params: &Params<'_>, target: Target<'_>) -> Result<Request, Failure> {
    let instance = spec::from_params(params, default_ephemeral(state))?;
    Ok(Request::Update { service: target.key()?, instance })
}

fn patch(_state: &State, params: &Params<'_>, target: Target<'_>) -> Result<Request, Failure> {
    let (ip, port) = target::address(params)?;
    let given = |name| params.text(name).map(|_| target::toggle(params, name, false));
    Ok(Request::Patch {
        service: target.key()?,
        ip: ip.into(),
        port,
        cluster: target::cluster(params)?.map(ClusterName::new).transpose()?,
        weight: spec::weight(params)?,
        healthy: given("healthy"),
        enabled: given("enabled"),
        metadata: params.text("metadata").map(spec::parse_metadata).transpose()?,
    })
}

/// v3 registers and beats through one path.
async fn register_or_beat(state: Arc<State>, call: Call) -> Result<Answer, Failure> {
    if !call.params().flag_or("heartBeat", false) {
        return done(state, call, Dialect::V2, register).await;
    }
    if beat::light_beat_v3(&state, &call).await? {
        return Ok(Answer::result("ok"));
    }
    // With status 200, so that a client tells "register again" from a failing server.
    let Code(code, words) = Code::INSTANCE_NOT_FOUND;
    Ok(Answer::json(&Envelope { code, message: Some(words), data: &() }))
}

/// Runs `show` on the instance that a call means.
fn with_instance(
    state: &State,
    call: &Call,
    dialect: Dialect,
    show: impl FnOnce(&Instance, Grouped<'_>) -> Answer,
) -> Result<Answer, Failure> {
    let params = call.params();
    let target = dialect.target(&params)?;
    let (ip, port) = target::address(&params)?;
    let cluster = target::cluster(&params)?;
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let service = registry.service(target.namespace, target.group, target.name);
    let Some(service) = service.filter(|service| !service.instances().is_empty()) else {
        return Err(refused::nothing_here(format!(
            "no ips found for cluster {} in service {}",
            cluster.unwrap_or(ClusterName::DEFAULT),
            target.full_name()
        )));
    };
    let Some(instance) = service.find(ip, port, cluster) else {
        return Err(refused::nothing_here("no matched ip found!".into()));
    };
    Ok(show(instance, target.full_name()))
}

fn detail(state: &State, call: &Call, dialect: Dialect) -> Result<Answer, Failure> {
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
        instance_id: InstanceId<'a>,
        metadata: Map<'a>,
    }
    with_instance(state, call, dialect, |instance, service| {
        let detail = Detail {
            service: (dialect == Dialect::V1).then_some(service),
            service_name: (dialect == Dialect::V2).then_some(service),
            ip: instance.ip(),
            port: instance.port(),
            cluster_name: instance.cluster(),
            weight: instance.weight(),
            healthy: instance.healthy(),
            instance_id: InstanceId { instance, service },
            metadata: Map(instance.metadata()),
        };
        match dialect {
            Dialect::V1 => Answer::json(&detail),
            Dialect::V2 => Answer::result(&detail),
        }
    })
}

/// v3 describes an instance as lists show it.
fn detail_v3(state: &State, call: &Call) -> Result<Answer, Failure> {
    with_instance(state, call, Dialect::V2, |instance, service| {
        Answer::result(&Host::plain(instance, service))
    })
}

async fn batch(
    state: Arc<State>,
    call: Call,
    dialect: Dialect,
    op: MetadataOp,
) -> Result<Answer, Failure> {
    let request = {
        let params = call.params();
        Request::MetadataBatch {
            service: dialect.target(&params)?.key()?,
            consistency: match params.text("consistencyType") {
                Some("ephemeral") => Consistency::Ephemeral,
                Some("persist") => Consistency::Persistent,
                _ => Consistency::Both,
            },
            instances: spec::parse_batch(params.text("instances").unwrap_or_default())?,
            metadata: spec::parse_metadata(params.required("metadata")?)?,
            op,
        }
    };
    let updated = match state.write_registry(request).await {
        Ok(Reply::Updated(updated)) => updated,
        Ok(Reply::Done | Reply::Beat(_)) => Vec::new(),
        Err(error) => return Err(dialect.failure(&call, error)),
    };
    let labels: Vec<String> = updated.iter().map(label).collect();
    let shape = json!({ "updated": labels });
    Ok(match dialect {
        Dialect::V1 => Answer::json(&shape),
        Dialect::V2 => Answer::result(&shape),
    })
}

/// `ip:port:unknown:cluster:kind`; "unknown" is the site, which no Nacos since 1.0 has.
fn label(updated: &UpdatedInstance) -> String {
    let kind = if updated.ephemeral { "ephemeral" } else { "persist" };
    let key = &updated.key;
    format!("{}:{}:unknown:{}:{kind}", key.ip, key.port, key.cluster)
}

fn statuses(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    statuses_of(state, params.required("key")?)
}

fn statuses_v2(state: &State, call: &Call) -> Result<Answer, Failure> {
    // Behind /nacos/v2/ns/instance/statuses/.
    let key = call.segment(5).unwrap_or_default();
    statuses_of(state, &key)
}

/// Health of every instance of `namespace##group@@service`.
fn statuses_of(state: &State, key: &str) -> Result<Answer, Failure> {
    let (namespace, name) = key.split_once("##").unwrap_or(("", key));
    let target = Target::parse(namespace, nacolet_model::Group::DEFAULT, name)?;
    let registry = state.registry();
    let service = registry.service(target.namespace, target.group, target.name);
    let instances = service.map_or(&[][..], |service| service.instances());
    let ips: Vec<String> = instances
        .iter()
        .map(|instance| format!("{}:{}_{}", instance.ip(), instance.port(), instance.healthy()))
        .collect();
    Ok(Answer::json(&json!({ "ips": ips })))
}
