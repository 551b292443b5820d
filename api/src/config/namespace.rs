//! Namespaces over `/v1/console/namespaces`, `/v2/console/namespace` (docs/nacos/http-v1.md,
//! "Namespaces", docs/nacos/http-v2-v3.md, "Namespaces and members of v2") and, in v3, for
//! administrators and for the console. v1 answers `true` or `false` and never says why; the others
//! do.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hyper::Method;
use nacolet_auth::{Action, Kind};
use nacolet_config::{Command, CommandError, NamespaceView, Store};
use nacolet_model::Namespace;
use serde::Serialize;

use crate::access::about;
use crate::access::about::{About, Whole};
use crate::access::rule::Permission;
use crate::http::answer::{HttpAnswer, JSON};
use crate::http::failure::{Code, Failure};
use crate::http::params::{Id, Parts, field};
use crate::port::request::WriteError;
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

/// Configs per namespace that Nacos shows; nothing is checked against it.
const QUOTA: u32 = 200;

pub(crate) fn routes(routes: &mut Routes) {
    use Permission::{Admin, Console};
    routes
        .at("/v1/console/namespaces")
        .now(Method::GET, Console, Shows::decode, v1_get)
        .later(
            Method::POST,
            Admin,
            |parts| NewId::present(parts, Id::CUSTOM_NAMESPACE_ID),
            v1_create,
        )
        .later(Method::PUT, Admin, |parts| NewId::existing(parts, Id::NAMESPACE), v1_update)
        .later(Method::DELETE, Admin, removed, v1_remove);
    routes.at("/v2/console/namespace/list").now(Method::GET, Console, about::nothing, list::<2>);
    routes
        .at("/v2/console/namespace")
        .now(Method::GET, Console, One::decode, get::<2>)
        .later(Method::POST, Admin, |parts| NewId::existing(parts, Id::NAMESPACE_ID), v2_create)
        .later(Method::PUT, Admin, |parts| NewId::existing(parts, Id::NAMESPACE_ID), update)
        .later(Method::DELETE, Admin, removed, remove);
    for path in ["/v3/admin/core/namespace/list", "/v3/console/core/namespace/list"] {
        routes.at(path).now(Method::GET, Console, about::nothing, list::<3>);
    }
    routes
        .at("/v3/admin/core/namespace")
        .now(Method::GET, Console, One::decode, get::<3>)
        .later(Method::POST, Admin, |parts| NewId::existing(parts, Id::NAMESPACE_ID), admin_create)
        .later(Method::PUT, Admin, |parts| NewId::existing(parts, Id::NAMESPACE_ID), admin_update)
        .later(Method::DELETE, Admin, removed, remove);
    routes
        .at("/v3/console/core/namespace")
        .now(Method::GET, Console, One::decode, get::<3>)
        .later(
            Method::POST,
            Admin,
            |parts| NewId::optional(parts, Id::CUSTOM_NAMESPACE_ID),
            console_create,
        )
        .later(Method::PUT, Admin, |parts| NewId::existing(parts, Id::NAMESPACE_ID), update)
        .later(Method::DELETE, Admin, removed, remove);
    routes.at("/v3/admin/core/namespace/check").now(
        Method::GET,
        Console,
        |parts| NewId::present(parts, Id::NAMESPACE_ID),
        |state, ask| Ok(HttpAnswer::result(&u8::from(is_created(state, ask, &ask.about.0)?))),
    );
    routes.at("/v3/console/core/namespace/exist").now(
        Method::GET,
        Console,
        |parts| NewId::present(parts, Id::CUSTOM_NAMESPACE_ID),
        |state, ask| {
            let id = &*ask.about.0;
            Ok(HttpAnswer::result(&(id == Namespace::PUBLIC || is_created(state, ask, id)?)))
        },
    );
}

/// A namespace that a call names, checked when it is written down.
struct NewId(Box<str>);

impl NewId {
    /// Nothing means: make one.
    fn optional(parts: &Parts<'_>, id: Id) -> Result<Self, Failure> {
        Ok(Self(parts.id_or(id, "")?.into()))
    }

    /// As [`Self::optional`], where it must be said.
    fn present(parts: &Parts<'_>, id: Id) -> Result<Self, Failure> {
        Ok(Self(parts.present_id(id)?.into()))
    }

    fn existing(parts: &Parts<'_>, id: Id) -> Result<Self, Failure> {
        Ok(Self(parts.required_id(id)?.into()))
    }
}

impl About for NewId {}

impl About for Namespace {}

fn removed(parts: &Parts<'_>) -> Result<Namespace, Failure> {
    Ok(Namespace::parse(parts.present_id(Id::NAMESPACE_ID)?)?)
}

/// One namespace, and the text that its caller knows it by.
struct One {
    id: Namespace,
    spelled: Box<str>,
}

impl One {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        let spelled = parts.present_id(Id::NAMESPACE_ID)?;
        Ok(Self { id: Namespace::parse(spelled)?, spelled: spelled.into() })
    }
}

impl About for One {}

/// What a GET of v1 is about.
enum Shows {
    One(One),
    IsThere(Box<str>),
    All,
}

impl Shows {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        Ok(if parts.fields.is(field::SHOW, "all") {
            Self::One(One::decode(parts)?)
        } else if parts.fields.is(field::CHECK_NAMESPACE_ID_EXIST, "true") {
            Self::IsThere(parts.present_id(Id::CUSTOM_NAMESPACE_ID)?.into())
        } else {
            Self::All
        })
    }
}

impl About for Shows {}

/// `Namespace` of Nacos.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    /// The default one is empty in 1.x and 2.x, and `public` since 3.
    namespace: &'a str,
    namespace_show_name: &'a str,
    namespace_desc: &'a str,
    quota: u32,
    config_count: usize,
    #[serde(rename = "type")]
    kind: u8,
}

/// `NamespaceTypeEnum` of Nacos: the default one, and created ones, which have another number since
/// 3.
const GLOBAL: u8 = 0;
const CUSTOM: [u8; 2] = [2, 1];

impl<'a> Shown<'a> {
    /// A namespace as its caller may see it, in the words of this version. Its name is for whoever
    /// may do anything in it, that of the default one for everybody; the number of its configs is
    /// for whoever may read all of them.
    fn of<T>(state: &State, ask: &Ask<T>, version: u8, view: NamespaceView<'a>) -> Option<Self> {
        let (access, user) = (&state.access, ask.user.as_deref());
        let is_public = view.id == Namespace::PUBLIC;
        if !is_public && !access.reaches(user, view.id) {
            return None;
        }
        let all =
            Namespace::parse(view.id).map(|namespace| Whole { kind: Kind::Config, namespace });
        let counts = all.is_ok_and(|all| access.permits(user, Action::Read, &all).is_ok());
        let is_new = version >= 3;
        Some(Self {
            namespace: if is_public && !is_new { "" } else { view.id },
            namespace_show_name: view.name,
            namespace_desc: view.desc,
            quota: QUOTA,
            config_count: if counts { view.config_count } else { 0 },
            kind: if is_public { GLOBAL } else { CUSTOM[usize::from(is_new)] },
        })
    }
}

fn v1_get(state: &State, ask: &Ask<Shows>) -> Result<HttpAnswer, Failure> {
    Ok(match &ask.about {
        Shows::One(asked) => HttpAnswer::json(&one(state, ask, 1, &*state.all_configs()?, asked)?),
        Shows::IsThere(id) => yes_or_no(is_created(state, ask, id)?),
        Shows::All => HttpAnswer::rest_result(&all(state, ask, 1, &*state.known_configs()?)),
    })
}

fn list<const VERSION: u8>(state: &State, ask: &Ask<()>) -> Result<HttpAnswer, Failure> {
    Ok(HttpAnswer::result(&all(state, ask, VERSION, &*state.known_configs()?)))
}

fn all<'s, T>(state: &State, ask: &Ask<T>, version: u8, configs: &'s Store) -> Vec<Shown<'s>> {
    configs.namespaces().filter_map(|view| Shown::of(state, ask, version, view)).collect()
}

fn get<const VERSION: u8>(state: &State, ask: &Ask<One>) -> Result<HttpAnswer, Failure> {
    let configs = state.all_configs()?;
    Ok(HttpAnswer::result(&one(state, ask, VERSION, &configs, &ask.about)?))
}

/// What its caller cannot see is told like what is not there.
fn one<'s, T>(
    state: &State,
    ask: &Ask<T>,
    version: u8,
    configs: &'s Store,
    asked: &'s One,
) -> Result<Shown<'s>, Failure> {
    let canonical = asked.id.as_str();
    let view = configs.namespace(canonical);
    let shown = view.and_then(|view| Shown::of(state, ask, version, view)).ok_or_else(|| {
        let words = format!("namespaceId [ {canonical} ] not exist");
        Failure::not_found(Code::NAMESPACE_NOT_EXIST, words)
    })?;
    Ok(Shown { namespace: &asked.spelled, ..shown })
}

/// Whether somebody created this namespace, as far as the caller may see it.
fn is_created<T>(state: &State, ask: &Ask<T>, id: &str) -> Result<bool, Failure> {
    let configs = state.all_configs()?;
    let known = configs.namespace(id).filter(|view| !id.is_empty() && view.custom);
    Ok(known.is_some_and(|view| Shown::of(state, ask, 1, view).is_some()))
}

fn yes_or_no(yes: bool) -> HttpAnswer {
    HttpAnswer::new(JSON, if yes { "true" } else { "false" })
}

/// A namespace to create or to change, checked.
struct NamespaceForm {
    id: Namespace,
    name: Box<str>,
    desc: Box<str>,
}

/// How the names of a namespace are refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusals {
    /// By the check of all names.
    Checked,
    /// By the route, with a code.
    Coded,
}

impl NamespaceForm {
    /// `id` empty means: make one.
    fn new(id: &str, name: &str, desc: &str, refusals: Refusals) -> Result<Self, Failure> {
        let illegal = |words: String| Failure::invalid_as(Code::ILLEGAL_NAMESPACE, words);
        let id = match id.trim() {
            "" => uuid(),
            id => id.to_owned(),
        };
        let id = Namespace::new(&id).map_err(|error| match refusals {
            Refusals::Checked => error.into(),
            Refusals::Coded => illegal(format!("namespaceId: {error}")),
        })?;
        if name.contains(['@', '#', '$', '%', '^', '&', '*']) {
            return Err(match refusals {
                Refusals::Checked => Failure::illegal("namespaceShowName"),
                Refusals::Coded => illegal(format!("namespaceName [{name}] contains illegal char")),
            });
        }
        Command::check_namespace(name, desc)?;
        Ok(Self { id, name: name.into(), desc: desc.into() })
    }

    fn create(self, state: &State) -> Command {
        let at = state.now().1;
        Command::CreateNamespace { id: self.id, name: self.name, desc: self.desc, at }
    }

    fn update(self, state: &State) -> Command {
        let at = state.now().1;
        Command::UpdateNamespace { id: self.id, name: self.name, desc: self.desc, at }
    }
}

/// A random id in the form of a UUID. The standard library seeds every hash state from the system.
fn uuid() -> String {
    let half = || RandomState::new().build_hasher().finish();
    let bits = (u128::from(half()) << 64) | u128::from(half());
    // Version 4, variant 1 (RFC 9562 §5.4).
    let bits = (bits & !(0xf000 << 64) & !(0xc000 << 48)) | (0x4000 << 64) | (0x8000 << 48);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

type WriteResult = Result<nacolet_config::Response, WriteError<CommandError>>;

/// v1: whether it was done; only what is nobody's fault is told as a failure.
fn done(written: WriteResult) -> Result<HttpAnswer, Failure> {
    match written {
        Ok(_) => Ok(yes_or_no(true)),
        Err(WriteError::Refused(_)) => Ok(yes_or_no(false)),
        Err(error) => Err(error.into()),
    }
}

/// A namespace that is not there is changed or removed without a word.
fn unless_unknown(written: WriteResult) -> Result<(), WriteError<CommandError>> {
    match written {
        Ok(_) | Err(WriteError::Refused(CommandError::NamespaceUnknown)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn desc(ask: &Ask<NewId>) -> &str {
    ask.params.text_or(field::NAMESPACE_DESC, "")
}

async fn v1_create(state: Arc<State>, ask: Ask<NewId>) -> Result<HttpAnswer, Failure> {
    let name = ask.params.present(field::NAMESPACE_NAME)?;
    if name.trim().is_empty() {
        return Ok(yes_or_no(false));
    }
    let form = NamespaceForm::new(&ask.about.0, name, desc(&ask), Refusals::Checked)?;
    done(state.write_config(form.create(&state)).await)
}

async fn v1_update(state: Arc<State>, ask: Ask<NewId>) -> Result<HttpAnswer, Failure> {
    let name = ask.params.present(field::NAMESPACE_SHOW_NAME)?;
    if name.trim().is_empty() {
        return Ok(yes_or_no(false));
    }
    let form = NamespaceForm::new(&ask.about.0, name, desc(&ask), Refusals::Checked)?;
    let written = state.write_config(form.update(&state)).await;
    unless_unknown(written).map(|()| yes_or_no(true)).or_else(|error| done(Err(error)))
}

async fn v1_remove(state: Arc<State>, ask: Ask<Namespace>) -> Result<HttpAnswer, Failure> {
    removes(&state, ask.about).await.map(|()| yes_or_no(true))
}

async fn v2_create(state: Arc<State>, ask: Ask<NewId>) -> Result<HttpAnswer, Failure> {
    let words = format!("the namespaceId is existed, namespaceId: {}", ask.about.0);
    let exists = Failure::invalid_as(Code::ILLEGAL_NAMESPACE, words);
    creates(&state, &ask, Refusals::Checked, exists).await
}

async fn admin_create(state: Arc<State>, ask: Ask<NewId>) -> Result<HttpAnswer, Failure> {
    creates(&state, &ask, Refusals::Coded, already_there(&ask)).await
}

async fn console_create(state: Arc<State>, ask: Ask<NewId>) -> Result<HttpAnswer, Failure> {
    creates(&state, &ask, Refusals::Checked, already_there(&ask)).await
}

fn already_there(ask: &Ask<NewId>) -> Failure {
    let words = format!("namespaceId [{}] already exist.", ask.about.0);
    Failure::invalid_as(Code::NAMESPACE_ALREADY_EXIST, words)
}

async fn creates(
    state: &State,
    ask: &Ask<NewId>,
    refusals: Refusals,
    exists: Failure,
) -> Result<HttpAnswer, Failure> {
    let name = ask.params.required(field::NAMESPACE_NAME)?;
    let command = NamespaceForm::new(&ask.about.0, name, desc(ask), refusals)?.create(state);
    match state.write_config(command).await {
        Ok(_) => Ok(HttpAnswer::result(&true)),
        Err(WriteError::Refused(CommandError::NamespaceExists)) => Err(exists),
        Err(error) => Err(error.into()),
    }
}

async fn update(state: Arc<State>, ask: Ask<NewId>) -> Result<HttpAnswer, Failure> {
    updates(&state, &ask, Refusals::Checked).await
}

async fn admin_update(state: Arc<State>, ask: Ask<NewId>) -> Result<HttpAnswer, Failure> {
    updates(&state, &ask, Refusals::Coded).await
}

async fn updates(
    state: &State,
    ask: &Ask<NewId>,
    refusals: Refusals,
) -> Result<HttpAnswer, Failure> {
    let name = ask.params.required(field::NAMESPACE_NAME)?;
    let command = NamespaceForm::new(&ask.about.0, name, desc(ask), refusals)?.update(state);
    unless_unknown(state.write_config(command).await)?;
    Ok(HttpAnswer::result(&true))
}

async fn remove(state: Arc<State>, ask: Ask<Namespace>) -> Result<HttpAnswer, Failure> {
    removes(&state, ask.about).await.map(|()| HttpAnswer::result(&true))
}

/// The default one cannot go, and stays without a word.
async fn removes(state: &State, id: Namespace) -> Result<(), Failure> {
    if id != Namespace::public() {
        let at = state.now().1;
        unless_unknown(state.write_config(Command::RemoveNamespace { id, at }).await)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_id_is_a_uuid_and_never_the_same() {
        let (one, other) = (uuid(), uuid());
        assert_ne!(one, other);
        assert_eq!(one.len(), 36);
        assert_eq!(&one[14..15], "4");
        assert!("89ab".contains(&one[19..20]));
        assert!(Namespace::new(&one).is_ok());
    }
}
