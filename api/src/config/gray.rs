//! Gray versions by name, `/v3/admin/cs/config/gray` (Nacos 3.2.2): published with a rule by
//! labels, shown and removed, whatever their rule is.

use std::sync::Arc;

use hyper::Method;
use nacolet_config::{Gray, GrayName, LabelRule, LabelSyntax};
use nacolet_model::{ConfigKey, DataId, limits};

use crate::access::about;
use crate::access::rule::Permission;
use crate::config::search::CONTENT;
use crate::config::shapes::GrayInfo;
use crate::config::words::{Words, list, publish_of, remove_of, tag_name};
use crate::http::answer::HttpAnswer;
use crate::http::call::Call;
use crate::http::failure::{Code, Failure};
use crate::http::params::{Fields, field};
use crate::route::ask::Ask;
use crate::route::table::Routes;
use crate::state::State;

pub(crate) fn routes(routes: &mut Routes, large: fn(&Call) -> usize) {
    use Permission::{ConfigRead, ConfigWrite};
    routes
        .at_large("/v3/admin/cs/config/gray", large)
        .now(Method::GET, ConfigRead, about::config_v3, read)
        .later(Method::POST, ConfigWrite, about::config_v3, publish)
        .later(Method::DELETE, ConfigWrite, about::config_v3, remove);
}

async fn publish(state: Arc<State>, ask: Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let (key, ask) = ask.apart();
    let publish = publish_of(&state, ask, key, &Words::V2, by_rule).await?;
    state.write_config(publish.into()).await?;
    Ok(HttpAnswer::result(&true))
}

/// Who sees a version that is published by name. A name that says beta or a tag belongs to those.
fn by_rule(ask: &Ask<()>) -> Result<Option<Gray>, Failure> {
    let params = &ask.params;
    let name = name(params)?;
    let alias = params.text(field::GRAY_MATCH_RULE_EXP);
    let expr = alias.map_or_else(|| params.required(field::GRAY_RULE_EXP), Ok)?;
    let version = params.required(field::GRAY_VERSION)?;
    let priority = params.number_or(field::GRAY_PRIORITY, 0)?;
    let kind = params.text_or(field::GRAY_TYPE, "tagv2");
    let syntax = LabelSyntax::of_version(version);
    match (kind, syntax, &name) {
        ("tagv2", Some(syntax), GrayName::Labels(name)) => {
            let rule = LabelRule { name: name.clone(), syntax, expr: expr.into(), priority };
            Ok(Some(Gray::Labels(Box::new(rule))))
        }
        ("beta", Some(LabelSyntax::Single), GrayName::Beta) => {
            Ok(Some(Gray::Beta(list(expr, limits::BETA_IPS_MAX))))
        }
        ("tag", Some(LabelSyntax::Single), GrayName::Tag(tag)) if **tag == *expr => {
            Ok(Some(Gray::Tag(tag_name(tag)?)))
        }
        ("tagv2", Some(_), _) | ("beta" | "tag", Some(LabelSyntax::Single), _) => {
            Err(illegal(&name.to_string()))
        }
        _ => {
            let code = Code::CONFIG_GRAY_VERSION;
            Err(Failure::invalid_as(code, code.1))
        }
    }
}

/// The name of a gray version, as a call has it.
fn name(params: &Fields) -> Result<GrayName, Failure> {
    let name = params.required(field::GRAY_NAME)?.trim();
    if DataId::check(name).is_err() {
        return Err(illegal(name));
    }
    Ok(GrayName::parse(name))
}

fn illegal(name: &str) -> Failure {
    let shown: String = name.chars().take(limits::GRAY_NAME_CHARS_MAX).collect();
    Failure::invalid_as(Code::PARAMETER_VALIDATE_ERROR, format!("invalid grayName : {shown}"))
}

fn read(state: &State, ask: &Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let (key, name) = (&ask.about, name(&ask.params)?);
    let configs = state.all_configs()?;
    let (namespace, group) = (key.namespace.as_str(), key.group.as_str());
    let version = configs.gray(namespace, group, key.data_id.as_str(), &name);
    let version = version.ok_or_else(|| {
        Failure::not_found(Code::RESOURCE_NOT_FOUND, "Config gray version not found.")
    })?;
    let content = vec![(CONTENT, Arc::clone(&version.content))];
    Ok(HttpAnswer::result_with(&GrayInfo::new(key.into(), version, None), content))
}

async fn remove(state: Arc<State>, ask: Ask<ConfigKey>) -> Result<HttpAnswer, Failure> {
    let name = name(&ask.params)?;
    let remove = remove_of(&state, &ask, ask.about.clone(), &Words::V2, Some(name))?;
    state.write_config(remove.into()).await?;
    Ok(HttpAnswer::result(&true))
}
