//! A log entry in the clothes that raft-engine wants.

use nacolet_raft::Entry;
use protobuf::reflect::MessageDescriptor;
use protobuf::{CodedInputStream, CodedOutputStream, ProtobufResult, UnknownFields};
use raft_engine::MessageExt;

use crate::codec::{ENTRY_HEAD_BYTES, StoredEntry};

/// A stored entry in the clothes that raft-engine wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StoredEntryMessage(pub(super) StoredEntry, UnknownFields);

/// Where the engine finds the index of an entry.
pub(super) struct StoredEntryExt;

impl MessageExt for StoredEntryExt {
    type Entry = StoredEntryMessage;

    fn index(entry: &Self::Entry) -> u64 {
        entry.0.index()
    }
}

impl StoredEntryMessage {
    /// `None` for a membership that is too large to be stored.
    pub(super) fn new(entry: &Entry) -> Option<Self> {
        Some(Self(StoredEntry::new(entry)?, UnknownFields::default()))
    }
}

impl protobuf::Clear for StoredEntryMessage {
    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Body length, head, body. Not protobuf at all: the engine only asks for a way in and a way out.
impl protobuf::Message for StoredEntryMessage {
    fn descriptor(&self) -> &'static MessageDescriptor {
        // Never asked for by the engine; any descriptor is better than a panic.
        <protobuf::well_known_types::Empty as protobuf::Message>::descriptor_static()
    }

    fn is_initialized(&self) -> bool {
        true
    }

    fn merge_from(&mut self, is: &mut CodedInputStream<'_>) -> ProtobufResult<()> {
        let bytes = is.read_raw_little_endian32()?;
        is.read(&mut self.0.head)?;
        let mut body = Vec::new();
        is.read_raw_bytes_into(bytes, &mut body)?;
        self.0.body = body.into();
        Ok(())
    }

    fn write_to_with_cached_sizes(&self, os: &mut CodedOutputStream<'_>) -> ProtobufResult<()> {
        os.write_raw_little_endian32(u32::try_from(self.0.body.len()).unwrap_or(u32::MAX))?;
        os.write_raw_bytes(&self.0.head)?;
        os.write_raw_bytes(&self.0.body)
    }

    fn compute_size(&self) -> u32 {
        u32::try_from(4 + ENTRY_HEAD_BYTES + self.0.body.len()).unwrap_or(u32::MAX)
    }

    fn get_cached_size(&self) -> u32 {
        self.compute_size()
    }

    fn get_unknown_fields(&self) -> &UnknownFields {
        &self.1
    }

    fn mut_unknown_fields(&mut self) -> &mut UnknownFields {
        &mut self.1
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn new() -> Self {
        Self::default()
    }

    fn default_instance() -> &'static Self {
        static DEFAULT: std::sync::OnceLock<StoredEntryMessage> = std::sync::OnceLock::new();
        DEFAULT.get_or_init(Self::default)
    }
}
