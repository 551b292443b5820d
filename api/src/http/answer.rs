//! What a handler gives: status, headers and bytes, and the envelopes of Nacos around them.

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use crate::http::pieces::{Late, Pieces, joined, with_texts};

/// One response.
pub struct HttpAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without length, date and connection.
    pub headers: HeaderMap,
    /// Its body, or the beginning of it.
    pub body: Bytes,
    /// What follows, where the answer is made while it is sent.
    pub(crate) rest: Option<Pieces>,
    /// Bytes that live as long as it: of contents that may have been replaced meanwhile, or all of
    /// its own.
    pub(crate) pinned: usize,
    /// How long all of it is, where that is known and `rest` is not all.
    pub(crate) length: Option<usize>,
    /// Something in it goes through Raft, where anything on its route does.
    pub(crate) was_agreed: bool,
}

impl std::fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, headers, body, rest, pinned, length, was_agreed } = self;
        let mut shown = f.debug_struct("HttpAnswer");
        shown.field("status", status).field("headers", headers).field("body", body);
        shown.field("goes_on", &rest.is_some());
        shown.field("pinned", pinned);
        shown.field("length", length).field("was_agreed", was_agreed).finish()
    }
}

impl HttpAnswer {
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
        let status = StatusCode::OK;
        Self { status, headers, body, rest: None, pinned: 0, length: None, was_agreed: true }
    }

    /// Status 200 with a body of this content type that is made while it is sent; a short one is
    /// made at once, and its length is known.
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
            Err(error) => Self::unwritten(&error),
        }
    }

    /// As [`Self::json`], with long texts: `value` has empty ones in their fields, and they are
    /// written while the answer is sent. Escapes make a text six times as long.
    pub(crate) fn json_with(value: &(impl Serialize + ?Sized), texts: Vec<Late>) -> Self {
        let pinned = texts.iter().map(|(_, text)| text.len()).sum();
        let rendered = serde_json::to_vec(value).map_err(std::io::Error::from);
        let pieces = rendered.map(|json| joined(with_texts(json, texts)));
        match pieces.and_then(|pieces| Self::pieces(JSON, pieces)) {
            Ok(answer) if answer.rest.is_some() => Self { pinned, ..answer },
            Ok(answer) => answer,
            Err(error) => Self::unwritten(&error),
        }
    }

    fn unwritten(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "an answer cannot be written as JSON");
        Self::empty().status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The envelope of v2 and v3: `{"code":0,"message":"success","data":…}`.
    pub(crate) fn result(data: &(impl Serialize + ?Sized)) -> Self {
        Self::json(&Envelope { code: 0, message: Some("success"), data })
    }

    /// As [`Self::result`], with long texts. See [`Self::json_with`].
    pub(crate) fn result_with(data: &(impl Serialize + ?Sized), texts: Vec<Late>) -> Self {
        Self::json_with(&Envelope { code: 0, message: Some("success"), data }, texts)
    }

    /// The envelope of some v1 calls: `{"code":200,"message":null,"data":…}`.
    pub(crate) fn rest_result(data: &(impl Serialize + ?Sized)) -> Self {
        Self::json(&Envelope { code: 200, message: None, data })
    }

    /// As [`Self::rest_result`], with words.
    pub(crate) fn rest_result_with(message: &str, data: &(impl Serialize + ?Sized)) -> Self {
        Self::json(&Envelope { code: 200, message: Some(message), data })
    }

    /// Adds what every answer has: whatever a user has published, no browser runs any of it. The
    /// console has a policy of its own.
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

    /// The same answer, of something that was agreed or not.
    pub(crate) fn agreed(mut self, was_agreed: bool) -> Self {
        self.was_agreed = was_agreed;
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

/// Content type of plain text, as Nacos writes it.
pub(crate) const TEXT: &str = "text/plain;charset=UTF-8";

/// Content type of JSON, as Nacos writes it.
pub(crate) const JSON: &str = "application/json;charset=UTF-8";
