//! One request, decoded once. [`Parts`] is what the decoder of a route reads: it alone sees the
//! names of namespaces, groups, configs, services and users ([`Id`]), and makes one typed value of
//! them, which permission is asked of and which the handler gets. The handler gets the other
//! parameters ([`Fields`]) and has no way to an identifier: neither the request nor a reader of
//! identifiers is in its hands.
//!
//! `fields` parses and reads what is no identifier, `field` is every name of those on one page.

pub(crate) mod field;
mod fields;
pub(crate) mod multipart;

use std::borrow::Cow;

use hyper::Uri;
use hyper::body::Bytes;
use hyper::header::HeaderMap;

pub(crate) use field::Field;
pub(crate) use fields::{Fields, Form};

use crate::http::failure::Failure;
use crate::http::room::Room;

/// The name of a parameter that says what a call is about. Two different values of one are an
/// error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(&'static str);

impl Id {
    pub(crate) const TENANT: Self = Self("tenant");
    pub(crate) const NAMESPACE_ID: Self = Self("namespaceId");
    pub(crate) const NAMESPACE: Self = Self("namespace");
    pub(crate) const TARGET_NAMESPACE_ID: Self = Self("targetNamespaceId");
    pub(crate) const CUSTOM_NAMESPACE_ID: Self = Self("customNamespaceId");
    pub(crate) const GROUP: Self = Self("group");
    pub(crate) const GROUP_NAME: Self = Self("groupName");
    pub(crate) const DATA_ID: Self = Self("dataId");
    pub(crate) const SERVICE_NAME: Self = Self("serviceName");
    /// `namespace##group@@service`
    pub(crate) const KEY: Self = Self("key");
    /// Numbers of configs.
    pub(crate) const IDS: Self = Self("ids");
    /// The list of a long poll.
    pub(crate) const LISTENING_CONFIGS: Self = Self("Listening-Configs");
    pub(crate) const USERNAME: Self = Self("username");
    pub(crate) const ROLE: Self = Self("role");
    pub(crate) const RESOURCE: Self = Self("resource");

    /// The name itself, for words.
    pub(crate) const fn name(self) -> &'static str {
        self.0
    }

    const ALL: [Self; 15] = [
        Self::TENANT,
        Self::NAMESPACE_ID,
        Self::NAMESPACE,
        Self::TARGET_NAMESPACE_ID,
        Self::CUSTOM_NAMESPACE_ID,
        Self::GROUP,
        Self::GROUP_NAME,
        Self::DATA_ID,
        Self::SERVICE_NAME,
        Self::KEY,
        Self::IDS,
        Self::LISTENING_CONFIGS,
        Self::USERNAME,
        Self::ROLE,
        Self::RESOURCE,
    ];
}

/// A request in its parts, for decoders.
pub(crate) struct Parts<'c> {
    /// Its parameters.
    pub(crate) fields: &'c Fields,
    /// Path and query as they came.
    pub(crate) uri: &'c Uri,
    /// Its headers.
    pub(crate) headers: &'c HeaderMap,
    /// Its body, unless that was a form.
    pub(crate) body: &'c Bytes,
    /// Where what is made of the body is counted.
    pub(crate) room: &'c Room,
}

impl Parts<'_> {
    /// The trimmed value of an identifier; absent when blank (Nacos `WebUtils.optional`).
    pub(crate) fn id(&self, id: Id) -> Result<Option<&str>, Failure> {
        Ok(self.raw_id(id)?.map(str::trim).filter(|value| !value.is_empty()))
    }

    /// As [`Self::id`], with a default.
    pub(crate) fn id_or<'s>(&'s self, id: Id, default: &'s str) -> Result<&'s str, Failure> {
        Ok(self.id(id)?.unwrap_or(default))
    }

    /// The trimmed value of an identifier that must be there (Nacos `WebUtils.required`).
    pub(crate) fn required_id(&self, id: Id) -> Result<&str, Failure> {
        self.id(id)?.ok_or(Failure::missing(id.0))
    }

    /// The trimmed value of an identifier that must be sent but may be empty (Spring's
    /// `@RequestParam`).
    pub(crate) fn present_id(&self, id: Id) -> Result<&str, Failure> {
        self.raw_id(id)?.map(str::trim).ok_or(Failure::missing(id.0))
    }

    /// Of two spellings the first that was sent, even when it is blank (Nacos `RequestUtil`).
    pub(crate) fn either_id(&self, first: Id, second: Id) -> Result<Option<&str>, Failure> {
        match self.raw_id(first)? {
            Some(value) => Ok(Some(value.trim()).filter(|value| !value.is_empty())),
            None => self.id(second),
        }
    }

    /// The value as it came, even when empty.
    pub(crate) fn raw_id(&self, id: Id) -> Result<Option<&str>, Failure> {
        self.fields.only(id.0)
    }

    /// Segment `index` of the path, counted from 0 after the leading slash, percent-decoded.
    pub(crate) fn segment(&self, index: usize) -> Cow<'_, str> {
        let path = self.uri.path().strip_prefix('/').unwrap_or_default();
        let raw = path.split('/').nth(index).unwrap_or_default();
        percent_encoding::percent_decode_str(raw).decode_utf8_lossy()
    }

    /// A header's text; absent when it is missing or not text. `name` is in lower case.
    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        std::str::from_utf8(self.headers.get(name)?.as_bytes()).ok()
    }
}

/// Whether a query has this pair, letter by letter.
pub(crate) fn query_has(uri: &Uri, pair: &str) -> bool {
    uri.query().unwrap_or_default().split('&').any(|given| given == pair)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Runs a decoder over a query.
    pub(crate) fn decoded<T>(
        query: &str,
        decode: impl FnOnce(&Parts<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let fields = Fields::parse(query.as_bytes(), b"")?;
        let (uri, headers, body) = (Uri::default(), HeaderMap::new(), Bytes::new());
        let room = Room::default();
        decode(&Parts { fields: &fields, uri: &uri, headers: &headers, body: &body, room: &room })
    }
}

#[cfg(test)]
mod tests {
    use super::testing::decoded;
    use super::*;

    #[test]
    fn an_identifier_has_one_value() {
        let id = |query: &str| {
            decoded(query, |parts| parts.id(Id::TENANT).map(|value| value.map(str::to_owned)))
        };
        assert_eq!(id("tenant=+a+"), Ok(Some("a".to_owned())));
        assert_eq!(id("tenant="), Ok(None));
        assert_eq!(id("tenant=a&tenant=a"), Ok(Some("a".to_owned())), "twice the same");
        assert!(id("tenant=a&tenant=b").is_err());
        assert!(id("tenant=a&tenant=").is_err());
        assert!(id("tenant=a&t%65nant=b").is_err());
    }

    #[test]
    fn of_two_spellings_the_first_that_was_sent_counts() {
        let either = |query: &str| {
            decoded(query, |parts| {
                let namespace = parts.either_id(Id::NAMESPACE_ID, Id::TENANT)?;
                Ok(namespace.map(str::to_owned))
            })
        };
        assert_eq!(either("tenant=b&namespaceId=a"), Ok(Some("a".to_owned())));
        assert_eq!(either("tenant=b&namespaceId="), Ok(None));
        assert_eq!(either("tenant=b"), Ok(Some("b".to_owned())));
        assert_eq!(either(""), Ok(None));
        assert!(either("tenant=b&namespaceId=a&namespaceId=b").is_err());
    }
}
