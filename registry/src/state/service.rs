//! One service: its instances in order, what operators set on it, and the numbers by which readers
//! tell that something changed. Finding services by name is the business of `catalog`.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::Range;

use nacolet_model::{ClusterName, Instant, ServiceKey, limits};

use crate::state::durable::DurableMeta;
use crate::state::hash;
use crate::state::instance::{Declared, Instance};
use crate::words::meta::{ClusterMeta, ServiceMeta};
use crate::words::names::{ClientId, PublicationKey};
use crate::words::spec::{InstanceKey, InstanceSpec};

/// Deadlines that are armed for a service; each also stands in `timetable::Timetable`.
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
    /// Sorted by address, port, cluster and owner.
    publications: Vec<Instance>,
    durable: Option<Box<DurableMeta>>,
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
pub(crate) enum PutOutcome {
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
            name_hash: hash::name_hash(&key),
            watched: false,
            digest: None,
            key,
            publications: Vec::new(),
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

    /// All instances, disabled ones included, in the order of address, port and cluster. One that
    /// several clients publish is there once.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        let runs = self.publications.chunk_by(|one, next| one.is_of_one_instance_with(next));
        runs.filter_map(shown)
    }

    /// Every publication of every instance, in the order of instances.
    #[must_use]
    pub fn publications(&self) -> &[Instance] {
        &self.publications
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
            self.publications.iter().map(|instance| (instance.cluster(), None)).collect();
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
        let seen = self.publications.first().map(Instance::ephemeral);
        declared.or(seen)
    }

    /// Whether anything of it came through the Raft log; of one without instances that is not
    /// known.
    #[must_use]
    pub fn was_agreed(&self) -> bool {
        self.durable.is_some() || self.publications.first().is_none_or(|one| !one.ephemeral())
    }

    /// Number of publications of ephemeral instances.
    #[must_use]
    pub fn ephemeral_count(&self) -> usize {
        usize::try_from(self.ephemeral_count).unwrap_or(usize::MAX)
    }

    /// Number of healthy instances, disabled ones included and protection apart.
    #[must_use]
    pub fn healthy_count(&self) -> usize {
        self.instances().filter(|instance| instance.healthy()).count()
    }

    /// Number of persistent instances.
    #[must_use]
    pub fn persistent_count(&self) -> usize {
        self.publications.len() - self.ephemeral_count()
    }

    /// The instance at an address: in `cluster`, where given; else in the default cluster, else in
    /// any. Python 1.0 registers with a cluster and asks without one.
    #[must_use]
    pub fn find(&self, ip: &str, port: u16, cluster: Option<&str>) -> Option<&Instance> {
        let named = cluster.unwrap_or(ClusterName::DEFAULT);
        let found = self.publications_of(ip, port, named);
        if !found.is_empty() || cluster.is_some() {
            return shown(found);
        }
        let there = self.publications.get(self.at_address(ip, port)).unwrap_or_default();
        there.chunk_by(|one, next| one.is_of_one_instance_with(next)).find_map(shown)
    }

    fn publications_of(&self, ip: &str, port: u16, cluster: &str) -> &[Instance] {
        self.publications.get(self.run(ip, port, cluster)).unwrap_or_default()
    }

    /// Some publication of an instance: all are of one kind.
    pub(crate) fn any_of(&self, key: &InstanceKey) -> Option<&Instance> {
        self.publications.get(self.run_of(key))?.first()
    }

    /// What somebody without a connection registered of an instance.
    pub(crate) fn unowned(&self, key: &InstanceKey) -> Option<&Instance> {
        self.publications.get(self.position(key, 0).ok()?)
    }

    /// This publication.
    pub(crate) fn publication(&self, key: &PublicationKey) -> Option<&Instance> {
        self.publications.get(self.place(key)?)
    }

    /// Where the publication is that a caller without a connection means: of the cluster that he
    /// names, else of the default one, else of any. One client has one publication of a service, so
    /// there is no second one but of the other kind.
    pub(crate) fn unowned_at(
        &self,
        ip: &str,
        port: u16,
        cluster: Option<&str>,
        ephemeral: Option<bool>,
    ) -> Option<usize> {
        let is_meant = |at: &usize| {
            let one = self.publications.get(*at);
            let one = one.filter(|one| one.owner().is_none());
            one.is_some_and(|one| ephemeral.is_none_or(|kind| kind == one.ephemeral()))
        };
        let named = self.run(ip, port, cluster.unwrap_or(ClusterName::DEFAULT)).find(is_meant);
        named.or_else(|| self.at_address(ip, port).find(is_meant))
    }

    /// Positions of all instances at an address, whatever their cluster.
    pub(crate) fn at_address(&self, ip: &str, port: u16) -> Range<usize> {
        let order = |instance: &Instance| (instance.ip().cmp(ip)).then(instance.port().cmp(&port));
        self.range(order)
    }

    /// Positions of all publications of an instance, or where they would be.
    pub(crate) fn run(&self, ip: &str, port: u16, cluster: &str) -> Range<usize> {
        self.range(|one| one.order(ip, port, cluster))
    }

    /// [`Self::run`] by the name of the instance.
    pub(crate) fn run_of(&self, key: &InstanceKey) -> Range<usize> {
        self.run(&key.ip, key.port, key.cluster.as_str())
    }

    fn range(&self, order: impl Fn(&Instance) -> Ordering) -> Range<usize> {
        let start = self.publications.partition_point(|one| order(one).is_lt());
        let rest = self.publications.get(start..).unwrap_or_default();
        let count = rest.iter().take_while(|one| order(one).is_eq()).count();
        debug_assert!(start + count <= self.publications.len(), "positions point to instances");
        start..start + count
    }

    /// Where the publication is, or where it would be.
    fn position(&self, key: &InstanceKey, owner: u64) -> Result<usize, usize> {
        self.publications.binary_search_by(|one| one.order_of(key, owner))
    }

    /// Where the publication of this name is.
    pub(crate) fn place(&self, key: &PublicationKey) -> Option<usize> {
        self.position(&key.instance, key.owner).ok()
    }

    /// Where the persistent instance of this name is.
    pub(crate) fn persistent_at(&self, key: &InstanceKey) -> Option<usize> {
        let at = self.position(key, 0).ok()?;
        self.publications.get(at).filter(|instance| !instance.ephemeral()).map(|_| at)
    }

    /// Where the instances after this one begin, whether it is there or not.
    pub(crate) fn after(&self, key: &InstanceKey) -> usize {
        self.run_of(key).end
    }

    pub(crate) fn contains(&self, key: &InstanceKey) -> bool {
        !self.run_of(key).is_empty()
    }

    pub(crate) fn publications_mut(&mut self) -> &mut [Instance] {
        &mut self.publications
    }

    pub(crate) fn durable(&self) -> Option<&DurableMeta> {
        self.durable.as_deref()
    }

    pub(crate) fn durable_mut(&mut self) -> &mut DurableMeta {
        self.durable.get_or_insert_default()
    }

    /// Gives the memory of an empty durable part back.
    pub(crate) fn tidy(&mut self) {
        if self.durable.as_ref().is_some_and(|durable| durable.is_empty()) {
            self.durable = None;
        }
    }

    pub(crate) fn take_durable(&mut self) -> Option<Box<DurableMeta>> {
        self.durable.take()
    }

    /// Hash over its ephemeral instances, taken anew.
    pub(crate) fn ephemeral_digest(&self) -> u64 {
        let ephemeral = self.publications.iter().filter(|instance| instance.ephemeral());
        let hashes = ephemeral.map(|instance| hash::mix(hash::instance_hash(instance)));
        let sum = hashes.fold(0_u64, u64::wrapping_add);
        if sum == 0 { 0 } else { hash::mix(self.name_hash ^ sum) }
    }

    /// Bytes of all texts in it, its name apart.
    pub(crate) fn text_bytes(&self) -> usize {
        self.instance_bytes + self.durable.as_ref().map_or(0, |durable| durable.text_bytes())
    }

    /// Nothing is here and nobody said anything about it.
    pub(crate) fn is_forgettable(&self) -> bool {
        self.publications.is_empty() && self.durable.is_none()
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

    /// Adds or overwrites what `owner` published, under the override that waits for it. Also says
    /// where it is.
    pub(crate) fn put(
        &mut self,
        spec: InstanceSpec,
        owner: Option<ClientId>,
        now: Instant,
    ) -> (PutOutcome, usize) {
        let owner = owner.map_or(0, ClientId::as_u64);
        let at = self.position(&spec.key(), owner);
        if let Ok(at) = at
            && self.publications[at].is(&spec)
        {
            self.publications[at].touch(now);
            return (PutOutcome::Same, at);
        }
        let cluster = self.share_cluster(&spec.cluster);
        let declared = self.share_declared(&spec);
        let ephemeral = spec.ephemeral;
        let mut instance = Instance::new(spec, owner, cluster, declared, now);
        if let Some(durable) = &self.durable
            && !durable.overrides().is_empty()
            && let Some(laid) = durable.overrides().get(&instance.key())
        {
            instance.cover(Some(laid.over(&instance)));
        }
        // Counted in before what it replaces is counted out: no sum passes below zero.
        self.ephemeral_count += u32::from(ephemeral);
        self.instance_bytes += instance.text_bytes();
        match at {
            Ok(at) => {
                // What came to this node came for the same instance.
                instance.keep_here(&self.publications[at]);
                let old = core::mem::replace(&mut self.publications[at], instance);
                self.ephemeral_count -= u32::from(old.ephemeral());
                self.instance_bytes -= old.text_bytes();
                (PutOutcome::Changed { other_kind: old.ephemeral() != ephemeral }, at)
            }
            Err(at) => {
                self.publications.insert(at, instance);
                debug_assert!(self.is_ordered_around(at), "an instance stands in its place");
                (PutOutcome::Added, at)
            }
        }
    }

    /// Whether the instance at `at` is greater than the one before it and less than the one after.
    fn is_ordered_around(&self, at: usize) -> bool {
        let around = at.saturating_sub(1)..self.publications.len().min(at + 2);
        let near = self.publications.get(around).unwrap_or_default();
        near.is_sorted_by(|low, high| low.publication() < high.publication())
    }

    /// Takes an instance out.
    pub(crate) fn remove(&mut self, at: usize) -> Instance {
        let instance = self.publications.remove(at);
        assert!(self.instance_bytes >= instance.text_bytes(), "its texts were counted");
        self.ephemeral_count -= u32::from(instance.ephemeral());
        self.instance_bytes -= instance.text_bytes();
        if self.publications.is_empty() {
            self.publications = Vec::new();
        }
        instance
    }

    /// Keeps the instances that `keep` keeps; returns how many ephemeral and persistent ones went.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut Instance) -> bool) -> (usize, usize) {
        let (mut ephemeral, mut persistent, mut bytes) = (0, 0, 0);
        self.publications.retain_mut(|instance| {
            let kept = keep(instance);
            if !kept {
                *(if instance.ephemeral() { &mut ephemeral } else { &mut persistent }) += 1;
                bytes += instance.text_bytes();
            }
            kept
        });
        self.ephemeral_count -= u32::try_from(ephemeral).unwrap_or(u32::MAX);
        assert!(self.instance_bytes >= bytes, "the texts of those that go were counted");
        self.instance_bytes -= bytes;
        if self.publications.len() < self.publications.capacity() / 4 {
            self.publications.shrink_to_fit();
        }
        (ephemeral, persistent)
    }

    /// Shows the override of `key`, or what was registered when there is none.
    pub(crate) fn lay_override(&mut self, key: &InstanceKey) -> bool {
        let run = self.run_of(key);
        let laid = self.durable.as_ref().and_then(|durable| durable.overrides().get(key));
        for instance in self.publications.get_mut(run.clone()).unwrap_or_default() {
            let cover = laid.map(|laid| laid.over(instance));
            self.instance_bytes -= instance.text_bytes();
            instance.cover(cover);
            self.instance_bytes += instance.text_bytes();
        }
        !run.is_empty()
    }

    /// One text for all instances of a cluster.
    fn share_cluster(&self, cluster: &ClusterName) -> Arc<ClusterName> {
        let same = self.publications.iter().find(|instance| instance.cluster() == cluster.as_str());
        same.map_or_else(|| Arc::new(cluster.clone()), |same| Arc::clone(same.cluster_name()))
    }

    /// Instances of one deployment declare the same, so looking at the first and the last is enough
    /// to find it.
    fn share_declared(&self, spec: &InstanceSpec) -> Arc<Declared> {
        let near = [self.publications.first(), self.publications.last()];
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
        let ephemeral = self.publications.iter().filter(|instance| instance.ephemeral()).count();
        assert_eq!(ephemeral, self.ephemeral_count(), "ephemeral instances are counted");
        for pair in self.publications.windows(2) {
            let [low, high] = pair else { continue };
            assert!(low.publication() < high.publication(), "publications are sorted and unique");
            let same_kind = low.ephemeral() == high.ephemeral();
            assert!(same_kind || low.key() != high.key(), "an instance is of one kind");
        }
        let double = 2 * limits::INSTANCES_PER_SERVICE_MAX;
        assert!(self.publications.len() <= double, "instances of both kinds stay bounded");
        let text_bytes: usize = self.publications.iter().map(Instance::text_bytes).sum();
        assert_eq!(text_bytes, self.instance_bytes, "texts of instances are counted");
        assert_eq!(self.text_bytes(), self.counted_bytes, "the registry counts the texts too");
        self.durable.iter().for_each(|durable| durable.invariants());
    }
}

/// The publication that is shown, of all those of one instance.
fn shown(publications: &[Instance]) -> Option<&Instance> {
    publications.iter().max_by_key(|one| one.standing())
}
