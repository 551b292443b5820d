//! The Nacos HTTP protocol. Everything that only Nacos clients know lives here: paths, spellings,
//! status codes, JSON shapes. What is *done* is decided by the config and registry cores, which this
//! crate reads through shared locks and writes to through one bounded channel (`request`).
//!
//! Reading order: `request` is the port to the node, `router` has every path on one page, `call` is
//! what a handler gets and gives, `params` and `status` turn Nacos's words into model types and errors
//! into Nacos's words; then one file per family of paths; `connection` owns the sockets.

pub mod call;
pub mod connection;
pub mod request;

mod archive;
mod auth;
mod beat;
mod capacity;
mod catalog;
mod client;
mod cluster;
mod config;
mod config_v2;
mod console;
mod health;
mod history;
mod instance;
mod list;
mod listener;
mod members;
mod namespace;
mod naming;
mod operator;
mod params;
mod prometheus;
mod refused;
mod router;
mod search;
mod server;
mod service;
mod shapes;
mod spec;
mod status;
mod subscription;
mod target;
mod ticker;
mod time;
pub mod udp;

pub use request::{Facts, NodeStatus, Port, Request, WriteError};
pub use router::{Permission, RouteInfo};
pub use server::{Server, Settings};
