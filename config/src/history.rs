//! What configs held before: bounded per config, in items and in bytes, so that endless updates
//! cost a constant.
//!
//! An item is named by the log index of the command that made it, so ids ascend and are alike on
//! every member. Items of one key form a chain from the newest to the oldest; a link to an item
//! that was pushed out ends it. An item of an update or a removal holds the **old** content, one of
//! an insert the new content (Nacos `insertConfigHistoryAtomic`).
//!
//! Contents are shared: an insert item and the config, or an update item and the item before it,
//! hold one allocation. The item that holds a content last pays for it (`pays`), so the byte bound
//! counts each content once and none that the config itself keeps alive.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::{WallTime, limits};
use serde::{Deserialize, Serialize};

use crate::command::{ConfigType, Labels, Operator};
use crate::key::{KeyRef, KeyText};
use crate::md5::Md5;
use crate::room::{ITEM_BYTES, SLOT_BYTES, texts};
use crate::rule::GrayName;

/// What was done to a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HistoryOp {
    /// It was created.
    Insert,
    /// It was overwritten.
    Update,
    /// It was removed.
    Delete,
}

impl HistoryOp {
    /// The letter of Nacos: `I`, `U` or `D`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "I",
            Self::Update => "U",
            Self::Delete => "D",
        }
    }
}

/// One past change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryItem {
    /// Log index of the change.
    pub id: u64,
    /// What was done.
    pub op: HistoryOp,
    /// The old content; of an insert the new one.
    pub content: Arc<str>,
    /// The md5 of `content`.
    pub md5: Md5,
    /// Who did it.
    pub operator: Arc<Operator>,
    /// When it was done.
    pub at: WallTime,
    /// Format of `content`.
    pub config_type: Option<ConfigType>,
    pub(crate) key: KeyText,
    pub(crate) labels: Option<Arc<Labels>>,
    pub(crate) gray: Option<Box<GrayName>>,
    /// The next older item of the key, 0 for none.
    pub(crate) previous: u64,
    pub(crate) pays: bool,
}

impl HistoryItem {
    /// Whose past it is.
    #[must_use]
    pub fn key(&self) -> KeyRef<'_> {
        self.key.parts()
    }

    /// The gray version it is about, `None` for the config itself.
    #[must_use]
    pub fn gray(&self) -> Option<&GrayName> {
        self.gray.as_deref()
    }

    /// The labels that `content` had; `config_type` is a field of its own.
    #[must_use]
    pub fn labels(&self) -> Option<&Labels> {
        self.labels.as_deref()
    }

    /// The application `content` belonged to, empty when unknown.
    #[must_use]
    pub fn app_name(&self) -> &str {
        self.labels().map_or("", |labels| &labels.app_name)
    }

    /// Key of a client-side encryption of `content`; empty without one.
    #[must_use]
    pub fn encrypted_data_key(&self) -> &str {
        self.labels().map_or("", |labels| &labels.encrypted_data_key)
    }

    fn bytes(&self) -> usize {
        if self.pays { self.content.len() } else { 0 }
    }

    /// Bytes that it takes in all; what is gone has its key and its place because of its past.
    fn weight(&self) -> usize {
        let place = if self.op == HistoryOp::Delete { SLOT_BYTES + self.key.len() } else { 0 };
        ITEM_BYTES + place + self.bytes() + texts(self.labels(), &self.operator)
    }
}

/// All items, by id.
#[derive(Clone, Default)]
pub(crate) struct History {
    items: BTreeMap<u64, Arc<HistoryItem>>,
    bytes: usize,
    weight: usize,
}

impl History {
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Bytes that it takes in all.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Arc<HistoryItem>> {
        self.items.get(&id)
    }

    /// The chain that begins at `newest`, newest first.
    pub(crate) fn chain(&self, newest: u64) -> impl Iterator<Item = &Arc<HistoryItem>> {
        let mut next = newest;
        core::iter::from_fn(move || {
            let item = self.items.get(&next)?;
            next = item.previous;
            Some(item)
        })
    }

    /// Adds an item whose `previous` is the newest of its key so far, and drops what is beyond a
    /// bound, of which `weight_max` is one. The items that had to go for the sake of the whole node
    /// are handed back: the chains they belonged to may be empty now.
    pub(crate) fn push(&mut self, item: HistoryItem, weight_max: usize) -> Vec<Arc<HistoryItem>> {
        let newest = item.id;
        self.insert(item);
        let beyond = self.chain(newest).nth(limits::HISTORY_PER_CONFIG_MAX).map(|item| item.id);
        if let Some(beyond) = beyond {
            self.remove(beyond);
        }
        self.trim(weight_max)
    }

    /// Drops the oldest items until the bounds of the whole node hold, and hands them back.
    pub(crate) fn trim(&mut self, weight_max: usize) -> Vec<Arc<HistoryItem>> {
        let mut dropped = Vec::new();
        while self.len() > limits::HISTORY_ITEMS_MAX
            || self.bytes > limits::HISTORY_BYTES_MAX
            || self.weight > weight_max
        {
            let Some((&oldest, _)) = self.items.first_key_value() else { break };
            dropped.extend(self.remove(oldest));
        }
        dropped
    }

    /// Adds an item that is inside the bounds already, as a Raft snapshot holds it.
    pub(crate) fn insert(&mut self, item: HistoryItem) {
        self.bytes += item.bytes();
        self.weight += item.weight();
        let replaced = self.items.insert(item.id, Arc::new(item));
        assert!(replaced.is_none(), "a log index makes one history item");
    }

    fn remove(&mut self, id: u64) -> Option<Arc<HistoryItem>> {
        let item = self.items.remove(&id)?;
        self.bytes -= item.bytes();
        self.weight -= item.weight();
        Some(item)
    }

    pub(crate) fn invariants(&self) {
        assert!(self.len() <= limits::HISTORY_ITEMS_MAX);
        assert!(self.bytes <= limits::HISTORY_BYTES_MAX);
        assert_eq!(self.bytes, self.items.values().map(|item| item.bytes()).sum::<usize>());
        assert_eq!(self.weight, self.items.values().map(|item| item.weight()).sum::<usize>());
        assert!(self.items.iter().all(|(id, item)| *id == item.id && item.previous < *id));
    }
}
