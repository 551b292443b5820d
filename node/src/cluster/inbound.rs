//! What peers send and ask. A forwarded write is proposed here or refused, never forwarded again,
//! so that two members who take each other for the leader do not play ball with it.

use nacolet_api::moves::{Busy, Target};
use nacolet_api::who::Sought;
use nacolet_model::{NodeId, limits};
use nacolet_raft::{ClientWriteError, Message, Refusal, RequestError, decode};
use nacolet_registry as registry;
use nacolet_transport::{Call, Chunk, Handler, LocalFuture, Reply};

use super::address::http_of;
use super::forward::LeaderAnswer;
use super::mailbox::Letter;
use super::view::{Cluster, SharedCluster};
use crate::command::{Command, Stamped};
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
            Call::Connections => self.connections_here().await,
            Call::Shift { keep, target } => self.shift_here(keep, target).await,
            Call::Found { nodes } => self.consent(from, &nodes),
            Call::Who(sought) => self.who_here(&sought).await,
        }
    }

    async fn connections_here(&self) -> Reply {
        let count = self.moves.count().await.ok();
        count.and_then(|count| count.try_into().ok()).map_or(Reply::Busy, Reply::Connections)
    }

    /// Sends all but so many connections to another member: nobody is sent elsewhere.
    async fn shift_here(&self, keep: u64, target: NodeId) -> Reply {
        let membership = self.raft.metrics().membership;
        let address = membership.addresses.get(&target).and_then(|address| http_of(address));
        let target = address.filter(|_| target != self.me()).and_then(|text| Target::parse(&text));
        let Some(target) = target else {
            return Reply::Refused("connections go to another member only".to_owned());
        };
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        match self.moves.all_but(keep, &[target]).await {
            Ok(_) => Reply::Done,
            Err(Busy) => Reply::Busy,
        }
    }

    /// Who is connected to this node, subscribes or listens, as many as fit into an answer.
    async fn who_here(&self, sought: &[u8]) -> Reply {
        let Some(sought) = decode::<Sought>(sought) else {
            return Reply::Refused("this node cannot look for that".to_owned());
        };
        // One that has no doors yet has no clients.
        let Some(server) = self.server.get() else { return Reply::Found(Vec::new()) };
        let Some(mut found) = server.who(sought).await else { return Reply::Busy };
        loop {
            match postcard::to_allocvec(&found) {
                Ok(bytes) if bytes.len() <= limits::WHO_ANSWER_BYTES_MAX => {
                    return Reply::Found(bytes);
                }
                Ok(_) if found.halve() => {}
                Ok(_) | Err(_) => return Reply::Busy,
            }
        }
    }

    async fn write_here(&self, bytes: &[u8]) -> Reply {
        if !self.raft.is_leader() {
            return self.not_leader();
        }
        // Decoded before it is proposed: what cannot be applied must not get into the log.
        let Some(command) = decode::<Command>(bytes) else {
            return self.answered(&LeaderAnswer::Unfit);
        };
        // And what no client may ask for must not either, whoever forwards it.
        if let Err(refused) = command.check(&read(&self.registry)) {
            return self.answered(&LeaderAnswer::Rejected(refused));
        }
        match self.space.write(&self.raft, &Stamped::now(command)).await {
            Ok(response) => self.answered(&LeaderAnswer::Done(response)),
            Err(ClientWriteError::Rejected(refused)) => {
                self.answered(&LeaderAnswer::Rejected(refused))
            }
            Err(ClientWriteError::StorageFull) => self.answered(&LeaderAnswer::StorageFull),
            Err(ClientWriteError::TooLarge { .. } | ClientWriteError::Unencodable) => {
                self.answered(&LeaderAnswer::Unfit)
            }
            Err(ClientWriteError::Refused(Refusal::NotLeader { .. } | Refusal::Transferring))
            | Err(ClientWriteError::Superseded { .. } | ClientWriteError::Stopped) => {
                self.not_leader()
            }
            Err(ClientWriteError::Refused(_)) => Reply::Busy,
            Err(ClientWriteError::Unknown(_)) => Reply::Unknown,
        }
    }

    fn answered(&self, answer: &LeaderAnswer) -> Reply {
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
