//! Query and form fields, merged as a servlet container merges them, and typed readers whose errors
//! carry the words of Nacos. The first value of a repeated name counts; the query comes before the
//! form. What they hold is at most as long as what came, and their number is bounded before any is
//! read.

use hyper::Uri;
use hyper::body::Bytes;
use nacolet_model::limits;

use super::field;
use super::field::Field;
use super::multipart;
use super::multipart::Part;
use crate::http::failure::Failure;
use crate::http::paging::PageParams;

/// A name or value that is no UTF-8 is mended up to this many bytes: mending makes it three times
/// as long.
const BROKEN_BYTES_MAX: usize = 64 << 10;

/// Where a text lies.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

/// The parameters of one call, of which handlers read all that are no identifiers.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    /// Names and values one behind the other, decoded.
    text: String,
    pairs: Vec<(Span, Span)>,
    has_file: bool,
}

/// What the body of a call brings of parameters.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// It is no form.
    None,
    /// `application/x-www-form-urlencoded`
    Urlencoded(Bytes),
    /// `multipart/form-data`, with its type.
    Multipart(Box<str>, Bytes),
}

impl Fields {
    /// The parameters in the query of a target and in a form. See [`Self::parse`].
    pub(crate) fn of(uri: &Uri, form: &Form) -> Result<Self, Failure> {
        let query = uri.query().unwrap_or_default().as_bytes();
        match form {
            Form::None => Self::parse(query, b""),
            Form::Urlencoded(form) => Self::parse(query, form),
            Form::Multipart(content_type, body) => {
                Self::gather(query, b"", &multipart::parse(content_type, body)?)
            }
        }
    }

    /// Whether a file came with them.
    pub(crate) fn has_file(&self) -> bool {
        self.has_file
    }

    /// Parses query and form; broken escapes stay as they are, broken UTF-8 is replaced.
    ///
    /// # Errors
    /// There are more than `limits::PARAMETERS_MAX`, or a long one is no UTF-8.
    pub(crate) fn parse(query: &[u8], form: &[u8]) -> Result<Self, Failure> {
        Self::gather(query, form, &[])
    }

    fn gather(query: &[u8], form: &[u8], parts: &[Part<'_>]) -> Result<Self, Failure> {
        let mut bytes = Vec::with_capacity(query.len() + form.len());
        let mut pairs = Vec::with_capacity(8);
        let separated = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'&').count();
        if separated(query) + separated(form) + parts.len() > limits::PARAMETERS_MAX {
            return Err(Failure::invalid("too many parameters"));
        }
        for pair in [query, form].into_iter().flat_map(|part| part.split(|byte| *byte == b'&')) {
            if pair.is_empty() {
                continue;
            }
            let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let name = decode(&pair[..equals], &mut bytes)?;
            let value = decode(pair.get(equals + 1..).unwrap_or_default(), &mut bytes)?;
            pairs.push((name, value));
        }
        for part in parts.iter().filter(|part| !part.is_file) {
            let name = copy(part.name.as_bytes(), &mut bytes)?;
            pairs.push((name, copy(part.bytes, &mut bytes)?));
        }
        // Every part of it is valid.
        let text = String::from_utf8(bytes).map_err(|error| Failure::invalid(error.to_string()))?;
        Ok(Self { text, pairs, has_file: parts.iter().any(|part| part.is_file) })
    }

    /// All of them, in the order in which they came.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let pair =
            |(name, value): &(Span, Span)| (self.at(*name).to_owned(), self.at(*value).to_owned());
        self.pairs.iter().map(pair).collect()
    }

    fn at(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        let named = self.pairs.iter().filter(move |(key, _)| self.at(*key) == name);
        named.map(|(_, value)| self.at(*value))
    }

    /// The one value of an identifier.
    pub(super) fn only(&self, name: &'static str) -> Result<Option<&str>, Failure> {
        let mut values = self.all(name);
        let Some(value) = values.next() else { return Ok(None) };
        if values.all(|other| other == value) {
            return Ok(Some(value));
        }
        Err(Failure::invalid(format!("Param '{name}' has two values")))
    }

    /// The value as it came, even when empty.
    pub(crate) fn raw(&self, field: Field) -> Option<&str> {
        self.all(field.name()).next()
    }

    /// The trimmed value; absent when blank (Nacos `WebUtils.optional`).
    pub(crate) fn text(&self, field: Field) -> Option<&str> {
        self.raw(field).map(str::trim).filter(|value| !value.is_empty())
    }

    /// As [`Self::text`], with a default.
    pub(crate) fn text_or<'s>(&'s self, field: Field, default: &'s str) -> &'s str {
        self.text(field).unwrap_or(default)
    }

    /// The trimmed value of a parameter that must be there (Nacos `WebUtils.required`).
    pub(crate) fn required(&self, field: Field) -> Result<&str, Failure> {
        self.text(field).ok_or(Failure::missing(field.name()))
    }

    /// The value of a parameter that must be sent but may be empty (Spring's `@RequestParam`).
    pub(crate) fn present(&self, field: Field) -> Result<&str, Failure> {
        self.raw(field).ok_or(Failure::missing(field.name()))
    }

    /// A number, where one was sent.
    pub(crate) fn number<T: std::str::FromStr>(&self, field: Field) -> Result<Option<T>, Failure> {
        let Some(text) = self.text(field) else { return Ok(None) };
        text.parse().ok().map(Some).ok_or_else(|| Failure::not_a_number(field.name(), text))
    }

    /// A number with a default.
    pub(crate) fn number_or<T: std::str::FromStr>(
        &self,
        field: Field,
        default: T,
    ) -> Result<T, Failure> {
        Ok(self.number(field)?.unwrap_or(default))
    }

    /// A number that must be there.
    pub(crate) fn number_required<T: std::str::FromStr>(&self, field: Field) -> Result<T, Failure> {
        self.number(field)?.ok_or(Failure::missing(field.name()))
    }

    /// A boolean as naming reads it: true, on, y, t, yes and their opposites, in any case (Nacos
    /// `ConvertUtils.toBoolean`, `BooleanUtils`). Anything else is the default.
    pub(crate) fn switch_or(&self, field: Field, default: bool) -> bool {
        self.text(field).and_then(switch).unwrap_or(default)
    }

    /// A boolean as Java's `Boolean.parseBoolean` reads it: "true" in any case, else false.
    pub(crate) fn flag_or(&self, field: Field, default: bool) -> bool {
        self.text(field).map_or(default, |text| text.eq_ignore_ascii_case("true"))
    }

    /// A boolean as v2 and v3 read it, where one was sent (Spring `StringToBooleanConverter`).
    ///
    /// # Errors
    /// It is no word for yes or no.
    pub(crate) fn boolean(&self, field: Field) -> Result<Option<bool>, Failure> {
        let Some(text) = self.text(field) else { return Ok(None) };
        let said = match text {
            "1" => Some(true),
            "0" => Some(false),
            _ => switch(text),
        };
        said.map(Some).ok_or_else(|| Failure::not_a_boolean(field.name(), text))
    }

    /// Whether the value is this word.
    pub(crate) fn is(&self, field: Field, word: &str) -> bool {
        self.raw(field) == Some(word)
    }

    /// A page of the lists of services of v1 and v2: a size of 0 is a page with nothing on it.
    pub(crate) fn page_or_nothing(&self, size_max: usize) -> Result<PageParams, Failure> {
        let number = self.number_or::<i64>(field::PAGE_NO, 1)?.max(1);
        let size = self.number_or(field::PAGE_SIZE, 20_i64)?;
        let Ok(size) = usize::try_from(size) else {
            return Err(Failure::invalid(format!("fromIndex(0) > toIndex({size})")));
        };
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        Ok(PageParams { number, size: size.min(size_max) })
    }

    /// As [`Self::page`], in v3, which refuses numbers below 1.
    pub(crate) fn page_v3(
        &self,
        size_default: usize,
        size_max: usize,
    ) -> Result<PageParams, Failure> {
        for field in [field::PAGE_NO, field::PAGE_SIZE] {
            let number = self.number_or::<i64>(field, 1)?;
            if number < 1 {
                let name = field.name();
                return Err(Failure::invalid(format!(
                    "Required parameter '{name}' should be positive integer, current is {number}"
                )));
            }
        }
        self.page(size_default, size_max)
    }

    /// A page number and size, both at least 1, the size at most `size_max`.
    pub(crate) fn page(&self, size_default: usize, size_max: usize) -> Result<PageParams, Failure> {
        let number = self.number_or::<usize>(field::PAGE_NO, 1)?.max(1);
        let size = self.number_or(field::PAGE_SIZE, size_default)?.clamp(1, size_max);
        Ok(PageParams { number, size })
    }
}

/// Appends what a part of a query or a form says.
fn decode(part: &[u8], into: &mut Vec<u8>) -> Result<Span, Failure> {
    let start = into.len();
    for (position, words) in part.split(|byte| *byte == b'+').enumerate() {
        if position > 0 {
            into.push(b' ');
        }
        if words.contains(&b'%') {
            into.extend(percent_encoding::percent_decode(words));
        } else {
            into.extend_from_slice(words);
        }
    }
    mended(start, into)
}

/// Appends a part of a body as it is.
fn copy(part: &[u8], into: &mut Vec<u8>) -> Result<Span, Failure> {
    let start = into.len();
    into.extend_from_slice(part);
    mended(start, into)
}

/// What was appended from `start` on, as text.
fn mended(start: usize, into: &mut Vec<u8>) -> Result<Span, Failure> {
    let said = into.get(start..).unwrap_or_default();
    if std::str::from_utf8(said).is_err() {
        if said.len() > BROKEN_BYTES_MAX {
            return Err(Failure::invalid("a parameter is no UTF-8"));
        }
        let replaced = String::from_utf8_lossy(said).into_owned();
        into.truncate(start);
        into.extend_from_slice(replaced.as_bytes());
    }
    Ok(Span { start, end: into.len() })
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

    fn fields(query: &str, form: &str) -> Fields {
        Fields::parse(query.as_bytes(), form.as_bytes()).expect("few")
    }

    #[test]
    fn query_and_form_are_one_namespace_and_the_query_comes_first() {
        let params = fields("&ip=1&ip=2&port=&", "ip=3&app=x+y%20z");
        assert_eq!(params.text(field::IP), Some("1"));
        assert_eq!(params.text(field::APP), Some("x y z"));
        assert_eq!(params.raw(field::PORT), Some(""));
        assert_eq!(params.text(field::PORT), None);
        assert_eq!(params.raw(field::WEIGHT), None);
    }

    #[test]
    fn fields_of_a_body_with_parts_are_parameters_and_files_are_not() {
        let part = |more: &str, value: &str| {
            format!("--X\r\nContent-Disposition: form-data; {more}\r\n\r\n{value}\r\n")
        };
        let body = [
            part("name=\"app\"", "a+b%20\u{4e2d}"),
            part("name=\"file\"; filename=\"f\"", "ip=9"),
            part("name=\"ip\"", "2"),
        ];
        let body = Bytes::from(body.concat() + "--X--\r\n");
        let form = Form::Multipart("multipart/form-data; boundary=X".into(), body);
        let params = Fields::of(&Uri::from_static("/p?port=1&ip=1"), &form).expect("few");
        assert_eq!(params.raw(field::APP), Some("a+b%20\u{4e2d}"), "it is no query");
        assert_eq!((params.raw(field::IP), params.raw(field::PORT)), (Some("1"), Some("1")));
        assert_eq!((params.pairs().len(), params.has_file()), (4, true));
    }

    #[test]
    fn booleans_follow_the_words_of_nacos() {
        let params = fields("healthy=True&valid=off&enabled=maybe&enable=TRUE&all=yes", "");
        assert!(params.switch_or(field::HEALTHY, false));
        assert!(!params.switch_or(field::VALID, true));
        assert!(params.switch_or(field::ENABLED, true));
        assert!(params.flag_or(field::ENABLE, false));
        assert!(!params.flag_or(field::ALL, true), "only `true` is true for parseBoolean");
    }

    #[test]
    fn numbers_are_checked() {
        let params = fields("port=80&weight=8x&pageNo=0&pageSize=9999", "");
        assert_eq!(params.number::<u16>(field::PORT).expect("a number"), Some(80));
        assert!(params.number::<u16>(field::WEIGHT).is_err());
        assert!(params.number_required::<u16>(field::NID).is_err());
        let page = params.page(10, 500).expect("numbers");
        assert_eq!(page, PageParams { number: 1, size: 500 });
    }

    /// `form_urlencoded` as an oracle.
    #[test]
    fn hostile_bytes_mean_what_a_url_means_by_them() {
        let mut random = nacolet_model::Prng::new(11);
        let pieces: [&[u8]; 16] = [
            b"%",
            b"%zz",
            b"%f",
            b"=",
            b"&",
            b"+",
            b";",
            b"\xff",
            b"\xfe",
            b"%00",
            b"%E4%B8",
            b"%AD",
            b"a",
            b"\xe4\xb8",
            b"\xad",
            b"%2",
        ];
        for _ in 0..20_000 {
            let count = random.below(12);
            let piece = |_| pieces[usize::try_from(random.below(16)).expect("small")];
            let bytes: Vec<u8> = (0..count).flat_map(piece).copied().collect();
            let params = Fields::parse(&bytes, b"").expect("few");
            let expected: Vec<(String, String)> =
                form_urlencoded::parse(&bytes).into_owned().collect();
            assert_eq!(params.pairs(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_long_text_that_is_no_text_is_refused() {
        let form = |count: usize| [b"content=".to_vec(), vec![0xff; count]].concat();
        let params = Fields::parse(b"", &form(BROKEN_BYTES_MAX)).expect("short");
        let content = params.text(field::CONTENT).map(str::len);
        assert_eq!(content, Some(3 * BROKEN_BYTES_MAX));
        assert!(Fields::parse(b"", &form(BROKEN_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn one_more_than_may_be_is_refused_before_it_is_read() {
        let most = "a&".repeat(limits::PARAMETERS_MAX);
        assert!(Fields::parse(most.as_bytes(), b"").is_ok());
        assert!(Fields::parse(most.as_bytes(), b"a&").is_err());
    }
}
