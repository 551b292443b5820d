//! Majority and joint counting: pure functions over a membership and a value per voter. Commit
//! index, votes, check-quorum, read confirmations and leases all count through this one file, so
//! none of them can forget one side of a joint membership (Raft paper §6).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use nacolet_model::NodeId;

use crate::types::Membership;

/// How many of `count` voters make a majority.
pub(super) const fn majority(count: usize) -> usize {
    count / 2 + 1
}

/// The greatest value that a majority of the voters, on both sides of a joint membership, have
/// reached. `None` when there is no voter at all, so nothing can be agreed.
pub(super) fn reached<T: Ord + Copy>(
    membership: &Membership,
    value: impl Fn(NodeId) -> T,
) -> Option<T> {
    let incoming = reached_by_majority(&membership.voters, &value)?;
    match reached_by_majority(&membership.outgoing, &value) {
        Some(outgoing) => Some(incoming.min(outgoing)),
        None => Some(incoming),
    }
}

fn reached_by_majority<T: Ord + Copy>(
    voters: &BTreeSet<NodeId>,
    value: impl Fn(NodeId) -> T,
) -> Option<T> {
    let values: Vec<T> = voters.iter().map(|voter| value(*voter)).collect();
    // A handful of voters: counting is as fast as sorting and a twentieth of its code.
    let reached = |value: &T| values.iter().filter(|other| *other >= value).count();
    values.iter().filter(|value| reached(value) >= majority(voters.len())).max().copied()
}

/// Where a campaign stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VoteResult {
    /// Enough granted, on both sides of a joint membership.
    Won,
    /// It cannot be won any more.
    Lost,
    /// Answers are missing.
    Pending,
}

/// Counts votes; answers of nodes that do not vote are ignored.
pub(super) fn vote_result(membership: &Membership, votes: &BTreeMap<NodeId, bool>) -> VoteResult {
    if membership.voters.is_empty() {
        return VoteResult::Lost;
    }
    let incoming = majority_result(&membership.voters, votes);
    let outgoing = match membership.outgoing.is_empty() {
        true => VoteResult::Won,
        false => majority_result(&membership.outgoing, votes),
    };
    match (incoming, outgoing) {
        (VoteResult::Lost, _) | (_, VoteResult::Lost) => VoteResult::Lost,
        (VoteResult::Won, VoteResult::Won) => VoteResult::Won,
        (VoteResult::Pending, _) | (_, VoteResult::Pending) => VoteResult::Pending,
    }
}

fn majority_result(voters: &BTreeSet<NodeId>, votes: &BTreeMap<NodeId, bool>) -> VoteResult {
    let count = |wanted: Option<bool>| {
        voters.iter().filter(|voter| votes.get(voter).copied() == wanted).count()
    };
    let (granted, missing) = (count(Some(true)), count(None));
    if granted >= majority(voters.len()) {
        VoteResult::Won
    } else if granted + missing < majority(voters.len()) {
        VoteResult::Lost
    } else {
        VoteResult::Pending
    }
}

#[cfg(test)]
#[path = "quorum_tests.rs"]
mod tests;
