//! What the console and tools ask of configs: search, everything about one config, its beta
//! version, removal by id (docs/nacos/http-v1.md, "Configs" and "Search"). Ids are texts in JSON
//! and stable while a config lives.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use nacolet_auth::Action;
use nacolet_config::{
    Config, ConfigType, KeyRef, KeyText, Operator, Page, Remove, Response, Search, SearchMode,
    Walk, like,
};
use nacolet_model::{ConfigKey, limits};
use serde::Serialize;

use crate::access::about::{About, ConfigIds, Permits, Whole, spelling};
use crate::config::words::Words;
use crate::http::answer::{Envelope, HttpAnswer, JSON};
use crate::http::failure::{Code, Failure};
use crate::http::paging::PageParams;
use crate::http::params::{Field, Fields, Id, Parts, field};
use crate::http::pieces::{joined, with_texts};
use crate::route::ask::Ask;
use crate::state::State;

/// The field of what is long.
pub(crate) const CONTENT: &str = "content";

/// `ConfigInfo` of Nacos, but for the text of its content, which is written while an answer is
/// sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConfigInfo<'a> {
    id: String,
    data_id: &'a str,
    group: &'a str,
    content: &'a str,
    md5: String,
    /// Nacos says null or nothing where there is none, by the call.
    encrypted_data_key: Option<&'a str>,
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

fn config_info<'a>(key: KeyRef<'a>, config: &'a Config) -> ConfigInfo<'a> {
    ConfigInfo {
        id: config.id.to_string(),
        data_id: key.data_id,
        group: key.group,
        content: "",
        md5: config.md5.to_string(),
        encrypted_data_key: Some(config.encrypted_data_key()),
        tenant: key.namespace,
        app_name: config.app_name(),
        config_type: config.config_type.map(ConfigType::as_str),
        last_modified: config.modified.as_millis(),
    }
}

pub(crate) fn filled(text: &str) -> Option<&str> {
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
pub(crate) fn show_all(state: &State, asked: &ConfigKey) -> Result<HttpAnswer, Failure> {
    let KeyRef { namespace, group, data_id } = asked.into();
    let configs = state.all_configs()?;
    let Some(config) = configs.get(namespace, group, data_id) else {
        return Ok(HttpAnswer::empty());
    };
    let all = ConfigAllInfo {
        info: config_info(KeyRef { namespace, group, data_id }, config),
        create_time: config.created.as_millis(),
        modify_time: config.modified.as_millis(),
        create_user: filled(&config.operator.user),
        create_ip: filled(&config.operator.ip),
        labels: advance_info(config),
    };
    Ok(HttpAnswer::json_with(&all, vec![(CONTENT, Arc::clone(&config.content))]))
}

/// GET `/catalog`: the labels of one config.
pub(crate) fn catalog(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Catalog<'a> {
        create_time: u64,
        modify_time: u64,
        create_user: Option<&'a str>,
        create_ip: Option<&'a str>,
        #[serde(rename = "type")]
        config_type: Option<&'static str>,
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
        config_type: config.config_type.map(ConfigType::as_str),
        labels: advance_info(config),
    });
    Ok(HttpAnswer::rest_result(&catalog))
}

/// GET `?beta=true`: the beta version of one config and who sees it.
pub(crate) fn show_beta(state: &State, asked: &ConfigKey) -> Result<HttpAnswer, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct ConfigInfo4Beta<'a> {
        id: String,
        data_id: &'a str,
        group: &'a str,
        content: &'a str,
        md5: String,
        encrypted_data_key: Option<&'a str>,
        tenant: &'a str,
        app_name: &'a str,
        /// That of the config itself counts (Nacos).
        #[serde(rename = "type")]
        config_type: Option<&'static str>,
        beta_ips: String,
    }
    let KeyRef { namespace, group, data_id } = asked.into();
    let configs = state.all_configs()?;
    let beta = configs.beta(namespace, group, data_id);
    let texts = beta.iter().map(|beta| (CONTENT, Arc::clone(&beta.content))).collect();
    let shown = beta.map(|beta| ConfigInfo4Beta {
        id: beta.id.to_string(),
        data_id,
        group,
        content: "",
        md5: beta.md5.to_string(),
        encrypted_data_key: filled(beta.encrypted_data_key()),
        // As in 2.x, whose envelope this is.
        tenant: spelling(namespace, ""),
        app_name: beta.app_name(),
        config_type: None,
        beta_ips: beta.beta_ips().join(","),
    });
    let envelope = Envelope { code: 200, message: Some("query beta ok"), data: &shown };
    Ok(HttpAnswer::json_with(&envelope, texts))
}

/// Which configs of a namespace a search means; its texts may be patterns.
pub(crate) struct Filter {
    namespace: Whole,
    data_id: Box<str>,
    group: Box<str>,
}

impl Filter {
    /// The filter of a call that has its namespace and its group under these names.
    pub(crate) fn decode(parts: &Parts<'_>, namespace: Id, group: Id) -> Result<Self, Failure> {
        Ok(Self {
            data_id: parts.present_id(Id::DATA_ID)?.into(),
            group: parts.present_id(group)?.into(),
            namespace: Whole::configs(parts, namespace)?,
        })
    }

    /// The filter of a call of v3, which need not name anything.
    pub(crate) fn decode_v3(parts: &Parts<'_>) -> Result<Self, Failure> {
        Ok(Self {
            data_id: parts.id_or(Id::DATA_ID, "")?.into(),
            group: parts.id_or(Id::GROUP_NAME, "")?.into(),
            namespace: Whole::configs(parts, Id::NAMESPACE_ID)?,
        })
    }
}

impl About for Filter {
    fn is_permitted(&self, action: Action, permits: &Permits<'_>) -> bool {
        self.namespace.is_permitted(action, permits)
    }
}

/// What a search asks for, still as texts.
pub(crate) struct SearchTexts<'p> {
    filter: &'p Filter,
    app_name: &'p str,
    tags: Vec<&'p str>,
    types: Vec<ConfigType>,
    content: &'p str,
    page: PageParams,
}

impl<'p> SearchTexts<'p> {
    /// Reads the parameters under the names that `words` gives them; a part of the content is in
    /// `detail`, where the call knows one.
    pub(crate) fn new(
        params: &'p Fields,
        filter: &'p Filter,
        words: &Words,
        detail: Option<Field>,
        page: PageParams,
    ) -> Self {
        let types = params.text(field::TYPES).or_else(|| params.text(field::TYPE));
        let types = split(types.unwrap_or_default());
        Self {
            filter,
            app_name: params.text_or(field::APP_NAME, ""),
            tags: split(params.text_or(words.tags, "")),
            types: types.into_iter().filter_map(ConfigType::parse).collect(),
            content: detail.map_or("", |detail| params.text_or(detail, "")),
            page,
        }
    }

    pub(crate) fn search(&self, is_blurred: bool) -> Search<'_> {
        Search {
            namespace: self.filter.namespace.namespace.as_str(),
            data_id: &self.filter.data_id,
            group: &self.filter.group,
            mode: if is_blurred { SearchMode::Blur } else { SearchMode::Accurate },
            app_name: self.app_name,
            tags: &self.tags,
            types: &self.types,
            content_contains: self.content,
            page_no: self.page.number,
            page_size: self.page.size,
        }
    }
}

/// The page that v1 and v2 ask for, which must say so.
fn page_asked(params: &Fields, filter: &Filter) -> Result<PageParams, Failure> {
    let number = |field: Field| {
        let said = params.present(field)?.trim();
        said.parse().ok().ok_or_else(|| Failure::not_a_number(field.name(), said))
    };
    let (number, size): (i64, i64) = (number(field::PAGE_NO)?, number(field::PAGE_SIZE)?);
    match (usize::try_from(number), usize::try_from(size)) {
        (Ok(number @ 1..), Ok(size @ 1..)) => {
            Ok(PageParams { number, size: size.min(limits::SEARCH_PAGE_MAX) })
        }
        _ => Err(Failure::invalid(format!(
            "serialize page error, dataId={}, group={};caused: pageNo and pageSize must be greater \
             than zero",
            filter.data_id, filter.group
        ))),
    }
}

fn split(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// One page of what is asked for. The configs are looked at a few at a time; contents are shared,
/// and a long one is looked through on a thread of its own.
pub(crate) async fn found(
    state: &State,
    asked: &SearchTexts<'_>,
    is_blurred: bool,
) -> Result<Page<(ConfigKey, Config)>, Failure> {
    let names = Search { content_contains: "", ..asked.search(is_blurred) };
    let inside: Option<Arc<str>> =
        Some(asked.content).filter(|text| !text.is_empty()).map(|text| format!("*{text}*").into());
    let mut hits = Hits::default();
    let mut walk = Walk::default();
    loop {
        let (mut left, mut long) = (limits::WALK_STEP_BYTES, None);
        let of = Some(names.namespace);
        let is_done = state.known_configs()?.walk_keys(of, &mut walk, |key, config| {
            left = left.saturating_sub(limits::WALK_CONFIG_BYTES);
            match &inside {
                _ if !names.matches(key.parts(), config) => {}
                Some(_) if config.content.len() > limits::INLINE_BYTES_MAX => {
                    long = Some((key.clone(), config.id, Arc::clone(&config.content)));
                    return ControlFlow::Break(());
                }
                Some(pattern) => {
                    left = left.saturating_sub(config.content.len());
                    if like(pattern, &config.content) {
                        hits.0.push((config.id, key.clone()));
                    }
                }
                None => hits.0.push((config.id, key.clone())),
            }
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let (Some((key, id, content)), Some(pattern)) = (long, &inside) {
            let pattern = Arc::clone(pattern);
            if smol::unblock(move || like(&pattern, &content)).await {
                hits.0.push((id, key));
            }
        }
        if is_done {
            break;
        }
        smol::future::yield_now().await;
    }
    let PageParams { number: page_no, size } = asked.page;
    let total = hits.0.len();
    let order = RowOrder::of(asked.filter, is_blurred);
    let configs = state.known_configs()?;
    // What was removed meanwhile is not shown.
    let item = |(_, key): &(u64, KeyText)| {
        let of = key.parts();
        let config = configs.get(of.namespace, of.group, of.data_id)?.clone();
        Some((of.to_key()?, config))
    };
    let items = hits.page(page_no, size, order).iter().filter_map(item).collect();
    Ok(Page { total, page_no, pages: total.div_ceil(size), items })
}

/// The order of what is found: that in which the indices of Nacos' database give it.
#[derive(Clone, Copy)]
enum RowOrder {
    Created,
    /// A pattern of groups alone was asked for.
    Group,
    /// A pattern of dataIds was asked for.
    Name,
}

impl RowOrder {
    fn of(filter: &Filter, is_blurred: bool) -> Self {
        match (is_blurred, filter.data_id.is_empty(), filter.group.is_empty()) {
            (true, false, _) => Self::Name,
            (true, true, false) => Self::Group,
            (true, true, true) | (false, ..) => Self::Created,
        }
    }
}

/// Everything that a search found, as ids and shared keys: `CONFIGS_MAX` of them are 6 MB.
#[derive(Default)]
struct Hits(Vec<(u64, KeyText)>);

impl Hits {
    /// One page of them, in this order.
    fn page(&mut self, page_no: usize, size: usize, order: RowOrder) -> &[(u64, KeyText)] {
        type Hit = (u64, KeyText);
        let order = |one: &Hit, other: &Hit| {
            let [a, b] = [one, other].map(|hit| hit.1.parts());
            match order {
                RowOrder::Created => one.0.cmp(&other.0),
                RowOrder::Group => (a.group, one.0).cmp(&(b.group, other.0)),
                RowOrder::Name => (a.data_id, a.group).cmp(&(b.data_id, b.group)),
            }
        };
        let first = (page_no - 1).saturating_mul(size);
        if first >= self.0.len() {
            return &[];
        }
        if first > 0 {
            self.0.select_nth_unstable_by(first, order);
        }
        let rest = self.0.get_mut(first..).unwrap_or_default();
        if size < rest.len() {
            rest.select_nth_unstable_by(size, order);
        }
        let end = size.min(rest.len());
        let page = rest.get_mut(..end).unwrap_or_default();
        page.sort_unstable_by(order);
        page
    }
}

/// One page of a search with contents, in the words of v1: GET `?search=accurate|blur`. What is
/// found is rendered while the answer is sent.
pub(crate) async fn search(
    state: &State,
    params: &Fields,
    filter: &Filter,
    detail: Option<Field>,
    is_blurred: bool,
) -> Result<HttpAnswer, Failure> {
    let asked = SearchTexts::new(params, filter, &Words::V1, detail, page_asked(params, filter)?);
    let Page { total, page_no, pages, items } = found(state, &asked, is_blurred).await?;
    bounded(items.iter().map(|(_, config)| config.content.len()).sum(), limits::SEARCH_BYTES_MAX)?;
    let head = format!(
        "{{\"totalCount\":{total},\"pageNumber\":{page_no},\"pagesAvailable\":{pages},\"pageItems\":["
    );
    let items = items.into_iter().enumerate().flat_map(move |(index, (key, config))| {
        let comma: &[u8] = if index == 0 { b"" } else { b"," };
        let info = config_info((&key).into(), &config);
        let encrypted_data_key =
            info.encrypted_data_key.filter(|key| is_blurred || !key.is_empty());
        let info = serde_json::to_vec(&ConfigInfo { encrypted_data_key, ..info });
        let item = with_texts(info.unwrap_or_default(), vec![(CONTENT, config.content)]);
        std::iter::once(comma.to_vec()).chain(item)
    });
    let parts = std::iter::once(head.into_bytes()).chain(items);
    let pieces = joined(parts.chain(std::iter::once(b"]}".to_vec())));
    HttpAnswer::pieces(JSON, pieces)
        .map_err(|_never| Failure::unavailable("the page cannot be made"))
}

/// Refuses an answer whose contents are so many bytes.
pub(crate) fn bounded(bytes: usize, bytes_max: usize) -> Result<(), Failure> {
    if bytes <= bytes_max {
        return Ok(());
    }
    let words = format!("the contents are {bytes} bytes, more than {bytes_max}: ask for fewer");
    Err(Failure::invalid_as(Code::OVER_MAX_SIZE, words))
}

/// Whether something was there to be removed.
pub(crate) fn is_removed(response: Response) -> bool {
    matches!(response, Response::Removed { existed: true })
}

/// The configs whose numbers a call names, which may be none.
pub(crate) fn numbered(parts: &Parts<'_>) -> Result<ConfigIds, Failure> {
    Ok(ConfigIds::new(ids(parts.present_id(Id::IDS)?)?))
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
) -> Result<(), Failure> {
    for key in keys {
        let at = state.now().1;
        let remove = Remove { key, gray: None, operator: operator.clone(), at };
        state.write_config(remove.into()).await?;
    }
    Ok(())
}
