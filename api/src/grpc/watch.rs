//! Who on this thread listens to which config and subscribes to which service, and what becomes of the
//! core thread's news. News are names; what a client is told is read when it is told, so that it is
//! never older than the news.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use hyper::body::Bytes;
use nacolet_config::Md5;
use nacolet_model::{ConfigKey, ServiceKey, limits};
use nacolet_registry::{ClientId, ListQuery};
use serde::Serialize;
use smol::Timer;

use super::client::{By, Client, Listen, Order, Subject, Subscription};
use super::dispatch::From;
use super::message::{self, Refusal};
use super::naming::ServiceInfo;
use super::pattern::Kind;
use super::{Tally, Zone, fuzzy};
use crate::about::About;
use crate::feed::News;

/// Who subscribes to one service.
type Subscribers = BTreeSet<(ClientId, Rc<Subscription>)>;

/// Interest by what it is in.
#[derive(Debug, Default)]
pub(super) struct Index {
    configs: RefCell<BTreeMap<Rc<ConfigKey>, BTreeSet<ClientId>>>,
    services: RefCell<BTreeMap<Rc<ServiceKey>, Subscribers>>,
}

/// Remembers that a client listens to a config; true when it has another content than is there.
pub(super) fn listen(
    from: &From<'_>,
    key: ConfigKey,
    md5: Option<Md5>,
    is_blank: bool,
) -> Result<bool, Refusal> {
    let From { zone, client, tag, user } = from;
    client.note_tag(*tag);
    let mut listens = client.listens.borrow_mut();
    let known = listens.get_key_value(&key).map(|(key, _)| Rc::clone(key));
    let key = match known {
        Some(key) => key,
        None => {
            if !zone.state.grpc.listens.take(limits::GRPC_LISTENS_MAX) {
                return Err(Refusal::OVERLOADED);
            }
            // Before the comparison: a change is then either seen by it or heard of.
            zone.feed.configs.want();
            let mut index = zone.index.configs.borrow_mut();
            let shared = index.get_key_value(&key).map(|(key, _)| Rc::clone(key));
            let key = shared.unwrap_or_else(|| Rc::new(key));
            index.entry(Rc::clone(&key)).or_default().insert(client.id);
            key
        }
    };
    // What it has may be older than what it is told now; the next notice is due when that changes. A
    // node that is not ready may itself be behind and compares later.
    let seen = if zone.state.port.stage.is_ready() { seen(zone, client, &key) } else { md5 };
    listens.insert(key, Listen { md5: seen, is_blank, user: user.clone() });
    Ok(seen != md5)
}

/// Forgets that a client listens to a config.
pub(super) fn ignore_config(zone: &Zone, client: &Client, key: &ConfigKey) {
    let Some((key, _)) = client.listens.borrow_mut().remove_entry(key) else { return };
    zone.state.grpc.listens.give_back(1);
    client.outbox.borrow_mut().forget(&Subject::Config(Rc::clone(&key)));
    drop_interest(&mut zone.index.configs.borrow_mut(), &key, &client.id);
}

/// Remembers that a client subscribes to a service.
pub(super) fn subscribe(
    from: &From<'_>,
    service: ServiceKey,
    clusters: &str,
) -> Result<Rc<Subscription>, Refusal> {
    let From { zone, client, user, .. } = from;
    let mut subscriptions = client.subscriptions.borrow_mut();
    let mut index = zone.index.services.borrow_mut();
    let shared = index.get_key_value(&service).map(|(service, _)| Rc::clone(service));
    let service = shared.unwrap_or_else(|| Rc::new(service));
    let subscription = Rc::new(Subscription { service, clusters: clusters.into() });
    if let Some((known, _)) = subscriptions.get_key_value(&subscription) {
        let known = Rc::clone(known);
        subscriptions.insert(Rc::clone(&known), user.clone());
        return Ok(known);
    }
    let is_full = subscriptions.len() >= limits::SERVICES_PER_CLIENT_MAX;
    if is_full || !zone.state.grpc.subscriptions.take(limits::GRPC_SUBSCRIPTIONS_MAX) {
        return Err(Refusal::OVERLOADED);
    }
    zone.feed.services.want();
    let interest = index.entry(Rc::clone(&subscription.service)).or_default();
    interest.insert((client.id, Rc::clone(&subscription)));
    subscriptions.insert(Rc::clone(&subscription), user.clone());
    Ok(subscription)
}

/// Forgets a subscription; where none has these clusters, all to the service (Nacos keeps one).
pub(super) fn unsubscribe(zone: &Zone, client: &Client, service: &ServiceKey, clusters: &str) {
    let mut subscriptions = client.subscriptions.borrow_mut();
    let of_service = subscriptions.keys().filter(|known| *known.service == *service).cloned();
    let (exact, others): (Vec<_>, Vec<_>) =
        of_service.partition(|known| *known.clusters == *clusters);
    let gone = if exact.is_empty() { others } else { exact };
    zone.state.grpc.subscriptions.give_back(gone.len());
    let mut index = zone.index.services.borrow_mut();
    for subscription in gone {
        subscriptions.remove(&subscription);
        client.outbox.borrow_mut().forget(&Subject::Service(Rc::clone(&subscription)));
        let service = Rc::clone(&subscription.service);
        drop_interest(&mut index, &service, &(client.id, subscription));
    }
}

/// Forgets everything a client was interested in.
pub(super) fn forget(zone: &Zone, client: &Client) {
    let listens = client.listens.take();
    zone.state.grpc.listens.give_back(listens.len());
    let mut configs = zone.index.configs.borrow_mut();
    for key in listens.into_keys() {
        drop_interest(&mut configs, &key, &client.id);
    }
    let subscriptions = client.subscriptions.take();
    zone.state.grpc.subscriptions.give_back(subscriptions.len());
    let mut services = zone.index.services.borrow_mut();
    for subscription in subscriptions.into_keys() {
        let service = Rc::clone(&subscription.service);
        drop_interest(&mut services, &service, &(client.id, subscription));
    }
}

fn drop_interest<K: Ord, V: Ord>(index: &mut BTreeMap<Rc<K>, BTreeSet<V>>, key: &Rc<K>, who: &V) {
    if let Some(interest) = index.get_mut(key) {
        interest.remove(who);
        if interest.is_empty() {
            index.remove(key);
        }
    }
}

/// The md5 of what a client would read now.
fn seen(zone: &Zone, client: &Client, key: &ConfigKey) -> Option<Md5> {
    let configs = zone.state.configs();
    let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
    client.with_caller(None, |caller| {
        configs.view(namespace, group, key.data_id.as_str(), caller).map(|view| *view.md5)
    })
}

/// Owes notices to those who have another content than is there, for ever.
pub(super) async fn follow_configs(zone: Rc<Zone>) {
    loop {
        match zone.feed.configs.hear().await {
            News::Some(keys) => {
                for key in &keys {
                    let index = zone.index.configs.borrow();
                    let Some((key, interest)) = index.get_key_value(key) else { continue };
                    for client in interest.iter().filter_map(|id| zone.client(*id)) {
                        compare(&zone, &client, key);
                    }
                }
                fuzzy::configs_changed(&zone, keys.iter());
            }
            News::Everything => {
                let clients: Vec<_> = zone.clients.borrow().values().cloned().collect();
                for client in clients {
                    let keys: Vec<_> = client.listens.borrow().keys().cloned().collect();
                    keys.iter().for_each(|key| compare(&zone, &client, key));
                }
                fuzzy::everything_changed(&zone, Kind::Config);
            }
        }
    }
}

fn compare(zone: &Zone, client: &Client, key: &Rc<ConfigKey>) {
    let has = client.listens.borrow().get(key).map(|listen| listen.md5);
    if zone.state.port.stage.is_ready() && has.is_some_and(|md5| md5 != seen(zone, client, key)) {
        client.owe(Subject::Config(Rc::clone(key)));
    }
}

/// Owes the new list to every subscriber of a service that changed, for ever. What happens within a
/// short while is one change: a deployment is not pushed instance by instance.
pub(super) async fn follow_services(zone: Rc<Zone>) {
    loop {
        let first = zone.feed.services.hear().await;
        Timer::after(limits::GRPC_PUSH_DEBOUNCE).await;
        let more = zone.feed.services.take();
        let index = zone.index.services.borrow();
        match (first, more) {
            (News::Some(mut services), News::Some(more)) => {
                services.extend(more);
                services.iter().filter_map(|service| index.get(service)).for_each(|interest| {
                    owe_lists(&zone, interest);
                });
                fuzzy::services_changed(&zone, services.iter());
            }
            (News::Everything, _) | (_, News::Everything) => {
                index.values().for_each(|interest| owe_lists(&zone, interest));
                fuzzy::everything_changed(&zone, Kind::Service);
            }
        }
    }
}

fn owe_lists(zone: &Zone, interest: &Subscribers) {
    for (id, subscription) in interest {
        if let Some(client) = zone.client(*id) {
            client.owe(Subject::Service(Rc::clone(subscription)));
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigNotice<'a> {
    data_id: &'a str,
    group: &'a str,
    tenant: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceNotice<'a> {
    namespace: &'a str,
    service_name: &'a str,
    group_name: &'a str,
    service_info: ServiceInfo<'a>,
}

/// Whether a client may still be told of something that this user asked to hear of. Where the user is no
/// more, or has another password since, everything is forgotten and the client told to come again, with a
/// login of today.
pub(super) fn may_hear(zone: &Zone, client: &Client, user: &By, of: &dyn About) -> bool {
    let access = &zone.state.access;
    if user.as_ref().is_some_and(|login| !access.is_current(login)) {
        forget(zone, client);
        fuzzy::forget(zone, client);
        client.order(Order::Reset);
        return false;
    }
    access.still_permits(user.as_deref(), of)
}

/// Renders a notice, unless the client lost interest meanwhile.
pub(super) fn notice(
    zone: &Zone,
    client: &Client,
    number: u64,
    subject: &Subject,
) -> Option<Bytes> {
    match subject {
        Subject::Config(key) => {
            let user = client.listens.borrow().get(key).and_then(|listen| listen.user.clone());
            if !may_hear(zone, client, &user, &**key) {
                ignore_config(zone, client, key);
                return None;
            }
            let mut listens = client.listens.borrow_mut();
            let Some(listen) = listens.get_mut(key) else {
                client.outbox.borrow_mut().forget(subject);
                return None;
            };
            // It is told of this content; the next notice is due when it is another one again.
            listen.md5 = seen(zone, client, key);
            let tenant = if listen.is_blank { "" } else { key.namespace.as_str() };
            let (data_id, group) = (key.data_id.as_str(), key.group.as_str());
            let notice = ConfigNotice { data_id, group, tenant };
            Some(message::request("ConfigChangeNotifyRequest", number, "config", notice))
        }
        Subject::Service(subscription) => {
            let Some(user) = client.subscriptions.borrow().get(subscription).cloned() else {
                client.outbox.borrow_mut().forget(subject);
                return None;
            };
            if !may_hear(zone, client, &user, &*subscription.service) {
                let Subscription { service, clusters } = &**subscription;
                unsubscribe(zone, client, service, clusters);
                return None;
            }
            let Subscription { service, clusters } = &**subscription;
            let (namespace, group) = (service.namespace.as_str(), service.group.as_str());
            let name = service.name.as_str();
            let query = ListQuery { namespace, group, name, clusters, healthy_only: false };
            let registry = zone.state.registry();
            let notice = ServiceNotice {
                namespace,
                service_name: name,
                group_name: group,
                service_info: ServiceInfo::new(registry.list(&query), &query),
            };
            Some(message::request("NotifySubscriberRequest", number, "naming", notice))
        }
        Subject::Pattern(pattern) => fuzzy::notice(zone, client, number, pattern),
    }
}

impl Tally {
    /// Takes one place of `max`.
    pub(super) fn take(&self, max: usize) -> bool {
        let is_free = self.grow(1) < max;
        if !is_free {
            self.give_back(1);
        }
        is_free
    }
}
