//! What this crate alone costs: three nodes in one process, log and network in memory, and clients
//! that write empty commands, each one after the other. Everything runs on one thread, so a second
//! core makes nothing faster. The last figure is the peak of resident memory, on Linux.
//!
//! `cargo run --release -p nacolet-raft --example throughput [-- CLIENTS WRITES]`
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::collections::VecDeque;
use std::error::Error;
use std::time::{Duration, Instant as Clock};

use async_executor::LocalExecutor;
use futures_lite::future::{block_on, or, yield_now};
use nacolet_model::{Instant, NodeId};
use nacolet_raft::engine::PersistId;
use nacolet_raft::testing::{ManualTimer, Switchboard};
use nacolet_raft::{
    Completion, Config, Entry, HardState, LocalBoxFuture, LogIndex, Membership, Raft,
    RaftLogStorage, RaftStateMachine, Recovered, SnapshotChunk, SnapshotError, SnapshotMeta,
    StorageError, engine,
};

const NODES: u64 = 3;

/// How much of the log is kept beside the engine; what openraft keeps by default.
const SNAPSHOT_EVERY_ENTRIES: u64 = 5_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let clients = words.next().map_or(Ok(64), |word| word.parse())?;
    let writes = words.next().map_or(Ok(1_000_000), |word| word.parse())?;
    let per_second = measure(clients, writes);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.map_or("unknown", str::trim);
    println!("{clients} clients, {writes} writes: {per_second:.0} writes/s, peak memory {peak}");
    Ok(())
}

/// Writes per second.
fn measure(clients: u64, writes: u64) -> f64 {
    let executor = LocalExecutor::new();
    let (timer, board) = (ManualTimer::default(), Switchboard::default());
    let members = (1..=NODES).map(|id| (NodeId(id), format!("node:{id}")));
    let membership = Membership::of_voters(members);
    let mut nodes = Vec::new();
    for id in (1..=NODES).map(NodeId) {
        let mut settings = engine::EngineConfig::new(id, 7);
        settings.snapshot_every_entries = SNAPSHOT_EVERY_ENTRIES;
        let config = Config::new(settings).bootstrap(membership.clone());
        let wires = board.wires(id);
        let (raft, tasks) = Raft::new(config, Log::default(), Nothing, wires, timer.clone())
            .expect("a node with an empty log starts");
        board.plug(&raft);
        executor.spawn(async { tasks.core.await.expect("nothing fails in memory") }).detach();
        executor.spawn(tasks.worker).detach();
        executor.spawn(tasks.replication).detach();
        nodes.push(raft);
    }
    let run = executor.run(async {
        let leader = elect(&nodes).await;
        let start = now();
        let clients: Vec<_> = (0..clients)
            .map(|_| {
                let leader = leader.clone();
                executor.spawn(async move {
                    for _ in 0..writes / clients {
                        leader.client_write(&()).await.expect("the leader takes it");
                    }
                })
            })
            .collect();
        for client in clients {
            client.await;
        }
        start.elapsed()
    });
    let took = block_on(or(run, tick(&timer)));
    (writes / clients * clients) as f64 / took.as_secs_f64()
}

/// Reads the clock. The nodes take time as an argument; whoever measures cannot.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Clock {
    Clock::now()
}

/// Moves the nodes' clock.
async fn tick(timer: &ManualTimer) -> Duration {
    let start = now();
    loop {
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        timer.set(Instant::from_micros(micros));
        yield_now().await;
    }
}

async fn elect(nodes: &[Raft<Nothing>]) -> Raft<Nothing> {
    loop {
        if let Some(leader) = nodes.iter().find(|node| node.is_leader()) {
            return leader.clone();
        }
        yield_now().await;
    }
}

/// A log in memory; what is written is durable at once.
#[derive(Default)]
struct Log {
    entries: VecDeque<Entry>,
}

impl RaftLogStorage for Log {
    fn recover(&mut self, _: Option<&SnapshotMeta>) -> Result<Recovered, StorageError> {
        Ok(Recovered::default())
    }

    fn append(
        &mut self,
        id: PersistId,
        _: Option<HardState>,
        entries: Vec<Entry>,
        done: Completion,
    ) {
        if let Some(first) = entries.first() {
            while self.entries.back().is_some_and(|last| last.id.index >= first.id.index) {
                self.entries.pop_back();
            }
        }
        self.entries.extend(entries);
        done(Ok(id));
    }

    fn purge(&mut self, index: LogIndex) {
        while self.entries.front().is_some_and(|first| first.id.index <= index) {
            self.entries.pop_front();
        }
    }

    fn reset(&mut self, id: PersistId, _: &SnapshotMeta, done: Completion) {
        self.entries.clear();
        done(Ok(id));
    }
}

/// A state machine without a state.
struct Nothing;

impl RaftStateMachine for Nothing {
    type Command = ();
    type Response = ();
    type Error = std::convert::Infallible;

    fn recover(&mut self) -> Result<Option<SnapshotMeta>, StorageError> {
        Ok(None)
    }

    fn apply(&mut self, _: LogIndex, (): ()) -> Result<(), Self::Error> {
        Ok(())
    }

    fn build_snapshot(
        &mut self,
        _: SnapshotMeta,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        Box::pin(async { Ok(()) })
    }

    fn read_snapshot(
        &mut self,
        _: &SnapshotMeta,
        _: u64,
        _: usize,
    ) -> LocalBoxFuture<'static, Result<SnapshotChunk, SnapshotError>> {
        Box::pin(async { Ok(SnapshotChunk { bytes: Vec::new(), last: true }) })
    }

    fn write_snapshot(
        &mut self,
        _: &SnapshotMeta,
        _: u64,
        _: SnapshotChunk,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        Box::pin(async { Ok(()) })
    }

    fn install_snapshot(
        &mut self,
        _: &SnapshotMeta,
    ) -> LocalBoxFuture<'_, Result<(), SnapshotError>> {
        Box::pin(async { Ok(()) })
    }
}

#[test]
fn a_tiny_run_gets_through() {
    assert!(measure(3, 30) > 0.0);
}
