//! The two metadata entries of an archive: lines of 1.x, and the YAML of 2.x and 3.x, written by
//! Nacos's serializer, by r-nacos or by us. `yaml` reads the latter. Both are read a line at a
//! time, and what they tell is bounded while it is read: a few packed bytes can be very many lines.

#[cfg(any(test, feature = "fuzzing"))]
use std::collections::BTreeMap;

use nacolet_config::{ConfigType, Labels};
use nacolet_model::limits;

use super::portable::{Format, Portable, tags_joined, tags_of};
use super::yaml;

/// One config's labels.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ItemLabels {
    pub(super) group: Box<str>,
    pub(super) data_id: Box<str>,
    pub(super) labels: Labels,
}

/// The dataId as the metadata of 1.x spells it: the last dot is a tilde.
pub(super) fn tilde(data_id: &str) -> String {
    match data_id.rsplit_once('.') {
        Some((name, extension)) => format!("{name}~{extension}"),
        None => data_id.to_owned(),
    }
}

/// Lines `group.dataId~ext.app=name`; configs without an application have none. The format knows no
/// escapes, and a line that ends early makes the whole of it unreadable: a name is kept on its
/// line.
pub(super) fn write_v1(portables: &[Portable]) -> String {
    let line = |config: &Portable| {
        let (group, data_id) = (&config.group, tilde(&config.data_id));
        let app_name = config.labels.app_name.replace(char::is_control, " ");
        format!("{group}.{data_id}.app={app_name}\r\n")
    };
    portables.iter().filter(|config| !config.labels.app_name.is_empty()).map(line).collect()
}

/// The list in the order and quoting that any YAML reader takes.
pub(super) fn write_v2(portables: &[Portable]) -> String {
    let mut text = String::from("metadata:\n");
    for config in portables {
        let labels = &config.labels;
        let config_type = labels.config_type.unwrap_or(ConfigType::Text).as_str();
        let tags = tags_joined(labels);
        let fields = [
            ("appName", &*labels.app_name),
            ("configTags", &*tags),
            ("dataId", &*config.data_id),
            ("desc", &*labels.desc),
            // Our own: Nacos passes over what it does not know.
            ("encryptedDataKey", &*labels.encrypted_data_key),
            ("group", &*config.group),
            ("type", config_type),
        ];
        let mut mark = "- ";
        for (name, value) in fields {
            let is_optional = matches!(name, "configTags" | "desc" | "encryptedDataKey");
            if is_optional && value.is_empty() {
                continue;
            }
            text.push_str(mark);
            text.push_str(name);
            text.push_str(": ");
            push_quoted(&mut text, value);
            text.push('\n');
            mark = "  ";
        }
    }
    text
}

/// A double-quoted scalar: its escapes are those of JSON, so any text fits one line.
fn push_quoted(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
}

/// What metadata tells.
pub(super) enum MetadataEntry {
    /// In the first format: `group.dataId~ext`, and its application.
    Application(String, Box<str>),
    /// In the second one.
    Item(ItemLabels),
}

impl MetadataEntry {
    /// What it takes where it is kept.
    fn bytes(&self) -> usize {
        match self {
            Self::Application(name, app_name) => {
                name.len() + app_name.len() + limits::IMPORT_LABELS_BYTES
            }
            Self::Item(ItemLabels { group, data_id, labels }) => kept_bytes(group, data_id, labels),
        }
    }
}

/// What the metadata of a config takes in memory.
pub(super) fn kept_bytes(group: &str, data_id: &str, labels: &Labels) -> usize {
    let Labels { app_name, desc, encrypted_data_key, tags, .. } = labels;
    let texts = [group, data_id, app_name, desc, encrypted_data_key].map(str::len);
    let tags = tags.iter().map(|tag| tag.len());
    limits::IMPORT_LABELS_BYTES + texts.into_iter().chain(tags).sum::<usize>()
}

/// Metadata that is being read.
pub(super) struct Reading {
    lines: Lines,
    /// None for the first format.
    yaml: Option<yaml::Reader>,
    /// Lines of the first format.
    count: usize,
    /// Bytes that what is told may yet take.
    pub(super) room: usize,
    /// It tells more than there is room for, or something longer than anything may be.
    pub(super) is_too_long: bool,
}

impl Reading {
    /// Of a format, and how many bytes may be told.
    pub(super) fn new(format: Format, room: usize) -> Self {
        let yaml = (format == Format::V2).then(yaml::Reader::default);
        Self { lines: Lines::default(), yaml, count: 0, room, is_too_long: false }
    }

    /// Reads a part; None when it is no such metadata, an item lacks its names or its type, or it
    /// is too long.
    pub(super) fn push(&mut self, part: &str, take: &mut impl FnMut(MetadataEntry)) -> Option<()> {
        let Self { lines, yaml, count, room, is_too_long } = self;
        {
            let mut take = charged(room, is_too_long, take);
            lines.push(part, |line| read_line(yaml, count, line, &mut take))?;
        }
        let open = lines.open.len() + yaml.as_ref().map_or(0, yaml::Reader::open_bytes);
        *is_too_long |= open > limits::IMPORT_ITEM_BYTES_MAX;
        (!*is_too_long).then_some(())
    }

    /// As [`Self::push`], where no more parts come.
    pub(super) fn end(&mut self, take: &mut impl FnMut(MetadataEntry)) -> Option<()> {
        // A text ends with a line, an empty one where it ends with a line end.
        self.lines.is_torn = false;
        self.push("\n", take)?;
        let Self { yaml, room, is_too_long, .. } = self;
        let mut take = charged(room, is_too_long, take);
        match yaml.take() {
            Some(yaml) => yaml.end(&mut |fields| take(MetadataEntry::Item(item_of(fields)?))),
            None => Some(()),
        }
    }
}

/// Takes what there is room for.
fn charged<'a>(
    room: &'a mut usize,
    is_too_long: &'a mut bool,
    take: &'a mut impl FnMut(MetadataEntry),
) -> impl FnMut(MetadataEntry) -> Option<()> + 'a {
    |told| {
        let left = room.checked_sub(told.bytes());
        *is_too_long |= left.is_none();
        *room = left?;
        take(told);
        Some(())
    }
}

fn read_line(
    yaml: &mut Option<yaml::Reader>,
    count: &mut usize,
    line: &str,
    take: &mut impl FnMut(MetadataEntry) -> Option<()>,
) -> Option<()> {
    if let Some(yaml) = yaml {
        return yaml.line(line, &mut |fields| take(MetadataEntry::Item(item_of(fields)?)));
    }
    let line = line.trim();
    if line.is_empty() {
        return Some(());
    }
    *count += 1;
    let (name, app_name) = line.split_once('=')?;
    let name = name.strip_suffix(".app").filter(|_| *count <= limits::IMPORT_ENTRIES_MAX)?;
    take(MetadataEntry::Application(name.to_owned(), app_name.into()))
}

/// Cuts a text that comes in parts into lines, which end with either or both of `\r` and `\n`.
#[derive(Default)]
struct Lines {
    /// The line that goes on in the next part.
    open: String,
    /// The last part ended with `\r`.
    is_torn: bool,
}

impl Lines {
    fn push(&mut self, part: &str, mut take: impl FnMut(&str) -> Option<()>) -> Option<()> {
        let mut rest = match std::mem::take(&mut self.is_torn) {
            true => part.strip_prefix('\n').unwrap_or(part),
            false => part,
        };
        while let Some((line, behind)) = rest.split_once(['\n', '\r']) {
            let is_return = rest.as_bytes().get(line.len()) == Some(&b'\r');
            self.is_torn = is_return && behind.is_empty();
            rest = if is_return { behind.strip_prefix('\n').unwrap_or(behind) } else { behind };
            if self.open.is_empty() {
                take(line)?;
            } else {
                self.open.push_str(line);
                take(&std::mem::take(&mut self.open))?;
            }
        }
        self.open.push_str(rest);
        Some(())
    }
}

/// All that a text tells.
#[cfg(any(test, feature = "fuzzing"))]
fn read(text: &str, format: Format) -> Option<Vec<MetadataEntry>> {
    let (mut all, mut reading) = (Vec::new(), Reading::new(format, usize::MAX));
    let mut take = |told| all.push(told);
    reading.push(text, &mut take)?;
    reading.end(&mut take)?;
    Some(all)
}

/// Reads what [`write_v1`] writes: applications by `group.dataId~ext`.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read_v1(text: &str) -> Option<BTreeMap<String, Box<str>>> {
    let pair = |told| match told {
        MetadataEntry::Application(name, app_name) => Some((name, app_name)),
        MetadataEntry::Item(_) => None,
    };
    read(text, Format::V1)?.into_iter().map(pair).collect()
}

/// Reads what [`write_v2`] writes.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read_v2(text: &str) -> Option<Vec<ItemLabels>> {
    let item = |told| match told {
        MetadataEntry::Item(item) => Some(item),
        MetadataEntry::Application(..) => None,
    };
    read(text, Format::V2)?.into_iter().map(item).collect()
}

fn item_of(fields: yaml::ItemFields) -> Option<ItemLabels> {
    let [app_name, tags, data_id, desc, group, config_type, encrypted_data_key] =
        fields.map(Option::unwrap_or_default);
    if data_id.trim().is_empty() || group.trim().is_empty() || config_type.trim().is_empty() {
        return None;
    }
    let labels = Labels {
        config_type: Some(ConfigType::from_text(&config_type)),
        app_name: app_name.into(),
        desc: desc.into(),
        tags: tags_of(&tags),
        encrypted_data_key: encrypted_data_key.into(),
        ..Labels::default()
    };
    Some(ItemLabels { group: group.into(), data_id: data_id.into(), labels })
}

#[cfg(test)]
mod tests {
    use nacolet_model::Prng;

    use super::*;

    #[test]
    fn the_yaml_of_nacos_is_read() {
        let text = "metadata:\n- appName: ''\n  dataId: app.yml\n  desc: it's long and\n    folded \
                    here\n  group: DEFAULT_GROUP\n  type: yaml\n- dataId: 'two'\n  group: g\n  \
                    type: text\n  configTags: a,b\n  desc: \"tab\\tand \\u4E2D\\\n    \\ more\"\n";
        let items = read_v2(text).expect("a good list");
        assert_eq!(items.len(), 2);
        assert_eq!((&*items[0].group, &*items[0].data_id), ("DEFAULT_GROUP", "app.yml"));
        assert_eq!(items[0].labels.config_type, Some(ConfigType::Yaml));
        assert_eq!(&*items[0].labels.desc, "it's long and folded here");
        assert_eq!(&*items[1].labels.desc, "tab\tand 中 more");
        assert_eq!(items[1].labels.tags.len(), 2);
    }

    #[test]
    fn the_key_of_an_encryption_travels_and_lone_line_ends_are_read() {
        let labels = Labels { encrypted_data_key: "k\u{7}=".into(), ..Labels::default() };
        let (group, data_id) = ("g".into(), "cipher-d".into());
        let written = write_v2(&[Portable { group, data_id, content: "x".into(), labels }]);
        let read = read_v2(&written).expect("our own");
        assert_eq!(&*read[0].labels.encrypted_data_key, "k\u{7}=");
        let read = read_v1("g.a~yml.app=one\rg.b.app=two\r\n\r\ng.c.app=three\n");
        let names: Vec<Box<str>> = read.expect("lines").into_values().collect();
        assert_eq!(names, ["one".into(), "two".into(), "three".into()]);
    }

    #[test]
    fn metadata_that_is_no_such_list_is_refused() {
        for text in ["", "other:\n- a: b\n", "metadata:\n  dataId: x\n", "metadata:\n- dataId: x\n"]
        {
            assert_eq!(read_v2(text), None, "{text:?}");
        }
        assert_eq!(read_v1("nonsense"), None);
    }

    #[test]
    fn any_labels_survive_the_way_out_and_in() {
        let mut random = Prng::new(7);
        let pieces = ["a", "'", "\"", "\\", "\n", ": ", "- ", "中", "\u{7}", "#", "dataId:", " "];
        for _ in 0..2_000 {
            let mut text = || -> Box<str> {
                let count = random.below(12);
                let piece = |_| pieces[usize::try_from(random.below(12)).expect("small")];
                (0..count).map(piece).collect::<String>().into()
            };
            let labels = Labels {
                config_type: Some(ConfigType::Toml),
                app_name: text(),
                desc: text(),
                encrypted_data_key: text(),
                ..Labels::default()
            };
            let (group, data_id) = ("g".into(), "d".into());
            let portable = Portable { group, data_id, content: "x".into(), labels };
            let written = write_v2(&[portable]);
            let read = read_v2(&written).expect("our own list");
            assert_eq!(write_v2(&[again(&read[0])]), written);
        }
    }

    #[test]
    fn an_application_of_two_lines_stays_on_one() {
        let labels = Labels { app_name: "a\n\r\nb".into(), ..Labels::default() };
        let (group, data_id) = ("g".into(), "d.yml".into());
        let written = write_v1(&[Portable { group, data_id, content: "x".into(), labels }]);
        let read = read_v1(&written).expect("our own lines");
        assert_eq!(read.get("g.d~yml").map(|name| &**name), Some("a   b"));
    }

    fn again(item: &ItemLabels) -> Portable {
        let (group, data_id) = (item.group.clone(), item.data_id.clone());
        Portable { group, data_id, content: "x".into(), labels: item.labels.clone() }
    }

    /// A value of many lines once took the square of their number.
    #[test]
    fn folded_lines_are_appended_where_they_are() {
        let count = 20_000;
        let text = format!(
            "metadata:\n- dataId: \"a\n{}\"\n  group: g\n  type: text\n",
            "b\\\n".repeat(count)
        );
        let items = read_v2(&text).expect("a good list");
        assert_eq!(items[0].data_id.len(), "a ".len() + count);
    }

    #[test]
    fn lines_are_the_same_however_their_parts_are_cut() {
        let text = "metadata:\r\n- dataId: \"a\n\n  \u{4e2d}\"\r  group: g\r\n  type: text\n\r\
                    - dataId: |+\r\n      b\r\r\n  group: h\n  type: yaml";
        let whole = read_v2(text).expect("a good list");
        assert_eq!(whole.len(), 2);
        for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            let (mut items, mut reading) = (Vec::new(), Reading::new(Format::V2, usize::MAX));
            let mut take = |told| {
                items.extend(if let MetadataEntry::Item(item) = told { Some(item) } else { None })
            };
            let (begin, end) = text.split_at(at);
            let read = reading.push(begin, &mut take).and_then(|()| reading.push(end, &mut take));
            read.and_then(|()| reading.end(&mut take)).expect("a good list");
            assert_eq!(items, whole, "cut at {at}");
        }
    }

    #[test]
    fn what_is_told_is_bounded_and_so_is_one_item() {
        let item = "- dataId: d\n  group: g\n  type: text\n";
        let check = |text: &str, room: usize, expected: bool| {
            let mut reading = Reading::new(Format::V2, room);
            let read = text.as_bytes().chunks(1 << 10).try_for_each(|part| {
                reading.push(str::from_utf8(part).expect("ASCII"), &mut |_| {})
            });
            let read = read.and_then(|()| reading.end(&mut |_| {}));
            assert_eq!((read.is_some(), !reading.is_too_long), (expected, expected), "{room}");
        };
        let two = format!("metadata:\n{item}{item}");
        let room = 2 * (limits::IMPORT_LABELS_BYTES + 2);
        check(&two, room, true);
        check(&two, room - 1, false);
        for long in ["x".repeat(limits::IMPORT_ITEM_BYTES_MAX), "x\n".repeat(40_000)] {
            check(&format!("metadata:\n- desc: \"{long}\"\n"), usize::MAX, false);
        }
    }

    #[test]
    fn as_many_items_as_an_archive_may_have_and_no_more() {
        let item = "- dataId: d\n  group: g\n  type: text\n";
        let list = |count: usize| format!("metadata:\n{}", item.repeat(count));
        assert!(read_v2(&list(limits::IMPORT_ENTRIES_MAX)).is_some());
        assert!(read_v2(&list(limits::IMPORT_ENTRIES_MAX + 1)).is_none());
        assert!(read_v1(&"g.d.app=a\n".repeat(limits::IMPORT_ENTRIES_MAX + 1)).is_none());
    }

    #[test]
    fn hostile_text_never_panics() {
        for text in ["metadata:\n- dataId: \"\\", "metadata:\n- type: '\n\\", "metadata:\n\\\n-"] {
            assert!(read_v2(text).is_none_or(|items| items.len() < 2));
        }
    }
}
