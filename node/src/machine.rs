//! The replicated application: all stores behind Raft's state machine trait. It applies committed
//! commands under the write lock, hands what listeners and subscribers must hear to the core task,
//! and turns the state into snapshot chunks and back. Files are the business of `storage`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nacolet_auth as auth;
use nacolet_config as config;
use nacolet_lock as lock;
use nacolet_raft::{
    LocalBoxFuture, LogIndex, Membership, RaftStateMachine, SnapshotChunk, SnapshotError,
    SnapshotMeta, StorageError,
};
use nacolet_registry as registry;
use nacolet_storage::{SnapshotReader, SnapshotStore};
use nacolet_transport::StateDigest;

use crate::clock;
use crate::cluster::applied::Applied;
use crate::cluster::digest::Digests;
use crate::command::{Command, Refused, Response};

/// State shared with the api threads, which only read it.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) configs: Arc<RwLock<config::Store>>,
    pub(crate) registry: Arc<RwLock<registry::Registry>>,
    pub(crate) users: Arc<RwLock<auth::Users>>,
}

/// What applying made the core task's business; both run on the core thread.
#[derive(Clone)]
pub(crate) struct Aftermath {
    pending: Rc<RefCell<Pending>>,
    wake: async_channel::Sender<()>,
    /// How far this node is, for those who wait for more.
    pub(crate) applied: Applied,
    /// What others may compare with.
    pub(crate) digests: Digests,
    /// The membership that took effect last.
    pub(crate) in_force: Rc<RefCell<Membership>>,
    /// A membership took effect.
    membership: async_channel::Sender<()>,
    pub(crate) memberships: async_channel::Receiver<()>,
}

/// What waits for the core task.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) changes: Vec<config::Change>,
    pub(crate) outputs: Vec<registry::Output>,
    /// A command of the registry was applied: lists may have changed.
    pub(crate) services: bool,
    /// The whole state was replaced by a snapshot of the leader.
    pub(crate) reloaded: bool,
    /// The state is not behind any more.
    pub(crate) caught_up: bool,
    /// Another membership is in force.
    pub(crate) membership: bool,
}

impl Aftermath {
    /// The two ends: what applying leaves behind, and the signal that there is something.
    pub(crate) fn new() -> (Self, async_channel::Receiver<()>) {
        let (wake, woken) = async_channel::bounded(1);
        let (membership, memberships) = async_channel::bounded(1);
        let (pending, applied) = (Rc::default(), Applied::default());
        let (digests, in_force) = (Digests::default(), Rc::default());
        (Self { pending, wake, applied, digests, in_force, membership, memberships }, woken)
    }

    /// Everything left since the last call.
    pub(crate) fn take(&self) -> Pending {
        self.pending.take()
    }

    /// All that was acknowledged before the start is part of the state.
    pub(crate) fn caught_up(&self) {
        self.pending.borrow_mut().caught_up = true;
        self.signal();
    }

    /// A snapshot that ends here is the state.
    fn began(&self, index: LogIndex) {
        self.digests.begin(index);
        self.applied.reached(index);
    }

    fn signal(&self) {
        let pending = self.pending.borrow();
        let quiet = pending.changes.is_empty()
            && pending.outputs.is_empty()
            && !pending.services
            && !pending.reloaded
            && !pending.caught_up
            && !pending.membership;
        if !quiet {
            // A full channel means that the signal is given already.
            let _ = self.wake.try_send(());
        }
    }
}

/// The state machine of a node.
pub(crate) struct Machine {
    shared: Shared,
    snapshots: SnapshotStore,
    aftermath: Aftermath,
    /// Nobody but this reads them.
    locks: lock::Locks,
}

/// For reading; see [`write()`].
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// A writer that panicked has ended the process, so a poisoned lock is never seen in a release.
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    pub(crate) fn new(shared: Shared, snapshots: SnapshotStore, aftermath: Aftermath) -> Self {
        Self { shared, snapshots, aftermath, locks: lock::Locks::new() }
    }

    fn digest(&self) -> StateDigest {
        let mut locks = self.locks.capture();
        let mut users = read(&self.shared.users).capture();
        StateDigest {
            configs: read(&self.shared.configs).state_hash(),
            services: read(&self.shared.registry).state_hash(),
            locks: checksum(|| locks.next_chunk()),
            users: checksum(|| users.next_chunk()),
        }
    }

    /// Replaces the state.
    fn replace(&mut self, loaded: Loaded) {
        self.locks = loaded.locks;
        *write(&self.shared.configs) = loaded.configs;
        *write(&self.shared.users) = loaded.users;
        let outputs = &mut self.aftermath.pending.borrow_mut().outputs;
        write(&self.shared.registry).install(clock::now(), loaded.services, outputs);
    }
}

/// Of a section that is small enough to be written out for it.
fn checksum(chunks: impl FnMut() -> Option<Vec<u8>>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    std::iter::from_fn(chunks).for_each(|chunk| hasher.update(&chunk));
    hasher.finalize()
}

/// The whole state, decoded.
struct Loaded {
    configs: config::Store,
    services: registry::Replicated,
    locks: lock::Locks,
    users: auth::Users,
}

/// Decodes a snapshot; the whole is right or refused.
fn decode(mut reader: SnapshotReader) -> Result<Loaded, LoadFailure> {
    let mut configs = config::Loader::new();
    let mut services = registry::Loader::new();
    let mut locks = lock::Loader::new();
    let mut users = auth::Loader::new();
    while let Some(block) = reader.read_block().map_err(LoadFailure::File)? {
        match block.split_first() {
            Some((&CONFIGS, chunk)) => configs.push(chunk).map_err(LoadFailure::Configs)?,
            Some((&SERVICES, chunk)) => services.push(chunk).map_err(LoadFailure::Services)?,
            Some((&LOCKS, chunk)) => locks.push(chunk).map_err(LoadFailure::Locks)?,
            Some((&USERS, chunk)) => users.push(chunk).map_err(LoadFailure::Users)?,
            _ => return Err(LoadFailure::Section),
        }
    }
    let configs = configs.finish().map_err(LoadFailure::Configs)?;
    let services = services.finish().map_err(LoadFailure::Services)?;
    let locks = locks.finish().map_err(LoadFailure::Locks)?;
    let users = users.finish().map_err(LoadFailure::Users)?;
    Ok(Loaded { configs, services, locks, users })
}

/// Sections of a Raft snapshot: the first byte of each block. A disk format.
const CONFIGS: u8 = 0;
const SERVICES: u8 = 1;
const LOCKS: u8 = 2;
const USERS: u8 = 3;

/// Why a snapshot is not loaded.
#[derive(Debug, thiserror::Error)]
enum LoadFailure {
    #[error(transparent)]
    File(StorageError),
    #[error(transparent)]
    Configs(config::LoadError),
    #[error(transparent)]
    Services(registry::LoadError),
    #[error(transparent)]
    Locks(lock::LoadError),
    #[error(transparent)]
    Users(auth::LoadError),
    #[error("a block of the Raft snapshot belongs to no section")]
    Section,
}

impl RaftStateMachine for Machine {
    type Command = Command;
    type Response = Response;
    type Error = Refused;

    fn recover(&mut self) -> Result<Option<SnapshotMeta>, StorageError> {
        let Some((meta, reader)) = self.snapshots.recover()? else { return Ok(None) };
        match decode(reader) {
            Ok(loaded) => {
                self.replace(loaded);
                self.aftermath.began(meta.last.index);
                Ok(Some(meta))
            }
            Err(LoadFailure::File(error)) => Err(error),
            Err(error) => Err(StorageError {
                what: format!("the Raft snapshot cannot be loaded: {error}"),
                advice: "start the version that wrote it, or restore a backup".to_owned(),
                damaged: false,
            }),
        }
    }

    fn apply(&mut self, index: LogIndex, command: Command) -> Result<Response, Refused> {
        self.aftermath.digests.before(index, || self.digest());
        #[cfg(feature = "failpoints")]
        if std::env::var("NACOLET_LOSES_ENTRY").is_ok_and(|lost| lost == index.0.to_string()) {
            return Ok(Response::Lock(false));
        }
        let mut pending = self.aftermath.pending.borrow_mut();
        match command {
            Command::Config(command) => {
                let mut store = write(&self.shared.configs);
                let result = store.apply_logged(index.0, command, &mut pending.changes);
                result.map(Response::Config).map_err(Refused::from)
            }
            Command::Registry(command) => {
                pending.services = true;
                let mut registry = write(&self.shared.registry);
                let result = registry.apply(clock::now(), index.0, command, &mut pending.outputs);
                result.map(Response::Registry).map_err(Refused::Registry)
            }
            Command::Lock(command) => {
                self.locks.apply_logged(&command).map(Response::Lock).map_err(Refused::from)
            }
            Command::Auth(command) => {
                let applied = write(&self.shared.users).apply_logged(index.0, command);
                applied.map(|()| Response::Auth).map_err(Refused::from)
            }
        }
    }

    fn end(&mut self, applied: LogIndex) {
        self.aftermath.signal();
        self.aftermath.applied.reached(applied);
    }

    fn membership(&mut self, _index: LogIndex, membership: &Membership) {
        self.aftermath.in_force.borrow_mut().clone_from(membership);
        // A full channel means that the signal is given already.
        let _ = self.aftermath.membership.try_send(());
        self.aftermath.pending.borrow_mut().membership = true;
        self.aftermath.signal();
    }

    fn build_snapshot(
        &mut self,
        meta: SnapshotMeta,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        let mut configs = read(&self.shared.configs).capture();
        let mut services = read(&self.shared.registry).capture();
        let mut locks = self.locks.capture();
        let mut users = read(&self.shared.users).capture();
        self.snapshots.write(meta, move || {
            let section = |tag: u8| move |chunk: Vec<u8>| [&[tag], chunk.as_slice()].concat();
            let block = configs.next_chunk().map(section(CONFIGS));
            let block = block.or_else(|| services.next_chunk().map(section(SERVICES)));
            let block = block.or_else(|| locks.next_chunk().map(section(LOCKS)));
            block.or_else(|| users.next_chunk().map(section(USERS)))
        })
    }

    fn read_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        max: usize,
    ) -> LocalBoxFuture<'static, Result<SnapshotChunk, SnapshotError>> {
        self.snapshots.read_raw(meta, offset, max)
    }

    fn write_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: SnapshotChunk,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        self.snapshots.write_raw(meta, offset, chunk)
    }

    fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
    ) -> LocalBoxFuture<'_, Result<(), SnapshotError>> {
        let meta = meta.clone();
        Box::pin(async move {
            // The content is decoded before it replaces anything: a snapshot that cannot be loaded
            // must not become the one that the next start depends on.
            let received = self.snapshots.received(&meta)?;
            let loaded = decode(received).ok().ok_or(SnapshotError::Damaged)?;
            self.snapshots.install(&meta).await?;
            self.replace(loaded);
            self.aftermath.pending.borrow_mut().reloaded = true;
            self.aftermath.signal();
            self.aftermath.began(meta.last.index);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use nacolet_model::{Duration, Group, Namespace, NodeId, ServiceKey, ServiceName, WallTime};
    use nacolet_raft::LogId;
    use nacolet_registry::RegistrySettings;
    use nacolet_storage::{DataDir, abort_process};

    use super::*;
    use crate::run::nothing_yet;

    /// A folder for snapshots.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("nacolet-machine-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn machine(&self) -> Machine {
            let dir = DataDir::open(&self.0, NodeId(1)).expect("a folder");
            let snapshots = SnapshotStore::open(&dir, abort_process).expect("a folder");
            Machine::new(nothing_yet(RegistrySettings::default()), snapshots, Aftermath::new().0)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            // It is of no use to anybody.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

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

    /// Applies all but the one at this position.
    fn apply(machine: &mut Machine, lost: Option<usize>) {
        for (position, command) in commands().into_iter().enumerate() {
            if Some(position) != lost {
                // That what is not there is not removed is an answer like any other.
                let _ = machine.apply(LogIndex(1 + position as u64), command);
            }
        }
    }

    #[test]
    fn every_command_that_is_lost_shows_in_the_digest() {
        let folder = Folder::new("lost");
        let digest = |lost| {
            let mut machine = folder.machine();
            apply(&mut machine, lost);
            machine.digest()
        };
        // Members of several versions compare it, and stop where it differs.
        let golden = StateDigest {
            configs: 17_654_245_857_988_071_396,
            services: 6_043_228_172_544_110_180,
            locks: 1_286_132_772,
            users: 1_303_420_474,
        };
        assert_eq!(digest(None), golden);
        for lost in 0..commands().len() {
            assert_ne!(digest(Some(lost)), digest(None), "{:?} is lost", commands()[lost]);
        }
    }

    #[test]
    fn a_state_from_a_snapshot_has_the_digest_of_the_one_it_was_taken_from() {
        let folder = Folder::new("snapshot");
        let mut machine = folder.machine();
        apply(&mut machine, None);
        let digest = machine.digest();
        let meta = SnapshotMeta {
            last: LogId { index: LogIndex(4), ..LogId::default() },
            membership: Membership::default(),
            id: 1,
        };
        smol::block_on(machine.build_snapshot(meta.clone())).expect("there is room");
        drop(machine);
        let mut machine = folder.machine();
        assert_eq!(machine.recover().expect("it is whole"), Some(meta));
        assert_eq!(machine.digest(), digest);
    }
}
