//! What lies on disk: records of the log, and snapshot files with the sections of all four state
//! machines. A changed byte is seen; what passes is a value that is written again as the same
//! bytes.

use nacolet_auth::Users;
use nacolet_config::Store;
use nacolet_lock::Locks;
use nacolet_raft::{Entry, EntryPayload, LogId, LogIndex, SnapshotMeta, Term};
use nacolet_registry::Registry;
use nacolet_storage::fuzzing;

use crate::cost::{ANNOUNCED, Bound};
use crate::replica::{Replica, decode, encode};
use crate::source::Source;

const READ: Bound = Bound { per_byte: 512, fixed: 2 * ANNOUNCED };

/// A record and one bent copy of it.
pub(crate) fn records(data: &[u8]) {
    let mut source = Source::new(data);
    match source.choice(6) {
        0 => entry_record(&mut source),
        1 => {
            let content = source.bytes().to_vec();
            let written = fuzzing::encode_small(&content);
            assert_eq!(fuzzing::decode_small(&written), Some(content.as_slice()));
            let bent = bent(&mut source, &written);
            assert_eq!(fuzzing::decode_small(&bent).is_some(), bent == written);
        }
        2 => {
            let seq = source.number();
            let written = fuzzing::encode_slot(seq);
            assert_eq!(fuzzing::decode_slot(&written), Some(seq));
            let bent = bent(&mut source, &written);
            // What follows a slot is the next one.
            let is_whole = bent.starts_with(&written);
            assert_eq!(fuzzing::decode_slot(&bent).is_some(), is_whole);
        }
        3 => {
            let bytes = source.all();
            let Some(again) = READ.hold(bytes.len(), || fuzzing::recode_state(bytes)) else {
                return;
            };
            assert_eq!(fuzzing::recode_state(&again), Some(again.clone()), "written as it is read");
        }
        4 => {
            let (head, body) = (source.bytes(), source.all());
            let Some(entry) = fuzzing::decode_entry(head, body) else { return };
            let Some(again) = fuzzing::encode_entry(&entry) else { panic!("it was read just now") };
            assert_eq!((again.0.as_slice(), &*again.1), (head, body), "written as it is read");
        }
        _ => {
            let bytes = source.all();
            let Some(content) = fuzzing::decode_small(bytes) else { return };
            assert_eq!(fuzzing::encode_small(content), bytes, "written as it is read");
        }
    }
}

fn entry_record(source: &mut Source<'_>) {
    let id = LogId { term: Term(source.number()), index: LogIndex(source.number()) };
    let payload = match source.choice(3) {
        0 => EntryPayload::Blank,
        1 => EntryPayload::Command(source.bytes().into()),
        _ => match decode(source.bytes()) {
            Some(membership) => EntryPayload::Membership(Box::new(membership)),
            None => return,
        },
    };
    let entry = Entry { id, payload };
    let Some((head, body)) = fuzzing::encode_entry(&entry) else { panic!("an entry is written") };
    assert_eq!(fuzzing::decode_entry(&head, &body), Some(entry));
    let (bent_head, bent_body) = (bent(source, &head), bent(source, &body));
    let decoded = READ.hold(bent_body.len(), || fuzzing::decode_entry(&bent_head, &bent_body));
    assert_eq!(decoded.is_some(), bent_head == head && *bent_body == *body, "a change is seen");
}

/// These bytes, changed as a disk changes them, or not. Bursts of up to 32 bits are what the checks
/// see for certain; of anything else they miss one in four thousand million.
fn bent(source: &mut Source<'_>, bytes: &[u8]) -> Vec<u8> {
    let mut bent = bytes.to_vec();
    let at = usize::try_from(source.number()).unwrap_or(0);
    match source.choice(5) {
        0 => bent.truncate(at),
        1 => bent.iter_mut().skip(at).take(4).for_each(|byte| *byte ^= source.byte()),
        2 => bent.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << source.choice(8)),
        3 => bent.extend_from_slice(source.bytes()),
        _ => {}
    }
    bent
}

/// A snapshot file with right checks around whatever stands in it.
pub(crate) fn snapshot(data: &[u8]) {
    let mut source = Source::new(data);
    let meta = match source.flag() {
        true => SnapshotMeta::default(),
        false => decode(source.bytes()).unwrap_or_default(),
    };
    let bend_at = source.flag().then(|| (source.number(), source.byte()));
    let mut blocks: Vec<Vec<u8>> = (0..source.choice(6)).map(|_| source.bytes().to_vec()).collect();
    if !source.is_over() {
        blocks.push(source.all().to_vec());
    }
    let Some(file) = fuzzing::encode_snapshot(&meta, &blocks) else { return };
    let read = READ.hold(file.len(), || fuzzing::decode_snapshot(&file));
    let is_early = blocks.iter().any(Vec::is_empty);
    match read {
        Ok((found, read)) => {
            assert!(!is_early, "bytes follow the end");
            assert_eq!((&found, &read), (&meta, &blocks));
            assert_eq!(encode(&found), encode(&meta));
        }
        Err(_) => assert!(is_early, "a whole file is read"),
    }
    if let Some((at, change)) = bend_at {
        let mut bent = file;
        let at = usize::try_from(at).unwrap_or(0) % bent.len();
        bent[at] ^= change;
        let read = READ.hold(bent.len(), || fuzzing::decode_snapshot(&bent));
        assert!(change == 0 || is_early || read.is_err(), "a changed byte is seen");
    }
    sections(&blocks);
}

/// The sections as a node reads them: the first byte of a block says whose it is.
fn sections(blocks: &[Vec<u8>]) {
    let of = |tag: u8| -> Vec<Vec<u8>> {
        let mine = blocks.iter().filter(|block| block.first() == Some(&tag));
        mine.map(|block| block[1..].to_vec()).collect()
    };
    again::<Store>(&of(0));
    again::<Registry>(&of(1));
    again::<Locks>(&of(2));
    again::<Users>(&of(3));
}

fn again<R: Replica>(chunks: &[Vec<u8>]) {
    let bytes = chunks.iter().map(Vec::len).sum();
    let Some(state) = READ.hold(bytes, || R::load(None, chunks)) else { return };
    state.invariants();
    let Some(again) = R::load(None, &state.capture()) else { panic!("it cannot be read again") };
    assert_eq!(again.capture(), state.capture());
}
