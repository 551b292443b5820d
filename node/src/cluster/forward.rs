//! The way to the leader. A write on a member that does not lead goes to the one that does, in one
//! hop, and is answered where it came in; while there is no leader it waits for one, not for long.
//! Whoever gets an answer here also reads here what it wrote.

use std::pin::pin;
use std::time::Duration;

use nacolet_model::{NodeId, limits};
use nacolet_raft::{Cause, ClientWriteError, LogIndex, Refusal, RequestError};
use nacolet_transport::{Call, CallError, Reply};
use serde::{Deserialize, Serialize};
use smol::future;

use super::view::Cluster;
use crate::clock;
use crate::command::{Command, Refused, Response, Stamped};

/// Between two looks for a leader.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often a leader that does not answer is looked at.
const HANG_CHECK_EVERY: Duration = Duration::from_millis(500);

/// What the state machine of the leader said. A wire format: append variants, never reorder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum LeaderAnswer {
    /// The write is applied.
    Done(Response),
    /// It was refused; nothing changed.
    Rejected(Refused),
    /// The leader's disk is full; nothing changed.
    StorageFull,
    /// The command is too large, or the leader does not understand it; nothing changed.
    Unfit,
}

type Written = Result<Response, ClientWriteError<Refused>>;

impl Cluster {
    /// Writes, wherever the leader is.
    pub(crate) async fn write(&self, mut command: Command) -> Written {
        let deadline = clock::now() + limits::FORWARD_PATIENCE;
        loop {
            let version = self.raft.metrics().version;
            let leader = self.raft.current_leader().filter(|leader| *leader != self.me());
            let refused = match leader {
                Some(leader) => {
                    let Ok(bytes) = postcard::to_allocvec(&command) else {
                        return Err(ClientWriteError::Unencodable);
                    };
                    match self.ask_leader(leader, Call::Write(bytes)).await {
                        Ok(Reply::Written { answer, applied }) => {
                            self.catch_up(applied).await;
                            return written(&answer);
                        }
                        Ok(Reply::NotLeader { .. }) | Err(CallError::Unreachable) => {
                            Refusal::NotLeader { leader: Some(leader) }
                        }
                        Ok(Reply::Busy) | Err(CallError::Busy) => {
                            return Err(Refusal::Overloaded.into());
                        }
                        Ok(_) | Err(CallError::Lost) => {
                            return Err(ClientWriteError::Unknown(Cause::LeadershipLost));
                        }
                    }
                }
                None => {
                    let stamped = Stamped::now(command);
                    let outcome = self.space.write(&self.raft, &stamped).await;
                    command = stamped.into_command();
                    match outcome {
                        Err(ClientWriteError::Refused(
                            refusal @ (Refusal::NotLeader { .. } | Refusal::Transferring),
                        )) => refusal,
                        Err(ClientWriteError::Superseded { leader }) => {
                            Refusal::NotLeader { leader }
                        }
                        outcome => return outcome,
                    }
                }
            };
            if clock::now() >= deadline {
                return Err(Refusal::NotLeader { leader: refused_leader(refused) }.into());
            }
            self.look_again(version).await;
        }
    }

    /// Resolves once a read here sees every write that was acknowledged, by any member, before.
    pub(crate) async fn read_index(&self) -> Result<(), RequestError> {
        let deadline = clock::now() + limits::FORWARD_PATIENCE;
        loop {
            let version = self.raft.metrics().version;
            let leader = self.raft.current_leader().filter(|leader| *leader != self.me());
            let refused = match leader {
                Some(leader) => match self.ask_leader(leader, Call::ReadIndex).await {
                    Ok(Reply::Index(index)) => {
                        let late = async {
                            clock::until(deadline).await;
                            Err(RequestError::Refused(Refusal::Overloaded))
                        };
                        let caught_up = async {
                            self.applied.wait(index).await;
                            Ok(())
                        };
                        return future::or(caught_up, late).await;
                    }
                    Ok(Reply::Busy) | Err(CallError::Busy) => Refusal::Overloaded,
                    Ok(_) | Err(_) => Refusal::NotLeader { leader: Some(leader) },
                },
                None => match self.raft.read_index().await {
                    Ok(_) => return Ok(()),
                    Err(RequestError::Refused(refusal)) => refusal,
                    Err(error) => return Err(error),
                },
            };
            if clock::now() >= deadline {
                return Err(refused.into());
            }
            self.look_again(version).await;
        }
    }

    /// Resolves once this node is a member and has applied what the leader had committed.
    pub(crate) async fn caught_up(&self) {
        loop {
            let version = self.raft.metrics().version;
            let is_member = self.raft.metrics().membership.contains(self.me());
            if is_member && self.read_index().await.is_ok() {
                return;
            }
            self.look_again(version).await;
        }
    }

    /// A leader that stops lets another member lead first, so that writes hardly pause.
    pub(crate) async fn hand_over(&self) {
        let others = self.raft.metrics().membership.voters.len() > 1;
        if !self.raft.is_leader() || !others {
            return;
        }
        let handed = async {
            if let Err(error) = self.raft.transfer_leader(None).await {
                tracing::warn!(%error, "nobody took over the leadership");
            }
        };
        let late = async {
            smol::Timer::after(limits::HAND_OVER_PATIENCE).await;
        };
        future::or(handed, late).await;
    }

    /// Asks `leader` for as long as nobody else leads. One that hangs keeps its connection, and
    /// nobody should wait for it any longer than for an election.
    async fn ask_leader(&self, leader: NodeId, call: Call) -> Result<Reply, CallError> {
        let mut asked = pin!(self.ask(leader, call));
        loop {
            let tired = async {
                smol::Timer::after(HANG_CHECK_EVERY).await;
                None
            };
            let answered = async { Some(asked.as_mut().await) };
            match future::or(answered, tired).await {
                Some(answer) => return answer,
                None if self.raft.current_leader() == Some(leader) => {}
                None => return Err(CallError::Lost),
            }
        }
    }

    /// Waits a little for another state of affairs than the one that was looked at.
    async fn look_again(&self, version: u64) {
        let changed = async {
            // Without an answer the timer decides.
            if self.raft.metrics_changed(version).await.is_err() {
                future::pending::<()>().await;
            }
        };
        let tired = async {
            smol::Timer::after(LOOK_EVERY).await;
        };
        future::or(changed, tired).await;
        // A leader that was just found may not have heard of itself yet; and a hot loop helps
        // nobody.
        smol::Timer::after(LOOK_EVERY / 20).await;
    }

    /// Waits until this node has applied what the leader has, for a bounded time: the write is
    /// durable and agreed all the same.
    async fn catch_up(&self, applied: LogIndex) {
        let tired = async {
            smol::Timer::after(limits::CATCH_UP_PATIENCE).await;
        };
        future::or(self.applied.wait(applied), tired).await;
    }
}

fn refused_leader(refusal: Refusal) -> Option<NodeId> {
    if let Refusal::NotLeader { leader } = refusal { leader } else { None }
}

/// What the leader's answer means here.
fn written(answer: &[u8]) -> Written {
    match postcard::from_bytes(answer) {
        Ok(LeaderAnswer::Done(response)) => Ok(response),
        Ok(LeaderAnswer::Rejected(refused)) => Err(ClientWriteError::Rejected(refused)),
        Ok(LeaderAnswer::StorageFull) => Err(ClientWriteError::StorageFull),
        Ok(LeaderAnswer::Unfit) => Err(ClientWriteError::Unencodable),
        Err(_) => Err(ClientWriteError::Unknown(Cause::LeadershipLost)),
    }
}
