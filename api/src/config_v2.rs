//! Configs over `/v2/cs/config`, `/v3/client/cs/config` and the one admin call of v3 that an SDK makes
//! (http-v2 §2.1, §3). Same work as v1 under other names and in the `Result` envelope.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use nacolet_config::{Caller, Config, ConfigType, GrayKind};
use nacolet_model::{ConfigKey, DataId, Group, Namespace, limits};
use serde::Serialize;

use crate::about;
use crate::call::{Answer, Ask, Call, Envelope};
use crate::config::{Words, describe, gray_of, publish_of, remove_of, tags, view};
use crate::params::{Id, field};
use crate::router::{Permission, Routes};
use crate::search::{self, Asked, Filter, PageOf};
use crate::server::State;
use crate::status::{Code, Failure};

/// Page size of v3 where the caller names none.
const PAGE_SIZE: usize = 100;

pub(crate) fn routes(routes: &mut Routes) {
    use Permission::{ConfigRead, ConfigWrite};
    routes
        .at_large("/v2/cs/config", body_bytes_max)
        .now(Method::GET, ConfigRead, about::config_v1, read)
        .later(Method::POST, ConfigWrite, about::config_v1, publish)
        .later(Method::DELETE, ConfigWrite, about::config_v1, remove);
    routes.at("/v2/cs/config/searchDetail").later(
        Method::GET,
        ConfigRead,
        |parts| Filter::decode(parts, Id::TENANT, Id::GROUP),
        search_detail,
    );
    routes.at("/v3/client/cs/config").now(Method::GET, ConfigRead, about::config_v3, client_read);
    routes.at("/v3/admin/cs/config/list").later(
        Method::GET,
        ConfigRead,
        |parts| Filter::decode(parts, Id::NAMESPACE_ID, Id::GROUP_NAME),
        admin_list,
    );
}

fn body_bytes_max(call: &Call) -> usize {
    if call.method == Method::POST {
        limits::PUBLISH_BODY_BYTES_MAX
    } else {
        limits::BODY_BYTES_MAX
    }
}

fn read(state: &State, ask: &Ask<ConfigKey>) -> Result<Answer, Failure> {
    let (wanted, tag) = tags(ask);
    let configs = state.configs();
    let view = view(state, &configs, &ask.about, &Caller { ip: &ask.ip, tag })?;
    match view.filter(|view| view.gray.is_some() || wanted.is_none()) {
        Some(view) => Ok(describe(Answer::result(&**view.content), &view, tag)),
        None => Err(Failure::not_found(Code::RESOURCE_NOT_FOUND, "config data not exist")),
    }
}

async fn publish(state: Arc<State>, ask: Ask<ConfigKey>) -> Result<Answer, Failure> {
    let Ask { about: key, params, headers, ip, user, is_v3 } = ask;
    let ask = Ask { about: (), params, headers, ip, user, is_v3 };
    let publish = publish_of(&state, ask, key, &Words::V2).await?;
    state.write_config(publish.into()).await?;
    Ok(Answer::result(&true))
}

async fn remove(state: Arc<State>, ask: Ask<ConfigKey>) -> Result<Answer, Failure> {
    let gray = gray_of(&ask.params)?;
    let remove = remove_of(&state, &ask, ask.about.clone(), &Words::V2, gray)?;
    state.write_config(remove.into()).await?;
    Ok(Answer::result(&true))
}

/// Not wrapped, and with the parameter names of v1 (Nacos).
async fn search_detail(state: Arc<State>, ask: Ask<Filter>) -> Result<Answer, Failure> {
    let params = &ask.params;
    params.present(Words::V1.detail)?;
    let is_blurred = params.text_or(field::SEARCH, "blur") == "blur";
    search::search(&state, params, &ask.about, is_blurred).await
}

/// The HTTP read of 3.x. A config that is not there is 200 with a code, not 404.
fn client_read(state: &State, ask: &Ask<ConfigKey>) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct ConfigQueryResponse<'a> {
        result_code: u16,
        error_code: u16,
        message: Option<&'a str>,
        request_id: Option<&'a str>,
        content: &'a str,
        encrypted_data_key: &'a str,
        content_type: &'static str,
        md5: String,
        last_modified: u64,
        tag: Option<&'a str>,
        beta: bool,
        success: bool,
    }
    let configs = state.configs();
    let view = view(state, &configs, &ask.about, &Caller { ip: &ask.ip, tag: None })?;
    let Some(view) = view else {
        let Code(code, words) = Code::RESOURCE_NOT_FOUND;
        let nothing = Envelope { code, message: Some(words), data: &None::<&str> };
        return Ok(Answer::json(&nothing).status(StatusCode::OK));
    };
    Ok(Answer::result(&ConfigQueryResponse {
        result_code: 200,
        error_code: 0,
        message: None,
        request_id: None,
        content: view.content,
        encrypted_data_key: view.encrypted_data_key,
        content_type: view.config_type.unwrap_or(ConfigType::Text).as_str(),
        md5: view.md5.to_string(),
        last_modified: view.modified.as_millis(),
        tag: None,
        beta: view.gray == Some(GrayKind::Beta),
        success: true,
    }))
}

/// What the Go SDK's search falls back to.
async fn admin_list(state: Arc<State>, ask: Ask<Filter>) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct ConfigBasicInfo {
        id: u64,
        namespace_id: Namespace,
        group_name: Group,
        data_id: DataId,
        md5: String,
        #[serde(rename = "type")]
        config_type: Option<&'static str>,
        app_name: Box<str>,
        create_time: u64,
        modify_time: u64,
    }
    let params = &ask.params;
    let is_blurred = params.text_or(field::SEARCH, "blur") == "blur";
    let asked = Asked::new(params, &ask.about, &Words::V2, Some(PAGE_SIZE))?;
    let found = search::found(&state, &asked, is_blurred).await?;
    let page = PageOf::new(found, |(key, config): (ConfigKey, Config)| ConfigBasicInfo {
        id: config.id,
        namespace_id: key.namespace,
        group_name: key.group,
        data_id: key.data_id,
        md5: config.md5.to_string(),
        config_type: config.config_type.map(ConfigType::as_str),
        app_name: config.app_name().into(),
        create_time: config.created.as_millis(),
        modify_time: config.modified.as_millis(),
    });
    Ok(Answer::result(&page))
}
