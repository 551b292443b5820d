//! Long JSON that is counted while it is made, in chunks of one size: what there is no room for is
//! not made to its end, and nothing is copied as it grows.

use std::io::{self, Write};

use hyper::body::Bytes;
use serde::{Serialize, Serializer};

use crate::http::answer::{Envelope, HttpAnswer, JSON};
use crate::http::failure::Failure;
use crate::http::pieces::Pieces;
use crate::http::room::{Room, Unpacking};

/// A chunk; what is shorter is not counted here.
const CHUNK_BYTES: usize = 64 << 10;

/// A JSON value. Its bytes are to be counted by whoever sends it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    /// One at least, unless it is empty.
    pub(crate) chunks: Vec<Bytes>,
    pub(crate) bytes: usize,
}

impl Listed {
    /// Makes a value.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) fn new(room: &Room, value: &impl Serialize) -> Result<Self, Failure> {
        let mut making = Making::new(room);
        making.value(value)?;
        Ok(making.listed())
    }

    /// An answer that counts as long as it is being sent.
    pub(crate) fn answer(self) -> HttpAnswer {
        let Self { chunks, bytes } = self;
        let mut chunks = chunks.into_iter();
        let answer = HttpAnswer::new(JSON, chunks.next().unwrap_or_default());
        if chunks.len() == 0 {
            return answer;
        }
        let rest: Pieces = Box::new(chunks.map(Ok));
        HttpAnswer { rest: Some(rest), pinned: bytes, length: Some(bytes), ..answer }
    }
}

/// Status 200 with a value as JSON that may be long.
///
/// # Errors
/// There is no room for it.
pub(crate) fn long(room: &Room, value: &impl Serialize) -> Result<HttpAnswer, Failure> {
    Listed::new(room, value).map(Listed::answer)
}

/// As [`long`], in the envelope of v2 and v3.
///
/// # Errors
/// There is no room for it.
pub(crate) fn long_result(room: &Room, data: &impl Serialize) -> Result<HttpAnswer, Failure> {
    long(room, &Envelope { code: 0, message: Some("success"), data })
}

/// Items that are rendered one after the other, so that no more than one of them is a value.
pub(crate) struct Each<'a, T, F>(pub(crate) &'a [T], pub(crate) F);

impl<'a, T, V: Serialize, F: Fn(&'a T) -> V> Serialize for Each<'a, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}

/// A value that is being made.
pub(crate) struct Making {
    done: Vec<Bytes>,
    open: Vec<u8>,
    bytes: usize,
    counted: Unpacking,
    /// It has an item.
    has_begun: bool,
}

impl Making {
    pub(crate) fn new(room: &Room) -> Self {
        let (done, open, counted) = (Vec::new(), Vec::new(), room.hold_answer());
        Self { done, open, bytes: 0, counted, has_begun: false }
    }

    /// A list behind this text.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) fn behind(room: &Room, text: &str) -> Result<Self, Failure> {
        let mut making = Self::new(room);
        making.write_all(text.as_bytes()).map_err(|_full| no_room())?;
        Ok(making)
    }

    /// One more item of a list, behind its bracket or a comma.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) fn item(&mut self, item: &impl Serialize) -> Result<(), Failure> {
        let before: &[u8] = if std::mem::replace(&mut self.has_begun, true) { b"," } else { b"[" };
        self.write_all(before).map_err(|_full| no_room())?;
        self.value(item)
    }

    /// The list with its end, and this text behind it.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) fn list(mut self, text: &str) -> Result<Listed, Failure> {
        let end = if self.has_begun { "]" } else { "[]" };
        let all = [end, text].concat();
        self.write_all(all.as_bytes()).map_err(|_full| no_room())?;
        Ok(self.listed())
    }

    fn value(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        // No map in an answer has keys that are not texts.
        serde_json::to_writer(self, value).map_err(|_full| no_room())
    }

    fn listed(self) -> Listed {
        let Self { done: mut chunks, open, bytes, .. } = self;
        if !open.is_empty() {
            chunks.push(open.into());
        }
        Listed { chunks, bytes }
    }
}

fn no_room() -> Failure {
    Failure::unavailable("too many bytes wait for clients")
}

impl Write for Making {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.open.len() == CHUNK_BYTES {
            let next = Vec::with_capacity(CHUNK_BYTES);
            self.done.push(std::mem::replace(&mut self.open, next).into());
            self.counted.grow(CHUNK_BYTES).map_err(|_full| io::ErrorKind::OutOfMemory)?;
        }
        let part = bytes.get(..CHUNK_BYTES - self.open.len()).unwrap_or(bytes);
        self.open.extend_from_slice(part);
        self.bytes += part.len();
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_the_value_however_long_it_is() {
        for length in [0, 1, CHUNK_BYTES - 2, CHUNK_BYTES - 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 7] {
            let text = "é".repeat(length);
            let listed = Listed::new(&Room::default(), &text).expect("there is room");
            let all = serde_json::to_vec(&text).expect("a text");
            assert_eq!(listed.chunks.concat(), all);
            assert_eq!(listed.bytes, all.len());
            assert!(listed.chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES));
        }
    }

    #[test]
    fn a_list_in_steps_is_the_list() {
        for count in 0..3 {
            let items: Vec<usize> = (0..count).collect();
            let mut making = Making::behind(&Room::default(), "(").expect("there is room");
            items.iter().try_for_each(|item| making.item(item)).expect("there is room");
            let listed = making.list(")").expect("there is room");
            let list = serde_json::to_string(&items).expect("a list");
            assert_eq!(listed.chunks.concat(), format!("({list})").into_bytes());
            let each = Listed::new(&Room::default(), &Each(&items, |item| item + 1));
            let more: Vec<usize> = (1..=count).collect();
            let each = each.expect("there is room").chunks.concat();
            assert_eq!(each, serde_json::to_vec(&more).expect("a list"));
        }
    }
}
