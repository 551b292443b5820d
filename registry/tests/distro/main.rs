//! Several registries in one thread, with a network that delays, loses and cuts: what Distro promises.

mod chaos;
mod stories;
mod times;
mod world;
