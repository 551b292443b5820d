//! A member that has the key and lies: messages that no honest one sends. Each is dropped, moves no
//! term, breaks nothing, and the group goes on.

use std::sync::Arc;

use nacolet_model::limits;
use nacolet_raft::engine::{
    AppendResult, Engine, EngineConfig, Input, MessageBody, Output, RoleKind, Start,
};
use nacolet_raft::{Entry, EntryPayload, LogId, LogIndex, Membership, SnapshotMeta, Term};

use crate::rig::{GRANTED, Rig, append, log_id, matched, membership, request_vote};
use crate::world::{World, id};

/// Numbers that are no term and no index.
const BEYOND: [u64; 4] = [1 << 62, (1 << 63) - 1, 1 << 63, u64::MAX];
const FAR: u64 = limits::RAFT_TERM_AHEAD_MAX;

fn entry(term: u64, index: u64, payload: EntryPayload) -> Entry {
    Entry { id: log_id(term, index), payload }
}

fn of_entry(entry: Entry) -> MessageBody {
    let previous = log_id(1, entry.id.index.0.saturating_sub(1));
    MessageBody::AppendEntries { previous, entries: vec![entry], commit_index: LogIndex(0) }
}

fn heartbeat(commit_index: u64) -> MessageBody {
    MessageBody::Heartbeat { commit_index: LogIndex(commit_index), read: 0 }
}

/// Every kind of message, with nothing wrong in it but what its sender makes of the term.
fn bodies() -> Vec<MessageBody> {
    vec![
        MessageBody::RequestPreVote { last: log_id(1, 1) },
        MessageBody::PreVoteReply { granted: true },
        MessageBody::PreVoteReply { granted: false },
        request_vote(log_id(1, 1)),
        MessageBody::RequestVote { last: log_id(1, 1), transfer: true },
        GRANTED,
        append(log_id(1, 1), &[1], 1),
        matched(1),
        heartbeat(1),
        MessageBody::HeartbeatReply { read: 0 },
        MessageBody::TimeoutNow,
        MessageBody::SnapshotReply { last: log_id(1, 1) },
    ]
}

/// Memberships that must never come into force.
fn impossible_memberships() -> Vec<Membership> {
    let with_address = |node: u64, address: String| Membership {
        addresses: [(id(node), address)].into(),
        ..membership(&[1, 2, 3], &[], &[])
    };
    let many: Vec<u64> = (1..=limits::MEMBERS_MAX as u64 + 1).collect();
    vec![
        Membership::default(),
        membership(&[], &[1, 2, 3], &[]),
        membership(&[], &[], &[1]),
        membership(&[1, 2, 3], &[], &[3]),
        membership(&[1, 2], &[3], &[3]),
        membership(&many, &[], &[]),
        membership(&[1], &many[1..], &[]),
        membership(&[1], &[], &many[1..]),
        Membership { learners_next: [id(4)].into(), ..membership(&[1, 2, 3], &[], &[]) },
        Membership { learners_next: [id(3)].into(), ..membership(&[1, 3], &[1, 3], &[]) },
        with_address(4, "10.0.0.4:7848".into()),
        with_address(3, "a".repeat(limits::PEER_ADDRESS_BYTES_MAX + 1)),
        with_address(3, "10. 0.0.3:7848".into()),
        with_address(3, "10.0.0.3:7848\n".into()),
    ]
}

/// A follower of node 2 in term 1.
fn follower() -> Rig {
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    rig.receive_settled(2, 1, heartbeat(1));
    assert_eq!(rig.engine.status().leader, Some(id(2)));
    rig
}

fn leader() -> (Rig, u64) {
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    let term = rig.lead();
    rig.all_match(term);
    (rig, term)
}

/// The message has no effect but that it is counted.
fn check_dropped(rig: &mut Rig, from: u64, term: u64, body: MessageBody) {
    let words = format!("{body:?} in term {term}");
    let before = rig.engine.status();
    assert_eq!(rig.receive(from, term, body), [], "{words}");
    let mut after = rig.engine.status();
    assert_eq!(after.dropped_messages, before.dropped_messages + 1, "{words}");
    after.dropped_messages = before.dropped_messages;
    assert_eq!(after, before, "{words}");
}

#[test]
fn a_term_that_is_none_is_dropped_in_every_message() {
    for term in BEYOND {
        for body in bodies() {
            check_dropped(&mut follower(), 3, term, body.clone());
            check_dropped(&mut leader().0, 3, term, body.clone());
            check_dropped(&mut Rig::new(&[1, 2, 3], &[1]), 3, term, body);
        }
    }
}

#[test]
fn an_index_that_is_none_is_dropped_in_every_message() {
    for index in BEYOND {
        let last = log_id(1, index);
        let conflict = |rejected, hint| MessageBody::AppendEntriesReply {
            result: AppendResult::Conflict { rejected: LogIndex(rejected), hint },
        };
        let of_leader = [
            MessageBody::AppendEntries {
                previous: last,
                entries: Vec::new(),
                commit_index: LogIndex(0),
            },
            append(log_id(1, 1), &[], index),
            append(log_id(index, 1), &[], 0),
            of_entry(entry(1, index, EntryPayload::Blank)),
            of_entry(entry(index, 2, EntryPayload::Blank)),
            heartbeat(index),
        ];
        for body in of_leader {
            check_dropped(&mut follower(), 2, 1, body);
        }
        let of_follower = [
            matched(index),
            MessageBody::SnapshotReply { last },
            conflict(index, log_id(1, 1)),
            conflict(1, last),
            conflict(1, log_id(index, 1)),
        ];
        for body in of_follower {
            let (mut rig, term) = leader();
            check_dropped(&mut rig, 2, term, body);
        }
        let (mut rig, term) = leader();
        for body in [
            MessageBody::RequestPreVote { last },
            MessageBody::RequestVote { last, transfer: true },
            MessageBody::Committed { last },
        ] {
            check_dropped(&mut rig, 2, term + 1, body);
        }
    }
}

#[test]
fn a_membership_that_cannot_be_is_dropped_with_the_entry_that_holds_it() {
    for wrong in impossible_memberships() {
        let payload = EntryPayload::Membership(Box::new(wrong.clone()));
        let mut rig = follower();
        check_dropped(&mut rig, 2, 1, of_entry(entry(1, 2, payload)));
        assert!(wrong.check().is_err());
    }
    let good = membership(&[1, 2], &[], &[3]);
    let mut rig = follower();
    let payload = EntryPayload::Membership(Box::new(good.clone()));
    rig.receive_settled(2, 1, of_entry(entry(1, 2, payload)));
    rig.receive_settled(2, 1, heartbeat(2));
    assert_eq!(rig.engine.status().membership, good);
}

#[test]
fn a_command_that_no_leader_takes_is_dropped() {
    let command = |bytes| EntryPayload::Command(Arc::from(vec![0; bytes]));
    let largest = limits::COMMAND_BYTES_MAX;
    check_dropped(&mut follower(), 2, 1, of_entry(entry(1, 2, command(largest + 1))));
    let mut rig = follower();
    rig.receive_settled(2, 1, of_entry(entry(1, 2, command(largest))));
    assert_eq!(rig.engine.status().last, log_id(1, 2));
}

#[test]
fn a_term_far_ahead_moves_nobody_who_hears_a_leader() {
    for body in bodies() {
        for ahead in [FAR + 1, 1 << 40, (1 << 62) - 2] {
            check_dropped(&mut follower(), 3, 1 + ahead, body.clone());
            let (mut rig, term) = leader();
            check_dropped(&mut rig, 3, term.saturating_add(ahead).min(Term::MAX.0), body.clone());
            assert_eq!(rig.engine.role(), RoleKind::Leader);
        }
    }
}

#[test]
fn a_member_that_slept_gets_to_any_term_in_steps_and_votes_for_nobody_on_the_way() {
    for body in [heartbeat(0), request_vote(log_id(9, 9)), MessageBody::HeartbeatReply { read: 0 }]
    {
        let mut rig = Rig::new(&[1, 2, 3], &[1]);
        let target = 1 + 7 * FAR + 5;
        for step in 1..=7 {
            rig.receive_settled(2, target, body.clone());
            let status = rig.engine.status();
            assert_eq!((status.term, status.voted_for), (Term(1 + step * FAR), None));
            assert_eq!(status.leader, None);
        }
        rig.receive_settled(2, target, body);
        assert_eq!(rig.engine.status().term, Term(target));
    }
    // A pre-vote is of a term that nobody is in yet, and a vote given for one says nothing.
    let mut rig = Rig::new(&[1, 2, 3], &[1]);
    check_dropped(&mut rig, 2, 2 + FAR, MessageBody::PreVoteReply { granted: true });
    rig.receive_settled(2, 2 + FAR, MessageBody::RequestPreVote { last: log_id(9, 9) });
    assert_eq!(rig.engine.status().term, Term(1 + FAR), "the candidate is in this term itself");
}

#[test]
fn one_lie_about_the_term_leaves_a_group_with_a_leader() {
    for ahead in [1, FAR, FAR + 1, 1 << 40, (1 << 62) - 9, (1 << 63) - 1, u64::MAX] {
        for body in bodies() {
            let mut world = World::quiet(3);
            world.write();
            let leader = world.leader().unwrap();
            let term = world.status(leader).term.0;
            let liar = world.nodes.keys().copied().find(|node| *node != leader).unwrap();
            let message = nacolet_raft::Message { term: Term(term.saturating_add(ahead)), body };
            let words = format!("{message:?}");
            world.forge(liar, leader, message);
            assert!(world.run_until(20_000, |world| world.leader().is_some()), "{words}");
            world.run_for(3_000);
            assert!(world.leader().is_some(), "{words}");
            world.write();
        }
    }
}

#[test]
fn members_in_terms_far_apart_find_together() {
    // Each was told another lie.
    let mut world = World::quiet(3);
    for (node, steps) in [(1, 0), (2, 5), (3, 40)] {
        for step in 1..=steps {
            let message = nacolet_raft::Message {
                term: Term(step * FAR),
                body: MessageBody::PreVoteReply { granted: false },
            };
            let from = id(if node == 1 { 2 } else { 1 });
            world.forge(from, id(node), message);
        }
    }
    assert!(world.run_until(60_000, |world| world.leader().is_some()));
    world.run_for(3_000);
    let terms: Vec<Term> = (1..=3).map(|node| world.status(id(node)).term).collect();
    assert!(terms.iter().all(|term| *term == terms[0] && term.0 >= 39 * FAR), "{terms:?}");
    world.write();
}

#[test]
fn a_snapshot_that_no_leader_has_is_not_taken() {
    let meta = |last, membership| SnapshotMeta { last, membership, id: 7 };
    let good = || membership(&[1, 2, 3], &[], &[]);
    let mut wrong: Vec<(u64, SnapshotMeta)> =
        impossible_memberships().into_iter().map(|m| (1, meta(log_id(1, 9), m))).collect();
    for number in BEYOND {
        wrong.push((1, meta(log_id(1, number), good())));
        wrong.push((1, meta(log_id(number, 9), good())));
        wrong.push((number, meta(log_id(1, 9), good())));
        wrong.push((number, meta(log_id(number, number), good())));
    }
    wrong.push((1, meta(log_id(2, 9), good())));
    wrong.push((1, meta(log_id(0, 0), good())));
    wrong.push((9 + FAR, meta(log_id(1, 9), good())));
    for (term, meta) in wrong {
        for mut rig in [follower(), leader().0] {
            let before = rig.engine.status();
            assert!(!rig.engine.believes_snapshot(id(2), Term(term), &meta), "{term} {meta:?}");
            let received =
                Input::SnapshotReceived { from: id(2), term: Term(term), meta: meta.clone() };
            assert_eq!(rig.turn(&[received]), [Output::DiscardSnapshot(meta.clone())]);
            let mut after = rig.engine.status();
            assert_eq!(after.dropped_messages, before.dropped_messages + 2);
            after.dropped_messages = before.dropped_messages;
            assert_eq!(after, before, "{term} {meta:?}");
        }
    }
    let whole = meta(log_id(1, 9), good());
    assert!(!follower().engine.believes_snapshot(id(1), Term(1), &whole), "from itself");
    assert!(follower().engine.believes_snapshot(id(2), Term(1), &whole));
    let last = meta(LogId { term: Term(1), index: LogIndex::MAX }, good());
    assert!(follower().engine.believes_snapshot(id(2), Term(1), &last));
}

#[test]
fn a_log_at_its_end_takes_no_more_and_breaks_nothing() {
    let last = LogId { term: Term(1), index: LogIndex::MAX };
    let meta = SnapshotMeta { last, membership: membership(&[1, 2, 3], &[], &[]), id: 7 };
    let mut rig = follower();
    rig.turn(&[Input::SnapshotReceived { from: id(2), term: Term(1), meta: meta.clone() }]);
    rig.turn(&[Input::SnapshotInstalled(meta)]);
    assert_eq!(rig.engine.status().last, last);
    check_dropped(&mut rig, 2, 1, append(last, &[1], 0));
    rig.receive_settled(2, 1, append(last, &[], LogIndex::MAX.0));
    assert_eq!(rig.engine.next_deadline(), None, "there is no place for what opens a term");
    let request = nacolet_model::RequestId(1);
    let out = rig.turn(&[Input::Propose { request, command: Arc::from([1]) }]);
    assert!(matches!(out[..], [Output::Refused { .. }]), "{out:?}");
}

#[test]
fn a_member_in_the_last_term_does_not_campaign() {
    let start = Start {
        hard_state: nacolet_raft::HardState { term: Term::MAX, ..Default::default() },
        snapshot: Some(SnapshotMeta {
            membership: membership(&[1, 2, 3], &[], &[]),
            ..SnapshotMeta::default()
        }),
        ..Start::default()
    };
    let engine =
        Engine::new(EngineConfig::new(id(1), 1), start, nacolet_model::Instant::ZERO).unwrap();
    assert_eq!(engine.next_deadline(), None);
}
