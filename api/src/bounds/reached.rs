//! Limits that are reached: counted where a refusal gets its words, and told in the log by whoever
//! looks at the clock anyway. There is one count for the process, as there is one log.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// As many as there are texts for refusals in this crate.
static REACHED: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

fn reached() -> MutexGuard<'static, BTreeMap<&'static str, u64>> {
    REACHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call was refused for want of something.
pub(crate) fn note(words: &'static str) {
    *reached().entry(words).or_default() += 1;
}

/// What was refused since the last time, and how often.
pub(crate) fn take() -> BTreeMap<&'static str, u64> {
    std::mem::take(&mut reached())
}
