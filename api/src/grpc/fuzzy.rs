//! Fuzzy watch, the part that touches the state: who watches which pattern on this thread, which names
//! match it, and the messages of both sides. `pattern` decides what a client is told.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use hyper::body::Bytes;
use nacolet_auth as auth;
use nacolet_model::{ConfigKey, Namespace, ServiceKey, limits};
use nacolet_registry::{ClientId, ServiceQuery};
use serde::{Deserialize, Serialize};

use super::client::{Client, Subject};
use super::config::{request, text};
use super::dispatch::{From, Unread};
use super::message::{self, Empty, Refusal, done, failed};
use super::pattern::{
    Kind, Pattern, Step, Watch, config_key, config_name, service_key, service_name,
};
use super::{Zone, watch};
use crate::about::Whole;
use crate::json::{AtMost, object};

/// One pattern on this thread.
#[derive(Debug, Default)]
struct Watched {
    /// The names it means, at most `limits::FUZZY_MATCHES_MAX`.
    matched: BTreeSet<Rc<str>>,
    /// Names may have been left out.
    was_full: bool,
    clients: BTreeSet<ClientId>,
}

impl Watched {
    fn is_full(&self) -> bool {
        self.matched.len() >= limits::FUZZY_MATCHES_MAX
    }
}

/// The patterns that are watched on this thread.
#[derive(Debug, Default)]
pub(super) struct Patterns(RefCell<BTreeMap<Rc<Pattern>, Watched>>);

/// The patterns that are watched on all threads, each with the number of threads.
#[derive(Debug, Default)]
pub(crate) struct Census(Mutex<BTreeMap<Pattern, usize>>);

impl Census {
    /// Counts a pattern in; false when it would be one too many of its kind.
    fn enter(&self, pattern: &Pattern) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(threads) = known.get_mut(pattern) {
            *threads += 1;
            return true;
        }
        let others = known.keys().filter(|other| other.kind == pattern.kind).count();
        let has_room = others < limits::FUZZY_PATTERNS_MAX;
        if has_room {
            known.insert(pattern.clone(), 1);
        }
        has_room
    }

    fn leave(&self, pattern: &Pattern) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(threads) = known.get_mut(pattern) {
            *threads -= 1;
            if *threads == 0 {
                known.remove(pattern);
            }
        }
    }
}

/// `ConfigFuzzyWatchRequest` and `NamingFuzzyWatchRequest`
pub(super) struct Watching {
    id: Option<String>,
    response: &'static str,
    /// Whatever is in the namespace of the pattern: it may mean any of it.
    pub(super) of: Whole,
    pattern: Pattern,
    /// Names that the client knows already. Those that the pattern does not mean are not among them: what
    /// became of them is not for this client.
    received: BTreeSet<Box<str>>,
    is_watch: bool,
    initializing: bool,
}

impl Watching {
    pub(super) fn read(half: Kind, json: &[u8]) -> Result<Self, Unread> {
        type Names = AtMost<String, { limits::FUZZY_RECEIVED_MAX }>;
        request! {
            Wire {
                group_key_pattern: String,
                received_group_keys: Names,
                watch_type: String,
                initializing: bool,
            }
        }
        let wire: Wire = object(json)?;
        let (of, response) = match half {
            Kind::Config => (auth::Kind::Config, "ConfigFuzzyWatchResponse"),
            Kind::Service => (auth::Kind::Naming, "NamingFuzzyWatchResponse"),
        };
        let id = wire.request_id;
        let look = || {
            let pattern = text(wire.group_key_pattern.as_ref());
            let pattern = pattern.and_then(|pattern| Pattern::parse(half, pattern));
            let pattern = pattern.ok_or(Refusal::invalid("groupKeyPattern is illegal"))?;
            let is_watch = match wire.watch_type.as_deref() {
                Some("WATCH") => true,
                Some("CANCEL_WATCH") => false,
                _ => return Err(Refusal::invalid("Unsupported watchType")),
            };
            let said = wire.received_group_keys.unwrap_or_default();
            let said = said.all(|| Refusal::TOO_MANY_MATCHES)?;
            let received = said.iter().filter(|name| pattern.means(name));
            let received = received.map(|name| Box::from(name.as_str())).collect();
            Ok((Namespace::parse(&pattern.namespace)?, pattern, received, is_watch))
        };
        let (namespace, pattern, received, is_watch) = match look() {
            Ok(found) => found,
            Err(refusal) => {
                return Err(Unread::Refused(failed(response, id.as_deref(), &refusal, Empty {})));
            }
        };
        let (of, initializing) =
            (Whole { kind: of, namespace }, wire.initializing.unwrap_or(false));
        Ok(Self { id, response, of, pattern, received, is_watch, initializing })
    }
}

pub(super) fn answer(from: &From<'_>, request: Watching) -> Bytes {
    let Watching { id, response, pattern, received, is_watch, initializing, .. } = request;
    let outcome = if is_watch {
        watch(from, pattern, received, initializing)
    } else {
        cancel(from.zone, from.client, &pattern);
        Ok(())
    };
    match outcome {
        Ok(()) => done(response, id.as_deref(), Empty {}),
        Err(refusal) => failed(response, id.as_deref(), &refusal, Empty {}),
    }
}

fn watch(
    from: &From<'_>,
    pattern: Pattern,
    known: BTreeSet<Box<str>>,
    is_initializing: bool,
) -> Result<(), Refusal> {
    let From { zone, client, .. } = from;
    let known: BTreeSet<Rc<str>> = known.into_iter().map(Rc::from).collect();
    let shared = &zone.state.grpc;
    let mut watches = client.watches.borrow_mut();
    let is_new = !watches.contains_key(&pattern);
    if is_new && !shared.watches.take(limits::FUZZY_WATCHES_MAX) {
        return Err(Refusal::OVERLOADED);
    }
    let mut patterns = zone.patterns.0.borrow_mut();
    let pattern = match patterns.get_key_value(&pattern) {
        Some((pattern, _)) => Rc::clone(pattern),
        None if !shared.patterns.enter(&pattern) => {
            if is_new {
                shared.watches.give_back(1);
            }
            return Err(Refusal::TOO_MANY_PATTERNS);
        }
        None => {
            // Before the first look: a change is then either seen by it or heard of.
            match pattern.kind {
                Kind::Config => zone.feed.configs.want(),
                Kind::Service => zone.feed.services.want(),
            }
            let mut watched = Watched { matched: matches(zone, &pattern), ..Watched::default() };
            watched.was_full = watched.is_full();
            let pattern = Rc::new(pattern);
            patterns.insert(Rc::clone(&pattern), watched);
            pattern
        }
    };
    let watched = patterns.entry(Rc::clone(&pattern)).or_default();
    watched.clients.insert(client.id);
    let gone = |name: &str| !is_there(zone, pattern.kind, name);
    let is_full = watched.is_full();
    let begun = Watch::begin(known, &watched.matched, gone, is_initializing);
    let begun = (begun, from.user.clone());
    let is_owed = begun.0.is_owed();
    watches.insert(Rc::clone(&pattern), begun);
    drop((watches, patterns));
    if is_owed {
        client.owe(Subject::Pattern(pattern));
    }
    if is_full { Err(Refusal::TOO_MANY_MATCHES) } else { Ok(()) }
}

fn cancel(zone: &Zone, client: &Client, pattern: &Pattern) {
    let Some((pattern, _)) = client.watches.borrow_mut().remove_entry(pattern) else { return };
    client.outbox.borrow_mut().forget(&Subject::Pattern(Rc::clone(&pattern)));
    leave(zone, client.id, &pattern);
}

/// A client has gone.
pub(super) fn forget(zone: &Zone, client: &Client) {
    for pattern in client.watches.take().into_keys() {
        leave(zone, client.id, &pattern);
    }
}

fn leave(zone: &Zone, client: ClientId, pattern: &Rc<Pattern>) {
    zone.state.grpc.watches.give_back(1);
    let mut patterns = zone.patterns.0.borrow_mut();
    let Some(watched) = patterns.get_mut(pattern) else { return };
    watched.clients.remove(&client);
    if watched.clients.is_empty() {
        patterns.remove(pattern);
        zone.state.grpc.patterns.leave(pattern);
    }
}

/// The names that a pattern means now, as many as may be.
fn matches(zone: &Zone, pattern: &Pattern) -> BTreeSet<Rc<str>> {
    match pattern.kind {
        Kind::Config => {
            let configs = zone.state.configs();
            let keys = configs.keys(&pattern.namespace).map(|(key, _)| key);
            keys.filter(|key| pattern.matches(key.namespace, key.group, key.data_id))
                .map(|key| config_name(key.namespace, key.group, key.data_id))
                .take(limits::FUZZY_MATCHES_MAX)
                .collect()
        }
        Kind::Service => {
            let registry = zone.state.registry();
            let keys = registry.services(&ServiceQuery::all(&pattern.namespace));
            keys.map(nacolet_registry::Service::key)
                .map(|key| (key.namespace.as_str(), key.group.as_str(), key.name.as_str()))
                .filter(|(namespace, group, name)| pattern.matches(namespace, group, name))
                .map(|(namespace, group, name)| service_name(namespace, group, name))
                .take(limits::FUZZY_MATCHES_MAX)
                .collect()
        }
    }
}

fn is_there(zone: &Zone, kind: Kind, name: &str) -> bool {
    match kind {
        Kind::Config => config_key(name).is_some_and(|key| has_config(zone, &key)),
        Kind::Service => service_key(name).is_some_and(|key| has_service(zone, &key)),
    }
}

fn has_config(zone: &Zone, key: &ConfigKey) -> bool {
    let ConfigKey { namespace, group, data_id } = key;
    zone.state.configs().get(namespace.as_str(), group.as_str(), data_id.as_str()).is_some()
}

fn has_service(zone: &Zone, key: &ServiceKey) -> bool {
    let ServiceKey { namespace, group, name } = key;
    zone.state.registry().service(namespace.as_str(), group.as_str(), name.as_str()).is_some()
}

/// Configs changed: came, went, or have another content.
pub(super) fn configs_changed<'a>(zone: &Zone, keys: impl Iterator<Item = &'a ConfigKey>) {
    if zone.patterns.0.borrow().keys().all(|pattern| pattern.kind != Kind::Config) {
        return;
    }
    for key in keys {
        let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
        let parts = (namespace, group, key.data_id.as_str());
        let name = config_name(parts.0, parts.1, parts.2);
        changed(zone, Kind::Config, parts, &name, has_config(zone, key));
    }
    refill(zone, Kind::Config);
}

/// Services changed: came, went, or have another list.
pub(super) fn services_changed<'a>(zone: &Zone, keys: impl Iterator<Item = &'a ServiceKey>) {
    if zone.patterns.0.borrow().keys().all(|pattern| pattern.kind != Kind::Service) {
        return;
    }
    for key in keys {
        let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
        let parts = (namespace, group, key.name.as_str());
        let name = service_name(parts.0, parts.1, parts.2);
        changed(zone, Kind::Service, parts, &name, has_service(zone, key));
    }
    refill(zone, Kind::Service);
}

fn changed(zone: &Zone, kind: Kind, parts: (&str, &str, &str), name: &Rc<str>, is_there: bool) {
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

fn tell(zone: &Zone, pattern: &Rc<Pattern>, watched: &Watched, name: &Rc<str>, is_there: bool) {
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
fn refill(zone: &Zone, kind: Kind) {
    let mut patterns = zone.patterns.0.borrow_mut();
    for (pattern, watched) in patterns.iter_mut().filter(|(pattern, _)| pattern.kind == kind) {
        if watched.was_full && !watched.is_full() {
            look_again(zone, pattern, watched);
        }
        watched.was_full = watched.is_full();
    }
}

/// Anything may have changed.
pub(super) fn everything_changed(zone: &Zone, kind: Kind) {
    let mut patterns = zone.patterns.0.borrow_mut();
    for (pattern, watched) in patterns.iter_mut().filter(|(pattern, _)| pattern.kind == kind) {
        look_again(zone, pattern, watched);
    }
}

fn look_again(zone: &Zone, pattern: &Rc<Pattern>, watched: &mut Watched) {
    let now = matches(zone, pattern);
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
    contexts: Vec<Name<'a>>,
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
enum Change<'a> {
    Config { group_key: &'a str, change_type: &'a str, sync_type: &'a str },
    Service { service_key: &'a str, changed_type: &'a str, sync_type: &'a str },
}

/// Renders the next thing that a client is told about a pattern, unless it lost interest meanwhile.
pub(super) fn notice(
    zone: &Zone,
    client: &Client,
    number: u64,
    pattern: &Rc<Pattern>,
) -> Option<Bytes> {
    let user = client.watches.borrow().get(pattern).and_then(|(_, user)| user.clone());
    let kind = match pattern.kind {
        Kind::Config => auth::Kind::Config,
        Kind::Service => auth::Kind::Naming,
    };
    let of =
        Namespace::parse(&pattern.namespace).map(|namespace| Whole { kind, namespace }).ok()?;
    if !watch::may_hear(zone, client, &user, &of) {
        cancel(zone, client, pattern);
        return None;
    }
    let mut watches = client.watches.borrow_mut();
    let Some(step) = watches.get_mut(pattern).and_then(|(watch, _)| watch.next()) else {
        client.outbox.borrow_mut().forget(&Subject::Pattern(Rc::clone(pattern)));
        return None;
    };
    let (module, sync, change) = match pattern.kind {
        Kind::Config => {
            ("config", "ConfigFuzzyWatchSyncRequest", "ConfigFuzzyWatchChangeNotifyRequest")
        }
        Kind::Service => {
            ("naming", "NamingFuzzyWatchSyncRequest", "NamingFuzzyWatchChangeNotifyRequest")
        }
    };
    let group_key_pattern = &*pattern.text;
    Some(match step {
        Step::Finish => {
            let sync_type = "FINISH_FUZZY_WATCH_INIT_NOTIFY";
            let contexts = Vec::new();
            let (total_batch, current_batch) = (0, 0);
            let body = Sync { group_key_pattern, sync_type, contexts, total_batch, current_batch };
            message::request(sync, number, module, body)
        }
        Step::Batch { names, batches, is_new } => {
            let sync_type =
                if is_new { "FUZZY_WATCH_INIT_NOTIFY" } else { "FUZZY_WATCH_DIFF_SYNC_NOTIFY" };
            let contexts = names.iter().map(|(name, _)| match pattern.kind {
                Kind::Config => Name::Config { group_key: name, changed_type: "ADD_CONFIG" },
                Kind::Service => Name::Service { service_key: name, changed_type: "ADD_SERVICE" },
            });
            let contexts = contexts.collect();
            let (total_batch, current_batch) = (batches, 1);
            let body = Sync { group_key_pattern, sync_type, contexts, total_batch, current_batch };
            message::request(sync, number, module, body)
        }
        Step::Change { name, is_there } => {
            let sync_type = "FUZZY_WATCH_RESOURCE_CHANGED";
            let body = match pattern.kind {
                Kind::Config => {
                    let change_type = if is_there { "ADD_CONFIG" } else { "DELETE_CONFIG" };
                    Change::Config { group_key: &name, change_type, sync_type }
                }
                Kind::Service => {
                    let changed_type = if is_there { "ADD_SERVICE" } else { "DELETE_SERVICE" };
                    Change::Service { service_key: &name, changed_type, sync_type }
                }
            };
            message::request(change, number, module, body)
        }
    })
}
