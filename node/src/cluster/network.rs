//! The network of Raft: the links of a member, or nothing for a node that is alone.

use nacolet_model::NodeId;
use nacolet_raft::{
    LocalBoxFuture, Message, NoNetwork, RaftNetwork, RaftNetworkFactory, SnapshotChunk,
    SnapshotMeta, Term, Unreachable,
};
use nacolet_transport::{Networks, PeerNetwork};

/// One type for both, so that Raft is compiled once.
pub(crate) enum Network {
    Alone(NoNetwork),
    Peers(Networks),
}

/// One connection of either.
pub(crate) enum Connection {
    Alone(NoNetwork),
    Peer(NodeId, PeerNetwork),
}

impl RaftNetworkFactory for Network {
    type Network = Connection;

    fn connect(&mut self, target: NodeId, address: &str) -> Connection {
        match self {
            Self::Alone(none) => Connection::Alone(*none),
            Self::Peers(peers) => Connection::Peer(target, peers.connect(target, address)),
        }
    }
}

impl RaftNetwork for Connection {
    fn send(&mut self, message: Message) -> LocalBoxFuture<'_, Result<(), Unreachable>> {
        match self {
            Self::Alone(none) => none.send(message),
            Self::Peer(_, peer) => peer.send(message),
        }
    }

    fn send_chunk(
        &mut self,
        term: Term,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'_, Result<u64, Unreachable>> {
        match self {
            Self::Alone(none) => none.send_chunk(term, meta, offset, chunk),
            Self::Peer(to, peer) => {
                let (to, index, is_last) = (*to, meta.last.index.0, chunk.last);
                let sent = peer.send_chunk(term, meta, offset, chunk);
                Box::pin(async move {
                    let held = sent.await?;
                    if is_last {
                        tracing::info!(%to, index, "a snapshot is sent: it was too far behind");
                    }
                    Ok(held)
                })
            }
        }
    }
}
