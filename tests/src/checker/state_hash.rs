//! P4: all members have the same state at the same applied index, by the hashes that both stores chain
//! over everything applied.

use std::collections::BTreeMap;

use nacolet_model::NodeId;

use super::Check;
use crate::machine::Shared;

/// The hashes at each index that any node stopped at.
#[derive(Default)]
pub(crate) struct Hashes(BTreeMap<u64, (u64, u64)>);

impl Hashes {
    /// A node has applied everything up to `index`.
    pub(crate) fn at(&mut self, node: NodeId, index: u64, shared: &Shared) -> Check {
        let configs = shared.configs.borrow().state_hash();
        let services = shared.registry.borrow().state_hash();
        let known = *self.0.entry(index).or_insert((configs, services));
        if known == (configs, services) {
            return Ok(());
        }
        Err(format!("{node} has another state at {index} than the first one there"))
    }
}
