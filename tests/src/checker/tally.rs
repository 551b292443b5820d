//! What a run did and saw.

/// What was done and seen; a run that saw nothing proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes that certainly had no effect.
    pub refused: u64,
    /// Writes whose outcome nobody knows.
    pub unknown: u64,
    /// Reads of one node's state.
    pub local_reads: u64,
    /// Reads confirmed by the leader.
    pub linear_reads: u64,
    /// Changes that listeners heard of.
    pub heard: u64,
    /// Beats that were answered.
    pub beats: u64,
    /// Instances that connections published.
    pub published: u64,
    /// Lists that subscribers read.
    pub lists: u64,
    /// Snapshots that a leader sent and a follower installed.
    pub installs: u64,
    /// Terms that had a leader.
    pub leaders: u64,
    /// Memberships that took effect, the first one included.
    pub memberships: u64,
    /// Keys whose history was too tangled to decide.
    pub undecided: u64,
}
