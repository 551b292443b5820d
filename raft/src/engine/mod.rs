//! The pure engine: no async, no IO, no clock, no randomness.

mod io;
mod message;

pub use io::{Input, Output, PersistId, Refusal};
pub use message::{AppendResult, Message, MessageBody};
