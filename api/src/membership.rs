//! `/v3/admin/nacolet/cluster`: the members of the cluster for operators, and changes of them. Served to
//! the node's own host only: whoever is on it could as well stop the process. A page in a browser there
//! cannot call it, because it cannot send the header that every change needs, and no name can be turned
//! to this host to make it the page's own.

use std::net::IpAddr;
use std::sync::Arc;

use futures_channel::oneshot;
use hyper::{Method, StatusCode};
use nacolet_model::NodeId;
use serde_json::json;

use crate::about;
use crate::browser;
use crate::call::{Answer, Ask};
use crate::params::field;
use crate::request::{Request, WriteError};
use crate::router::{Permission, Routes};
use crate::server::State;
use crate::status::{Code, Failure};

/// The header of a change, with any value.
pub const ADMIN_HEADER: &str = "nacolet-admin";

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Who is a member, and how far each one is.
    Status,
    /// Adds a learner, or corrects the address of a member.
    Add {
        /// Its identity.
        node: NodeId,
        /// `HOST:PEER_PORT`, or `HOST:PEER_PORT/HTTP_PORT`.
        address: Box<str>,
    },
    /// Removes a member.
    Remove {
        /// Its identity.
        node: NodeId,
    },
    /// Hands leadership over.
    Transfer {
        /// To whom; the most advanced member when none is named.
        node: Option<NodeId>,
    },
    /// Saves the state of the node that is asked, and shortens its log.
    Snapshot,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// See [`Question::Status`].
    Status(ClusterStatus),
    /// It is done.
    Done,
    /// This node leads now.
    Leader(NodeId),
    /// The state up to this log index is saved.
    Snapshot(u64),
}

/// The cluster as one node sees it; what only the leader knows comes from there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The node that answers.
    pub node: NodeId,
    /// The leader, when it is known.
    pub leader: Option<NodeId>,
    /// Raft term.
    pub term: u64,
    /// Highest log index known to be committed.
    pub commit_index: u64,
    /// Highest log index that is part of the state.
    pub applied_index: u64,
    /// Every member.
    pub members: Vec<ClusterMember>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterMember {
    /// Its identity.
    pub node: NodeId,
    /// Where it listens for peers; empty for a node that is alone.
    pub address: Box<str>,
    /// `leader`, `follower` or `learner`.
    pub role: &'static str,
    /// What it surely holds; unknown while the leader is.
    pub match_index: Option<u64>,
    /// `leading`, `replicate`, `probe`, `snapshot`, `unreachable` or `unknown`.
    pub state: &'static str,
}

/// Why nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It is not possible: for people to read.
    #[error("{0}")]
    Refused(Box<str>),
    /// No leader is known.
    #[error("no leader is known")]
    NoLeader,
    /// Something else must be finished first.
    #[error("another change is under way, or a member has not caught up; try again")]
    Busy,
    /// It may have happened, or may still happen.
    #[error("no answer in time, look at the status")]
    Unknown,
}

pub(crate) fn routes(routes: &mut Routes) {
    let (admin, nothing) = (Permission::Admin, about::nothing);
    let (get, post) = (Method::GET, Method::POST);
    routes.at("/v3/admin/nacolet/cluster").later(get.clone(), admin, nothing, status);
    routes.at("/v3/admin/nacolet/cluster/state-hash").later(get, admin, nothing, state_hash);
    routes.at("/v3/admin/nacolet/cluster/add").later(post.clone(), admin, nothing, add);
    routes.at("/v3/admin/nacolet/cluster/remove").later(post.clone(), admin, nothing, remove);
    routes.at("/v3/admin/nacolet/cluster/transfer").later(post.clone(), admin, nothing, transfer);
    routes.at("/v3/admin/nacolet/cluster/snapshot").later(post, admin, nothing, snapshot);
}

/// Only from this host, and not through a proxy on it.
fn check_local(ask: &Ask<()>) -> Result<(), Failure> {
    let local = ask.ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let is_named = ask.header("host").is_some_and(|host| !browser::is_unmistakable(host));
    let proxied = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];
    if local && !is_named && proxied.iter().all(|name| ask.header(name).is_none()) {
        return Ok(());
    }
    Err(refused(StatusCode::FORBIDDEN, "the cluster is administered from the node's own host only"))
}

fn check_change(ask: &Ask<()>) -> Result<(), Failure> {
    check_local(ask)?;
    match ask.header(ADMIN_HEADER) {
        Some(_) => Ok(()),
        None => Err(refused(StatusCode::FORBIDDEN, "the header nacolet-admin is missing")),
    }
}

fn refused(status: StatusCode, words: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    let words = words.into();
    Failure::new(status, Code(status.as_u16().into(), "cluster"), words)
}

async fn put(state: &State, question: Question) -> Result<Told, Failure> {
    let (reply, answer) = oneshot::channel();
    state.send::<Failure>(Request::Cluster { ask: question, reply })?;
    match state.in_time(answer).await.unwrap_or(Err(AskError::Unknown)) {
        Ok(told) => Ok(told),
        Err(error @ AskError::Refused(_)) => Err(refused(StatusCode::CONFLICT, error.to_string())),
        Err(error) => Err(Failure::unavailable(error.to_string())),
    }
}

fn node_id(ask: &Ask<()>) -> Result<Option<NodeId>, Failure> {
    let Some(text) = ask.params.text(field::NODE) else { return Ok(None) };
    let id = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
    id.map(NodeId).map(Some).ok_or_else(|| Failure::invalid("Param 'node' is not a node id"))
}

async fn status(state: Arc<State>, ask: Ask<()>) -> Result<Answer, Failure> {
    check_local(&ask)?;
    let told = put(&state, Question::Status).await?;
    Ok(tell(&told))
}

/// The hash over all config commands up to this log index: the same on every member that came so far.
async fn state_hash(state: Arc<State>, ask: Ask<()>) -> Result<Answer, Failure> {
    check_local(&ask)?;
    let configs = state.all_configs()?;
    let hash = format!("{:016x}", configs.state_hash());
    Ok(Answer::result(&json!({ "config_index": configs.applied(), "state_hash": hash })))
}

async fn add(state: Arc<State>, ask: Ask<()>) -> Result<Answer, Failure> {
    check_change(&ask)?;
    let node = node_id(&ask)?.ok_or(Failure::missing("node"))?;
    let address: Box<str> = ask.params.required(field::ADDRESS)?.into();
    Ok(tell(&put(&state, Question::Add { node, address }).await?))
}

async fn remove(state: Arc<State>, ask: Ask<()>) -> Result<Answer, Failure> {
    check_change(&ask)?;
    let node = node_id(&ask)?.ok_or(Failure::missing("node"))?;
    Ok(tell(&put(&state, Question::Remove { node }).await?))
}

async fn transfer(state: Arc<State>, ask: Ask<()>) -> Result<Answer, Failure> {
    check_change(&ask)?;
    let node = node_id(&ask)?;
    Ok(tell(&put(&state, Question::Transfer { node }).await?))
}

async fn snapshot(state: Arc<State>, ask: Ask<()>) -> Result<Answer, Failure> {
    check_change(&ask)?;
    Ok(tell(&put(&state, Question::Snapshot).await?))
}

fn tell(told: &Told) -> Answer {
    let id = |node: &NodeId| node.to_string();
    match told {
        Told::Done => Answer::result("ok"),
        Told::Leader(node) => Answer::result(&json!({ "leader": id(node) })),
        Told::Snapshot(index) => Answer::result(&json!({ "snapshot_index": index })),
        Told::Status(status) => {
            let member = |member: &ClusterMember| {
                json!({
                    "node_id": id(&member.node),
                    "address": member.address,
                    "role": member.role,
                    "match_index": member.match_index,
                    "state": member.state,
                })
            };
            Answer::result(&json!({
                "node_id": id(&status.node),
                "leader": status.leader.as_ref().map(id),
                "term": status.term,
                "commit_index": status.commit_index,
                "applied_index": status.applied_index,
                "members": status.members.iter().map(member).collect::<Vec<_>>(),
            }))
        }
    }
}

/// Waits until a read of this node sees every write that was acknowledged before.
pub(crate) async fn linearize(state: &State) -> Result<(), Failure> {
    let (reply, answer) = oneshot::channel();
    state.send::<Failure>(Request::ReadIndex { reply })?;
    let confirmed = state.in_time(answer).await.unwrap_or(Err(WriteError::Unknown));
    confirmed.map_err(|error| match error {
        WriteError::Unknown => {
            Failure::unavailable("the read could not be confirmed in time, try again later")
        }
        WriteError::NoLeader { .. } => Failure::unavailable(
            "no leader is known, the read cannot be confirmed, try again later",
        ),
        WriteError::Refused(never) => match never {},
        WriteError::Overloaded => Failure::unavailable("server is overloaded, try again later"),
        WriteError::StorageFull => Failure::unavailable("the disk of the server is full"),
        WriteError::Stopping => Failure::unavailable("the server is stopping"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(ip: &str, headers: &[(&'static str, &'static str)]) -> Ask<()> {
        let mut named = hyper::HeaderMap::new();
        for (name, value) in headers {
            named.insert(*name, hyper::header::HeaderValue::from_static(value));
        }
        let (params, ip) = (crate::params::Fields::default(), ip.into());
        Ask { about: (), params, headers: named, ip, user: None, is_v3: true }
    }

    #[test]
    fn only_the_own_host_may_look_and_only_with_the_header_change() {
        assert!(check_local(&call("127.0.0.1", &[])).is_ok());
        assert!(check_local(&call("::1", &[])).is_ok());
        assert!(check_local(&call("10.0.0.1", &[])).is_err());
        assert!(check_local(&call("127.0.0.1", &[("x-forwarded-for", "10.0.0.1")])).is_err());
        assert!(check_change(&call("127.0.0.1", &[])).is_err());
        assert!(check_change(&call("127.0.0.1", &[(ADMIN_HEADER, "1")])).is_ok());
        assert!(check_change(&call("10.0.0.1", &[(ADMIN_HEADER, "1")])).is_err());
    }

    #[test]
    fn a_status_has_the_documented_shape() {
        let member = ClusterMember {
            node: NodeId(1),
            address: "a:7848".into(),
            role: "leader",
            match_index: Some(9),
            state: "leading",
        };
        let status = ClusterStatus {
            node: NodeId(1),
            leader: Some(NodeId(1)),
            term: 2,
            commit_index: 9,
            applied_index: 8,
            members: vec![member],
        };
        let answer = tell(&Told::Status(status));
        let found: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        let id = "0000000000000001";
        let expected = json!({
            "node_id": id, "leader": id, "term": 2, "commit_index": 9, "applied_index": 8,
            "members": [{ "node_id": id, "address": "a:7848", "role": "leader",
                "match_index": 9, "state": "leading" }],
        });
        assert_eq!(found["data"], expected);
    }
}
