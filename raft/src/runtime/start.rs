//! How a node is put together: what is on disk is read back and checked, the parts are connected,
//! and their futures are handed to the caller. Nothing is spawned and nothing runs before that.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use atomic_waker::AtomicWaker;
use futures_lite::future::zip;
use nacolet_model::{Prng, limits};

use super::callers::Callers;
use super::core::{Publisher, RaftCore, WorkerHandle};
use super::error::{Fatal, StartError};
use super::log_writer::LogWriter;
use super::metrics::Metrics;
use super::queue::queue;
use super::raft::{Raft, RaftHandle};
use super::replication::{Peers, PeersStart};
use super::snapshot_requests::SnapshotRequests;
use super::traits::{LocalBoxFuture, RaftLogStorage, RaftNetworkFactory, RaftStateMachine, Timer};
use super::worker::{Worker, WorkerStart};
use crate::engine::{self, BootstrapError, Engine, Start};
use crate::types::{Membership, SnapshotMeta};

/// Settings of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// What the engine is told.
    pub engine: engine::EngineConfig,
    /// The first membership of a new cluster, see [`Engine::bootstrap`]. A node that already has a
    /// term, a log or a snapshot ignores it; a node that has neither it nor them waits to be added.
    pub bootstrap: Option<Membership>,
    /// Slots of the queue of requests. Beyond: `Overloaded`. 1,024.
    pub requests_max: usize,
    /// Slots of the queue of messages from peers. Beyond: dropped. 256.
    pub receive_max: usize,
    /// Slots of the queue of messages to one peer. Beyond: the oldest gives way. 256.
    pub send_max: usize,
    /// Bytes of one snapshot chunk, at most `limits::SNAPSHOT_CHUNK_BYTES_MAX`. A heartbeat may
    /// have to wait for one chunk, so on slow links it should be what the link carries in one
    /// heartbeat. 256 KiB.
    pub chunk_bytes: usize,
}

impl Config {
    /// Settings for an engine told `engine`, with the limits of the product.
    #[must_use]
    pub const fn new(engine: engine::EngineConfig) -> Self {
        Self {
            engine,
            bootstrap: None,
            requests_max: limits::RAFT_QUEUE_MAX,
            receive_max: limits::RAFT_RECEIVE_QUEUE_MAX,
            send_max: limits::PEER_QUEUE_MAX,
            chunk_bytes: limits::SNAPSHOT_CHUNK_BYTES_MAX,
        }
    }

    /// The same, beginning a new cluster with `membership`.
    #[must_use]
    pub fn bootstrap(mut self, membership: Membership) -> Self {
        self.bootstrap = Some(membership);
        self
    }
}

/// The futures of a node, for the caller to spawn on one thread, or to run together with
/// [`Tasks::run`]. Dropping any of them stops the node: every caller that waits is told.
#[must_use = "a node does nothing unless its tasks run"]
pub struct Tasks {
    /// RaftCore. Ends after [`Raft::shutdown`], or with the reason why the node cannot go on.
    pub core: LocalBoxFuture<'static, Result<(), Fatal>>,
    /// The state machine worker. Ends after RaftCore, when all that was handed to it is applied.
    pub worker: LocalBoxFuture<'static, ()>,
    /// One ReplicationCore per peer, in one future. Ends after RaftCore; a node without peers may
    /// leave it alone.
    pub replication: LocalBoxFuture<'static, ()>,
}

impl core::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Tasks").finish_non_exhaustive()
    }
}

impl Tasks {
    /// All of them as one future.
    ///
    /// # Errors
    /// As [`Tasks::core`].
    pub async fn run(self) -> Result<(), Fatal> {
        let (outcome, ((), ())) = zip(self.core, zip(self.worker, self.replication)).await;
        outcome
    }
}

/// Everything that was read back.
struct FoundOnDisk {
    engine: Engine,
    snapshot: Option<SnapshotMeta>,
}

impl<S: RaftStateMachine + 'static> Raft<S> {
    /// A node on these parts. Reads the storage; starts nothing.
    ///
    /// # Errors
    /// What is stored is damaged or does not fit together, or the settings are contradictory.
    pub fn new<L, N, T>(
        config: Config,
        mut log_storage: L,
        mut state_machine: S,
        network_factory: N,
        timer: T,
    ) -> Result<(Self, Tasks), StartError>
    where
        L: RaftLogStorage + 'static,
        N: RaftNetworkFactory + 'static,
        N::Network: 'static,
        T: Timer + 'static,
    {
        let FoundOnDisk { engine, snapshot } =
            recover(&config, &mut log_storage, &mut state_machine, &timer)?;
        let id = config.engine.id;
        let status = engine.status();
        let publisher = Publisher::new(Metrics::at_start(&status));
        let metrics = Arc::clone(&publisher.shared);
        let waker = Arc::<AtomicWaker>::default();
        let (notices, notices_in) = queue(None, &waker);
        let (peers, from_peers) = queue(Some(config.receive_max), &waker);
        let (requests, requests_in) = queue(Some(config.requests_max), &waker);
        let worker_waker = Arc::<AtomicWaker>::default();
        let (orders, orders_in) = queue(None, &worker_waker);
        let worker = Worker::new(WorkerStart {
            state_machine,
            orders: orders_in,
            waker: worker_waker,
            notices: notices.clone(),
            snapshot: snapshot.clone(),
            membership: status.membership,
            seed: Prng::new(config.engine.seed).fork().next_u64(),
            chunk_bytes: config.chunk_bytes,
        });
        let (replications_of, replications) = Peers::new(PeersStart {
            factory: network_factory,
            timer: timer.clone(),
            worker: orders.clone(),
            notices: notices.clone(),
            queue_max: config.send_max,
        });
        // Boxed by itself: moved into its future as it is, it would be on the stack twice.
        let core = Box::new(RaftCore {
            engine,
            timer,
            waker,
            notices: notices_in,
            from_peers,
            requests: requests_in,
            log: LogWriter::new(log_storage, notices.clone()),
            worker: WorkerHandle(orders),
            peers: replications_of,
            callers: Callers::new(),
            snapshots: SnapshotRequests::new(snapshot),
            publisher,
            outputs: Vec::new(),
            durable: Vec::new(),
            alarm: None,
            patience: None,
            // Time for the next leader to be elected, even at the second try, and to be heard.
            patience_after_leading: config.engine.election_timeout_max * 3,
            dropped: 0,
            ended: Vec::new(),
        });
        let raft = Self::from_handle(RaftHandle { id, requests, peers, notices, metrics });
        let tasks = Tasks {
            core: Box::pin(core.run()),
            worker: Box::pin(worker.run()),
            replication: Box::pin(replications),
        };
        Ok((raft, tasks))
    }
}

/// Reads the storage back and lets the engine judge whether it fits together.
fn recover<S: RaftStateMachine, L: RaftLogStorage, T: Timer>(
    config: &Config,
    log_storage: &mut L,
    state_machine: &mut S,
    timer: &T,
) -> Result<FoundOnDisk, StartError> {
    let snapshot = state_machine.recover()?;
    let recovered = log_storage.recover(snapshot.as_ref())?;
    let start = Start {
        hard_state: recovered.hard_state,
        entries: recovered.entries,
        purged: recovered.purged,
        snapshot: snapshot.clone(),
        applied: snapshot.as_ref().map(|meta| meta.last.index).unwrap_or_default(),
    };
    let mut engine = Engine::new(config.engine.clone(), start, timer.now())?;
    if let Some(membership) = &config.bootstrap {
        match engine.bootstrap(membership.clone()) {
            Ok(()) | Err(BootstrapError::NotPristine) => {}
            Err(error @ BootstrapError::InvalidMembership) => return Err(error.into()),
        }
    }
    Ok(FoundOnDisk { engine, snapshot })
}
