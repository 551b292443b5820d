//! Whether there is room: for so many bytes of text, for one more instance that is registered, for
//! one more that another member tells of.

use nacolet_model::{ServiceKey, limits};

use crate::state::instance::Instance;
use crate::state::registry::Registry;
use crate::state::service::Service;
use crate::words::error::RegistryError;
use crate::words::names::{ClientId, PublicationKey};
use crate::words::spec::InstanceSpec;

impl Registry {
    /// Whether there is room for so many bytes of text. Replaced texts are not set off against new
    /// ones: at the brim, removing comes first.
    pub(crate) fn check_bytes(&self, bytes: usize) -> Result<(), RegistryError> {
        if self.text_bytes.saturating_add(bytes) > limits::REGISTRY_TEXT_BYTES_MAX {
            return Err(RegistryError::NodeFull);
        }
        Ok(())
    }

    /// Bytes that registrations may fill from now on: what the member with the least memory has for
    /// them. What others tell of is taken all the same.
    pub fn set_room(&mut self, bytes: Option<u64>) {
        self.room = bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
    }

    /// Whether there is memory for so many more instances with so many bytes of text.
    pub(crate) fn check_memory(&self, count: usize, bytes: usize) -> Result<(), RegistryError> {
        let instances = self.catalog.instance_count().saturating_add(count);
        let blocks = instances.saturating_mul(limits::INSTANCE_BYTES);
        let taken = self.text_bytes.saturating_add(bytes).saturating_add(blocks);
        if taken > self.room { Err(RegistryError::NodeFull) } else { Ok(()) }
    }

    /// Whether the service takes instances of this kind and there is room for one more.
    pub(crate) fn check_room(
        &self,
        key: &ServiceKey,
        spec: &InstanceSpec,
        owner: Option<ClientId>,
    ) -> Result<(), RegistryError> {
        self.check_bytes(spec.text_bytes())?;
        let service = self.catalog.of(key);
        if service.is_none() && self.catalog.service_count() >= limits::SERVICES_MAX {
            return Err(RegistryError::TooManyServices);
        }
        let same = service.and_then(|service| service.any_of(&spec.key()));
        // After a race both kinds can be there, and neither may overwrite the other.
        let kind = same.map(Instance::ephemeral).or_else(|| service?.ephemeral());
        if kind.is_some_and(|ephemeral| ephemeral != spec.ephemeral) {
            return Err(RegistryError::MixedKinds { persistent: spec.ephemeral });
        }
        let known = PublicationKey::new(spec.key(), owner);
        if service.is_some_and(|service| service.publication(&known).is_some()) {
            return Ok(());
        }
        let count = service.map_or(0, |service| service.publications().len());
        if count >= limits::INSTANCES_PER_SERVICE_MAX {
            return Err(RegistryError::TooManyInstances);
        }
        if self.catalog.instance_count() >= limits::INSTANCES_MAX {
            return Err(RegistryError::NodeFull);
        }
        self.check_memory(1, spec.text_bytes())
    }

    /// Copies are bounded as registrations are, each kind of instance for itself: what one member
    /// took must not be lost because of what another one took at the same time.
    pub(crate) fn has_room_for_copy(&self, key: &ServiceKey, spec: &InstanceSpec) -> bool {
        let service = self.catalog.of(key);
        let count = service.map_or(0, Service::ephemeral_count);
        count < limits::INSTANCES_PER_SERVICE_MAX
            && self.catalog.ephemeral_count() < limits::INSTANCES_MAX
            && (service.is_some() || self.catalog.service_count() < limits::SERVICES_MAX)
            && self.check_bytes(spec.text_bytes()).is_ok()
    }
}
