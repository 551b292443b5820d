//! How far a node has come. A member that starts and finds no leader opens all the same for what
//! needs none: instances, and the configs that it knows. What it cannot know, it does not guess:
//! clients take a config that is not there for a removed one. A member that has lost its leader, or
//! that was stopped and goes on, knows no more than that.
//!
//! ```text
//! Closed ──► Open (no leader yet) ──► Ready ──► Closed (stopping)
//!    └──────────────────────────────────┘
//! ```
//! A member is ready for as long as that was confirmed, and then open until it is again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nacolet_model::{ConfigKey, Instant};

/// The stage of a node; one thread moves it, all others look.
#[derive(Debug)]
pub struct Stage {
    level: AtomicU8,
    /// Until when it is ready, by the clock, in milliseconds.
    until: AtomicU64,
    clock: fn() -> Instant,
    /// Configs that entries at the end of the log write, of which nobody here knows whether they
    /// are agreed. Everything this node has shown before it was restarted is applied or among them.
    unsettled: BTreeSet<ConfigKey>,
    /// What this node waits for, in words; empty when for nothing.
    waits: Mutex<String>,
}

const CLOSED: u8 = 0;
const OPEN: u8 = 1;
const READY: u8 = 2;
const FOR_EVER: u64 = u64::MAX;

impl Default for Stage {
    fn default() -> Self {
        Self::new(BTreeSet::new(), || Instant::ZERO)
    }
}

impl Stage {
    /// The stage of a node that begins.
    #[must_use]
    pub fn new(unsettled: BTreeSet<ConfigKey>, clock: fn() -> Instant) -> Self {
        Self {
            level: AtomicU8::new(CLOSED),
            until: AtomicU64::new(FOR_EVER),
            clock,
            unsettled,
            waits: Mutex::default(),
        }
    }

    /// Serves what needs no leader.
    pub fn open(&self) {
        self.level.store(OPEN, Ordering::Release);
    }

    /// Serves everything: all that was acknowledged before the start is part of the state.
    pub fn make_ready(&self) {
        self.level.store(READY, Ordering::Release);
    }

    /// What [`Self::make_ready`] says is true for so long and no longer, unless it is confirmed.
    pub fn confirm_for(&self, time: Duration) {
        self.until.store(((self.clock)() + time).as_millis(), Ordering::Release);
    }

    /// Serves nothing more.
    pub fn close(&self) {
        self.level.store(CLOSED, Ordering::Release);
    }

    /// It waits for this; for nothing when that is empty.
    pub fn wait_for(&self, words: String) {
        *self.waits.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// What it waits for, for people to read; `in_short` without addresses, for strangers.
    #[must_use]
    pub fn waits_for(&self, in_short: bool) -> Option<String> {
        let words = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let told = match words.split_once(": ") {
            Some((what, _)) if in_short => what,
            _ => words.as_str(),
        };
        (!told.is_empty()).then(|| told.to_owned())
    }

    /// Whether it serves anything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.level.load(Ordering::Acquire) != CLOSED
    }

    /// Whether it serves everything.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.was_ready() && {
            let until = self.until.load(Ordering::Acquire);
            until == FOR_EVER || (self.clock)().as_millis() < until
        }
    }

    fn was_ready(&self) -> bool {
        self.level.load(Ordering::Acquire) == READY
    }

    /// Whether what the state says of a config, `found` or not, can be told to a client.
    #[must_use]
    pub fn can_tell(&self, key: impl FnOnce() -> Option<ConfigKey>, found: bool) -> bool {
        // Once it was ready, all that the log held at the start is settled.
        let is_settled = |key| self.was_ready() || !self.unsettled.contains(&key);
        self.is_ready() || (found && key().is_some_and(is_settled))
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
        let stage = Stage::new([key("written")].into(), || Instant::ZERO);
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

    #[test]
    fn without_a_confirmation_it_tells_only_what_it_has() {
        static NOW: AtomicU64 = AtomicU64::new(0);
        let clock = || Instant::from_millis(NOW.load(Ordering::Relaxed));
        let stage = Stage::new([key("written")].into(), clock);
        let tells = |data_id: &str, found| stage.can_tell(|| Some(key(data_id)), found);
        stage.make_ready();
        stage.confirm_for(Duration::from_secs(3));
        NOW.store(2_999, Ordering::Relaxed);
        assert!(stage.is_ready() && tells("absent", false));
        NOW.store(3_000, Ordering::Relaxed);
        assert!(stage.is_open() && !stage.is_ready());
        assert!(tells("old", true) && tells("written", true), "that was settled long ago");
        assert!(!tells("absent", false), "somebody may have written it meanwhile");
        stage.confirm_for(Duration::from_secs(60));
        assert!(stage.is_ready());
    }
}
