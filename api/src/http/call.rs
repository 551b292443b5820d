//! What came in: a request as it was read, whatever carried it, so that a handler serves the short
//! cut, tide's router and tests alike.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::HeaderMap;
use hyper::{Method, Uri};
use nacolet_model::limits;

use crate::http::params::{Form, multipart};
use crate::http::room::Room;

/// One request, read completely.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Path and query as they came, still percent-encoded.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Address of the socket it came from, never taken from a header. See [`address_text`].
    pub ip: Arc<str>,
    /// The address at which it came is its own: whoever calls is on this host.
    pub is_same_address: bool,
    /// Its body.
    pub body: Bytes,
    /// Where what is made of it is counted.
    pub room: Room,
}

impl Call {
    /// The path, still percent-encoded.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// A header's text; absent when it is missing or not text. `name` is in lower case.
    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        let value = self.headers.get(name)?;
        std::str::from_utf8(value.as_bytes()).ok()
    }

    /// The form in its body, where there is one: it counts on every method but GET and HEAD. A
    /// large one is not kept as a body too. A small one is, because tools that are told nothing
    /// call every body a form, the JSON of a clone too.
    pub(crate) fn take_form(&mut self) -> Form {
        if self.body.is_empty() || matches!(self.method, Method::GET | Method::HEAD) {
            return Form::None;
        }
        if let Some(content_type) = multipart::type_of(&self.headers) {
            return Form::Multipart(content_type.into(), self.body.clone());
        }
        // The charset parameter is ignored: Node says GBK while it sends UTF-8 escapes.
        let content_type = self.header("content-type").unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Form::None;
        }
        if self.body.len() > limits::BODY_BYTES_MAX {
            return Form::Urlencoded(std::mem::take(&mut self.body));
        }
        Form::Urlencoded(self.body.clone())
    }

    /// The client's address as text.
    pub(crate) fn ip_text(&self) -> &str {
        &self.ip
    }
}

/// An address as the cores want it: an IPv4 address mapped into IPv6 is IPv4 again. Made once per
/// connection.
#[must_use]
pub fn address_text(ip: IpAddr) -> Arc<str> {
    ip.to_canonical().to_string().into()
}

/// Where a call goes whose path leaves the context out: the console of Nacos 3 is served at the
/// root of a port of its own, and asks for what it needs by paths from there.
pub(crate) fn at_home(uri: Uri) -> Uri {
    let is_bare = ["/v3/console/", "/v3/auth/"].iter().any(|family| uri.path().starts_with(family));
    if !is_bare {
        return uri;
    }
    let target = uri.path_and_query().map(|target| format!("/nacos{target}"));
    // What was a target still is one with a word more.
    target.and_then(|target| target.parse().ok()).unwrap_or(uri)
}

impl Default for Call {
    fn default() -> Self {
        Self {
            method: Method::GET,
            uri: Uri::default(),
            headers: HeaderMap::new(),
            ip: "127.0.0.1".into(),
            is_same_address: false,
            body: Bytes::new(),
            room: Room::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn form(method: Method, content_type: &'static str) -> Form {
        let mut call = Call { method, ..Call::default() };
        call.headers.insert("content-type", HeaderValue::from_static(content_type));
        call.body = Bytes::from_static(b"a=1");
        let form = call.take_form();
        assert_eq!(call.body, "a=1", "a small body is kept");
        form
    }

    #[test]
    fn the_charset_of_a_form_is_ignored() {
        let form = form(Method::POST, "application/x-www-form-urlencoded; charset=GBK");
        assert!(matches!(form, Form::Urlencoded(form) if form == "a=1"));
    }

    #[test]
    fn the_console_may_leave_the_context_out() {
        let check = |target: &str, expected: &str| {
            let uri = at_home(target.parse().expect("a target"));
            assert_eq!(uri.to_string(), expected);
        };
        check("/v3/console/server/state", "/nacos/v3/console/server/state");
        check("/v3/auth/user/login?a=b", "/nacos/v3/auth/user/login?a=b");
        for other in ["/nacos/v3/console/x", "/v3/admin/x", "/v1/console/x", "/v3/consoles", "*"] {
            check(other, other);
        }
    }

    #[test]
    fn a_get_has_no_form_and_no_form_is_in_json() {
        for (method, content_type) in [
            (Method::GET, "application/x-www-form-urlencoded"),
            (Method::GET, "multipart/form-data; boundary=X"),
            (Method::POST, "application/json"),
        ] {
            assert!(matches!(form(method, content_type), Form::None), "{content_type}");
        }
    }
}
