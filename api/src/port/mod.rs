//! What this crate asks of the node: the state it reads, what the node says of itself, and the one
//! bounded channel to the core thread. The node owns the other end and the meaning of every
//! request.
//!
//! Reading order: this file, then `request` for what is asked, `feed` for how news come back,
//! `stage` for how far the node has come, `operate` for what operators ask, `moves` for connections
//! that go elsewhere, `who` for what members tell each other of their clients.

pub mod feed;
pub mod logs;
pub mod moves;
pub mod operate;
pub mod request;
pub mod stage;
pub mod who;

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};

use nacolet_auth::Users;
use nacolet_config as config;
use nacolet_model::{Instant, NodeId, WallTime};
use nacolet_registry::{self as registry, Life};

use crate::port::moves::Moves;
use crate::port::request::Request;
use crate::port::stage::Stage;

/// What the node says about itself that never changes while it runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Version of the binary.
    pub version: &'static str,
    /// Identity of this node.
    pub node: NodeId,
    /// This life of it, other after every start.
    pub life: Life,
    /// Host that others reach this node at.
    pub host: Box<str>,
    /// Bound address of the HTTP listener.
    pub http: SocketAddr,
    /// Bound address of the gRPC listener, where there is one.
    pub grpc: Option<SocketAddr>,
    /// Bound address of the peer listener, where there is one.
    pub peer: Option<SocketAddr>,
    /// When the process started.
    pub started: WallTime,
}

/// What the node says about its place in the cluster now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// The leader this node follows or is.
    pub leader: Option<NodeId>,
    /// Raft term.
    pub term: u64,
    /// Highest log index known to be committed.
    pub commit_index: u64,
    /// Highest log index that is part of the state.
    pub last_applied: u64,
    /// Every member, this node included.
    pub members: Vec<MemberStatus>,
    /// Messages about instances that came from other members faster than they were taken.
    pub distro_dropped: u64,
    /// Comparisons that found members with another state than this one.
    pub states_differing: u64,
    /// What came of the probes of persistent instances.
    pub probes: registry::probe::ProbeCounts,
}

/// One member as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its identity.
    pub node: NodeId,
    /// Host and port of its HTTP listener.
    pub http: Box<str>,
    /// Host and port of its peer listener.
    pub peer: Box<str>,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it answered lately.
    pub up: bool,
}

/// Everything a server needs from the node.
pub struct Port {
    /// Configs, namespaces and history. Only the core thread writes.
    pub configs: Arc<RwLock<config::Store>>,
    /// Services and instances. Only the core thread writes.
    pub registry: Arc<RwLock<registry::Registry>>,
    /// Users and what they may. Only the core thread writes.
    pub users: Arc<RwLock<Users>>,
    /// Whether every call needs a user.
    pub auth: bool,
    /// To the core thread; bounded by `limits::CORE_QUEUE_MAX`. A full channel is answered 503.
    pub requests: async_channel::Sender<Request>,
    /// The clock: monotonic time for deadlines, wall time for stamps.
    pub clock: fn() -> (Instant, WallTime),
    /// What never changes.
    pub facts: Arc<Facts>,
    /// How far the node has come, and so what it serves.
    pub stage: Arc<Stage>,
    /// gRPC connections that are to go to another member.
    pub moves: Arc<Moves>,
    /// The node's place in the cluster.
    pub status: Arc<dyn Fn() -> NodeStatus + Send + Sync>,
}
