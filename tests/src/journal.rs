//! What happened on the lines between registries, so that the checkers know who had a chance to
//! hear of what.

use std::collections::BTreeMap;

use nacolet_model::{Instant, NodeId};

/// One direction between two nodes.
pub type Pair = (NodeId, NodeId);

/// What happened on the lines between registries.
#[derive(Debug, Default)]
pub struct Journal {
    lost: BTreeMap<Pair, Instant>,
    delivered: BTreeMap<Pair, Instant>,
}

impl Journal {
    pub(crate) fn note_lost(&mut self, pair: Pair, at: Instant) {
        self.lost.insert(pair, at);
    }

    pub(crate) fn note_delivered(&mut self, pair: Pair, at: Instant) {
        self.delivered.insert(pair, at);
    }

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
