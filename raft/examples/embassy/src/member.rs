//! One member: a task that runs a node until its power is cut, and again when it returns. What the
//! node stored is in memory that stays powered; everything else of it is dropped in mid-air.

use alloc::boxed::Box;

use embassy_futures::select::{Either, select};
use embassy_time::{Instant, Timer};
use nacolet_raft::{
    Config, LocalBoxFuture, Membership, Raft, RamLog, RamSnapshots, Replica, Tasks, engine,
};

use crate::board::{Board, MEMBERS, Wires, id};
use crate::node::Node;
use crate::tally::Tally;

/// Entries that each member keeps in memory, those that are not applied yet included.
const TAIL_ENTRIES: usize = 64;
/// Entries that are not applied yet, at most.
const IN_FLIGHT: usize = 8;

#[embassy_executor::task(pool_size = MEMBERS)]
pub async fn run(number: usize, board: &'static Board) {
    let (log, snapshots) = (RamLog::default(), RamSnapshots::default());
    loop {
        let (node, tasks) = start(number, board, log.clone(), snapshots.clone());
        board.switched(number, Some(node.clone()));
        let power_cut = board.power[number].wait();
        let ended = select(select(tasks.run(), board.receive(number, &node.raft)), power_cut).await;
        if let Either::First(Either::First(outcome)) = ended {
            panic!("member {number} ended by itself: {outcome:?}");
        }
        board.switched(number, None);
        while !board.power[number].wait().await {}
    }
}

/// Never inlined: what it takes of the stack is given back before the node runs.
#[inline(never)]
fn start(
    number: usize,
    board: &'static Board,
    log: RamLog,
    snapshots: RamSnapshots,
) -> (Node, Tasks) {
    let member = Replica::new(Tally::default(), snapshots);
    let state = member.state();
    let wires = Wires { board, from: number };
    let (raft, tasks) = Raft::new(config(number), log, member, wires, EmbassyTimer)
        .expect("what a member has stored fits together");
    (Node { raft, state }, tasks)
}

/// Settings for some KiB instead of some MiB.
fn config(number: usize) -> Config {
    let mut engine = engine::EngineConfig::new(id(number), 7);
    engine.tail_entries_max = TAIL_ENTRIES - IN_FLIGHT;
    engine.tail_bytes_max = 8 << 10;
    engine.held_tail_entries_max = TAIL_ENTRIES - IN_FLIGHT;
    engine.held_tail_bytes_max = 8 << 10;
    engine.snapshot_every_entries = 16;
    engine.append_entries_max = IN_FLIGHT;
    engine.append_bytes_max = 512;
    engine.inflight_max = 4;
    engine.uncommitted_bytes_max = 4 << 10;
    engine.reads_max = 4;
    let members = (0..MEMBERS).map(|number| (id(number), "".into()));
    let mut config = Config::new(engine).bootstrap(Membership::of_voters(members));
    config.requests_max = 4;
    config.receive_max = 4;
    config.send_max = 4;
    config.chunk_bytes = 64;
    config
}

/// The clock of the node: embassy's.
#[derive(Clone, Copy)]
struct EmbassyTimer;

impl nacolet_raft::Timer for EmbassyTimer {
    fn now(&self) -> nacolet_model::Instant {
        nacolet_model::Instant::from_millis(Instant::now().as_millis())
    }

    fn until(&self, deadline: nacolet_model::Instant) -> LocalBoxFuture<'static, ()> {
        // Rounded up: an alarm may ring late and never early.
        let millis = deadline.as_micros().div_ceil(1_000);
        Box::pin(Timer::at(Instant::from_millis(millis)))
    }
}
