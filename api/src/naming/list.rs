//! Lists of a service's instances: what every client polls for. Who asks for pushes with a list is
//! handed to `subscription`.

use hyper::Method;
use nacolet_model::{ClusterName, ServiceKey};
use nacolet_registry::ListQuery;

use crate::access::about;
use crate::access::rule::Permission;
use crate::http::answer::HttpAnswer;
use crate::http::failure::Failure;
use crate::http::listed::{Listed, long_result};
use crate::http::params::{Field, Fields, field};
use crate::naming::subscription::subscribe;
use crate::naming::words::dialect::was_agreed;
use crate::naming::words::info::{Hosts, ServiceInfo};
use crate::naming::words::refused;
use crate::naming::words::shapes::Grouped;
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

pub(crate) fn routes(routes: &mut Routes) {
    let (read, apart) = (Permission::NamingRead, about::service_apart);
    routes.at("/v1/ns/instance/list").now(Method::GET, read, about::service_grouped, list).hot();
    routes.at("/v2/ns/instance/list").now(Method::GET, read, apart, list_v2);
    routes.at("/v3/client/ns/instance/list").now(Method::GET, read, apart, list_v3);
}

fn list(state: &State, ask: &Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    let params = &ask.params;
    let clusters = clusters(params, field::CLUSTERS)?;
    let query = query(&ask.about, clusters, params.flag_or(field::HEALTHY_ONLY, false));
    subscribe(state, ask, &query, params.text(field::UDP_PORT))?;
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let view = registry.list(&query);
    let render = || Listed::new(&ask.room, &ServiceInfo::new(&view, &query));
    let listed = state.lists.list(view.revision, &query, render)?;
    Ok(listed.answer().agreed(was_agreed(view.service)))
}

fn list_v2(state: &State, ask: &Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    let params = &ask.params;
    let clusters = clusters(params, field::CLUSTER_NAME)?;
    let healthy_only = params.boolean(field::HEALTHY_ONLY)?.unwrap_or(false);
    let query = query(&ask.about, clusters, healthy_only);
    subscribe(state, ask, &query, params.text(field::PORT))?;
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let view = registry.list(&query);
    let answer = long_result(&ask.room, &ServiceInfo::new(&view, &query).nameless())?;
    Ok(answer.agreed(was_agreed(view.service)))
}

/// Only the instances, those of the default cluster where none is named, and `healthyOnly` has no
/// effect (Nacos `InstanceOpenApiController`).
fn list_v3(state: &State, ask: &Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    let named = clusters(&ask.params, field::CLUSTER_NAME)?;
    let clusters = if named.is_empty() { ClusterName::DEFAULT } else { named };
    let query = query(&ask.about, clusters, false);
    let registry = state.registry();
    refused::check_readable(state, &registry)?;
    let view = registry.list(&query);
    let hosts = Hosts { view: &view, service: Grouped::of(&ask.about), has_ids: false };
    Ok(long_result(&ask.room, &hosts)?.agreed(was_agreed(view.service)))
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
