//! The registries of simulated nodes that can be reached, and a short queue for each pair of nodes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use nacolet_model::NodeId;

use crate::inbox::{Inbox, Place};
use crate::journal::{Journal, Pair};

/// The registries that can be reached, and the queues between them.
#[derive(Default)]
pub(crate) struct Post {
    pub(crate) inboxes: BTreeMap<NodeId, Inbox>,
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

    pub(crate) fn place(&mut self, pair: Pair) -> Option<Place> {
        let queue = self.queues.entry(pair).or_default();
        if queue.get() >= self.queue_max {
            return None;
        }
        queue.set(queue.get() + 1);
        Some(Place(Rc::clone(queue)))
    }
}
