//! What all links of a node share: who it is, how long it waits for what, whom it knows, what it
//! counted.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use nacolet_model::{NodeId, Prng, limits};
use smol::channel::{self, Receiver, Sender};
use smol::net::TcpStream;

use crate::handshake::{self, ClusterKey, HandshakeError, Identity, Session};
use crate::lobby::{Lobby, Visitor};
use crate::message::ClusterId;
use crate::peer::Peer;
use crate::socket;

/// A future that stays on its thread and borrows nothing.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// How long a link waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection and its handshake.
    pub handshake: Duration,
    /// For a peer that takes nothing.
    pub stall: Duration,
    /// First pause after a failure.
    pub retry_min: Duration,
    /// Longest pause after failures.
    pub retry_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: limits::PEER_HANDSHAKE_TIMEOUT,
            stall: limits::PEER_STALL_TIMEOUT,
            retry_min: limits::PEER_RETRY_MIN,
            retry_max: limits::PEER_RETRY_MAX,
        }
    }
}

/// Who this node is to its peers.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// Its identity.
    pub node: NodeId,
    /// The secret of its cluster.
    pub key: ClusterKey,
    /// Its cluster, unless it has none yet.
    pub cluster: Option<ClusterId>,
    /// Where it can be called, as it stands in the membership.
    pub address: String,
    /// Where the jitter starts; should differ from node to node.
    pub seed: u64,
    /// How long it waits for what.
    pub patience: Patience,
}

/// What happened on the links so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Incoming connections closed because there were too many.
    pub refused_full: u64,
    /// Callers without the cluster key.
    pub refused_key: u64,
    /// Callers of another cluster.
    pub refused_cluster: u64,
    /// Callers of another protocol version.
    pub refused_version: u64,
    /// Callers that meant another node, had this node's id, said nothing or something else.
    pub refused_other: u64,
    /// Links closed because of a frame that was forged, repeated, too large or undecodable.
    pub broken_frames: u64,
    /// Frames whose kind is not known or not fit for the sender.
    pub ignored_frames: u64,
    /// Frames with a message of Raft that arrived.
    pub raft_frames: u64,
    /// Frames with a message of Distro that arrived.
    pub distro_frames: u64,
    /// Messages of Distro that did not go out to one peer: it is away, or too much waits for it.
    pub distro_untold: u64,
    /// Messages that could not be encoded.
    pub unsent: u64,
}

/// The peers that were called in vain and have not been reached since.
#[derive(Clone, Debug, Default)]
pub struct Unreachable(Arc<RwLock<BTreeSet<NodeId>>>);

impl Unreachable {
    /// Whether `node` is one of them.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&node)
    }

    pub(crate) fn set(&self, node: NodeId, unreachable: bool) {
        if self.contains(node) == unreachable {
            return;
        }
        let mut list = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if unreachable {
            list.insert(node);
        } else {
            list.remove(&node);
        }
    }
}

/// One of them for all links of a node.
pub(crate) struct LinkTable {
    pub(crate) node: NodeId,
    pub(crate) key: ClusterKey,
    pub(crate) cluster: Cell<Option<ClusterId>>,
    pub(crate) address: String,
    pub(crate) patience: Patience,
    pub(crate) prng: RefCell<Prng>,
    pub(crate) peers: RefCell<BTreeMap<NodeId, Weak<Peer>>>,
    /// Those that Distro speaks to.
    pub(crate) members: RefCell<BTreeMap<NodeId, Rc<Peer>>>,
    /// Members that missed messages of Distro, until somebody asks.
    pub(crate) untold: RefCell<BTreeSet<NodeId>>,
    /// There are some.
    pub(crate) untold_signal: (Sender<()>, Receiver<()>),
    /// Where each node was met last: where callers say that they listen, and where whoever was
    /// called did listen.
    pub(crate) learned: RefCell<BTreeMap<NodeId, String>>,
    /// The newest incoming link of each node; dropping the sender ends the link.
    pub(crate) incoming: RefCell<BTreeMap<NodeId, Sender<()>>>,
    /// Where each node was last, when it proved that it holds the key.
    pub(crate) met: RefCell<BTreeMap<NodeId, IpAddr>>,
    pub(crate) links: Sender<LocalFuture<()>>,
    pub(crate) lobby: Rc<Lobby>,
    pub(crate) connections: Rc<Cell<usize>>,
    pub(crate) counters: Cell<Counters>,
    pub(crate) unreachable: Unreachable,
    pub(crate) warned: RefCell<Warned>,
}

/// Troubles that were told, by kind: how often each happened since, and how last.
#[derive(Debug, Default)]
pub(crate) struct Warned(BTreeMap<&'static str, (u64, String)>);

impl Warned {
    /// It happened; true when it is to be told now.
    fn note(&mut self, kind: &'static str, what: &str) -> bool {
        let is_new = !self.0.contains_key(kind);
        let (times, last) = self.0.entry(kind).or_default();
        if !is_new {
            *times += 1;
            what.clone_into(last);
        }
        is_new
    }

    /// A minute is over: what happened meanwhile. What did not is told at once when it does.
    fn turn(&mut self) -> Vec<(u64, String)> {
        self.0.retain(|_, (times, _)| *times > 0);
        self.0.values_mut().map(|(times, last)| (std::mem::take(times), last.clone())).collect()
    }
}

/// A place that is counted until it is dropped.
pub(crate) struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(count: &Rc<Cell<usize>>, max: usize) -> Option<Self> {
        if count.get() >= max {
            return None;
        }
        count.set(count.get() + 1);
        Some(Self(Rc::clone(count)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl LinkTable {
    pub(crate) fn new(settings: LinkSettings, links: Sender<LocalFuture<()>>) -> Self {
        Self {
            node: settings.node,
            key: settings.key,
            cluster: Cell::new(settings.cluster),
            address: settings.address,
            patience: settings.patience,
            prng: RefCell::new(Prng::new(settings.seed)),
            peers: RefCell::default(),
            members: RefCell::default(),
            untold: RefCell::default(),
            untold_signal: channel::bounded(1),
            learned: RefCell::default(),
            incoming: RefCell::default(),
            met: RefCell::default(),
            links,
            lobby: Rc::default(),
            connections: Rc::default(),
            counters: Cell::default(),
            unreachable: Unreachable::default(),
            warned: RefCell::default(),
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity { node: self.node, cluster: self.cluster.get(), key: self.key.clone() }
    }

    pub(crate) fn fork_prng(&self) -> Prng {
        self.prng.borrow_mut().fork()
    }

    pub(crate) fn counters(&self, change: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    /// At once for each kind of trouble, and then once a minute: whoever knocks all day must not
    /// fill the log.
    pub(crate) fn warn(&self, kind: &'static str, what: String) {
        if self.warned.borrow_mut().note(kind, &what) {
            tracing::warn!("{what}");
        }
    }

    /// Tells once a minute how often something happened again.
    pub(crate) async fn warn_again(&self) {
        loop {
            smol::Timer::after(limits::MENTION_EVERY).await;
            let again = self.warned.borrow_mut().turn();
            for (times, what) in again {
                tracing::warn!(times, "again: {what}");
            }
        }
    }

    /// A place for somebody who called from this address.
    pub(crate) fn enter_lobby(&self, from: IpAddr) -> Visitor {
        let from = from.to_canonical();
        let is_listed = |peer: &Weak<Peer>| peer.upgrade().is_some_and(|peer| peer.is_at(from));
        let is_known = self.met.borrow().values().any(|met| *met == from)
            || self.peers.borrow().values().any(is_listed);
        Lobby::enter(&self.lobby, is_known.then_some(from))
    }

    /// `node` has proved at this address that it holds the key.
    pub(crate) fn met(&self, node: NodeId, at: IpAddr) {
        let mut met = self.met.borrow_mut();
        if met.len() >= 2 * limits::MEMBERS_MAX && !met.contains_key(&node) {
            met.pop_first();
        }
        met.insert(node, at.to_canonical());
    }

    pub(crate) fn connection_place(&self) -> Option<Place> {
        Place::take(&self.connections, limits::PEER_CONNECTIONS_MAX)
    }

    pub(crate) fn refused_full(&self) {
        self.counters(|counters| counters.refused_full += 1);
        self.warn("full", "a peer connection was refused: there are too many".to_owned());
    }

    pub(crate) fn refused(&self, from: IpAddr, error: &HandshakeError) {
        use handshake::Refusal;
        let mut kind = "handshake";
        self.counters(|counters| match error {
            HandshakeError::Key => {
                kind = "key";
                counters.refused_key += 1;
            }
            HandshakeError::Refused(Refusal::Cluster) => {
                kind = "cluster";
                counters.refused_cluster += 1;
            }
            HandshakeError::Refused(Refusal::Version) => {
                kind = "version";
                counters.refused_version += 1;
            }
            HandshakeError::Refused(Refusal::SameId) => {
                kind = "id";
                counters.refused_other += 1;
            }
            HandshakeError::Refused(Refusal::Target)
            | HandshakeError::RefusedBy(_)
            | HandshakeError::Stranger
            | HandshakeError::Http
            | HandshakeError::Grpc
            | HandshakeError::Timeout
            | HandshakeError::Random
            | HandshakeError::Io(_) => counters.refused_other += 1,
        });
        // Whoever hears who is there and goes, as an operator's tool does, did nothing wrong.
        let has_left = |error: &std::io::Error| error.kind() == std::io::ErrorKind::UnexpectedEof;
        if !matches!(error, HandshakeError::Io(error) if has_left(error)) {
            self.warn(kind, format!("a peer connection from {from} was refused: {error}"));
        }
    }

    /// `node` missed a message of Distro.
    pub(crate) fn untold(&self, node: NodeId) {
        self.counters(|counters| counters.distro_untold += 1);
        self.untold.borrow_mut().insert(node);
        // A full channel means that the signal is given already.
        let _ = self.untold_signal.0.try_send(());
    }

    /// Makes this the link of `node`; an older one ends, and the receiver tells when this one must.
    pub(crate) fn register(&self, node: NodeId) -> Receiver<()> {
        let (newest, replaced) = channel::bounded(1);
        let mut incoming = self.incoming.borrow_mut();
        incoming.retain(|_, link| link.receiver_count() > 0);
        incoming.insert(node, newest);
        replaced
    }

    pub(crate) fn learn(&self, node: NodeId, address: String) {
        if address.is_empty() || address.len() > limits::PEER_ADDRESS_BYTES_MAX {
            return;
        }
        let mut learned = self.learned.borrow_mut();
        if learned.len() >= 2 * limits::MEMBERS_MAX && !learned.contains_key(&node) {
            learned.pop_first();
        }
        learned.insert(node, address);
        drop(learned);
        self.heard_from(node);
    }

    /// Where `node` was met last; empty when it never was.
    pub(crate) fn learned(&self, node: NodeId) -> String {
        self.learned.borrow().get(&node).cloned().unwrap_or_default()
    }

    pub(crate) fn heard_from(&self, node: NodeId) {
        if let Some(peer) = self.peers.borrow().get(&node).and_then(Weak::upgrade) {
            peer.nudge();
        }
    }

    /// Connects and proves who is who.
    pub(crate) async fn connect(
        &self,
        address: &str,
        target: Option<NodeId>,
        visit: bool,
    ) -> Result<(TcpStream, Session), HandshakeError> {
        let meeting = async {
            let mut stream = TcpStream::connect(address).await?;
            socket::prepare(&stream)?;
            let session = handshake::call(&mut stream, &self.identity(), target, visit).await?;
            self.met(session.node, stream.peer_addr()?.ip());
            Ok((stream, session))
        };
        let met = socket::within(self.patience.handshake, meeting).await;
        met.unwrap_or(Err(HandshakeError::Timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_at_once_and_while_it_goes_on_every_minute_with_a_count() {
        let mut warned = Warned::default();
        assert!(warned.note("cluster", "from a"));
        assert!(!warned.note("cluster", "from b") && !warned.note("cluster", "from c"));
        assert!(warned.note("key", "from d"), "another kind");
        assert_eq!(warned.turn(), [(2, "from c".to_owned())]);
        assert!(!warned.note("cluster", "from e"));
        assert!(warned.note("key", "from f"), "it had stopped for a while");
        assert_eq!(warned.turn(), [(1, "from e".to_owned())]);
        assert_eq!(warned.turn(), []);
    }
}
