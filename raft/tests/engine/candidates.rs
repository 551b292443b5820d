//! Memberships that come into force while somebody stands for election: docs/raft-traps.md, traps
//! 12 and 75.

use nacolet_raft::engine::{Input, MessageBody, RoleKind};
use nacolet_raft::{EntryPayload, LogIndex};

use crate::rig::{GRANTED, PRE_GRANTED, Rig, entries, log_id, membership};

/// Node 1 of four, voted out by entries 2 and 3, which it holds and does not know to be committed.
fn voted_out_without_knowing() -> Rig {
    let mut rig = Rig::new(&[1, 2, 3, 4], &[1]);
    let mut change = entries(2, &[1, 1]);
    let memberships =
        [membership(&[2, 3, 4], &[1, 2, 3, 4], &[]), membership(&[2, 3, 4], &[], &[])];
    for (entry, membership) in change.iter_mut().zip(memberships) {
        entry.payload = EntryPayload::Membership(Box::new(membership));
    }
    let commit_index = LogIndex(1);
    let body = MessageBody::AppendEntries { previous: log_id(1, 1), entries: change, commit_index };
    rig.receive_settled(2, 1, body);
    rig.wake();
    assert_eq!(rig.engine.role(), RoleKind::PreCandidate);
    rig
}

fn committed(index: u64) -> MessageBody {
    MessageBody::Committed { last: log_id(1, index) }
}

#[test]
fn who_is_voted_out_while_it_stands_stands_no_more() {
    // Trap 75: it asked when it had a vote, and the answers come when it has none.
    let mut rig = voted_out_without_knowing();
    rig.receive_settled(3, 1, committed(3));
    assert_eq!(rig.engine.role(), RoleKind::Learner);
    for voter in [3, 4] {
        rig.receive_settled(voter, 2, PRE_GRANTED);
    }
    assert_eq!((rig.engine.role(), rig.engine.next_deadline()), (RoleKind::Learner, None));

    let mut rig = voted_out_without_knowing();
    for voter in [3, 4] {
        rig.receive_settled(voter, 2, PRE_GRANTED);
    }
    assert_eq!(rig.engine.role(), RoleKind::Candidate);
    rig.receive_settled(3, 1, committed(3));
    for voter in [2, 3, 4] {
        rig.receive_settled(voter, 2, GRANTED);
    }
    assert_eq!(rig.engine.role(), RoleKind::Learner);
}

#[test]
fn nobody_wins_while_a_committed_change_is_not_applied() {
    // Trap 12: the votes are counted once it is known whose they are.
    let mut rig = voted_out_without_knowing();
    for voter in [3, 4] {
        rig.receive_settled(voter, 2, PRE_GRANTED);
    }
    rig.receive(3, 1, committed(3));
    for voter in [2, 3, 4] {
        rig.receive(voter, 2, GRANTED);
    }
    assert_eq!(rig.engine.role(), RoleKind::Candidate);
    rig.turn(&[Input::Applied(LogIndex(3))]);
    assert_eq!(rig.engine.role(), RoleKind::Learner);
}

#[test]
fn fewer_voters_may_make_a_candidate_the_winner() {
    let mut rig = Rig::new(&[1, 2, 3, 4], &[1]);
    let mut change = entries(2, &[1]);
    change[0].payload = EntryPayload::Membership(Box::new(membership(&[1, 2, 3], &[], &[])));
    let body = MessageBody::AppendEntries {
        previous: log_id(1, 1),
        entries: change,
        commit_index: LogIndex(1),
    };
    rig.receive_settled(2, 1, body);
    rig.wake();
    for voter in [2, 3] {
        rig.receive_settled(voter, 2, PRE_GRANTED);
    }
    rig.receive_settled(2, 2, GRANTED);
    assert_eq!(rig.engine.role(), RoleKind::Candidate, "two of four");
    rig.receive_settled(4, 1, committed(2));
    assert_eq!(rig.engine.role(), RoleKind::Leader, "two of three");
}
