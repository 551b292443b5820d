//! Torn tails and flipped bits: what was acknowledged is found or the start is refused; what was
//! not is cut and the start goes on.

use nacolet_model::Prng;

use super::*;

/// Three acknowledged batches in one file, and where each ends. `lagging[n]` is the side file as it
/// was after batch n, which is what a power cut may leave of it.
struct Written {
    dir: TempDir,
    file: Vec<u8>,
    ends: Vec<usize>,
    lagging: Vec<Vec<u8>>,
    entries: Vec<usize>,
}

fn written() -> Written {
    let dir = TempDir::new();
    let (mut log, _) = Running::open_with(&dir, LogSettings::default(), None).expect("new");
    let mut written = Written {
        file: Vec::new(),
        ends: vec![fs::read(dir.log_file(1)).expect("file").len()],
        lagging: vec![fs::read(dir.durable_file()).expect("file")],
        entries: vec![0],
        dir,
    };
    for (from, to) in [(1, 2), (3, 3), (4, 6)] {
        log.append(Some(hard_state(from, 1, 0)), commands(from..=to, 1)).expect("durable");
        written.ends.push(fs::read(written.dir.log_file(1)).expect("file").len());
        written.lagging.push(fs::read(written.dir.durable_file()).expect("file"));
        written.entries.push(to as usize);
    }
    drop(log);
    written.file = fs::read(written.dir.log_file(1)).expect("file");
    assert_eq!(written.ends[3], written.file.len());
    written
}

impl Written {
    /// Puts these files into place and starts.
    fn start(&self, file: &[u8], durable: &[u8]) -> Result<(Running, Recovered), StorageError> {
        put(self.dir.log_file(1), file);
        put(self.dir.durable_file(), durable);
        Running::open_with(&self.dir, LogSettings::default(), None)
    }

    /// Starts, finds the first `batches` batches and can go on from there.
    fn assert_goes_on(&self, file: &[u8], durable: &[u8], batches: usize, what: &str) {
        let last = self.entries[batches] as u64;
        let (mut log, found) = self.start(file, durable).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(found.entries, commands(1..=last, 1), "{what}");
        log.append(None, commands(last + 1..=last + 1, 9)).expect("durable");
        drop(log);
        let (_log, found) =
            Running::open_with(&self.dir, LogSettings::default(), None).expect("again");
        assert_eq!(found.entries.len() as u64, last + 1, "{what}");
    }

    /// The scan, which comes first in a start, refuses and changes nothing: the disk can still be
    /// examined or copied.
    fn assert_refused(&self, file: &[u8], durable: &[u8], what: &str) {
        put(self.dir.log_file(1), file);
        put(self.dir.durable_file(), durable);
        let end = crate::log::recover::DurableEnd::open(&self.dir.durable_file()).expect("open");
        let scanned = crate::log::recover::scan(&self.dir.path().join("log"), end.seq());
        let error = scanned.err().unwrap_or_else(|| panic!("{what} was accepted"));
        assert!(!error.what.is_empty() && !error.advice.is_empty());
        assert_eq!(fs::read(self.dir.log_file(1)).expect("file"), file, "{what}");
    }
}

#[test]
fn a_last_write_torn_at_any_length_is_cut_if_it_was_not_acknowledged() {
    let written = written();
    for length in written.ends[2]..written.ends[3] {
        let mut torn = written.file[..length].to_vec();
        written.assert_goes_on(&torn, &written.lagging[2], 2, &format!("cut at {length}"));
        if length % 5 > 0 {
            continue;
        }
        // The file system may also know the new length and not the bytes.
        torn.resize(written.ends[3], 0);
        if torn != written.file {
            written.assert_goes_on(&torn, &written.lagging[2], 2, &format!("zeros at {length}"));
        }
        torn.truncate(length);
        torn.resize(written.ends[3] + 77, 0xa7);
        written.assert_goes_on(&torn, &written.lagging[2], 2, &format!("noise at {length}"));
    }
}

#[test]
fn a_first_write_torn_at_any_length_is_cut_with_its_file() {
    let written = written();
    for length in 0..written.ends[1] {
        let what = format!("cut at {length}");
        written.assert_goes_on(&written.file[..length], &written.lagging[0], 0, &what);
    }
}

#[test]
fn an_acknowledged_log_cut_at_any_length_is_refused() {
    let written = written();
    for length in 0..written.file.len() {
        let what = format!("cut at {length}");
        written.assert_refused(&written.file[..length], &written.lagging[3], &what);
    }
    assert!(written.start(&written.file[..100], &written.lagging[3]).is_err());
}

#[test]
fn every_flipped_bit_of_an_acknowledged_log_is_refused() {
    let written = written();
    for bit in 0..written.file.len() * 8 {
        let mut file = written.file.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        written.assert_refused(&file, &written.lagging[3], &format!("bit {bit}"));
    }
}

#[test]
fn with_a_lagging_side_file_later_batches_still_vouch_for_earlier_ones() {
    let written = written();
    for (lag, byte) in (0..written.file.len()).step_by(3).enumerate() {
        let mut file = written.file.clone();
        file[byte] ^= 1 << (byte % 8);
        let what = format!("byte {byte}");
        let durable = &written.lagging[lag % 3];
        if byte < written.ends[2] {
            written.assert_refused(&file, durable, &what);
        } else {
            // The one case that cannot be told from a torn write.
            written.assert_goes_on(&file, durable, 2, &what);
        }
    }
}

#[test]
fn no_flipped_bit_in_the_side_file_stops_a_start() {
    let written = written();
    let (log, found) = written.start(&written.file, &written.lagging[3]).expect("whole");
    assert_eq!(found.entries.len(), 6);
    drop(log);
    for bit in 0..written.lagging[3].len() * 8 {
        let mut durable = written.lagging[3].clone();
        durable[bit / 8] ^= 1 << (bit % 8);
        put(written.dir.durable_file(), &durable);
        let end = crate::log::recover::DurableEnd::open(&written.dir.durable_file()).expect("open");
        assert!((2..=3).contains(&end.seq()), "bit {bit}: {}", end.seq());
    }
    for length in [0, 1, 16, 511, 520] {
        let (_log, found) =
            written.start(&written.file, &written.lagging[3][..length]).expect("whole log");
        assert_eq!(found.entries.len(), 6);
    }
}

#[test]
fn without_the_side_file_the_log_alone_is_believed() {
    let written = written();
    drop(fs::remove_file(written.dir.durable_file()));
    put(written.dir.log_file(1), &written.file[..written.ends[3] - 1]);
    let (_log, found) =
        Running::open_with(&written.dir, LogSettings::default(), None).expect("accepted");
    assert_eq!(found.entries.len(), 3);
}

/// A log with several files, purged once, with some entries moved by the engine.
fn many_files() -> (TempDir, SnapshotMeta, Recovered) {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    for index in 1..=200 {
        log.append(Some(hard_state(1, 2, 0)), vec![command(index, 1, 300)]).expect("durable");
    }
    log.store.purge(LogIndex(170));
    for index in 201..=240 {
        log.append(None, vec![command(index, 1, 300)]).expect("durable");
        log.store.purge(LogIndex(171 + (index - 201) / 20));
    }
    drop(log);
    let snapshot = snapshot_at(180, 1);
    let (log, found) = Running::open_with(&dir, small_files(), Some(&snapshot)).expect("again");
    drop(log);
    (dir, snapshot, found)
}

fn log_files(dir: &TempDir) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.path().join("log"))
        .expect("list")
        .map(|entry| entry.expect("list").path())
        .filter(|path| path.extension().is_some())
        .collect();
    files.sort();
    files
}

#[test]
fn damage_anywhere_in_many_files_is_refused_or_harmless() {
    let (dir, snapshot, expected) = many_files();
    let files = log_files(&dir);
    assert!(files.len() > 4, "{files:?}");
    assert!(files.iter().any(|f| f.extension().is_some_and(|e| e == "rewrite")));
    let durable = fs::read(dir.durable_file()).expect("file");
    let whole: Vec<_> = files.iter().map(|f| fs::read(f).expect("file")).collect();
    let mut random = Prng::new(4);
    let mut refused = 0;
    for round in 0..600 {
        let victim = random.index(files.len());
        let mut bytes = whole[victim].clone();
        let at = random.index(bytes.len());
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => bytes[at..].fill(0),
            2 => bytes.splice(at..at, [0x55; 7]).for_each(drop),
            _ => bytes[at] ^= 1 << random.below(8),
        }
        let changed = bytes != whole[victim];
        if random.chance(1, 12) {
            fs::remove_file(&files[victim]).expect("remove");
        } else {
            put(&files[victim], &bytes);
        }
        match Running::open_with(&dir, small_files(), Some(&snapshot)) {
            Err(_) => refused += 1,
            Ok((log, found)) => {
                drop(log);
                assert_eq!(found, expected, "round {round}, {}", files[victim].display());
            }
        }
        let append = files[victim].extension().is_some_and(|e| e == "raftlog");
        assert!(!(append && changed && round == 0 && refused == 0), "the first one is seen");
        // Everything back as it was, whatever a start may have cut or removed.
        for file in log_files(&dir) {
            fs::remove_file(file).expect("remove");
        }
        for (file, bytes) in files.iter().zip(&whole) {
            put(file, bytes);
        }
        put(dir.durable_file(), &durable);
    }
    assert!(refused > 400, "{refused} of 600 refused");
}

#[test]
fn an_older_copy_of_the_files_is_refused() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    log.append(None, commands(1..=5, 1)).expect("durable");
    let older = fs::read(dir.log_file(1)).expect("file");
    log.append(None, commands(6..=6, 1)).expect("durable");
    drop(log);
    put(dir.log_file(1), older);
    let error = Running::open(&dir).err().expect("refused");
    assert!(error.what.contains("batch 2 was durable"), "{error}");
}

#[test]
fn a_copy_taken_at_any_moment_starts() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    for index in 1..=60 {
        log.append(None, vec![command(index, 1, 500)]).expect("durable");
        if index % 10 == 0 {
            log.store.purge(LogIndex(index - 8));
            let settled = log.append(None, Vec::new());
            assert!(settled.is_ok());
        }
        if index % 7 == 0 {
            let crashed = copy(&dir);
            let snapshot = snapshot_at(index, 1);
            let (_log, found) = Running::open_with(&crashed, small_files(), Some(&snapshot))
                .unwrap_or_else(|e| panic!("after {index}: {e}"));
            assert_eq!(found.entries.last().expect("some").id.index, LogIndex(index));
        }
    }
}

#[test]
fn leftovers_of_an_interrupted_purge_are_removed() {
    let (dir, snapshot, expected) = many_files();
    let first = log_files(&dir).into_iter().find(|f| f.extension().is_some_and(|e| e == "raftlog"));
    let older = dir.log_file(1);
    fs::copy(first.expect("a file"), &older).expect("copy");
    let (_log, found) = Running::open_with(&dir, small_files(), Some(&snapshot)).expect("starts");
    assert_eq!(found, expected);
    assert!(!older.exists());
}

#[test]
fn random_bytes_never_panic_the_scan() {
    let dir = TempDir::new();
    fs::create_dir(dir.path().join("log")).expect("create");
    let (written, mut random) = (written(), Prng::new(11));
    for _ in 0..2_000 {
        let mut bytes: Vec<u8> = (0..random.below(200)).map(|_| random.next_u64() as u8).collect();
        if random.chance(1, 2) {
            // A head that is right lets the noise through to the batches.
            let mut file = written.file[..random.index(written.file.len())].to_vec();
            file.append(&mut bytes);
            bytes = file;
        }
        put(dir.log_file(1), &bytes);
        let _ = crate::log::recover::scan(&dir.path().join("log"), 0);
    }
}

/// The layout in the head of `recover.rs`, as the engine writes it.
#[test]
fn the_engine_writes_the_published_frames() {
    let dir = TempDir::new();
    let (mut log, _) = Running::open(&dir).expect("new");
    log.append(Some(hard_state(1, 2, 0)), vec![command(1, 1, 3)]).expect("durable");
    let bytes = fs::read(dir.log_file(1)).expect("file");
    let hex: String = bytes[53..].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(&bytes[..53], b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5");
    let published = [
        "0000000000000002", // format version
        "0000000000000000", // alignment
        "0000000000004a00", // batch of 0x4a bytes, not compressed
        "0000000000000030", // items at 0x30
        "03000000",         // entries: the length of a body,
        "e22f49b2",         // its CRC,
        "01",               // kind, term 1, index 1
        "0100000000000000",
        "0100000000000000",
        "1f2021",               // and the body
        "f6e42169",             // CRC of the entries
        "02",                   // two items
        "01010101",             // region 1: entries, one, first index 1
        "1c",                   // end offset of the entry
        "01030101730a",         // region 1: put, key "s", 10 bytes
        "01010001010200000101", // the state record
        "6c3a8409",             // CRC of the items, file number mixed in
    ];
    assert_eq!(hex, published.concat());
}
