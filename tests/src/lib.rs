//! The deterministic simulator of the whole write path: the real Raft runtime, config store,
//! listeners and registry on simulated disks, clocks and lines, in one thread, from one seed.
//!
//! ```text
//!  workload ── clients ──► node (core task, Raft, worker) ──► machine (config store, registry)
//!      │                     │ log, snapshots    │ messages
//!      ▼                     ▼                   ▼
//!  checker ◄────────────── disk ◄── crash     network ◄── cut, delay, lose, double
//! ```
//!
//! Read `world` first, then `plan` and `faults`; `kernel` is time and tasks; `courier`, `registrar`
//! and `naming` are Distro, its wiring and its clients; `checker` has one file per promise;
//! `planted` lists the bugs by which the simulator itself is measured; `story` tells what happened
//! in one seed, in words. Below all of them stands what they share: `log` and `journal`, which the
//! checkers look at, and `operation`, `promise` and `subject`, which checkers and story speak of.

mod census;
pub mod checker;
pub mod clock;
mod courier;
mod directory;
pub mod disk;
mod faults;
mod frame;
pub mod inbox;
pub mod journal;
pub mod kernel;
pub mod log;
pub mod machine;
mod naming;
pub mod network;
pub mod node;
pub mod operation;
pub mod options;
mod panics;
pub mod plan;
pub mod planted;
mod post;
pub mod promise;
mod registrar;
pub mod run;
mod snapshots;
pub mod story;
pub mod subject;
mod workload;
pub mod world;
