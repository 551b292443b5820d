//! Random faults under random writes, from a seed: crashes that lose what was not synced, cut
//! lines, full disks, slow disks, lost chunks and transfers. Whatever happens, an acknowledged
//! write is in the state once, a refused one never, and one whose outcome is unknown at most once.

use std::collections::BTreeMap;

use nacolet_model::{Duration, NodeId, Prng};
use nacolet_raft::testing::{LedgerRefusal, Pending, WriteMode};
use nacolet_raft::{ClientWriteError, Outcome};

use crate::rig::Cluster;

const NODES: u64 = 3;
const STEPS: usize = 120;
const SEEDS: u64 = 40;

type Written = Pending<Result<u64, ClientWriteError<LedgerRefusal>>>;

/// What became of the write of each amount; every amount is written once.
#[derive(Default)]
struct History {
    pending: BTreeMap<u64, Written>,
    acknowledged: Vec<u64>,
    refused: Vec<u64>,
    unknown: Vec<u64>,
}

impl History {
    fn collect(&mut self) {
        let Self { pending, acknowledged, refused, unknown } = self;
        pending.retain(|amount, written| {
            let Some(outcome) = written.take() else { return true };
            match outcome.map_err(|error| error.outcome()) {
                Ok(_) => acknowledged.push(*amount),
                Err(Outcome::Refused) => refused.push(*amount),
                Err(Outcome::Unknown) => unknown.push(*amount),
            }
            false
        });
    }
}

fn step(cluster: &mut Cluster, random: &mut Prng, history: &mut History, next: &mut u64) {
    let node = NodeId(1 + random.below(NODES));
    match random.below(20) {
        0 => cluster.restart(node),
        1 => cluster.board.isolate(node),
        2 | 3 => cluster.board.heal(),
        4 => cluster.nodes[&node].log.set_full(random.chance(1, 2)),
        5 => cluster.nodes.values().for_each(|node| node.log.set_full(false)),
        6 => cluster.nodes[&node].log.set_mode(WriteMode::Manual),
        7 => cluster.nodes[&node].log.set_mode(WriteMode::Immediate),
        8 => cluster.board.fail_chunks_every(random.below(4)),
        9 => {
            let raft = cluster.raft(node);
            cluster.crew.spawn(async move { raft.transfer_leader(None).await });
        }
        10 => {
            let raft = cluster.raft(node);
            cluster.crew.spawn(async move { raft.trigger_snapshot().await });
        }
        _ => {
            // Mostly to somebody who leads, or hardly any write would get far.
            let leaders = cluster.leaders();
            let to = if random.chance(1, 5) { Some(&node) } else { leaders.last() };
            for _ in 0..1 + random.below(4) {
                *next += 1;
                history.pending.insert(*next, cluster.write(*to.unwrap_or(&node), *next));
            }
        }
    }
    cluster.pass(Duration::from_millis(random.below(400)));
    for node in cluster.nodes.values() {
        node.log.sync(|left| random.index(left));
    }
    cluster.crew.run();
    history.collect();
}

fn run(seed: u64) {
    let mut random = Prng::new(seed);
    let mut cluster = Cluster::with_small_logs(NODES);
    let (mut history, mut next) = (History::default(), 0);
    for _ in 0..STEPS {
        step(&mut cluster, &mut random, &mut history, &mut next);
        for node in cluster.nodes.values() {
            assert_eq!(node.core.take(), None, "seed {seed}: a node stopped by itself");
        }
    }
    cluster.board.heal();
    cluster.board.fail_chunks_every(0);
    for node in cluster.nodes.values() {
        node.log.set_full(false);
        node.log.set_mode(WriteMode::Immediate);
        node.log.sync(|_| 0);
    }
    cluster.pass(Duration::from_secs(20));
    history.collect();
    assert!(history.pending.is_empty(), "seed {seed}: {:?} have no answer", history.pending.keys());
    cluster.assert_alike();
    let state = cluster.nodes[&NodeId(1)].ledger.state();
    let mut amounts: Vec<u64> = state.additions.iter().map(|(_, amount)| *amount).collect();
    amounts.sort_unstable();
    assert!(amounts.windows(2).all(|pair| pair[0] != pair[1]), "seed {seed}: applied twice");
    for amount in &history.acknowledged {
        assert!(amounts.binary_search(amount).is_ok(), "seed {seed}: {amount} is lost");
    }
    for amount in &history.refused {
        assert!(amounts.binary_search(amount).is_err(), "seed {seed}: {amount} was refused");
    }
    assert!(cluster.must_write(next + 1) > 0, "seed {seed}: the group serves again");
}

#[test]
fn no_acknowledged_write_is_lost_and_none_is_applied_twice() {
    // docs/raft-traps.md, trap 57: what ended as unknown may have happened, once; what was refused
    // has not.
    (0..SEEDS).for_each(run);
}
