//! Changes of membership: docs/raft-traps.md, traps 34 to 44, Raft paper §6. The arithmetic has its
//! tables beside `engine::membership`.

use std::collections::BTreeSet;

use nacolet_model::{NodeId, RequestId};
use nacolet_raft::engine::{Input, MessageBody, Output, Refusal, RoleKind};
use nacolet_raft::{LogIndex, MembershipChange};

use crate::rig::{GRANTED, PRE_GRANTED, Rig, bodies, matched, membership};
use crate::world::{Outcome, World, id};

fn set(nodes: &[u64]) -> BTreeSet<NodeId> {
    nodes.iter().map(|node| id(*node)).collect()
}

fn remove(nodes: &[u64]) -> MembershipChange {
    MembershipChange::Remove(set(nodes))
}

fn add(node: u64) -> MembershipChange {
    MembershipChange::AddLearner { node: id(node), address: format!("host:{node}") }
}

fn ask(request: u64, change: MembershipChange) -> Input {
    Input::ChangeMembership { request: RequestId(request), change }
}

fn refusal(outputs: &[Output]) -> Option<Refusal> {
    outputs.iter().find_map(|output| match output {
        Output::Refused { reason, .. } => Some(*reason),
        _ => None,
    })
}

/// Everybody agrees on `voters`, and nobody is in a joint membership.
fn uniform(world: &World, voters: &[u64]) -> bool {
    let voters = set(voters);
    voters.iter().all(|node| {
        world.nodes[node].engine.is_none() || {
            let membership = world.status(*node).membership;
            membership.voters == voters && !membership.is_joint()
        }
    })
}

fn change_and_wait(world: &mut World, change: MembershipChange, voters: &[u64]) {
    let leader = world.leader().unwrap();
    let request = world.change(leader, change);
    let done = world.run_until(5_000, |world| uniform(world, voters));
    assert!(done, "{:?} {:?}", world.outcome(request), world.status(leader).membership);
}

#[test]
fn a_cluster_grows_from_one_to_five_and_shrinks_again() {
    let mut world = World::quiet_with(1, 5, |_| {});
    for node in 2..=5 {
        let leader = world.leader().unwrap();
        world.change(leader, add(node));
        let learned = |world: &World| {
            let leader = &world.nodes[&world.leader().unwrap()];
            world.nodes[&id(node)].machine == leader.machine
        };
        world.run_for(50);
        assert!(world.run_until(3_000, learned));
        let voters: Vec<u64> = (1..=node).collect();
        change_and_wait(&mut world, MembershipChange::Promote(set(&[node])), &voters);
        world.write();
    }
    for node in (2..=5).rev() {
        let voters: Vec<u64> = (1..node).collect();
        change_and_wait(&mut world, remove(&[node]), &voters);
        world.write();
    }
    assert_eq!(world.leader(), Some(id(1)));
    assert_eq!(world.engine(id(1)).next_deadline(), None, "alone again");
}

#[test]
fn a_second_change_is_refused_until_the_first_is_through() {
    // Trap 34.
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let term = rig.lead();
    assert_eq!(refusal(&rig.turn(&[ask(1, add(4))])), Some(Refusal::ChangeInProgress));
    rig.all_match(term);
    assert_eq!(refusal(&rig.turn(&[ask(2, remove(&[3]))])), None);
    rig.persist();
    assert_eq!(refusal(&rig.turn(&[ask(3, add(4))])), Some(Refusal::ChangeInProgress));
    rig.receive_settled(2, term, matched(3));
    assert!(rig.engine.status().membership.is_joint());
    assert_eq!(refusal(&rig.turn(&[ask(4, add(4))])), Some(Refusal::ChangeInProgress));
    rig.receive_settled(2, term, matched(4));
    assert_eq!(rig.engine.status().membership, membership(&[1, 2], &[], &[]));
    assert_eq!(refusal(&rig.turn(&[ask(5, add(4))])), None);
}

#[test]
fn a_new_leader_changes_nothing_before_it_committed_in_its_term() {
    // Trap 34: everything before is applied, and yet it may not know of the latest change.
    let mut rig = Rig::new(&[1, 2, 3], &[]);
    let term = rig.lead();
    assert_eq!(refusal(&rig.turn(&[ask(1, add(4))])), Some(Refusal::ChangeInProgress));
    rig.all_match(term);
    assert_eq!(refusal(&rig.turn(&[ask(2, add(4))])), None);
}

#[test]
fn a_change_takes_effect_when_it_is_applied() {
    // Trap 35.
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let term = rig.lead();
    rig.all_match(term);
    rig.turn(&[ask(1, add(4))]);
    rig.persist();
    let before = rig.engine.status().membership;
    let out = rig.receive(2, term, matched(3));
    assert_eq!(rig.engine.status().membership, before, "committed is not enough");
    rig.settle(out);
    assert!(rig.engine.status().membership.learners.contains(&id(4)));
}

#[test]
fn a_joint_membership_commits_with_both_majorities() {
    // Trap 36; Raft paper §6.
    let mut rig = Rig::with(membership(&[1, 2, 3], &[1, 4, 5], &[]), &[1], |_| {});
    let term = rig.lead();
    for side in [2, 3] {
        rig.receive(side, term, matched(2));
    }
    assert_eq!(rig.engine.status().commit_index, LogIndex(0));
    rig.receive(5, term, matched(2));
    assert_eq!(rig.engine.status().commit_index, LogIndex(2));
}

#[test]
fn a_joint_membership_elects_with_both_majorities() {
    // Trap 36.
    let mut rig = Rig::with(membership(&[1, 2, 3], &[1, 4, 5], &[]), &[1], |_| {});
    let out = rig.wake();
    rig.settle(out);
    for voter in [2, 3] {
        rig.receive_settled(voter, 2, PRE_GRANTED);
    }
    assert_eq!(rig.engine.role(), RoleKind::PreCandidate);
    rig.receive_settled(4, 2, PRE_GRANTED);
    for voter in [2, 3] {
        rig.receive_settled(voter, 2, GRANTED);
    }
    assert_eq!(rig.engine.role(), RoleKind::Candidate);
    rig.receive_settled(5, 2, GRANTED);
    assert_eq!(rig.engine.role(), RoleKind::Leader);
}

#[test]
fn a_leader_of_one_side_only_does_not_stay() {
    // Trap 36: check-quorum, too, counts both sides.
    let mut rig = Rig::with(membership(&[1, 2, 3], &[1, 4, 5], &[]), &[1], |_| {});
    let term = rig.lead();
    for _ in 0..12 {
        if rig.engine.role() != RoleKind::Leader {
            return;
        }
        rig.wake();
        for heard in [2, 3] {
            rig.receive_settled(heard, term, MessageBody::HeartbeatReply { read: 0 });
        }
    }
    panic!("it leads with one side only");
}

#[test]
fn a_change_ends_without_help_whenever_its_leader_dies() {
    // Trap 37 (etcd#12136): at every step of a change.
    for step in 0..40 {
        let mut world = World::quiet_with(3, 5, |_| {});
        let leader = world.leader().unwrap();
        for node in [4, 5] {
            world.change(leader, add(node));
            world.run_for(500);
        }
        world.change(leader, MembershipChange::SetVoters(set(&[leader.0, 4, 5])));
        world.run_until_time(world.now + nacolet_model::Duration::from_micros(250 * step));
        world.crash(leader);
        world.await_leader();
        world.run_for(3_000);
        let after = world.status(world.leader().unwrap()).membership;
        assert!(!after.is_joint(), "step {step}");
        world.restart(leader);
        world.run_for(3_000);
        world.write();
    }
}

#[test]
fn a_joint_membership_is_not_left_before_both_sides_agree() {
    // Trap 38 (camunda#61854): restart the leader, cut the other set off.
    let mut rig = Rig::with(membership(&[1, 2, 3], &[1, 4, 5], &[]), &[1, 1], |_| {});
    let term = rig.lead();
    for side in [2, 3] {
        rig.receive_settled(side, term, matched(3));
    }
    rig.turn(&[]);
    assert_eq!(rig.engine.status().last.index, LogIndex(3), "the exit is not even proposed");
    rig.receive_settled(4, term, matched(3));
    let leave = rig.engine.status().last.index;
    assert_eq!(leave, LogIndex(4), "now it is");
    for side in [2, 3] {
        rig.receive_settled(side, term, matched(leave.0));
    }
    assert!(rig.engine.status().membership.is_joint());
    rig.receive_settled(5, term, matched(leave.0));
    assert!(!rig.engine.status().membership.is_joint());
}

#[test]
fn a_removed_leader_leads_until_the_others_know_and_then_never_again() {
    // Trap 40: with more entries behind the change.
    let mut world = World::quiet(3);
    let leader = world.leader().unwrap();
    world.change(leader, remove(&[leader.0]));
    let writes = world.propose_many(leader, 5);
    let silent = |world: &World| world.status(leader).role == RoleKind::Learner;
    assert!(world.run_until(1_000, silent));
    for write in writes {
        assert_eq!(world.outcome(write), Outcome::Done);
    }
    assert_eq!(world.engine(leader).next_deadline(), None);
    assert!(
        world.run_until(100, |world| world.leader().is_some_and(|next| next != leader)),
        "another takes over without waiting for a time-out"
    );
    let refused = world.propose(leader);
    assert!(matches!(world.outcome(refused), Outcome::Refused(Refusal::NotLeader { .. })));
    world.write();
    world.run_for(5_000);
    assert_eq!(world.status(leader).role, RoleKind::Learner);
}

#[test]
fn a_retiring_leader_does_not_count_itself() {
    // Trap 40.
    let mut rig = Rig::with(membership(&[2, 3], &[1, 2, 3], &[]), &[1], |_| {});
    let term = rig.lead();
    rig.receive_settled(2, term, matched(2));
    rig.receive_settled(3, term, matched(2));
    for follower in [2, 3] {
        rig.receive_settled(follower, term, matched(3));
    }
    assert_eq!(rig.engine.status().membership, membership(&[2, 3], &[], &[]));
    assert_eq!(rig.engine.role(), RoleKind::Leader, "until they are known to know");
    let out = rig.turn(&[ask(1, add(4))]);
    assert_eq!(refusal(&out), Some(Refusal::NotLeader { leader: None }));
}

#[test]
fn the_last_of_two_leads_after_the_other_removed_itself() {
    // Trap 41 (etcd#10563): nothing of the leader arrives after it has committed.
    let mut world = World::quiet(2);
    let leader = world.leader().unwrap();
    let other = world.follower();
    world.change(leader, remove(&[leader.0]));
    let left = |world: &World| !world.status(leader).membership.contains(leader);
    assert!(world.run_until(1_000, left));
    world.crash(leader);
    world.run_for(100);
    world.restart(leader);
    assert!(world.run_until(10_000, |world| world.leader() == Some(other)));
    world.write();
    assert!(uniform(&world, &[other.0]));
}

#[test]
fn a_voter_left_alone_waits_for_its_retiring_leader() {
    // The leader may not have applied its own removal yet, and still answer reads from its lease.
    let mut rig = Rig::with(membership(&[1], &[1, 2], &[]), &[1], |_| {});
    let mut leave = crate::rig::entries(2, &[1]);
    leave[0].payload = nacolet_raft::EntryPayload::Membership(Box::new(membership(&[1], &[], &[])));
    let body = MessageBody::AppendEntries {
        previous: crate::rig::log_id(1, 1),
        entries: leave,
        commit_index: LogIndex(2),
    };
    rig.receive_settled(2, 1, body);
    assert_eq!(rig.engine.status().membership, membership(&[1], &[], &[]));
    rig.turn(&[Input::Wake]);
    assert_eq!(rig.engine.role(), RoleKind::Follower);
    rig.receive_settled(2, 1, MessageBody::TimeoutNow);
    assert_eq!(rig.engine.role(), RoleKind::Leader);
}

#[test]
fn a_removed_voter_with_a_longer_log_frees_the_one_that_needs_its_vote() {
    // Trap 41, found by the simulation: the refusal carries what is committed.
    let mut rig = Rig::with(membership(&[1], &[1, 2], &[]), &[1, 1], |_| {});
    let out = rig.wake();
    rig.settle(out);
    assert_eq!(rig.engine.role(), RoleKind::PreCandidate);
    let mut leave = rig.engine.status().membership;
    leave.outgoing.clear();
    let last = rig.engine.status().last;
    rig.receive_settled(2, 1, MessageBody::Committed { last });
    assert_eq!(rig.engine.status().commit_index, last.index);
    // An entry that is not in the log says nothing.
    let stranger = crate::rig::log_id(9, 2);
    rig.receive_settled(2, 9, MessageBody::Committed { last: stranger });
    assert_eq!(rig.engine.status().term.0, 1);
}

#[test]
fn a_removed_node_that_never_heard_of_it_disturbs_nobody() {
    // Trap 42.
    let mut world = World::quiet(3);
    let (leader, gone) = (world.leader().unwrap(), world.follower());
    world.cut_off(gone);
    let rest: Vec<u64> = [1, 2, 3].into_iter().filter(|node| *node != gone.0).collect();
    change_and_wait(&mut world, remove(&[gone.0]), &rest);
    let term = world.status(leader).term;
    world.heal();
    world.run_for(100_000);
    assert_eq!((world.leader(), world.status(leader).term), (Some(leader), term));
    world.write();
}

#[test]
fn a_learner_that_is_not_there_is_not_promoted() {
    // Trap 43: it would block the quorum.
    let mut world = World::quiet_with(3, 4, |_| {});
    let leader = world.leader().unwrap();
    world.crash(id(4));
    world.change(leader, add(4));
    world.run_for(1_000);
    let request = world.change(leader, MembershipChange::Promote(set(&[4])));
    let reason = Refusal::NotCaughtUp { node: id(4) };
    assert_eq!(world.outcome(request), Outcome::Refused(reason));
    world.write();
}

#[test]
fn removing_a_dead_node_and_writing_go_on() {
    // Trap 44.
    let mut world = World::quiet(3);
    let dead = world.follower();
    world.crash(dead);
    let rest: Vec<u64> = [1, 2, 3].into_iter().filter(|node| *node != dead.0).collect();
    change_and_wait(&mut world, remove(&[dead.0]), &rest);
    world.write();
}

#[test]
fn a_learner_has_no_say() {
    let mut rig = Rig::with(membership(&[1, 2], &[], &[3, 4]), &[1], |_| {});
    let out = rig.wake();
    rig.settle(out);
    for learner in [3, 4] {
        rig.receive_settled(learner, 2, PRE_GRANTED);
    }
    assert_eq!(rig.engine.role(), RoleKind::PreCandidate);
    rig.receive_settled(2, 2, PRE_GRANTED);
    rig.receive_settled(2, 2, GRANTED);
    for learner in [3, 4] {
        rig.receive_settled(learner, 2, matched(2));
    }
    assert_eq!(rig.engine.status().commit_index, LogIndex(0));
}

#[test]
fn an_address_can_change_and_members_hear_of_it() {
    let mut world = World::quiet(3);
    let leader = world.leader().unwrap();
    let address = String::from("elsewhere:1");
    world.change(leader, MembershipChange::AddLearner { node: id(2), address: address.clone() });
    world.run_for(500);
    for node in [1, 2, 3] {
        assert_eq!(world.status(id(node)).membership.addresses[&id(2)], address);
    }
    assert!(uniform(&world, &[1, 2, 3]));
}

#[test]
fn those_who_go_hear_of_it() {
    let mut world = World::quiet(3);
    let gone = world.follower();
    let rest: Vec<u64> = [1, 2, 3].into_iter().filter(|node| *node != gone.0).collect();
    change_and_wait(&mut world, remove(&[gone.0]), &rest);
    world.run_for(100);
    assert!(!world.status(gone).membership.contains(gone));
    assert_eq!(world.engine(gone).next_deadline(), None);
}

#[test]
fn a_transfer_blocks_changes() {
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let term = rig.lead();
    rig.all_match(term);
    let out = rig.turn(&[Input::TransferLeader { request: RequestId(1), target: Some(id(2)) }]);
    assert_eq!(bodies(&out, 2), [MessageBody::TimeoutNow]);
    assert_eq!(refusal(&rig.turn(&[ask(2, add(4))])), Some(Refusal::Transferring));
}
