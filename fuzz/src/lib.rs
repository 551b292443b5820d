//! What must hold whatever bytes arrive. A target is a function over bytes that panics where
//! something does not hold; a fuzzer looks for such bytes, and the tests of this crate replay the
//! ones that were found, and those that lead far, through the very same functions.
//!
//! "It does not panic" is the least of it. What is decoded is encoded and decoded again to the same
//! value; what was applied is captured, loaded and goes on alike; what a hostile member says costs
//! memory in proportion to what it says. Checksums and keyed checks are made right by the targets:
//! a fuzzer that had to guess them would never get past them.
//!
//! Reading order: [`TARGETS`], `source` (how bytes become a story), `cost`, then one file per
//! subject. `corpus/NAME/` holds the bytes, `targets/` the program for `cargo ci fuzz`.

mod archive;
mod auth;
mod chunks;
mod config;
pub mod cost;
mod disk;
mod distro;
mod engine;
mod frames;
mod fuzzy;
mod handshake;
mod heads;
mod lock;
mod messages;
mod metadata;
mod registry;
mod replica;
mod requests;
pub mod seeds;
mod source;
mod words;

use nacolet_auth::Users;
use nacolet_config::Store;
use nacolet_lock::Locks;
use nacolet_registry::Registry;

/// One thing to fuzz.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder below `corpus`.
    pub name: &'static str,
    /// Longest input worth trying, bytes.
    pub bytes_max: usize,
    /// Panics when something does not hold.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, bytes_max: usize, run: fn(&[u8])) -> Target {
    Target { name, bytes_max, run }
}

/// All of them.
pub const TARGETS: [Target; 28] = [
    // Other members: everything behind the handshake, and the handshake.
    target("handshake", 512, handshake::run),
    target("frames", 2_048, frames::run),
    target("messages", 4_096, messages::run),
    target("engine", 1_024, engine::run),
    target("chunks", 512, chunks::run),
    target("distro", 1_536, distro::run),
    // Disks.
    target("records", 1_024, disk::records),
    target("snapshot", 8_192, disk::snapshot),
    // What is applied, captured, loaded, and goes on.
    target("config_apply", 1_024, replica::apply::<Store>),
    target("registry_apply", 1_024, replica::apply::<Registry>),
    target("lock_apply", 1_024, replica::apply::<Locks>),
    target("auth_apply", 1_024, replica::apply::<Users>),
    target("config_load", 8_192, replica::load::<Store>),
    target("registry_load", 8_192, replica::load::<Registry>),
    target("lock_load", 4_096, replica::load::<Locks>),
    target("auth_load", 4_096, replica::load::<Users>),
    // What clients send, parts of bodies.
    target("multipart", 4_096, archive::multipart),
    target("archive", 8_192, archive::unpack),
    target("archive_roundtrip", 1_024, archive::roundtrip),
    target("archive_metadata", 4_096, archive::metadata),
    target("fuzzy_watch", 512, fuzzy::run),
    target("metadata", 4_096, metadata::run),
    // Requests.
    target("heads", 2_048, heads::run),
    target("parameters", 2_048, requests::parameters_of),
    target("identifiers", 1_024, requests::identifiers),
    target("listening", 2_048, requests::list),
    target("grpc_messages", 4_096, requests::messages),
    target("grpc_json", 4_096, requests::json),
];

/// The target of this name. Decided when the program for it is compiled, so that the others are no
/// part of that program: libFuzzer looks at every counter of a program after each input.
///
/// # Panics
/// There is none.
#[must_use]
pub const fn named(name: &str) -> Target {
    let mut at = 0;
    while at < TARGETS.len() {
        if is_same(TARGETS[at].name.as_bytes(), name.as_bytes()) {
            return TARGETS[at];
        }
        at += 1;
    }
    panic!("there is no such target")
}

/// Comparing texts is not for constants yet.
const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}
