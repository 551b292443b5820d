//! `/v1/cs/configs`: publish, read, remove (docs/nacos/http-v1.md, "Configs"). One path and method
//! serves several calls that a parameter tells apart, as in Nacos; the console's share of them is
//! in `search.rs` and `archive`. Namespaces are called `tenant` here.

use std::sync::Arc;

use hyper::{Method, StatusCode, Uri};
use nacolet_auth::Action;
use nacolet_config::{Caller, GrayName};
use nacolet_model::{ConfigKey, limits};

use crate::access::about;
use crate::access::about::{About, ConfigIds, Permits};
use crate::access::rule::Permission;
use crate::config::search::Filter;
use crate::config::shown::{content_type, describe, shared};
use crate::config::words::{
    Words, by_beta_or_tag, gray_of, operator, publish_of, remove_of, tags, view,
};
use crate::config::{archive, search};
use crate::http::answer::{Envelope, HttpAnswer, JSON};
use crate::http::call::Call;
use crate::http::failure::Failure;
use crate::http::params::{Id, Parts, field, query_has};
use crate::route::Outcome;
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

pub(crate) fn routes(routes: &mut Routes) {
    use Permission::{ConfigRead, ConfigWrite};
    routes
        .at_large("/v1/cs/configs", body_bytes_max)
        .now_or_later(Method::GET, ConfigRead, Get::decode, get, get_late)
        .hot()
        .later(Method::POST, ConfigWrite, Post::decode, post)
        .hot()
        // r-nacos takes PUT too, and some tools rely on it.
        .later(Method::PUT, ConfigWrite, Post::decode, post)
        .later(Method::DELETE, ConfigWrite, Delete::decode, delete);
    routes.at("/v1/cs/configs/catalog").now(
        Method::GET,
        ConfigRead,
        about::config_v1,
        search::catalog,
    );
}

/// What a POST does, by its query alone: how large its body may be depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PostVerb {
    Publish,
    Import,
    Clone,
}

impl PostVerb {
    fn of(uri: &Uri) -> Self {
        if query_has(uri, "import=true") {
            Self::Import
        } else if query_has(uri, "clone=true") {
            Self::Clone
        } else {
            Self::Publish
        }
    }
}

fn body_bytes_max(call: &Call) -> usize {
    match (call.method == Method::POST || call.method == Method::PUT, PostVerb::of(&call.uri)) {
        (true, PostVerb::Import) => limits::IMPORT_BODY_BYTES_MAX,
        (true, PostVerb::Publish) => limits::PUBLISH_BODY_BYTES_MAX,
        (true, PostVerb::Clone) | (false, _) => limits::BODY_BYTES_MAX,
    }
}

/// What a POST is about.
enum Post {
    Publish(ConfigKey),
    Import(archive::Import),
    Clone(archive::CloneOf),
}

impl Post {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        Ok(match PostVerb::of(parts.uri) {
            PostVerb::Publish => Self::Publish(about::config_v1(parts)?),
            PostVerb::Import => Self::Import(archive::Import::decode(parts, Id::NAMESPACE)?),
            PostVerb::Clone => Self::Clone(archive::CloneOf::decode(parts, Id::TENANT)?),
        })
    }
}

impl About for Post {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        match self {
            Self::Publish(key) => key.is_permitted(action, permits),
            Self::Import(import) => import.is_permitted(action, permits),
            Self::Clone(clone) => clone.is_permitted(action, permits),
        }
    }

    fn numbered(&mut self) -> Option<&mut ConfigIds> {
        match self {
            Self::Clone(clone) => clone.numbered(),
            Self::Publish(_) | Self::Import(_) => None,
        }
    }
}

/// What a GET is about.
enum Get {
    /// One config.
    One(ReadRequest),
    /// Many of a namespace, or of all: that takes a while.
    Search(Filter),
    /// The same, as an archive.
    Export(archive::Chosen, archive::Format),
}

/// How one config is looked at.
enum ReadRequest {
    Read(ConfigKey),
    ShowAll(ConfigKey),
    ShowBeta(ConfigKey),
}

impl Get {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        use archive::{Chosen, Format};
        let is = |field, word| parts.fields.is(field, word);
        Ok(if is(field::SHOW, "all") {
            Self::One(ReadRequest::ShowAll(about::config_v1(parts)?))
        } else if is(field::SEARCH, "accurate") || is(field::SEARCH, "blur") {
            Self::Search(Filter::decode(parts, Id::TENANT, Id::GROUP)?)
        } else if is(field::BETA, "true") {
            Self::One(ReadRequest::ShowBeta(about::config_v1(parts)?))
        } else if is(field::EXPORT_V2, "true") {
            Self::Export(Chosen::decode(parts, Id::TENANT, Id::GROUP)?, Format::V2)
        } else if is(field::EXPORT, "true") {
            Self::Export(Chosen::decode(parts, Id::TENANT, Id::GROUP)?, Format::V1)
        } else {
            Self::One(ReadRequest::Read(about::config_read(parts)?))
        })
    }
}

impl About for Get {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        match self {
            Self::One(
                ReadRequest::Read(key) | ReadRequest::ShowAll(key) | ReadRequest::ShowBeta(key),
            ) => key.is_permitted(action, permits),
            Self::Search(filter) => filter.is_permitted(action, permits),
            Self::Export(chosen, _) => chosen.is_permitted(action, permits),
        }
    }

    fn numbered(&mut self) -> Option<&mut ConfigIds> {
        match self {
            Self::Export(chosen, _) => chosen.numbered(),
            Self::One(_) | Self::Search(_) => None,
        }
    }
}

/// One config, as this node has it. What looks at many, or waits for others, is late.
fn get(state: &State, ask: &Ask<Get>) -> Option<Outcome> {
    match &ask.about {
        Get::One(look) if !wants_linear(ask) => Some(one(state, ask, look)),
        Get::One(_) | Get::Search(_) | Get::Export(..) => None,
    }
}

fn one(state: &State, ask: &Ask<Get>, look: &ReadRequest) -> Outcome {
    match look {
        ReadRequest::Read(key) => read(state, ask, key),
        ReadRequest::ShowAll(of) => search::show_all(state, of),
        ReadRequest::ShowBeta(of) => search::show_beta(state, of),
    }
}

/// `consistency=linear`: the read sees every write that was acknowledged before it, by any member.
/// Not of Nacos, whose reads are those of the node that is asked.
fn wants_linear(ask: &Ask<Get>) -> bool {
    ask.params.is(field::CONSISTENCY, "linear")
}

async fn get_late(state: Arc<State>, ask: Ask<Get>) -> Result<HttpAnswer, Failure> {
    if wants_linear(&ask) {
        state.linearize().await?;
    }
    match &ask.about {
        Get::One(look) => one(&state, &ask, look),
        Get::Export(chosen, format) => archive::export(&state, &ask.params, chosen, *format).await,
        Get::Search(filter) => {
            let is_blurred = ask.params.is(field::SEARCH, "blur");
            search::search(&state, &ask.params, filter, None, is_blurred).await
        }
    }
}

async fn post(state: Arc<State>, ask: Ask<Post>) -> Result<HttpAnswer, Failure> {
    let (about, ask) = ask.apart();
    match about {
        Post::Import(import) => Box::pin(archive::import(&state, import, ask)).await,
        Post::Clone(clone) => Box::pin(archive::clone(&state, clone, ask)).await,
        Post::Publish(key) => {
            let publish = publish_of(&state, ask, key, &Words::V1, by_beta_or_tag).await?;
            state.write_config(publish.into()).await?;
            Ok(HttpAnswer::new(JSON, "true"))
        }
    }
}

/// What a DELETE is about.
enum Delete {
    /// A config, or a gray version of it.
    One(ConfigKey),
    Beta(ConfigKey),
    Ids(ConfigIds),
}

impl Delete {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        Ok(if parts.fields.is(field::DEL_TYPE, "ids") {
            Self::Ids(search::numbered(parts)?)
        } else if parts.fields.is(field::BETA, "true") {
            Self::Beta(about::config_v1(parts)?)
        } else {
            Self::One(about::config_v1(parts)?)
        })
    }
}

impl About for Delete {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        match self {
            Self::One(key) | Self::Beta(key) => key.is_permitted(action, permits),
            Self::Ids(ids) => ids.is_permitted(action, permits),
        }
    }

    fn numbered(&mut self) -> Option<&mut ConfigIds> {
        match self {
            Self::Ids(ids) => Some(ids),
            Self::One(_) | Self::Beta(_) => None,
        }
    }
}

async fn delete(state: Arc<State>, ask: Ask<Delete>) -> Result<HttpAnswer, Failure> {
    let (key, gray, is_beta) = match &ask.about {
        Delete::Ids(ids) => {
            let keys = ids.keys().iter().map(|(_, key)| key.clone()).collect();
            let operator = operator(&ask, ask.params.text(Words::V1.user))?;
            search::remove_all(&state, operator, keys).await?;
            return Ok(HttpAnswer::rest_result(&true));
        }
        Delete::Beta(key) => (key, Some(GrayName::Beta), true),
        Delete::One(key) => (key, gray_of(&ask.params)?, false),
    };
    let remove = remove_of(&state, &ask, key.clone(), &Words::V1, gray)?;
    let response = state.write_config(remove.into()).await?;
    Ok(match (is_beta, search::is_removed(response)) {
        (true, true) => HttpAnswer::rest_result_with("stop beta ok", &true),
        (true, false) => HttpAnswer::json(&Envelope {
            code: 500,
            message: Some("remove beta data error"),
            data: &false,
        }),
        (false, _) => HttpAnswer::new(JSON, "true"),
    })
}

/// Reads one config as its caller sees it.
fn read<T>(state: &State, ask: &Ask<T>, key: &ConfigKey) -> Result<HttpAnswer, Failure> {
    let (wanted, tag) = tags(ask);
    let configs = state.configs();
    let view = view(state, &configs, key, &Caller { ip: &ask.ip, tag, labels: &[] })?;
    match view.filter(|view| view.gray.is_some() || wanted.is_none()) {
        Some(view) => {
            let content_type = content_type(view.config_type);
            Ok(describe(HttpAnswer::new(content_type, shared(view.content)), &view, tag))
        }
        None => Ok(HttpAnswer::text("config data not exist\n").status(StatusCode::NOT_FOUND)),
    }
}
