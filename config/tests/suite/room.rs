//! What members with little memory state binds all, and all alike: whoever reads it from a Raft
//! snapshot keeps the same as whoever applied every command.

use nacolet_config::{Command, CommandError, Labels, Loader, Operator, Remove, Store};
use nacolet_model::{NodeId, Prng, WallTime, limits};

use crate::{chunks, key, load, model, publish, write};

const MIB: usize = 1 << 20;

/// States a room of some mebibytes.
fn room(member: u64, mebibytes: Option<u64>) -> Command {
    Command::Room { member: NodeId(member), bytes: mebibytes.map(|count| count << 20) }
}

fn remove(name: &str) -> Command {
    Remove { key: key(name), gray: None, operator: Operator::default(), at: WallTime(0) }.into()
}

/// Applies commands one after the other.
struct Member {
    store: Store,
}

impl Member {
    fn new() -> Self {
        Self { store: Store::new() }
    }

    fn try_apply(&mut self, command: Command) -> Result<(), CommandError> {
        let index = self.store.applied() + 1;
        self.store.apply(index, command, &mut Vec::new()).map(drop)
    }

    fn apply(&mut self, command: Command) {
        self.try_apply(command).expect("there is room");
    }

    /// Publishes contents of so many bytes until it is refused; answers how many there are then.
    fn fill(&mut self, bytes: usize) -> usize {
        let full = Err(CommandError::NoRoom { bytes: self.store.room().expect("a bound") });
        let content = "x".repeat(bytes);
        for number in 0.. {
            let outcome = self.try_apply(write(&format!("n/G/{number}"), &content));
            if outcome.is_err() {
                assert_eq!(outcome, full);
                return number;
            }
        }
        0
    }
}

#[test]
fn ten_thousand_configs_fit_beside_half_of_32_mebibytes_and_updates_cost_nothing() {
    let mut member = Member::new();
    member.apply(room(1, Some(16)));
    let content = |number: u64| format!("{number:01229}");
    for number in 0..10_000 {
        member.apply(write(&format!("public/DEFAULT_GROUP/app-{number}"), &content(number)));
    }
    let mut prng = Prng::new(1);
    for update in 0..20_000 {
        let name = format!("public/DEFAULT_GROUP/app-{}", prng.below(10_000));
        member.apply(write(&name, &content(update)));
        let (contents, past) = member.store.weight();
        assert!(contents <= 15 * MIB && contents + past <= 16 * MIB, "{contents} {past}");
    }
    member.store.invariants();
    let kept = member.store.history_len();
    assert!((900..1_500).contains(&kept), "{kept} items of history");
}

#[test]
fn a_full_store_refuses_what_grows_and_takes_what_shrinks() {
    let mut member = Member::new();
    member.apply(room(1, Some(4)));
    let count = member.fill(10_000);
    assert!((370..390).contains(&count), "{count}");
    let full = CommandError::NoRoom { bytes: 4 << 20 };
    let longer = "y".repeat(20_000);
    assert_eq!(member.try_apply(write("n/G/1", &longer)), Err(full));
    let gray = publish(key("n/G/1"), &longer);
    let gray = gray.with_gray(nacolet_config::Gray::Tag("t".into())).expect("fits");
    assert_eq!(member.try_apply(gray.into()), Err(full));
    let labels = Labels { schema: longer.into(), ..Labels::default() };
    let labelled = publish(key("n/G/1"), "y").with_labels(labels, Default::default());
    assert_eq!(member.try_apply(labelled.expect("fits").into()), Err(full));
    assert_eq!(member.store.get("n", "G", "1").map(|config| config.content.len()), Some(10_000));
    // As long as before, shorter, or gone.
    member.apply(write("n/G/1", &"y".repeat(10_000)));
    member.apply(write("n/G/2", "y"));
    member.apply(remove("n/G/3"));
    member.apply(write("n/G/more", &"y".repeat(10_000)));
    member.store.invariants();
    let answer = full.to_string();
    assert!(answer.contains("4194304 bytes") && answer.contains("memory-max"), "{answer}");
}

#[test]
fn a_smaller_room_cuts_the_past_at_once_and_leaves_what_there_is() {
    let mut member = Member::new();
    for number in 0..800 {
        member.apply(write(&format!("n/G/{number}"), &"x".repeat(10_000)));
        member.apply(write(&format!("n/G/{number}"), &"y".repeat(10_000)));
    }
    member.apply(write("n/G/gone", "x"));
    member.apply(remove("n/G/gone"));
    assert_eq!(member.store.history_len(), 1_602);
    member.apply(room(1, Some(64)));
    assert_eq!(member.store.history_len(), 1_602);
    member.apply(room(2, Some(4)));
    assert_eq!((member.store.len(), member.store.room()), (800, Some(4 << 20)));
    let (contents, past) = member.store.weight();
    assert!(contents > 7 * MIB && past <= 4 * MIB / 16, "{contents} {past}");
    member.store.invariants();
    assert!(member.try_apply(write("n/G/new", "x")).is_err());
    member.apply(remove("n/G/5"));
    // The member goes, and what it asked for with it.
    member.apply(room(2, None));
    member.apply(write("n/G/new", &"x".repeat(10_000)));
    member.apply(room(1, None));
    assert_eq!(member.store.room(), None);
}

#[test]
fn nothing_but_the_limits_binds_where_nobody_states_a_room() {
    let mut member = Member::new();
    let mebibyte = "x".repeat(MIB);
    for number in 0..limits::CONTENTS_BYTES_MAX / MIB {
        member.apply(write(&format!("n/G/{number}"), &mebibyte));
    }
    let beyond = member.try_apply(write("n/G/beyond", "x"));
    assert_eq!(beyond, Err(CommandError::TooManyConfigs));
}

#[test]
fn members_keep_the_same_wherever_a_snapshot_lies_between() {
    let mut prng = Prng::new(11);
    let (mut straight, mut broken) = (Member::new(), Member::new());
    for at in 1..3_000 {
        let command = match prng.below(60) {
            0 => room(prng.below(3), [None, Some(4), Some(8), Some(64)][prng.index(4)]),
            1..20 => {
                let name = format!("n/G/{}", prng.below(60));
                write(&name, &"x".repeat(100_000 + prng.index(100_000)))
            }
            20..25 => remove(&format!("n/G/{}", prng.below(60))),
            _ => model::draw(&mut prng, at),
        };
        assert_eq!(straight.try_apply(command.clone()), broken.try_apply(command));
        if prng.chance(1, 100) {
            broken.store = load(&chunks(broken.store.capture())).expect("what was written is read");
            broken.store.invariants();
        }
    }
    straight.store.invariants();
    assert!(straight.store.rooms().eq(broken.store.rooms()));
    assert_eq!(straight.store.state_hash(), broken.store.state_hash());
    assert_eq!(chunks(straight.store.capture()), chunks(broken.store.capture()));
}

#[test]
fn a_node_that_nobody_compares_with_loads_no_more_past_than_it_has_room_for() {
    let mut member = Member::new();
    for number in 0..500 {
        let name = format!("n/G/{}", number % 300);
        member.apply(write(&name, &format!("{number:010000}")));
    }
    (0..50).for_each(|number| member.apply(remove(&format!("n/G/{number}"))));
    let written = chunks(member.store.capture());
    let mut loader = Loader::within(4 << 20);
    for chunk in &written {
        loader.push(chunk).expect("it belongs here");
    }
    let mut loaded = Member { store: loader.finish().expect("whole") };
    loaded.store.invariants();
    assert_eq!(loaded.store.len(), 250);
    assert!(loaded.store.history_len() < member.store.history_len());
    // What is left is what stating the room leaves.
    loaded.apply(room(1, Some(4)));
    member.apply(room(1, Some(4)));
    assert_eq!(chunks(loaded.store.capture()), chunks(member.store.capture()));
}
