//! `/v1/cs/history` and `/v2/cs/history`: what configs were before (http-v1 §2.5, http-v2 §2.1). Lists
//! leave contents out, as Nacos does: five hundred old contents would be no page.

use hyper::Method;
use nacolet_config::{ConfigType, GrayName, HistoryItem, KeyRef, Store};
use nacolet_model::{Namespace, limits};
use serde::Serialize;

use crate::call::{Answer, Call};
use crate::config::Words;
use crate::params::Params;
use crate::router::{Permission, Routes, Scope};
use crate::search::{PageOf, spelling};
use crate::server::State;
use crate::status::{Code, Failure};
use crate::time::iso8601;

/// Items of a page where the caller names no number (Nacos).
const PAGE_SIZE: usize = 100;

pub(crate) fn routes(routes: &mut Routes) {
    use Permission::ConfigRead;
    let whole = ConfigRead.over(|_| Scope::Namespace);
    routes.at("/v1/cs/history").now(Method::GET, ConfigRead, v1);
    routes.at("/v1/cs/history/previous").now(Method::GET, ConfigRead, v1_previous);
    routes.at("/v1/cs/history/configs").now(Method::GET, whole, v1_configs);
    routes.at("/v2/cs/history").now(Method::GET, ConfigRead, v2_item);
    routes.at("/v2/cs/history/list").now(Method::GET, ConfigRead, v2_list);
    routes.at("/v2/cs/history/detail").now(Method::GET, ConfigRead, v2_detail);
    routes.at("/v2/cs/history/previous").now(Method::GET, ConfigRead, v2_previous);
    routes.at("/v2/cs/history/configs").now(Method::GET, whole, v2_configs);
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

/// The names of a call with what they were asked in.
struct Asked<'p> {
    key: KeyRef<'p>,
    tenant: &'p str,
}

impl<'p> Asked<'p> {
    fn new(params: &'p Params<'_>, words: &Words) -> Result<Self, Failure> {
        let (namespace, group, data_id) = words.key(params)?;
        let tenant = spelling(namespace, params.text_or(words.namespace, ""));
        Ok(Self { key: KeyRef { namespace, group, data_id }, tenant })
    }

    fn page<'s>(&self, configs: &'s Store, params: &Params<'_>) -> Result<PageOf<Item<'s>>, Failure>
    where
        'p: 's,
    {
        let page = params.page(PAGE_SIZE, limits::HISTORY_PAGE_MAX)?;
        let KeyRef { namespace, group, data_id } = self.key;
        let found = configs.history(namespace, group, data_id, page.number, page.size);
        let tenant = self.tenant;
        Ok(PageOf::new(found, |item| Item::new(item, tenant, false)))
    }

    /// The item of this call, if it is about the names of this call: a permission for one config is
    /// none for the past of another.
    fn item<'s>(&self, configs: &'s Store, id: u64) -> Result<&'s HistoryItem, Failure> {
        let item = configs.history_item(id).filter(|item| item.key() == self.key);
        item.ok_or_else(|| {
            let words = format!("certain config history for nid = {id} not exist");
            Failure::not_found(Code::RESOURCE_NOT_FOUND, words)
        })
    }

    fn previous<'s>(&self, configs: &'s Store, id: u64) -> Result<&'s HistoryItem, Failure> {
        let item = configs.history_previous(id).filter(|item| item.key() == self.key);
        item.ok_or_else(|| {
            let words = format!("previous config history for id = {id} not exist");
            Failure::not_found(Code::RESOURCE_NOT_FOUND, words)
        })
    }
}

fn v1(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let asked = Asked::new(&params, &Words::V1)?;
    let configs = state.all_configs()?;
    if params.raw("search") == Some("accurate") {
        return Ok(Answer::json(&asked.page(&configs, &params)?));
    }
    let item = asked.item(&configs, params.number_required("nid")?)?;
    Ok(Answer::json(&Item::new(item, asked.tenant, true)))
}

fn v1_previous(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let asked = Asked::new(&params, &Words::V1)?;
    let configs = state.all_configs()?;
    let item = asked.previous(&configs, params.number_required("id")?)?;
    Ok(Answer::json(&Item::new(item, asked.tenant, true)))
}

fn v2_list(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let asked = Asked::new(&params, &Words::V2)?;
    let configs = state.all_configs()?;
    Ok(Answer::result(&asked.page(&configs, &params)?))
}

fn v2_item(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let asked = Asked::new(&params, &Words::V2)?;
    let configs = state.all_configs()?;
    let item = asked.item(&configs, params.number_required("nid")?)?;
    Ok(Answer::result(&Item::new(item, asked.tenant, true)))
}

fn v2_previous(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    let asked = Asked::new(&params, &Words::V2)?;
    let configs = state.all_configs()?;
    let item = asked.previous(&configs, params.number_required("id")?)?;
    Ok(Answer::result(&Item::new(item, asked.tenant, true)))
}

/// An item beside what is there now.
fn v2_detail(state: &State, call: &Call) -> Result<Answer, Failure> {
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
    let params = call.params();
    let asked = Asked::new(&params, &Words::V2)?;
    let configs = state.all_configs()?;
    let item = asked.item(&configs, params.number_required("nid")?)?;
    let KeyRef { namespace, group, data_id } = asked.key;
    let now = configs.get(namespace, group, data_id);
    Ok(Answer::result(&Detail {
        id: item.id.to_string(),
        last_id: -1,
        data_id,
        group,
        tenant: asked.tenant,
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

fn configs_of<'s>(
    configs: &'s Store,
    params: &'s Params<'_>,
    name: &'static str,
) -> Result<Vec<Wrapper<'s>>, Failure> {
    let asked = params.present(name)?;
    let namespace = Namespace::canonical(asked)?;
    let tenant = spelling(namespace, asked);
    let wrapper = |(key, config): (KeyRef<'s>, &'s nacolet_config::Config)| Wrapper {
        id: config.id.to_string(),
        data_id: key.data_id,
        group: key.group,
        content: None,
        md5: None,
        encrypted_data_key: None,
        tenant,
        app_name: config.app_name(),
        config_type: config.config_type.map(ConfigType::as_str),
        last_modified: config.modified.as_millis(),
    };
    Ok(configs.keys(namespace).map(wrapper).collect())
}

fn v1_configs(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    Ok(Answer::json(&configs_of(&*state.all_configs()?, &params, "tenant")?))
}

fn v2_configs(state: &State, call: &Call) -> Result<Answer, Failure> {
    let params = call.params();
    Ok(Answer::result(&configs_of(&*state.all_configs()?, &params, "namespaceId")?))
}
