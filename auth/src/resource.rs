//! What a permission is about: a pattern of Nacos, `NAMESPACE:GROUP:config/NAME`, in which `*`
//! stands for any text of one part (in Nacos, `NacosRoleServiceImpl.hasPermission`, across parts
//! too). A question about many things at once has `*` where it means any, which only a `*` of the
//! pattern covers.

use alloc::boxed::Box;
use alloc::string::String;

use nacolet_model::{Namespace, limits};
use serde::{Deserialize, Serialize};

/// What is done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is looked at.
    Read,
    /// It is changed.
    Write,
}

/// What a permission allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Actions {
    /// `r`
    Read,
    /// `w`
    Write,
    /// `rw`
    Both,
}

impl Actions {
    /// The word of Nacos.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "r",
            Self::Write => "w",
            Self::Both => "rw",
        }
    }

    /// Reads the word of Nacos.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Read, Self::Write, Self::Both].into_iter().find(|actions| actions.as_str() == word)
    }

    /// Whether it allows this.
    #[must_use]
    pub const fn allow(self, action: Action) -> bool {
        matches!(
            (self, action),
            (Self::Both, _) | (Self::Read, Action::Read) | (Self::Write, Action::Write)
        )
    }
}

/// The two halves of Nacos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Configs.
    Config,
    /// Services and their instances.
    Naming,
}

/// What is asked for. `*` as group or name means all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Canonical namespace; `*` for all of them.
    pub namespace: &'a str,
    /// Group.
    pub group: &'a str,
    /// Which half.
    pub kind: Kind,
    /// Data id or name of the service.
    pub name: &'a str,
}

/// A resource as a permission names it, checked where it is made. One that is decoded has to be
/// checked again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Checks the text of a permission. Nacos calls the default namespace nothing, 3.x `public`:
    /// both are kept as `public`.
    ///
    /// # Errors
    /// It has not three parts, or is too long.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.len() > limits::PERMISSION_RESOURCE_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let is_plain = |text: &str| !text.chars().any(|c| c.is_control() || c.is_whitespace());
        match text.split_once(':') {
            Some((namespace, rest)) if rest.contains(':') && is_plain(text) => {
                let namespace = if namespace.is_empty() { Namespace::PUBLIC } else { namespace };
                let text: String = [namespace, ":", rest].concat();
                Ok(Self(text.into()))
            }
            _ => Err(PatternError::Parts),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one, as it would have been made.
    pub(crate) fn check(&self) -> Result<(), PatternError> {
        if Self::new(&self.0)? == *self { Ok(()) } else { Err(PatternError::Parts) }
    }

    /// Whether it is about something in this namespace.
    #[must_use]
    pub fn reaches(&self, namespace: &str) -> bool {
        self.0.split_once(':').is_some_and(|(own, _)| matches(own, namespace))
    }

    /// Whether it covers what is asked for. Its parts are compared one by one: a `*` in one of them
    /// stands for no separator, so no name can be made that reaches from one into the next.
    #[must_use]
    pub fn covers(&self, asked: &Resource<'_>) -> bool {
        let (kind, other) = match asked.kind {
            Kind::Config => ("config", ":naming/"),
            Kind::Naming => ("naming", ":config/"),
        };
        let Some((namespace, rest)) = self.0.split_once(':') else { return false };
        let own = [":", kind, "/"].concat();
        let (group, is_covered) = match (rest.find(&*own), rest.find(other)) {
            // Whichever comes first says the kind; the other one is a part of a name.
            (Some(at), other) if other.is_none_or(|other| at < other) => (
                rest.get(..at),
                matches(rest.get(at + own.len()..).unwrap_or_default(), asked.name),
            ),
            (_, Some(_)) => return false,
            // Both kinds, or those that begin so.
            (_, None) => {
                let Some((group, tail)) = rest.rsplit_once(':') else { return false };
                (Some(group), matches(tail, &[kind, "/", asked.name].concat()))
            }
        };
        is_covered
            && matches(namespace, asked.namespace)
            && group.is_some_and(|group| matches(group, asked.group))
    }
}

/// Whether `text` is what `pattern` means, `*` being any text. Takes at most the product of both
/// lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut read) = (0, 0);
    // Behind the last `*`, and where the text that it stands for may end.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, read));
        } else if pattern.get(at) == text.get(read) {
            (at, read) = (at + 1, read + 1);
        } else if let Some((behind, end)) = star {
            (at, read) = (behind, end + 1);
            star = Some((behind, end + 1));
        } else {
            return false;
        }
    }
    pattern.iter().skip(at).all(|byte| *byte == b'*')
}

/// Why a text is no resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Something else than `NAMESPACE:GROUP:config/NAME`.
    #[error(
        "a resource is NAMESPACE:GROUP:config/NAME or NAMESPACE:GROUP:naming/NAME, with * for any text"
    )]
    Parts,
    /// Too long.
    #[error("the resource is longer than {} bytes", limits::PERMISSION_RESOURCE_BYTES_MAX)]
    TooLong,
}

/// What a role may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// With what.
    pub resource: Pattern,
    /// What it may do.
    pub actions: Actions,
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;

    use super::*;

    fn check(pattern: &str, asked: &str, expected: bool) {
        let mut parts = asked.splitn(3, ':');
        let mut part = || parts.next().expect("three parts");
        let (namespace, group) = (part(), part());
        let (kind, name) = part().split_once('/').expect("a kind and a name");
        let kind = if kind == "config" { Kind::Config } else { Kind::Naming };
        let pattern = Pattern::new(pattern).expect("a pattern");
        let asked = Resource { namespace, group, kind, name };
        assert_eq!(pattern.covers(&asked), expected, "{pattern:?} {asked:?}");
    }

    #[test]
    fn a_permission_reaches_into_its_namespaces_and_no_others() {
        let check = |pattern: &str, namespace: &str, expected: bool| {
            let pattern = Pattern::new(pattern).expect("a pattern");
            assert_eq!(pattern.reaches(namespace), expected, "{pattern:?} {namespace}");
        };
        check("a:g:config/x", "a", true);
        check("a:g:config/x", "b", false);
        check("a*:*:*", "ab", true);
        check("*:*:naming/*", "b", true);
        check(":*:*", "public", true);
        check(":*:*", "a", false);
    }

    #[test]
    fn a_group_with_a_separator_is_another_group() {
        let asked = Resource { namespace: "tnb", group: "ZZ:GA", kind: Kind::Config, name: "q" };
        for (pattern, expected) in [
            ("tn*:GA:config/*", false),
            ("tnb:ZZ:GA:config/q", true),
            ("tnb:*:config/q", true),
            ("tnb:ZZ*:*", true),
        ] {
            let pattern = Pattern::new(pattern).expect("a pattern");
            assert_eq!(pattern.covers(&asked), expected, "{pattern:?}");
        }
    }

    #[test]
    fn a_star_is_any_text_and_everything_else_itself() {
        check("a:g:config/x", "a:g:config/x", true);
        check("a:g:config/x", "a:g:config/xy", false);
        check("a:g:config/x", "a:g:naming/x", false);
        check("a:g:config/x*", "a:g:config/xy", true);
        check("a:*:config/*", "a:g:config/x", true);
        check("a:*:config/*", "b:g:config/x", false);
        check("a:*:*", "a:g:naming/x", true);
        check("a*:*:*", "ab:g:naming/x", true);
        check("*:*:*", "b:g:config/x:y", true);
        check("a:g:config/*.yaml", "a:g:config/app.prod.yaml", true);
        check("a:g:config/*.yaml", "a:g:config/app.yml", false);
        check("a:g:config/a*b*c", "a:g:config/a-c-b-b-c", true);
        check("a:g:config/a*b*c", "a:g:config/a-c-c", false);
        // A star ends where its part ends, whatever names may have in them.
        check("a:*:config/*", "a:GA:naming/x:config/y", false);
        check("a:g:config/x", "a:g:config/x:naming/y", false);
        check("a:g:config/x:naming/y", "a:g:config/x:naming/y", true);
        check("a:g:config/x:naming/y", "a:g:naming/y", false);
        check("a*:g:config/*", "a:config:config/x", false);
        check("a:*:naming/s", "a:g:naming/t/naming/s", false);
        check("a:g:*", "a:h:config/x", false);
        // A dot is no wildcard, whatever a regular expression takes it for.
        check("a:g:config/a.c", "a:g:config/abc", false);
    }

    #[test]
    fn the_default_namespace_has_two_spellings() {
        check(":*:*", "public:g:config/x", true);
        check("public:*:*", "public:g:config/x", true);
        check(":*:*", "a:g:config/x", false);
    }

    #[test]
    fn only_a_star_covers_a_question_about_all() {
        check("a:g:config/x", "a:*:config/*", false);
        check("a:g:config/*", "a:*:config/*", false);
        check("a:g:config/*", "a:g:config/*", true);
        check("a:*:*", "a:*:config/*", true);
        check("a:*:*", "*:*:config/*", false);
        check("*:*:*", "*:*:config/*", true);
    }

    #[test]
    fn what_is_no_resource_is_refused() {
        for text in ["", "a", "a:b", "a:b c:d", "a:b:\n"] {
            assert_eq!(Pattern::new(text), Err(PatternError::Parts), "{text:?}");
        }
        let long = "a:b:".to_owned() + &"c".repeat(limits::PERMISSION_RESOURCE_BYTES_MAX);
        assert_eq!(Pattern::new(&long), Err(PatternError::TooLong));
    }

    #[test]
    fn an_allowed_action_is_one_of_its_words() {
        for (word, read, write) in [("r", true, false), ("w", false, true), ("rw", true, true)] {
            let actions = Actions::parse(word).expect("a word");
            assert_eq!((actions.allow(Action::Read), actions.allow(Action::Write)), (read, write));
        }
        assert_eq!(Actions::parse("x"), None);
    }
}
