//! Namespaces over `/v1/console/namespaces` and `/v2/console/namespace` (http-v1 §4, http-v2 §2.3). v1
//! answers `true` or `false` and never says why; v2 does.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hyper::Method;
use nacolet_config::{Command, CommandError, NamespaceView};
use nacolet_model::Namespace;
use serde::Serialize;

use crate::about::{self, About};
use crate::call::{Answer, Ask, JSON};
use crate::params::{Id, Parts, field};
use crate::request::WriteError;
use crate::router::{Permission, Routes};
use crate::server::State;
use crate::status::{Code, Failure};

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
            |parts| Named::decode(parts, Id::CUSTOM_NAMESPACE_ID),
            v1_create,
        )
        .later(Method::PUT, Admin, |parts| Named::existing(parts, Id::NAMESPACE), v1_update)
        .later(Method::DELETE, Admin, removed, v1_remove);
    routes.at("/v2/console/namespace/list").now(Method::GET, Console, about::nothing, v2_list);
    routes
        .at("/v2/console/namespace")
        .now(Method::GET, Console, shown, v2_get)
        .later(Method::POST, Admin, |parts| Named::decode(parts, Id::NAMESPACE_ID), v2_create)
        .later(Method::PUT, Admin, |parts| Named::existing(parts, Id::NAMESPACE_ID), v2_update)
        .later(Method::DELETE, Admin, removed, v2_remove);
}

/// A namespace that a call names, checked when it is written down.
struct Named(Box<str>);

impl Named {
    /// Nothing means: make one.
    fn decode(parts: &Parts<'_>, id: Id) -> Result<Self, Failure> {
        Ok(Self(parts.id_or(id, "")?.into()))
    }

    fn existing(parts: &Parts<'_>, id: Id) -> Result<Self, Failure> {
        Ok(Self(parts.required_id(id)?.into()))
    }
}

impl About for Named {}

impl About for Namespace {}

fn shown(parts: &Parts<'_>) -> Result<Namespace, Failure> {
    Ok(Namespace::parse(parts.present_id(Id::NAMESPACE_ID)?)?)
}

fn removed(parts: &Parts<'_>) -> Result<Namespace, Failure> {
    Ok(Namespace::parse(parts.required_id(Id::NAMESPACE_ID)?)?)
}

/// What a GET of v1 is about.
enum Shows {
    One(Namespace),
    IsThere(Box<str>),
    All,
}

impl Shows {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        Ok(if parts.fields.is(field::SHOW, "all") {
            Self::One(shown(parts)?)
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
    /// Empty for the default namespace, as in 1.x and 2.x.
    namespace: &'a str,
    namespace_show_name: &'a str,
    namespace_desc: &'a str,
    quota: u32,
    config_count: usize,
    #[serde(rename = "type")]
    kind: u8,
}

impl<'a> Shown<'a> {
    fn new(view: NamespaceView<'a>) -> Self {
        let is_public = view.id == Namespace::PUBLIC;
        Self {
            namespace: if is_public { "" } else { view.id },
            namespace_show_name: view.name,
            namespace_desc: view.desc,
            quota: QUOTA,
            config_count: view.config_count,
            kind: if is_public { 0 } else { 2 },
        }
    }
}

fn v1_get(state: &State, ask: &Ask<Shows>) -> Result<Answer, Failure> {
    let configs = state.all_configs()?;
    Ok(match &ask.about {
        Shows::One(id) => Answer::json(&one(&configs, id)?),
        Shows::IsThere(id) => {
            let known = configs.namespace(id).filter(|_| !id.is_empty());
            yes_or_no(known.is_some_and(|view| view.custom))
        }
        Shows::All => {
            let all: Vec<_> = configs.namespaces().map(Shown::new).collect();
            Answer::rest_result(&all)
        }
    })
}

fn v2_list(state: &State, _ask: &Ask<()>) -> Result<Answer, Failure> {
    let configs = state.all_configs()?;
    let all: Vec<_> = configs.namespaces().map(Shown::new).collect();
    Ok(Answer::result(&all))
}

fn v2_get(state: &State, ask: &Ask<Namespace>) -> Result<Answer, Failure> {
    Ok(Answer::result(&one(&*state.all_configs()?, &ask.about)?))
}

fn one<'s>(configs: &'s nacolet_config::Store, id: &Namespace) -> Result<Shown<'s>, Failure> {
    let canonical = id.as_str();
    configs.namespace(canonical).map(Shown::new).ok_or_else(|| {
        let words = format!("namespaceId [ {canonical} ] not exist");
        Failure::not_found(Code::NAMESPACE_NOT_EXIST, words)
    })
}

fn yes_or_no(yes: bool) -> Answer {
    Answer::new(JSON, if yes { "true" } else { "false" })
}

/// A namespace to create or to change, checked.
struct Form {
    id: Namespace,
    name: Box<str>,
    desc: Box<str>,
}

impl Form {
    /// `id` empty means: make one.
    fn new(id: &str, name: &str, desc: &str) -> Result<Self, Failure> {
        let id = match id.trim() {
            "" => uuid(),
            id => id.to_owned(),
        };
        let id = Namespace::new(&id).map_err(|error| {
            Failure::invalid_as(Code::ILLEGAL_NAMESPACE, format!("namespaceId: {error}"))
        })?;
        if name.contains(['@', '#', '$', '%', '^', '&', '*']) {
            let words = format!("namespaceName [{name}] contains illegal char");
            return Err(Failure::invalid_as(Code::ILLEGAL_NAMESPACE, words));
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

type Written = Result<nacolet_config::Response, WriteError<CommandError>>;

/// v1: whether it was done; only what is nobody's fault is told as a failure.
fn done(written: Written) -> Result<Answer, Failure> {
    match written {
        Ok(_) => Ok(yes_or_no(true)),
        Err(WriteError::Refused(_)) => Ok(yes_or_no(false)),
        Err(error) => Err(error.into()),
    }
}

async fn v1_create(state: Arc<State>, ask: Ask<Named>) -> Result<Answer, Failure> {
    let name = ask.params.present(field::NAMESPACE_NAME)?;
    // Words that are not allowed are told apart from missing ones only by `false` (Nacos).
    let Ok(form) = Form::new(&ask.about.0, name, desc(&ask)) else { return Ok(yes_or_no(false)) };
    done(state.write_config(form.create(&state)).await)
}

async fn v1_update(state: Arc<State>, ask: Ask<Named>) -> Result<Answer, Failure> {
    let name = ask.params.present(field::NAMESPACE_SHOW_NAME)?;
    let Ok(form) = Form::new(&ask.about.0, name, desc(&ask)) else { return Ok(yes_or_no(false)) };
    done(state.write_config(form.update(&state)).await)
}

fn desc(ask: &Ask<Named>) -> &str {
    ask.params.text_or(field::NAMESPACE_DESC, "")
}

async fn v1_remove(state: Arc<State>, ask: Ask<Namespace>) -> Result<Answer, Failure> {
    let (id, at) = (ask.about, state.now().1);
    match state.write_config(Command::RemoveNamespace { id, at }).await {
        Ok(_) | Err(WriteError::Refused(CommandError::NamespaceUnknown)) => Ok(yes_or_no(true)),
        outcome => done(outcome),
    }
}

async fn v2_create(state: Arc<State>, ask: Ask<Named>) -> Result<Answer, Failure> {
    let name = ask.params.required(field::NAMESPACE_NAME)?;
    let command = Form::new(&ask.about.0, name, desc(&ask))?.create(&state);
    state.write_config(command).await?;
    Ok(Answer::result(&true))
}

async fn v2_update(state: Arc<State>, ask: Ask<Named>) -> Result<Answer, Failure> {
    let name = ask.params.required(field::NAMESPACE_NAME)?;
    let command = Form::new(&ask.about.0, name, desc(&ask))?.update(&state);
    state.write_config(command).await?;
    Ok(Answer::result(&true))
}

async fn v2_remove(state: Arc<State>, ask: Ask<Namespace>) -> Result<Answer, Failure> {
    let (id, at) = (ask.about, state.now().1);
    match state.write_config(Command::RemoveNamespace { id, at }).await {
        Ok(_) | Err(WriteError::Refused(CommandError::NamespaceUnknown)) => {
            Ok(Answer::result(&true))
        }
        Err(error) => Err(error.into()),
    }
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
