//! Sends the connections of this thread to another member, as `port::moves` is told to: a few at a
//! time, so that the member that they go to is not run over.

use std::collections::VecDeque;
use std::rc::Rc;

use nacolet_model::limits;
use nacolet_registry::ClientId;
use smol::Timer;

use crate::grpc::client::ConnectionOrder;
use crate::grpc::zone::GrpcZone;
use crate::port::moves::{MoveOrder, Target};

/// Takes orders, for ever.
pub(crate) async fn follow(zone: Rc<GrpcZone>) {
    let orders = zone.state.port.moves.join();
    let mut due: VecDeque<(ClientId, Target)> = VecDeque::new();
    loop {
        let next = async { orders.recv().await.map(Some) };
        let asked = if due.is_empty() {
            next.await
        } else {
            let pause = async {
                Timer::after(limits::GRPC_MOVE_PAUSE).await;
                Ok(None)
            };
            smol::future::or(next, pause).await
        };
        match asked {
            Ok(Some(asked)) => {
                let told = take(&zone, asked.order, &mut due);
                // Whoever asked may have left.
                match asked.answer.try_send(told) {
                    Ok(()) | Err(_) => {}
                }
            }
            Ok(None) => {
                for (client, target) in due.drain(..due.len().min(limits::GRPC_MOVES_AT_ONCE)) {
                    send(&zone, client, target);
                }
            }
            Err(_) => return,
        }
    }
}

fn take(zone: &GrpcZone, order: MoveOrder, due: &mut VecDeque<(ClientId, Target)>) -> usize {
    let clients = zone.clients.borrow();
    let mut set_up = clients.values().filter(|client| client.is_registered());
    match order {
        MoveOrder::Count => set_up.count(),
        MoveOrder::One(id, target) => {
            let found = set_up.find(|client| client.connection_id == id);
            due.extend(found.map(|client| (client.id, target)));
            usize::from(found.is_some())
        }
        MoveOrder::Some(count, targets) => {
            // Those that are on their way count, and are not told again at once.
            let (going, staying): (Vec<_>, Vec<_>) = set_up.partition(|client| client.is_going());
            let wanted = count.saturating_sub(going.len());
            let chosen = staying.into_iter().take(wanted).zip(targets.iter().cycle());
            let before = due.len();
            for (client, target) in chosen {
                client.begin_to_go();
                due.push_back((client.id, target.clone()));
            }
            due.len() - before
        }
    }
}

fn send(zone: &GrpcZone, client: ClientId, target: Target) {
    if let Some(client) = zone.client(client) {
        client.begin_to_go();
        client.target.replace(Some(target));
        client.order(ConnectionOrder::Move);
    }
}
