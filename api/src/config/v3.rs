//! Configs of v3 for administrators, `/v3/admin/cs/config`, and for the console,
//! `/v3/console/cs/config` (docs/nacos/http-v2-v3.md, "v3 for operators"). Both do the same work;
//! where they differ is said in the table of their routes.

use std::sync::Arc;

use hyper::Method;
use nacolet_config::{GrayName, Inherit, Labels, Publish};
use nacolet_model::{ConfigKey, limits};

use crate::access::about;
use crate::access::about::ConfigIds;
use crate::access::rule::Permission;
use crate::config::archive;
use crate::config::archive::{Chosen, CloneOf, Format, Import};
use crate::config::gray;
use crate::config::search;
use crate::config::search::{CONTENT, Filter, SearchTexts, numbered};
use crate::config::shapes::{BasicInfo, ConfigDetailInfo, GrayInfo};
use crate::config::words::{
    Words, by_beta_or_tag, gray_of, list as list_of, operator, publish_of, remove_of,
};
use crate::http::answer::{Envelope, HttpAnswer};
use crate::http::call::Call;
use crate::http::failure::{Code, Failure};
use crate::http::paging::PageOf;
use crate::http::params::{Id, field};
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

/// Page size where the caller names none.
const PAGE_SIZE: usize = 100;

pub(crate) fn routes(routes: &mut Routes) {
    use Permission::{ConfigRead, ConfigWrite};
    let large: fn(&Call) -> usize = |call| match call.method {
        Method::POST => limits::PUBLISH_BODY_BYTES_MAX,
        _ => limits::BODY_BYTES_MAX,
    };
    routes
        .at_large("/v3/admin/cs/config", large)
        .now(Method::GET, ConfigRead, about::config_v3, admin_read)
        .later(Method::POST, ConfigWrite, about::config_v3, publish)
        .later(Method::DELETE, ConfigWrite, about::config_v3, remove);
    let metadata = "/v3/admin/cs/config/metadata";
    routes.at(metadata).later(Method::PUT, ConfigWrite, about::config_v3, describe);
    routes
        .at_large("/v3/console/cs/config", large)
        .now(Method::GET, ConfigRead, about::config_v3, console_read)
        .later(Method::POST, ConfigWrite, about::config_v3, publish)
        .later(Method::DELETE, ConfigWrite, about::config_v3, remove);
    betas(routes);
    gray::routes(routes, large);
    for path in ["/v3/admin/cs/config/batch", "/v3/console/cs/config/batchDelete"] {
        routes.at(path).later(Method::DELETE, ConfigWrite, numbered, remove_many);
    }
    for path in LISTS {
        routes.at(path).later(Method::GET, ConfigRead, Filter::decode_v3, list);
    }
    archives(routes);
}

const LISTS: [&str; 3] = [
    "/v3/admin/cs/config/list",
    "/v3/console/cs/config/list",
    "/v3/console/cs/config/searchDetail",
];

/// The beta version of a config: where there is none, the console is told so without an error.
fn betas(routes: &mut Routes) {
    use Permission::{ConfigRead, ConfigWrite};
    routes
        .at("/v3/admin/cs/config/beta")
        .now(Method::GET, ConfigRead, about::config_v3, admin_beta)
        .later(Method::DELETE, ConfigWrite, about::config_v3, |state, ask| async move {
            let Code(code, _) = Code::SERVER_ERROR;
            stop_beta(state, ask, code, "remove beta data error").await
        });
    routes
        .at("/v3/console/cs/config/beta")
        .now(Method::GET, ConfigRead, about::config_v3, console_beta)
        .later(Method::DELETE, ConfigWrite, about::config_v3, |state, ask| async move {
            stop_beta(state, ask, 500, "Internal Server Error").await
        });
}

/// What carries configs elsewhere.
fn archives(routes: &mut Routes) {
    use Permission::{ConfigRead, ConfigWrite};
    for path in ["/v3/admin/cs/config/export", "/v3/console/cs/config/export2"] {
        routes.at(path).later(
            Method::GET,
            ConfigRead,
            |parts| Chosen::decode(parts, Id::NAMESPACE_ID, Id::GROUP_NAME),
            |state, ask| async move {
                archive::export(&state, &ask.params, &ask.about, Format::V2).await
            },
        );
    }
    for path in ["/v3/admin/cs/config/import", "/v3/console/cs/config/import"] {
        routes.at_large(path, |_| limits::IMPORT_BODY_BYTES_MAX).later(
            Method::POST,
            ConfigWrite,
            |parts| Import::decode(parts, Id::NAMESPACE_ID),
            |state, ask| async move {
                let (import, ask) = ask.apart();
                archive::import(&state, import, ask).await
            },
        );
    }
    for (path, namespace) in CLONES {
        routes.at(path).later(Method::POST, ConfigWrite, namespace, |state, ask| async move {
            let (clone, ask) = ask.apart();
            archive::clone(&state, clone, ask).await
        });
    }
}

type DecodeClone = crate::route::Decode<CloneOf>;

/// The two have words of their own for the namespace that copies go to.
const CLONES: [(&str, DecodeClone); 2] = [
    ("/v3/admin/cs/config/clone", |parts| CloneOf::decode(parts, Id::NAMESPACE_ID)),
    ("/v3/console/cs/config/clone", |parts| CloneOf::decode(parts, Id::TARGET_NAMESPACE_ID)),
];

/// Everything about a config; `None` where there is none.
fn detail(state: &State, key: &ConfigKey) -> Result<Option<HttpAnswer>, Failure> {
    let configs = state.all_configs()?;
    let config = configs.get(key.namespace.as_str(), key.group.as_str(), key.data_id.as_str());
    Ok(config.map(|config| {
        let content = vec![(CONTENT, Arc::clone(&config.content))];
        HttpAnswer::result_with(&ConfigDetailInfo::new(key.into(), config), content)
    }))
}

fn admin_read(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    detail(state, &ask.about)?.ok_or_else(absent)
}

/// The console asks whether a config is there before it makes a new one: that is no error.
fn console_read(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    Ok(detail(state, &ask.about)?.unwrap_or_else(|| HttpAnswer::result(&None::<bool>)))
}

async fn publish(state: Arc<State>, ask: Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let (key, ask) = ask.apart();
    let publish = publish_of(&state, ask, key, &Words::V2, by_beta_or_tag).await?;
    state.write_config(publish.into()).await?;
    Ok(HttpAnswer::result(&true))
}

/// Describes a config anew and leaves its content: no client hears of it.
async fn describe(state: Arc<State>, ask: Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let operator = operator(&ask, ask.params.text(Words::V2.user))?;
    let (key, at) = (ask.about.clone(), state.now().1);
    let stored = {
        let configs = state.all_configs()?;
        let config = configs.get(key.namespace.as_str(), key.group.as_str(), key.data_id.as_str());
        config.map(|config| (Arc::clone(&config.content), config.md5, config.labels()))
    };
    let (content, md5, mut labels) = stored.ok_or_else(absent)?;
    if let Some(desc) = ask.params.raw(field::DESC) {
        labels.desc = desc.into();
    }
    if let Some(tags) = ask.params.raw(field::CONFIG_TAGS) {
        labels.tags = list_of(tags, limits::CONFIG_TAGS_MAX);
    }
    let publish = Publish {
        key,
        content,
        md5,
        labels: Labels::default(),
        inherit: Inherit::default(),
        gray: None,
        // Whoever writes the content meanwhile is not overwritten.
        cas_md5: Some(md5),
        only_new: false,
        operator,
        at,
    };
    state.write_config(publish.with_labels(labels, Inherit::default())?.into()).await?;
    Ok(HttpAnswer::result(&true))
}

fn absent() -> Failure {
    let words = "Config not exist, please publish Config first.";
    Failure::not_found(Code::RESOURCE_NOT_FOUND, words)
}

async fn remove(state: Arc<State>, ask: Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let gray = gray_of(&ask.params)?;
    let remove = remove_of(&state, &ask, ask.about.clone(), &Words::V2, gray)?;
    state.write_config(remove.into()).await?;
    Ok(HttpAnswer::result(&true))
}

async fn remove_many(state: Arc<State>, ask: Ask<ConfigIds>) -> Result<HttpAnswer, Failure> {
    let keys = ask.about.keys().iter().map(|(_, key)| key.clone()).collect();
    let operator = operator(&ask, ask.params.text(Words::V2.user))?;
    search::remove_all(&state, operator, keys).await?;
    Ok(HttpAnswer::result(&true))
}

fn admin_beta(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    beta(state, &ask.about, false)?
        .ok_or_else(|| Failure::not_found(Code::RESOURCE_NOT_FOUND, "Config is not in beta."))
}

/// The console asks for the beta version of each config that is edited, and shows it with the type
/// of the config itself.
fn console_beta(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    Ok(beta(state, &ask.about, true)?.unwrap_or_else(|| HttpAnswer::result(&None::<bool>)))
}

fn beta(state: &State, key: &ConfigKey, is_typed: bool) -> Result<Option<HttpAnswer>, Failure> {
    let (namespace, group, data_id) =
        (key.namespace.as_str(), key.group.as_str(), key.data_id.as_str());
    let configs = state.all_configs()?;
    let config = configs.get(namespace, group, data_id).filter(|_| is_typed);
    let config_type = config.and_then(|config| config.config_type);
    Ok(configs.beta(namespace, group, data_id).map(|beta| {
        let content = vec![(CONTENT, Arc::clone(&beta.content))];
        HttpAnswer::result_with(&GrayInfo::new(key.into(), beta, config_type), content)
    }))
}

/// Ends a beta; `code` and `words` say that there is none.
async fn stop_beta(
    state: Arc<State>,
    ask: Ask<ConfigKey>,
    code: u32,
    words: &str,
) -> Result<HttpAnswer, Failure> {
    let beta = Some(GrayName::Beta);
    let remove = remove_of(&state, &ask, ask.about.clone(), &Words::V2, beta)?;
    if search::is_removed(state.write_config(remove.into()).await?) {
        return Ok(HttpAnswer::result(&true));
    }
    Ok(HttpAnswer::json(&Envelope { code, message: Some(words), data: &false }))
}

/// A page of configs without contents.
async fn list(state: Arc<State>, ask: Ask<Filter>) -> Result<HttpAnswer, Failure> {
    let page = ask.params.page_v3(PAGE_SIZE, limits::SEARCH_PAGE_MAX)?;
    let asked =
        SearchTexts::new(&ask.params, &ask.about, &Words::V2, Some(field::CONFIG_DETAIL), page);
    let is_blurred = ask.params.text_or(field::SEARCH, "blur") == "blur";
    let found = search::found(&state, &asked, is_blurred).await?;
    let items = found.items.iter().map(|(key, config)| BasicInfo::new(key.into(), config));
    Ok(HttpAnswer::result(&PageOf::new(found.total, found.page_no, found.pages, items)))
}
