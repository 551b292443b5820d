//! Services and instances as a console lists them: with counts, disabled instances included.

use hyper::Method;
use nacolet_model::{ServiceKey, limits};
use nacolet_registry::{ClusterMeta, Instance, Service, ServiceMeta, ServiceQuery};
use serde::Serialize;
use serde_json::{Map as JsonMap, Value, json};

use crate::about::{self, Whole};
use crate::call::{Answer, Ask};
use crate::instance::find;
use crate::params::{Field, PageParams, field};
use crate::refused;
use crate::router::{Permission, Routes};
use crate::search::PageOf;
use crate::server::State;
use crate::shapes::{self, CheckerShape, Grouped, Host, Map, SelectorShape};
use crate::status::Failure;

pub(crate) fn routes(routes: &mut Routes) {
    let (read, grouped) = (Permission::NamingRead, about::service_grouped);
    routes.at("/v1/ns/catalog/services").now(Method::GET, read, about::services, services_v1);
    routes.at("/v1/ns/catalog/instances").now(Method::GET, read, grouped, instances_v1).now(
        Method::POST,
        read,
        grouped,
        instances_v1,
    );
    routes.at("/v1/ns/catalog/service").now(Method::GET, read, grouped, service_v1);
    // As beat and patch of v2, it kept the grouped name.
    routes.at("/v2/ns/catalog/instances").now(Method::GET, read, grouped, instances_v2);
    routes.at("/v3/admin/ns/service/list").now(Method::GET, read, about::services, services_v3);
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

impl<'a> ServiceLine<'a> {
    fn new(service: &'a Service) -> Self {
        let instances = service.instances();
        let healthy = instances.iter().filter(|instance| instance.healthy()).count();
        let triggered = match (u32::try_from(healthy), u32::try_from(instances.len())) {
            (Ok(healthy), Ok(all)) => {
                f64::from(healthy) <= service.protect_threshold() * f64::from(all)
            }
            _ => false,
        };
        // An empty service has nothing to protect.
        let triggered = triggered && !instances.is_empty();
        Self {
            name: service.key().name.as_str(),
            group_name: service.key().group.as_str(),
            cluster_count: service.clusters().len(),
            ip_count: instances.len(),
            healthy_instance_count: healthy,
            trigger_flag: if triggered { "true" } else { "false" },
        }
    }
}

/// Which services a console asks for.
fn query(ask: &Ask<Whole>, with_instances: Field) -> ServiceQuery<'_> {
    let params = &ask.params;
    ServiceQuery {
        group_part: params.text(field::GROUP_NAME_PARAM).unwrap_or_default(),
        name_part: params.text(field::SERVICE_NAME_PARAM).unwrap_or_default(),
        with_instances: params.flag_or(with_instances, false),
        instance_part: params.text(field::INSTANCE).unwrap_or_default(),
        ..ServiceQuery::all(ask.about.namespace.as_str())
    }
}

fn services_v1(state: &State, ask: &Ask<Whole>) -> Result<Answer, Failure> {
    let params = &ask.params;
    let query = query(ask, field::HAS_IP_COUNT);
    let page = params.page(limits::HISTORY_PAGE_MAX, limits::SERVICES_MAX)?;
    let registry = state.registry();
    let (count, services) = shapes::page(registry.services(&query), page);
    if params.flag_or(field::WITH_INSTANCES, false) {
        let details: Vec<Value> = services.into_iter().map(with_hosts).collect();
        return Ok(Answer::json(&details));
    }
    let lines: Vec<ServiceLine<'_>> = services.into_iter().map(ServiceLine::new).collect();
    Ok(Answer::json(&json!({ "count": count, "serviceList": lines })))
}

fn services_v3(state: &State, ask: &Ask<Whole>) -> Result<Answer, Failure> {
    let params = &ask.params;
    let query = query(ask, field::IGNORE_EMPTY_SERVICE);
    let page = params.page(100, limits::HISTORY_PAGE_MAX)?;
    let registry = state.registry();
    let (total, items) = shapes::page(registry.services(&query), page);
    let pages = total.div_ceil(page.size);
    let page = nacolet_config::Page { total, page_no: page.number, pages, items };
    if params.flag_or(field::WITH_INSTANCES, false) {
        return Ok(Answer::result(&PageOf::new(page, with_hosts)));
    }
    Ok(Answer::result(&PageOf::new(page, ServiceLine::new)))
}

/// A service with the addresses of its clusters (Nacos `pageListServiceDetail`).
fn with_hosts(service: &Service) -> Value {
    let key = service.key();
    let unsaid = ServiceMeta::default();
    let mut clusters: JsonMap<String, Value> = JsonMap::new();
    for instance in service.instances() {
        let cluster = clusters.entry(instance.cluster()).or_insert_with(|| json!({ "hosts": [] }));
        if let Some(hosts) = cluster.get_mut("hosts").and_then(Value::as_array_mut) {
            hosts.push(json!({
                "valid": instance.healthy(),
                "metadata": Map(instance.metadata()),
                "port": instance.port(),
                "ip": instance.ip(),
                "weight": instance.weight(),
                "enabled": instance.enabled(),
            }));
        }
    }
    json!({
        "serviceName": key.name,
        "groupName": key.group,
        "clusterMap": clusters,
        "metadata": Map(&service.meta().unwrap_or(&unsaid).metadata),
    })
}

fn service_gone(name: Grouped<'_>) -> Failure {
    refused::nothing_here(format!("service {name} is not found!"))
}

fn instances_v1(state: &State, ask: &Ask<ServiceKey>) -> Result<Answer, Failure> {
    let params = &ask.params;
    let cluster = params.required(field::CLUSTER_NAME)?;
    params.required(field::PAGE_NO)?;
    params.required(field::PAGE_SIZE)?;
    let page = params.page(limits::HISTORY_PAGE_MAX, limits::INSTANCES_PER_SERVICE_MAX)?;
    let registry = state.registry();
    let name = Grouped::of(&ask.about);
    let service = find(&registry, &ask.about).ok_or_else(|| service_gone(name))?;
    let in_cluster = service.instances().iter().filter(|instance| instance.cluster() == cluster);
    let (count, instances) = shapes::page(in_cluster, page);
    if count == 0 && service.cluster_meta(cluster).is_none() {
        return Err(refused::nothing_here(format!("cluster {cluster} is not found!")));
    }
    let hosts: Vec<Host<'_>> =
        instances.into_iter().map(|instance| Host::plain(instance, name)).collect();
    Ok(Answer::json(&json!({ "list": hosts, "count": count })))
}

fn instances_v2(state: &State, ask: &Ask<ServiceKey>) -> Result<Answer, Failure> {
    let params = &ask.params;
    params.required(field::PAGE_NO)?;
    params.required(field::PAGE_SIZE)?;
    let page = params.page(limits::HISTORY_PAGE_MAX, limits::INSTANCES_PER_SERVICE_MAX)?;
    let wanted = |name| params.text(name).map(|_| params.flag_or(name, false));
    let (healthy, enabled) = (wanted(field::HEALTHY_ONLY), wanted(field::ENABLED_ONLY));
    let registry = state.registry();
    let service = find(&registry, &ask.about);
    let instances = service.map_or(&[][..], Service::instances).iter().filter(|instance| {
        healthy.is_none_or(|healthy| healthy == instance.healthy())
            && enabled.is_none_or(|enabled| enabled == instance.enabled())
    });
    Ok(Answer::result(&instance_page(instances, page, Grouped::of(&ask.about))))
}

fn instance_page<'a>(
    instances: impl Iterator<Item = &'a Instance>,
    page: PageParams,
    name: Grouped<'_>,
) -> Value {
    let (count, instances) = shapes::page(instances, page);
    let hosts: Vec<Host<'_>> =
        instances.into_iter().map(|instance| Host::plain(instance, name)).collect();
    json!({ "instances": hosts, "count": count })
}

fn service_v1(state: &State, ask: &Ask<ServiceKey>) -> Result<Answer, Failure> {
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
    Ok(Answer::json(&json!({
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
