//! `cargo ci edge`: the binaries for small Linux boxes, built static for each kind of processor,
//! their size, and the README's commands against each of them, under QEMU where it is not ours.
//!
//! What counts is one file that runs on any kernel without a C library, so a binary that asks for a
//! dynamic loader fails here, and so does one that outgrew its bound. `--quick` builds without
//! optimisation across crates, so that a build machine can afford all of them: it shows that the
//! code runs on those processors and says nothing about size.

use crate::process::{cargo, now, step};
use crate::readme;
use crate::tree;
use std::env;
use std::fs;
use std::process::Command;

/// Largest binary in bytes, gRPC included. A gateway with 16 MiB of flash keeps two versions, and
/// data beside them.
const BINARY_BYTES_MAX: usize = 7_000_000;

/// The type of an ELF program header that names a dynamic loader.
const PT_INTERP: u32 = 3;

/// A kind of processor.
#[derive(Debug)]
struct Target {
    /// What people call it.
    name: &'static str,
    /// What the compiler calls it.
    triple: &'static str,
    /// Runs its programs on another processor.
    emulator: Option<&'static str>,
}

const TARGETS: [Target; 3] = [
    Target { name: "x86-64", triple: "x86_64-unknown-linux-musl", emulator: None },
    Target {
        name: "aarch64",
        triple: "aarch64-unknown-linux-musl",
        emulator: Some("qemu-aarch64-static"),
    },
    Target {
        name: "armv7",
        triple: "armv7-unknown-linux-musleabihf",
        emulator: Some("qemu-arm-static"),
    },
];

/// A folder with musl and a specs file for gcc, for `armv7`: with it the standard library is built
/// from its source (component `rust-src`), for toolchains that do not come with it compiled.
const ARMV7_MUSL: &str = "NACOLET_ARMV7_MUSL";

/// Builds and tries the targets named, or all; true if each is static, small enough and works.
pub(crate) fn run(arguments: &[&str]) -> bool {
    let quick = arguments.contains(&"--quick");
    let names: Vec<&str> = arguments.iter().copied().filter(|word| *word != "--quick").collect();
    if let Some(unknown) = names.iter().find(|name| TARGETS.iter().all(|t| t.name != **name)) {
        println!("edge: no target is called {unknown}");
        return false;
    }
    let wanted = |target: &&Target| names.is_empty() || names.contains(&target.name);
    let mut failed = Vec::new();
    for target in TARGETS.iter().filter(wanted) {
        if !(target.build(quick) && target.measure(quick) && target.try_out(quick)) {
            failed.push(target.name);
        }
    }
    if !failed.is_empty() {
        println!("edge: FAILED: {}", failed.join(", "));
    }
    failed.is_empty()
}

impl Target {
    fn build(&self, quick: bool) -> bool {
        let mut build = cargo();
        build.current_dir(tree::root());
        build.args(["build", "--locked", "--package", "nacolet", "--target", self.triple]);
        build.args(["--profile", profile(quick)]);
        if self.name == "armv7"
            && let Ok(musl) = env::var(ARMV7_MUSL)
        {
            build_std(&mut build, &musl);
        }
        step(&format!("edge build {}", self.name), &mut build)
    }

    fn path(&self, quick: bool) -> String {
        format!("target/{}/{}/nacolet", self.triple, profile(quick))
    }

    fn measure(&self, quick: bool) -> bool {
        let path = self.path(quick);
        let binary = match fs::read(tree::root().join(&path)) {
            Ok(binary) => binary,
            Err(error) => {
                println!("{path}: {error}");
                return false;
            }
        };
        match asks_for_loader(&binary) {
            Some(false) => {}
            Some(true) => {
                println!("{path}: is not static: it asks for a dynamic loader");
                return false;
            }
            None => {
                println!("{path}: is not a little-endian ELF file");
                return false;
            }
        }
        if quick {
            println!("{path}: static");
            return true;
        }
        println!("{path}: static, {} bytes of at most {BINARY_BYTES_MAX}", binary.len());
        binary.len() <= BINARY_BYTES_MAX
    }

    /// What the README shows, a kill without warning, and what must be there after it.
    fn try_out(&self, quick: bool) -> bool {
        let root = tree::root();
        let folder = root.join("target/edge").join(self.name);
        let start = now();
        let tried = fs::read_to_string(root.join("README.md"))
            .map_err(|error| error.to_string())
            .and_then(|readme| {
                readme::follow(self.emulator, &root.join(self.path(quick)), &folder, &readme)
            });
        let seconds = start.elapsed().as_secs_f64();
        match tried {
            Ok(()) => println!("edge run {}: ok after {seconds:.1} s", self.name),
            Err(ref why) => println!("edge run {}: FAILED: {why}", self.name),
        }
        tried.is_ok()
    }
}

const fn profile(quick: bool) -> &'static str {
    if quick { "quick" } else { "release" }
}

/// Has the standard library built as well, against the musl in `folder`.
fn build_std(build: &mut Command, folder: &str) {
    build.args(["-Z", "build-std=std,panic_abort"]).env("RUSTC_BOOTSTRAP", "1");
    let flags = format!(
        "-C target-feature=+crt-static -C relocation-model=static -C link-self-contained=no \
         -C link-arg=-specs={folder}/specs -L native={folder}/lib"
    );
    build.env("CARGO_TARGET_ARMV7_UNKNOWN_LINUX_MUSLEABIHF_RUSTFLAGS", flags);
}

/// Whether an ELF file has a program header for a loader; `None` if it is not such a file.
fn asks_for_loader(binary: &[u8]) -> Option<bool> {
    let half = |at: usize| Some(u16::from_le_bytes(binary.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| {
        let bytes = binary.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    // Magic, class, little-endian; where the table is, how long an entry, how many.
    let (table, entry_bytes, entries) = if binary.starts_with(b"\x7fELF\x02\x01") {
        let table = u64::from_le_bytes(binary.get(32..40)?.try_into().ok()?);
        (usize::try_from(table).ok()?, half(54)?, half(56)?)
    } else if binary.starts_with(b"\x7fELF\x01\x01") {
        (usize::try_from(word(28)?).ok()?, half(42)?, half(44)?)
    } else {
        return None;
    };
    for index in 0..usize::from(entries) {
        if word(table.checked_add(index * usize::from(entry_bytes))?)? == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(kinds: &[u32]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        file[56..58].copy_from_slice(&u16::try_from(kinds.len()).unwrap().to_le_bytes());
        for kind in kinds {
            file.extend(kind.to_le_bytes());
            file.extend([0; 52]);
        }
        file
    }

    fn elf32(kinds: &[u32]) -> Vec<u8> {
        let mut file = vec![0; 52];
        file[..6].copy_from_slice(b"\x7fELF\x01\x01");
        file[28..32].copy_from_slice(&52_u32.to_le_bytes());
        file[42..44].copy_from_slice(&32_u16.to_le_bytes());
        file[44..46].copy_from_slice(&u16::try_from(kinds.len()).unwrap().to_le_bytes());
        for kind in kinds {
            file.extend(kind.to_le_bytes());
            file.extend([0; 28]);
        }
        file
    }

    #[test]
    fn a_loader_is_seen_in_the_program_headers() {
        assert_eq!(asks_for_loader(&elf(&[1, 2])), Some(false));
        assert_eq!(asks_for_loader(&elf(&[1, 3])), Some(true));
        assert_eq!(asks_for_loader(&elf32(&[1, 2])), Some(false));
        assert_eq!(asks_for_loader(&elf32(&[1, 3])), Some(true));
        assert_eq!(asks_for_loader(b"#!/bin/sh"), None);
        for whole in [elf(&[1, 3]), elf32(&[1, 3])] {
            assert_eq!(asks_for_loader(&whole[..70]), None, "a table cut short is not trusted");
        }
    }
}
