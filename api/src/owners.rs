//! `/v3/admin/nacolet/service`: who keeps the instances of a service alive, for operators: the member
//! that is responsible for the service, and of each instance whether beats or a connection do.

use hyper::Method;
use nacolet_model::NodeId;
use nacolet_registry::{Instance, Owner, Registry, Service};
use serde_json::{Value, json};

use crate::call::{Answer, Call};
use crate::members;
use crate::request::MemberStatus;
use crate::router::{Permission, Routes};
use crate::server::State;
use crate::status::Failure;
use crate::target::Target;

pub(crate) fn routes(routes: &mut Routes) {
    routes.at("/v3/admin/nacolet/service").now(Method::GET, Permission::NamingRead, owners);
}

fn owners(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let target = Target::apart(&params)?;
    let (_, members) = members::members(state);
    let registry = state.registry();
    let service = registry.service(target.namespace, target.group, target.name);
    let instances = service.map_or(&[][..], Service::instances).iter();
    Ok(Answer::result(&json!({
        "responsible": member(&members, registry.responsible(&target.key()?)),
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
