//! Long polls: who waits for which configs, until when, and who hears of a change.
//!
//! ```text
//!            a key differs already                a key differs after a change
//!   Listen ────────────────────────► Answer  ◄──────────────────────────────── held ──► Answer []
//!     │                                                                         ▲ │  deadline
//!     └── nothing differs ──────────────────────────────────────────────────────┘ └──► gone
//!                                                                                  Cancel
//! ```
//!
//! A poll is compared with the store when it arrives and whenever one of its keys changes, always
//! by what its caller sees, gray versions included. As changes and arrivals come through one owner,
//! there is no moment between the two in which a change could be missed. Comparing again, rather
//! than trusting the change, means that nobody is woken for a difference that the following read
//! would not show. A poll is answered once and forgotten.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use nacolet_model::{ConfigKey, Instant, RequestId, limits};

use crate::entry::Change;
use crate::gray::Caller;
use crate::key::{KeyRef, KeyText};
use crate::md5::Md5;
use crate::store::Store;

/// One config that a client watches, and what it has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenKey {
    /// Which config.
    pub key: ConfigKey,
    /// The md5 the client holds, `None` when it holds nothing. See [`Md5::claimed`].
    pub md5: Option<Md5>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenInput {
    /// A client asks to hear of the first difference.
    Listen {
        /// Names the poll; not in use by another one.
        request: RequestId,
        /// What it watches.
        keys: Vec<ListenKey>,
        /// The caller's address.
        ip: Box<str>,
        /// The tag the caller names.
        tag: Option<Box<str>>,
        /// When it is answered at the latest. A deadline that is over asks for the comparison only.
        deadline: Instant,
    },
    /// The caller went away.
    Cancel(RequestId),
    /// These configs changed in the store.
    Changed(Vec<Change>),
    /// The whole store was replaced by a Raft snapshot.
    Reloaded,
    /// The store is not behind any more, see [`Listeners::blind`].
    CaughtUp,
    /// Time went by.
    Wake,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenOutput {
    /// Answer a poll. It is forgotten here.
    Answer {
        /// Which one.
        request: RequestId,
        /// Positions in its keys that differ, ascending; none when time ran out.
        changed: Vec<u32>,
    },
    /// Refuse a poll: a limit is reached.
    Refused {
        /// Which one.
        request: RequestId,
    },
}

struct HeldKey {
    key: KeyText,
    md5: Option<Md5>,
}

struct Poll {
    keys: Box<[HeldKey]>,
    ip: Box<str>,
    tag: Option<Box<str>>,
    deadline: Instant,
}

impl Poll {
    fn caller(&self) -> Caller<'_> {
        Caller { ip: &self.ip, tag: self.tag.as_deref(), labels: &[] }
    }

    fn differs(&self, position: u32, store: &Store) -> bool {
        let held = &self.keys[position as usize];
        store.view_of(&held.key, &self.caller()).map(|view| *view.md5) != held.md5
    }
}

/// A poll waits for a key, which has this position among its keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiter {
    key: KeyText,
    request: RequestId,
    position: u32,
}

/// Every long poll of a node.
#[derive(Default)]
pub struct Listeners {
    polls: BTreeMap<RequestId, Poll>,
    waiting: BTreeSet<Waiter>,
    deadlines: BTreeSet<(Instant, RequestId)>,
    keys: usize,
    blind: bool,
}

impl Listeners {
    /// Nobody waits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nobody waits, and nothing is compared before [`ListenInput::CaughtUp`]: a store that may be
    /// older than what clients hold must not tell them of a change.
    #[must_use]
    pub fn blind() -> Self {
        Self { blind: true, ..Self::default() }
    }

    /// Takes one input. `store` is the state as it is now. Answers come in the order of request
    /// ids, which is that of arrival when the shell hands ids out in ascending order.
    ///
    /// # Panics
    /// When a request id is used twice: our own bug.
    pub fn step(
        &mut self,
        now: Instant,
        store: &Store,
        input: ListenInput,
        out: &mut Vec<ListenOutput>,
    ) {
        match input {
            ListenInput::Listen { request, keys, ip, tag, deadline } => {
                let keys = keys.into_iter().map(HeldKey::from).collect();
                let poll = Poll { keys, ip, tag, deadline };
                self.listen(now, store, request, poll, out);
            }
            ListenInput::Cancel(request) => {
                self.forget(request);
            }
            ListenInput::Changed(changes) => self.changed(store, &changes, out),
            ListenInput::Reloaded => self.reloaded(store, out),
            ListenInput::CaughtUp => {
                self.blind = false;
                self.reloaded(store, out);
            }
            ListenInput::Wake => self.wake(now, out),
        }
    }

    /// When [`ListenInput::Wake`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Polls being held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.polls.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.polls.is_empty()
    }

    /// Addresses that wait for a key, each with the md5 it holds.
    pub fn watchers(
        &self,
        namespace: &str,
        group: &str,
        data_id: &str,
    ) -> impl Iterator<Item = (&str, Option<Md5>)> {
        let key = KeyText::new(KeyRef { namespace, group, data_id });
        self.waiters(key).filter_map(|waiter| {
            let poll = self.polls.get(&waiter.request)?;
            Some((&*poll.ip, poll.keys.get(waiter.position as usize)?.md5))
        })
    }

    /// Keys that an address waits for, each with the md5 it holds.
    pub fn by_ip<'a>(&'a self, ip: &str) -> impl Iterator<Item = (KeyRef<'a>, Option<Md5>)> {
        let polls = self.polls.values().filter(move |poll| *poll.ip == *ip);
        polls.flat_map(|poll| poll.keys.iter().map(|held| (held.key.parts(), held.md5)))
    }

    fn listen(
        &mut self,
        now: Instant,
        store: &Store,
        request: RequestId,
        poll: Poll,
        out: &mut Vec<ListenOutput>,
    ) {
        assert!(!self.polls.contains_key(&request), "a request id names one poll");
        if poll.keys.len() > limits::LISTEN_KEYS_MAX {
            out.push(ListenOutput::Refused { request });
            return;
        }
        let differs = |position: &u32| !self.blind && poll.differs(*position, store);
        let changed: Vec<u32> = positions(&poll.keys).filter(differs).collect();
        if !changed.is_empty() || poll.deadline <= now {
            out.push(ListenOutput::Answer { request, changed });
            return;
        }
        let full = self.polls.len() >= limits::LONG_POLLS_MAX
            || self.keys + poll.keys.len() > limits::LISTEN_KEYS_TOTAL_MAX;
        if full {
            out.push(ListenOutput::Refused { request });
            return;
        }
        self.hold(request, poll);
    }

    fn hold(&mut self, request: RequestId, mut poll: Poll) {
        for (position, held) in positions(&poll.keys).zip(&mut poll.keys) {
            // One text per key, however many wait for it.
            let shared = self.waiters(held.key.clone()).next().map(|waiter| waiter.key.clone());
            held.key = shared.unwrap_or_else(|| held.key.clone());
            self.waiting.insert(Waiter { key: held.key.clone(), request, position });
        }
        self.keys += poll.keys.len();
        self.deadlines.insert((poll.deadline, request));
        self.polls.insert(request, poll);
    }

    fn forget(&mut self, request: RequestId) {
        let Some(poll) = self.polls.remove(&request) else { return };
        for (position, held) in positions(&poll.keys).zip(&poll.keys) {
            self.waiting.remove(&Waiter { key: held.key.clone(), request, position });
        }
        self.keys -= poll.keys.len();
        self.deadlines.remove(&(poll.deadline, request));
    }

    fn changed(&mut self, store: &Store, changes: &[Change], out: &mut Vec<ListenOutput>) {
        if self.blind {
            return;
        }
        let mut answers: BTreeMap<RequestId, BTreeSet<u32>> = BTreeMap::new();
        for change in changes {
            for waiter in self.waiters(KeyText::new((&change.key).into())) {
                let Waiter { key: _, request, position } = waiter;
                if self.polls.get(request).is_some_and(|poll| poll.differs(*position, store)) {
                    answers.entry(*request).or_default().insert(*position);
                }
            }
        }
        for (request, changed) in answers {
            self.answer(request, changed.into_iter().collect(), out);
        }
    }

    fn reloaded(&mut self, store: &Store, out: &mut Vec<ListenOutput>) {
        if self.blind {
            return;
        }
        let differing = |(request, poll): (&RequestId, &Poll)| {
            let changed: Vec<u32> =
                positions(&poll.keys).filter(|position| poll.differs(*position, store)).collect();
            if changed.is_empty() { None } else { Some((*request, changed)) }
        };
        let answers: Vec<_> = self.polls.iter().filter_map(differing).collect();
        for (request, changed) in answers {
            self.answer(request, changed, out);
        }
    }

    fn waiters(&self, key: KeyText) -> impl Iterator<Item = &Waiter> {
        let first = Waiter { key: key.clone(), request: RequestId(0), position: 0 };
        self.waiting.range(first..).take_while(move |waiter| waiter.key == key)
    }

    fn wake(&mut self, now: Instant, out: &mut Vec<ListenOutput>) {
        while let Some((_, request)) = self.deadlines.first().filter(|first| first.0 <= now) {
            self.answer(*request, Vec::new(), out);
        }
    }

    fn answer(&mut self, request: RequestId, changed: Vec<u32>, out: &mut Vec<ListenOutput>) {
        self.forget(request);
        out.push(ListenOutput::Answer { request, changed });
    }

    /// Panics unless the three views of the held polls agree. For tests: it looks at everything.
    ///
    /// # Panics
    /// When they disagree or a limit is passed.
    pub fn invariants(&self) {
        assert!(self.polls.len() <= limits::LONG_POLLS_MAX);
        assert!(self.keys <= limits::LISTEN_KEYS_TOTAL_MAX);
        assert_eq!(self.polls.len(), self.deadlines.len());
        assert_eq!(self.keys, self.polls.values().map(|poll| poll.keys.len()).sum::<usize>());
        assert_eq!(self.keys, self.waiting.len());
        for (request, poll) in &self.polls {
            assert!(self.deadlines.contains(&(poll.deadline, *request)));
            for (position, held) in positions(&poll.keys).zip(&poll.keys) {
                let key = held.key.clone();
                assert!(self.waiting.contains(&Waiter { key, request: *request, position }));
            }
        }
    }
}

impl From<ListenKey> for HeldKey {
    fn from(listen: ListenKey) -> Self {
        Self { key: KeyText::new((&listen.key).into()), md5: listen.md5 }
    }
}

/// Positions of all keys. They fit 32 bits because `LISTEN_KEYS_MAX` does.
fn positions(keys: &[HeldKey]) -> impl Iterator<Item = u32> + use<> {
    0..u32::try_from(keys.len()).unwrap_or(u32::MAX)
}
