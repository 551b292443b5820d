//! Services: create, update, remove, describe, list, and who subscribes to them.

use hyper::Method;
use nacolet_model::{Group, Namespace, limits};
use nacolet_registry::{
    ClusterMeta, Registry, Request, Selector, Service, ServiceQuery, SubscriberView,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map as JsonMap, Value, json};

use crate::call::{Answer, Call};
use crate::instance::{Dialect, done};
use crate::params::{PageParams, Params};
use crate::refused;
use crate::router::{Permission, Routes, Scope};
use crate::search::PageOf;
use crate::server::State;
use crate::shapes::{self, CheckerShape, Grouped, Host, Map, SelectorShape};
use crate::spec;
use crate::status::{Code, Failure};
use crate::target::{self, Target};

pub(crate) fn routes(routes: &mut Routes) {
    let (read, write) = (Permission::NamingRead, Permission::NamingWrite);
    routes
        .at("/v1/ns/service")
        .later(Method::POST, write, |state, call| done(state, call, Dialect::V1, create))
        .later(Method::PUT, write, |state, call| done(state, call, Dialect::V1, update_v1))
        .later(Method::DELETE, write, |state, call| done(state, call, Dialect::V1, remove))
        .now(Method::GET, read, detail_v1);
    let whole = read.over(|_| Scope::Namespace);
    routes.at("/v1/ns/service/list").now(Method::GET, whole, list_v1);
    routes.at("/v1/ns/service/names").now(Method::GET, whole, names).now(
        Method::POST,
        whole,
        names,
    );
    routes.at("/v1/ns/service/subscribers").now(Method::GET, read, subscribers_v1);
    routes
        .at("/v1/ns/service/selector/types")
        .now(Method::GET, read, |_, _| Ok(Answer::rest_result(SELECTOR_TYPES)));
    for path in ["/v2/ns/service", "/v3/admin/ns/service"] {
        routes
            .at(path)
            .later(Method::POST, write, |state, call| done(state, call, Dialect::V2, create))
            .later(Method::PUT, write, |state, call| done(state, call, Dialect::V2, update))
            .later(Method::DELETE, write, |state, call| done(state, call, Dialect::V2, remove));
    }
    routes.at("/v2/ns/service").now(Method::GET, read, detail_v2);
    routes.at("/v2/ns/service/list").now(Method::GET, whole, list_v2);
    routes.at("/v3/admin/ns/service").now(Method::GET, read, detail_v3);
    routes.at("/v3/admin/ns/service/subscribers").now(Method::GET, read, subscribers_v3);
    routes
        .at("/v3/admin/ns/service/selector/types")
        .now(Method::GET, read, |_, _| Ok(Answer::result(SELECTOR_TYPES)));
}

const SELECTOR_TYPES: &[&str] = &["none", "label"];

/// What the parameters of a create or update call say about a service.
struct Said {
    protect_threshold: f64,
    metadata: nacolet_registry::Metadata,
    selector: Selector,
    ephemeral: Option<bool>,
}

fn said(params: &Params<'_>) -> Result<Said, Failure> {
    Ok(Said {
        protect_threshold: params.number_or("protectThreshold", 0.0)?,
        metadata: spec::parse_metadata(params.text("metadata").unwrap_or_default())?,
        selector: parse_selector(params.text("selector").unwrap_or_default())?,
        ephemeral: params.text("ephemeral").map(|_| target::toggle(params, "ephemeral", false)),
    })
}

/// `{"type":"none"}` or `{"type":"label","expression":"…"}`; nothing is none.
fn parse_selector(text: &str) -> Result<Selector, Failure> {
    #[derive(Deserialize)]
    struct Shape {
        #[serde(rename = "type")]
        kind: Option<String>,
        expression: Option<String>,
    }
    if text.is_empty() {
        return Ok(Selector::None);
    }
    let unknown = || Failure::invalid_as(Code::SELECTOR_ERROR, "not match any type of selector!");
    // What is no JSON is no selector either; where it breaks helps nobody.
    let Ok(shape) = serde_json::from_str::<Shape>(text) else { return Err(unknown()) };
    match shape.kind.as_deref() {
        Some("none") => Ok(Selector::None),
        Some("label") => {
            Ok(Selector::Label { expression: shape.expression.unwrap_or_default().into() })
        }
        _ => Err(unknown()),
    }
}

fn create(_state: &State, params: &Params<'_>, target: Target<'_>) -> Result<Request, Failure> {
    let Said { protect_threshold, metadata, selector, ephemeral } = said(params)?;
    let service = target.key()?;
    Ok(Request::CreateService { service, protect_threshold, metadata, selector, ephemeral })
}

fn update(_state: &State, params: &Params<'_>, target: Target<'_>) -> Result<Request, Failure> {
    let Said { protect_threshold, metadata, selector, ephemeral } = said(params)?;
    let service = target.key()?;
    Ok(Request::UpdateService { service, protect_threshold, metadata, selector, ephemeral })
}

/// v1 wants the threshold said, since an update replaces everything.
fn update_v1(state: &State, params: &Params<'_>, target: Target<'_>) -> Result<Request, Failure> {
    params.required("protectThreshold")?;
    update(state, params, target)
}

fn remove(_state: &State, _params: &Params<'_>, target: Target<'_>) -> Result<Request, Failure> {
    Ok(Request::RemoveService { service: target.key()? })
}

/// The service that a call means, or the words of Nacos that there is none.
fn find<'a>(registry: &'a Registry, target: Target<'_>) -> Result<&'a Service, Failure> {
    registry.service(target.namespace, target.group, target.name).ok_or_else(|| {
        let (namespace, name) = (target.namespace, target.full_name());
        let words = format!("service not found, namespace: {namespace}, serviceName: {name}");
        Failure::invalid_as(Code::SERVICE_NOT_EXIST, words)
    })
}

fn detail_v1(state: &State, call: &Call) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Detail<'a> {
        namespace_id: &'a str,
        group_name: &'a str,
        name: &'a str,
        protect_threshold: f64,
        metadata: Map<'a>,
        selector: SelectorShape<'a>,
        clusters: Vec<Cluster<'a>>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Cluster<'a> {
        name: &'a str,
        health_checker: CheckerShape<'a>,
        metadata: Map<'a>,
    }
    let params = call.params();
    let target = Target::grouped(&params)?;
    let registry = state.registry();
    let service = find(&registry, target)?;
    let unsaid = (nacolet_registry::ServiceMeta::default(), ClusterMeta::default());
    let meta = service.meta().unwrap_or(&unsaid.0);
    let clusters = service.clusters().into_iter().map(|(name, meta)| {
        let meta = meta.unwrap_or(&unsaid.1);
        let health_checker = CheckerShape(&meta.health_checker);
        Cluster { name, health_checker, metadata: Map(&meta.metadata) }
    });
    Ok(Answer::json(&Detail {
        namespace_id: target.namespace,
        group_name: target.group,
        name: target.name,
        protect_threshold: meta.protect_threshold,
        metadata: Map(&meta.metadata),
        selector: SelectorShape(&meta.selector),
        clusters: clusters.collect(),
    }))
}

/// A service with everything in it (Nacos `ServiceDetailInfo` of 2 and 3).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DetailInfo<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace_id: Option<&'a str>,
    service_name: &'a str,
    group_name: &'a str,
    cluster_map: JsonMap<String, Value>,
    metadata: Map<'a>,
    protect_threshold: f64,
    selector: SelectorShape<'a>,
    ephemeral: bool,
}

fn detail_v2(state: &State, call: &Call) -> Result<Answer, Failure> {
    detail_info(state, call, false)
}

fn detail_v3(state: &State, call: &Call) -> Result<Answer, Failure> {
    detail_info(state, call, true)
}

fn detail_info(state: &State, call: &Call, is_v3: bool) -> Result<Answer, Failure> {
    let params = call.params();
    let target = Target::apart(&params)?;
    let registry = state.registry();
    let service = find(&registry, target)?;
    let unsaid = nacolet_registry::ServiceMeta::default();
    let meta = service.meta().unwrap_or(&unsaid);
    Ok(Answer::result(&DetailInfo {
        namespace: (!is_v3).then_some(target.namespace),
        namespace_id: is_v3.then_some(target.namespace),
        service_name: target.name,
        group_name: target.group,
        cluster_map: cluster_map(service, target.full_name()),
        metadata: Map(&meta.metadata),
        protect_threshold: meta.protect_threshold,
        selector: SelectorShape(&meta.selector),
        ephemeral: service.ephemeral().unwrap_or(false),
    }))
}

/// Clusters by name, each with its instances.
pub(crate) fn cluster_map(service: &Service, name: Grouped<'_>) -> JsonMap<String, Value> {
    let unsaid = ClusterMeta::default();
    let clusters = service.clusters().into_iter().map(|(cluster, meta)| {
        let meta = meta.unwrap_or(&unsaid);
        let hosts: Vec<Host<'_>> = service
            .instances()
            .iter()
            .filter(|instance| instance.cluster() == cluster)
            .map(|instance| Host::plain(instance, name))
            .collect();
        let shape = json!({
            "clusterName": cluster,
            "healthChecker": CheckerShape(&meta.health_checker),
            "healthyCheckPort": meta.check_port,
            "useInstancePortForCheck": meta.use_instance_port,
            "metadata": Map(&meta.metadata),
            "hosts": hosts,
        });
        (cluster.to_owned(), shape)
    });
    clusters.collect()
}

/// A page of the bare names of a group's services, and how many there are.
fn names_of_group(
    registry: &Registry,
    params: &Params<'_>,
    page: PageParams,
) -> Result<(usize, Vec<String>), Failure> {
    let group = Group::check(params.text_or("groupName", Group::DEFAULT))?;
    let query =
        ServiceQuery { group: Some(group), ..ServiceQuery::all(target::namespace(params)?) };
    let names = registry.services(&query).map(|service| service.key().name.as_str());
    let (count, names) = shapes::page(names, page);
    Ok((count, names.into_iter().map(str::to_owned).collect()))
}

fn list_v1(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    params.required("pageNo")?;
    params.required("pageSize")?;
    let page = params.page(limits::SERVICES_MAX, limits::SERVICES_MAX)?;
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let (count, names) = names_of_group(&registry, &params, page)?;
    Ok(Answer::json(&json!({ "count": count, "doms": names })))
}

fn list_v2(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let page = params.page(20, limits::HISTORY_PAGE_MAX)?;
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let (count, names) = names_of_group(&registry, &params, page)?;
    Ok(Answer::result(&json!({ "count": count, "services": names })))
}

/// Names that contain `expr`, by namespace. Nacos takes `expr` for a regular expression.
fn names(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let expr = params.text("expr").unwrap_or_default();
    let namespace = params.text("namespaceId").map(Namespace::canonical).transpose()?;
    let registry = state.registry();
    let mut by_namespace: JsonMap<String, Value> = JsonMap::new();
    let mut count = 0;
    for service in registry.all_services() {
        let key = service.key();
        let name = Grouped { group: key.group.as_str(), name: key.name.as_str() }.to_string();
        if namespace.is_some_and(|namespace| namespace != key.namespace.as_str()) {
            continue;
        }
        let names = by_namespace.entry(key.namespace.as_str()).or_insert_with(|| json!([]));
        if let (true, Value::Array(names)) = (name.contains(expr), names) {
            names.push(name.into());
            count += 1;
        }
    }
    // Nacos 1 says `services`, Nacos 2 the name of a folder that a search-and-replace left there.
    Ok(Answer::json(&json!({
        "services": &by_namespace,
        "META-INF/services": &by_namespace,
        "count": count,
    })))
}

/// The subscribers of all services whose group and name contain what the call says.
fn matching<'a>(
    state: &State,
    registry: &'a Registry,
    target: Target<'a>,
) -> impl Iterator<Item = SubscriberView<'a>> {
    registry.all_subscribers(state.now().0).filter(move |view| {
        let key = view.service;
        key.namespace.as_str() == target.namespace
            && key.group.as_str().contains(target.group)
            && key.name.as_str().contains(target.name)
    })
}

fn subscribers_v1(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let target = Target::grouped(&params)?;
    let page = params.page(1_000, limits::UDP_SUBSCRIBERS_MAX)?;
    let registry = state.registry();
    let (count, views) = shapes::page(matching(state, &registry, target), page);
    let subscribers: Vec<Value> = views
        .into_iter()
        .map(|view| {
            let SubscriberView { subscriber, service, clusters } = view;
            let name = Grouped { group: service.group.as_str(), name: service.name.as_str() };
            json!({
                "addrStr": format!("{}:{}", subscriber.ip, subscriber.port),
                "agent": subscriber.agent,
                "app": subscriber.app,
                "ip": subscriber.ip,
                "port": subscriber.port,
                "namespaceId": service.namespace,
                "serviceName": name,
                "cluster": clusters,
            })
        })
        .collect();
    Ok(Answer::json(&json!({ "count": count, "subscribers": subscribers })))
}

fn subscribers_v3(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let target = Target::apart(&params)?;
    let page = params.page(100, limits::HISTORY_PAGE_MAX)?;
    let registry = state.registry();
    let (total, items) = shapes::page(matching(state, &registry, target), page);
    let pages = total.div_ceil(page.size);
    let page = nacolet_config::Page { total, page_no: page.number, pages, items };
    Ok(Answer::result(&PageOf::new(page, |view: SubscriberView<'_>| {
        json!({
            "namespaceId": view.service.namespace,
            "groupName": view.service.group,
            "serviceName": view.service.name,
            "ip": view.subscriber.ip,
            "port": view.subscriber.port,
            "agent": view.subscriber.agent,
            "appName": view.subscriber.app,
        })
    })))
}
