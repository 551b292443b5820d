//! Writes what an import or a clone brings, a batch at a time. What is still packed is unpacked
//! when its batch comes: an archive of which every bound was checked is read twice, and never all
//! in memory.

use std::sync::Arc;

use hyper::body::Bytes;
use nacolet_config::{
    CommandError, ConfigType, Inherit, Labels, Operator, Publish, PublishError, Response,
    check_content,
};
use nacolet_model::{ConfigKey, DataId, Group, Namespace, WallTime, limits};

use super::outcome::{ConfigName, ImportOutcome, Nothing, PARSING_DATA_FAILED, Policy};
use super::unpack::{Archive, Contents, Unusable};
use crate::http::failure::Failure;
use crate::http::room::Unpacking;
use crate::port::request::WriteError;
use crate::state::State;

/// Writes under way at once during an import: one fsync serves them all.
const WRITES_AT_ONCE: usize = 64;
/// And their contents: a part of what others may write meanwhile too.
const BYTES_AT_ONCE: usize = limits::RAFT_UNCOMMITTED_BYTES_MAX / 4;

/// An archive of which every bound is kept, and the names of what is no config in it. What writing
/// it takes is counted from here on: an entry at a time, and a batch.
pub(super) fn looked_at(
    file: Bytes,
    mut unpacking: Unpacking,
) -> Result<(Source, Vec<String>), Unusable> {
    let is_large = file.len() > limits::BODY_BYTES_MAX;
    let mut archive = Archive::open(file)?;
    let Contents { entries, mut unrecognized } = archive.look(&mut unpacking)?;
    let mut items = Vec::with_capacity(entries.len());
    for entry in entries {
        let names = (Group::new(&entry.group), DataId::new(&entry.data_id));
        let (Ok(group), Ok(data_id)) = names else {
            unrecognized.push(format!("{}/{}", entry.group, entry.data_id));
            continue;
        };
        let name = || format!("{group}/{data_id}");
        check_content(entry.bytes, false).map_err(|error| refused(&name(), &error))?;
        let mut labels = entry.labels;
        // Archives of 1.x and those without metadata do not tell.
        labels.config_type = labels.config_type.or_else(|| by_extension(data_id.as_str()));
        let labels = checked(labels).map_err(|error| refused(&name(), &error))?;
        let (bytes, content) = (entry.bytes, ArchiveContent::Packed(entry.index));
        items.push(ArchiveItem { group, data_id, labels, bytes, content });
    }
    let largest = items.iter().map(|item| item.bytes).max().unwrap_or(0);
    unpacking.grow(largest.max(BYTES_AT_ONCE))?;
    if !is_large {
        // A large body counts for a copy besides, see `exchange`.
        unpacking.grow(largest)?;
    }
    Ok((Source { items, archive: Some(archive), _unpacking: Some(unpacking) }, unrecognized))
}

/// An entry that makes the archive one that is not imported.
fn refused(name: &str, error: &PublishError) -> Failure {
    Failure::invalid(format!("{name}: {error}"))
}

/// The type of a config by the end of its name (Nacos `FileTypeEnum`).
fn by_extension(data_id: &str) -> Option<ConfigType> {
    Some(match data_id.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "yml" => ConfigType::Yaml,
        "htm" => ConfigType::Html,
        "txt" => ConfigType::Text,
        extension => ConfigType::parse(extension).filter(|known| *known != ConfigType::Unset)?,
    })
}

/// Configs that are about to be written.
pub(super) struct Source {
    pub(super) items: Vec<ArchiveItem>,
    pub(super) archive: Option<Archive>,
    pub(super) _unpacking: Option<Unpacking>,
}

/// One of them, checked.
pub(super) struct ArchiveItem {
    pub(super) group: Group,
    pub(super) data_id: DataId,
    pub(super) labels: Labels,
    pub(super) bytes: usize,
    pub(super) content: ArchiveContent,
}

pub(super) enum ArchiveContent {
    /// It is shared with the store.
    Here(Arc<str>),
    /// It is unpacked when it is its turn, out of the entry at this place.
    Packed(usize),
}

/// What all of them have in common.
#[derive(Clone)]
pub(super) struct WriteCommon {
    pub(super) namespace: Namespace,
    pub(super) operator: Operator,
    pub(super) at: WallTime,
}

impl ArchiveItem {
    fn publish(
        self,
        archive: Option<&mut Archive>,
        written: &WriteCommon,
    ) -> Result<Publish, Unusable> {
        let content = match (self.content, archive) {
            (ArchiveContent::Here(content), _) => content,
            (ArchiveContent::Packed(index), Some(archive)) => archive.content(index, self.bytes)?,
            (ArchiveContent::Packed(_), None) => return Err(PARSING_DATA_FAILED.into()),
        };
        let WriteCommon { namespace, operator, at } = written.clone();
        let key = ConfigKey { namespace, group: self.group, data_id: self.data_id };
        let publish = Publish::new(key, content, operator, at).map_err(Failure::from)?;
        let inherit = Inherit::default();
        Ok(publish.with_labels(self.labels, inherit).map_err(Failure::from)?)
    }
}

/// Labels that every config of an import may have.
pub(super) fn checked(mut labels: Labels) -> Result<Labels, PublishError> {
    labels.config_type.get_or_insert(ConfigType::Text);
    labels.check()?;
    Ok(labels)
}

/// Writes the configs, many at once. With `Abort` nothing behind the first config that is there
/// already is written.
pub(super) async fn apply(
    state: &State,
    source: Source,
    written: WriteCommon,
    policy: Policy,
) -> Result<ImportOutcome, Failure> {
    let Source { mut items, mut archive, _unpacking } = source;
    let mut outcome = ImportOutcome::default();
    if policy == Policy::Abort {
        let first = {
            let configs = state.configs();
            let is_there = |item: &ArchiveItem| {
                let (group, data_id) = (item.group.as_str(), item.data_id.as_str());
                configs.get(written.namespace.as_str(), group, data_id).is_some()
            };
            items.iter().position(is_there)
        };
        if let Some(first) = first {
            let mut rest = items.split_off(first).into_iter();
            outcome
                .fail_data
                .extend(rest.next().map(|item| ConfigName::of(&item.data_id, &item.group)));
            outcome.skip_data.extend(rest.map(|item| ConfigName::of(&item.data_id, &item.group)));
        }
    }
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        let (mut batch, mut bytes) = (Vec::with_capacity(WRITES_AT_ONCE), 0);
        // Raft takes so many bytes that are not agreed yet and no more; one alone it always takes.
        while batch.len() < WRITES_AT_ONCE
            && let Some(item) =
                items.next_if(|item| batch.is_empty() || bytes + item.bytes <= BYTES_AT_ONCE)
        {
            bytes += item.bytes;
            batch.push(item);
        }
        let (common, mut packed) = (written.clone(), archive.take());
        let made = smol::unblock(move || {
            let publish = |item: ArchiveItem| {
                let named = ConfigName::of(&item.data_id, &item.group);
                Ok((named, item.publish(packed.as_mut(), &common)?))
            };
            let made: Result<Vec<_>, Unusable> = batch.into_iter().map(publish).collect();
            (packed, made)
        });
        let (packed, made) = made.await;
        archive = packed;
        let mut waiting = Vec::with_capacity(WRITES_AT_ONCE);
        for (named, publish) in made.map_err(unreadable)? {
            let publish = if policy == Policy::Overwrite { publish } else { publish.only_new() };
            waiting.push((named, state.begin_write_config(publish.into())?));
        }
        for (named, answer) in waiting {
            match state.in_time(answer).await.unwrap_or(Err(WriteError::Unknown)) {
                Ok(Response::Published { .. } | Response::Removed { .. })
                | Ok(Response::Namespace { .. } | Response::Room { .. }) => outcome.succ_count += 1,
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

/// What was read once cannot be read again.
fn unreadable(unusable: Unusable) -> Failure {
    match unusable {
        Unusable::Refused(failure) => failure,
        Unusable::Nothing(Nothing(_, words)) => Failure::invalid(words),
    }
}
