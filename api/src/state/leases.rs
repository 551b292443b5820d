//! Which subscriptions were handed to the registry lately, so that most calls that ask for one cost
//! the core thread nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use nacolet_model::{Duration, Instant, limits};

/// When each subscription was last handed to the registry, by a hash of it. Two that fall on one
/// hash would at worst poll without pushes.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    handed_over: Mutex<BTreeMap<u64, Instant>>,
}

impl Leases {
    /// Whether a subscription has to be handed over again; if so, counts it as done.
    pub(crate) fn renew(&self, now: Instant, lease: Duration, hash: u64) -> bool {
        let mut leases = self.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        let is_young = |at: &Instant| now.saturating_since(*at) < lease / 2;
        if leases.get(&hash).is_some_and(is_young) {
            return false;
        }
        if leases.len() >= limits::UDP_SUBSCRIBERS_MAX {
            leases.retain(|_, at| is_young(at));
        }
        let has_room = leases.len() < limits::UDP_SUBSCRIBERS_MAX;
        if has_room {
            leases.insert(hash, now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_handed_over_when_half_its_lease_is_used() {
        let leases = Leases::default();
        let lease = Duration::from_secs(10);
        let at = |s: u64| Instant::from_millis(s * 1_000);
        assert!(leases.renew(at(0), lease, 1));
        assert!(!leases.renew(at(4), lease, 1));
        assert!(leases.renew(at(4), lease, 2), "another one is another one");
        assert!(leases.renew(at(5), lease, 1));
        assert!(!leases.renew(at(9), lease, 1));
    }

    #[test]
    fn the_memory_of_leases_is_bounded() {
        let leases = Leases::default();
        let lease = Duration::from_secs(10);
        let full = u64::try_from(limits::UDP_SUBSCRIBERS_MAX).expect("a small number");
        for hash in 0..full {
            assert!(leases.renew(Instant::ZERO, lease, hash));
        }
        assert!(!leases.renew(Instant::ZERO, lease, full), "the newest polls");
        assert!(leases.renew(Instant::from_millis(5_000), lease, full), "old ones make room");
    }
}
