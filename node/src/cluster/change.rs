//! Changes of the membership, on the leader: who comes, who moved, who goes. Two members never
//! share a node id or an address: whoever is there keeps it, and of a member that lost its data
//! directory only the address comes back, under a new id.

use nacolet_model::NodeId;
use nacolet_raft::engine::{FollowerStatus, ReplicationState};
use nacolet_raft::{LogIndex, MembershipChange};
use nacolet_transport::{ClusterId, FollowerState, Progress, Reply};

use super::address::{is_address, peer_of};
use super::view::Cluster;

impl Cluster {
    /// The id of the cluster: the founder's.
    pub(crate) fn cluster_id(&self) -> Option<ClusterId> {
        let record = self.record.borrow();
        record.as_ref().map_or(Some(ClusterId(self.me().0)), |record| record.cluster)
    }

    /// Makes a learner of `from`.
    pub(crate) async fn take_in(&self, from: NodeId, address: String) -> Reply {
        if !self.raft.is_leader() {
            return self.not_leader();
        }
        let Some(cluster) = self.cluster_id() else { return self.not_leader() };
        if !is_address(&address) {
            return Reply::Refused("that is no address".to_owned());
        }
        let membership = self.raft.metrics().membership;
        if membership.addresses.get(&from) == Some(&address) {
            return Reply::Joined(cluster);
        }
        let known = membership.addresses.get(&from);
        if let Some(known) = known.filter(|known| peer_of(known) != peer_of(&address))
            && let Some(reply) = self.id_in_use(from, known)
        {
            return reply;
        }
        let same = |other: &String| peer_of(other) == peer_of(&address);
        let holder = membership.addresses.iter().find(|(id, other)| **id != from && same(other));
        if let Some((holder, _)) = holder {
            if *holder == self.me() || self.transport.is_up(*holder) {
                return Reply::Refused(format!(
                    "{} is the address of the member {holder}",
                    peer_of(&address)
                ));
            }
            // Only one process listens there, and it has another id now: the old member's data
            // directory is gone. Without it no majority gets larger.
            self.warn(&format!("the member {holder} is removed: its address {address} joins anew"));
            let removed = self.change_here(MembershipChange::Remove([*holder].into())).await;
            if removed != Reply::Done {
                return removed;
            }
        }
        let added = self.change_here(MembershipChange::AddLearner { node: from, address }).await;
        if added == Reply::Done { Reply::Joined(cluster) } else { added }
    }

    /// A member tells where it listens, and what it holds.
    pub(crate) async fn announced(&self, from: NodeId, address: String, last: LogIndex) -> Reply {
        // Confirmed first: one that was deposed may remember a membership of old times.
        if let Err(error) = self.raft.read_index().await {
            return self.refusal(&error);
        }
        let membership = self.raft.metrics().membership;
        let Some(known) = membership.addresses.get(&from) else {
            return Reply::Refused(NOT_A_MEMBER.to_owned());
        };
        if let Ok(status) = self.raft.status().await
            && let Some(follower) = status.followers.get(&from)
            && follower.state != ReplicationState::Replicate
            && follower.match_index > last
        {
            // Not while entries stream: it may have acknowledged more since it said so.
            return Reply::Refused(format!(
                "its data directory is older than what it acknowledged: it ends at {} and held {}; \
                 remove the member and join again with an empty directory",
                last.0, follower.match_index.0
            ));
        }
        if *known == address {
            return Reply::Done;
        }
        if !is_address(&address) {
            return Reply::Refused("that is no address".to_owned());
        }
        // Who answers at the same place is the member itself, with another HTTP port.
        if peer_of(known) != peer_of(&address)
            && let Some(reply) = self.id_in_use(from, known)
        {
            return reply;
        }
        self.change_here(MembershipChange::AddLearner { node: from, address }).await
    }

    /// A node id that somebody else answers to, at its known address.
    fn id_in_use(&self, from: NodeId, known: &str) -> Option<Reply> {
        let used = from == self.me() || self.transport.is_up_at(from, peer_of(known));
        used.then(|| {
            Reply::Refused(format!(
                "the node id {from} is in use: a data directory must not be copied"
            ))
        })
    }

    /// Makes a voter of a learner that has caught up.
    pub(crate) async fn promote(&self, from: NodeId) -> Reply {
        if self.raft.metrics().membership.is_voter(from) {
            return Reply::Done;
        }
        self.change_here(MembershipChange::Promote([from].into())).await
    }

    /// Changes the membership, by whomever it was asked for.
    pub(crate) async fn change_here(&self, change: MembershipChange) -> Reply {
        if let MembershipChange::AddLearner { address, .. } = &change
            && !is_address(address)
        {
            return Reply::Refused("that is no address".to_owned());
        }
        match self.raft.change_membership(change).await {
            Ok(()) => Reply::Done,
            Err(error) => self.refusal(&error),
        }
    }

    /// What this node knows of its followers.
    pub(crate) async fn progress_here(&self) -> Reply {
        if !self.raft.is_leader() {
            return self.not_leader();
        }
        match self.raft.status().await {
            Ok(status) => {
                let line = |(node, follower): (NodeId, FollowerStatus)| Progress {
                    node,
                    match_index: follower.match_index,
                    state: state_of(follower),
                };
                let own = Progress {
                    node: status.id,
                    match_index: status.durable_index,
                    state: FollowerState::Replicate,
                };
                let followers = status.followers.into_iter().map(line);
                Reply::Progress(followers.chain([own]).collect())
            }
            Err(error) => self.refusal(&error),
        }
    }
}

/// The answer to somebody who was removed.
pub(crate) const NOT_A_MEMBER: &str = "it is not a member";

const fn state_of(follower: FollowerStatus) -> FollowerState {
    match follower.state {
        _ if !follower.active => FollowerState::Unreachable,
        ReplicationState::Probe => FollowerState::Probe,
        ReplicationState::Replicate => FollowerState::Replicate,
        ReplicationState::Snapshot => FollowerState::Snapshot,
    }
}
