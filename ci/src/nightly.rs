//! `cargo ci nightly`: what takes hours and seldom fails, so that no change waits for it. Every
//! check is a verb of its own and runs to its end, whatever the one before it found.

use crate::{chaos, fuzz, interop, mutants, sim};
use std::time::{Duration, SystemTime};

/// Each target of `fuzz`: two and a half hours for all of them.
const FUZZ_SECONDS: &str = "300";
/// Simulated clusters: three quarters of an hour.
const SEEDS: u64 = 100_000;

/// Faults of real processes that take long, or change what the members are.
const LONG_FAULTS: &str = "moved,wiped,own-disk,kill,damage";
/// Some twenty minutes.
const CYCLES: &str = "60";

/// Runs all of them; true if none found anything.
pub(crate) fn run() -> bool {
    let (seeds, from) = (SEEDS.to_string(), first_seed().to_string());
    let outcomes = [
        ("interop", interop::nightly()),
        ("mutants", mutants::run(&[])),
        ("sim", sim::run(&["--seeds", &seeds, "--from", &from])),
        ("sim --planted", sim::run(&["--planted"])),
        ("chaos", chaos::run(&["--faults", LONG_FAULTS, "--cycles", CYCLES])),
        ("fuzz", fuzz::run(&["--bare", "--seconds", FUZZ_SECONDS])),
    ];
    println!();
    for (name, passed) in outcomes {
        println!("nightly: {name}: {}", if passed { "ok" } else { "FAILED" });
    }
    outcomes.iter().all(|(_, passed)| *passed)
}

/// Each day has seeds of its own; a run that fails says which one it was.
#[allow(clippy::disallowed_methods, reason = "a tool may know what day it is")]
fn first_seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_secs() / 86_400 * SEEDS
}
