//! Namespaces: a name and a description for an id. They are labels, not walls: a config may use an
//! id that nobody created, and forgetting a namespace leaves its configs where they are (Nacos).
//! The default namespace is always there and cannot be changed.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use nacolet_model::{Namespace, WallTime, limits};
use serde::{Deserialize, Serialize};

use crate::command::CommandError;

/// What people called a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamespaceInfo {
    pub(crate) name: Box<str>,
    pub(crate) desc: Box<str>,
    pub(crate) created: WallTime,
    pub(crate) modified: WallTime,
}

/// One namespace, as lists show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceView<'a> {
    /// Canonical id; `public` for the default one.
    pub id: &'a str,
    /// Shown to people.
    pub name: &'a str,
    /// A description, may be empty.
    pub desc: &'a str,
    /// Configs in it.
    pub config_count: usize,
    /// Created by somebody; false for the default one.
    pub custom: bool,
}

/// Created namespaces and how many configs each id holds.
#[derive(Clone, Default)]
pub(crate) struct Namespaces {
    custom: BTreeMap<Namespace, NamespaceInfo>,
    configs: BTreeMap<Box<str>, usize>,
}

impl Namespaces {
    /// What Nacos says of the default namespace.
    const PUBLIC_DESC: &'static str = "Default Namespace";

    pub(crate) fn create(
        &mut self,
        id: Namespace,
        info: NamespaceInfo,
    ) -> Result<bool, CommandError> {
        if id.is_public() || self.custom.contains_key(&id) {
            return Err(CommandError::NamespaceExists);
        }
        // The default namespace is one of them.
        if self.custom.len() + 1 >= limits::NAMESPACES_MAX {
            return Err(CommandError::TooManyNamespaces);
        }
        self.custom.insert(id, info);
        Ok(true)
    }

    pub(crate) fn update(
        &mut self,
        id: &Namespace,
        name: Box<str>,
        desc: Box<str>,
        at: WallTime,
    ) -> Result<bool, CommandError> {
        let info = self.custom.get_mut(id).ok_or(CommandError::NamespaceUnknown)?;
        let changed = info.name != name || info.desc != desc;
        *info = NamespaceInfo { name, desc, created: info.created, modified: at };
        Ok(changed)
    }

    pub(crate) fn remove(&mut self, id: &Namespace) -> bool {
        self.custom.remove(id).is_some()
    }

    /// Takes back what a Raft snapshot holds; `None` for what it cannot hold.
    pub(crate) fn restore(&mut self, id: Namespace, info: NamespaceInfo) -> Option<()> {
        if id.is_public() || self.custom.insert(id, info).is_some() { None } else { Some(()) }
    }

    pub(crate) fn custom(&self) -> &BTreeMap<Namespace, NamespaceInfo> {
        &self.custom
    }

    pub(crate) fn count_config(&mut self, id: &str) {
        match self.configs.get_mut(id) {
            Some(count) => *count += 1,
            None => {
                self.configs.insert(id.into(), 1);
            }
        }
    }

    pub(crate) fn forget_config(&mut self, id: &str) {
        if let Some(count) = self.configs.get_mut(id) {
            *count -= 1;
            if *count == 0 {
                self.configs.remove(id);
            }
        }
    }

    pub(crate) fn config_count(&self, id: &str) -> usize {
        self.configs.get(id).copied().unwrap_or(0)
    }

    /// The default namespace, then the created ones by id.
    pub(crate) fn views(&self) -> impl Iterator<Item = NamespaceView<'_>> {
        let public = NamespaceView {
            id: Namespace::PUBLIC,
            name: Namespace::PUBLIC,
            desc: Self::PUBLIC_DESC,
            config_count: self.config_count(Namespace::PUBLIC),
            custom: false,
        };
        let custom = self.custom.iter().map(|(id, info)| NamespaceView {
            id: id.as_str(),
            name: &info.name,
            desc: &info.desc,
            config_count: self.config_count(id.as_str()),
            custom: true,
        });
        core::iter::once(public).chain(custom)
    }

    pub(crate) fn counts(&self) -> &BTreeMap<Box<str>, usize> {
        &self.configs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str) -> NamespaceInfo {
        let at = WallTime(1);
        NamespaceInfo { name: name.into(), desc: "".into(), created: at, modified: at }
    }

    fn id(text: &str) -> Namespace {
        Namespace::parse(text).expect("a valid id")
    }

    #[test]
    fn the_default_namespace_is_always_there_and_stays_as_it_is() {
        let mut namespaces = Namespaces::default();
        assert_eq!(namespaces.create(id(""), info("x")), Err(CommandError::NamespaceExists));
        let update = namespaces.update(&id("public"), "x".into(), "".into(), WallTime(2));
        assert_eq!(update, Err(CommandError::NamespaceUnknown));
        assert!(!namespaces.remove(&id("public")));
        assert_eq!(namespaces.views().count(), 1);
    }

    #[test]
    fn there_are_as_many_namespaces_as_the_limit_says() {
        let mut namespaces = Namespaces::default();
        for number in 1..limits::NAMESPACES_MAX {
            let created = namespaces.create(id(&alloc::format!("n{number}")), info("x"));
            assert_eq!(created, Ok(true));
        }
        assert_eq!(namespaces.views().count(), limits::NAMESPACES_MAX);
        let beyond = namespaces.create(id("beyond"), info("x"));
        assert_eq!(beyond, Err(CommandError::TooManyNamespaces));
    }
}
