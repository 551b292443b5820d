//! P2: writes, compare-and-set, removals and confirmed reads of one key could have happened one
//! after another, each between its call and its answer. The search is that of Wing and Gong with
//! the memory of Lowe: depth first over all orders, never twice from the same set of operations and
//! value.

use std::collections::{BTreeMap, BTreeSet};

use nacolet_model::ConfigKey;

use super::acknowledged::Ledger;
use super::check::Broken;
use crate::operation::{Action, End};
use crate::subject::Subject;

/// Positions that a search looks at before it gives up.
const STEPS_MAX: usize = 300_000;

/// One operation of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// Place of the call among all calls and answers.
    pub call: u64,
    /// Place of the answer; `u64::MAX` when there is none.
    pub answer: u64,
    /// What was asked.
    pub action: Action,
    /// What became of it.
    pub end: End,
}

/// Names an operation under way.
#[derive(Clone, Debug)]
pub struct OpId<K> {
    key: K,
    at: usize,
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none.
    Not,
    /// The search gave up.
    Undecided,
}

/// The value after `op` takes effect at `value`; `None` when it cannot have ended as it did.
fn take_effect(value: Option<u64>, op: &Op) -> Option<Option<u64>> {
    let (after, fits) = match (op.action, op.end) {
        (Action::Write(new), End::Written { created }) => (Some(new), created == value.is_none()),
        (Action::Write(new), End::Done | End::Unknown) => (Some(new), true),
        (Action::Cas { expected, new }, End::Written { created }) => {
            (Some(new), may_replace(value, expected) && created == value.is_none())
        }
        (Action::Cas { expected, new }, End::Done) => (Some(new), may_replace(value, expected)),
        (Action::Cas { expected, .. }, End::Mismatch) => (value, !may_replace(value, expected)),
        (Action::Cas { expected, new }, End::Unknown) => {
            (if may_replace(value, expected) { Some(new) } else { value }, true)
        }
        (Action::Remove(_), End::Removed { existed }) => (None, existed == value.is_some()),
        (Action::Remove(_), End::Done | End::Unknown) => (None, true),
        (Action::Read, End::Read(read)) => (value, read == value),
        _ => (value, false),
    };
    fits.then_some(after)
}

/// What is not there is written whatever was expected of it.
fn may_replace(value: Option<u64>, expected: Option<u64>) -> bool {
    value.is_none() || value == expected
}

/// A set of operations by their number.
type Done = [u64; 4];

fn has(done: &Done, at: usize) -> bool {
    done[at / 64] & (1 << (at % 64)) != 0
}

fn with(done: &Done, at: usize) -> Done {
    let mut done = *done;
    done[at / 64] |= 1 << (at % 64);
    done
}

/// Operations of one key that a search can take.
pub const OPERATIONS_MAX: usize = 256;

/// Whether a history that begins with nothing stored is linearizable. At most [`OPERATIONS_MAX`]
/// operations; more are undecided. `guess` says which of several operations is tried first, the
/// smallest: a good guess saves time, a bad one changes nothing else.
#[must_use]
pub fn check(history: &[Op], guess: impl Fn(&Op) -> u64) -> Verdict {
    if history.len() > OPERATIONS_MAX {
        return Verdict::Undecided;
    }
    let mut history = history.to_vec();
    history.sort_by_key(|op| op.call);
    let mut seen: BTreeSet<(Done, Option<u64>)> = BTreeSet::new();
    let mut stack: Vec<(Done, Option<u64>)> = vec![(Done::default(), None)];
    while let Some((done, value)) = stack.pop() {
        if !seen.insert((done, value)) {
            continue;
        }
        if seen.len() > STEPS_MAX {
            return Verdict::Undecided;
        }
        let open = || history.iter().enumerate().filter(|(at, _)| !has(&done, *at));
        // Nothing may come first that was called after something else was answered.
        let first_answer = open().map(|(_, op)| op.answer).min().unwrap_or(u64::MAX);
        if first_answer == u64::MAX {
            return Verdict::Linearizable;
        }
        let next = open().take_while(|(_, op)| op.call < first_answer);
        let mut next: Vec<(&Op, Done, Option<u64>)> = next
            .filter_map(|(at, op)| Some((op, with(&done, at), take_effect(value, op)?)))
            .collect();
        // What changes nothing may as well come first, whenever it comes in another order; but for
        // what could have changed something later, and did not say which.
        if let Some(at) = next.iter().position(|(op, _, after)| {
            op.answer != u64::MAX && op.end != End::Done && *after == value
        }) {
            next = vec![next.swap_remove(at)];
        }
        // What is tried first is the last one on the stack.
        next.sort_by_cached_key(|(op, ..)| std::cmp::Reverse((guess(op), op.answer)));
        stack.extend(next.into_iter().map(|(_, done, after)| (done, after)));
    }
    Verdict::Not
}

/// The histories of all keys.
#[derive(Clone, Debug)]
pub struct Histories<K> {
    clock: u64,
    keys: BTreeMap<K, Vec<Op>>,
}

impl<K> Default for Histories<K> {
    fn default() -> Self {
        Self { clock: 0, keys: BTreeMap::new() }
    }
}

impl<K: Clone + Ord> Histories<K> {
    /// A client asks.
    pub fn begin(&mut self, key: &K, action: Action) -> OpId<K> {
        self.clock += 1;
        let ops = self.keys.entry(key.clone()).or_default();
        ops.push(Op { call: self.clock, answer: u64::MAX, action, end: End::Unknown });
        OpId { key: key.clone(), at: ops.len() - 1 }
    }

    /// A client is answered, or gives up.
    pub fn end(&mut self, id: &OpId<K>, end: End) {
        self.clock += 1;
        let Some(op) = self.keys.get_mut(&id.key).and_then(|ops| ops.get_mut(id.at)) else {
            return;
        };
        op.end = end;
        if end != End::Unknown {
            op.answer = self.clock;
        }
    }

    /// The history of every key so far.
    pub fn all(&self) -> impl Iterator<Item = (&K, &[Op])> {
        self.keys.iter().map(|(key, ops)| (key, ops.as_slice()))
    }
}

impl Histories<ConfigKey> {
    pub(crate) fn operations(&self, key: &ConfigKey) -> usize {
        self.keys.get(key).map_or(0, Vec::len)
    }

    /// Checks every key. What nobody knows and the ledger does not hold never took effect.
    pub(crate) fn check(&self, ledger: &Ledger, undecided: &mut u64) -> Result<(), Broken> {
        for (key, ops) in &self.keys {
            let matters = |op: &&Op| match (op.action, op.end) {
                (_, End::Void) | (Action::Read, End::Unknown) => false,
                (
                    Action::Write(serial)
                    | Action::Cas { new: serial, .. }
                    | Action::Remove(serial),
                    End::Unknown,
                ) => ledger.has(serial),
                _ => true,
            };
            let history: Vec<Op> = ops.iter().filter(matters).copied().collect();
            // The log knows the order; the search has to prove that it fits what clients saw.
            let place = |op: &Op| match op.action {
                Action::Write(serial)
                | Action::Cas { new: serial, .. }
                | Action::Remove(serial) => ledger.place(serial).unwrap_or(0),
                Action::Read => 0,
            };
            match check(&history, place) {
                Verdict::Linearizable => {}
                Verdict::Undecided => *undecided += 1,
                Verdict::Not => {
                    let what = format!("the history of {key:?} is not linearizable: {history:?}");
                    return Err(Broken { what, about: Subject::Key(key.clone()) });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nacolet_model::Prng;

    use super::*;

    /// Tries every order of every subset that has all answered operations.
    fn brute_force(history: &[Op], done: u32, value: Option<u64>) -> bool {
        let open: Vec<usize> = (0..history.len()).filter(|at| done & (1 << at) == 0).collect();
        if open.iter().all(|at| history[*at].answer == u64::MAX) {
            return true;
        }
        open.iter().any(|at| {
            let op = &history[*at];
            let early = open.iter().all(|other| history[*other].answer > op.call);
            early
                && take_effect(value, op)
                    .is_some_and(|after| brute_force(history, done | (1 << at), after))
        })
    }

    fn random_op(prng: &mut Prng, serial: u64) -> (Action, End) {
        let some = |prng: &mut Prng| prng.chance(3, 4).then(|| 1 + prng.below(4));
        let unknown = prng.chance(1, 5);
        let (action, end) = match prng.below(5) {
            0 => (Action::Write(serial), End::Written { created: prng.chance(1, 2) }),
            4 if prng.chance(1, 2) => (Action::Write(serial), End::Done),
            4 => (Action::Remove(serial), End::Done),
            1 => {
                let action = Action::Cas { expected: some(prng), new: serial };
                let end =
                    if prng.chance(1, 2) { End::Mismatch } else { End::Written { created: false } };
                (action, end)
            }
            2 => (Action::Remove(serial), End::Removed { existed: prng.chance(1, 2) }),
            _ => (Action::Read, End::Read(some(prng))),
        };
        (action, if unknown && action != Action::Read { End::Unknown } else { end })
    }

    fn random_history(prng: &mut Prng) -> Vec<Op> {
        let count = 1 + prng.below(7);
        let mut clock = 0;
        let mut history: Vec<Op> = Vec::new();
        let mut running: Vec<usize> = Vec::new();
        while (history.len() as u64) < count || !running.is_empty() {
            clock += 1;
            let begin = (history.len() as u64) < count && (running.is_empty() || prng.chance(1, 2));
            if begin {
                let (action, end) = random_op(prng, history.len() as u64 + 1);
                history.push(Op { call: clock, answer: u64::MAX, action, end });
                if end != End::Unknown {
                    running.push(history.len() - 1);
                }
            } else if !running.is_empty() {
                let at = running.remove(usize::try_from(prng.below(running.len() as u64)).unwrap());
                history[at].answer = clock;
            }
        }
        history
    }

    #[test]
    fn the_search_agrees_with_trying_every_order() {
        let mut prng = Prng::new(7);
        let mut good = 0;
        for round in 0..30_000 {
            let history = random_history(&mut prng);
            let expected = brute_force(&history, 0, None);
            good += u64::from(expected);
            let found = check(&history, |_| 0);
            let verdict = if expected { Verdict::Linearizable } else { Verdict::Not };
            assert_eq!(found, verdict, "round {round}: {history:?}");
        }
        assert!(good > 3_000 && good < 27_000, "both kinds occur: {good}");
    }

    fn op(call: u64, answer: u64, action: Action, end: End) -> Op {
        Op { call, answer, action, end }
    }

    #[test]
    fn a_stale_read_is_seen() {
        let written = op(1, 2, Action::Write(7), End::Written { created: true });
        let stale = op(3, 4, Action::Read, End::Read(None));
        assert_eq!(check(&[written, stale], |_| 0), Verdict::Not);
        let concurrent = op(1, 4, Action::Read, End::Read(None));
        assert_eq!(check(&[written, concurrent], |_| 0), Verdict::Linearizable);
    }

    #[test]
    fn a_write_that_nobody_knows_of_may_take_effect_late_but_only_once() {
        let unknown = op(1, u64::MAX, Action::Write(7), End::Unknown);
        let other = op(2, 3, Action::Write(8), End::Written { created: true });
        let sees_7 = op(4, 5, Action::Read, End::Read(Some(7)));
        let sees_8 = op(6, 7, Action::Read, End::Read(Some(8)));
        assert_eq!(check(&[unknown, other, sees_7], |_| 0), Verdict::Linearizable);
        assert_eq!(check(&[unknown, other, sees_7, sees_8], |_| 0), Verdict::Not);
    }

    #[test]
    fn a_removal_that_does_not_say_what_it_removed_may_come_late() {
        let wrote = op(1, 4, Action::Write(7), End::Done);
        let removed = op(2, 5, Action::Remove(8), End::Done);
        for value in [None, Some(7)] {
            let read = op(6, 7, Action::Read, End::Read(value));
            assert_eq!(check(&[wrote, removed, read], |_| 0), Verdict::Linearizable);
        }
        let other = op(6, 7, Action::Read, End::Read(Some(9)));
        assert_eq!(check(&[wrote, removed, other], |_| 0), Verdict::Not);
    }

    #[test]
    fn only_one_of_two_that_expect_the_same_wins() {
        let first = op(1, 2, Action::Write(1), End::Written { created: true });
        let cas = |call, new| {
            let action = Action::Cas { expected: Some(1), new };
            op(call, call + 10, action, End::Written { created: false })
        };
        assert_eq!(check(&[first, cas(3, 2)], |_| 0), Verdict::Linearizable);
        assert_eq!(check(&[first, cas(3, 2), cas(4, 3)], |_| 0), Verdict::Not);
    }
}
