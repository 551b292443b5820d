//! Seeds that must keep every promise. `SIM_SEED` and `SIM_SEEDS` choose others; `cargo ci sim` runs
//! many. A seed that ever failed stays in the list of old ones.

use nacolet_tests::run::{Options, Report, replay, run};

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
        let command = replay(*seed, voters);
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
