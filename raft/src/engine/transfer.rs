//! Handing leadership over (Raft dissertation §3.10). The target first catches up, then campaigns
//! at once, without pre-vote and past the lease. Proposals wait outside meanwhile; a target that
//! does not take over within an election timeout is given up, so a dead one blocks nobody for long.

use nacolet_model::{Instant, NodeId, RequestId};

use super::election::Campaign;
use super::io::{Output, Refusal};
use super::message::{Message, MessageBody};
use super::role::{LeaderTransfer, Role};
use super::state::Engine;

impl Engine {
    /// An operator, or a node that stops, wants another leader.
    pub(super) fn transfer_leader(&mut self, request: RequestId, target: Option<NodeId>) {
        let Role::Leader(leader) = &mut self.role else {
            self.refuse(request, Refusal::NotLeader { leader: self.leader });
            return;
        };
        if leader.transfer.is_some() {
            self.refuse(request, Refusal::Transferring);
            return;
        }
        let voters = &self.membership.voters;
        let best = || {
            let others = leader.progress.iter().filter(|(node, _)| voters.contains(node));
            others.max_by_key(|(_, p)| (p.active, p.match_index)).map(|(node, _)| *node)
        };
        match target.or_else(best) {
            Some(target) if target == self.config.id => {
                self.answers.push(Output::Transferred { request, leader: target });
            }
            Some(target) if voters.contains(&target) => {
                let deadline = self.now + self.config.election_timeout_max;
                leader.reads.void_lease();
                leader.transfer = Some(LeaderTransfer { request, target, deadline });
                self.continue_transfer(target);
            }
            _ => self.refuse(request, Refusal::TransferFailed),
        }
    }

    /// Tells the target to campaign as soon as it holds everything.
    pub(super) fn continue_transfer(&mut self, from: NodeId) {
        let Role::Leader(leader) = &self.role else { return };
        let Some(transfer) = leader.transfer.filter(|transfer| transfer.target == from) else {
            return;
        };
        let caught_up = leader
            .progress
            .get(&transfer.target)
            .is_some_and(|progress| progress.match_index == self.log.last().index);
        if caught_up {
            let message = Message { term: self.term, body: MessageBody::TimeoutNow };
            self.outbox.push((from, message));
        }
    }

    /// The target did not take over.
    pub(super) fn abandon_transfer(&mut self) {
        let under_way = match &mut self.role {
            Role::Leader(leader) => leader.transfer.take(),
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => self.handing_over.take(),
        };
        if let Some(transfer) = under_way {
            self.refuse(transfer.request, Refusal::TransferFailed);
        }
    }

    /// When a transfer is given up.
    pub(super) fn transfer_deadline(&self) -> Option<Instant> {
        let under_way = match &self.role {
            Role::Leader(leader) => leader.transfer,
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => self.handing_over,
        };
        under_way.map(|transfer| transfer.deadline)
    }

    /// The leader wants this node to take over.
    pub(super) fn receive_timeout_now(&mut self, from: NodeId) {
        if self.leader == Some(from) && self.may_campaign() {
            self.campaign(Campaign::Transfer);
        }
    }
}
