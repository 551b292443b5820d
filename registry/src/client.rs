//! Clients that are connections: each owns, per service, the set of ephemeral instances that it
//! published last. Such an instance needs no beat; it lives as long as its connection, or until
//! somebody else registers the same address, who owns it from then on.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem;

use nacolet_model::{Instant, ServiceKey, limits};

use crate::distro::message::Life;
use crate::instance::Instance;
use crate::request::RegistryError;
use crate::spec::{InstanceKey, InstanceSpec};
use crate::step::Registry;

/// Names one connection in the whole cluster: the life of the member that holds it, and a number of
/// its own; never 0.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct ClientId(pub u64);

impl ClientId {
    /// The connection with this number, counted from 1, of the node that lives this life.
    #[must_use]
    pub const fn new(life: Life, number: u32) -> Self {
        Self((life.0 as u64) << 32 | number as u64)
    }

    /// The life that it is part of.
    #[must_use]
    pub const fn life(self) -> Life {
        Life((self.0 >> 32) as u32)
    }
}

/// What each connection published, by service.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    published: BTreeMap<ClientId, Published>,
}

/// What one connection published, in the order of the services: no map, because most publish one.
type Published = Vec<(ServiceKey, Vec<InstanceKey>)>;

fn place(services: &Published, key: &ServiceKey) -> Result<usize, usize> {
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
}

impl Registry {
    /// Puts `specs` in place of what `client` published of this service before. All or nothing.
    pub(crate) fn publish(
        &mut self,
        now: Instant,
        client: ClientId,
        key: ServiceKey,
        specs: Vec<InstanceSpec>,
    ) -> Result<(), RegistryError> {
        let known = self.clients.published.get(&client);
        let is_new = known.is_none_or(|services| place(services, &key).is_err());
        let count = known.map_or(0, Vec::len);
        if is_new && !specs.is_empty() && count >= limits::SERVICES_PER_CLIENT_MAX {
            return Err(RegistryError::ClientFull);
        }
        self.check_set(&key, &specs)?;
        let wanted: BTreeSet<InstanceKey> = specs.iter().map(InstanceSpec::key).collect();
        let before = self.set_published(client, &key, wanted.iter().cloned().collect());
        // What comes goes in first, so that a replaced instance does not leave the service empty.
        for spec in specs {
            self.register_ephemeral(now, &key, spec, Some(client));
        }
        for gone in before.iter().filter(|instance| !wanted.contains(instance)) {
            self.withdraw(now, client, &key, gone);
        }
        Ok(())
    }

    /// Whether the whole set is valid and there is room for it.
    fn check_set(&self, key: &ServiceKey, specs: &[InstanceSpec]) -> Result<(), RegistryError> {
        let mut bytes = 0;
        for spec in specs {
            spec.check()?;
            self.check_room(key, spec)?;
            bytes += spec.text_bytes();
        }
        self.check_bytes(bytes)?;
        let there = self.catalog.of(key).map_or(0, |service| service.instances().len());
        if there + specs.len() > limits::INSTANCES_PER_SERVICE_MAX
            && self.newcomers(key, specs) + there > limits::INSTANCES_PER_SERVICE_MAX
        {
            return Err(RegistryError::TooManyInstances);
        }
        if self.catalog.instance_count() + specs.len() > limits::INSTANCES_MAX
            && self.catalog.instance_count() + self.newcomers(key, specs) > limits::INSTANCES_MAX
        {
            return Err(RegistryError::NodeFull);
        }
        Ok(())
    }

    /// How many of a set are not there yet.
    fn newcomers(&self, key: &ServiceKey, specs: &[InstanceSpec]) -> usize {
        let service = self.catalog.of(key);
        let is_new = |key: &InstanceKey| service.is_none_or(|service| !service.contains(key));
        specs
            .iter()
            .map(InstanceSpec::key)
            .collect::<BTreeSet<_>>()
            .iter()
            .filter(|key| is_new(key))
            .count()
    }

    /// The connection has closed: what it still owns goes.
    pub(crate) fn client_gone(&mut self, now: Instant, client: ClientId) {
        for (key, instances) in self.clients.published.remove(&client).unwrap_or_default() {
            for instance in &instances {
                self.withdraw(now, client, &key, instance);
            }
        }
    }

    /// Remembers a set and returns the one before it.
    fn set_published(
        &mut self,
        client: ClientId,
        key: &ServiceKey,
        instances: Vec<InstanceKey>,
    ) -> Vec<InstanceKey> {
        let services = self.clients.published.entry(client).or_default();
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
                Vec::new()
            }
        };
        if services.is_empty() {
            self.clients.published.remove(&client);
        }
        before
    }

    /// Takes an instance out if `client` still owns it.
    fn withdraw(&mut self, now: Instant, client: ClientId, key: &ServiceKey, gone: &InstanceKey) {
        let Some(slot) = self.catalog.slot_of(key) else { return };
        let instance = self.catalog.get(slot).and_then(|service| service.instance(gone));
        if instance.and_then(Instance::owner) == Some(client) {
            self.take_out(now, slot, gone);
        }
    }

    /// Asserts what everything else relies on.
    ///
    /// # Panics
    /// When an instance has an owner who does not know it.
    pub(crate) fn client_invariants(&self) {
        for service in self.catalog.services() {
            for instance in service.instances() {
                let Some(owner) = instance.owner() else { continue };
                assert!(instance.ephemeral(), "only ephemeral instances have an owner");
                let is_mine = owner.life() == self.distro.life;
                let known = self.clients.publishes(owner, service.key(), &instance.key());
                assert!(known || !is_mine, "owners know what is theirs");
            }
        }
        for services in self.clients.published.values() {
            assert!(!services.is_empty(), "no client is kept without a service");
            assert!(services.len() <= limits::SERVICES_PER_CLIENT_MAX, "services are bounded");
        }
    }
}
