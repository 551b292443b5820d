//! What peers send and ask. A forwarded write is proposed here or refused, never forwarded again, so
//! that two members who take each other for the leader do not play ball with it.

use nacolet_model::NodeId;
use nacolet_raft::{ClientWriteError, Message, Refusal, RequestError, decode};
use nacolet_registry as registry;
use nacolet_transport::{Call, Chunk, Handler, LocalFuture, Reply};

use super::forward::Answer;
use super::mailbox::Letter;
use super::{Cluster, SharedCluster};
use crate::command::Command;
use crate::machine::read;

/// The handler of incoming links.
pub(crate) struct Inbound(pub(crate) SharedCluster);

impl Handler for Inbound {
    fn raft(&self, from: NodeId, message: Message) {
        // What does not fit is lost, as messages may be; Raft counts it.
        let _ = self.0.raft.receive(from, message);
    }

    fn distro(&self, from: NodeId, message: registry::Message, bytes: usize) {
        self.0.mailbox.put(Letter { from, message, bytes });
    }

    fn call(&self, from: NodeId, _guest: bool, call: Call) -> LocalFuture<Reply> {
        let cluster = SharedCluster::clone(&self.0);
        Box::pin(async move { cluster.answer(from, call).await })
    }
}

impl Cluster {
    /// Answers a call of a peer, or of an operator in the name of this node.
    pub(crate) async fn answer(&self, from: NodeId, call: Call) -> Reply {
        match call {
            Call::Chunk(chunk) => {
                let Chunk { term, meta, offset, chunk } = *chunk;
                match self.raft.receive_chunk(from, term, meta, offset, chunk).await {
                    Ok(held) => Reply::Held(held),
                    Err(_) => Reply::Busy,
                }
            }
            Call::Write(bytes) => self.write_here(&bytes).await,
            Call::ReadIndex => match self.raft.read_index().await {
                Ok(index) => Reply::Index(index),
                Err(error) => self.refusal(&error),
            },
            Call::Join { address, learner: _ } => self.take_in(from, address).await,
            Call::Announce { address, last } => self.announced(from, address, last).await,
            Call::Promote => self.promote(from).await,
            Call::Change(change) => self.change_here(change).await,
            Call::Transfer(target) => match self.raft.transfer_leader(target).await {
                Ok(leader) => Reply::Leader(leader),
                Err(error) => self.refusal(&error),
            },
            Call::Progress => self.progress_here().await,
            Call::StateDigest(index) => Reply::StateDigest(self.digests.at(index)),
        }
    }

    async fn write_here(&self, bytes: &[u8]) -> Reply {
        if !self.raft.is_leader() {
            return self.not_leader();
        }
        // Decoded before it is proposed: what cannot be applied must not get into the log.
        let Some(mut command) = decode::<Command>(bytes) else {
            return self.answered(&Answer::Unfit);
        };
        // And what no client may ask for must not either, whoever forwards it.
        if let Err(refused) = command.check(&read(&self.registry)) {
            return self.answered(&Answer::Rejected(refused));
        }
        command.stamp();
        match self.raft.client_write(&command).await {
            Ok(response) => self.answered(&Answer::Done(response)),
            Err(ClientWriteError::Rejected(refused)) => self.answered(&Answer::Rejected(refused)),
            Err(ClientWriteError::StorageFull) => self.answered(&Answer::StorageFull),
            Err(ClientWriteError::TooLarge { .. } | ClientWriteError::Unencodable) => {
                self.answered(&Answer::Unfit)
            }
            Err(ClientWriteError::Refused(Refusal::NotLeader { .. } | Refusal::Transferring))
            | Err(ClientWriteError::Superseded { .. } | ClientWriteError::Stopped) => {
                self.not_leader()
            }
            Err(ClientWriteError::Refused(_)) => Reply::Busy,
            Err(ClientWriteError::Unknown(_)) => Reply::Unknown,
        }
    }

    fn answered(&self, answer: &Answer) -> Reply {
        match postcard::to_allocvec(answer) {
            // Not that of the metrics, which follow the state machine.
            Ok(answer) => Reply::Written { answer, applied: self.applied.index() },
            Err(_) => Reply::Unknown,
        }
    }

    /// Why a request to Raft did nothing, or may have done something.
    pub(crate) fn refusal(&self, error: &RequestError) -> Reply {
        match error {
            RequestError::Refused(Refusal::NotLeader { .. })
            | RequestError::Superseded { .. }
            | RequestError::Stopped => self.not_leader(),
            RequestError::Refused(refusal @ (Refusal::InvalidChange | Refusal::TransferFailed)) => {
                Reply::Refused(refusal.to_string())
            }
            RequestError::Refused(
                Refusal::Overloaded
                | Refusal::Transferring
                | Refusal::ChangeInProgress
                | Refusal::NotCaughtUp { .. },
            )
            | RequestError::StorageFull => Reply::Busy,
            RequestError::Unknown(_) => Reply::Unknown,
        }
    }
}
