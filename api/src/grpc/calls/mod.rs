//! The handlers, and who may call them.

pub(crate) mod config;
pub(crate) mod dispatch;
pub(crate) mod fuzzy;
pub(crate) mod lock;
pub(crate) mod naming;
pub(crate) mod permission;
