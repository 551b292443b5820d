//! What clients did and saw: every call with its place among all calls and answers, and its outcome.
//! After a cycle each key's history, final reads included, must be linearizable; a write that was
//! acknowledged and is not there makes it not so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nacolet_tests::checker::linearizable::{Action, End, Op, Verdict, check};

/// Outcomes, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) reads: u64,
    pub(crate) keys: u64,
    pub(crate) undecided: u64,
}

/// All calls of one cycle.
#[derive(Default)]
pub(crate) struct History {
    clock: AtomicU64,
    keys: Mutex<BTreeMap<String, Vec<Op>>>,
}

/// A call under way.
pub(crate) struct Begun {
    key: String,
    at: usize,
}

impl History {
    fn keys(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Op>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn begin(&self, key: &str, action: Action) -> Begun {
        let mut keys = self.keys();
        let ops = keys.entry(key.to_owned()).or_default();
        ops.push(Op { call: self.tick(), answer: u64::MAX, action, end: End::Unknown });
        Begun { key: key.to_owned(), at: ops.len() - 1 }
    }

    pub(crate) fn end(&self, begun: &Begun, end: End) {
        let mut keys = self.keys();
        let answer = if end == End::Unknown { u64::MAX } else { self.tick() };
        if let Some(op) = keys.get_mut(&begun.key).and_then(|ops| ops.get_mut(begun.at)) {
            (op.answer, op.end) = (answer, end);
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.keys().keys().cloned().collect()
    }

    /// Judges every key; what is wrong, in words.
    pub(crate) fn judge(&self, tally: &mut Tally) -> Vec<String> {
        let mut wrong = Vec::new();
        for (key, ops) in &*self.keys() {
            tally.keys += 1;
            for op in ops {
                let is_read = op.action == Action::Read;
                match op.end {
                    _ if is_read => tally.reads += 1,
                    End::Done | End::Mismatch => tally.acknowledged += 1,
                    End::Void => tally.refused += 1,
                    _ => tally.unknown += 1,
                }
            }
            let says = |op: &&Op| {
                op.end != End::Void && !(op.action == Action::Read && op.end == End::Unknown)
            };
            let history: Vec<Op> = ops.iter().filter(says).copied().collect();
            match check(&history, |op| op.call) {
                Verdict::Linearizable => {}
                Verdict::Undecided => tally.undecided += 1,
                Verdict::Not => {
                    wrong.push(format!("P1/P2: {key} is not linearizable: {history:?}"))
                }
            }
        }
        wrong
    }
}
