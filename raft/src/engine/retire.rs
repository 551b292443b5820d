//! A leader that was voted out. It goes on leading, without a vote of its own, until a quorum of
//! the new membership holds its whole log and is known to have heard that it is committed; only
//! then does it fall silent. Otherwise those who remain could believe that they still need its
//! vote, and never get it (etcd#10563). When it goes it asks the most advanced voter to take over,
//! so that nobody waits for an election timeout. Should it fail before, `Committed` messages free
//! the others.

use nacolet_model::NodeId;

use super::message::{Message, MessageBody};
use super::quorum::reached;
use super::role::{Retiring, Role};
use super::state::Engine;
use crate::types::LogIndex;

impl Engine {
    /// This leader has no vote any more.
    pub(super) fn retire(&mut self) {
        let until = self.log.last().index;
        if let Role::Leader(leader) = &mut self.role {
            leader.reads.void_lease();
            leader.retiring.get_or_insert(Retiring { until, told: false });
        }
        if self.membership.voters.is_empty() {
            self.become_follower(self.term, None);
        }
    }

    /// Ends a turn: tells everybody as soon as all is committed, without waiting for the next
    /// heartbeat.
    pub(super) fn say_farewell(&mut self) {
        let commit_index = self.log.commit_index();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(retiring) = &mut leader.retiring else { return };
        if retiring.told || commit_index < retiring.until {
            return;
        }
        retiring.told = true;
        self.broadcast_heartbeat();
    }

    /// Steps down once a quorum of the others knows everything.
    pub(super) fn retire_if_known(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let Some(retiring) = leader.retiring else { return };
        let known = |node: NodeId| {
            leader.progress.get(&node).map_or(LogIndex::ZERO, |progress| progress.known_commit)
        };
        if reached(&self.membership, known).is_none_or(|index| index < retiring.until) {
            return;
        }
        let successor = self.membership.voters.iter().copied().max_by_key(|node| known(*node));
        if let Some(successor) = successor {
            let message = Message { term: self.term, body: MessageBody::TimeoutNow };
            self.outbox.push((successor, message));
        }
        self.become_follower(self.term, None);
    }
}
