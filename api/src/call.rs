//! What came in, what a handler gets and what it gives: a [`Call`] is a request as it was read, an `Ask` is
//! what its decoder made of it, an [`Answer`] has status, headers and bytes. All are independent of how the
//! request came in, so that a handler serves tide's router, the short cut ahead of it and tests alike.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use nacolet_model::limits;
use serde::Serialize;

use crate::access::Login;
use crate::params::Fields;
use crate::pieces::Pieces;

/// Content type of plain text, as Nacos writes it.
pub(crate) const TEXT: &str = "text/plain;charset=UTF-8";
/// Content type of JSON, as Nacos writes it.
pub(crate) const JSON: &str = "application/json;charset=UTF-8";

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
    /// Its body.
    pub body: Bytes,
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

    /// The form in its body; nothing where there is none: the form counts on every method but GET and HEAD.
    /// A large one is not kept as a body too. A small one is, because tools that are told nothing call every
    /// body a form, the JSON of a clone too.
    pub(crate) fn take_form(&mut self) -> Bytes {
        match (self.has_form(), self.body.len() > limits::BODY_BYTES_MAX) {
            (true, true) => std::mem::take(&mut self.body),
            (true, false) => self.body.clone(),
            (false, _) => Bytes::new(),
        }
    }

    fn has_form(&self) -> bool {
        if self.body.is_empty() || matches!(self.method, Method::GET | Method::HEAD) {
            return false;
        }
        // The charset parameter is ignored: Node says GBK while it sends UTF-8 escapes.
        let Some(content_type) = self.header("content-type") else { return false };
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
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

impl Default for Call {
    fn default() -> Self {
        Self {
            method: Method::GET,
            uri: Uri::default(),
            headers: HeaderMap::new(),
            ip: "127.0.0.1".into(),
            body: Bytes::new(),
        }
    }
}

/// What a handler gets: what the call is about, and beside that nothing that could say it otherwise.
#[derive(Debug)]
pub(crate) struct Ask<T> {
    /// What its decoder made of the identifiers, and what permission was asked of.
    pub(crate) about: T,
    /// Its other parameters.
    pub(crate) params: Fields,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Address of the socket it came from. See [`address_text`].
    pub(crate) ip: Arc<str>,
    /// Who calls; with authentication off nobody is known.
    pub(crate) user: Option<Arc<Login>>,
    /// Whether its path is one of `/v3`.
    pub(crate) is_v3: bool,
}

impl<T> Ask<T> {
    /// The name of the user, where one is known.
    pub(crate) fn user_name(&self) -> Option<&str> {
        self.user.as_deref().map(Login::name)
    }

    /// A header's text; absent when it is missing or not text. `name` is in lower case.
    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        std::str::from_utf8(self.headers.get(name)?.as_bytes()).ok()
    }
}

/// One response.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without length, date and connection.
    pub headers: HeaderMap,
    /// Its body, or the beginning of it.
    pub body: Bytes,
    /// What follows, where the answer is made while it is sent.
    pub(crate) rest: Option<Pieces>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, headers, body, rest } = self;
        let mut shown = f.debug_struct("Answer");
        shown.field("status", status).field("headers", headers).field("body", body);
        shown.field("goes_on", &rest.is_some()).finish()
    }
}

impl Answer {
    /// Status 200, no headers, no body.
    pub(crate) fn empty() -> Self {
        Self::of(HeaderMap::new(), Bytes::new())
    }

    /// Status 200 with a body of this content type.
    pub(crate) fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        // Room for the headers of a config, which the hottest answer has.
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self::of(headers, body.into())
    }

    fn of(headers: HeaderMap, body: Bytes) -> Self {
        Self { status: StatusCode::OK, headers, body, rest: None }
    }

    /// Status 200 with a body of this content type that is made while it is sent; a short one is made at
    /// once, and its length is known.
    ///
    /// # Errors
    /// The first pieces cannot be made.
    pub(crate) fn pieces(content_type: &'static str, mut pieces: Pieces) -> std::io::Result<Self> {
        let first = pieces.next().transpose()?.unwrap_or_default();
        let mut answer = Self::new(content_type, first);
        if let Some(second) = pieces.next().transpose()? {
            answer.rest = Some(Box::new(std::iter::once(Ok(second)).chain(pieces)));
        }
        Ok(answer)
    }

    /// The whole body, for those who have the room.
    ///
    /// # Errors
    /// A piece cannot be made.
    pub fn whole(self) -> std::io::Result<Bytes> {
        let Some(rest) = self.rest else { return Ok(self.body) };
        let mut all = self.body.to_vec();
        for piece in rest {
            all.extend_from_slice(&piece?);
        }
        Ok(all.into())
    }

    /// Status 200 with plain text.
    pub(crate) fn text(body: impl Into<Bytes>) -> Self {
        Self::new(TEXT, body)
    }

    /// Status 200 with `value` as JSON.
    pub(crate) fn json(value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new(JSON, body),
            // Only a map whose keys are no texts can fail, and no answer has one.
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written as JSON");
                Self::empty().status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// The envelope of v2 and v3: `{"code":0,"message":"success","data":…}`.
    pub(crate) fn result(data: &(impl Serialize + ?Sized)) -> Self {
        Self::json(&Envelope { code: 0, message: Some("success"), data })
    }

    /// The envelope of some v1 calls: `{"code":200,"message":null,"data":…}`.
    pub(crate) fn rest_result(data: &(impl Serialize + ?Sized)) -> Self {
        Self::json(&Envelope { code: 200, message: None, data })
    }

    /// As [`Self::rest_result`], with words.
    pub(crate) fn rest_result_with(message: &str, data: &(impl Serialize + ?Sized)) -> Self {
        Self::json(&Envelope { code: 200, message: Some(message), data })
    }

    /// Adds what every answer has: whatever a user has published, no browser runs any of it. The console has
    /// a policy of its own.
    pub(crate) fn guard(&mut self) {
        let nosniff = HeaderValue::from_static("nosniff");
        self.headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        let policy = self.headers.entry(header::CONTENT_SECURITY_POLICY);
        policy.or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'; sandbox",
        ));
    }

    /// The same answer with another status.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same answer with one more header. A value that cannot travel in a header is left out.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The same answer with one more header whose value is known to be right.
    pub(crate) fn header_static(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }
}

/// `Result` of v2 and `RestResult` of v1 share their fields.
#[derive(Serialize)]
pub(crate) struct Envelope<'a, T: ?Sized> {
    pub(crate) code: u32,
    pub(crate) message: Option<&'a str>,
    pub(crate) data: &'a T,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(method: Method, content_type: &'static str) -> Bytes {
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
        assert_eq!(form, "a=1");
    }

    #[test]
    fn a_get_has_no_form_and_no_form_is_in_json() {
        assert!(form(Method::GET, "application/x-www-form-urlencoded").is_empty());
        assert!(form(Method::POST, "application/json").is_empty());
    }
}
