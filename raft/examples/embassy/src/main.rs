//! Three members of one Raft group as embassy tasks on a Cortex-M4: they elect a leader, replicate
//! 1,000 commands, lose the leader, go on without it, take it back behind a snapshot and agree. The
//! crate is the one that runs on servers; only its surroundings are written here: `board` is the
//! network, `member` one task, `node` what it runs, `tally` the application, `hardware` the clock
//! and the memory.
//!
//! `cargo run --release` in this folder starts it under QEMU; it ends with exit code 0 or a panic.
#![no_std]
#![no_main]

extern crate alloc;

mod board;
mod hardware;
mod member;
mod node;
mod tally;

use alloc::boxed::Box;

use cortex_m_semihosting::{debug, hprintln};
use embassy_executor::Spawner;
use embassy_time::{Duration, Instant, Timer, with_timeout};

use crate::board::{Board, MEMBERS};
use crate::node::Node;
use crate::tally::Reading;

/// Commands before the leader is lost.
const BEFORE: u32 = 1_000;
/// Commands while it is away: more than the others keep in their tails.
const WITHOUT: u32 = 200;
/// No step of the story takes longer: some elections at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at something that is being waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    hardware::start();
    let board: &'static Board = Box::leak(Box::new(Board::new()));
    for number in 0..MEMBERS {
        spawner.spawn(member::run(number, board).expect("the pool has a place for each member"));
    }

    let leader = leader(board).await;
    let elected = Instant::now();
    hprintln!("elected: member {} after {} ms", leader, elected.as_millis());

    replicate(board, 0..BEFORE).await;
    let took = elected.elapsed();
    hprintln!("replicated: {} commands in {} ms", BEFORE, took.as_millis());

    board.power[leader].signal(false);
    until(|| board.node(leader).is_none()).await;
    let lost = Instant::now();
    let next = self::leader(board).await;
    hprintln!(
        "lost member {}: member {} leads after {} ms",
        leader,
        next,
        lost.elapsed().as_millis()
    );
    assert!(next != leader, "the lost member leads nobody");

    replicate(board, BEFORE..BEFORE + WITHOUT).await;
    hprintln!("replicated: {} more commands without member {}", WITHOUT, leader);

    board.power[leader].signal(true);
    let returned = Instant::now();
    let agreed = comes_true(|| agreed(board, BEFORE + WITHOUT)).await;
    let took = returned.elapsed();
    // Told before it is judged: whoever reads of a failure wants to know who has what.
    for number in 0..MEMBERS {
        let (hash, count) = board.node(number).map(|node| node.summary()).expect("all run");
        hprintln!("member {}: {} commands, hash {:016x}", number, count, hash);
    }
    assert!(agreed, "the members disagree: one command or its order is not the same on all");
    let snapshots = board.chunks();
    assert!(snapshots > 0, "the returned member was behind the tails of the others");
    hprintln!("agreed: after {} ms, by {} chunks of a snapshot", took.as_millis(), snapshots);
    let used = hardware::used();
    hprintln!(
        "memory: heap {} of {} bytes, stack {} bytes",
        used.heap,
        hardware::HEAP_BYTES,
        used.stack
    );
    debug::exit(debug::EXIT_SUCCESS);
}

/// Waits until a member leads, and names it.
async fn leader(board: &Board) -> usize {
    let mut leader = None;
    until(|| {
        leader = (0..MEMBERS)
            .find(|number| board.node(*number).is_some_and(|node| node.raft.is_leader()));
        leader.is_some()
    })
    .await;
    leader.expect("a leader was seen")
}

/// Writes one reading after another through whoever leads. A command that was refused is written
/// again; one whose outcome is unknown would end the story, because it could count twice.
async fn replicate(board: &Board, numbers: core::ops::Range<u32>) {
    for number in numbers {
        let reading =
            Reading { sensor: (number % 16) as u8, value: number.wrapping_mul(2_654_435_761) };
        loop {
            let node: Node = board.node(leader(board).await).expect("a leader runs");
            match node.raft.client_write(&reading).await {
                Ok(count) => {
                    assert!(count == number + 1, "each command is applied once");
                    break;
                }
                Err(error) => {
                    assert!(error.outcome() == nacolet_raft::Outcome::Refused, "{error}");
                    Timer::after(LOOK_EVERY).await;
                }
            }
        }
    }
}

/// Whether every member has applied `count` commands, all with the same result.
fn agreed(board: &Board, count: u32) -> bool {
    let summaries = core::array::from_fn::<_, MEMBERS, _>(|number| {
        board.node(number).map(|node| node.summary())
    });
    summaries.iter().all(|summary| *summary == summaries[0])
        && summaries[0].is_some_and(|(_, applied)| applied == count)
}

async fn until(ready: impl FnMut() -> bool) {
    assert!(comes_true(ready).await, "nothing here takes so long");
}

/// Whether it does, in time.
async fn comes_true(mut ready: impl FnMut() -> bool) -> bool {
    let waited = with_timeout(PATIENCE, async {
        while !ready() {
            Timer::after(LOOK_EVERY).await;
        }
    });
    waited.await.is_ok()
}
