//! Keeps this node a member: asks to be taken in, tells the leader where it listens, asks for a
//! vote once it has caught up, and notices when it was removed. Every step may be repeated, so it
//! simply tries again until the membership says what it should.
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

use nacolet_model::{Instant, limits};
use nacolet_raft::{Membership, MembershipChange, Metrics, engine};
use nacolet_storage::SmallRecordError;
use nacolet_transport::{Call, ClusterId, Reply};
use smol::future;

use super::address::peer_of;
use super::change::NOT_A_MEMBER;
use super::knock::{Round, Waiting, is_final};
use super::record::Record;
use super::view::SharedCluster;
use crate::bell::Bell;
use crate::clock;

/// Between two attempts.
const RETRY_EVERY: Duration = Duration::from_millis(250);
/// A learner asks whether it still is one.
const LEARNER_ASKS_EVERY: Duration = Duration::from_secs(3);

/// A member looks whether it still has a leader.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

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
    pub(crate) changed: Bell,
}

/// The care for one node's membership.
pub(crate) struct Keeper {
    cluster: SharedCluster,
    join: Vec<String>,
    /// So many new nodes begin a cluster together.
    expect: Option<usize>,
    waiting: Waiting,
    /// Since when it belongs to a cluster of which it holds nothing.
    empty: Option<Instant>,
    memberships: Memberships,
    /// The membership of which the log has told.
    told: Membership,
    was_member: bool,
    announced: bool,
    refusals: u32,
}

/// Whether something is left to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeeperStep {
    Rest,
    Again,
    /// A learner never campaigns, so nobody would tell it that it was removed while it was away.
    Later,
}

impl Keeper {
    pub(crate) fn new(
        cluster: SharedCluster,
        join: Vec<String>,
        expect: Option<usize>,
        memberships: Memberships,
    ) -> Self {
        Self {
            cluster,
            join,
            expect,
            waiting: Waiting::default(),
            empty: None,
            memberships,
            told: Membership::default(),
            was_member: false,
            announced: false,
            refusals: 0,
        }
    }

    /// Runs for as long as the node is a member, or may become one.
    ///
    /// # Errors
    /// See [`KeeperError`].
    pub(crate) async fn run(mut self) -> Result<Infallible, KeeperError> {
        self.check_foreign().await?;
        if self.cluster.cluster_id().is_none() {
            self.become_member().await?;
        }
        loop {
            let next = self.look().await?;
            let again = async {
                match next {
                    KeeperStep::Again => smol::Timer::after(RETRY_EVERY).await,
                    KeeperStep::Later => smol::Timer::after(LEARNER_ASKS_EVERY).await,
                    KeeperStep::Rest => smol::Timer::after(LOOKS_EVERY).await,
                };
            };
            future::or(self.memberships.changed.rung(), again).await;
            self.look_for_others().await;
        }
    }

    /// Joins the cluster of whoever is there, or begins one with others that are new as well.
    async fn become_member(&mut self) -> Result<(), KeeperError> {
        loop {
            if let Some(cluster) = self.cluster.founded() {
                return self.joined(cluster);
            }
            let round = self.cluster.knock(&self.join).await;
            if let Some(cluster) = self.cluster.consented_to(&round) {
                return self.joined(cluster);
            }
            if !round.members.is_empty() {
                if let Some(cluster) = self.ask_to_join(&round).await? {
                    return self.joined(cluster);
                }
            } else if let Some(expect) = self.expect
                && self.cluster.found(&round, expect).await
            {
                self.cluster.is_begun().await;
                continue;
            }
            if let Some(why) = round.hopeless() {
                self.refused(why)?;
            }
            self.waiting.tell(&self.cluster, &self.wanted(&round), &round.missed);
            smol::Timer::after(RETRY_EVERY).await;
        }
    }

    /// What has to happen before this node is a member.
    fn wanted(&self, round: &Round) -> String {
        let new = round.fresh.len() + 1;
        match self.expect {
            _ if !round.members.is_empty() => {
                "the leader of the cluster to take this node in".into()
            }
            Some(expect) if new > expect => {
                format!("fewer new nodes: {expect} are expected and {new} are there")
            }
            Some(expect) => format!("new nodes, {new} of {expect} are there"),
            None => "a member of the cluster to join".into(),
        }
    }

    async fn ask_to_join(&mut self, round: &Round) -> Result<Option<ClusterId>, KeeperError> {
        let address = self.cluster.address.clone();
        let call = Call::Join { address, learner: self.cluster.learner };
        match self.find(&call, round.members.iter().map(|member| member.0.clone()).collect()).await
        {
            LeaderFound::Answer(Reply::Joined(cluster)) => return Ok(Some(cluster)),
            LeaderFound::Answer(Reply::Refused(why)) | LeaderFound::Refused(why) => {
                self.refused(why)?
            }
            LeaderFound::Answer(_) | LeaderFound::Nobody => {}
        }
        Ok(None)
    }

    /// A member without a leader goes from door to door: others may have moved, as it may itself.
    async fn look_for_others(&mut self) {
        let metrics = self.cluster.raft.metrics();
        let members = metrics.membership.members().len();
        if metrics.leader.is_some() || members == 1 {
            self.empty = None;
            return self.cluster.stage.wait_for(String::new());
        }
        if members == 0 {
            // So it is for a moment when a cluster begins.
            let since = *self.empty.get_or_insert_with(clock::now);
            if clock::now().saturating_since(since) < limits::LEADER_PATIENCE {
                return;
            }
        }
        let round = self.cluster.knock(&self.join).await;
        if self.cluster.raft.current_leader().is_none() {
            let voters = metrics.membership.voters.len();
            let wanted = match members {
                0 => "the leader of its cluster, of which this node holds nothing yet (where the \
                      node that began it has lost its disk and all others wait like this one, \
                      nothing is lost; give each an empty data directory, and they begin anew)"
                    .to_owned(),
                _ => format!(
                    "a leader, which a majority of the {voters} voters elects (where that is lost \
                     for good, `nacolet recover --alone` makes a cluster of one member)"
                ),
            };
            self.waiting.tell(&self.cluster, &wanted, &round.missed);
        }
    }

    /// A node that founded a cluster of its own and has data must not throw it away by joining
    /// another.
    async fn check_foreign(&self) -> Result<(), KeeperError> {
        if self.join.is_empty() || self.cluster.record.borrow().is_some() {
            return Ok(());
        }
        let Ok(status) = self.cluster.raft.status().await else { return Ok(()) };
        let alone = status.membership.members().iter().all(|node| *node == self.cluster.me());
        if alone { Err(KeeperError::Foreign) } else { Ok(()) }
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

    /// Says in the log who came, moved, got a vote or went.
    fn tell_changes(&mut self, now: &Membership) {
        let before = std::mem::replace(&mut self.told, now.clone());
        if before == *now || before.members().is_empty() {
            return;
        }
        for (member, address) in &now.addresses {
            let vote = now.is_voter(*member);
            match before.addresses.get(member) {
                None => tracing::info!(%member, %address, vote, "a member joins"),
                Some(old) if old != address => tracing::info!(%member, %address, "a member moved"),
                Some(_) if vote != before.is_voter(*member) => {
                    tracing::info!(%member, %address, vote, "a member has another vote");
                }
                Some(_) => {}
            }
        }
        let gone = before.addresses.iter().filter(|(member, _)| !now.contains(**member));
        for (member, address) in gone {
            tracing::info!(%member, %address, "a member left");
        }
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
        if self.refusals < limits::JOIN_REFUSALS_MAX {
            Ok(())
        } else {
            Err(KeeperError::Refused(why))
        }
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
    async fn look(&mut self) -> Result<KeeperStep, KeeperError> {
        let metrics = self.cluster.raft.metrics();
        let membership = self.memberships.in_force.borrow().clone();
        let me = self.cluster.me();
        if !membership.contains(me) {
            // One that catches up passes through times when it was no member yet.
            return if self.was_member { Err(self.removed()) } else { Ok(KeeperStep::Again) };
        }
        self.was_member = true;
        self.tell_changes(&membership);
        self.remember(&membership);
        let known = membership.addresses.get(&me) == Some(&self.cluster.address);
        if metrics.role == engine::RoleKind::Leader {
            self.announced = true;
            return Ok(if known { KeeperStep::Rest } else { self.correct_own_address().await });
        }
        if !self.announced || !known {
            return self.announce(&metrics).await;
        }
        if !membership.learners.contains(&me) {
            return Ok(KeeperStep::Rest);
        }
        if self.cluster.learner {
            return self.ask_for_membership(&metrics).await;
        }
        Ok(self.ask_for_vote().await)
    }

    async fn correct_own_address(&self) -> KeeperStep {
        let (node, address) = (self.cluster.me(), self.cluster.address.clone());
        let change = MembershipChange::AddLearner { node, address };
        let corrected = self.cluster.change_here(change).await == Reply::Done;
        if corrected { KeeperStep::Rest } else { KeeperStep::Again }
    }

    async fn announce(&mut self, metrics: &Metrics) -> Result<KeeperStep, KeeperError> {
        let alone = metrics.membership.members().len() < 2;
        if alone {
            // It will lead itself in a moment.
            return Ok(KeeperStep::Again);
        }
        let address = self.cluster.address.clone();
        let call = Call::Announce { address, last: metrics.last_log.index };
        match self.find(&call, self.cluster.targets(&self.join)).await {
            LeaderFound::Answer(Reply::Done) => {
                self.announced = true;
                self.refusals = 0;
                Ok(KeeperStep::Again)
            }
            LeaderFound::Answer(Reply::Refused(why)) if why == NOT_A_MEMBER => Err(self.removed()),
            LeaderFound::Answer(Reply::Refused(why)) => {
                self.refused(why).map(|()| KeeperStep::Again)
            }
            LeaderFound::Answer(_) | LeaderFound::Nobody | LeaderFound::Refused(_) => {
                Ok(KeeperStep::Again)
            }
        }
    }

    /// Asks the leader on the link that is open anyway; whether it answers is its affair.
    async fn ask_for_membership(&self, metrics: &Metrics) -> Result<KeeperStep, KeeperError> {
        let Some(leader) = metrics.leader else { return Ok(KeeperStep::Later) };
        let address = self.cluster.address.clone();
        let call = Call::Announce { address, last: metrics.last_log.index };
        match self.cluster.ask(leader, call).await {
            Ok(Reply::Refused(why)) if why == NOT_A_MEMBER => Err(self.removed()),
            Ok(_) | Err(_) => Ok(KeeperStep::Later),
        }
    }

    async fn ask_for_vote(&self) -> KeeperStep {
        if let Some(leader) = self.cluster.raft.current_leader() {
            // Refused until this node has caught up; the membership tells when it worked.
            let _ = self.cluster.ask(leader, Call::Promote).await;
        }
        KeeperStep::Again
    }

    /// Asks the leader, wherever it is: whoever is known is asked for it.
    async fn find(&self, call: &Call, mut targets: VecDeque<String>) -> LeaderFound {
        let mut asked = BTreeSet::new();
        let mut refused = None;
        while let Some(target) = targets.pop_front() {
            if asked.len() >= limits::JOIN_ASKED_MAX || !asked.insert(target.clone()) {
                continue;
            }
            match self.cluster.transport.visit(&target, call.clone()).await {
                Ok((_, Reply::NotLeader { leader: Some((_, address)) })) => {
                    // One that lost its disk may be told of itself as it was.
                    if peer_of(&address) != peer_of(&self.cluster.address) {
                        targets.push_front(peer_of(&address).to_owned());
                    }
                }
                Ok((_, Reply::NotLeader { leader: None } | Reply::Busy | Reply::Unknown)) => {}
                Ok((_, answer)) => return LeaderFound::Answer(answer),
                Err(error) if is_final(&error) => refused = Some(format!("{target}: {error}")),
                Err(error) => tracing::debug!(%target, %error, "not reached"),
            }
        }
        refused.map_or(LeaderFound::Nobody, LeaderFound::Refused)
    }
}

/// What came of asking for the leader.
enum LeaderFound {
    Answer(Reply),
    /// Somebody is there and does not let this node in.
    Refused(String),
    Nobody,
}
