//! Whether an answer says what Nacos said: the same status, the same shape, and the same values but
//! for those of the day of the record.

use serde_json::{Map, Value};

use super::prefix::{self, Known};

/// What a server answered.
pub(crate) struct Answer {
    /// -1 where there was none.
    pub(crate) status: i32,
    pub(crate) body: String,
}

/// Members whose value is that of a day, a machine or a build; their kind counts.
const OF_THE_DAY: &[&str] = &[
    "accessToken",
    "address",
    "connectionId",
    "cpu",
    "createdTime",
    "createTime",
    "currentId",
    "historyId",
    "id",
    "lastId",
    "lastModified",
    "lastModifiedTime",
    "lastRefreshTime",
    "lastRefTime",
    "lastUpdatedTime",
    "leader",
    "load",
    "modifyTime",
    "nid",
    "password",
    "raftGroupMember",
    "raftPort",
    "requestId",
    "server_port",
    "term",
    "timestamp",
    "version",
    "workerId",
];

/// Members that Nacos has not, with reasons in the table of differences.
const OURS: &[&str] = &["allIPs", "allIps", "lastModified", "nacolet_version", "nodeId", "voter"];

/// What differs, in words; `None` where nothing does.
pub(crate) fn difference(ours: &Answer, nacos: &Answer) -> Option<String> {
    if ours.status != nacos.status {
        return Some(format!("status {} instead of {}", ours.status, nacos.status));
    }
    of_bodies(ours, nacos)
}

/// As [`difference`], of the bodies alone.
pub(crate) fn of_bodies(ours: &Answer, nacos: &Answer) -> Option<String> {
    let known = prefix::read(&nacos.body);
    let value = serde_json::from_str::<Value>(&ours.body).ok();
    let value = value.filter(|value| value.is_object() || value.is_array());
    match (known, value) {
        (Some(known), Some(value)) => {
            if ours.status >= 400 || code(&known).is_some_and(|code| code != 0 && code != 200) {
                return refusal(&known, &value);
            }
            json("", &known, &value).err()
        }
        (None, None) if ours.status >= 400 => None,
        (None, None) => {
            let text = nacos.body.trim_end();
            let same = match text.strip_suffix(super::request::CUT) {
                Some(beginning) => ours.body.starts_with(beginning),
                None => ours.body.trim_end() == text,
            };
            (!same).then(|| "another text".into())
        }
        (Some(_), None) => Some("text instead of JSON".into()),
        (None, Some(_)) => Some("JSON instead of text".into()),
    }
}

fn member<'a>(known: &'a Known, name: &str) -> Option<&'a Value> {
    match known {
        Known::Whole(value) => value.get(name),
        Known::Object(members, _) => members.get(name),
        _ => None,
    }
}

fn code(known: &Known) -> Option<i64> {
    member(known, "code").and_then(Value::as_i64)
}

/// Words are free; which members there are, and the code, are not.
fn refusal(known: &Known, ours: &Value) -> Option<String> {
    let theirs = code(known);
    if theirs != ours.get("code").and_then(Value::as_i64) {
        return Some(format!("code {:?} instead of {theirs:?}", ours.get("code")));
    }
    let spring = |has: bool| if has { "the container's error" } else { "another shape" };
    let (theirs, ours) = (member(known, "timestamp"), ours.get("timestamp"));
    (theirs.is_some() != ours.is_some())
        .then(|| format!("{} instead of {}", spring(ours.is_some()), spring(theirs.is_some())))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Compares a value with what is known of the recorded one; `path` says where both stand.
pub(crate) fn json(path: &str, known: &Known, ours: &Value) -> Result<(), String> {
    match known {
        Known::Nothing => Ok(()),
        Known::Whole(value) => whole(path, value, ours),
        Known::Text(beginning) => match ours.as_str() {
            Some(text) if text.starts_with(beginning.as_str()) => Ok(()),
            _ => Err(format!("{path}: {ours} instead of {beginning}…")),
        },
        Known::Array(items) => {
            let Some(list) = ours.as_array() else {
                return Err(format!("{path}: {} instead of a list", kind(ours)));
            };
            if list.len() < items.len() {
                return Err(format!("{path}: {} items instead of {}…", list.len(), items.len()));
            }
            let mut pairs = items.iter().zip(list).enumerate();
            pairs.try_for_each(|(at, (known, ours))| json(&format!("{path}[{at}]"), known, ours))
        }
        Known::Object(members, last) => {
            let Some(object) = ours.as_object() else {
                return Err(format!("{path}: {} instead of an object", kind(ours)));
            };
            for (name, value) in members {
                named(path, name, &Known::Whole(value.clone()), object)?;
            }
            last.as_ref().map_or(Ok(()), |(name, known)| named(path, name, known, object))
        }
    }
}

/// Compares the member `name` of our object, of a value of the day its kind only.
fn named(path: &str, name: &str, known: &Known, object: &Map<String, Value>) -> Result<(), String> {
    let at = format!("{path}.{name}");
    let Some(ours) = object.get(name) else { return Err(format!("{at} is missing")) };
    match known {
        Known::Whole(value) if OF_THE_DAY.contains(&name) => same_kind(&at, value, ours),
        _ if OF_THE_DAY.contains(&name) => Ok(()),
        _ => json(&at, known, ours),
    }
}

fn same_kind(path: &str, value: &Value, ours: &Value) -> Result<(), String> {
    if kind(value) == kind(ours) {
        return Ok(());
    }
    Err(format!("{path}: {} instead of {}", kind(ours), kind(value)))
}

fn whole(path: &str, value: &Value, ours: &Value) -> Result<(), String> {
    match (value, ours) {
        (Value::Object(value), Value::Object(object)) => {
            if let Some(name) = object
                .keys()
                .find(|name| !value.contains_key(*name) && !OURS.contains(&name.as_str()))
            {
                return Err(format!("{path}.{name} is new"));
            }
            let mut members = value.iter();
            members.try_for_each(|(name, value)| {
                named(path, name, &Known::Whole(value.clone()), object)
            })
        }
        (Value::Array(items), Value::Array(list)) if items.len() == list.len() => {
            let mut pairs = items.iter().zip(list).enumerate();
            pairs.try_for_each(|(at, (value, ours))| whole(&format!("{path}[{at}]"), value, ours))
        }
        (Value::Array(items), Value::Array(list)) => {
            Err(format!("{path}: {} items instead of {}", list.len(), items.len()))
        }
        // 1.0 and 1 are one number.
        (Value::Number(value), Value::Number(ours)) if value.as_f64() == ours.as_f64() => Ok(()),
        _ if value == ours => Ok(()),
        _ => Err(format!("{path}: {ours} instead of {value}")),
    }
}
