//! Distro: how members share ephemeral instances without agreeing on them first.
//!
//! Every member holds every instance and takes every write at once; a copy goes to all others. What is
//! known of one instance is either its newest registration or a tomb that covers it, and the newer of
//! two always wins, whichever order they arrive in: members that have heard the same hold the same.
//! Whoever lost a message is found by digests and repaired. Only one member decides that an instance
//! was silent for too long: the one that is responsible for its service, or, for what a connection
//! published, the member that holds the connection.
//!
//! ```text
//!  write here ─► version ─► catalog ─► outbox ─► Sync ─► every live member ─► newer? ─► catalog
//!  beat here ─► stamp ──── every 2 s ──────────► Heard ─► responsible member ─► stamp
//!  every second: Ping        every 5 s: Digest ─► differs? ─► Versions ─► Sync, Want ─► Sync
//!  at start: Load ─► Page, Load ─► Page, ... ─► loaded: may be responsible from now on
//! ```
//!
//! There is no forwarding of writes to the responsible member: a client reads its own write on the
//! node it talks to, a write costs no second hop, and it is taken when the responsible member is away.
//!
//! Reading order: [`message`], [`responsible`], [`sync`], [`liveness`], [`verify`], [`load`], `tombs`.

pub(crate) mod liveness;
pub(crate) mod load;
pub mod message;
pub(crate) mod responsible;
pub(crate) mod sync;
pub(crate) mod tombs;
pub(crate) mod verify;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::{Instant, NodeId, ServiceKey};

use self::load::Loading;
use self::message::{Change, Life, Version};
use self::tombs::Tombs;
use self::verify::Comparison;
use crate::catalog::Slot;
use crate::client::ClientId;
use crate::instance::Instance;
use crate::spec::{InstanceKey, InstanceSpec};
use crate::step::Registry;

/// Who keeps an instance alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Beats, or an operator where it is persistent; its service's responsible member watches it.
    Beats,
    /// A connection.
    Connection {
        /// The member that holds it; none when that is not known to live.
        node: Option<NodeId>,
        /// Which one.
        client: ClientId,
    },
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

/// One other member as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Which one.
    pub node: NodeId,
    /// Whether it was heard lately.
    pub live: bool,
    /// Whether it holds everything.
    pub loaded: bool,
}

/// Distro for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistroView {
    /// The other members.
    pub peers: Vec<PeerView>,
    /// Whether this node holds everything.
    pub loaded: bool,
    /// Whether this node removes silent instances now; not while it has lost the others.
    pub watchful: bool,
    /// Instances that are gone and remembered.
    pub tombs: usize,
    /// Counts since the start.
    pub counts: DistroCounts,
}

/// What this node knows of one other member.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// Its life; 0 until it was heard.
    life: Life,
    /// Lives before that: what they still say is old.
    former: Vec<Life>,
    heard_at: Instant,
    live: bool,
    loaded: bool,
    /// It may lack something: compare without waiting for a second look.
    urgent: bool,
    comparison: Comparison,
}

/// What follows from who lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// Members that can be responsible, in order.
    members: Vec<NodeId>,
    /// Lives whose connections keep instances alive.
    pub(crate) lives: Arc<[Life]>,
    /// Whether silence may be judged: not while most members are out of sight.
    watchful: bool,
}

/// A change for other members.
#[derive(Debug)]
pub(crate) struct Outgoing {
    service: ServiceKey,
    change: Change,
    /// See [`message::Changes::before`].
    before: u64,
}

impl From<(ServiceKey, Change)> for Outgoing {
    fn from((service, change): (ServiceKey, Change)) -> Self {
        Self { service, change, before: 0 }
    }
}

/// The part of a registry that talks to other members.
#[derive(Debug)]
pub(crate) struct Distro {
    me: NodeId,
    pub(crate) life: Life,
    clustered: bool,
    peers: BTreeMap<NodeId, Peer>,
    pub(crate) view: View,
    /// Changes that wait for the end of the turn.
    outbox: Vec<Outgoing>,
    tombs: Tombs,
    /// What live connections of this node publish and another member seems to have registered later;
    /// its clock may only be ahead. Each comes back when that one goes.
    displaced: BTreeMap<(ServiceKey, InstanceKey), (ClientId, InstanceSpec)>,
    loading: Loading,
    /// When this node began as the only member.
    alone_at_start: Option<Instant>,
    /// Since when most members are out of sight.
    alone_since: Option<Instant>,
    pub(crate) armed: Option<Instant>,
    ticks: u64,
    counts: DistroCounts,
}

impl Distro {
    pub(crate) fn new(me: NodeId, life: Life, clustered: bool) -> Self {
        let loading = if clustered { Loading::Unknown } else { Loading::Done };
        let view = View { members: [me].into(), lives: [life].into(), watchful: true };
        Self {
            me,
            life,
            clustered,
            peers: BTreeMap::new(),
            view,
            outbox: Vec::new(),
            tombs: Tombs::default(),
            displaced: BTreeMap::new(),
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

    fn responsible(&self, name_hash: u64) -> NodeId {
        responsible::responsible(name_hash, &self.view.members).unwrap_or(self.me)
    }

    fn live_peers(&self) -> Vec<NodeId> {
        self.peers.iter().filter(|(_, peer)| peer.live).map(|(node, _)| *node).collect()
    }

    fn version(&self, counter: u64) -> Version {
        Version { counter, life: self.life }
    }
}

impl Registry {
    /// Whether this node holds what the others hold; until then it is not ready.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        matches!(self.distro.loading, Loading::Done)
    }

    /// The member that watches over the beats of a service.
    #[must_use]
    pub fn responsible(&self, service: &ServiceKey) -> NodeId {
        self.distro.responsible(responsible::name_hash(service))
    }

    /// Who keeps an instance alive.
    #[must_use]
    pub fn owner(&self, instance: &Instance) -> Owner {
        let Some(client) = instance.owner() else { return Owner::Beats };
        let is_its = |(_, peer): &(&NodeId, &Peer)| peer.life == client.life();
        let node = if client.life() == self.distro.life {
            Some(self.distro.me)
        } else {
            self.distro.peers.iter().find(is_its).map(|(node, _)| *node)
        };
        Owner::Connection { node, client }
    }

    /// The state of Distro, for operators.
    #[must_use]
    pub fn distro(&self) -> DistroView {
        let distro = &self.distro;
        let peer = |(node, peer): (&NodeId, &Peer)| PeerView {
            node: *node,
            live: peer.live,
            loaded: peer.loaded,
        };
        DistroView {
            peers: distro.peers.iter().map(peer).collect(),
            loaded: self.is_loaded(),
            watchful: distro.view.watchful,
            tombs: distro.tombs.len(),
            counts: distro.counts,
        }
    }

    /// The place of a service, which is new if it was not there.
    pub(crate) fn slot_for(&mut self, key: &ServiceKey) -> Slot {
        let (slot, is_new) = self.catalog.slot_or_insert(key);
        if is_new && let Some(service) = self.catalog.get_mut(slot) {
            service.watched = self.distro.watches(service.name_hash);
        }
        slot
    }

    /// Asserts what everything else relies on.
    ///
    /// # Panics
    /// When a part of the state contradicts another.
    pub(crate) fn distro_invariants(&self) {
        let distro = &self.distro;
        distro.tombs.invariants();
        assert!(distro.view.members.is_sorted(), "members are in order");
        assert!(distro.peers.is_empty() || distro.armed.is_some(), "somebody to ping is pinged");
        for service in self.catalog.services() {
            let watches = distro.watches(service.name_hash);
            assert_eq!(service.watched, watches, "the responsible member watches");
            if let Some(digest) = service.digest {
                assert_eq!(digest, verify::digest_of(service), "digests are taken anew");
            }
            for instance in service.instances().iter().filter(|one| one.ephemeral()) {
                assert!(
                    instance.born() <= instance.version(),
                    "nothing changes before it is there"
                );
                let tomb = distro.tombs.get(service.key(), &instance.key());
                let over = tomb.is_some_and(|tomb| tomb.covered >= instance.born());
                assert!(!over, "what is covered by a tomb is not there");
            }
        }
    }
}
