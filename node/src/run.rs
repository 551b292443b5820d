//! Puts a node together and runs it: what is on disk is read back, the core thread starts to turn, and
//! only when the state is whole do the api threads open their doors. Ends in the opposite order.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;

use nacolet_api::request::MemberStatus;
use nacolet_api::{Facts, NodeStatus, Port, Server, connection, grpc};
use nacolet_config as config;
use nacolet_model::{NodeId, limits};
use nacolet_raft::engine;
use nacolet_raft::{Fatal, Membership, Raft, RaftNetwork, RaftNetworkFactory, StartError, Tasks};
use nacolet_registry::{Registry, RegistrySettings};
use nacolet_storage::{DataDir, LogSettings, LogStore, SnapshotStore, abort_process};
use smol::{LocalExecutor, future};

use crate::core::{Core, Parts};
use crate::machine::{Aftermath, Machine, Shared};
use crate::ref_time::RefTime;
use crate::settings::Settings;
use crate::udp::Udp;
use crate::{clock, signals};

/// Why a node does not run, or runs no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("no random numbers from the system: {0}")]
    Random(getrandom::Error),
    #[error(transparent)]
    Storage(#[from] nacolet_raft::StorageError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// Runs a node until it is asked to stop.
///
/// # Errors
/// See [`RunError`].
pub(crate) fn serve(settings: &Settings) -> Result<(), RunError> {
    raise_descriptor_limit();
    let seed = random()?;
    let dir = DataDir::open(&settings.data_dir, NodeId(random()?))?;
    let address = claim(settings.http_addr)?;
    let grpc = claim(settings.grpc_addr)?;
    let (ref_time, ref_time_floor) = RefTime::open(&dir)?;
    let shared = Shared {
        configs: Arc::new(RwLock::new(config::Store::new())),
        registry: Arc::new(RwLock::new(Registry::new(RegistrySettings { seed, ref_time_floor }))),
    };
    let (aftermath, applied) = Aftermath::new();
    let (raft, tasks) = start_raft(settings, &dir, seed, &shared, &aftermath)?;
    let (requests, from_api) = async_channel::bounded(limits::CORE_QUEUE_MAX);
    let port = Arc::new(Port {
        configs: Arc::clone(&shared.configs),
        registry: Arc::clone(&shared.registry),
        requests,
        clock: clock::both,
        facts: Arc::new(facts(&dir, address, grpc)),
        ready: Arc::new(AtomicBool::new(false)),
        status: status(&raft, address),
    });
    let udp = Udp::bind(address.ip());
    let ref_time_tried = ref_time.tried();
    let core = Core::new(Parts {
        shared,
        raft: raft.clone(),
        requests: from_api,
        aftermath,
        applied,
        udp,
        ref_time,
    });
    let executor = LocalExecutor::new();
    let node = Node { settings, address, grpc, raft, port, ref_time_tried };
    smol::block_on(executor.run(node.live(&executor, core, tasks)))
}

/// What the main task holds.
struct Node<'a> {
    settings: &'a Settings,
    address: SocketAddr,
    grpc: SocketAddr,
    raft: Raft<Machine>,
    port: Arc<Port>,
    ref_time_tried: async_channel::Receiver<()>,
}

impl Node<'_> {
    async fn live<'e>(
        self,
        executor: &LocalExecutor<'e>,
        core: Core,
        tasks: Tasks,
    ) -> Result<(), RunError> {
        let raft_core = executor.spawn(tasks.core);
        let worker = executor.spawn(tasks.worker);
        let replication = executor.spawn(tasks.replication);
        let turns = executor.spawn(core.run());
        let ended = async { raft_core.await.map_err(RunError::from) };
        let serving = async {
            self.become_ready().await;
            self.open(executor).await
        };
        let outcome = future::or(ended, serving).await;
        // From here on nobody is answered any more; what is queued for the disk is still written.
        self.raft.shutdown().await;
        drop(turns);
        worker.await;
        drop(replication);
        outcome
    }

    /// Waits until everything that was committed before the start is part of the state.
    async fn become_ready(&self) {
        // Nothing is ever sent: the channel closes.
        let _ = self.ref_time_tried.recv().await;
        let mut version = 0;
        loop {
            let metrics = self.raft.metrics();
            let leads = metrics.role == engine::RoleKind::Leader;
            if leads && metrics.applied_index >= metrics.last_log.index {
                return;
            }
            match self.raft.metrics_changed(version.max(metrics.version)).await {
                Ok(newer) => version = newer.version,
                // The node has stopped: its own end is waited for elsewhere.
                Err(_) => return future::pending().await,
            }
        }
    }

    /// Opens the doors, and closes them in order when the process is asked to stop.
    async fn open<'e>(&self, executor: &LocalExecutor<'e>) -> Result<(), RunError> {
        let server = Server::new(Arc::clone(&self.port), nacolet_api::Settings::default());
        let open = |address| {
            connection::listen(address).map_err(|source| RunError::Listen { address, source })
        };
        let mut doors = Vec::new();
        for _ in 0..self.settings.threads.max(1) {
            doors.push(Doors { http: open(self.address)?, grpc: open(self.grpc)? });
        }
        self.port.ready.store(true, Ordering::Release);
        self.announce();
        let mut threads = Vec::new();
        let mut here = None;
        for (number, doors) in doors.into_iter().enumerate() {
            if self.settings.threads == 0 {
                here = Some(executor.spawn(doors.serve(server.clone())));
            } else {
                threads.push(api_thread(number, doors, server.clone())?);
            }
        }
        signals::stop_requested().await;
        tracing::info!("stopping");
        self.port.ready.store(false, Ordering::Release);
        server.stop();
        if let Some(door) = here {
            let address = self.address;
            door.await.map_err(|source| RunError::Listen { address, source })?;
        }
        for ended in threads {
            ended.await;
        }
        Ok(())
    }

    fn announce(&self) {
        let Self { address, grpc, .. } = self;
        let line = format!("nacolet is ready on http://{address}/nacos, gRPC on {grpc}\n");
        // A node whose standard output is closed serves all the same.
        let _ = io::stdout().write_all(line.as_bytes());
        tracing::info!(node = %self.port.facts.node, data = %self.settings.data_dir.display(), "ready");
    }
}

/// The listeners of one api thread.
struct Doors {
    http: TcpListener,
    grpc: TcpListener,
}

impl Doors {
    async fn serve(self, server: Server) -> io::Result<()> {
        let http = connection::serve(self.http, server.clone());
        future::try_zip(http, grpc::serve(self.grpc, server)).await.map(|_| ())
    }
}

/// One thread that serves connections; the future resolves when it has ended.
fn api_thread(
    number: usize,
    doors: Doors,
    server: Server,
) -> Result<impl Future<Output = ()>, RunError> {
    let (done, ended) = async_channel::bounded::<()>(1);
    let serve = move || {
        if let Err(error) = smol::block_on(doors.serve(server)) {
            abort_process(&format!("api thread {number} cannot serve: {error}"));
        }
        drop(done);
    };
    let name = format!("api-{number}");
    let thread: JoinHandle<()> =
        std::thread::Builder::new().name(name).spawn(serve).map_err(RunError::Thread)?;
    Ok(async move {
        // Nothing is ever sent: the channel closes when the thread drops its end.
        let _ = ended.recv().await;
        // A panic ends the process before this point.
        let _ = thread.join();
    })
}

/// Refuses an address that somebody else serves already. The api threads share it later
/// (`SO_REUSEPORT`), and another process that shares it as well would take half of the clients.
fn claim(address: SocketAddr) -> Result<SocketAddr, RunError> {
    let taken = |source| RunError::Listen { address, source };
    TcpListener::bind(address).and_then(|probe| probe.local_addr()).map_err(taken)
}

/// Asks for as many descriptors as connections and long polls may need; many systems start a process
/// with 1,024. Where the system allows fewer, connections beyond that wait in its queue.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    const CONNECTIONS: usize =
        limits::CONNECTIONS_MAX + limits::LONG_POLLS_MAX + limits::GRPC_CONNECTIONS_MAX;
    const WANTED: u64 = (CONNECTIONS + 256) as u64;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= WANTED) {
        return;
    }
    limit.current = Some(limit.maximum.map_or(WANTED, |maximum| maximum.min(WANTED)));
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open descriptors stays as it is");
    }
}

fn random() -> Result<u64, RunError> {
    getrandom::u64().map_err(RunError::Random)
}

/// Reads back what is on disk and puts Raft on it; a new directory begins a cluster of one.
fn start_raft(
    settings: &Settings,
    dir: &DataDir,
    seed: u64,
    shared: &Shared,
    aftermath: &Aftermath,
) -> Result<(Raft<Machine>, Tasks), RunError> {
    let sizes = LogSettings {
        file_bytes: settings.log_file_bytes,
        purge_bytes: settings.log_purge_bytes,
    };
    let snapshots = SnapshotStore::open(dir, abort_process)?;
    let log = LogStore::open(dir, sizes, abort_process)?;
    let machine = Machine::new(shared.clone(), snapshots, aftermath.clone());
    let me = dir.node_id();
    let mut engine = engine::Config::new(me, seed);
    engine.snapshot_every_entries = settings.snapshot_entries;
    let alone = Membership { voters: [me].into(), ..Membership::default() };
    let config = nacolet_raft::Config::new(engine).bootstrap(alone);
    Ok(Raft::new(config, log, machine, NoPeers, clock::RaftTimer)?)
}

/// The network of a node that has no peers: nobody can be reached.
struct NoPeers;

impl RaftNetworkFactory for NoPeers {
    type Network = Self;

    fn connect(&mut self, _target: NodeId, _address: &str) -> Self {
        Self
    }
}

impl RaftNetwork for NoPeers {
    fn send(
        &mut self,
        _message: nacolet_raft::Message,
    ) -> nacolet_raft::LocalBoxFuture<'_, Result<(), nacolet_raft::Unreachable>> {
        Box::pin(future::ready(Err(nacolet_raft::Unreachable)))
    }

    fn send_chunk(
        &mut self,
        _term: nacolet_raft::Term,
        _meta: &nacolet_raft::SnapshotMeta,
        _offset: u64,
        _chunk: nacolet_raft::SnapshotChunk,
    ) -> nacolet_raft::LocalBoxFuture<'_, Result<u64, nacolet_raft::Unreachable>> {
        Box::pin(future::ready(Err(nacolet_raft::Unreachable)))
    }
}

fn facts(dir: &DataDir, address: SocketAddr, grpc: SocketAddr) -> Facts {
    Facts {
        version: env!("CARGO_PKG_VERSION"),
        node: dir.node_id(),
        host: advertised(address.ip()).to_string().into(),
        http: address,
        grpc: Some(grpc),
        peer: None,
        started: clock::wall(),
    }
}

/// An address that a client on this host can use where the node listens on all of them.
fn advertised(ip: IpAddr) -> IpAddr {
    if ip.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { ip }
}

/// What the api says of the cluster: this node, and how far its log has got.
fn status(raft: &Raft<Machine>, address: SocketAddr) -> Arc<dyn Fn() -> NodeStatus + Send + Sync> {
    let raft = raft.clone();
    let http: Box<str> =
        SocketAddr::new(advertised(address.ip()), address.port()).to_string().into();
    Arc::new(move || {
        let metrics = raft.metrics();
        let member = |(node, voter): (&NodeId, bool)| MemberStatus {
            node: *node,
            http: http.clone(),
            voter,
            up: metrics.running,
        };
        let voters = metrics.membership.voters.iter().map(|node| (node, true));
        let learners = metrics.membership.learners.iter().map(|node| (node, false));
        NodeStatus {
            leader: metrics.leader,
            term: metrics.term.0,
            commit_index: metrics.commit_index.0,
            last_applied: metrics.applied_index.0,
            members: voters.chain(learners).map(member).collect(),
        }
    })
}
