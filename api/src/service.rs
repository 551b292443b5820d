//! Services: create, update, remove, describe, list, and who subscribes to them.

use hyper::Method;
use nacolet_auth::{Action, Kind};
use nacolet_model::{Group, ServiceKey, limits};
use nacolet_registry::{
    ClusterMeta, Registry, Request, Selector, Service, ServiceQuery, SubscriberView,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map as JsonMap, Value, json};

use crate::about::{self, About, Everything, GroupOfServices, Permits, Whole};
use crate::address;
use crate::call::{Answer, Ask};
use crate::instance::{Dialect, done, find};
use crate::params::{Fields, Id, PageParams, Parts, field};
use crate::refused;
use crate::router::{Permission, Routes};
use crate::search::PageOf;
use crate::server::State;
use crate::shapes::{self, CheckerShape, Grouped, Host, Map, SelectorShape};
use crate::spec;
use crate::status::{Code, Failure};

pub(crate) fn routes(routes: &mut Routes) {
    use Dialect::{V1, V2};
    use Permission::{Console, NamingRead, NamingWrite};
    let (grouped, apart) = (about::service_grouped, about::service_apart);
    routes
        .at("/v1/ns/service")
        .later(Method::POST, NamingWrite, grouped, |state, ask| done(state, ask, V1, create))
        .later(Method::PUT, NamingWrite, grouped, |state, ask| done(state, ask, V1, update_v1))
        .later(Method::DELETE, NamingWrite, grouped, |state, ask| done(state, ask, V1, remove))
        .now(Method::GET, NamingRead, grouped, detail_v1);
    routes.at("/v1/ns/service/list").now(Method::GET, NamingRead, of_group, list_v1);
    routes.at("/v1/ns/service/names").now(Method::GET, NamingRead, perhaps_all, names).now(
        Method::POST,
        NamingRead,
        perhaps_all,
        names,
    );
    routes.at("/v1/ns/service/subscribers").now(Method::GET, NamingRead, grouped, subscribers_v1);
    routes
        .at("/v1/ns/service/selector/types")
        .now(Method::GET, Console, about::nothing, |_, _| Ok(Answer::rest_result(SELECTOR_TYPES)));
    for path in ["/v2/ns/service", "/v3/admin/ns/service"] {
        routes
            .at(path)
            .later(Method::POST, NamingWrite, apart, |state, ask| done(state, ask, V2, create))
            .later(Method::PUT, NamingWrite, apart, |state, ask| done(state, ask, V2, update))
            .later(Method::DELETE, NamingWrite, apart, |state, ask| done(state, ask, V2, remove));
    }
    routes.at("/v2/ns/service").now(Method::GET, NamingRead, apart, detail_v2);
    routes.at("/v2/ns/service/list").now(Method::GET, NamingRead, of_group, list_v2);
    routes.at("/v3/admin/ns/service").now(Method::GET, NamingRead, apart, detail_v3);
    routes.at("/v3/admin/ns/service/subscribers").now(
        Method::GET,
        NamingRead,
        apart,
        subscribers_v3,
    );
    routes.at("/v3/admin/ns/service/selector/types").now(
        Method::GET,
        Console,
        about::nothing,
        |_, _| Ok(Answer::result(SELECTOR_TYPES)),
    );
}

fn of_group(parts: &Parts<'_>) -> Result<GroupOfServices, Failure> {
    let namespace = about::namespace(parts)?;
    Ok(GroupOfServices {
        namespace,
        group: Group::new(parts.id_or(Id::GROUP_NAME, Group::DEFAULT)?)?,
    })
}

/// The services of one namespace, or of all of them.
enum Names {
    Of(Whole),
    All,
}

impl About for Names {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        match self {
            Self::Of(whole) => whole.is_permitted(action, permits),
            Self::All => Everything(Kind::Naming).is_permitted(action, permits),
        }
    }
}

fn perhaps_all(parts: &Parts<'_>) -> Result<Names, Failure> {
    Ok(match parts.id(Id::NAMESPACE_ID)? {
        Some(_) => Names::Of(about::services(parts)?),
        None => Names::All,
    })
}

const SELECTOR_TYPES: &[&str] = &["none", "label"];

/// What the parameters of a create or update call say about a service.
struct Said {
    protect_threshold: f64,
    metadata: nacolet_registry::Metadata,
    selector: Selector,
    ephemeral: Option<bool>,
}

fn said(params: &Fields) -> Result<Said, Failure> {
    Ok(Said {
        protect_threshold: params.number_or(field::PROTECT_THRESHOLD, 0.0)?,
        metadata: spec::parse_metadata(params.text(field::METADATA).unwrap_or_default())?,
        selector: parse_selector(params.text(field::SELECTOR).unwrap_or_default())?,
        ephemeral: params
            .text(field::EPHEMERAL)
            .map(|_| address::toggle(params, field::EPHEMERAL, false)),
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

fn create(_state: &State, params: &Fields, service: ServiceKey) -> Result<Request, Failure> {
    let Said { protect_threshold, metadata, selector, ephemeral } = said(params)?;
    Ok(Request::CreateService { service, protect_threshold, metadata, selector, ephemeral })
}

fn update(_state: &State, params: &Fields, service: ServiceKey) -> Result<Request, Failure> {
    let Said { protect_threshold, metadata, selector, ephemeral } = said(params)?;
    Ok(Request::UpdateService { service, protect_threshold, metadata, selector, ephemeral })
}

/// v1 wants the threshold said, since an update replaces everything.
fn update_v1(state: &State, params: &Fields, service: ServiceKey) -> Result<Request, Failure> {
    params.required(field::PROTECT_THRESHOLD)?;
    update(state, params, service)
}

fn remove(_state: &State, _params: &Fields, service: ServiceKey) -> Result<Request, Failure> {
    Ok(Request::RemoveService { service })
}

/// The service that a call means, or the words of Nacos that there is none.
fn found<'a>(registry: &'a Registry, key: &ServiceKey) -> Result<&'a Service, Failure> {
    find(registry, key).ok_or_else(|| {
        let (namespace, name) = (&key.namespace, Grouped::of(key));
        let words = format!("service not found, namespace: {namespace}, serviceName: {name}");
        Failure::invalid_as(Code::SERVICE_NOT_EXIST, words)
    })
}

fn detail_v1(state: &State, ask: &Ask<ServiceKey>) -> Result<Answer, Failure> {
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
    let key = &ask.about;
    let registry = state.registry();
    let service = found(&registry, key)?;
    let unsaid = (nacolet_registry::ServiceMeta::default(), ClusterMeta::default());
    let meta = service.meta().unwrap_or(&unsaid.0);
    let clusters = service.clusters().into_iter().map(|(name, meta)| {
        let meta = meta.unwrap_or(&unsaid.1);
        let health_checker = CheckerShape(&meta.health_checker);
        Cluster { name, health_checker, metadata: Map(&meta.metadata) }
    });
    Ok(Answer::json(&Detail {
        namespace_id: key.namespace.as_str(),
        group_name: key.group.as_str(),
        name: key.name.as_str(),
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

fn detail_v2(state: &State, ask: &Ask<ServiceKey>) -> Result<Answer, Failure> {
    detail_info(state, &ask.about, false)
}

fn detail_v3(state: &State, ask: &Ask<ServiceKey>) -> Result<Answer, Failure> {
    detail_info(state, &ask.about, true)
}

fn detail_info(state: &State, key: &ServiceKey, is_v3: bool) -> Result<Answer, Failure> {
    let registry = state.registry();
    let service = found(&registry, key)?;
    let unsaid = nacolet_registry::ServiceMeta::default();
    let meta = service.meta().unwrap_or(&unsaid);
    Ok(Answer::result(&DetailInfo {
        namespace: (!is_v3).then_some(key.namespace.as_str()),
        namespace_id: is_v3.then_some(key.namespace.as_str()),
        service_name: key.name.as_str(),
        group_name: key.group.as_str(),
        cluster_map: cluster_map(service, Grouped::of(key)),
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
    of: &GroupOfServices,
    page: PageParams,
) -> (usize, Vec<String>) {
    let all = ServiceQuery::all(of.namespace.as_str());
    let query = ServiceQuery { group: Some(of.group.as_str()), ..all };
    let names = registry.services(&query).map(|service| service.key().name.as_str());
    let (count, names) = shapes::page(names, page);
    (count, names.into_iter().map(str::to_owned).collect())
}

fn list_v1(state: &State, ask: &Ask<GroupOfServices>) -> Result<Answer, Failure> {
    let params = &ask.params;
    params.required(field::PAGE_NO)?;
    params.required(field::PAGE_SIZE)?;
    let page = params.page(limits::SERVICES_MAX, limits::SERVICES_MAX)?;
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let (count, names) = names_of_group(&registry, &ask.about, page);
    Ok(Answer::json(&json!({ "count": count, "doms": names })))
}

fn list_v2(state: &State, ask: &Ask<GroupOfServices>) -> Result<Answer, Failure> {
    let page = ask.params.page(20, limits::HISTORY_PAGE_MAX)?;
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let (count, names) = names_of_group(&registry, &ask.about, page);
    Ok(Answer::result(&json!({ "count": count, "services": names })))
}

/// Names that contain `expr`, by namespace. Nacos takes `expr` for a regular expression.
fn names(state: &State, ask: &Ask<Names>) -> Result<Answer, Failure> {
    let expr = ask.params.text(field::EXPR).unwrap_or_default();
    let namespace = match &ask.about {
        Names::Of(whole) => Some(&whole.namespace),
        Names::All => None,
    };
    let registry = state.registry();
    let mut by_namespace: JsonMap<String, Value> = JsonMap::new();
    let mut count = 0;
    for service in registry.all_services() {
        let key = service.key();
        let name = Grouped::of(key).to_string();
        if namespace.is_some_and(|namespace| *namespace != key.namespace) {
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

fn subscribers_v1(state: &State, ask: &Ask<ServiceKey>) -> Result<Answer, Failure> {
    let page = ask.params.page(1_000, limits::UDP_SUBSCRIBERS_MAX)?;
    let registry = state.registry();
    let (count, views) = shapes::page(registry.subscribers(state.now().0, &ask.about), page);
    let subscribers: Vec<Value> = views
        .into_iter()
        .map(|view| {
            let SubscriberView { subscriber, service, clusters } = view;
            let name = Grouped::of(service);
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

fn subscribers_v3(state: &State, ask: &Ask<ServiceKey>) -> Result<Answer, Failure> {
    let page = ask.params.page(100, limits::HISTORY_PAGE_MAX)?;
    let registry = state.registry();
    let (total, items) = shapes::page(registry.subscribers(state.now().0, &ask.about), page);
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
