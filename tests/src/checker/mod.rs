//! Everything that watches a simulated world, one file per promise. The first broken promise is kept;
//! the world stops at it.

mod acknowledged;
pub mod linearizable;
mod listeners;
mod local_reads;
mod naming;
mod raft_safety;
mod state_hash;

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use nacolet_model::{ConfigKey, Instant, NodeId};
use nacolet_raft::{Entry, HardState, LogIndex, Membership, Message, Metrics, SnapshotMeta};

use crate::disk::{Disk, LogView};
use crate::inbox::ReadAnswer;
use crate::machine::{Command, Refused, Response, Shared};

pub use acknowledged::Final;
pub(crate) use acknowledged::{content_of, serial_of};
pub use listeners::Heard;
pub(crate) use naming::{Census, Home, Listed, NodeLook, Told};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one: P1 to P8 of the test programme, or `raft`.
    pub promise: &'static str,
    /// What happened.
    pub what: String,
}

/// What was done and seen; a run that saw nothing proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes that certainly had no effect.
    pub refused: u64,
    /// Writes whose outcome nobody knows.
    pub unknown: u64,
    /// Reads of one node's state.
    pub local_reads: u64,
    /// Reads confirmed by the leader.
    pub linear_reads: u64,
    /// Changes that listeners heard of.
    pub heard: u64,
    /// Beats that were answered.
    pub beats: u64,
    /// Instances that connections published.
    pub published: u64,
    /// Lists that subscribers read.
    pub lists: u64,
    /// Snapshots that a leader sent and a follower installed.
    pub installs: u64,
    /// Terms that had a leader.
    pub leaders: u64,
    /// Memberships that took effect, the first one included.
    pub memberships: u64,
    /// Keys whose history was too tangled to decide.
    pub undecided: u64,
}

#[derive(Default)]
struct Book {
    violation: Option<Violation>,
    clients_only: bool,
    tally: Tally,
    ledger: acknowledged::Ledger,
    hashes: state_hash::Hashes,
    reads: local_reads::LocalReads,
    safety: raft_safety::Safety,
    listeners: listeners::Listeners,
    naming: naming::Registrations,
    histories: linearizable::Histories,
}

/// A check's outcome: what is wrong, if something is.
pub(crate) type Check = Result<(), String>;

/// All checkers of one world. Clones are the same ones.
#[derive(Clone, Default)]
pub struct Checkers(Rc<RefCell<Book>>);

impl std::fmt::Debug for Checkers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkers").field("violation", &self.violation()).finish_non_exhaustive()
    }
}

impl Checkers {
    /// The first broken promise.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.0.borrow().violation.clone()
    }

    /// What was done and seen so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let book = self.0.borrow();
        let (leaders, memberships) = book.safety.counts();
        Tally { leaders, memberships, ..book.tally }
    }

    /// Notes a broken promise.
    pub fn fail(&self, promise: &'static str, what: String) {
        self.0.borrow_mut().violation.get_or_insert(Violation { promise, what });
    }

    /// Looks away from what happens inside of Raft: only what clients and operators could see counts.
    pub fn believe_clients_only(&self) {
        self.0.borrow_mut().clients_only = true;
    }

    fn check(&self, promise: &'static str, check: impl FnOnce(&mut Book) -> Check) {
        if promise == "raft" && self.0.borrow().clients_only {
            return;
        }
        let outcome = check(&mut self.0.borrow_mut());
        if let Err(what) = outcome {
            self.fail(promise, what);
        }
    }

    fn tally_mut(&self) -> RefMut<'_, Tally> {
        RefMut::map(self.0.borrow_mut(), |book| &mut book.tally)
    }

    // ---- what nodes do ----

    /// A node starts from what is on its disk.
    pub(crate) fn recovered(
        &self,
        node: NodeId,
        hard_state: &HardState,
        entries: &[Entry],
        purged: LogIndex,
        snapshot: Option<&SnapshotMeta>,
    ) {
        let start = snapshot.map_or(0, |meta| meta.last.index.0);
        self.0.borrow_mut().ledger.restarted(node, start);
        self.check("raft", |book| book.safety.recovered(node, hard_state));
        self.check("raft", |book| book.safety.stored(entries));
        if purged.0 > start {
            self.fail(
                "P1",
                format!("{node} starts at {start} with a log purged up to {}", purged.0),
            );
        }
    }

    /// A snapshot was read back.
    pub(crate) fn snapshot_recovered(&self, node: NodeId, meta: &SnapshotMeta) {
        self.check("raft", |book| book.safety.snapshot(node, meta));
    }

    /// Entries are written to a log.
    pub(crate) fn stored(&self, _node: NodeId, entries: &[Entry]) {
        self.check("raft", |book| book.safety.stored(entries));
    }

    /// A command was applied.
    pub(crate) fn applied(
        &self,
        node: NodeId,
        _life: u64,
        index: LogIndex,
        command: &Command,
        result: &Result<Response, Refused>,
    ) {
        self.check("P1", |book| book.ledger.applied(node, index.0, command, result));
    }

    /// A batch was applied.
    pub(crate) fn batch_applied(&self, node: NodeId, applied: LogIndex, shared: &Shared) {
        self.check("P4", |book| book.hashes.at(node, applied.0, shared));
    }

    /// A snapshot became the state.
    pub(crate) fn loaded(&self, node: NodeId, index: LogIndex, shared: &Shared) {
        self.0.borrow_mut().ledger.restarted(node, index.0);
        self.check("P4", |book| book.hashes.at(node, index.0, shared));
    }

    /// A node shows its configs to a client.
    pub(crate) fn shows(&self, node: NodeId, applied: u64) {
        self.check("P3", |book| book.reads.shows(node, applied));
    }

    /// A leader's snapshot replaced the state of a running node.
    pub(crate) fn installed(&self) {
        self.tally_mut().installs += 1;
    }

    /// A membership took effect.
    pub(crate) fn membership(&self, node: NodeId, index: LogIndex, membership: &Membership) {
        self.check("raft", |book| book.safety.membership(node, index, membership));
    }

    /// A message leaves a node.
    pub(crate) fn sent(&self, node: NodeId, to: NodeId, message: &Message, disk: &LogView) {
        self.check("raft", |book| book.safety.sent(node, to, message, disk));
    }

    /// A node after an event.
    pub(crate) fn observed(&self, life: u64, metrics: &Metrics, disks: &[(NodeId, Disk)]) {
        self.check("raft", |book| book.safety.observed(life, metrics, disks));
    }

    // ---- what clients do ----

    /// Begins an operation on a key.
    pub(crate) fn begin(
        &self,
        key: &ConfigKey,
        action: linearizable::Action,
    ) -> linearizable::OpId {
        self.0.borrow_mut().histories.begin(key, action)
    }

    /// Ends an operation on a key.
    pub(crate) fn end(&self, op: &linearizable::OpId, end: linearizable::End) {
        if matches!(end, linearizable::End::Read(_)) {
            self.tally_mut().linear_reads += 1;
        }
        self.0.borrow_mut().histories.end(op, end);
    }

    /// How many operations a key has had.
    pub(crate) fn operations(&self, key: &ConfigKey) -> usize {
        self.0.borrow().histories.operations(key)
    }

    /// A write was acknowledged.
    pub(crate) fn acknowledged(&self, serial: u64) {
        self.tally_mut().acknowledged += 1;
        self.check("P1", |book| book.ledger.acknowledged(serial));
    }

    /// A write certainly had no effect.
    pub(crate) fn refused(&self, serial: u64) {
        self.tally_mut().refused += 1;
        self.check("P2", |book| book.ledger.refused(serial));
    }

    /// Nobody knows what became of a write.
    pub(crate) fn unknown(&self) {
        self.tally_mut().unknown += 1;
    }

    /// A client read the state of one node.
    pub(crate) fn read(&self, node: NodeId, key: &ConfigKey, answer: &ReadAnswer) {
        self.tally_mut().local_reads += 1;
        self.check("P3", |book| local_reads::LocalReads::read(node, key, answer, &book.ledger));
    }

    /// A listener heard of a change.
    pub(crate) fn heard(&self, heard: &Heard<'_>) {
        self.tally_mut().heard += 1;
        self.check("P5", |book| book.listeners.heard(heard));
    }

    /// A listener read anew for another reason than a change: it moved to another node.
    pub(crate) fn holds(&self, heard: &Heard<'_>) {
        self.0.borrow_mut().listeners.holds(heard);
    }

    // ---- what clients of the registry do ----

    /// A client begins to register or to beat.
    pub(crate) fn comes(&self, port: u16) {
        self.0.borrow_mut().naming.comes(port);
    }

    /// A beat or a registration was answered.
    pub(crate) fn beaten(&self, now: Instant, port: u16, home: Home) {
        self.tally_mut().beats += 1;
        self.0.borrow_mut().naming.beaten(now, port, home);
    }

    /// A connection published an instance.
    pub(crate) fn connected(&self, now: Instant, port: u16, home: Home) {
        self.tally_mut().published += 1;
        self.0.borrow_mut().naming.connected(now, port, home);
    }

    /// A connection broke.
    pub(crate) fn broken(&self, now: Instant, port: u16, home: Home) {
        self.0.borrow_mut().naming.broken(now, port, home);
    }

    /// A client asks a node to take its instance out.
    pub(crate) fn leaves(&self, now: Instant, port: u16, node: NodeId) {
        self.0.borrow_mut().naming.leaves(now, port, node);
    }

    /// An instance was taken out.
    pub(crate) fn left(&self, now: Instant, port: u16, node: NodeId) {
        self.0.borrow_mut().naming.left(now, port, node);
    }

    /// An operator asks a node to take an instance out.
    pub(crate) fn disturbed(&self, now: Instant, port: u16, node: NodeId) {
        self.0.borrow_mut().naming.disturbed(now, port, node);
    }

    /// What a client wants to be at the end.
    pub(crate) fn settles(&self, port: u16, lives: bool) {
        self.0.borrow_mut().naming.settles(port, lives);
    }

    /// A subscriber was told.
    pub(crate) fn told(&self, subscriber: u64, told: Told) {
        self.tally_mut().lists += 1;
        self.check("P6", |book| book.naming.told(subscriber, told));
    }

    /// What all nodes list now.
    pub(crate) fn lists(&self, census: &Census<'_>) {
        self.check("P7", |book| book.naming.look(census));
    }

    /// What differs from what all nodes should list, if anything.
    pub(crate) fn difference(&self, looks: &[NodeLook], all: bool) -> Option<String> {
        self.0.borrow().naming.difference(looks, all)
    }

    // ---- the end ----

    /// After healing: the durability scan, the listeners and the histories.
    pub(crate) fn finish(&self, states: &[Final<'_>]) {
        self.check("P1", |book| book.ledger.scan(states));
        self.check("P5", |book| book.listeners.finish(&book.ledger));
        let mut undecided = 0;
        self.check("P2", |book| book.histories.check(&book.ledger, &mut undecided));
        self.tally_mut().undecided = undecided;
        if undecided > 0 {
            self.fail("P2", format!("{undecided} histories are too tangled to decide"));
        }
    }
}
