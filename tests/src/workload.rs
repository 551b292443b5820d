//! Clients of the simulated world: they write unique serials, read, listen, register and beat, and
//! report what they were told to the checkers. A time-out is an unknown outcome for ever.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures_channel::oneshot::{Sender, channel};
use futures_lite::future::or;
use nacolet_config::{self as config, ListenKey, Md5, Operator, Publish};
use nacolet_machine::{Command, Refused, Response};
use nacolet_model::{
    ConfigKey, DataId, Duration, Group, IdError, Namespace, NodeId, Prng, ServiceKey, ServiceName,
};
use nacolet_registry::{InstanceSpec, Life, Request as RegistryRequest};

use crate::checker::linearizable::OPERATIONS_MAX;
use crate::checker::{Checkers, Heard};
use crate::inbox::{Event, Inbox, ReadAnswer, Request, WriteAnswer};
use crate::kernel::{Kernel, OUTSIDE};
use crate::operation::{self, Action, End, content_of};
use crate::story::{Line, Who, words};
use crate::subject::{Subject, name};

/// A client gives up on an answer after this long.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(4);
/// A poll is held this long.
const POLL: Duration = Duration::from_secs(25);
/// Operations on one key while there are faults; the rest is for the end of the run.
const BUSY_MAX: usize = OPERATIONS_MAX - 56;

/// A node as clients reach it.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) inbox: Inbox,
    pub(crate) life: u64,
    pub(crate) distro_life: Life,
}

/// What all clients share.
pub(crate) struct Town {
    pub(crate) kernel: Kernel,
    pub(crate) checkers: Checkers,
    pub(crate) doors: RefCell<BTreeMap<NodeId, Door>>,
    pub(crate) keys: Vec<ConfigKey>,
    pub(crate) think_max: Duration,
    /// Clients begin nothing any more.
    pub(crate) closing: Cell<bool>,
    pub(crate) last_serial: Cell<u64>,
    pub(crate) last_connection: Cell<u32>,
    pub(crate) last_client: Cell<u64>,
}

/// What became of a question.
pub(crate) enum Reply<T> {
    Answer(T),
    /// Nobody was there: certainly no effect.
    Unreachable,
    /// The connection broke, or time ran out.
    Lost,
}

impl<T: std::fmt::Debug> Reply<T> {
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Answer(answer) => format!("{answer:?}"),
            Self::Unreachable => "nobody is there".to_owned(),
            Self::Lost => "no answer comes".to_owned(),
        }
    }
}

impl Reply<WriteAnswer> {
    /// Why a write is not known to be done.
    fn why_not(&self) -> Option<String> {
        match self {
            Self::Answer(WriteAnswer::Done(_) | WriteAnswer::Rejected(_)) => None,
            Self::Answer(WriteAnswer::Refused(Some(leader))) => {
                Some(format!("refused, {} leads", name(*leader)))
            }
            Self::Answer(WriteAnswer::Refused(None)) => {
                Some("refused, no leader is known".to_owned())
            }
            Self::Answer(WriteAnswer::Unknown) => {
                Some("the leader itself does not know".to_owned())
            }
            Self::Unreachable | Self::Lost => Some(self.in_words()),
        }
    }
}

/// One client.
pub(crate) struct Client {
    /// Its name in a story.
    number: u64,
    pub(crate) town: Rc<Town>,
    pub(crate) prng: Prng,
    pub(crate) node: NodeId,
    last_read: BTreeMap<ConfigKey, Option<u64>>,
}

/// The keys that clients share, in several namespaces and groups.
pub(crate) fn keys(count: u64) -> Result<Vec<ConfigKey>, IdError> {
    let key = |number: u64| {
        Ok(ConfigKey {
            namespace: Namespace::parse(if number % 2 == 1 { "dev" } else { "" })?,
            group: Group::new(if number % 3 == 1 { "OTHER" } else { "DEFAULT_GROUP" })?,
            data_id: DataId::new(&format!("app-{number}.yml"))?,
        })
    };
    (0..count).map(key).collect()
}

/// The service that persistent instances belong to.
fn durable() -> Result<ServiceKey, IdError> {
    Ok(ServiceKey {
        namespace: Namespace::public(),
        group: Group::new("DEFAULT_GROUP")?,
        name: ServiceName::new("durable")?,
    })
}

fn micros(prng: &mut Prng, max: Duration) -> Duration {
    Duration::from_micros(prng.below(u64::try_from(max.as_micros()).unwrap_or(u64::MAX)))
}

impl Town {
    /// A number for a connection.
    pub(crate) fn next_connection(&self) -> u32 {
        let number = self.last_connection.get() + 1;
        self.last_connection.set(number);
        number
    }

    fn serial(&self) -> u64 {
        let serial = self.last_serial.get() + 1;
        self.last_serial.set(serial);
        serial
    }
}

fn operator(serial: u64) -> Operator {
    Operator { user: serial.to_string().into(), ip: "10.0.0.1".into() }
}

impl Client {
    pub(crate) fn new(town: &Rc<Town>, mut prng: Prng) -> Self {
        let node = NodeId(1 + prng.below(5));
        let number = town.last_client.get() + 1;
        town.last_client.set(number);
        Self { number, town: Rc::clone(town), prng, node, last_read: BTreeMap::new() }
    }

    /// Tells what it does or hears.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String, about: impl FnOnce(Line) -> Line) {
        self.town.kernel.story().tell(|| about(Line::of(Who::Client(self.number), what())));
    }

    /// Tells that it asks for an operation on a key.
    fn tell_question(&self, action: Action, key: &ConfigKey) {
        let what = || format!("asks {}: {}", name(self.node), words::action(action, key));
        self.tell(what, |line| words::of_operation(line, action, key));
    }

    /// Tells what became of it.
    fn tell_answer(&self, action: Action, key: &ConfigKey, end: End, why: Option<&str>) {
        let what = || {
            let (action, end) = (words::action(action, key), words::end(end));
            let why = why.map_or_else(String::new, |why| format!(" ({why})"));
            format!("is answered on \"{action}\": {end}{why}")
        };
        self.tell(what, |line| words::of_operation(line, action, key));
    }

    pub(crate) async fn pause(&mut self, max: Duration) {
        let pause = micros(&mut self.prng, max);
        self.town.kernel.sleep(pause).await;
    }

    /// Some node that can be reached.
    pub(crate) fn move_on(&mut self) {
        let doors = self.town.doors.borrow();
        let count = doors.len() as u64;
        let chosen = usize::try_from(self.prng.below(count.max(1))).unwrap_or(0);
        self.node = doors.keys().nth(chosen).copied().unwrap_or(self.node);
    }

    pub(crate) async fn ask<T: 'static>(
        &mut self,
        timeout: Duration,
        question: impl FnOnce(Sender<T>) -> Request,
    ) -> Reply<T> {
        self.pause(Duration::from_millis(1)).await;
        let door = self.town.doors.borrow().get(&self.node).cloned();
        let Some(door) = door else {
            self.move_on();
            self.pause(Duration::from_millis(200)).await;
            return Reply::Unreachable;
        };
        let (sender, receiver) = channel();
        door.inbox.push(Event::Request(question(sender)));
        let alarm = async {
            self.town.kernel.sleep(timeout).await;
            None
        };
        let answer = or(async { receiver.await.ok() }, alarm).await;
        self.pause(Duration::from_millis(1)).await;
        match answer {
            Some(answer) => Reply::Answer(answer),
            None => {
                self.move_on();
                Reply::Lost
            }
        }
    }

    // ---- reading and writing ----

    /// Reads and writes until the town closes.
    pub(crate) async fn use_configs(mut self) {
        while !self.town.closing.get() {
            let think = self.town.think_max;
            self.pause(think).await;
            let count = self.town.keys.len() as u64;
            let at = usize::try_from(self.prng.below(count)).unwrap_or(0);
            let key = self.town.keys[at].clone();
            if self.town.closing.get() {
                return;
            }
            let full = self.town.checkers.operations(&key) >= BUSY_MAX;
            match self.prng.below(100) {
                0..50 if !full => drop(self.publish(&key).await),
                50..65 if !full => self.compare_and_set(&key).await,
                65..70 if !full => self.remove(&key).await,
                70..80 if !full => drop(self.read_linear(&key).await),
                80..83 => self.register_persistent().await,
                _ => self.read(&key).await,
            }
        }
    }

    /// Publishes something new; whether it was acknowledged.
    async fn publish(&mut self, key: &ConfigKey) -> bool {
        let serial = self.town.serial();
        let Some(command) = publish_of(key, serial) else { return false };
        self.write(key, Action::Write(serial), serial, command.into()).await
    }

    async fn compare_and_set(&mut self, key: &ConfigKey) {
        let expected = self.last_read.get(key).copied().flatten();
        let Some(expected) = expected else { return self.read(key).await };
        let new = self.town.serial();
        let Some(mut command) = publish_of(key, new) else { return };
        command.cas_md5 = Some(Md5::of(&content_of(expected)));
        let action = Action::Cas { expected: Some(expected), new };
        self.write(key, action, new, command.into()).await;
    }

    async fn remove(&mut self, key: &ConfigKey) {
        let serial = self.town.serial();
        let at = nacolet_model::WallTime(serial);
        let remove =
            config::Remove { key: key.clone(), gray: None, operator: operator(serial), at };
        self.write(key, Action::Remove(serial), serial, remove.into()).await;
    }

    async fn write(
        &mut self,
        key: &ConfigKey,
        action: Action,
        serial: u64,
        command: config::Command,
    ) -> bool {
        let checkers = self.town.checkers.clone();
        let op = checkers.begin(key, action);
        self.tell_question(action, key);
        let command = Box::new(Command::Config(command));
        let reply = self.ask(TIMEOUT, |answer| Request::Write(command, answer)).await;
        let why = self.town.kernel.story().words(|| reply.why_not()).flatten();
        let end = match reply {
            Reply::Answer(WriteAnswer::Done(Response::Config(response))) => match response {
                config::Response::Published { created, .. } => End::Written { created },
                config::Response::Removed { existed } => End::Removed { existed },
                config::Response::Namespace { .. } | config::Response::Room { .. } => End::Void,
            },
            Reply::Answer(WriteAnswer::Rejected(Refused::Config(_))) => End::Mismatch,
            Reply::Answer(WriteAnswer::Refused(leader)) => {
                match leader {
                    Some(leader) => self.node = leader,
                    None => self.move_on(),
                }
                End::Void
            }
            Reply::Unreachable => End::Void,
            Reply::Answer(_) | Reply::Lost => End::Unknown,
        };
        self.tell_answer(action, key, end, why.as_deref());
        match end {
            End::Void => checkers.refused(serial),
            End::Unknown => checkers.unknown(),
            End::Written { .. }
            | End::Removed { .. }
            | End::Done
            | End::Mismatch
            | End::Read(_) => {
                checkers.acknowledged(serial);
            }
        }
        checkers.end(&op, end);
        matches!(end, End::Written { .. } | End::Removed { .. })
    }

    async fn read(&mut self, key: &ConfigKey) {
        let node = self.node;
        let question = key.clone();
        let reply = self.ask(TIMEOUT, |answer| Request::Read(question, answer)).await;
        if let Reply::Answer(answer) = reply {
            self.town.checkers.read(node, key, &answer);
            self.last_read.insert(key.clone(), serial_of(&answer));
        }
    }

    /// Reads by read index; whether it was answered.
    async fn read_linear(&mut self, key: &ConfigKey) -> bool {
        let checkers = self.town.checkers.clone();
        let op = checkers.begin(key, Action::Read);
        let (node, question) = (self.node, key.clone());
        self.tell_question(Action::Read, key);
        let reply = self.ask(TIMEOUT, |answer| Request::ReadLinear(question, answer)).await;
        let Reply::Answer(Some(answer)) = reply else {
            self.move_on();
            self.tell_answer(Action::Read, key, End::Void, None);
            checkers.end(&op, End::Void);
            return false;
        };
        let end = End::Read(serial_of(&answer));
        self.tell_answer(Action::Read, key, end, None);
        checkers.read(node, key, &answer);
        checkers.end(&op, end);
        true
    }

    async fn register_persistent(&mut self) {
        let Ok(service) = durable() else { return };
        let port = u16::try_from(40_000 + self.prng.below(20)).unwrap_or(40_000);
        let instance = InstanceSpec { ephemeral: false, ..InstanceSpec::new("10.7.7.7", port) };
        let body = if self.prng.chance(3, 4) {
            RegistryRequest::Register { service, instance }
        } else {
            let ip = "10.7.7.7".into();
            RegistryRequest::Deregister { service, ip, port, cluster: None, ephemeral: Some(false) }
        };
        let node = self.node;
        let about = |line: Line| line.about(Subject::Port(port));
        self.tell(|| format!("asks {}: {}", name(node), words::request(&body)), about);
        let body = Box::new(body);
        let reply = self.ask(TIMEOUT, |answer| Request::Registry(body, answer)).await;
        self.tell(|| format!("is answered on persistent {port}: {}", reply.in_words()), about);
        if let Reply::Answer(Err(_)) = reply {
            self.move_on();
        }
    }

    /// At the end, without faults: `count` writes and reads that all have to succeed, sooner or
    /// later. Says so in `done`.
    pub(crate) async fn prove_service(mut self, count: u64, done: Rc<Cell<bool>>) {
        for turn in 0..count {
            let at = usize::try_from(turn).unwrap_or(0) % self.town.keys.len();
            let key = self.town.keys[at].clone();
            for _ in 0..4 {
                if self.publish(&key).await {
                    break;
                }
                self.pause(Duration::from_millis(100)).await;
            }
            while !self.read_linear(&key).await {
                self.pause(Duration::from_millis(100)).await;
            }
        }
        done.set(true);
    }

    // ---- listening ----

    /// Listens to some keys for ever.
    pub(crate) async fn listen(mut self, listener: u64) {
        let count = 1 + usize::try_from(self.prng.below(3)).unwrap_or(0);
        let mut keys = self.town.keys.clone();
        while keys.len() > count {
            let at = usize::try_from(self.prng.below(keys.len() as u64)).unwrap_or(0);
            keys.remove(at);
        }
        let mut held: Vec<Option<Md5>> = vec![None; keys.len()];
        let nothing = ReadAnswer { life: 0, applied: 0, content: None };
        for key in &keys {
            let node = NodeId(0);
            self.town.checkers.holds(&Heard { listener, node, key, answer: &nothing });
        }
        loop {
            let asked = keys.iter().zip(&held);
            let asked: Vec<ListenKey> =
                asked.map(|(key, md5)| ListenKey { key: key.clone(), md5: *md5 }).collect();
            let timeout = POLL + TIMEOUT;
            let reply = self.ask(timeout, |answer| Request::Listen(asked, POLL, answer)).await;
            let Reply::Answer(changed) = reply else {
                self.pause(Duration::from_millis(300)).await;
                continue;
            };
            for position in changed {
                let at = usize::try_from(position).unwrap_or(0);
                let key = &keys[at];
                let (node, question) = (self.node, key.clone());
                let reply = self.ask(TIMEOUT, |answer| Request::Read(question, answer)).await;
                if let Reply::Answer(answer) = reply {
                    self.town.checkers.read(node, key, &answer);
                    self.town.checkers.heard(&Heard { listener, node, key, answer: &answer });
                    held[at] = answer.content.as_deref().map(Md5::of);
                }
            }
        }
    }
}

fn publish_of(key: &ConfigKey, serial: u64) -> Option<Publish> {
    let content = content_of(serial).into();
    let at = nacolet_model::WallTime(serial);
    Publish::new(key.clone(), content, operator(serial), at).ok()
}

fn serial_of(answer: &ReadAnswer) -> Option<u64> {
    answer.content.as_deref().and_then(operation::serial_of)
}

/// Starts the clients of configs.
pub(crate) fn start(town: &Rc<Town>, plan: &crate::plan::Plan, prng: &mut Prng) {
    let kernel = &town.kernel;
    for _ in 0..plan.clients {
        kernel.spawn(OUTSIDE, Client::new(town, prng.fork()).use_configs());
    }
    for listener in 0..plan.listeners {
        kernel.spawn(OUTSIDE, Client::new(town, prng.fork()).listen(listener));
    }
}
