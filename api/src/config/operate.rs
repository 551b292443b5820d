//! What operators ask of the config side beside its configs: `/cs/ops` and `/cs/metrics` of v1 and
//! v3, and the paths that members of Nacos 2 ask each other by. There is no database behind this
//! server and no copy beside its state, so some of these have nothing to do, and say so.

use hyper::Method;
use nacolet_model::{ConfigKey, DataId, Group, Namespace};

use crate::access::about;
use crate::access::rule::Permission;
use crate::http::answer::{Envelope, HttpAnswer};
use crate::http::failure::{Code, Failure};
use crate::http::params::{Id, Parts, field, multipart};
use crate::port::logs;
use crate::route::Outcome;
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

pub(crate) fn routes(routes: &mut Routes) {
    use Permission::{Admin, ConfigRead};
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    for path in ["/v1/cs/ops/localCache", "/v3/admin/cs/ops/localCache"] {
        routes.at(path).now(post.clone(), Admin, about::nothing, local_cache);
    }
    for path in ["/v1/cs/ops/log", "/v3/admin/cs/ops/log"] {
        routes.at(path).now(put.clone(), Admin, about::nothing, log);
    }
    for path in ["/v1/cs/ops/derby", "/v3/admin/cs/ops/derby"] {
        routes.at(path).now(get.clone(), Admin, about::nothing, derby);
    }
    for path in ["/v1/cs/ops/data/removal", "/v3/admin/cs/ops/derby/import"] {
        routes.at(path).now(post.clone(), Admin, with_parts, import_rows);
    }
    for path in ["/v1/cs/metrics/cluster", "/v1/cs/metrics/current"] {
        let decode = |parts: &Parts<'_>| measured(parts, Id::TENANT, Id::GROUP);
        routes.at(path).now(get.clone(), ConfigRead, decode, metrics);
    }
    for path in ["/v3/admin/cs/metrics/cluster", "/v3/admin/cs/metrics/ip"] {
        let decode = |parts: &Parts<'_>| measured(parts, Id::NAMESPACE_ID, Id::GROUP_NAME);
        routes.at(path).now(get.clone(), ConfigRead, decode, metrics);
    }
    for path in INNER {
        routes.at(path).now(get.clone(), Permission::Console, about::nothing, gone);
    }
}

/// What members of Nacos 2 ask each other by.
const INNER: [&str; 2] =
    ["/v1/cs/communication/configWatchers", "/v1/cs/communication/watcherConfigs"];

/// Reads look at the state itself: it is never older than what is stored.
fn local_cache(_state: &State, ask: &Ask<()>) -> Outcome {
    Ok(if ask.is_v3 {
        HttpAnswer::result("Local cache updated from store successfully!")
    } else {
        HttpAnswer::text("200")
    })
}

fn log(_state: &State, ask: &Ask<()>) -> Outcome {
    let name = ask.params.required(field::LOG_NAME)?;
    let level = ask.params.required(field::LOG_LEVEL)?;
    logs::set_level(name, level)?;
    Ok(if ask.is_v3 {
        let words = format!("Log level updated successfully! Module: {name}, Log Level: {level}");
        HttpAnswer::result(&words)
    } else {
        HttpAnswer::text("200")
    })
}

/// As a Nacos answers whose database nobody may look into.
fn derby(_state: &State, ask: &Ask<()>) -> Outcome {
    ask.params.present(field::SQL)?;
    let Code(code, _) = Code::SERVER_ERROR;
    let code = if ask.is_v3 { code } else { 500 };
    let message = Some("there is no Derby behind this server: ask for configs instead");
    Ok(HttpAnswer::json(&Envelope { code, message, data: &None::<bool> }))
}

/// A call that brings a file.
fn with_parts(parts: &Parts<'_>) -> Result<(), Failure> {
    let is_multipart = multipart::type_of(parts.headers).is_some();
    is_multipart.then_some(()).ok_or_else(|| Failure::missing("file"))
}

fn import_rows(_state: &State, _ask: &Ask<()>) -> Outcome {
    let words = "there is no Derby behind this server: import an archive of configs instead";
    Err(Failure::disabled(words))
}

/// The config of a call for the numbers of those who hold it.
fn measured(parts: &Parts<'_>, namespace: Id, group: Id) -> Result<ConfigKey, Failure> {
    parts.fields.present(field::IP)?;
    let named = |id: Id| {
        let said = parts.id(id)?;
        said.ok_or_else(|| Failure::invalid(format!("invalid {} : null", id.name())))
    };
    let namespace = Namespace::parse(parts.id_or(namespace, "")?)?;
    let data_id = DataId::new(named(Id::DATA_ID)?)?;
    Ok(ConfigKey { namespace, group: Group::new(named(group)?)?, data_id })
}

/// Nacos asks the client itself what it has in its cache and on its disk.
fn metrics(_state: &State, _ask: &Ask<ConfigKey>) -> Outcome {
    let words = "this server does not ask clients for their numbers: ask it who listens instead";
    Err(Failure::disabled(words))
}

fn gone(_state: &State, _ask: &Ask<()>) -> Outcome {
    let words = "only members of Nacos 2 ask each other by this path";
    Err(Failure::gone(words))
}
