//! One instance of a service as clients see it. The beat stamp is an atomic, so that a beat needs a
//! read lock only; everything else changes under the write lock. When an instance is unhealthy or gone
//! is decided in `health`.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cmp::Ordering;
use core::sync::atomic::{AtomicU32, Ordering as Memory};

use nacolet_model::{ClusterName, Duration, Instant};

use crate::client::ClientId;
use crate::spec::{InstanceKey, InstanceSpec, Metadata, Timers};

/// What the owner registered, kept aside while an operator's override covers it.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) weight: f64,
    pub(crate) enabled: bool,
    pub(crate) metadata: Arc<Metadata>,
}

/// One instance as clients see it, overrides included.
#[derive(Debug)]
pub struct Instance {
    ip: Box<str>,
    cluster: Arc<ClusterName>,
    weight: f64,
    metadata: Arc<Metadata>,
    app: Box<str>,
    base: Option<Box<Base>>,
    timers: Timers,
    /// The connection that keeps it alive; 0 where beats do. Half the size of an `Option`.
    owner: u64,
    /// Milliseconds since start of the last beat, wrapping.
    beat_ms: AtomicU32,
    port: u16,
    enabled: bool,
    healthy: bool,
    ephemeral: bool,
}

impl Instance {
    /// The instance that `spec` describes; `cluster` and `metadata` may be shared with neighbours.
    pub(crate) fn new(
        spec: InstanceSpec,
        cluster: Arc<ClusterName>,
        metadata: Arc<Metadata>,
        now: Instant,
    ) -> Self {
        Self {
            timers: Timers::of(&metadata).unwrap_or_default(),
            ip: spec.ip,
            cluster,
            weight: spec.weight,
            metadata,
            app: spec.app,
            base: None,
            owner: 0,
            beat_ms: AtomicU32::new(wrapping_millis(now)),
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
        &self.metadata
    }

    /// Application name, "" when unknown.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.app
    }

    /// Its beat clock.
    #[must_use]
    pub fn timers(&self) -> &Timers {
        &self.timers
    }

    /// Its identity.
    #[must_use]
    pub fn key(&self) -> InstanceKey {
        let cluster = ClusterName::clone(&self.cluster);
        InstanceKey { ip: self.ip.clone(), port: self.port, cluster }
    }

    /// The connection that keeps it alive, where one does.
    #[must_use]
    pub fn owner(&self) -> Option<ClientId> {
        (self.owner != 0).then_some(ClientId(self.owner))
    }

    /// Whether it has to beat.
    pub(crate) fn beats(&self) -> bool {
        self.ephemeral && self.owner == 0
    }

    /// Gives it to a connection, or to those who beat; true when it was somebody else's.
    pub(crate) fn set_owner(&mut self, owner: Option<ClientId>) -> bool {
        let owner = owner.map_or(0, |client| client.0);
        core::mem::replace(&mut self.owner, owner) != owner
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
    pub(crate) fn registered(&self) -> (f64, bool, &Arc<Metadata>) {
        match &self.base {
            Some(base) => (base.weight, base.enabled, &base.metadata),
            None => (self.weight, self.enabled, &self.metadata),
        }
    }

    /// Whether registering `spec` would change nothing.
    pub(crate) fn is(&self, spec: &InstanceSpec) -> bool {
        let (weight, enabled, metadata) = self.registered();
        weight.to_bits() == spec.weight.to_bits()
            && enabled == spec.enabled
            && self.healthy == spec.healthy
            && self.ephemeral == spec.ephemeral
            && self.app == spec.app
            && **metadata == spec.metadata
    }

    /// The registered form as a spec, for a raft snapshot.
    pub(crate) fn to_spec(&self) -> InstanceSpec {
        let (weight, enabled, metadata) = self.registered();
        InstanceSpec {
            ip: self.ip.clone(),
            port: self.port,
            cluster: ClusterName::clone(&self.cluster),
            weight,
            enabled,
            healthy: self.healthy,
            ephemeral: self.ephemeral,
            metadata: Metadata::clone(metadata),
            app: self.app.clone(),
        }
    }

    /// Shows the values of `cover` in place of the registered ones; `None` shows those again.
    pub(crate) fn cover(&mut self, cover: Option<Base>) {
        let (weight, enabled, metadata) = self.registered();
        let registered = Base { weight, enabled, metadata: Arc::clone(metadata) };
        let (shown, base) = match cover {
            Some(cover) => (cover, Some(Box::new(registered))),
            None => (registered, None),
        };
        self.base = base;
        self.weight = shown.weight;
        self.enabled = shown.enabled;
        self.timers = Timers::of(&shown.metadata).unwrap_or_default();
        self.metadata = shown.metadata;
    }

    /// Bytes of its texts, those that it shares with neighbours included.
    pub(crate) fn text_bytes(&self) -> usize {
        let base = self.base.as_ref().map_or(0, |base| base.metadata.text_bytes());
        self.ip.len() + self.app.len() + self.metadata.text_bytes() + base
    }

    pub(crate) fn cluster_name(&self) -> &Arc<ClusterName> {
        &self.cluster
    }

    pub(crate) fn shared_metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }

    /// Order of instances inside a service: address, port, cluster.
    pub(crate) fn order(&self, ip: &str, port: u16, cluster: &str) -> Ordering {
        (*self.ip)
            .cmp(ip)
            .then(self.port.cmp(&port))
            .then_with(|| self.cluster.as_str().cmp(cluster))
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
        Instance::new(spec.clone(), Arc::new(spec.cluster), Arc::default(), at)
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
