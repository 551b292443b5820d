//! P3: a read of one node's state returns what was committed, as it was at the log index of that
//! state, and on one node it never goes back, restarts included.

use std::collections::BTreeMap;

use nacolet_model::{ConfigKey, NodeId};

use super::acknowledged::Ledger;
use super::check::Check;
use crate::inbox::ReadAnswer;
use crate::operation::serial_of;

/// The newest state that each node has shown.
#[derive(Default)]
pub(crate) struct LocalReads(BTreeMap<NodeId, u64>);

impl LocalReads {
    /// A node is about to show its state at a log index.
    pub(crate) fn shows(&mut self, node: NodeId, applied: u64) -> Check {
        let shown = self.0.entry(node).or_default();
        if applied < *shown {
            return Err(format!("{node} shows index {applied} and has shown {shown} before"));
        }
        *shown = applied;
        Ok(())
    }

    /// A node confirmed a linearizable read, under its lease or by asking: no write that was
    /// acknowledged before the read was asked for is missing.
    pub(crate) fn confirmed(node: NodeId, index: u64, before: u64) -> Check {
        if index >= before {
            return Ok(());
        }
        Err(format!("{node} confirms a read at {index}, and {before} was acknowledged before"))
    }

    /// A client got an answer.
    pub(crate) fn read(
        node: NodeId,
        key: &ConfigKey,
        answer: &ReadAnswer,
        ledger: &Ledger,
    ) -> Check {
        let found = answer.content.as_deref().map(|content| serial_of(content).unwrap_or(0));
        let expected = ledger.value_at(key, answer.applied).flatten();
        if found == expected {
            return Ok(());
        }
        let at = answer.applied;
        Err(format!("{node} shows {found:?} at index {at}, where {expected:?} is committed"))
    }
}
