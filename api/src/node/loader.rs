//! `/v?/core/loader`: gRPC connections of this node and of the others, and moving some of them to
//! another member. Only members are places to go to, and a member that is told to send connections
//! away sends a few at a time (`port::moves`).

use std::sync::Arc;

use hyper::Method;
use nacolet_model::NodeId;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::access::about;
use crate::access::rule::Permission;
use crate::http::answer::HttpAnswer;
use crate::http::failure::{Code, Failure};
use crate::http::params::field;
use crate::node::upkeep::check_operator;
use crate::node::{members, operate};
use crate::port::MemberStatus;
use crate::port::moves::{Busy, Target};
use crate::port::operate::{Question, Told};
use crate::port::who::{Connected, Sought};
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

pub(crate) fn routes(routes: &mut Routes) {
    let (admin, nothing) = (Permission::Admin, about::nothing);
    // Nacos 2 changes things by GET here.
    routes.at("/v2/core/loader/current").later(Method::GET, admin, nothing, current);
    routes.at("/v2/core/loader/cluster").later(Method::GET, admin, nothing, loads);
    let reload = "/v2/core/loader/reloadCurrent";
    routes.at(reload).acting().later(Method::GET, admin, nothing, reload_current);
    let client = "/v2/core/loader/reloadClient";
    routes.at(client).acting().later(Method::GET, admin, nothing, reload_client);
    let smart = "/v2/core/loader/smartReloadCluster";
    routes.at(smart).acting().later(Method::GET, admin, nothing, balance);
    routes.at("/v3/admin/core/loader/current").later(Method::GET, admin, nothing, current);
    routes.at("/v3/admin/core/loader/cluster").later(Method::GET, admin, nothing, loads);
    let reload = "/v3/admin/core/loader/reloadCurrent";
    routes.at(reload).later(Method::POST, admin, nothing, reload_current);
    let client = "/v3/admin/core/loader/reloadClient";
    routes.at(client).later(Method::POST, admin, nothing, reload_client);
    let smart = "/v3/admin/core/loader/smartReloadCluster";
    routes.at(smart).later(Method::POST, admin, nothing, balance);
}

impl From<Busy> for Failure {
    fn from(busy: Busy) -> Self {
        Self::unavailable(busy.to_string())
    }
}

/// Waits for what threads or members say, no longer than for a write.
async fn in_time<T>(
    state: &State,
    answer: impl Future<Output = Result<T, Busy>>,
) -> Result<T, Failure> {
    let deadline = state.now().0 + state.settings.write_timeout;
    let late = || Failure::unavailable("no answer in time");
    Ok(state.ticker.within(deadline, answer).await.ok_or_else(late)??)
}

/// What is done is told in v2 by a word and in v3 by an envelope.
fn done(ask: &Ask<()>, word: &'static str) -> HttpAnswer {
    if ask.is_v3 { HttpAnswer::result(&()) } else { HttpAnswer::text(word) }
}

/// As Nacos shows a connection, as far as it is known here.
fn shown(connected: &Connected) -> Value {
    let created = connected.id.split('_').next().and_then(|text| text.parse::<u64>().ok());
    let labels = json!({ "source": "sdk", "AppName": connected.app });
    json!({
        "traced": false,
        "abilityTable": null,
        "metaInfo": {
            "connectType": "GRPC",
            "clientIp": connected.ip,
            "remoteIp": connected.ip,
            "remotePort": connected.port,
            "version": connected.version,
            "connectionId": connected.id,
            "createTime": created,
            "lastActiveTime": connected.heard.as_millis(),
            "appName": connected.app,
            "labels": labels,
            "sdkSource": true,
            "clusterSource": false,
        },
        "connected": true,
        "labels": labels,
        "appLabels": {},
    })
}

async fn current(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    let all = state.connected(Sought::Everybody).await?;
    let map: Map<String, Value> =
        all.iter().map(|connected| (connected.id.as_ref().to_owned(), shown(connected))).collect();
    Ok(if ask.is_v3 { HttpAnswer::result(&map) } else { HttpAnswer::json(&map) })
}

/// The members that connections may go to: the one that is named, or all others that answer.
fn targets(state: &State, ask: &Ask<()>) -> Result<Vec<Target>, Failure> {
    let (_, members) = members::members(state);
    let mut others = members.iter().filter(|member| member.node != state.port.facts.node);
    let Some(named) = ask.params.text(field::REDIRECT_ADDRESS) else {
        let up = others.filter(|member| member.up);
        return Ok(up.filter_map(|member| Target::parse(&member.http)).collect());
    };
    let found = others.find(|member| *member.http == *named);
    match found.and_then(|member| Target::parse(&member.http)) {
        Some(target) => Ok(vec![target]),
        None => {
            let shown: String = named.chars().take(64).collect();
            Err(Failure::invalid(format!("no other member of this cluster is at {shown}")))
        }
    }
}

async fn reload_current(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    check_operator(&state, &ask)?;
    let keep = ask.params.number_required::<usize>(field::COUNT)?;
    let targets = targets(&state, &ask)?;
    if targets.is_empty() && in_time(&state, state.port.moves.count()).await? > keep {
        let words = "there is no other member that connections could go to";
        return Err(Failure::conflict(Code::RESOURCE_CONFLICT, words));
    }
    let moved = in_time(&state, state.port.moves.all_but(keep, &targets)).await?;
    if moved > 0 {
        tracing::info!(moved, keep, "gRPC connections are sent to other members");
    }
    Ok(done(&ask, "success"))
}

async fn reload_client(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    check_operator(&state, &ask)?;
    let connection = ask.params.present(field::CONNECTION_ID)?;
    // Nobody is told that there is no such connection (Nacos).
    if let Some(target) = targets(&state, &ask)?.first() {
        in_time(&state, state.port.moves.one(connection, target)).await?;
    }
    Ok(done(&ask, "success"))
}

/// How many connections a member has; none where it did not answer.
struct MemberLoad {
    member: MemberStatus,
    connections: Option<usize>,
}

async fn loads_of_all(state: &State) -> Result<Vec<MemberLoad>, Failure> {
    let own = in_time(state, state.port.moves.count()).await?;
    let (_, members) = members::members(state);
    let me = state.port.facts.node;
    let told = match members.iter().any(|member| member.node != me) {
        true => operate::put(state, Question::Connections).await?,
        false => Told::Done,
    };
    let others = if let Told::Connections(others) = told { others } else { Vec::new() };
    let of = |node: NodeId| match node == me {
        true => Some(own),
        false => others.iter().find(|(other, _)| *other == node).map(|(_, count)| *count),
    };
    Ok(members
        .into_iter()
        .map(|member| MemberLoad { connections: of(member.node), member })
        .collect())
}

/// What Nacos calls metrics of its members.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    detail: Vec<Value>,
    member_count: usize,
    metrics_count: usize,
    completed: bool,
    max: usize,
    min: usize,
    avg: usize,
    threshold: Value,
    total: usize,
}

async fn loads(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    let loads = loads_of_all(&state).await?;
    let known: Vec<(&MemberStatus, usize)> =
        loads.iter().filter_map(|load| Some((&load.member, load.connections?))).collect();
    let detail = |(member, count): &(&MemberStatus, usize)| {
        // Java says a negative number where a system does not tell. Connections are what is shared
        // out here.
        let (load, cpu) = ("-1.0", "-1.0");
        if ask.is_v3 {
            json!({ "address": member.http, "sdkConCount": count, "conCount": count,
                    "load": load, "cpu": cpu })
        } else {
            let count = count.to_string();
            json!({ "address": member.http, "metric": {
                "load": load, "sdkConCount": count, "cpu": cpu, "conCount": count } })
        }
    };
    let total: usize = known.iter().map(|(_, count)| count).sum();
    let average = total / known.len().max(1);
    // A tenth more than the average is too much (Nacos).
    let threshold = format!("{}.{}", average * 11 / 10, average * 11 % 10);
    let metrics = Metrics {
        detail: known.iter().map(detail).collect(),
        member_count: loads.len(),
        metrics_count: known.len(),
        completed: known.len() == loads.len(),
        max: known.iter().map(|(_, count)| *count).max().unwrap_or(0),
        min: known.iter().map(|(_, count)| *count).min().unwrap_or(0),
        avg: average,
        threshold: if ask.is_v3 {
            Value::from(threshold)
        } else {
            Value::from(threshold.parse::<f64>().unwrap_or_default())
        },
        total,
    };
    Ok(if ask.is_v3 { HttpAnswer::result(&metrics) } else { HttpAnswer::json(&metrics) })
}

/// Brings the members that have too many connections to those that have too few: each of the former
/// keeps what the upper bound says and sends the rest to one of the latter, as in Nacos.
async fn balance(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    check_operator(&state, &ask)?;
    let factor = ask.params.number_or::<f64>(field::LOADER_FACTOR, 0.1)?;
    if !(0.0..=1.0).contains(&factor) {
        return Err(Failure::invalid("Param 'loaderFactor' must be from 0 to 1"));
    }
    let loads = loads_of_all(&state).await?;
    let known: Vec<(&MemberStatus, usize)> = loads
        .iter()
        .filter(|load| load.member.up)
        .filter_map(|load| Some((&load.member, load.connections?)))
        .collect();
    for Shift { from, keep, to } in shifts(&known, factor) {
        let Some(target) = Target::parse(&to.http) else { continue };
        if from.node == state.port.facts.node {
            in_time(&state, state.port.moves.all_but(keep, &[target])).await?;
        } else {
            let question = Question::Shift { node: from.node, keep, target: to.node };
            operate::put(&state, question).await?;
        }
    }
    Ok(done(&ask, "Ok"))
}

/// One member keeps so many connections and sends the rest to another.
struct Shift<'m> {
    from: &'m MemberStatus,
    keep: usize,
    to: &'m MemberStatus,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "counts of connections times a factor up to 2"
)]
fn shifts<'m>(known: &[(&'m MemberStatus, usize)], factor: f64) -> Vec<Shift<'m>> {
    let total: usize = known.iter().map(|(_, count)| count).sum();
    let average = (total / known.len().max(1)) as f64;
    let (upper, lower) = ((average * (1.0 + factor)) as usize, (average * (1.0 - factor)) as usize);
    let mut over: Vec<_> = known.iter().filter(|(_, count)| *count > upper).collect();
    let mut under: Vec<_> = known.iter().filter(|(_, count)| *count < lower).collect();
    over.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    under.sort_by_key(|(_, count)| *count);
    let pairs = over.into_iter().zip(under);
    pairs.map(|((from, _), (to, _))| Shift { from, keep: upper, to }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u64) -> MemberStatus {
        let http = format!("10.0.0.{node}:8848").into();
        MemberStatus { node: NodeId(node), http, peer: "".into(), voter: true, up: true }
    }

    fn check(counts: &[usize], factor: f64, expected: &[(u64, usize, u64)]) {
        let members: Vec<MemberStatus> = (1..).take(counts.len()).map(member).collect();
        let known: Vec<_> = members.iter().zip(counts.iter().copied()).collect();
        let found: Vec<_> = shifts(&known, factor)
            .into_iter()
            .map(|shift| (shift.from.node.0, shift.keep, shift.to.node.0))
            .collect();
        assert_eq!(found, expected, "{counts:?}");
    }

    #[test]
    fn the_fullest_send_to_the_emptiest_until_the_bound() {
        check(&[], 0.1, &[]);
        check(&[5], 0.1, &[]);
        check(&[10, 10, 10], 0.1, &[]);
        check(&[30, 0, 0], 0.1, &[(1, 11, 2)]);
        check(&[20, 1, 39], 0.1, &[(3, 22, 2)]);
        check(&[40, 40, 1, 0], 0.1, &[(1, 22, 4), (2, 22, 3)]);
        check(&[12, 8], 0.5, &[]);
    }
}
