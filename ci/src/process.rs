//! Starts other programs and says how they went, with the time each one took.

use std::env;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Reads the clock. The product takes time as an argument; a tool that times programs cannot.
#[allow(clippy::disallowed_methods, reason = "a tool times the programs it starts")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The cargo that runs this tool, or the one on the path.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Runs a step to its end with its output on ours; true if it succeeded.
///
/// Standard input is closed: nothing on a build machine can answer a question.
pub(crate) fn step(title: &str, command: &mut Command) -> bool {
    println!("── {title}");
    let start = now();
    let succeeded = match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => true,
        Ok(status) => {
            println!("{title}: {status}");
            false
        }
        Err(error) => {
            println!("{title}: cannot start {:?}: {error}", command.get_program());
            false
        }
    };
    println!(
        "── {title}: {} after {:.1} s",
        if succeeded { "ok" } else { "FAILED" },
        start.elapsed().as_secs_f64()
    );
    succeeded
}
