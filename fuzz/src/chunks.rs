//! A Raft snapshot that arrives in pieces, in whatever order and of whatever content: what is
//! installed is a whole file whose every block is right, or nothing is; what was there before stays
//! until then, and what is sent on is what lies there.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_lite::future::block_on;
use nacolet_model::NodeId;
use nacolet_raft::{LogId, LogIndex, SnapshotChunk, SnapshotError, SnapshotMeta, Term};
use nacolet_storage::{DataDir, SnapshotStore, fuzzing};

use crate::source::Source;

/// The directory of a node that all stories of a thread share: making one writes a reserve of
/// megabytes.
struct Home {
    dir: DataDir,
    folder: PathBuf,
}

thread_local! {
    static HOME: Home = Home::new();
}

impl Home {
    fn new() -> Self {
        static HOMES: AtomicU64 = AtomicU64::new(0);
        let number = HOMES.fetch_add(1, Ordering::Relaxed);
        let name = format!("nacolet-fuzz-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let Ok(dir) = DataDir::open(&folder, NodeId(1)) else { panic!("a folder of its own") };
        Self { dir, folder }
    }

    /// What the story before this one left behind is of no use to anybody.
    fn clear(&self) {
        let _ = std::fs::remove_dir_all(self.folder.join("snapshots"));
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn fatal(why: &str) -> ! {
    panic!("{why}")
}

struct Original {
    meta: SnapshotMeta,
    blocks: Vec<Vec<u8>>,
    file: Vec<u8>,
}

impl Original {
    fn new(index: u64, source: &mut Source<'_>) -> Option<Self> {
        let last = LogId { term: Term(1), index: LogIndex(index) };
        let meta = SnapshotMeta { last, id: index, ..SnapshotMeta::default() };
        let block = |source: &mut Source<'_>| vec![source.byte(); 1 + usize::from(source.byte())];
        let blocks: Vec<_> = (0..source.choice(4)).map(|_| block(source)).collect();
        let file = fuzzing::encode_snapshot(&meta, &blocks)?;
        Some(Self { meta, blocks, file })
    }
}

pub(crate) fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let (Some(one), Some(two)) = (Original::new(5, &mut source), Original::new(9, &mut source))
    else {
        return;
    };
    HOME.with(|home| {
        home.clear();
        tell(&home.dir, [&one, &two], &mut source);
    });
}

fn tell(dir: &DataDir, [one, two]: [&Original; 2], source: &mut Source<'_>) {
    let Ok(mut store) = SnapshotStore::open(dir, fatal) else { panic!("it is empty") };
    assert_eq!(store.meta(), None, "it is empty");
    // Which of the two lies there, and what was received of which.
    let mut newest: Option<&Original> = None;
    let mut held: Option<(u64, Vec<u8>, bool)> = None;
    while !source.is_over() {
        let original = if source.flag() { one } else { two };
        let meta = &original.meta;
        match source.choice(8) {
            0..=3 => receive(&store, original, &mut held, source),
            4 => {
                let is_whole = held.as_ref().is_some_and(|(id, bytes, done)| {
                    *id == meta.id && *done && *bytes == original.file
                });
                assert_eq!(store.received(meta).is_ok(), is_whole);
                let is_newer =
                    newest.is_none_or(|newest| newest.meta.last.index <= meta.last.index);
                let installed = block_on(store.install(meta));
                assert_eq!(installed.is_ok(), is_whole && is_newer, "{installed:?}");
                if is_whole {
                    held = None;
                }
                if installed.is_ok() {
                    newest = Some(original);
                }
            }
            5 => {
                store.discard();
                held = None;
            }
            6 => {
                let at = source.number();
                let read = block_on(store.read_raw(meta, at, 1 + usize::from(source.byte())));
                let is_there = newest.is_some_and(|newest| newest.meta == *meta);
                check_read(original, at, &read, is_there);
            }
            _ => {
                drop(store);
                let Ok(opened) = SnapshotStore::open(dir, fatal) else { panic!("it was whole") };
                (store, held) = (opened, None);
            }
        }
        check_newest(&store, newest);
    }
}

fn check_newest(store: &SnapshotStore, newest: Option<&Original>) {
    assert_eq!(store.meta().as_ref(), newest.map(|newest| &newest.meta));
    let Ok(recovered) = store.recover() else { panic!("what lies there is whole") };
    let Some((_, mut reader)) = recovered else { return };
    let mut blocks = Vec::new();
    loop {
        match reader.read_block() {
            Ok(Some(block)) => blocks.push(block),
            Ok(None) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(Some(&blocks), newest.map(|newest| &newest.blocks));
}

fn check_read(
    original: &Original,
    at: u64,
    read: &Result<SnapshotChunk, SnapshotError>,
    is_there: bool,
) {
    let bytes = original.file.len() as u64;
    match read {
        Ok(chunk) => {
            let at = usize::try_from(at.min(bytes)).unwrap_or(0);
            assert!(is_there && original.file[at..].starts_with(&chunk.bytes));
            assert_eq!(chunk.last, at + chunk.bytes.len() == original.file.len());
        }
        Err(_) => assert!(!is_there || at > bytes),
    }
}

/// One more chunk, most often the one that is due.
fn receive(
    store: &SnapshotStore,
    original: &Original,
    held: &mut Option<(u64, Vec<u8>, bool)>,
    source: &mut Source<'_>,
) {
    let (meta, file) = (&original.meta, &original.file);
    let have = held.as_ref().filter(|(id, ..)| *id == meta.id).map_or(0, |(_, held, _)| held.len());
    let offset = match source.choice(4) {
        0 => source.number(),
        _ => have as u64,
    };
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(file.len());
    let end = file.len().min(from + usize::from(source.byte()) * 4);
    let mut bytes = file[from..end].to_vec();
    if source.choice(8) == 7 {
        bytes.iter_mut().for_each(|byte| *byte ^= source.byte());
    }
    let last = if source.choice(8) == 7 { source.flag() } else { end == file.len() };
    let taken =
        block_on(store.write_raw(meta, offset, SnapshotChunk { bytes: bytes.clone(), last }));
    if offset == 0 {
        *held = Some((meta.id, Vec::new(), false));
    }
    let is_due = held
        .as_ref()
        .is_some_and(|(id, held, done)| *id == meta.id && held.len() as u64 == offset && !done);
    if taken.is_err() {
        *held = None;
        return;
    }
    let Some((_, held, done)) = held.as_mut().filter(|_| is_due) else { return };
    held.extend(bytes);
    if last {
        assert_eq!(held, file, "a whole that fails its checks is not kept");
        *done = true;
    }
}
