//! The one constructor of service names for tests of this crate. The tests beside the crate include
//! this file by its path: what is compiled for tests alone is not in the library that they link.

use nacolet_model::{Group, Namespace, ServiceKey, ServiceName};

/// The service of the public namespace that Nacos spells `group@@name`, or `name` in the default
/// group.
pub(crate) fn service_key(text: &str) -> ServiceKey {
    let (group, name) = text.split_once("@@").unwrap_or((Group::DEFAULT, text));
    ServiceKey {
        namespace: Namespace::public(),
        group: Group::new(group).expect("a group"),
        name: ServiceName::new(name).expect("a name"),
    }
}
