//! Naming messages: publish instances, look at services, subscribe to them. The connection owns the
//! ephemeral instances that it publishes: per service one set, replaced by every registration and
//! gone with the connection. Nobody beats.

use std::fmt;

use hyper::body::Bytes;
use nacolet_model::{ClusterName, Group, Namespace, ServiceKey, limits};
use nacolet_registry::{InstanceSpec, ListQuery, Request, ServiceQuery, SpecError};
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::access::about::GroupOfServices;
use crate::grpc::client::{Client, Subject};
use crate::grpc::message::info::{GrpcServiceInfo, NoService};
use crate::grpc::message::kind::RequestKind;
use crate::grpc::message::read::{Unread, request, target, text};
use crate::grpc::message::{Refusal, Reply, done, done_long, failed};
use crate::grpc::tell::interest;
use crate::grpc::zone::Asker;
use crate::http::failure::Failure;
use crate::http::json::{MetadataJson, object};
use crate::http::paging::{PageParams, page};
use crate::naming::words::refused;
use crate::naming::words::shapes::Grouped;
use crate::naming::words::spec::instance_cluster;

const REGISTER: &str = "registerInstance";
const DEREGISTER: &str = "deregisterInstance";
const BATCH_REGISTER: &str = "batchRegisterInstance";

/// An instance as clients send it. What is missing has the default of Java.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireInstance {
    ip: Option<Box<str>>,
    port: Option<i64>,
    weight: Option<f64>,
    healthy: Option<bool>,
    enabled: Option<bool>,
    cluster_name: Option<Box<str>>,
    metadata: MetadataJson,
}

impl WireInstance {
    fn spec(self, client: &Client, ephemeral: bool) -> Result<InstanceSpec, Refusal> {
        let cluster = self.cluster_name.as_deref().map(str::trim).unwrap_or_default();
        let cluster = if cluster.is_empty() { ClusterName::DEFAULT } else { cluster };
        let spec = InstanceSpec {
            ip: self.ip.as_deref().map(str::trim).unwrap_or_default().into(),
            port: port(self.port.ok_or(Failure::missing("port"))?)?,
            cluster: instance_cluster(cluster)?,
            weight: self.weight.unwrap_or(1.0),
            enabled: self.enabled.unwrap_or(true),
            healthy: self.healthy.unwrap_or(true),
            ephemeral,
            metadata: self.metadata.0.map_err(Failure::from)?,
            app: client.app(),
        };
        spec.check().map_err(|error| {
            let is_thrown = matches!(error, SpecError::Timers | SpecError::TimerRange);
            let refusal = Refusal::from(error);
            if is_thrown { refusal.thrown() } else { refusal }
        })?;
        Ok(spec)
    }
}

fn port(said: i64) -> Result<u16, Refusal> {
    let words = "Param 'port' is illegal, the value should be between 0 and 65535.";
    u16::try_from(said).ok().ok_or(Refusal::invalid(words))
}

/// As many instances as one service may have, with as many entries of metadata as may be read at
/// once.
#[derive(Debug, Default)]
struct Instances(Vec<WireInstance>);

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
                while let Some(item) = items.next_element::<WireInstance>()? {
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
pub(crate) struct InstanceRequest {
    id: Option<String>,
    pub(crate) service: ServiceKey,
    kind: Option<String>,
    instance: Option<WireInstance>,
    instances: Vec<WireInstance>,
}

impl InstanceRequest {
    pub(crate) fn read(of: RequestKind, json: &[u8]) -> Result<Self, Unread> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Wire {
            request_id: Option<String>,
            namespace: Option<String>,
            service_name: Option<String>,
            group_name: Option<String>,
            #[serde(rename = "type")]
            kind: Option<String>,
            instance: Option<WireInstance>,
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
                let published = InstanceResponse { r#type: kind.as_deref().unwrap_or_default() };
                let answer = failed(of.response(), id.as_deref(), &refusal, published);
                Err(Unread::Refused(answer))
            }
        }
    }
}

/// `InstanceResponse` and `BatchInstanceResponse`.
#[derive(Serialize)]
struct InstanceResponse<'a> {
    r#type: &'a str,
}

pub(crate) async fn publish_one(from: &Asker<'_>, request: InstanceRequest) -> Bytes {
    publish(from, RequestKind::Instance, request, |request, service| {
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

pub(crate) async fn publish_batch(from: &Asker<'_>, request: InstanceRequest) -> Bytes {
    publish(from, RequestKind::BatchInstance, request, |request, service| {
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

pub(crate) async fn publish_persistent(from: &Asker<'_>, request: InstanceRequest) -> Bytes {
    publish(from, RequestKind::PersistentInstance, request, |request, service| {
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

impl InstanceRequest {
    fn instance(&mut self) -> Result<WireInstance, Refusal> {
        let missing = || Refusal::from(Failure::missing("instance")).thrown();
        self.instance.take().ok_or_else(missing)
    }
}

fn unknown_type(request: &InstanceRequest) -> Refusal {
    let kind: String = request.kind.as_deref().unwrap_or_default().chars().take(64).collect();
    Refusal::invalid(format!("Unsupported request type {kind}")).thrown()
}

async fn publish(
    from: &Asker<'_>,
    kind: RequestKind,
    mut request: InstanceRequest,
    command: impl FnOnce(&mut InstanceRequest, ServiceKey) -> Result<Request, Refusal>,
) -> Bytes {
    let (state, service) = (&from.zone.state, request.service.clone());
    let outcome = match command(&mut request, service.clone()) {
        Ok(command) => match state.enter() {
            Some(_permit) => {
                let outcome = state.write_registry(command).await;
                let refusal = |error| Refusal::from(refused::failure(error, Grouped::of(&service)));
                outcome.map_err(|error| refusal(error).thrown())
            }
            None => Err(Refusal::OVERLOADED),
        },
        Err(refusal) => Err(refusal),
    };
    let id = request.id.as_deref();
    let published = InstanceResponse { r#type: request.kind.as_deref().unwrap_or_default() };
    match outcome {
        Ok(_) => done(kind.response(), id, published),
        Err(refusal) => failed(kind.response(), id, &refusal, published),
    }
}

/// `ServiceQueryRequest`
pub(crate) struct ServiceQueryRequest {
    id: Option<String>,
    /// None where it names none: the list of that is empty.
    pub(crate) service: Option<ServiceKey>,
    group: Option<String>,
    clusters: String,
    healthy_only: bool,
}

impl ServiceQueryRequest {
    pub(crate) fn read(json: &[u8]) -> Result<Self, Unread> {
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
        let unread = |refusal| unread(FOUND, id.as_deref(), &refusal);
        let clusters = clusters(cluster).map_err(unread)?;
        let service = match text(service_name.as_ref()) {
            None => None,
            Some(_) => {
                let named = target(namespace.as_ref(), group_name.as_ref(), service_name.as_ref());
                Some(named.map_err(unread)?)
            }
        };
        Ok(Self { id, service, group: group_name, clusters, healthy_only })
    }
}

fn unread(kind: &str, id: Option<&str>, refusal: &Refusal) -> Unread {
    Unread::Refused(no_list(kind, id, refusal))
}

/// A refusal with the list that strict clients insist on.
fn no_list(kind: &str, id: Option<&str>, refusal: &Refusal) -> Bytes {
    failed(kind, id, refusal, QueryServiceResponse { service_info: NoService::new("", "", 0) })
}

const FOUND: &str = "QueryServiceResponse";
const SUBSCRIBED: &str = "SubscribeServiceResponse";

/// `QueryServiceResponse` and `SubscribeServiceResponse`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueryServiceResponse<T> {
    service_info: T,
}

pub(crate) fn query(from: &Asker<'_>, request: &ServiceQueryRequest) -> Reply {
    let ServiceQueryRequest { id, service, group, clusters, healthy_only } = request;
    let id = id.as_deref();
    let Some(service) = service else {
        let group = text(group.as_ref()).unwrap_or_default();
        let now = from.zone.state.now().1.as_millis();
        let service_info = NoService::new(group, clusters, now);
        return done(FOUND, id, QueryServiceResponse { service_info }).into();
    };
    look(from, FOUND, id, service, clusters, *healthy_only)
}

fn look(
    from: &Asker<'_>,
    kind: &str,
    id: Option<&str>,
    service: &ServiceKey,
    clusters: &str,
    healthy_only: bool,
) -> Reply {
    let Asker { zone, client, .. } = from;
    let query = list_query(service, clusters, healthy_only);
    let registry = zone.state.registry();
    if let Err(failure) = refused::check_readable(&zone.state, &registry) {
        return no_list(kind, id, &failure.into()).into();
    }
    let service_info = GrpcServiceInfo::new(registry.list(&query), &query);
    let told = done_long(&zone.room(client), kind, id, QueryServiceResponse { service_info });
    told.unwrap_or_else(|refusal| no_list(kind, id, &refusal).into())
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
pub(crate) struct Subscribing {
    id: Option<String>,
    pub(crate) service: ServiceKey,
    clusters: String,
    subscribe: bool,
}

impl Subscribing {
    pub(crate) fn read(json: &[u8]) -> Result<Self, Unread> {
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
        let unread = |refusal| unread(SUBSCRIBED, id.as_deref(), &refusal);
        let service = target(namespace.as_ref(), group_name.as_ref(), service_name.as_ref());
        let service = service.map_err(unread)?;
        let clusters = clusters(wire.clusters).map_err(unread)?;
        Ok(Self { id, service, clusters, subscribe: subscribe.unwrap_or(true) })
    }
}

pub(crate) fn subscribe(from: &Asker<'_>, request: Subscribing) -> Reply {
    let Asker { zone, client, .. } = from;
    let Subscribing { id, service, clusters, subscribe } = request;
    let id = id.as_deref();
    if subscribe {
        let subscription = match interest::subscribe(from, service.clone(), &clusters) {
            Ok(subscription) => subscription,
            Err(refusal) => return no_list(SUBSCRIBED, id, &refusal).into(),
        };
        // A client that subscribes again after a loss throws the answer away, and waits for a push
        // of what it missed (Java). That there is nothing it hears when there is something again.
        let query = list_query(&service, &clusters, false);
        if zone.state.registry().list(&query).hosts().next().is_some() {
            client.owe_later(Subject::Service(subscription));
        }
    } else {
        interest::unsubscribe(zone, client, &service, &clusters);
    }
    look(from, SUBSCRIBED, id, &service, &clusters, false)
}

/// `ServiceListRequest`
pub(crate) struct Listing {
    id: Option<String>,
    pub(crate) of: GroupOfServices,
    /// It is of a group without a name: nothing is in it.
    is_nameless: bool,
    page: PageParams,
}

const LISTED: &str = "ServiceListResponse";

impl Listing {
    pub(crate) fn read(json: &[u8]) -> Result<Self, Unread> {
        request! {
            Wire { namespace: String, group_name: String, page_no: i64, page_size: i64, }
        }
        let Wire { request_id: id, namespace, group_name, page_no, page_size } = object(json)?;
        let number = page_no.and_then(|number| usize::try_from(number).ok()).unwrap_or(1).max(1);
        let size = page_size.map_or(10, |size| usize::try_from(size).unwrap_or(0));
        let is_nameless = group_name.as_ref().is_some_and(|group| group.trim().is_empty());
        let page = PageParams { number, size };
        let look = || -> Result<GroupOfServices, Refusal> {
            Ok(GroupOfServices {
                namespace: Namespace::parse(text(namespace.as_ref()).unwrap_or_default())?,
                group: Group::new(text(group_name.as_ref()).unwrap_or(Group::DEFAULT))?,
            })
        };
        match look() {
            Ok(of) => Ok(Self { id, of, is_nameless, page }),
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

pub(crate) fn list(from: &Asker<'_>, request: &Listing) -> Reply {
    let Asker { zone, client, .. } = from;
    let Listing { id, of, is_nameless, page: asked } = request;
    let registry = zone.state.registry();
    let nothing = |refusal: Refusal| -> Reply {
        let nothing = Services { count: 0, service_names: Vec::new() };
        failed(LISTED, id.as_deref(), &refusal, nothing).into()
    };
    if let Err(failure) = refused::check_readable(&zone.state, &registry) {
        return nothing(failure.into());
    }
    let all = ServiceQuery::all(of.namespace.as_str());
    let query = ServiceQuery { group: Some(of.group.as_str()), ..all };
    let names = registry.services(&query).map(|service| service.key().name.as_str());
    let names = names.filter(|_| !is_nameless);
    let (count, service_names) = page(names, *asked);
    let services = Services { count, service_names };
    let told = done_long(&zone.room(client), LISTED, id.as_deref(), services);
    told.unwrap_or_else(nothing)
}
