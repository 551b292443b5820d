//! The words of the log: terms, indexes, entries, membership. Everything here is a wire and a disk
//! format in postcard: variants and fields are appended, never reordered.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;

use nacolet_model::{NodeId, limits};
use serde::{Deserialize, Serialize};

/// Collects into a tree one by one: `collect` sorts first, and each kind of it would bring 4 KB of
/// sorting to a microcontroller for a handful of members that come in order anyway.
pub(crate) fn gather<C: Default + Extend<T>, T>(items: impl IntoIterator<Item = T>) -> C {
    let mut gathered = C::default();
    gathered.extend(items);
    gathered
}

/// Decodes a command, a state or a record in postcard and takes nothing but the whole of `bytes`:
/// what a newer version appended must not be applied, or sent on, without it.
#[must_use]
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        Ok(_) | Err(_) => None,
    }
}

/// Election term (Raft paper §5.1).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Term(pub u64);

impl Term {
    /// The last one. One more than it is still a number, but no term.
    pub const MAX: Self = Self(limits::RAFT_TERM_MAX);

    /// The term that follows; none behind the last.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        self.after(1)
    }

    /// The term that comes so many later; none behind the last.
    #[must_use]
    pub const fn after(self, terms: u64) -> Option<Self> {
        match self.0.checked_add(terms) {
            Some(later) if later <= Self::MAX.0 => Some(Self(later)),
            Some(_) | None => None,
        }
    }

    /// Whether there is such a term: what comes from a peer or a disk may be any number.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 <= Self::MAX.0
    }
}

/// Position in the log; the first entry has index 1, 0 means "before the log".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// The position before the first entry.
    pub const ZERO: Self = Self(0);
    /// The last one. One more than it is still a number, but no position of an entry.
    pub const MAX: Self = Self(limits::RAFT_INDEX_MAX);

    /// The position right behind this one, where ranges begin and end. It is one more for every
    /// valid position; where an entry is to be put there, see [`Self::free`].
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The position for a new entry behind this one; none behind the last.
    #[must_use]
    pub const fn free(self) -> Option<Self> {
        if self.0 < Self::MAX.0 { Some(self.next()) } else { None }
    }

    /// Whether there is such a position: what comes from a peer or a disk may be any number.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 <= Self::MAX.0
    }

    /// The position right before this one; the position before the log has none and stays.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// How many positions lie behind `earlier` up to this one; zero when there are none.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Term and index of one entry. Equal ids mean equal entries and equal prefixes (log matching).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogId {
    /// Compared first: a later term wins over a longer log.
    pub term: Term,
    /// Position of the entry.
    pub index: LogIndex,
}

impl LogId {
    /// Whether an entry can have it.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.term.is_valid() && self.index.is_valid()
    }
}

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it stands.
    pub id: LogId,
    /// What it says.
    pub payload: EntryPayload,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryPayload {
    /// The entry with which a leader opens its term.
    Blank,
    /// An application command: encoded once, opaque here.
    Command(#[serde(with = "command_bytes")] Arc<[u8]>),
    /// A membership that takes effect when it is applied. Boxed, so that the common entry is small.
    Membership(Box<Membership>),
}

impl Entry {
    /// Whether there can be such an entry in a log: it has a place, its command is no larger than
    /// one may be, its membership is one.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let payload = match &self.payload {
            EntryPayload::Blank => true,
            EntryPayload::Command(bytes) => bytes.len() <= limits::COMMAND_BYTES_MAX,
            EntryPayload::Membership(membership) => membership.check().is_ok(),
        };
        payload && self.id.is_valid() && self.id.index > LogIndex::ZERO
    }
}

/// Command bytes as one byte string: serde would walk a shared slice element by element.
mod command_bytes {
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use core::fmt;

    use serde::de::{Deserializer, Error, SeqAccess, Visitor};
    use serde::ser::Serializer;

    /// Room set aside for a sequence whose length a peer announces, bytes; beyond it grows as read.
    const SEQUENCE_BYTES_HINT_MAX: usize = 4 << 10;

    pub(super) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<[u8]>, D::Error> {
        from.deserialize_bytes(CommandVisitor)
    }

    struct CommandVisitor;

    impl<'de> Visitor<'de> for CommandVisitor {
        type Value = Arc<[u8]>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("command bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            Ok(Arc::from(bytes))
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Self::Value, E> {
            Ok(Arc::from(bytes))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let room = seq.size_hint().unwrap_or(0).min(SEQUENCE_BYTES_HINT_MAX);
            let mut bytes = Vec::with_capacity(room);
            while let Some(byte) = seq.next_element::<u8>()? {
                bytes.push(byte);
            }
            Ok(Arc::from(bytes))
        }
    }
}

/// Who votes and who only listens. `outgoing` is not empty while a joint change is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Voters of the new (or only) configuration.
    pub voters: BTreeSet<NodeId>,
    /// Voters of the configuration being left; empty outside a joint change.
    pub outgoing: BTreeSet<NodeId>,
    /// Members that receive the log and do not vote.
    pub learners: BTreeSet<NodeId>,
    /// Voters of the outgoing configuration that become learners when the joint change is left.
    pub learners_next: BTreeSet<NodeId>,
    /// Address of every member, for the network; Raft itself never reads it.
    pub addresses: BTreeMap<NodeId, String>,
}

/// What must survive a crash beside the log. The commit index is a hint that shortens a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// Latest term seen.
    pub term: Term,
    /// Whom this node voted for in `term`.
    pub voted_for: Option<NodeId>,
    /// Highest index known to be committed when this was written.
    pub commit_index: LogIndex,
}

/// What a Raft snapshot stands for. It carries the membership in force at `last`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// Last entry the snapshot contains.
    pub last: LogId,
    /// Membership in force at `last`.
    pub membership: Membership,
    /// Distinguishes two snapshots that end at the same entry.
    pub id: u64,
}

impl SnapshotMeta {
    /// Whether an honest leader of `term` can have such a snapshot.
    #[must_use]
    pub fn is_possible(&self, term: Term) -> bool {
        self.last.is_valid()
            && self.last.index > LogIndex::ZERO
            && self.last.term <= term
            && self.membership.check().is_ok()
    }
}

/// One change of membership asked for by an operator; it always goes through the joint path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MembershipChange {
    /// Adds a learner or changes the address of a member.
    AddLearner {
        /// Its identity.
        node: NodeId,
        /// Where it listens for peers.
        address: String,
    },
    /// Makes voters of these learners; refused until each has caught up.
    Promote(BTreeSet<NodeId>),
    /// Makes exactly these the voters: members that are left out become learners.
    SetVoters(BTreeSet<NodeId>),
    /// Removes members of either kind.
    Remove(BTreeSet<NodeId>),
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    fn entry(payload: EntryPayload) -> Entry {
        Entry { id: LogId { term: Term(2), index: LogIndex(300) }, payload }
    }

    /// The format is fixed: these bytes are on disks and on wires.
    fn check(payload: EntryPayload, expected: &[u8]) {
        let entry = entry(payload);
        let bytes: Vec<u8> = postcard::to_allocvec(&entry).unwrap();
        assert_eq!(bytes, expected);
        assert_eq!(postcard::from_bytes::<Entry>(&bytes).unwrap(), entry);
    }

    #[test]
    fn entries_have_golden_bytes() {
        check(EntryPayload::Blank, &[2, 172, 2, 0]);
        check(EntryPayload::Command(Arc::from([7, 255, 0])), &[2, 172, 2, 1, 3, 7, 255, 0]);
        let membership = Membership {
            voters: BTreeSet::from([NodeId(1)]),
            outgoing: BTreeSet::from([NodeId(2)]),
            learners: BTreeSet::from([NodeId(3)]),
            learners_next: BTreeSet::new(),
            addresses: BTreeMap::from([(NodeId(1), "a".into())]),
        };
        let golden = vec![2, 172, 2, 2, 1, 1, 1, 2, 1, 3, 0, 1, 1, 1, b'a'];
        check(EntryPayload::Membership(Box::new(membership)), &golden);
    }

    #[test]
    fn terms_and_positions_end_before_their_type_does() {
        assert_eq!((Term(7).next(), Term(7).after(3)), (Some(Term(8)), Some(Term(10))));
        assert_eq!((Term::MAX.next(), Term(1).after(u64::MAX)), (None, None));
        assert_eq!(Term(Term::MAX.0 - 3).after(3), Some(Term::MAX));
        assert_eq!((LogIndex(7).free(), LogIndex::MAX.free()), (Some(LogIndex(8)), None));
        assert_eq!(LogIndex::MAX.next().0, LogIndex::MAX.0 + 1, "a range may end behind the last");
        for number in [0, limits::RAFT_TERM_MAX, limits::RAFT_TERM_MAX + 1, u64::MAX] {
            let (term, index) = (Term(number), LogIndex(number));
            assert_eq!(LogId { term, index }.is_valid(), number <= limits::RAFT_TERM_MAX);
        }
    }

    #[test]
    fn a_hard_state_has_golden_bytes() {
        let state =
            HardState { term: Term(5), voted_for: Some(NodeId(9)), commit_index: LogIndex(1) };
        assert_eq!(postcard::to_allocvec(&state).unwrap(), [5, 1, 9, 1]);
    }

    #[test]
    fn what_goes_on_behind_its_end_is_not_decoded() {
        assert_eq!(decode(&[5, 1, 9, 1]).map(|state: HardState| state.term), Some(Term(5)));
        assert_eq!(decode::<HardState>(&[5, 1, 9, 1, 0]), None);
        assert_eq!(decode::<HardState>(&[5, 1, 9]), None);
    }

    #[test]
    fn a_length_that_is_not_there_is_an_error_and_costs_nothing() {
        let huge = [2, 172, 2, 1, 255, 255, 255, 255, 15];
        assert!(postcard::from_bytes::<Entry>(&huge).is_err());
    }
}
