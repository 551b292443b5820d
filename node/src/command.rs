//! The Raft log payload: one command of one core. A disk and wire format in postcard: append
//! variants, never reorder.

use nacolet_auth as auth;
use nacolet_config as config;
use nacolet_lock as lock;
use nacolet_registry as registry;
use serde::{Deserialize, Serialize};

use crate::clock;

/// What is replicated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Of the configuration centre.
    Config(config::Command),
    /// Of the registry: persistent instances, services, switches.
    Registry(registry::Command),
    /// Of the locks.
    Lock(lock::Command),
    /// Of the users.
    Auth(auth::Command),
}

impl Command {
    /// The last thing before it is proposed, by the member that proposes it.
    pub(crate) fn stamp(&mut self) {
        match self {
            Self::Lock(command) => command.set_stamp(clock::stamp()),
            Self::Config(_) | Self::Registry(_) | Self::Auth(_) => {}
        }
    }
}

/// What applying it answers. A wire format, as is `Refused`: a member that forwarded a command hears it
/// from the leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    /// Of the configuration centre.
    Config(config::Response),
    /// Of the registry.
    Registry(registry::Reply),
    /// Of the locks: whether it was taken, or freed.
    Lock(bool),
    /// Of the users.
    Auth,
}

/// How applying it refuses: nothing changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Refused {
    /// By the configuration centre.
    Config(config::CommandError),
    /// By the registry.
    Registry(registry::RegistryError),
    /// By the locks.
    Lock(lock::CommandError),
    /// By the users.
    Auth(auth::CommandError),
}
