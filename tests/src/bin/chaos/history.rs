//! What clients did and saw: every call with its place among all calls and answers, and its
//! outcome. After a cycle each key's history, final reads included, must be linearizable; a write
//! that was acknowledged and is not there makes it not so.

use std::sync::{Mutex, MutexGuard, PoisonError};

use nacolet_tests::checker::linearizable::{Histories, Op, OpId, Verdict, check};
use nacolet_tests::operation::{Action, End};

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
pub(crate) struct History(Mutex<Histories<String>>);

impl History {
    fn histories(&self) -> MutexGuard<'_, Histories<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, key: &str, action: Action) -> OpId<String> {
        self.histories().begin(&key.to_owned(), action)
    }

    pub(crate) fn end(&self, begun: &OpId<String>, end: End) {
        self.histories().end(begun, end);
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.histories().all().map(|(key, _)| key.clone()).collect()
    }

    /// Judges every key; what is wrong, in words.
    pub(crate) fn judge(&self, tally: &mut Tally) -> Vec<String> {
        let mut wrong = Vec::new();
        for (key, ops) in self.histories().all() {
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
