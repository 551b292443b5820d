//! The whole state in: a loader that takes the chunks of `snapshot.rs` in order and yields a whole
//! store or the reason why not. Bytes come from a disk or a peer, so nothing in them is believed:
//! every record must fit the ones before it.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::{ConfigKey, DataId, Group, Namespace, WallTime};

use crate::apply::shared_labels;
use crate::command::{Command, ConfigType, Labels, Operator, check_version};
use crate::entry::{Config, Slot};
use crate::gray::GrayVersion;
use crate::history::{HistoryItem, HistoryOp};
use crate::key::KeyText;
use crate::md5::Md5;
use crate::room::past_max;
use crate::rule::{Gray, GrayName};
use crate::snapshot::{ChunkContent, ChunkHeader, ChunkRecord, VERSION, Version};
use crate::store::Store;

/// Why chunks are no state. None of it is taken then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Bytes that are no record, or a record that contradicts what came before it.
    #[error("snapshot chunk {chunk} is malformed")]
    Malformed {
        /// Position of the chunk, from 0.
        chunk: u32,
    },
    /// The chunk was written by a program of another version.
    #[error("the snapshot has format {found}, this program reads format {VERSION}")]
    Version {
        /// The version it has.
        found: u8,
    },
    /// A chunk is missing or came twice.
    #[error("snapshot chunk {found} came where {expected} was due")]
    OutOfOrder {
        /// Position of the chunk that was due.
        expected: u32,
        /// Position of the chunk that came.
        found: u32,
    },
    /// The chunks end before the state is complete.
    #[error("the snapshot is incomplete")]
    Incomplete,
}

/// A record contradicts what came before it, or holds what no command can have brought.
struct Contradiction;

/// What is loaded is what can be applied, or a state that was taken would be one that cannot be
/// loaded.
fn valid<E>(checked: Result<(), E>) -> Result<(), Contradiction> {
    checked.map_err(|_invalid| Contradiction)
}

/// Takes the chunks of a [`crate::Capture`] in order and makes a [`Store`] of them. Each value is
/// checked as applying checks it; how many there are is not, so that a state written under wider
/// limits is read, and only history is cut to its bounds, as it comes: there may not be memory for
/// more.
#[derive(Default)]
pub struct Loader {
    store: Store,
    chunks: u32,
    /// Room for history that this node has.
    room: Option<u64>,
    keys: u64,
    last_key: Option<KeyText>,
    /// Numbers of keys and history items announced by the first record.
    announced: Option<(u64, u64)>,
    items: u64,
    current: Option<Current>,
    operator: Arc<Operator>,
    complete: bool,
    failed: Option<LoadError>,
}

/// The key that is being read.
struct Current {
    key: KeyText,
    slot: Slot,
    items: Vec<HistoryItem>,
    contents: Vec<(Md5, Arc<str>)>,
    labels: Option<Arc<Labels>>,
}

/// A [`Version`] taken out of its record.
struct Taken {
    at: WallTime,
    config_type: Option<ConfigType>,
    labels: Option<Arc<Labels>>,
    operator: Arc<Operator>,
    md5: Md5,
    content: Arc<str>,
}

impl Loader {
    /// Nothing is read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing is read yet, and no more of history is kept than there is room for: for a node that
    /// nobody compares with.
    #[must_use]
    pub fn within(room: u64) -> Self {
        Self { room: Some(room), ..Self::default() }
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// See [`LoadError`]. After the first error every later call fails with it too.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), LoadError> {
        let result = match self.failed {
            Some(error) => Err(error),
            None => self.read_chunk(chunk),
        };
        self.failed = result.err();
        result
    }

    /// The state.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn finish(self) -> Result<Store, LoadError> {
        match self.failed {
            Some(error) => Err(error),
            None if !self.complete => Err(LoadError::Incomplete),
            None => Ok(self.store),
        }
    }

    fn read_chunk(&mut self, chunk: &[u8]) -> Result<(), LoadError> {
        let malformed = LoadError::Malformed { chunk: self.chunks };
        // The version comes first in every format, the rest of the header need not.
        match chunk.first() {
            None => return Err(malformed),
            Some(&VERSION) => {}
            Some(&found) => return Err(LoadError::Version { found }),
        }
        let (header, mut rest) =
            postcard::take_from_bytes::<ChunkHeader>(chunk).map_err(|_error| malformed)?;
        if header.number != self.chunks {
            return Err(LoadError::OutOfOrder { expected: self.chunks, found: header.number });
        }
        while !rest.is_empty() {
            let (record, after) =
                postcard::take_from_bytes::<ChunkRecord<'_>>(rest).map_err(|_error| malformed)?;
            self.read(record).map_err(|Contradiction| malformed)?;
            rest = after;
        }
        self.chunks = self.chunks.checked_add(1).ok_or(malformed)?;
        Ok(())
    }

    fn read(&mut self, record: ChunkRecord<'_>) -> Result<(), Contradiction> {
        // The first record comes first and once, and nothing comes after the last one.
        let is_head = matches!(record, ChunkRecord::Head { .. });
        if self.complete || is_head == self.announced.is_some() {
            return Err(Contradiction);
        }
        match record {
            ChunkRecord::Head { applied, state_hash, slots, items } => {
                self.store.applied = applied;
                self.store.state_hash = state_hash;
                self.announced = Some((slots, items));
                Ok(())
            }
            ChunkRecord::Namespace { id, info } => {
                let id = Namespace::parse(id).map_err(|_error| Contradiction)?;
                valid(Command::check_namespace(&info.name, &info.desc))?;
                self.store.namespaces.restore(id, info.into_owned()).ok_or(Contradiction)
            }
            ChunkRecord::Room { member, bytes } => {
                let bytes = Some(bytes);
                valid(Command::Room { member, bytes }.check())?;
                let is_new = self.store.rooms.state(member, bytes) == Ok(true);
                if is_new && self.keys == 0 { Ok(()) } else { Err(Contradiction) }
            }
            ChunkRecord::Key { namespace, group, data_id } => {
                self.finish_key()?;
                self.begin_key(namespace, group, data_id)
            }
            ChunkRecord::Config { id, revision, created, version } => {
                self.read_config(id, revision, created, version)
            }
            ChunkRecord::Gray { id, created, gray, version } => {
                self.read_gray(id, created, gray.into_owned(), version)
            }
            ChunkRecord::History { id, op, gray, pays, version } => {
                let gray = gray.map(|gray| Box::new(gray.into_owned()));
                self.read_item(id, op, gray, pays, version)
            }
            ChunkRecord::End => {
                self.finish_key()?;
                self.complete = true;
                let read = (self.keys, self.items);
                if self.announced == Some(read) { Ok(()) } else { Err(Contradiction) }
            }
        }
    }

    fn begin_key(
        &mut self,
        namespace: &str,
        group: &str,
        data_id: &str,
    ) -> Result<(), Contradiction> {
        let key = ConfigKey {
            namespace: Namespace::parse(namespace).map_err(|_error| Contradiction)?,
            group: Group::new(group).map_err(|_error| Contradiction)?,
            data_id: DataId::new(data_id).map_err(|_error| Contradiction)?,
        };
        let key = KeyText::new((&key).into());
        if self.last_key.as_ref().is_some_and(|last| *last >= key) {
            return Err(Contradiction);
        }
        self.last_key = Some(key.clone());
        self.keys += 1;
        self.current = Some(Current {
            key,
            slot: Slot::default(),
            items: Vec::new(),
            contents: Vec::new(),
            labels: None,
        });
        Ok(())
    }

    fn read_config(
        &mut self,
        id: u64,
        revision: u64,
        created: WallTime,
        version: Version<'_>,
    ) -> Result<(), Contradiction> {
        let applied = self.store.applied;
        let taken = self.take(version)?;
        let current = self.current.as_mut().ok_or(Contradiction)?;
        if current.slot.config.is_some() || id > revision || revision > applied {
            return Err(Contradiction);
        }
        let Taken { at, config_type, labels, operator, md5, content } = taken;
        current.slot.config = Some(Config {
            id,
            content,
            md5,
            operator,
            created,
            modified: at,
            revision,
            config_type,
            labels,
        });
        Ok(())
    }

    fn read_gray(
        &mut self,
        id: u64,
        created: WallTime,
        gray: Gray,
        version: Version<'_>,
    ) -> Result<(), Contradiction> {
        valid(gray.check())?;
        let Taken { at, config_type, labels, operator, md5, content } = self.take(version)?;
        let slot = &mut self.current.as_mut().ok_or(Contradiction)?.slot;
        if slot.gray(&gray.name()).is_some() || id > self.store.applied {
            return Err(Contradiction);
        }
        slot.grays.get_or_insert_default().put(GrayVersion {
            gray,
            id,
            content,
            md5,
            operator,
            created,
            modified: at,
            labels,
            config_type,
        });
        Ok(())
    }

    fn read_item(
        &mut self,
        id: u64,
        op: HistoryOp,
        gray: Option<Box<GrayName>>,
        pays: bool,
        version: Version<'_>,
    ) -> Result<(), Contradiction> {
        valid(gray.as_deref().map_or(Ok(()), GrayName::check))?;
        let Taken { at, config_type, labels, operator, md5, content } = self.take(version)?;
        let current = self.current.as_mut().ok_or(Contradiction)?;
        let limit = current.items.last().map_or(self.store.applied, |newer| newer.id - 1);
        if id == 0 || id > limit || self.store.history.get(id).is_some() {
            return Err(Contradiction);
        }
        if let Some(newer) = current.items.last_mut() {
            newer.previous = id;
        }
        let key = current.key.clone();
        let previous = 0;
        current.items.push(HistoryItem {
            id,
            op,
            content,
            md5,
            operator,
            at,
            config_type,
            key,
            labels,
            gray,
            previous,
            pays,
        });
        Ok(())
    }

    fn take(&mut self, version: Version<'_>) -> Result<Taken, Contradiction> {
        let current = self.current.as_mut().ok_or(Contradiction)?;
        if let Some(operator) = version.operator {
            valid(operator.check())?;
            self.operator = Arc::new(operator.into_owned());
        }
        let labels = version.labels.map(Cow::into_owned).unwrap_or_default();
        valid(labels.check())?;
        let labels = shared_labels(labels, current.labels.as_ref());
        current.labels.clone_from(&labels);
        let (md5, content) = match version.content {
            ChunkContent::Inline { md5, text } => {
                valid(check_version(text, md5))?;
                current.contents.push((md5, text.into()));
                current.contents.last()
            }
            ChunkContent::Shared(position) => current.contents.get(position as usize),
        }
        .cloned()
        .ok_or(Contradiction)?;
        let operator = self.operator.clone();
        let Version { at, config_type, .. } = version;
        Ok(Taken { at, config_type, labels, operator, md5, content })
    }

    /// Stores the key that is complete now.
    fn finish_key(&mut self) -> Result<(), Contradiction> {
        let Some(Current { key, mut slot, items, .. }) = self.current.take() else {
            return Ok(());
        };
        if !slot.is_live() && items.is_empty() {
            return Err(Contradiction);
        }
        slot.newest = items.first().map_or(0, |item| item.id);
        self.items += items.len() as u64;
        self.store.put_slot(key, slot);
        items.into_iter().for_each(|item| self.store.history.insert(item));
        self.store.trim_history_to(past_max(self.room, self.store.weight));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn version<'a>(content: ChunkContent<'a>) -> Version<'a> {
        Version { at: WallTime(0), config_type: None, labels: None, operator: None, content }
    }

    fn inline<'a>() -> Version<'a> {
        version(ChunkContent::Inline { md5: Md5::of("x"), text: "x" })
    }

    fn head<'a>(slots: u64, items: u64) -> ChunkRecord<'a> {
        ChunkRecord::Head { applied: 9, state_hash: 0, slots, items }
    }

    fn key<'a>(data_id: &'a str) -> ChunkRecord<'a> {
        ChunkRecord::Key { namespace: "n", group: "G", data_id }
    }

    fn config<'a>(id: u64, revision: u64) -> ChunkRecord<'a> {
        ChunkRecord::Config { id, revision, created: WallTime(0), version: inline() }
    }

    fn item<'a>(id: u64, version: Version<'a>) -> ChunkRecord<'a> {
        ChunkRecord::History { id, op: HistoryOp::Update, gray: None, pays: true, version }
    }

    fn gray<'a>() -> ChunkRecord<'a> {
        let gray = Cow::Owned(Gray::Tag("t".into()));
        ChunkRecord::Gray { id: 1, created: WallTime(0), gray, version: inline() }
    }

    fn namespace<'a>(id: &'a str) -> ChunkRecord<'a> {
        let at = WallTime(0);
        let info = crate::namespace::NamespaceInfo {
            name: "n".into(),
            desc: "".into(),
            created: at,
            modified: at,
        };
        ChunkRecord::Namespace { id, info: Cow::Owned(info) }
    }

    fn check(name: &str, records: Vec<ChunkRecord<'_>>, expected: Option<LoadError>) {
        let header = ChunkHeader { version: VERSION, number: 0 };
        let mut chunk = postcard::to_allocvec(&header).expect("encodes");
        for record in &records {
            chunk.extend(postcard::to_allocvec(record).expect("encodes"));
        }
        let mut loader = Loader::new();
        let outcome = loader.push(&chunk).and_then(|()| loader.finish());
        assert_eq!(outcome.err(), expected, "{name}");
    }

    #[test]
    fn a_record_that_contradicts_another_is_refused() {
        let whole = vec![head(1, 2), key("a"), config(1, 9), item(5, inline()), item(2, inline())];
        let whole = whole.into_iter().chain([ChunkRecord::End]).collect();
        check("a whole state", whole, None);
        let wrong = |name: &str, records: Vec<ChunkRecord<'_>>| {
            check(name, records, Some(LoadError::Malformed { chunk: 0 }));
        };
        wrong("no head", vec![key("a"), config(1, 1), ChunkRecord::End]);
        wrong("two heads", vec![head(0, 0), head(0, 0), ChunkRecord::End]);
        wrong("two ends", vec![head(0, 0), ChunkRecord::End, ChunkRecord::End]);
        wrong("fewer keys", vec![head(2, 0), key("a"), config(1, 1), ChunkRecord::End]);
        wrong("more items", vec![head(1, 0), key("a"), item(1, inline()), ChunkRecord::End]);
        wrong("an empty key", vec![head(1, 0), key("a"), ChunkRecord::End]);
        wrong("a bad key", vec![head(1, 0), key("a b"), config(1, 1), ChunkRecord::End]);
        let twice =
            vec![head(1, 0), key("a"), config(1, 1), key("a"), config(1, 1), ChunkRecord::End];
        wrong("a key twice", twice);
        let down =
            vec![head(2, 0), key("b"), config(1, 1), key("a"), config(1, 1), ChunkRecord::End];
        wrong("keys out of order", down);
        wrong(
            "two configs",
            vec![head(1, 0), key("a"), config(1, 1), config(1, 1), ChunkRecord::End],
        );
        wrong("no key", vec![head(0, 0), config(1, 1), ChunkRecord::End]);
        wrong("from the future", vec![head(1, 0), key("a"), config(1, 10), ChunkRecord::End]);
        wrong("before its creation", vec![head(1, 0), key("a"), config(3, 2), ChunkRecord::End]);
        wrong("a gray twice", vec![head(1, 0), key("a"), gray(), gray(), ChunkRecord::End]);
        let up = vec![head(1, 2), key("a"), item(2, inline()), item(5, inline()), ChunkRecord::End];
        wrong("items out of order", up);
        let (one, other) = (item(2, inline()), item(2, inline()));
        wrong("an item twice", vec![head(2, 2), key("a"), one, key("b"), other, ChunkRecord::End]);
        wrong("item zero", vec![head(1, 1), key("a"), item(0, inline()), ChunkRecord::End]);
        let shared = item(2, version(ChunkContent::Shared(0)));
        wrong("nothing to share", vec![head(1, 1), key("a"), shared, ChunkRecord::End]);
        wrong(
            "a namespace twice",
            vec![head(0, 0), namespace("d"), namespace("d"), ChunkRecord::End],
        );
        wrong("the default namespace", vec![head(0, 0), namespace("public"), ChunkRecord::End]);
        check("no end", vec![head(0, 0)], Some(LoadError::Incomplete));
    }
}
