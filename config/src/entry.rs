//! What there is under one key: the config, its gray versions, and what one caller sees of them.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::{ConfigKey, WallTime};

use crate::command::{ConfigType, Labels, Operator};
use crate::gray::{Caller, GrayKind, GrayVersion, Grays};
use crate::history::HistoryItem;
use crate::key::KeyText;
use crate::md5::Md5;
use crate::room::{GRAY_BYTES, SLOT_BYTES, texts};
use crate::rule::GrayName;

/// A config whose content, or the choice of who sees which content, has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which one.
    pub key: ConfigKey,
}

/// A stored config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Log index of its creation; stable until it is removed.
    pub id: u64,
    /// The content.
    pub content: Arc<str>,
    /// The md5 of `content`.
    pub md5: Md5,
    /// Who wrote it last (Nacos `src_user`, `src_ip`).
    pub operator: Arc<Operator>,
    /// When it was created.
    pub created: WallTime,
    /// When it was written last.
    pub modified: WallTime,
    /// Log index of the last write.
    pub revision: u64,
    /// Format of the content.
    pub config_type: Option<ConfigType>,
    /// All labels but the type, where there is one.
    pub(crate) labels: Option<Arc<Labels>>,
}

impl Config {
    /// The application it belongs to, empty when unknown.
    #[must_use]
    pub fn app_name(&self) -> &str {
        self.label(|labels| &labels.app_name)
    }

    /// A description, may be empty.
    #[must_use]
    pub fn desc(&self) -> &str {
        self.label(|labels| &labels.desc)
    }

    /// Words to search by (`config_tags`).
    #[must_use]
    pub fn tags(&self) -> &[Box<str>] {
        self.labels.as_ref().map_or(&[], |labels| &labels.tags)
    }

    /// `use` of Nacos.
    #[must_use]
    pub fn use_(&self) -> &str {
        self.label(|labels| &labels.use_)
    }

    /// `effect` of Nacos.
    #[must_use]
    pub fn effect(&self) -> &str {
        self.label(|labels| &labels.effect)
    }

    /// `schema` of Nacos.
    #[must_use]
    pub fn schema(&self) -> &str {
        self.label(|labels| &labels.schema)
    }

    /// Key of a client-side encryption, itself encrypted; empty without one.
    #[must_use]
    pub fn encrypted_data_key(&self) -> &str {
        self.label(|labels| &labels.encrypted_data_key)
    }

    /// All labels, to publish the config again elsewhere.
    #[must_use]
    pub fn labels(&self) -> Labels {
        let labels = self.labels.as_deref().cloned().unwrap_or_default();
        Labels { config_type: self.config_type, ..labels }
    }

    fn label(&self, field: impl Fn(&Labels) -> &str) -> &str {
        self.labels.as_deref().map_or("", field)
    }
}

/// What one caller sees under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// The content.
    pub content: &'a Arc<str>,
    /// The md5 of `content`.
    pub md5: &'a Md5,
    /// Format of the content; of the config itself where it exists, as in Nacos.
    pub config_type: Option<ConfigType>,
    /// Key of a client-side encryption, itself encrypted; empty without one.
    pub encrypted_data_key: &'a str,
    /// When it was written last.
    pub modified: WallTime,
    /// `None` for the config itself. A read that names a tag in its parameters (not in a header)
    /// expects a gray version, and is answered "not found" without one (Nacos).
    pub gray: Option<GrayKind>,
}

/// All there is under one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) config: Option<Config>,
    pub(crate) grays: Option<Box<Grays>>,
    /// Id of the newest history item, 0 for none. It may have been pushed out.
    pub(crate) newest: u64,
}

impl Slot {
    /// Holds something to read, not only a past.
    pub(crate) fn is_live(&self) -> bool {
        self.config.is_some() || self.grays.is_some()
    }

    pub(crate) fn grays(&self) -> &[GrayVersion] {
        self.grays.as_ref().map_or(&[], |grays| grays.as_slice())
    }

    pub(crate) fn gray(&self, name: &GrayName) -> Option<&GrayVersion> {
        self.grays.as_ref().and_then(|grays| grays.find(name))
    }

    /// Bytes of all contents to read.
    pub(crate) fn bytes(&self) -> usize {
        let config = self.config.as_ref().map_or(0, |config| config.content.len());
        self.grays().iter().fold(config, |bytes, gray| bytes + gray.content.len())
    }

    /// Bytes that all of it takes under `key`, its past apart.
    pub(crate) fn weight(&self, key: &KeyText) -> usize {
        if !self.is_live() {
            return 0;
        }
        let config = self.config.as_ref();
        let config = config.map_or(0, |config| texts(config.labels.as_deref(), &config.operator));
        let grays = self.grays().iter().map(|version| {
            GRAY_BYTES + version.gray.bytes() + texts(version.labels.as_deref(), &version.operator)
        });
        SLOT_BYTES + key.len() + self.bytes() + config + grays.sum::<usize>()
    }

    /// A history item pays for its content exactly when nothing newer holds the same allocation.
    pub(crate) fn check_payers(&self, chain: &[&Arc<HistoryItem>]) {
        let mut held: Vec<&Arc<str>> = self.config.iter().map(|config| &config.content).collect();
        held.extend(self.grays().iter().map(|gray| &gray.content));
        for item in chain {
            let is_held = held.iter().any(|content| Arc::ptr_eq(content, &item.content));
            assert_eq!(item.pays, !is_held, "history item {}", item.id);
            held.push(&item.content);
        }
    }

    pub(crate) fn view(&self, caller: &Caller<'_>) -> Option<View<'_>> {
        let config = self.config.as_ref();
        if let Some(gray) = self.grays.as_ref().and_then(|grays| grays.seen_by(caller)) {
            return Some(View {
                content: &gray.content,
                md5: &gray.md5,
                config_type: config.map_or(gray.config_type, |config| config.config_type),
                encrypted_data_key: gray.encrypted_data_key(),
                modified: gray.modified,
                gray: Some(gray.kind()),
            });
        }
        config.map(|config| View {
            content: &config.content,
            md5: &config.md5,
            config_type: config.config_type,
            encrypted_data_key: config.encrypted_data_key(),
            modified: config.modified,
            gray: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten thousand configs pay for every byte of these; `examples/memory.rs` measures the whole.
    #[test]
    fn what_every_config_pays_for_stays_small() {
        if size_of::<usize>() == 8 {
            assert!(size_of::<Slot>() <= 104, "{}", size_of::<Slot>());
            assert!(size_of::<HistoryItem>() <= 104, "{}", size_of::<HistoryItem>());
        }
    }
}
