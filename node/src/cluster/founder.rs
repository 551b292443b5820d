//! A new node's part in the founding of a cluster: it asks the others for their consent and begins,
//! or gives its own. The rule is in `founding.rs`.

use std::collections::BTreeSet;

use nacolet_model::NodeId;
use nacolet_raft::{InitializeError, Membership};
use nacolet_transport::{Call, ClusterId, Reply};

use super::knock::Round;
use super::view::Cluster;

impl Cluster {
    /// Whether this node may belong to the first of a new cluster. One that has set its data aside
    /// has been in a cluster, and gets everything from there.
    fn is_new(&self) -> bool {
        let metrics = self.raft.metrics();
        let is_empty = metrics.last_log.index.0 == 0 && metrics.term.0 == 0;
        self.cluster_id().is_none() && is_empty && !self.dir.has_set_aside()
    }

    /// A node that wants to found a cluster of `nodes` asks for consent.
    pub(crate) fn consent(&self, founder: NodeId, nodes: &[NodeId]) -> Reply {
        let nodes: BTreeSet<NodeId> = nodes.iter().copied().collect();
        if !self.is_new() {
            return Reply::Refused("this node is not new".to_owned());
        }
        match self.founding.borrow_mut().promises(founder, &nodes, &self.dir) {
            true => Reply::Done,
            false => Reply::Busy,
        }
    }

    /// Begins a cluster if that is for this node to do, now that it has met these; true when it
    /// did.
    pub(crate) async fn found(&self, round: &Round, expect: usize) -> bool {
        let me = self.me();
        let mut all = round.fresh.clone();
        all.insert(me, self.address.clone());
        let nodes: BTreeSet<NodeId> = all.keys().copied().collect();
        self.founding.borrow_mut().seen = all.clone();
        let is_founder = nodes.len() == expect && nodes.first() == Some(&me);
        if !is_founder || !self.is_new() {
            return false;
        }
        // Its own consent counts too: it may have given it to another one a moment ago.
        if !self.founding.borrow_mut().promises(me, &nodes, &self.dir) {
            return false;
        }
        let list: Vec<NodeId> = nodes.into_iter().collect();
        for address in round.fresh.values() {
            let call = Call::Found { nodes: list.clone() };
            match self.transport.visit(address, call).await {
                Ok((_, Reply::Done)) => {}
                Ok(_) | Err(_) => return false,
            }
        }
        match self.raft.initialize(Membership::of_voters(all)).await {
            Ok(()) => {
                tracing::info!(nodes = expect, "this node begins the cluster");
                true
            }
            Err(error @ (InitializeError::Bootstrap(_) | InitializeError::Overloaded)) => {
                tracing::warn!(%error, "the cluster does not begin");
                false
            }
            Err(InitializeError::Stopped) => false,
        }
    }

    /// Resolves when what this node began is on its disk.
    pub(crate) async fn is_begun(&self) {
        loop {
            let metrics = self.raft.metrics();
            if metrics.applied_index.0 > 0
                || self.raft.metrics_changed(metrics.version).await.is_err()
            {
                return;
            }
        }
    }

    /// The cluster that this node is a voter of without having joined it: it was there when it
    /// began. Its id is that of its founder, the lowest one.
    pub(crate) fn founded(&self) -> Option<ClusterId> {
        let membership = self.raft.metrics().membership;
        let founder = membership.voters.first().filter(|_| membership.is_voter(self.me()))?;
        Some(ClusterId(founder.0))
    }

    /// The cluster of the founder that this node has consented to, once that one has begun it.
    pub(crate) fn consented_to(&self, round: &Round) -> Option<ClusterId> {
        let founder = self.founding.borrow().founder()?;
        let cluster = ClusterId(founder.0);
        let is_it =
            |(_, node, of): &(String, NodeId, ClusterId)| *node == founder && *of == cluster;
        round.members.iter().any(is_it).then_some(cluster)
    }
}
