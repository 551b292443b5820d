//! Log and commit: docs/raft-traps.md, traps 17 to 31, Raft paper §5.3 and §5.4, and what a turn
//! costs.

use nacolet_model::{RequestId, limits};
use nacolet_raft::engine::{
    AppendResult, Input, Message, MessageBody, Output, PersistId, Refusal, ReplicationState,
    RoleKind,
};
use nacolet_raft::{LogId, LogIndex, Term};

use crate::rig::{Rig, append, bodies, entries, log_id, matched, membership, request_vote, sent};
use crate::world::{Outcome, World, id};

fn propose(request: u64, bytes: usize) -> Input {
    Input::Propose { request: RequestId(request), command: vec![0; bytes].into() }
}

fn persists(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Persist { .. })).count()
}

fn conflict(rejected: u64, hint: LogId) -> MessageBody {
    let result = AppendResult::Conflict { rejected: LogIndex(rejected), hint };
    MessageBody::AppendEntriesReply { result }
}

#[test]
fn all_proposals_of_a_turn_share_one_record_and_one_message() {
    let mut rig = Rig::new(&[1, 2, 3], &[]);
    let term = rig.lead();
    rig.all_match(term);
    let inputs: Vec<Input> = (0..100).map(|request| propose(request, 10)).collect();
    let out = rig.turn(&inputs);
    assert_eq!(persists(&out), 1);
    assert_eq!(sent(&out).len(), 2);
    let position = |wanted: fn(&Output) -> bool| out.iter().position(wanted);
    let persist = position(|output| matches!(output, Output::Persist { .. }));
    let send = position(|output| matches!(output, Output::Send { .. }));
    assert!(persist < send, "the disk is started first, and both run in parallel");
}

#[test]
fn the_commit_index_alone_is_not_worth_a_write() {
    // An idle cluster writes nothing; the commit index travels with the next record.
    let mut rig = Rig::new(&[1, 2, 3], &[]);
    let term = rig.lead();
    let out = rig.receive(2, term, matched(1));
    assert_eq!(rig.engine.status().commit_index, LogIndex(1));
    assert_eq!(persists(&out), 0);
    for _ in 0..10 {
        assert_eq!(persists(&rig.wake()), 0);
        rig.receive_settled(2, term, MessageBody::HeartbeatReply { read: 0 });
    }
}

#[test]
fn hard_state_and_entries_are_one_record() {
    // Trap 26: an entry never becomes durable before its term.
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let out = rig.receive(2, 5, append(log_id(1, 1), &[5], 1));
    assert_eq!(persists(&out), 1);
    assert!(matches!(&out[0], Output::Persist { hard_state: Some(state), entries, .. }
        if state.term == Term(5) && entries.len() == 1));
}

#[test]
fn leader_commits_only_entries_of_its_own_term() {
    // Trap 17; Raft paper figure 8: the entry of term 2 is on a majority, and may still be
    // overwritten by a leader with an entry of term 3.
    let mut rig = Rig::new(&[1, 2, 3, 4, 5], &[1, 2]);
    let term = rig.lead();
    for follower in [2, 3, 4] {
        rig.receive_settled(follower, term, matched(2));
    }
    assert_eq!(rig.engine.status().commit_index, LogIndex(0));
    rig.receive_settled(2, term, matched(3));
    rig.receive_settled(3, term, matched(3));
    assert_eq!(rig.engine.status().commit_index, LogIndex(3), "now, and all before it");
}

#[test]
fn a_leader_counts_itself_when_its_own_disk_is_done() {
    // Trap 19.
    let mut world = World::quiet(3);
    let (leader, dead) = (world.leader().unwrap(), world.follower());
    world.crash(dead);
    world.stall_disk(leader, true);
    let request = world.propose(leader);
    world.run_for(400);
    let Outcome::Proposed(place) = world.outcome(request) else { panic!("proposed") };
    assert!(world.status(leader).commit_index < place.index);
    world.stall_disk(leader, false);
    assert!(world.run_until(100, |world| world.outcome(request) == Outcome::Done));
}

#[test]
fn the_others_commit_while_the_leader_s_disk_is_slow() {
    let mut rig = Rig::new(&[1, 2, 3], &[]);
    let term = rig.lead();
    rig.all_match(term);
    rig.turn(&[propose(1, 1)]);
    rig.receive(2, term, matched(2));
    assert_eq!(rig.engine.status().commit_index, LogIndex(1));
    let out = rig.receive(3, term, matched(2));
    assert_eq!(rig.engine.status().commit_index, LogIndex(2), "two other disks are a majority");
    assert!(!out.iter().any(|o| matches!(o, Output::Apply(_))), "not applied before it is here");
    assert!(rig.persist().iter().any(|output| matches!(output, Output::Apply(_))));
}

#[test]
fn a_follower_commits_no_further_than_a_message_proves() {
    // Trap 20; Raft paper figure 2, rule 5 of AppendEntries.
    let mut rig = Rig::new(&[1, 2, 3], &[1, 1, 1, 1]);
    rig.receive_settled(2, 2, append(log_id(1, 1), &[], 9));
    assert_eq!(rig.engine.status().commit_index, LogIndex(1), "the tail may be divergent");
    rig.receive_settled(2, 2, append(log_id(1, 1), &[2], 9));
    assert_eq!(rig.engine.status().commit_index, LogIndex(2));
}

#[test]
fn a_heartbeat_names_no_more_than_the_follower_holds() {
    // Trap 20, the leader's share.
    let mut rig = Rig::new(&[1, 2, 3], &[1, 1, 1]);
    let term = rig.lead();
    rig.receive_settled(2, term, matched(4));
    rig.receive_settled(3, term, matched(2));
    let said = |outputs: &[Output], to: u64| {
        bodies(outputs, to).into_iter().find_map(|body| match body {
            MessageBody::Heartbeat { commit_index, .. } => Some(commit_index.0),
            _ => None,
        })
    };
    let out = rig.wake();
    assert_eq!((said(&out, 2), said(&out, 3)), (Some(4), Some(2)));
}

#[test]
fn a_late_duplicate_append_removes_nothing() {
    // Trap 21.
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    rig.receive_settled(2, 2, append(log_id(1, 1), &[2, 2, 2], 0));
    let out = rig.receive_settled(2, 2, append(log_id(1, 1), &[2], 0));
    assert_eq!(rig.engine.status().last, log_id(2, 4));
    assert_eq!(persists(&out), 0);
    assert_eq!(bodies(&out, 2), [matched(2)], "it proves no more than it carries");
}

#[test]
fn nothing_committed_is_ever_overwritten() {
    // Trap 22: such a message is forged, or somebody broke a promise. The log stays as it is.
    let mut rig = Rig::new(&[1, 2, 3], &[1, 1]);
    rig.receive_settled(2, 2, append(log_id(1, 2), &[2], 3));
    assert_eq!(rig.engine.status().commit_index, LogIndex(3));
    for forged in [append(log_id(1, 1), &[3, 3], 3), append(log_id(3, 2), &[3], 3)] {
        rig.receive_settled(3, 3, forged);
    }
    let status = rig.engine.status();
    assert_eq!((status.last, status.dropped_messages), (log_id(2, 3), 2));
}

#[test]
fn entries_that_are_not_consecutive_are_dropped() {
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let check = |rig: &mut Rig, entries: Vec<nacolet_raft::Entry>| {
        let before = rig.engine.status().dropped_messages;
        let previous = log_id(1, 1);
        let commit_index = LogIndex(0);
        rig.receive_settled(2, 4, MessageBody::AppendEntries { previous, entries, commit_index });
        assert_eq!(rig.engine.status().dropped_messages, before + 1);
        assert_eq!(rig.engine.status().last, log_id(1, 1));
    };
    check(&mut rig, entries(3, &[2]));
    check(&mut rig, entries(1, &[2]));
    check(&mut rig, [entries(2, &[2]), entries(4, &[2])].concat());
    check(&mut rig, entries(2, &[3, 2]));
    check(&mut rig, entries(2, &[5]));
    check(&mut rig, entries(2, &[0]));
}

#[test]
fn a_missing_or_different_previous_entry_is_refused_with_a_hint() {
    // Raft paper §5.3, the consistency check, and its faster way back.
    let check = |previous: LogId, hint: LogId| {
        let mut rig = Rig::new(&[1, 2, 3], &[1, 1, 2, 2]);
        let out = rig.receive_settled(2, 9, append(previous, &[9], 0));
        assert_eq!(bodies(&out, 2), [conflict(previous.index.0, hint)]);
        assert_eq!(rig.engine.status().last, log_id(2, 4));
    };
    check(log_id(9, 7), log_id(2, 4));
    check(log_id(3, 4), log_id(2, 4));
    check(log_id(1, 4), log_id(1, 2));
    check(log_id(1, 9), log_id(1, 2));
}

#[test]
fn late_answers_do_not_move_what_is_known_to_match() {
    // Trap 23.
    let mut rig = Rig::new(&[1, 2, 3], &[1, 1, 1]);
    let term = rig.lead();
    rig.receive_settled(2, term, matched(3));
    let follower = |rig: &Rig| rig.engine.status().followers[&id(2)];
    assert_eq!(follower(&rig).match_index, LogIndex(3));
    // Refusals of what was sent before, and acknowledgements out of order.
    rig.receive_settled(2, term, conflict(3, log_id(1, 1)));
    rig.receive_settled(2, term, conflict(2, LogId::default()));
    rig.receive_settled(2, term, matched(1));
    assert_eq!(follower(&rig).match_index, LogIndex(3));
    assert_eq!(follower(&rig).state, ReplicationState::Replicate);
    // Of an earlier term, or beyond the log.
    rig.receive_settled(2, term - 1, matched(4));
    rig.receive_settled(3, term, matched(99));
    assert_eq!(follower(&rig).match_index, LogIndex(3));
    assert_eq!(rig.engine.status().followers[&id(3)].match_index, LogIndex(0));
    assert_eq!(rig.engine.status().commit_index, LogIndex(0));
    assert_eq!(rig.engine.status().dropped_messages, 1);
}

#[test]
fn the_completion_of_an_overwritten_entry_acknowledges_nothing() {
    // Trap 24: two writes at the same index, only the first is durable.
    let mut rig = Rig::new(&[1, 2, 3], &[]);
    rig.receive(2, 1, append(LogId::default(), &[1, 1], 0));
    rig.receive(3, 2, append(LogId::default(), &[2, 2], 2));
    let out = rig.turn(&[Input::Persisted(PersistId(1))]);
    assert_eq!(sent(&out), []);
    assert_eq!(rig.engine.status().durable_index, LogIndex(0));
    assert!(!out.iter().any(|output| matches!(output, Output::Apply(_))));
    let out = rig.turn(&[Input::Persisted(PersistId(2))]);
    assert_eq!(bodies(&out, 3), [matched(2)]);
    assert!(out.iter().any(|output| matches!(output, Output::Apply(_))));
}

#[test]
fn ten_thousand_divergent_entries_cost_few_rounds() {
    // Trap 28: about one probe per term, not one per entry.
    let terms = |kind: u64| (0..10_000).map(|i| 1 + 2 * (i / 1_000) + kind).collect::<Vec<u64>>();
    let mut leader = Rig::with(membership(&[1, 2, 3], &[], &[]), &terms(1), |_| {});
    let mut follower = Rig::with(membership(&[1, 2, 3], &[], &[]), &terms(0), |config| {
        config.id = id(2);
    });
    let term = leader.lead();
    let mut out = leader.receive_settled(3, term, MessageBody::HeartbeatReply { read: 0 });
    out.extend(leader.wake());
    let mut rounds = 0;
    while leader.engine.status().followers[&id(2)].match_index.0 < 10_001 {
        rounds += 1;
        assert!(rounds < 100, "{:?}", leader.engine.status().followers);
        let mut answers = Vec::new();
        for (_, message) in sent(&out).into_iter().filter(|(to, _)| *to == id(2)) {
            answers.extend(sent(&follower.receive_settled(1, message.term.0, message.body)));
        }
        out.clear();
        for (_, message) in answers {
            out.extend(leader.receive_settled(2, message.term.0, message.body));
        }
        out.extend(leader.wake());
    }
    assert_eq!(follower.engine.status().last, leader.engine.status().last);
}

#[test]
fn a_full_window_whose_messages_were_all_lost_opens_again() {
    // Trap 29 (etcd#14633).
    let mut world = World::quiet_with(3, 3, |config| config.inflight_max = 2);
    let (leader, victim) = (world.leader().unwrap(), world.follower());
    world.write();
    world.filter = |_, to, message| {
        to != id(1) && to != id(2) || !matches!(message.body, MessageBody::AppendEntries { .. })
    };
    for _ in 0..10 {
        world.propose(leader);
    }
    world.run_for(200);
    world.heal();
    let last = world.status(leader).last;
    let caught_up = |world: &World| world.status(victim).applied_index == last.index;
    assert!(world.run_until(1_000, caught_up), "heartbeats alone bring it back");
}

#[test]
fn the_window_bounds_what_is_in_flight() {
    let mut rig = Rig::with(membership(&[1, 2, 3], &[], &[]), &[], |c| c.inflight_max = 3);
    let term = rig.lead();
    rig.all_match(term);
    let mut messages = 0;
    for request in 0..10 {
        let out = rig.turn(&[propose(request, 1)]);
        rig.persist();
        messages += bodies(&out, 2).len();
    }
    assert_eq!(messages, 3);
    let out = rig.receive_settled(2, term, matched(4));
    let rest: usize = bodies(&out, 2)
        .iter()
        .map(|body| match body {
            MessageBody::AppendEntries { entries, .. } => entries.len(),
            _ => 0,
        })
        .sum();
    assert_eq!(rest, 7, "what waited goes in one message");
}

#[test]
fn the_window_bounds_the_bytes_in_flight() {
    let mut rig = Rig::with(membership(&[1, 2, 3], &[], &[]), &[], |config| {
        config.uncommitted_bytes_max = 4 * limits::RAFT_INFLIGHT_BYTES_MAX;
    });
    let term = rig.lead();
    rig.all_match(term);
    let large = limits::RAFT_INFLIGHT_BYTES_MAX / 2;
    let mut messages = 0;
    for request in 0..5 {
        messages += bodies(&rig.turn(&[propose(request, large)]), 2).len();
        rig.persist();
    }
    assert_eq!(messages, 2, "each reaches more than a half with its head");
    let out = rig.receive_settled(2, term, matched(2));
    assert_eq!(bodies(&out, 2).len(), 1, "one is acknowledged, another goes");
}

#[test]
fn proposals_do_not_pile_up_on_a_leader_without_a_quorum() {
    // Trap 31.
    let mut rig = Rig::with(membership(&[1, 2, 3], &[], &[]), &[], |config| {
        config.uncommitted_bytes_max = 1_000;
    });
    let term = rig.lead();
    rig.all_match(term);
    let refused = |out: &[Output]| {
        out.iter().any(|o| matches!(o, Output::Refused { reason: Refusal::Overloaded, .. }))
    };
    assert!(!refused(&rig.turn(&[propose(0, 5_000)])), "one is always taken, however large");
    assert!(refused(&rig.turn(&[propose(1, 1)])));
    rig.persist();
    rig.all_match(term);
    assert!(!refused(&rig.turn(&[propose(2, 100)])), "committed and applied, there is room again");
    let many: Vec<Input> = (3..100).map(|request| propose(request, 100)).collect();
    assert!(refused(&rig.turn(&many)));
    assert!(rig.engine.status().unapplied_bytes <= 1_000);
}

#[test]
fn a_follower_that_cannot_keep_up_takes_no_more() {
    let mut rig = Rig::with(membership(&[1, 2, 3], &[], &[]), &[], |config| {
        config.uncommitted_bytes_max = 100;
    });
    rig.receive(2, 1, append(LogId::default(), &[1, 1], 2));
    rig.persist();
    assert_eq!(rig.receive(2, 1, append(log_id(1, 2), &[1], 2)), [], "silence slows it down");
    rig.turn(&[Input::Applied(LogIndex(2))]);
    let out = rig.receive_settled(2, 1, append(log_id(1, 2), &[1], 2));
    assert_eq!(bodies(&out, 2), [matched(3)]);
}

#[test]
fn a_follower_full_of_uncommitted_entries_takes_the_one_that_commits_them() {
    let mut rig = Rig::with(membership(&[1, 2, 3], &[], &[]), &[], |config| {
        config.uncommitted_bytes_max = 100;
    });
    rig.receive_settled(2, 1, append(LogId::default(), &[1, 1], 0));
    let out = rig.receive_settled(3, 2, append(log_id(1, 2), &[2], 0));
    assert_eq!(bodies(&out, 3), [matched(3)]);
}

#[test]
fn a_deposed_leader_s_entry_is_not_reported_as_its_caller_s() {
    // Trap 32: the place tells; another entry there means the proposal is lost.
    let mut world = World::quiet(3);
    let old = world.leader().unwrap();
    world.cut_off(old);
    let request = world.propose(old);
    let Outcome::Proposed(place) = world.outcome(request) else { panic!("proposed") };
    world.run_for(3_000);
    world.write();
    world.write();
    world.heal();
    world.run_for(2_000);
    assert_eq!(world.outcome(request), Outcome::Lost);
    assert_ne!(world.checker.committed[&place.index].0, place);
}

#[test]
fn a_proposal_elsewhere_names_the_leader() {
    let mut world = World::quiet(3);
    let (leader, follower) = (world.leader().unwrap(), world.follower());
    let request = world.propose(follower);
    let reason = Refusal::NotLeader { leader: Some(leader) };
    assert_eq!(world.outcome(request), Outcome::Refused(reason));
}

#[test]
fn a_candidate_follows_a_leader_of_its_own_term() {
    // Raft paper §5.2.
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let out = rig.wake();
    rig.settle(out);
    rig.receive_settled(3, 2, crate::rig::PRE_GRANTED);
    assert_eq!(rig.engine.role(), RoleKind::Candidate);
    rig.receive_settled(2, 2, append(log_id(1, 1), &[2], 0));
    assert_eq!(rig.engine.role(), RoleKind::Follower);
    assert_eq!(rig.engine.status().leader, Some(id(2)));
}

#[test]
fn a_leader_follows_whoever_has_a_higher_term() {
    // Raft paper §5.1.
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let term = rig.lead();
    rig.receive_settled(2, term + 1, append(log_id(1, 1), &[term + 1], 0));
    let status = rig.engine.status();
    assert_eq!((status.role, status.leader), (RoleKind::Follower, Some(id(2))));
    assert_eq!(status.last, log_id(term + 1, 2), "its own blank entry was never committed");
}

#[test]
fn a_leader_never_overwrites_its_own_log() {
    // Raft paper figure 3, leader append-only: whatever arrives in its term.
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let term = rig.lead();
    rig.receive_settled(2, term, append(log_id(1, 1), &[term, term], 3));
    rig.receive_settled(2, term, MessageBody::Heartbeat { commit_index: LogIndex(2), read: 0 });
    rig.receive_settled(2, term, request_vote(log_id(term, 9)));
    assert_eq!(rig.engine.status().last, log_id(term, 2));
    assert_eq!(rig.engine.role(), RoleKind::Leader);
}

#[test]
fn an_unreachable_follower_is_probed() {
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let term = rig.lead();
    rig.all_match(term);
    rig.turn(&[Input::Unreachable(id(2))]);
    let mut messages = 0;
    for request in 0..5 {
        messages += bodies(&rig.turn(&[propose(request, 1)]), 2).len();
    }
    assert!(messages <= 1, "one message at a time");
    assert_eq!(rig.engine.status().followers[&id(2)].state, ReplicationState::Probe);
    rig.all_match(term);
    assert_eq!(rig.engine.status().followers[&id(2)].state, ReplicationState::Replicate);
}

#[test]
fn a_stale_leader_hears_of_the_new_term() {
    let mut rig = Rig::new(&[1, 2, 3], &[5]);
    let body = MessageBody::Heartbeat { commit_index: LogIndex(0), read: 3 };
    let out = rig.receive_settled(2, 4, body);
    let answer = Message { term: Term(5), body: MessageBody::HeartbeatReply { read: 0 } };
    assert_eq!(sent(&out), [(id(2), answer)]);
}

#[test]
fn a_follower_is_called_silent_after_a_whole_check_of_the_quorum_without_it() {
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let term = rig.lead();
    let active = |rig: &Rig, node| rig.engine.status().followers[&id(node)].active;
    assert!(active(&rig, 2) && active(&rig, 3), "nobody has had time to answer");
    let mut rounds = 0;
    while active(&rig, 3) {
        rig.receive_settled(2, term, MessageBody::HeartbeatReply { read: 0 });
        rig.wake();
        assert!(active(&rig, 2), "it answers all the time");
        rounds += 1;
        assert!(rounds < 1_000, "the other one never does");
    }
    rig.receive_settled(3, term, MessageBody::HeartbeatReply { read: 0 });
    assert!(active(&rig, 3));
}
