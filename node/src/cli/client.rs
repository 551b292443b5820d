//! One HTTP client for all verbs: builds requests for the public Nacos API with surf, turns answers
//! into text, JSON or one clear sentence. It knows paths and parameters, not what they mean.

use std::time::Duration;

use serde::de::DeserializeOwned;
use surf::StatusCode;
use surf::http::Method;

/// Why a verb failed, as the person at the shell reads it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("{url} is not a server address; write it like http://127.0.0.1:8848")]
    Server { url: String },
    #[error("no node answers at {server}: {reason}")]
    Unreachable { server: String, reason: String },
    #[error("{what} does not exist")]
    NotFound { what: String },
    #[error("the node refused ({status}): {text}")]
    Refused { status: StatusCode, text: String },
    #[error("the node's answer is not understood: {reason}")]
    Answer { reason: String },
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{0}")]
    Usage(String),
}

/// A node's public API.
pub(crate) struct Client {
    server: surf::Url,
    http: surf::Client,
}

/// Parameters of one call, in order.
pub(crate) type Params<'a> = [(&'a str, &'a str)];

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
    pub(crate) content_md5: Option<String>,
}

impl Client {
    /// A client for the node at `url`; the wait covers a long poll of 30 s.
    ///
    /// # Errors
    /// `CliError::Server` when `url` is not an `http` address.
    pub(crate) fn new(url: &str) -> Result<Self, CliError> {
        let wrong = || CliError::Server { url: url.to_owned() };
        let text = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let server = surf::Url::parse(&text).ok().ok_or_else(wrong)?;
        if server.scheme() != "http" || server.host_str().is_none() {
            return Err(wrong());
        }
        let settings = surf::Config::new().set_timeout(Some(Duration::from_secs(60)));
        let http = settings.try_into().map_err(|error: std::convert::Infallible| match error {})?;
        Ok(Self { server, http })
    }

    /// Sends `params` in the query, or in the form body for POST and PUT.
    ///
    /// # Errors
    /// `CliError::Unreachable` when there is no answer; every status is an answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        params: &Params<'_>,
        headers: &Params<'_>,
    ) -> Result<Answer, CliError> {
        let encoded: String =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
        let mut url = self.server.clone();
        url.set_path(path);
        let in_body = matches!(method, Method::Post | Method::Put);
        let mut request = if in_body {
            surf::Request::builder(method, url)
                .content_type("application/x-www-form-urlencoded")
                .body(encoded)
                .build()
        } else {
            url.set_query(Some(&encoded).filter(|query| !query.is_empty()).map(String::as_str));
            surf::Request::new(method, url)
        };
        for (name, value) in headers {
            request.insert_header(*name, *value);
        }
        self.send(request).await
    }

    /// Sends one file as `multipart/form-data` beside `params` in the query.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub(crate) async fn upload(
        &self,
        path: &str,
        params: &Params<'_>,
        file: &[u8],
    ) -> Result<Answer, CliError> {
        const BOUNDARY: &str = "nacolet-4b1f0c6e93d2a857";
        let mut url = self.server.clone();
        url.set_path(path);
        url.query_pairs_mut().extend_pairs(params);
        let mut body = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"configs.zip\"\r\nContent-Type: application/zip\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(file);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let mut request = surf::Request::new(Method::Post, url);
        request.insert_header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"));
        request.set_body(body);
        self.send(request).await
    }

    async fn send(&self, request: surf::Request) -> Result<Answer, CliError> {
        let lost = |error: surf::Error| CliError::Unreachable {
            server: self.server.to_string(),
            reason: error.to_string(),
        };
        let mut response = self.http.send(request).await.map_err(lost)?;
        let content_md5 = response.header("content-md5").map(|values| values.as_str().to_owned());
        let body = response.body_bytes().await.map_err(lost)?;
        Ok(Answer { status: response.status(), body, content_md5 })
    }
}

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// `NotFound` names `what`; any other status is `Refused` in the node's own words.
    pub(crate) fn success(self, what: &str) -> Result<Self, CliError> {
        let status = self.status;
        if status.is_success() {
            return Ok(self);
        }
        if status == StatusCode::NotFound {
            return Err(CliError::NotFound { what: what.to_owned() });
        }
        Err(CliError::Refused { status, text: self.text().trim().to_owned() })
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// `CliError::Answer` when it is something else.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| CliError::Answer { reason: error.to_string() })
    }
}

/// Reads `path`, or standard input for `-`.
///
/// # Errors
/// `CliError::File` names the path.
pub(crate) fn read(path: &str) -> Result<Vec<u8>, CliError> {
    let bytes = if path == "-" {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    bytes.map_err(|source| CliError::File { path: path.to_owned(), source })
}
