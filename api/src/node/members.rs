//! The members of the cluster as Nacos describes them, and the list of servers that clients fetch
//! from an address server.

use hyper::Method;
use serde_json::{Map, Value, json};

use crate::access::about;
use crate::access::rule::Permission;
use crate::http::answer::HttpAnswer;
use crate::http::failure::{Code, Failure};
use crate::http::params::field;
use crate::node::probes::{NACOS_VERSION, NACOS_VERSION_3};
use crate::port::{MemberStatus, NodeStatus};
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

/// How far below the port of HTTP that of the members is, unless it is set (Nacos).
const PEER_PORT_BELOW: u16 = 1_000;

pub(crate) fn routes(routes: &mut Routes) {
    let (look, nothing, get) = (Permission::Console, about::nothing, Method::GET);
    routes.at("/v1/core/cluster/self").now(get.clone(), look, nothing, |state, _| {
        Ok(HttpAnswer::rest_result(&own_member(state, OLD)))
    });
    routes.at("/v1/core/cluster/nodes").now(get.clone(), look, nothing, |state, ask| {
        Ok(HttpAnswer::rest_result(&with_keyword(state, ask, OLD)))
    });
    routes.at("/v1/core/cluster/simple/nodes").now(get.clone(), look, nothing, |state, _| {
        let addresses: Vec<Box<str>> =
            members(state).1.into_iter().map(|member| member.http).collect();
        Ok(HttpAnswer::rest_result(&addresses))
    });
    routes
        .at("/v1/core/cluster/health")
        .now(get.clone(), look, nothing, |_, _| Ok(HttpAnswer::rest_result(UP)));
    routes.at("/v2/core/cluster/node/self").now(get.clone(), look, nothing, |state, _| {
        Ok(HttpAnswer::result(&own_member(state, OLD)))
    });
    routes.at("/v3/admin/core/cluster/node/self").now(get.clone(), look, nothing, |state, _| {
        Ok(HttpAnswer::result(&own_member(state, NEW)))
    });
    let list = "/v2/core/cluster/node/list";
    routes.at(list).now(get.clone(), look, nothing, |state, ask| in_state(state, ask, OLD));
    let list = "/v3/admin/core/cluster/node/list";
    routes.at(list).now(get.clone(), look, nothing, |state, ask| in_state(state, ask, NEW));
    routes.at("/v3/console/core/cluster/nodes").now(get.clone(), look, nothing, |state, ask| {
        Ok(HttpAnswer::result(&with_keyword(state, ask, NEW)))
    });
    routes
        .at("/v2/core/cluster/node/self/health")
        .now(get.clone(), look, nothing, |_, _| Ok(HttpAnswer::result(UP)));
    routes.at("/v1/ns/operator/servers").now(get.clone(), look, nothing, servers);
    routes.at("/v1/ns/ops/servers").now(get.clone(), look, nothing, servers);
    routes.at("/serverlist").now(get, Permission::Open, nothing, server_list);
}

/// What a member is said to be: its version, and the Raft groups of Nacos that stand for the one
/// that is here.
#[derive(Clone, Copy)]
struct Face {
    version: &'static str,
    groups: &'static [&'static str],
}

const OLD: Face = Face {
    version: NACOS_VERSION,
    groups: &[
        "naming_instance_metadata",
        "naming_persistent_service",
        "naming_persistent_service_v2",
        "naming_service_metadata",
    ],
};

const NEW: Face = Face {
    version: NACOS_VERSION_3,
    groups: &[
        "lock_acquire_service_v2",
        "naming_instance_metadata",
        "naming_persistent_service",
        "naming_persistent_service_v2",
        "naming_service_metadata",
    ],
};

/// State of a member that answers; one that does not is `DOWN` (Nacos `NodeState`).
const UP: &str = "UP";
const DOWN: &str = "DOWN";

fn state_of(member: &MemberStatus) -> &'static str {
    if member.up { UP } else { DOWN }
}

/// This node's own address as clients reach it.
pub(crate) fn own_address(state: &State) -> String {
    let facts = &state.port.facts;
    let is_bare_v6 = facts.host.contains(':') && !facts.host.starts_with('[');
    if is_bare_v6 {
        format!("[{}]:{}", facts.host, facts.http.port())
    } else {
        format!("{}:{}", facts.host, facts.http.port())
    }
}

/// Where this node listens for the others; with none of them, where Nacos would.
fn peer_address(state: &State) -> Box<str> {
    let facts = &state.port.facts;
    let apart = facts.http.port().saturating_sub(PEER_PORT_BELOW);
    let port = facts.peer.map_or(apart, |address| address.port());
    let own = own_address(state);
    let host = own.rsplit_once(':').map_or(&*own, |(host, _)| host);
    format!("{host}:{port}").into()
}

/// The node's view of the cluster and every member in the order of addresses; this node alone while
/// it knows of no others.
pub(crate) fn members(state: &State) -> (NodeStatus, Vec<MemberStatus>) {
    let status = (state.port.status)();
    let mut members = status.members.clone();
    let node = state.port.facts.node;
    if members.is_empty() {
        let (http, peer) = (own_address(state).into(), "".into());
        members.push(MemberStatus { node, http, peer, voter: true, up: true });
    }
    // One that is alone is in no list of addresses.
    for own in members.iter_mut().filter(|own| own.node == node && own.peer.is_empty()) {
        own.peer = peer_address(state);
    }
    members.sort_by(|a, b| a.http.cmp(&b.http));
    (status, members)
}

/// A member as Nacos describes one (`Member`).
fn shape(
    state: &State,
    face: Face,
    status: &NodeStatus,
    members: &[MemberStatus],
    of: &MemberStatus,
) -> Value {
    let (ip, port) = of.http.rsplit_once(':').unwrap_or((&of.http, "0"));
    let port: u16 = port.parse().unwrap_or_default();
    let leader = members.iter().find(|member| Some(member.node) == status.leader);
    let voters: Vec<&str> =
        members.iter().filter(|member| member.voter).map(|member| &*member.peer).collect();
    let group = json!({
        "leader": leader.map(|leader| &*leader.peer),
        "raftGroupMember": voters,
        "term": status.term,
    });
    let groups: Map<String, Value> =
        face.groups.iter().map(|name| ((*name).to_owned(), group.clone())).collect();
    json!({
        "ip": ip.trim_matches(['[', ']']),
        "port": port,
        "state": state_of(of),
        "extendInfo": {
            "lastRefreshTime": state.now().1.as_millis(),
            "raftMetaData": { "metaDataMap": groups },
            "raftPort": of.peer.rsplit_once(':').map_or("", |(_, port)| port),
            "readyToUpgrade": true,
            "supportGrayModel": true,
            "version": face.version,
            "nodeId": of.node.to_string(),
            "voter": of.voter,
        },
        "address": of.http,
        "failAccessCnt": 0,
        "abilities": {
            "remoteAbility": { "supportRemoteConnection": true, "grpcReportEnabled": true },
            "configAbility": { "supportRemoteMetrics": false },
            "namingAbility": { "supportJraft": true },
        },
        "grpcReportEnabled": true,
    })
}

fn own_member(state: &State, face: Face) -> Value {
    let (status, members) = members(state);
    let own = members.iter().find(|member| member.node == state.port.facts.node);
    own.map_or(Value::Null, |own| shape(state, face, &status, &members, own))
}

fn shapes(state: &State, face: Face, keep: impl Fn(&MemberStatus) -> bool) -> Vec<Value> {
    let (status, members) = members(state);
    let kept = members.iter().filter(|member| keep(member));
    kept.map(|member| shape(state, face, &status, &members, member)).collect()
}

/// The members whose addresses begin like this.
fn with_keyword(state: &State, ask: &Ask<()>, face: Face) -> Vec<Value> {
    let keyword = ask.params.text(field::KEYWORD).unwrap_or_default();
    shapes(state, face, |member| member.http.starts_with(keyword))
}

fn in_state(state: &State, ask: &Ask<()>, face: Face) -> Result<HttpAnswer, Failure> {
    let params = &ask.params;
    let address = params.text(field::ADDRESS).unwrap_or_default();
    let wanted = params.text(field::STATE).map(str::to_ascii_uppercase);
    let known = ["STARTING", UP, "SUSPICIOUS", DOWN, "ISOLATION"];
    if let Some(wanted) = wanted.as_deref().filter(|wanted| !known.contains(wanted)) {
        let words = format!("Illegal state: {wanted}");
        return Err(Failure::invalid_as(Code(23_000, "illegal state"), words));
    }
    let keep = |member: &MemberStatus| {
        member.http.starts_with(address)
            && wanted.as_deref().is_none_or(|wanted| wanted == state_of(member))
    };
    Ok(HttpAnswer::result(&shapes(state, face, keep)))
}

/// Servers in the shape of Nacos 1, for old clients.
fn servers(state: &State, ask: &Ask<()>) -> Result<HttpAnswer, Failure> {
    let healthy_only = ask.params.flag_or(field::HEALTHY, false);
    let servers = shapes(state, OLD, |member| member.up || !healthy_only);
    Ok(HttpAnswer::json(&json!({ "servers": servers })))
}

/// One `host:port` a line, as an address server gives it out.
fn server_list(state: &State, _ask: &Ask<()>) -> Result<HttpAnswer, Failure> {
    let (_, members) = members(state);
    let mut lines = String::new();
    for member in members.iter().filter(|member| member.up) {
        lines.push_str(&member.http);
        lines.push('\n');
    }
    Ok(HttpAnswer::text(lines))
}
