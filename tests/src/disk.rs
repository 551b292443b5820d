//! The disk of one node, and what a power cut leaves of it. Two parts: a log file made of records,
//! and a directory of snapshot files. What was synced stays. What was not may be kept, lost or
//! torn, each record for itself, because a disk writes its sectors in any order it likes.
//!
//! The disk outlives the node. Everything a dead node ordered and that has not happened yet is
//! void: orders carry the life of the node that gave them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use nacolet_model::{Duration, NodeId, Prng};
use nacolet_raft::engine::PersistId;
use nacolet_raft::{
    AppendError, Completion, Entry, HardState, LogIndex, RaftLogStorage, Recovered, SnapshotMeta,
    StorageError,
};

use crate::checker::Checkers;
use crate::directory::Directory;
use crate::kernel::Kernel;
use crate::log::{DurableLog, LogView, Record, decode, encode};
use crate::planted::Planted;
use crate::story::{Line, words};

/// A card that moves its blocks around stands still for so long.
const SPIKE: Duration = Duration::from_secs(1);
/// Orders that one sync serves at most.
const BATCH_MAX: usize = 8;

/// A record in the log file.
#[derive(Clone, Debug)]
struct Stored {
    bytes: Vec<u8>,
    record: Record,
    synced: bool,
}

struct Order {
    id: PersistId,
    record: Record,
    done: Completion,
}

/// How a disk behaves.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// A write or a sync takes up to this long.
    pub latency_max: Duration,
    /// Out of a hundred writes and syncs, how many take as long as `SPIKE`.
    pub spikes_percent: u64,
    /// Out of a hundred power cuts, how many lose something unsynced; the others lose all of it.
    pub mixed_percent: u64,
}

pub(crate) struct State {
    pub(crate) kernel: Kernel,
    pub(crate) checkers: Checkers,
    pub(crate) node: NodeId,
    pub(crate) planted: Option<Planted>,
    pub(crate) life: u64,
    pub(crate) prng: Prng,
    pub(crate) manners: Manners,
    /// Out of a hundred writes, how many find no space: a large one may not fit where a small one
    /// does.
    pub(crate) full_percent: u64,
    pub(crate) directory: Directory,
    log: Vec<Stored>,
    durable: Rc<RefCell<LogView>>,
    queue: VecDeque<Order>,
    busy: bool,
    gap: Option<PersistId>,
    /// A small record: the ceiling of reference times.
    ref_time: u64,
}

/// The disk of one node. Clones are the same disk.
#[derive(Clone)]
pub struct Disk(pub(crate) Rc<RefCell<State>>);

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("node", &self.0.borrow().node).finish_non_exhaustive()
    }
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(
        kernel: Kernel,
        checkers: Checkers,
        node: NodeId,
        prng: Prng,
        planted: Option<Planted>,
    ) -> Self {
        let latency_max = Duration::from_micros(500);
        let manners = Manners { latency_max, spikes_percent: 0, mixed_percent: 50 };
        Self(Rc::new(RefCell::new(State {
            kernel,
            checkers,
            node,
            planted,
            life: 0,
            prng,
            manners,
            full_percent: 0,
            directory: Directory::default(),
            log: Vec::new(),
            durable: Rc::default(),
            queue: VecDeque::new(),
            busy: false,
            gap: None,
            ref_time: 0,
        })))
    }

    /// Changes how it behaves.
    pub fn set_manners(&self, manners: Manners) {
        self.0.borrow_mut().manners = manners;
    }

    /// Fills it, so that out of a hundred writes this many find no space, or makes room.
    pub fn set_full(&self, percent: u64) {
        self.0.borrow_mut().full_percent = percent;
    }

    /// What would survive a power cut in the worst case.
    #[must_use]
    pub fn durable(&self) -> DurableLog {
        DurableLog::of(&self.0.borrow().durable)
    }

    /// The stored ceiling of reference times.
    #[must_use]
    pub fn ref_time(&self) -> u64 {
        self.0.borrow().ref_time
    }

    /// Starts to store the ceiling of reference times; `done` is called when it is durable.
    pub fn store_ref_time(&self, until: u64, done: impl FnOnce() + 'static) {
        let disk = self.clone();
        self.later(move || {
            disk.0.borrow_mut().ref_time = until;
            done();
        });
    }

    /// The process dies: nothing that it ordered happens any more, and everything written stays.
    pub fn abandon(&self) {
        let mut state = self.0.borrow_mut();
        state.life += 1;
        state.busy = false;
        state.gap = None;
        let void = std::mem::take(&mut state.queue);
        drop(state);
        drop(void);
    }

    /// The power goes: what was not synced is kept, lost or torn, and nothing ordered happens any
    /// more. The node must be gone.
    pub fn crash(&self) {
        self.abandon();
        let mut state = self.0.borrow_mut();
        let State { log, prng, manners, directory, .. } = &mut *state;
        let mixed = prng.chance(manners.mixed_percent, 100);
        let (mut kept, mut torn, mut lost) = (0, 0, 0);
        for stored in log.iter_mut().filter(|stored| !stored.synced) {
            match prng.below(4) {
                0 | 1 if mixed => kept += 1,
                2 if mixed => {
                    torn += 1;
                    let kept = prng.below(stored.bytes.len() as u64);
                    stored.bytes[usize::try_from(kept).unwrap_or(0)..].fill(0);
                }
                _ => {
                    lost += 1;
                    stored.bytes.fill(0);
                }
            }
        }
        directory.crash(prng, mixed);
        state.tell(|| {
            format!("of its unsynced log records {kept} are kept, {torn} torn, {lost} lost")
        });
    }

    /// Calls `call` after a write or a sync's time, unless the node dies first.
    pub(crate) fn later(&self, call: impl FnOnce() + 'static) {
        let (kernel, delay, life) = {
            let mut state = self.0.borrow_mut();
            (state.kernel.clone(), state.latency(), state.life)
        };
        let disk = self.clone();
        kernel.after(delay, move || {
            if disk.0.borrow().life == life {
                call();
            }
        });
    }

    fn submit(&self, order: Order) {
        let early = self.0.borrow().planted == Some(Planted::AnswerBeforeSync);
        let order = if early {
            let Order { id, record, done } = order;
            done(Ok(id));
            Order { id, record, done: Box::new(|_| ()) }
        } else {
            order
        };
        let mut state = self.0.borrow_mut();
        state.queue.push_back(order);
        let idle = !std::mem::replace(&mut state.busy, true);
        drop(state);
        if idle {
            self.begin();
        }
    }

    fn begin(&self) {
        let disk = self.clone();
        self.later(move || disk.write());
    }

    /// One batch reaches the file; it is not durable yet.
    fn write(&self) {
        let mut state = self.0.borrow_mut();
        let count = state.queue.len().min(BATCH_MAX);
        let orders: Vec<Order> = state.queue.drain(..count).collect();
        let mut reports = Vec::new();
        for Order { id, record, done } in orders {
            let result = state.keep(id, record);
            reports.push((done, result));
        }
        drop(state);
        let disk = self.clone();
        self.later(move || disk.sync(reports));
    }

    /// The batch is durable, and a moment later those who ordered it hear of it.
    fn sync(&self, reports: Vec<(Completion, Result<PersistId, AppendError>)>) {
        self.0.borrow_mut().sync_log();
        let disk = self.clone();
        let life = self.0.borrow().life;
        let kernel = self.0.borrow().kernel.clone();
        let gap = self.0.borrow_mut().prng.below(50);
        kernel.after(Duration::from_micros(gap), move || {
            if disk.0.borrow().life != life {
                return;
            }
            for (done, result) in reports {
                done(result);
            }
            let more = !disk.0.borrow().queue.is_empty();
            if more {
                disk.begin();
            } else {
                disk.0.borrow_mut().busy = false;
            }
        });
    }

    /// What a start finds in the log file. A torn tail is cut; what is whole is on the disk for
    /// good.
    fn recover_log(&self, snapshot: Option<&SnapshotMeta>) -> Recovered {
        let mut state = self.0.borrow_mut();
        let mut view = LogView::default();
        for record in state.readable() {
            view.play(&record);
        }
        let end = snapshot.map_or(LogIndex(0), |meta| meta.last.index);
        if view.last_index() < end {
            // The node stopped between the install of a snapshot and the reset of its log.
            view.play(&Record::Reset(end));
        }
        let LogView { hard_state, entries, purged } = view.clone();
        let entries: Vec<Entry> = entries.into_values().collect();
        let whole = Record::Append { hard_state: Some(hard_state), entries: entries.clone() };
        let records = [Record::Purge(purged), whole];
        state.log =
            records.map(|record| Stored { bytes: encode(&record), record, synced: true }).into();
        *state.durable.borrow_mut() = view;
        let (node, checkers) = (state.node, state.checkers.clone());
        state.tell(|| {
            let (state, log) = (words::hard_state(&hard_state), words::range(&entries));
            format!("finds on its disk: {state}, a snapshot up to {}, {log}", end.0)
        });
        drop(state);
        checkers.recovered(node, &hard_state, &entries, purged, snapshot);
        Recovered { hard_state, entries, purged }
    }
}

impl State {
    fn tell(&self, what: impl FnOnce() -> String) {
        self.kernel.story().tell(|| Line::of(self.node, what()));
    }

    pub(crate) fn latency(&mut self) -> Duration {
        let spikes = self.manners.spikes_percent;
        // A disk without spikes draws nothing for them: old seeds keep their stories.
        if spikes > 0 && self.prng.chance(spikes, 100) {
            return SPIKE;
        }
        let max = u64::try_from(self.manners.latency_max.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(1 + self.prng.below(max))
    }

    pub(crate) fn has_no_space(&mut self) -> bool {
        self.prng.chance(self.full_percent, 100)
    }

    fn keep(&mut self, id: PersistId, mut record: Record) -> Result<PersistId, AppendError> {
        let behind_gap = self.gap.is_some_and(|gap| gap != id);
        let minds_gaps = self.planted != Some(Planted::IgnoreLogGap);
        if self.has_no_space() || (behind_gap && minds_gaps) {
            self.gap.get_or_insert(id);
            self.tell(|| "has no space on its disk for what it wants to write".to_owned());
            return Err(AppendError::Full { id });
        }
        if !behind_gap {
            self.gap = None;
        }
        if self.planted == Some(Planted::ForgetVote)
            && let Record::Append { hard_state: Some(hard_state), .. } = &mut record
        {
            hard_state.voted_for = None;
        }
        self.tell(|| format!("writes {}, not yet safe from a power cut", record.in_words()));
        if let Record::Append { entries, .. } = &record {
            let (node, checkers) = (self.node, self.checkers.clone());
            checkers.stored(node, entries);
        }
        self.log.push(Stored { bytes: encode(&record), record, synced: false });
        Ok(id)
    }

    fn sync_log(&mut self) {
        let Self { log, durable, .. } = self;
        let first = log.iter().rposition(|stored| stored.synced).map_or(0, |last| last + 1);
        for stored in &mut log[first..] {
            stored.synced = true;
            durable.borrow_mut().play(&stored.record);
        }
        self.tell(|| {
            let log = self.durable.borrow();
            let (state, last) = (words::hard_state(&log.hard_state), log.last_index());
            format!("has on its disk for good: {state}, log up to {}", last.0)
        });
    }

    fn readable(&self) -> Vec<Record> {
        if self.planted == Some(Planted::SkipUndecodable) {
            let whole = self.log.iter().filter_map(|stored| decode(&stored.bytes));
            return whole.map(|(record, _)| record).collect();
        }
        let file: Vec<u8> = self.log.iter().flat_map(|stored| stored.bytes.clone()).collect();
        let mut rest = file.as_slice();
        let mut records = Vec::new();
        while let Some((record, following)) = decode(rest) {
            records.push(record);
            rest = following;
        }
        records
    }
}

/// The log of one life of a node.
#[derive(Debug)]
pub struct SimLog(pub Disk);

impl RaftLogStorage for SimLog {
    fn recover(&mut self, snapshot: Option<&SnapshotMeta>) -> Result<Recovered, StorageError> {
        Ok(self.0.recover_log(snapshot))
    }

    fn append(
        &mut self,
        id: PersistId,
        hard_state: Option<HardState>,
        entries: Vec<Entry>,
        done: Completion,
    ) {
        self.0.submit(Order { id, record: Record::Append { hard_state, entries }, done });
    }

    fn purge(&mut self, index: LogIndex) {
        let record = Record::Purge(index);
        let stored = Stored { bytes: encode(&record), record, synced: false };
        self.0.0.borrow_mut().log.push(stored);
    }

    fn reset(&mut self, id: PersistId, snapshot: &SnapshotMeta, done: Completion) {
        let record = Record::Reset(snapshot.last.index);
        self.0.submit(Order { id, record, done });
    }
}
