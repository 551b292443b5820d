//! Export, import and clone of configs (http-v1 §2.4). The zip is what people carry between Nacos
//! servers: one entry `group/dataId` per config, beside one entry that tells types, descriptions and
//! tags. An entry's name is a key, never a path. Every bound of an archive is checked before anything
//! is applied.

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod metadata;
mod multipart;

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _, Write as _};
use std::sync::Arc;

use hyper::header::CONTENT_DISPOSITION;
use nacolet_auth::{Action, Kind};
use nacolet_config::{
    CommandError, Config, ConfigType, KeyRef, Labels, Operator, Publish, Response, like,
};
use nacolet_model::{ConfigKey, DataId, Group, Namespace, limits};
use serde::{Deserialize, Serialize};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::access;
use crate::call::{Answer, Call, Envelope};
use crate::config::{list, operator};
use crate::params::Params;
use crate::request::WriteError;
use crate::search::{bounded, ids};
use crate::server::State;
use crate::status::Failure;
use crate::time::compact;
use metadata::Item;

/// Entry with the labels in the format of 2.x and 3.x.
const METADATA_V2: &str = ".metadata.yml";
/// Entry with the application names in the format of 1.x.
const METADATA_V1: &str = ".meta.yml";
/// An entry that unpacks to more than this many times its size is a bomb (reliability B4)...
const RATIO_MAX: u64 = 100;
/// ...unless it is small: repeated letters compress better than that.
const RATIO_FREE_BYTES: u64 = 1 << 20;
/// Writes under way at once during an import: one fsync serves them all.
const WRITES_AT_ONCE: usize = 64;

/// Which metadata an export carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `export=true`.
    V1,
    /// `exportV2=true`.
    V2,
}

/// One config on its way out or in.
struct Portable {
    group: Box<str>,
    data_id: Box<str>,
    content: Arc<str>,
    labels: Labels,
}

/// GET `?export=true` and `?exportV2=true`.
pub(crate) fn export(
    state: &State,
    params: &Params<'_>,
    format: Format,
) -> Result<Answer, Failure> {
    let portables = chosen(state, params)?;
    let Ok(bytes) = pack(&portables, format) else {
        return Err(Failure::unavailable("the archive cannot be written"));
    };
    let name = format!("nacos_config_export_{}.zip", compact(state.now().1));
    Ok(Answer::new("application/octet-stream", bytes)
        .header(CONTENT_DISPOSITION, &format!("attachment;filename={name}")))
}

/// The configs that an export asks for, shared so that the lock is short. An export is never larger
/// than what an import takes.
fn chosen(state: &State, params: &Params<'_>) -> Result<Vec<Portable>, Failure> {
    let configs = state.all_configs()?;
    let found: Vec<(KeyRef<'_>, &Config)> = if let Some(text) = params.text("ids") {
        configs.by_ids(&ids(text)?)
    } else {
        let namespace = Namespace::canonical(params.text_or("tenant", ""))?;
        let is = |name, value: &str| params.text(name).is_none_or(|wanted| like(wanted, value));
        let is_wanted = |(key, config): &(KeyRef<'_>, &Config)| {
            is("dataId", key.data_id) && is("group", key.group) && is("appName", config.app_name())
        };
        configs.keys(namespace).filter(is_wanted).collect()
    };
    bounded(found.iter().map(|(_, config)| *config), limits::IMPORT_BYTES_MAX)?;
    let portable = |(key, config): (KeyRef<'_>, &Config)| Portable {
        group: key.group.into(),
        data_id: key.data_id.into(),
        content: Arc::clone(&config.content),
        labels: config.labels(),
    };
    Ok(found.into_iter().map(portable).collect())
}

fn pack(portables: &[Portable], format: Format) -> zip::result::ZipResult<Vec<u8>> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for config in portables {
        archive.start_file(format!("{}/{}", config.group, config.data_id), options)?;
        archive.write_all(config.content.as_bytes())?;
    }
    let (name, metadata) = match format {
        Format::V1 => (METADATA_V1, metadata::write_v1(portables)),
        Format::V2 => (METADATA_V2, metadata::write_v2(portables)),
    };
    if !metadata.is_empty() {
        archive.start_file(name, options)?;
        archive.write_all(metadata.as_bytes())?;
    }
    Ok(archive.finish()?.into_inner())
}

/// What to do with a config that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Abort,
    Skip,
    Overwrite,
}

impl Policy {
    fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "ABORT" | "" => Ok(Self::Abort),
            "SKIP" => Ok(Self::Skip),
            "OVERWRITE" => Ok(Self::Overwrite),
            _ => Err(Failure::invalid("policy must be ABORT, SKIP or OVERWRITE")),
        }
    }
}

/// How an import ended without anything to apply (Nacos `ResultCodeEnum`).
#[derive(Clone, Copy)]
struct Nothing(u32, &'static str);

const NAMESPACE_NOT_EXIST: Nothing = Nothing(100_001, "the target namespace does not exist");
const METADATA_ILLEGAL: Nothing = Nothing(100_002, "the metadata of the import is illegal");
const PARSING_DATA_FAILED: Nothing = Nothing(100_004, "the data cannot be parsed");
const DATA_EMPTY: Nothing = Nothing(100_005, "the imported file holds no data");
const NO_SELECTED_CONFIG: Nothing = Nothing(100_006, "no config is selected");

impl Nothing {
    fn answer(self) -> Answer {
        let outcome = Outcome::default();
        Answer::json(&Envelope { code: self.0, message: Some(self.1), data: &outcome })
    }
}

/// The result of an import, in the words of Nacos.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    succ_count: usize,
    skip_count: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fail_data: Vec<Named>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skip_data: Vec<Named>,
    #[serde(skip_serializing_if = "is_zero")]
    unrecognized_count: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unrecognized_data: Vec<Unrecognized>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    data_id: Box<str>,
    group: Box<str>,
}

impl Named {
    fn of(key: &ConfigKey) -> Self {
        Self { data_id: key.data_id.as_str().into(), group: key.group.as_str().into() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Unrecognized {
    item_name: String,
}

/// POST `?import=true` with a multipart body.
pub(crate) async fn import(state: &Arc<State>, call: &Call) -> Result<Answer, Failure> {
    let (publishes, policy, unrecognized) = {
        let content_type = call.header("content-type").unwrap_or_default();
        let parts = multipart::parse(content_type, &call.body)?;
        let params = call.params();
        let field = |name: &str| {
            let text = parts.iter().find(|part| part.name == name);
            let text = text.and_then(|part| std::str::from_utf8(part.bytes).ok());
            params.text(name).or(text.map(str::trim)).unwrap_or_default()
        };
        let Some(file) = parts.iter().find(|part| part.name == "file") else {
            return Ok(DATA_EMPTY.answer());
        };
        let namespace = Namespace::parse(field("namespace"))?;
        let whole = access::whole(namespace.as_str(), Kind::Config);
        state.access.permits(call.user.as_deref(), Action::Write, &whole)?;
        if !exists(state, &namespace) {
            return Ok(NAMESPACE_NOT_EXIST.answer());
        }
        let policy = Policy::parse(field("policy"))?;
        let operator = operator(call, Some(field("src_user")));
        let archive = match unpack(file.bytes)? {
            Ok(archive) => archive,
            Err(nothing) => return Ok(nothing.answer()),
        };
        let mut unrecognized = archive.unrecognized;
        let publishes =
            publishes(state, archive.portables, &namespace, &operator, &mut unrecognized)?;
        (publishes, policy, unrecognized)
    };
    if publishes.is_empty() {
        return Ok(DATA_EMPTY.answer());
    }
    let mut outcome = apply(state, publishes, policy).await?;
    outcome.unrecognized_count = unrecognized.len();
    outcome.unrecognized_data =
        unrecognized.into_iter().map(|item_name| Unrecognized { item_name }).collect();
    Ok(Answer::rest_result_with("import success", &outcome))
}

/// POST `?clone=true` with a JSON list of configs to copy.
pub(crate) async fn clone(state: &Arc<State>, call: &Call) -> Result<Answer, Failure> {
    /// `SameNamespaceCloneConfigBean` of Nacos; the id comes as a number or as a text.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wanted {
        cfg_id: Id,
        data_id: Option<Box<str>>,
        group: Option<Box<str>>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Number(u64),
        Text(String),
    }
    let wanted: Vec<Wanted> = serde_json::from_slice(&call.body)
        .map_err(|error| Failure::invalid(format!("the body is no list of configs: {error}")))?;
    if wanted.is_empty() {
        return Ok(NO_SELECTED_CONFIG.answer());
    }
    let mut by_id = Renames::new();
    for item in wanted {
        let id = match item.cfg_id {
            Id::Number(id) => id,
            Id::Text(text) => {
                let id = text.trim().parse().ok();
                id.ok_or_else(|| Failure::not_a_number("cfgId", &text))?
            }
        };
        by_id.entry(id).or_insert((item.group, item.data_id));
    }
    let (publishes, policy) = {
        let params = call.params();
        let namespace = Namespace::parse(params.present("tenant")?)?;
        // The ids may be of any namespace.
        let (user, all) = (call.user.as_deref(), access::everything(Kind::Config));
        state.access.permits(user, Action::Read, &all)?;
        let whole = access::whole(namespace.as_str(), Kind::Config);
        state.access.permits(user, Action::Write, &whole)?;
        if !exists(state, &namespace) {
            return Ok(NAMESPACE_NOT_EXIST.answer());
        }
        let policy = Policy::parse(params.text_or("policy", ""))?;
        let operator = operator(call, params.text("src_user"));
        let portables = copies(state, &mut by_id);
        let publishes = publishes(state, portables, &namespace, &operator, &mut Vec::new())?;
        (publishes, policy)
    };
    if publishes.is_empty() {
        return Ok(DATA_EMPTY.answer());
    }
    let outcome = apply(state, publishes, policy).await?;
    Ok(Answer::rest_result_with("Clone Completed Successfully", &outcome))
}

/// The group and dataId that the copy of a config shall have, by its id.
type Renames = BTreeMap<u64, (Option<Box<str>>, Option<Box<str>>)>;

/// The configs with these ids under the names they shall have.
fn copies(state: &State, by_id: &mut Renames) -> Vec<Portable> {
    let configs = state.configs();
    let found = configs.by_ids(&by_id.keys().copied().collect());
    let filled = |name: Option<Box<str>>| name.filter(|name| !name.trim().is_empty());
    let portable = |(key, config): (KeyRef<'_>, &Config)| {
        let (group, data_id) = by_id.remove(&config.id).unwrap_or_default();
        Portable {
            group: filled(group).unwrap_or_else(|| key.group.into()),
            data_id: filled(data_id).unwrap_or_else(|| key.data_id.into()),
            content: Arc::clone(&config.content),
            labels: config.labels(),
        }
    };
    found.into_iter().map(portable).collect()
}

fn exists(state: &State, namespace: &Namespace) -> bool {
    namespace.is_public() || state.configs().namespace(namespace.as_str()).is_some()
}

struct Unpacked {
    portables: Vec<Portable>,
    unrecognized: Vec<String>,
}

/// Reads an archive within its bounds. The inner error is one that Nacos tells with status 200.
fn unpack(bytes: &[u8]) -> Result<Result<Unpacked, Nothing>, Failure> {
    let Ok(mut archive) = ZipArchive::new(Cursor::new(bytes)) else {
        return Ok(Err(PARSING_DATA_FAILED));
    };
    if archive.len() > limits::IMPORT_ENTRIES_MAX {
        let words = format!("the archive has more than {} entries", limits::IMPORT_ENTRIES_MAX);
        return Err(Failure::invalid(words));
    }
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

/// Checks every config before the first is written.
fn publishes(
    state: &State,
    portables: Vec<Portable>,
    namespace: &Namespace,
    operator: &Operator,
    unrecognized: &mut Vec<String>,
) -> Result<Vec<Publish>, Failure> {
    let mut publishes = Vec::with_capacity(portables.len());
    for portable in portables {
        let (Ok(group), Ok(data_id)) =
            (Group::new(&portable.group), DataId::new(&portable.data_id))
        else {
            unrecognized.push(format!("{}/{}", portable.group, portable.data_id));
            continue;
        };
        let key = ConfigKey { namespace: namespace.clone(), group, data_id };
        let mut labels = portable.labels;
        labels.config_type.get_or_insert(ConfigType::Text);
        let publish = Publish::new(key, portable.content, operator.clone(), state.now().1)?;
        publishes.push(publish.with_labels(labels, nacolet_config::Inherit::default())?);
    }
    Ok(publishes)
}

/// Writes the configs, many at once. With `Abort` nothing behind the first config that is there
/// already is written.
async fn apply(
    state: &State,
    mut publishes: Vec<Publish>,
    policy: Policy,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    if policy == Policy::Abort {
        let first = {
            let configs = state.configs();
            let is_there = |publish: &Publish| {
                let key = &publish.key;
                let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
                configs.get(namespace, group, key.data_id.as_str()).is_some()
            };
            publishes.iter().position(is_there)
        };
        if let Some(first) = first {
            let mut rest = publishes.split_off(first).into_iter();
            outcome.fail_data.extend(rest.next().map(|publish| Named::of(&publish.key)));
            outcome.skip_data.extend(rest.map(|publish| Named::of(&publish.key)));
        }
    }
    let mut publishes = publishes.into_iter().peekable();
    while publishes.peek().is_some() {
        let mut waiting = Vec::with_capacity(WRITES_AT_ONCE);
        for publish in publishes.by_ref().take(WRITES_AT_ONCE) {
            let named = Named::of(&publish.key);
            let publish = if policy == Policy::Overwrite { publish } else { publish.only_new() };
            waiting.push((named, state.begin_write_config(publish.into())?));
        }
        for (named, answer) in waiting {
            match state.in_time(answer).await.unwrap_or(Err(WriteError::Unknown)) {
                Ok(Response::Published { .. } | Response::Removed { .. })
                | Ok(Response::Namespace { .. }) => outcome.succ_count += 1,
                Err(WriteError::Refused(CommandError::ConfigExists)) => {
                    if policy == Policy::Abort {
                        outcome.fail_data.push(named);
                    } else {
                        outcome.skip_data.push(named);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    outcome.skip_count = outcome.skip_data.len();
    Ok(outcome)
}

/// Tags of an item as the command wants them.
fn tags_of(text: &str) -> Vec<Box<str>> {
    list(text)
}

/// Tags of a config as the metadata wants them.
fn tags_joined(labels: &Labels) -> String {
    labels.tags.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portable(group: &str, data_id: &str, content: &str) -> Portable {
        let labels = Labels {
            config_type: Some(ConfigType::Yaml),
            app_name: "shop".into(),
            desc: "a: \"b\" 'c'\nd".into(),
            tags: vec!["x".into(), "y".into()],
            ..Labels::default()
        };
        Portable { group: group.into(), data_id: data_id.into(), content: content.into(), labels }
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let all = [portable("g", "app.yml", "a: 1"), portable("g2", "noext", "中文")];
        let bytes = pack(&all, Format::V2).expect("packs");
        let unpacked = unpack(&bytes).expect("in bounds").unwrap_or_else(|n| panic!("{}", n.1));
        assert!(unpacked.unrecognized.is_empty(), "{:?}", unpacked.unrecognized);
        assert_eq!(unpacked.portables.len(), 2);
        for (before, after) in all.iter().zip(&unpacked.portables) {
            assert_eq!((&before.group, &before.data_id), (&after.group, &after.data_id));
            assert_eq!(before.content, after.content);
            assert_eq!(before.labels, after.labels);
        }
    }

    #[test]
    fn the_first_format_carries_application_names() {
        let bytes = pack(&[portable("g", "app.yml", "a: 1")], Format::V1).expect("packs");
        let unpacked = unpack(&bytes).expect("in bounds").unwrap_or_else(|n| panic!("{}", n.1));
        assert_eq!(&*unpacked.portables[0].labels.app_name, "shop");
    }

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
