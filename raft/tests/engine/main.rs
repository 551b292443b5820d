//! The engine in whole clusters, in one thread and on simulated time: scripted traps, claims of the
//! Raft paper, scenario files and seeded simulation.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    reason = "all of this is test code, beside the functions that are marked as tests too"
)]

mod bent;
mod candidates;
mod checker;
mod election;
mod hostile;
mod members;
mod node;
mod paper;
mod reads;
mod replication;
mod rig;
mod scenario;
mod simulation;
mod snapshots;
mod world;
