//! What the state machines behind the Raft log have in common: how applying a command ends without
//! a change, and a state that is written out as items, chunk by chunk.
//!
//! A chunk is a header and items (postcard): the version of the format, the number of the chunk, a
//! value that all chunks share, and how many items follow in later chunks. So a chunk that is
//! missing, doubled or exchanged is noticed; checksums are the business of files and frames. An
//! empty state is no chunk.

use alloc::vec::{self, Vec};

use serde::{Deserialize, Serialize};

/// Why applying a command from the log changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError<I, R> {
    /// Whoever put it into the log did not check it.
    #[error(transparent)]
    Invalid(I),
    /// It does not fit the state.
    #[error(transparent)]
    Refused(R),
}

/// The head of each chunk. A file and wire format.
#[derive(Serialize, Deserialize)]
struct Header<C> {
    version: u8,
    /// Position among the chunks, from 0.
    number: u32,
    common: C,
    /// Items in the chunks that follow.
    left: u32,
}

/// Items on their way out.
#[derive(Clone, Debug)]
pub struct ChunkWriter<C, T> {
    version: u8,
    common: C,
    items: vec::IntoIter<T>,
    items_per_chunk: usize,
    chunks: u32,
}

impl<C: Copy + Serialize, T: Serialize> ChunkWriter<C, T> {
    /// Writes `items` in this version of their format, so many to a chunk; `common` is told in
    /// each.
    #[must_use]
    pub fn new(version: u8, common: C, items: Vec<T>, items_per_chunk: usize) -> Self {
        Self { version, common, items: items.into_iter(), items_per_chunk, chunks: 0 }
    }

    /// The next chunk, `None` after the last.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        let items: Vec<T> = self.items.by_ref().take(self.items_per_chunk).collect();
        if items.is_empty() {
            return None;
        }
        let left = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        let (version, number, common) = (self.version, self.chunks, self.common);
        self.chunks += 1;
        // Plain values always encode.
        postcard::to_allocvec(&(Header { version, number, common, left }, items)).ok()
    }
}

/// Why a chunk is not the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// Another version of the format.
    Version {
        /// What it says.
        found: u8,
    },
    /// It is damaged, or not where it belongs.
    Damaged,
}

/// Reads chunks back in order.
#[derive(Clone, Debug)]
pub struct ChunkReader<C> {
    version: u8,
    /// Of the first chunk.
    common: Option<C>,
    chunks: u32,
    left: usize,
}

impl<C: Copy + PartialEq> ChunkReader<C> {
    /// Reads this version of the format and no other.
    #[must_use]
    pub const fn new(version: u8) -> Self {
        Self { version, common: None, chunks: 0, left: 0 }
    }

    /// The items of the next chunk, and what it has in common with the others.
    ///
    /// # Errors
    /// See [`ChunkError`]. After one, what was read before stands for no state either.
    pub fn read<'a, T>(&mut self, chunk: &'a [u8]) -> Result<(C, Vec<T>), ChunkError>
    where
        C: Deserialize<'a>,
        T: Deserialize<'a>,
    {
        if let Some(found) = chunk.first().copied().filter(|found| *found != self.version) {
            return Err(ChunkError::Version { found });
        }
        let decoded: Result<((Header<C>, Vec<T>), _), _> = postcard::take_from_bytes(chunk);
        let Ok(((header, items), [])) = decoded else { return Err(ChunkError::Damaged) };
        let left = usize::try_from(header.left).unwrap_or(usize::MAX);
        let follows = self.common.is_none_or(|common| {
            common == header.common && left.checked_add(items.len()) == Some(self.left)
        });
        if !follows || header.number != self.chunks || items.is_empty() {
            return Err(ChunkError::Damaged);
        }
        (self.common, self.chunks, self.left) = (Some(header.common), self.chunks + 1, left);
        Ok((header.common, items))
    }

    /// Whether no chunk is missing.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(count: u8, common: u8) -> Vec<Vec<u8>> {
        let mut writer = ChunkWriter::new(7, common, (0..count).collect(), 3);
        core::iter::from_fn(|| writer.next_chunk()).collect()
    }

    fn read(chunks: &[Vec<u8>]) -> Result<Vec<u8>, ChunkError> {
        let mut reader = ChunkReader::<u8>::new(7);
        let mut all = Vec::new();
        for chunk in chunks {
            all.extend(reader.read::<u8>(chunk)?.1);
        }
        if reader.is_whole() { Ok(all) } else { Err(ChunkError::Damaged) }
    }

    #[test]
    fn chunks_keep_their_bytes() {
        assert_eq!(
            chunks(4, 9),
            [alloc::vec![7, 0, 9, 1, 3, 0, 1, 2], alloc::vec![7, 1, 9, 0, 1, 3]]
        );
    }

    #[test]
    fn what_goes_out_comes_in_again() {
        for count in [0, 1, 2, 3, 4, 6, 7] {
            let chunks = chunks(count, 1);
            assert_eq!(chunks.len(), usize::from(count).div_ceil(3));
            assert_eq!(read(&chunks), Ok((0..count).collect()));
        }
    }

    #[test]
    fn what_is_missing_twice_exchanged_or_of_another_state_is_refused() {
        let whole = chunks(9, 1);
        let [first, second, third] = whole.as_slice() else { panic!("three chunks") };
        let other = chunks(9, 2).remove(1);
        for wrong in [
            &[first, second][..],
            &[second, third],
            &[first, third],
            &[first, second, second],
            &[first, third, second],
            &[first, &other, third],
        ] {
            let wrong: Vec<Vec<u8>> = wrong.iter().map(|chunk| (*chunk).clone()).collect();
            assert_eq!(read(&wrong), Err(ChunkError::Damaged));
        }
        let newer = [[8].as_slice(), &first[1..]].concat();
        assert_eq!(read(&[newer]), Err(ChunkError::Version { found: 8 }));
        let longer = [chunks(1, 1).remove(0).as_slice(), &[0]].concat();
        assert_eq!(read(&[longer]), Err(ChunkError::Damaged));
    }
}
