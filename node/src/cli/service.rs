//! `nacolet service ...`: services and instances over the public HTTP API.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};
use surf::StatusCode;
use surf::http::Method;

use super::client::Client;
use super::error::CliError;
use super::target::TargetArgs;
use super::terminal::{print_json, print_line, print_table};

const INSTANCE: &str = "/nacos/v1/ns/instance";
const LIST: &str = "/nacos/v1/ns/instance/list";
const BEAT: &str = "/nacos/v1/ns/instance/beat";
/// Who keeps the instances alive.
const OWNERS: &str = "/nacos/v3/admin/nacolet/service";
const CATALOG: &str = "/nacos/v1/ns/catalog/services";

/// What can be done with services.
#[derive(Subcommand, Debug)]
pub(crate) enum ServiceVerb {
    /// List services with their instance counts
    Ls {
        #[command(flatten)]
        target: TargetArgs,
        /// Look in every group
        #[arg(long, short)]
        all_groups: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a service's instances as clients see them, and who keeps them alive
    Show {
        service: String,
        #[command(flatten)]
        target: TargetArgs,
        /// Only healthy instances
        #[arg(long)]
        healthy: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Register an instance and keep it alive with beats until stopped
    Register {
        service: String,
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        address: Address,
        /// Share of the load, 0 to 10000
        #[arg(long, default_value = "1")]
        weight: String,
        /// Metadata, key=value; may be repeated
        #[arg(long, short, value_name = "KEY=VALUE")]
        metadata: Vec<String>,
        /// Register for good, without beats, and return at once
        #[arg(long)]
        persistent: bool,
    },
    /// Deregister an instance
    Deregister {
        service: String,
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        address: Address,
        /// It was registered with --persistent
        #[arg(long)]
        persistent: bool,
    },
    /// Print the instances now and after every change, until stopped
    Watch {
        service: String,
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// Which instance of a service.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Address {
    /// Address of the instance
    #[arg(long)]
    ip: String,
    /// Port of the instance
    #[arg(long)]
    port: u16,
    /// Cluster of the instance
    #[arg(long, default_value = "DEFAULT")]
    cluster: String,
}

/// Runs one verb.
///
/// # Errors
/// See [`CliError`].
pub(crate) async fn run(verb: ServiceVerb) -> Result<(), CliError> {
    match verb {
        ServiceVerb::Ls { target, all_groups, json } => {
            let group = if all_groups { "" } else { &target.group };
            list(&target, group, json).await
        }
        ServiceVerb::Show { service, target, healthy, json } => {
            show(&target, &service, healthy, json).await
        }
        ServiceVerb::Register { service, target, address, weight, metadata, persistent } => {
            let metadata = parse_metadata(&metadata)?;
            register(&target, &service, &address, &weight, &metadata, persistent).await
        }
        ServiceVerb::Deregister { service, target, address, persistent } => {
            deregister(&target.client()?, &target, &service, &address, persistent).await
        }
        ServiceVerb::Watch { service, target } => watch(&target, &service).await,
    }
}

fn text(item: &Value, field: &str) -> String {
    match &item[field] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    }
}

async fn list(target: &TargetArgs, group: &str, json: bool) -> Result<(), CliError> {
    let client = target.client()?;
    let mut services = Vec::new();
    for page in 1_usize.. {
        let number = page.to_string();
        let params = [
            ("namespaceId", target.namespace.as_str()),
            ("groupNameParam", group),
            ("serviceNameParam", ""),
            ("pageNo", &number),
            ("pageSize", "500"),
        ];
        let answer = client.call(Method::Get, CATALOG, &params, &[]).await?.success("services")?;
        let mut body: Value = answer.json()?;
        let Value::Array(found) = body["serviceList"].take() else { break };
        let end = found.len() < 500;
        services.extend(found);
        if end {
            break;
        }
    }
    if json {
        return print_json(&Value::Array(services));
    }
    let fields = ["groupName", "name", "ipCount", "healthyInstanceCount"];
    let rows: Vec<Vec<String>> =
        services.iter().map(|item| fields.map(|field| text(item, field)).to_vec()).collect();
    print_table(&["GROUP", "SERVICE", "INSTANCES", "HEALTHY"], &rows)
}

async fn hosts(
    client: &Client,
    target: &TargetArgs,
    service: &str,
    healthy: bool,
) -> Result<Value, CliError> {
    let params = [
        ("serviceName", service),
        ("groupName", target.group.as_str()),
        ("namespaceId", target.namespace.as_str()),
        ("healthyOnly", if healthy { "true" } else { "false" }),
    ];
    client.call(Method::Get, LIST, &params, &[]).await?.success(service)?.json()
}

fn print_hosts(list: &Value) -> Result<(), CliError> {
    let empty = Vec::new();
    let hosts = list["hosts"].as_array().unwrap_or(&empty);
    let fields = ["ip", "port", "clusterName", "weight", "healthy", "ephemeral", "metadata"];
    let rows: Vec<Vec<String>> =
        hosts.iter().map(|item| fields.map(|field| text(item, field)).to_vec()).collect();
    print_table(&["IP", "PORT", "CLUSTER", "WEIGHT", "HEALTHY", "EPHEMERAL", "METADATA"], &rows)
}

async fn show(
    target: &TargetArgs,
    service: &str,
    healthy: bool,
    json: bool,
) -> Result<(), CliError> {
    let client = target.client()?;
    let mut list = hosts(&client, target, service, healthy).await?;
    let params = [
        ("serviceName", service),
        ("groupName", target.group.as_str()),
        ("namespaceId", target.namespace.as_str()),
    ];
    let owners = client.call(Method::Get, OWNERS, &params, &[]).await?.success(service)?;
    let mut owners: Value = owners.json()?;
    let mut owners = owners["data"].take();
    add_owners(&mut list, &mut owners);
    if json {
        return print_json(&list);
    }
    let responsible = &list["responsible"];
    let (address, node) = (text(responsible, "address"), text(responsible, "nodeId"));
    print_line(&format!("responsible: {address} (node {node})"))?;
    let rows: Vec<Vec<String>> =
        list["hosts"].as_array().into_iter().flatten().map(shown).collect();
    print_table(
        &["IP", "PORT", "CLUSTER", "WEIGHT", "HEALTHY", "KEPT BY", "MEMBER", "METADATA"],
        &rows,
    )
}

fn shown(host: &Value) -> Vec<String> {
    let mut row = ["ip", "port", "clusterName", "weight", "healthy"].map(|field| text(host, field));
    let member = text(&host["member"], "address");
    let mut rest = [text(host, "keptBy"), member, text(host, "metadata")];
    row.iter_mut().chain(&mut rest).map(std::mem::take).collect()
}

/// Puts who keeps an instance alive beside each instance of a list.
fn add_owners(list: &mut Value, owners: &mut Value) {
    list["responsible"] = owners["responsible"].take();
    let name = |one: &Value| (text(one, "ip"), text(one, "port"), text(one, "clusterName"));
    let of: BTreeMap<_, &Value> =
        owners["instances"].as_array().into_iter().flatten().map(|one| (name(one), one)).collect();
    for host in list["hosts"].as_array_mut().into_iter().flatten() {
        // One that came between the two calls has none.
        if let Some(owner) = of.get(&name(host)) {
            host["keptBy"] = owner["keptBy"].clone();
            host["member"] = owner["member"].clone();
        }
    }
}

/// `key=value` words as the JSON object that Nacos takes.
fn parse_metadata(words: &[String]) -> Result<String, CliError> {
    let mut map = serde_json::Map::new();
    for word in words {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| CliError::Usage(format!("{word:?} is not KEY=VALUE")))?;
        map.insert(key.to_owned(), Value::String(value.to_owned()));
    }
    Ok(Value::Object(map).to_string())
}

async fn register(
    target: &TargetArgs,
    service: &str,
    address: &Address,
    weight: &str,
    metadata: &str,
    persistent: bool,
) -> Result<(), CliError> {
    let client = target.client()?;
    let port = address.port.to_string();
    let params = [
        ("serviceName", service),
        ("groupName", target.group.as_str()),
        ("namespaceId", target.namespace.as_str()),
        ("ip", &address.ip),
        ("port", &port),
        ("clusterName", &address.cluster),
        ("weight", weight),
        ("metadata", metadata),
        ("ephemeral", if persistent { "false" } else { "true" }),
    ];
    client.call(Method::Post, INSTANCE, &params, &[]).await?.success(service)?;
    if persistent {
        return Ok(());
    }
    print_line("registered; it stays until this command is stopped")?;
    let stopped = async {
        crate::signals::stop_requested().await;
        Ok(())
    };
    let ended =
        smol::future::or(stopped, beat(&client, target, service, address, weight, metadata)).await;
    deregister(&client, target, service, address, false).await?;
    ended
}

/// Beats for ever; a node that does not answer is tried again, as a Nacos client does.
async fn beat(
    client: &Client,
    target: &TargetArgs,
    service: &str,
    address: &Address,
    weight: &str,
    metadata: &str,
) -> Result<(), CliError> {
    let grouped = format!("{}@@{service}", target.group);
    let port = address.port.to_string();
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let beat = json!({
        "ip": address.ip, "port": address.port, "serviceName": grouped, "cluster": address.cluster,
        "weight": parsed(weight), "metadata": parsed(metadata), "ephemeral": true,
    })
    .to_string();
    let params = [
        ("serviceName", grouped.as_str()),
        ("namespaceId", target.namespace.as_str()),
        ("ip", &address.ip),
        ("port", &port),
        ("clusterName", &address.cluster),
        ("beat", &beat),
    ];
    let mut wait = Duration::from_secs(5);
    loop {
        smol::Timer::after(wait).await;
        match client.call(Method::Put, BEAT, &params, &[]).await {
            Ok(answer) => {
                let body: Value = answer.success(service)?.json()?;
                wait = Duration::from_millis(body["clientBeatInterval"].as_u64().unwrap_or(5_000));
            }
            Err(error @ CliError::Unreachable { .. }) => print_line(&error.to_string())?,
            // Another try to log in has a chance after too many, and none with a wrong password.
            Err(CliError::Refused { status: StatusCode::TooManyRequests, text }) => {
                print_line(&text)?;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn deregister(
    client: &Client,
    target: &TargetArgs,
    service: &str,
    address: &Address,
    persistent: bool,
) -> Result<(), CliError> {
    let port = address.port.to_string();
    let params = [
        ("serviceName", service),
        ("groupName", target.group.as_str()),
        ("namespaceId", target.namespace.as_str()),
        ("ip", &address.ip),
        ("port", &port),
        ("clusterName", &address.cluster),
        ("ephemeral", if persistent { "false" } else { "true" }),
    ];
    client.call(Method::Delete, INSTANCE, &params, &[]).await?.success(service)?;
    Ok(())
}

async fn watch(target: &TargetArgs, service: &str) -> Result<(), CliError> {
    let client = target.client()?;
    let mut known = Value::Null;
    loop {
        let list = hosts(&client, target, service, false).await?;
        if list["hosts"] != known {
            known = list["hosts"].clone();
            print_hosts(&list)?;
            print_line("")?;
        }
        smol::Timer::after(Duration::from_secs(1)).await;
    }
}
