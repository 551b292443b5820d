//! Answers that are made while they are sent: a piece is rendered when the client has taken the one
//! before it, so that a large answer holds a piece of memory for each reader and not all of itself.
//! What it is made of is shared with the store.

use std::sync::Arc;

use hyper::body::Bytes;

/// Bytes from which on a piece goes out.
const PIECE_BYTES: usize = 32 << 10;
/// Bytes of a text that become part of a piece at once: escaped, up to six times as many.
const TEXT_BYTES: usize = 16 << 10;

/// The rest of an answer. A piece may be empty: others have their turn behind it. An error ends the
/// connection, so that nobody takes a part for the whole.
pub(crate) type Pieces = Box<dyn Iterator<Item = std::io::Result<Bytes>> + Send + Sync>;

/// A part of a JSON value whose text is not in it yet: the name of the field, and the text.
pub(crate) type Late = (&'static str, Arc<str>);

/// Joins small parts to pieces of some size.
pub(crate) fn joined(parts: impl Iterator<Item = Vec<u8>> + Send + Sync + 'static) -> Pieces {
    Box::new(chunks(parts).map(|piece| Ok(piece.into())))
}

/// As [`joined`], before it is an answer.
pub(crate) fn chunks(
    parts: impl Iterator<Item = Vec<u8>> + Send + Sync + 'static,
) -> impl Iterator<Item = Vec<u8>> + Send + Sync {
    let mut parts = parts.fuse();
    std::iter::from_fn(move || {
        let mut piece = parts.next()?;
        while piece.len() < PIECE_BYTES
            && let Some(part) = parts.next()
        {
            piece.extend_from_slice(&part);
        }
        Some(piece)
    })
}

/// A JSON value in parts, with the texts of fields that were rendered empty, in the order in which
/// they are in it.
pub(crate) fn with_texts(
    json: Vec<u8>,
    texts: Vec<Late>,
) -> impl Iterator<Item = Vec<u8>> + Send + Sync {
    let mut rest = json;
    let mut fields = Vec::with_capacity(texts.len());
    for (field, text) in texts {
        let (begin, end) = around(rest, field);
        fields.push((begin, text));
        rest = end;
    }
    let fields = fields.into_iter();
    fields
        .flat_map(|(begin, text)| std::iter::once(begin).chain(json_text(text)))
        .chain(std::iter::once(rest))
}

/// What JSON has in front of the text of a field that is empty, and behind it.
fn around(mut json: Vec<u8>, field: &str) -> (Vec<u8>, Vec<u8>) {
    // No text can have a quote that is not escaped, so this is the field and nothing else.
    let name = format!("\"{field}\":\"");
    let at = json.windows(name.len()).position(|part| part == name.as_bytes());
    debug_assert!(at.is_some(), "{field} is a text of the value");
    let end = json.split_off(at.map_or(json.len(), |at| at + name.len()));
    (json, end)
}

/// Bytes that a part of a text takes inside JSON.
pub(crate) fn json_bytes(text: &[u8]) -> usize {
    let more = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.len() + text.iter().map(|byte| more(*byte)).sum::<usize>()
}

/// The inside of a JSON text, in parts.
pub(crate) fn json_text(text: Arc<str>) -> impl Iterator<Item = Vec<u8>> + Send + Sync {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let mut ends = TEXT_BYTES.min(rest.len())..=rest.len();
        let end = ends.find(|end| rest.is_char_boundary(*end))?;
        let part = rest.get(..end)?;
        at += end;
        let quoted = serde_json::to_vec(part).unwrap_or_default();
        // Without the quotes at both ends.
        Some(quoted.get(1..quoted.len() - 1).map(<[u8]>::to_vec).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_parts_is_the_text() {
        for text in [String::new(), "\"\n\u{1}".repeat(9_000), "\u{4e2d}".repeat(50_001)] {
            let mut json = b"\"".to_vec();
            let mut parts = 0;
            for part in json_text(text.as_str().into()) {
                assert!(part.len() <= 6 * (TEXT_BYTES + 4));
                json.extend_from_slice(&part);
                parts += 1;
            }
            json.push(b'"');
            assert_eq!(serde_json::from_slice::<String>(&json).expect("JSON"), text);
            assert_eq!(parts > 1, text.len() > TEXT_BYTES);
        }
    }

    #[test]
    fn a_value_gets_its_texts_where_its_fields_are() {
        let value = serde_json::json!({
            "a": "\"content\":\"", "content": "", "contentType": "", "other": "",
        });
        let json = serde_json::to_vec(&value).expect("JSON");
        let texts = vec![("content", Arc::from("\"\u{1}")), ("other", Arc::from("x"))];
        let whole: Vec<u8> = with_texts(json, texts).flatten().collect();
        let read: serde_json::Value = serde_json::from_slice(&whole).expect("JSON");
        assert_eq!((&read["content"], &read["other"]), (&"\"\u{1}".into(), &"x".into()));
        assert_eq!((&read["a"], &read["contentType"]), (&"\"content\":\"".into(), &"".into()));
    }

    #[test]
    fn the_bytes_of_a_text_are_those_that_it_is_rendered_to() {
        let all: String = (0..0x300).filter_map(char::from_u32).collect();
        for text in [String::new(), all, "\u{1}".repeat(TEXT_BYTES + 1)] {
            let rendered: usize = json_text(text.as_str().into()).map(|part| part.len()).sum();
            assert_eq!(json_bytes(text.as_bytes()), rendered);
        }
    }

    #[test]
    fn small_parts_travel_together() {
        let parts = (0..100_u8).map(|byte| vec![byte; 1_000]);
        let pieces: Vec<Bytes> = joined(parts).map(|piece| piece.expect("made")).collect();
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), 100_000);
        assert_eq!(pieces.len(), 4);
    }
}
