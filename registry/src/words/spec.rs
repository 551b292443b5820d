//! What a caller may ask an instance to be: its address, weight, metadata, and the beat clock that
//! the metadata sets. A checked spec is inside every limit.

use alloc::boxed::Box;
use alloc::vec::Vec;

use nacolet_model::{ClusterName, Duration, limits};
use serde::ser::{Serialize, Serializer};

/// Metadata key under which an instance asks for its own beat period, milliseconds.
pub const HEART_BEAT_INTERVAL: &str = "preserved.heart.beat.interval";
/// Metadata key under which an instance asks for its own time until unhealthy, milliseconds.
pub const HEART_BEAT_TIMEOUT: &str = "preserved.heart.beat.timeout";
/// Metadata key under which an instance asks for its own time until removal, milliseconds.
pub const IP_DELETE_TIMEOUT: &str = "preserved.ip.delete.timeout";

/// Why an instance or its metadata cannot be taken.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize,
)]
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
        debug_assert!(
            list.is_sorted_by(|low, high| low.0 < high.0),
            "keys are in order and unique"
        );
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
        debug_assert!(
            list.is_sorted_by(|low, high| low.0 < high.0),
            "keys are in order and unique"
        );
        Self(list.into_boxed_slice())
    }

    /// Bytes of all keys and values.
    pub(crate) fn text_bytes(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + value.len()).sum()
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

/// Whether so many keys of a metadata map may be taken out.
pub(crate) fn check_hidden(keys: &[Box<str>]) -> Result<(), SpecError> {
    if keys.len() > limits::METADATA_ENTRIES_MAX {
        return Err(SpecError::MetadataEntries);
    }
    let bytes: usize = keys.iter().map(|key| key.len()).sum();
    if bytes > limits::METADATA_BYTES_MAX { Err(SpecError::MetadataBytes) } else { Ok(()) }
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

impl InstanceKey {
    /// Whether an instance can have it.
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        check_ip(&self.ip)
    }
}

fn check_ip(ip: &str) -> Result<(), SpecError> {
    let is_long = ip.len() > limits::IP_CHARS_MAX && ip.chars().count() > limits::IP_CHARS_MAX;
    if ip.is_empty() || is_long || ip.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(SpecError::Ip);
    }
    Ok(())
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
        check_ip(&self.ip)?;
        check_weight(self.weight)?;
        if self.app.chars().count() > limits::LABEL_CHARS_MAX {
            return Err(SpecError::App);
        }
        Timers::of(&self.metadata).map(|_| ())
    }

    /// Bytes of its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        self.ip.len() + self.app.len() + self.metadata.text_bytes()
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
    /// The timers that `metadata` asks for. Values that are not plain numbers count as absent, as
    /// in Nacos (`Instance.getMetaDataByKeyWithDefault`).
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

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use super::*;

    fn metadata(entries: &[(&str, &str)]) -> Metadata {
        Metadata::new(entries.iter().copied()).expect("small")
    }

    #[test]
    fn metadata_is_sorted_unique_and_bounded() {
        let map = metadata(&[("b", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(map.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!((map.get("b"), map.get("c"), map.len()), (Some("3"), None, 2));

        let many =
            |count: usize| Metadata::new((0..count).map(|n| (format!("{n}"), String::new())));
        assert!(many(limits::METADATA_ENTRIES_MAX).is_ok());
        assert_eq!(many(limits::METADATA_ENTRIES_MAX + 1), Err(SpecError::MetadataEntries));
        let long = |bytes: usize| Metadata::new([("k", "v".repeat(bytes - 1))]);
        assert!(long(limits::METADATA_BYTES_MAX).is_ok());
        assert_eq!(long(limits::METADATA_BYTES_MAX + 1), Err(SpecError::MetadataBytes));
    }

    #[test]
    fn metadata_that_is_too_long_is_refused_when_it_is_decoded() {
        let entries: Vec<(String, String)> = alloc::vec![("k".into(), "v".repeat(9_000))];
        let bytes = postcard::to_allocvec(&entries).expect("texts encode");
        assert!(postcard::from_bytes::<Metadata>(&bytes).is_err());
    }

    fn check(change: impl FnOnce(&mut InstanceSpec), expected: Result<(), SpecError>) {
        let mut spec = InstanceSpec::new("10.0.0.1", 80);
        change(&mut spec);
        assert_eq!(spec.check(), expected, "{spec:?}");
    }

    #[test]
    fn a_spec_is_checked_one_beyond_every_limit() {
        check(|_| {}, Ok(()));
        check(|spec| spec.ip = "".into(), Err(SpecError::Ip));
        check(|spec| spec.ip = "10.0. 0.1".into(), Err(SpecError::Ip));
        check(|spec| spec.ip = "a".repeat(limits::IP_CHARS_MAX).into(), Ok(()));
        check(|spec| spec.ip = "a".repeat(limits::IP_CHARS_MAX + 1).into(), Err(SpecError::Ip));
        check(|spec| spec.weight = 0.0, Ok(()));
        check(|spec| spec.weight = limits::WEIGHT_MAX, Ok(()));
        check(|spec| spec.weight = limits::WEIGHT_MAX + 0.1, Err(SpecError::Weight));
        check(|spec| spec.weight = -0.1, Err(SpecError::Weight));
        check(|spec| spec.weight = f64::NAN, Err(SpecError::Weight));
        check(|spec| spec.app = "a".repeat(limits::LABEL_CHARS_MAX).into(), Ok(()));
        let long: Box<str> = "a".repeat(limits::LABEL_CHARS_MAX + 1).into();
        check(|spec| spec.app = long, Err(SpecError::App));
    }

    fn check_timers(entries: &[(&str, &str)], expected: Result<(u64, u64, u64), SpecError>) {
        let timers = Timers::of(&metadata(entries)).map(|timers| {
            let [interval, timeout, delete] =
                [timers.interval(), timers.timeout(), timers.delete()];
            (interval.as_secs(), timeout.as_secs(), delete.as_secs())
        });
        assert_eq!(timers, expected, "{entries:?}");
    }

    #[test]
    fn timers_follow_the_metadata() {
        check_timers(&[], Ok((5, 15, 30)));
        check_timers(&[("zone", "a")], Ok((5, 15, 30)));
        check_timers(&[(HEART_BEAT_INTERVAL, "15000")], Ok((15, 15, 30)));
        check_timers(&[(HEART_BEAT_INTERVAL, "15001")], Err(SpecError::Timers));
        check_timers(&[(IP_DELETE_TIMEOUT, "4999")], Err(SpecError::Timers));
        check_timers(&[(IP_DELETE_TIMEOUT, "5000")], Ok((5, 15, 5)));
        check_timers(&[(IP_DELETE_TIMEOUT, "86400000")], Ok((5, 15, 86_400)));
        check_timers(&[(IP_DELETE_TIMEOUT, "86400001")], Err(SpecError::TimerRange));
        check_timers(&[(IP_DELETE_TIMEOUT, "99999999999999999999")], Err(SpecError::TimerRange));
        check_timers(&[(HEART_BEAT_INTERVAL, "0")], Err(SpecError::TimerRange));
        for absent in ["", "-1", "1.5", "soon", " 7000"] {
            check_timers(&[(HEART_BEAT_TIMEOUT, absent)], Ok((5, 15, 30)));
        }
    }
}
