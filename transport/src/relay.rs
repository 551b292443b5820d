//! A Raft node and its links as one thing that applications use: whatever is asked of it goes to
//! the leader of the group, here or over TCP, and is asked again while there is none. It answers
//! the same questions of other members. For applications that need no more; the Nacos node, which
//! lets members join by themselves, has its own handler.

use std::fmt;
use std::sync::OnceLock;
use std::time::{self, Duration};

use nacolet_model::{Instant, NodeId};
use nacolet_raft::{
    ClientWriteError, LocalBoxFuture, LogIndex, MembershipChange, Message, Outcome, Raft,
    RaftStateMachine, Refusal, RequestError, Timer, decode,
};
use nacolet_registry as registry;
use serde::{Serialize, de::DeserializeOwned};

use crate::listen::Handler;
use crate::message::{Call, Chunk, Reply};
use crate::peer::CallError;
use crate::shared::LocalFuture;
use crate::socket;
use crate::transport::Transport;

/// Pause before a leader is looked for again: a third of a heartbeat.
const RETRY: Duration = Duration::from_millis(50);

/// Why a request has no answer of the application, or a refusing one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError<E> {
    /// It was replicated and applied, and the application refused it. Final.
    #[error("{0}")]
    Rejected(E),
    /// It will not be carried out, whoever leads.
    #[error("{0}")]
    Impossible(String),
    /// No leader took it in time. It had no effect and may be repeated.
    #[error("no leader could be reached, and nothing was done")]
    Unavailable,
    /// It may or may not have its effect, now or later.
    #[error("the outcome is unknown")]
    Unknown,
}

/// A Raft node and its links. Cheap to clone; stays on its thread.
pub struct Relay<S: RaftStateMachine> {
    raft: Raft<S>,
    transport: Transport,
    patience: Duration,
}

impl<S: RaftStateMachine> Clone for Relay<S> {
    fn clone(&self) -> Self {
        let (raft, transport) = (self.raft.clone(), self.transport.clone());
        Self { raft, transport, patience: self.patience }
    }
}

impl<S: RaftStateMachine> fmt::Debug for Relay<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("raft", &self.raft).finish_non_exhaustive()
    }
}

impl<S: RaftStateMachine> Relay<S>
where
    S::Response: Serialize + DeserializeOwned,
    S::Error: Serialize + DeserializeOwned,
{
    /// Asks through `raft` and `transport`, whose addresses are host and port. A request looks for
    /// a leader for `patience`: some election timeouts.
    #[must_use]
    pub fn new(raft: Raft<S>, transport: Transport, patience: Duration) -> Self {
        Self { raft, transport, patience }
    }

    /// The node.
    #[must_use]
    pub fn raft(&self) -> &Raft<S> {
        &self.raft
    }

    /// Replicates a command and resolves with the application's answer, once the leader applied it.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub async fn write(&self, command: &S::Command) -> Result<S::Response, RelayError<S::Error>> {
        let bytes = postcard::to_allocvec(command).map_err(impossible)?;
        let Reply::Written { answer, .. } = self.ask(Call::Write(bytes)).await? else {
            return Err(RelayError::Unknown);
        };
        let answer: Result<S::Response, S::Error> =
            postcard::from_bytes(&answer).ok().ok_or(RelayError::Unknown)?;
        answer.map_err(RelayError::Rejected)
    }

    /// Resolves once this node has applied every write that was acknowledged, by any member, before
    /// this call: a read of its state is linearizable then.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub async fn catch_up(&self) -> Result<LogIndex, RelayError<S::Error>> {
        let Reply::Index(index) = self.ask(Call::ReadIndex).await? else {
            return Err(RelayError::Unknown);
        };
        let applied = async {
            let mut metrics = self.raft.metrics();
            while metrics.applied_index < index {
                let newer = self.raft.metrics_changed(metrics.version).await;
                metrics = newer.ok().ok_or(RelayError::Unavailable)?;
            }
            Ok(index)
        };
        socket::within(self.patience, applied).await.unwrap_or(Err(RelayError::Unavailable))
    }

    /// Changes the membership and resolves when the change is over. What is refused for now, such
    /// as promoting a learner that has not caught up, is asked again.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub async fn change_membership(
        &self,
        change: MembershipChange,
    ) -> Result<(), RelayError<S::Error>> {
        self.ask(Call::Change(change)).await.map(|_| ())
    }

    /// The leader's answer, asked for until there is one.
    async fn ask(&self, call: Call) -> Result<Reply, RelayError<S::Error>> {
        let end = SmolTimer.now() + self.patience;
        loop {
            let reply = self.ask_once(call.clone()).await;
            if may_repeat(&call, &reply) {
                // Only here time is up: what was sent may have its effect.
                if SmolTimer.now() >= end {
                    return Err(RelayError::Unavailable);
                }
                smol::Timer::after(RETRY).await;
                continue;
            }
            match reply {
                Reply::Refused(why) => return Err(RelayError::Impossible(why)),
                Reply::Busy | Reply::NotLeader { .. } | Reply::Unknown => {
                    return Err(RelayError::Unknown);
                }
                reply @ (Reply::Done
                | Reply::Held(_)
                | Reply::Written { .. }
                | Reply::Index(_)
                | Reply::Joined(_)
                | Reply::Leader(_)
                | Reply::Progress(_)
                | Reply::StateDigest(_)
                | Reply::Connections(_)
                | Reply::Found(_)) => return Ok(reply),
            }
        }
    }

    async fn ask_once(&self, call: Call) -> Reply {
        let metrics = self.raft.metrics();
        let Some(leader) = metrics.leader else { return Reply::Busy };
        if leader == metrics.id {
            return self.answer(call).await;
        }
        let Some(address) = metrics.membership.addresses.get(&leader) else { return Reply::Busy };
        match self.transport.call(leader, address, call).await {
            Ok(reply) => reply,
            Err(CallError::Lost) => Reply::Unknown,
            Err(CallError::Unreachable | CallError::Busy) => Reply::Busy,
        }
    }

    /// What this member answers, leader or not.
    async fn answer(&self, call: Call) -> Reply {
        match call {
            Call::Write(bytes) => self.answer_write(&bytes).await,
            Call::ReadIndex => self.raft.read_index().await.map_or_else(refusal, Reply::Index),
            Call::Change(change) => {
                let changed = self.raft.change_membership(change).await;
                changed.map_or_else(refusal, |()| Reply::Done)
            }
            Call::Transfer(target) => {
                self.raft.transfer_leader(target).await.map_or_else(refusal, Reply::Leader)
            }
            Call::Chunk(_)
            | Call::Join { .. }
            | Call::Announce { .. }
            | Call::Promote
            | Call::Progress
            | Call::StateDigest(_)
            | Call::Connections
            | Call::Shift { .. }
            | Call::Found { .. }
            | Call::Who(_) => Reply::Refused("this is not asked in this group".to_owned()),
        }
    }

    async fn answer_write(&self, bytes: &[u8]) -> Reply {
        // Decoded before it is proposed: what cannot be applied must not get into the log.
        let Some(command) = decode(bytes) else {
            return Reply::Refused("this is no command of the application".to_owned());
        };
        let answer = match self.raft.client_write(&command).await {
            Ok(response) => Ok(response),
            Err(ClientWriteError::Rejected(error)) => Err(error),
            Err(ClientWriteError::TooLarge { bytes, bytes_max }) => {
                return Reply::Refused(format!("{bytes} bytes are more than {bytes_max}"));
            }
            Err(error) if error.outcome() == Outcome::Refused => return Reply::Busy,
            Err(_) => return Reply::Unknown,
        };
        match postcard::to_allocvec(&answer) {
            Ok(answer) => Reply::Written { answer, applied: self.raft.metrics().applied_index },
            Err(_) => Reply::Unknown,
        }
    }
}

impl<S: RaftStateMachine + 'static> Handler for Relay<S>
where
    S::Response: Serialize + DeserializeOwned,
    S::Error: Serialize + DeserializeOwned,
{
    fn raft(&self, from: NodeId, message: Message) {
        // What does not fit is lost, as messages may be; Raft counts it.
        let _ = self.raft.receive(from, message);
    }

    /// A group of this kind has no Distro: what arrives is not for it.
    fn distro(&self, _from: NodeId, _message: registry::Message, _bytes: usize) {}

    fn call(&self, from: NodeId, _guest: bool, call: Call) -> LocalFuture<Reply> {
        let relay = self.clone();
        Box::pin(async move {
            let Call::Chunk(chunk) = call else { return relay.answer(call).await };
            let Chunk { term, meta, offset, chunk } = *chunk;
            let held = relay.raft.receive_chunk(from, term, meta, offset, chunk).await;
            held.map_or(Reply::Busy, Reply::Held)
        })
    }
}

/// Whether nothing was done, so that it may be asked again. A read does nothing, whatever became of
/// it.
fn may_repeat(call: &Call, reply: &Reply) -> bool {
    let has_effect = *call != Call::ReadIndex;
    matches!(reply, Reply::Busy | Reply::NotLeader { .. })
        || (*reply == Reply::Unknown && !has_effect)
}

fn refusal(error: RequestError) -> Reply {
    if error == RequestError::Refused(Refusal::InvalidChange) {
        return Reply::Refused(error.to_string());
    }
    match error.outcome() {
        Outcome::Refused => Reply::Busy,
        Outcome::Unknown => Reply::Unknown,
    }
}

fn impossible<E>(why: impl ToString) -> RelayError<E> {
    RelayError::Impossible(why.to_string())
}

static START: OnceLock<time::Instant> = OnceLock::new();

/// The clock of Raft on smol: monotonic, since its first use.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmolTimer;

impl Timer for SmolTimer {
    #[expect(clippy::disallowed_methods, reason = "this is where the time of Raft comes from")]
    fn now(&self) -> Instant {
        let start = START.get_or_init(time::Instant::now);
        Instant::from_micros(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn until(&self, deadline: Instant) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            smol::Timer::after(deadline - Self.now()).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use nacolet_raft::{Application, Config, NoNetwork, RamLog, RamSnapshots, Replica, engine};
    use serde::Deserialize;

    use super::*;
    use crate::{ClusterKey, LinkSettings, Patience};

    #[derive(Serialize, Deserialize)]
    struct Echo;

    impl Application for Echo {
        type Command = u64;
        type Response = u64;
        type Error = ();

        fn apply(&mut self, _: LogIndex, command: u64) -> Result<u64, ()> {
            Ok(command)
        }
    }

    #[test]
    fn a_command_that_goes_on_behind_its_end_is_not_proposed() {
        let node = NodeId(1);
        let (transport, _links) = Transport::new(LinkSettings {
            node,
            key: ClusterKey::new(&[1; 32]).unwrap(),
            cluster: None,
            address: String::new(),
            seed: 1,
            patience: Patience::default(),
        });
        let echo = Replica::new(Echo, RamSnapshots::default());
        let config = Config::new(engine::EngineConfig::new(node, 1));
        let (raft, tasks) =
            Raft::new(config, RamLog::default(), echo, NoNetwork, SmolTimer).unwrap();
        // Whatever is proposed is answered, because nobody is there any more.
        drop(tasks);
        let relay = Relay::new(raft, transport, Duration::ZERO);
        let answer = |bytes: &[u8]| smol::block_on(relay.answer(Call::Write(bytes.to_vec())));
        assert!(!matches!(answer(&[7]), Reply::Refused(_)), "it went to Raft");
        assert!(matches!(answer(&[7, 0]), Reply::Refused(_)));
    }

    #[test]
    fn what_may_have_its_effect_is_not_asked_again() {
        let (write, read) = (Call::Write(vec![1]), Call::ReadIndex);
        for reply in [Reply::Busy, Reply::NotLeader { leader: None }] {
            assert!(may_repeat(&write, &reply) && may_repeat(&read, &reply));
        }
        assert!(!may_repeat(&write, &Reply::Unknown), "it may be applied already");
        assert!(!may_repeat(&Call::Promote, &Reply::Unknown));
        assert!(may_repeat(&read, &Reply::Unknown), "a read does nothing");
        assert!(!may_repeat(&read, &Reply::Index(LogIndex(1))));
    }
}
