//! The simulator finds what it is there to find: each planted bug, within a bounded number of seeds.

use nacolet_tests::planted::Planted;
use nacolet_tests::run::hunt;

/// The first seed that finds each bug lies no further than this from where the hunt begins.
const SEEDS_MAX: u64 = 60;

/// Begins a little ahead of a seed that is known to find it: the hunt itself is tested, and quickly.
fn check(bug: Planted, first: u64) {
    let found = hunt(bug, first, SEEDS_MAX);
    assert!(found.is_some(), "{} is not found from seed {first} on", bug.name());
}

#[test]
fn an_answer_before_the_sync_is_found() {
    check(Planted::AnswerBeforeSync, 1);
}
