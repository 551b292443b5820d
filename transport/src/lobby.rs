//! Those who knock and have not proved yet that they hold the cluster key. Each waits in a room:
//! one for every address of a known peer, and one for all strangers, so that strangers never take a
//! place of a member. A room that is full lets the newcomer in and sends somebody else away:
//! members speak first and at once, so it is the oldest of those who have said nothing, or else the
//! oldest of all.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;

use nacolet_model::limits;
use smol::channel::{self, Receiver, Sender};

/// None is the room of strangers.
type Room = Option<IpAddr>;

/// Everybody who waits.
#[derive(Default)]
pub(crate) struct Lobby {
    /// By age, the oldest first. No room is empty.
    rooms: RefCell<BTreeMap<Room, VecDeque<Waiting>>>,
    last: Cell<u64>,
}

struct Waiting {
    number: u64,
    spoke: Rc<Cell<bool>>,
    /// Dropping it sends the visitor away.
    _stays: Sender<()>,
}

/// One who waits, until it is dropped.
pub(crate) struct Visitor {
    lobby: Rc<Lobby>,
    room: Room,
    number: u64,
    spoke: Rc<Cell<bool>>,
    stays: Receiver<()>,
}

impl Lobby {
    /// Lets somebody in, known by this address or a stranger.
    pub(crate) fn enter(this: &Rc<Self>, room: Room) -> Visitor {
        let max = match room {
            Some(_) => limits::PEER_HANDSHAKES_KNOWN_MAX,
            None => limits::PEER_HANDSHAKES_MAX,
        };
        let number = this.last.get() + 1;
        this.last.set(number);
        let spoke = Rc::<Cell<bool>>::default();
        let (sender, stays) = channel::bounded(1);
        let mut rooms = this.rooms.borrow_mut();
        let waiting = rooms.entry(room).or_default();
        while waiting.len() >= max {
            let silent = waiting.iter().position(|waiting| !waiting.spoke.get());
            waiting.remove(silent.unwrap_or(0));
        }
        waiting.push_back(Waiting { number, spoke: Rc::clone(&spoke), _stays: sender });
        Visitor { lobby: Rc::clone(this), room, number, spoke, stays }
    }
}

impl Visitor {
    /// Whether it calls from the address of a known peer.
    pub(crate) fn is_known(&self) -> bool {
        self.room.is_some()
    }

    /// It said what a member says first.
    pub(crate) fn spoke(&self) {
        self.spoke.set(true);
    }

    /// Resolves when another one was let in instead.
    pub(crate) async fn sent_away(&self) {
        // Nothing is ever sent: the channel closes.
        let _ = self.stays.recv().await;
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let mut rooms = self.lobby.rooms.borrow_mut();
        if let Some(waiting) = rooms.get_mut(&self.room) {
            waiting.retain(|waiting| waiting.number != self.number);
            if waiting.is_empty() {
                rooms.remove(&self.room);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use smol::future::{block_on, poll_once};

    use super::*;

    fn is_away(visitor: &Visitor) -> bool {
        block_on(poll_once(visitor.sent_away())).is_some()
    }

    fn away(visitors: &[Visitor]) -> Vec<usize> {
        (0..visitors.len()).filter(|number| is_away(&visitors[*number])).collect()
    }

    #[test]
    fn the_oldest_silent_one_goes_for_a_newcomer_and_then_the_oldest() {
        let lobby = Rc::<Lobby>::default();
        let mut visitors: Vec<Visitor> =
            (0..limits::PEER_HANDSHAKES_MAX).map(|_| Lobby::enter(&lobby, None)).collect();
        visitors[0].spoke();
        visitors[2].spoke();
        assert_eq!(away(&visitors), []);
        for expected in [vec![1], vec![1, 3]] {
            visitors.push(Lobby::enter(&lobby, None));
            assert_eq!(away(&visitors), expected);
        }
        visitors.iter().for_each(Visitor::spoke);
        visitors.push(Lobby::enter(&lobby, None));
        assert_eq!(away(&visitors), [0, 1, 3]);
        // Whoever leaves makes room.
        visitors.drain(4..6);
        visitors.push(Lobby::enter(&lobby, None));
        assert_eq!(away(&visitors), [0, 1, 3]);
        drop(visitors);
        assert!(lobby.rooms.borrow().is_empty());
    }

    #[test]
    fn strangers_take_no_place_of_a_known_peer_nor_one_peer_that_of_another() {
        let lobby = Rc::<Lobby>::default();
        let room = |last| Some(IpAddr::from([10, 0, 0, last]));
        let members = [Lobby::enter(&lobby, room(1)), Lobby::enter(&lobby, room(2))];
        let others: Vec<Visitor> = (0..100)
            .flat_map(|_| [Lobby::enter(&lobby, None), Lobby::enter(&lobby, room(3))])
            .collect();
        assert_eq!(away(&members), []);
        assert_eq!(
            others.len() - away(&others).len(),
            limits::PEER_HANDSHAKES_MAX + limits::PEER_HANDSHAKES_KNOWN_MAX
        );
    }
}
