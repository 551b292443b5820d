//! Services and instances as a console lists them: with counts, disabled instances included.

use hyper::Method;
use nacolet_model::limits;
use nacolet_registry::{ClusterMeta, Instance, Service, ServiceMeta, ServiceQuery};
use serde::Serialize;
use serde_json::{Map as JsonMap, Value, json};

use crate::call::{Answer, Call};
use crate::params::{PageParams, Params};
use crate::refused;
use crate::router::{Permission, Routes, Scope};
use crate::search::PageOf;
use crate::server::State;
use crate::shapes::{self, CheckerShape, Grouped, Host, Map, SelectorShape};
use crate::status::Failure;
use crate::target::{self, Target};

pub(crate) fn routes(routes: &mut Routes) {
    let read = Permission::NamingRead;
    let whole = read.over(|_| Scope::Namespace);
    routes.at("/v1/ns/catalog/services").now(Method::GET, whole, services_v1);
    routes.at("/v1/ns/catalog/instances").now(Method::GET, read, instances_v1).now(
        Method::POST,
        read,
        instances_v1,
    );
    routes.at("/v1/ns/catalog/service").now(Method::GET, read, service_v1);
    routes.at("/v2/ns/catalog/instances").now(Method::GET, read, instances_v2);
    routes.at("/v3/admin/ns/service/list").now(Method::GET, whole, services_v3);
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
fn query<'a>(params: &'a Params<'_>, with_instances: &str) -> Result<ServiceQuery<'a>, Failure> {
    Ok(ServiceQuery {
        group_part: params.text("groupNameParam").unwrap_or_default(),
        name_part: params.text("serviceNameParam").unwrap_or_default(),
        with_instances: params.flag_or(with_instances, false),
        instance_part: params.text("instance").unwrap_or_default(),
        ..ServiceQuery::all(target::namespace(params)?)
    })
}

fn services_v1(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let query = query(&params, "hasIpCount")?;
    let page = params.page(limits::HISTORY_PAGE_MAX, limits::SERVICES_MAX)?;
    let registry = state.registry();
    let (count, services) = shapes::page(registry.services(&query), page);
    if params.flag_or("withInstances", false) {
        let details: Vec<Value> = services.into_iter().map(with_hosts).collect();
        return Ok(Answer::json(&details));
    }
    let lines: Vec<ServiceLine<'_>> = services.into_iter().map(ServiceLine::new).collect();
    Ok(Answer::json(&json!({ "count": count, "serviceList": lines })))
}

fn services_v3(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let query = query(&params, "ignoreEmptyService")?;
    let page = params.page(100, limits::HISTORY_PAGE_MAX)?;
    let registry = state.registry();
    let (total, items) = shapes::page(registry.services(&query), page);
    let pages = total.div_ceil(page.size);
    let page = nacolet_config::Page { total, page_no: page.number, pages, items };
    if params.flag_or("withInstances", false) {
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

fn instances_v1(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let target = Target::grouped(&params)?;
    let cluster = params.required("clusterName")?;
    params.required("pageNo")?;
    params.required("pageSize")?;
    let page = params.page(limits::HISTORY_PAGE_MAX, limits::INSTANCES_PER_SERVICE_MAX)?;
    let registry = state.registry();
    let name = target.full_name();
    let service = registry
        .service(target.namespace, target.group, target.name)
        .ok_or_else(|| service_gone(name))?;
    let in_cluster = service.instances().iter().filter(|instance| instance.cluster() == cluster);
    let (count, instances) = shapes::page(in_cluster, page);
    if count == 0 && service.cluster_meta(cluster).is_none() {
        return Err(refused::nothing_here(format!("cluster {cluster} is not found!")));
    }
    let hosts: Vec<Host<'_>> =
        instances.into_iter().map(|instance| Host::plain(instance, name)).collect();
    Ok(Answer::json(&json!({ "list": hosts, "count": count })))
}

fn instances_v2(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    // As beat and patch of v2, it kept the grouped name.
    let target = Target::grouped(&params)?;
    params.required("pageNo")?;
    params.required("pageSize")?;
    let page = params.page(limits::HISTORY_PAGE_MAX, limits::INSTANCES_PER_SERVICE_MAX)?;
    let wanted = |name| params.text(name).map(|_| params.flag_or(name, false));
    let (healthy, enabled) = (wanted("healthyOnly"), wanted("enabledOnly"));
    let registry = state.registry();
    let service = registry.service(target.namespace, target.group, target.name);
    let instances = service.map_or(&[][..], Service::instances).iter().filter(|instance| {
        healthy.is_none_or(|healthy| healthy == instance.healthy())
            && enabled.is_none_or(|enabled| enabled == instance.enabled())
    });
    Ok(Answer::result(&instance_page(instances, page, target.full_name())))
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

fn service_v1(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let target = Target::grouped(&params)?;
    let registry = state.registry();
    let name = target.full_name();
    let service = registry
        .service(target.namespace, target.group, target.name)
        .ok_or_else(|| service_gone(name))?;
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
            "name": target.name,
            "groupName": target.group,
            "protectThreshold": meta.protect_threshold,
            "selector": SelectorShape(&meta.selector),
            "metadata": Map(&meta.metadata),
        },
        "clusters": clusters,
    })))
}
