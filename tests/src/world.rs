//! A whole cluster in one thread: machines with disks and clocks, lines between them, clients in
//! front of them, and the faults of a plan. Two phases: faults on, then everything heals and must
//! converge.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use nacolet_model::{Duration, Instant, NodeId, Prng};
use nacolet_raft::{Config, Membership, Metrics, RoleKind, engine};

use crate::checker::{Checkers, Final};
use crate::clock::NodeClock;
use crate::disk::{Disk, Manners};
#[cfg(test)]
use crate::kernel::group_of;
use crate::kernel::{GroupId, Kernel, OUTSIDE};
use crate::log::DurableLog;
use crate::naming;
use crate::network::{Network, Weather};
use crate::node::{Birth, Hardware, Life};
use crate::plan::Plan;
use crate::planted::Planted;
use crate::story::{Line, Story, Who};
use crate::workload::{self, Client, Door, Town};

/// Time to converge once everything has healed.
const HEALING: Duration = Duration::from_secs(10);
/// Time in which every listener must have heard of the last change.
const HEARING: Duration = Duration::from_secs(5);
/// How often the lists of instances are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A machine, and the process that runs on it, if one does.
pub(crate) struct Machine {
    pub(crate) hardware: Hardware,
    pub(crate) life: Option<Life>,
    lives: u64,
    /// When its process goes on.
    paused_until: Option<Instant>,
    /// When its process went on last.
    pub(crate) resumed: Instant,
    /// Since when its registry serves.
    pub(crate) ready: Option<Instant>,
    /// The members its registry knows, and since when.
    pub(crate) members: (Instant, BTreeSet<NodeId>),
    /// When it is started again.
    start_at: Instant,
}

/// The simulated world of one seed.
pub struct World {
    pub(crate) plan: Plan,
    planted: Option<Planted>,
    pub(crate) kernel: Kernel,
    pub(crate) checkers: Checkers,
    pub(crate) network: Network,
    town: Rc<Town>,
    pub(crate) prng: Prng,
    pub(crate) machines: BTreeMap<NodeId, Machine>,
    pub(crate) disks: Vec<(NodeId, Disk)>,
    /// What of their logs would survive a power cut.
    logs: Vec<(NodeId, DurableLog)>,
    look_at: Instant,
    crashes: u64,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kernel.clear();
    }
}

impl World {
    /// The world of a plan, with a bug or without.
    #[must_use]
    pub fn new(plan: Plan, planted: Option<Planted>) -> Self {
        let kernel = Kernel::default();
        let checkers = Checkers::new(kernel.story().clone());
        let mut prng = Prng::new(plan.seed);
        let network = Network::new(
            kernel.clone(),
            checkers.clone(),
            prng.fork(),
            plan.registry_queue,
            planted,
        );
        let town = Rc::new(Town {
            kernel: kernel.clone(),
            checkers: checkers.clone(),
            doors: RefCell::default(),
            keys: workload::keys(plan.keys).unwrap_or_default(),
            think_max: plan.think_max,
            closing: Cell::new(false),
            last_serial: Cell::new(0),
            last_connection: Cell::new(0),
            last_client: Cell::new(0),
        });
        let mut machines = BTreeMap::new();
        let mut disks = Vec::new();
        for number in 1..=plan.voters + plan.spares {
            let id = NodeId(number);
            let drift = i64::try_from(prng.below(2 * plan.drift_max + 1)).unwrap_or(0);
            let drift = drift - i64::try_from(plan.drift_max).unwrap_or(0);
            let clock = NodeClock::new(kernel.clone(), drift);
            let disk = Disk::new(kernel.clone(), checkers.clone(), id, prng.fork(), planted);
            disks.push((id, disk.clone()));
            let hardware = Hardware { id, disk, clock };
            let machine = Machine {
                hardware,
                life: None,
                lives: 0,
                paused_until: None,
                resumed: Instant::ZERO,
                ready: None,
                members: (Instant::ZERO, BTreeSet::new()),
                start_at: Instant::ZERO,
            };
            machines.insert(id, machine);
        }
        let logs = disks.iter().map(|(id, disk)| (*id, disk.durable())).collect();
        let look_at = Instant::ZERO;
        Self {
            plan,
            planted,
            kernel,
            checkers,
            network,
            town,
            prng,
            machines,
            disks,
            logs,
            look_at,
            crashes: 0,
        }
    }

    /// Who looks on.
    #[must_use]
    pub fn checkers(&self) -> &Checkers {
        &self.checkers
    }

    /// Sums up everything that happened.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.kernel.trace()
    }

    /// Power cuts so far.
    #[must_use]
    pub fn crashes(&self) -> u64 {
        self.crashes
    }

    /// Both phases, up to the first broken promise.
    pub fn run(&mut self) {
        self.begin();
        let end = self.kernel.now() + self.plan.duration;
        while self.kernel.now() < end && !self.is_over() {
            let pause = self.micros(self.plan.fault_every * 2);
            self.run_until(self.kernel.now() + pause);
            self.disturb();
        }
        if !self.is_over() {
            self.heal();
        }
        if !self.is_over() {
            self.finish();
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.checkers.violation().is_some()
    }

    pub(crate) fn micros(&mut self, max: Duration) -> Duration {
        Duration::from_micros(self.prng.below(u64::try_from(max.as_micros()).unwrap_or(u64::MAX)))
    }

    /// What happened so far, in words, once somebody asked for it with [`Story::record`].
    #[must_use]
    pub fn story(&self) -> &Story {
        self.kernel.story()
    }

    pub(crate) fn tell(&self, line: impl FnOnce() -> Line) {
        self.kernel.story().tell(line);
    }

    /// Tells what happens to a node that runs.
    fn tell_of_living(&self, id: NodeId, what: impl FnOnce() -> String) {
        if self.machines.get(&id).is_some_and(|machine| machine.life.is_some()) {
            self.tell(|| Line::fault(id, what()));
        }
    }

    /// Whose task is being polled; after a panic, whose task panicked.
    pub(crate) fn polled(&self) -> GroupId {
        self.kernel.polled()
    }

    /// Makes a node panic, to see what is told of it.
    #[cfg(test)]
    pub(crate) fn panics_at(&self, id: NodeId, at: Instant, text: &'static str) {
        let kernel = self.kernel.clone();
        let panics = async move { panic!("{text}") };
        self.kernel.at(at, move || kernel.spawn(group_of(id, 1), panics));
    }

    // ---- time ----

    /// Lets time pass. Machines that are due to start or to go on do so.
    pub(crate) fn run_until(&mut self, end: Instant) {
        while !self.is_over() {
            let due = self.next_due().filter(|due| *due <= end);
            let stop = due.unwrap_or(end);
            while !self.is_over() && self.kernel.step(stop) {
                self.observe();
            }
            if due.is_none() {
                return;
            }
            self.do_what_is_due();
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let starts = self.machines.values().filter(|machine| machine.life.is_none());
        let starts = starts.map(|machine| machine.start_at);
        let resumes = self.machines.values().filter_map(|machine| machine.paused_until);
        starts.chain(resumes).chain([self.look_at]).min().map(|due| due.max(self.kernel.now()))
    }

    fn do_what_is_due(&mut self) {
        let now = self.kernel.now();
        if self.look_at <= now {
            self.look_at = now + LOOK_EVERY;
            self.look();
        }
        let ids: Vec<NodeId> = self.machines.keys().copied().collect();
        for id in ids {
            let machine = &self.machines[&id];
            let (starts, resumes) = (machine.start_at, machine.paused_until);
            if machine.life.is_none() && starts <= now {
                self.start(id);
            }
            if resumes.is_some_and(|at| at <= now) {
                self.resume(id);
            }
        }
        self.kernel.settle();
        self.observe();
    }

    /// Looks at every living node.
    pub(crate) fn observe(&mut self) {
        let story = self.kernel.story();
        let records = story.records();
        for machine in self.machines.values() {
            let Some(life) = &machine.life else { continue };
            let metrics = life.raft.metrics();
            if records {
                story.watch(|watched| watched.raft(life.number, &metrics));
            }
            self.checkers.observed(life.number, &metrics, &self.logs);
            if let Some(ended) = life.ended.borrow().as_ref() {
                let id = machine.hardware.id;
                self.checkers.fail("P8", format!("{id} stopped by itself: {ended:?}"));
            }
        }
    }

    // ---- machines ----

    fn begin(&mut self) {
        let ids: Vec<NodeId> = self.machines.keys().copied().collect();
        ids.into_iter().for_each(|id| self.start(id));
        self.kernel.settle();
        // A cluster whose founding is lost in a power cut would have to be founded again.
        self.run_until(Instant::from_millis(200));
        self.set_conditions(true);
        let mut prng = self.prng.fork();
        workload::start(&self.town, &self.plan, &mut prng);
        naming::start(&self.town, &self.plan, &mut prng);
    }

    fn set_conditions(&self, rough: bool) {
        let Plan { disk_latency_max, disk_spikes_percent, mixed_percent, .. } = self.plan;
        let (latency_max, spikes_percent) = if rough {
            (disk_latency_max, disk_spikes_percent)
        } else {
            (Duration::from_micros(300), 0)
        };
        let manners = Manners { latency_max, spikes_percent, mixed_percent };
        self.disks.iter().for_each(|(_, disk)| disk.set_manners(manners));
        self.network.set_weather(if rough { self.plan.weather } else { Weather::fair() });
    }

    fn settings(&self, id: NodeId, life: u64) -> Config {
        let plan = &self.plan;
        let mut engine = engine::EngineConfig::new(id, plan.seed ^ life.rotate_left(17));
        engine.tail_entries_max = plan.tail;
        engine.snapshot_every_entries = plan.snapshot_every;
        engine.inflight_max = plan.inflight;
        engine.append_entries_max = plan.append_entries;
        engine.uncommitted_bytes_max = plan.uncommitted_bytes;
        engine.lease_reads = plan.lease_reads;
        let mut config = Config::new(engine);
        config.chunk_bytes = plan.chunk_bytes;
        if id.0 <= plan.voters {
            let voters =
                (1..=plan.voters).map(|voter| (NodeId(voter), format!("host-{voter}:7848")));
            config = config.bootstrap(Membership::of_voters(voters));
        }
        config
    }

    fn start(&mut self, id: NodeId) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        machine.lives += 1;
        let (number, hardware) = (machine.lives, machine.hardware.clone());
        self.tell(|| Line::of(id, format!("starts, life {number}")));
        let birth = Birth {
            number,
            config: self.settings(id, number),
            network: self.network.plug_of(id, hardware.disk.clone()),
            lines: self.network.clone(),
            kernel: self.kernel.clone(),
            checkers: self.checkers.clone(),
            planted: self.planted,
        };
        let life = match hardware.start(birth) {
            Ok(life) => life,
            Err(error) => {
                return self.checkers.fail("P8", format!("{id} does not start: {error}"));
            }
        };
        self.network.plug(&life.raft, &life.inbox);
        let (inbox, distro_life) = (life.inbox.clone(), life.distro_life);
        let door = Door { inbox, life: number, distro_life };
        self.town.doors.borrow_mut().insert(id, door);
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.life = Some(life);
            machine.resumed = Instant::ZERO;
            machine.ready = None;
            machine.paused_until = None;
        }
    }

    /// The power of a machine goes; it comes back after `down`.
    pub(crate) fn crash(&mut self, id: NodeId, down: Duration) {
        self.tell_of_living(id, || format!("loses power for {down:?}"));
        self.stop(id, down, Disk::crash);
    }

    /// The process of a machine dies; what it wrote and did not sync is still there when it is
    /// back.
    pub(crate) fn kill(&mut self, id: NodeId, down: Duration) {
        self.tell_of_living(id, || format!("is killed, and started again after {down:?}"));
        self.stop(id, down, Disk::abandon);
    }

    fn stop(&mut self, id: NodeId, down: Duration, leave: impl FnOnce(&Disk)) {
        let start_at = self.kernel.now() + down;
        let Some(machine) = self.machines.get_mut(&id) else { return };
        let Some(life) = machine.life.take() else { return };
        machine.start_at = start_at;
        machine.paused_until = None;
        self.crashes += 1;
        let door = self.town.doors.borrow_mut().remove(&id);
        self.network.unplug(id);
        let group = life.group;
        leave(&machine.hardware.disk);
        // Requests that nobody took are connections that break.
        drop((life.inbox.take(), life, door));
        self.kernel.kill(group);
        self.kernel.settle();
    }

    pub(crate) fn pause(&mut self, id: NodeId, time: Duration) {
        self.tell_of_living(id, || format!("stands still for {time:?}"));
        let until = self.kernel.now() + time;
        let Some(machine) = self.machines.get_mut(&id) else { return };
        if let Some(life) = &machine.life {
            self.kernel.pause(life.group);
            machine.paused_until = Some(until);
        }
    }

    fn resume(&mut self, id: NodeId) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        machine.paused_until = None;
        machine.resumed = self.kernel.now();
        if let Some(life) = &machine.life {
            self.kernel.resume(life.group);
            self.tell(|| Line::fault(id, "goes on"));
        }
    }

    // ---- the end ----

    /// The leader of the highest term.
    pub(crate) fn leader(&self) -> Option<Metrics> {
        let lives = self.machines.values().filter_map(|machine| machine.life.as_ref());
        let metrics = lives.map(|life| life.raft.metrics());
        metrics
            .filter(|metrics| metrics.role == RoleKind::Leader)
            .max_by_key(|metrics| metrics.term)
    }

    fn metrics(&self, id: NodeId) -> Option<Metrics> {
        Some(self.machines.get(&id)?.life.as_ref()?.raft.metrics())
    }

    /// Whether all members agree with the leader about everything.
    fn has_converged(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        !leader.membership.is_joint()
            && leader.applied_index == leader.last_log.index
            && leader.membership.members().iter().all(|member| {
                self.metrics(*member).is_some_and(|metrics| {
                    metrics.leader == Some(leader.id)
                        && metrics.membership == leader.membership
                        && metrics.last_log == leader.last_log
                        && metrics.applied_index == leader.applied_index
                })
            })
    }

    pub(crate) fn run_until_done(&mut self, time: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.kernel.now() + time;
        while self.kernel.now() < end && !self.is_over() {
            if done(self) {
                return true;
            }
            self.run_until(self.kernel.now() + Duration::from_millis(50));
        }
        done(self)
    }

    fn heal(&mut self) {
        self.tell(|| {
            Line::fault(Who::World, "heals: no more faults, and clients begin nothing new")
        });
        self.town.closing.set(true);
        self.network.mend();
        self.set_conditions(false);
        self.disks.iter().for_each(|(_, disk)| disk.set_full(0));
        let now = self.kernel.now();
        for machine in self.machines.values_mut() {
            machine.start_at = machine.start_at.min(now);
            machine.paused_until = machine.paused_until.map(|until| until.min(now));
        }
        // Clients that still wait hear the end of it.
        self.run_until(now + Duration::from_secs(5));
        if !self.run_until_done(HEALING, Self::has_converged) && !self.is_over() {
            let what = self.describe();
            return self.checkers.fail("P8", format!("no convergence: {what}"));
        }
        self.retire_strangers();
        let done = Rc::new(Cell::new(false));
        let prng = self.prng.fork();
        let client = Client::new(&self.town, prng);
        self.kernel.spawn(OUTSIDE, client.prove_service(10, Rc::clone(&done)));
        self.kernel.settle();
        if !self.run_until_done(HEALING, |_| done.get()) && !self.is_over() {
            let what = self.describe();
            return self.checkers.fail("P8", format!("no service after healing: {what}"));
        }
        self.run_until(self.kernel.now() + HEARING);
        if !self.has_converged() {
            let what = self.describe();
            self.checkers.fail("P8", format!("no second convergence: {what}"));
        }
        self.settle_registries();
    }

    /// Whoever is no member is switched off, as its operator would.
    fn retire_strangers(&mut self) {
        let Some(leader) = self.leader() else { return };
        let members = leader.membership.members();
        let strangers: Vec<NodeId> =
            self.machines.keys().copied().filter(|id| !members.contains(id)).collect();
        for id in strangers {
            self.tell(|| Line::fault(id, "is no member and is switched off"));
            self.crash(id, Duration::from_secs(1_000_000));
        }
    }

    fn describe(&self) -> String {
        let line = |machine: &Machine| match &machine.life {
            Some(life) => format!("\n  {:?}", life.raft.metrics()),
            None => format!("\n  {} is down", machine.hardware.id),
        };
        self.machines.values().map(line).collect()
    }

    fn finish(&mut self) {
        self.look();
        let Some(leader) = self.leader() else { return };
        let members = leader.membership.members();
        let lives = members.iter().filter_map(|id| {
            let life = self.machines.get(id)?.life.as_ref()?;
            Some((*id, life))
        });
        let states: Vec<Final<'_>> = lives
            .map(|(node, life)| {
                let applied = life.raft.metrics().applied_index.0;
                Final { node, shared: &life.shared, applied }
            })
            .collect();
        self.checkers.finish(&states);
    }
}
