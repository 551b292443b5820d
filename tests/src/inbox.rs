//! What reaches the core task of a simulated node: requests of clients, and what applying the log
//! left to be done. One queue, one reader.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_channel::oneshot::Sender;
use nacolet_config::{Change, ListenKey};
use nacolet_machine::{Command, Refused, Response};
use nacolet_model::{ConfigKey, NodeId, ServiceKey};
use nacolet_registry as registry;

/// Where the answer to a registry request goes.
pub(crate) type RegistryReply = Sender<Result<registry::Reply, RegistryFailure>>;

/// What a client asks of a node, and where the answer goes.
#[derive(Debug)]
pub enum Request {
    /// A write that goes through the Raft log.
    Write(Box<Command>, Sender<WriteAnswer>),
    /// The config as this node has it.
    Read(ConfigKey, Sender<ReadAnswer>),
    /// The config as of now, everywhere.
    ReadLinear(ConfigKey, Sender<Option<ReadAnswer>>),
    /// Tell me of the first difference, at this time at the latest.
    Listen(Vec<ListenKey>, nacolet_model::Duration, Sender<Vec<u32>>),
    /// A write to the registry.
    Registry(Box<registry::Request>, Sender<Result<registry::Reply, RegistryFailure>>),
    /// The instances of a service.
    List(ServiceKey, Sender<ListAnswer>),
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteAnswer {
    /// Applied.
    Done(Response),
    /// Applied, and refused by the application.
    Rejected(Refused),
    /// Certainly no effect; the leader, if known.
    Refused(Option<NodeId>),
    /// Nobody knows.
    Unknown,
}

/// Why a registry write failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryFailure {
    /// By the registry.
    Refused(registry::RegistryError),
    /// By the log.
    Log(Option<NodeId>),
}

/// The list of a service as one node has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListAnswer {
    /// Its reference time.
    pub ref_time: u64,
    /// Ports, and whether each is healthy.
    pub hosts: Vec<(u16, bool)>,
}

/// A config as one node has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// The life of the node that answered.
    pub life: u64,
    /// The log index of that state.
    pub applied: u64,
    /// The content, if there is one.
    pub content: Option<std::sync::Arc<str>>,
}

/// The place of a message in its queue, given back when it is taken or lost.
#[derive(Debug)]
pub struct Place(pub(crate) Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// One thing for the core task.
#[derive(Debug)]
pub enum Event {
    /// A client.
    Request(Request),
    /// Configs changed.
    Changed(Vec<Change>),
    /// The registry ordered something while the log was applied.
    Ordered(Vec<registry::Output>),
    /// A snapshot replaced the state.
    Reloaded,
    /// The ceiling of reference times is durable.
    RefTimeStored(u64),
    /// A membership took effect.
    Members(Vec<NodeId>),
    /// Another registry says something.
    Peer {
        /// Who.
        from: NodeId,
        /// What, encoded.
        bytes: Rc<[u8]>,
        /// Where it waited.
        place: Place,
    },
    /// A message to another registry was lost on the way out.
    Unsent(NodeId),
    /// A connection that published instances has closed.
    Closed(registry::ClientId),
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

/// The queue. Clones are one queue.
#[derive(Clone, Default)]
pub struct Inbox(Rc<RefCell<Queue>>);

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("events", &self.0.borrow().events.len()).finish()
    }
}

impl Inbox {
    /// Adds an event and wakes the reader.
    pub fn push(&self, event: Event) {
        self.push_silently(event);
        self.wake();
    }

    /// Adds an event; the reader sees it when it is woken.
    pub fn push_silently(&self, event: Event) {
        self.0.borrow_mut().events.push_back(event);
    }

    /// Wakes the reader.
    pub fn wake(&self) {
        let waker = self.0.borrow_mut().waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Everything inside.
    #[must_use]
    pub fn take(&self) -> VecDeque<Event> {
        std::mem::take(&mut self.0.borrow_mut().events)
    }

    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut queue = self.0.borrow_mut();
        if queue.events.is_empty() {
            queue.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Resolves when there is something inside.
    pub async fn filled(&self) {
        poll_fn(|context| self.poll(context)).await;
    }
}
