//! What headers say of who calls: a token, a name with a password as Nacos takes them, or both as
//! HTTP has it (RFC 7617). A header that came twice with two values says nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderMap;
use nacolet_model::limits;

/// A token, in either spelling.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &'static str| std::str::from_utf8(headers.get(name)?.as_bytes()).ok();
    let bearer = text("authorization").and_then(|value| of_scheme(value, "bearer"));
    text("accesstoken").filter(|token| !token.is_empty()).or(bearer)
}

/// What the headers `username` and `password` say, where both are there: nobody may be meant.
pub(super) fn name_and_password(headers: &HeaderMap) -> Option<Option<(String, String)>> {
    let (name, password) = ("username", "password");
    let are_there = headers.contains_key(name) && headers.contains_key(password);
    let said =
        || Some((only(headers, name)?.trim().to_owned(), only(headers, password)?.to_owned()));
    are_there.then(said)
}

/// Name and password of `Authorization: Basic`.
pub(super) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let text = of_scheme(only(headers, "authorization")?, "basic")?;
    if text.len() > limits::BASIC_BYTES_MAX {
        return None;
    }
    let said = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let (name, password) = said.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// What follows the scheme, in any case of its letters.
fn of_scheme<'v>(value: &'v str, wanted: &str) -> Option<&'v str> {
    let (scheme, rest) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then_some(rest.trim())
}

/// The one value of a header.
fn only<'h>(headers: &'h HeaderMap, name: &'static str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    let is_one = values.all(|other| other == value);
    std::str::from_utf8(value.as_bytes()).ok().filter(|_| is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    fn pair(name: &str, password: &str) -> Option<(String, String)> {
        Some((name.to_owned(), password.to_owned()))
    }

    #[test]
    fn both_headers_are_needed_each_with_one_value() {
        let of = |all: &[(&'static str, &str)]| name_and_password(&headers(all));
        let (name, password) = (("username", "u"), ("password", "p q"));
        assert_eq!(of(&[name, password]), Some(pair("u", "p q")));
        assert_eq!(of(&[name, name, password]), Some(pair("u", "p q")));
        assert_eq!(of(&[name]), None);
        assert_eq!(of(&[password]), None);
        assert_eq!(of(&[("username", " "), password]), Some(pair("", "p q")));
        assert_eq!(of(&[name, ("username", "v"), password]), Some(None));
        assert_eq!(of(&[name, password, ("password", "x")]), Some(None));
    }

    #[test]
    fn basic_is_read_as_http_has_it() {
        let of = |value: &str| basic(&headers(&[("authorization", value)]));
        let encode = |text: &str| STANDARD.encode(text);
        assert_eq!(of(&format!("Basic {}", encode("u:p:q"))), pair("u", "p:q"));
        assert_eq!(of(&format!("basic {}", encode("ü:"))), pair("ü", ""));
        for wrong in [
            encode("u:p"),
            format!("Bearer {}", encode("u:p")),
            format!("Basic {}", encode("u")),
            "Basic".to_owned(),
            "Basic u:p".to_owned(),
            format!("Basic {}", STANDARD.encode(b"\xff:p")),
            format!("Basic {}", encode(&format!("u:{}", "p".repeat(limits::BASIC_BYTES_MAX)))),
        ] {
            assert_eq!(of(&wrong), None, "{wrong}");
        }
        let two = ["Basic dTpw", "Basic dTpx"].map(|value| ("authorization", value));
        assert_eq!(basic(&headers(&two)), None);
    }
}
