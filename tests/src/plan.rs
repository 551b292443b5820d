//! What one seed does: each draws its whole configuration, so that some runs have no faults, some only
//! one kind and some all of them, and every bound is small in some of them.

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
    /// Clients that register and beat.
    pub instances: u64,
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
        Self {
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
            instances: prng.below(6),
        }
    }
}
