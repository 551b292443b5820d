//! Raft snapshot files: all or nothing, whatever happens in between.

use futures_lite::future::block_on;
use nacolet_model::{Prng, limits};
use nacolet_raft::{SnapshotChunk, SnapshotError};

use super::*;
use crate::{SnapshotReader, SnapshotStore};

fn blocks(count: u8) -> impl FnMut() -> Option<Vec<u8>> + Send + 'static {
    let mut blocks = (1..=count).map(|n| vec![n; usize::from(n) * 10]);
    move || blocks.next()
}

fn read_all(reader: &mut SnapshotReader) -> Result<Vec<Vec<u8>>, StorageError> {
    let mut blocks = Vec::new();
    while let Some(block) = reader.read_block()? {
        blocks.push(block);
    }
    Ok(blocks)
}

fn open(dir: &TempDir) -> Result<SnapshotStore, StorageError> {
    SnapshotStore::open(&DataDir::open(dir.path(), NodeId(1))?, panicking)
}

type Whole = (SnapshotMeta, Vec<Vec<u8>>);

fn recover(store: &SnapshotStore) -> Result<Option<Whole>, StorageError> {
    let Some((meta, mut reader)) = store.recover()? else { return Ok(None) };
    Ok(Some((meta, read_all(&mut reader)?)))
}

fn all_of(source: impl FnMut() -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
    std::iter::from_fn(source).collect()
}

fn snapshot_files(dir: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path().join("snapshots")).expect("list");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("list").path()).collect();
    files.sort();
    files
}

/// Sends the newest snapshot of one store to another in chunks of `max` bytes.
fn transfer(from: &SnapshotStore, to: &SnapshotStore, max: usize) -> Result<(), SnapshotError> {
    let meta = from.meta().expect("a snapshot");
    let mut offset = 0;
    loop {
        let chunk = block_on(from.read_raw(&meta, offset, max))?;
        let (sent, last) = (chunk.bytes.len() as u64, chunk.last);
        block_on(to.write_raw(&meta, offset, chunk))?;
        offset += sent;
        if last {
            return Ok(());
        }
    }
}

#[test]
fn the_newest_snapshot_is_found_again_and_the_only_one_kept() {
    let dir = TempDir::new();
    let store = open(&dir).expect("new");
    assert_eq!(recover(&store), Ok(None));
    for index in 1..=3_u8 {
        let meta = snapshot_at(u64::from(index), 1);
        block_on(store.write(meta.clone(), blocks(index))).expect("written");
        assert_eq!(store.meta(), Some(meta));
        assert_eq!(snapshot_files(&dir).len(), 1);
    }
    drop(store);
    let store = open(&dir).expect("again");
    assert_eq!(recover(&store), Ok(Some((snapshot_at(3, 1), all_of(blocks(3))))));
}

#[test]
fn an_empty_state_is_a_snapshot_too() {
    let dir = TempDir::new();
    block_on(open(&dir).expect("new").write(snapshot_at(1, 1), || None)).expect("written");
    let store = open(&dir).expect("again");
    assert_eq!(recover(&store), Ok(Some((snapshot_at(1, 1), Vec::new()))));
}

#[test]
fn every_flipped_bit_and_every_length_is_seen() {
    let dir = TempDir::new();
    block_on(open(&dir).expect("new").write(snapshot_at(5, 2), blocks(4))).expect("written");
    let file = snapshot_files(&dir).remove(0);
    let whole = fs::read(&file).expect("file");
    let data = DataDir::open(dir.path(), NodeId(1)).expect("open");
    let damaged = |bytes: &[u8]| {
        put(&file, bytes);
        SnapshotStore::open(&data, panicking)
            .and_then(|store| recover(&store))
            .expect_err("damaged")
    };
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = damaged(&bytes);
        assert!(error.what.contains("snapshot"), "{error}");
    }
    for length in 0..whole.len() {
        damaged(&whole[..length]);
    }
    damaged(&[&whole[..], &[0]].concat());
    put(&file, &whole);
    let store = SnapshotStore::open(&data, panicking).expect("whole");
    assert!(recover(&store).expect("whole").is_some());
}

#[test]
fn blocks_out_of_place_are_seen() {
    let dir = TempDir::new();
    let mut twins = vec![vec![7; 20], vec![8; 20]].into_iter();
    let store = open(&dir).expect("new");
    block_on(store.write(snapshot_at(5, 2), move || twins.next())).expect("written");
    let file = snapshot_files(&dir).remove(0);
    let whole = fs::read(&file).expect("file");
    // Two blocks of 28 bytes and an end of 8.
    let head = whole.len() - 8 - 2 * 28;
    let (first, second) = (&whole[head..head + 28], &whole[head + 28..head + 56]);
    for body in [[second, first].concat(), [first, first].concat(), first.to_vec()] {
        let bytes = [&whole[..head], &body, &whole[whole.len() - 8..]].concat();
        put(&file, bytes);
        assert!(recover(&store).is_err());
    }
}

#[test]
fn a_snapshot_travels_and_is_installed_durably() {
    let (here, there) = (TempDir::new(), TempDir::new());
    let (from, to) = (open(&here).expect("new"), open(&there).expect("new"));
    block_on(from.write(snapshot_at(9, 3), blocks(20))).expect("written");
    for max in [1, 7, 64, 1 << 20] {
        transfer(&from, &to, max).expect("arrives");
        let mut reader = to.received(&snapshot_at(9, 3)).expect("waits");
        assert_eq!(read_all(&mut reader), Ok(all_of(blocks(20))));
        block_on(to.install(&snapshot_at(9, 3))).expect("installed");
        assert_eq!(to.received(&snapshot_at(9, 3)).err(), Some(SnapshotError::Gone));
    }
    drop(to);
    let to = open(&there).expect("again");
    assert_eq!(recover(&to), Ok(Some((snapshot_at(9, 3), all_of(blocks(20))))));
    assert_eq!(snapshot_files(&there).len(), 1);
    // What arrived can be sent on, byte for byte.
    assert_eq!(
        block_on(to.read_raw(&snapshot_at(9, 3), 0, 1 << 20)),
        block_on(from.read_raw(&snapshot_at(9, 3), 0, 1 << 20))
    );
}

#[test]
fn a_chunk_may_come_twice_but_none_may_be_missing_or_wrong() {
    let (here, there) = (TempDir::new(), TempDir::new());
    let (from, to) = (open(&here).expect("new"), open(&there).expect("new"));
    let meta = snapshot_at(9, 3);
    block_on(from.write(meta.clone(), blocks(20))).expect("written");
    let chunk = |offset, max| block_on(from.read_raw(&meta, offset, max)).expect("chunk");
    for offset in [0, 0, 100, 0, 100, 100, 200] {
        block_on(to.write_raw(&meta, offset, chunk(offset, 100))).expect("stored");
    }
    let gap = block_on(to.write_raw(&meta, 400, chunk(400, 100)));
    assert_eq!(gap, Err(SnapshotError::Damaged));
    let dropped = block_on(to.write_raw(&meta, 300, chunk(300, 100)));
    assert_eq!(dropped, Err(SnapshotError::Damaged));
    let mut wrong = chunk(0, 1 << 20);
    wrong.bytes[150] ^= 4;
    assert_eq!(block_on(to.write_raw(&meta, 0, wrong)), Err(SnapshotError::Damaged));
    let other = snapshot_at(10, 3);
    assert_eq!(
        block_on(to.write_raw(&other, 0, chunk(0, 1 << 20))),
        Err(SnapshotError::Damaged),
        "the file says that it is another snapshot"
    );
    assert_eq!(block_on(to.install(&meta)), Err(SnapshotError::Gone));
    assert_eq!(recover(&to), Ok(None));
    assert_eq!(snapshot_files(&there), Vec::<PathBuf>::new());
}

#[test]
fn an_older_snapshot_never_replaces_a_newer_one() {
    let (here, there) = (TempDir::new(), TempDir::new());
    let (from, to) = (open(&here).expect("new"), open(&there).expect("new"));
    block_on(from.write(snapshot_at(5, 3), blocks(2))).expect("written");
    transfer(&from, &to, 50).expect("arrives");
    block_on(to.write(snapshot_at(8, 3), blocks(3))).expect("written");
    assert_eq!(block_on(to.install(&snapshot_at(5, 3))), Err(SnapshotError::Gone));
    assert_eq!(block_on(to.write(snapshot_at(7, 3), blocks(1))), Err(SnapshotError::Gone));
    assert_eq!(to.meta(), Some(snapshot_at(8, 3)));
    assert_eq!(snapshot_files(&there).len(), 1);
    let stale = block_on(to.read_raw(&snapshot_at(5, 3), 0, 10));
    assert_eq!(stale, Err(SnapshotError::Gone));
}

#[test]
fn what_was_half_written_is_gone_after_a_start() {
    let dir = TempDir::new();
    block_on(open(&dir).expect("new").write(snapshot_at(5, 2), blocks(4))).expect("written");
    let folder = dir.path().join("snapshots");
    for name in ["building.part", "receiving.part"] {
        put(folder.join(name), b"half");
    }
    // A crash between the rename and the removal leaves two; the newest counts.
    let old = folder.join("00000000000000000000.snapshot");
    fs::rename(&old, folder.join("00000000000000000007.snapshot")).expect("rename");
    put(&old, b"whatever");
    let store = open(&dir).expect("again");
    assert_eq!(recover(&store), Ok(Some((snapshot_at(5, 2), all_of(blocks(4))))));
    assert_eq!(snapshot_files(&dir).len(), 1);
    block_on(store.write(snapshot_at(6, 2), blocks(1))).expect("written");
    assert!(snapshot_files(&dir)[0].ends_with("00000000000000000008.snapshot"));
}

#[test]
fn a_block_that_is_too_large_is_refused_and_the_old_snapshot_stays() {
    let dir = TempDir::new();
    let store = open(&dir).expect("new");
    block_on(store.write(snapshot_at(5, 2), blocks(4))).expect("written");
    let mut large = Some(vec![0; limits::SNAPSHOT_BLOCK_BYTES_MAX + 1]);
    let result = block_on(store.write(snapshot_at(6, 2), move || large.take()));
    assert!(matches!(result, Err(SnapshotError::Io(_))), "{result:?}");
    assert_eq!(store.meta(), Some(snapshot_at(5, 2)));
    assert_eq!(snapshot_files(&dir).len(), 1);
    let mut largest = Some(vec![3; limits::SNAPSHOT_BLOCK_BYTES_MAX]);
    block_on(store.write(snapshot_at(6, 2), move || largest.take())).expect("written");
    let (_, found) = recover(&store).expect("whole").expect("some");
    assert_eq!(found[0].len(), limits::SNAPSHOT_BLOCK_BYTES_MAX);
}

#[test]
fn reading_goes_on_while_another_snapshot_is_written() {
    let dir = TempDir::new();
    let store = open(&dir).expect("new");
    block_on(store.write(snapshot_at(1, 1), blocks(9))).expect("written");
    let (gate, open_gate) = mpsc::channel::<()>();
    let mut left = 3;
    let writing = store.write(snapshot_at(2, 1), move || {
        open_gate.recv_timeout(Duration::from_secs(20)).expect("opened");
        left -= 1;
        (left > 0).then(|| vec![1; 10])
    });
    let chunk = block_on(store.read_raw(&snapshot_at(1, 1), 0, 1 << 20)).expect("the old one");
    assert!(chunk.last && !chunk.bytes.is_empty());
    for _ in 0..3 {
        gate.send(()).expect("waiting");
    }
    block_on(writing).expect("written");
    assert_eq!(store.meta(), Some(snapshot_at(2, 1)));
}

#[test]
fn random_bytes_never_panic_the_reader() {
    let dir = TempDir::new();
    let store = open(&dir).expect("new");
    block_on(store.write(snapshot_at(5, 2), blocks(4))).expect("written");
    let file = snapshot_files(&dir).remove(0);
    let whole = fs::read(&file).expect("file");
    let mut random = Prng::new(3);
    for _ in 0..2_000 {
        let mut bytes = whole[..random.index(whole.len())].to_vec();
        bytes.extend((0..random.below(80)).map(|_| random.next_u64() as u8));
        put(&file, &bytes);
        assert!(bytes == whole || recover(&store).is_err());
    }
}

#[test]
fn the_format_is_the_published_one() {
    let dir = TempDir::new();
    let mut one = Some(b"abc".to_vec());
    let store = open(&dir).expect("new");
    block_on(store.write(snapshot_at(5, 2), move || one.take())).expect("written");
    let bytes = fs::read(snapshot_files(&dir).remove(0)).expect("file");
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let published = [
        "4e434c54534e4150", // magic
        "01000000",         // version
        "08000000",         // bytes of meta
        "0205000000000005", // meta: term 2, index 5, no members, id 5
        "620e6b62",
        "03000000", // one block
        "aa815e2c",
        "616263",
        "00000000", // the end
        "008a70e0",
    ];
    assert_eq!(hex, published.concat());
    let chunk = SnapshotChunk { bytes, last: true };
    block_on(store.write_raw(&snapshot_at(5, 2), 0, chunk)).expect("whole");
}

#[test]
fn a_snapshot_may_use_the_reserve_and_leaves_the_last_bytes() {
    let dir = TempDir::new();
    let data = DataDir::open(dir.path(), NodeId(1)).expect("new");
    let store = SnapshotStore::open(&data, panicking).expect("opens");
    block_on(store.write(snapshot_at(1, 1), blocks(3))).expect("written");
    let reserve = dir.path().join("reserve");
    let large = |count| {
        let mut blocks = std::iter::repeat_n(vec![7; 100_000], count);
        move || blocks.next()
    };
    data.space().leave(400_000);
    // 1,448,576 bytes with the reserve.
    let failed = block_on(store.write(snapshot_at(2, 1), large(14)));
    assert_eq!(failed, Err(SnapshotError::Full));
    assert!(!reserve.exists());
    assert_eq!(recover(&store).expect("whole"), Some((snapshot_at(1, 1), all_of(blocks(3)))));
    assert_eq!(snapshot_files(&dir).len(), 1);
    block_on(store.write(snapshot_at(2, 1), large(13))).expect("written");
    assert_eq!(recover(&store).expect("whole"), Some((snapshot_at(2, 1), all_of(large(13)))));
    assert_eq!(snapshot_files(&dir).len(), 1);
    // And so does one that another member sends.
    data.space().leave(1_000_000);
    let failed = transfer(&store, &store, 64 << 10);
    assert_eq!(failed, Err(SnapshotError::Full));
    assert_eq!(snapshot_files(&dir).len(), 1);
}
