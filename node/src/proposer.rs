//! The way of this node's own writes and linearizable reads: straight to its Raft where it is
//! alone, and to whoever leads where it is a member. The only place that asks which of the two it
//! is.

use nacolet_raft::{ClientWriteError, Raft, RequestError};

use crate::cluster::SharedCluster;
use crate::command::{Command, Refused, Response, Stamped};
use crate::machine::Machine;
use crate::space::Space;

/// The way to Raft, wherever the leader is. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Proposer {
    raft: Raft<Machine>,
    /// None for a node that is alone.
    cluster: Option<SharedCluster>,
    space: Space,
}

impl Proposer {
    pub(crate) fn new(raft: Raft<Machine>, cluster: Option<SharedCluster>, space: Space) -> Self {
        Self { raft, cluster, space }
    }

    /// Proposes a command and resolves with what applying it answers.
    ///
    /// # Errors
    /// See [`ClientWriteError`].
    pub(crate) async fn propose(
        &self,
        command: Command,
    ) -> Result<Response, ClientWriteError<Refused>> {
        match &self.cluster {
            Some(cluster) => cluster.write(command).await,
            None => self.space.write(&self.raft, &Stamped::now(command)).await,
        }
    }

    /// Resolves once a read here sees every write that was acknowledged, by any member, before.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub(crate) async fn read_index(&self) -> Result<(), RequestError> {
        match &self.cluster {
            Some(cluster) => cluster.read_index().await,
            None => self.raft.read_index().await.map(drop),
        }
    }
}
