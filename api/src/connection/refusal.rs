//! What is said to whoever sends a head that is none. hyper answers it with a status and nothing
//! else; here the status gets the words and the shape that every other refusal has.

use hyper::StatusCode;
use hyper::body::Bytes;
use nacolet_model::WallTime;

use crate::http::failure::spring_error;

/// Whether these bytes are a refusal of hyper's own: a status of a client's mistake, and no body.
pub(super) fn is_bare(bytes: &[u8]) -> bool {
    let is_empty = |line: &[u8]| line.eq_ignore_ascii_case(b"content-length: 0\r");
    bytes.starts_with(b"HTTP/1.1 4") && bytes.split(|byte| *byte == b'\n').any(is_empty)
}

/// The same refusal with a reason.
pub(super) fn spelled(bare: &[u8], now: WallTime) -> Bytes {
    let status = bare.get(9..12).and_then(|digits| StatusCode::from_bytes(digits).ok());
    let status = status.unwrap_or(StatusCode::BAD_REQUEST);
    let words = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the head of the request is too large",
        StatusCode::URI_TOO_LONG => "the target of the request is too long",
        _ => "the head of the request is not valid",
    };
    let mut answer = spring_error(status, words, "", now);
    answer.guard();
    let mut text = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in &answer.headers {
        text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    let end = format!("content-length: {}\r\nconnection: close\r\n\r\n", answer.body.len());
    text.extend_from_slice(end.as_bytes());
    text.extend_from_slice(&answer.body);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_refusal_gets_a_reason_and_others_are_left_alone() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
            content-length: 0\r\ndate: x\r\n\r\n";
        assert!(is_bare(bare));
        let text = spelled(bare, WallTime(0));
        let text = std::str::from_utf8(&text).expect("text");
        assert!(text.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{text}");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((&body["status"], &body["path"]), (&431.into(), &"".into()));
        assert!(body["message"].as_str().is_some_and(|words| words.contains("too large")));
        for other in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 10\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
        ] {
            assert!(!is_bare(other));
        }
    }
}
