//! The bytes of a connection: `adapter` between smol and h2, `reply` how an answer begins, goes on
//! and ends.

pub(crate) mod adapter;
pub(crate) mod reply;
