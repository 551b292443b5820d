//! The key of a config as one short text, so that a map of ten thousand configs costs one
//! allocation per key and a lookup by three `&str` costs none.
//!
//! The parts are joined by a separator that sorts before every character an identifier may have, so
//! the order of the joined texts is the order of the triples.

use alloc::string::String;
use alloc::sync::Arc;
use core::borrow::Borrow;
use core::fmt;

use nacolet_model::limits;
use nacolet_model::{ConfigKey, DataId, Group, Namespace};

/// Sorts before every allowed character and is never one of them.
const SEPARATOR: u8 = 1;

/// Longest joined key. Identifiers are ASCII, so characters are bytes.
const KEY_BYTES_MAX: usize =
    limits::NAMESPACE_CHARS_MAX + limits::GROUP_CHARS_MAX + limits::DATA_ID_CHARS_MAX + 2;

/// A borrowed [`ConfigKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRef<'a> {
    /// Canonical text of the namespace.
    pub namespace: &'a str,
    /// The group.
    pub group: &'a str,
    /// The name inside the group.
    pub data_id: &'a str,
}

impl KeyRef<'_> {
    /// An owned key; `None` only for a key that no store holds.
    #[must_use]
    pub fn to_key(self) -> Option<ConfigKey> {
        Some(ConfigKey {
            namespace: Namespace::parse(self.namespace).ok()?,
            group: Group::new(self.group).ok()?,
            data_id: DataId::new(self.data_id).ok()?,
        })
    }
}

impl<'a> From<&'a ConfigKey> for KeyRef<'a> {
    fn from(key: &'a ConfigKey) -> Self {
        Self {
            namespace: key.namespace.as_str(),
            group: key.group.as_str(),
            data_id: key.data_id.as_str(),
        }
    }
}

/// An owned, shared, joined key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyText(Arc<str>);

impl KeyText {
    pub(crate) fn new(key: KeyRef<'_>) -> Self {
        let KeyRef { namespace, group, data_id } = key;
        let mut text = String::with_capacity(namespace.len() + group.len() + data_id.len() + 2);
        text.push_str(namespace);
        text.push(char::from(SEPARATOR));
        text.push_str(group);
        text.push(char::from(SEPARATOR));
        text.push_str(data_id);
        Self(text.into())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Its parts.
    #[must_use]
    pub fn parts(&self) -> KeyRef<'_> {
        let mut parts = self.0.splitn(3, char::from(SEPARATOR));
        let mut part = || parts.next().unwrap_or_default();
        KeyRef { namespace: part(), group: part(), data_id: part() }
    }

    /// Whether the key lies in `namespace`, without splitting it.
    pub(crate) fn is_in(&self, namespace: &str) -> bool {
        let text = self.0.as_bytes();
        text.get(namespace.len()) == Some(&SEPARATOR) && text.starts_with(namespace.as_bytes())
    }
}

impl Borrow<str> for KeyText {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KeyRef { namespace, group, data_id } = self.parts();
        write!(f, "{namespace}/{group}/{data_id}")
    }
}

/// A joined key on the stack, for lookups.
pub(crate) struct Probe {
    bytes: [u8; KEY_BYTES_MAX],
    length: usize,
}

impl Probe {
    /// `None` when the parts are longer than any key can be.
    pub(crate) fn new(namespace: &str, group: &str, data_id: &str) -> Option<Self> {
        let mut probe = Self::of_namespace(namespace)?;
        probe.push(group.as_bytes())?;
        probe.push(&[SEPARATOR])?;
        probe.push(data_id.as_bytes())?;
        Some(probe)
    }

    /// What every key of `namespace` starts with.
    pub(crate) fn of_namespace(namespace: &str) -> Option<Self> {
        let mut probe = Self { bytes: [0; KEY_BYTES_MAX], length: 0 };
        probe.push(namespace.as_bytes())?;
        probe.push(&[SEPARATOR])?;
        Some(probe)
    }

    fn push(&mut self, part: &[u8]) -> Option<()> {
        let end = self.length + part.len();
        self.bytes.get_mut(self.length..end)?.copy_from_slice(part);
        self.length = end;
        Some(())
    }

    /// The joined text. It is text because its parts are; the check costs less than a cache miss.
    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn key(namespace: &str, group: &str, data_id: &str) -> ConfigKey {
        KeyRef { namespace, group, data_id }.to_key().expect("a valid key")
    }

    #[test]
    fn joined_keys_sort_like_triples() {
        let mut keys = Vec::new();
        for namespace in ["a", "a-", "a0", "public"] {
            for group in ["G", "G.", "G:1", "H"] {
                keys.extend(["x", "x-y", "x.yml", "xa"].map(|id| key(namespace, group, id)));
            }
        }
        let mut joined: Vec<_> = keys.iter().map(|key| KeyText::new(key.into())).collect();
        keys.sort();
        joined.sort();
        assert!(keys.iter().zip(&joined).all(|(key, text)| KeyRef::from(key) == text.parts()));
    }

    #[test]
    fn a_probe_is_the_text_of_its_key() {
        let text = KeyText::new((&key("dev", "G", "x")).into());
        let probe = Probe::new("dev", "G", "x").expect("short");
        assert_eq!(probe.as_str(), Borrow::<str>::borrow(&text));
        assert!(text.is_in("dev") && !text.is_in("de") && !text.is_in("devG"));
        assert!(Probe::new(&"n".repeat(600), "", "").is_none());
    }
}
