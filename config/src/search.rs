//! Search: the accurate and the blurred query of Nacos, with pages. The store is scanned; ten
//! thousand configs take less time than the answer takes to encode.
//!
//! Blurred patterns follow Nacos, which turns `*` into the `%` of SQL `LIKE`: `*` stands for any
//! text, a pattern without `*` matches only itself, case matters. Unlike there, `%` and `_` are
//! plain characters: that they are not is an accident of SQL, and `_` is common in names.

use alloc::vec::Vec;

use nacolet_model::limits;

use crate::command::ConfigType;
use crate::entry::Config;
use crate::key::KeyRef;

/// How names are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SearchMode {
    /// Texts are equal.
    #[default]
    Accurate,
    /// `*` stands for any text.
    Blur,
}

/// What to look for. An empty text or list asks for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Search<'a> {
    /// Canonical text of the namespace; always compared as it is.
    pub namespace: &'a str,
    /// The name inside the group.
    pub data_id: &'a str,
    /// The group.
    pub group: &'a str,
    /// How names and tags are compared.
    pub mode: SearchMode,
    /// The application, compared as it is.
    pub app_name: &'a str,
    /// One of these tags.
    pub tags: &'a [&'a str],
    /// One of these types.
    pub types: &'a [ConfigType],
    /// A text somewhere in the content; `*` in it stands for any text.
    pub content_contains: &'a str,
    /// The page, from 1.
    pub page_no: usize,
    /// Items of a page, at most [`limits::SEARCH_PAGE_MAX`].
    pub page_size: usize,
}

impl Search<'_> {
    /// Whether this config of the namespace is looked for.
    #[must_use]
    pub fn matches(&self, key: KeyRef<'_>, config: &Config) -> bool {
        self.name_matches(self.data_id, key.data_id)
            && self.name_matches(self.group, key.group)
            && (self.app_name.is_empty() || self.app_name == config.app_name())
            && (self.types.is_empty()
                || config.config_type.is_some_and(|t| self.types.contains(&t)))
            && (self.tags.is_empty() || self.tags_match(config))
            && (self.content_contains.is_empty()
                || contains(self.content_contains, &config.content))
    }

    fn name_matches(&self, pattern: &str, name: &str) -> bool {
        pattern.is_empty()
            || match self.mode {
                SearchMode::Accurate => pattern == name,
                SearchMode::Blur => like(pattern, name),
            }
    }

    fn tags_match(&self, config: &Config) -> bool {
        let wanted = |tag: &str| self.tags.iter().any(|pattern| self.name_matches(pattern, tag));
        config.tags().iter().any(|tag| wanted(tag))
    }
}

/// Whether `text` matches a pattern in which `*` stands for any text.
#[must_use]
pub fn like(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').map_or(("", rest), |(middle, tail)| (middle, tail));
    let Some(text) = text.strip_suffix(tail) else { return false };
    finds_in_order(middle, text).is_some()
}

fn contains(pattern: &str, text: &str) -> bool {
    finds_in_order(pattern, text).is_some()
}

/// Finds the pieces of `pattern` one after the other, each at its first place: if they fit at all,
/// they fit there.
fn finds_in_order(pattern: &str, text: &str) -> Option<()> {
    let mut rest = text;
    for piece in pattern.split('*') {
        let at = rest.find(piece)?;
        rest = rest.get(at + piece.len()..)?;
    }
    Some(())
}

/// One page of a longer list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Items of all pages together.
    pub total: usize,
    /// This page, from 1.
    pub page_no: usize,
    /// How many pages there are.
    pub pages: usize,
    /// The items of this page.
    pub items: Vec<T>,
}

impl<T> Page<T> {
    /// Takes page `page_no` (from 1) out of `all`; both numbers are brought into their bounds.
    pub(crate) fn of(
        all: impl Iterator<Item = T>,
        page_no: usize,
        page_size: usize,
        page_size_max: usize,
    ) -> Self {
        let page_no = page_no.max(1);
        let page_size = page_size.clamp(1, page_size_max);
        let first = (page_no - 1).saturating_mul(page_size);
        let mut total = 0;
        let mut items = Vec::new();
        for item in all {
            if total >= first && items.len() < page_size {
                items.push(item);
            }
            total += 1;
        }
        Self { total, page_no, pages: total.div_ceil(page_size), items }
    }

    /// The same page of other items.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        let items = self.items.into_iter().map(change).collect();
        Page { total: self.total, page_no: self.page_no, pages: self.pages, items }
    }
}

/// Bounds of a page of configs, beside the other numbers of this file.
pub(crate) const PAGE_MAX: usize = limits::SEARCH_PAGE_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_follow_like_with_a_star() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a", "A", false),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "ab", true),
            ("a*", "ba", false),
            ("*b", "ab", true),
            ("*b", "ba", false),
            ("*b*", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*a", "a", false),
            ("a*bc*d", "aXbcYd", true),
            ("a*bc*cd", "abcd", false),
            ("*ab*ab*", "abXab", true),
            ("*ab*ab*", "abab", true),
            ("*aba*ba", "ababa", true),
            ("a**b", "ab", true),
            ("a_b", "axb", false),
            ("a%", "ab", false),
        ] {
            assert_eq!(like(pattern, text), expected, "{pattern} against {text}");
        }
    }

    #[test]
    fn pages_cover_a_list_once() {
        let page = |no, size| Page::of(0..7, no, size, 5);
        assert_eq!(page(1, 3).items, [0, 1, 2]);
        assert_eq!(page(3, 3), Page { total: 7, page_no: 3, pages: 3, items: [6].into() });
        assert_eq!(page(4, 3).items, []);
        assert_eq!(page(0, 0).items, [0]);
        assert_eq!(page(2, 1_000).items, [5, 6]);
        assert_eq!(page(usize::MAX, usize::MAX).items, []);
    }
}
