//! The replicated part of the registry as a sequence of chunks, for raft snapshots, and back. Each
//! chunk is a run of postcard records that fit into `SNAPSHOT_CHUNK_BYTES_MAX`; a service comes before
//! what is in it. Checksums are the business of whoever stores or sends the chunks.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use nacolet_model::{ClusterName, Instant, ServiceKey, limits};
use serde::{Deserialize, Serialize};

use crate::instance::{InstanceKey, InstanceSpec, check_weight};
use crate::service::{ClusterMeta, Override, Service, ServiceMeta};
use crate::step::{Output, Registry};
use crate::switches::Switches;

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
        for slot in self.catalog.slots() {
            self.catalog.retain_instances(slot, |instance| instance.ephemeral());
            if let Some(service) = self.catalog.get_mut(slot) {
                let said = service.take_durable();
                for key in said.iter().flat_map(|durable| durable.overrides.keys()) {
                    service.lay_override(key);
                }
            }
        }
        self.hash = loaded.hash;
        self.switches = loaded.switches;
        for part in loaded.services {
            let (slot, _) = self.catalog.slot_or_insert(&part.key);
            let Some(service) = self.catalog.get_mut(slot) else { continue };
            let durable = service.durable_mut();
            durable.meta = part.meta;
            durable.clusters = part.clusters.into_iter().collect();
            durable.overrides = part.overrides.into_iter().collect();
            let laid: Vec<InstanceKey> = durable.overrides.keys().cloned().collect();
            laid.iter().for_each(|key| {
                service.lay_override(key);
            });
            for spec in part.instances {
                self.catalog.put_instance(slot, spec, now);
            }
        }
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
        for (name, meta) in &durable.clusters {
            records.push_back(Record::Cluster { name: name.clone(), meta: meta.clone() });
        }
        for (key, laid) in &durable.overrides {
            records.push_back(Record::Override { key: key.clone(), laid: laid.clone() });
        }
    }
    let persistent = service.instances().iter().filter(|instance| !instance.ephemeral());
    records.extend(persistent.map(|instance| Record::Instance(instance.to_spec())));
}

impl Capture {
    /// The next chunk, at most `SNAPSHOT_CHUNK_BYTES_MAX` bytes; `None` after the last.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        let mut chunk = Vec::new();
        while let Some(record) = self.records.front() {
            // A record is a plain value without maps of unknown length, which postcard can encode.
            let bytes = postcard::to_allocvec(record).unwrap_or_default();
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
                if meta.as_ref().is_some_and(|meta| meta.check().is_err()) {
                    return Err(LoadError::Damaged);
                }
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

impl LoadedService {
    fn take(&mut self, record: Record) -> Result<(), LoadError> {
        let double = 2 * limits::INSTANCES_PER_SERVICE_MAX;
        match record {
            Record::Cluster { name, meta } => self.clusters.push((name, meta)),
            Record::Override { key, laid }
                if laid.weight.is_none_or(|weight| check_weight(weight).is_ok()) =>
            {
                self.overrides.push((key, laid));
            }
            Record::Instance(spec) if spec.check().is_ok() && !spec.ephemeral => {
                self.instances.push(spec);
            }
            Record::Instance(_) | Record::Override { .. } => return Err(LoadError::Damaged),
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
