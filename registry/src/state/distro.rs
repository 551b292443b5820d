//! What a member knows of the others, and what it has to tell them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::{Instant, NodeId, ServiceKey};

use crate::state::hash;
use crate::state::tombs::Tombs;
use crate::words::message::InstanceChange;
use crate::words::names::{Life, PublicationKey, WriteVersion};

/// The part of a registry that talks to other members.
#[derive(Debug)]
pub(crate) struct Distro {
    pub(crate) me: NodeId,
    pub(crate) life: Life,
    pub(crate) clustered: bool,
    pub(crate) peers: BTreeMap<NodeId, DistroPeer>,
    pub(crate) view: MembersView,
    /// Changes that wait for the end of the turn.
    pub(crate) outbox: Vec<OutgoingChange>,
    pub(crate) tombs: Tombs,
    pub(crate) loading: Loading,
    /// When this node began as the only member.
    pub(crate) alone_at_start: Option<Instant>,
    /// Since when most members are out of sight.
    pub(crate) alone_since: Option<Instant>,
    pub(crate) armed: Option<Instant>,
    pub(crate) ticks: u64,
    pub(crate) counts: DistroCounts,
}

impl Distro {
    pub(crate) fn new(me: NodeId, life: Life, clustered: bool) -> Self {
        let loading = if clustered { Loading::Unknown } else { Loading::Done };
        let view = MembersView { members: [me].into(), lives: [life].into(), watchful: true };
        Self {
            me,
            life,
            clustered,
            peers: BTreeMap::new(),
            view,
            outbox: Vec::new(),
            tombs: Tombs::default(),
            loading,
            alone_at_start: None,
            alone_since: None,
            armed: None,
            ticks: 0,
            counts: DistroCounts::default(),
        }
    }

    /// Whether this node decides who is silent for too long in a service of this name.
    pub(crate) fn watches(&self, name_hash: u64) -> bool {
        self.view.watchful && self.responsible(name_hash) == self.me
    }

    pub(crate) fn responsible(&self, name_hash: u64) -> NodeId {
        debug_assert!(!self.view.members.is_empty(), "somebody is responsible");
        hash::responsible(name_hash, &self.view.members).unwrap_or(self.me)
    }

    /// Whether this node holds what the others hold.
    pub(crate) fn is_loaded(&self) -> bool {
        matches!(self.loading, Loading::Done)
    }

    /// Whether no other member is heard: then nobody tells us that our network works.
    pub(crate) fn is_alone(&self) -> bool {
        !self.peers.values().any(|peer| peer.live)
    }

    pub(crate) fn live_peers(&self) -> Vec<NodeId> {
        self.peers.iter().filter(|(_, peer)| peer.live).map(|(node, _)| *node).collect()
    }

    pub(crate) fn version(&self, counter: u64) -> WriteVersion {
        WriteVersion { counter, life: self.life }
    }
}

/// What this node knows of one other member.
#[derive(Debug, Default)]
pub(crate) struct DistroPeer {
    /// Its life; 0 until it was heard.
    pub(crate) life: Life,
    /// Lives before that: what they still say is old.
    pub(crate) former: Vec<Life>,
    pub(crate) heard_at: Instant,
    pub(crate) live: bool,
    pub(crate) loaded: bool,
    /// It may lack something: compare without waiting for a second look.
    pub(crate) urgent: bool,
    pub(crate) comparison: Comparison,
}

/// What follows from who lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MembersView {
    /// Members that can be responsible, in order.
    pub(crate) members: Vec<NodeId>,
    /// Lives whose connections keep instances alive.
    pub(crate) lives: Arc<[Life]>,
    /// Whether silence may be judged: not while most members are out of sight.
    pub(crate) watchful: bool,
}

/// A change for other members.
#[derive(Debug)]
pub(crate) struct OutgoingChange {
    pub(crate) service: ServiceKey,
    pub(crate) change: InstanceChange,
    /// See [`ServiceChanges::before`](crate::words::message::ServiceChanges::before).
    pub(crate) before: u64,
}

impl From<(ServiceKey, InstanceChange)> for OutgoingChange {
    fn from((service, change): (ServiceKey, InstanceChange)) -> Self {
        Self { service, change, before: 0 }
    }
}

/// What happened between members since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DistroCounts {
    /// Changes sent, once for each receiver.
    pub sent: u64,
    /// Changes received.
    pub received: u64,
    /// Changes received that were known already, or older than what is known.
    pub stale: u64,
    /// Changes received that were not taken: not valid, or no room.
    pub refused: u64,
    /// Buckets that differed and were repaired.
    pub repaired: u64,
    /// Instances that came back because their beats arrived here.
    pub reasserted: u64,
}

/// What the last digest of one peer looked like beside our own.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Buckets that differed.
    differed: BTreeSet<u16>,
}

impl Comparison {
    /// Whether the bucket has to be repaired: what is on its way has arrived by the next digest.
    pub(crate) fn differs(&mut self, bucket: u16, mine: u64, theirs: u64) -> bool {
        let differed_before = self.differed.remove(&bucket);
        let is_lost = mine != theirs && differed_before;
        if mine != theirs && !is_lost {
            self.differed.insert(bucket);
        }
        is_lost
    }
}

/// How far the full copy is.
#[derive(Debug)]
pub(crate) enum Loading {
    /// The members are not known yet.
    Unknown,
    /// Somebody to ask is looked for.
    Waiting {
        since: Instant,
        /// What was here before a long stop has to be confirmed.
        again: Option<Again>,
    },
    /// A page was asked for.
    Asked {
        since: Instant,
        whom: NodeId,
        after: Option<ServiceKey>,
        at: Instant,
        again: Option<Again>,
    },
    /// This node holds everything.
    Done,
}

/// A load after a long stop.
#[derive(Debug, Default)]
pub(crate) struct Again {
    /// What was registered later than this needs no confirmation.
    pub(crate) counter: u64,
    pub(crate) confirmed: BTreeSet<(ServiceKey, PublicationKey)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_repaired_when_it_differs_twice_in_a_row() {
        let mut comparison = Comparison::default();
        assert!(!comparison.differs(3, 1, 1));
        assert!(!comparison.differs(3, 1, 2), "it may be on its way");
        assert!(!comparison.differs(4, 1, 2), "another one");
        assert!(comparison.differs(3, 5, 6), "something is lost, however busy it is");
        assert!(!comparison.differs(3, 5, 6), "a new look after the repair");
        assert!(!comparison.differs(3, 2, 2));
        assert!(!comparison.differs(3, 1, 2), "all forgotten since");
    }
}
