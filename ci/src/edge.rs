//! `cargo ci edge`: the binary for small Linux boxes, built static, and its size.
//!
//! What counts is one file that runs on any kernel without a C library, so a binary that asks for a
//! dynamic loader fails here, and so does one that outgrew its bound.

use crate::process::{cargo, step};
use crate::tree;
use std::fs;

const TARGET: &str = "x86_64-unknown-linux-musl";

/// Largest binary in bytes. A gateway with 16 MiB of flash keeps two versions, and data beside them.
const BINARY_BYTES_MAX: usize = 6_000_000;

/// The type of an ELF program header that names a dynamic loader.
const PT_INTERP: u32 = 3;

/// Builds and measures; true if the result is static and small enough.
pub(crate) fn run() -> bool {
    let root = tree::root();
    let mut build = cargo();
    build.current_dir(&root);
    build.args(["build", "--release", "--locked", "--package", "nacolet", "--target", TARGET]);
    if !step("edge build", &mut build) {
        return false;
    }
    let path = format!("target/{TARGET}/release/nacolet");
    let binary = match fs::read(root.join(&path)) {
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
            println!("{path}: is not a 64-bit little-endian ELF file");
            return false;
        }
    }
    println!("{path}: static, {} bytes of at most {BINARY_BYTES_MAX}", binary.len());
    binary.len() <= BINARY_BYTES_MAX
}

/// Whether an ELF file has a program header for a loader; `None` if it is not such a file.
fn asks_for_loader(binary: &[u8]) -> Option<bool> {
    // Magic, 64-bit class, little-endian: the only kind the targets here produce.
    if !binary.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let half = |at: usize| Some(u16::from_le_bytes(binary.get(at..at + 2)?.try_into().ok()?));
    let table = u64::from_le_bytes(binary.get(32..40)?.try_into().ok()?);
    let table = usize::try_from(table).ok()?;
    let (entry_bytes, entries) = (usize::from(half(54)?), usize::from(half(56)?));
    for index in 0..entries {
        let at = table.checked_add(index * entry_bytes)?;
        let kind = u32::from_le_bytes(binary.get(at..at.checked_add(4)?)?.try_into().ok()?);
        if kind == PT_INTERP {
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

    #[test]
    fn a_loader_is_seen_in_the_program_headers() {
        assert_eq!(asks_for_loader(&elf(&[1, 2])), Some(false));
        assert_eq!(asks_for_loader(&elf(&[1, 3])), Some(true));
        assert_eq!(asks_for_loader(b"#!/bin/sh"), None);
        let whole = elf(&[1, 3]);
        assert_eq!(asks_for_loader(&whole[..100]), None, "a table cut short is not trusted");
    }
}
