//! Changes of membership, as a table: members before, the change, members after.

use alloc::format;
use alloc::string::ToString;

use super::*;

/// `voters | outgoing | learners | learners_next`, each a list of ids; parts at the end may be left
/// out.
fn parse(text: &str) -> Membership {
    let mut parts = text.split('|').map(|part| {
        part.split_whitespace().map(|id| NodeId(id.parse().unwrap())).collect::<BTreeSet<_>>()
    });
    let mut next = || parts.next().unwrap_or_default();
    let (voters, outgoing, learners, learners_next) = (next(), next(), next(), next());
    let mut membership =
        Membership { voters, outgoing, learners, learners_next, ..Membership::default() };
    membership.addresses =
        membership.members().into_iter().map(|id| (id, format!("host:{}", id.0))).collect();
    membership
}

fn set(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().map(|id| NodeId(*id)).collect()
}

fn add(node: u64) -> MembershipChange {
    MembershipChange::AddLearner { node: NodeId(node), address: format!("host:{node}") }
}

fn promote(ids: &[u64]) -> MembershipChange {
    MembershipChange::Promote(set(ids))
}

fn voters(ids: &[u64]) -> MembershipChange {
    MembershipChange::SetVoters(set(ids))
}

fn remove(ids: &[u64]) -> MembershipChange {
    MembershipChange::Remove(set(ids))
}

#[test]
fn a_change_of_voters_is_joint_and_then_left() {
    let check = |before: &str, change: MembershipChange, entered: &str, left: &str| {
        let joint = parse(before).changed(change.clone(), |_| true).unwrap();
        joint.invariants();
        assert_eq!(joint, parse(entered), "{before}: {change:?}");
        let uniform = joint.left();
        uniform.invariants();
        assert_eq!(uniform, parse(left), "{before}: {change:?}, left");
    };
    check("1 2 3||4", promote(&[4]), "1 2 3 4|1 2 3", "1 2 3 4");
    check("1 2 3", remove(&[1]), "2 3|1 2 3", "2 3");
    check("1 2 3||4", remove(&[1, 4]), "2 3|1 2 3", "2 3");
    check("1 2 3||4 5", voters(&[1, 4, 5]), "1 4 5|1 2 3||2 3", "1 4 5||2 3");
    check("1||2", voters(&[2]), "2|1||1", "2||1");
    check("1 2", remove(&[1]), "2|1 2", "2");
}

#[test]
fn a_change_that_leaves_the_voters_alone_is_not_joint() {
    let check = |before: &str, change: MembershipChange, after: &str| {
        let next = parse(before).changed(change.clone(), |_| false).unwrap();
        assert_eq!(next, parse(after), "{before}: {change:?}");
        assert_eq!(next.left(), next, "{before}: {change:?}");
    };
    check("1 2 3", add(4), "1 2 3||4");
    check("1 2 3||4", remove(&[4]), "1 2 3");
    check("1 2 3||4", add(4), "1 2 3||4");
    check("1 2 3||4", voters(&[1, 2, 3]), "1 2 3||4");
}

#[test]
fn adding_a_known_member_changes_its_address_only() {
    let change = MembershipChange::AddLearner { node: NodeId(2), address: "elsewhere:1".into() };
    let next = parse("1 2 3").changed(change, |_| true).unwrap();
    assert!(next.is_voter(NodeId(2)) && !next.is_joint());
    assert_eq!(next.addresses[&NodeId(2)], "elsewhere:1");
}

#[test]
fn impossible_changes_are_refused() {
    let check = |before: &str, change: MembershipChange, expected: Refusal| {
        let got = parse(before).changed(change.clone(), |node| node != NodeId(9));
        assert_eq!(got, Err(expected), "{before}: {change:?}");
    };
    check("1 2 3", promote(&[4]), Refusal::InvalidChange);
    check("1 2 3", promote(&[1]), Refusal::InvalidChange);
    check("1 2 3", promote(&[]), Refusal::InvalidChange);
    check("1 2 3", voters(&[]), Refusal::InvalidChange);
    check("1 2 3", voters(&[1, 2, 4]), Refusal::InvalidChange);
    check("1 2 3", remove(&[]), Refusal::InvalidChange);
    check("1 2 3", remove(&[4]), Refusal::InvalidChange);
    check("1||2", remove(&[1]), Refusal::InvalidChange);
    check("1 2 3", remove(&[1, 2, 3]), Refusal::InvalidChange);
    // An empty new voter would block the quorum (docs/raft-traps.md, trap 43): it has to catch up
    // as a learner.
    check("1 2 3||9", promote(&[9]), Refusal::NotCaughtUp { node: NodeId(9) });
    check("1 2 3||9", voters(&[1, 2, 9]), Refusal::NotCaughtUp { node: NodeId(9) });
    let many: alloc::vec::Vec<String> =
        (1..=limits::MEMBERS_MAX).map(|id| id.to_string()).collect();
    check(&many.join(" "), add(99), Refusal::InvalidChange);
    let listens_at =
        |address: &str| MembershipChange::AddLearner { node: NodeId(3), address: address.into() };
    check("1 2 3", listens_at("host: 3"), Refusal::InvalidChange);
    let long = "h".repeat(limits::PEER_ADDRESS_BYTES_MAX + 1);
    check("1 2 3", listens_at(&long), Refusal::InvalidChange);
}

#[test]
fn no_change_leaves_two_majorities_that_do_not_meet() {
    // Trap 34, the arithmetic; Raft paper §6.
    // Every pair of configurations that a change passes through shares a voter in any two quorums.
    let quorums = |membership: &Membership| -> alloc::vec::Vec<u16> {
        let bit = |set: &BTreeSet<NodeId>| set.iter().map(|id| 1_u16 << id.0).sum::<u16>();
        let (incoming, outgoing) = (bit(&membership.voters), bit(&membership.outgoing));
        let majority = |side: u16, of: u16| 2 * (of & side).count_ones() > side.count_ones();
        (0..1_u16 << 7)
            .filter(|of| majority(incoming, *of) && (outgoing == 0 || majority(outgoing, *of)))
            .collect()
    };
    let mut prng = nacolet_model::Prng::new(34);
    for _ in 0..200 {
        let before = parse("1 2 3||4 5 6");
        let size = 1 + prng.below(5);
        let chosen = (0..size).map(|_| NodeId(1 + prng.below(6))).collect();
        let joint = before.changed(MembershipChange::SetVoters(chosen), |_| true).unwrap();
        let left = joint.left();
        for (a, b) in [(&before, &joint), (&joint, &left)] {
            for first in quorums(a) {
                assert!(quorums(b).iter().all(|second| first & second != 0));
            }
        }
    }
}
