//! Lists of a service's instances: what every client polls for. A rendered list is kept until the
//! service changes, so that polling costs a lookup and no rendering; nothing in it changes by itself.
//! Who
//! asks for pushes with a list is handed to `subscription`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use hyper::Method;
use hyper::body::Bytes;
use nacolet_model::{ClusterName, ServiceKey, limits};
use nacolet_registry::{ListQuery, ServiceView};
use serde::Serialize;
use serde::ser::{SerializeStruct as _, Serializer};

use crate::about;
use crate::call::{Answer, Ask, JSON};
use crate::params::{Field, Fields, field};
use crate::refused;
use crate::router::{Permission, Routes};
use crate::server::State;
use crate::shapes::{Grouped, Host};
use crate::status::Failure;
use crate::subscription::subscribe;

pub(crate) fn routes(routes: &mut Routes) {
    let (read, apart) = (Permission::NamingRead, about::service_apart);
    routes.at("/v1/ns/instance/list").now(Method::GET, read, about::service_grouped, list).hot();
    routes.at("/v2/ns/instance/list").now(Method::GET, read, apart, list_v2);
    routes.at("/v3/client/ns/instance/list").now(Method::GET, read, apart, list_v3);
    routes.at("/v3/admin/ns/instance/list").now(Method::GET, read, apart, list_v3_admin);
}

/// A service as a client sees it (Nacos `ServiceInfo` over HTTP).
struct ServiceInfo<'a> {
    view: &'a ServiceView<'a>,
    service: Grouped<'a>,
    clusters: &'a str,
}

impl Serialize for ServiceInfo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        service_info(serializer, &self.service, self.view, self.service, self.clusters)
    }
}

/// Writes a `ServiceInfo`: over HTTP and gRPC it differs in its `name` alone.
pub(crate) fn service_info<S: Serializer>(
    serializer: S,
    name: &(impl Serialize + ?Sized),
    view: &ServiceView<'_>,
    service: Grouped<'_>,
    clusters: &str,
) -> Result<S::Ok, S::Error> {
    let mut info = serializer.serialize_struct("ServiceInfo", 11)?;
    info.serialize_field("name", name)?;
    info.serialize_field("groupName", service.group)?;
    // Clients keep lists by the text they asked with, so it goes back unchanged.
    info.serialize_field("clusters", clusters)?;
    info.serialize_field("cacheMillis", &view.cache.as_millis())?;
    info.serialize_field("hosts", &Hosts { view, service })?;
    info.serialize_field("lastRefTime", &view.last_ref_time)?;
    info.serialize_field("checksum", "")?;
    // Nacos 1 and 2 spell it one way, Nacos 3 the other, and each has clients that insist.
    info.serialize_field("allIPs", &false)?;
    info.serialize_field("allIps", &false)?;
    info.serialize_field("reachProtectionThreshold", &view.reach_protection)?;
    info.serialize_field("valid", &true)?;
    info.end()
}

/// The instances of a service.
pub(crate) struct Hosts<'a> {
    /// What the client sees of the service.
    pub(crate) view: &'a ServiceView<'a>,
    /// Its name.
    pub(crate) service: Grouped<'a>,
}

impl Serialize for Hosts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let service = self.service;
        serializer.collect_seq(self.view.hosts().map(|host| Host {
            instance: host.instance,
            service,
            healthy: host.healthy,
        }))
    }
}

impl<'a> ServiceInfo<'a> {
    fn new(view: &'a ServiceView<'a>, query: &ListQuery<'a>) -> Self {
        let service = Grouped { group: query.group, name: query.name };
        Self { view, service, clusters: query.clusters }
    }
}

/// The list of `view` as JSON. It cannot fail: no map in it has keys that are not texts.
pub(crate) fn render(view: &ServiceView<'_>, query: &ListQuery<'_>) -> String {
    serde_json::to_string(&ServiceInfo::new(view, query)).unwrap_or_default()
}

/// What identifies a list: the query as one text. Control characters are in none of its parts.
fn shelf_key(query: &ListQuery<'_>) -> String {
    let ListQuery { namespace, group, name, clusters, healthy_only } = query;
    let mut key = String::with_capacity(namespace.len() + group.len() + name.len() + 8);
    // Writing to a String cannot fail.
    let _ = write!(key, "{namespace}\n{group}\n{name}\n{clusters}\n{healthy_only}");
    key
}

/// Rendered lists, as long as they are true.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    by_query: BTreeMap<Box<str>, Rendered>,
    bytes: usize,
}

#[derive(Debug)]
struct Rendered {
    revision: u64,
    body: Bytes,
}

impl Shelf {
    /// The list of `view`: the kept one if it is still true, else a new one.
    fn body(&self, view: &ServiceView<'_>, query: &ListQuery<'_>) -> Bytes {
        if view.revision == 0 {
            return render(view, query).into();
        }
        let key = shelf_key(query);
        if let Some(body) = self.find(&key, view) {
            return body;
        }
        let body = Bytes::from(render(view, query));
        self.keep(key, view, body.clone());
        body
    }

    fn find(&self, key: &str, view: &ServiceView<'_>) -> Option<Bytes> {
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = lists.by_query.get(key)?;
        (kept.revision == view.revision).then(|| kept.body.clone())
    }

    fn keep(&self, key: String, view: &ServiceView<'_>, body: Bytes) {
        let bytes = key.len() + body.len();
        if bytes > limits::LIST_SHELF_BYTES_MAX / 2 {
            return;
        }
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.bytes + bytes > limits::LIST_SHELF_BYTES_MAX
            || lists.by_query.len() >= limits::LIST_SHELF_LISTS_MAX
        {
            *lists = Lists::default();
        }
        let key_bytes = key.len();
        let rendered = Rendered { revision: view.revision, body };
        lists.bytes += bytes;
        if let Some(old) = lists.by_query.insert(key.into(), rendered) {
            lists.bytes -= key_bytes + old.body.len();
        }
    }
}

fn list(state: &State, ask: &Ask<ServiceKey>) -> Result<Answer, Failure> {
    let params = &ask.params;
    let clusters = clusters(params, field::CLUSTERS)?;
    let query = query(&ask.about, clusters, params.flag_or(field::HEALTHY_ONLY, false));
    subscribe(state, ask, &query, params.text(field::UDP_PORT))?;
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let view = registry.list(&query);
    Ok(Answer::new(JSON, state.lists.body(&view, &query)))
}

fn list_v2(state: &State, ask: &Ask<ServiceKey>) -> Result<Answer, Failure> {
    let params = &ask.params;
    let clusters = clusters(params, field::CLUSTER_NAME)?;
    let query = query(&ask.about, clusters, params.flag_or(field::HEALTHY_ONLY, false));
    subscribe(state, ask, &query, params.text(field::PORT))?;
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let view = registry.list(&query);
    Ok(Answer::result(&ServiceInfo::new(&view, &query)))
}

/// Only the instances, and `healthyOnly` has no effect (Nacos `InstanceOpenApiController`).
fn list_v3(state: &State, ask: &Ask<ServiceKey>) -> Result<Answer, Failure> {
    let params = &ask.params;
    let query = query(&ask.about, clusters(params, field::CLUSTER_NAME)?, false);
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let view = registry.list(&query);
    Ok(Answer::result(&Hosts { view: &view, service: Grouped::of(&ask.about) }))
}

fn list_v3_admin(state: &State, ask: &Ask<ServiceKey>) -> Result<Answer, Failure> {
    let params = &ask.params;
    let clusters = clusters(params, field::CLUSTER_NAME)?;
    let query = query(&ask.about, clusters, params.flag_or(field::HEALTHY_ONLY, false));
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let view = registry.list(&query);
    Ok(Answer::result(&Hosts { view: &view, service: Grouped::of(&ask.about) }))
}

fn query<'a>(key: &'a ServiceKey, clusters: &'a str, healthy_only: bool) -> ListQuery<'a> {
    let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
    ListQuery { namespace, group, name: key.name.as_str(), clusters, healthy_only }
}

fn clusters(params: &Fields, name: Field) -> Result<&str, Failure> {
    let clusters = params.text(name).unwrap_or_default();
    for cluster in clusters.split(',').map(str::trim).filter(|cluster| !cluster.is_empty()) {
        ClusterName::check(cluster)?;
    }
    Ok(clusters)
}

#[cfg(test)]
mod tests {
    use nacolet_model::{Instant, RequestId, WallTime};
    use nacolet_registry::{Input, InstanceSpec, Registry, RegistrySettings, Request};

    use super::*;

    const QUERY: ListQuery<'_> =
        ListQuery { namespace: "public", group: "g", name: "s", clusters: "", healthy_only: false };

    fn registry() -> Registry {
        let mut registry = Registry::new(RegistrySettings::default());
        let service = about::service_of("", "g", "s").expect("valid");
        let body = Request::Register { service, instance: InstanceSpec::new("10.0.0.1", 80) };
        let input = Input::Request { request: RequestId(1), at: WallTime(1), body };
        registry.step(Instant::from_millis(1), input, &mut Vec::new());
        registry
    }

    #[test]
    fn a_kept_list_is_the_one_that_would_be_rendered() {
        let (registry, shelf) = (registry(), Shelf::default());
        let rendered = render(&registry.list(&QUERY), &QUERY);
        for _ in 0..2 {
            assert_eq!(shelf.body(&registry.list(&QUERY), &QUERY), rendered.as_bytes());
        }
        let lists = shelf.lists.lock().expect("no panic before");
        assert_eq!(lists.by_query.len(), 1);
        assert_eq!(lists.bytes, shelf_key(&QUERY).len() + rendered.len());
    }

    #[test]
    fn the_shelf_is_bounded_whatever_is_asked() {
        let (registry, shelf) = (registry(), Shelf::default());
        for number in 0..=limits::LIST_SHELF_LISTS_MAX {
            let clusters = format!("c{number}");
            let query = ListQuery { clusters: &clusters, ..QUERY };
            shelf.body(&registry.list(&query), &query);
        }
        let lists = shelf.lists.lock().expect("no panic before");
        assert_eq!(lists.by_query.len(), 1, "the shelf began anew");
        assert!(lists.bytes < 1_000, "{}", lists.bytes);
    }

    #[test]
    fn a_service_that_is_not_there_takes_no_room() {
        let (registry, shelf) = (registry(), Shelf::default());
        let query = ListQuery { name: "none", ..QUERY };
        shelf.body(&registry.list(&query), &query);
        assert!(shelf.lists.lock().expect("no panic before").by_query.is_empty());
    }
}
