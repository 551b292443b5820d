//! Which names the patterns mean that clients watch, and what clients are told of them.
//! `client::pattern` decides in which steps.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::rc::Rc;

use hyper::body::Bytes;
use nacolet_auth as auth;
use nacolet_model::{ConfigKey, Namespace, ServiceKey, limits};
use nacolet_registry::ServiceQuery;
use serde::Serialize;
use smol::future::yield_now;

use crate::access::about::Whole;
use crate::grpc::client::pattern::{
    Pattern, Step, WatchedKind, config_key, config_name, service_key, service_name,
};
use crate::grpc::client::{Client, Subject};
use crate::grpc::message::{self, Refusal};
use crate::grpc::tell::interest;
use crate::grpc::zone::GrpcZone;
use crate::grpc::zone::index::PatternNames;

/// A look at all names there are, for a client that will watch a pattern. The pattern is watched
/// meanwhile, whether or not the client stays: a change is then either seen by the look or heard
/// of.
pub(crate) struct Look<'z> {
    zone: &'z GrpcZone,
    pub(crate) pattern: Rc<Pattern>,
}

impl<'z> Look<'z> {
    pub(crate) fn begin(zone: &'z GrpcZone, pattern: Pattern) -> Result<Self, Refusal> {
        let mut patterns = zone.patterns.0.borrow_mut();
        let known = patterns.get_key_value(&pattern).map(|(pattern, _)| Rc::clone(pattern));
        let pattern = match known {
            Some(pattern) => pattern,
            None if !zone.counts.patterns.enter(&pattern) => {
                return Err(Refusal::TOO_MANY_PATTERNS);
            }
            None => {
                match pattern.kind {
                    WatchedKind::Config => zone.feed.configs.want(),
                    WatchedKind::Service => zone.feed.services.want(),
                }
                Rc::new(pattern)
            }
        };
        patterns.entry(Rc::clone(&pattern)).or_default().lookers += 1;
        Ok(Self { zone, pattern })
    }

    /// Takes in the names that the pattern means, unless another look has.
    pub(crate) async fn complete(&self) {
        let mut walk = NameWalk::default();
        while !self.step(&mut walk) {
            yield_now().await;
        }
    }

    /// One step, whose names are taken in before anything can change; true once all are.
    fn step(&self, walk: &mut NameWalk) -> bool {
        let mut patterns = self.zone.patterns.0.borrow_mut();
        let Some(watched) = patterns.get_mut(&self.pattern) else { return true };
        if !watched.is_complete {
            let room = limits::FUZZY_MATCHES_MAX - watched.matched.len();
            watched.is_complete = walk.step(self.zone, &self.pattern, room, &mut watched.matched);
            watched.was_full = watched.is_full();
        }
        watched.is_complete
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let mut patterns = self.zone.patterns.0.borrow_mut();
        if let Some(watched) = patterns.get_mut(&self.pattern) {
            watched.lookers -= 1;
        }
        interest::drop_unwatched(self.zone, &mut patterns, &self.pattern);
    }
}

/// How far a look at the names of a namespace has come.
#[derive(Default)]
struct NameWalk(nacolet_config::Walk);

impl NameWalk {
    /// Looks at the names that come next, and takes in those that the pattern means, at most `room`
    /// of them. True when there are no more, or no more room. There are so few services that one
    /// step sees them all.
    fn step(
        &mut self,
        zone: &GrpcZone,
        pattern: &Pattern,
        room: usize,
        names: &mut BTreeSet<Rc<str>>,
    ) -> bool {
        let end = names.len() + room;
        if pattern.means_nothing() {
            return true;
        }
        match pattern.kind {
            WatchedKind::Config => {
                let configs = zone.state.configs();
                let mut left = limits::WALK_STEP_NAMES;
                let is_done = configs.walk(Some(&pattern.namespace), &mut self.0, |key, _| {
                    if pattern.matches(key.namespace, key.group, key.data_id) {
                        names.insert(config_name(key.namespace, key.group, key.data_id));
                    }
                    left -= 1;
                    let goes_on = left > 0 && names.len() < end;
                    if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
                is_done || names.len() >= end
            }
            WatchedKind::Service => {
                let registry = zone.state.registry();
                let keys = registry.services(&ServiceQuery::all(&pattern.namespace));
                let meant = keys
                    .map(nacolet_registry::Service::key)
                    .map(|key| (key.namespace.as_str(), key.group.as_str(), key.name.as_str()))
                    .filter(|(namespace, group, name)| pattern.matches(namespace, group, name))
                    .map(|(namespace, group, name)| service_name(namespace, group, name));
                for name in meant {
                    if names.len() >= end {
                        break;
                    }
                    names.insert(name);
                }
                true
            }
        }
    }
}

/// The names that a pattern means now, as many as may be. Others have their turn meanwhile.
async fn matches(zone: &GrpcZone, pattern: &Pattern) -> BTreeSet<Rc<str>> {
    let (mut walk, mut names) = (NameWalk::default(), BTreeSet::new());
    loop {
        let room = limits::FUZZY_MATCHES_MAX - names.len();
        let is_done = walk.step(zone, pattern, room, &mut names);
        yield_now().await;
        if is_done {
            return names;
        }
    }
}

pub(crate) fn is_there(zone: &GrpcZone, kind: WatchedKind, name: &str) -> bool {
    match kind {
        WatchedKind::Config => config_key(name).is_some_and(|key| has_config(zone, &key)),
        WatchedKind::Service => service_key(name).is_some_and(|key| has_service(zone, &key)),
    }
}

fn has_config(zone: &GrpcZone, key: &ConfigKey) -> bool {
    let ConfigKey { namespace, group, data_id } = key;
    zone.state.configs().get(namespace.as_str(), group.as_str(), data_id.as_str()).is_some()
}

fn has_service(zone: &GrpcZone, key: &ServiceKey) -> bool {
    let ServiceKey { namespace, group, name } = key;
    zone.state.registry().service(namespace.as_str(), group.as_str(), name.as_str()).is_some()
}

/// Configs changed: came, went, or have another content.
pub(crate) async fn configs_changed<'a>(
    zone: &GrpcZone,
    keys: impl Iterator<Item = &'a ConfigKey>,
) {
    if zone.patterns.0.borrow().keys().all(|pattern| pattern.kind != WatchedKind::Config) {
        return;
    }
    for key in keys {
        let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
        let parts = (namespace, group, key.data_id.as_str());
        let name = config_name(parts.0, parts.1, parts.2);
        changed(zone, WatchedKind::Config, parts, &name, has_config(zone, key));
    }
    refill(zone, WatchedKind::Config).await;
}

/// Services changed: came, went, or have another list.
pub(crate) async fn services_changed<'a>(
    zone: &GrpcZone,
    keys: impl Iterator<Item = &'a ServiceKey>,
) {
    if zone.patterns.0.borrow().keys().all(|pattern| pattern.kind != WatchedKind::Service) {
        return;
    }
    for key in keys {
        let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
        let parts = (namespace, group, key.name.as_str());
        let name = service_name(parts.0, parts.1, parts.2);
        changed(zone, WatchedKind::Service, parts, &name, has_service(zone, key));
    }
    refill(zone, WatchedKind::Service).await;
}

fn changed(
    zone: &GrpcZone,
    kind: WatchedKind,
    parts: (&str, &str, &str),
    name: &Rc<str>,
    is_there: bool,
) {
    let mut patterns = zone.patterns.0.borrow_mut();
    for (pattern, watched) in patterns.iter_mut().filter(|(pattern, _)| pattern.kind == kind) {
        let is_known = watched.matched.contains(name);
        let is_news = is_known != is_there && pattern.matches(parts.0, parts.1, parts.2);
        if !is_news || (is_there && watched.is_full()) {
            continue;
        }
        if is_there {
            watched.matched.insert(Rc::clone(name));
        } else {
            watched.matched.remove(name);
        }
        tell(zone, pattern, watched, name, is_there);
    }
}

fn tell(
    zone: &GrpcZone,
    pattern: &Rc<Pattern>,
    watched: &PatternNames,
    name: &Rc<str>,
    is_there: bool,
) {
    for client in watched.clients.iter().filter_map(|id| zone.client(*id)) {
        let mut watches = client.watches.borrow_mut();
        let Some((watch, _)) = watches.get_mut(pattern) else { continue };
        watch.note(name, is_there);
        let is_owed = watch.is_owed();
        drop(watches);
        if is_owed {
            client.owe(Subject::Pattern(Rc::clone(pattern)));
        }
    }
}

/// A pattern that was full and is not any more takes names in that were left out.
async fn refill(zone: &GrpcZone, kind: WatchedKind) {
    for pattern in patterns_of(zone, kind) {
        let lacks = {
            let mut patterns = zone.patterns.0.borrow_mut();
            patterns.get_mut(&pattern).is_some_and(|watched| {
                let is_full = watched.is_full();
                std::mem::replace(&mut watched.was_full, is_full) && !is_full
            })
        };
        if lacks {
            look_again(zone, &pattern).await;
        }
    }
}

/// Anything may have changed.
pub(crate) async fn everything_changed(zone: &GrpcZone, kind: WatchedKind) {
    for pattern in patterns_of(zone, kind) {
        look_again(zone, &pattern).await;
    }
}

fn patterns_of(zone: &GrpcZone, kind: WatchedKind) -> Vec<Rc<Pattern>> {
    let patterns = zone.patterns.0.borrow();
    patterns.keys().filter(|pattern| pattern.kind == kind).cloned().collect()
}

/// What changes meanwhile is heard of when this is done: the same task hears of it.
async fn look_again(zone: &GrpcZone, pattern: &Rc<Pattern>) {
    let now = matches(zone, pattern).await;
    let mut patterns = zone.patterns.0.borrow_mut();
    let Some(watched) = patterns.get_mut(pattern) else { return };
    let before = std::mem::replace(&mut watched.matched, now);
    watched.was_full = watched.is_full();
    for name in watched.matched.difference(&before) {
        tell(zone, pattern, watched, name, true);
    }
    for name in before.difference(&watched.matched) {
        // One that has only lost its place in a full pattern is still there.
        if !is_there(zone, pattern.kind, name) {
            tell(zone, pattern, watched, name, false);
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sync<'a> {
    group_key_pattern: &'a str,
    sync_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    contexts: Option<Vec<Name<'a>>>,
    total_batch: usize,
    current_batch: usize,
}

/// Configs and services spell the same things differently.
#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Name<'a> {
    Config { group_key: &'a str, changed_type: &'a str },
    Service { service_key: &'a str, changed_type: &'a str },
}

#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum FuzzyChange<'a> {
    Config { group_key: &'a str, change_type: &'a str },
    Service { service_key: &'a str, changed_type: &'a str, sync_type: &'a str },
}

/// Renders the next thing that a client is told about a pattern, unless it lost interest meanwhile.
pub(crate) fn notice(
    zone: &GrpcZone,
    client: &Client,
    number: u64,
    pattern: &Rc<Pattern>,
) -> Option<Bytes> {
    let user = client.watches.borrow().get(pattern).and_then(|(_, user)| user.clone());
    let kind = match pattern.kind {
        WatchedKind::Config => auth::Kind::Config,
        WatchedKind::Service => auth::Kind::Naming,
    };
    let of =
        Namespace::parse(&pattern.namespace).map(|namespace| Whole { kind, namespace }).ok()?;
    if !interest::may_hear(zone, client, &user, &of) {
        interest::cancel(zone, client, pattern);
        return None;
    }
    let mut watches = client.watches.borrow_mut();
    let Some(step) = watches.get_mut(pattern).and_then(|(watch, _)| watch.next()) else {
        client.outbox.borrow_mut().forget(&Subject::Pattern(Rc::clone(pattern)));
        return None;
    };
    let (module, sync, change) = match pattern.kind {
        WatchedKind::Config => {
            ("config", "ConfigFuzzyWatchSyncRequest", "ConfigFuzzyWatchChangeNotifyRequest")
        }
        WatchedKind::Service => {
            ("naming", "NamingFuzzyWatchSyncRequest", "NamingFuzzyWatchChangeNotifyRequest")
        }
    };
    let group_key_pattern = &*pattern.text;
    Some(match step {
        Step::Finish => {
            let sync_type = "FINISH_FUZZY_WATCH_INIT_NOTIFY";
            // As Nacos has them: a list without items, and batches that count, for services alone.
            let (contexts, batches) = match pattern.kind {
                WatchedKind::Config => (None, 0),
                WatchedKind::Service => (Some(Vec::new()), 1),
            };
            let (total_batch, current_batch) = (batches, batches);
            let body = Sync { group_key_pattern, sync_type, contexts, total_batch, current_batch };
            message::request(sync, number, module, body)
        }
        Step::Batch { names, batches, is_new } => {
            let sync_type =
                if is_new { "FUZZY_WATCH_INIT_NOTIFY" } else { "FUZZY_WATCH_DIFF_SYNC_NOTIFY" };
            let contexts = names.iter().map(|(name, _)| match pattern.kind {
                WatchedKind::Config => Name::Config { group_key: name, changed_type: "ADD_CONFIG" },
                WatchedKind::Service => {
                    Name::Service { service_key: name, changed_type: "ADD_SERVICE" }
                }
            });
            let contexts = Some(contexts.collect());
            let (total_batch, current_batch) = (batches, 1);
            let body = Sync { group_key_pattern, sync_type, contexts, total_batch, current_batch };
            message::request(sync, number, module, body)
        }
        Step::Change { name, is_there } => {
            let body = match pattern.kind {
                WatchedKind::Config => {
                    let change_type = if is_there { "CONFIG_CHANGED" } else { "DELETE_CONFIG" };
                    FuzzyChange::Config { group_key: &name, change_type }
                }
                WatchedKind::Service => {
                    let sync_type = "FUZZY_WATCH_RESOURCE_CHANGED";
                    let changed_type = if is_there { "ADD_SERVICE" } else { "DELETE_SERVICE" };
                    FuzzyChange::Service { service_key: &name, changed_type, sync_type }
                }
            };
            message::request(change, number, module, body)
        }
    })
}
