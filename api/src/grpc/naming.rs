//! Naming messages: publish instances, look at services, subscribe to them. The connection owns the
//! ephemeral instances that it publishes: per service one set, replaced by every registration and gone
//! with the connection. Nobody beats.

use std::fmt;

use hyper::body::Bytes;
use nacolet_model::{ClusterName, Group, Namespace, ServiceKey, limits};
use nacolet_registry::{InstanceSpec, ListQuery, Request, ServiceQuery, ServiceView};
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::client::{Client, Subject};
use super::config::{request, text};
use super::dispatch::{From, Kind, Unread};
use super::message::{Refusal, done, error, failed};
use super::{Zone, watch};
use crate::about::{self, GroupOfServices};
use crate::json::{MetadataJson, object};
use crate::list;
use crate::params::PageParams;
use crate::refused;
use crate::shapes::{Grouped, page};
use crate::spec::instance_cluster;
use crate::status::Failure;

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
fn target(
    namespace: Option<&String>,
    group: Option<&String>,
    name: Option<&String>,
) -> Result<ServiceKey, Refusal> {
    let namespace = text(namespace).unwrap_or(Namespace::PUBLIC);
    let group = text(group).unwrap_or(Group::DEFAULT);
    let name = text(name).ok_or(Failure::missing("serviceName"))?;
    Ok(about::service_of(namespace, group, name)?)
}

/// An instance as clients send it. What is missing has the default of Java.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Instance {
    ip: Option<Box<str>>,
    port: Option<u16>,
    weight: Option<f64>,
    healthy: Option<bool>,
    enabled: Option<bool>,
    cluster_name: Option<Box<str>>,
    metadata: MetadataJson,
}

impl Instance {
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
            metadata: self.metadata.0.map_err(Failure::from)?,
            app: client.app(),
        };
        spec.check()?;
        Ok(spec)
    }
}

/// As many instances as one service may have, with as many entries of metadata as may be read at once.
#[derive(Debug, Default)]
struct Instances(Vec<Instance>);

impl<'de> Deserialize<'de> for Instances {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Instances;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of instances")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let (mut list, mut entries) = (Vec::new(), 0);
                while let Some(item) = items.next_element::<Instance>()? {
                    entries += item.metadata.0.as_ref().map_or(0, |metadata| metadata.iter().len());
                    if list.len() >= limits::INSTANCES_PER_SERVICE_MAX
                        || entries > limits::GRPC_METADATA_ENTRIES_MAX
                    {
                        return Err(A::Error::custom("too many instances, or too much metadata"));
                    }
                    list.push(item);
                }
                Ok(Instances(list))
            }
        }
        deserializer.deserialize_seq(Items)
    }
}

/// `InstanceRequest`, `PersistentInstanceRequest` and `BatchInstanceRequest`.
#[derive(Debug)]
pub(super) struct Publishing {
    id: Option<String>,
    pub(super) service: ServiceKey,
    kind: Option<String>,
    instance: Option<Instance>,
    instances: Vec<Instance>,
}

impl Publishing {
    pub(super) fn read(of: Kind, json: &[u8]) -> Result<Self, Unread> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Wire {
            request_id: Option<String>,
            namespace: Option<String>,
            service_name: Option<String>,
            group_name: Option<String>,
            #[serde(rename = "type")]
            kind: Option<String>,
            instance: Option<Instance>,
            instances: Option<Instances>,
        }
        let wire: Wire = object(json)?;
        let Wire { request_id: id, namespace, service_name, group_name, kind, .. } = wire;
        match target(namespace.as_ref(), group_name.as_ref(), service_name.as_ref()) {
            Ok(service) => {
                let instances = wire.instances.unwrap_or_default().0;
                Ok(Self { id, service, kind, instance: wire.instance, instances })
            }
            Err(refusal) => {
                let published = Published { r#type: kind.as_deref().unwrap_or_default() };
                let answer = failed(of.response(), id.as_deref(), &refusal, published);
                Err(Unread::Refused(answer))
            }
        }
    }
}

/// `InstanceResponse` and `BatchInstanceResponse`.
#[derive(Serialize)]
struct Published<'a> {
    r#type: &'a str,
}

pub(super) async fn publish_one(from: &From<'_>, request: Publishing) -> Bytes {
    publish(from, Kind::Instance, request, |request, service| {
        let instances = match request.kind.as_deref() {
            Some(REGISTER) => vec![request.instance()?.spec(from.client, true)?],
            // Whatever address it names: the connection has one set per service (Nacos).
            Some(DEREGISTER) => Vec::new(),
            _ => return Err(unknown_type(request)),
        };
        Ok(Request::Publish { client: from.client.id, service, instances })
    })
    .await
}

pub(super) async fn publish_batch(from: &From<'_>, request: Publishing) -> Bytes {
    publish(from, Kind::BatchInstance, request, |request, service| {
        if request.kind.as_deref() != Some(BATCH_REGISTER) {
            return Err(unknown_type(request));
        }
        let instances = std::mem::take(&mut request.instances);
        let specs = instances.into_iter().map(|instance| instance.spec(from.client, true));
        let instances = specs.collect::<Result<_, _>>()?;
        Ok(Request::Publish { client: from.client.id, service, instances })
    })
    .await
}

pub(super) async fn publish_persistent(from: &From<'_>, request: Publishing) -> Bytes {
    publish(from, Kind::PersistentInstance, request, |request, service| {
        let kind = request.kind.clone();
        let spec = request.instance()?.spec(from.client, false)?;
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

impl Publishing {
    fn instance(&mut self) -> Result<Instance, Refusal> {
        self.instance.take().ok_or_else(|| Failure::missing("instance").into())
    }
}

fn unknown_type(request: &Publishing) -> Refusal {
    let kind: String = request.kind.as_deref().unwrap_or_default().chars().take(64).collect();
    Refusal::invalid(format!("Unsupported request type {kind}"))
}

async fn publish(
    from: &From<'_>,
    kind: Kind,
    mut request: Publishing,
    command: impl FnOnce(&mut Publishing, ServiceKey) -> Result<Request, Refusal>,
) -> Bytes {
    let (state, service) = (&from.zone.state, request.service.clone());
    let outcome = match command(&mut request, service.clone()) {
        Ok(command) => match state.enter() {
            Some(_permit) => {
                let outcome = state.write_registry(command).await;
                outcome.map_err(|error| refused::failure(error, Grouped::of(&service)).into())
            }
            None => Err(Refusal::OVERLOADED),
        },
        Err(refusal) => Err(refusal),
    };
    let id = request.id.as_deref();
    let published = Published { r#type: request.kind.as_deref().unwrap_or_default() };
    match outcome {
        Ok(_) => done(kind.response(), id, published),
        Err(refusal) => failed(kind.response(), id, &refusal, published),
    }
}

/// `ServiceQueryRequest`
pub(super) struct Query {
    id: Option<String>,
    pub(super) service: ServiceKey,
    clusters: String,
    healthy_only: bool,
}

impl Query {
    pub(super) fn read(json: &[u8]) -> Result<Self, Unread> {
        request! {
            Wire {
                namespace: String,
                service_name: String,
                group_name: String,
                cluster: String,
                healthy_only: bool,
                // Python's name for it.
                health_only: bool,
            }
        }
        let wire: Wire = object(json)?;
        let Wire { request_id: id, namespace, service_name, group_name, cluster, .. } = wire;
        let healthy_only = wire.healthy_only.or(wire.health_only).unwrap_or(false);
        let unread = |refusal| unread(id.as_deref(), &refusal);
        let service = target(namespace.as_ref(), group_name.as_ref(), service_name.as_ref());
        let (service, clusters) = (service.map_err(unread)?, clusters(cluster).map_err(unread)?);
        Ok(Self { id, service, clusters, healthy_only })
    }
}

/// The answer must have a list; where there is none, the error speaks for itself.
fn unread(id: Option<&str>, refusal: &Refusal) -> Unread {
    Unread::Refused(error(id, refusal))
}

/// `QueryServiceResponse` and `SubscribeServiceResponse`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found<'a> {
    service_info: ServiceInfo<'a>,
}

pub(super) fn query(zone: &Zone, request: &Query) -> Bytes {
    let Query { id, service, clusters, healthy_only } = request;
    look(zone, "QueryServiceResponse", id.as_deref(), service, clusters, *healthy_only)
}

fn look(
    zone: &Zone,
    kind: &str,
    id: Option<&str>,
    service: &ServiceKey,
    clusters: &str,
    healthy_only: bool,
) -> Bytes {
    let query = list_query(service, clusters, healthy_only);
    let registry = zone.state.registry();
    if let Err(failure) = refused::check_readable(&zone.state, &registry) {
        return error(id, &failure.into());
    }
    let service_info = ServiceInfo::new(registry.list(&query), &query);
    done(kind, id, Found { service_info })
}

fn list_query<'a>(key: &'a ServiceKey, clusters: &'a str, healthy_only: bool) -> ListQuery<'a> {
    let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
    ListQuery { namespace, group, name: key.name.as_str(), clusters, healthy_only }
}

fn clusters(field: Option<String>) -> Result<String, Refusal> {
    let clusters = field.unwrap_or_default();
    for cluster in clusters.split(',').map(str::trim).filter(|cluster| !cluster.is_empty()) {
        ClusterName::check(cluster)?;
    }
    Ok(clusters)
}

/// `SubscribeServiceRequest`
pub(super) struct Subscribing {
    id: Option<String>,
    pub(super) service: ServiceKey,
    clusters: String,
    subscribe: bool,
}

impl Subscribing {
    pub(super) fn read(json: &[u8]) -> Result<Self, Unread> {
        request! {
            Wire {
                namespace: String,
                service_name: String,
                group_name: String,
                clusters: String,
                subscribe: bool,
            }
        }
        let wire: Wire = object(json)?;
        let Wire { request_id: id, namespace, service_name, group_name, subscribe, .. } = wire;
        let unread = |refusal| unread(id.as_deref(), &refusal);
        let service = target(namespace.as_ref(), group_name.as_ref(), service_name.as_ref());
        let service = service.map_err(unread)?;
        let clusters = clusters(wire.clusters).map_err(unread)?;
        Ok(Self { id, service, clusters, subscribe: subscribe.unwrap_or(true) })
    }
}

pub(super) fn subscribe(from: &From<'_>, request: Subscribing) -> Bytes {
    let From { zone, client, .. } = from;
    let Subscribing { id, service, clusters, subscribe } = request;
    let id = id.as_deref();
    if subscribe {
        let subscription = match watch::subscribe(from, service.clone(), &clusters) {
            Ok(subscription) => subscription,
            Err(refusal) => return error(id, &refusal),
        };
        // A client that subscribes again after a loss throws the answer away, and waits for a push
        // of what it missed (Java). That there is nothing it hears when there is something again.
        let query = list_query(&service, &clusters, false);
        if zone.state.registry().list(&query).hosts().next().is_some() {
            client.owe_later(Subject::Service(subscription));
        }
    } else {
        watch::unsubscribe(zone, client, &service, &clusters);
    }
    look(zone, "SubscribeServiceResponse", id, &service, &clusters, false)
}

/// `ServiceListRequest`
pub(super) struct Listing {
    id: Option<String>,
    pub(super) of: GroupOfServices,
    page: PageParams,
}

const LISTED: &str = "ServiceListResponse";

impl Listing {
    pub(super) fn read(json: &[u8]) -> Result<Self, Unread> {
        request! {
            Wire { namespace: String, group_name: String, page_no: i64, page_size: i64, }
        }
        let Wire { request_id: id, namespace, group_name, page_no, page_size } = object(json)?;
        let positive = |field: Option<i64>, default: usize| {
            let given = field.and_then(|number| usize::try_from(number).ok());
            given.filter(|number| *number > 0).unwrap_or(default)
        };
        let page = PageParams { number: positive(page_no, 1), size: positive(page_size, 10) };
        let look = || -> Result<GroupOfServices, Refusal> {
            Ok(GroupOfServices {
                namespace: Namespace::parse(text(namespace.as_ref()).unwrap_or_default())?,
                group: Group::new(text(group_name.as_ref()).unwrap_or(Group::DEFAULT))?,
            })
        };
        match look() {
            Ok(of) => Ok(Self { id, of, page }),
            Err(refusal) => {
                let nothing = Services { count: 0, service_names: Vec::new() };
                Err(Unread::Refused(failed(LISTED, id.as_deref(), &refusal, nothing)))
            }
        }
    }
}

/// `ServiceListResponse`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Services<'a> {
    count: usize,
    service_names: Vec<&'a str>,
}

pub(super) fn list(zone: &Zone, request: &Listing) -> Bytes {
    let Listing { id, of, page: asked } = request;
    let registry = zone.state.registry();
    if let Err(failure) = refused::check_readable(&zone.state, &registry) {
        let nothing = Services { count: 0, service_names: Vec::new() };
        return failed(LISTED, id.as_deref(), &failure.into(), nothing);
    }
    let all = ServiceQuery::all(of.namespace.as_str());
    let query = ServiceQuery { group: Some(of.group.as_str()), ..all };
    let names = registry.services(&query).map(|service| service.key().name.as_str());
    let (count, service_names) = page(names, *asked);
    done(LISTED, id.as_deref(), Services { count, service_names })
}
