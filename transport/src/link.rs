//! The outgoing link to one peer: what waits for it goes out, answers come in. The link connects
//! when there is something to say, and after a failure not before a pause has passed; meanwhile it
//! answers at once that nobody is there.
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
use std::rc::Rc;
use std::time::Duration;

use nacolet_model::{NodeId, Prng, limits};
use smol::channel::Receiver;
use smol::future;
use smol::io::AsyncReadExt;
use smol::net::TcpStream;

use crate::frame::{FrameError, Opener, Sealer};
use crate::handshake::{HandshakeError, Session};
use crate::message::{Introduction, Kind, Reply};
use crate::peer::{
    CallAnswer, CallError, Encoded, LinkEnd, LinkItem, LinkState, LinkStatus, Peer, QueuedCall,
    Queues,
};
use crate::shared::LinkTable;
use crate::socket;

/// Calls that were sent, by their number.
#[derive(Default)]
struct SentCalls {
    answers: BTreeMap<u64, CallAnswer>,
    last: u64,
}

impl SentCalls {
    /// A number for this call; none when too many wait already.
    fn add(&mut self, answer: CallAnswer) -> Option<u64> {
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
    #[error("this node is no guest any more")]
    Joined,
    #[error("nobody is left who would say anything")]
    Unused,
}

/// The future of one outgoing link.
pub(crate) struct Link {
    node: NodeId,
    shared: Rc<LinkTable>,
    queues: Queues,
    nudged: Receiver<()>,
    state: Rc<LinkState>,
    prng: Prng,
    /// Attempts that failed since the link was last up for longer than a pause: one that is closed
    /// as soon as it is open counts as failed.
    failures: Cell<u32>,
    /// A message of Distro went into the connection: whether it arrived is known to nobody.
    told: Cell<bool>,
}

impl Link {
    /// What is said to `node` at `address` goes into the first, and is sent by the second.
    pub(crate) fn new(shared: Rc<LinkTable>, node: NodeId, address: &str) -> (Rc<Peer>, Self) {
        let (peer, LinkEnd { queues, nudged, state }) = Peer::new(address);
        let (prng, failures, told) = (shared.fork_prng(), Cell::new(0), Cell::new(false));
        (peer, Self { node, shared, queues, nudged, state, prng, failures, told })
    }

    pub(crate) async fn run(mut self) {
        while let Some(first) = self.queues.next().await {
            self.state.status.set(LinkStatus::Connecting);
            // What it is when it begins to connect is what it says that it is.
            let is_guest = self.shared.cluster.get().is_none();
            match self.connect().await {
                Ok((stream, session, address)) => {
                    address.clone_into(&mut self.state.connected.borrow_mut());
                    self.state.status.set(LinkStatus::Up);
                    if self.shared.unreachable.contains(self.node) {
                        tracing::info!(peer = %self.node, %address, "a member is reached again");
                    }
                    self.shared.unreachable.set(self.node, false);
                    tracing::debug!(peer = %self.node, "connected");
                    let why = self.exchange(stream, session, (&address, is_guest), first).await;
                    tracing::debug!(peer = %self.node, %why, "disconnected");
                    if matches!(why, Broken::Unused) {
                        return;
                    }
                }
                Err(error) => {
                    if !self.shared.unreachable.contains(self.node) {
                        let address = self.state.address.borrow();
                        tracing::warn!(peer = %self.node, %address, %error, "a member is not reached");
                    }
                    self.shared.unreachable.set(self.node, true);
                    self.unreached(first);
                }
            }
            self.state.status.set(LinkStatus::Down);
            while let Some(item) = self.queues.try_next() {
                self.unreached(item);
            }
            if self.told.take() {
                self.shared.untold(self.node);
            }
            self.pause().await;
            self.state.status.set(LinkStatus::Idle);
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

    /// Connects to the address that was given. Where nobody answers there, or not at once, the one
    /// at which the peer was met last is tried beside it: a peer that moved is found before the
    /// membership says where it is.
    async fn connect(&self) -> Result<(TcpStream, Session, String), HandshakeError> {
        let given = self.state.address.borrow().clone();
        if given.is_empty() {
            return self.connect_to(self.shared.learned(self.node)).await;
        }
        let as_given = async {
            match (self.connect_to(given.clone()).await, self.met_elsewhere(&given)) {
                (Err(_), Some(met)) => self.connect_to(met).await,
                (outcome, _) => outcome,
            }
        };
        let as_met = async {
            loop {
                smol::Timer::after(limits::PEER_HEAD_START).await;
                if let Some(met) = self.met_elsewhere(&given)
                    && let Ok(connected) = self.connect_to(met).await
                {
                    return Ok(connected);
                }
            }
        };
        future::or(as_given, as_met).await
    }

    async fn connect_to(
        &self,
        address: String,
    ) -> Result<(TcpStream, Session, String), HandshakeError> {
        let (stream, session) = self.shared.connect(&address, Some(self.node), false).await?;
        Ok((stream, session, address))
    }

    fn met_elsewhere(&self, given: &str) -> Option<String> {
        Some(self.shared.learned(self.node)).filter(|met| !met.is_empty() && met != given)
    }

    async fn exchange(
        &self,
        stream: TcpStream,
        session: Session,
        (address, is_guest): (&str, bool),
        first: LinkItem,
    ) -> Broken {
        let given = self.state.address.borrow().clone();
        let pending = RefCell::new(SentCalls::default());
        let Session { sealer, opener, .. } = session;
        let reads = self.read(stream.clone(), opener, &pending);
        let writes = self.write(stream, sealer, &pending, first);
        let moves = async {
            while self.nudged.recv().await.is_ok() {
                if is_guest && self.shared.cluster.get().is_some() {
                    return Broken::Joined;
                }
                let now = self.state.address.borrow();
                if !now.is_empty() && *now != address && *now != given {
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
        pending: &RefCell<SentCalls>,
        first: LinkItem,
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

    fn seal(
        &self,
        sealer: &mut Sealer,
        pending: &RefCell<SentCalls>,
        item: LinkItem,
        out: &mut Vec<u8>,
    ) {
        let sealed = match item {
            LinkItem::Raft(message) => sealer.seal(Kind::Raft, &message, out),
            LinkItem::Distro(message) => {
                self.took_out(&message);
                self.told.set(true);
                sealer.seal_encoded(Kind::Distro, &message, out)
            }
            LinkItem::Call(QueuedCall { call, answer }) => {
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
    fn unreached(&self, item: LinkItem) {
        match item {
            LinkItem::Raft(_) => {}
            LinkItem::Distro(message) => {
                self.took_out(&message);
                self.shared.untold(self.node);
            }
            LinkItem::Call(QueuedCall { answer, .. }) => {
                let _ = answer.send(Err(CallError::Unreachable));
            }
        }
    }

    /// Reads answers until the connection breaks.
    async fn read(
        &self,
        mut stream: TcpStream,
        mut opener: Opener,
        pending: &RefCell<SentCalls>,
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

    fn take(&self, opener: &mut Opener, pending: &RefCell<SentCalls>) -> Result<(), FrameError> {
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
