//! Answers that are made while they are sent: a piece is rendered when the client has taken the one before
//! it, so that a large answer holds a piece of memory for each reader and not all of itself. What it is made
//! of is shared with the store.

use std::sync::Arc;

use hyper::body::Bytes;

/// Bytes from which on a piece goes out.
const PIECE_BYTES: usize = 32 << 10;
/// Bytes of a text that become part of a piece at once: escaped, up to six times as many.
const TEXT_BYTES: usize = 16 << 10;

/// The rest of an answer. An error ends the connection, so that nobody takes a part for the whole.
pub(crate) type Pieces = Box<dyn Iterator<Item = std::io::Result<Bytes>> + Send + Sync>;

/// Joins small parts to pieces of some size.
pub(crate) fn joined(parts: impl Iterator<Item = Vec<u8>> + Send + Sync + 'static) -> Pieces {
    let mut parts = parts.fuse();
    Box::new(std::iter::from_fn(move || {
        let mut piece = parts.next()?;
        while piece.len() < PIECE_BYTES
            && let Some(part) = parts.next()
        {
            piece.extend_from_slice(&part);
        }
        Some(Ok(piece.into()))
    }))
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
    fn small_parts_travel_together() {
        let parts = (0..100_u8).map(|byte| vec![byte; 1_000]);
        let pieces: Vec<Bytes> = joined(parts).map(|piece| piece.expect("made")).collect();
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), 100_000);
        assert_eq!(pieces.len(), 4);
    }
}
