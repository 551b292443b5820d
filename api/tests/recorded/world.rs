//! A server in process with all cores behind it, applied at once, on a clock that stands: two runs
//! of the same calls give the same answers, byte for byte.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use nacolet_api::operate::{ClusterMember, ClusterStatus, Question, Told};
use nacolet_api::request::{ListenAnswer, Responder};
use nacolet_api::who::{Found, Watcher, WatchersOf};
use nacolet_api::{
    Facts, MemberStatus, NodeStatus, Port, Request, Server, Settings, Stage, WriteError,
};
use nacolet_auth::{Actions, Begin, Command, Name, Pattern, Users};
use nacolet_config::{ListenInput, ListenOutput, Listeners, Store};
use nacolet_model::{Instant, NodeId, RequestId, WallTime};
use nacolet_registry::{
    Input, Output, Registry, RegistryCounts, RegistryError, RegistrySettings, Reply,
};
use smol::future;
use tide::http;

/// Everybody's password.
pub(crate) const PASSWORD: &str = "correct horse";
/// The rounds of its hash, as few as there may be.
const COST: u32 = 4;

const NOW: (Instant, WallTime) = (Instant::from_millis(1_000), WallTime(1_700_000_000_000));

type Waiting = Responder<Result<Reply, WriteError<RegistryError>>>;

pub(crate) struct World {
    server: Server,
    requests: async_channel::Receiver<Request>,
    port: Arc<Port>,
    listeners: Listeners,
    waiting: Option<Waiting>,
    index: u64,
}

/// An answer as a client sees it.
pub(crate) struct Seen {
    pub(crate) status: u16,
    /// In the order of their names.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn status() -> NodeStatus {
    let member = |id, host: &str, up| {
        let (http, peer) = (format!("{host}:8848").into(), format!("{host}:7848").into());
        MemberStatus { node: NodeId(id), http, peer, voter: true, up }
    };
    NodeStatus {
        leader: Some(NodeId(1)),
        term: 3,
        commit_index: 7,
        last_applied: 7,
        members: vec![member(1, "10.0.0.9", true), member(2, "10.0.0.8", false)],
        distro_dropped: 1,
        states_differing: 2,
        probes: nacolet_registry::probe::ProbeCounts {
            asked: 5,
            failed: 4,
            void: 3,
            barred: 2,
            proposed: 1,
        },
    }
}

impl World {
    /// Where users have to log in, there are the administrator `nacos`, `writer` of namespace `a`,
    /// and `nobody` without a role.
    pub(crate) fn new(auth: bool) -> Self {
        let (sender, requests) = async_channel::bounded(64);
        let stage = Stage::default();
        stage.make_ready();
        let facts = Facts {
            version: "0.0.0",
            node: NodeId(1),
            life: nacolet_registry::Life(1),
            host: "10.0.0.9".into(),
            http: "127.0.0.1:8848".parse().expect("an address"),
            grpc: None,
            peer: None,
            started: WallTime(1_600_000_000_000),
        };
        let settings = RegistrySettings { seed: 1, ..RegistrySettings::default() };
        let port = Arc::new(Port {
            configs: Arc::new(RwLock::new(Store::new())),
            registry: Arc::new(RwLock::new(Registry::new(settings))),
            users: Arc::new(RwLock::new(Users::new())),
            auth,
            requests: sender,
            clock: || NOW,
            facts: Arc::new(facts),
            stage: Arc::new(stage),
            moves: Arc::default(),
            status: Arc::new(status),
        });
        let settings = Settings { login_delay: Duration::ZERO, ..Settings::default() };
        let server = Server::new(Arc::clone(&port), settings);
        let listeners = Listeners::new();
        let mut world = Self { server, requests, port, listeners, waiting: None, index: 0 };
        world.step(Input::WallClock(NOW.1));
        world.add_users();
        world
    }

    fn add_users(&mut self) {
        static HASH: OnceLock<Box<str>> = OnceLock::new();
        let hash = HASH.get_or_init(|| {
            let parts = bcrypt::hash_with_salt(PASSWORD, COST, [7; 16]).expect("a password");
            parts.format_for_version(bcrypt::Version::TwoB).into()
        });
        let writer = Pattern::new("a:*:*").expect("a resource");
        for command in [
            Command::Begin(Begin { user: name("nacos"), hash: hash.clone(), key: [7; 32] }),
            Command::CreateUser { user: name("writer"), hash: hash.clone() },
            Command::CreateUser { user: name("nobody"), hash: hash.clone() },
            Command::AddRole { role: name("writers"), user: name("writer") },
            Command::Permit { role: name("writers"), resource: writer, actions: Actions::Both },
        ] {
            self.index += 1;
            let mut users = self.port.users.write().expect("no panic before");
            users.apply(self.index, command).expect("it fits");
        }
    }

    /// Method, path with `:name` segments, and the rest of the line of every route.
    pub(crate) fn routes(&self) -> Vec<nacolet_api::RouteInfo> {
        self.server.routes()
    }

    /// Serves one call.
    pub(crate) fn call(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Seen {
        let url = http::Url::parse(&format!("http://localhost{target}")).expect("a good target");
        let mut request =
            http::Request::new(method.parse::<http::Method>().expect("a method"), url);
        request.set_body(body);
        request.remove_header("content-type");
        request.set_peer_addr(Some(std::net::SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 5)));
        for (name, value) in headers {
            request.insert_header(*name, *value);
        }
        let server = self.server.clone();
        let requests = self.requests.clone();
        let core = async {
            while let Ok(request) = requests.recv().await {
                self.take(request);
            }
            unreachable!("the server holds the channel open")
        };
        let mut response =
            future::block_on(future::or(server.respond(request), core)).expect("an answer");
        while let Ok(request) = self.requests.try_recv() {
            self.take(request);
        }
        let body = future::block_on(response.body_bytes()).expect("a body");
        let mut headers: Vec<_> =
            response.iter().map(|(n, v)| (n.as_str().to_owned(), v.as_str().to_owned())).collect();
        headers.sort();
        Seen { status: u16::from(response.status()), headers, body }
    }

    fn take(&mut self, request: Request) {
        self.index += 1;
        match request {
            Request::Config { command, reply } => {
                let mut configs = self.port.configs.write().expect("no panic before");
                let outcome = configs.apply(self.index, command, &mut Vec::new());
                // Whoever gave up waiting is no concern of a core, here and below.
                let _ = reply.send(outcome.map_err(WriteError::Refused));
            }
            Request::Auth { command, reply } => {
                let mut users = self.port.users.write().expect("no panic before");
                let outcome = users.apply(self.index, command);
                let _ = reply.send(outcome.map_err(WriteError::Refused));
            }
            Request::Registry { request, reply } => {
                self.waiting = Some(reply);
                self.step(Input::Request { request: RequestId(1), at: NOW.1, body: request });
            }
            Request::Subscribe { service, clusters, subscriber } => {
                self.step(Input::Subscribe { service, clusters, subscriber, at: NOW.1 });
            }
            Request::Listen { keys, ip, tag, deadline, reply } => {
                let request = RequestId(self.index);
                let listen = ListenInput::Listen { request, keys, ip, tag, deadline };
                let _ = reply.send(self.listen(listen, deadline));
            }
            Request::Watchers { of, reply } => {
                let _ = reply.send(self.watchers(&of));
            }
            Request::ReadIndex { reply } => {
                let _ = reply.send(Ok(()));
            }
            Request::Cluster { ask, reply } => {
                let _ = reply.send(Ok(told(&ask)));
            }
            Request::Lock { .. } | Request::Follow { .. } | Request::Gone { .. } => {
                unreachable!("HTTP asks for no locks and opens no streams")
            }
        }
    }

    fn step(&mut self, input: Input) {
        let port = Arc::clone(&self.port);
        let mut registry = port.registry.write().expect("no panic before");
        let mut out = Vec::new();
        registry.step(NOW.0, input, &mut out);
        while !out.is_empty() {
            for output in std::mem::take(&mut out) {
                match output {
                    Output::Reply { result, .. } => self.answer(result),
                    Output::Propose { request, command } => {
                        self.index += 1;
                        let result = registry.apply(NOW.0, self.index, command, &mut out);
                        if request.is_some() {
                            self.answer(result);
                        }
                    }
                    Output::ReserveRefTime { until } => {
                        registry.step(NOW.0, Input::RefTimeReserved { until }, &mut out);
                    }
                    Output::Push { .. } => {}
                    Output::Send { .. } => panic!("a node that is alone sends nothing"),
                }
            }
        }
    }

    fn answer(&mut self, result: Result<Reply, RegistryError>) {
        let reply = self.waiting.take().expect("somebody waits for the answer");
        let _ = reply.send(result.map_err(WriteError::Refused));
    }

    /// What a poll hears at once, or when its time is over.
    fn listen(&mut self, listen: ListenInput, deadline: Instant) -> ListenAnswer {
        let configs = self.port.configs.read().expect("no panic before");
        let mut out = Vec::new();
        self.listeners.step(NOW.0, &configs, listen, &mut out);
        if out.is_empty() {
            self.listeners.step(deadline, &configs, ListenInput::Wake, &mut out);
        }
        match out.pop() {
            Some(ListenOutput::Answer { changed, .. }) => ListenAnswer::Changed(changed),
            Some(ListenOutput::Refused { .. }) | None => ListenAnswer::TooMany,
        }
    }

    fn watchers(&self, of: &WatchersOf) -> Vec<Watcher> {
        let key = match of {
            WatchersOf::Key(key) => key.clone(),
            WatchersOf::Ip { .. } => return Vec::new(),
        };
        vec![Watcher { key, ip: "10.0.0.1".into(), md5: None }]
    }

    /// What the registry holds.
    pub(crate) fn counts(&self) -> RegistryCounts {
        self.port.registry.read().expect("no panic before").counts()
    }
}

fn told(ask: &Question) -> Told {
    let member = ClusterMember {
        node: NodeId(1),
        address: "10.0.0.9:7848".into(),
        role: "leader",
        match_index: Some(9),
        state: "leading",
    };
    match ask {
        Question::Status => Told::Status(ClusterStatus {
            node: NodeId(1),
            leader: Some(NodeId(1)),
            term: 2,
            commit_index: 9,
            applied_index: 8,
            members: vec![member],
        }),
        Question::Add { .. } | Question::Remove { .. } => Told::Done,
        Question::Transfer { .. } => Told::Leader(NodeId(2)),
        Question::Snapshot => Told::Snapshot(9),
        Question::Connections => Told::Connections(vec![(NodeId(2), 5)]),
        Question::Shift { .. } => Told::Done,
        Question::Who(_) => Told::Found(Found::default()),
    }
}
