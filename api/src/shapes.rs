//! The JSON shapes of naming that several families of paths share: instances, selectors, health
//! checkers, metadata. Field order is that of Nacos, so that answers compare well with its own.

use std::fmt;

use nacolet_model::ServiceKey;
use nacolet_registry::{HealthChecker, Instance, Metadata, Selector};
use serde::ser::{Serialize, SerializeMap as _, SerializeStruct as _, Serializer};

use crate::params::PageParams;

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

/// One instance (Nacos `Instance`). Nothing in it changes with a beat: clients compare whole objects
/// to see whether something happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host<'a> {
    /// The instance.
    pub(crate) instance: &'a Instance,
    /// Its service.
    pub(crate) service: Grouped<'a>,
    /// Its health as this reader is to see it: protection shows every instance as healthy.
    pub(crate) healthy: bool,
}

impl<'a> Host<'a> {
    /// The instance as it is, protection apart.
    pub(crate) fn plain(instance: &'a Instance, service: Grouped<'a>) -> Self {
        Self { instance, service, healthy: instance.healthy() }
    }
}

impl Serialize for Host<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { instance, service, healthy } = self;
        let timers = instance.timers();
        let mut host = serializer.serialize_struct("Instance", 14)?;
        host.serialize_field("instanceId", &InstanceId { instance, service: *service })?;
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
        host.serialize_field("instanceIdGenerator", "simple")?;
        host.end()
    }
}

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
                map.serialize_entry("contextType", "CMDB")?;
            }
        }
        map.end()
    }
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

/// One page of `all`, and how many there are in all.
pub(crate) fn page<T>(all: impl Iterator<Item = T>, page: PageParams) -> (usize, Vec<T>) {
    let first = (page.number - 1).saturating_mul(page.size);
    let mut total = 0;
    let mut items = Vec::new();
    for item in all {
        if total >= first && items.len() < page.size {
            items.push(item);
        }
        total += 1;
    }
    (total, items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_where_the_list_ends() {
        let check = |number, size, expected: &[usize]| {
            assert_eq!(page(0..5, PageParams { number, size }), (5, expected.to_vec()));
        };
        check(1, 2, &[0, 1]);
        check(3, 2, &[4]);
        check(4, 2, &[]);
        check(usize::MAX, usize::MAX, &[]);
        check(1, 100, &[0, 1, 2, 3, 4]);
    }

    #[test]
    fn selectors_and_checkers_have_the_fields_of_nacos() {
        assert_eq!(
            json(&SelectorShape(&Selector::None)),
            r#"{"type":"none","contextType":"NONE"}"#
        );
        let label = Selector::Label { expression: "a=b".into() };
        assert_eq!(
            json(&SelectorShape(&label)),
            r#"{"type":"label","expression":"a=b","contextType":"CMDB"}"#
        );
        let http =
            HealthChecker::Http { path: "/h".into(), headers: "a:b".into(), expected_code: 200 };
        assert_eq!(
            json(&CheckerShape(&http)),
            r#"{"type":"HTTP","path":"/h","headers":"a:b","expectedResponseCode":200}"#
        );
        assert_eq!(json(&CheckerShape(&HealthChecker::None)), r#"{"type":"NONE"}"#);
    }

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).expect("shapes have JSON")
    }
}
