//! How one config is shown to a client: its body, and the headers that tell about it.

use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use nacolet_config::{ConfigType, GrayKind, Md5, View};

use crate::http::answer::{HttpAnswer, TEXT};
use crate::http::time::http_date;

/// Header of a tagged read and of its answer.
pub(crate) const VIPSERVER_TAG: HeaderName = HeaderName::from_static("vipserver-tag");

const TAG: HeaderName = HeaderName::from_static("tag");

const IS_BETA: HeaderName = HeaderName::from_static("isbeta");

const CONFIG_TYPE: HeaderName = HeaderName::from_static("config-type");

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

const ENCRYPTED_DATA_KEY: HeaderName = HeaderName::from_static("encrypted-data-key");

/// The value of `Expires` that Nacos sends: never fresh.
const EPOCH: HeaderValue = HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT");

/// The headers that tell a client about the config it reads.
pub(crate) fn describe(answer: HttpAnswer, view: &View<'_>, tag: Option<&str>) -> HttpAnswer {
    let mut answer = no_cache(answer);
    let config_type = view.config_type.unwrap_or(ConfigType::Text).as_str();
    answer.headers.insert(CONFIG_TYPE, HeaderValue::from_static(config_type));
    if let Ok(md5) = HeaderValue::from_bytes(&hex(view.md5)) {
        answer.headers.insert(CONTENT_MD5, md5);
    }
    if let Ok(date) = HeaderValue::from_bytes(&http_date(view.modified)) {
        answer.headers.insert(header::LAST_MODIFIED, date);
    }
    let answer = match view.encrypted_data_key {
        "" => answer,
        key => answer.header(ENCRYPTED_DATA_KEY, key),
    };
    match view.gray {
        None | Some(GrayKind::Labels) => answer,
        Some(GrayKind::Beta) => answer.header_static(IS_BETA, "true"),
        Some(GrayKind::Tag) => {
            let tag: String =
                form_urlencoded::byte_serialize(tag.unwrap_or_default().as_bytes()).collect();
            answer.header(TAG, &tag).header(VIPSERVER_TAG, &tag)
        }
    }
}

/// The md5 as clients read it, without the detour through a formatter.
fn hex(md5: &Md5) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(md5.0) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// The three headers that forbid caching.
pub(crate) fn no_cache(mut answer: HttpAnswer) -> HttpAnswer {
    answer.headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    answer.headers.insert(header::EXPIRES, EPOCH);
    answer.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache,no-store"));
    answer
}

/// Content types of Nacos's `FileTypeEnum`, but HTML: what users publish is never served as a page.
pub(crate) fn content_type(config_type: Option<ConfigType>) -> &'static str {
    match config_type {
        Some(ConfigType::Json) => "application/json;charset=UTF-8",
        Some(ConfigType::Xml) => "application/xml;charset=UTF-8",
        Some(
            ConfigType::Properties
            | ConfigType::Text
            | ConfigType::Html
            | ConfigType::Yaml
            | ConfigType::Toml
            | ConfigType::Unset,
        )
        | None => TEXT,
    }
}

/// The content as a body, without a copy.
pub(crate) fn shared(content: &Arc<str>) -> Bytes {
    struct Content(Arc<str>);
    impl AsRef<[u8]> for Content {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    Bytes::from_owner(Content(Arc::clone(content)))
}
