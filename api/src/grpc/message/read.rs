//! Reads the JSON of requests: what its fields are, and which config or service they name.

use hyper::body::Bytes;
use nacolet_model::{ConfigKey, DataId, Group, IdError, Namespace, ServiceKey};

use crate::access::about;
use crate::grpc::message::Refusal;
use crate::http::failure::Failure;

/// Why a request is not read.
pub(crate) enum Unread {
    /// It is no JSON of its kind.
    Undecodable(serde_json::Error),
    /// Something in it is not right: the answer that says so.
    Refused(Bytes),
}

impl From<serde_json::Error> for Unread {
    fn from(error: serde_json::Error) -> Self {
        Self::Undecodable(error)
    }
}

/// Reads a request; `None` of a text is the same as an empty one.
macro_rules! request {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct $name {
            request_id: Option<String>,
            $($field: Option<$type>,)*
        }
    };
}
pub(crate) use request;

/// The text, unless it is blank.
pub(crate) fn text(field: Option<&String>) -> Option<&str> {
    field.map(|text| text.trim()).filter(|text| !text.is_empty())
}

/// The config that a request names.
pub(crate) fn key(
    data_id: Option<&String>,
    group: Option<&String>,
    tenant: Option<&String>,
) -> Result<ConfigKey, Refusal> {
    Ok(ConfigKey {
        namespace: Namespace::parse(text(tenant).unwrap_or_default())?,
        group: Group::new(text(group).unwrap_or_default())?,
        data_id: DataId::new(text(data_id).unwrap_or_default())?,
    })
}

/// The service that a request names.
pub(crate) fn target(
    namespace: Option<&String>,
    group: Option<&String>,
    name: Option<&String>,
) -> Result<ServiceKey, Refusal> {
    let namespace = text(namespace).unwrap_or(Namespace::PUBLIC);
    let group = text(group).unwrap_or(Group::DEFAULT);
    let missing = || Refusal::from(Failure::missing("serviceName")).thrown();
    let name = text(name).ok_or_else(missing)?;
    // Here the group has a field of its own, and no name has a second one in it.
    if name.contains("@@") {
        return Err(IdError::Illegal { what: "serviceName" }.into());
    }
    Ok(about::service_of(namespace, group, name)?)
}
