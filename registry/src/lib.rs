//! The service registry as a pure core: services, instances, beats, health, subscribers, and the part
//! of it that goes through the Raft log. No clock, socket, lock or thread: time is an argument, and
//! what has to happen outside is a value in `out`.
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

mod catalog;
mod client;
mod distro;
mod door;
mod health;
mod instance;
mod meta;
mod persistent;
pub mod probe;
mod proposal;
mod query;
mod reftime;
mod request;
mod service;
mod snapshot;
mod spec;
mod step;
mod subscribe;
mod switches;
mod timer;

pub use client::ClientId;
pub use distro::message::{Life, Message};
pub use distro::{DistroCounts, DistroView, Owner, PeerView, message};
pub use instance::Instance;
pub use meta::{ClusterMeta, HealthChecker, Override, Selector, ServiceMeta};
pub use persistent::{Command, MetadataChange, PutCluster, PutOverrides, PutService, Register};
pub use query::{BeatFrom, Counts, Host, ListQuery, ServiceQuery, ServiceView};
pub use request::{
    BeatAnswer, Consistency, MetadataOp, RegistryError, Reply, Request, UpdatedInstance,
};
pub use service::Service;
pub use snapshot::{Capture, LoadError, Loader, Replicated};
pub use spec::{
    HEART_BEAT_INTERVAL, HEART_BEAT_TIMEOUT, IP_DELETE_TIMEOUT, InstanceKey, InstanceSpec,
    Metadata, SpecError, Timers,
};
pub use step::{Input, Output, Registry, RegistrySettings};
pub use subscribe::{Subscriber, SubscriberView};
pub use switches::{ServerStatus, Switch, Switches};
