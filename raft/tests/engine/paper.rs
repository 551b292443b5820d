//! Claims of the Raft paper that no trap beside them tests already. Others name their section where
//! they are: elections and terms in `election`, the log in `replication`, figures 7 and 8 as
//! scenarios, the properties of figure 3 in `checker`.

use nacolet_model::Duration;
use nacolet_raft::engine::{Input, Message, MessageBody, RoleKind};
use nacolet_raft::{LogIndex, Term};

use crate::rig::{REFUSED, Rig, append, bodies, entries, log_id, matched, request_vote, sent};
use crate::world::World;

#[test]
fn a_request_of_an_earlier_term_is_refused_and_changes_nothing() {
    // §5.1.
    let mut rig = Rig::new(&[1, 2, 3], &[1, 5]);
    let before = rig.engine.status();
    let behind = log_id(9, 9);
    for body in [
        request_vote(behind),
        MessageBody::RequestPreVote { last: behind },
        append(log_id(5, 2), &[5], 2),
        MessageBody::Heartbeat { commit_index: LogIndex(2), read: 0 },
    ] {
        let out = rig.receive_settled(2, 4, body);
        let answers = sent(&out);
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].1.term, Term(5), "it hears of the later term");
        assert_eq!(rig.engine.status(), before);
    }
}

#[test]
fn a_follower_that_hears_its_leader_never_campaigns() {
    // §5.2.
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    for _ in 0..200 {
        rig.receive_settled(2, 2, MessageBody::Heartbeat { commit_index: LogIndex(0), read: 0 });
        rig.now += Duration::from_millis(599);
        rig.turn(&[Input::Wake]);
        assert_eq!(rig.engine.role(), RoleKind::Follower);
    }
    rig.wake();
    assert_eq!(rig.engine.role(), RoleKind::PreCandidate, "and campaigns when it falls silent");
}

#[test]
fn a_split_vote_ends_in_an_election_of_the_next_term() {
    // §5.2: neither won nor lost, the candidate times out and increments its term.
    let membership = crate::rig::membership(&[1, 2, 3, 4], &[], &[]);
    let mut rig = Rig::with(membership, &[], |config| config.pre_vote = false);
    let outputs = rig.wake();
    rig.settle(outputs);
    rig.receive_settled(2, 1, REFUSED);
    assert_eq!((rig.engine.role(), rig.engine.status().term), (RoleKind::Candidate, Term(1)));
    let out = rig.wake();
    assert_eq!((rig.engine.role(), rig.engine.status().term), (RoleKind::Candidate, Term(2)));
    let asked = rig.settle(out);
    let request = MessageBody::RequestVote { last: log_id(0, 0), transfer: false };
    assert_eq!(bodies(&asked, 3), [request]);
}

#[test]
fn a_leader_announces_itself_at_once() {
    // §5.2 and §8: to everybody, and with a blank entry of its term.
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let outputs = rig.wake();
    rig.settle(outputs);
    for body in [crate::rig::PRE_GRANTED, crate::rig::GRANTED] {
        let out = rig.receive_settled(2, 2, body);
        if rig.engine.role() == RoleKind::Leader {
            let body = MessageBody::AppendEntries {
                previous: log_id(1, 1),
                entries: entries(2, &[2]),
                commit_index: LogIndex(0),
            };
            for other in [2, 3] {
                assert_eq!(bodies(&out, other), std::slice::from_ref(&body));
            }
        }
    }
    assert_eq!(rig.engine.role(), RoleKind::Leader);
}

#[test]
fn what_is_committed_commits_everything_before_it() {
    // §5.3: "including entries created by previous leaders".
    let mut rig = Rig::new(&[1, 2, 3], &[1, 2, 2]);
    let term = rig.lead();
    rig.receive_settled(2, term, matched(3));
    assert_eq!(rig.engine.status().commit_index, LogIndex(0));
    rig.receive_settled(2, term, matched(4));
    assert_eq!(rig.engine.status().commit_index, LogIndex(4));
}

#[test]
fn a_leader_never_gives_a_follower_up() {
    // §5.3: it retries "indefinitely (even after it has responded to the client)"; §5.5: a follower
    // that crashes and comes back completes what it was sent.
    let mut world = World::quiet(3);
    let (leader, away) = (world.leader().unwrap(), world.follower());
    world.cut_off(away);
    for _ in 0..20 {
        world.write();
    }
    world.run_for(300_000);
    world.crash(away);
    world.restart(away);
    world.heal();
    world.run_for(3_000);
    assert_eq!(world.nodes[&away].machine, world.nodes[&leader].machine);
}

#[test]
fn a_repeated_request_is_answered_alike_and_does_no_harm() {
    // §5.5: "Raft RPCs are idempotent".
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let first = rig.receive_settled(2, 2, append(log_id(1, 1), &[2, 2], 2));
    let status = rig.engine.status();
    for _ in 0..3 {
        let again = rig.receive_settled(2, 2, append(log_id(1, 1), &[2, 2], 2));
        assert_eq!(sent(&again), sent(&first));
        assert_eq!(rig.engine.status(), status);
    }
    let answer = Message { term: Term(2), body: matched(3) };
    assert_eq!(sent(&first).last().map(|(_, message)| message), Some(&answer));
}
