//! What becomes of the core thread's news. News are names; what a client is told is read when it is
//! told, so that it is never older than the news.

use std::rc::Rc;

use nacolet_model::{ConfigKey, limits};
use nacolet_registry::ListQuery;
use serde::Serialize;
use smol::Timer;
use smol::future::yield_now;

use crate::grpc::client::pattern::WatchedKind;
use crate::grpc::client::{Client, Subject, Subscription};
use crate::grpc::message::info::GrpcServiceInfo;
use crate::grpc::message::{self, Reply};
use crate::grpc::tell::interest::{ignore_config, may_hear, seen, unsubscribe};
use crate::grpc::tell::{locks, patterns};
use crate::grpc::zone::GrpcZone;
use crate::grpc::zone::index::Subscribers;
use crate::port::feed::News;

/// Owes notices to those who have another content than is there, for ever.
pub(crate) async fn follow_configs(zone: Rc<GrpcZone>) {
    loop {
        let news = zone.feed.configs.hear().await;
        zone.look_at_the_clock();
        match news {
            News::Some(keys) => {
                for key in &keys {
                    let index = zone.index.configs.borrow();
                    let Some((key, interest)) = index.get_key_value(key) else { continue };
                    for client in interest.iter().filter_map(|id| zone.client(*id)) {
                        compare(&zone, &client, key);
                    }
                }
                patterns::configs_changed(&zone, keys.iter()).await;
            }
            News::Everything => {
                let clients: Vec<_> = zone.clients.borrow().values().cloned().collect();
                for client in clients {
                    let keys: Vec<_> = client.listens.borrow().keys().cloned().collect();
                    keys.iter().for_each(|key| compare(&zone, &client, key));
                    yield_now().await;
                }
                patterns::everything_changed(&zone, WatchedKind::Config).await;
            }
        }
    }
}

fn compare(zone: &GrpcZone, client: &Client, key: &Rc<ConfigKey>) {
    let has = client.listens.borrow().get(key).map(|listen| listen.md5);
    if zone.state.port.stage.is_ready() && has.is_some_and(|md5| md5 != seen(zone, client, key)) {
        client.owe(Subject::Config(Rc::clone(key)));
    }
}

/// Owes the new list to every subscriber of a service that changed, for ever. What happens within a
/// short while is one change: a deployment is not pushed instance by instance.
pub(crate) async fn follow_services(zone: Rc<GrpcZone>) {
    loop {
        let first = zone.feed.services.hear().await;
        Timer::after(limits::GRPC_PUSH_DEBOUNCE).await;
        let more = zone.feed.services.take();
        match (first, more) {
            (News::Some(mut services), News::Some(more)) => {
                services.extend(more);
                {
                    let index = zone.index.services.borrow();
                    let interests = services.iter().filter_map(|service| index.get(service));
                    interests.for_each(|interest| owe_lists(&zone, interest));
                }
                patterns::services_changed(&zone, services.iter()).await;
            }
            (News::Everything, _) | (_, News::Everything) => {
                {
                    let index = zone.index.services.borrow();
                    index.values().for_each(|interest| owe_lists(&zone, interest));
                }
                patterns::everything_changed(&zone, WatchedKind::Service).await;
            }
        }
    }
}

fn owe_lists(zone: &GrpcZone, interest: &Subscribers) {
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
    service_info: GrpcServiceInfo<'a>,
}

/// Renders a notice, unless the client lost interest meanwhile, or there is no room for it: then it
/// comes again.
pub(crate) fn notice(
    zone: &GrpcZone,
    client: &Client,
    number: u64,
    subject: &Subject,
) -> Option<Reply> {
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
            Some(message::request("ConfigChangeNotifyRequest", number, "config", notice).into())
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
            let notice =
                ServiceNotice { service_info: GrpcServiceInfo::new(registry.list(&query), &query) };
            let (kind, room) = ("NotifySubscriberRequest", zone.room(client));
            let told = message::request_long(&room, kind, number, "naming", notice);
            if told.is_none() {
                client.put_off(number);
            }
            told
        }
        Subject::Pattern(pattern) => {
            patterns::notice(zone, client, number, pattern).map(Reply::from)
        }
        Subject::Lock(wait) => locks::notice(client, number, wait).map(Reply::from),
    }
}
