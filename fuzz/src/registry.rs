//! What the registry replicates by Raft: persistent instances, what operators say, switches. The
//! twin holds ephemeral instances too, which differ between members and must take no part in any
//! answer.

use nacolet_model::{Instant, RequestId, WallTime};
use nacolet_registry::{
    ClusterMeta, Command, HealthChecker, Input, InstanceKey, InstanceSpec, ListQuery, Loader,
    Metadata, MetadataChange, PutCluster, PutOverrides, PutService, Register, Registry,
    RegistrySettings, Request, Selector, ServiceMeta, Switch,
};

use crate::replica::Replica;
use crate::source::Source;
use crate::words;

/// Commands are applied at one moment: what time does is the business of `distro`.
const NOW: Instant = Instant::from_millis(1_000);

impl Replica for Registry {
    type Command = Command;

    fn empty() -> Self {
        Self::new(RegistrySettings::default())
    }

    fn made(&self, source: &mut Source<'_>) -> Option<Command> {
        let kind = source.choice(11);
        let service = words::service_key(source)?;
        Some(match kind {
            0 | 1 => {
                let instance = InstanceSpec { ephemeral: false, ..spec(source)? };
                Command::Register(Box::new(Register { service, instance }))
            }
            2 => Command::Deregister { service, instance: key(source)? },
            3 | 4 => {
                let put = Box::new(PutService { service, meta: service_meta(source)? });
                if kind == 3 { Command::CreateService(put) } else { Command::UpdateService(put) }
            }
            5 => Command::RemoveService { service },
            6 => {
                let cluster = words::cluster(source)?;
                Command::PutCluster(Box::new(PutCluster {
                    service,
                    cluster,
                    meta: cluster_meta(source)?,
                }))
            }
            7 => Command::SetHealth { service, instance: key(source)?, healthy: source.flag() },
            8 => Command::Override(Box::new(overrides(source, service)?)),
            9 => {
                let instances = (0..source.choice(4)).map(|_| key(source)).collect::<Option<_>>();
                Command::RemoveOverrides { service, instances: instances? }
            }
            _ => Command::SetSwitch(switch(source)?),
        })
    }

    fn is_valid(command: &Command) -> bool {
        command.check().is_ok()
    }

    fn apply(&mut self, index: u64, command: Command) -> String {
        format!("{:?}", Self::apply(self, NOW, index, command, &mut Vec::new()))
    }

    fn capture(&self) -> Vec<Vec<u8>> {
        let mut capture = Self::capture(self);
        std::iter::from_fn(|| capture.next_chunk()).collect()
    }

    fn load(old: Option<Self>, chunks: &[Vec<u8>]) -> Option<Self> {
        let mut loader = Loader::new();
        chunks.iter().try_for_each(|chunk| loader.push(chunk)).ok()?;
        let loaded = loader.finish().ok()?;
        let mut registry = old.unwrap_or_else(Self::empty);
        registry.install(NOW, loaded, &mut Vec::new());
        Some(registry)
    }

    fn invariants(&self) {
        Self::invariants(self);
    }

    /// What clients see of persistent instances, and operators of services.
    fn assert_alike(&self, other: &Self) {
        assert_eq!(self.state_hash(), other.state_hash());
        assert_eq!(self.switches(), other.switches());
        for service in self.all_services() {
            let key = service.key();
            let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
            let name = key.name.as_str();
            let twin = other.service(namespace, group, name);
            assert_eq!(service.meta(), twin.and_then(|twin| twin.meta()));
            let query = ListQuery { namespace, group, name, clusters: "", healthy_only: false };
            assert_eq!(seen(self, &query), seen(other, &query), "clients see the same");
        }
    }

    fn disturb(&mut self, source: &mut Source<'_>) {
        let (Some(service), Some(instance)) = (words::service_key(source), spec(source)) else {
            return;
        };
        let instance = InstanceSpec { ephemeral: true, ..instance };
        let body = match source.flag() {
            true => Request::Register { service, instance },
            false => Request::Deregister {
                service,
                ip: instance.ip,
                port: instance.port,
                cluster: Some(instance.cluster),
                ephemeral: Some(true),
            },
        };
        let input = Input::Request { request: RequestId(1), at: WallTime(0), body };
        self.step(NOW, input, &mut Vec::new());
    }
}

fn seen(registry: &Registry, query: &ListQuery<'_>) -> Vec<(InstanceKey, u64, bool, Metadata)> {
    let hosts = registry.list(query).hosts();
    let persistent = hosts.filter(|host| !host.instance.ephemeral());
    let shown = persistent.map(|host| {
        let instance = host.instance;
        let weight = instance.weight().to_bits();
        (instance.key(), weight, instance.healthy(), instance.metadata().clone())
    });
    shown.collect()
}

fn ip(source: &mut Source<'_>) -> Box<str> {
    match source.choice(6) {
        0 => source.text().into(),
        other => ["10.0.0.1", "10.0.0.2", "host-a", "::1", "ü"][usize::from(other) - 1].into(),
    }
}

pub(crate) fn key(source: &mut Source<'_>) -> Option<InstanceKey> {
    Some(spec(source)?.key())
}

/// One that the door takes.
pub(crate) fn spec(source: &mut Source<'_>) -> Option<InstanceSpec> {
    let ways = source.byte();
    let port = source.pick(&[80, 81, 0, u16::MAX]);
    let mut spec = InstanceSpec::new(&ip(source), port);
    spec.cluster = words::cluster(source)?;
    (spec.healthy, spec.enabled) = (ways & 1 == 0, ways & 2 == 0);
    if ways & 4 == 4 {
        spec.weight = source.pick(&[0.0, 0.5, 10_000.0, -0.0, 1e-300]);
    }
    if ways & 8 == 8 {
        spec.metadata = metadata(source)?;
    }
    if ways & 16 == 16 {
        spec.app = source.text().into();
    }
    spec.check().ok().map(|()| spec)
}

pub(crate) fn metadata(source: &mut Source<'_>) -> Option<Metadata> {
    let known = ["zone", "b", "preserved.heart.beat.interval", "preserved.ip.delete.timeout"];
    let entry = |source: &mut Source<'_>| -> (Box<str>, Box<str>) {
        let key = match source.choice(5) {
            0 => source.text(),
            other => known[usize::from(other) - 1].into(),
        };
        let value = if source.flag() { source.text() } else { source.number().to_string() };
        (key.into(), value.into())
    };
    let entries: Vec<_> = (0..source.choice(5)).map(|_| entry(source)).collect();
    Metadata::new(entries).ok()
}

fn service_meta(source: &mut Source<'_>) -> Option<ServiceMeta> {
    let selector = match source.flag() {
        true => Selector::Label { expression: source.text().into() },
        false => Selector::None,
    };
    Some(ServiceMeta {
        protect_threshold: source.pick(&[0.0, 0.5, 1.0]),
        metadata: metadata(source)?,
        selector,
        ephemeral: source.pick(&[None, Some(true), Some(false)]),
    })
}

fn cluster_meta(source: &mut Source<'_>) -> Option<ClusterMeta> {
    let health_checker = match source.choice(4) {
        0 => HealthChecker::None,
        1 => HealthChecker::Http { path: "/".into(), headers: "".into(), expected_code: 200 },
        _ => HealthChecker::Tcp,
    };
    let use_instance_port = source.flag();
    Some(ClusterMeta {
        health_checker,
        check_port: 80,
        use_instance_port,
        metadata: metadata(source)?,
    })
}

fn overrides(source: &mut Source<'_>, service: nacolet_model::ServiceKey) -> Option<PutOverrides> {
    let metadata = match source.choice(4) {
        0 => MetadataChange::Keep,
        1 => MetadataChange::Replace(metadata(source)?),
        2 => MetadataChange::Put(metadata(source)?),
        _ => MetadataChange::Delete((0..source.choice(3)).map(|_| source.text().into()).collect()),
    };
    let key = |source: &mut Source<'_>| Some((key(source)?, source.flag()));
    let instances = (0..source.choice(4)).map(|_| key(source)).collect::<Option<_>>()?;
    Some(PutOverrides {
        service,
        instances,
        weight: source.pick(&[None, Some(0.0), Some(7.5)]),
        enabled: source.pick(&[None, Some(true), Some(false)]),
        healthy: source.pick(&[None, Some(true), Some(false)]),
        metadata,
    })
}

fn switch(source: &mut Source<'_>) -> Option<Switch> {
    let (name, value) = source.pick(&[
        ("clientBeatInterval", "7000"),
        ("pushCacheMillis", "20000"),
        ("check", "false"),
        ("check", "true"),
        ("pushEnabled", "false"),
        ("lightBeatEnabled", "false"),
        ("defaultInstanceEphemeral", "false"),
        ("overriddenServerStatus", "READ_ONLY"),
        ("overriddenServerStatus", "NULL"),
    ]);
    Switch::parse(name, value).ok()
}
