//! A server in process with a core of its own: the registry is stepped between calls, what it wants
//! in the Raft log is applied at once, and time moves only when a test says so.

use std::cell::Cell;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use nacolet_api::MemberStatus;
use nacolet_api::udp::render_push;
use nacolet_api::{Call, HttpAnswer};
use nacolet_api::{Facts, NodeStatus, Port, Request, Server, Settings, Stage, WriteError};
use nacolet_config::Store;
use nacolet_model::{Instant, NodeId, RequestId, WallTime};
use nacolet_registry::probe::ProbeCounts;
use nacolet_registry::{
    Input, Output, Registry, RegistryError, RegistrySettings, Reply, Subscriber,
};
use serde_json::Value;
use smol::future;

/// Wall time when a test begins, milliseconds.
const EPOCH_MS: u64 = 1_700_000_000_000;

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
}

fn clock() -> (Instant, WallTime) {
    let now = NOW_MS.get();
    (Instant::from_millis(now), WallTime(EPOCH_MS + now))
}

/// One push that the node would have sent.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) subscriber: Subscriber,
    pub(crate) datagram: Vec<u8>,
    pub(crate) reference: u64,
}

/// A server, its registry and its time.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) port: Arc<Port>,
    pub(crate) pushes: Vec<Push>,
    /// How many requests reached the core.
    pub(crate) core_requests: usize,
    requests: async_channel::Receiver<Request>,
    waiting: Option<Waiting>,
    index: u64,
}

type Waiting = nacolet_api::request::Responder<Result<Reply, WriteError<RegistryError>>>;

impl World {
    pub(crate) fn new() -> Self {
        NOW_MS.set(1_000);
        let (sender, requests) = async_channel::bounded(16);
        let settings = RegistrySettings { seed: 1, ..RegistrySettings::default() };
        let status = || NodeStatus {
            leader: Some(NodeId(1)),
            term: 3,
            commit_index: 7,
            last_applied: 7,
            members: vec![MemberStatus {
                node: NodeId(1),
                http: "10.0.0.9:8848".into(),
                peer: "10.0.0.9:7848".into(),
                voter: true,
                up: true,
            }],
            distro_dropped: 0,
            states_differing: 0,
            probes: ProbeCounts { asked: 5, failed: 4, void: 3, barred: 2, proposed: 1 },
        };
        let stage = Stage::default();
        stage.make_ready();
        let port = Arc::new(Port {
            configs: Arc::new(RwLock::new(Store::new())),
            registry: Arc::new(RwLock::new(Registry::new(settings))),
            users: Arc::default(),
            auth: false,
            requests: sender,
            clock,
            facts: Arc::new(Facts {
                version: "0.1.0",
                node: NodeId(1),
                life: nacolet_registry::Life(1),
                host: "10.0.0.9".into(),
                http: "127.0.0.1:8848".parse().expect("an address"),
                grpc: None,
                peer: None,
                started: WallTime(EPOCH_MS),
            }),
            stage: Arc::new(stage),
            moves: Arc::default(),
            status: Arc::new(status),
        });
        let server = Server::new(Arc::clone(&port), Settings::default());
        let (pushes, core_requests, waiting, index) = (Vec::new(), 0, None, 0);
        let mut world = Self { server, port, pushes, core_requests, requests, waiting, index };
        world.step(Input::WallClock(clock().1));
        world
    }

    fn step(&mut self, input: Input) {
        let port = Arc::clone(&self.port);
        let mut registry = port.registry.write().expect("no panic before");
        let mut out = Vec::new();
        registry.step(clock().0, input, &mut out);
        while !out.is_empty() {
            for output in std::mem::take(&mut out) {
                self.carry_out(&mut registry, output, &mut out);
            }
        }
        registry.invariants();
    }

    fn carry_out(&mut self, registry: &mut Registry, output: Output, out: &mut Vec<Output>) {
        let now = clock().0;
        match output {
            Output::Reply { result, .. } => self.answer(result),
            Output::Propose { request, command } => {
                self.index += 1;
                let result = registry.apply(now, self.index, command, out);
                if request.is_some() {
                    self.answer(result);
                }
            }
            Output::Push { subscriber, service, clusters, reference } => {
                let users = self.port.users.read().expect("no panic before");
                let datagram =
                    render_push(registry, &users, &subscriber, &service, &clusters, reference);
                let datagram = datagram.expect("it fits");
                self.pushes.push(Push { subscriber, datagram, reference });
            }
            Output::Send { .. } => panic!("a node that is alone sends nothing"),
            Output::ReserveRefTime { until } => {
                registry.step(now, Input::RefTimeReserved { until }, out);
            }
        }
    }

    fn answer(&mut self, result: Result<Reply, RegistryError>) {
        let reply = self.waiting.take().expect("somebody waits for the answer");
        // Whoever gave up waiting is no concern of the core.
        let _ = reply.send(result.map_err(WriteError::Refused));
    }

    fn take(&mut self, request: Request) {
        self.core_requests += 1;
        let at = clock().1;
        match request {
            Request::Registry { request, reply } => {
                self.waiting = Some(reply);
                self.step(Input::Request { request: RequestId(1), at, body: request });
            }
            Request::Subscribe { service, clusters, subscriber } => {
                self.step(Input::Subscribe { service, clusters, subscriber, at });
            }
            Request::Config { .. }
            | Request::Lock { .. }
            | Request::Auth { .. }
            | Request::ReadIndex { .. }
            | Request::Cluster { .. }
            | Request::Listen { .. }
            | Request::Watchers { .. }
            | Request::Follow { .. }
            | Request::Gone { .. } => {
                panic!("naming never asks for configs")
            }
        }
    }

    /// Lets time pass; deadlines fire when they are due.
    pub(crate) fn advance(&mut self, time: Duration) {
        let end = clock().0 + time;
        loop {
            let deadline = self.port.registry.read().expect("no panic before").next_deadline();
            let Some(deadline) = deadline.filter(|deadline| *deadline <= end) else { break };
            NOW_MS.set(deadline.as_micros().div_ceil(1_000).max(NOW_MS.get()));
            self.step(Input::Wake);
        }
        NOW_MS.set(end.as_millis());
    }

    /// Serves one call.
    pub(crate) fn serve(&mut self, call: Call) -> HttpAnswer {
        let server = self.server.clone();
        let requests = self.requests.clone();
        let core = async {
            while let Ok(request) = requests.recv().await {
                self.take(request);
            }
            unreachable!("the server holds the channel open")
        };
        let answer = future::block_on(future::or(server.call(call), core));
        while let Ok(request) = self.requests.try_recv() {
            self.take(request);
        }
        answer
    }

    /// A call with everything in the query; status and body.
    pub(crate) fn call(&mut self, method: &str, target: &str) -> (u16, String) {
        self.call_as(method, target, "", &[])
    }

    /// A call with a body, which is a form unless a header says otherwise; status and body.
    pub(crate) fn call_as(
        &mut self,
        method: &str,
        target: &str,
        form: &str,
        headers: &[(&'static str, &str)],
    ) -> (u16, String) {
        let mut call = Call {
            method: method.parse().expect("a method"),
            uri: format!("/nacos{target}").parse().expect("a target"),
            body: form.to_owned().into(),
            ..Call::default()
        };
        let form_type = [("content-type", "application/x-www-form-urlencoded")];
        let form_type = if form.is_empty() { &[][..] } else { &form_type[..] };
        for (name, value) in form_type.iter().chain(headers) {
            call.headers.insert(*name, value.parse().expect("a header"));
        }
        let answer = self.serve(call);
        let body = String::from_utf8(answer.body.to_vec()).expect("text");
        (answer.status.as_u16(), body)
    }

    /// A call that must succeed with JSON.
    pub(crate) fn json(&mut self, method: &str, target: &str) -> Value {
        let (status, body) = self.call(method, target);
        assert_eq!(status, 200, "{method} {target}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|_| panic!("{target} is no JSON: {body}"))
    }

    /// A call that must answer exactly this.
    pub(crate) fn expect(&mut self, method: &str, target: &str, status: u16, body: &str) {
        assert_eq!(self.call(method, target), (status, body.to_owned()), "{method} {target}");
    }

    /// The list of a service.
    pub(crate) fn list(&mut self, query: &str) -> Value {
        self.json("GET", &format!("/v1/ns/instance/list?{query}"))
    }

    /// Registers an instance.
    pub(crate) fn register(&mut self, query: &str) {
        self.expect("POST", &format!("/v1/ns/instance?{query}"), 200, "ok");
    }
}
