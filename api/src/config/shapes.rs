//! Configs as v3 shows them, to administrators and to the console (docs/nacos/http-v2-v3.md, "v3
//! for operators"). The text of a content is written while an answer is sent.

use nacolet_config::{Config, ConfigType, Gray, GrayVersion, KeyRef};
use serde::Serialize;

use crate::config::search::{filled, tags_text};

/// `ConfigBasicInfo` of Nacos.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BasicInfo<'a> {
    pub(crate) id: String,
    pub(crate) namespace_id: &'a str,
    pub(crate) group_name: &'a str,
    pub(crate) data_id: &'a str,
    pub(crate) md5: Option<String>,
    #[serde(rename = "type")]
    pub(crate) config_type: Option<&'static str>,
    pub(crate) app_name: &'a str,
    pub(crate) create_time: u64,
    pub(crate) modify_time: u64,
}

impl<'a> BasicInfo<'a> {
    pub(crate) fn new(key: KeyRef<'a>, config: &'a Config) -> Self {
        Self {
            id: config.id.to_string(),
            namespace_id: key.namespace,
            group_name: key.group,
            data_id: key.data_id,
            md5: Some(config.md5.to_string()),
            config_type: config.config_type.map(ConfigType::as_str),
            app_name: config.app_name(),
            create_time: config.created.as_millis(),
            modify_time: config.modified.as_millis(),
        }
    }
}

/// `ConfigDetailInfo` of Nacos.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConfigDetailInfo<'a> {
    #[serde(flatten)]
    basic: BasicInfo<'a>,
    content: &'static str,
    desc: Option<&'a str>,
    encrypted_data_key: Option<&'a str>,
    create_user: Option<&'a str>,
    create_ip: Option<&'a str>,
    config_tags: Option<String>,
}

impl<'a> ConfigDetailInfo<'a> {
    pub(crate) fn new(key: KeyRef<'a>, config: &'a Config) -> Self {
        Self {
            basic: BasicInfo::new(key, config),
            content: "",
            desc: filled(config.desc()),
            encrypted_data_key: Some(config.encrypted_data_key()),
            create_user: filled(&config.operator.user),
            create_ip: filled(&config.operator.ip),
            config_tags: tags_text(config),
        }
    }
}

/// `ConfigGrayInfo` of Nacos: of a gray version it knows the content and the rule.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GrayInfo<'a> {
    #[serde(flatten)]
    detail: ConfigDetailInfo<'a>,
    gray_name: String,
    gray_rule: String,
}

impl<'a> GrayInfo<'a> {
    pub(crate) fn new(
        key: KeyRef<'a>,
        version: &'a GrayVersion,
        config_type: Option<ConfigType>,
    ) -> Self {
        let basic = BasicInfo {
            id: version.id.to_string(),
            namespace_id: key.namespace,
            group_name: key.group,
            data_id: key.data_id,
            md5: Some(version.md5.to_string()),
            config_type: config_type.map(ConfigType::as_str),
            app_name: version.app_name(),
            create_time: version.created.as_millis(),
            modify_time: version.modified.as_millis(),
        };
        let detail = ConfigDetailInfo {
            basic,
            content: "",
            desc: None,
            encrypted_data_key: filled(version.encrypted_data_key()),
            create_user: None,
            create_ip: None,
            config_tags: None,
        };
        let gray_name = version.gray.name().to_string();
        Self { detail, gray_name, gray_rule: gray_rule(&version.gray) }
    }
}

/// Who sees a gray version, as Nacos writes its rules down.
fn gray_rule(gray: &Gray) -> String {
    #[derive(Serialize)]
    struct Rule<'a> {
        #[serde(rename = "type")]
        kind: &'static str,
        version: &'static str,
        expr: &'a str,
        priority: i32,
    }
    let beta;
    let (kind, version, expr) = match gray {
        Gray::Beta(ips) => {
            beta = ips.join(",");
            ("beta", "1.0.0", beta.as_str())
        }
        Gray::Tag(tag) => ("tag", "1.0.0", &**tag),
        Gray::Labels(rule) => ("tagv2", rule.syntax.version(), &*rule.expr),
    };
    let rule = Rule { kind, version, expr, priority: gray.priority() };
    serde_json::to_string(&rule).unwrap_or_default()
}
