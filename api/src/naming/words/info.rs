//! A service and its instances as clients see them.

use nacolet_registry::{ListQuery, ServiceView};
use serde::Serialize;
use serde::ser::{SerializeStruct as _, Serializer};

use crate::naming::words::shapes::{Grouped, Host};

/// A service as a client sees it (Nacos `ServiceInfo` over HTTP).
pub(crate) struct ServiceInfo<'a> {
    view: &'a ServiceView<'a>,
    service: Grouped<'a>,
    clusters: &'a str,
    has_ids: bool,
}

impl Serialize for ServiceInfo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { view, service, clusters, has_ids } = *self;
        let hosts = Hosts { view, service, has_ids };
        service_info_of(serializer, &service, &hosts, clusters)
    }
}

/// Writes a `ServiceInfo`: over HTTP and gRPC it differs in its `name` alone.
pub(crate) fn service_info<S: Serializer>(
    serializer: S,
    name: &(impl Serialize + ?Sized),
    view: &ServiceView<'_>,
    service: Grouped<'_>,
    clusters: &str,
) -> Result<S::Ok, S::Error> {
    service_info_of(serializer, name, &Hosts { view, service, has_ids: true }, clusters)
}

fn service_info_of<S: Serializer>(
    serializer: S,
    name: &(impl Serialize + ?Sized),
    hosts: &Hosts<'_>,
    clusters: &str,
) -> Result<S::Ok, S::Error> {
    let Hosts { view, service, .. } = *hosts;
    let mut info = serializer.serialize_struct("ServiceInfo", 11)?;
    info.serialize_field("name", name)?;
    info.serialize_field("groupName", service.group)?;
    // Clients keep lists by the text they asked with, so it goes back unchanged.
    info.serialize_field("clusters", clusters)?;
    info.serialize_field("cacheMillis", &view.cache.as_millis())?;
    info.serialize_field("hosts", hosts)?;
    info.serialize_field("lastRefTime", &view.last_ref_time)?;
    info.serialize_field("checksum", "")?;
    // Nacos 1 and 2 spell it one way, Nacos 3 the other, and each has clients that insist.
    info.serialize_field("allIPs", &false)?;
    info.serialize_field("allIps", &false)?;
    info.serialize_field("reachProtectionThreshold", &view.reach_protection)?;
    info.serialize_field("valid", &true)?;
    info.end()
}

/// The instances of a service.
pub(crate) struct Hosts<'a> {
    /// What the client sees of the service.
    pub(crate) view: &'a ServiceView<'a>,
    /// Its name.
    pub(crate) service: Grouped<'a>,
    /// See [`Host::has_id`].
    pub(crate) has_ids: bool,
}

impl Serialize for Hosts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { service, has_ids, .. } = *self;
        serializer.collect_seq(self.view.hosts().map(|host| Host {
            instance: host.instance,
            service,
            healthy: host.healthy,
            has_id: has_ids,
        }))
    }
}

impl<'a> ServiceInfo<'a> {
    pub(crate) fn new(view: &'a ServiceView<'a>, query: &ListQuery<'a>) -> Self {
        let service = Grouped { group: query.group, name: query.name };
        Self { view, service, clusters: query.clusters, has_ids: true }
    }

    /// The same for v2.
    pub(crate) fn nameless(self) -> Self {
        Self { has_ids: false, ..self }
    }
}

/// The list of `view` as JSON. It cannot fail: no map in it has keys that are not texts.
pub(crate) fn render(view: &ServiceView<'_>, query: &ListQuery<'_>) -> String {
    serde_json::to_string(&ServiceInfo::new(view, query)).unwrap_or_default()
}
