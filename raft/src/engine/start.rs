//! How an engine begins: from nothing, or from what a restart found. What cannot be is refused
//! before any vote is cast.

use alloc::boxed::Box;
use alloc::vec::Vec;

use nacolet_model::{Instant, Prng};

use super::config::EngineConfig;
use super::log::LogTail;
use super::role::Role;
use super::state::{Durability, Engine, Snapshots};
use crate::types::{
    Entry, EntryPayload, HardState, LogId, LogIndex, Membership, SnapshotMeta, Term,
};

/// What a restart found; all empty for a new node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The last hard state written.
    pub hard_state: HardState,
    /// Every stored entry, consecutive. It may begin before the snapshot's end.
    pub entries: Vec<Entry>,
    /// Highest index that was purged from the stored log.
    pub purged: LogIndex,
    /// The newest durable snapshot.
    pub snapshot: Option<SnapshotMeta>,
    /// Highest index whose effect the state machine still has. Zero, or less than the snapshot's
    /// end, stands for the snapshot's end.
    pub applied: LogIndex,
}

/// Why an engine does not start: what was found cannot be what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImpossibleStart {
    /// The settings contradict each other.
    #[error("the Raft settings contradict each other")]
    Config,
    /// Entries are missing before this one.
    #[error("the stored log has a gap before index {}", before.0)]
    Gap {
        /// The entry found behind the gap, or the one that should follow the purged ones.
        before: LogIndex,
    },
    /// Terms decrease along the log.
    #[error("the stored log has a smaller term at index {}", at.0)]
    TermOrder {
        /// The first entry out of order.
        at: LogIndex,
    },
    /// The stored term is behind the log's: a vote may have been lost.
    #[error("the stored term {} is behind the log's {}", stored.0, log.0)]
    TermBehindLog {
        /// Term of the hard state.
        stored: Term,
        /// Term of the last entry.
        log: Term,
    },
    /// More is said to be committed than is stored: acknowledged entries are missing.
    #[error("index {} is committed, but the stored log ends at {}", commit_index.0, last.0)]
    CommitBeyondLog {
        /// Stored commit index.
        commit_index: LogIndex,
        /// End of the stored log.
        last: LogIndex,
    },
    /// A term or an index that no log gets to, or a membership that cannot be in force.
    #[error("what is stored at index {} cannot have been written by Raft", at.0)]
    Impossible {
        /// Where it stands.
        at: LogIndex,
    },
    /// More is said to be applied than is stored.
    #[error("index {} is applied, but the stored log ends at {}", applied.0, last.0)]
    AppliedBeyondLog {
        /// Applied index.
        applied: LogIndex,
        /// End of the stored log.
        last: LogIndex,
    },
}

/// Why a cluster was not formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// This node already has a term, a log or a snapshot.
    #[error("this node already belongs to a cluster")]
    NotPristine,
    /// The membership has no voter, is joint, or cannot be in force at all.
    #[error("a cluster cannot begin with this membership")]
    InvalidMembership,
}

impl Engine {
    /// An engine that goes on where `start` ended. With nothing found it waits, outside any
    /// cluster, for [`Engine::bootstrap`] or for a leader that adds it.
    ///
    /// # Errors
    /// The settings are contradictory, or what was found is damaged.
    pub fn new(config: EngineConfig, start: Start, now: Instant) -> Result<Self, ImpossibleStart> {
        if !config.is_valid() {
            return Err(ImpossibleStart::Config);
        }
        check_possible(&start)?;
        let snapshot = start.snapshot.unwrap_or_default();
        let (base, entries) = connect(start.entries, start.purged, snapshot.last)?;
        check_order(base, &entries)?;
        let last = entries.last().map_or(base, |entry| entry.id);
        if start.hard_state.term < last.term {
            return Err(ImpossibleStart::TermBehindLog {
                stored: start.hard_state.term,
                log: last.term,
            });
        }
        let applied = start.applied.max(snapshot.last.index);
        if applied > last.index {
            return Err(ImpossibleStart::AppliedBeyondLog { applied, last: last.index });
        }
        let commit_index = start.hard_state.commit_index.max(applied);
        if commit_index > last.index {
            return Err(ImpossibleStart::CommitBeyondLog { commit_index, last: last.index });
        }
        let membership = membership_at(snapshot.membership, snapshot.last.index, applied, &entries);
        let no_votes_before =
            if config.lease_reads { now + config.election_timeout_min } else { now };
        let random = Prng::new(config.seed ^ config.id.0.rotate_left(32));
        let mut engine = Self {
            random,
            now,
            term: start.hard_state.term,
            voted_for: start.hard_state.voted_for,
            leader: None,
            role: Role::Follower,
            log: LogTail::new(base, entries, commit_index, applied),
            membership,
            memberships_entered: 0,
            election_timeout: config.election_timeout_max,
            election_deadline: now,
            candidacies: 0,
            heard_leader: None,
            no_votes_before,
            handing_over: None,
            durability: Durability::new(start.hard_state),
            snapshots: Snapshots::new(snapshot.last),
            outbox: Vec::new(),
            answers: Vec::new(),
            announced: None,
            dropped_messages: 0,
            config,
        };
        engine.arm_election();
        Ok(engine)
    }

    /// Forms a new cluster: `membership` is its first entry, committed by decree. Every one of the
    /// voters must be given the very same membership, or exactly one of them, which then adds the
    /// others as learners. The next [`Engine::flush`] orders to persist it.
    ///
    /// # Errors
    /// The node has already been part of a cluster, or nobody would vote.
    pub fn bootstrap(&mut self, membership: Membership) -> Result<(), BootstrapError> {
        let pristine = self.term == Term(0) && self.log.last() == LogId::default();
        if !pristine || self.snapshots.installing.is_some() {
            return Err(BootstrapError::NotPristine);
        }
        if membership.check().is_err() || membership.is_joint() {
            return Err(BootstrapError::InvalidMembership);
        }
        self.term = Term(1);
        let first = self.log.push(self.term, EntryPayload::Membership(Box::new(membership)));
        self.log.commit_to(first.ok_or(BootstrapError::NotPristine)?.index);
        Ok(())
    }
}

/// Whether terms, positions and memberships are such as Raft has: a disk is believed no more than a
/// peer.
fn check_possible(start: &Start) -> Result<(), ImpossibleStart> {
    let impossible = |at| Err(ImpossibleStart::Impossible { at });
    let HardState { term, commit_index, .. } = start.hard_state;
    for index in [commit_index, start.purged, start.applied] {
        if !index.is_valid() {
            return impossible(index);
        }
    }
    if !term.is_valid() {
        return impossible(start.entries.last().map_or(start.purged, |entry| entry.id.index));
    }
    if let Some(meta) = &start.snapshot {
        // One that stands for nothing may be of a node that belongs to no cluster yet.
        let is_empty = meta.membership == Membership::default();
        if !meta.last.is_valid() || !(is_empty || meta.membership.check().is_ok()) {
            return impossible(meta.last.index);
        }
    }
    // An entry at index 0 is a gap, and told as one.
    let mut entries = start.entries.iter().filter(|entry| entry.id.index > LogIndex::ZERO);
    match entries.find(|entry| !entry.is_possible()) {
        Some(entry) => impossible(entry.id.index),
        None => Ok(()),
    }
}

/// The stored entries that follow the snapshot or overlap it, and the entry right before them.
fn connect(
    mut entries: Vec<Entry>,
    purged: LogIndex,
    snapshot: LogId,
) -> Result<(LogId, Vec<Entry>), ImpossibleStart> {
    let Some(first) = entries.first().map(|entry| entry.id) else {
        // A log purged beyond the snapshot has lost entries that nothing else holds.
        return match purged > snapshot.index {
            true => Err(ImpossibleStart::Gap { before: purged.next() }),
            false => Ok((snapshot, entries)),
        };
    };
    if first.index == LogIndex::ZERO || first.index > snapshot.index.next() {
        return Err(ImpossibleStart::Gap { before: first.index });
    }
    if first.index == snapshot.index.next() {
        return Ok((snapshot, entries));
    }
    let at_snapshot = entries.iter().find(|entry| entry.id.index == snapshot.index);
    if at_snapshot.is_some_and(|entry| entry.id == snapshot) {
        if first.index == LogIndex(1) {
            return Ok((LogId::default(), entries));
        }
        // The first entry's only use is to say what comes before the second.
        entries.remove(0);
        return Ok((first, entries));
    }
    // The snapshot was installed over a log that did not contain it; a crash came before the log
    // went.
    Ok((snapshot, Vec::new()))
}

fn check_order(base: LogId, entries: &[Entry]) -> Result<(), ImpossibleStart> {
    let mut before = base;
    for entry in entries {
        if entry.id.index != before.index.next() {
            return Err(ImpossibleStart::Gap { before: entry.id.index });
        }
        if entry.id.term < before.term {
            return Err(ImpossibleStart::TermOrder { at: entry.id.index });
        }
        before = entry.id;
    }
    Ok(())
}

/// The membership in force at `applied`: the snapshot's, and then what was applied behind it.
fn membership_at(
    snapshot: Membership,
    behind: LogIndex,
    applied: LogIndex,
    entries: &[Entry],
) -> Membership {
    let replayed =
        entries.iter().filter(|entry| entry.id.index > behind && entry.id.index <= applied);
    let latest = replayed.rev().find_map(|entry| match &entry.payload {
        EntryPayload::Membership(membership) => Some((**membership).clone()),
        EntryPayload::Blank | EntryPayload::Command(_) => None,
    });
    latest.unwrap_or(snapshot)
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
