//! What a restart may find, and what it refuses (docs/raft-traps.md, traps 46, 60, 61).

use alloc::collections::BTreeSet;
use alloc::vec;

use nacolet_model::{NodeId, limits};

use super::*;
use crate::engine::{Input, Output, RoleKind};

fn id(term: u64, index: u64) -> LogId {
    LogId { term: Term(term), index: LogIndex(index) }
}

fn entries(ids: &[(u64, u64)]) -> Vec<Entry> {
    let blank =
        |(term, index): &(u64, u64)| Entry { id: id(*term, *index), payload: EntryPayload::Blank };
    ids.iter().map(blank).collect()
}

fn hard_state(term: u64, commit_index: u64) -> HardState {
    HardState { term: Term(term), voted_for: None, commit_index: LogIndex(commit_index) }
}

fn snapshot(term: u64, index: u64) -> SnapshotMeta {
    let membership = Membership {
        voters: BTreeSet::from([NodeId(1), NodeId(2), NodeId(3)]),
        ..Membership::default()
    };
    SnapshotMeta { last: id(term, index), membership, id: 1 }
}

fn start(start: Start) -> Result<Engine, ImpossibleStart> {
    Engine::new(EngineConfig::new(NodeId(1), 1), start, Instant::ZERO)
}

#[test]
fn an_image_that_cannot_have_been_written_is_refused() {
    let check = |image: Start, expected: ImpossibleStart| {
        assert_eq!(start(image.clone()).err(), Some(expected), "{image:?}");
    };
    let none = Start::default;
    check(
        Start { hard_state: hard_state(1, 0), entries: entries(&[(1, 2)]), ..none() },
        ImpossibleStart::Gap { before: LogIndex(2) },
    );
    check(
        Start { hard_state: hard_state(1, 0), entries: entries(&[(1, 1), (1, 3)]), ..none() },
        ImpossibleStart::Gap { before: LogIndex(3) },
    );
    check(
        Start { hard_state: hard_state(1, 0), entries: entries(&[(1, 0)]), ..none() },
        ImpossibleStart::Gap { before: LogIndex(0) },
    );
    check(Start { purged: LogIndex(4), ..none() }, ImpossibleStart::Gap { before: LogIndex(5) });
    check(
        Start {
            snapshot: Some(snapshot(1, 5)),
            hard_state: hard_state(1, 0),
            entries: entries(&[(1, 7)]),
            ..none()
        },
        ImpossibleStart::Gap { before: LogIndex(7) },
    );
    check(
        Start { hard_state: hard_state(2, 0), entries: entries(&[(2, 1), (1, 2)]), ..none() },
        ImpossibleStart::TermOrder { at: LogIndex(2) },
    );
    check(
        Start { hard_state: hard_state(1, 0), entries: entries(&[(2, 1)]), ..none() },
        ImpossibleStart::TermBehindLog { stored: Term(1), log: Term(2) },
    );
    check(
        Start { hard_state: hard_state(1, 2), entries: entries(&[(1, 1)]), ..none() },
        ImpossibleStart::CommitBeyondLog { commit_index: LogIndex(2), last: LogIndex(1) },
    );
    check(
        Start {
            hard_state: hard_state(1, 1),
            entries: entries(&[(1, 1)]),
            applied: LogIndex(2),
            ..none()
        },
        ImpossibleStart::AppliedBeyondLog { applied: LogIndex(2), last: LogIndex(1) },
    );
}

#[test]
fn an_image_of_numbers_and_memberships_that_cannot_be_is_refused() {
    let none = Start::default;
    let of = |payload| vec![Entry { id: id(1, 1), payload }];
    let empty = Membership { learners: BTreeSet::from([NodeId(1)]), ..Membership::default() };
    let (last, beyond) = (limits::RAFT_INDEX_MAX, limits::RAFT_INDEX_MAX + 1);
    for (image, at) in [
        (Start { hard_state: hard_state(u64::MAX, 0), ..none() }, 0),
        (Start { hard_state: hard_state(1, u64::MAX), ..none() }, u64::MAX),
        (Start { purged: LogIndex(beyond), ..none() }, beyond),
        (Start { applied: LogIndex(u64::MAX), ..none() }, u64::MAX),
        (Start { snapshot: Some(snapshot(1, u64::MAX)), ..none() }, u64::MAX),
        (Start { snapshot: Some(snapshot(beyond, 7)), ..none() }, 7),
        (Start { entries: entries(&[(beyond, 1)]), ..none() }, 1),
        (Start { entries: entries(&[(1, beyond)]), ..none() }, beyond),
        (Start { entries: of(EntryPayload::Membership(Box::new(empty.clone()))), ..none() }, 1),
        (
            Start {
                snapshot: Some(SnapshotMeta { membership: empty, ..snapshot(1, 7) }),
                ..none()
            },
            7,
        ),
    ] {
        let expected = ImpossibleStart::Impossible { at: LogIndex(at) };
        assert_eq!(start(image.clone()).err(), Some(expected), "{image:?}");
    }
    let snapshot = Some(snapshot(last, last));
    assert!(start(Start { hard_state: hard_state(last, last), snapshot, ..none() }).is_ok());
}

#[test]
fn contradictory_settings_are_refused() {
    let mut config = EngineConfig::new(NodeId(1), 1);
    config.heartbeat_interval = config.election_timeout_min;
    let error = Engine::new(config, Start::default(), Instant::ZERO).err();
    assert_eq!(error, Some(ImpossibleStart::Config));
}

#[test]
fn a_log_that_overlaps_its_snapshot_keeps_a_tail() {
    let engine = start(Start {
        hard_state: hard_state(2, 3),
        entries: entries(&[(1, 3), (1, 4), (1, 5), (2, 6)]),
        purged: LogIndex(2),
        snapshot: Some(snapshot(1, 5)),
        ..Start::default()
    });
    let status = engine.unwrap().status();
    assert_eq!((status.tail_base, status.last), (id(1, 3), id(2, 6)));
    assert_eq!((status.applied_index, status.commit_index), (LogIndex(5), LogIndex(5)));
    assert_eq!(status.snapshot, id(1, 5));
}

#[test]
fn a_crash_between_the_parts_of_an_install_ends_in_the_state_after() {
    // Trap 46: the snapshot is durable, the log is still the old one.
    for (old, term) in [(vec![(1, 1), (1, 2)], 3), (vec![(1, 4), (1, 5), (2, 6)], 3)] {
        let engine = start(Start {
            hard_state: hard_state(3, 2),
            entries: entries(&old),
            purged: LogIndex(old[0].1 - 1),
            snapshot: Some(snapshot(term, 5)),
            ..Start::default()
        });
        let status = engine.unwrap().status();
        assert_eq!((status.tail_base, status.last), (id(3, 5), id(3, 5)));
        assert_eq!(status.commit_index, LogIndex(5));
        assert_eq!(status.membership, snapshot(3, 5).membership);
    }
}

#[test]
fn the_membership_after_a_restart_is_the_one_applied() {
    // Trap 35: the same rule as everywhere, snapshot plus what is applied, nothing that is not.
    let of = |voters: &[u64]| Membership {
        voters: voters.iter().map(|id| NodeId(*id)).collect(),
        ..Membership::default()
    };
    let mut log = entries(&[(1, 1), (1, 2), (1, 3)]);
    log[0].payload = EntryPayload::Membership(Box::new(of(&[1])));
    log[2].payload = EntryPayload::Membership(Box::new(of(&[1, 2])));
    let image = |applied| Start {
        hard_state: hard_state(1, 3),
        entries: log.clone(),
        applied: LogIndex(applied),
        ..Start::default()
    };
    assert_eq!(start(image(0)).unwrap().status().membership, Membership::default());
    assert_eq!(start(image(2)).unwrap().status().membership, of(&[1]));
    assert_eq!(start(image(3)).unwrap().status().membership, of(&[1, 2]));
}

#[test]
fn a_restarted_node_follows_and_casts_no_vote_by_itself() {
    // Trap 61: leadership is not resumed.
    let mut state = hard_state(3, 3);
    state.voted_for = Some(NodeId(1));
    let mut engine = start(Start {
        hard_state: state,
        entries: entries(&[(1, 1), (1, 2), (3, 3)]),
        snapshot: Some(snapshot(1, 2)),
        ..Start::default()
    })
    .unwrap();
    let mut out = Vec::new();
    engine.step(Instant::ZERO, Input::Wake, &mut out);
    engine.flush(Instant::ZERO, &mut out);
    assert_eq!(engine.role(), RoleKind::Follower);
    let expected = [Output::Apply(entries(&[(3, 3)])), Output::StatusChanged];
    assert_eq!(out, expected);
}

#[test]
fn a_cluster_begins_once() {
    let mut engine = start(Start::default()).unwrap();
    assert_eq!(engine.bootstrap(Membership::default()), Err(BootstrapError::InvalidMembership));
    let membership = Membership::of_voters([(NodeId(1), "a:1".into())]);
    assert_eq!(engine.bootstrap(membership.clone()), Ok(()));
    assert_eq!(engine.bootstrap(membership.clone()), Err(BootstrapError::NotPristine));
    let mut other = start(Start {
        hard_state: hard_state(1, 0),
        entries: entries(&[(1, 1)]),
        ..Start::default()
    })
    .unwrap();
    assert_eq!(other.bootstrap(membership), Err(BootstrapError::NotPristine));
}
