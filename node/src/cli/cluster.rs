//! `nacolet cluster ...`: the members, for operators. The node answers to administrators, and where
//! nobody has to log in to its own host only.

use std::time::Duration;

use clap::Subcommand;
use serde_json::Value;
use surf::http::Method;

use super::client::{Client, Params, taken};
use super::error::CliError;
use super::login::ServerArgs;
use super::terminal::{print_json, print_line, print_table};

const PATH: &str = "/nacos/v3/admin/nacolet/cluster";
const LOADER: &str = "/nacos/v3/admin/core/loader";
const OWN: &str = "/nacos/v3/admin/core/cluster/node/self";
/// Between two looks at who is still there.
const DRAIN_LOOK: Duration = Duration::from_millis(500);
/// Clients that are still there are told again after this.
const DRAIN_AGAIN: Duration = Duration::from_secs(10);

/// What can be done with the cluster.
#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Show the members and how far each one is
    Status {
        #[command(flatten)]
        server: ServerArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a learner by its node id, or correct the address of a member (a node started with --join
    /// adds itself)
    Add {
        /// Its node id, as `status` shows it
        node_id: String,
        /// Where it listens for peers
        #[arg(value_name = "HOST:PORT")]
        address: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove a member for good
    Remove {
        /// Its node id, as `status` shows it
        node_id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Hand leadership to a member, or to the most advanced one
    Transfer {
        /// Its node id, as `status` shows it
        node_id: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Send the gRPC clients of the node that is asked to the other members, and tell how many are
    /// left: some SDKs do not go before the node stops
    Drain {
        /// How long to wait for them, seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        wait: u64,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Free a NACOS_LOCK whoever holds it, as when its user is gone; locks of the other kinds go
    /// with their connection
    Unlock {
        /// Its key
        key: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Save the state of the node that is asked now, and shorten its log
    Snapshot {
        #[command(flatten)]
        server: ServerArgs,
    },
}

async fn ask(
    server: &ServerArgs,
    method: Method,
    verb: &str,
    params: &Params<'_>,
) -> Result<Value, CliError> {
    let path = format!("{PATH}{verb}");
    let answer = server.client()?.call(method, &path, params, &[("nacolet-admin", "1")]).await?;
    Ok(taken(&mut answer.accepted()?.json()?, "data"))
}

/// Runs a verb to its end.
///
/// # Errors
/// See [`CliError`].
pub(crate) async fn run(verb: Verb) -> Result<(), CliError> {
    match verb {
        Verb::Status { server, json } => {
            let status = ask(&server, Method::Get, "", &[]).await?;
            if json { print_json(&status) } else { print_status(&status) }
        }
        Verb::Add { node_id, address, server } => {
            let params = [("node", node_id.as_str()), ("address", address.as_str())];
            ask(&server, Method::Post, "/add", &params).await?;
            print_line(&format!("{node_id} is a member at {address}"))
        }
        Verb::Remove { node_id, server } => {
            ask(&server, Method::Post, "/remove", &[("node", node_id.as_str())]).await?;
            print_line(&format!("{node_id} is removed"))
        }
        Verb::Transfer { node_id, server } => {
            let target: Vec<_> = node_id.iter().map(|id| ("node", id.as_str())).collect();
            let told = ask(&server, Method::Post, "/transfer", &target).await?;
            print_line(&format!("{} leads", text(&told["leader"])))
        }
        Verb::Drain { wait, server } => drain(&server, Duration::from_secs(wait)).await,
        Verb::Unlock { key, server } => {
            ask(&server, Method::Post, "/unlock", &[("lockKey", key.as_str())]).await?;
            print_line(&format!("{key} is free"))
        }
        Verb::Snapshot { server } => {
            let told = ask(&server, Method::Post, "/snapshot", &[]).await?;
            print_line(&format!("saved up to log index {}", told["snapshot_index"]))
        }
    }
}

/// Sends the clients away and looks how many are still there. Those that did not go, or came
/// meanwhile, are told again.
async fn drain(server: &ServerArgs, wait: Duration) -> Result<(), CliError> {
    let client = server.client()?;
    let before = clients(&client).await?;
    let (mut left, mut waited) = (before, Duration::ZERO);
    while left > 0 {
        if waited.as_millis().is_multiple_of(DRAIN_AGAIN.as_millis()) {
            let reload = format!("{LOADER}/reloadCurrent");
            client.call(Method::Post, &reload, &[("count", "0")], &[]).await?.accepted()?;
        }
        if waited >= wait {
            break;
        }
        smol::Timer::after(DRAIN_LOOK).await;
        waited += DRAIN_LOOK;
        left = clients(&client).await?;
    }
    let gone = before.saturating_sub(left);
    print_line(&format!("{gone} clients went to other members, {left} are left"))
}

/// How many gRPC clients the node has that is asked.
async fn clients(client: &Client) -> Result<u64, CliError> {
    let get = async |path: &str| client.call(Method::Get, path, &[], &[]).await?.accepted()?.json();
    let own: Value = get(OWN).await?;
    let loads: Value = get(&format!("{LOADER}/cluster")).await?;
    let own = &own["data"]["address"];
    let mut loads = loads["data"]["detail"].as_array().into_iter().flatten();
    let load = loads.find(|load| load["address"] == *own);
    load.and_then(|load| load["sdkConCount"].as_u64())
        .ok_or_else(|| CliError::Answer { reason: "it does not count its clients".to_owned() })
}

fn print_status(status: &Value) -> Result<(), CliError> {
    let row = |member: &Value| {
        let own = member["node_id"] == status["node_id"];
        let keys = ["node_id", "address", "role", "match_index", "state"];
        let mut cells: Vec<String> = keys.iter().map(|key| text(&member[*key])).collect();
        cells.push(if own { "this node".to_owned() } else { String::new() });
        cells
    };
    let members = status["members"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Vec<String>> = members.iter().map(row).collect();
    print_table(&["NODE", "ADDRESS", "ROLE", "MATCH", "STATE", ""], &rows)?;
    print_line(&format!(
        "term {}, committed {}, applied {}",
        status["term"], status["commit_index"], status["applied_index"]
    ))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        // A node without others has no address for them.
        Value::String(_) | Value::Null => "-".to_owned(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    }
}
