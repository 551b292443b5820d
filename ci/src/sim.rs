//! `cargo ci sim`: builds the simulator for speed and hands it its arguments.

use crate::process::{cargo, step};
use crate::tree;

/// Runs seeds, or the score of the planted bugs; true if nothing was found that should not be, and
/// everything that should.
pub(crate) fn run(arguments: &[&str]) -> bool {
    let mut command = cargo();
    command.current_dir(tree::root()).args(["run", "--quiet", "--package", "nacolet-tests"]);
    command.args(["--bin", "sim", "--profile", "sim", "--"]).args(arguments);
    step("sim", &mut command)
}
