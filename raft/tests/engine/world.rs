//! A cluster, its network and its clock in one thread. Everything that happens is an event at a
//! time; with the same seed the same things happen. Without faults it is a quiet place for scripted
//! tests.

use std::collections::{BTreeMap, BTreeSet};

use nacolet_model::{Duration, Instant, NodeId, Prng, RequestId};
use nacolet_raft::engine::{
    Engine, EngineConfig, Input, Message, Output, PersistId, Refusal, RoleKind, Status,
};
use nacolet_raft::{LogId, LogIndex, Membership, MembershipChange, SnapshotMeta, Term};

use crate::checker::Checker;
use crate::node::{Machine, Node, Write};
use crate::rig::assert_drained;

/// How bad the world is.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    pub(crate) drop_percent: u64,
    pub(crate) duplicate_percent: u64,
    pub(crate) delay_micros_max: u64,
    pub(crate) disk_micros_min: u64,
    pub(crate) disk_micros_max: u64,
}

impl Faults {
    /// Everything takes the same time: nothing but the engines' own choices tells them apart.
    pub(crate) const LOCKSTEP: Self = Self {
        drop_percent: 0,
        duplicate_percent: 0,
        delay_micros_max: 1,
        disk_micros_min: 0,
        disk_micros_max: 1,
    };

    pub(crate) const NONE: Self = Self {
        drop_percent: 0,
        duplicate_percent: 0,
        delay_micros_max: 500,
        disk_micros_min: 0,
        disk_micros_max: 1_000,
    };
}

#[derive(Clone, Debug)]
enum Event {
    Deliver { from: NodeId, to: NodeId, message: Message },
    Wake { node: NodeId, at: Instant },
    Persisted { node: NodeId, life: u64, id: PersistId },
    Applied { node: NodeId, life: u64, entries: Vec<nacolet_raft::Entry> },
    Built { node: NodeId, life: u64, machine: Machine },
    Arrived { from: NodeId, to: NodeId, term: Term, machine: Machine },
    Sent { node: NodeId, life: u64, to: NodeId, last: LogId, delivered: bool },
    Installed { node: NodeId, life: u64, meta: SnapshotMeta },
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Waiting,
    Proposed(LogId),
    Done,
    /// Another entry took the place.
    Lost,
    Refused(Refusal),
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) prng: Prng,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) faults: Faults,
    pub(crate) checker: Checker,
    /// Directed links that lose everything.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// Every request and what became of it; the node that was asked.
    pub(crate) outcomes: BTreeMap<RequestId, (NodeId, Outcome)>,
    /// Reads: the newest acknowledged write when they were asked for.
    reads: BTreeMap<RequestId, LogIndex>,
    /// Who waits at a node for what is applied at an index.
    proposed: BTreeMap<(NodeId, LogIndex), Vec<RequestId>>,
    /// Messages sent, for counting rounds.
    pub(crate) sent: u64,
    /// Everything ever sent, if a test wants to keep it.
    pub(crate) history: Option<Vec<(NodeId, NodeId, Message)>>,
    /// Called with every message that is about to be sent; false loses it.
    pub(crate) filter: fn(NodeId, NodeId, &Message) -> bool,
    events: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    requests: u64,
}

pub(crate) fn id(node: u64) -> NodeId {
    NodeId(node)
}

impl World {
    /// Voters 1 to `voters`, bootstrapped alike, and blank nodes up to `nodes`.
    pub(crate) fn new(
        seed: u64,
        voters: u64,
        nodes: u64,
        adjust: impl Fn(&mut EngineConfig),
    ) -> Self {
        Self::with_faults(seed, voters, nodes, Faults::NONE, adjust)
    }

    /// The same, in a world that is like this from the start.
    pub(crate) fn with_faults(
        seed: u64,
        voters: u64,
        nodes: u64,
        faults: Faults,
        adjust: impl Fn(&mut EngineConfig),
    ) -> Self {
        let mut world = Self {
            now: Instant::from_millis(1),
            prng: Prng::new(seed),
            nodes: BTreeMap::new(),
            faults,
            checker: Checker::default(),
            cut: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            reads: BTreeMap::new(),
            proposed: BTreeMap::new(),
            sent: 0,
            history: None,
            filter: |_, _, _| true,
            events: BTreeMap::new(),
            sequence: 0,
            requests: 0,
        };
        let addresses = (1..=voters).map(|node| (id(node), format!("host:{node}")));
        let membership = Membership::of_voters(addresses);
        for node in 1..=nodes {
            let mut config = EngineConfig::new(id(node), seed);
            adjust(&mut config);
            let mut node = Node::new(config, world.now);
            if node.id.0 <= voters {
                node.engine.as_mut().unwrap().bootstrap(membership.clone()).unwrap();
            }
            world.nodes.insert(node.id, node);
        }
        for node in 1..=nodes {
            world.turn(id(node), Vec::new());
        }
        world
    }

    /// A quiet cluster of voters with a leader.
    pub(crate) fn quiet(voters: u64) -> Self {
        Self::quiet_with(voters, voters, |_| {})
    }

    /// The same with blank nodes and other settings.
    pub(crate) fn quiet_with(voters: u64, nodes: u64, adjust: impl Fn(&mut EngineConfig)) -> Self {
        let mut world = Self::new(7, voters, nodes, adjust);
        world.await_leader();
        world
    }

    // ---- looking ----

    pub(crate) fn engine(&self, node: NodeId) -> &Engine {
        self.nodes[&node].engine.as_ref().unwrap()
    }

    pub(crate) fn status(&self, node: NodeId) -> Status {
        self.engine(node).status()
    }

    pub(crate) fn alive(&self) -> Vec<NodeId> {
        self.nodes.values().filter(|node| node.engine.is_some()).map(|node| node.id).collect()
    }

    /// The leader of the highest term among the living.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let alive = self.alive().into_iter().map(|node| self.status(node));
        let leaders = alive.filter(|status| status.role == RoleKind::Leader);
        leaders.max_by_key(|status| status.term).map(|status| status.id)
    }

    pub(crate) fn follower(&self) -> NodeId {
        let leader = self.leader().unwrap();
        self.alive().into_iter().find(|node| *node != leader).unwrap()
    }

    pub(crate) fn outcome(&self, request: RequestId) -> Outcome {
        self.outcomes[&request].1.clone()
    }

    // ---- acting ----

    pub(crate) fn run_for(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        self.run_until_time(until);
    }

    pub(crate) fn run_until_time(&mut self, until: Instant) {
        while let Some(((at, _), _)) = self.events.first_key_value()
            && *at <= until
        {
            self.next_event();
        }
        self.now = until;
    }

    /// Runs until `done`, at most `millis`; whether it came to that.
    pub(crate) fn run_until(&mut self, millis: u64, done: impl Fn(&Self) -> bool) -> bool {
        let until = self.now + Duration::from_millis(millis);
        while !done(self) {
            match self.events.first_key_value() {
                Some(((at, _), _)) if *at <= until => self.next_event(),
                _ => {
                    self.now = until;
                    return done(self);
                }
            }
        }
        true
    }

    pub(crate) fn await_leader(&mut self) -> NodeId {
        let settled = |world: &Self| {
            world.leader().is_some_and(|leader| {
                let status = world.status(leader);
                status.commit_index == status.last.index
                    && status.applied_index == status.last.index
            })
        };
        assert!(self.run_until(10_000, settled), "no leader within ten seconds");
        self.leader().unwrap()
    }

    fn request(&mut self, node: NodeId) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.outcomes.insert(request, (node, Outcome::Waiting));
        request
    }

    pub(crate) fn propose(&mut self, node: NodeId) -> RequestId {
        self.propose_many(node, 1)[0]
    }

    /// Proposals of one turn. Each command is unlike all others.
    pub(crate) fn propose_many(&mut self, node: NodeId, count: usize) -> Vec<RequestId> {
        let requests: Vec<RequestId> = (0..count).map(|_| self.request(node)).collect();
        let propose = |request: &RequestId| Input::Propose {
            request: *request,
            command: request.0.to_le_bytes().as_slice().into(),
        };
        self.turn(node, requests.iter().map(propose).collect());
        requests
    }

    pub(crate) fn change(&mut self, node: NodeId, change: MembershipChange) -> RequestId {
        let request = self.request(node);
        self.turn(node, vec![Input::ChangeMembership { request, change }]);
        request
    }

    pub(crate) fn transfer(&mut self, node: NodeId, target: Option<NodeId>) -> RequestId {
        let request = self.request(node);
        self.turn(node, vec![Input::TransferLeader { request, target }]);
        request
    }

    pub(crate) fn read(&mut self, node: NodeId) -> RequestId {
        let request = self.request(node);
        self.reads.insert(request, self.checker.acknowledged);
        self.turn(node, vec![Input::ReadIndex { request }]);
        request
    }

    /// Proposes at the leader, whoever that is by then, until a write is acknowledged.
    pub(crate) fn write(&mut self) -> LogId {
        for _ in 0..50 {
            if let Some(leader) = self.leader() {
                let request = self.propose(leader);
                let proposed = self.outcome(request);
                let settled =
                    |world: &Self| !matches!(world.outcome(request), Outcome::Proposed(_));
                self.run_until(5_000, settled);
                if let (Outcome::Proposed(place), Outcome::Done) = (proposed, self.outcome(request))
                {
                    return place;
                }
            }
            self.run_for(100);
        }
        panic!("no write is acknowledged");
    }

    pub(crate) fn cut_off(&mut self, node: NodeId) {
        for other in self.nodes.keys().copied().filter(|other| *other != node) {
            self.cut.insert((node, other));
            self.cut.insert((other, node));
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.filter = |_, _, _| true;
    }

    pub(crate) fn crash(&mut self, node: NodeId) {
        self.nodes.get_mut(&node).unwrap().crash(&mut self.prng);
        for (asked, outcome) in self.outcomes.values_mut() {
            if *asked == node && matches!(outcome, Outcome::Waiting | Outcome::Proposed(_)) {
                *outcome = Outcome::Lost;
            }
        }
    }

    pub(crate) fn restart(&mut self, node: NodeId) {
        self.nodes.get_mut(&node).unwrap().start(self.now);
        self.turn(node, Vec::new());
    }

    pub(crate) fn stall_disk(&mut self, node: NodeId, stalled: bool) {
        self.nodes.get_mut(&node).unwrap().disk_stalled = stalled;
    }

    pub(crate) fn stall_apply(&mut self, node: NodeId, stalled: bool) {
        self.nodes.get_mut(&node).unwrap().apply_stalled = stalled;
    }

    /// Delivers a message that nobody sent.
    pub(crate) fn forge(&mut self, from: NodeId, to: NodeId, message: Message) {
        self.turn(to, vec![Input::Receive { from, message }]);
    }

    // ---- the machinery ----

    /// One turn of a node: steps, each followed by the checks, and the end.
    pub(crate) fn turn(&mut self, node: NodeId, inputs: Vec<Input>) {
        let Some(mut engine) = self.nodes.get_mut(&node).unwrap().engine.take() else { return };
        let mut out = Vec::new();
        for input in inputs {
            engine.step(self.now, input, &mut out);
            engine.invariants();
            self.checker.check_status(&engine.status(), &self.nodes);
        }
        engine.flush(self.now, &mut out);
        engine.invariants();
        assert_drained(&engine, self.now);
        self.checker.check_status(&engine.status(), &self.nodes);
        let deadline = engine.next_deadline();
        self.nodes.get_mut(&node).unwrap().engine = Some(engine);
        for output in out {
            self.carry_out(node, output);
        }
        let me = self.nodes.get_mut(&node).unwrap();
        if me.wake_at != deadline {
            me.wake_at = deadline;
            if let Some(at) = deadline {
                self.schedule_at(at.max(self.now), Event::Wake { node, at });
            }
        }
    }

    fn schedule_at(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    /// Somewhere between now and `micros_max` later.
    fn schedule(&mut self, micros_max: u64, event: Event) {
        self.schedule_between(0, micros_max, event);
    }

    /// The same, and this much later still.
    fn schedule_between(&mut self, micros_min: u64, micros_max: u64, event: Event) {
        let after = micros_min + 1 + self.prng.below(micros_max);
        self.schedule_at(self.now + Duration::from_micros(after), event);
    }

    fn carry_out(&mut self, node: NodeId, output: Output) {
        let life = self.nodes[&node].life;
        let me = self.nodes.get_mut(&node).unwrap();
        let disk_time = self.faults.disk_micros_max;
        match output {
            Output::Persist { id, hard_state, entries } => {
                let previous = entries.first().and_then(|first| {
                    let coming = me.disk.writes.iter().rev().flat_map(|w| w.entries.iter().rev());
                    let mut known = coming.chain(me.disk.entries.iter().rev()).map(|e| e.id);
                    known.find(|id| id.index == first.id.index.previous())
                });
                self.checker.check_written(previous, &entries);
                me.disk.writes.push_back(Write { hard_state, entries });
                let done = Event::Persisted { node, life, id };
                self.schedule_between(self.faults.disk_micros_min, disk_time, done);
            }
            Output::Send { to, message } => self.send(node, to, message),
            Output::Apply(entries) => {
                self.checker.check_apply(&entries);
                self.schedule((disk_time / 5).max(1), Event::Applied { node, life, entries });
            }
            Output::Proposed { request, id } => {
                self.proposed.entry((node, id.index)).or_default().push(request);
                self.settle(request, Outcome::Proposed(id));
            }
            Output::Refused { request, reason } => self.settle(request, Outcome::Refused(reason)),
            Output::ReadReady { request, index } => {
                assert!(index >= self.reads[&request], "a read misses an acknowledged write");
                self.settle(request, Outcome::Done);
            }
            Output::Transferred { request, .. } => self.settle(request, Outcome::Done),
            Output::BuildSnapshot => {
                let machine = me.machine.clone();
                self.schedule(10 * disk_time, Event::Built { node, life, machine });
            }
            Output::Purge(index) => me.disk.purge(index),
            Output::SendSnapshot { to, term } => self.send_snapshot(node, to, term),
            Output::InstallSnapshot(meta) => {
                self.schedule(5 * disk_time, Event::Installed { node, life, meta });
            }
            Output::DiscardSnapshot(_) => {}
            Output::StatusChanged => {}
        }
    }

    fn settle(&mut self, request: RequestId, outcome: Outcome) {
        self.outcomes.get_mut(&request).unwrap().1 = outcome;
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        self.sent += 1;
        self.checker.check_send(&self.nodes[&from], to, &message);
        if let Some(history) = &mut self.history {
            history.push((from, to, message.clone()));
        }
        let lost = self.cut.contains(&(from, to)) || !(self.filter)(from, to, &message);
        if lost || self.prng.chance(self.faults.drop_percent, 100) {
            return;
        }
        let delay = self.faults.delay_micros_max;
        if self.prng.chance(self.faults.duplicate_percent, 100) {
            self.schedule(4 * delay, Event::Deliver { from, to, message: message.clone() });
        }
        self.schedule(delay, Event::Deliver { from, to, message });
    }

    fn send_snapshot(&mut self, from: NodeId, to: NodeId, term: Term) {
        let life = self.nodes[&from].life;
        let (meta, machine) = self.nodes[&from].disk.snapshot.clone().expect("a snapshot");
        let lost = self.cut.contains(&(from, to))
            || self.nodes.get(&to).is_none_or(|node| node.engine.is_none())
            || self.prng.chance(2 * self.faults.drop_percent, 100);
        let delay = 10 * self.faults.delay_micros_max;
        if !lost {
            self.schedule(delay, Event::Arrived { from, to, term, machine });
        }
        let sent = Event::Sent { node: from, life, to, last: meta.last, delivered: !lost };
        self.schedule_at(self.now + Duration::from_micros(delay), sent);
    }

    fn next_event(&mut self) {
        let Some(((at, _), event)) = self.events.pop_first() else { return };
        self.now = at;
        match event {
            Event::Deliver { from, to, message } => {
                self.turn(to, vec![Input::Receive { from, message }]);
            }
            Event::Wake { node, at } => {
                if self.nodes[&node].wake_at == Some(at) {
                    self.nodes.get_mut(&node).unwrap().wake_at = None;
                    self.turn(node, vec![Input::Wake]);
                }
            }
            Event::Persisted { node, life, id } => self.persisted(node, life, id),
            Event::Applied { node, life, entries } => self.applied(node, life, entries),
            Event::Built { node, life, machine } => self.built(node, life, machine),
            Event::Arrived { from, to, term, machine } => {
                let meta = machine.meta();
                let me = self.nodes.get_mut(&to).unwrap();
                if me.engine.is_some() {
                    me.staged = Some((meta.clone(), machine));
                    self.turn(to, vec![Input::SnapshotReceived { from, term, meta }]);
                }
            }
            Event::Sent { node, life, to, last, delivered } => {
                if self.nodes[&node].life == life {
                    self.turn(node, vec![Input::SnapshotSent { to, last, delivered }]);
                }
            }
            Event::Installed { node, life, meta } => self.installed(node, life, meta),
        }
    }

    /// Writes complete in order, but their completions may come late and out of order.
    fn persisted(&mut self, node: NodeId, life: u64, id: PersistId) {
        let me = self.nodes.get_mut(&node).unwrap();
        if me.life != life {
            return;
        }
        if me.disk_stalled {
            self.schedule(5_000, Event::Persisted { node, life, id });
            return;
        }
        // Ids count from one in each life, and each was one write.
        while me.synced < id.0 {
            me.disk.sync_one();
            me.synced += 1;
        }
        self.turn(node, vec![Input::Persisted(id)]);
    }

    fn applied(&mut self, node: NodeId, life: u64, entries: Vec<nacolet_raft::Entry>) {
        let me = self.nodes.get_mut(&node).unwrap();
        let Some(last) = entries.last().map(|entry| entry.id) else { return };
        if me.life != life || me.machine.applied.index >= last.index {
            return;
        }
        // One worker: later entries wait for earlier ones.
        if me.apply_stalled || entries[0].id.index != me.machine.applied.index.next() {
            self.schedule(1_000, Event::Applied { node, life, entries });
            return;
        }
        for entry in &entries {
            me.machine.apply(entry);
            self.checker.check_machine(&me.machine);
        }
        for entry in &entries {
            for request in self.proposed.remove(&(node, entry.id.index)).unwrap_or_default() {
                let outcome = &mut self.outcomes.get_mut(&request).unwrap().1;
                if *outcome == Outcome::Proposed(entry.id) {
                    *outcome = Outcome::Done;
                    self.checker.acknowledged = self.checker.acknowledged.max(entry.id.index);
                } else if matches!(outcome, Outcome::Proposed(_)) {
                    *outcome = Outcome::Lost;
                }
            }
        }
        self.turn(node, vec![Input::Applied(last.index)]);
    }

    fn built(&mut self, node: NodeId, life: u64, machine: Machine) {
        let me = self.nodes.get_mut(&node).unwrap();
        if me.life != life {
            return;
        }
        let meta = machine.meta();
        let newest = me.disk.snapshot.as_ref().map_or(LogIndex::ZERO, |(meta, _)| meta.last.index);
        if newest > meta.last.index {
            // One was installed meanwhile; a worker must not put an older one in its place.
            self.turn(node, vec![Input::SnapshotBuildFailed]);
            return;
        }
        me.disk.snapshot = Some((meta.clone(), machine));
        self.turn(node, vec![Input::SnapshotBuilt(meta)]);
    }

    fn installed(&mut self, node: NodeId, life: u64, meta: SnapshotMeta) {
        let me = self.nodes.get_mut(&node).unwrap();
        if me.life != life {
            return;
        }
        let Some((staged, machine)) = me.staged.take().filter(|(staged, _)| *staged == meta) else {
            // Another one arrived meanwhile and took its place aside.
            self.turn(node, vec![Input::SnapshotInstallFailed(meta)]);
            return;
        };
        me.disk.snapshot = Some((staged, machine.clone()));
        // The machine may lose power right between the two parts of an install.
        if self.faults.drop_percent > 0 && self.prng.chance(1, 8) {
            self.crash(node);
            self.restart(node);
            return;
        }
        let me = self.nodes.get_mut(&node).unwrap();
        me.synced += me.disk.writes.len() as u64;
        me.disk.reset(meta.last);
        me.machine = machine;
        self.checker.check_machine(&me.machine);
        for (asked, outcome) in self.outcomes.values_mut() {
            if let Outcome::Proposed(place) = outcome
                && *asked == node
                && place.index <= meta.last.index
            {
                *outcome = Outcome::Lost;
            }
        }
        self.turn(node, vec![Input::SnapshotInstalled(meta)]);
    }
}
