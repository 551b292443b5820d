//! What one shard replicates: keys, values and when they expire. No clock is read here: every
//! command carries the time at which it was issued, and the newest such stamp is the store's time,
//! the same on every member. Read `node` next.

use std::collections::{BTreeMap, BTreeSet};

use nacolet_model::WallTime;
use nacolet_raft::{Application, LogIndex};
use serde::{Deserialize, Serialize};

/// Longest key, bytes.
const KEY_BYTES_MAX: usize = 1_024;
/// Longest value, bytes.
const VALUE_BYTES_MAX: usize = 1 << 20;

/// What is replicated: a change of a key, and when it was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Command {
    pub(crate) at: WallTime,
    pub(crate) key: String,
    pub(crate) change: Change,
}

/// `Swap` sets the key if its value is `old`, where `None` means that it is not there. `Expire` is
/// nothing but the passing of time; its key does not matter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Change {
    Set { value: String, ttl_ms: Option<u64> },
    Swap { old: Option<String>, new: String },
    Delete,
    Expire,
}

/// Why a change was refused, the same on every member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the key is empty or longer than {KEY_BYTES_MAX} bytes")]
    BadKey,
    #[error("the value is longer than {VALUE_BYTES_MAX} bytes")]
    TooLong,
    #[error("the value is {0:?} meanwhile")]
    Changed(Option<String>),
    #[error("there is no such key")]
    NotFound,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) value: String,
    pub(crate) expires: Option<WallTime>,
}

/// The state of one shard.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Store {
    pub(crate) now: WallTime,
    pub(crate) items: BTreeMap<String, Item>,
    /// Keys by when they expire.
    expiries: BTreeSet<(WallTime, String)>,
}

impl Store {
    pub(crate) fn value(&self, key: &str) -> Option<String> {
        self.items.get(key).map(|item| item.value.clone())
    }

    /// Whether a key should be gone by `now`.
    pub(crate) fn is_due(&self, now: WallTime) -> bool {
        self.expiries.first().is_some_and(|(expires, _)| *expires <= now)
    }

    fn expire(&mut self) {
        while self.is_due(self.now)
            && let Some((_, key)) = self.expiries.pop_first()
        {
            self.items.remove(&key);
        }
    }

    fn remove(&mut self, key: &str) -> Option<String> {
        let item = self.items.remove(key)?;
        if let Some(expires) = item.expires {
            self.expiries.remove(&(expires, key.to_owned()));
        }
        Some(item.value)
    }

    fn set(&mut self, key: String, value: String, ttl_ms: Option<u64>) -> Answer {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(Refused::BadKey);
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        let old = self.remove(&key);
        let expires = ttl_ms.map(|ttl| WallTime(self.now.0.saturating_add(ttl)));
        self.expiries.extend(expires.map(|expires| (expires, key.clone())));
        self.items.insert(key, Item { value, expires });
        Ok(old)
    }
}

/// The value before the change.
type Answer = Result<Option<String>, Refused>;

impl Application for Store {
    type Command = Command;
    type Response = Option<String>;
    type Error = Refused;

    fn apply(&mut self, _: LogIndex, command: Command) -> Answer {
        self.now = self.now.max(command.at);
        self.expire();
        let Command { key, change, .. } = command;
        match change {
            Change::Set { value, ttl_ms } => self.set(key, value, ttl_ms),
            Change::Swap { old, new } if self.value(&key) == old => self.set(key, new, None),
            Change::Swap { .. } => Err(Refused::Changed(self.value(&key))),
            Change::Delete => self.remove(&key).map(Some).ok_or(Refused::NotFound),
            Change::Expire => Ok(None),
        }
    }
}
