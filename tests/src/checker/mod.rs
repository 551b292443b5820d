//! Everything that watches a simulated world, one file per promise. The first broken promise is
//! kept; the world stops at it.

mod acknowledged;
mod check;
mod checkers;
mod hash;
pub mod linearizable;
mod listeners;
mod local_reads;
mod naming;
mod raft_safety;
mod state_hash;
mod tally;

pub use acknowledged::Final;
pub(crate) use check::Broken;
pub use checkers::Checkers;
pub use listeners::Heard;
pub(crate) use naming::{Census, Home, Listed, NodeLook, Told};
pub use tally::Tally;
