//! Requests at the door: everything that can be wrong with a request is found here, before the Raft
//! log. Ephemeral instances are changed at once; all else becomes a command.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use nacolet_model::{ClusterName, Instant, RequestId, ServiceKey, limits};

use crate::state::catalog::ServiceSlot;
use crate::state::durable::Override;
use crate::state::instance::Instance;
use crate::state::registry::Registry;
use crate::state::service::Service;
use crate::words::command::{
    Command, MetadataChange, PutCluster, PutOverrides, PutService, Register,
};
use crate::words::error::RegistryError;
use crate::words::io::Output;
use crate::words::meta::{ClusterMeta, HealthChecker, ServiceMeta};
use crate::words::request::{BeatAnswer, Consistency, MetadataOp, Reply, Request};
use crate::words::spec::{InstanceKey, InstanceSpec, Metadata, Timers, check_weight};
use crate::words::switches::Switch;

/// What becomes of a request that nothing is wrong with.
enum Accepted {
    /// It is done.
    Now(Reply),
    /// It goes through the Raft log.
    Propose(Command),
}

type Answered = Result<Accepted, RegistryError>;

const DONE: Accepted = Accepted::Now(Reply::Done);

/// Names one instance the way callers do.
struct InstanceAddress {
    ip: Box<str>,
    port: u16,
    cluster: Option<ClusterName>,
}

impl InstanceAddress {
    fn find<'a>(&self, service: &'a Service) -> Option<&'a Instance> {
        service.find(&self.ip, self.port, self.cluster.as_ref().map(ClusterName::as_str))
    }

    /// What the one who is there registered, if he is no connection: an HTTP client is its address.
    fn unowned<'a>(&self, service: &'a Service, ephemeral: Option<bool>) -> Option<&'a Instance> {
        let cluster = self.cluster.as_ref().map(ClusterName::as_str);
        let at = service.unowned_at(&self.ip, self.port, cluster, ephemeral)?;
        service.publications().get(at)
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
            Ok(Accepted::Now(reply)) => Output::Reply { request, result: Ok(reply) },
            Ok(Accepted::Propose(command)) => Output::Propose { request: Some(request), command },
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
                self.deregister(now, service, &InstanceAddress { ip, port, cluster }, ephemeral)
            }
            Request::Update { service, instance } => self.update(service, &instance),
            Request::Patch { service, ip, port, cluster, weight, healthy, enabled, metadata } => {
                let address = InstanceAddress { ip, port, cluster };
                let metadata = metadata.map_or(MetadataChange::Keep, MetadataChange::Replace);
                let put =
                    PutOverrides { service, instances: vec![], weight, enabled, healthy, metadata };
                self.patch(now, &address, put)
            }
            Request::Beat { service, ip, port, cluster, full } => {
                self.beat_request(now, service, &InstanceAddress { ip, port, cluster }, full)
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
                self.set_health(service, &InstanceAddress { ip, port, cluster }, healthy)
            }
            Request::SetSwitch { entry, value } => Switch::parse(&entry, &value)
                .map(|switch| Accepted::Propose(Command::SetSwitch(switch))),
        }
    }

    fn register(&mut self, now: Instant, key: ServiceKey, spec: InstanceSpec) -> Answered {
        spec.check()?;
        self.check_room(&key, &spec, None)?;
        if !spec.ephemeral {
            let register = Register { service: key, instance: spec };
            return Ok(Accepted::Propose(Command::Register(Box::new(register))));
        }
        self.register_ephemeral(now, &key, spec, None);
        Ok(DONE)
    }

    fn deregister(
        &mut self,
        now: Instant,
        key: ServiceKey,
        address: &InstanceAddress,
        ephemeral: Option<bool>,
    ) -> Answered {
        // What a connection published is not the caller's: it goes with the connection (Nacos).
        let slot = self.catalog.slot_of(&key);
        let found = slot
            .and_then(|slot| Some((slot, address.unowned(self.catalog.get(slot)?, ephemeral)?)));
        let Some((slot, instance)) = found else {
            if ephemeral != Some(false) {
                self.deregister_elsewhere(now, key, address.spec());
            }
            return Ok(DONE);
        };
        if !instance.ephemeral() {
            let command = Command::Deregister { service: key, instance: instance.key() };
            return Ok(Accepted::Propose(command));
        }
        let publication = instance.publication();
        self.take_out(now, slot, &publication);
        Ok(DONE)
    }

    fn beat_request(
        &mut self,
        now: Instant,
        key: ServiceKey,
        address: &InstanceAddress,
        full: Option<InstanceSpec>,
    ) -> Answered {
        let cluster = address.cluster.as_ref().map(ClusterName::as_str);
        if let Some(slot) = self.catalog.slot_of(&key)
            && let Some(service) = self.catalog.get_mut(slot)
            && let Some(at) = service.unowned_at(&address.ip, address.port, cluster, None)
            && let Some(instance) = service.publications_mut().get_mut(at)
        {
            let recovered = instance.ephemeral() && instance.set_healthy(true);
            let publication = instance.publication();
            // The beat is stamped before the look that follows a recovery, which reads the stamp.
            self.heard_here(now, slot, at..at + 1);
            if recovered {
                let counter = self.changed(now, slot);
                self.altered(slot, &publication, counter);
                self.look_at(now, slot, at..at + 1);
            }
            let service = self.catalog.get(slot);
            if let Some(instance) = service.and_then(|service| service.publications().get(at)) {
                return Ok(Accepted::Now(Reply::Beat(self.beat_answer(instance))));
            }
        }
        let Some(spec) = full else { return Ok(Accepted::Now(Reply::Beat(self.unknown_beat()))) };
        let spec = InstanceSpec { ephemeral: true, healthy: true, ..spec };
        spec.check()?;
        self.check_room(&key, &spec, None)?;
        let timers = Timers::of(&spec.metadata)?;
        self.register_ephemeral(now, &key, spec, None);
        let mut answer = BeatAnswer { known: true, ..self.unknown_beat() };
        answer.interval = timers.interval_override().unwrap_or(answer.interval);
        Ok(Accepted::Now(Reply::Beat(answer)))
    }

    fn update(&self, key: ServiceKey, spec: &InstanceSpec) -> Answered {
        spec.check()?;
        let service = self.catalog.of(&key).ok_or(RegistryError::ServiceUnknown)?;
        let found = service.find(&spec.ip, spec.port, Some(spec.cluster.as_str()));
        // One that is not there is told when it registers.
        let ephemeral = found.map_or(spec.ephemeral, Instance::ephemeral);
        let put = PutOverrides {
            instances: vec![(spec.key(), ephemeral)],
            service: key,
            weight: Some(spec.weight),
            enabled: Some(spec.enabled),
            healthy: None,
            metadata: MetadataChange::Replace(spec.metadata.clone()),
        };
        match found {
            Some(instance) => check_override(service, instance, &put)?,
            None => check_override_room(service, &spec.key())?,
        }
        self.check_bytes(put.text_bytes())?;
        Ok(Accepted::Propose(Command::Override(Box::new(put))))
    }

    fn patch(
        &mut self,
        now: Instant,
        address: &InstanceAddress,
        mut put: PutOverrides,
    ) -> Answered {
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
        Ok(Accepted::Propose(Command::Override(Box::new(put))))
    }

    fn set_ephemeral_health(
        &mut self,
        now: Instant,
        slot: ServiceSlot,
        key: &InstanceKey,
        healthy: bool,
    ) {
        let Some(service) = self.catalog.get_mut(slot) else { return };
        let run = service.run_of(key);
        let there = service.publications_mut().get_mut(run).unwrap_or_default();
        let changed: Vec<_> = there
            .iter_mut()
            .filter_map(|one| one.set_healthy(healthy).then(|| one.publication()))
            .collect();
        if !changed.is_empty() {
            let counter = self.changed(now, slot);
            changed.iter().for_each(|publication| self.altered(slot, publication, counter));
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
        Ok(Accepted::Propose(Command::CreateService(Box::new(PutService { service, meta }))))
    }

    fn update_service(&self, service: ServiceKey, mut meta: ServiceMeta) -> Answered {
        meta.check()?;
        let known = self.catalog.of(&service).ok_or(RegistryError::ServiceUnknown)?;
        let seen = known.publications().first().map(Instance::ephemeral);
        match (meta.ephemeral, seen) {
            (Some(wanted), Some(seen)) if wanted != seen => {
                return Err(RegistryError::MixedKinds { persistent: wanted });
            }
            (None, _) => meta.ephemeral = known.meta().and_then(|meta| meta.ephemeral),
            (Some(_), _) => {}
        }
        self.check_bytes(meta.text_bytes())?;
        Ok(Accepted::Propose(Command::UpdateService(Box::new(PutService { service, meta }))))
    }

    fn remove_service(&mut self, key: ServiceKey) -> Answered {
        let slot = self.catalog.slot_of(&key).ok_or(RegistryError::ServiceUnknown)?;
        let service = self.catalog.get(slot).ok_or(RegistryError::ServiceUnknown)?;
        if !service.publications().is_empty() {
            return Err(RegistryError::ServiceNotEmpty);
        }
        // Where others list it too they have to hear of it.
        if service.is_forgettable() && self.distro.is_alone() {
            self.forget_service(slot);
            return Ok(DONE);
        }
        Ok(Accepted::Propose(Command::RemoveService { service: key }))
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
            return Ok(Accepted::Now(Reply::Updated(vec![])));
        };
        let is_meant = |instance: &Instance| match consistency {
            Consistency::Ephemeral => instance.ephemeral(),
            Consistency::Persistent => !instance.ephemeral(),
            Consistency::Both => true,
        };
        let all = instances.is_empty();
        let meant: Vec<&Instance> = if all {
            service.instances().filter(|instance| is_meant(instance)).collect()
        } else {
            let mut named: Vec<&Instance> = instances
                .iter()
                .filter_map(|key| service.find(&key.ip, key.port, Some(key.cluster.as_str())))
                .filter(|instance| is_meant(instance))
                .collect();
            named.dedup_by_key(|instance| instance.key());
            named
        };
        // All or nothing: every override is looked at before the command is made.
        for instance in meant {
            check_override(service, instance, &put)?;
            put.instances.push((instance.key(), instance.ephemeral()));
        }
        self.check_bytes(put.text_bytes() * put.instances.len())?;
        if put.instances.is_empty() {
            return Ok(Accepted::Now(Reply::Updated(vec![])));
        }
        Ok(Accepted::Propose(Command::Override(Box::new(put))))
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
        Ok(Accepted::Propose(Command::PutCluster(Box::new(PutCluster { service, cluster, meta }))))
    }

    fn set_health(&self, key: ServiceKey, address: &InstanceAddress, healthy: bool) -> Answered {
        let service = self.catalog.of(&key).ok_or(RegistryError::HealthChecked)?;
        let found = address.find(service);
        let named = address.cluster.as_ref().map_or(ClusterName::DEFAULT, ClusterName::as_str);
        let checker = service.cluster_meta(found.map_or(named, Instance::cluster));
        if checker.map(|meta| &meta.health_checker) != Some(&HealthChecker::None) {
            return Err(RegistryError::HealthChecked);
        }
        let Some(instance) = found else { return Ok(DONE) };
        if instance.ephemeral() {
            return Err(RegistryError::HealthChecked);
        }
        let instance = instance.key();
        Ok(Accepted::Propose(Command::SetHealth { service: key, instance, healthy }))
    }

    /// Whether the leader may propose a command that another member forwards: what is wrong with
    /// every one, and what its own door would say about room. What only the state of the other
    /// member tells (which kinds of instances it sees) is left to that one.
    ///
    /// # Errors
    /// As a client of this member would hear it.
    pub fn admits(&self, command: &Command) -> Result<(), RegistryError> {
        command.check()?;
        let (service, bytes) = match command {
            Command::Register(put) => (&put.service, put.instance.text_bytes()),
            Command::CreateService(put) | Command::UpdateService(put) => {
                (&put.service, put.meta.text_bytes())
            }
            Command::PutCluster(put) => {
                put.meta.health_checker.check()?;
                (&put.service, put.meta.text_bytes())
            }
            Command::Override(put) => {
                let texts = put.text_bytes().saturating_mul(put.instances.len());
                (&put.service, texts)
            }
            Command::Deregister { .. }
            | Command::RemoveService { .. }
            | Command::SetHealth { .. }
            | Command::RemoveOverrides { .. }
            | Command::SetSwitch(_) => return Ok(()),
        };
        self.check_bytes(bytes)?;
        let is_new = self.catalog.of(service).is_none();
        if is_new && self.catalog.service_count() >= limits::SERVICES_MAX {
            return Err(RegistryError::TooManyServices);
        }
        Ok(())
    }
}

/// Whether `instance` would still be inside its limits under the override that `put` leads to.
fn check_override(
    service: &Service,
    instance: &Instance,
    put: &PutOverrides,
) -> Result<(), RegistryError> {
    let key = instance.key();
    check_override_room(service, &key)?;
    let old = service.durable().and_then(|durable| durable.overrides().get(&key));
    let mut laid: Override = old.cloned().unwrap_or_default();
    laid.change(put)?;
    let shown = laid.over(instance).declared;
    Metadata::new(shown.metadata.iter())?;
    Timers::of(&shown.metadata)?;
    Ok(())
}

/// Whether one more override, or that of this instance anew, has room.
fn check_override_room(service: &Service, key: &InstanceKey) -> Result<(), RegistryError> {
    let Some(durable) = service.durable() else { return Ok(()) };
    let overrides = durable.overrides();
    if overrides.len() >= limits::INSTANCES_PER_SERVICE_MAX && !overrides.contains_key(key) {
        return Err(RegistryError::TooManyInstances);
    }
    Ok(())
}
