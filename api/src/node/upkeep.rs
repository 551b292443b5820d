//! What Nacos lets an operator do to a cluster and to a server: `/v?/core/cluster` beyond looking,
//! `/v?/core/ops`. Members of this cluster join, leave and find each other in ways of their own
//! (`operate`), so most of it is refused with a sentence; what means something here acts.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use nacolet_model::NodeId;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::access::about;
use crate::access::about::About;
use crate::access::rule::Permission;
use crate::http::answer::{Envelope, HttpAnswer};
use crate::http::failure::{Code, Failure};
use crate::http::json::object;
use crate::http::params::{Parts, field};
use crate::node::{members, operate};
use crate::port::logs;
use crate::port::operate::Question;
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

pub(crate) fn routes(routes: &mut Routes) {
    let (admin, nothing) = (Permission::Admin, about::nothing);
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let leave = "/v1/core/cluster/server/leave";
    routes.at(leave).now(post.clone(), admin, Body::decode, |_, _| {
        Ok(not_allowed("/v1/core/cluster/server/leave API not allow to use temporarily."))
    });
    routes.at("/v2/core/cluster/nodes").now(Method::DELETE, admin, nothing, |_, ask| {
        ask.params.present(field::ADDRESSES)?;
        Ok(not_allowed("DELETE /v2/core/cluster/nodes API not allow to use temporarily."))
    });
    routes.at("/v1/core/cluster/report").now(post.clone(), admin, nothing, |_, _| {
        Err(Failure::new(StatusCode::GONE, DEPRECATED, OTHERWISE_TOLD))
    });
    for path in ["/v2/core/cluster/node/list", "/v3/admin/core/cluster/node/list"] {
        routes.at(path).now(put.clone(), admin, Body::decode, |_, ask| match ask.about {
            Body::NoList => Err(Failure::missing("nodes")),
            Body::Something => Err(Failure::disabled(OTHERWISE_TOLD)),
        });
    }
    routes.at("/v1/core/cluster/switch/lookup").now(post.clone(), admin, nothing, |_, ask| {
        let Lookup::Unknown(words) = lookup(ask)? else { return Err(Failure::disabled(NO_LOOKUP)) };
        Ok(failed(500, &words))
    });
    for path in ["/v2/core/cluster/lookup", "/v3/admin/core/cluster/lookup"] {
        routes.at(path).now(put.clone(), admin, nothing, |_, ask| match lookup(ask)? {
            Lookup::Unknown(words) => Err(Failure::invalid(words)),
            Lookup::Known => Err(Failure::disabled(NO_LOOKUP)),
        });
    }
    let look = Permission::Console;
    routes.at("/v1/core/ops/idInfo").now(get.clone(), look, nothing, |state, _| {
        let ids = ids(state).map(|(name, info)| (name.to_owned(), info));
        Ok(HttpAnswer::rest_result(&ids.collect::<Map<String, Value>>()))
    });
    routes
        .at("/v2/core/ops/ids")
        .now(get.clone(), look, nothing, |state, _| Ok(HttpAnswer::rest_result(&id_list(state))));
    routes
        .at("/v3/admin/core/ops/ids")
        .now(get, look, nothing, |state, _| Ok(HttpAnswer::result(&id_list(state))));
    for path in ["/v1/core/ops/raft", "/v2/core/ops/raft", "/v3/admin/core/ops/raft"] {
        routes.at(path).later(post.clone(), admin, RaftCommand::decode, raft);
    }
    routes.at("/v1/core/ops/log").now(put.clone(), admin, nothing, |_, ask| {
        let (name, level) = (field::LOG_NAME, field::LOG_LEVEL);
        logs::set_level(ask.params.present(name)?, ask.params.present(level)?)?;
        Ok(HttpAnswer::text("200"))
    });
    for path in ["/v2/core/ops/log", "/v3/admin/core/ops/log"] {
        routes.at(path).now(put.clone(), admin, LogLevel::decode, |_, ask| {
            logs::set_level(&ask.about.log_name, &ask.about.log_level)?;
            Ok(if ask.is_v3 { HttpAnswer::result(&()) } else { HttpAnswer::rest_result(&()) })
        });
    }
}

const DEPRECATED: Code = Code(40_000, "API deprecated.");
const OTHERWISE_TOLD: &str = "members of this cluster tell each other over a port of their own";
const NO_LOOKUP: &str = "members of this cluster are not looked up: each joins it and is one until \
                         it is removed";

/// A `RestResult` that says 405 in a 200 answer, as Nacos does for what members decide themselves.
fn not_allowed(words: &str) -> HttpAnswer {
    failed(405, words)
}

/// A `RestResult` of v1 that says in a 200 answer that nothing came of it.
fn failed(code: u32, words: &str) -> HttpAnswer {
    HttpAnswer::json(&Envelope { code, message: Some(words), data: &() })
}

/// A body of which only matters whether it says anything.
enum Body {
    /// An empty list.
    NoList,
    Something,
}

impl About for Body {}

impl Body {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        match parts.body.trim_ascii() {
            b"" => Err(Failure::no_body()),
            b"[]" => Ok(Self::NoList),
            _ => Ok(Self::Something),
        }
    }
}

/// What a body of JSON asks of the log.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LogLevel {
    log_name: Box<str>,
    log_level: Box<str>,
}

impl About for LogLevel {}

impl LogLevel {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        Body::decode(parts)?;
        let said = parts.header("content-type").unwrap_or_default();
        if said
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .eq_ignore_ascii_case("application/json")
        {
            return object(parts.body).map_err(|error| Failure::invalid(error.to_string()));
        }
        let said: String = said.chars().take(64).collect();
        let words = format!("Content-Type '{said}' is not supported");
        Err(Failure::media_type(parts.uri.path().contains("/v3/"), words))
    }
}

/// How members would be looked up.
enum Lookup {
    Known,
    Unknown(String),
}

fn lookup(ask: &Ask<()>) -> Result<Lookup, Failure> {
    Ok(match ask.params.present(field::TYPE)? {
        "file" | "address-server" => Lookup::Known,
        other => {
            let shown: String = other.chars().take(32).collect();
            Lookup::Unknown(format!(
                "The addressing mode exists : {shown}, just support : [[file, address-server]]"
            ))
        }
    })
}

/// The generators of numbers that Nacos has, each with the last number that it gave. Here what has
/// a number has that of its entry in the log; the rest has none.
fn ids(state: &State) -> impl Iterator<Item = (&'static str, Value)> {
    let last = state.configs().applied();
    [
        ("role-id", 0),
        ("permissions_id", 0),
        ("config-history-gray-id", last),
        ("config-history-id", last),
        ("config-info-id", last),
        ("namespace-id", 0),
        ("user-id", 0),
        ("app-configdata-relation-subs", 0),
        ("config-beta-id", 0),
        ("config-tag-relation-id", 0),
    ]
    .into_iter()
    .map(|(name, last)| (name, json!({ "currentId": last, "workerId": 0 })))
}

fn id_list(state: &State) -> Vec<Value> {
    ids(state).map(|(name, info)| json!({ "resource": name, "info": info })).collect()
}

/// What an operator of Nacos tells its Raft. The name of a group is taken for what it is here:
/// there is one.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RaftCommand {
    command: Box<str>,
    value: Box<str>,
}

impl About for RaftCommand {}

impl RaftCommand {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        if parts.body.trim_ascii().is_empty() {
            return Err(Failure::no_body());
        }
        object(parts.body).map_err(|error| Failure::invalid(error.to_string()))
    }
}

/// Hands leadership over, or saves the state of this node. The rest would change the membership,
/// for which there is a way that asks for the name of a member and not for an address.
async fn raft(state: Arc<State>, ask: Ask<RaftCommand>) -> Result<HttpAnswer, Failure> {
    check_operator(&state, &ask)?;
    let RaftCommand { command, value } = &ask.about;
    let question = match &**command {
        "transferLeader" => {
            let node = member_at(&state, value).ok_or_else(|| unknown_member(value))?;
            Question::Transfer { node: Some(node) }
        }
        "doSnapshot" => match member_at(&state, value) {
            Some(node) if node == state.port.facts.node => Question::Snapshot,
            Some(_) => {
                return Err(Failure::disabled("a member saves its own state: ask it for that"));
            }
            None => return Err(unknown_member(value)),
        },
        "restRaftCluster" | "removePeer" | "removePeers" | "changePeers" | "resetPeers" => {
            let words = "members are added and removed with `nacolet cluster`, by their node ids";
            return Err(Failure::disabled(words));
        }
        other => {
            let shown: String = other.chars().take(32).collect();
            return Err(Failure::invalid(format!("Not support command : {shown}")));
        }
    };
    operate::put(&state, question).await?;
    Ok(if ask.is_v3 { HttpAnswer::result(&()) } else { HttpAnswer::rest_result(&()) })
}

/// Whoever changes the cluster is an administrator; where nobody has to log in, somebody on this
/// host.
pub(crate) fn check_operator<T>(state: &State, ask: &Ask<T>) -> Result<(), Failure> {
    if state.access.is_on() { Ok(()) } else { operate::check_local(&state.settings, ask) }
}

/// The member that listens there, for clients or for the other members.
fn member_at(state: &State, address: &str) -> Option<NodeId> {
    let (_, members) = members::members(state);
    let is_there = |member: &&crate::port::MemberStatus| {
        !address.is_empty() && [&*member.http, &*member.peer].contains(&address)
    };
    members.iter().find(is_there).map(|member| member.node)
}

fn unknown_member(address: &str) -> Failure {
    let shown: String = address.chars().take(64).collect();
    Failure::invalid(format!("no member of this cluster is at {shown}"))
}
