//! How far a node has come. A member that starts and finds no leader opens all the same for what needs
//! none: instances, and the configs that it knows. What it cannot know, it does not guess: clients take
//! a config that is not there for a removed one.
//!
//! ```text
//! Closed ──► Open (no leader yet) ──► Ready ──► Closed (stopping)
//!    └──────────────────────────────────┘
//! ```

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};

use nacolet_model::ConfigKey;

/// The stage of a node; one thread moves it, all others look.
#[derive(Debug, Default)]
pub struct Stage {
    level: AtomicU8,
    /// Configs that entries at the end of the log write, of which nobody here knows whether they are
    /// agreed. Everything this node has shown before it was restarted is applied or among them.
    unsettled: BTreeSet<ConfigKey>,
}

const CLOSED: u8 = 0;
const OPEN: u8 = 1;
const READY: u8 = 2;

impl Stage {
    /// The stage of a node that begins.
    #[must_use]
    pub const fn new(unsettled: BTreeSet<ConfigKey>) -> Self {
        Self { level: AtomicU8::new(CLOSED), unsettled }
    }

    /// Serves what needs no leader.
    pub fn open(&self) {
        self.level.store(OPEN, Ordering::Release);
    }

    /// Serves everything: all that was acknowledged before the start is part of the state.
    pub fn make_ready(&self) {
        self.level.store(READY, Ordering::Release);
    }

    /// Serves nothing more.
    pub fn close(&self) {
        self.level.store(CLOSED, Ordering::Release);
    }

    /// Whether it serves anything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.level.load(Ordering::Acquire) != CLOSED
    }

    /// Whether it serves everything.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.level.load(Ordering::Acquire) == READY
    }

    /// Whether what the state says of a config, `found` or not, can be told to a client.
    #[must_use]
    pub fn can_tell(&self, key: impl FnOnce() -> Option<ConfigKey>, found: bool) -> bool {
        self.is_ready() || (found && key().is_some_and(|key| !self.unsettled.contains(&key)))
    }
}

#[cfg(test)]
mod tests {
    use nacolet_model::{DataId, Group, Namespace};

    use super::*;

    fn key(data_id: &str) -> ConfigKey {
        ConfigKey {
            namespace: Namespace::public(),
            group: Group::new("g").expect("a group"),
            data_id: DataId::new(data_id).expect("a dataId"),
        }
    }

    #[test]
    fn before_it_is_ready_a_node_tells_only_what_it_knows() {
        let stage = Stage::new([key("written")].into());
        let tells = |data_id: &str, found| stage.can_tell(|| Some(key(data_id)), found);
        stage.open();
        assert!(stage.is_open() && !stage.is_ready());
        assert!(tells("old", true));
        assert!(!tells("old", false), "it may have been written elsewhere");
        assert!(!tells("written", true), "it may be newer, and this node may have shown that");
        stage.make_ready();
        assert!(tells("written", true) && tells("old", false));
        stage.close();
        assert!(!stage.is_open());
    }
}
