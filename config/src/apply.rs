//! Commands change the state, one log index at a time. Applying is total: a command that cannot
//! take effect says why and changes nothing but the index and the chained hash.
//!
//! A command at or behind the applied index took effect earlier and changes nothing at all, so a
//! log may be replayed from any point.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use nacolet_model::{ConfigKey, WallTime, limits};

use crate::command::{
    ApplyError, Command, CommandError, ConfigType, Inherit, Labels, Operator, Publish, Remove,
    Response,
};
use crate::entry::{Change, Config, Slot};
use crate::gray::GrayVersion;
use crate::hash;
use crate::history::{HistoryItem, HistoryOp};
use crate::key::KeyText;
use crate::md5::Md5;
use crate::namespace::NamespaceInfo;
use crate::room::contents_max;
use crate::rule::{Gray, GrayName};
use crate::store::Store;

/// A version that leaves its place, and how: what a history item is made of.
struct Past {
    op: HistoryOp,
    content: Arc<str>,
    md5: Md5,
    config_type: Option<ConfigType>,
    labels: Option<Arc<Labels>>,
    gray: Option<Box<GrayName>>,
    pays: bool,
}

impl Store {
    /// Applies the command at log index `index`, whoever put it there, as [`Self::apply`] does.
    ///
    /// # Errors
    /// See [`ApplyError`]. The state is as before, and the index is applied.
    pub fn apply_logged(
        &mut self,
        index: u64,
        command: Command,
        changes: &mut Vec<Change>,
    ) -> Result<Response, ApplyError> {
        if index > self.applied
            && let Err(invalid) = command.check()
        {
            self.advance(index, &command);
            return Err(ApplyError::Invalid(invalid));
        }
        self.apply(index, command, changes).map_err(ApplyError::Refused)
    }

    fn advance(&mut self, index: u64, command: &Command) {
        self.state_hash = hash::chain(self.state_hash, index, command);
        self.applied = index;
    }

    /// Applies the command at log index `index`, which is known to be valid. What listeners must
    /// hear is added to `changes`: nothing when everybody still sees the same content, as after a
    /// publish of the stored content (Nacos counts that as an update with history, but tells
    /// nobody).
    ///
    /// # Errors
    /// See [`CommandError`]. The state is as before, and the index is applied.
    pub fn apply(
        &mut self,
        index: u64,
        command: Command,
        changes: &mut Vec<Change>,
    ) -> Result<Response, CommandError> {
        if index <= self.applied {
            return Err(CommandError::AlreadyApplied);
        }
        self.advance(index, &command);
        match command {
            Command::Publish(mut publish) => match publish.gray.take() {
                None => self.publish(*publish, changes),
                Some(gray) => self.publish_gray(gray, *publish, changes),
            },
            Command::Remove(remove) => Ok(self.remove(*remove, changes)),
            Command::CreateNamespace { id, name, desc, at } => {
                let info = NamespaceInfo { name, desc, created: at, modified: at };
                self.namespaces.create(id, info).map(|changed| Response::Namespace { changed })
            }
            Command::UpdateNamespace { id, name, desc, at } => self
                .namespaces
                .update(&id, name, desc, at)
                .map(|changed| Response::Namespace { changed }),
            Command::RemoveNamespace { id, at: _ } => {
                Ok(Response::Namespace { changed: self.namespaces.remove(&id) })
            }
            Command::Room { member, bytes } => {
                let changed = self.rooms.state(member, bytes)?;
                self.trim_history();
                Ok(Response::Room { changed })
            }
        }
    }

    fn publish(
        &mut self,
        publish: Publish,
        changes: &mut Vec<Change>,
    ) -> Result<Response, CommandError> {
        let (key, mut slot) = self.place(&publish.key);
        let old = slot.config.take();
        check_expected(&publish, old.as_ref().map(|old| old.md5))?;
        let old_bytes = old.as_ref().map_or(0, |old| old.content.len());
        self.check_room(&publish, old_bytes, old.is_some() || slot.is_live())?;
        let Publish { content, md5, mut labels, inherit, operator, at, .. } = publish;
        if let Some(old) = &old {
            inherit_labels(&mut labels, inherit, old);
        }
        let config_type = labels.config_type.take();
        let config = Config {
            id: old.as_ref().map_or(self.applied, |old| old.id),
            content: shared_content(content, old.as_ref().map(|old| &old.content)),
            md5,
            operator: self.shared_operator(operator),
            created: old.as_ref().map_or(at, |old| old.created),
            modified: at,
            revision: self.applied,
            config_type,
            labels: shared_labels(labels, old.as_ref().and_then(|old| old.labels.as_ref())),
        };
        let created = old.is_none();
        let changed = old.as_ref().is_none_or(|old| old.md5 != md5);
        let past = match old {
            None => Past::inserted(&config.content, md5, config_type, config.labels.clone()),
            Some(old) => Past {
                op: HistoryOp::Update,
                pays: !Arc::ptr_eq(&old.content, &config.content),
                content: old.content,
                md5: old.md5,
                config_type: old.config_type,
                labels: old.labels,
                gray: None,
            },
        };
        let operator = config.operator.clone();
        slot.config = Some(config);
        self.check_weight(&key, &slot)?;
        self.settle(key, slot, past, operator, at);
        if changed {
            changes.push(Change { key: publish.key });
        }
        Ok(Response::Published { created, md5 })
    }

    fn publish_gray(
        &mut self,
        gray: Gray,
        publish: Publish,
        changes: &mut Vec<Change>,
    ) -> Result<Response, CommandError> {
        let (key, mut slot) = self.place(&publish.key);
        let name = gray.name();
        let old = slot.gray(&name).cloned();
        check_expected(&publish, old.as_ref().map(|old| old.md5))?;
        if old.is_none() && slot.grays().len() >= limits::GRAY_VERSIONS_MAX {
            return Err(CommandError::TooManyGray);
        }
        let old_bytes = old.as_ref().map_or(0, |old| old.content.len());
        self.check_room(&publish, old_bytes, slot.is_live())?;
        let Publish { content, md5, mut labels, operator, at, .. } = publish;
        let config_type = labels.config_type.take();
        let version = GrayVersion {
            gray,
            id: old.as_ref().map_or(self.applied, |old| old.id),
            content: shared_content(content, old.as_ref().map(|old| &old.content)),
            md5,
            operator: self.shared_operator(operator),
            created: old.as_ref().map_or(at, |old| old.created),
            modified: at,
            labels: shared_labels(labels, old.as_ref().and_then(|old| old.labels.as_ref())),
            config_type,
        };
        let created = old.is_none();
        let changed = old.as_ref().is_none_or(|old| old.md5 != md5 || old.gray != version.gray);
        let past = match old {
            None => Past::inserted(&version.content, md5, config_type, version.labels.clone()),
            Some(old) => Past::of_gray(HistoryOp::Update, &old, Some(&version.content)),
        };
        let past = Past { gray: Some(Box::new(name)), ..past };
        let operator = version.operator.clone();
        slot.grays.get_or_insert_default().put(version);
        self.check_weight(&key, &slot)?;
        self.settle(key, slot, past, operator, at);
        if changed {
            changes.push(Change { key: publish.key });
        }
        Ok(Response::Published { created, md5 })
    }

    fn remove(&mut self, remove: Remove, changes: &mut Vec<Change>) -> Response {
        let (key, mut slot) = self.place(&remove.key);
        let past = match &remove.gray {
            None => slot.config.take().map(|old| Past {
                op: HistoryOp::Delete,
                content: old.content,
                md5: old.md5,
                config_type: old.config_type,
                labels: old.labels,
                gray: None,
                pays: true,
            }),
            Some(name) => slot.take_gray(name).map(|old| Past {
                gray: Some(Box::new(name.clone())),
                ..Past::of_gray(HistoryOp::Delete, &old, None)
            }),
        };
        let Some(past) = past else { return Response::Removed { existed: false } };
        let operator = self.shared_operator(remove.operator);
        self.settle(key, slot, past, operator, remove.at);
        changes.push(Change { key: remove.key });
        Response::Removed { existed: true }
    }

    /// Whether the store may take the content in place of `old_bytes`, under a key that `is_live`
    /// already or not.
    fn check_room(
        &self,
        publish: &Publish,
        old_bytes: usize,
        is_live: bool,
    ) -> Result<(), CommandError> {
        let has_place = is_live || self.live < limits::CONFIGS_MAX;
        let new_bytes = publish.content.len();
        if has_place && fits(self.bytes, old_bytes, new_bytes, limits::CONTENTS_BYTES_MAX) {
            Ok(())
        } else {
            Err(CommandError::TooManyConfigs)
        }
    }

    /// Whether there is memory for what shall be stored under a key; always for no more than there
    /// is.
    fn check_weight(&self, key: &KeyText, new: &Slot) -> Result<(), CommandError> {
        let Some(bytes) = self.room() else { return Ok(()) };
        let old = self.slots.get(key).map_or(0, |slot| slot.weight(key));
        if fits(self.weight, old, new.weight(key), contents_max(Some(bytes))) {
            Ok(())
        } else {
            Err(CommandError::NoRoom { bytes })
        }
    }

    /// What is stored under `key` now, to be changed and handed to [`Self::settle`].
    fn place(&self, key: &ConfigKey) -> (KeyText, Slot) {
        let key = KeyText::new(key.into());
        match self.slots.get_key_value(&key) {
            // The stored key is the one that history items share.
            Some((key, slot)) => (key.clone(), (**slot).clone()),
            None => (key, Slot::default()),
        }
    }

    /// Stores a changed slot together with what it held before.
    fn settle(
        &mut self,
        key: KeyText,
        mut slot: Slot,
        past: Past,
        operator: Arc<Operator>,
        at: WallTime,
    ) {
        let item = HistoryItem {
            id: self.applied,
            op: past.op,
            content: past.content,
            md5: past.md5,
            operator,
            at,
            config_type: past.config_type,
            key: key.clone(),
            labels: past.labels,
            gray: past.gray,
            previous: slot.newest,
            pays: past.pays,
        };
        slot.newest = item.id;
        self.put_slot(key, slot);
        let dropped = self.history.push(item, self.past_max());
        self.forget_past(&dropped);
    }

    /// Brings history inside its bounds.
    fn trim_history(&mut self) {
        self.trim_history_to(usize::MAX);
    }

    /// Brings history inside its bounds and one more.
    pub(crate) fn trim_history_to(&mut self, weight_max: usize) {
        let dropped = self.history.trim(weight_max.min(self.past_max()));
        self.forget_past(&dropped);
    }

    /// Removes the slots that had nothing but the dropped items.
    fn forget_past(&mut self, dropped: &[Arc<HistoryItem>]) {
        for item in dropped {
            let is_empty = |slot: &Arc<Slot>| !slot.is_live() && slot.newest <= item.id;
            if self.slots.get(&item.key).is_some_and(is_empty) {
                self.slots.remove(&item.key);
            }
        }
    }

    /// Stores a slot and keeps the counts.
    pub(crate) fn put_slot(&mut self, key: KeyText, slot: Slot) {
        let namespace = key.parts().namespace;
        let before = self.slots.get(&key);
        let was_live = before.is_some_and(|slot| slot.is_live());
        let had_config = before.is_some_and(|slot| slot.config.is_some());
        self.bytes -= before.map_or(0, |slot| slot.bytes());
        self.bytes += slot.bytes();
        self.weight -= before.map_or(0, |slot| slot.weight(&key));
        self.weight += slot.weight(&key);
        match (was_live, slot.is_live()) {
            (false, true) => self.live += 1,
            (true, false) => self.live -= 1,
            (false, false) | (true, true) => {}
        }
        match (had_config, slot.config.is_some()) {
            (false, true) => self.namespaces.count_config(namespace),
            (true, false) => self.namespaces.forget_config(namespace),
            (false, false) | (true, true) => {}
        }
        self.slots.insert(key, Arc::new(slot));
    }

    /// The shared block of an operator, the last one's if it is the same again.
    pub(crate) fn shared_operator(&mut self, operator: Operator) -> Arc<Operator> {
        if *self.operator != operator {
            self.operator = Arc::new(operator);
        }
        self.operator.clone()
    }
}

impl Slot {
    fn take_gray(&mut self, name: &GrayName) -> Option<GrayVersion> {
        let old = self.gray(name)?.clone();
        let mut grays = self.grays.take()?;
        grays.remove(name);
        self.grays = Some(grays).filter(|grays| !grays.as_slice().is_empty());
        Some(old)
    }
}

impl Past {
    fn inserted(
        content: &Arc<str>,
        md5: Md5,
        config_type: Option<ConfigType>,
        labels: Option<Arc<Labels>>,
    ) -> Self {
        let content = content.clone();
        Self { op: HistoryOp::Insert, content, md5, config_type, labels, gray: None, pays: false }
    }

    /// `kept` is the content that takes the old one's place.
    fn of_gray(op: HistoryOp, old: &GrayVersion, kept: Option<&Arc<str>>) -> Self {
        Self {
            op,
            content: old.content.clone(),
            md5: old.md5,
            config_type: old.config_type,
            labels: old.labels.clone(),
            gray: None,
            pays: kept.is_none_or(|kept| !Arc::ptr_eq(kept, &old.content)),
        }
    }
}

/// What a publish says must be there. What is not there is inserted whatever md5 it names (Nacos).
fn check_expected(publish: &Publish, stored: Option<Md5>) -> Result<(), CommandError> {
    let Some(stored) = stored else { return Ok(()) };
    if publish.cas_md5.is_some_and(|expected| stored != expected) {
        return Err(CommandError::CasMismatch);
    }
    if publish.only_new {
        return Err(CommandError::ConfigExists);
    }
    Ok(())
}

/// Whether `new` bytes may take the place of `old` bytes. What is not larger always may, also in a
/// store that was filled under a wider limit.
fn fits(total: usize, old: usize, new: usize, max: usize) -> bool {
    new <= old || total - old + new <= max
}

fn inherit_labels(labels: &mut Labels, inherit: Inherit, old: &Config) {
    if inherit.app_name {
        labels.app_name = old.app_name().into();
    }
    if inherit.tags {
        labels.tags = old.tags().to_vec();
    }
}

/// The allocation that is stored already, if it holds the same text.
fn shared_content(new: Arc<str>, old: Option<&Arc<str>>) -> Arc<str> {
    old.filter(|old| **old == new).cloned().unwrap_or(new)
}

/// Labels as they are stored: nothing where nothing is said, the old block where the same is said.
pub(crate) fn shared_labels(labels: Labels, old: Option<&Arc<Labels>>) -> Option<Arc<Labels>> {
    if labels == Labels::default() {
        return None;
    }
    Some(old.filter(|old| ***old == labels).cloned().unwrap_or_else(|| Arc::new(labels)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_may_grow_up_to_the_limit_and_shrink_always() {
        const MAX: usize = limits::CONTENTS_BYTES_MAX;
        for (total, old, new, expected) in [
            (0, 0, MAX, true),
            (0, 0, MAX + 1, false),
            (MAX, 0, 1, false),
            (MAX, 5, 5, true),
            (MAX, 5, 6, false),
            (MAX - 1, 5, 6, true),
            (MAX + 9, 5, 4, true),
        ] {
            assert_eq!(fits(total, old, new, MAX), expected, "{total} {old} {new}");
        }
    }
}
