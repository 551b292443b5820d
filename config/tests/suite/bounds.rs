//! One beyond each bound of the store, and what endless updates cost.

use std::sync::Arc;

use nacolet_config::{CommandError, Operator, Publish, PublishError, Remove, Store};
use nacolet_model::{WallTime, limits};

use crate::{chunks, key, load, publish, write};

#[test]
fn there_are_as_many_configs_as_the_limit_says() {
    let mut store = Store::new();
    let mut changes = Vec::new();
    for index in 1..=limits::CONFIGS_MAX as u64 {
        store.apply(index, write(&format!("n/G/{index}"), "x"), &mut changes).expect("room");
    }
    let index = store.applied() + 1;
    let beyond = store.apply(index, write("n/G/beyond", "x"), &mut changes);
    assert_eq!(beyond, Err(CommandError::TooManyConfigs));
    // What is there can be written and removed, and a removal makes room.
    store.apply(index + 1, write("n/G/7", "y"), &mut changes).expect("an update");
    let operator = Operator::default();
    let remove = Remove { key: key("n/G/8"), gray: None, operator, at: WallTime(0) };
    store.apply(index + 2, remove.into(), &mut changes).expect("a removal");
    store.apply(index + 3, write("n/G/beyond", "x"), &mut changes).expect("room again");
    store.invariants();
    assert_eq!(store.len(), limits::CONFIGS_MAX);
}

#[test]
fn endless_updates_of_one_config_keep_a_bounded_past() {
    let mut store = Store::new();
    for index in 1..=1_000 {
        let changed = store.apply(index, write("n/G/a", &format!("{index}")), &mut Vec::new());
        changed.expect("an update");
    }
    let page = store.history("n", "G", "a", 1, 500);
    assert_eq!(page.total, limits::HISTORY_PER_CONFIG_MAX);
    assert_eq!(store.history_len(), limits::HISTORY_PER_CONFIG_MAX);
    assert_eq!(page.items.first().map(|item| &*item.content), Some("999"));
    assert!(store.history_item(1_000).is_some_and(|item| item.md5 == page.items[0].md5));
    assert!(store.history_item(1).is_none());
    store.invariants();
}

#[test]
fn the_oldest_past_of_the_node_goes_first_when_bytes_run_out() {
    let mut store = Store::new();
    let mut changes = Vec::new();
    let operator = Operator::default();
    let remove = |name: &str| Remove {
        key: key(name),
        gray: None,
        operator: operator.clone(),
        at: WallTime(0),
    };
    let mebibyte = "x".repeat(1 << 20);
    // A past of which the older half goes before the younger one.
    store.apply(1, write("n/G/half", &mebibyte), &mut changes).expect("a publish");
    store.apply(2, write("n/G/half", "x"), &mut changes).expect("an update");
    store.apply(3, remove("n/G/half").into(), &mut changes).expect("a removal");
    store.apply(4, write("n/G/gone", "x"), &mut changes).expect("a publish");
    store.apply(5, remove("n/G/gone").into(), &mut changes).expect("a removal");
    let bound = limits::HISTORY_BYTES_MAX >> 20;
    for number in 0..bound as u64 + 2 {
        let name = format!("n/G/{number}");
        let text = format!("{number}{mebibyte}");
        store.apply(6 + 2 * number, write(&name, &text), &mut changes).expect("a publish");
        store.apply(7 + 2 * number, write(&name, "small"), &mut changes).expect("an update");
        store.invariants();
    }
    // Insert items share their content with the items after them and cost nothing.
    assert_eq!(store.history("n", "G", "gone", 1, 1).total, 0);
    assert_eq!(store.history("n", "G", "0", 1, 9).total, 0);
    assert_eq!(store.history("n", "G", &bound.to_string(), 1, 9).total, 2);
    let written = chunks(store.capture());
    assert_eq!(chunks(load(&written).expect("read").capture()), written);
}

#[test]
fn a_content_costs_its_bytes_once() {
    let content: Arc<str> = "x".repeat(1_000).into();
    let new = |text: &Arc<str>| {
        Publish::new(key("n/G/a"), text.clone(), Operator::default(), WallTime(0)).expect("fits")
    };
    let mut store = Store::new();
    let mut changes = Vec::new();
    store.apply(1, new(&content).into(), &mut changes).expect("a publish");
    // The same text from another allocation is not kept twice.
    store.apply(2, new(&"x".repeat(1_000).into()).into(), &mut changes).expect("an update");
    store.apply(3, new(&"y".into()).into(), &mut changes).expect("an update");
    let shared = |store: &Store| {
        let items = store.history("n", "G", "a", 1, 9).items;
        items.iter().all(|item| Arc::ptr_eq(&item.content, &items[0].content))
    };
    assert!(shared(&store) && Arc::ptr_eq(&store.history_item(1).expect("kept").content, &content));
    // Nor after a restart.
    assert!(shared(&load(&chunks(store.capture())).expect("read")));
}

#[test]
fn contents_are_checked_before_they_become_commands() {
    let new = |content: &str| {
        Publish::new(key("n/G/a"), content.into(), Operator::default(), WallTime(0)).map(|_| ())
    };
    assert_eq!(new(" \t\n"), Err(PublishError::ContentBlank));
    assert_eq!(new(&"x".repeat(limits::CONTENT_BYTES_MAX)), Ok(()));
    let bytes_max = limits::CONTENT_BYTES_MAX;
    assert_eq!(new(&"x".repeat(bytes_max + 1)), Err(PublishError::ContentTooLong { bytes_max }));
    let gray = |ips: usize| {
        let ips = vec!["10.0.0.1".into(); ips];
        publish(key("n/G/a"), "x").with_gray(nacolet_config::Gray::Beta(ips)).map(|_| ())
    };
    assert_eq!(gray(0), Err(PublishError::Blank { what: "betaIps" }));
    assert_eq!(gray(limits::BETA_IPS_MAX), Ok(()));
    let count_max = limits::BETA_IPS_MAX;
    let too_many = PublishError::TooMany { what: "betaIps", count_max };
    assert_eq!(gray(count_max + 1), Err(too_many));
}

#[test]
fn contents_stay_out_of_debug_texts_of_what_is_passed_around() {
    let command = write("n/G/a", "password=7");
    let mut store = Store::new();
    assert!(!format!("{command:?}").contains("password"));
    store.apply(1, command, &mut Vec::new()).expect("a publish");
    assert!(!format!("{store:?}").contains("password"));
}
