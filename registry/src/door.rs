//! Requests at the door: everything that can be wrong with a request is found here, before the Raft
//! log. Ephemeral instances are changed at once; all else becomes a command.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::Ordering;

use nacolet_model::{ClusterName, Instant, RequestId, ServiceKey, limits};

use crate::catalog::Slot;
use crate::client::ClientId;
use crate::distro::message::Cause;
use crate::instance::Instance;
use crate::meta::{ClusterMeta, HealthChecker, Override, ServiceMeta};
use crate::persistent::{Command, MetadataChange, PutCluster, PutOverrides, PutService, Register};
use crate::request::{Consistency, MetadataOp, RegistryError, Reply, Request};
use crate::service::{Put, Service};
use crate::spec::check_weight;
use crate::spec::{InstanceKey, InstanceSpec, Metadata, Timers};
use crate::step::{Output, Registry};
use crate::switches::Switch;

/// What becomes of a request that nothing is wrong with.
enum Answer {
    /// It is done.
    Now(Reply),
    /// It goes through the Raft log.
    Propose(Command),
}

type Answered = Result<Answer, RegistryError>;

const DONE: Answer = Answer::Now(Reply::Done);

/// Names one instance the way callers do.
struct Address {
    ip: Box<str>,
    port: u16,
    cluster: Option<ClusterName>,
}

impl Address {
    fn find<'a>(&self, service: &'a Service) -> Option<&'a Instance> {
        service.find(&self.ip, self.port, self.cluster.as_ref().map(ClusterName::as_str))
    }

    /// An instance there, of the default cluster where none is named.
    fn spec(&self) -> InstanceSpec {
        let mut spec = InstanceSpec::new(&self.ip, self.port);
        if let Some(cluster) = &self.cluster {
            spec.cluster = cluster.clone();
        }
        spec
    }
}

impl Registry {
    pub(crate) fn request(
        &mut self,
        now: Instant,
        request: RequestId,
        body: Request,
        out: &mut Vec<Output>,
    ) {
        out.push(match self.answer(now, body) {
            Ok(Answer::Now(reply)) => Output::Reply { request, result: Ok(reply) },
            Ok(Answer::Propose(command)) => Output::Propose { request: Some(request), command },
            Err(error) => Output::Reply { request, result: Err(error) },
        });
    }

    fn answer(&mut self, now: Instant, body: Request) -> Answered {
        if !self.switches.serves_writes() && !matches!(body, Request::SetSwitch { .. }) {
            return Err(RegistryError::Closed);
        }
        match body {
            Request::Register { service, instance } => self.register(now, service, instance),
            Request::Publish { client, service, instances } => {
                self.publish(now, client, service, instances).map(|()| DONE)
            }
            Request::Deregister { service, ip, port, cluster, ephemeral } => {
                self.deregister(now, service, &Address { ip, port, cluster }, ephemeral)
            }
            Request::Update { service, instance } => self.update(service, &instance),
            Request::Patch { service, ip, port, cluster, weight, healthy, enabled, metadata } => {
                let address = Address { ip, port, cluster };
                let metadata = metadata.map_or(MetadataChange::Keep, MetadataChange::Replace);
                let put =
                    PutOverrides { service, instances: vec![], weight, enabled, healthy, metadata };
                self.patch(now, &address, put)
            }
            Request::Beat { service, ip, port, cluster, full } => {
                self.beat_request(now, service, &Address { ip, port, cluster }, full)
            }
            Request::CreateService {
                service,
                protect_threshold,
                metadata,
                selector,
                ephemeral,
            } => {
                let meta = ServiceMeta { protect_threshold, metadata, selector, ephemeral };
                self.create_service(service, meta)
            }
            Request::UpdateService {
                service,
                protect_threshold,
                metadata,
                selector,
                ephemeral,
            } => {
                let meta = ServiceMeta { protect_threshold, metadata, selector, ephemeral };
                self.update_service(service, meta)
            }
            Request::RemoveService { service } => self.remove_service(service),
            Request::MetadataBatch { service, consistency, instances, metadata, op } => {
                self.metadata_batch(service, consistency, instances, metadata, op)
            }
            Request::PutCluster {
                service,
                cluster,
                health_checker,
                check_port,
                use_instance_port,
                metadata,
            } => {
                let meta = ClusterMeta { health_checker, check_port, use_instance_port, metadata };
                self.put_cluster(service, cluster, meta)
            }
            Request::SetHealth { service, ip, port, cluster, healthy } => {
                self.set_health(service, &Address { ip, port, cluster }, healthy)
            }
            Request::SetSwitch { entry, value } => Switch::parse(&entry, &value)
                .map(|switch| Answer::Propose(Command::SetSwitch(switch))),
        }
    }

    fn register(&mut self, now: Instant, key: ServiceKey, spec: InstanceSpec) -> Answered {
        spec.check()?;
        self.check_room(&key, &spec)?;
        if !spec.ephemeral {
            let register = Register { service: key, instance: spec };
            return Ok(Answer::Propose(Command::Register(Box::new(register))));
        }
        self.register_ephemeral(now, &key, spec, None);
        Ok(DONE)
    }

    /// Whether there is room for so many bytes of text. Replaced texts are not set off against new
    /// ones: at the brim, removing comes first.
    pub(crate) fn check_bytes(&self, bytes: usize) -> Result<(), RegistryError> {
        if self.text_bytes.saturating_add(bytes) > limits::REGISTRY_TEXT_BYTES_MAX {
            return Err(RegistryError::NodeFull);
        }
        Ok(())
    }

    /// Whether the service takes instances of this kind and there is room for one more.
    pub(crate) fn check_room(
        &self,
        key: &ServiceKey,
        spec: &InstanceSpec,
    ) -> Result<(), RegistryError> {
        self.check_bytes(spec.text_bytes())?;
        let service = self.catalog.of(key);
        if service.is_none() && self.catalog.service_count() >= limits::SERVICES_MAX {
            return Err(RegistryError::TooManyServices);
        }
        let at = service.map(|service| {
            service.position(&spec.ip, spec.port, spec.cluster.as_str()).map(|at| (service, at))
        });
        let kind = match at {
            // After a race both kinds can be there, and neither may overwrite the other.
            Some(Ok((service, at))) => service.instances().get(at).map(Instance::ephemeral),
            Some(Err(_)) | None => service.and_then(Service::ephemeral),
        };
        if kind.is_some_and(|ephemeral| ephemeral != spec.ephemeral) {
            return Err(RegistryError::MixedKinds { persistent: spec.ephemeral });
        }
        if matches!(at, Some(Ok(_))) {
            return Ok(());
        }
        let count = service.map_or(0, |service| service.instances().len());
        if count >= limits::INSTANCES_PER_SERVICE_MAX {
            return Err(RegistryError::TooManyInstances);
        }
        if self.catalog.instance_count() >= limits::INSTANCES_MAX {
            return Err(RegistryError::NodeFull);
        }
        Ok(())
    }

    /// Adds or overwrites an instance that `owner` keeps alive, or beats where there is none.
    pub(crate) fn register_ephemeral(
        &mut self,
        now: Instant,
        key: &ServiceKey,
        spec: InstanceSpec,
        owner: Option<ClientId>,
    ) {
        let slot = self.slot_for(key);
        let (put, at) = self.catalog.put_instance(slot, spec, now);
        let service = self.catalog.get_mut(slot);
        let instance = service.and_then(|service| service.instances_mut().get_mut(at));
        let is_taken_over = instance.is_some_and(|instance| {
            instance.stamp_here(now);
            instance.set_owner(owner)
        });
        // Another member may know already that the one that is here has gone: this is a new one, even
        // where it looks the same.
        let counter = match put {
            Put::Same => self.ref_time.issue(now),
            Put::Added | Put::Changed { .. } => self.changed(now, slot),
        };
        self.registered(slot, at, counter);
        if put != Put::Same || is_taken_over {
            self.look_at(now, slot, at..at + 1);
        }
        if put == Put::Added {
            self.welcomed(now, slot);
        }
    }

    fn deregister(
        &mut self,
        now: Instant,
        key: ServiceKey,
        address: &Address,
        ephemeral: Option<bool>,
    ) -> Answered {
        let slot = self.catalog.slot_of(&key);
        let found = slot.and_then(|slot| Some((slot, address.find(self.catalog.get(slot)?)?)));
        let Some((slot, instance)) = found else {
            if ephemeral != Some(false) {
                self.gone_elsewhere(now, key, address.spec());
            }
            return Ok(DONE);
        };
        if ephemeral.is_some_and(|wanted| wanted != instance.ephemeral()) {
            return Ok(DONE);
        }
        let instance_key = instance.key();
        if !instance.ephemeral() {
            let command = Command::Deregister { service: key, instance: instance_key };
            return Ok(Answer::Propose(command));
        }
        self.take_out(now, slot, &instance_key);
        Ok(DONE)
    }

    /// Removes one instance, whatever its kind.
    pub(crate) fn take_out(&mut self, now: Instant, slot: Slot, key: &InstanceKey) {
        let Some(service) = self.catalog.get(slot) else { return };
        let Some(at) = service.place(key) else { return };
        let gone = self.catalog.remove_instance(slot, at);
        self.changed(now, slot);
        if let Some(gone) = gone.filter(Instance::ephemeral) {
            self.buried(now, slot, gone.key(), gone.born(), Cause::Deregistered);
        }
        self.thinned(now, slot);
    }

    /// A sign of life came to this node.
    pub(crate) fn heard_here(&mut self, now: Instant, slot: Slot, at: Range<usize>) {
        let Some(service) = self.catalog.get(slot) else { return };
        let instances = service.instances().get(at).unwrap_or_default();
        instances.iter().for_each(|instance| instance.hear(now));
        if !service.watched {
            self.beats_to_tell.store(true, Ordering::Relaxed);
        }
    }

    fn beat_request(
        &mut self,
        now: Instant,
        key: ServiceKey,
        address: &Address,
        full: Option<InstanceSpec>,
    ) -> Answered {
        let cluster = address.cluster.as_ref().map(ClusterName::as_str);
        if let Some(slot) = self.catalog.slot_of(&key)
            && let Some(service) = self.catalog.get_mut(slot)
        {
            let at = service.beating_at(&address.ip, address.port, cluster);
            let mut recovered = Vec::new();
            for instance in service.instances_mut().get_mut(at.clone()).unwrap_or_default() {
                if instance.ephemeral() && instance.set_healthy(true) {
                    recovered.push(instance.key());
                }
            }
            self.heard_here(now, slot, at.clone());
            if !recovered.is_empty() {
                let counter = self.changed(now, slot);
                recovered.iter().for_each(|key| self.altered(slot, key, counter));
                self.look_at(now, slot, at.clone());
            }
            let service = self.catalog.get(slot);
            if let Some(first) = service.and_then(|service| service.instances().get(at.start))
                && !at.is_empty()
            {
                return Ok(Answer::Now(Reply::Beat(self.beat_answer(first))));
            }
        }
        let Some(spec) = full else { return Ok(Answer::Now(Reply::Beat(self.unknown_beat()))) };
        let spec = InstanceSpec { ephemeral: true, healthy: true, ..spec };
        spec.check()?;
        self.check_room(&key, &spec)?;
        let timers = Timers::of(&spec.metadata)?;
        self.register_ephemeral(now, &key, spec, None);
        let mut answer = crate::BeatAnswer { known: true, ..self.unknown_beat() };
        answer.interval = timers.interval_override().unwrap_or(answer.interval);
        Ok(Answer::Now(Reply::Beat(answer)))
    }

    fn update(&self, key: ServiceKey, spec: &InstanceSpec) -> Answered {
        spec.check()?;
        let service = self.catalog.of(&key).ok_or(RegistryError::ServiceUnknown)?;
        let found = service.find(&spec.ip, spec.port, Some(spec.cluster.as_str()));
        let instance = found.ok_or(RegistryError::InstanceUnknown)?;
        let put = PutOverrides {
            instances: vec![(instance.key(), instance.ephemeral())],
            service: key,
            weight: Some(spec.weight),
            enabled: Some(spec.enabled),
            healthy: None,
            metadata: MetadataChange::Replace(spec.metadata.clone()),
        };
        check_override(service, instance, &put)?;
        self.check_bytes(put.text_bytes())?;
        Ok(Answer::Propose(Command::Override(Box::new(put))))
    }

    fn patch(&mut self, now: Instant, address: &Address, mut put: PutOverrides) -> Answered {
        if let Some(weight) = put.weight {
            check_weight(weight)?;
        }
        let slot = self.catalog.slot_of(&put.service).ok_or(RegistryError::ServiceUnknown)?;
        let service = self.catalog.get(slot).ok_or(RegistryError::ServiceUnknown)?;
        let instance = address.find(service).ok_or(RegistryError::InstanceUnknown)?;
        check_override(service, instance, &put)?;
        self.check_bytes(put.text_bytes())?;
        put.instances = vec![(instance.key(), instance.ephemeral())];
        if instance.ephemeral()
            && let Some(healthy) = put.healthy.take()
        {
            self.set_ephemeral_health(now, slot, &put.instances[0].0, healthy);
        }
        if put.is_empty() {
            return Ok(DONE);
        }
        Ok(Answer::Propose(Command::Override(Box::new(put))))
    }

    fn set_ephemeral_health(&mut self, now: Instant, slot: Slot, key: &InstanceKey, healthy: bool) {
        let Some(service) = self.catalog.get_mut(slot) else { return };
        let Some(at) = service.place(key) else { return };
        if service.instances_mut()[at].set_healthy(healthy) {
            let counter = self.changed(now, slot);
            self.altered(slot, key, counter);
        }
    }

    fn create_service(&self, service: ServiceKey, meta: ServiceMeta) -> Answered {
        meta.check()?;
        if self.catalog.of(&service).is_some() {
            return Err(RegistryError::ServiceExists);
        }
        if self.catalog.service_count() >= limits::SERVICES_MAX {
            return Err(RegistryError::TooManyServices);
        }
        self.check_bytes(meta.text_bytes())?;
        Ok(Answer::Propose(Command::CreateService(Box::new(PutService { service, meta }))))
    }

    fn update_service(&self, service: ServiceKey, mut meta: ServiceMeta) -> Answered {
        meta.check()?;
        let known = self.catalog.of(&service).ok_or(RegistryError::ServiceUnknown)?;
        let seen = known.instances().first().map(Instance::ephemeral);
        match (meta.ephemeral, seen) {
            (Some(wanted), Some(seen)) if wanted != seen => {
                return Err(RegistryError::MixedKinds { persistent: wanted });
            }
            (None, _) => meta.ephemeral = known.meta().and_then(|meta| meta.ephemeral),
            (Some(_), _) => {}
        }
        self.check_bytes(meta.text_bytes())?;
        Ok(Answer::Propose(Command::UpdateService(Box::new(PutService { service, meta }))))
    }

    fn remove_service(&mut self, key: ServiceKey) -> Answered {
        let slot = self.catalog.slot_of(&key).ok_or(RegistryError::ServiceUnknown)?;
        let service = self.catalog.get(slot).ok_or(RegistryError::ServiceUnknown)?;
        if !service.instances().is_empty() {
            return Err(RegistryError::ServiceNotEmpty);
        }
        // Where others list it too they have to hear of it.
        if service.is_forgettable() && self.is_alone() {
            self.forget_service(slot);
            return Ok(DONE);
        }
        Ok(Answer::Propose(Command::RemoveService { service: key }))
    }

    fn metadata_batch(
        &self,
        key: ServiceKey,
        consistency: Consistency,
        instances: Vec<InstanceKey>,
        metadata: Metadata,
        op: MetadataOp,
    ) -> Answered {
        let mut put = PutOverrides {
            service: key,
            instances: vec![],
            weight: None,
            enabled: None,
            healthy: None,
            metadata: match op {
                MetadataOp::Put => MetadataChange::Put(metadata),
                MetadataOp::Delete => {
                    MetadataChange::Delete(metadata.iter().map(|(key, _)| key.into()).collect())
                }
            },
        };
        let Some(service) = self.catalog.of(&put.service) else {
            return Ok(Answer::Now(Reply::Updated(vec![])));
        };
        let is_meant = |instance: &Instance| match consistency {
            Consistency::Ephemeral => instance.ephemeral(),
            Consistency::Persistent => !instance.ephemeral(),
            Consistency::Both => true,
        };
        let all = instances.is_empty();
        let meant: Vec<&Instance> = if all {
            service.instances().iter().filter(|instance| is_meant(instance)).collect()
        } else {
            let mut named: Vec<&Instance> = instances
                .iter()
                .filter_map(|key| service.find(&key.ip, key.port, Some(key.cluster.as_str())))
                .filter(|instance| is_meant(instance))
                .collect();
            named.dedup_by_key(|instance| instance.key());
            named
        };
        for instance in meant {
            check_override(service, instance, &put)?;
            put.instances.push((instance.key(), instance.ephemeral()));
        }
        self.check_bytes(put.text_bytes() * put.instances.len())?;
        if put.instances.is_empty() {
            return Ok(Answer::Now(Reply::Updated(vec![])));
        }
        Ok(Answer::Propose(Command::Override(Box::new(put))))
    }

    fn put_cluster(
        &self,
        service: ServiceKey,
        cluster: ClusterName,
        meta: ClusterMeta,
    ) -> Answered {
        meta.health_checker.check()?;
        let known = self.catalog.of(&service).ok_or(RegistryError::ServiceUnknown)?;
        let full = known
            .durable()
            .is_some_and(|durable| durable.clusters().len() >= limits::CLUSTERS_PER_SERVICE_MAX);
        if full && known.cluster_meta(cluster.as_str()).is_none() {
            return Err(RegistryError::TooManyClusters);
        }
        self.check_bytes(meta.text_bytes())?;
        Ok(Answer::Propose(Command::PutCluster(Box::new(PutCluster { service, cluster, meta }))))
    }

    fn set_health(&self, key: ServiceKey, address: &Address, healthy: bool) -> Answered {
        let service = self.catalog.of(&key).ok_or(RegistryError::ServiceUnknown)?;
        let instance = address.find(service).ok_or(RegistryError::InstanceUnknown)?;
        let checker = service.cluster_meta(instance.cluster()).map(|meta| &meta.health_checker);
        if instance.ephemeral() || checker != Some(&HealthChecker::None) {
            return Err(RegistryError::HealthChecked);
        }
        let instance = instance.key();
        Ok(Answer::Propose(Command::SetHealth { service: key, instance, healthy }))
    }
}

/// Whether `instance` would still be inside its limits under the override that `put` leads to.
fn check_override(
    service: &Service,
    instance: &Instance,
    put: &PutOverrides,
) -> Result<(), RegistryError> {
    let overrides = service.durable().map(|durable| durable.overrides());
    let key = instance.key();
    let old = overrides.and_then(|overrides| overrides.get(&key));
    if old.is_none()
        && overrides.map_or(0, |overrides| overrides.len()) >= limits::INSTANCES_PER_SERVICE_MAX
    {
        return Err(RegistryError::TooManyInstances);
    }
    let mut laid: Override = old.cloned().unwrap_or_default();
    laid.change(put)?;
    let shown = laid.over(instance).declared;
    Metadata::new(shown.metadata.iter())?;
    Timers::of(&shown.metadata)?;
    Ok(())
}

impl PutOverrides {
    /// Bytes that an override of one instance and what is shown of it may grow by.
    pub(crate) fn text_bytes(&self) -> usize {
        2 * match &self.metadata {
            MetadataChange::Keep => 0,
            MetadataChange::Replace(metadata) | MetadataChange::Put(metadata) => {
                metadata.text_bytes()
            }
            MetadataChange::Delete(keys) => keys.iter().map(|key| key.len()).sum(),
        }
    }

    /// Whether nothing is left to override.
    fn is_empty(&self) -> bool {
        self.weight.is_none()
            && self.enabled.is_none()
            && self.healthy.is_none()
            && self.metadata == MetadataChange::Keep
    }
}
