//! RaftCore's side of the log storage: which orders are under way, which prefix of them is durable,
//! and what happens when the disk is full. Completions may come from any thread and in any order;
//! the engine only ever hears of a prefix.
//!
//! A record that was not kept stays here and is handed over again, unchanged, on a timer, and every
//! later one waits behind it. So the engine's view of its own log stays true, only slower than it
//! hoped: nothing has to be undone, and no restart is needed when space returns. Meanwhile RaftCore
//! refuses new proposals and entries from a leader, which bounds what can pile up here.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use nacolet_model::{Duration, Instant, limits};

use super::messages::{Durable, Notice};
use super::queue::Outbox;
use super::traits::{AppendError, Completion, RaftLogStorage};
use crate::engine::PersistId;
use crate::types::{Entry, HardState, LogIndex, SnapshotMeta};

/// What was asked of the storage.
#[derive(Clone, Debug)]
enum Write {
    Record { persist: PersistId, hard_state: Option<HardState>, entries: Vec<Entry> },
    Reset(SnapshotMeta),
}

/// ```text
/// Waiting ──handed over──► Sent ──durable──► Done
///    ▲                      │
///    └───── Failed ◄──full──┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrderState {
    Waiting,
    Sent,
    Failed,
    Done,
}

#[derive(Debug)]
struct LogOrder {
    /// Numbers orders to the storage; the engine's own numbers leave out resets.
    number: PersistId,
    write: Write,
    state: OrderState,
}

/// The log storage and the orders it has not completed.
pub(crate) struct LogWriter<L> {
    storage: L,
    notices: Outbox<Notice>,
    orders: VecDeque<LogOrder>,
    next: u64,
    full: bool,
    /// The order that was handed over again to see whether space has returned.
    probe: Option<PersistId>,
    retry_at: Option<Instant>,
    backoff: Duration,
}

impl<L: RaftLogStorage> LogWriter<L> {
    pub(crate) fn new(storage: L, notices: Outbox<Notice>) -> Self {
        Self {
            storage,
            notices,
            orders: VecDeque::new(),
            next: 1,
            full: false,
            probe: None,
            retry_at: None,
            backoff: limits::RAFT_FULL_RETRY_MIN,
        }
    }

    /// Makes a record durable.
    pub(crate) fn record(
        &mut self,
        persist: PersistId,
        hard_state: Option<HardState>,
        entries: Vec<Entry>,
    ) {
        if self.merge(persist, hard_state, &entries) {
            return;
        }
        self.order(Write::Record { persist, hard_state, entries });
    }

    /// Empties the log behind an installed snapshot.
    pub(crate) fn reset(&mut self, snapshot: SnapshotMeta) {
        self.order(Write::Reset(snapshot));
    }

    /// Lets the storage forget entries.
    pub(crate) fn purge(&mut self, index: LogIndex) {
        self.storage.purge(index);
    }

    /// Whether the storage has no space.
    pub(crate) const fn is_full(&self) -> bool {
        self.full
    }

    /// Whether nothing that adds to the log should be taken now.
    pub(crate) fn is_busy(&self) -> bool {
        self.full || self.orders.len() >= limits::LOG_QUEUE_MAX
    }

    /// When [`Self::wake`] has something to do.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Order `number` ended at `now`. Appends what became durable to `durable`.
    pub(crate) fn written(
        &mut self,
        now: Instant,
        number: PersistId,
        result: Result<(), AppendError>,
        durable: &mut Vec<Durable>,
    ) {
        let Some(order) = self.orders.iter_mut().find(|order| order.number == number) else {
            return;
        };
        let was_probe = self.probe.take_if(|probe| *probe == number).is_some();
        match result {
            Ok(()) => {
                order.state = OrderState::Done;
                if was_probe {
                    self.recovered();
                }
            }
            Err(AppendError::Full { .. }) => {
                order.state = OrderState::Failed;
                self.full = true;
            }
        }
        self.advance(durable);
        self.plan_retry(now);
    }

    /// Hands the first order over again when it is time. The others follow once it is kept.
    pub(crate) fn wake(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.probe = self.orders.front().map(|first| first.number);
            self.send(0);
        }
    }

    /// Adds hard state to the newest record when that has not been handed over yet, so that a node
    /// that goes on electing with a full disk holds one record and not one per term.
    fn merge(
        &mut self,
        persist: PersistId,
        hard_state: Option<HardState>,
        entries: &[Entry],
    ) -> bool {
        // The first order is the one that failed: it goes again as it was.
        if !entries.is_empty() || self.orders.len() < 2 {
            return false;
        }
        let Some(LogOrder {
            state: OrderState::Waiting,
            write: Write::Record { persist: id, hard_state: kept, .. },
            ..
        }) = self.orders.back_mut()
        else {
            return false;
        };
        *id = persist;
        *kept = hard_state.or(*kept);
        true
    }

    fn order(&mut self, write: Write) {
        let number = PersistId(self.next);
        self.next += 1;
        self.orders.push_back(LogOrder { number, write, state: OrderState::Waiting });
        if !self.full {
            self.send(self.orders.len() - 1);
        }
    }

    fn send(&mut self, at: usize) {
        let Some(order) = self.orders.get_mut(at) else { return };
        order.state = OrderState::Sent;
        let number = order.number;
        let done = completion(self.notices.clone(), number);
        match order.write.clone() {
            Write::Record { hard_state, entries, .. } => {
                self.storage.append(number, hard_state, entries, done);
            }
            Write::Reset(snapshot) => self.storage.reset(number, &snapshot, done),
        }
    }

    /// Space has returned: everything that waited goes out, in order.
    fn recovered(&mut self) {
        self.full = false;
        self.backoff = limits::RAFT_FULL_RETRY_MIN;
        for at in 0..self.orders.len() {
            if self.orders.get(at).is_some_and(|order| order.state == OrderState::Waiting) {
                self.send(at);
            }
        }
    }

    fn advance(&mut self, durable: &mut Vec<Durable>) {
        while self.orders.front().is_some_and(|order| order.state == OrderState::Done) {
            let Some(order) = self.orders.pop_front() else { break };
            match (order.write, durable.last_mut()) {
                (Write::Record { persist, .. }, Some(Durable::Persisted(last))) => *last = persist,
                (Write::Record { persist, .. }, _) => durable.push(Durable::Persisted(persist)),
                (Write::Reset(snapshot), _) => durable.push(Durable::Reset(snapshot)),
            }
        }
    }

    /// Waits until the storage has answered everything before it is asked again.
    fn plan_retry(&mut self, now: Instant) {
        let answered = self.orders.iter().all(|order| order.state != OrderState::Sent);
        if !self.full || self.retry_at.is_some() || !answered {
            return;
        }
        for order in &mut self.orders {
            if order.state == OrderState::Failed {
                order.state = OrderState::Waiting;
            }
        }
        self.retry_at = Some(now + self.backoff);
        self.backoff = (self.backoff * 2).min(limits::RAFT_FULL_RETRY_MAX);
    }
}

/// Reports one order, whichever thread ends it. Dropped unused, it reports that the storage is
/// gone.
struct Report {
    notices: Outbox<Notice>,
    number: Option<PersistId>,
}

fn completion(notices: Outbox<Notice>, number: PersistId) -> Completion {
    let mut report = Report { notices, number: Some(number) };
    Box::new(move |result| {
        if let Some(number) = report.number.take() {
            report.send(Notice::Written { number, result: result.map(|_| ()) });
        }
    })
}

impl Report {
    fn send(&self, notice: Notice) {
        // A closed queue means that RaftCore has ended, and nobody is left to hear of it.
        let _ = self.notices.send(notice);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if self.number.is_some() {
            self.send(Notice::LogStorageGone);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::rc::Rc;
    use alloc::sync::Arc;
    use alloc::vec;
    use core::cell::RefCell;

    use super::super::queue::{Inbox, queue};
    use super::super::traits::{Recovered, StorageError};
    use super::*;

    /// Notes what it is handed and completes nothing.
    #[derive(Clone, Default)]
    struct Noted(Rc<RefCell<Vec<(u64, Completion)>>>);

    impl RaftLogStorage for Noted {
        fn recover(&mut self, _: Option<&SnapshotMeta>) -> Result<Recovered, StorageError> {
            Ok(Recovered::default())
        }

        fn append(&mut self, id: PersistId, _: Option<HardState>, _: Vec<Entry>, done: Completion) {
            self.0.borrow_mut().push((id.0, done));
        }

        fn purge(&mut self, _: LogIndex) {}

        fn reset(&mut self, id: PersistId, _: &SnapshotMeta, done: Completion) {
            self.0.borrow_mut().push((id.0, done));
        }
    }

    struct Rig {
        writer: LogWriter<Noted>,
        noted: Noted,
        notices: Inbox<Notice>,
        now: Instant,
    }

    impl Rig {
        fn new() -> Self {
            let (outbox, notices) = queue(None, &Arc::default());
            let noted = Noted::default();
            let writer = LogWriter::new(noted.clone(), outbox);
            Self { writer, noted, notices, now: Instant::ZERO }
        }

        fn record(&mut self, persist: u64) {
            self.writer.record(PersistId(persist), None, Vec::new());
        }

        fn end(&mut self, number: u64, kept: bool) -> Vec<Durable> {
            let id = PersistId(number);
            let result = if kept { Ok(()) } else { Err(AppendError::Full { id }) };
            let mut durable = Vec::new();
            self.writer.written(self.now, id, result, &mut durable);
            durable
        }

        fn retry(&mut self) {
            self.now = self.writer.deadline().expect("a retry is planned");
            self.writer.wake(self.now);
        }

        /// Numbers handed to the storage since the last look.
        fn handed(&self) -> Vec<u64> {
            let orders = core::mem::take(&mut *self.noted.0.borrow_mut());
            let numbers = orders.iter().map(|(number, _)| *number).collect();
            // These tests report by hand; an order that is merely dropped would report itself.
            orders.into_iter().for_each(|(number, done)| done(Ok(PersistId(number))));
            numbers
        }
    }

    #[test]
    fn only_a_prefix_is_reported_durable() {
        let mut rig = Rig::new();
        (11..=13).for_each(|persist| rig.record(persist));
        assert_eq!(rig.handed(), [1, 2, 3]);
        assert_eq!(rig.end(2, true), []);
        assert_eq!(rig.end(1, true), [Durable::Persisted(PersistId(12))]);
        assert_eq!(rig.end(3, true), [Durable::Persisted(PersistId(13))]);
    }

    #[test]
    fn a_reset_stands_in_line_with_the_records() {
        let mut rig = Rig::new();
        rig.record(11);
        rig.writer.reset(SnapshotMeta::default());
        rig.record(12);
        assert_eq!(rig.end(3, true), []);
        assert_eq!(rig.end(2, true), []);
        let durable = rig.end(1, true);
        let reset = Durable::Reset(SnapshotMeta::default());
        let (first, last) = (PersistId(11), PersistId(12));
        assert_eq!(durable, vec![Durable::Persisted(first), reset, Durable::Persisted(last)]);
    }

    #[test]
    fn nothing_is_handed_over_behind_a_record_that_was_not_kept() {
        let mut rig = Rig::new();
        rig.record(11);
        rig.record(12);
        rig.handed();
        rig.end(2, false);
        rig.writer.reset(SnapshotMeta::default());
        assert_eq!(rig.writer.deadline(), None, "the storage has not answered everything yet");
        assert_eq!(rig.end(1, true), [Durable::Persisted(PersistId(11))]);
        assert!(rig.writer.is_full(), "an earlier record that was kept says nothing about space");
        assert_eq!(rig.handed(), []);
        rig.retry();
        assert_eq!(rig.handed(), [2], "the first one goes alone");
        rig.end(2, false);
        rig.retry();
        assert_eq!(rig.handed(), [2]);
        assert_eq!(rig.end(2, true), [Durable::Persisted(PersistId(12))]);
        assert_eq!(rig.handed(), [3]);
        assert!(!rig.writer.is_full());
    }

    #[test]
    fn a_storage_that_drops_an_order_is_taken_for_gone() {
        let mut rig = Rig::new();
        rig.record(11);
        rig.noted.0.borrow_mut().clear();
        assert!(matches!(rig.notices.take(), Some(Notice::LogStorageGone)));
    }
}
