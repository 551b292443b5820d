//! `/v1/cs/configs`: publish, read, remove (http-v1 §2.1). One path and method serves several calls
//! that a parameter tells apart, as in Nacos; the console's share of them is in `search.rs` and
//! `archive.rs`. Namespaces are called `tenant` here.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use nacolet_config::{
    Caller, ConfigType, Gray, GrayKind, GrayName, Inherit, KeyRef, Labels, Md5, Operator, Publish,
    Remove, View,
};
use nacolet_model::{ConfigKey, DataId, Group, Namespace, limits};

use crate::call::{Answer, Call, TEXT};
use crate::params::Params;
use crate::router::{Permission, Routes, Scope};
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
        .at("/v1/cs/configs")
        .now_or_later(Method::GET, ConfigRead.over(scope_of_get), get, wants_linear, get_linear)
        .hot()
        .later_large(Method::POST, ConfigWrite.over(scope_of_post), post_body_bytes_max, post)
        .hot()
        // r-nacos takes PUT too, and some tools rely on it.
        .later_large(Method::PUT, ConfigWrite.over(scope_of_post), post_body_bytes_max, post)
        .later(Method::DELETE, ConfigWrite.over(scope_of_delete), delete);
    routes.at("/v1/cs/configs/catalog").now(Method::GET, ConfigRead, search::catalog);
}

/// What a POST does, by its query alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Post {
    Publish,
    Import,
    Clone,
}

impl Post {
    fn of(call: &Call) -> Self {
        let query = call.uri.query().unwrap_or_default();
        let is = |flag: &str| query.split('&').any(|pair| pair == flag);
        if is("import=true") {
            Self::Import
        } else if is("clone=true") {
            Self::Clone
        } else {
            Self::Publish
        }
    }
}

fn post_body_bytes_max(call: &Call) -> usize {
    match Post::of(call) {
        Post::Import => limits::IMPORT_BODY_BYTES_MAX,
        Post::Clone => limits::BODY_BYTES_MAX,
        Post::Publish => limits::PUBLISH_BODY_BYTES_MAX,
    }
}

fn scope_of_post(call: &Call) -> Scope {
    match Post::of(call) {
        Post::Publish => Scope::Named,
        Post::Import | Post::Clone => Scope::Handler,
    }
}

/// A search and an export look at a namespace, ids may be of any.
fn scope_of_get(call: &Call) -> Scope {
    let params = call.params();
    if params.raw("ids").is_some() {
        Scope::All
    } else if ["search", "export", "exportV2"].iter().any(|name| params.raw(name).is_some()) {
        Scope::Namespace
    } else {
        Scope::Named
    }
}

fn scope_of_delete(call: &Call) -> Scope {
    if call.params().raw("delType").is_some() { Scope::All } else { Scope::Named }
}

fn get(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    if params.raw("show") == Some("all") {
        return search::show_all(state, &params);
    }
    match params.raw("search") {
        Some("accurate") => return search::search(state, &params, false),
        Some("blur") => return search::search(state, &params, true),
        Some(_) | None => {}
    }
    if params.raw("beta") == Some("true") {
        return search::show_beta(state, &params);
    }
    if params.raw("exportV2") == Some("true") {
        return archive::export(state, &params, archive::Format::V2);
    }
    if params.raw("export") == Some("true") {
        return archive::export(state, &params, archive::Format::V1);
    }
    read(state, call, &params)
}

/// `consistency=linear`: the read sees every write that was acknowledged before it, by any member. Not
/// of Nacos, whose reads are those of the node that is asked.
fn wants_linear(call: &Call) -> bool {
    let query = call.uri.query().unwrap_or_default();
    query.contains("consistency=linear") && call.params().raw("consistency") == Some("linear")
}

async fn get_linear(state: Arc<State>, call: Call) -> Result<Answer, Failure> {
    crate::membership::linearize(&state).await?;
    get(&state, &call)
}

async fn post(state: Arc<State>, call: Call) -> Result<Answer, Failure> {
    match Post::of(&call) {
        Post::Import => return Box::pin(archive::import(&state, &call)).await,
        Post::Clone => return Box::pin(archive::clone(&state, &call)).await,
        Post::Publish => {}
    }
    let publish = {
        let mut params = call.params();
        publish_of(&state, &call, &mut params, &Words::V1)?
    };
    // The body may be thirty megabytes; it is not needed while the disk works.
    drop(call);
    state.write_config(publish.into()).await?;
    Ok(Answer::new(crate::call::JSON, "true"))
}

async fn delete(state: Arc<State>, call: Call) -> Result<Answer, Failure> {
    let params = call.params();
    if params.raw("delType") == Some("ids") {
        let keys = search::keys_of_ids(&state, &params)?;
        return search::remove_all(&state, &call, keys).await;
    }
    if params.raw("beta") == Some("true") {
        let gray = Some(GrayName::Beta);
        let remove = remove_of(&state, &call, &params, &Words::V1, gray)?;
        drop(params);
        state.write_config(remove.into()).await?;
        return Ok(Answer::rest_result_with("stop beta ok", &true));
    }
    let gray = params.text("tag").map(|tag| tag_name(tag).map(GrayName::Tag)).transpose()?;
    let remove = remove_of(&state, &call, &params, &Words::V1, gray)?;
    drop(params);
    state.write_config(remove.into()).await?;
    Ok(Answer::new(crate::call::JSON, "true"))
}

/// What a family of paths calls its parameters.
pub(crate) struct Words {
    pub(crate) namespace: &'static str,
    pub(crate) group: &'static str,
    pub(crate) user: &'static str,
    pub(crate) tags: &'static str,
}

impl Words {
    pub(crate) const V1: Self =
        Self { namespace: "tenant", group: "group", user: "src_user", tags: "config_tags" };
    pub(crate) const V2: Self =
        Self { namespace: "namespaceId", group: "group", user: "srcUser", tags: "configTags" };
    pub(crate) const V3: Self =
        Self { namespace: "namespaceId", group: "groupName", user: "srcUser", tags: "configTags" };

    /// The checked key of a call, borrowed.
    pub(crate) fn key<'p>(
        &self,
        params: &'p Params<'_>,
    ) -> Result<(&'p str, &'p str, &'p str), Failure> {
        let data_id = DataId::check(params.present("dataId")?.trim())?;
        let group = Group::check(params.present(self.group)?.trim())?;
        let namespace = Namespace::canonical(params.text_or(self.namespace, ""))?;
        Ok((namespace, group, data_id))
    }

    /// The checked key of a call, owned.
    pub(crate) fn owned_key(&self, params: &Params<'_>) -> Result<ConfigKey, Failure> {
        let (namespace, group, data_id) = self.key(params)?;
        Ok(ConfigKey {
            namespace: Namespace::parse(namespace)?,
            group: Group::new(group)?,
            data_id: DataId::new(data_id)?,
        })
    }
}

/// Reads one config as its caller sees it.
fn read(state: &State, call: &Call, params: &Params<'_>) -> Result<Answer, Failure> {
    let (namespace, group, data_id) = Words::V1.key(params)?;
    let wanted = params.text("tag");
    let tag = wanted.or_else(|| call.header("vipserver-tag").filter(|tag| !tag.is_empty()));
    let configs = state.configs();
    let caller = Caller { ip: call.ip_text(), tag };
    let view = configs.view(namespace, group, data_id, &caller);
    state.settled(KeyRef { namespace, group, data_id }, view.is_some())?;
    match view.filter(|view| view.gray.is_some() || wanted.is_none()) {
        Some(view) => {
            let content_type = content_type(view.config_type);
            Ok(describe(Answer::new(content_type, shared(view.content)), &view, tag))
        }
        None => Ok(Answer::text("config data not exist\n").status(StatusCode::NOT_FOUND)),
    }
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

/// The command of a publish call.
pub(crate) fn publish_of(
    state: &State,
    call: &Call,
    params: &mut Params<'_>,
    words: &Words,
) -> Result<Publish, Failure> {
    let content: Cow<'_, str> = params.take("content").ok_or(Failure::missing("content"))?;
    let key = words.owned_key(params)?;
    let operator = operator(call, params.text(words.user));
    let publish = Publish::new(key, content.into(), operator, state.now().1)?;
    let inherit = Inherit {
        app_name: params.raw("appName").is_none(),
        tags: params.raw(words.tags).is_none(),
    };
    let text = |name| params.text_or(name, "").into();
    let labels = Labels {
        // Nacos stores `text` for whatever it does not know, nothing included.
        config_type: Some(ConfigType::from_text(params.text_or("type", ""))),
        app_name: text("appName"),
        desc: text("desc"),
        tags: list(params.text_or(words.tags, "")),
        use_: text("use"),
        effect: text("effect"),
        schema: text("schema"),
        encrypted_data_key: text("encryptedDataKey"),
    };
    let publish = publish.with_labels(labels, inherit)?;
    let publish = match call.header("casmd5").map(str::trim).filter(|md5| !md5.is_empty()) {
        Some(md5) => publish.with_cas(md5),
        None => publish,
    };
    let beta_ips = list(call.header("betaips").unwrap_or_default());
    if !beta_ips.is_empty() {
        return Ok(publish.with_gray(Gray::Beta(beta_ips))?);
    }
    match params.text("tag") {
        Some(tag) => Ok(publish.with_gray(Gray::Tag(tag_name(tag)?))?),
        None => Ok(publish),
    }
}

/// The command of a remove call.
pub(crate) fn remove_of(
    state: &State,
    call: &Call,
    params: &Params<'_>,
    words: &Words,
    gray: Option<GrayName>,
) -> Result<Remove, Failure> {
    let key = words.owned_key(params)?;
    let operator = operator(call, params.text(words.user));
    Ok(Remove { key, gray, operator, at: state.now().1 })
}

/// Who calls, for history: the user that is known, else the one that the call names.
pub(crate) fn operator(call: &Call, user: Option<&str>) -> Operator {
    let user = call.user.as_deref().or(user);
    Operator { user: user.unwrap_or_default().into(), ip: call.ip_text().into() }
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

/// The items of a comma list, without blanks.
pub(crate) fn list(text: &str) -> Vec<Box<str>> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Into::into).collect()
}
