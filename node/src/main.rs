//! The binary: parse, dispatch, exit code. It decides nothing else.

mod cli;
mod clock;
mod cluster;
mod command;
mod core;
mod doors;
mod feeds;
mod machine;
mod probe;
mod ref_time;
mod run;
mod settings;
mod signals;
mod tail;
mod udp;
mod users;

use std::io::Write;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use cli::{Cli, Command};
use settings::ServeArgs;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    start_logging();
    let nested = matches.subcommand().map_or(&matches, |(_, nested)| nested);
    let result = match cli.command {
        None => serve(&cli.serve, &matches),
        Some(Command::Serve(args)) => serve(&args, nested),
        Some(Command::Settings { serve, json }) => print_settings(&serve, nested, json),
        Some(Command::Config { verb }) => smol::block_on(cli::run_config(verb)).map_err(Into::into),
        Some(Command::Service { verb }) => {
            smol::block_on(cli::run_service(verb)).map_err(Into::into)
        }
        Some(Command::Cluster { verb }) => {
            smol::block_on(cli::run_cluster(verb)).map_err(Into::into)
        }
        Some(Command::User { verb }) => smol::block_on(cli::run_user(verb)).map_err(Into::into),
        Some(Command::Role { verb }) => smol::block_on(cli::run_role(verb)).map_err(Into::into),
        Some(Command::Permission { verb }) => {
            smol::block_on(cli::run_permission(verb)).map_err(Into::into)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when even standard error is closed.
            let _ = writeln!(std::io::stderr(), "nacolet: {error}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

fn serve(args: &ServeArgs, matches: &ArgMatches) -> Result<(), Failure> {
    let (settings, _) = args.resolve(matches)?;
    run::serve(&settings)?;
    Ok(())
}

fn print_settings(args: &ServeArgs, matches: &ArgMatches, json: bool) -> Result<(), Failure> {
    let (_, lines) = args.resolve(matches)?;
    cli::print_settings(&lines, json)?;
    Ok(())
}

/// Warnings and worse go to standard error; `RUST_LOG=info` or `RUST_LOG=nacolet=debug` shows more.
fn start_logging() {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let filter: tracing_subscriber::filter::Targets = match wanted.parse() {
        Ok(filter) if !wanted.is_empty() => filter,
        _ => tracing_subscriber::filter::Targets::new()
            .with_default(tracing_subscriber::filter::LevelFilter::WARN),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    tracing_subscriber::registry().with(lines).with(filter).init();
}
