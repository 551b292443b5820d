//! Plays thousands of random moments to a registry and compares it with a model that knows who
//! beats. Promises P6 and P7: whoever beats is never missing or unhealthy, whatever happens to our
//! own process and clocks; whoever stopped is gone in time; `lastRefTime` and `revision` change
//! with every list and never go back, over restarts too. A failure prints its seed: `SEED=<n> cargo
//! test -p nacolet-registry --test step model`.

use std::collections::BTreeMap;
use std::env;

use nacolet_model::{Group, Instant, Prng, RequestId, WallTime};
use nacolet_registry::{
    BeatFrom, Command, HEART_BEAT_INTERVAL, HEART_BEAT_TIMEOUT, IP_DELETE_TIMEOUT, Input,
    InstanceSpec, ListQuery, Loader, Metadata, Output, Registry, RegistrySettings, Reply, Request,
    Selector, Subscriber,
};

use crate::testing::service_key;

const SERVICES: u64 = 4;
const CLIENTS: u64 = 24;
/// Beats are late by up to this.
const JITTER_MS: u64 = 200;
/// A client waits this long for an answer at least (the SDKs: 3 s).
const PATIENT_MS: u64 = 2_000;
/// How late a deadline may be carried out: the grid of the beat clock.
const SLACK_MS: u64 = 500;

/// Somebody who should or should not be in the list.
#[derive(Debug)]
struct Client {
    service: u64,
    ip: String,
    interval_ms: u64,
    delete_ms: u64,
    custom: bool,
    /// Beats, or is dead.
    alive: bool,
    /// Was heard since it last became alive.
    steady: bool,
    /// The registry heard of it in this life and it did not deregister.
    registered: bool,
    next_beat_ms: u64,
    /// When the registry heard of it last.
    heard_ms: u64,
}

struct World {
    prng: Prng,
    registry: Registry,
    now_ms: u64,
    wall_offset_ms: i64,
    clients: Vec<Client>,
    /// Whose beat waits in a socket of the stopped process.
    waiting: Vec<usize>,
    /// Persistent instances as they should be: address to weight.
    persistent: BTreeMap<String, u64>,
    pending: Vec<Command>,
    index: u64,
    stored_until: u64,
    /// When the process was last stopped and went on.
    resumed_ms: Option<u64>,
    /// Last list, revision and lastRefTime seen of each service.
    seen: BTreeMap<String, (String, u64, u64)>,
}

impl Client {
    fn spec(&self) -> InstanceSpec {
        let mut spec = InstanceSpec::new(&self.ip, 80);
        if self.custom {
            let timeout = (3 * self.interval_ms).to_string();
            spec.metadata = Metadata::new([
                (HEART_BEAT_INTERVAL, self.interval_ms.to_string()),
                (HEART_BEAT_TIMEOUT, timeout),
                (IP_DELETE_TIMEOUT, self.delete_ms.to_string()),
            ])
            .expect("small");
        }
        spec
    }

    fn service_name(&self) -> String {
        format!("s{}", self.service)
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut prng = Prng::new(seed);
        let clients = (0..CLIENTS).map(|number| {
            let custom = prng.chance(1, 4);
            let interval_ms = if custom { 1_000 + prng.below(20_000) } else { 5_000 };
            Client {
                service: number % SERVICES,
                ip: format!("10.0.0.{number}"),
                interval_ms,
                delete_ms: if custom { 6 * interval_ms } else { 30_000 },
                custom,
                alive: prng.chance(3, 4),
                steady: false,
                registered: false,
                next_beat_ms: prng.below(interval_ms),
                heard_ms: 0,
            }
        });
        let clients = clients.collect();
        let mut world = Self {
            prng,
            registry: Registry::new(RegistrySettings::default()),
            now_ms: 0,
            wall_offset_ms: 1_700_000_000_000,
            clients,
            waiting: Vec::new(),
            persistent: BTreeMap::new(),
            pending: Vec::new(),
            index: 0,
            stored_until: 0,
            resumed_ms: None,
            seen: BTreeMap::new(),
        };
        world.step(Input::WallClock(world.wall()));
        world
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.now_ms)
    }

    fn wall(&self) -> WallTime {
        let wall = self.wall_offset_ms + i64::try_from(self.now_ms).expect("small");
        WallTime(u64::try_from(wall).unwrap_or(0))
    }

    fn step(&mut self, input: Input) -> Option<Reply> {
        let mut out = Vec::new();
        self.registry.step(self.now(), input, &mut out);
        self.registry.invariants();
        self.carry_out(out)
    }

    fn carry_out(&mut self, out: Vec<Output>) -> Option<Reply> {
        let mut reply = None;
        for output in out {
            match output {
                Output::Reply { result, .. } => reply = result.ok(),
                Output::Propose { command, .. } => self.pending.push(command),
                Output::ReserveRefTime { until } => {
                    self.stored_until = until;
                    self.step(Input::RefTimeReserved { until });
                }
                Output::Send { .. } => panic!("a node that is alone sends nothing"),
                Output::Push { reference, .. } => {
                    if self.prng.chance(1, 2) {
                        self.step(Input::Acked { reference });
                    }
                }
            }
        }
        reply
    }

    fn apply_pending(&mut self) {
        for command in core::mem::take(&mut self.pending) {
            let mut out = Vec::new();
            self.index += 1;
            let now = self.now();
            // Refusals are answers too; the model looks at what is there afterwards.
            let _ = self.registry.apply(now, self.index, command, &mut out);
            self.registry.invariants();
            self.carry_out(out);
        }
    }

    fn ask(&mut self, body: Request) -> Option<Reply> {
        let at = self.wall();
        self.step(Input::Request { request: RequestId(0), at, body })
    }

    /// One beat that reaches the registry, by the road that `api` takes.
    fn beat(&mut self, number: usize) {
        let client = &self.clients[number];
        let (name, ip) = (client.service_name(), client.ip.clone());
        let light = client.steady && self.prng.chance(1, 2);
        let from = BeatFrom {
            namespace: "public",
            group: Group::DEFAULT,
            name: &name,
            ip: &ip,
            port: 80,
            cluster: None,
            light,
        };
        let answer = match self.registry.beat(self.now(), &from) {
            Some(answer) => answer,
            None => {
                let full = Some(self.clients[number].spec());
                let (service, ip) = (service_key(&name), ip.into());
                match self.ask(Request::Beat { service, ip, port: 80, cluster: None, full }) {
                    Some(Reply::Beat(answer)) => answer,
                    other => panic!("{other:?} is no answer to a beat"),
                }
            }
        };
        let now_ms = self.now_ms;
        let client = &mut self.clients[number];
        let expected = if client.custom { client.interval_ms } else { 5_000 };
        assert!(answer.known, "a live client is known");
        assert_eq!(answer.interval.as_millis(), u128::from(expected), "its own period");
        (client.registered, client.steady) = (true, true);
        client.heard_ms = now_ms;
    }

    /// Every client that is due beats. While the process is stopped, a beat of its last moments
    /// waits in a socket and its client waits with it; earlier ones are lost, or nearly all.
    fn beat_all_due(&mut self, resumes_ms: Option<u64>) {
        for number in 0..self.clients.len() {
            let client = &self.clients[number];
            if !client.alive || client.next_beat_ms > self.now_ms {
                continue;
            }
            match resumes_ms {
                None => self.beat(number),
                Some(at) if at - self.now_ms <= PATIENT_MS || self.prng.chance(1, 8) => {
                    self.waiting.push(number);
                }
                Some(_) => {}
            }
            let late = self.prng.below(JITTER_MS);
            let client = &mut self.clients[number];
            client.next_beat_ms = self.now_ms + client.interval_ms + late;
        }
    }

    fn next_beat_ms(&self) -> u64 {
        let alive = self.clients.iter().filter(|client| client.alive);
        alive.map(|client| client.next_beat_ms).min().unwrap_or(u64::MAX)
    }

    /// The process is awake: it wakes when the registry asks, and beats arrive.
    fn run_awake(&mut self, until_ms: u64) {
        loop {
            let deadline = self.registry.next_deadline();
            let due_ms = deadline.map_or(u64::MAX, |at| at.as_micros().div_ceil(1_000));
            let next_ms = due_ms.min(self.next_beat_ms());
            if next_ms > until_ms {
                self.now_ms = until_ms;
                return;
            }
            self.now_ms = next_ms.max(self.now_ms);
            if due_ms <= self.now_ms {
                self.step(Input::Wake);
                self.check();
            }
            self.beat_all_due(None);
        }
    }

    /// The process is stopped: nothing happens, and beats are lost or wait in a socket.
    fn run_stopped(&mut self, until_ms: u64) {
        while self.next_beat_ms() <= until_ms {
            self.now_ms = self.next_beat_ms();
            self.beat_all_due(Some(until_ms));
        }
        self.now_ms = until_ms;
        self.resumed_ms = Some(until_ms);
        if self.registry.next_deadline().is_some_and(|due| due <= self.now()) {
            self.step(Input::Wake);
        }
        for number in core::mem::take(&mut self.waiting) {
            self.beat(number);
        }
        self.check();
    }

    fn act(&mut self) {
        let number = usize::try_from(self.prng.below(CLIENTS)).expect("small");
        match self.prng.below(12) {
            0 => {
                let client = &mut self.clients[number];
                (client.alive, client.steady) = (false, false);
            }
            1 | 2 if !self.clients[number].alive => {
                self.clients[number].alive = true;
                self.clients[number].next_beat_ms = self.now_ms;
            }
            3 => {
                let client = &mut self.clients[number];
                (client.alive, client.steady, client.registered) = (false, false, false);
                let (service, ip) = (service_key(&client.service_name()), client.ip.clone().into());
                let (port, cluster, ephemeral) = (80, None, Some(true));
                self.ask(Request::Deregister { service, ip, port, cluster, ephemeral });
            }
            4 => {
                let days = i64::try_from(self.prng.below(3)).expect("small") - 1;
                self.wall_offset_ms += days * 86_400_000;
                self.step(Input::WallClock(self.wall()));
            }
            5 => {
                let length_ms = match self.prng.below(3) {
                    0 => self.prng.below(2_000),
                    1 => self.prng.below(20_000),
                    _ => self.prng.below(200_000),
                };
                self.run_stopped(self.now_ms + length_ms);
            }
            6 => {
                let service = service_key(&self.clients[number].service_name());
                let (metadata, selector) = (Metadata::default(), Selector::None);
                let (protect_threshold, ephemeral) = (0.0, None);
                let update = self.prng.chance(1, 2);
                self.ask(if update {
                    Request::UpdateService {
                        service,
                        protect_threshold,
                        metadata,
                        selector,
                        ephemeral,
                    }
                } else {
                    Request::RemoveService { service }
                });
            }
            7 => self.patch(number),
            8 => self.subscribe(number),
            9 | 10 => self.act_on_persistent(),
            _ if self.prng.chance(1, 4) => self.restart(),
            _ => {}
        }
        self.apply_pending();
        self.check();
    }

    fn patch(&mut self, number: usize) {
        let client = &self.clients[number];
        let (service, ip) = (service_key(&client.service_name()), client.ip.clone().into());
        let weight = Some(1.0 + f64::from(u8::try_from(self.prng.below(9)).expect("small")));
        let (port, cluster) = (80, None);
        let (healthy, enabled, metadata) = (None, None, None);
        self.ask(Request::Patch { service, ip, port, cluster, weight, healthy, enabled, metadata });
    }

    fn subscribe(&mut self, number: usize) {
        let (ip, port) = ("10.9.0.1".into(), 5_000 + u16::try_from(number).expect("small"));
        let subscriber = Subscriber { ip, port, agent: "a".into(), app: "".into(), by: None };
        let (service, at) = (service_key(&self.clients[number].service_name()), self.wall());
        self.step(Input::Subscribe { service, clusters: "".into(), subscriber, at });
    }

    fn act_on_persistent(&mut self) {
        let ip = format!("10.1.0.{}", self.prng.below(5));
        let service = service_key("persistent");
        if self.prng.chance(1, 3) {
            self.persistent.remove(&ip);
            let (ip, port, cluster, ephemeral) = (ip.into(), 80, None, None);
            self.ask(Request::Deregister { service, ip, port, cluster, ephemeral });
        } else {
            let weight = self.prng.below(100);
            let mut instance = InstanceSpec::new(&ip, 80);
            instance.ephemeral = false;
            instance.weight = f64::from(u8::try_from(weight).expect("small"));
            self.persistent.insert(ip, weight);
            self.ask(Request::Register { service, instance });
        }
    }

    /// A new process: the raft snapshot and the stored ceiling are all that is left.
    fn restart(&mut self) {
        self.apply_pending();
        let (mut capture, mut loader) = (self.registry.capture(), Loader::new());
        while let Some(chunk) = capture.next_chunk() {
            loader.push(&chunk).expect("own chunks load");
        }
        let hash = self.registry.state_hash();
        let settings = RegistrySettings {
            seed: self.index,
            ref_time_floor: self.stored_until,
            ..RegistrySettings::default()
        };
        self.registry = Registry::new(settings);
        let mut out = Vec::new();
        let loaded = loader.finish().expect("own chunks are whole");
        self.registry.install(self.now(), loaded, &mut out);
        assert_eq!(self.registry.state_hash(), hash);
        self.registry.invariants();
        self.carry_out(out);
        self.step(Input::WallClock(self.wall()));
        for client in &mut self.clients {
            (client.steady, client.registered) = (false, false);
        }
        // Revisions begin anew with the process; times do not.
        for (_, revision, _) in self.seen.values_mut() {
            *revision = u64::MAX;
        }
    }

    fn check(&mut self) {
        for number in 0..SERVICES {
            self.check_service(&format!("s{number}"));
        }
        self.check_service("persistent");
        let view = self.registry.list(&query("persistent"));
        let found: BTreeMap<String, u64> =
            view.hosts().map(|host| (host.instance.ip().to_owned(), weight_of(&host))).collect();
        assert_eq!(found, self.persistent, "persistent instances are what was agreed on");
    }

    fn check_service(&mut self, name: &str) {
        let view = self.registry.list(&query(name));
        let healthy: BTreeMap<&str, bool> =
            view.hosts().map(|host| (host.instance.ip(), host.instance.healthy())).collect();
        for client in self.clients.iter().filter(|client| client.service_name() == name) {
            let found = healthy.get(&*client.ip).copied();
            if client.steady {
                assert_eq!(found, Some(true), "{client:?} beats, at {}", self.now_ms);
            } else if !client.alive {
                let resumed = self.resumed_ms.filter(|at| *at >= client.heard_ms);
                let grace_ms = client.interval_ms + client.interval_ms / 5 + 1_000;
                let excused_ms = resumed.map_or(0, |at| at + grace_ms);
                let gone_ms = (client.heard_ms + client.delete_ms).max(excused_ms) + SLACK_MS;
                let may_be_there = client.registered && self.now_ms <= gone_ms;
                assert!(found.is_none() || may_be_there, "{client:?} is dead, at {}", self.now_ms);
            }
        }
        let list: Vec<String> = view
            .hosts()
            .map(|host| format!("{} {} {}", host.instance.ip(), host.healthy, weight_of(&host)))
            .collect();
        let now = (list.join(","), view.revision, view.last_ref_time);
        if let Some(before) = self.seen.insert(name.to_owned(), now.clone()) {
            assert!(now.2 >= before.2, "{name}: lastRefTime went from {before:?} to {now:?}");
            if now.0 != before.0 {
                assert!(now.2 > before.2, "{name}: lastRefTime stayed from {before:?} to {now:?}");
                assert_ne!(now.1, before.1, "{name}: another list has another revision");
            }
        }
    }
}

fn weight_of(host: &nacolet_registry::ListedInstance<'_>) -> u64 {
    let weights =
        (0..=100_u8).find(|weight| (f64::from(*weight) - host.instance.weight()).abs() < 0.5);
    u64::from(weights.expect("weights of this test are small"))
}

fn query(name: &str) -> ListQuery<'_> {
    let (namespace, group, clusters) = ("public", Group::DEFAULT, "");
    ListQuery { namespace, group, name, clusters, healthy_only: false }
}

fn play(seed: u64, moments: u32) {
    let mut world = World::new(seed);
    for _ in 0..moments {
        let pause_ms = world.prng.below(4_000);
        world.run_awake(world.now_ms + pause_ms);
        world.act();
    }
    // A quiet spell: exactly the live ones are left.
    world.run_awake(world.now_ms + 300_000);
    world.check();
    let alive = world.clients.iter().filter(|client| client.alive).count();
    assert_eq!(world.registry.counts().ephemeral, alive, "exactly the live instances are left");
}

#[test]
fn live_instances_stay_and_dead_ones_go_whatever_happens_to_us() {
    if let Some(seed) = env::var("SEED").ok().and_then(|text| text.parse().ok()) {
        play(seed, 400);
        return;
    }
    let seeds: u64 = env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    for seed in 0..seeds {
        let played = std::panic::catch_unwind(|| play(seed, 400));
        assert!(played.is_ok(), "replay with SEED={seed}");
    }
}
