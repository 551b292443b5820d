//! How registries of simulated nodes reach each other: encoded as on the wire, through a short
//! queue per pair of nodes, over the same lines and in the same weather as Raft. What is lost is
//! noted, so that the checkers know who had a chance to hear of what.

use std::rc::Rc;

use nacolet_model::NodeId;
use nacolet_registry::Message;

use crate::inbox::{Event, Place};
use crate::network::Network;
use crate::story::{Line, Who, words};
use crate::subject::name;

/// The name under which a message that is sent all the time is counted in a story.
type Routine = Option<&'static str>;

impl Network {
    /// Takes a message of one registry to another.
    pub fn send_registry(&self, from: NodeId, to: NodeId, message: &Message) {
        // Plain values of known length, which postcard can always encode.
        let bytes: Rc<[u8]> = postcard::to_allocvec(message).unwrap_or_default().into();
        let place = self.with_post(|post| post.place((from, to)));
        let dead = self.is_cut(from, to) || !self.has_registry(to);
        let routine = words::routine_of_registries(message);
        if routine.is_none() {
            self.story().send(from, to, || words::registry_message(message));
        }
        let Some(place) = place.filter(|_| !dead) else {
            self.note_lost(
                from,
                to,
                routine,
                if dead { "the line is dead" } else { "the queue is full" },
            );
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
            return self.note_lost(from, to, routine, "it is lost");
        }
        if self.chance(|weather| weather.double_percent)
            && let Some(second) = self.with_post(|post| post.place((from, to)))
        {
            self.carry(from, to, Rc::clone(&bytes), second, routine);
        }
        self.carry(from, to, bytes, place, routine);
    }

    fn carry(&self, from: NodeId, to: NodeId, bytes: Rc<[u8]>, place: Place, routine: Routine) {
        let (at, network) = (self.arrival(from, to), self.clone());
        self.at(at, move || {
            if network.is_cut(from, to) {
                return network.note_lost(from, to, routine, "the line is cut");
            }
            let now = network.now();
            network.with_post(|post| {
                let Some(inbox) = post.inboxes.get(&to) else { return };
                post.journal().borrow_mut().note_delivered((from, to), now);
                inbox.push(Event::Peer { from, bytes, place });
            });
        });
    }

    fn has_registry(&self, node: NodeId) -> bool {
        self.with_post(|post| post.inboxes.contains_key(&node))
    }

    /// A loss on the way to somebody who is down is none: who starts asks for everything.
    fn note_lost(&self, from: NodeId, to: NodeId, routine: Routine, why: &str) {
        match routine {
            Some(_) => self.story().count("lost pings and digests"),
            None => self.story().tell(|| {
                let (from, to) = (name(from), name(to));
                Line::of(Who::World, format!("a message of the registry of {from} to {to}: {why}"))
            }),
        }
        let now = self.now();
        self.with_post(|post| {
            if post.inboxes.contains_key(&to) {
                post.journal().borrow_mut().note_lost((from, to), now);
            }
        });
    }
}
