//! A service as gRPC clients see it.

use nacolet_registry::{ListQuery, ServiceView};
use serde::Serialize;
use serde::ser::Serializer;

use crate::naming::words::info;
use crate::naming::words::shapes::Grouped;

/// The list of a service without a name, or of one that a refused request names: strict clients
/// want a list in every answer of a type that has one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(non_snake_case, reason = "both spellings of the member: see `info::service_info`")]
pub(crate) struct NoService<'a> {
    name: &'a str,
    group_name: &'a str,
    clusters: &'a str,
    cache_millis: u64,
    hosts: [(); 0],
    last_ref_time: u64,
    checksum: &'a str,
    #[serde(rename = "allIPs")]
    all_ips: bool,
    allIps: bool,
    reach_protection_threshold: bool,
    valid: bool,
}

impl<'a> NoService<'a> {
    pub(crate) fn new(group: &'a str, clusters: &'a str, last_ref_time: u64) -> Self {
        Self {
            name: "",
            group_name: group,
            clusters,
            cache_millis: 10_000,
            hosts: [],
            last_ref_time,
            checksum: "",
            all_ips: false,
            allIps: false,
            reach_protection_threshold: false,
            valid: true,
        }
    }
}

/// A service as a gRPC client sees it: its name is bare here, grouped in HTTP v1.
pub(crate) struct GrpcServiceInfo<'a> {
    view: ServiceView<'a>,
    service: Grouped<'a>,
    clusters: &'a str,
}

impl<'a> GrpcServiceInfo<'a> {
    pub(crate) fn new(view: ServiceView<'a>, query: &ListQuery<'a>) -> Self {
        let service = Grouped { group: query.group, name: query.name };
        Self { view, service, clusters: query.clusters }
    }
}

impl Serialize for GrpcServiceInfo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        info::service_info(serializer, self.service.name, &self.view, self.service, self.clusters)
    }
}
