//! Answers who is connected to this thread (`state::who` asks).

use std::rc::Rc;

use nacolet_config::Md5;
use nacolet_model::{ConfigKey, ServiceKey, limits};

use crate::grpc::client::Client;
use crate::grpc::zone::GrpcZone;
use crate::port::who::{Connected, Sought, WatchersOf};

/// Answers questions, for ever.
pub(crate) async fn answer(zone: Rc<GrpcZone>) {
    let questions = zone.state.who.join();
    while let Ok(question) = questions.recv().await {
        let answer = sought(&zone, &question.sought);
        // Whoever asked may have left.
        match question.answer.try_send(answer) {
            Ok(()) | Err(_) => {}
        }
    }
}

fn sought(zone: &GrpcZone, sought: &Sought) -> Vec<Connected> {
    let clients = zone.clients.borrow();
    let set_up = clients.values().filter(|client| client.is_registered());
    let mut found = Vec::new();
    let mut named = 0;
    for client in set_up {
        let is_one = matches!(sought, Sought::One(id) if **id == *client.connection_id);
        let (subscriptions, listens) = match sought {
            Sought::Clients if !client.is_naming() => continue,
            Sought::Everybody | Sought::Clients => (Vec::new(), Vec::new()),
            Sought::One(_) if is_one => (subscriptions(client, None), Vec::new()),
            Sought::One(_) => continue,
            Sought::Subscribers(service) => (subscriptions(client, Some(service)), Vec::new()),
            Sought::Listeners(of) => (Vec::new(), listens(client, of)),
        };
        let is_about = matches!(sought, Sought::Subscribers(_) | Sought::Listeners(_));
        if is_about && subscriptions.is_empty() && listens.is_empty() {
            continue;
        }
        named += 1 + subscriptions.len() + listens.len();
        if named > limits::WHO_NAMED_MAX {
            break;
        }
        found.push(connected(zone, client, subscriptions, listens));
    }
    found
}

fn subscriptions(client: &Client, to: Option<&ServiceKey>) -> Vec<(ServiceKey, Box<str>)> {
    let subscriptions = client.subscriptions.borrow();
    let wanted = subscriptions.keys().filter(|known| to.is_none_or(|to| *to == *known.service));
    wanted.map(|known| ((*known.service).clone(), known.clusters.clone())).collect()
}

fn listens(client: &Client, of: &WatchersOf) -> Vec<(ConfigKey, Option<Md5>)> {
    let listens = client.listens.borrow();
    match of {
        WatchersOf::Key(key) => {
            listens.get(key).map(|listen| (key.clone(), listen.md5)).into_iter().collect()
        }
        WatchersOf::Ip { ip, namespace } if **ip == *client.ip => {
            let is_meant = |key: &ConfigKey| {
                namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
            };
            let meant = listens.iter().filter(|(key, _)| is_meant(key));
            meant.map(|(key, listen)| ((**key).clone(), listen.md5)).collect()
        }
        WatchersOf::Ip { .. } => Vec::new(),
    }
}

fn connected(
    zone: &GrpcZone,
    client: &Client,
    subscriptions: Vec<(ServiceKey, Box<str>)>,
    listens: Vec<(ConfigKey, Option<Md5>)>,
) -> Connected {
    let subscribed = client.subscriptions.borrow().len();
    let port = client.connection_id.rsplit('_').next().and_then(|port| port.parse().ok());
    let (now, wall) = zone.state.now();
    Connected {
        client: client.id,
        id: client.connection_id.clone(),
        ip: (*client.ip).into(),
        port: port.unwrap_or_default(),
        version: client.version(),
        app: client.app(),
        heard: client.heard(now, wall),
        subscriptions,
        listens,
        subscribed: u32::try_from(subscribed).unwrap_or(u32::MAX),
    }
}
