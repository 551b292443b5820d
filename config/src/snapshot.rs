//! The whole state out and in.
use crate::Store;
use alloc::vec::Vec;
/// A state to be written out, chunk by chunk.
#[derive(Debug)]
pub struct Capture {}
impl Capture {
    pub(crate) fn new(_store: &Store) -> Self {
        Self {}
    }
    /// The next chunk, `None` after the last.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        None
    }
}
/// Why a snapshot is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The chunks end before the state is complete.
    #[error("the snapshot is incomplete")]
    Incomplete,
}
/// Takes chunks and makes a store of them.
#[derive(Debug, Default)]
pub struct Loader {}
impl Loader {
    /// Nothing taken yet.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
    /// Takes the next chunk.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn push(&mut self, _chunk: &[u8]) -> Result<(), LoadError> {
        Err(LoadError::Incomplete)
    }
    /// The state, once it is complete.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn finish(self) -> Result<Store, LoadError> {
        Err(LoadError::Incomplete)
    }
}
