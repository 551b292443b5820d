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

/// Bytes of content that are packed at once, and how often that is done for one piece: a few
/// milliseconds.
const STEP_BYTES: usize = 16 << 10;
/// See `STEP_BYTES`.
const STEPS_MAX: usize = 16;
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
    /// These configs.
    pub(super) fn new(portables: Vec<Portable>, format: Format) -> Self {
        let (name, metadata) = metadata(&portables, format);
        let last = (!metadata.is_empty()).then(|| (name.to_owned(), metadata.into()));
        let named =
            |config: Portable| (format!("{}/{}", config.group, config.data_id), config.content);
        let entries = portables.into_iter().map(named).chain(last);
        let sink = Sink::default();
        let archive = Some(ZipWriter::new_stream(sink.clone()));
        Self { archive, sink, entries: Box::new(entries), open: None }
    }

    /// Packs a step; false when all is packed.
    fn step(&mut self) -> Result<bool, ZipError> {
        let Some(archive) = &mut self.archive else { return Ok(false) };
        let Some((content, from)) = self.open.take() else {
            let Some((name, content)) = self.entries.next() else {
                if let Some(archive) = self.archive.take() {
                    archive.finish()?;
                }
                return Ok(true);
            };
            let options = SimpleFileOptions::default();
            archive.start_file(name, options.compression_method(CompressionMethod::Deflated))?;
            self.open = Some((content, 0));
            return Ok(true);
        };
        let rest = content.as_bytes().get(from..).unwrap_or_default();
        let part = rest.get(..STEP_BYTES).unwrap_or(rest);
        archive.write_all(part)?;
        let (until, is_last) = (from + part.len(), part.len() == rest.len());
        self.open = (!is_last).then_some((content, until));
        Ok(true)
    }
}

impl Iterator for Packing {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut steps = 0;
        // What packs well brings nothing for a while, and a piece of nothing would be taken for the
        // end.
        while self.sink.len() == 0 || self.sink.len() < PIECE_BYTES && steps < STEPS_MAX {
            match self.step() {
                Ok(true) => steps += 1,
                Ok(false) => break,
                Err(error) => return Some(Err(error.into())),
            }
        }
        let piece = self.sink.take();
        (!piece.is_empty()).then(|| Ok(piece.into()))
    }
}

/// A whole archive, for those who have the room.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn packed(portables: Vec<Portable>, format: Format) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    for piece in Packing::new(portables, format) {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}
