//! Reads the stories under `scenarios/`, plays them to a registry and compares what it does with
//! what stands there. A line that begins with `>` is a command, what follows is what the registry
//! ordered and when; `UPDATE=1` writes it anew. The player is a shell as `node` is: it wakes the
//! registry when it asks, writes what it proposes to a log of its own and stores the ceilings it
//! wants.

use std::fmt::Write as _;
use std::{env, fs, path::Path};

use nacolet_model::{ClusterName, Instant, RequestId, ServiceKey, WallTime};
use nacolet_registry::{
    BeatFrom, ClientId, Consistency, HealthChecker, Input, InstanceKey, InstanceSpec, ListQuery,
    Loader, Metadata, MetadataOp, Output, Registry, RegistryError, RegistrySettings, Reply,
    Request, Selector, ServiceQuery, Subscriber,
};

use crate::testing::service_key;

/// A registry with the shell around it that a story needs.
struct Player {
    registry: Registry,
    now_ms: u64,
    /// The wall clock at `now_ms == 0`.
    wall_ms: i64,
    index: u64,
    stored_until: u64,
    /// Proposals and ceilings wait for `release`.
    held: Option<Vec<Output>>,
    trace: String,
}

/// `ip:port` or `ip:port/cluster`.
fn address(text: &str) -> (Box<str>, u16, Option<ClusterName>) {
    let (address, cluster) = match text.split_once('/') {
        Some((address, cluster)) => (address, Some(ClusterName::new(cluster).expect("cluster"))),
        None => (text, None),
    };
    let (ip, port) = address.rsplit_once(':').expect("ip:port");
    (ip.into(), port.parse().expect("port"), cluster)
}

fn client(number: &str) -> ClientId {
    ClientId(number.parse().expect("a number"))
}

/// The words of one command after its name.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn at(&self, index: usize) -> &'a str {
        self.0.get(index).copied().unwrap_or_default()
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.value(name).map(|text| text.parse().expect("number"))
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.value(name).map(|text| text == "true")
    }

    /// Every `md.key=value`.
    fn metadata(&self) -> Metadata {
        let entries = self.0.iter().filter_map(|word| word.strip_prefix("md.")?.split_once('='));
        Metadata::new(entries).expect("metadata")
    }

    fn has_metadata(&self) -> bool {
        self.0.iter().any(|word| word.starts_with("md."))
    }

    /// The addresses that follow the service.
    fn instances(&self) -> Vec<InstanceKey> {
        let words = self.0.iter().skip(1).filter(|word| !word.contains('='));
        let keys = words.map(|word| {
            let (ip, port, cluster) = address(word);
            let cluster = cluster.unwrap_or(InstanceSpec::new("a", 1).cluster);
            InstanceKey { ip, port, cluster }
        });
        keys.collect()
    }

    fn spec(&self) -> InstanceSpec {
        let (ip, port, cluster) = address(self.at(1));
        let mut spec = InstanceSpec::new(&ip, port);
        spec.cluster = cluster.unwrap_or(spec.cluster);
        spec.weight = self.number("weight").unwrap_or(1.0);
        spec.enabled = self.flag("enabled").unwrap_or(true);
        spec.healthy = self.flag("healthy").unwrap_or(true);
        spec.ephemeral = !self.has("persistent");
        spec.metadata = self.metadata();
        spec
    }
}

impl Player {
    fn new() -> Self {
        let mut player = Self {
            registry: Registry::new(RegistrySettings::default()),
            now_ms: 0,
            wall_ms: 1_000_000_000,
            index: 0,
            stored_until: 0,
            held: None,
            trace: String::new(),
        };
        player.step(Input::WallClock(player.wall()));
        player
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.now_ms)
    }

    fn wall(&self) -> WallTime {
        let now_ms = i64::try_from(self.now_ms).expect("small");
        WallTime(u64::try_from(self.wall_ms + now_ms).unwrap_or(0))
    }

    fn say(&mut self, text: &str) {
        let line = format!("{:>7} {text}", self.now_ms);
        writeln!(self.trace, "{}", line.trim_end()).expect("a string takes it");
    }

    fn step(&mut self, input: Input) {
        let mut out = Vec::new();
        self.registry.step(self.now(), input, &mut out);
        self.registry.invariants();
        out.into_iter().for_each(|output| self.carry_out(output));
    }

    fn carry_out(&mut self, output: Output) {
        if let (Some(held), Output::Propose { .. } | Output::ReserveRefTime { .. }) =
            (&mut self.held, &output)
        {
            held.push(output);
            return;
        }
        match output {
            Output::Reply { result, .. } => self.say_result(&result),
            Output::Propose { request, command } => {
                self.index += 1;
                let mut out = Vec::new();
                let now = self.now();
                let result = self.registry.apply(now, self.index, command, &mut out);
                self.registry.invariants();
                match request {
                    Some(_) => self.say_result(&result),
                    None => self.say("own proposal applied"),
                }
                out.into_iter().for_each(|output| self.carry_out(output));
            }
            Output::Push { subscriber, service, clusters, reference } => {
                let first = self.registry_first_reference();
                let number = reference - first;
                let name = service.name.as_str();
                let Subscriber { ip, port, .. } = subscriber;
                self.say(&format!("push {name} [{clusters}] to {ip}:{port} as {number}"));
            }
            Output::Send { .. } => panic!("a node that is alone sends nothing"),
            Output::ReserveRefTime { until } => {
                self.stored_until = until;
                self.step(Input::RefTimeReserved { until });
            }
        }
    }

    /// References count up from a number that depends on the seed, which is 0 here.
    fn registry_first_reference(&self) -> u64 {
        nacolet_model::Prng::new(0).below(1 << 48)
    }

    fn say_result(&mut self, result: &Result<Reply, RegistryError>) {
        match result {
            Ok(Reply::Done) => self.say("done"),
            Ok(Reply::Beat(answer)) => {
                let known = if answer.known { "known" } else { "unknown" };
                let light = if answer.light_beat_enabled { "" } else { ", no light beats" };
                let interval = answer.interval.as_millis();
                self.say(&format!("beat {known}, again in {interval}{light}"));
            }
            Ok(Reply::Updated(updated)) => {
                let names: Vec<String> =
                    updated.iter().map(|one| format!("{}:{}", one.key.ip, one.key.port)).collect();
                self.say(&format!("updated {}", names.join(" ")));
            }
            Err(error) => self.say(&format!("refused: {error}")),
        }
    }

    /// Lets time pass as a shell does that is awake all the time.
    fn run_to(&mut self, until_ms: u64) {
        assert!(until_ms >= self.now_ms, "time goes forward");
        while let Some(deadline) = self.registry.next_deadline() {
            let due_ms = deadline.as_micros().div_ceil(1_000);
            if due_ms > until_ms {
                break;
            }
            self.now_ms = due_ms.max(self.now_ms);
            self.step(Input::Wake);
        }
        self.now_ms = until_ms;
    }

    fn ask(&mut self, body: Request) {
        let at = self.wall();
        self.step(Input::Request { request: RequestId(1), at, body });
    }

    fn play(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let command = words.next().unwrap_or_default();
        let words = Words(words.collect());
        match command {
            "at" => self.run_to(words.at(0).parse().expect("milliseconds")),
            "stopped-until" => {
                self.now_ms = words.at(0).parse().expect("milliseconds");
                if self.registry.next_deadline().is_some_and(|due| due <= self.now()) {
                    self.step(Input::Wake);
                }
            }
            "wall" => {
                self.wall_ms += words.at(0).parse::<i64>().expect("milliseconds");
                self.step(Input::WallClock(self.wall()));
            }
            "hold" => self.held = Some(Vec::new()),
            "release" => {
                let held = self.held.take().unwrap_or_default();
                held.into_iter().for_each(|output| self.carry_out(output));
            }
            "restart" => self.restart(),
            "list" => self.list(&words),
            "reftime" => {
                let key = service_key(words.at(0));
                let view = self.registry.list(&query(&key, "", false));
                self.trace_after(view.last_ref_time);
            }
            "revision" => {
                let key = service_key(words.at(0));
                let revision = self.registry.list(&query(&key, "", false)).revision;
                self.say(&format!("revision {revision}"));
            }
            "services" => {
                let found = self.registry.services(&ServiceQuery::all("public"));
                let names: Vec<String> =
                    found.map(|service| service.key().name.as_str().to_owned()).collect();
                self.say(&format!("services {}", names.join(" ")));
            }
            "next" => match self.registry.next_deadline() {
                Some(at) => self.say(&format!("next deadline {}", at.as_millis())),
                None => self.say("no deadline"),
            },
            "subscribe" => {
                let (ip, port, _) = address(words.at(1));
                let (agent, app) = ("agent".into(), "app".into());
                let subscriber = Subscriber { ip, port, agent, app, by: None };
                let (service, at) = (service_key(words.at(0)), self.wall());
                let clusters = words.value("clusters").unwrap_or_default().into();
                self.step(Input::Subscribe { service, clusters, subscriber, at });
            }
            "ack" => {
                let number: u64 = words.at(0).parse().expect("number");
                let reference = self.registry_first_reference() + number;
                self.step(Input::Acked { reference });
            }
            "publish" | "gone" | "changed" => self.connection(command, &words),
            "beat" => self.beat(&words),
            _ => {
                let body = request(command, &words);
                self.ask(body);
            }
        }
    }

    fn trace_after(&mut self, value: u64) {
        let wall = self.wall().0;
        let relation = match value.cmp(&wall) {
            std::cmp::Ordering::Less => format!("wall - {}", wall - value),
            std::cmp::Ordering::Equal => "wall".to_owned(),
            std::cmp::Ordering::Greater => format!("wall + {}", value - wall),
        };
        self.say(&format!("lastRefTime {value} = {relation}"));
    }

    fn connection(&mut self, command: &str, words: &Words<'_>) {
        match command {
            "publish" => {
                let (client, service) = (client(words.at(0)), service_key(words.at(1)));
                let addresses = words.0.iter().skip(2).filter(|word| !word.contains('='));
                let weight = words.number("weight").unwrap_or(1.0);
                let specs = addresses.map(|word| {
                    let (ip, port, cluster) = address(word);
                    let spec = InstanceSpec { weight, ..InstanceSpec::new(&ip, port) };
                    InstanceSpec { cluster: cluster.unwrap_or(spec.cluster.clone()), ..spec }
                });
                let instances = specs.collect();
                self.ask(Request::Publish { client, service, instances });
            }
            "gone" => self.step(Input::ClientGone(client(words.at(0)))),
            _ => {
                let changed = self.registry.take_changed();
                let names: Vec<&str> = changed.iter().map(|key| key.name.as_str()).collect();
                self.say(&format!("changed {}", names.join(" ")));
            }
        }
    }

    fn beat(&mut self, words: &Words<'_>) {
        let (ip, port, cluster) = address(words.at(1));
        let service = service_key(words.at(0));
        let light = words.has("light");
        let from = BeatFrom {
            namespace: "public",
            group: service.group.as_str(),
            name: service.name.as_str(),
            ip: &ip,
            port,
            cluster: cluster.as_ref().map(ClusterName::as_str),
            light,
        };
        if let Some(answer) = self.registry.beat(self.now(), &from) {
            self.say_result(&Ok(Reply::Beat(answer)));
            return;
        }
        let full = (!light).then(|| words.spec());
        self.ask(Request::Beat { service, ip, port, cluster, full });
    }

    fn list(&mut self, words: &Words<'_>) {
        let key = service_key(words.at(0));
        let clusters = words.value("clusters").unwrap_or_default();
        let view = self.registry.list(&query(&key, clusters, words.has("healthy")));
        let protection = if view.reach_protection { ", protected" } else { "" };
        let mut lines = vec![format!("{} hosts{protection}", view.hosts().count())];
        for host in view.hosts() {
            let instance = host.instance;
            let mut line = format!("  {}:{}", instance.ip(), instance.port());
            if instance.cluster() != "DEFAULT" {
                let _ = write!(line, "/{}", instance.cluster());
            }
            if (instance.weight() - 1.0).abs() > f64::EPSILON {
                let _ = write!(line, " weight={}", instance.weight());
            }
            for (key, value) in instance.metadata().iter() {
                let _ = write!(line, " {key}={value}");
            }
            line.push_str(if host.healthy { "" } else { " unhealthy" });
            lines.push(line);
        }
        lines.iter().for_each(|line| self.say(line));
    }

    /// A new process that finds the raft snapshot and the ceiling of the old one.
    fn restart(&mut self) {
        let mut capture = self.registry.capture();
        let mut loader = Loader::new();
        while let Some(chunk) = capture.next_chunk() {
            loader.push(&chunk).expect("own chunks load");
        }
        let settings =
            RegistrySettings { ref_time_floor: self.stored_until, ..RegistrySettings::default() };
        self.registry = Registry::new(settings);
        self.wall_ms += i64::try_from(self.now_ms).expect("small");
        self.now_ms = 0;
        let mut out = Vec::new();
        let loaded = loader.finish().expect("own chunks are whole");
        self.registry.install(self.now(), loaded, &mut out);
        out.into_iter().for_each(|output| self.carry_out(output));
        self.step(Input::WallClock(self.wall()));
    }
}

fn query<'a>(key: &'a ServiceKey, clusters: &'a str, healthy_only: bool) -> ListQuery<'a> {
    let (namespace, group, name) = (key.namespace.as_str(), key.group.as_str(), key.name.as_str());
    ListQuery { namespace, group, name, clusters, healthy_only }
}

/// The requests that need no more than their words.
fn request(command: &str, words: &Words<'_>) -> Request {
    if command == "switch" {
        return Request::SetSwitch { entry: words.at(0).into(), value: words.at(1).into() };
    }
    let service = service_key(words.at(0));
    let protect_threshold = words.number("threshold").unwrap_or(0.0);
    let ephemeral = words.flag("ephemeral");
    match command {
        "register" => Request::Register { service, instance: words.spec() },
        "update" => Request::Update { service, instance: words.spec() },
        "deregister" => {
            let (ip, port, cluster) = address(words.at(1));
            Request::Deregister { service, ip, port, cluster, ephemeral }
        }
        "patch" => {
            let (ip, port, cluster) = address(words.at(1));
            Request::Patch {
                service,
                ip,
                port,
                cluster,
                weight: words.number("weight"),
                healthy: words.flag("healthy"),
                enabled: words.flag("enabled"),
                metadata: words.has_metadata().then(|| words.metadata()),
            }
        }
        "create" | "change" => {
            let (metadata, selector) = (words.metadata(), Selector::None);
            if command == "create" {
                Request::CreateService { service, protect_threshold, metadata, selector, ephemeral }
            } else {
                Request::UpdateService { service, protect_threshold, metadata, selector, ephemeral }
            }
        }
        "remove" => Request::RemoveService { service },
        "put-metadata" | "delete-metadata" => Request::MetadataBatch {
            service,
            consistency: match words.value("kind") {
                Some("ephemeral") => Consistency::Ephemeral,
                Some("persistent") => Consistency::Persistent,
                Some(_) | None => Consistency::Both,
            },
            instances: words.instances(),
            metadata: words.metadata(),
            op: if command == "put-metadata" { MetadataOp::Put } else { MetadataOp::Delete },
        },
        "cluster" => Request::PutCluster {
            service,
            cluster: ClusterName::new(words.at(1)).expect("cluster"),
            health_checker: match words.value("checker") {
                Some("none") => HealthChecker::None,
                Some(_) | None => HealthChecker::Tcp,
            },
            check_port: 80,
            use_instance_port: true,
            metadata: Metadata::default(),
        },
        "health" => {
            let (ip, port, cluster) = address(words.at(1));
            let healthy = words.flag("healthy").unwrap_or(true);
            Request::SetHealth { service, ip, port, cluster, healthy }
        }
        other => panic!("no command {other}"),
    }
}

/// What the story says now, in the form in which it is written.
fn play(story: &str) -> String {
    let mut player = Player::new();
    let mut written = String::new();
    for line in story.lines() {
        if line.starts_with('#') || line.trim().is_empty() {
            written.push_str(line);
            written.push('\n');
        } else if let Some(command) = line.strip_prefix("> ") {
            writeln!(written, "> {command}").expect("a string takes it");
            player.play(command);
            written.push_str(&player.trace);
            player.trace.clear();
        }
    }
    written
}

#[test]
fn the_stories_are_still_true() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/step/scenarios");
    let mut told = 0;
    for entry in fs::read_dir(&folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        let story = fs::read_to_string(&path).expect("it is text");
        let now = play(&story);
        if env::var_os("UPDATE").is_some() {
            fs::write(&path, now).expect("it can be written");
        } else {
            assert_eq!(now, story, "{} (UPDATE=1 writes it anew)", path.display());
        }
        told += 1;
    }
    assert!(told > 0, "there are stories");
}
