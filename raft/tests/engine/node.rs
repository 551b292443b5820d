//! One simulated machine: an engine, a disk that forgets what was not synced, and a state machine
//! whose state is a digest of everything applied, so that applying twice or skipping shows.

use std::collections::VecDeque;

use nacolet_model::{Instant, NodeId, Prng};
use nacolet_raft::engine::{Engine, EngineConfig, Start};
use nacolet_raft::{Entry, EntryPayload, HardState, LogId, LogIndex, Membership, SnapshotMeta};

/// A write that is not synced yet.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) hard_state: Option<HardState>,
    pub(crate) entries: Vec<Entry>,
}

/// What a state machine holds: how far it applied, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) applied: LogId,
    pub(crate) digest: u64,
    pub(crate) membership: Membership,
}

impl Machine {
    pub(crate) fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.id.index, self.applied.index.next(), "applied in order and once");
        self.applied = entry.id;
        let mut hash = Prng::new(self.digest ^ fingerprint(entry));
        self.digest = hash.next_u64();
        if let EntryPayload::Membership(membership) = &entry.payload {
            self.membership = (**membership).clone();
        }
    }

    pub(crate) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last: self.applied, membership: self.membership.clone(), id: self.digest }
    }
}

/// A number that tells entries apart.
pub(crate) fn fingerprint(entry: &Entry) -> u64 {
    let bytes = postcard::to_allocvec(entry).unwrap();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What survives a crash, and what may not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) entries: Vec<Entry>,
    pub(crate) purged: LogIndex,
    pub(crate) snapshot: Option<(SnapshotMeta, Machine)>,
    /// Ordered, not synced.
    pub(crate) writes: VecDeque<Write>,
}

impl Disk {
    pub(crate) fn last_index(&self) -> LogIndex {
        self.entries.last().map_or(self.purged, |entry| entry.id.index)
    }

    /// The oldest write becomes durable.
    pub(crate) fn sync_one(&mut self) {
        let Some(write) = self.writes.pop_front() else { return };
        if let Some(state) = write.hard_state {
            let old = self.hard_state;
            assert!(state.term >= old.term, "the stored term never goes back");
            if state.term == old.term && old.voted_for.is_some() {
                assert_eq!(state.voted_for, old.voted_for, "one vote per term");
            }
            self.hard_state = state;
        }
        if let Some(first) = write.entries.first() {
            assert!(first.id.index > self.purged, "nothing is written below the purged part");
            assert!(first.id.index <= self.last_index().next(), "no gap is written");
            self.entries.retain(|entry| entry.id.index < first.id.index);
            self.entries.extend(write.entries);
        }
    }

    /// Whether exactly this entry is durable, as an entry or inside a snapshot.
    pub(crate) fn holds(&self, id: LogId) -> bool {
        let in_snapshot =
            self.snapshot.as_ref().is_some_and(|(meta, _)| meta.last.index >= id.index);
        in_snapshot || self.entries.iter().any(|entry| entry.id == id)
    }

    /// Whether the entry is durable or on its way.
    pub(crate) fn knows(&self, id: LogId) -> bool {
        let coming = self.writes.iter().flat_map(|write| &write.entries);
        self.holds(id) || coming.into_iter().any(|entry| entry.id == id)
    }

    pub(crate) fn purge(&mut self, index: LogIndex) {
        let snapshot = self.snapshot.as_ref().map_or(LogIndex::ZERO, |(meta, _)| meta.last.index);
        assert!(index <= snapshot, "a purge never passes the durable snapshot");
        self.purged = self.purged.max(index);
        self.entries.retain(|entry| entry.id.index > index);
    }

    /// The log is empty and its next entry follows the snapshot.
    pub(crate) fn reset(&mut self, last: LogId) {
        while !self.writes.is_empty() {
            self.sync_one();
        }
        self.entries.clear();
        self.purged = last.index;
    }

    /// A power cut: of the writes under way some of the first ones may have reached the disk.
    pub(crate) fn crash(&mut self, prng: &mut Prng) {
        let reached = prng.below(self.writes.len() as u64 + 1);
        for _ in 0..reached {
            self.sync_one();
        }
        self.writes.clear();
    }
}

/// One member.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) config: EngineConfig,
    /// None while it is down.
    pub(crate) engine: Option<Engine>,
    pub(crate) disk: Disk,
    pub(crate) machine: Machine,
    /// A snapshot that arrived and waits for the engine's word.
    pub(crate) staged: Option<(SnapshotMeta, Machine)>,
    /// Counts starts: what belongs to an earlier one is void.
    pub(crate) life: u64,
    /// How many writes of this life are durable.
    pub(crate) synced: u64,
    /// When the engine asked to be woken.
    pub(crate) wake_at: Option<Instant>,
    /// No write completes and nothing is applied while this is set.
    pub(crate) disk_stalled: bool,
    pub(crate) apply_stalled: bool,
}

impl Node {
    pub(crate) fn new(config: EngineConfig, now: Instant) -> Self {
        let engine = Engine::new(config.clone(), Start::default(), now).unwrap();
        Self {
            id: config.id,
            config,
            engine: Some(engine),
            disk: Disk::default(),
            machine: Machine::default(),
            staged: None,
            life: 0,
            synced: 0,
            wake_at: None,
            disk_stalled: false,
            apply_stalled: false,
        }
    }

    pub(crate) fn crash(&mut self, prng: &mut Prng) {
        self.disk.crash(prng);
        self.engine = None;
        self.staged = None;
        self.wake_at = None;
        self.disk_stalled = false;
        self.apply_stalled = false;
        self.life += 1;
        self.synced = 0;
    }

    pub(crate) fn start(&mut self, now: Instant) {
        let snapshot = self.disk.snapshot.clone();
        self.machine = snapshot.as_ref().map_or_else(Machine::default, |(_, m)| m.clone());
        let meta = snapshot.map(|(meta, _)| meta);
        // What a log storage does in `recover`: a log that does not contain the snapshot is void.
        if let Some(meta) = &meta
            && self.disk.purged < meta.last.index
            && !self.disk.entries.iter().any(|entry| entry.id == meta.last)
        {
            self.disk.reset(meta.last);
        }
        let start = Start {
            hard_state: self.disk.hard_state,
            entries: self.disk.entries.clone(),
            purged: self.disk.purged,
            snapshot: meta,
            applied: LogIndex::ZERO,
        };
        // Another start, other choices; the same run, the same choices.
        self.config.seed = self.config.seed.wrapping_add(1);
        self.engine = Some(Engine::new(self.config.clone(), start, now).unwrap());
    }
}
