//! What the connections of all threads share: how many there are, and of what they have.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, PoisonError};

use nacolet_model::limits;

use crate::bounds::count::Count;
use crate::grpc::client::pattern::Pattern;

/// What the connections of all threads share.
#[derive(Debug, Default)]
pub(crate) struct GrpcCounts {
    pub(crate) connections: Count,
    /// Those of them that are not set up.
    pub(crate) newcomers: Count,
    pub(crate) listens: Count,
    pub(crate) subscriptions: Count,
    pub(crate) watches: Count,
    pub(crate) patterns: Census,
    pub(crate) last_client: AtomicU32,
}

/// The patterns that are watched on all threads, each with the number of threads.
#[derive(Debug, Default)]
pub(crate) struct Census(Mutex<BTreeMap<Pattern, usize>>);

impl Census {
    /// Counts a pattern in; false when it would be one too many of its kind.
    pub(crate) fn enter(&self, pattern: &Pattern) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(threads) = known.get_mut(pattern) {
            *threads += 1;
            return true;
        }
        let others = known.keys().filter(|other| other.kind == pattern.kind).count();
        let has_room = others < limits::FUZZY_PATTERNS_MAX;
        if has_room {
            known.insert(pattern.clone(), 1);
        }
        has_room
    }

    pub(crate) fn leave(&self, pattern: &Pattern) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(threads) = known.get_mut(pattern) {
            *threads -= 1;
            if *threads == 0 {
                known.remove(pattern);
            }
        }
    }
}
