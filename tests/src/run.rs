//! One seed from begin to end, and many of them: what was found, and how to see it again.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::checker::{Tally, Violation};
use crate::plan::Plan;
use crate::planted::Planted;
use crate::world::World;

/// What one run brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The first broken promise, or a panic.
    pub violation: Option<Violation>,
    /// What was done and seen.
    pub tally: Tally,
    /// Power cuts.
    pub crashes: u64,
    /// Sums up everything that happened.
    pub trace: u64,
}

/// How a seed is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// This many voters, not as many as the seed draws.
    pub voters: Option<u64>,
    /// With this bug.
    pub planted: Option<Planted>,
    /// Only what clients and operators can see counts, not what happens inside of Raft.
    pub clients_only: bool,
}

/// Runs `seed`.
#[must_use]
pub fn run(seed: u64, options: Options) -> Report {
    let mut world = World::new(Plan::new(seed, options.voters), options.planted);
    if options.clients_only {
        world.checkers().believe_clients_only();
    }
    let panicked = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match panicked {
        Ok(()) => world.checkers().violation(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            Some(Violation { promise: "panic", what: text.to_owned() })
        }
    };
    let (tally, crashes) = (world.checkers().tally(), world.crashes());
    let trace = world.trace();
    // Tasks that still wait are dropped; what they panic about then is not news.
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(world)));
    drop(dropped);
    Report { seed, violation, tally, crashes, trace }
}

/// The first of `seeds` seeds from `first` on that finds anything.
#[must_use]
pub fn hunt(options: Options, first: u64, seeds: u64) -> Option<Report> {
    (first..first + seeds).map(|seed| run(seed, options)).find(|report| report.violation.is_some())
}

/// The command that runs a seed again.
#[must_use]
pub fn replay(seed: u64, voters: Option<u64>) -> String {
    let nodes = voters.map(|voters| format!(" --nodes {voters}")).unwrap_or_default();
    format!("cargo ci sim --seeds 1 --from {seed}{nodes}")
}
