//! The two metadata entries of an archive: lines of 1.x, and the YAML of 2.x and 3.x, written by
//! Nacos's serializer, by r-nacos or by us. `yaml` reads the latter.

use std::collections::BTreeMap;

use nacolet_config::{ConfigType, Labels};
use nacolet_model::limits;

use super::portable::{Portable, tags_joined, tags_of};
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

/// Reads what [`write_v1`] writes: applications by `group.dataId~ext`.
pub(super) fn read_v1(text: &str) -> Option<BTreeMap<String, Box<str>>> {
    let pair = |line: &str| {
        let (name, app_name) = line.split_once('=')?;
        Some((name.strip_suffix(".app")?.to_owned(), app_name.into()))
    };
    // Nacos ends a line with either or both.
    let lines = text.split(['\n', '\r']).filter(|line| !line.trim().is_empty());
    if lines.clone().nth(limits::IMPORT_ENTRIES_MAX).is_some() {
        return None;
    }
    lines.map(|line| pair(line.trim())).collect()
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

/// Reads the list; `None` when it is no such list or an item lacks its names or its type.
pub(super) fn read_v2(text: &str) -> Option<Vec<ItemLabels>> {
    yaml::read(text)?.into_iter().map(item_of).collect()
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
        let count = 200_000;
        let text = format!(
            "metadata:\n- dataId: \"a\n{}\"\n  group: g\n  type: text\n",
            "b\\\n".repeat(count)
        );
        let items = read_v2(&text).expect("a good list");
        assert_eq!(items[0].data_id.len(), "a ".len() + count);
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
