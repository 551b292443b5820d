//! The thread `log` and the handle that feeds it. It gathers what waits, writes it as one record,
//! syncs once and completes every order in turn.
//!
//! The channel to it is unbounded on purpose, because `append` is called by an executor that must
//! not block; what it can hold is bounded by its only user: RaftCore keeps at most
//! `limits::LOG_QUEUE_MAX` orders unanswered, and the engine at most
//! `limits::RAFT_UNCOMMITTED_BYTES_MAX` of uncommitted entries.
//!
//! ```text
//!            Full                               order with the failed id
//! Writing ─────────► Refusing (id): all Full ────────────────────────────► Writing
//!    │ anything else that fails
//!    └──────────────► fatal: the process ends
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use nacolet_model::limits;
use nacolet_raft::{
    AppendError, Completion, Entry, EntryPayload, HardState, LogId, LogIndex, RaftLogStorage,
    Recovered, SnapshotMeta, StorageError, engine::PersistId,
};

use super::region::{OpenLog, WriteError};
use super::shared::{LogSettings, LogShared, LogStats};
use crate::codec::ENTRY_HEAD_BYTES;
use crate::dir::DataDir;
use crate::failpoint;
use crate::fatal::Fatal;
use crate::files::damaged;

/// The Raft log of one node. Dropping it writes what is queued and waits for the thread.
pub struct LogStore {
    shared: Arc<LogShared>,
    phase: LogPhase,
}

enum LogPhase {
    /// Checked and open, not read yet.
    Opened(Box<OpenLog>),
    Running {
        orders: Sender<WriterOrder>,
        thread: JoinHandle<()>,
    },
    Closed,
}

enum WriterOrder {
    Append { id: PersistId, hard_state: Option<HardState>, entries: Vec<Entry>, done: Completion },
    Purge(LogIndex),
    Reset { id: PersistId, last: LogId, done: Completion },
}

impl LogStore {
    /// Opens the log in `dir`: checks every byte, cuts a torn tail, refuses durable damage. When
    /// there is no space at all, the reserve of the data directory is given away.
    ///
    /// `fatal` is called, from the log thread, when going on could lose acknowledged data: above
    /// all after a failed fsync. It must end the process; [`crate::abort_process`] does.
    ///
    /// # Errors
    /// The log is damaged or unreadable; the message says which file and what to do.
    pub fn open(dir: &DataDir, settings: LogSettings, fatal: Fatal) -> Result<Self, StorageError> {
        let shared = Arc::new(LogShared::new(fatal));
        Self::open_shared(dir, settings, shared)
    }

    pub(crate) fn open_shared(
        dir: &DataDir,
        settings: LogSettings,
        shared: Arc<LogShared>,
    ) -> Result<Self, StorageError> {
        let open = || apart(dir, || OpenLog::open(dir, settings, &shared));
        let log = match open() {
            Err(_) if no_space(dir) && dir.space().release_reserve() => open(),
            result => result,
        }?;
        Ok(Self { shared, phase: LogPhase::Opened(Box::new(log)) })
    }

    /// What has been written since the log was opened.
    pub fn stats(&self) -> LogStats {
        self.shared.stats()
    }

    /// Writes what is queued, makes the record of the durable end durable and closes the files.
    pub fn close(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        match std::mem::replace(&mut self.phase, LogPhase::Closed) {
            LogPhase::Running { orders, thread } => {
                drop(orders);
                // A panic of the thread has ended the process already, by way of `fatal`.
                drop(thread.join());
            }
            LogPhase::Opened(log) => log.close(),
            LogPhase::Closed => {}
        }
    }

    fn send(&self, order: WriterOrder) {
        let sent = match &self.phase {
            LogPhase::Running { orders, .. } => orders.send(order).is_ok(),
            LogPhase::Opened(_) | LogPhase::Closed => false,
        };
        if !sent {
            // The thread ends only with this handle; an order before `recover` is a mistake of
            // ours.
            (self.shared.fatal)("the Raft log was given an order while it does not run");
        }
    }
}

impl Drop for LogStore {
    fn drop(&mut self) {
        self.stop();
    }
}

impl RaftLogStorage for LogStore {
    fn recover(&mut self, snapshot: Option<&SnapshotMeta>) -> Result<Recovered, StorageError> {
        let phase = std::mem::replace(&mut self.phase, LogPhase::Closed);
        let LogPhase::Opened(mut log) = phase else {
            self.phase = phase;
            (self.shared.fatal)("the Raft log was read twice");
        };
        let dir = log.dir().clone();
        let recovered = apart(&dir, || read_back(&mut log, snapshot))?;
        let (orders, received) = channel();
        let shared = self.shared.clone();
        let thread = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || run(*log, &shared, &received))
            .map_err(|e| StorageError {
                what: format!("the log thread cannot be started: {e}"),
                advice: "give the process more memory or threads".to_owned(),
                damaged: false,
            })?;
        self.phase = LogPhase::Running { orders, thread };
        Ok(recovered)
    }

    fn append(
        &mut self,
        id: PersistId,
        hard_state: Option<HardState>,
        entries: Vec<Entry>,
        done: Completion,
    ) {
        self.send(WriterOrder::Append { id, hard_state, entries, done });
    }

    fn purge(&mut self, index: LogIndex) {
        self.send(WriterOrder::Purge(index));
    }

    fn reset(&mut self, id: PersistId, snapshot: &SnapshotMeta, done: Completion) {
        self.send(WriterOrder::Reset { id, last: snapshot.last, done });
    }
}

/// Runs `job` on a thread of its own: raft-engine's per-thread read cache goes with it, and should
/// it panic on something the scan let pass, that is an error here wherever panics unwind.
fn apart<T: Send>(
    dir: &DataDir,
    job: impl FnOnce() -> Result<T, StorageError> + Send,
) -> Result<T, StorageError> {
    thread::scope(|scope| scope.spawn(job).join()).unwrap_or_else(|_panic| {
        Err(damaged(&dir.log_dir(), "the engine cannot make sense of its files"))
    })
}

fn no_space(dir: &DataDir) -> bool {
    !dir.space().has(0, limits::DISK_FREE_BYTES_MIN)
}

/// Brings log and snapshot together: a crash may lie between the two.
fn read_back(
    log: &mut OpenLog,
    snapshot: Option<&SnapshotMeta>,
) -> Result<Recovered, StorageError> {
    let covered = snapshot.map(|meta| meta.last).unwrap_or_default();
    if log.state().purged > covered.index {
        let how = format!(
            "it begins after entry {}, but the Raft snapshot ends at {}",
            log.state().purged.0,
            covered.index.0
        );
        return Err(damaged(&log.dir().log_dir(), &how));
    }
    let mut entries = log.read_entries()?;
    // A snapshot was installed, and the crash came before the log was reset: what the log holds is
    // older than the snapshot, or of another history.
    let same_history = match covered.index.0.checked_sub(log.state().purged.next().0) {
        None => true,
        Some(at) => usize::try_from(at)
            .ok()
            .and_then(|at| entries.get(at))
            .is_some_and(|entry| entry.id == covered),
    };
    if !same_history {
        entries.clear();
        log.reset(covered).map_err(|e| cannot_write(log.dir(), e))?;
    }
    let state = *log.state();
    let mut hard_state = state.hard_state;
    // The hint may be newer than entries that did not fit on a full disk.
    hard_state.commit_index = hard_state.commit_index.min(state.last.index);
    if !log.dir().space().takes(0) {
        // The end came between a snapshot and the purge after it, and the next snapshot may have no
        // room without that.
        log.purge(covered.index).map_err(|e| cannot_write(log.dir(), e))?;
    }
    Ok(Recovered { hard_state, entries, purged: state.purged })
}

fn cannot_write(dir: &DataDir, error: WriteError) -> StorageError {
    let how = match error {
        WriteError::Full => "no space left".to_owned(),
        WriteError::Broken(why) => why,
    };
    StorageError {
        what: format!("{} cannot be written: {how}", dir.log_dir().display()),
        advice: "make space, then start again".to_owned(),
        damaged: false,
    }
}

fn run(mut log: OpenLog, shared: &LogShared, orders: &Receiver<WriterOrder>) {
    // In builds where panics unwind (tests, development) a panic of the engine must not leave a
    // process behind that looks alive and stores nothing.
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let mut writer = Writer { log: &mut log, shared, refused: None, refusals: 0 };
        let mut held = None;
        while let Some(order) = held.take().or_else(|| orders.recv().ok()) {
            held = writer.turn(order, orders);
            writer.log.dir().space().keep_reserve();
        }
    }));
    if ended.is_err() {
        (shared.fatal)("the log thread panicked");
    }
    log.close();
}

struct Writer<'a> {
    log: &'a mut OpenLog,
    shared: &'a LogShared,
    /// The order that found the disk full: nothing is written until it comes again.
    refused: Option<PersistId>,
    /// How often that was.
    refusals: u32,
}

/// Appends that share one fsync.
#[derive(Default)]
struct Group {
    hard_state: Option<HardState>,
    runs: Vec<Vec<Entry>>,
    bytes: usize,
    waiting: Vec<(PersistId, Completion)>,
}

impl Writer<'_> {
    /// Carries out one order, and appends that wait behind it; returns the first order of another
    /// kind that it met.
    fn turn(&mut self, order: WriterOrder, orders: &Receiver<WriterOrder>) -> Option<WriterOrder> {
        match order {
            WriterOrder::Purge(index) => self.purge(index),
            WriterOrder::Reset { id, last, done } => {
                if let Some(done) = self.admit(id, done) {
                    let result = self.log.reset(last);
                    self.complete(vec![(id, done)], result);
                }
            }
            WriterOrder::Append { .. } => return self.append(order, orders),
        }
        None
    }

    fn append(
        &mut self,
        first: WriterOrder,
        orders: &Receiver<WriterOrder>,
    ) -> Option<WriterOrder> {
        let mut group = Group::default();
        let mut next = Some(first);
        while let Some(order) = next {
            let WriterOrder::Append { id, hard_state, entries, done } = order else {
                self.write(group);
                return Some(order);
            };
            if let Some(done) = self.admit(id, done) {
                group.bytes += entries.iter().map(entry_bytes).sum::<usize>();
                group.hard_state = hard_state.or(group.hard_state);
                group.runs.push(entries);
                group.waiting.push((id, done));
            }
            let full = group.waiting.len() >= limits::LOG_QUEUE_MAX
                || group.bytes >= limits::LOG_BATCH_BYTES_MAX;
            next = if full { None } else { orders.try_recv().ok() };
        }
        self.write(group);
        None
    }

    /// Lets an order pass unless the disk was full and it is not the one to try again.
    fn admit(&mut self, id: PersistId, done: Completion) -> Option<Completion> {
        match self.refused {
            Some(refused) if refused != id => {
                done(Err(AppendError::Full { id }));
                None
            }
            _ => {
                self.refused = None;
                Some(done)
            }
        }
    }

    fn write(&mut self, group: Group) {
        if group.waiting.is_empty() {
            return;
        }
        let has_entries = group.runs.iter().any(|run| !run.is_empty());
        // Hard state alone may use the last bytes, and the reserve: a node with a full disk can
        // still vote.
        let result = if has_entries && !self.log.has_room(group.bytes, &group.runs, self.refusals) {
            Err(WriteError::Full)
        } else {
            match self.log.write(group.hard_state, &group.runs) {
                Err(WriteError::Full) if self.log.dir().space().release_reserve() => {
                    self.log.write(group.hard_state, &group.runs)
                }
                result => result,
            }
        };
        self.complete(group.waiting, result);
    }

    fn complete(&mut self, waiting: Vec<(PersistId, Completion)>, result: Result<(), WriteError>) {
        match result {
            Ok(()) => {
                failpoint::hit("log.before-complete");
                self.refusals = 0;
                for (id, done) in waiting {
                    done(Ok(id));
                }
            }
            Err(WriteError::Full) => {
                self.refused = waiting.first().map(|(id, _)| *id);
                self.refusals = self.refusals.saturating_add(1);
                for (id, done) in waiting {
                    done(Err(AppendError::Full { id }));
                }
            }
            Err(WriteError::Broken(why)) => {
                (self.shared.fatal)(&format!("the Raft log cannot be written: {why}"))
            }
        }
    }

    fn purge(&mut self, index: LogIndex) {
        if let Err(WriteError::Broken(why)) = self.log.purge(index) {
            (self.shared.fatal)(&format!("the Raft log cannot be purged: {why}"));
        }
    }
}

fn entry_bytes(entry: &Entry) -> usize {
    // A membership is small; what the guess misses is inside the margin of free space.
    ENTRY_HEAD_BYTES
        + match &entry.payload {
            EntryPayload::Command(command) => command.len(),
            EntryPayload::Blank | EntryPayload::Membership(_) => 512,
        }
}
