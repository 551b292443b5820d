//! The state of one member: what the four state machines hold, and what becomes of it when an entry
//! is applied. The parts that other threads read sit behind locks, one each.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nacolet_auth as auth;
use nacolet_config as config;
use nacolet_lock as lock;
use nacolet_model::{Instant, limits};
use nacolet_registry as registry;

use crate::command::{Command, Refused, Response};
use crate::snapshot::{Capture, Loaded};

/// The parts of the state that other threads read. Clones are the same parts.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The configs.
    pub configs: Arc<RwLock<config::Store>>,
    /// The services and their instances.
    pub registry: Arc<RwLock<registry::Registry>>,
    /// The users, roles and permissions.
    pub users: Arc<RwLock<auth::Users>>,
}

impl Shared {
    /// What there is before the first entry.
    #[must_use]
    pub fn new(settings: registry::RegistrySettings) -> Self {
        Self {
            configs: Arc::new(RwLock::new(config::Store::new())),
            registry: Arc::new(RwLock::new(registry::Registry::new(settings))),
            users: Arc::default(),
        }
    }

    /// Tells the registry what the members have agreed on: clients of each are refused alike.
    fn bound_registry(&self, store: &config::Store) {
        let room = store.room().map(|room| room / limits::ROOM_INSTANCE_PARTS);
        write(&self.registry).set_room(room);
    }
}

/// Locks for reading; see [`write()`].
pub fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing. A writer that panicked has ended the process, so a poisoned lock is never
/// seen in a release.
pub fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// What applying made somebody else's business.
#[derive(Debug, Default)]
pub struct Effects {
    /// What listeners must hear.
    pub changes: Vec<config::Change>,
    /// What the registry orders.
    pub outputs: Vec<registry::Output>,
    /// A command of the registry was applied: lists may have changed.
    pub services: bool,
    /// Who may try again to take a lock.
    pub locks: Vec<lock::Notice>,
}

impl Effects {
    /// Whether there is nothing that anybody has to hear.
    #[must_use]
    pub fn are_none(&self) -> bool {
        let Self { changes, outputs, services, locks } = self;
        changes.is_empty() && outputs.is_empty() && !services && locks.is_empty()
    }
}

/// Sums up a state; members compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Of the configs.
    pub configs: u64,
    /// Of what the registry has from the log.
    pub services: u64,
    /// Of the locks.
    pub locks: u32,
    /// Of the users.
    pub users: u32,
}

/// The whole replicated state.
#[derive(Debug)]
pub struct State {
    shared: Shared,
    /// No other thread reads them.
    locks: lock::Locks,
}

impl State {
    /// The state before the first entry; these are its shared parts.
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        Self { shared, locks: lock::Locks::new() }
    }

    /// The parts that others read.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Applies a committed command; what others must hear of it is added to `effects`.
    ///
    /// # Errors
    /// The command is refused, and nothing has changed: on every member alike.
    pub fn apply(
        &mut self,
        now: Instant,
        index: u64,
        command: Command,
        effects: &mut Effects,
    ) -> Result<Response, Refused> {
        match command {
            Command::Config(command) => {
                let mut store = write(&self.shared.configs);
                let states_room = matches!(command, config::Command::Room { .. });
                let result = store.apply_logged(index, command, &mut effects.changes);
                if states_room {
                    self.shared.bound_registry(&store);
                }
                result.map(Response::Config).map_err(Refused::from)
            }
            Command::Registry(command) => {
                effects.services = true;
                let mut registry = write(&self.shared.registry);
                let result = registry.apply(now, index, command, &mut effects.outputs);
                result.map(Response::Registry).map_err(Refused::Registry)
            }
            Command::Lock(command) => {
                let answer = self.locks.operate_logged(&command, &mut effects.locks);
                // What every version understands, to commands that every version has.
                let is_first =
                    matches!(command, lock::Command::Acquire(_) | lock::Command::Release(_));
                let told = |answer: lock::Answer| {
                    if is_first { Response::Lock(answer.done) } else { Response::Locked(answer) }
                };
                answer.map(told).map_err(Refused::from)
            }
            Command::Auth(command) => {
                let applied = write(&self.shared.users).apply_logged(index, command);
                applied.map(|()| Response::Auth).map_err(Refused::from)
            }
        }
    }

    /// The state as it is now, for a Raft snapshot.
    #[must_use]
    pub fn capture(&self) -> Capture {
        Capture::of(
            read(&self.shared.configs).capture(),
            read(&self.shared.registry).capture(),
            self.locks.capture(),
            read(&self.shared.users).capture(),
        )
    }

    /// Replaces the state by that of a Raft snapshot.
    pub fn replace(&mut self, now: Instant, loaded: Loaded, outputs: &mut Vec<registry::Output>) {
        self.locks = loaded.locks;
        self.shared.bound_registry(&loaded.configs);
        *write(&self.shared.configs) = loaded.configs;
        *write(&self.shared.users) = loaded.users;
        write(&self.shared.registry).install(now, loaded.services, outputs);
    }

    /// Sums up the state. Locks and users are written out for it: it is not for every entry.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut locks = self.locks.capture();
        let mut users = read(&self.shared.users).capture();
        Digest {
            configs: read(&self.shared.configs).state_hash(),
            services: read(&self.shared.registry).state_hash(),
            locks: checksum(|| locks.next_chunk()),
            users: checksum(|| users.next_chunk()),
        }
    }
}

/// Of a section that is small enough to be written out for it.
fn checksum(chunks: impl FnMut() -> Option<Vec<u8>>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    std::iter::from_fn(chunks).for_each(|chunk| hasher.update(&chunk));
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use nacolet_model::{Duration, Group, Namespace, ServiceKey, ServiceName, WallTime};
    use nacolet_registry::RegistrySettings;

    use super::*;
    use crate::snapshot::Loader;

    /// One for each part of the state.
    fn commands() -> [Command; 4] {
        let stamp = lock::Stamp { clock: 1, millis: 1 };
        let acquire = lock::Acquire::new("l", Duration::from_secs(9), stamp).expect("a key");
        let user = auth::Name::new("u").expect("a name");
        let begin = auth::Begin { user, hash: "hash".into(), key: [1; 32] };
        let service = ServiceKey {
            namespace: Namespace::public(),
            group: Group::new("g").expect("a group"),
            name: ServiceName::new("s").expect("a name"),
        };
        let id = Namespace::parse("n").expect("a namespace");
        [
            Command::Config(config::Command::RemoveNamespace { id, at: WallTime(1) }),
            Command::Registry(registry::Command::RemoveService { service }),
            Command::Lock(lock::Command::Acquire(acquire)),
            Command::Auth(auth::Command::Begin(begin)),
        ]
    }

    /// The state after all but the command at this position.
    fn state(lost: Option<usize>) -> State {
        let mut state = State::new(Shared::new(RegistrySettings::default()));
        for (index, command) in (1..).zip(commands()) {
            if lost.is_none_or(|lost| lost as u64 + 1 != index) {
                // That what is not there is not removed is an answer like any other.
                let _ = state.apply(Instant::ZERO, index, command, &mut Effects::default());
            }
        }
        state
    }

    #[test]
    fn what_only_removes_is_taken_by_a_full_disk() {
        assert_eq!(commands().map(|command| command.frees()), [true, true, false, false]);
    }

    #[test]
    fn every_command_that_is_lost_shows_in_the_digest() {
        // Members of several versions compare it, and stop where it differs.
        let golden = Digest {
            configs: 17_654_245_857_988_071_396,
            services: 6_043_228_172_544_110_180,
            locks: 1_286_132_772,
            users: 1_303_420_474,
        };
        assert_eq!(state(None).digest(), golden);
        for (lost, command) in commands().iter().enumerate() {
            assert_ne!(state(Some(lost)).digest(), golden, "{command:?} is lost");
        }
    }

    #[test]
    fn a_state_from_blocks_has_the_digest_of_the_one_they_were_taken_from() {
        let first = state(None);
        let (mut capture, mut loader) = (first.capture(), Loader::default());
        let mut sections = Vec::new();
        while let Some(block) = capture.next_block() {
            sections.extend(block.first().copied());
            loader.push(&block).expect("it belongs here");
        }
        // The first byte of a block is a disk format. The store of configs alone has a chunk in any
        // case.
        assert_eq!(sections, [0, 1, 2, 3]);
        let mut second = State::new(Shared::new(RegistrySettings::default()));
        let loaded = loader.finish().expect("it is whole");
        second.replace(Instant::ZERO, loaded, &mut Vec::new());
        assert_eq!(second.digest(), first.digest());
    }

    #[test]
    fn a_block_of_no_section_is_refused() {
        for block in [&[][..], &[4], &[255, 1, 2]] {
            assert_eq!(Loader::default().push(block), Err(crate::LoadError::Section), "{block:?}");
        }
    }
}
