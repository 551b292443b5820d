//! P3: a read of one node's state returns what was committed, as it was at the log index of that
//! state, and within one life of the node it never goes back.

use std::collections::BTreeMap;

use nacolet_model::{ConfigKey, NodeId};

use super::Check;
use super::acknowledged::{Ledger, serial_of};
use crate::inbox::ReadAnswer;

/// The newest state that each life of each node has shown.
#[derive(Default)]
pub(crate) struct LocalReads(BTreeMap<(NodeId, u64), u64>);

impl LocalReads {
    /// A node answered. Answers come in any order, so only the value at its index is certain; the
    /// index itself is compared where it was taken.
    pub(crate) fn read(
        &mut self,
        node: NodeId,
        key: &ConfigKey,
        answer: &ReadAnswer,
        ledger: &Ledger,
    ) -> Check {
        let shown = self.0.entry((node, answer.life)).or_default();
        *shown = (*shown).max(answer.applied);
        let found = answer.content.as_deref().map(|content| serial_of(content).unwrap_or(0));
        let expected = ledger.value_at(key, answer.applied).flatten();
        if found == expected {
            return Ok(());
        }
        let at = answer.applied;
        Err(format!("{node} shows {found:?} at index {at}, where {expected:?} is committed"))
    }
}
