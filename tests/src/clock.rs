//! The clocks of one node: a monotonic one that begins with each life and may run a little fast or
//! slow, and a wall clock that anybody may set.

use std::cell::Cell;
use std::rc::Rc;

use nacolet_model::{Duration, Instant, WallTime};
use nacolet_raft::{LocalBoxFuture, Timer};

use crate::kernel::Kernel;

/// What wall clocks show when the world begins: a day in 2026.
const WORLD_BEGINS_MS: i64 = 1_795_000_000_000;

#[derive(Debug)]
struct State {
    born: Cell<Instant>,
    /// How much faster than true time it runs, per mille.
    drift: i64,
    wall_offset_ms: Cell<i64>,
    /// What the wall clock showed at birth.
    wall_at_birth: Cell<u64>,
}

/// The clocks of one node. Clones are the same clocks.
#[derive(Clone, Debug)]
pub struct NodeClock {
    kernel: Kernel,
    state: Rc<State>,
    /// Planted: measures time by the wall clock.
    by_wall: bool,
}

impl NodeClock {
    /// Clocks that run `drift` per mille fast.
    #[must_use]
    pub fn new(kernel: Kernel, drift: i64) -> Self {
        let state = State {
            born: Cell::default(),
            drift: drift.clamp(-500, 500),
            wall_offset_ms: Cell::new(0),
            wall_at_birth: Cell::new(0),
        };
        Self { kernel, state: Rc::new(state), by_wall: false }
    }

    /// The same clocks, except that what should be monotonic follows the wall clock. A planted bug.
    #[must_use]
    pub fn by_wall(&self) -> Self {
        Self { by_wall: true, ..self.clone() }
    }

    /// The node starts: its monotonic clock begins at zero.
    pub fn start(&self) {
        self.state.born.set(self.kernel.now());
        self.state.wall_at_birth.set(self.wall().0);
    }

    /// Sets the wall clock so that it is wrong by `offset_ms`.
    pub fn set_wall(&self, offset_ms: i64) {
        self.state.wall_offset_ms.set(offset_ms);
    }

    /// Sets the wall clock to 1970.
    pub fn set_wall_to_1970(&self) {
        self.set_wall(-WORLD_BEGINS_MS);
    }

    /// Milliseconds since 1970, as the node believes.
    #[must_use]
    pub fn wall(&self) -> WallTime {
        let true_ms = i64::try_from(self.kernel.now().as_millis()).unwrap_or(i64::MAX);
        let ms = WORLD_BEGINS_MS + true_ms + self.state.wall_offset_ms.get();
        WallTime(u64::try_from(ms).unwrap_or(0))
    }

    fn rate(&self) -> u64 {
        u64::try_from(1_000 + self.state.drift).unwrap_or(1)
    }

    fn lived(&self) -> Duration {
        let lived = self.kernel.now() - self.state.born.get();
        let micros = u64::try_from(lived.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(micros.saturating_mul(self.rate()) / 1_000)
    }
}

impl Timer for NodeClock {
    fn now(&self) -> Instant {
        if self.by_wall {
            return Instant::from_millis(
                self.wall().0.saturating_sub(self.state.wall_at_birth.get()),
            );
        }
        Instant::ZERO + self.lived()
    }

    fn until(&self, deadline: Instant) -> LocalBoxFuture<'static, ()> {
        let left = deadline.saturating_since(self.now());
        let micros = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
        let micros = micros.saturating_mul(1_000).div_ceil(self.rate());
        // Whole steps of the local clock: one more, so that it never rings early.
        let sleep = self.kernel.sleep(Duration::from_micros(micros.saturating_add(1)));
        Box::pin(sleep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_rings_early_but_never_before_its_own_time() {
        for drift in [-50, -7, 0, 7, 50] {
            let kernel = Kernel::default();
            let clock = NodeClock::new(kernel.clone(), drift);
            clock.start();
            for step in [1_u64, 7, 999, 1_000, 123_457] {
                let deadline = clock.now() + Duration::from_micros(step);
                let alarm = clock.until(deadline);
                kernel.spawn(crate::kernel::OUTSIDE, alarm);
                kernel.settle();
                assert!(kernel.step(Instant::from_millis(3_600_000)), "it rings");
                assert!(clock.now() >= deadline);
            }
        }
    }

    #[test]
    fn the_wall_clock_may_stand_in_1970() {
        let clock = NodeClock::new(Kernel::default(), 0);
        clock.set_wall_to_1970();
        assert_eq!(clock.wall(), WallTime(0));
        clock.set_wall(-2 * WORLD_BEGINS_MS);
        assert_eq!(clock.wall(), WallTime(0));
    }
}
