//! Who votes and who listens: the arithmetic of changes, and how a leader leads a group through
//! one. Every change of the voters goes through a joint membership, in which both sides must agree
//! (Raft paper §6); the leader proposes to leave it as soon as it is applied, and so does every
//! later leader until it succeeds. A change takes effect when it is applied, as in etcd raft. A
//! change that leaves the voters alone needs no joint step: both sides would be the same set.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;

use nacolet_model::{NodeId, RequestId, limits};

use super::io::Refusal;
use super::progress::{FollowerProgress, ReplicationState};
use super::role::{Leader, Role};
use super::state::Engine;
use crate::types::{EntryPayload, Membership, MembershipChange, gather};

/// Why a membership cannot be in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Nobody votes.
    #[error("nobody votes")]
    NoVoter,
    /// There are more members than may be.
    #[error("there are more than {} members", limits::MEMBERS_MAX)]
    TooMany,
    /// A member both votes and only listens.
    #[error("a member has two parts in it")]
    TwoParts,
    /// An address, or a part in the future, of somebody who is no member.
    #[error("it speaks of somebody who is no member")]
    Stranger,
    /// An address that is too long, or has characters that are in none.
    #[error("a member has an address that is none")]
    Address,
}

/// Whether members may be told to connect there. What it means is the network's business; none is
/// longer than this or has blanks. Empty stands for one that is not known.
fn is_address(text: &str) -> bool {
    text.len() <= limits::PEER_ADDRESS_BYTES_MAX
        && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

impl Membership {
    /// A membership of these voters and their addresses, as a new cluster starts with.
    #[must_use]
    pub fn of_voters(voters: impl IntoIterator<Item = (NodeId, String)>) -> Self {
        let addresses: alloc::collections::BTreeMap<NodeId, String> = gather(voters);
        Self { voters: gather(addresses.keys().copied()), addresses, ..Self::default() }
    }

    /// Whether a joint change is under way.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `node` votes, on either side.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether `node` belongs to it in any way.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// Every member, voters of both sides and learners.
    #[must_use]
    pub fn members(&self) -> BTreeSet<NodeId> {
        let voters = self.voters.union(&self.outgoing);
        gather(voters.chain(&self.learners).copied())
    }

    /// Whether `node` alone decides everything.
    #[must_use]
    pub fn is_sole_voter(&self, node: NodeId) -> bool {
        self.voters.len() == 1
            && self.voters.contains(&node)
            && self.outgoing.iter().all(|voter| *voter == node)
    }

    /// Whether it can be in force at all, wherever it comes from: each member has one part in it,
    /// some vote, and there are not too many.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub fn check(&self) -> Result<(), MembershipError> {
        if self.voters.is_empty() {
            return Err(MembershipError::NoVoter);
        }
        let members = self.members();
        if members.len() > limits::MEMBERS_MAX {
            return Err(MembershipError::TooMany);
        }
        let is_apart = self.learners.is_disjoint(&self.voters)
            && self.learners.is_disjoint(&self.outgoing)
            && self.learners_next.is_disjoint(&self.voters);
        if !is_apart {
            return Err(MembershipError::TwoParts);
        }
        let known = self.learners_next.is_subset(&self.outgoing)
            && self.addresses.keys().all(|node| members.contains(node));
        if !known {
            return Err(MembershipError::Stranger);
        }
        if self.addresses.values().all(|address| is_address(address)) {
            Ok(())
        } else {
            Err(MembershipError::Address)
        }
    }

    /// What `change` makes of a membership that is not joint: the one to propose, joint when the
    /// voters differ. `caught_up` tells whether a learner may become a voter.
    pub(super) fn changed(
        &self,
        change: MembershipChange,
        caught_up: impl Fn(NodeId) -> bool,
    ) -> Result<Self, Refusal> {
        assert!(!self.is_joint(), "one change at a time");
        let mut next = self.clone();
        match change {
            MembershipChange::AddLearner { node, address } => {
                next.addresses.insert(node, address);
                if !self.contains(node) {
                    next.learners.insert(node);
                }
            }
            MembershipChange::Promote(nodes) => {
                if nodes.is_empty() || !nodes.is_subset(&self.learners) {
                    return Err(Refusal::InvalidChange);
                }
                next.learners.retain(|node| !nodes.contains(node));
                next.voters.extend(nodes);
            }
            MembershipChange::SetVoters(nodes) => {
                if !nodes.is_subset(&self.members()) {
                    return Err(Refusal::InvalidChange);
                }
                next.learners.retain(|node| !nodes.contains(node));
                next.learners_next = gather(self.voters.difference(&nodes).copied());
                next.voters = nodes;
            }
            MembershipChange::Remove(nodes) => {
                if nodes.is_empty() || !nodes.is_subset(&self.members()) {
                    return Err(Refusal::InvalidChange);
                }
                next.learners.retain(|node| !nodes.contains(node));
                next.voters.retain(|node| !nodes.contains(node));
            }
        }
        if next.voters.is_empty() || next.members().len() > limits::MEMBERS_MAX {
            return Err(Refusal::InvalidChange);
        }
        if !next.addresses.values().all(|address| is_address(address)) {
            return Err(Refusal::InvalidChange);
        }
        if let Some(node) = next.voters.difference(&self.voters).find(|node| !caught_up(**node)) {
            return Err(Refusal::NotCaughtUp { node: *node });
        }
        if next.voters != self.voters {
            next.outgoing.clone_from(&self.voters);
        }
        next.forget_addresses();
        Ok(next)
    }

    /// What remains when the joint membership is left.
    pub(super) fn left(&self) -> Self {
        let mut next = self.clone();
        next.outgoing.clear();
        next.learners.append(&mut next.learners_next);
        next.forget_addresses();
        next
    }

    fn forget_addresses(&mut self) {
        let members = self.members();
        self.addresses.retain(|node, _| members.contains(node));
    }

    /// Asserts what must hold of every membership in force.
    pub(super) fn invariants(&self) {
        // A node that belongs to no cluster yet has an empty one.
        assert!(*self == Self::default() || self.check() == Ok(()), "{self:?}");
    }
}

impl Engine {
    /// An operator asks for another membership.
    pub(super) fn change_membership(&mut self, request: RequestId, change: MembershipChange) {
        match self.changed_membership(change) {
            Ok(membership) => self.append_membership(Some(request), membership),
            Err(reason) => self.refuse(request, reason),
        }
    }

    fn changed_membership(&self, change: MembershipChange) -> Result<Membership, Refusal> {
        let Role::Leader(leader) = &self.role else {
            return Err(Refusal::NotLeader { leader: self.leader });
        };
        if leader.retiring.is_some() {
            return Err(Refusal::NotLeader { leader: None });
        }
        if leader.transfer.is_some() {
            return Err(Refusal::Transferring);
        }
        let in_progress = leader.pending_change > self.log.applied_index();
        if in_progress || self.membership.is_joint() || !self.has_committed_in_term() {
            return Err(Refusal::ChangeInProgress);
        }
        let last = self.log.last().index;
        self.membership.changed(change, |node| {
            leader.progress.get(&node).is_some_and(|progress| {
                progress.state() == ReplicationState::Replicate
                    && progress.active
                    && last.since(progress.match_index) <= limits::RAFT_PROMOTE_LAG_MAX
            })
        })
    }

    fn append_membership(&mut self, request: Option<RequestId>, membership: Membership) {
        let payload = EntryPayload::Membership(Box::new(membership));
        let Some(id) = self.log.push(self.term, payload) else {
            request.into_iter().for_each(|request| self.refuse(request, Refusal::Overloaded));
            return;
        };
        if let Role::Leader(leader) = &mut self.role {
            leader.pending_change = id.index;
        }
        if let Some(request) = request {
            self.answers.push(super::Output::Proposed { request, id });
        }
    }

    /// Proposes to leave a joint membership that is in force, unless that is already under way.
    /// Asked in every turn, hence also by a leader that found the change half done.
    pub(super) fn leave_joint(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let free = leader.pending_change <= self.log.applied_index() && leader.transfer.is_none();
        if self.membership.is_joint() && free && self.has_committed_in_term() {
            self.append_membership(None, self.membership.left());
        }
    }

    /// A membership takes effect: it was applied, or came with a snapshot.
    pub(super) fn enter_membership(&mut self, membership: Membership) {
        let could_campaign = self.membership.is_voter(self.config.id);
        self.membership = membership;
        self.memberships_entered += 1;
        if matches!(self.role, Role::Leader(_)) {
            self.lead_membership();
        } else if !could_campaign || self.membership.is_sole_voter(self.config.id) {
            self.arm_election();
        }
    }

    /// The leader's share: followers come and go, the quorum may be another one, and it may itself
    /// have been voted out.
    fn lead_membership(&mut self) {
        self.tell_removed_members();
        let last = self.log.last().index;
        let members = self.membership.members();
        if let Role::Leader(leader) = &mut self.role {
            leader.progress.retain(|node, _| members.contains(node));
            for node in members.iter().filter(|node| **node != self.config.id) {
                // A new member counts as heard, so that it is not taken for dead before it can
                // speak.
                leader.progress.entry(*node).or_insert_with(|| FollowerProgress::new(last, true));
            }
            if leader.transfer.is_some_and(|transfer| !members.contains(&transfer.target)) {
                self.abandon_transfer();
            }
        }
        // A smaller quorum may already have been reached, perhaps by this node alone.
        self.advance_commit();
        self.confirm_reads();
        if !self.membership.is_voter(self.config.id) {
            self.retire();
        } else if let Role::Leader(leader) = &mut self.role {
            leader.heartbeat_deadline = self.now;
        }
    }

    /// A last word to those who go, so that they apply their own removal and stay quiet.
    fn tell_removed_members(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let gone: alloc::vec::Vec<NodeId> =
            leader.progress.keys().copied().filter(|n| !self.membership.contains(*n)).collect();
        for node in gone {
            self.replicate_to(node);
            self.heartbeat_to(node);
        }
    }
}

impl Leader {
    /// Asserts that exactly the other members are followed.
    pub(super) fn membership_invariants(&self, id: NodeId, membership: &Membership) {
        let others = membership.members().into_iter().filter(|node| *node != id);
        assert!(self.progress.keys().copied().eq(others), "the leader follows all other members");
    }
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
