//! Export, import and clone of configs (docs/nacos/http-v1.md, "Export, import, clone"). The zip is
//! what people carry between Nacos servers: one entry `group/dataId` per config, beside one entry
//! that tells types, descriptions and tags. An entry's name is a key, never a path. Every bound of
//! an archive is checked before anything is applied.

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod metadata;
mod outcome;
mod pack;
mod portable;
mod unpack;
mod write;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::CONTENT_DISPOSITION;
use nacolet_auth::{Action, Kind};
use nacolet_config::{Config, KeyRef, Store, like};
use nacolet_model::{ConfigKey, DataId, Group, Namespace, limits};
use serde::Deserialize;

use crate::access::about::{About, ConfigIds, Permits, Whole};
use crate::config::search::{bounded, ids};
use crate::config::words::operator;
use crate::http::answer::HttpAnswer;
use crate::http::failure::{Code, Failure};
use crate::http::json::{self, AtMost, Scalar};
use crate::http::params::{Fields, Id, Parts, field, multipart};
use crate::http::room::Room;
use crate::http::time::compact;
use crate::route::ask::Ask;
use crate::state::State;
use outcome::{
    DATA_EMPTY, NAMESPACE_NOT_EXIST, NO_SELECTED_CONFIG, OutcomeWords, Policy, Unrecognized,
};
use pack::Packing;
pub(crate) use portable::Format;
use portable::Portable;
use unpack::Unusable;
use write::{ArchiveContent, ArchiveItem, Source, WriteCommon, apply, checked, looked_at};

/// Which configs an export is about.
pub(crate) enum Chosen {
    /// By number; they may be of any namespace.
    Ids(ConfigIds),
    /// Those of a namespace, narrowed by patterns of dataId and group.
    Like { namespace: Whole, data_id: Option<Box<str>>, group: Option<Box<str>> },
}

impl Chosen {
    /// The configs of an export call that has its namespace and its group under these names.
    pub(crate) fn decode(parts: &Parts<'_>, namespace: Id, group: Id) -> Result<Self, Failure> {
        if let Some(text) = parts.id(Id::IDS)? {
            return Ok(Self::Ids(ConfigIds::new(ids(text)?)));
        }
        let pattern = |id| parts.id(id).map(|text| text.map(Box::from));
        Ok(Self::Like {
            namespace: Whole::configs(parts, namespace)?,
            data_id: pattern(Id::DATA_ID)?,
            group: pattern(group)?,
        })
    }
}

impl About for Chosen {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        match self {
            Self::Ids(ids) => ids.is_permitted(action, permits),
            Self::Like { namespace, .. } => namespace.is_permitted(action, permits),
        }
    }

    fn numbered(&mut self) -> Option<&mut ConfigIds> {
        match self {
            Self::Ids(ids) => Some(ids),
            Self::Like { .. } => None,
        }
    }
}

/// What an archive has of an entry beside its content, its name twice: far less than this.
const ENTRY_BYTES: usize = 1 << 10;
/// What an import sends around an archive.
const MULTIPART_BYTES: usize = 4 << 10;

/// GET `?export=true` and `?exportV2=true`. What is chosen is packed while the answer is sent.
pub(crate) async fn export(
    state: &State,
    params: &Fields,
    chosen: &Chosen,
    format: Format,
) -> Result<HttpAnswer, Failure> {
    let place = state.enter_export()?;
    let portables = portables(state, params, chosen).await?;
    let packing = smol::unblock(move || importable(portables, format)).await?;
    // The place is kept until the last piece is made, or nobody wants it any more.
    let pieces = packing.inspect(move |_piece| {
        let _kept = &place;
    });
    let answer = HttpAnswer::pieces("application/octet-stream", Box::new(pieces));
    let answer = answer.map_err(|_full| Failure::unavailable("the archive cannot be written"))?;
    let name = format!("nacos_config_export_{}.zip", compact(state.now().1));
    Ok(answer.header(CONTENT_DISPOSITION, &format!("attachment;filename={name}")))
}

/// The configs that an export asks for, with shared contents.
async fn portables(
    state: &State,
    params: &Fields,
    chosen: &Chosen,
) -> Result<Vec<Portable>, Failure> {
    let app_name = params.text(field::APP_NAME);
    let (namespace, data_id, group) = match chosen {
        Chosen::Ids(ids) => {
            let mut names = BTreeSet::new();
            if !ids.keys().iter().all(|(_, key)| names.insert((&key.group, &key.data_id))) {
                let words = "two of them have one group and dataId: ask for those of a namespace";
                return Err(Failure::invalid(words));
            }
            let configs = state.known_configs()?;
            let found = ids.keys().iter().filter_map(|(_, key)| portable(&configs, key));
            // One more than may be says that there are too many.
            return Ok(found.take(limits::IMPORT_ENTRIES_MAX + 1).collect());
        }
        Chosen::Like { namespace, data_id, group } => (&namespace.namespace, data_id, group),
    };
    let is = |wanted: Option<&str>, value: &str| wanted.is_none_or(|text| like(text, value));
    let is_wanted = |key: KeyRef<'_>, config: &Config| {
        is(data_id.as_deref(), key.data_id)
            && is(group.as_deref(), key.group)
            && is(app_name, config.app_name())
    };
    let mut portables = Vec::new();
    state
        .walk_configs(Some(namespace.as_str()), |key, config| {
            if portables.len() <= limits::IMPORT_ENTRIES_MAX && is_wanted(key, config) {
                portables.push(Portable::new(key.group, key.data_id, config));
            }
            0
        })
        .await?;
    Ok(portables)
}

/// The archive of these configs, if an import takes what becomes of them: an export that cannot
/// come back is none. Takes long where there is much.
fn importable(portables: Vec<Portable>, format: Format) -> Result<Packing, Failure> {
    // The metadata is one more entry.
    if portables.len() >= limits::IMPORT_ENTRIES_MAX {
        let words = format!("more than {} configs: ask for fewer", limits::IMPORT_ENTRIES_MAX - 1);
        return Err(Failure::invalid_as(Code::OVER_MAX_SIZE, words));
    }
    let described = pack::metadata(&portables, format);
    let contents: usize = portables.iter().map(|portable| portable.content.len()).sum();
    let all = contents + described.1.len();
    bounded(all, limits::IMPORT_BYTES_MAX)?;
    let kept = |one: &Portable| metadata::kept_bytes(&one.group, &one.data_id, &one.labels);
    let kept: usize = portables.iter().map(kept).sum();
    // Packed they may be as large as they are, and a little more.
    let is_large = all + portables.len() * ENTRY_BYTES > limits::IMPORT_BODY_BYTES_MAX / 2;
    if is_large || kept > limits::IMPORT_METADATA_BYTES {
        let pieces = Packing::new(portables.clone(), described.clone());
        let bytes = pieces.map(|piece| piece.map(|piece| piece.len())).sum::<io::Result<usize>>();
        let bytes = bytes.map_err(|_full| Failure::unavailable("the archive cannot be written"))?;
        bounded(bytes + MULTIPART_BYTES, limits::IMPORT_BODY_BYTES_MAX)?;
        if kept > bytes * limits::PARSED_RATIO_MAX + limits::IMPORT_METADATA_BYTES {
            let words = "their descriptions and tags are far longer than they: ask for fewer";
            return Err(Failure::invalid_as(Code::OVER_MAX_SIZE, words));
        }
    }
    Ok(Packing::new(portables, described))
}

/// An import: where to, and the archive.
pub(crate) struct Import {
    into: Whole,
    /// Absent where no file came.
    file: Option<Bytes>,
    /// Where what is unpacked of it is counted.
    room: Room,
}

impl Import {
    /// The import in a body with parts, into the namespace in the parameter `id`.
    pub(crate) fn decode(call: &Parts<'_>, id: Id) -> Result<Self, Failure> {
        let mut file = None;
        if let Some(content_type) = multipart::type_of(call.headers) {
            let parts = multipart::parse(content_type, call.body)?;
            let mut files = parts.iter().filter(|part| part.name == "file");
            file = files.next().map(|file| call.body.slice_ref(file.bytes));
            if files.next().is_some() {
                return Err(Failure::invalid("one archive at a time"));
            }
        }
        Ok(Self { into: Whole::configs(call, id)?, file, room: call.room.clone() })
    }
}

impl About for Import {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        self.into.is_permitted(action, permits)
    }
}

/// POST `?import=true` with a multipart body, and the imports of v3.
pub(crate) async fn import(
    state: &Arc<State>,
    import: Import,
    ask: Ask<()>,
) -> Result<HttpAnswer, Failure> {
    let told = OutcomeWords { is_v3: ask.is_v3, words: "import success" };
    let Some(file) = import.file else { return Ok(told.no_file()) };
    let namespace = import.into.namespace;
    if !exists(state, &namespace) {
        return Ok(told.nothing(NAMESPACE_NOT_EXIST));
    }
    let policy = Policy::parse(ask.params.text_or(field::POLICY, ""))?;
    let operator = operator(&ask, user(&ask.params))?;
    let at = state.now().1;
    let unpacking = import.room.hold();
    // Unpacking takes long, and others are served meanwhile.
    let (source, unrecognized) = match smol::unblock(move || looked_at(file, unpacking)).await {
        Ok(looked_at) => looked_at,
        Err(Unusable::Nothing(nothing)) => return Ok(told.nothing(nothing)),
        Err(Unusable::Refused(failure)) => return Err(failure),
    };
    if source.items.is_empty() {
        return Ok(told.nothing(DATA_EMPTY));
    }
    let mut outcome = apply(state, source, WriteCommon { namespace, operator, at }, policy).await?;
    outcome.unrecognized_count = unrecognized.len();
    outcome.unrecognized_data =
        unrecognized.into_iter().map(|item_name| Unrecognized { item_name }).collect();
    Ok(told.done(&outcome))
}

/// The user that a call names; consoles of Nacos write it in two ways.
fn user(params: &Fields) -> Option<&str> {
    params.text(field::SRC_USER_V1).or_else(|| params.text(field::SRC_USER))
}

/// Copies of configs: from anywhere, into one namespace.
pub(crate) struct CloneOf {
    into: Whole,
    sources: ConfigIds,
    renames: Renames,
}

impl CloneOf {
    /// The copies in a JSON list, into the namespace in the parameter `id`.
    pub(crate) fn decode(parts: &Parts<'_>, id: Id) -> Result<Self, Failure> {
        /// `SameNamespaceCloneConfigBean` and `ConfigCloneInfo` of Nacos; the id comes as a number
        /// or as a text.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wanted<'a> {
            #[serde(borrow, alias = "configId")]
            cfg_id: Scalar<'a>,
            #[serde(alias = "targetDataId")]
            data_id: Option<Box<str>>,
            #[serde(alias = "targetGroupName")]
            group: Option<Box<str>>,
        }
        type All<'a> = AtMost<Wanted<'a>, { limits::IMPORT_ENTRIES_MAX }>;
        let namespace = Namespace::parse(parts.present_id(id)?)?;
        let wanted: All<'_> = json::read(parts.body).map_err(|error| {
            Failure::invalid(format!("the body is no list of configs: {error}"))
        })?;
        let mut renames = Renames::new();
        for item in wanted.all(|| Failure::invalid("too many configs"))? {
            let text = item.cfg_id.into_text();
            let id = text.trim().parse().ok();
            let id = id.ok_or_else(|| Failure::not_a_number("cfgId", &text))?;
            renames.entry(id).or_insert((item.group, item.data_id));
        }
        let sources = ConfigIds::new(renames.keys().copied().collect());
        Ok(Self { into: Whole { kind: Kind::Config, namespace }, sources, renames })
    }
}

impl About for CloneOf {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        self.sources.is_permitted(Action::Read, permits) && self.into.is_permitted(action, permits)
    }

    fn numbered(&mut self) -> Option<&mut ConfigIds> {
        Some(&mut self.sources)
    }
}

/// POST `?clone=true` and the clones of v3, with a JSON list of configs to copy.
pub(crate) async fn clone(
    state: &Arc<State>,
    clone: CloneOf,
    ask: Ask<()>,
) -> Result<HttpAnswer, Failure> {
    let told = OutcomeWords { is_v3: ask.is_v3, words: "Clone Completed Successfully" };
    let CloneOf { into: Whole { namespace, .. }, sources, mut renames } = clone;
    if renames.is_empty() {
        return Ok(told.nothing(NO_SELECTED_CONFIG));
    }
    if !exists(state, &namespace) {
        return Ok(told.nothing(NAMESPACE_NOT_EXIST));
    }
    let policy = Policy::parse(ask.params.text_or(field::POLICY, ""))?;
    let operator = operator(&ask, user(&ask.params))?;
    let mut items = Vec::new();
    for Portable { group, data_id, content, labels } in copies(state, &sources, &mut renames) {
        // A copy that cannot have its name is left out.
        if let (Ok(group), Ok(data_id)) = (Group::new(&group), DataId::new(&data_id)) {
            let (labels, bytes) = (checked(labels)?, content.len());
            items.push(ArchiveItem {
                group,
                data_id,
                labels,
                bytes,
                content: ArchiveContent::Here(content),
            });
        }
    }
    if items.is_empty() {
        return Ok(told.nothing(DATA_EMPTY));
    }
    let (source, at) = (Source { items, archive: None, _unpacking: None }, state.now().1);
    let outcome = apply(state, source, WriteCommon { namespace, operator, at }, policy).await?;
    Ok(told.done(&outcome))
}

/// The group and dataId that the copy of a config shall have, by its id.
type Renames = BTreeMap<u64, (Option<Box<str>>, Option<Box<str>>)>;

/// The configs under the names they shall have.
fn copies(state: &State, sources: &ConfigIds, renames: &mut Renames) -> Vec<Portable> {
    let configs = state.configs();
    let filled = |name: Option<Box<str>>| name.filter(|name| !name.trim().is_empty());
    let copy = |(id, key): &(u64, ConfigKey)| {
        let (group, data_id) = renames.remove(id).unwrap_or_default();
        let copy = portable(&configs, key)?;
        Some(Portable {
            group: filled(group).unwrap_or(copy.group),
            data_id: filled(data_id).unwrap_or(copy.data_id),
            ..copy
        })
    };
    sources.keys().iter().filter_map(copy).collect()
}

/// The config under a key, if it is still there.
fn portable(configs: &Store, key: &ConfigKey) -> Option<Portable> {
    let (group, data_id) = (key.group.as_str(), key.data_id.as_str());
    let config = configs.get(key.namespace.as_str(), group, data_id)?;
    Some(Portable::new(group, data_id, config))
}

fn exists(state: &State, namespace: &Namespace) -> bool {
    namespace.is_public() || state.configs().namespace(namespace.as_str()).is_some()
}

#[cfg(test)]
mod tests {
    use nacolet_config::{ConfigType, Labels};

    use super::pack::packed;
    use super::unpack::unpack;
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
    fn what_is_packed_is_unpacked_however_well_it_packs() {
        let same = "a".repeat(limits::CONTENT_BYTES_MAX);
        let all: Vec<Portable> = (0..6).map(|n| portable("g", &format!("d{n}"), &same)).collect();
        let bytes = packed(all, Format::V2).expect("packs");
        assert!(bytes.len() < 128 << 10, "{}", bytes.len());
        assert_eq!(unpack(&bytes).ok().expect("in bounds").0.len(), 6);
    }

    /// A piece is made in the thread that serves others too.
    #[test]
    fn a_piece_is_little_work_however_well_it_packs() {
        let all = vec![portable("g", "d", &"a".repeat(limits::CONTENT_BYTES_MAX))];
        let metadata = pack::metadata(&all, Format::V2);
        let pieces: Vec<_> = Packing::new(all, metadata).collect();
        assert!(pieces.len() >= limits::CONTENT_BYTES_MAX >> 16, "{}", pieces.len());
    }

    /// As many configs as may be, with much to tell of each: what is exported can come back.
    #[test]
    fn what_tells_much_is_unpacked_too_or_not_exported() {
        let labels = Labels {
            config_type: Some(ConfigType::Text),
            desc: "\u{4e2d}".repeat(limits::DESC_CHARS_MAX).into(),
            tags: vec!["t".repeat(limits::CONFIG_TAG_CHARS_MAX).into(); limits::CONFIG_TAGS_MAX],
            ..Labels::default()
        };
        let mut random = nacolet_model::Prng::new(5);
        let mut all = |bytes: usize| -> Vec<Portable> {
            let mut config = |n: usize| {
                let noise = |_| char::from(u8::try_from(33 + random.below(90)).expect("ASCII"));
                let content: String = (0..bytes).map(noise).collect();
                let (group, data_id) = ("g".into(), n.to_string().into());
                Portable { group, data_id, content: content.into(), labels: labels.clone() }
            };
            (1..limits::IMPORT_ENTRIES_MAX).map(&mut config).collect()
        };
        assert!(importable(all(1), Format::V2).is_err());
        let Ok(pieces) = importable(all(300), Format::V2) else { panic!("it can come back") };
        let bytes: Vec<u8> = pieces.flat_map(|piece| piece.expect("packs")).collect();
        let (portables, unrecognized) = unpack(&bytes).ok().expect("in bounds");
        assert_eq!((portables.len(), unrecognized.len()), (limits::IMPORT_ENTRIES_MAX - 1, 0));
        assert!(portables.iter().all(|one| one.labels == labels));
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let all = [portable("g", "app.yml", "a: 1"), portable("g2", "noext", "中文")];
        let bytes = packed(all.to_vec(), Format::V2).expect("packs");
        let (portables, unrecognized) = unpack(&bytes).ok().expect("in bounds");
        assert!(unrecognized.is_empty(), "{unrecognized:?}");
        assert_eq!(portables.len(), 2);
        for (before, after) in all.iter().zip(&portables) {
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
        let metadata = pack::metadata(&all, Format::V2);
        let pieces: Vec<_> = Packing::new(all.to_vec(), metadata).collect();
        assert!(pieces.len() > 5, "{}", pieces.len());
        let bytes = packed(all.to_vec(), Format::V2).expect("packs");
        let (portables, _) = unpack(&bytes).ok().expect("in bounds");
        for (before, after) in all.iter().zip(&portables) {
            assert!(before.content == after.content, "{}", before.data_id);
        }
    }

    #[test]
    fn the_first_format_carries_application_names() {
        let bytes = packed(vec![portable("g", "app.yml", "a: 1")], Format::V1).expect("packs");
        let (portables, _) = unpack(&bytes).ok().expect("in bounds");
        assert_eq!(&*portables[0].labels.app_name, "shop");
    }
}
