//! The only place that reads the operating system's clock. Everything else gets time as an
//! argument.

use std::sync::OnceLock;
use std::time::Duration;

use nacolet_lock::Stamp;
use nacolet_model::{Instant, WallTime};
use nacolet_raft::{LocalBoxFuture, Timer};

static START: OnceLock<std::time::Instant> = OnceLock::new();

/// Time since the first call, monotonic: changes of the wall clock do not touch it.
#[expect(clippy::disallowed_methods, reason = "this file is where time enters")]
pub(crate) fn now() -> Instant {
    let start = START.get_or_init(std::time::Instant::now);
    Instant::from_micros(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX))
}

static NAME: OnceLock<u64> = OnceLock::new();

/// Gives the clock of this process a name that no other has; the first one stays.
pub(crate) fn name(random: u64) {
    // A second name comes from a second node in one process, which shares the clock.
    let _ = NAME.set(random);
}

/// The time of locks, for a command that is about to be proposed.
pub(crate) fn stamp() -> Stamp {
    Stamp { clock: NAME.get().copied().unwrap_or_default(), millis: now().as_millis() }
}

/// Milliseconds since 1970 as the machine believes it; 0 on a board that starts before 1970.
#[expect(clippy::disallowed_methods, reason = "this file is where time enters")]
pub(crate) fn wall() -> WallTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    WallTime(since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
}

/// Resolves no earlier than `deadline`.
pub(crate) async fn until(deadline: Instant) {
    let left = deadline.saturating_since(now());
    if left > Duration::ZERO {
        smol::Timer::after(left).await;
    }
}

/// The clock of Raft.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RaftTimer;

impl Timer for RaftTimer {
    fn now(&self) -> Instant {
        now()
    }

    fn until(&self, deadline: Instant) -> LocalBoxFuture<'static, ()> {
        Box::pin(until(deadline))
    }
}

/// Both at once, for the api port.
pub(crate) fn both() -> (Instant, WallTime) {
    (now(), wall())
}
