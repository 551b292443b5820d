//! What commands do to the locks.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::{format, vec};

use nacolet_model::{Duration, Prng};

use super::*;

fn acquire(key: &str, millis: u64, clock: u64, at: u64) -> Command {
    let stamp = Stamp { clock, millis: at };
    let acquire = Acquire::new(key, Duration::from_millis(millis), stamp);
    Command::Acquire(acquire.expect("a key"))
}

fn release(key: &str, clock: u64, at: u64) -> Command {
    Command::Release(Release::new(key, Stamp { clock, millis: at }).expect("a key"))
}

/// Applies commands one by one and compares what they did.
fn check(story: &[(Command, bool)]) {
    let mut locks = Locks::new();
    for (number, (command, expected)) in story.iter().enumerate() {
        assert_eq!(locks.apply(command), Ok(*expected), "{number}: {command:?}");
        locks.invariants();
    }
}

#[test]
fn one_holds_it_until_it_is_released_or_runs_out() {
    check(&[
        (release("a", 1, 0), false),
        (acquire("a", 100, 1, 1_000), true),
        (acquire("a", 100, 1, 1_099), false),
        (acquire("b", 100, 1, 1_099), true),
        (acquire("a", 100, 1, 1_100), true),
        (release("a", 1, 1_150), true),
        (release("a", 1, 1_150), false),
        (acquire("a", 100, 1, 1_150), true),
    ]);
}

#[test]
fn a_lock_of_no_time_is_over_with_the_next_command() {
    check(&[(acquire("a", 0, 1, 5), true), (acquire("a", 9, 1, 5), true)]);
}

#[test]
fn another_clock_ends_no_lock_early() {
    check(&[
        (acquire("a", 100, 1, 50), true),
        // A new leader, by whose clock it is much later; what passed meanwhile nobody knows.
        (acquire("a", 1, 2, 1_000_000), false),
        (acquire("a", 1, 2, 1_000_099), false),
        (acquire("a", 1, 2, 1_000_100), true),
    ]);
}

#[test]
fn a_clock_that_seems_to_go_back_stops_time() {
    check(&[
        (acquire("a", 100, 1, 50), true),
        (acquire("a", 1, 1, 10), false),
        (acquire("a", 1, 1, 109), false),
        (acquire("a", 1, 1, 110), true),
    ]);
}

#[test]
fn one_lock_too_many_is_refused_and_a_free_place_is_taken() {
    let mut locks = Locks::new();
    for number in 0..limits::LOCKS_MAX {
        assert_eq!(locks.apply(&acquire(&format!("{number}"), 1_000, 1, 0)), Ok(true));
    }
    let one_more = acquire("more", 1_000, 1, 0);
    assert_eq!(locks.apply(&one_more), Err(CommandError::TooManyLocks));
    assert_eq!(locks.apply(&acquire("0", 1_000, 1, 0)), Ok(false), "held is no new lock");
    assert_eq!(locks.apply(&release("7", 1, 0)), Ok(true));
    assert_eq!(locks.apply(&one_more), Ok(true));
    assert_eq!(locks.apply(&acquire("late", 1, 1, 1_000)), Ok(true), "all have run out");
    assert_eq!(locks.len(), 1);
    locks.invariants();
}

fn take(owner: &str, kind: Kind, wait_millis: u64, at: u64) -> Command {
    let connection = owner.bytes().map(u64::from).sum();
    let (key, owner, stamp) = ("k".into(), owner.into(), Stamp { clock: 1, millis: at });
    Command::Take(Take { kind, key, owner, connection, millis: 100, wait_millis, stamp })
}

fn millis(time: Duration) -> u64 {
    millis_at_most(time, limits::LOCK_WAIT_MAX)
}

fn free(owner: &str, kind: Kind, at: u64) -> Command {
    let stamp = Stamp { clock: 1, millis: at };
    Command::Free(Free { kind, key: "k".into(), owner: owner.into(), stamp })
}

/// Applies a command: its answer, and the owners that may try again.
fn operate(locks: &mut Locks, command: &Command) -> (Answer, Vec<String>) {
    let mut notices = Vec::new();
    let answer = locks.operate_logged(command, &mut notices).expect("it is valid");
    locks.invariants();
    (answer, notices.iter().map(|notice| String::from(&*notice.owner)).collect())
}

#[test]
fn an_owner_takes_a_reentrant_lock_again_and_frees_it_as_often() {
    let mut locks = Locks::new();
    let kind = Kind::Reentrant;
    assert_eq!(operate(&mut locks, &take("a", kind, 0, 0)).0.count, 1);
    assert_eq!(operate(&mut locks, &take("a", kind, 0, 0)).0.count, 2);
    assert!(!operate(&mut locks, &take("b", kind, 0, 0)).0.done);
    assert!(!operate(&mut locks, &free("b", kind, 0)).0.done, "it is not b's");
    let freed = operate(&mut locks, &free("a", kind, 0)).0;
    assert_eq!((freed.done, freed.count), (true, 1));
    assert!(!operate(&mut locks, &take("b", kind, 0, 0)).0.done, "a holds it once yet");
    assert_eq!(
        operate(&mut locks, &free("a", kind, 0)).0,
        Answer { done: true, ..Answer::default() }
    );
    assert!(!operate(&mut locks, &free("a", kind, 0)).0.done);
    assert!(locks.is_empty());
}

#[test]
fn kinds_of_one_name_are_several_locks() {
    let mut locks = Locks::new();
    for kind in [Kind::Plain, Kind::Reentrant, Kind::NonReentrant] {
        assert!(operate(&mut locks, &take("a", kind, 0, 0)).0.done, "{kind:?}");
    }
    assert!(!operate(&mut locks, &take("a", Kind::NonReentrant, 0, 0)).0.done);
    assert!(operate(&mut locks, &free("b", Kind::Plain, 0)).0.done, "anybody's");
    assert!(!operate(&mut locks, &free("b", Kind::NonReentrant, 0)).0.done);
}

#[test]
fn those_who_wait_have_their_turn_in_the_order_in_which_they_came() {
    let mut locks = Locks::new();
    let kind = Kind::NonReentrant;
    operate(&mut locks, &take("a", kind, 0, 0));
    for (place, owner) in [(0, "b"), (1, "c"), (2, "d"), (1, "c")] {
        let waits = operate(&mut locks, &take(owner, kind, 900, 10)).0;
        assert_eq!((waits.done, waits.position, waits.rest), (false, Some(place), 90));
    }
    assert_eq!(
        operate(&mut locks, &free("a", kind, 20)),
        (Answer { done: true, ..Answer::default() }, vec!["b".into()],)
    );
    assert_eq!(operate(&mut locks, &take("c", kind, 900, 20)).0.position, Some(1), "b is first");
    assert!(!operate(&mut locks, &take("e", kind, 0, 20)).0.done, "nobody goes before them");
    assert!(operate(&mut locks, &take("b", kind, 900, 20)).0.done);
    // c waits no more, b's time runs out: d is next.
    let forgo = Command::Forgo(Forgo {
        kind,
        key: "k".into(),
        owner: "c".into(),
        connection: 99,
        stamp: Stamp { clock: 1, millis: 30 },
    });
    assert_eq!(operate(&mut locks, &forgo).1, Vec::<String>::new());
    let look = |at| {
        let stamp = Stamp { clock: 1, millis: at };
        Command::Look(Look { kind, key: "k".into(), stamp })
    };
    let looked = operate(&mut locks, &look(60));
    assert_eq!((looked.0.done, looked.0.rest, looked.1), (true, 60, vec![]));
    assert_eq!(operate(&mut locks, &look(120)).1, ["d", "d"], "told by its end, and by the look");
    assert!(operate(&mut locks, &take("d", kind, 900, 121)).0.done);
}

#[test]
fn who_waited_long_enough_is_passed_over() {
    let mut locks = Locks::new();
    let kind = Kind::Reentrant;
    operate(&mut locks, &take("a", kind, 0, 0));
    operate(&mut locks, &take("b", kind, 10, 0));
    operate(&mut locks, &take("c", kind, 900, 0));
    assert_eq!(operate(&mut locks, &free("a", kind, 50)).1, ["c"]);
    assert!(operate(&mut locks, &take("c", kind, 900, 50)).0.done);
    operate(&mut locks, &take("d", kind, 10, 50));
    assert_eq!(operate(&mut locks, &free("c", kind, 90)).1, Vec::<String>::new());
    assert!(locks.is_empty(), "nobody is left");
}

#[test]
fn a_renewal_prolongs_and_the_owner_alone_may() {
    let mut locks = Locks::new();
    let kind = Kind::Reentrant;
    let renew = |owner: &str, at| {
        let stamp = Stamp { clock: 1, millis: at };
        Command::Renew(Renew { kind, key: "k".into(), owner: owner.into(), millis: 100, stamp })
    };
    operate(&mut locks, &take("a", kind, 0, 0));
    assert!(operate(&mut locks, &renew("a", 90)).0.done);
    assert!(!operate(&mut locks, &renew("b", 90)).0.done);
    assert!(!operate(&mut locks, &take("b", kind, 0, 189)).0.done);
    assert!(operate(&mut locks, &take("b", kind, 0, 190)).0.done);
    assert!(!operate(&mut locks, &renew("a", 190)).0.done, "too late");
}

#[test]
fn what_was_taken_over_a_connection_goes_with_it() {
    let mut locks = Locks::new();
    let kind = Kind::Reentrant;
    operate(&mut locks, &take("a", kind, 0, 0));
    operate(&mut locks, &take("b", kind, 900, 0));
    operate(&mut locks, &take("c", kind, 900, 0));
    let gone = |owner: &str| {
        let connection = owner.bytes().map(u64::from).sum();
        Command::Gone(Gone { connection, stamp: Stamp { clock: 1, millis: 1 } })
    };
    assert_eq!(operate(&mut locks, &gone("b")).1, Vec::<String>::new());
    assert_eq!(operate(&mut locks, &gone("a")).1, ["c"]);
    assert_eq!(operate(&mut locks, &acquire("old", 100, 1, 1)).0.count, 1);
    let nobody = Gone { connection: 0, stamp: Stamp { clock: 1, millis: 1 } };
    operate(&mut locks, &Command::Gone(nobody));
    assert_eq!(locks.len(), 2, "one that nobody owns stays");
}

#[test]
fn one_who_waits_too_many_is_refused() {
    let mut locks = Locks::new();
    let kind = Kind::Reentrant;
    operate(&mut locks, &take("a", kind, 0, 0));
    for number in 0..limits::LOCK_WAITERS_MAX {
        locks.apply(&take(&format!("w{number}"), kind, 900, 0)).expect("there is room");
    }
    let more = take("more", kind, 900, 0);
    assert_eq!(locks.apply(&more), Err(CommandError::TooManyWaiters));
    locks.invariants();
}

#[test]
fn whoever_does_not_take_its_turn_loses_it_by_itself() {
    let mut locks = Locks::new();
    let (kind, turn) = (Kind::NonReentrant, millis(limits::LOCK_TURN));
    operate(&mut locks, &take("a", kind, 0, 0));
    for owner in ["b", "c", "d"] {
        operate(&mut locks, &take(owner, kind, 60_000, 0));
    }
    assert_eq!(operate(&mut locks, &free("a", kind, 10)).1, ["b"]);
    // What keeps the lock from c is b, and how long is told.
    let waits = operate(&mut locks, &take("c", kind, 60_000, 20)).0;
    assert_eq!((waits.position, waits.rest), (Some(1), turn - 10));
    let other = |at| acquire("other", 60_000, 1, at);
    assert_eq!(operate(&mut locks, &other(9 + turn)).1, Vec::<String>::new());
    assert_eq!(operate(&mut locks, &other(10 + turn)).1, ["c"], "b does not come");
    assert!(operate(&mut locks, &take("c", kind, 60_000, 11 + turn)).0.done);
    assert_eq!(operate(&mut locks, &free("c", kind, 12 + turn)).1, ["d"]);
    // Nobody asks for it again: it is gone all the same.
    assert_eq!(operate(&mut locks, &other(12 + 2 * turn)).1, Vec::<String>::new());
    assert_eq!(locks.len(), 1, "the other one");
    assert_eq!(locks.waiters(), 0);
}

#[test]
fn who_waits_for_a_lock_that_is_renewed_for_ever_is_forgotten_in_time() {
    let mut locks = Locks::new();
    let kind = Kind::Reentrant;
    operate(&mut locks, &take("a", kind, 0, 0));
    operate(&mut locks, &take("b", kind, 50, 0));
    let stamp = Stamp { clock: 1, millis: 60 };
    let (key, owner) = ("k".into(), "a".into());
    let renew = Command::Renew(Renew { kind, key, owner, millis: 100, stamp });
    assert!(operate(&mut locks, &renew).0.done);
    assert_eq!(locks.waiters(), 0);
}

/// As `take`, by an account over a connection, for a lock of its own name.
fn take_as(account: &str, connection: u64, key: &str, wait_millis: u64) -> Command {
    let (kind, stamp) = (Kind::Reentrant, Stamp { clock: 1, millis: 0 });
    let (key, owner) = (key.into(), crate::owner(account, connection, "o"));
    let millis = 600_000;
    Command::Take(Take { kind, key, owner, connection, millis, wait_millis, stamp })
}

#[test]
fn one_connection_and_one_account_have_a_share() {
    let mut locks = Locks::new();
    let too_many = Err(CommandError::TooManyOfOne);
    let each = limits::LOCKS_PER_CONNECTION_MAX;
    for number in 0..each {
        let key = format!("{number}");
        assert_eq!(locks.apply(&take_as("u", 1, &key, 0)), Ok(true));
    }
    assert_eq!(locks.apply(&take_as("u", 1, "more", 0)), too_many, "held");
    assert_eq!(locks.apply(&take_as("u", 1, "0", 0)), Ok(true), "one that it has");
    assert_eq!(locks.apply(&take_as("v", 2, "v", 0)), Ok(true), "others take theirs");
    assert_eq!(locks.apply(&take_as("u", 1, "v", 900)), too_many, "waited for");
    for number in each..limits::LOCKS_PER_ACCOUNT_MAX {
        let (key, connection) = (format!("{number}"), 3 + u64::try_from(number).expect("small"));
        assert_eq!(locks.apply(&take_as("u", connection, &key, 0)), Ok(true));
    }
    assert_eq!(locks.apply(&take_as("u", 2, "more", 0)), too_many, "of the account");
    assert_eq!(locks.apply(&take_as("u", 2, "v", 900)), too_many);
    locks.invariants();
    let stamp = Stamp { clock: 1, millis: 0 };
    locks.apply(&Command::Gone(Gone { connection: 1, stamp })).expect("it goes");
    assert_eq!(locks.apply(&take_as("u", 2, "more", 0)), Ok(true));
    locks.invariants();
}

#[test]
fn a_lock_of_the_first_kind_is_freed_by_its_account() {
    let mut locks = Locks::new();
    let stamp = Stamp { clock: 1, millis: 0 };
    let free = |locks: &mut Locks, account: &str| {
        let (kind, owner) = (Kind::Plain, crate::owner(account, 0, ""));
        let free = Command::Free(Free { kind, key: "k".into(), owner, stamp });
        operate(locks, &free).0.done
    };
    let take = |locks: &mut Locks| {
        let (kind, owner, connection) = (Kind::Plain, crate::owner("u", 0, ""), 0);
        let (key, millis, wait_millis) = ("k".into(), 100, 0);
        let take = Take { kind, key, owner, connection, millis, wait_millis, stamp };
        assert!(operate(locks, &Command::Take(take)).0.done);
    };
    take(&mut locks);
    assert!(!free(&mut locks, "v"));
    assert!(free(&mut locks, "u"));
    take(&mut locks);
    assert_eq!(locks.apply(&release("k", 1, 0)), Ok(true), "whoever may free all");
    assert_eq!(locks.apply(&acquire("k", 100, 1, 0)), Ok(true));
    assert!(free(&mut locks, "v"), "one that nobody took");
}

#[test]
fn random_commands_agree_with_a_simple_model() {
    let mut random = Prng::new(11);
    for _ in 0..200 {
        let (mut locks, mut model) = (Locks::new(), BTreeMap::<String, u64>::new());
        let mut now = 0;
        for _ in 0..100 {
            now += random.below(20);
            let key = format!("{}", random.below(5));
            model.retain(|_, end| *end > now);
            if random.below(3) == 0 {
                let expected = model.remove(&key).is_some();
                assert_eq!(locks.apply(&release(&key, 1, now)), Ok(expected));
            } else {
                let time = random.below(60);
                let expected = !model.contains_key(&key);
                if expected {
                    model.insert(key.clone(), now + time);
                }
                assert_eq!(locks.apply(&acquire(&key, time, 1, now)), Ok(expected));
            }
        }
    }
}
