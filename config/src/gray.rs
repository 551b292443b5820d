//! Gray versions: contents that only some callers see. Beta goes by the caller's address and wins;
//! a tag goes by the tag the caller names (Nacos `BetaGrayRule`, `TagGrayRule` and their
//! priorities). A gray version lives on its own: it may exist without the config itself.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::WallTime;

use crate::{ConfigType, Gray, GrayName, Labels, Md5, Operator};

/// Who reads, as far as gray versions care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller<'a> {
    /// The caller's address.
    pub ip: &'a str,
    /// The tag it names, by parameter or by header.
    pub tag: Option<&'a str>,
}

/// Which kind of gray version a caller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrayKind {
    /// The beta version.
    Beta,
    /// The version of the caller's tag.
    Tag,
}

/// One gray version of a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrayVersion {
    /// Who sees it.
    pub gray: Gray,
    /// Log index of its creation.
    pub id: u64,
    /// The content.
    pub content: Arc<str>,
    /// The md5 of `content`.
    pub md5: Md5,
    /// Who wrote it last.
    pub operator: Arc<Operator>,
    /// When it was created.
    pub created: WallTime,
    /// When it was written last.
    pub modified: WallTime,
    pub(crate) labels: Option<Arc<Labels>>,
    pub(crate) config_type: Option<ConfigType>,
}

impl GrayVersion {
    /// Format of the content.
    #[must_use]
    pub fn config_type(&self) -> Option<ConfigType> {
        self.config_type
    }

    /// The application it belongs to, empty when unknown.
    #[must_use]
    pub fn app_name(&self) -> &str {
        self.labels.as_ref().map_or("", |labels| &labels.app_name)
    }

    /// Key of a client-side encryption, itself encrypted; empty without one.
    #[must_use]
    pub fn encrypted_data_key(&self) -> &str {
        self.labels.as_ref().map_or("", |labels| &labels.encrypted_data_key)
    }

    /// The addresses of a beta version, none of a tag version.
    #[must_use]
    pub fn beta_ips(&self) -> &[Box<str>] {
        match &self.gray {
            Gray::Beta(ips) => ips,
            Gray::Tag(_) => &[],
        }
    }

    fn matches(&self, caller: &Caller<'_>) -> bool {
        match &self.gray {
            Gray::Beta(ips) => ips.iter().any(|ip| **ip == *caller.ip),
            Gray::Tag(tag) => caller.tag == Some(&**tag),
        }
    }

    pub(crate) fn kind(&self) -> GrayKind {
        match self.gray {
            Gray::Beta(_) => GrayKind::Beta,
            Gray::Tag(_) => GrayKind::Tag,
        }
    }
}

/// The gray versions of one config, in the order of precedence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grays(Vec<GrayVersion>);

impl Grays {
    pub(crate) fn as_slice(&self) -> &[GrayVersion] {
        &self.0
    }

    pub(crate) fn find(&self, name: &GrayName) -> Option<&GrayVersion> {
        self.0.iter().find(|version| version.gray.has_name(name))
    }

    /// The version that `caller` sees instead of the config itself.
    pub(crate) fn seen_by(&self, caller: &Caller<'_>) -> Option<&GrayVersion> {
        self.0.iter().find(|version| version.matches(caller))
    }

    pub(crate) fn put(&mut self, version: GrayVersion) {
        let name = version.gray.name();
        match self.0.binary_search_by(|other| other.gray.name().cmp(&name)) {
            Ok(at) => self.0[at] = version,
            Err(at) => self.0.insert(at, version),
        }
    }

    pub(crate) fn remove(&mut self, name: &GrayName) {
        self.0.retain(|version| !version.gray.has_name(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(gray: Gray, content: &str) -> GrayVersion {
        GrayVersion {
            gray,
            id: 1,
            content: content.into(),
            md5: Md5::of(content),
            operator: Arc::default(),
            created: WallTime(0),
            modified: WallTime(0),
            labels: None,
            config_type: None,
        }
    }

    fn check(grays: &Grays, ip: &str, tag: Option<&str>, expected: Option<&str>) {
        let seen = grays.seen_by(&Caller { ip, tag }).map(|version| &*version.content);
        assert_eq!(seen, expected, "{ip} {tag:?}");
    }

    #[test]
    fn beta_wins_over_a_tag_and_each_goes_by_its_own_rule() {
        let mut grays = Grays::default();
        grays.put(version(Gray::Tag("blue".into()), "blue"));
        grays.put(version(Gray::Beta(["10.0.0.1".into()].into()), "beta"));
        check(&grays, "10.0.0.1", None, Some("beta"));
        check(&grays, "10.0.0.1", Some("blue"), Some("beta"));
        check(&grays, "10.0.0.2", Some("blue"), Some("blue"));
        check(&grays, "10.0.0.2", Some("green"), None);
        check(&grays, "10.0.0.2", None, None);
        grays.remove(&GrayName::Beta);
        check(&grays, "10.0.0.1", None, None);
    }

    #[test]
    fn a_version_of_the_same_name_is_replaced() {
        let mut grays = Grays::default();
        grays.put(version(Gray::Tag("blue".into()), "one"));
        grays.put(version(Gray::Tag("blue".into()), "two"));
        assert_eq!(grays.as_slice().len(), 1);
        check(&grays, "", Some("blue"), Some("two"));
    }
}
