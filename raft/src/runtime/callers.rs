//! Everybody who waits for RaftCore, and what each is told in the end. Every way out of a table is
//! an answer; what is still inside when RaftCore ends is dropped, which the waiting side takes for
//! [`Cause::Stopped`].

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use futures_channel::oneshot::Sender;
use nacolet_model::{NodeId, RequestId, limits};

use super::error::{Cause, ClientWriteError, RequestError};
use super::messages::WriteAnswer;
use super::metrics::Metrics;
use super::traits::RaftStateMachine;
use super::waiters::Waiters;
use crate::engine::Refusal;
use crate::types::{Entry, EntryPayload, LogId, LogIndex, Term};

/// Who waits for an entry of the log.
pub(crate) enum Proposer<S: RaftStateMachine> {
    /// A command's author; answered by the worker.
    Write(Sender<WriteAnswer<S>>),
    /// An operator; answered when the change is over.
    Change(Sender<Result<(), RequestError>>),
}

/// Who waits for an answer of the engine without a place in the log.
pub(crate) enum Question {
    /// A linearizable read.
    Read(Sender<Result<LogIndex, RequestError>>),
    /// An operator who moves leadership.
    Transfer(Sender<Result<NodeId, RequestError>>),
}

/// Who waits for the state machine to get somewhere.
enum AtIndex {
    Read(Sender<Result<LogIndex, RequestError>>),
    Change(Sender<Result<(), RequestError>>),
}

/// All tables.
pub(crate) struct Callers<S: RaftStateMachine> {
    next: u64,
    proposals: Waiters<Proposer<S>>,
    questions: BTreeMap<RequestId, Question>,
    at_index: BTreeMap<LogIndex, Vec<AtIndex>>,
    /// Reads in `at_index`.
    reads_at_index: usize,
    /// Changes whose entry is applied and whose joint step is not over.
    changing: Vec<Sender<Result<(), RequestError>>>,
    watchers: Vec<(u64, Sender<Result<Metrics, RequestError>>)>,
}

const OVERLOADED: RequestError = RequestError::Refused(Refusal::Overloaded);

/// The caller may have gone away, and its request is carried out all the same.
fn answer<T>(sender: Sender<T>, value: T) {
    let _ = sender.send(value);
}

impl<S: RaftStateMachine> Proposer<S> {
    /// Ends the wait: of a write with `write`, of a change with `change`.
    fn fail(self, write: ClientWriteError<S::Error>, change: RequestError) {
        match self {
            Self::Write(sender) => answer(sender, Err(write)),
            Self::Change(sender) => answer(sender, Err(change)),
        }
    }

    /// Nobody can say what becomes of it.
    fn unknown(self, cause: Cause) {
        self.fail(ClientWriteError::Unknown(cause), RequestError::Unknown(cause));
    }

    /// The log takes nothing now.
    pub(crate) fn storage_full(self) {
        self.fail(ClientWriteError::StorageFull, RequestError::StorageFull);
    }
}

impl<S: RaftStateMachine> Callers<S> {
    pub(crate) const fn new() -> Self {
        Self {
            next: 0,
            proposals: Waiters::new(),
            questions: BTreeMap::new(),
            at_index: BTreeMap::new(),
            reads_at_index: 0,
            changing: Vec::new(),
            watchers: Vec::new(),
        }
    }

    fn number(&mut self) -> RequestId {
        self.next += 1;
        RequestId(self.next)
    }

    /// Somebody proposes an entry.
    pub(crate) fn propose(&mut self, proposer: Proposer<S>) -> RequestId {
        let request = self.number();
        self.proposals.ask(request, proposer);
        request
    }

    /// Somebody asks the engine.
    pub(crate) fn ask(&mut self, question: Question) -> RequestId {
        let request = self.number();
        self.questions.insert(request, question);
        request
    }

    /// The engine gave a proposal its place.
    pub(crate) fn proposed(&mut self, request: RequestId, id: LogId) {
        self.proposals.place(request, id);
    }

    /// The engine refused a request.
    pub(crate) fn refused(&mut self, request: RequestId, reason: Refusal) {
        if let Some(proposer) = self.proposals.answered(request) {
            proposer.fail(ClientWriteError::Refused(reason), RequestError::Refused(reason));
        }
        match self.questions.remove(&request) {
            Some(Question::Read(sender)) => answer(sender, Err(RequestError::Refused(reason))),
            Some(Question::Transfer(sender)) => answer(sender, Err(RequestError::Refused(reason))),
            None => {}
        }
    }

    /// A read may be served once `index` is applied; `applied` is.
    pub(crate) fn read_ready(&mut self, request: RequestId, index: LogIndex, applied: LogIndex) {
        let Some(Question::Read(sender)) = self.questions.remove(&request) else { return };
        if index <= applied {
            answer(sender, Ok(index));
        } else if self.reads_at_index >= limits::RAFT_WAITERS_MAX {
            answer(sender, Err(OVERLOADED));
        } else {
            self.reads_at_index += 1;
            self.at_index.entry(index).or_default().push(AtIndex::Read(sender));
        }
    }

    /// Leadership has moved.
    pub(crate) fn transferred(&mut self, request: RequestId, leader: NodeId) {
        if let Some(Question::Transfer(sender)) = self.questions.remove(&request) {
            answer(sender, Ok(leader));
        }
    }

    /// `entries` are committed. Returns the authors of commands among them, for the worker to
    /// answer; those who were superseded hear of it here.
    pub(crate) fn committed(
        &mut self,
        entries: &[Entry],
        leader: Option<NodeId>,
    ) -> Vec<(LogIndex, Sender<WriteAnswer<S>>)> {
        let mut authors = Vec::new();
        for entry in entries {
            let settled = self.proposals.settle(entry.id);
            for proposer in settled.superseded {
                proposer.fail(
                    ClientWriteError::Superseded { leader },
                    RequestError::Superseded { leader },
                );
            }
            match settled.proposer {
                Some(Proposer::Write(sender)) => authors.push((entry.id.index, sender)),
                Some(Proposer::Change(sender)) => self.changing.push(sender),
                None => {}
            }
            if let EntryPayload::Membership(membership) = &entry.payload
                && !membership.is_joint()
            {
                let over = self.changing.drain(..).map(AtIndex::Change);
                self.at_index.entry(entry.id.index).or_default().extend(over);
            }
        }
        authors
    }

    /// The state machine has applied everything up to `index`.
    pub(crate) fn applied(&mut self, index: LogIndex) {
        while let Some(first) = self.at_index.first_entry()
            && *first.key() <= index
        {
            let at = *first.key();
            for waiter in first.remove() {
                match waiter {
                    AtIndex::Read(sender) => {
                        self.reads_at_index -= 1;
                        answer(sender, Ok(at));
                    }
                    AtIndex::Change(sender) => answer(sender, Ok(())),
                }
            }
        }
    }

    /// A snapshot replaced everything up to `index`.
    pub(crate) fn covered(&mut self, index: LogIndex) {
        for proposer in self.proposals.covered(index) {
            proposer.unknown(Cause::Snapshot);
        }
        for sender in self.changing.drain(..) {
            answer(sender, Err(RequestError::Unknown(Cause::Snapshot)));
        }
    }

    /// What took its place in the log before the term `before` may have to wait for long, because
    /// of `cause`; nobody waits with it.
    pub(crate) fn give_up(&mut self, before: Term, cause: Cause) {
        for proposer in self.proposals.take_before(before) {
            proposer.unknown(cause);
        }
        for sender in self.changing.drain(..) {
            answer(sender, Err(RequestError::Unknown(cause)));
        }
    }

    /// A request that nobody waits for.
    pub(crate) fn unattended(&mut self) -> RequestId {
        self.number()
    }

    /// Somebody wants to hear of a state newer than `version`.
    pub(crate) fn watch(
        &mut self,
        version: u64,
        watcher: Sender<Result<Metrics, RequestError>>,
        now: &Metrics,
    ) {
        self.watchers.retain(|(_, watcher)| !watcher.is_canceled());
        if self.watchers.len() >= limits::RAFT_WAITERS_MAX {
            answer(watcher, Err(OVERLOADED));
            return;
        }
        self.watchers.push((version, watcher));
        self.changed(now);
    }

    /// Tells those who wait for a state like `now`.
    pub(crate) fn changed(&mut self, now: &Metrics) {
        for (_, watcher) in self.watchers.extract_if(.., |(version, _)| *version < now.version) {
            answer(watcher, Ok(now.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_channel::oneshot;

    use super::*;
    use crate::testing::Ledger;

    type Answers<T> = Vec<oneshot::Receiver<Result<T, RequestError>>>;

    fn refused<T: PartialEq>(answers: &mut Answers<T>) -> usize {
        let mut answered = answers.iter_mut().filter_map(|answer| answer.try_recv().ok().flatten());
        answered.by_ref().filter(|answer| *answer == Err(OVERLOADED)).count()
    }

    #[test]
    fn reads_that_wait_for_an_index_are_bounded() {
        let mut callers = Callers::<Ledger>::new();
        let mut answers = Answers::new();
        for index in 1..=limits::RAFT_WAITERS_MAX as u64 + 1 {
            let (sender, answer) = oneshot::channel();
            answers.push(answer);
            let request = callers.ask(Question::Read(sender));
            callers.read_ready(request, LogIndex(index), LogIndex(0));
        }
        assert_eq!(refused(&mut answers), 1);
        callers.applied(LogIndex(5));
        assert_eq!(callers.reads_at_index, limits::RAFT_WAITERS_MAX - 5);
    }

    #[test]
    fn watchers_are_bounded_and_those_that_went_away_do_not_count() {
        let mut callers = Callers::<Ledger>::new();
        let now = Metrics::default();
        let mut watch = |answers: &mut Answers<Metrics>| {
            let (sender, answer) = oneshot::channel();
            answers.push(answer);
            callers.watch(now.version, sender, &now);
        };
        let mut answers = Answers::new();
        for _ in 0..=limits::RAFT_WAITERS_MAX {
            watch(&mut answers);
        }
        assert_eq!(refused(&mut answers), 1);
        answers.clear();
        watch(&mut answers);
        assert_eq!(refused(&mut answers), 0);
    }
}
