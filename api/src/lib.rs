//! The Nacos protocols, HTTP and gRPC. Everything that only Nacos clients know lives here: paths,
//! spellings, status codes, JSON shapes. What is *done* is decided by the config and registry
//! cores, which this crate reads through shared locks and writes to through one bounded channel
//! (`request`).
//!
//! Folders are floors: each uses those below it. Upwards: `port` is what is asked of the node,
//! `http` one request and one answer, `access` who calls and whether they may, `state` what all
//! handlers see, `route` the way from a path to its handler; then the families of paths, which
//! `routes` lists: `node`, `config`, `naming`; `connection` has the sockets of HTTP, `grpc` the
//! other protocol.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use nacolet_api::{Port, Server, Settings, listen};
//!
//! fn serve(port: Port, address: std::net::SocketAddr) -> std::io::Result<()> {
//!     let server = Server::new(Arc::new(port), Settings::default());
//!     // One such call per api thread, each with a listener of its own on the same address.
//!     smol::block_on(server.serve_http(listen(address)?))
//! }
//! ```

mod connection;

mod grpc;

// What the fuzz targets reach.
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

mod access;
mod bounds;
mod config;
mod http;
mod naming;
mod net;
mod node;
mod port;
mod route;
mod routes;
mod server;
mod state;

pub use access::proof::{OperatorKey, PROOF_HEADER, Proved};
pub use access::rule::Permission;
pub use access::{PasswordError, hash as hash_password, random_password};
pub use bounds::origin::{Network, NetworkError};
pub use http::answer::HttpAnswer;
pub use http::call::{Call, address_text};
pub use http::room::Room;
pub use naming::udp;
pub use net::{listen, loopback};
pub use port::request::{Request, WriteError};
pub use port::stage::Stage;
pub use port::{
    Facts, MemberStatus, NodeStatus, Port, feed, logs, moves, operate, request, stage, who,
};
pub use route::table::RouteInfo;
pub use server::Server;
pub use state::settings::Settings;
