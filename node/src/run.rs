//! Puts a node together and runs it: what is on disk is read back, the core thread starts to turn,
//! and only when the state is whole do the api threads open their doors. Ends in the opposite
//! order.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, RwLock};

use nacolet_api::{Port, Server, Stage, listen};
use nacolet_model::{ConfigKey, NodeId, limits};
use nacolet_raft::engine;
use nacolet_raft::{Raft, Tasks};
use nacolet_registry::probe::ProbeCounts;
use nacolet_registry::{Life, RegistrySettings};
use nacolet_storage::{DataDir, LogSettings, LogStore, SnapshotStore, abort_process};
use smol::{LocalExecutor, future};

use crate::cluster::SharedCluster;
use crate::cluster::member::{Before, Member, MemberError};
use crate::cluster::record::Record;
use crate::core::{Core, CoreParts};
use crate::doors::{Claim, Doors, ThreadEnd, api_thread, claim, raise_descriptor_limit};
use crate::error::RunError;
use crate::facts::{facts, own_http, status};
use crate::machine::{Aftermath, Machine, Shared, read};
use crate::probe::Prober;
use crate::proposer::Proposer;
use crate::ref_time::{RefTime, RefTimeRecord};
use crate::seen::Seen;
use crate::settings::Settings;
use crate::space::Space;
use crate::stall::Stall;
use crate::stating::Stating;
use crate::tail::Tail;
use crate::udp::Udp;
use crate::users::First;
use crate::{clock, command, log, refill, signals, vestibule};

/// Runs a node until it is asked to stop. A member whose data is damaged begins anew, once.
///
/// # Errors
/// See [`RunError`].
pub(crate) fn serve(settings: &Settings) -> Result<(), RunError> {
    raise_descriptor_limit();
    match run(settings) {
        Err(damage) if damage.is_damage() => {
            if refill::prepare(settings, &damage, NodeId(random()?))? {
                run(settings)
            } else {
                Err(damage)
            }
        }
        // Its api threads still run: the next start begins anew.
        Err(odd @ RunError::Member(MemberError::Odd { .. })) => {
            refill::prepare(settings, &odd, NodeId(random()?))?;
            Err(odd)
        }
        outcome => outcome,
    }
}

/// A node before anything of it runs.
struct Opened {
    dir: DataDir,
    http: Claim,
    grpc: Claim,
    ref_time: RefTime,
    life: Life,
    shared: Shared,
    aftermath: Aftermath,
    raft: (Raft<Machine>, Tasks),
    /// None for a node that is alone.
    member: Option<Member>,
    stage: Arc<Stage>,
    space: Space,
}

/// Claims the directory and the addresses, and reads back what is on disk.
fn open(settings: &Settings) -> Result<Opened, RunError> {
    let seed = random()?;
    clock::name(random()?);
    let dir = DataDir::open(&settings.data_dir, NodeId(random()?))?;
    let (http, grpc) = (claim(settings.http_addr)?, claim(settings.grpc_addr)?);
    let (ref_time, ref_time_floor) = RefTime::open(&dir)?;
    let life = life()?;
    let shared = Shared::new(RegistrySettings {
        seed,
        ref_time_floor,
        node: dir.node_id(),
        life,
        clustered: settings.cluster.is_some(),
    });
    let aftermath = Aftermath::default();
    let record = Record::load(&dir)?;
    let http_port = http.address.port();
    let before = Before::open(settings.cluster.as_ref(), &dir, record, http_port, seed)?;
    let Started { raft, tasks, unsettled } =
        start_raft(settings, &dir, seed, &shared, &aftermath, &before)?;
    let stage = Arc::new(Stage::new(unsettled, clock::now));
    let space = Space::new(&dir, &aftermath.freed);
    let member = before.complete(&raft, &dir, &space, &aftermath, &shared, &stage)?;
    let raft = (raft, tasks);
    Ok(Opened { dir, http, grpc, ref_time, life, shared, aftermath, raft, member, stage, space })
}

fn run(settings: &Settings) -> Result<(), RunError> {
    let Some(opened) = vestibule::pass(settings, open)? else { return Ok(()) };
    let Opened { dir, ref_time, life, shared, aftermath, member, stage, space, .. } = opened;
    let (raft, tasks) = opened.raft;
    // The claims hold these until the node has ended.
    let (address, grpc) = (opened.http.address, opened.grpc.address);
    let cluster = member.as_ref().map(|member| SharedCluster::clone(&member.cluster));
    let proposer = Proposer::new(raft.clone(), cluster.clone(), space.clone());
    let (requests, from_api) = async_channel::bounded(limits::CORE_QUEUE_MAX);
    let probed = Arc::default();
    let port = Arc::new(Port {
        configs: Arc::clone(&shared.configs),
        registry: Arc::clone(&shared.registry),
        users: Arc::clone(&shared.users),
        auth: settings.auth.is_some(),
        requests,
        clock: clock::both,
        facts: Arc::new(facts(settings, &dir, life, address, grpc, member.as_ref())),
        stage,
        moves: cluster.as_ref().map(|cluster| Arc::clone(&cluster.moves)).unwrap_or_default(),
        status: status(&raft, own_http(settings, address), cluster.as_ref(), &probed),
    });
    let udp = Udp::bind(address.ip());
    let (ref_time_tried, ref_time_record) = (ref_time.tried(), ref_time.record());
    let caught_up = aftermath.clone();
    let (loading, loaded) = async_channel::bounded(1);
    let first = settings
        .auth
        .clone()
        .map(|auth| First::new(auth, dir.clone(), shared.clone(), proposer.clone()));
    let stating = Stating {
        room: settings.room,
        shared: shared.clone(),
        raft: raft.clone(),
        proposer: proposer.clone(),
        space: space.clone(),
    };
    let core = Core::new(CoreParts {
        shared,
        raft: raft.clone(),
        proposer: proposer.clone(),
        requests: from_api,
        aftermath,
        udp,
        ref_time,
        memory: settings.memory,
        cluster: cluster.clone(),
        loading: Some(loading),
    });
    let executor = LocalExecutor::new();
    let peer = member.as_ref().map(|member| member.bound);
    let node = RunningNode {
        settings,
        address,
        grpc,
        peer,
        raft,
        proposer,
        port,
        ref_time_tried,
        ref_time_record,
        loaded,
        cluster,
        aftermath: caught_up,
        probed,
        first,
        space,
        stating,
    };
    smol::block_on(executor.run(node.live(&executor, core, tasks, member)))
}

/// What the main task holds.
struct RunningNode<'a> {
    settings: &'a Settings,
    address: SocketAddr,
    grpc: SocketAddr,
    peer: Option<SocketAddr>,
    raft: Raft<Machine>,
    proposer: Proposer,
    port: Arc<Port>,
    ref_time_tried: async_channel::Receiver<()>,
    ref_time_record: RefTimeRecord,
    loaded: async_channel::Receiver<()>,
    cluster: Option<SharedCluster>,
    aftermath: Aftermath,
    probed: Arc<RwLock<ProbeCounts>>,
    /// Where everybody has to log in.
    first: Option<First>,
    space: Space,
    stating: Stating,
}

impl RunningNode<'_> {
    async fn live<'e>(
        self,
        executor: &LocalExecutor<'e>,
        core: Core,
        tasks: Tasks,
        member: Option<Member>,
    ) -> Result<(), RunError> {
        let raft_core = executor.spawn(tasks.core);
        let worker = executor.spawn(tasks.worker);
        let replication = executor.spawn(tasks.replication);
        let turns = executor.spawn(core.run());
        let probes = self.settings.probe.then(|| executor.spawn(self.prober().run()));
        let links = member.map(|member| executor.spawn(member.run()));
        let ended = async { raft_core.await.map_err(RunError::from) };
        let dismissed = async {
            match links {
                Some(links) => match links.await {
                    Ok(never) => match never {},
                    Err(error) => Err(error.into()),
                },
                None => future::pending().await,
            }
        };
        let outcome = future::or(future::or(ended, dismissed), self.serve(executor)).await;
        // From here on nobody is answered any more; what is queued for the disk is still written.
        self.raft.shutdown().await;
        drop((turns, probes));
        worker.await;
        drop(replication);
        if outcome.is_ok() {
            self.ref_time_record.end(read(&self.port.registry).ref_time_floor_at_end());
        }
        outcome
    }

    fn prober(&self) -> Prober {
        let ports = [Some(self.address), Some(self.grpc), self.peer];
        Prober {
            port: Arc::clone(&self.port),
            raft: self.raft.clone(),
            proposer: self.proposer.clone(),
            own_ports: ports.into_iter().flatten().map(|address| address.port()).collect(),
            counts: Arc::clone(&self.probed),
        }
    }

    /// Serves until the process is asked to stop. The doors are open from the beginning: probes
    /// are told what the node waits for, and everybody else that it is not that far.
    async fn serve<'e>(&self, executor: &LocalExecutor<'e>) -> Result<(), RunError> {
        // Nothing is ever sent: the channel closes.
        let _ = self.ref_time_tried.recv().await;
        let doors = self.open(executor)?;
        // A task of its own: beside the rest it would ask the kernel at every wake of this thread.
        let stop_requested = executor.spawn(signals::stop_requested());
        let stopped = async {
            stop_requested.await;
            Ok(())
        };
        let told = async { future::or(self.tell(), self.space.keep(&self.raft)).await };
        let told = future::or(told, async { match self.stating.run().await {} });
        future::or(told, future::or(self.keep_ready(), stopped)).await?;
        self.close(doors).await
    }

    /// Makes the node ready as soon as it is, and says so for as long as it is.
    async fn keep_ready(&self) -> Result<(), RunError> {
        let mut caught_up = pin!(self.caught_up());
        let no_leader = async {
            self.no_leader().await;
            None
        };
        match future::or(async { Some(caught_up.as_mut().await) }, no_leader).await {
            Some(outcome) => outcome?,
            None => {
                let metrics = self.raft.metrics();
                let why = match metrics.leader {
                    _ if metrics.storage_full => "the disk is full",
                    Some(_) => "what the leader has does not arrive",
                    None => "no leader is found",
                };
                tracing::warn!("{why}: serving instances, and configs as far as they are known");
                self.port.stage.open();
                caught_up.await?;
            }
        }
        self.make_ready();
        self.announce();
        self.watch().await
    }

    /// Tells what happens to the node for as long as it runs.
    async fn tell<T>(&self) -> T {
        let (mut seen, mut stall) = (Seen::new(&self.settings.data_dir), Stall::default());
        loop {
            smol::Timer::after(limits::LEADER_LOOK_EVERY).await;
            let metrics = self.raft.metrics();
            seen.look(&metrics, self.space.is_full(&metrics));
            stall.look(&self.raft, self.cluster.as_ref()).await;
        }
    }

    /// A member is ready for as long as it has a leader. One that was stopped for a while and goes
    /// on does not believe what it last heard of one.
    async fn watch(&self) -> ! {
        let stage = &self.port.stage;
        let Some(cluster) = &self.cluster else {
            loop {
                future::pending::<()>().await;
            }
        };
        loop {
            let looked = clock::now();
            smol::Timer::after(limits::LEADER_LOOK_EVERY).await;
            let has_slept = clock::now().saturating_since(looked) > limits::LEADER_PATIENCE / 2;
            let metrics = self.raft.metrics();
            let has_leader = metrics.leader.is_some_and(|leader| {
                // A learner never stands, so it never finds out that nobody leads.
                let votes = metrics.membership.is_voter(metrics.id);
                votes || cluster.transport.is_up(leader)
            });
            if has_leader && stage.is_ready() && !has_slept {
                stage.confirm_for(limits::LEADER_PATIENCE);
            } else if !stage.is_ready() || has_slept {
                stage.confirm_for(std::time::Duration::ZERO);
                tracing::warn!("not ready: configs are served as far as they are known");
                cluster.caught_up().await;
                self.make_ready();
                tracing::info!("ready again");
            }
        }
    }

    /// Resolves when a node that was a member before the start has looked for a leader in vain for
    /// a while, cannot write that it leads itself, or does not catch up with one for a longer
    /// while: what needs none does not wait any longer.
    async fn no_leader(&self) {
        let mut looks = 0;
        loop {
            smol::Timer::after(limits::LEADER_PATIENCE).await;
            looks += 1;
            let metrics = self.raft.metrics();
            let is_late = looks > limits::CATCH_UP_LOOKS;
            let has_none = metrics.leader.is_none() || metrics.storage_full || is_late;
            if has_none && metrics.membership.contains(metrics.id) {
                if self.cluster.is_some() {
                    let _ = self.loaded.recv().await;
                }
                return;
            }
        }
    }

    fn make_ready(&self) {
        if self.cluster.is_some() {
            self.port.stage.confirm_for(limits::LEADER_PATIENCE);
        }
        self.port.stage.make_ready();
        self.aftermath.caught_up();
    }

    /// Resolves once somebody can log in, where everybody has to. What memory this node has the
    /// others know then.
    async fn is_agreed(&self) -> Result<(), RunError> {
        self.stating.once().await;
        match &self.first {
            Some(first) => Ok(first.make().await?),
            None => Ok(()),
        }
    }

    /// Resolves once everything that was committed before the start is part of the state.
    async fn caught_up(&self) -> Result<(), RunError> {
        if let Some(cluster) = &self.cluster {
            cluster.caught_up().await;
            // The same: the registry has what other members have.
            let _ = self.loaded.recv().await;
            return self.is_agreed().await;
        }
        let mut version = 0;
        loop {
            let metrics = self.raft.metrics();
            let leads = metrics.role == engine::RoleKind::Leader;
            if leads && metrics.applied_index >= metrics.last_log.index {
                return self.is_agreed().await;
            }
            if metrics.membership.members().len() > 1 {
                return Err(MemberError::NoKey.into());
            }
            match self.raft.metrics_changed(version.max(metrics.version)).await {
                Ok(newer) => version = newer.version,
                // The node has stopped: its own end is waited for elsewhere.
                Err(_) => return future::pending().await,
            }
        }
    }

    /// Opens the doors.
    fn open<'e>(&self, executor: &LocalExecutor<'e>) -> Result<OpenDoors, RunError> {
        let mut limits = nacolet_api::Settings {
            connections_per_address: self.settings.connections_per_address,
            trusted_proxies: self.settings.trusted_proxies.clone(),
            operator_key: self.cluster.as_ref().map(|cluster| cluster.operator_key()),
            ..nacolet_api::Settings::default()
        };
        self.settings.room.bound_api(&mut limits);
        let server = Server::new(Arc::clone(&self.port), limits);
        if let Some(cluster) = &self.cluster {
            // The doors are opened once.
            let _ = cluster.server.set(server.clone());
        }
        let open = |address| listen(address).map_err(|source| RunError::Listen { address, source });
        let mut doors = Vec::new();
        for _ in 0..self.settings.threads.max(1) {
            doors.push(Doors { http: open(self.address)?, grpc: open(self.grpc)? });
        }
        let mut threads = Vec::new();
        let mut here = None;
        for (number, doors) in doors.into_iter().enumerate() {
            if self.settings.threads == 0 {
                // Two tasks: what happens at one door is no news to the other.
                let http = executor.spawn(server.clone().serve_http(doors.http));
                let grpc = executor.spawn(server.clone().serve_grpc(doors.grpc));
                here = Some(executor.spawn(async { future::try_zip(http, grpc).await.map(drop) }));
            } else {
                threads.push(api_thread(number, doors, server.clone())?);
            }
        }
        Ok(OpenDoors { server, here, threads })
    }

    /// Closes the doors in order.
    async fn close(&self, doors: OpenDoors) -> Result<(), RunError> {
        let OpenDoors { server, here, threads } = doors;
        tracing::info!("stopping");
        if let Some(cluster) = &self.cluster {
            cluster.hand_over().await;
        }
        self.port.stage.close();
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
        let peers = self.peer.map(|peer| format!(", peers on {peer}")).unwrap_or_default();
        // A node whose standard output is closed serves all the same.
        log::print(&format!("nacolet is ready on http://{address}/nacos, gRPC on {grpc}{peers}"));
        let members = self.raft.metrics().membership.members().len();
        let data = self.settings.data_dir.display();
        tracing::info!(node = %self.port.facts.node, %data, members, %address, %grpc, "ready");
    }
}

/// Everything that serves connections.
struct OpenDoors {
    server: Server,
    here: Option<smol::Task<io::Result<()>>>,
    threads: Vec<ThreadEnd>,
}

/// A life that no other start of any member has had.
fn life() -> Result<Life, RunError> {
    loop {
        match getrandom::u32().map_err(RunError::Random)? {
            0 => {}
            life => return Ok(Life(life)),
        }
    }
}

fn random() -> Result<u64, RunError> {
    getrandom::u64().map_err(RunError::Random)
}

/// Raft on what was found on disk.
struct Started {
    raft: Raft<Machine>,
    tasks: Tasks,
    /// Configs that the end of the log writes, agreed or not.
    unsettled: BTreeSet<ConfigKey>,
}

/// Reads back what is on disk and puts Raft on it; a new directory begins a cluster of one, unless
/// the node joins another one.
fn start_raft(
    settings: &Settings,
    dir: &DataDir,
    seed: u64,
    shared: &Shared,
    aftermath: &Aftermath,
    before: &Before,
) -> Result<Started, RunError> {
    let (file_bytes, purge_bytes) = (settings.log_file_bytes, settings.log_purge_bytes);
    let sizes = LogSettings { file_bytes, purge_bytes, frees: command::frees };
    let snapshots = SnapshotStore::open(dir, abort_process)?;
    let (log, unsettled) = Tail::of(LogStore::open(dir, sizes, abort_process)?);
    let alone = settings.room.stated().filter(|_| settings.cluster.is_none());
    let machine = Machine::new(shared.clone(), snapshots, aftermath.clone()).within(alone);
    let me = dir.node_id();
    let mut engine = engine::EngineConfig::new(me, seed);
    engine.snapshot_every_entries = settings.snapshot_entries;
    settings.room.bound_engine(&mut engine);
    let mut config = nacolet_raft::Config::new(engine);
    config.bootstrap = before.first_membership();
    let (raft, tasks) = Raft::new(config, log, machine, before.network(), clock::RaftTimer)?;
    Ok(Started { raft, tasks, unsettled: unsettled.take() })
}
