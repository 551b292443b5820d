//! Keeps this node a member: asks to be taken in, tells the leader where it listens, asks for a vote
//! once it has caught up, and notices when it was removed. Every step may be repeated, so it simply
//! tries again until the membership says what it should.
//!
//! ```text
//!  joining ── Joined ──► member ── Announce: Done ──► learner ── Promote: Done ──► voter
//!     │                    │ not a member any more       (stays one with --learner)
//!     └─ refused ► ends    └────────────► removed: ends
//! ```

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use async_channel::Receiver;
use nacolet_raft::{Membership, MembershipChange, Metrics, engine};
use nacolet_storage::SmallRecordError;
use nacolet_transport::{Call, ClusterId, HandshakeError, Refusal, Reply};
use smol::future;

use super::SharedCluster;
use super::address::peer_of;
use super::change::NOT_A_MEMBER;
use super::record::Record;

/// Between two attempts.
const RETRY_EVERY: Duration = Duration::from_millis(250);
/// A learner asks whether it still is one.
const LEARNER_ASKS_EVERY: Duration = Duration::from_secs(3);
/// A refusal may have a cause that passes (the old connection of a member that just moved); after so
/// many in a row it is final.
const REFUSALS_MAX: u32 = 8;
/// Members asked in one attempt to find the leader.
const ASKED_MAX: usize = 32;

/// Why this node cannot be a member.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperError {
    #[error(
        "the data directory holds a cluster of its own, whose data would be lost by joining \
         another one; move it away and start again to join, or start without --join to keep it"
    )]
    Foreign,
    #[error(
        "this node was removed from its cluster; move its data directory away to join again, \
         or to start a cluster of its own"
    )]
    Removed,
    #[error("the cluster does not take this node: {0}")]
    Refused(String),
    #[error("the record of the membership cannot be stored: {0}")]
    Record(#[from] SmallRecordError),
}

/// What the state machine was told of the membership: ahead of the metrics, which follow it.
pub(crate) struct Memberships {
    pub(crate) in_force: Rc<RefCell<Membership>>,
    /// Another one took effect.
    pub(crate) changed: Receiver<()>,
}

/// The care for one node's membership.
pub(crate) struct Keeper {
    cluster: SharedCluster,
    join: Vec<String>,
    memberships: Memberships,
    was_member: bool,
    announced: bool,
    refusals: u32,
}

/// Whether something is left to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Rest,
    Again,
    /// A learner never campaigns, so nobody would tell it that it was removed while it was away.
    Later,
}

impl Keeper {
    pub(crate) fn new(cluster: SharedCluster, join: Vec<String>, memberships: Memberships) -> Self {
        Self { cluster, join, memberships, was_member: false, announced: false, refusals: 0 }
    }

    /// Runs for as long as the node is a member, or may become one.
    ///
    /// # Errors
    /// See [`KeeperError`].
    pub(crate) async fn run(mut self) -> Result<Infallible, KeeperError> {
        self.check_foreign().await?;
        let joining = self.cluster.cluster_id().is_none();
        if joining {
            self.join().await?;
        }
        loop {
            let next = self.look().await?;
            let again = async {
                match next {
                    Next::Again => smol::Timer::after(RETRY_EVERY).await,
                    Next::Later => smol::Timer::after(LEARNER_ASKS_EVERY).await,
                    Next::Rest => future::pending().await,
                };
            };
            let changed = async {
                // Its other end lives as long as the state machine.
                let _ = self.memberships.changed.recv().await;
            };
            future::or(changed, again).await;
        }
    }

    /// A node that founded a cluster of its own and has data must not throw it away by joining another.
    async fn check_foreign(&self) -> Result<(), KeeperError> {
        if self.join.is_empty() || self.cluster.record.borrow().is_some() {
            return Ok(());
        }
        let Ok(status) = self.cluster.raft.status().await else { return Ok(()) };
        let alone = status.membership.members().iter().all(|node| *node == self.cluster.me());
        if alone { Err(KeeperError::Foreign) } else { Ok(()) }
    }

    async fn join(&mut self) -> Result<(), KeeperError> {
        loop {
            let address = self.cluster.address.clone();
            match self.find(&Call::Join { address, learner: self.cluster.learner }).await {
                Found::Answer(Reply::Joined(cluster)) => return self.joined(cluster),
                Found::Answer(Reply::Refused(why)) | Found::Refused(why) => self.refused(why)?,
                Found::Answer(_) | Found::Nobody => {}
            }
            smol::Timer::after(RETRY_EVERY).await;
        }
    }

    fn joined(&mut self, cluster: ClusterId) -> Result<(), KeeperError> {
        let known = self.cluster.record.borrow().clone().unwrap_or_default();
        self.store(Record { cluster: Some(cluster), ..known })?;
        self.cluster.transport.set_cluster(cluster);
        self.refusals = 0;
        tracing::info!("joined the cluster");
        Ok(())
    }

    fn store(&self, record: Record) -> Result<(), KeeperError> {
        record.store(&self.cluster.dir)?;
        *self.cluster.record.borrow_mut() = Some(record);
        Ok(())
    }

    /// Notes where the others are, in case that nothing but this note can be read one day.
    fn remember(&self, membership: &Membership) {
        let me = self.cluster.me();
        let others = membership.addresses.iter().filter(|(node, _)| **node != me);
        let contacts: Vec<String> =
            others.map(|(_, address)| peer_of(address).to_owned()).collect();
        let known = self.cluster.record.borrow().clone();
        let is_new = match &known {
            Some(known) => known.contacts != contacts,
            None => !contacts.is_empty(),
        };
        if !is_new {
            return;
        }
        let cluster = self.cluster.cluster_id();
        if let Err(error) = self.store(Record { cluster, contacts, removed: false }) {
            tracing::warn!(%error, "the addresses of the other members are not stored");
        }
    }

    fn refused(&mut self, why: String) -> Result<(), KeeperError> {
        if self.refusals == 0 {
            tracing::warn!(%why, "the cluster refuses this node");
        }
        self.refusals += 1;
        if self.refusals < REFUSALS_MAX { Ok(()) } else { Err(KeeperError::Refused(why)) }
    }

    fn removed(&self) -> KeeperError {
        let known = self.cluster.record.borrow().clone().unwrap_or_default();
        let cluster = self.cluster.cluster_id();
        match self.store(Record { cluster, removed: true, ..known }) {
            Ok(()) => KeeperError::Removed,
            Err(error) => error,
        }
    }

    /// Compares what the membership says with what it should say, and does one thing about it.
    async fn look(&mut self) -> Result<Next, KeeperError> {
        let metrics = self.cluster.raft.metrics();
        let membership = self.memberships.in_force.borrow().clone();
        let me = self.cluster.me();
        if !membership.contains(me) {
            // One that catches up passes through times when it was no member yet.
            return if self.was_member { Err(self.removed()) } else { Ok(Next::Again) };
        }
        self.was_member = true;
        self.remember(&membership);
        let known = membership.addresses.get(&me) == Some(&self.cluster.address);
        if metrics.role == engine::RoleKind::Leader {
            self.announced = true;
            return Ok(if known { Next::Rest } else { self.correct_own_address().await });
        }
        if !self.announced || !known {
            return self.announce(&metrics).await;
        }
        if !membership.learners.contains(&me) {
            return Ok(Next::Rest);
        }
        if self.cluster.learner {
            return self.ask_for_membership(&metrics).await;
        }
        Ok(self.ask_for_vote().await)
    }

    async fn correct_own_address(&self) -> Next {
        let (node, address) = (self.cluster.me(), self.cluster.address.clone());
        let change = MembershipChange::AddLearner { node, address };
        let corrected = self.cluster.change_here(change).await == Reply::Done;
        if corrected { Next::Rest } else { Next::Again }
    }

    async fn announce(&mut self, metrics: &Metrics) -> Result<Next, KeeperError> {
        let alone = metrics.membership.members().len() < 2;
        if alone {
            // It will lead itself in a moment.
            return Ok(Next::Again);
        }
        let address = self.cluster.address.clone();
        let call = Call::Announce { address, last: metrics.last_log.index };
        match self.find(&call).await {
            Found::Answer(Reply::Done) => {
                self.announced = true;
                self.refusals = 0;
                Ok(Next::Again)
            }
            Found::Answer(Reply::Refused(why)) if why == NOT_A_MEMBER => Err(self.removed()),
            Found::Answer(Reply::Refused(why)) => self.refused(why).map(|()| Next::Again),
            Found::Answer(_) | Found::Nobody | Found::Refused(_) => Ok(Next::Again),
        }
    }

    /// Asks the leader on the link that is open anyway; whether it answers is its affair.
    async fn ask_for_membership(&self, metrics: &Metrics) -> Result<Next, KeeperError> {
        let Some(leader) = metrics.leader else { return Ok(Next::Later) };
        let address = self.cluster.address.clone();
        let call = Call::Announce { address, last: metrics.last_log.index };
        match self.cluster.ask(leader, call).await {
            Ok(Reply::Refused(why)) if why == NOT_A_MEMBER => Err(self.removed()),
            Ok(_) | Err(_) => Ok(Next::Later),
        }
    }

    async fn ask_for_vote(&self) -> Next {
        if let Some(leader) = self.cluster.raft.current_leader() {
            // Refused until this node has caught up; the membership tells when it worked.
            let _ = self.cluster.ask(leader, Call::Promote).await;
        }
        Next::Again
    }

    /// Asks the leader, wherever it is: whoever is known is asked for it.
    async fn find(&self, call: &Call) -> Found {
        let mut targets = self.targets();
        let mut asked = BTreeSet::new();
        let mut refused = None;
        while let Some(target) = targets.pop_front() {
            if asked.len() >= ASKED_MAX || !asked.insert(target.clone()) {
                continue;
            }
            match self.cluster.transport.visit(&target, call.clone()).await {
                Ok((_, Reply::NotLeader { leader: Some((_, address)) })) => {
                    targets.push_front(peer_of(&address).to_owned());
                }
                Ok((_, Reply::NotLeader { leader: None } | Reply::Busy | Reply::Unknown)) => {}
                Ok((_, answer)) => return Found::Answer(answer),
                Err(
                    error @ (HandshakeError::Key
                    | HandshakeError::RefusedBy(
                        Refusal::Cluster | Refusal::Version | Refusal::SameId,
                    )),
                ) => refused = Some(format!("{target}: {error}")),
                Err(error) => tracing::debug!(%target, %error, "not reached"),
            }
        }
        refused.map_or(Found::Nobody, Found::Refused)
    }

    /// Peer addresses to ask, the most promising first; without this node's own.
    fn targets(&self) -> VecDeque<String> {
        let metrics = self.cluster.raft.metrics();
        let membership: &Membership = &metrics.membership;
        let leader = self.cluster.leader().map(|(_, address)| address);
        let record = self.cluster.record.borrow();
        let contacts = record.iter().flat_map(|record| record.contacts.iter());
        let known = leader.iter().chain(membership.addresses.values());
        let own = peer_of(&self.cluster.address);
        known
            .chain(&self.join)
            .chain(contacts)
            .map(|address| peer_of(address).to_owned())
            .filter(|address| !address.is_empty() && address != own)
            .collect()
    }
}

/// What came of asking for the leader.
enum Found {
    Answer(Reply),
    /// Somebody is there and does not let this node in.
    Refused(String),
    Nobody,
}
