//! The decoders of this crate that are reached before anything is checked, as functions over bytes and
//! texts: what the fuzz targets call. Only with the feature `fuzzing`.

use nacolet_registry::Metadata;

pub use crate::archive::fuzzing as archive;
pub use crate::grpc::fuzzing as fuzzy;

/// Metadata of an instance in its two notations, JSON and `k=v,k=v`.
#[must_use]
pub fn metadata(text: &str) -> Option<Metadata> {
    crate::spec::parse_metadata(text).ok()
}
