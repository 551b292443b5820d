//! A shard on disks that lose at a power cut whatever was not synced, under seeds: an acknowledged
//! write is there afterwards, on every member, and one that was refused is not.

use std::collections::BTreeMap;

use nacolet_model::{Duration, NodeId, Prng, WallTime};
use nacolet_raft::testing::{Crew, ManualTimer, MemoryLog, Pending, Switchboard, WriteMode};
use nacolet_raft::{
    ClientWriteError, Config, Fatal, Membership, Outcome, Raft, RamSnapshots, Replica, State,
    engine,
};

use crate::store::{Change, Command, Refused, Store};

const MEMBERS: u64 = 3;
/// Long enough for an election and for all that waits.
const CALM: Duration = Duration::from_secs(10);

type Member = Replica<Store, RamSnapshots>;
type Written = Result<Option<String>, ClientWriteError<Refused>>;

struct Node {
    raft: Raft<Member>,
    state: State<Store>,
    task: Pending<Result<(), Fatal>>,
}

/// What a power cut leaves of one member, once [`MemoryLog::crash`] was called.
#[derive(Clone, Default)]
struct Disk {
    log: MemoryLog,
    snapshots: RamSnapshots,
}

struct Shard {
    prng: Prng,
    crew: Crew,
    timer: ManualTimer,
    board: Switchboard<Member>,
    disks: Vec<Disk>,
    /// Out of how many looks at a disk it has synced a record in one.
    slowness: Vec<u64>,
    nodes: BTreeMap<NodeId, Node>,
    /// Records that power cuts took.
    lost: usize,
}

impl Shard {
    fn new(seed: u64) -> Self {
        let mut shard = Self {
            prng: Prng::new(seed),
            crew: Crew::default(),
            timer: ManualTimer::default(),
            board: Switchboard::default(),
            disks: (0..MEMBERS).map(|_| Disk::default()).collect(),
            slowness: vec![1; 3],
            nodes: BTreeMap::new(),
            lost: 0,
        };
        for number in 0..shard.disks.len() {
            shard.disks[number].log.set_mode(WriteMode::Manual);
            shard.start(number);
        }
        shard
    }

    fn start(&mut self, number: usize) {
        let id = NodeId(number as u64);
        let mut settings = engine::EngineConfig::new(id, self.prng.next_u64());
        settings.snapshot_every_entries = 16;
        settings.tail_entries_max = 4;
        let members = (0..MEMBERS).map(|id| (NodeId(id), id.to_string()));
        let config = Config::new(settings).bootstrap(Membership::of_voters(members));
        let Disk { log, snapshots } = self.disks[number].clone();
        let replica = Replica::new(Store::default(), snapshots);
        let (state, wires) = (replica.state(), self.board.wires(id));
        let (raft, tasks) =
            Raft::new(config, log, replica, wires, self.timer.clone()).expect("it fits together");
        self.board.plug(&raft);
        let task = self.crew.spawn(tasks.run());
        self.nodes.insert(id, Node { raft, state, task });
    }

    fn cut_power(&mut self, number: usize) {
        let Some(node) = self.nodes.remove(&NodeId(number as u64)) else { return };
        self.board.unplug(node.raft.id());
        self.crew.kill(&node.task);
        self.lost += self.disks[number].log.unsynced();
        self.disks[number].log.crash();
    }

    /// Lets time pass, while each disk syncs now and then one record of those that it was given.
    fn pass(&mut self, time: Duration) {
        let end = self.timer_now() + time;
        while self.timer_now() < end {
            self.crew.pass(&self.timer, Duration::from_millis(5));
            for (disk, slowness) in self.disks.iter().zip(&self.slowness) {
                if self.prng.chance(1, *slowness) {
                    disk.log.sync_first(1, |_| 0);
                }
            }
        }
        self.crew.run();
    }

    fn timer_now(&self) -> nacolet_model::Instant {
        nacolet_raft::Timer::now(&self.timer)
    }

    /// Asks whoever believes to lead to set a key that nobody else sets.
    fn set(&mut self, key: &str) -> Option<Pending<Written>> {
        let raft =
            self.nodes.values().map(|node| &node.raft).find(|raft| raft.is_leader())?.clone();
        let change = Change::Set { value: format!("of {key}"), ttl_ms: None };
        let command = Command { at: WallTime(0), key: key.to_owned(), change };
        Some(self.crew.spawn(async move { raft.client_write(&command).await }))
    }
}

/// How many writes were acknowledged, and how many records were lost.
fn run(seed: u64) -> (usize, usize) {
    let mut shard = Shard::new(seed);
    let mut writes = Vec::new();
    for step in 0..200 {
        for nth in 0..=shard.prng.below(4) {
            let key = format!("key-{step}-{nth}");
            writes.extend(shard.set(&key).map(|written| (key, written)));
        }
        let time = shard.prng.below(40);
        shard.pass(Duration::from_millis(time));
        if step % 8 == 7 {
            // One, two or all at once.
            for number in 0..shard.disks.len() {
                if shard.prng.chance(2, 3) {
                    shard.cut_power(number);
                }
            }
            shard.slowness.fill_with(|| 1 + shard.prng.below(12));
            let dark = shard.prng.below(2_000);
            shard.pass(Duration::from_millis(dark));
            for number in 0..shard.disks.len() {
                if !shard.nodes.contains_key(&NodeId(number as u64)) {
                    shard.start(number);
                }
            }
            shard.pass(Duration::from_secs(2));
        }
    }
    shard.pass(CALM);
    let mut acknowledged = 0;
    for (key, written) in &writes {
        let values = shard.nodes.values().map(|node| node.state.read(|store| store.value(key)));
        let values: Vec<Option<String>> = values.collect();
        match written.take() {
            Some(Ok(old)) => {
                assert_eq!(old, None, "seed {seed}: {key} was set twice");
                let expected = Some(format!("of {key}"));
                assert!(values.iter().all(|v| *v == expected), "seed {seed}: {key}: {values:?}");
                acknowledged += 1;
            }
            Some(Err(error)) if error.outcome() == Outcome::Refused => {
                assert!(values.iter().all(Option::is_none), "seed {seed}: {key}: {values:?}");
            }
            // Nobody knows, or the node that would have answered is no more: the same everywhere.
            Some(Err(_)) | None => {
                assert!(values.iter().all(|v| *v == values[0]), "seed {seed}: {key}: {values:?}");
            }
        }
    }
    (acknowledged, shard.lost)
}

#[test]
fn acknowledged_writes_survive_the_loss_of_what_was_not_synced() {
    let (mut acknowledged, mut lost) = (0, 0);
    for seed in 0..40 {
        let (more, gone) = run(seed);
        acknowledged += more;
        lost += gone;
    }
    assert!(acknowledged > 2_000, "only {acknowledged} writes were acknowledged");
    assert!(lost > 200, "only {lost} records were lost");
}
