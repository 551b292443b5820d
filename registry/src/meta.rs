//! What operators say about services, clusters and instances. It goes through the Raft log; who is
//! alive is not its business.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::{ClusterName, limits};
use serde::{Deserialize, Serialize};

use crate::instance::{Base, Declared, Instance};
use crate::persistent::{MetadataChange, PutOverrides};
use crate::probe::aim;
use crate::request::RegistryError;
use crate::spec::{InstanceKey, Metadata, SpecError, check_weight};

/// How clients are matched with instances. Stored and echoed; `Label` selects nothing without a CMDB,
/// as in Nacos.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selector {
    /// No selection.
    #[default]
    None,
    /// An expression over labels.
    Label {
        /// The expression.
        expression: Box<str>,
    },
}

/// How persistent instances of a cluster are to be probed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthChecker {
    /// By opening a connection (default of Nacos).
    #[default]
    Tcp,
    /// By a request.
    Http {
        /// Path.
        path: Box<str>,
        /// Headers, `name:value` joined with `|`.
        headers: Box<str>,
        /// Status that counts as healthy.
        expected_code: u16,
    },
    /// By a query. No longer accepted: nothing here speaks that protocol.
    Mysql {
        /// User.
        user: Box<str>,
        /// Password.
        password: Box<str>,
        /// Query.
        cmd: Box<str>,
    },
    /// Not at all: operators say who is healthy.
    None,
}

/// What operators set on a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceMeta {
    /// Share of healthy instances at which protection begins.
    pub protect_threshold: f64,
    /// Metadata of the service.
    pub metadata: Metadata,
    /// Selector.
    pub selector: Selector,
    /// Kind of the instances, where declared.
    pub ephemeral: Option<bool>,
}

/// What operators set on a cluster inside a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMeta {
    /// How its persistent instances are to be probed.
    pub health_checker: HealthChecker,
    /// Port to probe.
    pub check_port: u16,
    /// Whether to probe the instance's own port.
    pub use_instance_port: bool,
    /// Metadata of the cluster.
    pub metadata: Metadata,
}

impl Default for ClusterMeta {
    fn default() -> Self {
        Self {
            health_checker: HealthChecker::default(),
            // Nacos probes port 80 where nobody says otherwise, and the instance's port by default.
            check_port: 80,
            use_instance_port: true,
            metadata: Metadata::default(),
        }
    }
}

/// What operators set on an instance; it outlives registrations (Nacos `InstanceMetadata`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Override {
    /// Weight, where set.
    pub weight: Option<f64>,
    /// Visibility, where set.
    pub enabled: Option<bool>,
    /// Entries laid over the registered metadata.
    pub put: Metadata,
    /// Keys taken out of the registered metadata.
    pub hide: Vec<Box<str>>,
}

/// The part of a service that goes through the Raft log, persistent instances apart.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    meta: Option<ServiceMeta>,
    clusters: BTreeMap<ClusterName, ClusterMeta>,
    overrides: BTreeMap<InstanceKey, Override>,
    /// Sum of the texts in all three.
    text_bytes: usize,
}

impl Durable {
    pub(crate) fn meta(&self) -> Option<&ServiceMeta> {
        self.meta.as_ref()
    }

    pub(crate) fn clusters(&self) -> &BTreeMap<ClusterName, ClusterMeta> {
        &self.clusters
    }

    pub(crate) fn overrides(&self) -> &BTreeMap<InstanceKey, Override> {
        &self.overrides
    }

    pub(crate) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.meta.is_none() && self.clusters.is_empty() && self.overrides.is_empty()
    }

    pub(crate) fn set_meta(&mut self, meta: ServiceMeta) {
        self.text_bytes += meta.text_bytes();
        let old = self.meta.replace(meta);
        self.text_bytes -= old.map_or(0, |old| old.text_bytes());
    }

    pub(crate) fn put_cluster(&mut self, name: ClusterName, meta: ClusterMeta) {
        self.text_bytes += meta.text_bytes();
        let old = self.clusters.insert(name, meta);
        self.text_bytes -= old.map_or(0, |old| old.text_bytes());
    }

    pub(crate) fn put_override(&mut self, key: InstanceKey, laid: Override) {
        self.text_bytes += laid.text_bytes();
        let old = self.overrides.insert(key, laid);
        self.text_bytes -= old.map_or(0, |old| old.text_bytes());
    }

    pub(crate) fn remove_override(&mut self, key: &InstanceKey) {
        let old = self.overrides.remove(key);
        self.text_bytes -= old.map_or(0, |old| old.text_bytes());
    }

    /// Asserts what everything else relies on.
    ///
    /// # Panics
    /// When the count of bytes is wrong.
    pub(crate) fn invariants(&self) {
        let meta = self.meta.iter().map(ServiceMeta::text_bytes);
        let clusters = self.clusters.values().map(ClusterMeta::text_bytes);
        let overrides = self.overrides.values().map(Override::text_bytes);
        let text_bytes: usize = meta.chain(clusters).chain(overrides).sum();
        assert_eq!(text_bytes, self.text_bytes, "texts of operators are counted");
        assert!(!self.is_empty(), "an empty part is given back");
    }
}

impl ClusterMeta {
    /// Whether it can be stored. The door is stricter, see `HealthChecker::check`: what an older one let
    /// through stays.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        self.health_checker.check_texts()
    }

    /// Bytes of its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        self.metadata.text_bytes() + self.health_checker.text_bytes()
    }
}

impl Override {
    /// Whether it is inside its limits.
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        self.weight.map_or(Ok(()), check_weight)?;
        check_hidden(&self.hide)
    }

    /// Bytes of its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        self.put.text_bytes() + self.hide.iter().map(|key| key.len()).sum::<usize>()
    }

    /// What clients see of `instance` under this override.
    pub(crate) fn over(&self, instance: &Instance) -> Base {
        let (weight, enabled, declared) = instance.registered();
        let declared = if self.put.is_empty() && self.hide.is_empty() {
            Arc::clone(declared)
        } else {
            let metadata = declared.metadata.under(&self.put, &self.hide);
            Arc::new(Declared::new(metadata, declared.app.clone()))
        };
        Base {
            weight: self.weight.unwrap_or(weight),
            enabled: self.enabled.unwrap_or(enabled),
            declared,
        }
    }

    /// Takes over what `put` says.
    pub(crate) fn change(&mut self, put: &PutOverrides) -> Result<(), SpecError> {
        self.weight = put.weight.or(self.weight);
        self.enabled = put.enabled.or(self.enabled);
        match &put.metadata {
            MetadataChange::Keep => {}
            MetadataChange::Replace(metadata) => {
                self.put = metadata.clone();
                self.hide = Vec::new();
            }
            MetadataChange::Put(metadata) => {
                self.put = Metadata::new(self.put.iter().chain(metadata.iter()))?;
                self.hide.retain(|key| metadata.get(key).is_none());
            }
            MetadataChange::Delete(keys) => {
                let kept = |(key, _): &(&str, &str)| !keys.iter().any(|gone| **gone == **key);
                self.put = Metadata::new(self.put.iter().filter(kept))?;
                for key in keys {
                    if !self.hide.contains(key) {
                        self.hide.push(key.clone());
                    }
                }
                check_hidden(&self.hide)?;
            }
        }
        Ok(())
    }
}

/// Whether so many keys of a metadata map may be taken out.
pub(crate) fn check_hidden(keys: &[Box<str>]) -> Result<(), SpecError> {
    if keys.len() > limits::METADATA_ENTRIES_MAX {
        return Err(SpecError::MetadataEntries);
    }
    let bytes: usize = keys.iter().map(|key| key.len()).sum();
    if bytes > limits::METADATA_BYTES_MAX { Err(SpecError::MetadataBytes) } else { Ok(()) }
}

impl ServiceMeta {
    /// Bytes of its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        let selector = match &self.selector {
            Selector::Label { expression } => expression.len(),
            Selector::None => 0,
        };
        self.metadata.text_bytes() + selector
    }

    /// Whether it is inside its limits.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        if !(0.0..=1.0).contains(&self.protect_threshold) {
            return Err(RegistryError::Threshold);
        }
        match &self.selector {
            Selector::Label { expression } if expression.len() > limits::METADATA_BYTES_MAX => {
                Err(RegistryError::TooLong)
            }
            Selector::Label { .. } | Selector::None => Ok(()),
        }
    }
}

impl HealthChecker {
    fn text_bytes(&self) -> usize {
        match self {
            Self::Tcp | Self::None => 0,
            Self::Http { path, headers, .. } => path.len() + headers.len(),
            Self::Mysql { user, password, cmd } => user.len() + password.len() + cmd.len(),
        }
    }

    /// Whether its texts are inside their limits.
    fn check_texts(&self) -> Result<(), RegistryError> {
        let is_long = self.text_bytes() > limits::METADATA_BYTES_MAX;
        if is_long { Err(RegistryError::TooLong) } else { Ok(()) }
    }

    /// Whether it makes anybody connect to anything.
    pub(crate) fn probes(&self) -> bool {
        matches!(self, Self::Tcp | Self::Http { .. })
    }

    /// Whether it is inside its limits, and can be what it says: an operator must not believe in a
    /// probe that never happens.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        self.check_texts()?;
        match self {
            Self::Http { path, headers, .. } if !aim::is_request(path, headers) => {
                Err(RegistryError::CheckerRequest)
            }
            Self::Mysql { .. } => Err(RegistryError::CheckerUnsupported),
            Self::Tcp | Self::Http { .. } | Self::None => Ok(()),
        }
    }
}
