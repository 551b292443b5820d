//! What a Raft snapshot consists of: blocks, each of which is a section's first byte and a chunk of
//! one state machine. A disk format, and that of a snapshot on its way to another member. Files are
//! the business of whoever writes the blocks.

use nacolet_auth as auth;
use nacolet_config as config;
use nacolet_lock as lock;
use nacolet_registry as registry;

/// The sections, by the first byte of each block.
const CONFIGS: u8 = 0;
const SERVICES: u8 = 1;
const LOCKS: u8 = 2;
const USERS: u8 = 3;

/// A state on its way into a Raft snapshot: what was there when it was captured, whatever is
/// applied meanwhile.
pub struct Capture {
    configs: config::Capture,
    services: registry::Capture,
    locks: lock::Capture,
    users: auth::Capture,
}

impl Capture {
    pub(crate) fn of(
        configs: config::Capture,
        services: registry::Capture,
        locks: lock::Capture,
        users: auth::Capture,
    ) -> Self {
        Self { configs, services, locks, users }
    }

    /// The next block, `None` after the last.
    pub fn next_block(&mut self) -> Option<Vec<u8>> {
        let section = |tag: u8| move |chunk: Vec<u8>| [&[tag], chunk.as_slice()].concat();
        let block = self.configs.next_chunk().map(section(CONFIGS));
        let block = block.or_else(|| self.services.next_chunk().map(section(SERVICES)));
        let block = block.or_else(|| self.locks.next_chunk().map(section(LOCKS)));
        block.or_else(|| self.users.next_chunk().map(section(USERS)))
    }
}

/// A whole state, decoded.
#[derive(Debug)]
pub struct Loaded {
    pub(crate) configs: config::Store,
    pub(crate) services: registry::Replicated,
    pub(crate) locks: lock::Locks,
    pub(crate) users: auth::Users,
}

/// Why blocks are no state.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The configs are none.
    #[error(transparent)]
    Configs(config::LoadError),
    /// The services are none.
    #[error(transparent)]
    Services(registry::LoadError),
    /// The locks are none.
    #[error(transparent)]
    Locks(lock::LoadError),
    /// The users are none.
    #[error(transparent)]
    Users(auth::LoadError),
    /// The first byte of a block names no section.
    #[error("a block of the Raft snapshot belongs to no section")]
    Section,
}

/// Takes the blocks of a Raft snapshot, in order; the whole is right or refused.
pub struct Loader {
    configs: config::Loader,
    services: registry::Loader,
    locks: lock::Loader,
    users: auth::Loader,
}

impl Default for Loader {
    fn default() -> Self {
        Self {
            configs: config::Loader::new(),
            services: registry::Loader::new(),
            locks: lock::Loader::new(),
            users: auth::Loader::new(),
        }
    }
}

impl Loader {
    /// One that keeps no more of the past of configs than there is room for: for a node that is
    /// alone.
    #[must_use]
    pub fn within(room: u64) -> Self {
        Self { configs: config::Loader::within(room), ..Self::default() }
    }

    /// Takes the next block.
    ///
    /// # Errors
    /// It does not belong here.
    pub fn push(&mut self, block: &[u8]) -> Result<(), LoadError> {
        match block.split_first() {
            Some((&CONFIGS, chunk)) => self.configs.push(chunk).map_err(LoadError::Configs),
            Some((&SERVICES, chunk)) => self.services.push(chunk).map_err(LoadError::Services),
            Some((&LOCKS, chunk)) => self.locks.push(chunk).map_err(LoadError::Locks),
            Some((&USERS, chunk)) => self.users.push(chunk).map_err(LoadError::Users),
            _ => Err(LoadError::Section),
        }
    }

    /// The state, once every block was taken.
    ///
    /// # Errors
    /// Something is missing.
    pub fn finish(self) -> Result<Loaded, LoadError> {
        Ok(Loaded {
            configs: self.configs.finish().map_err(LoadError::Configs)?,
            services: self.services.finish().map_err(LoadError::Services)?,
            locks: self.locks.finish().map_err(LoadError::Locks)?,
            users: self.users.finish().map_err(LoadError::Users)?,
        })
    }
}
