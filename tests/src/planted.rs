//! Bugs that are planted to measure the simulator: each is one that a real system of this kind had.
//! They sit in the simulated disk, the network and the wiring, so that the product needs no switch
//! for them.

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planted {
    /// A write is reported durable before it is synced.
    AnswerBeforeSync,
    /// Recovery steps over a record that it cannot decode and goes on behind it.
    SkipUndecodable,
    /// Records behind one that was not kept are written all the same.
    IgnoreLogGap,
    /// The log stores terms and no votes.
    ForgetVote,
    /// Followers are told to commit entries of earlier terms, by counting who has them.
    CommitOldTerm,
    /// A snapshot is written without its membership.
    SnapshotWithoutMembership,
    /// A snapshot holds more than it says, so that a restart applies some entries twice.
    ApplyTwice,
    /// Raft's time, the leader's lease above all, is the wall clock's.
    LeaseByWallClock,
    /// Whoever hears a leader votes for another one all the same.
    VoteUnderLease,
    /// A change that comes together with a poll wakes nobody.
    DropListenerWake,
    /// A snapshot is renamed and its directory is not synced.
    RenameWithoutSync,
    /// A linearizable read is answered without asking whether the leader still leads.
    ReadWithoutConfirming,
    /// An unknown outcome is reported as a refusal.
    UnknownIsRefused,
    /// Registries keep no tombs: a late copy of an instance that is gone brings it back.
    NoTombs,
    /// A member that comes back in another life is taken for the death of its connections.
    RestartIsDeath,
    /// The registry keeps its deadlines by the wall clock.
    RegistryByWallClock,
    /// A registry that has lost the others goes on to remove who is silent.
    ExpireWithoutMajority,
    /// Whoever takes a service over holds the silence before that against its instances.
    NoGraceAfterTakeover,
    /// Digests are sent, and nobody asks for what differs.
    RepairNeverAsks,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::AnswerBeforeSync,
        Self::SkipUndecodable,
        Self::IgnoreLogGap,
        Self::ForgetVote,
        Self::CommitOldTerm,
        Self::SnapshotWithoutMembership,
        Self::ApplyTwice,
        Self::LeaseByWallClock,
        Self::VoteUnderLease,
        Self::DropListenerWake,
        Self::RenameWithoutSync,
        Self::ReadWithoutConfirming,
        Self::UnknownIsRefused,
        Self::NoTombs,
        Self::RestartIsDeath,
        Self::RegistryByWallClock,
        Self::ExpireWithoutMajority,
        Self::NoGraceAfterTakeover,
        Self::RepairNeverAsks,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AnswerBeforeSync => "answer-before-sync",
            Self::SkipUndecodable => "skip-undecodable",
            Self::IgnoreLogGap => "ignore-log-gap",
            Self::ForgetVote => "forget-vote",
            Self::CommitOldTerm => "commit-old-term",
            Self::SnapshotWithoutMembership => "snapshot-without-membership",
            Self::ApplyTwice => "apply-twice",
            Self::LeaseByWallClock => "lease-by-wall-clock",
            Self::VoteUnderLease => "vote-under-lease",
            Self::DropListenerWake => "drop-listener-wake",
            Self::RenameWithoutSync => "rename-without-sync",
            Self::ReadWithoutConfirming => "read-without-confirming",
            Self::UnknownIsRefused => "unknown-is-refused",
            Self::NoTombs => "no-tombs",
            Self::RestartIsDeath => "restart-is-death",
            Self::RegistryByWallClock => "registry-by-wall-clock",
            Self::ExpireWithoutMajority => "expire-without-majority",
            Self::NoGraceAfterTakeover => "no-grace-after-takeover",
            Self::RepairNeverAsks => "repair-never-asks",
        }
    }

    /// The bug of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }
}
