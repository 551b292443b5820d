//! The way out when a majority is lost for good: one node that is left goes on alone, with what it
//! has. Nothing runs meanwhile. It is an operator's decree: whatever the others acknowledged beyond
//! this node's log is given up, and whatever is in this log is taken for agreed.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;

use futures_channel::oneshot;
use nacolet_model::NodeId;

use super::error::StartError;
use super::traits::{AppendError, RaftLogStorage, RaftStateMachine};
use crate::engine::{ImpossibleStart, PersistId};
use crate::types::{Entry, EntryPayload, HardState, LogId, LogIndex, Membership};

/// What a node that does not run has on its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// The newest membership that it knows, in force or not.
    pub membership: Membership,
    /// End of its log.
    pub last: LogId,
    /// Up to here it knows that the others agreed.
    pub commit_index: LogIndex,
    hard_state: HardState,
}

/// Why a node does not go on alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AloneError {
    /// No space, and nothing was changed.
    #[error(transparent)]
    Full(#[from] AppendError),
    /// The log storage stopped; begin again.
    #[error("the log storage stopped")]
    Stopped,
    /// No term or index is left.
    #[error("the log has come to the last possible position")]
    Exhausted,
}

impl Remains {
    /// Reads the storage back.
    ///
    /// # Errors
    /// It is damaged.
    pub fn read<L: RaftLogStorage, S: RaftStateMachine>(
        log: &mut L,
        state_machine: &mut S,
    ) -> Result<Self, StartError> {
        let snapshot = state_machine.recover()?.unwrap_or_default();
        let found = log.recover(Some(&snapshot))?;
        let mut membership = snapshot.membership;
        let mut last = snapshot.last;
        for entry in found.entries {
            if entry.id.index <= last.index {
                continue;
            }
            if entry.id.index != last.index.next() {
                return Err(ImpossibleStart::Gap { before: entry.id.index }.into());
            }
            last = entry.id;
            if let EntryPayload::Membership(newer) = entry.payload {
                membership = *newer;
            }
        }
        let hard_state = found.hard_state;
        let commit_index = hard_state.commit_index.max(snapshot.last.index);
        Ok(Self { membership, last, commit_index, hard_state })
    }

    /// Makes `node` the only member, at `address`, of what is stored in `log`: all of it counts as
    /// agreed. Returns its new end once that is durable.
    ///
    /// # Errors
    /// See [`AloneError`].
    pub async fn go_on_alone<L: RaftLogStorage>(
        self,
        log: &mut L,
        node: NodeId,
        address: String,
    ) -> Result<LogId, AloneError> {
        let term = self.hard_state.term.next().ok_or(AloneError::Exhausted)?;
        let index = self.last.index.next();
        if !index.is_valid() {
            return Err(AloneError::Exhausted);
        }
        let id = LogId { term, index };
        let membership = Membership::of_voters([(node, address)]);
        let entry = Entry { id, payload: EntryPayload::Membership(Box::new(membership)) };
        let hard_state = HardState { term, voted_for: Some(node), commit_index: index };
        let (done, durable) = oneshot::channel();
        let done = Box::new(|outcome| {
            // Whoever asked has gone away; nothing runs that could need to know.
            let _ = done.send(outcome);
        });
        log.append(PersistId(1), Some(hard_state), vec![entry], done);
        durable.await.map_err(|_stopped| AloneError::Stopped)??;
        Ok(id)
    }
}
