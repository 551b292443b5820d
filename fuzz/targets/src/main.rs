//! The program of every target: which one it is, its name says. `cargo ci fuzz` builds and starts
//! them.
#![no_main]

use std::alloc::System;
use std::sync::Once;

use libfuzzer_sys::fuzz_target;
use nacolet_fuzz::{Target, cost};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TARGET: Target = nacolet_fuzz::named(env!("CARGO_BIN_NAME"));

static START: Once = Once::new();

fn allocated() -> u64 {
    u64::try_from(ALLOCATOR.stats().bytes_allocated).unwrap_or(u64::MAX)
}

fuzz_target!(|data: &[u8]| {
    START.call_once(|| cost::measure_with(allocated));
    (TARGET.run)(data);
});
