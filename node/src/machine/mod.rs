//! The replicated application behind Raft's state machine trait. What a command does and what a
//! snapshot consists of says the crate `machine`; here it meets the clock, the snapshot files, and
//! the core task, which must hear what applying left to be done.

pub(crate) mod applied;
pub(crate) mod digests;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use nacolet_machine::{Digest, Effects, LoadError, Loaded, Loader, State};
pub(crate) use nacolet_machine::{Shared, read, write};
use nacolet_raft::{
    LocalBoxFuture, LogIndex, Membership, RaftStateMachine, SnapshotChunk, SnapshotError,
    SnapshotMeta, StorageError,
};
use nacolet_storage::{SnapshotReader, SnapshotStore};
use nacolet_transport::StateDigest;

use self::applied::Applied;
use self::digests::Digests;
use crate::bell::Bell;
use crate::clock;
use crate::command::{Refused, Response, Stamped};

/// Set when something was removed.
pub(crate) type Freed = Rc<Cell<bool>>;

/// What applying made the core task's business; both run on the core thread.
#[derive(Clone, Default)]
pub(crate) struct Aftermath {
    pending: Rc<RefCell<Pending>>,
    /// Rung when something is left.
    pub(crate) left: Bell,
    /// How far this node is, for those who wait for more.
    pub(crate) applied: Applied,
    /// What others may compare with.
    pub(crate) digests: Digests,
    /// The membership that took effect last.
    pub(crate) in_force: Rc<RefCell<Membership>>,
    /// A membership took effect.
    pub(crate) membership: Bell,
    /// Something was removed.
    pub(crate) freed: Freed,
}

/// What waits for the core task.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) effects: Effects,
    /// The whole state was replaced by a snapshot of the leader.
    pub(crate) reloaded: bool,
    /// The state is not behind any more.
    pub(crate) caught_up: bool,
    /// Another membership is in force.
    pub(crate) membership: bool,
}

impl Aftermath {
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
        let quiet = pending.effects.are_none()
            && !pending.reloaded
            && !pending.caught_up
            && !pending.membership;
        if !quiet {
            self.left.ring();
        }
    }
}

/// The state machine of a node.
pub(crate) struct Machine {
    state: State,
    snapshots: SnapshotStore,
    aftermath: Aftermath,
    /// Room for the past of configs, on a node that is alone.
    room: Option<u64>,
}

impl Machine {
    pub(crate) fn new(shared: Shared, snapshots: SnapshotStore, aftermath: Aftermath) -> Self {
        Self { state: State::new(shared), snapshots, aftermath, room: None }
    }

    /// A node that is alone starts within its own room, whatever it had before.
    pub(crate) fn within(self, room: Option<u64>) -> Self {
        Self { room, ..self }
    }

    /// Replaces the state.
    fn replace(&mut self, loaded: Loaded) {
        let outputs = &mut self.aftermath.pending.borrow_mut().effects.outputs;
        self.state.replace(clock::now(), loaded, outputs);
    }
}

/// The digest as members tell it each other.
fn told(digest: Digest) -> StateDigest {
    let Digest { configs, services, locks, users } = digest;
    StateDigest { configs, services, locks, users }
}

/// Decodes a snapshot; the whole is right or refused.
fn decode(mut reader: SnapshotReader, mut loader: Loader) -> Result<Loaded, LoadFailure> {
    while let Some(block) = reader.read_block().map_err(LoadFailure::File)? {
        loader.push(&block).map_err(LoadFailure::State)?;
    }
    loader.finish().map_err(LoadFailure::State)
}

/// Why a snapshot is not loaded.
enum LoadFailure {
    /// The file cannot be read.
    File(StorageError),
    /// What it says is no state.
    State(LoadError),
}

impl RaftStateMachine for Machine {
    type Command = Stamped;
    type Response = Response;
    type Error = Refused;

    fn recover(&mut self) -> Result<Option<SnapshotMeta>, StorageError> {
        let Some((meta, reader)) = self.snapshots.recover()? else { return Ok(None) };
        match decode(reader, self.room.map_or_else(Loader::default, Loader::within)) {
            Ok(loaded) => {
                self.replace(loaded);
                self.aftermath.began(meta.last.index);
                Ok(Some(meta))
            }
            Err(LoadFailure::File(error)) => Err(error),
            Err(LoadFailure::State(error)) => Err(StorageError {
                what: format!("the Raft snapshot cannot be loaded: {error}"),
                advice: "start the version that wrote it, or restore a backup".to_owned(),
                damaged: false,
            }),
        }
    }

    fn apply(&mut self, index: LogIndex, command: Stamped) -> Result<Response, Refused> {
        self.aftermath.digests.before(index, || told(self.state.digest()));
        #[cfg(feature = "failpoints")]
        if std::env::var("NACOLET_LOSES_ENTRY").is_ok_and(|lost| lost == index.0.to_string()) {
            return Ok(Response::Lock(false));
        }
        let effects = &mut self.aftermath.pending.borrow_mut().effects;
        let command = command.into_command();
        if command.frees() {
            self.aftermath.freed.set(true);
        }
        self.state.apply(clock::now(), index.0, command, effects)
    }

    fn end(&mut self, applied: LogIndex) {
        self.aftermath.signal();
        self.aftermath.applied.reached(applied);
    }

    fn membership(&mut self, _index: LogIndex, membership: &Membership) {
        self.aftermath.in_force.borrow_mut().clone_from(membership);
        self.aftermath.membership.ring();
        self.aftermath.pending.borrow_mut().membership = true;
        self.aftermath.signal();
    }

    fn build_snapshot(
        &mut self,
        meta: SnapshotMeta,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        let mut capture = self.state.capture();
        self.snapshots.write(meta, move || capture.next_block())
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
            let loaded = decode(received, Loader::default()).ok().ok_or(SnapshotError::Damaged)?;
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

    use nacolet_lock as lock;
    use nacolet_model::{Duration, NodeId};
    use nacolet_raft::LogId;
    use nacolet_registry::RegistrySettings;
    use nacolet_storage::{DataDir, abort_process};

    use super::*;
    use crate::command::Command;

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
            Machine::new(Shared::new(RegistrySettings::default()), snapshots, Aftermath::default())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            // It is of no use to anybody.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_state_from_a_snapshot_has_the_digest_of_the_one_it_was_taken_from() {
        let folder = Folder::new("snapshot");
        let mut machine = folder.machine();
        let stamp = lock::Stamp { clock: 1, millis: 1 };
        let acquire = lock::Acquire::new("l", Duration::from_secs(9), stamp).expect("a key");
        let command = Command::Lock(lock::Command::Acquire(acquire));
        machine.apply(LogIndex(1), Stamped::now(command)).expect("it is free");
        let digest = machine.state.digest();
        let meta = SnapshotMeta {
            last: LogId { index: LogIndex(1), ..LogId::default() },
            membership: Membership::default(),
            id: 1,
        };
        smol::block_on(machine.build_snapshot(meta.clone())).expect("there is room");
        drop(machine);
        let mut machine = folder.machine();
        assert_eq!(machine.recover().expect("it is whole"), Some(meta));
        assert_eq!(machine.state.digest(), digest);
    }
}
