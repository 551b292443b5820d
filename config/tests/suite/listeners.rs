//! Long polls against the plain rule: after every step nobody is held whose caller sees something
//! else than it holds, nobody was answered without such a difference before its deadline, and
//! everybody is answered at most once. Changes arrive in batches, as the shell hands them over.

use std::collections::BTreeMap;

use nacolet_config::{Caller, KeyRef, ListenInput, ListenKey, ListenOutput, Listeners, Md5, Store};
use nacolet_model::{Duration, Instant, Prng, RequestId, limits};

use crate::{key, model, write};

struct Waiting {
    keys: Vec<ListenKey>,
    ip: String,
    tag: Option<String>,
    deadline: Instant,
}

impl Waiting {
    fn differences(&self, store: &Store) -> Vec<u32> {
        let caller = Caller { ip: &self.ip, tag: self.tag.as_deref(), labels: &[] };
        let differs = |listen: &ListenKey| {
            let KeyRef { namespace, group, data_id } = (&listen.key).into();
            store.view(namespace, group, data_id, &caller).map(|view| *view.md5) != listen.md5
        };
        (0..).zip(&self.keys).filter(|(_, listen)| differs(listen)).map(|(at, _)| at).collect()
    }
}

#[derive(Default)]
struct World {
    store: Store,
    listeners: Listeners,
    now: Instant,
    waiting: BTreeMap<RequestId, Waiting>,
}

impl World {
    fn step(&mut self, input: ListenInput) -> Vec<ListenOutput> {
        let mut out = Vec::new();
        self.listeners.step(self.now, &self.store, input, &mut out);
        self.listeners.invariants();
        for output in &out {
            let ListenOutput::Answer { request, changed } = output else {
                panic!("no limit is near: {output:?}");
            };
            let waiting = self.waiting.remove(request).expect("answered once");
            let differences = waiting.differences(&self.store);
            if changed.is_empty() {
                assert!(waiting.deadline <= self.now, "{request:?} was answered too early");
                assert!(differences.is_empty());
            } else {
                assert_eq!(*changed, differences, "{request:?}");
            }
        }
        for (request, waiting) in &self.waiting {
            assert_eq!(waiting.differences(&self.store), [0; 0], "{request:?} missed a change");
        }
        assert_eq!(self.listeners.len(), self.waiting.len());
        let due = self.waiting.values().map(|waiting| waiting.deadline).min();
        assert_eq!(self.listeners.next_deadline(), due);
        out
    }

    fn listen(&mut self, prng: &mut Prng, request: RequestId) {
        let keys = ["public/G/a", "public/G/b", "dev/G/a", "dev/H/a"];
        let contents = ["one", "two", "three", "一"];
        let ips = ["10.0.0.1", "10.0.0.2"];
        let at = |prng: &mut Prng, count: usize| prng.index(count);
        let ip = ips[at(prng, 2)];
        let tag = if prng.chance(1, 3) { Some("a") } else { None };
        let watched = (0..=at(prng, 3)).map(|_| {
            let key = key(keys[at(prng, 4)]);
            // Most clients are up to date, or the poll would be answered at once.
            let KeyRef { namespace, group, data_id } = (&key).into();
            let caller = Caller { ip, tag, labels: &[] };
            let view = self.store.view(namespace, group, data_id, &caller);
            let md5 = match prng.below(8) {
                0 => Some(Md5::of(contents[at(prng, 4)])),
                1 => None,
                _ => view.map(|view| *view.md5),
            };
            ListenKey { key, md5 }
        });
        let keys: Vec<_> = watched.collect();
        let deadline = self.now + Duration::from_millis(prng.below(500));
        let (ip, tag) = (ip.to_owned(), tag.map(ToOwned::to_owned));
        let input = ListenInput::Listen {
            request,
            keys: keys.clone(),
            ip: ip.as_str().into(),
            tag: tag.as_deref().map(Into::into),
            deadline,
        };
        self.waiting.insert(request, Waiting { keys, ip, tag, deadline });
        self.step(input);
    }
}

#[test]
fn nobody_misses_a_change_and_nobody_is_answered_twice() {
    for seed in 0..12 {
        let mut prng = Prng::new(seed);
        let mut world = World::default();
        let mut index = 0;
        for step in 0..500 {
            world.now += Duration::from_millis(prng.below(30));
            world.step(ListenInput::Wake);
            if prng.chance(1, 2) {
                world.listen(&mut prng, RequestId(step));
            }
            if prng.chance(1, 10) {
                let request = RequestId(prng.below(step + 1));
                world.waiting.remove(&request);
                world.step(ListenInput::Cancel(request));
            }
            let mut changes = Vec::new();
            for _ in 0..prng.below(4) {
                index += 1;
                let command = model::draw(&mut prng, index);
                // A refused command is part of life; only what changed is heard of.
                let _ = world.store.apply(index, command, &mut changes);
            }
            let reloaded = prng.chance(1, 20);
            let heard =
                if reloaded { ListenInput::Reloaded } else { ListenInput::Changed(changes) };
            world.step(heard);
        }
    }
}

/// A poll for one absent key.
fn poll(request: u64, count: usize) -> ListenInput {
    let watched = ListenKey { key: key("public/G/a"), md5: None };
    ListenInput::Listen {
        request: RequestId(request),
        keys: vec![watched; count],
        ip: "10.0.0.1".into(),
        tag: None,
        deadline: Instant::from_millis(10),
    }
}

#[test]
fn polls_beyond_a_limit_are_refused_and_places_come_back() {
    let (store, mut listeners) = (Store::new(), Listeners::new());
    let mut step = |input| {
        let mut out = Vec::new();
        listeners.step(Instant::ZERO, &store, input, &mut out);
        out
    };
    for request in 0..limits::LONG_POLLS_MAX as u64 {
        assert_eq!(step(poll(request, 1)), []);
    }
    let request = RequestId(9_999);
    assert_eq!(step(poll(9_999, 1)), [ListenOutput::Refused { request }]);
    step(ListenInput::Cancel(RequestId(17)));
    assert_eq!(step(poll(9_999, 1)), []);
}

#[test]
fn keys_beyond_a_limit_are_refused_and_places_come_back() {
    let (store, mut listeners) = (Store::new(), Listeners::new());
    let mut step = |input| {
        let mut out = Vec::new();
        listeners.step(Instant::ZERO, &store, input, &mut out);
        out
    };
    let request = RequestId(0);
    let too_many = poll(0, limits::LISTEN_KEYS_MAX + 1);
    assert_eq!(step(too_many), [ListenOutput::Refused { request }]);
    let whole = limits::LISTEN_KEYS_TOTAL_MAX / limits::LISTEN_KEYS_MAX;
    for request in 0..whole as u64 {
        assert_eq!(step(poll(request, limits::LISTEN_KEYS_MAX)), []);
    }
    let request = RequestId(9_999);
    assert_eq!(step(poll(9_999, 1)), [ListenOutput::Refused { request }]);
    step(ListenInput::Cancel(RequestId(0)));
    assert_eq!(step(poll(9_999, 1)), []);
}

#[test]
fn a_store_that_may_be_behind_tells_nobody_of_a_change() {
    let (mut store, mut listeners) = (Store::new(), Listeners::blind());
    let mut changes = Vec::new();
    store.apply(1, write("public/G/a", "one"), &mut changes).expect("applied");
    let held = |md5: &str| ListenInput::Listen {
        request: RequestId(if md5 == "two" { 1 } else { 2 }),
        keys: vec![ListenKey { key: key("public/G/a"), md5: Some(Md5::of(md5)) }],
        ip: "10.0.0.1".into(),
        tag: None,
        deadline: Instant::from_millis(10),
    };
    let mut step = |store: &Store, input| {
        let mut out = Vec::new();
        listeners.step(Instant::ZERO, store, input, &mut out);
        listeners.invariants();
        out
    };
    for input in [held("two"), held("three"), ListenInput::Reloaded] {
        assert_eq!(step(&store, input), []);
    }
    changes.clear();
    store.apply(2, write("public/G/a", "two"), &mut changes).expect("applied");
    assert_eq!(step(&store, ListenInput::Changed(changes)), []);
    // The one that was ahead has what is there.
    let answer = ListenOutput::Answer { request: RequestId(2), changed: vec![0] };
    assert_eq!(step(&store, ListenInput::CaughtUp), [answer]);
}

#[test]
fn a_change_that_is_taken_back_before_it_is_heard_of_wakes_nobody() {
    let (mut store, mut listeners) = (Store::new(), Listeners::new());
    let mut out = Vec::new();
    let mut changes = Vec::new();
    store.apply(1, write("public/G/a", "one"), &mut changes).expect("applied");
    let one = ListenKey { key: key("public/G/a"), md5: Some(Md5::of("one")) };
    let listen = ListenInput::Listen {
        request: RequestId(1),
        keys: vec![one],
        ip: "10.0.0.1".into(),
        tag: None,
        deadline: Instant::from_millis(10),
    };
    listeners.step(Instant::ZERO, &store, listen, &mut out);
    changes.clear();
    store.apply(2, write("public/G/a", "two"), &mut changes).expect("applied");
    store.apply(3, write("public/G/a", "one"), &mut changes).expect("applied");
    assert_eq!(changes.len(), 2);
    listeners.step(Instant::ZERO, &store, ListenInput::Changed(changes), &mut out);
    assert_eq!((out.as_slice(), listeners.len()), (&[][..], 1));
    // A Raft snapshot brings another state.
    listeners.step(Instant::ZERO, &Store::new(), ListenInput::Reloaded, &mut out);
    assert_eq!(out, [ListenOutput::Answer { request: RequestId(1), changed: vec![0] }]);
    assert_eq!(listeners.by_ip("10.0.0.1").count(), 0);
}
