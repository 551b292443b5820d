//! Clients: whoever publishes instances or subscribes, by the id that Nacos 2 gives them. Over HTTP a
//! client is one address and port and one kind of instance.

use std::collections::BTreeSet;
use std::fmt;

use hyper::Method;
use nacolet_model::ServiceKey;
use nacolet_registry::{Instance, Registry, Service, Subscriber, SubscriberView};
use serde_json::{Value, json};

use crate::about;
use crate::address;
use crate::call::{Answer, Ask};
use crate::instance::find;
use crate::params::{Fields, field};
use crate::refused;
use crate::router::{Permission, Routes};
use crate::server::State;
use crate::status::Failure;

pub(crate) fn routes(routes: &mut Routes) {
    // A client may have published in any namespace.
    let (look, read) = (Permission::Admin, Permission::NamingRead);
    for [list, one, publishes, subscribes, publishers, subscribers] in [
        [
            "/v2/ns/client/list",
            "/v2/ns/client",
            "/v2/ns/client/publish/list",
            "/v2/ns/client/subscribe/list",
            "/v2/ns/client/service/publisher/list",
            "/v2/ns/client/service/subscriber/list",
        ],
        [
            "/v3/admin/ns/client/list",
            "/v3/admin/ns/client",
            "/v3/admin/ns/client/publish/list",
            "/v3/admin/ns/client/subscribe/list",
            "/v3/admin/ns/client/service/publisher/list",
            "/v3/admin/ns/client/service/subscriber/list",
        ],
    ] {
        routes.at(list).now(Method::GET, look, about::nothing, client_list);
        routes.at(one).now(Method::GET, look, about::nothing, detail);
        routes.at(publishes).now(Method::GET, look, about::nothing, published);
        routes.at(subscribes).now(Method::GET, look, about::nothing, subscribed);
        routes.at(publishers).now(Method::GET, read, about::service_apart, publishers_of);
        routes.at(subscribers).now(Method::GET, read, about::service_apart, subscribers_of);
    }
}

/// `ip:port#true` for ephemeral instances and subscribers, `ip:port#false` for persistent instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientId<'a> {
    ip: &'a str,
    port: u16,
    /// Kind of what it publishes.
    pub(crate) ephemeral: bool,
}

impl<'a> ClientId<'a> {
    /// The client that an instance belongs to.
    pub(crate) fn of(instance: &'a Instance) -> Self {
        Self { ip: instance.ip(), port: instance.port(), ephemeral: instance.ephemeral() }
    }

    /// The client that a subscriber is.
    pub(crate) fn subscribing(subscriber: &'a Subscriber) -> Self {
        Self { ip: &subscriber.ip, port: subscriber.port, ephemeral: true }
    }

    fn parse(text: &'a str) -> Option<Self> {
        let (address, kind) = text.rsplit_once('#')?;
        let (ip, port) = address.rsplit_once(':')?;
        Some(Self { ip, port: port.parse().ok()?, ephemeral: kind.parse().ok()? })
    }
}

impl fmt::Display for ClientId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}#{}", self.ip, self.port, self.ephemeral)
    }
}

fn instances(registry: &Registry) -> impl Iterator<Item = (&Service, &Instance)> {
    registry
        .all_services()
        .flat_map(|service| service.instances().iter().map(move |instance| (service, instance)))
}

fn subscriptions<'a>(
    state: &State,
    registry: &'a Registry,
) -> impl Iterator<Item = SubscriberView<'a>> {
    registry.all_subscribers(state.now().0)
}

fn client_list(state: &State, _ask: &Ask<()>) -> Result<Answer, Failure> {
    let registry = state.registry();
    let mut ids: BTreeSet<ClientId<'_>> =
        instances(&registry).map(|(_, instance)| ClientId::of(instance)).collect();
    ids.extend(subscriptions(state, &registry).map(|view| ClientId::subscribing(view.subscriber)));
    let ids: Vec<String> = ids.iter().map(ClientId::to_string).collect();
    Ok(Answer::result(&ids))
}

/// The client that a call names, with its instances and subscriptions; 404 when it has neither.
struct Client<'a> {
    id: ClientId<'a>,
    instances: Vec<(&'a Service, &'a Instance)>,
    subscriptions: Vec<SubscriberView<'a>>,
}

impl<'a> Client<'a> {
    fn named(state: &State, registry: &'a Registry, params: &'a Fields) -> Result<Self, Failure> {
        let text = params.required(field::CLIENT_ID)?;
        let gone = || refused::nothing_here(format!("clientId [ {text} ] not exist"));
        let id = ClientId::parse(text).ok_or_else(gone)?;
        let client = Self {
            id,
            instances: instances(registry)
                .filter(|(_, instance)| ClientId::of(instance) == id)
                .collect(),
            subscriptions: subscriptions(state, registry)
                .filter(|view| ClientId::subscribing(view.subscriber) == id)
                .collect(),
        };
        if client.instances.is_empty() && client.subscriptions.is_empty() {
            return Err(gone());
        }
        Ok(client)
    }
}

fn detail(state: &State, ask: &Ask<()>) -> Result<Answer, Failure> {
    let params = &ask.params;
    let registry = state.registry();
    let Client { id, instances, .. } = Client::named(state, &registry, params)?;
    let (now, wall) = state.now();
    let silence = instances.iter().map(|(_, instance)| instance.silence(now)).min();
    let silent_ms = silence.map_or(0, |silence| silence.as_millis());
    let updated = u128::from(wall.as_millis()).saturating_sub(silent_ms);
    Ok(Answer::result(&json!({
        "clientId": id.to_string(),
        "ephemeral": id.ephemeral,
        "lastUpdatedTime": u64::try_from(updated).unwrap_or(u64::MAX),
        "clientType": "ipPort",
        "clientIp": id.ip,
        "clientPort": id.port.to_string(),
    })))
}

fn published(state: &State, ask: &Ask<()>) -> Result<Answer, Failure> {
    let is_v3 = ask.is_v3;
    let params = &ask.params;
    let registry = state.registry();
    let client = Client::named(state, &registry, params)?;
    let shape = |(service, instance): &(&Service, &Instance)| {
        let key = service.key();
        if is_v3 {
            return json!({
                "namespaceId": key.namespace,
                "groupName": key.group,
                "serviceName": key.name,
                "publisherInfo": publisher_v3(instance),
            });
        }
        json!({
            "namespace": key.namespace,
            "group": key.group,
            "serviceName": key.name,
            "registeredInstance": {
                "ip": instance.ip(),
                "port": instance.port(),
                "cluster": instance.cluster(),
            },
        })
    };
    let list: Vec<Value> = client.instances.iter().map(shape).collect();
    Ok(Answer::result(&list))
}

fn publisher_v3(instance: &Instance) -> Value {
    json!({
        "clientId": ClientId::of(instance).to_string(),
        "ip": instance.ip(),
        "port": instance.port(),
        "clusterName": instance.cluster(),
    })
}

fn subscriber_v3(subscriber: &Subscriber) -> Value {
    json!({
        "clientId": ClientId::subscribing(subscriber).to_string(),
        "appName": subscriber.app,
        "agent": subscriber.agent,
        "address": format!("{}:{}", subscriber.ip, subscriber.port),
    })
}

fn subscribed(state: &State, ask: &Ask<()>) -> Result<Answer, Failure> {
    let is_v3 = ask.is_v3;
    let params = &ask.params;
    let registry = state.registry();
    let client = Client::named(state, &registry, params)?;
    let shape = |view: &SubscriberView<'_>| {
        let SubscriberView { subscriber, service, .. } = view;
        if is_v3 {
            return json!({
                "namespaceId": service.namespace,
                "groupName": service.group,
                "serviceName": service.name,
                "subscriberInfo": subscriber_v3(subscriber),
            });
        }
        json!({
            "namespace": service.namespace,
            "group": service.group,
            "serviceName": service.name,
            "subscriberInfo": {
                "app": subscriber.app,
                "agent": subscriber.agent,
                "addr": format!("{}:{}", subscriber.ip, subscriber.port),
            },
        })
    };
    let list: Vec<Value> = client.subscriptions.iter().map(shape).collect();
    Ok(Answer::result(&list))
}

/// Address and port by which a list is narrowed, where the call says them.
fn narrowed(params: &Fields) -> Result<(Option<&str>, Option<u16>), Failure> {
    let port = params.text(field::PORT).map(address::parse_port).transpose()?;
    Ok((params.text(field::IP), port))
}

fn publishers_of(state: &State, ask: &Ask<ServiceKey>) -> Result<Answer, Failure> {
    let is_v3 = ask.is_v3;
    let params = &ask.params;
    let (ip, port) = narrowed(params)?;
    let ephemeral = params.text(field::EPHEMERAL).map(|_| params.flag_or(field::EPHEMERAL, true));
    let registry = state.registry();
    let service = find(&registry, &ask.about);
    let list: Vec<Value> = service
        .map_or(&[][..], Service::instances)
        .iter()
        .filter(|instance| {
            ip.is_none_or(|ip| ip == instance.ip())
                && port.is_none_or(|port| port == instance.port())
                && ephemeral.is_none_or(|ephemeral| ephemeral == instance.ephemeral())
        })
        .map(|instance| {
            if is_v3 {
                return publisher_v3(instance);
            }
            json!({
                "ip": instance.ip(),
                "port": instance.port(),
                "cluster": instance.cluster(),
                "clientId": ClientId::of(instance).to_string(),
            })
        })
        .collect();
    Ok(Answer::result(&list))
}

fn subscribers_of(state: &State, ask: &Ask<ServiceKey>) -> Result<Answer, Failure> {
    let is_v3 = ask.is_v3;
    let params = &ask.params;
    let (ip, port) = narrowed(params)?;
    let registry = state.registry();
    let list: Vec<Value> = registry
        .subscribers(state.now().0, &ask.about)
        .map(|view| view.subscriber)
        .filter(|subscriber| {
            ip.is_none_or(|ip| ip == &*subscriber.ip)
                && port.is_none_or(|port| port == subscriber.port)
        })
        .map(|subscriber| {
            if is_v3 {
                return subscriber_v3(subscriber);
            }
            json!({
                "clientId": ClientId::subscribing(subscriber).to_string(),
                "ip": subscriber.ip,
                "port": subscriber.port,
            })
        })
        .collect();
    Ok(Answer::result(&list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_survive_writing_and_reading() {
        for text in ["10.0.0.1:80#true", "::1:80#false", "host:0#true"] {
            assert_eq!(ClientId::parse(text).expect(text).to_string(), text);
        }
        for text in ["", "10.0.0.1:80", "10.0.0.1#true", "a:80#1", "1700000000000_127.0.0.1_5"] {
            assert_eq!(ClientId::parse(text), None, "{text}");
        }
    }
}
