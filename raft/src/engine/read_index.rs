//! Linearizable reads (Raft dissertation §6.4): the leader notes its commit index, makes sure that
//! it still leads by one exchange of heartbeats, and answers with the index to be applied first.
//! Reads are confirmed by position, a counter of the term, never by anything a caller chose: a late
//! answer confirms only what was asked before it.

use nacolet_model::{NodeId, RequestId};

use super::io::{Output, Refusal};
use super::quorum::reached;
use super::role::Role;
use super::state::Engine;

impl Engine {
    /// Somebody wants a linearizable read.
    pub(super) fn read_index(&mut self, request: RequestId) {
        let Role::Leader(leader) = &mut self.role else {
            self.refuse(request, Refusal::NotLeader { leader: self.leader });
            return;
        };
        if leader.reads.count >= self.config.reads_max {
            self.refuse(request, Refusal::Overloaded);
            return;
        }
        leader.reads.count += 1;
        leader.reads.fresh.push(request);
    }

    /// Ends a turn: places the reads of this turn together. Before an entry of the term is
    /// committed a leader does not know what is, and they wait (dissertation §6.4, step 1).
    pub(super) fn place_reads(&mut self) {
        let committed_in_term = self.has_committed_in_term();
        let index = self.log.commit_index();
        let certain = self.membership.is_sole_voter(self.config.id) || self.holds_lease();
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.reads.fresh.is_empty() || !committed_in_term {
            return;
        }
        if certain {
            leader.reads.count -= leader.reads.fresh.len();
            for request in leader.reads.fresh.drain(..) {
                self.answers.push(Output::ReadReady { request, index });
            }
            return;
        }
        leader.reads.place(index);
        self.broadcast_heartbeat();
    }

    /// Whether no other leader can have been elected, if clocks run at about the same rate: a
    /// quorum answered a heartbeat *sent* less than an election timeout ago, less a tenth for
    /// drift. An order to campaign breaks the promise on which that rests, however late it arrives.
    fn holds_lease(&self) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let lease = self.config.election_timeout_min / 10 * 9;
        self.config.lease_reads
            && !leader.reads.lease_void
            && leader.reads.heard.is_some_and(|sent| self.now.saturating_since(sent) < lease)
    }

    /// A heartbeat was answered: releases every read at or before the position a quorum confirmed.
    pub(super) fn confirm_reads(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let reads = &mut leader.reads;
        let confirmed =
            reached(&self.membership, |node: NodeId| match leader.progress.get(&node) {
                Some(progress) => progress.read,
                None if node == self.config.id => reads.position,
                None => 0,
            });
        let Some(confirmed) = confirmed else { return };
        while let Some((position, sent)) = reads.rounds.front().copied()
            && position <= confirmed
        {
            reads.heard = Some(sent);
            reads.rounds.pop_front();
        }
        while let Some(batch) = reads.waiting.front()
            && batch.position <= confirmed
        {
            let Some(batch) = reads.waiting.pop_front() else { break };
            reads.count -= batch.requests.len();
            for request in batch.requests {
                self.answers.push(Output::ReadReady { request, index: batch.index });
            }
        }
    }
}
