//! Archives and the bodies they come in, as plain functions. Only with the feature `fuzzing`.

use std::collections::BTreeMap;
use std::sync::Arc;

use nacolet_config::Labels;

use super::metadata;
use super::pack::packed;
use super::portable::{Format, Portable};
use super::unpack::unpack;
use crate::http::params::multipart;

/// One config of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// As the archive spells it.
    pub group: Box<str>,
    /// As the archive spells it.
    pub data_id: Box<str>,
    /// The content.
    pub content: Arc<str>,
    /// What the metadata says about it.
    pub labels: Labels,
}

impl From<Portable> for Packed {
    fn from(portable: Portable) -> Self {
        let Portable { group, data_id, content, labels } = portable;
        Self { group, data_id, content, labels }
    }
}

impl From<&Packed> for Portable {
    fn from(packed: &Packed) -> Self {
        let Packed { group, data_id, content, labels } = packed.clone();
        Self { group, data_id, content, labels }
    }
}

/// An archive with the metadata of 2.x, or of 1.x.
#[must_use]
pub fn write(configs: &[Packed], v2: bool) -> Option<Vec<u8>> {
    let portables: Vec<Portable> = configs.iter().map(Into::into).collect();
    packed(portables, if v2 { Format::V2 } else { Format::V1 }).ok()
}

/// The configs of an archive and the names of what is none.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<(Vec<Packed>, Vec<String>)> {
    let (portables, unrecognized) = unpack(bytes).ok()?;
    Some((portables.into_iter().map(Into::into).collect(), unrecognized))
}

/// Group, dataId and labels.
pub type Item = (Box<str>, Box<str>, Labels);

/// The metadata of 2.x.
#[must_use]
pub fn read_metadata(text: &str) -> Option<Vec<Item>> {
    let items = metadata::read_v2(text)?;
    Some(items.into_iter().map(|item| (item.group, item.data_id, item.labels)).collect())
}

/// The same, written.
#[must_use]
pub fn write_metadata(items: &[Item]) -> String {
    let portable = |(group, data_id, labels): &Item| Portable {
        group: group.clone(),
        data_id: data_id.clone(),
        content: "".into(),
        labels: labels.clone(),
    };
    metadata::write_v2(&items.iter().map(portable).collect::<Vec<_>>())
}

/// The metadata of 1.x: applications by `group.dataId~extension`.
#[must_use]
pub fn read_applications(text: &str) -> Option<BTreeMap<String, Box<str>>> {
    metadata::read_v1(text)
}

/// The parts of a `multipart/form-data` body: names, and slices of the body.
#[must_use]
pub fn parts<'b>(content_type: &str, body: &'b [u8]) -> Option<Vec<(String, &'b [u8])>> {
    let parts = multipart::parse(content_type, body).ok()?;
    Some(parts.into_iter().map(|part| (part.name, part.bytes)).collect())
}
