//! A real process that is killed again and again: what it acknowledged is there afterwards. With
//! the feature `failpoints` it also ends itself at every named point. A power-cut rig can use the
//! same child: with `NACOLET_CRASH_TEST_EXPECT=n` it only checks that n entries are there.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use futures_lite::future::block_on;
use nacolet_model::{NodeId, Prng};
use nacolet_raft::engine::PersistId;
use nacolet_raft::{
    Entry, EntryPayload, HardState, LogId, LogIndex, RaftLogStorage, SnapshotMeta, Term,
};
use nacolet_storage::{DataDir, LogSettings, LogStore, SnapshotStore, abort_process};

const CHILD: &str = "NACOLET_CRASH_TEST_DIR";
const ABORT: &str = "NACOLET_CRASH_TEST_ABORT";
const EXPECT: &str = "NACOLET_CRASH_TEST_EXPECT";
const SETTINGS: LogSettings =
    LogSettings { file_bytes: 4 << 10, purge_bytes: 16 << 10, frees: |_| false };

fn entry(index: u64) -> Entry {
    let content = index.to_le_bytes().repeat(1 + (index % 40) as usize);
    let id = LogId { term: Term(1 + index / 100), index: LogIndex(index) };
    Entry { id, payload: EntryPayload::Command(content.into()) }
}

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta { last: entry(index).id, id: index, ..SnapshotMeta::default() }
}

struct Found {
    log: LogStore,
    snapshots: SnapshotStore,
    last: u64,
}

/// Opens everything and checks that log and snapshot make one unbroken history.
fn open(dir: &Path) -> Found {
    let data = DataDir::open(dir, NodeId(7)).expect("data directory");
    assert_eq!(data.node_id(), NodeId(7));
    let snapshots = SnapshotStore::open(&data, abort_process).expect("snapshots");
    let snapshot = snapshots.recover().expect("snapshot").map(|(meta, mut reader)| {
        let block = reader.read_block().expect("whole").expect("one block");
        assert_eq!(block, meta.last.index.0.to_le_bytes());
        assert_eq!(reader.read_block(), Ok(None));
        meta
    });
    let mut log = LogStore::open(&data, SETTINGS, abort_process).expect("log");
    let found = log.recover(snapshot.as_ref()).expect("recovers");
    let covered = snapshot.map_or(0, |meta| meta.last.index.0);
    assert!(found.purged.0 <= covered);
    for (at, found_entry) in found.entries.iter().enumerate() {
        assert_eq!(*found_entry, entry(found.purged.0 + 1 + at as u64));
    }
    let last = found.purged.0 + found.entries.len() as u64;
    assert!(last >= covered);
    if let Some(last) = found.entries.last() {
        assert!(found.hard_state.term <= last.id.term);
    }
    Found { log, snapshots, last }
}

/// Appends until it is killed, and says what is durable.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let Found { mut log, snapshots, last } = open(&dir);
    if let Some(expected) = std::env::var(EXPECT).ok().and_then(|text| text.parse::<u64>().ok()) {
        assert!(last >= expected, "{last} found, {expected} acknowledged");
        return;
    }
    let data_note = |text: String| {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).expect("the parent listens");
    };
    let (done, completed) = mpsc::channel();
    for index in last + 1.. {
        let done = done.clone();
        let state = HardState {
            term: entry(index).id.term,
            voted_for: Some(NodeId(index)),
            commit_index: LogIndex(index - 1),
        };
        log.append(
            PersistId(index),
            Some(state),
            vec![entry(index)],
            Box::new(move |result| done.send(result.expect("space")).expect("waits")),
        );
        // Pipelined by three, so that some share a sync.
        if index % 3 == 0 {
            while let Ok(PersistId(durable)) = completed.recv() {
                data_note(format!("\nack {durable}\n"));
                if durable == index {
                    break;
                }
            }
        }
        if index % 60 == 0 {
            let mut block = Some(index.to_le_bytes().to_vec());
            block_on(snapshots.write(meta(index), move || block.take())).expect("written");
            log.purge(LogIndex(index - 5));
        }
    }
}

fn spawn(dir: &Path, failpoint: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(failpoint) = failpoint {
        command.env("NACOLET_FAILPOINT", failpoint);
    }
    command.spawn().expect("start the child")
}

/// Lets the child run until it has acknowledged `count` entries or ended by itself, kills it, and
/// returns the last acknowledged index and the number of acknowledgements.
fn run(dir: &Path, count: u64, failpoint: Option<&str>) -> (u64, u64) {
    let mut child = spawn(dir, failpoint);
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let (mut last, mut seen) = (0, 0);
    for line in lines.map_while(Result::ok) {
        if let Some(index) = line.strip_prefix("ack ").and_then(|index| index.parse().ok()) {
            last = index;
            seen += 1;
            if seen == count {
                child.kill().expect("kill");
            }
        }
    }
    child.wait().expect("ended");
    (last, seen)
}

/// Waits for the end of standard input, then ends itself.
#[test]
fn abort_child() {
    if std::env::var_os(ABORT).is_some() {
        std::io::stdin().lines().for_each(drop);
        abort_process("on purpose");
    }
}

#[test]
fn a_fatal_error_ends_the_process_though_nobody_reads_its_last_words() {
    use std::os::unix::process::ExitStatusExt;
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "abort_child", "--nocapture"])
        .env(ABORT, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the child");
    drop(child.stderr.take());
    drop(child.stdin.take());
    let abort = Some(6);
    assert_eq!(child.wait().expect("ended").signal(), abort);
}

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nacolet-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = TempDir::new("kill");
    let mut random = Prng::new(21);
    let mut acknowledged = 0;
    for round in 0..12 {
        let (last, seen) = run(&dir.0, 1 + random.below(150), None);
        assert!(seen > 0, "round {round}: the child did not run");
        acknowledged = last.max(acknowledged);
        let found = open(&dir.0);
        assert!(found.last >= acknowledged, "round {round}: {} < {acknowledged}", found.last);
    }
    assert!(acknowledged > 300);
}

#[cfg(feature = "failpoints")]
#[test]
fn what_was_acknowledged_survives_a_crash_at_every_named_point() {
    let unreached = ["log.reset-written", "snapshot.received-part"];
    for point in nacolet_storage::FAILPOINTS.iter().filter(|point| !unreached.contains(point)) {
        let dir = TempDir::new("failpoint");
        let (mut acknowledged, mut crashed) = (0, false);
        for nth in [1, 2, 7] {
            // Some points are passed once per start or not at all after the first; the child is
            // killed then.
            let (last, seen) = run(&dir.0, 400, Some(&format!("{point}:{nth}")));
            crashed |= seen < 400;
            acknowledged = last.max(acknowledged);
            let found = open(&dir.0);
            assert!(found.last >= acknowledged, "{point}:{nth}: {} < {acknowledged}", found.last);
        }
        assert!(crashed, "{point} was never passed");
    }
}
