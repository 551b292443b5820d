//! One seed from begin to end, and many of them: what was found, and what happened.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::checker::Tally;
use crate::kernel::node_of;
use crate::panics;
use crate::plan::Plan;
use crate::planted::Planted;
use crate::promise::Violation;
use crate::story::{Extent, Line, Who, page};
use crate::subject::Subject;
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

fn world(seed: u64, options: Options) -> World {
    let world = World::new(Plan::new(seed, options.voters), options.planted);
    if options.clients_only {
        world.checkers().believe_clients_only();
    }
    world
}

/// Runs `seed`.
#[must_use]
pub fn run(seed: u64, options: Options) -> Report {
    let mut world = world(seed, options);
    let report = finish(seed, &mut world);
    take_down(world);
    report
}

/// Runs `seed` and tells what happened.
#[must_use]
pub fn tell(seed: u64, options: Options, extent: Extent) -> (Report, String) {
    tell_of(seed, world(seed, options), extent)
}

fn tell_of(seed: u64, mut world: World, extent: Extent) -> (Report, String) {
    world.story().record();
    let report = finish(seed, &mut world);
    let text = page(world.story(), report.violation.as_ref(), extent);
    take_down(world);
    (report, text)
}

fn finish(seed: u64, world: &mut World) -> Report {
    let panicked = panics::noting(|| catch_unwind(AssertUnwindSafe(|| world.run())));
    let violation = match panicked {
        Ok(()) => world.checkers().violation(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            Some(panicked_at(world, text))
        }
    };
    let (tally, crashes) = (world.checkers().tally(), world.crashes());
    Report { seed, violation, tally, crashes, trace: world.trace() }
}

/// A panic is a finding like any other, and the last event of its story.
fn panicked_at(world: &World, text: &str) -> Violation {
    let node = node_of(world.polled());
    let who = node.map_or(Who::World, Who::Node);
    let panic = panics::take();
    let location = panic.as_ref().map_or("an unknown place", |panic| &panic.location);
    let what = format!("{text}, at {location}");
    for function in panic.iter().flat_map(|panic| panic.functions.iter().rev()) {
        world.tell(|| Line::of(who, format!("is in {function}")));
    }
    world.story().fails(who, || format!("panics: {what}"));
    let about = node.map_or(Subject::Cluster, Subject::Node);
    Violation { promise: "panic", what, about }
}

/// Tasks that still wait are dropped; what they panic about then is not news.
fn take_down(world: World) {
    let dropped = panics::noting(|| catch_unwind(AssertUnwindSafe(|| drop(world))));
    drop(dropped);
    panics::take();
}

/// The first of `seeds` seeds from `first` on that finds anything.
#[must_use]
pub fn hunt(options: Options, first: u64, seeds: u64) -> Option<Report> {
    (first..first + seeds).map(|seed| run(seed, options)).find(|report| report.violation.is_some())
}

#[cfg(test)]
mod tests {
    use nacolet_model::{Instant, NodeId};

    use super::*;

    #[test]
    fn a_panic_of_a_node_is_the_last_event_of_its_story() {
        let plan = Plan::new(3, Some(3));
        let world = World::new(plan, None);
        world.panics_at(NodeId(1), Instant::from_millis(1_500), "a planted panic");
        let (report, text) = tell_of(3, world, Extent::Last);
        let violation = report.violation.expect("it is found");
        assert_eq!((violation.promise, violation.about), ("panic", Subject::Node(NodeId(1))));
        let place = violation.what.strip_prefix("a planted panic, at ").expect("message and place");
        assert!(place.contains("world.rs:"), "{place}");
        let last = format!("!! 00:01.500 n1    panics: a planted panic, at {place}\n");
        assert!(text.contains(&last), "{text}");
        let broken = format!("\nbroken: panic (nothing panics)\n  a planted panic, at {place}\n");
        let judged = "\njudged by what concerns n1";
        assert!(text.contains(&(broken + judged)), "{text}");
    }
}
