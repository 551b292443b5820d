//! One service: its instances in order, what operators set on it, and the numbers by which readers
//! tell that something changed. Finding services by name is the business of `catalog`.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use nacolet_model::{ClusterName, Instant, ServiceKey, limits};

use crate::distro;
use crate::instance::{Declared, Instance};
use crate::meta::{ClusterMeta, Durable, ServiceMeta};
use crate::spec::{InstanceKey, InstanceSpec};

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
    /// When it was removed while this node still listed instances that others had taken out.
    pub(crate) removed: Option<Instant>,
    pub(crate) revision: u64,
    /// When its list changed last, and what clients see of that.
    pub(crate) ref_time: u64,
    /// The same before the last change that was made here.
    pub(crate) ref_time_before: u64,
    pub(crate) last_ref_time: u64,
    /// Hash of its name: its bucket, and its part of the choice of the responsible member.
    pub(crate) name_hash: u64,
    /// Whether this node decides who is silent for too long.
    pub(crate) watched: bool,
    /// Hash over its ephemeral instances, where nothing changed since it was taken.
    pub(crate) digest: Option<u64>,
    ephemeral_count: u32,
    /// Sum of the texts of all instances.
    instance_bytes: usize,
    /// What the registry's sum counts for this service.
    pub(crate) counted_bytes: usize,
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
            name_hash: distro::responsible::name_hash(&key),
            watched: false,
            digest: None,
            key,
            instances: Vec::new(),
            durable: None,
            armed: Armed::default(),
            removed: None,
            revision: 0,
            ref_time: 0,
            ref_time_before: 0,
            last_ref_time: 0,
            ephemeral_count: 0,
            instance_bytes: 0,
            counted_bytes: 0,
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
        self.durable.as_ref()?.meta()
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
                .extend(durable.clusters().iter().map(|(name, meta)| (name.as_str(), Some(meta))));
        }
        clusters
    }

    /// What operators set on one cluster, if they did.
    #[must_use]
    pub fn cluster_meta(&self, cluster: &str) -> Option<&ClusterMeta> {
        self.durable.as_ref()?.clusters().get(cluster)
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

    /// The instance of this name.
    pub(crate) fn instance(&self, key: &InstanceKey) -> Option<&Instance> {
        self.instances.get(self.place(key)?)
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

    /// Where the instance of this name is.
    pub(crate) fn place(&self, key: &InstanceKey) -> Option<usize> {
        self.position(&key.ip, key.port, key.cluster.as_str()).ok()
    }

    /// Where the instances after this one begin, whether it is there or not.
    pub(crate) fn after(&self, key: &InstanceKey) -> usize {
        match self.position(&key.ip, key.port, key.cluster.as_str()) {
            Ok(at) => at + 1,
            Err(at) => at,
        }
    }

    pub(crate) fn contains(&self, key: &InstanceKey) -> bool {
        self.place(key).is_some()
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

    /// Bytes of all texts in it, its name apart.
    pub(crate) fn text_bytes(&self) -> usize {
        self.instance_bytes + self.durable.as_ref().map_or(0, |durable| durable.text_bytes())
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
        let overrides = self.durable.iter().flat_map(|durable| durable.overrides().keys());
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
        let declared = self.share_declared(&spec);
        let ephemeral = spec.ephemeral;
        let mut instance = Instance::new(spec, cluster, declared, now);
        if let Some(durable) = &self.durable
            && !durable.overrides().is_empty()
            && let Some(laid) = durable.overrides().get(&instance.key())
        {
            instance.cover(Some(laid.over(&instance)));
        }
        self.ephemeral_count += u32::from(ephemeral);
        self.instance_bytes += instance.text_bytes();
        match at {
            Ok(at) => {
                // What came to this node came for the same instance.
                instance.keep_here(&self.instances[at]);
                let old = core::mem::replace(&mut self.instances[at], instance);
                self.ephemeral_count -= u32::from(old.ephemeral());
                self.instance_bytes -= old.text_bytes();
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
        self.instance_bytes -= instance.text_bytes();
        if self.instances.is_empty() {
            self.instances = Vec::new();
        }
        instance
    }

    /// Keeps the instances that `keep` keeps; returns how many ephemeral and persistent ones went.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut Instance) -> bool) -> (usize, usize) {
        let (mut ephemeral, mut persistent, mut bytes) = (0, 0, 0);
        self.instances.retain_mut(|instance| {
            let kept = keep(instance);
            if !kept {
                *(if instance.ephemeral() { &mut ephemeral } else { &mut persistent }) += 1;
                bytes += instance.text_bytes();
            }
            kept
        });
        self.ephemeral_count -= u32::try_from(ephemeral).unwrap_or(u32::MAX);
        self.instance_bytes -= bytes;
        if self.instances.len() < self.instances.capacity() / 4 {
            self.instances.shrink_to_fit();
        }
        (ephemeral, persistent)
    }

    /// Shows the override of `key`, or what was registered when there is none.
    pub(crate) fn lay_override(&mut self, key: &InstanceKey) -> bool {
        let Some(at) = self.place(key) else { return false };
        let laid = self.durable.as_ref().and_then(|durable| durable.overrides().get(key));
        let instance = &mut self.instances[at];
        let cover = laid.map(|laid| laid.over(instance));
        self.instance_bytes -= instance.text_bytes();
        instance.cover(cover);
        self.instance_bytes += instance.text_bytes();
        true
    }

    /// One text for all instances of a cluster.
    fn share_cluster(&self, cluster: &ClusterName) -> Arc<ClusterName> {
        let same = self.instances.iter().find(|instance| instance.cluster() == cluster.as_str());
        same.map_or_else(|| Arc::new(cluster.clone()), |same| Arc::clone(same.cluster_name()))
    }

    /// Instances of one deployment declare the same, so looking at the first and the last is enough
    /// to find it.
    fn share_declared(&self, spec: &InstanceSpec) -> Arc<Declared> {
        let near = [self.instances.first(), self.instances.last()];
        let is_same =
            |near: &&Instance| near.metadata() == &spec.metadata && *near.app() == *spec.app;
        match near.into_iter().flatten().find(is_same) {
            Some(same) => Arc::clone(same.declared()),
            None => Arc::new(Declared::new(spec.metadata.clone(), spec.app.clone())),
        }
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
        let text_bytes: usize = self.instances.iter().map(Instance::text_bytes).sum();
        assert_eq!(text_bytes, self.instance_bytes, "texts of instances are counted");
        assert_eq!(self.text_bytes(), self.counted_bytes, "the registry counts the texts too");
        self.durable.iter().for_each(|durable| durable.invariants());
    }
}
