//! Names for stories: few enough that they meet again, valid as the doors see to it, and the
//! longest.

use nacolet_model::{
    ClusterName, ConfigKey, DataId, Group, Namespace, ServiceKey, ServiceName, limits,
};

use crate::source::Source;

pub(crate) fn namespace(source: &mut Source<'_>) -> Option<Namespace> {
    Namespace::parse(source.pick(&["", "dev", "null", "public", "x-1"])).ok()
}

pub(crate) fn group(source: &mut Source<'_>) -> Option<Group> {
    Group::new(source.pick(&["G", Group::DEFAULT, "a:b"])).ok()
}

pub(crate) fn config_key(source: &mut Source<'_>) -> Option<ConfigKey> {
    let data_id = match source.choice(6) {
        0..=3 => DataId::new(source.pick(&["a", "b.yml", "c"])),
        4 => DataId::new(&"d".repeat(limits::DATA_ID_CHARS_MAX)),
        _ => DataId::new(&source.text()),
    };
    Some(ConfigKey { namespace: namespace(source)?, group: group(source)?, data_id: data_id.ok()? })
}

pub(crate) fn service_key(source: &mut Source<'_>) -> Option<ServiceKey> {
    let name = match source.choice(6) {
        0..=4 => ServiceName::new(source.pick(&["s", "orders", "t"])),
        _ => ServiceName::new(&source.text()),
    };
    Some(ServiceKey { namespace: namespace(source)?, group: group(source)?, name: name.ok()? })
}

pub(crate) fn cluster(source: &mut Source<'_>) -> Option<ClusterName> {
    ClusterName::new(source.pick(&[ClusterName::DEFAULT, "c", "d_1"])).ok()
}
