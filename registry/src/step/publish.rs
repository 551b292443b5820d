//! Clients that are connections: each owns, per service, the set of ephemeral instances that it
//! published last. Such a publication needs no beat and lives as long as its connection, whoever
//! else publishes the same address.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use nacolet_model::{Instant, ServiceKey, limits};

use crate::state::registry::Registry;
use crate::words::error::RegistryError;
use crate::words::names::{ClientId, PublicationKey};
use crate::words::spec::{InstanceKey, InstanceSpec};

impl Registry {
    /// Puts `specs` in place of what `client` published of this service before. All or nothing.
    pub(crate) fn publish(
        &mut self,
        now: Instant,
        client: ClientId,
        key: ServiceKey,
        specs: Vec<InstanceSpec>,
    ) -> Result<(), RegistryError> {
        if !specs.is_empty() && !self.clients.has_room(client, &key) {
            return Err(RegistryError::ClientFull);
        }
        self.check_set(client, &key, &specs)?;
        let wanted: BTreeSet<InstanceKey> = specs.iter().map(InstanceSpec::key).collect();
        let before = self.clients.replace(client, &key, wanted.iter().cloned().collect());
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
    fn check_set(
        &self,
        client: ClientId,
        key: &ServiceKey,
        specs: &[InstanceSpec],
    ) -> Result<(), RegistryError> {
        let mut bytes = 0;
        for spec in specs {
            spec.check()?;
            self.check_room(key, spec, Some(client))?;
            bytes += spec.text_bytes();
        }
        self.check_bytes(bytes)?;
        let there = self.catalog.of(key).map_or(0, |service| service.publications().len());
        if there + specs.len() > limits::INSTANCES_PER_SERVICE_MAX
            && self.newcomers(client, key, specs) + there > limits::INSTANCES_PER_SERVICE_MAX
        {
            return Err(RegistryError::TooManyInstances);
        }
        if self.catalog.instance_count() + specs.len() > limits::INSTANCES_MAX
            && self.catalog.instance_count() + self.newcomers(client, key, specs)
                > limits::INSTANCES_MAX
        {
            return Err(RegistryError::NodeFull);
        }
        match self.newcomers(client, key, specs) {
            0 => Ok(()),
            newcomers => self.check_memory(newcomers, bytes),
        }
    }

    /// How many of a set are not there yet.
    fn newcomers(&self, client: ClientId, key: &ServiceKey, specs: &[InstanceSpec]) -> usize {
        let service = self.catalog.of(key);
        let is_new =
            |key: &PublicationKey| service.is_none_or(|service| service.publication(key).is_none());
        specs
            .iter()
            .map(|spec| PublicationKey::new(spec.key(), Some(client)))
            .collect::<BTreeSet<_>>()
            .iter()
            .filter(|key| is_new(key))
            .count()
    }

    /// The connection has closed: what it published goes.
    pub(crate) fn client_gone(&mut self, now: Instant, client: ClientId) {
        for (key, instances) in self.clients.remove(client) {
            for instance in &instances {
                self.withdraw(now, client, &key, instance);
            }
        }
    }

    /// Takes out what `client` published.
    fn withdraw(&mut self, now: Instant, client: ClientId, key: &ServiceKey, gone: &InstanceKey) {
        let Some(slot) = self.catalog.slot_of(key) else { return };
        self.take_out(now, slot, &PublicationKey::new(gone.clone(), Some(client)));
    }
}
