//! What clients send before anything of it is checked: parameters, identifiers, the list of a long
//! poll, messages of gRPC and the JSON in them.

use std::fmt::Write as _;

use nacolet_api::fuzzing::{about, listening, parameters, requests};
use nacolet_model::{DataId, Group, Namespace, ServiceName, limits};

use crate::cost::Bound;

/// Names and values beside what they lie in, and the list of where they lie.
const PARAMETERS: Bound = Bound { per_byte: 64, fixed: 64 << 10 };

/// The first byte says where the query ends and the form begins.
pub(crate) fn parameters_of(data: &[u8]) {
    let Some((at, bytes)) = data.split_first() else { return };
    let (query, form) = bytes.split_at(usize::from(*at).min(bytes.len()));
    let found = PARAMETERS.hold(data.len(), || parameters(query, form));
    let separated = bytes.iter().filter(|byte| **byte == b'&').count();
    let Some(found) = found else {
        assert!(separated > limits::PARAMETERS_MAX, "{separated} were too many");
        return;
    };
    // They are what a URL means by them.
    let meant = form_urlencoded::parse(query).chain(form_urlencoded::parse(form));
    let is_alike = meant.eq(found.iter().map(|(name, value)| (name.into(), value.into())));
    assert!(is_alike, "{found:?}");
    // Written again they are the same: one in the query and the others in the form have no more
    // separators between them than they had.
    let written: Vec<String> = found.iter().map(escaped).collect();
    let (query, form) = written.split_at(written.len().min(1));
    let again = parameters(query.concat().as_bytes(), form.join("&").as_bytes());
    assert_eq!(again, Some(found), "{written:?}");
}

/// A parameter of which every byte is escaped.
fn escaped((name, value): &(String, String)) -> String {
    let mut written = String::new();
    for (before, text) in [("", name), ("=", value)] {
        written.push_str(before);
        for byte in text.bytes() {
            let _ = write!(written, "%{byte:02X}");
        }
    }
    written
}

/// Whatever a query says: what it is about is inside the limits, and said once.
pub(crate) fn identifiers(data: &[u8]) {
    let [v1, v3, grouped, apart] = about::decoded(data);
    let Some(pairs) = parameters(data, b"") else { return };
    let only = |name: &str| {
        let mut values = pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
        let first = values.next();
        assert!(values.all(|value| Some(value) == first), "{name} is said in two ways: {pairs:?}");
        first.map_or("", |value| value.trim())
    };
    let of = |namespace: &str, group: &str| {
        assert_eq!(Namespace::canonical(namespace), Ok(namespace), "{pairs:?}");
        assert!(Group::check(group).is_ok(), "{pairs:?}");
    };
    for (found, group_word) in [(v1, "group"), (v3, "groupName")] {
        let Some([namespace, group, data_id]) = found else { continue };
        of(&namespace, &group);
        assert!(DataId::check(&data_id).is_ok(), "{pairs:?}");
        assert_eq!((only("dataId"), only(group_word)), (&*data_id, &*group), "{pairs:?}");
        only("namespaceId");
    }
    for found in [grouped, apart] {
        let Some([namespace, group, name]) = found else { continue };
        of(&namespace, &group);
        assert!(ServiceName::check(&name).is_ok(), "{pairs:?}");
        assert!(only("serviceName").ends_with(&*name), "{pairs:?}");
        let said = only("namespaceId");
        assert_eq!(Namespace::canonical(said), Ok(&*namespace), "{pairs:?}");
    }
}

const LIST: Bound = Bound { per_byte: 96, fixed: 64 << 10 };

pub(crate) fn list(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some(entries) = LIST.hold(data.len(), || listening::parse(&text)) else { return };
    assert!(entries.len() <= limits::LISTEN_KEYS_MAX && !entries.is_empty());
    let mut written = String::new();
    for [data_id, group, tenant, md5] in &entries {
        for word in [data_id, group, md5] {
            // The value is decoded once more behind the form.
            written += &word.replace('%', "%25");
            written.push('\u{2}');
        }
        written += &tenant.replace('%', "%25");
        written.push('\u{1}');
    }
    assert_eq!(listening::parse(&written), Some(entries), "{written:?}");
}

const MESSAGES: Bound = Bound { per_byte: 64, fixed: 64 << 10 };

/// The first byte says where the stream is torn.
pub(crate) fn messages(data: &[u8]) {
    let Some((at, bytes)) = data.split_first() else { return };
    let (first, second) = bytes.split_at(usize::from(*at).min(bytes.len()));
    let torn = MESSAGES.hold(data.len(), || requests::messages(first, second, 4_096));
    assert_eq!(torn, requests::messages(bytes, &[], 4_096));
}

const KINDS: [&str; 14] = [
    "HealthCheckRequest",
    "ConfigQueryRequest",
    "ConfigPublishRequest",
    "ConfigRemoveRequest",
    "ConfigBatchListenRequest",
    "InstanceRequest",
    "BatchInstanceRequest",
    "PersistentInstanceRequest",
    "ServiceQueryRequest",
    "ServiceListRequest",
    "SubscribeServiceRequest",
    "LockOperationRequest",
    "ConfigFuzzyWatchRequest",
    "NamingFuzzyWatchRequest",
];

/// Lists grow by doubling, and the shortest item of a list is `{}`.
const JSON: Bound = Bound { per_byte: 256, fixed: 256 << 10 };

/// The first byte says which type of request it is.
pub(crate) fn json(data: &[u8]) {
    let Some((kind, json)) = data.split_first() else { return };
    let kind = KINDS[usize::from(*kind) % KINDS.len()];
    let is_read = JSON.hold(json.len(), || requests::is_read(kind, json));
    let Some(is_read) = is_read else { panic!("{kind} is a type of request") };
    let begins = json.iter().find(|byte| !byte.is_ascii_whitespace());
    assert!(!is_read || json.is_empty() || begins == Some(&b'{'), "no object, and read");
    assert!(!is_read || serde_json::from_slice::<serde::de::IgnoredAny>(json).is_ok());
}
