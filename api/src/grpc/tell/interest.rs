//! A client begins to listen to a config, subscribe to a service or watch a pattern, and forgets
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use nacolet_config::Md5;
use nacolet_model::{ConfigKey, ServiceKey, limits};
use nacolet_registry::ClientId;

use crate::access::about::About;
use crate::grpc::client::pattern::Pattern;
use crate::grpc::client::{By, Client, ConnectionOrder, Listen, Subject, Subscription};
use crate::grpc::message::Refusal;
use crate::grpc::zone::index::PatternNames;
use crate::grpc::zone::{Asker, GrpcZone};

/// Remembers that a client listens to a config; true when it has another content than is there.
pub(crate) fn listen(
    from: &Asker<'_>,
    key: ConfigKey,
    md5: Option<Md5>,
    is_blank: bool,
) -> Result<bool, Refusal> {
    let Asker { zone, client, tag, user } = from;
    client.note_tag(*tag);
    let mut listens = client.listens.borrow_mut();
    let known = listens.get_key_value(&key).map(|(key, _)| Rc::clone(key));
    let key = match known {
        Some(key) => key,
        None => {
            if !zone.counts.listens.take(limits::GRPC_LISTENS_MAX) {
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
    // What it has may be older than what it is told now; the next notice is due when that changes.
    // A node that is not ready may itself be behind and compares later.
    let seen = if zone.state.port.stage.is_ready() { seen(zone, client, &key) } else { md5 };
    listens.insert(key, Listen { md5: seen, is_blank, user: user.clone() });
    Ok(seen != md5)
}

/// Forgets that a client listens to a config.
pub(crate) fn ignore_config(zone: &GrpcZone, client: &Client, key: &ConfigKey) {
    let Some((key, _)) = client.listens.borrow_mut().remove_entry(key) else { return };
    zone.counts.listens.give_back(1);
    client.outbox.borrow_mut().forget(&Subject::Config(Rc::clone(&key)));
    drop_interest(&mut zone.index.configs.borrow_mut(), &key, &client.id);
}

/// Remembers that a client subscribes to a service.
pub(crate) fn subscribe(
    from: &Asker<'_>,
    service: ServiceKey,
    clusters: &str,
) -> Result<Rc<Subscription>, Refusal> {
    let Asker { zone, client, user, .. } = from;
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
    if is_full || !zone.counts.subscriptions.take(limits::GRPC_SUBSCRIPTIONS_MAX) {
        return Err(Refusal::OVERLOADED);
    }
    zone.feed.services.want();
    let interest = index.entry(Rc::clone(&subscription.service)).or_default();
    interest.insert((client.id, Rc::clone(&subscription)));
    subscriptions.insert(Rc::clone(&subscription), user.clone());
    Ok(subscription)
}

/// Forgets a subscription; where none has these clusters, all to the service (Nacos keeps one).
pub(crate) fn unsubscribe(zone: &GrpcZone, client: &Client, service: &ServiceKey, clusters: &str) {
    let mut subscriptions = client.subscriptions.borrow_mut();
    let of_service = subscriptions.keys().filter(|known| *known.service == *service).cloned();
    let (exact, others): (Vec<_>, Vec<_>) =
        of_service.partition(|known| *known.clusters == *clusters);
    let gone = if exact.is_empty() { others } else { exact };
    zone.counts.subscriptions.give_back(gone.len());
    let mut index = zone.index.services.borrow_mut();
    for subscription in gone {
        subscriptions.remove(&subscription);
        client.outbox.borrow_mut().forget(&Subject::Service(Rc::clone(&subscription)));
        let service = Rc::clone(&subscription.service);
        drop_interest(&mut index, &service, &(client.id, subscription));
    }
}

/// Forgets everything a client was interested in.
pub(crate) fn forget(zone: &GrpcZone, client: &Client) {
    forget_patterns(zone, client);
    let listens = client.listens.take();
    zone.counts.listens.give_back(listens.len());
    let mut configs = zone.index.configs.borrow_mut();
    for key in listens.into_keys() {
        drop_interest(&mut configs, &key, &client.id);
    }
    let subscriptions = client.subscriptions.take();
    zone.counts.subscriptions.give_back(subscriptions.len());
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
pub(crate) fn seen(zone: &GrpcZone, client: &Client, key: &ConfigKey) -> Option<Md5> {
    let configs = zone.state.configs();
    let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
    client.with_caller(None, |caller| {
        configs.view(namespace, group, key.data_id.as_str(), caller).map(|view| *view.md5)
    })
}

/// Whether a client may still be told of something that this user asked to hear of.
pub(crate) fn may_hear(zone: &GrpcZone, client: &Client, user: &By, of: &dyn About) -> bool {
    let access = &zone.state.access;
    if user.as_ref().is_some_and(|login| !access.is_current(login)) {
        turn_away(zone, client);
        return false;
    }
    access.still_permits(user.as_deref(), of)
}

/// Where the user of a client is no more, or has another password since, everything is forgotten
/// and the client told to come again, with a login of today.
fn turn_away(zone: &GrpcZone, client: &Client) {
    forget(zone, client);
    if client.unwelcome.replace(Some(client.now())).is_none() {
        client.order(ConnectionOrder::Reset);
    }
}

/// Turns a client away whose last login is worth nothing any more, whatever it is there for, and
/// closes the connection of one that stays all the same: instances and locks go with it.
pub(crate) fn check_login(zone: &GrpcZone, client: &Client) {
    let access = &zone.state.access;
    if client.login.borrow().as_ref().is_none_or(|login| access.is_current(login)) {
        return client.unwelcome.set(None);
    }
    match client.unwelcome.get() {
        None => turn_away(zone, client),
        Some(since) => {
            let time = client.now().saturating_since(since);
            if time >= zone.state.settings.grpc_reset_patience {
                client.end();
            }
        }
    }
}

/// Forgets every pattern that a client watched.
fn forget_patterns(zone: &GrpcZone, client: &Client) {
    for pattern in client.watches.take().into_keys() {
        leave(zone, client.id, &pattern);
    }
}

fn leave(zone: &GrpcZone, client: ClientId, pattern: &Rc<Pattern>) {
    zone.counts.watches.give_back(1);
    let mut patterns = zone.patterns.0.borrow_mut();
    let Some(watched) = patterns.get_mut(pattern) else { return };
    watched.clients.remove(&client);
    drop_unwatched(zone, &mut patterns, pattern);
}

/// Forgets a pattern that nobody watches.
pub(crate) fn drop_unwatched(
    zone: &GrpcZone,
    patterns: &mut BTreeMap<Rc<Pattern>, PatternNames>,
    pattern: &Rc<Pattern>,
) {
    let is_unwatched = |watched: &PatternNames| watched.clients.is_empty() && watched.lookers == 0;
    if patterns.get(pattern).is_some_and(is_unwatched) {
        patterns.remove(pattern);
        zone.counts.patterns.leave(pattern);
    }
}

/// Forgets that a client watches a pattern.
pub(crate) fn cancel(zone: &GrpcZone, client: &Client, pattern: &Pattern) {
    let Some((pattern, _)) = client.watches.borrow_mut().remove_entry(pattern) else { return };
    client.outbox.borrow_mut().forget(&Subject::Pattern(Rc::clone(&pattern)));
    leave(zone, client.id, &pattern);
}
