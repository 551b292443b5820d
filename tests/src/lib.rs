//! The deterministic simulator of the whole write path: the real Raft runtime, config store, listeners
//! and registry on simulated disks, clocks and lines, in one thread, from one seed.
//!
//! ```text
//!  workload ── clients ──► node (core task, Raft, worker) ──► machine (config store, registry)
//!      │                     │ log, snapshots    │ messages
//!      ▼                     ▼                   ▼
//!  checker ◄────────────── disk ◄── crash     network ◄── cut, delay, lose, double
//! ```
//!
//! Read `world` first, then `plan` and `faults`; `kernel` is time and tasks; `post`, `registrar` and
//! `naming` are Distro, its wiring and its clients; `checker` has one file per promise;
//! `planted` lists the bugs by which the simulator itself is measured.

mod census;
pub mod checker;
pub mod clock;
mod directory;
pub mod disk;
mod faults;
pub mod inbox;
pub mod kernel;
pub mod machine;
mod naming;
pub mod network;
pub mod node;
pub mod plan;
pub mod planted;
pub mod post;
mod registrar;
pub mod run;
mod snapshots;
mod workload;
pub mod world;
