//! The config half of the API and the connection engine, tested through the router in process and
//! over real sockets, against the real cores driven by a small core loop (`world`).

mod archives;
mod configs;
mod console;
mod histories;
mod listeners;
mod namespaces;
mod routes;
mod spellings;
mod v3;
mod wire;
mod wire_limits;
mod world;
