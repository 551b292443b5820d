//! Knocks at every address at which somebody of the cluster may be, all at once: whoever is there
//! becomes known with his place, to the links too, which then find a member that moved. What nobody
//! answered is told in the log and by the probes, at once and every ten seconds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use nacolet_model::{Instant, NodeId, limits};
use nacolet_raft::Membership;
use nacolet_transport::{ClusterId, HandshakeError, Refusal};

use super::address::peer_of;
use super::view::Cluster;
use crate::clock;

/// What came of knocking at every door once.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Members of a cluster: where each is, who it is, and of which cluster.
    pub(crate) members: Vec<(String, NodeId, ClusterId)>,
    /// Nodes that belong to no cluster yet, and where they are.
    pub(crate) fresh: BTreeMap<NodeId, String>,
    /// Where nobody was met who may be spoken to, and why.
    pub(crate) missed: Vec<(String, String)>,
    /// Those of them that will not let this node in later either.
    pub(crate) refused: Vec<String>,
}

impl Round {
    /// Why there is no use in knocking again: everybody is there, and nobody lets this node in.
    pub(crate) fn hopeless(&self) -> Option<String> {
        let is_all = self.members.is_empty() && self.fresh.is_empty();
        let is_all = is_all && self.refused.len() == self.missed.len();
        self.refused.first().filter(|_| is_all).cloned()
    }
}

impl Cluster {
    /// Peer addresses to ask, the most promising first; without this node's own.
    pub(crate) fn targets(&self, join: &[String]) -> VecDeque<String> {
        let metrics = self.raft.metrics();
        let membership: &Membership = &metrics.membership;
        let leader = self.leader().map(|(_, address)| address);
        let record = self.record.borrow();
        let contacts = record.iter().flat_map(|record| record.contacts.iter());
        let known = leader.iter().chain(membership.addresses.values()).chain(join).chain(contacts);
        let mut seen = BTreeSet::from([peer_of(&self.address), ""]);
        let new = known.map(|address| peer_of(address)).filter(|address| seen.insert(address));
        new.take(limits::JOIN_ASKED_MAX).map(str::to_owned).collect()
    }

    /// Knocks everywhere.
    pub(crate) async fn knock(&self, join: &[String]) -> Round {
        let mut round = Round::default();
        let knocks = self.targets(join).into_iter().map(|target| async move {
            let met = self.transport.knock(&target).await;
            (target, met)
        });
        let mut knocks: FuturesUnordered<_> = knocks.collect();
        while let Some((target, met)) = knocks.next().await {
            match met {
                Ok((node, Some(cluster))) => round.members.push((target, node, cluster)),
                Ok((node, None)) => drop(round.fresh.insert(node, target)),
                // This node itself, by another name.
                Err(
                    HandshakeError::RefusedBy(Refusal::SameId)
                    | HandshakeError::Refused(Refusal::SameId),
                ) => {}
                Err(error) => {
                    if is_final(&error) {
                        round.refused.push(format!("{target}: {error}"));
                    }
                    round.missed.push((target, error.to_string()));
                }
            }
        }
        round
    }
}

/// Whether asking again is of no use.
pub(crate) fn is_final(error: &HandshakeError) -> bool {
    let refusal = match error {
        HandshakeError::Key => return true,
        HandshakeError::Refused(refusal) | HandshakeError::RefusedBy(refusal) => refusal,
        HandshakeError::Stranger
        | HandshakeError::Http
        | HandshakeError::Grpc
        | HandshakeError::Timeout
        | HandshakeError::Random
        | HandshakeError::Io(_) => return false,
    };
    matches!(refusal, Refusal::Cluster | Refusal::Version)
}

/// Tells whom this node waits for.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    told: Option<Instant>,
}

const TOLD_EVERY: Duration = Duration::from_secs(10);

impl Waiting {
    /// It waits for this, and these did not answer.
    pub(crate) fn tell(&mut self, cluster: &Cluster, what: &str, missed: &[(String, String)]) {
        let mut words = what.to_owned();
        for (number, (address, why)) in missed.iter().enumerate() {
            let between = if number == 0 { ": " } else { "; " };
            // Writing to a String cannot fail.
            let _ = write!(words, "{between}{address} ({why})");
        }
        if self.told.is_none_or(|told| clock::now().saturating_since(told) >= TOLD_EVERY) {
            self.told = Some(clock::now());
            tracing::warn!("waiting for {words}");
        }
        cluster.stage.wait_for(words);
    }
}
