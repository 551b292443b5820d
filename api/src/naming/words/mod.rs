//! What the paths of HTTP and the calls of gRPC about services share: how they name things, what
//! they say of them, and why they refuse.

pub(crate) mod address;
pub(crate) mod client;
pub(crate) mod dialect;
pub(crate) mod info;
pub(crate) mod refused;
pub(crate) mod shapes;
pub(crate) mod spec;
