//! Commands that no door lets through, as a member that has the key may put them into the log. They
//! change nothing, and whatever was applied can be loaded again.

use nacolet_model::{ClusterName, Instant, Namespace, Prng, ServiceKey, limits};
use nacolet_registry::{
    ClusterMeta, Command, HealthChecker, InstanceKey, InstanceSpec, Loader, Metadata,
    MetadataChange, PutCluster, PutOverrides, PutService, Register, Registry, RegistryError,
    RegistrySettings, Selector, ServiceMeta, SpecError, Switch,
};

use crate::testing::service_key;

fn registry() -> Registry {
    Registry::new(RegistrySettings::default())
}

fn namespace(word: &str) -> Namespace {
    Namespace::try_from(Box::<str>::from(word)).expect("a word")
}

fn cluster() -> ClusterName {
    ClusterName::new("c").expect("valid")
}

fn chunks(registry: &Registry) -> Vec<Vec<u8>> {
    let mut capture = registry.capture();
    std::iter::from_fn(|| capture.next_chunk()).collect()
}

/// What was captured is loaded and is the same.
fn reload(registry: &Registry) {
    let captured = chunks(registry);
    let mut loader = Loader::new();
    captured.iter().for_each(|chunk| loader.push(chunk).expect("it can be loaded"));
    let mut copy = self::registry();
    copy.install(Instant::ZERO, loader.finish().expect("it is whole"), &mut Vec::new());
    copy.invariants();
    assert_eq!(chunks(&copy), captured);
}

fn instance(ip: &str) -> InstanceKey {
    InstanceKey { ip: ip.into(), port: 80, cluster: cluster() }
}

fn register(change: impl FnOnce(&mut InstanceSpec)) -> Command {
    let mut spec = InstanceSpec { ephemeral: false, ..InstanceSpec::new("10.0.0.1", 80) };
    change(&mut spec);
    Command::Register(Box::new(Register { service: service_key("g@@s"), instance: spec }))
}

fn put_service(change: impl FnOnce(&mut ServiceMeta)) -> Command {
    let mut meta = ServiceMeta::default();
    change(&mut meta);
    Command::CreateService(Box::new(PutService { service: service_key("g@@new"), meta }))
}

fn put_cluster(health_checker: HealthChecker) -> Command {
    let meta = ClusterMeta { health_checker, ..ClusterMeta::default() };
    let put = PutCluster { service: service_key("g@@s"), cluster: cluster(), meta };
    Command::PutCluster(Box::new(put))
}

fn overrides(change: impl FnOnce(&mut PutOverrides)) -> Command {
    let mut put = PutOverrides {
        service: service_key("g@@s"),
        instances: vec![(instance("10.0.0.1"), false)],
        weight: None,
        enabled: Some(false),
        healthy: None,
        metadata: MetadataChange::Keep,
    };
    change(&mut put);
    Command::Override(Box::new(put))
}

/// One command for each way to be wrong.
fn invalid() -> Vec<(Command, RegistryError)> {
    let long = |length: usize| -> Box<str> { "x".repeat(length + 1).into() };
    let ip = || RegistryError::Spec(SpecError::Ip);
    let weight = || RegistryError::Spec(SpecError::Weight);
    let null = || ServiceKey { namespace: namespace("null"), ..service_key("g@@s") };
    let many = |count: usize| (0..count).map(|n| (instance(&format!("{n}")), false)).collect();
    let http = |path| HealthChecker::Http { path, headers: "".into(), expected_code: 200 };
    let label = |expression| Selector::Label { expression };
    let mut all = vec![
        (register(|spec| spec.ip = "".into()), ip()),
        (register(|spec| spec.ip = "10. .0.1".into()), ip()),
        (register(|spec| spec.ip = "10.0.0.1\n".into()), ip()),
        (register(|spec| spec.ip = long(limits::IP_CHARS_MAX)), ip()),
        (register(|spec| spec.weight = f64::NAN), weight()),
        (register(|spec| spec.weight = -1.0), weight()),
        (register(|spec| spec.weight = f64::INFINITY), weight()),
        (register(|spec| spec.app = long(limits::LABEL_CHARS_MAX)), SpecError::App.into()),
        (put_service(|meta| meta.protect_threshold = f64::NAN), RegistryError::Threshold),
        (put_service(|meta| meta.protect_threshold = f64::INFINITY), RegistryError::Threshold),
        (
            put_service(|meta| meta.selector = label(long(limits::METADATA_BYTES_MAX))),
            RegistryError::TooLong,
        ),
        (put_cluster(http(long(limits::METADATA_BYTES_MAX))), RegistryError::TooLong),
        (overrides(|put| put.weight = Some(f64::NAN)), weight()),
        (overrides(|put| put.instances[0].0.ip = "10. .0.1".into()), ip()),
        (
            overrides(|put| put.instances = many(2 * limits::INSTANCES_PER_SERVICE_MAX + 1)),
            RegistryError::TooManyInstances,
        ),
        (
            overrides(|put| {
                put.metadata =
                    MetadataChange::Delete(vec!["k".into(); limits::METADATA_ENTRIES_MAX + 1]);
            }),
            SpecError::MetadataEntries.into(),
        ),
        (
            overrides(|put| {
                put.metadata = MetadataChange::Delete(vec![long(limits::METADATA_BYTES_MAX)]);
            }),
            SpecError::MetadataBytes.into(),
        ),
        (overrides(|put| put.service = null()), RegistryError::ServiceUnknown),
        (Command::RemoveService { service: null() }, RegistryError::ServiceUnknown),
        (Command::Deregister { service: service_key("g@@s"), instance: instance("") }, ip()),
        (
            Command::RemoveOverrides {
                service: service_key("g@@s"),
                instances: vec![instance(" ")],
            },
            ip(),
        ),
    ];
    for ms in [0, 9_999, u32::MAX] {
        all.push((Command::SetSwitch(Switch::PushCacheMillis(ms)), RegistryError::SwitchValue));
    }
    let timers = [("preserved.heart.beat.interval", "0")];
    let metadata = Metadata::new(timers).expect("small");
    all.push((register(|spec| spec.metadata = metadata), SpecError::TimerRange.into()));
    all
}

#[test]
fn a_command_that_no_door_lets_through_changes_nothing() {
    let mut registry = registry();
    registry.apply(Instant::ZERO, 1, register(|_| {}), &mut Vec::new()).expect("valid");
    let state = |registry: &Registry| {
        let switches = registry.switches().clone();
        let counts = registry.counts();
        (switches, counts.services, counts.instances, chunks(registry).concat().len())
    };
    for (index, (command, error)) in (2..).zip(invalid()) {
        assert_eq!(registry.admits(&command), Err(error), "{command:?}");
        let before = state(&registry);
        let answer = registry.apply(Instant::ZERO, index, command.clone(), &mut Vec::new());
        assert_eq!(answer, Err(error), "{command:?}");
        registry.invariants();
        let after = state(&registry);
        assert_eq!((&after.0, after.1, after.2), (&before.0, before.1, before.2), "{command:?}");
        // Nothing but the chained hash, which takes up to ten bytes.
        assert!(after.3.abs_diff(before.3) < 10, "{command:?}");
        reload(&registry);
    }
}

#[test]
fn what_an_older_door_let_through_is_applied_and_loaded_and_not_proposed_any_more() {
    let mut registry = registry();
    let texts: [Box<str>; 3] = ["root".into(), "secret".into(), "select 1".into()];
    let [user, password, cmd] = texts;
    let mysql = put_cluster(HealthChecker::Mysql { user, password, cmd });
    assert_eq!(registry.admits(&mysql), Err(RegistryError::CheckerUnsupported));
    registry.apply(Instant::ZERO, 1, mysql, &mut Vec::new()).expect("it is in the log");
    reload(&registry);
}

#[test]
fn the_leader_looks_for_room_before_it_proposes() {
    let mut registry = registry();
    let metadata = Metadata::new([("k", "v".repeat(8_000))]).expect("small");
    let big = |n: usize| {
        register(|spec| {
            spec.ip = format!("10.0.{}.{}", n / 250, n % 250).into();
            spec.metadata = metadata.clone();
        })
    };
    let mut index = 0;
    while registry.admits(&big(index)).is_ok() {
        let at = u64::try_from(index).expect("small") + 1;
        let applied = registry.apply(Instant::ZERO, at, renamed(big(index)), &mut Vec::new());
        applied.expect("there is room");
        index += 1;
    }
    assert_eq!(registry.admits(&big(index)), Err(RegistryError::NodeFull));
    assert!((index + 1) * 8_100 > limits::REGISTRY_TEXT_BYTES_MAX, "{index}");
}

/// In one of some services, so that none has too many.
fn renamed(command: Command) -> Command {
    let Command::Register(mut put) = command else { return command };
    put.service = service_key(&format!("g@@s{}", put.instance.ip.len()));
    Command::Register(put)
}

fn text(prng: &mut Prng) -> Box<str> {
    match prng.below(8) {
        0 => "".into(),
        1 => "10. .0.1".into(),
        2 => "x".repeat(usize::try_from(prng.below(10_000)).expect("small")).into(),
        3 => "\u{a0}".into(),
        _ => format!("10.0.0.{}", prng.below(4)).into(),
    }
}

fn number(prng: &mut Prng) -> f64 {
    const NUMBERS: [f64; 8] = [0.0, 0.5, 1.0, 10_000.0, 10_000.1, -1.0, f64::NAN, f64::INFINITY];
    NUMBERS[usize::try_from(prng.below(8)).expect("small")]
}

fn metadata(prng: &mut Prng) -> Metadata {
    const KEYS: [&str; 3] = ["zone", "preserved.heart.beat.timeout", "preserved.ip.delete.timeout"];
    let entries: Vec<(&str, String)> = (0..prng.below(3))
        .map(|_| {
            let key = KEYS[usize::try_from(prng.below(3)).expect("small")];
            (key, format!("{}", prng.below(20_000)))
        })
        .collect();
    Metadata::new(entries).expect("small")
}

fn any(prng: &mut Prng) -> Command {
    let namespace = if prng.chance(1, 8) { "null" } else { "public" };
    let key = service_key(&format!("g@@s{}", prng.below(3)));
    let service = ServiceKey { namespace: self::namespace(namespace), ..key };
    let key = InstanceKey { ip: text(prng), port: 80, cluster: cluster() };
    let meta = ServiceMeta {
        protect_threshold: number(prng),
        metadata: metadata(prng),
        selector: Selector::Label { expression: text(prng) },
        ephemeral: None,
    };
    match prng.below(12) {
        0..=2 => {
            let instance = InstanceSpec {
                weight: number(prng),
                metadata: metadata(prng),
                app: text(prng),
                ephemeral: prng.chance(1, 2),
                cluster: cluster(),
                ..InstanceSpec::new(&text(prng), 80)
            };
            Command::Register(Box::new(Register { service, instance }))
        }
        3 => Command::Deregister { service, instance: key },
        4 => Command::CreateService(Box::new(PutService { service, meta })),
        5 => Command::UpdateService(Box::new(PutService { service, meta })),
        6 => Command::RemoveService { service },
        7 => {
            let health_checker = match prng.below(3) {
                0 => {
                    HealthChecker::Mysql { user: text(prng), password: text(prng), cmd: text(prng) }
                }
                1 => HealthChecker::Http {
                    path: text(prng),
                    headers: text(prng),
                    expected_code: u16::MAX,
                },
                _ => HealthChecker::None,
            };
            let meta = ClusterMeta { health_checker, check_port: 0, ..ClusterMeta::default() };
            Command::PutCluster(Box::new(PutCluster { service, cluster: cluster(), meta }))
        }
        8 => Command::SetHealth { service, instance: key, healthy: prng.chance(1, 2) },
        9 => {
            let metadata = match prng.below(4) {
                0 => MetadataChange::Keep,
                1 => MetadataChange::Replace(metadata(prng)),
                2 => MetadataChange::Put(metadata(prng)),
                _ => MetadataChange::Delete((0..prng.below(300)).map(|_| text(prng)).collect()),
            };
            Command::Override(Box::new(PutOverrides {
                service,
                instances: vec![(key.clone(), true), (key, false)],
                weight: prng.chance(1, 2).then(|| number(prng)),
                enabled: Some(false),
                healthy: None,
                metadata,
            }))
        }
        10 => Command::RemoveOverrides { service, instances: vec![key] },
        _ => {
            let ms = u32::try_from(prng.below(20_000)).expect("small");
            Command::SetSwitch(Switch::ClientBeatInterval(ms))
        }
    }
}

#[test]
fn whatever_was_applied_can_be_loaded() {
    let mut prng = Prng::new(41);
    let (mut valid, mut invalid) = (0, 0);
    for _ in 0..300 {
        let mut registry = registry();
        for index in 1..30 {
            let command = any(&mut prng);
            let check = command.check();
            let answer = registry.apply(Instant::ZERO, index, command, &mut Vec::new());
            if let Err(error) = check {
                assert_eq!(answer, Err(error));
            }
            *(if check.is_ok() { &mut valid } else { &mut invalid }) += 1;
            registry.invariants();
        }
        reload(&registry);
    }
    assert!(valid > 1_000 && invalid > 1_000, "{valid} {invalid}");
}
