//! The state machine worker: the one task that owns the state machine. Applies committed entries in
//! order and answers their proposers; beside its queue it polls the slow work that the state
//! machine handed out as futures: a snapshot being built, chunks being read and written. Only an
//! install stands in the way of applying.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::Context;

use atomic_waker::AtomicWaker;
use futures_channel::oneshot;
use nacolet_model::{Prng, limits};

use super::error::{ClientWriteError, Fatal, ReceiveChunkError};
use super::incoming::{Incoming, Verdict};
use super::messages::{Notice, ReadChunk, WorkerOrder, WriteAnswer, WriteChunk};
use super::queue::{Inbox, Outbox, until};
use super::traits::{LocalBoxFuture, RaftStateMachine, SnapshotChunk, SnapshotError};
use crate::types::{Entry, EntryPayload, LogId, LogIndex, Membership, SnapshotMeta, decode};

/// A chunk being stored.
struct Storing {
    work: LocalBoxFuture<'static, Result<(), SnapshotError>>,
    bytes: u64,
    last: bool,
    answer: oneshot::Sender<Result<u64, ReceiveChunkError>>,
}

/// A chunk being read.
struct Reading {
    work: LocalBoxFuture<'static, Result<SnapshotChunk, SnapshotError>>,
    answer: oneshot::Sender<Result<SnapshotChunk, SnapshotError>>,
}

/// A snapshot being built.
struct Building {
    work: LocalBoxFuture<'static, Result<(), SnapshotError>>,
    meta: SnapshotMeta,
}

/// Tells RaftCore that the worker is gone, whichever way it went.
struct Farewell {
    notices: Outbox<Notice>,
    cause: Fatal,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        // A closed queue means that RaftCore ended first, and that is how it should be.
        let _ = self.notices.send(Notice::WorkerGone(self.cause.clone()));
    }
}

/// The task that owns the state machine.
pub(crate) struct Worker<S: RaftStateMachine> {
    state_machine: S,
    orders: Inbox<WorkerOrder<S>>,
    waker: Arc<AtomicWaker>,
    applied: LogId,
    membership: Membership,
    snapshot_ids: Prng,
    chunk_bytes: usize,
    incoming: Incoming,
    building: Option<Building>,
    storing: Option<Storing>,
    reading: Vec<Reading>,
    farewell: Farewell,
}

/// What the worker starts from.
pub(crate) struct WorkerStart<S: RaftStateMachine> {
    pub(crate) state_machine: S,
    pub(crate) orders: Inbox<WorkerOrder<S>>,
    pub(crate) waker: Arc<AtomicWaker>,
    pub(crate) notices: Outbox<Notice>,
    pub(crate) snapshot: Option<SnapshotMeta>,
    /// The membership in force at the start, with or without a snapshot.
    pub(crate) membership: Membership,
    pub(crate) seed: u64,
    pub(crate) chunk_bytes: usize,
}

impl<S: RaftStateMachine> Worker<S> {
    pub(crate) fn new(mut start: WorkerStart<S>) -> Self {
        let applied = start.snapshot.as_ref().map_or_else(LogId::default, |meta| meta.last);
        start.state_machine.membership(applied.index, &start.membership);
        Self {
            state_machine: start.state_machine,
            orders: start.orders,
            waker: start.waker,
            applied,
            membership: start.membership,
            snapshot_ids: Prng::new(start.seed),
            chunk_bytes: start.chunk_bytes.clamp(1, limits::SNAPSHOT_CHUNK_BYTES_MAX),
            incoming: Incoming::default(),
            building: None,
            storing: None,
            reading: Vec::new(),
            farewell: Farewell { notices: start.notices, cause: Fatal::StateMachineStopped },
        }
    }

    /// Works until RaftCore closes the queue. Orders that are in it by then are still carried out.
    pub(crate) async fn run(mut self) {
        loop {
            let waker = Arc::clone(&self.waker);
            until(&waker, |context| self.poll_work(context) | self.has_orders()).await;
            while let Some(order) = self.orders.take() {
                if let Err(cause) = self.carry_out(order).await {
                    self.farewell.cause = cause;
                    return;
                }
            }
            if self.orders.is_closed() && self.orders.is_empty() {
                return;
            }
        }
    }

    fn has_orders(&self) -> bool {
        !self.orders.is_empty() || self.orders.is_closed()
    }

    async fn carry_out(&mut self, order: WorkerOrder<S>) -> Result<(), Fatal> {
        match order {
            WorkerOrder::Apply { entries, proposers } => self.apply(entries, proposers)?,
            WorkerOrder::Build => self.build(),
            WorkerOrder::ReadChunk(request) => self.read_chunk(request),
            WorkerOrder::WriteChunk(request) => self.write_chunk(*request),
            WorkerOrder::Install(meta) => self.install(meta).await,
            WorkerOrder::Discard(meta) => self.incoming.discarded(&meta),
        }
        Ok(())
    }

    fn apply(
        &mut self,
        entries: Vec<Entry>,
        proposers: Vec<(LogIndex, oneshot::Sender<WriteAnswer<S>>)>,
    ) -> Result<(), Fatal> {
        let mut answers = Vec::with_capacity(proposers.len());
        let mut proposers = proposers.into_iter().peekable();
        self.state_machine.begin();
        let mut result = Ok(());
        for entry in entries {
            let index = entry.id.index;
            assert!(index == self.applied.index.next(), "entries are applied in order, once");
            let proposer = proposers.next_if(|(at, _)| *at == index).map(|(_, proposer)| proposer);
            match self.apply_entry(&entry) {
                Ok(answer) => answers.extend(proposer.zip(answer)),
                Err(fatal) => {
                    result = Err(fatal);
                    break;
                }
            }
            self.applied = entry.id;
        }
        self.state_machine.end(self.applied.index);
        // Only now: whoever reads after its answer must see the state that `end` released.
        for (proposer, answer) in answers {
            // The caller may have gone away; the command is applied all the same.
            let _ = proposer.send(answer);
        }
        self.tell(Notice::Applied(self.applied.index));
        result
    }

    fn apply_entry(&mut self, entry: &Entry) -> Result<Option<WriteAnswer<S>>, Fatal> {
        let index = entry.id.index;
        match &entry.payload {
            EntryPayload::Blank => Ok(None),
            EntryPayload::Command(bytes) => {
                let Some(command) = decode(bytes) else {
                    return Err(Fatal::Undecodable { index });
                };
                let answer = self.state_machine.apply(index, command);
                Ok(Some(answer.map_err(ClientWriteError::Rejected)))
            }
            EntryPayload::Membership(membership) => {
                self.membership.clone_from(membership);
                self.state_machine.membership(index, membership);
                Ok(None)
            }
        }
    }

    /// The engine orders one build at a time; a second order would only repeat the first.
    fn build(&mut self) {
        if self.building.is_some() {
            return;
        }
        let meta = SnapshotMeta {
            last: self.applied,
            membership: self.membership.clone(),
            id: self.snapshot_ids.next_u64(),
        };
        let work = self.state_machine.build_snapshot(meta.clone());
        self.building = Some(Building { work, meta });
    }

    fn read_chunk(&mut self, request: ReadChunk) {
        let work =
            self.state_machine.read_snapshot(&request.meta, request.offset, self.chunk_bytes);
        self.reading.push(Reading { work, answer: request.answer });
    }

    fn write_chunk(&mut self, request: WriteChunk) {
        let WriteChunk { from, term, meta, offset, chunk, answer } = request;
        let refusal = match self.incoming.offer(from, term, &meta, offset) {
            Verdict::Held(held) => Ok(held),
            Verdict::Busy => Err(ReceiveChunkError::Busy),
            Verdict::Store => {
                let bytes = chunk.bytes.len() as u64;
                let last = chunk.last;
                let work = self.state_machine.write_snapshot(&meta, offset, chunk);
                self.storing = Some(Storing { work, bytes, last, answer });
                return;
            }
        };
        let _ = answer.send(refusal);
    }

    async fn install(&mut self, meta: SnapshotMeta) {
        // A build of the old state must not finish after the install and replace what it installed.
        if let Some(building) = self.building.take() {
            let result = building.work.await;
            self.built(building.meta, result);
        }
        match self.state_machine.install_snapshot(&meta).await {
            Ok(()) => {
                self.incoming.installed(&meta);
                self.applied = meta.last;
                self.membership.clone_from(&meta.membership);
                self.state_machine.membership(meta.last.index, &meta.membership);
                self.tell(Notice::Installed(meta));
            }
            Err(error) => {
                self.incoming.discarded(&meta);
                self.tell(Notice::InstallFailed(meta, error));
            }
        }
    }

    /// Polls the work under way. Its outcomes go out from here; nobody has to be woken for them.
    fn poll_work(&mut self, context: &mut Context<'_>) -> bool {
        if let Some(building) = &mut self.building
            && let Some(result) = poll(&mut building.work, context)
            && let Some(building) = self.building.take()
        {
            self.built(building.meta, result);
        }
        if let Some(storing) = &mut self.storing
            && let Some(result) = poll(&mut storing.work, context)
            && let Some(storing) = self.storing.take()
        {
            self.stored(storing, result);
        }
        let mut at = 0;
        while let Some(reading) = self.reading.get_mut(at) {
            match poll(&mut reading.work, context) {
                Some(result) => drop(self.reading.swap_remove(at).answer.send(result)),
                None => at += 1,
            }
        }
        false
    }

    fn built(&self, meta: SnapshotMeta, result: Result<(), SnapshotError>) {
        self.tell(match result {
            Ok(()) => Notice::SnapshotBuilt(meta),
            Err(error) => Notice::SnapshotBuildFailed(error),
        });
    }

    fn stored(&mut self, storing: Storing, result: Result<(), SnapshotError>) {
        let answer = match result {
            Ok(()) => {
                let (held, whole) = self.incoming.stored(storing.bytes, storing.last);
                if let Some((from, term, meta)) = whole {
                    self.tell(Notice::SnapshotReceived { from, term, meta });
                }
                Ok(held)
            }
            Err(error) => {
                self.incoming.failed();
                Err(ReceiveChunkError::Snapshot(error))
            }
        };
        let _ = storing.answer.send(answer);
    }

    fn tell(&self, notice: Notice) {
        // A closed queue means that RaftCore has ended: nobody is left to be told.
        let _ = self.farewell.notices.send(notice);
    }
}

/// The outcome of `work`, if it is there.
fn poll<T>(work: &mut LocalBoxFuture<'static, T>, context: &mut Context<'_>) -> Option<T> {
    match work.as_mut().poll(context) {
        core::task::Poll::Ready(outcome) => Some(outcome),
        core::task::Poll::Pending => None,
    }
}
