//! The algebra of indexes and terms.

use alloc::sync::Arc;
use alloc::vec;

use super::*;

fn id(term: u64, index: u64) -> LogId {
    LogId { term: Term(term), index: LogIndex(index) }
}

fn entry(term: u64, index: u64) -> Entry {
    Entry { id: id(term, index), payload: EntryPayload::Blank }
}

/// A log behind `base` with an entry of each of these terms.
fn log(base: LogId, terms: &[u64]) -> LogTail {
    let indexes = base.index.0 + 1..;
    let entries = indexes.zip(terms).map(|(index, term)| entry(*term, index)).collect();
    LogTail::new(base, entries, base.index, base.index)
}

fn terms(log: &LogTail) -> Vec<u64> {
    log.entries.iter().map(|entry| entry.id.term.0).collect()
}

#[test]
fn the_term_at_the_snapshot_boundary_can_be_answered() {
    // docs/raft-traps.md, trap 45.
    let empty = log(id(3, 10), &[]);
    assert!(empty.contains(id(3, 10)));
    assert_eq!(empty.last(), id(3, 10));
    assert_eq!(empty.term_at(LogIndex(9)), None);
    assert_eq!(empty.term_at(LogIndex(11)), None);
    let full = log(id(3, 10), &[3, 4]);
    assert_eq!(full.term_at(LogIndex(10)), Some(Term(3)));
    assert_eq!(full.term_at(LogIndex(12)), Some(Term(4)));
    assert!(log(LogId::default(), &[]).contains(LogId::default()));
}

#[test]
fn up_to_date_compares_the_term_before_the_index() {
    // Trap 3; Raft paper §5.4.1.
    let check = |terms: &[u64], other: LogId, expected: bool| {
        assert_eq!(log(LogId::default(), terms).is_up_to_date(other), expected, "{other:?}");
    };
    check(&[], id(0, 0), true);
    check(&[1, 2], id(2, 2), true);
    check(&[1, 2], id(2, 1), false);
    check(&[1, 2], id(2, 3), true);
    check(&[1, 2], id(1, 9), false);
    check(&[1, 2], id(3, 1), true);
    // All logs compacted away: the boundary counts.
    assert!(!log(id(5, 100), &[]).is_up_to_date(id(5, 99)));
    assert!(!log(id(5, 100), &[]).is_up_to_date(id(4, 200)));
    assert!(log(id(5, 100), &[]).is_up_to_date(id(5, 100)));
}

#[test]
fn back_off_finds_the_last_entry_that_may_match() {
    let check = |base: LogId, terms: &[u64], index: u64, term: u64, expected: LogId| {
        let got = log(base, terms).last_at_most(LogIndex(index), Term(term));
        assert_eq!(got, expected, "{terms:?} at {index} of term {term}");
    };
    let start = LogId::default();
    check(start, &[1, 1, 2, 4, 4], 5, 4, id(4, 5));
    check(start, &[1, 1, 2, 4, 4], 5, 3, id(2, 3));
    check(start, &[1, 1, 2, 4, 4], 4, 2, id(2, 3));
    check(start, &[1, 1, 2, 4, 4], 2, 9, id(1, 2));
    check(start, &[1, 1, 2, 4, 4], 99, 9, id(4, 5));
    check(start, &[3, 3], 2, 2, id(0, 0));
    check(id(2, 10), &[3, 3], 12, 2, id(2, 10));
    // Below the tail nothing is known.
    check(id(2, 10), &[3, 3], 12, 1, id(0, 9));
    check(id(2, 10), &[3, 3], 5, 3, id(0, 5));
}

#[test]
fn merging_cuts_at_the_first_real_mismatch_only() {
    let check = |have: &[u64], from: u64, new: &[u64], expected: &[u64], cut: Option<u64>| {
        let mut log = log(LogId::default(), have);
        let entries = (from..).zip(new).map(|(index, term)| entry(*term, index)).collect();
        assert_eq!(log.merge(entries), cut.map(LogIndex), "{have:?} {from} {new:?}");
        assert_eq!(terms(&log), expected, "{have:?} {from} {new:?}");
        log.invariants();
    };
    check(&[], 1, &[1, 1], &[1, 1], None);
    check(&[1, 1], 3, &[2], &[1, 1, 2], None);
    // A late duplicate is shorter and removes nothing.
    check(&[1, 1, 2], 1, &[1], &[1, 1, 2], None);
    check(&[1, 1, 2], 1, &[1, 1], &[1, 1, 2], None);
    check(&[1, 1, 2], 2, &[1, 2, 2], &[1, 1, 2, 2], None);
    check(&[1, 1, 1], 2, &[2], &[1, 2], Some(2));
    check(&[1, 1, 1], 1, &[1, 1, 3, 3], &[1, 1, 3, 3], Some(3));
}

#[test]
#[should_panic(expected = "a committed entry is never removed")]
fn truncation_below_the_commit_index_is_a_bug() {
    let mut log = log(LogId::default(), &[1, 1, 1]);
    log.commit_to(LogIndex(2));
    log.merge(vec![entry(2, 2)]);
}

#[test]
fn what_is_overwritten_is_no_longer_durable() {
    let mut log = log(LogId::default(), &[1, 1, 1]);
    assert_eq!(log.durable_index(), LogIndex(3));
    log.merge(vec![entry(2, 2), entry(2, 3)]);
    assert_eq!(log.durable_index(), LogIndex(1));
    assert_eq!(log.take_unsaved(), vec![entry(2, 2), entry(2, 3)]);
    assert!(log.take_unsaved().is_empty());
}

#[test]
fn only_what_is_committed_and_durable_is_applied_and_only_once() {
    let mut log = log(LogId::default(), &[1, 1]);
    log.push(Term(1), EntryPayload::Blank);
    log.commit_to(LogIndex(3));
    assert_eq!(log.take_committed().len(), 2, "the third is not durable");
    assert!(log.take_committed().is_empty());
    log.take_unsaved();
    log.make_durable(LogIndex(3));
    assert_eq!(log.take_committed(), vec![entry(1, 3)]);
}

#[test]
fn a_slice_is_bounded_but_never_empty_for_a_large_entry() {
    let mut log = log(LogId::default(), &[]);
    for _ in 0..4 {
        log.push(Term(1), EntryPayload::Command(Arc::from([0; 100])));
    }
    assert_eq!(log.slice(LogIndex(1), 3, usize::MAX).len(), 3);
    assert_eq!(log.slice(LogIndex(2), 9, 2 * (100 + ENTRY_BYTES)).len(), 2);
    assert_eq!(log.slice(LogIndex(2), 9, 1).len(), 1);
    assert_eq!(log.slice(LogIndex(5), 9, usize::MAX).len(), 0);
}

#[test]
fn the_tail_is_trimmed_behind_what_is_applied_and_never_further() {
    let mut log = log(LogId::default(), &[1; 10]);
    log.commit_to(LogIndex(8));
    log.take_committed();
    log.apply_to(LogIndex(6));
    log.trim(2, usize::MAX, LogIndex(99));
    assert_eq!(log.base(), id(1, 4));
    log.trim(0, usize::MAX, LogIndex(5));
    assert_eq!(log.base(), id(1, 5), "kept for a follower");
    log.trim(0, 0, LogIndex(99));
    assert_eq!(log.base(), id(1, 6), "what is not applied stays");
    log.invariants();
}

#[test]
fn what_a_restart_finds_committed_is_applied_in_parts() {
    let (count, max) = (3 * limits::RAFT_APPLY_ENTRIES_MAX + 1, limits::RAFT_APPLY_ENTRIES_MAX);
    let mut log = log(LogId::default(), &vec![1; count]);
    log.apply_to(LogIndex(0));
    log.commit_to(log.last().index);
    let mut parts = Vec::new();
    while let Some(last) = log.take_committed().last() {
        assert!(log.take_committed().is_empty(), "none before these are applied");
        parts.push(last.id.index.0);
        log.apply_to(last.id.index);
        log.invariants();
    }
    let max = u64::try_from(max).expect("it is small");
    assert_eq!(parts, [max, 2 * max, 3 * max, 3 * max + 1]);
}

#[test]
fn large_entries_are_applied_in_smaller_parts() {
    let mut log = log(LogId::default(), &[]);
    let bytes = limits::RAFT_APPLY_BYTES_MAX / 2;
    for _ in 0..3 {
        log.push(Term(1), EntryPayload::Command(vec![0; bytes].into()));
    }
    log.take_unsaved();
    log.make_durable(LogIndex(3));
    log.commit_to(LogIndex(3));
    assert_eq!(log.take_committed().len(), 1, "with what an entry costs two are too much");
    assert_eq!(log.take_committed().len(), 1);
}

#[test]
fn a_membership_that_is_cut_off_is_no_longer_waited_for() {
    let mut log = log(LogId::default(), &[1]);
    log.push(Term(1), EntryPayload::Membership(alloc::boxed::Box::default()));
    assert!(!log.has_unapplied_membership(), "it is not committed");
    log.merge(vec![entry(2, 2)]);
    log.commit_to(LogIndex(2));
    assert!(!log.has_unapplied_membership());
    log.push(Term(2), EntryPayload::Membership(alloc::boxed::Box::default()));
    log.take_unsaved();
    log.make_durable(LogIndex(3));
    log.commit_to(LogIndex(3));
    assert!(log.has_unapplied_membership());
    log.take_committed();
    log.apply_to(LogIndex(3));
    assert!(!log.has_unapplied_membership());
    log.invariants();
}
