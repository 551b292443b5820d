//! What lines of a story and broken promises are about, and the names that nodes have there.

use std::fmt;

use nacolet_model::{ConfigKey, NodeId};

/// A node's name in a story.
pub(crate) fn name(node: NodeId) -> String {
    format!("n{}", node.0)
}

/// The names of some nodes.
pub(crate) fn names<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    let names: Vec<String> = nodes.into_iter().map(|node| name(*node)).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

/// What lines and broken promises are about; by this the lines that a checker judged are found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Nothing less than the whole cluster.
    Cluster,
    /// A node.
    Node(NodeId),
    /// A config.
    Key(ConfigKey),
    /// A write to a config, by its serial.
    Write(u64),
    /// A place in the Raft log.
    Entry(u64),
    /// An instance, by its port.
    Port(u16),
    /// A listener or a subscriber.
    Client(u64),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("the cluster"),
            Self::Node(node) => write!(f, "{}", name(*node)),
            Self::Key(key) => write!(f, "the config {}", key.data_id),
            Self::Write(serial) => write!(f, "write {serial}"),
            Self::Entry(index) => write!(f, "log index {index}"),
            Self::Port(port) => write!(f, "instance {port}"),
            Self::Client(number) => write!(f, "client {number}"),
        }
    }
}
