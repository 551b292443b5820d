//! Doubles of everything a node stands on, for tests of this crate and of what is built on it: a
//! log and a snapshot store in memory that survive a node, a network without sockets, a clock that
//! moves when told, an executor that runs until nothing moves, and bent bytes for decoders. All on
//! one thread, no randomness.

mod bent;
mod crew;
mod ledger;
mod memory_log;
mod switchboard;

pub use bent::{bend, withstand};
pub use crew::{Crew, ManualTimer, Pending};
pub use ledger::{Ledger, LedgerCommand, LedgerRefusal, LedgerState};
pub use memory_log::{MemoryLog, WriteMode};
pub use switchboard::{Switchboard, Wire, Wires};
