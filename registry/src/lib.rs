//! The service registry as a pure core: services, instances, beats, health, subscribers, and the
//! part of it that goes through the Raft log. No clock, socket, lock or thread: time is an
//! argument, and what has to happen outside is a value in `out`.
//!
//! ```
//! use nacolet_model::{Group, Instant, Namespace, RequestId, ServiceKey, ServiceName, WallTime};
//! use nacolet_registry::{Input, InstanceSpec, ListQuery, Registry, RegistrySettings, Request};
//!
//! let mut registry = Registry::new(RegistrySettings::default());
//! let mut out = Vec::new();
//! let service = ServiceKey {
//!     namespace: Namespace::public(),
//!     group: Group::new("DEFAULT_GROUP")?,
//!     name: ServiceName::new("orders")?,
//! };
//! let body = Request::Register { service, instance: InstanceSpec::new("10.0.0.1", 8080) };
//! let input = Input::Request { request: RequestId(1), at: WallTime(0), body };
//! registry.step(Instant::from_millis(1), input, &mut out);
//!
//! let (namespace, group, name) = ("public", "DEFAULT_GROUP", "orders");
//! let query = ListQuery { namespace, group, name, clusters: "", healthy_only: true };
//! assert_eq!(registry.list(&query).hosts().count(), 1);
//! assert!(registry.next_deadline().is_some(), "it has to beat now");
//! # Ok::<(), nacolet_model::IdError>(())
//! ```
#![no_std]

extern crate alloc;

// From the top floor down: `step`, then `distro`, `probe`, `query` and `snapshot`, then `state`,
// then `words`. A folder uses those below it; `step` calls the four rules, which know nothing of
// each other.
mod distro;
pub mod probe;
mod query;
mod snapshot;
mod state;
mod step;
#[cfg(test)]
mod testing;
mod words;

pub use distro::{DistroView, Owner, PeerView};
pub use query::{BeatFrom, ListQuery, ListedInstance, RegistryCounts, ServiceQuery, ServiceView};
pub use snapshot::{Capture, LoadError, Loader, Replicated};
pub use state::distro::DistroCounts;
pub use state::durable::Override;
pub use state::instance::Instance;
pub use state::registry::Registry;
pub use state::service::Service;
pub use state::subscribers::SubscriberView;
pub use words::command::{Command, MetadataChange, PutCluster, PutOverrides, PutService, Register};
pub use words::error::RegistryError;
pub use words::io::{By, Input, Output, RegistrySettings, Subscriber};
pub use words::message::{self, Message};
pub use words::meta::{ClusterMeta, HealthChecker, Selector, ServiceMeta};
pub use words::names::{ClientId, Life, PublicationKey};
pub use words::request::{BeatAnswer, Consistency, MetadataOp, Reply, Request, UpdatedInstance};
pub use words::spec::{
    HEART_BEAT_INTERVAL, HEART_BEAT_TIMEOUT, IP_DELETE_TIMEOUT, InstanceKey, InstanceSpec,
    Metadata, SpecError, Timers,
};
pub use words::switches::{ServerStatus, Switch, Switches};
