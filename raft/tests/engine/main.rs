//! The engine in whole clusters, in one thread and on simulated time: scripted traps, claims of the
//! Raft paper, scenario files and seeded simulation.

mod checker;
mod election;
mod members;
mod node;
mod reads;
mod replication;
mod rig;
mod scenario;
mod simulation;
mod snapshots;
mod world;
