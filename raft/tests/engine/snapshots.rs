//! Raft snapshots and compaction: docs/raft-traps.md, traps 28, 39, 45 to 51, Raft paper §7. The
//! world checks of every purge that a durable snapshot covers it.

use nacolet_raft::engine::{EngineConfig, Input, MessageBody, Output, ReplicationState};
use nacolet_raft::{LogId, LogIndex, MembershipChange, SnapshotMeta, Term};

use crate::rig::{Rig, append, bodies, log_id, matched, membership};
use crate::world::{World, id};

fn meta(last: LogId) -> SnapshotMeta {
    SnapshotMeta { last, membership: membership(&[1, 2, 3], &[], &[]), id: 7 }
}

fn small(config: &mut EngineConfig) {
    config.tail_entries_max = 4;
    config.snapshot_every_entries = 10;
}

fn received(term: u64, last: LogId) -> Input {
    Input::SnapshotReceived { from: id(2), term: Term(term), meta: meta(last) }
}

fn installs(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::InstallSnapshot(_)))
}

#[test]
fn an_append_right_behind_a_snapshot_is_taken() {
    // Trap 45: also with an empty log.
    let mut rig = Rig::new(&[1, 2, 3], &[]);
    let out = rig.turn(&[received(3, log_id(2, 50))]);
    assert!(installs(&out));
    rig.turn(&[Input::SnapshotInstalled(meta(log_id(2, 50)))]);
    let out = rig.receive_settled(2, 3, append(log_id(2, 50), &[3], 51));
    assert_eq!(bodies(&out, 2).last(), Some(&matched(51)));
    assert_eq!(rig.engine.status().applied_index, LogIndex(51));
    let out = rig.receive_settled(2, 3, append(log_id(2, 40), &[], 51));
    assert_eq!(bodies(&out, 2), [matched(51)], "what is inside the snapshot matches");
}

#[test]
fn a_snapshot_replaces_what_is_not_committed_and_nothing_else() {
    // Traps 39 and 47; Raft paper §7.
    let check = |last: LogId, install: bool| {
        let mut rig = Rig::new(&[1, 2, 3], &[1, 1, 1, 1]);
        rig.receive_settled(2, 5, append(log_id(1, 2), &[], 2));
        let out = rig.turn(&[received(5, last)]);
        assert_eq!(installs(&out), install, "{last:?}");
        let discarded = out.contains(&Output::DiscardSnapshot(meta(last)));
        assert_eq!(discarded, !install, "{last:?}");
        rig.engine.status()
    };
    // At or below the commit index, agreeing or not: old news.
    assert_eq!(check(log_id(1, 1), false).commit_index, LogIndex(2));
    assert_eq!(check(log_id(1, 2), false).commit_index, LogIndex(2));
    assert_eq!(check(log_id(4, 2), false).commit_index, LogIndex(2));
    // Above it and in the log: the entries behind it stay.
    let status = check(log_id(1, 3), false);
    assert_eq!((status.commit_index, status.last), (LogIndex(3), log_id(1, 4)));
    // Of a term that its sender has not come to.
    let status = check(log_id(6, 9), false);
    assert_eq!((status.leader, status.last), (Some(id(2)), log_id(1, 4)));
    // Above it and not in the log: the log goes.
    check(log_id(4, 3), true);
    check(log_id(4, 9), true);
}

#[test]
fn an_installed_snapshot_brings_its_membership() {
    // Trap 39 (openraft#1808): an uncommitted change that it covers is gone.
    let mut rig = Rig::new(&[1, 2], &[]);
    let term = rig.lead();
    rig.all_match(term);
    let change = MembershipChange::AddLearner { node: id(9), address: String::from("host:9") };
    let request = nacolet_model::RequestId(1);
    rig.turn(&[Input::ChangeMembership { request, change }]);
    rig.persist();
    rig.turn(&[received(term + 1, log_id(term + 1, 7))]);
    rig.turn(&[Input::SnapshotInstalled(meta(log_id(term + 1, 7)))]);
    let status = rig.engine.status();
    assert_eq!(status.membership, membership(&[1, 2, 3], &[], &[]));
    assert_eq!((status.last, status.durable_index), (log_id(term + 1, 7), LogIndex(7)));
}

#[test]
fn a_stale_leader_s_snapshot_is_discarded_and_a_second_one_waits_for_the_first() {
    // Trap 49.
    let mut rig = Rig::new(&[1, 2, 3], &[4]);
    let out = rig.turn(&[received(3, log_id(3, 9))]);
    assert!(out.contains(&Output::DiscardSnapshot(meta(log_id(3, 9)))));
    assert!(installs(&rig.turn(&[received(5, log_id(4, 9))])));
    let out = rig.turn(&[received(5, log_id(4, 12))]);
    assert!(out.contains(&Output::DiscardSnapshot(meta(log_id(4, 12)))));
    // While it is being installed nothing is appended and nobody campaigns.
    assert_eq!(rig.receive_settled(2, 5, append(log_id(4, 1), &[5], 2)), []);
    assert_eq!(rig.engine.next_deadline(), None);
    rig.persist();
    rig.turn(&[Input::SnapshotInstallFailed(meta(log_id(4, 9)))]);
    assert!(rig.engine.next_deadline().is_some());
    assert!(installs(&rig.turn(&[received(5, log_id(4, 12))])), "the next one has its chance");
}

#[test]
fn a_snapshot_reply_leaves_when_earlier_writes_are_done() {
    let mut rig = Rig::new(&[1, 2, 3], &[]);
    rig.turn(&[received(3, log_id(2, 50))]);
    let out = rig.turn(&[Input::SnapshotInstalled(meta(log_id(2, 50)))]);
    assert_eq!(bodies(&out, 2), [], "the term of the leader is not durable yet");
    let out = rig.persist();
    assert_eq!(bodies(&out, 2), [MessageBody::SnapshotReply { last: log_id(2, 50) }]);
}

#[test]
fn a_follower_behind_the_tail_gets_a_snapshot_and_goes_on_from_there() {
    let mut world = World::quiet_with(3, 3, small);
    let (leader, behind) = (world.leader().unwrap(), world.follower());
    world.crash(behind);
    for _ in 0..50 {
        world.write();
    }
    assert!(world.status(leader).tail_base.index > LogIndex(20), "memory is bounded");
    world.restart(behind);
    let last = world.status(leader).last.index;
    assert!(world.run_until(2_000, |world| world.status(behind).applied_index >= last));
    assert!(world.status(behind).snapshot.index > LogIndex::ZERO);
    assert_eq!(world.nodes[&behind].machine, world.nodes[&leader].machine);
}

#[test]
fn an_idle_leader_sends_a_snapshot_to_an_empty_learner() {
    // Trap 28 (openraft#1828): nothing is proposed to help it along.
    let mut world = World::quiet_with(3, 4, small);
    for _ in 0..50 {
        world.write();
    }
    let leader = world.leader().unwrap();
    let address = String::from("host:4");
    world.change(leader, MembershipChange::AddLearner { node: id(4), address });
    let caught_up =
        |world: &World| world.status(id(4)).applied_index == world.status(leader).last.index;
    assert!(world.run_until(2_000, caught_up));
}

#[test]
fn a_follower_can_catch_up_when_no_snapshot_was_built_yet() {
    // The tail is gone before the first snapshot is due: one is built because it is needed.
    let mut world = World::quiet_with(3, 3, |config| config.tail_entries_max = 4);
    let (leader, behind) = (world.leader().unwrap(), world.follower());
    world.cut_off(behind);
    for _ in 0..50 {
        world.write();
    }
    assert_eq!(world.status(leader).snapshot.index, LogIndex::ZERO);
    world.heal();
    let last = world.status(leader).last.index;
    assert!(world.run_until(3_000, |world| world.status(behind).applied_index >= last));
}

#[test]
fn a_restart_after_a_purge_rebuilds_the_same_state() {
    // Trap 48: what is purged is in a durable snapshot. That no purge goes further is checked by
    // the disk at each one.
    let mut world = World::quiet_with(3, 3, small);
    for round in 0..30 {
        let node = id(1 + round % 3);
        let purged = world.nodes[&node].disk.purged;
        let went_on = |world: &World| world.nodes[&node].disk.purged > purged;
        for _ in 0..100 {
            world.write();
            if world.run_until(20, went_on) {
                break;
            }
        }
        assert!(went_on(&world), "node {node} purges");
        world.crash(node);
        world.restart(node);
        world.await_leader();
        let last = world.write().index;
        assert!(world.run_until(2_000, |world| world.status(node).applied_index >= last));
    }
    world.run_for(2_000);
    let machine = &world.nodes[&id(1)].machine;
    assert!(world.nodes.values().all(|node| node.machine == *machine));
}

#[test]
fn a_leader_is_elected_when_all_logs_were_compacted_away() {
    // Trap 3: the end of a log that is empty is the end of its snapshot.
    let mut world = World::quiet_with(3, 3, |config| {
        small(config);
        config.tail_entries_max = 0;
        config.snapshot_every_entries = 1;
    });
    for _ in 0..10 {
        world.write();
    }
    world.run_for(2_000);
    let leader = world.leader().unwrap();
    assert!(world.alive().iter().all(|node| {
        let status = world.status(*node);
        status.tail_base == status.last && status.snapshot == status.last
    }));
    world.crash(leader);
    world.await_leader();
    world.write();
}

#[test]
fn a_trigger_during_a_build_is_not_lost() {
    // Trap 50 (openraft#1829).
    let mut rig = Rig::new(&[1], &[]);
    let term = rig.lead();
    let builds = |out: &[Output]| out.contains(&Output::BuildSnapshot);
    assert!(builds(&rig.turn(&[Input::TriggerSnapshot])));
    assert!(!builds(&rig.turn(&[Input::TriggerSnapshot])));
    let propose =
        Input::Propose { request: nacolet_model::RequestId(1), command: [1].as_slice().into() };
    let out = rig.turn(&[propose]);
    rig.settle(out);
    assert!(builds(&rig.turn(&[Input::SnapshotBuilt(meta(log_id(term, 1)))])));
    assert!(!builds(&rig.turn(&[Input::SnapshotBuilt(meta(log_id(term, 2)))])));
    assert!(!builds(&rig.turn(&[Input::TriggerSnapshot])), "nothing new to put into it");
}

#[test]
fn a_failed_build_is_tried_again_later_and_not_at_once() {
    let mut rig = Rig::with(membership(&[1, 2], &[], &[]), &[], |config| {
        config.snapshot_every_entries = 1;
    });
    let term = rig.lead();
    rig.receive_settled(2, term, matched(1));
    let builds = |out: &[Output]| out.contains(&Output::BuildSnapshot);
    assert!(!builds(&rig.turn(&[Input::SnapshotBuildFailed])));
    rig.turn(&[Input::TriggerSnapshot]);
    let mut tries = 0;
    for _ in 0..20 {
        tries += usize::from(builds(&rig.wake()));
        rig.receive_settled(2, term, MessageBody::HeartbeatReply { read: 0 });
    }
    assert_eq!(tries, 1);
}

/// A leader whose follower 2 waits for a snapshot that ends at 11.
fn waiting_for_snapshot() -> (Rig, u64) {
    let mut rig = Rig::with(membership(&[1, 2, 3], &[], &[]), &[], |config| {
        config.tail_entries_max = 2;
        config.snapshot_every_entries = 1_000;
    });
    let term = rig.lead();
    for request in 0..10 {
        let request = nacolet_model::RequestId(request);
        let out = rig.turn(&[Input::Propose { request, command: [1].as_slice().into() }]);
        rig.settle(out);
    }
    let last = rig.engine.status().last;
    rig.receive_settled(3, term, matched(last.index.0));
    let conflict = nacolet_raft::engine::AppendResult::Conflict {
        rejected: LogIndex(0),
        hint: LogId::default(),
    };
    rig.receive_settled(2, term, MessageBody::HeartbeatReply { read: 0 });
    rig.receive_settled(2, term, MessageBody::AppendEntriesReply { result: conflict });
    let out = rig.turn(&[Input::SnapshotBuilt(meta(last))]);
    assert!(out.contains(&Output::SendSnapshot { to: id(2), term: Term(term) }));
    assert_eq!(rig.engine.status().followers[&id(2)].state, ReplicationState::Snapshot);
    (rig, term)
}

#[test]
fn a_follower_that_came_back_by_another_way_is_fed_again() {
    // Trap 51: it acknowledges less than the snapshot awaited, but the logs connect.
    let (mut rig, term) = waiting_for_snapshot();
    let base = rig.engine.status().tail_base.index.0;
    rig.receive_settled(2, term, matched(base));
    assert_eq!(rig.engine.status().followers[&id(2)].state, ReplicationState::Replicate);
}

#[test]
fn a_given_up_snapshot_is_sent_again_after_a_sign_of_life() {
    let (mut rig, term) = waiting_for_snapshot();
    let last = rig.engine.status().snapshot;
    let sends = |out: &[Output]| out.iter().any(|o| matches!(o, Output::SendSnapshot { .. }));
    let failed = Input::SnapshotSent { to: id(2), last, delivered: false };
    assert!(!sends(&rig.turn(&[failed])));
    assert!(sends(&rig.receive_settled(2, term, MessageBody::HeartbeatReply { read: 0 })));
    let done = Input::SnapshotSent { to: id(2), last, delivered: true };
    assert!(!sends(&rig.turn(&[done])));
    rig.receive_settled(2, term, MessageBody::SnapshotReply { last });
    assert_eq!(rig.engine.status().followers[&id(2)].state, ReplicationState::Replicate);
}

#[test]
fn the_tail_is_kept_while_a_follower_is_fed_a_snapshot() {
    let (mut rig, term) = waiting_for_snapshot();
    let snapshot = rig.engine.status().snapshot.index;
    for request in 100..200 {
        let request = nacolet_model::RequestId(request);
        let out = rig.turn(&[Input::Propose { request, command: [1].as_slice().into() }]);
        rig.settle(out);
        let last = rig.engine.status().last.index.0;
        rig.receive_settled(3, term, matched(last));
    }
    assert!(rig.engine.status().tail_base.index <= snapshot, "it will go on from there");
    rig.receive_settled(2, term, MessageBody::SnapshotReply { last: log_id(term, 11) });
    rig.all_match(term);
    rig.turn(&[]);
    assert!(rig.engine.status().tail_base.index > snapshot);
}
