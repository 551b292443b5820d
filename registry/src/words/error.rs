//! Why a request is refused.

use crate::words::spec::SpecError;

/// Why a request is refused. Nothing changed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize,
)]
pub enum RegistryError {
    /// There is no such service.
    #[error("service not found")]
    ServiceUnknown,
    /// There is such a service already.
    #[error("specified service already exists!")]
    ServiceExists,
    /// The service still has instances.
    #[error("service is not empty, can't be deleted. Please unregister instances first")]
    ServiceNotEmpty,
    /// There is no such instance.
    #[error("instance not found")]
    InstanceUnknown,
    /// The service has instances of the other kind.
    #[error("current service is {}, can't register {} instance.", kind(*.persistent), kind(!*.persistent))]
    MixedKinds {
        /// Whether the service is a persistent one.
        persistent: bool,
    },
    /// The service has as many instances as it may.
    #[error("too many instances in one service")]
    TooManyInstances,
    /// The node has as many instances as it may hold.
    #[error("the node holds as many instances as it may")]
    NodeFull,
    /// The node has as many services as it may hold.
    #[error("the node holds as many services as it may")]
    TooManyServices,
    /// The connection publishes instances of as many services as it may.
    #[error("the connection publishes instances of as many services as it may")]
    ClientFull,
    /// The service has as many clusters as it may.
    #[error("too many clusters in one service")]
    TooManyClusters,
    /// The instance is not a valid one.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The threshold is no finite number.
    #[error("protectThreshold must be a number")]
    Threshold,
    /// A selector or health checker has a text that is too long.
    #[error("selector or health checker is too long")]
    TooLong,
    /// Health can be set only where nobody checks it.
    #[error("health check is still working")]
    HealthChecked,
    /// No switch has this name, or it has no meaning here.
    #[error("switch is not supported")]
    SwitchUnknown,
    /// The value does not fit the switch.
    #[error("switch value is illegal")]
    SwitchValue,
    /// An operator closed the node for writes (`overriddenServerStatus`).
    #[error("server is closed for writes, please try again later!")]
    Closed,
    /// The path or the headers of a health checker are no part of a request.
    #[error("path or headers of the health checker are illegal")]
    CheckerRequest,
    /// There is no such probe here.
    #[error("health checker MYSQL is not supported")]
    CheckerUnsupported,
}

fn kind(persistent: bool) -> &'static str {
    if persistent { "persistent" } else { "ephemeral" }
}
