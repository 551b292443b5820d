//! Linearizable reads: docs/raft-traps.md, traps 52 to 56, dissertation §6.4.

use nacolet_model::{Duration, RequestId};
use nacolet_raft::LogIndex;
use nacolet_raft::engine::{Input, MessageBody, Output, Refusal};

use crate::rig::{Rig, bodies, matched, membership};
use crate::world::{Outcome, World};

fn read(request: u64) -> Input {
    Input::ReadIndex { request: RequestId(request) }
}

fn ready(outputs: &[Output]) -> Vec<(u64, u64)> {
    let answer = |output: &Output| match output {
        Output::ReadReady { request, index } => Some((request.0, index.0)),
        _ => None,
    };
    outputs.iter().filter_map(answer).collect()
}

/// The read position of the newest heartbeat to node 2.
fn position(outputs: &[Output]) -> u64 {
    let body = bodies(outputs, 2).into_iter().rev().find_map(|body| match body {
        MessageBody::Heartbeat { read, .. } => Some(read),
        _ => None,
    });
    body.expect("a heartbeat")
}

fn confirm(read: u64) -> MessageBody {
    MessageBody::HeartbeatReply { read }
}

#[test]
fn a_read_waits_for_an_entry_of_the_term() {
    // Trap 52 (etcd#7331): until then the leader does not know what is committed.
    let mut rig = Rig::new(&[1, 2, 3], &[1, 1]);
    let term = rig.lead();
    let out = rig.turn(&[read(1)]);
    assert_eq!(bodies(&out, 2), []);
    assert_eq!(ready(&rig.receive_settled(2, term, confirm(0))), []);
    let out = rig.receive_settled(2, term, matched(3));
    let position = position(&out);
    assert_eq!(ready(&rig.receive_settled(2, term, confirm(position))), [(1, 3)]);
}

#[test]
fn a_late_answer_confirms_no_newer_read() {
    // Trap 53 (etcd#20418).
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let term = rig.lead();
    rig.all_match(term);
    let first = position(&rig.turn(&[read(1)]));
    let second = position(&rig.turn(&[read(1)]));
    assert!(first < second, "the same caller asks again: another position");
    for _ in 0..3 {
        rig.receive_settled(2, term, confirm(0));
    }
    assert_eq!(ready(&rig.receive_settled(2, term, confirm(first))), [(1, 2)]);
    assert_eq!(ready(&rig.receive_settled(3, term, confirm(first))), [], "not the second");
    assert_eq!(ready(&rig.receive_settled(3, term, confirm(second))), [(1, 2)]);
    // Beyond everything that was asked: no honest follower.
    rig.receive_settled(3, term, confirm(second + 1));
    assert_eq!(rig.engine.status().dropped_messages, 1);
}

#[test]
fn reads_of_one_turn_share_a_round_and_periodic_heartbeats_repeat_it() {
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let term = rig.lead();
    rig.all_match(term);
    let out = rig.turn(&[read(1), read(2), read(3)]);
    assert_eq!(bodies(&out, 2).len(), 1);
    // The round was lost; the next heartbeat asks for the same confirmation.
    let again = position(&rig.wake());
    assert_eq!(again, position(&out));
    let answered = ready(&rig.receive_settled(3, term, confirm(again)));
    assert_eq!(answered, [(1, 2), (2, 2), (3, 2)]);
}

#[test]
fn a_read_needs_a_majority_and_no_less() {
    // Trap 54: exactly one answer too few, and then that one.
    let mut rig = Rig::new(&[1, 2, 3, 4, 5], &[1]);
    let term = rig.lead();
    rig.all_match(term);
    let position = position(&rig.turn(&[read(1)]));
    for _ in 0..2 {
        assert_eq!(ready(&rig.receive_settled(2, term, confirm(position))), []);
    }
    assert_eq!(ready(&rig.receive_settled(3, term, confirm(position))), [(1, 2)]);
}

#[test]
fn a_read_in_a_joint_membership_needs_both_sides() {
    // Traps 36 and 54.
    let joint = membership(&[1, 2, 3], &[1, 4, 5], &[6]);
    let mut rig = Rig::with(joint, &[1], |_| {});
    let term = rig.lead();
    for follower in [2, 3, 4, 5] {
        rig.receive(follower, term, matched(2));
    }
    let position = position(&rig.turn(&[read(1)]));
    assert_eq!(ready(&rig.receive(2, term, confirm(position))), []);
    assert_eq!(ready(&rig.receive(3, term, confirm(position))), [], "one side is not enough");
    assert_eq!(ready(&rig.receive(6, term, confirm(position))), [], "nor is a learner");
    assert_eq!(ready(&rig.receive(5, term, confirm(position))).len(), 1);
}

#[test]
fn a_deposed_leader_answers_no_read() {
    // Trap 53, in a cluster: another leader has been elected and has written.
    let mut world = World::quiet(3);
    let old = world.leader().unwrap();
    world.cut_off(old);
    world.run_for(100);
    let read = world.read(old);
    let elected = |world: &World| world.leader().is_some_and(|leader| leader != old);
    assert!(world.run_until(5_000, elected));
    world.write();
    world.heal();
    world.run_for(2_000);
    assert!(matches!(world.outcome(read), Outcome::Refused(Refusal::NotLeader { .. })));
}

#[test]
fn a_read_sees_every_write_acknowledged_before_it() {
    // Checked by the world for every read: here under load, on whoever leads.
    let mut world = World::quiet(3);
    let mut reads = Vec::new();
    for round in 0..200 {
        let leader = world.await_leader();
        world.propose_many(leader, 3);
        reads.push(world.read(leader));
        world.run_for(5);
        if round % 50 == 49 {
            world.transfer(leader, None);
            world.run_for(300);
        }
    }
    world.run_for(500);
    let done = reads.iter().filter(|read| world.outcome(**read) == Outcome::Done).count();
    assert!(done > 190, "{done}");
}

#[test]
fn a_sole_voter_answers_at_once_and_a_follower_names_the_leader() {
    let mut rig = Rig::new(&[1], &[]);
    rig.lead();
    assert_eq!(ready(&rig.turn(&[read(1)])), [(1, 1)]);
    let mut world = World::quiet(3);
    let (leader, follower) = (world.leader(), world.follower());
    let read = world.read(follower);
    assert_eq!(world.outcome(read), Outcome::Refused(Refusal::NotLeader { leader }));
}

#[test]
fn waiting_reads_are_bounded() {
    let mut rig = Rig::with(membership(&[1, 2, 3], &[], &[]), &[1], |c| c.reads_max = 2);
    let term = rig.lead();
    rig.all_match(term);
    let out = rig.turn(&[read(1), read(2), read(3)]);
    let refused = Output::Refused { request: RequestId(3), reason: Refusal::Overloaded };
    assert!(out.contains(&refused));
    rig.receive_settled(2, term, confirm(position(&out)));
    assert!(!rig.turn(&[read(4)]).iter().any(|o| matches!(o, Output::Refused { .. })));
}

#[test]
fn the_index_to_apply_first_is_the_commit_index() {
    // Trap 56: committed and not yet applied; the caller is told how far to wait.
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let term = rig.lead();
    rig.receive(2, term, matched(2));
    assert_eq!(rig.engine.status().applied_index, LogIndex(0));
    let position = position(&rig.turn(&[read(1)]));
    assert_eq!(ready(&rig.receive(2, term, confirm(position))), [(1, 2)]);
}

/// A leader with lease reads whose round of heartbeats went out at `rig.now` and was answered
/// `after` later.
fn leased(after: Duration) -> (Rig, u64) {
    let mut rig = Rig::with(membership(&[1, 2, 3], &[], &[]), &[1], |c| c.lease_reads = true);
    let term = rig.lead();
    rig.all_match(term);
    let position = position(&rig.wake());
    rig.now += after;
    rig.receive_settled(2, term, confirm(position));
    (rig, term)
}

#[test]
fn a_lease_is_counted_from_when_the_heartbeat_was_sent() {
    // Trap 55.
    let (mut rig, _) = leased(Duration::from_millis(400));
    assert_eq!(ready(&rig.turn(&[read(1)])).len(), 1);
    // 540 ms after sending, although only 140 ms after the answer: a pause, or a slow network.
    rig.now += Duration::from_millis(140);
    assert_eq!(ready(&rig.turn(&[read(2)])), []);
}

#[test]
fn there_is_no_lease_during_a_transfer() {
    // Trap 55.
    let (mut rig, _) = leased(Duration::from_millis(1));
    rig.turn(&[Input::TransferLeader { request: RequestId(1), target: None }]);
    assert_eq!(ready(&rig.turn(&[read(2)])), []);
}

#[test]
fn there_is_no_lease_after_a_transfer_that_was_given_up() {
    // Trap 55: the order to campaign may still be on its way.
    let (mut rig, term) = leased(Duration::from_millis(1));
    rig.turn(&[Input::TransferLeader { request: RequestId(1), target: None }]);
    for _ in 0..20 {
        let out = rig.wake();
        if !bodies(&out, 2).is_empty() {
            rig.receive_settled(2, term, confirm(position(&out)));
        }
    }
    let out = rig.turn(&[Input::Propose { request: RequestId(2), command: [1].as_slice().into() }]);
    assert!(!out.iter().any(|o| matches!(o, Output::Refused { .. })), "the transfer is over");
    assert_eq!(ready(&rig.turn(&[read(3)])), []);
}

#[test]
fn with_leases_a_restarted_node_keeps_its_promise_not_to_vote() {
    // Trap 55: it cannot know whom it heard before it stopped.
    let mut rig = Rig::with(membership(&[1, 2, 3], &[], &[]), &[1], |c| c.lease_reads = true);
    let ask = MessageBody::RequestVote { last: crate::rig::log_id(1, 1), transfer: false };
    assert_eq!(rig.receive_settled(2, 2, ask.clone()), []);
    rig.now += Duration::from_millis(600);
    assert_eq!(bodies(&rig.receive_settled(2, 2, ask), 2), [crate::rig::GRANTED]);
}
