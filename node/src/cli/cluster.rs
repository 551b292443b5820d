//! `nacolet cluster ...`: the members, for operators. The node answers only to its own host.

use clap::{Args, Subcommand};
use serde_json::Value;
use surf::http::Method;

use super::client::{Answer, CliError, Client, Params};
use super::{print_json, print_line, print_table};

const PATH: &str = "/nacos/v3/admin/nacolet/cluster";

/// What can be done with the cluster.
#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Show the members and how far each one is
    Status {
        #[command(flatten)]
        node: Local,
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
        node: Local,
    },
    /// Remove a member for good
    Remove {
        /// Its node id, as `status` shows it
        node_id: String,
        #[command(flatten)]
        node: Local,
    },
    /// Hand leadership to a member, or to the most advanced one
    Transfer {
        /// Its node id, as `status` shows it
        node_id: Option<String>,
        #[command(flatten)]
        node: Local,
    },
    /// Save the state of the node that is asked now, and shorten its log
    Snapshot {
        #[command(flatten)]
        node: Local,
    },
}

/// The node to talk to.
#[derive(Args, Clone, Debug)]
pub(crate) struct Local {
    /// A node on this host
    #[arg(
        long,
        env = "NACOLET_SERVER",
        default_value = "http://127.0.0.1:8848",
        value_name = "URL"
    )]
    server: String,
}

impl Local {
    async fn ask(
        &self,
        method: Method,
        verb: &str,
        params: &Params<'_>,
    ) -> Result<Value, CliError> {
        let client = Client::new(&self.server)?;
        let path = format!("{PATH}{verb}");
        data(client.call(method, &path, params, &[("nacolet-admin", "1")]).await?)
    }
}

/// What is in the envelope: the answer, or the reason why there is none.
fn data(answer: Answer) -> Result<Value, CliError> {
    let status = answer.status;
    let data = answer.json::<Value>().map(|mut envelope| envelope["data"].take());
    if status.is_success() {
        return data;
    }
    let told = data.ok().and_then(|data| data.as_str().map(str::to_owned));
    Err(CliError::Refused { status, text: told.unwrap_or_else(|| answer.text()) })
}

/// Runs a verb to its end.
///
/// # Errors
/// See [`CliError`].
pub(crate) async fn run(verb: Verb) -> Result<(), CliError> {
    match verb {
        Verb::Status { node, json } => {
            let status = node.ask(Method::Get, "", &[]).await?;
            if json { print_json(&status) } else { print_status(&status) }
        }
        Verb::Add { node_id, address, node } => {
            let params = [("node", node_id.as_str()), ("address", address.as_str())];
            node.ask(Method::Post, "/add", &params).await?;
            print_line(&format!("{node_id} is a member at {address}"))
        }
        Verb::Remove { node_id, node } => {
            node.ask(Method::Post, "/remove", &[("node", node_id.as_str())]).await?;
            print_line(&format!("{node_id} is removed"))
        }
        Verb::Transfer { node_id, node } => {
            let target: Vec<_> = node_id.iter().map(|id| ("node", id.as_str())).collect();
            let told = node.ask(Method::Post, "/transfer", &target).await?;
            print_line(&format!("{} leads", text(&told["leader"])))
        }
        Verb::Snapshot { node } => {
            let told = node.ask(Method::Post, "/snapshot", &[]).await?;
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
