//! Full disks, failed syncs, orders that must not be carried out.

use nacolet_model::limits;

use super::*;
use crate::SnapshotStore;

/// Nothing was acknowledged and the thread is gone.
fn assert_stopped(waiting: &mpsc::Receiver<Result<PersistId, AppendError>>) {
    let outcome = waiting.recv_timeout(Duration::from_secs(20));
    assert_eq!(outcome, Err(mpsc::RecvTimeoutError::Disconnected));
}

fn fill(log: &Running, room: Option<usize>) {
    *log.shared.faults.room.lock().expect("test") = room;
}

#[test]
fn a_full_disk_keeps_nothing_at_any_byte_and_the_log_goes_on() {
    for room in (0..420).step_by(3) {
        let dir = TempDir::new();
        let (mut log, _) = Running::open_with(&dir, LogSettings::default(), None).expect("new");
        log.append(Some(hard_state(1, 1, 0)), commands(1..=2, 1)).expect("space");
        let bytes = fs::metadata(dir.log_file(1)).expect("file").len();
        fill(&log, Some(room));
        let failed = log.append(Some(hard_state(2, 2, 0)), commands(3..=6, 2));
        if failed.is_ok() {
            assert!(room > 300, "a batch of {room} bytes");
            return;
        }
        assert_eq!(failed, Err(AppendError::Full { id: PersistId(2) }));
        assert_eq!(fs::metadata(dir.log_file(1)).expect("file").len(), bytes);
        // What follows is refused unseen, even where it would fit, until the failed order returns.
        fill(&log, None);
        assert_eq!(
            log.append(None, commands(7..=7, 2)),
            Err(AppendError::Full { id: PersistId(3) })
        );
        if room % 2 == 0 {
            log.again(PersistId(2), commands(3..=6, 2)).expect("space again");
            log.append(None, commands(7..=8, 2)).expect("space again");
        }
        drop(log);
        let (_log, found) = Running::open(&dir).expect("again");
        let expected: Vec<_> = match room % 2 {
            0 => commands(1..=2, 1).into_iter().chain(commands(3..=8, 2)).collect(),
            _ => commands(1..=2, 1),
        };
        assert_eq!(found.entries, expected, "room {room}");
        assert_eq!(found.hard_state, hard_state(1, 1, 0));
    }
    panic!("the batch never fitted");
}

#[test]
fn a_restart_on_a_full_disk_finds_what_was_acknowledged() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    let mut index = 0;
    // Until a file is full and the next one cannot even get its head.
    fill(&log, Some(5_000));
    while log.append(None, commands(index + 1..=index + 1, 1)).is_ok() {
        index += 1;
    }
    assert!(index > 20);
    drop(log);
    let (mut log, found) = Running::open(&dir).expect("again");
    assert_eq!(found.entries, commands(1..=index, 1));
    log.append(None, commands(index + 1..=index + 40, 1)).expect("space again");
    drop(log);
    let (_log, found) = Running::open(&dir).expect("third");
    assert_eq!(found.entries, commands(1..=index + 40, 1));
}

#[test]
fn rotation_on_a_full_disk_is_an_answer_and_not_a_stop() {
    for room in [0, 1, 30, 61, 69, 80] {
        let dir = TempDir::new();
        let (mut log, _) = Running::open(&dir).expect("new");
        log.append(None, vec![command(1, 1, 5_000)]).expect("space");
        fill(&log, Some(room));
        assert!(log.append(None, commands(2..=2, 1)).is_err());
        let stuck = TempDir::new();
        copy_tree(dir.path(), stuck.path());
        fill(&log, None);
        log.again(PersistId(2), commands(2..=2, 1)).expect("space again");
        drop(log);
        let (_log, found) = Running::open(&dir).expect("again");
        assert_eq!(found.entries.len(), 2);
        // The process may also have ended right there.
        let (_log, found) = Running::open(&stuck).expect("from the middle");
        assert_eq!(found.entries.len(), 1);
    }
}

#[test]
fn little_free_space_refuses_entries_and_lets_votes_pass() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    log.append(None, commands(1..=1, 1)).expect("space");
    fs::remove_file(dir.path().join("reserve")).expect("it is there");
    let data = log.data.clone();
    data.space().leave(limits::DISK_LAST_BYTES - 1);
    let before = log.store.stats();
    log.append(Some(hard_state(5, 3, 0)), Vec::new()).expect("a vote");
    assert_eq!(log.append(None, commands(2..=2, 1)), Err(AppendError::Full { id: PersistId(3) }));
    assert_eq!(log.store.stats().batches, before.batches + 1);
    data.space().leave(1 << 30);
    log.again(PersistId(3), commands(2..=2, 1)).expect("space again");
    drop((log, data));
    let (_log, found) = Running::open(&dir).expect("again");
    assert_eq!((found.hard_state.term, found.entries.len()), (Term(5), 2));
}

#[test]
fn what_frees_nothing_leaves_room_for_the_next_raft_snapshot() {
    let dir = TempDir::new();
    let settings = LogSettings { frees: |_| false, ..small_files() };
    let (mut log, _) = Running::open_with(&dir, settings, None).expect("new");
    let data = log.data.clone();
    log.append(None, vec![command(1, 1, 100_000)]).expect("space");
    data.space().leave(limits::DISK_LAST_BYTES + 105_000);
    let entry = || vec![command(2, 1, 10_000)];
    assert_eq!(log.append(None, entry()), Err(AppendError::Full { id: PersistId(2) }));
    assert!(dir.path().join("reserve").exists());
    data.space().leave(limits::DISK_LAST_BYTES + 115_000);
    log.again(PersistId(2), entry()).expect("space again");
    // A member that cannot follow and is sent nothing else goes on at some time.
    data.space().leave(limits::DISK_LAST_BYTES + 100_000);
    let entry = || vec![command(3, 1, 10_000)];
    for _ in 0..limits::DISK_REFUSALS_MAX {
        log.again(PersistId(3), entry()).expect_err("not yet");
    }
    log.again(PersistId(3), entry()).expect("half of the room");
    // Who leads needs an entry of its own, whatever it is.
    data.space().leave(0);
    let mut blank = command(4, 1, 0);
    blank.payload = EntryPayload::Blank;
    log.again(PersistId(4), vec![blank]).expect("the reserve");
}

#[test]
fn what_frees_space_uses_the_reserve_which_is_put_back_when_there_is_room() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    let (data, reserve) = (log.data.clone(), dir.path().join("reserve"));
    log.append(None, commands(1..=1, 1)).expect("space");
    // Nothing is free: commands are refused, votes and what frees space have the reserve.
    data.space().leave(0);
    assert!(!data.takes(0) && data.takes_last(1_000));
    assert!(reserve.exists(), "nobody asked for it yet");
    log.append(None, commands(2..=2, 1)).expect("the reserve");
    assert!(!reserve.exists());
    let mut index = 3;
    while data.takes_last(20_000) {
        log.append(None, vec![command(index, 1, 10_000)]).expect("above the last bytes");
        index += 1;
    }
    // It is bounded, and what is proposed all the same is refused and not lost.
    let spent = limits::RESERVE_BYTES as u64 - limits::DISK_LAST_BYTES;
    assert!((spent / 10_500 - 3..=spent / 10_000).contains(&(index - 3)), "{index}");
    let entry = || vec![command(index, 1, 30_000)];
    assert_eq!(log.append(None, entry()), Err(AppendError::Full { id: PersistId(index) }));
    log.append(Some(hard_state(5, 3, 0)), Vec::new()).expect_err("it waits behind that");
    // Too little for it to be put back, and then enough.
    data.space().leave(limits::RESERVE_BYTES as u64 + limits::DISK_FREE_BYTES_MIN - 1);
    log.again(PersistId(index), entry()).expect("space again");
    log.settle();
    assert!(!reserve.exists() && !data.takes(0));
    data.space().leave(4 << 20);
    log.settle();
    log.settle();
    assert_eq!(fs::metadata(&reserve).expect("it is back").len(), limits::RESERVE_BYTES as u64);
}

#[test]
fn a_command_leaves_room_for_the_raft_snapshot_that_it_will_be_part_of() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    let data = log.data.clone();
    let store = SnapshotStore::open(&data, panicking).expect("opens");
    let free = |bytes: u64| data.space().leave(limits::DISK_FREE_BYTES_MIN + bytes);
    free(10_000);
    assert!(data.takes(5_000) && !data.takes(5_001), "in the log, and in the snapshot");
    log.append(None, vec![command(1, 1, 20_000)]).expect("space");
    free(20_000);
    assert!(!data.takes(0), "the log will be in the snapshot");
    let mut blocks = vec![vec![1; 30_000]].into_iter();
    let written = store.write(snapshot_at(1, 1), move || blocks.next());
    futures_lite::future::block_on(written).expect("space");
    assert_eq!(data.log_grown(), 0);
    free(30_000);
    assert!(!data.takes(0), "the next snapshot stands beside this one");
    free(30_200);
    assert!(data.takes(0));
    // A start finds all that.
    drop((log, store));
    let path = dir.path().to_owned();
    drop(data);
    let data = DataDir::open(&path, NodeId(7)).expect("again");
    let _store = SnapshotStore::open(&data, panicking).expect("opens");
    let _log = LogStore::open(&data, small_files(), panicking).expect("opens");
    data.space().leave(limits::DISK_FREE_BYTES_MIN + 50_000);
    assert!(!data.takes(0));
    data.space().leave(limits::DISK_FREE_BYTES_MIN + 51_500);
    assert!(data.takes(0));
}

#[test]
fn purging_without_space_waits_for_space() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    for index in 1..=300 {
        log.append(None, vec![command(index, 1, 200)]).expect("space");
    }
    fill(&log, Some(0));
    log.store.purge(LogIndex(250));
    assert!(log.append(None, commands(301..=301, 1)).is_err());
    fill(&log, None);
    log.again(PersistId(301), commands(301..=301, 1)).expect("space again");
    let files = fs::read_dir(dir.path().join("log")).expect("list").count();
    log.store.purge(LogIndex(260));
    log.settle();
    assert!(fs::read_dir(dir.path().join("log")).expect("list").count() < files);
    drop(log);
    let snapshot = snapshot_at(270, 1);
    let (_log, found) = Running::open_with(&dir, small_files(), Some(&snapshot)).expect("again");
    assert_eq!((found.purged, found.entries.len()), (LogIndex(260), 41));
}

#[test]
fn a_failed_sync_ends_the_process_before_anything_is_acknowledged() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    log.append(None, commands(1..=1, 1)).expect("durable");
    *log.shared.faults.sync_fails.lock().expect("test") = true;
    let waiting = log.start(None, commands(2..=2, 1));
    assert_stopped(&waiting);
}

#[test]
fn a_gap_and_an_overlap_with_what_is_purged_are_stopped_before_a_byte_is_written() {
    for (first, purged) in [(5, 0), (100, 0), (2, 2), (1, 2)] {
        let dir = TempDir::new();
        let (mut log, _) = Running::open(&dir).expect("new");
        log.append(None, commands(1..=3, 1)).expect("durable");
        log.store.purge(LogIndex(purged));
        log.settle();
        let before = fs::read(dir.log_file(1)).expect("file");
        let waiting = log.start(None, commands(first..=first + 1, 1));
        assert_stopped(&waiting);
        assert_eq!(fs::read(dir.log_file(1)).expect("file"), before);
        drop(log);
        let snapshot = snapshot_at(purged, 1);
        let (_log, found) =
            Running::open_with(&dir, small_files(), Some(&snapshot)).expect("still opens");
        assert_eq!(found.entries.len() as u64, 3 - purged);
    }
}

#[test]
fn entries_out_of_order_are_stopped() {
    let mut falling_term = commands(1..=2, 5);
    falling_term[1].id.term = Term(4);
    for entries in [vec![command(1, 1, 1), command(3, 1, 1)], falling_term] {
        let dir = TempDir::new();
        let (mut log, _) = Running::open(&dir).expect("new");
        assert_stopped(&log.start(None, entries));
    }
}

#[test]
fn a_start_on_a_full_disk_purges_what_the_raft_snapshot_holds() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    for index in 1..=300 {
        log.append(None, vec![command(index, 1, 200)]).expect("space");
    }
    // The snapshot is there, and the process ended before the purge.
    log.data.space().leave(1 << 20);
    drop(log);
    let files = || fs::read_dir(dir.path().join("log")).expect("list").count();
    let (before, snapshot) = (files(), snapshot_at(290, 1));
    let (log, found) = Running::open_with(&dir, small_files(), Some(&snapshot)).expect("again");
    assert_eq!((found.purged, found.entries.len()), (LogIndex(0), 300));
    assert!(files() < before / 2, "{} of {before}", files());
    drop(log);
    let (_log, found) = Running::open_with(&dir, small_files(), Some(&snapshot)).expect("third");
    assert_eq!((found.purged, found.entries.len()), (LogIndex(290), 10));
}

#[test]
fn a_start_without_any_space_gives_the_reserve_away_only_when_needed() {
    let dir = TempDir::new();
    let reserve = dir.path().join("reserve");
    fs::remove_file(&reserve).expect("remove");
    let data = DataDir::open(dir.path(), NodeId(1)).expect("new");
    assert_eq!(fs::metadata(&reserve).expect("reserve").len(), 1 << 20);
    data.space().leave(0);
    drop(data);
    let data = DataDir::open(dir.path(), NodeId(1)).expect("again");
    assert!(reserve.exists());
    // The log needs its first file.
    let mut store = LogStore::open(&data, small_files(), panicking).expect("with the reserve");
    store.recover(None).expect("empty");
    assert!(!reserve.exists());
}

#[test]
fn small_records_are_whole_or_refused() {
    let dir = TempDir::new();
    let data = DataDir::open(dir.path(), NodeId(1)).expect("new");
    assert_eq!(data.load_small("clock"), Ok(None));
    for content in [&b""[..], b"one", b"another"] {
        data.store_small("clock", content).expect("stored");
        assert_eq!(data.load_small("clock"), Ok(Some(content.to_vec())));
    }
    assert_eq!(data.store_small("../clock", b""), Err(crate::SmallRecordError::BadName));
    let long = vec![0; limits::SMALL_RECORD_BYTES_MAX + 1];
    assert_eq!(data.store_small("clock", &long), Err(crate::SmallRecordError::TooLong));
    let file = dir.path().join("clock.rec");
    let whole = fs::read(&file).expect("file");
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        put(&file, bytes);
        assert!(data.load_small("clock").is_err(), "bit {bit}");
    }
    for length in 0..whole.len() {
        put(&file, &whole[..length]);
        assert!(data.load_small("clock").is_err(), "length {length}");
    }
    // A write that a crash left aside does not matter.
    put(&file, &whole);
    put(dir.path().join("clock.rec.new"), b"half");
    assert_eq!(data.load_small("clock"), Ok(Some(b"another".to_vec())));
}

#[test]
fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new();
    let inside = dir.path().join("data");
    let data = DataDir::open(&inside, NodeId(1)).expect("new");
    let mut store = LogStore::open(&data, small_files(), panicking).expect("log");
    store.recover(None).expect("empty");
    store.close();
    data.store_small("clock", b"1").expect("stored");
    let mode = |path: &Path| fs::metadata(path).expect("file").permissions().mode() & 0o777;
    assert_eq!(mode(&inside), 0o700);
    for folder in [inside.clone(), inside.join("log")] {
        for entry in fs::read_dir(folder).expect("list") {
            let path = entry.expect("list").path();
            // raft-engine's own lock file holds nothing, and its directory is closed.
            if path.is_file() && !path.ends_with("LOCK") {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
            }
        }
    }
}

#[test]
fn a_lost_identity_beside_a_log_is_refused() {
    let dir = TempDir::new();
    drop(Running::open(&dir).expect("new"));
    fs::remove_file(dir.path().join("identity.rec")).expect("remove");
    assert!(DataDir::open(dir.path(), NodeId(9)).expect_err("refused").what.contains("identity"));
}
