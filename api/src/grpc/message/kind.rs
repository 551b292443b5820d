//! The types of requests.

use nacolet_model::limits;
use serde::Deserialize;

use crate::grpc::message::wire::Payload;
use crate::http::json::object;

/// The requests that have a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    HealthCheck,
    ConfigQuery,
    ConfigPublish,
    ConfigRemove,
    ConfigBatchListen,
    Instance,
    BatchInstance,
    PersistentInstance,
    ServiceQuery,
    ServiceList,
    SubscribeService,
    LockOperation,
    ConfigFuzzyWatch,
    NamingFuzzyWatch,
}

impl RequestKind {
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "HealthCheckRequest" => Self::HealthCheck,
            "ConfigQueryRequest" => Self::ConfigQuery,
            "ConfigPublishRequest" => Self::ConfigPublish,
            "ConfigRemoveRequest" => Self::ConfigRemove,
            "ConfigBatchListenRequest" => Self::ConfigBatchListen,
            "InstanceRequest" => Self::Instance,
            "BatchInstanceRequest" => Self::BatchInstance,
            "PersistentInstanceRequest" => Self::PersistentInstance,
            "ServiceQueryRequest" => Self::ServiceQuery,
            "ServiceListRequest" => Self::ServiceList,
            "SubscribeServiceRequest" => Self::SubscribeService,
            "LockOperationRequest" => Self::LockOperation,
            "ConfigFuzzyWatchRequest" => Self::ConfigFuzzyWatch,
            "NamingFuzzyWatchRequest" => Self::NamingFuzzyWatch,
            _ => return None,
        })
    }

    /// Whether members of Nacos ask each other so; from a client they do not take it.
    pub(crate) fn is_of_members(name: &str) -> bool {
        matches!(
            name,
            "ServerLoaderInfoRequest"
                | "ServerReloadRequest"
                | "ConfigChangeClusterSyncRequest"
                | "DistroDataRequest"
                | "MemberReportRequest"
        )
    }

    /// Class name of the answer.
    pub(crate) const fn response(self) -> &'static str {
        match self {
            Self::HealthCheck => "HealthCheckResponse",
            Self::ConfigQuery => "ConfigQueryResponse",
            Self::ConfigPublish => "ConfigPublishResponse",
            Self::ConfigRemove => "ConfigRemoveResponse",
            Self::ConfigBatchListen => "ConfigChangeBatchListenResponse",
            Self::Instance | Self::PersistentInstance => "InstanceResponse",
            Self::BatchInstance => "BatchInstanceResponse",
            Self::ServiceQuery => "QueryServiceResponse",
            Self::ServiceList => "ServiceListResponse",
            Self::SubscribeService => "SubscribeServiceResponse",
            Self::LockOperation => "LockOperationResponse",
            Self::ConfigFuzzyWatch => "ConfigFuzzyWatchResponse",
            Self::NamingFuzzyWatch => "NamingFuzzyWatchResponse",
        }
    }
}

/// A request whose other fields do not matter.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OnlyRequestId {
    pub(crate) request_id: Option<String>,
}

/// The number of a request whose other fields do not matter; an unreadable request has none, and
/// neither has one that is too long to be read for nothing else.
pub(crate) fn request_id(payload: &Payload) -> Option<String> {
    if payload.json().len() > limits::INLINE_BYTES_MAX {
        return None;
    }
    object::<OnlyRequestId>(payload.json()).unwrap_or_default().request_id
}
