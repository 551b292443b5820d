//! Who subscribes to a service: over UDP, which the registry knows, and over gRPC, which the
//! threads of the connections know.

use std::collections::BTreeSet;

use nacolet_model::ServiceKey;
use serde_json::{Value, json};

use crate::http::failure::Failure;
use crate::http::params::field;
use crate::naming::words::client::ClientId;
use crate::naming::words::shapes::Grouped;
use crate::port::who::{Connected, Found, Sought, UdpSubscribed};
use crate::route::ask::Ask;
use crate::state::State;

/// One subscriber of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscribed {
    pub(crate) client_id: Box<str>,
    pub(crate) ip: Box<str>,
    /// That of UDP pushes; 0 of a gRPC connection (Nacos).
    pub(crate) port: u16,
    pub(crate) agent: Box<str>,
    pub(crate) app: Box<str>,
    pub(crate) service: ServiceKey,
    pub(crate) clusters: Box<str>,
}

impl Subscribed {
    /// Over UDP.
    pub(crate) fn of(subscribed: UdpSubscribed) -> Self {
        let UdpSubscribed { subscriber, service, clusters } = subscribed;
        Self {
            client_id: ClientId::subscribing(&subscriber).to_string().into(),
            ip: subscriber.ip,
            port: subscriber.port,
            agent: subscriber.agent,
            app: subscriber.app,
            service,
            clusters,
        }
    }

    /// Over gRPC: what a connection subscribes to, as far as it was asked for.
    pub(crate) fn over_grpc(connected: Connected) -> impl Iterator<Item = Self> {
        let Connected { id, ip, version, app, subscriptions, .. } = connected;
        let app = if app.is_empty() { UNKNOWN.into() } else { app };
        subscriptions.into_iter().map(move |(service, clusters)| Self {
            client_id: id.clone(),
            ip: ip.clone(),
            port: 0,
            agent: version.clone(),
            app: app.clone(),
            service,
            clusters,
        })
    }

    /// Its address, as Nacos writes it.
    pub(crate) fn address(&self) -> String {
        match self.port {
            0 => self.ip.to_string(),
            port => format!("{}:{port}", self.ip),
        }
    }

    /// As `/v1/ns/service/subscribers` tells it.
    pub(crate) fn v1(&self) -> Value {
        json!({
            "addrStr": self.address(),
            "agent": self.agent,
            "app": self.app,
            "ip": self.ip,
            "port": self.port,
            "namespaceId": self.service.namespace,
            "serviceName": Grouped::of(&self.service),
            "cluster": self.clusters,
        })
    }

    /// As the paths of v3 tell it.
    pub(crate) fn v3(&self) -> Value {
        json!({
            "namespaceId": self.service.namespace,
            "groupName": self.service.group,
            "serviceName": self.service.name,
            "ip": self.ip,
            "port": self.port,
            "address": format!("{}:{}", self.ip, self.port),
            "agent": self.agent,
            "appName": self.app,
        })
    }
}

/// The name of an application that has none (Nacos).
const UNKNOWN: &str = "unknown";

/// Everybody who subscribes to a service: on all members, or with `aggregation=false` on this one.
pub(crate) async fn of_service(
    state: &State,
    ask: &Ask<ServiceKey>,
) -> Result<Vec<Subscribed>, Failure> {
    let sought = Sought::Subscribers(ask.about.clone());
    let found = match ask.params.flag_or(field::AGGREGATION, true) {
        true => state.everywhere(sought).await?,
        false => state.here(sought).await?,
    };
    let Found { connected, udp, .. } = found;
    let mut all: Vec<Subscribed> = Vec::with_capacity(udp.len() + connected.len());
    // Who asks several members for a list subscribes at each of them.
    let mut seen = BTreeSet::new();
    let udp = udp.into_iter().map(Subscribed::of);
    all.extend(udp.filter(|one| seen.insert((one.client_id.clone(), one.clusters.clone()))));
    all.extend(connected.into_iter().flat_map(Subscribed::over_grpc));
    Ok(all)
}
