//! Every input that was worth keeping, through its target: what was found once is not found again.
//! Bounds on memory are held too, so the inputs go one by one.

use std::alloc::System;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use nacolet_fuzz::{TARGETS, Target, cost, seeds};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// All inputs together; beyond, they are minimised before they are kept.
const CORPUS_BYTES_MAX: u64 = 500_000;
/// One of them.
const INPUT_BYTES_MAX: u64 = 64 << 10;

fn allocated() -> u64 {
    let stats = ALLOCATOR.stats();
    u64::try_from(stats.bytes_allocated).unwrap_or(u64::MAX)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let made = seeds::of(target.name).into_iter();
    found.extend(made.enumerate().map(|(number, seed)| (format!("seed {number}"), seed)));
    let Ok(files) = fs::read_dir(folder().join(target.name)) else { return found };
    for file in files {
        let path = file.expect("a listed file").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        found.push((name, fs::read(path).expect("a readable file")));
    }
    found.sort();
    found
}

#[test]
fn what_was_found_is_not_found_again() {
    cost::measure_with(allocated);
    let mut failed = Vec::new();
    for target in &TARGETS {
        for (name, input) in inputs(target) {
            if catch_unwind(|| (target.run)(&input)).is_err() {
                failed.push(format!("{}/{name}", target.name));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn the_corpus_is_small_and_belongs_to_targets() {
    let mut bytes = 0;
    for folder in fs::read_dir(folder()).expect("a corpus") {
        let folder = folder.expect("a listed folder");
        let name = folder.file_name();
        let name = name.to_str().expect("a name");
        let is_one = TARGETS.iter().any(|target| target.name == name);
        assert!(is_one, "there is no target {name}");
        for file in fs::read_dir(folder.path()).expect("a folder") {
            let size = file.expect("a listed file").metadata().expect("a size").len();
            assert!(size <= INPUT_BYTES_MAX, "{name}: an input of {size} bytes");
            bytes += size;
        }
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes");
}
