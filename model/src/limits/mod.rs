//! Every bound of the product: its value, its unit, why it is that value, and what happens when it
//! is reached. Worst-case memory is a sum over these pages. A new queue, batch, retry or body adds
//! a line here first; tests go one beyond each.
//!
//! `server` has those of what clients store, `ports` those of how they are served, `cluster` those
//! of Raft, of storage and of the links between members; all are read under one name.
//!
//! Sources: `reliability` stands for docs/reliability.md, "Limits", `Nacos` for the
//! limit of Nacos 2.5 under the same name.

mod cluster;
mod ports;
mod server;

pub use cluster::*;
pub use ports::*;
pub use server::*;
