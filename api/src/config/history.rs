//! `/cs/history` of v1, v2 and v3: what configs were before (docs/nacos/http-v1.md, "History",
//! docs/nacos/http-v2-v3.md, "Configs of v2"). Lists leave contents out, as Nacos does: five
//! hundred old contents would be no page.

use std::ops::ControlFlow;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use nacolet_config::{Config, ConfigType, GrayName, HistoryItem, KeyRef, Labels, Store, Walk};
use nacolet_model::{ConfigKey, limits};
use serde::Serialize;

use crate::access::about;
use crate::access::about::Whole;
use crate::access::rule::Permission;
use crate::config::shapes::BasicInfo;
use crate::http::answer::{HttpAnswer, JSON};
use crate::http::failure::{Code, Failure};
use crate::http::paging::{PageOf, PageParams};
use crate::http::params::{Fields, Id, Parts, field};
use crate::http::pieces::Late;
use crate::http::time::iso8601;
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

/// Items of a page where the caller names no number (Nacos).
const PAGE_SIZE: usize = 100;
/// Configs that are written at once where all of a namespace are: some 20 KiB.
const CONFIGS_PER_PIECE: usize = 64;

pub(crate) fn routes(routes: &mut Routes) {
    let (get, read) = (Method::GET, Permission::ConfigRead);
    let (v1, v2, v3) = (about::config_v1, about::config_v2, about::config_v3);
    routes.at("/v1/cs/history").now(get.clone(), read, v1, v1_item);
    routes.at("/v1/cs/history/previous").now(get.clone(), read, v1, v1_previous);
    routes.at("/v2/cs/history").now(get.clone(), read, v2, v2_item);
    routes.at("/v2/cs/history/list").now(get.clone(), read, v2, v2_list);
    routes.at("/v2/cs/history/detail").now(get.clone(), read, v2, v2_detail);
    routes.at("/v2/cs/history/previous").now(get.clone(), read, v2, v2_previous);
    for [item, list, previous] in V3 {
        routes.at(item).now(get.clone(), read, v3, v3_item);
        routes.at(list).now(get.clone(), read, v3, v3_list);
        routes.at(previous).now(get.clone(), read, v3, v3_previous);
    }
    routes.at("/v1/cs/history/configs").later(
        get.clone(),
        read,
        |parts| parts.present_id(Id::TENANT).and_then(|_| Whole::configs(parts, Id::TENANT)),
        |state, ask| async { all_of(state, ask.about, v1_key, ["[", "]"]) },
    );
    let of_namespace = |parts: &Parts<'_>| {
        parts.present_id(Id::NAMESPACE_ID)?;
        Whole::configs(parts, Id::NAMESPACE_ID)
    };
    routes.at("/v2/cs/history/configs").later(
        get.clone(),
        read,
        of_namespace,
        |state, ask| async { all_of(state, ask.about, v1_key, IN_A_RESULT) },
    );
    for path in ["/v3/admin/cs/history/configs", "/v3/console/cs/history/configs"] {
        routes.at(path).later(get.clone(), read, of_namespace, |state, ask| async {
            all_of(state, ask.about, v3_key, IN_A_RESULT)
        });
    }
}

/// For administrators and for the console: one version, the list, the version before.
const V3: [[&str; 3]; 2] = [
    ["/v3/admin/cs/history", "/v3/admin/cs/history/list", "/v3/admin/cs/history/previous"],
    ["/v3/console/cs/history", "/v3/console/cs/history/list", "/v3/console/cs/history/previous"],
];

/// What stands around a list in the envelope of v2 and v3.
const IN_A_RESULT: [&str; 2] = ["{\"code\":0,\"message\":\"success\",\"data\":[", "]}"];

/// `ConfigHistoryInfo` of Nacos.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HistoryRow<'a> {
    id: String,
    last_id: i64,
    data_id: &'a str,
    group: &'a str,
    tenant: &'a str,
    app_name: &'a str,
    md5: Option<String>,
    content: Option<&'a str>,
    src_ip: &'a str,
    src_user: Option<&'a str>,
    op_type: String,
    publish_type: &'static str,
    gray_name: String,
    ext_info: String,
    created_time: String,
    last_modified_time: String,
    encrypted_data_key: &'a str,
}

impl<'a> HistoryRow<'a> {
    fn new(configs: &Store, item: &'a HistoryItem, kept: ContentShown) -> Self {
        let (key, time) = (item.key(), iso8601(item.at));
        Self {
            id: item.id.to_string(),
            last_id: -1,
            data_id: key.data_id,
            group: key.group,
            tenant: key.namespace,
            app_name: item.app_name(),
            md5: kept.md5(item),
            content: kept.content(),
            src_ip: &item.operator.ip,
            src_user: filled(&item.operator.user),
            op_type: op_type(item),
            publish_type: publish_type(item),
            gray_name: gray_name(item),
            ext_info: ext_info(configs, item),
            created_time: time.clone(),
            last_modified_time: time,
            encrypted_data_key: item.encrypted_data_key(),
        }
    }
}

/// Whether an item has its content, of which the text is written while the answer is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ContentShown {
    Whole,
    /// Lists leave contents and their md5 out, as Nacos does.
    Listed,
}

impl ContentShown {
    fn md5(self, item: &HistoryItem) -> Option<String> {
        (self == Self::Whole).then(|| item.md5.to_string())
    }

    fn content(self) -> Option<&'static str> {
        (self == Self::Whole).then_some("")
    }
}

/// `ConfigHistoryBasicInfo` of Nacos.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Basic<'a> {
    id: String,
    namespace_id: &'a str,
    group_name: &'a str,
    data_id: &'a str,
    md5: Option<String>,
    #[serde(rename = "type")]
    config_type: Option<&'static str>,
    app_name: &'a str,
    create_time: u64,
    modify_time: u64,
    src_ip: &'a str,
    src_user: Option<&'a str>,
    op_type: String,
    publish_type: &'static str,
}

impl<'a> Basic<'a> {
    fn new(item: &'a HistoryItem, kept: ContentShown) -> Self {
        let key = item.key();
        Self {
            id: item.id.to_string(),
            namespace_id: key.namespace,
            group_name: key.group,
            data_id: key.data_id,
            md5: kept.md5(item),
            config_type: None,
            app_name: item.app_name(),
            create_time: item.at.as_millis(),
            modify_time: item.at.as_millis(),
            src_ip: &item.operator.ip,
            src_user: filled(&item.operator.user),
            op_type: op_type(item),
            publish_type: publish_type(item),
        }
    }
}

/// The letter of what was done, as the column of ten characters shows it that Nacos keeps it in.
fn op_type(item: &HistoryItem) -> String {
    format!("{:<10}", item.op.as_str())
}

fn publish_type(item: &HistoryItem) -> &'static str {
    if item.gray().is_some() { "gray" } else { "formal" }
}

fn gray_name(item: &HistoryItem) -> String {
    item.gray().map(GrayName::to_string).unwrap_or_default()
}

fn filled(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// What its publisher said about the content of an item, as JSON in a text (Nacos
/// `ConfigExtInfoUtil`).
fn ext_info(configs: &Store, item: &HistoryItem) -> String {
    #[derive(Serialize)]
    struct ExtInfo<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        gray_name: Option<String>,
        #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
        config_type: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        config_tags: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        effect: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        src_user: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        c_desc: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        c_use: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        c_schema: Option<&'a str>,
    }
    let (labels, gray) = (item.labels(), item.gray());
    let label = |of: fn(&Labels) -> &str| labels.map(of).and_then(filled);
    let tags = labels.map(|labels| labels.tags.join(",")).filter(|tags| !tags.is_empty());
    let info = ExtInfo {
        gray_name: gray.map(GrayName::to_string),
        config_type: item.config_type.filter(|_| gray.is_none()).map(ConfigType::as_str),
        config_tags: tags,
        effect: label(|labels| &labels.effect),
        src_user: configs.publisher_of(item).and_then(|publisher| filled(&publisher.user)),
        c_desc: label(|labels| &labels.desc),
        c_use: label(|labels| &labels.use_),
        c_schema: label(|labels| &labels.schema),
    };
    serde_json::to_string(&info).unwrap_or_default()
}

/// One page of the past of a config.
fn page<'s>(
    configs: &'s Store,
    asked: &'s ConfigKey,
    page: PageParams,
) -> nacolet_config::Page<&'s HistoryItem> {
    let KeyRef { namespace, group, data_id } = asked.into();
    configs.history(namespace, group, data_id, page.number, page.size)
}

/// As [`page`], in the words of v1 and v2.
fn items<'s>(
    configs: &'s Store,
    asked: &'s ConfigKey,
    params: &Fields,
) -> Result<PageOf<HistoryRow<'s>>, Failure> {
    let found = page(configs, asked, params.page(PAGE_SIZE, limits::HISTORY_PAGE_MAX)?);
    let items =
        found.items.into_iter().map(|item| HistoryRow::new(configs, item, ContentShown::Listed));
    Ok(PageOf::new(found.total, found.page_no, found.pages, items))
}

/// The item with this number, if there is one. A permission for one config is none for the past of
/// another.
fn item<'s>(configs: &'s Store, ask: &Ask<ConfigKey>) -> Result<Option<&'s HistoryItem>, Failure> {
    let id = ask.params.number_required(field::NID)?;
    match configs.history_item(id) {
        Some(item) if item.key() != (&ask.about).into() => {
            let words = "Please check dataId, group or namespaceId.";
            Err(Failure::new(StatusCode::FORBIDDEN, Code::ACCESS_DENIED, words))
        }
        item => Ok(item),
    }
}

/// What the config with this number was before, if it is the one that the call names.
fn previous<'s>(
    configs: &'s Store,
    ask: &Ask<ConfigKey>,
) -> Result<Option<&'s HistoryItem>, Failure> {
    let id = ask.params.number_required(field::ID)?;
    Ok(configs.history_previous(id).filter(|item| item.key() == (&ask.about).into()))
}

/// What is long in an item.
fn content_of(item: &HistoryItem) -> Vec<Late> {
    vec![("content", Arc::clone(&item.content))]
}

/// An item in the words of v1; one that is not there is nothing.
fn v1_told(configs: &Store, item: Option<&HistoryItem>) -> HttpAnswer {
    match item {
        Some(item) => HttpAnswer::json_with(
            &HistoryRow::new(configs, item, ContentShown::Whole),
            content_of(item),
        ),
        None => HttpAnswer::empty(),
    }
}

fn v1_item(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    if ask.params.is(field::SEARCH, "accurate") {
        let configs = state.known_configs()?;
        return Ok(HttpAnswer::json(&items(&configs, &ask.about, &ask.params)?));
    }
    let configs = state.all_configs()?;
    Ok(v1_told(&configs, item(&configs, ask)?))
}

fn v1_previous(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let configs = state.all_configs()?;
    Ok(v1_told(&configs, previous(&configs, ask)?))
}

fn v2_list(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let configs = state.known_configs()?;
    Ok(HttpAnswer::result(&items(&configs, &ask.about, &ask.params)?))
}

/// An item in the words of v2; one that is not there is null.
fn v2_told(configs: &Store, item: Option<&HistoryItem>) -> HttpAnswer {
    let told = item.map(|item| HistoryRow::new(configs, item, ContentShown::Whole));
    HttpAnswer::result_with(&told, item.map(content_of).unwrap_or_default())
}

fn v2_item(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let configs = state.all_configs()?;
    Ok(v2_told(&configs, item(&configs, ask)?))
}

fn v2_previous(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let configs = state.all_configs()?;
    Ok(v2_told(&configs, previous(&configs, ask)?))
}

fn v3_list(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let configs = state.known_configs()?;
    let asked = ask.params.page_v3(PAGE_SIZE, limits::HISTORY_PAGE_MAX)?;
    let found = page(&configs, &ask.about, asked);
    let items = found.items.into_iter().map(|item| Basic::new(item, ContentShown::Listed));
    Ok(HttpAnswer::result(&PageOf::new(found.total, found.page_no, found.pages, items)))
}

/// An item in the words of v3, which has an error of its own for one that is not there.
fn v3_told(configs: &Store, item: Option<&HistoryItem>) -> Result<HttpAnswer, Failure> {
    /// `ConfigHistoryDetailInfo` of Nacos.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Detail<'a> {
        #[serde(flatten)]
        basic: Basic<'a>,
        content: &'static str,
        encrypted_data_key: &'a str,
        gray_name: String,
        ext_info: String,
    }
    let item = item.ok_or_else(|| Failure::invalid("there is no such version"))?;
    let detail = Detail {
        basic: Basic::new(item, ContentShown::Whole),
        content: "",
        encrypted_data_key: item.encrypted_data_key(),
        gray_name: gray_name(item),
        ext_info: ext_info(configs, item),
    };
    Ok(HttpAnswer::result_with(&detail, content_of(item)))
}

fn v3_item(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let configs = state.all_configs()?;
    v3_told(&configs, item(&configs, ask)?)
}

fn v3_previous(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let configs = state.all_configs()?;
    v3_told(&configs, previous(&configs, ask)?)
}

/// An item beside what is there now.
fn v2_detail(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Detail<'a> {
        id: String,
        last_id: i64,
        data_id: &'a str,
        group: &'a str,
        tenant: &'a str,
        op_type: String,
        publish_type: &'static str,
        gray_name: String,
        app_name: &'a str,
        src_ip: &'a str,
        src_user: &'a str,
        original_md5: String,
        original_content: &'a str,
        original_encrypted_data_key: &'a str,
        original_ext_info: String,
        updated_md5: Option<String>,
        updated_content: Option<&'a str>,
        updated_encrypted_data_key: Option<&'a str>,
        update_ext_info: Option<&'a str>,
        created_time: String,
        last_modified_time: String,
    }
    let configs = state.all_configs()?;
    let Some(item) = item(&configs, ask)? else { return Ok(v2_told(&configs, None)) };
    let KeyRef { namespace, group, data_id } = (&ask.about).into();
    let now = configs.get(namespace, group, data_id);
    let mut texts = vec![("originalContent", Arc::clone(&item.content))];
    texts.extend(now.map(|config| ("updatedContent", Arc::clone(&config.content))));
    let detail = Detail {
        id: item.id.to_string(),
        last_id: -1,
        data_id,
        group,
        tenant: namespace,
        op_type: op_type(item),
        publish_type: publish_type(item),
        gray_name: gray_name(item),
        app_name: item.app_name(),
        src_ip: &item.operator.ip,
        src_user: &item.operator.user,
        original_md5: item.md5.to_string(),
        original_content: "",
        original_encrypted_data_key: item.encrypted_data_key(),
        original_ext_info: ext_info(&configs, item),
        updated_md5: now.map(|config| config.md5.to_string()),
        updated_content: now.map(|_| ""),
        updated_encrypted_data_key: now.map(|config| config.encrypted_data_key()),
        update_ext_info: None,
        created_time: iso8601(item.at),
        last_modified_time: iso8601(item.at),
    };
    Ok(HttpAnswer::result_with(&detail, texts))
}

/// `ConfigInfoWrapper` of Nacos, without content.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wrapper<'a> {
    id: String,
    data_id: &'a str,
    group: &'a str,
    content: Option<&'a str>,
    md5: Option<&'a str>,
    encrypted_data_key: Option<&'a str>,
    tenant: &'a str,
    app_name: &'a str,
    #[serde(rename = "type")]
    config_type: Option<&'static str>,
    last_modified: u64,
}

/// Every config of a namespace, between two texts: a few are looked at and written whenever the
/// client has taken those before them.
fn all_of(
    state: Arc<State>,
    asked: Whole,
    rendered: fn(KeyRef<'_>, &Config) -> serde_json::Result<Vec<u8>>,
    [begin, end]: [&'static str; 2],
) -> Result<HttpAnswer, Failure> {
    let (mut walk, mut comma, mut is_done) = (Walk::default(), "", false);
    let pieces = std::iter::from_fn(move || {
        if is_done {
            return None;
        }
        let mut piece = if comma.is_empty() { begin.as_bytes().to_vec() } else { Vec::new() };
        let Ok(configs) = state.all_configs() else {
            is_done = true;
            return Some(Err(std::io::Error::other("nothing is known of the configs any more")));
        };
        let mut left = CONFIGS_PER_PIECE;
        is_done = configs.walk(Some(asked.namespace.as_str()), &mut walk, |key, config| {
            piece.extend_from_slice(std::mem::replace(&mut comma, ",").as_bytes());
            piece.extend(rendered(key, config).unwrap_or_default());
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if is_done {
            piece.extend_from_slice(end.as_bytes());
        }
        Some(Ok(piece.into()))
    });
    HttpAnswer::pieces(JSON, Box::new(pieces)).map_err(|_unsettled| Failure::unsettled())
}

fn v1_key(key: KeyRef<'_>, config: &Config) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Wrapper {
        id: config.id.to_string(),
        data_id: key.data_id,
        group: key.group,
        content: None,
        md5: None,
        encrypted_data_key: None,
        tenant: key.namespace,
        app_name: config.app_name(),
        config_type: config.config_type.map(ConfigType::as_str),
        last_modified: config.modified.as_millis(),
    })
}

fn v3_key(key: KeyRef<'_>, config: &Config) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&BasicInfo { md5: None, ..BasicInfo::new(key, config) })
}
