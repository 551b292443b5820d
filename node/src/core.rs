//! The turn of the core thread: take a bounded batch of requests, step the pure cores, hand out
//! what they order. It decides nothing itself; writes that must be agreed go to Raft and come back
//! here.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_channel::Receiver;
use futures_util::stream::{FuturesUnordered, StreamExt};
use nacolet_api::WriteError;
use nacolet_api::request::{ListenAnswer, Request, Responder};
use nacolet_api::who::{Watcher, WatchersOf};
use nacolet_auth as auth;
use nacolet_config::{self as config, ListenInput, ListenOutput, Listeners};
use nacolet_lock as lock;
use nacolet_model::{Instant, NodeId, RequestId, limits};
use nacolet_raft::{ClientWriteError, Membership, Raft, Refusal};
use nacolet_registry as registry;
use smol::future;

use crate::clock;
use crate::cluster::address::peer_of;
use crate::cluster::mailbox::Letter;
use crate::cluster::{SharedCluster, operate};
use crate::command::{Command, Refused, Response};
use crate::feeds::Feeds;
use crate::machine::{Aftermath, Machine, Shared, read, write};
use crate::proposer::Proposer;
use crate::ref_time::RefTime;
use crate::shortage::Shortage;
use crate::udp::Udp;

/// What woke the core task.
enum CoreEvent {
    /// An api thread asks for something.
    Request(Request),
    /// Another member says something of Distro.
    Letter(Letter),
    /// Another member may have missed something of Distro.
    Untold(NodeId),
    /// Raft has applied something that listeners or subscribers must hear.
    Applied,
    /// A push arrived at its subscriber.
    Acked(u64),
    /// The ceiling of reference times is durable.
    RefTimeStored(u64),
    /// A write went through Raft, or did not.
    Written(WriteCaller, Result<Response, ClientWriteError<Refused>>),
    /// Somebody was answered by the way.
    Done,
    /// A deadline of a core has come.
    Deadline,
    /// No api thread is left.
    Closed,
}

type ConfigReply = Responder<Result<config::Response, WriteError<config::CommandError>>>;
type AuthReply = Responder<Result<(), WriteError<auth::CommandError>>>;
type LockReply = Responder<Result<lock::Answer, WriteError<lock::CommandError>>>;
type RegistryReply = Responder<Result<registry::Reply, WriteError<registry::RegistryError>>>;

/// Who waits for a write.
enum WriteCaller {
    Config(ConfigReply),
    Registry(RegistryReply),
    Lock(LockReply),
    Auth(AuthReply),
    /// The registry itself; it asks again.
    Nobody,
}

/// What the core task is given.
pub(crate) struct CoreParts {
    pub(crate) shared: Shared,
    pub(crate) raft: Raft<Machine>,
    pub(crate) proposer: Proposer,
    pub(crate) requests: Receiver<Request>,
    pub(crate) aftermath: Aftermath,
    pub(crate) udp: Udp,
    pub(crate) ref_time: RefTime,
    /// Bytes of memory, where there is little.
    pub(crate) memory: Option<u64>,
    /// None for a node that is alone.
    pub(crate) cluster: Option<SharedCluster>,
    /// Taken once the registry holds what other members hold.
    pub(crate) loading: Option<async_channel::Sender<()>>,
}

/// Everything the core task owns.
pub(crate) struct Core {
    parts: CoreParts,
    listeners: Listeners,
    feeds: Feeds,
    polls: BTreeMap<RequestId, Responder<ListenAnswer>>,
    registrations: BTreeMap<RequestId, RegistryReply>,
    writes: FuturesUnordered<Pin<Box<dyn Future<Output = CoreEvent>>>>,
    last_request: RequestId,
    last_swept: RequestId,
    shortage: Shortage,
    /// What this turn brings to the registry.
    inputs: Vec<registry::Input>,
    /// Raft changed the registry in this turn.
    registry_applied: bool,
    /// What the log said at the start, until what is applied is not of the past any more.
    at_start: Option<Arc<Membership>>,
    outputs: Vec<registry::Output>,
    answers: Vec<ListenOutput>,
}

impl Core {
    pub(crate) fn new(parts: CoreParts) -> Self {
        let at_start = Some(parts.raft.metrics().membership);
        Self {
            shortage: Shortage::new(parts.memory),
            parts,
            at_start,
            listeners: Listeners::blind(),
            feeds: Feeds::default(),
            polls: BTreeMap::new(),
            registrations: BTreeMap::new(),
            writes: FuturesUnordered::new(),
            last_request: RequestId(0),
            last_swept: RequestId(0),
            inputs: Vec::new(),
            registry_applied: false,
            outputs: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Turns until every api thread is gone.
    pub(crate) async fn run(mut self) {
        self.inputs.push(registry::Input::WallClock(clock::wall()));
        self.members();
        self.end_turn();
        loop {
            let mut event = Some(self.next_event().await);
            let (mut taken, mut letter_bytes) = (0, 0);
            while let Some(next) = event {
                if matches!(next, CoreEvent::Closed) {
                    return;
                }
                if let CoreEvent::Letter(letter) = &next {
                    letter_bytes += letter.bytes;
                }
                self.take(next);
                taken += 1;
                let is_full = taken >= limits::CORE_TURN_MAX
                    || letter_bytes >= limits::CORE_TURN_LETTER_BYTES_MAX;
                event = if is_full { None } else { self.waiting(taken) };
            }
            self.end_turn();
        }
    }

    /// Something that waits already: api threads and other members by turns.
    fn waiting(&self, taken: usize) -> Option<CoreEvent> {
        let request = || self.parts.requests.try_recv().ok().map(CoreEvent::Request);
        let cluster = self.parts.cluster.as_ref();
        let letter = || cluster?.mailbox.try_next().map(CoreEvent::Letter);
        if taken.is_multiple_of(2) { request().or_else(letter) } else { letter().or_else(request) }
    }

    /// Sleeps until there is something to do.
    async fn next_event(&mut self) -> CoreEvent {
        let deadline = earlier(self.listeners.next_deadline(), self.registry_deadline());
        let CoreParts { requests, aftermath, udp, ref_time, .. } = &self.parts;
        let request = async { requests.recv().await.map_or(CoreEvent::Closed, CoreEvent::Request) };
        let applied = async {
            aftermath.left.rung().await;
            CoreEvent::Applied
        };
        let cluster = self.parts.cluster.as_ref();
        let letter = async {
            match cluster {
                Some(cluster) => CoreEvent::Letter(cluster.mailbox.next().await),
                None => future::pending().await,
            }
        };
        let untold = async {
            match cluster {
                Some(cluster) => CoreEvent::Untold(cluster.transport.untold().await),
                None => future::pending().await,
            }
        };
        let acked = async { CoreEvent::Acked(udp.acked().await) };
        let stored = async { CoreEvent::RefTimeStored(ref_time.stored().await) };
        let writes = &mut self.writes;
        let written = async {
            match writes.next().await {
                Some(event) => event,
                None => future::pending().await,
            }
        };
        let alarm = async {
            match deadline {
                Some(deadline) => clock::until(deadline).await,
                None => future::pending().await,
            }
            CoreEvent::Deadline
        };
        let answers = future::or(future::or(written, applied), future::or(stored, untold));
        let asked = future::or(request, letter);
        future::or(answers, future::or(asked, future::or(acked, alarm))).await
    }

    fn registry_deadline(&self) -> Option<Instant> {
        read(&self.parts.shared.registry).next_deadline()
    }

    fn take(&mut self, event: CoreEvent) {
        match event {
            CoreEvent::Request(request) => self.request(request),
            CoreEvent::Letter(Letter { from, message, .. }) => {
                self.inputs.push(registry::Input::Peer { from, message });
            }
            CoreEvent::Untold(to) => self.inputs.push(registry::Input::Unsent { to }),
            CoreEvent::Applied => {
                let pending = self.parts.aftermath.take();
                if pending.reloaded {
                    self.listen(ListenInput::Reloaded);
                }
                if pending.caught_up {
                    self.listen(ListenInput::CaughtUp);
                    self.at_start = None;
                }
                self.feeds.tell(&pending, &self.parts.shared.registry);
                self.registry_applied |= pending.effects.services || pending.reloaded;
                if pending.membership || pending.caught_up {
                    self.members();
                }
                if !pending.effects.changes.is_empty() {
                    self.listen(ListenInput::Changed(pending.effects.changes));
                }
                self.outputs.extend(pending.effects.outputs);
            }
            CoreEvent::Acked(reference) => self.inputs.push(registry::Input::Acked { reference }),
            CoreEvent::RefTimeStored(until) => {
                self.inputs.push(registry::Input::RefTimeReserved { until });
            }
            CoreEvent::Written(caller, result) => written(caller, result),
            // Deadlines are looked at once, at the end of the turn.
            CoreEvent::Done | CoreEvent::Deadline | CoreEvent::Closed => {}
        }
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Config { command, reply } => match self.shortage.check(&command) {
                Ok(()) => self.write(Command::Config(command), WriteCaller::Config(reply)),
                Err(error) => drop(reply.send(Err(WriteError::Refused(error)))),
            },
            Request::Registry { request, reply } => {
                let id = self.fresh_id();
                self.registrations.insert(id, reply);
                self.inputs.push(registry::Input::Request {
                    request: id,
                    at: clock::wall(),
                    body: request,
                });
            }
            Request::Lock { command, reply } => {
                self.write(Command::Lock(command), WriteCaller::Lock(reply));
            }
            Request::Auth { command, reply } => {
                self.write(Command::Auth(command), WriteCaller::Auth(reply));
            }
            Request::Subscribe { service, clusters, subscriber } => {
                let at = clock::wall();
                self.inputs.push(registry::Input::Subscribe { service, clusters, subscriber, at });
            }
            Request::Listen { keys, ip, tag, deadline, reply } => {
                self.sweep_polls();
                let request = self.fresh_id();
                self.polls.insert(request, reply);
                self.listen(ListenInput::Listen { request, keys, ip, tag, deadline });
            }
            Request::Follow { feed } => self.feeds.add(&feed),
            Request::Gone { client } => self.inputs.push(registry::Input::ClientGone(client)),
            Request::ReadIndex { reply } => {
                let proposer = self.parts.proposer.clone();
                self.writes.push(Box::pin(async move {
                    let fresh = proposer.read_index().await;
                    let _ = reply.send(fresh.map_err(|error| failed(&error.into())));
                    CoreEvent::Done
                }));
            }
            Request::Cluster { ask, reply } => {
                let (raft, cluster) = (self.parts.raft.clone(), self.parts.cluster.clone());
                self.writes.push(Box::pin(async move {
                    let _ = reply.send(operate::answer(raft, cluster, ask).await);
                    CoreEvent::Done
                }));
            }
            Request::Watchers { of, reply } => {
                // Nobody waits any more: then nobody misses the answer.
                let _ = reply.send(self.watchers(&of));
            }
        }
    }

    fn fresh_id(&mut self) -> RequestId {
        self.last_request.0 += 1;
        self.last_request
    }

    /// Sends a command through Raft; its caller is answered when the write comes back.
    fn write(&mut self, command: Command, caller: WriteCaller) {
        let proposer = self.parts.proposer.clone();
        self.writes.push(Box::pin(async move {
            let result = proposer.propose(command).await;
            CoreEvent::Written(caller, result)
        }));
    }

    /// Another membership is in force.
    fn members(&mut self) {
        let Some(cluster) = &self.parts.cluster else { return };
        let in_force = self.parts.aftermath.in_force.borrow();
        let at_start = self.at_start.as_deref().filter(|known| known.contains(cluster.me()));
        let membership = at_start.unwrap_or(&in_force);
        // One that catches up passes through times when it was no member yet.
        if !membership.contains(cluster.me()) {
            return;
        }
        let members: Vec<NodeId> = membership.members().into_iter().collect();
        let others = members.iter().filter(|node| **node != cluster.me());
        cluster.transport.set_members(others.map(|node| {
            (*node, membership.addresses.get(node).map_or("", |address| peer_of(address)))
        }));
        self.inputs.push(registry::Input::Members(members));
    }

    /// Lets the cores do what the turn brought and what is due; the registry under one write lock,
    /// so that other members get one message for all of it.
    fn end_turn(&mut self) {
        let now = clock::now();
        if self.listeners.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.listen(ListenInput::Wake);
        }
        let is_due = self.registry_deadline().is_some_and(|deadline| deadline <= now);
        if is_due || self.registry_applied || !self.inputs.is_empty() {
            self.registry_applied = false;
            if is_due && self.inputs.is_empty() {
                self.inputs.push(registry::Input::Wake);
            }
            let changed = {
                let mut registry = write(&self.parts.shared.registry);
                for input in self.inputs.drain(..) {
                    registry.step(now, input, &mut self.outputs);
                }
                registry.flush(&mut self.outputs);
                if registry.is_loaded() {
                    self.parts.loading = None;
                }
                registry.take_changed()
            };
            self.feeds.tell_services(&changed);
        }
        self.hand_out();
    }

    /// Carries out what the registry ordered.
    fn hand_out(&mut self) {
        for output in std::mem::take(&mut self.outputs) {
            match output {
                registry::Output::Send { to, message } => {
                    if let Some(cluster) = &self.parts.cluster {
                        cluster.transport.tell(&to, &message);
                    }
                }
                registry::Output::Reply { request, result } => {
                    if let Some(reply) = self.registrations.remove(&request) {
                        let _ = reply.send(result.map_err(WriteError::Refused));
                    }
                }
                registry::Output::Propose { request, command } => {
                    let caller = match request {
                        Some(request) => {
                            self.registrations.remove(&request).map(WriteCaller::Registry)
                        }
                        None => Some(WriteCaller::Nobody),
                    };
                    if let Some(caller) = caller {
                        self.write(Command::Registry(command), caller);
                    }
                }
                registry::Output::Push { subscriber, service, clusters, reference } => {
                    let CoreParts { shared, udp, .. } = &self.parts;
                    let (registry, users) = (read(&shared.registry), read(&shared.users));
                    udp.push(&registry, &users, &subscriber, &service, &clusters, reference);
                }
                registry::Output::ReserveRefTime { until } => self.parts.ref_time.store(until),
            }
        }
    }

    fn listen(&mut self, input: ListenInput) {
        let store = read(&self.parts.shared.configs);
        self.listeners.step(clock::now(), &store, input, &mut self.answers);
        drop(store);
        for output in self.answers.drain(..) {
            let (request, answer) = match output {
                ListenOutput::Answer { request, changed } => {
                    (request, ListenAnswer::Changed(changed))
                }
                ListenOutput::Refused { request } => (request, ListenAnswer::TooMany),
            };
            if let Some(reply) = self.polls.remove(&request) {
                let _ = reply.send(answer);
            }
        }
    }

    /// Looks at a few waiting polls and forgets those whose client has gone: with every poll that
    /// arrives, so that polls that nobody waits for never outnumber the others for long.
    fn sweep_polls(&mut self) {
        const LOOKS: usize = 4;
        let after = (std::ops::Bound::Excluded(self.last_swept), std::ops::Bound::Unbounded);
        let looked: Vec<(RequestId, bool)> = self
            .polls
            .range(after)
            .take(LOOKS)
            .map(|(id, reply)| (*id, reply.is_canceled()))
            .collect();
        self.last_swept = if looked.len() < LOOKS { RequestId(0) } else { looked[LOOKS - 1].0 };
        for (id, gone) in looked {
            if gone {
                self.polls.remove(&id);
                self.listen(ListenInput::Cancel(id));
            }
        }
    }

    fn watchers(&self, of: &WatchersOf) -> Vec<Watcher> {
        match of {
            WatchersOf::Key(key) => {
                let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
                let found = self.listeners.watchers(namespace, group, key.data_id.as_str());
                found.map(|(ip, md5)| Watcher { key: key.clone(), ip: ip.into(), md5 }).collect()
            }
            WatchersOf::Ip { ip, namespace } => self
                .listeners
                .by_ip(ip)
                .filter(|(key, _)| {
                    namespace.as_ref().is_none_or(|wanted| wanted.as_str() == key.namespace)
                })
                .filter_map(|(key, md5)| Some(Watcher { key: key.to_key()?, ip: ip.clone(), md5 }))
                .collect(),
        }
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Answers the caller of a write; one who has gone misses nothing.
fn written(caller: WriteCaller, result: Result<Response, ClientWriteError<Refused>>) {
    match caller {
        WriteCaller::Nobody => {}
        WriteCaller::Config(reply) => answer(
            reply,
            result,
            |response| if let Response::Config(done) = response { Some(done) } else { None },
            |refused| if let Refused::Config(error) = refused { Some(error) } else { None },
        ),
        WriteCaller::Registry(reply) => answer(
            reply,
            result,
            |response| if let Response::Registry(done) = response { Some(done) } else { None },
            |refused| if let Refused::Registry(error) = refused { Some(error) } else { None },
        ),
        WriteCaller::Lock(reply) => answer(reply, result, locked, |refused| {
            if let Refused::Lock(error) = refused { Some(error) } else { None }
        }),
        WriteCaller::Auth(reply) => answer(
            reply,
            result,
            |response| matches!(response, Response::Auth).then_some(()),
            |refused| if let Refused::Auth(error) = refused { Some(error) } else { None },
        ),
    }
}

fn locked(response: Response) -> Option<lock::Answer> {
    match response {
        Response::Locked(answer) => Some(answer),
        Response::Lock(done) => Some(lock::Answer { done, ..lock::Answer::default() }),
        Response::Config(_) | Response::Registry(_) | Response::Auth => None,
    }
}

/// Gives `reply` its share of a result; the answer to another question is none.
fn answer<T, E>(
    reply: Responder<Result<T, WriteError<E>>>,
    result: Result<Response, ClientWriteError<Refused>>,
    done: impl FnOnce(Response) -> Option<T>,
    refused: impl FnOnce(Refused) -> Option<E>,
) {
    let _ = reply.send(match result {
        Ok(response) => done(response).ok_or(WriteError::Unknown),
        Err(ClientWriteError::Rejected(error)) => {
            Err(refused(error).map_or(WriteError::Unknown, WriteError::Refused))
        }
        Err(error) => Err(failed(&error)),
    });
}

/// What a write that failed means to the api, and a read that could not be confirmed.
fn failed<E>(error: &ClientWriteError<Refused>) -> WriteError<E> {
    match error {
        ClientWriteError::Refused(Refusal::NotLeader { leader })
        | ClientWriteError::Superseded { leader } => WriteError::NoLeader { leader: *leader },
        ClientWriteError::StorageFull => WriteError::StorageFull,
        ClientWriteError::Stopped => WriteError::Stopping,
        ClientWriteError::Refused(_) => WriteError::Overloaded,
        ClientWriteError::Rejected(_)
        | ClientWriteError::TooLarge { .. }
        | ClientWriteError::Unencodable
        | ClientWriteError::Unknown(_) => WriteError::Unknown,
    }
}
