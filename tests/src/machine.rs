//! The replicated application of a simulated node: the state machine of every node, on a simulated
//! clock and disk, with the checkers looking over its shoulder.

use std::cell::RefCell;
use std::rc::Rc;

use nacolet_machine::{Command, Effects, LoadError, Loaded, Loader, Refused, Response, State};
use nacolet_model::{Duration, NodeId};
use nacolet_raft::{
    LocalBoxFuture, LogIndex, Membership, RaftStateMachine, SnapshotChunk, SnapshotError,
    SnapshotMeta, StorageError, Timer,
};

use crate::checker::Checkers;
use crate::clock::NodeClock;
use crate::inbox::{Event, Inbox};
use crate::planted::Planted;
use crate::snapshots::Snapshots;
use crate::story::{Line, Story, words};
use crate::subject::Subject;

/// The state machine of one life of a node.
pub struct Machine {
    pub(crate) node: NodeId,
    pub(crate) life: u64,
    /// Shared with a snapshot that a planted bug takes too late.
    pub(crate) state: Rc<RefCell<State>>,
    pub(crate) snapshots: Snapshots,
    pub(crate) inbox: Inbox,
    pub(crate) clock: NodeClock,
    pub(crate) checkers: Checkers,
    pub(crate) story: Story,
    pub(crate) planted: Option<Planted>,
}

/// Decodes a snapshot; the whole is right or refused.
fn decode(blocks: &[Vec<u8>]) -> Result<Loaded, LoadError> {
    let mut loader = Loader::default();
    blocks.iter().try_for_each(|block| loader.push(block))?;
    loader.finish()
}

/// Hands what applying left to be done to the core task.
fn hand_over(inbox: &Inbox, effects: Effects) {
    // Nobody is connected who could wait for a lock.
    let Effects { changes, outputs, services, locks: _ } = effects;
    if !changes.is_empty() {
        inbox.push_silently(Event::Changed(changes));
    }
    if services {
        inbox.push_silently(Event::Ordered(outputs));
    }
}

impl Machine {
    fn replace(&mut self, index: LogIndex, loaded: Loaded) {
        let mut outputs = Vec::new();
        let mut state = self.state.borrow_mut();
        state.replace(self.clock.now(), loaded, &mut outputs);
        self.inbox.push(Event::Ordered(outputs));
        self.checkers.loaded(self.node, index, &state);
    }
}

impl RaftStateMachine for Machine {
    type Command = Command;
    type Response = Response;
    type Error = Refused;

    fn recover(&mut self) -> Result<Option<SnapshotMeta>, StorageError> {
        let Some(whole) = self.snapshots.recover()? else { return Ok(None) };
        let loaded = decode(&whole.blocks).map_err(|error| StorageError {
            what: format!("the Raft snapshot cannot be loaded: {error}"),
            advice: "start the version that wrote it".to_owned(),
            damaged: false,
        })?;
        self.replace(whole.meta.last.index, loaded);
        Ok(Some(whole.meta))
    }

    fn apply(&mut self, index: LogIndex, command: Command) -> Result<Response, Refused> {
        let copy = command.clone();
        let mut effects = Effects::default();
        let now = self.clock.now();
        let result = self.state.borrow_mut().apply(now, index.0, command, &mut effects);
        hand_over(&self.inbox, effects);
        self.story.tell(|| {
            let (command, about) = words::command(&copy);
            let text = format!("applies {}: {command}: {}", index.0, words::result(&result));
            let line = Line::of(self.node, text).about(Subject::Entry(index.0));
            about.into_iter().fold(line, Line::about)
        });
        self.checkers.applied(self.node, self.life, index, &copy, &result);
        result
    }

    fn end(&mut self, applied: LogIndex) {
        self.checkers.batch_applied(self.node, applied, &self.state.borrow());
        self.inbox.wake();
    }

    fn membership(&mut self, index: LogIndex, membership: &Membership) {
        self.checkers.membership(self.node, index, membership);
        self.story.tell(|| {
            let membership = words::membership(membership);
            let text = format!("from log index {} on: {membership}", index.0);
            Line::of(self.node, text).about(Subject::Entry(index.0))
        });
        self.inbox.push(Event::Members(membership.members().into_iter().collect()));
    }

    fn build_snapshot(
        &mut self,
        meta: SnapshotMeta,
    ) -> LocalBoxFuture<'static, Result<(), SnapshotError>> {
        self.story
            .tell(|| Line::of(self.node, format!("writes a snapshot up to {}", meta.last.index.0)));
        if self.planted == Some(Planted::ApplyTwice) {
            // Captured when the writing begins, not now: it holds more than `meta` says.
            let (state, snapshots) = (Rc::clone(&self.state), self.snapshots.clone());
            let later = self.clock.until(self.clock.now() + Duration::from_millis(20));
            return Box::pin(async move {
                later.await;
                let mut capture = state.borrow().capture();
                snapshots.write(meta, move || capture.next_block()).await
            });
        }
        let mut capture = self.state.borrow().capture();
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
            let received = self.snapshots.received()?;
            let loaded = decode(&received.blocks).ok().ok_or(SnapshotError::Damaged)?;
            self.snapshots.install(&meta).await;
            self.story.tell(|| {
                let text = format!("installs the leader's snapshot up to {}", meta.last.index.0);
                Line::of(self.node, text).about(Subject::Entry(meta.last.index.0))
            });
            self.replace(meta.last.index, loaded);
            self.checkers.installed();
            self.inbox.push(Event::Reloaded);
            Ok(())
        })
    }
}
