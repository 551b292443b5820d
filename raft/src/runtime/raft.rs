//! The handle: what an application holds of a Raft node. Cheap to clone, usable from any thread;
//! every call is one message to RaftCore and one answer back, and a full queue is an answer too.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;

use futures_channel::oneshot;
use nacolet_model::{NodeId, limits};
use serde::Serialize;

use super::error::{
    Cause, ClientWriteError, InitializeError, ReceiveChunkError, ReceiveError, RequestError,
    TriggerSnapshotError,
};
use super::messages::{FromPeer, Notice, RaftMsg, WriteAnswer, WriteChunk};
use super::metrics::{Metrics, SharedMetrics};
use super::queue::{Outbox, SendError};
use super::traits::{RaftStateMachine, SnapshotChunk};
use crate::engine::{Message, Refusal, RoleKind, Status};
use crate::types::{LogIndex, Membership, MembershipChange, SnapshotMeta, Term};

/// A node of a Raft group, replicating the state machine `S`.
///
/// It is `Send + Sync` when the state machine's `Response` and `Error` are `Send`, whatever the
/// state machine itself is.
pub struct Raft<S: RaftStateMachine> {
    shared: Arc<RaftHandle<S>>,
}

pub(crate) struct RaftHandle<S: RaftStateMachine> {
    pub(crate) id: NodeId,
    pub(crate) requests: Outbox<RaftMsg<S>>,
    pub(crate) peers: Outbox<FromPeer>,
    pub(crate) notices: Outbox<Notice>,
    pub(crate) metrics: Arc<SharedMetrics>,
}

impl<S: RaftStateMachine> Clone for Raft<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: RaftStateMachine> fmt::Debug for Raft<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raft").field("id", &self.shared.id).finish_non_exhaustive()
    }
}

impl<S: RaftStateMachine> Raft<S> {
    pub(crate) fn from_handle(handle: RaftHandle<S>) -> Self {
        Self { shared: Arc::new(handle) }
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.shared.id
    }

    /// Replicates `command` and resolves with the application's answer once it is committed and
    /// applied here. The command is encoded before this returns and sent when the future is first
    /// polled; a future that is dropped after that does not take the command back.
    ///
    /// # Errors
    /// [`ClientWriteError::outcome`] tells whether the command may be repeated, and
    /// [`ClientWriteError::leader`] where.
    pub fn client_write<'a>(
        &'a self,
        command: &S::Command,
    ) -> impl Future<Output = WriteAnswer<S>> + use<'a, S> {
        let encoded = encode(command);
        async move {
            let command = encoded.map_err(Unfit::into_error)?;
            let (answer, answered) = oneshot::channel();
            match self.shared.requests.send(RaftMsg::Write { command, answer }) {
                Ok(()) => answered.await.unwrap_or(Err(ClientWriteError::Unknown(Cause::Stopped))),
                Err(SendError::Full(_)) => Err(ClientWriteError::Refused(Refusal::Overloaded)),
                Err(SendError::Closed(_)) => Err(ClientWriteError::Stopped),
            }
        }
    }

    /// Whether this node believes to lead. Another one may have been elected since: a linearizable
    /// read needs [`Self::read_index`].
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.shared.metrics.read(|metrics| metrics.role == RoleKind::Leader)
    }

    /// The leader, when it is known.
    #[must_use]
    pub fn current_leader(&self) -> Option<NodeId> {
        self.shared.metrics.read(|metrics| metrics.leader)
    }

    /// Resolves once a read of the local state machine sees every write that was acknowledged, by
    /// any node, before this call. Returns the index applied for it.
    ///
    /// # Errors
    /// This node does not lead, or could not confirm that it still does.
    pub async fn read_index(&self) -> Result<LogIndex, RequestError> {
        self.request(|answer| RaftMsg::ReadIndex { answer }).await
    }

    /// Begins a new cluster on this node, see [`crate::engine::Engine::bootstrap`]: for a node that
    /// finds out only while it runs that it is the first one. It leads a moment later, which
    /// [`Self::metrics`] tells; what it wrote before that is durable then.
    ///
    /// # Errors
    /// See [`InitializeError`].
    pub async fn initialize(&self, membership: Membership) -> Result<(), InitializeError> {
        let (answer, answered) = oneshot::channel();
        match self.shared.requests.send(RaftMsg::Initialize { membership, answer }) {
            Ok(()) => answered.await.unwrap_or(Err(InitializeError::Stopped)),
            Err(SendError::Full(_)) => Err(InitializeError::Overloaded),
            Err(SendError::Closed(_)) => Err(InitializeError::Stopped),
        }
    }

    /// Adds a learner, or changes the address of a member.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn add_learner(
        &self,
        node: NodeId,
        address: impl Into<alloc::string::String>,
    ) -> Result<(), RequestError> {
        let address = address.into();
        self.change_membership(MembershipChange::AddLearner { node, address }).await
    }

    /// Changes the membership and resolves when the change is over: applied, and out of the joint
    /// step that it may need.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn change_membership(&self, change: MembershipChange) -> Result<(), RequestError> {
        self.request(|answer| RaftMsg::Change { change, answer }).await
    }

    /// Hands leadership to `target`, or to the most advanced voter, and resolves with the new
    /// leader.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn transfer_leader(&self, target: Option<NodeId>) -> Result<NodeId, RequestError> {
        self.request(|answer| RaftMsg::Transfer { target, answer }).await
    }

    /// Has a Raft snapshot taken now, beside applying, and resolves with what it stands for. When
    /// one is being taken already, another one follows it; when nothing was applied since the
    /// newest one, that is the answer.
    ///
    /// # Errors
    /// See [`TriggerSnapshotError`].
    pub async fn trigger_snapshot(&self) -> Result<SnapshotMeta, TriggerSnapshotError> {
        let (answer, answered) = oneshot::channel();
        match self.shared.requests.send(RaftMsg::TriggerSnapshot { answer }) {
            Ok(()) => answered.await.unwrap_or(Err(TriggerSnapshotError::Stopped)),
            Err(SendError::Full(_)) => Err(TriggerSnapshotError::Overloaded),
            Err(SendError::Closed(_)) => Err(TriggerSnapshotError::Stopped),
        }
    }

    /// State of this node now.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics.read(Clone::clone)
    }

    /// Resolves with the first state that is newer than `version`.
    ///
    /// # Errors
    /// The node stopped, or the queue is full.
    pub async fn metrics_changed(&self, version: u64) -> Result<Metrics, RequestError> {
        self.request(|answer| RaftMsg::WatchMetrics { version, answer }).await
    }

    /// The engine at this moment, on a leader with what it knows of each follower: more than
    /// [`Self::metrics`] and dearer.
    ///
    /// # Errors
    /// The node stopped, or the queue is full.
    pub async fn status(&self) -> Result<Status, RequestError> {
        self.request(|answer| RaftMsg::Inspect { answer }).await
    }

    /// Takes a message that arrived from the authenticated peer `from`.
    ///
    /// # Errors
    /// The message is dropped, which Raft can stand; see [`ReceiveError`].
    pub fn receive(&self, from: NodeId, message: Message) -> Result<(), ReceiveError> {
        match self.shared.peers.send(FromPeer::Message { from, message }) {
            Ok(()) => Ok(()),
            Err(SendError::Full(_)) => Err(ReceiveError::Overloaded),
            Err(SendError::Closed(_)) => Err(ReceiveError::Stopped),
        }
    }

    /// Takes a snapshot chunk that arrived from the authenticated peer `from`, and resolves with
    /// the offset held now: the answer to [`crate::RaftNetwork::send_chunk`] on the other side.
    ///
    /// # Errors
    /// See [`ReceiveChunkError`]; the peer should be told that it was not reached.
    pub async fn receive_chunk(
        &self,
        from: NodeId,
        term: Term,
        meta: SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> Result<u64, ReceiveChunkError> {
        let (answer, answered) = oneshot::channel();
        let request = Box::new(WriteChunk { from, term, meta, offset, chunk, answer });
        match self.shared.peers.send(FromPeer::Chunk(request)) {
            Ok(()) => answered.await.unwrap_or(Err(ReceiveChunkError::Stopped)),
            Err(SendError::Full(_)) => Err(ReceiveChunkError::Busy),
            Err(SendError::Closed(_)) => Err(ReceiveChunkError::Stopped),
        }
    }

    /// Stops the node and resolves when RaftCore has ended. Requests that have no answer by then
    /// end with [`Cause::Stopped`]. Hand leadership over first, where there is somebody to take it.
    pub async fn shutdown(&self) {
        let (ended, end) = oneshot::channel();
        if self.shared.notices.send(Notice::Shutdown { ended }).is_ok() {
            // RaftCore drops the sender as its very last act.
            end.await.ok();
        }
    }

    async fn request<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, RequestError>>) -> RaftMsg<S>,
    ) -> Result<T, RequestError> {
        let (answer, answered) = oneshot::channel();
        match self.shared.requests.send(message(answer)) {
            Ok(()) => answered.await.unwrap_or(Err(RequestError::Unknown(Cause::Stopped))),
            Err(SendError::Full(_)) => Err(RequestError::Refused(Refusal::Overloaded)),
            Err(SendError::Closed(_)) => Err(RequestError::Stopped),
        }
    }
}

/// Why a command does not even reach RaftCore.
enum Unfit {
    Unencodable,
    TooLarge(usize),
}

impl Unfit {
    const fn into_error<E>(self) -> ClientWriteError<E> {
        match self {
            Self::Unencodable => ClientWriteError::Unencodable,
            Self::TooLarge(bytes) => {
                ClientWriteError::TooLarge { bytes, bytes_max: limits::COMMAND_BYTES_MAX }
            }
        }
    }
}

fn encode<C: Serialize>(command: &C) -> Result<Arc<[u8]>, Unfit> {
    let Ok(bytes) = postcard::to_allocvec(command) else { return Err(Unfit::Unencodable) };
    if bytes.len() > limits::COMMAND_BYTES_MAX {
        return Err(Unfit::TooLarge(bytes.len()));
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ledger, LedgerCommand};

    fn check_send<T: Send>(_: T) {}

    #[test]
    fn the_handle_and_its_futures_may_move_between_threads() {
        fn every_use(raft: &Raft<Ledger>) {
            check_send(raft.clone());
            check_send(raft.client_write(&LedgerCommand::Refuse));
            check_send(raft.read_index());
            check_send(raft.trigger_snapshot());
            check_send(raft.shutdown());
        }
        // A ledger is full of things that stay on their thread; it compiles all the same.
        let _: fn(&Raft<Ledger>) = every_use;
        fn check_sync<T: Sync>() {}
        check_sync::<Raft<Ledger>>();
    }
}
