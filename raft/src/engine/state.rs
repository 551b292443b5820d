//! What an engine holds. The rules are in the files above, each an `impl Engine` of one subject.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use nacolet_model::{Duration, Instant, NodeId, Prng};

use super::config::EngineConfig;
use super::io::{Output, PersistId};
use super::log::LogTail;
use super::message::Message;
use super::role::{LeaderTransfer, Role, RoleKind};
use crate::types::{HardState, LogId, LogIndex, Membership, SnapshotMeta, Term};

/// One member of a Raft group, as a value. See the page of [`crate::engine`] for its use.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(super) config: EngineConfig,
    pub(super) random: Prng,
    /// The latest time any input named.
    pub(super) now: Instant,
    pub(super) term: Term,
    pub(super) voted_for: Option<NodeId>,
    /// Who leads in `term`, if known.
    pub(super) leader: Option<NodeId>,
    pub(super) role: Role,
    /// The membership in force: the last one applied.
    pub(super) membership: Membership,
    /// How many took effect since the start.
    pub(super) memberships_entered: u64,
    pub(super) log: LogTail,
    /// The timeout drawn for the current wait.
    pub(super) election_timeout: Duration,
    pub(super) election_deadline: Instant,
    /// Times it stood for election since it last knew a leader.
    pub(super) candidacies: u32,
    /// When a leader other than this node was last heard.
    pub(super) heard_leader: Option<Instant>,
    /// After a restart, with lease reads, the promise given to a leader before may still hold.
    pub(super) no_votes_before: Instant,
    /// A transfer that made this node step down, until the next leader is known.
    pub(super) handing_over: Option<LeaderTransfer>,
    pub(super) durability: Durability,
    pub(super) snapshots: Snapshots,
    /// Messages that go out at the end of the turn.
    pub(super) outbox: Vec<(NodeId, Message)>,
    /// Outputs that go out at the end of the step.
    pub(super) answers: Vec<Output>,
    /// What was last announced.
    pub(super) announced: Option<Announced>,
    /// Messages that no honest peer sends.
    pub(super) dropped_messages: u64,
}

/// Orders to persist and what waits for them.
#[derive(Clone, Debug)]
pub(super) struct Durability {
    /// Hard state of the last order.
    pub(super) ordered: HardState,
    /// Term of the last record that is durable.
    pub(super) durable_term: Term,
    pub(super) last_id: PersistId,
    /// Orders that are not durable yet, ascending.
    pub(super) pending: VecDeque<PendingPersist>,
    /// Messages that wait, in the order in which they were made.
    pub(super) held: VecDeque<HeldMessage>,
}

/// An order that is not durable yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingPersist {
    pub(super) id: PersistId,
    pub(super) term: Term,
    /// It holds a new term or vote.
    pub(super) decided: bool,
    /// Once this order is durable, so is the log up to here.
    pub(super) log_until: LogIndex,
}

/// A message that waits for an order to be durable.
#[derive(Clone, Debug)]
pub(super) struct HeldMessage {
    /// The order waited for; `None` until the end of the turn names it.
    pub(super) until: Option<PersistId>,
    pub(super) to: NodeId,
    pub(super) message: Message,
}

impl Durability {
    pub(super) fn new(hard_state: HardState) -> Self {
        Self {
            ordered: hard_state,
            durable_term: hard_state.term,
            last_id: PersistId(0),
            pending: VecDeque::new(),
            held: VecDeque::new(),
        }
    }

    /// The log was cut: nothing from `from` on will ever become durable by an order given before.
    pub(super) fn log_was_cut(&mut self, from: LogIndex) {
        for pending in &mut self.pending {
            pending.log_until = pending.log_until.min(from.previous());
        }
    }

    /// Whether a crash would leave this node in `term`, or in a later one.
    pub(super) fn is_durable(&self, term: Term) -> bool {
        term <= self.durable_term
    }

    /// Whether a term or a vote is on its way to the disk.
    pub(super) fn is_deciding(&self) -> bool {
        self.pending.iter().any(|pending| pending.decided)
    }

    pub(super) fn invariants(&self) {
        let ids = self.pending.iter().map(|pending| pending.id);
        assert!(ids.clone().is_sorted(), "orders are ascending");
        assert!(ids.max().unwrap_or(self.last_id) <= self.last_id);
        assert!(self.held.iter().all(|held| {
            held.until.is_none_or(|id| self.pending.iter().any(|pending| pending.id == id))
        }));
    }
}

/// Snapshots built, wanted and being installed.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshots {
    /// Where the newest durable one ends.
    pub(super) last: LogId,
    /// A follower waits for one that ends in or behind the tail.
    pub(super) needed: bool,
    /// One is wanted by hand.
    pub(super) triggered: bool,
    /// One is being built.
    pub(super) building: bool,
    /// Applied index when the last one was ordered.
    pub(super) ordered_at: LogIndex,
    /// Bytes applied since then.
    pub(super) bytes: u64,
    /// After a failure none is ordered before this.
    pub(super) retry_at: Instant,
    /// The received one that is replacing state and log.
    pub(super) installing: Option<SnapshotMeta>,
}

impl Snapshots {
    /// At start: the newest snapshot ends at `last`.
    pub(super) fn new(last: LogId) -> Self {
        Self { last, ordered_at: last.index, ..Self::default() }
    }

    pub(super) fn count_applied(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

/// What `Output::StatusChanged` tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) term: Term,
    pub(super) role: RoleKind,
    pub(super) leader: Option<NodeId>,
    /// Numbers the memberships that took effect; cheaper to compare than they are.
    pub(super) membership: u64,
}
