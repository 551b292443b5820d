//! One registry among members that may say anything: it keeps its invariants, takes nothing that
//! breaks a limit, and says no more than was asked for.

use nacolet_model::{Duration, Instant, NodeId, RequestId, ServiceKey, WallTime};
use nacolet_registry::message::{
    BucketVersions, GoneCause, HeardBeats, InstanceChange, Life, Ping, PublicationKey,
    ServiceChanges, ServiceVersions, WantedPublications, WriteVersion,
};
use nacolet_registry::{
    ClientId, Input, InstanceSpec, Message, Output, Registry, RegistrySettings, Request,
};

use crate::cost::{ANNOUNCED, Bound};
use crate::registry::{key, metadata, spec};
use crate::replica::{decode, encode};
use crate::source::Source;
use crate::words;

const ME: NodeId = NodeId(1);
const OTHERS: [NodeId; 4] = [NodeId(2), NodeId(3), NodeId(4), NodeId(u64::MAX)];
const LIVES: [u32; 5] = [11, 12, 13, 14, u32::MAX];
/// What is held was said in this story, and a step may look at all of it.
const STEP: Bound = Bound { per_byte: 2_048, fixed: ANNOUNCED };

pub(crate) fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let (node, life) = (ME, Life(LIVES[0]));
    let settings = RegistrySettings { node, life, clustered: true, ..RegistrySettings::default() };
    let mut story =
        Story { registry: Registry::new(settings), now: Instant::from_millis(1), asked: None };
    story.step(Input::WallClock(WallTime(1_000)), data.len());
    story.step(Input::Members(vec![ME, OTHERS[0], OTHERS[1]]), data.len());
    while !source.is_over() {
        let Some(input) = story.input(&mut source) else { continue };
        STEP.hold(data.len(), || story.step(input, data.len()));
    }
}

struct Story {
    registry: Registry,
    now: Instant,
    /// The ceiling that the shell was asked to store.
    asked: Option<u64>,
}

impl Story {
    fn input(&mut self, source: &mut Source<'_>) -> Option<Input> {
        let millis = match source.choice(16) {
            0..=9 => u64::from(source.byte()),
            10..=13 => u64::from(source.byte()) * 100,
            _ => u64::from(source.byte()) * 10_000,
        };
        self.now += Duration::from_millis(millis);
        let from = source.pick(&OTHERS);
        Some(match source.choice(14) {
            0..=5 => Input::Peer { from, message: message(source)? },
            6 => Input::Peer { from, message: decode(source.bytes())? },
            7 | 8 => {
                let body = request(source)?;
                Input::Request { request: RequestId(1), at: WallTime(source.number()), body }
            }
            9 => Input::ClientGone(client(source)),
            10 => Input::Unsent { to: from },
            11 => {
                let mut members = vec![ME];
                members.extend(OTHERS.into_iter().filter(|_| source.flag()));
                Input::Members(members)
            }
            12 => Input::RefTimeReserved { until: self.asked.take()? },
            _ => {
                self.now = self.registry.next_deadline().map_or(self.now, |at| at.max(self.now));
                Input::Wake
            }
        })
    }

    /// Whoever says it, an instance is inside its limits.
    fn check_instances(&self) {
        for instance in self.registry.all_services().flat_map(|service| service.publications()) {
            let mut spec = InstanceSpec::new(instance.ip(), instance.port());
            spec.weight = instance.weight();
            spec.app = instance.app().into();
            spec.metadata = instance.metadata().clone();
            assert_eq!(spec.check(), Ok(()), "{spec:?}");
        }
    }

    fn step(&mut self, input: Input, bytes: usize) {
        let mut out = Vec::new();
        self.registry.step(self.now, input, &mut out);
        self.registry.flush(&mut out);
        let _ = self.registry.take_changed();
        self.registry.invariants();
        self.check_instances();
        let mut told = 0;
        for output in &out {
            if let Output::ReserveRefTime { until } = output {
                self.asked = Some(*until);
            }
            if let Output::Send { to, message } = output {
                assert!(!to.contains(&ME), "nobody talks to itself");
                told += encode(message).len();
            }
        }
        // Everything that is known may be sent once, in the dearest form; digests have a fixed
        // size.
        let most = 64 * bytes + (64 << 10);
        assert!(told <= most, "{told} bytes to others, at most {most}");
        assert!(out.len() <= 64 + bytes, "{} orders", out.len());
    }
}

fn client(source: &mut Source<'_>) -> ClientId {
    ClientId::new(Life(source.pick(&LIVES)), 1 + u32::from(source.choice(3)))
}

fn publication(source: &mut Source<'_>) -> Option<PublicationKey> {
    let owner = if source.flag() { 0 } else { client(source).as_u64() };
    Some(PublicationKey { instance: key(source)?, owner })
}

fn request(source: &mut Source<'_>) -> Option<Request> {
    let service = words::service_key(source)?;
    Some(match source.choice(4) {
        0 => Request::Register { service, instance: spec(source)? },
        1 => {
            let client = ClientId::new(Life(LIVES[0]), 1 + u32::from(source.choice(3)));
            let instances = (0..source.choice(3)).map(|_| spec(source)).collect::<Option<_>>()?;
            Request::Publish { client, service, instances }
        }
        2 => {
            let key = key(source)?;
            let (ip, port, cluster) = (key.ip, key.port, Some(key.cluster));
            Request::Deregister { service, ip, port, cluster, ephemeral: None }
        }
        _ => {
            let instance = spec(source)?;
            let (ip, port) = (instance.ip.clone(), instance.port);
            let (cluster, full) =
                (Some(instance.cluster.clone()), source.flag().then_some(instance));
            Request::Beat { service, ip, port, cluster, full }
        }
    })
}

fn version(source: &mut Source<'_>) -> WriteVersion {
    WriteVersion { counter: source.number(), life: Life(source.pick(&LIVES)) }
}

/// An instance as a member may spell it, in its limits or not.
fn any_spec(source: &mut Source<'_>) -> Option<InstanceSpec> {
    let mut any = spec(source)?;
    match source.choice(12) {
        0 => any.ip = source.text().into(),
        1 => any.weight = f64::from_bits(source.number()),
        2 => any.ephemeral = false,
        3 => any.metadata = metadata(source)?,
        4 => any.app = source.text().repeat(20).into(),
        _ => {}
    }
    Some(any)
}

fn changes(source: &mut Source<'_>) -> Option<ServiceChanges> {
    let service = words::service_key(source)?;
    let change = |source: &mut Source<'_>| {
        Some(match source.choice(3) {
            0 => {
                let cause =
                    if source.flag() { GoneCause::Expired } else { GoneCause::Deregistered };
                InstanceChange::Gone { key: publication(source)?, covered: version(source), cause }
            }
            _ => {
                let owner = if source.flag() { 0 } else { client(source).0 };
                InstanceChange::Up {
                    spec: any_spec(source)?,
                    owner,
                    born: version(source),
                    version: version(source),
                }
            }
        })
    };
    let changes = (0..source.choice(4)).map(|_| change(source)).collect::<Option<_>>()?;
    Some(ServiceChanges { service, changes, before: source.number(), after: source.number() })
}

fn some<T>(source: &mut Source<'_>, one: impl Fn(&mut Source<'_>) -> Option<T>) -> Option<Vec<T>> {
    (0..source.choice(4)).map(|_| one(source)).collect()
}

fn after(source: &mut Source<'_>) -> Option<ServiceKey> {
    if source.flag() { words::service_key(source) } else { None }
}

fn message(source: &mut Source<'_>) -> Option<Message> {
    Some(match source.choice(9) {
        0 => Message::Ping(Ping {
            life: Life(source.pick(&LIVES)),
            counter: source.number(),
            loaded: source.flag(),
        }),
        1 | 2 => Message::Sync(some(source, changes)?),
        3 => Message::Heard(some(source, |source| {
            let service = words::service_key(source)?;
            let instances = some(source, |source| {
                Some((key(source)?, u32::try_from(source.number()).unwrap_or(u32::MAX)))
            })?;
            Some(HeardBeats { service, instances })
        })?),
        4 => {
            let count = source.pick(&[0, 1, 63, 64, 65, 255, 256, 257, 1_024]);
            let hash = source.number();
            Message::Digest { hashes: vec![hash; count], urgent: source.flag() }
        }
        5 => Message::Versions(some(source, |source| {
            let bucket = u16::try_from(source.number()).unwrap_or(u16::MAX);
            let services = some(source, |source| {
                let service = words::service_key(source)?;
                let publications = some(source, |source| {
                    Some((publication(source)?, version(source), version(source)))
                })?;
                Some(ServiceVersions { service, publications })
            })?;
            Some(BucketVersions { bucket, services })
        })?),
        6 => Message::Want(some(source, |source| {
            Some(WantedPublications {
                service: words::service_key(source)?,
                publications: some(source, publication)?,
            })
        })?),
        7 => Message::Load { after: after(source) },
        _ => Message::Page {
            after: after(source),
            services: some(source, changes)?,
            next: after(source),
        },
    })
}
