//! Distro: how members share ephemeral instances without agreeing on them first.
//!
//! Every member holds every instance and takes every write at once; a copy goes to all others. What
//! is known of one instance is either its newest registration or a tomb that covers it, and the
//! newer of two always wins, whichever order they arrive in: members that have heard the same hold
//! the same. Whoever lost a message is found by digests and repaired. Only one member decides that
//! an instance was silent for too long: the one that is responsible for its service, or, for what a
//! connection published, the member that holds the connection.
//!
//! ```text
//!  write here ─► version ─► catalog ─► outbox ─► Sync ─► every live member ─► newer? ─► catalog
//!  beat here ─► stamp ──── every 2 s ──────────► Heard ─► responsible member ─► stamp
//!  every second: Ping        every 5 s: Digest ─► differs? ─► Versions ─► Sync, Want ─► Sync
//!  at start: Load ─► Page, Load ─► Page, ... ─► loaded: may be responsible from now on
//! ```
//!
//! There is no forwarding of writes to the responsible member: a client reads its own write on the
//! node it talks to, a write costs no second hop, and it is taken when the responsible member is
//! away.
//!
//! Reading order: [`message`](crate::words::message), [`sync`], [`liveness`], [`verify`], [`load`];
//! what a member remembers of the others is in `state::distro`, its tombs in `state::tombs`.

pub(crate) mod liveness;
pub(crate) mod load;
pub(crate) mod sync;
pub(crate) mod verify;

use alloc::vec::Vec;

use nacolet_model::{NodeId, ServiceKey};

use crate::state::distro::{DistroCounts, DistroPeer};
use crate::state::hash;
use crate::state::instance::Instance;
use crate::state::registry::Registry;
use crate::words::names::ClientId;

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

impl Registry {
    /// Whether this node holds what the others hold; until then it is not ready.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.distro.is_loaded()
    }

    /// The member that watches over the beats of a service.
    #[must_use]
    pub fn responsible(&self, service: &ServiceKey) -> NodeId {
        self.distro.responsible(hash::name_hash(service))
    }

    /// Who keeps an instance alive.
    #[must_use]
    pub fn owner(&self, instance: &Instance) -> Owner {
        let Some(client) = instance.owner() else { return Owner::Beats };
        let is_its = |(_, peer): &(&NodeId, &DistroPeer)| peer.life == client.life();
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
        let peer = |(node, peer): (&NodeId, &DistroPeer)| PeerView {
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
}
