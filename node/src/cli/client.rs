//! One HTTP client for all verbs: builds requests for the public Nacos API with surf, turns answers
//! into text, JSON or one clear sentence. It knows paths and parameters, not what they mean. Where
//! there is a user it logs in with the first call, and again when a token is no longer good.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use surf::StatusCode;
use surf::http::Method;

use super::error::CliError;
use super::terminal::warn;

const LOGIN: &str = "/nacos/v1/auth/users/login";
const TOKEN_HEADER: &str = "accessToken";
const FORM: &str = "application/x-www-form-urlencoded";

/// A user, and the token of the last time that the user logged in.
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) token: RefCell<Option<String>>,
}

/// A node's public API.
pub(crate) struct Client {
    server: surf::Url,
    http: surf::Client,
    login: Option<Login>,
    told_stale: Cell<bool>,
}

/// Parameters of one call, in order.
pub(crate) type Params<'a> = [(&'a str, &'a str)];

/// Parameters as they are sent.
pub(crate) fn encoded(params: &Params<'_>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish()
}

/// What came back.
pub(crate) struct HttpAnswer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
    pub(crate) content_md5: Option<String>,
}

impl Client {
    /// A client for the node at `url`, as this user; the wait covers a long poll of 30 s.
    ///
    /// # Errors
    /// `CliError::Server` when `url` is not an `http` address.
    pub(crate) fn new(url: &str, login: Option<Login>) -> Result<Self, CliError> {
        let wrong = || CliError::Server { url: url.to_owned() };
        let text = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let server = surf::Url::parse(&text).ok().ok_or_else(wrong)?;
        if server.scheme() != "http" || server.host_str().is_none() {
            return Err(wrong());
        }
        let settings = surf::Config::new().set_timeout(Some(Duration::from_secs(60)));
        let http = settings.try_into().map_err(|error: std::convert::Infallible| match error {})?;
        Ok(Self { server, http, login, told_stale: Cell::new(false) })
    }

    /// Sends `params` in the query, or in the form body for POST and PUT.
    ///
    /// # Errors
    /// `CliError::Unreachable` when there is no answer, `NoUser` or `Login` when the node does not
    /// know who asks; every other status is an answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        params: &Params<'_>,
        headers: &Params<'_>,
    ) -> Result<HttpAnswer, CliError> {
        let encoded = encoded(params);
        let mut url = self.server.clone();
        url.set_path(path);
        let in_body = matches!(method, Method::Post | Method::Put);
        if !in_body {
            url.set_query(Some(&encoded).filter(|query| !query.is_empty()).map(String::as_str));
        }
        self.send(|| {
            let mut request = surf::Request::new(method, url.clone());
            if in_body {
                request.set_body(encoded.as_str());
                request.insert_header("content-type", FORM);
            }
            for (name, value) in headers {
                request.insert_header(*name, *value);
            }
            request
        })
        .await
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
    ) -> Result<HttpAnswer, CliError> {
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
        self.send(|| {
            let mut request = surf::Request::new(Method::Post, url.clone());
            request.set_body(body.as_slice());
            let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
            request.insert_header("content-type", content_type);
            request
        })
        .await
    }

    /// Every item of a paged answer.
    ///
    /// # Errors
    /// See [`Self::call`] and [`HttpAnswer::success`].
    pub(crate) async fn pages(
        &self,
        path: &str,
        params: &Params<'_>,
        page_size: usize,
        what: &str,
    ) -> Result<Vec<Value>, CliError> {
        let size = page_size.to_string();
        let mut items = Vec::new();
        for page in 1_usize.. {
            let number = page.to_string();
            let mut params = params.to_vec();
            params.extend([("pageNo", number.as_str()), ("pageSize", size.as_str())]);
            let answer = self.call(Method::Get, path, &params, &[]).await?.success(what)?;
            let mut body: Value = answer.json()?;
            // The newer families have an envelope.
            let mut page = taken(&mut body, "data");
            let page = if page.is_object() { &mut page } else { &mut body };
            let Value::Array(found) = taken(page, "pageItems") else { break };
            let end = found.len() < page_size;
            items.extend(found);
            if end {
                break;
            }
        }
        Ok(items)
    }

    /// Sends a request, as the user if there is one. A token that was good and is refused may have
    /// run out: one more is asked for, and what is refused with that one is refused.
    async fn send(&self, request: impl Fn() -> surf::Request) -> Result<HttpAnswer, CliError> {
        let Some(login) = &self.login else {
            let answer = self.exchange(request()).await?;
            return if answer.wants_user() { Err(CliError::NoUser) } else { Ok(answer) };
        };
        let known = login.token.borrow().clone();
        if let Some(token) = known {
            let answer = self.exchange(with_token(request(), &token)).await?;
            if answer.status != StatusCode::Forbidden {
                return Ok(answer);
            }
        }
        let token = self.log_in(login).await?;
        self.exchange(with_token(request(), &token)).await
    }

    /// A new token, which is kept.
    async fn log_in(&self, login: &Login) -> Result<String, CliError> {
        let params = [("username", &login.username), ("password", &login.password)];
        let mut url = self.server.clone();
        url.set_path(LOGIN);
        let mut request = surf::Request::new(Method::Post, url);
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
        request.set_body(form);
        request.insert_header("content-type", FORM);
        let answer = self.exchange(request).await?;
        if answer.status == StatusCode::Forbidden {
            return Err(CliError::Login { username: login.username.clone() });
        }
        let body: Value = answer.success("the login of this node")?.json()?;
        // A header holds nothing else.
        let token = body[TOKEN_HEADER]
            .as_str()
            .filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(|| CliError::Answer { reason: "there is no token in it".to_owned() })?
            .to_owned();
        *login.token.borrow_mut() = Some(token.clone());
        Ok(token)
    }

    async fn exchange(&self, request: surf::Request) -> Result<HttpAnswer, CliError> {
        let lost = |error: surf::Error| CliError::Unreachable {
            server: self.server.to_string(),
            reason: error.to_string(),
        };
        let mut response = self.http.send(request).await.map_err(lost)?;
        let content_md5 = response.header("content-md5").map(|values| values.as_str().to_owned());
        if response.header("nacolet-stale").is_some() && !self.told_stale.replace(true) {
            warn("stale: the node has no leader, and this is what it knew when it had one");
        }
        let body = response.body_bytes().await.map_err(lost)?;
        Ok(HttpAnswer { status: response.status(), body, content_md5 })
    }
}

/// A field of an object; null where there is none, and of anything else.
pub(crate) fn taken(value: &mut Value, field: &str) -> Value {
    value.get_mut(field).map(Value::take).unwrap_or_default()
}

fn with_token(mut request: surf::Request, token: &str) -> surf::Request {
    request.insert_header(TOKEN_HEADER, token);
    request
}

impl HttpAnswer {
    /// The body of a success.
    ///
    /// # Errors
    /// `NotFound` names `what`; any other status is `Refused` in the node's own words.
    pub(crate) fn success(self, what: &str) -> Result<Self, CliError> {
        let status = self.status;
        if status == StatusCode::NotFound {
            return Err(CliError::NotFound { what: what.to_owned() });
        }
        self.accepted()
    }

    /// A success, where the node itself says best what is missing.
    ///
    /// # Errors
    /// Any other status is `Refused` in the node's own words.
    pub(crate) fn accepted(self) -> Result<Self, CliError> {
        let status = self.status;
        if status.is_success() {
            return Ok(self);
        }
        Err(CliError::Refused { status, text: self.words() })
    }

    /// Whether a call is refused because nobody in particular asks.
    fn wants_user(&self) -> bool {
        // The second one: the name and the password of a new user were taken for those of the
        // caller.
        self.status == StatusCode::Forbidden
            && ["user not found!", "unknown user!"].contains(&self.words().as_str())
    }

    /// What the node says, without its envelope.
    pub(crate) fn words(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let told = ["data", "message"].into_iter().find_map(|key| body[key].as_str());
        told.map_or_else(|| self.text().trim().to_owned(), str::to_owned)
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
