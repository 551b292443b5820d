//! The log as the engine sees it: a bounded tail of entries in memory and the marks that say how
//! far the log is known to be written, durable, committed and applied. It reads nothing from disk;
//! an entry that left the tail is gone for the engine, and a follower that needs it gets a
//! snapshot.
//!
//! ```text
//!   snapshot        base      applied   handed    commit             last
//!      |  (on disk)  |  tail ... |         |         |                 |
//!   ---+-------------+-----------+---------+---------+-----------------+--->
//!                                 applied <= handed <= min(commit, durable)
//!                                 durable < unsaved_from <= last + 1
//! ```

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use nacolet_model::limits;

use crate::types::{Entry, EntryPayload, LogId, LogIndex, Membership, Term};

/// What one entry costs beside its command, bytes: the entry itself, its share of the queue's spare
/// room and the header of the shared slice.
const ENTRY_BYTES: usize = 64;

/// What holding `entry` in memory costs, bytes.
pub(super) fn entry_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Command(bytes) => ENTRY_BYTES + bytes.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => ENTRY_BYTES,
    }
}

fn is_membership(entry: &Entry) -> bool {
    matches!(entry.payload, EntryPayload::Membership(_))
}

/// The tail and its marks.
#[derive(Clone, Debug)]
pub(super) struct LogTail {
    /// The entry right before the tail; its term is still known.
    base: LogId,
    /// Consecutive entries from `base.index + 1` on.
    entries: VecDeque<Entry>,
    /// Bytes of the entries up to `applied_index`.
    applied_bytes: usize,
    /// Bytes of the entries behind `applied_index`.
    unapplied_bytes: usize,
    commit_index: LogIndex,
    applied_index: LogIndex,
    /// Handed out to be applied.
    handed_index: LogIndex,
    durable_index: LogIndex,
    /// First entry that no order to persist contains yet.
    unsaved_from: LogIndex,
    /// Where memberships stand behind `applied_index`, ascending.
    memberships: VecDeque<LogIndex>,
}

impl LogTail {
    /// A log whose `entries`, right behind `base`, are all durable and applied up to `applied`.
    pub(super) fn new(
        base: LogId,
        entries: Vec<Entry>,
        commit_index: LogIndex,
        applied: LogIndex,
    ) -> Self {
        let mut log = Self {
            base,
            entries: VecDeque::from(entries),
            applied_bytes: 0,
            unapplied_bytes: 0,
            commit_index,
            applied_index: applied,
            handed_index: applied,
            durable_index: base.index,
            unsaved_from: base.index.next(),
            memberships: VecDeque::new(),
        };
        for entry in &log.entries {
            match entry.id.index <= applied {
                true => log.applied_bytes += entry_bytes(entry),
                false => log.unapplied_bytes += entry_bytes(entry),
            }
            if is_membership(entry) && entry.id.index > applied {
                log.memberships.push_back(entry.id.index);
            }
        }
        log.durable_index = log.last().index;
        log.unsaved_from = log.last().index.next();
        log
    }

    /// Replaces everything by a snapshot that ends at `last`, which is durable and applied.
    pub(super) fn reset(&mut self, last: LogId) {
        *self = Self::new(last, Vec::new(), last.index, last.index);
    }

    pub(super) fn base(&self) -> LogId {
        self.base
    }

    /// The last entry, or the one before the tail when that is empty.
    pub(super) fn last(&self) -> LogId {
        self.entries.back().map_or(self.base, |entry| entry.id)
    }

    pub(super) fn commit_index(&self) -> LogIndex {
        self.commit_index
    }

    pub(super) fn applied_index(&self) -> LogIndex {
        self.applied_index
    }

    pub(super) fn durable_index(&self) -> LogIndex {
        self.durable_index
    }

    /// Bytes that are not applied yet.
    pub(super) fn unapplied_bytes(&self) -> usize {
        self.unapplied_bytes
    }

    /// Where `index` stands in the queue.
    fn slot(&self, index: LogIndex) -> Option<usize> {
        let slot = index.since(self.base.index).checked_sub(1)?;
        let slot = usize::try_from(slot).ok()?;
        (slot < self.entries.len()).then_some(slot)
    }

    /// The term of the entry at `index`, if it is in the tail or right before it.
    pub(super) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.slot(index).map(|slot| self.entries[slot].id.term)
    }

    /// Whether exactly this entry is in the tail or right before it.
    pub(super) fn contains(&self, id: LogId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// Whether a log that ends at `other` holds at least what this one holds (Raft paper §5.4.1).
    pub(super) fn is_up_to_date(&self, other: LogId) -> bool {
        other >= self.last()
    }

    /// The last entry at or before `index` whose term is at most `term`: nothing behind it can
    /// match a log that has `term` there. Below the tail the term is unknown and given as zero.
    pub(super) fn last_at_most(&self, index: LogIndex, term: Term) -> LogId {
        let index = index.min(self.last().index);
        let behind = self.entries.partition_point(|entry| entry.id.term <= term);
        let fits = match behind.checked_sub(1) {
            Some(slot) => self.entries[slot].id,
            None if self.base.term <= term => self.base,
            None => LogId { term: Term(0), index: self.base.index.previous() },
        };
        if fits.index <= index {
            return fits;
        }
        LogId { term: self.term_at(index).unwrap_or_default(), index }
    }

    /// Entries from `from` on: at most `entries_max`, and at most `bytes_max` unless the first
    /// alone is larger.
    pub(super) fn slice(&self, from: LogIndex, entries_max: usize, bytes_max: usize) -> Vec<Entry> {
        let Some(start) = self.slot(from) else { return Vec::new() };
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let first = bytes == 0;
            bytes += entry_bytes(entry);
            first || bytes <= bytes_max
        };
        self.entries.range(start..).take(entries_max).take_while(fits).cloned().collect()
    }

    /// Appends one entry of this node's own making; none when the log has no place for it any more.
    pub(super) fn push(&mut self, term: Term, payload: EntryPayload) -> Option<LogId> {
        let id = LogId { term, index: self.last().index.free()? };
        assert!(term >= self.last().term, "terms never go back along the log");
        self.append(Entry { id, payload });
        Some(id)
    }

    /// Takes over a leader's `entries`, consecutive and right behind an entry that matches. The log
    /// is cut at the first real mismatch only: a late, shorter message removes nothing (Raft paper
    /// §5.3). Returns where it was cut.
    pub(super) fn merge(&mut self, entries: Vec<Entry>) -> Option<LogIndex> {
        let mut cut = None;
        for entry in entries {
            if self.contains(entry.id) {
                continue;
            }
            if entry.id.index <= self.last().index {
                self.truncate(entry.id.index);
                cut = Some(entry.id.index);
            }
            assert_eq!(entry.id.index, self.last().index.next(), "entries are consecutive");
            self.append(entry);
        }
        cut
    }

    fn append(&mut self, entry: Entry) {
        self.unapplied_bytes += entry_bytes(&entry);
        if is_membership(&entry) {
            self.memberships.push_back(entry.id.index);
        }
        self.entries.push_back(entry);
    }

    /// Removes everything from `from` on. What was durable there is so no longer: it will be
    /// overwritten.
    fn truncate(&mut self, from: LogIndex) {
        assert!(from > self.commit_index, "a committed entry is never removed");
        while self.last().index >= from {
            let Some(entry) = self.entries.pop_back() else { break };
            self.unapplied_bytes -= entry_bytes(&entry);
        }
        while self.memberships.back().is_some_and(|index| *index >= from) {
            self.memberships.pop_back();
        }
        self.durable_index = self.durable_index.min(from.previous());
        self.unsaved_from = self.unsaved_from.min(from);
    }

    /// Entries that no order to persist contains yet, which from now on one does.
    pub(super) fn take_unsaved(&mut self) -> Vec<Entry> {
        let entries = self.slice(self.unsaved_from, usize::MAX, usize::MAX);
        self.unsaved_from = self.last().index.next();
        entries
    }

    /// Entries up to `index` are durable.
    pub(super) fn make_durable(&mut self, index: LogIndex) {
        assert!(index < self.unsaved_from, "only what was written becomes durable");
        self.durable_index = self.durable_index.max(index);
    }

    /// Moves the commit index forward; it never goes back.
    pub(super) fn commit_to(&mut self, index: LogIndex) {
        assert!(index <= self.last().index, "only entries of the log are committed");
        self.commit_index = self.commit_index.max(index);
    }

    /// Entries that can be applied now: committed and durable here, each given out once. After a
    /// restart that may be the whole tail; it comes in parts, the next when one is applied.
    pub(super) fn take_committed(&mut self) -> Vec<Entry> {
        let until = self.commit_index.min(self.durable_index);
        let count = usize::try_from(until.since(self.handed_index)).unwrap_or(usize::MAX);
        let under_way = self.handed_index.since(self.applied_index);
        let under_way = usize::try_from(under_way).unwrap_or(usize::MAX);
        let room = limits::RAFT_APPLY_ENTRIES_MAX.saturating_sub(under_way).min(count);
        let entries = self.slice(self.handed_index.next(), room, limits::RAFT_APPLY_BYTES_MAX);
        if let Some(last) = entries.last() {
            self.handed_index = last.id.index;
        }
        entries
    }

    /// Everything up to `index` has been applied. Returns the bytes that were and the memberships
    /// among them, in order.
    pub(super) fn apply_to(&mut self, index: LogIndex) -> (usize, Vec<Membership>) {
        assert!(index <= self.handed_index, "only what was handed out is applied");
        let (mut bytes, mut memberships) = (0, Vec::new());
        let count = usize::try_from(index.since(self.applied_index)).unwrap_or(usize::MAX);
        if let Some(start) = self.slot(self.applied_index.next()) {
            for entry in self.entries.range(start..).take(count) {
                bytes += entry_bytes(entry);
                if let EntryPayload::Membership(membership) = &entry.payload {
                    memberships.push((**membership).clone());
                }
            }
        }
        self.applied_index = self.applied_index.max(index);
        while self.memberships.front().is_some_and(|index| *index <= self.applied_index) {
            self.memberships.pop_front();
        }
        self.applied_bytes += bytes;
        self.unapplied_bytes -= bytes;
        (bytes, memberships)
    }

    /// Whether a membership is committed and not applied: the node does not know yet who votes.
    pub(super) fn has_unapplied_membership(&self) -> bool {
        self.memberships.front().is_some_and(|index| *index <= self.commit_index)
    }

    /// Forgets applied entries beyond the bounds, but none behind `keep_after`.
    pub(super) fn trim(&mut self, entries_max: usize, bytes_max: usize, keep_after: LogIndex) {
        let goes_until = self.applied_index.min(keep_after);
        while self.base.index < goes_until {
            let count = self.applied_index.since(self.base.index);
            let few = usize::try_from(count).unwrap_or(usize::MAX) <= entries_max;
            if few && self.applied_bytes <= bytes_max {
                break;
            }
            let Some(entry) = self.entries.pop_front() else { break };
            self.applied_bytes -= entry_bytes(&entry);
            self.base = entry.id;
        }
    }

    /// Asserts what must always hold.
    pub(super) fn invariants(&self) {
        assert!(self.base.index <= self.applied_index);
        assert!(self.applied_index <= self.handed_index);
        assert!(self.handed_index <= self.commit_index);
        assert!(self.handed_index <= self.durable_index);
        assert!(self.commit_index <= self.last().index);
        assert!(self.durable_index < self.unsaved_from);
        assert!(self.unsaved_from <= self.last().index.next());
        let mut previous = self.base;
        let mut bytes = 0;
        for entry in &self.entries {
            assert_eq!(entry.id.index, previous.index.next(), "no gap");
            assert!(entry.id.term >= previous.term, "terms never go back");
            bytes += entry_bytes(entry);
            previous = entry.id;
        }
        assert_eq!(bytes, self.applied_bytes + self.unapplied_bytes);
        let unapplied = self.entries.iter().filter(|entry| entry.id.index > self.applied_index);
        let memberships =
            unapplied.filter(|entry| is_membership(entry)).map(|entry| entry.id.index);
        assert!(memberships.eq(self.memberships.iter().copied()), "memberships are noted");
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
