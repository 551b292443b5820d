//! The replicated application of a simulated node: the real config store and the real registry, wired
//! as the node wires them, with the checkers looking over its shoulder.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use nacolet_config as config;
use nacolet_model::{Duration, NodeId};
use nacolet_raft::{
    LocalBoxFuture, LogIndex, Membership, RaftStateMachine, SnapshotChunk, SnapshotError,
    SnapshotMeta, StorageError, Timer,
};
use nacolet_registry as registry;
use serde::{Deserialize, Serialize};

use crate::checker::Checkers;
use crate::clock::NodeClock;
use crate::inbox::{Event, Inbox};
use crate::planted::Planted;
use crate::snapshots::Snapshots;

/// Sections of a Raft snapshot: the first byte of each block.
const CONFIGS: u8 = 0;
const SERVICES: u8 = 1;

/// What is replicated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Of the configuration centre.
    Config(config::Command),
    /// Of the registry.
    Registry(registry::Command),
}

/// What applying it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Of the configuration centre.
    Config(config::Response),
    /// Of the registry.
    Registry(registry::Reply),
}

/// How applying it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// By the configuration centre.
    Config(config::ApplyError),
    /// By the registry.
    Registry(registry::RegistryError),
}

/// The state of one life of a node.
#[derive(Clone)]
pub struct Shared {
    /// The configs.
    pub configs: Rc<RefCell<config::Store>>,
    /// The registry.
    pub registry: Rc<RefCell<registry::Registry>>,
    /// Whether reference times have a durable ceiling; nobody is told of one before.
    pub has_ceiling: Rc<Cell<bool>>,
}

/// The state machine of one life of a node.
pub struct Machine {
    pub(crate) node: NodeId,
    pub(crate) life: u64,
    pub(crate) shared: Shared,
    pub(crate) snapshots: Snapshots,
    pub(crate) inbox: Inbox,
    pub(crate) clock: NodeClock,
    pub(crate) checkers: Checkers,
    pub(crate) planted: Option<Planted>,
}

struct Loaded {
    configs: config::Store,
    services: registry::Replicated,
}

fn decode(blocks: &[Vec<u8>]) -> Option<Loaded> {
    let mut configs = config::Loader::new();
    let mut services = registry::Loader::new();
    for block in blocks {
        match block.split_first()? {
            (&CONFIGS, chunk) => configs.push(chunk).ok()?,
            (&SERVICES, chunk) => services.push(chunk).ok()?,
            _ => return None,
        }
    }
    Some(Loaded { configs: configs.finish().ok()?, services: services.finish().ok()? })
}

impl Machine {
    fn replace(&self, loaded: Loaded) {
        *self.shared.configs.borrow_mut() = loaded.configs;
        let mut outputs = Vec::new();
        let mut registry = self.shared.registry.borrow_mut();
        registry.install(self.clock.now(), loaded.services, &mut outputs);
        drop(registry);
        self.inbox.push(Event::Ordered(outputs));
    }
}

/// The blocks of a snapshot of the state as it is now.
fn capture(shared: &Shared) -> impl FnMut() -> Option<Vec<u8>> + 'static + use<> {
    let mut configs = shared.configs.borrow().capture();
    let mut services = shared.registry.borrow().capture();
    move || {
        let section = |tag: u8| move |chunk: Vec<u8>| [&[tag], chunk.as_slice()].concat();
        let block = configs.next_chunk().map(section(CONFIGS));
        block.or_else(|| services.next_chunk().map(section(SERVICES)))
    }
}

impl RaftStateMachine for Machine {
    type Command = Command;
    type Response = Response;
    type Error = Refused;

    fn recover(&mut self) -> Result<Option<SnapshotMeta>, StorageError> {
        let Some(whole) = self.snapshots.recover()? else { return Ok(None) };
        let loaded = decode(&whole.blocks).ok_or_else(|| StorageError {
            what: "the Raft snapshot cannot be loaded".to_owned(),
            advice: "start the version that wrote it".to_owned(),
            damaged: false,
        })?;
        self.replace(loaded);
        self.checkers.loaded(self.node, whole.meta.last.index, &self.shared);
        Ok(Some(whole.meta))
    }

    fn apply(&mut self, index: LogIndex, command: Command) -> Result<Response, Refused> {
        let copy = command.clone();
        let result = match command {
            Command::Config(command) => {
                let mut changes = Vec::new();
                let result =
                    self.shared.configs.borrow_mut().apply_logged(index.0, command, &mut changes);
                if !changes.is_empty() {
                    self.inbox.push_silently(Event::Changed(changes));
                }
                result.map(Response::Config).map_err(Refused::Config)
            }
            Command::Registry(command) => {
                let mut outputs = Vec::new();
                let now = self.clock.now();
                let mut registry = self.shared.registry.borrow_mut();
                let result = registry.apply(now, index.0, command, &mut outputs);
                drop(registry);
                self.inbox.push_silently(Event::Ordered(outputs));
                result.map(Response::Registry).map_err(Refused::Registry)
            }
        };
        self.checkers.applied(self.node, self.life, index, &copy, &result);
        result
    }

    fn end(&mut self, applied: LogIndex) {
        self.checkers.batch_applied(self.node, applied, &self.shared);
        self.inbox.wake();
    }

    fn membership(&mut self, index: LogIndex, membership: &Membership) {
        self.checkers.membership(self.node, index, membership);
        self.inbox.push(Event::Members(membership.members().into_iter().collect()));
    }

    fn build_snapshot(
        &mut self,
        meta: SnapshotMeta,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        if self.planted == Some(Planted::ApplyTwice) {
            // Captured when the writing begins, not now: it holds more than `meta` says.
            let (shared, snapshots) = (self.shared.clone(), self.snapshots.clone());
            let later = self.clock.until(self.clock.now() + Duration::from_millis(20));
            return Box::pin(async move {
                later.await;
                snapshots.write(meta, capture(&shared)).await
            });
        }
        self.snapshots.write(meta, capture(&self.shared))
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
            let received = self.snapshots.received()?;
            let loaded = decode(&received.blocks).ok_or(SnapshotError::Damaged)?;
            self.snapshots.install(&meta).await;
            self.replace(loaded);
            self.checkers.loaded(self.node, meta.last.index, &self.shared);
            self.checkers.installed();
            self.inbox.push(Event::Reloaded);
            Ok(())
        })
    }
}
