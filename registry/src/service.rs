//! One service: its instances in order, what operators set on it, and the numbers by which readers
//! tell that something changed. Finding services by name is the business of `catalog`.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use nacolet_model::{ClusterName, Instant, ServiceKey, limits};
use serde::{Deserialize, Serialize};

use crate::instance::{Base, Instance};
use crate::request::RegistryError;
use crate::spec::{InstanceKey, InstanceSpec, Metadata};

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
    /// By a query.
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
    pub(crate) meta: Option<ServiceMeta>,
    pub(crate) clusters: BTreeMap<ClusterName, ClusterMeta>,
    pub(crate) overrides: BTreeMap<InstanceKey, Override>,
}

impl Durable {
    fn is_empty(&self) -> bool {
        self.meta.is_none() && self.clusters.is_empty() && self.overrides.is_empty()
    }
}

/// Deadlines that are armed for a service; each also stands in `timer::Timetable`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Armed {
    pub(crate) health: Option<Instant>,
    pub(crate) empty: Option<Instant>,
    pub(crate) push: Option<Instant>,
    pub(crate) orphans: Option<Instant>,
}

/// One service.
#[derive(Debug)]
pub struct Service {
    key: ServiceKey,
    /// Sorted by address, port and cluster.
    instances: Vec<Instance>,
    durable: Option<Box<Durable>>,
    pub(crate) armed: Armed,
    pub(crate) revision: u64,
    pub(crate) last_ref_time: u64,
    ephemeral_count: u32,
}

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// The instance is new.
    Added,
    /// It was there and now looks different.
    Changed {
        /// Whether it was of the other kind before.
        other_kind: bool,
    },
    /// It was there and looks the same.
    Same,
}

impl Service {
    pub(crate) fn new(key: ServiceKey) -> Self {
        Self {
            key,
            instances: Vec::new(),
            durable: None,
            armed: Armed::default(),
            revision: 0,
            last_ref_time: 0,
            ephemeral_count: 0,
        }
    }

    /// Its name.
    #[must_use]
    pub fn key(&self) -> &ServiceKey {
        &self.key
    }

    /// All instances, disabled ones included, in the order of address, port and cluster.
    #[must_use]
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// What operators set, if they did.
    #[must_use]
    pub fn meta(&self) -> Option<&ServiceMeta> {
        self.durable.as_ref()?.meta.as_ref()
    }

    /// Share of healthy instances at which protection begins; 0 where nobody said.
    #[must_use]
    pub fn protect_threshold(&self) -> f64 {
        self.meta().map_or(0.0, |meta| meta.protect_threshold)
    }

    /// Every cluster that has instances or metadata, in the order of names.
    #[must_use]
    pub fn clusters(&self) -> BTreeMap<&str, Option<&ClusterMeta>> {
        let mut clusters: BTreeMap<&str, Option<&ClusterMeta>> =
            self.instances.iter().map(|instance| (instance.cluster(), None)).collect();
        if let Some(durable) = &self.durable {
            clusters
                .extend(durable.clusters.iter().map(|(name, meta)| (name.as_str(), Some(meta))));
        }
        clusters
    }

    /// What operators set on one cluster, if they did.
    #[must_use]
    pub fn cluster_meta(&self, cluster: &str) -> Option<&ClusterMeta> {
        self.durable.as_ref()?.clusters.get(cluster)
    }

    /// Changes with everything that a list shows; never used twice in one process.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Time of the last change as clients are told, milliseconds; strictly increasing.
    #[must_use]
    pub fn last_ref_time(&self) -> u64 {
        self.last_ref_time
    }

    /// Kind of the service: declared, or else that of its instances; `Some(true)` is ephemeral.
    #[must_use]
    pub fn ephemeral(&self) -> Option<bool> {
        let declared = self.meta().and_then(|meta| meta.ephemeral);
        let seen = self.instances.first().map(Instance::ephemeral);
        declared.or(seen)
    }

    /// Number of ephemeral instances.
    #[must_use]
    pub fn ephemeral_count(&self) -> usize {
        usize::try_from(self.ephemeral_count).unwrap_or(usize::MAX)
    }

    /// Number of healthy instances, disabled ones included and protection apart.
    #[must_use]
    pub fn healthy_count(&self) -> usize {
        self.instances.iter().filter(|instance| instance.healthy()).count()
    }

    /// Number of persistent instances.
    #[must_use]
    pub fn persistent_count(&self) -> usize {
        self.instances.len() - self.ephemeral_count()
    }

    /// The instance at an address: in `cluster`, where given; else in the default cluster, else in
    /// any. Python 1.0 registers with a cluster and asks without one.
    #[must_use]
    pub fn find(&self, ip: &str, port: u16, cluster: Option<&str>) -> Option<&Instance> {
        if let Ok(at) = self.position(ip, port, cluster.unwrap_or(ClusterName::DEFAULT)) {
            return self.instances.get(at);
        }
        if cluster.is_some() {
            None
        } else {
            self.instances.get(self.at_address(ip, port))?.first()
        }
    }

    /// The instances that a beat keeps alive: the one it names, else all at its address.
    pub(crate) fn beating(&self, ip: &str, port: u16, cluster: Option<&str>) -> &[Instance] {
        self.instances.get(self.beating_at(ip, port, cluster)).unwrap_or_default()
    }

    /// Positions of [`Self::beating`].
    pub(crate) fn beating_at(&self, ip: &str, port: u16, cluster: Option<&str>) -> Range<usize> {
        match cluster.map(|cluster| self.position(ip, port, cluster)) {
            Some(Ok(at)) => at..at + 1,
            Some(Err(_)) | None => self.at_address(ip, port),
        }
    }

    /// Positions of all instances at an address, whatever their cluster.
    pub(crate) fn at_address(&self, ip: &str, port: u16) -> Range<usize> {
        let order = |instance: &Instance| (instance.ip().cmp(ip)).then(instance.port().cmp(&port));
        let start = self.instances.partition_point(|instance| order(instance).is_lt());
        let rest = self.instances.get(start..).unwrap_or_default();
        let count = rest.iter().take_while(|instance| order(instance).is_eq()).count();
        start..start + count
    }

    /// Where the instance is, or where it would be.
    pub(crate) fn position(&self, ip: &str, port: u16, cluster: &str) -> Result<usize, usize> {
        self.instances.binary_search_by(|instance| instance.order(ip, port, cluster))
    }

    pub(crate) fn contains(&self, key: &InstanceKey) -> bool {
        self.position(&key.ip, key.port, key.cluster.as_str()).is_ok()
    }

    pub(crate) fn instances_mut(&mut self) -> &mut [Instance] {
        &mut self.instances
    }

    pub(crate) fn durable(&self) -> Option<&Durable> {
        self.durable.as_deref()
    }

    pub(crate) fn durable_mut(&mut self) -> &mut Durable {
        self.durable.get_or_insert_default()
    }

    /// Gives the memory of an empty durable part back.
    pub(crate) fn tidy(&mut self) {
        if self.durable.as_ref().is_some_and(|durable| durable.is_empty()) {
            self.durable = None;
        }
    }

    pub(crate) fn take_durable(&mut self) -> Option<Box<Durable>> {
        self.durable.take()
    }

    /// Nothing is here and nobody said anything about it.
    pub(crate) fn is_forgettable(&self) -> bool {
        self.instances.is_empty() && self.durable.is_none()
    }

    /// Whether an override of `key` waits for an instance that is not there.
    pub(crate) fn has_orphans(&self) -> bool {
        self.orphans().next().is_some()
    }

    /// Overrides whose instance is gone.
    pub(crate) fn orphans(&self) -> impl Iterator<Item = &InstanceKey> {
        let overrides = self.durable.iter().flat_map(|durable| durable.overrides.keys());
        overrides.filter(|key| !self.contains(key))
    }

    /// Adds or overwrites an instance, under the override that waits for it. Also says where it is.
    pub(crate) fn put(&mut self, spec: InstanceSpec, now: Instant) -> (Put, usize) {
        let at = self.position(&spec.ip, spec.port, spec.cluster.as_str());
        if let Ok(at) = at
            && self.instances[at].is(&spec)
        {
            self.instances[at].touch(now);
            return (Put::Same, at);
        }
        let cluster = self.share_cluster(&spec.cluster);
        let metadata = self.share_metadata(&spec.metadata);
        let ephemeral = spec.ephemeral;
        let mut instance = Instance::new(spec, cluster, metadata, now);
        if let Some(durable) = &self.durable
            && !durable.overrides.is_empty()
            && let Some(laid) = durable.overrides.get(&instance.key())
        {
            instance.cover(Some(laid.over(&instance)));
        }
        self.ephemeral_count += u32::from(ephemeral);
        match at {
            Ok(at) => {
                let old = core::mem::replace(&mut self.instances[at], instance);
                self.ephemeral_count -= u32::from(old.ephemeral());
                (Put::Changed { other_kind: old.ephemeral() != ephemeral }, at)
            }
            Err(at) => {
                self.instances.insert(at, instance);
                (Put::Added, at)
            }
        }
    }

    /// Takes an instance out.
    pub(crate) fn remove(&mut self, at: usize) -> Instance {
        let instance = self.instances.remove(at);
        self.ephemeral_count -= u32::from(instance.ephemeral());
        if self.instances.is_empty() {
            self.instances = Vec::new();
        }
        instance
    }

    /// Keeps the instances that `keep` keeps; returns how many ephemeral and persistent ones went.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut Instance) -> bool) -> (usize, usize) {
        let (mut ephemeral, mut persistent) = (0, 0);
        self.instances.retain_mut(|instance| {
            let kept = keep(instance);
            if !kept {
                *(if instance.ephemeral() { &mut ephemeral } else { &mut persistent }) += 1;
            }
            kept
        });
        self.ephemeral_count -= u32::try_from(ephemeral).unwrap_or(u32::MAX);
        if self.instances.len() < self.instances.capacity() / 4 {
            self.instances.shrink_to_fit();
        }
        (ephemeral, persistent)
    }

    /// Shows the override of `key`, or what was registered when there is none.
    pub(crate) fn lay_override(&mut self, key: &InstanceKey) -> bool {
        let Ok(at) = self.position(&key.ip, key.port, key.cluster.as_str()) else { return false };
        let laid = self.durable.as_ref().and_then(|durable| durable.overrides.get(key));
        let cover = laid.map(|laid| laid.over(&self.instances[at]));
        self.instances[at].cover(cover);
        true
    }

    /// One text for all instances of a cluster.
    fn share_cluster(&self, cluster: &ClusterName) -> Arc<ClusterName> {
        let same = self.instances.iter().find(|instance| instance.cluster() == cluster.as_str());
        same.map_or_else(|| Arc::new(cluster.clone()), |same| Arc::clone(same.cluster_name()))
    }

    /// Instances of one deployment carry the same metadata, so looking at the first and the last is
    /// enough to find it.
    fn share_metadata(&self, metadata: &Metadata) -> Arc<Metadata> {
        let near = [self.instances.first(), self.instances.last()];
        let same = near.into_iter().flatten().find(|near| near.metadata() == metadata);
        same.map_or_else(|| Arc::new(metadata.clone()), |same| Arc::clone(same.shared_metadata()))
    }

    /// Asserts what everything else relies on.
    ///
    /// # Panics
    /// When the order, the counts or the limits are broken.
    pub(crate) fn invariants(&self) {
        let ephemeral = self.instances.iter().filter(|instance| instance.ephemeral()).count();
        assert_eq!(ephemeral, self.ephemeral_count(), "ephemeral instances are counted");
        for pair in self.instances.windows(2) {
            let [low, high] = pair else { continue };
            let order = low.order(high.ip(), high.port(), high.cluster());
            assert!(order.is_lt(), "instances are sorted and unique");
        }
        let double = 2 * limits::INSTANCES_PER_SERVICE_MAX;
        assert!(self.instances.len() <= double, "instances of both kinds stay bounded");
        assert!(self.durable.as_ref().is_none_or(|durable| !durable.is_empty()), "durable is tidy");
    }
}

impl Override {
    /// What clients see of `instance` under this override.
    pub(crate) fn over(&self, instance: &Instance) -> Base {
        let (weight, enabled, metadata) = instance.registered();
        let metadata = if self.put.is_empty() && self.hide.is_empty() {
            Arc::clone(metadata)
        } else {
            Arc::new(metadata.under(&self.put, &self.hide))
        };
        Base {
            weight: self.weight.unwrap_or(weight),
            enabled: self.enabled.unwrap_or(enabled),
            metadata,
        }
    }
}

impl ServiceMeta {
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
    /// Whether it is inside its limits.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        let bytes = match self {
            Self::Tcp | Self::None => 0,
            Self::Http { path, headers, .. } => path.len() + headers.len(),
            Self::Mysql { user, password, cmd } => user.len() + password.len() + cmd.len(),
        };
        if bytes > limits::METADATA_BYTES_MAX { Err(RegistryError::TooLong) } else { Ok(()) }
    }
}
