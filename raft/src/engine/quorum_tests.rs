//! Tables, and the fast calculation against a naive one.

use nacolet_model::Prng;

use super::*;

fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().map(|id| NodeId(*id)).collect()
}

fn joint(voters: &[u64], outgoing: &[u64]) -> Membership {
    Membership { voters: nodes(voters), outgoing: nodes(outgoing), ..Membership::default() }
}

/// `matches[i]` belongs to node `i + 1`.
fn check_reached(voters: &[u64], outgoing: &[u64], matches: &[u64], expected: Option<u64>) {
    let membership = joint(voters, outgoing);
    let value =
        |node: NodeId| usize::try_from(node.0 - 1).ok().and_then(|i| matches.get(i)).copied();
    let got = reached(&membership, |node| value(node).unwrap_or(0));
    assert_eq!(got, expected, "{voters:?} {outgoing:?} {matches:?}");
}

#[test]
fn a_majority_of_each_side_decides_what_is_reached() {
    check_reached(&[], &[], &[], None);
    check_reached(&[1], &[], &[7], Some(7));
    check_reached(&[1, 2], &[], &[7, 5], Some(5));
    check_reached(&[1, 2, 3], &[], &[7, 5, 3], Some(5));
    check_reached(&[1, 2, 3, 4], &[], &[7, 5, 3, 1], Some(3));
    check_reached(&[1, 2, 3, 4, 5], &[], &[9, 9, 4, 1, 1], Some(4));
    // One side alone is never enough.
    check_reached(&[1, 2, 3], &[4, 5, 6], &[9, 9, 9, 2, 2, 0], Some(2));
    check_reached(&[4, 5, 6], &[1, 2, 3], &[9, 9, 9, 2, 2, 0], Some(2));
    check_reached(&[1, 2, 3], &[1, 2, 4], &[9, 1, 9, 0], Some(1));
    check_reached(&[2], &[1, 2], &[0, 8], Some(0));
    // Without incoming voters nothing can be agreed, whatever the other side says.
    check_reached(&[], &[1], &[9], None);
}

fn check_votes(voters: &[u64], outgoing: &[u64], votes: &[(u64, bool)], expected: VoteResult) {
    let votes = votes.iter().map(|(id, granted)| (NodeId(*id), *granted)).collect();
    let got = vote_result(&joint(voters, outgoing), &votes);
    assert_eq!(got, expected, "{voters:?} {outgoing:?} {votes:?}");
}

#[test]
fn votes_are_counted_on_both_sides() {
    use VoteResult::{Lost, Pending, Won};
    check_votes(&[], &[], &[(1, true)], Lost);
    check_votes(&[1], &[], &[], Pending);
    check_votes(&[1], &[], &[(1, true)], Won);
    check_votes(&[1, 2, 3], &[], &[(1, true)], Pending);
    check_votes(&[1, 2, 3], &[], &[(1, true), (2, false)], Pending);
    check_votes(&[1, 2, 3], &[], &[(1, true), (2, false), (3, false)], Lost);
    check_votes(&[1, 2, 3], &[], &[(1, true), (3, true)], Won);
    check_votes(&[1, 2, 3, 4], &[], &[(1, true), (2, true)], Pending);
    check_votes(&[1, 2, 3, 4], &[], &[(1, false), (2, false)], Lost);
    // Strangers' votes are worth nothing.
    check_votes(&[1, 2, 3], &[], &[(1, true), (7, true), (8, true)], Pending);
    // A joint membership needs both sides.
    check_votes(&[1, 2, 3], &[3, 4, 5], &[(1, true), (2, true), (3, true)], Pending);
    check_votes(&[1, 2, 3], &[3, 4, 5], &[(1, true), (2, true), (3, true), (4, true)], Won);
    check_votes(&[1, 2, 3], &[3, 4, 5], &[(4, false), (5, false), (1, true), (2, true)], Lost);
}

/// The definition, word for word: the greatest value that more than half of each side has reached.
fn naive_reached(membership: &Membership, value: impl Fn(NodeId) -> u64) -> Option<u64> {
    if membership.voters.is_empty() {
        return None;
    }
    let sides = [&membership.voters, &membership.outgoing];
    let holds = |wanted: u64| {
        sides.iter().filter(|side| !side.is_empty()).all(|side| {
            2 * side.iter().filter(|voter| value(**voter) >= wanted).count() > side.len()
        })
    };
    (0..=20).rev().find(|wanted| holds(*wanted))
}

fn random_side(prng: &mut Prng, count: u64) -> BTreeSet<NodeId> {
    let mut side = BTreeSet::new();
    while (side.len() as u64) < count {
        side.insert(NodeId(1 + prng.below(9)));
    }
    side
}

#[test]
fn quorum_index_never_loses_its_order() {
    // docs/raft-traps.md, trap 18: an optimised structure committed without a quorum.
    let mut prng = Prng::new(18);
    for _ in 0..20_000 {
        let size = 1 + prng.below(7);
        let voters = random_side(&mut prng, size);
        let outgoing_size = if prng.chance(1, 2) { prng.below(8) } else { 0 };
        let outgoing = random_side(&mut prng, outgoing_size);
        let membership = Membership { voters, outgoing, ..Membership::default() };
        let mut values: BTreeMap<NodeId, u64> = BTreeMap::new();
        for _ in 0..prng.below(12) {
            values.insert(NodeId(1 + prng.below(9)), prng.below(20));
            let value = |node: NodeId| values.get(&node).copied().unwrap_or(0);
            assert_eq!(reached(&membership, value), naive_reached(&membership, value));
        }
    }
}

#[test]
fn an_election_is_won_exactly_when_the_grants_reach_a_quorum() {
    let mut prng = Prng::new(2);
    for _ in 0..20_000 {
        let size = 1 + prng.below(7);
        let voters = random_side(&mut prng, size);
        let outgoing_size = prng.below(6);
        let outgoing = random_side(&mut prng, outgoing_size);
        let membership = Membership { voters, outgoing, ..Membership::default() };
        let votes: BTreeMap<NodeId, bool> =
            (0..prng.below(9)).map(|_| (NodeId(1 + prng.below(9)), prng.chance(2, 3))).collect();
        let granted = |node: NodeId| u64::from(votes.get(&node) == Some(&true));
        let possible = |node: NodeId| u64::from(votes.get(&node) != Some(&false));
        let expected = if naive_reached(&membership, granted) == Some(1) {
            VoteResult::Won
        } else if naive_reached(&membership, possible) == Some(1) {
            VoteResult::Pending
        } else {
            VoteResult::Lost
        };
        // The naive search stops at 20, and these values at 1.
        assert_eq!(vote_result(&membership, &votes), expected);
    }
}
