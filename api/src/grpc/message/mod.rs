//! The JSON of the messages: what every answer has, what every request of the server has, and the
//! messages of the connection itself. Fields are never null: each client insists on some of them
//! and none is put off by one it does not know (`dispatch` and its neighbours have the others).

pub(crate) mod info;
pub(crate) mod kind;
pub(crate) mod read;
pub(crate) mod wire;

use std::borrow::Cow;
use std::collections::BTreeMap;

use hyper::body::Bytes;
use nacolet_model::limits;
use serde::{Deserialize, Serialize};
use smol::future::yield_now;

use crate::bounds::reached;
use crate::grpc::client::{Client, ConnectionOrder};
use crate::http::failure::Failure;
use crate::http::listed::Listed;
use crate::http::pieces::{Late, chunks, json_bytes, with_texts};
use crate::http::room::Room;

/// What every answer of the server has.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseMessage<'a, T> {
    result_code: u16,
    error_code: u16,
    success: bool,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(flatten)]
    body: T,
}

impl<'a, T> ResponseMessage<'a, T> {
    /// It is done.
    fn done(request_id: Option<&'a str>, body: T) -> Self {
        let (result_code, error_code, success) = (200, 0, true);
        Self { result_code, error_code, success, message: "", request_id, body }
    }
}

/// No fields of its own.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Empty {}

fn rendered(kind: &str, value: &impl Serialize) -> Bytes {
    // No map in a message has keys that are not texts, so rendering cannot fail.
    wire::frame(kind, serde_json::to_vec(value).unwrap_or_default())
}

/// An answer that says that it is done.
pub(crate) fn done(kind: &str, request_id: Option<&str>, body: impl Serialize) -> Bytes {
    rendered(kind, &ResponseMessage::done(request_id, body))
}

/// As [`done`], for an answer that may be long: it is counted while it is made.
pub(crate) fn done_long(
    room: &Room,
    kind: &str,
    request_id: Option<&str>,
    body: impl Serialize,
) -> Result<Reply, Refusal> {
    Ok(framed(kind, Listed::new(room, &ResponseMessage::done(request_id, body))?))
}

fn framed(kind: &str, listed: Listed) -> Reply {
    let Listed { mut chunks, bytes } = listed;
    if chunks.len() == 1 {
        return wire::frame(kind, chunks.remove(0).into()).into();
    }
    let head = wire::frame_head(kind, bytes);
    let all = head.len() + bytes;
    let parts = Box::new(std::iter::once(Bytes::from(head)).chain(chunks));
    Reply::Long(Long { bytes: all, pinned: bytes, parts })
}

/// An answer of which a text is as long as that of a config may be. It is made while it is sent.
pub(crate) struct Long {
    /// Bytes of all of it.
    pub(crate) bytes: usize,
    /// Bytes that live as long as it does.
    pub(crate) pinned: usize,
    pub(crate) parts: Box<dyn Iterator<Item = Bytes>>,
}

/// What a call is answered.
pub(crate) enum Reply {
    Whole(Bytes),
    Long(Long),
}

impl From<Bytes> for Reply {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

/// As [`done`], with a text for a field that `body` has empty. How long it will be is counted
/// before anything of it is made, and others have their turn meanwhile.
pub(crate) async fn done_with(
    kind: &str,
    request_id: Option<&str>,
    body: impl Serialize,
    (field, text): Late,
) -> Reply {
    let answer = ResponseMessage::done(request_id, body);
    let json = serde_json::to_vec(&answer).unwrap_or_default();
    let mut bytes = json.len();
    for part in text.as_bytes().chunks(limits::INLINE_BYTES_MAX) {
        bytes += json_bytes(part);
        yield_now().await;
    }
    let pinned = text.len();
    let head = wire::frame_head(kind, bytes);
    let bytes = head.len() + bytes;
    let parts = std::iter::once(head).chain(with_texts(json, vec![(field, text)]));
    Reply::Long(Long { bytes, pinned, parts: Box::new(chunks(parts).map(Bytes::from)) })
}

/// An answer that says why it is not done, with the fields that its type must have; where Nacos has
/// none of that type, the error alone.
pub(crate) fn failed(
    kind: &str,
    request_id: Option<&str>,
    error: &Refusal,
    body: impl Serialize,
) -> Bytes {
    error.note();
    let Refusal { code: error_code, message, is_thrown } = error;
    let (result_code, error_code, success) = (500, *error_code, false);
    if *is_thrown {
        let (result_code, body) = (error_code, Empty {});
        let answer =
            ResponseMessage { result_code, error_code, success, message, request_id, body };
        return rendered(ERROR, &answer);
    }
    let answer = ResponseMessage { result_code, error_code, success, message, request_id, body };
    rendered(kind, &answer)
}

const ERROR: &str = "ErrorResponse";

/// The answer where no handler speaks, or none whose answer could be filled in.
pub(crate) fn error(request_id: Option<&str>, error: &Refusal) -> Bytes {
    failed(ERROR, request_id, error, Empty {})
}

/// Why a request is refused: a number of Nacos (`NacosException`) and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) message: Cow<'static, str>,
    /// Nacos throws here, and its answer is an `ErrorResponse` whose `resultCode` is the number.
    /// What a client makes of that differs: Java tries again, Go has an error only then.
    pub(crate) is_thrown: bool,
}

impl Refusal {
    pub(crate) const STARTING: Self = Self::known(300, "Server is starting,please try later.");
    pub(crate) const UNREGISTERED: Self = Self::known(301, "Connection is unregistered.");
    pub(crate) const NO_HANDLER: Self = Self::known(302, "RequestHandler Not Found");
    /// One of the requests that members of Nacos send each other.
    pub(crate) const FORBIDDEN: Self = Self::known(502, "invoke from sdk is forbidden");
    pub(crate) const NOT_FOUND: Self = Self::known(300, "config data not exist");
    pub(crate) const TOO_MANY_PATTERNS: Self = Self::known(50310, "fuzzy watch pattern over limit");
    pub(crate) const TOO_MANY_MATCHES: Self =
        Self::known(50311, "fuzzy watch pattern matched count over limit");
    pub(crate) const OVERLOADED: Self = Self::known(503, "server is overloaded, try again later");

    const fn known(code: u16, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message), is_thrown: false }
    }

    /// Counts it, if there was too much of something.
    fn note(&self) {
        if matches!(self.code, 429 | 503 | 50310 | 50311)
            && let Cow::Borrowed(words) = self.message
        {
            reached::note(words);
        }
    }

    pub(crate) fn undecodable(error: &serde_json::Error) -> Self {
        Self { code: 502, message: error.to_string().into(), is_thrown: false }
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: 400, message: message.into(), is_thrown: false }
    }

    /// As Nacos throws it, unless it is that there is too much: every type of answer says that.
    pub(crate) fn thrown(self) -> Self {
        Self { is_thrown: self.code != Self::OVERLOADED.code, ..self }
    }
}

impl<E: Into<Failure>> From<E> for Refusal {
    fn from(error: E) -> Self {
        let (code, message) = error.into().grpc();
        // A limit that is reached is "over threshold" here, whatever HTTP calls it.
        let code = if code == 429 { 503 } else { code };
        Self { code, message, is_thrown: false }
    }
}

/// What every request of the server has.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerRequest<T> {
    headers: Empty,
    request_id: String,
    module: &'static str,
    #[serde(flatten)]
    body: T,
}

/// A request of the server.
pub(crate) fn request(
    kind: &str,
    number: u64,
    module: &'static str,
    body: impl Serialize,
) -> Bytes {
    let request = ServerRequest { headers: Empty {}, request_id: number.to_string(), module, body };
    rendered(kind, &request)
}

/// As [`request`], for one that may be long; none where there is no room for it.
pub(crate) fn request_long(
    room: &Room,
    kind: &str,
    number: u64,
    module: &'static str,
    body: impl Serialize,
) -> Option<Reply> {
    let request = ServerRequest { headers: Empty {}, request_id: number.to_string(), module, body };
    Some(framed(kind, Listed::new(room, &request).ok()?))
}

/// What this server can do beyond the protocol of Nacos 2.0, truthfully.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Abilities {
    support_persistent_instance_by_grpc: bool,
    fuzzy_watch: bool,
    lock: bool,
    mcp: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SetupAck {
    ability_table: Abilities,
}

/// Where a client is to go; without a place it chooses one itself.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectReset<'a> {
    server_ip: &'a str,
    server_port: &'a str,
    connection_id: &'a str,
}

/// What a client is told about the connection.
pub(crate) fn order(client: &Client, order: ConnectionOrder) -> Bytes {
    let number = client.fresh_number();
    match order {
        ConnectionOrder::SetupAck => {
            let ability_table = Abilities {
                support_persistent_instance_by_grpc: true,
                fuzzy_watch: true,
                lock: true,
                mcp: false,
            };
            request("SetupAckRequest", number, "internal", SetupAck { ability_table })
        }
        ConnectionOrder::Detection => {
            request("ClientDetectionRequest", number, "internal", Empty {})
        }
        ConnectionOrder::Reset => request("ConnectResetRequest", number, "internal", Empty {}),
        ConnectionOrder::Move => {
            let target = client.target.borrow();
            let reset = target.as_ref().map(|target| ConnectReset {
                server_ip: &target.host,
                server_port: &target.port,
                connection_id: &client.connection_id,
            });
            request("ConnectResetRequest", number, "internal", reset.unwrap_or_default())
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerCheck<'a> {
    connection_id: &'a str,
    support_ability_negotiation: bool,
}

/// The answer to `ServerCheckRequest`.
pub(crate) fn server_check(client: &Client, request_id: Option<&str>) -> Bytes {
    let connection_id = &*client.connection_id;
    let check = ServerCheck { connection_id, support_ability_negotiation: true };
    done("ServerCheckResponse", request_id, check)
}

/// How a client sets the connection up. Which of its fields are there depends on the client.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ConnectionSetup {
    client_version: Option<String>,
    labels: Option<BTreeMap<String, Option<String>>>,
    ability_table: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

impl ConnectionSetup {
    /// One label, unless it is empty or longer than is kept.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        let label = self.labels.as_ref()?.get(name)?.as_deref()?;
        Some(label).filter(|label| !label.is_empty() && label.len() <= limits::LABEL_CHARS_MAX)
    }

    /// What the application says of itself, its name and what it is among it (Nacos
    /// `ConnectionMeta.getAppLabels`). What is longer or more than is kept fits no rule.
    pub(crate) fn app_labels(&self) -> Box<[(Box<str>, Box<str>)]> {
        let own = [("AppName", self.label("AppName")), ("ClientVersion", self.version())];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let said = self
            .labels
            .iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.strip_prefix("app_")?, value.as_deref()?)));
        let is_kept =
            |text: &str| !text.trim().is_empty() && text.len() <= limits::GRPC_APP_LABEL_BYTES_MAX;
        own.chain(said)
            .filter(|(name, value)| is_kept(name) && is_kept(value))
            .take(limits::GRPC_APP_LABELS_MAX)
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    /// What it is, unless it says it at greater length than is kept.
    pub(crate) fn version(&self) -> Option<&str> {
        self.client_version.as_deref().filter(|text| text.len() <= limits::LABEL_CHARS_MAX)
    }

    /// Whether it waits for the abilities of the server.
    pub(crate) fn is_negotiating(&self) -> bool {
        self.ability_table.is_some()
    }
}

/// An answer of a client to a request of the server. Only these fields can be relied on.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Acknowledgement {
    request_id: Option<String>,
    result_code: Option<i64>,
}

impl Acknowledgement {
    /// Which request it answers.
    pub(crate) fn number(&self) -> Option<u64> {
        self.request_id.as_ref()?.parse().ok()
    }

    /// Go says `success: false` and means yes, so only the code counts.
    pub(crate) fn is_ok(&self) -> bool {
        self.result_code == Some(200)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_acknowledgement_is_judged_by_its_code() {
        let check = |json: &str, expected: (Option<u64>, bool)| {
            let answer: Acknowledgement = serde_json::from_str(json).expect("JSON");
            assert_eq!((answer.number(), answer.is_ok()), expected, "{json}");
        };
        check(r#"{"resultCode":200,"success":false,"requestId":"7"}"#, (Some(7), true));
        check(r#"{"resultCode":500,"success":true,"requestId":"7"}"#, (Some(7), false));
        check(r#"{"requestId":null,"resultCode":null,"other":{}}"#, (None, false));
        check(r#"{"requestId":"x","resultCode":200}"#, (None, true));
    }

    #[test]
    fn a_set_up_may_leave_out_everything() {
        let read = |json: &str| serde_json::from_str::<ConnectionSetup>(json).expect("JSON");
        assert!(!read("{}").is_negotiating());
        assert!(!read(r#"{"abilityTable":null,"abilities":{},"labels":null}"#).is_negotiating());
        let full =
            read(r#"{"abilityTable":{"lock":true},"labels":{"Vipserver-Tag":"t","a":null}}"#);
        assert!(full.is_negotiating());
        assert_eq!((full.label("Vipserver-Tag"), full.label("a")), (Some("t"), None));
        let said = json!({"AppName": "shop", "app_env": "prod", "app_": "x", "app_n": null,
            "app_b": " ", "source": "sdk", "app_l": "l".repeat(limits::GRPC_APP_LABEL_BYTES_MAX + 1)});
        let said = read(&json!({"clientVersion": "Go:v2", "labels": said}).to_string());
        let pair = |name: &str, value: &str| (Box::from(name), Box::from(value));
        let expected =
            [pair("AppName", "shop"), pair("ClientVersion", "Go:v2"), pair("env", "prod")];
        assert_eq!(*said.app_labels(), expected);
        let many: BTreeMap<_, _> = (0..100).map(|n| (format!("app_{n}"), "x")).collect();
        let many = read(&json!({"labels": many}).to_string());
        assert_eq!(many.app_labels().len(), limits::GRPC_APP_LABELS_MAX);
    }
}
