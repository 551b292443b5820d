//! Services: create, update, remove, describe, list, and who subscribes to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::Method;
use nacolet_auth::{Action, Kind};
use nacolet_model::{Group, ServiceKey, limits};
use nacolet_registry::{ClusterMeta, Registry, Request, Selector, Service, ServiceQuery};
use serde::Serialize;
use serde_json::{Map as JsonMap, Value, json};

use crate::access::about;
use crate::access::about::{About, Everything, GroupOfServices, Permits, Whole};
use crate::access::rule::Permission;
use crate::http::answer::HttpAnswer;
use crate::http::failure::{Code, Failure};
use crate::http::json::{Scalar, member, members};
use crate::http::listed::{Each, long, long_result};
use crate::http::paging;
use crate::http::paging::{PageOf, PageParams};
use crate::http::params::{Fields, Id, Parts, field};
use crate::naming::subscribers::{self, Subscribed};
use crate::naming::words::dialect::{Dialect, done, find};
use crate::naming::words::shapes::{CheckerShape, Grouped, Map, SelectorShape, labels};
use crate::naming::words::{refused, spec};
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

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
    routes.at("/v1/ns/service/subscribers").later(Method::GET, NamingRead, grouped, subscribers_v1);
    routes.at("/v1/ns/service/selector/types").now(Method::GET, Console, about::nothing, |_, _| {
        Ok(HttpAnswer::rest_result(SELECTOR_TYPES))
    });
    for path in ["/v2/ns/service", "/v3/admin/ns/service", "/v3/console/ns/service"] {
        routes
            .at(path)
            .later(Method::POST, NamingWrite, apart, |state, ask| done(state, ask, V2, create))
            .later(Method::PUT, NamingWrite, apart, |state, ask| done(state, ask, V2, update))
            .later(Method::DELETE, NamingWrite, apart, |state, ask| done(state, ask, V2, remove));
    }
    routes.at("/v2/ns/service").now(Method::GET, NamingRead, apart, detail_v2);
    routes.at("/v2/ns/service/list").now(Method::GET, NamingRead, of_group, list_v2);
    for [service, subscribers, types] in [
        [
            "/v3/admin/ns/service",
            "/v3/admin/ns/service/subscribers",
            "/v3/admin/ns/service/selector/types",
        ],
        [
            "/v3/console/ns/service",
            "/v3/console/ns/service/subscribers",
            "/v3/console/ns/service/selector/types",
        ],
    ] {
        routes.at(service).now(Method::GET, NamingRead, apart, detail_v3);
        routes.at(subscribers).later(Method::GET, NamingRead, apart, subscribers_v3);
        routes.at(types).now(Method::GET, Console, about::nothing, |_, _| {
            Ok(HttpAnswer::result(SELECTOR_TYPES))
        });
    }
}

fn of_group(parts: &Parts<'_>) -> Result<GroupOfServices, Failure> {
    let namespace = about::namespace(parts)?;
    Ok(GroupOfServices {
        namespace,
        group: Group::new(parts.id_or(Id::GROUP_NAME, Group::DEFAULT)?)?,
    })
}

/// The services of one namespace, or of all of them.
enum ServiceScope {
    Of(Whole),
    All,
}

impl About for ServiceScope {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        match self {
            Self::Of(whole) => whole.is_permitted(action, permits),
            Self::All => Everything(Kind::Naming).is_permitted(action, permits),
        }
    }
}

fn perhaps_all(parts: &Parts<'_>) -> Result<ServiceScope, Failure> {
    Ok(match parts.id(Id::NAMESPACE_ID)? {
        Some(_) => ServiceScope::Of(about::services(parts)?),
        None => ServiceScope::All,
    })
}

const SELECTOR_TYPES: &[&str] = &["label", "none"];

/// What the parameters of a create or update call say about a service.
struct Said {
    protect_threshold: f64,
    metadata: nacolet_registry::Metadata,
    selector: Selector,
    ephemeral: Option<bool>,
}

fn said(params: &Fields, dialect: Dialect) -> Result<Said, Failure> {
    Ok(Said {
        protect_threshold: match params.number(field::PROTECT_THRESHOLD) {
            Ok(threshold) => threshold.unwrap_or(0.0),
            // As Nacos reads a text that is no number (`NumberUtils.toFloat`).
            Err(_) if dialect == Dialect::V1 => 0.0,
            Err(failure) => return Err(failure),
        },
        metadata: spec::parse_metadata(params.text(field::METADATA).unwrap_or_default())?,
        selector: parse_selector(params.text(field::SELECTOR).unwrap_or_default())?,
        ephemeral: dialect.given(params, field::EPHEMERAL)?,
    })
}

/// `{"type":"none"}` or `{"type":"label","expression":"…"}`; nothing is none.
fn parse_selector(text_of: &str) -> Result<Selector, Failure> {
    if text_of.is_empty() {
        return Ok(Selector::None);
    }
    let unknown = || Failure::invalid_as(Code::SELECTOR_ERROR, "not match any type of selector!");
    // What is no JSON is no selector either; where it breaks helps nobody.
    let text = |value| member::<Scalar<'_>>(value).map_err(|_broken| unknown());
    let Ok([kind, expression]) = members(text_of, ["type", "expression"]) else {
        return Err(unknown());
    };
    match text(kind)?.map(Scalar::into_text).as_deref() {
        Some("none") => Ok(Selector::None),
        Some("label") => {
            let expression = text(expression)?.map(Scalar::into_text).unwrap_or_default();
            if labels(&expression).is_none() {
                return Err(Failure::invalid_as(Code::SERVER_ERROR, "parse expression failed!"));
            }
            Ok(Selector::Label { expression })
        }
        _ => Err(unknown()),
    }
}

/// A service that is made by hand is a persistent one unless it says otherwise.
fn create(
    _state: &State,
    params: &Fields,
    service: ServiceKey,
    dialect: Dialect,
) -> Result<Request, Failure> {
    let Said { protect_threshold, metadata, selector, ephemeral } = said(params, dialect)?;
    let ephemeral = Some(ephemeral.unwrap_or(false));
    Ok(Request::CreateService { service, protect_threshold, metadata, selector, ephemeral })
}

/// What kind of service it is stays as it is, whatever the call says.
fn update(
    _state: &State,
    params: &Fields,
    service: ServiceKey,
    dialect: Dialect,
) -> Result<Request, Failure> {
    let Said { protect_threshold, metadata, selector, ephemeral: _ } = said(params, dialect)?;
    let ephemeral = None;
    Ok(Request::UpdateService { service, protect_threshold, metadata, selector, ephemeral })
}

/// v1 wants the threshold said, since an update replaces everything.
fn update_v1(
    state: &State,
    params: &Fields,
    service: ServiceKey,
    dialect: Dialect,
) -> Result<Request, Failure> {
    params.required(field::PROTECT_THRESHOLD)?;
    update(state, params, service, dialect)
}

fn remove(
    _state: &State,
    _params: &Fields,
    service: ServiceKey,
    _dialect: Dialect,
) -> Result<Request, Failure> {
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

fn detail_v1(state: &State, ask: &Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
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
    Ok(HttpAnswer::json(&Detail {
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
struct ServiceDetailInfo<'a> {
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

fn detail_v2(state: &State, ask: &Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    detail_info(state, &ask.about, false)
}

fn detail_v3(state: &State, ask: &Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    detail_info(state, &ask.about, true)
}

fn detail_info(state: &State, key: &ServiceKey, is_v3: bool) -> Result<HttpAnswer, Failure> {
    let registry = state.registry();
    let service = found(&registry, key)?;
    let unsaid = nacolet_registry::ServiceMeta::default();
    let meta = service.meta().unwrap_or(&unsaid);
    Ok(HttpAnswer::result(&ServiceDetailInfo {
        namespace: (!is_v3).then_some(key.namespace.as_str()),
        namespace_id: is_v3.then_some(key.namespace.as_str()),
        service_name: key.name.as_str(),
        group_name: key.group.as_str(),
        cluster_map: cluster_map(service, is_v3),
        metadata: Map(&meta.metadata),
        protect_threshold: meta.protect_threshold,
        selector: SelectorShape(&meta.selector),
        ephemeral: service.ephemeral().unwrap_or(false),
    }))
}

/// Clusters by name. Their instances are another question.
fn cluster_map(service: &Service, is_v3: bool) -> JsonMap<String, Value> {
    let unsaid = ClusterMeta::default();
    let clusters = service.clusters().into_iter().map(|(cluster, meta)| {
        let meta = meta.unwrap_or(&unsaid);
        let mut shape = json!({
            "clusterName": cluster,
            "healthChecker": CheckerShape(&meta.health_checker),
            "metadata": Map(&meta.metadata),
            "hosts": null,
        });
        if let (true, Value::Object(shape)) = (is_v3, &mut shape) {
            shape.insert("healthyCheckPort".into(), meta.check_port.into());
            shape.insert("useInstancePortForCheck".into(), meta.use_instance_port.into());
        }
        (cluster.to_owned(), shape)
    });
    clusters.collect()
}

/// A page of the bare names of a group's services, and how many there are.
fn names_of_group<'a>(
    registry: &'a Registry,
    of: &'a GroupOfServices,
    page: PageParams,
) -> (usize, Vec<&'a str>) {
    let all = ServiceQuery::all(of.namespace.as_str());
    let query = ServiceQuery { group: Some(of.group.as_str()), ..all };
    paging::page(registry.services(&query).map(|service| service.key().name.as_str()), page)
}

fn list_v1(state: &State, ask: &Ask<GroupOfServices>) -> Result<HttpAnswer, Failure> {
    #[derive(Serialize)]
    struct Doms<'a> {
        count: usize,
        doms: Vec<&'a str>,
    }
    let params = &ask.params;
    params.required(field::PAGE_NO)?;
    params.required(field::PAGE_SIZE)?;
    let page = params.page_or_nothing(limits::SERVICES_MAX)?;
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let (count, doms) = names_of_group(&registry, &ask.about, page);
    long(&ask.room, &Doms { count, doms })
}

fn list_v2(state: &State, ask: &Ask<GroupOfServices>) -> Result<HttpAnswer, Failure> {
    #[derive(Serialize)]
    struct Services<'a> {
        count: usize,
        services: Vec<&'a str>,
    }
    let page = ask.params.page_or_nothing(limits::HISTORY_PAGE_MAX)?;
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let (count, services) = names_of_group(&registry, &ask.about, page);
    long_result(&ask.room, &Services { count, services })
}

/// Names that contain `expr`, by namespace. Nacos takes `expr` for a regular expression.
fn names(state: &State, ask: &Ask<ServiceScope>) -> Result<HttpAnswer, Failure> {
    type ByNamespace<'a> = BTreeMap<&'a str, Vec<Grouped<'a>>>;
    /// Nacos 1 says `services`, Nacos 2 the name of a folder that a search-and-replace left there.
    #[derive(Serialize)]
    struct Found<'a> {
        #[serde(rename = "META-INF/services")]
        folder: &'a ByNamespace<'a>,
        count: usize,
        services: &'a ByNamespace<'a>,
    }
    let expr = ask.params.text(field::EXPR).unwrap_or_default();
    let namespace = match &ask.about {
        ServiceScope::Of(whole) => Some(&whole.namespace),
        ServiceScope::All => None,
    };
    let registry = state.registry();
    let mut by_namespace = ByNamespace::new();
    let mut count = 0;
    for service in registry.all_services() {
        let key = service.key();
        if namespace.is_some_and(|namespace| *namespace != key.namespace) {
            continue;
        }
        let names = by_namespace.entry(key.namespace.as_str()).or_default();
        let name = Grouped::of(key);
        if name.to_string().contains(expr) {
            names.push(name);
            count += 1;
        }
    }
    let (folder, services) = (&by_namespace, &by_namespace);
    long(&ask.room, &Found { folder, count, services })
}

async fn subscribers_v1(state: Arc<State>, ask: Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    #[derive(Serialize)]
    struct Subscribers<T> {
        count: usize,
        subscribers: T,
    }
    let page = ask.params.page(1_000, limits::UDP_SUBSCRIBERS_MAX)?;
    let all = subscribers::of_service(&state, &ask).await?;
    let (count, shown) = paging::page(all.iter(), page);
    let subscribers = Each(&shown, |one: &&Subscribed| one.v1());
    long(&ask.room, &Subscribers { count, subscribers })
}

async fn subscribers_v3(state: Arc<State>, ask: Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    let page = ask.params.page_v3(100, limits::HISTORY_PAGE_MAX)?;
    let all = subscribers::of_service(&state, &ask).await?;
    let (total, shown) = paging::page(all.iter(), page);
    let shown = shown.into_iter().map(Subscribed::v3);
    long_result(&ask.room, &PageOf::asked(total, page, shown))
}
