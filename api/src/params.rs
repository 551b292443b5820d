//! Query and form fields, merged as a servlet container merges them, and typed readers whose errors
//! carry the words of Nacos. The first value of a repeated name counts; the query comes before the form.

use std::borrow::Cow;

use crate::status::Failure;

/// The parameters of one call.
#[derive(Debug)]
pub(crate) struct Params<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Params<'a> {
    /// Parses query and form; broken escapes stay as they are, broken UTF-8 is replaced.
    pub(crate) fn new(query: &'a [u8], form: &'a [u8]) -> Self {
        let mut pairs = Vec::with_capacity(8);
        pairs.extend(form_urlencoded::parse(query));
        pairs.extend(form_urlencoded::parse(form));
        Self { pairs }
    }

    /// The value as it came, even when empty.
    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// Takes the value out, so that a large one need not be copied.
    pub(crate) fn take(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let position = self.pairs.iter().position(|(key, _)| key == name)?;
        Some(self.pairs.swap_remove(position).1)
    }

    /// The trimmed value; absent when blank (Nacos `WebUtils.optional`).
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.raw(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// As [`Self::text`], with a default.
    pub(crate) fn text_or<'s>(&'s self, name: &str, default: &'s str) -> &'s str {
        self.text(name).unwrap_or(default)
    }

    /// The trimmed value of a parameter that must be there (Nacos `WebUtils.required`).
    pub(crate) fn required(&self, name: &'static str) -> Result<&str, Failure> {
        self.text(name).ok_or(Failure::missing(name))
    }

    /// The value of a parameter that must be sent but may be empty (Spring's `@RequestParam`).
    pub(crate) fn present(&self, name: &'static str) -> Result<&str, Failure> {
        self.raw(name).ok_or(Failure::missing(name))
    }

    /// A number, where one was sent.
    pub(crate) fn number<T: std::str::FromStr>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().ok().map(Some).ok_or_else(|| Failure::not_a_number(name, text))
    }

    /// A number with a default.
    pub(crate) fn number_or<T: std::str::FromStr>(
        &self,
        name: &'static str,
        default: T,
    ) -> Result<T, Failure> {
        Ok(self.number(name)?.unwrap_or(default))
    }

    /// A number that must be there.
    pub(crate) fn number_required<T: std::str::FromStr>(
        &self,
        name: &'static str,
    ) -> Result<T, Failure> {
        self.number(name)?.ok_or(Failure::missing(name))
    }

    /// A boolean as naming reads it: true, on, y, t, yes and their opposites, in any case (Nacos
    /// `ConvertUtils.toBoolean`, `BooleanUtils`). Anything else is the default.
    pub(crate) fn switch_or(&self, name: &str, default: bool) -> bool {
        self.text(name).and_then(switch).unwrap_or(default)
    }

    /// A boolean as Java's `Boolean.parseBoolean` reads it: "true" in any case, else false.
    pub(crate) fn flag_or(&self, name: &str, default: bool) -> bool {
        self.text(name).map_or(default, |text| text.eq_ignore_ascii_case("true"))
    }

    /// A page number and size, both at least 1, the size at most `size_max`.
    pub(crate) fn page(&self, size_default: usize, size_max: usize) -> Result<PageParams, Failure> {
        let number = self.number_or::<usize>("pageNo", 1)?.max(1);
        let size = self.number_or("pageSize", size_default)?.clamp(1, size_max);
        Ok(PageParams { number, size })
    }
}

/// Which page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageParams {
    /// Counted from 1.
    pub(crate) number: usize,
    /// Items of a page.
    pub(crate) size: usize,
}

fn switch(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["true", "on", "y", "t", "yes"]) {
        Some(true)
    } else if is(&["false", "off", "n", "f", "no"]) {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_and_form_are_one_namespace_and_the_query_comes_first() {
        let params = Params::new(b"&a=1&a=2&empty=&", b"a=3&b=x+y%20z");
        assert_eq!(params.text("a"), Some("1"));
        assert_eq!(params.text("b"), Some("x y z"));
        assert_eq!(params.raw("empty"), Some(""));
        assert_eq!(params.text("empty"), None);
        assert_eq!(params.raw("c"), None);
    }

    #[test]
    fn booleans_follow_the_words_of_nacos() {
        let params = Params::new(b"a=True&b=off&c=maybe&d=TRUE&e=yes", b"");
        assert!(params.switch_or("a", false));
        assert!(!params.switch_or("b", true));
        assert!(params.switch_or("c", true));
        assert!(params.flag_or("d", false));
        assert!(!params.flag_or("e", true), "only `true` is true for parseBoolean");
    }

    #[test]
    fn numbers_are_checked() {
        let params = Params::new(b"port=80&bad=8x&pageNo=0&pageSize=9999", b"");
        assert_eq!(params.number::<u16>("port").expect("a number"), Some(80));
        assert!(params.number::<u16>("bad").is_err());
        assert!(params.number_required::<u16>("none").is_err());
        let page = params.page(10, 500).expect("numbers");
        assert_eq!(page, PageParams { number: 1, size: 500 });
    }

    #[test]
    fn hostile_bytes_never_panic() {
        for bytes in [&b"%"[..], b"%zz=%f", b"=&=&&;", b"\xff\xfe=\xff", b"%00=%01%02"] {
            let params = Params::new(bytes, bytes);
            assert_eq!(params.text("none"), None);
        }
    }
}
