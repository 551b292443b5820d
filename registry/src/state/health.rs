//! The beat clock: who is unhealthy, who is gone, and when to look again. Deadlines are derived
//! from the stamps that beats leave, so a beat moves nothing; a service is looked at when the
//! oldest stamp in it could matter.
//!
//! ```text
//!  beat      beat expected            suspect: a look a second       unhealthy, or gone
//!   |----------- interval -----...-------|------|------|------...-------|
//! ```
//!
//! The looks ahead of a deadline decide nothing. They are there so that a pause of our own is
//! noticed: a process that was stopped wakes late for a deadline it had asked for, and then waits
//! one beat period before it calls anybody silent. Where everybody beats nobody is ever suspect, so
//! a service is looked at once in some seconds.

use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::{Duration, Instant, limits};

use crate::state::instance::Instance;
use crate::words::names::{ClientId, Life, PublicationKey, WriteVersion};

/// How often a service is looked at that has a suspect, so that no longer pause goes unnoticed.
const SUSPECT_EVERY: Duration = limits::OWN_PAUSE;

/// What a look at one service found.
#[derive(Debug, Default)]
pub(crate) struct HealthLook {
    /// Who is unhealthy now.
    pub(crate) sick: Vec<PublicationKey>,
    /// Who is gone.
    pub(crate) gone: Vec<(PublicationKey, WriteVersion)>,
    /// When to look again.
    pub(crate) next: Option<Instant>,
}

impl HealthLook {
    /// Looks at one instance and says whether it stays.
    pub(crate) fn at(&mut self, instance: &mut Instance, now: Instant, clock: &BeatClock) -> bool {
        if !clock.watches(instance) {
            return true;
        }
        let deadlines = clock.deadlines(instance, now);
        if deadlines.gone_at <= now {
            self.gone.push((instance.publication(), instance.born()));
            return false;
        }
        if deadlines.sick_at <= now && instance.set_healthy(false) {
            self.sick.push(instance.publication());
        }
        let next = clock.next_look(instance, now);
        self.next = Some(self.next.map_or(next, |soonest| soonest.min(next)));
        true
    }
}

/// What the looks of one moment share.
#[derive(Clone, Debug)]
pub(crate) struct BeatClock {
    /// The period told to clients.
    pub(crate) interval: Duration,
    /// When the process last noticed that it had been stopped.
    pub(crate) resumed: Option<Instant>,
    /// Lives of members whose connections keep instances alive.
    pub(crate) lives: Arc<[Life]>,
}

/// When one instance is unhealthy and when it is gone if it stays silent.
struct Deadlines {
    sick_at: Instant,
    gone_at: Instant,
}

impl BeatClock {
    /// Whether silence ends an instance: one that beats, or one whose connection went with its
    /// member. The client of the latter has some time to come back on another connection.
    pub(crate) fn watches(&self, instance: &Instance) -> bool {
        instance.ephemeral() && !self.is_kept(instance)
    }

    /// Whether a connection to a member that lives keeps it.
    pub(crate) fn is_kept(&self, instance: &Instance) -> bool {
        instance.owner().is_some_and(|owner: ClientId| self.lives.contains(&owner.life()))
    }

    fn interval(&self, instance: &Instance) -> Duration {
        instance.timers().interval_override().unwrap_or(self.interval)
    }

    fn deadlines(&self, instance: &Instance, now: Instant) -> Deadlines {
        let interval = self.interval(instance);
        let beat_ms = now.as_millis().saturating_sub(whole_millis(instance.silence(now)));
        let beat = Instant::from_millis(beat_ms);
        let grace = self.resumed.map_or(Instant::ZERO, |at| at + patience(interval));
        let (sick_after, gone_after) = match instance.owner() {
            None => (instance.timers().timeout(), instance.timers().delete()),
            Some(_) => (limits::DISTRO_ORPHAN_EXPIRY, limits::DISTRO_ORPHAN_EXPIRY),
        };
        Deadlines {
            sick_at: (beat + sick_after).max(grace),
            gone_at: (beat + gone_after).max(grace),
        }
    }

    /// When to look at an instance that is not gone at `now`: always later than that.
    pub(crate) fn next_look(&self, instance: &Instance, now: Instant) -> Instant {
        let Deadlines { sick_at, gone_at } = self.deadlines(instance, now);
        let decides_at = if sick_at > now { sick_at.min(gone_at) } else { gone_at };
        let suspect_at = before(decides_at, patience(self.interval(instance)));
        let look_at = on_grid(suspect_at.max(now + SUSPECT_EVERY).min(decides_at));
        debug_assert!(look_at > now || gone_at <= now, "a look is ahead of whoever is not gone");
        look_at
    }
}

/// How long an instance that beats may need to be heard again: its period, a fifth more for a beat
/// that is on its way, and what a pause may last without being noticed.
fn patience(interval: Duration) -> Duration {
    interval + interval / 5 + limits::OWN_PAUSE
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn before(at: Instant, duration: Duration) -> Instant {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    Instant::from_micros(at.as_micros().saturating_sub(micros))
}

/// The next multiple of the slack, so that the services of a node wake it together.
fn on_grid(at: Instant) -> Instant {
    let slack = u64::try_from(limits::HEALTH_CHECK_SLACK.as_micros()).unwrap_or(1);
    Instant::from_micros(at.as_micros().div_ceil(slack).saturating_mul(slack))
}
