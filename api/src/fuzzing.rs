//! The decoders of this crate that are reached before anything is checked, as functions over bytes and
//! texts: what the fuzz targets call. Only with the feature `fuzzing`.

use nacolet_registry::Metadata;

pub use crate::about::fuzzing as about;
pub use crate::archive::fuzzing as archive;
pub use crate::grpc::fuzzing as fuzzy;
pub use crate::grpc::requests;
pub use crate::listener::fuzzing as listening;

/// Metadata of an instance in its two notations, JSON and `k=v,k=v`.
#[must_use]
pub fn metadata(text: &str) -> Option<Metadata> {
    crate::spec::parse_metadata(text).ok()
}

/// Names and values of a query and a form; none where there are more than may be.
#[must_use]
pub fn parameters(query: &[u8], form: &[u8]) -> Option<Vec<(String, String)>> {
    crate::params::Fields::parse(query, form).ok().map(|fields| fields.pairs())
}
