//! Config messages: query, publish, remove, listen. Keys and namespaces follow the rules of the HTTP
//! API; only the shapes differ.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Bytes;
use nacolet_config::{
    ConfigType, Gray, GrayKind, GrayName, Inherit, Labels, Md5, Operator, Publish, Remove,
};
use nacolet_model::{ConfigKey, DataId, Group, Namespace, limits};
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::message::{Empty, Refusal, done, failed};
use super::wire::Payload;
use super::{Zone, watch};
use crate::config::{list, tag_name};

/// Reads a request; `None` of a text is the same as an empty one.
macro_rules! request {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub(super) struct $name {
            pub(super) request_id: Option<String>,
            $(pub(super) $field: Option<$type>,)*
        }
    };
}
pub(super) use request;

/// The text, unless it is blank.
pub(super) fn text(field: Option<&String>) -> Option<&str> {
    field.map(|text| text.trim()).filter(|text| !text.is_empty())
}

pub(super) fn key(
    data_id: Option<&String>,
    group: Option<&String>,
    tenant: Option<&String>,
) -> Result<ConfigKey, Refusal> {
    Ok(ConfigKey {
        namespace: Namespace::parse(text(tenant).unwrap_or_default())?,
        group: Group::new(text(group).unwrap_or_default())?,
        data_id: DataId::new(text(data_id).unwrap_or_default())?,
    })
}

request! {
    /// `ConfigQueryRequest`
    Query { data_id: String, group: String, tenant: String, tag: String, }
}

/// `ConfigQueryResponse`. There is no `tag`: Go wants a boolean there, Rust a text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    content: &'a str,
    content_type: &'a str,
    md5: &'a str,
    encrypted_data_key: &'a str,
    last_modified: u64,
    beta: bool,
}

const NO_CONTENT: Content<'_> = Content {
    content: "",
    content_type: "text",
    md5: "",
    encrypted_data_key: "",
    last_modified: 0,
    beta: false,
};

pub(super) fn query(zone: &Zone, client: &Client, payload: &Payload, query: &Query) -> Bytes {
    const KIND: &str = "ConfigQueryResponse";
    let id = query.request_id.as_deref();
    let key = match key(query.data_id.as_ref(), query.group.as_ref(), query.tenant.as_ref()) {
        Ok(key) => key,
        Err(refusal) => return failed(KIND, id, &refusal, NO_CONTENT),
    };
    let wanted = text(query.tag.as_ref());
    let tag = wanted.or_else(|| payload.header("Vipserver-Tag"));
    let configs = zone.state.configs();
    let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
    let view = client
        .with_caller(tag, |caller| configs.view(namespace, group, key.data_id.as_str(), caller));
    if let Err(failure) = zone.state.settled((&key).into(), view.is_some()) {
        return failed(KIND, id, &failure.into(), NO_CONTENT);
    }
    let Some(view) = view.filter(|view| view.gray.is_some() || wanted.is_none()) else {
        return failed(KIND, id, &Refusal::NOT_FOUND, NO_CONTENT);
    };
    // Rendering a large content takes a while and needs no lock.
    let content = Arc::clone(view.content);
    let (md5, last_modified) = (view.md5.to_string(), view.modified.as_millis());
    let content_type = view.config_type.unwrap_or(ConfigType::Text).as_str();
    let encrypted_data_key = view.encrypted_data_key.to_owned();
    let beta = view.gray == Some(GrayKind::Beta);
    drop(configs);
    let answer = Content {
        content: &content,
        content_type,
        md5: &md5,
        encrypted_data_key: &encrypted_data_key,
        last_modified,
        beta,
    };
    done(KIND, id, answer)
}

request! {
    /// `ConfigPublishRequest`
    Publishing {
        data_id: String,
        group: String,
        tenant: String,
        content: String,
        cas_md5: String,
        addition_map: BTreeMap<String, Option<String>>,
    }
}

impl Publishing {
    /// An addition; clients send all of them always, and an empty one says nothing.
    fn addition(&self, name: &str) -> Option<&str> {
        text(self.addition_map.as_ref()?.get(name)?.as_ref())
    }

    fn command(
        &mut self,
        zone: &Zone,
        client: &Client,
        user: Option<Arc<str>>,
    ) -> Result<Publish, Refusal> {
        let content = self.content.take().unwrap_or_default();
        let key = key(self.data_id.as_ref(), self.group.as_ref(), self.tenant.as_ref())?;
        let operator = operator(client, user.as_deref().or(self.addition("src_user")));
        let publish = Publish::new(key, content.into(), operator, zone.state.now().1)?;
        let inherit = Inherit {
            app_name: self.addition("appName").is_none(),
            tags: self.addition("config_tags").is_none(),
        };
        let said = |name| self.addition(name).unwrap_or_default();
        let labels = Labels {
            config_type: Some(ConfigType::from_text(said("type"))),
            app_name: said("appName").into(),
            desc: said("desc").into(),
            tags: list(said("config_tags")),
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
        let beta_ips = list(said("betaIps"));
        if !beta_ips.is_empty() {
            return Ok(publish.with_gray(Gray::Beta(beta_ips))?);
        }
        match self.addition("tag") {
            Some(tag) => Ok(publish.with_gray(Gray::Tag(tag_name(tag)?))?),
            None => Ok(publish),
        }
    }
}

fn operator(client: &Client, user: Option<&str>) -> Operator {
    Operator { user: user.unwrap_or_default().into(), ip: (*client.ip).into() }
}

pub(super) async fn publish(
    zone: &Zone,
    client: &Client,
    user: Option<Arc<str>>,
    mut request: Publishing,
) -> Bytes {
    let command = request.command(zone, client, user).map(Into::into);
    write(zone, "ConfigPublishResponse", request.request_id.as_deref(), command).await
}

request! {
    /// `ConfigRemoveRequest`
    Removing { data_id: String, group: String, tenant: String, tag: String, }
}

impl Removing {
    fn command(
        &self,
        zone: &Zone,
        client: &Client,
        user: Option<Arc<str>>,
    ) -> Result<Remove, Refusal> {
        Ok(Remove {
            key: key(self.data_id.as_ref(), self.group.as_ref(), self.tenant.as_ref())?,
            gray: text(self.tag.as_ref()).map(tag_name).transpose()?.map(GrayName::Tag),
            operator: operator(client, user.as_deref()),
            at: zone.state.now().1,
        })
    }
}

pub(super) async fn remove(
    zone: &Zone,
    client: &Client,
    user: Option<Arc<str>>,
    request: Removing,
) -> Bytes {
    let command = request.command(zone, client, user).map(Into::into);
    write(zone, "ConfigRemoveResponse", request.request_id.as_deref(), command).await
}

async fn write(
    zone: &Zone,
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
pub(super) struct Context {
    data_id: Option<String>,
    group: Option<String>,
    tenant: Option<String>,
    md5: Option<String>,
}

impl Context {
    pub(super) fn key(&self) -> Result<ConfigKey, Refusal> {
        key(self.data_id.as_ref(), self.group.as_ref(), self.tenant.as_ref())
    }
}

request! {
    /// `ConfigBatchListenRequest`
    BatchListen { listen: bool, config_listen_contexts: Vec<Context>, }
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

pub(super) fn listen(
    zone: &Rc<Zone>,
    client: &Client,
    payload: &Payload,
    request: &BatchListen,
) -> Bytes {
    const KIND: &str = "ConfigChangeBatchListenResponse";
    let id = request.request_id.as_deref();
    match differing(zone, client, payload, request) {
        Ok(changed_configs) => done(KIND, id, ChangedConfigs { changed_configs }),
        Err(refusal) => failed(KIND, id, &refusal, ChangedConfigs { changed_configs: vec![] }),
    }
}

fn differing<'a>(
    zone: &Rc<Zone>,
    client: &Client,
    payload: &Payload,
    request: &'a BatchListen,
) -> Result<Vec<Changed<'a>>, Refusal> {
    let contexts = request.config_listen_contexts.as_deref().unwrap_or_default();
    if contexts.len() > limits::LISTEN_KEYS_MAX {
        return Err(Refusal::invalid("too many configs in one request"));
    }
    let keys = contexts.iter().map(Context::key).collect::<Result<Vec<_>, _>>()?;
    let mut changed = Vec::new();
    for (key, context) in keys.into_iter().zip(contexts) {
        if request.listen == Some(false) {
            watch::ignore_config(zone, client, &key);
            continue;
        }
        let md5 = Md5::claimed(context.md5.as_deref().unwrap_or_default().trim());
        let is_blank = text(context.tenant.as_ref()).is_none();
        let tag = payload.header("Vipserver-Tag");
        if watch::listen(zone, client, tag, key, md5, is_blank)? {
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
