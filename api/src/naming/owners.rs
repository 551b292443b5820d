//! `/v3/admin/nacolet/service`: who keeps the instances of a service alive, for operators: the
//! member that is responsible for the service, and of each instance whether beats or a connection
//! do.

use hyper::Method;
use nacolet_model::{NodeId, ServiceKey};
use nacolet_registry::{Instance, Owner, Registry, Service};
use serde_json::{Value, json};

use crate::access::about;
use crate::access::rule::Permission;
use crate::http::answer::HttpAnswer;
use crate::http::failure::Failure;
use crate::naming::words::dialect::find;
use crate::node::members;
use crate::port::MemberStatus;
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

pub(crate) fn routes(routes: &mut Routes) {
    routes.at("/v3/admin/nacolet/service").now(
        Method::GET,
        Permission::NamingRead,
        about::service_apart,
        owners,
    );
}

fn owners(state: &State, ask: &Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    let (_, members) = members::members(state);
    let registry = state.registry();
    let service = find(&registry, &ask.about);
    let instances = service.map_or(&[][..], Service::publications).iter();
    Ok(HttpAnswer::result(&json!({
        "responsible": member(&members, registry.responsible(&ask.about)),
        "instances": instances.map(|one| shape(&registry, &members, one)).collect::<Vec<_>>(),
    })))
}

fn shape(registry: &Registry, members: &[MemberStatus], instance: &Instance) -> Value {
    let (kept_by, holder) = match registry.owner(instance) {
        _ if !instance.ephemeral() => ("raft", None),
        Owner::Beats => ("beats", None),
        Owner::Connection { node, .. } => ("connection", node),
    };
    json!({
        "ip": instance.ip(),
        "port": instance.port(),
        "clusterName": instance.cluster(),
        "keptBy": kept_by,
        // None also for a connection of a member that is not heard: it goes unless it comes back.
        "member": holder.map(|node| member(members, node)),
    })
}

fn member(members: &[MemberStatus], node: NodeId) -> Value {
    let known = members.iter().find(|member| member.node == node);
    json!({ "nodeId": node.to_string(), "address": known.map(|member| &*member.http) })
}
