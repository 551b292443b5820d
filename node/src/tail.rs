//! The end of the log that a start found: entries of which nobody here knows whether they are
//! agreed. Whatever this node has ever shown was applied, and what is applied is durable in its own
//! log first; so the configs that the state at the start may have too old are exactly those that
//! these entries write.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use nacolet_config as config;
use nacolet_model::ConfigKey;
use nacolet_raft::{
    Completion, Entry, EntryPayload, HardState, LogIndex, RaftLogStorage, Recovered, SnapshotMeta,
    StorageError, decode, engine::PersistId,
};

use crate::command::Command;

/// A log that notes what its end writes when it is read back.
pub(crate) struct Tail<L> {
    log: L,
    unsettled: Rc<RefCell<BTreeSet<ConfigKey>>>,
}

impl<L> Tail<L> {
    /// The log, and where the note will be.
    pub(crate) fn of(log: L) -> (Self, Rc<RefCell<BTreeSet<ConfigKey>>>) {
        let unsettled = Rc::default();
        (Self { log, unsettled: Rc::clone(&unsettled) }, unsettled)
    }
}

/// The config that an entry writes.
fn written(entry: &Entry) -> Option<ConfigKey> {
    let EntryPayload::Command(bytes) = &entry.payload else { return None };
    match decode(bytes) {
        Some(Command::Config(config::Command::Publish(publish))) => Some(publish.key),
        Some(Command::Config(config::Command::Remove(remove))) => Some(remove.key),
        // What cannot be decoded cannot be applied either, and the worker says so.
        Some(Command::Config(_) | Command::Registry(_) | Command::Lock(_) | Command::Auth(_))
        | None => None,
    }
}

impl<L: RaftLogStorage> RaftLogStorage for Tail<L> {
    fn recover(&mut self, snapshot: Option<&SnapshotMeta>) -> Result<Recovered, StorageError> {
        let recovered = self.log.recover(snapshot)?;
        let covered = snapshot.map(|meta| meta.last.index).unwrap_or_default();
        let settled = recovered.hard_state.commit_index.max(covered);
        let end = recovered.entries.iter().filter(|entry| entry.id.index > settled);
        self.unsettled.borrow_mut().extend(end.filter_map(written));
        Ok(recovered)
    }

    fn append(
        &mut self,
        id: PersistId,
        hard_state: Option<HardState>,
        entries: Vec<Entry>,
        done: Completion,
    ) {
        self.log.append(id, hard_state, entries, done);
    }

    fn purge(&mut self, index: LogIndex) {
        self.log.purge(index);
    }

    fn reset(&mut self, id: PersistId, snapshot: &SnapshotMeta, done: Completion) {
        self.log.reset(id, snapshot, done);
    }
}

#[cfg(test)]
mod tests {
    use nacolet_model::{DataId, Group, Namespace, WallTime};
    use nacolet_raft::LogId;

    use super::*;

    #[test]
    fn a_command_counts_as_it_is_applied_whole_or_not_at_all() {
        let key = ConfigKey {
            namespace: Namespace::new("public").expect("valid"),
            group: Group::new("g").expect("valid"),
            data_id: DataId::new("d").expect("valid"),
        };
        let (operator, at) = (config::Operator::default(), WallTime(1));
        let remove = config::Remove { key: key.clone(), gray: None, operator, at };
        let mut bytes = postcard::to_allocvec(&Command::Config(remove.into())).expect("encodes");
        let entry = |bytes: &[u8]| Entry {
            id: LogId::default(),
            payload: EntryPayload::Command(bytes.into()),
        };
        assert_eq!(written(&entry(&bytes)), Some(key));
        bytes.push(0);
        assert_eq!(written(&entry(&bytes)), None);
    }
}
