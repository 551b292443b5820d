//! Who waits for a lock, and is told when to try again. The locks themselves are behind Raft, and
//! their time moves with the commands alone: so somebody looks when the time of a holder should be
//! over.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_channel::oneshot;
use hyper::body::Bytes;
use nacolet_lock as lock;
use nacolet_model::{Duration, Instant, limits};
use nacolet_registry::ClientId;
use serde::Serialize;
use smol::Timer;

use crate::grpc::client::{Client, LockWait, LockWaiting, Subject};
use crate::grpc::message;
use crate::grpc::zone::GrpcZone;
use crate::grpc::zone::departures::Departure;
use crate::port::feed::News;
use crate::port::request::Request;

/// What a kind of lock is called.
pub(crate) const fn kind_name(kind: lock::Kind) -> &'static str {
    match kind {
        lock::Kind::Plain => "NACOS_LOCK",
        lock::Kind::Reentrant => "REENTRANT",
        lock::Kind::NonReentrant => "NON_REENTRANT",
    }
}

/// Owes notices to those who may try again, for ever.
pub(crate) async fn follow(zone: Rc<GrpcZone>) {
    loop {
        match zone.feed.locks.hear().await {
            News::Some(notices) => {
                let now = zone.state.now().0;
                for lock::Notice { connection, kind, key, owner } in notices {
                    let Some(client) = zone.client(ClientId::from_u64(connection)) else {
                        continue;
                    };
                    let wait = LockWait { kind, key, owner };
                    let known = have_turn(&client, &wait, now);
                    known.into_iter().for_each(|wait| client.owe(Subject::Lock(wait)));
                }
            }
            News::Everything => {
                let clients: Vec<_> = zone.clients.borrow().values().cloned().collect();
                for client in clients {
                    let waits: Vec<_> = client.lock_waits.borrow().keys().cloned().collect();
                    waits.into_iter().for_each(|wait| client.owe(Subject::Lock(wait)));
                }
            }
        }
    }
}

/// It is the turn of one who waits, if it still does: if it takes nothing of it, it waits no more.
fn have_turn(client: &Client, wait: &LockWait, now: Instant) -> Option<Rc<LockWait>> {
    let known = client.lock_waits.borrow().get_key_value(wait).map(|(wait, _)| Rc::clone(wait))?;
    if let Some(waiting) = client.lock_waits.borrow_mut().get_mut(&known) {
        waiting.until = waiting.until.min(now + limits::LOCK_TURN);
    }
    Some(known)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LockNotice<'a> {
    lock_key: &'a str,
    lock_type: &'a str,
    owner: &'a str,
    notification_type: &'a str,
}

/// Renders a notice, unless the client waits no more.
pub(crate) fn notice(client: &Client, number: u64, wait: &Rc<LockWait>) -> Option<Bytes> {
    if !client.lock_waits.borrow().contains_key(wait) {
        client.outbox.borrow_mut().forget(&Subject::Lock(Rc::clone(wait)));
        return None;
    }
    let notice = LockNotice {
        lock_key: &wait.key,
        lock_type: kind_name(wait.kind),
        owner: match lock::name_of(&wait.owner) {
            "" => &client.connection_id,
            name => name,
        },
        notification_type: "AVAILABLE",
    };
    Some(message::request("LockNotificationRequest", number, "lock", notice))
}

/// A client begins to wait, or goes on.
pub(crate) fn wait(
    zone: &GrpcZone,
    client: &Client,
    wait: LockWait,
    rest: Duration,
    until: Instant,
) {
    let look_at = zone.state.now().0 + rest.max(limits::LOCK_LOOK_PAUSE);
    client.lock_waits.borrow_mut().insert(Rc::new(wait), LockWaiting { look_at, until });
    zone.lock_waited.ring();
}

/// A client waits no more.
pub(crate) fn forget(client: &Client, wait: &LockWait) {
    let Some((wait, _)) = client.lock_waits.borrow_mut().remove_entry(wait) else { return };
    client.outbox.borrow_mut().forget(&Subject::Lock(wait));
}

/// Looks whether the time of a holder is over for whom somebody waits, or the turn of another; as
/// long as somebody does. Each look is a write, and none is made before something is to be found.
pub(crate) async fn look(zone: Rc<GrpcZone>) {
    loop {
        zone.lock_waited.heard().await;
        loop {
            Timer::after(limits::LOCK_LOOK_PAUSE).await;
            let now = zone.state.now().0;
            let (is_waited, due) = due(&zone, now);
            for ((kind, key), waits) in due {
                let stamp = lock::Stamp::default();
                let look = lock::Look { kind, key: (*key).into(), stamp };
                let looked = zone.state.write_lock(lock::Command::Look(look)).await;
                let is_over = looked.as_ref().is_ok_and(|answer| !answer.done && answer.rest == 0);
                let rest = looked.map_or(0, |answer| answer.rest);
                let rest = Duration::from_millis(rest).max(limits::LOCK_LOOK_AGAIN);
                let at = zone.state.now().0 + rest;
                for (client, wait) in waits {
                    let Some(client) = zone.client(client) else { continue };
                    let mut waiting = client.lock_waits.borrow_mut();
                    // One that has asked again meanwhile waits for what is to come.
                    let known = waiting.get_mut(&wait).filter(|known| known.look_at <= now);
                    match known {
                        Some(_) if is_over => {
                            drop(waiting);
                            forget(&client, &wait);
                        }
                        Some(known) => known.look_at = at,
                        None => {}
                    }
                }
            }
            if !is_waited {
                break;
            }
        }
    }
}

type Due = BTreeMap<(lock::Kind, std::sync::Arc<str>), Vec<(ClientId, Rc<LockWait>)>>;

/// Whether anybody waits, and which locks are to be looked at. Whoever has waited for long enough
/// waits no more.
fn due(zone: &GrpcZone, now: Instant) -> (bool, Due) {
    let (mut is_waited, mut due) = (false, Due::new());
    for client in zone.clients.borrow().values() {
        let mut over = Vec::new();
        for (wait, waiting) in client.lock_waits.borrow().iter() {
            if waiting.until <= now {
                over.push(Rc::clone(wait));
                continue;
            }
            is_waited = true;
            if waiting.look_at <= now {
                let name = (wait.kind, std::sync::Arc::clone(&wait.key));
                due.entry(name).or_default().push((client.id, Rc::clone(wait)));
            }
        }
        over.iter().for_each(|wait| forget(client, wait));
    }
    (is_waited, due)
}

/// A connection is over, and with it whatever was taken over it.
pub(crate) async fn depart(zone: &GrpcZone, connection: u64, until: Instant) {
    let gone = lock::Gone { connection, stamp: lock::Stamp::default() };
    let (reply, told) = oneshot::channel();
    // A closed channel means that the node has stopped.
    let gone = Request::Lock { command: lock::Command::Gone(gone), reply };
    if zone.state.port.requests.send(gone).await.is_err() {
        return;
    }
    zone.departures.push(Departure { connection, until, told });
}

/// Tells the locks again what they were not told for want of a leader, for ever.
pub(crate) async fn tell_departures(zone: Rc<GrpcZone>) {
    loop {
        let mut untold = Vec::new();
        for Departure { connection, until, told } in zone.departures.next().await {
            if !matches!(told.await, Ok(Ok(_))) && zone.state.now().0 < until {
                untold.push((connection, until));
            }
        }
        if !untold.is_empty() {
            Timer::after(limits::LOCK_LOOK_PAUSE).await;
        }
        for (connection, until) in untold {
            depart(&zone, connection, until).await;
        }
    }
}
