//! Gray versions: contents that only some callers see. Beta goes by the caller's address and wins;
//! a tag goes by the tag the caller names, a rule by the caller's labels (`rule.rs`). A gray
//! version lives on its own: it may exist without the config itself.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::WallTime;

use crate::command::{ConfigType, Labels, Operator};
use crate::md5::Md5;
use crate::rule::{Gray, GrayName};

/// Who reads, as far as gray versions care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller<'a> {
    /// The caller's address.
    pub ip: &'a str,
    /// The tag it names, by parameter or by header.
    pub tag: Option<&'a str>,
    /// What its application says of itself, as pairs of a name and a value.
    pub labels: &'a [(Box<str>, Box<str>)],
}

impl<'a> Caller<'a> {
    /// One of its labels. Address and tag are labels too (Nacos).
    fn label(&self, name: &str) -> Option<&'a str> {
        match name {
            "ClientIp" => Some(self.ip),
            "Vipserver-Tag" => self.tag,
            name => self.labels.iter().find(|(known, _)| **known == *name).map(|(_, has)| &**has),
        }
    }
}

/// Which kind of gray version a caller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrayKind {
    /// The beta version.
    Beta,
    /// The version of the caller's tag.
    Tag,
    /// The version of a rule that the caller's labels fit.
    Labels,
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

    /// The addresses of a beta version, none of another one.
    #[must_use]
    pub fn beta_ips(&self) -> &[Box<str>] {
        match &self.gray {
            Gray::Beta(ips) => ips,
            Gray::Tag(_) | Gray::Labels(_) => &[],
        }
    }

    fn matches(&self, caller: &Caller<'_>) -> bool {
        match &self.gray {
            Gray::Beta(ips) => ips.iter().any(|ip| **ip == *caller.ip),
            Gray::Tag(tag) => caller.tag == Some(&**tag),
            Gray::Labels(rule) => rule.fits(|name| caller.label(name)),
        }
    }

    pub(crate) fn kind(&self) -> GrayKind {
        match self.gray {
            Gray::Beta(_) => GrayKind::Beta,
            Gray::Tag(_) => GrayKind::Tag,
            Gray::Labels(_) => GrayKind::Labels,
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
        self.remove(&version.gray.name());
        let rank = version.gray.rank();
        let at = self.0.partition_point(|other| other.gray.rank() < rank);
        self.0.insert(at, version);
    }

    pub(crate) fn remove(&mut self, name: &GrayName) {
        self.0.retain(|version| !version.gray.has_name(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{LabelRule, LabelSyntax};

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
        let labels = [("env".into(), "prod".into())];
        let seen =
            grays.seen_by(&Caller { ip, tag, labels: &labels }).map(|version| &*version.content);
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

    #[test]
    fn of_the_rules_that_a_caller_fits_the_one_with_the_highest_priority_counts() {
        let rule = |name: &str, expr: &str, priority| {
            let (name, expr) = (name.into(), expr.into());
            let syntax = LabelSyntax::Single;
            Gray::Labels(Box::new(LabelRule { name, syntax, expr, priority }))
        };
        let mut grays = Grays::default();
        grays.put(version(rule("a", "env=prod", 1), "low"));
        grays.put(version(rule("b", "env=prod", 5), "high"));
        grays.put(version(rule("c", "env=test", 9), "other"));
        check(&grays, "10.0.0.1", None, Some("high"));
        grays.put(version(Gray::Tag("blue".into()), "blue"));
        check(&grays, "10.0.0.1", Some("blue"), Some("blue"));
        grays.put(version(rule("b", "env=prod", 0), "lowest"));
        check(&grays, "10.0.0.1", None, Some("low"));
        assert_eq!(grays.as_slice().len(), 4);
        grays.put(version(rule("d", "ClientIp=10.0.0.1", 7), "address"));
        check(&grays, "10.0.0.1", None, Some("address"));
        grays.put(version(rule("e", "Vipserver-Tag=green", 8), "tag"));
        check(&grays, "10.0.0.1", Some("green"), Some("tag"));
    }
}
