//! Takes what comes out of the Raft log: persistent instances, service and cluster metadata,
//! overrides of instances, switches. `apply` is total and its answer depends on what the log said
//! before and on nothing else: ephemeral instances differ between nodes for moments, so they take
//! no part.

use alloc::vec::Vec;

use nacolet_model::{Instant, ServiceKey, limits};

use crate::state::catalog::ServiceSlot;
use crate::state::hash::{START, fold};
use crate::state::registry::Registry;
use crate::state::service::{PutOutcome, Service};
use crate::words::command::{Command, PutCluster, PutOverrides, PutService, Register};
use crate::words::error::RegistryError;
use crate::words::io::Output;
use crate::words::names::PublicationKey;
use crate::words::request::{Reply, UpdatedInstance};
use crate::words::spec::{InstanceKey, InstanceSpec};
use crate::words::switches::Switch;

impl Registry {
    /// Applies one command of the Raft log. The answer is that of the request that proposed it.
    ///
    /// # Errors
    /// What the door could not see because another command came first; or what no door lets
    /// through, of a command that was put into the log by other means. Nothing but the chained hash
    /// changed.
    pub fn apply(
        &mut self,
        now: Instant,
        index: u64,
        command: Command,
        out: &mut Vec<Output>,
    ) -> Result<Reply, RegistryError> {
        self.hash = chain(self.hash, index, &command);
        let result = command.check().and_then(|()| self.apply_checked(now, command));
        self.settle(now, out);
        result
    }

    fn apply_checked(&mut self, now: Instant, command: Command) -> Result<Reply, RegistryError> {
        match command {
            Command::Register(register) => self.apply_register(now, *register),
            Command::Deregister { service, instance } => {
                self.apply_deregister(now, &service, &instance)
            }
            Command::CreateService(put) => self.apply_service(now, *put, true),
            Command::UpdateService(put) => self.apply_service(now, *put, false),
            Command::RemoveService { service } => self.apply_remove_service(now, &service),
            Command::PutCluster(put) => self.apply_cluster(now, *put),
            Command::SetHealth { service, instance, healthy } => {
                self.apply_health(now, &service, &instance, healthy)
            }
            Command::Override(put) => self.apply_override(now, *put),
            Command::RemoveOverrides { service, instances } => {
                self.apply_remove_overrides(now, &service, &instances)
            }
            Command::SetSwitch(switch) => self.apply_switch(now, switch),
        }
    }

    /// Chained over every command applied so far: two nodes that differ have gone apart.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        self.hash
    }

    fn apply_register(&mut self, now: Instant, put: Register) -> Result<Reply, RegistryError> {
        let spec = InstanceSpec { ephemeral: false, ..put.instance };
        let known = self.catalog.of(&put.service);
        let count = known.map_or(0, Service::persistent_count);
        let is_new = known.and_then(|service| service.persistent_at(&spec.key())).is_none();
        if is_new && count >= limits::INSTANCES_PER_SERVICE_MAX {
            return Err(RegistryError::TooManyInstances);
        }
        if is_new && self.catalog.persistent_count() >= limits::INSTANCES_MAX {
            return Err(RegistryError::NodeFull);
        }
        let slot = self.slot_for(&put.service);
        let key = spec.key();
        if self.catalog.put_instance(slot, spec, None, now).0 != PutOutcome::Same {
            self.changed(now, slot);
            self.welcomed(now, slot);
        }
        self.take_out_namesakes(now, slot, &key);
        Ok(Reply::Done)
    }

    fn apply_deregister(
        &mut self,
        now: Instant,
        service: &ServiceKey,
        instance: &InstanceKey,
    ) -> Result<Reply, RegistryError> {
        if let Some(slot) = self.catalog.slot_of(service)
            && self.persistent_at(slot, instance).is_some()
        {
            self.take_out(now, slot, &PublicationKey::new(instance.clone(), None));
        }
        Ok(Reply::Done)
    }

    fn persistent_at(&self, slot: ServiceSlot, key: &InstanceKey) -> Option<usize> {
        self.catalog.get(slot)?.persistent_at(key)
    }

    fn apply_service(
        &mut self,
        now: Instant,
        put: PutService,
        create: bool,
    ) -> Result<Reply, RegistryError> {
        let known = self.catalog.of(&put.service);
        if create && known.is_some_and(|service| service.meta().is_some()) {
            return Err(RegistryError::ServiceExists);
        }
        let slot = self.slot_for(&put.service);
        if let Some(service) = self.catalog.get_mut(slot) {
            service.durable_mut().set_meta(put.meta);
        }
        self.changed(now, slot);
        Ok(Reply::Done)
    }

    fn apply_remove_service(
        &mut self,
        now: Instant,
        key: &ServiceKey,
    ) -> Result<Reply, RegistryError> {
        let slot = self.catalog.slot_of(key);
        let Some((slot, service)) = slot.and_then(|slot| Some((slot, self.catalog.get_mut(slot)?)))
        else {
            return Ok(Reply::Done);
        };
        if service.persistent_count() > 0 {
            return Err(RegistryError::ServiceNotEmpty);
        }
        service.removed = Some(now);
        let said = service.take_durable();
        for key in said.iter().flat_map(|durable| durable.overrides().keys()) {
            service.lay_override(key);
        }
        self.changed(now, slot);
        self.thinned(now, slot);
        self.forget_service(slot);
        Ok(Reply::Done)
    }

    fn apply_cluster(&mut self, now: Instant, put: PutCluster) -> Result<Reply, RegistryError> {
        let known = self.catalog.of(&put.service).and_then(|service| service.durable());
        let full = known.is_some_and(|durable| {
            durable.clusters().len() >= limits::CLUSTERS_PER_SERVICE_MAX
                && !durable.clusters().contains_key(&put.cluster)
        });
        if full {
            return Err(RegistryError::TooManyClusters);
        }
        let slot = self.slot_for(&put.service);
        if let Some(service) = self.catalog.get_mut(slot) {
            service.durable_mut().put_cluster(put.cluster, put.meta);
        }
        self.changed(now, slot);
        Ok(Reply::Done)
    }

    fn apply_health(
        &mut self,
        now: Instant,
        service: &ServiceKey,
        instance: &InstanceKey,
        healthy: bool,
    ) -> Result<Reply, RegistryError> {
        let slot = self.catalog.slot_of(service).ok_or(RegistryError::InstanceUnknown)?;
        let at = self.persistent_at(slot, instance).ok_or(RegistryError::InstanceUnknown)?;
        if let Some(service) = self.catalog.get_mut(slot)
            && service.publications_mut()[at].set_healthy(healthy)
        {
            self.changed(now, slot);
        }
        Ok(Reply::Done)
    }

    /// Overrides are taken for instances that are not here too: this node may not have heard of
    /// them.
    fn apply_override(&mut self, now: Instant, put: PutOverrides) -> Result<Reply, RegistryError> {
        let known = self.catalog.of(&put.service).and_then(|service| service.durable());
        // All or nothing: every override is made before the first one is laid.
        let mut changed = Vec::new();
        for (key, _) in &put.instances {
            let old = known.and_then(|durable| durable.overrides().get(key));
            let mut laid = old.cloned().unwrap_or_default();
            laid.change(&put)?;
            changed.push((key.clone(), laid));
        }
        assert_eq!(changed.len(), put.instances.len(), "every instance has its override");
        let count = known.map_or(0, |durable| durable.overrides().len());
        let is_new = |key| known.is_none_or(|durable| !durable.overrides().contains_key(key));
        let more = changed.iter().filter(|(key, _)| is_new(key)).count();
        if count + more > limits::INSTANCES_PER_SERVICE_MAX {
            return Err(RegistryError::TooManyInstances);
        }
        if changed.is_empty() {
            return Ok(Reply::Updated(Vec::new()));
        }
        let slot = self.slot_for(&put.service);
        if let Some(service) = self.catalog.get_mut(slot) {
            for (key, laid) in changed {
                service.durable_mut().put_override(key.clone(), laid);
                service.lay_override(&key);
                if let Some(healthy) = put.healthy
                    && let Some(at) = service.persistent_at(&key)
                {
                    service.publications_mut()[at].set_healthy(healthy);
                }
            }
        }
        self.changed(now, slot);
        self.note_orphans(now, slot);
        self.look_at_all(now, slot);
        let updated = put.instances.into_iter();
        let updated = updated.map(|(key, ephemeral)| UpdatedInstance { key, ephemeral }).collect();
        Ok(Reply::Updated(updated))
    }

    fn apply_remove_overrides(
        &mut self,
        now: Instant,
        service: &ServiceKey,
        instances: &[InstanceKey],
    ) -> Result<Reply, RegistryError> {
        let Some(slot) = self.catalog.slot_of(service) else { return Ok(Reply::Done) };
        let Some(service) = self.catalog.get_mut(slot) else { return Ok(Reply::Done) };
        let mut shown = false;
        for key in instances {
            service.durable_mut().remove_override(key);
            // The instance came back between the proposal and now.
            shown |= service.lay_override(key);
        }
        if shown {
            self.changed(now, slot);
            self.look_at_all(now, slot);
        }
        self.thinned(now, slot);
        Ok(Reply::Done)
    }

    fn apply_switch(&mut self, now: Instant, switch: Switch) -> Result<Reply, RegistryError> {
        let watched = self.switches.watches_beats();
        self.switches.set(switch);
        assert!(self.switches.check().is_ok(), "a checked switch leaves valid switches");
        if !watched && self.switches.watches_beats() {
            // Nobody's silence was watched, so everybody begins anew.
            for slot in self.catalog.slots() {
                let instances = self.catalog.get(slot).map(Service::publications);
                instances.unwrap_or_default().iter().for_each(|instance| instance.touch(now));
                self.look_at_all(now, slot);
            }
        }
        self.all_look_different();
        Ok(Reply::Done)
    }
}

/// Hash over the index and the bytes of a command, on top of what came before.
fn chain(hash: u64, index: u64, command: &Command) -> u64 {
    let bytes = postcard::to_allocvec(command).unwrap_or_default();
    fold(fold(hash ^ START, &index.to_le_bytes()), &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::service_key;

    #[test]
    fn the_chained_hash_is_the_same_in_all_versions() {
        // Members compare it, and stop where it differs.
        let service = service_key("g@@s");
        assert_eq!(chain(1, 2, &Command::RemoveService { service }), 1_203_749_806_324_310_461);
    }
}
