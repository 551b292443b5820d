//! One voter: the whole way of a command through handle, engine, log storage and state machine, and
//! what happens to those who wait when a part of it fails.

use std::cell::Cell;
use std::rc::Rc;

use nacolet_model::{Duration, NodeId, Prng, limits};
use nacolet_raft::engine::{self, RoleKind};
use nacolet_raft::testing::{
    Crew, Ledger, LedgerCommand, LedgerRefusal, ManualTimer, MemoryLog, Pending, WriteMode,
};
use nacolet_raft::{
    Cause, ClientWriteError, Config, EntryPayload, Fatal, LogIndex, Membership, NoNetwork, Outcome,
    Raft, Refusal, RequestError, Timer, TriggerSnapshotError,
};

pub(crate) type Written = Pending<Result<u64, ClientWriteError<LedgerRefusal>>>;

/// One node with its disks and its clock.
pub(crate) struct Node {
    pub(crate) crew: Crew,
    pub(crate) timer: ManualTimer,
    pub(crate) log: MemoryLog,
    pub(crate) ledger: Ledger,
    pub(crate) raft: Raft<Ledger>,
    core: Pending<Result<(), Fatal>>,
}

pub(crate) fn settings() -> Config {
    let id = NodeId(1);
    let mut config = Config::new(engine::EngineConfig::new(id, 7))
        .bootstrap(Membership::of_voters([(id, "here".into())]));
    config.chunk_bytes = 64;
    config
}

impl Node {
    pub(crate) fn new(config: Config, log: MemoryLog, ledger: Ledger) -> Self {
        let (mut crew, timer) = (Crew::default(), ManualTimer::default());
        let (raft, tasks) =
            Raft::new(config, log.clone(), ledger.clone(), NoNetwork, timer.clone())
                .expect("what is stored fits together");
        let core = crew.spawn(tasks.core);
        crew.spawn(tasks.worker);
        crew.spawn(tasks.replication);
        Self { crew, timer, log, ledger, raft, core }
    }

    /// A node that leads.
    pub(crate) fn leader() -> Self {
        let mut node = Self::new(settings(), MemoryLog::default(), Ledger::default());
        node.elect();
        node
    }

    pub(crate) fn elect(&mut self) {
        self.crew.pass(&self.timer, Duration::from_secs(3));
        assert!(self.raft.is_leader());
        assert_eq!(self.raft.current_leader(), Some(NodeId(1)));
    }

    fn write(&mut self, command: LedgerCommand) -> Written {
        let raft = self.raft.clone();
        self.crew.spawn(async move { raft.client_write(&command).await })
    }

    pub(crate) fn add(&mut self, amount: u64) -> Written {
        self.write(LedgerCommand::Add(amount))
    }

    /// Runs and expects `written` to be over.
    pub(crate) fn outcome<T>(&mut self, pending: &Pending<T>) -> T {
        self.crew.run();
        pending.take().expect("the request is answered")
    }

    /// Stops as after a power cut and starts again on the same disks.
    pub(crate) fn restart(self) -> Self {
        let Self { crew, log, ledger, .. } = self;
        drop(crew);
        log.crash();
        let ledger = ledger.restarted();
        Self::new(settings(), log, ledger)
    }
}

fn pick(random: &mut Prng, left: usize) -> usize {
    random.index(left)
}

#[test]
fn a_command_is_persisted_applied_and_answered() {
    let mut node = Node::leader();
    node.log.set_mode(WriteMode::Manual);
    let written = node.add(5);
    node.crew.run();
    assert!(!written.is_ready(), "no answer before the record is durable");
    assert_eq!(node.ledger.state().sum, 0);
    node.log.sync(|_| 0);
    assert_eq!(node.outcome(&written), Ok(5));
    assert_eq!(node.ledger.state().sum, 5);
}

#[test]
fn the_application_refuses_with_an_error_of_its_own() {
    let mut node = Node::leader();
    let written = node.write(LedgerCommand::Refuse);
    let Err(ClientWriteError::Rejected(refusal)) = node.outcome(&written) else { panic!() };
    assert_eq!(refusal.at, node.raft.metrics().applied_index);
}

#[test]
fn a_node_that_nobody_asks_never_wakes() {
    let mut node = Node::leader();
    assert_eq!(node.timer.next_alarm(), None);
    let polls = node.crew.polls();
    node.crew.pass(&node.timer, Duration::from_secs(3_600));
    assert_eq!(node.crew.polls(), polls);
}

#[test]
fn writes_that_come_together_share_one_record() {
    let mut node = Node::leader();
    let (before, _) = node.log.writes();
    let (_, batches) = node.ledger.counts();
    let count = limits::RAFT_TURN_MESSAGES_MAX as u64;
    let written: Vec<Written> = (0..count).map(|_| node.add(1)).collect();
    node.crew.run();
    assert!(written.iter().all(|written| matches!(written.take(), Some(Ok(_)))));
    assert_eq!(node.log.writes().0 - before, 1);
    assert_eq!(node.ledger.counts().1 - batches, 1);
}

#[test]
fn a_full_queue_is_refused_at_once() {
    let mut config = settings();
    config.requests_max = 4;
    let mut node = Node::new(config, MemoryLog::default(), Ledger::default());
    node.elect();
    let written: Vec<Written> = (0..5).map(|_| node.add(1)).collect();
    // The tasks of the writers run before RaftCore looks.
    node.crew.run();
    let outcomes: Vec<_> = written.iter().map(|written| written.take().unwrap()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 4);
    assert_eq!(outcomes[4], Err(ClientWriteError::Refused(Refusal::Overloaded)));
}

#[test]
fn a_command_that_is_too_large_never_leaves_the_handle() {
    // A ledger command cannot be large; the size is checked on any command type.
    struct Large(Rc<Cell<u64>>);
    impl nacolet_raft::RaftStateMachine for Large {
        type Command = Vec<u8>;
        type Response = ();
        type Error = ();
        fn recover(
            &mut self,
        ) -> Result<Option<nacolet_raft::SnapshotMeta>, nacolet_raft::StorageError> {
            Ok(None)
        }
        fn apply(&mut self, _: LogIndex, _: Vec<u8>) -> Result<(), ()> {
            self.0.set(self.0.get() + 1);
            Ok(())
        }
        fn build_snapshot(
            &mut self,
            _: nacolet_raft::SnapshotMeta,
        ) -> nacolet_raft::LocalBoxFuture<'static, Result<(), nacolet_raft::SnapshotError>>
        {
            Box::pin(async { Err(nacolet_raft::SnapshotError::Full) })
        }
        fn read_snapshot(
            &mut self,
            _: &nacolet_raft::SnapshotMeta,
            _: u64,
            _: usize,
        ) -> nacolet_raft::LocalBoxFuture<
            'static,
            Result<nacolet_raft::SnapshotChunk, nacolet_raft::SnapshotError>,
        > {
            Box::pin(async { Err(nacolet_raft::SnapshotError::Gone) })
        }
        fn write_snapshot(
            &mut self,
            _: &nacolet_raft::SnapshotMeta,
            _: u64,
            _: nacolet_raft::SnapshotChunk,
        ) -> nacolet_raft::LocalBoxFuture<'static, Result<(), nacolet_raft::SnapshotError>>
        {
            Box::pin(async { Err(nacolet_raft::SnapshotError::Full) })
        }
        fn install_snapshot(
            &mut self,
            _: &nacolet_raft::SnapshotMeta,
        ) -> nacolet_raft::LocalBoxFuture<'_, Result<(), nacolet_raft::SnapshotError>> {
            Box::pin(async { Err(nacolet_raft::SnapshotError::Gone) })
        }
    }
    let (mut crew, timer) = (Crew::default(), ManualTimer::default());
    let applied = Rc::new(Cell::new(0));
    let machine = Large(Rc::clone(&applied));
    let (raft, tasks) =
        Raft::new(settings(), MemoryLog::default(), machine, NoNetwork, timer.clone()).unwrap();
    crew.spawn(tasks.run());
    crew.pass(&timer, Duration::from_secs(3));
    let write = |bytes: usize| {
        let raft = raft.clone();
        async move { raft.client_write(&vec![0; bytes]).await }
    };
    // The length takes four bytes of its own.
    let fits = crew.spawn(write(limits::COMMAND_BYTES_MAX - 4));
    let too_large = crew.spawn(write(limits::COMMAND_BYTES_MAX - 3));
    crew.run();
    assert_eq!(fits.take(), Some(Ok(())));
    let bytes_max = limits::COMMAND_BYTES_MAX;
    let error = ClientWriteError::TooLarge { bytes: bytes_max + 1, bytes_max };
    assert_eq!(too_large.take(), Some(Err(error)));
    assert_eq!(applied.get(), 1);
}

#[test]
fn reports_of_durability_may_come_in_any_order() {
    // docs/raft-traps.md, trap 25 (openraft#1960).
    let mut random = Prng::new(1);
    for _ in 0..50 {
        let mut node = Node::leader();
        node.log.set_mode(WriteMode::Manual);
        let written: Vec<Written> = (1..=8)
            .map(|amount| {
                let written = node.add(amount);
                node.crew.run();
                written
            })
            .collect();
        assert_eq!(node.log.unsynced(), 8);
        node.log.sync(|left| pick(&mut random, left));
        node.crew.run();
        let outcomes: Vec<_> = written.iter().map(|written| written.take().unwrap()).collect();
        assert_eq!(outcomes, [1, 3, 6, 10, 15, 21, 28, 36].map(Ok));
    }
}

#[test]
fn a_log_storage_that_falls_behind_is_not_handed_more_than_it_may_hold() {
    let mut node = Node::leader();
    node.log.set_mode(WriteMode::Manual);
    let written: Vec<Written> = (0..2 * limits::LOG_QUEUE_MAX)
        .map(|_| {
            let written = node.add(1);
            node.crew.run();
            written
        })
        .collect();
    assert_eq!(node.log.unsynced(), limits::LOG_QUEUE_MAX);
    while node.log.unsynced() > 0 {
        node.log.sync(|_| 0);
        node.crew.run();
    }
    assert!(written.iter().all(|written| matches!(written.take(), Some(Ok(_)))));
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers_without_a_restart() {
    // Trap 70.
    let mut node = Node::leader();
    let first = node.add(1);
    assert_eq!(node.outcome(&first), Ok(1));
    node.log.set_full(true);
    let caught = node.add(2);
    let error = node.outcome(&caught).unwrap_err();
    assert_eq!(error, ClientWriteError::Unknown(Cause::StorageFull));
    assert_eq!(error.outcome(), Outcome::Unknown);
    let refused = node.add(4);
    let error = node.outcome(&refused).unwrap_err();
    assert_eq!(error, ClientWriteError::StorageFull);
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(node.raft.metrics().storage_full);
    let raft = node.raft.clone();
    let read = node.crew.spawn(async move { raft.read_index().await });
    assert!(node.outcome(&read).is_ok());
    assert_eq!(node.ledger.state().sum, 1);
    let (_, refusals) = node.log.writes();
    node.crew.pass(&node.timer, Duration::from_secs(60));
    let attempts = node.log.writes().1 - refusals;
    assert!((10..20).contains(&attempts), "{attempts} attempts in a minute");

    node.log.set_full(false);
    node.crew.pass(&node.timer, limits::RAFT_FULL_RETRY_MAX);
    assert!(!node.raft.metrics().storage_full);
    assert_eq!(node.ledger.state().sum, 3, "what was caught in the log took effect");
    let after = node.add(8);
    assert_eq!(node.outcome(&after), Ok(11));
    let node = node.restart();
    let mut node = node;
    node.elect();
    assert_eq!(node.ledger.state().sum, 11);
}

#[test]
fn records_behind_a_refused_one_are_written_after_it() {
    let mut node = Node::leader();
    node.log.set_mode(WriteMode::Manual);
    for amount in 1..=3 {
        node.add(amount);
        node.crew.run();
    }
    node.log.set_full(true);
    let mut random = Prng::new(3);
    node.log.sync(|left| pick(&mut random, left));
    node.crew.run();
    node.log.set_full(false);
    node.crew.pass(&node.timer, limits::RAFT_FULL_RETRY_MIN);
    assert_eq!(node.log.unsynced(), 1, "the first record goes alone");
    node.log.sync(|_| 0);
    node.crew.run();
    assert_eq!(node.log.unsynced(), 2);
    // The disk fills again under the second.
    node.log.set_full(true);
    node.log.sync(|_| 0);
    node.crew.run();
    node.log.set_full(false);
    node.log.set_mode(WriteMode::Immediate);
    node.crew.pass(&node.timer, limits::RAFT_FULL_RETRY_MAX);
    assert_eq!(node.ledger.state().sum, 6);
    let amounts: Vec<u64> =
        node.ledger.state().additions.iter().map(|(_, amount)| *amount).collect();
    assert_eq!(amounts, [1, 2, 3]);
}

#[test]
fn everybody_who_waits_is_told_when_the_node_is_shut_down() {
    let mut node = Node::leader();
    node.log.set_mode(WriteMode::Manual);
    let in_the_log = node.add(1);
    node.crew.run();
    let raft = node.raft.clone();
    let watching = node.crew.spawn(async move { raft.metrics_changed(u64::MAX).await });
    node.crew.run();
    let raft = node.raft.clone();
    let down = node.crew.spawn(async move { raft.shutdown().await });
    let in_the_queue = node.add(2);
    node.crew.run();
    assert_eq!(node.core.take(), Some(Ok(())));
    assert_eq!(down.take(), Some(()));
    let unknown = ClientWriteError::Unknown(Cause::Stopped);
    assert_eq!(in_the_log.take(), Some(Err(unknown.clone())));
    assert!(matches!(in_the_queue.take(), Some(Err(error)) if error == unknown));
    assert_eq!(watching.take(), Some(Err(RequestError::Unknown(Cause::Stopped))));
    let late = node.add(4);
    assert_eq!(node.outcome(&late), Err(ClientWriteError::Stopped));
    assert!(!node.raft.is_leader());
    assert!(!node.raft.metrics().running);
    let raft = node.raft.clone();
    let again = node.crew.spawn(async move { raft.shutdown().await });
    assert_eq!(node.outcome(&again), ());
}

#[test]
fn everybody_who_waits_is_told_when_raft_core_is_dropped() {
    // Trap 72.
    let mut node = Node::leader();
    node.log.set_mode(WriteMode::Manual);
    let in_the_log = node.add(1);
    node.crew.run();
    let in_the_queue = node.add(2);
    let core = node.core.clone();
    node.crew.kill(&core);
    let unknown = Err(ClientWriteError::Unknown(Cause::Stopped));
    assert_eq!(node.outcome(&in_the_log), unknown);
    assert_eq!(node.outcome(&in_the_queue), Err(ClientWriteError::Stopped));
    assert!(!node.raft.is_leader());
}

#[test]
fn a_restart_applies_again_what_was_acknowledged_and_nothing_twice() {
    // Trap 59.
    let mut node = Node::leader();
    for amount in 1..=4 {
        let written = node.add(amount);
        node.outcome(&written).unwrap();
    }
    let raft = node.raft.clone();
    let snapshot = node.crew.spawn(async move { raft.trigger_snapshot().await });
    assert_eq!(node.outcome(&snapshot).unwrap().last.index, node.raft.metrics().applied_index);
    let written = node.add(5);
    node.outcome(&written).unwrap();
    let before = node.ledger.state();
    let mut node = node.restart();
    node.elect();
    assert_eq!(node.ledger.state(), before);
    assert_eq!(node.ledger.membership_told(), settings().bootstrap.unwrap());
}

#[test]
fn a_snapshot_is_built_beside_applying() {
    let mut node = Node::leader();
    let first = node.add(1);
    node.outcome(&first).unwrap();
    node.ledger.hold_builds(true);
    let raft = node.raft.clone();
    let snapshot = node.crew.spawn(async move { raft.trigger_snapshot().await });
    node.crew.run();
    let during = node.add(2);
    assert_eq!(node.outcome(&during), Ok(3));
    assert!(!snapshot.is_ready());
    node.ledger.hold_builds(false);
    let meta = node.outcome(&snapshot).unwrap();
    assert!(meta.last.index < node.raft.metrics().applied_index);
    assert_eq!(node.raft.metrics().snapshot, meta.last);
}

#[test]
fn a_trigger_during_a_build_is_answered_by_another_one() {
    // Trap 50 (openraft#1829).
    let mut node = Node::leader();
    let first = node.add(1);
    node.outcome(&first).unwrap();
    node.ledger.hold_builds(true);
    let trigger = |node: &mut Node| {
        let raft = node.raft.clone();
        let snapshot = node.crew.spawn(async move { raft.trigger_snapshot().await });
        node.crew.run();
        snapshot
    };
    let early = trigger(&mut node);
    let during = node.add(2);
    node.outcome(&during).unwrap();
    let (late, latest) = (trigger(&mut node), trigger(&mut node));
    node.ledger.hold_builds(false);
    let early = node.outcome(&early).unwrap();
    let late = node.outcome(&late).unwrap();
    assert!(late.last.index > early.last.index);
    assert_eq!(late.last.index, node.raft.metrics().applied_index);
    assert_eq!(node.outcome(&latest), Ok(late));
    assert_eq!(node.ledger.counts().0, 2);
}

#[test]
fn a_snapshot_that_fails_is_reported_and_tried_again() {
    let mut node = Node::leader();
    let first = node.add(1);
    node.outcome(&first).unwrap();
    node.ledger.set_full(true);
    for _ in 0..2 {
        let raft = node.raft.clone();
        let snapshot = node.crew.spawn(async move { raft.trigger_snapshot().await });
        let error = node.outcome(&snapshot).unwrap_err();
        assert!(matches!(error, TriggerSnapshotError::Failed(_)), "{error}");
    }
    node.ledger.set_full(false);
    node.crew.pass(&node.timer, Duration::from_secs(5));
    let raft = node.raft.clone();
    let snapshot = node.crew.spawn(async move { raft.trigger_snapshot().await });
    assert!(node.outcome(&snapshot).is_ok());
}

#[test]
fn metrics_are_a_value_whose_changes_can_be_awaited() {
    let mut node = Node::leader();
    let seen = node.raft.metrics();
    assert_eq!((seen.id, seen.role, seen.running), (NodeId(1), RoleKind::Leader, true));
    let raft = node.raft.clone();
    let changed = node.crew.spawn(async move { raft.metrics_changed(seen.version).await });
    node.crew.run();
    assert!(!changed.is_ready());
    let written = node.add(1);
    node.outcome(&written).unwrap();
    let metrics = node.outcome(&changed).unwrap();
    assert!(metrics.version > seen.version);
    assert!(node.raft.metrics().applied_index > seen.applied_index);
}

#[test]
fn a_read_waits_until_what_was_committed_is_applied() {
    // Trap 56.
    let (mut crew, timer) = (Crew::default(), ManualTimer::default());
    let ledger = Ledger::default();
    let (raft, tasks) =
        Raft::new(settings(), MemoryLog::default(), ledger.clone(), NoNetwork, timer.clone())
            .unwrap();
    crew.spawn(tasks.core);
    // The worker sits out so many of its turns.
    let pause = Rc::new(Cell::new(0_u32));
    let (mut worker, left) = (tasks.worker, Rc::clone(&pause));
    crew.spawn(std::future::poll_fn(move |context| match left.get() {
        0 => worker.as_mut().poll(context),
        turns => {
            left.set(turns - 1);
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        }
    }));
    crew.pass(&timer, Duration::from_secs(3));
    let seen = Rc::new(Cell::new(None));
    pause.set(50);
    let (writer, reader, at_read) = (raft.clone(), raft.clone(), Rc::clone(&seen));
    crew.spawn(async move { writer.client_write(&LedgerCommand::Add(1)).await });
    crew.spawn(async move {
        // Lets the write be committed first; the worker has not looked yet.
        while reader.metrics().commit_index <= reader.metrics().applied_index {
            futures_lite::future::yield_now().await;
        }
        reader.read_index().await.unwrap();
        at_read.set(Some(ledger.state().sum));
    });
    crew.run();
    assert_eq!(seen.get(), Some(1));
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut node = Node::leader();
    let raft = node.raft.clone();
    let transfer = node.crew.spawn(async move { raft.transfer_leader(Some(NodeId(9))).await });
    assert!(matches!(node.outcome(&transfer), Err(RequestError::Refused(_))));
    let raft = node.raft.clone();
    let change = node.crew.spawn(async move {
        let nobody = nacolet_raft::MembershipChange::SetVoters([NodeId(9)].into());
        raft.change_membership(nobody).await
    });
    let error = node.outcome(&change).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);
    let written = node.add(1);
    assert_eq!(node.outcome(&written), Ok(1));
}

#[test]
fn everybody_who_waits_is_told_when_the_state_machine_panics() {
    // Trap 72.
    let (mut crew, timer) = (Crew::default(), ManualTimer::default());
    let ledger = Ledger::default();
    let (raft, tasks) =
        Raft::new(settings(), MemoryLog::default(), ledger, NoNetwork, timer.clone()).unwrap();
    let core = crew.spawn(tasks.core);
    crew.spawn(caught(tasks.worker));
    crew.pass(&timer, Duration::from_secs(3));
    let write = |command: LedgerCommand| {
        let raft = raft.clone();
        async move { raft.client_write(&command).await }
    };
    let fatal = crew.spawn(write(LedgerCommand::Panic));
    let behind = crew.spawn(write(LedgerCommand::Add(1)));
    let raft_of_reader = raft.clone();
    crew.run();
    let read = crew.spawn(async move { raft_of_reader.read_index().await });
    crew.run();
    assert_eq!(core.take(), Some(Err(Fatal::StateMachineStopped)));
    let unknown = Some(Err(ClientWriteError::Unknown(Cause::Stopped)));
    assert_eq!(fatal.take(), unknown);
    assert_eq!(behind.take(), unknown);
    assert_eq!(read.take(), Some(Err(RequestError::Stopped)));
    assert!(timer.now() > nacolet_model::Instant::ZERO);
}

#[test]
fn a_log_storage_that_dies_ends_the_node_and_every_wait() {
    // Trap 58: a failed sync ends the storage, and with it the node.
    let mut node = Node::leader();
    node.log.set_mode(WriteMode::Manual);
    let written = node.add(1);
    node.crew.run();
    node.log.crash();
    assert_eq!(node.outcome(&written), Err(ClientWriteError::Unknown(Cause::Stopped)));
    assert_eq!(node.core.take(), Some(Err(Fatal::LogStorageStopped)));
    assert!(!node.raft.is_leader());
}

#[test]
fn a_committed_command_that_cannot_be_decoded_stops_the_node() {
    // Noise, and a command that goes on behind its end.
    for (kept, more) in [(0, &[0xff; 3][..]), (usize::MAX, &[0])] {
        let log = MemoryLog::default();
        let mut node = Node::new(settings(), log.clone(), Ledger::default());
        node.elect();
        let written = node.add(1);
        node.outcome(&written).unwrap();
        let index = node.raft.metrics().applied_index;
        drop(node);
        log.edit(|entry| {
            if let EntryPayload::Command(bytes) = &mut entry.payload {
                *bytes = [&bytes[..bytes.len().min(kept)], more].concat().into();
            }
        });
        let mut node = Node::new(settings(), log, Ledger::default());
        node.crew.pass(&node.timer, Duration::from_secs(3));
        assert_eq!(node.core.take(), Some(Err(Fatal::Undecodable { index })));
        assert_eq!(node.ledger.state().sum, 0);
    }
}

/// Runs a task as an executor does that survives the panics of its tasks.
async fn caught(mut task: nacolet_raft::LocalBoxFuture<'static, ()>) {
    let mut task = Some(task.as_mut());
    std::future::poll_fn(|context| {
        let Some(future) = &mut task else { return std::task::Poll::Ready(()) };
        let poll = std::panic::AssertUnwindSafe(|| future.as_mut().poll(context));
        std::panic::catch_unwind(poll).unwrap_or(std::task::Poll::Ready(()))
    })
    .await;
}
