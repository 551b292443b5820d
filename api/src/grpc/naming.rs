//! Naming messages: publish instances, look at services, subscribe to them. The connection owns the
//! ephemeral instances that it publishes: per service one set, replaced by every registration and gone
//! with the connection. Nobody beats.

use std::borrow::Cow;

use hyper::body::Bytes;
use nacolet_model::{ClusterName, Group, Namespace, ServiceKey};
use nacolet_registry::{InstanceSpec, ListQuery, Request, ServiceQuery, ServiceView};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::client::{Client, Subject};
use super::config::{request, text};
use super::message::{Refusal, done, error, failed};
use super::{Zone, watch};
use crate::list;
use crate::params::PageParams;
use crate::refused;
use crate::shapes::{Grouped, page};
use crate::spec::{Scalars, instance_cluster, metadata};
use crate::status::Failure;
use crate::target::Target;

const REGISTER: &str = "registerInstance";
const DEREGISTER: &str = "deregisterInstance";
const BATCH_REGISTER: &str = "batchRegisterInstance";

/// A service as a gRPC client sees it: its name is bare here, grouped in HTTP v1.
pub(super) struct ServiceInfo<'a> {
    view: ServiceView<'a>,
    service: Grouped<'a>,
    clusters: &'a str,
}

impl<'a> ServiceInfo<'a> {
    pub(super) fn new(view: ServiceView<'a>, query: &ListQuery<'a>) -> Self {
        let service = Grouped { group: query.group, name: query.name };
        Self { view, service, clusters: query.clusters }
    }
}

impl Serialize for ServiceInfo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        list::service_info(serializer, self.service.name, &self.view, self.service, self.clusters)
    }
}

/// The service that a request names.
pub(super) fn target<'a>(
    namespace: &'a Option<String>,
    group: &'a Option<String>,
    name: &'a Option<String>,
) -> Result<Target<'a>, Refusal> {
    let namespace = text(namespace.as_ref()).unwrap_or(Namespace::PUBLIC);
    let group = text(group.as_ref()).unwrap_or(Group::DEFAULT);
    let name = text(name.as_ref()).ok_or(Failure::missing("serviceName"))?;
    Ok(Target::parse(namespace, group, name)?)
}

/// An instance as clients send it. What is missing has the default of Java.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, bound(deserialize = "'de: 'a"))]
struct Instance<'a> {
    ip: Option<Cow<'a, str>>,
    port: Option<u16>,
    weight: Option<f64>,
    healthy: Option<bool>,
    enabled: Option<bool>,
    cluster_name: Option<Cow<'a, str>>,
    metadata: Option<Scalars<'a>>,
}

impl Instance<'_> {
    fn spec(self, client: &Client, ephemeral: bool) -> Result<InstanceSpec, Refusal> {
        let cluster = self.cluster_name.as_deref().map(str::trim).unwrap_or_default();
        let cluster = if cluster.is_empty() { ClusterName::DEFAULT } else { cluster };
        let spec = InstanceSpec {
            ip: self.ip.as_deref().map(str::trim).unwrap_or_default().into(),
            port: self.port.ok_or(Failure::missing("port"))?,
            cluster: instance_cluster(cluster)?,
            weight: self.weight.unwrap_or(1.0),
            enabled: self.enabled.unwrap_or(true),
            healthy: self.healthy.unwrap_or(true),
            ephemeral,
            metadata: metadata(self.metadata.unwrap_or_default())?,
            app: client.app(),
        };
        spec.check()?;
        Ok(spec)
    }
}

/// `InstanceRequest`, `PersistentInstanceRequest` and `BatchInstanceRequest`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, bound(deserialize = "'de: 'a"))]
pub(super) struct Publishing<'a> {
    request_id: Option<String>,
    namespace: Option<String>,
    service_name: Option<String>,
    group_name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    instance: Option<Instance<'a>>,
    instances: Option<Vec<Instance<'a>>>,
}

/// `InstanceResponse` and `BatchInstanceResponse`.
#[derive(Serialize)]
struct Published<'a> {
    r#type: &'a str,
}

pub(super) async fn publish_one(zone: &Zone, client: &Client, request: Publishing<'_>) -> Bytes {
    publish(zone, "InstanceResponse", request, |request, service| {
        let instances = match request.kind.as_deref() {
            Some(REGISTER) => vec![request.instance()?.spec(client, true)?],
            // Whatever address it names: the connection has one set per service (Nacos).
            Some(DEREGISTER) => Vec::new(),
            _ => return Err(unknown_type(request)),
        };
        Ok(Request::Publish { client: client.id, service, instances })
    })
    .await
}

pub(super) async fn publish_batch(zone: &Zone, client: &Client, request: Publishing<'_>) -> Bytes {
    publish(zone, "BatchInstanceResponse", request, |request, service| {
        if request.kind.as_deref() != Some(BATCH_REGISTER) {
            return Err(unknown_type(request));
        }
        let instances = request.instances.take().unwrap_or_default();
        let specs = instances.into_iter().map(|instance| instance.spec(client, true));
        let instances = specs.collect::<Result<_, _>>()?;
        Ok(Request::Publish { client: client.id, service, instances })
    })
    .await
}

pub(super) async fn publish_persistent(
    zone: &Zone,
    client: &Client,
    request: Publishing<'_>,
) -> Bytes {
    publish(zone, "InstanceResponse", request, |request, service| {
        let kind = request.kind.clone();
        let spec = request.instance()?.spec(client, false)?;
        match kind.as_deref() {
            Some(REGISTER) => Ok(Request::Register { service, instance: spec }),
            Some(DEREGISTER) => Ok(Request::Deregister {
                service,
                ip: spec.ip,
                port: spec.port,
                cluster: Some(spec.cluster),
                ephemeral: Some(false),
            }),
            _ => Err(unknown_type(request)),
        }
    })
    .await
}

impl<'a> Publishing<'a> {
    fn instance(&mut self) -> Result<Instance<'a>, Refusal> {
        self.instance.take().ok_or_else(|| Failure::missing("instance").into())
    }
}

fn unknown_type(request: &Publishing<'_>) -> Refusal {
    let kind: String = request.kind.as_deref().unwrap_or_default().chars().take(64).collect();
    Refusal::invalid(format!("Unsupported request type {kind}"))
}

async fn publish<'a>(
    zone: &Zone,
    kind: &str,
    mut request: Publishing<'a>,
    command: impl FnOnce(&mut Publishing<'a>, ServiceKey) -> Result<Request, Refusal>,
) -> Bytes {
    let outcome = match prepare(&mut request, command) {
        Ok((command, service)) => match zone.state.enter() {
            Some(_permit) => {
                let outcome = zone.state.write_registry(command).await;
                let named = Grouped { group: service.group.as_str(), name: service.name.as_str() };
                outcome.map_err(|error| refused::failure(error, named).into())
            }
            None => Err(Refusal::OVERLOADED),
        },
        Err(refusal) => Err(refusal),
    };
    let id = request.request_id.as_deref();
    let published = Published { r#type: request.kind.as_deref().unwrap_or_default() };
    match outcome {
        Ok(_) => done(kind, id, published),
        Err(refusal) => failed(kind, id, &refusal, published),
    }
}

fn prepare<'a>(
    request: &mut Publishing<'a>,
    command: impl FnOnce(&mut Publishing<'a>, ServiceKey) -> Result<Request, Refusal>,
) -> Result<(Request, ServiceKey), Refusal> {
    let target = target(&request.namespace, &request.group_name, &request.service_name)?;
    let service = target.key()?;
    Ok((command(request, service.clone())?, service))
}

request! {
    /// `ServiceQueryRequest`
    Query {
        namespace: String,
        service_name: String,
        group_name: String,
        cluster: String,
        healthy_only: bool,
        // Python's name for it.
        health_only: bool,
    }
}

/// `QueryServiceResponse` and `SubscribeServiceResponse`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found<'a> {
    service_info: ServiceInfo<'a>,
}

pub(super) fn query(zone: &Zone, request: &Query) -> Bytes {
    let id = request.request_id.as_deref();
    let look = || {
        let target = target(&request.namespace, &request.group_name, &request.service_name)?;
        let healthy_only = request.healthy_only.or(request.health_only).unwrap_or(false);
        let clusters = clusters(&request.cluster)?;
        look(zone, "QueryServiceResponse", id, target, clusters, healthy_only)
    };
    // The answer must have a list; where there is none, the error speaks for itself.
    look().unwrap_or_else(|refusal: Refusal| error(id, &refusal))
}

fn look(
    zone: &Zone,
    kind: &str,
    id: Option<&str>,
    target: Target<'_>,
    clusters: &str,
    healthy_only: bool,
) -> Result<Bytes, Refusal> {
    let Target { namespace, group, name } = target;
    let query = ListQuery { namespace, group, name, clusters, healthy_only };
    let registry = zone.state.registry();
    refused::check_readable(&zone.state, &registry)?;
    let service_info = ServiceInfo::new(registry.list(&query), &query);
    Ok(done(kind, id, Found { service_info }))
}

fn clusters(field: &Option<String>) -> Result<&str, Refusal> {
    let clusters = field.as_deref().unwrap_or_default();
    for cluster in clusters.split(',').map(str::trim).filter(|cluster| !cluster.is_empty()) {
        ClusterName::check(cluster)?;
    }
    Ok(clusters)
}

request! {
    /// `SubscribeServiceRequest`
    Subscribing {
        namespace: String,
        service_name: String,
        group_name: String,
        clusters: String,
        subscribe: bool,
    }
}

pub(super) fn subscribe(zone: &Zone, client: &Client, request: &Subscribing) -> Bytes {
    let id = request.request_id.as_deref();
    let answer = || {
        let target = target(&request.namespace, &request.group_name, &request.service_name)?;
        let clusters = clusters(&request.clusters)?;
        if request.subscribe.unwrap_or(true) {
            let subscription = watch::subscribe(zone, client, target.key()?, clusters)?;
            // A client that subscribes again after a loss throws the answer away, and waits for a push
            // of what it missed (Java). That there is nothing it hears when there is something again.
            let Target { namespace, group, name } = target;
            let query = ListQuery { namespace, group, name, clusters, healthy_only: false };
            if zone.state.registry().list(&query).hosts().next().is_some() {
                client.owe_later(Subject::Service(subscription));
            }
        } else {
            watch::unsubscribe(zone, client, &target.key()?, clusters);
        }
        look(zone, "SubscribeServiceResponse", id, target, clusters, false)
    };
    answer().unwrap_or_else(|refusal: Refusal| error(id, &refusal))
}

request! {
    /// `ServiceListRequest`
    Listing { namespace: String, group_name: String, page_no: i64, page_size: i64, }
}

/// `ServiceListResponse`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Services<'a> {
    count: usize,
    service_names: Vec<&'a str>,
}

pub(super) fn list(zone: &Zone, request: &Listing) -> Bytes {
    const KIND: &str = "ServiceListResponse";
    let id = request.request_id.as_deref();
    let namespace = Namespace::canonical(text(request.namespace.as_ref()).unwrap_or_default());
    let group = Group::check(text(request.group_name.as_ref()).unwrap_or(Group::DEFAULT));
    let registry = zone.state.registry();
    let checked = refused::check_readable(&zone.state, &registry);
    match (namespace, group, checked) {
        (Ok(namespace), Ok(group), Ok(())) => {
            let query = ServiceQuery { group: Some(group), ..ServiceQuery::all(namespace) };
            let names = registry.services(&query).map(|service| service.key().name.as_str());
            let positive = |field: Option<i64>, default: usize| {
                let given = field.and_then(|number| usize::try_from(number).ok());
                given.filter(|number| *number > 0).unwrap_or(default)
            };
            let size = positive(request.page_size, 10);
            let (count, service_names) =
                page(names, PageParams { number: positive(request.page_no, 1), size });
            done(KIND, id, Services { count, service_names })
        }
        (namespace, group, checked) => {
            let nothing = Services { count: 0, service_names: Vec::new() };
            let ids = namespace.and(group).map_err(Refusal::from).err();
            let refusal = ids.or_else(|| checked.map_err(Refusal::from).err());
            let refusal = refusal.unwrap_or(Refusal::OVERLOADED);
            failed(KIND, id, &refusal, nothing)
        }
    }
}
