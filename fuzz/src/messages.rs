//! The body of a frame, as each type that it may be: it is refused, or a value that is written and
//! read again alike, at a cost in proportion to its size.

use nacolet_raft::{Entry, HardState, Membership, SnapshotMeta};
use nacolet_transport::message::Introduction;
use nacolet_transport::{Call, Reply};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::replica::{decode, encode};

fn check<T: Serialize + DeserializeOwned + PartialEq>(bytes: &[u8]) {
    let Some(value) = decode::<T>(bytes) else { return };
    let again = nacolet_raft::decode::<T>(&encode(&value));
    // A number that is none is unlike itself, and rightly so.
    let is_like_itself = value == *value_of(&value);
    assert!(!is_like_itself || again.is_some_and(|again| again == value));
}

/// The value itself, out of the sight of a lint that knows that values are equal to themselves.
fn value_of<T>(value: &T) -> &T {
    std::hint::black_box(value)
}

pub(crate) fn run(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    match kind % 8 {
        0 => check::<nacolet_raft::Message>(body),
        1 => check::<(u64, Call)>(body),
        2 => check::<(u64, Reply)>(body),
        3 => check::<nacolet_registry::Message>(body),
        4 => check::<Introduction>(body),
        5 => check::<SnapshotMeta>(body),
        6 => check::<(HardState, Membership)>(body),
        _ => check::<Vec<Entry>>(body),
    }
}
