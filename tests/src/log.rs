//! What the log file of a simulated disk says: its records, what they come to, and what of that
//! would survive a power cut. The checkers look at this, and at nothing else of a disk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use nacolet_raft::{Entry, HardState, LogIndex};
use serde::{Deserialize, Serialize};

use crate::frame::{frame, unframe};
use crate::story::words;

/// What a record says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Record {
    Append { hard_state: Option<HardState>, entries: Vec<Entry> },
    Purge(LogIndex),
    Reset(LogIndex),
}

impl Record {
    /// What it holds.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Append { hard_state: Some(state), entries } => {
                format!("{} and {}", words::hard_state(state), words::range(entries))
            }
            Self::Append { hard_state: None, entries } => words::range(entries),
            Self::Purge(index) => format!("that its log is purged up to {}", index.0),
            Self::Reset(index) => format!("that its log begins anew after {}", index.0),
        }
    }
}

/// A record as it stands in the file.
pub(crate) fn encode(record: &Record) -> Vec<u8> {
    // Plain values of known length, which postcard can always encode.
    frame(&postcard::to_allocvec(record).unwrap_or_default())
}

/// The first record in `bytes`, if it is whole, and what follows it.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (body, rest) = unframe(bytes)?;
    let record = (!body.is_empty()).then(|| postcard::from_bytes(body).ok())??;
    Some((record, rest))
}

/// What a log says, record after record.
#[derive(Clone, Debug, Default)]
pub struct LogView {
    /// Term and vote.
    pub hard_state: HardState,
    /// Entries by index.
    pub entries: BTreeMap<u64, Entry>,
    /// Highest purged index.
    pub purged: LogIndex,
}

impl LogView {
    pub(crate) fn play(&mut self, record: &Record) {
        match record {
            Record::Append { hard_state, entries } => {
                self.hard_state = hard_state.unwrap_or(self.hard_state);
                if let Some(first) = entries.first() {
                    self.entries.split_off(&first.id.index.0);
                }
                self.entries.extend(entries.iter().map(|entry| (entry.id.index.0, entry.clone())));
            }
            Record::Purge(index) => {
                self.entries = self.entries.split_off(&(index.0 + 1));
                self.purged = self.purged.max(*index);
            }
            Record::Reset(index) => {
                self.entries.clear();
                self.purged = *index;
            }
        }
    }

    /// The last index it reaches.
    #[must_use]
    pub fn last_index(&self) -> LogIndex {
        self.entries.last_key_value().map_or(self.purged, |(index, _)| LogIndex(*index))
    }
}

/// A log as those who look on see it: they change nothing. Clones show the same log.
#[derive(Clone, Debug)]
pub struct DurableLog(Rc<RefCell<LogView>>);

impl DurableLog {
    /// Shows this one.
    pub(crate) fn of(log: &Rc<RefCell<LogView>>) -> Self {
        Self(Rc::clone(log))
    }

    /// Looks at it.
    pub fn with<T>(&self, look: impl FnOnce(&LogView) -> T) -> T {
        look(&self.0.borrow())
    }
}
