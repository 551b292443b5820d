//! RaftCore: the event loop around the engine, one task. A turn gathers a batch of messages, steps
//! the engine with each, flushes it once and carries out what it ordered. So one record, one
//! message per peer and one batch to apply serve everything that came in together.
//!
//! It listens to three queues: notices of its own workers, which are never refused, messages of
//! peers, and requests of the application. Each turn takes a bounded number of each, so none
//! starves another.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::Context;

use atomic_waker::AtomicWaker;
use futures_channel::oneshot::Sender;
use futures_lite::future::yield_now;
use nacolet_model::{Duration, Instant, limits};

use super::callers::{Callers, Proposer, Question};
use super::error::{Cause, Fatal, ReceiveChunkError};
use super::log_writer::LogWriter;
use super::messages::{Durable, FromPeer, Notice, RaftMsg, WorkerOrder, WriteChunk};
use super::metrics::{Metrics, SharedMetrics};
use super::queue::{Inbox, Outbox, SendError, until};
use super::replication::Peers;
use super::snapshot_requests::SnapshotRequests;
use super::traits::{
    AppendError, LocalBoxFuture, RaftLogStorage, RaftNetworkFactory, RaftStateMachine, Timer,
};
use crate::engine::{Engine, Input, Message, MessageBody, Output, PersistId, RoleKind};
use crate::types::{Entry, Term};

/// The task that drives the engine.
pub(crate) struct RaftCore<S: RaftStateMachine, L, N, T> {
    pub(crate) engine: Engine,
    pub(crate) timer: T,
    pub(crate) waker: Arc<AtomicWaker>,
    pub(crate) notices: Inbox<Notice>,
    pub(crate) from_peers: Inbox<FromPeer>,
    pub(crate) requests: Inbox<RaftMsg<S>>,
    pub(crate) log: LogWriter<L>,
    pub(crate) worker: WorkerHandle<S>,
    pub(crate) peers: Peers<S, N, T>,
    pub(crate) callers: Callers<S>,
    pub(crate) snapshots: SnapshotRequests,
    pub(crate) publisher: Publisher,
    pub(crate) outputs: Vec<Output>,
    pub(crate) durable: Vec<Durable>,
    pub(crate) alarm: Option<Alarm>,
    /// Whoever waits for an entry of this former leader waits no longer than this.
    pub(crate) patience: Option<Instant>,
    /// How long a former leader waits to hear what became of its entries.
    pub(crate) patience_after_leading: Duration,
    /// Messages of peers not taken because the log storage was busy.
    pub(crate) dropped: u64,
    /// Who waits for the end. Told by being dropped, last of all.
    pub(crate) ended: Vec<Sender<()>>,
}

/// RaftCore's end of the state machine worker. Dropping it lets the worker finish and end.
pub(crate) struct WorkerHandle<S: RaftStateMachine>(pub(crate) Outbox<WorkerOrder<S>>);

impl<S: RaftStateMachine> WorkerHandle<S> {
    pub(crate) fn order(&self, order: WorkerOrder<S>) {
        // A worker that is gone says so in a notice of its own.
        let _ = self.0.send(order);
    }

    /// Hands a piece of a snapshot over, unless too many wait already.
    fn write_chunk(&self, chunk: Box<WriteChunk>) {
        if let Err(SendError::Full(WorkerOrder::WriteChunk(chunk))) =
            self.0.send(WorkerOrder::WriteChunk(chunk))
        {
            let _ = chunk.answer.send(Err(ReceiveChunkError::Busy));
        }
    }
}

impl<S: RaftStateMachine> Drop for WorkerHandle<S> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A timer under way.
pub(crate) struct Alarm {
    at: Instant,
    rings: LocalBoxFuture<'static, ()>,
}

/// The metrics and their readers. However RaftCore ends, nobody takes it for a leader after that.
pub(crate) struct Publisher {
    pub(crate) shared: Arc<SharedMetrics>,
    metrics: Metrics,
    changed: bool,
}

impl Publisher {
    /// Shows these at once.
    pub(crate) fn new(metrics: Metrics) -> Self {
        let shared = Arc::<SharedMetrics>::default();
        shared.write(&metrics);
        Self { shared, metrics, changed: false }
    }

    /// Changes one field and remembers whether that made a difference.
    pub(crate) fn set<V: PartialEq>(&mut self, field: impl FnOnce(&mut Metrics) -> &mut V, to: V) {
        let field = field(&mut self.metrics);
        if *field != to {
            *field = to;
            self.changed = true;
        }
    }

    fn publish(&mut self) -> bool {
        let changed = core::mem::take(&mut self.changed);
        if changed {
            self.metrics.version += 1;
            self.shared.write(&self.metrics);
        }
        changed
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.set(|metrics| &mut metrics.running, false);
        self.set(|metrics| &mut metrics.role, RoleKind::Follower);
        self.set(|metrics| &mut metrics.leader, None);
        self.publish();
    }
}

/// Whether to go on.
enum AfterTurn {
    Turn,
    End,
}

impl<S, L, N, T> RaftCore<S, L, N, T>
where
    S: RaftStateMachine + 'static,
    L: RaftLogStorage,
    N: RaftNetworkFactory,
    N::Network: 'static,
    T: Timer + 'static,
{
    /// Turns until shutdown, or until going on would be wrong.
    pub(crate) async fn run(mut self: Box<Self>) -> Result<(), Fatal> {
        loop {
            match self.turn()? {
                AfterTurn::End => return Ok(()),
                AfterTurn::Turn if self.has_work() => yield_now().await,
                AfterTurn::Turn => self.sleep().await,
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let engine = self.engine.next_deadline();
        engine.into_iter().chain(self.log.deadline()).chain(self.patience).min()
    }

    fn has_work(&self) -> bool {
        !self.notices.is_empty()
            || !self.from_peers.is_empty()
            || (self.takes_requests() && !self.requests.is_empty())
    }

    /// Requests wait in their queue while the log storage has as much as it may hold. With a full
    /// disk they are taken, because most can be refused or answered at once.
    fn takes_requests(&self) -> bool {
        self.log.is_full() || !self.log.is_busy()
    }

    /// Waits for a message or for the next deadline. A node that expects nothing sets no alarm.
    async fn sleep(&mut self) {
        let deadline = self.deadline();
        match deadline {
            None => self.alarm = None,
            // An alarm that is too early costs one wake; deadlines of followers move all the time.
            Some(at) if self.alarm.as_ref().is_none_or(|alarm| alarm.at > at) => {
                self.alarm = Some(Alarm { at, rings: self.timer.until(at) });
            }
            Some(_) => {}
        }
        let waker = Arc::clone(&self.waker);
        until(&waker, |context| self.has_work() || self.alarm_rang(context)).await;
    }

    fn alarm_rang(&mut self, context: &mut Context<'_>) -> bool {
        let rang =
            self.alarm.as_mut().is_some_and(|alarm| alarm.rings.as_mut().poll(context).is_ready());
        if rang {
            self.alarm = None;
        }
        rang
    }

    fn turn(&mut self) -> Result<AfterTurn, Fatal> {
        let now = self.timer.now();
        if self.engine.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.engine.step(now, Input::Wake, &mut self.outputs);
        }
        self.log.wake(now);
        if self.patience.take_if(|end| *end <= now).is_some() {
            self.run_out_of_patience();
        }
        for _ in 0..limits::RAFT_TURN_MESSAGES_MAX {
            let Some(notice) = self.notices.take() else { break };
            self.noticed(now, notice)?;
        }
        for _ in 0..limits::RAFT_TURN_MESSAGES_MAX {
            let Some(message) = self.from_peers.take() else { break };
            self.received(now, message);
        }
        if self.takes_requests() {
            for _ in 0..limits::RAFT_TURN_MESSAGES_MAX {
                let Some(request) = self.requests.take() else { break };
                self.requested(now, request);
            }
        }
        self.engine.flush(now, &mut self.outputs);
        self.carry_out(now);
        self.snapshots.turn_ended(self.publisher.metrics.applied_index);
        self.publish();
        Ok(if self.ended.is_empty() { AfterTurn::Turn } else { AfterTurn::End })
    }

    /// It is long since this node lost the leadership. Entries of those times may have left its log
    /// and nothing may ever come to their places, also when it leads again.
    fn run_out_of_patience(&mut self) {
        let Metrics { role, term, .. } = self.publisher.metrics;
        let before = if role == RoleKind::Leader { term } else { term.next().unwrap_or(term) };
        self.callers.give_up(before, Cause::LeadershipLost);
    }

    /// One report of the node's own parts.
    fn noticed(&mut self, now: Instant, notice: Notice) -> Result<(), Fatal> {
        let input = match notice {
            Notice::Written { number, result } => {
                self.written(now, number, result);
                return Ok(());
            }
            Notice::LogStorageGone => return Err(Fatal::LogStorageStopped),
            Notice::WorkerGone(cause) => return Err(cause),
            Notice::Shutdown { ended } => {
                self.ended.push(ended);
                return Ok(());
            }
            Notice::Installed(meta) => {
                // The log follows the state: only when both are durable does the engine hear of it.
                self.log.reset(meta);
                return Ok(());
            }
            Notice::InstallFailed(meta, error) => {
                self.snapshots.install_failed(error);
                Input::SnapshotInstallFailed(meta)
            }
            Notice::Applied(index) => {
                self.callers.applied(index);
                self.publisher.set(|metrics| &mut metrics.applied_index, index);
                Input::Applied(index)
            }
            Notice::SnapshotBuilt(meta) => {
                self.publisher.set(|metrics| &mut metrics.snapshot, meta.last);
                self.snapshots.built(meta.clone());
                Input::SnapshotBuilt(meta)
            }
            Notice::SnapshotBuildFailed(error) => {
                self.snapshots.build_failed(error);
                Input::SnapshotBuildFailed
            }
            Notice::SnapshotReceived { from, term, meta } => {
                Input::SnapshotReceived { from, term, meta }
            }
            Notice::SnapshotSent { to, last, delivered } => {
                Input::SnapshotSent { to, last, delivered }
            }
            Notice::Unreachable(peer) => Input::Unreachable(peer),
        };
        self.engine.step(now, input, &mut self.outputs);
        Ok(())
    }

    fn written(&mut self, now: Instant, number: PersistId, result: Result<(), AppendError>) {
        let was_full = self.log.is_full();
        self.log.written(now, number, result, &mut self.durable);
        if result.is_err() {
            self.refused_by_disk(now, was_full);
        }
        for durable in self.durable.drain(..) {
            let input = match durable {
                Durable::Persisted(id) => Input::Persisted(id),
                Durable::Reset(meta) => {
                    let last = meta.last;
                    self.callers.covered(last.index);
                    self.callers.applied(last.index);
                    self.publisher.set(|metrics| &mut metrics.applied_index, last.index);
                    self.publisher.set(|metrics| &mut metrics.commit_index, last.index);
                    self.publisher.set(|metrics| &mut metrics.last_log, last);
                    self.publisher.set(|metrics| &mut metrics.snapshot, last);
                    self.snapshots.installed(meta.clone());
                    Input::SnapshotInstalled(meta)
                }
            };
            self.engine.step(now, input, &mut self.outputs);
        }
    }

    /// The disk is full. Whoever waits for the log is told, and a leader tries to hand over to a
    /// member that can still write.
    fn refused_by_disk(&mut self, now: Instant, was_full: bool) {
        if !was_full {
            self.callers.give_up(Term(u64::MAX), Cause::StorageFull);
        }
        let alone = self.publisher.metrics.membership.voters.len() < 2;
        if self.publisher.metrics.role == RoleKind::Leader && !alone {
            let request = self.callers.unattended();
            let input = Input::TransferLeader { request, target: None };
            self.engine.step(now, input, &mut self.outputs);
        }
    }

    /// One message of a peer.
    fn received(&mut self, now: Instant, message: FromPeer) {
        match message {
            FromPeer::Message { from, message } => {
                if self.log.is_busy() && carries_entries(&message) {
                    // The leader sends them again, and a follower behind is better than one that
                    // hoards what it cannot write.
                    self.dropped += 1;
                    return;
                }
                self.engine.step(now, Input::Receive { from, message }, &mut self.outputs);
            }
            FromPeer::Chunk(chunk) => {
                let term = self.publisher.metrics.term;
                if chunk.term < term {
                    let _ = chunk.answer.send(Err(ReceiveChunkError::Stale { term }));
                } else if chunk.chunk.bytes.len() > limits::SNAPSHOT_CHUNK_BYTES_MAX
                    || !self.engine.believes_snapshot(chunk.from, chunk.term, &chunk.meta)
                {
                    let _ = chunk.answer.send(Err(ReceiveChunkError::Impossible));
                } else {
                    self.worker.write_chunk(chunk);
                }
            }
        }
    }

    /// One request of the application.
    fn requested(&mut self, now: Instant, request: RaftMsg<S>) {
        let input = match request {
            RaftMsg::Write { command, answer } => {
                let proposer = Proposer::Write(answer);
                if self.log.is_full() {
                    proposer.storage_full();
                    return;
                }
                Input::Propose { request: self.callers.propose(proposer), command }
            }
            RaftMsg::Initialize { membership, answer } => {
                let _ = answer.send(self.engine.bootstrap(membership).map_err(Into::into));
                return;
            }
            RaftMsg::Change { change, answer } => {
                let proposer = Proposer::Change(answer);
                if self.log.is_full() {
                    proposer.storage_full();
                    return;
                }
                Input::ChangeMembership { request: self.callers.propose(proposer), change }
            }
            RaftMsg::ReadIndex { answer } => {
                Input::ReadIndex { request: self.callers.ask(Question::Read(answer)) }
            }
            RaftMsg::Transfer { target, answer } => {
                let request = self.callers.ask(Question::Transfer(answer));
                Input::TransferLeader { request, target }
            }
            RaftMsg::TriggerSnapshot { answer } => {
                self.snapshots.trigger(answer);
                Input::TriggerSnapshot
            }
            RaftMsg::Inspect { answer } => {
                let _ = answer.send(Ok(self.engine.status()));
                return;
            }
            RaftMsg::WatchMetrics { version, answer } => {
                self.callers.watch(version, answer, &self.publisher.metrics);
                return;
            }
        };
        self.engine.step(now, input, &mut self.outputs);
    }

    /// Carries out what the engine ordered, in its order.
    fn carry_out(&mut self, now: Instant) {
        let mut outputs = core::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            self.carry_out_one(now, output);
        }
        self.outputs = outputs;
    }

    fn carry_out_one(&mut self, now: Instant, output: Output) {
        match output {
            Output::Persist { id, hard_state, entries } => {
                if let Some(last) = entries.last() {
                    self.publisher.set(|metrics| &mut metrics.last_log, last.id);
                }
                self.log.record(id, hard_state, entries);
            }
            Output::Send { to, message } => self.peers.send(to, message),
            Output::Apply(entries) => self.apply(entries),
            Output::Proposed { request, id } => self.callers.proposed(request, id),
            Output::Refused { request, reason } => self.callers.refused(request, reason),
            Output::ReadReady { request, index } => {
                let applied = self.publisher.metrics.applied_index;
                self.callers.read_ready(request, index, applied);
            }
            Output::Transferred { request, leader } => self.callers.transferred(request, leader),
            Output::BuildSnapshot => {
                self.snapshots.building();
                self.worker.order(WorkerOrder::Build);
            }
            Output::Purge(index) => self.log.purge(index),
            Output::SendSnapshot { to, term } => match self.snapshots.newest() {
                Some(meta) => self.peers.send_snapshot(to, term, meta.clone()),
                None => self.peers.no_snapshot(to),
            },
            Output::InstallSnapshot(meta) => {
                self.snapshots.installing();
                self.worker.order(WorkerOrder::Install(meta));
            }
            Output::DiscardSnapshot(meta) => self.worker.order(WorkerOrder::Discard(meta)),
            Output::StatusChanged => self.status_changed(now),
        }
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        if let Some(last) = entries.last() {
            self.publisher.set(|metrics| &mut metrics.commit_index, last.id.index);
        }
        let proposers = self.callers.committed(&entries, self.publisher.metrics.leader);
        self.worker.order(WorkerOrder::Apply { entries, proposers });
    }

    fn status_changed(&mut self, now: Instant) {
        let status = self.engine.status();
        let led = self.publisher.metrics.role == RoleKind::Leader;
        if led && status.role != RoleKind::Leader {
            self.patience.get_or_insert(now + self.patience_after_leading);
        }
        if *self.publisher.metrics.membership != status.membership {
            self.peers.update(&status.membership);
            self.publisher.set(|metrics| &mut metrics.membership, Arc::new(status.membership));
        }
        self.publisher.set(|metrics| &mut metrics.term, status.term);
        self.publisher.set(|metrics| &mut metrics.role, status.role);
        self.publisher.set(|metrics| &mut metrics.leader, status.leader);
    }

    fn publish(&mut self) {
        let dropped = self.dropped + self.peers.dropped();
        let full = self.log.is_full();
        self.publisher.set(|metrics| &mut metrics.storage_full, full);
        self.publisher.set(|metrics| &mut metrics.dropped_messages, dropped);
        if self.publisher.publish() {
            self.callers.changed(&self.publisher.metrics);
        }
    }
}

fn carries_entries(message: &Message) -> bool {
    matches!(&message.body, MessageBody::AppendEntries { entries, .. } if !entries.is_empty())
}
