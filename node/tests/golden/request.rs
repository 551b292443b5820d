//! A recorded request, read back from its one line of text.

use std::collections::BTreeMap;

/// What marks where the record cut a text.
pub(crate) const CUT: char = '…';

pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Request {
    /// `METHOD target form{…} hdr{…} body{…}`; `None` of one that the record does not hold whole.
    pub(crate) fn read(line: &str) -> Option<Self> {
        if line.contains(CUT) {
            return None;
        }
        let (method, rest) = line.split_once(' ').expect("a method and a path");
        let (target, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut request = Self {
            method: method.into(),
            target: target.into(),
            headers: BTreeMap::new(),
            body: String::new(),
        };
        while !rest.is_empty() {
            let (part, after) = rest.split_once('{').expect("a part with its braces");
            // The parts come in this order, and only the last may hold braces of its own.
            let (value, next) = match part {
                "form" => after.split_once('}').expect("forms are escaped"),
                "hdr" => after.split_once('}').expect("no header has a brace"),
                "body" => (after.strip_suffix('}').expect("the last part"), ""),
                other => panic!("{other} in {line}"),
            };
            match part {
                "form" => {
                    request.body = value.into();
                    let form = "application/x-www-form-urlencoded";
                    request.headers.insert("Content-Type".into(), form.into());
                }
                "hdr" => {
                    let headers: BTreeMap<String, String> =
                        serde_json::from_str(&format!("{{{value}}}")).expect("JSON");
                    request.headers.extend(headers);
                }
                _ => request.body = value.trim_matches('\'').into(),
            }
            rest = next.trim_start();
        }
        Some(request)
    }
}
