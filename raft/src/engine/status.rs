//! What an engine is at one moment, as a value: for metrics, operators and tests. Reading it
//! changes nothing.

use alloc::collections::BTreeMap;

use nacolet_model::NodeId;

use super::progress::ReplicationState;
use super::role::{Role, RoleKind};
use super::state::{Announced, Engine};
use crate::types::{LogId, LogIndex, Membership, Term, gather};

/// An engine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in that term.
    pub voted_for: Option<NodeId>,
    /// What it is in that term.
    pub role: RoleKind,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Highest index known to be committed.
    pub commit_index: LogIndex,
    /// Highest index applied by the state machine.
    pub applied_index: LogIndex,
    /// Highest index that is durable here.
    pub durable_index: LogIndex,
    /// The last entry of the log.
    pub last: LogId,
    /// The entry right before those that are kept in memory.
    pub tail_base: LogId,
    /// Where the newest Raft snapshot ends.
    pub snapshot: LogId,
    /// Bytes that are not applied yet.
    pub unapplied_bytes: usize,
    /// The membership in force.
    pub membership: Membership,
    /// The other members, as a leader sees them; empty elsewhere.
    pub followers: BTreeMap<NodeId, FollowerStatus>,
    /// Messages of peers that no honest peer sends.
    pub dropped_messages: u64,
}

/// One follower, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FollowerStatus {
    /// Known to match the leader's log and to be durable.
    pub match_index: LogIndex,
    /// The next entry to send.
    pub next_index: LogIndex,
    /// How it is fed.
    pub state: ReplicationState,
    /// Whether it was heard lately: since the check of the quorum before the last one. A new
    /// leader, which has had no time to hear anybody, takes it for heard.
    pub active: bool,
}

impl Engine {
    /// This node at this moment.
    #[must_use]
    pub fn status(&self) -> Status {
        let followers = match &self.role {
            Role::Leader(leader) => gather(leader.progress.iter().map(|(node, progress)| {
                let status = FollowerStatus {
                    match_index: progress.match_index,
                    next_index: progress.next_index,
                    state: progress.state(),
                    active: progress.active || progress.was_active,
                };
                (*node, status)
            })),
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => BTreeMap::new(),
        };
        Status {
            id: self.config.id,
            term: self.term,
            voted_for: self.voted_for,
            role: self.role(),
            leader: self.leader,
            commit_index: self.log.commit_index(),
            applied_index: self.log.applied_index(),
            durable_index: self.log.durable_index(),
            last: self.log.last(),
            tail_base: self.log.base(),
            snapshot: self.snapshots.last,
            unapplied_bytes: self.log.unapplied_bytes(),
            membership: self.membership.clone(),
            followers,
            dropped_messages: self.dropped_messages,
        }
    }

    /// The part of the status whose changes are announced.
    pub(super) fn announcement(&self) -> Announced {
        Announced {
            term: self.term,
            role: self.role(),
            leader: self.leader,
            membership: self.memberships_entered,
        }
    }
}
