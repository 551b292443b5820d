//! A server whose users have to log in, and a core that applies what changes users and configs.

use std::cell::Cell;
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use nacolet_api::{Call, HttpAnswer};
use nacolet_api::{
    Facts, NodeStatus, Port, Request, Server, Settings, Stage, WriteError, hash_password,
};
use nacolet_auth::{Actions, Begin, Command, Name, Pattern, Users};
use nacolet_config::Store;
use nacolet_model::{Instant, NodeId, WallTime};
use nacolet_registry::{Registry, RegistrySettings};
use serde_json::Value;
use smol::future;

/// Everybody's password.
pub(crate) const PASSWORD: &str = "correct horse";

thread_local! {
    /// Monotonic and wall milliseconds.
    static NOW: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

fn clock() -> (Instant, WallTime) {
    let (mono, wall) = NOW.get();
    (Instant::from_millis(mono), WallTime(wall))
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) port: Arc<Port>,
    requests: async_channel::Receiver<Request>,
    index: u64,
    /// Where there is a list, what the core is asked is written down there and refused.
    pub(crate) asked: Option<Vec<String>>,
}

impl World {
    /// With an administrator, `nacos`.
    pub(crate) fn new() -> Self {
        static HASH: OnceLock<Box<str>> = OnceLock::new();
        let mut world = Self::with(true);
        let hash = HASH.get_or_init(|| hash_password(PASSWORD).expect("a password")).clone();
        world.apply(Command::Begin(Begin { user: name("nacos"), hash, key: [7; 32] }));
        world
    }

    /// Where nobody has to log in, and nobody is a user.
    pub(crate) fn open() -> Self {
        Self::with(false)
    }

    fn with(auth: bool) -> Self {
        NOW.set((1_000, 1_700_000_000_000));
        let (requests, inbox) = async_channel::bounded(16);
        let stage = Stage::default();
        stage.make_ready();
        let port = Arc::new(Port {
            configs: Arc::new(RwLock::new(Store::new())),
            registry: Arc::new(RwLock::new(Registry::new(RegistrySettings::default()))),
            users: Arc::new(RwLock::new(Users::new())),
            auth,
            requests,
            clock,
            facts: Arc::new(Facts {
                version: "0.1.0",
                node: NodeId(1),
                life: nacolet_registry::Life(1),
                host: "127.0.0.1".into(),
                http: "127.0.0.1:8848".parse().expect("an address"),
                grpc: None,
                peer: None,
                started: WallTime(0),
            }),
            stage: Arc::new(stage),
            moves: Arc::default(),
            status: Arc::new(NodeStatus::default),
        });
        let settings = Settings { login_delay: Duration::ZERO, ..Settings::default() };
        let server = Server::new(Arc::clone(&port), settings);
        Self { server, port, requests: inbox, index: 0, asked: None }
    }

    pub(crate) fn apply(&mut self, command: Command) {
        self.index += 1;
        let mut users = self.port.users.write().expect("no panic before");
        users.apply(self.index, command).expect("it fits");
    }

    /// One more user, with permissions.
    pub(crate) fn user(&mut self, user: &str, permissions: &[(&str, Actions)]) {
        let hash = {
            let users = self.port.users.read().expect("no panic before");
            users.user("nacos").expect("the first").hash.clone()
        };
        self.apply(Command::CreateUser { user: name(user), hash });
        let role = name(&format!("{user}s"));
        self.apply(Command::AddRole { role: role.clone(), user: name(user) });
        for (resource, actions) in permissions {
            let resource = Pattern::new(resource).expect("a resource");
            self.apply(Command::Permit { role: role.clone(), resource, actions: *actions });
        }
    }

    /// Lets time pass.
    pub(crate) fn advance(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).expect("small");
        let (mono, wall) = NOW.get();
        NOW.set((mono + millis, wall + millis));
    }

    pub(crate) fn serve(&mut self, call: Call) -> HttpAnswer {
        let server = self.server.clone();
        let requests = self.requests.clone();
        let core = async {
            while let Ok(request) = requests.recv().await {
                self.take(request);
            }
            unreachable!("the server holds the channel open")
        };
        future::block_on(future::or(server.call(call), core))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is answered by nobody")]
    fn take(&mut self, request: Request) {
        if let Some(asked) = &mut self.asked {
            asked.extend(match request {
                Request::Auth { command, .. } => Some(format!("{command:?}")),
                Request::Config { command, .. } => Some(shown(&command)),
                Request::Registry { request, .. } => Some(format!("{request:?}")),
                Request::Subscribe { service, .. } => Some(format!("{service:?}")),
                Request::Listen { keys, .. } => Some(format!("{keys:?}")),
                Request::Watchers { of, .. } => Some(format!("{of:?}")),
                Request::Cluster { ask, .. } => Some(format!("{ask:?}")),
                _ => None,
            });
            return;
        }
        self.index += 1;
        match request {
            Request::Auth { command, reply } => {
                let mut users = self.port.users.write().expect("no panic before");
                let outcome = users.apply(self.index, command);
                users.invariants();
                let _ = reply.send(outcome.map_err(WriteError::Refused));
            }
            Request::Config { command, reply } => {
                let mut configs = self.port.configs.write().expect("no panic before");
                let outcome = configs.apply(self.index, command, &mut Vec::new());
                let _ = reply.send(outcome.map_err(WriteError::Refused));
            }
            Request::Registry { reply, .. } => {
                let _ = reply.send(Err(WriteError::Overloaded));
            }
            // A dropped responder is an answer, too: 503.
            _ => {}
        }
    }

    /// A call without a body.
    pub(crate) fn call(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> HttpAnswer {
        self.form(method, target, "", headers)
    }

    /// A call with a form.
    pub(crate) fn form(
        &mut self,
        method: &str,
        target: &str,
        form: &str,
        headers: &[(&str, &str)],
    ) -> HttpAnswer {
        let mut call = Call {
            method: method.parse().expect("a method"),
            uri: target.parse().expect("a target"),
            body: form.to_owned().into(),
            ..Call::default()
        };
        let form_type = ("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers.iter().copied().chain([form_type]) {
            let name: hyper::header::HeaderName = name.parse().expect("a name");
            call.headers.append(name, value.parse().expect("a value"));
        }
        self.serve(call)
    }

    /// Logs in and says what came of it.
    pub(crate) fn login(&mut self, user: &str, password: &str) -> HttpAnswer {
        let form = format!("username={user}&password={password}");
        self.form("POST", "/nacos/v1/auth/login", &form, &[])
    }

    /// The token of a user.
    pub(crate) fn token(&mut self, user: &str) -> String {
        let answer = self.login(user, PASSWORD);
        assert_eq!(answer.status, 200, "{}", text(&answer));
        json(&answer)["accessToken"].as_str().expect("a token").to_owned()
    }
}

pub(crate) fn text(answer: &HttpAnswer) -> &str {
    std::str::from_utf8(&answer.body).expect("text")
}

pub(crate) fn json(answer: &HttpAnswer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("no JSON: {}", text(answer)))
}

/// A command with the content that it publishes.
fn shown(command: &nacolet_config::Command) -> String {
    if let nacolet_config::Command::Publish(publish) = command {
        return format!("{command:?} {}", publish.content);
    }
    format!("{command:?}")
}
