//! Services by name and by slot, and how many of everything there are. A slot is a small number for
//! timers; names are looked up as `&str`, without making a key, because every beat and every list
//! does.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use nacolet_model::{Group, Instant, Namespace, ServiceKey, ServiceName};

use crate::state::instance::Instance;
use crate::state::service::{PutOutcome, Service};
use crate::words::names::ClientId;
use crate::words::spec::InstanceSpec;

/// Place of a service in the catalog until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServiceSlot(u32);

impl ServiceSlot {
    fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

type SlotsByName = BTreeMap<ServiceName, ServiceSlot>;

/// All services of the node.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    index: BTreeMap<Namespace, BTreeMap<Group, SlotsByName>>,
    services: Vec<Option<Box<Service>>>,
    free: Vec<ServiceSlot>,
    service_count: usize,
    ephemeral_count: usize,
    persistent_count: usize,
}

impl Catalog {
    /// The place of a service, without an allocation.
    pub(crate) fn slot(&self, namespace: &str, group: &str, name: &str) -> Option<ServiceSlot> {
        self.index.get(namespace)?.get(group)?.get(name).copied()
    }

    pub(crate) fn slot_of(&self, key: &ServiceKey) -> Option<ServiceSlot> {
        self.slot(key.namespace.as_str(), key.group.as_str(), key.name.as_str())
    }

    pub(crate) fn get(&self, slot: ServiceSlot) -> Option<&Service> {
        self.services.get(slot.index())?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, slot: ServiceSlot) -> Option<&mut Service> {
        self.services.get_mut(slot.index())?.as_deref_mut()
    }

    pub(crate) fn find(&self, namespace: &str, group: &str, name: &str) -> Option<&Service> {
        self.get(self.slot(namespace, group, name)?)
    }

    pub(crate) fn of(&self, key: &ServiceKey) -> Option<&Service> {
        self.get(self.slot_of(key)?)
    }

    /// The place of `key`, which is new if it was not there.
    pub(crate) fn slot_or_insert(&mut self, key: &ServiceKey) -> (ServiceSlot, bool) {
        if let Some(slot) = self.slot_of(key) {
            return (slot, false);
        }
        let service = Some(Box::new(Service::new(key.clone())));
        let slot = match self.free.pop() {
            Some(slot) => {
                assert!(self.services[slot.index()].is_none(), "a free slot is empty");
                self.services[slot.index()] = service;
                slot
            }
            None => {
                let index = u32::try_from(self.services.len()).unwrap_or(u32::MAX);
                self.services.push(service);
                ServiceSlot(index)
            }
        };
        let groups = self.index.entry(key.namespace.clone()).or_default();
        groups.entry(key.group.clone()).or_default().insert(key.name.clone(), slot);
        self.service_count += 1;
        debug_assert_eq!(self.slot_of(key), Some(slot), "what is inserted is found");
        (slot, true)
    }

    /// Takes an empty service out.
    pub(crate) fn remove(&mut self, slot: ServiceSlot) -> Option<Box<Service>> {
        let service = self.services.get_mut(slot.index())?.take()?;
        assert!(service.publications().is_empty(), "only empty services are removed");
        self.free.push(slot);
        self.service_count -= 1;
        let key = service.key();
        if let Some(groups) = self.index.get_mut(&key.namespace) {
            if let Some(names) = groups.get_mut(&key.group) {
                let named = names.remove(&key.name);
                assert_eq!(named, Some(slot), "the index leads to the service that goes");
                if names.is_empty() {
                    groups.remove(&key.group);
                }
            }
            if groups.is_empty() {
                self.index.remove(&key.namespace);
            }
        }
        Some(service)
    }

    /// Adds or overwrites what `owner` published; also says where it is. An instance is of one
    /// kind, so the one that Raft agreed on takes the place of all that connections published.
    pub(crate) fn put_instance(
        &mut self,
        slot: ServiceSlot,
        spec: InstanceSpec,
        owner: Option<ClientId>,
        now: Instant,
    ) -> (PutOutcome, usize) {
        let ephemeral = spec.ephemeral;
        debug_assert!(self.get(slot).is_some(), "instances are put into a service");
        if !ephemeral {
            let key = spec.key();
            self.retain_instances(slot, |one| one.owner().is_none() || one.key() != key);
        }
        let Some(service) = self.get_mut(slot) else { return (PutOutcome::Same, 0) };
        let (put, at) = service.put(spec, owner, now);
        match put {
            PutOutcome::Added => *self.count_of(ephemeral) += 1,
            PutOutcome::Changed { other_kind: true } => {
                *self.count_of(ephemeral) += 1;
                *self.count_of(!ephemeral) -= 1;
            }
            PutOutcome::Changed { other_kind: false } | PutOutcome::Same => {}
        }
        (put, at)
    }

    pub(crate) fn remove_instance(&mut self, slot: ServiceSlot, at: usize) -> Option<Instance> {
        let instance = self.get_mut(slot)?.remove(at);
        let count = self.count_of(instance.ephemeral());
        assert!(*count > 0, "an instance that goes was counted");
        *count -= 1;
        Some(instance)
    }

    /// Keeps the instances of a service that `keep` keeps; returns how many went.
    pub(crate) fn retain_instances(
        &mut self,
        slot: ServiceSlot,
        keep: impl FnMut(&mut Instance) -> bool,
    ) -> usize {
        let Some(service) = self.get_mut(slot) else { return 0 };
        let (ephemeral, persistent) = service.retain(keep);
        assert!(ephemeral <= self.ephemeral_count, "ephemeral instances that go were counted");
        assert!(persistent <= self.persistent_count, "persistent instances that go were counted");
        self.ephemeral_count -= ephemeral;
        self.persistent_count -= persistent;
        ephemeral + persistent
    }

    fn count_of(&mut self, ephemeral: bool) -> &mut usize {
        if ephemeral { &mut self.ephemeral_count } else { &mut self.persistent_count }
    }

    /// Number of services.
    pub(crate) fn service_count(&self) -> usize {
        self.service_count
    }

    /// Number of ephemeral instances.
    pub(crate) fn ephemeral_count(&self) -> usize {
        self.ephemeral_count
    }

    /// Number of persistent instances.
    pub(crate) fn persistent_count(&self) -> usize {
        self.persistent_count
    }

    /// Number of instances.
    pub(crate) fn instance_count(&self) -> usize {
        self.ephemeral_count + self.persistent_count
    }

    /// All places in use.
    pub(crate) fn slots(&self) -> impl Iterator<Item = ServiceSlot> + use<> {
        let used: Vec<ServiceSlot> = self
            .index
            .values()
            .flat_map(|groups| groups.values())
            .flat_map(SlotsByName::values)
            .copied()
            .collect();
        used.into_iter()
    }

    /// All services in the order of namespace, group and name.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        let groups = self.index.values().flat_map(BTreeMap::values);
        groups.flat_map(SlotsByName::values).filter_map(|slot| self.get(*slot))
    }

    /// The services after `key`, or all, in the order of namespace, group and name.
    pub(crate) fn services_after<'a>(
        &'a self,
        key: Option<&'a ServiceKey>,
    ) -> impl Iterator<Item = &'a Service> + use<'a> {
        let from = |at: Option<&'a ServiceKey>| {
            at.map_or(Bound::Unbounded, |key| Bound::Included(&key.namespace))
        };
        let namespaces = self.index.range::<Namespace, _>((from(key), Bound::Unbounded));
        namespaces
            .flat_map(|(_, groups)| groups.values())
            .flat_map(SlotsByName::values)
            .filter_map(|slot| self.get(*slot))
            .filter(move |service| key.is_none_or(|key| service.key() > key))
    }

    /// The services of one namespace, and of one group where given, in the order of group and name.
    pub(crate) fn services_of<'a>(
        &'a self,
        namespace: &str,
        group: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Service> + use<'a> {
        let groups = self.index.get(namespace).into_iter().flatten();
        let groups =
            groups.filter(move |(name, _)| group.is_none_or(|group| name.as_str() == group));
        groups.flat_map(|(_, names)| names.values()).filter_map(|slot| self.get(*slot))
    }

    /// Asserts what everything else relies on.
    ///
    /// # Panics
    /// When index, slots and counts disagree.
    pub(crate) fn invariants(&self) {
        let (mut services, mut ephemeral, mut persistent) = (0, 0, 0);
        for service in self.services() {
            service.invariants();
            services += 1;
            ephemeral += service.ephemeral_count();
            persistent += service.persistent_count();
        }
        assert_eq!(services, self.service_count, "services are counted");
        assert_eq!(ephemeral, self.ephemeral_count, "ephemeral instances are counted");
        assert_eq!(persistent, self.persistent_count, "persistent instances are counted");
        assert_eq!(services + self.free.len(), self.services.len(), "every slot is used or free");
    }
}
