//! The registry as one value. What may happen to it stands in `step`, what any of that may do to it
//! in `change`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::sync::atomic::AtomicBool;

use nacolet_model::{Instant, Prng, ServiceKey};

use crate::state::catalog::{Catalog, ServiceSlot};
use crate::state::clients::Clients;
use crate::state::distro::Distro;
use crate::state::ref_time::RefTimeIssuer;
use crate::state::subscribers::UdpSubscribers;
use crate::state::timetable::Timetable;
use crate::words::io::RegistrySettings;
use crate::words::spec::InstanceKey;
use crate::words::switches::Switches;

/// All services and instances of a node.
#[derive(Debug)]
pub struct Registry {
    pub(crate) catalog: Catalog,
    pub(crate) switches: Switches,
    pub(crate) subscribers: UdpSubscribers,
    pub(crate) clients: Clients,
    pub(crate) distro: Distro,
    /// A beat came that another member has to be told of.
    pub(crate) beats_to_tell: AtomicBool,
    /// Services whose list changed since somebody last asked.
    pub(super) dirty: BTreeSet<ServiceSlot>,
    /// Services that went since then.
    pub(super) forgotten: Vec<ServiceKey>,
    pub(crate) ref_time: RefTimeIssuer,
    pub(crate) timetable: Timetable,
    /// Overrides whose instance is gone, and when they may be forgotten.
    pub(crate) orphans: BTreeMap<ServiceSlot, BTreeMap<InstanceKey, Instant>>,
    /// The deadline of `subscribers` that stands in the timetable.
    pub(crate) subscribers_armed: Option<Instant>,
    /// When the process last noticed that it had been stopped.
    pub(crate) resumed: Option<Instant>,
    pub(crate) revision: u64,
    /// Sum of the texts of all services.
    pub(crate) text_bytes: usize,
    /// Bytes that instances may take where a member has little memory.
    pub(crate) room: usize,
    pub(crate) hash: u64,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new(settings: RegistrySettings) -> Self {
        // Small enough for clients that read the reference as a floating-point number.
        let reference = Prng::new(settings.seed).below(1 << 48);
        Self {
            catalog: Catalog::default(),
            switches: Switches::default(),
            subscribers: UdpSubscribers::new(reference),
            clients: Clients::default(),
            distro: Distro::new(settings.node, settings.life, settings.clustered),
            beats_to_tell: AtomicBool::new(false),
            dirty: BTreeSet::new(),
            forgotten: Vec::new(),
            ref_time: RefTimeIssuer::new(settings.ref_time_floor),
            timetable: Timetable::default(),
            orphans: BTreeMap::new(),
            subscribers_armed: None,
            resumed: None,
            revision: 0,
            text_bytes: 0,
            room: usize::MAX,
            hash: 0,
        }
    }
}
