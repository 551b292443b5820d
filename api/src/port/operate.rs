//! What operators ask of the node about the members of the cluster, and what they are told.

use nacolet_model::NodeId;

use crate::port::who::{Found, Sought};

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Who is a member, and how far each one is.
    Status,
    /// Adds a learner, or corrects the address of a member.
    Add {
        /// Its identity.
        node: NodeId,
        /// `HOST:PEER_PORT`, or `HOST:PEER_PORT/HTTP_PORT`.
        address: Box<str>,
    },
    /// Removes a member.
    Remove {
        /// Its identity.
        node: NodeId,
    },
    /// Hands leadership over.
    Transfer {
        /// To whom; the most advanced member when none is named.
        node: Option<NodeId>,
    },
    /// Saves the state of the node that is asked, and shortens its log.
    Snapshot,
    /// How many gRPC connections the others have.
    Connections,
    /// Another member keeps so many gRPC connections and sends the rest to a third.
    Shift {
        /// Who sends.
        node: NodeId,
        /// How many stay.
        keep: usize,
        /// Where the rest goes.
        target: NodeId,
    },
    /// Who is connected to the others, subscribes or listens there.
    Who(Sought),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// See [`Question::Status`].
    Status(ClusterStatus),
    /// It is done.
    Done,
    /// This node leads now.
    Leader(NodeId),
    /// The state up to this log index is saved.
    Snapshot(u64),
    /// See [`Question::Connections`]: of those that answered.
    Connections(Vec<(NodeId, usize)>),
    /// See [`Question::Who`]: with those that answered, all of them together.
    Found(Found),
}

/// The cluster as one node sees it; what only the leader knows comes from there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The node that answers.
    pub node: NodeId,
    /// The leader, when it is known.
    pub leader: Option<NodeId>,
    /// Raft term.
    pub term: u64,
    /// Highest log index known to be committed.
    pub commit_index: u64,
    /// Highest log index that is part of the state.
    pub applied_index: u64,
    /// Every member.
    pub members: Vec<ClusterMember>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterMember {
    /// Its identity.
    pub node: NodeId,
    /// Where it listens for peers; empty for a node that is alone.
    pub address: Box<str>,
    /// `leader`, `follower` or `learner`.
    pub role: &'static str,
    /// What it surely holds; unknown while the leader is.
    pub match_index: Option<u64>,
    /// `leading`, `replicate`, `probe`, `snapshot`, `unreachable` or `unknown`.
    pub state: &'static str,
}

/// Why nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It is not possible: for people to read.
    #[error("{0}")]
    Refused(Box<str>),
    /// No leader is known.
    #[error("no leader is known")]
    NoLeader,
    /// Something else must be finished first.
    #[error("another change is under way, or a member has not caught up; try again")]
    Busy,
    /// It may have happened, or may still happen.
    #[error("no answer in time, look at the status")]
    Unknown,
}
