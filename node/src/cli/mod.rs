//! The command line. `nacolet` alone serves; every other verb is a client of the public HTTP API of
//! a node that runs somewhere. Reading verbs take `--json`.

mod client;
mod cluster;
mod config;
mod error;
mod login;
mod service;
mod target;
mod terminal;
mod users;

use clap::{Parser, Subcommand};

use self::error::CliError;
use self::terminal::{print_json, print_table};
use crate::recover::RecoverArgs;
use crate::settings::{Line, ServeArgs};

/// A small, complete Nacos for edge devices: configuration centre and service registry in one
/// binary, for every Nacos SDK.
///
/// Started without a command it serves on 127.0.0.1:8848 and keeps its data in ./nacolet-data.
#[derive(Parser, Debug)]
#[command(name = "nacolet", version, args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  nacolet                                            serve on 127.0.0.1:8848
  nacolet config set app.yaml 'greeting: hello'      publish
  nacolet config get app.yaml                        read
  nacolet config watch app.yaml                      print every new version
  nacolet service register web --ip 10.0.0.7 --port 80
  nacolet service ls")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<CliCommand>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// The verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum CliCommand {
    /// Run a node (the same as no command at all)
    Serve(ServeArgs),
    /// Print the settings `serve` would use, and where each one comes from
    Settings {
        #[command(flatten)]
        serve: ServeArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Publish, read, search, watch, import and export configs
    Config {
        #[command(subcommand)]
        verb: config::ConfigVerb,
    },
    /// Look at services, register and deregister instances
    Service {
        #[command(subcommand)]
        verb: service::ServiceVerb,
    },
    /// Look at the members of the cluster, and change them: asks a node on this host
    Cluster {
        #[command(subcommand)]
        verb: cluster::ClusterVerb,
    },
    /// Make a cluster of one of a node that is left when a majority is lost for good: works on the
    /// data directory of a node that does not run
    Recover(RecoverArgs),
    /// List users, add and remove them, set passwords
    User {
        #[command(subcommand)]
        verb: users::UserVerb,
    },
    /// Give roles to users, and take them
    Role {
        #[command(subcommand)]
        verb: users::RoleVerb,
    },
    /// Say what a role may read and write
    Permission {
        #[command(subcommand)]
        verb: users::PermissionVerb,
    },
}

/// Runs a client verb to its end.
///
/// # Errors
/// See [`CliError`].
pub(crate) async fn run_config(verb: config::ConfigVerb) -> Result<(), CliError> {
    config::run(verb).await
}

/// Runs a client verb to its end.
///
/// # Errors
/// See [`CliError`].
pub(crate) async fn run_service(verb: service::ServiceVerb) -> Result<(), CliError> {
    service::run(verb).await
}

/// Runs a client verb to its end.
///
/// # Errors
/// See [`CliError`].
pub(crate) async fn run_cluster(verb: cluster::ClusterVerb) -> Result<(), CliError> {
    cluster::run(verb).await
}

/// Runs a client verb to its end.
///
/// # Errors
/// See [`CliError`].
pub(crate) async fn run_user(verb: users::UserVerb) -> Result<(), CliError> {
    users::run_user(verb).await
}

/// Runs a client verb to its end.
///
/// # Errors
/// See [`CliError`].
pub(crate) async fn run_role(verb: users::RoleVerb) -> Result<(), CliError> {
    users::run_role(verb).await
}

/// Runs a client verb to its end.
///
/// # Errors
/// See [`CliError`].
pub(crate) async fn run_permission(verb: users::PermissionVerb) -> Result<(), CliError> {
    users::run_permission(verb).await
}

/// Prints the effective settings with their origin.
///
/// # Errors
/// See [`CliError`].
pub(crate) fn print_settings(lines: &[Line], json: bool) -> Result<(), CliError> {
    if json {
        let object = lines.iter().map(|line| {
            let origin = line.origin.to_string();
            (line.key.to_owned(), serde_json::json!({ "value": line.value, "origin": origin }))
        });
        return print_json(&serde_json::Value::Object(object.collect()));
    }
    let row = |line: &Line| vec![line.key.to_owned(), line.value.clone(), line.origin.to_string()];
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    print_table(&["SETTING", "VALUE", "FROM"], &rows)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_means_serve() {
        let cli = Cli::try_parse_from(["nacolet", "--http-addr", "127.0.0.1:1"]).expect("serves");
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.http_addr.as_deref(), Some("127.0.0.1:1"));
        assert!(Cli::try_parse_from(["nacolet", "--nonsense"]).is_err());
    }
}
