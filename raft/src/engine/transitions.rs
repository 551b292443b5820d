//! How a node moves between the roles of Raft paper figure 4.
//!
//! ```text
//!            timeout               would win              wins
//!  Follower ─────────► PreCandidate ─────────► Candidate ──────► Leader
//!     ▲  ▲                  │                      │                │
//!     │  └──────────────────┴──── loses, or hears ─┘                │
//!     └──────── a higher term, or no majority for an election timeout ┘
//! ```

use alloc::boxed::Box;

use nacolet_model::NodeId;

use super::io::{Output, Refusal};
use super::progress::FollowerProgress;
use super::reads::Reads;
use super::role::{Leader, Role, RoleKind, Votes};
use super::state::Engine;
use crate::types::{EntryPayload, Term, gather};

impl Engine {
    /// What this node is now.
    #[must_use]
    pub fn role(&self) -> RoleKind {
        match &self.role {
            Role::Follower if self.membership.is_voter(self.config.id) => RoleKind::Follower,
            Role::Follower => RoleKind::Learner,
            Role::PreCandidate(_) => RoleKind::PreCandidate,
            Role::Candidate(_) => RoleKind::Candidate,
            Role::Leader(_) => RoleKind::Leader,
        }
    }

    /// Follows `leader`, if it is known, in `term`. The vote is kept inside a term.
    pub(super) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        assert!(term >= self.term, "terms never go back");
        if term > self.term {
            self.term = term;
            self.voted_for = None;
        }
        if let Role::Leader(old) = core::mem::replace(&mut self.role, Role::Follower) {
            for request in old.reads.into_requests() {
                self.refuse(request, Refusal::NotLeader { leader });
            }
            self.handing_over = old.transfer;
        }
        self.follow(leader);
        self.arm_election();
    }

    /// Notes who leads and that it was heard just now.
    pub(super) fn follow(&mut self, leader: Option<NodeId>) {
        self.leader = leader;
        let Some(leader) = leader else { return };
        if leader != self.config.id {
            self.heard_leader = Some(self.now);
        }
        if core::mem::take(&mut self.candidacies) > 0 {
            self.draw_election_timeout();
        }
        let Some(transfer) = self.handing_over.take() else { return };
        if leader == self.config.id {
            self.refuse(transfer.request, Refusal::TransferFailed);
        } else {
            self.answers.push(Output::Transferred { request: transfer.request, leader });
        }
    }

    /// Asks whether it would win, without raising the term.
    pub(super) fn become_pre_candidate(&mut self) {
        self.leader = None;
        self.role = Role::PreCandidate(Votes::new());
        self.draw_election_timeout();
    }

    /// Raises the term and votes for itself; the vote counts when it is durable.
    pub(super) fn become_candidate(&mut self, term: Term) {
        assert!(term > self.term, "a campaign opens a term");
        self.term = term;
        self.candidacies = self.candidacies.saturating_add(1);
        self.voted_for = Some(self.config.id);
        self.leader = None;
        self.role = Role::Candidate(Votes::new());
        self.draw_election_timeout();
    }

    /// Leads, and opens the term with a blank entry: only through it can entries of earlier terms
    /// be committed (Raft paper §5.4.2).
    pub(super) fn become_leader(&mut self) {
        assert!(matches!(self.role, Role::Candidate(_)), "only a candidate becomes leader");
        let last = self.log.last().index;
        let others = self.membership.members().into_iter().filter(|id| *id != self.config.id);
        self.role = Role::Leader(Box::new(Leader {
            progress: gather(others.map(|id| (id, FollowerProgress::new(last, false)))),
            heartbeat_deadline: self.now + self.config.heartbeat_interval,
            quorum_deadline: self.now + self.config.election_timeout_min,
            pending_change: last,
            reads: Reads::default(),
            transfer: None,
            retiring: None,
        }));
        self.follow(Some(self.config.id));
        // Whoever campaigns has a place for it.
        let _ = self.log.push(self.term, EntryPayload::Blank);
    }
}
