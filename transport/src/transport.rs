//! All links together: who this node is, whom it knows, what it counted. One future, [`Runner::run`],
//! drives every link; everything here stays on one thread.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use nacolet_model::{NodeId, Prng, limits};
use nacolet_raft::RaftNetworkFactory;
use nacolet_registry as registry;
use smol::channel::{self, Receiver, Sender};
use smol::future;
use smol::io::AsyncReadExt;
use smol::net::{TcpListener, TcpStream};

use crate::handshake::{self, ClusterKey, HandshakeError, Identity, Session};
use crate::listen::{self, Handler, LocalFuture};
use crate::lobby::{Lobby, Visitor};
use crate::message::{Call, ClusterId, Introduction, Kind, Reply};
use crate::peer::{CallError, Encoded, Peer, PeerNetwork};
use crate::socket;

/// After an `accept` that failed (no descriptors left) the next one waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
pub struct Settings {
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

pub(crate) struct Shared {
    node: NodeId,
    key: ClusterKey,
    cluster: Cell<Option<ClusterId>>,
    pub(crate) address: String,
    pub(crate) patience: Patience,
    prng: RefCell<Prng>,
    peers: RefCell<BTreeMap<NodeId, Weak<Peer>>>,
    /// Those that Distro speaks to.
    members: RefCell<BTreeMap<NodeId, Rc<Peer>>>,
    /// Members that missed messages of Distro, until somebody asks.
    untold: RefCell<BTreeSet<NodeId>>,
    /// There are some.
    untold_signal: (Sender<()>, Receiver<()>),
    /// Where callers say that they listen.
    learned: RefCell<BTreeMap<NodeId, String>>,
    /// The newest incoming link of each node; dropping the sender ends the link.
    incoming: RefCell<BTreeMap<NodeId, Sender<()>>>,
    /// Where each node was last, when it proved that it holds the key.
    met: RefCell<BTreeMap<NodeId, IpAddr>>,
    links: Sender<LocalFuture<()>>,
    lobby: Rc<Lobby>,
    connections: Rc<Cell<usize>>,
    counters: Cell<Counters>,
    pub(crate) unreachable: Unreachable,
    warned: RefCell<BTreeSet<&'static str>>,
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

impl Shared {
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

    /// Once for each kind of trouble: whoever knocks all day must not fill the log.
    pub(crate) fn warn_once(&self, kind: &'static str, what: &str) {
        if self.warned.borrow_mut().insert(kind) {
            tracing::warn!("{what} (further ones like this are only counted)");
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
        self.warn_once("full", "a peer connection was refused: there are too many");
    }

    pub(crate) fn refused(&self, error: &HandshakeError) {
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
            | HandshakeError::Timeout
            | HandshakeError::Random
            | HandshakeError::Io(_) => counters.refused_other += 1,
        });
        self.warn_once(kind, &format!("a peer connection was refused: {error}"));
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
    }

    /// Where `node` says that it listens; empty when it never said so.
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

/// The links of a node. Cheap to clone; stays on its thread.
#[derive(Clone)]
pub struct Transport {
    shared: Rc<Shared>,
}

impl Transport {
    /// The links of a node, and the future that drives them.
    #[must_use]
    pub fn new(settings: Settings) -> (Self, Runner) {
        let (links, arrivals) = channel::unbounded();
        let shared = Shared {
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
        };
        let shared = Rc::new(shared);
        (Self { shared: Rc::clone(&shared) }, Runner { shared, arrivals })
    }

    /// The node has joined this cluster.
    pub fn set_cluster(&self, cluster: ClusterId) {
        self.shared.cluster.set(Some(cluster));
    }

    /// Raft's view of the links. `address_of` turns the address of a membership into host and port.
    #[must_use]
    pub fn networks(&self, address_of: fn(&str) -> &str) -> Networks {
        Networks { transport: self.clone(), address_of }
    }

    /// Whether an authenticated connection to `node` is open.
    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        let peers = self.shared.peers.borrow();
        peers.get(&node).and_then(Weak::upgrade).is_some_and(|peer| peer.is_up())
    }

    /// Where `node` said that it listens, when it called; empty when it never did.
    #[must_use]
    pub fn introduced(&self, node: NodeId) -> String {
        self.shared.learned(node)
    }

    /// The peers that [`Self::tell`] may name, and where they listen. Links to them stay.
    pub fn set_members<'a>(&self, members: impl IntoIterator<Item = (NodeId, &'a str)>) {
        let members = members.into_iter();
        let peers = members.map(|(node, address)| (node, self.peer(node, address))).collect();
        *self.shared.members.borrow_mut() = peers;
    }

    /// Sends a message of Distro to members, encoded once. Whoever may miss it is named by
    /// [`Self::untold`].
    pub fn tell(&self, to: &[NodeId], message: &registry::Message) {
        let encoded: Encoded = match postcard::to_allocvec(message) {
            Ok(bytes) if bytes.len() <= limits::PEER_FRAME_BYTES_MAX => bytes.into(),
            Ok(_) | Err(_) => {
                self.shared.counters(|counters| counters.unsent += 1);
                return self.shared.warn_once("distro", "a message of Distro does not fit a frame");
            }
        };
        let members = self.shared.members.borrow();
        for node in to {
            if !members.get(node).is_some_and(|peer| peer.tell(&encoded)) {
                self.shared.untold(*node);
            }
        }
    }

    /// Resolves with a member that may have missed messages of Distro since it was last named.
    pub async fn untold(&self) -> NodeId {
        loop {
            if let Some(node) = self.shared.untold.borrow_mut().pop_first() {
                return node;
            }
            // `shared` holds a sender.
            let _ = self.shared.untold_signal.1.recv().await;
        }
    }

    /// Asks `node`, which listens at `address`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(&self, node: NodeId, address: &str, call: Call) -> Result<Reply, CallError> {
        self.peer(node, address).call(call).await
    }

    /// Asks whoever listens at `address`, on a connection for this one call.
    ///
    /// # Errors
    /// See [`HandshakeError`]; one that broke after the call was sent is an error of the connection.
    pub async fn visit(
        &self,
        address: &str,
        call: Call,
    ) -> Result<(NodeId, Reply), HandshakeError> {
        let (mut stream, mut session) = self.shared.connect(address, None, true).await?;
        let mut out = Vec::new();
        let broken = |error| HandshakeError::Io(std::io::Error::other(error));
        let introduction = Introduction { address: self.shared.address.clone() };
        session.sealer.seal(Kind::Introduction, &introduction, &mut out).map_err(broken)?;
        session.sealer.seal(Kind::Call, &(1_u64, call), &mut out).map_err(broken)?;
        let exchange = async {
            socket::write_all(&mut stream, &out, self.shared.patience.stall).await?;
            loop {
                match stream.read(session.opener.space()).await? {
                    0 => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                    bytes => session.opener.filled(bytes),
                }
                if let Some(frame) = session.opener.open().map_err(broken)? {
                    let (_, reply) = frame.decode::<(u64, Reply)>().map_err(broken)?;
                    return Ok((session.node, reply));
                }
            }
        };
        let answered = socket::within(limits::PEER_CALL_TIMEOUT, exchange).await;
        answered.unwrap_or(Err(HandshakeError::Timeout))
    }

    /// The peers that were called in vain, for any thread to read.
    #[must_use]
    pub fn unreachable(&self) -> Unreachable {
        self.shared.unreachable.clone()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters.get()
    }

    fn peer(&self, node: NodeId, address: &str) -> Rc<Peer> {
        let mut peers = self.shared.peers.borrow_mut();
        if let Some(peer) = peers.get(&node).and_then(Weak::upgrade) {
            peer.set_address(address);
            return peer;
        }
        peers.retain(|_, peer| peer.strong_count() > 0);
        let (peer, link) = Peer::new(Rc::clone(&self.shared), node, address);
        peers.insert(node, Rc::downgrade(&peer));
        // Without a runner nothing is driven, and every call waits for its time-out.
        let _ = self.shared.links.try_send(Box::pin(link.run()));
        peer
    }
}

/// Makes the connections of Raft.
#[derive(Clone)]
pub struct Networks {
    transport: Transport,
    address_of: fn(&str) -> &str,
}

impl RaftNetworkFactory for Networks {
    type Network = PeerNetwork;

    fn connect(&mut self, target: NodeId, address: &str) -> PeerNetwork {
        PeerNetwork(self.transport.peer(target, (self.address_of)(address)))
    }
}

/// Drives every link.
pub struct Runner {
    shared: Rc<Shared>,
    arrivals: Receiver<LocalFuture<()>>,
}

/// What woke the runner.
enum Event {
    Link(LocalFuture<()>),
    Accepted(std::io::Result<(TcpStream, SocketAddr)>),
    Ended,
}

impl Runner {
    /// Accepts peers and drives links, for as long as it is polled.
    pub async fn run(self, listener: TcpListener, handler: Rc<dyn Handler>) {
        let mut links = FuturesUnordered::<LocalFuture<()>>::new();
        loop {
            let arrival = async {
                match self.arrivals.recv().await {
                    Ok(link) => Event::Link(link),
                    // `shared` holds a sender.
                    Err(_) => future::pending().await,
                }
            };
            let accepted = async { Event::Accepted(listener.accept().await) };
            let ended = async {
                match links.next().await {
                    Some(()) => Event::Ended,
                    None => future::pending().await,
                }
            };
            match future::or(ended, future::or(arrival, accepted)).await {
                Event::Link(link) => links.push(link),
                Event::Accepted(Ok((stream, from))) => {
                    let shared = Rc::clone(&self.shared);
                    let handler = Rc::clone(&handler);
                    links.push(Box::pin(listen::serve(shared, stream, from.ip(), handler)));
                    // Whoever knocks without end must not keep the thread for itself.
                    future::yield_now().await;
                }
                Event::Accepted(Err(error)) => {
                    self.shared.warn_once("accept", &format!("no peer can be accepted: {error}"));
                    smol::Timer::after(ACCEPT_PAUSE).await;
                }
                Event::Ended => {}
            }
        }
    }
}
