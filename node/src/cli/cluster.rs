//! `nacolet cluster ...`: the members, for operators. The node answers only to its own host.

use clap::Subcommand;
use serde_json::Value;
use surf::http::Method;

use super::client::{CliError, Params, taken};
use super::login::Server;
use super::{print_json, print_line, print_table};

const PATH: &str = "/nacos/v3/admin/nacolet/cluster";

/// What can be done with the cluster.
#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Show the members and how far each one is
    Status {
        #[command(flatten)]
        server: Server,
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
        server: Server,
    },
    /// Remove a member for good
    Remove {
        /// Its node id, as `status` shows it
        node_id: String,
        #[command(flatten)]
        server: Server,
    },
    /// Hand leadership to a member, or to the most advanced one
    Transfer {
        /// Its node id, as `status` shows it
        node_id: Option<String>,
        #[command(flatten)]
        server: Server,
    },
    /// Save the state of the node that is asked now, and shorten its log
    Snapshot {
        #[command(flatten)]
        server: Server,
    },
}

async fn ask(
    server: &Server,
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
        Verb::Snapshot { server } => {
            let told = ask(&server, Method::Post, "/snapshot", &[]).await?;
            print_line(&format!("saved up to log index {}", told["snapshot_index"]))
        }
    }
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
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    }
}
