//! The network of a node that has no peers.

use nacolet_model::NodeId;

use super::traits::{LocalBoxFuture, RaftNetwork, RaftNetworkFactory, SnapshotChunk, Unreachable};
use crate::engine::Message;
use crate::types::{SnapshotMeta, Term};

/// Reaches nobody. For a node that is and stays alone; its factory is never asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNetwork;

impl RaftNetworkFactory for NoNetwork {
    type Network = Self;

    fn connect(&mut self, _target: NodeId, _address: &str) -> Self {
        Self
    }
}

impl RaftNetwork for NoNetwork {
    fn send(&mut self, _message: Message) -> LocalBoxFuture<'_, Result<(), Unreachable>> {
        alloc::boxed::Box::pin(async { Err(Unreachable) })
    }

    fn send_chunk(
        &mut self,
        _term: Term,
        _meta: &SnapshotMeta,
        _offset: u64,
        _chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'_, Result<u64, Unreachable>> {
        alloc::boxed::Box::pin(async { Err(Unreachable) })
    }
}
