//! What makes a member of a node: links to its peers, the care for its own membership, and a way to
//! the leader for writes and linearizable reads. A node that is alone has none of it.
//!
//! ```text
//!  core ── write, read_index ──► forward ──► Raft here, or Call to the leader
//!  keeper: joins, announces a new address, asks for a vote, notices a removal
//!  digest: asks whether the others have the same state
//!  core ── Distro ──► transport                 inbound: what peers send and ask
//!                                                 ──► Raft, change, mailbox ──► core
//! ```

pub(crate) mod address;
pub(crate) mod change;
pub(crate) mod digest;
pub(crate) mod forward;
mod founder;
mod founding;
pub(crate) mod inbound;
pub(crate) mod keeper;
pub(crate) mod key;
mod knock;
pub(crate) mod mailbox;
pub(crate) mod member;
pub(crate) mod network;
pub(crate) mod operate;
pub(crate) mod record;
pub(crate) mod view;

pub(crate) use view::SharedCluster;
