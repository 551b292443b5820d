//! Commands that another member wants to be proposed, or that came from the log: they are looked at like
//! the requests of a client. What [`Command::check`] lets through is what a snapshot may hold, so applying
//! and loading ask the same functions; the leader also asks what its own door asks.

use nacolet_model::{ServiceKey, limits};

use crate::meta::check_hidden;
use crate::persistent::{Command, MetadataChange, PutOverrides};
use crate::request::RegistryError;
use crate::spec::{InstanceKey, check_weight};
use crate::step::Registry;

/// Instances named by one command: as many as a service may have of both kinds.
const INSTANCES_NAMED_MAX: usize = 2 * limits::INSTANCES_PER_SERVICE_MAX;

impl Command {
    /// Whether every value in it is inside its limits. Applying asks this too.
    ///
    /// # Errors
    /// What is wrong with it, as a client would hear it.
    pub fn check(&self) -> Result<(), RegistryError> {
        match self {
            Self::Register(put) => {
                check_service(&put.service)?;
                Ok(put.instance.check()?)
            }
            Self::Deregister { service, instance }
            | Self::SetHealth { service, instance, healthy: _ } => {
                check_service(service)?;
                Ok(instance.check()?)
            }
            Self::CreateService(put) | Self::UpdateService(put) => {
                check_service(&put.service)?;
                put.meta.check()
            }
            Self::RemoveService { service } => check_service(service),
            Self::PutCluster(put) => {
                check_service(&put.service)?;
                put.meta.check()
            }
            Self::Override(put) => put.check(),
            Self::RemoveOverrides { service, instances } => {
                check_service(service)?;
                check_named(instances.iter())
            }
            Self::SetSwitch(switch) => switch.check(),
        }
    }
}

impl PutOverrides {
    fn check(&self) -> Result<(), RegistryError> {
        check_service(&self.service)?;
        check_named(self.instances.iter().map(|(key, _)| key))?;
        self.weight.map_or(Ok(()), check_weight)?;
        match &self.metadata {
            MetadataChange::Delete(keys) => Ok(check_hidden(keys)?),
            // A metadata map is inside its limits.
            MetadataChange::Keep | MetadataChange::Replace(_) | MetadataChange::Put(_) => Ok(()),
        }
    }
}

/// A service that is spelled in another way than it is stored cannot be there.
pub(crate) fn check_service(key: &ServiceKey) -> Result<(), RegistryError> {
    if key.namespace.is_canonical() { Ok(()) } else { Err(RegistryError::ServiceUnknown) }
}

fn check_named<'a>(
    keys: impl ExactSizeIterator<Item = &'a InstanceKey>,
) -> Result<(), RegistryError> {
    if keys.len() > INSTANCES_NAMED_MAX {
        return Err(RegistryError::TooManyInstances);
    }
    let mut keys = keys;
    Ok(keys.try_for_each(InstanceKey::check)?)
}

impl Registry {
    /// Whether the leader may propose a command that another member forwards: what is wrong with every
    /// one, and what its own door would say about room. What only the state of the other member tells
    /// (which kinds of instances it sees) is left to that one.
    ///
    /// # Errors
    /// As a client of this member would hear it.
    pub fn admits(&self, command: &Command) -> Result<(), RegistryError> {
        command.check()?;
        let (service, bytes) = match command {
            Command::Register(put) => (&put.service, put.instance.text_bytes()),
            Command::CreateService(put) | Command::UpdateService(put) => {
                (&put.service, put.meta.text_bytes())
            }
            Command::PutCluster(put) => {
                put.meta.health_checker.check()?;
                (&put.service, put.meta.text_bytes())
            }
            Command::Override(put) => {
                let texts = put.text_bytes().saturating_mul(put.instances.len());
                (&put.service, texts)
            }
            Command::Deregister { .. }
            | Command::RemoveService { .. }
            | Command::SetHealth { .. }
            | Command::RemoveOverrides { .. }
            | Command::SetSwitch(_) => return Ok(()),
        };
        self.check_bytes(bytes)?;
        let is_new = self.catalog.of(service).is_none();
        if is_new && self.catalog.service_count() >= limits::SERVICES_MAX {
            return Err(RegistryError::TooManyServices);
        }
        Ok(())
    }
}
