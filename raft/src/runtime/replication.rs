//! One ReplicationCore per peer: it owns the connection to that peer and sends what RaftCore
//! queued, so that a peer that hangs holds up nobody else. A snapshot goes out in chunks, and
//! between two chunks everything that was queued meanwhile goes first: heartbeats are never further
//! behind than one chunk. All of them live in one future, [`Replications`], because peers come and
//! go while the set of tasks of a node is fixed at start.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use futures_channel::oneshot;
use futures_lite::future::or;
use nacolet_model::{Instant, NodeId, limits};

use super::messages::{Notice, ReadChunk, WorkerOrder};
use super::queue::{Inbox, Outbox, Weight, until, weighed};
use super::traits::{
    LocalBoxFuture, RaftNetwork, RaftNetworkFactory, RaftStateMachine, SnapshotChunk,
    SnapshotError, Timer,
};
use crate::engine::Message;
use crate::types::{LogId, Membership, SnapshotMeta, Term};

/// What is sent to one peer.
enum ToPeer {
    Message(Message),
    /// Boxed: the queue is allocated for as many as it holds, and nearly all are messages.
    Snapshot(Box<SnapshotTransfer>),
}

impl ToPeer {
    /// What it keeps in memory.
    fn bytes(&self) -> usize {
        match self {
            Self::Message(message) => message.entries_bytes(),
            Self::Snapshot(_) => 0,
        }
    }
}

/// RaftCore's end of one ReplicationCore. Dropping it ends that core at once, hung or not.
struct ReplicationHandle {
    outbox: Outbox<ToPeer>,
    address: String,
    closed: Rc<Closed>,
}

#[derive(Default)]
struct Closed {
    closed: core::cell::Cell<bool>,
    waker: AtomicWaker,
}

impl Drop for ReplicationHandle {
    fn drop(&mut self) {
        self.closed.closed.set(true);
        self.closed.waker.wake();
    }
}

/// What the peers' side is made of.
pub(crate) struct PeersStart<S: RaftStateMachine, N, T> {
    pub(crate) factory: N,
    pub(crate) timer: T,
    pub(crate) worker: Outbox<WorkerOrder<S>>,
    pub(crate) notices: Outbox<Notice>,
    /// Slots of the queue to each peer.
    pub(crate) queue_max: usize,
}

/// All peers, as RaftCore sees them.
pub(crate) struct Peers<S: RaftStateMachine, N, T> {
    factory: N,
    timer: T,
    worker: Outbox<WorkerOrder<S>>,
    notices: Outbox<Notice>,
    queue_max: usize,
    handles: BTreeMap<NodeId, ReplicationHandle>,
    /// Addresses of the membership in force.
    addresses: BTreeMap<NodeId, String>,
    arrivals: Rc<Arrivals>,
    dropped: u64,
}

/// ReplicationCores on their way from RaftCore to [`Replications`].
#[derive(Default)]
struct Arrivals {
    futures: RefCell<Vec<LocalBoxFuture<'static, ()>>>,
    closed: core::cell::Cell<bool>,
    waker: AtomicWaker,
}

impl<S: RaftStateMachine, N, T> Drop for Peers<S, N, T> {
    fn drop(&mut self) {
        self.arrivals.closed.set(true);
        self.arrivals.waker.wake();
    }
}

impl<S, N, T> Peers<S, N, T>
where
    S: RaftStateMachine + 'static,
    N: RaftNetworkFactory,
    N::Network: 'static,
    T: Timer + 'static,
{
    pub(crate) fn new(start: PeersStart<S, N, T>) -> (Self, Replications) {
        let arrivals = Rc::<Arrivals>::default();
        let replications = Replications { arrivals: Rc::clone(&arrivals), cores: Vec::new() };
        let peers = Self {
            factory: start.factory,
            timer: start.timer,
            worker: start.worker,
            notices: start.notices,
            queue_max: start.queue_max,
            handles: BTreeMap::new(),
            addresses: BTreeMap::new(),
            arrivals,
            dropped: 0,
        };
        (peers, replications)
    }

    /// Messages that found a full queue, so far.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Queues a message; the oldest one gives way when the peer takes none.
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.queue(to, ToPeer::Message(message));
    }

    /// Begins to send the snapshot `meta` in the name of the leader of `term`.
    pub(crate) fn send_snapshot(&mut self, to: NodeId, term: Term, meta: SnapshotMeta) {
        let transfer = SnapshotTransfer {
            to,
            term,
            meta,
            offset: 0,
            failures: 0,
            retry_at: None,
            notices: Some(self.notices.clone()),
        };
        self.queue(to, ToPeer::Snapshot(Box::new(transfer)));
    }

    /// There is no snapshot that could be sent.
    pub(crate) fn no_snapshot(&self, to: NodeId) {
        let last = LogId::default();
        let _ = self.notices.send(Notice::SnapshotSent { to, last, delivered: false });
    }

    /// Takes over the addresses of the membership in force. Whoever has left keeps its connection,
    /// to hear of it, until room is needed.
    pub(crate) fn update(&mut self, membership: &Membership) {
        self.addresses.clone_from(&membership.addresses);
        let addresses = &self.addresses;
        self.handles.retain(|id, handle| {
            addresses.get(id).is_none_or(|address| *address == handle.address)
        });
    }

    fn queue(&mut self, to: NodeId, outgoing: ToPeer) {
        if !self.handles.contains_key(&to) {
            self.connect(to);
        }
        let Some(handle) = self.handles.get(&to) else { return };
        self.dropped += handle.outbox.force_send(outgoing);
    }

    fn connect(&mut self, to: NodeId) {
        let strangers = self.handles.keys().filter(|id| !self.addresses.contains_key(id));
        if !self.addresses.contains_key(&to) && strangers.clone().count() >= limits::MEMBERS_MAX {
            let evicted = strangers.min().copied();
            evicted.and_then(|id| self.handles.remove(&id));
        }
        let address = self.addresses.get(&to).cloned().unwrap_or_default();
        let waker = Arc::<AtomicWaker>::default();
        let weight = Weight { bytes_max: limits::RAFT_SEND_QUEUE_BYTES_MAX, of: ToPeer::bytes };
        let (outbox, inbox) = weighed(Some(self.queue_max), weight, &waker);
        let closed = Rc::<Closed>::default();
        let core = ReplicationCore {
            peer: to,
            network: self.factory.connect(to, &address),
            timer: self.timer.clone(),
            inbox,
            waker,
            worker: self.worker.clone(),
            notices: self.notices.clone(),
            transfer: None,
            reachable: true,
        };
        let end = Rc::clone(&closed);
        let future = or(core.run(), async move {
            until(&end.waker, |_| end.closed.get()).await;
        });
        self.arrivals.futures.borrow_mut().push(Box::pin(future));
        self.arrivals.waker.wake();
        self.handles.insert(to, ReplicationHandle { outbox, address, closed });
    }
}

/// The future of every ReplicationCore; ends after RaftCore.
pub(crate) struct Replications {
    arrivals: Rc<Arrivals>,
    cores: Vec<LocalBoxFuture<'static, ()>>,
}

impl Future for Replications {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { arrivals, cores } = &mut *self;
        arrivals.waker.register(context.waker());
        cores.append(&mut arrivals.futures.borrow_mut());
        // A handful of peers: asking each on every wake is cheaper than a waker of its own for
        // each.
        cores.retain_mut(|core| core.as_mut().poll(context).is_pending());
        if arrivals.closed.get() && cores.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A snapshot on its way. However it ends, and be it with the connection, RaftCore hears of it.
struct SnapshotTransfer {
    to: NodeId,
    term: Term,
    meta: SnapshotMeta,
    /// What the peer holds.
    offset: u64,
    failures: u32,
    /// After a failure: not before this.
    retry_at: Option<Instant>,
    /// Taken when the end is reported, or when another transfer goes on in its place.
    notices: Option<Outbox<Notice>>,
}

impl SnapshotTransfer {
    fn end(&mut self, delivered: bool) {
        if let Some(notices) = self.notices.take() {
            let last = self.meta.last;
            let _ = notices.send(Notice::SnapshotSent { to: self.to, last, delivered });
        }
    }
}

impl Drop for SnapshotTransfer {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// The task of one peer.
struct ReplicationCore<S: RaftStateMachine, C, T> {
    peer: NodeId,
    network: C,
    timer: T,
    inbox: Inbox<ToPeer>,
    waker: Arc<AtomicWaker>,
    worker: Outbox<WorkerOrder<S>>,
    notices: Outbox<Notice>,
    transfer: Option<Box<SnapshotTransfer>>,
    /// Whether the last send got through: the engine hears of the first failure of a row.
    reachable: bool,
}

/// How one chunk went.
enum ChunkStep {
    Sent { held: u64, last: bool },
    Unreachable,
    Lost,
}

impl<S: RaftStateMachine, C: RaftNetwork, T: Timer> ReplicationCore<S, C, T> {
    async fn run(mut self) {
        loop {
            while let Some(outgoing) = self.inbox.take() {
                match outgoing {
                    ToPeer::Message(message) => self.send(message).await,
                    ToPeer::Snapshot(transfer) => self.begin(transfer),
                }
            }
            let queued = until(&self.waker, |_| !self.inbox.is_empty());
            match self.transfer.as_ref().map(|transfer| transfer.retry_at) {
                None => queued.await,
                Some(Some(at)) if at > self.timer.now() => or(queued, self.timer.until(at)).await,
                Some(_) => {
                    drop(queued);
                    let transfer = self.transfer.take();
                    self.transfer = match transfer {
                        Some(transfer) => self.advance(transfer).await,
                        None => None,
                    };
                }
            }
        }
    }

    async fn send(&mut self, message: Message) {
        let sent = self.network.send(message).await.is_ok();
        self.note(sent);
    }

    fn note(&mut self, sent: bool) {
        if self.reachable && !sent {
            let _ = self.notices.send(Notice::Unreachable(self.peer));
        }
        self.reachable = sent;
    }

    /// A repeated order for the snapshot under way goes on where that is; another one replaces it.
    fn begin(&mut self, mut next: Box<SnapshotTransfer>) {
        if let Some(mut current) = self.transfer.take() {
            current.notices = None;
            if current.meta == next.meta {
                next.offset = current.offset;
            }
        }
        self.transfer = Some(next);
    }

    /// Sends one chunk. Returns what is left to do.
    async fn advance(
        &mut self,
        mut transfer: Box<SnapshotTransfer>,
    ) -> Option<Box<SnapshotTransfer>> {
        match self.step(&transfer).await {
            ChunkStep::Sent { last: true, .. } => {
                transfer.end(true);
                return None;
            }
            ChunkStep::Sent { held, .. } if held > transfer.offset => {
                transfer.offset = held;
                transfer.failures = 0;
                transfer.retry_at = None;
                return Some(transfer);
            }
            // The peer lost what it had, or takes nothing now: from there, but not for ever.
            ChunkStep::Sent { held, .. } => transfer.offset = held,
            ChunkStep::Unreachable => {}
            ChunkStep::Lost => transfer.failures = limits::RAFT_CHUNK_ATTEMPTS_MAX,
        }
        transfer.failures += 1;
        if transfer.failures >= limits::RAFT_CHUNK_ATTEMPTS_MAX {
            return None;
        }
        transfer.retry_at = Some(self.timer.now() + limits::RAFT_CHUNK_RETRY);
        Some(transfer)
    }

    async fn step(&mut self, transfer: &SnapshotTransfer) -> ChunkStep {
        // Replaced by a newer one, or unreadable: the engine orders a transfer anew.
        let Some(Ok(chunk)) = self.read(transfer).await else { return ChunkStep::Lost };
        // Where to go on is what the peer says: it may be any number.
        let Some(end) = transfer.offset.checked_add(chunk.bytes.len() as u64) else {
            return ChunkStep::Lost;
        };
        let last = chunk.last;
        let sent =
            self.network.send_chunk(transfer.term, &transfer.meta, transfer.offset, chunk).await;
        self.note(sent.is_ok());
        match sent {
            // A peer that holds more than was sent has the rest from an earlier attempt.
            Ok(held) => ChunkStep::Sent { held, last: last && held == end },
            Err(_) => ChunkStep::Unreachable,
        }
    }

    async fn read(
        &self,
        transfer: &SnapshotTransfer,
    ) -> Option<Result<SnapshotChunk, SnapshotError>> {
        let (answer, chunk) = oneshot::channel();
        let request = ReadChunk { meta: transfer.meta.clone(), offset: transfer.offset, answer };
        self.worker.send(WorkerOrder::ReadChunk(request)).ok()?;
        chunk.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::lone::NoNetwork;
    use super::super::queue::queue;
    use super::*;
    use crate::testing::{Ledger, ManualTimer};

    #[test]
    fn a_repeated_order_goes_on_where_the_snapshot_under_way_is() {
        let waker = Arc::<AtomicWaker>::default();
        let (worker, _orders) = queue(None, &waker);
        let (notices, noticed) = queue(None, &waker);
        let (_, inbox) = queue(None, &waker);
        let order = |id, offset| {
            let meta = SnapshotMeta { id, ..SnapshotMeta::default() };
            let (to, term, notices) = (NodeId(2), Term(1), Some(notices.clone()));
            Box::new(SnapshotTransfer {
                to,
                term,
                meta,
                offset,
                failures: 0,
                retry_at: None,
                notices,
            })
        };
        let mut core = ReplicationCore::<Ledger, _, _> {
            peer: NodeId(2),
            network: NoNetwork,
            timer: ManualTimer::default(),
            inbox,
            waker,
            worker,
            notices: notices.clone(),
            transfer: None,
            reachable: true,
        };
        core.begin(order(7, 300));
        core.begin(order(7, 0));
        assert_eq!(core.transfer.as_ref().map(|transfer| transfer.offset), Some(300));
        core.begin(order(8, 0));
        assert_eq!(core.transfer.as_ref().map(|transfer| transfer.offset), Some(0));
        assert!(noticed.is_empty(), "what another order goes on with has not ended");
        drop(core);
        let end = noticed.take();
        assert!(matches!(end, Some(Notice::SnapshotSent { delivered: false, .. })));
        assert!(noticed.is_empty(), "and the end is told once");
    }
}
