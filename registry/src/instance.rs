//! One instance of a service, what a caller may ask of it, and the metadata it carries. The beat
//! stamp is an atomic, so that a beat needs a read lock only; everything else changes under the
//! write lock. When an instance is unhealthy or gone is decided in `health`.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::sync::atomic::{AtomicU32, Ordering as Memory};

use nacolet_model::{ClusterName, Duration, Instant, limits};
use serde::ser::{Serialize, Serializer};

/// Metadata key under which an instance asks for its own beat period, milliseconds.
pub const HEART_BEAT_INTERVAL: &str = "preserved.heart.beat.interval";
/// Metadata key under which an instance asks for its own time until unhealthy, milliseconds.
pub const HEART_BEAT_TIMEOUT: &str = "preserved.heart.beat.timeout";
/// Metadata key under which an instance asks for its own time until removal, milliseconds.
pub const IP_DELETE_TIMEOUT: &str = "preserved.ip.delete.timeout";

/// Why an instance or its metadata cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The address is empty, too long or has a space or control character.
    #[error("ip is illegal")]
    Ip,
    /// The weight is not a number of `0..=WEIGHT_MAX`.
    #[error("instance weight must be between 0 and {max}", max = limits::WEIGHT_MAX)]
    Weight,
    /// The metadata has too many entries.
    #[error("metadata has more than {max} entries", max = limits::METADATA_ENTRIES_MAX)]
    MetadataEntries,
    /// The metadata has too many bytes.
    #[error("metadata is longer than {max} bytes", max = limits::METADATA_BYTES_MAX)]
    MetadataBytes,
    /// The application name is too long.
    #[error("app is longer than {max} characters", max = limits::LABEL_CHARS_MAX)]
    App,
    /// A beat time-out is shorter than the beat interval (the words of Nacos).
    #[error(
        "Instance 'heart beat interval' must less than 'heart beat timeout' and 'ip delete timeout'."
    )]
    Timers,
    /// A beat interval of zero, or a time-out longer than `BEAT_OVERRIDE_MAX`.
    #[error("heart beat interval or timeout is out of range")]
    TimerRange,
}

/// Texts by name, sorted, inside the limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "Vec<(Box<str>, Box<str>)>")]
pub struct Metadata(Box<[(Box<str>, Box<str>)]>);

impl Metadata {
    /// Collects `entries`; of two with the same key the later wins.
    ///
    /// # Errors
    /// [`SpecError::MetadataEntries`] and [`SpecError::MetadataBytes`].
    pub fn new<K, V>(entries: impl IntoIterator<Item = (K, V)>) -> Result<Self, SpecError>
    where
        K: Into<Box<str>>,
        V: Into<Box<str>>,
    {
        let mut list: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (key, value) in entries {
            let key = key.into();
            match list.binary_search_by(|entry| entry.0.cmp(&key)) {
                Ok(at) => list[at].1 = value.into(),
                Err(_) if list.len() >= limits::METADATA_ENTRIES_MAX => {
                    return Err(SpecError::MetadataEntries);
                }
                Err(at) => list.insert(at, (key, value.into())),
            }
        }
        let bytes: usize = list.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > limits::METADATA_BYTES_MAX {
            return Err(SpecError::MetadataBytes);
        }
        Ok(Self(list.into_boxed_slice()))
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|entry| (*entry.0).cmp(key)).ok()?;
        self.0.get(at).map(|entry| &*entry.1)
    }

    /// Entries in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// These entries under `put` and without `hide`. At most the sum of two maps that are inside
    /// their limits, so it is not checked again.
    pub(crate) fn under(&self, put: &Self, hide: &[Box<str>]) -> Self {
        let mut list: Vec<(Box<str>, Box<str>)> = put.0.to_vec();
        for (key, value) in &self.0 {
            if hide.contains(key) {
                continue;
            }
            if let Err(at) = list.binary_search_by(|entry| entry.0.cmp(key)) {
                list.insert(at, (key.clone(), value.clone()));
            }
        }
        Self(list.into_boxed_slice())
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<(Box<str>, Box<str>)>> for Metadata {
    type Error = SpecError;

    fn try_from(entries: Vec<(Box<str>, Box<str>)>) -> Result<Self, SpecError> {
        Self::new(entries)
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

/// Names one instance inside its service (Nacos: ip, port and cluster).
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct InstanceKey {
    /// Address.
    pub ip: Box<str>,
    /// Port.
    pub port: u16,
    /// Cluster.
    pub cluster: ClusterName,
}

/// What a caller wants an instance to be.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct InstanceSpec {
    /// Address: an IP or a host name.
    pub ip: Box<str>,
    /// Port.
    pub port: u16,
    /// Cluster inside the service.
    pub cluster: ClusterName,
    /// Share of the traffic, `0..=10000`.
    pub weight: f64,
    /// Whether clients may see it.
    pub enabled: bool,
    /// Whether it is believed to work.
    pub healthy: bool,
    /// Kept alive by beats and forgotten without them; else kept until deregistered.
    pub ephemeral: bool,
    /// Whatever the owner wants to say.
    pub metadata: Metadata,
    /// Application name, "" when unknown.
    pub app: Box<str>,
}

impl InstanceSpec {
    /// A healthy, enabled, ephemeral instance of weight 1 in the default cluster.
    ///
    /// # Panics
    /// Never: the default cluster name is a valid one.
    #[must_use]
    pub fn new(ip: &str, port: u16) -> Self {
        Self {
            ip: ip.into(),
            port,
            cluster: ClusterName::new(ClusterName::DEFAULT).expect("the default name is valid"),
            weight: 1.0,
            enabled: true,
            healthy: true,
            ephemeral: true,
            metadata: Metadata::default(),
            app: Box::default(),
        }
    }

    /// Whether every field is inside its limits and the beat timers of the metadata make sense.
    ///
    /// # Errors
    /// See [`SpecError`].
    pub fn check(&self) -> Result<(), SpecError> {
        if self.ip.is_empty()
            || self.ip.chars().count() > limits::IP_CHARS_MAX
            || self.ip.chars().any(|c| c.is_whitespace() || c.is_control())
        {
            return Err(SpecError::Ip);
        }
        check_weight(self.weight)?;
        if self.app.chars().count() > limits::LABEL_CHARS_MAX {
            return Err(SpecError::App);
        }
        Timers::of(&self.metadata).map(|_| ())
    }

    /// The identity of the instance.
    #[must_use]
    pub fn key(&self) -> InstanceKey {
        InstanceKey { ip: self.ip.clone(), port: self.port, cluster: self.cluster.clone() }
    }
}

/// Weight of Nacos: a number of `0..=WEIGHT_MAX`; NaN is none.
pub(crate) fn check_weight(weight: f64) -> Result<(), SpecError> {
    if (0.0..=limits::WEIGHT_MAX).contains(&weight) { Ok(()) } else { Err(SpecError::Weight) }
}

/// The beat clock of one instance, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Own beat period, where the metadata asks for one.
    interval_ms: Option<core::num::NonZeroU32>,
    timeout_ms: u32,
    delete_ms: u32,
}

fn whole_millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            interval_ms: None,
            timeout_ms: whole_millis(limits::BEAT_TIMEOUT),
            delete_ms: whole_millis(limits::IP_DELETE_TIMEOUT),
        }
    }
}

impl Timers {
    /// The timers that `metadata` asks for. Values that are not plain numbers count as absent, as in
    /// Nacos (`Instance.getMetaDataByKeyWithDefault`).
    ///
    /// # Errors
    /// [`SpecError::Timers`] and [`SpecError::TimerRange`].
    pub fn of(metadata: &Metadata) -> Result<Self, SpecError> {
        let mut timers = Self::default();
        if metadata.is_empty() {
            return Ok(timers);
        }
        if let Some(interval) = number(metadata, HEART_BEAT_INTERVAL)? {
            timers.interval_ms =
                Some(core::num::NonZeroU32::new(interval).ok_or(SpecError::TimerRange)?);
        }
        if let Some(timeout) = number(metadata, HEART_BEAT_TIMEOUT)? {
            timers.timeout_ms = timeout;
        }
        if let Some(delete) = number(metadata, IP_DELETE_TIMEOUT)? {
            timers.delete_ms = delete;
        }
        let interval_ms = whole_millis(timers.interval());
        if timers.timeout_ms < interval_ms || timers.delete_ms < interval_ms {
            return Err(SpecError::Timers);
        }
        Ok(timers)
    }

    /// Period in which beats are expected.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval_override().unwrap_or(limits::BEAT_INTERVAL)
    }

    /// The period that the metadata asks for, if it does.
    #[must_use]
    pub fn interval_override(&self) -> Option<Duration> {
        self.interval_ms.map(|ms| Duration::from_millis(u64::from(ms.get())))
    }

    /// Time without a beat until the instance is unhealthy.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(u64::from(self.timeout_ms))
    }

    /// Time without a beat until the instance is removed.
    #[must_use]
    pub fn delete(&self) -> Duration {
        Duration::from_millis(u64::from(self.delete_ms))
    }
}

fn number(metadata: &Metadata, key: &str) -> Result<Option<u32>, SpecError> {
    let Some(text) = metadata.get(key) else { return Ok(None) };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    // A number too large for the type is also too large for the limit.
    let number: u32 = text.parse().unwrap_or(u32::MAX);
    if number > whole_millis(limits::BEAT_OVERRIDE_MAX) {
        return Err(SpecError::TimerRange);
    }
    Ok(Some(number))
}

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

    /// Whether beats keep it alive.
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
