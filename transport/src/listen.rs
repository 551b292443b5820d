//! Incoming links: counted, capped, authenticated, then read. What arrives goes to the [`Handler`];
//! answers to calls go back on the link that brought them.

use std::net::IpAddr;
use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use nacolet_model::{NodeId, limits};
use nacolet_raft::Message;
use nacolet_registry as registry;
use smol::channel::Receiver;
use smol::future;
use smol::io::AsyncReadExt;
use smol::net::TcpStream;

use crate::frame::{FrameError, Opener, Sealer};
use crate::handshake::{self, HandshakeError, Session};
use crate::lobby::Visitor;
use crate::message::{Call, Introduction, Kind, Reply};
use crate::shared::{LinkTable, LocalFuture};
use crate::socket;

/// What the node does with what arrives.
pub trait Handler {
    /// A message of Raft from an authenticated member; it may be dropped.
    fn raft(&self, from: NodeId, message: Message);

    /// A message of Distro from an authenticated member, and its size on the wire; it may be
    /// dropped.
    fn distro(&self, from: NodeId, message: registry::Message, bytes: usize);

    /// A call from an authenticated node. A `guest` belongs to no cluster yet.
    fn call(&self, from: NodeId, guest: bool, call: Call) -> LocalFuture<Reply>;
}

/// Serves one connection, accepted from this address, to its end.
pub(crate) async fn serve(
    shared: Rc<LinkTable>,
    mut stream: TcpStream,
    from: IpAddr,
    handler: Rc<dyn Handler>,
) {
    let visitor = shared.enter_lobby(from);
    let met = async { Some(meet(&shared, &mut stream, &visitor).await) };
    let sent_away = async {
        visitor.sent_away().await;
        None
    };
    let session = match future::or(met, sent_away).await {
        Some(Ok(session)) => session,
        Some(Err(error)) => return shared.refused(from, &error),
        None => return shared.refused_full(),
    };
    drop(visitor);
    shared.met(session.node, from);
    let replaced = (!session.visit).then(|| shared.register(session.node));
    let Some(_place) = shared.connection_place() else {
        return shared.refused_full();
    };
    shared.heard_from(session.node);
    let node = session.node;
    let link = IncomingLink {
        node,
        guest: session.cluster.is_none(),
        shared: Rc::clone(&shared),
        handler,
        calls: FuturesUnordered::new(),
    };
    if let Err(error) = link.run(stream, session, replaced).await {
        shared.counters(|counters| counters.broken_frames += 1);
        shared.warn("frame", format!("a link from {node} was closed: {error}"));
    }
}

/// Finds out who called. Whoever has something to prove speaks first.
async fn meet(
    shared: &LinkTable,
    stream: &mut TcpStream,
    visitor: &Visitor,
) -> Result<Session, HandshakeError> {
    let patience = shared.patience.handshake;
    let silence = match visitor.is_known() {
        true => patience,
        false => patience.min(limits::PEER_SILENCE_TIMEOUT),
    };
    let met = async {
        socket::prepare(stream)?;
        let heard = socket::within(silence, handshake::hear(stream)).await;
        let heard = heard.unwrap_or(Err(HandshakeError::Timeout))?;
        visitor.spoke();
        handshake::answer_to(stream, &shared.identity(), heard).await
    };
    socket::within(patience, met).await.unwrap_or(Err(HandshakeError::Timeout))
}

struct IncomingLink {
    node: NodeId,
    guest: bool,
    shared: Rc<LinkTable>,
    handler: Rc<dyn Handler>,
    calls: FuturesUnordered<LocalFuture<(u64, Reply)>>,
}

/// What woke an incoming link.
enum IncomingEvent {
    Read(std::io::Result<usize>),
    Answered(u64, Reply),
    /// The same node has a newer link.
    Replaced,
}

impl IncomingLink {
    async fn run(
        mut self,
        mut stream: TcpStream,
        session: Session,
        replaced: Option<Receiver<()>>,
    ) -> Result<(), FrameError> {
        let Session { mut sealer, mut opener, .. } = session;
        let mut writer = stream.clone();
        let mut out = Vec::new();
        loop {
            match self.next(&mut stream, &mut opener, replaced.as_ref()).await {
                IncomingEvent::Read(Ok(0) | Err(_)) | IncomingEvent::Replaced => return Ok(()),
                IncomingEvent::Read(Ok(bytes)) => {
                    opener.filled(bytes);
                    self.take(&mut opener)?;
                }
                IncomingEvent::Answered(number, reply) => {
                    seal(&mut sealer, number, reply, &mut out)?
                }
            }
            while let Some(Some((number, reply))) = self.calls.next().now_or_never() {
                seal(&mut sealer, number, reply, &mut out)?;
            }
            let stall = self.shared.patience.stall;
            if socket::write_all(&mut writer, &out, stall).await.is_err() {
                return Ok(());
            }
            out.clear();
            out.shrink_to(limits::PEER_WRITE_BYTES);
        }
    }

    async fn next(
        &mut self,
        stream: &mut TcpStream,
        opener: &mut Opener,
        replaced: Option<&Receiver<()>>,
    ) -> IncomingEvent {
        let reads = async { IncomingEvent::Read(stream.read(opener.space()).await) };
        let calls = &mut self.calls;
        let answers = async {
            match calls.next().await {
                Some((number, reply)) => IncomingEvent::Answered(number, reply),
                None => future::pending().await,
            }
        };
        let replaced = async {
            match replaced {
                // Nothing is ever sent: the channel closes.
                Some(replaced) => drop(replaced.recv().await),
                None => future::pending().await,
            }
            IncomingEvent::Replaced
        };
        future::or(answers, future::or(reads, replaced)).await
    }

    fn take(&mut self, opener: &mut Opener) -> Result<(), FrameError> {
        while let Some(frame) = opener.open()? {
            match Kind::of(frame.kind) {
                Some(Kind::Introduction) => {
                    let Introduction { address } = frame.decode()?;
                    self.shared.learn(self.node, address);
                }
                Some(Kind::Raft) if !self.guest => {
                    self.shared.counters(|counters| counters.raft_frames += 1);
                    self.handler.raft(self.node, frame.decode()?);
                }
                Some(Kind::Distro) if !self.guest => {
                    self.shared.counters(|counters| counters.distro_frames += 1);
                    let bytes = frame.bytes();
                    self.handler.distro(self.node, frame.decode()?, bytes);
                }
                Some(Kind::Call) => {
                    let (number, call) = frame.decode()?;
                    self.call(number, call);
                }
                Some(Kind::Raft | Kind::Distro | Kind::Reply) | None => {
                    self.shared.counters(|counters| counters.ignored_frames += 1);
                }
            }
        }
        Ok(())
    }

    fn call(&self, number: u64, call: Call) {
        let reply: LocalFuture<Reply> = if self.calls.len() >= limits::PEER_CALLS_MAX {
            Box::pin(future::ready(Reply::Busy))
        } else if self.guest && !matches!(call, Call::Join { .. } | Call::Found { .. }) {
            Box::pin(future::ready(Reply::Refused("guests may only ask to join".to_owned())))
        } else {
            self.handler.call(self.node, self.guest, call)
        };
        self.calls.push(Box::pin(async move { (number, reply.await) }));
    }
}

/// An answer that does not fit is still an answer.
fn seal(
    sealer: &mut Sealer,
    number: u64,
    reply: Reply,
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    sealer.seal(Kind::Reply, &(number, reply), out).or_else(|error| {
        tracing::warn!(%error, "an answer to a peer was not sent");
        sealer.seal(Kind::Reply, &(number, Reply::Unknown), out)
    })
}
