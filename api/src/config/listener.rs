//! `/v1/cs/configs/listener`: long polls (docs/nacos/http-v1.md, "Listening"), and who listens to
//! what. The body is a list of keys with the md5 the client has; the answer names those that
//! differ, in the client's own spelling, because clients look the names up as texts and spin on
//! what they do not find.

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

use crate::access::about;
use crate::access::about::{About, Everything, Permits, Whole, spelling};
use crate::access::rule::Permission;
use crate::config::shown::no_cache;
use crate::http::answer::HttpAnswer;
use crate::http::failure::Failure;
use crate::http::params::{Id, Parts, field};
use crate::port::request::{ListenAnswer, Request};
use crate::port::who::{Connected, Found, Sought, Watcher, WatchersOf};
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

const PROBE_MODIFY_RESPONSE: HeaderName = HeaderName::from_static("probe-modify-response");
const PROBE_MODIFY_RESPONSE_NEW: HeaderName = HeaderName::from_static("probe-modify-response-new");
/// Between the words of one entry.
const WORD: char = '\u{2}';
/// After each entry.
const LINE: char = '\u{1}';
/// Clients before this version read the headers of a short poll, and newer ones make none: Nacos
/// tells them nothing (`START_LONG_POLLING_VERSION_NUM`).
const LONG_POLLS_SINCE: [u64; 3] = [2, 0, 4];

pub(crate) fn routes(routes: &mut Routes) {
    use Permission::ConfigRead;
    routes
        .at_large("/v1/cs/configs/listener", |_| limits::LISTEN_BODY_BYTES_MAX)
        .long_poll(Method::POST, ConfigRead, Listening::decode, listen)
        .later(Method::GET, ConfigRead, about::config_v1, watchers_of_key);
    routes.at("/v1/cs/listener").later(
        Method::GET,
        ConfigRead,
        ListenedConfigs::decode,
        watchers_of_ip,
    );
    for [of_key, of_ip] in V3 {
        routes.at(of_key).later(Method::GET, ConfigRead, about::config_v3, watchers_of_key);
        routes.at(of_ip).later(Method::GET, ConfigRead, ListenedConfigs::decode_v3, watchers_of_ip);
    }
}

/// For administrators and for the console: who listens to a config, and what an address listens to.
const V3: [[&str; 2]; 2] = [
    ["/v3/admin/cs/config/listener", "/v3/admin/cs/listener"],
    ["/v3/console/cs/config/listener", "/v3/console/cs/config/listener/ip"],
];

/// The configs that a long poll is about, each with what the client has of it.
struct Listening {
    keys: Vec<ConfigKey>,
    entries: Vec<ListenEntry>,
}

impl Listening {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        let list = parts.id(Id::LISTENING_CONFIGS)?;
        let entries = parse(list.ok_or_else(bad_probe)?)?;
        let keys = entries.iter().map(ListenEntry::key).collect::<Result<_, _>>()?;
        Ok(Self { keys, entries })
    }
}

impl About for Listening {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        self.keys.is_permitted(action, permits)
    }
}

/// The configs that a client listens to: those of a namespace, or of all of them.
struct ListenedConfigs {
    of: Option<Whole>,
    /// As the caller spells the namespace.
    tenant: Box<str>,
}

impl ListenedConfigs {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        Self::of(parts, Id::TENANT)
    }

    fn decode_v3(parts: &Parts<'_>) -> Result<Self, Failure> {
        Self::of(parts, Id::NAMESPACE_ID)
    }

    /// With `all` those of every namespace, unless one is named; without it the console means the
    /// default one (Nacos).
    fn of(parts: &Parts<'_>, id: Id) -> Result<Self, Failure> {
        let said = parts.id(id)?;
        if said.is_none() && parts.fields.flag_or(field::ALL, false) {
            return Ok(Self { of: None, tenant: Box::default() });
        }
        let of = Whole::configs(parts, id)?;
        let tenant = spelling(of.namespace.as_str(), said.unwrap_or_default()).into();
        Ok(Self { of: Some(of), tenant })
    }
}

impl About for ListenedConfigs {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        match &self.of {
            Some(namespace) => namespace.is_permitted(action, permits),
            None => Everything(Kind::Config).is_permitted(action, permits),
        }
    }
}

/// One entry as the client wrote it.
#[derive(Debug, PartialEq, Eq)]
struct ListenEntry {
    data_id: Box<str>,
    group: Box<str>,
    /// Empty when the client sent none.
    tenant: Box<str>,
    md5: Option<Md5>,
}

impl ListenEntry {
    fn key(&self) -> Result<ConfigKey, Failure> {
        Ok(ConfigKey {
            namespace: Namespace::parse(&self.tenant)?,
            group: Group::new(&self.group)?,
            data_id: DataId::new(&self.data_id)?,
        })
    }
}

async fn listen(state: Arc<State>, ask: Ask<Listening>) -> Result<HttpAnswer, Failure> {
    let Ask { about: Listening { keys, entries }, headers, ip, user, params, .. } = ask;
    let header = |name: &'static str| std::str::from_utf8(headers.get(name)?.as_bytes()).ok();
    let tag = header("vipserver-tag").filter(|tag| !tag.is_empty());
    let changed = compare(&state, &keys, &entries, &Caller { ip: &ip, tag, labels: &[] });
    let Some(timeout) = header("long-pulling-timeout") else {
        return Ok(short_poll(header("client-version"), &entries, &changed));
    };
    if !changed.is_empty() {
        return Ok(told(&entries, &changed));
    }
    let hangs_up_not = header("long-pulling-timeout-no-hangup");
    if hangs_up_not.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(HttpAnswer::empty());
    }
    let hold = hold(timeout)?;
    let Some(_permit) = state.enter_long_poll() else { return Err(too_many()) };
    let (reply, answer) = oneshot::channel();
    let with_md5 = |(key, entry): (ConfigKey, &ListenEntry)| ListenKey { key, md5: entry.md5 };
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
        Some(ListenAnswer::Changed(changed)) if changed.is_empty() => Ok(HttpAnswer::empty()),
        Some(ListenAnswer::Changed(changed)) => {
            // What the caller may see can have changed while it waited.
            let may = |position: &u32| {
                let entry = usize::try_from(*position).ok().and_then(|at| entries.get(at));
                let key = entry.and_then(|entry| entry.key().ok());
                key.is_some_and(|key| state.access.still_permits(user.as_deref(), &key))
            };
            let changed: Vec<u32> = changed.into_iter().filter(may).collect();
            Ok(if changed.is_empty() { HttpAnswer::empty() } else { told(&entries, &changed) })
        }
        Some(ListenAnswer::TooMany) => Err(too_many()),
        // The node stops: the client asks again, here or elsewhere.
        None => Ok(HttpAnswer::empty()),
    }
}

fn bad_probe() -> Failure {
    Failure::invalid("invalid probeModify")
}

fn too_many() -> Failure {
    Failure::too_many("too many long polls", 1)
}

/// Positions of the entries whose md5 is not what the caller would read now.
fn compare(
    state: &State,
    keys: &[ConfigKey],
    entries: &[ListenEntry],
    caller: &Caller<'_>,
) -> Vec<u32> {
    if !state.port.stage.is_ready() {
        // What this node has may be older than what the client has.
        return Vec::new();
    }
    let configs = state.configs();
    let differs = |(key, entry): (&ConfigKey, &ListenEntry)| {
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
fn parse(field: &str) -> Result<Vec<ListenEntry>, Failure> {
    // The server decodes the value once more after the form was decoded.
    let decoded = percent_encoding::percent_decode_str(field).decode_utf8_lossy();
    let mut entries: BTreeMap<(&str, &str, &str), (usize, &str)> = BTreeMap::new();
    // Those that name a key again count too: no client sends them, and each is work.
    if decoded.matches(LINE).nth(limits::LISTEN_KEYS_MAX).is_some() {
        return Err(bad_probe());
    }
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
    }
    if entries.is_empty() {
        return Err(bad_probe());
    }
    let mut ordered: Vec<_> = entries.into_iter().collect();
    ordered.sort_unstable_by_key(|(_, (position, _))| *position);
    let entry =
        |((data_id, group, tenant), (_, md5)): ((&str, &str, &str), (usize, &str))| ListenEntry {
            data_id: data_id.into(),
            group: group.into(),
            tenant: tenant.into(),
            md5: Md5::claimed(md5.trim()),
        };
    Ok(ordered.into_iter().map(entry).collect())
}

/// The names of the changed entries, url-encoded as one text.
fn names(entries: &[ListenEntry], changed: &[u32]) -> String {
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

fn at<'a>(entries: &'a [ListenEntry], changed: &'a [u32]) -> impl Iterator<Item = &'a ListenEntry> {
    changed.iter().filter_map(|&position| entries.get(usize::try_from(position).ok()?))
}

fn told(entries: &[ListenEntry], changed: &[u32]) -> HttpAnswer {
    no_cache(HttpAnswer::text(names(entries, changed) + "\n"))
}

/// The poll of clients that are older than long polling: answered at once, in headers.
fn short_poll(
    client_version: Option<&str>,
    entries: &[ListenEntry],
    changed: &[u32],
) -> HttpAnswer {
    let version = client_version.map_or([2, 0, 0], version);
    if version >= LONG_POLLS_SINCE {
        return no_cache(HttpAnswer::empty());
    }
    let old: String =
        at(entries, changed).map(|entry| format!("{}:{};", entry.data_id, entry.group)).collect();
    no_cache(HttpAnswer::empty())
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

/// Who listens, in the words of v1 (`GroupkeyListenserStatus` of Nacos; the misspelt field is real)
/// and of v3 (`ConfigListenerInfo`).
fn told_listeners(is_v3: bool, of: &str, status: &BTreeMap<String, String>) -> HttpAnswer {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct V1<'a> {
        collect_status: u16,
        lisenters_groupkey_status: &'a BTreeMap<String, String>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct V3<'a> {
        query_type: &'a str,
        listeners_status: &'a BTreeMap<String, String>,
    }
    if is_v3 {
        return HttpAnswer::result(&V3 { query_type: of, listeners_status: status });
    }
    HttpAnswer::json(&V1 { collect_status: 200, lisenters_groupkey_status: status })
}

/// How often Nacos asks its members; we ask once, and take no nonsense for a number.
fn check_sample_time<T>(ask: &Ask<T>) -> Result<(), Failure> {
    ask.params.number::<i32>(field::SAMPLE_TIME).map(|_times| ())
}

async fn watchers_of_key(state: Arc<State>, ask: Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    check_sample_time(&ask)?;
    let watchers = watchers(&state, WatchersOf::Key(ask.about)).await?;
    let status = watchers.into_iter().map(|watcher| (watcher.ip.into(), md5_text(watcher.md5)));
    Ok(told_listeners(ask.is_v3, "config", &status.collect()))
}

async fn watchers_of_ip(
    state: Arc<State>,
    ask: Ask<ListenedConfigs>,
) -> Result<HttpAnswer, Failure> {
    let ip = ask.params.required(field::IP)?.into();
    check_sample_time(&ask)?;
    let ListenedConfigs { of, tenant } = &ask.about;
    let namespace = of.as_ref().map(|whole| whole.namespace.clone());
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
    Ok(told_listeners(ask.is_v3, "ip", &status.collect()))
}

/// Over HTTP and over gRPC, on all members.
async fn watchers(state: &State, of: WatchersOf) -> Result<Vec<Watcher>, Failure> {
    let Found { connected, polls: mut watchers, .. } =
        state.everywhere(Sought::Listeners(of)).await?;
    for Connected { ip, listens, .. } in connected {
        watchers.extend(listens.into_iter().map(|(key, md5)| Watcher { key, ip: ip.clone(), md5 }));
    }
    Ok(watchers)
}

fn md5_text(md5: Option<Md5>) -> String {
    md5.map_or_else(String::new, |md5| md5.to_string())
}

/// The list of a long poll. Only with the feature `fuzzing`.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    /// dataId, group, tenant and md5 of each entry, where the list is one.
    #[must_use]
    pub fn parse(list: &str) -> Option<Vec<[String; 4]>> {
        let texts = |entry: super::ListenEntry| {
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
    fn a_key_that_is_named_again_counts_again() {
        let list = |count: usize| format!("d{WORD}g{WORD}{LINE}").repeat(count);
        assert_eq!(parse(&list(limits::LISTEN_KEYS_MAX)).map(|entries| entries.len()), Ok(1));
        assert_eq!(parse(&list(limits::LISTEN_KEYS_MAX + 1)), Err(bad_probe()));
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
        assert!(version("3.0.10") >= LONG_POLLS_SINCE);
        assert!(version("2.0.4-SNAPSHOT") >= LONG_POLLS_SINCE);
        assert!(version("2.0.3") < LONG_POLLS_SINCE);
        assert!(version("nonsense") < LONG_POLLS_SINCE);
    }
}
