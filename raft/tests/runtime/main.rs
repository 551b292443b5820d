//! The runtime around the engine, from the handle to doubles of disk, network and clock.

mod alone;
mod chaos;
mod cluster;
mod replica;
mod rig;
mod single;
