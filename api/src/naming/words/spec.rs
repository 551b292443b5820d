//! An instance as callers describe it: as parameters, as the `beat` JSON of 1.x clients, or as an
//! item of a metadata batch; and metadata in its two notations. The limits are the registry's own.

use std::borrow::Cow;

use nacolet_model::{ClusterName, limits};
use nacolet_registry::{InstanceKey, InstanceSpec, Metadata, SpecError};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::failure::{Code, Failure};
use crate::http::json::{self, AtMost, MetadataJson, Scalar, member, members};
use crate::http::params::{Fields, field};
use crate::naming::words::address;
use crate::naming::words::dialect::Dialect;

/// The instance that the parameters of a register or update call describe.
pub(crate) fn from_params(
    params: &Fields,
    dialect: Dialect,
    ephemeral_default: bool,
) -> Result<InstanceSpec, Failure> {
    let (ip, port) = address::address(params)?;
    let has_enabled = params.text(field::ENABLED).is_some();
    let enabled = if has_enabled { field::ENABLED } else { field::ENABLE };
    let spec = InstanceSpec {
        ip: ip.into(),
        port,
        cluster: instance_cluster(address::cluster_or_default(params)?)?,
        weight: weight(params)?.unwrap_or(1.0),
        enabled: dialect.toggle(params, enabled, true)?,
        healthy: dialect.toggle(params, field::HEALTHY, true)?,
        ephemeral: dialect.toggle(params, field::EPHEMERAL, ephemeral_default)?,
        metadata: parse_metadata(params.text(field::METADATA).unwrap_or_default())?,
        app: params.text(field::APP).unwrap_or_default().into(),
    };
    spec.check()?;
    Ok(spec)
}

/// The weight of an instance, where one is sent.
pub(crate) fn weight(params: &Fields) -> Result<Option<f64>, Failure> {
    let weight = params.number::<f64>(field::WEIGHT)?;
    if weight.is_some_and(|weight| !(0.0..=limits::WEIGHT_MAX).contains(&weight)) {
        return Err(SpecError::Weight.into());
    }
    Ok(weight)
}

/// Instances may live in fewer clusters than there are names (Nacos `CLUSTER_NAME_PATTERN`).
pub(crate) fn instance_cluster(name: &str) -> Result<ClusterName, Failure> {
    if name.contains('_') {
        let words = format!(
            "Instance 'clusterName' should be characters with only 0-9a-zA-Z-. (current: {name})"
        );
        return Err(Failure::invalid_as(Code::INSTANCE_ERROR, words));
    }
    Ok(ClusterName::new(name)?)
}

impl From<SpecError> for Failure {
    fn from(error: SpecError) -> Self {
        match error {
            SpecError::Weight => Self::invalid_as(
                Code::WEIGHT_ERROR,
                "instance format invalid: The weights range from 0.0 to 10000.0",
            ),
            SpecError::Ip => Self::illegal("ip"),
            SpecError::MetadataEntries | SpecError::MetadataBytes => {
                Self::checked(format!("Param 'Metadata' is illegal, {error}."))
            }
            SpecError::App => Self::invalid(format!("Param 'app' is illegal, {error}.")),
            SpecError::Timers | SpecError::TimerRange => {
                Self::invalid_as(Code::INSTANCE_ERROR, error.to_string())
            }
        }
    }
}

/// Metadata as a JSON object or as `k=v,k=v` (Nacos `UtilsAndCommons.parseMetadata`).
pub(crate) fn parse_metadata(text: &str) -> Result<Metadata, Failure> {
    if text.trim().is_empty() {
        return Ok(Metadata::default());
    }
    match json::read::<MetadataJson>(text.as_bytes()) {
        Ok(metadata) => Ok(metadata.0?),
        // Whatever is no flat JSON object is read as the other notation.
        Err(_) => parse_pairs(text),
    }
}

fn parse_pairs(text: &str) -> Result<Metadata, Failure> {
    let mut pairs = Vec::new();
    // What is too much is refused before it is taken apart.
    if text.split(',').nth(2 * limits::METADATA_ENTRIES_MAX).is_some() {
        return Err(SpecError::MetadataEntries.into());
    }
    for item in text.split(',').filter(|item| !item.is_empty()) {
        match item.split_once('=') {
            Some((key, value)) if !value.is_empty() && !value.contains('=') => {
                pairs.push((key, value));
            }
            _ => {
                let shown: String = text.chars().take(limits::LABEL_CHARS_MAX).collect();
                let words = format!("metadata format incorrect:{shown}");
                return Err(Failure::invalid_as(Code::INSTANCE_METADATA_ERROR, words));
            }
        }
    }
    Ok(Metadata::new(pairs)?)
}

/// Who beats: the members of a `beat` JSON that finding the instance takes (Nacos `RsInfo`).
pub(crate) struct BeatHead<'a> {
    /// Address.
    pub(crate) ip: Option<Cow<'a, str>>,
    port: Option<Scalar<'a>>,
    cluster: Option<Cow<'a, str>>,
}

impl<'a> BeatHead<'a> {
    /// Reads the head of a full beat.
    pub(crate) fn parse(beat: &'a str) -> Result<Self, Failure> {
        Self::read(beat, "cluster").map_err(|error| no_json("beat", &error))
    }

    fn read(text: &'a str, cluster: &str) -> serde_json::Result<Self> {
        let [ip, port, cluster] = members(text, ["ip", "port", cluster])?;
        let text = |value| Ok(member::<Text<'_>>(value)?.map(|text| text.0));
        Ok(Self { ip: text(ip)?, port: member(port)?, cluster: text(cluster)? })
    }

    /// Port of the instance; 0 where the beat has none.
    pub(crate) fn port(&self) -> Result<u16, Failure> {
        match &self.port {
            None => Ok(0),
            Some(Scalar::Text(text)) => address::parse_port(text),
            Some(Scalar::Bool(_)) => address::parse_port(""),
            Some(Scalar::Number(number)) => address::parse_port(&number.to_string()),
        }
    }

    /// Cluster of the instance, where the beat says one.
    pub(crate) fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref().map(str::trim).filter(|text| !text.is_empty())
    }
}

/// A text, borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn no_json(name: &str, error: &serde_json::Error) -> Failure {
    Failure::invalid(format!("Param '{name}' is illegal, {error}"))
}

/// The whole instance that a full beat describes, from which the registry makes one it does not
/// know.
pub(crate) fn from_beat(
    beat: &str,
    ip: &str,
    port: u16,
    cluster: &str,
) -> Result<InstanceSpec, Failure> {
    let wrong = |error| no_json("beat", &error);
    let [weight, metadata, ephemeral] =
        members(beat, ["weight", "metadata", "ephemeral"]).map_err(wrong)?;
    let weight = match member::<Scalar<'_>>(weight).map_err(wrong)? {
        None => 1.0,
        Some(scalar) => {
            let text = scalar.into_text();
            text.parse().ok().ok_or_else(|| Failure::not_a_number("weight", &text))?
        }
    };
    let metadata = member::<MetadataJson>(metadata).map_err(wrong)?.unwrap_or_default();
    let spec = InstanceSpec {
        ip: ip.into(),
        port,
        cluster: instance_cluster(cluster)?,
        weight,
        enabled: true,
        healthy: true,
        ephemeral: member(ephemeral).map_err(wrong)?.unwrap_or(true),
        metadata: metadata.0?,
        app: Box::default(),
    };
    spec.check()?;
    Ok(spec)
}

/// The instances of a metadata batch. A text that is no list of instances is an error here; Nacos
/// takes it for "all instances", which changes more than was asked.
pub(crate) fn parse_batch(text: &str) -> Result<Vec<InstanceKey>, Failure> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let wrong = |error| no_json("instances", &error);
    let items: AtMost<&RawValue, { limits::INSTANCES_PER_SERVICE_MAX }> =
        json::read(text.as_bytes()).map_err(wrong)?;
    let items = items.all(|| Failure::invalid("Param 'instances' is illegal, too many"))?;
    items
        .into_iter()
        .map(|item| {
            let head = BeatHead::read(item.get(), "clusterName").map_err(wrong)?;
            Ok(InstanceKey {
                port: head.port()?,
                cluster: ClusterName::new(head.cluster().unwrap_or(ClusterName::DEFAULT))?,
                ip: head.ip.unwrap_or_default().into(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_metadata(text: &str, expected: Option<&[(&str, &str)]>) {
        let metadata = parse_metadata(text).ok();
        let pairs = metadata.as_ref().map(|metadata| metadata.iter().collect::<Vec<_>>());
        assert_eq!(pairs.as_deref(), expected, "{text}");
    }

    #[test]
    fn metadata_has_two_notations() {
        check_metadata("", Some(&[]));
        check_metadata(" ", Some(&[]));
        check_metadata("{}", Some(&[]));
        check_metadata("null", Some(&[]));
        check_metadata(r#"{"b":"2","a":"1"}"#, Some(&[("a", "1"), ("b", "2")]));
        check_metadata(r#"{"n":1,"t":true,"z":null}"#, Some(&[("n", "1"), ("t", "true")]));
        check_metadata("a=1,b=2,", Some(&[("a", "1"), ("b", "2")]));
        check_metadata("a=", None);
        check_metadata("a=1=2", None);
        check_metadata("abc", None);
        check_metadata(r#"{"a":{"b":1}}"#, None);
        check_metadata(r#"{"a":"#, None);
        check_metadata(&"[".repeat(100_000), None);
    }

    fn check_spec(query: &str) -> Result<InstanceSpec, Failure> {
        from_params(&Fields::parse(query.as_bytes(), b"")?, Dialect::V1, true)
    }

    #[test]
    fn enabled_has_two_spellings() {
        let enabled = |query: &str| {
            check_spec(&format!("ip=1.1.1.1&port=80&{query}")).expect("valid").enabled
        };
        assert!(enabled(""));
        assert!(!enabled("enable=False"));
        assert!(!enabled("enabled=off"));
        assert!(enabled("enabled=true&enable=false"), "`enabled` counts more");
    }

    #[test]
    fn what_is_not_said_has_the_default_of_nacos() {
        let spec = check_spec("ip=1.1.1.1&port=80").expect("valid");
        assert_eq!(spec, InstanceSpec::new("1.1.1.1", 80));
        let fields = Fields::parse(b"ip=1.1.1.1&port=80", b"").expect("few");
        assert!(!from_params(&fields, Dialect::V1, false).expect("valid").ephemeral);
    }

    #[test]
    fn values_beyond_the_limits_are_refused() {
        for query in [
            "port=80",
            "ip=1.1.1.1",
            "ip=1.1.1.1&port=65536",
            "ip=1.1.1.1&port=-1",
            "ip=1.1.1.1&port=80&weight=10000.1",
            "ip=1.1.1.1&port=80&weight=-1",
            "ip=1.1.1.1&port=80&weight=NaN",
            "ip=1.1.1.1&port=80&weight=x",
            "ip=1.1.1.1&port=80&clusterName=a_b",
            "ip=1.1.1.1&port=80&clusterName=a.b",
            "ip=1.1.1.1&port=80&metadata=a",
            "ip=a+b&port=80",
        ] {
            let failure = check_spec(query).expect_err(query);
            assert_eq!(failure.http_status().as_u16(), 400, "{query}");
        }
        assert_eq!(check_spec("ip=1.1.1.1&port=0&weight=10000").expect("valid").weight, 10_000.0);
    }

    #[test]
    fn beats_are_read_in_the_spellings_of_all_clients() {
        let beat = r#"{"ip":"10.0.0.1","port":"8080","weight":1,"serviceName":"g@@s","cluster":"",
                       "metadata":null,"scheduled":false,"period":5000,"stopped":false}"#;
        let head = BeatHead::parse(beat).expect("a beat");
        assert_eq!((head.ip.as_deref(), head.cluster()), (Some("10.0.0.1"), None));
        assert_eq!(head.port().expect("a port"), 8080);
        let spec = from_beat(beat, "10.0.0.1", 8080, "DEFAULT").expect("valid");
        assert_eq!(spec, InstanceSpec::new("10.0.0.1", 8080));

        let twice = r#"{"ip":"1.1.1.1","ip":"2.2.2.2","metadata":{"a":"1"},"metadata":{"b":"2"}}"#;
        let head = BeatHead::parse(twice).expect("a beat");
        assert_eq!(head.ip.as_deref(), Some("2.2.2.2"), "the last one counts");
        let spec = from_beat(twice, "2.2.2.2", 0, "DEFAULT").expect("valid");
        assert_eq!(spec.metadata.iter().collect::<Vec<_>>(), [("b", "2")]);

        assert!(BeatHead::parse("[]").is_err());
        assert!(BeatHead::parse("{").is_err());
        assert!(BeatHead::parse(r#"{"port":true}"#).expect("JSON").port().is_err());
        assert!(BeatHead::parse(r#"{"port":70000}"#).expect("JSON").port().is_err());
    }

    #[test]
    fn a_batch_names_its_instances() {
        let keys = parse_batch(r#"[{"ip":"1.1.1.1","port":80,"ephemeral":true}]"#).expect("valid");
        let cluster = ClusterName::new("DEFAULT").expect("valid");
        assert_eq!(keys, [InstanceKey { ip: "1.1.1.1".into(), port: 80, cluster }]);
        let twice = r#"[{"ip":"2.2.2.2","ip":"1.1.1.1","port":81,"port":80}]"#;
        assert_eq!(parse_batch(twice).expect("valid"), keys, "the last one counts");
        assert_eq!(parse_batch("").expect("valid"), []);
        assert!(parse_batch("all").is_err());
    }
}
