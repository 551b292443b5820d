//! The members of the cluster as Nacos describes them, and the list of servers that clients fetch from
//! an address server.

use hyper::Method;
use serde_json::{Value, json};

use crate::about;
use crate::call::{Answer, Ask, Envelope};
use crate::params::field;
use crate::request::{MemberStatus, NodeStatus};
use crate::router::{Permission, Routes};
use crate::server::State;
use crate::status::{Code, Failure};

pub(crate) fn routes(routes: &mut Routes) {
    let look = Permission::Console;
    routes.at("/v1/core/cluster/self").now(Method::GET, look, about::nothing, |state, _| {
        Ok(Answer::rest_result(&own_member(state)))
    });
    routes.at("/v1/core/cluster/nodes").now(Method::GET, look, about::nothing, nodes_v1);
    routes.at("/v1/core/cluster/simple/nodes").now(
        Method::GET,
        look,
        about::nothing,
        |state, _| {
            let addresses: Vec<Box<str>> =
                members(state).1.into_iter().map(|member| member.http).collect();
            Ok(Answer::rest_result(&addresses))
        },
    );
    routes
        .at("/v1/core/cluster/health")
        .now(Method::GET, look, about::nothing, |_, _| Ok(Answer::rest_result(UP)));
    routes.at("/v1/core/cluster/server/leave").now(
        Method::POST,
        Permission::Admin,
        about::nothing,
        |_, _| Ok(not_allowed("/v1/core/cluster/server/leave API not allow to use temporarily.")),
    );
    routes.at("/v2/core/cluster/nodes").now(
        Method::DELETE,
        Permission::Admin,
        about::nothing,
        |_, _| Ok(not_allowed("DELETE /v2/core/cluster/nodes API not allow to use temporarily.")),
    );
    for (own, list) in [
        ("/v2/core/cluster/node/self", "/v2/core/cluster/node/list"),
        ("/v3/admin/core/cluster/node/self", "/v3/admin/core/cluster/node/list"),
    ] {
        routes.at(own).now(Method::GET, look, about::nothing, |state, _| {
            Ok(Answer::result(&own_member(state)))
        });
        routes.at(list).now(Method::GET, look, about::nothing, nodes_v2);
    }
    for path in ["/v2/core/cluster/node/self/health", "/v3/admin/core/cluster/node/self/health"] {
        routes.at(path).now(Method::GET, look, about::nothing, |_, _| Ok(Answer::result(UP)));
    }
    routes.at("/v1/ns/operator/servers").now(Method::GET, look, about::nothing, servers);
    routes.at("/v1/ns/ops/servers").now(Method::GET, look, about::nothing, servers);
    routes.at("/serverlist").now(Method::GET, Permission::Open, about::nothing, server_list);
}

/// State of a member that answers; one that does not is `DOWN` (Nacos `NodeState`).
const UP: &str = "UP";
const DOWN: &str = "DOWN";

fn state_of(member: &MemberStatus) -> &'static str {
    if member.up { UP } else { DOWN }
}

/// A `RestResult` that says 405 in a 200 answer, as Nacos does for what members decide themselves.
fn not_allowed(words: &str) -> Answer {
    Answer::json(&Envelope { code: 405, message: Some(words), data: &() })
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

/// The node's view of the cluster and every member in the order of addresses; this node alone while
/// it knows of no others.
pub(crate) fn members(state: &State) -> (NodeStatus, Vec<MemberStatus>) {
    let status = (state.port.status)();
    let mut members = status.members.clone();
    if members.is_empty() {
        let (node, http) = (state.port.facts.node, own_address(state).into());
        members.push(MemberStatus { node, http, voter: true, up: true });
    }
    members.sort_by(|a, b| a.http.cmp(&b.http));
    (status, members)
}

/// A member as Nacos describes one (`Member`). `raftMetaData` has its shape, with one group.
fn shape(state: &State, status: &NodeStatus, members: &[MemberStatus], of: &MemberStatus) -> Value {
    let (ip, port) = of.http.rsplit_once(':').unwrap_or((&of.http, "0"));
    let port: u16 = port.parse().unwrap_or_default();
    let leader = members.iter().find(|member| Some(member.node) == status.leader);
    let voters: Vec<&str> =
        members.iter().filter(|member| member.voter).map(|member| &*member.http).collect();
    json!({
        "ip": ip.trim_matches(['[', ']']),
        "port": port,
        "state": state_of(of),
        "extendInfo": {
            "lastRefreshTime": state.now().1.as_millis(),
            "raftMetaData": { "metaDataMap": { "nacolet": {
                "leader": leader.map(|leader| &*leader.http),
                "raftGroupMember": voters,
                "term": status.term,
            } } },
            "version": crate::console::NACOS_VERSION,
            "nodeId": of.node.to_string(),
            "voter": of.voter,
        },
        "address": of.http,
        "failAccessCnt": 0,
        "abilities": { "remoteAbility": {}, "configAbility": {}, "namingAbility": {} },
    })
}

fn own_member(state: &State) -> Value {
    let (status, members) = members(state);
    let own = members.iter().find(|member| member.node == state.port.facts.node);
    own.map_or(Value::Null, |own| shape(state, &status, &members, own))
}

fn shapes(state: &State, keep: impl Fn(&MemberStatus) -> bool) -> Vec<Value> {
    let (status, members) = members(state);
    let kept = members.iter().filter(|member| keep(member));
    kept.map(|member| shape(state, &status, &members, member)).collect()
}

fn nodes_v1(state: &State, ask: &Ask<()>) -> Result<Answer, Failure> {
    let params = &ask.params;
    let keyword = params.text(field::KEYWORD).unwrap_or_default();
    Ok(Answer::rest_result(&shapes(state, |member| member.http.starts_with(keyword))))
}

fn nodes_v2(state: &State, ask: &Ask<()>) -> Result<Answer, Failure> {
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
    Ok(Answer::result(&shapes(state, keep)))
}

/// Servers in the shape of Nacos 1, for old clients.
fn servers(state: &State, ask: &Ask<()>) -> Result<Answer, Failure> {
    let healthy_only = ask.params.flag_or(field::HEALTHY, false);
    let servers = shapes(state, |member| member.up || !healthy_only);
    Ok(Answer::json(&json!({ "servers": servers })))
}

/// One `host:port` a line, as an address server gives it out.
fn server_list(state: &State, _ask: &Ask<()>) -> Result<Answer, Failure> {
    let (_, members) = members(state);
    let mut lines = String::new();
    for member in members.iter().filter(|member| member.up) {
        lines.push_str(&member.http);
        lines.push('\n');
    }
    Ok(Answer::text(lines))
}
