//! What callers ask of the registry and what they get; why they do not get it is in `error`. Paths,
//! JSON and status codes are the business of `api`.

use alloc::boxed::Box;
use alloc::vec::Vec;

use nacolet_model::{ClusterName, Duration, ServiceKey};

use crate::words::meta::{HealthChecker, Selector};
use crate::words::names::ClientId;
use crate::words::spec::{InstanceKey, InstanceSpec, Metadata};

/// A write that a caller asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Adds an instance or overwrites the one with the same address, port and cluster.
    Register {
        /// The service; it comes into being with its first instance.
        service: ServiceKey,
        /// The instance.
        instance: InstanceSpec,
    },
    /// Puts a set of ephemeral instances in place of what a connection published of this service
    /// before (Nacos gRPC). An empty set takes all of it back.
    Publish {
        /// Who publishes, and keeps them alive.
        client: ClientId,
        /// The service.
        service: ServiceKey,
        /// The whole set.
        instances: Vec<InstanceSpec>,
    },
    /// Removes an instance. An unknown one is a success, as in Nacos.
    Deregister {
        /// The service.
        service: ServiceKey,
        /// Address.
        ip: Box<str>,
        /// Port.
        port: u16,
        /// Cluster; without it the default one, else whatever cluster has the address.
        cluster: Option<ClusterName>,
        /// Only an instance of this kind, where given.
        ephemeral: Option<bool>,
    },
    /// Overrides weight, enabled and metadata of an instance (Nacos PUT).
    Update {
        /// The service.
        service: ServiceKey,
        /// The values; `healthy` and `ephemeral` take no part.
        instance: InstanceSpec,
    },
    /// Overrides what is given (Nacos PATCH).
    Patch {
        /// The service.
        service: ServiceKey,
        /// Address.
        ip: Box<str>,
        /// Port.
        port: u16,
        /// Cluster; see [`Request::Deregister`].
        cluster: Option<ClusterName>,
        /// New weight.
        weight: Option<f64>,
        /// New health; of an ephemeral instance until its next beat.
        healthy: Option<bool>,
        /// New visibility.
        enabled: Option<bool>,
        /// Metadata in place of earlier overrides.
        metadata: Option<Metadata>,
    },
    /// A sign of life that the read-only [`crate::Registry::beat`] could not take.
    Beat {
        /// The service.
        service: ServiceKey,
        /// Address.
        ip: Box<str>,
        /// Port.
        port: u16,
        /// Cluster, if the client says one.
        cluster: Option<ClusterName>,
        /// The whole instance, from which an unknown one is made; absent in a light beat.
        full: Option<InstanceSpec>,
    },
    /// Creates a service by hand.
    CreateService {
        /// The service.
        service: ServiceKey,
        /// Share of healthy instances at which protection begins, `0.0..=1.0`.
        protect_threshold: f64,
        /// Metadata of the service.
        metadata: Metadata,
        /// Selector, stored only.
        selector: Selector,
        /// Kind of its instances; open when absent.
        ephemeral: Option<bool>,
    },
    /// Replaces what [`Request::CreateService`] set; also of a service that instances made.
    UpdateService {
        /// The service.
        service: ServiceKey,
        /// See [`Request::CreateService`].
        protect_threshold: f64,
        /// See [`Request::CreateService`].
        metadata: Metadata,
        /// See [`Request::CreateService`].
        selector: Selector,
        /// Kind of its instances; unchanged when absent.
        ephemeral: Option<bool>,
    },
    /// Removes a service without instances.
    RemoveService {
        /// The service.
        service: ServiceKey,
    },
    /// Puts or deletes metadata entries of several instances.
    MetadataBatch {
        /// The service.
        service: ServiceKey,
        /// Which kind of instances is meant.
        consistency: Consistency,
        /// Which instances; empty means all of that kind.
        instances: Vec<InstanceKey>,
        /// Entries to put, or whose keys to delete.
        metadata: Metadata,
        /// Put or delete.
        op: MetadataOp,
    },
    /// Sets health checker and metadata of a cluster inside a service.
    PutCluster {
        /// The service.
        service: ServiceKey,
        /// The cluster.
        cluster: ClusterName,
        /// How its persistent instances are to be probed.
        health_checker: HealthChecker,
        /// Port to probe.
        check_port: u16,
        /// Whether to probe the instance's own port.
        use_instance_port: bool,
        /// Metadata of the cluster.
        metadata: Metadata,
    },
    /// Sets the health of a persistent instance whose cluster has the checker `NONE`.
    SetHealth {
        /// The service.
        service: ServiceKey,
        /// Address.
        ip: Box<str>,
        /// Port.
        port: u16,
        /// Cluster; see [`Request::Deregister`].
        cluster: Option<ClusterName>,
        /// The new health.
        healthy: bool,
    },
    /// Turns a switch of Nacos.
    SetSwitch {
        /// Name as Nacos spells it.
        entry: Box<str>,
        /// Value as text.
        value: Box<str>,
    },
}

/// Which instances a metadata batch means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Ephemeral ones.
    Ephemeral,
    /// Persistent ones.
    Persistent,
    /// All.
    Both,
}

/// What a metadata batch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataOp {
    /// Adds or replaces entries.
    Put,
    /// Removes entries by key; the values do not matter.
    Delete,
}

/// One instance that a metadata batch changed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UpdatedInstance {
    /// The instance.
    pub key: InstanceKey,
    /// Its kind.
    pub ephemeral: bool,
}

/// What a caller gets.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// Answer to a beat.
    Beat(BeatAnswer),
    /// The instances that a metadata batch changed.
    Updated(Vec<UpdatedInstance>),
}

/// Answer to a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BeatAnswer {
    /// When the client should beat again.
    pub interval: Duration,
    /// False: the instance is unknown and the beat was light; the client has to register (20404).
    pub known: bool,
    /// Whether the client may leave the instance out of its beats.
    pub light_beat_enabled: bool,
}
