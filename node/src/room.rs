//! What this node has memory for. For configs and their past it tells all members (`stating.rs`),
//! because what is applied must not depend on one of them; the rest, what is held for a while, it
//! bounds itself.

use nacolet_model::limits;
use nacolet_raft::engine;

/// Room for configs and their past in bytes, as the settings have it. As much is thought to be
/// there for all else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room(pub(crate) u64);

impl Room {
    /// What the other members must know: nothing where the limits come first.
    pub(crate) fn stated(self) -> Option<u64> {
        (self.0 < limits::ROOM_BYTES_MAX).then_some(self.0)
    }

    /// One of so many parts of it, at most the limit.
    fn part(self, parts: u64, limit: usize) -> usize {
        usize::try_from(self.0 / parts).unwrap_or(usize::MAX).min(limit)
    }

    /// Bounds what Raft holds of its log.
    pub(crate) fn bound_engine(self, engine: &mut engine::EngineConfig) {
        engine.uncommitted_bytes_max = self.part(8, engine.uncommitted_bytes_max);
        engine.held_tail_bytes_max = self.part(16, engine.held_tail_bytes_max);
        engine.tail_bytes_max = self.part(16, engine.tail_bytes_max);
        let every = engine.snapshot_every_bytes;
        engine.snapshot_every_bytes = every.min(self.0 / 4);
    }

    /// Bounds what is held for clients.
    pub(crate) fn bound_api(self, api: &mut nacolet_api::Settings) {
        api.bodies_bytes_max = self.part(4, api.bodies_bytes_max);
        api.bodies_reserve_bytes = self.part(16, api.bodies_reserve_bytes);
        api.lists_bytes_max = self.part(16, api.lists_bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use nacolet_model::NodeId;

    use super::*;

    #[test]
    fn with_all_room_there_is_nothing_but_the_limits_bind() {
        let all = Room(limits::ROOM_BYTES_MAX);
        let mut engine = engine::EngineConfig::new(NodeId(1), 2);
        all.bound_engine(&mut engine);
        assert_eq!(engine, engine::EngineConfig::new(NodeId(1), 2));
        let mut api = nacolet_api::Settings::default();
        all.bound_api(&mut api);
        let lists = (api.lists_bytes_max, limits::LIST_SHELF_BYTES_MAX);
        assert_eq!(lists.0, lists.1);
        assert_eq!(api.bodies_bytes_max, limits::BODIES_BYTES_MAX);
        assert_eq!(api.bodies_reserve_bytes, limits::BODIES_RESERVE_BYTES);
        assert_eq!(all.stated(), None);
        // Half of 32 MiB.
        let half = Room(16 << 20);
        half.bound_engine(&mut engine);
        half.bound_api(&mut api);
        assert_eq!(half.stated(), Some(16 << 20));
        assert_eq!((engine.uncommitted_bytes_max, engine.tail_bytes_max), (2 << 20, 1 << 20));
        assert_eq!(engine.snapshot_every_bytes, 4 << 20);
        assert_eq!((api.bodies_bytes_max, api.bodies_reserve_bytes), (4 << 20, 1 << 20));
    }
}
