//! The node of one member, as the board and the story see it.

use nacolet_raft::{Raft, RamSnapshots, Replica, State};

use crate::tally::Tally;

pub type Member = Replica<Tally, RamSnapshots>;

/// A running node, as others see it.
#[derive(Clone)]
pub struct Node {
    pub raft: Raft<Member>,
    pub state: State<Tally>,
}

impl Node {
    /// Hash and count of what it has applied.
    pub fn summary(&self) -> (u64, u32) {
        self.state.read(|tally| (tally.hash, tally.count))
    }
}
