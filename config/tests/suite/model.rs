//! The store against a model that is too simple to be wrong: maps of owned texts, history in plain
//! lists, no sharing. Seeded commands over few keys, so that every kind of command meets every kind
//! of state; on the way, replays of old indexes and rounds through a Raft snapshot.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use nacolet_config::{
    Caller, Change, Command, CommandError, Gray, GrayName, HistoryOp, Inherit, LabelRule,
    LabelSyntax, Labels, Operator, Publish, Remove, Response, Search, SearchMode, Store,
};
use nacolet_model::{ConfigKey, Prng, WallTime, limits};

use crate::{chunks, key, load};

const KEYS: [&str; 6] =
    ["public/G/a", "public/G/b", "public/G.x/a", "dev/G/a", "dev/H/a", "devel/G/a"];
const CONTENTS: [&str; 4] = ["one", "two", "three", "一"];
const IPS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
const RULES: [&str; 2] = ["a", "b"];
const TAGS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

#[derive(Clone, Debug, PartialEq)]
struct Version {
    content: String,
    app_name: String,
    tags: Vec<String>,
    user: String,
    modified: u64,
}

#[derive(Default)]
struct Slot {
    config: Option<(u64, Version)>,
    grays: BTreeMap<GrayName, (Vec<String>, Version)>,
    /// Newest first: id, what was done, content, which version.
    history: Vec<(u64, HistoryOp, String, Option<GrayName>)>,
}

#[derive(Default)]
struct Model {
    slots: BTreeMap<ConfigKey, Slot>,
    applied: u64,
}

impl Model {
    /// What the command answers, and whether a listener may see something else now.
    fn apply(&mut self, index: u64, command: &Command) -> (Result<Response, CommandError>, bool) {
        if index <= self.applied {
            return (Err(CommandError::AlreadyApplied), false);
        }
        self.applied = index;
        match command {
            Command::Publish(publish) => self.publish(index, publish),
            Command::Remove(remove) => self.remove(index, remove),
            Command::CreateNamespace { .. }
            | Command::UpdateNamespace { .. }
            | Command::RemoveNamespace { .. }
            | Command::Room { .. } => panic!("not drawn here"),
        }
    }

    fn publish(&mut self, index: u64, publish: &Publish) -> (Result<Response, CommandError>, bool) {
        let slot = self.slots.entry(publish.key.clone()).or_default();
        let name = publish.gray.as_ref().map(Gray::name);
        let (rule, old) = match &name {
            None => (Vec::new(), slot.config.clone().map(|(_, version)| version)),
            Some(name) => match slot.grays.get(name).cloned() {
                Some((ips, version)) => (ips, Some(version)),
                None => (Vec::new(), None),
            },
        };
        let stored = old.as_ref().map(|old| nacolet_config::Md5::of(&old.content));
        if publish.cas_md5.is_some() && stored.is_some() && publish.cas_md5 != stored {
            return (Err(CommandError::CasMismatch), false);
        }
        if publish.only_new && old.is_some() {
            return (Err(CommandError::ConfigExists), false);
        }
        if name.is_some() && old.is_none() && slot.grays.len() == limits::GRAY_VERSIONS_MAX {
            return (Err(CommandError::TooManyGray), false);
        }
        let mut version = Version {
            content: publish.content.to_string(),
            app_name: publish.labels.app_name.to_string(),
            tags: publish.labels.tags.iter().map(ToString::to_string).collect(),
            user: publish.operator.user.to_string(),
            modified: publish.at.0,
        };
        if let (Some(old), None) = (&old, &name) {
            if publish.inherit.app_name {
                version.app_name.clone_from(&old.app_name);
            }
            if publish.inherit.tags {
                version.tags.clone_from(&old.tags);
            }
        }
        let (op, past) = match &old {
            None => (HistoryOp::Insert, version.content.clone()),
            Some(old) => (HistoryOp::Update, old.content.clone()),
        };
        slot.history.insert(0, (index, op, past, name.clone()));
        slot.history.truncate(limits::HISTORY_PER_CONFIG_MAX);
        let mut changed = old.as_ref().is_none_or(|old| old.content != version.content);
        match &publish.gray {
            None => {
                let id = slot.config.as_ref().map_or(index, |(id, _)| *id);
                slot.config = Some((id, version));
            }
            Some(gray) => {
                let ips: Vec<String> = match gray {
                    Gray::Beta(ips) => ips.iter().map(ToString::to_string).collect(),
                    Gray::Tag(_) => Vec::new(),
                    Gray::Labels(rule) => vec![rule.expr.to_string(), rule.priority.to_string()],
                };
                changed |= ips != rule;
                slot.grays.insert(gray.name(), (ips, version));
            }
        }
        (Ok(Response::Published { created: old.is_none(), md5: publish.md5 }), changed)
    }

    fn remove(&mut self, index: u64, remove: &Remove) -> (Result<Response, CommandError>, bool) {
        let slot = self.slots.entry(remove.key.clone()).or_default();
        let old = match &remove.gray {
            None => slot.config.take().map(|(_, version)| version),
            Some(name) => slot.grays.remove(name).map(|(_, version)| version),
        };
        let existed = old.is_some();
        if let Some(old) = old {
            let item = (index, HistoryOp::Delete, old.content, remove.gray.clone());
            slot.history.insert(0, item);
            slot.history.truncate(limits::HISTORY_PER_CONFIG_MAX);
        }
        (Ok(Response::Removed { existed }), existed)
    }

    fn view(&self, key: &ConfigKey, caller: &Caller<'_>) -> Option<&Version> {
        let slot = self.slots.get(key)?;
        if let Some((ips, version)) = slot.grays.get(&GrayName::Beta)
            && ips.iter().any(|ip| ip == caller.ip)
        {
            return Some(version);
        }
        let tag = caller.tag.map(|tag| GrayName::Tag(tag.into()));
        if let Some((_, version)) = tag.and_then(|name| slot.grays.get(&name)) {
            return Some(version);
        }
        let fits = caller.labels.first().map(|(name, value)| format!("{name}={value}"));
        let rules = slot.grays.iter().filter(|(name, _)| matches!(name, GrayName::Labels(_)));
        let fitting = rules.filter(|(_, (rule, _))| Some(&rule[0]) == fits.as_ref());
        let priority = |rule: &[String]| rule[1].parse::<i32>().expect("a number");
        // Of the highest the first by name.
        let best = fitting.rev().max_by_key(|(_, (rule, _))| priority(rule));
        best.map(|(_, (_, version))| version)
            .or_else(|| slot.config.as_ref().map(|(_, version)| version))
    }
}

fn pick<'a>(prng: &mut Prng, from: &[&'a str]) -> &'a str {
    from[prng.index(from.len())]
}

pub(crate) fn draw(prng: &mut Prng, at: u64) -> Command {
    let key = key(pick(prng, &KEYS));
    let operator =
        Operator { user: pick(prng, &["ann", "bob"]).into(), ip: pick(prng, &IPS).into() };
    let at = WallTime(at);
    if prng.chance(1, 5) {
        let gray = match prng.below(5) {
            0 => Some(GrayName::Beta),
            1 => Some(GrayName::Tag(pick(prng, &TAGS).into())),
            2 => Some(GrayName::Labels(pick(prng, &RULES).into())),
            _ => None,
        };
        return Remove { key, gray, operator, at }.into();
    }
    let content = pick(prng, &CONTENTS);
    let publish = Publish::new(key, content.into(), operator, at).expect("inside the limits");
    let labels = Labels {
        app_name: pick(prng, &["", "shop", "bank"]).into(),
        tags: if prng.chance(1, 2) { vec![pick(prng, &TAGS).into()] } else { Vec::new() },
        ..Labels::default()
    };
    let inherit = Inherit { app_name: prng.chance(1, 3), tags: prng.chance(1, 3) };
    let publish = publish.with_labels(labels, inherit).expect("inside the limits");
    let publish = match prng.below(5) {
        0 => {
            let ips = (0..=prng.below(2)).map(|_| pick(prng, &IPS).into()).collect();
            publish.with_gray(Gray::Beta(ips)).expect("inside the limits")
        }
        1 => publish.with_gray(Gray::Tag(pick(prng, &TAGS).into())).expect("inside the limits"),
        2 => {
            let rule = LabelRule {
                name: pick(prng, &RULES).into(),
                syntax: LabelSyntax::Single,
                expr: format!("env={}", pick(prng, &TAGS)).into(),
                priority: i32::try_from(prng.below(3)).expect("small"),
            };
            publish.with_gray(Gray::Labels(Box::new(rule))).expect("inside the limits")
        }
        _ => publish,
    };
    match prng.below(8) {
        0 => publish.with_cas(&nacolet_config::Md5::of(pick(prng, &CONTENTS)).to_string()).into(),
        1 => publish.only_new().into(),
        _ => publish.into(),
    }
}

fn check_reads(store: &Store, model: &Model) {
    for text in KEYS {
        let key = key(text);
        let (ns, group, id) = (key.namespace.as_str(), key.group.as_str(), key.data_id.as_str());
        for ip in IPS.into_iter().chain(["10.9.9.9"]) {
            for tag in TAGS.into_iter().map(Some).chain([None]) {
                let labels: Vec<_> =
                    tag.map(|tag| ("env".into(), tag.into())).into_iter().collect();
                for tag in [tag, None] {
                    let caller = Caller { ip, tag, labels: &labels };
                    let seen = store.view(ns, group, id, &caller);
                    let wanted = model.view(&key, &caller);
                    assert_eq!(
                        seen.map(|view| (view.content.to_string(), view.modified.0)),
                        wanted.map(|version| (version.content.clone(), version.modified)),
                    );
                }
            }
        }
        let empty = Slot::default();
        let slot = model.slots.get(&key).unwrap_or(&empty);
        let stored = store.get(ns, group, id).map(|config| {
            let version = Version {
                content: config.content.to_string(),
                app_name: config.app_name().into(),
                tags: config.tags().iter().map(ToString::to_string).collect(),
                user: config.operator.user.to_string(),
                modified: config.modified.0,
            };
            (config.id, version)
        });
        assert_eq!(stored, slot.config);
        // In the order of precedence: by priority, then by name.
        let grays = store.grays(ns, group, id);
        assert!(grays.is_sorted_by_key(|gray| (Reverse(gray.gray.priority()), gray.gray.name())));
        let names: BTreeSet<_> = grays.iter().map(|gray| gray.gray.name()).collect();
        assert_eq!(names, slot.grays.keys().cloned().collect::<BTreeSet<_>>());
        assert_eq!(grays.len(), names.len());
        let past = store
            .history(ns, group, id, 1, 100)
            .items
            .into_iter()
            .map(|item| (item.id, item.op, item.content.to_string(), item.gray().cloned()));
        assert_eq!(past.collect::<Vec<_>>(), slot.history);
    }
}

fn check_search(store: &Store, model: &Model) {
    for app_name in ["", "shop"] {
        for (mode, data_id) in [(SearchMode::Accurate, "a"), (SearchMode::Blur, "*")] {
            let query = Search {
                namespace: "dev",
                data_id,
                mode,
                app_name,
                page_size: 10,
                ..Search::default()
            };
            let found = store.search(&query).items.into_iter();
            let found: Vec<_> = found.map(|(key, _)| key.to_key().expect("a key")).collect();
            let wanted = model.slots.iter().filter(|(key, slot)| {
                key.namespace.as_str() == "dev"
                    && (data_id == "*" || key.data_id.as_str() == data_id)
                    && slot.config.as_ref().is_some_and(|(_, version)| {
                        app_name.is_empty() || version.app_name == app_name
                    })
            });
            assert_eq!(found, wanted.map(|(key, _)| key.clone()).collect::<Vec<_>>());
        }
    }
}

fn run(seed: u64, steps: u64) {
    let mut prng = Prng::new(seed);
    let (mut store, mut model) = (Store::new(), Model::default());
    let mut index = 0;
    for step in 0..steps {
        // Indexes have gaps, for Raft writes entries of its own, and sometimes come again.
        let again = index > 0 && prng.chance(1, 20);
        let next = if again { 1 + prng.below(index) } else { index + 1 + prng.below(2) };
        index = index.max(next);
        let command = draw(&mut prng, step);
        let before = store.state_hash();
        let mut changes = Vec::new();
        let answer = store.apply(next, command.clone(), &mut changes);
        let (wanted, changed) = model.apply(next, &command);
        assert_eq!(answer, wanted, "seed {seed}, step {step}");
        let changed_key = match command {
            Command::Publish(publish) => publish.key,
            Command::Remove(remove) => remove.key,
            Command::CreateNamespace { .. }
            | Command::UpdateNamespace { .. }
            | Command::RemoveNamespace { .. }
            | Command::Room { .. } => panic!("not drawn here"),
        };
        let expected = if changed { vec![Change { key: changed_key }] } else { Vec::new() };
        assert_eq!(changes, expected, "seed {seed}, step {step}");
        assert_eq!(before == store.state_hash(), again, "seed {seed}, step {step}");
        store.invariants();
        if prng.chance(1, 10) {
            check_reads(&store, &model);
            check_search(&store, &model);
        }
        if prng.chance(1, 50) {
            let written = chunks(store.capture());
            let loaded = load(&written).expect("what was written is read");
            loaded.invariants();
            assert_eq!(written, chunks(loaded.capture()));
            assert_eq!(
                (store.applied(), store.state_hash(), store.len()),
                (loaded.applied(), loaded.state_hash(), loaded.len())
            );
            store = loaded;
        }
    }
    check_reads(&store, &model);
}

#[test]
fn the_store_does_what_the_simple_model_does() {
    for seed in 0..12 {
        run(seed, 400);
    }
}

#[test]
fn the_same_commands_give_the_same_bytes_wherever_a_snapshot_lies_between() {
    let mut prng = Prng::new(7);
    let (mut straight, mut broken) = (Store::new(), Store::new());
    for index in 1..1_000 {
        let command = draw(&mut prng, index);
        let mut changes = (Vec::new(), Vec::new());
        let one = straight.apply(index, command.clone(), &mut changes.0);
        let other = broken.apply(index, command, &mut changes.1);
        assert_eq!((one, &changes.0), (other, &changes.1));
        if prng.chance(1, 30) {
            broken = load(&chunks(broken.capture())).expect("what was written is read");
        }
    }
    assert_eq!(straight.state_hash(), broken.state_hash());
    assert_eq!(chunks(straight.capture()), chunks(broken.capture()));
}
