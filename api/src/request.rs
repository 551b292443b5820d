//! The port: what this crate needs from the node. Reads go straight to the shared state under its
//! read lock; writes are a [`Request`] on one bounded channel, answered through a one-shot that comes
//! with it. The node owns the other end and the meaning of every request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};

use futures_channel::oneshot;
use nacolet_auth::{self as auth, Users};
use nacolet_config::{self as config, ListenKey, Md5};
use nacolet_lock as lock;
use nacolet_model::{ConfigKey, Instant, Namespace, NodeId, ServiceKey, WallTime};
use nacolet_registry::{self as registry, ClientId, Life, Subscriber};

use crate::feed::Feed;
use crate::membership::{AskError, Question, Told};
use crate::stage::Stage;

/// Where the answer to one request goes. A dropped receiver means that nobody waits any more.
pub type Responder<T> = oneshot::Sender<T>;

/// What api threads ask of the core thread.
#[derive(Debug)]
pub enum Request {
    /// A config or namespace write: agreed and durable before the answer.
    Config {
        /// What to write.
        command: config::Command,
        /// Answered once it is applied or known to fail.
        reply: Responder<Result<config::Response, WriteError<config::CommandError>>>,
    },
    /// A registry write.
    Registry {
        /// What to do.
        request: registry::Request,
        /// Answered once it is done or known to fail.
        reply: Responder<Result<registry::Reply, WriteError<registry::RegistryError>>>,
    },
    /// A lock is taken or freed: agreed before the answer, which is whether it was.
    Lock {
        /// What to do. The node sets its stamp.
        command: lock::Command,
        /// Answered once it is applied or known to fail.
        reply: Responder<Result<bool, WriteError<lock::CommandError>>>,
    },
    /// Users, roles or permissions change: agreed before the answer.
    Auth {
        /// What to do.
        command: auth::Command,
        /// Answered once it is applied or known to fail.
        reply: Responder<Result<(), WriteError<auth::CommandError>>>,
    },
    /// A list call with a UDP port asks for pushes. Fire and forget: the client polls anyway.
    Subscribe {
        /// The service it listed.
        service: ServiceKey,
        /// The `clusters` text exactly as the client sent it: pushes must echo it.
        clusters: Box<str>,
        /// Where to push.
        subscriber: Subscriber,
    },
    /// A long poll. Dropping the receiver cancels it.
    Listen {
        /// What the client has, in the order it sent them.
        keys: Vec<ListenKey>,
        /// Address of the client, for beta configs.
        ip: Box<str>,
        /// Tag of the client, for tagged configs.
        tag: Option<Box<str>>,
        /// Answered with no change at this moment.
        deadline: Instant,
        /// Answered once.
        reply: Responder<ListenAnswer>,
    },
    /// From now on what changes is told to this feed, until its other holder drops it.
    Follow {
        /// Where to tell.
        feed: Arc<Feed>,
    },
    /// A gRPC connection has closed: what it published goes.
    Gone {
        /// Which one.
        client: ClientId,
    },
    /// A read that must see every write acknowledged before it.
    ReadIndex {
        /// Answered once the shared state is that fresh.
        reply: Responder<Result<(), WriteError<Infallible>>>,
    },
    /// An operator looks at the cluster, or changes it.
    Cluster {
        /// What is asked.
        ask: Question,
        /// Answered once it is done or known to fail.
        reply: Responder<Result<Told, AskError>>,
    },
    /// Who listens to what, for the console.
    Watchers {
        /// The selection.
        of: WatchersOf,
        /// Answered at once.
        reply: Responder<Vec<Watcher>>,
    },
}

/// How a long poll ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAnswer {
    /// Positions in `keys` that changed; empty when the deadline passed.
    Changed(Vec<u32>),
    /// Too many long polls or keys are held already.
    TooMany,
}

/// Which listeners are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchersOf {
    /// The listeners of one config.
    Key(ConfigKey),
    /// The configs one address listens to, in one namespace or in all.
    Ip {
        /// Address of the client.
        ip: Box<str>,
        /// Only this namespace.
        namespace: Option<Namespace>,
    },
}

/// One listener of one config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watcher {
    /// What it listens to.
    pub key: ConfigKey,
    /// Address of the client.
    pub ip: Box<str>,
    /// The md5 it has; none for a config it does not have.
    pub md5: Option<Md5>,
}

/// Why a write did not happen, or is not known to have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError<E> {
    /// The core refused it; nothing changed.
    #[error("refused")]
    Refused(E),
    /// Too much is waiting; nothing changed.
    #[error("too much is waiting")]
    Overloaded,
    /// No leader is known or reachable; nothing changed.
    #[error("no leader")]
    NoLeader {
        /// The leader, where one is known.
        leader: Option<NodeId>,
    },
    /// The disk is full; nothing changed.
    #[error("the disk is full")]
    StorageFull,
    /// Timed out or lost: it may have happened or may still happen.
    #[error("the outcome is unknown")]
    Unknown,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

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
    pub probes: registry::probe::Counts,
}

/// One member as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its identity.
    pub node: NodeId,
    /// Host and port of its HTTP listener.
    pub http: Box<str>,
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
    /// The node's place in the cluster.
    pub status: Arc<dyn Fn() -> NodeStatus + Send + Sync>,
}
