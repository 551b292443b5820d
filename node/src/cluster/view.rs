//! What a member knows of its cluster, for all tasks of the core thread.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, RwLock};

use nacolet_api::moves::Moves;
use nacolet_api::{OperatorKey, Server, Stage};
use nacolet_model::{NodeId, Repeats};
use nacolet_raft::Raft;
use nacolet_registry::Registry;
use nacolet_storage::DataDir;
use nacolet_transport::{Call, CallError, Reply, Transport};

use super::address;
use super::founding::Founding;
use super::mailbox::Mailbox;
use super::record::Record;
use crate::clock;
use crate::machine::Machine;
use crate::machine::applied::Applied;
use crate::machine::digests::Digests;
use crate::space::Space;

/// A member's view of its cluster. Stays on the core thread.
pub(crate) struct Cluster {
    pub(crate) transport: Transport,
    pub(crate) raft: Raft<Machine>,
    pub(crate) applied: Applied,
    pub(crate) digests: Digests,
    /// What there is room for.
    pub(crate) registry: Arc<RwLock<Registry>>,
    /// What others say of Distro.
    pub(crate) mailbox: Mailbox,
    /// How this node stands in the membership.
    pub(crate) address: String,
    pub(crate) dir: DataDir,
    pub(crate) space: Space,
    /// None for a founder that is alone.
    pub(crate) record: RefCell<Option<Record>>,
    pub(crate) learner: bool,
    /// The gRPC connections of this node.
    pub(crate) moves: Arc<Moves>,
    /// How far this node has come.
    pub(crate) stage: Arc<Stage>,
    pub(crate) founding: RefCell<Founding>,
    /// What goes on for long, as the log has it.
    pub(crate) repeats: RefCell<Repeats>,
    /// What serves the clients of this node, once its doors are open.
    pub(crate) server: OnceCell<Server>,
}

impl Cluster {
    pub(crate) fn me(&self) -> NodeId {
        self.raft.id()
    }

    /// What whoever administers from another host proves.
    pub(crate) fn operator_key(&self) -> OperatorKey {
        OperatorKey(self.transport.operator_key())
    }

    /// Says in the log what is tried again and again: at once, and then once a minute.
    pub(crate) fn warn(&self, line: &str) {
        let (mut repeats, now) = (self.repeats.borrow_mut(), clock::now());
        for due in repeats.note(now, line, 1).into_iter().chain(repeats.due(now)) {
            tracing::warn!(times = due.times, "{}", due.line);
        }
    }

    /// Asks another member.
    pub(crate) async fn ask(&self, node: NodeId, call: Call) -> Result<Reply, CallError> {
        let membership = self.raft.metrics().membership;
        let known = membership.addresses.get(&node).map_or("", String::as_str);
        self.transport.call(node, address::peer_of(known), call).await
    }

    /// The leader, and how it stands in the membership.
    pub(crate) fn leader(&self) -> Option<(NodeId, String)> {
        let metrics = self.raft.metrics();
        let leader = metrics.leader?;
        let known = metrics.membership.addresses.get(&leader).cloned();
        Some((leader, known.unwrap_or_else(|| self.transport.introduced(leader))))
    }

    /// The answer of a node that does not lead.
    pub(crate) fn not_leader(&self) -> Reply {
        Reply::NotLeader { leader: self.leader() }
    }
}

/// Shared by the tasks of the core thread.
pub(crate) type SharedCluster = Rc<Cluster>;
