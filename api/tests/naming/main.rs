//! Naming over HTTP as Nacos clients see it, in process: paths, parameters, JSON, status codes.

mod hostile;
mod instances;
mod lists;
mod node;
mod services;
mod upkeep;
mod world;
