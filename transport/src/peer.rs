//! One outgoing link per peer: what is said to it waits in bounded queues, one per kind of traffic, and
//! Raft's messages go first, so that a snapshot never delays a heartbeat by more than one chunk; those
//! of Distro are next. The link connects when there is something to say, and after a failure not before a pause has passed;
//! meanwhile it answers at once that nobody is there.
//!
//! ```text
//!          something to say             handshake done
//!  Idle ───────────────────► Connecting ───────────────► Up
//!   ▲                            │ failed                 │ broken
//!   └────────── pause, or ───────┴────────► Down ◄────────┘
//!               the peer called
//! ```

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use nacolet_model::{NodeId, Prng, limits};
use nacolet_raft::{
    LocalBoxFuture, Message, RaftNetwork, SnapshotChunk, SnapshotMeta, Term, Unreachable,
};
use smol::channel::{self, Receiver, Sender, TrySendError};
use smol::future;
use smol::io::AsyncReadExt;
use smol::net::TcpStream;

use crate::frame::{FrameError, Opener, Sealer};
use crate::handshake::{HandshakeError, Session};
use crate::message::{Call, Chunk, Introduction, Kind, Reply};
use crate::socket;
use crate::transport::Shared;

/// Raft messages handed to the link and not yet written. Few: behind them, each ReplicationCore has a
/// queue of its own that forgets the oldest.
const RAFT_QUEUE_MAX: usize = 16;
/// Snapshot chunks on their way to a link: each waits for its answer before the next is read.
const BULK_QUEUE_MAX: usize = 2;

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

type Answer = oneshot::Sender<Result<Reply, CallError>>;

/// A call on its way out.
struct Ask {
    call: Call,
    answer: Answer,
}

/// How a link is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Idle,
    Connecting,
    Up,
    Down,
}

/// What both ends of the queues see.
struct LinkState {
    address: RefCell<String>,
    status: Cell<Status>,
    /// Bytes of the Distro messages in the queue.
    distro_bytes: Cell<usize>,
}

/// The end of a link that is spoken into. The link ends with the last of them.
pub(crate) struct Peer {
    raft: Sender<Message>,
    distro: Sender<Encoded>,
    calls: Sender<Ask>,
    bulk: Sender<Ask>,
    nudge: Sender<()>,
    state: Rc<LinkState>,
}

impl Peer {
    /// A link to `node` at `address`, and its future.
    pub(crate) fn new(shared: Rc<Shared>, node: NodeId, address: &str) -> (Rc<Self>, Link) {
        let (raft, raft_out) = channel::bounded(RAFT_QUEUE_MAX);
        let (distro, distro_out) = channel::bounded(limits::DISTRO_QUEUE_MAX);
        let (calls, calls_out) = channel::bounded(limits::PEER_QUEUE_MAX);
        let (bulk, bulk_out) = channel::bounded(BULK_QUEUE_MAX);
        let (nudge, nudged) = channel::bounded(1);
        let address = RefCell::new(address.to_owned());
        let state = Rc::new(LinkState {
            address,
            status: Cell::new(Status::Idle),
            distro_bytes: Cell::new(0),
        });
        let link = Link {
            node,
            queues: Queues { raft: raft_out, distro: distro_out, calls: calls_out, bulk: bulk_out },
            nudged,
            state: Rc::clone(&state),
            prng: shared.fork_prng(),
            shared,
            failures: Cell::new(0),
            told: Cell::new(false),
        };
        (Rc::new(Self { raft, distro, calls, bulk, nudge, state }), link)
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
        self.state.status.get() == Status::Up
    }

    fn is_down(&self) -> bool {
        self.state.status.get() == Status::Down
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

    async fn ask(&self, queue: &Sender<Ask>, call: Call) -> Result<Reply, CallError> {
        if self.is_down() {
            return Err(CallError::Unreachable);
        }
        let (answer, answered) = oneshot::channel();
        match queue.try_send(Ask { call, answer }) {
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
enum Item {
    Raft(Message),
    Distro(Encoded),
    Ask(Ask),
}

struct Queues {
    raft: Receiver<Message>,
    distro: Receiver<Encoded>,
    calls: Receiver<Ask>,
    bulk: Receiver<Ask>,
}

impl Queues {
    /// What is waiting, the most urgent first.
    fn try_next(&self) -> Option<Item> {
        let raft = self.raft.try_recv().ok().map(Item::Raft);
        let distro = || self.distro.try_recv().ok().map(Item::Distro);
        let calls = || self.calls.try_recv().ok().map(Item::Ask);
        let bulk = || self.bulk.try_recv().ok().map(Item::Ask);
        raft.or_else(distro).or_else(calls).or_else(bulk)
    }

    /// The next thing to say; none when nobody is left to say anything.
    async fn next(&self) -> Option<Item> {
        let raft = async { self.raft.recv().await.ok().map(Item::Raft) };
        let distro = async { self.distro.recv().await.ok().map(Item::Distro) };
        let calls = async { self.calls.recv().await.ok().map(Item::Ask) };
        let bulk = async { self.bulk.recv().await.ok().map(Item::Ask) };
        future::or(raft, future::or(distro, future::or(calls, bulk))).await
    }
}

/// Calls that were sent, by their number.
#[derive(Default)]
struct Pending {
    answers: BTreeMap<u64, Answer>,
    last: u64,
}

impl Pending {
    /// A number for this call; none when too many wait already.
    fn add(&mut self, answer: Answer) -> Option<u64> {
        if self.answers.len() >= limits::PEER_CALLS_MAX {
            self.answers.retain(|_, answer| !answer.is_canceled());
        }
        if self.answers.len() >= limits::PEER_CALLS_MAX {
            let _ = answer.send(Err(CallError::Busy));
            return None;
        }
        self.last += 1;
        self.answers.insert(self.last, answer);
        Some(self.last)
    }
}

/// Why an open link ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer moved to another address")]
    Moved,
    #[error("nobody is left who would say anything")]
    Unused,
}

/// The future of one outgoing link.
pub(crate) struct Link {
    node: NodeId,
    shared: Rc<Shared>,
    queues: Queues,
    nudged: Receiver<()>,
    state: Rc<LinkState>,
    prng: Prng,
    /// Attempts that failed since the link was last up for longer than a pause: one that is closed as
    /// soon as it is open counts as failed.
    failures: Cell<u32>,
    /// A message of Distro went into the connection: whether it arrived is known to nobody.
    told: Cell<bool>,
}

impl Link {
    pub(crate) async fn run(mut self) {
        while let Some(first) = self.queues.next().await {
            self.state.status.set(Status::Connecting);
            match self.connect().await {
                Ok((stream, session, address)) => {
                    self.state.status.set(Status::Up);
                    self.shared.unreachable.set(self.node, false);
                    tracing::debug!(peer = %self.node, "connected");
                    let why = self.exchange(stream, session, &address, first).await;
                    tracing::debug!(peer = %self.node, %why, "disconnected");
                    if matches!(why, Broken::Unused) {
                        return;
                    }
                }
                Err(error) => {
                    if self.failures.get() == 0 {
                        tracing::warn!(peer = %self.node, %error, "cannot be reached");
                    }
                    self.shared.unreachable.set(self.node, true);
                    self.unreached(first);
                }
            }
            self.state.status.set(Status::Down);
            while let Some(item) = self.queues.try_next() {
                self.unreached(item);
            }
            if self.told.take() {
                self.shared.untold(self.node);
            }
            self.pause().await;
            self.state.status.set(Status::Idle);
        }
        // Nobody speaks to it any more: whether it is there is not known.
        self.shared.unreachable.set(self.node, false);
    }

    /// Doubles from `retry_min` to `retry_max`, between half and all of it.
    async fn pause(&mut self) {
        let patience = &self.shared.patience;
        let doubled = patience.retry_min * (1 << self.failures.get().min(16));
        let longest = doubled.min(patience.retry_max);
        self.failures.set(self.failures.get().saturating_add(1));
        let micros = u64::try_from(longest.as_micros() / 2).unwrap_or(u64::MAX);
        let pause = longest / 2 + Duration::from_micros(self.prng.below(micros));
        let nudged = async {
            // The sender outlives the pause, or the link ends after it.
            let _ = self.nudged.recv().await;
        };
        let rested = async {
            smol::Timer::after(pause).await;
        };
        future::or(nudged, rested).await;
    }

    async fn connect(&self) -> Result<(TcpStream, Session, String), HandshakeError> {
        let known = self.state.address.borrow().clone();
        let address = if known.is_empty() { self.shared.learned(self.node) } else { known };
        let (stream, session) = self.shared.connect(&address, Some(self.node), false).await?;
        Ok((stream, session, address))
    }

    async fn exchange(
        &self,
        stream: TcpStream,
        session: Session,
        address: &str,
        first: Item,
    ) -> Broken {
        let pending = RefCell::new(Pending::default());
        let Session { sealer, opener, .. } = session;
        let reads = self.read(stream.clone(), opener, &pending);
        let writes = self.write(stream, sealer, &pending, first);
        let moves = async {
            while self.nudged.recv().await.is_ok() {
                let now = self.state.address.borrow();
                if !now.is_empty() && *now != address {
                    return Broken::Moved;
                }
            }
            future::pending().await
        };
        let settles = async {
            smol::Timer::after(self.shared.patience.retry_max).await;
            self.failures.set(0);
            future::pending().await
        };
        future::or(writes, future::or(reads, future::or(moves, settles))).await
    }

    /// Writes until the connection breaks; many small frames in one write.
    async fn write(
        &self,
        mut stream: TcpStream,
        mut sealer: Sealer,
        pending: &RefCell<Pending>,
        first: Item,
    ) -> Broken {
        let mut out = Vec::new();
        let introduction = Introduction { address: self.shared.address.clone() };
        if let Err(error) = sealer.seal(Kind::Introduction, &introduction, &mut out) {
            return error.into();
        }
        let mut next = Some(first);
        loop {
            while let Some(item) = next.take().or_else(|| self.queues.try_next()) {
                self.seal(&mut sealer, pending, item, &mut out);
                if out.len() >= limits::PEER_WRITE_BYTES {
                    break;
                }
            }
            if let Err(error) =
                socket::write_all(&mut stream, &out, self.shared.patience.stall).await
            {
                return error.into();
            }
            out.clear();
            out.shrink_to(2 * limits::PEER_WRITE_BYTES);
            next = match self.queues.next().await {
                Some(item) => Some(item),
                None => return Broken::Unused,
            };
        }
    }

    fn seal(&self, sealer: &mut Sealer, pending: &RefCell<Pending>, item: Item, out: &mut Vec<u8>) {
        let sealed = match item {
            Item::Raft(message) => sealer.seal(Kind::Raft, &message, out),
            Item::Distro(message) => {
                self.took_out(&message);
                self.told.set(true);
                sealer.seal_encoded(Kind::Distro, &message, out)
            }
            Item::Ask(Ask { call, answer }) => {
                // Whoever has given up is spared the work.
                if answer.is_canceled() {
                    return;
                }
                let Some(number) = pending.borrow_mut().add(answer) else { return };
                let sealed = sealer.seal(Kind::Call, &(number, call), out);
                if sealed.is_err()
                    && let Some(answer) = pending.borrow_mut().answers.remove(&number)
                {
                    let _ = answer.send(Err(CallError::Unreachable));
                }
                sealed
            }
        };
        if let Err(error) = sealed {
            self.shared.counters(|counters| counters.unsent += 1);
            tracing::warn!(peer = %self.node, %error, "not sent");
        }
    }

    fn took_out(&self, message: &Encoded) {
        let bytes = &self.state.distro_bytes;
        bytes.set(bytes.get() - message.len());
    }

    /// Tells the sender of what will not be sent; a lost message of Raft needs no word.
    fn unreached(&self, item: Item) {
        match item {
            Item::Raft(_) => {}
            Item::Distro(message) => {
                self.took_out(&message);
                self.shared.untold(self.node);
            }
            Item::Ask(Ask { answer, .. }) => {
                let _ = answer.send(Err(CallError::Unreachable));
            }
        }
    }

    /// Reads answers until the connection breaks.
    async fn read(
        &self,
        mut stream: TcpStream,
        mut opener: Opener,
        pending: &RefCell<Pending>,
    ) -> Broken {
        loop {
            match stream.read(opener.space()).await {
                Ok(0) => return Broken::Closed,
                Ok(bytes) => opener.filled(bytes),
                Err(error) => return error.into(),
            }
            if let Err(error) = self.take(&mut opener, pending) {
                self.shared.counters(|counters| counters.broken_frames += 1);
                return error.into();
            }
        }
    }

    fn take(&self, opener: &mut Opener, pending: &RefCell<Pending>) -> Result<(), FrameError> {
        while let Some(frame) = opener.open()? {
            if Kind::of(frame.kind) != Some(Kind::Reply) {
                self.shared.counters(|counters| counters.ignored_frames += 1);
                continue;
            }
            let (number, reply) = frame.decode::<(u64, Reply)>()?;
            if let Some(answer) = pending.borrow_mut().answers.remove(&number) {
                // Nobody waits any more: then nobody misses it.
                let _ = answer.send(Ok(reply));
            }
        }
        Ok(())
    }
}
