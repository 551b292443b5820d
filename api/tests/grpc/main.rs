//! gRPC over real sockets: the real cores behind the real port, a small h2 client in front.

mod additions;
mod bounds;
mod client;
mod configs;
mod connections;
mod hostile;
mod instances;
mod locks;
mod moves;
mod permissions;
mod quiet;
mod streams;
mod strictness;
mod users;
mod who;
mod world;
