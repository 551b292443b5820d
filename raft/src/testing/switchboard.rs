//! A network without sockets: every node is on one board, and a line between two of them can be
//! cut.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::string::String;
use core::cell::RefCell;

use nacolet_model::NodeId;

use crate::engine::Message;
use crate::runtime::{
    LocalBoxFuture, Raft, RaftNetwork, RaftNetworkFactory, RaftStateMachine, SnapshotChunk,
    Unreachable,
};
use crate::types::{SnapshotMeta, Term};

struct Board<S: RaftStateMachine> {
    nodes: BTreeMap<NodeId, Raft<S>>,
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Whoever sends to these addresses waits for ever.
    hung: BTreeSet<String>,
    messages: u64,
    chunks: u64,
    /// Every so many chunks one is lost; never when it is 0.
    chunk_failure_period: u64,
    attempts: u64,
    /// Connections that exist, by the node that made them.
    connections: BTreeMap<NodeId, usize>,
}

/// Connects nodes by their handles. Clones are one board.
pub struct Switchboard<S: RaftStateMachine>(Rc<RefCell<Board<S>>>);

impl<S: RaftStateMachine> Clone for Switchboard<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S: RaftStateMachine> Default for Switchboard<S> {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(Board {
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            hung: BTreeSet::new(),
            messages: 0,
            chunks: 0,
            chunk_failure_period: 0,
            attempts: 0,
            connections: BTreeMap::new(),
        })))
    }
}

impl<S: RaftStateMachine> core::fmt::Debug for Switchboard<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Switchboard").field("cut", &self.0.borrow().cut).finish_non_exhaustive()
    }
}

impl<S: RaftStateMachine> Switchboard<S> {
    /// Plugs a node in, or another incarnation of it.
    pub fn plug(&self, raft: &Raft<S>) {
        self.0.borrow_mut().nodes.insert(raft.id(), raft.clone());
    }

    /// Takes a node off the board.
    pub fn unplug(&self, node: NodeId) {
        self.0.borrow_mut().nodes.remove(&node);
    }

    /// Cuts every line of `node`, both ways.
    pub fn isolate(&self, node: NodeId) {
        let mut board = self.0.borrow_mut();
        let others: BTreeSet<NodeId> = board.nodes.keys().copied().collect();
        for other in others {
            board.cut.insert((node, other));
            board.cut.insert((other, node));
        }
    }

    /// Makes `address` accept and never answer: a send to it does not end, not even when it is
    /// healed.
    pub fn hang(&self, address: &str) {
        self.0.borrow_mut().hung.insert(address.into());
    }

    /// Mends every line.
    pub fn heal(&self) {
        let mut board = self.0.borrow_mut();
        board.cut.clear();
        board.hung.clear();
    }

    fn is_hung(&self, address: &str) -> bool {
        self.0.borrow().hung.contains(address)
    }

    /// Loses one snapshot chunk in `period`; none when it is 0.
    pub fn fail_chunks_every(&self, period: u64) {
        self.0.borrow_mut().chunk_failure_period = period;
    }

    fn count_chunk(&self) -> Result<(), Unreachable> {
        let mut board = self.0.borrow_mut();
        board.attempts += 1;
        let period = board.chunk_failure_period;
        if period > 0 && board.attempts.is_multiple_of(period) {
            return Err(Unreachable);
        }
        board.chunks += 1;
        Ok(())
    }

    /// Messages and chunks delivered so far.
    #[must_use]
    pub fn delivered(&self) -> (u64, u64) {
        let board = self.0.borrow();
        (board.messages, board.chunks)
    }

    /// How many connections `node` holds.
    #[must_use]
    pub fn connections(&self, node: NodeId) -> usize {
        self.0.borrow().connections.get(&node).copied().unwrap_or(0)
    }

    /// What node `from` makes its connections with.
    #[must_use]
    pub fn wires(&self, from: NodeId) -> Wires<S> {
        Wires { board: self.clone(), from }
    }

    fn line(&self, from: NodeId, to: NodeId) -> Result<Raft<S>, Unreachable> {
        let board = self.0.borrow();
        if board.cut.contains(&(from, to)) {
            return Err(Unreachable);
        }
        board.nodes.get(&to).cloned().ok_or(Unreachable)
    }
}

/// Makes the connections of one node.
#[derive(Debug)]
pub struct Wires<S: RaftStateMachine> {
    board: Switchboard<S>,
    from: NodeId,
}

/// A connection of one node to another.
#[derive(Debug)]
pub struct Wire<S: RaftStateMachine> {
    board: Switchboard<S>,
    from: NodeId,
    to: NodeId,
    address: String,
}

impl<S: RaftStateMachine + 'static> RaftNetworkFactory for Wires<S> {
    type Network = Wire<S>;

    fn connect(&mut self, target: NodeId, address: &str) -> Wire<S> {
        *self.board.0.borrow_mut().connections.entry(self.from).or_default() += 1;
        Wire { board: self.board.clone(), from: self.from, to: target, address: address.into() }
    }
}

impl<S: RaftStateMachine> Drop for Wire<S> {
    fn drop(&mut self) {
        if let Some(count) = self.board.0.borrow_mut().connections.get_mut(&self.from) {
            *count = count.saturating_sub(1);
        }
    }
}

impl<S: RaftStateMachine + 'static> RaftNetwork for Wire<S> {
    fn send(&mut self, message: Message) -> LocalBoxFuture<'_, Result<(), Unreachable>> {
        if self.board.is_hung(&self.address) {
            return Box::pin(core::future::pending());
        }
        let sent = self.board.line(self.from, self.to).and_then(|raft| {
            self.board.0.borrow_mut().messages += 1;
            raft.receive(self.from, message).ok().ok_or(Unreachable)
        });
        Box::pin(async move { sent })
    }

    fn send_chunk(
        &mut self,
        term: Term,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'_, Result<u64, Unreachable>> {
        let meta = meta.clone();
        Box::pin(async move {
            let raft = self.board.line(self.from, self.to)?;
            self.board.count_chunk()?;
            let held = raft.receive_chunk(self.from, term, meta, offset, chunk).await;
            held.ok().ok_or(Unreachable)
        })
    }
}
