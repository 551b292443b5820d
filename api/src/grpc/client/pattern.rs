//! Fuzzy watch, the pure part (Nacos 3.x): which names a pattern means, which of them a client was
//! told of, and what it has to be told next. Names are the texts that travel:
//! `dataId+group+namespace` of a config, `namespace@@group@@service` of a service.
//!
//! ```text
//!   begin ──► additions in batches ──► finish ──► one change at a time, for ever
//!                   ▲ each step waits until the client has acknowledged the one before
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use nacolet_model::{ConfigKey, DataId, Group, Namespace, ServiceKey, ServiceName, limits};

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WatchedKind {
    Config,
    Service,
}

/// `namespace>>group>>name`, with stars at the ends of the latter two.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pattern {
    pub(crate) kind: WatchedKind,
    /// As the client wrote it: answers name it so.
    pub(crate) text: Box<str>,
    pub(crate) namespace: Box<str>,
    group: Like,
    name: Like,
}

impl Pattern {
    /// The pattern in a text; none where it is too long. One without three parts, or whose
    /// namespace cannot be one, means nothing, and may be watched all the same (Nacos).
    pub(crate) fn parse(kind: WatchedKind, text: &str) -> Option<Self> {
        if text.len() > limits::FUZZY_PATTERN_BYTES_MAX {
            return None;
        }
        let (namespace, group, name) =
            Self::parts(text).unwrap_or((Namespace::PUBLIC, Like::Nothing, Like::Nothing));
        Some(Self { kind, text: text.into(), namespace: namespace.into(), group, name })
    }

    fn parts(text: &str) -> Option<(&str, Like, Like)> {
        let mut parts = text.split(">>");
        let (namespace, group, name) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || group.is_empty() || name.is_empty() {
            return None;
        }
        let namespace = Namespace::canonical(namespace.trim()).ok()?;
        Some((namespace, Like::new(group), Like::new(name)))
    }

    /// Whether no name can be meant.
    pub(crate) fn means_nothing(&self) -> bool {
        self.name == Like::Nothing
    }

    /// Whether a name in its parts is meant.
    pub(crate) fn matches(&self, namespace: &str, group: &str, name: &str) -> bool {
        *self.namespace == *namespace && self.group.is_met(group) && self.name.is_met(name)
    }
}

impl Pattern {
    /// Whether a name as it travels is meant. A text that is no name is nobody's, so it counts as
    /// meant.
    pub(crate) fn means(&self, name: &str) -> bool {
        match self.kind {
            WatchedKind::Config => {
                config_key(name).is_none_or(|ConfigKey { namespace, group, data_id }| {
                    self.matches(namespace.as_str(), group.as_str(), data_id.as_str())
                })
            }
            WatchedKind::Service => {
                service_key(name).is_none_or(|ServiceKey { namespace, group, name }| {
                    self.matches(namespace.as_str(), group.as_str(), name.as_str())
                })
            }
        }
    }
}

/// `*`, `*text`, `text*`, `*text*` or the text itself; a star elsewhere means nothing (Nacos
/// `FuzzyGroupKeyPattern`). Made once, and asked for every name there is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Like {
    Any,
    Contains(Box<str>),
    EndsWith(Box<str>),
    StartsWith(Box<str>),
    Is(Box<str>),
    Nothing,
}

impl Like {
    fn new(pattern: &str) -> Self {
        let bare = || pattern.replace('*', "").into();
        match (pattern.strip_prefix('*'), pattern.ends_with('*')) {
            (Some(""), _) => Self::Any,
            (Some(_), true) => Self::Contains(bare()),
            (Some(_), false) => Self::EndsWith(bare()),
            (None, true) => Self::StartsWith(bare()),
            (None, false) => Self::Is(pattern.into()),
        }
    }

    fn is_met(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Contains(part) => text.contains(&**part),
            Self::EndsWith(part) => text.ends_with(&**part),
            Self::StartsWith(part) => text.starts_with(&**part),
            Self::Is(whole) => **whole == *text,
            Self::Nothing => false,
        }
    }
}

/// Names travel as texts.
pub(crate) fn config_name(namespace: &str, group: &str, data_id: &str) -> Rc<str> {
    // None of the characters that Nacos escapes may be in an identifier.
    format!("{data_id}+{group}+{namespace}").into()
}

/// See [`config_name`].
pub(crate) fn service_name(namespace: &str, group: &str, name: &str) -> Rc<str> {
    format!("{namespace}@@{group}@@{name}").into()
}

/// The config that a text names.
pub(crate) fn config_key(text: &str) -> Option<ConfigKey> {
    let mut parts = text.split('+');
    let (data_id, group) = (DataId::new(parts.next()?).ok()?, Group::new(parts.next()?).ok()?);
    let namespace = Namespace::parse(parts.next().unwrap_or_default()).ok()?;
    parts.next().is_none().then_some(ConfigKey { namespace, group, data_id })
}

/// The service that a text names.
pub(crate) fn service_key(text: &str) -> Option<ServiceKey> {
    let mut parts = text.splitn(3, "@@");
    let namespace = Namespace::parse(parts.next()?).ok()?;
    let (group, name) = (Group::new(parts.next()?).ok()?, ServiceName::new(parts.next()?).ok()?);
    Some(ServiceKey { namespace, group, name })
}

/// What one client knows of one pattern, and what it is owed.
#[derive(Debug)]
pub(crate) struct PatternWatch {
    known: BTreeSet<Rc<str>>,
    /// Names that came (true) or went.
    owed: BTreeMap<Rc<str>, bool>,
    under_way: Vec<(Rc<str>, bool)>,
    /// Names that were said and not acknowledged: the client may know of them or not. All are owed.
    doubtful: BTreeSet<Rc<str>>,
    /// It waits for the word that it has seen everything.
    is_new: bool,
    is_finishing: bool,
    /// What is owed is the difference that a client asked for, not a change.
    is_resync: bool,
}

/// The next thing to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// These came, and so many batches are left, this one included.
    Batch { names: &'a [(Rc<str>, bool)], batches: usize, is_new: bool },
    /// That was everything.
    Finish,
    /// One came (true) or went.
    Change { name: Rc<str>, is_there: bool },
}

impl PatternWatch {
    /// For a client that knows the names in `known`, of which those in `gone` are none any more.
    pub(crate) fn begin(
        known: BTreeSet<Rc<str>>,
        matched: &BTreeSet<Rc<str>>,
        gone: impl Fn(&str) -> bool,
        is_new: bool,
    ) -> Self {
        let came = matched.difference(&known).map(|name| (Rc::clone(name), true));
        let went = known.difference(matched).filter(|name| gone(name));
        let owed = came.chain(went.map(|name| (Rc::clone(name), false))).collect();
        let (under_way, doubtful) = (Vec::new(), BTreeSet::new());
        Self { owed, known, under_way, doubtful, is_new, is_finishing: false, is_resync: true }
    }

    /// A name came or went.
    pub(crate) fn note(&mut self, name: &Rc<str>, is_there: bool) {
        if self.known.contains(name) != is_there || self.doubtful.contains(name) {
            self.owed.insert(Rc::clone(name), is_there);
        } else {
            self.owed.remove(name);
        }
    }

    /// Whether there is something to say.
    pub(crate) fn is_owed(&self) -> bool {
        self.is_new || !self.owed.is_empty()
    }

    /// What to say now. Names that went are told one by one: clients of services take every name in
    /// a batch for one that came.
    pub(crate) fn next(&mut self) -> Option<Step<'_>> {
        (self.is_finishing, self.under_way) = (false, Vec::new());
        let gone = self.owed.iter().find(|(_, is_there)| !**is_there);
        let is_alone = !self.is_new && (self.owed.len() == 1 || !self.is_resync);
        let alone = gone.or_else(|| self.owed.first_key_value().filter(|_| is_alone));
        if let Some((name, &is_there)) = alone {
            let name = Rc::clone(name);
            self.say([(Rc::clone(&name), is_there)]);
            return Some(Step::Change { name, is_there });
        }
        match self.owed.len() {
            1.. => {
                let batches = self.owed.len().div_ceil(limits::FUZZY_BATCH_NAMES);
                let names = self.owed.keys().take(limits::FUZZY_BATCH_NAMES);
                let names: Vec<_> = names.map(|name| (Rc::clone(name), true)).collect();
                self.say(names);
                Some(Step::Batch { names: &self.under_way, batches, is_new: self.is_new })
            }
            0 => {
                self.is_resync = false;
                self.is_finishing = self.is_new;
                self.is_new.then_some(Step::Finish)
            }
        }
    }

    fn say(&mut self, names: impl IntoIterator<Item = (Rc<str>, bool)>) {
        self.under_way.extend(names);
        self.doubtful.extend(self.under_way.iter().map(|(name, _)| Rc::clone(name)));
    }

    /// The client has heard the last step.
    pub(crate) fn acknowledged(&mut self) {
        for (name, is_there) in std::mem::take(&mut self.under_way) {
            self.doubtful.remove(&name);
            if self.owed.get(&name) == Some(&is_there) {
                self.owed.remove(&name);
            }
            if is_there {
                self.known.insert(name);
            } else {
                self.known.remove(&name);
            }
        }
        if std::mem::take(&mut self.is_finishing) {
            self.is_new = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use nacolet_model::Prng;

    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_nacos() {
        let check = |pattern: &str, name: (&str, &str, &str), expected: bool| {
            let parsed = Pattern::parse(WatchedKind::Config, pattern).expect(pattern);
            assert_eq!(parsed.matches(name.0, name.1, name.2), expected, "{pattern} {name:?}");
        };
        check("public>>G>>a", ("public", "G", "a"), true);
        check(">>G>>a", ("public", "G", "a"), true);
        check("dev>>G>>a", ("public", "G", "a"), false);
        check("public>>*>>*", ("public", "G", "a"), true);
        check("public>>G*>>*.yaml", ("public", "GROUP", "a.yaml"), true);
        check("public>>G*>>*.yaml", ("public", "xG", "a.yaml"), false);
        check("public>>*OU*>>app*", ("public", "GROUP", "app.yaml"), true);
        check("public>>*OU*>>app*", ("public", "GROUP", "my-app"), false);
        check("public>>G>>a*b", ("public", "G", "axb"), false);
        for wrong in ["", "public", "public>>G", "public>>>>a", "a>>b>>c>>d", "ü>>G>>a"] {
            check(wrong, ("public", "G", "a"), false);
            let parsed = Pattern::parse(WatchedKind::Config, wrong).expect(wrong);
            assert!(parsed.means_nothing(), "{wrong}");
        }
        let long = format!("public>>G>>{}", "a".repeat(limits::FUZZY_PATTERN_BYTES_MAX));
        assert_eq!(Pattern::parse(WatchedKind::Service, &long), None);
    }

    #[test]
    fn names_survive_the_way_to_text_and_back() {
        let config = config_name("public", "G", "a.b:c");
        let key = config_key(&config).expect("a name");
        assert_eq!(config_name(key.namespace.as_str(), "G", key.data_id.as_str()), config);
        assert_eq!(config_key("a+G").expect("blank").namespace.as_str(), "public");
        let service = service_name("dev", "G", "a.b");
        assert_eq!(service_key(&service).expect("a name").name.as_str(), "a.b");
        for wrong in ["", "a", "a+b+c+d", "a b+G+c"] {
            assert_eq!(config_key(wrong), None, "{wrong}");
        }
    }

    fn names(count: usize) -> BTreeSet<Rc<str>> {
        (0..count).map(|number| config_name("public", "G", &number.to_string())).collect()
    }

    #[test]
    fn a_new_client_hears_all_in_batches_and_then_that_this_was_all() {
        let count = 2 * limits::FUZZY_BATCH_NAMES + 1;
        let mut watch = PatternWatch::begin(BTreeSet::new(), &names(count), |_| true, true);
        let (mut heard, mut steps) = (0, Vec::new());
        while watch.is_owed() {
            match watch.next().expect("owed") {
                Step::Batch { names, batches, is_new } => {
                    assert!(is_new);
                    heard += names.len();
                    steps.push(batches);
                }
                Step::Finish => steps.push(0),
                Step::Change { .. } => panic!("nothing changed"),
            }
            watch.acknowledged();
        }
        assert_eq!((heard, steps), (count, vec![3, 2, 1, 0]));
        assert_eq!(watch.next(), None);
    }

    #[test]
    fn one_that_comes_back_hears_the_difference_only() {
        let mut known = names(3);
        known.insert(config_name("public", "G", "gone"));
        known.insert(config_name("public", "G", "beyond the limit"));
        let gone = |name: &str| name.starts_with("gone");
        let mut watch = PatternWatch::begin(known, &names(5), gone, false);
        let Some(Step::Change { name, is_there: false }) = watch.next() else { panic!("gone") };
        assert!(name.starts_with("gone"));
        watch.acknowledged();
        let Some(Step::Batch { names, batches: 1, is_new: false }) = watch.next() else {
            panic!("two are new")
        };
        assert_eq!(names.len(), 2);
        watch.acknowledged();
        assert!(!watch.is_owed());
    }

    #[test]
    fn whatever_happens_meanwhile_the_client_ends_up_knowing_what_is_there() {
        let mut random = Prng::new(17);
        for _ in 0..500 {
            let mut there = names(usize::try_from(random.below(8)).expect("small"));
            let mut watch = PatternWatch::begin(BTreeSet::new(), &there, |_| true, true);
            let mut told: BTreeSet<Rc<str>> = BTreeSet::new();
            let mut busy = 30;
            while busy > 0 || watch.is_owed() {
                let said: Vec<(Rc<str>, bool)> = match watch.next() {
                    Some(Step::Batch { names, .. }) => names.to_vec(),
                    Some(Step::Change { name, is_there }) => vec![(name, is_there)],
                    Some(Step::Finish) | None => Vec::new(),
                };
                if busy > 0 {
                    busy -= 1;
                    let name = config_name("public", "G", &random.below(8).to_string());
                    let is_there = random.below(2) == 0;
                    if is_there {
                        there.insert(Rc::clone(&name))
                    } else {
                        there.remove(&name)
                    };
                    watch.note(&name, is_there);
                }
                // One in three steps is lost, or its acknowledgement is.
                let is_heard = random.below(3) > 0;
                if is_heard || random.below(2) == 0 {
                    for (name, is_there) in said {
                        if is_there {
                            told.insert(name)
                        } else {
                            told.remove(&name)
                        };
                    }
                }
                if is_heard {
                    watch.acknowledged();
                }
            }
            assert_eq!(told, there);
        }
    }
}
