//! P4: all members have the same state at the same applied index, by the digest that members
//! compare in the field.

use std::collections::BTreeMap;

use nacolet_machine::{Digest, State};
use nacolet_model::NodeId;

use super::check::Check;

/// The digests at each index that any node stopped at.
#[derive(Default)]
pub(crate) struct Hashes(BTreeMap<u64, Digest>);

impl Hashes {
    /// A node has applied everything up to `index`.
    pub(crate) fn at(&mut self, node: NodeId, index: u64, state: &State) -> Check {
        let digest = state.digest();
        if *self.0.entry(index).or_insert(digest) == digest {
            return Ok(());
        }
        Err(format!("{node} has another state at {index} than the first one there"))
    }
}
