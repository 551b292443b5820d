//! The part of a simulated node's core task that looks after the registry: requests, the messages
//! of other registries, the members that Raft agreed on, and the planted bugs of this wiring.

use std::collections::BTreeMap;

use nacolet_machine::{Command, Refused, Response, read, write};
use nacolet_model::{Instant, NodeId, ServiceKey, limits};
use nacolet_raft::{ClientWriteError, Refusal, Timer};
use nacolet_registry::message::{InstanceChange, Message, ServiceChanges, WriteVersion};
use nacolet_registry::{
    self as registry, Input, Instance, InstanceKey, InstanceSpec, Life, ListQuery, Output, Service,
};

use crate::inbox::{Event, ListAnswer, RegistryFailure, RegistryReply, Request};
use crate::node::Shell;
use crate::planted::Planted;
use crate::story::{Line, words};
use crate::subject::{Subject, name, names};

impl Shell {
    /// The time by which the registry keeps its deadlines.
    pub(crate) fn registry_clock(&self) -> crate::clock::NodeClock {
        match self.planted {
            Some(Planted::RegistryByWallClock) => self.clock.by_wall(),
            _ => self.clock.clone(),
        }
    }

    pub(crate) fn registry_deadline(&self) -> Option<Instant> {
        read(&self.shared.registry).next_deadline()
    }

    /// Whether the registry has everything that a client may expect.
    fn serves_registry(&self) -> bool {
        // Without a ceiling the next life could issue the same reference times again.
        self.has_ceiling.get() && self.is_member && read(&self.shared.registry).is_loaded()
    }

    pub(crate) fn registry_request(&mut self, request: Request) {
        if !self.serves_registry() {
            return;
        }
        match request {
            // Who has given up takes nobody's time, and no connection outlives its node.
            Request::Registry(_, answer) if answer.is_canceled() => {}
            Request::Registry(body, _) if self.is_from_the_dead(&body) => {}
            Request::Registry(body, answer) => {
                let request = self.fresh_id();
                self.registrations.insert(request, answer);
                let at = self.clock.wall();
                self.registry(Input::Request { request, at, body: *body });
            }
            Request::List(service, answer) => drop(answer.send(self.list(&service))),
            Request::Write(..) | Request::Read(..) | Request::ReadLinear(..) => {}
            Request::Listen(..) => {}
        }
    }

    fn is_from_the_dead(&self, body: &registry::Request) -> bool {
        let mine = self.distro_life;
        matches!(body, registry::Request::Publish { client, .. } if client.life() != mine)
    }

    fn list(&self, key: &ServiceKey) -> ListAnswer {
        let registry = read(&self.shared.registry);
        let view = registry.list(&ListQuery {
            namespace: key.namespace.as_str(),
            group: key.group.as_str(),
            name: key.name.as_str(),
            clusters: "",
            healthy_only: false,
        });
        let hosts = view.hosts().map(|host| (host.instance.port(), host.healthy)).collect();
        ListAnswer { ref_time: view.last_ref_time, hosts }
    }

    pub(crate) fn registry(&mut self, input: Input) {
        let now = self.registry_clock().now();
        let mut registry = write(&self.shared.registry);
        registry.step(now, input, &mut self.outputs);
        registry.invariants();
        drop(registry);
        self.hand_out();
    }

    /// The members that Raft agreed on; none are known to a machine that waits to be added.
    pub(crate) fn members(&mut self, members: Vec<NodeId>) {
        if members.is_empty() {
            return;
        }
        self.is_member = members.contains(&self.raft.id());
        self.kernel.story().tell(|| {
            let text = format!("its registry knows the members {}", names(&members));
            Line::of(self.raft.id(), text)
        });
        self.registry(Input::Members(members));
    }

    pub(crate) fn peer(&mut self, from: NodeId, bytes: &[u8]) {
        let Ok(message) = postcard::from_bytes::<Message>(bytes) else {
            return self.checkers.fail("P6", format!("{from} sends what cannot be decoded"));
        };
        self.tell_heard(from, &message);
        if let Some(message) = self.receive_planted(from, message) {
            self.registry(Input::Peer { from, message });
        }
    }

    fn tell_heard(&self, from: NodeId, message: &Message) {
        let story = self.kernel.story();
        match words::routine_of_registries(message) {
            Some(routine) => story.count(routine),
            None => story.tell(|| {
                let ports = words::ports_of(message).into_iter().map(Subject::Port);
                let (message, from) = (words::registry_message(message), name(from));
                let line = Line::of(self.raft.id(), format!("hears {message} from {from}"));
                ports.fold(line, Line::about)
            }),
        }
    }

    /// What changed in this turn goes out.
    pub(crate) fn end_turn(&mut self) {
        self.judge_planted();
        write(&self.shared.registry).flush(&mut self.outputs);
        self.hand_out();
    }

    pub(crate) fn hand_out(&mut self) {
        for output in std::mem::take(&mut self.outputs) {
            match output {
                Output::Reply { request, result } => {
                    if let Some(reply) = self.registrations.remove(&request) {
                        drop(reply.send(result.map_err(RegistryFailure::Refused)));
                    }
                }
                Output::Propose { request, command } => {
                    let reply = request.and_then(|request| self.registrations.remove(&request));
                    self.propose(command, reply);
                }
                Output::Push { .. } => {}
                Output::Send { to, message } => self.send(&to, &message),
                Output::ReserveRefTime { until } => {
                    let inbox = self.inbox.clone();
                    let stored = move || inbox.push(Event::RefTimeStored(until));
                    self.disk.store_ref_time(until, stored);
                }
            }
        }
    }

    fn send(&self, to: &[NodeId], message: &Message) {
        let asks = matches!(message, Message::Versions(_) | Message::Want(_));
        if asks && self.planted == Some(Planted::RepairNeverAsks) {
            return;
        }
        for peer in to {
            self.network.send_registry(self.raft.id(), *peer, message);
        }
    }

    fn propose(&self, command: registry::Command, reply: Option<RegistryReply>) {
        let raft = self.raft.clone();
        self.kernel.spawn(self.group, async move {
            let result = raft.client_write(&Command::Registry(command)).await;
            let Some(reply) = reply else { return };
            drop(reply.send(match result {
                Ok(Response::Registry(response)) => Ok(response),
                Err(ClientWriteError::Rejected(Refused::Registry(error))) => {
                    Err(RegistryFailure::Refused(error))
                }
                Err(ClientWriteError::Refused(Refusal::NotLeader { leader })) => {
                    Err(RegistryFailure::Log(leader))
                }
                Ok(
                    Response::Config(_) | Response::Lock(_) | Response::Locked(_) | Response::Auth,
                )
                | Err(_) => Err(RegistryFailure::Log(None)),
            }));
        });
    }
}

/// The planted bugs of Distro.
impl Shell {
    fn receive_planted(&mut self, from: NodeId, message: Message) -> Option<Message> {
        match (self.planted, message) {
            (Some(Planted::NoTombs), Message::Sync(changes)) => {
                Some(Message::Sync(self.forget_tombs(changes)))
            }
            (Some(Planted::RestartIsDeath), Message::Ping(ping)) => {
                let before = self.lives_seen.insert(from, ping.life);
                if let Some(before) = before.filter(|before| *before != ping.life) {
                    self.end_clients_of(before);
                }
                Some(Message::Ping(ping))
            }
            (_, message) => Some(message),
        }
    }

    /// Without tombs, a copy of what is not there is always news.
    fn forget_tombs(&self, mut all: Vec<ServiceChanges>) -> Vec<ServiceChanges> {
        let registry = read(&self.shared.registry);
        for ServiceChanges { service, changes, .. } in &mut all {
            let (namespace, group) = (service.namespace.as_str(), service.group.as_str());
            let found = registry.service(namespace, group, service.name.as_str());
            for change in changes {
                let InstanceChange::Up { spec, born, version, .. } = change else { continue };
                let known = found
                    .and_then(|found| found.find(&spec.ip, spec.port, Some(spec.cluster.as_str())));
                if known.is_none() {
                    let later = WriteVersion { counter: version.counter + 50, ..*version };
                    (*born, *version) = (later, later);
                }
            }
        }
        all
    }

    /// The connections of this life of a member are taken for connections here, and for closed.
    fn end_clients_of(&mut self, life: Life) {
        let registry = read(&self.shared.registry);
        let mut theirs = Vec::new();
        for service in registry.all_services() {
            for instance in service.publications() {
                let owner = instance.owner().filter(|owner| owner.life() == life);
                theirs.extend(owner.map(|owner| (owner, service.key().clone(), instance.key())));
            }
        }
        drop(registry);
        for (client, service, InstanceKey { ip, port, .. }) in theirs {
            self.kernel.story().tell(|| {
                let text = format!("takes the connection of {port} for closed (the planted bug)");
                Line::of(self.raft.id(), text).about(Subject::Port(port))
            });
            let (request, at) = (self.fresh_id(), self.clock.wall());
            let instances = vec![InstanceSpec::new(&ip, port)];
            let body = registry::Request::Publish { client, service, instances };
            self.registry(Input::Request { request, at, body });
            self.registry(Input::ClientGone(client));
        }
    }

    fn judge_planted(&mut self) {
        match self.planted {
            Some(Planted::ExpireWithoutMajority) if self.has_lost_the_others() => {
                let expiry = limits::IP_DELETE_TIMEOUT;
                self.remove_where(|_, instance, now| instance.silence(now) >= expiry);
            }
            Some(Planted::NoGraceAfterTakeover) => {
                let stamps = self.stamps_of_others();
                let before = std::mem::replace(&mut self.stamps, stamps);
                let kept = std::mem::take(&mut self.stamps);
                self.remove_where(|service, instance, now| {
                    let name = (service.clone(), instance.key());
                    let stamp = before.get(&name).filter(|_| !kept.contains_key(&name));
                    stamp.is_some_and(|at| *at + limits::IP_DELETE_TIMEOUT <= now)
                });
                self.stamps = kept;
            }
            _ => {}
        }
    }

    fn has_lost_the_others(&self) -> bool {
        !read(&self.shared.registry).distro().watchful
    }

    /// When this node last heard of the instances that others watch.
    fn stamps_of_others(&self) -> BTreeMap<(ServiceKey, InstanceKey), Instant> {
        let (registry, now) = (read(&self.shared.registry), self.registry_clock().now());
        let me = self.raft.id();
        let others = registry.all_services().filter(|one| registry.responsible(one.key()) != me);
        let stamp = |service: &Service, instance: &Instance| {
            let silent = u64::try_from(instance.silence(now).as_micros()).unwrap_or(u64::MAX);
            let at = Instant::from_micros(now.as_micros().saturating_sub(silent));
            ((service.key().clone(), instance.key()), at)
        };
        let stamps = others.flat_map(|service| {
            let instances = service.publications().iter().filter(|one| one.owner().is_none());
            instances.map(move |instance| stamp(service, instance))
        });
        stamps.collect()
    }

    fn remove_where(&mut self, meant: impl Fn(&ServiceKey, &Instance, Instant) -> bool) {
        let now = self.registry_clock().now();
        let registry = read(&self.shared.registry);
        let mut doomed = Vec::new();
        for service in registry.all_services() {
            let ephemeral = service.publications().iter().filter(|one| one.ephemeral());
            let meant = ephemeral.filter(|instance| meant(service.key(), instance, now));
            doomed.extend(meant.map(|instance| (service.key().clone(), instance.key())));
        }
        drop(registry);
        for (service, InstanceKey { ip, port, cluster }) in doomed {
            self.kernel.story().tell(|| {
                let text = format!("takes {port} out (the planted bug)");
                Line::of(self.raft.id(), text).about(Subject::Port(port))
            });
            let (request, at, cluster) = (self.fresh_id(), self.clock.wall(), Some(cluster));
            let body =
                registry::Request::Deregister { service, ip, port, cluster, ephemeral: None };
            self.registry(Input::Request { request, at, body });
        }
    }
}
