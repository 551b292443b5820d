//! What is on its way to the disk, and what waits for it. Votes, acknowledgements and the
//! candidate's own vote are held here until the record that makes them true is durable, so the
//! shell cannot get the order wrong (Raft paper §5.1: "updated on stable storage before
//! responding").
//!
//! One turn makes at most one `Output::Persist`; several may be under way. Each remembers where the
//! log ended when it was ordered. When the log is cut, that mark is lowered, so that the completion
//! of an overwritten entry is never taken for the one now at its place.

use alloc::vec::Vec;

use nacolet_model::NodeId;

use super::io::{Output, PersistId};
use super::message::{AppendResult, Message, MessageBody};
use super::state::{Engine, HeldMessage, PendingPersist};
use crate::types::{HardState, LogIndex};

impl Engine {
    /// Sends once everything decided so far is durable.
    pub(super) fn hold(&mut self, to: NodeId, message: Message) {
        // Acknowledgements of one turn to one leader add up to the last of them.
        if let Some(held) = self.durability.held.back_mut()
            && held.until.is_none()
            && held.to == to
            && held.message.term == message.term
            && let (Some(old), Some(new)) = (matched(&held.message), matched(&message))
        {
            if new > old {
                held.message = message;
            }
            return;
        }
        self.durability.held.push_back(HeldMessage { until: None, to, message });
    }

    /// Sends in this turn, unless the message would tell of a term that is not durable yet. A
    /// pre-vote speaks of terms nobody is in.
    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        let hypothetical = matches!(
            message.body,
            MessageBody::RequestPreVote { .. } | MessageBody::PreVoteReply { granted: true }
        );
        if hypothetical || message.term <= self.durability.durable_term {
            self.outbox.push((to, message));
        } else {
            self.hold(to, message);
        }
    }

    /// Every order up to `id` is durable.
    pub(super) fn persisted(&mut self, id: PersistId) {
        let mut decided = false;
        let durability = &mut self.durability;
        assert!(id <= durability.last_id, "only what was ordered is reported durable");
        while let Some(pending) = durability.pending.front()
            && pending.id <= id
        {
            self.log.make_durable(pending.log_until);
            durability.durable_term = durability.durable_term.max(pending.term);
            decided |= pending.decided;
            durability.pending.pop_front();
        }
        if decided && !self.membership.is_sole_voter(self.config.id) {
            // Whoever's vote took its time gives the others theirs.
            self.election_deadline = self.now + self.election_timeout;
        }
        while let Some(held) = self.durability.held.front()
            && held.until.is_some_and(|until| until <= id)
        {
            let Some(held) = self.durability.held.pop_front() else { break };
            self.release(held);
        }
        self.advance_commit();
    }

    /// What waited may go, unless its term is over.
    fn release(&mut self, held: HeldMessage) {
        if held.message.term != self.term {
            return;
        }
        if held.to == self.config.id {
            self.receive_vote_reply(held.to, true);
        } else {
            self.outbox.push((held.to, held.message));
        }
    }

    /// Ends a turn: one record with all that changed, and a name for what waits for it.
    pub(super) fn order_persist(&mut self, out: &mut Vec<Output>) {
        let now = HardState {
            term: self.term,
            voted_for: self.voted_for,
            commit_index: self.log.commit_index(),
        };
        let ordered = self.durability.ordered;
        let entries = self.log.take_unsaved();
        let decided = (now.term, now.voted_for) != (ordered.term, ordered.voted_for);
        // The commit index alone is a hint and not worth a write, unless it says who votes: after a
        // restart nobody else might be there to tell.
        let says_who_votes =
            now.commit_index > ordered.commit_index && self.log.has_unapplied_membership();
        if decided || !entries.is_empty() || says_who_votes {
            let id = PersistId(self.durability.last_id.0 + 1);
            let log_until = self.log.last().index;
            self.durability.last_id = id;
            self.durability.ordered = now;
            self.durability.pending.push_back(PendingPersist {
                id,
                term: now.term,
                decided,
                log_until,
            });
            out.push(Output::Persist { id, hard_state: (now != ordered).then_some(now), entries });
        }
        let until = self.durability.pending.back().map(|pending| pending.id);
        let named = self.durability.held.iter().take_while(|held| held.until.is_some()).count();
        if until.is_some() {
            for held in self.durability.held.range_mut(named..) {
                held.until = until;
            }
            return;
        }
        for held in self.durability.held.split_off(named) {
            self.release(held);
        }
    }
}

fn matched(message: &Message) -> Option<LogIndex> {
    let MessageBody::AppendEntriesReply { result: AppendResult::Matched(index) } = &message.body
    else {
        return None;
    };
    Some(*index)
}
