//! Registries of some members, their clocks and the network between them.

use std::collections::{BTreeMap, BTreeSet};

use nacolet_model::{Duration, Instant, NodeId, Prng, RequestId, WallTime};
use nacolet_registry::{
    BeatFrom, ClientId, Command, Input, InstanceSpec, Life, ListQuery, Message, Output, Registry,
    RegistrySettings, Request,
};

use crate::testing::service_key;

/// Position of a member in the world, from 0.
pub(crate) type Member = usize;

/// How messages travel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) delay_ms_max: u64,
    /// Of a hundred messages.
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
}

struct Node {
    registry: Registry,
    life: Life,
    /// World time at which its own clock began.
    began_ms: u64,
    /// What its wall clock shows at world time 0.
    wall_ms: u64,
    paused_until_ms: u64,
    connections: u32,
}

pub(crate) struct World {
    nodes: Vec<Option<Node>>,
    /// Ceilings of the reference times as they are on disk.
    stored: Vec<u64>,
    /// What disks that hang were asked to store.
    hung: Option<Vec<(Member, u64)>>,
    pub(crate) now_ms: u64,
    pub(crate) prng: Prng,
    pub(crate) link: Link,
    cut: BTreeSet<(Member, Member)>,
    flying: BTreeMap<(u64, u64), (Member, Member, Vec<u8>)>,
    sequence: u64,
    lives: u32,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Services whose subscribers were told of a change, on any member.
    pub(crate) told: usize,
}

pub(crate) fn id(member: Member) -> NodeId {
    NodeId(u64::try_from(member).expect("small") + 1)
}

impl World {
    /// So many members that know each other and are loaded.
    pub(crate) fn new(members: usize, seed: u64) -> Self {
        let mut world = Self::empty(members, seed);
        (0..members).for_each(|member| world.start(member));
        world.run(3_000);
        (0..members).for_each(|member| assert!(world.is_loaded(member), "{member} is loaded"));
        world
    }

    /// So many members, none of which runs.
    pub(crate) fn empty(members: usize, seed: u64) -> Self {
        Self {
            nodes: (0..members).map(|_| None).collect(),
            stored: vec![0; members],
            hung: None,
            now_ms: 1_000,
            prng: Prng::new(seed),
            link: Link { delay_ms_max: 2, lost: 0, doubled: 0 },
            cut: BTreeSet::new(),
            flying: BTreeMap::new(),
            sequence: 0,
            lives: 0,
            messages: 0,
            bytes: 0,
            told: 0,
        }
    }

    pub(crate) fn start(&mut self, member: Member) {
        let all: Vec<Member> = (0..self.nodes.len()).collect();
        self.start_with(member, &[&all]);
    }

    /// Starts, and goes through these memberships.
    pub(crate) fn start_with(&mut self, member: Member, memberships: &[&[Member]]) {
        self.lives += 1;
        let life = Life(self.lives);
        let registry = Registry::new(RegistrySettings {
            seed: self.prng.next_u64(),
            ref_time_floor: self.stored[member],
            node: id(member),
            life,
            clustered: true,
        });
        let wall_ms = 1_000_000 + self.prng.below(100_000);
        let node = Node {
            registry,
            life,
            began_ms: self.now_ms,
            wall_ms,
            paused_until_ms: 0,
            connections: 0,
        };
        self.nodes[member] = Some(node);
        let wall = self.wall(member);
        self.step(member, Input::WallClock(wall));
        for members in memberships {
            self.step(member, Input::Members(members.iter().copied().map(id).collect()));
        }
    }

    /// The process dies; what is on its way to it is lost.
    pub(crate) fn kill(&mut self, member: Member) {
        self.nodes[member] = None;
    }

    /// The process is stopped and goes on later; messages wait for it.
    pub(crate) fn pause(&mut self, member: Member, ms: u64) {
        self.node(member).paused_until_ms = self.now_ms + ms;
    }

    pub(crate) fn set_wall(&mut self, member: Member, wall_ms: u64) {
        self.node(member).wall_ms = wall_ms;
    }

    pub(crate) fn is_up(&self, member: Member) -> bool {
        self.nodes[member].as_ref().is_some_and(|node| node.paused_until_ms <= self.now_ms)
    }

    pub(crate) fn is_loaded(&self, member: Member) -> bool {
        self.registry(member).is_loaded()
    }

    /// Nothing gets from `from` to `to`.
    pub(crate) fn cut(&mut self, from: Member, to: Member) {
        self.cut.insert((from, to));
    }

    /// Two groups that do not hear each other.
    pub(crate) fn split(&mut self, group: &[Member]) {
        for one in 0..self.nodes.len() {
            for other in (0..self.nodes.len()).filter(|other| *other != one) {
                if group.contains(&one) != group.contains(&other) {
                    self.cut(one, other);
                }
            }
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(crate) fn registry(&self, member: Member) -> &Registry {
        &self.nodes[member].as_ref().expect("it runs").registry
    }

    fn node(&mut self, member: Member) -> &mut Node {
        self.nodes[member].as_mut().expect("it runs")
    }

    fn own_now(&self, member: Member) -> Instant {
        let began_ms = self.nodes[member].as_ref().expect("it runs").began_ms;
        Instant::from_millis(self.now_ms - began_ms + 1)
    }

    fn wall(&self, member: Member) -> WallTime {
        WallTime(self.nodes[member].as_ref().expect("it runs").wall_ms + self.now_ms)
    }

    pub(crate) fn step(&mut self, member: Member, input: Input) {
        let now = self.own_now(member);
        let mut out = Vec::new();
        let registry = &mut self.node(member).registry;
        registry.step(now, input, &mut out);
        registry.flush(&mut out);
        registry.invariants();
        let told = registry.take_changed().len();
        self.told += told;
        for output in out {
            match output {
                Output::Send { to, message } => {
                    to.into_iter().for_each(|to| self.send(member, to, &message));
                }
                Output::ReserveRefTime { until } => self.reserve(member, until),
                Output::Reply { result, .. } => drop(result.expect("nothing is refused here")),
                Output::Propose { command, .. } => {
                    let members = 0..self.nodes.len();
                    members.for_each(|member| self.apply(member, command.clone()));
                }
                Output::Push { .. } => panic!("nobody asked for {output:?}"),
            }
        }
    }

    /// Raft agreed on a command, and this member applies it.
    fn apply(&mut self, member: Member, command: Command) {
        let now = self.own_now(member);
        let mut out = Vec::new();
        let registry = &mut self.node(member).registry;
        registry.apply(now, 1, command, &mut out).expect("nothing is refused here");
        registry.invariants();
        for output in out {
            let Output::ReserveRefTime { until } = output else {
                panic!("nothing else follows from it: {output:?}")
            };
            self.reserve(member, until);
        }
    }

    fn reserve(&mut self, member: Member, until: u64) {
        match &mut self.hung {
            Some(hung) => hung.push((member, until)),
            None => self.store(member, until),
        }
    }

    fn store(&mut self, member: Member, until: u64) {
        self.stored[member] = until;
        self.step(member, Input::RefTimeReserved { until });
    }

    /// From now on no disk takes anything.
    pub(crate) fn disks_hang(&mut self) {
        self.hung = Some(Vec::new());
    }

    pub(crate) fn disks_go_on(&mut self) {
        for (member, until) in self.hung.take().unwrap_or_default() {
            if self.is_up(member) {
                self.store(member, until);
            }
        }
    }

    fn send(&mut self, from: Member, to: NodeId, message: &Message) {
        let to = usize::try_from(to.0).expect("small") - 1;
        let bytes = postcard::to_allocvec(message).expect("it encodes");
        self.messages += 1;
        self.bytes += u64::try_from(bytes.len()).expect("small");
        if self.cut.contains(&(from, to)) || self.prng.chance(self.link.lost, 100) {
            return;
        }
        let copies = if self.prng.chance(self.link.doubled, 100) { 2 } else { 1 };
        for _ in 0..copies {
            let at_ms = self.now_ms + self.prng.below(self.link.delay_ms_max + 1);
            self.sequence += 1;
            self.flying.insert((at_ms, self.sequence), (from, to, bytes.clone()));
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        while self.now_ms < until_ms {
            self.now_ms = self.next_event().min(until_ms);
            while let Some((&(at_ms, sequence), _)) = self.flying.first_key_value()
                && at_ms <= self.now_ms
            {
                let Some((from, to, bytes)) = self.flying.remove(&(at_ms, sequence)) else { break };
                self.deliver(from, to, bytes);
            }
            for member in 0..self.nodes.len() {
                if self.is_up(member)
                    && self.registry(member).next_deadline() <= Some(self.own_now(member))
                {
                    self.step(member, Input::Wake);
                }
            }
        }
    }

    fn deliver(&mut self, from: Member, to: Member, bytes: Vec<u8>) {
        let Some(node) = &self.nodes[to] else { return };
        if node.paused_until_ms > self.now_ms {
            let at_ms = node.paused_until_ms;
            self.sequence += 1;
            self.flying.insert((at_ms, self.sequence), (from, to, bytes));
            return;
        }
        let message = postcard::from_bytes(&bytes).expect("it decodes");
        self.step(to, Input::Peer { from: id(from), message });
    }

    fn next_event(&self) -> u64 {
        let flying = self.flying.keys().map(|(at_ms, _)| *at_ms);
        let nodes = self.nodes.iter().flatten().filter_map(|node| {
            let due = node.registry.next_deadline()?;
            let due_ms = due.as_micros().div_ceil(1_000) + node.began_ms - 1;
            Some(due_ms.max(node.paused_until_ms))
        });
        flying.chain(nodes).min().unwrap_or(u64::MAX).max(self.now_ms + 1)
    }

    pub(crate) fn ask(&mut self, member: Member, body: Request) {
        let at = self.wall(member);
        self.step(member, Input::Request { request: RequestId(1), at, body });
    }

    /// Registers an instance that beats.
    pub(crate) fn register(&mut self, member: Member, name: &str, ip: &str) {
        let instance = InstanceSpec::new(ip, 80);
        self.ask(member, Request::Register { service: service_key(name), instance });
    }

    pub(crate) fn deregister(&mut self, member: Member, name: &str, ip: &str) {
        let service = service_key(name);
        let ephemeral = Some(true);
        self.ask(
            member,
            Request::Deregister { service, ip: ip.into(), port: 80, cluster: None, ephemeral },
        );
    }

    /// A beat with its instance, as a 1.x client sends them.
    pub(crate) fn beat(&mut self, member: Member, name: &str, ip: &str) {
        let key = service_key(name);
        let from = BeatFrom {
            namespace: key.namespace.as_str(),
            group: key.group.as_str(),
            name: key.name.as_str(),
            ip,
            port: 80,
            cluster: None,
            light: false,
        };
        if self.registry(member).beat(self.own_now(member), &from).is_none() {
            let full = Some(InstanceSpec::new(ip, 80));
            let body = Request::Beat { service: key, ip: ip.into(), port: 80, cluster: None, full };
            self.ask(member, body);
        }
    }

    /// A connection is opened.
    pub(crate) fn connect(&mut self, member: Member) -> ClientId {
        let node = self.node(member);
        node.connections += 1;
        ClientId::new(node.life, node.connections)
    }

    pub(crate) fn publish(&mut self, member: Member, client: ClientId, name: &str, ips: &[&str]) {
        let instances = ips.iter().map(|ip| InstanceSpec::new(ip, 80)).collect();
        self.ask(member, Request::Publish { client, service: service_key(name), instances });
    }

    pub(crate) fn close(&mut self, member: Member, client: ClientId) {
        self.step(member, Input::ClientGone(client));
    }

    fn view<T>(
        &self,
        member: Member,
        name: &str,
        look: impl Fn(nacolet_registry::ServiceView<'_>) -> T,
    ) -> T {
        let key = service_key(name);
        look(self.registry(member).list(&ListQuery {
            namespace: key.namespace.as_str(),
            group: key.group.as_str(),
            name: key.name.as_str(),
            clusters: "",
            healthy_only: false,
        }))
    }

    /// Addresses that a member lists, with "-" in front of unhealthy ones.
    pub(crate) fn list(&self, member: Member, name: &str) -> Vec<String> {
        self.view(member, name, |view| {
            let show = |host: nacolet_registry::ListedInstance<'_>| {
                format!("{}{}", if host.healthy { "" } else { "-" }, host.instance.ip())
            };
            view.hosts().map(show).collect()
        })
    }

    pub(crate) fn ref_time(&self, member: Member, name: &str) -> u64 {
        self.view(member, name, |view| view.last_ref_time)
    }

    /// The members that run and do not list exactly `ips`.
    pub(crate) fn wrong(&self, name: &str, ips: &[&str]) -> Vec<(Member, Vec<String>)> {
        let lists = (0..self.nodes.len()).filter(|member| self.is_up(*member));
        let lists = lists.map(|member| (member, self.list(member, name)));
        lists.filter(|(_, list)| list != ips).collect()
    }

    pub(crate) fn responsible(&self, name: &str) -> Member {
        let on = (0..self.nodes.len()).find(|member| self.is_up(*member)).expect("one runs");
        let node = self.registry(on).responsible(&service_key(name));
        usize::try_from(node.0).expect("small") - 1
    }

    /// A service that `member` is responsible for.
    pub(crate) fn service_of(&self, member: Member) -> String {
        let name = (0..).map(|number| format!("s{number}"));
        name.take(1_000).find(|name| self.responsible(name) == member).expect("there is one")
    }

    pub(crate) fn silence(&self, member: Member, name: &str, ip: &str) -> Duration {
        let key = service_key(name);
        let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
        let found = self.registry(member).service(namespace, group, key.name.as_str());
        let instance = found.and_then(|service| service.find(ip, 80, None)).expect("it is there");
        instance.silence(self.own_now(member))
    }
}
