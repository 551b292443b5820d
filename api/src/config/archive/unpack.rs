//! Takes an archive of configs apart. Every bound is checked before what it bounds is taken.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};
use std::sync::Arc;

use hyper::body::Bytes;
use nacolet_config::Labels;
use nacolet_model::limits;
use zip::ZipArchive;

use super::metadata::{self, ItemLabels, MetadataEntry, Reading};
use super::outcome::{METADATA_ILLEGAL, Nothing, PARSING_DATA_FAILED};
#[cfg(any(test, feature = "fuzzing"))]
use super::portable::Portable;
use super::portable::{Format, METADATA_V1, METADATA_V2};
use crate::http::failure::Failure;
#[cfg(any(test, feature = "fuzzing"))]
use crate::http::room::Room;
use crate::http::room::Unpacking;

/// What is unpacked at once.
const PART_BYTES: usize = 32 << 10;

/// An archive that is unpacked one entry at a time: what it unpacks to is never all in memory.
pub(super) struct Archive {
    zip: ZipArchive<Cursor<Bytes>>,
    packed_bytes: usize,
}

/// An entry shares its bytes with others.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry '{name}' has bytes in common with what follows it in the archive")]
struct Overlap {
    name: String,
}

impl From<Overlap> for Failure {
    fn from(overlap: Overlap) -> Self {
        Self::invalid(overlap.to_string())
    }
}

/// An entry that is a config.
pub(super) struct ArchiveEntry {
    pub(super) index: usize,
    pub(super) group: Box<str>,
    pub(super) data_id: Box<str>,
    pub(super) labels: Labels,
    /// Bytes of its content.
    pub(super) bytes: usize,
}

/// What an archive brings.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) entries: Vec<ArchiveEntry>,
    pub(super) unrecognized: Vec<String>,
}

/// Why an archive brings nothing.
pub(super) enum Unusable {
    /// Nacos tells it with status 200.
    Nothing(Nothing),
    /// It is refused.
    Refused(Failure),
}

impl From<Failure> for Unusable {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

impl From<Nothing> for Unusable {
    fn from(nothing: Nothing) -> Self {
        Self::Nothing(nothing)
    }
}

impl Archive {
    /// Reads the directory of an archive.
    pub(super) fn open(bytes: Bytes) -> Result<Self, Unusable> {
        if entries(&bytes) > limits::IMPORT_ENTRIES_MAX {
            let words = format!("the archive has more than {} entries", limits::IMPORT_ENTRIES_MAX);
            return Err(Failure::invalid(words).into());
        }
        let packed_bytes = bytes.len();
        let zip = ZipArchive::new(Cursor::new(bytes)).ok().ok_or(PARSING_DATA_FAILED)?;
        let mut archive = Self { zip, packed_bytes };
        archive.check_apart()?;
        Ok(archive)
    }

    /// Refuses an archive in which an entry has bytes in common with another one or with the
    /// directory: a few bytes could be unpacked any number of times.
    fn check_apart(&mut self) -> Result<(), Unusable> {
        let mut places = Vec::with_capacity(self.zip.len());
        for index in 0..self.zip.len() {
            let entry = self.zip.by_index_raw(index).ok().ok_or(PARSING_DATA_FAILED)?;
            let data = entry.data_start().ok_or(PARSING_DATA_FAILED)?;
            let end = data.checked_add(entry.compressed_size()).ok_or(PARSING_DATA_FAILED)?;
            places.push((entry.header_start(), end, index));
        }
        places.sort_unstable();
        let behind = places.iter().skip(1).map(|(start, ..)| *start);
        let behind = behind.chain([self.zip.central_directory_start()]);
        let reaching = places.iter().zip(behind).find(|((_, end, _), next)| end > next);
        let Some(((_, _, index), _)) = reaching else { return Ok(()) };
        let entry = self.zip.by_index_raw(*index).ok().ok_or(PARSING_DATA_FAILED)?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        Err(Failure::from(Overlap { name }).into())
    }

    /// Unpacks every entry once, in pieces, and keeps none: afterwards all bounds are known to be
    /// kept.
    pub(super) fn look(&mut self, unpacking: &mut Unpacking) -> Result<Contents, Unusable> {
        // No entry is packed more than once, so that nothing of it comes near the second bound.
        let bytes_max = self.packed_bytes.saturating_mul(limits::IMPORT_RATIO_MAX);
        let bytes_max = bytes_max.min(limits::IMPORT_BYTES_MAX);
        let mut left = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        let (described, mut metadata) = self.metadata(&mut left, unpacking)?;
        let mut contents = Contents::default();
        for index in (0..self.zip.len()).filter(|index| Some(*index) != described) {
            let mut text = ContentSummary::default();
            let take = |part: &[u8]| {
                text.push(part, |_| {});
                Ok(())
            };
            let Some(name) = self.unpack(index, &mut left, take)? else { continue };
            if is_litter(&name) {
                continue;
            }
            if !text.is_whole() {
                contents.unrecognized.push(name);
                continue;
            }
            let mut words = name.split('/');
            let (Some(group), Some(data_id), None) = (words.next(), words.next(), words.next())
            else {
                contents.unrecognized.push(name);
                continue;
            };
            let Some(labels) = metadata.take(group, data_id) else {
                contents.unrecognized.push(format!("not in the metadata: {name}"));
                continue;
            };
            if text.is_blank {
                contents.unrecognized.push(format!("nothing in it: {name}"));
                continue;
            }
            let (group, data_id, bytes) = (group.into(), data_id.into(), text.bytes);
            contents.entries.push(ArchiveEntry { index, group, data_id, labels, bytes });
        }
        if let ArchiveMetadata::V2(items) = metadata {
            let missing = |(group, data_id)| format!("not in the archive: {group}/{data_id}");
            contents.unrecognized.extend(items.into_keys().map(missing));
        }
        Ok(contents)
    }

    /// The content of a config that was looked at: the same bytes as then.
    pub(super) fn content(&mut self, index: usize, bytes: usize) -> Result<Arc<str>, Unusable> {
        let mut content = Vec::with_capacity(bytes);
        let packed = self.zip.by_index(index).ok().ok_or(PARSING_DATA_FAILED)?;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        packed.take(bytes).read_to_end(&mut content).ok().ok_or(PARSING_DATA_FAILED)?;
        Ok(String::from_utf8(content).ok().ok_or(PARSING_DATA_FAILED)?.into())
    }

    /// The first entry that is metadata, and what it tells; where there is none, nothing is told.
    fn metadata(
        &mut self,
        left: &mut u64,
        unpacking: &mut Unpacking,
    ) -> Result<(Option<usize>, ArchiveMetadata), Unusable> {
        let room = self.packed_bytes.saturating_mul(limits::PARSED_RATIO_MAX);
        let room = room.saturating_add(limits::IMPORT_METADATA_BYTES);
        for index in 0..self.zip.len() {
            let entry = self.zip.by_index_raw(index).ok().ok_or(PARSING_DATA_FAILED)?;
            let (mut told, format) = match str::from_utf8(entry.name_raw()) {
                Ok(METADATA_V1) => (ArchiveMetadata::V1(BTreeMap::new()), Format::V1),
                Ok(METADATA_V2) => (ArchiveMetadata::V2(BTreeMap::new()), Format::V2),
                Ok(_) | Err(_) => continue,
            };
            drop(entry);
            let (before, mut text) = (*left, ContentSummary::default());
            let mut reading = Reading::new(format, room);
            let mut counted = 0;
            // A text that is no metadata is read to its end: it may be no text.
            let mut read = Some(());
            self.unpack(index, left, |part| {
                text.push(part, |text| {
                    read = read.and_then(|()| reading.push(text, &mut |one| told.add(one)));
                });
                if reading.is_too_long {
                    return Err(too_long().into());
                }
                let taken = room - reading.room;
                unpacking.grow(taken - counted)?;
                counted = taken;
                Ok(())
            })?;
            if text.is_whole() {
                let read = read.and_then(|()| reading.end(&mut |one| told.add(one)));
                if reading.is_too_long {
                    return Err(too_long().into());
                }
                read.ok_or(METADATA_ILLEGAL)?;
                return Ok((Some(index), told));
            }
            // It is one more entry, and unpacked as such.
            *left = before;
        }
        Ok((None, ArchiveMetadata::V1(BTreeMap::new())))
    }

    /// Unpacks one entry, a part at a time, and says its name; a folder has nothing to unpack. What
    /// is too much is never unpacked, and what an entry says of its size is not believed.
    fn unpack(
        &mut self,
        index: usize,
        left: &mut u64,
        mut take: impl FnMut(&[u8]) -> Result<(), Unusable>,
    ) -> Result<Option<String>, Unusable> {
        let mut entry = self.zip.by_index(index).ok().ok_or(PARSING_DATA_FAILED)?;
        if entry.is_dir() {
            return Ok(None);
        }
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let mut part = vec![0; PART_BYTES];
        loop {
            let count = entry.read(&mut part).ok().ok_or(PARSING_DATA_FAILED)?;
            if count == 0 {
                return Ok(Some(name));
            }
            let bytes = u64::try_from(count).unwrap_or(u64::MAX);
            if bytes > *left {
                let words = format!(
                    "at '{name}' the archive unpacks to more than {} bytes, or {} times its own",
                    limits::IMPORT_BYTES_MAX,
                    limits::IMPORT_RATIO_MAX
                );
                return Err(Failure::invalid(words).into());
            }
            *left -= bytes;
            take(part.get(..count).unwrap_or_default())?;
        }
    }
}

/// The metadata tells too much.
fn too_long() -> Failure {
    let (times, more) = (limits::PARSED_RATIO_MAX, limits::IMPORT_METADATA_BYTES);
    let item = limits::IMPORT_ITEM_BYTES_MAX;
    Failure::invalid(format!(
        "the metadata takes more than {times} times the archive and {more} bytes, or {item} bytes \
         for one config"
    ))
}

/// What tools leave in archives beside what people put there.
fn is_litter(name: &str) -> bool {
    name.starts_with("__MACOSX/") || name.rsplit('/').next() == Some(".DS_Store")
}

/// What a content is like that comes in parts and is not kept.
pub(super) struct ContentSummary {
    /// How long it is.
    pub(super) bytes: usize,
    /// It is nothing but white space so far.
    pub(super) is_blank: bool,
    is_text: bool,
    /// The beginning of a character whose rest is in the next part.
    torn: Vec<u8>,
}

impl Default for ContentSummary {
    fn default() -> Self {
        Self { bytes: 0, is_blank: true, is_text: true, torn: Vec::new() }
    }
}

impl ContentSummary {
    /// Adds a part, of which `take` gets what is text.
    fn push(&mut self, part: &[u8], mut take: impl FnMut(&str)) {
        self.bytes += part.len();
        self.torn.extend_from_slice(part);
        let all = std::mem::take(&mut self.torn);
        let valid = match str::from_utf8(&all) {
            Ok(text) => text,
            Err(error) => {
                let (valid, rest) = all.split_at(error.valid_up_to());
                self.is_text &= error.error_len().is_none();
                self.torn = rest.to_vec();
                str::from_utf8(valid).unwrap_or_default()
            }
        };
        self.is_blank &= valid.trim().is_empty();
        take(valid);
        if !self.is_text {
            self.torn.clear();
        }
    }

    /// Whether all of it was text, to the last character.
    fn is_whole(&self) -> bool {
        self.is_text && self.torn.is_empty()
    }
}

/// Entries of an archive, by the heads that each has in its directory: what the end of a directory
/// says of their number is not believed, and hundreds of thousands are not read to be counted.
fn entries(bytes: &[u8]) -> usize {
    const HEAD: &[u8] = b"PK\x01\x02";
    bytes.windows(HEAD.len()).filter(|four| *four == HEAD).count()
}

/// What an archive tells about its configs.
enum ArchiveMetadata {
    /// The application by `group.dataId~extension`; empty for an archive without metadata.
    V1(BTreeMap<String, Box<str>>),
    /// The labels by group and dataId.
    V2(BTreeMap<(Box<str>, Box<str>), Labels>),
}

impl ArchiveMetadata {
    fn add(&mut self, told: MetadataEntry) {
        match (self, told) {
            (Self::V1(names), MetadataEntry::Application(name, app_name)) => {
                names.insert(name, app_name);
            }
            (Self::V2(items), MetadataEntry::Item(ItemLabels { group, data_id, labels })) => {
                items.insert((group, data_id), labels);
            }
            (Self::V1(_), MetadataEntry::Item(_))
            | (Self::V2(_), MetadataEntry::Application(..)) => {}
        }
    }

    fn take(&mut self, group: &str, data_id: &str) -> Option<Labels> {
        match self {
            Self::V1(names) => {
                let name = format!("{group}.{}", metadata::tilde(data_id));
                let app_name = names.remove(&name).unwrap_or_default();
                Some(Labels { app_name, ..Labels::default() })
            }
            Self::V2(items) => items.remove(&(group.into(), data_id.into())),
        }
    }
}

/// All of an archive at once, for those who have the room.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn unpack(bytes: &[u8]) -> Result<(Vec<Portable>, Vec<String>), Unusable> {
    let mut archive = Archive::open(Bytes::copy_from_slice(bytes))?;
    let looked = archive.look(&mut Room::default().hold())?;
    let Contents { entries, unrecognized } = looked;
    let mut portables = Vec::new();
    for entry in entries {
        let ArchiveEntry { index, group, data_id, labels, bytes } = entry;
        let content = archive.content(index, bytes)?;
        portables.push(Portable { group, data_id, content, labels });
    }
    Ok((portables, unrecognized))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    #[test]
    fn entries_that_are_no_keys_are_named_and_left_out() {
        let options = SimpleFileOptions::default();
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for name in ["../etc/passwd", "/abs", "alone", "g/ok"] {
            archive.start_file(name, options).expect("starts");
            archive.write_all(b"x").expect("writes");
        }
        let bytes = archive.finish().expect("finishes").into_inner();
        let (portables, unrecognized) = unpack(&bytes).ok().expect("in bounds");
        assert_eq!(unrecognized, ["../etc/passwd", "alone"]);
        let groups: Vec<&str> = portables.iter().map(|p| &*p.group).collect();
        assert_eq!(groups, ["", "g"], "an empty group is refused when it becomes a key");
    }

    #[test]
    fn what_tools_leave_behind_is_passed_over_and_what_is_blank_is_counted() {
        let options = SimpleFileOptions::default();
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let files = ["g/.DS_Store", ".DS_Store", "__MACOSX/g/._a", "g/blank", "g/a"];
        for (name, content) in files.iter().zip(["\u{1}", "\u{1}", "x", " \n", "a"]) {
            archive.start_file(*name, options).expect("starts");
            archive.write_all(content.as_bytes()).expect("writes");
        }
        let bytes = archive.finish().expect("finishes").into_inner();
        let (portables, unrecognized) = unpack(&bytes).ok().expect("in bounds");
        assert_eq!(unrecognized, ["nothing in it: g/blank"]);
        assert_eq!(portables.iter().map(|one| &*one.data_id).collect::<Vec<_>>(), ["a"]);
    }

    fn letters(files: usize, bytes: usize) -> Vec<u8> {
        let options = SimpleFileOptions::default();
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for number in 0..files {
            archive.start_file(format!("g/d{number}"), options).expect("starts");
            archive.write_all(&vec![b'a'; bytes]).expect("writes");
        }
        archive.finish().expect("finishes").into_inner()
    }

    #[test]
    fn what_unpacks_to_more_than_may_be_is_refused_where_it_does() {
        for (files, bytes, at) in [(1, (64 << 20) + 1, "g/d0"), (65, 1 << 20, "g/d64")] {
            let Err(Unusable::Refused(failure)) = unpack(&letters(files, bytes)) else {
                panic!("{files} of {bytes}");
            };
            let words = format!("at '{at}' the archive unpacks to more than 67108864 bytes");
            let told = failure.grpc().1;
            assert!(told.starts_with(&words), "{told}");
        }
        // However well it packs.
        for (files, bytes) in [(1, 8 << 20), (10, 100_000), (64, 1 << 20)] {
            let all = unpack(&letters(files, bytes)).ok().expect("in bounds").0;
            assert_eq!(all.len(), files, "{files} of {bytes}");
        }
    }

    /// A few packed bytes stood for a thousand times as many that were all kept.
    #[test]
    fn metadata_that_becomes_far_more_than_its_archive_is_refused() {
        let folded = format!("metadata:\n- desc: \"{}", "x\\\n".repeat(9 << 20));
        let many =
            format!("metadata:\n{}", "- dataId: d\n  group: g\n  type: text\n".repeat(9_999));
        for text in [folded, many] {
            let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
            archive.start_file(METADATA_V2, SimpleFileOptions::default()).expect("starts");
            archive.write_all(text.as_bytes()).expect("writes");
            let bytes = archive.finish().expect("finishes").into_inner();
            assert!(bytes.len() < 64 << 10, "it is small: {}", bytes.len());
            let Err(Unusable::Refused(failure)) = unpack(&bytes) else { panic!("it is kept") };
            let told = failure.grpc().1;
            assert!(told.starts_with("the metadata takes more than 3 times"), "{told}");
        }
    }

    #[test]
    fn entries_that_share_bytes_are_refused_by_name_before_anything_is_unpacked() {
        let options = SimpleFileOptions::default();
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file("g/d0", options).expect("starts");
        archive.write_all(&vec![b'a'; 1 << 20]).expect("writes");
        for number in 1..60 {
            archive.shallow_copy_file("g/d0", &format!("g/d{number}")).expect("copies");
        }
        let bytes = archive.finish().expect("finishes").into_inner();
        assert!(bytes.len() < 8 << 10, "it is small: {}", bytes.len());
        let Err(Unusable::Refused(failure)) = Archive::open(bytes.into()) else {
            panic!("an archive of copies");
        };
        let words = "the entry 'g/d0' has bytes in common with what follows it in the archive";
        assert_eq!(failure.grpc().1, words);
    }

    #[test]
    fn an_entry_that_reaches_into_the_directory_is_refused() {
        let mut bytes = letters(2, 1 << 10);
        let heads: Vec<usize> =
            (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"PK\x01\x02")).collect();
        // The second entry, as the directory has it: where its packed size stands.
        let at = heads[1] + 20;
        let size = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        bytes[at..at + 4].copy_from_slice(&(size + 1).to_le_bytes());
        let opened = Archive::open(bytes.into());
        assert!(matches!(opened, Err(Unusable::Refused(_))), "it has a byte of the directory");
    }

    #[test]
    fn a_text_is_one_however_its_parts_are_cut() {
        let text = "  \u{3000} é 中 🦀 z".as_bytes();
        for size in 1..=text.len() {
            let mut seen = ContentSummary::default();
            text.chunks(size).for_each(|part| seen.push(part, |_| {}));
            assert!(seen.is_whole() && !seen.is_blank, "in parts of {size}");
            assert_eq!(seen.bytes, text.len());
        }
        let check = |parts: &[&[u8]], whole: bool, blank: bool| {
            let mut seen = ContentSummary::default();
            parts.iter().for_each(|part| seen.push(part, |_| {}));
            assert_eq!((seen.is_whole(), seen.is_blank), (whole, blank), "{parts:?}");
        };
        check(&[], true, true);
        check(&[b" ", b"\n\t"], true, true);
        check(&[b"\xe4\xb8"], false, true);
        check(&[b"a\xff", b"b"], false, false);
        check(&[b"\xe4", b"\xb8a"], false, true);
    }

    #[test]
    fn nonsense_is_no_archive() {
        for bytes in [&b""[..], b"PK\x03\x04", &[0xff; 100]] {
            assert!(matches!(unpack(bytes), Err(Unusable::Nothing(Nothing(100_004, _)))));
        }
    }
}
