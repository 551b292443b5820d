//! The simulator finds what it is there to find: each planted bug, within a bounded number of
//! seeds.

use nacolet_tests::planted::Planted;
use nacolet_tests::run::{Options, hunt};

/// The first seed that finds a bug lies no further than this from where the hunt begins. The bound
/// of the test programme is a thousand; `cargo ci sim --planted` prints the score.
const SEEDS_MAX: u64 = 300;

fn is_found(bug: Planted) {
    let options = Options { planted: Some(bug), ..Options::default() };
    let found = hunt(options, 1, SEEDS_MAX);
    assert!(found.is_some(), "{} is not found in {SEEDS_MAX} seeds", bug.name());
}

#[test]
fn an_answer_before_the_sync_is_found() {
    is_found(Planted::AnswerBeforeSync);
}

#[test]
fn a_record_skipped_because_it_cannot_be_decoded_is_found() {
    is_found(Planted::SkipUndecodable);
}

#[test]
fn a_gap_in_the_log_is_found() {
    is_found(Planted::IgnoreLogGap);
}

#[test]
fn a_forgotten_vote_is_found() {
    is_found(Planted::ForgetVote);
}

#[test]
fn an_entry_of_an_old_term_committed_by_counting_is_found() {
    is_found(Planted::CommitOldTerm);
}

#[test]
fn a_snapshot_without_its_membership_is_found() {
    is_found(Planted::SnapshotWithoutMembership);
}

#[test]
fn an_entry_applied_twice_after_a_snapshot_is_found() {
    is_found(Planted::ApplyTwice);
}

#[test]
fn a_lease_by_the_wall_clock_is_found() {
    is_found(Planted::LeaseByWallClock);
}

#[test]
fn a_vote_against_a_leader_that_is_heard_is_found() {
    is_found(Planted::VoteUnderLease);
}

#[test]
fn a_lost_wake_of_a_listener_is_found() {
    is_found(Planted::DropListenerWake);
}

#[test]
fn a_rename_without_a_sync_of_its_directory_is_found() {
    is_found(Planted::RenameWithoutSync);
}

#[test]
fn a_read_that_nobody_confirmed_is_found() {
    is_found(Planted::ReadWithoutConfirming);
}

#[test]
fn an_unknown_outcome_reported_as_a_refusal_is_found() {
    is_found(Planted::UnknownIsRefused);
}

#[test]
fn a_registry_without_tombs_is_found() {
    is_found(Planted::NoTombs);
}

#[test]
fn a_restart_taken_for_the_death_of_clients_is_found() {
    is_found(Planted::RestartIsDeath);
}

#[test]
fn a_registry_by_the_wall_clock_is_found() {
    is_found(Planted::RegistryByWallClock);
}

#[test]
fn expiry_by_a_node_that_has_lost_the_others_is_found() {
    is_found(Planted::ExpireWithoutMajority);
}

#[test]
fn a_takeover_without_grace_is_found() {
    is_found(Planted::NoGraceAfterTakeover);
}

#[test]
fn a_repair_that_never_asks_is_found() {
    is_found(Planted::RepairNeverAsks);
}
