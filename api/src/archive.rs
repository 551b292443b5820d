//! Export, import and clone of configs (http-v1 §2.4). The zip is what people carry between Nacos
//! servers: one entry `group/dataId` per config, beside one entry that tells types, descriptions and
//! tags. An entry's name is a key, never a path. Every bound of an archive is checked before anything
//! is applied.

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod metadata;
mod multipart;
mod pack;
mod unpack;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::CONTENT_DISPOSITION;
use nacolet_auth::{Action, Kind};
use nacolet_config::{
    CommandError, Config, ConfigType, KeyRef, Labels, Operator, Publish, Response, like,
};
use nacolet_model::{ConfigKey, DataId, Group, Namespace, WallTime, limits};
use serde::{Deserialize, Serialize};

use crate::about::{self, About, Everything, Permits, Spelled, Whole};
use crate::call::{Answer, Ask, Envelope};
use crate::config::{list, operator};
use crate::json::{AtMost, Scalar};
use crate::params::{Field, Fields, Id, Parts, field};
use crate::request::WriteError;
use crate::search::{bounded, ids};
use crate::server::State;
use crate::status::Failure;
use crate::time::compact;
use pack::Packing;
use unpack::{Unpacked, unpack};

/// Entry with the labels in the format of 2.x and 3.x.
const METADATA_V2: &str = ".metadata.yml";
/// Entry with the application names in the format of 1.x.
const METADATA_V1: &str = ".meta.yml";
/// Writes under way at once during an import: one fsync serves them all.
const WRITES_AT_ONCE: usize = 64;
/// And their contents: a part of what others may write meanwhile too.
const BYTES_AT_ONCE: usize = limits::RAFT_UNCOMMITTED_BYTES_MAX / 4;

/// Which metadata an export carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `export=true`.
    V1,
    /// `exportV2=true`.
    V2,
}

/// One config on its way out or in.
#[derive(Clone)]
struct Portable {
    group: Box<str>,
    data_id: Box<str>,
    content: Arc<str>,
    labels: Labels,
}

/// Which configs an export is about.
pub(crate) enum Chosen {
    /// By number; they may be of any namespace.
    Ids(BTreeSet<u64>),
    /// Those of a namespace, narrowed by patterns of dataId and group.
    Like { namespace: Whole, data_id: Option<Box<str>>, group: Option<Box<str>> },
}

impl Chosen {
    /// The configs of an export call.
    pub(crate) fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        if let Some(text) = parts.id(Id::IDS)? {
            return Ok(Self::Ids(ids(text)?));
        }
        let pattern = |id| parts.id(id).map(|text| text.map(Box::from));
        Ok(Self::Like {
            namespace: Spelled::configs(parts, Id::TENANT)?.of,
            data_id: pattern(Id::DATA_ID)?,
            group: pattern(Id::GROUP)?,
        })
    }
}

impl About for Chosen {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        match self {
            Self::Ids(_) => Everything(Kind::Config).is_permitted(action, permits),
            Self::Like { namespace, .. } => namespace.is_permitted(action, permits),
        }
    }
}

/// GET `?export=true` and `?exportV2=true`. What is chosen is packed while the answer is sent.
pub(crate) async fn export(
    state: &State,
    params: &Fields,
    chosen: &Chosen,
    format: Format,
) -> Result<Answer, Failure> {
    let portables = portables(state, params, chosen).await?;
    let answer =
        Answer::pieces("application/octet-stream", Box::new(Packing::new(portables, format)));
    let answer = answer.map_err(|_full| Failure::unavailable("the archive cannot be written"))?;
    let name = format!("nacos_config_export_{}.zip", compact(state.now().1));
    Ok(answer.header(CONTENT_DISPOSITION, &format!("attachment;filename={name}")))
}

/// The configs that an export asks for, with shared contents. An export is never larger than what an
/// import takes.
async fn portables(
    state: &State,
    params: &Fields,
    chosen: &Chosen,
) -> Result<Vec<Portable>, Failure> {
    let app_name = params.text(field::APP_NAME);
    let is_wanted = |key: KeyRef<'_>, config: &Config| match chosen {
        Chosen::Ids(ids) => ids.contains(&config.id),
        Chosen::Like { data_id, group, .. } => {
            let is =
                |wanted: Option<&str>, value: &str| wanted.is_none_or(|text| like(text, value));
            is(data_id.as_deref(), key.data_id)
                && is(group.as_deref(), key.group)
                && is(app_name, config.app_name())
        }
    };
    let namespace = match chosen {
        Chosen::Ids(_) => None,
        Chosen::Like { namespace, .. } => Some(namespace.namespace.as_str()),
    };
    let (mut portables, mut bytes) = (Vec::new(), 0);
    state
        .walk_configs(namespace, |key, config| {
            if is_wanted(key, config) {
                bytes += config.content.len();
                portables.push(Portable {
                    group: key.group.into(),
                    data_id: key.data_id.into(),
                    content: Arc::clone(&config.content),
                    labels: config.labels(),
                });
            }
            0
        })
        .await?;
    bounded(bytes, limits::IMPORT_BYTES_MAX)?;
    Ok(portables)
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

/// An import: where to, and what the multipart body brings beside the archive.
pub(crate) struct Import {
    into: Whole,
    policy: Box<str>,
    user: Box<str>,
    /// Absent where no file came.
    file: Option<Bytes>,
}

impl Import {
    /// The import in a multipart body; a parameter counts more than a part.
    pub(crate) fn decode(call: &Parts<'_>) -> Result<Self, Failure> {
        let content_type = call.header("content-type").unwrap_or_default();
        let parts = multipart::parse(content_type, call.body)?;
        let part = |name: &'static str| -> Result<&str, Failure> {
            let mut named = parts.iter().filter(|part| part.name == name);
            let Some(first) = named.next() else { return Ok("") };
            if named.any(|other| other.bytes != first.bytes) {
                return Err(Failure::invalid(format!("part '{name}' has two values")));
            }
            let text = std::str::from_utf8(first.bytes).ok();
            let text = text.ok_or_else(|| Failure::invalid(format!("part '{name}' is no text")));
            text.map(str::trim)
        };
        let namespace = match call.id(Id::NAMESPACE)? {
            Some(namespace) => namespace,
            None => part("namespace")?,
        };
        let field = |field: Field| match call.fields.text(field) {
            Some(text) => Ok(Box::from(text)),
            None => part(field.name()).map(Box::from),
        };
        let mut files = parts.iter().filter(|part| part.name == "file");
        let file = files.next().map(|file| call.body.slice_ref(file.bytes));
        if files.next().is_some() {
            return Err(Failure::invalid("one archive at a time"));
        }
        Ok(Self {
            into: Whole { kind: Kind::Config, namespace: Namespace::parse(namespace)? },
            policy: field(field::POLICY)?,
            user: field(field::SRC_USER_V1)?,
            file,
        })
    }
}

impl About for Import {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        self.into.is_permitted(action, permits)
    }
}

/// POST `?import=true` with a multipart body.
pub(crate) async fn import(
    state: &Arc<State>,
    import: Import,
    ask: Ask<()>,
) -> Result<Answer, Failure> {
    let Some(file) = import.file else { return Ok(DATA_EMPTY.answer()) };
    let namespace = import.into.namespace;
    if !exists(state, &namespace) {
        return Ok(NAMESPACE_NOT_EXIST.answer());
    }
    let policy = Policy::parse(&import.policy)?;
    let operator = operator(&ask, Some(&import.user))?;
    let at = state.now().1;
    // Unpacking and hashing take long, and others are served meanwhile.
    let read = smol::unblock(move || -> Result<_, Failure> {
        Ok(match unpack(&file)? {
            Ok(Unpacked { portables, mut unrecognized }) => {
                let publishes = publishes(portables, &namespace, &operator, at, &mut unrecognized)?;
                Ok((publishes, unrecognized))
            }
            Err(nothing) => Err(nothing),
        })
    });
    let (publishes, unrecognized) = match read.await? {
        Ok(read) => read,
        Err(nothing) => return Ok(nothing.answer()),
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

/// Copies of configs: from anywhere, into one namespace.
pub(crate) struct CloneOf {
    into: Whole,
    by_id: Renames,
}

impl CloneOf {
    /// The copies in a JSON list.
    pub(crate) fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        /// `SameNamespaceCloneConfigBean` of Nacos; the id comes as a number or as a text.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wanted<'a> {
            #[serde(borrow)]
            cfg_id: Scalar<'a>,
            data_id: Option<Box<str>>,
            group: Option<Box<str>>,
        }
        type All<'a> = AtMost<Wanted<'a>, { limits::IMPORT_ENTRIES_MAX }>;
        let wanted: All<'_> = serde_json::from_slice(parts.body).map_err(|error| {
            Failure::invalid(format!("the body is no list of configs: {error}"))
        })?;
        let mut by_id = Renames::new();
        for item in wanted.all(|| Failure::invalid("too many configs"))? {
            let text = item.cfg_id.into_text();
            let id = text.trim().parse().ok();
            let id = id.ok_or_else(|| Failure::not_a_number("cfgId", &text))?;
            by_id.entry(id).or_insert((item.group, item.data_id));
        }
        let namespace = Namespace::parse(parts.present_id(Id::TENANT)?)?;
        Ok(Self { into: Whole { kind: Kind::Config, namespace }, by_id })
    }
}

impl About for CloneOf {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        // The ids may be of any namespace.
        permits(Action::Read, &about::everything(Kind::Config))
            && self.into.is_permitted(action, permits)
    }
}

/// POST `?clone=true` with a JSON list of configs to copy.
pub(crate) async fn clone(
    state: &Arc<State>,
    clone: CloneOf,
    ask: Ask<()>,
) -> Result<Answer, Failure> {
    let CloneOf { into: Whole { namespace, .. }, mut by_id } = clone;
    if by_id.is_empty() {
        return Ok(NO_SELECTED_CONFIG.answer());
    }
    if !exists(state, &namespace) {
        return Ok(NAMESPACE_NOT_EXIST.answer());
    }
    let policy = Policy::parse(ask.params.text_or(field::POLICY, ""))?;
    let operator = operator(&ask, ask.params.text(field::SRC_USER_V1))?;
    let portables = copies(state, &mut by_id);
    let at = state.now().1;
    let publishes =
        smol::unblock(move || publishes(portables, &namespace, &operator, at, &mut Vec::new()));
    let publishes = publishes.await?;
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

/// Checks every config before the first is written.
fn publishes(
    portables: Vec<Portable>,
    namespace: &Namespace,
    operator: &Operator,
    at: WallTime,
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
        let publish = Publish::new(key, portable.content, operator.clone(), at)?;
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
        let (mut waiting, mut bytes) = (Vec::with_capacity(WRITES_AT_ONCE), 0);
        // Raft takes so many bytes that are not agreed yet and no more; one alone it always takes.
        while waiting.len() < WRITES_AT_ONCE
            && let Some(publish) = publishes.next_if(|publish| {
                waiting.is_empty() || bytes + publish.content.len() <= BYTES_AT_ONCE
            })
        {
            bytes += publish.content.len();
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
    list(text, limits::CONFIG_TAGS_MAX)
}

/// Tags of a config as the metadata wants them.
fn tags_joined(labels: &Labels) -> String {
    labels.tags.join(",")
}

#[cfg(test)]
mod tests {
    use super::pack::packed;
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
        let bytes = packed(all.to_vec(), Format::V2).expect("packs");
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
    fn what_packs_well_and_what_packs_badly_arrives_whole() {
        let mut random = nacolet_model::Prng::new(3);
        let noise = |_| char::from(u8::try_from(33 + random.below(90)).expect("ASCII"));
        let noise: String = (0..700_000).map(noise).collect();
        let all = [portable("g", "flat", &"a".repeat(900_000)), portable("g", "noise", &noise)];
        let pieces: Vec<_> = Packing::new(all.to_vec(), Format::V2).collect();
        assert!(pieces.len() > 5, "{}", pieces.len());
        let bytes = packed(all.to_vec(), Format::V2).expect("packs");
        let unpacked = unpack(&bytes).expect("in bounds").unwrap_or_else(|n| panic!("{}", n.1));
        for (before, after) in all.iter().zip(&unpacked.portables) {
            assert!(before.content == after.content, "{}", before.data_id);
        }
    }

    #[test]
    fn the_first_format_carries_application_names() {
        let bytes = packed(vec![portable("g", "app.yml", "a: 1")], Format::V1).expect("packs");
        let unpacked = unpack(&bytes).expect("in bounds").unwrap_or_else(|n| panic!("{}", n.1));
        assert_eq!(&*unpacked.portables[0].labels.app_name, "shop");
    }
}
