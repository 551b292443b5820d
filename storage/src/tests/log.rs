//! The log as RaftCore sees it.

use nacolet_model::Prng;
use nacolet_raft::{EntryPayload, Membership};

use super::*;

#[test]
fn what_was_acknowledged_is_found_again() {
    let dir = TempDir::new();
    let (mut log, found) = Running::open(&dir).expect("new");
    assert_eq!(found, Recovered::default());
    let mut entries = commands(1..=5, 1);
    entries[1].payload = EntryPayload::Blank;
    entries[2].payload = EntryPayload::Membership(Box::new(Membership {
        voters: [NodeId(1), NodeId(2)].into(),
        addresses: [(NodeId(1), "a:1".to_owned())].into(),
        ..Membership::default()
    }));
    log.append(Some(hard_state(1, 7, 0)), entries.clone()).expect("durable");
    log.append(Some(hard_state(2, 8, 3)), Vec::new()).expect("durable");
    drop(log);
    let (_log, found) = Running::open(&dir).expect("again");
    assert_eq!(found.hard_state, hard_state(2, 8, 3));
    assert_eq!(found.entries, entries);
    assert_eq!(found.purged, LogIndex(0));
}

#[test]
fn an_append_replaces_the_suffix() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    log.append(None, commands(1..=9, 1)).expect("durable");
    log.append(None, commands(4..=5, 2)).expect("durable");
    drop(log);
    let (_log, found) = Running::open(&dir).expect("again");
    let expected: Vec<_> = commands(1..=3, 1).into_iter().chain(commands(4..=5, 2)).collect();
    assert_eq!(found.entries, expected);
}

#[test]
fn waiting_orders_share_one_fsync_and_complete_in_order() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open_with(&dir, LogSettings::default(), None).expect("new");
    log.settle();
    let (before, (order, completed)) = (log.store.stats(), mpsc::channel());
    let (release, held) = mpsc::channel::<()>();
    let mut held = Some(held);
    for n in 0..40_u64 {
        // The first completion holds the log thread until all others are queued.
        let (order, held) = (order.clone(), held.take());
        log.store.append(
            PersistId(100 + n),
            None,
            commands(n + 1..=n + 1, 1),
            Box::new(move |result| {
                if let Some(held) = held {
                    held.recv_timeout(Duration::from_secs(20)).expect("released");
                }
                order.send(result.expect("space")).expect("test");
            }),
        );
    }
    release.send(()).expect("held");
    let ids: Vec<_> = (0..40)
        .map(|_| completed.recv_timeout(Duration::from_secs(20)).expect("completed").0)
        .collect();
    assert_eq!(ids, (100..140).collect::<Vec<_>>());
    let after = log.store.stats();
    // The first group may have caught a few; the rest went together.
    assert!(after.syncs - before.syncs <= 3, "{after:?}");
    assert_eq!(after.syncs - before.syncs, after.batches - before.batches);
}

#[test]
fn every_acknowledgement_follows_a_sync_of_its_own_or_a_shared_one() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open_with(&dir, LogSettings::default(), None).expect("new");
    let before = log.store.stats().syncs;
    for index in 1..=20 {
        log.append(None, commands(index..=index, 1)).expect("durable");
    }
    assert_eq!(log.store.stats().syncs - before, 20);
}

/// Cards wear out by what is written.
#[test]
fn a_record_costs_one_sync_and_little_more_than_its_bytes() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    for payload in [0, 1_024, 100_000] {
        let before = log.store.stats();
        let next = before.batches + 1;
        log.append(None, vec![command(next, 1, payload)]).expect("durable");
        let after = log.store.stats();
        let (bytes, syncs) = (after.bytes - before.bytes, after.syncs - before.syncs);
        assert!(bytes >= payload as u64 && bytes <= 3 * payload as u64 + 4_096, "{bytes} bytes");
        assert_eq!(syncs, 1);
    }
}

#[test]
fn an_idle_log_writes_nothing() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    log.append(None, commands(1..=3, 1)).expect("durable");
    let stats = log.store.stats();
    let seen = modified(&dir);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(log.store.stats(), stats);
    assert_eq!(modified(&dir), seen);
    drop(log);
    // Nor does a start that finds everything in order.
    let seen = modified(&dir);
    drop(Running::open(&dir).expect("again"));
    assert_eq!(modified(&dir), seen);
}

fn modified(dir: &TempDir) -> Vec<(PathBuf, std::time::SystemTime, u64)> {
    let mut files = Vec::new();
    for folder in [dir.path().to_owned(), dir.path().join("log")] {
        for entry in fs::read_dir(folder).expect("list") {
            let entry = entry.expect("list");
            let meta = entry.metadata().expect("metadata");
            if meta.is_file() && entry.file_name() != "LOCK" {
                files.push((entry.path(), meta.modified().expect("time"), meta.len()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn purging_deletes_files_and_keeps_the_vote() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    log.append(Some(hard_state(3, 9, 0)), commands(1..=1, 1)).expect("durable");
    for index in 2..=400 {
        log.append(None, vec![command(index, 1, 200)]).expect("durable");
    }
    let files = fs::read_dir(dir.path().join("log")).expect("list").count();
    log.store.purge(LogIndex(390));
    log.settle();
    let left = fs::read_dir(dir.path().join("log")).expect("list").count();
    assert!(left < files / 2, "{left} of {files} files left");
    drop(log);
    let snapshot = snapshot_at(395, 1);
    let (_log, found) = Running::open_with(&dir, small_files(), Some(&snapshot)).expect("again");
    assert_eq!(found.purged, LogIndex(390));
    assert_eq!(found.hard_state, hard_state(3, 9, 0));
    assert_eq!(found.entries.len(), 10);
    assert_eq!(found.entries[0].id.index, LogIndex(391));
}

#[test]
fn a_log_purged_past_the_snapshot_is_refused() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    log.append(None, commands(1..=9, 1)).expect("durable");
    log.store.purge(LogIndex(6));
    drop(log);
    let error = Running::open_with(&dir, small_files(), Some(&snapshot_at(5, 1))).err();
    assert!(error.expect("refused").what.contains("after entry 6"));
    assert!(Running::open_with(&dir, small_files(), Some(&snapshot_at(6, 1))).is_ok());
}

#[test]
fn reset_empties_the_log_and_keeps_the_vote() {
    for end in [3, 9, 30] {
        let dir = TempDir::new();
        let (mut log, _) = Running::open(&dir).expect("new");
        log.append(Some(hard_state(2, 5, 1)), commands(1..=9, 1)).expect("durable");
        let snapshot = snapshot_at(end, 2);
        log.reset(&snapshot).expect("durable");
        drop(log);
        let (mut log, found) =
            Running::open_with(&dir, small_files(), Some(&snapshot)).expect("again");
        assert_eq!(found.purged, LogIndex(end));
        assert_eq!(found.hard_state, hard_state(2, 5, 1));
        assert_eq!(found.entries, []);
        log.append(None, commands(end + 1..=end + 4, 3)).expect("durable");
        drop(log);
        let (_log, found) =
            Running::open_with(&dir, small_files(), Some(&snapshot)).expect("third");
        assert_eq!(found.entries, commands(end + 1..=end + 4, 3));
    }
}

#[test]
fn a_crash_between_snapshot_and_reset_is_made_good_at_start() {
    // The log is too short, of another history at the snapshot's end, or simply longer.
    for (end, term, kept) in [(20, 1, 0), (5, 2, 0), (5, 1, 9)] {
        let dir = TempDir::new();
        let (mut log, _) = Running::open(&dir).expect("new");
        log.append(Some(hard_state(2, 5, 1)), commands(1..=9, 1)).expect("durable");
        drop(log);
        let snapshot = snapshot_at(end, term);
        for _ in 0..2 {
            let (_log, found) =
                Running::open_with(&dir, small_files(), Some(&snapshot)).expect("again");
            assert_eq!(found.entries.len(), kept);
            assert_eq!(found.hard_state, hard_state(2, 5, 1));
            assert_eq!(found.purged, LogIndex(if kept == 0 { end } else { 0 }));
        }
        let (mut log, _) = Running::open_with(&dir, small_files(), Some(&snapshot)).expect("again");
        log.append(None, commands(end + 1..=end + 1, 2)).expect("follows the snapshot");
    }
}

#[test]
fn one_large_order_becomes_several_batches_under_one_fsync() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open_with(&dir, LogSettings::default(), None).expect("new");
    log.settle();
    let before = log.store.stats();
    let entries: Vec<_> = (1..=7).map(|index| command(index, 1, 1 << 20)).collect();
    log.append(None, entries.clone()).expect("durable");
    let after = log.store.stats();
    assert!(after.batches - before.batches >= 3);
    drop(log);
    let (_log, found) = Running::open_with(&dir, LogSettings::default(), None).expect("again");
    assert_eq!(found.entries, entries);
}

/// The same orders on the store and on a plain vector, with reopening in between.
#[test]
fn random_orders_agree_with_a_model() {
    for seed in 0..6_u64 {
        let dir = TempDir::new();
        let mut random = Prng::new(seed);
        let (mut log, _) = Running::open(&dir).expect("new");
        let mut model = Recovered::default();
        let mut snapshot: Option<SnapshotMeta> = None;
        for step in 0..120 {
            let last = model.entries.last().map_or(model.purged.0, |entry| entry.id.index.0);
            let term = 1 + step / 20;
            match random.below(12) {
                0..=6 => {
                    // Committed entries are never replaced, and what is purged is committed.
                    let floor = model.hard_state.commit_index.0.max(model.purged.0) + 1;
                    let from = floor + random.below(last + 2 - floor);
                    let count = random.below(6);
                    let state = hard_state(term, random.below(3), model.hard_state.commit_index.0);
                    let entries: Vec<_> = (from..from + count)
                        .map(|index| command(index, term, random.index(300)))
                        .collect();
                    if !entries.is_empty() {
                        model.entries.retain(|entry| entry.id.index.0 < from);
                        model.entries.extend(entries.iter().cloned());
                    }
                    model.hard_state = state;
                    log.append(Some(state), entries).expect("durable");
                }
                7 | 8 => {
                    let index = model.purged.0 + random.below(last - model.purged.0 + 1);
                    model.hard_state.commit_index.0 = model.hard_state.commit_index.0.max(index);
                    log.append(Some(model.hard_state), Vec::new()).expect("durable");
                    let term = model.entries.iter().rev().find(|e| e.id.index.0 == index);
                    if let Some(entry) = term {
                        snapshot = Some(snapshot_at(index, entry.id.term.0));
                        model.purged = LogIndex(index);
                        model.entries.retain(|entry| entry.id.index.0 > index);
                        log.store.purge(LogIndex(index));
                    }
                }
                9 => {
                    let meta = snapshot_at(last + random.below(5), term);
                    model.purged = meta.last.index;
                    model.hard_state.commit_index = meta.last.index;
                    model.entries.clear();
                    log.reset(&meta).expect("durable");
                    log.append(Some(model.hard_state), Vec::new()).expect("durable");
                    snapshot = Some(meta);
                }
                _ => {
                    drop(log);
                    let (again, found) = Running::open_with(&dir, small_files(), snapshot.as_ref())
                        .unwrap_or_else(|e| panic!("seed {seed} step {step}: {e}"));
                    assert_eq!(found, model, "seed {seed} step {step}");
                    log = again;
                }
            }
        }
    }
}

#[test]
fn a_long_log_does_not_pile_up_in_memory_or_on_disk() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open_with(&dir, LogSettings::default(), None).expect("new");
    for batch in 0..60_u64 {
        let first = batch * 1_000 + 1;
        let entries: Vec<_> = (first..first + 1_000).map(|i| command(i, 1, 256)).collect();
        log.append(None, entries).expect("durable");
        if batch % 10 == 9 {
            log.store.purge(LogIndex(first + 900));
        }
    }
    log.settle();
    let bytes: u64 = fs::read_dir(dir.path().join("log"))
        .expect("list")
        .map(|entry| entry.expect("list").metadata().expect("metadata").len())
        .sum();
    assert!(bytes < 8 << 20, "{bytes} bytes on disk after 17 MB of entries");
}

#[test]
fn a_second_process_is_refused_with_a_sentence() {
    let dir = TempDir::new();
    let first = DataDir::open(dir.path(), NodeId(1)).expect("new");
    let error = DataDir::open(dir.path(), NodeId(2)).expect_err("locked");
    assert!(error.what.starts_with("another process uses"), "{error}");
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(60));
        drop(first);
    });
    let second = DataDir::open(dir.path(), NodeId(2)).expect("waits for one that is going");
    assert_eq!(second.node_id(), NodeId(1));
    later.join().expect("it let go");
}
