//! What goes into the engine and what comes out: the whole contract between the pure engine and
//! RaftCore. Inputs are what happened or is asked; outputs are orders, to be carried out in the
//! order given.

use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::{NodeId, RequestId};

use super::message::Message;
use crate::types::{Entry, HardState, LogId, LogIndex, MembershipChange, SnapshotMeta, Term};

/// Numbers the orders to persist; completions name the highest one that is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersistId(pub u64);

/// What happened, or what is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A deadline may have passed.
    Wake,
    /// An application asks to replicate a command.
    Propose {
        /// Answered by `Output::Proposed` or `Output::Refused`.
        request: RequestId,
        /// Opaque bytes.
        command: Arc<[u8]>,
    },
    /// An operator asks for another membership. Answered like `Propose`.
    ChangeMembership {
        /// Who waits.
        request: RequestId,
        /// What to change.
        change: MembershipChange,
    },
    /// A message of a peer arrived.
    Receive {
        /// The authenticated sender.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// Every `Output::Persist` up to and including this one is durable.
    Persisted(PersistId),
    /// The state machine has applied everything up to here.
    Applied(LogIndex),
    /// Somebody wants a linearizable read. Answered by `Output::ReadReady` or `Output::Refused`.
    ReadIndex {
        /// Who waits.
        request: RequestId,
    },
    /// Hand leadership to `target`, or to the most advanced voter when `None`.
    TransferLeader {
        /// Who waits. Answered by `Output::Transferred` or `Output::Refused`.
        request: RequestId,
        /// The next leader.
        target: Option<NodeId>,
    },
    /// The state machine holds a durable snapshot of its own making: the log up to it may go.
    SnapshotBuilt(SnapshotMeta),
    /// The snapshot ordered by `Output::InstallSnapshot` is durable and is now the state.
    SnapshotInstalled(SnapshotMeta),
    /// The snapshot ordered by `Output::SendSnapshot` arrived whole, or was given up.
    SnapshotSent {
        /// The follower.
        to: NodeId,
        /// Last entry of what was sent.
        last: LogId,
        /// Whether the follower has it.
        delivered: bool,
    },
    /// A whole snapshot arrived from a peer and waits aside, durable or not, for the engine's word.
    SnapshotReceived {
        /// The sender.
        from: NodeId,
        /// The sender's term.
        term: Term,
        /// What it stands for.
        meta: SnapshotMeta,
    },
    /// The network could not reach this peer; probing replaces pipelining.
    Unreachable(NodeId),
    /// An operator wants a Raft snapshot now. Answered by `Output::BuildSnapshot`, at once or after
    /// the one being built; never when nothing was applied since the last.
    TriggerSnapshot,
    /// The build ordered by `Output::BuildSnapshot` was given up; the old snapshot stays.
    SnapshotBuildFailed,
    /// The snapshot ordered by `Output::InstallSnapshot` could not be installed; state and log are
    /// as before.
    SnapshotInstallFailed(SnapshotMeta),
}

/// What the shell must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write hard state and entries in one atomic record and make them durable. Entries replace
    /// whatever is stored from the first one's index on. Answered by `Input::Persisted`.
    Persist {
        /// Ascending; the engine may issue several before the first is answered.
        id: PersistId,
        /// New hard state, when it changed.
        hard_state: Option<HardState>,
        /// Consecutive entries, possibly none.
        entries: Vec<Entry>,
    },
    /// Send this now. What must wait for durability was held back by the engine.
    Send {
        /// The receiver.
        to: NodeId,
        /// What to say.
        message: Message,
    },
    /// These entries are committed: apply them in order. Answered by `Input::Applied`.
    Apply(Vec<Entry>),
    /// The proposal took this place in the log. It is committed when an entry with this very id is
    /// applied; when another entry is applied there, its outcome is `Refused`-like: lost.
    Proposed {
        /// Who waits.
        request: RequestId,
        /// Its place.
        id: LogId,
    },
    /// Certainly no effect.
    Refused {
        /// Who waits.
        request: RequestId,
        /// Why.
        reason: Refusal,
    },
    /// Once the state machine has applied `index`, a local read is linearizable.
    ReadReady {
        /// Who waits.
        request: RequestId,
        /// Read no earlier than this.
        index: LogIndex,
    },
    /// Leadership has moved.
    Transferred {
        /// Who waits.
        request: RequestId,
        /// Whom this node now follows.
        leader: NodeId,
    },
    /// Build a snapshot at the applied index. Answered by `Input::SnapshotBuilt`.
    BuildSnapshot,
    /// The stored log up to and including this index is not needed any more.
    Purge(LogIndex),
    /// Send the newest snapshot, in chunks. Answered by `Input::SnapshotSent`.
    SendSnapshot {
        /// The follower behind the tail.
        to: NodeId,
        /// The leader's term, for the chunks' header.
        term: Term,
    },
    /// Replace state and log by the received snapshot, atomically. Answered by
    /// `Input::SnapshotInstalled`.
    InstallSnapshot(SnapshotMeta),
    /// The received snapshot is of no use: drop it.
    DiscardSnapshot(SnapshotMeta),
    /// Term, role, leader or membership changed; for metrics, logs and the network's peer list.
    StatusChanged,
}

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another node leads, or nobody is known to.
    #[error("not the leader")]
    NotLeader {
        /// Where to go instead.
        leader: Option<NodeId>,
    },
    /// The leader holds as many uncommitted bytes as it may.
    #[error("too much is waiting to be committed")]
    Overloaded,
    /// A leadership transfer is under way.
    #[error("leadership is being handed over")]
    Transferring,
    /// Another membership change is under way, or the leader has not committed in its term yet.
    #[error("another membership change is under way")]
    ChangeInProgress,
    /// The change names unknown members, or would leave no voter.
    #[error("the membership change is not possible")]
    InvalidChange,
    /// A learner to be promoted is too far behind.
    #[error("the learner has not caught up")]
    NotCaughtUp {
        /// Which one.
        node: NodeId,
    },
    /// The transfer's target is not a voter, or did not take over in time.
    #[error("the target did not take over")]
    TransferFailed,
}
