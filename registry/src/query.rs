//! Reads. Everything here borrows: a list of 5,000 instances is a walk over a slice, and whoever
//! renders it allocates what the rendering needs.

use alloc::format;
use core::sync::atomic::Ordering;

use nacolet_model::{Duration, Instant, ServiceKey};

use crate::state::instance::Instance;
use crate::state::registry::Registry;
use crate::state::service::Service;
use crate::state::subscribers::{SubscriberView, UdpSubscription};
use crate::words::request::BeatAnswer;
use crate::words::switches::Switches;

/// What a client wants to see of a service.
#[derive(Clone, Copy, Debug)]
pub struct ListQuery<'a> {
    /// Namespace, canonical.
    pub namespace: &'a str,
    /// Group.
    pub group: &'a str,
    /// Name without its group.
    pub name: &'a str,
    /// Clusters, separated by commas; "" means all.
    pub clusters: &'a str,
    /// Only healthy instances.
    pub healthy_only: bool,
}

/// What a client sees of a service.
#[derive(Clone, Copy, Debug)]
pub struct ServiceView<'a> {
    /// The service, if there is one.
    pub service: Option<&'a Service>,
    /// Strictly increasing with every change of the service, across restarts.
    pub last_ref_time: u64,
    /// So few instances are healthy that all are shown as healthy.
    pub reach_protection: bool,
    /// When the client should ask again.
    pub cache: Duration,
    /// Key for render caches: the same number means the same rendering for the same query. 0 means
    /// there is no service, which is not worth caching.
    pub revision: u64,
    clusters: &'a str,
    healthy_only: bool,
}

/// One instance as a client sees it.
#[derive(Clone, Copy, Debug)]
pub struct ListedInstance<'a> {
    /// The instance.
    pub instance: &'a Instance,
    /// Its health, protection included; show this one.
    pub healthy: bool,
}

impl<'a> ServiceView<'a> {
    /// The instances that the client sees.
    pub fn hosts(&self) -> impl Iterator<Item = ListedInstance<'a>> + use<'a> {
        let Self { reach_protection, clusters, healthy_only, .. } = *self;
        let shown = self.service.into_iter().flat_map(Service::instances);
        shown.filter(move |instance| is_visible(instance, clusters)).filter_map(move |instance| {
            let healthy = instance.healthy() || reach_protection;
            let is_wanted = instance.healthy() || !healthy_only;
            is_wanted.then_some(ListedInstance { instance, healthy })
        })
    }
}

fn is_visible(instance: &Instance, clusters: &str) -> bool {
    instance.enabled() && in_clusters(instance.cluster(), clusters)
}

/// Whether `cluster` is one of `clusters`.
fn in_clusters(cluster: &str, clusters: &str) -> bool {
    clusters.is_empty() || clusters.split(',').any(|wanted| wanted.trim() == cluster)
}

/// Protection of Nacos (`ServiceUtil.selectInstancesWithHealthyProtection`): only a service that
/// operators said something about. Without any instance there is nothing to protect, and of those
/// who are listed where healthy ones alone are wanted all are healthy.
fn reaches_protection(service: &Service, clusters: &str, healthy_only: bool) -> bool {
    let Some(meta) = service.meta() else { return false };
    let (mut healthy, mut total) = (0_u16, 0_u16);
    for instance in service.instances() {
        if is_visible(instance, clusters) && (instance.healthy() || !healthy_only) {
            total = total.saturating_add(1);
            healthy = healthy.saturating_add(u16::from(instance.healthy()));
        }
    }
    total > 0 && f64::from(healthy) / f64::from(total) <= meta.protect_threshold.max(0.0)
}

/// Which services a page shows.
#[derive(Clone, Copy, Debug)]
pub struct ServiceQuery<'a> {
    /// Namespace, canonical.
    pub namespace: &'a str,
    /// Only this group, exactly.
    pub group: Option<&'a str>,
    /// Only groups that contain this text; "" is any.
    pub group_part: &'a str,
    /// Only names that contain this text; "" is any.
    pub name_part: &'a str,
    /// Only services that have instances.
    pub with_instances: bool,
    /// Only services with an instance whose `ip:port` contains this text; "" is any.
    pub instance_part: &'a str,
}

impl<'a> ServiceQuery<'a> {
    /// Every service of a namespace.
    #[must_use]
    pub fn all(namespace: &'a str) -> Self {
        Self {
            namespace,
            group: None,
            group_part: "",
            name_part: "",
            with_instances: false,
            instance_part: "",
        }
    }
}

/// How many of everything a node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegistryCounts {
    /// Services.
    pub services: usize,
    /// Publications of instances of both kinds.
    pub instances: usize,
    /// Publications of ephemeral instances.
    pub ephemeral: usize,
    /// Persistent instances.
    pub persistent: usize,
    /// UDP subscribers.
    pub subscribers: usize,
    /// Bytes of the texts of instances, services and overrides.
    pub text_bytes: usize,
    /// Deadlines that are armed.
    pub deadlines: usize,
    /// UDP pushes since the start, resends not counted.
    pub pushes: u64,
    /// UDP pushes of which no acknowledgement came in time.
    pub pushes_unanswered: u64,
}

impl Registry {
    /// Takes a beat under the read lock: for an instance that is known and healthy there is nothing
    /// to write but its stamp. `None`: the caller has to send [`crate::Request::Beat`].
    #[must_use]
    pub fn beat(&self, now: Instant, at: &BeatFrom<'_>) -> Option<BeatAnswer> {
        if !self.switches.serves_writes() {
            return None;
        }
        let service = self.catalog.find(at.namespace, at.group, at.name);
        let beating = service.and_then(|service| {
            let at = service.unowned_at(at.ip, at.port, at.cluster, None)?;
            service.publications().get(at)
        });
        let Some(instance) = beating else { return at.light.then(|| self.unknown_beat()) };
        if !instance.healthy() {
            return None;
        }
        instance.hear(now);
        if service.is_some_and(|service| !service.watched) {
            self.beats_to_tell.store(true, Ordering::Relaxed);
        }
        Some(self.beat_answer(instance))
    }

    /// What a client sees of a service.
    #[must_use]
    pub fn list<'a>(&'a self, query: &ListQuery<'a>) -> ServiceView<'a> {
        let service = self.catalog.find(query.namespace, query.group, query.name);
        ServiceView {
            service,
            // A service that comes back begins above every value ever given out.
            last_ref_time: service.map_or(self.ref_time.shown(), Service::last_ref_time),
            reach_protection: service.is_some_and(|service| {
                reaches_protection(service, query.clusters, query.healthy_only)
            }),
            cache: self.switches.push_cache(),
            revision: service.map_or(0, Service::revision),
            clusters: query.clusters,
            healthy_only: query.healthy_only,
        }
    }

    /// One service with everything in it.
    #[must_use]
    pub fn service(&self, namespace: &str, group: &str, name: &str) -> Option<&Service> {
        self.catalog.find(namespace, group, name)
    }

    /// Services in the order of group and name; skip and take make pages, `count` their number.
    pub fn services<'a>(
        &'a self,
        query: &ServiceQuery<'a>,
    ) -> impl Iterator<Item = &'a Service> + use<'a> {
        let query = *query;
        self.catalog
            .services_of(query.namespace, query.group)
            .filter(move |service| query.wants(service))
    }

    /// Every service of every namespace, in the order of namespace, group and name.
    pub fn all_services(&self) -> impl Iterator<Item = &Service> {
        self.catalog.services()
    }

    /// Every service whose name comes after this one, for those who go through all of them in
    /// steps.
    pub fn services_after<'a>(
        &'a self,
        last: Option<&'a ServiceKey>,
    ) -> impl Iterator<Item = &'a Service> {
        self.catalog.services_after(last)
    }

    /// Those who hear of changes of a service by UDP.
    pub fn subscribers<'a>(
        &'a self,
        now: Instant,
        service: &ServiceKey,
    ) -> impl Iterator<Item = SubscriberView<'a>> + use<'a> {
        self.subscribers
            .of(service)
            .filter(move |entry| entry.is_leased(now))
            .map(UdpSubscription::view)
    }

    /// Those who hear of changes of any service by UDP.
    pub fn all_subscribers(&self, now: Instant) -> impl Iterator<Item = SubscriberView<'_>> {
        self.subscribers.all().filter(move |entry| entry.is_leased(now)).map(UdpSubscription::view)
    }

    /// How many of everything there are.
    #[must_use]
    pub fn counts(&self) -> RegistryCounts {
        let (pushes, pushes_unanswered) = self.subscribers.pushes();
        RegistryCounts {
            services: self.catalog.service_count(),
            instances: self.catalog.instance_count(),
            ephemeral: self.catalog.ephemeral_count(),
            persistent: self.catalog.persistent_count(),
            subscribers: self.subscribers.len(),
            text_bytes: self.text_bytes,
            deadlines: self.timetable.len(),
            pushes,
            pushes_unanswered,
        }
    }

    /// The switches as they are turned.
    #[must_use]
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// The period that an instance is told to beat in.
    #[must_use]
    pub fn beat_interval(&self, instance: &Instance) -> Duration {
        let own = instance.timers().interval_override();
        own.unwrap_or_else(|| self.switches.client_beat_interval())
    }

    pub(crate) fn beat_answer(&self, instance: &Instance) -> BeatAnswer {
        BeatAnswer { interval: self.beat_interval(instance), known: true, ..self.unknown_beat() }
    }

    pub(crate) fn unknown_beat(&self) -> BeatAnswer {
        BeatAnswer {
            interval: self.switches.client_beat_interval(),
            known: false,
            light_beat_enabled: self.switches.light_beat_enabled,
        }
    }
}

impl ServiceQuery<'_> {
    fn wants(&self, service: &Service) -> bool {
        let key = service.key();
        key.group.as_str().contains(self.group_part)
            && key.name.as_str().contains(self.name_part)
            && !(self.with_instances && service.publications().is_empty())
            && (self.instance_part.is_empty()
                || service.publications().iter().any(|instance| {
                    format!("{}:{}", instance.ip(), instance.port()).contains(self.instance_part)
                }))
    }
}

/// Who beats, in plain texts, so that nothing is allocated on the way.
#[derive(Clone, Copy, Debug)]
pub struct BeatFrom<'a> {
    /// Namespace, canonical.
    pub namespace: &'a str,
    /// Group.
    pub group: &'a str,
    /// Name without its group.
    pub name: &'a str,
    /// Address.
    pub ip: &'a str,
    /// Port.
    pub port: u16,
    /// Cluster, if the client says one.
    pub cluster: Option<&'a str>,
    /// Whether the beat came without its instance.
    pub light: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_matched_by_whole_names() {
        for (cluster, clusters, expected) in [
            ("A", "", true),
            ("A", "A", true),
            ("A", "B,A", true),
            ("A", "B, A ,C", true),
            ("A", "AB", false),
            ("AB", "A", false),
            ("A", "B", false),
            ("A", ",", false),
        ] {
            assert_eq!(in_clusters(cluster, clusters), expected, "{cluster} in {clusters}");
        }
    }
}
