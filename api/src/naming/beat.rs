//! Beats of instances, the most frequent write there is. A beat of a known and healthy instance is
//! taken under the read lock and never reaches the core thread; every other one goes there.

use std::sync::Arc;

use hyper::Method;
use hyper::body::Bytes;
use nacolet_model::{ClusterName, Duration, ServiceKey};
use nacolet_registry::{BeatAnswer, BeatFrom, Reply, Request};
use serde::Serialize;

use crate::access::about;
use crate::access::about::KeptService;
use crate::access::rule::Permission;
use crate::http::answer::{HttpAnswer, JSON};
use crate::http::failure::{Code, Failure};
use crate::http::params::field;
use crate::naming::words::shapes::Grouped;
use crate::naming::words::spec::BeatHead;
use crate::naming::words::{address, refused, spec};
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

pub(crate) fn routes(routes: &mut Routes) {
    let (write, grouped) = (Permission::NamingWrite, about::service_grouped);
    routes.at("/v1/ns/instance/beat").later(Method::PUT, write, grouped, beat).hot();
    // v2 kept the grouped name and the bare answer (Nacos `InstanceControllerV2.beat`).
    routes.at("/v2/ns/instance/beat").later(Method::PUT, write, about::service_kept, beat_v2);
}

async fn beat_v2(state: Arc<State>, ask: Ask<KeptService>) -> Result<HttpAnswer, Failure> {
    beat(state, ask.about(KeptService::whole)?).await
}

async fn beat(state: Arc<State>, ask: Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    let request = match read_beat(&state, &ask)? {
        Taken::Now(answer) => return Ok(render(answer)),
        Taken::ByCore(request) => request,
    };
    take(&state, &ask.about, request).await.map(render)
}

/// Has the core thread take a beat.
async fn take(
    state: &State,
    service: &ServiceKey,
    request: Request,
) -> Result<BeatAnswer, Failure> {
    match state.write_registry(request).await {
        Ok(Reply::Beat(answer)) => Ok(answer),
        Ok(Reply::Done | Reply::Updated(_)) => Err(unexpected()),
        Err(error) => Err(refused::failure(error, Grouped::of(service))),
    }
}

fn unexpected() -> Failure {
    let status = hyper::StatusCode::INTERNAL_SERVER_ERROR;
    Failure::new(status, Code::SERVER_ERROR, "the registry gave the answer to another question")
}

enum Taken {
    /// Under the read lock.
    Now(BeatAnswer),
    /// Only the core thread can.
    ByCore(Request),
}

/// Reads a v1 beat: whatever the `beat` JSON says counts more than the parameters beside it.
fn read_beat(state: &State, ask: &Ask<ServiceKey>) -> Result<Taken, Failure> {
    let params = &ask.params;
    let full = params.text(field::BEAT);
    let head = full.map(BeatHead::parse).transpose()?;
    let (ip, port) = match &head {
        Some(head) => (head.ip.as_deref().unwrap_or_default(), head.port()?),
        None => {
            let port = params.text(field::PORT).map_or(Ok(0), address::parse_port)?;
            (params.text(field::IP).unwrap_or_default(), port)
        }
    };
    let cluster = match head.as_ref().and_then(BeatHead::cluster) {
        Some(cluster) => Some(ClusterName::check(cluster)?),
        None => address::cluster(params)?,
    };
    if let Some(answer) = try_now(state, &ask.about, (ip, port), cluster, full.is_none()) {
        return Ok(Taken::Now(answer));
    }
    let full = full
        .map(|beat| spec::from_beat(beat, ip, port, cluster.unwrap_or(ClusterName::DEFAULT)))
        .transpose()?;
    let cluster = cluster.map(ClusterName::new).transpose()?;
    let service = ask.about.clone();
    Ok(Taken::ByCore(Request::Beat { service, ip: ip.into(), port, cluster, full }))
}

fn try_now(
    state: &State,
    service: &ServiceKey,
    (ip, port): (&str, u16),
    cluster: Option<&str>,
    light: bool,
) -> Option<BeatAnswer> {
    let (namespace, group) = (service.namespace.as_str(), service.group.as_str());
    let name = service.name.as_str();
    let from = BeatFrom { namespace, group, name, ip, port, cluster, light };
    let now = state.now().0;
    state.registry().beat(now, &from)
}

/// The light beat of v3: `POST` of an instance with `heartBeat=true`. Says whether it is known.
pub(crate) async fn light_beat_v3(state: &State, ask: &Ask<ServiceKey>) -> Result<bool, Failure> {
    let (ip, port) = address::address(&ask.params)?;
    let cluster = address::cluster(&ask.params)?;
    if let Some(answer) = try_now(state, &ask.about, (ip, port), cluster, true) {
        return Ok(answer.known);
    }
    let cluster = cluster.map(ClusterName::new).transpose()?;
    let service = ask.about.clone();
    let request = Request::Beat { service, ip: ip.into(), port, cluster, full: None };
    take(state, &ask.about, request).await.map(|answer| answer.known)
}

fn render(answer: BeatAnswer) -> HttpAnswer {
    /// Nacos `NamingResponseCode.OK` and `RESOURCE_NOT_FOUND`.
    const OK: u16 = 10_200;
    const UNKNOWN: u16 = 20_404;
    /// What nearly every beat is answered with.
    const USUAL: &[u8] = br#"{"clientBeatInterval":5000,"code":10200,"lightBeatEnabled":true}"#;

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        client_beat_interval: u128,
        code: u16,
        light_beat_enabled: bool,
    }
    let BeatAnswer { interval, known, light_beat_enabled } = answer;
    if interval == Duration::from_secs(5) && known && light_beat_enabled {
        return HttpAnswer::new(JSON, Bytes::from_static(USUAL));
    }
    let code = if known { OK } else { UNKNOWN };
    HttpAnswer::json(&Shape {
        client_beat_interval: interval.as_millis(),
        code,
        light_beat_enabled,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(interval_s: u64, known: bool, light: bool, expected: &str) {
        let interval = Duration::from_secs(interval_s);
        let answer = render(BeatAnswer { interval, known, light_beat_enabled: light });
        assert_eq!(answer.status.as_u16(), 200);
        assert_eq!(std::str::from_utf8(&answer.body), Ok(expected));
    }

    #[test]
    fn an_unknown_instance_is_told_in_a_200_answer() {
        let usual = r#"{"clientBeatInterval":5000,"code":10200,"lightBeatEnabled":true}"#;
        check(5, true, true, usual);
        check(5, false, true, &usual.replace("10200", "20404"));
        check(8, true, true, &usual.replace("5000", "8000"));
        check(5, true, false, &usual.replace("true", "false"));
    }
}
