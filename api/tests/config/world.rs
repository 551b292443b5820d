//! A node without Raft and disk: the real config core behind the real port, applied at once.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use nacolet_api::request::{ListenAnswer, Responder};
use nacolet_api::who::{Watcher, WatchersOf};
use nacolet_api::{
    Facts, NodeStatus, Port, Request, Server, Settings, Stage, WriteError, listen, loopback,
};
use nacolet_auth::Users;
use nacolet_config::{ListenInput, ListenOutput, Listeners, Store};
use nacolet_model::{Instant, NodeId, RequestId, WallTime};
use nacolet_registry::{Registry, RegistrySettings};
use smol::future::block_on;
use tide::http;

/// How the core behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Applies what it is asked.
    Well,
    /// Takes writes and never answers them.
    Silent,
    /// Refuses writes for want of disk.
    Full,
}

enum Control {
    Mood(Mood),
    /// Lets every long poll run out.
    Expire,
    /// How many long polls are held, and the latest deadline.
    Held(std::sync::mpsc::Sender<(usize, Option<Instant>)>),
}

pub(crate) struct World {
    pub(crate) server: Server,
    control: async_channel::Sender<Control>,
    pub(crate) stage: Arc<Stage>,
}

#[expect(clippy::disallowed_methods, reason = "tests over sockets run in real time")]
pub(crate) fn clock() -> (Instant, WallTime) {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let elapsed = START.get_or_init(std::time::Instant::now).elapsed();
    let micros = u64::try_from(elapsed.as_micros()).expect("tests end");
    (Instant::from_micros(micros), WallTime(1_700_000_000_000 + micros / 1_000))
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let configs = Arc::new(RwLock::new(Store::new()));
        let users = Arc::new(RwLock::new(Users::new()));
        let (requests, inbox) = async_channel::bounded(1_024);
        let (control, orders) = async_channel::bounded(16);
        let facts = Facts {
            version: "0.1.0",
            node: NodeId(1),
            life: nacolet_registry::Life(1),
            host: "127.0.0.1".into(),
            http: loopback(),
            grpc: None,
            peer: None,
            started: WallTime(0),
        };
        let stage = Stage::default();
        stage.make_ready();
        let stage = Arc::new(stage);
        let port = Port {
            configs: Arc::clone(&configs),
            registry: Arc::new(RwLock::new(Registry::new(RegistrySettings::default()))),
            users: Arc::clone(&users),
            auth: false,
            requests,
            clock,
            facts: Arc::new(facts),
            stage: Arc::clone(&stage),
            moves: Arc::default(),
            status: Arc::new(NodeStatus::default),
        };
        let core = Core {
            configs,
            users,
            listeners: Listeners::new(),
            polls: BTreeMap::new(),
            mood: Mood::Well,
            last: 0,
            deadline: None,
            unanswered: Vec::new(),
        };
        std::thread::spawn(move || block_on(core.run(inbox, orders)));
        Self { server: Server::new(Arc::new(port), settings), control, stage }
    }

    pub(crate) fn mood(&self, mood: Mood) {
        block_on(self.control.send(Control::Mood(mood))).expect("the core runs");
    }

    pub(crate) fn expire(&self) {
        block_on(self.control.send(Control::Expire)).expect("the core runs");
    }

    /// How many long polls are held now, and the latest deadline.
    pub(crate) fn held(&self) -> (usize, Option<Instant>) {
        let (tell, told) = std::sync::mpsc::channel();
        block_on(self.control.send(Control::Held(tell))).expect("the core runs");
        told.recv().expect("the core answers")
    }

    /// Waits until as many long polls are held.
    pub(crate) fn wait_held(&self, count: usize) {
        eventually(&format!("{count} polls"), || self.held().0 == count);
    }

    pub(crate) fn call(&self, method: &str, target: &str) -> Reply {
        self.send(request(method, target))
    }

    pub(crate) fn form(&self, method: &str, target: &str, body: &str) -> Reply {
        let mut request = request(method, target);
        request.set_body(body);
        request.insert_header("content-type", "application/x-www-form-urlencoded");
        self.send(request)
    }

    pub(crate) fn send(&self, request: http::Request) -> Reply {
        let mut response = block_on(self.server.respond(request)).expect("an answer");
        let body = block_on(response.body_bytes()).expect("a body");
        let headers =
            response.iter().map(|(n, v)| (n.as_str().to_owned(), v.as_str().to_owned())).collect();
        Reply { status: u16::from(response.status()), headers, body }
    }

    /// Publishes and expects it to work.
    pub(crate) fn publish(&self, data_id: &str, content: &str) {
        let target = format!("/nacos/v1/cs/configs?dataId={data_id}&group=g");
        let reply = self.form("POST", &target, &format!("content={content}"));
        assert_eq!((reply.status, reply.text()), (200, "true"));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.stop();
    }
}

pub(crate) fn request(method: &str, target: &str) -> http::Request {
    let url = http::Url::parse(&format!("http://localhost{target}")).expect("a good target");
    http::Request::new(method.parse::<http::Method>().expect("a method"), url)
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

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

struct Core {
    configs: Arc<RwLock<Store>>,
    users: Arc<RwLock<Users>>,
    listeners: Listeners,
    polls: BTreeMap<u64, Responder<ListenAnswer>>,
    mood: Mood,
    last: u64,
    deadline: Option<Instant>,
    /// Replies kept back while silent: a dropped one would be an answer.
    unanswered: Vec<Box<dyn std::any::Any + Send>>,
}

impl Core {
    async fn run(
        mut self,
        inbox: async_channel::Receiver<Request>,
        orders: async_channel::Receiver<Control>,
    ) {
        loop {
            let request = async { inbox.recv().await.ok().map(Ok) };
            let order = async { orders.recv().await.ok().map(Err) };
            match smol::future::or(order, request).await {
                Some(Ok(request)) => self.serve(request),
                Some(Err(order)) => self.obey(order),
                None => return,
            }
        }
    }

    fn obey(&mut self, order: Control) {
        self.forget_gone();
        match order {
            Control::Mood(mood) => self.mood = mood,
            Control::Expire => {
                let late = Instant::from_micros(u64::MAX);
                self.step(late, ListenInput::Wake);
            }
            Control::Held(tell) => {
                tell.send((self.listeners.len(), self.deadline)).expect("the test waits");
            }
        }
    }

    fn forget_gone(&mut self) {
        let gone = |(id, reply): (&u64, &Responder<_>)| reply.is_canceled().then_some(*id);
        let gone: Vec<u64> = self.polls.iter().filter_map(gone).collect();
        for id in gone {
            self.polls.remove(&id);
            self.step(clock().0, ListenInput::Cancel(RequestId(id)));
        }
    }

    fn serve(&mut self, request: Request) {
        self.last += 1;
        match request {
            Request::Config { command: _, reply } if self.mood == Mood::Full => {
                reply.send(Err(WriteError::StorageFull)).expect("somebody waits");
            }
            Request::Config { command: _, reply } if self.mood == Mood::Silent => {
                self.unanswered.push(Box::new(reply));
            }
            Request::Config { command, reply } => {
                let mut changes = Vec::new();
                let outcome = {
                    let mut configs = self.configs.write().expect("no panic before");
                    configs.apply(self.last, command, &mut changes)
                };
                self.step(clock().0, ListenInput::Changed(changes));
                // A client may have gone away meanwhile.
                let _ = reply.send(outcome.map_err(WriteError::Refused));
            }
            Request::Listen { keys, ip, tag, deadline, reply } => {
                self.deadline = Some(deadline);
                self.polls.insert(self.last, reply);
                let request = RequestId(self.last);
                let input = ListenInput::Listen { request, keys, ip, tag, deadline };
                self.step(clock().0, input);
            }
            Request::Watchers { of, reply } => {
                let _ = reply.send(self.watchers(&of));
            }
            Request::Auth { command, reply } => {
                let mut users = self.users.write().expect("no panic before");
                let outcome = users.apply(self.last, command);
                let _ = reply.send(outcome.map_err(WriteError::Refused));
            }
            Request::ReadIndex { reply } => {
                let _ = reply.send(Ok(()));
            }
            Request::Cluster { ask: _, reply } => {
                let status = nacolet_api::operate::ClusterStatus::default();
                let _ = reply.send(Ok(nacolet_api::operate::Told::Status(status)));
            }
            Request::Registry { .. }
            | Request::Lock { .. }
            | Request::Subscribe { .. }
            | Request::Follow { .. }
            | Request::Gone { .. } => {}
        }
    }

    fn step(&mut self, now: Instant, input: ListenInput) {
        let mut out = Vec::new();
        let configs = self.configs.read().expect("no panic before");
        self.listeners.step(now, &configs, input, &mut out);
        for output in out {
            let (request, answer) = match output {
                ListenOutput::Answer { request, changed } => {
                    (request, ListenAnswer::Changed(changed))
                }
                ListenOutput::Refused { request } => (request, ListenAnswer::TooMany),
            };
            if let Some(reply) = self.polls.remove(&request.0) {
                let _ = reply.send(answer);
            }
        }
    }

    fn watchers(&self, of: &WatchersOf) -> Vec<Watcher> {
        match of {
            WatchersOf::Key(key) => {
                let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
                let found = self.listeners.watchers(namespace, group, key.data_id.as_str());
                found.map(|(ip, md5)| Watcher { key: key.clone(), ip: ip.into(), md5 }).collect()
            }
            WatchersOf::Ip { ip, namespace } => {
                let found = self.listeners.by_ip(ip).filter_map(|(key, md5)| {
                    Some(Watcher { key: key.to_key()?, ip: ip.clone(), md5 })
                });
                let wanted = |watcher: &Watcher| {
                    namespace.as_ref().is_none_or(|namespace| *namespace == watcher.key.namespace)
                };
                found.filter(wanted).collect()
            }
        }
    }
}

/// The engine on a port of its own, in front of a world.
pub(crate) struct Wire {
    pub(crate) world: World,
    pub(crate) address: SocketAddr,
    engine: Option<JoinHandle<()>>,
}

impl Wire {
    pub(crate) fn start(settings: Settings) -> Self {
        let world = World::with(settings);
        let listener = listen(loopback()).expect("binds");
        let address = listener.local_addr().expect("has an address");
        let server = world.server.clone();
        let engine = std::thread::spawn(move || {
            smol::block_on(server.serve_http(listener)).expect("serves")
        });
        Self { world, address, engine: Some(engine) }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("takes it");
        stream
    }

    /// Waits until the node holds that many bytes for its clients.
    pub(crate) fn holds(&self, bytes: usize) {
        eventually("the bytes have arrived", || {
            let page = self.world.call("GET", "/nacos/metrics");
            let line =
                page.text().lines().find_map(|line| line.strip_prefix("nacolet_held_bytes "));
            line.expect("the metric").parse::<usize>().expect("a number") >= bytes
        });
    }

    /// Sends bytes on a connection of their own and reads what comes until the end.
    pub(crate) fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).expect("sends");
        read_all(&mut stream)
    }

    /// Stops the engine and waits until it is done.
    pub(crate) fn stop(&mut self) {
        self.world.server.stop();
        if let Some(engine) = self.engine.take() {
            engine.join().expect("the engine does not panic");
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the server closes");
    String::from_utf8(bytes).expect("text")
}

/// Reads one response with a known length.
pub(crate) fn read_response(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).expect("text");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    [head, String::from_utf8(body).expect("text")].concat()
}

/// Short limits, so that slow clients are caught within a test's patience.
pub(crate) fn short() -> Settings {
    Settings {
        head_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(400),
        body_timeout: Duration::from_millis(600),
        body_grace: Duration::from_millis(200),
        write_timeout: Duration::from_millis(200),
        drain_timeout: Duration::from_secs(2),
        linger_timeout: Duration::from_millis(200),
        tick: Duration::from_millis(20),
        ..Settings::default()
    }
}
