//! What makes a member of a node: links to its peers, the care for its own membership, and a way to the
//! leader for writes and linearizable reads. A node that is alone has none of it.
//!
//! ```text
//!  core ── write, read_index ──► forward ──► Raft here, or Call to the leader
//!  keeper: joins, announces a new address, asks for a vote, notices a removal
//!  digest: asks whether the others have the same state
//!  core ── Distro ──► transport                 inbound: what peers send and ask
//!                                                 ──► Raft, change, mailbox ──► core
//! ```

pub(crate) mod address;
pub(crate) mod applied;
pub(crate) mod change;
pub(crate) mod digest;
pub(crate) mod forward;
pub(crate) mod inbound;
pub(crate) mod keeper;
pub(crate) mod mailbox;
pub(crate) mod member;
pub(crate) mod network;
pub(crate) mod operate;
pub(crate) mod record;
pub(crate) mod refill;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, RwLock};

use nacolet_model::NodeId;
use nacolet_raft::Raft;
use nacolet_registry::Registry;
use nacolet_storage::DataDir;
use nacolet_transport::{Call, CallError, ClusterKey, Reply, Transport};

use self::applied::Applied;
use self::digest::Digests;
use self::mailbox::Mailbox;
use self::record::Record;
use crate::machine::Machine;

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
    /// None for a founder that is alone.
    pub(crate) record: RefCell<Option<Record>>,
    pub(crate) learner: bool,
}

impl Cluster {
    pub(crate) fn me(&self) -> NodeId {
        self.raft.id()
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

/// Why there is no cluster key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("cannot read the cluster key file {path}: {source}", path = path.display())]
    Unreadable { path: std::path::PathBuf, source: std::io::Error },
    #[error("the cluster key file {path} is not right: {source}", path = path.display())]
    Short { path: std::path::PathBuf, source: nacolet_transport::KeyTooShort },
}

/// Reads the secret. White space at the end of a text is no part of it: editors add line feeds.
pub(crate) fn read_key(path: &Path) -> Result<ClusterKey, KeyError> {
    let bytes = std::fs::read(path)
        .map_err(|source| KeyError::Unreadable { path: path.to_owned(), source })?;
    let is_text = bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    let key = if is_text { bytes.trim_ascii_end() } else { &bytes };
    ClusterKey::new(key).map_err(|source| KeyError::Short { path: path.to_owned(), source })
}
