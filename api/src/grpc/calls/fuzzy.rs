//! Fuzzy watch: the requests that begin and end one.

use std::collections::BTreeSet;
use std::rc::Rc;

use hyper::body::Bytes;
use nacolet_auth as auth;
use nacolet_model::{Namespace, limits};
use serde::Deserialize;

use crate::access::about::Whole;
use crate::grpc::client::Subject;
use crate::grpc::client::pattern::{Pattern, PatternWatch, WatchedKind};
use crate::grpc::message::read::{Unread, request, text};
use crate::grpc::message::{Empty, Refusal, done, failed};
use crate::grpc::tell::patterns::Look;
use crate::grpc::tell::{interest, patterns};
use crate::grpc::zone::Asker;
use crate::http::json::{AtMost, object};

/// `ConfigFuzzyWatchRequest` and `NamingFuzzyWatchRequest`
pub(crate) struct Watching {
    id: Option<String>,
    response: &'static str,
    /// Whatever is in the namespace of the pattern: it may mean any of it.
    pub(crate) of: Whole,
    pattern: Pattern,
    /// Names that the client knows already. Those that the pattern does not mean are not among
    /// them: what became of them is not for this client.
    received: BTreeSet<Box<str>>,
    wish: WatchWish,
    initializing: bool,
}

/// What is to become of a pattern.
enum WatchWish {
    Watch,
    Cancel,
    /// No type that Nacos knows: of configs it does nothing then.
    Nothing,
}

impl Watching {
    pub(crate) fn read(half: WatchedKind, json: &[u8]) -> Result<Self, Unread> {
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
            WatchedKind::Config => (auth::Kind::Config, "ConfigFuzzyWatchResponse"),
            WatchedKind::Service => (auth::Kind::Naming, "NamingFuzzyWatchResponse"),
        };
        let id = wire.request_id;
        let look = || {
            let wish = match (wire.watch_type.as_deref(), half) {
                (Some("WATCH"), _) => WatchWish::Watch,
                (Some("CANCEL_WATCH"), _) => WatchWish::Cancel,
                (_, WatchedKind::Config) => WatchWish::Nothing,
                (_, WatchedKind::Service) => {
                    return Err(Refusal::invalid("Unsupported request type").thrown());
                }
            };
            let pattern = Pattern::parse(half, text(wire.group_key_pattern.as_ref()).unwrap_or(""));
            let pattern = pattern.ok_or(Refusal::invalid("groupKeyPattern is too long"))?;
            let said = wire.received_group_keys.unwrap_or_default();
            let said = said.all(|| Refusal::TOO_MANY_MATCHES)?;
            let received = said.iter().filter(|name| pattern.means(name));
            let received = received.map(|name| Box::from(name.as_str())).collect();
            Ok((Namespace::parse(&pattern.namespace)?, pattern, received, wish))
        };
        let (namespace, pattern, received, wish) = match look() {
            Ok(found) => found,
            Err(refusal) => {
                return Err(Unread::Refused(failed(response, id.as_deref(), &refusal, Empty {})));
            }
        };
        let (of, initializing) =
            (Whole { kind: of, namespace }, wire.initializing.unwrap_or(false));
        Ok(Self { id, response, of, pattern, received, wish, initializing })
    }
}

pub(crate) async fn answer(from: &Asker<'_>, request: Watching) -> Bytes {
    let Watching { id, response, pattern, received, wish, initializing, .. } = request;
    let outcome = match wish {
        WatchWish::Watch => watch(from, pattern, received, initializing).await,
        WatchWish::Cancel => {
            interest::cancel(from.zone, from.client, &pattern);
            Ok(())
        }
        WatchWish::Nothing => Ok(()),
    };
    match outcome {
        Ok(()) => done(response, id.as_deref(), Empty {}),
        Err(refusal) => failed(response, id.as_deref(), &refusal, Empty {}),
    }
}

async fn watch(
    from: &Asker<'_>,
    pattern: Pattern,
    known: BTreeSet<Box<str>>,
    is_initializing: bool,
) -> Result<(), Refusal> {
    let Asker { zone, client, .. } = from;
    let known: BTreeSet<Rc<str>> = known.into_iter().map(Rc::from).collect();
    let look = Look::begin(zone, pattern)?;
    look.complete().await;
    let pattern = Rc::clone(&look.pattern);
    let mut watches = client.watches.borrow_mut();
    let is_new = !watches.contains_key(&pattern);
    if is_new && !zone.counts.watches.take(limits::FUZZY_WATCHES_MAX) {
        return Err(Refusal::OVERLOADED);
    }
    let mut known_patterns = zone.patterns.0.borrow_mut();
    let watched = known_patterns.entry(Rc::clone(&pattern)).or_default();
    watched.clients.insert(client.id);
    let gone = |name: &str| !patterns::is_there(zone, pattern.kind, name);
    let is_full = watched.is_full();
    let begun = PatternWatch::begin(known, &watched.matched, gone, is_initializing);
    let begun = (begun, from.user.clone());
    let is_owed = begun.0.is_owed();
    watches.insert(Rc::clone(&pattern), begun);
    drop((watches, known_patterns));
    if is_owed {
        client.owe(Subject::Pattern(pattern));
    }
    if is_full { Err(Refusal::TOO_MANY_MATCHES) } else { Ok(()) }
}
