//! All links together: what a node says on them, and the one future, [`Runner::run`], that drives
//! them. Everything here stays on one thread.

use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use nacolet_model::{NodeId, limits};
use nacolet_raft::RaftNetworkFactory;
use nacolet_registry as registry;
use smol::channel::{self, Receiver};
use smol::future;
use smol::io::AsyncReadExt;
use smol::net::{TcpListener, TcpStream};

use crate::frame::FrameError;
use crate::handshake::{HandshakeError, Session};
use crate::link::Link;
use crate::listen::{self, Handler};
use crate::message::{Call, ClusterId, Introduction, Kind, Reply};
use crate::peer::{CallError, Encoded, Peer, PeerNetwork};
use crate::shared::{Counters, LinkSettings, LinkTable, LocalFuture, Unreachable};
use crate::socket;

/// After an `accept` that failed (no descriptors left) the next one waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The links of a node. Cheap to clone; stays on its thread.
#[derive(Clone)]
pub struct Transport {
    shared: Rc<LinkTable>,
}

impl Transport {
    /// The links of a node, and the future that drives them.
    #[must_use]
    pub fn new(settings: LinkSettings) -> (Self, Runner) {
        let (links, arrivals) = channel::unbounded();
        let shared = Rc::new(LinkTable::new(settings, links));
        (Self { shared: Rc::clone(&shared) }, Runner { shared, arrivals })
    }

    /// The node has joined this cluster. Links on which it was a guest, who may say little, begin
    /// anew.
    pub fn set_cluster(&self, cluster: ClusterId) {
        self.shared.cluster.set(Some(cluster));
        for peer in self.shared.peers.borrow().values().filter_map(Weak::upgrade) {
            peer.nudge();
        }
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

    /// Whether an authenticated connection to `node` is open that leads to this address.
    #[must_use]
    pub fn is_up_at(&self, node: NodeId, address: &str) -> bool {
        let peers = self.shared.peers.borrow();
        peers.get(&node).and_then(Weak::upgrade).is_some_and(|peer| peer.is_up_at(address))
    }

    /// Where `node` was met last; empty when it never was.
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

    /// What whoever administers from another host proves.
    #[must_use]
    pub fn operator_key(&self) -> [u8; 32] {
        self.shared.key.of_operators()
    }

    /// Sends a message of Distro to members, encoded once. Whoever may miss it is named by
    /// [`Self::untold`].
    pub fn tell(&self, to: &[NodeId], message: &registry::Message) {
        let encoded: Encoded = match postcard::to_allocvec(message) {
            Ok(bytes) if bytes.len() <= limits::PEER_FRAME_BYTES_MAX => bytes.into(),
            Ok(_) | Err(_) => {
                self.shared.counters(|counters| counters.unsent += 1);
                let what = "a message of Distro does not fit a frame";
                return self.shared.warn("distro", what.to_owned());
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

    /// Finds out who listens at `address`, and tells it where this node listens: each side has
    /// another place to call, should the one in the membership be out of date.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub async fn knock(
        &self,
        address: &str,
    ) -> Result<(NodeId, Option<ClusterId>), HandshakeError> {
        let (mut stream, session, out) = self.enter(address).await?;
        socket::write_all(&mut stream, &out, self.shared.patience.stall).await?;
        Ok((session.node, session.cluster))
    }

    /// A connection for a visit, and the first bytes to send on it.
    async fn enter(&self, address: &str) -> Result<(TcpStream, Session, Vec<u8>), HandshakeError> {
        let (stream, mut session) = self.shared.connect(address, None, true).await?;
        self.shared.learn(session.node, address.to_owned());
        let mut out = Vec::new();
        let introduction = Introduction { address: self.shared.address.clone() };
        session.sealer.seal(Kind::Introduction, &introduction, &mut out).map_err(broken)?;
        Ok((stream, session, out))
    }

    /// Asks whoever listens at `address`, on a connection for this one call.
    ///
    /// # Errors
    /// See [`HandshakeError`]; one that broke after the call was sent is an error of the
    /// connection.
    pub async fn visit(
        &self,
        address: &str,
        call: Call,
    ) -> Result<(NodeId, Reply), HandshakeError> {
        let (mut stream, mut session, mut out) = self.enter(address).await?;
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
        let (peer, link) = Link::new(Rc::clone(&self.shared), node, address);
        peers.insert(node, Rc::downgrade(&peer));
        // Without a runner nothing is driven, and every call waits for its time-out.
        let _ = self.shared.links.try_send(Box::pin(link.run()));
        peer
    }
}

fn broken(error: FrameError) -> HandshakeError {
    HandshakeError::Io(std::io::Error::other(error))
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
    shared: Rc<LinkTable>,
    arrivals: Receiver<LocalFuture<()>>,
}

/// What woke the runner.
enum RunnerEvent {
    Link(LocalFuture<()>),
    Accepted(std::io::Result<(TcpStream, SocketAddr)>),
    Ended,
}

impl Runner {
    /// Accepts peers and drives links, for as long as it is polled.
    pub async fn run(self, listener: TcpListener, handler: Rc<dyn Handler>) {
        let mut links = FuturesUnordered::<LocalFuture<()>>::new();
        let shared = Rc::clone(&self.shared);
        links.push(Box::pin(async move { shared.warn_again().await }));
        loop {
            let arrival = async {
                match self.arrivals.recv().await {
                    Ok(link) => RunnerEvent::Link(link),
                    // `shared` holds a sender.
                    Err(_) => future::pending().await,
                }
            };
            let accepted = async { RunnerEvent::Accepted(listener.accept().await) };
            let ended = async {
                match links.next().await {
                    Some(()) => RunnerEvent::Ended,
                    None => future::pending().await,
                }
            };
            match future::or(ended, future::or(arrival, accepted)).await {
                RunnerEvent::Link(link) => links.push(link),
                RunnerEvent::Accepted(Ok((stream, from))) => {
                    let shared = Rc::clone(&self.shared);
                    let handler = Rc::clone(&handler);
                    links.push(Box::pin(listen::serve(shared, stream, from.ip(), handler)));
                    // Whoever knocks without end must not keep the thread for itself.
                    future::yield_now().await;
                }
                RunnerEvent::Accepted(Err(error)) => {
                    self.shared.warn("accept", format!("no peer can be accepted: {error}"));
                    smol::Timer::after(ACCEPT_PAUSE).await;
                }
                RunnerEvent::Ended => {}
            }
        }
    }
}
