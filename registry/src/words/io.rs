//! What happens to a registry, and what it orders.

use alloc::boxed::Box;
use alloc::vec::Vec;

use nacolet_model::{NodeId, RequestId, ServiceKey, WallTime, limits};

use crate::words::command::Command;
use crate::words::error::RegistryError;
use crate::words::message::Message;
use crate::words::names::{ClientId, Life};
use crate::words::request::{Reply, Request};

/// What the shell knows when it makes a registry.
#[derive(Clone, Copy, Debug, Default)]
pub struct RegistrySettings {
    /// Source of numbers that should differ from life to life.
    pub seed: u64,
    /// The last `until` of [`Output::ReserveRefTime`] that was stored; 0 when there is none.
    pub ref_time_floor: u64,
    /// This node.
    pub node: NodeId,
    /// This life of it.
    pub life: Life,
    /// Whether it is, or may become, one of several members.
    pub clustered: bool,
}

/// What happened, or is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A caller wants a write; it is answered by [`Output::Reply`] or [`Output::Propose`].
    Request {
        /// Who waits.
        request: RequestId,
        /// The wall clock when it came.
        at: WallTime,
        /// What is wanted.
        body: Request,
    },
    /// A list call came from somebody who listens on a UDP port.
    Subscribe {
        /// To what.
        service: ServiceKey,
        /// Which clusters, as the caller spells them.
        clusters: Box<str>,
        /// Who.
        subscriber: Subscriber,
        /// The wall clock when it came.
        at: WallTime,
    },
    /// A connection has closed: what it published and nobody else registered since goes.
    ClientGone(ClientId),
    /// A push arrived.
    Acked {
        /// As in [`Output::Push`].
        reference: u64,
    },
    /// A ceiling is durable.
    RefTimeReserved {
        /// As in [`Output::ReserveRefTime`].
        until: u64,
    },
    /// The wall clock. Sent once before the first request, it gets the first ceiling reserved.
    WallClock(WallTime),
    /// The members of the cluster, this node included: at the start and with every change.
    Members(Vec<NodeId>),
    /// Another member says something.
    Peer {
        /// Who.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// A message to another member was lost on the way out.
    Unsent {
        /// To whom.
        to: NodeId,
    },
    /// A deadline has come.
    Wake,
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Answer a caller.
    Reply {
        /// Who waits.
        request: RequestId,
        /// The answer.
        result: Result<Reply, RegistryError>,
    },
    /// Write `command` to the Raft log and answer the caller with what [`crate::Registry::apply`]
    /// returns.
    Propose {
        /// Who waits; nobody where the registry itself wants it. It asks again if it fails.
        request: Option<RequestId>,
        /// The command.
        command: Command,
    },
    /// Send a subscriber the list of a service.
    Push {
        /// To whom.
        subscriber: Subscriber,
        /// Which service.
        service: ServiceKey,
        /// Which clusters, as the subscriber spelled them.
        clusters: Box<str>,
        /// What the acknowledgement has to carry.
        reference: u64,
    },
    /// Store `until` durably, then say so with [`Input::RefTimeReserved`].
    ReserveRefTime {
        /// Goes into [`RegistrySettings::ref_time_floor`] at the next start.
        until: u64,
    },
    /// Send a message to other members. Whatever is lost is found later.
    Send {
        /// To whom.
        to: Vec<NodeId>,
        /// What.
        message: Message,
    },
}

/// Who wants to hear of changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Subscriber {
    /// Address to push to.
    pub ip: Box<str>,
    /// UDP port to push to.
    pub port: u16,
    /// `User-Agent`, for operators.
    pub agent: Box<str>,
    /// Application name, for operators.
    pub app: Box<str>,
    /// Who asked, where there are users; other members are not told.
    #[serde(skip)]
    pub by: Option<By>,
}

/// The login with which somebody asked: whoever renders a push knows what it is worth then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct By {
    /// Name of the user.
    pub user: Box<str>,
    /// Which password of the user it was.
    pub since: u64,
}

impl Subscriber {
    /// Whether its texts are short enough to be kept ten thousand times.
    pub(crate) fn is_bounded(&self) -> bool {
        [&self.ip, &self.agent, &self.app].iter().all(|text| text.len() <= limits::LABEL_CHARS_MAX)
    }
}
