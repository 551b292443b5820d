//! What the console and tools ask of configs: search, everything about one config, its beta version,
//! removal by id (http-v1 §2.1, §2.2). Ids are texts in JSON and stable while a config lives.

use std::collections::BTreeSet;
use std::sync::Arc;

use nacolet_config::{Config, ConfigType, KeyRef, Page, Remove, Search, SearchMode};
use nacolet_model::{ConfigKey, Namespace, limits};
use serde::Serialize;

use crate::call::{Answer, Call};
use crate::config::{Words, operator};
use crate::params::Params;
use crate::server::State;
use crate::status::{Code, Failure};

/// `ConfigInfo` of Nacos.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConfigInfo<'a> {
    id: String,
    data_id: &'a str,
    group: &'a str,
    content: &'a str,
    md5: String,
    encrypted_data_key: &'a str,
    tenant: &'a str,
    app_name: &'a str,
    #[serde(rename = "type")]
    config_type: Option<&'static str>,
    last_modified: u64,
}

/// `ConfigAllInfo` of Nacos.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigAllInfo<'a> {
    #[serde(flatten)]
    info: ConfigInfo<'a>,
    create_time: u64,
    modify_time: u64,
    create_user: Option<&'a str>,
    create_ip: Option<&'a str>,
    #[serde(flatten)]
    labels: ConfigAdvanceInfo<'a>,
}

/// The labels of `ConfigAllInfo` and of `ConfigAdvanceInfo`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigAdvanceInfo<'a> {
    desc: Option<&'a str>,
    #[serde(rename = "use")]
    use_: Option<&'a str>,
    effect: Option<&'a str>,
    schema: Option<&'a str>,
    config_tags: Option<String>,
}

/// `Page` of Nacos.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageOf<T> {
    total_count: usize,
    page_number: usize,
    pages_available: usize,
    page_items: Vec<T>,
}

impl<T> PageOf<T> {
    pub(crate) fn new<S>(page: Page<S>, item: impl FnMut(S) -> T) -> Self {
        Self {
            total_count: page.total,
            page_number: page.page_no,
            pages_available: page.pages,
            page_items: page.items.into_iter().map(item).collect(),
        }
    }
}

/// How this caller spells the namespace: the default one is `public` only for who says so.
pub(crate) fn spelling<'a>(canonical: &'a str, asked: &'a str) -> &'a str {
    if canonical == Namespace::PUBLIC && asked.trim() != Namespace::PUBLIC { "" } else { canonical }
}

pub(crate) fn config_info<'a>(
    key: KeyRef<'a>,
    config: &'a Config,
    tenant: &'a str,
) -> ConfigInfo<'a> {
    ConfigInfo {
        id: config.id.to_string(),
        data_id: key.data_id,
        group: key.group,
        content: &config.content,
        md5: config.md5.to_string(),
        encrypted_data_key: config.encrypted_data_key(),
        tenant,
        app_name: config.app_name(),
        config_type: config.config_type.map(ConfigType::as_str),
        last_modified: config.modified.as_millis(),
    }
}

fn filled(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

pub(crate) fn tags_text(config: &Config) -> Option<String> {
    Some(config.tags().join(",")).filter(|text| !text.is_empty())
}

fn advance_info(config: &Config) -> ConfigAdvanceInfo<'_> {
    ConfigAdvanceInfo {
        desc: filled(config.desc()),
        use_: filled(config.use_()),
        effect: filled(config.effect()),
        schema: filled(config.schema()),
        config_tags: tags_text(config),
    }
}

/// GET `?show=all`: everything about one config; an empty body when there is none (Nacos).
pub(crate) fn show_all(state: &State, params: &Params<'_>) -> Result<Answer, Failure> {
    let (namespace, group, data_id) = Words::V1.key(params)?;
    let configs = state.all_configs()?;
    let Some(config) = configs.get(namespace, group, data_id) else { return Ok(Answer::empty()) };
    let tenant = spelling(namespace, params.text_or("tenant", ""));
    let all = ConfigAllInfo {
        info: config_info(KeyRef { namespace, group, data_id }, config, tenant),
        create_time: config.created.as_millis(),
        modify_time: config.modified.as_millis(),
        create_user: filled(&config.operator.user),
        create_ip: filled(&config.operator.ip),
        labels: advance_info(config),
    };
    Ok(Answer::json(&all))
}

/// GET `/catalog`: the labels of one config.
pub(crate) fn catalog(state: &State, call: &Call) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Catalog<'a> {
        create_time: u64,
        modify_time: u64,
        create_user: Option<&'a str>,
        create_ip: Option<&'a str>,
        #[serde(flatten)]
        labels: ConfigAdvanceInfo<'a>,
    }
    let params = call.params();
    let (namespace, group, data_id) = Words::V1.key(&params)?;
    let configs = state.all_configs()?;
    let catalog = configs.get(namespace, group, data_id).map(|config| Catalog {
        create_time: config.created.as_millis(),
        modify_time: config.modified.as_millis(),
        create_user: filled(&config.operator.user),
        create_ip: filled(&config.operator.ip),
        labels: advance_info(config),
    });
    Ok(Answer::rest_result(&catalog))
}

/// GET `?beta=true`: the beta version of one config and who sees it.
pub(crate) fn show_beta(state: &State, params: &Params<'_>) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct ConfigInfo4Beta<'a> {
        id: String,
        data_id: &'a str,
        group: &'a str,
        content: &'a str,
        md5: String,
        encrypted_data_key: &'a str,
        tenant: &'a str,
        app_name: &'a str,
        #[serde(rename = "type")]
        config_type: Option<&'static str>,
        beta_ips: String,
    }
    let (namespace, group, data_id) = Words::V1.key(params)?;
    let configs = state.all_configs()?;
    let beta = configs.beta(namespace, group, data_id).map(|beta| ConfigInfo4Beta {
        id: beta.id.to_string(),
        data_id,
        group,
        content: &beta.content,
        md5: beta.md5.to_string(),
        encrypted_data_key: beta.encrypted_data_key(),
        tenant: spelling(namespace, params.text_or("tenant", "")),
        app_name: beta.app_name(),
        config_type: beta.config_type().map(ConfigType::as_str),
        beta_ips: beta.beta_ips().join(","),
    });
    Ok(Answer::rest_result_with("query beta ok", &beta))
}

/// What a search asks for, still as texts.
pub(crate) struct Asked<'p> {
    data_id: &'p str,
    group: &'p str,
    namespace: &'p str,
    app_name: &'p str,
    tags: Vec<&'p str>,
    types: Vec<ConfigType>,
    content: &'p str,
    page_no: usize,
    page_size: usize,
}

impl<'p> Asked<'p> {
    /// Reads the parameters under the names that `words` gives them.
    pub(crate) fn new(
        params: &'p Params<'_>,
        words: &Words,
        content: &str,
        page_size_default: Option<usize>,
    ) -> Result<Self, Failure> {
        let (page_no, page_size) = match page_size_default {
            None => (params.number_required("pageNo")?, params.number_required("pageSize")?),
            Some(size) => (params.number_or("pageNo", 1)?, params.number_or("pageSize", size)?),
        };
        let types = params.text("types").or_else(|| params.text("type")).unwrap_or_default();
        Ok(Self {
            data_id: params.present("dataId")?.trim(),
            group: params.present(words.group)?.trim(),
            namespace: Namespace::canonical(params.text_or(words.namespace, ""))?,
            app_name: params.text_or("appName", ""),
            tags: split(params.text_or(words.tags, "")),
            types: split(types).into_iter().filter_map(ConfigType::parse).collect(),
            content: params.text_or(content, ""),
            page_no,
            page_size: page_size.min(limits::SEARCH_PAGE_MAX),
        })
    }

    pub(crate) fn search(&self, is_blurred: bool) -> Search<'_> {
        Search {
            namespace: self.namespace,
            data_id: self.data_id,
            group: self.group,
            mode: if is_blurred { SearchMode::Blur } else { SearchMode::Accurate },
            app_name: self.app_name,
            tags: &self.tags,
            types: &self.types,
            content_contains: self.content,
            page_no: self.page_no,
            page_size: self.page_size,
        }
    }
}

fn split(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// GET `?search=accurate|blur`.
pub(crate) fn search(
    state: &State,
    params: &Params<'_>,
    is_blurred: bool,
) -> Result<Answer, Failure> {
    let asked = Asked::new(params, &Words::V1, "config_detail", None)?;
    page(state, params, &asked, is_blurred)
}

/// One page of a search with contents.
pub(crate) fn page(
    state: &State,
    params: &Params<'_>,
    asked: &Asked<'_>,
    is_blurred: bool,
) -> Result<Answer, Failure> {
    let tenant = params.text("tenant").or_else(|| params.text("namespaceId")).unwrap_or_default();
    let tenant = spelling(asked.namespace, tenant);
    let configs = state.all_configs()?;
    let found = configs.search(&asked.search(is_blurred));
    bounded(found.items.iter().map(|(_, config)| *config), limits::SEARCH_BYTES_MAX)?;
    state.check_room(found.items.iter().map(|(_, config)| config.content.len()).sum())?;
    let page = PageOf::new(found, |(key, config)| config_info(key, config, tenant));
    Ok(Answer::json(&page))
}

/// Refuses an answer whose contents would not fit into memory many times over.
pub(crate) fn bounded<'s>(
    configs: impl Iterator<Item = &'s Config>,
    bytes_max: usize,
) -> Result<(), Failure> {
    let bytes: usize = configs.map(|config| config.content.len()).sum();
    if bytes <= bytes_max {
        return Ok(());
    }
    let words = format!("the contents are {bytes} bytes, more than {bytes_max}: ask for fewer");
    Err(Failure::invalid_as(Code::OVER_MAX_SIZE, words))
}

/// The keys behind the ids of a call; ids that are not there are left out (Nacos).
pub(crate) fn keys_of_ids(state: &State, params: &Params<'_>) -> Result<Vec<ConfigKey>, Failure> {
    let ids = ids(params.required("ids")?)?;
    let configs = state.all_configs()?;
    Ok(configs.by_ids(&ids).into_iter().filter_map(|(key, _)| key.to_key()).collect())
}

/// A comma list of ids.
pub(crate) fn ids(text: &str) -> Result<BTreeSet<u64>, Failure> {
    let id = |item: &str| item.parse().ok().ok_or_else(|| Failure::not_a_number("ids", item));
    split(text).into_iter().map(id).collect()
}

/// Removes each of these configs, one after the other.
pub(crate) async fn remove_all(
    state: &Arc<State>,
    call: &Call,
    keys: Vec<ConfigKey>,
) -> Result<Answer, Failure> {
    let user = call.params().text("src_user").map(str::to_owned);
    let operator = operator(call, user.as_deref());
    for key in keys {
        let at = state.now().1;
        let remove = Remove { key, gray: None, operator: operator.clone(), at };
        state.write_config(remove.into()).await?;
    }
    Ok(Answer::rest_result(&true))
}
