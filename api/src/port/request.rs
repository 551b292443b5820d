//! The port: what this crate needs from the node. Reads go straight to the shared state under its
//! read lock; writes are a [`Request`] on one bounded channel, answered through a one-shot that
//! comes with it. The node owns the other end and the meaning of every request.

use std::convert::Infallible;
use std::sync::Arc;

use futures_channel::oneshot;
use nacolet_auth as auth;
use nacolet_config::{self as config, ListenKey};
use nacolet_lock as lock;
use nacolet_model::{Instant, NodeId, ServiceKey};
use nacolet_registry::{self as registry, ClientId, Subscriber};

use crate::port::feed::Feed;
use crate::port::operate::{AskError, Question, Told};
use crate::port::who::{Watcher, WatchersOf};

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
    /// A lock is taken or freed: agreed before the answer.
    Lock {
        /// What to do. The node sets its stamp.
        command: lock::Command,
        /// Answered once it is applied or known to fail.
        reply: Responder<Result<lock::Answer, WriteError<lock::CommandError>>>,
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
