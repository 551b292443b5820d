//! All checkers of one world: what its parts tell goes to the checks of every promise, and the
//! first one that is broken is kept.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use nacolet_machine::{Command, Refused, Response, State};
use nacolet_model::{ConfigKey, Instant, NodeId};
use nacolet_raft::{Entry, HardState, LogIndex, Membership, Message, Metrics, SnapshotMeta};

use super::acknowledged::{Final, Ledger};
use super::check::{Broken, Finding};
use super::linearizable::{Histories, OpId};
use super::listeners::{Heard, Listeners};
use super::local_reads::LocalReads;
use super::naming::{Census, Home, NodeLook, Registrations, Told};
use super::raft_safety::Safety;
use super::state_hash::Hashes;
use super::tally::Tally;
use crate::inbox::ReadAnswer;
use crate::log::{DurableLog, LogView};
use crate::operation::{Action, End};
use crate::promise::Violation;
use crate::story::{Line, Story, Who, words};
use crate::subject::Subject;

#[derive(Default)]
struct Book {
    violation: Option<Violation>,
    clients_only: bool,
    tally: Tally,
    ledger: Ledger,
    hashes: Hashes,
    reads: LocalReads,
    safety: Safety,
    listeners: Listeners,
    naming: Registrations,
    histories: Histories<ConfigKey>,
}

/// All checkers of one world. Clones are the same ones.
#[derive(Clone)]
pub struct Checkers {
    book: Rc<RefCell<Book>>,
    story: Story,
}

impl std::fmt::Debug for Checkers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkers").field("violation", &self.violation()).finish_non_exhaustive()
    }
}

impl Checkers {
    /// Checkers that tell a story what they see.
    #[must_use]
    pub fn new(story: Story) -> Self {
        Self { book: Rc::default(), story }
    }

    /// Tells what clients of the registry and nodes have to do with an instance.
    fn tell(&self, node: NodeId, port: u16, what: &str) {
        self.story.tell(|| {
            Line::of(node, what.replace("{}", &port.to_string())).about(Subject::Port(port))
        });
    }

    fn tell_quietly(&self, home: Home, port: u16, what: &str, counted_as: &'static str) {
        let line = || Line::of(home.0, format!("{what} {port}")).about(Subject::Port(port));
        self.story.tell(|| line().quiet(counted_as));
    }

    /// The first broken promise.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.book.borrow().violation.clone()
    }

    /// What was done and seen so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let book = self.book.borrow();
        let (leaders, memberships) = book.safety.counts();
        Tally { leaders, memberships, ..book.tally }
    }

    /// Notes a broken promise of the whole cluster.
    pub fn fail(&self, promise: &'static str, what: String) {
        self.fail_about(promise, Subject::Cluster, what);
    }

    /// Notes a broken promise. The first one counts.
    pub fn fail_about(&self, promise: &'static str, about: Subject, what: String) {
        let violation = &mut self.book.borrow_mut().violation;
        if violation.is_none() {
            self.story.fails(Who::World, || {
                let first = what.lines().next().unwrap_or_default();
                format!("sees that {promise} is broken: {first}")
            });
            *violation = Some(Violation { promise, what, about });
        }
    }

    /// Looks away from what happens inside of Raft: only what clients and operators could see
    /// counts.
    pub fn believe_clients_only(&self) {
        self.book.borrow_mut().clients_only = true;
    }

    fn check<F: Finding>(
        &self,
        promise: &'static str,
        about: impl FnOnce() -> Subject,
        check: impl FnOnce(&mut Book) -> F,
    ) {
        if promise == "raft" && self.book.borrow().clients_only {
            return;
        }
        let finding = check(&mut self.book.borrow_mut());
        if let Some(Broken { what, about }) = finding.broken(about) {
            self.fail_about(promise, about, what);
        }
    }

    fn tally_mut(&self) -> RefMut<'_, Tally> {
        RefMut::map(self.book.borrow_mut(), |book| &mut book.tally)
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
        self.book.borrow_mut().ledger.restarted(node, start);
        self.check("raft", || Subject::Node(node), |book| book.safety.recovered(node, hard_state));
        self.check("raft", || Subject::Node(node), |book| book.safety.stored(entries));
        if purged.0 > start {
            self.fail(
                "P1",
                format!("{node} starts at {start} with a log purged up to {}", purged.0),
            );
        }
    }

    /// A snapshot was read back.
    pub(crate) fn snapshot_recovered(&self, node: NodeId, meta: &SnapshotMeta) {
        self.check("raft", || Subject::Node(node), |book| book.safety.snapshot(node, meta));
    }

    /// Entries are written to a log.
    pub(crate) fn stored(&self, node: NodeId, entries: &[Entry]) {
        self.check("raft", || Subject::Node(node), |book| book.safety.stored(entries));
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
        self.check(
            "P1",
            || Subject::Entry(index.0),
            |book| book.ledger.applied(node, index.0, command, result),
        );
    }

    /// A batch was applied.
    pub(crate) fn batch_applied(&self, node: NodeId, applied: LogIndex, state: &State) {
        self.check(
            "P4",
            || Subject::Entry(applied.0),
            |book| book.hashes.at(node, applied.0, state),
        );
    }

    /// A snapshot became the state.
    pub(crate) fn loaded(&self, node: NodeId, index: LogIndex, state: &State) {
        self.book.borrow_mut().ledger.restarted(node, index.0);
        self.check("P4", || Subject::Entry(index.0), |book| book.hashes.at(node, index.0, state));
    }

    /// A node shows its configs to a client.
    pub(crate) fn shows(&self, node: NodeId, applied: u64) {
        self.check("P3", || Subject::Node(node), |book| book.reads.shows(node, applied));
    }

    /// The newest acknowledged write, by log index.
    pub(crate) fn newest(&self) -> u64 {
        self.book.borrow().ledger.newest()
    }

    /// A node confirmed a linearizable read at this index, which was asked for when `before` was
    /// the newest acknowledged write.
    pub(crate) fn confirmed(&self, node: NodeId, index: u64, before: u64) {
        self.check("P2", || Subject::Entry(before), |_| LocalReads::confirmed(node, index, before));
    }

    /// A leader's snapshot replaced the state of a running node.
    pub(crate) fn installed(&self) {
        self.tally_mut().installs += 1;
    }

    /// A membership took effect.
    pub(crate) fn membership(&self, node: NodeId, index: LogIndex, membership: &Membership) {
        self.check(
            "raft",
            || Subject::Entry(index.0),
            |book| book.safety.membership(node, index, membership),
        );
    }

    /// A message leaves a node.
    pub(crate) fn sent(&self, node: NodeId, to: NodeId, message: &Message, disk: &LogView) {
        self.check(
            "raft",
            || Subject::Node(node),
            |book| book.safety.sent(node, to, message, disk),
        );
    }

    /// A node after an event.
    pub(crate) fn observed(&self, life: u64, metrics: &Metrics, logs: &[(NodeId, DurableLog)]) {
        self.check(
            "raft",
            || Subject::Node(metrics.id),
            |book| book.safety.observed(life, metrics, logs),
        );
    }

    // ---- what clients do ----

    /// Begins an operation on a key.
    pub(crate) fn begin(&self, key: &ConfigKey, action: Action) -> OpId<ConfigKey> {
        self.book.borrow_mut().histories.begin(key, action)
    }

    /// Ends an operation on a key.
    pub(crate) fn end(&self, op: &OpId<ConfigKey>, end: End) {
        if matches!(end, End::Read(_)) {
            self.tally_mut().linear_reads += 1;
        }
        self.book.borrow_mut().histories.end(op, end);
    }

    /// How many operations a key has had.
    pub(crate) fn operations(&self, key: &ConfigKey) -> usize {
        self.book.borrow().histories.operations(key)
    }

    /// A write was acknowledged.
    pub(crate) fn acknowledged(&self, serial: u64) {
        self.tally_mut().acknowledged += 1;
        self.check("P1", || Subject::Write(serial), |book| book.ledger.acknowledged(serial));
    }

    /// A write certainly had no effect.
    pub(crate) fn refused(&self, serial: u64) {
        self.tally_mut().refused += 1;
        self.check("P2", || Subject::Write(serial), |book| book.ledger.refused(serial));
    }

    /// Nobody knows what became of a write.
    pub(crate) fn unknown(&self) {
        self.tally_mut().unknown += 1;
    }

    /// A client read the state of one node.
    pub(crate) fn read(&self, node: NodeId, key: &ConfigKey, answer: &ReadAnswer) {
        self.tally_mut().local_reads += 1;
        self.story.tell(|| {
            let line = Line::of(node, format!("shows {}", words::shown(key, answer)));
            line.about(Subject::Key(key.clone())).quiet("reads")
        });
        self.check(
            "P3",
            || Subject::Key(key.clone()),
            |book| LocalReads::read(node, key, answer, &book.ledger),
        );
    }

    /// A listener heard of a change.
    pub(crate) fn heard(&self, heard: &Heard<'_>) {
        self.tally_mut().heard += 1;
        self.story.tell(|| {
            let Heard { listener, node, key, answer } = *heard;
            let shown = words::shown(key, answer);
            let line = Line::of(node, format!("wakes listener {listener}, which reads {shown}"));
            line.about(Subject::Key(key.clone()))
        });
        self.check("P5", || Subject::Key(heard.key.clone()), |book| book.listeners.heard(heard));
    }

    /// A listener read anew for another reason than a change: it moved to another node.
    pub(crate) fn holds(&self, heard: &Heard<'_>) {
        self.book.borrow_mut().listeners.holds(heard);
    }

    // ---- what clients of the registry do ----

    /// A client begins to register or to beat.
    pub(crate) fn comes(&self, port: u16) {
        self.book.borrow_mut().naming.comes(port);
    }

    /// A beat or a registration was answered.
    pub(crate) fn beaten(&self, now: Instant, port: u16, home: Home) {
        self.tally_mut().beats += 1;
        self.tell_quietly(home, port, "answers beats or registrations of", "beats");
        self.book.borrow_mut().naming.beaten(now, port, home);
    }

    /// A connection published an instance.
    pub(crate) fn connected(&self, now: Instant, port: u16, home: Home) {
        self.tally_mut().published += 1;
        self.tell_quietly(home, port, "has a connection that publishes", "publications");
        self.book.borrow_mut().naming.connected(now, port, home);
    }

    /// A connection broke.
    pub(crate) fn broken(&self, now: Instant, port: u16, home: Home) {
        self.tell(home.0, port, "loses its connection with {}");
        self.book.borrow_mut().naming.broken(now, port, home);
    }

    /// A client asks a node to take its instance out.
    pub(crate) fn leaves(&self, now: Instant, port: u16, node: NodeId) {
        self.tell(node, port, "is asked by its client to take {} out");
        self.book.borrow_mut().naming.leaves(now, port, node);
    }

    /// An instance was taken out.
    pub(crate) fn left(&self, now: Instant, port: u16, node: NodeId) {
        self.tell(node, port, "answers that {} is out");
        self.book.borrow_mut().naming.left(now, port, node);
    }

    /// An operator asks a node to take an instance out.
    pub(crate) fn disturbed(&self, now: Instant, port: u16, node: NodeId) {
        self.tell(node, port, "has an operator who takes {} out");
        self.book.borrow_mut().naming.disturbed(now, port, node);
    }

    /// What a client wants to be at the end.
    pub(crate) fn settles(&self, port: u16, lives: bool) {
        self.story.tell(|| {
            let text = if lives { "lives on to the end" } else { "is gone for good" };
            Line::of(Who::World, format!("the client of {port} {text}")).about(Subject::Port(port))
        });
        self.book.borrow_mut().naming.settles(port, lives);
    }

    /// A subscriber was told.
    pub(crate) fn told(&self, subscriber: u64, told: Told) {
        self.tally_mut().lists += 1;
        self.story.tell(|| {
            let list = words::list(&told.answer);
            let line = Line::of(told.home.0, format!("shows subscriber {subscriber} {list}"));
            line.about(Subject::Client(subscriber)).quiet("lists")
        });
        self.check("P6", || Subject::Client(subscriber), |book| book.naming.told(subscriber, told));
    }

    /// What all nodes list now.
    pub(crate) fn lists(&self, census: &Census<'_>) {
        self.check("P7", || Subject::Cluster, |book| book.naming.look(census));
    }

    /// What differs from what all nodes should list, if anything.
    pub(crate) fn difference(&self, looks: &[NodeLook], all: bool) -> Option<Broken> {
        self.book.borrow().naming.difference(looks, all)
    }

    // ---- the end ----

    /// After healing: the durability scan, the listeners and the histories.
    pub(crate) fn finish(&self, states: &[Final<'_>]) {
        self.check("P1", || Subject::Cluster, |book| book.ledger.scan(states));
        self.check("P5", || Subject::Cluster, |book| book.listeners.finish(&book.ledger));
        let mut undecided = 0;
        self.check(
            "P2",
            || Subject::Cluster,
            |book| book.histories.check(&book.ledger, &mut undecided),
        );
        self.tally_mut().undecided = undecided;
        if undecided > 0 {
            self.fail("P2", format!("{undecided} histories are too tangled to decide"));
        }
    }
}
