//! The replicated part of the registry as a sequence of chunks, for raft snapshots, and back. Each
//! chunk is a run of postcard records that fit into `SNAPSHOT_CHUNK_BYTES_MAX`; a service comes
//! before what is in it. Checksums are the business of whoever stores or sends the chunks.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use nacolet_model::{ClusterName, Instant, ServiceKey, limits};
use serde::{Deserialize, Serialize};

use crate::state::durable::Override;
use crate::state::registry::Registry;
use crate::state::service::Service;
use crate::words::command::check_service;
use crate::words::io::Output;
use crate::words::meta::{ClusterMeta, ServiceMeta};
use crate::words::spec::{InstanceKey, InstanceSpec};
use crate::words::switches::Switches;

/// Version of the record format; another one is refused.
const VERSION: u8 = 1;

/// One record: append variants only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Record {
    /// The first record.
    Head { version: u8, hash: u64, switches: Switches },
    /// A service; what follows is in it.
    Service { key: ServiceKey, meta: Option<ServiceMeta> },
    /// A cluster of the last service.
    Cluster { name: ClusterName, meta: ClusterMeta },
    /// An override in the last service.
    Override { key: InstanceKey, laid: Override },
    /// A persistent instance of the last service.
    Instance(InstanceSpec),
    /// The last record; `records` counts those before it.
    End { records: u64 },
}

/// Why chunks are no snapshot of a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It was written by a version of this program that this one does not know.
    #[error("registry snapshot has version {found}, this program reads version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// A record cannot be decoded or breaks a limit.
    #[error("registry snapshot is damaged")]
    Damaged,
    /// A record stands where it cannot.
    #[error("registry snapshot is out of order")]
    OutOfOrder,
    /// The end is missing.
    #[error("registry snapshot is cut off")]
    Truncated,
}

/// The replicated part of a registry at one moment, to be written while the registry goes on.
#[derive(Debug)]
pub struct Capture {
    records: VecDeque<Record>,
}

impl Registry {
    /// Copies the replicated part.
    #[must_use]
    pub fn capture(&self) -> Capture {
        let (version, hash, switches) = (VERSION, self.hash, self.switches.clone());
        let mut records = VecDeque::from([Record::Head { version, hash, switches }]);
        for service in self.catalog.services() {
            capture_service(service, &mut records);
        }
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        records.push_back(Record::End { records: count });
        Capture { records }
    }

    /// Puts `loaded` in the place of the replicated part; ephemeral instances stay.
    pub fn install(&mut self, now: Instant, loaded: Replicated, out: &mut Vec<Output>) {
        // First what was replicated before goes, so that ephemeral instances show what they
        // registered.
        for slot in self.catalog.slots() {
            self.catalog.retain_instances(slot, |instance| instance.ephemeral());
            if let Some(service) = self.catalog.get_mut(slot) {
                let said = service.take_durable();
                for key in said.iter().flat_map(|durable| durable.overrides().keys()) {
                    service.lay_override(key);
                }
            }
        }
        self.hash = loaded.hash;
        self.switches = loaded.switches;
        for part in loaded.services {
            let slot = self.slot_for(&part.key);
            let Some(service) = self.catalog.get_mut(slot) else { continue };
            let durable = service.durable_mut();
            let laid: Vec<InstanceKey> =
                part.overrides.iter().map(|(key, _)| key.clone()).collect();
            part.meta.into_iter().for_each(|meta| durable.set_meta(meta));
            part.clusters.into_iter().for_each(|(name, meta)| durable.put_cluster(name, meta));
            part.overrides.into_iter().for_each(|(key, laid)| durable.put_override(key, laid));
            // Overrides are laid over what is here; persistent instances take theirs when they
            // come.
            laid.iter().for_each(|key| {
                service.lay_override(key);
            });
            for spec in part.instances {
                self.catalog.put_instance(slot, spec, None, now);
            }
        }
        // Last the services that lost everything are changed too, and may be forgotten.
        for slot in self.catalog.slots() {
            self.changed(now, slot);
            self.thinned(now, slot);
            self.look_at_all(now, slot);
        }
        self.settle(now, out);
    }
}

fn capture_service(service: &Service, records: &mut VecDeque<Record>) {
    if service.durable().is_none() && service.persistent_count() == 0 {
        return;
    }
    records
        .push_back(Record::Service { key: service.key().clone(), meta: service.meta().cloned() });
    if let Some(durable) = service.durable() {
        for (name, meta) in durable.clusters() {
            records.push_back(Record::Cluster { name: name.clone(), meta: meta.clone() });
        }
        for (key, laid) in durable.overrides() {
            records.push_back(Record::Override { key: key.clone(), laid: laid.clone() });
        }
    }
    let persistent = service.publications().iter().filter(|instance| !instance.ephemeral());
    records.extend(persistent.map(|instance| Record::Instance(instance.to_spec())));
}

impl Capture {
    /// The next chunk, at most `SNAPSHOT_CHUNK_BYTES_MAX` bytes; `None` after the last.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        let mut chunk = Vec::new();
        while let Some(record) = self.records.front() {
            // A record is a plain value without maps of unknown length, which postcard can encode.
            let bytes = postcard::to_allocvec(record).unwrap_or_default();
            debug_assert!(!bytes.is_empty(), "every record can be encoded");
            let full = chunk.len() + bytes.len() > limits::SNAPSHOT_CHUNK_BYTES_MAX;
            if full && !chunk.is_empty() {
                break;
            }
            chunk.extend_from_slice(&bytes);
            self.records.pop_front();
        }
        (!chunk.is_empty()).then_some(chunk)
    }
}

/// The replicated part of a registry, checked.
#[derive(Debug, PartialEq)]
pub struct Replicated {
    hash: u64,
    switches: Switches,
    services: Vec<LoadedService>,
}

#[derive(Debug, PartialEq)]
struct LoadedService {
    key: ServiceKey,
    meta: Option<ServiceMeta>,
    clusters: Vec<(ClusterName, ClusterMeta)>,
    overrides: Vec<(InstanceKey, Override)>,
    instances: Vec<InstanceSpec>,
}

/// Takes chunks in order and checks them.
#[derive(Debug, Default)]
pub struct Loader {
    loaded: Option<Replicated>,
    records: u64,
    ended: bool,
}

impl Loader {
    /// A loader that waits for the first chunk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// See [`LoadError`]; the loader is of no use afterwards.
    pub fn push(&mut self, mut chunk: &[u8]) -> Result<(), LoadError> {
        while !chunk.is_empty() {
            let taken = postcard::take_from_bytes::<Record>(chunk);
            let (record, rest) = taken.ok().ok_or(LoadError::Damaged)?;
            self.take(record)?;
            chunk = rest;
        }
        Ok(())
    }

    fn take(&mut self, record: Record) -> Result<(), LoadError> {
        if self.ended {
            return Err(LoadError::OutOfOrder);
        }
        match (record, &mut self.loaded) {
            (Record::Head { version, hash, switches }, loaded @ None) => {
                if version != VERSION {
                    return Err(LoadError::Version { found: version });
                }
                valid(switches.check())?;
                *loaded = Some(Replicated { hash, switches, services: Vec::new() });
            }
            (Record::Head { .. }, Some(_)) | (_, None) => return Err(LoadError::OutOfOrder),
            (Record::End { records }, Some(_)) => {
                if records != self.records {
                    return Err(LoadError::Truncated);
                }
                self.ended = true;
            }
            (Record::Service { key, meta }, Some(loaded)) => {
                valid(check_service(&key))?;
                valid(meta.as_ref().map_or(Ok(()), ServiceMeta::check))?;
                let (clusters, overrides, instances) = (Vec::new(), Vec::new(), Vec::new());
                loaded.services.push(LoadedService { key, meta, clusters, overrides, instances });
            }
            (record, Some(loaded)) => {
                loaded.services.last_mut().ok_or(LoadError::OutOfOrder)?.take(record)?;
            }
        }
        self.records += 1;
        Ok(())
    }

    /// The whole, once every chunk was taken.
    ///
    /// # Errors
    /// [`LoadError::Truncated`].
    pub fn finish(self) -> Result<Replicated, LoadError> {
        match self.loaded {
            Some(loaded) if self.ended => Ok(loaded),
            Some(_) | None => Err(LoadError::Truncated),
        }
    }
}

/// What is loaded is what can be applied, or a state that was taken would be one that cannot be
/// loaded.
fn valid<E>(checked: Result<(), E>) -> Result<(), LoadError> {
    checked.ok().ok_or(LoadError::Damaged)
}

impl LoadedService {
    fn take(&mut self, record: Record) -> Result<(), LoadError> {
        let double = 2 * limits::INSTANCES_PER_SERVICE_MAX;
        match record {
            Record::Cluster { name, meta } => {
                valid(meta.check())?;
                self.clusters.push((name, meta));
            }
            Record::Override { key, laid } => {
                valid(key.check())?;
                valid(laid.check())?;
                self.overrides.push((key, laid));
            }
            Record::Instance(spec) if !spec.ephemeral => {
                valid(spec.check())?;
                self.instances.push(spec);
            }
            Record::Instance(_) => return Err(LoadError::Damaged),
            Record::Head { .. } | Record::Service { .. } | Record::End { .. } => {
                return Err(LoadError::OutOfOrder);
            }
        }
        if self.instances.len() > double || self.overrides.len() > double {
            return Err(LoadError::Damaged);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::format;

    use nacolet_model::Prng;

    use super::*;
    use crate::testing::service_key;
    use crate::words::command::{
        Command, MetadataChange, PutCluster, PutOverrides, PutService, Register,
    };
    use crate::words::io::RegistrySettings;
    use crate::words::meta::{HealthChecker, Selector};
    use crate::words::spec::Metadata;
    use crate::words::switches::Switch;

    fn persistent(number: u32, metadata: Metadata) -> InstanceSpec {
        let ip = format!("10.0.{}.{}", number / 250, number % 250);
        InstanceSpec { ephemeral: false, metadata, ..InstanceSpec::new(&ip, 80) }
    }

    /// A registry with one of everything that is replicated.
    fn sample() -> Registry {
        let mut registry = Registry::new(RegistrySettings::default());
        let zone = Metadata::new([("zone", "a")]).expect("small");
        let instance = persistent(0, zone.clone());
        let meta = ServiceMeta {
            protect_threshold: 0.5,
            metadata: zone.clone(),
            selector: Selector::Label { expression: "e".into() },
            ephemeral: Some(false),
        };
        let health_checker =
            HealthChecker::Http { path: "/".into(), headers: "".into(), expected_code: 204 };
        let cluster = ClusterMeta { health_checker, check_port: 81, ..ClusterMeta::default() };
        let commands = [
            Command::Register(Box::new(Register {
                service: service_key("g@@s"),
                instance: instance.clone(),
            })),
            Command::UpdateService(Box::new(PutService { service: service_key("g@@s"), meta })),
            Command::PutCluster(Box::new(PutCluster {
                service: service_key("g@@s"),
                cluster: ClusterName::new("c").expect("valid"),
                meta: cluster,
            })),
            Command::Override(Box::new(PutOverrides {
                service: service_key("g@@s"),
                instances: alloc::vec![(instance.key(), false)],
                weight: Some(2.0),
                enabled: None,
                healthy: Some(false),
                metadata: MetadataChange::Delete(alloc::vec!["zone".into()]),
            })),
            Command::SetSwitch(Switch::ClientBeatInterval(8_000)),
        ];
        for (index, command) in (1..).zip(commands) {
            registry.apply(Instant::ZERO, index, command, &mut Vec::new()).expect("applies");
        }
        registry
    }

    fn chunks(registry: &Registry) -> Vec<Vec<u8>> {
        let mut capture = registry.capture();
        core::iter::from_fn(|| capture.next_chunk()).collect()
    }

    fn load(chunks: &[Vec<u8>]) -> Result<Replicated, LoadError> {
        let mut loader = Loader::new();
        chunks.iter().try_for_each(|chunk| loader.push(chunk))?;
        loader.finish()
    }

    #[test]
    fn what_is_captured_is_what_is_installed() {
        let registry = sample();
        let mut copy = Registry::new(RegistrySettings::default());
        copy.install(Instant::ZERO, load(&chunks(&registry)).expect("loads"), &mut Vec::new());
        copy.invariants();
        assert_eq!(chunks(&copy), chunks(&registry));
        assert_eq!(copy.state_hash(), registry.state_hash());
        let service = copy.service("public", "g", "s").expect("is there");
        let shown: Vec<_> = service.publications()[0].metadata().iter().collect();
        assert_eq!(
            (shown.len(), service.publications()[0].weight().to_bits()),
            (0, 2.0_f64.to_bits())
        );
        assert!(!service.publications()[0].healthy());

        // What was replicated before and is not in the snapshot is gone.
        let empty = load(&chunks(&Registry::new(RegistrySettings::default()))).expect("loads");
        copy.install(Instant::ZERO, empty, &mut Vec::new());
        copy.invariants();
        assert_eq!(copy.counts().instances, 0);
        assert_eq!(copy.switches(), &Switches::default());
    }

    #[test]
    fn the_format_is_the_one_of_version_1() {
        let bytes: Vec<u8> = chunks(&sample()).concat();
        let mut text = alloc::string::String::new();
        for byte in &bytes {
            text.push_str(&format!("{byte:02x}"));
        }
        assert_eq!(text, GOLDEN, "a changed format needs another version");
    }

    /// The hash in it also pins the bytes of the commands that made it.
    const GOLDEN: &str = "000193aed7bb8bdfa8888c01c03e904e010101010001067075626c69630167017301000000000000\
        e03f01047a6f6e650161010165010002016301012f00cc01510100030831302e302e302e30500744\
        454641554c54010000000000000040000001047a6f6e65040831302e302e302e3050074445464155\
        4c54000000000000f03f01000001047a6f6e650161000505";

    #[test]
    fn a_large_registry_is_cut_into_chunks_of_bounded_size() {
        let mut registry = Registry::new(RegistrySettings::default());
        for number in 0..200 {
            let metadata = Metadata::new([("k", "v".repeat(8_000))]).expect("small");
            let service = service_key(&format!("g@@s{}", number % 3));
            let register = Register { service, instance: persistent(number, metadata) };
            let command = Command::Register(Box::new(register));
            registry.apply(Instant::ZERO, 1, command, &mut Vec::new()).expect("applies");
        }
        let mut chunks = chunks(&registry);
        assert!(chunks.len() > 5);
        assert!(chunks.iter().all(|chunk| chunk.len() <= limits::SNAPSHOT_CHUNK_BYTES_MAX));
        assert!(load(&chunks).is_ok());
        let last = chunks.pop();
        assert_eq!(load(&chunks), Err(LoadError::Truncated));
        chunks.remove(2);
        chunks.extend(last);
        assert!(load(&chunks).is_err(), "a lost chunk is noticed");
    }

    #[test]
    fn records_that_are_wrong_are_refused() {
        let encode = |records: &[Record]| -> Vec<Vec<u8>> {
            records.iter().map(|record| postcard::to_allocvec(record).expect("encodes")).collect()
        };
        let head = |version| Record::Head { version, hash: 0, switches: Switches::default() };
        let service = Record::Service { key: service_key("g@@s"), meta: None };
        let ephemeral = Record::Instance(InstanceSpec::new("10.0.0.1", 80));
        for (records, expected) in [
            (alloc::vec![], LoadError::Truncated),
            (alloc::vec![head(1)], LoadError::Truncated),
            (alloc::vec![head(2)], LoadError::Version { found: 2 }),
            (alloc::vec![service.clone()], LoadError::OutOfOrder),
            (alloc::vec![head(1), head(1)], LoadError::OutOfOrder),
            (alloc::vec![head(1), ephemeral.clone()], LoadError::OutOfOrder),
            (alloc::vec![head(1), service, ephemeral], LoadError::Damaged),
            (alloc::vec![head(1), Record::End { records: 2 }], LoadError::Truncated),
            (
                alloc::vec![head(1), Record::End { records: 1 }, Record::End { records: 2 }],
                LoadError::OutOfOrder,
            ),
        ] {
            assert_eq!(load(&encode(&records)), Err(expected), "{records:?}");
        }
    }

    #[test]
    fn random_and_damaged_bytes_never_panic() {
        let whole: Vec<u8> = chunks(&sample()).concat();
        let mut prng = Prng::new(7);
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..=prng.below(4) {
                let at = usize::try_from(prng.below(u64::try_from(bytes.len()).expect("small")));
                bytes[at.expect("small")] = prng.next_u64().to_le_bytes()[0];
            }
            if prng.chance(1, 4) {
                let length = prng.below(u64::try_from(bytes.len()).expect("small"));
                bytes.truncate(usize::try_from(length).expect("small"));
            }
            if let Ok(loaded) = load(core::slice::from_ref(&bytes)) {
                let mut registry = Registry::new(RegistrySettings::default());
                registry.install(Instant::ZERO, loaded, &mut Vec::new());
                registry.invariants();
            }
            if let Ok(command) = postcard::from_bytes::<Command>(&bytes) {
                let mut registry = sample();
                let _ = registry.apply(Instant::ZERO, 9, command, &mut Vec::new());
                registry.invariants();
            }
            let noise: Vec<u8> =
                (0..prng.below(64)).map(|_| prng.next_u64().to_le_bytes()[0]).collect();
            assert!(load(core::slice::from_ref(&noise)).is_err());
            if let Ok(command) = postcard::from_bytes::<Command>(&noise) {
                let mut registry = sample();
                let _ = registry.apply(Instant::ZERO, 9, command, &mut Vec::new());
                registry.invariants();
            }
        }
    }
}
