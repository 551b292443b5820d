//! The decoders of this crate that are reached before anything is checked, as functions over bytes
//! and texts: what the fuzz targets call. Only with the feature `fuzzing`.

use nacolet_registry::Metadata;

pub use crate::access::about::fuzzing as about;
pub use crate::config::archive::fuzzing as archive;
pub use crate::config::listener::fuzzing as listening;
pub use crate::connection::fuzzing as connection;
pub use crate::grpc::{fuzzing as fuzzy, requests};

/// Metadata of an instance in its two notations, JSON and `k=v,k=v`.
#[must_use]
pub fn metadata(text: &str) -> Option<Metadata> {
    crate::naming::words::spec::parse_metadata(text).ok()
}

/// Names and values of a query and a form; none where there are more than may be.
#[must_use]
pub fn parameters(query: &[u8], form: &[u8]) -> Option<Vec<(String, String)>> {
    crate::http::params::Fields::parse(query, form).ok().map(|fields| fields.pairs())
}
