//! Who sees a gray version, and what it is called: callers with an address (beta), callers that
//! name a tag, callers whose labels fit a rule (`BetaGrayRule`, `TagGrayRule` and the `tagv2` rules
//! of Nacos 3.2.2). Next: `gray.rs`, which keeps the versions.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;

use nacolet_model::limits;
use serde::{Deserialize, Serialize};

use crate::text::{PublishError, check_named};

/// A version of a config for some callers only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gray {
    /// For callers with one of these addresses.
    Beta(Vec<Box<str>>),
    /// For callers that name this tag.
    Tag(Box<str>),
    /// For callers whose labels fit a rule.
    Labels(Box<LabelRule>),
}

/// A rule by labels under a name of its own (Nacos `tagv2`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelRule {
    /// Name of the gray version.
    pub name: Box<str>,
    /// How `expr` is to be read.
    pub syntax: LabelSyntax,
    /// The rule as it was written.
    pub expr: Box<str>,
    /// Of several versions that a caller fits, the one with the highest is seen.
    pub priority: i32,
}

/// How a rule by labels is written; its version in Nacos.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelSyntax {
    /// `key=value,value`: the label has one of the values.
    Single,
    /// Several of them, joined by `&&` and `||`; `&&` binds tighter, and has each key once.
    Joined,
}

impl LabelSyntax {
    /// The version that Nacos gives it.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Single => "1.0.0",
            Self::Joined => "1.1.0",
        }
    }

    /// The syntax with this version, if there is one.
    #[must_use]
    pub fn of_version(version: &str) -> Option<Self> {
        [Self::Single, Self::Joined].into_iter().find(|known| known.version() == version)
    }
}

impl LabelRule {
    /// Whether it is inside its limits and written as its syntax says.
    ///
    /// # Errors
    /// Name or rule are blank or too long, or the rule is none.
    pub fn check(&self) -> Result<(), PublishError> {
        check_named("grayName", &self.name, limits::GRAY_NAME_CHARS_MAX)?;
        check_named("grayRuleExp", &self.expr, limits::GRAY_RULE_CHARS_MAX)?;
        let is_rule = match self.syntax {
            LabelSyntax::Single => Condition::parse(&self.expr).is_some(),
            LabelSyntax::Joined => self.expr.split("||").all(is_group),
        };
        if is_rule { Ok(()) } else { Err(PublishError::Rule) }
    }

    /// Whether a caller fits whose labels `label` knows.
    pub(crate) fn fits<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let fits = |text: &str| {
            let condition = Condition::parse(text);
            condition.is_some_and(|Condition { key, values }| {
                label(key).is_some_and(|has| values.split(',').any(|value| value.trim() == has))
            })
        };
        match self.syntax {
            LabelSyntax::Single => fits(&self.expr),
            LabelSyntax::Joined => self.expr.split("||").any(|group| group.split("&&").all(fits)),
        }
    }
}

/// Conditions that have to hold together, each of another label.
fn is_group(text: &str) -> bool {
    let mut keys = BTreeSet::new();
    let mut conditions = text.split("&&").map(Condition::parse);
    conditions.all(|condition| condition.is_some_and(|condition| keys.insert(condition.key)))
}

/// `key=value,value`
struct Condition<'a> {
    key: &'a str,
    values: &'a str,
}

impl<'a> Condition<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (key, values) = text.split_once('=')?;
        let key = key.trim();
        let mut words = core::iter::once(key).chain(values.split(',').map(str::trim));
        words.all(is_word).then_some(Self { key, values })
    }
}

/// Letters, digits and `-_:.`, at least one.
fn is_word(text: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:.".contains(&byte);
    !text.is_empty() && text.bytes().all(is_known)
}

impl Gray {
    /// Whether it is inside its limits.
    ///
    /// # Errors
    /// The tag is blank or too long; the list of addresses is empty, too long, or has such an
    /// address; the rule is none.
    pub fn check(&self) -> Result<(), PublishError> {
        let ips = match self {
            Self::Tag(tag) => return check_named("tag", tag, limits::TAG_CHARS_MAX),
            Self::Labels(rule) => return rule.check(),
            Self::Beta(ips) => ips,
        };
        if ips.is_empty() {
            return Err(PublishError::Blank { what: "betaIps" });
        }
        if ips.len() > limits::BETA_IPS_MAX {
            return Err(PublishError::TooMany { what: "betaIps", count_max: limits::BETA_IPS_MAX });
        }
        ips.iter().try_for_each(|ip| check_named("betaIps", ip, limits::IP_CHARS_MAX))
    }

    /// Bytes of its texts, and what holding each takes.
    pub(crate) fn bytes(&self) -> usize {
        const EACH: usize = 32;
        match self {
            Self::Beta(ips) => ips.iter().map(|ip| EACH + ip.len()).sum(),
            Self::Tag(tag) => EACH + tag.len(),
            Self::Labels(rule) => 2 * EACH + rule.name.len() + rule.expr.len(),
        }
    }

    /// Which gray version of its config this is.
    #[must_use]
    pub fn name(&self) -> GrayName {
        match self {
            Self::Beta(_) => GrayName::Beta,
            Self::Tag(tag) => GrayName::Tag(tag.clone()),
            Self::Labels(rule) => GrayName::Labels(rule.name.clone()),
        }
    }

    /// Of several versions that a caller fits, the one with the highest is seen (Nacos).
    #[must_use]
    pub fn priority(&self) -> i32 {
        match self {
            Self::Beta(_) => i32::MAX,
            Self::Tag(_) => i32::MAX - 1,
            Self::Labels(rule) => rule.priority,
        }
    }

    /// The order of precedence.
    pub(crate) fn rank(&self) -> (Reverse<i32>, GrayName) {
        (Reverse(self.priority()), self.name())
    }

    pub(crate) fn has_name(&self, name: &GrayName) -> bool {
        match (self, name) {
            (Self::Beta(_), GrayName::Beta) => true,
            (Self::Tag(mine), GrayName::Tag(theirs)) => mine == theirs,
            (Self::Labels(mine), GrayName::Labels(theirs)) => mine.name == *theirs,
            (Self::Beta(_) | Self::Tag(_) | Self::Labels(_), _) => false,
        }
    }
}

/// Names one gray version of a config. Shown as Nacos writes it: `beta`, `tag_<tag>`, or the name
/// of a rule by labels. Of versions with the same priority the first is seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GrayName {
    /// The beta version.
    Beta,
    /// The version of this tag.
    Tag(Box<str>),
    /// The version with a rule by labels.
    Labels(Box<str>),
}

impl GrayName {
    /// What a text names.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix("tag_") {
            Some(tag) => Self::Tag(tag.into()),
            None if text == "beta" => Self::Beta,
            None => Self::Labels(text.into()),
        }
    }

    /// Whether a gray version can have it.
    ///
    /// # Errors
    /// The name is blank or too long.
    pub fn check(&self) -> Result<(), PublishError> {
        match self {
            Self::Beta => Ok(()),
            Self::Tag(tag) => check_named("tag", tag, limits::TAG_CHARS_MAX),
            Self::Labels(name) => check_named("grayName", name, limits::GRAY_NAME_CHARS_MAX),
        }
    }
}

impl fmt::Display for GrayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beta => f.write_str("beta"),
            Self::Tag(tag) => write!(f, "tag_{tag}"),
            Self::Labels(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    const LABELS: [(&str, &str); 3] = [("env", "prod"), ("region", "hz"), ("v", "2.3.1")];

    fn label(key: &str) -> Option<&'static str> {
        LABELS.into_iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// `None` where the rule is none.
    fn check(syntax: LabelSyntax, expr: &str, expected: Option<bool>) {
        let rule = LabelRule { name: "r".into(), syntax, expr: expr.into(), priority: 1 };
        let fits = rule.check().is_ok().then(|| rule.fits(label));
        assert_eq!(fits, expected, "{syntax:?} {expr}");
    }

    #[test]
    fn a_single_rule_names_one_label_and_its_values() {
        let single = |expr, expected| check(LabelSyntax::Single, expr, expected);
        single("env=prod", Some(true));
        single(" env = test , prod ", Some(true));
        single("env=test,pre", Some(false));
        single("none=prod", Some(false));
        single("v=2.3.1", Some(true));
        for none in ["", " ", "env", "env=", "=prod", "env=a,", "env=a=b", "env==prod", "env=pr od"]
        {
            single(none, None);
        }
        single("env=prod&&region=hz", None);
        single("env='prod'", None);
    }

    #[test]
    fn and_binds_tighter_than_or_and_has_each_label_once() {
        let joined = |expr, expected| check(LabelSyntax::Joined, expr, expected);
        joined("env=prod", Some(true));
        joined("env=prod && region=hz,sh", Some(true));
        joined("env=prod&&region=sh", Some(false));
        joined("env=test || env=prod", Some(true));
        joined("env=test && region=hz || v=2.3.1", Some(true));
        joined("v=1||env=test&&region=hz", Some(false));
        for none in ["env=prod&&", "||env=prod", "env=prod & region=hz", "env=a&&env=b", "env"] {
            joined(none, None);
        }
    }

    #[test]
    fn names_are_read_as_they_are_shown() {
        for text in ["beta", "tag_blue", "tag_", "blue", "betas"] {
            assert_eq!(GrayName::parse(text).to_string(), text);
        }
        assert_eq!(GrayName::parse("tag_blue"), GrayName::Tag("blue".into()));
    }
}
