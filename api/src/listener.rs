//! `/v1/cs/configs/listener`: long polls (http-v1 §2.3), and who listens to what. The body is a list of
//! keys with the md5 the client has; the answer names those that differ, in the client's own spelling,
//! because clients look the names up as texts and spin on what they do not find.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use hyper::Method;
use hyper::header::HeaderName;
use nacolet_auth::{Action, Kind};
use nacolet_config::{Caller, ListenKey, Md5};
use nacolet_model::{ConfigKey, DataId, Group, Namespace, limits};
use serde::Serialize;

use crate::about::{self, About, Everything, Permits, Spelled, Whole, spelling};
use crate::call::{Answer, Ask};
use crate::config::no_cache;
use crate::params::{Id, Parts, field};
use crate::request::{ListenAnswer, Request, WatchersOf};
use crate::router::{Permission, Routes};
use crate::server::State;
use crate::status::Failure;

const PROBE_MODIFY_RESPONSE: HeaderName = HeaderName::from_static("probe-modify-response");
const PROBE_MODIFY_RESPONSE_NEW: HeaderName = HeaderName::from_static("probe-modify-response-new");
/// Between the words of one entry.
const WORD: char = '\u{2}';
/// After each entry.
const LINE: char = '\u{1}';
/// Clients from this version on read the body of a short poll, older ones its headers (Nacos
/// `START_LONG_POLLING_VERSION_NUM`).
const BODY_SINCE: [u64; 3] = [2, 0, 4];

pub(crate) fn routes(routes: &mut Routes) {
    use Permission::ConfigRead;
    routes
        .at_large("/v1/cs/configs/listener", |_| limits::LISTEN_BODY_BYTES_MAX)
        .long_poll(Method::POST, ConfigRead, Listening::decode, listen)
        .later(Method::GET, ConfigRead, about::config_v1, watchers_of_key);
    routes.at("/v1/cs/listener").later(Method::GET, ConfigRead, Watched::decode, watchers_of_ip);
}

/// The configs that a long poll is about, each with what the client has of it.
struct Listening {
    keys: Vec<ConfigKey>,
    entries: Vec<Entry>,
}

impl Listening {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        let list = parts.id(Id::LISTENING_CONFIGS)?;
        let entries = parse(list.ok_or_else(bad_probe)?)?;
        let keys = entries.iter().map(Entry::key).collect::<Result<_, _>>()?;
        Ok(Self { keys, entries })
    }
}

impl About for Listening {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        self.keys.is_permitted(action, permits)
    }
}

/// The configs that a client listens to: those of a namespace, or of all of them.
struct Watched(Option<Spelled<Whole>>);

impl Watched {
    /// With `all` those of every namespace, unless one is named; without it the console means the default
    /// one (Nacos).
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        let is_all = parts.id(Id::TENANT)?.is_none() && parts.fields.flag_or(field::ALL, false);
        Ok(Self(if is_all { None } else { Some(Spelled::configs(parts, Id::TENANT)?) }))
    }
}

impl About for Watched {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        match &self.0 {
            Some(namespace) => namespace.is_permitted(action, permits),
            None => Everything(Kind::Config).is_permitted(action, permits),
        }
    }
}

/// One entry as the client wrote it.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    data_id: Box<str>,
    group: Box<str>,
    /// Empty when the client sent none.
    tenant: Box<str>,
    md5: Option<Md5>,
}

impl Entry {
    fn key(&self) -> Result<ConfigKey, Failure> {
        Ok(ConfigKey {
            namespace: Namespace::parse(&self.tenant)?,
            group: Group::new(&self.group)?,
            data_id: DataId::new(&self.data_id)?,
        })
    }
}

async fn listen(state: Arc<State>, ask: Ask<Listening>) -> Result<Answer, Failure> {
    let Ask { about: Listening { keys, entries }, headers, ip, user, params, .. } = ask;
    let header = |name: &'static str| std::str::from_utf8(headers.get(name)?.as_bytes()).ok();
    let tag = header("vipserver-tag").filter(|tag| !tag.is_empty());
    let changed = compare(&state, &keys, &entries, &Caller { ip: &ip, tag });
    let Some(timeout) = header("long-pulling-timeout") else {
        return Ok(short_poll(header("client-version"), &entries, &changed));
    };
    if !changed.is_empty() {
        return Ok(told(&entries, &changed));
    }
    let hangs_up_not = header("long-pulling-timeout-no-hangup");
    if hangs_up_not.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(Answer::empty());
    }
    let hold = hold(timeout)?;
    let Some(_permit) = state.enter_long_poll() else { return Err(too_many()) };
    let (reply, answer) = oneshot::channel();
    let with_md5 = |(key, entry): (ConfigKey, &Entry)| ListenKey { key, md5: entry.md5 };
    let request = Request::Listen {
        keys: keys.into_iter().zip(&entries).map(with_md5).collect(),
        ip: (*ip).into(),
        tag: tag.map(Into::into),
        deadline: state.now().0 + hold,
        reply,
    };
    // The request may wait for half a minute: what it came with is not kept.
    drop((params, headers));
    state.send::<Failure>(request)?;
    let stopped = async {
        state.stopped().await;
        None
    };
    match smol::future::or(async { answer.await.ok() }, stopped).await {
        Some(ListenAnswer::Changed(changed)) if changed.is_empty() => Ok(Answer::empty()),
        Some(ListenAnswer::Changed(changed)) => {
            // What the caller may see can have changed while it waited.
            let may = |position: &u32| {
                let entry = usize::try_from(*position).ok().and_then(|at| entries.get(at));
                let key = entry.and_then(|entry| entry.key().ok());
                key.is_some_and(|key| state.access.still_permits(user.as_deref(), &key))
            };
            let changed: Vec<u32> = changed.into_iter().filter(may).collect();
            Ok(if changed.is_empty() { Answer::empty() } else { told(&entries, &changed) })
        }
        Some(ListenAnswer::TooMany) => Err(too_many()),
        // The node stops: the client asks again, here or elsewhere.
        None => Ok(Answer::empty()),
    }
}

fn bad_probe() -> Failure {
    Failure::invalid("invalid probeModify")
}

fn too_many() -> Failure {
    Failure::too_many("too many long polls")
}

/// Positions of the entries whose md5 is not what the caller would read now.
fn compare(state: &State, keys: &[ConfigKey], entries: &[Entry], caller: &Caller<'_>) -> Vec<u32> {
    if !state.port.stage.is_ready() {
        // What this node has may be older than what the client has.
        return Vec::new();
    }
    let configs = state.configs();
    let differs = |(key, entry): (&ConfigKey, &Entry)| {
        let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
        let view = configs.view(namespace, group, key.data_id.as_str(), caller);
        view.map(|view| *view.md5) != entry.md5
    };
    let positions = 0..;
    let pairs = keys.iter().zip(entries).zip(positions);
    pairs.filter(|(pair, _)| differs(*pair)).map(|(_, position)| position).collect()
}

/// How long to hold: half a second less than the client waits, within bounds.
fn hold(timeout_ms: &str) -> Result<Duration, Failure> {
    let asked: Option<u64> = timeout_ms.trim().parse().ok();
    let asked = asked.ok_or_else(|| Failure::not_a_number("Long-Pulling-Timeout", timeout_ms))?;
    let asked = Duration::from_millis(asked).min(limits::LONG_POLL_MAX);
    Ok(asked.saturating_sub(limits::LONG_POLL_EARLY).max(limits::LONG_POLL_MIN))
}

/// Reads the list: `dataId ^2 group ^2 md5 [^2 tenant] ^1` for each entry (Nacos `MD5Util`).
fn parse(field: &str) -> Result<Vec<Entry>, Failure> {
    // The server decodes the value once more after the form was decoded.
    let decoded = percent_encoding::percent_decode_str(field).decode_utf8_lossy();
    let mut entries: BTreeMap<(&str, &str, &str), (usize, &str)> = BTreeMap::new();
    let mut rest: &str = &decoded;
    while let Some((line, after)) = rest.split_once(LINE) {
        rest = after;
        let mut words = line.split(WORD);
        let (Some(data_id), Some(group), Some(md5)) = (words.next(), words.next(), words.next())
        else {
            return Err(bad_probe());
        };
        let tenant = words.next().unwrap_or_default();
        if words.next().is_some() {
            return Err(bad_probe());
        }
        // A key that is named twice counts once, with its last md5, as in the map of Nacos.
        let position = entries.len();
        entries.entry((data_id, group, tenant)).or_insert((position, md5)).1 = md5;
        if entries.len() > limits::LISTEN_KEYS_MAX {
            return Err(bad_probe());
        }
    }
    if entries.is_empty() {
        return Err(bad_probe());
    }
    let mut ordered: Vec<_> = entries.into_iter().collect();
    ordered.sort_unstable_by_key(|(_, (position, _))| *position);
    let entry = |((data_id, group, tenant), (_, md5)): ((&str, &str, &str), (usize, &str))| Entry {
        data_id: data_id.into(),
        group: group.into(),
        tenant: tenant.into(),
        md5: Md5::claimed(md5.trim()),
    };
    Ok(ordered.into_iter().map(entry).collect())
}

/// The names of the changed entries, url-encoded as one text.
fn names(entries: &[Entry], changed: &[u32]) -> String {
    let mut names = String::new();
    for entry in at(entries, changed) {
        names.push_str(&entry.data_id);
        names.push(WORD);
        names.push_str(&entry.group);
        if !entry.tenant.trim().is_empty() {
            names.push(WORD);
            names.push_str(&entry.tenant);
        }
        names.push(LINE);
    }
    form_urlencoded::byte_serialize(names.as_bytes()).collect()
}

fn at<'a>(entries: &'a [Entry], changed: &'a [u32]) -> impl Iterator<Item = &'a Entry> {
    changed.iter().filter_map(|&position| entries.get(usize::try_from(position).ok()?))
}

fn told(entries: &[Entry], changed: &[u32]) -> Answer {
    no_cache(Answer::text(names(entries, changed) + "\n"))
}

/// The poll of clients that are older than long polling: answered at once, the oldest in headers.
fn short_poll(client_version: Option<&str>, entries: &[Entry], changed: &[u32]) -> Answer {
    let version = client_version.map_or([2, 0, 0], version);
    if version >= BODY_SINCE {
        return no_cache(Answer::text(names(entries, changed)));
    }
    let old: String =
        at(entries, changed).map(|entry| format!("{}:{};", entry.data_id, entry.group)).collect();
    no_cache(Answer::empty())
        .header(PROBE_MODIFY_RESPONSE, &old)
        .header(PROBE_MODIFY_RESPONSE_NEW, &names(entries, changed))
}

fn version(text: &str) -> [u64; 3] {
    let mut parts = text.trim().split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).map_or(part, |end| &part[..end]);
        digits.parse().unwrap_or(0)
    });
    [(); 3].map(|()| parts.next().unwrap_or(0))
}

/// `GroupkeyListenserStatus` of Nacos; the misspelt field is real.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listeners {
    collect_status: u16,
    lisenters_groupkey_status: BTreeMap<String, String>,
}

async fn watchers_of_key(state: Arc<State>, ask: Ask<ConfigKey>) -> Result<Answer, Failure> {
    let watchers = watchers(&state, WatchersOf::Key(ask.about)).await?;
    let status = watchers.into_iter().map(|watcher| (watcher.ip.into(), md5_text(watcher.md5)));
    Ok(told_listeners(status.collect()))
}

async fn watchers_of_ip(state: Arc<State>, ask: Ask<Watched>) -> Result<Answer, Failure> {
    let ip = ask.params.required(field::IP)?.into();
    let namespace = ask.about.0.as_ref().map(|spelled| spelled.of.namespace.clone());
    let tenant = ask.about.0.as_ref().map_or("", |spelled| &*spelled.tenant);
    let watchers = watchers(&state, WatchersOf::Ip { ip, namespace }).await?;
    let is_all = ask.params.flag_or(field::ALL, false);
    let status = watchers.into_iter().map(|watcher| {
        let key = watcher.key;
        let asked = if is_all { "" } else { tenant };
        let tenant = match spelling(key.namespace.as_str(), asked) {
            "" => String::new(),
            tenant => format!("+{tenant}"),
        };
        (format!("{}+{}{tenant}", key.data_id, key.group), md5_text(watcher.md5))
    });
    Ok(told_listeners(status.collect()))
}

async fn watchers(state: &State, of: WatchersOf) -> Result<Vec<crate::request::Watcher>, Failure> {
    let (reply, answer) = oneshot::channel();
    state.send::<Failure>(Request::Watchers { of, reply })?;
    let late = || Failure::unavailable("no answer in time");
    state.in_time(answer).await.ok_or_else(late)
}

fn md5_text(md5: Option<Md5>) -> String {
    md5.map_or_else(String::new, |md5| md5.to_string())
}

fn told_listeners(status: BTreeMap<String, String>) -> Answer {
    Answer::json(&Listeners { collect_status: 200, lisenters_groupkey_status: status })
}

/// The list of a long poll. Only with the feature `fuzzing`.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    /// dataId, group, tenant and md5 of each entry, where the list is one.
    #[must_use]
    pub fn parse(list: &str) -> Option<Vec<[String; 4]>> {
        let texts = |entry: super::Entry| {
            let md5 = super::md5_text(entry.md5);
            [entry.data_id.into(), entry.group.into(), entry.tenant.into(), md5]
        };
        super::parse(list).ok().map(|entries| entries.into_iter().map(texts).collect())
    }
}

#[cfg(test)]
mod tests {
    use nacolet_model::Prng;

    use super::*;

    const MD5: &str = "5eb63bbbe01eeed093cb22bb8f5acdc3";

    fn names_of(field: &str) -> Result<String, Failure> {
        let entries = parse(field)?;
        let all: Vec<u32> = (0..).take(entries.len()).collect();
        Ok(names(&entries, &all))
    }

    #[test]
    fn an_answer_spells_the_tenant_as_the_caller_did() {
        let check = |field: &str, expected: &str| {
            assert_eq!(names_of(field).expect("a good list"), expected);
        };
        check("example\u{2}DEFAULT_GROUP\u{2}\u{1}", "example%02DEFAULT_GROUP%01");
        check("example\u{2}DEFAULT_GROUP\u{2}\u{2}\u{1}", "example%02DEFAULT_GROUP%01");
        check("example\u{2}DEFAULT_GROUP\u{2}\u{2}dev\u{1}", "example%02DEFAULT_GROUP%02dev%01");
        check("e\u{2}g\u{2}\u{2}public\u{1}", "e%02g%02public%01");
        let two = format!("b\u{2}g\u{2}{MD5}\u{1}a\u{2}g\u{2}{MD5}\u{2}t\u{1}");
        check(&two, "b%02g%01a%02g%02t%01");
        check("a%02g%02%01", "a%02g%01");
    }

    #[test]
    fn a_list_that_is_none_is_refused() {
        let four = format!("a{WORD}g{WORD}m{WORD}t{WORD}x{LINE}");
        for field in ["", "a", "a\u{2}g\u{1}", "\u{1}", &*four] {
            assert_eq!(names_of(field), Err(bad_probe()), "{field:?}");
        }
    }

    #[test]
    fn as_many_keys_as_nacos_takes_and_no_more() {
        let list = |count: usize| -> String {
            (0..count).map(|n| format!("d{n}{WORD}g{WORD}{LINE}")).collect()
        };
        assert_eq!(parse(&list(limits::LISTEN_KEYS_MAX)).expect("at the limit").len(), 10_000);
        assert!(parse(&list(limits::LISTEN_KEYS_MAX + 1)).is_err());
    }

    #[test]
    fn a_long_poll_is_answered_half_a_second_early() {
        let check = |text: &str, ms: u64| {
            assert_eq!(hold(text).expect("a number"), Duration::from_millis(ms));
        };
        check("30000", 29_500);
        check("1", 10_000);
        check("600000", 59_500);
        assert!(hold("soon").is_err());
    }

    #[test]
    fn hostile_lists_never_panic() {
        let mut random = Prng::new(7);
        let pieces = ["a", "g", "\u{1}", "\u{2}", "%", "%0", "%02", "%01", "%ff", "中", " "];
        for _ in 0..20_000 {
            let count = random.below(24);
            let piece = |_| pieces[usize::try_from(random.below(11)).expect("small")];
            let field: String = (0..count).map(piece).collect();
            if let Ok(entries) = parse(&field) {
                assert!(!entries.is_empty(), "{field:?}");
                let again = names(&entries, &(0..).take(entries.len()).collect::<Vec<_>>());
                assert!(again.is_ascii());
            }
        }
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(version("3.0.10") >= BODY_SINCE);
        assert!(version("2.0.4-SNAPSHOT") >= BODY_SINCE);
        assert!(version("2.0.3") < BODY_SINCE);
        assert!(version("nonsense") < BODY_SINCE);
    }
}
