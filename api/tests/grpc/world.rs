//! A node without Raft and disk: the real cores behind the real port, applied at once, and the gRPC
//! engine on a port of its own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use nacolet_api::feed::Feed;
use nacolet_api::operate::{Question, Told};
use nacolet_api::request::Responder;
use nacolet_api::who::Found;
use nacolet_api::{
    Facts, MemberStatus, NodeStatus, Port, Request, Server, Settings, Stage, WriteError, listen,
    loopback,
};
use nacolet_auth::Users;
use nacolet_config::Store;
use nacolet_lock::{Locks, Stamp};
use nacolet_model::{Instant, NodeId, RequestId, WallTime};
use nacolet_registry::{
    Input, Output, Registry, RegistryCounts, RegistryError, RegistrySettings, Reply,
};

#[expect(clippy::disallowed_methods, reason = "tests over sockets run in real time")]
fn clock() -> (Instant, WallTime) {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let elapsed = START.get_or_init(std::time::Instant::now).elapsed();
    let micros = u64::try_from(elapsed.as_micros()).expect("tests end");
    (Instant::from_micros(micros), WallTime(1_700_000_000_000 + micros / 1_000))
}

/// Thirty times as fast.
fn fast_clock() -> (Instant, WallTime) {
    let (now, wall) = clock();
    (Instant::from_micros(30_000 * now.as_millis()), wall)
}

/// The time, for what a test measures.
#[expect(clippy::disallowed_methods, reason = "tests over sockets run in real time")]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// This node, and one other that is never asked anything over a socket.
fn status() -> NodeStatus {
    let member = |id, http: &str, up| {
        let peer = http.replace(":8848", ":7848").into();
        MemberStatus { node: NodeId(id), http: http.into(), peer, voter: true, up }
    };
    let members = vec![member(1, "127.0.0.1:8848", true), member(2, "10.0.0.8:8848", true)];
    NodeStatus { members, ..NodeStatus::default() }
}

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    /// The HTTP port.
    pub(crate) http: SocketAddr,
    pub(crate) server: Server,
    pub(crate) port: Arc<Port>,
    /// What the other member finds, whoever is looked for.
    pub(crate) elsewhere: Arc<Mutex<Found>>,
    shifts: Shifts,
    lock_writes: Arc<AtomicUsize>,
    engine: Option<JoinHandle<()>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Settings { tick: Duration::from_millis(20), ..Settings::default() })
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self::with_users(settings, None)
    }

    /// Where these have to log in.
    pub(crate) fn with_users(settings: Settings, users: Option<Users>) -> Self {
        Self::with_clock(settings, users, clock)
    }

    /// Where time passes thirty times as fast, and no client is asked whether it lives.
    pub(crate) fn in_a_hurry() -> Self {
        let day = Duration::from_secs(86_400);
        let settings = Settings {
            tick: Duration::from_millis(20),
            grpc_idle_timeout: day,
            grpc_setup_timeout: day,
            ..Settings::default()
        };
        Self::with_clock(settings, None, fast_clock)
    }

    fn with_clock(
        mut settings: Settings,
        users: Option<Users>,
        clock: fn() -> (Instant, WallTime),
    ) -> Self {
        // All tests once more, for connections that wait among the quiet ones when they can.
        let is_unset = settings.grpc_quiet_after == Settings::default().grpc_quiet_after;
        if is_unset && std::env::var_os("NACOLET_TEST_QUIET").is_some() {
            settings.grpc_quiet_connections_min = 1;
            settings.grpc_quiet_after = Duration::from_millis(20);
        }
        let (requests, inbox) = async_channel::bounded(1_024);
        let facts = Facts {
            version: "0.1.0",
            node: NodeId(1),
            life: nacolet_registry::Life(1),
            host: "127.0.0.1".into(),
            http: loopback(),
            grpc: Some(loopback()),
            peer: None,
            started: WallTime(0),
        };
        let stage = Stage::default();
        stage.make_ready();
        let port = Arc::new(Port {
            configs: Arc::new(RwLock::new(Store::new())),
            registry: Arc::new(RwLock::new(Registry::new(RegistrySettings::default()))),
            auth: users.is_some(),
            users: Arc::new(RwLock::new(users.unwrap_or_default())),
            requests,
            clock,
            facts: Arc::new(facts),
            stage: Arc::new(stage),
            moves: Arc::default(),
            status: Arc::new(status),
        });
        let mut core = Core {
            configs: Arc::clone(&port.configs),
            registry: Arc::clone(&port.registry),
            feeds: Vec::new(),
            waiting: None,
            index: 0,
            locks: Locks::new(),
            clock,
            shifts: Shifts::default(),
            lock_writes: Arc::default(),
            elsewhere: Arc::default(),
        };
        let elsewhere = Arc::clone(&core.elsewhere);
        let shifts = Arc::clone(&core.shifts);
        let lock_writes = Arc::clone(&core.lock_writes);
        core.step(Input::WallClock(clock().1));
        std::thread::spawn(move || {
            while let Ok(request) = smol::block_on(inbox.recv()) {
                core.take(request);
            }
        });
        let server = Server::new(Arc::clone(&port), settings);
        let listener = listen(loopback()).expect("binds");
        let address = listener.local_addr().expect("has an address");
        let http_listener = listen(loopback()).expect("binds");
        let http = http_listener.local_addr().expect("has an address");
        let engine = {
            let server = server.clone();
            std::thread::spawn(move || {
                let http = server.clone().serve_http(http_listener);
                let both = smol::future::try_zip(server.serve_grpc(listener), http);
                smol::block_on(both).expect("serves");
            })
        };
        Self { address, http, server, port, elsewhere, shifts, lock_writes, engine: Some(engine) }
    }

    /// What the registry holds.
    /// How often locks were written to.
    pub(crate) fn lock_writes(&self) -> usize {
        self.lock_writes.load(Ordering::Relaxed)
    }

    pub(crate) fn counts(&self) -> RegistryCounts {
        let registry = self.port.registry.read().expect("no panic before");
        registry.invariants();
        registry.counts()
    }

    /// What other members were told: who, how many connections stay, and where the rest goes.
    pub(crate) fn shifts(&self) -> Vec<(u64, usize, u64)> {
        self.shifts.lock().expect("no panic before").clone()
    }

    /// How far the node has come.
    pub(crate) fn stage(&self) -> &Stage {
        &self.port.stage
    }

    /// A second server over the same state whose gRPC engine does not run yet.
    pub(crate) fn without_grpc(&self) -> Server {
        Server::new(Arc::clone(&self.port), Settings::default())
    }

    /// Stops the engine and waits until it is done.
    pub(crate) fn stop(&mut self) {
        self.server.stop();
        if let Some(engine) = self.engine.take() {
            engine.join().expect("the engine does not panic");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits for something that other threads do.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("never: {what}");
}

struct Core {
    configs: Arc<RwLock<Store>>,
    registry: Arc<RwLock<Registry>>,
    feeds: Vec<Weak<Feed>>,
    waiting: Option<Responder<Result<Reply, WriteError<RegistryError>>>>,
    index: u64,
    locks: Locks,
    clock: fn() -> (Instant, WallTime),
    shifts: Shifts,
    lock_writes: Arc<AtomicUsize>,
    elsewhere: Arc<Mutex<Found>>,
}

type Shifts = Arc<Mutex<Vec<(u64, usize, u64)>>>;

impl Core {
    #[expect(clippy::wildcard_enum_match_arm, reason = "gRPC asks for nothing else")]
    fn take(&mut self, request: Request) {
        match request {
            Request::Config { command, reply } => {
                self.index += 1;
                let mut changes = Vec::new();
                let outcome = {
                    let mut configs = self.configs.write().expect("no panic before");
                    configs.apply(self.index, command, &mut changes)
                };
                for feed in self.feeds.iter().filter_map(Weak::upgrade) {
                    feed.configs.tell(changes.iter().map(|change| change.key.clone()));
                }
                // A client may have gone away meanwhile.
                let _ = reply.send(outcome.map_err(WriteError::Refused));
            }
            Request::Registry { request, reply } => {
                self.waiting = Some(reply);
                let at = clock().1;
                self.step(Input::Request { request: RequestId(1), at, body: request });
            }
            Request::Lock { mut command, reply } => {
                self.lock_writes.fetch_add(1, Ordering::Relaxed);
                command.set_stamp(Stamp { clock: 1, millis: (self.clock)().0.as_millis() });
                let mut notices = Vec::new();
                let answer = self.locks.operate(&command, &mut notices);
                for feed in self.feeds.iter().filter_map(Weak::upgrade) {
                    feed.locks.tell(notices.iter().cloned());
                }
                let _ = reply.send(answer.map_err(WriteError::Refused));
            }
            Request::Follow { feed } => self.feeds.push(Arc::downgrade(&feed)),
            Request::Gone { client } => self.step(Input::ClientGone(client)),
            Request::Cluster { ask: Question::Connections, reply } => {
                let _ = reply.send(Ok(Told::Connections(vec![(NodeId(2), 5)])));
            }
            Request::Cluster { ask: Question::Shift { node, keep, target }, reply } => {
                self.shifts.lock().expect("no panic before").push((node.0, keep, target.0));
                let _ = reply.send(Ok(Told::Done));
            }
            Request::Cluster { ask: Question::Who(_), reply } => {
                let found = self.elsewhere.lock().expect("no panic before").clone();
                let _ = reply.send(Ok(Told::Found(found)));
            }
            // Nobody listens over HTTP here.
            Request::Watchers { reply, .. } => {
                let _ = reply.send(Vec::new());
            }
            other => panic!("gRPC never asks for {other:?}"),
        }
    }

    fn step(&mut self, input: Input) {
        let registry = Arc::clone(&self.registry);
        let mut registry = registry.write().expect("no panic before");
        let mut out = Vec::new();
        registry.step(clock().0, input, &mut out);
        let mut answer = None;
        while let Some(output) = out.pop() {
            match output {
                Output::Reply { result, .. } => answer = Some(result),
                Output::Propose { command, .. } => {
                    self.index += 1;
                    answer = Some(registry.apply(clock().0, self.index, command, &mut out));
                }
                Output::Push { .. } => panic!("gRPC has no UDP subscribers"),
                Output::Send { .. } => panic!("a node that is alone sends nothing"),
                Output::ReserveRefTime { until } => {
                    registry.step(clock().0, Input::RefTimeReserved { until }, &mut out);
                }
            }
        }
        let changed = registry.take_changed();
        drop(registry);
        for feed in self.feeds.iter().filter_map(Weak::upgrade) {
            feed.services.tell(changed.iter().cloned());
        }
        if let Some(answer) = answer
            && let Some(reply) = self.waiting.take()
        {
            let _ = reply.send(answer.map_err(WriteError::Refused));
        }
    }
}
