//! What goes through the Raft log, and which of it is valid. A command that another member wants to
//! be proposed, or that came from the log, is looked at like the request of a client. What
//! [`Command::check`] lets through is what a snapshot may hold, so applying and loading ask the
//! same functions; the leader also asks what its own door asks, see `Registry::admits`.

use alloc::boxed::Box;
use alloc::vec::Vec;

use nacolet_model::{ClusterName, ServiceKey, limits};
use serde::{Deserialize, Serialize};

use crate::words::error::RegistryError;
use crate::words::meta::{ClusterMeta, ServiceMeta};
use crate::words::spec::{InstanceKey, InstanceSpec, Metadata, check_hidden, check_weight};
use crate::words::switches::Switch;

/// Instances named by one command: as many as a service may have of both kinds.
const INSTANCES_NAMED_MAX: usize = 2 * limits::INSTANCES_PER_SERVICE_MAX;

/// A write of the registry in the Raft log: append variants only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Adds or overwrites a persistent instance.
    Register(Box<Register>),
    /// Removes a persistent instance; an unknown one is a success.
    Deregister {
        /// The service.
        service: ServiceKey,
        /// The instance.
        instance: InstanceKey,
    },
    /// Creates a service by hand.
    CreateService(Box<PutService>),
    /// Replaces the metadata of a service.
    UpdateService(Box<PutService>),
    /// Removes what was said about a service without persistent instances.
    RemoveService {
        /// The service.
        service: ServiceKey,
    },
    /// Sets the metadata of a cluster.
    PutCluster(Box<PutCluster>),
    /// Sets the health of persistent instances.
    SetHealth {
        /// The service.
        service: ServiceKey,
        /// The instance.
        instance: InstanceKey,
        /// Its health.
        healthy: bool,
    },
    /// Changes overrides of instances, of both kinds.
    Override(Box<PutOverrides>),
    /// Forgets overrides of instances that are gone.
    RemoveOverrides {
        /// The service.
        service: ServiceKey,
        /// The instances.
        instances: Vec<InstanceKey>,
    },
    /// Turns a switch.
    SetSwitch(Switch),
}

/// See [`Command::Register`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Register {
    /// The service.
    pub service: ServiceKey,
    /// The instance; always a persistent one.
    pub instance: InstanceSpec,
}

/// See [`Command::CreateService`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutService {
    /// The service.
    pub service: ServiceKey,
    /// What is said about it.
    pub meta: ServiceMeta,
}

/// See [`Command::PutCluster`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutCluster {
    /// The service.
    pub service: ServiceKey,
    /// The cluster.
    pub cluster: ClusterName,
    /// What is said about it.
    pub meta: ClusterMeta,
}

/// See [`Command::Override`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutOverrides {
    /// The service.
    pub service: ServiceKey,
    /// The instances and, for the answer, their kinds as the proposer saw them.
    pub instances: Vec<(InstanceKey, bool)>,
    /// New weight.
    pub weight: Option<f64>,
    /// New visibility.
    pub enabled: Option<bool>,
    /// New health, of persistent instances.
    pub healthy: Option<bool>,
    /// New metadata.
    pub metadata: MetadataChange,
}

/// What happens to the metadata of an override.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetadataChange {
    /// Nothing.
    Keep,
    /// These entries in place of all earlier overrides.
    Replace(Metadata),
    /// These entries on top of earlier overrides.
    Put(Metadata),
    /// Without these keys.
    Delete(Vec<Box<str>>),
}

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

    /// Bytes that an override of one instance and what is shown of it may grow by.
    pub(crate) fn text_bytes(&self) -> usize {
        2 * match &self.metadata {
            MetadataChange::Keep => 0,
            MetadataChange::Replace(metadata) | MetadataChange::Put(metadata) => {
                metadata.text_bytes()
            }
            MetadataChange::Delete(keys) => keys.iter().map(|key| key.len()).sum(),
        }
    }

    /// Whether nothing is left to override.
    pub(crate) fn is_empty(&self) -> bool {
        self.weight.is_none()
            && self.enabled.is_none()
            && self.healthy.is_none()
            && self.metadata == MetadataChange::Keep
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
