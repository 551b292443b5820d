//! A node of the simulated world: its disk and clocks, which outlive it, and one life of its
//! process: the real Raft tasks and a core task wired as the node's own.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use futures_channel::oneshot::Sender;
use futures_lite::future::{or, pending};
use nacolet_config::{ListenInput, ListenKey, ListenOutput, Listeners};
use nacolet_machine::{Command, Shared, State, read};
use nacolet_model::{ConfigKey, Instant, NodeId, Prng, RequestId, ServiceKey};
use nacolet_raft::{
    ClientWriteError, Config, Fatal, LogIndex, Outcome, Raft, RaftNetworkFactory, StartError, Timer,
};
use nacolet_registry::{self as registry, InstanceKey, RegistrySettings};

use crate::checker::Checkers;
use crate::clock::NodeClock;
use crate::disk::{Disk, SimLog};
use crate::inbox::{Event, Inbox, ReadAnswer, RegistryReply, Request, WriteAnswer};
use crate::kernel::{GroupId, Kernel, group_of};
use crate::machine::Machine;
use crate::network::Network;
use crate::planted::Planted;
use crate::snapshots::Snapshots;

/// What outlives a node's process.
#[derive(Clone, Debug)]
pub struct Hardware {
    /// The node.
    pub id: NodeId,
    /// Its disk.
    pub disk: Disk,
    /// Its clocks.
    pub clock: NodeClock,
}

/// One life of a node's process.
#[derive(Clone)]
pub struct Life {
    /// Counts the lives of this node.
    pub number: u64,
    /// Its name among registries.
    pub distro_life: registry::Life,
    /// Its tasks.
    pub group: GroupId,
    /// Its Raft handle.
    pub raft: Raft<Machine>,
    /// Its state.
    pub shared: Shared,
    /// Whether reference times have a durable ceiling; nobody is told of one before.
    pub has_ceiling: Rc<Cell<bool>>,
    /// Where requests go.
    pub inbox: Inbox,
    /// How RaftCore ended, if it has.
    pub ended: Rc<RefCell<Option<Result<(), Fatal>>>>,
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Life").field("number", &self.number).finish_non_exhaustive()
    }
}

/// What a life is started with.
pub struct Birth<N> {
    /// Counts the lives of this node.
    pub number: u64,
    /// Settings of Raft.
    pub config: Config,
    /// Connections to the others.
    pub network: N,
    /// The lines between registries.
    pub lines: Network,
    /// The world.
    pub kernel: Kernel,
    /// Who looks on.
    pub checkers: Checkers,
    /// A bug in the wiring.
    pub planted: Option<Planted>,
}

impl<N> std::fmt::Debug for Birth<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Birth").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Hardware {
    /// Starts the process.
    ///
    /// # Errors
    /// What is on the disk does not fit together.
    pub fn start<N>(&self, birth: Birth<N>) -> Result<Life, StartError>
    where
        N: RaftNetworkFactory + 'static,
        N::Network: 'static,
    {
        let Birth { number, config, network, lines, kernel, checkers, planted } = birth;
        self.clock.start();
        let seed = config.engine.seed;
        let distro_life = distro_life(seed, self.id);
        let settings = RegistrySettings {
            seed,
            ref_time_floor: self.disk.ref_time(),
            node: self.id,
            life: distro_life,
            clustered: true,
        };
        let shared = Shared::new(settings);
        let has_ceiling = Rc::new(Cell::new(false));
        let inbox = Inbox::default();
        let machine = Machine {
            node: self.id,
            life: number,
            state: Rc::new(RefCell::new(State::new(shared.clone()))),
            snapshots: Snapshots::new(&self.disk),
            inbox: inbox.clone(),
            clock: self.clock.clone(),
            checkers: checkers.clone(),
            story: kernel.story().clone(),
            planted,
        };
        let timer = match planted {
            Some(Planted::LeaseByWallClock) => self.clock.by_wall(),
            _ => self.clock.clone(),
        };
        let log = SimLog(self.disk.clone());
        let (raft, tasks) = Raft::new(config, log, machine, network, timer)?;
        let group = group_of(self.id, number);
        let ended = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&ended);
        let core = tasks.core;
        kernel.spawn(group, async move {
            let outcome = core.await;
            *slot.borrow_mut() = Some(outcome);
        });
        kernel.spawn(group, tasks.worker);
        kernel.spawn(group, tasks.replication);
        let shell = Shell {
            kernel: kernel.clone(),
            group,
            life: number,
            raft: raft.clone(),
            shared: shared.clone(),
            has_ceiling: Rc::clone(&has_ceiling),
            inbox: inbox.clone(),
            clock: self.clock.clone(),
            disk: self.disk.clone(),
            planted,
            checkers,
            recovered: raft.metrics().last_log.index,
            ready: false,
            listeners: Listeners::new(),
            polls: BTreeMap::new(),
            registrations: BTreeMap::new(),
            last_request: 0,
            outputs: Vec::new(),
            network: lines,
            distro_life,
            is_member: false,
            lives_seen: BTreeMap::new(),
            stamps: BTreeMap::new(),
        };
        kernel.spawn(group, shell.run());
        Ok(Life { number, distro_life, group, raft, shared, has_ceiling, inbox, ended })
    }
}

/// The core task: the turn of `node/src/core.rs`, without sockets.
pub(crate) struct Shell {
    pub(crate) kernel: Kernel,
    pub(crate) group: GroupId,
    life: u64,
    pub(crate) raft: Raft<Machine>,
    pub(crate) shared: Shared,
    pub(crate) has_ceiling: Rc<Cell<bool>>,
    pub(crate) inbox: Inbox,
    pub(crate) clock: NodeClock,
    pub(crate) disk: Disk,
    pub(crate) planted: Option<Planted>,
    pub(crate) checkers: Checkers,
    /// End of the log at the start. What an earlier life showed is applied when this is.
    recovered: LogIndex,
    ready: bool,
    listeners: Listeners,
    polls: BTreeMap<RequestId, Sender<Vec<u32>>>,
    pub(crate) registrations: BTreeMap<RequestId, RegistryReply>,
    last_request: u64,
    pub(crate) outputs: Vec<registry::Output>,
    pub(crate) network: Network,
    pub(crate) distro_life: registry::Life,
    /// Whether it is a member, as far as it knows.
    pub(crate) is_member: bool,
    /// Planted: the lives of others, and when this node last heard of what they watch.
    pub(crate) lives_seen: BTreeMap<NodeId, registry::Life>,
    pub(crate) stamps: BTreeMap<(ServiceKey, InstanceKey), Instant>,
}

impl Shell {
    async fn run(mut self) {
        self.registry(registry::Input::WallClock(self.clock.wall()));
        self.members(self.raft.metrics().membership.members().into_iter().collect());
        loop {
            self.end_turn();
            let inbox = self.inbox.clone();
            let listeners = alarm(self.clock.clone(), self.listeners.next_deadline());
            let registry = alarm(self.registry_clock(), self.registry_deadline());
            or(inbox.filled(), or(listeners, registry)).await;
            let mut events: VecDeque<Event> = self.inbox.take();
            while let Some(event) = events.pop_front() {
                self.take(event);
            }
            self.wake();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Request(request) => self.request(request),
            Event::Changed(changes) => self.listen(ListenInput::Changed(changes)),
            Event::Reloaded => self.listen(ListenInput::Reloaded),
            Event::Ordered(outputs) => {
                self.outputs.extend(outputs);
                self.hand_out();
            }
            Event::RefTimeStored(until) => {
                self.has_ceiling.set(true);
                self.registry(registry::Input::RefTimeReserved { until });
            }
            Event::Members(members) => self.members(members),
            Event::Peer { from, bytes, place } => {
                drop(place);
                self.peer(from, &bytes);
            }
            Event::Unsent(to) => self.registry(registry::Input::Unsent { to }),
            Event::Closed(client) => self.registry(registry::Input::ClientGone(client)),
        }
    }

    pub(crate) fn fresh_id(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Write(command, answer) => self.write(*command, answer),
            // Configs are shown once the log is replayed, or a restart would show the past.
            Request::Read(..) | Request::Listen(..) if !self.is_ready() => {}
            Request::Read(key, answer) => drop(answer.send(self.read(&key))),
            Request::ReadLinear(key, answer) => self.read_linear(key, answer),
            Request::Listen(keys, wait, answer) => {
                let request = self.fresh_id();
                self.polls.insert(request, answer);
                let deadline = self.clock.now() + wait;
                let keys = keys.into_iter().map(|key| self.told(key)).collect();
                let ip = "10.9.9.9".into();
                self.listen(ListenInput::Listen { request, keys, ip, tag: None, deadline });
            }
            asked @ (Request::Registry(..) | Request::List(..)) => self.registry_request(asked),
        }
    }

    /// What the client holds. Planted: believed to be what the server has, so that a change between
    /// the client's read and its poll is never told.
    fn told(&self, key: ListenKey) -> ListenKey {
        if self.planted != Some(Planted::DropListenerWake) || key.md5.is_none() {
            return key;
        }
        let ConfigKey { namespace, group, data_id } = &key.key;
        let store = read(&self.shared.configs);
        let config = store.get(namespace.as_str(), group.as_str(), data_id.as_str());
        ListenKey { md5: config.map(|config| config.md5), key: key.key.clone() }
    }

    fn is_ready(&mut self) -> bool {
        self.ready = self.ready || self.raft.metrics().applied_index >= self.recovered;
        self.ready
    }

    fn read(&self, key: &ConfigKey) -> ReadAnswer {
        let answer = show(&self.shared, self.life, key);
        self.checkers.shows(self.raft.id(), answer.applied);
        answer
    }

    fn write(&self, command: Command, answer: Sender<WriteAnswer>) {
        let raft = self.raft.clone();
        let confuses = self.planted == Some(Planted::UnknownIsRefused);
        self.kernel.spawn(self.group, async move {
            let result = raft.client_write(&command).await;
            drop(answer.send(match result {
                Ok(response) => WriteAnswer::Done(response),
                Err(ClientWriteError::Rejected(refused)) => WriteAnswer::Rejected(refused),
                Err(error) => match error.outcome() {
                    Outcome::Refused => WriteAnswer::Refused(error.leader()),
                    Outcome::Unknown if confuses => WriteAnswer::Refused(None),
                    Outcome::Unknown => WriteAnswer::Unknown,
                },
            }));
        });
    }

    fn read_linear(&self, key: ConfigKey, answer: Sender<Option<ReadAnswer>>) {
        let (raft, shared, life) = (self.raft.clone(), self.shared.clone(), self.life);
        let trusts_itself =
            self.planted == Some(Planted::ReadWithoutConfirming) && raft.is_leader();
        let (checkers, before) = (self.checkers.clone(), self.checkers.newest());
        self.kernel.spawn(self.group, async move {
            let confirmed = trusts_itself
                || match raft.read_index().await {
                    Ok(index) => {
                        checkers.confirmed(raft.id(), index.0, before);
                        true
                    }
                    Err(_) => false,
                };
            drop(answer.send(confirmed.then(|| show(&shared, life, &key))));
        });
    }

    fn listen(&mut self, input: ListenInput) {
        let mut answers = Vec::new();
        let now: Instant = self.clock.now();
        self.listeners.step(now, &read(&self.shared.configs), input, &mut answers);
        for output in answers {
            if let ListenOutput::Answer { request, changed } = output
                && let Some(reply) = self.polls.remove(&request)
            {
                drop(reply.send(changed));
            }
        }
    }

    fn wake(&mut self) {
        let now = self.clock.now();
        if self.listeners.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.listen(ListenInput::Wake);
        }
        let now = self.registry_clock().now();
        if self.registry_deadline().is_some_and(|deadline| deadline <= now) {
            self.registry(registry::Input::Wake);
        }
    }
}

/// A name for a life of a node's registry: another one after every start.
fn distro_life(seed: u64, node: NodeId) -> registry::Life {
    let number = Prng::new(seed ^ node.0.rotate_left(40)).next_u64() >> 33;
    registry::Life(1 + u32::try_from(number).unwrap_or(0))
}

async fn alarm(clock: NodeClock, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => clock.until(deadline).await,
        None => pending().await,
    }
}

fn show(shared: &Shared, life: u64, key: &ConfigKey) -> ReadAnswer {
    let store = read(&shared.configs);
    let ConfigKey { namespace, group, data_id } = key;
    let config = store.get(namespace.as_str(), group.as_str(), data_id.as_str());
    ReadAnswer {
        life,
        applied: store.applied(),
        content: config.map(|config| config.content.clone()),
    }
}
