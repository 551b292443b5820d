//! The roles of Raft paper figure 4 and what each one holds. How a node moves between them is in
//! `transitions`.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use nacolet_model::{Instant, NodeId, RequestId};

use super::progress::FollowerProgress;
use super::reads::Reads;
use crate::types::LogIndex;

/// What this node is in its term.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it would win.
    PreCandidate(Votes),
    /// Asks for votes.
    Candidate(Votes),
    /// Leads. Boxed: most nodes do not.
    Leader(Box<Leader>),
}

/// The first answer of each node in a campaign.
pub(super) type Votes = BTreeMap<NodeId, bool>;

/// What only a leader holds.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    /// Every member but this node.
    pub(super) progress: BTreeMap<NodeId, FollowerProgress>,
    /// When the next heartbeats are due.
    pub(super) heartbeat_deadline: Instant,
    /// When the quorum is checked next.
    pub(super) quorum_deadline: Instant,
    /// No membership change is proposed before this index is applied.
    pub(super) pending_change: LogIndex,
    /// Linearizable reads.
    pub(super) reads: Reads,
    /// Leadership is being handed over.
    pub(super) transfer: Option<LeaderTransfer>,
    /// It was voted out, and leads until the others know.
    pub(super) retiring: Option<Retiring>,
}

/// How far a leader's farewell got.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retiring {
    /// The end of the log when it was voted out: everything up to here is to be committed and
    /// known.
    pub(super) until: LogIndex,
    /// Whether heartbeats went out since that is committed.
    pub(super) told: bool,
}

/// A transfer under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaderTransfer {
    pub(super) request: RequestId,
    pub(super) target: NodeId,
    /// When it is given up.
    pub(super) deadline: Instant,
}

/// The role of a node, for people and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoleKind {
    /// Does not vote, or does not know yet that it does.
    #[default]
    Learner,
    /// Follows.
    Follower,
    /// Asks whether it would win an election.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}
