//! `/v1/cs/history` and `/v2/cs/history`: what configs were before (http-v1 §2.5, http-v2 §2.1). Lists
//! leave contents out, as Nacos does: five hundred old contents would be no page.

use hyper::Method;
use nacolet_config::{ConfigType, GrayName, HistoryItem, KeyRef, Store};
use nacolet_model::{ConfigKey, limits};
use serde::Serialize;

use crate::about::{Spelled, Whole};
use crate::call::{Answer, Ask};
use crate::params::{Fields, Id, Parts, field};
use crate::router::{Permission, Routes};
use crate::search::PageOf;
use crate::server::State;
use crate::status::{Code, Failure};
use crate::time::iso8601;

/// Items of a page where the caller names no number (Nacos).
const PAGE_SIZE: usize = 100;

pub(crate) fn routes(routes: &mut Routes) {
    let (get, read) = (Method::GET, Permission::ConfigRead);
    let v1 = |parts: &Parts<'_>| Spelled::config(parts, Id::TENANT);
    let v2 = |parts: &Parts<'_>| Spelled::config(parts, Id::NAMESPACE_ID);
    routes.at("/v1/cs/history").now(get.clone(), read, v1, v1_item);
    routes.at("/v1/cs/history/previous").now(get.clone(), read, v1, v1_previous);
    routes.at("/v2/cs/history").now(get.clone(), read, v2, v2_item);
    routes.at("/v2/cs/history/list").now(get.clone(), read, v2, v2_list);
    routes.at("/v2/cs/history/detail").now(get.clone(), read, v2, v2_detail);
    routes.at("/v2/cs/history/previous").now(get.clone(), read, v2, v2_previous);
    routes.at("/v1/cs/history/configs").now(
        get.clone(),
        read,
        |parts| parts.present_id(Id::TENANT).and_then(|_| Spelled::configs(parts, Id::TENANT)),
        |state, ask| Ok(Answer::json(&configs_of(&*state.all_configs()?, &ask.about))),
    );
    routes.at("/v2/cs/history/configs").now(
        get,
        read,
        |parts| {
            parts.present_id(Id::NAMESPACE_ID)?;
            Spelled::configs(parts, Id::NAMESPACE_ID)
        },
        |state, ask| Ok(Answer::result(&configs_of(&*state.all_configs()?, &ask.about))),
    );
}

/// `ConfigHistoryInfo` of Nacos.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    id: String,
    last_id: i64,
    data_id: &'a str,
    group: &'a str,
    tenant: &'a str,
    app_name: &'a str,
    md5: String,
    content: Option<&'a str>,
    src_ip: &'a str,
    src_user: Option<&'a str>,
    op_type: &'static str,
    publish_type: &'static str,
    gray_name: Option<String>,
    ext_info: Option<&'a str>,
    created_time: String,
    last_modified_time: String,
    encrypted_data_key: &'a str,
}

impl<'a> Item<'a> {
    fn new(item: &'a HistoryItem, tenant: &'a str, with_content: bool) -> Self {
        let key = item.key();
        let time = iso8601(item.at);
        Self {
            id: item.id.to_string(),
            last_id: -1,
            data_id: key.data_id,
            group: key.group,
            tenant,
            app_name: item.app_name(),
            md5: item.md5.to_string(),
            content: with_content.then_some(&*item.content),
            src_ip: &item.operator.ip,
            src_user: Some(&*item.operator.user).filter(|user| !user.is_empty()),
            op_type: item.op.as_str(),
            publish_type: if item.gray().is_some() { "gray" } else { "formal" },
            gray_name: item.gray().map(GrayName::to_string),
            ext_info: None,
            created_time: time.clone(),
            last_modified_time: time,
            encrypted_data_key: item.encrypted_data_key(),
        }
    }
}

type Asked = Spelled<ConfigKey>;

fn page<'s>(
    configs: &'s Store,
    asked: &'s Asked,
    params: &Fields,
) -> Result<PageOf<Item<'s>>, Failure> {
    let page = params.page(PAGE_SIZE, limits::HISTORY_PAGE_MAX)?;
    let KeyRef { namespace, group, data_id } = (&asked.of).into();
    let found = configs.history(namespace, group, data_id, page.number, page.size);
    Ok(PageOf::new(found, |item| Item::new(item, &asked.tenant, false)))
}

/// The item with this number, if it is about the names of this call: a permission for one config is none
/// for the past of another.
fn item<'s>(configs: &'s Store, ask: &Ask<Asked>) -> Result<&'s HistoryItem, Failure> {
    let id = ask.params.number_required(field::NID)?;
    let item = configs.history_item(id).filter(|item| item.key() == (&ask.about.of).into());
    item.ok_or_else(|| {
        let words = format!("certain config history for nid = {id} not exist");
        Failure::not_found(Code::RESOURCE_NOT_FOUND, words)
    })
}

/// As [`item`], the one before it.
fn previous<'s>(configs: &'s Store, ask: &Ask<Asked>) -> Result<&'s HistoryItem, Failure> {
    let id = ask.params.number_required(field::ID)?;
    let item = configs.history_previous(id).filter(|item| item.key() == (&ask.about.of).into());
    item.ok_or_else(|| {
        let words = format!("previous config history for id = {id} not exist");
        Failure::not_found(Code::RESOURCE_NOT_FOUND, words)
    })
}

fn v1_item(state: &State, ask: &Ask<Asked>) -> Result<Answer, Failure> {
    let configs = state.all_configs()?;
    if ask.params.is(field::SEARCH, "accurate") {
        return Ok(Answer::json(&page(&configs, &ask.about, &ask.params)?));
    }
    Ok(Answer::json(&Item::new(item(&configs, ask)?, &ask.about.tenant, true)))
}

fn v1_previous(state: &State, ask: &Ask<Asked>) -> Result<Answer, Failure> {
    let configs = state.all_configs()?;
    Ok(Answer::json(&Item::new(previous(&configs, ask)?, &ask.about.tenant, true)))
}

fn v2_list(state: &State, ask: &Ask<Asked>) -> Result<Answer, Failure> {
    let configs = state.all_configs()?;
    Ok(Answer::result(&page(&configs, &ask.about, &ask.params)?))
}

fn v2_item(state: &State, ask: &Ask<Asked>) -> Result<Answer, Failure> {
    let configs = state.all_configs()?;
    Ok(Answer::result(&Item::new(item(&configs, ask)?, &ask.about.tenant, true)))
}

fn v2_previous(state: &State, ask: &Ask<Asked>) -> Result<Answer, Failure> {
    let configs = state.all_configs()?;
    Ok(Answer::result(&Item::new(previous(&configs, ask)?, &ask.about.tenant, true)))
}

/// An item beside what is there now.
fn v2_detail(state: &State, ask: &Ask<Asked>) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Detail<'a> {
        id: String,
        last_id: i64,
        data_id: &'a str,
        group: &'a str,
        tenant: &'a str,
        op_type: &'static str,
        publish_type: &'static str,
        gray_name: Option<String>,
        app_name: &'a str,
        src_ip: &'a str,
        src_user: &'a str,
        original_md5: String,
        original_content: &'a str,
        original_encrypted_data_key: &'a str,
        original_ext_info: Option<&'a str>,
        updated_md5: Option<String>,
        updated_content: Option<&'a str>,
        updated_encrypted_data_key: Option<&'a str>,
        update_ext_info: Option<&'a str>,
        created_time: String,
        last_modified_time: String,
    }
    let configs = state.all_configs()?;
    let item = item(&configs, ask)?;
    let KeyRef { namespace, group, data_id } = (&ask.about.of).into();
    let now = configs.get(namespace, group, data_id);
    Ok(Answer::result(&Detail {
        id: item.id.to_string(),
        last_id: -1,
        data_id,
        group,
        tenant: &ask.about.tenant,
        op_type: item.op.as_str(),
        publish_type: if item.gray().is_some() { "gray" } else { "formal" },
        gray_name: item.gray().map(GrayName::to_string),
        app_name: item.app_name(),
        src_ip: &item.operator.ip,
        src_user: &item.operator.user,
        original_md5: item.md5.to_string(),
        original_content: &item.content,
        original_encrypted_data_key: item.encrypted_data_key(),
        original_ext_info: None,
        updated_md5: now.map(|config| config.md5.to_string()),
        updated_content: now.map(|config| &*config.content),
        updated_encrypted_data_key: now.map(|config| config.encrypted_data_key()),
        update_ext_info: None,
        created_time: iso8601(item.at),
        last_modified_time: iso8601(item.at),
    }))
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

fn configs_of<'s>(configs: &'s Store, asked: &'s Spelled<Whole>) -> Vec<Wrapper<'s>> {
    let wrapper = |(key, config): (KeyRef<'s>, &'s nacolet_config::Config)| Wrapper {
        id: config.id.to_string(),
        data_id: key.data_id,
        group: key.group,
        content: None,
        md5: None,
        encrypted_data_key: None,
        tenant: &asked.tenant,
        app_name: config.app_name(),
        config_type: config.config_type.map(ConfigType::as_str),
        last_modified: config.modified.as_millis(),
    };
    configs.keys(asked.of.namespace.as_str()).map(wrapper).collect()
}
