//! Identifiers, checked once at the door. A value of one of these types is inside its limits and
//! has only allowed characters (Nacos `ParamCheckRule`); whoever holds it need not look again.
//!
//! `check` validates without allocating, for lookups; `new` makes an owned value, for writes.

use alloc::boxed::Box;
use core::borrow::Borrow;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Identity of a member: random, stored in its data directory, never reused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Names a caller that waits inside a core; the shell keeps the table from id to caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Why a text is not an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty where a name is needed.
    #[error("{what} is empty")]
    Empty {
        /// Which identifier, in the words of Nacos.
        what: &'static str,
    },
    /// The text has more characters than allowed.
    #[error("{what} is longer than {chars_max} characters")]
    TooLong {
        /// Which identifier, in the words of Nacos.
        what: &'static str,
        /// The limit it passed, in characters.
        chars_max: usize,
    },
    /// The text has a character or a form that is not allowed.
    #[error("{what} has an illegal character")]
    Illegal {
        /// Which identifier, in the words of Nacos.
        what: &'static str,
    },
}

/// One rule for one kind of identifier.
struct Rule {
    what: &'static str,
    chars_max: usize,
    allowed: fn(char) -> bool,
}

impl Rule {
    fn check<'a>(&self, text: &'a str) -> Result<&'a str, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty { what: self.what });
        }
        // Bytes bound characters from above, so the count is only taken when it can matter.
        if text.len() > self.chars_max && text.chars().count() > self.chars_max {
            return Err(IdError::TooLong { what: self.what, chars_max: self.chars_max });
        }
        if !text.chars().all(self.allowed) {
            return Err(IdError::Illegal { what: self.what });
        }
        Ok(text)
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr, $allowed:expr, $extra:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "Box<str>", into = "Box<str>")]
        pub struct $name(Box<str>);

        impl $name {
            const RULE: Rule = Rule { what: $what, chars_max: $max, allowed: $allowed };

            /// Validates `text` without allocating.
            ///
            /// # Errors
            /// See [`IdError`].
            pub fn check(text: &str) -> Result<&str, IdError> {
                let text = Self::RULE.check(text)?;
                let extra: fn(&str) -> bool = $extra;
                if extra(text) { Ok(text) } else { Err(IdError::Illegal { what: $what }) }
            }

            /// An owned, valid identifier.
            ///
            /// # Errors
            /// See [`IdError`].
            pub fn new(text: &str) -> Result<Self, IdError> {
                Self::check(text).map(|text| Self(text.into()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<Box<str>> for $name {
            type Error = IdError;

            fn try_from(text: Box<str>) -> Result<Self, IdError> {
                Self::check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for Box<str> {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn is_config_char(c: char) -> bool {
    is_word(c) || c == '.' || c == ':'
}

/// Nacos forbids whitespace and Chinese characters in service names and nothing else; control
/// characters would only serve to confuse logs.
fn is_service_char(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !('\u{4e00}'..='\u{9fa5}').contains(&c)
}

identifier! {
    /// A config's name inside its group.
    DataId, "dataId", limits::DATA_ID_CHARS_MAX, is_config_char, |_| true
}
identifier! {
    /// A group of configs or of services.
    Group, "group", limits::GROUP_CHARS_MAX, is_config_char, |_| true
}
identifier! {
    /// A service's name inside its group, without the `group@@` prefix of HTTP v1.
    ServiceName, "serviceName", limits::SERVICE_NAME_CHARS_MAX, is_service_char,
    |text| !text.starts_with('@') && !text.contains("@@")
}
identifier! {
    /// A group of instances inside a service; `DEFAULT` where the client names none.
    ClusterName, "cluster", limits::CLUSTER_NAME_CHARS_MAX, is_word, |_| true
}
identifier! {
    /// A namespace. `""`, `public` and `null` are one; its canonical text is `public`, and only
    /// `api` knows in which spelling a caller wants it back.
    Namespace, "namespaceId", limits::NAMESPACE_CHARS_MAX, is_word, |_| true
}

impl Group {
    /// The group used where a caller may leave it out.
    pub const DEFAULT: &'static str = "DEFAULT_GROUP";
}

impl ClusterName {
    /// The cluster used where a caller leaves it out.
    pub const DEFAULT: &'static str = "DEFAULT";
}

impl Namespace {
    /// Canonical text of the default namespace.
    pub const PUBLIC: &'static str = "public";

    /// Maps every spelling of the default namespace to [`Self::PUBLIC`] and validates the rest.
    ///
    /// # Errors
    /// See [`IdError`].
    pub fn canonical(text: &str) -> Result<&str, IdError> {
        match text.trim() {
            "" | "null" | Self::PUBLIC => Ok(Self::PUBLIC),
            other => Self::check(other),
        }
    }

    /// The namespace that `text` spells; see [`Self::canonical`].
    ///
    /// # Errors
    /// See [`IdError`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        Self::canonical(text).map(|text| Self(text.into()))
    }

    /// The default namespace.
    #[must_use]
    pub fn public() -> Self {
        Self(Self::PUBLIC.into())
    }

    /// Whether it is spelled as [`Self::parse`] spells it: one that was decoded may be another
    /// spelling of the default namespace, which nothing must be stored under.
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        Self::canonical(&self.0) == Ok(&*self.0)
    }

    /// Whether this is the default namespace.
    #[must_use]
    pub fn is_public(&self) -> bool {
        &*self.0 == Self::PUBLIC
    }
}

/// Names one config.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConfigKey {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its group.
    pub group: Group,
    /// Its name inside the group.
    pub data_id: DataId,
}

/// Names one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its group.
    pub group: Group,
    /// Its name inside the group.
    pub name: ServiceName,
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    fn check(actual: Result<&str, IdError>, expected: Result<&str, &str>) {
        match (actual, expected) {
            (Ok(text), Ok(wanted)) => assert_eq!(text, wanted),
            (Err(error), Err(part)) => {
                let words = alloc::format!("{error}");
                assert!(words.contains(part), "{words} does not contain {part}");
            }
            (actual, expected) => panic!("{actual:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn identifiers_follow_the_rules_of_nacos() {
        let long = |chars: usize| -> String { "a".repeat(chars) };
        check(DataId::check("com.example:app_1-x.yml"), Ok("com.example:app_1-x.yml"));
        check(DataId::check(""), Err("dataId is empty"));
        check(DataId::check("a b"), Err("illegal"));
        check(DataId::check("配置"), Err("illegal"));
        check(DataId::check(&long(256)), Ok(&long(256)));
        check(DataId::check(&long(257)), Err("longer than 256"));
        check(Group::check(&long(129)), Err("longer than 128"));
        check(ServiceName::check("a@b"), Ok("a@b"));
        check(ServiceName::check("@b"), Err("illegal"));
        check(ServiceName::check("a@@b"), Err("illegal"));
        check(ServiceName::check("providers:com.x.Y:1.0:"), Ok("providers:com.x.Y:1.0:"));
        check(ServiceName::check("服务"), Err("illegal"));
        check(ServiceName::check(&long(513)), Err("longer than 512"));
        check(ClusterName::check("a.b"), Err("illegal"));
    }

    #[test]
    fn every_spelling_of_the_default_namespace_is_one() {
        for text in ["", " ", "public", "null"] {
            check(Namespace::canonical(text), Ok("public"));
        }
        check(Namespace::canonical("dev"), Ok("dev"));
        check(Namespace::canonical("a/b"), Err("illegal"));
        assert!(Namespace::public().is_public());
        for (text, expected) in [("public", true), ("dev", true), ("null", false)] {
            let decoded = Namespace::try_from(Box::<str>::from(text)).expect("a word");
            assert_eq!(decoded.is_canonical(), expected, "{text}");
        }
    }

    #[test]
    fn a_foreign_identifier_is_refused_when_it_is_decoded() {
        let bytes = postcard::to_allocvec("a b").expect("a text encodes");
        assert!(postcard::from_bytes::<DataId>(&bytes).is_err());
    }
}
