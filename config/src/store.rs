//! The state: every config with its gray versions and its past, and all ways to read it. Reads
//! borrow from the store and allocate nothing but the pages they return. How commands change the
//! state is in `apply.rs`.
//!
//! Memory is what this file and `entry.rs` are shaped by. A config costs its content once, shared
//! with history and with answers under way; one joined key (`key.rs`); and one shared block of
//! fixed size, which a Raft snapshot clones by reference. What few configs have, labels and gray
//! versions, hangs off that block.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Bound;

use nacolet_model::{NodeId, limits};

use crate::command::Operator;
use crate::entry::{Config, Slot, View};
use crate::gray::{Caller, GrayVersion};
use crate::history::{History, HistoryItem, HistoryOp};
use crate::key::{KeyRef, KeyText, Probe};
use crate::md5::Md5;
use crate::namespace::{NamespaceView, Namespaces};
use crate::room::{self, Rooms};
use crate::rule::GrayName;
use crate::search::{PAGE_MAX, Page, Search, SearchMode};

/// The whole configuration centre. See the crate's page.
#[derive(Clone, Default)]
pub struct Store {
    pub(crate) slots: BTreeMap<KeyText, Arc<Slot>>,
    pub(crate) history: History,
    pub(crate) namespaces: Namespaces,
    /// Slots with something to read.
    pub(crate) live: usize,
    /// Bytes of their contents.
    pub(crate) bytes: usize,
    /// Bytes that they take in all.
    pub(crate) weight: usize,
    pub(crate) rooms: Rooms,
    pub(crate) applied: u64,
    pub(crate) state_hash: u64,
    /// The operator of the last command: people and programs write in bursts, and one shared block
    /// serves a burst.
    pub(crate) operator: Arc<Operator>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Configs that everybody sees.
    #[must_use]
    pub fn len(&self) -> usize {
        self.namespaces.counts().values().sum()
    }

    /// Whether there is no config that everybody sees.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.namespaces.counts().is_empty()
    }

    /// Log index of the last command.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// A hash over every command so far and its log index. Members that applied the same commands
    /// agree on it.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        self.state_hash
    }

    /// The config under a key, regardless of gray versions. `namespace` is canonical text, see
    /// [`nacolet_model::Namespace::canonical`].
    #[must_use]
    pub fn get(&self, namespace: &str, group: &str, data_id: &str) -> Option<&Config> {
        self.slot(namespace, group, data_id)?.config.as_ref()
    }

    /// What `caller` sees under a key: a gray version made for it, else the config.
    #[must_use]
    pub fn view<'a>(
        &'a self,
        namespace: &str,
        group: &str,
        data_id: &str,
        caller: &Caller<'_>,
    ) -> Option<View<'a>> {
        self.slot(namespace, group, data_id)?.view(caller)
    }

    /// What `caller` sees under a key that is joined already.
    pub(crate) fn view_of(&self, key: &KeyText, caller: &Caller<'_>) -> Option<View<'_>> {
        self.slots.get(key)?.view(caller)
    }

    /// The beta version under a key.
    #[must_use]
    pub fn beta(&self, namespace: &str, group: &str, data_id: &str) -> Option<&GrayVersion> {
        self.slot(namespace, group, data_id)?.gray(&GrayName::Beta)
    }

    /// One gray version under a key.
    #[must_use]
    pub fn gray(
        &self,
        namespace: &str,
        group: &str,
        data_id: &str,
        name: &GrayName,
    ) -> Option<&GrayVersion> {
        self.slot(namespace, group, data_id)?.gray(name)
    }

    /// All gray versions under a key, in the order of precedence.
    #[must_use]
    pub fn grays(&self, namespace: &str, group: &str, data_id: &str) -> &[GrayVersion] {
        self.slot(namespace, group, data_id).map_or(&[], Slot::grays)
    }

    /// The config with this id. Looks at every config: ids are for people's tools, not for clients.
    #[must_use]
    pub fn by_id(&self, id: u64) -> Option<(KeyRef<'_>, &Config)> {
        self.configs().find(|(_, config)| config.id == id)
    }

    /// The configs with these ids, in the order of their keys, in one look at every config.
    #[must_use]
    pub fn by_ids(&self, ids: &BTreeSet<u64>) -> Vec<(KeyRef<'_>, &Config)> {
        self.configs().filter(|(_, config)| ids.contains(&config.id)).collect()
    }

    /// Every config of every namespace, in the order of keys.
    pub fn configs(&self) -> impl Iterator<Item = (KeyRef<'_>, &Config)> {
        self.slots.iter().filter_map(|(key, slot)| Some((key.parts(), slot.config.as_ref()?)))
    }

    /// The configs of one namespace, in the order of keys.
    pub fn keys(&self, namespace: &str) -> impl Iterator<Item = (KeyRef<'_>, &Config)> {
        self.slots_of(namespace)
            .filter_map(|(key, slot)| Some((key.parts(), slot.config.as_ref()?)))
    }

    /// One page of the configs that `query` asks for, in the order of keys.
    #[must_use]
    pub fn search(&self, query: &Search<'_>) -> Page<(KeyRef<'_>, &Config)> {
        let exact = query.mode == SearchMode::Accurate
            && !query.data_id.is_empty()
            && !query.group.is_empty();
        if exact {
            let one = Probe::new(query.namespace, query.group, query.data_id)
                .and_then(|probe| self.slots.get_key_value(probe.as_str()))
                .and_then(|(key, slot)| Some((key.parts(), slot.config.as_ref()?)))
                .filter(|(key, config)| query.matches(*key, config));
            return Page::of(one.into_iter(), query.page_no, query.page_size, PAGE_MAX);
        }
        let all = self.keys(query.namespace).filter(|(key, config)| query.matches(*key, config));
        Page::of(all, query.page_no, query.page_size, PAGE_MAX)
    }

    /// One page of a key's past, newest first. The past of a removed config stays for a while.
    #[must_use]
    pub fn history(
        &self,
        namespace: &str,
        group: &str,
        data_id: &str,
        page_no: usize,
        page_size: usize,
    ) -> Page<&HistoryItem> {
        let newest = self.slot(namespace, group, data_id).map_or(0, |slot| slot.newest);
        let items = self.history.chain(newest).map(|item| &**item);
        Page::of(items, page_no, page_size, limits::HISTORY_PAGE_MAX)
    }

    /// The history item with this id.
    #[must_use]
    pub fn history_item(&self, id: u64) -> Option<&HistoryItem> {
        self.history.get(id).map(|item| &**item)
    }

    /// Who published the content that an item holds: of an insert whoever made the item, else
    /// whoever made the item before it, as long as that is kept.
    #[must_use]
    pub fn publisher_of<'s>(&'s self, item: &'s HistoryItem) -> Option<&'s Operator> {
        if item.op == HistoryOp::Insert {
            return Some(&item.operator);
        }
        let mut older = self.history.chain(item.previous);
        older.find(|older| older.gray == item.gray).map(|older| &*older.operator)
    }

    /// What the config with this **config** id held before its last write: the newest item of an
    /// update (Nacos `/history/previous`).
    #[must_use]
    pub fn history_previous(&self, id: u64) -> Option<&HistoryItem> {
        let (key, _) = self.by_id(id)?;
        let newest = self.slot(key.namespace, key.group, key.data_id)?.newest;
        let is_old = |item: &&HistoryItem| item.op != HistoryOp::Insert && item.gray.is_none();
        self.history.chain(newest).map(|item| &**item).take_while(|item| item.id > id).find(is_old)
    }

    /// Bytes of all contents that somebody can read, gray versions included.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that configs take in all, and those that their past takes.
    #[must_use]
    pub fn weight(&self) -> (usize, usize) {
        (self.weight, self.history.weight())
    }

    /// Bytes that configs and their past may take, where a member bounds them.
    #[must_use]
    pub fn room(&self) -> Option<u64> {
        self.rooms.least()
    }

    /// What each member has stated of its room.
    pub fn rooms(&self) -> impl Iterator<Item = (NodeId, u64)> {
        self.rooms.stated().iter().map(|(member, bytes)| (*member, *bytes))
    }

    /// Bytes that the past may take now.
    pub(crate) fn past_max(&self) -> usize {
        room::past_max(self.room(), self.weight)
    }

    /// History items of all keys.
    #[must_use]
    pub fn history_len(&self) -> usize {
        self.history.len()
    }

    /// The default namespace, then the created ones by id.
    pub fn namespaces(&self) -> impl Iterator<Item = NamespaceView<'_>> {
        self.namespaces.views()
    }

    /// One namespace by its canonical id, if it is the default one or was created.
    #[must_use]
    pub fn namespace(&self, id: &str) -> Option<NamespaceView<'_>> {
        self.namespaces().find(|namespace| namespace.id == id)
    }

    fn slot(&self, namespace: &str, group: &str, data_id: &str) -> Option<&Slot> {
        let probe = Probe::new(namespace, group, data_id)?;
        self.slots.get(probe.as_str()).map(|slot| &**slot)
    }

    fn slots_of(&self, namespace: &str) -> impl Iterator<Item = (&KeyText, &Arc<Slot>)> {
        let prefix = Probe::of_namespace(namespace);
        let range = prefix.map(|prefix| {
            let bounds = (Bound::Included(prefix.as_str()), Bound::Unbounded);
            self.slots.range::<str, _>(bounds)
        });
        range.into_iter().flatten().take_while(move |(key, _)| key.is_in(namespace))
    }

    /// The configs of one namespace, or of all, from a key on.
    pub(crate) fn behind<'s>(
        &'s self,
        namespace: Option<&'s str>,
        after: Bound<&KeyText>,
    ) -> impl Iterator<Item = (&'s KeyText, &'s Config)> {
        let prefix = namespace.map(Probe::of_namespace);
        let range = match (&prefix, after) {
            // No config has a namespace that is none.
            (Some(None), _) => None,
            (Some(Some(prefix)), Bound::Unbounded) => {
                let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
                Some(self.slots.range::<str, _>(from))
            }
            (_, after) => Some(self.slots.range::<KeyText, _>((after, Bound::Unbounded))),
        };
        let all = range.into_iter().flatten();
        all.take_while(move |(key, _)| namespace.is_none_or(|namespace| key.is_in(namespace)))
            .filter_map(|(key, slot)| Some((key, slot.config.as_ref()?)))
    }

    /// Panics unless the state is consistent. For tests: it looks at everything.
    ///
    /// # Panics
    /// When a count, a bound or a chain is wrong.
    pub fn invariants(&self) {
        self.history.invariants();
        let mut counts: BTreeMap<Box<str>, usize> = BTreeMap::new();
        let mut items = 0;
        for (key, slot) in &self.slots {
            let KeyRef { namespace, group, data_id } = key.parts();
            assert!(!namespace.is_empty() && !group.is_empty() && !data_id.is_empty());
            if let Some(config) = &slot.config {
                *counts.entry(namespace.into()).or_default() += 1;
                assert_eq!(config.md5, Md5::of(&config.content));
                assert!(config.id <= config.revision && config.revision <= self.applied);
                assert!(config.labels.as_ref().is_none_or(|labels| labels.config_type.is_none()));
            }
            let grays = slot.grays();
            assert!(grays.len() <= limits::GRAY_VERSIONS_MAX);
            assert!(slot.grays.is_none() || !grays.is_empty());
            assert!(grays.is_sorted_by_key(|version| version.gray.rank()));
            let chain: Vec<_> = self.history.chain(slot.newest).collect();
            assert!(chain.len() <= limits::HISTORY_PER_CONFIG_MAX);
            assert!(chain.iter().all(|item| item.key == *key && item.id <= self.applied));
            assert!(slot.is_live() || !chain.is_empty());
            slot.check_payers(&chain);
            items += chain.len();
        }
        assert_eq!(items, self.history.len());
        assert_eq!(&counts, self.namespaces.counts());
        assert_eq!(self.live, self.slots.values().filter(|slot| slot.is_live()).count());
        assert!(self.live <= limits::CONFIGS_MAX);
        assert_eq!(self.bytes, self.slots.values().map(|slot| slot.bytes()).sum::<usize>());
        assert!(self.bytes <= limits::CONTENTS_BYTES_MAX);
        assert_eq!(self.weight, self.slots.iter().map(|(key, slot)| slot.weight(key)).sum());
        assert!(self.history.weight() <= self.past_max());
        assert!(self.rooms.stated().len() <= limits::MEMBERS_MAX);
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("applied", &self.applied)
            .field("configs", &self.len())
            .field("content_bytes", &self.bytes)
            .field("history_items", &self.history.len())
            .finish_non_exhaustive()
    }
}
