//! Elections, terms and transfers: docs/raft-traps.md, traps 1 to 16, and Raft paper §5.2, §5.4.1,
//! §8 and dissertation §3.10, §9.6.

use nacolet_model::{Duration, RequestId};
use nacolet_raft::engine::{
    EngineConfig, Input, Message, MessageBody, Output, PersistId, Refusal, ReplicationState,
    RoleKind,
};
use nacolet_raft::{LogId, MembershipChange, Term};

use crate::rig::{
    GRANTED, PRE_GRANTED, REFUSED, Rig, append, bodies, entries, log_id, matched, membership,
    request_vote, sent,
};
use crate::world::{Faults, Outcome, World, id};

#[test]
fn a_sole_voter_leads_at_once_and_then_needs_no_clock() {
    let mut world = World::new(1, 1, 1, |_| {});
    assert!(world.run_until(20, |world| world.leader().is_some()), "ready in milliseconds");
    world.write();
    assert_eq!(world.engine(id(1)).next_deadline(), None);
    world.crash(id(1));
    world.restart(id(1));
    assert!(world.run_until(20, |world| world.leader().is_some()), "and so after a restart");
}

#[test]
fn a_vote_leaves_when_it_is_durable() {
    // Trap 1; Raft paper §5.1.
    let mut rig = Rig::new(&[1, 2, 3], &[]);
    let out = rig.receive(2, 1, request_vote(LogId::default()));
    assert!(matches!(&out[0], Output::Persist { hard_state: Some(state), .. }
        if state.voted_for == Some(id(2)) && state.term == Term(1)));
    assert_eq!(sent(&out), []);
    assert_eq!(sent(&rig.persist()), [(id(2), Message { term: Term(1), body: GRANTED })]);
}

#[test]
fn a_candidate_counts_its_own_vote_when_it_is_durable() {
    // Trap 1.
    let mut rig = Rig::new(&[1], &[]);
    let out = rig.wake();
    assert_eq!(rig.engine.role(), RoleKind::Candidate);
    assert!(matches!(out[0], Output::Persist { .. }));
    rig.persist();
    assert_eq!(rig.engine.role(), RoleKind::Leader);
}

#[test]
fn votes_that_nobody_was_asked_for_do_not_count() {
    let mut rig = Rig::new(&[1, 2, 3], &[]);
    rig.wake();
    rig.receive(2, 1, PRE_GRANTED);
    // Its own vote is being written, so no request has left. Who led now would have to lead again
    // in this term after a crash, or another one would.
    for voter in [2, 3] {
        assert_eq!(sent(&rig.receive(voter, 1, GRANTED)), []);
    }
    assert_eq!(rig.engine.role(), RoleKind::Candidate);
    rig.persist();
    assert_eq!(rig.engine.role(), RoleKind::Candidate);
    rig.receive_settled(2, 1, GRANTED);
    assert_eq!(rig.engine.role(), RoleKind::Leader);
}

#[test]
fn a_voter_is_counted_once_and_a_repeated_request_is_granted_again() {
    // Trap 2.
    let mut rig = Rig::new(&[1, 2, 3, 4, 5], &[]);
    let outputs = rig.wake();
    rig.settle(outputs);
    for _ in 0..3 {
        rig.receive_settled(2, 1, PRE_GRANTED);
    }
    assert_eq!(rig.engine.role(), RoleKind::PreCandidate);
    rig.receive_settled(3, 1, PRE_GRANTED);
    for _ in 0..3 {
        rig.receive_settled(2, 1, GRANTED);
        // The first answer of a node counts.
        rig.receive_settled(2, 1, REFUSED);
    }
    assert_eq!(rig.engine.role(), RoleKind::Candidate);
    rig.receive_settled(4, 1, GRANTED);
    assert_eq!(rig.engine.role(), RoleKind::Leader);

    let mut voter = Rig::new(&[1, 2, 3], &[]);
    for _ in 0..2 {
        let out = voter.receive_settled(2, 1, request_vote(LogId::default()));
        assert_eq!(bodies(&out, 2), [GRANTED]);
    }
}

#[test]
fn each_node_votes_first_come_first_served_for_up_to_date_logs() {
    // Raft paper §5.2 and §5.4.1.
    let check = |last: LogId, expected: MessageBody| {
        let mut rig = Rig::new(&[1, 2, 3], &[1, 2, 2]);
        let out = rig.receive_settled(2, 3, request_vote(last));
        assert_eq!(bodies(&out, 2).last(), Some(&expected), "{last:?}");
        let other = rig.receive_settled(3, 3, request_vote(log_id(2, 3)));
        let second = if expected == GRANTED { REFUSED } else { GRANTED };
        assert_eq!(bodies(&other, 3).last(), Some(&second), "{last:?}");
    };
    check(log_id(2, 3), GRANTED);
    check(log_id(2, 2), REFUSED);
    check(log_id(1, 9), REFUSED);
    check(log_id(3, 1), GRANTED);
}

#[test]
fn the_vote_is_kept_when_a_candidate_steps_down_inside_its_term() {
    // Trap 4.
    let mut rig = Rig::with(membership(&[1, 2, 3], &[], &[]), &[], |config| {
        config.pre_vote = false;
    });
    let outputs = rig.wake();
    rig.settle(outputs);
    assert_eq!(rig.engine.role(), RoleKind::Candidate);
    rig.receive_settled(2, 1, append(LogId::default(), &[1], 0));
    assert_eq!(rig.engine.role(), RoleKind::Follower);
    assert_eq!(rig.engine.status().voted_for, Some(id(1)));
    let out = rig.receive_settled(3, 1, request_vote(log_id(1, 1)));
    assert_eq!(bodies(&out, 3), [REFUSED]);
}

#[test]
fn late_pre_vote_grants_change_nothing() {
    // Trap 5.
    let mut rig = Rig::new(&[1, 2, 3, 4, 5], &[]);
    let outputs = rig.wake();
    rig.settle(outputs);
    rig.receive_settled(2, 1, PRE_GRANTED);
    rig.receive_settled(3, 1, PRE_GRANTED);
    assert_eq!(rig.engine.role(), RoleKind::Candidate);
    for late in [4, 5] {
        rig.receive_settled(late, 1, PRE_GRANTED);
    }
    assert_eq!(rig.engine.role(), RoleKind::Candidate, "a pre-vote is no vote");
    rig.receive_settled(2, 1, GRANTED);
    rig.receive_settled(3, 1, GRANTED);
    for late in [4, 5] {
        rig.receive_settled(late, 1, PRE_GRANTED);
        rig.receive_settled(late, 2, PRE_GRANTED);
    }
    assert_eq!((rig.engine.role(), rig.engine.status().term), (RoleKind::Leader, Term(1)));
}

#[test]
fn a_refused_pre_vote_hands_over_the_higher_term() {
    // Trap 6: node 1 has the longer log and the lower term, and must be elected.
    let mut rig = Rig::new(&[1, 2, 3], &[1, 2]);
    rig.wake();
    rig.receive_settled(2, 7, MessageBody::PreVoteReply { granted: false });
    assert_eq!((rig.engine.role(), rig.engine.status().term), (RoleKind::Follower, Term(7)));
    let out = rig.wake();
    let body = MessageBody::RequestPreVote { last: log_id(2, 2) };
    assert_eq!(sent(&out)[0].1, Message { term: Term(8), body });
}

#[test]
fn two_survivors_of_different_terms_elect_a_leader() {
    // Trap 6, in a cluster.
    let mut world = World::quiet(3);
    let leader = world.leader().unwrap();
    let term = world.status(leader).term.0;
    let behind = world.follower();
    world.forge(leader, behind, Message { term: Term(term + 5), body: REFUSED });
    world.crash(leader);
    world.await_leader();
    world.write();
}

#[test]
fn the_term_of_an_isolated_node_does_not_move() {
    // Trap 7.
    let mut world = World::quiet(3);
    let (leader, lonely) = (world.leader().unwrap(), world.follower());
    let term = world.status(leader).term;
    world.cut_off(lonely);
    world.run_for(100 * 1_200);
    assert_eq!(world.status(lonely).term, term);
    world.heal();
    world.run_for(2_000);
    assert_eq!((world.leader(), world.status(leader).term), (Some(leader), term), "not disturbed");
}

#[test]
fn a_node_whose_term_ran_ahead_comes_back() {
    // Trap 8.
    let mut world = World::quiet_with(3, 3, |config| config.pre_vote = false);
    let lonely = world.follower();
    world.cut_off(lonely);
    world.run_for(20_000);
    assert!(world.status(lonely).term > world.status(world.leader().unwrap()).term);
    world.heal();
    world.run_for(3_000);
    let leader = world.await_leader();
    world.write();
    world.run_for(500);
    assert!(world.alive().iter().all(|node| world.status(*node).leader == Some(leader)));
    assert_eq!(world.nodes[&lonely].machine, world.nodes[&leader].machine);
}

#[test]
fn a_leader_that_cannot_hear_gives_way() {
    // Trap 9: it can send, so nobody's patience would end.
    let mut world = World::quiet(3);
    let deaf = world.leader().unwrap();
    for other in world.alive() {
        world.cut.insert((other, deaf));
    }
    world.run_for(3 * 1_200);
    let leader = world.leader().unwrap();
    assert_ne!(leader, deaf);
    assert_ne!(world.status(deaf).role, RoleKind::Leader);
    world.write();
}

#[test]
fn equal_seeds_do_not_split_votes_for_ever() {
    // Trap 10; Raft paper §9.3: timeouts are drawn anew for each campaign and node.
    for seed in 0..1_000 {
        let mut world = World::with_faults(seed, 5, 5, Faults::LOCKSTEP, |_| {});
        let elected = world.run_until(6_000, |world| world.leader().is_some());
        assert!(elected, "seed {seed}");
    }
}

#[test]
fn a_promoted_learner_that_does_not_know_it_votes() {
    // Trap 11 (etcd#10998).
    let mut rig = Rig::with(membership(&[2, 3], &[], &[1]), &[1], |_| {});
    assert_eq!(rig.engine.role(), RoleKind::Learner);
    assert_eq!(rig.engine.next_deadline(), None, "a learner never campaigns");
    let out = rig.receive_settled(2, 2, request_vote(log_id(1, 1)));
    assert_eq!(bodies(&out, 2), [GRANTED]);
}

#[test]
fn nobody_campaigns_while_a_committed_change_is_not_applied() {
    // Trap 12.
    let mut rig = Rig::new(&[1, 2, 3], &[]);
    let mut change = entries(1, &[1]);
    change[0].payload =
        nacolet_raft::EntryPayload::Membership(Box::new(membership(&[1, 2], &[1, 2, 3], &[])));
    let body = MessageBody::AppendEntries {
        previous: LogId::default(),
        entries: change,
        commit_index: nacolet_raft::LogIndex(1),
    };
    rig.receive(2, 1, body);
    let out = rig.persist();
    assert!(out.iter().any(|output| matches!(output, Output::Apply(_))));
    assert_eq!(rig.engine.next_deadline(), None);
    rig.now += Duration::from_secs(60);
    rig.turn(&[Input::Wake]);
    assert_eq!(rig.engine.role(), RoleKind::Follower);
    rig.turn(&[Input::Applied(nacolet_raft::LogIndex(1))]);
    rig.turn(&[Input::Wake]);
    assert_eq!(rig.engine.role(), RoleKind::PreCandidate);
}

#[test]
fn a_transfer_waits_until_the_target_holds_everything() {
    // Trap 13.
    let mut rig = Rig::new(&[1, 2, 3], &[]);
    let term = rig.lead();
    rig.receive_settled(3, term, matched(1));
    let request = RequestId(1);
    let out = rig.turn(&[Input::TransferLeader { request, target: Some(id(2)) }]);
    assert!(!bodies(&out, 2).contains(&MessageBody::TimeoutNow), "it lacks an entry");
    let out = rig.receive_settled(2, term, matched(1));
    assert!(bodies(&out, 2).contains(&MessageBody::TimeoutNow));
}

#[test]
fn an_order_to_campaign_is_ignored_by_one_who_does_not_vote() {
    // Trap 13.
    let mut rig = Rig::with(membership(&[2, 3], &[], &[1]), &[1], |_| {});
    rig.receive_settled(2, 2, append(log_id(1, 1), &[], 0));
    let out = rig.receive_settled(2, 2, MessageBody::TimeoutNow);
    assert_eq!((out, rig.engine.role()), (vec![], RoleKind::Learner));
}

#[test]
fn a_transfer_to_a_just_promoted_voter_ends_well() {
    // Trap 13 (openraft#1805).
    let mut world = World::quiet_with(3, 4, |_| {});
    let leader = world.leader().unwrap();
    let address = String::from("host:4");
    world.change(leader, MembershipChange::AddLearner { node: id(4), address });
    world.run_for(500);
    world.change(leader, MembershipChange::Promote([id(4)].into()));
    world.cut.insert((leader, id(4)));
    world.run_for(50);
    world.transfer(leader, Some(id(4)));
    world.run_for(100);
    world.heal();
    world.run_for(3_000);
    world.await_leader();
    world.write();
}

#[test]
fn a_transfer_to_a_dead_node_is_given_up_under_a_read_load() {
    // Trap 14.
    let mut world = World::quiet(3);
    let (leader, dead) = (world.leader().unwrap(), world.follower());
    world.crash(dead);
    let transfer = world.transfer(leader, Some(dead));
    let write = world.propose(leader);
    assert_eq!(world.outcome(write), Outcome::Refused(Refusal::Transferring));
    for _ in 0..150 {
        world.read(leader);
        world.run_for(10);
    }
    assert_eq!(world.outcome(transfer), Outcome::Refused(Refusal::TransferFailed));
    assert_eq!(world.leader(), Some(leader));
    world.write();
}

#[test]
fn a_transfer_passes_pre_vote_and_lease_within_milliseconds() {
    // Trap 15.
    let mut world = World::quiet(3);
    let (leader, target) = (world.leader().unwrap(), world.follower());
    let transfer = world.transfer(leader, Some(target));
    assert!(world.run_until(50, |world| world.leader() == Some(target)));
    world.run_for(50);
    assert_eq!(world.outcome(transfer), Outcome::Done);
    world.write();
    // Without a target the most advanced voter takes over.
    let transfer = world.transfer(target, None);
    assert!(world.run_until(50, |world| world.outcome(transfer) == Outcome::Done));
}

#[test]
fn a_transfer_to_oneself_is_done_and_to_a_stranger_refused() {
    let mut world = World::quiet(3);
    let leader = world.leader().unwrap();
    let to_self = world.transfer(leader, Some(leader));
    assert_eq!(world.outcome(to_self), Outcome::Done);
    let to_stranger = world.transfer(leader, Some(id(9)));
    assert_eq!(world.outcome(to_stranger), Outcome::Refused(Refusal::TransferFailed));
    let follower = world.follower();
    let elsewhere = world.transfer(follower, None);
    let reason = Refusal::NotLeader { leader: Some(leader) };
    assert_eq!(world.outcome(elsewhere), Outcome::Refused(reason));
}

#[test]
fn messages_of_earlier_terms_are_harmless() {
    // Trap 16: the whole history again, at random.
    let mut world = World::new(16, 3, 4, |config| config.tail_entries_max = 4);
    world.history = Some(Vec::new());
    for _ in 0..6 {
        let leader = world.await_leader();
        world.propose_many(leader, 5);
        world.run_for(20);
        world.crash(leader);
        world.run_for(2_500);
        world.restart(leader);
    }
    world.await_leader();
    let history = world.history.take().unwrap();
    for _ in 0..5_000 {
        let pick = world.prng.index(history.len());
        let (from, to, message) = history[pick].clone();
        world.forge(from, to, message);
        world.run_for(1);
    }
    world.run_for(3_000);
    world.await_leader();
    world.write();
}

#[test]
fn a_follower_in_the_lease_ignores_candidates() {
    // Raft paper §6: "servers disregard RequestVote RPCs when they believe a current leader
    // exists".
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    rig.receive_settled(2, 2, append(log_id(1, 1), &[], 0));
    assert_eq!(rig.receive_settled(3, 9, request_vote(log_id(9, 9))), []);
    assert_eq!(rig.receive_settled(3, 9, MessageBody::RequestPreVote { last: log_id(9, 9) }), []);
    assert_eq!(rig.engine.status().term, Term(2));
    let transfer = MessageBody::RequestVote { last: log_id(9, 9), transfer: true };
    assert_eq!(bodies(&rig.receive_settled(3, 9, transfer), 3), [GRANTED]);
}

#[test]
fn a_higher_term_takes_back_no_promise() {
    // Trap 76, Raft dissertation §6.4: a lease ends when its time is over and not before. A refused
    // pre-vote makes the leader of the term unknown; it was heard all the same.
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    rig.receive_settled(2, 2, append(log_id(1, 1), &[], 0));
    let refused = MessageBody::PreVoteReply { granted: false };
    rig.receive_settled(3, 3, refused);
    assert_eq!(rig.engine.status().leader, None);
    let asks = [MessageBody::RequestPreVote { last: log_id(1, 1) }, request_vote(log_id(1, 1))];
    for ask in &asks {
        assert_eq!(rig.receive_settled(3, 4, ask.clone()), []);
    }
    assert_eq!(rig.engine.status().term, Term(3));
    rig.now += EngineConfig::new(id(1), 1).election_timeout_min;
    assert_eq!(bodies(&rig.receive_settled(3, 4, asks[0].clone()), 3), [PRE_GRANTED]);
    assert_eq!(bodies(&rig.receive_settled(3, 4, asks[1].clone()), 3), [GRANTED]);
}

#[test]
fn a_leader_without_a_quorum_steps_down_and_says_so() {
    // Raft dissertation §6.2: clients must not wait for a leader that cannot commit.
    let mut world = World::quiet(3);
    let leader = world.leader().unwrap();
    world.cut_off(leader);
    let read = world.read(leader);
    world.run_for(1_300);
    assert_ne!(world.status(leader).role, RoleKind::Leader);
    assert_eq!(world.outcome(read), Outcome::Refused(Refusal::NotLeader { leader: None }));
}

#[test]
fn impossible_terms_and_senders_are_dropped() {
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    assert_eq!(rig.receive(2, u64::MAX, append(log_id(1, 1), &[], 0)), []);
    assert_eq!(rig.receive(1, 5, append(log_id(1, 1), &[], 0)), []);
    assert_eq!(rig.engine.status().dropped_messages, 2);
    rig.receive_settled(2, 2, append(log_id(1, 1), &[], 0));
    assert_eq!(rig.receive(3, 2, append(log_id(1, 1), &[], 0)), [], "two leaders in one term");
    assert_eq!(rig.engine.status().dropped_messages, 3);
}

#[test]
fn a_new_leader_knows_nothing_of_its_followers() {
    // Raft paper §5.3: next_index begins right behind its own log, match_index at zero.
    let mut rig = Rig::new(&[1, 2, 3], &[1, 1]);
    rig.lead();
    let follower = rig.engine.status().followers[&id(2)];
    assert_eq!((follower.match_index.0, follower.state), (0, ReplicationState::Probe));
    assert_eq!(rig.engine.status().last, log_id(2, 3), "it opens its term with a blank entry");
}

#[test]
fn completions_may_come_late_and_skip_some() {
    // Trap 25: the highest counts, older ones change nothing.
    let mut rig = Rig::new(&[1], &[]);
    rig.lead();
    rig.turn(&[propose(1)]);
    rig.turn(&[propose(2)]);
    let ids: Vec<PersistId> = (3..=4).map(PersistId).collect();
    rig.turn(&[Input::Persisted(ids[1])]);
    rig.turn(&[Input::Persisted(ids[0])]);
    assert_eq!(rig.engine.status().commit_index.0, 3);
}

fn propose(request: u64) -> Input {
    Input::Propose { request: RequestId(request), command: [0_u8; 8].as_slice().into() }
}

#[test]
fn nonsense_from_peers_never_panics_and_never_breaks_an_invariant() {
    // Trap 74: every kind of message with numbers that are small, huge or just off, from members
    // and strangers, to an engine in every role.
    let mut prng = nacolet_model::Prng::new(74);
    for round in 0..300 {
        let mut rig = Rig::new(&[1, 2, 3], &[1, 1, 2]);
        if round % 3 == 0 {
            rig.lead();
        } else if round % 3 == 1 {
            rig.wake();
        }
        for _ in 0..40 {
            let (from, term, body) = nonsense(&mut prng);
            let out = rig.receive(from, term, body);
            if prng.chance(1, 2) {
                rig.settle(out);
            }
        }
    }
}

fn nonsense(prng: &mut nacolet_model::Prng) -> (u64, u64, MessageBody) {
    let odd = [0, 1, 2, 3, 4, 5, 9, 1 << 40, u64::MAX - 1, u64::MAX];
    let mut number = || match prng.below(12) {
        pick @ 0..=9 => odd[pick as usize],
        _ => prng.below(6),
    };
    let (from, term) = (number() % 5, number() % 7);
    let last = log_id(number(), number());
    let granted = number() % 2 == 0;
    let index = nacolet_raft::LogIndex(number());
    let body = match number() % 12 {
        0 => MessageBody::RequestPreVote { last },
        1 => MessageBody::PreVoteReply { granted },
        2 => MessageBody::RequestVote { last, transfer: granted },
        3 => MessageBody::VoteReply { granted },
        4 | 5 => {
            let first = number();
            let mut some = entries(first.min(9), &[number() % 6, number() % 6]);
            if granted {
                some[1].id = last;
            }
            MessageBody::AppendEntries { previous: last, entries: some, commit_index: index }
        }
        6 => {
            let result = nacolet_raft::engine::AppendResult::Matched(index);
            MessageBody::AppendEntriesReply { result }
        }
        7 => {
            let result =
                nacolet_raft::engine::AppendResult::Conflict { rejected: index, hint: last };
            MessageBody::AppendEntriesReply { result }
        }
        8 => MessageBody::Heartbeat { commit_index: index, read: number() },
        9 => MessageBody::HeartbeatReply { read: number() },
        10 => MessageBody::TimeoutNow,
        _ => MessageBody::SnapshotReply { last },
    };
    (from, term, body)
}

#[test]
fn members_whose_disks_are_slower_than_their_patience_elect_a_leader_and_keep_it() {
    let faults = Faults { disk_micros_min: 1_200_000, disk_micros_max: 1_000_000, ..Faults::NONE };
    for (voters, seed) in
        [3, 5].into_iter().flat_map(|voters| (0..20).map(move |seed| (voters, seed)))
    {
        let mut world = World::with_faults(seed, voters, voters, faults.clone(), |_| {});
        let leads = |world: &World| {
            let leader = world.leader().map(|leader| world.status(leader));
            leader.is_some_and(|status| status.commit_index == status.last.index)
        };
        assert!(world.run_until(60_000, leads), "{voters} voters, seed {seed}");
        // Another candidacy may still be on its way; then it is over.
        world.run_for(30_000);
        let (leader, term) = (world.leader(), world.status(id(1)).term);
        for _ in 0..10 {
            world.write();
        }
        world.run_for(30_000);
        assert_eq!((world.leader(), world.status(id(1)).term), (leader, term), "seed {seed}");
    }
}

#[test]
fn patience_grows_with_candidacies_without_a_leader_and_is_short_again_with_one() {
    let mut rig = Rig::new(&[1, 2, 3], &[]);
    let patience = |rig: &Rig| rig.engine.next_deadline().unwrap().saturating_since(rig.now);
    let (min, max) = (Duration::from_millis(600), Duration::from_millis(1_200));
    for growth in [1, 1, 2, 4, 8, 8, 8] {
        assert!((min * growth..max * growth).contains(&patience(&rig)), "{growth}");
        rig.wake();
        rig.receive(2, rig.engine.status().term.0 + 1, PRE_GRANTED);
        assert_eq!(rig.engine.next_deadline(), None, "its vote is being written");
        rig.persist();
    }
    let term = rig.engine.status().term.0;
    rig.receive_settled(2, term, append(log_id(0, 0), &[], 0));
    assert!((min..max).contains(&patience(&rig)));
}

#[test]
fn a_sole_voter_that_learns_of_a_higher_term_campaigns_as_soon_as_that_is_durable() {
    let mut rig = Rig::new(&[1], &[]);
    rig.lead();
    rig.receive(2, 9, MessageBody::HeartbeatReply { read: 0 });
    assert_eq!((rig.engine.status().term, rig.engine.next_deadline()), (Term(9), None));
    rig.now += Duration::from_millis(5);
    rig.persist();
    assert!(rig.engine.next_deadline().is_some_and(|deadline| deadline <= rig.now));
    let outputs = rig.wake();
    rig.settle(outputs);
    assert_eq!((rig.engine.role(), rig.engine.status().term), (RoleKind::Leader, Term(10)));
}
