//! The JSON shapes of naming that several families of paths share: instances, selectors, health
//! checkers, metadata. Field order is that of Nacos, so that answers compare well with its own.

use std::collections::BTreeSet;
use std::fmt;

use nacolet_model::ServiceKey;
use nacolet_registry::{HealthChecker, Instance, Metadata, Selector};
use serde::ser::{Serialize, SerializeMap as _, SerializeStruct as _, Serializer};

/// `group@@service`, the name of a service in HTTP v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grouped<'a> {
    /// The group.
    pub(crate) group: &'a str,
    /// The bare name.
    pub(crate) name: &'a str,
}

impl<'a> Grouped<'a> {
    /// The name of this service.
    pub(crate) fn of(key: &'a ServiceKey) -> Self {
        Self { group: key.group.as_str(), name: key.name.as_str() }
    }
}

impl fmt::Display for Grouped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@@{}", self.group, self.name)
    }
}

impl Serialize for Grouped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Metadata as a JSON object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map<'a>(pub(crate) &'a Metadata);

impl Serialize for Map<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

/// One instance (Nacos `Instance`). Nothing in it changes with a beat: clients compare whole
/// objects to see whether something happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host<'a> {
    /// The instance.
    pub(crate) instance: &'a Instance,
    /// Its service.
    pub(crate) service: Grouped<'a>,
    /// Its health as this reader is to see it: protection shows every instance as healthy.
    pub(crate) healthy: bool,
    /// Whether its id is told: v1 and gRPC do, v2 and v3 do not.
    pub(crate) has_id: bool,
}

impl<'a> Host<'a> {
    /// The instance as it is, protection apart.
    pub(crate) fn plain(instance: &'a Instance, service: Grouped<'a>) -> Self {
        Self { instance, service, healthy: instance.healthy(), has_id: true }
    }

    /// As [`Self::plain`], for v2 and v3.
    pub(crate) fn nameless(instance: &'a Instance, service: Grouped<'a>) -> Self {
        Self { has_id: false, ..Self::plain(instance, service) }
    }
}

impl Serialize for Host<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { instance, service, healthy, has_id } = self;
        let timers = instance.timers();
        let mut host = serializer.serialize_struct("Instance", 14)?;
        if *has_id {
            host.serialize_field("instanceId", &InstanceId { instance, service: *service })?;
        } else {
            host.skip_field("instanceId")?;
        }
        host.serialize_field("ip", instance.ip())?;
        host.serialize_field("port", &instance.port())?;
        host.serialize_field("weight", &instance.weight())?;
        host.serialize_field("healthy", healthy)?;
        host.serialize_field("enabled", &instance.enabled())?;
        host.serialize_field("ephemeral", &instance.ephemeral())?;
        host.serialize_field("clusterName", instance.cluster())?;
        host.serialize_field("serviceName", service)?;
        host.serialize_field("metadata", &Map(instance.metadata()))?;
        host.serialize_field("instanceHeartBeatInterval", &timers.interval().as_millis())?;
        host.serialize_field("instanceHeartBeatTimeOut", &timers.timeout().as_millis())?;
        host.serialize_field("ipDeleteTimeout", &timers.delete().as_millis())?;
        match instance.metadata().get(ID_GENERATOR) {
            Some(generator) => host.serialize_field("instanceIdGenerator", generator)?,
            None if instance.metadata().is_empty() => {
                host.serialize_field("instanceIdGenerator", "simple")?;
            }
            // Whoever says something else says nothing of this, as Nacos has it.
            None => host.skip_field("instanceIdGenerator")?,
        }
        host.end()
    }
}

/// Metadata key that tells how the id of an instance is made.
const ID_GENERATOR: &str = "preserved.instance.id.generator";

/// `ip#port#cluster#group@@service` (Nacos `DefaultInstanceIdGenerator`).
pub(crate) struct InstanceId<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) service: Grouped<'a>,
}

impl fmt::Display for InstanceId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance, service } = self;
        write!(f, "{}#{}#{}#{service}", instance.ip(), instance.port(), instance.cluster())
    }
}

impl Serialize for InstanceId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A selector (Nacos `NoneSelector`, `LabelSelector`).
pub(crate) struct SelectorShape<'a>(pub(crate) &'a Selector);

impl Serialize for SelectorShape<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Selector::None => {
                map.serialize_entry("type", "none")?;
                map.serialize_entry("contextType", "NONE")?;
            }
            Selector::Label { expression } => {
                map.serialize_entry("type", "label")?;
                map.serialize_entry("expression", expression)?;
                map.serialize_entry("labels", &labels(expression).unwrap_or_default())?;
                map.serialize_entry("contextType", "CMDB")?;
            }
        }
        map.end()
    }
}

/// The labels that the expression of a label selector compares, `CONSUMER.label.a=PROVIDER.label.a`
/// joined by `&`; `None` where it is none.
pub(crate) fn labels(expression: &str) -> Option<BTreeSet<String>> {
    let expression: String = expression.chars().filter(|c| !c.is_whitespace()).collect();
    if expression.is_empty() {
        return Some(BTreeSet::new());
    }
    let label = |term: &str| {
        let (consumer, provider) = term.split_once('=')?;
        let name = provider.strip_prefix("PROVIDER.label.")?;
        let is_one = consumer.strip_prefix("CONSUMER.label.")? == name && !name.is_empty();
        is_one.then(|| name.to_owned())
    };
    expression.split('&').map(label).collect()
}

/// A health checker (Nacos `Tcp`, `Http`, `Mysql`, `None`).
pub(crate) struct CheckerShape<'a>(pub(crate) &'a HealthChecker);

impl Serialize for CheckerShape<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            HealthChecker::Tcp => map.serialize_entry("type", "TCP")?,
            HealthChecker::Http { path, headers, expected_code } => {
                map.serialize_entry("type", "HTTP")?;
                map.serialize_entry("path", path)?;
                map.serialize_entry("headers", headers)?;
                map.serialize_entry("expectedResponseCode", expected_code)?;
            }
            HealthChecker::Mysql { user, password, cmd } => {
                map.serialize_entry("type", "MYSQL")?;
                map.serialize_entry("user", user)?;
                map.serialize_entry("pwd", password)?;
                map.serialize_entry("cmd", cmd)?;
            }
            HealthChecker::None => map.serialize_entry("type", "NONE")?,
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_and_checkers_have_the_fields_of_nacos() {
        assert_eq!(
            json(&SelectorShape(&Selector::None)),
            r#"{"type":"none","contextType":"NONE"}"#
        );
        let expression = "CONSUMER.label.a = PROVIDER.label.a";
        let label = Selector::Label { expression: expression.into() };
        assert_eq!(
            json(&SelectorShape(&label)),
            format!(
                r#"{{"type":"label","expression":"{expression}","labels":["a"],"contextType":"CMDB"}}"#
            )
        );
        let http =
            HealthChecker::Http { path: "/h".into(), headers: "a:b".into(), expected_code: 200 };
        assert_eq!(
            json(&CheckerShape(&http)),
            r#"{"type":"HTTP","path":"/h","headers":"a:b","expectedResponseCode":200}"#
        );
        assert_eq!(json(&CheckerShape(&HealthChecker::None)), r#"{"type":"NONE"}"#);
    }

    #[test]
    fn expressions_name_their_labels() {
        let found = |text: &str| labels(text).map(|labels| labels.into_iter().collect::<Vec<_>>());
        assert_eq!(found(" "), Some(vec![]));
        let two = "CONSUMER.label.b=PROVIDER.label.b & CONSUMER.label.a = PROVIDER.label.a";
        assert_eq!(found(two), Some(vec!["a".to_owned(), "b".to_owned()]));
        for text in
            ["a=b", "CONSUMER.label.a=PROVIDER.label.b", "CONSUMER.label.=PROVIDER.label.", "&"]
        {
            assert_eq!(found(text), None, "{text}");
        }
    }

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).expect("shapes have JSON")
    }
}
