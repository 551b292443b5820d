//! What is said to one peer waits in bounded queues, one per kind of traffic, until its link takes
//! it: Raft's messages go first, so that a snapshot never delays a heartbeat by more than one
//! chunk; those of Distro are next.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use futures_channel::oneshot;
use nacolet_model::limits;
use nacolet_raft::{
    LocalBoxFuture, Message, RaftNetwork, SnapshotChunk, SnapshotMeta, Term, Unreachable,
};
use smol::channel::{self, Receiver, Sender, TrySendError};
use smol::future;

use crate::message::{Call, Chunk, Reply};
use crate::socket;

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It was not sent: nothing happened.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// Too many calls wait for this peer: nothing happened.
    #[error("too many calls wait for the peer")]
    Busy,
    /// It was sent and not answered: nobody knows what happened.
    #[error("the peer did not answer")]
    Lost,
}

/// A message of Distro, encoded once for all peers that get it.
pub(crate) type Encoded = Rc<[u8]>;

/// Where the answer to a call goes.
pub(crate) type CallAnswer = oneshot::Sender<Result<Reply, CallError>>;

/// A call on its way out.
pub(crate) struct QueuedCall {
    pub(crate) call: Call,
    pub(crate) answer: CallAnswer,
}

/// How a link is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkStatus {
    Idle,
    Connecting,
    Up,
    Down,
}

/// What both ends of the queues see.
pub(crate) struct LinkState {
    pub(crate) address: RefCell<String>,
    pub(crate) status: Cell<LinkStatus>,
    /// Where the open connection leads, which may be another place than `address`.
    pub(crate) connected: RefCell<String>,
    /// Bytes of the Distro messages in the queue.
    pub(crate) distro_bytes: Cell<usize>,
}

/// The end of a link that is spoken into. The link ends with the last of them.
pub(crate) struct Peer {
    raft: Sender<Message>,
    distro: Sender<Encoded>,
    calls: Sender<QueuedCall>,
    bulk: Sender<QueuedCall>,
    nudge: Sender<()>,
    state: Rc<LinkState>,
}

/// The end that is listened to, by the link.
pub(crate) struct LinkEnd {
    pub(crate) queues: Queues,
    pub(crate) nudged: Receiver<()>,
    pub(crate) state: Rc<LinkState>,
}

impl Peer {
    /// Both ends of what is said to a peer at `address`.
    pub(crate) fn new(address: &str) -> (Rc<Self>, LinkEnd) {
        let (raft, raft_out) = channel::bounded(limits::LINK_RAFT_MESSAGES_MAX);
        let (distro, distro_out) = channel::bounded(limits::DISTRO_QUEUE_MAX);
        let (calls, calls_out) = channel::bounded(limits::PEER_QUEUE_MAX);
        let (bulk, bulk_out) = channel::bounded(limits::LINK_CHUNKS_MAX);
        let (nudge, nudged) = channel::bounded(1);
        let address = RefCell::new(address.to_owned());
        let state = Rc::new(LinkState {
            address,
            status: Cell::new(LinkStatus::Idle),
            connected: RefCell::default(),
            distro_bytes: Cell::new(0),
        });
        let queues =
            Queues { raft: raft_out, distro: distro_out, calls: calls_out, bulk: bulk_out };
        let end = LinkEnd { queues, nudged, state: Rc::clone(&state) };
        (Rc::new(Self { raft, distro, calls, bulk, nudge, state }), end)
    }

    /// Another address; an open connection to the old one is given up.
    pub(crate) fn set_address(&self, address: &str) {
        if !address.is_empty() && *self.state.address.borrow() != address {
            address.clone_into(&mut self.state.address.borrow_mut());
            self.nudge();
        }
    }

    /// Ends the pause after a failure: the peer is there.
    pub(crate) fn nudge(&self) {
        // A full channel has a nudge in it already.
        let _ = self.nudge.try_send(());
    }

    /// Whether it is said to listen at this address, written as a number.
    pub(crate) fn is_at(&self, ip: IpAddr) -> bool {
        let address = self.state.address.borrow();
        let host = address.rsplit_once(':').map_or(&**address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.parse::<IpAddr>().is_ok_and(|known| known.to_canonical() == ip)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state.status.get() == LinkStatus::Up
    }

    pub(crate) fn is_up_at(&self, address: &str) -> bool {
        self.is_up() && *self.state.connected.borrow() == address
    }

    fn is_down(&self) -> bool {
        self.state.status.get() == LinkStatus::Down
    }

    /// Queues a message of Distro. False when the peer is away or too much waits for it already.
    pub(crate) fn tell(&self, message: &Encoded) -> bool {
        let waiting = self.state.distro_bytes.get();
        let is_full = waiting > 0 && waiting + message.len() > limits::DISTRO_QUEUE_BYTES_MAX;
        if self.is_down() || is_full || self.distro.try_send(Rc::clone(message)).is_err() {
            return false;
        }
        self.state.distro_bytes.set(waiting + message.len());
        true
    }

    pub(crate) async fn call(&self, call: Call) -> Result<Reply, CallError> {
        self.ask(&self.calls, call).await
    }

    async fn ask(&self, queue: &Sender<QueuedCall>, call: Call) -> Result<Reply, CallError> {
        if self.is_down() {
            return Err(CallError::Unreachable);
        }
        let (answer, answered) = oneshot::channel();
        match queue.try_send(QueuedCall { call, answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(CallError::Busy),
            Err(TrySendError::Closed(_)) => return Err(CallError::Unreachable),
        }
        match socket::within(limits::PEER_CALL_TIMEOUT, answered).await {
            Some(Ok(result)) => result,
            Some(Err(oneshot::Canceled)) | None => Err(CallError::Lost),
        }
    }
}

/// Raft's connection to one peer.
pub struct PeerNetwork(pub(crate) Rc<Peer>);

impl RaftNetwork for PeerNetwork {
    fn send(&mut self, message: Message) -> LocalBoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async move {
            if self.0.is_down() {
                return Err(Unreachable);
            }
            self.0.raft.send(message).await.ok().ok_or(Unreachable)
        })
    }

    fn send_chunk(
        &mut self,
        term: Term,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'_, Result<u64, Unreachable>> {
        let call = Call::Chunk(Box::new(Chunk { term, meta: meta.clone(), offset, chunk }));
        Box::pin(async move {
            match self.0.ask(&self.0.bulk, call).await {
                Ok(Reply::Held(offset)) => Ok(offset),
                Ok(_) | Err(_) => Err(Unreachable),
            }
        })
    }
}

/// Something to say.
pub(crate) enum LinkItem {
    Raft(Message),
    Distro(Encoded),
    Call(QueuedCall),
}

/// What waits for the link.
pub(crate) struct Queues {
    pub(crate) raft: Receiver<Message>,
    pub(crate) distro: Receiver<Encoded>,
    pub(crate) calls: Receiver<QueuedCall>,
    pub(crate) bulk: Receiver<QueuedCall>,
}

impl Queues {
    /// What is waiting, the most urgent first.
    pub(crate) fn try_next(&self) -> Option<LinkItem> {
        let raft = self.raft.try_recv().ok().map(LinkItem::Raft);
        let distro = || self.distro.try_recv().ok().map(LinkItem::Distro);
        let calls = || self.calls.try_recv().ok().map(LinkItem::Call);
        let bulk = || self.bulk.try_recv().ok().map(LinkItem::Call);
        raft.or_else(distro).or_else(calls).or_else(bulk)
    }

    /// The next thing to say; none when nobody is left to say anything.
    pub(crate) async fn next(&self) -> Option<LinkItem> {
        let raft = async { self.raft.recv().await.ok().map(LinkItem::Raft) };
        let distro = async { self.distro.recv().await.ok().map(LinkItem::Distro) };
        let calls = async { self.calls.recv().await.ok().map(LinkItem::Call) };
        let bulk = async { self.bulk.recv().await.ok().map(LinkItem::Call) };
        future::or(raft, future::or(distro, future::or(calls, bulk))).await
    }
}
