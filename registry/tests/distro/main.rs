//! Several registries in one thread, with a network that delays, loses and cuts: what Distro
//! promises.

mod chaos;
mod claims;
mod stories;
#[path = "../../src/testing.rs"]
mod testing;
mod times;
mod world;
