//! Configs over `/v2/cs/config` and `/v3/client/cs/config` (docs/nacos/http-v2-v3.md, "Configs of
//! v2" and "v3 for clients"). Same work as v1 under other names and in the `Result` envelope.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use nacolet_config::{Caller, ConfigType, GrayKind};
use nacolet_model::{ConfigKey, limits};
use serde::Serialize;

use crate::access::about;
use crate::access::rule::Permission;
use crate::config::search;
use crate::config::search::Filter;
use crate::config::shown::describe;
use crate::config::words::{Words, by_beta_or_tag, gray_of, publish_of, remove_of, tags, view};
use crate::http::answer::{Envelope, HttpAnswer};
use crate::http::call::Call;
use crate::http::failure::{Code, Failure};
use crate::http::params::{Id, field};
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

pub(crate) fn routes(routes: &mut Routes) {
    use Permission::{ConfigRead, ConfigWrite};
    routes
        .at_large("/v2/cs/config", body_bytes_max)
        .now(Method::GET, ConfigRead, about::config_read, read)
        .later(Method::POST, ConfigWrite, about::config_form_v2, publish)
        .later(Method::DELETE, ConfigWrite, about::config_v2, remove);
    routes.at("/v2/cs/config/searchDetail").later(
        Method::GET,
        ConfigRead,
        |parts| Filter::decode(parts, Id::TENANT, Id::GROUP),
        search_detail,
    );
    routes.at("/v3/client/cs/config").now(Method::GET, ConfigRead, about::config_v3, client_read);
}

fn body_bytes_max(call: &Call) -> usize {
    if call.method == Method::POST {
        limits::PUBLISH_BODY_BYTES_MAX
    } else {
        limits::BODY_BYTES_MAX
    }
}

fn read(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let (wanted, tag) = tags(ask);
    let configs = state.configs();
    let view = view(state, &configs, &ask.about, &Caller { ip: &ask.ip, tag, labels: &[] })?;
    match view.filter(|view| view.gray.is_some() || wanted.is_none()) {
        Some(view) => {
            let answer = HttpAnswer::result_with("", vec![("data", Arc::clone(view.content))]);
            Ok(describe(answer, &view, tag))
        }
        None => Err(Failure::not_found(Code::RESOURCE_NOT_FOUND, "config data not exist")),
    }
}

async fn publish(state: Arc<State>, ask: Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let (key, ask) = ask.apart();
    let publish = publish_of(&state, ask, key, &Words::V2, by_beta_or_tag).await?;
    state.write_config(publish.into()).await?;
    Ok(HttpAnswer::result(&true))
}

async fn remove(state: Arc<State>, ask: Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let gray = gray_of(&ask.params)?;
    let remove = remove_of(&state, &ask, ask.about.clone(), &Words::V2, gray)?;
    state.write_config(remove.into()).await?;
    Ok(HttpAnswer::result(&true))
}

/// Not wrapped, and with the parameter names of v1 (Nacos).
async fn search_detail(state: Arc<State>, ask: Ask<Filter>) -> Result<HttpAnswer, Failure> {
    let params = &ask.params;
    params.present(field::CONFIG_DETAIL_V1)?;
    let is_blurred = params.text_or(field::SEARCH, "blur") == "blur";
    let detail = Some(field::CONFIG_DETAIL_V1);
    search::search(&state, params, &ask.about, detail, is_blurred).await
}

/// The HTTP read of 3.x. A config that is not there is 200 with a code, not 404.
fn client_read(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
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
    let view = view(state, &configs, &ask.about, &Caller { ip: &ask.ip, ..Caller::default() })?;
    let Some(view) = view else {
        let Code(code, words) = Code::RESOURCE_NOT_FOUND;
        let nothing = Envelope { code, message: Some(words), data: &None::<&str> };
        return Ok(HttpAnswer::json(&nothing).status(StatusCode::OK));
    };
    let response = ConfigQueryResponse {
        result_code: 200,
        error_code: 0,
        message: None,
        request_id: None,
        content: "",
        encrypted_data_key: view.encrypted_data_key,
        content_type: view.config_type.unwrap_or(ConfigType::Text).as_str(),
        md5: view.md5.to_string(),
        last_modified: view.modified.as_millis(),
        tag: None,
        beta: view.gray == Some(GrayKind::Beta),
        success: true,
    };
    Ok(HttpAnswer::result_with(&response, vec![("content", Arc::clone(view.content))]))
}
