//! The families of paths that read and write the registry.
//!
//! Reading order: `words` is what HTTP and gRPC share, `instance` is the family that most clients
//! need.

pub(crate) mod beat;
pub(crate) mod catalog;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod health;
pub(crate) mod instance;
pub(crate) mod list;
pub(crate) mod operator;
pub(crate) mod owners;
pub(crate) mod service;
pub(crate) mod subscribers;
pub(crate) mod subscription;
pub mod udp;
pub(crate) mod words;

use crate::route::table::Routes;

pub(crate) fn routes(routes: &mut Routes) {
    instance::routes(routes);
    list::routes(routes);
    beat::routes(routes);
    service::routes(routes);
    catalog::routes(routes);
    cluster::routes(routes);
    health::routes(routes);
    client::routes(routes);
    operator::routes(routes);
    owners::routes(routes);
}
