//! Clients of the registry: some beat, some hold a connection, some come and go, some die without a
//! word; operators deregister what is not theirs, and subscribers move from node to node. When the
//! world heals, each settles: it lives on, or it is gone.

use std::rc::Rc;

use nacolet_model::{Duration, Group, IdError, Instant, Namespace, Prng, ServiceKey, ServiceName};
use nacolet_registry::{ClientId, InstanceSpec, Reply as Answer, Request as Body};

use crate::checker::{Home, Told};
use crate::inbox::{Event, Request};
use crate::kernel::OUTSIDE;
use crate::plan::Plan;
use crate::story::words;
use crate::subject::name;
use crate::workload::{Client, Door, Reply, TIMEOUT, Town};

/// Time between two beats.
const BEAT: Duration = Duration::from_secs(5);
/// Between two questions of a connection whether it still works, and how long an answer may take.
const CHECK: Duration = Duration::from_secs(3);
/// Instances that one connection publishes at most.
const SET_MAX: u16 = 3;

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
struct Character {
    port: u16,
    /// Beats where it can, not always at the same node.
    roams: bool,
    /// Sends beats without the instance.
    light: bool,
    /// Deregisters and comes back.
    churns: bool,
    /// Dies without a word some day.
    mortal: bool,
}

/// One of the services that clients register in.
pub(crate) fn service(number: u64) -> Result<ServiceKey, IdError> {
    Ok(ServiceKey {
        namespace: Namespace::public(),
        group: Group::new("DEFAULT_GROUP")?,
        name: ServiceName::new(&format!("orders-{number}"))?,
    })
}

fn spec(port: u16) -> InstanceSpec {
    InstanceSpec::new("10.8.8.8", port)
}

impl Client {
    fn door(&self) -> Option<Door> {
        self.town.doors.borrow().get(&self.node).cloned()
    }

    fn home(&self) -> Option<Home> {
        Some((self.node, self.door()?.life))
    }

    fn now(&self) -> Instant {
        self.town.kernel.now()
    }

    fn seconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(1_000 * from + self.prng.below(1_000 * (to - from) + 1))
    }

    /// Some time without any registration, until the world heals at most.
    async fn stay_away(&mut self, seconds_max: u64) {
        for _ in 0..self.prng.below(seconds_max) {
            if !self.town.closing.get() {
                self.town.kernel.sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// A request to the registry, and by whom it was carried out.
    async fn ask_registry(&mut self, body: Body) -> Option<(Home, Answer)> {
        let (home, node) = (self.home(), self.node);
        let asked = self.town.kernel.story().words(|| words::request(&body));
        let body = Box::new(body);
        let reply = self.ask(TIMEOUT, |answer| Request::Registry(body, answer)).await;
        if let Some(asked) = asked.filter(|_| !matches!(reply, Reply::Answer(Ok(_)))) {
            let (node, why) = (name(node), reply.in_words());
            self.tell(|| format!("asks {node} in vain: {asked}: {why}"), |line| line);
        }
        match (reply, home) {
            (Reply::Answer(Ok(answer)), Some(home)) if self.home() == Some(home) => {
                Some((home, answer))
            }
            (Reply::Answer(_) | Reply::Unreachable | Reply::Lost, _) => {
                self.move_on();
                None
            }
        }
    }

    async fn deregister(&mut self, service: &ServiceKey, port: u16) -> bool {
        let (service, ip) = (service.clone(), "10.8.8.8".into());
        let body = Body::Deregister { service, ip, port, cluster: None, ephemeral: None };
        self.ask_registry(body).await.is_some()
    }

    // ---- clients that beat ----

    async fn beat_for_ever(mut self, service: ServiceKey, character: Character) {
        let Character { port, roams, churns, mortal, .. } = character;
        let checkers = self.town.checkers.clone();
        self.move_on();
        let mut pause = self.seconds(0, 3);
        loop {
            self.town.kernel.sleep(pause).await;
            let closing = self.town.closing.get();
            if closing && (churns || mortal) && self.prng.chance(1, 2) {
                return self.end(service, character).await;
            }
            if !closing && mortal && self.prng.chance(1, 12) {
                return checkers.settles(port, false);
            }
            if !closing && churns && self.prng.chance(1, 8) {
                self.leave(&service, port).await;
                self.stay_away(30).await;
                pause = Duration::ZERO;
                continue;
            }
            if closing {
                // From now on it stays.
                return self.stay(service, character).await;
            }
            if roams {
                self.move_on();
            }
            pause = if self.beat(&service, character).await { BEAT } else { self.seconds(0, 1) };
        }
    }

    async fn stay(mut self, service: ServiceKey, character: Character) {
        loop {
            let done = self.beat(&service, character).await;
            if done {
                self.town.checkers.settles(character.port, true);
            }
            self.town.kernel.sleep(if done { BEAT } else { Duration::from_millis(300) }).await;
        }
    }

    async fn end(mut self, service: ServiceKey, character: Character) {
        if character.churns {
            self.leave(&service, character.port).await;
        }
        self.town.checkers.settles(character.port, false);
    }

    async fn leave(&mut self, service: &ServiceKey, port: u16) {
        let checkers = self.town.checkers.clone();
        loop {
            let node = self.node;
            checkers.leaves(self.now(), port, node);
            if self.deregister(service, port).await {
                return checkers.left(self.now(), port, node);
            }
            self.pause(Duration::from_millis(500)).await;
        }
    }

    async fn beat(&mut self, service: &ServiceKey, character: Character) -> bool {
        let Character { port, light, .. } = character;
        let checkers = self.town.checkers.clone();
        checkers.comes(port);
        if light {
            let service = service.clone();
            let ip = "10.8.8.8".into();
            let body = Body::Beat { service, ip, port, cluster: None, full: None };
            match self.ask_registry(body).await {
                Some((home, Answer::Beat(answer))) if answer.known => {
                    checkers.beaten(self.now(), port, home);
                    return true;
                }
                Some(_) => {}
                None => return false,
            }
        }
        let (service, spec) = (service.clone(), spec(port));
        let body = if light || self.prng.chance(1, 8) {
            Body::Register { service, instance: spec }
        } else {
            Body::Beat { service, ip: spec.ip.clone(), port, cluster: None, full: Some(spec) }
        };
        let Some((home, _)) = self.ask_registry(body).await else { return false };
        checkers.beaten(self.now(), port, home);
        true
    }

    // ---- clients with a connection ----

    /// Publishes up to [`SET_MAX`] instances from `first` on, over one connection after another.
    async fn hold_a_connection(mut self, service: ServiceKey, first: u16, mortal: bool) {
        let checkers = self.town.checkers.clone();
        let mut set: Vec<u16> = Vec::new();
        loop {
            self.move_on();
            let Some(door) = self.door() else {
                self.pause(Duration::from_millis(500)).await;
                continue;
            };
            let id = ClientId::new(door.distro_life, self.town.next_connection());
            let closing = self.town.closing.get();
            if closing && mortal {
                (first..first + SET_MAX).for_each(|port| checkers.settles(port, false));
                return;
            }
            if set.is_empty() {
                set = self.some_set(first);
            }
            let node = self.node;
            let by_choice = self.serve(&service, id, &door, &mut set, first).await;
            if by_choice {
                set.iter().for_each(|port| checkers.leaves(self.now(), *port, self.node));
                door.inbox.push(Event::Closed(id));
                let home = (self.node, door.life);
                if self.is_served(&service, home).await {
                    set.iter().for_each(|port| checkers.left(self.now(), *port, home.0));
                }
                set.clear();
                self.stay_away(30).await;
            } else {
                // The node hears of it when it hears of anything.
                let home = (node, door.life);
                set.iter().for_each(|port| checkers.broken(self.now(), *port, home));
                door.inbox.push(Event::Closed(id));
                let redo = self.seconds(0, 5);
                self.town.kernel.sleep(redo).await;
            }
        }
    }

    /// Whether a node still answers, and so has done what it was told before.
    async fn is_served(&mut self, service: &ServiceKey, home: Home) -> bool {
        if self.home() != Some(home) {
            return false;
        }
        let question = service.clone();
        let reply = self.ask(CHECK, |answer| Request::List(question, answer)).await;
        matches!(reply, Reply::Answer(_)) && self.home() == Some(home)
    }

    fn some_set(&mut self, first: u16) -> Vec<u16> {
        let count = 1 + u16::try_from(self.prng.below(u64::from(SET_MAX))).unwrap_or(0);
        (first..first + count).collect()
    }

    /// Keeps a connection until it breaks, or until the client wants no more; says which.
    async fn serve(
        &mut self,
        service: &ServiceKey,
        id: ClientId,
        door: &Door,
        set: &mut Vec<u16>,
        first: u16,
    ) -> bool {
        let checkers = self.town.checkers.clone();
        let home = (self.node, door.life);
        // What it took out is gone only where it had put it there.
        let mut published: Vec<u16> = Vec::new();
        loop {
            let closing = self.town.closing.get();
            let wanted = if !closing && self.prng.chance(1, 10) {
                self.some_set(first)
            } else {
                set.clone()
            };
            let less: Vec<u16> =
                set.iter().copied().filter(|port| !wanted.contains(port)).collect();
            less.iter().for_each(|port| checkers.leaves(self.now(), *port, home.0));
            wanted.iter().for_each(|port| checkers.comes(*port));
            let instances = wanted.iter().map(|port| spec(*port)).collect();
            let body = Body::Publish { client: id, service: service.clone(), instances };
            self.node = home.0;
            let answer = self.ask_registry(body).await;
            // What it wants to publish next time, whatever became of this.
            *set = wanted;
            if answer.map(|(at, _)| at) != Some(home) {
                return false;
            }
            let mine = less.iter().filter(|port| published.contains(*port));
            mine.for_each(|port| checkers.left(self.now(), *port, home.0));
            set.iter().for_each(|port| checkers.connected(self.now(), *port, home));
            published.clone_from(set);
            if closing {
                let lives = |port: &u16| set.contains(port);
                (first..first + SET_MAX).for_each(|port| checkers.settles(port, lives(&port)));
            }
            let until = self.prng.below(if closing { 2 } else { 8 });
            for _ in 0..until {
                self.town.kernel.sleep(CHECK).await;
                if self.home() != Some(home) {
                    return false;
                }
                if !self.is_served(service, home).await {
                    return false;
                }
            }
            if !closing && self.prng.chance(1, 12) {
                return true;
            }
        }
    }

    // ---- others ----

    /// Deregisters what belongs to others.
    async fn operate_instances(mut self, services: Vec<ServiceKey>, ports: Vec<u16>) {
        loop {
            let pause = self.seconds(2, 20);
            self.town.kernel.sleep(pause).await;
            if self.town.closing.get() || ports.is_empty() {
                return;
            }
            self.move_on();
            let at = usize::try_from(self.prng.below(ports.len() as u64)).unwrap_or(0);
            let service = services[usize::from(ports[at]) % services.len()].clone();
            self.town.checkers.disturbed(self.now(), ports[at], self.node);
            let node = self.node;
            self.deregister(&service, ports[at]).await;
            self.town.checkers.disturbed(self.now(), ports[at], node);
        }
    }

    /// Reads the list of a service here and there.
    async fn subscribe(mut self, number: u64, service: ServiceKey) {
        loop {
            let pause = self.seconds(0, 4);
            self.town.kernel.sleep(pause).await;
            if self.prng.chance(1, 3) {
                self.move_on();
            }
            let (question, home) = (service.clone(), self.home());
            let reply = self.ask(TIMEOUT, |answer| Request::List(question, answer)).await;
            if let (Reply::Answer(answer), Some(home)) = (reply, home)
                && self.home() == Some(home)
                && !answer.hosts.is_empty()
            {
                self.town.checkers.told(number, Told { home, answer });
            }
        }
    }
}

/// Starts the clients of the registry.
pub(crate) fn start(town: &Rc<Town>, plan: &Plan, prng: &mut Prng) {
    let naming = plan.naming;
    let services: Vec<ServiceKey> =
        (0..naming.services).filter_map(|number| service(number).ok()).collect();
    let service_of = |port: u16| services[usize::from(port) % services.len()].clone();
    let mut operated = Vec::new();
    for number in 0..naming.beating {
        let port = u16::try_from(8_000 + number).unwrap_or(8_000);
        let churns = prng.chance(1, 4);
        let mut flag = |chances: u64| prng.chance(chances, 4);
        let (roams, light) = (flag(2), flag(1));
        let character = Character { port, roams, light, churns, mortal: !churns && flag(1) };
        if churns {
            operated.push(port);
        }
        let client = Client::new(town, prng.fork());
        town.kernel.spawn(OUTSIDE, client.beat_for_ever(service_of(port), character));
    }
    for number in 0..naming.connections {
        let first = u16::try_from(9_000 + 10 * number).unwrap_or(9_000);
        if prng.chance(1, 4) {
            operated.push(first);
        }
        let (client, mortal) = (Client::new(town, prng.fork()), prng.chance(1, 5));
        let life = client.hold_a_connection(service_of(first), first, mortal);
        town.kernel.spawn(OUTSIDE, life);
    }
    for _ in 0..naming.operators {
        let client = Client::new(town, prng.fork());
        let life = client.operate_instances(services.clone(), operated.clone());
        town.kernel.spawn(OUTSIDE, life);
    }
    for number in 0..naming.subscribers {
        let service = services[usize::try_from(number).unwrap_or(0) % services.len()].clone();
        town.kernel.spawn(OUTSIDE, Client::new(town, prng.fork()).subscribe(number, service));
    }
}
