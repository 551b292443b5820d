//! Campaigns: pre-vote, votes, and when to start one (Raft paper §5.2 and §5.4.1, dissertation
//! §9.6). Answers that give a vote away leave the node only when the vote is durable; see
//! `durability`.

use nacolet_model::{Instant, NodeId, limits};

use super::message::{Message, MessageBody};
use super::quorum::{VoteResult, vote_result};
use super::role::{Role, Votes};
use super::state::Engine;
use crate::types::{LogId, LogIndex, Term};

/// How a campaign begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Campaign {
    /// With the question whether it would be won, if pre-vote is on.
    Timeout,
    /// At once and past the lease: the leader itself asked for it.
    Transfer,
}

impl Engine {
    /// Draws a new election timeout and starts it: no two campaigns of a node, and no two nodes,
    /// keep the same one. It doubles with every candidacy that brought no leader, so that votes
    /// that are written more slowly than a timeout still arrive in the term that asked for them.
    pub(super) fn draw_election_timeout(&mut self) {
        let doublings = self.candidacies.saturating_sub(1);
        let growth = 2_u32.saturating_pow(doublings).min(limits::RAFT_ELECTION_GROWTH_MAX);
        let min = self.config.election_timeout_min * growth;
        let max = self.config.election_timeout_max * growth;
        let spread = u64::try_from((max - min).as_micros()).unwrap_or(u64::MAX);
        let extra = core::time::Duration::from_micros(self.random.below(spread));
        self.election_timeout = min + extra;
        self.election_deadline = self.now + self.election_timeout;
    }

    /// Starts a follower's patience anew. A sole voter has nobody to wait for, except for a leader
    /// that was voted out and will tell it when to take over.
    pub(super) fn arm_election(&mut self) {
        self.draw_election_timeout();
        if self.membership.is_sole_voter(self.config.id) && self.leader.is_none() {
            self.election_deadline = self.now;
        }
    }

    /// Whether this node may stand for election. While a committed membership is not applied it
    /// does not know whose votes it needs; while its last term or vote is being written the next
    /// would only wait behind it. A campaign needs another term, and a place for the entry that
    /// opens it.
    pub(super) fn may_campaign(&self) -> bool {
        !matches!(self.role, Role::Leader(_))
            && self.membership.is_voter(self.config.id)
            && self.snapshots.installing.is_none()
            && !self.log.has_unapplied_membership()
            && !self.durability.is_deciding()
            && self.term.next().is_some()
            && self.log.last().index.free().is_some()
    }

    /// When a campaign is due, if ever.
    pub(super) fn campaign_deadline(&self) -> Option<Instant> {
        self.may_campaign().then_some(self.election_deadline)
    }

    /// Starts a campaign.
    pub(super) fn campaign(&mut self, campaign: Campaign) {
        if campaign == Campaign::Timeout && self.config.pre_vote {
            let Some(term) = self.term.next() else { return };
            self.become_pre_candidate();
            self.ask_voters(term, MessageBody::RequestPreVote { last: self.log.last() });
            self.count_vote(self.config.id, true);
        } else {
            self.campaign_for_votes(campaign == Campaign::Transfer);
        }
    }

    fn campaign_for_votes(&mut self, transfer: bool) {
        let Some(term) = self.term.next() else { return };
        self.become_candidate(term);
        let last = self.log.last();
        self.ask_voters(self.term, MessageBody::RequestVote { last, transfer });
        // The own vote, too, is given only when it is durable: it comes back from the held
        // messages.
        let body = MessageBody::VoteReply { granted: true };
        self.hold(self.config.id, Message { term: self.term, body });
    }

    fn ask_voters(&mut self, term: Term, body: MessageBody) {
        let voters = self.membership.voters.union(&self.membership.outgoing);
        let others: alloc::vec::Vec<NodeId> =
            voters.copied().filter(|voter| *voter != self.config.id).collect();
        for voter in others {
            self.send(voter, Message { term, body: body.clone() });
        }
    }

    /// Whether a living leader protects this node from candidates (Raft dissertation §4.2.3).
    pub(super) fn in_lease(&self) -> bool {
        if !self.config.check_quorum {
            return false;
        }
        if matches!(self.role, Role::Leader(_)) || self.now < self.no_votes_before {
            return true;
        }
        // The promise was made to the leader that was heard: nothing else that is heard since, such
        // as a higher term, takes it back.
        let silence = self.heard_leader.map(|heard| self.now.saturating_since(heard));
        silence.is_some_and(|silence| silence < self.config.election_timeout_min)
    }

    /// Would this node vote? Leaves term and vote alone.
    pub(super) fn receive_pre_vote(&mut self, from: NodeId, term: Term, last: LogId) {
        let granted = term > self.term && self.log.is_up_to_date(last);
        // A refusal carries this node's own term, so that a candidate behind it can catch up.
        let term = if granted { term } else { self.term };
        if !granted {
            self.tell_commit(from, last);
        }
        self.send(from, Message { term, body: MessageBody::PreVoteReply { granted } });
    }

    /// A candidate of this term asks for the vote.
    pub(super) fn receive_vote_request(&mut self, from: NodeId, last: LogId) {
        let free = match self.voted_for {
            Some(candidate) => candidate == from,
            None => self.leader.is_none(),
        };
        let granted = free && self.log.is_up_to_date(last);
        if granted {
            self.voted_for = Some(from);
            self.election_deadline = self.now + self.election_timeout;
        }
        if !granted {
            self.tell_commit(from, last);
        }
        let body = MessageBody::VoteReply { granted };
        self.hold(from, Message { term: self.term, body });
    }

    /// A refused candidate whose log reaches far enough hears what is committed: it may be waiting
    /// for the vote of this node, which does not vote any more in the membership that is in force.
    fn tell_commit(&mut self, to: NodeId, candidate_last: LogId) {
        let index = self.log.commit_index();
        let Some(term) = self.log.term_at(index) else { return };
        if index > LogIndex::ZERO && index <= candidate_last.index {
            let body = MessageBody::Committed { last: LogId { term, index } };
            self.send(to, Message { term: self.term, body });
        }
    }

    /// This entry is committed, whoever says so and in whatever term. If it is in this log, so are
    /// all before it.
    pub(super) fn receive_committed(&mut self, last: LogId) {
        let waits = !matches!(self.role, Role::Leader(_)) && self.snapshots.installing.is_none();
        if waits && self.log.contains(last) {
            self.log.commit_to(last.index);
        }
    }

    /// An answer to a pre-vote. Late ones, for a campaign that is over, say nothing.
    pub(super) fn receive_pre_vote_reply(&mut self, from: NodeId, term: Term, granted: bool) {
        let for_this_campaign = match granted {
            true => Some(term) == self.term.next(),
            false => term == self.term,
        };
        if matches!(self.role, Role::PreCandidate(_)) && for_this_campaign {
            self.count_vote(from, granted);
        }
    }

    /// An answer in this term to a request for votes.
    pub(super) fn receive_vote_reply(&mut self, from: NodeId, granted: bool) {
        if !matches!(self.role, Role::Candidate(_)) {
            return;
        }
        // Nobody was asked before the term was durable, and the own vote with it.
        if self.durability.is_durable(self.term) {
            self.count_vote(from, granted);
        } else {
            self.drop_message();
        }
    }

    /// Counts the first answer of each node.
    fn count_vote(&mut self, from: NodeId, granted: bool) {
        let Some(votes) = self.votes_mut() else { return };
        votes.entry(from).or_insert(granted);
        self.conclude_campaign();
    }

    /// Draws the conclusion from the votes so far. While a committed membership is not applied it
    /// is not known whose votes count.
    pub(super) fn conclude_campaign(&mut self) {
        let result = match &self.role {
            Role::PreCandidate(votes) | Role::Candidate(votes) => {
                vote_result(&self.membership, votes)
            }
            Role::Follower | Role::Leader(_) => return,
        };
        let pre_vote = matches!(self.role, Role::PreCandidate(_));
        match result {
            _ if self.log.has_unapplied_membership() => {}
            _ if !self.membership.is_voter(self.config.id) => {
                self.become_follower(self.term, None);
            }
            VoteResult::Pending => {}
            VoteResult::Lost => self.become_follower(self.term, None),
            VoteResult::Won if pre_vote => self.campaign_for_votes(false),
            VoteResult::Won => self.become_leader(),
        }
    }

    fn votes_mut(&mut self) -> Option<&mut Votes> {
        match &mut self.role {
            Role::PreCandidate(votes) | Role::Candidate(votes) => Some(votes),
            Role::Follower | Role::Leader(_) => None,
        }
    }
}
