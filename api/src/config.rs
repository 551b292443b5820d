//! `/v1/cs/configs`: publish, read, remove (http-v1 §2.1). One path and method serves several calls
//! that a parameter tells apart, as in Nacos; the console's share of them is in `search.rs` and
//! `archive.rs`. Namespaces are called `tenant` here.

use std::collections::BTreeSet;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use nacolet_auth::{Action, Kind};
use nacolet_config::{
    Caller, ConfigType, Gray, GrayKind, GrayName, Inherit, KeyRef, Labels, Md5, Operator, Publish,
    Remove, Store, View,
};
use nacolet_model::{ConfigKey, DataId, WallTime, limits};

use crate::about::{self, About, Everything, Permits, Spelled};
use crate::call::{Answer, Ask, Call, TEXT};
use crate::params::{Field, Fields, Id, Parts, field, query_has};
use crate::router::{Outcome, Permission, Routes};
use crate::search::Filter;
use crate::server::State;
use crate::status::{Code, Failure};
use crate::time::http_date;
use crate::{archive, search};

/// Header of a tagged read and of its answer.
pub(crate) const VIPSERVER_TAG: HeaderName = HeaderName::from_static("vipserver-tag");
const TAG: HeaderName = HeaderName::from_static("tag");
const IS_BETA: HeaderName = HeaderName::from_static("isbeta");
const CONFIG_TYPE: HeaderName = HeaderName::from_static("config-type");
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const ENCRYPTED_DATA_KEY: HeaderName = HeaderName::from_static("encrypted-data-key");
/// The value of `Expires` that Nacos sends: never fresh.
const EPOCH: HeaderValue = HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT");

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
        |parts| Ok(Spelled::config(parts, Id::TENANT)?.of),
        search::catalog,
    );
}

/// What a POST does, by its query alone: how large its body may be depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Publish,
    Import,
    Clone,
}

impl Verb {
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
    match (call.method == Method::POST || call.method == Method::PUT, Verb::of(&call.uri)) {
        (true, Verb::Import) => limits::IMPORT_BODY_BYTES_MAX,
        (true, Verb::Publish) => limits::PUBLISH_BODY_BYTES_MAX,
        (true, Verb::Clone) | (false, _) => limits::BODY_BYTES_MAX,
    }
}

/// What a POST is about.
enum Post {
    Publish(ConfigKey),
    Import(Box<archive::Import>),
    Clone(archive::CloneOf),
}

impl Post {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        Ok(match Verb::of(parts.uri) {
            Verb::Publish => Self::Publish(about::config_v1(parts)?),
            Verb::Import => Self::Import(Box::new(archive::Import::decode(parts)?)),
            Verb::Clone => Self::Clone(archive::CloneOf::decode(parts)?),
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
}

/// What a GET is about.
enum Get {
    /// One config.
    One(Look),
    /// Many of a namespace, or of all: that takes a while.
    Search(Filter),
    /// The same, as an archive.
    Export(archive::Chosen, archive::Format),
}

/// How one config is looked at.
enum Look {
    Read(ConfigKey),
    ShowAll(Spelled<ConfigKey>),
    ShowBeta(Spelled<ConfigKey>),
}

impl Get {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        use archive::{Chosen, Format};
        let is = |field, word| parts.fields.is(field, word);
        Ok(if is(field::SHOW, "all") {
            Self::One(Look::ShowAll(Spelled::config(parts, Id::TENANT)?))
        } else if is(field::SEARCH, "accurate") || is(field::SEARCH, "blur") {
            Self::Search(Filter::decode(parts, Id::TENANT, Id::GROUP)?)
        } else if is(field::BETA, "true") {
            Self::One(Look::ShowBeta(Spelled::config(parts, Id::TENANT)?))
        } else if is(field::EXPORT_V2, "true") {
            Self::Export(Chosen::decode(parts)?, Format::V2)
        } else if is(field::EXPORT, "true") {
            Self::Export(Chosen::decode(parts)?, Format::V1)
        } else {
            Self::One(Look::Read(about::config_v1(parts)?))
        })
    }
}

impl About for Get {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        match self {
            Self::One(Look::Read(key)) => key.is_permitted(action, permits),
            Self::One(Look::ShowAll(of) | Look::ShowBeta(of)) => of.is_permitted(action, permits),
            Self::Search(filter) => filter.is_permitted(action, permits),
            Self::Export(chosen, _) => chosen.is_permitted(action, permits),
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

fn one(state: &State, ask: &Ask<Get>, look: &Look) -> Outcome {
    match look {
        Look::Read(key) => read(state, ask, key),
        Look::ShowAll(of) => search::show_all(state, of),
        Look::ShowBeta(of) => search::show_beta(state, of),
    }
}

/// `consistency=linear`: the read sees every write that was acknowledged before it, by any member. Not
/// of Nacos, whose reads are those of the node that is asked.
fn wants_linear(ask: &Ask<Get>) -> bool {
    ask.params.is(field::CONSISTENCY, "linear")
}

async fn get_late(state: Arc<State>, ask: Ask<Get>) -> Result<Answer, Failure> {
    if wants_linear(&ask) {
        crate::membership::linearize(&state).await?;
    }
    match &ask.about {
        Get::One(look) => one(&state, &ask, look),
        Get::Export(chosen, format) => archive::export(&state, &ask.params, chosen, *format).await,
        Get::Search(filter) => {
            let is_blurred = ask.params.is(field::SEARCH, "blur");
            search::search(&state, &ask.params, filter, is_blurred).await
        }
    }
}

async fn post(state: Arc<State>, ask: Ask<Post>) -> Result<Answer, Failure> {
    let Ask { about, params, headers, ip, user, is_v3 } = ask;
    let with = |params| Ask { about: (), params, headers, ip, user, is_v3 };
    match about {
        Post::Import(import) => Box::pin(archive::import(&state, *import, with(params))).await,
        Post::Clone(clone) => Box::pin(archive::clone(&state, clone, with(params))).await,
        Post::Publish(key) => {
            let publish = publish_of(&state, with(params), key, &Words::V1).await?;
            state.write_config(publish.into()).await?;
            Ok(Answer::new(crate::call::JSON, "true"))
        }
    }
}

/// What a DELETE is about.
enum Delete {
    /// A config, or a gray version of it.
    One(ConfigKey),
    Beta(ConfigKey),
    Ids(BTreeSet<u64>),
}

impl Delete {
    fn decode(parts: &Parts<'_>) -> Result<Self, Failure> {
        Ok(if parts.fields.is(field::DEL_TYPE, "ids") {
            Self::Ids(search::ids(parts.required_id(Id::IDS)?)?)
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
            // They may be of any namespace.
            Self::Ids(_) => Everything(Kind::Config).is_permitted(action, permits),
        }
    }
}

async fn delete(state: Arc<State>, ask: Ask<Delete>) -> Result<Answer, Failure> {
    let (key, gray, is_beta) = match &ask.about {
        Delete::Ids(ids) => {
            let keys = search::keys_of_ids(&state, ids)?;
            let operator = operator(&ask, ask.params.text(Words::V1.user))?;
            return search::remove_all(&state, operator, keys).await;
        }
        Delete::Beta(key) => (key, Some(GrayName::Beta), true),
        Delete::One(key) => (key, gray_of(&ask.params)?, false),
    };
    let remove = remove_of(&state, &ask, key.clone(), &Words::V1, gray)?;
    state.write_config(remove.into()).await?;
    Ok(if is_beta {
        Answer::rest_result_with("stop beta ok", &true)
    } else {
        Answer::new(crate::call::JSON, "true")
    })
}

/// The version with a tag, where the call names one.
pub(crate) fn gray_of(params: &Fields) -> Result<Option<GrayName>, Failure> {
    params.text(field::TAG).map(|tag| tag_name(tag).map(GrayName::Tag)).transpose()
}

/// What a family of paths calls its parameters.
pub(crate) struct Words {
    pub(crate) user: Field,
    pub(crate) tags: Field,
    pub(crate) detail: Field,
}

impl Words {
    pub(crate) const V1: Self = Self {
        user: field::SRC_USER_V1,
        tags: field::CONFIG_TAGS_V1,
        detail: field::CONFIG_DETAIL_V1,
    };
    /// Of v2 and v3.
    pub(crate) const V2: Self =
        Self { user: field::SRC_USER, tags: field::CONFIG_TAGS, detail: field::CONFIG_DETAIL };
}

/// Reads one config as its caller sees it.
fn read<T>(state: &State, ask: &Ask<T>, key: &ConfigKey) -> Result<Answer, Failure> {
    let (wanted, tag) = tags(ask);
    let configs = state.configs();
    let view = view(state, &configs, key, &Caller { ip: &ask.ip, tag })?;
    match view.filter(|view| view.gray.is_some() || wanted.is_none()) {
        Some(view) => {
            let content_type = content_type(view.config_type);
            Ok(describe(Answer::new(content_type, shared(view.content)), &view, tag))
        }
        None => Ok(Answer::text("config data not exist\n").status(StatusCode::NOT_FOUND)),
    }
}

/// The tag whose version is wanted, and the one under which the caller sees configs.
pub(crate) fn tags<T>(ask: &Ask<T>) -> (Option<&str>, Option<&str>) {
    let wanted = ask.params.text(field::TAG);
    let own = ask.header("vipserver-tag").filter(|tag| !tag.is_empty());
    (wanted, wanted.or(own))
}

/// A config as its caller sees it, unless that cannot be told yet.
pub(crate) fn view<'s>(
    state: &State,
    configs: &'s Store,
    key: &ConfigKey,
    caller: &Caller<'_>,
) -> Result<Option<View<'s>>, Failure> {
    let of = KeyRef::from(key);
    let view = configs.view(of.namespace, of.group, of.data_id, caller);
    state.settled(of, view.is_some())?;
    Ok(view)
}

/// The headers that tell a client about the config it reads.
pub(crate) fn describe(answer: Answer, view: &View<'_>, tag: Option<&str>) -> Answer {
    let mut answer = no_cache(answer);
    let config_type = view.config_type.unwrap_or(ConfigType::Text).as_str();
    answer.headers.insert(CONFIG_TYPE, HeaderValue::from_static(config_type));
    if let Ok(md5) = HeaderValue::from_bytes(&hex(view.md5)) {
        answer.headers.insert(CONTENT_MD5, md5);
    }
    if let Ok(date) = HeaderValue::from_bytes(&http_date(view.modified)) {
        answer.headers.insert(header::LAST_MODIFIED, date);
    }
    let answer = match view.encrypted_data_key {
        "" => answer,
        key => answer.header(ENCRYPTED_DATA_KEY, key),
    };
    match view.gray {
        None => answer,
        Some(GrayKind::Beta) => answer.header_static(IS_BETA, "true"),
        Some(GrayKind::Tag) => {
            let tag: String =
                form_urlencoded::byte_serialize(tag.unwrap_or_default().as_bytes()).collect();
            answer.header(TAG, &tag).header(VIPSERVER_TAG, &tag)
        }
    }
}

/// The md5 as clients read it, without the detour through a formatter.
fn hex(md5: &Md5) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(md5.0) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// The three headers that forbid caching.
pub(crate) fn no_cache(mut answer: Answer) -> Answer {
    answer.headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    answer.headers.insert(header::EXPIRES, EPOCH);
    answer.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache,no-store"));
    answer
}

/// Content types of Nacos's `FileTypeEnum`, but HTML: what users publish is never served as a page.
fn content_type(config_type: Option<ConfigType>) -> &'static str {
    match config_type {
        Some(ConfigType::Json) => "application/json;charset=UTF-8",
        Some(ConfigType::Xml) => "application/xml;charset=UTF-8",
        Some(
            ConfigType::Properties
            | ConfigType::Text
            | ConfigType::Html
            | ConfigType::Yaml
            | ConfigType::Toml
            | ConfigType::Unset,
        )
        | None => TEXT,
    }
}

/// The content as a body, without a copy.
pub(crate) fn shared(content: &Arc<str>) -> Bytes {
    struct Content(Arc<str>);
    impl AsRef<[u8]> for Content {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    Bytes::from_owner(Content(Arc::clone(content)))
}

/// The command of a publish call. A long content is hashed on a thread of its own.
pub(crate) async fn publish_of(
    state: &State,
    ask: Ask<()>,
    key: ConfigKey,
    words: &'static Words,
) -> Result<Publish, Failure> {
    let at = state.now().1;
    let length = ask.params.raw(field::CONTENT).map_or(0, str::len);
    if length > limits::INLINE_BYTES_MAX {
        return smol::unblock(move || publish(&ask, key, words, at)).await;
    }
    publish(&ask, key, words, at)
}

fn publish(ask: &Ask<()>, key: ConfigKey, words: &Words, at: WallTime) -> Result<Publish, Failure> {
    let params = &ask.params;
    let content = params.present(field::CONTENT)?;
    let operator = operator(ask, params.text(words.user))?;
    let publish = Publish::new(key, content.into(), operator, at)?;
    let inherit = Inherit {
        app_name: params.raw(field::APP_NAME).is_none(),
        tags: params.raw(words.tags).is_none(),
    };
    let text = |name| params.text_or(name, "").into();
    let labels = Labels {
        // Nacos stores `text` for whatever it does not know, nothing included.
        config_type: Some(ConfigType::from_text(params.text_or(field::TYPE, ""))),
        app_name: text(field::APP_NAME),
        desc: text(field::DESC),
        tags: list(params.text_or(words.tags, ""), limits::CONFIG_TAGS_MAX),
        use_: text(field::USE),
        effect: text(field::EFFECT),
        schema: text(field::SCHEMA),
        encrypted_data_key: text(field::ENCRYPTED_DATA_KEY),
    };
    let publish = publish.with_labels(labels, inherit)?;
    let publish = match ask.header("casmd5").map(str::trim).filter(|md5| !md5.is_empty()) {
        Some(md5) => publish.with_cas(md5),
        None => publish,
    };
    let beta_ips = list(ask.header("betaips").unwrap_or_default(), limits::BETA_IPS_MAX);
    if !beta_ips.is_empty() {
        return Ok(publish.with_gray(Gray::Beta(beta_ips))?);
    }
    match params.text(field::TAG) {
        Some(tag) => Ok(publish.with_gray(Gray::Tag(tag_name(tag)?))?),
        None => Ok(publish),
    }
}

/// The command of a remove call.
pub(crate) fn remove_of<T>(
    state: &State,
    ask: &Ask<T>,
    key: ConfigKey,
    words: &Words,
    gray: Option<GrayName>,
) -> Result<Remove, Failure> {
    let operator = operator(ask, ask.params.text(words.user))?;
    Ok(Remove { key, gray, operator, at: state.now().1 })
}

/// Who calls, for history: the user that is known, else the one that the call names.
pub(crate) fn operator<T>(ask: &Ask<T>, user: Option<&str>) -> Result<Operator, Failure> {
    let user = ask.user_name().or(user);
    let operator = Operator { user: user.unwrap_or_default().into(), ip: (*ask.ip).into() };
    operator.check()?;
    Ok(operator)
}

/// A checked tag (Nacos `ParamUtils.checkParam(tag)`).
pub(crate) fn tag_name(tag: &str) -> Result<Box<str>, Failure> {
    if DataId::check(tag).is_err() {
        let shown: String = tag.chars().take(limits::TAG_CHARS_MAX).collect();
        return Err(Failure::invalid(format!("invalid tag : {shown}")));
    }
    if tag.len() > limits::TAG_CHARS_MAX {
        let words = format!("too long tag, over {}", limits::TAG_CHARS_MAX);
        return Err(Failure::invalid_as(Code::PARAMETER_VALIDATE_ERROR, words));
    }
    Ok(tag.into())
}

/// The items of a comma list, without blanks; at most one more than there may be, which is then refused
/// as too many.
pub(crate) fn list(text: &str, max: usize) -> Vec<Box<str>> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.take(max + 1).map(Into::into).collect()
}
