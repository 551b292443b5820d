//! Clients that are connections: each owns, per service, the set of ephemeral instances that it
//! published last. Such a publication needs no beat and lives as long as its connection.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;

use nacolet_model::{ServiceKey, limits};

use crate::words::names::ClientId;
use crate::words::spec::InstanceKey;

/// What each connection published, by service.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    published: BTreeMap<ClientId, PublishedSets>,
}

/// What one connection published, in the order of the services: no map, because most publish one.
pub(crate) type PublishedSets = Vec<(ServiceKey, Vec<InstanceKey>)>;

fn place(services: &PublishedSets, key: &ServiceKey) -> Result<usize, usize> {
    services.binary_search_by(|(known, _)| known.cmp(key))
}

impl Clients {
    /// Whether a connection of this node published this instance last.
    pub(crate) fn publishes(
        &self,
        client: ClientId,
        service: &ServiceKey,
        instance: &InstanceKey,
    ) -> bool {
        let Some(services) = self.published.get(&client) else { return false };
        let set = place(services, service).ok().and_then(|at| services.get(at));
        set.is_some_and(|(_, instances)| instances.contains(instance))
    }

    /// Whether the connection may publish instances of this service beside those that it does.
    pub(crate) fn has_room(&self, client: ClientId, service: &ServiceKey) -> bool {
        let Some(services) = self.published.get(&client) else { return true };
        place(services, service).is_ok() || services.len() < limits::SERVICES_PER_CLIENT_MAX
    }

    /// Puts a set in place of what the connection published of a service, and returns what that
    /// was.
    pub(crate) fn replace(
        &mut self,
        client: ClientId,
        key: &ServiceKey,
        instances: Vec<InstanceKey>,
    ) -> Vec<InstanceKey> {
        debug_assert!(
            instances.is_sorted_by(|low, high| low < high),
            "what is published is in order and unique"
        );
        let services = self.published.entry(client).or_default();
        let before = match place(services, key) {
            Ok(at) if instances.is_empty() => services.remove(at).1,
            Ok(at) => services
                .get_mut(at)
                .map(|(_, set)| mem::replace(set, instances))
                .unwrap_or_default(),
            Err(_) if instances.is_empty() => Vec::new(),
            Err(at) => {
                services.reserve_exact(1);
                services.insert(at, (key.clone(), instances));
                assert!(services.len() <= limits::SERVICES_PER_CLIENT_MAX, "there was room");
                Vec::new()
            }
        };
        if services.is_empty() {
            self.published.remove(&client);
        }
        before
    }

    /// Forgets a connection and returns what it published.
    pub(crate) fn remove(&mut self, client: ClientId) -> PublishedSets {
        self.published.remove(&client).unwrap_or_default()
    }

    /// Asserts what everything else relies on.
    ///
    /// # Panics
    /// When a set is empty, out of order or beyond its bound.
    pub(crate) fn invariants(&self) {
        for services in self.published.values() {
            assert!(!services.is_empty(), "no client is kept without a service");
            assert!(services.len() <= limits::SERVICES_PER_CLIENT_MAX, "services are bounded");
            let is_sorted = services.is_sorted_by(|(low, _), (high, _)| low < high);
            assert!(is_sorted, "services are in order and unique");
        }
    }
}
