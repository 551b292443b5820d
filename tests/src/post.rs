//! How registries of simulated nodes reach each other: encoded as on the wire, through a short queue
//! per pair of nodes, over the same lines and in the same weather as Raft. What is lost is noted, so
//! that the checkers know who had a chance to hear of what.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use nacolet_model::{Instant, NodeId};
use nacolet_registry::Message;

use crate::inbox::{Event, Inbox};
use crate::network::Network;

/// One direction between two nodes.
pub type Pair = (NodeId, NodeId);

/// What happened on the lines between registries.
#[derive(Debug, Default)]
pub struct Journal {
    lost: BTreeMap<Pair, Instant>,
    delivered: BTreeMap<Pair, Instant>,
}

impl Journal {
    /// When the last message from one node to another was lost though both were up.
    #[must_use]
    pub fn lost(&self, pair: Pair) -> Option<Instant> {
        self.lost.get(&pair).copied()
    }

    /// When the last message from one node to another arrived.
    #[must_use]
    pub fn delivered(&self, pair: Pair) -> Option<Instant> {
        self.delivered.get(&pair).copied()
    }
}

/// The place of a message in its queue, given back when it is taken or lost.
#[derive(Debug)]
pub struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The registries that can be reached, and the queues between them.
#[derive(Default)]
pub(crate) struct Post {
    inboxes: BTreeMap<NodeId, Inbox>,
    queues: BTreeMap<Pair, Rc<Cell<usize>>>,
    /// Messages of one pair that are on their way or wait to be taken.
    queue_max: usize,
    journal: Rc<RefCell<Journal>>,
}

impl Post {
    pub(crate) fn new(queue_max: usize) -> Self {
        Self { queue_max, ..Self::default() }
    }

    pub(crate) fn plug(&mut self, node: NodeId, inbox: Inbox) {
        self.inboxes.insert(node, inbox);
    }

    pub(crate) fn unplug(&mut self, node: NodeId) -> Option<Inbox> {
        self.inboxes.remove(&node)
    }

    pub(crate) fn journal(&self) -> Rc<RefCell<Journal>> {
        Rc::clone(&self.journal)
    }

    fn place(&mut self, pair: Pair) -> Option<Place> {
        let queue = self.queues.entry(pair).or_default();
        if queue.get() >= self.queue_max {
            return None;
        }
        queue.set(queue.get() + 1);
        Some(Place(Rc::clone(queue)))
    }
}

impl Network {
    /// Takes a message of one registry to another.
    pub fn send_registry(&self, from: NodeId, to: NodeId, message: &Message) {
        // Plain values of known length, which postcard can always encode.
        let bytes: Rc<[u8]> = postcard::to_allocvec(message).unwrap_or_default().into();
        let place = self.with_post(|post| post.place((from, to)));
        let dead = self.is_cut(from, to) || !self.has_registry(to);
        let Some(place) = place.filter(|_| !dead) else {
            self.note_lost(from, to);
            // A full queue is noticed, a dead line now and then.
            if !dead || self.is_noticed() {
                self.with_post(|post| {
                    let inbox = post.inboxes.get(&from);
                    inbox.into_iter().for_each(|inbox| inbox.push(Event::Unsent(to)));
                });
            }
            return;
        };
        if self.chance(|weather| weather.loss_percent) {
            return self.note_lost(from, to);
        }
        if self.chance(|weather| weather.double_percent)
            && let Some(second) = self.with_post(|post| post.place((from, to)))
        {
            self.carry(from, to, Rc::clone(&bytes), second);
        }
        self.carry(from, to, bytes, place);
    }

    fn carry(&self, from: NodeId, to: NodeId, bytes: Rc<[u8]>, place: Place) {
        let (at, network) = (self.arrival(from, to), self.clone());
        self.at(at, move || {
            if network.is_cut(from, to) {
                return network.note_lost(from, to);
            }
            let now = network.now();
            network.with_post(|post| {
                let Some(inbox) = post.inboxes.get(&to) else { return };
                post.journal.borrow_mut().delivered.insert((from, to), now);
                inbox.push(Event::Peer { from, bytes, place });
            });
        });
    }

    fn has_registry(&self, node: NodeId) -> bool {
        self.with_post(|post| post.inboxes.contains_key(&node))
    }

    /// A loss on the way to somebody who is down is none: who starts asks for everything.
    fn note_lost(&self, from: NodeId, to: NodeId) {
        let now = self.now();
        self.with_post(|post| {
            if post.inboxes.contains_key(&to) {
                post.journal.borrow_mut().lost.insert((from, to), now);
            }
        });
    }
}
