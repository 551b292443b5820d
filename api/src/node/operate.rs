//! `/v3/admin/nacolet/cluster`: the members of the cluster for operators, and changes of them.
//! Served to administrators, and where nobody has to log in to the node's own host and to whoever
//! proves the cluster key: both could as well stop a member. A page in a browser there cannot call
//! it, because it cannot send the header that every change needs, and no name can be turned to this
//! host to make it the page's own.

use std::sync::Arc;

use futures_channel::oneshot;
use hyper::{Method, StatusCode};
use nacolet_lock as lock;
use nacolet_model::NodeId;
use serde_json::json;

use crate::access::about;
use crate::access::rule::Permission;
use crate::http::answer::HttpAnswer;
use crate::http::failure::{Code, Failure};
use crate::http::params::field;
use crate::port::operate::{AskError, ClusterMember, Question, Told};
use crate::port::request::Request;
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;
use crate::state::settings::Settings;

/// The header of a change, with any value.
const ADMIN_HEADER: &str = "nacolet-admin";

pub(crate) fn routes(routes: &mut Routes) {
    let (admin, nothing) = (Permission::Admin, about::nothing);
    let (get, post) = (Method::GET, Method::POST);
    routes.at("/v3/admin/nacolet/cluster").later(get.clone(), admin, nothing, status);
    routes.at("/v3/admin/nacolet/cluster/nonce").now(get.clone(), admin, nothing, nonce);
    routes.at("/v3/admin/nacolet/cluster/state-hash").later(get, admin, nothing, state_hash);
    routes.at("/v3/admin/nacolet/cluster/add").later(post.clone(), admin, nothing, add);
    routes.at("/v3/admin/nacolet/cluster/remove").later(post.clone(), admin, nothing, remove);
    routes.at("/v3/admin/nacolet/cluster/transfer").later(post.clone(), admin, nothing, transfer);
    routes.at("/v3/admin/nacolet/cluster/snapshot").later(post.clone(), admin, nothing, snapshot);
    routes.at("/v3/admin/nacolet/cluster/unlock").later(post, admin, nothing, unlock);
}

/// Only from this host, and not through a proxy on it.
pub(crate) fn check_local<T>(settings: &Settings, ask: &Ask<T>) -> Result<(), Failure> {
    if is_own_host(settings, ask) {
        return Ok(());
    }
    Err(refused(
        StatusCode::FORBIDDEN,
        "the cluster is administered from the node's own host, or with --cluster-key-file",
    ))
}

/// Whether it comes from this host, and from no proxy.
pub(crate) fn is_own_host<T>(settings: &Settings, ask: &Ask<T>) -> bool {
    ask.is_from_own_host(|ip| settings.trusted_proxies.iter().any(|proxy| proxy.holds(ip)))
}

/// Whoever looks at the cluster is an administrator, as the route says; where nobody has to log in,
/// somebody on this host, or with the key of the cluster.
fn check_look(state: &State, ask: &Ask<()>) -> Result<(), Failure> {
    let is_known = state.access.is_on() || ask.is_proved;
    if is_known { Ok(()) } else { check_local(&state.settings, ask) }
}

/// For one proof of the cluster key; anybody may have one.
fn nonce(state: &State, _: &Ask<()>) -> Result<HttpAnswer, Failure> {
    let nonce = state.proofs.nonce(state.now().0).filter(|_| !state.access.is_on());
    let nonce =
        nonce.ok_or_else(|| refused(StatusCode::FORBIDDEN, "no cluster key is asked for"))?;
    Ok(HttpAnswer::result(&json!({ "nonce": nonce })))
}

fn check_change(state: &State, ask: &Ask<()>) -> Result<(), Failure> {
    check_look(state, ask)?;
    check_header(ask)
}

fn check_header(ask: &Ask<()>) -> Result<(), Failure> {
    match ask.header(ADMIN_HEADER) {
        Some(_) => Ok(()),
        None => Err(refused(StatusCode::FORBIDDEN, "the header nacolet-admin is missing")),
    }
}

fn refused(status: StatusCode, words: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    let words = words.into();
    Failure::new(status, Code(status.as_u16().into(), "cluster"), words)
}

/// Asks the node, and waits for what comes of it.
pub(crate) async fn put(state: &State, question: Question) -> Result<Told, Failure> {
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

async fn status(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    check_look(&state, &ask)?;
    let told = put(&state, Question::Status).await?;
    Ok(tell_status(&told, state.port.stage.waits_for(false)))
}

/// The hash over all config commands up to this log index: the same on every member that came so
/// far.
async fn state_hash(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    check_look(&state, &ask)?;
    let configs = state.all_configs()?;
    let hash = format!("{:016x}", configs.state_hash());
    Ok(HttpAnswer::result(&json!({ "config_index": configs.applied(), "state_hash": hash })))
}

async fn add(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    check_change(&state, &ask)?;
    let node = node_id(&ask)?.ok_or(Failure::missing("node"))?;
    let address: Box<str> = ask.params.required(field::ADDRESS)?.into();
    Ok(tell(&put(&state, Question::Add { node, address }).await?))
}

async fn remove(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    check_change(&state, &ask)?;
    let node = node_id(&ask)?.ok_or(Failure::missing("node"))?;
    Ok(tell(&put(&state, Question::Remove { node }).await?))
}

async fn transfer(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    check_change(&state, &ask)?;
    let node = node_id(&ask)?;
    Ok(tell(&put(&state, Question::Transfer { node }).await?))
}

async fn snapshot(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    check_change(&state, &ask)?;
    Ok(tell(&put(&state, Question::Snapshot).await?))
}

/// Frees a lock of the first kind, whoever took it: its owner may be a user who is gone. Those of
/// the other kinds go with their connection.
async fn unlock(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    check_change(&state, &ask)?;
    let key = ask.params.required(field::LOCK_KEY)?;
    let release = lock::Release::new(key, lock::Stamp::default())?;
    let answer = state.write_lock(lock::Command::Release(release)).await?;
    if answer.done {
        return Ok(HttpAnswer::result("ok"));
    }
    Err(Failure::not_found(Code::RESOURCE_NOT_FOUND, "nobody holds a NACOS_LOCK of this key"))
}

fn tell(told: &Told) -> HttpAnswer {
    tell_status(told, None)
}

/// With what the node waits for, in the words of its readiness.
fn tell_status(told: &Told, waits_for: Option<String>) -> HttpAnswer {
    let id = |node: &NodeId| node.to_string();
    match told {
        Told::Done => HttpAnswer::result("ok"),
        Told::Leader(node) => HttpAnswer::result(&json!({ "leader": id(node) })),
        Told::Snapshot(index) => HttpAnswer::result(&json!({ "snapshot_index": index })),
        // Not asked for here.
        Told::Connections(_) | Told::Found(_) => HttpAnswer::result(&()),
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
            let mut told = json!({
                "node_id": id(&status.node),
                "leader": status.leader.as_ref().map(id),
                "term": status.term,
                "commit_index": status.commit_index,
                "applied_index": status.applied_index,
                "members": status.members.iter().map(member).collect::<Vec<_>>(),
            });
            if let Some(what) = waits_for {
                told["waits_for"] = what.into();
            }
            HttpAnswer::result(&told)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::room::Room;
    use crate::port::operate::ClusterStatus;

    fn call(ip: &str, headers: &[(&'static str, &'static str)]) -> Ask<()> {
        let mut named = hyper::HeaderMap::new();
        for (name, value) in headers {
            named.insert(*name, hyper::header::HeaderValue::from_static(value));
        }
        let (params, ip) = (crate::http::params::Fields::default(), ip.into());
        Ask {
            about: (),
            params,
            headers: named,
            ip,
            is_same_address: false,
            is_proved: false,
            user: None,
            is_v3: true,
            room: Room::default(),
        }
    }

    #[test]
    fn only_the_own_host_may_look_and_only_with_the_header_change() {
        let of = Settings::default();
        assert!(check_local(&of, &call("127.0.0.1", &[])).is_ok());
        assert!(check_local(&of, &call("::1", &[])).is_ok());
        assert!(check_local(&of, &call("10.0.0.1", &[])).is_err());
        assert!(check_local(&of, &call("127.0.0.1", &[("x-forwarded-for", "10.0.0.1")])).is_err());
        for proxy in ["x-forwarded-proto", "via", "forwarded", "cf-connecting-ip", "x-real-ip"] {
            assert!(check_local(&of, &call("127.0.0.1", &[(proxy, "")])).is_err(), "{proxy}");
        }
        let mut odd = call("127.0.0.1", &[]);
        for (name, is_own) in [("host", false), ("x-forwarded-for", false), ("accept", true)] {
            let value = hyper::header::HeaderValue::from_bytes(b"\xff, 10.0.0.1").expect("a value");
            odd.headers.insert(name, value);
            assert_eq!(check_local(&of, &odd).is_ok(), is_own, "{name}");
            odd.headers.clear();
        }
        let trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
        let behind = Settings { trusted_proxies, ..Settings::default() };
        assert!(check_local(&behind, &call("127.0.0.1", &[])).is_err());
        // A node that listens on a real address: both ends of the connection have it.
        let mut own = Ask { is_same_address: true, ..call("10.0.0.1", &[]) };
        assert!(check_local(&of, &own).is_ok());
        own.headers.insert("x-forwarded-for", hyper::header::HeaderValue::from_static("10.0.0.9"));
        assert!(check_local(&of, &own).is_err());
        own.headers.clear();
        own.headers.insert("host", hyper::header::HeaderValue::from_static("evil.example"));
        assert!(check_local(&of, &own).is_err());
        assert!(check_header(&call("127.0.0.1", &[])).is_err());
        assert!(check_header(&call("127.0.0.1", &[(ADMIN_HEADER, "1")])).is_ok());
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
