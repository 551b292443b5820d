//! Config messages: query, publish, remove, listen. Keys and namespaces follow the rules of the
//! HTTP API; only the shapes differ.

use std::sync::Arc;

use hyper::body::Bytes;
use nacolet_config::{
    ConfigType, Gray, GrayKind, GrayName, Inherit, Labels, Md5, Operator, Publish, Remove,
};
use nacolet_model::{ConfigKey, WallTime, limits};
use serde::{Deserialize, Serialize};
use smol::future::yield_now;

use crate::config::words::{list, tag_name};
use crate::grpc::message::read::{Unread, key, request, text};
use crate::grpc::message::{Empty, Refusal, Reply, done, done_with, failed};
use crate::grpc::tell::interest;
use crate::grpc::zone::{Asker, GrpcZone};
use crate::http::json::{AtMost, Texts, object};

/// `ConfigQueryRequest`
pub(crate) struct ConfigQueryRequest {
    id: Option<String>,
    pub(crate) key: ConfigKey,
    tag: Option<String>,
}

impl ConfigQueryRequest {
    pub(crate) fn read(json: &[u8]) -> Result<Self, Unread> {
        request! { Wire { data_id: String, group: String, tenant: String, tag: String, } }
        let Wire { request_id: id, data_id, group, tenant, tag } = object(json)?;
        match key(data_id.as_ref(), group.as_ref(), tenant.as_ref()) {
            Ok(key) => Ok(Self { id, key, tag }),
            // No config has an empty name; one that is not said at all is a mistake.
            Err(_) if data_id.is_some() && group.is_some() && is_blank(&data_id, &group) => {
                let answer = failed(CONTENT, id.as_deref(), &Refusal::NOT_FOUND, NO_CONTENT);
                Err(Unread::Refused(answer))
            }
            Err(refusal) => {
                Err(Unread::Refused(failed(CONTENT, id.as_deref(), &refusal, NO_CONTENT)))
            }
        }
    }
}

fn is_blank(data_id: &Option<String>, group: &Option<String>) -> bool {
    [data_id, group].iter().any(|name| text(name.as_ref()).is_none())
}

const CONTENT: &str = "ConfigQueryResponse";

/// `ConfigQueryResponse`. There is no `tag`: Go wants a boolean there, Rust a text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigQueryResponse<'a> {
    content: &'a str,
    content_type: &'a str,
    md5: &'a str,
    encrypted_data_key: &'a str,
    last_modified: u64,
    beta: bool,
}

const NO_CONTENT: ConfigQueryResponse<'_> = ConfigQueryResponse {
    content: "",
    content_type: "text",
    md5: "",
    encrypted_data_key: "",
    last_modified: 0,
    beta: false,
};

pub(crate) async fn query(from: &Asker<'_>, query: &ConfigQueryRequest) -> Reply {
    let id = query.id.as_deref();
    if from.client.listens.borrow().contains_key(&query.key) {
        // It works through the answer to a listen.
        from.zone.look_at_the_clock();
        from.client.answers_listen();
    }
    let (view, content) = match look(from, query) {
        Ok(found) => found,
        Err(refusal) => return failed(CONTENT, id, &refusal, NO_CONTENT).into(),
    };
    let Seen { md5, encrypted_data_key, content_type, last_modified, beta } = &view;
    let answer = ConfigQueryResponse {
        content: if content.len() > limits::INLINE_ANSWER_BYTES_MAX { "" } else { &content },
        content_type,
        md5,
        encrypted_data_key,
        last_modified: *last_modified,
        beta: *beta,
    };
    if content.len() > limits::INLINE_ANSWER_BYTES_MAX {
        return done_with(CONTENT, id, answer, ("content", Arc::clone(&content))).await;
    }
    done(CONTENT, id, answer).into()
}

/// What a client sees of a config beside its content.
struct Seen {
    md5: String,
    encrypted_data_key: String,
    content_type: &'static str,
    last_modified: u64,
    beta: bool,
}

/// A config as its caller sees it. Nothing of the store is held when it is rendered.
fn look(from: &Asker<'_>, query: &ConfigQueryRequest) -> Result<(Seen, Arc<str>), Refusal> {
    let Asker { zone, client, tag, .. } = from;
    let key = &query.key;
    let wanted = text(query.tag.as_ref());
    let tag = wanted.or(*tag);
    let configs = zone.state.configs();
    let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
    let view = client
        .with_caller(tag, |caller| configs.view(namespace, group, key.data_id.as_str(), caller));
    zone.state.settled(key.into(), view.is_some())?;
    let view = view.filter(|view| view.gray.is_some() || wanted.is_none());
    let view = view.ok_or(Refusal::NOT_FOUND)?;
    let seen = Seen {
        md5: view.md5.to_string(),
        encrypted_data_key: view.encrypted_data_key.to_owned(),
        content_type: view.config_type.unwrap_or(ConfigType::Text).as_str(),
        last_modified: view.modified.as_millis(),
        beta: view.gray == Some(GrayKind::Beta),
    };
    Ok((seen, Arc::clone(view.content)))
}

/// `ConfigPublishRequest`
pub(crate) struct ConfigPublishRequest {
    id: Option<String>,
    pub(crate) key: ConfigKey,
    content: Arc<str>,
    cas_md5: Option<String>,
    additions: Additions,
}

type Additions = Texts<{ limits::GRPC_ADDITIONS_MAX }>;

impl ConfigPublishRequest {
    pub(crate) fn read(json: &[u8]) -> Result<Self, Unread> {
        request! {
            Wire {
                data_id: String,
                group: String,
                tenant: String,
                content: String,
                cas_md5: String,
                addition_map: Additions,
            }
        }
        let wire: Wire = object(json)?;
        let Wire { request_id: id, data_id, group, tenant, content, cas_md5, addition_map } = wire;
        let (content, additions) = (content.unwrap_or_default(), addition_map.unwrap_or_default());
        match key(data_id.as_ref(), group.as_ref(), tenant.as_ref()) {
            Ok(key) => Ok(Self { id, key, content: content.into(), cas_md5, additions }),
            Err(refusal) => Err(refused(PUBLISHED, id.as_deref(), &refusal)),
        }
    }

    /// An addition; clients send all of them always, and an empty one says nothing.
    fn addition(&self, name: &str) -> Option<&str> {
        text(self.additions.0.get(name)?.as_ref())
    }

    fn command(&self, operator: Operator, at: WallTime) -> Result<Publish, Refusal> {
        let (key, content) = (self.key.clone(), Arc::clone(&self.content));
        let publish = Publish::new(key, content, operator, at)?;
        let inherit = Inherit {
            app_name: self.addition("appName").is_none(),
            tags: self.addition("config_tags").is_none(),
        };
        let said = |name| self.addition(name).unwrap_or_default();
        let labels = Labels {
            config_type: Some(ConfigType::from_text(said("type"))),
            app_name: said("appName").into(),
            desc: said("desc").into(),
            tags: list(said("config_tags"), limits::CONFIG_TAGS_MAX),
            use_: said("use").into(),
            effect: said("effect").into(),
            schema: said("schema").into(),
            encrypted_data_key: said("encryptedDataKey").into(),
        };
        let publish = publish.with_labels(labels, inherit)?;
        let publish = match text(self.cas_md5.as_ref()) {
            Some(md5) => publish.with_cas(md5),
            None => publish,
        };
        let beta_ips = list(said("betaIps"), limits::BETA_IPS_MAX);
        if !beta_ips.is_empty() {
            return Ok(publish.with_gray(Gray::Beta(beta_ips))?);
        }
        match self.addition("tag") {
            Some(tag) => Ok(publish.with_gray(Gray::Tag(tag_name(tag)?))?),
            None => Ok(publish),
        }
    }
}

const PUBLISHED: &str = "ConfigPublishResponse";
const REMOVED: &str = "ConfigRemoveResponse";

fn refused(kind: &str, id: Option<&str>, refusal: &Refusal) -> Unread {
    Unread::Refused(failed(kind, id, refusal, Empty {}))
}

/// Who calls: the user that is known, else the one that the request names.
fn operator(from: &Asker<'_>, said: Option<&str>) -> Operator {
    let user = from.user_name().or(said).unwrap_or_default();
    Operator { user: user.into(), ip: (*from.client.ip).into() }
}

pub(crate) async fn publish(from: &Asker<'_>, request: ConfigPublishRequest) -> Bytes {
    let operator = operator(from, request.addition("src_user"));
    let (id, at) = (request.id.clone(), from.zone.state.now().1);
    let command = if request.content.len() > limits::INLINE_BYTES_MAX {
        // Hashing takes a while.
        smol::unblock(move || request.command(operator, at)).await
    } else {
        request.command(operator, at)
    };
    write(from.zone, PUBLISHED, id.as_deref(), command.map(Into::into)).await
}

/// `ConfigRemoveRequest`
pub(crate) struct Removing {
    id: Option<String>,
    pub(crate) key: ConfigKey,
    gray: Option<GrayName>,
}

impl Removing {
    pub(crate) fn read(json: &[u8]) -> Result<Self, Unread> {
        request! { Wire { data_id: String, group: String, tenant: String, tag: String, } }
        let Wire { request_id: id, data_id, group, tenant, tag } = object(json)?;
        let look = || {
            let key = key(data_id.as_ref(), group.as_ref(), tenant.as_ref())?;
            let gray = text(tag.as_ref()).map(tag_name).transpose()?.map(GrayName::Tag);
            Ok((key, gray))
        };
        match look() {
            Ok((key, gray)) => Ok(Self { id, key, gray }),
            Err(refusal) => Err(refused(REMOVED, id.as_deref(), &refusal)),
        }
    }
}

pub(crate) async fn remove(from: &Asker<'_>, request: Removing) -> Bytes {
    let Removing { id, key, gray } = request;
    let (operator, at) = (operator(from, None), from.zone.state.now().1);
    let command = Ok(Remove { key, gray, operator, at }.into());
    write(from.zone, REMOVED, id.as_deref(), command).await
}

async fn write(
    zone: &GrpcZone,
    kind: &str,
    id: Option<&str>,
    command: Result<nacolet_config::Command, Refusal>,
) -> Bytes {
    let outcome = match command {
        Ok(command) => match zone.state.enter() {
            Some(_permit) => zone.state.write_config(command).await.map_err(Refusal::from),
            None => Err(Refusal::OVERLOADED),
        },
        Err(refusal) => Err(refusal),
    };
    match outcome {
        Ok(_) => done(kind, id, Empty {}),
        Err(refusal) => failed(kind, id, &refusal, Empty {}),
    }
}

/// One config of a `ConfigBatchListenRequest`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Context {
    data_id: Option<String>,
    group: Option<String>,
    tenant: Option<String>,
    md5: Option<String>,
}

/// `ConfigBatchListenRequest`
pub(crate) struct BatchListen {
    id: Option<String>,
    is_cancelled: bool,
    pub(crate) keys: Vec<ConfigKey>,
    /// The same in the client's own spelling, each with what it has.
    contexts: Vec<Context>,
}

/// Configs of one request that are looked at before others have their turn: a millisecond.
const CONTEXTS_AT_ONCE: usize = 512;
const LISTENED: &str = "ConfigChangeBatchListenResponse";

impl BatchListen {
    pub(crate) fn read(json: &[u8]) -> Result<Self, Unread> {
        type Contexts = AtMost<Context, { limits::LISTEN_KEYS_MAX }>;
        request! { Wire { listen: bool, config_listen_contexts: Contexts, } }
        let Wire { request_id: id, listen, config_listen_contexts } = object(json)?;
        let named = |Context { data_id, group, tenant, .. }: &Context| {
            key(data_id.as_ref(), group.as_ref(), tenant.as_ref())
        };
        let too_many = || Refusal::invalid("too many configs in one request");
        let read = || {
            let contexts = config_listen_contexts.unwrap_or_default().all(too_many)?;
            let keys = contexts.iter().map(named).collect::<Result<_, _>>()?;
            Ok((keys, contexts))
        };
        match read() {
            Ok((keys, contexts)) => {
                Ok(Self { id, is_cancelled: listen == Some(false), keys, contexts })
            }
            Err(refusal) => {
                let nothing = ChangedConfigs { changed_configs: vec![] };
                Err(Unread::Refused(failed(LISTENED, id.as_deref(), &refusal, nothing)))
            }
        }
    }
}

/// A config that differs, in the client's own spelling.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed<'a> {
    data_id: &'a str,
    group: &'a str,
    tenant: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangedConfigs<'a> {
    changed_configs: Vec<Changed<'a>>,
}

pub(crate) async fn listen(from: &Asker<'_>, request: BatchListen) -> Bytes {
    let BatchListen { id, is_cancelled, keys, contexts } = request;
    let id = id.as_deref();
    from.zone.look_at_the_clock();
    from.client.answers_listen();
    let differing = differing(from, is_cancelled, keys, &contexts).await;
    from.zone.look_at_the_clock();
    from.client.answers_listen();
    match differing {
        Ok(changed_configs) => done(LISTENED, id, ChangedConfigs { changed_configs }),
        Err(refusal) => failed(LISTENED, id, &refusal, ChangedConfigs { changed_configs: vec![] }),
    }
}

async fn differing<'a>(
    from: &Asker<'_>,
    is_cancelled: bool,
    keys: Vec<ConfigKey>,
    contexts: &'a [Context],
) -> Result<Vec<Changed<'a>>, Refusal> {
    let mut changed = Vec::new();
    for (index, (key, context)) in keys.into_iter().zip(contexts).enumerate() {
        if index % CONTEXTS_AT_ONCE == CONTEXTS_AT_ONCE - 1 {
            yield_now().await;
        }
        if is_cancelled {
            interest::ignore_config(from.zone, from.client, &key);
            continue;
        }
        let md5 = Md5::claimed(context.md5.as_deref().unwrap_or_default().trim());
        let is_blank = text(context.tenant.as_ref()).is_none();
        if interest::listen(from, key, md5, is_blank)? {
            let said = |field: &'a Option<String>| field.as_deref().unwrap_or_default();
            changed.push(Changed {
                data_id: said(&context.data_id),
                group: said(&context.group),
                tenant: said(&context.tenant),
            });
        }
    }
    Ok(changed)
}
