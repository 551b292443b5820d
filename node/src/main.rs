//! The binary: parse, dispatch, exit code. It decides nothing else.

mod bell;
mod cli;
mod clock;
mod cluster;
mod command;
mod core;
mod doors;
mod error;
mod facts;
mod feeds;
mod log;
mod machine;
mod probe;
mod proposer;
mod recover;
mod ref_time;
mod refill;
mod room;
mod run;
mod seen;
mod settings;
mod shortage;
mod signals;
mod space;
mod stall;
mod stating;
mod tail;
mod udp;
mod users;
mod vestibule;

use std::io::Write;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use cli::{Cli, CliCommand};
use recover::RecoverArgs;
use settings::{MEMORY_MAX, Origin, ServeArgs};

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let nested = matches.subcommand().map_or(&matches, |(_, nested)| nested);
    let serves = matches!(cli.command, None | Some(CliCommand::Serve(_)));
    if !serves {
        log::start_quietly();
    }
    let result = match cli.command {
        None => serve(&cli.serve, &matches),
        Some(CliCommand::Serve(args)) => serve(&args, nested),
        Some(CliCommand::Settings { serve, json }) => print_settings(&serve, nested, json),
        Some(CliCommand::Config { verb }) => {
            smol::block_on(cli::run_config(verb)).map_err(Into::into)
        }
        Some(CliCommand::Service { verb }) => {
            smol::block_on(cli::run_service(verb)).map_err(Into::into)
        }
        Some(CliCommand::Cluster { verb }) => {
            smol::block_on(cli::run_cluster(verb)).map_err(Into::into)
        }
        Some(CliCommand::Recover(args)) => recover(&args),
        Some(CliCommand::User { verb }) => smol::block_on(cli::run_user(verb)).map_err(Into::into),
        Some(CliCommand::Role { verb }) => smol::block_on(cli::run_role(verb)).map_err(Into::into),
        Some(CliCommand::Permission { verb }) => {
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
    let (settings, lines) = args.resolve(matches)?;
    log::start(settings.log_format);
    let is_little = settings.room.stated().is_some();
    let given = lines
        .iter()
        .filter(|line| line.origin != Origin::Default || (is_little && line.key == MEMORY_MAX));
    let given: Vec<String> =
        given.map(|line| format!("{}={} ({})", line.key, line.value, line.origin)).collect();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), settings = given.join(" "), "starting");
    run::serve(&settings)?;
    tracing::info!("stopped");
    Ok(())
}

fn recover(args: &RecoverArgs) -> Result<(), Failure> {
    let said = recover::run(args)?;
    writeln!(std::io::stdout(), "{said}")?;
    Ok(())
}

fn print_settings(args: &ServeArgs, matches: &ArgMatches, json: bool) -> Result<(), Failure> {
    let (_, lines) = args.resolve(matches)?;
    cli::print_settings(&lines, json)?;
    Ok(())
}
