//! A real node, killed again and again under load: what was acknowledged is there afterwards, and
//! nothing is there that nobody wrote. `NACOLET_CRASH_CYCLES` asks for more rounds than the few
//! that every test run does.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test tells what it counted")]

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use support::{Http, Node, TempDir};

const WRITERS: usize = 8;
const KEYS: u64 = 16;
const CONFIGS: &str = "/nacos/v1/cs/configs";

/// What one writer knows of one of its keys.
#[derive(Clone, Copy, Default)]
struct Known {
    /// Highest serial that was acknowledged.
    acknowledged: u64,
    /// Highest serial that was sent.
    sent: u64,
}

type Ledger = BTreeMap<String, Known>;

/// Publishes ever new serials until the node goes away.
fn write(address: &str, writer: usize, mut ledger: Ledger, stop: &AtomicBool) -> Ledger {
    let Ok(mut http) = Http::connect(address) else { return ledger };
    let mut serial = ledger.values().map(|known| known.sent).max().unwrap_or(0);
    while !stop.load(Ordering::Relaxed) {
        serial += 1;
        let key = format!("writer-{writer}-key-{}", serial % KEYS);
        let known = ledger.entry(key.clone()).or_default();
        known.sent = serial;
        let form = format!("dataId={key}&group=G&content=serial-{serial}");
        match http.call("POST", CONFIGS, &form) {
            Ok((200, body)) if body == b"true" => known.acknowledged = serial,
            Ok((status, body)) => {
                panic!("publish answered {status} {}", String::from_utf8_lossy(&body))
            }
            Err(_) => break,
        }
    }
    ledger
}

/// Reads every key back. A write without an answer may be there or not, from now on for good.
fn check(http: &mut Http, ledger: &mut Ledger) -> u64 {
    let mut lost = 0;
    for (key, known) in ledger {
        let (status, body) = http.get(&format!("{CONFIGS}?dataId={key}&group=G"));
        let found = match status {
            404 => 0,
            200 => body.strip_prefix("serial-").expect("a serial").parse().expect("a number"),
            other => panic!("read answered {other} {body}"),
        };
        assert!(found <= known.sent, "{key} holds {found}, which nobody sent");
        if found < known.acknowledged {
            eprintln!("{key}: {} was acknowledged, {found} is there", known.acknowledged);
            lost += 1;
        }
        known.acknowledged = known.acknowledged.max(found);
    }
    lost
}

/// Settings that make rotation, purge and snapshots happen all the time.
const SMALL: [(&str, &str); 3] = [
    ("NACOLET_SNAPSHOT_ENTRIES", "50"),
    ("NACOLET_LOG_FILE_BYTES", "65536"),
    ("NACOLET_LOG_PURGE_BYTES", "131072"),
];

/// One data directory, its writers, and what was lost so far.
struct Run {
    data: TempDir,
    ledgers: Vec<Ledger>,
    lost: u64,
}

impl Run {
    fn new() -> Self {
        Self { data: TempDir::new("crash"), ledgers: vec![Ledger::new(); WRITERS], lost: 0 }
    }

    /// Load, end of the process, restart, check. Returns whether the node ended by itself.
    fn round(&mut self, environment: &[(&str, &str)], length: Duration) -> bool {
        let ended = match Node::try_start(self.data.path(), environment) {
            Some(node) => load(node, &mut self.ledgers, length),
            None => true,
        };
        let node = Node::start(self.data.path());
        let mut http = node.http();
        self.lost += self.ledgers.iter_mut().map(|ledger| check(&mut http, ledger)).sum::<u64>();
        node.kill();
        ended
    }

    fn finish(self, rounds: u64) {
        let serials = self.ledgers.iter().flat_map(Ledger::values).map(|known| known.acknowledged);
        let highest: u64 = serials.sum();
        println!("{rounds} kills, {highest} serials acknowledged, {} lost", self.lost);
        assert_eq!(self.lost, 0, "acknowledged writes were lost");
    }
}

fn rounds(cycles: u64, environment: &[(&str, &str)]) {
    let mut run = Run::new();
    for cycle in 0..cycles {
        let ended = run.round(environment, Duration::from_millis(40 + cycle * 37 % 160));
        assert!(!ended, "the node ended although nobody killed it");
    }
    run.finish(cycles);
}

/// Lets the writers write, then kills the node; true when it had ended by itself.
fn load(mut node: Node, ledgers: &mut Vec<Ledger>, length: Duration) -> bool {
    let stop = AtomicBool::new(false);
    let address = node.address.clone();
    thread::scope(|scope| {
        let writers: Vec<_> = std::mem::take(ledgers)
            .into_iter()
            .enumerate()
            .map(|(writer, ledger)| {
                let (address, stop) = (&address, &stop);
                scope.spawn(move || write(address, writer, ledger, stop))
            })
            .collect();
        thread::sleep(length);
        let ended = node.has_ended();
        node.kill();
        stop.store(true, Ordering::Relaxed);
        *ledgers = writers.into_iter().map(|w| w.join().expect("a writer ends")).collect();
        ended
    })
}

fn cycles(few: u64) -> u64 {
    std::env::var("NACOLET_CRASH_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    rounds(cycles(6), &[]);
}

#[test]
fn nothing_acknowledged_is_lost_amid_snapshots_and_purges() {
    rounds(cycles(6), &SMALL);
}

/// The process ends inside storage, at every named point, at an early and at a later visit.
#[cfg(feature = "failpoints")]
#[test]
fn nothing_acknowledged_is_lost_at_any_point_of_storage() {
    /// Points that only a member with peers passes: it receives a snapshot.
    const WITH_PEERS: [&str; 2] = ["log.reset-written", "snapshot.received-part"];
    let mut run = Run::new();
    let mut missed = Vec::new();
    for point in nacolet_storage::FAILPOINTS {
        for visit in [1, 2, 5] {
            let failpoint = format!("{point}:{visit}");
            let environment =
                [SMALL.as_slice(), &[("NACOLET_FAILPOINT", failpoint.as_str())]].concat();
            let ended = run.round(&environment, Duration::from_millis(400));
            if visit == 1 && !ended && !WITH_PEERS.contains(point) {
                missed.push(*point);
            }
        }
    }
    let rounds = u64::try_from(nacolet_storage::FAILPOINTS.len()).expect("a few") * 3;
    run.finish(rounds);
    assert!(missed.is_empty(), "never reached: {missed:?}");
}
