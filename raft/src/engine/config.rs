//! What an engine is told once: who it is, how patient it is, how much it may hold. Bounds come
//! from `nacolet_model::limits`; a test may set smaller ones.

use nacolet_model::{Duration, NodeId, limits};

/// Settings of one engine. [`EngineConfig::new`] gives the defaults named at each field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineConfig {
    /// This node.
    pub id: NodeId,
    /// Shortest election timeout, and the length of a leader's lease. 600 ms: four lost heartbeats
    /// in a row, and a new leader within a second of the old one's death.
    pub election_timeout_min: Duration,
    /// Longest election timeout; each campaign draws a new one. 1200 ms: twice the shortest, so
    /// that two nodes seldom draw within one round trip of each other (Raft paper §9.3). Both
    /// double with every candidacy that brings no leader, up to eight times.
    pub election_timeout_max: Duration,
    /// Time between heartbeats of a leader. 150 ms: an idle cluster wakes seven times a second.
    pub heartbeat_interval: Duration,
    /// Ask for votes before raising the term (Raft dissertation §9.6). On.
    pub pre_vote: bool,
    /// A leader that has not heard of a majority for an election timeout steps down, and a follower
    /// that hears its leader ignores candidates. On.
    pub check_quorum: bool,
    /// Answer linearizable reads from the leader's lease. Off: it trusts that all clocks run at
    /// about the same rate.
    pub lease_reads: bool,
    /// Where the engine's choices of election timeouts start. Mixed with `id`.
    pub seed: u64,
    /// Entries of one AppendEntries message. 256.
    pub append_entries_max: usize,
    /// Bytes of one AppendEntries message; a larger entry travels alone. 1 MiB.
    pub append_bytes_max: usize,
    /// AppendEntries messages in flight to one follower. 64.
    pub inflight_max: usize,
    /// Bytes of entries that are not applied yet; beyond it a leader refuses proposals and a
    /// follower takes no more entries. 16 MiB.
    pub uncommitted_bytes_max: usize,
    /// Linearizable reads that wait; beyond it they are refused. 1,024.
    pub reads_max: usize,
    /// Entries kept in memory behind the applied index. 1,024.
    pub tail_entries_max: usize,
    /// Bytes kept in memory behind the applied index. 1 MiB.
    pub tail_bytes_max: usize,
    /// Entries kept while a follower is fed a Raft snapshot, so that it can go on behind it; no
    /// less than `tail_entries_max` counts. Beyond: the follower gets another snapshot. 16,384.
    pub held_tail_entries_max: usize,
    /// Bytes of that tail. 8 MiB.
    pub held_tail_bytes_max: usize,
    /// Applied entries after which a Raft snapshot is ordered. 10,000.
    pub snapshot_every_entries: u64,
    /// Applied bytes after which a Raft snapshot is ordered. 8 MiB.
    pub snapshot_every_bytes: u64,
}

impl EngineConfig {
    /// The defaults for node `id`; `seed` should differ from run to run.
    #[must_use]
    pub const fn new(id: NodeId, seed: u64) -> Self {
        Self {
            id,
            election_timeout_min: Duration::from_millis(600),
            election_timeout_max: Duration::from_millis(1_200),
            heartbeat_interval: Duration::from_millis(150),
            pre_vote: true,
            check_quorum: true,
            lease_reads: false,
            seed,
            append_entries_max: limits::RAFT_APPEND_ENTRIES_MAX,
            append_bytes_max: limits::RAFT_APPEND_BYTES_MAX,
            inflight_max: limits::RAFT_INFLIGHT_MAX,
            uncommitted_bytes_max: limits::RAFT_UNCOMMITTED_BYTES_MAX,
            reads_max: limits::RAFT_READS_MAX,
            tail_entries_max: limits::RAFT_TAIL_ENTRIES_MAX,
            tail_bytes_max: limits::RAFT_TAIL_BYTES_MAX,
            held_tail_entries_max: limits::RAFT_HELD_TAIL_ENTRIES_MAX,
            held_tail_bytes_max: limits::RAFT_HELD_TAIL_BYTES_MAX,
            snapshot_every_entries: limits::RAFT_SNAPSHOT_EVERY_ENTRIES,
            snapshot_every_bytes: limits::RAFT_SNAPSHOT_EVERY_BYTES,
        }
    }

    /// Whether the settings make sense together.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let patient = self.heartbeat_interval > Duration::ZERO
            && self.heartbeat_interval < self.election_timeout_min
            && self.election_timeout_min < self.election_timeout_max;
        let roomy = self.append_entries_max > 0 && self.inflight_max > 0 && self.reads_max > 0;
        patient && roomy && (self.check_quorum || !self.lease_reads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_that_the_fields_name() {
        let config = EngineConfig::new(NodeId(1), 2);
        assert!(config.is_valid());
        let times = [600, 1_200, 150].map(Duration::from_millis);
        let of = &config;
        assert_eq!(
            [of.election_timeout_min, of.election_timeout_max, of.heartbeat_interval],
            times
        );
        assert_eq!((of.pre_vote, of.check_quorum, of.lease_reads), (true, true, false));
        assert_eq!((of.append_entries_max, of.append_bytes_max), (256, 1 << 20));
        assert_eq!((of.inflight_max, of.uncommitted_bytes_max), (64, 16 << 20));
        assert_eq!((of.reads_max, of.tail_entries_max, of.tail_bytes_max), (1_024, 1_024, 1 << 20));
        assert_eq!((of.held_tail_entries_max, of.held_tail_bytes_max), (16_384, 8 << 20));
        assert_eq!((of.snapshot_every_entries, of.snapshot_every_bytes), (10_000, 8 << 20));
        let node = crate::Config::new(config);
        let queues = (node.requests_max, node.receive_max, node.send_max, node.chunk_bytes);
        assert_eq!(queues, (1_024, 256, 256, 256 << 10));
    }
}
