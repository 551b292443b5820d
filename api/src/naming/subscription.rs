//! List calls of 1.x clients that also ask for pushes: they name a UDP port, and their `User-Agent`
//! says that they understand a push. Pushes go to the address the call came from: the `clientIP`
//! parameter, which Nacos believes, would let anybody aim our datagrams at somebody else. The
//! registry keeps the subscribers; here is only remembered who was handed over lately, so that most
//! list calls cost the core thread nothing.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use nacolet_model::{ServiceKey, limits};
use nacolet_registry::{ListQuery, Subscriber};

use crate::http::failure::Failure;
use crate::http::params::field;
use crate::naming::words::address;
use crate::port::request::Request;
use crate::route::ask::Ask;
use crate::state::State;

/// Clients that take pushes, and the first version of each that does (Nacos `SwitchDomain`).
const PUSHED_AGENTS: [(&str, [u32; 3]); 5] = [
    ("Nacos-Java-Client", [0, 1, 0]),
    ("Nacos-Go-Client", [0, 1, 0]),
    ("Nacos-DNS", [0, 4, 3]),
    ("Nacos-C-Client", [1, 0, 12]),
    ("Nacos-CSharp-Client", [0, 9, 0]),
];

/// Whether a client with this `User-Agent` takes pushes (Nacos `UdpPushService.canEnablePush`).
fn takes_pushes(agent: &str) -> bool {
    let known = PUSHED_AGENTS.iter().find(|(name, _)| agent.starts_with(name));
    let Some((_, since)) = known else { return false };
    let Some((_, version)) = agent.split_once(":v") else { return false };
    version_of(version) >= *since
}

/// The first three numbers of a version; what is missing or no number is 0.
fn version_of(text: &str) -> [u32; 3] {
    let mut numbers =
        text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

/// Hands the caller of a list to the registry, if it asks for pushes to `port`.
pub(crate) fn subscribe(
    state: &State,
    ask: &Ask<ServiceKey>,
    query: &ListQuery<'_>,
    port: Option<&str>,
) -> Result<(), Failure> {
    let Some(port) = port else { return Ok(()) };
    let port = address::parse_port(port)?;
    let agent = ask.header("user-agent").or_else(|| ask.header("client-version"));
    let Some(agent) = agent.filter(|agent| port > 0 && takes_pushes(agent)) else { return Ok(()) };
    let ip = &*ask.ip;

    let ListQuery { namespace, group, name, clusters, .. } = *query;
    let mut hasher = DefaultHasher::new();
    let by = ask.user.as_deref().map(|login| login.subscribes());
    let as_whom = by.as_ref().map(|by| (&by.user, by.since));
    (ip, port, namespace, group, name, clusters, as_whom).hash(&mut hasher);
    let lease = state.registry().switches().push_cache();
    if !state.leases.renew(state.now().0, lease, hasher.finish()) {
        return Ok(());
    }
    let cut = |text: &str| text.chars().take(limits::LABEL_CHARS_MAX).collect::<String>().into();
    let subscriber = Subscriber {
        ip: ip.into(),
        port,
        agent: cut(agent),
        app: cut(ask.params.text(field::APP).unwrap_or_default()),
        by,
    };
    let service = ask.about.clone();
    let request = Request::Subscribe { service, clusters: clusters.into(), subscriber };
    if state.send::<()>(request).is_err() {
        // The list is answered all the same: the client polls, and asks again when it does.
        tracing::debug!("a subscription was not handed over");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_that_understand_pushes_are_pushed_to() {
        for agent in [
            "Nacos-Java-Client:v1.4.2",
            "Nacos-Java-Client:v0.1.0",
            "Nacos-Go-Client:v1.0.0",
            "Nacos-DNS:v0.4.3",
            "Nacos-C-Client:v1.0.12",
            "Nacos-CSharp-Client:v0.9.0",
        ] {
            assert!(takes_pushes(agent), "{agent}");
        }
        for agent in [
            "",
            "Nacos-Java-Client",
            "Nacos-Java-Client:v0.0.9",
            "Nacos-DNS:v0.4.2",
            "Nacos-C-Client:v1.0.2",
            "Nacos-Python-Client:v1.0.0",
            "curl/8.0",
        ] {
            assert!(!takes_pushes(agent), "{agent}");
        }
    }
}
