//! JSON of which the record holds the beginning only.

use serde_json::{Map, Value};

use super::request::CUT;

/// What is known of a recorded value.
#[derive(Debug)]
pub(crate) enum Known {
    Whole(Value),
    /// Its elements up to the cut; the last may itself be cut.
    Array(Vec<Self>),
    Object(Map<String, Value>, Option<(String, Box<Self>)>),
    Text(String),
    Nothing,
}

/// Reads a recorded body; `None` when it is no JSON.
pub(crate) fn read(body: &str) -> Option<Known> {
    let Some(text) = body.strip_suffix(CUT) else {
        let value: Value = serde_json::from_str(body).ok()?;
        return (value.is_object() || value.is_array()).then_some(Known::Whole(value));
    };
    text.starts_with(['{', '[']).then(|| cut(text))
}

/// The value of which `text` is the beginning.
fn cut(text: &str) -> Known {
    let text = text.trim_start();
    match text.chars().next() {
        Some('{') => {
            let mut known = Map::new();
            let mut rest = &text[1..];
            loop {
                rest = rest.trim_start_matches([',', ' ']);
                let Some((Value::String(key), after)) = whole(rest) else {
                    return Known::Object(known, None);
                };
                let Some(after) = after.trim_start().strip_prefix(':') else {
                    return Known::Object(known, None);
                };
                match whole(after) {
                    Some((value, next)) if !next.is_empty() => {
                        known.insert(key, value);
                        rest = next;
                    }
                    _ => return Known::Object(known, Some((key, Box::new(cut(after))))),
                }
            }
        }
        Some('[') => {
            let mut known = Vec::new();
            let mut rest = &text[1..];
            loop {
                rest = rest.trim_start_matches([',', ' ']);
                match whole(rest) {
                    Some((value, next)) if !next.is_empty() => {
                        known.push(Known::Whole(value));
                        rest = next;
                    }
                    _ if rest.is_empty() => return Known::Array(known),
                    _ => {
                        known.push(cut(rest));
                        return Known::Array(known);
                    }
                }
            }
        }
        // An escape may be cut in two: what comes before the last backslash is sure.
        Some('"') => {
            let sure = text.rfind('\\').filter(|at| at + 6 > text.len()).unwrap_or(text.len());
            let text = serde_json::from_str(&format!("{}\"", &text[..sure]));
            text.map_or(Known::Nothing, Known::Text)
        }
        _ => Known::Nothing,
    }
}

/// The whole value at the beginning of `text`, and what follows.
fn whole(text: &str) -> Option<(Value, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = values.next()?.ok()?;
    let end = values.byte_offset();
    Some((value, &text[end..]))
}
