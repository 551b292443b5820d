//! Digests of this node's state: one every [`STATE_DIGEST_EVERY`] entries, of which the last few
//! are kept for other members to compare with.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use nacolet_model::limits::{STATE_DIGEST_EVERY, STATE_DIGESTS_KEPT};
use nacolet_raft::LogIndex;
use nacolet_transport::StateDigest;

use crate::bell::Bell;

/// The digests of this node's state at the last boundaries.
#[derive(Clone, Default)]
pub(crate) struct Digests(Rc<DigestsKept>);

#[derive(Default)]
struct DigestsKept {
    /// The last boundary that the state has passed.
    passed: Cell<u64>,
    kept: RefCell<BTreeMap<LogIndex, StateDigest>>,
    noted: Bell,
    differing: Arc<AtomicU64>,
}

/// The last boundary before the entry at `index`.
const fn boundary(index: LogIndex) -> u64 {
    index.0.saturating_sub(1) / STATE_DIGEST_EVERY * STATE_DIGEST_EVERY
}

impl Digests {
    /// A snapshot that ends at `index` is the state now.
    pub(crate) fn begin(&self, index: LogIndex) {
        self.0.passed.set(boundary(LogIndex(index.0 + 1)));
    }

    /// The command at `index` is applied next; `digest` is that of the state before it. Commands
    /// alone count: all members have the same, whatever else is in the log between them.
    pub(crate) fn before(&self, index: LogIndex, digest: impl FnOnce() -> StateDigest) {
        let at = boundary(index);
        if at <= self.0.passed.replace(at) {
            return;
        }
        let mut kept = self.0.kept.borrow_mut();
        kept.insert(LogIndex(at), digest());
        while kept.len() > STATE_DIGESTS_KEPT {
            kept.pop_first();
        }
        self.0.noted.ring();
    }

    /// What was noted at `index`, if that is still known.
    pub(crate) fn at(&self, index: LogIndex) -> Option<StateDigest> {
        self.0.kept.borrow().get(&index).copied()
    }

    /// How often another member's differed, for any thread to read.
    pub(crate) fn differing(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.differing)
    }

    /// The newest digest, once another one was noted.
    pub(crate) async fn next(&self) -> (LogIndex, StateDigest) {
        loop {
            self.0.noted.rung().await;
            if let Some((index, digest)) = self.0.kept.borrow().last_key_value() {
                return (*index, *digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn digest(configs: u64) -> StateDigest {
        StateDigest { configs, services: 0, locks: 0, users: 0 }
    }

    /// Applies commands at these indexes; the digest is the number of those before.
    fn apply(digests: &Digests, indexes: impl IntoIterator<Item = u64>, mut before: u64) {
        for index in indexes {
            digests.before(LogIndex(index), || digest(before));
            before += 1;
        }
    }

    #[test]
    fn the_digest_at_a_boundary_is_that_of_all_commands_up_to_it() {
        let digests = Digests::default();
        apply(&digests, 1..=STATE_DIGEST_EVERY, 0);
        assert_eq!(digests.at(LogIndex(STATE_DIGEST_EVERY)), None, "the next command makes it");
        digests.before(LogIndex(STATE_DIGEST_EVERY + 7), || digest(1_000));
        assert_eq!(digests.at(LogIndex(STATE_DIGEST_EVERY)), Some(digest(1_000)));
        // Nothing but entries of another kind for more than one boundary.
        digests.before(LogIndex(4 * STATE_DIGEST_EVERY), || digest(1_001));
        assert_eq!(digests.at(LogIndex(3 * STATE_DIGEST_EVERY)), Some(digest(1_001)));
        assert_eq!(digests.at(LogIndex(2 * STATE_DIGEST_EVERY)), None);
    }

    #[test]
    fn a_member_that_begins_with_a_snapshot_notes_the_same_and_nothing_before() {
        let (whole, restored) = (Digests::default(), Digests::default());
        let end = 3 * STATE_DIGEST_EVERY + 1;
        apply(&whole, 1..=end, 0);
        for snapshot in [STATE_DIGEST_EVERY - 1, STATE_DIGEST_EVERY, STATE_DIGEST_EVERY + 1] {
            restored.begin(LogIndex(snapshot));
            restored.0.kept.borrow_mut().clear();
            apply(&restored, snapshot + 1..=end, snapshot);
            for boundary in [2, 3].map(|n| LogIndex(n * STATE_DIGEST_EVERY)) {
                assert!(restored.at(boundary).is_some());
                assert_eq!(restored.at(boundary), whole.at(boundary), "{snapshot}");
            }
            let first = restored.at(LogIndex(STATE_DIGEST_EVERY));
            assert!(first.is_none_or(|digest| Some(digest) == whole.at(LogIndex(1_000))));
        }
    }

    #[test]
    fn as_many_are_kept_as_may_be() {
        let digests = Digests::default();
        let last = 2 * STATE_DIGESTS_KEPT as u64;
        apply(&digests, (0..=last).map(|n| n * STATE_DIGEST_EVERY + 1), 0);
        assert_eq!(digests.0.kept.borrow().len(), STATE_DIGESTS_KEPT);
        assert!(digests.at(LogIndex(last * STATE_DIGEST_EVERY)).is_some());
    }
}
