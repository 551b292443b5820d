//! What operators said about one service, its clusters and its instances. It went through the Raft
//! log; who is alive is not its business.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::ClusterName;
use serde::{Deserialize, Serialize};

use crate::state::instance::{Base, Declared, Instance};
use crate::words::command::{MetadataChange, PutOverrides};
use crate::words::meta::{ClusterMeta, ServiceMeta};
use crate::words::spec::{InstanceKey, Metadata, SpecError, check_hidden, check_weight};

/// What operators set on an instance; it outlives registrations (Nacos `InstanceMetadata`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Override {
    /// Weight, where set.
    pub weight: Option<f64>,
    /// Visibility, where set.
    pub enabled: Option<bool>,
    /// Entries laid over the registered metadata.
    pub put: Metadata,
    /// Keys taken out of the registered metadata.
    pub hide: Vec<Box<str>>,
}

/// The part of a service that goes through the Raft log, persistent instances apart.
#[derive(Debug, Default)]
pub(crate) struct DurableMeta {
    meta: Option<ServiceMeta>,
    clusters: BTreeMap<ClusterName, ClusterMeta>,
    overrides: BTreeMap<InstanceKey, Override>,
    /// Sum of the texts in all three.
    text_bytes: usize,
}

impl DurableMeta {
    pub(crate) fn meta(&self) -> Option<&ServiceMeta> {
        self.meta.as_ref()
    }

    pub(crate) fn clusters(&self) -> &BTreeMap<ClusterName, ClusterMeta> {
        &self.clusters
    }

    pub(crate) fn overrides(&self) -> &BTreeMap<InstanceKey, Override> {
        &self.overrides
    }

    pub(crate) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.meta.is_none() && self.clusters.is_empty() && self.overrides.is_empty()
    }

    pub(crate) fn set_meta(&mut self, meta: ServiceMeta) {
        self.text_bytes += meta.text_bytes();
        let old = self.meta.replace(meta);
        self.uncount(old.map_or(0, |old| old.text_bytes()));
    }

    pub(crate) fn put_cluster(&mut self, name: ClusterName, meta: ClusterMeta) {
        self.text_bytes += meta.text_bytes();
        let old = self.clusters.insert(name, meta);
        self.uncount(old.map_or(0, |old| old.text_bytes()));
    }

    pub(crate) fn put_override(&mut self, key: InstanceKey, laid: Override) {
        self.text_bytes += laid.text_bytes();
        let old = self.overrides.insert(key, laid);
        self.uncount(old.map_or(0, |old| old.text_bytes()));
    }

    pub(crate) fn remove_override(&mut self, key: &InstanceKey) {
        let old = self.overrides.remove(key);
        self.uncount(old.map_or(0, |old| old.text_bytes()));
    }

    fn uncount(&mut self, bytes: usize) {
        assert!(self.text_bytes >= bytes, "the texts of what goes were counted");
        self.text_bytes -= bytes;
    }

    /// Asserts what everything else relies on.
    ///
    /// # Panics
    /// When the count of bytes is wrong.
    pub(crate) fn invariants(&self) {
        let meta = self.meta.iter().map(ServiceMeta::text_bytes);
        let clusters = self.clusters.values().map(ClusterMeta::text_bytes);
        let overrides = self.overrides.values().map(Override::text_bytes);
        let text_bytes: usize = meta.chain(clusters).chain(overrides).sum();
        assert_eq!(text_bytes, self.text_bytes, "texts of operators are counted");
        assert!(!self.is_empty(), "an empty part is given back");
    }
}

impl Override {
    /// Whether it is inside its limits.
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        self.weight.map_or(Ok(()), check_weight)?;
        check_hidden(&self.hide)
    }

    /// Bytes of its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        self.put.text_bytes() + self.hide.iter().map(|key| key.len()).sum::<usize>()
    }

    /// What clients see of `instance` under this override.
    pub(crate) fn over(&self, instance: &Instance) -> Base {
        let (weight, enabled, declared) = instance.registered();
        let declared = if self.put.is_empty() && self.hide.is_empty() {
            Arc::clone(declared)
        } else {
            let metadata = declared.metadata.under(&self.put, &self.hide);
            Arc::new(Declared::new(metadata, declared.app.clone()))
        };
        Base {
            weight: self.weight.unwrap_or(weight),
            enabled: self.enabled.unwrap_or(enabled),
            declared,
        }
    }

    /// Takes over what `put` says.
    pub(crate) fn change(&mut self, put: &PutOverrides) -> Result<(), SpecError> {
        self.weight = put.weight.or(self.weight);
        self.enabled = put.enabled.or(self.enabled);
        match &put.metadata {
            MetadataChange::Keep => {}
            MetadataChange::Replace(metadata) => {
                self.put = metadata.clone();
                self.hide = Vec::new();
            }
            MetadataChange::Put(metadata) => {
                self.put = Metadata::new(self.put.iter().chain(metadata.iter()))?;
                self.hide.retain(|key| metadata.get(key).is_none());
            }
            MetadataChange::Delete(keys) => {
                let kept = |(key, _): &(&str, &str)| !keys.iter().any(|gone| **gone == **key);
                self.put = Metadata::new(self.put.iter().filter(kept))?;
                for key in keys {
                    if !self.hide.contains(key) {
                        self.hide.push(key.clone());
                    }
                }
                check_hidden(&self.hide)?;
            }
        }
        Ok(())
    }
}
