//! `nacolet config ...`: configs over the public HTTP API.

use std::collections::BTreeMap;

use clap::Subcommand;
use nacolet_model::limits;
use serde_json::Value;
use surf::http::Method;

use super::error::CliError;
use super::target::TargetArgs;
use super::terminal::{print, print_json, print_line, print_table, read};

const CONFIGS: &str = "/nacos/v1/cs/configs";
const HISTORY: &str = "/nacos/v1/cs/history";

/// What can be done with configs.
#[derive(Subcommand, Debug)]
pub(crate) enum ConfigVerb {
    /// Print the content of a config
    Get {
        data_id: String,
        #[command(flatten)]
        target: TargetArgs,
        /// Print everything known about it, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Publish a config: from the command line, from --file, or from standard input
    Set {
        data_id: String,
        /// The content; `-` reads standard input
        content: Option<String>,
        #[command(flatten)]
        target: TargetArgs,
        /// Take the content from this file
        #[arg(long, short, value_name = "FILE", conflicts_with = "content")]
        file: Option<String>,
        /// text, json, xml, yaml, html, properties or toml
        #[arg(long, short = 't', value_name = "TYPE")]
        r#type: Option<String>,
        /// Publish only if the current content has this md5 (compare-and-set)
        #[arg(long, value_name = "MD5")]
        cas_md5: Option<String>,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        desc: Option<String>,
        /// Application it belongs to
        #[arg(long, value_name = "NAME")]
        app: Option<String>,
        /// Tags, separated by commas
        #[arg(long, value_name = "TAG,...")]
        tags: Option<String>,
    },
    /// Remove a config
    Rm {
        data_id: String,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// List configs; `*` is a wildcard
    Ls {
        /// Pattern of the dataId
        #[arg(default_value = "")]
        pattern: String,
        #[command(flatten)]
        target: TargetArgs,
        /// Look in every group
        #[arg(long, short)]
        all_groups: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print earlier versions, newest first
    History {
        data_id: String,
        #[command(flatten)]
        target: TargetArgs,
        /// Print the content of this version
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the content now and after every change, until stopped
    Watch {
        data_id: String,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Publish every config of a zip archive, as Nacos exports it
    Import {
        /// The archive
        file: String,
        #[command(flatten)]
        target: TargetArgs,
        /// What to do with configs that exist: ABORT, SKIP or OVERWRITE
        #[arg(long, default_value = "ABORT", value_name = "POLICY")]
        policy: String,
    },
    /// Write configs to a zip archive that Nacos can import
    Export {
        /// The archive to write; `-` is standard output
        file: String,
        #[command(flatten)]
        target: TargetArgs,
        /// Take every group
        #[arg(long, short)]
        all_groups: bool,
    },
}

/// Runs one verb.
///
/// # Errors
/// See [`CliError`].
pub(crate) async fn run(verb: ConfigVerb) -> Result<(), CliError> {
    match verb {
        ConfigVerb::Get { data_id, target, json } => get(&target, &data_id, json).await,
        ConfigVerb::Set { .. } => set(verb).await,
        ConfigVerb::Rm { data_id, target } => remove(&target, &data_id).await,
        ConfigVerb::Ls { pattern, target, all_groups, json } => {
            let group = if all_groups { "" } else { &target.group };
            list(&target, group, &pattern, json).await
        }
        ConfigVerb::History { data_id, target, id, json } => {
            history(&target, &data_id, id.as_deref(), json).await
        }
        ConfigVerb::Watch { data_id, target } => watch(&target, &data_id).await,
        ConfigVerb::Import { file, target, policy } => import(&target, &file, &policy).await,
        ConfigVerb::Export { file, target, all_groups } => {
            let group = if all_groups { "" } else { &target.group };
            export(&target, group, &file).await
        }
    }
}

/// The parameters that name one config.
fn key<'a>(target: &'a TargetArgs, data_id: &'a str) -> [(&'a str, &'a str); 3] {
    [("dataId", data_id), ("group", &target.group), ("tenant", &target.namespace)]
}

async fn get(target: &TargetArgs, data_id: &str, json: bool) -> Result<(), CliError> {
    let client = target.client()?;
    if json {
        let [a, b, c] = key(target, data_id);
        let params = [("show", "all"), a, b, c];
        let answer = client.call(Method::Get, CONFIGS, &params, &[]).await?.success(data_id)?;
        if answer.body.is_empty() {
            return Err(CliError::NotFound { what: data_id.to_owned() });
        }
        return print_json(&answer.json()?);
    }
    let answer = client.call(Method::Get, CONFIGS, &key(target, data_id), &[]).await?;
    print(&answer.success(data_id)?.body)
}

async fn set(verb: ConfigVerb) -> Result<(), CliError> {
    let ConfigVerb::Set { data_id, content, target, file, r#type, cas_md5, desc, app, tags } = verb
    else {
        return Ok(());
    };
    let content = match (content.as_deref(), file.as_deref()) {
        (Some("-"), _) | (None, None) => read("-")?,
        (None, Some(path)) => read(path)?,
        (Some(text), _) => text.as_bytes().to_vec(),
    };
    let content = String::from_utf8(content)
        .map_err(|error| CliError::Usage(format!("the content is not UTF-8: {error}")))?;
    if content.len() > limits::CONTENT_BYTES_MAX {
        return Err(CliError::Usage("the content is larger than 10 MiB".to_owned()));
    }
    let [a, b, c] = key(&target, &data_id);
    let params = [
        a,
        b,
        c,
        ("content", content.as_str()),
        ("type", r#type.as_deref().unwrap_or_default()),
        ("desc", desc.as_deref().unwrap_or_default()),
        ("appName", app.as_deref().unwrap_or_default()),
        ("config_tags", tags.as_deref().unwrap_or_default()),
        ("src_user", "nacolet-cli"),
    ];
    let cas = cas_md5.as_deref().map(|md5| ("casMd5", md5));
    let answer = target
        .client()?
        .call(Method::Post, CONFIGS, &params, cas.as_slice())
        .await?
        .success(&data_id)?;
    match answer.text().trim() {
        "true" => Ok(()),
        other => Err(CliError::Answer { reason: other.to_owned() }),
    }
}

async fn remove(target: &TargetArgs, data_id: &str) -> Result<(), CliError> {
    let client = target.client()?;
    client.call(Method::Delete, CONFIGS, &key(target, data_id), &[]).await?.success(data_id)?;
    Ok(())
}

async fn list(target: &TargetArgs, group: &str, pattern: &str, json: bool) -> Result<(), CliError> {
    let client = target.client()?;
    let [_, _, tenant] = key(target, pattern);
    let params = [("search", "blur"), ("dataId", pattern), ("group", group), tenant];
    let items = client.pages(CONFIGS, &params, 200, "the list").await?;
    if json {
        return print_json(&Value::Array(items));
    }
    let text = |item: &Value, field: &str| item[field].as_str().unwrap_or_default().to_owned();
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| ["group", "dataId", "type", "md5"].map(|field| text(item, field)).to_vec())
        .collect();
    print_table(&["GROUP", "DATA ID", "TYPE", "MD5"], &rows)
}

async fn history(
    target: &TargetArgs,
    data_id: &str,
    id: Option<&str>,
    json: bool,
) -> Result<(), CliError> {
    let client = target.client()?;
    let [a, b, c] = key(target, data_id);
    if let Some(id) = id {
        let params = [("nid", id), a, b, c];
        let answer = client.call(Method::Get, HISTORY, &params, &[]).await?.success(id)?;
        let item: Value = answer.json()?;
        if json {
            return print_json(&item);
        }
        return print(item["content"].as_str().unwrap_or_default().as_bytes());
    }
    let params = [("search", "accurate"), a, b, c];
    let items = client.pages(HISTORY, &params, limits::HISTORY_PAGE_MAX, data_id).await?;
    if json {
        return print_json(&Value::Array(items));
    }
    let text = |item: &Value, field: &str| match &item[field] {
        Value::String(text) => text.trim().to_owned(),
        Value::Null => String::new(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    };
    let fields = ["id", "opType", "lastModifiedTime", "srcUser", "srcIp"];
    let rows: Vec<Vec<String>> =
        items.iter().map(|item| fields.map(|field| text(item, field)).to_vec()).collect();
    print_table(&["ID", "OP", "TIME", "USER", "FROM"], &rows)
}

async fn watch(target: &TargetArgs, data_id: &str) -> Result<(), CliError> {
    let client = target.client()?;
    let mut known: Option<String> = None;
    loop {
        let answer = client.call(Method::Get, CONFIGS, &key(target, data_id), &[]).await?;
        let md5 = if answer.status == surf::StatusCode::NotFound {
            String::new()
        } else {
            let answer = answer.success(data_id)?;
            let md5 = answer.content_md5.clone().unwrap_or_default();
            if known.as_deref() != Some(md5.as_str()) {
                print_line(&answer.text())?;
            }
            md5
        };
        known = Some(md5.clone());
        let listening =
            format!("{data_id}\u{2}{}\u{2}{md5}\u{2}{}\u{1}", target.group, target.namespace);
        client
            .call(
                Method::Post,
                "/nacos/v1/cs/configs/listener",
                &[("Listening-Configs", &listening)],
                &[("Long-Pulling-Timeout", "30000")],
            )
            .await?
            .success(data_id)?;
    }
}

async fn import(target: &TargetArgs, file: &str, policy: &str) -> Result<(), CliError> {
    let archive = read(file)?;
    if archive.is_empty() {
        return Err(CliError::Usage(format!("{file} is empty: it is no archive of configs")));
    }
    let params = [
        ("import", "true"),
        ("namespace", target.namespace.as_str()),
        ("policy", policy),
        ("src_user", "nacolet-cli"),
    ];
    let answer = target.client()?.upload(CONFIGS, &params, &archive).await?.success(file)?;
    let body: BTreeMap<String, Value> = answer.json()?;
    if body.get("code").and_then(Value::as_u64) != Some(200) {
        let text = body.get("message").and_then(Value::as_str).unwrap_or_default();
        return Err(CliError::Usage(format!("nothing of {file} is published: {text}")));
    }
    let data = body.get("data").cloned().unwrap_or_default();
    let count = |field: &str| data[field].as_u64().unwrap_or(0);
    print_line(&format!("{} published, {} skipped", count("succCount"), count("skipCount")))
}

async fn export(target: &TargetArgs, group: &str, file: &str) -> Result<(), CliError> {
    let params = [("exportV2", "true"), ("group", group), ("tenant", target.namespace.as_str())];
    let answer =
        target.client()?.call(Method::Get, CONFIGS, &params, &[]).await?.success("configs")?;
    if file == "-" {
        return print(&answer.body);
    }
    std::fs::write(file, &answer.body)
        .map_err(|source| CliError::File { path: file.to_owned(), source })
}
