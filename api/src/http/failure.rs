//! Errors of handlers become words, codes and HTTP statuses here. A handler returns a
//! [`Failure`]; the route it belongs to decides in which [`Style`] it is told, since v1 config
//! answers Spring's error JSON, v1 naming plain text and v2/v3 the `Result` envelope.

use std::borrow::Cow;

use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use nacolet_config::{CommandError, PublishError};
use nacolet_lock as lock;
use nacolet_model::{IdError, WallTime, limits};
use serde::Serialize;

use crate::bounds::reached;
use crate::http::answer::{Envelope, HttpAnswer};
use crate::port::logs::NoLevel;
use crate::port::request::WriteError;
use crate::port::stage::Stage;

/// How a family of paths tells its failures (docs/nacos/http-v1.md, "Failures",
/// docs/nacos/http-v2-v3.md, "The envelope and its codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `/v1/cs` and `/v1/auth`: text, and Spring's JSON for a missing parameter.
    Config,
    /// `/v1/ns`, `/v1/console`, the rest of v1 and the catalog of v2: text.
    Text,
    /// `/v2` and `/v3`: `{"code","message","data"}`.
    Result,
    /// `/v3/client/cs`: text.
    ClientConfig,
    /// `/v1/core`, and what v2 answers in the envelope of v1: Spring's JSON.
    Spring,
    /// `/v3/auth`: as `Result`, and Spring's JSON for a missing parameter.
    Users,
}

impl Style {
    /// The style of a path behind the context path.
    pub(crate) fn of(path: &str) -> Self {
        // As beat and patch of v2 the catalog stayed as it was in v1.
        if path.starts_with("/v2/ns/catalog/") {
            Self::Text
        } else if path.starts_with("/v3/client/cs/") {
            Self::ClientConfig
        } else if ["/v1/core/", "/v2/core/loader/", "/v2/core/ops/"]
            .iter()
            .any(|at| path.starts_with(at))
        {
            Self::Spring
        } else if path.starts_with("/v3/auth/") {
            Self::Users
        } else if path.starts_with("/v2/") || path.starts_with("/v3/") {
            Self::Result
        } else if path.starts_with("/v1/cs/") || path.starts_with("/v1/auth") {
            Self::Config
        } else {
            Self::Text
        }
    }
}

/// A number of Nacos's `ErrorCode` and its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u32, pub(crate) &'static str);

/// Names of Nacos's `ErrorCode`, as far as they are used.
impl Code {
    pub(crate) const ACCESS_DENIED: Self = Self(10001, "access denied");
    pub(crate) const PARAMETER_MISSING: Self = Self(10000, "parameter missing");
    pub(crate) const PARAMETER_VALIDATE_ERROR: Self = Self(20002, "parameter validate error");
    pub(crate) const MEDIA_TYPE_ERROR: Self = Self(20003, "MediaType Error");
    pub(crate) const RESOURCE_NOT_FOUND: Self = Self(20004, "resource not found");
    pub(crate) const RESOURCE_CONFLICT: Self = Self(20005, "resource conflict");
    pub(crate) const OVER_CLUSTER_QUOTA: Self = Self(5031, "cluster capacity reach quota");
    pub(crate) const OVER_MAX_SIZE: Self = Self(5034, "config content size is over limit");
    pub(crate) const CONFIG_GRAY_OVER_MAX: Self =
        Self(20010, "config gray version version over max count");
    pub(crate) const CONFIG_GRAY_RULE: Self = Self(20011, "config gray rule format invalid");
    pub(crate) const CONFIG_GRAY_VERSION: Self = Self(20012, "config gray rule version invalid");
    pub(crate) const WEIGHT_ERROR: Self = Self(21001, "weight error");
    pub(crate) const INSTANCE_METADATA_ERROR: Self = Self(21002, "instance metadata error");
    pub(crate) const INSTANCE_NOT_FOUND: Self = Self(21003, "instance not found");
    pub(crate) const INSTANCE_ERROR: Self = Self(21004, "instance error");
    pub(crate) const SERVICE_METADATA_ERROR: Self = Self(21005, "service metadata error");
    pub(crate) const SELECTOR_ERROR: Self = Self(21006, "selector error");
    pub(crate) const SERVICE_ALREADY_EXIST: Self = Self(21007, "service already exist");
    pub(crate) const SERVICE_NOT_EXIST: Self = Self(21008, "service not exist");
    pub(crate) const SERVICE_DELETE_FAILURE: Self = Self(21009, "service delete failure");
    pub(crate) const ILLEGAL_NAMESPACE: Self = Self(22000, "illegal namespace");
    pub(crate) const NAMESPACE_NOT_EXIST: Self = Self(22001, "namespace not exist");
    pub(crate) const NAMESPACE_ALREADY_EXIST: Self = Self(22002, "namespace already exist");
    pub(crate) const SERVER_ERROR: Self = Self(30000, "server error");
    pub(crate) const API_DEPRECATED: Self = Self(40000, "API deprecated");
    pub(crate) const API_FUNCTION_DISABLED: Self = Self(40001, "API function disabled.");
}

/// Why a call fails: status and words for v1, code for v2 and v3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    status: StatusCode,
    code: Code,
    words: FailureWords,
    retry_after_s: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum FailureWords {
    /// This parameter is missing: each style has its own sentence.
    Missing(&'static str),
    /// Told in Spring's JSON by every family: no handler has seen the call.
    Unserved(&'static str),
    /// Text on every path: Nacos checks names before it knows how a path speaks
    /// (`ParamCheckerFilter`).
    Checked(String),
    Text(Cow<'static, str>),
}

impl Failure {
    /// Any failure that has no constructor of its own.
    pub(crate) fn new(status: StatusCode, code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, words: FailureWords::Text(text.into()), retry_after_s: None }
    }

    /// A parameter that must be there is not.
    pub(crate) const fn missing(name: &'static str) -> Self {
        let status = StatusCode::BAD_REQUEST;
        let code = Code::PARAMETER_MISSING;
        Self { status, code, words: FailureWords::Missing(name), retry_after_s: None }
    }

    /// A body that must be there is not.
    pub(crate) fn no_body() -> Self {
        Self::invalid_as(Code::PARAMETER_MISSING, "Required request body is missing")
    }

    /// A body of a type that is not taken; v3 has a code for it.
    pub(crate) fn media_type(has_code: bool, words: String) -> Self {
        if has_code {
            return Self::invalid_as(Code::MEDIA_TYPE_ERROR, words);
        }
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::MEDIA_TYPE_ERROR, words)
    }

    /// 501: a route of Nacos that means nothing here, and why.
    pub(crate) fn disabled(words: &'static str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, Code::API_FUNCTION_DISABLED, words)
    }

    /// 403: nobody is known to call, or not one who may.
    pub(crate) const fn denied(words: &'static str) -> Self {
        let (status, code) = (StatusCode::FORBIDDEN, Code::ACCESS_DENIED);
        Self { status, code, words: FailureWords::Unserved(words), retry_after_s: None }
    }

    /// 400: the parameters are none that a route is for.
    pub(crate) const fn unrouted() -> Self {
        let (status, code) = (StatusCode::BAD_REQUEST, Code::PARAMETER_VALIDATE_ERROR);
        let words = FailureWords::Unserved("Invalid request parameters.");
        Self { status, code, words, retry_after_s: None }
    }

    /// 410: nobody is served here any more.
    pub(crate) const fn gone(words: &'static str) -> Self {
        let (status, code) = (StatusCode::GONE, Code::API_DEPRECATED);
        Self { status, code, words: FailureWords::Unserved(words), retry_after_s: None }
    }

    /// 400: a parameter is there but not right.
    pub(crate) fn invalid(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::PARAMETER_VALIDATE_ERROR, text)
    }

    /// 400: a name that no path takes, or another of the parameters that are checked with names.
    pub(crate) fn checked(words: String) -> Self {
        let (status, code) = (StatusCode::BAD_REQUEST, Code::PARAMETER_VALIDATE_ERROR);
        Self { status, code, words: FailureWords::Checked(words), retry_after_s: None }
    }

    /// 400: what a filter of Nacos ahead of all handlers refuses.
    pub(crate) const fn filtered(words: &'static str) -> Self {
        let (status, code) = (StatusCode::BAD_REQUEST, Code::PARAMETER_VALIDATE_ERROR);
        Self { status, code, words: FailureWords::Unserved(words), retry_after_s: None }
    }

    /// 400: a name with characters that no path takes in it.
    pub(crate) fn illegal(name: &str) -> Self {
        Self::checked(format!(
            "Param '{name}' is illegal, illegal characters should not appear in the param."
        ))
    }

    /// 400 with a code of its own.
    pub(crate) fn invalid_as(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, text)
    }

    /// 400: a number was expected.
    pub(crate) fn not_a_number(name: &'static str, text: &str) -> Self {
        let shown: String = text.chars().take(32).collect();
        Self::invalid(format!("Param '{name}' is not a number: {shown}"))
    }

    /// 400: yes or no was expected.
    pub(crate) fn not_a_boolean(name: &'static str, text: &str) -> Self {
        let shown: String = text.chars().take(32).collect();
        Self::invalid(format!("Param '{name}' is neither true nor false: {shown}"))
    }

    /// 404.
    pub(crate) fn not_found(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, text)
    }

    /// 409.
    pub(crate) fn conflict(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, text)
    }

    /// 503 with a hint when to come back.
    pub(crate) fn unavailable(text: impl Into<Cow<'static, str>>) -> Self {
        let failure = Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::SERVER_ERROR, text);
        Self { retry_after_s: Some(1), ..failure }
    }

    /// 503: the node has no leader and has not heard what was agreed meanwhile.
    pub(crate) fn unsettled() -> Self {
        Self::unavailable("this node has no leader and may have missed writes")
    }

    /// 503: the node serves nothing yet, or nothing more.
    pub(crate) fn starting(stage: &Stage, in_short: bool) -> Self {
        match stage.waits_for(in_short) {
            Some(what) => Self::unavailable(format!("server is STARTING: it waits for {what}")),
            None => {
                Self::unavailable("server is STARTING or stopping now, please try again later!")
            }
        }
    }

    /// 429 with a hint when to come back.
    pub(crate) fn too_many(text: impl Into<Cow<'static, str>>, after_s: u32) -> Self {
        let failure = Self::new(StatusCode::TOO_MANY_REQUESTS, Code::SERVER_ERROR, text);
        Self { retry_after_s: Some(after_s), ..failure }
    }

    /// The failure as gRPC tells it: a status and words.
    pub(crate) fn grpc(self) -> (u16, Cow<'static, str>) {
        let text = match self.words {
            FailureWords::Missing(name) => format!("Param '{name}' is required.").into(),
            FailureWords::Unserved(text) => text.into(),
            FailureWords::Checked(text) => text.into(),
            FailureWords::Text(text) => text,
        };
        (self.status.as_u16(), text)
    }

    /// The HTTP status.
    #[cfg(test)]
    pub(crate) fn http_status(&self) -> StatusCode {
        self.status
    }

    /// Counts it, if there was too much of something.
    fn note(&self) {
        let is_limit =
            matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
                || self.code == Code::OVER_CLUSTER_QUOTA;
        if is_limit {
            let known = if let FailureWords::Text(Cow::Borrowed(words)) = &self.words {
                *words
            } else {
                self.code.1
            };
            reached::note(known);
        }
    }

    /// Tells the failure in the style of its path.
    pub(crate) fn answer(&self, style: Style, path: &str, now: WallTime) -> HttpAnswer {
        self.note();
        let spring = |message: &str| spring_error(self.status, message, path, now);
        let answer = match (style, &self.words) {
            (_, FailureWords::Unserved(words)) => spring(words),
            (_, FailureWords::Checked(words)) => HttpAnswer::text(words.clone()),
            (Style::Config | Style::Users, FailureWords::Missing(name)) => spring(&format!(
                "Required request parameter '{name}' for method parameter type String is not \
                 present"
            )),
            (Style::Result | Style::Users, words) => HttpAnswer::json(&Envelope {
                code: self.code.0,
                message: Some(self.code.1),
                data: &*words.envelope(),
            }),
            (Style::Spring, FailureWords::Missing(name)) => {
                spring(&format!("Required parameter '{name}' is not present."))
            }
            (Style::Spring, FailureWords::Text(text)) => spring(text),
            // Nacos writes the chain of causes of an exception (`ExceptionUtil`).
            (Style::ClientConfig, FailureWords::Missing(_)) => {
                HttpAnswer::text(format!("caused: {};", self.words.envelope()))
            }
            (Style::Config | Style::ClientConfig, FailureWords::Text(text)) => {
                HttpAnswer::text(format!("caused: {text};"))
            }
            (Style::Text, FailureWords::Missing(name)) => {
                HttpAnswer::text(format!("Param '{name}' is required."))
            }
            (Style::Text, FailureWords::Text(text)) => HttpAnswer::text(text.as_bytes().to_vec()),
        };
        let answer = answer.status(self.status);
        match self.retry_after_s {
            Some(seconds) => answer.header(RETRY_AFTER, &seconds.to_string()),
            None => answer,
        }
    }
}

impl FailureWords {
    fn envelope(&self) -> Cow<'_, str> {
        match self {
            Self::Missing(name) => {
                format!("Required parameter '{name}' type String is not present").into()
            }
            Self::Unserved(text) => Cow::Borrowed(text),
            Self::Checked(text) => Cow::Borrowed(text),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }
}

/// The JSON a Spring server answers where no handler speaks; also ours for unknown paths, so that
/// clients meet one shape.
pub(crate) fn spring_error(
    status: StatusCode,
    message: &str,
    path: &str,
    now: WallTime,
) -> HttpAnswer {
    #[derive(Serialize)]
    struct SpringError<'a> {
        timestamp: String,
        status: u16,
        error: &'a str,
        message: &'a str,
        path: &'a str,
    }
    let error = status.canonical_reason().unwrap_or("Error");
    let timestamp = crate::http::time::iso8601(now);
    let status_code = status.as_u16();
    HttpAnswer::json(&SpringError { timestamp, status: status_code, error, message, path })
        .status(status)
}

impl From<IdError> for Failure {
    fn from(error: IdError) -> Self {
        match error {
            IdError::Empty { what } => Self::missing(what),
            IdError::TooLong { what, chars_max } => Self::checked(format!(
                "Param '{}' is illegal, the param length should not exceed {chars_max}.",
                checked_name(what)
            )),
            IdError::Illegal { what } => Self::illegal(checked_name(what)),
        }
    }
}

/// Nacos' check has one word for both spellings of a namespace.
fn checked_name(what: &str) -> &str {
    if what == "namespaceId" { "namespaceId/tenant" } else { what }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::ContentBlank => Self::invalid("content is blank : "),
            PublishError::ContentTooLong { bytes_max } => {
                Self::invalid(format!("invalid content, over {bytes_max}"))
            }
            PublishError::TooLong { what: "config_tags", chars_max } => {
                Self::invalid(format!("too long tag, over {chars_max}"))
            }
            PublishError::TooLong { what, chars_max } => {
                Self::invalid(format!("too long {what}, over {chars_max}"))
            }
            PublishError::Blank { what } => Self::missing(what),
            PublishError::Rule => {
                Self::invalid_as(Code::CONFIG_GRAY_RULE, Code::CONFIG_GRAY_RULE.1)
            }
            PublishError::TooMany { what, count_max } => {
                Self::invalid(format!("too much {what}, over {count_max}"))
            }
        }
    }
}

impl From<NoLevel> for Failure {
    fn from(NoLevel(text): NoLevel) -> Self {
        Self::invalid(format!("Param 'logLevel' is no level: {text}"))
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::CasMismatch => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                Code::RESOURCE_CONFLICT,
                "Cas publish fail, server md5 may have changed.",
            ),
            CommandError::ConfigExists => {
                Self::conflict(Code::RESOURCE_CONFLICT, "config already exist")
            }
            CommandError::TooManyConfigs
            | CommandError::NoRoom { .. }
            | CommandError::TooManyRooms
            | CommandError::TooManyNamespaces => {
                Self::conflict(Code::OVER_CLUSTER_QUOTA, error.to_string())
            }
            CommandError::TooManyGray => Self::invalid_as(
                Code::CONFIG_GRAY_OVER_MAX,
                format!("gray config version is over max count :{}", limits::GRAY_VERSIONS_MAX),
            ),
            CommandError::NamespaceExists => {
                Self::conflict(Code::NAMESPACE_ALREADY_EXIST, "namespace already exist")
            }
            CommandError::NamespaceUnknown => {
                Self::not_found(Code::NAMESPACE_NOT_EXIST, "namespace not exist")
            }
            CommandError::AlreadyApplied => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                Code::SERVER_ERROR,
                "the command was applied before",
            ),
        }
    }
}

impl From<lock::KeyError> for Failure {
    fn from(error: lock::KeyError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<lock::CommandError> for Failure {
    fn from(error: lock::CommandError) -> Self {
        match error {
            lock::CommandError::TooManyLocks
            | lock::CommandError::TooManyWaiters
            | lock::CommandError::TooManyOfOne => Self::unavailable(error.to_string()),
        }
    }
}

impl<E: Into<Self>> From<WriteError<E>> for Failure {
    fn from(error: WriteError<E>) -> Self {
        match error {
            WriteError::Refused(error) => error.into(),
            WriteError::Overloaded => Self::unavailable("server is overloaded, try again later"),
            WriteError::NoLeader { leader: _ } => {
                Self::unavailable("no leader is known, nothing was written, try again later")
            }
            WriteError::StorageFull => Self::unavailable(
                "the disk of the server is full, nothing was written; what is deleted makes room",
            ),
            WriteError::Unknown => {
                Self::unavailable("no answer in time, the outcome of the write is unknown")
            }
            WriteError::Stopping => Self::unavailable("the server is stopping"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failure: &Failure, style: Style, status: u16, body: &str) {
        let answer = failure.answer(style, "/nacos/v1/cs/configs", WallTime(0));
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(std::str::from_utf8(&answer.body).expect("text"), body);
    }

    #[test]
    fn a_missing_parameter_is_told_in_the_style_of_the_path() {
        let failure = Failure::missing("dataId");
        check(
            &failure,
            Style::Config,
            400,
            "{\"timestamp\":\"1970-01-01T00:00:00.000+00:00\",\"status\":400,\
             \"error\":\"Bad Request\",\"message\":\"Required request parameter 'dataId' for method \
             parameter type String is not present\",\"path\":\"/nacos/v1/cs/configs\"}",
        );
        check(&failure, Style::Text, 400, "Param 'dataId' is required.");
        check(
            &failure,
            Style::Result,
            400,
            "{\"code\":10000,\"message\":\"parameter missing\",\
             \"data\":\"Required parameter 'dataId' type String is not present\"}",
        );
    }

    #[test]
    fn whoever_may_not_is_told_so_in_one_shape_by_every_family() {
        let failure = Failure::denied("user not found!");
        for style in [Style::Config, Style::Text, Style::Result, Style::Users] {
            check(
                &failure,
                style,
                403,
                "{\"timestamp\":\"1970-01-01T00:00:00.000+00:00\",\"status\":403,\
                 \"error\":\"Forbidden\",\"message\":\"user not found!\",\
                 \"path\":\"/nacos/v1/cs/configs\"}",
            );
        }
    }

    #[test]
    fn a_name_that_no_path_takes_is_told_in_text_on_every_path() {
        let failure = Failure::from(IdError::Illegal { what: "namespaceId" });
        let words = "Param 'namespaceId/tenant' is illegal, illegal characters should not appear \
                     in the param.";
        for style in [Style::Config, Style::Text, Style::Result] {
            check(&failure, style, 400, words);
        }
    }

    #[test]
    fn a_full_disk_says_so_and_when_to_come_back() {
        let failure = Failure::from(WriteError::<IdError>::StorageFull);
        let answer = failure.answer(Style::Text, "/", WallTime(0));
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers.contains_key(RETRY_AFTER));
        assert!(answer.body.windows(4).any(|part| part == b"disk"));
    }
}
