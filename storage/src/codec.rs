//! What lies on disk, as bytes, and back: log entries, the state record of every batch, the slots
//! of the durable end, small records. Pure functions; whatever cannot be right decodes to `None`.
//! Each format has golden bytes below: a change here needs a new version number and a way to read
//! the old.
//!
//! Checksums are CRC-32 (IEEE) as in raft-engine's own frames.

use std::sync::Arc;

use nacolet_raft::{Entry, EntryPayload, HardState, LogId, LogIndex, Term, decode};
use serde::{Deserialize, Serialize};

/// Bytes before the body of an entry: CRC, kind, term, index.
pub(crate) const ENTRY_HEAD_BYTES: usize = 4 + 1 + 8 + 8;
/// Bytes before the content of a small record: magic, version, length, CRC.
pub(crate) const SMALL_HEAD_BYTES: usize = 4 + 1 + 4 + 4;
/// Bytes of one slot of the durable end.
pub(crate) const SLOT_BYTES: usize = 4 + 8 + 4;

/// The key of the state record, the only one in the log.
pub(crate) const STATE_KEY: &[u8] = b"s";

const KIND_BLANK: u8 = 0;
const KIND_COMMAND: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;
const STATE_VERSION: u8 = 1;
const SMALL_MAGIC: &[u8; 4] = b"NCSR";
const SMALL_VERSION: u8 = 1;
const SLOT_MAGIC: &[u8; 4] = b"NCD1";

/// One entry as stored: a fixed head and a body that is shared with the entry where it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredEntry {
    pub(crate) head: [u8; ENTRY_HEAD_BYTES],
    pub(crate) body: Arc<[u8]>,
}

impl Default for StoredEntry {
    fn default() -> Self {
        Self { head: [0; ENTRY_HEAD_BYTES], body: Arc::from([]) }
    }
}

impl StoredEntry {
    /// Encodes; `None` only when a membership cannot be serialized, which its type rules out.
    pub(crate) fn new(entry: &Entry) -> Option<Self> {
        let (kind, body) = match &entry.payload {
            EntryPayload::Blank => (KIND_BLANK, Arc::from([])),
            EntryPayload::Command(command) => (KIND_COMMAND, command.clone()),
            EntryPayload::Membership(membership) => {
                (KIND_MEMBERSHIP, postcard::to_allocvec(membership).ok()?.into())
            }
        };
        let mut head = [0; ENTRY_HEAD_BYTES];
        head[4] = kind;
        head[5..13].copy_from_slice(&entry.id.term.0.to_le_bytes());
        head[13..21].copy_from_slice(&entry.id.index.0.to_le_bytes());
        let crc = entry_crc(&head, &body);
        head[..4].copy_from_slice(&crc.to_le_bytes());
        Some(Self { head, body })
    }

    /// The index it says it has.
    pub(crate) fn index(&self) -> u64 {
        u64_at(&self.head, 13).unwrap_or_default()
    }

    /// Checks and decodes.
    pub(crate) fn entry(&self) -> Option<Entry> {
        if u32_at(&self.head, 0)? != entry_crc(&self.head, &self.body) {
            return None;
        }
        let payload = match self.head[4] {
            KIND_BLANK if self.body.is_empty() => EntryPayload::Blank,
            KIND_COMMAND => EntryPayload::Command(self.body.clone()),
            KIND_MEMBERSHIP => EntryPayload::Membership(decode(&self.body)?),
            _ => return None,
        };
        let id = LogId { term: Term(u64_at(&self.head, 5)?), index: LogIndex(self.index()) };
        Some(Entry { id, payload })
    }
}

fn entry_crc(head: &[u8; ENTRY_HEAD_BYTES], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[4..]);
    crc.update(body);
    crc.finalize()
}

/// What every batch carries beside its entries, as one atomic record with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateRecord {
    /// Counts batches; consecutive, so a missing one is seen.
    pub(crate) seq: u64,
    /// Highest batch that was durable when this one was written.
    pub(crate) durable_seq: u64,
    /// Term, vote and commit hint.
    pub(crate) hard_state: HardState,
    /// Highest purged index.
    pub(crate) purged: LogIndex,
    /// Last entry of the log, or of the snapshot that replaced it.
    pub(crate) last: LogId,
}

/// Encodes with a version byte; `None` only when serialization fails, which the type rules out.
pub(crate) fn encode_state(state: &StateRecord) -> Option<Vec<u8>> {
    postcard::to_extend(state, vec![STATE_VERSION]).ok()
}

/// Decodes a state record of a known version.
pub(crate) fn decode_state(bytes: &[u8]) -> Option<StateRecord> {
    match bytes.split_first()? {
        (&STATE_VERSION, rest) => decode(rest).filter(StateRecord::is_possible),
        _ => None,
    }
}

impl StateRecord {
    /// Whether a log can get there: one more than each number in it is still a number.
    fn is_possible(&self) -> bool {
        let HardState { term, voted_for: _, commit_index } = self.hard_state;
        let indexes = [commit_index, self.purged, self.last.index];
        self.seq < u64::MAX
            && term.is_valid()
            && self.last.is_valid()
            && indexes.into_iter().all(LogIndex::is_valid)
    }
}

/// One slot of the durable end: everything up to batch `seq` is durable.
pub(crate) fn encode_slot(seq: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..4].copy_from_slice(SLOT_MAGIC);
    slot[4..12].copy_from_slice(&seq.to_le_bytes());
    let crc = crc32fast::hash(&slot[..12]);
    slot[12..].copy_from_slice(&crc.to_le_bytes());
    slot
}

/// Decodes a slot; `None` if it is torn or was never written.
pub(crate) fn decode_slot(bytes: &[u8]) -> Option<u64> {
    let slot = bytes.get(..SLOT_BYTES)?;
    (slot.starts_with(SLOT_MAGIC) && u32_at(slot, 12)? == crc32fast::hash(&slot[..12]))
        .then(|| u64_at(slot, 4))?
}

/// Frames a small record.
pub(crate) fn encode_small(content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SMALL_HEAD_BYTES + content.len());
    bytes.extend_from_slice(SMALL_MAGIC);
    bytes.push(SMALL_VERSION);
    // The caller has bounded the content far below 4 GiB.
    bytes.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
    let crc = small_crc(&bytes, content);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(content);
    bytes
}

/// The content of a framed small record.
pub(crate) fn decode_small(bytes: &[u8]) -> Option<&[u8]> {
    let (head, content) = bytes.split_at_checked(SMALL_HEAD_BYTES)?;
    let whole = head.starts_with(SMALL_MAGIC)
        && head[4] == SMALL_VERSION
        && u32_at(head, 5)? as usize == content.len()
        && u32_at(head, 9)? == small_crc(&head[..9], content);
    whole.then_some(content)
}

fn small_crc(head: &[u8], content: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(content);
    crc.finalize()
}

/// Little endian, if it is there.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Little endian, if it is there.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nacolet_model::{NodeId, Prng};
    use nacolet_raft::Membership;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn entry(payload: EntryPayload) -> Entry {
        Entry { id: LogId { term: Term(3), index: LogIndex(258) }, payload }
    }

    fn membership() -> EntryPayload {
        EntryPayload::Membership(Box::new(Membership {
            voters: [NodeId(1), NodeId(300)].into(),
            addresses: [(NodeId(1), "a:1".to_owned())].into(),
            ..Membership::default()
        }))
    }

    #[test]
    fn entries_have_the_published_form_and_come_back() {
        let payloads = [EntryPayload::Blank, EntryPayload::Command([1, 2, 3].into()), membership()];
        let published = [
            "864975040003000000000000000201000000000000",
            "92adb7d40103000000000000000201000000000000010203",
            "cb82ee8102030000000000000002010000000000000201ac02000000010103613a31",
        ];
        for (payload, published) in payloads.into_iter().zip(published) {
            let entry = entry(payload);
            let stored = StoredEntry::new(&entry).expect("encodes");
            assert_eq!(hex(&[&stored.head[..], &stored.body].concat()), published);
            assert_eq!(stored.entry(), Some(entry));
            assert_eq!(stored.index(), 258);
        }
    }

    #[test]
    fn every_flipped_bit_of_an_entry_is_seen() {
        let stored = StoredEntry::new(&entry(membership())).expect("encodes");
        for bit in 0..(ENTRY_HEAD_BYTES + stored.body.len()) * 8 {
            let (mut head, mut body) = (stored.head, stored.body.to_vec());
            let byte = match bit / 8 {
                at @ 0..ENTRY_HEAD_BYTES => &mut head[at],
                at => &mut body[at - ENTRY_HEAD_BYTES],
            };
            *byte ^= 1 << (bit % 8);
            assert_eq!(StoredEntry { head, body: body.into() }.entry(), None, "bit {bit}");
        }
    }

    #[test]
    fn the_state_record_has_the_published_form_and_comes_back() {
        let state = StateRecord {
            seq: 300,
            durable_seq: 299,
            hard_state: HardState {
                term: Term(4),
                voted_for: Some(NodeId(9)),
                commit_index: LogIndex(7),
            },
            purged: LogIndex(5),
            last: LogId { term: Term(4), index: LogIndex(8) },
        };
        let bytes = encode_state(&state).expect("encodes");
        assert_eq!(hex(&bytes), "01ac02ab0204010907050408");
        assert_eq!(decode_state(&bytes), Some(state));
        for length in 0..bytes.len() {
            assert_eq!(decode_state(&bytes[..length]), None);
        }
        assert_eq!(decode_state(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(decode_state(&[&[2], &bytes[1..]].concat()), None, "a version of the future");
    }

    #[test]
    fn slots_and_small_records_have_the_published_form() {
        assert_eq!(hex(&encode_slot(258)), "4e4344310201000000000000eda264a7");
        assert_eq!(decode_slot(&encode_slot(u64::MAX)), Some(u64::MAX));
        assert_eq!(hex(&encode_small(b"ab")), "4e435352010200000083460df26162");
        assert_eq!(decode_small(&encode_small(b"ab")), Some(&b"ab"[..]));
    }

    #[test]
    fn a_state_that_no_log_gets_to_is_none() {
        let encode = |change: fn(&mut StateRecord)| {
            let mut state = StateRecord::default();
            change(&mut state);
            encode_state(&state).expect("it encodes")
        };
        assert!(decode_state(&encode(|_| {})).is_some());
        assert!(decode_state(&encode(|state| state.last.index = LogIndex::MAX)).is_some());
        for change in [
            (|state| state.seq = u64::MAX) as fn(&mut StateRecord),
            |state| state.hard_state.term = Term(u64::MAX),
            |state| state.hard_state.commit_index = LogIndex(u64::MAX),
            |state| state.purged = LogIndex(1 << 62),
            |state| state.last.index = LogIndex(1 << 62),
            |state| state.last.term = Term(1 << 62),
        ] {
            assert_eq!(decode_state(&encode(change)), None);
        }
    }

    #[test]
    fn random_bytes_decode_to_nothing_and_never_panic() {
        let mut random = Prng::new(5);
        for _ in 0..20_000 {
            let bytes: Vec<u8> =
                (0..random.below(64)).map(|_| random.next_u64().to_le_bytes()[0]).collect();
            assert_eq!(decode_slot(&bytes), None);
            assert_eq!(decode_small(&bytes), None);
            let _ = decode_state(&bytes);
            let mut stored = StoredEntry { body: bytes.into(), ..StoredEntry::default() };
            stored.head[4] = random.next_u64().to_le_bytes()[0] % 4;
            assert_eq!(stored.entry(), None);
        }
    }
}
