//! Clients: whoever publishes instances or subscribes, by the id that Nacos 2 gives them. Over HTTP
//! a client is one address and port and one kind of instance, over gRPC it is its connection, to
//! whichever member. Where that member does not answer, the address of an instance stands for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hyper::Method;
use nacolet_model::{Duration, ServiceKey};
use nacolet_registry::{self as registry, Instance, Service};
use serde_json::{Value, json};

use crate::access::about;
use crate::access::rule::Permission;
use crate::http::answer::HttpAnswer;
use crate::http::failure::Failure;
use crate::http::listed::{Each, long_result};
use crate::http::params::{Fields, field};
use crate::http::room::Room;
use crate::naming::subscribers::{self, Subscribed};
use crate::naming::words::client::ClientId;
use crate::naming::words::dialect::find;
use crate::naming::words::{address, refused};
use crate::port::who::{Connected, Found, Sought, UdpSubscribed};
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

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
        routes.at(list).later(Method::GET, look, about::nothing, client_list);
        routes.at(one).later(Method::GET, look, about::nothing, detail);
        routes.at(publishes).later(Method::GET, look, about::nothing, published);
        routes.at(subscribes).later(Method::GET, look, about::nothing, subscribed);
        routes.at(publishers).later(Method::GET, read, about::service_apart, publishers_of);
        routes.at(subscribers).later(Method::GET, read, about::service_apart, subscribers_of);
    }
}

/// The clients of all members.
struct Everybody {
    /// By the name that the registry has for them.
    connected: BTreeMap<registry::ClientId, Connected>,
    udp: Vec<UdpSubscribed>,
}

impl Everybody {
    async fn of(state: &State) -> Result<Self, Failure> {
        let Found { connected, udp, .. } = state.everywhere(Sought::Clients).await?;
        let connected = connected.into_iter().map(|connected| (connected.client, connected));
        Ok(Self { connected: connected.collect(), udp })
    }

    /// The id of the client that an instance belongs to.
    fn id_of(&self, instance: &Instance) -> String {
        let connected = instance.owner().and_then(|owner| self.connected.get(&owner));
        connected.map_or_else(|| ClientId::of(instance).to_string(), |known| known.id.to_string())
    }
}

async fn client_list(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    let everybody = Everybody::of(&state).await?;
    let (mut ids, mut counted) = (BTreeSet::new(), ask.room.hold_answer());
    let mut add = |id: String| -> Result<(), Failure> {
        counted.grow(id.len() + ID_BYTES)?;
        ids.insert(id);
        Ok(())
    };
    let udp = everybody.udp.iter().map(|one| ClientId::subscribing(&one.subscriber).to_string());
    let connected = everybody.connected.values().map(|connected| connected.id.to_string());
    udp.chain(connected).try_for_each(&mut add)?;
    let mut all = |service: &Service| -> Result<(), Failure> {
        service.publications().iter().try_for_each(|instance| add(everybody.id_of(instance)))
    };
    state.walk_services(&mut all).await?;
    long_result(&ask.room, &ids)
}

/// What a client publishes.
struct ClientPublication {
    service: ServiceKey,
    ip: Box<str>,
    port: u16,
    cluster: Box<str>,
}

impl ClientPublication {
    fn of(service: &Service, instance: &Instance) -> Self {
        Self {
            service: service.key().clone(),
            ip: instance.ip().into(),
            port: instance.port(),
            cluster: instance.cluster().into(),
        }
    }
}

/// The client that a call names, with its instances and subscriptions; 404 when it has neither and
/// is no connection.
struct ClientView {
    id: String,
    shape: Value,
    published: Vec<ClientPublication>,
    subscriptions: Vec<Subscribed>,
}

impl ClientView {
    async fn named(state: &State, params: &Fields, room: &Room) -> Result<Self, Failure> {
        let text = params.required(field::CLIENT_ID)?;
        let gone = || refused::nothing_here(format!("clientId [ {text} ] not exist"));
        let Some(id) = ClientId::parse(text) else {
            let one = state.everywhere(Sought::One(text.into())).await?.connected;
            let one = one.into_iter().next().ok_or_else(gone)?;
            return Self::connected(state, one, room).await;
        };
        let mut everybody = Everybody::of(state).await?;
        everybody.udp.retain(|one| ClientId::subscribing(&one.subscriber) == id);
        let udp = std::mem::take(&mut everybody.udp);
        let subscriptions: Vec<_> = udp.into_iter().map(Subscribed::of).collect();
        let (now, wall) = state.now();
        let (own, mut silence) = (id.to_string(), None::<Duration>);
        let mine = |instance: &Instance| {
            let is_mine = ClientId::of(instance) == id && everybody.id_of(instance) == own;
            if is_mine {
                let silent = instance.silence(now);
                silence = Some(silence.map_or(silent, |least| least.min(silent)));
            }
            is_mine
        };
        let published = published_by(state, room, mine).await?;
        if published.is_empty() && subscriptions.is_empty() {
            return Err(gone());
        }
        let silent_ms = silence.map_or(0, |silence| silence.as_millis());
        let updated = u128::from(wall.as_millis()).saturating_sub(silent_ms);
        let shape = json!({
            "clientId": id.to_string(),
            "ephemeral": id.ephemeral,
            "lastUpdatedTime": u64::try_from(updated).unwrap_or(u64::MAX),
            "clientType": "ipPort",
            "clientIp": id.ip,
            "clientPort": id.port.to_string(),
        });
        Ok(Self { id: id.to_string(), shape, published, subscriptions })
    }

    /// A connection over gRPC.
    async fn connected(state: &State, connected: Connected, room: &Room) -> Result<Self, Failure> {
        let mine = |instance: &Instance| instance.owner() == Some(connected.client);
        let published = published_by(state, room, mine).await?;
        let shape = json!({
            "clientId": connected.id,
            "ephemeral": true,
            "lastUpdatedTime": connected.heard.as_millis(),
            "clientType": "connection",
            "connectType": "GRPC",
            "appName": connected.app,
            "version": connected.version,
            "clientIp": connected.ip,
            "clientPort": connected.port.to_string(),
        });
        let id = connected.id.to_string();
        let subscriptions = Subscribed::over_grpc(connected).collect();
        Ok(Self { id, shape, published, subscriptions })
    }
}

/// What is `mine` of all instances.
async fn published_by(
    state: &State,
    room: &Room,
    mut mine: impl FnMut(&Instance) -> bool + Send,
) -> Result<Vec<ClientPublication>, Failure> {
    let (mut all, mut counted) = (Vec::new(), room.hold_answer());
    let mut add = |service: &Service| -> Result<(), Failure> {
        for instance in service.publications().iter().filter(|instance| mine(instance)) {
            let published = ClientPublication::of(service, instance);
            counted.grow(ID_BYTES + published.ip.len() + published.cluster.len())?;
            all.push(published);
        }
        Ok(())
    };
    state.walk_services(&mut add).await?;
    Ok(all)
}

/// What an item of a list takes beside its texts, about.
const ID_BYTES: usize = 96;

async fn detail(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    Ok(HttpAnswer::result(&ClientView::named(&state, &ask.params, &ask.room).await?.shape))
}

async fn published(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    let ClientView { id, published, .. } =
        ClientView::named(&state, &ask.params, &ask.room).await?;
    let shape = |ClientPublication { service, ip, port, cluster }: &ClientPublication| {
        if ask.is_v3 {
            return json!({
                "namespaceId": service.namespace,
                "groupName": service.group,
                "serviceName": service.name,
                "publisherInfo": publisher_v3(&id, ip, *port, cluster),
            });
        }
        json!({
            "namespace": service.namespace,
            "group": service.group,
            "serviceName": service.name,
            "registeredInstance": { "ip": ip, "port": port, "cluster": cluster },
        })
    };
    long_result(&ask.room, &Each(&published, shape))
}

fn publisher_v3(id: &str, ip: &str, port: u16, cluster: &str) -> Value {
    json!({ "clientId": id, "ip": ip, "port": port, "clusterName": cluster })
}

fn subscriber_v3(subscribed: &Subscribed) -> Value {
    json!({
        "clientId": subscribed.client_id,
        "appName": subscribed.app,
        "agent": subscribed.agent,
        "address": subscribed.address(),
    })
}

async fn subscribed(state: Arc<State>, ask: Ask<()>) -> Result<HttpAnswer, Failure> {
    let client = ClientView::named(&state, &ask.params, &ask.room).await?;
    let shape = |subscribed: &Subscribed| {
        let service = &subscribed.service;
        if ask.is_v3 {
            return json!({
                "namespaceId": service.namespace,
                "groupName": service.group,
                "serviceName": service.name,
                "subscriberInfo": subscriber_v3(subscribed),
            });
        }
        json!({
            "namespace": service.namespace,
            "group": service.group,
            "serviceName": service.name,
            "subscriberInfo": {
                "app": subscribed.app,
                "agent": subscribed.agent,
                "addr": subscribed.address(),
            },
        })
    };
    long_result(&ask.room, &Each(&client.subscriptions, shape))
}

/// Address and port by which a list is narrowed, where the call says them.
fn narrowed(params: &Fields) -> Result<(Option<&str>, Option<u16>), Failure> {
    let port = params.text(field::PORT).map(address::parse_port).transpose()?;
    Ok((params.text(field::IP), port))
}

async fn publishers_of(state: Arc<State>, ask: Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    let (ip, port) = narrowed(&ask.params)?;
    let said = ask.params.text(field::EPHEMERAL);
    let ephemeral = said.map(|_| ask.params.flag_or(field::EPHEMERAL, true));
    let everybody = Everybody::of(&state).await?;
    let registry = state.registry();
    let service = find(&registry, &ask.about);
    let shown: Vec<&Instance> = service
        .map_or(&[][..], Service::publications)
        .iter()
        .filter(|instance| {
            ip.is_none_or(|ip| ip == instance.ip())
                && port.is_none_or(|port| port == instance.port())
                && ephemeral.is_none_or(|ephemeral| ephemeral == instance.ephemeral())
        })
        .collect();
    let shape = |instance: &&Instance| {
        let id = everybody.id_of(instance);
        if ask.is_v3 {
            return publisher_v3(&id, instance.ip(), instance.port(), instance.cluster());
        }
        json!({
            "ip": instance.ip(),
            "port": instance.port(),
            "cluster": instance.cluster(),
            "clientId": id,
        })
    };
    long_result(&ask.room, &Each(&shown, shape))
}

async fn subscribers_of(state: Arc<State>, ask: Ask<ServiceKey>) -> Result<HttpAnswer, Failure> {
    let (ip, port) = narrowed(&ask.params)?;
    let mut all = subscribers::of_service(&state, &ask).await?;
    all.retain(|subscribed| {
        ip.is_none_or(|ip| ip == &*subscribed.ip) && port.is_none_or(|port| port == subscribed.port)
    });
    let shape = |subscribed: &Subscribed| {
        if ask.is_v3 {
            return subscriber_v3(subscribed);
        }
        json!({
            "clientId": subscribed.client_id,
            "ip": subscribed.ip,
            "port": subscribed.port,
        })
    };
    long_result(&ask.room, &Each(&all, shape))
}
