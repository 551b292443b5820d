//! Services and instances as a console lists them: with counts, disabled instances included.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use nacolet_model::{ClusterName, ServiceKey, limits};
use nacolet_registry::{ClusterMeta, Instance, Registry, Service, ServiceMeta, ServiceQuery};
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::{Value, json};

use crate::access::about;
use crate::access::about::Whole;
use crate::access::rule::Permission;
use crate::http::answer::{Envelope, HttpAnswer};
use crate::http::failure::{Code, Failure};
use crate::http::listed::{Making, long, long_result};
use crate::http::paging;
use crate::http::paging::{PageOf, PageParams};
use crate::http::params::{Field, field};
use crate::naming::words::dialect::{find, was_agreed};
use crate::naming::words::refused;
use crate::naming::words::shapes::{CheckerShape, Grouped, Host, Map, SelectorShape};
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

pub(crate) fn routes(routes: &mut Routes) {
    let (read, grouped) = (Permission::NamingRead, about::service_grouped);
    routes.at("/v1/ns/catalog/services").later(Method::GET, read, about::services, services_v1);
    routes.at("/v1/ns/catalog/instances").now(Method::GET, read, grouped, instances_v1).now(
        Method::POST,
        read,
        grouped,
        instances_v1,
    );
    routes.at("/v1/ns/catalog/service").now(Method::GET, read, grouped, service_v1);
    // As beat and patch of v2, it kept the grouped name.
    routes.at("/v2/ns/catalog/instances").now(Method::GET, read, grouped, instances_v2);
    for path in ["/v3/admin/ns/service/list", "/v3/console/ns/service/list"] {
        routes.at(path).later(Method::GET, read, about::services, services_v3);
    }
    let apart = about::service_apart;
    routes.at("/v3/admin/ns/instance/list").now(Method::GET, read, apart, instances_v3);
    routes.at("/v3/console/ns/instance/list").now(Method::GET, read, apart, instances_console);
}

/// One line of a list of services (Nacos `ServiceView`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceLine<'a> {
    name: &'a str,
    group_name: &'a str,
    cluster_count: usize,
    ip_count: usize,
    healthy_instance_count: usize,
    /// A text, and "true" when protection has begun.
    trigger_flag: &'static str,
}

/// A page of them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceLines<'a> {
    count: usize,
    service_list: Vec<ServiceLine<'a>>,
}

impl<'a> ServiceLine<'a> {
    fn new(service: &'a Service) -> Self {
        let instances = service.instances().count();
        let healthy = service.healthy_count();
        let triggered = match (u32::try_from(healthy), u32::try_from(instances)) {
            (Ok(healthy), Ok(all)) => {
                f64::from(healthy) <= service.protect_threshold() * f64::from(all)
            }
            _ => false,
        };
        // An empty service has nothing to protect.
        let triggered = triggered && instances > 0;
        Self {
            name: service.key().name.as_str(),
            group_name: service.key().group.as_str(),
            cluster_count: service.clusters().len(),
            ip_count: instances,
            healthy_instance_count: healthy,
            trigger_flag: if triggered { "true" } else { "false" },
        }
    }
}

/// Which services a console asks for.
fn query(ask: &Ask<Whole>, with_instances: Field) -> Result<ServiceQuery<'_>, Failure> {
    let params = &ask.params;
    Ok(ServiceQuery {
        group_part: params.text(field::GROUP_NAME_PARAM).unwrap_or_default(),
        name_part: params.text(field::SERVICE_NAME_PARAM).unwrap_or_default(),
        with_instances: params.boolean(with_instances)?.unwrap_or(false),
        instance_part: params.text(field::INSTANCE).unwrap_or_default(),
        ..ServiceQuery::all(ask.about.namespace.as_str())
    })
}

async fn services_v1(state: Arc<State>, ask: Ask<Whole>) -> Result<HttpAnswer, Failure> {
    let params = &ask.params;
    let query = query(&ask, field::HAS_IP_COUNT)?;
    let page = params.page(limits::HISTORY_PAGE_MAX, limits::SERVICES_MAX)?;
    if params.boolean(field::WITH_INSTANCES)?.unwrap_or(false) {
        let keys = keys(&state, &query, page).1;
        let making = with_hosts(&state, Making::new(&ask.room), keys, false).await?;
        return Ok(making.list("")?.answer());
    }
    let registry = state.registry();
    let (count, services) = paging::page(registry.services(&query), page);
    let service_list = services.into_iter().map(ServiceLine::new).collect();
    long(&ask.room, &ServiceLines { count, service_list })
}

async fn services_v3(state: Arc<State>, ask: Ask<Whole>) -> Result<HttpAnswer, Failure> {
    let params = &ask.params;
    let query = query(&ask, field::IGNORE_EMPTY_SERVICE)?;
    let page = params.page_v3(100, limits::HISTORY_PAGE_MAX)?;
    if params.boolean(field::WITH_INSTANCES)?.unwrap_or(false) {
        let (total, keys) = keys(&state, &query, page);
        let data = PageOf::asked(total, page, std::iter::empty::<()>());
        let around = Envelope { code: 0, message: Some("success"), data: &data };
        let around = serde_json::to_string(&around).unwrap_or_default();
        // Of numbers and one list, which is empty yet.
        let (before, behind) = around.split_once("[]").unwrap_or_default();
        let making = Making::behind(&ask.room, before)?;
        let making = with_hosts(&state, making, keys, true).await?;
        return Ok(making.list(behind)?.answer());
    }
    let registry = state.registry();
    let (total, items) = paging::page(registry.services(&query), page);
    let items = items.into_iter().map(ServiceLine::new);
    long_result(&ask.room, &PageOf::asked(total, page, items))
}

/// How many services there are, and those of a page.
fn keys(state: &State, query: &ServiceQuery<'_>, page: PageParams) -> (usize, Vec<ServiceKey>) {
    let registry = state.registry();
    let (total, services) = paging::page(registry.services(query), page);
    (total, services.into_iter().map(|service| service.key().clone()).collect())
}

/// Adds services with their instances, one after the other: others have their turn between two.
async fn with_hosts(
    state: &State,
    mut making: Making,
    keys: Vec<ServiceKey>,
    is_v3: bool,
) -> Result<Making, Failure> {
    for key in keys {
        if let Some(service) = find(&state.registry(), &key) {
            making.item(&WithHosts { service, is_v3 })?;
        }
        smol::future::yield_now().await;
    }
    Ok(making)
}

/// A service with the instances of its clusters (Nacos `pageListServiceDetail`). What that does not
/// look up it says is null.
struct WithHosts<'a> {
    service: &'a Service,
    is_v3: bool,
}

impl Serialize for WithHosts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { service, is_v3 } = *self;
        let unsaid = ServiceMeta::default();
        let meta = service.meta().unwrap_or(&unsaid);
        let mut clusters: BTreeMap<&str, InCluster<'_>> = BTreeMap::new();
        for instance in service.instances() {
            let cluster = instance.cluster();
            let of = clusters.entry(cluster).or_insert_with(|| InCluster {
                service,
                cluster,
                instances: Vec::new(),
                is_v3,
            });
            of.instances.push(instance);
        }
        let mut shown = serializer.serialize_map(None)?;
        shown.serialize_entry("clusterMap", &clusters)?;
        shown.serialize_entry("ephemeral", &())?;
        shown.serialize_entry("groupName", &service.key().group)?;
        shown.serialize_entry("metadata", &Map(&meta.metadata))?;
        shown.serialize_entry(if is_v3 { "namespaceId" } else { "namespace" }, &())?;
        shown.serialize_entry("protectThreshold", &meta.protect_threshold)?;
        shown.serialize_entry("selector", &())?;
        shown.serialize_entry("serviceName", &service.key().name)?;
        shown.end()
    }
}

/// The instances of a service that are in one of its clusters.
struct InCluster<'a> {
    service: &'a Service,
    cluster: &'a str,
    instances: Vec<&'a Instance>,
    is_v3: bool,
}

impl Serialize for InCluster<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { service, cluster, is_v3, .. } = *self;
        let unsaid = ClusterMeta::default();
        let meta = service.cluster_meta(cluster).unwrap_or(&unsaid);
        let mut shown = serializer.serialize_map(None)?;
        shown.serialize_entry("clusterName", &())?;
        shown.serialize_entry("healthChecker", &())?;
        if is_v3 {
            shown.serialize_entry("healthyCheckPort", &meta.check_port)?;
        }
        shown.serialize_entry("hosts", &HostsOf(self))?;
        shown.serialize_entry("metadata", &())?;
        if is_v3 {
            shown.serialize_entry("useInstancePortForCheck", &meta.use_instance_port)?;
        }
        shown.end()
    }
}

struct HostsOf<'a>(&'a InCluster<'a>);

impl Serialize for HostsOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let InCluster { service, instances, is_v3, .. } = self.0;
        let name = Grouped::of(service.key());
        let instances = instances.iter().copied();
        if *is_v3 {
            return serializer
                .collect_seq(instances.map(|instance| Host::nameless(instance, name)));
        }
        serializer.collect_seq(instances.map(|instance| HostV1 {
            enabled: instance.enabled(),
            ip: instance.ip(),
            metadata: Map(instance.metadata()),
            port: instance.port(),
            valid: instance.healthy(),
            weight: instance.weight(),
        }))
    }
}

/// An instance as a service of v1 shows it.
#[derive(Serialize)]
struct HostV1<'a> {
    enabled: bool,
    ip: &'a str,
    metadata: Map<'a>,
    port: u16,
    valid: bool,
    weight: f64,
}

fn service_gone(name: Grouped<'_>) -> Failure {
    refused::nothing_here(format!("service {name} is not found!"))
}

fn instances_v1(state: &State, ask: &Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    let params = &ask.params;
    let cluster = params.present(field::CLUSTER_NAME)?.trim();
    params.required(field::PAGE_NO)?;
    params.required(field::PAGE_SIZE)?;
    let page = params.page(limits::HISTORY_PAGE_MAX, limits::INSTANCES_PER_SERVICE_MAX)?;
    let registry = state.registry();
    let name = Grouped::of(&ask.about);
    let service = find(&registry, &ask.about).ok_or_else(|| service_gone(name))?;
    let in_cluster = service.instances().filter(|instance| instance.cluster() == cluster);
    let (count, instances) = paging::page(in_cluster, page);
    if count == 0 && service.cluster_meta(cluster).is_none() {
        return Err(refused::nothing_here(format!("cluster {cluster} is not found!")));
    }
    let list = instances.into_iter().map(|instance| Host::plain(instance, name)).collect();
    Ok(long(&ask.room, &HostList { count, list })?.agreed(service.was_agreed()))
}

/// The cluster that a call of v3 lists, the default one where none is named.
struct ListedCluster<'a> {
    name: Grouped<'a>,
    service: &'a Service,
    cluster: &'a str,
}

impl<'a> ListedCluster<'a> {
    fn of(registry: &'a Registry, ask: &'a Ask<ServiceKey>) -> Result<Self, Failure> {
        let cluster = ask.params.text_or(field::CLUSTER_NAME, ClusterName::DEFAULT);
        ClusterName::check(cluster)?;
        let name = Grouped::of(&ask.about);
        let service = find(registry, &ask.about)
            .ok_or_else(|| gone_v3(format!("service {name} is not found!")))?;
        let listed = Self { name, service, cluster };
        if listed.instances().next().is_none() && service.cluster_meta(cluster).is_none() {
            return Err(gone_v3(format!("cluster {cluster} is not found!")));
        }
        Ok(listed)
    }

    /// The disabled ones too, each with its own health.
    fn instances(&self) -> impl Iterator<Item = &'a Instance> + use<'a> {
        let cluster = self.cluster;
        self.service.instances().filter(move |instance| instance.cluster() == cluster)
    }
}

fn gone_v3(words: String) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, Code::SERVER_ERROR, words)
}

fn instances_v3(state: &State, ask: &Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    let healthy_only = ask.params.boolean(field::HEALTHY_ONLY)?.unwrap_or(false);
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let listed = ListedCluster::of(&registry, ask)?;
    let shown = listed.instances().filter(|instance| instance.healthy() || !healthy_only);
    let hosts: Vec<Host<'_>> =
        shown.map(|instance| Host::nameless(instance, listed.name)).collect();
    Ok(long_result(&ask.room, &hosts)?.agreed(listed.service.was_agreed()))
}

fn instances_console(state: &State, ask: &Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    let page = ask.params.page_v3(100, limits::HISTORY_PAGE_MAX)?;
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let listed = ListedCluster::of(&registry, ask)?;
    let (total, shown) = paging::page(listed.instances(), page);
    let hosts = shown.into_iter().map(|instance| Host::nameless(instance, listed.name));
    let answer = long_result(&ask.room, &PageOf::asked(total, page, hosts))?;
    Ok(answer.agreed(listed.service.was_agreed()))
}

fn instances_v2(state: &State, ask: &Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    let params = &ask.params;
    params.required(field::PAGE_NO)?;
    params.required(field::PAGE_SIZE)?;
    let page = params.page(limits::HISTORY_PAGE_MAX, limits::INSTANCES_PER_SERVICE_MAX)?;
    let healthy = params.boolean(field::HEALTHY_ONLY)?;
    let enabled = params.boolean(field::ENABLED_ONLY)?;
    let registry = state.registry();
    let service = find(&registry, &ask.about);
    let instances = service.into_iter().flat_map(Service::instances).filter(|instance| {
        healthy.is_none_or(|healthy| healthy == instance.healthy())
            && enabled.is_none_or(|enabled| enabled == instance.enabled())
    });
    let (count, instances) = paging::page(instances, page);
    let name = Grouped::of(&ask.about);
    let instances = instances.into_iter().map(|instance| Host::nameless(instance, name)).collect();
    let answer = long_result(&ask.room, &HostPage { count, instances })?;
    Ok(answer.agreed(was_agreed(service)))
}

/// A page of instances as v1 tells it.
#[derive(Serialize)]
struct HostList<'a> {
    count: usize,
    list: Vec<Host<'a>>,
}

/// And as v2 does.
#[derive(Serialize)]
struct HostPage<'a> {
    count: usize,
    instances: Vec<Host<'a>>,
}

fn service_v1(state: &State, ask: &Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    let registry = state.registry();
    let name = Grouped::of(&ask.about);
    let service = find(&registry, &ask.about).ok_or_else(|| service_gone(name))?;
    let unsaid = (ServiceMeta::default(), ClusterMeta::default());
    let meta = service.meta().unwrap_or(&unsaid.0);
    let clusters: Vec<Value> = service
        .clusters()
        .into_iter()
        .map(|(cluster, meta)| {
            let meta = meta.unwrap_or(&unsaid.1);
            json!({
                "serviceName": name,
                "name": cluster,
                "healthChecker": CheckerShape(&meta.health_checker),
                "defaultPort": 80,
                "defaultCheckPort": meta.check_port,
                "useIPPort4Check": meta.use_instance_port,
                "metadata": Map(&meta.metadata),
            })
        })
        .collect();
    Ok(HttpAnswer::json(&json!({
        "service": {
            "name": ask.about.name,
            "groupName": ask.about.group,
            "protectThreshold": meta.protect_threshold,
            "selector": SelectorShape(&meta.selector),
            "metadata": Map(&meta.metadata),
        },
        "clusters": clusters,
    })))
}
