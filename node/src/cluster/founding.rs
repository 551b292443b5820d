//! How several new nodes with one command line become one cluster. None of them is special; each
//! was told how many there are to be.
//!
//! ```text
//! knock ──► a member of a cluster is there ──► join it, whoever else is there
//!   ▲  └──► as many new nodes as expected ──► the one with the lowest id asks all others
//!   └────── otherwise                              │ every one of them sees the same nodes
//!                                                  └──► it begins the cluster, the others join it
//! ```
//! A node consents to one founder, only while it is new itself and sees the very same nodes, and
//! takes that back only when it sees that this one did not found: two of them never begin two
//! clusters, and one that has lost its disk never begins another one beside the cluster that it was
//! in. All of them are voters from the first entry on, so nothing is acknowledged by the founder
//! alone, and it may be lost as any other.

use std::collections::{BTreeMap, BTreeSet};

use nacolet_model::{Instant, NodeId, limits};
use nacolet_raft::{StorageError, decode};
use nacolet_storage::DataDir;

use crate::clock;

/// The name of the small record with a consent: a node that is killed does not forget it.
const NAME: &str = "consent";

/// What a new node knows of the other new ones.
#[derive(Debug, Default)]
pub(crate) struct Founding {
    /// Those that it met in its last round and where, and itself.
    pub(super) seen: BTreeMap<NodeId, String>,
    consent: Option<Consent>,
}

/// Whom a node let found the cluster.
#[derive(Clone, Debug)]
struct Consent {
    founder: NodeId,
    address: String,
    at: Instant,
}

impl Founding {
    /// What the node promised before it was started again. Since when is not known: from now on.
    ///
    /// # Errors
    /// The record is damaged or unreadable.
    pub(crate) fn load(dir: &DataDir) -> Result<Self, StorageError> {
        let record = dir.load_small(NAME)?;
        let consent = record.map(|bytes| {
            decode(&bytes).map(|(founder, address)| Consent { founder, address, at: clock::now() })
        });
        let consent = consent.map(|consent| {
            consent.ok_or_else(|| StorageError {
                what: "the record of the founder cannot be read".to_owned(),
                advice: "start the version that wrote it, or begin with an empty data directory"
                    .to_owned(),
                damaged: false,
            })
        });
        Ok(Self { seen: BTreeMap::new(), consent: consent.transpose()? })
    }

    /// Whether this one may found a cluster of these. The promise is on the disk before it is
    /// given.
    pub(super) fn promises(
        &mut self,
        founder: NodeId,
        nodes: &BTreeSet<NodeId>,
        dir: &DataDir,
    ) -> bool {
        let known = self.consent.clone();
        if !self.consents(founder, nodes, clock::now()) {
            return false;
        }
        let Some(Consent { founder, address, .. }) = &self.consent else { return false };
        let of = |known: &Consent| (known.founder, known.address.clone());
        if known.as_ref().map(of).as_ref() == Some(&(*founder, address.clone())) {
            return true;
        }
        let bytes = postcard::to_allocvec(&(founder, address)).unwrap_or_default();
        let stored = dir.store_small(NAME, &bytes);
        if let Err(error) = &stored {
            tracing::warn!(%error, "nobody may begin the cluster: that cannot be noted");
            self.consent = known;
        }
        stored.is_ok()
    }

    /// The founder that this node waits for.
    pub(super) fn founder(&self) -> Option<NodeId> {
        self.consent.as_ref().map(|consent| consent.founder)
    }

    /// Whether this one may found a cluster of these.
    pub(super) fn consents(
        &mut self,
        founder: NodeId,
        nodes: &BTreeSet<NodeId>,
        now: Instant,
    ) -> bool {
        let is_lowest = nodes.first() == Some(&founder);
        let address = match self.seen.get(&founder) {
            Some(address) if is_lowest && self.seen.keys().eq(nodes.iter()) => address.clone(),
            Some(_) | None => return false,
        };
        if self
            .consent
            .as_ref()
            .is_some_and(|given| given.founder != founder && self.binds(given, now))
        {
            return false;
        }
        self.consent = Some(Consent { founder, address, at: now });
        true
    }

    /// Whether a consent still stands. It does not when its founder is new after a while, or when
    /// another new node is in its place: then it has lost its disk.
    fn binds(&self, given: &Consent, now: Instant) -> bool {
        let is_new = self.seen.contains_key(&given.founder);
        let is_replaced = self
            .seen
            .iter()
            .any(|(node, address)| *node != given.founder && *address == given.address);
        let is_over = is_new && now.saturating_since(given.at) >= limits::CONSENT_TIME;
        !is_over && !is_replaced
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn seen(ids: &[u64]) -> BTreeMap<NodeId, String> {
        ids.iter().map(|id| (NodeId(*id), format!("10.0.0.{id}:7848"))).collect()
    }

    fn asks(founding: &mut Founding, id: u64, ids: &[u64], after: Duration) -> bool {
        let nodes = ids.iter().copied().map(NodeId).collect();
        founding.consents(NodeId(id), &nodes, Instant::ZERO + after)
    }

    #[test]
    fn a_new_node_lets_one_found_the_cluster_that_it_sees() {
        let mut founding = Founding { seen: seen(&[1, 2, 3]), consent: None };
        let at_once = Duration::ZERO;
        assert!(!asks(&mut founding, 1, &[1, 2], at_once), "it sees one more");
        assert!(!asks(&mut founding, 1, &[1, 2, 3, 4], at_once), "it sees one less");
        assert!(!asks(&mut founding, 2, &[1, 2, 3], at_once), "that is for the lowest to do");
        assert!(asks(&mut founding, 1, &[1, 2, 3], at_once));
        assert!(asks(&mut founding, 1, &[1, 2, 3], at_once), "the same one may ask again");
    }

    #[test]
    fn a_consent_outlives_the_process() {
        let path = std::env::temp_dir().join(format!("nacolet-consent-{}", std::process::id()));
        let dir = DataDir::open(&path, NodeId(2)).expect("a folder");
        let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
        let mut founding = Founding::load(&dir).expect("nothing is there");
        founding.seen = seen(&[1, 2, 3]);
        assert!(founding.promises(NodeId(1), &nodes(&[1, 2, 3]), &dir));
        let golden = [&[1, 13][..], b"10.0.0.1:7848"].concat();
        assert_eq!(dir.load_small(NAME), Ok(Some(golden)));
        // Killed and started again: the first one may have begun the cluster meanwhile.
        let mut founding = Founding::load(&dir).expect("it is there");
        assert_eq!(founding.founder(), Some(NodeId(1)));
        founding.seen = seen(&[0, 2, 3]);
        assert!(!founding.promises(NodeId(0), &nodes(&[0, 2, 3]), &dir));
        founding.seen = seen(&[1, 2, 3]);
        assert!(founding.promises(NodeId(1), &nodes(&[1, 2, 3]), &dir));
        dir.store_small(NAME, &[]).expect("there is room");
        assert!(Founding::load(&dir).is_err());
        std::fs::remove_dir_all(path).expect("it is there");
    }

    #[test]
    fn a_consent_binds_until_its_founder_is_seen_not_to_have_founded() {
        let mut founding = Founding { seen: seen(&[1, 2, 3]), consent: None };
        let late = 2 * limits::CONSENT_TIME;
        assert!(asks(&mut founding, 1, &[1, 2, 3], Duration::ZERO));
        founding.seen = seen(&[2, 3, 4]);
        assert!(!asks(&mut founding, 2, &[2, 3, 4], late), "the first one may have founded");
        founding.seen = seen(&[0, 1, 2]);
        assert!(!asks(&mut founding, 0, &[0, 1, 2], limits::CONSENT_TIME / 2));
        assert!(asks(&mut founding, 0, &[0, 1, 2], late), "it is there and new");
        founding.seen = seen(&[2, 3]);
        founding.seen.insert(NodeId(9), "10.0.0.0:7848".to_owned());
        assert!(asks(&mut founding, 2, &[2, 3, 9], late), "it has lost its disk");
    }
}
