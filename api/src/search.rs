//! What the console and tools ask of configs: search, everything about one config, its beta version,
//! removal by id (http-v1 §2.1, §2.2). Ids are texts in JSON and stable while a config lives.

use std::collections::BTreeSet;
use std::sync::Arc;

use nacolet_auth::Action;
use nacolet_config::{Config, ConfigType, KeyRef, Operator, Page, Remove, Search, SearchMode};
use nacolet_model::{ConfigKey, limits};
use serde::Serialize;

use crate::about::{About, Permits, Spelled, Whole};
use crate::call::{Answer, Ask, JSON};
use crate::config::Words;
use crate::params::{Fields, Id, Parts, field};
use crate::pieces::{joined, json_text};
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
pub(crate) fn show_all(state: &State, asked: &Spelled<ConfigKey>) -> Result<Answer, Failure> {
    let KeyRef { namespace, group, data_id } = (&asked.of).into();
    let configs = state.all_configs()?;
    let Some(config) = configs.get(namespace, group, data_id) else { return Ok(Answer::empty()) };
    let all = ConfigAllInfo {
        info: config_info(KeyRef { namespace, group, data_id }, config, &asked.tenant),
        create_time: config.created.as_millis(),
        modify_time: config.modified.as_millis(),
        create_user: filled(&config.operator.user),
        create_ip: filled(&config.operator.ip),
        labels: advance_info(config),
    };
    Ok(Answer::json(&all))
}

/// GET `/catalog`: the labels of one config.
pub(crate) fn catalog(state: &State, ask: &Ask<ConfigKey>) -> Result<Answer, Failure> {
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
    let KeyRef { namespace, group, data_id } = (&ask.about).into();
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
pub(crate) fn show_beta(state: &State, asked: &Spelled<ConfigKey>) -> Result<Answer, Failure> {
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
    let KeyRef { namespace, group, data_id } = (&asked.of).into();
    let configs = state.all_configs()?;
    let beta = configs.beta(namespace, group, data_id).map(|beta| ConfigInfo4Beta {
        id: beta.id.to_string(),
        data_id,
        group,
        content: &beta.content,
        md5: beta.md5.to_string(),
        encrypted_data_key: beta.encrypted_data_key(),
        tenant: &asked.tenant,
        app_name: beta.app_name(),
        config_type: beta.config_type().map(ConfigType::as_str),
        beta_ips: beta.beta_ips().join(","),
    });
    Ok(Answer::rest_result_with("query beta ok", &beta))
}

/// Which configs of a namespace a search means; its texts may be patterns.
pub(crate) struct Filter {
    namespace: Spelled<Whole>,
    data_id: Box<str>,
    group: Box<str>,
}

impl Filter {
    /// The filter of a call that has its namespace and its group under these names.
    pub(crate) fn decode(parts: &Parts<'_>, namespace: Id, group: Id) -> Result<Self, Failure> {
        Ok(Self {
            data_id: parts.present_id(Id::DATA_ID)?.into(),
            group: parts.present_id(group)?.into(),
            namespace: Spelled::configs(parts, namespace)?,
        })
    }
}

impl About for Filter {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        self.namespace.is_permitted(action, permits)
    }
}

/// What a search asks for, still as texts.
pub(crate) struct Asked<'p> {
    filter: &'p Filter,
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
        params: &'p Fields,
        filter: &'p Filter,
        words: &Words,
        page_size_default: Option<usize>,
    ) -> Result<Self, Failure> {
        let (page_no, page_size) = match page_size_default {
            None => {
                (params.number_required(field::PAGE_NO)?, params.number_required(field::PAGE_SIZE)?)
            }
            Some(size) => {
                (params.number_or(field::PAGE_NO, 1)?, params.number_or(field::PAGE_SIZE, size)?)
            }
        };
        let types = params.text(field::TYPES).or_else(|| params.text(field::TYPE));
        let types = split(types.unwrap_or_default());
        Ok(Self {
            filter,
            app_name: params.text_or(field::APP_NAME, ""),
            tags: split(params.text_or(words.tags, "")),
            types: types.into_iter().filter_map(ConfigType::parse).collect(),
            content: params.text_or(words.detail, ""),
            page_no,
            page_size: page_size.min(limits::SEARCH_PAGE_MAX),
        })
    }

    pub(crate) fn search(&self, is_blurred: bool) -> Search<'_> {
        Search {
            namespace: self.filter.namespace.of.namespace.as_str(),
            data_id: &self.filter.data_id,
            group: &self.filter.group,
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

/// One page of what is asked for, as it is found, a few configs at a time. Contents are shared.
pub(crate) async fn found(
    state: &State,
    asked: &Asked<'_>,
    is_blurred: bool,
) -> Result<Page<(ConfigKey, Config)>, Failure> {
    let query = asked.search(is_blurred);
    let (page_no, size) = (query.page_no.max(1), query.page_size.clamp(1, limits::SEARCH_PAGE_MAX));
    let first = (page_no - 1).saturating_mul(size);
    let (mut total, mut items, mut bytes) = (0, Vec::new(), 0);
    let looks_inside = !query.content_contains.is_empty();
    state
        .walk_configs(Some(query.namespace), |key, config| {
            if query.matches(key, config) {
                if total >= first
                    && items.len() < size
                    && let Some(key) = key.to_key()
                {
                    bytes += config.content.len();
                    items.push((key, config.clone()));
                }
                total += 1;
            }
            if looks_inside { config.content.len() } else { 0 }
        })
        .await?;
    bounded(bytes, limits::SEARCH_BYTES_MAX)?;
    Ok(Page { total, page_no, pages: total.div_ceil(size), items })
}

/// One page of a search with contents, in the words of v1: GET `?search=accurate|blur`. What is found is
/// rendered while the answer is sent.
pub(crate) async fn search(
    state: &State,
    params: &Fields,
    filter: &Filter,
    is_blurred: bool,
) -> Result<Answer, Failure> {
    let asked = Asked::new(params, filter, &Words::V1, None)?;
    let Page { total, page_no, pages, items } = found(state, &asked, is_blurred).await?;
    let head = format!(
        "{{\"totalCount\":{total},\"pageNumber\":{page_no},\"pagesAvailable\":{pages},\"pageItems\":["
    );
    let tenant: Arc<str> = filter.namespace.tenant.as_ref().into();
    let items = items.into_iter().enumerate().flat_map(move |(index, (key, config))| {
        let (begin, end) = around_content(&key, &config, &tenant);
        let comma = if index == 0 { "" } else { "," };
        let begin = [comma.as_bytes(), &begin].concat();
        std::iter::once(begin).chain(json_text(config.content)).chain(std::iter::once(end))
    });
    let parts = std::iter::once(head.into_bytes()).chain(items);
    let pieces = joined(parts.chain(std::iter::once(b"]}".to_vec())));
    Answer::pieces(JSON, pieces).map_err(|_never| Failure::unavailable("the page cannot be made"))
}

/// What the JSON of a `ConfigInfo` has in front of the text of its content, and behind it.
fn around_content(key: &ConfigKey, config: &Config, tenant: &str) -> (Vec<u8>, Vec<u8>) {
    const CONTENT: &[u8] = b"\"content\":\"";
    let info = ConfigInfo { content: "", ..config_info(key.into(), config, tenant) };
    let mut begin = serde_json::to_vec(&info).unwrap_or_default();
    // No text in front of it can have a quote that is not escaped.
    let at = begin.windows(CONTENT.len()).position(|part| part == CONTENT);
    let end = begin.split_off(at.map_or(begin.len(), |at| at + CONTENT.len()));
    (begin, end)
}

/// Refuses an answer whose contents are so many bytes.
pub(crate) fn bounded(bytes: usize, bytes_max: usize) -> Result<(), Failure> {
    if bytes <= bytes_max {
        return Ok(());
    }
    let words = format!("the contents are {bytes} bytes, more than {bytes_max}: ask for fewer");
    Err(Failure::invalid_as(Code::OVER_MAX_SIZE, words))
}

/// The keys behind ids; ids that are not there are left out (Nacos).
pub(crate) fn keys_of_ids(state: &State, ids: &BTreeSet<u64>) -> Result<Vec<ConfigKey>, Failure> {
    let configs = state.all_configs()?;
    Ok(configs.by_ids(ids).into_iter().filter_map(|(key, _)| key.to_key()).collect())
}

/// A comma list of ids.
pub(crate) fn ids(text: &str) -> Result<BTreeSet<u64>, Failure> {
    let id = |item: &str| item.parse().ok().ok_or_else(|| Failure::not_a_number("ids", item));
    split(text).into_iter().map(id).collect()
}

/// Removes each of these configs, one after the other.
pub(crate) async fn remove_all(
    state: &State,
    operator: Operator,
    keys: Vec<ConfigKey>,
) -> Result<Answer, Failure> {
    for key in keys {
        let at = state.now().1;
        let remove = Remove { key, gray: None, operator: operator.clone(), at };
        state.write_config(remove.into()).await?;
    }
    Ok(Answer::rest_result(&true))
}
