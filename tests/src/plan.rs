//! What one seed does: each draws its whole configuration, so that some runs have no faults, some
//! only one kind and some all of them, and every bound is small in some of them.

use nacolet_model::{Duration, Prng};

use crate::network::Weather;

/// Which faults a run has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Power cuts.
    pub crash: bool,
    /// Pauses of whole nodes.
    pub pause: bool,
    /// Full disks.
    pub full: bool,
    /// Jumps of wall clocks.
    pub clock: bool,
    /// Cut lines.
    pub partition: bool,
    /// Changes of membership.
    pub membership: bool,
    /// Handed-over leadership, snapshots by hand.
    pub operator: bool,
}

/// The configuration of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where everything comes from.
    pub seed: u64,
    /// Voters at the beginning.
    pub voters: u64,
    /// Machines that are not members at the beginning.
    pub spares: u64,
    /// How long faults and clients last.
    pub duration: Duration,
    /// Which faults.
    pub faults: Faults,
    /// Mean time between two faults.
    pub fault_every: Duration,
    /// Slowest write or sync.
    pub disk_latency_max: Duration,
    /// Writes and syncs out of a hundred that take a second.
    pub disk_spikes_percent: u64,
    /// Power cuts out of a hundred that keep something unsynced.
    pub mixed_percent: u64,
    /// The lines while there are faults.
    pub weather: Weather,
    /// Per mille by which clocks may be wrong.
    pub drift_max: u64,
    /// Entries kept in memory.
    pub tail: usize,
    /// Entries between two snapshots.
    pub snapshot_every: u64,
    /// Messages in flight.
    pub inflight: usize,
    /// Entries of one message.
    pub append_entries: usize,
    /// Bytes of one snapshot chunk.
    pub chunk_bytes: usize,
    /// Bytes of uncommitted entries.
    pub uncommitted_bytes: usize,
    /// Whether reads are answered from the leader's lease.
    pub lease_reads: bool,
    /// Clients that read and write.
    pub clients: u64,
    /// Keys they share.
    pub keys: u64,
    /// Longest time between two operations of one client.
    pub think_max: Duration,
    /// Clients that listen.
    pub listeners: u64,
    /// Clients of the registry.
    pub naming: Naming,
    /// Messages that wait between two registries.
    pub registry_queue: usize,
}

/// How many clients of each kind the registry has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// Services that they share.
    pub services: u64,
    /// Clients that beat.
    pub beating: u64,
    /// Clients that publish over a connection.
    pub connections: u64,
    /// Operators that deregister what belongs to others.
    pub operators: u64,
    /// Clients that read lists here and there.
    pub subscribers: u64,
}

impl Naming {
    /// One seed of three is about the registry, the others have a little of it.
    fn draw(prng: &mut Prng, much: bool) -> Self {
        if much {
            Self {
                services: 1 + prng.below(5),
                beating: prng.below(12),
                connections: prng.below(6),
                operators: prng.below(2),
                subscribers: prng.below(4),
            }
        } else {
            Self {
                services: 1,
                beating: prng.below(3),
                connections: prng.below(2),
                ..Self::default()
            }
        }
    }
}

fn one_of<T: Copy>(prng: &mut Prng, choices: &[T]) -> T {
    choices[usize::try_from(prng.below(choices.len() as u64)).unwrap_or(0)]
}

impl Plan {
    /// The plan of `seed`, with `voters` voters if the caller wants a certain number.
    #[must_use]
    pub fn new(seed: u64, voters: Option<u64>) -> Self {
        let mut prng = Prng::new(seed ^ 0x0051_e5ee_d000);
        let prng = &mut prng;
        let drawn = one_of(prng, &[1, 1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 7]);
        let voters = voters.unwrap_or(drawn);
        let quiet = prng.chance(1, 16);
        let mut flag = |chances: u64| prng.chance(chances, 4) && !quiet;
        let faults = Faults {
            crash: flag(3),
            pause: flag(2),
            full: flag(1),
            clock: flag(2),
            partition: flag(3),
            membership: flag(2),
            operator: flag(2),
        };
        let rough = prng.chance(3, 4) && !quiet;
        let weather = if rough {
            Weather {
                delay_max: Duration::from_micros(one_of(prng, &[1_000, 5_000, 50_000, 500_000])),
                loss_percent: one_of(prng, &[0, 0, 1, 5, 30]),
                double_percent: one_of(prng, &[0, 0, 10, 50]),
                reorder_percent: one_of(prng, &[0, 0, 10, 50]),
            }
        } else {
            Weather::fair()
        };
        let lease_reads = prng.chance(1, 4);
        let mut plan = Self {
            seed,
            voters,
            spares: if faults.membership { prng.below(3) } else { 0 },
            duration: Duration::from_millis(8_000 + prng.below(40_000)),
            faults,
            fault_every: Duration::from_millis(one_of(prng, &[150, 500, 1_500, 4_000])),
            disk_latency_max: Duration::from_micros(one_of(
                prng,
                &[200, 1_000, 5_000, 20_000, 200_000, 1_000_000],
            )),
            disk_spikes_percent: 0,
            mixed_percent: one_of(prng, &[0, 40, 90]),
            weather,
            // A lease trusts that clocks run alike.
            drift_max: if lease_reads { 0 } else { one_of(prng, &[0, 10, 50]) },
            tail: 2 + usize::try_from(prng.below(40)).unwrap_or(0),
            snapshot_every: 4 + prng.below(60),
            inflight: 1 + usize::try_from(prng.below(6)).unwrap_or(0),
            append_entries: one_of(prng, &[1, 2, 8, 64]),
            chunk_bytes: one_of(prng, &[64, 512, 8_192]),
            uncommitted_bytes: one_of(prng, &[2_048, 1 << 20, 1 << 20, 1 << 20]),
            lease_reads,
            clients: if prng.chance(1, 10) { 30 } else { 1 + prng.below(8) },
            keys: 1 + prng.below(6),
            think_max: Duration::from_millis(one_of(prng, &[20, 100, 100, 800])),
            listeners: prng.below(5),
            naming: Naming::default(),
            registry_queue: 1_000,
        };
        plan.draw_naming(&mut Prng::new(seed ^ 0x00d1_5740_0000));
        plan
    }

    /// What the registry needs: long times, and few others.
    fn draw_naming(&mut self, prng: &mut Prng) {
        let much = prng.chance(1, 3);
        self.naming = Naming::draw(prng, much);
        self.registry_queue = one_of(prng, &[4, 64, 1_000]);
        if much {
            self.duration = Duration::from_millis(30_000 + prng.below(100_000));
            self.fault_every = Duration::from_millis(one_of(prng, &[1_500, 5_000, 15_000]));
            self.clients = prng.below(3);
            self.think_max = Duration::from_millis(2_000);
            self.listeners = prng.below(2);
        }
    }
}
