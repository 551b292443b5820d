//! The Nacos protocols, HTTP and gRPC. Everything that only Nacos clients know lives here: paths, spellings,
//! status codes, JSON shapes. What is *done* is decided by the config and registry cores, which this
//! crate reads through shared locks and writes to through one bounded channel (`request`).
//!
//! Reading order: `request` is the port to the node, `router` has every path on one page, `call` is
//! what a handler gets and gives, `params` and `status` turn Nacos's words into model types and errors
//! into Nacos's words; then one file per family of paths; `places` and `pool` bound what clients hold,
//! `connection` owns the sockets of HTTP, `grpc` is everything of the other protocol.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use nacolet_api::{Port, Server, Settings, connection};
//!
//! fn serve(port: Port, address: std::net::SocketAddr) -> std::io::Result<()> {
//!     let server = Server::new(Arc::new(port), Settings::default());
//!     // One such call per api thread, each with a listener of its own on the same address.
//!     smol::block_on(connection::serve(connection::listen(address)?, server))
//! }
//! ```

// What every handler stands on.
pub mod call;
pub mod request;
pub mod stage;

mod about;
mod browser;
mod json;
mod origin;
mod params;
mod pieces;
mod places;
mod pool;
mod router;
mod server;
mod status;
mod ticker;
mod time;
mod users;

// Sockets.
pub mod connection;

// gRPC.
pub mod feed;
pub mod grpc;

// What the fuzz targets reach.
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

// Configs, namespaces, login.
mod access;
mod archive;
mod capacity;
mod config;
mod config_v2;
mod history;
mod listener;
mod namespace;
mod search;

// Naming and the node.
mod address;
mod beat;
mod catalog;
mod client;
mod cluster;
mod console;
mod health;
mod instance;
mod list;
mod members;
pub mod membership;
mod naming;
mod operator;
mod owners;
mod page;
mod prometheus;
mod refused;
mod service;
mod shapes;
mod spec;
mod subscription;
pub mod udp;

pub use access::{PasswordError, hash as hash_password};
pub use origin::{Network, NetworkError};
pub use request::{Facts, NodeStatus, Port, Request, WriteError};
pub use router::{Permission, RouteInfo};
pub use server::{Server, Settings};
pub use stage::Stage;
