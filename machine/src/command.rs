//! The Raft log payload: one command of one core. A disk and wire format in postcard: append
//! variants, never reorder.

use nacolet_auth as auth;
use nacolet_config as config;
use nacolet_lock as lock;
use nacolet_registry as registry;
use serde::{Deserialize, Serialize};

/// What is replicated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
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
    /// Whether a client may ask for it: what is wrong with a command that another member forwards
    /// is found before it is proposed, as at the door.
    ///
    /// # Errors
    /// What the door would answer.
    pub fn check(&self, registry: &registry::Registry) -> Result<(), Refused> {
        let is_valid = match self {
            Self::Config(command) => command.check().is_ok(),
            Self::Registry(command) => return registry.admits(command).map_err(Refused::Registry),
            Self::Lock(command) => command.check().is_ok(),
            Self::Auth(command) => command.check().is_ok(),
        };
        if is_valid { Ok(()) } else { Err(Refused::Invalid) }
    }

    /// Whether it removes something and adds nothing: also a node whose disk is full takes it.
    #[must_use]
    pub fn frees(&self) -> bool {
        match self {
            Self::Config(command) => matches!(
                command,
                config::Command::Remove(_)
                    | config::Command::RemoveNamespace { .. }
                    | config::Command::Room { .. }
            ),
            Self::Registry(command) => matches!(
                command,
                registry::Command::Deregister { .. }
                    | registry::Command::RemoveService { .. }
                    | registry::Command::RemoveOverrides { .. }
            ),
            Self::Lock(command) => matches!(
                command,
                lock::Command::Release(_) | lock::Command::Free(_) | lock::Command::Gone(_)
            ),
            Self::Auth(command) => matches!(
                command,
                auth::Command::RemoveUser { .. }
                    | auth::Command::RemoveRole { .. }
                    | auth::Command::Forbid { .. }
            ),
        }
    }
}

/// What applying it answers. A wire format, as is `Refused`: a member that forwarded a command
/// hears it from the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// Of the configuration centre.
    Config(config::Response),
    /// Of the registry.
    Registry(registry::Reply),
    /// Of the locks: whether it was taken, or freed.
    Lock(bool),
    /// Of the users.
    Auth,
    /// Of the locks, with all there is to say.
    Locked(lock::Answer),
}

/// How applying it refuses: nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refused {
    /// By the configuration centre.
    Config(config::CommandError),
    /// By the registry.
    Registry(registry::RegistryError),
    /// By the locks.
    Lock(lock::CommandError),
    /// By the users.
    Auth(auth::CommandError),
    /// By all: no door lets it through, so no client asked for it.
    Invalid,
}

impl From<config::ApplyError> for Refused {
    fn from(error: config::ApplyError) -> Self {
        match error {
            config::ApplyError::Refused(error) => Self::Config(error),
            config::ApplyError::Invalid(_) => Self::Invalid,
        }
    }
}

impl From<lock::ApplyError> for Refused {
    fn from(error: lock::ApplyError) -> Self {
        match error {
            lock::ApplyError::Refused(error) => Self::Lock(error),
            lock::ApplyError::Invalid(_) => Self::Invalid,
        }
    }
}

impl From<auth::ApplyError> for Refused {
    fn from(error: auth::ApplyError) -> Self {
        match error {
            auth::ApplyError::Refused(error) => Self::Auth(error),
            auth::ApplyError::Invalid(_) => Self::Invalid,
        }
    }
}
