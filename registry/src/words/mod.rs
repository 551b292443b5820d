//! The words of the registry: values that come in, go out, travel and are stored, and what makes
//! each of them valid. Nothing here knows what a registry holds or does.
//!
//! Read `io` first: what happens to a registry and what it orders; then `request`, what callers
//! ask. `spec` is an instance as its owner describes it, `command` what goes through the Raft log,
//! `message` what members say to each other, `names` the names in both.

pub(crate) mod command;
pub(crate) mod error;
pub(crate) mod io;
pub mod message;
pub(crate) mod meta;
pub(crate) mod names;
pub(crate) mod request;
pub(crate) mod spec;
pub(crate) mod switches;
