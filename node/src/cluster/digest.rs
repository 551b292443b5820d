//! Whether all members have the same state. Each notes digests of its own (`machine/digests.rs`)
//! and asks the others for theirs. A member that differs from a majority of the voters stops; where
//! there is no majority, nobody knows who is right, and it is told and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use nacolet_model::NodeId;
use nacolet_model::limits::{STATE_DIGEST_ATTEMPTS, STATE_DIGEST_PAUSE};
use nacolet_raft::LogIndex;
use nacolet_transport::{Call, Reply, StateDigest};

use super::view::SharedCluster;

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
            cluster.digests.differing().fetch_add(1, Ordering::Relaxed);
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

/// The others' digests at `index`. They are a little behind, or away: those are not waited for
/// long.
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
