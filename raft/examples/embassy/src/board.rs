//! The network: one bounded channel into each member, as a bus between boards would be. What is
//! sent is bytes, so that no memory is shared between members, and what does not fit is lost.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::channel::Channel;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, with_timeout};
use nacolet_model::NodeId;
use nacolet_raft::{
    LocalBoxFuture, Message, RaftNetwork, RaftNetworkFactory, SnapshotChunk, SnapshotMeta, Term,
    Unreachable,
};
use serde::{Deserialize, Serialize};

use crate::node::{Member, Node};

pub const MEMBERS: usize = 3;
/// Frames that wait for one member.
const INBOX_MAX: usize = 8;
/// A chunk that is not acknowledged after this long was lost.
const CHUNK_TIMEOUT: Duration = Duration::from_millis(500);

/// What one member sends to another.
#[derive(Serialize, Deserialize)]
pub enum Frame {
    Message(Message),
    Chunk {
        term: Term,
        meta: SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    },
    /// How far the snapshot is here, or that the chunk was not taken.
    Held(Option<u64>),
}

type Inbox = Channel<NoopRawMutex, (usize, Vec<u8>), INBOX_MAX>;

/// Everything that is not a member's own.
pub struct Board {
    inboxes: [Inbox; MEMBERS],
    /// Acknowledgements of chunks, by who waits and from whom.
    held: [[Signal<NoopRawMutex, Option<u64>>; MEMBERS]; MEMBERS],
    /// Switches a member on or off.
    pub power: [Signal<NoopRawMutex, bool>; MEMBERS],
    nodes: [RefCell<Option<Node>>; MEMBERS],
    chunks: Cell<u32>,
}

impl Board {
    pub fn new() -> Self {
        Self {
            inboxes: core::array::from_fn(|_| Channel::new()),
            held: Default::default(),
            power: Default::default(),
            nodes: Default::default(),
            chunks: Cell::new(0),
        }
    }

    /// The running node of a member.
    pub fn node(&self, number: usize) -> Option<Node> {
        self.nodes[number].borrow().clone()
    }

    /// Chunks of snapshots sent so far.
    pub fn chunks(&self) -> u32 {
        self.chunks.get()
    }

    pub fn switched(&self, number: usize, node: Option<Node>) {
        self.inboxes[number].clear();
        self.nodes[number].replace(node);
    }

    fn send(&self, from: usize, to: usize, frame: &Frame) -> Result<(), Unreachable> {
        if self.nodes[to].borrow().is_none() {
            return Err(Unreachable);
        }
        let bytes = postcard::to_allocvec(frame).map_err(|_| Unreachable)?;
        self.inboxes[to].try_send((from, bytes)).map_err(|_| Unreachable)
    }

    /// Hands what arrives to the member's node, for ever.
    pub async fn receive(&self, number: usize, raft: &nacolet_raft::Raft<Member>) -> ! {
        loop {
            let (from, bytes) = self.inboxes[number].receive().await;
            // What cannot be decoded or is too much for now is lost, as messages may be.
            match postcard::from_bytes(&bytes) {
                Ok(Frame::Message(message)) => drop(raft.receive(id(from), message)),
                Ok(Frame::Chunk { term, meta, offset, chunk }) => {
                    let held = raft.receive_chunk(id(from), term, meta, offset, chunk).await;
                    let _ = self.send(number, from, &Frame::Held(held.ok()));
                }
                Ok(Frame::Held(held)) => self.held[number][from].signal(held),
                Err(_) => {}
            }
        }
    }
}

/// A member's place on the board as its identity.
pub fn id(number: usize) -> NodeId {
    NodeId(number as u64)
}

/// Makes the connections of one member.
pub struct Wires {
    pub board: &'static Board,
    pub from: usize,
}

/// A connection to another member.
pub struct Wire {
    board: &'static Board,
    from: usize,
    to: usize,
}

impl RaftNetworkFactory for Wires {
    type Network = Wire;

    fn connect(&mut self, target: NodeId, _address: &str) -> Wire {
        Wire { board: self.board, from: self.from, to: target.0 as usize }
    }
}

impl RaftNetwork for Wire {
    fn send(&mut self, message: Message) -> LocalBoxFuture<'_, Result<(), Unreachable>> {
        let sent = self.board.send(self.from, self.to, &Frame::Message(message));
        Box::pin(core::future::ready(sent))
    }

    fn send_chunk(
        &mut self,
        term: Term,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'_, Result<u64, Unreachable>> {
        let held = &self.board.held[self.from][self.to];
        held.reset();
        let frame = Frame::Chunk { term, meta: meta.clone(), offset, chunk };
        let sent = self.board.send(self.from, self.to, &frame);
        self.board.chunks.set(self.board.chunks.get() + 1);
        Box::pin(async move {
            sent?;
            with_timeout(CHUNK_TIMEOUT, held.wait()).await.ok().flatten().ok_or(Unreachable)
        })
    }
}
