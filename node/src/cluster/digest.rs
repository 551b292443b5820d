//! Whether all members have the same state. Each notes a digest of it every [`STATE_DIGEST_EVERY`]
//! entries and asks the others for theirs. A member that differs from a majority of the voters stops;
//! where there is no majority, nobody knows who is right, and it is told and counted.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_channel::{Receiver, Sender};
use nacolet_model::NodeId;
use nacolet_model::limits::{
    STATE_DIGEST_ATTEMPTS, STATE_DIGEST_EVERY, STATE_DIGEST_PAUSE, STATE_DIGESTS_KEPT,
};
use nacolet_raft::LogIndex;
use nacolet_transport::{Call, Reply, StateDigest};

use super::SharedCluster;

/// The digests of this node's state at the last boundaries.
#[derive(Clone)]
pub(crate) struct Digests(Rc<State>);

struct State {
    /// The last boundary that the state has passed.
    passed: Cell<u64>,
    kept: RefCell<BTreeMap<LogIndex, StateDigest>>,
    noted: (Sender<()>, Receiver<()>),
    differing: Arc<AtomicU64>,
}

impl Default for Digests {
    fn default() -> Self {
        Self(Rc::new(State {
            passed: Cell::new(0),
            kept: RefCell::default(),
            noted: async_channel::bounded(1),
            differing: Arc::default(),
        }))
    }
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

    /// The command at `index` is applied next; `digest` is that of the state before it. Commands alone
    /// count: all members have the same, whatever else is in the log between them.
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
        // A full channel says it already.
        let _ = self.0.noted.0.try_send(());
    }

    /// What was noted at `index`, if that is still known.
    pub(crate) fn at(&self, index: LogIndex) -> Option<StateDigest> {
        self.0.kept.borrow().get(&index).copied()
    }

    /// How often another member's differed, for any thread to read.
    pub(crate) fn differing(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.differing)
    }

    async fn next(&self) -> (LogIndex, StateDigest) {
        loop {
            // Its other end is here.
            let _ = self.0.noted.1.recv().await;
            if let Some((index, digest)) = self.0.kept.borrow().last_key_value() {
                return (*index, *digest);
            }
        }
    }
}

/// What the digests of others say.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    /// These have another state, and nobody knows who is right.
    Differing(Vec<NodeId>),
    /// A majority agrees on another state.
    Odd,
}

fn judge(
    mine: StateDigest,
    theirs: &BTreeMap<NodeId, StateDigest>,
    voters: &BTreeSet<NodeId>,
) -> Verdict {
    let others = theirs.iter().filter(|(_, digest)| **digest != mine);
    let differing: Vec<NodeId> = others.clone().map(|(node, _)| *node).collect();
    let mut counts = BTreeMap::<StateDigest, usize>::new();
    for (_, digest) in others.filter(|(node, _)| voters.contains(node)) {
        *counts.entry(*digest).or_default() += 1;
    }
    match counts.values().max() {
        Some(most) if most * 2 > voters.len() => Verdict::Odd,
        _ if differing.is_empty() => Verdict::Same,
        _ => Verdict::Differing(differing),
    }
}

/// Compares for as long as this node's state is that of the others; returns where it is not.
pub(crate) async fn watch(cluster: SharedCluster) -> LogIndex {
    loop {
        let (index, mine) = cluster.digests.next().await;
        let theirs = collect(&cluster, index).await;
        let membership = cluster.raft.metrics().membership;
        let verdict = judge(mine, &theirs, &membership.voters);
        if verdict != Verdict::Same {
            cluster.digests.0.differing.fetch_add(1, Ordering::Relaxed);
        }
        match verdict {
            Verdict::Same => {}
            Verdict::Differing(nodes) => {
                tracing::error!(
                    index = index.0,
                    ?nodes,
                    "members have another state than this one"
                );
            }
            Verdict::Odd => return index,
        }
    }
}

/// The others' digests at `index`. They are a little behind, or away: those are not waited for long.
async fn collect(cluster: &SharedCluster, index: LogIndex) -> BTreeMap<NodeId, StateDigest> {
    let mut theirs = BTreeMap::new();
    for _ in 0..STATE_DIGEST_ATTEMPTS {
        smol::Timer::after(STATE_DIGEST_PAUSE).await;
        let members = cluster.raft.metrics().membership.members();
        let others = || members.iter().filter(|node| **node != cluster.me());
        for node in others() {
            if !theirs.contains_key(node)
                && let Ok(Reply::StateDigest(Some(digest))) =
                    cluster.ask(*node, Call::StateDigest(index)).await
            {
                theirs.insert(*node, digest);
            }
        }
        if others().all(|node| theirs.contains_key(node)) {
            break;
        }
    }
    theirs
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

    #[test]
    fn the_odd_one_is_the_one_without_a_majority() {
        // Digests of the others, by number; 9 is a learner. Mine is 0, I am one of the voters.
        type Theirs = &'static [(u64, u64)];
        let cases: [(Theirs, u64, Verdict); 9] = [
            (&[], 3, Verdict::Same),
            (&[(2, 0), (3, 0)], 3, Verdict::Same),
            (&[(2, 1), (3, 1)], 3, Verdict::Odd),
            (&[(2, 0), (3, 1)], 3, Verdict::Differing(vec![NodeId(3)])),
            (&[(2, 1), (3, 2)], 3, Verdict::Differing(vec![NodeId(2), NodeId(3)])),
            (&[(2, 1)], 3, Verdict::Differing(vec![NodeId(2)])),
            (&[(2, 1)], 2, Verdict::Differing(vec![NodeId(2)])),
            (&[(2, 1), (9, 1)], 3, Verdict::Differing(vec![NodeId(2), NodeId(9)])),
            (&[(2, 1), (3, 1), (4, 1), (5, 0)], 5, Verdict::Odd),
        ];
        for (theirs, voters, expected) in cases {
            let map = theirs.iter().map(|(node, state)| (NodeId(*node), digest(*state))).collect();
            let members = (1..=voters).map(NodeId).collect();
            assert_eq!(judge(digest(0), &map, &members), expected, "{theirs:?} of {voters}");
        }
    }
}
