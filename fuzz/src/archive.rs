//! What people carry between servers: archives of configs, their metadata, and the multipart bodies
//! they arrive in.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};

use nacolet_api::fuzzing::archive::{self, Packed};
use nacolet_config::{ConfigType, Labels};
use nacolet_model::limits;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::cost::Bound;
use crate::source::Source;

const PARSE: Bound = Bound { per_byte: 64, fixed: 64 << 10 };
/// What an archive unpacks to has one bound, whatever its size: whoever exports may import. A
/// buffer that grows by doubling and the text made of it take four times as much.
const UNPACK: Bound =
    Bound { per_byte: 64, fixed: 4 * limits::IMPORT_BYTES_MAX as u64 + (8 << 20) };
/// What one entry of a story unpacks to at most: beyond what an entry may in any case.
const ENTRY_BYTES_MAX: usize = 2 << 20;

/// A body in parts, which are pieces of it in order.
pub(crate) fn multipart(data: &[u8]) {
    let mut source = Source::new(data);
    let content_type = match source.choice(4) {
        0 => source.text(),
        1 => format!("multipart/form-data; boundary={}", source.text()),
        _ => "multipart/form-data; boundary=xx".to_owned(),
    };
    let body = source.all();
    let parts = PARSE.hold(data.len(), || archive::parts(&content_type, body));
    let Some(parts) = parts else { return };
    let mut rest = body.as_ptr_range();
    for (_, bytes) in &parts {
        let part = bytes.as_ptr_range();
        assert!(rest.start <= part.start && part.end <= rest.end, "a part is a piece of the body");
        rest.start = part.end;
    }
    let mut again = Vec::new();
    // A boundary that is in none of the bytes that there are.
    let boundary = "8f2c01d3-of-the-second-time";
    for (name, bytes) in &parts {
        again.extend_from_slice(
            format!("--{boundary}\r\nContent-Disposition: form-data; ").as_bytes(),
        );
        again.extend_from_slice(format!("name=\"{name}\"\r\n\r\n").as_bytes());
        again.extend_from_slice(bytes);
        again.extend_from_slice(b"\r\n");
    }
    again.extend_from_slice(format!("--{boundary}--").as_bytes());
    let content_type = format!("multipart/form-data; boundary={boundary}");
    assert_eq!(archive::parts(&content_type, &again), Some(parts), "written and read again");
}

/// A zip of whatever entries, some of whose bytes are changed.
pub(crate) fn unpack(data: &[u8]) {
    let mut source = Source::new(data);
    let bytes = match source.choice(4) {
        0 => source.all().to_vec(),
        _ => zip(&mut source).unwrap_or_default(),
    };
    let Some((configs, unrecognized)) = UNPACK.hold(bytes.len(), || archive::read(&bytes)) else {
        return;
    };
    assert!(configs.len() <= limits::IMPORT_ENTRIES_MAX);
    let unpacked: usize = configs.iter().map(|config| config.content.len()).sum();
    assert!(unpacked <= limits::IMPORT_BYTES_MAX);
    let is_key = |config: &Packed| !config.group.contains('/') && !config.data_id.contains('/');
    assert!(configs.iter().all(is_key), "a name is a key, never a path");
    assert!(unrecognized.iter().map(String::len).sum::<usize>() <= 64 * bytes.len());
}

fn zip(source: &mut Source<'_>) -> Option<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for _ in 0..source.choice(6) {
        let ways = source.byte();
        let method = match ways & 1 {
            0 => CompressionMethod::Stored,
            _ => CompressionMethod::Deflated,
        };
        let options = SimpleFileOptions::default().compression_method(method);
        let name = match ways >> 1 & 7 {
            0 => ".metadata.yml".to_owned(),
            1 => ".meta.yml".to_owned(),
            2 => source.text(),
            3 => format!("g/{}", source.text()),
            4 => "../g/d".to_owned(),
            _ => "g/d.yml".to_owned(),
        };
        // The writer refuses a name that is there already; so does nobody who makes one by hand.
        if archive.start_file(name, options).is_err() {
            continue;
        }
        let content = source.bytes();
        let times = match ways >> 4 {
            15 => usize::from(source.byte()) << 6,
            _ => 1,
        };
        // In one piece: each write clears 32 KiB to deflate into.
        archive
            .write_all(&content.repeat(times.min(ENTRY_BYTES_MAX / content.len().max(1))))
            .ok()?;
    }
    let mut bytes = archive.finish().ok()?.into_inner();
    for _ in 0..source.choice(4) {
        let back = usize::try_from(source.number()).unwrap_or(0) % bytes.len().max(1);
        let at = if source.flag() { back } else { bytes.len().saturating_sub(back + 1) };
        bytes.get_mut(at).into_iter().for_each(|byte| *byte = source.byte());
    }
    Some(bytes)
}

/// What is exported is what is imported.
pub(crate) fn roundtrip(data: &[u8]) {
    let mut source = Source::new(data);
    let v2 = source.flag();
    let mut configs = BTreeMap::new();
    for _ in 0..source.choice(6) {
        let group = if source.flag() { "G".to_owned() } else { id(&mut source) };
        let data_id = id(&mut source);
        let content = source.text();
        let labels = Labels { config_type: Some(ConfigType::Text), ..labels(&mut source) };
        // No config is blank.
        if !group.is_empty() && !data_id.is_empty() && !content.trim().is_empty() {
            configs.insert((group, data_id), (content, labels));
        }
    }
    let packed = |((group, data_id), (content, labels)): (_, (String, Labels))| -> Packed {
        let (group, data_id): (String, String) = (group, data_id);
        let (group, data_id, content) = (group.into(), data_id.into(), content.into());
        Packed { group, data_id, content, labels }
    };
    let configs: Vec<Packed> = configs.into_iter().map(packed).collect();
    let Some(bytes) = archive::write(&configs, v2) else { panic!("an archive is written") };
    let Some((read, unrecognized)) = archive::read(&bytes) else { panic!("and read again") };
    assert_eq!(unrecognized, [""; 0]);
    if v2 {
        assert_eq!(read, configs);
    } else {
        let bare = |config: &Packed| {
            (config.group.clone(), config.data_id.clone(), config.content.clone())
        };
        assert!(read.iter().map(bare).eq(configs.iter().map(bare)));
    }
}

/// Only the characters of an identifier; an archive holds nothing else.
fn id(source: &mut Source<'_>) -> String {
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || "_-.:".contains(*c);
    source.text().chars().filter(is_allowed).collect()
}

/// Tags as a publish splits them: neither empty nor with blanks around.
fn labels(source: &mut Source<'_>) -> Labels {
    let tag = |text: String| -> Option<Box<str>> {
        let text = text.replace(',', "");
        let text = text.trim();
        (!text.is_empty()).then(|| text.into())
    };
    Labels {
        app_name: source.text().into(),
        desc: source.text().into(),
        tags: (0..source.choice(4)).filter_map(|_| tag(source.text())).collect(),
        ..Labels::default()
    }
}

/// The metadata of an archive, as a text.
pub(crate) fn metadata(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let applications = PARSE.hold(data.len(), || archive::read_applications(&text));
    assert!(applications.is_none_or(|all| all.len() <= data.len()));
    let Some(items) = PARSE.hold(data.len(), || archive::read_metadata(&text)) else { return };
    let written = archive::write_metadata(&items);
    assert_eq!(archive::read_metadata(&written), Some(items), "what is written is read");
}
