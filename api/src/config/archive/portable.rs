//! One config in an archive, and the two formats of what is told of it beside its content.

use std::sync::Arc;

use nacolet_config::{Config, Labels};
use nacolet_model::limits;

use crate::config::words::list;

/// Entry with the labels in the format of 2.x and 3.x.
pub(crate) const METADATA_V2: &str = ".metadata.yml";

/// Entry with the application names in the format of 1.x.
pub(crate) const METADATA_V1: &str = ".meta.yml";

/// Which metadata an export carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `export=true`.
    V1,
    /// `exportV2=true`.
    V2,
}

/// One config on its way out or in.
#[derive(Clone)]
pub(crate) struct Portable {
    pub(crate) group: Box<str>,
    pub(crate) data_id: Box<str>,
    pub(crate) content: Arc<str>,
    pub(crate) labels: Labels,
}

impl Portable {
    /// A config of this group and dataId, with its content shared.
    pub(super) fn new(group: &str, data_id: &str, config: &Config) -> Self {
        let (content, labels) = (Arc::clone(&config.content), config.labels());
        Self { group: group.into(), data_id: data_id.into(), content, labels }
    }
}

/// Tags of an item as the command wants them.
pub(crate) fn tags_of(text: &str) -> Vec<Box<str>> {
    list(text, limits::CONFIG_TAGS_MAX)
}

/// Tags of a config as the metadata wants them.
pub(crate) fn tags_joined(labels: &Labels) -> String {
    labels.tags.join(",")
}
