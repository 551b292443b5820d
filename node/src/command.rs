//! The Raft log payload: one command of either core. A disk and wire format in postcard: append
//! variants, never reorder.

use nacolet_config as config;
use nacolet_registry as registry;
use serde::{Deserialize, Serialize};

/// What is replicated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Of the configuration centre.
    Config(config::Command),
    /// Of the registry: persistent instances, services, switches.
    Registry(registry::Command),
}

/// What applying it answers. A wire format, as is `Refused`: a member that forwarded a command hears it
/// from the leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    /// Of the configuration centre.
    Config(config::Response),
    /// Of the registry.
    Registry(registry::Reply),
}

/// How applying it refuses: nothing changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Refused {
    /// By the configuration centre.
    Config(config::CommandError),
    /// By the registry.
    Registry(registry::RegistryError),
}
