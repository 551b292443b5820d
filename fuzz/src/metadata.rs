//! Metadata of instances in its two notations: inside its limits, and the same when it is written
//! as JSON and read again.

use std::collections::BTreeMap;

use nacolet_api::fuzzing::metadata;
use nacolet_model::limits;

use crate::cost::Bound;

const PARSE: Bound = Bound { per_byte: 256, fixed: 64 << 10 };

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some(read) = PARSE.hold(data.len(), || metadata(&text)) else { return };
    let bytes: usize = read.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(bytes <= limits::METADATA_BYTES_MAX && read.len() <= limits::METADATA_ENTRIES_MAX);
    let entries: BTreeMap<&str, &str> = read.iter().collect();
    let Ok(written) = serde_json::to_string(&entries) else { panic!("texts are written") };
    assert_eq!(metadata(&written), Some(read.clone()), "{written}");
}
