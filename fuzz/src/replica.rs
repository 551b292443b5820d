//! A replicated state machine under two promises: whoever applies the same log answers the same,
//! and a state that was captured and loaded is the state it was captured from and goes on like it.
//!
//! A story is a log. Most of its commands are made the way the doors make them; some are whatever
//! bytes decode to, since a member with the key may propose anything. A twin applies the same log
//! and is replaced in between by what a snapshot of the first one gives.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cost::{ANNOUNCED, Bound};
use crate::source::Source;

/// A command may touch what came before it, so its cost is in proportion to the whole story.
const APPLY: Bound = Bound { per_byte: 512, fixed: 1 << 20 };
const LOAD: Bound = Bound { per_byte: 512, fixed: ANNOUNCED };
const CAPTURE: Bound = Bound { per_byte: 1_024, fixed: 1 << 20 };

/// One of the state machines.
pub(crate) trait Replica: Sized {
    type Command: Serialize + DeserializeOwned;

    /// The state before the first entry.
    fn empty() -> Self;

    /// A command as a door makes it; none where the door refuses.
    fn made(&self, source: &mut Source<'_>) -> Option<Self::Command>;

    /// Whether it is one that a log takes.
    fn is_valid(command: &Self::Command) -> bool;

    /// Applies a command; the answer, in words.
    fn apply(&mut self, index: u64, command: Self::Command) -> String;

    /// The state as chunks of a snapshot.
    fn capture(&self) -> Vec<Vec<u8>>;

    /// The state in chunks. `old` is what is replaced.
    fn load(old: Option<Self>, chunks: &[Vec<u8>]) -> Option<Self>;

    /// Panics where the state contradicts itself.
    fn invariants(&self);

    /// Panics where `other` shows anything else, although its chunks are the same.
    fn assert_alike(&self, other: &Self);

    /// Something that concerns one member alone and is no part of the log.
    fn disturb(&mut self, _source: &mut Source<'_>) {}
}

/// Bytes as a log; see the head of this file.
pub(crate) fn apply<R: Replica>(data: &[u8]) {
    let mut source = Source::new(data);
    let (mut first, mut twin) = (R::empty(), R::empty());
    let mut index = 0;
    while !source.is_over() {
        let command = match source.byte() {
            0..=191 => {
                let made = first.made(&mut source);
                let is_taken = made.as_ref().is_none_or(R::is_valid);
                assert!(is_taken, "what a door makes is what a log takes");
                made
            }
            192..=215 => bent(&first, &mut source),
            216..=223 => decode(source.bytes()),
            224..=239 => {
                twin.disturb(&mut source);
                continue;
            }
            way @ 240..=255 => {
                let old = (way & 1 == 1).then_some(twin);
                twin = through_a_snapshot(&first, old, data.len());
                continue;
            }
        };
        let Some(command) = command else { continue };
        index += 1 + u64::from(source.byte() >> 6);
        let Some(copy) = decode(&encode(&command)) else { panic!("it was encoded just now") };
        let is_valid = R::is_valid(&command);
        let answer = APPLY.hold(data.len(), || first.apply(index, command));
        assert_eq!(twin.apply(index, copy), answer, "members answer alike");
        assert!(is_valid || answer.starts_with("Err("), "{answer}");
        first.invariants();
        twin.invariants();
    }
    assert_eq!(first.capture(), twin.capture(), "members hold the same");
    let loaded = through_a_snapshot(&first, None, data.len());
    loaded.assert_alike(&twin);
}

/// Texts that doors refuse and a postcard is silent about, each behind its length.
const STRANGE: [&[u8]; 6] =
    [b"\0", b"\x01 ", b"\x04null", b"\x05a b\nc", b"\x02@@", b"\x04\xe4\xb8\xad\0"];

/// A command of a door, with bytes changed on its way.
fn bent<R: Replica>(state: &R, source: &mut Source<'_>) -> Option<R::Command> {
    let mut bytes = encode(&state.made(source)?);
    for _ in 0..1 + source.choice(3) {
        let at = usize::from(source.byte()) % (bytes.len() + 1);
        let with = if source.flag() { source.pick(&STRANGE) } else { source.bytes() };
        let gone = match source.choice(4) {
            0 => 0,
            // A text in the place of another one.
            1 => 1 + bytes.get(at).map_or(0, |length| usize::from(*length)),
            _ => with.len(),
        };
        let end = bytes.len().min(at + gone);
        bytes.splice(at..end, with.iter().copied());
    }
    decode(&bytes)
}

/// What comes out when `state` is written and read.
fn through_a_snapshot<R: Replica>(state: &R, old: Option<R>, bytes: usize) -> R {
    let chunks = CAPTURE.hold(bytes, || state.capture());
    let loaded = R::load(old, &chunks);
    let Some(loaded) = loaded else { panic!("what is applied cannot be loaded") };
    loaded.invariants();
    assert_eq!(loaded.capture(), chunks, "what is loaded is what was captured");
    state.assert_alike(&loaded);
    loaded
}

/// Bytes as the chunks of a snapshot that somebody made: refused, or a state like any other.
pub(crate) fn load<R: Replica>(data: &[u8]) {
    let chunks = pieces(data);
    let Some(state) = LOAD.hold(data.len(), || R::load(None, &chunks)) else { return };
    state.invariants();
    let captured = state.capture();
    let Some(again) = R::load(None, &captured) else { panic!("what is loaded cannot be loaded") };
    again.invariants();
    assert_eq!(again.capture(), captured, "a state that is loaded is captured as it is");
    state.assert_alike(&again);
}

/// Each chunk is preceded by its length; a short story is one chunk.
fn pieces(data: &[u8]) -> Vec<Vec<u8>> {
    let Some((count, rest)) = data.split_first() else { return Vec::new() };
    let mut source = Source::new(rest);
    let mut chunks: Vec<Vec<u8>> = (1..*count % 5).map(|_| source.bytes().to_vec()).collect();
    chunks.push(source.all().to_vec());
    chunks.retain(|chunk| !chunk.is_empty());
    chunks
}

/// These chunks as [`load`] reads them, for seeds.
pub(crate) fn joined(chunks: &[Vec<u8>]) -> Vec<u8> {
    match chunks {
        [only] => [&[1], only.as_slice()].concat(),
        _ => Vec::new(),
    }
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap_or_default()
}

/// A value that is written and read as itself.
pub(crate) fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let value: T = LOAD.hold(bytes.len(), || nacolet_raft::decode(bytes))?;
    let written = encode(&value);
    let again = nacolet_raft::decode::<T>(&written).map(|again| encode(&again));
    assert_eq!(again.as_ref(), Some(&written), "what is decoded is encoded and decoded alike");
    Some(value)
}
