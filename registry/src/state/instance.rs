//! One instance of a service as one client published it. The beat stamp is an atomic, so that a
//! beat needs a read lock only; everything else changes under the write lock. When an instance is
//! unhealthy or gone is decided in `health`.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cmp::Ordering;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering as Memory};

use nacolet_model::{ClusterName, Duration, Instant};

use crate::words::message::InstanceChange;
use crate::words::names::{ClientId, Life, PublicationKey, WriteVersion};
use crate::words::spec::{InstanceKey, InstanceSpec, Metadata, Timers};

/// What instances of one deployment have in common, and share.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    pub(crate) metadata: Metadata,
    pub(crate) app: Box<str>,
    timers: Timers,
}

impl Declared {
    pub(crate) fn new(metadata: Metadata, app: Box<str>) -> Self {
        let timers = Timers::of(&metadata).unwrap_or_default();
        Self { metadata, app, timers }
    }
}

/// What the owner registered, kept aside while an operator's override covers it.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) weight: f64,
    pub(crate) enabled: bool,
    pub(crate) declared: Arc<Declared>,
}

/// One instance as clients see it, overrides included.
#[derive(Debug)]
pub struct Instance {
    ip: Box<str>,
    cluster: Arc<ClusterName>,
    weight: f64,
    declared: Arc<Declared>,
    base: Option<Box<Base>>,
    /// The connection that keeps it alive; 0 where beats do. Half the size of an `Option`.
    owner: u64,
    /// The [`WriteVersion`] of its registration and the one of its last change, taken apart: that
    /// is eight bytes less.
    born: u64,
    changed: u64,
    born_by: Life,
    changed_by: Life,
    /// Milliseconds since start of the last beat, wrapping.
    beat_ms: AtomicU32,
    /// The same of the last sign of life that came to this node.
    here_ms: AtomicU32,
    port: u16,
    enabled: bool,
    healthy: bool,
    ephemeral: bool,
    /// A beat came here that the responsible member was not told of yet.
    heard: AtomicBool,
}

/// How long ago a sign of life is taken to be that never came.
const NEVER_MS: u32 = u32::MAX / 2;

impl Instance {
    /// The instance that `spec` describes; `cluster` and `declared` may be shared with neighbours.
    pub(crate) fn new(
        spec: InstanceSpec,
        owner: u64,
        cluster: Arc<ClusterName>,
        declared: Arc<Declared>,
        now: Instant,
    ) -> Self {
        debug_assert!(owner == 0 || spec.ephemeral, "only ephemeral instances have an owner");
        debug_assert_eq!(*cluster, spec.cluster, "a shared name is the same name");
        Self {
            ip: spec.ip,
            cluster,
            weight: spec.weight,
            declared,
            base: None,
            owner,
            born: 0,
            changed: 0,
            born_by: Life::default(),
            changed_by: Life::default(),
            heard: AtomicBool::new(false),
            beat_ms: AtomicU32::new(wrapping_millis(now)),
            here_ms: AtomicU32::new(wrapping_millis(now).wrapping_sub(NEVER_MS)),
            port: spec.port,
            enabled: spec.enabled,
            healthy: spec.healthy,
            ephemeral: spec.ephemeral,
        }
    }

    /// Address.
    #[must_use]
    pub fn ip(&self) -> &str {
        &self.ip
    }

    /// Port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        self.cluster.as_str()
    }

    /// Share of the traffic.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Whether clients see it.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Whether it is believed to work, protection apart.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.healthy
    }

    /// Whether beats or a connection keep it alive.
    #[must_use]
    pub fn ephemeral(&self) -> bool {
        self.ephemeral
    }

    /// What its owner and operators say about it.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.declared.metadata
    }

    /// Application name, "" when unknown.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.declared.app
    }

    /// Its beat clock.
    #[must_use]
    pub fn timers(&self) -> &Timers {
        &self.declared.timers
    }

    /// Its identity.
    #[must_use]
    pub fn key(&self) -> InstanceKey {
        let cluster = ClusterName::clone(&self.cluster);
        InstanceKey { ip: self.ip.clone(), port: self.port, cluster }
    }

    /// The name of this publication of it.
    pub(crate) fn publication(&self) -> PublicationKey {
        PublicationKey { instance: self.key(), owner: self.owner }
    }

    /// The connection that keeps it alive, where one does.
    #[must_use]
    pub fn owner(&self) -> Option<ClientId> {
        (self.owner != 0).then_some(ClientId(self.owner))
    }

    /// When it was registered.
    pub(crate) fn born(&self) -> WriteVersion {
        WriteVersion { counter: self.born, life: self.born_by }
    }

    /// When it last changed.
    pub(crate) fn version(&self) -> WriteVersion {
        WriteVersion { counter: self.changed, life: self.changed_by }
    }

    /// Notes when it was registered; the last change was that or a later one.
    pub(crate) fn set_born(&mut self, born: WriteVersion, version: WriteVersion) {
        assert!(born <= version, "nothing changes before it is there");
        (self.born, self.born_by) = (born.counter, born.life);
        self.set_version(version);
    }

    /// Notes when it changed.
    pub(crate) fn set_version(&mut self, version: WriteVersion) {
        assert!(self.born() <= version, "nothing changes before it is there");
        (self.changed, self.changed_by) = (version.counter, version.life);
    }

    /// Notes a beat that came to this node.
    pub(crate) fn hear(&self, now: Instant) {
        self.stamp_here(now);
        self.heard.store(true, Memory::Relaxed);
    }

    /// Notes a sign of life that came to this node.
    pub(crate) fn stamp_here(&self, now: Instant) {
        self.touch(now);
        self.here_ms.store(wrapping_millis(now), Memory::Relaxed);
    }

    /// Takes over when a sign of life of `before` last came to this node.
    pub(crate) fn keep_here(&self, before: &Self) {
        self.here_ms.store(before.here_ms.load(Memory::Relaxed), Memory::Relaxed);
    }

    /// Whether a sign of life came to this node within the last `period`.
    pub(crate) fn heard_here(&self, now: Instant, period: Duration) -> bool {
        let silent_ms = wrapping_millis(now).wrapping_sub(self.here_ms.load(Memory::Relaxed));
        Duration::from_millis(u64::from(silent_ms)) < period
    }

    /// Whether a beat came since the last call.
    pub(crate) fn take_heard(&self) -> bool {
        self.heard.swap(false, Memory::Relaxed)
    }

    /// Sets the time since the last beat.
    pub(crate) fn set_silence(&self, now: Instant, silence: Duration) {
        let ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        self.touch(Instant::from_millis(now.as_millis().saturating_sub(ms)));
    }

    /// Notes a beat.
    pub(crate) fn touch(&self, now: Instant) {
        self.beat_ms.store(wrapping_millis(now), Memory::Relaxed);
    }

    /// Time since the last beat. A stamp that another thread wrote a moment later than `now` is a
    /// fresh one; the sign bit tells it from one that is old.
    #[must_use]
    pub fn silence(&self, now: Instant) -> Duration {
        let silent_ms = wrapping_millis(now).wrapping_sub(self.beat_ms.load(Memory::Relaxed));
        let silent_ms = if silent_ms > u32::MAX / 2 { 0 } else { silent_ms };
        Duration::from_millis(u64::from(silent_ms))
    }

    pub(crate) fn set_healthy(&mut self, healthy: bool) -> bool {
        core::mem::replace(&mut self.healthy, healthy) != healthy
    }

    /// What the owner registered, without overrides.
    pub(crate) fn registered(&self) -> (f64, bool, &Arc<Declared>) {
        match &self.base {
            Some(base) => (base.weight, base.enabled, &base.declared),
            None => (self.weight, self.enabled, &self.declared),
        }
    }

    /// Whether registering `spec` would change nothing.
    pub(crate) fn is(&self, spec: &InstanceSpec) -> bool {
        let (weight, enabled, declared) = self.registered();
        weight.to_bits() == spec.weight.to_bits()
            && enabled == spec.enabled
            && self.healthy == spec.healthy
            && self.ephemeral == spec.ephemeral
            && declared.app == spec.app
            && declared.metadata == spec.metadata
    }

    /// The registered form as a spec, for a raft snapshot and for other members.
    pub(crate) fn to_spec(&self) -> InstanceSpec {
        let (weight, enabled, declared) = self.registered();
        InstanceSpec {
            ip: self.ip.clone(),
            port: self.port,
            cluster: ClusterName::clone(&self.cluster),
            weight,
            enabled,
            healthy: self.healthy,
            ephemeral: self.ephemeral,
            metadata: declared.metadata.clone(),
            app: declared.app.clone(),
        }
    }

    /// The instance as other members are told of it.
    pub(crate) fn to_change(&self) -> InstanceChange {
        InstanceChange::Up {
            spec: self.to_spec(),
            owner: self.owner,
            born: self.born(),
            version: self.version(),
        }
    }

    /// Shows the values of `cover` in place of the registered ones; `None` shows those again.
    pub(crate) fn cover(&mut self, cover: Option<Base>) {
        let (weight, enabled, declared) = self.registered();
        let registered = Base { weight, enabled, declared: Arc::clone(declared) };
        let (shown, base) = match cover {
            Some(cover) => (cover, Some(Box::new(registered))),
            None => (registered, None),
        };
        self.base = base;
        self.weight = shown.weight;
        self.enabled = shown.enabled;
        self.declared = shown.declared;
    }

    /// Bytes of its texts, those that it shares with neighbours included.
    pub(crate) fn text_bytes(&self) -> usize {
        let base = self.base.as_ref().map_or(0, |base| base.declared.metadata.text_bytes());
        self.ip.len() + self.app().len() + self.metadata().text_bytes() + base
    }

    pub(crate) fn cluster_name(&self) -> &Arc<ClusterName> {
        &self.cluster
    }

    pub(crate) fn declared(&self) -> &Arc<Declared> {
        &self.declared
    }

    /// Order of instances inside a service: address, port, cluster.
    pub(crate) fn order(&self, ip: &str, port: u16, cluster: &str) -> Ordering {
        (*self.ip)
            .cmp(ip)
            .then(self.port.cmp(&port))
            .then_with(|| self.cluster.as_str().cmp(cluster))
    }

    /// Order of publications inside a service: that of instances, then who published.
    pub(crate) fn order_of(&self, key: &InstanceKey, owner: u64) -> Ordering {
        let order = self.order(&key.ip, key.port, key.cluster.as_str());
        order.then(self.owner.cmp(&owner))
    }

    /// Whether both are publications of one instance.
    pub(crate) fn is_of_one_instance_with(&self, other: &Self) -> bool {
        self.order(&other.ip, other.port, other.cluster()).is_eq()
    }

    /// Of two publications of one instance the greater one is shown: nobody hides what somebody
    /// else keeps up, and what was said later counts among equals.
    pub(crate) fn standing(&self) -> impl Ord + use<> {
        (self.enabled, self.healthy, self.born())
    }
}

fn wrapping_millis(now: Instant) -> u32 {
    u32::try_from(now.as_millis() & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(at: Instant) -> Instance {
        let spec = InstanceSpec::new("10.0.0.1", 80);
        Instance::new(spec.clone(), 0, Arc::new(spec.cluster), Arc::default(), at)
    }

    #[test]
    fn silence_survives_the_wrap_of_the_stamp_and_a_stamp_from_a_moment_later() {
        let wrap = u64::from(u32::MAX);
        for (beat_ms, now_ms, expected_ms) in [
            (5, 5, 0),
            (5, 1_005, 1_000),
            (1_005, 1_000, 0),
            (wrap - 4, wrap + 6, 10),
            (wrap + 3, wrap, 0),
        ] {
            let instance = instance(Instant::from_millis(beat_ms));
            let silence = instance.silence(Instant::from_millis(now_ms));
            assert_eq!(silence, Duration::from_millis(expected_ms), "{beat_ms} {now_ms}");
        }
    }

    #[test]
    fn an_instance_is_small() {
        let bytes = size_of::<Instance>();
        assert!(bytes <= 96, "{bytes} bytes for each of 50,000 instances");
    }
}
