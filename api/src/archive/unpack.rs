//! Takes an archive of configs apart. Every bound is checked before what it bounds is taken.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};
use std::sync::Arc;

use nacolet_config::Labels;
use nacolet_model::limits;
use zip::ZipArchive;

use super::metadata::{self, Item};
use super::{METADATA_ILLEGAL, METADATA_V1, METADATA_V2, Nothing, PARSING_DATA_FAILED, Portable};
use crate::status::Failure;

/// An entry that unpacks to more than this many times its size is a bomb (reliability B4)...
const RATIO_MAX: u64 = 100;
/// ...unless it is small: repeated letters compress better than that.
const RATIO_FREE_BYTES: u64 = 1 << 20;
/// What an archive brings.
pub(super) struct Unpacked {
    pub(super) portables: Vec<Portable>,
    pub(super) unrecognized: Vec<String>,
}

/// Reads an archive within its bounds. The inner error is one that Nacos tells with status 200.
pub(super) fn unpack(bytes: &[u8]) -> Result<Result<Unpacked, Nothing>, Failure> {
    if entries(bytes) > limits::IMPORT_ENTRIES_MAX {
        let words = format!("the archive has more than {} entries", limits::IMPORT_ENTRIES_MAX);
        return Err(Failure::invalid(words));
    }
    let Ok(mut archive) = ZipArchive::new(Cursor::new(bytes)) else {
        return Ok(Err(PARSING_DATA_FAILED));
    };
    let mut left = u64::try_from(limits::IMPORT_BYTES_MAX).unwrap_or(u64::MAX);
    let all_packed = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let mut texts: Vec<(String, Arc<str>)> = Vec::new();
    let mut unrecognized = Vec::new();
    let mut metadata = None;
    for index in 0..archive.len() {
        let Ok(entry) = archive.by_index(index) else { return Ok(Err(PARSING_DATA_FAILED)) };
        if entry.is_dir() {
            continue;
        }
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        // What is too much is never unpacked, and what an entry says of its size is not believed.
        let packed = entry.compressed_size().min(all_packed);
        let room = RATIO_FREE_BYTES.max(packed.saturating_mul(RATIO_MAX)).min(left);
        let mut unpacked = Vec::new();
        if entry.take(room.saturating_add(1)).read_to_end(&mut unpacked).is_err() {
            return Ok(Err(PARSING_DATA_FAILED));
        }
        let size = u64::try_from(unpacked.len()).unwrap_or(u64::MAX);
        if size > room {
            return Err(Failure::invalid("the archive unpacks to too much"));
        }
        left -= size;
        match String::from_utf8(unpacked) {
            Ok(text) if metadata.is_none() && (name == METADATA_V1 || name == METADATA_V2) => {
                metadata = Some((name, text));
            }
            Ok(text) => texts.push((name, text.into())),
            Err(_) => unrecognized.push(name),
        }
    }
    let Some(metadata) = Metadata::read(metadata) else { return Ok(Err(METADATA_ILLEGAL)) };
    Ok(Ok(label(texts, metadata, unrecognized)))
}

/// Entries of an archive, by the heads that each has in its directory: what the end of a directory says of
/// their number is not believed, and hundreds of thousands are not read to be counted.
fn entries(bytes: &[u8]) -> usize {
    const HEAD: &[u8] = b"PK\x01\x02";
    bytes.windows(HEAD.len()).filter(|four| *four == HEAD).count()
}

/// What an archive tells about its configs.
enum Metadata {
    /// The application by `group.dataId~extension`; empty for an archive without metadata.
    V1(BTreeMap<String, Box<str>>),
    /// The labels by group and dataId.
    V2(BTreeMap<(Box<str>, Box<str>), Labels>),
}

impl Metadata {
    /// `None` when there is metadata that cannot be read.
    fn read(entry: Option<(String, String)>) -> Option<Self> {
        match entry {
            None => Some(Self::V1(BTreeMap::new())),
            Some((name, text)) if name == METADATA_V1 => metadata::read_v1(&text).map(Self::V1),
            Some((_, text)) => {
                let pair = |item: Item| ((item.group, item.data_id), item.labels);
                let items = metadata::read_v2(&text)?;
                Some(Self::V2(items.into_iter().map(pair).collect()))
            }
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

/// Joins entries with their labels. Entries that are no `group/dataId` are named, not applied; with
/// metadata of 2.x so are entries it does not mention and those it does that are not there.
fn label(
    texts: Vec<(String, Arc<str>)>,
    mut metadata: Metadata,
    mut unrecognized: Vec<String>,
) -> Unpacked {
    let mut portables = Vec::new();
    for (name, content) in texts {
        let mut words = name.split('/');
        let (Some(group), Some(data_id), None) = (words.next(), words.next(), words.next()) else {
            unrecognized.push(name);
            continue;
        };
        match metadata.take(group, data_id) {
            Some(labels) => {
                let (group, data_id) = (group.into(), data_id.into());
                portables.push(Portable { group, data_id, content, labels });
            }
            None => unrecognized.push(format!("not in the metadata: {name}")),
        }
    }
    if let Metadata::V2(items) = metadata {
        let missing = |(group, data_id)| format!("not in the archive: {group}/{data_id}");
        unrecognized.extend(items.into_keys().map(missing));
    }
    Unpacked { portables, unrecognized }
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
        let unpacked = unpack(&bytes).expect("in bounds").unwrap_or_else(|n| panic!("{}", n.1));
        assert_eq!(unpacked.unrecognized, ["../etc/passwd", "alone"]);
        let groups: Vec<&str> = unpacked.portables.iter().map(|p| &*p.group).collect();
        assert_eq!(groups, ["", "g"], "an empty group is refused when it becomes a key");
    }

    #[test]
    fn a_bomb_is_refused() {
        let options = SimpleFileOptions::default();
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file("g/d", options).expect("starts");
        archive.write_all(&vec![b'a'; 8 << 20]).expect("writes");
        let bytes = archive.finish().expect("finishes").into_inner();
        assert!(unpack(&bytes).is_err());
    }

    #[test]
    fn nonsense_is_no_archive() {
        for bytes in [&b""[..], b"PK\x03\x04", &[0xff; 100]] {
            assert!(matches!(unpack(bytes), Ok(Err(Nothing(100_004, _)))));
        }
    }
}
