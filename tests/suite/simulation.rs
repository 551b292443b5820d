//! Seeds that must keep every promise. `SIM_SEED` and `SIM_SEEDS` choose others; `cargo ci sim`
//! runs many. A seed that ever failed stays in the list of old ones.

use nacolet_model::Duration;
use nacolet_tests::network::Weather;
use nacolet_tests::options;
use nacolet_tests::plan::{Faults, Plan};
use nacolet_tests::run::{Options, Report, run};
use nacolet_tests::world::World;

/// Seeds with one node, and seeds with as many as they draw.
const ALONE: u64 = 120;
const CLUSTERS: u64 = 100;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs seeds and adds up what they saw.
fn sweep(count: u64, voters: Option<u64>) -> Vec<Report> {
    let first = number("SIM_SEED", 1);
    let count = number("SIM_SEEDS", count);
    let options = Options { voters, ..Options::default() };
    let reports: Vec<Report> = (first..first + count).map(|seed| run(seed, options)).collect();
    for Report { seed, violation, .. } in &reports {
        let command = options::Options { nodes: voters, ..Default::default() }.replay(*seed, None);
        assert_eq!(*violation, None, "seed {seed}; replay with: {command}");
    }
    reports
}

fn sum(reports: &[Report], fact: impl Fn(&Report) -> u64) -> u64 {
    reports.iter().map(fact).sum()
}

/// A run that saw nothing proves nothing.
fn check_coverage(reports: &[Report]) {
    let seeds = reports.len() as u64;
    assert!(sum(reports, |report| report.crashes) > seeds, "power cuts happen");
    let definite = sum(reports, |report| report.tally.acknowledged);
    assert!(definite > 20 * seeds, "writes succeed: {definite}");
    let unknown = sum(reports, |report| report.tally.unknown);
    assert!(unknown > 0 && unknown < definite, "outcomes are unknown now and then: {unknown}");
    assert!(sum(reports, |report| report.tally.linear_reads) > seeds);
    assert!(sum(reports, |report| report.tally.heard) > 5 * seeds);
    assert!(sum(reports, |report| report.tally.beats) > 10 * seeds);
    assert!(sum(reports, |report| report.tally.published) > 5 * seeds);
    assert!(sum(reports, |report| report.tally.lists) > seeds);
}

#[test]
fn one_node_keeps_every_promise() {
    check_coverage(&sweep(ALONE, Some(1)));
}

#[test]
fn clusters_keep_every_promise() {
    check_coverage(&sweep(CLUSTERS, None));
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in [3, 17, 101] {
        assert_eq!(run(seed, Options::default()), run(seed, Options::default()));
    }
}

/// An SD card takes 50 ms for an fsync, and a second now and then.
#[test]
fn a_slow_disk_costs_no_leader_its_place() {
    for seed in 1..=30 {
        let mut plan = Plan::new(seed, Some(3));
        (plan.faults, plan.weather) = (Faults::default(), Weather::fair());
        (plan.disk_latency_max, plan.disk_spikes_percent) = (Duration::from_millis(100), 5);
        (plan.duration, plan.clients) = (Duration::from_secs(60), 4);
        let mut world = World::new(plan, None);
        world.run();
        assert_eq!(world.checkers().violation(), None, "seed {seed}");
        let tally = world.checkers().tally();
        assert!(tally.acknowledged > 100, "seed {seed}: {tally:?}");
        assert_eq!(tally.leaders, 1, "seed {seed}");
    }
}
