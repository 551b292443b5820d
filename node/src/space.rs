//! What becomes of writes when the disk is full, of our own data or of somebody else's. Commands
//! are refused while there is still room for the next Raft snapshot, so that whatever was deleted
//! leaves the disk too; what frees space is taken until the reserve is used. The log and the
//! snapshots have floors of their own, see `storage/src/space.rs`.

use std::cell::Cell;
use std::rc::Rc;

use nacolet_config as config;
use nacolet_model::limits;
use nacolet_raft::{ClientWriteError, Metrics, Raft};
use nacolet_storage::DataDir;

use crate::clock;
use crate::command::{Command, Refused, Response, Stamped};
use crate::machine::{Freed, Machine};

/// What a command takes beside a content.
const COMMAND_BYTES: u64 = 1 << 10;
/// A full disk is one with room again when there is so much more.
const AGAIN_BYTES: u64 = 512 << 10;

/// The space of this node's data directory. Clones are the same; all stay on the core thread.
#[derive(Clone)]
pub(crate) struct Space(Rc<SpaceState>);

struct SpaceState {
    dir: DataDir,
    /// Bytes of commands that are not written yet.
    promised: Cell<u64>,
    is_full: Cell<bool>,
    /// A command was refused.
    refused: Cell<bool>,
    /// Something was freed, and is on the disk still.
    freed: Freed,
    is_low: Cell<bool>,
}

/// Room for a command, until it is dropped.
struct Promise<'a>(&'a SpaceState, u64);

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.0.promised.set(self.0.promised.get() - self.1);
    }
}

impl Space {
    pub(crate) fn new(dir: &DataDir, freed: &Freed) -> Self {
        Self(Rc::new(SpaceState {
            dir: dir.clone(),
            promised: Cell::new(0),
            is_full: Cell::new(false),
            refused: Cell::new(false),
            freed: Rc::clone(freed),
            is_low: Cell::new(false),
        }))
    }

    /// Writes through this node's Raft, where that leads and there is room.
    ///
    /// # Errors
    /// See [`ClientWriteError`].
    pub(crate) async fn write(
        &self,
        raft: &Raft<Machine>,
        command: &Stamped,
    ) -> Result<Response, ClientWriteError<Refused>> {
        // Whoever does not lead refuses it anyway, and names the leader.
        let promise = self.promise(command.command());
        if promise.is_none() && raft.is_leader() {
            self.0.refused.set(true);
            self.0.is_full.set(true);
            return Err(ClientWriteError::StorageFull);
        }
        raft.client_write(command).await
    }

    fn promise(&self, command: &Command) -> Option<Promise<'_>> {
        let bytes = COMMAND_BYTES + content_bytes(command);
        let promised = self.0.promised.get() + bytes;
        let SpaceState { dir, .. } = &*self.0;
        let has_room = dir.takes(promised) || (command.frees() && dir.takes_last(promised));
        has_room.then(|| {
            self.0.promised.set(promised);
            Promise(&self.0, bytes)
        })
    }

    /// Whether the disk takes no commands but those that free space.
    pub(crate) fn is_full(&self, metrics: &Metrics) -> bool {
        let SpaceState { dir, is_full, .. } = &*self.0;
        let more = if is_full.get() { AGAIN_BYTES } else { 0 };
        is_full.set(metrics.storage_full || !dir.takes(more));
        is_full.get()
    }

    /// Whether our own data fills the disk, or nearly: then the past of configs has to make room
    /// for what is.
    pub(crate) fn is_low(&self) -> bool {
        self.0.is_low.get() && self.0.dir.is_filled_by_us()
    }

    /// Has what is not needed any more removed from a disk that is nearly full, and lets another
    /// member lead where one may have more room.
    pub(crate) async fn keep<T>(&self, raft: &Raft<Machine>) -> T {
        let SpaceState { dir, refused, freed, is_low, .. } = &*self.0;
        let (mut pause, mut looked) = (limits::DISK_COMPACT_EVERY, None);
        // Others may be as full, and nobody gains when all hand it round.
        let (mut handed, mut rest) = (None, limits::DISK_COMPACT_EVERY);
        loop {
            smol::Timer::after(limits::LEADER_LOOK_EVERY).await;
            let metrics = raft.metrics();
            is_low.set(metrics.storage_full || !dir.takes(limits::DISK_FREE_BYTES_MIN));
            if !is_low.get() {
                freed.set(false);
                (pause, rest) = (limits::DISK_COMPACT_EVERY, limits::DISK_COMPACT_EVERY);
                continue;
            }
            let due = if freed.get() { limits::DISK_COMPACT_EVERY } else { pause };
            let is_due = looked.is_none_or(|at| clock::now().saturating_since(at) >= due);
            if is_due && (freed.take() || dir.log_grown() >= limits::DISK_COMPACT_BYTES) {
                // One that fails writes as much as there is room for: not all the time.
                pause = match raft.trigger_snapshot().await {
                    Ok(_) => limits::DISK_COMPACT_EVERY,
                    Err(error) => {
                        tracing::warn!(%error, "the full disk cannot be compacted");
                        (pause * 2).min(limits::DISK_COMPACT_EVERY_MAX)
                    }
                };
                looked = Some(clock::now());
            }
            let others = metrics.membership.voters.len() > 1;
            let now = clock::now();
            let has_rested = handed.is_none_or(|handed| now.saturating_since(handed) >= rest);
            if refused.take() && others && raft.is_leader() && has_rested {
                // Nobody may be able to take over; then this member goes on.
                let _ = raft.transfer_leader(None).await;
                handed = Some(now);
                rest = (rest * 2).min(limits::DISK_COMPACT_EVERY_MAX);
            }
        }
    }
}

fn content_bytes(command: &Command) -> u64 {
    match command {
        Command::Config(config::Command::Publish(publish)) => {
            (publish.content.len() + publish.labels.schema.len()) as u64
        }
        Command::Config(_) | Command::Registry(_) | Command::Lock(_) | Command::Auth(_) => 0,
    }
}
