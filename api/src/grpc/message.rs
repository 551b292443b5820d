//! The JSON of the messages: what every answer has, what every request of the server has, and the
//! messages of the connection itself. Fields are never null: each client insists on some of them and
//! none is put off by one it does not know (`dispatch` and its neighbours have the others).

use std::borrow::Cow;
use std::collections::BTreeMap;

use hyper::body::Bytes;
use nacolet_model::limits;
use serde::{Deserialize, Serialize};

use super::client::{Client, Order};
use super::wire;
use crate::status::Failure;

/// What every answer of the server has.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a, T> {
    result_code: u16,
    error_code: u16,
    success: bool,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(flatten)]
    body: T,
}

/// No fields of its own.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Empty {}

fn rendered(kind: &str, value: &impl Serialize) -> Bytes {
    // No map in a message has keys that are not texts, so rendering cannot fail.
    wire::frame(kind, serde_json::to_vec(value).unwrap_or_default())
}

/// An answer that says that it is done.
pub(super) fn done(kind: &str, request_id: Option<&str>, body: impl Serialize) -> Bytes {
    let answer =
        Answer { result_code: 200, error_code: 0, success: true, message: "", request_id, body };
    rendered(kind, &answer)
}

/// An answer that says why it is not done, with the fields that its type must have.
pub(super) fn failed(
    kind: &str,
    request_id: Option<&str>,
    error: &Refusal,
    body: impl Serialize,
) -> Bytes {
    let Refusal { code: error_code, message } = error;
    let answer = Answer {
        result_code: 500,
        error_code: *error_code,
        success: false,
        message,
        request_id,
        body,
    };
    rendered(kind, &answer)
}

/// The answer where no handler speaks, or none whose answer could be filled in.
pub(super) fn error(request_id: Option<&str>, error: &Refusal) -> Bytes {
    failed("ErrorResponse", request_id, error, Empty {})
}

/// Why a request is refused: a number of Nacos (`NacosException`) and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) message: Cow<'static, str>,
}

impl Refusal {
    pub(super) const STARTING: Self =
        Self { code: 300, message: Cow::Borrowed("Server is starting,please try later.") };
    pub(super) const UNREGISTERED: Self =
        Self { code: 301, message: Cow::Borrowed("Connection is unregistered.") };
    pub(super) const NO_HANDLER: Self =
        Self { code: 302, message: Cow::Borrowed("RequestHandler Not Found") };
    pub(super) const NOT_FOUND: Self =
        Self { code: 300, message: Cow::Borrowed("config data not exist") };
    pub(super) const TOO_MANY_PATTERNS: Self =
        Self { code: 50310, message: Cow::Borrowed("fuzzy watch pattern over limit") };
    pub(super) const TOO_MANY_MATCHES: Self = Self {
        code: 50311,
        message: Cow::Borrowed("fuzzy watch pattern matched count over limit"),
    };
    pub(super) const OVERLOADED: Self =
        Self { code: 503, message: Cow::Borrowed("server is overloaded, try again later") };

    pub(super) fn undecodable(error: &serde_json::Error) -> Self {
        Self { code: 502, message: error.to_string().into() }
    }

    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: 400, message: message.into() }
    }
}

impl<E: Into<Failure>> From<E> for Refusal {
    fn from(error: E) -> Self {
        let (code, message) = error.into().grpc();
        // A limit that is reached is "over threshold" here, whatever HTTP calls it.
        let code = if code == 429 { 503 } else { code };
        Self { code, message }
    }
}

/// What every request of the server has.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<T> {
    headers: Empty,
    request_id: String,
    module: &'static str,
    #[serde(flatten)]
    body: T,
}

/// A request of the server.
pub(super) fn request(
    kind: &str,
    number: u64,
    module: &'static str,
    body: impl Serialize,
) -> Bytes {
    let request = Request { headers: Empty {}, request_id: number.to_string(), module, body };
    rendered(kind, &request)
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

/// What a client is told about the connection.
pub(super) fn order(client: &Client, order: Order) -> Bytes {
    let number = client.fresh_number();
    match order {
        Order::SetupAck => {
            let ability_table = Abilities {
                support_persistent_instance_by_grpc: true,
                fuzzy_watch: true,
                lock: true,
                mcp: false,
            };
            request("SetupAckRequest", number, "internal", SetupAck { ability_table })
        }
        Order::Detection => request("ClientDetectionRequest", number, "internal", Empty {}),
        Order::Reset => request("ConnectResetRequest", number, "internal", Empty {}),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerCheck<'a> {
    connection_id: &'a str,
    support_ability_negotiation: bool,
}

/// The answer to `ServerCheckRequest`.
pub(super) fn server_check(client: &Client, request_id: Option<&str>) -> Bytes {
    let connection_id = &*client.connection_id;
    let check = ServerCheck { connection_id, support_ability_negotiation: true };
    done("ServerCheckResponse", request_id, check)
}

/// How a client sets the connection up. Which of its fields are there depends on the client.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ConnectionSetup {
    labels: Option<BTreeMap<String, Option<String>>>,
    ability_table: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

impl ConnectionSetup {
    /// One label, unless it is empty or longer than is kept.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        let label = self.labels.as_ref()?.get(name)?.as_deref()?;
        Some(label).filter(|label| !label.is_empty() && label.len() <= limits::LABEL_CHARS_MAX)
    }

    /// Whether it waits for the abilities of the server.
    pub(super) fn is_negotiating(&self) -> bool {
        self.ability_table.is_some()
    }
}

/// An answer of a client to a request of the server. Only these fields can be relied on.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Acknowledgement {
    request_id: Option<String>,
    result_code: Option<i64>,
}

impl Acknowledgement {
    /// Which request it answers.
    pub(super) fn number(&self) -> Option<u64> {
        self.request_id.as_ref()?.parse().ok()
    }

    /// Go says `success: false` and means yes, so only the code counts.
    pub(super) fn is_ok(&self) -> bool {
        self.result_code == Some(200)
    }
}

#[cfg(test)]
mod tests {
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
    }
}
