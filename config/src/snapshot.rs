//! The whole state out, for a Raft snapshot: a capture that no longer needs the store, in chunks of
//! bounded size. `load.rs` reads them.
//!
//! A chunk is a header and records (postcard). A key's records follow each other: the key, the
//! config, its gray versions, its history from the newest item to the oldest. A content that a key
//! holds several times is written once and shared again when it is read, or a restart would
//! multiply it. The chunks carry no checksum: files and frames have their own.
//!
//! A file and wire format: append variants, count up [`VERSION`] for anything else. Golden bytes
//! are in `tests/suite/formats.rs`.

use alloc::borrow::Cow;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::{self, Vec};

use nacolet_model::{Namespace, NodeId, WallTime, limits};
use serde::{Deserialize, Serialize};

use crate::command::{ConfigType, Labels, Operator};
use crate::entry::{Config, Slot};
use crate::gray::GrayVersion;
use crate::history::{HistoryItem, HistoryOp};
use crate::key::{KeyRef, KeyText};
use crate::md5::Md5;
use crate::namespace::NamespaceInfo;
use crate::rule::{Gray, GrayName};
use crate::store::Store;

/// Version of the format. A loader reads its own and no other.
pub(crate) const VERSION: u8 = 1;

/// What every chunk begins with.
#[derive(Serialize, Deserialize)]
pub(crate) struct ChunkHeader {
    pub(crate) version: u8,
    /// Position among the chunks, from 0.
    pub(crate) number: u32,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum ChunkRecord<'a> {
    /// The first one.
    Head { applied: u64, state_hash: u64, slots: u64, items: u64 },
    /// A created namespace.
    Namespace { id: &'a str, info: Cow<'a, NamespaceInfo> },
    /// What follows belongs to this key.
    Key { namespace: &'a str, group: &'a str, data_id: &'a str },
    /// The config itself.
    Config {
        id: u64,
        revision: u64,
        created: WallTime,
        #[serde(borrow)]
        version: Version<'a>,
    },
    /// A gray version.
    Gray {
        id: u64,
        created: WallTime,
        gray: Cow<'a, Gray>,
        #[serde(borrow)]
        version: Version<'a>,
    },
    /// A history item.
    History {
        id: u64,
        op: HistoryOp,
        gray: Option<Cow<'a, GrayName>>,
        pays: bool,
        #[serde(borrow)]
        version: Version<'a>,
    },
    /// The last one.
    End,
    /// What a member has stated of its room.
    Room { member: NodeId, bytes: u64 },
}

/// What a config, a gray version and a history item have in common.
#[derive(Serialize, Deserialize)]
pub(crate) struct Version<'a> {
    pub(crate) at: WallTime,
    pub(crate) config_type: Option<ConfigType>,
    pub(crate) labels: Option<Cow<'a, Labels>>,
    /// `None` for the operator of the version before.
    pub(crate) operator: Option<Cow<'a, Operator>>,
    #[serde(borrow)]
    pub(crate) content: ChunkContent<'a>,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum ChunkContent<'a> {
    /// The text itself.
    Inline { md5: Md5, text: &'a str },
    /// The n-th inline text of this key.
    Shared(u32),
}

/// A record to be written: owns or shares all it needs.
enum Piece {
    Head,
    Namespace(Namespace, NamespaceInfo),
    Room(NodeId, u64),
    Key(KeyText),
    Config(Arc<Slot>),
    Gray(Arc<Slot>, usize),
    History(Arc<HistoryItem>),
    End,
}

/// The state at one log index, to be written out chunk by chunk. Holds references to contents, no
/// copies, and lets go of each as it is written.
pub struct Capture {
    applied: u64,
    state_hash: u64,
    slot_count: u64,
    slots: vec::IntoIter<(KeyText, Arc<Slot>)>,
    items: vec::IntoIter<Arc<HistoryItem>>,
    /// Records that come next.
    pieces: VecDeque<Piece>,
    /// Texts of the current key.
    contents: Vec<Arc<str>>,
    operator: Arc<Operator>,
    /// A record that did not fit the chunk before.
    carried: Option<Vec<u8>>,
    chunks: u32,
}

impl Store {
    /// The state as it is now, to be written out while the store goes on changing. Contents are
    /// shared, not copied.
    #[must_use]
    pub fn capture(&self) -> Capture {
        Capture::new(self)
    }
}

impl Capture {
    fn new(store: &Store) -> Self {
        let slots: Vec<_> =
            store.slots.iter().map(|(key, slot)| (key.clone(), slot.clone())).collect();
        let chain = |slot: &Arc<Slot>| store.history.chain(slot.newest).cloned();
        let items: Vec<_> = store.slots.values().flat_map(chain).collect();
        let namespaces = store.namespaces.custom().iter();
        let namespaces = namespaces.map(|(id, info)| Piece::Namespace(id.clone(), info.clone()));
        let mut pieces = VecDeque::from([Piece::Head]);
        pieces.extend(namespaces);
        pieces.extend(store.rooms().map(|(member, bytes)| Piece::Room(member, bytes)));
        if slots.is_empty() {
            pieces.push_back(Piece::End);
        }
        Self {
            applied: store.applied,
            state_hash: store.state_hash,
            slot_count: slots.len() as u64,
            slots: slots.into_iter(),
            items: items.into_iter(),
            pieces,
            contents: Vec::new(),
            operator: Arc::default(),
            carried: None,
            chunks: 0,
        }
    }

    /// Log index of the state.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The next chunk, `None` after the last. A chunk has at most
    /// [`limits::SNAPSHOT_CHUNK_BYTES_MAX`] bytes, unless a single content is larger.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        let first = self.carried.take().or_else(|| self.next_record())?;
        let mut chunk = encode(&ChunkHeader { version: VERSION, number: self.chunks });
        chunk.extend(first);
        while let Some(record) = self.next_record() {
            if chunk.len() + record.len() > limits::SNAPSHOT_CHUNK_BYTES_MAX {
                self.carried = Some(record);
                break;
            }
            chunk.extend(record);
        }
        self.chunks += 1;
        Some(chunk)
    }

    fn next_record(&mut self) -> Option<Vec<u8>> {
        if self.pieces.is_empty() {
            self.next_slot()?;
        }
        let piece = self.pieces.pop_front()?;
        let record = match &piece {
            Piece::Head => ChunkRecord::Head {
                applied: self.applied,
                state_hash: self.state_hash,
                slots: self.slot_count,
                items: self.items.len() as u64,
            },
            Piece::Namespace(id, info) => {
                ChunkRecord::Namespace { id: id.as_str(), info: Cow::Borrowed(info) }
            }
            Piece::Room(member, bytes) => ChunkRecord::Room { member: *member, bytes: *bytes },
            Piece::Key(key) => {
                self.contents.clear();
                let KeyRef { namespace, group, data_id } = key.parts();
                ChunkRecord::Key { namespace, group, data_id }
            }
            Piece::Config(slot) => self.config(slot.config.as_ref()?),
            Piece::Gray(slot, position) => self.gray(slot.grays().get(*position)?),
            Piece::History(item) => self.history(item),
            Piece::End => ChunkRecord::End,
        };
        Some(encode(&record))
    }

    /// Queues the records of the next key, and the last record after the last key.
    fn next_slot(&mut self) -> Option<()> {
        let (key, slot) = self.slots.next()?;
        self.pieces.push_back(Piece::Key(key.clone()));
        if slot.config.is_some() {
            self.pieces.push_back(Piece::Config(slot.clone()));
        }
        let grays = 0..slot.grays().len();
        self.pieces.extend(grays.map(|position| Piece::Gray(slot.clone(), position)));
        while self.items.as_slice().first().is_some_and(|item| item.key == key) {
            self.pieces.extend(self.items.next().map(Piece::History));
        }
        if self.slots.len() == 0 {
            self.pieces.push_back(Piece::End);
        }
        Some(())
    }

    fn config<'a>(&mut self, config: &'a Config) -> ChunkRecord<'a> {
        let content = self.content(&config.content, config.md5);
        ChunkRecord::Config {
            id: config.id,
            revision: config.revision,
            created: config.created,
            version: Version {
                at: config.modified,
                config_type: config.config_type,
                labels: config.labels.as_deref().map(Cow::Borrowed),
                operator: self.operator(&config.operator),
                content,
            },
        }
    }

    fn gray<'a>(&mut self, gray: &'a GrayVersion) -> ChunkRecord<'a> {
        let content = self.content(&gray.content, gray.md5);
        ChunkRecord::Gray {
            id: gray.id,
            created: gray.created,
            gray: Cow::Borrowed(&gray.gray),
            version: Version {
                at: gray.modified,
                config_type: gray.config_type,
                labels: gray.labels.as_deref().map(Cow::Borrowed),
                operator: self.operator(&gray.operator),
                content,
            },
        }
    }

    fn history<'a>(&mut self, item: &'a HistoryItem) -> ChunkRecord<'a> {
        let content = self.content(&item.content, item.md5);
        ChunkRecord::History {
            id: item.id,
            op: item.op,
            gray: item.gray.as_deref().map(Cow::Borrowed),
            pays: item.pays,
            version: Version {
                at: item.at,
                config_type: item.config_type,
                labels: item.labels.as_deref().map(Cow::Borrowed),
                operator: self.operator(&item.operator),
                content,
            },
        }
    }

    fn content<'a>(&mut self, content: &'a Arc<str>, md5: Md5) -> ChunkContent<'a> {
        let known = self.contents.iter().position(|known| Arc::ptr_eq(known, content));
        if let Some(position) = known.and_then(|position| u32::try_from(position).ok()) {
            return ChunkContent::Shared(position);
        }
        self.contents.push(content.clone());
        ChunkContent::Inline { md5, text: content }
    }

    fn operator<'a>(&mut self, operator: &'a Arc<Operator>) -> Option<Cow<'a, Operator>> {
        if self.operator == *operator {
            return None;
        }
        self.operator = operator.clone();
        Some(Cow::Borrowed(&**operator))
    }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("records have only fields of known length")
}
