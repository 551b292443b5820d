//! `multipart/form-data` (RFC 7578) over a body that is in memory already: parts are slices of it.
//! Fields are parameters like those of any other form (`curl -F` sends them so), files are not.

use hyper::header::{CONTENT_TYPE, HeaderMap};
use nacolet_model::limits;

use crate::http::failure::Failure;

/// Bytes of the headers of one part.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// One field or file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part<'b> {
    /// The field's name.
    pub(crate) name: String,
    /// Its content.
    pub(crate) bytes: &'b [u8],
    /// It has the name of a file.
    pub(crate) is_file: bool,
}

/// The type of a body with parts, if these headers tell of one.
pub(crate) fn type_of(headers: &HeaderMap) -> Option<&str> {
    let content_type = std::str::from_utf8(headers.get(CONTENT_TYPE)?.as_bytes()).ok()?;
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("multipart/form-data").then_some(content_type)
}

/// Takes a body apart.
///
/// # Errors
/// It is no such body, or has more parts than a call may have parameters.
pub(crate) fn parse<'b>(content_type: &str, body: &'b [u8]) -> Result<Vec<Part<'b>>, Failure> {
    let broken = || Failure::invalid("the body is not multipart/form-data");
    let boundary = parameter(content_type, "boundary").ok_or_else(broken)?;
    if boundary.is_empty() || boundary.len() > 70 {
        return Err(broken());
    }
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    // The first delimiter needs no line end before it.
    let first = &delimiter[2..];
    let mut rest = if body.starts_with(first) {
        &body[first.len()..]
    } else {
        after(body, &delimiter).ok_or_else(broken)?.1
    };
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        let (_, begin) = after(rest, b"\r\n").ok_or_else(broken)?;
        let (part, next) = after(begin, &delimiter).ok_or_else(broken)?;
        rest = next;
        // A part without headers begins with the blank line itself.
        let (head, bytes) = match part.strip_prefix(b"\r\n") {
            Some(bytes) => (&b""[..], bytes),
            None => after(part, b"\r\n\r\n").ok_or_else(broken)?,
        };
        if head.len() > HEAD_BYTES_MAX {
            return Err(broken());
        }
        if let Some((name, is_file)) = names_of(head) {
            parts.push(Part { name, bytes, is_file });
        }
        if parts.len() > limits::PARAMETERS_MAX {
            return Err(Failure::invalid("too many parameters"));
        }
    }
}

/// What stands before and behind the first `needle`.
fn after<'b>(bytes: &'b [u8], needle: &[u8]) -> Option<(&'b [u8], &'b [u8])> {
    let at = memchr::memmem::find(bytes, needle)?;
    Some((&bytes[..at], &bytes[at + needle.len()..]))
}

/// The field name in a part's headers, and whether there is that of a file.
fn names_of(head: &[u8]) -> Option<(String, bool)> {
    let head = String::from_utf8_lossy(head);
    let is_disposition = |line: &&str| {
        let name = "content-disposition:";
        line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    let line = head.split("\r\n").find(is_disposition)?;
    let is_file = ["filename", "filename*"].iter().any(|name| parameter(line, name).is_some());
    Some((parameter(line, "name")?.to_owned(), is_file))
}

/// A parameter of a header, quoted or not.
fn parameter<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    let value = header.split(';').skip(1).find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })?;
    Some(value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use nacolet_model::Prng;

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"xx\"";

    #[test]
    fn a_head_that_is_too_long_is_none() {
        let body = |head: usize| {
            let disposition = "Content-Disposition: form-data; name=\"a\"";
            format!("--B\r\nX: {}\r\n{disposition}\r\n\r\n1\r\n--B--\r\n", "x".repeat(head))
        };
        let parts =
            |head: usize| parse("multipart/form-data; boundary=B", body(head).as_bytes()).is_ok();
        assert!(parts(100) && parts(HEAD_BYTES_MAX - 100));
        assert!(!parts(HEAD_BYTES_MAX));
    }

    #[test]
    fn fields_and_files_are_taken_apart() {
        let body =
            b"--xx\r\nContent-Disposition: form-data; name=\"policy\"\r\n\r\nSKIP\r\n--xx\r\n\
                     content-disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\n\
                     Content-Type: application/zip\r\n\r\nP\r\nK--x\r\n--xx--\r\n";
        let parts = parse(TYPE, body).expect("a good body");
        assert_eq!(parts.len(), 2);
        assert_eq!((&*parts[0].name, parts[0].bytes), ("policy", &b"SKIP"[..]));
        assert_eq!((&*parts[1].name, parts[1].bytes), ("file", &b"P\r\nK--x"[..]));
        assert_eq!((parts[0].is_file, parts[1].is_file), (false, true));
    }

    #[test]
    fn hostile_bodies_never_panic() {
        let mut random = Prng::new(7);
        let pieces: [&[u8]; 8] = [b"--xx", b"\r\n", b"--", b"a", b"\r", b"\xff", b"name=\"", b";"];
        for _ in 0..20_000 {
            let count = random.below(16);
            let piece = |_| pieces[usize::try_from(random.below(8)).expect("small")];
            let body: Vec<u8> = (0..count).flat_map(piece).copied().collect();
            if let Ok(parts) = parse(TYPE, &body) {
                assert!(parts.iter().all(|part| part.bytes.len() < body.len()));
            }
        }
    }

    #[test]
    fn a_body_that_is_none_is_refused() {
        for body in [&b""[..], b"--xx", b"--xx\r\n", b"--xx\r\n\r\n", b"--xx\r\nA: b\r\n\r\nno end"]
        {
            assert!(parse(TYPE, body).is_err(), "{body:?}");
        }
        assert!(parse("multipart/form-data", b"--xx--").is_err());
    }

    #[test]
    fn one_part_more_than_there_may_be_parameters_is_refused() {
        let part = "--xx\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n";
        let count = |count: usize| {
            parse(TYPE, format!("{}--xx--", part.repeat(count)).as_bytes()).map(|parts| parts.len())
        };
        assert_eq!(count(limits::PARAMETERS_MAX), Ok(limits::PARAMETERS_MAX));
        assert!(count(limits::PARAMETERS_MAX + 1).is_err());
    }
}
