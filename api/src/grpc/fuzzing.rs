//! Fuzzy watches without clients. Only with the feature `fuzzing`.

use std::collections::BTreeSet;
use std::rc::Rc;

use nacolet_model::{ConfigKey, ServiceKey};

use crate::grpc::client::pattern;
use crate::grpc::client::pattern::{Pattern, Step, WatchedKind};

/// Whether a pattern means a name; none where it is no pattern.
#[must_use]
pub fn matches(text: &str, namespace: &str, group: &str, name: &str) -> Option<bool> {
    Pattern::parse(WatchedKind::Config, text).map(|pattern| pattern.matches(namespace, group, name))
}

/// The config that a text names, and the text that names it.
#[must_use]
pub fn config(text: &str) -> Option<(ConfigKey, Rc<str>)> {
    let key = pattern::config_key(text)?;
    let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
    let name = pattern::config_name(namespace, group, key.data_id.as_str());
    Some((key, name))
}

/// The service that a text names, and the text that names it.
#[must_use]
pub fn service(text: &str) -> Option<(ServiceKey, Rc<str>)> {
    let key = pattern::service_key(text)?;
    let name = pattern::service_name(key.namespace.as_str(), key.group.as_str(), key.name.as_str());
    Some((key, name))
}

/// What one client knows of one pattern, and what it is owed.
#[derive(Debug)]
pub struct Watch(pattern::PatternWatch);

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// These came.
    Batch(Vec<Rc<str>>),
    /// That was everything.
    Finish,
    /// One came (true) or went.
    Change(Rc<str>, bool),
}

impl Watch {
    /// For a client that knows `known` where there is `matched`.
    #[must_use]
    pub fn begin(known: BTreeSet<Rc<str>>, matched: &BTreeSet<Rc<str>>, is_new: bool) -> Self {
        Self(pattern::PatternWatch::begin(known, matched, |_| true, is_new))
    }

    /// A name came or went.
    pub fn note(&mut self, name: &Rc<str>, is_there: bool) {
        self.0.note(name, is_there);
    }

    /// Whether there is something to say.
    #[must_use]
    pub fn is_owed(&self) -> bool {
        self.0.is_owed()
    }

    /// What to say now.
    pub fn say(&mut self) -> Option<Told> {
        self.0.next().map(|step| match step {
            Step::Batch { names, .. } => {
                Told::Batch(names.iter().map(|(name, _)| Rc::clone(name)).collect())
            }
            Step::Finish => Told::Finish,
            Step::Change { name, is_there } => Told::Change(name, is_there),
        })
    }

    /// The client has heard it.
    pub fn acknowledged(&mut self) {
        self.0.acknowledged();
    }
}
