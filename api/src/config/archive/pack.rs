//! Packs configs into an archive, a piece at a time: each piece is a few milliseconds of work, and
//! what is packed is not kept.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Bytes;
use zip::result::ZipError;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

use super::metadata;
use super::portable::{Format, METADATA_V1, METADATA_V2, Portable};

/// Bytes of content that are packed at once.
const STEP_BYTES: usize = 16 << 10;
/// Bytes of content that are packed for one piece, about: two milliseconds.
const WORK_BYTES: usize = 64 << 10;
/// What the beginning of an entry is worth beside: a new window to find repetitions in.
const ENTRY_WORK_BYTES: usize = 4 << 10;
/// Packed bytes from which on a piece goes out.
const PIECE_BYTES: usize = 32 << 10;

/// Takes what is packed.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Name and content of the entry that tells of the others.
pub(super) fn metadata(portables: &[Portable], format: Format) -> (&'static str, String) {
    match format {
        Format::V1 => (METADATA_V1, metadata::write_v1(portables)),
        Format::V2 => (METADATA_V2, metadata::write_v2(portables)),
    }
}

/// An archive on its way out, in pieces.
pub(super) struct Packing {
    /// None once it is closed.
    archive: Option<ZipWriter<StreamWriter<Sink>>>,
    sink: Sink,
    /// Name and content of what is next, the metadata last.
    entries: Box<dyn Iterator<Item = (String, Arc<str>)> + Send + Sync>,
    /// What is being packed, and from where on.
    open: Option<(Arc<str>, usize)>,
}

impl Packing {
    /// These configs, and what [`metadata`] has of them.
    pub(super) fn new(portables: Vec<Portable>, (name, metadata): (&'static str, String)) -> Self {
        let last = (!metadata.is_empty()).then(|| (name.to_owned(), metadata.into()));
        let named =
            |config: Portable| (format!("{}/{}", config.group, config.data_id), config.content);
        let entries = portables.into_iter().map(named).chain(last);
        let sink = Sink::default();
        let archive = Some(ZipWriter::new_stream(sink.clone()));
        Self { archive, sink, entries: Box::new(entries), open: None }
    }

    /// Packs a step: how many bytes of content it is worth, or None when all is packed.
    fn step(&mut self) -> Result<Option<usize>, ZipError> {
        let Some(archive) = &mut self.archive else { return Ok(None) };
        let Some((content, from)) = self.open.take() else {
            let Some((name, content)) = self.entries.next() else {
                if let Some(archive) = self.archive.take() {
                    archive.finish()?;
                }
                return Ok(Some(0));
            };
            let options = SimpleFileOptions::default();
            archive.start_file(name, options.compression_method(CompressionMethod::Deflated))?;
            self.open = Some((content, 0));
            return Ok(Some(ENTRY_WORK_BYTES));
        };
        let rest = content.as_bytes().get(from..).unwrap_or_default();
        let part = rest.get(..STEP_BYTES).unwrap_or(rest);
        archive.write_all(part)?;
        let (until, is_last) = (from + part.len(), part.len() == rest.len());
        let worked = part.len();
        self.open = (!is_last).then_some((content, until));
        Ok(Some(worked))
    }
}

/// What packs well brings nothing for a while: its pieces are empty then.
impl Iterator for Packing {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut worked, mut is_over) = (0, false);
        while worked < WORK_BYTES && self.sink.len() < PIECE_BYTES && !is_over {
            match self.step() {
                Ok(Some(bytes)) => worked += bytes,
                Ok(None) => is_over = true,
                Err(error) => return Some(Err(error.into())),
            }
        }
        let piece = self.sink.take();
        (!is_over || !piece.is_empty()).then(|| Ok(piece.into()))
    }
}

/// A whole archive, for those who have the room.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn packed(portables: Vec<Portable>, format: Format) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let metadata = metadata(&portables, format);
    for piece in Packing::new(portables, metadata) {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}
